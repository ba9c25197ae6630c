#include "build/http_cache.hpp"

#include "base/codec.hpp"
#include "base/error.hpp"
#include "base/fault_point.hpp"
#include "base/files.hpp"
#include "base/log.hpp"
#include "base/timespec.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <filesystem>
#include <set>

namespace grua::build {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t record_limit = std::size_t{64} << 10U;

void touch(const std::string& path) {
    if (::utimensat(AT_FDCWD, path.c_str(), nullptr, 0) != 0 && errno != ENOENT) fail_errno("touch {}", path);
}

void remove_file(const std::string& path) {
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) fail_errno("remove {}", path);
}

bool is_key(std::string_view name) { return !name.empty() && !name.contains('/') && !name.starts_with('.'); }

}  // namespace

struct HttpCache::Record {
    std::string shown;
    std::string digest;
    std::string etag;
    std::string last_modified;
    bool may_ask_by_time = false;
    std::string disposition;
    template <typename Self = Record>
    static json::Fields fields() {
        return json::Fields{json::field("url", &Self::shown),
                            json::field("digest", &Self::digest),
                            json::field("etag", &Self::etag),
                            json::field("lastModified", &Self::last_modified),
                            json::field("mayAskByTime", &Self::may_ask_by_time),
                            json::field("disposition", &Self::disposition)};
    }
};

HttpCache::HttpCache(std::string directory, std::uint64_t limit, std::string boot) : directory_(std::move(directory)), limit_(limit) {
    make_directories(directory_, 0700);
    const std::string marker = directory_ + "/boot";
    std::error_code error;
    if (!fs::exists(marker, error) || read_file(marker) != boot) {
        for (const char* each : {"/urls", "/content"}) fs::remove_all(directory_ + each);
        replace_file(marker, boot, 0600);
    }
    for (const char* each : {"/urls", "/content"}) make_directories(directory_ + each, 0700);
    sweep_replacements(directory_);
    sweep_replacements(directory_ + "/urls");
    const MutexLock lock(mutex_);
    trim();
}

std::string HttpCache::content_path(const oci::Digest& digest) const {
    return fmt::format("{}/content/{}-{}", directory_, digest.algorithm(), digest.hex());
}

std::optional<HttpCache::Record> HttpCache::read_record(const std::string& key) const {
    try {
        return json::parse<Record>(read_file(record_path(key), record_limit));
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::not_found) log::warn("a file that was kept for builds: {}: {}", key, error.what());
        return std::nullopt;
    }
}

std::optional<HttpCache::Kept> HttpCache::find(const std::string& key) {
    const MutexLock lock(mutex_);
    const auto record = read_record(key);
    if (!record) return std::nullopt;
    const auto digest = oci::Digest::parse(record->digest);
    if (!digest) return std::nullopt;
    Fd file{::open(content_path(*digest).c_str(), O_RDONLY | O_CLOEXEC)};
    if (!file) return std::nullopt;
    touch(record_path(key));
    return Kept{.shown = record->shown,
                .digest = *digest,
                .validators = {.etag = record->etag,
                               .last_modified = record->last_modified,
                               .may_ask_by_time = record->may_ask_by_time,
                               .disposition = record->disposition},
                .file = std::move(file)};
}

Fd HttpCache::new_file() const {
    const std::string folder = directory_ + "/content";
    Fd out{::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)};
    if (!out) fail_errno("make a file in {}", folder);
    return out;
}

void HttpCache::keep(const std::string& key, std::string_view shown, const oci::Digest& digest, const HttpValidators& validators,
                     int file) {
    struct stat about{};
    if (::fstat(file, &about) != 0) fail_errno("stat a file that is to be kept");
    if (static_cast<std::uint64_t>(about.st_size) > limit_) return;
    const Record record{.shown = std::string(shown),
                        .digest = digest.text(),
                        .etag = validators.etag,
                        .last_modified = validators.last_modified,
                        .may_ask_by_time = validators.may_ask_by_time,
                        .disposition = validators.disposition};
    const MutexLock lock(mutex_);
    const std::string path = content_path(digest);
    const std::string own = fmt::format("/proc/self/fd/{}", file);
    if (::linkat(AT_FDCWD, own.c_str(), AT_FDCWD, path.c_str(), AT_SYMLINK_FOLLOW) != 0 && errno != EEXIST) fail_errno("keep {}", path);
    crash_point("build:http-content");
    fault_point("build:http-record");
    replace_file(record_path(key), json::dump(record, {}), 0600);
    crash_point("build:http-kept");
    trim();
}

std::vector<std::pair<HttpCache::Record, HttpCache::Entry>> HttpCache::records() const {
    std::vector<std::pair<Record, Entry>> out;
    for (const auto& each : fs::directory_iterator(directory_ + "/urls")) {
        Entry entry{.name = each.path().filename(), .shown = {}};
        struct stat about{};
        if (!is_key(entry.name) || ::stat(each.path().c_str(), &about) != 0) continue;
        entry.last_used = time_of(about.st_mtim);
        Record record = read_record(entry.name).value_or(Record{});
        entry.shown = record.shown;
        const auto digest = oci::Digest::parse(record.digest);
        if (digest && ::stat(content_path(*digest).c_str(), &about) == 0) entry.bytes = static_cast<std::uint64_t>(about.st_size);
        out.emplace_back(std::move(record), std::move(entry));
    }
    return out;
}

/// Also what no record names, which a kill has left.
void HttpCache::trim() {
    auto all = records();
    std::ranges::sort(all, [](const auto& left, const auto& right) { return left.second.last_used > right.second.last_used; });
    std::set<std::string> kept;
    std::uint64_t bytes = 0;
    for (const auto& [record, entry] : all) {
        const auto digest = oci::Digest::parse(record.digest);
        const std::string path = digest ? content_path(*digest) : std::string();
        const bool is_there = digest && ::access(path.c_str(), F_OK) == 0;
        const std::uint64_t more = kept.contains(path) ? 0 : entry.bytes;
        if (!is_there || bytes + more > limit_) {
            remove_file(record_path(entry.name));
            continue;
        }
        bytes += more;
        kept.insert(path);
    }
    for (const auto& each : fs::directory_iterator(directory_ + "/content"))
        if (!kept.contains(each.path())) remove_file(each.path());
}

std::vector<HttpCache::Entry> HttpCache::list() const {
    const MutexLock lock(mutex_);
    std::vector<Entry> out;
    std::set<std::string> counted;
    for (auto& [record, entry] : records()) {
        // What several URLs gave takes its room once.
        if (!counted.insert(record.digest).second) entry.bytes = 0;
        out.push_back(std::move(entry));
    }
    return out;
}

bool HttpCache::remove(const std::string& name) {
    const MutexLock lock(mutex_);
    if (!is_key(name) || ::access(record_path(name).c_str(), F_OK) != 0) return false;
    remove_file(record_path(name));
    trim();
    return true;
}

}  // namespace grua::build
