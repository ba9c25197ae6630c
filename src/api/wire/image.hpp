// Images as list, inspect and history show them.
#pragma once

#include "base/codec.hpp"
#include "oci/image_config.hpp"
#include "oci/manifest.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace grua::api::wire {

using json::field;

struct ManifestSize {
    std::int64_t total = 0;    ///< bytes of blobs and unpacked files
    std::int64_t content = 0;  ///< bytes of blobs
    template <typename Self = ManifestSize>
    static json::Fields fields() {
        return json::Fields{field("Total", &Self::total), field("Content", &Self::content)};
    }
    bool operator==(const ManifestSize&) const = default;
};

struct UnpackedSize {
    std::int64_t unpacked = 0;
    template <typename Self = UnpackedSize>
    static json::Fields fields() {
        return json::Fields{field("Unpacked", &Self::unpacked)};
    }
    bool operator==(const UnpackedSize&) const = default;
};

struct ManifestImageData {
    oci::Platform platform;
    std::vector<std::string> containers;
    UnpackedSize size;
    template <typename Self = ManifestImageData>
    static json::Fields fields() {
        return json::Fields{field("Platform", &Self::platform), field("Containers", &Self::containers), field("Size", &Self::size)};
    }
    bool operator==(const ManifestImageData&) const = default;
};

struct ManifestAttestationData {
    std::string subject;
    template <typename Self = ManifestAttestationData>
    static json::Fields fields() {
        return json::Fields{field("For", &Self::subject)};
    }
    bool operator==(const ManifestAttestationData&) const = default;
};

/// One manifest below an image, API 1.47 and later.
struct ManifestSummary {
    std::string id;
    oci::Descriptor descriptor;
    bool available = false;
    ManifestSize size;
    std::string kind;
    std::optional<ManifestImageData> image_data;
    std::optional<ManifestAttestationData> attestation_data;
    template <typename Self = ManifestSummary>
    static json::Fields fields() {
        return json::Fields{field("ID", &Self::id),
                            field("Descriptor", &Self::descriptor),
                            field("Available", &Self::available),
                            field("Size", &Self::size),
                            field("Kind", &Self::kind),
                            field("ImageData", &Self::image_data).omitted_when_empty(),
                            field("AttestationData", &Self::attestation_data).omitted_when_empty()};
    }
    bool operator==(const ManifestSummary&) const = default;
};

struct DistributionInspect {
    oci::Descriptor descriptor;
    std::vector<oci::Platform> platforms;
    template <typename Self = DistributionInspect>
    static json::Fields fields() {
        return json::Fields{field("Descriptor", &Self::descriptor), field("Platforms", &Self::platforms)};
    }
};

struct FoundImage {
    std::string name;
    std::string description;
    std::int64_t star_count = 0;
    bool is_official = false;
    bool is_automated = false;
    template <typename Self = FoundImage>
    static json::Fields fields() {
        return json::Fields{field("name", &Self::name), field("description", &Self::description), field("star_count", &Self::star_count),
                            field("is_official", &Self::is_official), field("is_automated", &Self::is_automated)};
    }
};

struct AuthAnswer {
    std::string status;
    std::string identity_token;
    template <typename Self = AuthAnswer>
    static json::Fields fields() {
        return json::Fields{field("Status", &Self::status), field("IdentityToken", &Self::identity_token)};
    }
};

struct ImageSummary {
    std::string id;
    std::string parent_id;
    std::vector<std::string> repo_tags;
    std::vector<std::string> repo_digests;
    std::int64_t created = 0;
    std::int64_t size = 0;
    std::int64_t shared_size = -1;
    std::optional<std::int64_t> virtual_size;  ///< Before API 1.44.
    std::optional<std::map<std::string, std::string>> labels;
    std::int64_t containers = -1;
    std::optional<oci::Descriptor> descriptor;
    std::optional<std::vector<ManifestSummary>> manifests;
    template <typename Self = ImageSummary>
    static json::Fields fields() {
        return json::Fields{field("Containers", &Self::containers),
                            field("Created", &Self::created),
                            field("Id", &Self::id),
                            field("Labels", &Self::labels),
                            field("ParentId", &Self::parent_id),
                            field("RepoDigests", &Self::repo_digests),
                            field("RepoTags", &Self::repo_tags),
                            field("SharedSize", &Self::shared_size),
                            field("Size", &Self::size),
                            field("VirtualSize", &Self::virtual_size).omitted_when_empty(),
                            field("Descriptor", &Self::descriptor).added_in(48).omitted_when_empty(),
                            field("Manifests", &Self::manifests).added_in(47).omitted_when_empty()};
    }
    bool operator==(const ImageSummary&) const = default;
};

