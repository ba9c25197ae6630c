// Where a step's mounts are attached in its tree of files. What is missing for that is made, and taken away again afterwards where it is as
// empty as it was: the tree has then what the program made in it, and nothing else.
//
// Everything is done by descriptors that were opened under the tree's root, so nothing that the program did to paths leads out of it.
#pragma once

#include "base/fd.hpp"
#include "linux/root.hpp"
#include "oci/runtime_spec.hpp"
#include "tasks/task.hpp"

#include <sys/types.h>
#include <ctime>
#include <string>
#include <vector>

namespace grua::engine {

/// What it has made is recorded as it goes, for remove().
class MountPoints {
public:
    /// A descriptor of the tree's root.
    explicit MountPoints(Fd root) : root_(Root::at(std::move(root))) {}

    /// For the mounts of `document`, of which `given` come as descriptors. Blocks. Throws Error.
    void make(oci::RuntimeSpec& document, const std::vector<tasks::TaskMount>& given);

    /// When nothing runs in the tree any more. Again where it has thrown. Blocks. Throws Error.
    void remove();

private:
    struct Point {
        Fd folder;  ///< That it is in.
        std::string name;
        std::string path;   ///< Of the mount that it was made for.
        timespec before{};  ///< When the folder was last changed but for this.
        timespec after{};   ///< And by this.
        Fd own;             ///< Empty where it could not be made.
    };
    void make_one(const std::string& path, Root::Kind kind);
    void remove_one(const Point& point) const;

    Root root_;
    std::vector<Point> points_;
};

}  // namespace grua::engine
