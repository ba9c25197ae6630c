// Images on their way in and out: pull, push, load, save, import; and what registries are asked besides.
#include "api/filters.hpp"
#include "api/image_wire.hpp"
#include "api/progress.hpp"
#include "api/routes.hpp"
#include "base/async.hpp"
#include "base/files.hpp"
#include "base/pipe.hpp"

#include <algorithm>
#include <atomic>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>

namespace grua::api {
namespace {

images::ImageStore& store_of(const Services& services) { return services.engine.rooms().images; }

images::OnProgress bars_of(const Say& say) {
    return [say](const images::Progress& progress) {
        // What is about the whole and not about a layer has no bar, not even an empty one.
        if (progress.total == 0 && (progress.id.empty() || progress.status.starts_with("Pulling from"))) {
            say->line(status_line(progress.id, progress.status));
        } else {
            say->bar(progress);
        }
    };
}

registry::Access access_of(const Exchange& exchange) {
    return {.credentials = registry::parse_auth_header(exchange.head().header("x-registry-auth")), .stop = {}, .notice = {}};
}

/// Retries and what else the registry's side has to say.
std::function<void(std::string_view)> notice_of(const Say& say) {
    return [say](std::string_view text) { say->line(status_line({}, std::string(text))); };
}

/// What the loop has to do when a transfer is done: only it may touch the engine.
void later(const asio::any_io_executor& loop, std::function<void()> what) { asio::post(loop, std::move(what)); }

std::optional<oci::Platform> platform_asked(const Exchange& exchange) {
    const std::string_view text = exchange.query().get("platform");
    return text.empty() ? std::nullopt : std::optional(platform_of(text));
}

Answer pull(const Services& services, Exchange& exchange, const std::string& text, bool all_tags) {
    images::PullRequest request{.reference = oci::Reference::parse(text),
                                .platform = platform_asked(exchange),
                                .access = access_of(exchange),
                                .signatures = &services.signatures};
    if (!all_tags) request.reference = request.reference.with_default_tag();
    const auto loop = co_await asio::this_coro::executor;
    auto work = [&services, request, all_tags, loop](const Say& say, const std::stop_token& stop) mutable {
        request.access.stop = stop;
        request.access.notice = notice_of(say);
        std::vector<oci::Reference> wanted{request.reference};
        if (all_tags) {
            wanted.clear();
            for (const std::string& tag : services.registry.tags(request.reference, request.access)) {
                wanted.push_back(request.reference.with_tag(tag));
            }
        }
        for (const oci::Reference& reference : wanted) {
            request.reference = reference;
            const images::PullResult result = store_of(services).pull(services.registry, request, bars_of(say));
            later(loop, [&services, id = result.image->id, name = reference.familiar()] { publish_image(services, "pull", name, id); });
        }
    };
    co_await stream(services.transfers, exchange, true, std::move(work));
}

/// From a URL, while it is downloaded.
std::string import_from(const Services& services, images::ImportOptions options, const Say& say, const std::stop_token& stop) {
    say->line(status_line({}, "Downloading from " + options.source));
    std::atomic<std::uint64_t> total = 0;
    const auto fetch = [&](int out) {
        services.registry.download(
            options.source, [&](std::optional<std::uint64_t> size) { total = size.value_or(0); },
            [&](std::string_view bytes) { write_all(out, bytes, "download"); }, stop);
    };
    return through_pipe(fetch, [&](int in, const std::function<void()>& whole) {
        options.whole = whole;
        return store_of(services).import(in, options, [&](const images::Progress& each) {
            images::Progress bar = each;
            bar.total = total;
            if (total > 0) say->bar(bar);
        });
    });
}

Answer import(const Services& services, Exchange& exchange) {
    const Query& query = exchange.query();
    images::ImportOptions options;
    options.source = query.get("fromSrc");
    // As Docker has it: what is neither a stream nor a URL is a host.
    const bool remote = options.source != "-";
    if (remote && !options.source.contains("://")) options.source.insert(0, "http://");
    options.reference = reference_of(query.get("repo"), query.get("tag"));
    options.message = query.get("message");
    images::apply_changes(options.config, query.all("changes"));
    if (const auto platform = platform_asked(exchange)) {
        if (!platform->os.empty() && platform->os != "linux") {
            fail(ErrorKind::invalid_argument, "platform {}: only linux can be imported", platform->os);
        }
        options.architecture = platform->architecture + (platform->variant.empty() ? "" : "/" + platform->variant);
    }
    const auto body = std::make_shared<BodyPipe>(remote ? BodyPipe{} : exchange.body_pipe());
    options.whole = body->check;
    const auto loop = co_await asio::this_coro::executor;
    auto work = [&services, body, options, loop](const Say& say, const std::stop_token& stop) {
        const Fd own = std::move(body->reading);
        const std::string id = own ? store_of(services).import(own.get(), options) : import_from(services, options, say, stop);
        say->line(status_line({}, id));
        later(loop,
              [&services, id, name = options.reference.empty() ? id : options.reference] { publish_image(services, "import", id, name); });
    };
    co_await stream(services.transfers, exchange, remote, std::move(work));
}

Answer save(const Services& services, Exchange& exchange, std::vector<std::string> names) {
    if (names.empty()) fail(ErrorKind::invalid_argument, "no image is named");
    for (const std::string& name : names) static_cast<void>(store_of(services).get(name));
    const auto platforms = platforms_of(exchange);
    const auto loop = co_await asio::this_coro::executor;
    co_await send_written(loop, services.transfers, exchange, "application/x-tar", [&services, names, platforms](int out) {
        store_of(services).save(names, platforms, [out](std::string_view bytes) { write_all(out, bytes, "answer"); });
    });
    for (const std::string& name : names) {
        if (const images::ImagePtr image = store_of(services).find(name)) publish_image(services, "save", image->id, image->id);
    }
}

}  // namespace

Answer image_create(const Services& services, Exchange& exchange) {
    const Query& query = exchange.query();
    const std::string_view from = query.get("fromImage");
    if (!from.empty()) {
        const std::string_view tag = query.get("tag");
        // As it was written: "docker.io/library/x" is no short name.
        const std::string text = reference_of(services.registry.alias(from).value_or(std::string(from)), tag);
        const oci::Reference given = oci::Reference::parse(text);
        co_return co_await pull(services, exchange, text, given.is_name_only());
    }
    if (query.get("fromSrc").empty()) fail(ErrorKind::invalid_argument, "one of fromImage and fromSrc is needed");
    co_await import(services, exchange);
}

Answer image_push(const Services& services, Exchange& exchange) {
    const oci::Reference given = oci::Reference::parse(exchange.name);
    const std::string_view tag = exchange.query().get("tag");
    if (given.digest()) fail(ErrorKind::invalid_argument, "cannot push a digest reference");
    images::PushRequest request{.reference = given, .platform = platform_asked(exchange), .access = access_of(exchange)};
    std::vector<oci::Reference> wanted;
    if (!tag.empty()) {
        wanted.push_back(given.with_tag(tag));
    } else if (!given.tag().empty()) {
        wanted.push_back(given);
    } else {
        for (const images::ImagePtr& image : store_of(services).list()) {
            for (const oci::Reference& each : image->references) {
                if (each.name() == given.name() && !each.digest()) wanted.push_back(each);
            }
        }
        if (wanted.empty()) fail(ErrorKind::not_found, "An image does not exist locally with the tag: {}", given.familiar_name());
    }
    const auto loop = co_await asio::this_coro::executor;
    auto work = [&services, request, wanted, loop](const Say& say, const std::stop_token& stop) mutable {
        request.access.stop = stop;
        request.access.notice = notice_of(say);
        for (const oci::Reference& reference : wanted) {
            request.reference = reference;
            const images::PushResult result = store_of(services).push(services.registry, request, bars_of(say));
            say->aux({{"Tag", reference.tag()}, {"Digest", result.digest.text()}, {"Size", result.size}});
            later(loop, [&services, name = reference.familiar()] {
                const images::ImagePtr image = store_of(services).find(name);
                publish_image(services, "push", name, image ? image->id : name);
            });
        }
    };
    co_await stream(services.transfers, exchange, true, std::move(work));
}

Answer image_load(const Services& services, Exchange& exchange) {
    const bool quiet = exchange.query().flag("quiet", true);
    const auto platforms = platforms_of(exchange);
    const auto input = std::make_shared<Fd>(exchange.body_pipe().reading);  // an archive says what belongs to it
    const auto loop = co_await asio::this_coro::executor;
    auto work = [&services, quiet, platforms, input, loop](const Say& say, const std::stop_token&) {
        const Fd own = std::move(*input);
        const auto loaded = store_of(services).load(own.get(), quiet ? images::OnProgress{} : bars_of(say), platforms);
        for (const images::LoadedImage& image : loaded) {
            for (const auto& [name, id] : image.moved) {
                say->line(
                    stream_line(fmt::format("The image {} already exists, renaming the old one with ID {} to empty string", name, id)));
            }
            for (const std::string& name : image.names) say->line(stream_line("Loaded image: " + name));
            if (image.names.empty()) say->line(stream_line("Loaded image ID: " + image.id));
            later(loop, [&services, id = image.id, name = image.names.empty() ? image.id : image.names.front()] {
                publish_image(services, "load", id, name);
            });
        }
    };
    co_await stream(services.transfers, exchange, false, std::move(work));
}

Answer image_save(const Services& services, Exchange& exchange) { return save(services, exchange, {exchange.name}); }

Answer image_save_all(const Services& services, Exchange& exchange) { return save(services, exchange, exchange.query().all("names")); }

Answer image_search(const Services& services, Exchange& exchange) {
    const std::string term(exchange.query().get("term"));
    if (term.empty()) fail(ErrorKind::invalid_argument, "search: a term is needed");
    const std::string_view asked = exchange.query().get("limit");
    const auto limit = asked.empty() ? std::optional<std::int64_t>(25) : parse_int(asked);
    if (!limit || *limit < 0 || *limit > 100) fail(ErrorKind::invalid_argument, "limit {} is outside the range of [1, 100]", asked);
    const Filters filters = Filters::parse(exchange.query().get("filters"), {"is-automated", "is-official", "stars"});
    const auto official = filters.flag("is-official");
    const auto automated = filters.flag("is-automated");
    std::int64_t stars = 0;
    for (const std::string& each : filters.get("stars")) {
        const auto number = parse_int(each);
        if (!number) fail(ErrorKind::invalid_argument, "invalid filter 'stars={}'", each);
        stars = std::max(stars, *number);
    }
    auto found = co_await services.transfers.call(
        co_await asio::this_coro::executor, [&services, term, limit, access = access_of(exchange)](const std::stop_token& stop) mutable {
            access.stop = stop;
            return services.registry.search(term, static_cast<std::size_t>(*limit == 0 ? 25 : *limit), access);
        });
    std::erase_if(found, [&](const registry::SearchResult& each) {
        return (official && *official != each.is_official) || (automated && *automated != each.is_automated) || each.star_count < stars;
    });
    co_await send_json(exchange, 200, found);
}

Answer registry_login(const Services& services, Exchange& exchange) {
    check_json_content_type(exchange.head());
    const registry::Credentials credentials = registry::parse_auth_body(co_await exchange.read_body());
    const auto result = co_await services.transfers.call(
        co_await asio::this_coro::executor,
        [&services, credentials](const std::stop_token& stop) { return services.registry.login(credentials, stop); });
    co_await send_json(exchange, 200, wire::AuthAnswer{result.status, result.identity_token});
}

Answer distribution_inspect(const Services& services, Exchange& exchange) {
    const oci::Reference reference = oci::Reference::parse(exchange.name).with_default_tag();
    const auto answer = co_await services.transfers.call(
        co_await asio::this_coro::executor, [&services, reference, access = access_of(exchange)](const std::stop_token& stop) mutable {
            access.stop = stop;
            const registry::Manifest manifest = services.registry.manifest(reference, access);
            wire::DistributionInspect out{.descriptor = manifest.descriptor, .platforms = {}};
            if (oci::is_index(manifest.descriptor.media_type)) {
                for (const oci::Descriptor& each : oci::parse_index(manifest.bytes).manifests) {
                    if (each.platform) out.platforms.push_back(*each.platform);
                }
                return out;
            }
            const oci::Descriptor config = oci::parse_manifest(manifest.bytes).config;
            std::string text;
            if (config.size <= oci::image_config_size_limit) {
                services.registry.blob(reference, config, 0, [&](std::string_view bytes) { text += bytes; }, access);
                const oci::ImageConfig image = oci::parse_image_config(text);
                out.platforms.push_back({image.architecture, image.os, image.variant, image.os_version});
            }
            return out;
        });
    co_await send_json(exchange, 200, answer);
}

}  // namespace grua::api
