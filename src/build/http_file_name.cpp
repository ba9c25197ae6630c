#include "build/http_file_name.hpp"

#include "base/test_points.hpp"
#include "base/timespec.hpp"
#include "build/url_text.hpp"

#include <curl/curl.h>
#include <fmt/format.h>
#include <algorithm>
#include <array>

namespace grua::build {
namespace {

constexpr std::string_view otherwise = "download";
constexpr std::size_t date_limit = 64;

std::string_view last_name(std::string_view path) {
    while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
    return path.substr(path.rfind('/') + 1);
}

/// Whoever names the file, it is in the folder that it is for (CVE-2026-33747).
std::string safe_name(std::string_view text) {
    if (is_left_out("CVE-2026-33747")) return std::string(text);
    const std::string_view name = last_name(trim(text));
    const bool has_control = std::ranges::any_of(name, [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7f; });
    return name.empty() || name == "." || name == ".." || has_control ? std::string(otherwise) : std::string(name);
}

bool is_token_byte(char c) { return c > ' ' && c < 0x7f && !std::string_view("()<>@,;:\\\"/[]?=").contains(c); }

/// The parameters of a header's value, one after the other.
class Parameters {
public:
    explicit Parameters(std::string_view text) : rest_(text) {
        rest_.remove_prefix(std::min(rest_.find(';'), rest_.size()));  // The type.
    }

    struct Parameter {
        std::string name;  ///< In lower case.
        std::string value;
    };
    /// Nothing at the end; is_broken() says whether that came too early.
    std::optional<Parameter> next() {
        rest_ = trim(rest_);
        if (rest_.empty() || rest_ == ";") return std::nullopt;
        is_broken_ = true;
        if (!take(';')) return std::nullopt;
        rest_ = trim(rest_);
        Parameter out{.name = to_lower(token()), .value = {}};
        rest_ = trim(rest_);
        if (out.name.empty() || !take('=')) return std::nullopt;
        rest_ = trim(rest_);
        if (take('"')) {
            if (!quoted(out.value)) return std::nullopt;
        } else {
            out.value = token();
            if (out.value.empty()) return std::nullopt;
        }
        is_broken_ = false;
        return out;
    }
    bool is_broken() const noexcept { return is_broken_; }

private:
    bool take(char c) {
        if (!rest_.starts_with(c)) return false;
        rest_.remove_prefix(1);
        return true;
    }
    std::string_view token() {
        const auto end = static_cast<std::size_t>(std::ranges::find_if_not(rest_, is_token_byte) - rest_.begin());
        const std::string_view out = rest_.substr(0, end);
        rest_.remove_prefix(end);
        return out;
    }
    bool quoted(std::string& out) {
        while (!rest_.empty()) {
            if (take('"')) return true;
            // A backslash escapes a quote and itself; before anything else it is what Windows' browsers send of paths.
            if (rest_.starts_with("\\\"") || rest_.starts_with("\\\\")) rest_.remove_prefix(1);
            out += rest_.front();
            rest_.remove_prefix(1);
        }
        return false;
    }

    std::string_view rest_;
    bool is_broken_ = false;
};

/// UTF-8'en'name (RFC 5987).
std::optional<std::string> extended_value(std::string_view value) {
    const std::size_t language = value.find('\'');
    const std::size_t text = language == std::string_view::npos ? language : value.find('\'', language + 1);
    if (text == std::string_view::npos) return std::nullopt;
    const std::string charset = to_lower(value.substr(0, language));
    if (charset != "utf-8" && charset != "us-ascii") return std::nullopt;
    return percent_decode(value.substr(text + 1));
}

}  // namespace

std::string disposition_file_name(std::string_view disposition) {
    std::string plain;
    std::string extended;
    Parameters parameters(disposition);
    while (const auto each = parameters.next()) {
        if (each->name == "filename") plain = each->value;
        if (each->name == "filename*") extended = extended_value(each->value).value_or("");
    }
    if (parameters.is_broken()) return {};
    const std::string& name = extended.empty() ? plain : extended;
    return name.ends_with('/') ? std::string() : name;
}

std::string http_file_name(std::string_view url, std::string_view wanted, std::string_view disposition) {
    if (!wanted.empty()) return safe_name(wanted);
    if (const std::string said = disposition_file_name(disposition); !said.empty()) return safe_name(said);
    const auto parts = split_url(url);
    return safe_name(parts ? percent_decode(parts->path) : std::string());
}

std::optional<Time> parse_http_date(std::string_view text) {
    if (text.empty() || text.size() > date_limit) return std::nullopt;
    const time_t seconds = ::curl_getdate(std::string(text).c_str(), nullptr);
    if (seconds < 0) return std::nullopt;
    return time_of({.tv_sec = seconds, .tv_nsec = 0});
}

std::string format_http_date(Time time) {
    constexpr std::array days{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    constexpr std::array months{"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    const auto day = std::chrono::floor<std::chrono::days>(time);
    const std::chrono::year_month_day date{day};
    const std::chrono::hh_mm_ss clock{std::chrono::floor<std::chrono::seconds>(time - day)};
    return fmt::format("{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT", days[std::chrono::weekday{day}.c_encoding()],
                       static_cast<unsigned>(date.day()), months[static_cast<unsigned>(date.month()) - 1], static_cast<int>(date.year()),
                       clock.hours().count(), clock.minutes().count(), clock.seconds().count());
}

}  // namespace grua::build
