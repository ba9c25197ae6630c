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
    static constexpr auto fields() { return std::tuple{field("Total", &ManifestSize::total), field("Content", &ManifestSize::content)}; }
    bool operator==(const ManifestSize&) const = default;
};

struct UnpackedSize {
    std::int64_t unpacked = 0;
    static constexpr auto fields() { return std::tuple{field("Unpacked", &UnpackedSize::unpacked)}; }
    bool operator==(const UnpackedSize&) const = default;
};

struct ManifestImageData {
    oci::Platform platform;
    std::vector<std::string> containers;
    UnpackedSize size;
    static constexpr auto fields() {
        return std::tuple{field("Platform", &ManifestImageData::platform), field("Containers", &ManifestImageData::containers),
                          field("Size", &ManifestImageData::size)};
    }
    bool operator==(const ManifestImageData&) const = default;
};

struct ManifestAttestationData {
    std::string subject;
    static constexpr auto fields() { return std::tuple{field("For", &ManifestAttestationData::subject)}; }
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
    static constexpr auto fields() {
        return std::tuple{field("ID", &ManifestSummary::id),
                          field("Descriptor", &ManifestSummary::descriptor),
                          field("Available", &ManifestSummary::available),
                          field("Size", &ManifestSummary::size),
                          field("Kind", &ManifestSummary::kind),
                          field("ImageData", &ManifestSummary::image_data).omitted_when_empty(),
                          field("AttestationData", &ManifestSummary::attestation_data).omitted_when_empty()};
    }
    bool operator==(const ManifestSummary&) const = default;
};

struct DistributionInspect {
    oci::Descriptor descriptor;
    std::vector<oci::Platform> platforms;
    static constexpr auto fields() {
        return std::tuple{field("Descriptor", &DistributionInspect::descriptor), field("Platforms", &DistributionInspect::platforms)};
    }
};

struct AuthAnswer {
    std::string status;
    std::string identity_token;
    static constexpr auto fields() {
        return std::tuple{field("Status", &AuthAnswer::status), field("IdentityToken", &AuthAnswer::identity_token)};
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
    std::map<std::string, std::string> labels;
    std::int64_t containers = -1;
    std::optional<oci::Descriptor> descriptor;
    std::optional<std::vector<ManifestSummary>> manifests;
    static constexpr auto fields() {
        return std::tuple{field("Containers", &ImageSummary::containers),
                          field("Created", &ImageSummary::created),
                          field("Id", &ImageSummary::id),
                          field("Labels", &ImageSummary::labels),
                          field("ParentId", &ImageSummary::parent_id),
                          field("RepoDigests", &ImageSummary::repo_digests),
                          field("RepoTags", &ImageSummary::repo_tags),
                          field("SharedSize", &ImageSummary::shared_size),
                          field("Size", &ImageSummary::size),
                          field("Descriptor", &ImageSummary::descriptor).added_in(48).omitted_when_empty(),
                          field("Manifests", &ImageSummary::manifests).added_in(47).omitted_when_empty()};
    }
    bool operator==(const ImageSummary&) const = default;
};

struct ImageGraphDriver {
    std::string name = "overlay2";
    std::optional<std::map<std::string, std::string>> data;
    static constexpr auto fields() { return std::tuple{field("Data", &ImageGraphDriver::data), field("Name", &ImageGraphDriver::name)}; }
    bool operator==(const ImageGraphDriver&) const = default;
};

struct ImageRootFs {
    std::string type = "layers";
    std::vector<std::string> layers;
    static constexpr auto fields() {
        return std::tuple{field("Type", &ImageRootFs::type), field("Layers", &ImageRootFs::layers).omitted_when_empty()};
    }
    bool operator==(const ImageRootFs&) const = default;
};

struct ImageMetadata {
    std::string last_tag_time;
    static constexpr auto fields() { return std::tuple{field("LastTagTime", &ImageMetadata::last_tag_time)}; }
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
    oci::ImageRunConfig config;
    std::string architecture;
    std::string variant;
    std::string os;
    std::string os_version;
    std::int64_t size = 0;
    ImageGraphDriver graph_driver;
    ImageRootFs root_fs;
    ImageMetadata metadata;
    std::optional<oci::Descriptor> descriptor;
    std::optional<std::vector<ManifestSummary>> manifests;
    static constexpr auto fields() {
        return std::tuple{field("Id", &ImageInspect::id),
                          field("RepoTags", &ImageInspect::repo_tags),
                          field("RepoDigests", &ImageInspect::repo_digests),
                          field("Parent", &ImageInspect::parent),
                          field("Comment", &ImageInspect::comment),
                          field("Created", &ImageInspect::created),
                          field("DockerVersion", &ImageInspect::docker_version),
                          field("Author", &ImageInspect::author),
                          field("Config", &ImageInspect::config),
                          field("Architecture", &ImageInspect::architecture),
                          field("Variant", &ImageInspect::variant).omitted_when_empty(),
                          field("Os", &ImageInspect::os),
                          field("OsVersion", &ImageInspect::os_version).omitted_when_empty(),
                          field("Size", &ImageInspect::size),
                          field("GraphDriver", &ImageInspect::graph_driver),
                          field("RootFS", &ImageInspect::root_fs),
                          field("Metadata", &ImageInspect::metadata),
                          field("Descriptor", &ImageInspect::descriptor).added_in(48).omitted_when_empty(),
                          field("Manifests", &ImageInspect::manifests).added_in(48).omitted_when_empty()};
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
    static constexpr auto fields() {
        return std::tuple{
            field("Comment", &HistoryLine::comment), field("Created", &HistoryLine::created), field("CreatedBy", &HistoryLine::created_by),
            field("Id", &HistoryLine::id),           field("Size", &HistoryLine::size),       field("Tags", &HistoryLine::tags)};
    }
    bool operator==(const HistoryLine&) const = default;
};

struct RemovedImage {
    std::string untagged;
    std::string deleted;
    static constexpr auto fields() {
        return std::tuple{field("Untagged", &RemovedImage::untagged).omitted_when_empty(),
                          field("Deleted", &RemovedImage::deleted).omitted_when_empty()};
    }
    bool operator==(const RemovedImage&) const = default;
};

}  // namespace grua::api::wire
