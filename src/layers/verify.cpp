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
    out.difference = first_difference(fresh.get(), present.get(), {.made_after = began, .is_upper = layer->is_made_here(), .each = each});
    if (!out.difference && !layer->is_made_here() && layer->size != out.fresh->size())
        out.difference = fmt::format("its size is noted as {}, it is {}", layer->size, out.fresh->size());
    return out;
}

bool LayerStore::replace(const StagedPtr& staged) {
    store::sync_filesystem(directory_);
    const MutexLock writing{writing_};
    std::int64_t number = 0;
    bool had_other_size = false;
    {
        const MutexLock lock{mutex_};
        const auto found = numbers_.find(staged->diff_id_);
        if (found == numbers_.end()) fail(ErrorKind::not_found, "layer {} does not exist", staged->diff_id_.text());
        number = found->second;
        if (is_mounted(number)) return false;
        const std::string from = fmt::format("{}/staging/{}", directory_, staged->name_);
        const std::string to = layer_path(number);
        if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0) {
            // What was there lies in staging now and goes with `staged`.
        } else if (errno == ENOENT) {
            if (::rename(from.c_str(), to.c_str()) != 0) fail_errno("rename {} to {}", from, to);
            staged->name_.clear();
        } else {
            fail_errno("exchange {} and {}", from, to);
        }
        Stored& stored = layers_.at(number);
        stored.image.reset();
        had_other_size = stored.size != staged->size_;
        stored.size = staged->size_;
        staged->held_ = hold_locked(number);
    }
    store::sync_directory(directory_ + "/l");
    if (had_other_size) database_.execute("UPDATE layers SET size = ?2 WHERE number = ?1", {number, staged->size_});
    return true;
}

std::vector<LayerStore::Inconsistency> LayerStore::inconsistencies() const {
    const MutexLock writing{writing_};  // what is written now is in memory or not there yet
    // Whoever writes has the database before mutex_, so this has too.
    std::map<std::int64_t, std::string> rows;
    for (const store::Row& row : database_.query("SELECT number, diff_id FROM layers")) rows.emplace(row.integer(0), row.text(1));
    const MutexLock lock{mutex_};
    std::vector<Inconsistency> out;
    const auto is_known = [&](const std::string& text) GRUA_REQUIRES(mutex_) {
        const std::optional<std::int64_t> number = parse_int(text);
        return number && layers_.contains(*number);
    };
    for (const auto& entry : fs::directory_iterator(directory_ + "/l")) {
        const std::string folder = entry.path().filename();
        if (!is_known(folder)) out.push_back({directory_ + "/l/" + folder, "no layer has this folder; the next start sweeps it"});
    }
    std::size_t expected = gone_layers_.size();
    for (const auto& [number, stored] : layers_) {
        if (stored.lasting != Lasting::process) ++expected;
        if (unsaved_.contains(number)) continue;
        const auto row = rows.find(number);
        if (row == rows.end() || row->second != stored.name.text())
            out.push_back({stored.name.text(), fmt::format("the store has no row for number {}", number)});
    }
    if (rows.size() != expected)
        out.push_back({"layers", fmt::format("{} layers are in use, the store has {} rows", expected, rows.size())});
    for (const auto& entry : fs::directory_iterator(directory_ + "/containers")) {
        const std::string id = entry.path().filename();
        std::error_code error;
        const std::vector<std::string> words = split(fs::read_symlink(entry.path() / "layers", error).string(), ',');
        if (error) {
            out.push_back({id, "the container's writable layer does not say what it stands on"});
            continue;
        }
        for (const std::string& word : std::span(words).subspan(1)) {
            if (!is_known(word)) out.push_back({id, fmt::format("the container stands on layer {}, which is not there", word)});
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
