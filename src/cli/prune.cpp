// prune: what is removed, what was, and how much room it gives.
#include "cli/docker_config.hpp"
#include "cli/handlers.hpp"
#include "cli/units.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <boost/json.hpp>

namespace grua::cli {

namespace {

/// The filters of the command line, and those of config.json that do not contradict them.
std::vector<std::string> prune_filters(const Flags& flags) {
    std::vector<std::string> out = flags.list("filter");
    const auto given = [&](const std::string& filter) { return std::ranges::find(out, filter) != out.end(); };
    for (const std::string& filter : DockerConfig::load().prune_filters()) {
        if (filter.find('=') == std::string::npos) continue;
        const bool contradicted = (filter.starts_with("label=") && given("label!=" + filter.substr(6))) ||
                                  (filter.starts_with("label!=") && given("label=" + filter.substr(7)));
        if (!contradicted && !given(filter)) out.push_back(filter);
    }
    return out;
}

/// POST …/prune, and what was deleted as docker tells it.
std::int64_t prune(client::Client& daemon, const std::string& what, const std::vector<std::string>& filters, const char* title,
                   const char* member, client::Query query = {}) {
    const std::string argument = filters_argument(filters);
    query.add_if(!argument.empty(), "filters", argument);
    const Value answer = daemon.post(fmt::format("/{}/prune{}", what, query.text()));
    if (const auto* deleted = at(answer, member).if_array(); deleted && !deleted->empty()) {
        std::string text = std::string(title) + ":\n";
        for (const Value& each : *deleted) {
            if (each.is_string())
                text += print_value(each) + "\n";
            else if (!text_at(each, "Deleted").empty())
                text += "deleted: " + text_at(each, "Deleted") + "\n";
            else
                text += "untagged: " + text_at(each, "Untagged") + "\n";
        }
        print(text + "\n");
    }
    return number_at(answer, "SpaceReclaimed");
}

/// What a daemon does not have at all, it has nothing to remove of.
std::int64_t prune_if_there(client::Client& daemon, const std::string& what, const std::vector<std::string>& filters, const char* title,
                            const char* member, const client::Query& query = {}) {
    try {
        return prune(daemon, what, filters, title, member, query);
    } catch (const client::ApiError& error) {
        if (error.status() != 501 && error.status() != 404) throw;
        return 0;
    }
}

void tell_reclaimed(std::int64_t bytes) { print(fmt::format("Total reclaimed space: {}\n", human_size(static_cast<double>(bytes)))); }

std::vector<std::string> with(std::vector<std::string> filters, const char* one) {
    filters.emplace_back(one);
    return filters;
}

/// A "no" is no failure.
constexpr int cancelled = 0;

}  // namespace

int prune_containers(Context& context, const Parsed& given) {
    if (!given.flags.on("force") && !confirmed("This will remove all stopped containers.")) return cancelled;
    tell_reclaimed(prune(context.daemon(), "containers", prune_filters(given.flags), "Deleted Containers", "ContainersDeleted"));
    return 0;
}

int prune_images(Context& context, const Parsed& given) {
    const bool all = given.flags.on("all");
    const char* warning =
        all ? "This will remove all images without at least one container associated to them." : "This will remove all dangling images.";
    if (!given.flags.on("force") && !confirmed(warning)) return cancelled;
    tell_reclaimed(prune(context.daemon(), "images", with(prune_filters(given.flags), all ? "dangling=false" : "dangling=true"),
                         "Deleted Images", "ImagesDeleted"));
    return 0;
}

int prune_volumes(Context& context, const Parsed& given) {
    const bool all = given.flags.on("all");
    const char* warning = all ? "This will remove all local volumes not used by at least one container."
                              : "This will remove anonymous local volumes not used by at least one container.";
    if (!given.flags.on("force") && !confirmed(warning)) return cancelled;
    std::vector<std::string> filters = prune_filters(given.flags);
    if (all) filters.emplace_back("all=true");
    tell_reclaimed(prune(context.daemon(), "volumes", filters, "Deleted Volumes", "VolumesDeleted"));
    return 0;
}

int prune_networks(Context& context, const Parsed& given) {
    if (!given.flags.on("force") && !confirmed("This will remove all custom networks not used by at least one container."))
        return cancelled;
    prune(context.daemon(), "networks", prune_filters(given.flags), "Deleted Networks", "NetworksDeleted");
    return 0;
}

int prune_system(Context& context, const Parsed& given) {
    const Flags& flags = given.flags;
    const bool all = flags.on("all");
    const bool volumes = flags.on("volumes");
    std::vector<std::string> filters = prune_filters(flags);
    if (volumes && std::ranges::any_of(filters, [](const std::string& filter) { return filter.starts_with("until="); }))
        fail(ErrorKind::invalid_argument, "ERROR: The \"until\" filter is not supported with \"--volumes\"");
    std::string warning = fmt::format(
        "This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n{}  - {}\n  - {}\n",
        volumes ? "  - all anonymous volumes not used by at least one container\n" : "",
        all ? "all images without at least one container associated to them" : "all dangling images",
        all ? "all build cache" : "unused build cache");
    if (!filters.empty()) {
        std::ranges::sort(filters);
        warning += "\n  Items to be pruned will be filtered with:\n";
        for (const std::string& filter : filters) warning += "  - " + filter + "\n";
    }
    if (!flags.on("force") && !confirmed(warning)) return cancelled;
    client::Client& daemon = context.daemon();
    std::int64_t bytes = prune(daemon, "containers", filters, "Deleted Containers", "ContainersDeleted");
    prune(daemon, "networks", filters, "Deleted Networks", "NetworksDeleted");
    if (volumes) bytes += prune(daemon, "volumes", filters, "Deleted Volumes", "VolumesDeleted");
    bytes += prune(daemon, "images", with(filters, all ? "dangling=false" : "dangling=true"), "Deleted Images", "ImagesDeleted");
    bytes +=
        prune_if_there(daemon, "build", filters, "Deleted build cache objects", "CachesDeleted", client::Query{}.add_if(all, "all", "1"));
    tell_reclaimed(bytes);
    return 0;
}

}  // namespace grua::cli
