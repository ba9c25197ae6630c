#include "build/cache_export.hpp"

#include "base/log.hpp"
#include "build/cache_mount_layers.hpp"
#include "build/layer_times.hpp"
#include "build/memory_file.hpp"
#include "build/pack_options.hpp"
#include "build/step.hpp"
#include "content/hash.hpp"

#include <map>
#include <numeric>

namespace grua::build {
namespace {

/// What is sent, and from where.
struct Outgoing {
    WrittenContents contents;
    std::map<std::string, std::pair<std::shared_ptr<const ImportedTree>, images::CachedLayer>> elsewhere;  ///< By blobs.
    std::vector<CachedMount> mounts;
};

/// One cache.
class CacheSending {
public:
    CacheSending(Workplace& place, BuildPtr build, const CacheExport& wish, const std::vector<MadeImage>& made,
                 const std::vector<CacheCandidate>& candidates)
        : place_(place),
          build_(std::move(build)),
          wish_(wish),
          made_(made),
          candidates_(candidates),
          claims_(new images::BuildClaims(place.images),
                  [&pool = place.pool](images::BuildClaims* gone) { asio::post(pool, [gone] { delete gone; }); }) {}

    asio::awaitable<ExportAnswer> run(Step& step) {
        const auto remote = co_await open();
        step.advanced("preparing build cache for export", 0, 0, false);
        const auto outgoing =
            co_await detail::at_length(place_, [this](const std::stop_token& stop) { return std::make_shared<Outgoing>(prepare(stop)); });
        for (const std::string& id : wish_.mounts)
            if (auto mount = co_await pack_cache_mount(place_, id, wish_.layers, claims_)) outgoing->mounts.push_back(std::move(*mount));
        step.advanced("preparing build cache for export", 0, 0, true);
        if (outgoing->contents.config.records.empty() && outgoing->mounts.empty()) {
            step.advanced("skipping cache export for empty result", 0, 0, true);
            co_return ExportAnswer{};
        }
        std::vector<oci::Descriptor> blobs = outgoing->contents.blobs;
        for (const CachedMount& each : outgoing->mounts) blobs.push_back(descriptor_of(each));
        for (const oci::Descriptor& each : blobs) {
            const std::string told = "writing layer " + each.digest;
            step.advanced(told, 0, each.size, false);
            co_await detail::at_length(place_, [this, remote, outgoing, each](const std::stop_token& stop) {
                return remote->write(each, [&] { return open_blob(*outgoing, oci::Digest::from(each.digest)); }, stop);
            });
            step.advanced(told, each.size, each.size, true);
        }
        const std::string text = cache_config_text(outgoing->contents.config);
        const oci::Descriptor config{
            .media_type = std::string(cache_config_type), .digest = content::digest_of(text).text(), .size = text.size()};
        const CacheRoot root = write_cache_manifest(form(), config, std::move(blobs));
        step.advanced("writing config " + config.digest, 0, 0, false);
        co_await detail::at_length(place_, [remote, config, text](const std::stop_token& stop) {
            return remote->write(config, [&] { return memory_file(text); }, stop);
        });
        step.advanced("writing config " + config.digest, 0, 0, true);
        const std::string told = fmt::format("writing cache {}manifest {}", wish_.image_manifest ? "image " : "", root.descriptor.digest);
        step.advanced(told, 0, 0, false);
        co_await detail::at_length(place_, [remote, root](const std::stop_token& stop) {
            remote->write_root(root.descriptor, root.text, stop);
            return true;
        });
        step.advanced(told, 0, 0, true);
        co_return ExportAnswer{{"cache.manifest", json::dump(root.descriptor, {})}};
    }

private:
    asio::awaitable<std::shared_ptr<CacheRemote>> open() {
        const std::string session = build_->request.session();
        if (const auto* registry = std::get_if<RegistryCache>(&wish_.where)) {
            refuse_insecure(registry->reference, registry->insecure);
            auto credentials = co_await place_.resolver.credentials(registry->reference.domain(), session);
            co_return registry_remote(place_.registry, registry->reference, std::move(credentials));
        }
        const auto& local = std::get<LocalCache>(wish_.where);
        co_return session_remote(place_.loop, co_await place_.sessions.find(session), "local:" + local.folder, {});
    }

    CacheForm form() const {
        if (wish_.image_manifest) return CacheForm::manifest;
        return wish_.oci_types ? CacheForm::index : CacheForm::docker_index;
    }

