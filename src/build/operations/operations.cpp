#include "build/operations/operations.hpp"

#include "base/files.hpp"
#include "base/id.hpp"
#include "build/file_ops.hpp"
#include "build/operations/tree_difference.hpp"
#include "build/selection.hpp"
#include "build/tree_path.hpp"

#include <boost/asio/cancellation_signal.hpp>

namespace grua::build {
namespace {

/// Ends a coroutine where nobody wants what it does any more. The stop is asked for on the loop.
class EndsWith {
public:
    EndsWith(const asio::any_io_executor& loop, const std::stop_token& stop)
        : signal_(std::make_shared<asio::cancellation_signal>()),
          callback_(stop, [loop, signal = signal_] { asio::post(loop, [signal] { signal->emit(asio::cancellation_type::terminal); }); }) {}

    asio::cancellation_slot slot() const { return signal_->slot(); }

private:
    std::shared_ptr<asio::cancellation_signal> signal_;
    std::stop_callback<std::function<void()>> callback_;
};

constexpr std::int64_t llb_builder = -1;
constexpr const char* definition_input = "buildkit.llb.definition";
constexpr std::size_t definition_limit = std::size_t{64} << 20U;

/// What is told of a graph's operations, to those who want the operation that has made the graph.
class Retold final : public Audience {
public:
    explicit Retold(std::shared_ptr<const Audiences> all) : all_(std::move(all)) {}

