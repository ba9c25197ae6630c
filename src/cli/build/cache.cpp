#include "cli/build/cache.hpp"

#include "base/error.hpp"
#include "base/units.hpp"
#include "base/utf8.hpp"
#include "cli/build/connection.hpp"
#include "cli/build/trace.hpp"
#include "cli/table.hpp"
#include "cli/units.hpp"
#include "grpc/server.hpp"

#include <algorithm>
#include <map>

namespace grua::cli {
namespace {

std::string human(std::int64_t bytes) { return human_size(static_cast<double>(bytes)); }

std::string ago(const wire::common::Timestamp& time, Time now) {
    return human_duration((now - to_time(time)).count() / 1'000'000'000) + " ago";
}

}  // namespace

CacheFilter read_cache_filter(const std::vector<std::string>& filters) {
    std::map<std::string, std::string> said;
    for (const std::string& each : filters) {
        const std::size_t equals = each.find('=');
        const std::string name = to_lower(trim(each.substr(0, equals)));
        const std::string value = equals == std::string::npos ? std::string() : std::string(trim(each.substr(equals + 1)));
        if (const auto [known, is_new] = said.emplace(name, value); !is_new && known->second != value)
            fail(ErrorKind::invalid_argument, "\"{}\" filter expects only one value", name);
    }
    if (said.contains("until") && said.contains("unused-for"))
        fail(ErrorKind::invalid_argument, "conflicting filters \"until\" and \"unused-for\"");
    CacheFilter out;
    std::vector<std::string> words;
    for (const auto& [name, value] : said) {
        if (name == "until" || name == "unused-for") {
            try {
                out.unused_for = parse_duration(value);
            } catch (const Error& error) {
                fail(ErrorKind::invalid_argument, "\"{}\" filter expects a duration (e.g., '24h'): {}", name, error.what());
            }
        } else if (value.empty()) {
            words.push_back(name);
        } else if (name == "id") {
            words.push_back(name + "~=" + value);
        } else {
            words.push_back(name + (name.ends_with('!') || name.ends_with('~') ? "=" : "==") + value);
        }
    }
    out.text = join(words, ",");
    return out;
}

std::vector<wire::control::UsageRecord> list_build_cache(const client::Endpoint& where, const CacheFilter& filter) {
    wire::control::DiskUsageRequest request;
    request.add_filter(filter.text);
    request.set_agelimit(filter.unused_for);
    std::vector<wire::control::UsageRecord> out;
    call_engine(where, "/moby.buildkit.v1.Control/DiskUsage", request.SerializeAsString(), [&](const std::string& message) {
        const auto answer = grpc::Services::parse<wire::control::DiskUsageResponse>(message);
        out.insert(out.end(), answer.record().begin(), answer.record().end());
    });
    return out;
}

void prune_build_cache(const client::Endpoint& where, const CacheFilter& filter, const CacheLimits& limits,
                       const std::function<void(const wire::control::UsageRecord&)>& removed) {
    wire::control::PruneRequest request;
    request.add_filter(filter.text);
    request.set_all(limits.all);
    request.set_keepduration(filter.unused_for);
    request.set_reservedspace(limits.reserved);
    request.set_maxusedspace(limits.most_used);
    request.set_minfreespace(limits.least_free);
    call_engine(where, "/moby.buildkit.v1.Control/Prune", request.SerializeAsString(),
                [&](const std::string& message) { removed(grpc::Services::parse<wire::control::UsageRecord>(message)); });
}

std::string cache_heading() { return "ID\tRECLAIMABLE\tSIZE\tLAST ACCESSED\n"; }

std::string cache_row(const wire::control::UsageRecord& record, Time now) {
    return fmt::format("{}{}\t{}\t{}{}\t{}\n", printable(record.id()), record.mutable_() ? "*" : "", !record.inuse(), human(record.size()),
                       record.shared() ? "*" : "", record.has_lastusedat() ? ago(record.lastusedat(), now) : "");
}

std::string cache_columns(const std::string& rows) { return align_columns(rows); }

std::string cache_details(const wire::control::UsageRecord& record, Time now) {
    std::string out = fmt::format("ID:\t{}\n", printable(record.id()));
    if (record.parents_size() > 0) {
        std::vector<std::string> parents;
        for (const std::string& each : record.parents()) parents.push_back(printable(each));
        out += fmt::format("Parent:\t{}\n", join(parents, ","));
    }
    out += fmt::format("Created at:\t{}\nMutable:\t{}\nReclaimable:\t{}\nShared:\t{}\nSize:\t{}\n",
                       format_time(to_time(record.createdat())), record.mutable_(), !record.inuse(), record.shared(), human(record.size()));
    if (!record.description().empty()) out += fmt::format("Description:\t{}\n", printable(record.description()));
    out += fmt::format("Usage count:\t{}\n", record.usagecount());
    if (record.has_lastusedat()) out += fmt::format("Last used:\t{}\n", ago(record.lastusedat(), now));
    if (!record.recordtype().empty()) out += fmt::format("Type:\t{}\n", printable(record.recordtype()));
    return align_columns(out) + "\n";
}

std::string cache_summary(const std::vector<wire::control::UsageRecord>& records) {
    std::int64_t total = 0;
    std::int64_t reclaimable = 0;
    std::int64_t shared = 0;
    for (const auto& each : records) {
        total += std::max<std::int64_t>(each.size(), 0);
        if (!each.inuse()) reclaimable += std::max<std::int64_t>(each.size(), 0);
        if (each.shared()) shared += each.size();
    }
    std::string out;
    if (shared > 0) out += fmt::format("Shared:\t{}\nPrivate:\t{}\n", human(shared), human(total - shared));
    out += fmt::format("Reclaimable:\t{}\nTotal:\t{}\n", human(reclaimable), human(total));
    return align_columns(out);
}

std::string cache_total(std::int64_t bytes) { return align_columns(fmt::format("Total:\t{}\n", human(bytes))); }

}  // namespace grua::cli
