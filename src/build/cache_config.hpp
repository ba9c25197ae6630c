// The document of a cache of builds, as BuildKit has it (cacheconfig.v0): results that are known by digests, and the layers that they are
// made of. It comes from elsewhere: what is taken is complete in itself. Pure.
#pragma once

#include "base/codec.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace grua::build {

inline constexpr std::string_view cache_config_type = "application/vnd.buildkit.cacheconfig.v0";
/// Bytes of the document. BuildKit reads at most a MiB.
inline constexpr std::size_t cache_config_limit = std::size_t{4} << 20U;

struct CacheConfig {
    /// A blob on top of another layer.
    struct Layer {
        std::string blob;
        std::int64_t parent = 0;  ///< In `layers`; -1 for none. The first one is not written, as in BuildKit.

        template <typename Self = Layer>
        static json::Fields fields() {
            return json::Fields{json::field("blob", &Self::blob), json::field("parent", &Self::parent).omitted_when_empty()};
        }
    };
    /// Ours: a layer without an entry, which images leave out and their history does not.
    struct Empty {
        std::int64_t at = 0;  ///< Of the chain with these in it.
        std::string created_at;

        template <typename Self = Empty>
        static json::Fields fields() {
            return json::Fields{json::field("at", &Self::at), json::field("createdAt", &Self::created_at).omitted_when_empty()};
        }
    };
    /// A layer with all that is below it.
    struct Result {
        std::int64_t layer = 0;
        std::string created_at;
        std::vector<Empty> empty;

        template <typename Self = Result>
        static json::Fields fields() {
            return json::Fields{json::field("layer", &Self::layer), json::field("createdAt", &Self::created_at).omitted_when_empty(),
                                json::field("empty", &Self::empty).omitted_when_empty()};
        }
    };
    /// The same, the layers one by one, the lowest first.
    struct Chain {
        std::vector<std::int64_t> layers;
        std::string created_at;

        template <typename Self = Chain>
        static json::Fields fields() {
            return json::Fields{json::field("layers", &Self::layers), json::field("createdAt", &Self::created_at).omitted_when_empty()};
        }
    };
    struct Input {
        std::string selector;
        std::int64_t link = 0;  ///< In `records`.

        template <typename Self = Input>
        static json::Fields fields() {
            return json::Fields{json::field("selector", &Self::selector).omitted_when_empty(), json::field("link", &Self::link)};
        }
    };
    struct Record {
        std::vector<Result> results;
        std::vector<Chain> chains;
        std::string digest;
        std::vector<std::vector<Input>> inputs;  ///< Of each input those that it may be.

        template <typename Self = Record>
        static json::Fields fields() {
            return json::Fields{json::field("layers", &Self::results).omitted_when_empty(),
                                json::field("chains", &Self::chains).omitted_when_empty(), json::field("digest", &Self::digest),
                                json::field("inputs", &Self::inputs).omitted_when_empty()};
        }
    };

    std::vector<Layer> layers;
    std::vector<Record> records;

    template <typename Self = CacheConfig>
    static json::Fields fields() {
        return json::Fields{json::field("layers", &Self::layers).omitted_when_empty(),
                            json::field("records", &Self::records).omitted_when_empty()};
    }
};

/// Throws Error(invalid_argument) that says where it is wrong: what it names must be there, and nothing may lead to itself.
CacheConfig parse_cache_config(std::string_view text);

/// The records alone, as an image has them in its configuration: its layers, each on the one before, are those that they speak of.
CacheConfig parse_inline_records(std::string_view text, const std::vector<std::string>& layer_blobs);

std::string cache_config_text(const CacheConfig& config);
std::string inline_records_text(const CacheConfig& config);

}  // namespace grua::build
