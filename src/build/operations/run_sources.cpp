// Sources: images, and folders of the client.
#include "base/encoding.hpp"
#include "base/text.hpp"
#include "build/oci_layout.hpp"
#include "build/operations/operations.hpp"
#include "build/receive_tree.hpp"
#include "build/selection.hpp"
#include "content/hash.hpp"

#include <algorithm>
#include <boost/json/parse.hpp>

namespace grua::build {
namespace {

constexpr std::string_view image_scheme = "docker-image://";
constexpr std::string_view local_scheme = "local://";
constexpr std::string_view git_scheme = "git://";
constexpr std::string_view transfer_call = "/moby.filesync.v1.FileSync/DiffCopy";

bool is_http(std::string_view identifier) { return identifier.starts_with("http://") || identifier.starts_with("https://"); }

std::string attribute(const pb::SourceOp& source, const std::string& name) {
    const auto found = source.attrs().find(name);
    return found == source.attrs().end() ? std::string() : found->second;
}

/// An attribute that is a list in JSON.
std::vector<std::string> list_attribute(const pb::SourceOp& source, const std::string& name) {
    std::vector<std::string> out;
    const std::string text = attribute(source, name);
    if (text.empty()) return out;
    try {
        for (const auto& each : boost::json::parse(text).as_array()) out.emplace_back(each.as_string());
    } catch (const std::exception&) {
        fail(ErrorKind::invalid_argument, "{}: {} is no list of texts", name, text);
    }
    return out;
}

/// A value of metadata that is not plain is written as in a URL, and its name says so.
void add_metadata(grpc::Headers& out, const std::string& name, const std::vector<std::string>& values) {
    const auto is_plain = [](unsigned char c) { return c >= 0x20 && c < 0x7F; };
    const bool is_all_plain = std::ranges::all_of(values, [&](const std::string& each) { return std::ranges::all_of(each, is_plain); });
    for (const std::string& each : values) {
        if (is_all_plain) {
            out.emplace_back(name, each);
            continue;
        }
        out.emplace_back(name, percent_encode(each));
    }
    if (!is_all_plain) out.emplace_back(name + "-encoded", "1");
}

oci::Platform platform_of(const pb::Op& op) {
    if (!op.has_platform()) return oci::Platform::processor();
    const pb::Platform& said = op.platform();
    return {said.architecture(), said.os(), said.variant(), said.osversion()};
}

/// What look_up() has found, for run().
struct FoundImage {
    ResolvedImage image;
    oci::Platform platform;
};

std::string chain_key(const std::vector<oci::Digest>& diff_ids) {
    std::string all = "layers";
    for (const oci::Digest& each : diff_ids) all += "\n" + each.text();
    return content::digest_of(all).text();
}

LocalSource local_source(const pb::SourceOp& source, const std::string& session) {
    LocalSource out{.name = source.identifier().substr(local_scheme.size()),
                    .session = attribute(source, "local.session"),
                    .include = list_attribute(source, "local.includepattern"),
                    .exclude = list_attribute(source, "local.excludepatterns"),
                    .follow = list_attribute(source, "local.followpaths"),
                    .key = attribute(source, "local.sharedkeyhint")};
    if (out.session.empty()) out.session = session;
    return out;
}

}  // namespace

asio::awaitable<std::shared_ptr<const Context>> fetch_local(Workplace& place, LocalSource source,
                                                            std::function<void(std::uint64_t bytes)> progress) {
    if (const Given* given = place.sessions.given().find(source.session)) {
        const auto found = given->contexts.find(source.name);
        if (found == given->contexts.end()) fail(ErrorKind::not_found, "the request has brought no {}", source.name);
        co_return found->second;
    }
    const SessionPtr client = co_await place.sessions.find(source.session);
    std::string key;
    if (!client->head().shared_key.empty()) {
        key = fmt::format("{}\n{}\n{}", client->head().shared_key, source.name, source.key);
        for (const auto* list : {&source.include, &source.exclude, &source.follow}) {
            key += '\n';
            for (const std::string& each : *list) key += fmt::format("{}:{}", each.size(), each);
        }
    }
    std::unique_ptr<Context> own = co_await offload(place.pool, [&] { return place.contexts.take(key); });
    Context& context = *own;
    auto taken = shared(place.pool, std::move(own));
    co_await offload(place.pool, [&context] { context.begin_change(); });
    grpc::Headers metadata{{"dir-name", source.name}};
    add_metadata(metadata, "followpaths", source.follow);
    add_metadata(metadata, "exclude-patterns", source.exclude);
    add_metadata(metadata, "include-patterns", source.include);
    grpc::ClientCall call(client->connection(transfer_call), std::string(transfer_call), {.metadata = std::move(metadata), .timeout = {}});
    TreeIndex now = co_await receive_tree(call, {.folder = context.folder(), .before = context.index(), .progress = std::move(progress)},
                                          place.pool, place.loop);
    co_await offload(place.pool, [&context, index = std::move(now)]() mutable { context.keep(std::move(index)); });
    co_return taken;
}

asio::awaitable<SourceKey> Operations::look_up(VertexPtr source, std::string session, Audience* audience) {
    const pb::SourceOp& what = source->op.source();
    const std::string& identifier = what.identifier();
    if (identifier.starts_with(image_scheme)) {
        auto found = std::make_shared<FoundImage>();
        found->platform = platform_of(source->op);
        const std::string reference = identifier.substr(image_scheme.size());
        const ImagePolicy policy = parse_image_policy(attribute(what, "image.resolvemode"));
        // By digest it is the same wherever it is from.
        const bool is_pinned = oci::Reference::parse(reference).digest().has_value();
        found->image = co_await place_.resolver.resolve(reference, found->platform, is_pinned ? ImagePolicy::prefer_here : policy, session);
        // It was looked at before - for its configuration, say. The tag may be another image by now, and that one is still here.
        if (const std::string said = attribute(what, "image.checksum"); !said.empty() && said != found->image.digest) {
            if (!place_.images.find(said))
                fail(ErrorKind::conflict, "image digest {} for {} does not match expected checksum {}", found->image.digest, reference,
                     said);
            found->image = co_await place_.resolver.resolve(said, found->platform, ImagePolicy::prefer_here, session);
        }
        co_return SourceKey{.key = chain_key(oci::diff_ids(found->image.config)), .found = found, .pin = found->image.digest};
    }
    if (identifier.starts_with(local_scheme)) {
        if (audience) audience->started(*source);
        const std::string told = fmt::format("transferring {}:", identifier.substr(local_scheme.size()));
        std::uint64_t came = 0;
        const auto context = co_await fetch_local(place_, local_source(what, session), [&](std::uint64_t bytes) {
            came = bytes;
            if (audience) audience->advanced(*source, told, static_cast<std::int64_t>(bytes), 0, false);
        });
        if (audience) {
            audience->advanced(*source, told, static_cast<std::int64_t>(came), 0, true);
            audience->completed(*source, false, {});
        }
        std::string key = co_await detail::at_length(
            place_, [context](const std::stop_token&) { return build::digest_of(context->index(), {Selection{}}); });
        co_return SourceKey{.key = std::move(key), .found = context, .was_told = true};
    }
    if (identifier.starts_with(layout_scheme)) {
        auto found = co_await find_layout_image(place_.sessions, read_layout_source(what, session), platform_of(source->op));
        std::string key = chain_key(oci::diff_ids(found->config));
        co_return SourceKey{.key = std::move(key), .found = found, .pin = found->source.digest.text()};
    }
    if (is_http(identifier)) {
        HttpFoundPtr found;
        try {
            found = co_await place_.http.look_up(read_http_source(what), {session});
        } catch (Error& error) {
            error.add_context("failed to load cache key");
            throw;
        }
        co_return SourceKey{.key = key_of(*found), .found = found, .pin = found->digest.text()};
    }
    if (identifier.starts_with(git_scheme)) {
        auto found = co_await place_.git.look_up(read_git_source(what), {session});
        SourceKey out{.key = key_of(*found), .found = found, .pin = found->commit.empty() ? found->object : found->commit};
        co_return out;
    }
    fail(ErrorKind::not_implemented, "not implemented: source {}", identifier);
}

asio::awaitable<Results> Operations::run_source(Work work) {
    const std::string& identifier = work.vertex->op.source().identifier();
    if (identifier.starts_with(image_scheme)) return run_image(std::move(work));
    if (identifier.starts_with(layout_scheme)) return run_layout(std::move(work));
    if (!identifier.starts_with(local_scheme)) return run_download(std::move(work));
    return [](Work local) -> asio::awaitable<Results> {
        co_return Results{std::make_shared<ContextTree>(local.key, std::static_pointer_cast<const Context>(local.source))};
    }(std::move(work));
}

/// Made in the layer itself.
asio::awaitable<Results> Operations::run_download(Work work) {
    const std::shared_ptr<Scratch> made = co_await detail::at_length(place_, [this](const std::stop_token&) {
        return std::make_shared<Scratch>(place_.layers, place_.pool, std::vector<oci::Digest>{});
    });
    const auto tell = [audiences = work.audiences, vertex = work.vertex](int stream, std::string_view line) {
        audiences->printed(*vertex, stream, std::string(line) + "\n");
    };
    if (is_http(work.vertex->op.source().identifier()))
        co_await place_.http.put(std::static_pointer_cast<const HttpFound>(work.source), made->upper_path(), {work.session}, work.stop);
    else
        co_await place_.git.put(std::static_pointer_cast<const GitFound>(work.source), made->upper_path(), {work.session}, work.stop, tell);
    co_return co_await detail::at_length(place_, [this, key = work.key, made](const std::stop_token&) {
        return Results{std::make_shared<LayerTree>(key, place_.layers, made->keep())};
    });
}

asio::awaitable<Results> Operations::run_image(Work work) {
    const auto found = std::static_pointer_cast<const FoundImage>(work.source);
    const auto audiences = work.audiences;
    const VertexPtr vertex = work.vertex;
    const auto loop = place_.loop;
    const auto tell = [audiences, vertex, loop](const images::Progress& progress) {
        if (progress.total == 0 || progress.id.empty()) return;
        asio::post(loop, [audiences, vertex, progress] {
            audiences->advanced(*vertex, progress.id, static_cast<std::int64_t>(progress.current),
                                static_cast<std::int64_t>(progress.total), progress.current >= progress.total);
        });
    };
    const ResolvedImage image = co_await place_.resolver.fetch(found->image, found->platform, work.session, tell);
    co_return co_await detail::at_length(place_, [this, key = work.key, image](const std::stop_token&) {
        return Results{std::make_shared<LayerTree>(key, place_.layers, image.image->diff_ids)};
    });
}

asio::awaitable<Results> Operations::run_layout(Work work) {
    const auto found = std::static_pointer_cast<const LayoutImage>(work.source);
    const auto make = [this, key = work.key, found](const std::stop_token&) -> Results {
        return {std::make_shared<LayerTree>(key, place_.layers, oci::diff_ids(found->config))};
    };
    try {
        co_return co_await detail::at_length(place_, make);
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::not_found) throw;
    }
    const LayoutTarget target{.loop = place_.loop, .transfers = place_.transfers, .images = place_.images, .sessions = place_.sessions};
    co_await load_layout_image(target, found, [&](const std::string& layer, std::uint64_t bytes, std::uint64_t all) {
        work.audiences->advanced(*work.vertex, layer, static_cast<std::int64_t>(bytes), static_cast<std::int64_t>(all), bytes == all);
    });
    co_return co_await detail::at_length(place_, make);
}

}  // namespace grua::build
