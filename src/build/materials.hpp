// What a build is made of, for its provenance: images, repositories, files of others, folders of its client, secrets and agents by name.
#pragma once

#include "build/graph.hpp"
#include "oci/platform.hpp"

#include <compare>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace grua::build {

/// What the sources of a graph have been found to be, by the digests of their operations: of an image the digest of its manifest or index,
/// of a repository the commit, of a file its digest.
using SourcePins = std::map<std::string, std::string, std::less<>>;

struct ImageMaterial {
    std::string reference;   ///< "docker.io/library/busybox:latest"; with a digest where one was named.
    std::string platform;    ///< "linux/amd64"; empty where none was asked for.
    bool is_layout = false;  ///< Of a layout that the client has.

    friend auto operator<=>(const ImageMaterial&, const ImageMaterial&) = default;
};

struct Materials {
    // By name, and what is there by it; of two with the same name the first one counts. What is empty is not known.
    std::map<ImageMaterial, std::string> images;
    std::map<std::string, std::string> repositories;  ///< "https://host/path.git#ref", and the commit.
    std::map<std::string, std::string> files;         ///< The URL, and the digest.
    std::set<std::string> folders;                    ///< Of the client: "context".
    // By ID, and whether the build goes on without it.
    std::map<std::string, bool> secrets;
    std::map<std::string, bool> agents;
    bool uses_network = false;
    bool is_complete = true;  ///< All that was taken has a name here.

    void add_secret(const std::string& id, bool is_optional);
    void add_agent(const std::string& id, bool is_optional);
    void merge(const Materials& other);

    /// The same build could be done again: nothing was taken of a client's folders, and of everything it is known what it was.
    bool are_fixed() const;
};

/// All that an edge needs, whether it was made or was there.
Materials materials_of(const Edge& edge, const SourcePins& pins);

/// Of a result of several platforms, what one of them is made of: an image that is there for each of them is named for that one alone.
Materials for_platform(const Materials& all, const oci::Platform& platform, const std::vector<oci::Platform>& platforms);

/// An image that is named by its digest, and by its tag as well, is named once.
void name_images_once(Materials& materials);

/// With "xxxxx" in place of names and passwords; what is no URL stays as it is.
std::string without_secrets(const std::string& url);

}  // namespace grua::build
