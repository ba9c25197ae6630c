#include "build/usage_plan.hpp"

#include "base/error.hpp"
#include "base/units.hpp"
#include "build/journal.hpp"
#include "content/hash.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <set>

namespace grua::build {
namespace {

constexpr std::size_t id_size = 25;

std::uint64_t size_of(std::int64_t bytes, std::string_view name) {
    if (bytes < 0) fail(ErrorKind::invalid_argument, "{}: {} is negative", name, bytes);
    return static_cast<std::uint64_t>(bytes);
}

/// Bytes that may stay; 0 where nothing says so.
std::uint64_t kept_bytes(const PruneOptions& options, std::uint64_t total, std::uint64_t free) {
    std::uint64_t out = options.max_used_space != 0 ? options.max_used_space : std::numeric_limits<std::uint64_t>::max();
    if (options.min_free_space > free) {
        const std::uint64_t missing = options.min_free_space - free;
        out = std::min(out, total - std::min(total, missing));
    }
    // With nothing but a reserve all goes that is more.
    if (options.max_used_space == 0 && options.min_free_space == 0) out = 0;
    return std::max(out, options.reserved_space);
}

bool has_space_limits(const PruneOptions& options) {
    return options.max_used_space != 0 || options.reserved_space != 0 || options.min_free_space != 0;
}

std::optional<std::string> present_if(bool is_so) { return is_so ? std::optional<std::string>("true") : std::nullopt; }

bool is_one_of(const auto& names, const std::string& name) {
    return std::ranges::any_of(names, [&](const char* each) { return name == each; });
}

std::chrono::nanoseconds parse_until(const std::string& text, Time now) {
    if (const std::optional<Time> time = parse_time(text)) return now - *time;
    if (const auto seconds = parse_int(text)) return now - Time(std::chrono::seconds(*seconds));
    try {
        return std::chrono::nanoseconds(parse_duration(text));
    } catch (const Error&) {
        fail(ErrorKind::invalid_argument, "\"until\" filter expects a duration (e.g., '24h') or a timestamp: {}", text);
    }
}

}  // namespace

std::string usage_id(std::string_view of) { return std::string(content::digest_of(of).hex().substr(0, id_size)); }

bool matches(const Filter& filter, const UsageEntry& entry) {
    return filter.matches([&](const std::string& path) -> std::optional<std::string> {
        if (path == "id") return entry.id;
        if (path == "type") return entry.type;
        if (path == "description") return entry.description.empty() ? std::nullopt : std::optional(entry.description);
        if (path == "parents" || path == "parent") return entry.parents.empty() ? std::nullopt : std::optional(join(entry.parents, ";"));
        if (path == "inuse") return present_if(entry.in_use);
        if (path == "mutable") return present_if(entry.is_mutable);
        if (path == "immutable") return present_if(!entry.is_mutable);
        if (path == "shared") return present_if(entry.is_shared);
        if (path == "private") return present_if(!entry.is_shared);
        return std::nullopt;
    });
}

wire::control::UsageRecord to_record(const UsageEntry& entry) {
    wire::control::UsageRecord out;
    out.set_id(entry.id);
    out.set_mutable_(entry.is_mutable);
    out.set_inuse(entry.in_use);
    out.set_size(static_cast<std::int64_t>(entry.bytes));
    *out.mutable_createdat() = to_timestamp(entry.created);
    if (entry.last_used != Time{}) *out.mutable_lastusedat() = to_timestamp(entry.last_used);
    out.set_usagecount(entry.uses);
    out.set_description(entry.description);
    out.set_recordtype(entry.type);
    out.set_shared(entry.is_shared);
    for (const std::string& each : entry.parents) out.add_parents(each);
    return out;
}

PruneOptions read_prune_request(const wire::control::PruneRequest& request) {
    return {.filters = {request.filter().begin(), request.filter().end()},
            .all = request.all(),
            .unused = std::chrono::nanoseconds(size_of(request.keepduration(), "keepDuration")),
            .reserved_space = size_of(request.reservedspace(), "reservedSpace"),
            .max_used_space = size_of(request.maxusedspace(), "maxUsedSpace"),
            .min_free_space = size_of(request.minfreespace(), "minFreeSpace")};
}

void read_docker_filters(const std::map<std::string, std::vector<std::string>, std::less<>>& filters, Time now, PruneOptions& out) {
    static constexpr std::array fields{"id", "parent", "type", "description"};
    static constexpr std::array facts{"inuse", "shared", "private"};
    if (filters.contains("until") && filters.contains("unused-for"))
        fail(ErrorKind::invalid_argument, "conflicting filters: \"until\" and \"unused-for\"");
    std::vector<std::string> selectors;
    for (const auto& [name, values] : filters) {
        if (values.size() > 1) fail(ErrorKind::invalid_argument, "{}: filters expect only one value", name);
        if (name == "until" || name == "unused-for") {
            if (!values.empty()) out.unused = parse_until(values[0], now);
        } else if (is_one_of(facts, name) || (values.empty() && is_one_of(fields, name))) {
            const std::string value = values.empty() ? "true" : to_lower(values[0]);
            if (value == "true" || value == "1" || value.empty())
                selectors.push_back(name);
            else if (value == "false" || value == "0")
                selectors.push_back(name + "!=true");
            else
                fail(ErrorKind::invalid_argument, "invalid filter '{}={}'", name, values[0]);
        } else if (is_one_of(fields, name)) {
            // As quoted text: nothing in it is a selector of its own.
            std::string quoted;
            for (const char c : values[0]) {
                if (c == '"' || c == '\\') quoted.push_back('\\');
                quoted.push_back(c);
            }
            selectors.push_back(fmt::format("{}{}\"{}\"", name, name == "id" ? "~=" : "==", quoted));
        } else {
            fail(ErrorKind::invalid_argument, "invalid filter '{}'", name);
        }
    }
    if (!selectors.empty()) out.filters = {join(selectors, ",")};
}

std::vector<std::size_t> plan_prune(const std::vector<UsageEntry>& entries, const PruneOptions& options, Time now, std::uint64_t free) {
    const Filter filter = Filter::parse(options.filters);
    std::map<std::string_view, std::size_t> places;
    for (std::size_t at = 0; at < entries.size(); ++at) places.emplace(entries[at].id, at);
    std::vector<std::size_t> children(entries.size());
    const auto each_parent = [&](std::size_t of, const auto& tell) {
        for (const std::string& parent : entries[of].parents)
            if (const auto found = places.find(parent); found != places.end() && found->second != of) tell(found->second);
    };
    for (std::size_t at = 0; at < entries.size(); ++at) each_parent(at, [&](std::size_t parent) { ++children[parent]; });

    const auto may_go = [&](std::size_t at) {
        const UsageEntry& entry = entries[at];
        if (entry.in_use || children[at] != 0) return false;
        if (!options.all && (entry.type == "internal" || entry.type == "frontend" || entry.is_shared)) return false;
        if (options.unused.count() != 0 && entry.last_used > now - options.unused) return false;
        return matches(filter, entry);
    };
    std::uint64_t total = 0;
    for (const UsageEntry& each : entries)
        if (!each.is_shared) total += each.bytes;
    const bool is_limited = has_space_limits(options);
    const std::uint64_t kept = is_limited ? kept_bytes(options, total, free) : 0;

    // The one that was used longest ago of those that nothing stands on.
    std::set<std::pair<Time, std::size_t>> next;
    for (std::size_t at = 0; at < entries.size(); ++at)
        if (may_go(at)) next.emplace(entries[at].last_used, at);
    std::vector<std::size_t> out;
    while (!next.empty() && (!is_limited || total > kept)) {
        const std::size_t at = next.extract(next.begin()).value().second;
        out.push_back(at);
        if (!entries[at].is_shared) total -= entries[at].bytes;
        each_parent(at, [&](std::size_t parent) {
            if (--children[parent] == 0 && may_go(parent)) next.emplace(entries[parent].last_used, parent);
        });
    }
    return out;
}

void mark_used_parents(std::vector<UsageEntry>& entries) {
    std::map<std::string_view, UsageEntry*> by_id;
    for (UsageEntry& each : entries) by_id.emplace(each.id, &each);
    std::vector<const UsageEntry*> open;
    for (const UsageEntry& each : entries)
        if (each.in_use) open.push_back(&each);
    while (!open.empty()) {
        const UsageEntry& entry = *open.back();
        open.pop_back();
        for (const std::string& parent : entry.parents) {
            const auto found = by_id.find(parent);
            if (found == by_id.end() || std::exchange(found->second->in_use, true)) continue;
            open.push_back(found->second);
        }
    }
}

}  // namespace grua::build
