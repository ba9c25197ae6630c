#include "content/content_store.hpp"

#include "base/error.hpp"
#include "base/fault_point.hpp"
#include "base/files.hpp"
#include "base/id.hpp"
#include "base/log.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <array>
#include <cstring>
#include <filesystem>
#include <memory>

namespace grua::content {
namespace {

constexpr std::array algorithms{"sha256", "sha512"};

std::string folder(const std::string& directory, std::string_view algorithm) { return fmt::format("{}/blobs/{}", directory, algorithm); }

}  // namespace

ContentStore::ContentStore(std::string directory) : directory_(std::move(directory)) {
    for (const char* algorithm : algorithms) {
        const std::string path = folder(directory_, algorithm);
        make_directories(path, 0700);
        store::sweep_staged(path);
    }
    make_directories(fmt::format("{}/partial", directory_), 0700);
    make_directories(fmt::format("{}/trash", directory_), 0700);
    purger_ = std::jthread([this](const std::stop_token& stop) { purge(stop); });
}

std::string ContentStore::path(const oci::Digest& digest) const {
    return fmt::format("{}/{}", folder(directory_, digest.algorithm()), digest.hex());
}

oci::Digest ContentStore::put(std::string_view bytes) const {
    oci::Digest digest = digest_of(bytes);
    if (exists(digest)) return digest;
    Writer writer = ingest(digest, bytes.size());
    writer.write(bytes);
    writer.commit();
    return digest;
}

bool ContentStore::exists(const oci::Digest& digest) const { return ::access(path(digest).c_str(), F_OK) == 0; }

Fd ContentStore::open(const oci::Digest& digest) const {
    Fd file{::open(path(digest).c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC)};
    if (file) return file;
    if (errno == ENOENT) fail(ErrorKind::not_found, "content {}: not found", digest.text());
    fail_errno("open content {}", digest.text());
}

std::string ContentStore::read(const oci::Digest& digest, std::size_t limit) const {
    return read_all(open(digest).get(), digest.text(), limit);
}

std::optional<std::uint64_t> ContentStore::size(const oci::Digest& digest) const {
    struct stat status{};
    if (::lstat(path(digest).c_str(), &status) == 0) return static_cast<std::uint64_t>(status.st_size);
    if (errno == ENOENT) return std::nullopt;
    fail_errno("stat content {}", digest.text());
}

void ContentStore::remove(const oci::Digest& digest) const {
    fault_point("content:move-to-trash");
    const std::string target = fmt::format("{}/trash/{}", directory_, random_hex(16));
    if (::rename(path(digest).c_str(), target.c_str()) != 0) {
        if (errno == ENOENT) return;
        fail_errno("remove content {}", digest.text());
    }
    const MutexLock lock{mutex_};
    purged_ = false;
    trashed_.notify_all();
}

void ContentStore::purge(const std::stop_token& stop) const {
    MutexLock lock{mutex_};
    while (!stop.stop_requested()) {
        purged_ = true;
        lock.unlock();
        std::error_code error;
        for (const auto& entry : std::filesystem::directory_iterator(directory_ + "/trash", error)) {
            if (stop.stop_requested()) return;
            if (::unlink(entry.path().c_str()) != 0) log::error("remove {}: {}", entry.path().string(), ::strerror(errno));
        }
        lock.lock();
        trashed_.wait(lock, stop, [&]() GRUA_REQUIRES(mutex_) { return !purged_; });
    }
}

Fd ContentStore::spool() const {
    Fd file{::open(directory_.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)};
    if (!file) fail_errno("create a file in {}", directory_);
    return file;
}

std::vector<oci::Digest> ContentStore::list() const {
    std::vector<oci::Digest> out;
    for (const char* algorithm : algorithms) {
        const std::string path = folder(directory_, algorithm);
        const auto close = [](DIR* open) { ::closedir(open); };
        const std::unique_ptr<DIR, decltype(close)> entries{::opendir(path.c_str()), close};
        if (!entries) fail_errno("open folder {}", path);
        while (const dirent* entry = ::readdir(entries.get())) {
            if (auto digest = oci::Digest::parse(fmt::format("{}:{}", algorithm, entry->d_name))) out.push_back(std::move(*digest));
        }
    }
    return out;
}

}  // namespace grua::content
