// Layers of builds: what a step wrote, from the end of its container to a diff ID. Nothing here waits for the disk with mutex_ held.
#include "base/error.hpp"
#include "base/fault_point.hpp"
#include "base/files.hpp"
#include "base/id.hpp"
#include "base/timespec.hpp"
#include "layers/diff.hpp"
#include "layers/layers.hpp"
#include "layers/tree.hpp"
#include "linux/project_quota.hpp"
#include "store/durable_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <algorithm>
#include <cstdio>
#include <utility>

namespace grua::layers {

LayerStore::HeldStep::~HeldStep() {
    const MutexLock lock{store.mutex_};
    if (store.is_forgotten(number)) store.wake_purger();
}

// --- the life of a step -----------------------------------------------------------------------------------------

oci::Digest LayerStore::keep_step(std::string_view container_id) {
    const oci::Digest id = oci::Digest::parse_step("step:" + random_id()).value();
    const std::string path = container_path(container_id);
    const std::string aside = fmt::format("{}/staging/{}", directory_, random_hex(16));
    std::shared_ptr<HeldContainer> reader;  // let go of under no lock
    const MutexLock lock{mutex_};
    const auto found = containers_.find(container_id);
    if (found == containers_.end()) fail(ErrorKind::not_found, "container {} has no writable layer", container_id);
    reader = found->second.held.lock();
    linux::unbound_folder(path);
    fault_point("layers:keep-step");
    // Aside first: whenever gruad dies now there is a container or there is none, and what lies in staging is trash.
    if (::rename(path.c_str(), aside.c_str()) != 0) fail_errno("move {} aside", path);
    crash_point("layers:step-aside");
    containers_.erase(found);
    homeless_.insert(aside);
    const std::int64_t number = next_step_--;
    fault_point("layers:rename-step");
    if (::rename((aside + "/upper").c_str(), layer_path(number).c_str()) != 0) fail_errno("rename {}/upper", aside);
    crash_point("layers:step-renamed");
    layers_.emplace(number, Stored{.name = id, .size = std::nullopt, .lasting = Lasting::process, .steps = 1});
    steps_.emplace(id, StepName{.number = number});
    unsaved_.insert(number);
    if (reader) reader->layers.push_back(hold_locked(number));
    trash_homeless();
    return id;
}

void LayerStore::identify(const oci::Digest& step, const oci::Digest& diff_id) {
    if (diff_id.is_step()) fail(ErrorKind::invalid_argument, "{} is no diff ID", diff_id.text());
    const MutexLock writing{writing_};
    const MutexLock lock{mutex_};
    const auto found = steps_.find(step);
    if (found == steps_.end()) fail(ErrorKind::not_found, "layer {} does not exist", step.text());
    Stored& stored = layers_.at(found->second.number);
    if (stored.name == diff_id) return;
    if (!stored.name.is_step())
        fail(ErrorKind::conflict, "layer {} has the diff ID {} already, not {}", step.text(), stored.name.text(), diff_id.text());
    const auto [named, is_new] = numbers_.try_emplace(diff_id, found->second.number);
    if (is_new) {
        stored.name = diff_id;
        unsaved_.insert(found->second.number);
        return;
    }
    --stored.steps;
    ++layers_.at(named->second).steps;
    found->second.number = named->second;
    found->second.is_saved = false;
    wake_purger();
}

void LayerStore::forget_steps(const std::vector<oci::Digest>& steps) {
    // What has a diff ID outlives its step: it must be what all layers are that have one.
    Unsaved staying;
    {
        const MutexLock lock{mutex_};
        for (const oci::Digest& each : steps) {
            const std::optional<std::int64_t> number = number_of(each);
            if (!number || !each.is_step()) continue;
            const Stored& stored = layers_.at(*number);
            if (!stored.name.is_step() && stored.lasting != Lasting::always) staying.layers.emplace(*number, Lasting::always);
        }
    }
    if (!staying.layers.empty()) store::sync_filesystem(directory_);
    const MutexLock writing{writing_};
    {
        const MutexLock lock{mutex_};
        for (const oci::Digest& each : steps) {
            const auto found = steps_.find(each);
            if (found == steps_.end()) continue;
            const auto [number, stored] = std::pair{found->second.number, &layers_.at(found->second.number)};
            if (!stored->name.is_step() && unsaved_.contains(number)) staying.layers.try_emplace(number, stored->lasting);
            if (found->second.has_row) gone_steps_.insert(each);
            --stored->steps;
            steps_.erase(found);
        }
        trash_forgotten();
    }
    crash_point("layers:steps-forgotten");
    save(std::move(staying));
}

// --- rows -------------------------------------------------------------------------------------------------------

LayerStore::Unsaved LayerStore::unsaved() const {
    Unsaved out;
    for (const std::int64_t number : unsaved_) out.layers.emplace(number, std::max(layers_.at(number).lasting, Lasting::boot));
    for (const auto& [id, step] : steps_)
        if (!step.is_saved) out.names.emplace_back(id, step.number);
    return out;
}

void LayerStore::store_steps() {
    const MutexLock writing{writing_};
    Unsaved rows;
    {
        const MutexLock lock{mutex_};
        rows = unsaved();
    }
    save(std::move(rows));
}

void LayerStore::sync_steps() {
    std::vector<std::int64_t> synced;
    {
        const MutexLock lock{mutex_};
        for (const auto& [number, stored] : layers_)
            if (stored.lasting != Lasting::always) synced.push_back(number);
    }
    if (!synced.empty()) store::sync_filesystem(directory_);
    crash_point("layers:steps-synced");
    const MutexLock writing{writing_};
    Unsaved rows;
    {
        const MutexLock lock{mutex_};
        rows = unsaved();
        for (const std::int64_t number : synced)
            if (layers_.contains(number)) rows.layers.insert_or_assign(number, Lasting::always);
    }
    save(std::move(rows));
}

/// One transaction, where there is anything to write.
void LayerStore::save(Unsaved unsaved) {
    struct Row {
        Layer layer;
        std::optional<std::string> boot;
    };
    std::vector<Row> rows;
    // writing_ keeps them in l/ and in memory.
    for (auto& [number, lasting] : unsaved.layers) {
        const std::optional<Layer> layer = measured(number);
        if (!layer) continue;
        rows.push_back({*layer, lasting == Lasting::always ? std::nullopt : std::optional(boot_)});
    }
    const auto insert = [&] {
        for (const Row& row : rows) {
            database_.execute(
                "INSERT INTO layers (number, diff_id, size, boot) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (number) DO UPDATE SET diff_id = ?2, "
                "size = ?3, boot = ?4",
                {row.layer.number, row.layer.diff_id.text(), row.layer.size, row.boot});
        }
        for (const auto& [id, number] : unsaved.names) {
            database_.execute("INSERT INTO steps (id, number) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET number = ?2",
                              {id.text(), number});
        }
    };
    if (rows.empty() && unsaved.names.empty()) return write({});
    write(insert);
    crash_point("layers:steps-stored");
    const MutexLock lock{mutex_};
    for (const Row& row : rows) {
        layers_.at(row.layer.number).lasting = row.boot ? Lasting::boot : Lasting::always;
        unsaved_.erase(row.layer.number);
    }
    for (const auto& [id, number] : unsaved.names) steps_.at(id) = {.number = number, .has_row = true, .is_saved = true};
}

/// `body`, which may be empty, writes rows; with it go the rows of what is gone.
void LayerStore::write(const std::function<void()>& body) {
    std::set<std::int64_t> layers;
    std::set<oci::Digest> steps;
    {
        const MutexLock lock{mutex_};
        layers = gone_layers_;
        steps = gone_steps_;
    }
    const auto remove = [&] { delete_rows(layers, steps); };
    if (body) {
        database_.transaction([&] {
            remove();  // one of them may have a diff ID that comes again
            body();
        });
    } else if (!layers.empty() || !steps.empty()) {
        database_.making_room(remove);
    }
    const MutexLock lock{mutex_};
    gone_layers_.clear();
    gone_steps_.clear();
}

void LayerStore::delete_rows(const std::set<std::int64_t>& layers, const std::set<oci::Digest>& steps) {
    for (const std::int64_t each : layers) database_.execute("DELETE FROM layers WHERE number = ?", {each});
    for (const oci::Digest& each : steps) database_.execute("DELETE FROM steps WHERE id = ?", {each.text()});
}

// --- the end of a step ------------------------------------------------------------------------------------------

/// No step is known by it, and it has no diff ID that anybody could ask for.
bool LayerStore::is_forgotten(std::int64_t number) const {
    const auto found = layers_.find(number);
    return found != layers_.end() && found->second.steps == 0 && found->second.name.is_step();
}

/// The folder first: a row without a folder is dropped at the next start.
void LayerStore::trash_forgotten() {
    std::erase_if(layers_, [&](const auto& each) GRUA_REQUIRES(mutex_) {
        const auto& [number, stored] = each;
        if (!is_forgotten(number) || is_used(number)) return false;
        if (stored.lasting != Lasting::process) gone_layers_.insert(number);
        unsaved_.erase(number);
        homeless_.insert(layer_path(number));
        return true;
    });
    trash_homeless();
}

void LayerStore::sweep_forgotten() {
    const MutexLock writing{writing_};
    {
        const MutexLock lock{mutex_};
        trash_forgotten();
    }
    write({});
}

// --- what is known of it ----------------------------------------------------------------------------------------

/// The size is found by a walk where nobody has asked for it yet, under no lock. Nothing where there is no such layer any more.
std::optional<Layer> LayerStore::measured(std::int64_t number) const {
    {
        const MutexLock lock{mutex_};
        const auto found = layers_.find(number);
        if (found == layers_.end()) return std::nullopt;
        if (found->second.size) return layer_of(number);
    }
    std::uint64_t size = 0;
    try {
        size = tree_size(layer_path(number));
    } catch (const Error& error) {
        if (error.os_error() != ENOENT) throw;  // else it goes right now, or is lost as any file may be
    }
    const MutexLock lock{mutex_};
    const auto found = layers_.find(number);
    if (found == layers_.end()) return std::nullopt;
    found->second.size = size;
    return layer_of(number);
}

std::vector<Layer> LayerStore::measured(const std::vector<std::int64_t>& numbers) const {
    std::vector<Layer> out;
    for (const std::int64_t each : numbers)
        if (const std::optional<Layer> layer = measured(each)) out.push_back(*layer);
    return out;
}

std::optional<LayerStore::Step> LayerStore::find_step(const oci::Digest& step) const {
    if (!step.is_step()) return std::nullopt;
    const std::optional<Layer> layer = find(step);
    if (!layer) return std::nullopt;
    Step out{.id = step, .diff_id = std::nullopt, .size = layer->size, .is_held = is_held(step)};
    if (!layer->diff_id.is_step()) out.diff_id = layer->diff_id;
    struct statx about{};
    if (::statx(AT_FDCWD, layer_path(layer->number).c_str(), AT_SYMLINK_NOFOLLOW, STATX_BTIME | STATX_MTIME, &about) == 0) {
        const statx_timestamp& time = (about.stx_mask & STATX_BTIME) != 0 ? about.stx_btime : about.stx_mtime;
        out.made = time_of({.tv_sec = time.tv_sec, .tv_nsec = time.tv_nsec});
    }
    return out;
}

std::vector<LayerStore::Step> LayerStore::steps() const {
    std::vector<oci::Digest> ids;
    {
        const MutexLock lock{mutex_};
        for (const auto& [id, step] : steps_) ids.push_back(id);
    }
    std::vector<Step> out;
    for (const oci::Digest& each : ids)
        if (const std::optional<Step> step = find_step(each)) out.push_back(*step);
    return out;
}

bool LayerStore::pack_layer(const oci::Digest& layer, const std::vector<oci::Digest>& below, Sink& sink,
                            std::optional<timespec> latest) const {
    std::vector<Hold> held;  // let go of under no lock, and last
    std::string path;
    Fd lower;
    {
        const MutexLock lock{mutex_};
        const std::vector<std::int64_t> under = numbers(below);
        const std::int64_t number = numbers({layer}).front();
        held.push_back(hold_locked(number));
        for (const std::int64_t each : under) held.push_back(hold_locked(each));
        path = layer_path(number);
        lower = mount_numbers(under);
    }
    const Fd upper = open_layer(path);
    return pack_changes({upper.get(), lower.get(), {}}, sink, {.latest = latest});
}

}  // namespace grua::layers
