#include "build/cache_rows.hpp"

#include "base/error.hpp"
#include "base/log.hpp"
#include "build/usage_plan.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <set>

namespace grua::build {
namespace {

// A result without layers is an empty tree, one whose layers are NULL is none.
constexpr std::array migrations{
    "CREATE TABLE build_cache (id TEXT PRIMARY KEY, type TEXT NOT NULL, description TEXT NOT NULL, created INTEGER NOT NULL,"
    " last_used INTEGER NOT NULL, uses INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE build_cache_results (record TEXT NOT NULL, number INTEGER NOT NULL, key TEXT NOT NULL, layers TEXT,"
    " PRIMARY KEY (record, number)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE build_cache_keys (key TEXT PRIMARY KEY, record TEXT NOT NULL, number INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE INDEX build_cache_keys_by_record ON build_cache_keys (record, number)"};

std::int64_t nanoseconds_of(Time time) { return time.time_since_epoch().count(); }
Time time_of(std::int64_t nanoseconds) { return Time{std::chrono::nanoseconds(nanoseconds)}; }

std::string text_of(const std::vector<LayerName>& layers) {
    std::string out;
    for (const LayerName& each : layers) out += (out.empty() ? "" : ",") + each->text();
    return out;
}

/// The names that rows have, each once in memory.
class Names {
public:
    /// Nothing where one of them is no digest.
    std::optional<std::vector<LayerName>> read(const std::string& text) {
        std::vector<LayerName> out;
        if (text.empty()) return out;
        for (const std::string& each : split(text, ',')) {
            auto digest = oci::Digest::parse_step(each);
            if (!digest) digest = oci::Digest::parse(each);
            if (!digest) return std::nullopt;
            const auto [at, is_new] = known_.try_emplace(*digest);
            if (is_new) at->second = std::make_shared<const oci::Digest>(*std::move(digest));
            out.push_back(at->second);
        }
        return out;
    }

private:
    std::map<oci::Digest, LayerName> known_;
};

struct Reading {
    std::shared_ptr<KeptRecord> record;
    CacheUse use;
    std::vector<std::string> keys;
};

}  // namespace

bool operator==(const KeptResult& left, const KeptResult& right) {
    return left.key == right.key && left.is_nothing == right.is_nothing &&
           std::ranges::equal(left.layers, right.layers, [](const LayerName& a, const LayerName& b) { return *a == *b; });
}

std::vector<CacheRow> CacheRows::load() {
    database_.migrate("build_cache", migrations);
    Names names;
    std::map<std::string, Reading, std::less<>> read;
    std::set<std::string> damaged;
    for (const store::Row& row : database_.query("SELECT id, type, description, created, last_used, uses FROM build_cache")) {
        auto record = std::make_shared<KeptRecord>();
        record->id = row.text(0);
        record->usage_id = usage_id(record->id);
        record->type = row.text(1);
        record->description = row.text(2);
        record->created = time_of(row.integer(3));
        std::string id = record->id;
        read.emplace(std::move(id), Reading{.record = std::move(record), .use = {time_of(row.integer(4)), row.integer(5)}, .keys = {}});
    }
    for (const store::Row& row : database_.query("SELECT record, number, key, layers FROM build_cache_results ORDER BY record, number")) {
        const auto found = read.find(row.text(0));
        auto layers = names.read(row.text(3));
        if (found == read.end() || !layers || row.integer(1) != static_cast<std::int64_t>(found->second.record->results.size())) {
            damaged.insert(row.text(0));
            continue;
        }
        found->second.record->results.push_back({.key = row.text(2), .layers = *std::move(layers), .is_nothing = row.is_null(3)});
    }
    for (const store::Row& row : database_.query("SELECT record, key FROM build_cache_keys ORDER BY record, number")) {
        if (const auto found = read.find(row.text(0)); found != read.end())
            found->second.keys.push_back(row.text(1));
        else
            damaged.insert(row.text(0));
    }
    std::vector<CacheRow> out;
    for (auto& [id, each] : read) {
        if (each.keys.empty() || each.record->results.empty()) damaged.insert(id);
        if (!damaged.contains(id)) out.push_back({.record = std::move(each.record), .use = each.use, .keys = std::move(each.keys)});
    }
    if (!damaged.empty()) {
        log::warn("the cache of builds: {} records cannot be read and are dropped", damaged.size());
        remove({damaged.begin(), damaged.end()});
    }
    return out;
}

void CacheRows::forget(const std::string& id) {
    database_.execute("DELETE FROM build_cache_keys WHERE record = ?", {id});
    database_.execute("DELETE FROM build_cache_results WHERE record = ?", {id});
    database_.execute("DELETE FROM build_cache WHERE id = ?", {id});
}

void CacheRows::put(const std::vector<CacheRow>& rows) {
    database_.transaction([&] {
        for (const auto& [record, use, keys] : rows) {
            forget(record->id);
            database_.execute(
                "INSERT INTO build_cache (id, type, description, created, last_used, uses) VALUES (?, ?, ?, ?, ?, ?)",
                {record->id, record->type, record->description, nanoseconds_of(record->created), nanoseconds_of(use.last_used), use.uses});
            std::int64_t number = 0;
            for (const KeptResult& each : record->results) {
                const std::optional<std::string> layers = each.is_nothing ? std::nullopt : std::optional(text_of(each.layers));
                database_.execute("INSERT INTO build_cache_results (record, number, key, layers) VALUES (?, ?, ?, ?)",
                                  {record->id, number++, each.key, layers});
            }
            number = 0;
            // A key may have been another record's.
            for (const std::string& key : keys)
                database_.execute("INSERT OR REPLACE INTO build_cache_keys (key, record, number) VALUES (?, ?, ?)",
                                  {key, record->id, number++});
        }
    });
}

void CacheRows::set_uses(const std::vector<Use>& uses) {
    if (uses.empty()) return;
    database_.transaction([&] {
        for (const Use& each : uses)
            database_.execute("UPDATE build_cache SET last_used = ?, uses = ? WHERE id = ?",
                              {nanoseconds_of(each.use.last_used), each.use.uses, each.id});
    });
}

void CacheRows::remove(const std::vector<std::string>& ids) {
    if (ids.empty()) return;
    database_.making_room([&] {
        for (const std::string& each : ids) forget(each);
    });
}

}  // namespace grua::build
