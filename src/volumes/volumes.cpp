#include "volumes/volumes.hpp"

#include "base/codec.hpp"
#include "base/files.hpp"
#include "base/id.hpp"
#include "base/log.hpp"
#include "linux/mountinfo.hpp"
#include "linux/project_quota.hpp"
#include "linux/root.hpp"
#include "store/durable_file.hpp"
#include "volumes/copy.hpp"
#include "volumes/options.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <algorithm>
#include <filesystem>

namespace grua::volumes {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t name_limit = 255;
constexpr std::string_view staging_prefix = ".new-";
constexpr std::string_view trash_name = ".trash";
constexpr std::string_view old_trash_prefix = ".trash-";  ///< Beside the volumes, once.

struct Stored {
    std::string driver;
    std::map<std::string, std::string> options;
    std::map<std::string, std::string> labels;
    std::string created;
    bool anonymous = false;

    template <typename Self = Stored>
    static json::Fields fields() {
        return json::Fields{json::field("driver", &Self::driver), json::field("options", &Self::options),
                            json::field("labels", &Self::labels), json::field("created", &Self::created),
                            json::field("anonymous", &Self::anonymous)};
    }
};

bool is_letter_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

/// [a-zA-Z0-9][a-zA-Z0-9_.-]+: it becomes a folder's name, so nothing else may pass.
void check_name(std::string_view name) {
    if (name.size() < 2)
        fail(ErrorKind::invalid_argument, "volume name is too short, names should be at least two alphanumeric characters");
    const auto allowed = [](char c) { return is_letter_or_digit(c) || c == '_' || c == '.' || c == '-'; };
    if (name.size() > name_limit || !is_letter_or_digit(name[0]) || !std::ranges::all_of(name, allowed))
        fail(ErrorKind::invalid_argument,
             "\"{}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended "
             "to "
             "pass a host directory, use absolute path",
             name);
}

std::uint64_t tree_size(const fs::path& path) {
    std::uint64_t total = 0;
    std::error_code ignored;
    for (auto entry = fs::recursive_directory_iterator(path, fs::directory_options::skip_permission_denied, ignored);
         entry != fs::recursive_directory_iterator(); entry.increment(ignored)) {
        if (ignored) break;
        if (entry->is_regular_file(ignored) && !entry->is_symlink(ignored)) total += entry->file_size(ignored);
    }
    return total;
}

}  // namespace

Lease::~Lease() {
    if (!volumes_) return;
    const MutexLock lock(volumes_->mutex_);
    const auto found = volumes_->leases_.find(name_);
    if (--found->second == 0) volumes_->leases_.erase(found);
}

Removal::~Removal() {
    if (!volumes_) return;
    const MutexLock lock(volumes_->mutex_);
    volumes_->removing_.erase(name_);
}

void Removal::finish() { volumes_->take_away(name_); }

Volumes::Volumes(std::string directory)
    : directory_((make_directories(directory, 0701), std::move(directory))), trash_(directory_ + "/" + std::string(trash_name)) {
    load();
}

void Volumes::load() {
    for (const auto& entry : fs::directory_iterator(directory_)) {
        const std::string name = entry.path().filename().string();
        if (name == trash_name) continue;
        if (name.starts_with(staging_prefix) || name.starts_with(old_trash_prefix)) {
            try {
                trash_.put(entry.path());
            } catch (const Error& error) {
                log::warn("{}", error.what());  // an immutable folder, say; nobody needs it
            }
            continue;
        }
        std::error_code ignored;
        if (!entry.is_directory(ignored)) continue;
        try {
            const auto stored = json::parse<Stored>(read_file(entry.path().string() + "/volume.json"));
            auto volume = std::make_shared<Volume>();
            volume->name = name;
            volume->driver = stored.driver;
            volume->options = stored.options;
            volume->labels = stored.labels;
            volume->mountpoint = entry.path().string() + "/_data";
            volume->created = parse_time(stored.created).value_or(Time{});
            volume->anonymous = stored.anonymous;
            volumes_.emplace(name, std::move(volume));
        } catch (const Error& error) {
            log::warn("volume {}: {}; left alone", name, error.what());
        }
    }
}

