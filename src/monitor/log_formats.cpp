#include "monitor/log_formats.hpp"

#include "base/codec.hpp"
#include "base/utf8.hpp"

#include <array>
#include <charconv>
#include <utility>

namespace grua::monitor {
namespace {

constexpr std::string_view lower_digits = "0123456789abcdef";
constexpr std::string_view upper_digits = "0123456789ABCDEF";
constexpr std::int64_t nanoseconds = 1'000'000'000;

void append_escaped(std::string& out, std::string_view text) {
    while (!text.empty()) {
        // What needs nothing is most of it.
        const auto plain = [](char c) { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&'; };
        std::size_t run = 0;
        while (run < text.size() && plain(text[run])) ++run;
        out += text.substr(0, run);
        text.remove_prefix(run);
        if (text.empty()) return;
        const std::size_t length = utf8_length(text);
        const char c = text.front();
        if (length == 0) {
            out += "\\ufffd";
            text.remove_prefix(1);
            continue;
        }
        const std::string_view character = text.substr(0, length);
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (c == '\n') {
            out += "\\n";
        } else if (c == '\r') {
            out += "\\r";
        } else if (length == 1 && (static_cast<unsigned char>(c) < 0x20 || c == '<' || c == '>' || c == '&')) {
            out += "\\u00";
            out += lower_digits[static_cast<unsigned char>(c) >> 4U];
            out += lower_digits[static_cast<unsigned char>(c) & 15U];
        } else if (character == "\u2028" || character == "\u2029") {
            out += character == "\u2028" ? "\\u2028" : "\\u2029";
        } else {
            out += character;
        }
        text.remove_prefix(length);
    }
}

void append_query_escaped(std::string& out, std::string_view text) {
    for (const char c : text) {
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (letter || c == '-' || c == '_' || c == '.' || c == '~') {
            out += c;
        } else if (c == ' ') {
            out += '+';
        } else {
            out += '%';
            out += upper_digits[static_cast<unsigned char>(c) >> 4U];
            out += upper_digits[static_cast<unsigned char>(c) & 15U];
        }
    }
}

std::optional<std::string> query_unescaped(std::string_view text) {
    std::string out;
    for (std::size_t at = 0; at < text.size(); ++at) {
        if (text[at] != '%') {
            out += text[at] == '+' ? ' ' : text[at];
            continue;
        }
        if (text.size() - at < 3) return std::nullopt;
        unsigned byte = 0;
        const auto [end, error] = std::from_chars(text.data() + at + 1, text.data() + at + 3, byte, 16);
        if (error != std::errc{} || end != text.data() + at + 3) return std::nullopt;
        out += static_cast<char>(byte);
        at += 2;
    }
    return out;
}

std::optional<LogAttributes> decode_attributes(std::string_view text) {
    LogAttributes out;
    for (const std::string& pair : split(text, ',')) {
        const std::size_t equals = pair.find('=');
        if (equals == std::string::npos) return std::nullopt;
        auto key = query_unescaped(std::string_view(pair).substr(0, equals));
        auto value = query_unescaped(std::string_view(pair).substr(equals + 1));
        if (!key || !value) return std::nullopt;
        out.insert_or_assign(std::move(*key), std::move(*value));
    }
    return out;
}

struct JsonEntry {
    std::string log;
    std::string stream;
    LogAttributes attributes;
    std::string time;
    template <typename Self = JsonEntry>
    static json::Fields fields() {
        return json::Fields{json::field("log", &Self::log), json::field("stream", &Self::stream), json::field("attrs", &Self::attributes),
                            json::field("time", &Self::time)};
    }
};

std::optional<LogEntry> parse_json(std::string_view text) {
    try {
        JsonEntry entry = json::parse<JsonEntry>(text);
        const auto time = parse_time(entry.time);
        if (!time) return std::nullopt;
        return LogEntry{.time = *time,
                        .from_stderr = entry.stream == "stderr",
                        .text = std::move(entry.log),
                        .attributes = std::move(entry.attributes)};
    } catch (const Error&) {
        return std::nullopt;
    }
}

constexpr std::size_t fraction_digits = 9;

std::optional<LogEntry> parse_local(std::string_view text) {
    const std::size_t dot = text.find('.');
    if (dot == std::string_view::npos || text.size() < dot + fraction_digits + 4) return std::nullopt;
    const auto seconds = parse_int(text.substr(0, dot));
    const auto fraction = parse_uint(text.substr(dot + 1, fraction_digits));
    text.remove_prefix(dot + 1 + fraction_digits);
    constexpr std::int64_t latest = std::int64_t{1} << 33U;
    if (!seconds || !fraction || *seconds < -latest || *seconds > latest || text.front() != ' ') return std::nullopt;
    const char kind = text[1];
    if (kind != 'o' && kind != 'O' && kind != 'e' && kind != 'E') return std::nullopt;
    LogEntry out;
    out.time = Time{std::chrono::seconds(*seconds) + std::chrono::nanoseconds(*fraction)};
    out.from_stderr = kind == 'e' || kind == 'E';
    text.remove_prefix(2);
    if (text.front() == '?') {
        const std::size_t end = text.find(' ');
        if (end == std::string_view::npos) return std::nullopt;
        auto attributes = decode_attributes(text.substr(1, end - 1));
        if (!attributes) return std::nullopt;
        out.attributes = std::move(*attributes);
        text.remove_prefix(end);
    }
    if (text.front() != ' ') return std::nullopt;
    out.text = text.substr(1);
    if (kind == 'o' || kind == 'e') out.text += '\n';
    return out;
}

void append_local_time(std::string& out, Time time) {
    const std::int64_t all = time.time_since_epoch().count();
    const std::int64_t fraction = ((all % nanoseconds) + nanoseconds) % nanoseconds;
    std::array<char, 24> digits{};
    const auto [end, error] = std::to_chars(digits.data(), digits.data() + digits.size(), (all - fraction) / nanoseconds);
    out.append(digits.data(), end);
    const auto [end_of_fraction, ignored] = std::to_chars(digits.data(), digits.data() + digits.size(), fraction);
    const auto length = static_cast<std::size_t>(end_of_fraction - digits.data());
    out += '.';
    out.append(fraction_digits - length, '0');
    out.append(digits.data(), length);
}

}  // namespace

std::string encode_attributes(const LogAttributes& attributes) {
    std::string out;
    for (const auto& [key, value] : attributes) {
        if (!out.empty()) out += ',';
        append_query_escaped(out, key);
        out += '=';
        append_query_escaped(out, value);
    }
    return out;
}

LogEncoder::LogEncoder(LogFormat format, const LogAttributes& attributes) : format_(format) {
    if (attributes.empty()) return;
    if (format_ == LogFormat::local) {
        attributes_ = "?" + encode_attributes(attributes);
        return;
    }
    for (const auto& [key, value] : attributes) {
        attributes_ += attributes_.empty() ? R"(,"attrs":{")" : ",\"";
        append_escaped(attributes_, key);
        attributes_ += "\":\"";
        append_escaped(attributes_, value);
        attributes_ += '"';
    }
    attributes_ += '}';
}

void LogEncoder::append(std::string& out, const LogLine& line) const {
    const bool is_stdout = line.stream == Stream::standard_output;
    if (format_ == LogFormat::local) {
        append_local_time(out, line.time);
        out += ' ';
        out += line.goes_on() ? (is_stdout ? 'O' : 'E') : (is_stdout ? 'o' : 'e');
        out += attributes_;
        out += ' ';
        out += line.text;
        out += '\n';
        return;
    }
    out += R"({"log":")";
    append_escaped(out, line.text);
    if (!line.goes_on()) out += "\\n";
    out += is_stdout ? R"(","stream":"stdout")" : R"(","stream":"stderr")";
    out += attributes_;
    out += R"(,"time":")";
    out += format_time(line.time);
    out += "\"}\n";
}

std::optional<LogEntry> parse_log_line(std::string_view line, LogFormat format) {
    return format == LogFormat::json ? parse_json(line) : parse_local(line);
}

}  // namespace grua::monitor
