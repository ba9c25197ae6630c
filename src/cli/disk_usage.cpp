#include "cli/handlers.hpp"
#include "cli/output.hpp"
#include "cli/table.hpp"
#include "cli/units.hpp"

#include "base/id.hpp"
#include "base/text.hpp"

#include <array>
#include <boost/json.hpp>

namespace grua::cli {

namespace {

const boost::json::array& list_at(const Value& document, const char* member) {
    static const boost::json::array nothing;
    const auto* list = at(document, member).if_array();
    return list ? *list : nothing;
}

struct Usage {
    const char* type;
    std::int64_t count = 0;
    std::int64_t active = 0;
    std::int64_t size = 0;
    std::int64_t reclaimable = 0;
    bool percentage = true;
};

bool is_active(const Value& container) {
    const std::string state = text_at(container, "State");
    return state == "running" || state == "paused" || state == "restarting";
}

Usage images_usage(const Value& usage) {
    Usage out{.type = "Images"};
    out.size = number_at(usage, "LayersSize");
    std::int64_t used = 0;
    for (const Value& image : list_at(usage, "Images")) {
        ++out.count;
        if (number_at(image, "Containers") <= 0) continue;
        ++out.active;
        const std::int64_t shared = number_at(image, "SharedSize");
        if (number_at(image, "Size") != -1 && shared != -1) used += number_at(image, "Size") - shared;
    }
    out.reclaimable = std::max<std::int64_t>(out.size - used, 0);
    return out;
}

Usage containers_usage(const Value& usage) {
    Usage out{.type = "Containers"};
    for (const Value& container : list_at(usage, "Containers")) {
        ++out.count;
        const std::int64_t size = number_at(container, "SizeRw");
        out.size += size;
        if (is_active(container))
            ++out.active;
        else
            out.reclaimable += size;
    }
    return out;
}

Usage volumes_usage(const Value& usage) {
    Usage out{.type = "Local Volumes"};
    for (const Value& volume : list_at(usage, "Volumes")) {
        ++out.count;
        const Value& data = at(volume, "UsageData");
        const std::int64_t size = std::max<std::int64_t>(number_at(data, "Size"), 0);
        out.size += size;
        if (number_at(data, "RefCount") > 0)
            ++out.active;
        else
            out.reclaimable += size;
    }
    return out;
}

Usage cache_usage(const Value& usage) {
    Usage out{.type = "Build Cache", .percentage = false};
    for (const Value& entry : list_at(usage, "BuildCache")) {
        ++out.count;
        const std::int64_t size = bool_at(entry, "Shared") ? 0 : number_at(entry, "Size");
        out.size += size;
        if (bool_at(entry, "InUse"))
            ++out.active;
        else
            out.reclaimable += size;
    }
    return out;
}

constexpr std::array headings{Heading{"Type", "TYPE"}, Heading{"TotalCount", "TOTAL"}, Heading{"Active", "ACTIVE"}, Heading{"Size", "SIZE"},
                              Heading{"Reclaimable", "RECLAIMABLE"}};

Value row_of(const Usage& usage) {
    std::string reclaimable = human_size(static_cast<double>(usage.reclaimable));
    if (usage.percentage && usage.size > 0) reclaimable += fmt::format(" ({}%)", 100 * usage.reclaimable / usage.size);
    return boost::json::object{{"Type", usage.type},
                               {"TotalCount", std::to_string(usage.count)},
                               {"Active", std::to_string(usage.active)},
                               {"Size", human_size(static_cast<double>(usage.size))},
                               {"Reclaimable", reclaimable}};
}

std::string age(const Value& document) {
    return human_duration(now().time_since_epoch().count() / 1'000'000'000 - number_at(document, "Created")) + " ago";
}

std::string size(std::int64_t bytes) { return human_size(static_cast<double>(bytes), 3); }

std::string verbose_text(const Value& usage) {
    std::string images = "REPOSITORY\tTAG\tIMAGE ID\tCREATED\tSIZE\tSHARED SIZE\tUNIQUE SIZE\tCONTAINERS\n";
    for (const Value& image : list_at(usage, "Images")) {
        std::string name = "<none>:<none>";
        if (const auto* tags = at(image, "RepoTags").if_array(); tags && !tags->empty()) name = print_value((*tags)[0]);
        const auto [repository, tag] = split_reference(name);
        std::string id = text_at(image, "Id");
        if (id.starts_with("sha256:")) id.erase(0, 7);
        const std::int64_t shared = std::max<std::int64_t>(number_at(image, "SharedSize"), 0);
        images +=
            fmt::format("{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\n", repository, tag, short_id(id), age(image), size(number_at(image, "Size")),
                        size(shared), human_size(static_cast<double>(number_at(image, "Size") - shared)), number_at(image, "Containers"));
    }
    std::string containers = "CONTAINER ID\tIMAGE\tCOMMAND\tLOCAL VOLUMES\tSIZE\tCREATED\tSTATUS\tNAMES\n";
    for (const Value& container : list_at(usage, "Containers")) {
        std::string name;
        if (const auto* names = at(container, "Names").if_array(); names && !names->empty()) name = print_value((*names)[0]);
        if (name.starts_with('/')) name.erase(0, 1);
        std::int64_t local = 0;
        for (const Value& mount : list_at(container, "Mounts")) local += text_at(mount, "Driver") == "local" ? 1 : 0;
        containers += fmt::format("{}\t{}\t\"{}\"\t{}\t{}\t{}\t{}\t{}\n", short_id(text_at(container, "Id")), text_at(container, "Image"),
                                  ellipsis(text_at(container, "Command"), 20), local, size(number_at(container, "SizeRw")), age(container),
                                  text_at(container, "Status"), name);
    }
    std::string volumes = "VOLUME NAME\tLINKS\tSIZE\n";
    for (const Value& volume : list_at(usage, "Volumes")) {
        const Value& data = at(volume, "UsageData");
        volumes += fmt::format("{}\t{}\t{}\n", text_at(volume, "Name"), number_at(data, "RefCount"),
                               size(std::max<std::int64_t>(number_at(data, "Size"), 0)));
    }
    std::string cache = "CACHE ID\tCACHE TYPE\tSIZE\tCREATED\tLAST USED\tUSAGE\tSHARED\n";
    for (const Value& entry : list_at(usage, "BuildCache")) {
        cache += fmt::format("{}\t{}\t{}\t{}\t{}\t{}\t{}\n", short_id(text_at(entry, "ID")), text_at(entry, "Type"),
                             size(number_at(entry, "Size")), text_at(entry, "CreatedAt"), text_at(entry, "LastUsedAt"),
                             number_at(entry, "UsageCount"), bool_at(entry, "Shared"));
    }
    return "Images space usage:\n\n" + align_columns(images) + "\nContainers space usage:\n\n" + align_columns(containers) +
           "\nLocal Volumes space usage:\n\n" + align_columns(volumes) +
           fmt::format("\nBuild cache usage: {}\n\n", size(cache_usage(usage).size)) + align_columns(cache);
}

/// POST …/prune, and what was deleted as docker tells it.
std::int64_t prune(client::Client& daemon, const std::string& what, const std::vector<std::string>& filters, const char* title,
                   const char* member) {
    client::Query query;
    const std::string argument = filters_argument(filters);
    query.add_if(!argument.empty(), "filters", argument);
    const Value answer = daemon.post(fmt::format("/{}/prune{}", what, query.text()));
    const boost::json::array& deleted = list_at(answer, member);
    if (!deleted.empty()) {
        std::string text = std::string(title) + ":\n";
        for (const Value& each : deleted) {
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

void tell_reclaimed(std::int64_t bytes) { print(fmt::format("Total reclaimed space: {}\n", human_size(static_cast<double>(bytes)))); }

std::vector<std::string> with(std::vector<std::string> filters, const char* one) {
    filters.emplace_back(one);
    return filters;
}

}  // namespace

int disk_usage(Context& context, const Parsed& given) {
    const std::string format = given.flags.text("format");
    const Value usage = context.daemon().get("/system/df");
    if (given.flags.on("verbose")) {
        print(format.empty() ? verbose_text(usage) : render_document(format, usage) + "\n");
        return 0;
    }
    const std::vector<Value> rows{row_of(images_usage(usage)), row_of(containers_usage(usage)), row_of(volumes_usage(usage)),
                                  row_of(cache_usage(usage))};
    const Listing listing{.default_table = "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}", .headings = headings};
    print(render_rows(listing, format, rows));
    return 0;
}

int prune_containers(Context& context, const Parsed& given) {
    if (!given.flags.on("force") && !confirmed("This will remove all stopped containers.")) return 1;
    tell_reclaimed(prune(context.daemon(), "containers", given.flags.list("filter"), "Deleted Containers", "ContainersDeleted"));
    return 0;
}

int prune_images(Context& context, const Parsed& given) {
    const bool all = given.flags.on("all");
    const char* warning =
        all ? "This will remove all images without at least one container associated to them." : "This will remove all dangling images.";
    if (!given.flags.on("force") && !confirmed(warning)) return 1;
    tell_reclaimed(prune(context.daemon(), "images", with(given.flags.list("filter"), all ? "dangling=false" : "dangling=true"),
                         "Deleted Images", "ImagesDeleted"));
    return 0;
}

int prune_volumes(Context& context, const Parsed& given) {
    const bool all = given.flags.on("all");
    const char* warning = all ? "This will remove all local volumes not used by at least one container."
                              : "This will remove anonymous local volumes not used by at least one container.";
    if (!given.flags.on("force") && !confirmed(warning)) return 1;
    const std::vector<std::string> filters = all ? with(given.flags.list("filter"), "all=true") : given.flags.list("filter");
    tell_reclaimed(prune(context.daemon(), "volumes", filters, "Deleted Volumes", "VolumesDeleted"));
    return 0;
}

int prune_system(Context& context, const Parsed& given) {
    const Flags& flags = given.flags;
    const bool all = flags.on("all");
    const std::string warning =
        fmt::format("This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n{}  - {}\n",
                    flags.on("volumes") ? "  - all anonymous volumes not used by at least one container\n" : "",
                    all ? "all images without at least one container associated to them" : "all dangling images");
    if (!flags.on("force") && !confirmed(warning)) return 1;
    client::Client& daemon = context.daemon();
    const std::vector<std::string> filters = flags.list("filter");
    std::int64_t bytes = prune(daemon, "containers", filters, "Deleted Containers", "ContainersDeleted");
    prune(daemon, "networks", filters, "Deleted Networks", "NetworksDeleted");
    if (flags.on("volumes")) bytes += prune(daemon, "volumes", filters, "Deleted Volumes", "VolumesDeleted");
    bytes += prune(daemon, "images", with(filters, all ? "dangling=false" : "dangling=true"), "Deleted Images", "ImagesDeleted");
    tell_reclaimed(bytes);
    return 0;
}

}  // namespace grua::cli