VolumePtr Volumes::create(const CreateOptions& options) {
    if (!options.driver.empty() && options.driver != "local")
        fail(ErrorKind::not_found, "error looking up volume plugin {0}: plugin \"{0}\" not found", options.driver);
    check_options(options.options);
    auto volume = std::make_shared<Volume>();
    volume->anonymous = options.anonymous || options.name.empty();
    volume->name = options.name.empty() ? random_id() : options.name;
    check_name(volume->name);
    const MutexLock changing(changing_);
    if (auto known = find(volume->name)) {
        // Docker gives the one that is there, whatever it was asked for.
        if (known->options != options.options && !options.options.empty())
            log::warn("volume {}: it is there with other options, which stay", known->name);
        return known;
    }
    const auto size = size_of(options.options);
    if (size && !linux::has_project_quota(directory_)) fail(ErrorKind::invalid_argument, "quota size requested but no quota support");
    volume->labels = options.labels;
    volume->options = options.options;
    if (volume->anonymous) volume->labels.try_emplace("com.docker.volume.anonymous", "");
    volume->created = now();
    const std::string path = directory_ + "/" + volume->name;
    volume->mountpoint = path + "/_data";
    if (std::error_code ignored; fs::exists(path, ignored))
        fail(ErrorKind::conflict, "create {}: {} is there, but was no volume when gruad started: see its log, or move it away",
             volume->name, path);

    const std::string staged = directory_ + "/" + std::string(staging_prefix) + random_hex(8);
    try {
        make_directories(staged, 0701);
        make_directories(staged + "/_data", 0755);
        if (size) linux::bound_folder(staged + "/_data", *size);
        const Stored stored{.driver = volume->driver,
                            .options = volume->options,
                            .labels = volume->labels,
                            .created = format_time(volume->created),
                            .anonymous = volume->anonymous};
        store::write_durably(staged + "/volume.json", json::dump(stored, {1, 999}), 0600);
        if (::rename(staged.c_str(), path.c_str()) != 0) fail_errno("rename {}", staged);
        store::sync_directory(directory_);
    } catch (...) {
        // As on a full disk: what is half made takes no more of it. The name is not taken, so it may be asked for again.
        std::error_code ignored;
        fs::remove_all(staged, ignored);
        fs::remove_all(path, ignored);
        throw;
    }
    const MutexLock lock(mutex_);
    volumes_.emplace(volume->name, volume);
    return volume;
}

VolumePtr Volumes::find(std::string_view name) const {
    const MutexLock lock(mutex_);
    const auto found = volumes_.find(name);
    return found == volumes_.end() ? nullptr : found->second;
}

VolumePtr Volumes::get(std::string_view name) const {
    auto volume = find(name);
    if (!volume) fail(ErrorKind::not_found, "get {}: no such volume", name);
    return volume;
}

std::vector<VolumePtr> Volumes::list() const {
    const MutexLock lock(mutex_);
    std::vector<VolumePtr> out;
    out.reserve(volumes_.size());
    for (const auto& [name, volume] : volumes_) out.push_back(volume);
    return out;
}

Lease Volumes::lease(std::string name) {
    const MutexLock lock(mutex_);
    if (removing_.contains(name)) fail(ErrorKind::conflict, "volume {} is being removed", name);
    ++leases_[name];
    return Lease(*this, std::move(name));
}

Removal Volumes::begin_removal(std::string_view name, const std::vector<std::string>& users) {
    const MutexLock lock(mutex_);
    if (!volumes_.contains(name)) fail(ErrorKind::not_found, "get {}: no such volume", name);
    if (!users.empty()) fail(ErrorKind::conflict, "remove {}: volume is in use - [{}]", name, fmt::join(users, ", "));
    if (leases_.contains(name)) fail(ErrorKind::conflict, "remove {}: volume is in use", name);
    if (!removing_.emplace(name).second) fail(ErrorKind::conflict, "remove {}: its removal is already in progress", name);
    return Removal(*this, std::string(name));
}

void Volumes::take_away(const std::string& name) {
    const MutexLock changing(changing_);
    const std::string path = directory_ + "/" + name;
    // What is deleted is what is in the folder, not what somebody has mounted in it.
    if (const auto mounted = linux::mounts_below(fs::canonical(path).string()); !mounted.empty())
        fail(ErrorKind::conflict, "remove {}: something is mounted in it, at {}: unmount it first", name, mounted.front());
    if (const VolumePtr volume = find(name); volume && size_of(volume->options)) linux::unbound_folder(volume->mountpoint);
    trash_.put(path);
    {
        const MutexLock lock(mutex_);
        volumes_.erase(name);
    }
    store::sync_directory(directory_);
}

void Volumes::remove(std::string_view name, const std::vector<std::string>& users) { begin_removal(name, users).finish(); }

void Volumes::populate(const Volume& volume, const std::string& subpath, int image_root, std::string_view path) const {
    // By a descriptor: another container may swap what the subpath leads over.
    const auto target = Root::open(volume.mountpoint.c_str()).find_at(subpath, O_PATH | O_DIRECTORY);
    if (!target) return;
    const std::string folder = fmt::format("/proc/self/fd/{}", target->get());
    if (!fs::is_empty(folder)) return;
    while_doing(fmt::format("copy {} of the image to volume {}", path, volume.name), [&] { copy_tree(image_root, path, folder.c_str()); });
}

std::uint64_t Volumes::usage(const Volume& volume) const { return tree_size(volume.mountpoint); }

}  // namespace grua::volumes
