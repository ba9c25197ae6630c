#include "build/cache_mounts.hpp"

#include "base/error.hpp"
#include "base/fault_point.hpp"
#include "base/fd.hpp"
#include "base/files.hpp"
#include "base/id.hpp"
#include "base/log.hpp"
#include "base/mutex.hpp"
#include "base/test_points.hpp"
#include "build/wire/stored.pb.h"
#include "content/hash.hpp"
#include "layers/tree.hpp"
#include "store/durable_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <boost/asio/post.hpp>
#include <filesystem>
#include <map>

namespace grua::build {
namespace {

constexpr std::uint32_t format = 1;
constexpr std::size_t about_limit = std::size_t{1} << 20U;
constexpr std::size_t folders_limit = 10'000;
constexpr std::string_view trash = "trash-";

/// A name that no ID chooses (CVE-2024-9675).
std::string name_of(const std::string& id, std::size_t number) {
    if (is_left_out("CVE-2024-9675")) return id.substr(id.find('/') + 1);
    return std::string(content::digest_of(number == 0 ? id : fmt::format("{}\n{}", id, number)).hex());
}

void remove_folder(const std::string& directory, const std::string& name) {
    const Fd folder{::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!folder) fail_errno("open {}", directory);
    layers::remove_tree(folder.get(), name);
}

}  // namespace

/// What is in the folder, and who has it.
struct CacheMount::Shelf : std::enable_shared_from_this<Shelf> {
    Shelf(asio::any_io_executor on, const Clock& its_clock, std::string its_directory, std::string its_boot)
        : loop(on), clock(its_clock), directory(std::move(its_directory)), boot(std::move(its_boot)), changed(std::move(on)) {}

    struct About {
        std::string id;
        std::string description;
        Time created{};
        Time last_used{};
        std::int64_t uses = 0;
        std::string boot;  ///< See stored.proto.
    };
    struct Folder {
        About about;
        int users = 0;
        bool is_shared = false;  ///< Others may join who has it.
        bool is_new = false;
        bool is_waiting = false;  ///< For the disk, which is to know whether its files change: nobody gets it meanwhile.
    };

    asio::any_io_executor loop;
    const Clock& clock;
    const std::string directory;
    const std::string boot;
    Condition changed;          ///< Of the loop,
    std::uint64_t changes = 0;  ///< and how often.
    Mutex mutex;
    bool is_open GRUA_GUARDED_BY(mutex) = false;
    std::map<std::string, Folder> folders GRUA_GUARDED_BY(mutex);

    std::string path_of(const std::string& name) const { return fmt::format("{}/{}", directory, name); }

    // On the pool.
    void open() GRUA_EXCLUDES(mutex);
    CacheMountPtr try_take(const CacheMountWish& wish) GRUA_EXCLUDES(mutex);
    void make(const std::string& name) const;
    enum class Lasting { process, power_cut };
    void write_about(const std::string& name, const About& about, Lasting lasting) const;
    void write_waiting(const std::string& name, About about) GRUA_EXCLUDES(mutex);
    std::optional<About> read_about(const std::string& name) const;
    void settle() GRUA_EXCLUDES(mutex);
    CacheMountPtr find(const std::string& id) GRUA_EXCLUDES(mutex);
    std::vector<CacheMounts::Kept> list() GRUA_EXCLUDES(mutex);
    bool remove(const std::string& name) GRUA_EXCLUDES(mutex);

    struct Found {
        std::string name;
        bool is_new = false;
    };
    std::optional<Found> choose(const CacheMountWish& wish) GRUA_REQUIRES(mutex);

    // On any thread.
    void filled(const std::string& name) GRUA_EXCLUDES(mutex);
    void give_back(const std::string& name) noexcept GRUA_EXCLUDES(mutex);
    void wake() noexcept {
        asio::post(loop, [self = shared_from_this()] {
            ++self->changes;
            self->changed.notify_all();
        });
    }
};

void CacheMount::Shelf::write_about(const std::string& name, const About& about, Lasting lasting) const {
    wire::stored::CacheMount out;
    out.set_version(format);
    out.set_id(about.id);
    out.set_description(about.description);
    out.set_created(about.created.time_since_epoch().count());
    out.set_last_used(about.last_used.time_since_epoch().count());
    out.set_uses(about.uses);
    out.set_boot(about.boot);
    const std::string path = path_of(name) + "/about";
    fault_point("build:mount-about");
    if (lasting == Lasting::power_cut)
        store::write_durably(path, out.SerializeAsString(), 0600);
    else
        replace_file(path, out.SerializeAsString(), 0600);
}

std::optional<CacheMount::Shelf::About> CacheMount::Shelf::read_about(const std::string& name) const {
    wire::stored::CacheMount in;
    try {
        if (!in.ParseFromString(read_file(path_of(name) + "/about", about_limit)) || in.version() != format) return std::nullopt;
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::not_found) log::warn("a cache of builds' steps: {}", error.what());
        return std::nullopt;
    }
    return About{.id = in.id(),
                 .description = in.description(),
                 .created = Time{std::chrono::nanoseconds(in.created())},
                 .last_used = Time{std::chrono::nanoseconds(in.last_used())},
                 .uses = in.uses(),
                 .boot = in.boot()};
}

