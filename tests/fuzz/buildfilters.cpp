// Filters as clients of BuildKit send them, and what the history of builds hides of what they ask for.
#include "build/filter.hpp"
#include "build/history_record.hpp"
#include "fuzz.hpp"

#include <string>

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace grua;
    const std::string bytes(fuzz::text(data, size));
    const std::string shown = build::text_without_credentials(bytes);
    fuzz::check(build::text_without_credentials(shown) == shown);
    fuzz::refuses_or_takes([&] {
        const build::Filter filter = build::Filter::parse({bytes});
        const auto fields = [](const std::string& path) { return std::optional(path); };
        // One that matches does so beside others, too.
        fuzz::check(!filter.matches(fields) || build::Filter::parse({bytes, "nowhere==1"}).matches(fields));
    });
    return fuzz::refuses_or_takes([&] {
        build::HistoryRecord record;
        record.set_ref(bytes);
        static_cast<void>(build::HistoryFilter::parse({bytes}, Time{}).matches(record));
    });
}
