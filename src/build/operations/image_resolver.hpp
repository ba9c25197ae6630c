// Images that a build is made of: what they are, from the store or from a registry, and their layers.
#pragma once

#include "base/transfers.hpp"
#include "build/session.hpp"
#include "images/image_store.hpp"
#include "registry/client.hpp"
#include "registry/signatures.hpp"

#include <functional>
#include <optional>
#include <string>

namespace grua::build {

enum class ImagePolicy {
    prefer_here,  ///< A registry is asked for what is not here only.
    ask_registry,
};
ImagePolicy parse_image_policy(std::string_view resolve_mode);

struct ResolvedImage {
    std::string reference;  ///< "docker.io/library/busybox:latest"
    oci::ImageConfig config;
    std::string raw_config;
    std::string digest;              ///< Of the manifest or index by this name.
    images::ImagePtr image;          ///< For the platform that was asked for; null where it is not here.
    images::ImageStore::Lease held;  ///< It stays while this lives.
};

class ImageResolver {
public:
    /// All of them outlive this.
    ImageResolver(asio::any_io_executor loop, images::ImageStore& images, const registry::Client& client,
                  const registry::SignaturePolicy& signatures, Transfers& transfers, Sessions& sessions)
        : loop_(std::move(loop)), images_(images), client_(client), signatures_(signatures), transfers_(transfers), sessions_(sessions) {}

    /// What it is; no layer is fetched. `session`: whose credentials a registry gets; may be empty.
    asio::awaitable<ResolvedImage> resolve(std::string reference, oci::Platform platform, ImagePolicy policy, std::string session);

    /// With its layers, unpacked. `found`: what resolve() gave.
    asio::awaitable<ResolvedImage> fetch(ResolvedImage found, oci::Platform platform, std::string session, images::OnProgress progress);

    /// To the registry that its name says.
    asio::awaitable<void> push(oci::Reference name, std::string session);

    asio::awaitable<registry::Credentials> credentials(std::string host, std::string session);

private:
    std::optional<ResolvedImage> find_here(const std::string& reference, const oci::Platform& platform);
    ResolvedImage ask(const std::string& reference, const oci::Platform& platform, const registry::Access& access) const;

    asio::any_io_executor loop_;
    images::ImageStore& images_;
    const registry::Client& client_;
    const registry::SignaturePolicy& signatures_;
    Transfers& transfers_;
    Sessions& sessions_;
};

}  // namespace grua::build
