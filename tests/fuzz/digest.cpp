// Digests become parts of paths: nothing but algorithm and hex digits may pass.
#include "oci/digest.hpp"
#include "fuzz.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace grua;
    const std::string_view text = fuzz::text(data, size);
    const auto digest = oci::Digest::parse(text);
    if (!digest) return fuzz::refuses_or_takes([&] { static_cast<void>(oci::Digest::from(text)); });
    fuzz::check(digest->text() == text);
    fuzz::check(digest->algorithm() == "sha256" ? digest->hex().size() == 64 : digest->hex().size() == 128);
    fuzz::check(digest->hex().find_first_not_of("0123456789abcdef") == std::string_view::npos);
    return 0;
}
