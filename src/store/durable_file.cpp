#include "store/durable_file.hpp"

#include "base/error.hpp"
#include "base/fault_point.hpp"
#include "base/files.hpp"
#include "base/id.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <cstdio>
#include <memory>
#include <utility>

namespace grua::store {
namespace {

constexpr std::string_view staged_prefix = ".staged-";
constexpr std::size_t random_bytes = 12;

std::string folder_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    if (slash == std::string::npos) return ".";
    return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

StagedFile::StagedFile(const std::string& directory, mode_t mode)
    : path_(fmt::format("{}/{}{}", directory, staged_prefix, random_hex(random_bytes))) {
    fault_point("store:create-file");
    file_ = Fd{::open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode)};
    if (!file_) {
        path_.clear();
        fail_errno("create a file in {}", directory);
    }
}

StagedFile::StagedFile(StagedFile&& other) noexcept : file_(std::move(other.file_)), path_(std::exchange(other.path_, {})) {}

StagedFile::~StagedFile() {
    if (!path_.empty()) ::unlink(path_.c_str());
}

void StagedFile::publish(const std::string& path) {
    fault_point("store:sync-file");
    if (::fsync(file_.get()) != 0) fail_errno("sync {}", path_);
    crash_point("store:file-synced");
    publish_synced(path);
    sync_directory(folder_of(path));
}

void StagedFile::publish_synced(const std::string& path) {
    fault_point("store:rename");
    if (::rename(path_.c_str(), path.c_str()) != 0) fail_errno("rename {} to {}", path_, path);
    path_.clear();
    crash_point("store:file-renamed");
}

void sweep_staged(const std::string& directory) {
    const auto close = [](DIR* open) { ::closedir(open); };
    const std::unique_ptr<DIR, decltype(close)> entries{::opendir(directory.c_str()), close};
    if (!entries) fail_errno("open folder {}", directory);
    while (const dirent* entry = ::readdir(entries.get())) {
        if (std::string_view(entry->d_name).starts_with(staged_prefix)) ::unlinkat(::dirfd(entries.get()), entry->d_name, 0);
    }
}

void write_durably(const std::string& path, std::string_view bytes, mode_t mode) {
    StagedFile file{folder_of(path), mode};
    write_all(file.fd(), bytes, path);
    file.publish(path);
}

void sync_directory(const std::string& path) {
    fault_point("store:sync-folder");
    const Fd folder{::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!folder) fail_errno("open folder {}", path);
    if (::fsync(folder.get()) != 0) fail_errno("sync folder {}", path);
}

void sync_filesystem(const std::string& path) {
    fault_point("store:sync-filesystem");
    const Fd any{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!any) fail_errno("open {}", path);
    if (::syncfs(any.get()) != 0) fail_errno("sync the file system of {}", path);
}

}  // namespace grua::store
