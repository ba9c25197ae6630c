#include "engine/image_service.hpp"

#include "base/files.hpp"
#include "base/pipe.hpp"
#include "engine/engine_impl.hpp"
#include "registry/client.hpp"

#include <atomic>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>

namespace grua::engine {

namespace {

void publish(Inside& engine, std::string action, std::string id, std::string name) {
    if (action == "pull" || action == "load" || action == "import" || action == "create") engine.collect_soon();
    const ImagePtr image = engine.rooms.images.find(id);
    StringMap attributes = image ? image->config.config.labels : StringMap{};
    attributes["name"] = std::move(name);
    engine.events.publish({.type = "image", .action = std::move(action), .id = std::move(id), .attributes = std::move(attributes)});
}

/// What the loop has to do when a transfer is done: only it may touch the engine.
void later(const std::shared_ptr<Inside>& engine, std::function<void(Inside&)> what) {
    asio::post(engine->loop, [weak = std::weak_ptr(engine), what = std::move(what)] {
        if (const auto self = weak.lock()) what(*self);
    });
}

images::OnProgress bars_of(Reporter& reporter) {
    return [&reporter](const Progress& progress) {
        // What is about the whole and not about a layer has no bar, not even an empty one.
        if (progress.total == 0 && (progress.id.empty() || progress.status.starts_with("Pulling from"))) {
            reporter.status(progress.id, progress.status);
        } else {
            reporter.bar(progress);
        }
    };
}

/// Retries and what else the registry's side has to say go to the reporter.
registry::Access access_of(const Credentials& credentials, Reporter& reporter, const std::stop_token& stop) {
    return {.credentials = credentials,
            .stop = stop,
            .notice = [&reporter](std::string_view text) { reporter.status({}, std::string(text)); },
            .avoid = {}};
}

/// Containers of an image, as the image room asks for them from the pool.
images::UsedBy used_by(Inside& engine) {
    return [&engine](const std::string& id) { return engine.uses_of_image(id); };
}

void tell_removed(Inside& engine, const std::vector<RemovedImage>& removed) {
    for (const RemovedImage& one : removed) {
        if (!one.image_id.empty()) publish(engine, one.untagged.empty() ? "delete" : "untag", one.image_id, one.image_id);
    }
}

/// From a URL, while it is downloaded.
std::string import_from(Inside& engine, images::ImportOptions options, Reporter& reporter, const std::stop_token& stop) {
    reporter.status({}, "Downloading from " + options.source);
    std::atomic<std::uint64_t> total = 0;
    const auto fetch = [&](int out) {
        engine.rooms.registry.download(
            options.source, [&](std::optional<std::uint64_t> size) { total = size.value_or(0); },
            [&](std::string_view bytes) { write_all(out, bytes, "download"); }, stop);
    };
    return through_pipe(fetch, [&](int in, const std::function<void()>& whole) {
        options.whole = whole;
        return engine.rooms.images.import(in, options, [&](const Progress& each) {
            Progress bar = each;
            bar.total = total;
            if (total > 0) reporter.bar(bar);
        });
    });
}

}  // namespace

Credentials credentials_of_header(std::string_view header) { return registry::parse_auth_header(header); }
Credentials credentials_of_body(std::string_view json) { return registry::parse_auth_body(json); }

std::string reference_of(std::string_view repository, std::string_view tag) {
    if (tag.empty()) return std::string(repository);
    return fmt::format("{}{}{}", repository, tag.contains(':') ? "@" : ":", tag);
}

// --- looking ---------------------------------------------------------------------------------------------------------

std::vector<ImagePtr> ImageService::list() const { return ask(Operation::image_list).rooms.images.list(); }

ImagePtr ImageService::get(std::string_view reference) const {
    return ask(Operation::image_inspect, reference).rooms.images.get(reference);
}

ImagePtr ImageService::find(std::string_view reference) const {
    return ask(Operation::image_inspect, reference).rooms.images.find(reference);
}

asio::awaitable<ImagePtr> ImageService::get_for(std::string reference, oci::Platform platform) const {
    Inside& engine = ask(Operation::image_inspect, reference);
    auto work = [&store = engine.rooms.images, image = engine.rooms.images.get(reference), platform = std::move(platform)] {
        return store.for_platform(image, platform);
    };
    return offload(engine.pool, std::move(work));
}

asio::awaitable<std::vector<HistoryLine>> ImageService::history(std::string reference, std::optional<oci::Platform> platform) const {
    Inside& engine = ask(Operation::image_inspect, reference);
    auto work = [&store = engine.rooms.images, reference, platform = std::move(platform)] {
        const ImagePtr image = store.get(reference);
        return store.history(platform ? *store.for_platform(image, *platform) : *image);
    };
    return offload(engine.pool, std::move(work));
}

asio::awaitable<std::map<std::string, std::int64_t>> ImageService::shared_sizes(std::vector<ImagePtr> images) const {
    Inside& engine = ask(Operation::disk_usage);
    auto work = [images = std::move(images), &store = engine.rooms.images] { return store.shared_sizes(images); };
    return offload(engine.pool, std::move(work));
}

std::vector<RecordPtr> ImageService::users(const Image& image) const {
    return ask(Operation::image_inspect, image.id).using_image(image.id);
}

std::map<std::string, std::int64_t> ImageService::user_counts() const {
    std::map<std::string, std::int64_t> out;
    for (const RecordPtr& record : ask(Operation::image_list).list()) ++out[record->image_id];
    return out;
}

// --- names and removal -----------------------------------------------------------------------------------------------

void BuiltImages::came_in(const std::string& id, const std::vector<std::string>& names) const {
    publish(*inside_, "create", id, id);
    for (const std::string& each : names) publish(*inside_, "tag", id, each);
}

asio::awaitable<void> ImageService::tag(std::string reference, std::string target) const {
    Inside& engine = ask(Operation::image_tag, reference);
    auto work = [&store = engine.rooms.images, reference, target] { store.tag(reference, target); };
    co_await offload(engine.pool, std::move(work));
    if (const ImagePtr image = engine.rooms.images.find(target))
        publish(engine, "tag", image->id, oci::Reference::parse(target).with_default_tag().familiar());
}

asio::awaitable<std::vector<RemovedImage>> ImageService::remove(std::string reference, RemoveImageOptions options) const {
    Inside& engine = ask(Operation::image_remove, reference);
    auto work = [&store = engine.rooms.images, reference, options, users = used_by(engine)] {
        return store.remove(reference, options, users);
    };
    auto removed = co_await offload(engine.pool, std::move(work));
    tell_removed(engine, removed);
    co_return removed;
}

asio::awaitable<std::vector<RemovedImage>> ImageService::remove_platforms(std::string reference,
                                                                          std::vector<oci::Platform> platforms) const {
    Inside& engine = ask(Operation::image_remove, reference);
    auto work = [&store = engine.rooms.images, reference, platforms = std::move(platforms), users = used_by(engine)] {
        return store.remove_platforms(reference, platforms, users);
    };
    auto removed = co_await offload(engine.pool, std::move(work));
    tell_removed(engine, removed);
    co_return removed;
}

asio::awaitable<PrunedImages> ImageService::prune(bool all, std::function<bool(const Image&)> keep) const {
    Inside& engine = ask(Operation::image_prune);
    auto work = [&store = engine.rooms.images, all, keep = std::move(keep), users = used_by(engine)] {
        return store.prune(all, users, keep);
    };
    auto pruned = co_await offload(engine.pool, std::move(work));
    tell_removed(engine, pruned.removed);
    co_return PrunedImages{.removed = std::move(pruned.removed), .reclaimed = pruned.reclaimed};
}

// --- transfers -------------------------------------------------------------------------------------------------------

Transfer ImageService::pull(PullRequest request) const {
    Inside& engine = ask(Operation::image_pull, request.name, &request);
    // As it was written: "docker.io/library/x" is no short name.
    const std::string text = reference_of(engine.rooms.registry.alias(request.name).value_or(request.name), request.tag);
    oci::Reference given = oci::Reference::parse(text);
    const bool all_tags = given.is_name_only();
    if (!all_tags) given = given.with_default_tag();
    return [self = engine.shared_impl(), request = std::move(request), given, all_tags](Reporter& reporter, const std::stop_token& stop) {
        const registry::Client& registry = self->rooms.registry;
        images::PullRequest one{.reference = given,
                                .platform = request.platform,
                                .access = access_of(request.credentials, reporter, stop),
                                .signatures = &self->rooms.signatures};
        std::vector<oci::Reference> wanted;
        if (all_tags) {
            for (const std::string& tag : registry.tags(given, one.access)) wanted.push_back(given.with_tag(tag));
        } else {
            wanted.push_back(given);
        }
        for (const oci::Reference& reference : wanted) {
            one.reference = reference;
            const images::PullResult result = self->rooms.images.pull(registry, one, bars_of(reporter));
            later(self, [id = result.image->id, name = reference.familiar()](Inside& inside) { publish(inside, "pull", name, id); });
        }
    };
}

Transfer ImageService::push(PushRequest request) const {
    Inside& engine = ask(Operation::image_push, request.name, &request);
    const oci::Reference given = oci::Reference::parse(request.name);
    if (given.digest()) fail(ErrorKind::invalid_argument, "cannot push a digest reference");
    std::vector<oci::Reference> wanted;
    if (!request.tag.empty()) {
        wanted.push_back(given.with_tag(request.tag));
    } else if (!given.tag().empty()) {
        wanted.push_back(given);
    } else {
        for (const ImagePtr& image : engine.rooms.images.list()) {
            for (const oci::Reference& each : image->references) {
                if (each.name() == given.name() && !each.digest()) wanted.push_back(each);
            }
        }
        if (wanted.empty()) fail(ErrorKind::not_found, "An image does not exist locally with the tag: {}", given.familiar_name());
    }
    return [self = engine.shared_impl(), request = std::move(request), wanted](Reporter& reporter, const std::stop_token& stop) {
        for (const oci::Reference& reference : wanted) {
            const images::PushRequest one{
                .reference = reference, .platform = request.platform, .access = access_of(request.credentials, reporter, stop)};
            reporter.pushed(reference.tag(), self->rooms.images.push(self->rooms.registry, one, bars_of(reporter)));
            later(self, [name = reference.familiar()](Inside& inside) {
                const ImagePtr image = inside.rooms.images.find(name);
                publish(inside, "push", name, image ? image->id : name);
            });
        }
    };
}

Transfer ImageService::load(LoadRequest request, OpenInput input) const {
    Inside& engine = ask(Operation::image_load);
    const auto archive = std::make_shared<Fd>(input().reading);  // An archive says what belongs to it.
    return [self = engine.shared_impl(), request = std::move(request), archive](Reporter& reporter, const std::stop_token&) {
        const Fd own = std::move(*archive);
        const auto progress = request.quiet ? images::OnProgress{} : bars_of(reporter);
        for (const images::LoadedImage& image : self->rooms.images.load(own.get(), progress, request.platforms)) {
            for (const auto& [name, id] : image.moved) {
                reporter.text(fmt::format("The image {} already exists, renaming the old one with ID {} to empty string", name, id));
            }
            for (const std::string& name : image.names) reporter.text("Loaded image: " + name);
            if (image.names.empty()) reporter.text("Loaded image ID: " + image.id);
            later(self, [id = image.id, name = image.names.empty() ? image.id : image.names.front()](Inside& inside) {
                publish(inside, "load", id, name);
            });
        }
    };
}

Transfer ImageService::import(ImportRequest request, OpenInput input) const {
    Inside& engine = ask(Operation::image_import, request.reference, &request);
    const bool remote = request.source != "-";
    images::ImportOptions options;
    // As Docker has it: what is neither a stream nor a URL is a host.
    options.source = remote && !request.source.contains("://") ? "http://" + request.source : request.source;
    options.reference = request.reference;
    options.message = request.message;
    images::apply_changes(options.config, request.changes);
    if (const auto& platform = request.platform) {
        if (!platform->os.empty() && platform->os != "linux") {
            fail(ErrorKind::invalid_argument, "platform {}: only linux can be imported", platform->os);
        }
        options.architecture = platform->architecture + (platform->variant.empty() ? "" : "/" + platform->variant);
    }
    Input given = remote ? Input{} : input();
    options.whole = std::move(given.check);
    const auto tar = std::make_shared<Fd>(std::move(given.reading));
    return [self = engine.shared_impl(), options, tar](Reporter& reporter, const std::stop_token& stop) {
        const Fd own = std::move(*tar);
        const std::string id = own ? self->rooms.images.import(own.get(), options) : import_from(*self, options, reporter, stop);
        reporter.status({}, id);
        later(self,
              [id, name = options.reference.empty() ? id : options.reference](Inside& inside) { publish(inside, "import", id, name); });
    };
}

std::function<void(int out)> ImageService::save(std::vector<std::string> names, std::vector<oci::Platform> platforms) const {
    Inside& engine = ask(Operation::image_save, names.empty() ? std::string_view{} : std::string_view{names.front()});
    if (names.empty()) fail(ErrorKind::invalid_argument, "no image is named");
    for (const std::string& name : names) static_cast<void>(engine.rooms.images.get(name));
    return [self = engine.shared_impl(), names = std::move(names), platforms = std::move(platforms)](int out) {
        self->rooms.images.save(names, platforms, [out](std::string_view bytes) { write_all(out, bytes, "answer"); });
        later(self, [names](Inside& inside) {
            for (const std::string& name : names) {
                if (const ImagePtr image = inside.rooms.images.find(name)) publish(inside, "save", image->id, image->id);
            }
        });
    };
}

// --- asking registries -----------------------------------------------------------------------------------------------

asio::awaitable<LoginResult> ImageService::login(Credentials credentials) const {
    Inside& engine = ask(Operation::registry_login, credentials.server_address);
    auto work = [&registry = engine.rooms.registry, credentials = std::move(credentials)](const std::stop_token& stop) {
        registry::LoginResult result = registry.login(credentials, stop);
        return LoginResult{.status = std::move(result.status), .identity_token = std::move(result.identity_token)};
    };
    co_return co_await engine.rooms.transfers.call(co_await asio::this_coro::executor, std::move(work));
}

asio::awaitable<std::vector<FoundImage>> ImageService::search(std::string term, std::size_t limit, Credentials credentials) const {
    Inside& engine = ask(Operation::image_search, term);
    auto work = [&registry = engine.rooms.registry, term, limit, credentials = std::move(credentials)](const std::stop_token& stop) {
        const registry::Access access{.credentials = credentials, .stop = stop, .notice = {}, .avoid = {}};
        std::vector<FoundImage> out;
        for (registry::SearchResult& each : registry.search(term, limit, access)) {
            out.push_back({.name = std::move(each.name),
                           .description = std::move(each.description),
                           .star_count = each.star_count,
                           .is_official = each.is_official,
                           .is_automated = each.is_automated});
        }
        return out;
    };
    co_return co_await engine.rooms.transfers.call(co_await asio::this_coro::executor, std::move(work));
}

asio::awaitable<RemoteImage> ImageService::remote(std::string name, Credentials credentials) const {
    Inside& engine = ask(Operation::image_remote_inspect, name);
    const oci::Reference reference = oci::Reference::parse(name).with_default_tag();
    auto work = [&registry = engine.rooms.registry, reference, credentials = std::move(credentials)](const std::stop_token& stop) {
        const registry::Access access{.credentials = credentials, .stop = stop, .notice = {}, .avoid = {}};
        const registry::Manifest manifest = registry.manifest(reference, access);
        RemoteImage out{.descriptor = manifest.descriptor, .platforms = {}};
        if (oci::is_index(manifest.descriptor.media_type)) {
            for (const oci::Descriptor& each : oci::parse_index(manifest.bytes).manifests) {
                if (each.platform) out.platforms.push_back(*each.platform);
            }
            return out;
        }
        const oci::Descriptor config = oci::parse_manifest(manifest.bytes).config;
        std::string text;
        if (config.size <= oci::image_config_size_limit) {
            registry.blob(reference, config, 0, [&](std::string_view bytes) { text += bytes; }, access);
            const oci::ImageConfig image = oci::parse_image_config(text);
            out.platforms.push_back({image.architecture, image.os, image.variant, image.os_version});
        }
        return out;
    };
    co_return co_await engine.rooms.transfers.call(co_await asio::this_coro::executor, std::move(work));
}

}  // namespace grua::engine
