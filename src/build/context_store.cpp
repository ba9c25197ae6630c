#include "build/context_store.hpp"

#include "base/error.hpp"
#include "base/fault_point.hpp"
#include "base/fd.hpp"
#include "base/files.hpp"
#include "base/id.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "base/timespec.hpp"
#include "build/graph.hpp"
#include "build/wire/stored.pb.h"
#include "content/hash.hpp"
#include "layers/tree.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <chrono>
#include <filesystem>
#include <limits>
#include <utility>

namespace grua::build {
namespace {

constexpr std::uint32_t format = 1;
constexpr std::size_t index_limit = std::size_t{1} << 30U;
constexpr std::string_view for_one_build = "once-";

constexpr std::int64_t second = 1'000'000'000;
constexpr std::int64_t unknown_time = std::numeric_limits<std::int64_t>::min();

std::int64_t now() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// How long a file may be changed again without another time: a tick of the kernel, or what a file system rounds to that has whole seconds.
std::int64_t grain_of(std::int64_t time) { return time % second == 0 ? 2 * second : second / 50; }

Fd open_folder(const std::string& path) {
    Fd out{::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!out) fail_errno("open {}", path);
    return out;
}

}  // namespace

Context::Context(ContextStore& store, std::string name, std::string key, TreeIndex before)
    : store_(store), name_(std::move(name)), key_(std::move(key)), index_(std::move(before)), is_kept_(!index_.empty()) {}

Context::~Context() {
    try {
        if (!is_kept_ || key_.empty()) store_.remove_files(name_);
    } catch (const Error& error) {
        log::warn("a build's context: {}", error.what());
    }
    store_.release(name_);
}

std::string Context::folder() const { return store_.path_of(name_) + "/tree"; }

void Context::begin_change() {
    is_kept_ = false;
    begun_ = now();
    store_.forget_index(name_);
    crash_point("build:context-changes");
}

void Context::keep(TreeIndex index) {
    for (auto& [path, entry] : index)
        if (S_ISREG(entry.mode) && entry.mtime >= begun_ - grain_of(entry.mtime)) entry.mtime = unknown_time;
    index_ = std::move(index);
    if (!key_.empty()) store_.write_index(name_, key_, index_);
    is_kept_ = true;
}

std::shared_ptr<const Context> shared(asio::thread_pool& pool, std::unique_ptr<Context> context) {
    struct Taken {
        asio::thread_pool& pool;
        std::unique_ptr<Context> context;
        ~Taken() {
            asio::post(pool, [gone = std::shared_ptr<Context>(std::move(context))]() mutable { gone.reset(); });
        }
    };
    const auto taken = std::make_shared<Taken>(pool, std::move(context));
    return {taken, taken->context.get()};
}

ContextStore::ContextStore(std::string directory, std::string boot) : directory_(std::move(directory)), boot_(std::move(boot)) {
    make_directories(directory_, 0700);
    for (const auto& each : std::filesystem::directory_iterator(directory_)) {
        const std::string name = each.path().filename();
        if (!read_index(name, {}).empty()) {
            sweep_replacements(each.path());
            continue;
        }
        try {
            remove_files(name);
        } catch (const Error& error) {
            log::warn("contexts of builds: {}", error.what());
        }
    }
}

std::string ContextStore::this_boot() { return std::string(trim(read_file("/proc/sys/kernel/random/boot_id"))); }

std::unique_ptr<Context> ContextStore::take(const std::string& key) {
    std::string name(content::digest_of(key).hex());
    bool is_free = false;
    if (!key.empty()) {
        const MutexLock lock(mutex_);
        is_free = used_.insert(name).second;
    }
    if (!is_free) {
        name = fmt::format("{}{}", for_one_build, random_hex(16));
        const MutexLock lock(mutex_);
        used_.insert(name);
    }
    struct Release {
        ContextStore* store;
        const std::string& name;
        ~Release() {
            if (store) store->release(name);
        }
    } release{this, name};
    TreeIndex before;
    if (is_free) before = read_index(name, key);
    if (before.empty()) {
        remove_files(name);
        fault_point("build:context-folder");
        make_directories(path_of(name) + "/tree", 0755);
    }
    auto out = std::make_unique<Context>(*this, name, is_free ? key : std::string(), std::move(before));
    release.store = nullptr;
    return out;
}

/// Nothing where there is none, where it is another's, or where it cannot be read: what it says of is then sent again.
TreeIndex ContextStore::read_index(const std::string& name, const std::string& key) const {
    TreeIndex out;
    try {
        wire::stored::Tree stored;
        if (!stored.ParseFromString(read_file(path_of(name) + "/index", index_limit)) || stored.version() != format ||
            stored.boot() != boot_)
            return {};
        if (!key.empty() && stored.key() != key) return {};
        for (const wire::stored::Entry& each : stored.entries()) {
            TreeEntry entry = read_stat(each.stat());
            entry.digest = each.digest();
            out.emplace_hint(out.end(), each.stat().path(), std::move(entry));
        }
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::not_found) log::warn("a kept context of a build: {}", error.what());
        return {};
    }
    return out;
}

void ContextStore::write_index(const std::string& name, const std::string& key, const TreeIndex& index) const {
    wire::stored::Tree stored;
    stored.set_version(format);
    stored.set_key(key);
    stored.set_boot(boot_);
    for (const auto& [path, entry] : index) {
        wire::stored::Entry& out = *stored.add_entries();
        *out.mutable_stat() = write_stat(path, entry);
        out.set_digest(entry.digest);
    }
    crash_point("build:context-came");
    fault_point("build:context-index");
    replace_file(path_of(name) + "/index", stored.SerializeAsString(), 0600);
    crash_point("build:context-kept");
}

void ContextStore::forget_index(const std::string& name) const {
    const std::string path = path_of(name) + "/index";
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) fail_errno("remove {}", path);
}

void ContextStore::remove_files(const std::string& name) const {
    // The index first: what is half removed is worth nothing.
    forget_index(name);
    crash_point("build:context-leaving");
    layers::remove_tree(open_folder(directory_).get(), name);
}

void ContextStore::release(const std::string& name) {
    const MutexLock lock(mutex_);
    used_.erase(name);
}

std::vector<ContextStore::Kept> ContextStore::list() const {
    std::vector<Kept> out;
    for (const auto& each : std::filesystem::directory_iterator(directory_)) {
        Kept kept{.name = each.path().filename(), .key = {}};
        struct stat status{};
        wire::stored::Tree stored;
        try {
            if (::stat((each.path() / "index").c_str(), &status) != 0) continue;
            if (stored.ParseFromString(read_file(each.path() / "index", index_limit))) kept.key = stored.key();
        } catch (const Error&) {
            continue;  // It goes with the next start.
        }
        kept.bytes = layers::tree_size(each.path() / "tree");
        kept.last_used = time_of({.tv_sec = status.st_mtim.tv_sec, .tv_nsec = 0});
        const MutexLock lock(mutex_);
        kept.is_used = used_.contains(kept.name);
        out.push_back(std::move(kept));
    }
    return out;
}

bool ContextStore::remove(const std::string& name) {
    {
        const MutexLock lock(mutex_);
        if (!used_.insert(name).second) return false;
    }
    struct Release {
        ContextStore& store;
        const std::string& name;
        ~Release() { store.release(name); }
    } const release{*this, name};
    if (name.empty() || name.contains('/') || !std::filesystem::exists(path_of(name))) return false;
    remove_files(name);
    return true;
}

}  // namespace grua::build
