#include "build/http_identifier.hpp"

#include "base/error.hpp"
#include "build/http_file_name.hpp"
#include "build/session_files.hpp"
#include "build/url_text.hpp"
#include "content/hash.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>

namespace grua::build {
namespace {

constexpr std::string_view attribute_prefix = "http.";
constexpr std::string_view header_prefix = "http.header.";

[[noreturn]] void refuse_attribute(std::string_view name, std::string_view value) {
    fail(ErrorKind::invalid_argument, "{}: invalid value {:?}", name, value.substr(0, 100));
}

/// As Go reads numbers of any base: "0644", "0o644", "0x1a4", "420".
std::uint32_t read_number(std::string_view name, std::string_view value) {
    std::string_view digits = value;
    int base = 10;
    const auto has = [&](std::string_view prefix, int its_base) {
        if (base != 10 || !digits.starts_with(prefix)) return;
        digits.remove_prefix(prefix.size());
        base = its_base;
    };
    if (digits.size() > 1) {
        for (const auto& [prefix, its_base] : {std::pair{"0x", 16}, {"0X", 16}, {"0b", 2}, {"0B", 2}, {"0o", 8}, {"0O", 8}, {"0", 8}})
            has(prefix, its_base);
    }
    std::uint32_t out = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), out, base);
    if (digits.empty() || error != std::errc{} || end != digits.data() + digits.size()) refuse_attribute(name, value);
    return out;
}

std::string json_text(std::string_view text) {
    return boost::json::serialize(boost::json::value(boost::json::string_view(text.data(), text.size())));
}

}  // namespace

void check_header_value(std::string_view name, std::string_view value) {
    if (std::ranges::any_of(value, [](char c) { return (static_cast<unsigned char>(c) < ' ' && c != '\t') || c == 0x7f; }))
        fail(ErrorKind::invalid_argument, "invalid header field value for {:?}", name);
}

bool HttpIdentifier::is_upload() const {
    const auto parts = split_url(url);
    return parts && parts->host == upload_host;
}

HttpIdentifier read_http_source(const pb::SourceOp& source) {
    HttpIdentifier out{.url = source.identifier()};
    const auto parts = split_url(out.url);
    if (!parts || (parts->scheme != "http" && parts->scheme != "https") || parts->host.empty())
        fail(ErrorKind::invalid_argument, "invalid http source {:?}", without_credentials(out.url));
    for (const auto& [name, value] : source.attrs()) {
        if (name == "http.checksum") {
            out.checksum = oci::Digest::from(value);
        } else if (name == "http.filename") {
            out.filename = value;
        } else if (name == "http.perm") {
            out.mode = read_number(name, value) & 0777U;
        } else if (name == "http.uid") {
            out.uid = read_number(name, value);
        } else if (name == "http.gid") {
            out.gid = read_number(name, value);
        } else if (name == "http.authheadersecret") {
            out.header_secret = value;
        } else if (name.starts_with(header_prefix)) {
            // BuildKit knows these two, and drops the others.
            const std::string header = to_lower(std::string_view(name).substr(header_prefix.size()));
            if (header != "accept" && header != "user-agent") continue;
            check_header_value(header, value);
            out.headers.emplace_back(header == "accept" ? "Accept" : "User-Agent", value);
        } else if (name.starts_with(attribute_prefix)) {
            fail(ErrorKind::not_implemented, "not implemented: {}", name);
        }
    }
    std::ranges::sort(out.headers);
    return out;
}

std::string key_of(const HttpFound& found) {
    const HttpIdentifier& what = found.what;
    std::string text = fmt::format(R"({{"Filename":{},"Perm":{},"UID":{},"GID":{},"Checksum":"{}")", json_text(found.filename), what.mode,
                                   what.uid, what.gid, found.digest.text());
    if (found.last_modified) text += fmt::format(R"(,"LastModTime":"{}")", format_http_date(*found.last_modified));
    if (!what.header_secret.empty()) text += fmt::format(R"(,"AuthHeaderSecret":{})", json_text(what.header_secret));
    if (!what.headers.empty()) {
        std::vector<std::string> fields;
        for (const auto& [name, value] : what.headers)
            fields.push_back(fmt::format(R"({{"Name":{},"Value":{}}})", json_text(name), json_text(value)));
        text += fmt::format(R"(,"Header":[{}])", join(fields, ","));
    }
    return content::digest_of(text + "}").text();
}

}  // namespace grua::build
