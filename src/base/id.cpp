#include "base/id.hpp"

#include "base/error.hpp"

#include <sys/random.h>
#include <algorithm>
#include <array>
#include <vector>

namespace grua {

std::string random_hex(std::size_t size) {
    std::vector<unsigned char> bytes(size);
    for (std::size_t done = 0; done < size;) {
        const ssize_t got = ::getrandom(bytes.data() + done, size - done, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) fail_errno("read random bytes");
        done += static_cast<std::size_t>(got);
    }
    constexpr std::string_view digits = "0123456789abcdef";
    std::string text;
    text.reserve(size * 2);
    for (const unsigned char byte : bytes) {
        text += digits[byte >> 4U];
        text += digits[byte & 15U];
    }
    return text;
}

std::string random_id() {
    for (;;) {
        std::string id = random_hex(32);
        if (std::ranges::any_of(short_id(id), [](char c) { return c >= 'a'; })) return id;
    }
}

bool is_full_id(std::string_view text) noexcept {
    return text.size() == 64 && std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

}  // namespace grua
