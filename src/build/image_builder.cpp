#include "build/image_builder.hpp"

#include "base/template.hpp"
#include "base/test_points.hpp"
#include "base/utf8.hpp"
#include "build/attestations.hpp"
#include "build/cache_export.hpp"
#include "build/cache_requests.hpp"
#include "build/dockerfile/source.hpp"
#include "build/failure.hpp"
#include "build/gateway.hpp"
#include "build/run_exports.hpp"
#include "build/sbom.hpp"
#include "build/statements.hpp"
#include "build/step.hpp"
#include "build/with_graph.hpp"

#include <thread>

namespace grua::build {
namespace {

/// So many programs and copies of all builds run side by side.
std::size_t places() { return std::max(2U, std::thread::hardware_concurrency()) * 2; }

bool has_inline(const CacheRequest& caches) {
    return std::ranges::any_of(caches.exports, [](const CacheExport& each) { return std::holds_alternative<InlineCache>(each.where); });
}

/// As it was asked for before there was `--cache-to type=inline`.
bool wants_inline_cache(const wire::control::SolveRequest& request) {
    const auto said = request.frontendattrs().find("build-arg:BUILDKIT_INLINE_CACHE");
    return said != request.frontendattrs().end() && dockerfile::parse_truth(said->second) == dockerfile::Truth::yes;
}

/// This machine's where it says none.
oci::Platform platform_of_config(const std::string& document) {
    if (document.empty()) return oci::Platform::host();
    const oci::ImageConfig config = oci::parse_image_config(document);
    if (config.os.empty() || config.architecture.empty()) return oci::Platform::host();
    return {config.architecture, config.os, config.variant, config.os_version};
}

}  // namespace

ImageBuilder::ImageBuilder(Operations& operations, CacheStore& cache, const Clock& clock, wire::worker::WorkerRecord worker)
    : operations_(operations),
      cache_(cache),
      clock_(clock),
      worker_(std::move(worker)),
      solver_(operations.place().loop, operations, cache, places()) {
    operations.set_solve([this](Wish wish) { return solver_.solve(std::move(wish)); });
}

asio::awaitable<wire::bridge::Result> ImageBuilder::solve(Caller caller, wire::bridge::SolveRequest request) {
    const BuildPtr build = caller.build;
    wire::bridge::Result out;
    if (request.frontend().empty()) {
        // As a whole before anything is asked for.
        (void)co_await with_graph(operations_.place().pool, request.definition(), [](Edge all) { return all; });
        if (request.has_definition()) *out.mutable_ref()->mutable_def() = request.definition();
    } else {
        FrontEndOptions options{request.frontendopt().begin(), request.frontendopt().end()};
        // A client's own; what others ask for on the way is a part of that.
        if (caller.front == build->front) {
            build->record.front_end = request.frontend();
            build->record.options = options;
        }
        out = co_await run_front_end(caller, request.frontend(), std::move(options),
                                     {request.frontendinputs().begin(), request.frontendinputs().end()});
        co_await tell_wanted(build, out);
    }
    if (request.evaluate()) {
        std::vector<pb::Definition> all;
        each_ref(out, [&](const wire::bridge::Ref& ref) { all.push_back(ref.def()); });
        for (pb::Definition& each : all) (void)co_await make(build, std::move(each));
    }
    co_return out;
}

/// Before the client knows the graph, which it may give to other builds of its own.
asio::awaitable<void> ImageBuilder::tell_wanted(BuildPtr build, const wire::bridge::Result& result) {
    std::vector<const pb::Definition*> graphs;
    each_ref(result, [&](const wire::bridge::Ref& ref) {
        if (ref.has_def()) graphs.push_back(&ref.def());
    });
    std::vector<std::string> vertices;
    for (const pb::Definition* graph : graphs)
        co_await with_graph(operations_.place().pool, *graph, [&](const Edge& edge) {
            for (const VertexPtr& each : in_order(edge)) vertices.push_back(each->digest);
        });
    build->wanted.push_back(operations_.place().wanted.add(build->request.session(), vertices));
}

asio::awaitable<wire::bridge::Result> ImageBuilder::run_front_end(Caller caller, const std::string& name, FrontEndOptions options,
                                                                  FrontEndInputs inputs) {
    if (name == "dockerfile.v0") return run_own(std::move(caller), std::move(options), std::move(inputs));
    if (name != "gateway.v0") fail(ErrorKind::not_found, "frontend {} not found", name);
    const auto source = options.find("source");
    GatewayRequest request{.source = source == options.end() ? std::string() : source->second, .options = {}, .inputs = std::move(inputs)};
    // By its name it is ours: the file is not asked for another one.
    if (is_dockerfile_front_end(request.source)) {
        options.try_emplace("cmdline", request.source);
        return run_own(std::move(caller), std::move(options), std::move(request.inputs));
    }
    request.options = std::move(options);
    return run_gateway(std::move(request), std::move(caller), *this, operations_, clock_);
}

asio::awaitable<wire::bridge::Result> ImageBuilder::run_own(Caller caller, FrontEndOptions options, FrontEndInputs inputs) {
    const BuildPtr build = caller.build;
    const MakeTree make_tree = [this, build](pb::Definition definition) -> asio::awaitable<TreePtr> {
        const Edge edge = co_await with_graph(operations_.place().pool, definition, [](Edge all) { return all; });
        const ResultPtr made = co_await make(build, std::move(definition));
        build->record.seen.merge(materials_of(edge, build->record.pins));
        co_return as_tree(made);
    };
    const Forward forward = [this, caller, inputs](FrontEndOptions asked) {
        return run_front_end(caller, "gateway.v0", std::move(asked), inputs);
    };
    co_return co_await build::run_front_end(operations_.place(), build, std::move(options), inputs, make_tree, forward);
}

asio::awaitable<std::shared_ptr<ImportedCache>> ImageBuilder::imported_by(BuildPtr build) {
    Build::Imported& imported = build->imported;
    if (!std::exchange(imported.is_begun, true)) {
        struct Found {
            Build& build;
            ~Found() {
                build.imported.is_there = true;
                build.changed.notify_all();
            }
        } const found{*build};
        imported.cache = co_await import_caches(operations_.place(), build);
    }
    while (!imported.is_there) co_await build->changed.wait();
    co_return imported.cache;
}

asio::awaitable<ResultPtr> ImageBuilder::make(BuildPtr build, pb::Definition definition) {
    const std::vector<std::string> granted{build->request.entitlements().begin(), build->request.entitlements().end()};
    const Edge edge = co_await with_graph(operations_.place().pool, definition, [&](Edge all) {
        check_entitlements(all, granted);
        return all;
    });
    const auto imported = co_await imported_by(build);
    for (;;) {
        const std::size_t lost = imported ? imported->lost() : 0;
        try {
            co_return co_await solver_.solve({.edge = edge,
                                              .session = build->request.session(),
                                              .audience = &build->journal,
                                              .pins = &build->record.pins,
                                              .made = &build->made,
                                              .granted = granted,
                                              .imports = imported,
                                              .keys = &build->keys});
        } catch (const VertexError& error) {
            // What a cache elsewhere promised and has not is made after all.
            if (!imported || imported->lost() == lost) {
                build->failed = error.vertex();
                build->exit_code = error.exit_code();
                throw failure_of(error.what(), definition, error.vertex()->digest);
            }
        }
    }
}

/// What a cache elsewhere has of it, and exporters need, is here then.
asio::awaitable<TreePtr> ImageBuilder::make_for_export(BuildPtr build, pb::Definition definition, ExportNeeds needs) {
    for (;;) {
        TreePtr tree = as_tree(co_await make(build, definition));
        const ImportedTree* imported = tree ? tree->imported() : nullptr;
        if (!imported) co_return tree;
        const std::size_t lost = build->imported.cache->lost();
        const std::exception_ptr failure =
            co_await detail::at_length(operations_.place(), [tree, imported, needs](const std::stop_token&) -> std::exception_ptr {
                try {
                    if (needs.files) static_cast<void>(imported->open());
                    if (needs.blobs) imported->bring_blobs();
                } catch (const Error&) {
                    return std::current_exception();
                }
                return nullptr;
            });
        if (!failure) co_return tree;
        if (build->imported.cache->lost() == lost) std::rethrow_exception(failure);
    }
}

asio::awaitable<std::map<std::string, std::string>> ImageBuilder::finish(BuildPtr build, wire::bridge::Result result) {
    std::exception_ptr failure;
    std::map<std::string, std::string> out;
    try {
        out = co_await make_and_export(build, std::move(result));
    } catch (...) {
        failure = std::current_exception();
    }
    // What has come is worth keeping, whatever became of the build; also of one whose client has left.
    co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
    if (build->imported.cache) co_await build->imported.cache->keep_in(cache_, operations_.place().pool);
    co_await cache_.flush();
    if (failure) std::rethrow_exception(failure);
    co_await operations_.place().cache_mounts.settle();
    co_return out;
}

asio::awaitable<std::map<std::string, std::string>> ImageBuilder::make_and_export(BuildPtr build, wire::bridge::Result result) {
    // What is wrong with it is said before anything is run.
    std::vector<Export> exports = parse_exports(build->request);
    const AttestationWishes wishes = parse_attestations({build->request.frontendattrs().begin(), build->request.frontendattrs().end()});
    build->project = co_await project_of(build);
    CacheRequest caches = parse_caches(build->request.cache());
    if (wants_inline_cache(build->request) && !has_inline(caches)) caches.exports.push_back({.type = "inline", .where = InlineCache{}});
    ExportNeeds needs;
    for (const Export& each : exports) (std::holds_alternative<FilesExport>(each.what) ? needs.files : needs.blobs) = true;
    std::vector<MadeImage> made;
    const auto config_of = [&](const std::string& name) {
        const auto found = result.metadata().find(name);
        return found == result.metadata().end() ? std::string() : found->second;
    };
    if (result.has_refs()) {
        for (const auto& [name, ref] : result.refs().refs())
            made.push_back({.platform = oci::Platform::parse(name),
                            .name = name,
                            .tree = co_await make_for_export(build, ref.def(), needs),
                            .config = config_of("containerimage.config/" + name),
                            .definition = ref.def()});
        for (const MadeImage& each : made) build->record.platforms.push_back(each.platform);
    } else {
        made.push_back(
            {.platform = {}, .name = {}, .tree = {}, .config = config_of("containerimage.config"), .definition = result.ref().def()});
        made.front().platform = platform_of_config(made.front().config);
        if (result.has_ref() && result.ref().has_def()) made.front().tree = co_await make_for_export(build, result.ref().def(), needs);
    }
    if (wishes.sbom && !has_sbom(result)) {
        std::vector<ScanTarget> targets;
        for (const MadeImage& each : made) targets.push_back({.platform = each.platform, .core = each.definition});
        const auto mode = build->request.frontendattrs().find("image-resolve-mode");
        co_await add_sboms(operations_.place(), build, *wishes.sbom, mode == build->request.frontendattrs().end() ? "" : mode->second,
                           std::move(targets), result);
    }
    co_await read_attestations(build, result, made);
    if (!build->request.internal() && (result.has_ref() || result.has_refs())) co_await tell_provenance(build, made, wishes.provenance);
    std::vector<CacheCandidate> candidates;
    if (!caches.exports.empty()) candidates = co_await find_candidates(operations_.place().pool, build, made, cache_);
    ExportExtras extras{.provenance = wishes.provenance, .inline_cache = {}};
    if (has_inline(caches)) extras.inline_cache = std::make_shared<const std::vector<CacheCandidate>>(candidates);
    auto out = co_await run_exports(operations_.place(), build, made, std::move(exports), std::move(extras), clock_);
    out.merge(co_await export_caches(operations_.place(), build, std::move(caches.exports), std::move(made), std::move(candidates)));
    co_return out;
}

asio::awaitable<void> ImageBuilder::read_attestations(BuildPtr build, const wire::bridge::Result& result, std::vector<MadeImage>& made) {
    for (const auto& [platform, list] : result.attestations()) {
        std::size_t room = statement_bytes_limit;
        const auto of = std::ranges::find_if(
            made, [&](const MadeImage& each) { return each.name.empty() ? each.platform.text() == platform : each.name == platform; });
        if (of == made.end()) fail(ErrorKind::invalid_argument, "attestations: the result has no platform {}", to_valid_utf8(platform));
        for (const wire::bridge::Attestation& each : list.attestation()) {
            if (each.ref().def().def().empty()) fail(ErrorKind::invalid_argument, "attestation: no ref is provided");
            const TreePtr tree = co_await make_for_export(build, each.ref().def(), {.blobs = false, .files = true});
            if (!tree) fail(ErrorKind::not_found, "attestation: nothing is in its ref");
            auto said = co_await detail::at_length(
                operations_.place(), [&, tree](const std::stop_token&) { return read_statements(each, Root::at(tree->open()), room); });
            std::ranges::move(said, std::back_inserter(of->statements));
            if (of->statements.size() > statement_count_limit)
                fail(ErrorKind::invalid_argument, "attestations: more than {} of one platform", statement_count_limit);
        }
    }
}

asio::awaitable<std::string> ImageBuilder::project_of(BuildPtr build) const {
    std::string folder;
    try {
        folder = (co_await operations_.place().sessions.find(build->request.session()))->head().shared_key;
    } catch (const Error&) {
        // Its folder came with the request, or it has none.
    }
    co_return build::project_of(build->request, folder);
}

/// For the history, which is of this engine alone: all of it, whatever was asked for.
asio::awaitable<void> ImageBuilder::tell_provenance(BuildPtr build, std::vector<MadeImage> made, std::optional<ProvenanceWish> asked) {
    ProvenanceWish wish;
    if (asked) wish.builder_id = asked->builder_id;
    if (const auto newer = build->record.options.find("build-arg:BUILDKIT_HISTORY_PROVENANCE_V1");
        newer != build->record.options.end() && dockerfile::parse_truth(newer->second) == dockerfile::Truth::yes)
        wish.form = ProvenanceWish::Form::slsa_1;
    BuildRecord record = build->record;
    record.finished = clock_.wall();
    std::vector<BuildOutcome::Attestation> out = co_await offload(operations_.place().pool, [&] {
        std::vector<BuildOutcome::Attestation> all;
        for (const MadeImage& each : made)
            all.push_back(
                {.platform = each.name,
                 .predicate_type = std::string(predicate_type(wish.form)),
                 .predicate = templates::pretty_json(
                     provenance_predicate(wish, record, {.platform = each.platform, .definition = each.definition, .layers = {}}), "  ")});
        return all;
    });
    build->provenance = std::move(out);
}

}  // namespace grua::build
