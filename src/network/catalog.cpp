#include "network/catalog.hpp"

#include "base/codec.hpp"
#include "base/error.hpp"
#include "base/files.hpp"
#include "base/id.hpp"
#include "base/log.hpp"
#include "store/durable_file.hpp"

#include <unistd.h>

namespace grua::network {

namespace {

struct StoredCatalog {
    std::string bridge_id, host_id, none_id, created, gateway;

    static constexpr auto fields() {
        return std::tuple{json::field("bridge", &StoredCatalog::bridge_id), json::field("host", &StoredCatalog::host_id),
                          json::field("none", &StoredCatalog::none_id), json::field("created", &StoredCatalog::created),
                          json::field("gateway", &StoredCatalog::gateway)};
    }
};

std::string path_in(const std::string& directory) { return directory + "/networks.json"; }

StoredCatalog read_stored(const std::string& path) {
    try {
        return json::parse<StoredCatalog>(read_file(path));
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::not_found) log::warn("{}: {}; the networks get new IDs", path, error.what());
        return {};
    }
}

}  // namespace

Catalog load_catalog(const std::string& directory) {
    const StoredCatalog stored = read_stored(path_in(directory));
    const auto id = [](const std::string& text) { return is_full_id(text) ? text : random_id(); };
    Catalog catalog{.bridge_id = id(stored.bridge_id), .host_id = id(stored.host_id), .none_id = id(stored.none_id)};
    catalog.created = parse_time(stored.created).value_or(now());
    catalog.gateway = linux::Ipv4Prefix::parse(stored.gateway);
    return catalog;
}

void save_catalog(const std::string& directory, const Catalog& catalog) {
    const StoredCatalog stored{catalog.bridge_id, catalog.host_id, catalog.none_id, format_time(catalog.created),
                               catalog.gateway ? catalog.gateway->text() : ""};
    const std::string text = json::dump(stored, {}) + "\n";
    if (::access(path_in(directory).c_str(), F_OK) == 0 && read_file(path_in(directory)) == text) return;
    make_directories(directory, 0711);
    store::write_durably(path_in(directory), text, 0600);
}

}  // namespace grua::network
