#include "registry/answers.hpp"

#include "base/codec.hpp"
#include "base/text.hpp"
#include "registry/challenge.hpp"

#include <array>
#include <ctime>
#include <tuple>

namespace grua::registry {
namespace {

constexpr std::size_t message_limit = 1000;

struct ErrorWire {
    std::string code;
    std::string message;
    json::Value detail;
    template <typename Self = ErrorWire>
    static json::Fields fields() {
        return json::Fields{json::field("code", &Self::code), json::field("message", &Self::message), json::field("detail", &Self::detail)};
    }
};

struct ErrorsWire {
    std::vector<ErrorWire> errors;
    std::string details;  // Docker Hub's token service
    std::string detail;
    std::string message;
    template <typename Self = ErrorsWire>
    static json::Fields fields() {
        return json::Fields{json::field("errors", &Self::errors), json::field("details", &Self::details),
                            json::field("detail", &Self::detail), json::field("message", &Self::message)};
    }
};

struct KnownCode {
    std::string_view code;
    std::string_view message;
};
// Distribution spec, "Error Codes", with the words that Docker's registry has for them.
constexpr std::array known_codes{
    KnownCode{"UNAUTHORIZED", "authentication required"},      KnownCode{"DENIED", "requested access to the resource is denied"},
    KnownCode{"MANIFEST_UNKNOWN", "manifest unknown"},         KnownCode{"NAME_UNKNOWN", "repository name not known to registry"},
    KnownCode{"BLOB_UNKNOWN", "blob unknown to registry"},     KnownCode{"TOOMANYREQUESTS", "too many requests"},
    KnownCode{"UNSUPPORTED", "The operation is unsupported."}, KnownCode{"UNAVAILABLE", "service unavailable"},
};

std::string_view message_of(std::string_view code) {
    for (const KnownCode& each : known_codes) {
        if (each.code == code) return each.message;
    }
    return "unknown error";
}

/// Not too long, and for a terminal.
std::string tame(std::string_view text) { return printable(text.substr(0, message_limit)); }

std::string spelled_code(std::string_view code) {
    std::string out = to_lower(tame(code));
    for (char& c : out) {
        if (c == '_') c = ' ';
    }
    return out;
}

std::string complaint_text(std::string_view code, std::string_view message) {
    return fmt::format("{}: {}", spelled_code(code), message.empty() ? std::string(message_of(code)) : tame(message));
}

std::string_view reason(int status) {
    switch (status) {
        case 400:
            return "Bad Request";
        case 401:
            return "Unauthorized";
        case 403:
            return "Forbidden";
        case 404:
            return "Not Found";
        case 405:
            return "Method Not Allowed";
        case 408:
            return "Request Timeout";
        case 413:
            return "Request Entity Too Large";
        case 416:
            return "Requested Range Not Satisfiable";
        case 429:
            return "Too Many Requests";
        case 500:
            return "Internal Server Error";
        case 502:
            return "Bad Gateway";
        case 503:
            return "Service Unavailable";
        case 504:
            return "Gateway Timeout";
        default:
            return "";
    }
}

/// RFC 6750 says in the challenge why a token was not enough; Docker believes that before the body.
std::optional<Complaint> complaint_of_challenge(const Response& response) {
    for (const Challenge& each : parse_challenges(response.all("www-authenticate"))) {
        if (each.scheme != "bearer") continue;
        const std::string_view error = each.parameter("error");
        if (error == "insufficient_scope") return Complaint{"DENIED", complaint_text("DENIED", each.parameter("error_description"))};
        if (error == "invalid_token") return Complaint{"UNAUTHORIZED", complaint_text("UNAUTHORIZED", each.parameter("error_description"))};
    }
    return std::nullopt;
}

ErrorKind kind_of(int status, std::string_view code) {
    if (code == "DENIED" || status == 403) return ErrorKind::forbidden;
    if (code == "UNAUTHORIZED" || status == 401) return ErrorKind::unauthorized;
    if (status == 404 || code.ends_with("_UNKNOWN")) return ErrorKind::not_found;
    return ErrorKind::unavailable;
}

}  // namespace

std::optional<Complaint> parse_complaint(std::string_view body) {
    ErrorsWire wire;
    try {
        wire = json::parse<ErrorsWire>(body);
    } catch (const Error&) {
        return std::nullopt;
    }
    if (wire.errors.empty()) {
        for (const std::string* each : {&wire.details, &wire.detail, &wire.message}) {
            if (!each->empty()) return Complaint{"", tame(*each)};
        }
        return std::nullopt;
    }
    Complaint out{wire.errors.front().code, {}};
    if (wire.errors.size() == 1) {
        out.text = complaint_text(out.code, wire.errors.front().message);
        return out;
    }
    out.text = "errors:\n";
    for (const ErrorWire& each : wire.errors) {
        if (out.text.size() > message_limit) break;
        out.text += complaint_text(each.code, each.message) + "\n";
    }
    return out;
}

Failure failure_of(const Request& request, const Response& response) {
    std::optional<Complaint> complaint;
    if (response.status == 401 || response.status == 403) complaint = complaint_of_challenge(response);
    if (!complaint) complaint = parse_complaint(response.body);
    if (!complaint) {
        if (response.status == 401) complaint = Complaint{"UNAUTHORIZED", complaint_text("UNAUTHORIZED", "")};
        if (response.status == 403) complaint = Complaint{"DENIED", complaint_text("DENIED", "")};
        if (response.status == 429) complaint = Complaint{"TOOMANYREQUESTS", complaint_text("TOOMANYREQUESTS", "")};
    }
    if (complaint && complaint->code.empty()) {
        const char* code = response.status == 401   ? "UNAUTHORIZED"
                           : response.status == 403 ? "DENIED"
                           : response.status == 429 ? "TOOMANYREQUESTS"
                                                    : "";
        if (*code) *complaint = {code, complaint_text(code, complaint->text)};
    }
    const bool again = response.status == 408 || response.status == 429 || (response.status >= 500 && response.status != 501);
    std::string text =
        complaint ? complaint->text : fmt::format("received unexpected HTTP status: {} {}", response.status, reason(response.status));
    if (const auto limit = rate_limit_of(response); limit && response.status == 429) text += fmt::format(" ({})", describe(*limit));
    Failure failure{kind_of(response.status, complaint ? complaint->code : std::string{}), fmt::format("{}: {}", request.text(), text),
                    again ? Retry::again : Retry::elsewhere, response.status};
    failure.code = complaint ? complaint->code : std::string{};
    failure.said = text;
    if (again) failure.retry_after = parse_retry_after(response.header("retry-after"));
    return failure;
}

std::optional<std::chrono::seconds> parse_retry_after(std::string_view text) {
    text = trim(text);
    if (text.empty()) return std::nullopt;
    if (const auto seconds = parse_uint(text)) return std::chrono::seconds{std::min<std::uint64_t>(*seconds, 1U << 30U)};
    std::tm parts{};
    const std::string date{text.substr(0, 64)};
    if (!::strptime(date.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &parts)) return std::nullopt;
    const auto wait = std::chrono::seconds{::timegm(&parts) - std::time(nullptr)};
    return std::max(wait, std::chrono::seconds{0});
}

std::optional<RateLimit> rate_limit_of(const Response& response) {
    const auto number = [](std::string_view text) { return parse_uint(trim(text.substr(0, text.find(';')))); };
    const std::string_view limit_text = response.header("ratelimit-limit");
    const auto limit = number(limit_text);
    const auto remaining = number(response.header("ratelimit-remaining"));
    if (!limit || !remaining) return std::nullopt;
    RateLimit out{*limit, *remaining, {}};
    if (const std::size_t window = limit_text.find("w="); window != std::string_view::npos) {
        out.window = std::chrono::seconds{parse_uint(trim(limit_text.substr(window + 2))).value_or(0)};
    }
    return out;
}

std::string describe(const RateLimit& limit) {
    std::string out = fmt::format("{} of {} pulls left", limit.remaining, limit.limit);
    const auto minutes = std::chrono::ceil<std::chrono::minutes>(limit.window).count();
    if (minutes >= 120) return out + fmt::format(" in {} hours", minutes / 60);
    return minutes > 0 ? out + fmt::format(" in {} minutes", minutes) : out;
}

void rethrow_for_pull(const Failure& failure, const oci::Reference& reference) {
    const auto translated = [&](std::string text) {
        Failure out{ErrorKind::not_found, std::move(text), failure.retry(), failure.status()};
        out.code = failure.code;
        throw out;
    };
    if (failure.code == "DENIED") {
        translated(fmt::format("pull access denied for {}, repository does not exist or may require 'docker login': {}",
                               reference.familiar_name(), failure.said));
    }
    if (failure.code == "NAME_UNKNOWN") translated(fmt::format("repository {} not found: {}", reference.familiar_name(), failure.said));
    if (failure.code == "MANIFEST_UNKNOWN" || failure.status() == 404) {
        const std::string said = failure.code.empty() ? "manifest unknown: manifest unknown" : failure.said;
        translated(fmt::format("manifest for {} not found: {}", reference.familiar(), said));
    }
    throw failure;
}

}  // namespace grua::registry
