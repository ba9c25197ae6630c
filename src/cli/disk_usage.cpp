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
        const std::int64_t shared = at(image, "SharedSize").is_null() ? -1 : number_at(image, "SharedSize");
        const std::int64_t containers = number_at(image, "Containers");
        images += fmt::format("{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\n", repository, tag, short_id(id), age(image), size(number_at(image, "Size")),
                              shared == -1 ? "N/A" : human_size(static_cast<double>(shared)),
                              shared == -1 ? "N/A" : human_size(static_cast<double>(number_at(image, "Size") - shared)),
                              containers == -1 ? "N/A" : std::to_string(containers));
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

/// What a template of `df -v` sees: the rows of the four tables.
Value verbose_document(const Value& usage) {
    boost::json::object out;
    const auto add = [&](const char* member, auto row) {
        boost::json::array& rows = out[member].emplace_array();
        for (const Value& each : list_at(usage, member)) rows.push_back(row(each));
    };
    add("Images", [](const Value& image) {
        const auto* tags = at(image, "RepoTags").if_array();
        const auto [repository, tag] = split_reference(tags && !tags->empty() ? print_value((*tags)[0]) : "<none>:<none>");
        return image_row(image, repository, tag, "", false);
    });
    add("Containers", [](const Value& container) {
        Value shown = container;
        // Docker leaves the image's part out of a container's size here.
        shown.as_object().erase("SizeRootFs");
        return container_row(shown, false);
    });
    add("Volumes", volume_row);
    add("BuildCache", [](const Value& entry) {
        const auto since = [](const std::string& text) {
            const auto time = parse_time(text);
            return time ? human_duration((now() - *time).count() / 1'000'000'000) + " ago" : std::string();
        };
        return boost::json::object{{"ID", text_at(entry, "ID")},
                                   {"CacheType", text_at(entry, "Type")},
                                   {"Description", text_at(entry, "Description")},
                                   {"InUse", bool_at(entry, "InUse") ? "true" : "false"},
                                   {"Shared", bool_at(entry, "Shared") ? "true" : "false"},
                                   {"Size", size(number_at(entry, "Size"))},
                                   {"CreatedAt", text_at(entry, "CreatedAt")},
                                   {"CreatedSince", since(text_at(entry, "CreatedAt"))},
                                   {"LastUsedAt", text_at(entry, "LastUsedAt")},
                                   {"LastUsedSince", since(text_at(entry, "LastUsedAt"))},
                                   {"UsageCount", std::to_string(number_at(entry, "UsageCount"))}};
    });
    return out;
}

}  // namespace

int disk_usage(Context& context, const Parsed& given) {
    const std::string format = given.flags.text("format");
    const Value usage = context.daemon().get("/system/df");
    if (given.flags.on("verbose")) {
        std::string text;
        if (format.empty() || format == "table")
            text = verbose_text(usage);
        else
            text = render_document(format, verbose_document(usage));
        print(text.ends_with('\n') ? text : text + "\n");
        return 0;
    }
    const std::vector<Value> rows{row_of(images_usage(usage)), row_of(containers_usage(usage)), row_of(volumes_usage(usage)),
                                  row_of(cache_usage(usage))};
    const Listing listing{.default_table = "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}", .headings = headings};
    print(render_rows(listing, format, rows));
    return 0;
}

}  // namespace grua::cli