/// On first use: what is half made or half removed goes, and what a power cut has left with files of which nobody knows.
void CacheMount::Shelf::open() {
    const MutexLock lock(mutex);
    if (is_open) return;
    make_directories(directory, 0700);
    for (const auto& each : std::filesystem::directory_iterator(directory)) {
        const std::string name = each.path().filename();
        try {
            std::optional<About> about = name.starts_with(trash) ? std::nullopt : read_about(name);
            if (!about || (!about->boot.empty() && about->boot != boot)) {
                remove_folder(directory, name);
                continue;
            }
            sweep_replacements(each.path());
            store::sweep_staged(each.path());
            folders[name].about = *std::move(about);
        } catch (const Error& error) {
            log::warn("a cache of builds' steps: {}", error.what());
        }
    }
    is_open = true;
}

/// Nothing where it has to be waited.
std::optional<CacheMount::Shelf::Found> CacheMount::Shelf::choose(const CacheMountWish& wish) {
    bool is_there = false;
    const std::string* free = nullptr;
    for (const auto& [name, folder] : folders) {
        if (folder.about.id != wish.id) continue;
        is_there = true;
        if (folder.is_waiting) return std::nullopt;
        if (folder.users == 0) {
            if (!free) free = &name;
        } else if (wish.sharing == MountSharing::shared && folder.is_shared) {
            // While it is being filled nobody joins.
            return folder.is_new ? std::nullopt : std::optional(Found{.name = name, .is_new = false});
        }
    }
    if (free) return Found{.name = *free, .is_new = false};
    if (wish.sharing == MountSharing::locked && is_there) return std::nullopt;
    if (folders.size() >= folders_limit) fail(ErrorKind::unavailable, "cache mount {}: there are {} folders", wish.id, folders_limit);
    std::size_t number = 0;
    while (folders.contains(name_of(wish.id, number))) ++number;
    return Found{.name = name_of(wish.id, number), .is_new = true};
}

void CacheMount::Shelf::make(const std::string& name) const {
    remove_folder(directory, name);
    const std::string path = path_of(name);
    fault_point("build:mount-folder");
    if (::mkdir(path.c_str(), 0700) != 0) fail_errno("mkdir {}", path);
    if (::mkdir((path + "/tree").c_str(), 0755) != 0) fail_errno("mkdir {}/tree", path);
}

/// Of one that is waiting.
void CacheMount::Shelf::write_waiting(const std::string& name, About about) {
    struct Waiting {
        Shelf& shelf;
        const std::string& name;
        std::optional<std::string> boot;  ///< Where it has been written.
        ~Waiting() {
            {
                const MutexLock lock(shelf.mutex);
                Folder& folder = shelf.folders.at(name);
                folder.is_waiting = false;
                if (boot) folder.about.boot = *boot;
            }
            shelf.wake();
        }
    } waiting{*this, name, {}};
    write_about(name, about, Lasting::power_cut);
    waiting.boot = std::move(about.boot);
}

CacheMountPtr CacheMount::Shelf::try_take(const CacheMountWish& wish) {
    open();
    std::optional<Found> found;
    About about;
    bool is_first_change = false;  // since it was synced
    {
        const MutexLock lock(mutex);
        found = choose(wish);
        if (!found) return nullptr;
        Folder& folder = folders[found->name];
        ++folder.users;
        folder.is_shared = wish.sharing == MountSharing::shared;
        folder.about.last_used = clock.wall();
        ++folder.about.uses;
        if (found->is_new) {
            folder.is_new = true;
            folder.about.id = wish.id;
            folder.about.description = wish.description;
            folder.about.created = folder.about.last_used;
        } else {
            is_first_change = folder.is_waiting = folder.about.boot.empty();
        }
        about = folder.about;
        about.boot = boot;
        if (found->is_new) folder.about = about;
    }
    // From here on it is given back where this fails.
    CacheMountPtr out(new CacheMount(shared_from_this(), found->name, path_of(found->name) + "/tree", found->is_new));
    if (found->is_new)
        make(found->name);
    else if (is_first_change)
        write_waiting(found->name, std::move(about));
    else
        write_about(found->name, about, Lasting::process);
    crash_point("build:mount-taken");
    return out;
}

CacheMountPtr CacheMount::Shelf::find(const std::string& id) {
    open();
    std::string name;
    {
        const MutexLock lock(mutex);
        // What has been used last is what the next build would go on with.
        Folder* best = nullptr;
        for (auto& [each, folder] : folders) {
            if (folder.is_new || (folder.about.id != id && !folder.about.id.starts_with(id + "\n"))) continue;
            if (best && folder.about.last_used <= best->about.last_used) continue;
            best = &folder;
            name = each;
        }
        if (!best) return nullptr;
        if (best->users++ == 0) best->is_shared = true;
    }
    return CacheMountPtr(new CacheMount(shared_from_this(), name, path_of(name) + "/tree", false));
}

