// What is said of results where they are exported: in images, and as files beside files. We say how they came to be (provenance), others
// whatever they know (statements.hpp).
#pragma once

#include "build/exports.hpp"
#include "build/provenance.hpp"
#include "build/statements.hpp"
#include "images/built.hpp"

#include <cstddef>
#include <string>
#include <vector>

namespace grua::build {

/// Whether it becomes a part of an image. What is wanted in images alone - a client asks for provenance like that by itself - is left out
/// where an image would become an index by it that nobody has asked for, or would have other media types than were asked for.
bool is_in_image(bool inline_only, const ImageForm& form, std::size_t manifests) noexcept;

/// What others say of the manifest `at`, whose layers are packed, before what we say. The image becomes an index of OCI's media types.
/// Throws as images::manifest_of().
void add_statements(images::BuiltImage& image, const ImageForm& form, std::size_t at, const std::vector<GivenStatement>& given);

/// Says of each manifest how it came to be; `definitions` in the order of the manifests.
void add_provenance(images::BuiltImage& image, const ImageForm& form, const ProvenanceWish& wish, const BuildRecord& record,
                    const std::vector<pb::Definition>& definitions);

/// What is in the files beside exported files, whose digests `files` has (scan_tree).
std::string provenance_file(const ProvenanceWish& wish, const BuildRecord& record, const BuildPart& part, const TreeIndex& files);
std::string statement_file(const GivenStatement& given, const TreeIndex& files);

}  // namespace grua::build
