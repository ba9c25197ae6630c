#include "build/run_exports.hpp"

#include "base/encoding.hpp"
#include "base/files.hpp"
#include "base/utf8.hpp"
#include "build/cache_candidates.hpp"
#include "build/cache_manifest.hpp"
#include "build/cache_remote.hpp"
#include "build/export_local.hpp"
#include "build/export_statements.hpp"
#include "build/export_tar.hpp"
#include "build/file_send.hpp"
#include "build/image_config.hpp"
#include "build/imported_tree.hpp"
#include "build/layer_times.hpp"
#include "build/memory_file.hpp"
#include "build/pack_options.hpp"
#include "build/step.hpp"
#include "build/tree_scan.hpp"

#include <fcntl.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <boost/asio/experimental/promise.hpp>
#include <boost/asio/experimental/use_promise.hpp>

namespace grua::build {
namespace {

images::PackOptions pack_options(const ImageForm& form, const SourceDate& date) {
    images::PackOptions out = pack_options(form.layers);
    if (form.rewrite_timestamp) out.rewrite_timestamps = date.seconds;
    return out;
}

std::map<std::string, std::string> annotations_of(const ImageForm& form, Annotation::Where where, const oci::Platform* platform) {
    std::map<std::string, std::string> out;
    for (const Annotation& each : form.annotations)
        if (each.where == where && (!each.platform || !platform || *each.platform == *platform)) out[each.key] = each.value;
    return out;
}

using InlineCandidates = std::shared_ptr<const std::vector<CacheCandidate>>;

/// The images of all platforms, with their layers packed.
class ImageMaking {
public:
    ImageMaking(Workplace& place, Step& step, const ImageForm& form, const SourceDate& date, InlineCandidates inline_cache,
                const Clock& clock)
        : place_(place),
          step_(step),
          form_(form),
          date_(date),
          inline_cache_(std::move(inline_cache)),
          clock_(clock),
          claims_(std::make_shared<images::BuildClaims>(place.images)) {}

    asio::awaitable<images::BuiltImage> run(const std::vector<MadeImage>& made) {
        images::BuiltImage out;
        out.names = form_.names;
        out.oci_types = form_.oci_types.value_or(true);
        out.is_index = made.size() > 1 || !annotations_of(form_, Annotation::Where::index, nullptr).empty();
        out.annotations = annotations_of(form_, Annotation::Where::index, nullptr);
        out.descriptor_annotations = annotations_of(form_, Annotation::Where::index_descriptor, nullptr);
        step_.advanced("exporting layers", 0, 0, false);
        for (const MadeImage& each : made) out.manifests.push_back(co_await pack(each));
        step_.advanced("exporting layers", 0, 0, true);
        co_return out;
    }

