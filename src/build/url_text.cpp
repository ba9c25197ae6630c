#include "build/url_text.hpp"

#include "base/encoding.hpp"
#include "base/error.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <charconv>

namespace grua::build {
namespace {

constexpr std::string_view mask = "xxxxx";

bool is_scheme_byte(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

/// Where the authority begins; nothing where there is no scheme in front of it.
std::optional<std::size_t> authority_of(std::string_view text) {
    const std::size_t colon = text.find("://");
    if (colon == 0 || colon == std::string_view::npos || !std::ranges::all_of(text.substr(0, colon), is_scheme_byte)) return std::nullopt;
    return colon + 3;
}

}  // namespace

std::string UrlUser::authorization() const { return "Basic " + base64_encode(name + ":" + password.value_or("")); }

std::string UrlParts::host_name() const {
    if (host.starts_with('[')) return host.substr(1, host.find(']') - 1);
    return host.substr(0, host.find(':'));
}

std::optional<UrlParts> split_url(std::string_view text) {
    const auto begin = authority_of(text);
    if (!begin) return std::nullopt;
    UrlParts out{.scheme = to_lower(text.substr(0, *begin - 3))};
    std::string_view rest = text.substr(*begin);
    const auto cut = [&rest](char mark) {
        const std::size_t at = rest.find(mark);
        const std::string_view behind = at == std::string_view::npos ? std::string_view{} : rest.substr(at + 1);
        rest = rest.substr(0, at);
        return std::string(behind);
    };
    out.fragment = percent_decode(cut('#'));
    out.query = cut('?');
    const std::size_t slash = rest.find('/');
    if (slash != std::string_view::npos) out.path = rest.substr(slash);
    std::string_view authority = rest.substr(0, slash);
    if (const std::size_t at = authority.rfind('@'); at != std::string_view::npos) {
        const std::string_view user = authority.substr(0, at);
        const std::size_t colon = user.find(':');
        out.user.emplace(UrlUser{.name = percent_decode(user.substr(0, colon)), .password = {}});
        if (colon != std::string_view::npos) out.user->password = percent_decode(user.substr(colon + 1));
        authority.remove_prefix(at + 1);
    }
    out.host = authority;
    return out;
}

std::string without_credentials(std::string_view text) {
    const auto begin = authority_of(text);
    if (!begin) return std::string(text);
    const std::size_t end = std::min(text.find_first_of("/?#", *begin), text.size());
    const std::size_t at = text.substr(0, end).rfind('@');
    if (at == std::string_view::npos || at < *begin) return std::string(text);
    const std::string_view user = text.substr(*begin, at - *begin);
    const std::size_t colon = user.find(':');
    std::string hidden;
    if (!user.substr(0, colon).empty()) hidden += mask;
    if (colon != std::string_view::npos) hidden.append(":").append(mask);
    return fmt::format("{}{}{}", text.substr(0, *begin), hidden, text.substr(at));
}

std::string percent_decode(std::string_view text) {
    std::string out;
    for (std::size_t at = 0; at < text.size(); ++at) {
        unsigned value = 0;
        if (text[at] == '%' && at + 2 < text.size()) {
            const char* const digits = text.data() + at + 1;
            if (std::from_chars(digits, digits + 2, value, 16).ptr == digits + 2) {
                out += static_cast<char>(value);
                at += 2;
                continue;
            }
        }
        out += text[at];
    }
    return out;
}

std::vector<std::pair<std::string, std::string>> parse_query(std::string_view query) {
    std::vector<std::pair<std::string, std::string>> out;
    const auto decode = [](std::string_view part) {
        std::string plain(part);
        std::ranges::replace(plain, '+', ' ');
        return percent_decode(plain);
    };
    for (const std::string& each : split(query, '&')) {
        if (each.empty()) continue;
        const std::string_view part = each;
        const std::size_t equals = part.find('=');
        out.emplace_back(decode(part.substr(0, equals)),
                         equals == std::string_view::npos ? std::string() : decode(part.substr(equals + 1)));
    }
    return out;
}

std::string escape_url(std::string_view text) {
    if (text.size() > url_limit) fail(ErrorKind::invalid_argument, "invalid URL: it is longer than {} bytes", url_limit);
    std::string out;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < ' ' || byte == 0x7f) fail(ErrorKind::invalid_argument, "invalid URL: it has a control character");
        if (byte == ' ' || byte > 0x7f)
            out += fmt::format("%{:02X}", byte);
        else
            out += c;
    }
    return out;
}

}  // namespace grua::build
