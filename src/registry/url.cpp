#include "registry/url.hpp"

#include "base/encoding.hpp"
#include "base/error.hpp"
#include "base/text.hpp"

#include <curl/curl.h>
#include <algorithm>
#include <memory>

namespace grua::registry {
namespace {

constexpr std::size_t url_limit = 16384;  // signed URLs of object stores are long

using Handle = std::unique_ptr<CURLU, decltype([](CURLU* url) { curl_url_cleanup(url); })>;

std::string part(CURLU* url, CURLUPart which) {
    char* text = nullptr;
    if (curl_url_get(url, which, &text, 0) != CURLUE_OK) return {};
    std::string out = text;
    curl_free(text);
    return out;
}

void set(CURLU* url, std::string_view text) {
    const std::string whole{text};
    const bool control = std::ranges::any_of(whole, [](char c) { return static_cast<unsigned char>(c) <= ' ' || c == 127; });
    if (whole.size() > url_limit || control || curl_url_set(url, CURLUPART_URL, whole.c_str(), 0) != CURLUE_OK) {
        fail(ErrorKind::invalid_argument, "invalid URL \"{}\"", whole.substr(0, 200));
    }
}

Url taken_apart(CURLU* handle) {
    Url url{to_lower(part(handle, CURLUPART_SCHEME)), to_lower(part(handle, CURLUPART_HOST)), part(handle, CURLUPART_PORT),
            part(handle, CURLUPART_PATH), part(handle, CURLUPART_QUERY)};
    if (url.scheme != "http" && url.scheme != "https") {
        fail(ErrorKind::invalid_argument, "invalid URL: unsupported protocol scheme \"{}\"", url.scheme);
    }
    if (!part(handle, CURLUPART_USER).empty() || !part(handle, CURLUPART_PASSWORD).empty()) {
        fail(ErrorKind::invalid_argument, "invalid URL: a user name in the URL of {}", url.host);
    }
    if (url.port == (url.scheme == "http" ? "80" : "443")) url.port.clear();
    return url;
}

}  // namespace

Url Url::parse(std::string_view text) {
    const Handle handle{curl_url()};
    set(handle.get(), text);
    return taken_apart(handle.get());
}

Url Url::resolve(std::string_view location) const {
    const Handle handle{curl_url()};
    set(handle.get(), text());
    set(handle.get(), location);
    return taken_apart(handle.get());
}

std::string Url::text() const {
    std::string out = fmt::format("{}://{}{}", scheme, authority(), path.empty() ? "/" : path);
    if (!query.empty()) out += "?" + query;
    return out;
}

void Url::add_query(std::string_view name, std::string_view value) {
    if (!query.empty()) query += '&';
    query += fmt::format("{}={}", percent_encode(name), percent_encode(value));
}

}  // namespace grua::registry
