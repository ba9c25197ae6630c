// The ways in: a staged file that is gone when it fails, and a partial that the next attempt goes on with.
#include "base/error.hpp"
#include "base/fault_point.hpp"
#include "base/files.hpp"
#include "base/timespec.hpp"
#include "content/content_store.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <memory>
#include <set>

namespace grua::content {
namespace {

constexpr std::size_t read_size = std::size_t{256} << 10U;

/// From here on a blob that nobody reads soon goes past the page cache; below it a thread is not worth it.
constexpr std::uint64_t direct_from = 4 * store::DirectWriter::piece_size;

std::string blob_folder(const std::string& directory, std::string_view algorithm) {
    return fmt::format("{}/blobs/{}", directory, algorithm);
}

/// True where `path` still names the file behind `fd`: it could have been published or removed before the lock was ours.
bool names(const std::string& path, int fd) {
    struct stat opened{};
    struct stat named{};
    if (::fstat(fd, &opened) != 0) fail_errno("stat {}", path);
    return ::lstat(path.c_str(), &named) == 0 && named.st_ino == opened.st_ino && named.st_dev == opened.st_dev;
}

/// An unlocked partial, locked now; an empty Fd where a writer has it.
Fd lock_partial(const std::string& path, int flags) {
    for (;;) {
        Fd file{::open(path.c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC | flags, 0600)};
        if (!file) fail_errno("open {}", path);
        if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
            if (errno == EWOULDBLOCK) return {};
            fail_errno("lock {}", path);
        }
        if (names(path, file.get())) return file;
    }
}

}  // namespace

std::string ContentStore::partial_path(const oci::Digest& digest) const {
    return fmt::format("{}/partial/{}-{}", directory_, digest.algorithm(), digest.hex());
}

ContentStore::Writer ContentStore::ingest(const oci::Digest& expected, std::optional<std::uint64_t> size) const {
    return {*this, expected, size, Writer::Kind::staged};
}

ContentStore::Writer ContentStore::receive(Reading reading) const {
    Writer writer{*this, digest_of(""), std::nullopt, Writer::Kind::staged};
    writer.finds_digest_ = true;
    writer.reading_ = reading;
    return writer;
}

ContentStore::Writer ContentStore::resume(const oci::Digest& expected, std::optional<std::uint64_t> size) const {
    return {*this, expected, size, Writer::Kind::partial};
}

ContentStore::Writer::Writer(const ContentStore& store, oci::Digest expected, std::optional<std::uint64_t> size, Kind kind)
    : store_(&store), expected_(std::move(expected)), size_(size), hasher_(expected_.algorithm()) {
    fault_point("content:create-blob");
    if (kind == Kind::staged) {
        staged_.emplace(blob_folder(store.directory_, expected_.algorithm()), 0600);
        return;
    }
    partial_ = lock_partial(store.partial_path(expected_), O_CREAT);
    if (!partial_) fail(ErrorKind::conflict, "blob {} is being written by another download", expected_.text());
    hash_partial();
}

ContentStore::Writer::Writer(Writer&& other) noexcept
    : store_(other.store_),
      expected_(std::move(other.expected_)),
      size_(other.size_),
      hasher_(std::move(other.hasher_)),
      staged_(std::move(other.staged_)),
      partial_(std::move(other.partial_)),
      direct_(std::move(other.direct_)),
      written_(other.written_),
      verified_(other.verified_),
      finds_digest_(other.finds_digest_),
      reading_(other.reading_) {
    other.staged_.reset();
}

ContentStore::Writer::~Writer() {
    // A partial without a byte is nothing to go on with.
    if (partial_ && written_ == 0) discard();
}

void ContentStore::Writer::hash_partial() {
    const std::string name = store_->partial_path(expected_);
    struct stat status{};
    if (::fstat(partial_.get(), &status) != 0) fail_errno("stat {}", name);
    const auto size = static_cast<std::uint64_t>(status.st_size);
    if (size_ && size > *size_) {
        restart();
        return;
    }
    const auto buffer = std::make_unique_for_overwrite<char[]>(read_size);
    while (written_ < size) {
        const ssize_t count = ::pread(partial_.get(), buffer.get(), read_size, static_cast<off_t>(written_));
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) fail_errno("read {}", name);
        if (count == 0) break;
        hasher_.update({buffer.get(), static_cast<std::size_t>(count)});
        written_ += static_cast<std::uint64_t>(count);
    }
    if (::lseek(partial_.get(), static_cast<off_t>(written_), SEEK_SET) < 0) fail_errno("seek in {}", name);
}