    const std::shared_ptr<images::BuildClaims>& claims() const noexcept { return claims_; }

private:
    asio::awaitable<images::BuiltManifest> pack(const MadeImage& made) {
        const auto options = std::make_shared<images::PackOptions>(pack_options(form_, date_));
        const auto tree = made.tree;
        const Time now = clock_.wall();
        struct Packed {
            std::vector<images::PackedLayer> blobs;
            std::vector<BuiltLayer> layers;
            std::optional<CacheConfig> cache;
        };
        if (inline_cache_) step_.advanced("preparing layers for inline cache", 0, 0, false);
        auto packed = co_await detail::at_length(
            place_, [this, options, tree, now, date = date_.seconds, claims = claims_](const std::stop_token& stop) {
                Packed out;
                std::vector<oci::Digest> chain;
                if (const ImportedTree* imported = tree ? tree->imported() : nullptr) {
                    imported->bring_blobs();
                    chain = imported->diff_ids();
                    out.blobs = imported->packed(*claims);
                    if (options->force) {
                        // They may have to be packed otherwise; until then they are known with these blobs.
                        place_.cached_layers.keep(imported->all_layers());
                        out.blobs.clear();
                    }
                } else {
                    chain = detail::layers_of(place_, tree, stop);
                }
                if (out.blobs.empty()) out.blobs = place_.images.pack_layers(chain, *options, *claims, {}, stop);
                const std::vector<Time> times = layer_times(place_, tree, chain);
                for (std::size_t at = 0; at < chain.size(); ++at) {
                    // What comes from the cache is as old as it is: a build of nothing new gives the same image.
                    const Time layer_made = date ? Time{std::chrono::seconds(*date)} : times[at] != Time{} ? times[at] : now;
                    out.layers.push_back({.diff_id = out.blobs[at].diff_id, .is_empty = out.blobs[at].is_empty, .made = layer_made});
                }
                if (inline_cache_) {
                    const auto layers = cached_layers(out.blobs, times);
                    std::vector<oci::Digest> diff_ids;
                    for (const images::CachedLayer& each : layers) diff_ids.push_back(each.diff_id);
                    out.cache = write_inline(contents_of_front(*inline_cache_, chain, layers), diff_ids);
                }
                return out;
            });
        if (inline_cache_) step_.advanced("preparing layers for inline cache", 0, 0, true);
        images::BuiltManifest out;
        out.config = complete_config(made.config, packed.layers, made.platform);
        if (packed.cache && !packed.cache->records.empty()) out.config = with_inline_cache(out.config, *packed.cache);
        out.layers = std::move(packed.blobs);
        out.annotations = annotations_of(form_, Annotation::Where::manifest, &made.platform);
        out.descriptor_annotations = annotations_of(form_, Annotation::Where::manifest_descriptor, &made.platform);
        out.platform = made.platform;
        co_return out;
    }