    Outgoing prepare(const std::stop_token& stop) {
        Outgoing out;
        CacheContents all;
        if (wish_.mode == CacheExport::Mode::max) {
            all = pack_all(stop);
        } else {
            for (const MadeImage& each : made_) {
                if (!each.tree) continue;
                const std::vector<oci::Digest> chain = chain_of(each.tree, stop);
                join(all, contents_of_front(candidates_, chain, pack(each.tree, chain, stop)));
            }
        }
        out.contents = write_contents(all);
        for (const CacheCandidate& candidate : candidates_)
            for (const CacheCandidate::Result& result : candidate.results)
                if (result.imported)
                    for (const CachedLayerPtr& each : result.imported->cached_layers())
                        out.elsewhere.try_emplace(each->blob.digest, result.imported, *each);
        return out;
    }

    std::vector<oci::Digest> chain_of(const TreePtr& tree, const std::stop_token& stop) {
        if (const ImportedTree* imported = tree->imported()) return imported->diff_ids();
        return detail::layers_of(place_, tree, stop);
    }

    std::vector<images::CachedLayer> pack(const TreePtr& tree, const std::vector<oci::Digest>& chain, const std::stop_token& stop) {
        if (const ImportedTree* imported = tree->imported()) {
            std::vector<images::CachedLayer> out;
            for (const CachedLayerPtr& each : imported->cached_layers()) out.push_back(*each);
            return out;
        }
        return cached_layers(place_.images.pack_layers(chain, pack_options(wish_.layers), *claims_, {}, stop),
                             layer_times(place_, tree, chain));
    }

    CacheContents pack_all(const std::stop_token& stop) {
        CacheContents all;
        for (const CacheCandidate& each : candidates_) {
            try {
                CacheContents one;
                for (const CacheCandidate::Result& result : each.results) {
                    const TreePtr tree = result.imported ? std::static_pointer_cast<const Tree>(result.imported)
                                                         : std::make_shared<LayerTree>(result.key, place_.layers, result.layers);
                    CacheContents::Result packed{.key = result.key, .layers = {}};
                    for (images::CachedLayer& layer : pack(tree, result.layers, stop))
                        packed.layers.push_back(std::make_shared<const images::CachedLayer>(std::move(layer)));
                    if (packed.layers.empty()) break;
                    one.results.push_back(std::move(packed));
                }
                if (one.results.size() != each.results.size()) continue;
                std::vector<std::size_t> numbers(one.results.size());
                std::iota(numbers.begin(), numbers.end(), std::size_t{0});
                for (const std::string& key : each.keys) one.names.emplace(key, numbers);
                join(all, std::move(one));
            } catch (const Error& error) {
                // Somebody pruned it meanwhile, or its blob went with its image: others can do without.
                if (error.kind() != ErrorKind::not_found) throw;
                log::info("a result is not exported to a cache: {}", error.what());
            }
        }
        return all;
    }

    static void join(CacheContents& all, CacheContents more) {
        const std::size_t before = all.results.size();
        for (CacheContents::Result& each : more.results) all.results.push_back(std::move(each));
        for (auto& [key, numbers] : more.names) {
            for (std::size_t& each : numbers) each += before;
            all.names.insert_or_assign(key, std::move(numbers));
        }
    }

    Fd open_blob(const Outgoing& outgoing, const oci::Digest& digest) const {
        if (!place_.content.exists(digest)) {
            const auto found = outgoing.elsewhere.find(digest.text());
            if (found != outgoing.elsewhere.end()) found->second.first->bring_blob(found->second.second);
        }
        return place_.content.open(digest);
    }

    Workplace& place_;
    BuildPtr build_;
    const CacheExport& wish_;
    const std::vector<MadeImage>& made_;
    const std::vector<CacheCandidate>& candidates_;
    std::shared_ptr<images::BuildClaims> claims_;
};

std::string step_name(const CacheExport& wish) {
    return std::holds_alternative<RegistryCache>(wish.where) ? "exporting cache to registry" : "exporting cache to client directory";
}

}  // namespace

asio::awaitable<ExportAnswer> export_caches(Workplace& place, BuildPtr build, std::vector<CacheExport> exports, std::vector<MadeImage> made,
                                            std::vector<CacheCandidate> candidates) {
    ExportAnswer out;
    for (const CacheExport& each : exports) {
        if (std::holds_alternative<InlineCache>(each.where)) continue;
        try {
            CacheSending sending(place, build, each, made, candidates);
            out.merge(co_await in_step(build->journal, step_name(each), [&](Step& step) { return sending.run(step); }));
        } catch (const Error& error) {
            if (!each.ignore_error) throw;
            log::info("a build's cache: {}", error.what());
        }
    }
    co_return out;
}

}  // namespace grua::build