struct ImageGraphDriver {
    std::string name = "overlay2";
    std::optional<std::map<std::string, std::string>> data;
    template <typename Self = ImageGraphDriver>
    static json::Fields fields() {
        return json::Fields{field("Data", &Self::data), field("Name", &Self::name)};
    }
    bool operator==(const ImageGraphDriver&) const = default;
};

struct ImageRootFs {
    std::string type = "layers";
    std::vector<std::string> layers;
    template <typename Self = ImageRootFs>
    static json::Fields fields() {
        return json::Fields{field("Type", &Self::type), field("Layers", &Self::layers).omitted_when_empty()};
    }
    bool operator==(const ImageRootFs&) const = default;
};

struct ImageMetadata {
    std::string last_tag_time;
    template <typename Self = ImageMetadata>
    static json::Fields fields() {
        return json::Fields{field("LastTagTime", &Self::last_tag_time)};
    }
    bool operator==(const ImageMetadata&) const = default;
};

struct ImageInspect {
    std::string id;
    std::vector<std::string> repo_tags;
    std::vector<std::string> repo_digests;
    std::string parent;
    std::string comment;
    std::string created;
    std::string docker_version;
    std::string author;
    std::optional<std::string> container;         ///< Before API 1.45: of a builder that is gone.
    std::optional<json::Value> container_config;  ///< Before API 1.45.
    json::Value config;
    std::string architecture;
    std::string variant;
    std::string os;
    std::string os_version;
    std::int64_t size = 0;
    std::optional<std::int64_t> virtual_size;  ///< Before API 1.44.
    ImageGraphDriver graph_driver;
    ImageRootFs root_fs;
    ImageMetadata metadata;
    std::optional<oci::Descriptor> descriptor;
    std::optional<std::vector<ManifestSummary>> manifests;
    template <typename Self = ImageInspect>
    static json::Fields fields() {
        return json::Fields{field("Id", &Self::id),
                            field("RepoTags", &Self::repo_tags),
                            field("RepoDigests", &Self::repo_digests),
                            field("Parent", &Self::parent),
                            field("Comment", &Self::comment),
                            field("Created", &Self::created),
                            field("DockerVersion", &Self::docker_version),
                            field("Author", &Self::author),
                            field("Container", &Self::container).omitted_when_empty(),
                            field("ContainerConfig", &Self::container_config).omitted_when_empty(),
                            field("Config", &Self::config),
                            field("Architecture", &Self::architecture),
                            field("Variant", &Self::variant).omitted_when_empty(),
                            field("Os", &Self::os),
                            field("OsVersion", &Self::os_version).omitted_when_empty(),
                            field("Size", &Self::size),
                            field("VirtualSize", &Self::virtual_size).omitted_when_empty(),
                            field("GraphDriver", &Self::graph_driver),
                            field("RootFS", &Self::root_fs),
                            field("Metadata", &Self::metadata),
                            field("Descriptor", &Self::descriptor).added_in(48).omitted_when_empty(),
                            field("Manifests", &Self::manifests).added_in(48).omitted_when_empty()};
    }
    bool operator==(const ImageInspect&) const = default;
};

struct HistoryLine {
    std::string id;
    std::int64_t created = 0;
    std::string created_by;
    std::optional<std::vector<std::string>> tags;
    std::int64_t size = 0;
    std::string comment;
    template <typename Self = HistoryLine>
    static json::Fields fields() {
        return json::Fields{field("Comment", &Self::comment), field("Created", &Self::created), field("CreatedBy", &Self::created_by),
                            field("Id", &Self::id),           field("Size", &Self::size),       field("Tags", &Self::tags)};
    }
    bool operator==(const HistoryLine&) const = default;
};

struct RemovedImage {
    std::string untagged;
    std::string deleted;
    template <typename Self = RemovedImage>
    static json::Fields fields() {
        return json::Fields{field("Untagged", &Self::untagged).omitted_when_empty(), field("Deleted", &Self::deleted).omitted_when_empty()};
    }
    bool operator==(const RemovedImage&) const = default;
};

}  // namespace grua::api::wire
