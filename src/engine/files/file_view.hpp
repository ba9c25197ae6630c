// A container's files as the container sees them, for somebody outside of it: its root file system with its volumes, binds
// and network files mounted in their places (of one that runs its tmpfs mounts too), in a mount namespace that nobody else is
// in. Everything is reached through a Root, so no link in the container leads out of it, whoever swaps what meanwhile
// (CVE-2018-15664); no program and no library of the container is run or loaded (CVE-2019-14271).
#pragma once

#include "base/fd.hpp"
#include "engine/model/record.hpp"
#include "linux/root.hpp"
#include "runtime/user.hpp"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace grua::engine {

/// Something mounted in the view. The mount is detached.
struct ViewMount {
    Fd mount;
    std::string destination;
    bool read_only = false;
};

/// The root file system of a running container, and its tmpfs mounts at `tmpfs`: copies of its own mounts.
/// Throws Error with ESRCH where the process has ended.
struct RunningMounts {
    Fd root;
    std::vector<ViewMount> tmpfs;
};
RunningMounts copy_running_mounts(int pidfd, const std::vector<std::string>& tmpfs);

/// A detached mount of what a mount of type "image" shows.
using ImageMounter = std::function<Fd(const MountDetail&)>;

/// /etc/passwd and /etc/group as the processes of a running container see them. Throws Error with ESRCH where the process has ended.
runtime::UserFiles read_running_user_files(int pidfd);

/// Volumes, binds, images and network files of a container, as copies of what is mounted on the host.
std::vector<ViewMount> copy_host_mounts(const ContainerRecord& record, const ImageMounter& mount_image);

/// Where a container has tmpfs mounts.
std::vector<std::string> tmpfs_destinations(const ContainerRecord& record);

/// False where a mount point is missing in the tree.
bool has_mount_points(const Root& root, const std::vector<ViewMount>& mounts);

struct FileView {
    std::shared_ptr<const void> held;  ///< What is below the root stays as it is.
    std::string attach_at;             ///< An empty folder of the host; covered in the view's own namespace only.
    Fd root;                           ///< A detached mount.
    bool read_only_root = false;
    std::vector<ViewMount> mounts;
};

/// Builds the view in a thread of its own, runs `use` there, and takes it down. Mount points that are missing are made where
/// the root can be written.
void with_file_view(FileView view, const std::function<void(const Root&)>& use);

/// `path` cleaned as Docker does it: absolute, "." and ".." resolved by their text, a "/" or "/." at its end kept.
std::string clean_path(std::string_view path);

/// Where `path` leads with all links followed as the tree's owner sees them. What does not exist is kept as it is written.
/// Of use as a text only: the tree may be another one by now.
std::string follow_links(const Root& root, std::string_view path);

}  // namespace grua::engine
