// The documents that lead to an image: OCI image manifest and index (image spec, manifest.md, image-index.md) with
// Docker's equal ones, the OCI layout's marker, and docker-archive's manifest.json.
#pragma once

#include "base/codec.hpp"
#include "oci/platform.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

namespace grua::oci {

namespace media_type {
inline constexpr std::string_view manifest = "application/vnd.oci.image.manifest.v1+json";
inline constexpr std::string_view index = "application/vnd.oci.image.index.v1+json";
inline constexpr std::string_view docker_manifest = "application/vnd.docker.distribution.manifest.v2+json";
inline constexpr std::string_view docker_index = "application/vnd.docker.distribution.manifest.list.v2+json";
}  // namespace media_type

bool is_manifest(std::string_view type) noexcept;
bool is_index(std::string_view type) noexcept;

struct Descriptor {
    std::string media_type;
    std::string digest;  ///< checked by the parsers below
    std::uint64_t size = 0;
    std::map<std::string, std::string> annotations;
    std::optional<Platform> platform;
    std::string artifact_type;

    template <typename Self = Descriptor>
    static json::Fields fields() {
        return json::Fields{json::field("mediaType", &Self::media_type),
                            json::field("digest", &Self::digest),
                            json::field("size", &Self::size),
                            json::field("annotations", &Self::annotations).omitted_when_empty(),
                            json::field("platform", &Self::platform).omitted_when_empty(),
                            json::field("artifactType", &Self::artifact_type).omitted_when_empty()};
    }
    friend bool operator==(const Descriptor&, const Descriptor&) = default;
};

struct Manifest {
    std::int64_t schema_version = 0;
    std::string media_type;
    Descriptor config;
    std::vector<Descriptor> layers;
    std::map<std::string, std::string> annotations;
    std::string artifact_type;
    std::optional<Descriptor> subject;

    template <typename Self = Manifest>
    static json::Fields fields() {
        return json::Fields{json::field("schemaVersion", &Self::schema_version),
                            json::field("mediaType", &Self::media_type).omitted_when_empty(),
                            json::field("artifactType", &Self::artifact_type).omitted_when_empty(),
                            json::field("config", &Self::config),
                            json::field("layers", &Self::layers),
                            json::field("subject", &Self::subject).omitted_when_empty(),
                            json::field("annotations", &Self::annotations).omitted_when_empty()};
    }
};

struct Index {
    std::int64_t schema_version = 0;
    std::string media_type;
    std::vector<Descriptor> manifests;
    std::map<std::string, std::string> annotations;

    template <typename Self = Index>
    static json::Fields fields() {
        return json::Fields{json::field("schemaVersion", &Self::schema_version),
                            json::field("mediaType", &Self::media_type).omitted_when_empty(), json::field("manifests", &Self::manifests),
                            json::field("annotations", &Self::annotations).omitted_when_empty()};
    }
};

/// An entry of docker-archive's manifest.json; the paths are the archive's.
struct ArchiveImage {
    std::string config;
    std::vector<std::string> repo_tags;
    std::vector<std::string> layers;

    template <typename Self = ArchiveImage>
    static json::Fields fields() {
        return json::Fields{json::field("Config", &Self::config), json::field("RepoTags", &Self::repo_tags),
                            json::field("Layers", &Self::layers)};
    }
};

/// Bounds of these documents.
inline constexpr std::size_t manifest_size_limit = std::size_t{4} << 20U;
inline constexpr std::size_t index_entry_limit = 10'000;
/// Of one document: "{}," is 3 bytes of JSON and hundreds when it is read.
inline constexpr std::size_t value_count_limit = 200'000;
inline constexpr std::size_t archive_image_limit = 10'000;

/// Each throws Error(invalid_argument) for what is not the document: schemaVersion 2, known media types, valid digests, and
/// never both a manifest and an index, which two readers would understand differently (CVE-2021-41190).
Manifest parse_manifest(std::string_view text);
Index parse_index(std::string_view text);
std::vector<ArchiveImage> parse_archive_manifest(std::string_view text);

/// Throws Error(invalid_argument) where there are more than value_count_limit; before the document takes memory.
void check_value_count(std::string_view json_text, std::string_view what);

/// "image" is for people and machines to run; an attestation says something about an image of the same index.
bool is_attestation(const Descriptor& descriptor);

/// The index's entry for `wanted`: the best variant, attestations skipped; null where there is none.
const Descriptor* choose(const Index& index, const Platform& wanted);

}  // namespace grua::oci
