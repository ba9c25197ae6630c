#include "oci/reference.hpp"

#include "base/error.hpp"
#include "base/text.hpp"

#include <algorithm>

namespace grua::oci {
namespace {

constexpr std::string_view default_domain = "docker.io";
constexpr std::string_view legacy_domain = "index.docker.io";
constexpr std::string_view official_prefix = "library/";
constexpr std::string_view default_tag = "latest";
constexpr std::size_t name_limit = 255;
constexpr std::size_t tag_limit = 128;
constexpr std::size_t text_limit = 1024;

bool is_lower_alnum(char c) noexcept { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool is_alnum(char c) noexcept { return is_lower_alnum(c) || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

/// Runs of [a-z0-9] with ".", "_", "__" or any number of "-" between them.
bool is_path_component(std::string_view text) noexcept {
    if (text.empty() || !is_lower_alnum(text.front()) || !is_lower_alnum(text.back())) return false;
    for (std::size_t at = 0; at < text.size();) {
        if (is_lower_alnum(text[at])) {
            ++at;
            continue;
        }
        const std::size_t end = std::min(text.find_first_not_of(text[at], at), text.size());
        const std::size_t length = end - at;
        const bool separator = text[at] == '-' || (text[at] == '_' && length <= 2) || (text[at] == '.' && length == 1);
        if (!separator || !is_lower_alnum(text[end])) return false;
        at = end;
    }
    return true;
}

bool is_path(std::string_view text) {
    const std::vector<std::string> components = split(text, '/');
    return std::ranges::all_of(components, [](const std::string& component) { return is_path_component(component); });
}

bool is_host_component(std::string_view text) noexcept {
    return !text.empty() && is_alnum(text.front()) && is_alnum(text.back()) &&
           std::ranges::all_of(text, [](char c) { return is_alnum(c) || c == '-'; });
}

/// host, host:port or [IPv6]:port.
bool is_domain(std::string_view text) {
    std::string_view port;
    if (text.starts_with('[')) {
        const std::size_t close = text.find(']');
        if (close == std::string_view::npos || close == 1) return false;
        const std::string_view address = text.substr(1, close - 1);
        const auto in_address = [](char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || c == ':'; };
        if (!std::ranges::all_of(address, in_address)) return false;
        port = text.substr(close + 1);
    } else {
        const std::size_t colon = std::min(text.find(':'), text.size());
        const std::vector<std::string> components = split(text.substr(0, colon), '.');
        if (!std::ranges::all_of(components, [](const std::string& component) { return is_host_component(component); })) return false;
        port = text.substr(colon);
    }
    if (port.empty()) return true;
    return port.size() > 1 && port.front() == ':' && std::ranges::all_of(port.substr(1), is_digit);
}

struct Parts {
    std::string domain;
    std::string remainder;
};

/// The first component is a host where it looks like one: it has a dot, a colon or an upper case letter, or is "localhost".
Parts split_domain(std::string_view text) {
    const std::size_t slash = text.find('/');
    if (slash == std::string_view::npos) return {std::string(default_domain), fmt::format("{}{}", official_prefix, text)};

    const std::string_view first = text.substr(0, slash);
    Parts parts{std::string(default_domain), std::string(text)};
    const bool upper = std::ranges::any_of(first, [](char c) { return c >= 'A' && c <= 'Z'; });
    if (first == legacy_domain) {
        parts.remainder = text.substr(slash + 1);
    } else if (first == "localhost" || first.find_first_of(".:") != std::string_view::npos || upper) {
        parts = {std::string(first), std::string(text.substr(slash + 1))};
    }
    if (parts.domain == default_domain && parts.remainder.find('/') == std::string::npos) parts.remainder.insert(0, official_prefix);
    return parts;
}

[[noreturn]] void fail_format() { fail(ErrorKind::invalid_argument, "invalid reference format"); }

bool is_hex_id(std::string_view text) noexcept {
    constexpr std::size_t id_size = 64;
    return text.size() == id_size && std::ranges::all_of(text, [](char c) { return is_digit(c) || (c >= 'a' && c <= 'f'); });
}

}  // namespace

bool is_valid_tag(std::string_view tag) noexcept {
    if (tag.empty() || tag.size() > tag_limit || (!is_alnum(tag.front()) && tag.front() != '_')) return false;
    return std::ranges::all_of(tag, [](char c) { return is_alnum(c) || c == '_' || c == '.' || c == '-'; });
}

Reference Reference::parse(std::string_view text) {
    if (text.empty() || text.size() > text_limit) fail_format();
    if (is_hex_id(text)) {
        fail(ErrorKind::invalid_argument, "invalid repository name ({}), cannot specify 64-byte hexadecimal strings", text);
    }
    Parts parts = split_domain(text);
    std::string_view rest = parts.remainder;

    const std::string_view before_colon = rest.substr(0, rest.find(':'));
    if (std::ranges::any_of(before_colon, [](char c) { return c >= 'A' && c <= 'Z'; })) {
        fail(ErrorKind::invalid_argument, "invalid reference format: repository name ({}) must be lowercase", before_colon);
    }

    Reference out;
    if (const std::size_t at = rest.find('@'); at != std::string_view::npos) {
        out.digest_ = Digest::parse(rest.substr(at + 1));
        if (!out.digest_) fail_format();
        rest = rest.substr(0, at);
    }
    if (const std::size_t colon = rest.find(':'); colon != std::string_view::npos) {
        out.tag_ = rest.substr(colon + 1);
        if (!is_valid_tag(out.tag_)) fail_format();
        rest = rest.substr(0, colon);
    }
    if (!is_domain(parts.domain) || !is_path(rest)) fail_format();
    out.path_ = rest;
    out.domain_ = std::move(parts.domain);
    if (out.name().size() > name_limit) {
        fail(ErrorKind::invalid_argument, "repository name must not be more than {} characters", name_limit);
    }
    return out;
}

std::string Reference::familiar_name() const {
    if (domain_ != default_domain) return name();
    if (path_.starts_with(official_prefix) && path_.find('/', official_prefix.size()) == std::string::npos) {
        return path_.substr(official_prefix.size());
    }
    return path_;
}

std::string Reference::suffix() const {
    std::string out;
    if (!tag_.empty()) out = ":" + tag_;
    if (digest_) out += "@" + digest_->text();
    return out;
}

Reference Reference::with_default_tag() const { return is_name_only() ? with_tag(default_tag) : *this; }

Reference Reference::with_tag(std::string_view tag) const {
    if (!is_valid_tag(tag)) fail(ErrorKind::invalid_argument, "invalid tag format");
    Reference out = *this;
    out.tag_ = tag;
    out.digest_.reset();
    return out;
}

Reference Reference::with_digest(const Digest& digest) const {
    Reference out = *this;
    out.tag_.clear();
    out.digest_ = digest;
    return out;
}

}  // namespace grua::oci
