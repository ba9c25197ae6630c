#include "api/filters.hpp"
#include "api/image_wire.hpp"
#include "api/routes.hpp"
#include "base/async.hpp"
#include "base/log.hpp"

#include <fnmatch.h>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/experimental/concurrent_channel.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>

namespace grua::api {

namespace {

std::int64_t seconds_of(Time time) { return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count(); }

images::ImageStore& store_of(const Services& services) { return services.engine.rooms().images; }

/// Containers of an image, as the image room asks for them from the pool.
images::UsedBy used_by(const Services& services) {
    return [&engine = services.engine](const std::string& id) {
        std::vector<images::ContainerUse> out;
        for (const engine::RecordPtr& record : engine.using_image(id)) {
            out.push_back({.container_id = record->id, .running = engine::is_running(record->state.status)});
        }
        return out;
    };
}

void publish(const Services& services, std::string action, std::string id, std::string name) {
    services.engine.events().publish(
        {.type = "image", .action = std::move(action), .id = std::move(id), .attributes = {{"name", std::move(name)}}});
}

std::vector<wire::RemovedImage> tell_removed(const Services& services, const std::vector<images::Removed>& removed) {
    std::vector<wire::RemovedImage> out;
    for (const images::Removed& one : removed) {
        if (!one.image_id.empty()) publish(services, one.untagged.empty() ? "delete" : "untag", one.image_id, one.image_id);
        out.push_back({.untagged = one.untagged, .deleted = one.deleted});
    }
    return out;
}

std::string reference_of(std::string_view repo, std::string_view tag) {
    if (tag.empty()) return std::string(repo);
    return fmt::format("{}{}{}", repo, tag.starts_with("sha256:") ? "@" : ":", tag);
}

bool name_matches(const images::Image& image, const std::string& pattern) {
    for (const oci::Reference& reference : image.references) {
        for (const std::string& text : {reference.familiar(), reference.familiar_name(), reference.text(), reference.name()}) {
            if (::fnmatch(pattern.c_str(), text.c_str(), FNM_PATHNAME) == 0) return true;
        }
    }
    return false;
}

}  // namespace

wire::ImageSummary image_summary(const images::Image& image) {
    return {.id = image.id,
            .parent_id = image.parent,
            .repo_tags = image.repo_tags,
            .repo_digests = image.repo_digests,
            .created = seconds_of(image.created),
            .size = static_cast<std::int64_t>(image.size),
            .labels = image.config.config.labels};
}

wire::ImageInspect image_inspect_of(const images::Image& image) {
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
    out.config = image.config.config;
    out.architecture = image.config.architecture;
    out.variant = image.config.variant;
    out.os = image.config.os;
    out.os_version = image.config.os_version;
    out.size = static_cast<std::int64_t>(image.size);
    for (const oci::Digest& digest : image.diff_ids) out.root_fs.layers.push_back(digest.text());
    out.metadata.last_tag_time = format_time(image.last_tagged);
    return out;
}

Answer image_list(const Services& services, Exchange& exchange) {
    const Filters filters =
        Filters::parse(exchange.query().get("filters"), {"before", "dangling", "label", "label!", "reference", "since", "until"});
    const auto dangling = filters.flag("dangling");
    const images::ImageStore& store = store_of(services);
    std::optional<Time> before;
    std::optional<Time> since;
    if (filters.has("before")) before = store.get(filters.get("before").back())->created;
    if (filters.has("since")) since = store.get(filters.get("since").back())->created;
    if (filters.has("until")) {
        before = parse_timestamp(filters.get("until").back(), now());
        if (!before) fail(ErrorKind::invalid_argument, "invalid filter 'until={}'", filters.get("until").back());
    }
    std::vector<wire::ImageSummary> out;
    for (const images::ImagePtr& image : store.list()) {
        if (dangling && *dangling != image->references.empty()) continue;
        if ((before && image->created >= *before) || (since && image->created <= *since)) continue;
        if (!filters.labels("label", image->config.config.labels) || !filters.no_labels("label!", image->config.config.labels)) continue;
        const auto matches = [&](const std::string& pattern) { return name_matches(*image, pattern); };
        if (filters.has("reference") && std::ranges::none_of(filters.get("reference"), matches)) continue;
        out.push_back(image_summary(*image));
    }
    co_await send_json(exchange, 200, out);
}

Answer image_inspect(const Services& services, Exchange& exchange) {
    const images::ImagePtr image = store_of(services).get(exchange.name);
    co_await send_json(exchange, 200, image_inspect_of(*image));
}

Answer image_history(const Services& services, Exchange& exchange) {
    images::ImageStore& store = store_of(services);
    const auto lines = co_await offload(services.pool, [&store, name = exchange.name] { return store.history(name); });
    std::vector<wire::HistoryLine> out;
    for (const images::HistoryLine& line : lines) {
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
    images::ImageStore& store = store_of(services);
    const std::string target = reference_of(exchange.query().get("repo"), exchange.query().get("tag"));
    co_await offload(services.pool, [&store, name = exchange.name, target] {
        store.tag(name, target);
        return true;
    });
    if (const images::ImagePtr image = store.find(target)) publish(services, "tag", image->id, target);
    co_await exchange.send_empty(201);
}

Answer image_remove(const Services& services, Exchange& exchange) {
    images::ImageStore& store = store_of(services);
    const images::RemoveOptions options{.force = exchange.query().flag("force"), .prune_parents = !exchange.query().flag("noprune")};
    const auto removed = co_await offload(
        services.pool, [&store, name = exchange.name, options, users = used_by(services)] { return store.remove(name, options, users); });
    co_await send_json(exchange, 200, tell_removed(services, removed));
}

Answer image_prune(const Services& services, Exchange& exchange) {
    const Filters filters = Filters::parse(exchange.query().get("filters"), {"dangling", "label", "label!", "until"});
    const bool all = !filters.flag("dangling").value_or(true);
    std::optional<Time> until;
    if (filters.has("until")) {
        until = parse_timestamp(filters.get("until").back(), now());
        if (!until) fail(ErrorKind::invalid_argument, "invalid filter 'until={}'", filters.get("until").back());
    }
    const auto keep = [filters, until](const images::Image& image) {
        const auto& labels = image.config.config.labels;
        return (until && image.created >= *until) || !filters.labels("label", labels) || !filters.no_labels("label!", labels);
    };
    images::ImageStore& store = store_of(services);
    const auto pruned =
        co_await offload(services.pool, [&store, all, keep, users = used_by(services)] { return store.prune(all, users, keep); });
    const auto removed = tell_removed(services, pruned.removed);
    boost::json::object out;
    out["ImagesDeleted"] = removed.empty() ? json::Value(nullptr) : json::detail::write(removed, exchange.version);
    out["SpaceReclaimed"] = pruned.reclaimed;
    co_await exchange.send(200, boost::json::serialize(out) + "\n");
}

namespace {

using boost::json::object;

/// Progress of one layer as the CLI's bars read it.
std::string progress_line(const images::LoadProgress& progress) {
    return boost::json::serialize(object{{"status", progress.status},
                                         {"progressDetail", object{{"current", progress.current}, {"total", progress.total}}},
                                         {"id", progress.id}}) +
           "\r\n";
}

std::string stream_line(const std::string& text) { return boost::json::serialize(object{{"stream", text + "\n"}}) + "\r\n"; }

std::string error_line(const Error& error) {
    return boost::json::serialize(object{{"errorDetail", object{{"message", error.what()}}}, {"error", error.what()}}) + "\r\n";
}

/// Progress from the pool to the answer. A client that reads slowly loses lines, it does not slow the load: bars are for looking at.
class ProgressQueue {
public:
    explicit ProgressQueue(const asio::any_io_executor& loop) : lines_(loop, 64) {}
    void put(const images::LoadProgress& progress) { lines_.try_send(boost::system::error_code{}, progress_line(progress)); }
    void close() { lines_.close(); }
    /// Writes what comes until close().
    asio::awaitable<void> write_to(Exchange& exchange) {
        for (;;) {
            auto [error, line] = co_await lines_.async_receive(asio::as_tuple(asio::use_awaitable));
            if (error) co_return;
            co_await exchange.write(line);
        }
    }

private:
    asio::experimental::concurrent_channel<void(boost::system::error_code, std::string)> lines_;
};

}  // namespace

Answer image_load(const Services& services, Exchange& exchange) {
    const bool quiet = exchange.query().flag("quiet", true);
    if (!exchange.query().get("platform").empty()) fail(ErrorKind::not_implemented, "not implemented: load with a platform");
    images::ImageStore& store = store_of(services);
    const auto progress = std::make_shared<ProgressQueue>(co_await asio::this_coro::executor);
    const auto input = std::make_shared<Fd>(exchange.body_pipe());
    struct Outcome {
        std::vector<images::LoadedImage> images;
        std::optional<Error> error;
    };
    const auto outcome = std::make_shared<Outcome>();
    co_await exchange.begin(200, "application/json");
    auto work = [&store, quiet, progress, input, outcome] {
        try {
            outcome->images = store.load(input->get(), [&](const images::LoadProgress& one) {
                if (!quiet) progress->put(one);
            });
        } catch (const Error& error) {
            outcome->error = error;
        } catch (const std::exception& error) {
            outcome->error = Error(ErrorKind::system, error.what());
        }
        *input = Fd{};
        progress->close();
    };
    asio::post(services.pool, std::move(work));
    co_await progress->write_to(exchange);
    if (outcome->error) {
        co_await exchange.write(error_line(*outcome->error));
    }
    for (const images::LoadedImage& image : outcome->images) {
        for (const std::string& name : image.names) co_await exchange.write(stream_line("Loaded image: " + name));
        if (image.names.empty()) co_await exchange.write(stream_line("Loaded image ID: " + image.id));
        publish(services, "load", image.id, image.names.empty() ? image.id : image.names.front());
    }
    co_await exchange.end();
}

Answer image_create(const Services& services, Exchange& exchange) {
    const Query& query = exchange.query();
    if (!query.get("fromImage").empty()) fail(ErrorKind::not_implemented, "not implemented: pull");
    const std::string_view source = query.get("fromSrc");
    if (source.empty()) fail(ErrorKind::invalid_argument, "one of fromImage and fromSrc is needed");
    if (source != "-") fail(ErrorKind::not_implemented, "not implemented: import from a URL");
    images::ImportOptions options;
    options.reference = reference_of(query.get("repo"), query.get("tag"));
    options.message = query.get("message");
    images::apply_changes(options.config, query.all("changes"));
    // os[/architecture[/variant]]
    const std::vector<std::string> platform = split(query.get("platform"), '/');
    if (!platform[0].empty() && platform[0] != "linux")
        fail(ErrorKind::invalid_argument, "platform {}: only linux can be imported", platform[0]);
    if (platform.size() > 1) options.architecture = platform[1];
    images::ImageStore& store = store_of(services);
    const auto input = std::make_shared<Fd>(exchange.body_pipe());
    const std::string id = co_await offload(services.pool, [&store, input, options] {
        const Fd own = std::move(*input);
        return store.import(own.get(), options);
    });
    publish(services, "import", id, options.reference.empty() ? id : options.reference);
    co_await exchange.send(200, boost::json::serialize(object{{"status", id}}) + "\r\n");
}

}  // namespace grua::api
