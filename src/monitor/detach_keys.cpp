#include "monitor/detach_keys.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "base/utf8.hpp"

namespace grua::monitor {

std::string parse_detach_keys(std::string_view text) {
    constexpr std::string_view prefix = "ctrl-";
    constexpr unsigned control_mask = 0x1F;
    std::string out;
    for (const std::string& key : split(text, ',')) {
        const std::string lower = to_lower(key);
        // ASCII only: the keys travel as text.
        if (key.size() == 1 && static_cast<unsigned char>(key.front()) < 0x80) {
            out += key;
        } else if (key == "DEL") {
            out += '\x7f';
        } else if (lower.size() == prefix.size() + 1 && lower.starts_with(prefix)) {
            const char c = lower.back();
            const bool known = (c >= 'a' && c <= 'z') || c == '@' || (c >= '[' && c <= '_');
            if (!known) fail(ErrorKind::invalid_argument, "Unknown character: '{}'", key);
            out += static_cast<char>(static_cast<unsigned char>(c) & control_mask);
        } else {
            fail(ErrorKind::invalid_argument, "Unknown character: '{}'", key);
        }
    }
    return out;
}

void check_detach_keys(std::string_view text) {
    try {
        if (!text.empty()) (void)parse_detach_keys(text);
    } catch (const Error&) {
        fail(ErrorKind::invalid_argument, "Invalid detach keys ({}) provided", to_valid_utf8(text));
    }
}

bool DetachMatcher::feed(std::string_view bytes, std::string& out) {
    if (keys_.empty()) {
        out += bytes;
        return false;
    }
    for (const char each : bytes) {
        if (each == keys_[matched_]) {
            if (++matched_ == keys_.size()) return true;
            continue;
        }
        out.append(keys_, 0, matched_);
        matched_ = each == keys_.front() && keys_.size() > 1 ? 1 : 0;
        if (matched_ == 0) out += each;
    }
    return false;
}

}  // namespace grua::monitor
