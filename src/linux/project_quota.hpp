// How much may be written below a folder: quotas of projects, as xfs and ext4 have them where they are mounted with `prjquota`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace grua::linux {

/// Whether the file system that `folder` is in keeps projects within their limits.
bool has_project_quota(const std::string& folder) noexcept;

/// Gives an empty folder a project of its own, of `bytes`; what is made in it from now on belongs to that.
void bound_folder(const std::string& folder, std::uint64_t bytes);

/// Nothing where the folder is in no project of its own, or that has no limit.
std::optional<std::uint64_t> bound_of(const std::string& folder);

/// The folder's project has no limit any more: before the folder goes, so that its number is free. One that is
/// not there, or has none, is fine.
void unbound_folder(const std::string& folder);

}  // namespace grua::linux
