// Images as list, inspect and history show them.
#pragma once

#include "base/codec.hpp"
#include "oci/image_config.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace grua::api::wire {

using json::field;

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
    static constexpr auto fields() {
        return std::tuple{field("Containers", &ImageSummary::containers),
                          field("Created", &ImageSummary::created),
                          field("Id", &ImageSummary::id),
                          field("Labels", &ImageSummary::labels),
                          field("ParentId", &ImageSummary::parent_id),
                          field("RepoDigests", &ImageSummary::repo_digests),
                          field("RepoTags", &ImageSummary::repo_tags),
                          field("SharedSize", &ImageSummary::shared_size),
                          field("Size", &ImageSummary::size)};
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
                          field("Metadata", &ImageInspect::metadata)};
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
