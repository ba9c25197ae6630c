#include "cli/handlers.hpp"
#include "cli/output.hpp"
#include "cli/units.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <ctime>

namespace grua::cli {

namespace {

/// Local time with all nine digits of the fraction, "2026-01-02T15:04:05.000000001+01:00".
std::string event_time(const Value& event) {
    std::int64_t nanoseconds = number_at(event, "timeNano");
    if (nanoseconds == 0) nanoseconds = number_at(event, "time") * 1'000'000'000;
    const std::time_t seconds = nanoseconds / 1'000'000'000;
    std::tm parts{};
    ::localtime_r(&seconds, &parts);
    std::array<char, 64> text;
    std::string out(text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &parts));
    out += fmt::format(".{:09}", nanoseconds % 1'000'000'000);
    if (parts.tm_gmtoff == 0) return out + "Z";
    const long minutes = std::abs(parts.tm_gmtoff) / 60;
    return out + fmt::format("{}{:02}:{:02}", parts.tm_gmtoff < 0 ? '-' : '+', minutes / 60, minutes % 60);
}

std::string plain_event(const Value& event) {
    std::vector<std::string> attributes;
    if (const auto* object = at(at(event, "Actor"), "Attributes").if_object()) {
        for (const auto& [key, value] : *object) attributes.push_back(std::string(key) + "=" + print_value(value));
    }
    std::ranges::sort(attributes);
    std::string out =
        fmt::format("{} {} {} {}", event_time(event), text_at(event, "Type"), text_at(event, "Action"), text_at(at(event, "Actor"), "ID"));
    if (!attributes.empty()) out += " (" + join(attributes, ", ") + ")";
    return out + "\n";
}

}  // namespace

int show_events(Context& context, const Parsed& given) {
    const Flags& flags = given.flags;
    client::Query query;
    for (const char* bound : {"since", "until"}) {
        if (!flags.text(bound).empty()) query.add(bound, timestamp_argument(flags.text(bound)));
    }
    const std::string filters = filters_argument(flags.list("filter"));
    query.add_if(!filters.empty(), "filters", filters);
    const std::string format = flags.text("format");
    const Template shown = Template::parse(format.empty() ? "" : expand_format(format));
    TemplateOptions options;
    options.may_be_missing = [](std::string_view) { return true; };
    // Docker's template has names with capitals for members that the wire writes small.
    options.method = [](const Value& receiver, std::string_view name, std::span<const Value>) -> std::optional<Value> {
        for (const auto& [title, member] : {std::pair{"Time", "time"},
                                            {"TimeNano", "timeNano"},
                                            {"Scope", "scope"},
                                            {"Status", "status"},
                                            {"ID", "id"},
                                            {"From", "from"}}) {
            if (name == title && !at(receiver, member).is_null()) return at(receiver, member);
        }
        return std::nullopt;
    };
    client::Stream events = context.daemon().stream({.method = "GET", .target = "/events" + query.text()});
    while (const auto line = events.response.read_line()) {
        if (trim(*line).empty()) continue;
        if (format == "json" || format == "{{json .}}") {
            print(*line + "\n");
            continue;
        }
        const Value event = boost::json::parse(*line);
        print(format.empty() ? plain_event(event) : shown.run(event, options) + "\n");
    }
    return 0;
}

}  // namespace grua::cli
