// The builder's cache: what is in it, and what of it is removed.
#pragma once

#include "base/text.hpp"
#include "build/wire/control.pb.h"
#include "client/endpoint.hpp"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace grua::cli {

struct CacheFilter {
    std::int64_t unused_for = 0;  ///< Nanoseconds.
    std::string text;             ///< As the protocol has it: "type==regular,id~=x".
};

/// "until=24h", "type=regular", "id=x", "shared". Throws Error(invalid_argument).
CacheFilter read_cache_filter(const std::vector<std::string>& filters);

struct CacheLimits {
    bool all = false;
    std::int64_t reserved = 0;    ///< Bytes that stay in any case.
    std::int64_t most_used = 0;   ///< More is removed.
    std::int64_t least_free = 0;  ///< Of the disk.
};

std::vector<wire::control::UsageRecord> list_build_cache(const client::Endpoint& where, const CacheFilter& filter);

/// `removed` for each record, as it is removed.
void prune_build_cache(const client::Endpoint& where, const CacheFilter& filter, const CacheLimits& limits,
                       const std::function<void(const wire::control::UsageRecord&)>& removed);

std::string cache_heading();
std::string cache_row(const wire::control::UsageRecord& record, Time now);
std::string cache_columns(const std::string& rows);
std::string cache_details(const wire::control::UsageRecord& record, Time now);
std::string cache_summary(const std::vector<wire::control::UsageRecord>& records);
std::string cache_total(std::int64_t bytes);

}  // namespace grua::cli
