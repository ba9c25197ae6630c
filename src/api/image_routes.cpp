#include "api/filters.hpp"
#include "api/image_wire.hpp"
#include "api/prepared_key.hpp"
#include "api/routes.hpp"
#include "base/codec.hpp"

#include <fnmatch.h>

namespace grua::api {

namespace {

std::int64_t seconds_of(Time time) { return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count(); }

std::vector<wire::RemovedImage> removed_of(const std::vector<engine::RemovedImage>& removed) {
    std::vector<wire::RemovedImage> out;
    for (const engine::RemovedImage& one : removed) out.push_back({.untagged = one.untagged, .deleted = one.deleted});
    return out;
}

bool name_matches(const oci::Reference& reference, const std::vector<std::string>& patterns) {
    for (const std::string& pattern : patterns) {
        for (const std::string& text : {reference.familiar(), reference.familiar_name(), reference.text(), reference.name()}) {
            if (::fnmatch(pattern.c_str(), text.c_str(), FNM_PATHNAME) == 0) return true;
        }
    }
    return false;
}

/// The filter "reference" is about names: an image's others are not listed with it.
void keep_matching_names(wire::ImageSummary& summary, const std::vector<std::string>& patterns) {
    const auto repository = [](const std::string& name) { return oci::Reference::parse(name).name(); };
    std::erase_if(summary.repo_tags, [&](const std::string& tag) { return !name_matches(oci::Reference::parse(tag), patterns); });
    std::erase_if(summary.repo_digests, [&](const std::string& digest) {
        const bool of_a_tag =
            std::ranges::any_of(summary.repo_tags, [&](const std::string& tag) { return repository(tag) == repository(digest); });
        return !of_a_tag && !name_matches(oci::Reference::parse(digest), patterns);
    });
}

}  // namespace

std::vector<oci::Platform> platforms_of(const Exchange& exchange) {
    std::vector<oci::Platform> out;
    for (const std::string& text : exchange.query().all("platform")) {
        if (!text.empty()) out.push_back(platform_of(text));
    }
    return out;
}

oci::Platform platform_of(std::string_view text) {
    if (!text.starts_with('{')) return oci::Platform::parse(text);
    oci::Platform out;
    while_doing("platform", [&] { json::detail::read(parse_json(text), out, ""); });
    return out;
}

wire::ImageSummary image_summary(const engine::Image& image, json::Version version) {
    wire::ImageSummary out{.id = image.id,
                           .parent_id = image.parent,
                           .repo_tags = image.repo_tags,
                           .repo_digests = image.repo_digests,
                           .created = seconds_of(image.created),
                           .size = static_cast<std::int64_t>(image.total_size),
                           .descriptor = image.target};
    if (!image.config.config.labels.empty()) out.labels = image.config.config.labels;
    if (version < json::Version{1, 44}) out.virtual_size = out.size;
    if (version < json::Version{1, 43} && out.repo_tags.empty() && out.repo_digests.empty()) {
        out.repo_tags = {"<none>:<none>"};
        out.repo_digests = {"<none>@<none>"};
    }
    return out;
}

namespace {

/// With the members that Docker shows also where they say nothing; more of them to older clients.
json::Value shown_config(const oci::ImageRunConfig& config, json::Version version) {
    json::Value out = json::detail::write(config, version);
    boost::json::object& members = out.as_object();
    for (const char* name : {"Cmd", "Entrypoint", "Env", "Labels", "OnBuild", "Volumes"})
        if (!members.contains(name)) members[name] = nullptr;
    for (const char* name : {"User", "WorkingDir"})
        if (!members.contains(name)) members[name] = "";
    if (version >= json::Version{1, 50}) return out;
    for (const char* name : {"AttachStderr", "AttachStdin", "AttachStdout", "OpenStdin", "StdinOnce", "Tty"}) members[name] = false;
    for (const char* name : {"Domainname", "Hostname", "Image"}) members[name] = "";
    return out;
}

}  // namespace

std::vector<wire::ManifestSummary> manifests_of(const Services& services, const engine::Image& image) {
    using Kind = engine::Variant::Kind;
    std::vector<wire::ManifestSummary> out;
    for (const engine::Variant& variant : image.variants) {
        wire::ManifestSummary& one = out.emplace_back();
        one.id = variant.manifest.digest;
        one.descriptor = variant.manifest;
        one.available = variant.available;
        one.size.content = static_cast<std::int64_t>(variant.content_size);
        one.size.total = static_cast<std::int64_t>(variant.content_size + variant.unpacked_size);
        one.kind = variant.kind == Kind::image ? "image" : variant.kind == Kind::attestation ? "attestation" : "unknown";
        if (variant.kind == Kind::image) {
            one.image_data = {.platform = variant.platform, .size = {static_cast<std::int64_t>(variant.unpacked_size)}};
            for (const engine::RecordPtr& record : services.images.users(image)) {
                if (record->image_manifest == variant.manifest.digest) one.image_data->containers.push_back(record->id);
            }
        }
        if (variant.subject) one.attestation_data = {.subject = variant.subject->text()};
    }
    return out;
}

wire::ImageInspect image_inspect_of(const engine::Image& image, json::Version version) {
    wire::ImageInspect out;
    out.id = image.id;
    out.repo_tags = image.repo_tags;
    out.repo_digests = image.repo_digests;
    out.parent = image.parent;
    out.comment = image.config.comment;
    if (out.comment.empty() && !image.config.history.empty()) out.comment = image.config.history.back().comment;
    out.created = image.config.created;
    out.docker_version = image.config.docker_version;
    out.author = image.config.author;
    out.config = shown_config(image.config.config, version);
    if (version < json::Version{1, 45}) {
        out.container = "";
        out.container_config = shown_config({}, version);
    }
    out.architecture = image.config.architecture;
    out.variant = image.config.variant;
    out.os = image.config.os;
    out.os_version = image.config.os_version;
    out.size = static_cast<std::int64_t>(image.total_size);
    if (version < json::Version{1, 44}) out.virtual_size = out.size;
    for (const oci::Digest& digest : image.diff_ids) out.root_fs.layers.push_back(digest.text());
    out.metadata.last_tag_time = format_time(image.last_tagged);
    out.descriptor = image.target;
    return out;
}

void append_image_summary(std::string& out, const engine::Image& image, json::Version version, std::int64_t containers) {
    constexpr std::string_view not_counted = "-1";
    const auto text = image.prepared.get(key_of(Shape::summary, version), [&] {
        PreparedText made;
        json::append_struct(made.text, image_summary(image, version), version, [&](std::string_view member) {
            if (member == "Containers") made.gap = made.text.size();
        });
        made.text.erase(made.gap, not_counted.size());
        return made;
    });
    out.append(text->text, 0, text->gap);
    out += std::to_string(containers);
    out.append(text->text, text->gap);
}

Prepared::Text image_inspect_text(const engine::Image& image, json::Version version) {
    return image.prepared.get(key_of(Shape::inspect, version),
                              [&] { return PreparedText{.text = json::text_of(image_inspect_of(image, version), version) + "\n"}; });
}

Answer image_list(const Services& services, Exchange& exchange) {
    const Filters filters = filters_of(exchange);
    const auto dangling = filters.flag("dangling");
    std::optional<Time> before;
    std::optional<Time> since;
    if (filters.has("before")) before = services.images.get(filters.get("before").back())->created;
    if (filters.has("since")) since = services.images.get(filters.get("since").back())->created;
    if (const auto until = filters.until()) before = until;
    std::vector<std::string> names = filters.get("reference");
    if (const std::string_view name = exchange.query().get("filter"); !name.empty() && exchange.version < json::Version{1, 41})
        names.emplace_back(name);
    const bool with_manifests = exchange.query().flag("manifests");
    const std::vector<engine::ImagePtr> images = services.images.list();
    const bool with_shared = exchange.query().flag("shared-size");
    const auto shared = with_shared ? co_await services.images.shared_sizes(images) : std::map<std::string, std::int64_t>{};
    const bool counts_containers = exchange.version >= json::Version{1, 51};
    const auto counts = counts_containers ? services.images.user_counts() : std::map<std::string, std::int64_t>{};
    const auto containers_of = [&](const engine::Image& image) -> std::int64_t {
        const auto found = counts.find(image.id);
        return !counts_containers ? -1 : found == counts.end() ? 0 : found->second;
    };
    std::string out = "[";
    for (const engine::ImagePtr& image : images) {
        if (dangling && *dangling != image->references.empty()) continue;
        if ((before && image->created >= *before) || (since && image->created <= *since)) continue;
        if (!filters.labels("label", image->config.config.labels) || !filters.no_labels("label!", image->config.config.labels)) continue;
        const auto matches = [&](const oci::Reference& reference) { return name_matches(reference, names); };
        if (!names.empty() && std::ranges::none_of(image->references, matches)) continue;
        if (out.size() > 1) out += ',';
        if (names.empty() && !with_manifests && !with_shared) {
            append_image_summary(out, *image, exchange.version, containers_of(*image));
            continue;
        }
        wire::ImageSummary one = image_summary(*image, exchange.version);
        one.containers = containers_of(*image);
        if (!names.empty()) keep_matching_names(one, names);
        if (with_manifests) one.manifests = manifests_of(services, *image);
        if (with_shared) one.shared_size = shared.at(image->id);
        json::append(out, one, exchange.version);
    }
    out += "]\n";
    co_await exchange.send(200, std::move(out));
}

Answer image_inspect(const Services& services, Exchange& exchange) {
    const auto platforms = platforms_of(exchange);
    if (platforms.size() > 1) fail(ErrorKind::invalid_argument, "platform: only one at a time");
    engine::ImagePtr image;
    if (platforms.empty()) {
        image = services.images.get(exchange.name);
    } else {
        image = co_await services.images.get_for(exchange.name, platforms.front());
    }
    if (!exchange.query().flag("manifests") || !platforms.empty())
        co_return co_await exchange.send(200, image_inspect_text(*image, exchange.version)->text);
    wire::ImageInspect out = image_inspect_of(*image, exchange.version);
    out.manifests = manifests_of(services, *image);
    co_await send_json(exchange, 200, out);
}

Answer image_history(const Services& services, Exchange& exchange) {
    const auto platforms = platforms_of(exchange);
    if (platforms.size() > 1) fail(ErrorKind::invalid_argument, "platform: only one at a time");
    const auto platform = platforms.empty() ? std::nullopt : std::optional(platforms.front());
    const std::vector<engine::HistoryLine> lines = co_await services.images.history(exchange.name, platform);
    std::vector<wire::HistoryLine> out;
    for (const engine::HistoryLine& line : lines) {
        wire::HistoryLine& one = out.emplace_back();
        one.id = line.id;
        one.created = seconds_of(line.created);
        one.created_by = line.created_by;
        if (!line.tags.empty()) one.tags = line.tags;
        one.size = static_cast<std::int64_t>(line.size);
        one.comment = line.comment;
    }
    co_await send_json(exchange, 200, out);
}

Answer image_tag(const Services& services, Exchange& exchange) {
    co_await services.images.tag(exchange.name, engine::reference_of(exchange.query().get("repo"), exchange.query().get("tag")));
    co_await exchange.send_empty(201);
}

Answer image_remove(const Services& services, Exchange& exchange) {
    const bool force = exchange.query().flag("force");
    std::vector<oci::Platform> platforms;
    for (const std::string& text : exchange.query().all("platforms")) platforms.push_back(platform_of(text));
    std::vector<engine::RemovedImage> removed;
    if (platforms.empty()) {
        removed = co_await services.images.remove(exchange.name, {.force = force, .prune_parents = !exchange.query().flag("noprune")});
    } else if (force) {
        removed = co_await services.images.remove_platforms(exchange.name, std::move(platforms));
    } else {
        fail(ErrorKind::invalid_argument, "Content will be removed from all images referencing this variant. Use --force to force delete.");
    }
    co_await send_json(exchange, 200, removed_of(removed));
}

Answer image_prune(const Services& services, Exchange& exchange) {
    const Filters filters = filters_of(exchange);
    const bool all = !filters.flag("dangling").value_or(true);
    const auto until = filters.until();
    const auto keep = [filters, until](const engine::Image& image) {
        const auto& labels = image.config.config.labels;
        return (until && image.created >= *until) || !filters.labels("label", labels) || !filters.no_labels("label!", labels);
    };
    const engine::PrunedImages pruned = co_await services.images.prune(all, keep);
    const auto removed = removed_of(pruned.removed);
    boost::json::object out;
    out["ImagesDeleted"] = null_if_empty(removed, exchange.version);
    out["SpaceReclaimed"] = pruned.reclaimed;
    co_await exchange.send(200, boost::json::serialize(out) + "\n");
}

}  // namespace grua::api
