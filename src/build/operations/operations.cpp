#include "build/operations/operations.hpp"

#include "base/id.hpp"
#include "build/file_ops.hpp"
#include "build/selection.hpp"

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
            fail(ErrorKind::not_implemented, "not implemented: an operation that is a build of its own");
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
            layers.insert(layers.end(), more.begin(), more.end());
        }
        return Results{std::make_shared<LayerTree>(key_of_result(work.key, 0), place_.layers, std::move(layers))};
    });
}

asio::awaitable<Results> Operations::run_diff(Work work) {
    co_return co_await detail::at_length(place_, [this, work = std::move(work)](const std::stop_token& stop) {
        const auto layers_of_input = [&](std::int64_t input) {
            if (input < 0) return std::vector<oci::Digest>{};
            return detail::layers_of(place_, as_tree(work.inputs.at(static_cast<std::size_t>(input))), stop);
        };
        const std::vector<oci::Digest> lower = layers_of_input(work.vertex->op.diff().lower().input());
        const std::vector<oci::Digest> upper = layers_of_input(work.vertex->op.diff().upper().input());
        if (common_front(lower, upper) != lower.size())
            fail(ErrorKind::not_implemented, "not implemented: the difference of two trees of which one was not made from the other");
        return Results{std::make_shared<LayerTree>(key_of_result(work.key, 0), place_.layers,
                                                   std::vector(upper.begin() + static_cast<std::ptrdiff_t>(lower.size()), upper.end()))};
    });
}

}  // namespace grua::build