void ContentStore::Writer::write(std::string_view bytes) {
    if (size_ && bytes.size() > *size_ - written_) {
        fail(ErrorKind::invalid_argument, "blob {} is larger than the announced {} bytes", expected_.text(), *size_);
    }
    fault_point("content:write-blob");
    hasher_.update(bytes);
    write_out(bytes);
}

void ContentStore::Writer::write_out(std::string_view bytes) {
    if (!direct_ && reading_ == Reading::later) {
        const std::string_view first = bytes.substr(0, direct_from - written_);
        write_all(fd(), first, expected_.text());
        written_ += first.size();
        bytes.remove_prefix(first.size());
        if (bytes.empty()) return;
        direct_ = std::make_unique<store::DirectWriter>(fd(), written_, "a blob");
    }
    if (direct_) {
        direct_->write(bytes);
    } else {
        write_all(fd(), bytes, expected_.text());
    }
    written_ += bytes.size();
}

void ContentStore::Writer::restart() {
    if (::ftruncate(fd(), 0) != 0 || ::lseek(fd(), 0, SEEK_SET) < 0) fail_errno("truncate blob {}", expected_.text());
    hasher_ = Hasher{expected_.algorithm()};
    written_ = 0;
    verified_ = false;
}

void ContentStore::Writer::verify() {
    if (verified_) return;
    if (direct_) direct_->finish();
    direct_.reset();
    if (size_ && written_ != *size_) {
        fail(ErrorKind::invalid_argument, "blob {} has {} bytes, {} were announced", expected_.text(), written_, *size_);
    }
    const oci::Digest actual = hasher_.finish();
    if (finds_digest_) expected_ = actual;
    if (actual != expected_) {
        discard();
        fail(ErrorKind::invalid_argument, "blob {} has the digest {}", expected_.text(), actual.text());
    }
    verified_ = true;
}

void ContentStore::Writer::publish() {
    fault_point("content:rename-blob");
    const std::string target = store_->path(expected_);
    if (staged_) {
        staged_->publish_synced(target);
        staged_.reset();
        return;
    }
    const std::string source = store_->partial_path(expected_);
    if (::rename(source.c_str(), target.c_str()) != 0) fail_errno("rename {} to {}", source, target);
    partial_ = Fd{};
}

void ContentStore::Writer::commit() {
    verify();
    crash_point("content:verified");
    if (::fsync(fd()) != 0) fail_errno("sync blob {}", expected_.text());
    crash_point("store:file-synced");
    publish();
    store::sync_directory(blob_folder(store_->directory_, expected_.algorithm()));
    crash_point("content:published");
}

void ContentStore::Writer::discard() noexcept {
    staged_.reset();
    if (!partial_) return;
    ::unlink(store_->partial_path(expected_).c_str());
    partial_ = Fd{};
}

void ContentStore::commit(std::span<Writer> writers) const {
    for (Writer& each : writers) each.verify();
    crash_point("content:verified");
    store::sync_filesystem(directory_);
    std::set<std::string> folders;
    for (Writer& each : writers) {
        each.publish();
        folders.insert(blob_folder(directory_, each.expected_.algorithm()));
    }
    for (const std::string& each : folders) store::sync_directory(each);
    crash_point("content:published");
}

std::vector<ContentStore::Partial> ContentStore::partials() const {
    const std::string folder = fmt::format("{}/partial", directory_);
    const auto close = [](DIR* open) { ::closedir(open); };
    const std::unique_ptr<DIR, decltype(close)> entries{::opendir(folder.c_str()), close};
    if (!entries) fail_errno("open folder {}", folder);
    std::vector<Partial> out;
    while (const dirent* entry = ::readdir(entries.get())) {
        std::string name = entry->d_name;
        if (const std::size_t dash = name.find('-'); dash != std::string::npos) name[dash] = ':';
        const std::optional<oci::Digest> digest = oci::Digest::parse(name);
        if (!digest) continue;
        const Fd file{::openat(::dirfd(entries.get()), entry->d_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)};
        struct stat status{};
        if (!file || ::fstat(file.get(), &status) != 0) continue;  // published meanwhile
        Partial partial{*digest, static_cast<std::uint64_t>(status.st_size), {}, ::flock(file.get(), LOCK_SH | LOCK_NB) != 0};
        partial.modified = time_of(status.st_mtim);
        out.push_back(std::move(partial));
    }
    return out;
}

bool ContentStore::remove_partial(const oci::Digest& digest) const {
    const std::string path = partial_path(digest);
    if (::access(path.c_str(), F_OK) != 0) return true;
    const Fd file = while_doing("remove partial", [&] { return lock_partial(path, O_CREAT); });
    if (!file) return false;
    if (::unlink(path.c_str()) != 0) fail_errno("remove {}", path);
    return true;
}

}  // namespace grua::content
