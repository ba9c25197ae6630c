#include "cli/build/layout.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "cli/context.hpp"
#include "oci/digest.hpp"
#include "oci/reference.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <algorithm>
#include <boost/json.hpp>
#include <optional>

namespace grua::cli {
namespace {

constexpr const char* image_name = "io.containerd.image.name";
constexpr const char* reference_name = "org.opencontainers.image.ref.name";
constexpr std::size_t index_limit = std::size_t{16} << 20U;

boost::json::object parse_object(const std::string& text, const std::string& path) {
    boost::system::error_code error;
    Value parsed = boost::json::parse(text, error);
    if (error || !parsed.is_object()) fail(ErrorKind::invalid_argument, "{}: it is no JSON object", path);
    return std::move(parsed.get_object());
}

std::string index_path(const std::string& folder) { return folder + "/index.json"; }

std::optional<boost::json::object> read_index(const std::string& folder) {
    const std::string path = index_path(folder);
    std::string text;
    try {
        text = read_file(path, index_limit);
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::not_found) return std::nullopt;
        throw;
    }
    return parse_object(text, path);
}

const boost::json::array& manifests_of(const boost::json::object& index) {
    static const boost::json::array nothing;
    const Value* found = index.if_contains("manifests");
    return found && found->is_array() ? found->get_array() : nothing;
}

std::string annotation(const Value& manifest, const char* name) { return text_at(at(manifest, "annotations"), name); }

/// One writer at a time.
Fd lock(const std::string& folder) {
    Fd out{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!out) fail_errno("open {}", folder);
    if (::flock(out.get(), LOCK_EX) != 0) fail_errno("lock {}", folder);
    return out;
}

/// An image's name has its tag as the name in the index beside it.
std::pair<std::string, std::string> names_of(const std::string& name) {
    if (!name.contains('/') && !name.contains(':')) return {"", name};
    return {name, oci::Reference::parse(name).tag()};
}

}  // namespace

std::string digest_in_layout(const std::string& folder, const std::string& tag) {
    const auto index = read_index(folder);
    if (!index) return {};
    for (const char* name : {image_name, reference_name})
        for (const Value& each : manifests_of(*index))
            if (annotation(each, name) == tag) return oci::Digest::from(text_at(each, "digest")).text();
    return {};
}

LayoutReference find_in_layout(std::string_view text) {
    LayoutReference out{.folder = {}, .tag = "latest", .digest = {}};
    if (const std::size_t at = text.rfind('@'); at != std::string_view::npos) {
        out.digest = oci::Digest::from(text.substr(at + 1)).text();
        text = text.substr(0, at);
    }
    if (const std::size_t colon = text.rfind(':'); colon != std::string_view::npos && text.find('/', colon) == std::string_view::npos) {
        out.tag = text.substr(colon + 1);
        text = text.substr(0, colon);
    }
    out.folder = text;
    if (!out.digest.empty()) return out;
    out.digest = digest_in_layout(out.folder, out.tag);
    // The only one there is has no name to know it by.
    if (const auto index = out.digest.empty() ? read_index(out.folder) : std::nullopt; index && manifests_of(*index).size() == 1)
        out.digest = oci::Digest::from(text_at(manifests_of(*index)[0], "digest")).text();
    if (out.digest.empty()) fail(ErrorKind::not_found, "oci-layout reference \"{}\" could not be resolved", out.folder + ":" + out.tag);
    return out;
}

void add_to_layout(const std::string& folder, const std::string& descriptor, const std::vector<std::string>& names) {
    const boost::json::object added = parse_object(descriptor, "the result's descriptor");
    make_directories(folder);
    const Fd locked = lock(folder);
    replace_file(folder + "/oci-layout", R"({"imageLayoutVersion":"1.0.0"})");
    boost::json::object index = read_index(folder).value_or(boost::json::object{});
    index["schemaVersion"] = 2;
    if (!index.contains("mediaType")) index["mediaType"] = "application/vnd.oci.image.index.v1+json";
    boost::json::array kept = manifests_of(index);
    for (const std::string& name : names) {
        const auto [image, reference] = names_of(name);
        kept.erase(std::remove_if(kept.begin(), kept.end(),
                                  [&](const Value& each) {
                                      return annotation(each, image_name) == image && annotation(each, reference_name) == reference;
                                  }),
                   kept.end());
        boost::json::object entry = added;
        Value& annotations = entry["annotations"];
        if (!annotations.is_object()) annotations = boost::json::object();
        if (!image.empty()) annotations.get_object()[image_name] = image;
        annotations.get_object()[reference_name] = reference;
        kept.push_back(std::move(entry));
    }
    index["manifests"] = std::move(kept);
    replace_file(index_path(folder), boost::json::serialize(index));
}

}  // namespace grua::cli
