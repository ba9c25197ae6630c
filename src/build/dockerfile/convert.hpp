// A Dockerfile as a graph of operations, and the configuration of the image that comes of it.
//
// Which images it is made of is known only while it is converted - an image's ONBUILD may name others - so that a conversion says what it
// wants and is begun again with that.
#pragma once

#include "build/dockerfile/stage_graph.hpp"
#include "build/draft.hpp"
#include "oci/image_config.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace grua::build::dockerfile {

struct HostEntry {
    std::string host;
    std::string ip;
};

struct ResourceLimit {
    std::string name;
    std::int64_t soft = 0;
    std::int64_t hard = 0;
};

struct ConvertOptions {
    BuildInputs inputs;
    bool has_platform = false;  ///< Somebody asked for the target's.
    bool several_platforms = false;
    std::map<std::string, std::string> labels;
    bool no_cache = false;
    std::set<std::string, std::less<>> no_cache_stages;
    std::string resolve_mode = "local";
    pb::NetMode network = pb::NET_MODE_UNSET;
    std::vector<HostEntry> hosts;
    std::vector<ResourceLimit> limits;
    std::int64_t shm_size = 0;  ///< Bytes; 0 is the default.
    std::string cgroup_parent;
    std::string hostname;
    std::string cache_namespace;
    std::string filename = "Dockerfile";
    std::set<std::string, std::less<>> contexts;  ///< Names of images and stages that something else stands for.

    /// The build's context, by what the conversion found that is taken of it; all of it where there is nothing.
    std::function<Draft::Output(Draft& draft, const std::vector<std::string>& paths)> context;
};

/// One that FROM, --from or --mount names.
struct ImageName {
    std::string reference;  ///< "docker.io/library/busybox:latest"
    std::string platform;
    bool is_context = false;  ///< It is one of the contexts that have names.

    friend auto operator<=>(const ImageName&, const ImageName&) = default;
};

struct KnownImage {
    oci::ImageConfig config;
    std::string pinned;       ///< The reference with its digest; empty where it has none.
    std::string digest = {};  ///< Of the manifest or index, where the reference alone may come to mean another one.

    /// Adds the files of a named context; empty where they are the image's.
    std::function<Draft::Output(Draft& draft)> files = {};
};

struct Conversion {
    std::vector<ImageName> wanted;  ///< To be known before it can go on; then there is nothing else.
    pb::Definition definition;
    oci::ImageConfig image;             ///< Without layers; its history has those that are to come.
    std::size_t inherited_history = 0;  ///< So many entries of it are the base's.
    oci::Platform platform;

    /// What else of the build the file wants to be in its bill of materials, by names: "context", and those of stages.
    std::map<std::string, pb::Definition> also_scanned;
    bool ignores_cache = false;  ///< The target's stage or one of those.
};

/// Throws SourceError, or Error(invalid_argument) for what is no line's.
Conversion convert(std::string_view source, const Dockerfile& file, const ConvertOptions& options,
                   const std::map<ImageName, KnownImage>& images);

}  // namespace grua::build::dockerfile
