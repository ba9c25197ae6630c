// The commands of the wing: build, and what there is of the builder's cache.
#include "cli/build/cache.hpp"
#include "cli/build/run.hpp"
#include "cli/context.hpp"
#include "cli/docker_config.hpp"
#include "cli/handlers.hpp"

#include "base/error.hpp"
#include "base/text.hpp"

#include <unistd.h>

namespace grua::cli {

int build_image(Context& context, const Parsed& given) {
    const BuildOptions options = read_build_options(given.flags, given.arguments.at(0));
    // A file of an older build would pass for this one's.
    if (!options.image_id_file.empty() && ::unlink(options.image_id_file.c_str()) != 0 && errno != ENOENT)
        fail_errno("removing image ID file {}", options.image_id_file);
    return run_build(context.daemon().endpoint(), options, context.debug());
}

int show_build_cache(Context& context, const Parsed& given) {
    const CacheFilter filter = read_cache_filter(given.flags.list("filter"));
    const std::vector<wire::control::UsageRecord> records = list_build_cache(context.daemon().endpoint(), filter);
    const Time time = now();
    const bool verbose = given.flags.on("verbose");
    std::string text = verbose ? "" : cache_heading();
    for (const auto& each : records) text += verbose ? cache_details(each, time) : cache_row(each, time);
    if (!verbose) text = cache_columns(text);
    if (given.flags.list("filter").empty()) text += cache_summary(records);
    print(text);
    return 0;
}

int prune_build_cache(Context& context, const Parsed& given) {
    const Flags& flags = given.flags;
    std::vector<std::string> filters = flags.list("filter");
    for (const std::string& each : DockerConfig::load().prune_filters()) filters.push_back(each);
    CacheLimits limits{.all = flags.on("all"),
                       .reserved = flags.bytes("reserved-space"),
                       .most_used = flags.bytes("max-used-space"),
                       .least_free = flags.bytes("min-free-space")};
    const CacheFilter filter = read_cache_filter(filters);
    const char* warning = limits.all ? "This will remove all build cache." : "This will remove all dangling build cache.";
    if (!flags.on("force") && !confirmed(warning)) return 0;
    const bool verbose = flags.on("verbose");
    std::int64_t total = 0;
    std::string text = verbose ? "" : cache_heading();
    bool has_any = false;
    const Time time = now();
    prune_build_cache(context.daemon().endpoint(), filter, limits, [&](const wire::control::UsageRecord& record) {
        total += record.size();
        has_any = true;
        if (verbose)
            print(cache_details(record, time));
        else
            text += cache_row(record, time);
    });
    if (!verbose && has_any) print(cache_columns(text));
    print(cache_total(total));
    return 0;
}

}  // namespace grua::cli
