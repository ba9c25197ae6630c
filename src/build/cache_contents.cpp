#include "build/cache_contents.hpp"

#include "base/text.hpp"
#include "images/make.hpp"
#include "oci/image_config.hpp"

#include <algorithm>
#include <optional>
#include <set>
#include <span>
#include <utility>

namespace grua::build {
namespace {

constexpr std::string_view result_selector = "grua.result";
constexpr std::string_view diff_id_annotation = "containerd.io/uncompressed";
constexpr std::string_view made_annotation = "buildkit/createdat";

std::string annotation(const oci::Descriptor& descriptor, std::string_view name) {
    const auto found = descriptor.annotations.find(std::string(name));
    return found == descriptor.annotations.end() ? std::string() : found->second;
}

/// Nothing has to come for it, so it has no blob.
CachedLayerPtr empty_layer(Time made) {
    return std::make_shared<const images::CachedLayer>(images::CachedLayer{.blob = {}, .diff_id = images::empty_layer_id(), .made = made});
}

bool is_empty(const CachedLayerPtr& layer) { return layer->diff_id == images::empty_layer_id(); }

std::string time_text(Time time) { return time == Time{} ? std::string() : format_time(time); }

/// Of one document.
class Reading {
public:
    Reading(const CacheConfig& config, const BlobsByDigest& blobs) : config_(config) {
        for (const CacheConfig::Layer& each : config.layers) {
            const auto found = blobs.find(each.blob);
            layers_.push_back(found == blobs.end() ? nullptr : layer_of(found->second));
        }
    }

    CacheContents run() {
        std::map<std::int64_t, std::size_t> results;
        for (std::size_t at = 0; at < config_.records.size(); ++at) {
            const CacheConfig::Record& record = config_.records[at];
            if (!record.inputs.empty()) continue;
            auto chain = chain_of(record);
            if (!chain) continue;
            results.emplace(at, out_.results.size());
            out_.names.try_emplace(record.digest, std::vector{out_.results.size()});
            out_.results.push_back({.key = record.digest, .layers = *std::move(chain)});
        }
        for (const CacheConfig::Record& record : config_.records) {
            std::vector<std::size_t> all;
            for (const auto& input : record.inputs) {
                const auto found = input.front().selector == result_selector ? results.find(input.front().link) : results.end();
                if (found != results.end()) all.push_back(found->second);
            }
            if (!all.empty() && all.size() == record.inputs.size()) out_.names.insert_or_assign(record.digest, std::move(all));
        }
        return std::move(out_);
    }

private:
    using Chain = std::vector<CachedLayerPtr>;

    /// The first that is whole.
    std::optional<Chain> chain_of(const CacheConfig::Record& record) {
        for (const CacheConfig::Result& result : record.results) {
            std::vector<std::int64_t> numbers;
            for (std::int64_t at = result.layer; at != -1 && numbers.size() <= oci::layer_count_limit;
                 at = config_.layers[static_cast<std::size_t>(at)].parent)
                numbers.push_back(at);
            std::ranges::reverse(numbers);
            if (auto out = layers_of(numbers, result.empty)) return out;
        }
        for (const CacheConfig::Chain& chain : record.chains)
            if (auto out = layers_of(chain.layers, {})) return out;
        return std::nullopt;
    }

    std::optional<Chain> layers_of(const std::vector<std::int64_t>& numbers, const std::vector<CacheConfig::Empty>& empty) {
        if (numbers.empty() || numbers.size() + empty.size() > oci::layer_count_limit) return std::nullopt;
        Chain out;
        for (const std::int64_t each : numbers) {
            const CachedLayerPtr& layer = layers_[static_cast<std::size_t>(each)];
            if (!layer) return std::nullopt;
            out.push_back(layer);
        }
        for (const CacheConfig::Empty& each : empty) {
            if (each.at < 0 || each.at > static_cast<std::int64_t>(out.size())) return std::nullopt;
            out.insert(out.begin() + each.at, empty_layer(parse_time(each.created_at).value_or(Time{})));
        }
        count_ += out.size();
        if (count_ > cached_layers_limit)
            fail(ErrorKind::invalid_argument, "cache config: its results have more than {} layers", cached_layers_limit);
        return out;
    }

