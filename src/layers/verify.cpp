// Is what is stored what it should be? Layers against their tars, rows against folders, containers against layers.
#include "base/error.hpp"
#include "base/files.hpp"
#include "base/text.hpp"
#include "layers/compare.hpp"
#include "layers/layers.hpp"
#include "layers/source.hpp"
#include "store/durable_file.hpp"

#include <fcntl.h>
#include <unistd.h>
#include <algorithm>
#include <cstdio>
#include <filesystem>

namespace grua::layers {

namespace fs = std::filesystem;

LayerStore::Verified LayerStore::verify(const oci::Digest& diff_id, Source& source, const std::function<void()>& each) {
    timespec began{};
    // What a file system stamps is as coarse as this clock.
    ::clock_gettime(CLOCK_REALTIME_COARSE, &began);
    Verified out;
    out.fresh = stage(source, diff_id, [&](std::uint64_t) { each(); });
    const auto layer = find(diff_id);
    if (!layer) {
        out.difference = "it is not unpacked";
        return out;
    }
    const std::string path = layer_path(layer->number);
    Fd present;
    try {
        present = open_layer(path);
    } catch (const Error& error) {
        out.difference = error.os_error() == ENOENT ? "its folder is missing" : error.what();
        return out;
    }
    const Fd fresh = open_layer(fmt::format("{}/staging/{}", directory_, out.fresh->name_));
    out.difference = first_difference(fresh.get(), present.get(), {.made_after = began, .each = each});
    if (!out.difference && layer->size != out.fresh->size())
        out.difference = fmt::format("its size is noted as {}, it is {}", layer->size, out.fresh->size());
    return out;
}

bool LayerStore::replace(const StagedPtr& staged) {
    store::sync_filesystem(directory_);
    const MutexLock lock{mutex_};
    const auto found = layers_.find(staged->diff_id_);
    if (found == layers_.end()) fail(ErrorKind::not_found, "layer {} does not exist", staged->diff_id_.text());
    if (is_mounted(staged->diff_id_)) return false;
    const std::string from = fmt::format("{}/staging/{}", directory_, staged->name_);
    const std::string to = layer_path(found->second.number);
    if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0) {
        // What was there lies in staging now and goes with `staged`.
    } else if (errno == ENOENT) {
        if (::rename(from.c_str(), to.c_str()) != 0) fail_errno("rename {} to {}", from, to);
        staged->name_.clear();
    } else {
        fail_errno("exchange {} and {}", from, to);
    }
    images_.erase(found->second.number);
    store::sync_directory(directory_ + "/l");
    if (found->second.size != staged->size_) {
        database_.execute("UPDATE layers SET size = ?2 WHERE number = ?1", {found->second.number, staged->size_});
        found->second.size = staged->size_;
    }
    staged->held_ = hold_locked(staged->diff_id_);
    return true;
}

std::vector<LayerStore::Inconsistency> LayerStore::inconsistencies() const {
    const MutexLock lock{mutex_};
    std::vector<Inconsistency> out;
    std::vector<std::string> folders;
    for (const auto& entry : fs::directory_iterator(directory_ + "/l")) folders.push_back(entry.path().filename());
    for (const std::string& folder : folders) {
        const bool known = std::ranges::any_of(layers_, [&](const auto& each) { return std::to_string(each.second.number) == folder; });
        if (!known) out.push_back({directory_ + "/l/" + folder, "no layer has this folder; the next start sweeps it"});
    }
    for (const auto& [diff_id, layer] : layers_) {
        const auto rows = database_.query("SELECT diff_id FROM layers WHERE number = ?", {layer.number});
        if (rows.size() != 1 || rows.front().text(0) != diff_id.text())
            out.push_back({diff_id.text(), fmt::format("the store has no row for number {}", layer.number)});
    }
    const auto count = database_.query("SELECT count(*) FROM layers").front().integer(0);
    if (count != static_cast<std::int64_t>(layers_.size()))
        out.push_back({"layers", fmt::format("{} layers are in use, the store has {} rows", layers_.size(), count)});
    for (const auto& entry : fs::directory_iterator(directory_ + "/containers")) {
        const std::string id = entry.path().filename();
        std::error_code error;
        const std::vector<std::string> words = split(fs::read_symlink(entry.path() / "layers", error).string(), ',');
        if (error) {
            out.push_back({id, "the container's writable layer does not say what it stands on"});
            continue;
        }
        for (const std::string& word : std::span(words).subspan(1)) {
            const bool known = std::ranges::any_of(layers_, [&](const auto& each) { return std::to_string(each.second.number) == word; });
            if (!known) out.push_back({id, fmt::format("the container stands on layer {}, which is not there", word)});
        }
        for (const char* folder : {"upper", "work"}) {
            if (!fs::is_directory(entry.path() / folder, error))
                out.push_back({id, fmt::format("the container's folder {} is missing", folder)});
        }
    }
    for (const auto& [id, container] : containers_) {
        if (!fs::exists(directory_ + "/containers/" + id)) out.push_back({id, "the container's writable layer is missing"});
    }
    return out;
}

}  // namespace grua::layers
