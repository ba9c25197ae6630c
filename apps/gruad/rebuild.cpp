#include "rebuild.hpp"

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "content/content_store.hpp"
#include "engine/lifecycle/rebuild.hpp"
#include "images/rebuild.hpp"
#include "layers/rebuild.hpp"
#include "network/config.hpp"
#include "roots.hpp"
#include "store/database.hpp"
#include "store/durable_file.hpp"

#include <unistd.h>
#include <cstdio>
#include <filesystem>
#include <set>

namespace grua::gruad {
namespace {

namespace fs = std::filesystem;

constexpr auto companions = std::to_array<const char*>({"", "-wal", "-shm"});

template <typename... Args>
void say(fmt::format_string<Args...> format, Args&&... args) {
    std::puts(fmt::format(format, std::forward<Args>(args)...).c_str());
}

/// Throws where there is nothing to do. What is in the way gets another name.
void move_aside(const std::string& path) {
    std::error_code missing;
    if (!fs::exists(path, missing)) return;
    if (fs::file_size(path, missing) > 0) {
        bool has_tables = false;
        try {
            store::Database old{path};
            has_tables = !old.is_new();
        } catch (const Error& error) {
            if (!std::string_view(error.what()).contains("is damaged")) throw;
            say("{}", error.what());
        }
        if (has_tables)
            fail(ErrorKind::conflict,
                 "{} is there and whole, so there is nothing to rebuild; what it says of containers, networks and names of "
                 "images would be lost. Move it away first where that is wanted",
                 path);
    }
    const std::string aside = fmt::format("{}.{}", path, format_time(now()));
    for (const char* each : companions) {
        if (!fs::exists(path + each, missing)) continue;
        if (::rename((path + each).c_str(), (aside + each).c_str()) != 0) fail_errno("rename {}{}", path, each);
    }
    say("the old database is {} now", aside);
}

struct Names {
    std::map<std::string, std::set<std::string>> of_images;  ///< By ID.
    std::map<std::string, std::set<std::string>> networks;   ///< The containers on each.
};

Names names_in(const std::vector<engine::ContainerRecord>& records) {
    Names out;
    for (const engine::ContainerRecord& each : records) {
        out.of_images[each.image_id].insert(each.config.image);
        for (const auto& [network, settings] : each.networks)
            if (!network::is_predefined(network)) out.networks[network].insert(each.name);
    }
    return out;
}

std::map<std::string, std::vector<oci::Digest>> chains_of(const std::vector<engine::ContainerRecord>& records) {
    std::map<std::string, std::vector<oci::Digest>> out;
    for (const engine::ContainerRecord& each : records) {
        std::vector<oci::Digest> chain;
        for (const std::string& diff_id : each.chain)
            if (auto digest = oci::Digest::parse(diff_id)) chain.push_back(std::move(*digest));
        if (chain.size() == each.chain.size()) out.emplace(each.id, std::move(chain));
    }
    return out;
}

}  // namespace

void rebuild_database(const std::string& data_root, const std::string& exec_root) {
    const std::string path = data_root + "/grua.db";
    move_aside(path);
    // Whole before it has its name: a rebuild that is broken off is begun anew.
    const std::string aside = path + ".rebuilding";
    std::error_code ignored;
    for (const char* each : companions) fs::remove(aside + each, ignored);
    const auto containers =
        engine::find_containers(data_root + "/containers", exec_root + "/containers", layers::container_folders(data_root + "/layers"));
    const Names names = names_in(containers.records);
    {
        store::Database database{aside};
        const std::size_t layers = layers::rebuild_rows(data_root + "/layers", database, chains_of(containers.records));
        const content::ContentStore content{data_root + "/content"};
        const auto images = images::rebuild_rows(content, database, names.of_images);
        engine::rebuild_rows(database, containers);
        say("{} images, {} of them with a name; {} layers that containers stand on, others are unpacked when they are needed",
            images.ids.size(), images.named, layers);
        for (const auto& [id, known] : names.of_images)
            if (!images.ids.contains(id))
                say("image {} ({}) is not whole: pull or load it again", id, join({known.begin(), known.end()}, ", "));
    }
    say("{} containers; {} of which nothing is known, they are shown as dead and can be copied from and removed", containers.records.size(),
        containers.lost.size());
    for (const std::string& id : containers.lost) say("  {}", id);
    for (const auto& [network, users] : names.networks)
        say("network {} is lost: create it again for {}", network, join({users.begin(), users.end()}, ", "));
    fs::remove(aside + ".reserve", ignored);
    if (::rename(aside.c_str(), path.c_str()) != 0) fail_errno("rename {}", aside);
    store::sync_directory(data_root);
    say("{} is made anew; start gruad now", path);
}

}  // namespace grua::gruad
