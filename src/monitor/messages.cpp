#include "monitor/messages.hpp"

#include "base/files.hpp"

#include <array>
#include <utility>

namespace grua::monitor {
namespace {

constexpr std::array<std::pair<ErrorKind, std::string_view>, 9> kinds{{{ErrorKind::invalid_argument, "invalid_argument"},
                                                                       {ErrorKind::not_found, "not_found"},
                                                                       {ErrorKind::conflict, "conflict"},
                                                                       {ErrorKind::not_modified, "not_modified"},
                                                                       {ErrorKind::unauthorized, "unauthorized"},
                                                                       {ErrorKind::forbidden, "forbidden"},
                                                                       {ErrorKind::unavailable, "unavailable"},
                                                                       {ErrorKind::not_implemented, "not_implemented"},
                                                                       {ErrorKind::system, "system"}}};

unsigned digit(char c) {
    if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
    if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a' + 10);
    fail(ErrorKind::invalid_argument, "not a hexadecimal digit: {:?}", c);
}

}  // namespace

void check_version(int version, std::string_view who) {
    if (version >= oldest_version && version <= protocol_version) return;
    fail(ErrorKind::unavailable, "{} speaks version {} of the messages, and this is a grua of {} to {}: the two are not of one release",
         who, version, oldest_version, protocol_version);
}

Failure to_failure(const Error& error) {
    std::string_view name = "system";
    for (const auto& [kind, text] : kinds)
        if (kind == error.kind()) name = text;
    return {.kind = std::string(name), .os_error = error.os_error(), .message = error.what()};
}

Error to_error(const Failure& failure) {
    ErrorKind found = ErrorKind::system;
    for (const auto& [kind, text] : kinds)
        if (text == failure.kind) found = kind;
    return {found, failure.message, failure.os_error};
}

std::string to_hex(std::string_view bytes) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string out;
    out.reserve(bytes.size() * 2);
    for (const char each : bytes) {
        const auto byte = static_cast<unsigned char>(each);
        out += digits[byte >> 4U];
        out += digits[byte & 15U];
    }
    return out;
}

std::string from_hex(std::string_view text) {
    if (text.size() % 2 != 0) fail(ErrorKind::invalid_argument, "an odd number of hexadecimal digits");
    std::string out;
    out.reserve(text.size() / 2);
    for (std::size_t i = 0; i < text.size(); i += 2) out += static_cast<char>(digit(text[i]) << 4U | digit(text[i + 1]));
    return out;
}

std::optional<Exited> read_exit_file(const std::string& directory) {
    try {
        return decode<Exited>(read_file(directory + "/exit.json"));
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::not_found) return std::nullopt;
        throw;
    }
}

}  // namespace grua::monitor
