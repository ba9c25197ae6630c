// Files that survive a power cut: written aside, synced, renamed, and the folder synced. A reader, now or after a crash,
// sees the old file or the new one. Paths are the host's own.
#pragma once

#include "base/fd.hpp"

#include <sys/types.h>
#include <string>
#include <string_view>

namespace grua::store {

/// A file on its way to its name; destroyed unpublished it is gone.
class StagedFile {
public:
    /// Makes ".staged-<random>" in `directory`.
    explicit StagedFile(const std::string& directory, mode_t mode = 0644);
    StagedFile(StagedFile&& other) noexcept;
    StagedFile& operator=(StagedFile&&) = delete;
    ~StagedFile();

    int fd() const noexcept { return file_.get(); }

    /// fsync, rename to `path` (same file system; replaces), fsync of its folder.
    void publish(const std::string& path);

    /// The rename of publish() alone, for a caller that syncs many files at once.
    void publish_synced(const std::string& path);

private:
    Fd file_;
    std::string path_;
};

/// Removes what StagedFile left in `directory` when the process was killed. Call at start, before there are writers.
void sweep_staged(const std::string& directory);

void write_durably(const std::string& path, std::string_view bytes, mode_t mode = 0644);

/// fsync of a folder: its names are durable.
void sync_directory(const std::string& path);

/// syncfs: everything written to the file system of `path` is durable. For many files at once.
void sync_filesystem(const std::string& path);

}  // namespace grua::store
