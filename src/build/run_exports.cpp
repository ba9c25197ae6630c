#include "build/run_exports.hpp"

#include "base/encoding.hpp"
#include "base/files.hpp"
#include "build/export_local.hpp"
#include "build/export_provenance.hpp"
#include "build/export_tar.hpp"
#include "build/file_send.hpp"
#include "build/image_config.hpp"
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
    images::PackOptions out;
    switch (form.layers.compression) {
        case LayerCompression::uncompressed:
            out.compression.kind = images::Compression::uncompressed;
            break;
        case LayerCompression::gzip:
            out.compression.kind = images::Compression::gzip;
            break;
        case LayerCompression::zstd:
            out.compression.kind = images::Compression::zstd;
            break;
    }
    out.compression.level = form.layers.level;
    out.force = form.layers.is_forced;
    if (form.rewrite_timestamp) out.rewrite_timestamps = date.seconds;
    return out;
}

std::map<std::string, std::string> annotations_of(const ImageForm& form, Annotation::Where where, const oci::Platform* platform) {
    std::map<std::string, std::string> out;
    for (const Annotation& each : form.annotations)
        if (each.where == where && (!each.platform || !platform || *each.platform == *platform)) out[each.key] = each.value;
    return out;
}

/// The images of all platforms, with their layers packed.
class ImageMaking {
public:
    ImageMaking(Workplace& place, Step& step, const ImageForm& form, const SourceDate& date, const Clock& clock)
        : place_(place),
          step_(step),
          form_(form),
          date_(date),
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
        };
        auto packed = co_await detail::at_length(
            place_, [this, options, tree, now, date = date_.seconds, claims = claims_](const std::stop_token& stop) {
                Packed out;
                out.blobs = place_.images.pack_layers(detail::layers_of(place_, tree, stop), *options, *claims, {}, stop);
                for (const images::PackedLayer& each : out.blobs) {
                    // What comes from the cache is as old as it is: a build of nothing new gives the same image.
                    const auto step = place_.layers.find_step(each.layer);
                    const Time made = date ? Time{std::chrono::seconds(*date)} : step && step->made != Time{} ? step->made : now;
                    out.layers.push_back({.diff_id = each.diff_id, .is_empty = each.is_empty, .made = made});
                }
                return out;
            });
        images::BuiltManifest out;
        out.config = complete_config(made.config, packed.layers, made.platform);
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
};

/// It ends with this: the image is complete then.
asio::awaitable<void> add_attestations(Workplace& place, std::shared_ptr<images::BuiltImage> image, ImageForm form,
                                       std::vector<MadeImage> made, Saying saying) {
    if (!saying.wish || !has_provenance(*saying.wish, form, made.size())) co_return;
    std::vector<pb::Definition> definitions;
    for (MadeImage& each : made) definitions.push_back(std::move(each.definition));
    co_await offload(place.pool, [&] { add_provenance(*image, form, *saying.wish, saying.record, definitions); });
}

asio::awaitable<ExportAnswer> export_image(Workplace& place, BuildPtr build, std::vector<MadeImage> made, Export wish, ImageExport what,
                                           Saying saying, const Clock& clock) {
    if (what.push_by_digest) fail(ErrorKind::not_implemented, "not implemented: exporter {:?}: push-by-digest", wish.type);
    co_return co_await in_step(build->journal, "exporting to image", [&](Step& step) -> asio::awaitable<ExportAnswer> {
        ImageMaking making(place, step, what.form, wish.source_date, clock);
        const auto image = std::make_shared<images::BuiltImage>(co_await making.run(made));
        co_await add_attestations(place, image, what.form, made, saying);
        if (!what.store) image->names.clear();
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
                co_await place.resolver.push(each, build->request.session());
                step.advanced("pushing layers", 0, 0, true);
                step.advanced(fmt::format("pushing manifest for {}@{}", each.text(), stored.target.digest), 0, 0, true);
            }
        }
        co_return out;
    });
}

/// The files with what is said of them, by its name.
std::map<std::string, std::string> attestations_of(const MadeImage& made, const Saying& saying) {
    if (!saying.wish || !has_provenance_file(*saying.wish)) return {};
    TreeIndex files;
    if (made.tree) files = scan_tree(Root::at(made.tree->open()), {Selection{}});
    return {{saying.wish->filename, provenance_file(*saying.wish, saying.record,
                                                    {.platform = made.platform, .definition = made.definition, .layers = {}}, files)}};
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

asio::awaitable<ExportAnswer> export_archive(Workplace& place, BuildPtr build, std::vector<MadeImage> made, Export wish, ArchiveExport what,
                                             Saying saying, const Clock& clock) {
    if (!what.tar) fail(ErrorKind::not_implemented, "not implemented: exporter {:?}: tar=false", wish.type);
    const bool is_docker = what.layout == ArchiveExport::Layout::docker;
    co_return co_await in_step(
        build->journal, fmt::format("exporting to {} image format", is_docker ? "docker" : "oci"),
        [&](Step& step) -> asio::awaitable<ExportAnswer> {
            const SessionPtr client = co_await place.sessions.find(build->request.session());
            ImageMaking making(place, step, what.form, wish.source_date, clock);
            const auto image = std::make_shared<images::BuiltImage>(co_await making.run(made));
            co_await add_attestations(place, image, what.form, made, saying);
            const images::BuiltDocuments documents = images::documents_of(*image);
            ExportAnswer out;
            add_digests(out, documents.target, documents.configs);
            if (!what.form.names.empty()) out["image.name"] = names_text(what.form.names);
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
                                          std::optional<ProvenanceWish> provenance, const Clock& clock) {
    ExportAnswer out;
    Saying saying{.wish = std::move(provenance), .record = build->record};
    saying.record.finished = clock.wall();
    for (Export& each : exports) out.merge(co_await run_export(place, build, made, std::move(each), saying, clock));
    co_return out;
}

}  // namespace grua::build
