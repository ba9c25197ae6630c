// What a client filters by: the first line is the filters parameter, the rest a name to match; and times and ports by themselves.
#include "api/filters.hpp"
#include "fuzz.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace grua;
    const std::string_view bytes = fuzz::text(data, size);
    const std::size_t line = bytes.find('\n');
    const std::string_view given = bytes.substr(0, line);
    const std::string_view name = line == bytes.npos ? std::string_view("some-name") : bytes.substr(line + 1);
    static_cast<void>(api::parse_timestamp(given, Time{}));
    return fuzz::refuses_or_takes([&] {
        const api::Filters filters = api::Filters::parse(given, "name id label label! publish expose is-task status");
        fuzz::check(filters.has("name") || filters.pattern("name", name));
        for (const std::string& value : filters.get("name")) fuzz::check(filters.exact("name", value) && filters.pattern("name", value));
        static_cast<void>(filters.pattern("name", name));
        static_cast<void>(filters.pattern("id", name));
        const std::map<std::string, std::string> labels{{"a", "b"}, {std::string(name), std::string(given)}};
        fuzz::check(!(filters.has("label") && filters.labels("label", {})));
        static_cast<void>(filters.labels("label", labels));
        static_cast<void>(filters.no_labels("label!", labels));
        const api::PortFilter published = api::PortFilter::parse(filters, "publish");
        const api::PortFilter exposed = api::PortFilter::parse(filters, "expose");
        static_cast<void>(published.contains(80, "tcp") && exposed.contains(65535, "udp"));
        static_cast<void>(filters.flag("is-task"));
    });
}