    Workplace& place_;
    Step& step_;
    const ImageForm& form_;
    const SourceDate& date_;
    const InlineCandidates inline_cache_;
    const Clock& clock_;
    std::shared_ptr<images::BuildClaims> claims_;
};

std::string names_text(const std::vector<oci::Reference>& names) {
    std::string out;
    for (const oci::Reference& each : names) out += (out.empty() ? "" : ",") + each.text();
    return out;
}

void add_digests(ExportAnswer& out, const oci::Descriptor& target, const std::vector<oci::Digest>& configs) {
    out["containerimage.digest"] = target.digest;
    if (configs.size() == 1) out["containerimage.config.digest"] = configs.front().text();
    out["containerimage.descriptor"] = base64_encode(json::dump(target, {}));
}

/// What is said of a build's results, if anything is.
struct Saying {
    std::optional<ProvenanceWish> wish;
    BuildRecord record;
    InlineCandidates inline_cache;
};

/// It ends with this: the image is complete then.
asio::awaitable<void> add_attestations(Workplace& place, std::shared_ptr<images::BuiltImage> image, ImageForm form,
                                       std::vector<MadeImage> made, Saying saying) {
    const bool has_provenance = saying.wish && is_in_image(saying.wish->inline_only, form, made.size());
    std::vector<pb::Definition> definitions;
    for (MadeImage& each : made) definitions.push_back(std::move(each.definition));
    co_await offload(place.pool, [&] {
        for (std::size_t at = 0; at < made.size(); ++at) add_statements(*image, form, at, made[at].statements);
        if (has_provenance) add_provenance(*image, form, *saying.wish, saying.record, definitions);
    });
}

/// Where it is known by its digest: as it was asked for, and where it cannot be pushed by a name that it has not.
std::vector<oci::Reference> repositories_of(const ImageExport& what) {
    std::vector<oci::Reference> out;
    if (what.name_canonical || what.push_by_digest || (what.push && !what.store)) out = what.form.names;
    if (!what.dangling_prefix.empty() && (!what.dangling_only_if_unnamed || what.form.names.empty()))
        out.push_back(oci::Reference::parse(what.dangling_prefix));
    return out;
}

asio::awaitable<void> push_as(Workplace& place, oci::Reference name, ImageExport what, images::BuiltResult stored, std::string session) {
    const oci::Digest digest = oci::Digest::from(stored.id);
    if (what.store && !what.push_by_digest) co_return co_await place.resolver.push(std::move(name), std::move(session));
    co_await place.resolver.push(name.with_digest(digest), session);
    if (what.push_by_digest) co_return;
    // All of it is there; only the tag is not.
    registry::Access access;
    access.credentials = co_await place.resolver.credentials(name.domain(), std::move(session));
    co_await detail::at_length(place, [&place, name, digest, type = stored.target.media_type, access](const std::stop_token& stop) {
        registry::Access own = access;
        own.stop = stop;
        static_cast<void>(place.registry.push_manifest(name, type, place.content.read(digest, oci::manifest_size_limit), own));
        return true;
    });
}

/// It was to go elsewhere alone.
asio::awaitable<void> forget(Workplace& place, const images::BuiltImage& image, const images::BuiltResult& stored) {
    co_await offload(place.pool, [&] {
        const auto used_by = [](const std::string&) { return std::vector<images::ContainerUse>{}; };
        for (const oci::Reference& each : image.repositories)
            static_cast<void>(place.images.remove(each.with_digest(oci::Digest::from(stored.id)).text(), {}, used_by));
    });
}

asio::awaitable<ExportAnswer> export_image(Workplace& place, BuildPtr build, std::vector<MadeImage> made, Export wish, ImageExport what,
                                           Saying saying, const Clock& clock) {
    if (what.push)
        for (const oci::Reference& each : what.form.names) refuse_insecure(each, what.insecure);
    co_return co_await in_step(build->journal, "exporting to image", [&](Step& step) -> asio::awaitable<ExportAnswer> {
        ImageMaking making(place, step, what.form, wish.source_date, saying.inline_cache, clock);
        const auto image = std::make_shared<images::BuiltImage>(co_await making.run(made));
        co_await add_attestations(place, image, what.form, made, saying);
        if (!what.store || what.push_by_digest) image->names.clear();
        image->repositories = repositories_of(what);
        const auto claims = making.claims();
        const auto stored = co_await detail::at_length(
            place, [&place, image, claims](const std::stop_token&) { return place.images.add_built(*image, *claims); });
        place.built.came_in(stored.id, stored.names);
        step.advanced("writing image " + stored.id, 0, 0, true);
        for (const oci::Reference& each : image->names) step.advanced("naming to " + each.text(), 0, 0, true);
        ExportAnswer out;
        add_digests(out, stored.target, stored.configs);
        // What clients take for the image's ID; here that is the digest of what it came with.
        out.erase("containerimage.config.digest");
        if (!what.form.names.empty()) out["image.name"] = names_text(what.form.names);
        if (what.push) {
            for (const oci::Reference& each : what.form.names) {
                step.advanced("pushing layers", 0, 0, false);
                co_await push_as(place, each, what, stored, build->request.session());
                step.advanced("pushing layers", 0, 0, true);
                step.advanced(fmt::format("pushing manifest for {}@{}", each.text(), stored.target.digest), 0, 0, true);
            }
        }
        if (!what.store) co_await forget(place, *image, stored);
        co_return out;
    });
}

/// The files with what is said of them, by its name.
std::map<std::string, std::string> attestations_of(const MadeImage& made, const Saying& saying) {
    std::map<std::string, std::string> out;
    const bool has_provenance = saying.wish && !saying.wish->inline_only;
    if (!has_provenance && made.statements.empty()) return out;
    TreeIndex files;
    if (made.tree) files = scan_tree(Root::at(made.tree->open()), {Selection{}});
    const auto add = [&out](const std::string& name, std::string text) {
        if (!out.emplace(name, std::move(text)).second)
            fail(ErrorKind::conflict, "duplicate attestation path name {}", to_valid_utf8(name));
    };
    for (const GivenStatement& each : made.statements)
        if (!each.inline_only) add(each.filename, statement_file(each, files));
    if (has_provenance)
        add(saying.wish->filename,
            provenance_file(*saying.wish, saying.record, {.platform = made.platform, .definition = made.definition, .layers = {}}, files));
    return out;
}

asio::awaitable<ExportAnswer> export_files(Workplace& place, BuildPtr build, std::vector<MadeImage> made, Export wish, FilesExport what,
                                           Saying saying, const Clock& clock) {
    const bool is_folder = what.kind == FilesExport::Kind::folder;
    co_return co_await in_step(
        build->journal, is_folder ? "exporting to client directory" : "exporting to client tarball",
        [&](Step& step) -> asio::awaitable<ExportAnswer> {
            const SessionPtr client = co_await place.sessions.find(build->request.session());
            FilesExportTask task{.options = what, .exporter = wish.id, .source_date = wish.source_date.seconds, .results = {}};
            for (const MadeImage& each : made) {
                FilesResult result{.platform = each.name, .root = {}, .attestations = {}};
                result.attestations =
                    co_await detail::at_length(place, [each, saying](const std::stop_token&) { return attestations_of(each, saying); });
                if (each.tree) result.root = Root::at(co_await offload(place.pool, [&] { return each.tree->open(); }));
                task.results.push_back(std::move(result));
            }
            const ExportProgress tell = [&step](const std::string& doing, std::int64_t bytes, bool is_done) {
                step.advanced(doing, static_cast<std::uint64_t>(bytes), 0, is_done);
            };
            if (is_folder)
                co_await export_local(client, std::move(task), tell, clock.wall(), place.pool);
            else
                co_await export_tar(client, std::move(task), tell, clock.wall(), place.pool);
            co_return ExportAnswer{};
        });
}

/// Pieces of what another thread writes.
class PipeReader {
public:
    PipeReader() {
        std::array<int, 2> ends{};
        if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail_errno("make a pipe");
        reading_ = Fd{ends[0]};
        writing_ = Fd{ends[1]};
    }

