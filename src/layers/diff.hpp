// What a container changed: the difference between its writable layer and what lies below, found in overlayfs' upper folder
// alone. Nothing is read of the image but what stands beside an entry of the upper: the cost is that of the changes.
//
// What counts as a change is Docker's: a file whose kind, mode, owner, size, time of modification or capabilities differ
// (times are compared by the second where one of them has no fraction), a folder whose mode or owner differ or that has a
// change below it. Beyond that, other xattrs and the bytes count too, so that nothing is lost where a time was set back.
#pragma once

#include "layers/pack.hpp"

#include <functional>
#include <set>
#include <string>
#include <vector>

namespace grua::layers {

/// Docker's numbers.
enum class ChangeKind { modified = 0, added = 1, deleted = 2 };

struct Change {
    std::string path;  ///< "/etc/passwd"
    ChangeKind kind = ChangeKind::modified;

    bool operator==(const Change&) const = default;
};

/// Empty files and folders that the runtime makes to mount on: as if they were there before. "/dev/console".
using MountPoints = std::set<std::string, std::less<>>;

struct Diff {
    int upper = -1;  ///< The upper folder.
    int lower = -1;  ///< All layers below as one tree (LayerStore::mount_layers).
    const MountPoints& mount_points;
};

/// A folder stands before what is in it; names are in the order of their bytes. The tree may be changing meanwhile.
void visit_changes(const Diff& diff, const std::function<void(const Change&)>& visit);

/// The same as a layer's tar (OCI image-spec, layer.md): whiteouts are empty files .wh.NAME. Hard links stay links, also where
/// one of the names did not change. False where nothing changed; then there is no entry in the tar.
/// Throws Error(invalid_argument) for a file that is named like a whiteout: a layer cannot have it.
bool pack_changes(const Diff& diff, Sink& sink, PackLimits limits = {});

}  // namespace grua::layers
