// Images of an OCI layout that a client has, by its session's content store: "oci-layout://NAME@DIGEST" of a graph.
//
// The documents are read to say what the image is; layers come only where they are not here. Nothing of the client is believed: a document
// is its digest, and the image store checks the rest.
#pragma once

#include "base/transfers.hpp"
#include "build/graph.hpp"
#include "build/session.hpp"
#include "images/image_store.hpp"
#include "oci/image_config.hpp"
#include "oci/manifest.hpp"
#include "oci/platform.hpp"

#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace grua::build {

inline constexpr std::string_view layout_scheme = "oci-layout://";

struct LayoutSource {
    std::string store;    ///< As the client calls it.
    std::string session;  ///< Of the client.
    oci::Digest digest;   ///< Of a manifest or an index.
};

/// `session`: of the build, where the operation names none. Throws Error(invalid_argument).
LayoutSource read_layout_source(const pb::SourceOp& source, const std::string& session);
/// "NAME@DIGEST"
LayoutSource parse_layout_reference(std::string_view reference);

struct LayoutImage {
    LayoutSource source;
    std::string manifest;  ///< For the platform that was asked for.
    std::string raw_config;
    oci::ImageConfig config;
};

asio::awaitable<std::shared_ptr<const LayoutImage>> find_layout_image(Sessions& sessions, LayoutSource source, oci::Platform platform);

struct LayoutTarget {
    asio::any_io_executor loop;
    Transfers& transfers;
    images::ImageStore& images;
    Sessions& sessions;
};
/// Into the image store, where it has no name; with its layers, unpacked. `target` outlives the call. `came`: bytes of a layer, of so many.
asio::awaitable<void> load_layout_image(LayoutTarget target, std::shared_ptr<const LayoutImage> image,
                                        std::function<void(const std::string& layer, std::uint64_t bytes, std::uint64_t all)> came);

}  // namespace grua::build
