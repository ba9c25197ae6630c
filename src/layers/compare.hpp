// Are two trees the same to the last file: names, kinds, modes, owners, devices, times, xattrs, contents and hard links?
#pragma once

#include <ctime>
#include <functional>
#include <optional>
#include <string>

namespace grua::layers {

struct CompareOptions {
    /// Folders that an unpacker made by itself have the time of its run: times of folders of `fresh` from then on do not count.
    timespec made_after{};
    /// `present` was an overlay's upper folder, `fresh` is unpacked from what was packed of it: files that were only touched are not in
    /// `fresh`, nor is the root, and where the one hides all that is below a folder the other hides each name of it.
    bool is_upper = false;
    std::function<void()> each = {};  ///< Called for every entry and every piece of a file; may throw to end it.
};

/// The first difference, as "etc/passwd: its contents differ", or nothing. Both are folders' descriptors.
std::optional<std::string> first_difference(int fresh, int present, const CompareOptions& options);

}  // namespace grua::layers
