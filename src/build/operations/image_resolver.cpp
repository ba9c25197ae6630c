#include "build/operations/image_resolver.hpp"

#include "build/wire/session.pb.h"
#include "content/hash.hpp"

namespace grua::build {
namespace {

constexpr std::string_view credentials_call = "/moby.filesync.v1.Auth/Credentials";
constexpr std::chrono::seconds credentials_time{30};
constexpr int indexes_in_each_other = 4;

bool is_for(const images::Image& image, const oci::Platform& platform) {
    const oci::ImageConfig& config = image.config;
    return oci::Platform{config.architecture, config.os, config.variant, config.os_version}.fitness(platform) > 0;
}

std::string read_config(const registry::Client& client, const oci::Reference& reference, const oci::Descriptor& config,
                        const registry::Access& access) {
    if (config.size > oci::image_config_size_limit)
        fail(ErrorKind::invalid_argument, "configuration {} has {} bytes, at most {} are taken", config.digest, config.size,
             oci::image_config_size_limit);
    registry::Access again = access;
    const oci::Digest digest = oci::Digest::from(config.digest);
    for (bool is_second = false;; is_second = true) {
        std::string text;
        again.avoid = client.blob(reference, config, 0, [&](std::string_view bytes) { text += bytes; }, again);
        const oci::Digest actual = content::digest_of(text, digest.algorithm());
        if (actual == digest) return text;
        if (is_second) fail(ErrorKind::invalid_argument, "blob {} has the digest {}", digest.text(), actual.text());
    }
}

}  // namespace

ImagePolicy parse_image_policy(std::string_view resolve_mode) {
    if (resolve_mode == "pull") return ImagePolicy::ask_registry;
    if (resolve_mode.empty() || resolve_mode == "local" || resolve_mode == "default") return ImagePolicy::prefer_here;
    fail(ErrorKind::invalid_argument, "invalid image-resolve-mode: {}", resolve_mode);
}

asio::awaitable<registry::Credentials> ImageResolver::credentials(std::string host, std::string session) {
    if (session.empty()) co_return registry::Credentials{};
    if (const Given* given = sessions_.given().find(session)) {
        const auto found = given->credentials.find(host);
        co_return found == given->credentials.end() ? registry::Credentials{} : found->second;
    }
    const SessionPtr client = co_await sessions_.find(std::move(session));
    if (!client->serves(credentials_call)) co_return registry::Credentials{};
    wire::session::CredentialsRequest request;
    request.set_host(host == "docker.io" ? "registry-1.docker.io" : host);
    const auto answer = grpc::Services::parse<wire::session::CredentialsResponse>(
        co_await grpc::call(client->connection(credentials_call), std::string(credentials_call), request.SerializeAsString(),
                            {.metadata = {}, .timeout = credentials_time}));
    registry::Credentials out{.server_address = host};
    // Without a name it is a refresh token.
    if (answer.username().empty())
        out.identity_token = answer.secret();
    else
        out.password = answer.secret();
    out.username = answer.username();
    co_return out;
}

std::optional<ResolvedImage> ImageResolver::find_here(const std::string& reference, const oci::Platform& platform) {
    if (!images_.find(reference)) return std::nullopt;
    try {
        images::ImageStore::Acquired found = images_.acquire(reference);
        const images::ImagePtr image = images_.for_platform(found.image, platform);
        if (!is_for(*image, platform)) return std::nullopt;
        return ResolvedImage{.reference = reference,
                             .config = image->config,
                             .raw_config = image->raw_config,
                             .digest = found.image->id,
                             .image = image,
                             .held = std::move(found.lease)};
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::not_found) throw;
        return std::nullopt;
    }
}

ResolvedImage ImageResolver::ask(const std::string& reference, const oci::Platform& platform, const registry::Access& access) const {
    const oci::Reference name = oci::Reference::parse(reference);
    registry::Manifest found = client_.manifest(name, access);
    const std::string digest = found.descriptor.digest;
    for (int depth = 0; oci::is_index(found.descriptor.media_type); ++depth) {
        const oci::Index index = oci::parse_index(found.bytes);
        const oci::Descriptor* best = oci::choose(index, platform);
        if (!best || depth > indexes_in_each_other) fail(ErrorKind::not_found, "no match for platform in manifest: not found");
        found = client_.manifest(name.with_digest(oci::Digest::from(best->digest)), access);
    }
    const oci::Manifest manifest = oci::parse_manifest(found.bytes);
    ResolvedImage out{.reference = reference, .config = {}, .raw_config = {}, .digest = digest, .image = {}, .held = {}};
    out.raw_config = read_config(client_, name, manifest.config, access);
    out.config = oci::parse_image_config(out.raw_config);
    return out;
}

asio::awaitable<ResolvedImage> ImageResolver::resolve(std::string reference, oci::Platform platform, ImagePolicy policy,
                                                      std::string session) {
    registry::Access access;
    if (policy == ImagePolicy::prefer_here) {
        auto here = co_await transfers_.call(loop_, [this, reference, platform](const std::stop_token&) {
            return std::make_shared<std::optional<ResolvedImage>>(find_here(reference, platform));
        });
        if (*here) co_return std::move(**here);
    }
    access.credentials = co_await credentials(oci::Reference::parse(reference).domain(), std::move(session));
    co_return co_await transfers_.call(loop_, [this, reference, platform, access](const std::stop_token& stop) {
        registry::Access own = access;
        own.stop = stop;
        return ask(reference, platform, own);
    });
}

asio::awaitable<ResolvedImage> ImageResolver::fetch(ResolvedImage found, oci::Platform platform, std::string session,
                                                    images::OnProgress progress) {
    registry::Access access;
    if (!found.image) access.credentials = co_await credentials(oci::Reference::parse(found.reference).domain(), std::move(session));
    auto work = [this, found = std::move(found), platform, access, progress](const std::stop_token& stop) {
        ResolvedImage out = found;
        if (!out.image) {
            registry::Access own = access;
            own.stop = stop;
            oci::Reference name = oci::Reference::parse(out.reference);
            // What was resolved, whatever the tag means by now.
            if (!name.digest()) name = name.with_digest(oci::Digest::from(out.digest));
            images_.pull(client_, {.reference = name, .platform = platform, .access = own, .signatures = &signatures_}, progress);
            auto here = find_here(name.text(), platform);
            if (!here) fail(ErrorKind::not_found, "{}: not found", out.reference);
            out.image = here->image;
            out.held = here->held;
        }
        images_.unpack(*out.image);
        return out;
    };
    co_return co_await transfers_.call(loop_, std::move(work));
}

asio::awaitable<void> ImageResolver::push(oci::Reference name, std::string session) {
    registry::Access access;
    access.credentials = co_await credentials(name.domain(), std::move(session));
    co_await transfers_.call(loop_, [this, name, access](const std::stop_token& stop) {
        registry::Access own = access;
        own.stop = stop;
        return images_.push(client_, {.reference = name, .platform = {}, .access = own});
    });
}

}  // namespace grua::build
