#include "engine/lifecycle/rebuild.hpp"

#include "base/files.hpp"
#include "base/id.hpp"
#include "base/log.hpp"
#include "engine/lifecycle/saver.hpp"
#include "store/database.hpp"

#include <filesystem>
#include <optional>
#include <set>

namespace grua::engine {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t record_limit = std::size_t{16} << 20U;
constexpr int exit_unknown = 255;

void add_folders(const std::string& path, std::set<std::string>& out) {
    std::error_code error;
    for (auto entry = fs::directory_iterator(path, error); !error && entry != fs::directory_iterator(); entry.increment(error))
        if (is_full_id(entry->path().filename().string())) out.insert(entry->path().filename());
}

std::optional<ContainerRecord> read_description(const std::string& folder, const std::string& id) {
    try {
        const std::string text = read_file(folder + "/" + id + description_file, record_limit);
        const StoredRecord read = read_stored(id, text);
        if (const auto* record = std::get_if<ContainerRecord>(&read)) return *record;
        log::warn("container {}: {}/{}{}: {}", id, folder, id, description_file, std::get<UnreadableRecord>(read).reason);
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::not_found) log::warn("container {}: {}", id, error.what());
    }
    return std::nullopt;
}

/// What became of it since its description was written is not known.
void set_state(ContainerRecord& record) {
    std::error_code ignored;
    const bool has_run = !record.log_path.empty() && fs::exists(record.log_path, ignored);
    if (record.state.status == Status::created && has_run) {
        record.state.status = Status::exited;
        record.state.exit_code = exit_unknown;
        record.state.error = "exit status unknown: the database was lost";
        record.state.finished_at = now();
    }
    // One that was being removed stays until it is removed again.
    if (record.state.status == Status::removing) record.state.status = Status::exited;
}

}  // namespace

RebuiltContainers find_containers(const std::string& containers, const std::string& live, const std::vector<std::string>& layers) {
    std::set<std::string> ids;
    add_folders(containers, ids);
    add_folders(live, ids);
    for (const std::string& each : layers)
        if (is_full_id(each)) ids.insert(each);
    RebuiltContainers out;
    for (const std::string& id : ids) {
        auto record = read_description(containers, id);
        if (!record) record = read_description(live, id);
        if (!record) {
            out.lost.push_back(id);
        } else if (!record->host_config.auto_remove) {
            set_state(*record);
            out.records.push_back(std::move(*record));
        }
    }
    return out;
}

void rebuild_rows(store::Database& database, const RebuiltContainers& found) {
    Saver::migrate(database);
    const auto put = [&](const std::string& id, const std::string& document) {
        database.execute("INSERT INTO containers (id, document) VALUES (?, ?)", {id, document});
    };
    database.transaction([&] {
        for (const ContainerRecord& each : found.records) put(each.id, to_json(each));
        for (const std::string& id : found.lost) put(id, lost_document(id, "the database was lost, and no other record of it is left"));
    });
}

}  // namespace grua::engine
