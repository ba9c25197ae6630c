#include "engine/model/signals.hpp"

#include "base/error.hpp"
#include "base/text.hpp"

#include <csignal>
#include <cstring>

namespace grua::engine {
namespace {

constexpr int last_signal = 64;
constexpr int first_realtime = 34;  // As in a program: the C library keeps two for itself.

}  // namespace

int parse_signal(std::string_view text) {
    if (const auto number = parse_int(text)) {
        if (*number < 1) fail(ErrorKind::invalid_argument, "invalid signal: {}", text);
        if (*number > last_signal) fail(ErrorKind::invalid_argument, "the linux daemon does not support signal {}", text);
        return static_cast<int>(*number);
    }
    std::string name = to_lower(text);
    if (name.starts_with("sig")) name.erase(0, 3);
    if (name == "iot") return SIGABRT;
    if (name == "cld") return SIGCHLD;
    if (name == "poll") return SIGPOLL;
    for (int signal = 1; signal < 32; ++signal) {
        const char* abbreviation = ::sigabbrev_np(signal);
        if (abbreviation && to_lower(abbreviation) == name) return signal;
    }
    const bool from_start = name.starts_with("rtmin");
    if (from_start || name.starts_with("rtmax")) {
        const std::string_view rest = std::string_view(name).substr(5);
        const auto offset = rest.empty() ? std::optional<std::int64_t>(0) : parse_int(rest.starts_with('+') ? rest.substr(1) : rest);
        if (offset) {
            const std::int64_t signal = (from_start ? first_realtime : last_signal) + *offset;
            if (signal >= first_realtime && signal <= last_signal) return static_cast<int>(signal);
        }
    }
    fail(ErrorKind::invalid_argument, "invalid signal: {}", text);
}

}  // namespace grua::engine
