#include "build/cache_entries.hpp"

#include <algorithm>
#include <set>
#include <tuple>

namespace grua::build {
namespace {

struct Owner {
    std::size_t record = 0;
    std::size_t above = 0;  ///< Layers on top of it.
};

using Owners = std::map<oci::Digest, Owner>;

Owners owners_of(const std::vector<SeenRecord>& records) {
    Owners out;
    const auto rank = [&](const Owner& each) {
        const KeptRecord& record = *records[each.record].record;
        return std::tie(each.above, record.created, record.id);
    };
    for (std::size_t at = 0; at < records.size(); ++at) {
        for (const KeptResult& result : records[at].record->results) {
            for (std::size_t number = 0; number < result.layers.size(); ++number) {
                const Owner mine{.record = at, .above = result.layers.size() - 1 - number};
                const auto [found, is_new] = out.try_emplace(*result.layers[number], mine);
                if (!is_new && rank(mine) < rank(found->second)) found->second = mine;
            }
        }
    }
    return out;
}

std::set<oci::Digest> all_layers(const KeptRecord& record) {
    std::set<oci::Digest> out;
    for (const KeptResult& each : record.results)
        for (const LayerName& layer : each.layers) out.insert(*layer);
    return out;
}

}  // namespace

std::vector<UsageEntry> entries_of(const std::vector<SeenRecord>& records, const std::map<oci::Digest, LayerFacts>& facts) {
    const Owners owners = owners_of(records);
    std::vector<UsageEntry> out;
    out.reserve(records.size());
    for (std::size_t at = 0; at < records.size(); ++at) {
        const auto& [record, use, in_use] = records[at];
        UsageEntry entry{.id = record->usage_id,
                         .type = record->type,
                         .description = record->description,
                         .created = record->created,
                         .last_used = use.last_used,
                         .uses = use.uses,
                         .in_use = in_use};
        std::set<oci::Digest> counted;
        std::set<oci::Digest> below;  // what parents that are known already have
        bool is_all_in_images = true;
        for (const KeptResult& result : record->results) {
            for (auto layer = result.layers.rbegin(); layer != result.layers.rend(); ++layer) {
                const Owner& owner = owners.at(**layer);
                if (owner.record != at) {
                    if (below.contains(**layer)) continue;
                    const KeptRecord& parent = *records[owner.record].record;
                    entry.parents.push_back(parent.usage_id);
                    below.merge(all_layers(parent));
                } else if (counted.insert(**layer).second) {
                    const auto found = facts.find(**layer);
                    const LayerFacts known = found == facts.end() ? LayerFacts{} : found->second;
                    is_all_in_images &= known.is_in_image;
                    if ((*layer)->is_step() || !known.is_in_image) entry.bytes += known.bytes;
                }
            }
        }
        entry.is_shared = !counted.empty() && is_all_in_images;
        out.push_back(std::move(entry));
    }
    return out;
}

}  // namespace grua::build