    void started(const Vertex& vertex) override { all_->started(vertex); }
    void completed(const Vertex& vertex, bool was_cached, const std::string& error) override { all_->completed(vertex, was_cached, error); }
    void printed(const Vertex& vertex, int stream, std::string_view bytes) override { all_->printed(vertex, stream, bytes); }
    void advanced(const Vertex& vertex, const std::string& what, std::int64_t current, std::int64_t total, bool is_done) override {
        all_->advanced(vertex, what, current, total, is_done);
    }

private:
    std::shared_ptr<const Audiences> all_;
};

/// How many layers at the front of both are the same.
std::size_t common_front(const std::vector<oci::Digest>& left, const std::vector<oci::Digest>& right) {
    return static_cast<std::size_t>(std::ranges::mismatch(left, right).in1 - left.begin());
}

}  // namespace

std::vector<oci::Digest> detail::layers_of(Workplace& place, const TreePtr& tree, const std::stop_token& stop) {
    if (!tree) return {};
    if (const auto* layers = tree->layers()) return *layers;
    Scratch out(place.layers, place.pool, {});
    pb::FileAction action;
    action.mutable_copy()->set_src("/");
    action.mutable_copy()->set_dest("/");
    action.mutable_copy()->set_dircopycontents(true);
    action.mutable_copy()->set_mode(-1);
    action.mutable_copy()->set_timestamp(-1);
    {
        const Root from = Root::at(tree->open());
        apply_file_action(action, Root::at(out.mount()), &from, {.owner = {}, .stop = stop, .progress = {}});
    }
    return out.keep();
}

asio::awaitable<std::string> Operations::digest_of(ResultPtr input, std::vector<Selection> selections, ReadFiles* read) {
    TreePtr tree = as_tree(input);
    if (!tree) co_return build::digest_of(TreeIndex{}, selections, read);
    co_return co_await detail::at_length(
        place_, [tree = std::move(tree), selections = std::move(selections), read](const std::stop_token&) {
            try {
                return tree->digest_of(selections, read);
            } catch (Error& error) {
                error.add_context(fmt::format("failed to compute cache key: failed to calculate checksum of ref {}::{}",
                                              random_hex(16).substr(0, 25), random_hex(16).substr(0, 25)));
                throw;
            }
        });
}

asio::awaitable<Results> Operations::run(Work work) {
    const EndsWith end(place_.loop, work.stop);
    co_return co_await asio::co_spawn(place_.loop, do_it(std::move(work)), asio::bind_cancellation_slot(end.slot(), asio::use_awaitable));
}

asio::awaitable<Results> Operations::do_it(Work work) {
    switch (work.vertex->op.op_case()) {
        case pb::Op::kSource:
            return run_source(std::move(work));
        case pb::Op::kFile:
            return run_files(std::move(work));
        case pb::Op::kExec:
            return run_exec(std::move(work));
        case pb::Op::kMerge:
            return run_merge(std::move(work));
        case pb::Op::kDiff:
            return run_diff(std::move(work));
        case pb::Op::kBuild:
            return run_build(std::move(work));
        default:
            fail(ErrorKind::not_implemented, "not implemented: operation {}", static_cast<int>(work.vertex->op.op_case()));
    }
}

/// The upper tree's files lie on the lower's: so do its layers.
asio::awaitable<Results> Operations::run_merge(Work work) {
    co_return co_await detail::at_length(place_, [this, work = std::move(work)](const std::stop_token& stop) {
        std::vector<oci::Digest> layers;
        for (const pb::MergeInput& each : work.vertex->op.merge().inputs()) {
            if (each.input() < 0) continue;
            const auto more = detail::layers_of(place_, as_tree(work.inputs.at(static_cast<std::size_t>(each.input()))), stop);
            // One that is there twice is seen where it is the upper one; below it has nothing that is seen. Overlayfs takes it once.
            std::erase_if(layers, [&](const oci::Digest& layer) { return std::ranges::find(more, layer) != more.end(); });
            layers.insert(layers.end(), more.begin(), more.end());
        }
        return Results{std::make_shared<LayerTree>(key_of_result(work.key, 0), place_.layers, std::move(layers))};
    });
}

asio::awaitable<Results> Operations::run_diff(Work work) {
    co_return co_await detail::at_length(place_, [this, work = std::move(work)](const std::stop_token& stop) {
        const auto input = [&](std::int64_t number) {
            return number < 0 ? TreePtr() : as_tree(work.inputs.at(static_cast<std::size_t>(number)));
        };
        const TreePtr lower = input(work.vertex->op.diff().lower().input());
        const TreePtr upper = input(work.vertex->op.diff().upper().input());
        std::vector<oci::Digest> out;
        const std::vector<oci::Digest> below = lower && lower->layers() ? *lower->layers() : std::vector<oci::Digest>{};
        const bool has_layers = (!lower || lower->layers()) && (!upper || upper->layers());
        const std::vector<oci::Digest> all = has_layers && upper ? *upper->layers() : std::vector<oci::Digest>{};
        if (has_layers && common_front(below, all) == below.size()) {
            out.assign(all.begin() + static_cast<std::ptrdiff_t>(below.size()), all.end());
        } else {
            Scratch made(place_.layers, place_.pool, {});
            const auto open = [&](const TreePtr& tree) { return Root::at(tree ? tree->open() : place_.layers.mount_layers({})); };
            if (write_difference(open(lower), open(upper), Root::at(made.open_upper()), stop)) out = made.keep();
        }
        return Results{std::make_shared<LayerTree>(key_of_result(work.key, 0), place_.layers, std::move(out))};
    });
}

/// A graph in a file of a tree is solved as a part of the builds that want it, with their rights.
asio::awaitable<Results> Operations::run_build(Work work) {
    const pb::BuildOp& op = work.vertex->op.build();
    if (op.builder() != llb_builder) fail(ErrorKind::invalid_argument, "only LLB builder is currently allowed");
    const auto found = op.inputs().find(definition_input);
    if (found == op.inputs().end()) fail(ErrorKind::invalid_argument, "no llb definition input {} found", definition_input);
    if (found->second.input() < 0 || found->second.input() >= static_cast<std::int64_t>(work.inputs.size()))
        fail(ErrorKind::invalid_argument, "invalid index {}", found->second.input());
    const TreePtr tree = as_tree(work.inputs[static_cast<std::size_t>(found->second.input())]);
    const auto name = op.attrs().find("llbbuild.filename");
    const std::string path = name == op.attrs().end() ? definition_input : name->second;
    const auto definition = co_await detail::at_length(place_, [this, tree, path](const std::stop_token&) {
        const Root root = Root::at(tree ? tree->open() : place_.layers.mount_layers({}));
        const TreePlace file = find_place(root, path);
        if (!file.exists()) fail_path("open", path, ENOENT);
        if (!S_ISREG(file.about.st_mode)) fail(ErrorKind::invalid_argument, "{} is not a regular file", path);
        auto out = std::make_shared<pb::Definition>();
        if (!out->ParseFromString(read_all(reopen_file(file.there.get(), path).get(), path, definition_limit)))
            fail(ErrorKind::invalid_argument, "{} is no definition", path);
        return out;
    });
    const Edge edge = read_graph(*definition);
    check_entitlements(edge, work.granted);
    Retold audience(work.audiences);
    const ResultPtr made = co_await solve_({.edge = edge,
                                            .session = work.session,
                                            .audience = &audience,
                                            .granted = work.granted,
                                            .above = work.above,
                                            .imports = work.imports});
    co_return co_await detail::at_length(place_, [this, key = work.key, made](const std::stop_token& stop) {
        return Results{std::make_shared<LayerTree>(key_of_result(key, 0), place_.layers, detail::layers_of(place_, as_tree(made), stop))};
    });
}

}  // namespace grua::build
