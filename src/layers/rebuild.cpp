#include "layers/rebuild.hpp"

#include "base/id.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "layers/tree.hpp"

#include <filesystem>
#include <set>

namespace grua::layers {

namespace fs = std::filesystem;

std::vector<std::string> container_folders(const std::string& directory) {
    std::vector<std::string> out;
    std::error_code error;
    for (auto entry = fs::directory_iterator(directory + "/containers", error); !error && entry != fs::directory_iterator();
         entry.increment(error))
        out.push_back(entry->path().filename());
    return out;
}

std::size_t rebuild_rows(const std::string& directory, store::Database& database,
                         const std::map<std::string, std::vector<oci::Digest>>& diff_ids_of_containers) {
    migrate(database);
    std::map<std::int64_t, oci::Digest> known;
    for (const auto& [id, diff_ids] : diff_ids_of_containers) {
        std::error_code missing;
        // "normal,3,7": see LayerStore::prepare.
        const std::string target = fs::read_symlink(fmt::format("{}/containers/{}/layers", directory, id), missing).string();
        const std::vector<std::string> words = split(target, ',');
        if (missing || words.size() != diff_ids.size() + 1) {
            if (!missing) log::warn("container {}: its folder names {} layers, its record {}", id, words.size() - 1, diff_ids.size());
            continue;
        }
        for (std::size_t at = 0; at < diff_ids.size(); ++at) {
            const auto number = parse_int(words[at + 1]);
            if (number && fs::exists(fmt::format("{}/l/{}", directory, *number), missing)) known.emplace(*number, diff_ids[at]);
        }
    }
    std::set<oci::Digest> named;
    database.transaction([&] {
        for (const auto& [number, diff_id] : known) {
            // What a step of a build wrote may be another folder's layer, and containers stand on both.
            const std::string name = named.insert(diff_id).second ? diff_id.text() : "step:" + random_id();
            const std::string path = fmt::format("{}/l/{}", directory, number);
            std::error_code ignored;
            const std::uint64_t size = fs::is_directory(path, ignored) ? tree_size(path) : fs::file_size(path, ignored);
            database.execute("INSERT OR IGNORE INTO layers (number, diff_id, size) VALUES (?, ?, ?)", {number, name, size});
        }
    });
    return known.size();
}

}  // namespace grua::layers
