// Times, numbers and bytes that become text.
#include "base/text.hpp"
#include "base/utf8.hpp"
#include "fuzz.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace grua;
    const std::string_view text = fuzz::text(data, size);
    if (const auto time = parse_time(text)) {
        fuzz::check(parse_time(format_time(*time)) == time);
        static_cast<void>(now() - *time);
    }
    const std::string valid = to_valid_utf8(text);
    fuzz::check(is_valid_utf8(valid) && (valid == text) == is_valid_utf8(text) && to_valid_utf8(valid) == valid);
    if (size > 0) {
        const std::string_view cut = cut_utf8(valid, data[0]);
        fuzz::check(cut.size() <= data[0] && is_valid_utf8(cut));
    }
    fuzz::check(join(split(text, '/'), "/") == text);
    if (const auto number = parse_int(text)) fuzz::check(parse_int(std::to_string(*number)) == number);
    return 0;
}
