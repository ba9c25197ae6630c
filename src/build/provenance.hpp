// How an image came to be, as SLSA has it: who built it of what, when, with which arguments, in which steps. One predicate for each
// platform, in an in-toto statement that says about which manifest it is. Pure; forms and names are BuildKit's.
//
//     https://slsa.dev/provenance/v0.2, https://slsa.dev/provenance/v1, https://in-toto.io/Statement/v0.1
#pragma once

#include "base/codec.hpp"
#include "base/text.hpp"
#include "build/attestations.hpp"
#include "build/materials.hpp"
#include "build/tree_index.hpp"
#include "oci/manifest.hpp"
#include "oci/platform.hpp"
#include "oci/reference.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace grua::build {

/// What is the same for all platforms of a build.
struct BuildRecord {
    std::string front_end;   ///< "dockerfile.v0"; empty where the client gave a graph.
    ClientOptions options;   ///< Of the front end, as they were given; what is of this host only is left out here.
    std::string invocation;  ///< An ID that no client has chosen.
    Time started;
    Time finished;
    Materials seen;  ///< By the front end itself: the images that it asked for, with the names that it asked by, and the folders.
    SourcePins pins;
    std::vector<oci::Platform> platforms;  ///< Of the result, where it has several.
    oci::Platform builder = oci::Platform::host();
};

/// The layers that a result of an operation has, from the lowest.
struct LayerChain {
    std::string vertex;  ///< The operation's digest.
    int index = 0;
    std::vector<oci::Descriptor> layers;
};

/// What came of one platform.
struct BuildPart {
    oci::Platform platform;
    pb::Definition definition;
    std::vector<LayerChain> layers;  ///< As far as they are known; for Mode::max.
};

std::string_view predicate_type(ProvenanceWish::Form form) noexcept;

/// Throws Error(invalid_argument) for a definition that is none.
json::Value provenance_predicate(const ProvenanceWish& wish, const BuildRecord& record, const BuildPart& part);

/// What a statement is about.
struct Subject {
    std::string name;
    std::map<std::string, std::string> digests;  ///< In hexadecimal digits, by their algorithms: "sha256".

    static Subject of(std::string name, const oci::Digest& digest) {
        return {.name = std::move(name), .digests = {{std::string(digest.algorithm()), std::string(digest.hex())}}};
    }
};

/// An image by each of its names: "pkg:docker/busybox@latest?platform=linux%2Famd64".
std::vector<Subject> image_subjects(const std::vector<oci::Reference>& names, const oci::Platform& platform, const oci::Digest& manifest);

/// Files by their paths; `files` with the digests of their contents.
std::vector<Subject> file_subjects(const TreeIndex& files);

json::Value in_toto_statement(std::string_view type_of_predicate, const std::vector<Subject>& subjects, json::Value predicate);

/// Of a kind of package: "docker", "oci". `platform` may be empty.
std::string package_url(std::string_view kind, const oci::Reference& reference, const std::string& platform);

}  // namespace grua::build
