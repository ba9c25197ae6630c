// Provenance where results are exported: in images, and as files beside files.
#pragma once

#include "build/exports.hpp"
#include "build/provenance.hpp"
#include "images/built.hpp"

#include <cstddef>
#include <string>
#include <vector>

namespace grua::build {

/// Whether an image gets it. What is wanted in images alone - a client asks for that by itself - is left out where an image would become an
/// index by it that nobody has asked for, or would have other media types than were asked for.
bool has_provenance(const ProvenanceWish& wish, const ImageForm& form, std::size_t manifests) noexcept;

/// Says of each manifest how it came to be; `definitions` in the order of the manifests, whose layers are packed. The image becomes an
/// index of OCI's media types. Throws as images::manifest_of().
void add_provenance(images::BuiltImage& image, const ImageForm& form, const ProvenanceWish& wish, const BuildRecord& record,
                    const std::vector<pb::Definition>& definitions);

/// Whether files get it beside them, by the wish's name.
bool has_provenance_file(const ProvenanceWish& wish) noexcept;

/// What is in that file; `files` from scan_tree() of all of them.
std::string provenance_file(const ProvenanceWish& wish, const BuildRecord& record, const BuildPart& part, const TreeIndex& files);

}  // namespace grua::build
