#include "layers/layers.hpp"

#include "base/error.hpp"
#include "base/fault_point.hpp"
#include "base/files.hpp"
#include "base/id.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "layers/erofs.hpp"
#include "layers/overlay.hpp"
#include "layers/rebuild.hpp"
#include "layers/source.hpp"
#include "layers/tree.hpp"
#include "layers/unpack.hpp"
#include "linux/project_quota.hpp"
#include "store/durable_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <filesystem>
#include <ranges>

namespace grua::layers {
namespace {

namespace fs = std::filesystem;

constexpr std::array migrations{
    "CREATE TABLE layers (number INTEGER PRIMARY KEY AUTOINCREMENT, diff_id TEXT NOT NULL UNIQUE, size INTEGER NOT NULL) STRICT",
    // Layers of builds: `diff_id` is the step's own ID where there is none, `boot` the only boot in which the layer is known to be whole.
    "ALTER TABLE layers ADD COLUMN boot TEXT; CREATE TABLE steps (id TEXT PRIMARY KEY, number INTEGER NOT NULL) STRICT"};

/// Which layers a container stands on is the target of a link: the file system's journal keeps it with the folder itself.
constexpr const char* layers_link = "layers";
constexpr std::size_t link_limit = 4095;

class ProgressSource : public Source {
public:
    ProgressSource(Source& inner, const Progress& progress) : inner_(inner), progress_(progress) {}
    std::size_t read(std::span<char> out) override {
        const std::size_t count = inner_.read(out);
        done_ += count;
        if (progress_) progress_(done_);
        return count;
    }

private:
    Source& inner_;
    const Progress& progress_;
    std::uint64_t done_ = 0;
};

/// What is behind an archive's end.
void skip_all(Source& source) {
    std::vector<char> rest(std::size_t{64} << 10U);
    while (source.read(rest) > 0) {
    }
}

void check_id(std::string_view id) {
    const auto plain = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    };
    if (id.empty() || id.size() > 128 || !std::ranges::all_of(id, plain))
        fail(ErrorKind::invalid_argument, "invalid container ID \"{}\"", id);
}

void remove_path(const std::string& folder, const std::string& name) {
    const Fd directory{::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
    if (!directory) fail_errno("open folder {}", folder);
    remove_tree(directory.get(), name);
}

}  // namespace

void migrate(store::Database& database) { database.migrate("layers", migrations); }

std::optional<LayerFormat> parse_layer_format(std::string_view text) noexcept {
    if (text == "tree") return LayerFormat::tree;
    if (text == "erofs") return LayerFormat::erofs;
    return std::nullopt;
}

LayerStore::LayerStore(std::string directory, store::Database& database, LayerFormat format, std::string boot)
    : directory_(std::move(directory)), format_(format), boot_(std::move(boot)), database_(database) {
    migrate(database_);
    make_directories(directory_, 0700);
    for (const char* folder : {"l", "staging", "containers", "trash", "empty", "blank", "base/dev", "base/etc", "base/proc", "base/sys"})
        make_directories(fmt::format("{}/{}", directory_, folder), 0755);
    // Made once: a running container has them in its overlay. Programs look for the first to know that they are in a container.
    for (const char* file : {".dockerenv", "etc/hostname", "etc/hosts", "etc/resolv.conf"}) {
        const std::string path = fmt::format("{}/base/{}", directory_, file);
        if (const Fd made{::open(path.c_str(), O_RDONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644)}; !made) fail_errno("create {}", path);
    }
    const std::string mtab = directory_ + "/base/etc/mtab";
    if (::symlink("/proc/mounts", mtab.c_str()) != 0 && errno != EEXIST) fail_errno("create {}", mtab);
    if (format_ == LayerFormat::erofs) while_doing("layers as erofs images", [&] { check_erofs(directory_ + "/staging"); });
    load();
    sweep();
    purger_ = std::jthread([this](const std::stop_token& stop) { purge(stop); });
}

LayerStore::~LayerStore() = default;

std::string LayerStore::this_boot() { return std::string(trim(read_file("/proc/sys/kernel/random/boot_id"))); }

std::string LayerStore::layer_path(std::int64_t number) const { return fmt::format("{}/l/{}", directory_, number); }
std::string LayerStore::container_path(std::string_view id) const { return fmt::format("{}/containers/{}", directory_, id); }

/// What is not whole any more is left out; its folder is swept and its row goes with the next that is written.
void LayerStore::load_layers() {
    for (const store::Row& row : database_.query("SELECT number, diff_id, size, boot FROM layers")) {
        const std::int64_t number = row.integer(0);
        next_step_ = std::min(next_step_, number - 1);
        const std::optional<oci::Digest> step = oci::Digest::parse_step(row.text(1));
        const bool is_of_other_boot = !row.is_null(3) && row.text(3) != boot_;
        std::error_code error;
        if (is_of_other_boot || (step && !fs::exists(layer_path(number), error) && !error)) {
            gone_layers_.insert(number);
            continue;
        }
        const oci::Digest name = step ? *step : oci::Digest::from(row.text(1));
        if (!step) numbers_.emplace(name, number);
        layers_.emplace(number, Stored{.name = name,
                                       .size = static_cast<std::uint64_t>(row.integer(2)),
                                       .lasting = row.is_null(3) ? Lasting::always : Lasting::boot});
    }
    for (const store::Row& row : database_.query("SELECT id, number FROM steps")) {
        const std::optional<oci::Digest> id = oci::Digest::parse_step(row.text(0));
        if (!id) fail(ErrorKind::system, "table steps: invalid ID \"{}\"", row.text(0));
        const auto found = layers_.find(row.integer(1));
        if (found == layers_.end()) {
            gone_steps_.insert(*id);
            continue;
        }
        ++found->second.steps;
        steps_.emplace(*id, StepName{.number = found->first, .has_row = true, .is_saved = true});
    }
}

void LayerStore::load() {
    load_layers();
    for (const auto& entry : fs::directory_iterator(directory_ + "/containers")) {
        std::error_code missing;
        const std::string target = fs::read_symlink(entry.path() / layers_link, missing).string();
        if (missing) {
            sweep_away(entry.path());  // interrupted in prepare()
            continue;
        }
        Container container;
        const std::vector<std::string> words = split(target, ',');
        container.durability = words.front() == "volatile" ? Durability::volatile_ : Durability::normal;
        for (const std::string& word : std::span(words).subspan(1)) {
            const std::optional<std::int64_t> number = parse_int(word);
            if (number) next_step_ = std::min(next_step_, *number - 1);
            if (!number || !layers_.contains(*number)) {
                log::error("container {}: layer {} is missing", entry.path().filename().string(), word);
                container.missing.push_back(word);
                continue;
            }
            container.numbers.push_back(*number);
        }
        containers_.emplace(entry.path().filename().string(), std::move(container));
    }
}

void LayerStore::sweep() {
    for (const auto& entry : fs::directory_iterator(directory_ + "/staging")) sweep_away(entry.path());
    for (const auto& entry : fs::directory_iterator(directory_ + "/l")) {
        const std::string name = entry.path().filename();
        const std::optional<std::int64_t> number = parse_int(name);
        if (number && layers_.contains(*number) && std::to_string(*number) == name) continue;
        // One that stays where it is keeps its number.
        if (number) next_step_ = std::min(next_step_, *number - 1);
        sweep_away(entry.path());
    }
}

/// One that does not go, as an immutable folder, is in nobody's way.
void LayerStore::sweep_away(const std::string& path) {
    try {
        trash(path);
    } catch (const Error& error) {
        log::warn("{}", error.what());
    }
}

std::optional<std::int64_t> LayerStore::number_of(const oci::Digest& id) const {
    if (id.is_step()) {
        const auto found = steps_.find(id);
        return found == steps_.end() ? std::nullopt : std::optional(found->second.number);
    }
    const auto found = numbers_.find(id);
    return found == numbers_.end() ? std::nullopt : std::optional(found->second);
}

Layer LayerStore::layer_of(std::int64_t number) const {
    const Stored& stored = layers_.at(number);
    return {.diff_id = stored.name, .number = number, .size = stored.size.value_or(0), .is_step = stored.steps > 0};
}

std::optional<Layer> LayerStore::find(const oci::Digest& diff_id) const {
    std::optional<std::int64_t> number;
    {
        const MutexLock lock{mutex_};
        number = number_of(diff_id);
    }
    return number ? measured(*number) : std::nullopt;
}

StagedLayer::~StagedLayer() {
    if (name_.empty()) return;
    const MutexLock lock{store_->mutex_};
    store_->homeless_.insert(store_->directory_ + "/staging/" + name_);
    store_->trash_homeless();
}

StagedPtr LayerStore::stage(Source& source, const std::optional<oci::Digest>& expected, const Progress& progress,
                            const SourceDigest& source_digest) {
    if (expected && expected->is_step()) fail(ErrorKind::invalid_argument, "{} is no diff ID", expected->text());
    const std::string name = random_hex(16);
    const std::string staging = directory_ + "/staging";
    const std::string staged = staging + "/" + name;
    fault_point("layers:create-folder");
    if (format_ == LayerFormat::tree && ::mkdir(staged.c_str(), 0755) != 0) fail_errno("create folder {}", staged);
    try {
        ProgressSource counted{source, progress};
        bool was_packed = false;
        const std::unique_ptr<Source> plain = decompress(counted, decompressed_limit, &was_packed);
        const std::string algorithm{expected ? expected->algorithm() : "sha256"};
        std::optional<HashingReader> hashed;
        if (was_packed || source_digest.algorithm != algorithm) hashed.emplace(*plain, algorithm);
        fault_point("layers:unpack");
        TarReader tar{hashed ? *hashed : *plain};
        const std::uint64_t size = format_ == LayerFormat::tree ? unpack_tar(tar, staged) : write_erofs(tar, staged);
        // What comes with a digest says by it where it ends. All packers write an end, and what has none broke off.
        if (!expected && tar.entries() > 0 && !tar.has_end_mark())
            fail(ErrorKind::invalid_argument, "not a valid tar: it breaks off without an end");
        if (!hashed) skip_all(*plain);
        const oci::Digest actual = hashed ? hashed->finish() : source_digest.digest();
        if (expected && actual != *expected) {
            fail(ErrorKind::invalid_argument, "layer has the diff ID {}, expected {}", actual.text(), expected->text());
        }
        crash_point("layers:unpacked");
        return StagedPtr(new StagedLayer(*this, name, actual, size, tar.entries() == 0));
    } catch (...) {
        const MutexLock lock{mutex_};
        homeless_.insert(staged);
        trash_homeless();
        throw;
    }
}

void LayerStore::publish(const std::vector<StagedPtr>& staged) {
    const auto is_waiting = [](const StagedPtr& each) { return each && !each->name_.empty(); };
    if (std::ranges::none_of(staged, is_waiting)) return;
    store::sync_filesystem(directory_);
    crash_point("layers:synced");
    const MutexLock writing{writing_};
    std::vector<StagedLayer*> moving;
    {
        const MutexLock lock{mutex_};
        for (const StagedPtr& each : staged) {
            if (!is_waiting(each) || numbers_.contains(each->diff_id_)) continue;
            if (std::ranges::find(moving, each->diff_id_, &StagedLayer::diff_id_) == moving.end()) moving.push_back(each.get());
        }
    }
    std::map<std::int64_t, StagedLayer*> made;
    const auto insert = [&]() GRUA_REQUIRES(writing_) {
        for (StagedLayer* each : moving) {
            database_.execute("INSERT INTO layers (diff_id, size) VALUES (?, ?)", {each->diff_id_.text(), each->size_});
            const std::int64_t number = database_.last_insert_id();
            const std::string from = fmt::format("{}/staging/{}", directory_, each->name_);
            const std::string to = layer_path(number);
            fault_point("layers:rename-layer");
            clear_place(to);
            if (::rename(from.c_str(), to.c_str()) != 0) fail_errno("rename {}", from);
            made.emplace(number, each);
        }
        store::sync_directory(directory_ + "/l");
        crash_point("layers:renamed");
    };
    try {
        write(insert);
    } catch (...) {
        // A folder without a row belongs to nobody, and its number is given again.
        const MutexLock lock{mutex_};
        for (const auto& [number, layer] : made) homeless_.insert(layer_path(number));
        trash_homeless();
        throw;
    }
    crash_point("layers:published");
    const MutexLock lock{mutex_};
    for (const auto& [number, layer] : made) {
        layers_.emplace(number, Stored{.name = layer->diff_id_, .size = layer->size_});
        numbers_.emplace(layer->diff_id_, number);
        layer->name_.clear();  // of others, where one was first, the folder is still in staging
    }
    for (const StagedPtr& each : staged) {
        if (!each) continue;
        if (const std::optional<std::int64_t> number = number_of(each->diff_id_)) each->held_ = hold_locked(*number);
    }
}

/// A number that a transaction gave and took back is given again.
void LayerStore::clear_place(const std::string& path) {
    const MutexLock lock{mutex_};
    if (!homeless_.contains(path)) return;
    trash(path);
    homeless_.erase(path);
}

LayerStore::Hold LayerStore::hold(const oci::Digest& diff_id) {
    const MutexLock lock{mutex_};
    const std::optional<std::int64_t> number = number_of(diff_id);
    return number ? hold_locked(*number) : Hold{};
}

bool LayerStore::is_held(const oci::Digest& diff_id) const {
    const MutexLock lock{mutex_};
    const std::optional<std::int64_t> number = number_of(diff_id);
    return number && is_held_locked(*number);
}

bool LayerStore::is_held_locked(std::int64_t number) const { return !layers_.at(number).held.expired(); }

LayerStore::HeldContainer::~HeldContainer() {
    const MutexLock lock{store.mutex_};
    store.wake_purger();
}

LayerStore::Hold LayerStore::hold_container(std::string_view container_id) {
    std::vector<Hold> below;  // let go of under no lock
    const MutexLock lock{mutex_};
    const auto found = containers_.find(container_id);
    if (found == containers_.end()) fail(ErrorKind::not_found, "container {} has no writable layer", container_id);
    if (Hold held = found->second.held.lock()) return held;
    for (const std::int64_t each : found->second.numbers) below.push_back(hold_locked(each));
    const auto held = std::shared_ptr<HeldContainer>(new HeldContainer{*this, std::move(below)});
    found->second.held = held;
    return held;
}

bool LayerStore::is_mounted(std::int64_t number) const {
    const auto stands_on_it = [&](const auto& each) {
        const Container& container = each.second;
        return !container.held.expired() && std::ranges::find(container.numbers, number) != container.numbers.end();
    };
    return std::ranges::any_of(containers_, stands_on_it) || std::ranges::any_of(kept_, stands_on_it);
}

bool LayerStore::is_used(std::int64_t number) const {
    const auto stands_on_it = [&](const auto& each) { return std::ranges::find(each.second.numbers, number) != each.second.numbers.end(); };
    return is_held_locked(number) || std::ranges::any_of(containers_, stands_on_it);
}

LayerStore::Hold LayerStore::hold_locked(std::int64_t number) const {
    Stored& stored = layers_.at(number);
    if (Hold held = stored.held.lock()) return held;
    const Hold held = number < 0 ? Hold{std::make_shared<HeldStep>(*this, number)} : Hold{std::make_shared<const int>(0)};
    stored.held = held;
    return held;
}

/// What belongs to nobody any more goes to the trash; what cannot be moved is tried again with the next that goes, and the next gruad
/// sweeps it.
void LayerStore::trash_homeless() {
    std::erase_if(homeless_, [&](const std::string& path) GRUA_REQUIRES(mutex_) {
        try {
            trash(path);
            return true;
        } catch (const std::exception& error) {
            log::error("layers: {}", error.what());
            return false;
        }
    });
}

std::vector<oci::Digest> LayerStore::remove_layers(const std::vector<oci::Digest>& diff_ids) {
    const MutexLock writing{writing_};
    // Nobody finds these any more, so nobody comes to stand on them while their rows go.
    std::map<std::int64_t, Stored> leaving;
    std::vector<oci::Digest> removed;
    {
        const MutexLock lock{mutex_};
        for (const oci::Digest& diff_id : diff_ids) {
            const std::optional<std::int64_t> number = number_of(diff_id);
            if (!number || layers_.at(*number).steps > 0 || is_used(*number)) continue;
            leaving.emplace(*number, std::move(layers_.at(*number)));
            layers_.erase(*number);
            numbers_.erase(diff_id);
            removed.push_back(diff_id);
        }
        trash_homeless();
    }
    if (removed.empty()) return removed;
    try {
        database_.transaction([&] {
            for (const auto& [number, stored] : leaving) database_.execute("DELETE FROM layers WHERE number = ?", {number});
        });
    } catch (...) {
        const MutexLock lock{mutex_};
        for (auto& [number, stored] : leaving) {
            numbers_.emplace(stored.name, number);
            layers_.emplace(number, std::move(stored));
        }
        throw;
    }
    crash_point("layers:row-removed");
    const MutexLock lock{mutex_};
    for (const auto& [number, stored] : leaving) {
        unsaved_.erase(number);
        homeless_.insert(layer_path(number));
    }
    trash_homeless();
    return removed;
}

std::vector<Layer> LayerStore::list() const {
    std::vector<std::int64_t> all;
    {
        const MutexLock lock{mutex_};
        for (const auto& [diff_id, number] : numbers_) all.push_back(number);
    }
    return measured(all);
}

std::vector<std::int64_t> LayerStore::numbers(const std::vector<oci::Digest>& ids) const {
    std::vector<std::int64_t> out;
    for (const oci::Digest& id : ids) {
        const std::optional<std::int64_t> number = number_of(id);
        if (!number) fail(ErrorKind::not_found, "layer {} does not exist", id.text());
        out.push_back(*number);
    }
    return out;
}

/// An image may have a layer twice, which overlayfs refuses. The higher one alone shows the same: it decides
/// for each name that the lower one has, and about others neither says anything.
LayerStore::Folders LayerStore::folders(const std::vector<std::int64_t>& lowest_first) const {
    Folders out;
    std::set<std::int64_t> seen;
    for (const std::int64_t number : lowest_first | std::views::reverse) {
        if (!seen.insert(number).second) continue;
        const auto found = layers_.find(number);
        if (found == layers_.end()) fail(ErrorKind::not_found, "layer {} does not exist", number);  // its container went meanwhile
        std::string path = layer_path(number);
        std::shared_ptr<const Fd>& image = found->second.image;
        if (!image && fs::is_regular_file(path)) image = std::make_shared<const Fd>(mount_erofs(path));
        if (image) {
            path = fmt::format("/proc/self/fd/{}", image->get());
            out.images.push_back(image);
        }
        out.paths.push_back(std::move(path));
    }
    return out;
}

/// The root of a layer of either format.
Fd LayerStore::open_layer(const std::string& path) const {
    Fd mount;
    std::error_code error;
    if (fs::is_regular_file(path, error)) mount = mount_erofs(path);
    Fd folder{::openat(mount ? mount.get() : AT_FDCWD, mount ? "." : path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
    if (!folder) fail_errno("open layer {}", path);
    return folder;
}

bool LayerStore::can_bound() const { return linux::has_project_quota(directory_); }

void LayerStore::prepare(std::string_view container_id, const std::vector<oci::Digest>& diff_ids, Durability durability,
                         std::optional<std::uint64_t> bound) {
    check_id(container_id);
    const std::string path = container_path(container_id);
    const MutexLock lock{mutex_};
    const std::vector<std::int64_t> below = numbers(diff_ids);
    std::string target = durability == Durability::volatile_ ? "volatile" : "normal";
    for (const std::int64_t number : below) target += fmt::format(",{}", number);
    if (target.size() > link_limit) fail(ErrorKind::invalid_argument, "{} layers are more than a container can stand on", below.size());
    fault_point("layers:prepare");
    if (::mkdir(path.c_str(), 0755) != 0) {
        if (errno == EEXIST) fail(ErrorKind::conflict, "container {} has a writable layer already", container_id);
        fail_errno("create folder {}", path);
    }
    try {
        fault_point("layers:prepare-upper");
        // Both folders below it are of its project then, so that overlayfs may move from one to the other.
        if (bound) linux::bound_folder(path, *bound);
        make_directories(path + "/upper", 0755);
        make_directories(path + "/work", 0700);
        if (::symlink(target.c_str(), (path + "/" + layers_link).c_str()) != 0) fail_errno("create {}/{}", path, layers_link);
    } catch (...) {
        trash(path);  // half of it would be in the way of the next try
        throw;
    }
    containers_.insert_or_assign(std::string(container_id), Container{.numbers = below, .durability = durability});
}

void LayerStore::sync_containers() const {
    fault_point("layers:sync-containers");
    store::sync_directory(directory_ + "/containers");
}

LayerStore::Container LayerStore::container(std::string_view id) const {
    const MutexLock lock{mutex_};
    const auto found = containers_.find(id);
    if (found == containers_.end()) fail(ErrorKind::not_found, "container {} has no writable layer", id);
    return found->second;
}

LayerStore::Container LayerStore::whole_container(std::string_view id) const {
    Container out = container(id);
    if (!out.missing.empty()) {
        fail(ErrorKind::system, "container {} stands on layers that are missing in {}/l: {}; it can only be removed", id, directory_,
             join(out.missing, ", "));
    }
    return out;
}

Fd LayerStore::mount(std::string_view container_id, Access access) const {
    const Container entry = whole_container(container_id);
    Overlay overlay{.read_only = access == Access::read_only, .omit_syncs = entry.durability == Durability::volatile_};
    Folders below;
    {
        const MutexLock lock{mutex_};
        below = folders(entry.numbers);
    }
    overlay.lower = std::move(below.paths);
    overlay.lower.push_back(directory_ + "/base");
    overlay.upper = container_path(container_id) + "/upper";
    overlay.work = container_path(container_id) + "/work";
    // A volatile mount after a volatile one is refused until this marker goes; whoever chose it does without the syncs' promise.
    if (overlay.omit_syncs) remove_path(overlay.work, "work/incompat");
    return mount_overlay(overlay);
}

/// Locked until it is mounted.
Fd LayerStore::mount_numbers(const std::vector<std::int64_t>& lowest_first) const {
    Overlay overlay{.read_only = true};
    const Folders below = folders(lowest_first);
    overlay.lower = below.paths;
    // Without an upper overlayfs wants two.
    for (const char* more : {"/empty", "/blank"})
        if (overlay.lower.size() < 2) overlay.lower.push_back(directory_ + more);
    return mount_overlay(overlay);
}

Fd LayerStore::mount_layers(const std::vector<oci::Digest>& diff_ids) const {
    const MutexLock lock{mutex_};
    return mount_numbers(numbers(diff_ids));
}

Fd LayerStore::mount_lower(std::string_view container_id) const {
    const Container entry = whole_container(container_id);
    const MutexLock lock{mutex_};
    return mount_numbers(entry.numbers);
}

Fd LayerStore::mount_snapshot(std::string_view container_id) const {
    const Container entry = whole_container(container_id);
    Overlay overlay{.lower = {container_path(container_id) + "/upper"}, .read_only = true};
    const MutexLock lock{mutex_};
    for (std::string& each : folders(entry.numbers).paths) overlay.lower.push_back(std::move(each));  // locked until it is mounted
    if (overlay.lower.size() < 2) overlay.lower.push_back(directory_ + "/empty");
    return mount_overlay(overlay);
}

Fd LayerStore::open_upper(std::string_view container_id) const {
    static_cast<void>(container(container_id));
    const std::string path = container_path(container_id) + "/upper";
    Fd folder{::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!folder) fail_errno("open folder {}", path);
    return folder;
}

std::string LayerStore::trash(const std::string& path) {
    fault_point("layers:move-to-trash");
    const std::string name = random_hex(16);
    const std::string target = fmt::format("{}/trash/{}", directory_, name);
    if (::rename(path.c_str(), target.c_str()) != 0 && errno != ENOENT) fail_errno("move {} to the trash", path);
    wake_purger();
    return name;
}

void LayerStore::wake_purger() const {
    purged_ = false;
    trashed_.notify_all();
}

bool LayerStore::is_kept(const std::string& trashed) const {
    const auto found = kept_.find(trashed);
    return found != kept_.end() && !found->second.held.expired();
}

void LayerStore::remove(std::string_view container_id) {
    check_id(container_id);
    const MutexLock lock{mutex_};
    const std::string path = container_path(container_id);
    linux::unbound_folder(path);
    const std::string name = trash(path);
    const auto found = containers_.find(container_id);
    if (found == containers_.end()) return;
    if (!found->second.held.expired()) kept_.emplace(name, std::move(found->second));
    containers_.erase(found);
}

/// What cannot be removed keeps nobody else; it is tried again with the next that comes. False where `stop` came.
bool LayerStore::purge_one(int trash, const std::string& name, const std::stop_token& stop) {
    {
        const MutexLock look{mutex_};
        if (is_kept(name)) return true;
        kept_.erase(name);
    }
    try {
        return remove_tree(trash, name, stop);
    } catch (const std::exception& error) {
        log::error("emptying the trash: {}: {}", name, error.what());
        const MutexLock look{mutex_};
        stuck_.insert(name);
        return true;
    }
}

void LayerStore::purge(const std::stop_token& stop) {
    MutexLock lock{mutex_};
    while (!stop.stop_requested()) {
        purged_ = true;
        stuck_.clear();
        lock.unlock();
        try {
            sweep_forgotten();
            const Fd folder{::open((directory_ + "/trash").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
            if (!folder) fail_errno("open folder {}/trash", directory_);
            for (const auto& entry : fs::directory_iterator(directory_ + "/trash")) {
                if (!purge_one(folder.get(), entry.path().filename(), stop)) return;
            }
        } catch (const std::exception& error) {
            log::error("emptying the trash: {}", error.what());
        }
        lock.lock();
        trashed_.notify_all();
        trashed_.wait(lock, stop, [&]() GRUA_REQUIRES(mutex_) { return !purged_; });
    }
}

void LayerStore::wait_for_purge() {
    MutexLock lock{mutex_};
    const auto is_waiting = [&](const auto& entry) GRUA_REQUIRES(mutex_) {
        const std::string name = entry.path().filename();
        return !is_kept(name) && !stuck_.contains(name);
    };
    const auto is_leaving = [&](const auto& each) GRUA_REQUIRES(mutex_) { return is_forgotten(each.first) && !is_used(each.first); };
    trashed_.wait(lock, [&]() GRUA_REQUIRES(mutex_) {
        return purged_ && std::ranges::none_of(layers_, is_leaving) &&
               std::ranges::none_of(fs::directory_iterator(directory_ + "/trash"), is_waiting);
    });
}

bool LayerStore::has_container(std::string_view container_id) const {
    const MutexLock lock{mutex_};
    return containers_.contains(container_id);
}

std::vector<std::string> LayerStore::containers() const {
    const MutexLock lock{mutex_};
    std::vector<std::string> out;
    for (const auto& [id, entry] : containers_) out.push_back(id);
    return out;
}

std::vector<oci::Digest> LayerStore::container_layers(std::string_view container_id) const {
    const MutexLock lock{mutex_};
    const auto found = containers_.find(container_id);
    if (found == containers_.end()) fail(ErrorKind::not_found, "container {} has no writable layer", container_id);
    std::vector<oci::Digest> out;
    for (const std::int64_t each : found->second.numbers) out.push_back(layers_.at(each).name);
    return out;
}

std::uint64_t LayerStore::usage(std::string_view container_id) const {
    static_cast<void>(container(container_id));
    return tree_size(container_path(container_id) + "/upper");
}

LayerStore::Paths LayerStore::paths(std::string_view container_id) const {
    std::vector<std::string> lower{directory_ + "/base"};
    for (const std::int64_t number : container(container_id).numbers) lower.insert(lower.begin(), layer_path(number));
    return {join(lower, ":"), container_path(container_id) + "/upper", container_path(container_id) + "/work"};
}

}  // namespace grua::layers
