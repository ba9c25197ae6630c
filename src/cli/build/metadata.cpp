#include "cli/build/metadata.hpp"

#include "base/encoding.hpp"
#include "base/utf8.hpp"
#include "cli/template.hpp"

#include <boost/json.hpp>
#include <optional>

namespace grua::cli {
namespace {

/// Nothing where it is neither an object nor a list of some.
std::optional<Value> as_document(const std::string& name, const std::string& text) {
    const auto bytes = name == "result.json" ? std::optional(text) : base64_decode(text);
    if (!bytes || bytes->empty()) return std::nullopt;
    boost::system::error_code error;
    Value out = boost::json::parse(*bytes, error);
    if (error) return std::nullopt;
    const auto* object = out.if_object();
    const auto* list = out.if_array();
    const bool is_full = (object && !object->empty()) || (list && !list->empty() && list->front().is_object());
    return is_full ? std::optional(std::move(out)) : std::nullopt;
}

}  // namespace

std::string image_id_of(const Words& response) {
    for (const char* name : {"containerimage.config.digest", "containerimage.digest"})
        if (const auto found = response.find(name); found != response.end()) return found->second;
    return {};
}

std::string metadata_text(const Words& response) {
    boost::json::object out;
    for (const auto& [name, text] : response) out[name] = as_document(name, text).value_or(Value(to_valid_utf8(text)));
    return pretty_json(out, "  ");
}

}  // namespace grua::cli
