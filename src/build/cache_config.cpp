#include "build/cache_config.hpp"

#include "oci/digest.hpp"
#include "oci/manifest.hpp"

#include <cstddef>

namespace grua::build {
namespace {

struct Records {
    std::vector<CacheConfig::Record> records;
    template <typename Self = Records>
    static json::Fields fields() {
        return json::Fields{json::field("records", &Self::records)};
    }
};

void check_text(std::string_view text) {
    if (text.size() > cache_config_limit) fail(ErrorKind::invalid_argument, "cache config: more than {} bytes", cache_config_limit);
    oci::check_value_count(text, "cache config");
}

bool is_within(std::int64_t index, std::size_t count) { return index >= 0 && static_cast<std::size_t>(index) < count; }

void check_layers(const CacheConfig& config) {
    for (std::size_t at = 0; at < config.layers.size(); ++at) {
        const CacheConfig::Layer& layer = config.layers[at];
        if (!oci::Digest::parse(layer.blob)) fail(ErrorKind::invalid_argument, "cache config: layers[{}]: blob is no digest", at);
        if (layer.parent != -1 && !is_within(layer.parent, config.layers.size()))
            fail(ErrorKind::invalid_argument, "cache config: layers[{}]: invalid layer index {}", at, layer.parent);
    }
    // Each is looked at once: what is known to end is not followed again.
    std::vector<std::size_t> ends(config.layers.size(), 0);
    for (std::size_t first = 0; first < config.layers.size(); ++first) {
        const std::size_t walk = first + 2;  // 1: it ends; others: by which walk it was reached
        std::vector<std::size_t> path;
        std::size_t at = first;
        for (;;) {
            if (ends[at] == 1) break;
            if (ends[at] == walk) fail(ErrorKind::invalid_argument, "cache config: layers[{}]: invalid looping layer", at);
            ends[at] = walk;
            path.push_back(at);
            if (config.layers[at].parent == -1) break;
            at = static_cast<std::size_t>(config.layers[at].parent);
        }
        for (const std::size_t each : path) ends[each] = 1;
    }
}

void check_record(const CacheConfig& config, std::size_t at) {
    const CacheConfig::Record& record = config.records[at];
    if (!oci::Digest::parse(record.digest)) fail(ErrorKind::invalid_argument, "cache config: records[{}]: digest is none", at);
    const auto check_layer = [&](std::int64_t layer) {
        if (!is_within(layer, config.layers.size()))
            fail(ErrorKind::invalid_argument, "cache config: records[{}]: invalid layer index {}", at, layer);
    };
    for (const CacheConfig::Result& each : record.results) check_layer(each.layer);
    for (const CacheConfig::Chain& chain : record.chains)
        for (const std::int64_t each : chain.layers) check_layer(each);
    for (const auto& input : record.inputs) {
        if (input.empty()) fail(ErrorKind::invalid_argument, "cache config: records[{}]: an input is empty", at);
        for (const CacheConfig::Input& each : input)
            if (!is_within(each.link, config.records.size()))
                fail(ErrorKind::invalid_argument, "cache config: records[{}]: invalid record ID {}", at, each.link);
    }
}

/// Those that depend on nothing are taken away until none is left.
void check_loops(const CacheConfig& config) {
    std::vector<std::size_t> waits(config.records.size(), 0);
    std::vector<std::vector<std::size_t>> users(config.records.size());
    for (std::size_t at = 0; at < config.records.size(); ++at) {
        for (const auto& input : config.records[at].inputs) {
            for (const CacheConfig::Input& each : input) {
                ++waits[at];
                users[static_cast<std::size_t>(each.link)].push_back(at);
            }
        }
    }
    std::vector<std::size_t> free;
    for (std::size_t at = 0; at < waits.size(); ++at)
        if (waits[at] == 0) free.push_back(at);
    std::size_t taken = 0;
    while (!free.empty()) {
        const std::size_t at = free.back();
        free.pop_back();
        ++taken;
        for (const std::size_t user : users[at])
            if (--waits[user] == 0) free.push_back(user);
    }
    if (taken != config.records.size()) fail(ErrorKind::invalid_argument, "cache config: invalid looping record");
}

void check(const CacheConfig& config) {
    check_layers(config);
    for (std::size_t at = 0; at < config.records.size(); ++at) check_record(config, at);
    check_loops(config);
}

}  // namespace

CacheConfig parse_cache_config(std::string_view text) {
    check_text(text);
    CacheConfig out = while_doing("cache config", [&] { return json::parse<CacheConfig>(text); });
    check(out);
    return out;
}

CacheConfig parse_inline_records(std::string_view text, const std::vector<std::string>& layer_blobs) {
    check_text(text);
    // The codec reads objects; this document is a list.
    std::string wrapped = R"({"records":)";
    wrapped += text;
    wrapped += '}';
    CacheConfig out{.layers = {}, .records = while_doing("cache config", [&] { return json::parse<Records>(wrapped).records; })};
    for (const std::string& each : layer_blobs)
        out.layers.push_back({.blob = each, .parent = static_cast<std::int64_t>(out.layers.size()) - 1});
    check(out);
    return out;
}

std::string cache_config_text(const CacheConfig& config) { return json::dump(config, {}); }

std::string inline_records_text(const CacheConfig& config) {
    const std::string all = json::dump(Records{.records = config.records}, {});
    // {"records":[...]}
    constexpr std::string_view front = R"({"records":)";
    return all.substr(front.size(), all.size() - front.size() - 1);
}

}  // namespace grua::build