    const CacheConfig& config_;
    std::vector<CachedLayerPtr> layers_;
    CacheContents out_;
    std::size_t count_ = 0;
};

/// Results by their keys, so that their order does not count; the first of several with the same key.
std::map<std::string_view, std::size_t> by_key(const CacheContents& contents) {
    std::map<std::string_view, std::size_t> out;
    for (std::size_t at = 0; at < contents.results.size(); ++at) out.try_emplace(contents.results[at].key, at);
    return out;
}

/// `numbers`: of the records of results, by their keys.
void add_names(CacheConfig& config, const CacheContents& contents, const std::map<std::string_view, std::int64_t>& numbers) {
    for (const auto& [key, results] : contents.names) {
        if (results.size() == 1 && contents.results[results.front()].key == key) continue;
        CacheConfig::Record record{.results = {}, .chains = {}, .digest = key, .inputs = {}};
        for (const std::size_t each : results) {
            const auto found = numbers.find(contents.results[each].key);
            if (found == numbers.end()) break;
            record.inputs.push_back({{.selector = std::string(result_selector), .link = found->second}});
        }
        if (record.inputs.size() == results.size()) config.records.push_back(std::move(record));
    }
}

/// `add` is told of each layer that has an entry, and gives its number.
template <typename Add>
CacheConfig::Result result_of(const CacheContents::Result& result, Add add) {
    CacheConfig::Result out{.layer = -1, .created_at = time_text(result.layers.back()->made), .empty = {}};
    for (std::size_t at = 0; at < result.layers.size(); ++at) {
        if (is_empty(result.layers[at]))
            out.empty.push_back({.at = static_cast<std::int64_t>(at), .created_at = time_text(result.layers[at]->made)});
        else
            out.layer = add(*result.layers[at], out.layer);
    }
    return out;
}

void add_result(CacheConfig& config, std::map<std::string_view, std::int64_t>& numbers, std::string_view key, CacheConfig::Result result) {
    // One without any entry has no layer that could be named.
    if (result.layer < 0) return;
    numbers.emplace(key, static_cast<std::int64_t>(config.records.size()));
    config.records.push_back({.results = {std::move(result)}, .chains = {}, .digest = std::string(key), .inputs = {}});
}

}  // namespace

oci::Descriptor descriptor_of(const images::CachedLayer& layer) {
    oci::Descriptor out = layer.blob;
    out.annotations.insert_or_assign(std::string(diff_id_annotation), layer.diff_id.text());
    if (layer.made != Time{}) out.annotations.insert_or_assign(std::string(made_annotation), format_time(layer.made));
    return out;
}

CachedLayerPtr layer_of(const oci::Descriptor& descriptor) {
    const auto diff_id = oci::Digest::parse(annotation(descriptor, diff_id_annotation));
    const auto compression = images::compression_of(descriptor.media_type);
    if (!diff_id || !compression) return nullptr;
    auto out = std::make_shared<images::CachedLayer>(images::CachedLayer{.blob = {}, .diff_id = *diff_id});
    out->blob = {.media_type = images::layer_type(*compression, true), .digest = descriptor.digest, .size = descriptor.size};
    // Those of a base image are its layer's own.
    out->blob.annotations = descriptor.annotations;
    out->made = parse_time(annotation(descriptor, made_annotation)).value_or(Time{});
    return out;
}

CacheContents read_contents(const CacheConfig& config, const BlobsByDigest& blobs) { return Reading(config, blobs).run(); }

WrittenContents write_contents(const CacheContents& contents) {
    WrittenContents out;
    std::map<std::pair<std::string, std::int64_t>, std::int64_t> layers;  // by blob and parent
    std::map<std::string_view, std::int64_t> numbers;
    std::set<std::string> blobs;
    const auto add = [&](const images::CachedLayer& layer, std::int64_t below) {
        const auto [found, is_new] = layers.try_emplace({layer.blob.digest, below}, static_cast<std::int64_t>(out.config.layers.size()));
        if (is_new) out.config.layers.push_back({.blob = layer.blob.digest, .parent = below});
        if (blobs.insert(layer.blob.digest).second) out.blobs.push_back(descriptor_of(layer));
        return found->second;
    };
    for (const auto& [key, at] : by_key(contents)) add_result(out.config, numbers, key, result_of(contents.results[at], add));
    add_names(out.config, contents, numbers);
    return out;
}

CacheConfig write_inline(const CacheContents& contents, const std::vector<oci::Digest>& layers) {
    CacheConfig out;
    std::map<std::string_view, std::int64_t> numbers;
    const auto is_front = [&](const std::vector<CachedLayerPtr>& of) {
        const auto own = [](const CachedLayerPtr& each) -> const oci::Digest& { return each->diff_id; };
        return of.size() <= layers.size() && std::ranges::equal(of, std::span(layers).first(of.size()), {}, own);
    };
    const auto add = [](const images::CachedLayer&, std::int64_t below) { return below + 1; };
    for (const auto& [key, at] : by_key(contents))
        if (is_front(contents.results[at].layers)) add_result(out, numbers, key, result_of(contents.results[at], add));
    add_names(out, contents, numbers);
    return out;
}

}  // namespace grua::build