    /// Of the one who writes; SIGPIPE is ignored by the whole program.
    void write(std::string_view bytes) const { write_all(writing_.get(), bytes, "an archive for the client"); }
    void end() { writing_ = {}; }

    std::string next() const {
        std::string out(piece_size, '\0');
        for (;;) {
            const ssize_t count = ::read(reading_.get(), out.data(), out.size());
            if (count < 0 && errno == EINTR) continue;
            if (count < 0) fail_errno("read an archive for the client");
            out.resize(static_cast<std::size_t>(count));
            return out;
        }
    }
    void stop() { reading_ = {}; }

private:
    static constexpr std::size_t piece_size = std::size_t{32} << 10U;
    Fd reading_;
    Fd writing_;
};

/// The client's store of what oci and docker exporters give without a tar.
constexpr std::string_view blob_store = "export";

/// What is named before what names it. `claims`: of the layers' blobs.
asio::awaitable<void> send_blobs(Workplace& place, std::shared_ptr<CacheRemote> remote, images::BuiltDocuments documents,
                                 std::shared_ptr<images::BuildClaims> claims, Step& step) {
    const auto send = [&](const oci::Descriptor& blob, std::function<Fd()> open) -> asio::awaitable<void> {
        const std::string told = "copying " + blob.digest;
        step.advanced(told, 0, blob.size, false);
        co_await detail::at_length(
            place, [remote, blob, open = std::move(open), claims](const std::stop_token& stop) { return remote->write(blob, open, stop); });
        step.advanced(told, blob.size, blob.size, true);
    };
    for (const oci::Descriptor& each : documents.blobs)
        co_await send(each, [&place, each] { return place.content.open(oci::Digest::from(each.digest)); });
    for (const images::BuiltDocument& each : documents.documents) co_await send(each.descriptor, [each] { return memory_file(each.text); });
}

asio::awaitable<ExportAnswer> export_archive(Workplace& place, BuildPtr build, std::vector<MadeImage> made, Export wish, ArchiveExport what,
                                             Saying saying, const Clock& clock) {
    const bool is_docker = what.layout == ArchiveExport::Layout::docker;
    co_return co_await in_step(
        build->journal, fmt::format("exporting to {} image format", is_docker ? "docker" : "oci"),
        [&](Step& step) -> asio::awaitable<ExportAnswer> {
            const SessionPtr client = co_await place.sessions.find(build->request.session());
            ImageMaking making(place, step, what.form, wish.source_date, saying.inline_cache, clock);
            const auto image = std::make_shared<images::BuiltImage>(co_await making.run(made));
            co_await add_attestations(place, image, what.form, made, saying);
            const images::BuiltDocuments documents = images::documents_of(*image);
            ExportAnswer out;
            add_digests(out, documents.target, documents.configs);
            if (!what.form.names.empty()) out["image.name"] = names_text(what.form.names);
            if (!what.tar) {
                co_await send_blobs(place, session_remote(place.loop, client, std::string(blob_store), {}), documents, making.claims(),
                                    step);
                co_return out;
            }
            const auto pipe = std::make_shared<PipeReader>();
            const auto form = is_docker ? images::ArchiveForm::docker : images::ArchiveForm::oci;
            // Both are waited for, whoever fails first.
            auto writing = asio::co_spawn(
                place.loop,
                place.transfers.call(place.loop,
                                     [&place, image, claims = making.claims(), pipe, form](const std::stop_token&) {
                                         struct End {
                                             PipeReader& pipe;
                                             ~End() { pipe.end(); }
                                         } const end{*pipe};
                                         place.images.save_built(*image, form, [&](std::string_view bytes) { pipe->write(bytes); });
                                         return true;
                                     }),
                asio::experimental::use_promise);
            ExportStep telling([&step](const std::string& doing, std::int64_t bytes,
                                       bool is_done) { step.advanced(doing, static_cast<std::uint64_t>(bytes), 0, is_done); },
                               "sending tarball");
            std::exception_ptr failure;
            try {
                co_await send_bytes(*client, file_send_options(wish.id, out), [pipe] { return pipe->next(); }, telling, place.pool);
            } catch (...) {
                failure = std::current_exception();
                pipe->stop();
            }
            std::exception_ptr unwritten;
            try {
                co_await std::move(writing)(asio::use_awaitable);
            } catch (...) {
                unwritten = std::current_exception();
            }
            // Who stops reading is why nothing more could be written.
            if (failure) std::rethrow_exception(failure);
            if (unwritten) std::rethrow_exception(unwritten);
            co_return out;
        });
}

asio::awaitable<ExportAnswer> run_export(Workplace& place, BuildPtr build, std::vector<MadeImage> made, Export wish, Saying saying,
                                         const Clock& clock) {
    if (const auto* image = std::get_if<ImageExport>(&wish.what))
        co_return co_await export_image(place, std::move(build), std::move(made), wish, *image, std::move(saying), clock);
    if (const auto* archive = std::get_if<ArchiveExport>(&wish.what))
        co_return co_await export_archive(place, std::move(build), std::move(made), wish, *archive, std::move(saying), clock);
    co_return co_await export_files(place, std::move(build), std::move(made), wish, std::get<FilesExport>(wish.what), std::move(saying),
                                    clock);
}

}  // namespace

asio::awaitable<ExportAnswer> run_exports(Workplace& place, BuildPtr build, std::vector<MadeImage> made, std::vector<Export> exports,
                                          ExportExtras extras, const Clock& clock) {
    ExportAnswer out;
    Saying saying{.wish = std::move(extras.provenance), .record = build->record, .inline_cache = std::move(extras.inline_cache)};
    saying.record.finished = clock.wall();
    for (Export& each : exports) out.merge(co_await run_export(place, build, made, std::move(each), saying, clock));
    co_return out;
}

}  // namespace grua::build
