// The commands of the wing: build, and what there is of the builder's cache and of its history.
#include "cli/build/cache.hpp"
#include "cli/build/display.hpp"
#include "cli/build/history.hpp"
#include "cli/build/history_commands.hpp"
#include "cli/build/reproducible.hpp"
#include "cli/build/run.hpp"
#include "cli/context.hpp"
#include "cli/docker_config.hpp"
#include "cli/handlers.hpp"
#include "cli/output.hpp"

#include "base/error.hpp"
#include "base/text.hpp"

#include <unistd.h>
#include <array>
#include <memory>

namespace grua::cli {
namespace {

constexpr std::array history_headings{
    Heading{"Ref", "BUILD ID"},       Heading{"Name", "NAME"},          Heading{"Status", "STATUS"},
    Heading{"Steps", "STEPS"},        Heading{"CachedSteps", "CACHED"}, Heading{"CreatedAt", "CREATED AT"},
    Heading{"Created", "CREATED AT"}, Heading{"Duration", "DURATION"},
};

}  // namespace

int build_image(Context& context, const Parsed& given) {
    BuildOptions options = read_build_options(given.flags, given.arguments.at(0));
    if (options.is_reproducible) make_reproducible(options);
    // A file of an older build would pass for this one's.
    if (!options.image_id_file.empty() && ::unlink(options.image_id_file.c_str()) != 0 && errno != ENOENT)
        fail_errno("removing image ID file {}", options.image_id_file);
    const client::Endpoint& where = context.daemon().endpoint();
    return options.is_checked ? build_twice(where, options, context.debug()) : run_build(where, options, context.debug());
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

int list_build_history(Context& context, const Parsed& given) {
    const Flags& flags = given.flags;
    const std::vector<BuildRecord> builds = list_builds(context.daemon().endpoint(), history_filters(flags.list("filter")));
    if (flags.on("quiet")) {
        for (const BuildRecord& each : builds) print(each.ref() + "\n");
        return 0;
    }
    const Time time = now();
    std::vector<Value> rows;
    for (const BuildRecord& each : builds) rows.push_back(history_row(each, !flags.on("no-trunc"), time));
    print(render_rows(
        {.default_table = "{{.Ref}}\t{{.Name}}\t{{.Status}}\t{{.Created}}\t{{.Duration}}", .headings = history_headings, .method = {}},
        flags.text("format"), rows));
    return 0;
}

int inspect_build_history(Context& context, const Parsed& given) {
    const client::Endpoint& where = context.daemon().endpoint();
    const std::vector<BuildRecord> builds = list_builds(where, {});
    const BuildRecord& build = choose_build(builds, given.arguments.empty() ? std::string() : given.arguments[0]);
    if (given.flags.given("why")) {
        print(why_of(where, builds, build, given.flags.text("why")));
        return 0;
    }
    std::vector<wire::control::StatusResponse> told;
    if (build.has_completedat()) replay_build(where, build.ref(), [&](const wire::control::StatusResponse& each) { told.push_back(each); });
    const Value document = history_document(build, steps_of(told), now());
    const std::string format = given.flags.text("format");
    print(format.empty() ? history_details(document) : render_document(format, document));
    return 0;
}

int build_history_logs(Context& context, const Parsed& given) {
    const client::Endpoint& where = context.daemon().endpoint();
    const std::string progress = given.flags.text("progress");
    if (progress != "plain" && progress != "rawjson")
        fail(ErrorKind::invalid_argument, "--progress {}: a log is shown as plain or rawjson", progress);
    const std::vector<BuildRecord> builds = list_builds(where, {});
    const BuildRecord& build = choose_build(builds, given.arguments.empty() ? std::string() : given.arguments[0]);
    std::unique_ptr<BuildDisplay> display;
    if (progress == "rawjson")
        display = std::make_unique<JsonDisplay>();
    else
        display = std::make_unique<PlainDisplay>();
    // One that runs is followed to its end.
    replay_build(where, build.ref(), [&](const wire::control::StatusResponse& told) { print(display->take(told, now())); });
    print(display->finish(now()));
    return 0;
}

int remove_build_history(Context& context, const Parsed& given) {
    const client::Endpoint& where = context.daemon().endpoint();
    const bool is_all = given.flags.on("all");
    if (is_all != given.arguments.empty())
        fail(ErrorKind::invalid_argument, "{}",
             is_all ? "--all and builds cannot be given together" : "which builds? Name them, or use --all");
    const std::vector<BuildRecord> builds = list_builds(where, {});
    if (is_all) {
        for (const BuildRecord& each : builds)
            if (each.has_completedat()) remove_build(where, each.ref());
        return 0;
    }
    return for_each_name(given.arguments, [&](const std::string& name) { remove_build(where, choose_build(builds, name).ref()); });
}

}  // namespace grua::cli
