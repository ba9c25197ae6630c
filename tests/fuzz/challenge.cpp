// WWW-Authenticate, Link, Retry-After and the error documents of registries: foreign texts that become parts of requests and messages.
#include "registry/challenge.hpp"
#include "fuzz.hpp"
#include "registry/answers.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace grua;
    const std::string_view text = fuzz::text(data, size);
    for (const registry::Challenge& each : registry::parse_challenges(text)) {
        fuzz::check(!each.scheme.empty());
        for (const auto& [name, value] : each.parameters) {
            fuzz::check(!name.empty());
            // A value goes into a URL or a header.
            fuzz::check(value.find_first_of(std::string_view("\r\n\0", 3)) == std::string::npos);
        }
    }
    static_cast<void>(registry::next_link(text));
    static_cast<void>(registry::parse_retry_after(text));
    if (const auto complaint = registry::parse_complaint(text)) {
        fuzz::check(!complaint->text.empty() && complaint->text.find('\x1b') == std::string::npos);
    }
    return fuzz::refuses_or_takes([&] { static_cast<void>(registry::Url::parse(text)); });
}