void CacheMount::Shelf::filled(const std::string& name) {
    About about;
    {
        const MutexLock lock(mutex);
        about = folders.at(name).about;
    }
    crash_point("build:mount-filled");
    write_about(name, about, Lasting::process);
    {
        const MutexLock lock(mutex);
        folders.at(name).is_new = false;
    }
    wake();
}

void CacheMount::Shelf::give_back(const std::string& name) noexcept {
    {
        const MutexLock lock(mutex);
        const auto found = folders.find(name);
        if (--found->second.users > 0) return;
        found->second.about.last_used = clock.wall();
        // Without a description it is nothing, and is made anew by the next.
        if (found->second.is_new) folders.erase(found);
    }
    wake();
}

/// What is taken while the disk is waited for is not settled.
void CacheMount::Shelf::settle() {
    const auto unsettled = [this]() {
        std::map<std::string, std::int64_t> out;  // and how often they had been used
        const MutexLock lock(mutex);
        for (const auto& [name, folder] : folders)
            if (folder.users == 0 && !folder.about.boot.empty()) out.emplace(name, folder.about.uses);
        return out;
    };
    const std::map<std::string, std::int64_t> names = unsettled();
    if (names.empty()) return;
    store::sync_filesystem(directory);
    crash_point("build:mounts-synced");
    for (const auto& [name, uses] : names) {
        About about;
        {
            const MutexLock lock(mutex);
            const auto found = folders.find(name);
            if (found == folders.end() || found->second.users > 0 || found->second.about.uses != uses) continue;
            found->second.is_waiting = true;
            about = found->second.about;
        }
        about.boot.clear();
        write_waiting(name, std::move(about));
    }
}

std::vector<CacheMounts::Kept> CacheMount::Shelf::list() {
    open();
    std::vector<CacheMounts::Kept> out;
    {
        const MutexLock lock(mutex);
        for (const auto& [name, folder] : folders) {
            if (folder.is_new) continue;
            out.push_back({.name = name,
                           .entry = {.id = usage_id(name),
                                     .type = "exec.cachemount",
                                     .description = folder.about.description,
                                     .created = folder.about.created,
                                     .last_used = folder.about.last_used,
                                     .uses = folder.about.uses,
                                     .is_mutable = true,
                                     .in_use = folder.users > 0}});
        }
    }
    for (CacheMounts::Kept& each : out) each.entry.bytes = layers::tree_size(path_of(each.name) + "/tree");
    return out;
}

bool CacheMount::Shelf::remove(const std::string& name) {
    open();
    const std::string leaving = std::string(trash) + random_hex(8);
    {
        const MutexLock lock(mutex);
        const auto found = folders.find(name);
        if (found == folders.end() || found->second.users > 0 || found->second.is_waiting) return false;
        // At once, so that nobody gets what is half removed.
        const std::string path = path_of(name);
        if (::rename(path.c_str(), path_of(leaving).c_str()) != 0 && errno != ENOENT) fail_errno("rename {} to {}", path, leaving);
        folders.erase(found);
    }
    crash_point("build:mount-leaving");
    remove_folder(directory, leaving);
    return true;
}

CacheMount::~CacheMount() { shelf_->give_back(name_); }

void CacheMount::keep() {
    if (std::exchange(is_new_, false)) shelf_->filled(name_);
}

CacheMounts::CacheMounts(asio::any_io_executor loop, asio::thread_pool& pool, const Clock& clock, std::string directory, std::string boot)
    : pool_(pool), shelf_(std::make_shared<CacheMount::Shelf>(std::move(loop), clock, std::move(directory), std::move(boot))) {}

asio::awaitable<CacheMountPtr> CacheMounts::take(CacheMountWish wish, std::stop_token stop) {
    const auto shelf = shelf_;
    const std::stop_callback wakes{stop, [shelf] { shelf->wake(); }};
    for (;;) {
        if (stop.stop_requested()) fail(ErrorKind::unavailable, "canceled");
        const std::uint64_t seen = shelf->changes;
        auto work = [shelf, wish] { return shelf->try_take(wish); };
        if (auto out = co_await offload(pool_, std::move(work))) co_return out;
        if (shelf->changes == seen) co_await shelf->changed.wait();
    }
}

asio::awaitable<CacheMountPtr> CacheMounts::find(std::string id) {
    auto work = [shelf = shelf_, id = std::move(id)] { return shelf->find(id); };
    co_return co_await offload(pool_, std::move(work));
}

asio::awaitable<void> CacheMounts::settle() {
    auto work = [shelf = shelf_] { shelf->settle(); };
    co_await offload(pool_, std::move(work));
}

asio::awaitable<void> CacheMounts::sweep() {
    auto work = [shelf = shelf_] { shelf->open(); };
    co_await offload(pool_, std::move(work));
}

asio::awaitable<std::vector<CacheMounts::Kept>> CacheMounts::list() {
    auto work = [shelf = shelf_] { return shelf->list(); };
    co_return co_await offload(pool_, std::move(work));
}

asio::awaitable<bool> CacheMounts::remove(std::string name) {
    auto work = [shelf = shelf_, name = std::move(name)] { return shelf->remove(name); };
    co_return co_await offload(pool_, std::move(work));
}

}  // namespace grua::build
