// File operations: each action takes a tree and gives one, which the next may go on with.
#include "build/file_ops.hpp"
#include "build/operations/operations.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>

namespace grua::build {
namespace {

/// What an action works on: an input, or what one before has left.
class FileWork {
public:
    FileWork(Workplace& place, const Worker::Work& work, std::stop_token stop)
        : place_(place), work_(work), op_(work.vertex->op.file()), stop_(std::move(stop)) {
        for (const ResultPtr& each : work.inputs) trees_.push_back({.tree = as_tree(each), .scratch = {}});
        first_ = trees_.size();
        trees_.resize(first_ + static_cast<std::size_t>(op_.actions_size()));
        uses_.resize(trees_.size());
        for (const pb::FileAction& each : op_.actions()) {
            count(each.input());
            count(each.secondaryinput());
            if (const pb::ChownOpt* owner = owner_of(each)) {
                count(input_of(owner->user()));
                count(input_of(owner->group()));
            }
        }
    }

    Results run() {
        std::map<std::int64_t, std::shared_ptr<LayerTree>> out;
        for (int number = 0; number < op_.actions_size(); ++number) {
            const pb::FileAction& action = op_.actions(number);
            apply(action, first_ + static_cast<std::size_t>(number));
            if (action.output() < 0) continue;
            Slot& slot = trees_[first_ + static_cast<std::size_t>(number)];
            settle(slot);
            out[action.output()] =
                std::make_shared<LayerTree>(key_of_result(work_.key, static_cast<int>(action.output())), place_.layers, slot.layers);
        }
        Results all;
        for (auto& [number, tree] : out) {
            if (number != static_cast<std::int64_t>(all.size()))
                fail(ErrorKind::invalid_argument, "the file operation has no output {}", all.size());
            all.push_back(std::move(tree));
        }
        if (all.empty()) fail(ErrorKind::invalid_argument, "the file operation has no output");
        return all;
    }

private:
    struct Slot {
        TreePtr tree;        ///< Of an input.
        ScratchPtr scratch;  ///< It may go on.
        std::vector<oci::Digest> layers = {};
        TreePtr made = {};  ///< Of `layers`, for who reads it.
        bool is_settled = false;
    };

    /// Where there is no tree to look in, root is known all the same.
    static pb::ChownOpt with_root(const pb::ChownOpt* chown) {
        pb::ChownOpt out;
        if (!chown) return out;
        out = *chown;
        for (pb::UserOpt* each : {out.has_user() ? out.mutable_user() : nullptr, out.has_group() ? out.mutable_group() : nullptr}) {
            if (!each || !each->has_byname() || each->byname().input() >= 0) continue;
            if (each->byname().name() != "root") fail(ErrorKind::invalid_argument, "invalid user index: {}", each->byname().input());
            each->set_byid(0);
        }
        return out;
    }

    static std::int64_t input_of(const pb::UserOpt& user) { return user.has_byname() ? user.byname().input() : -1; }

    void count(std::int64_t input) {
        if (input >= 0 && static_cast<std::size_t>(input) < uses_.size()) ++uses_[static_cast<std::size_t>(input)];
    }

    Slot* slot_of(std::int64_t input, std::size_t before) {
        if (input < 0) return nullptr;
        if (static_cast<std::size_t>(input) >= before)
            fail(ErrorKind::invalid_argument, "a file action takes input {}, which is not there", input);
        return &trees_[static_cast<std::size_t>(input)];
    }

    /// What was written is a layer, which others can stand on.
    void settle(Slot& slot) {
        if (slot.is_settled) return;
        slot.layers = slot.scratch ? slot.scratch->keep() : detail::layers_of(place_, slot.tree, stop_);
        slot.scratch.reset();
        slot.is_settled = true;
    }

    TreePtr readable(Slot& slot) {
        if (!slot.scratch && !slot.is_settled) return slot.tree;
        settle(slot);
        if (!slot.made) slot.made = std::make_shared<LayerTree>(std::string(), place_.layers, slot.layers);
        return slot.made;
    }

    Fd open(Slot* slot) {
        const TreePtr tree = slot ? readable(*slot) : nullptr;
        return tree ? tree->open() : place_.layers.mount_layers({});
    }

    void apply(const pb::FileAction& action, std::size_t number) {
        Slot* base = slot_of(action.input(), number);
        Slot* source = slot_of(action.secondaryinput(), number);
        const pb::ChownOpt* chown = owner_of(action);
        Slot* users = chown ? slot_of(input_of(chown->user()), number) : nullptr;
        Slot* groups = chown ? slot_of(input_of(chown->group()), number) : nullptr;
        // Before the base is taken on: they may be the same.
        std::optional<Root> from;
        if (action.has_copy()) from = Root::at(open(source));
        std::optional<Root> users_root;
        std::optional<Root> groups_root;
        if (users) users_root = Root::at(open(users));
        if (groups) groups_root = Root::at(open(groups));
        const pb::ChownOpt known = with_root(chown);
        const auto owner = find_owner(chown ? &known : nullptr, users_root ? &*users_root : nullptr, groups_root ? &*groups_root : nullptr);

        Slot& made = trees_[number];
        if (base && base->scratch && uses_[static_cast<std::size_t>(action.input())] == 1) {
            made.scratch = std::move(base->scratch);
        } else {
            if (base) settle(*base);
            made.scratch = std::make_unique<Scratch>(place_.layers, place_.pool, base ? base->layers : std::vector<oci::Digest>{});
        }
        const FileActionOptions options{.owner = owner, .sharing = Sharing::copy, .stop = stop_, .progress = {}};
        if (action.has_copy() && source && link_files(action.copy(), source->tree.get(), *made.scratch, options)) return;
        apply_file_action(action, Root::at(made.scratch->mount()), from ? &*from : nullptr, options);
    }

    /// A folder of the client's that becomes a new one: its files get another name in the layer itself, and nothing is copied. False where
    /// it is something else.
    bool link_files(const pb::FileActionCopy& copy, const Tree* source, const Scratch& scratch, FileActionOptions options) const {
        const Context* context = source ? source->context() : nullptr;
        if (!context || !copy.dircopycontents() || has_wildcards(copy.src())) return false;
        // In a layer these would be something else than in a tree.
        if (std::ranges::any_of(context->index(), [](const auto& each) { return S_ISCHR(each.second.mode) && each.second.device == 0; }))
            return false;
        const Root from = Root::open(context->folder().c_str());
        if (const TreePlace place = find_place(from, copy.src()); !place.is_folder()) return false;
        pb::FileAction direct;
        MadeFolders made;
        NewFolders folders{.mode = 0755, .owner = options.owner, .time = {}};
        if (copy.modestr().empty() && copy.mode() != -1) folders.mode = static_cast<mode_t>(copy.mode()) & 0777U;
        if (copy.timestamp() >= 0) folders.time = timespec{copy.timestamp() / 1'000'000'000, copy.timestamp() % 1'000'000'000};
        {
            // As it is made where it is not linked: what is above comes from the layers below.
            const Root tree = Root::at(scratch.mount());
            TreePlace to = find_place(tree, copy.dest());
            if (to.exists() || !copy.createdestpath()) return false;
            made = make_place(to, folders, 1);
            // The folder above is in the layer then, with all that is its own; the new one is made there as any other.
            if (::mkdirat(to.folder.get(), to.name().c_str(), 0700) != 0) fail_path("mkdir", to.path());
            if (::unlinkat(to.folder.get(), to.name().c_str(), AT_REMOVEDIR) != 0) fail_path("rmdir", to.path());
            *direct.mutable_copy() = copy;
            direct.mutable_copy()->set_dest(to.path());
        }
        options.sharing = scratch.take_names_of(*context) ? Sharing::hard_link : Sharing::copy;
        const Root upper = Root::at(scratch.open_upper());
        apply_file_action(direct, upper, &from, options);
        if (folders.time) made.set_times(upper, *folders.time);
        return true;
    }

    Workplace& place_;
    const Worker::Work& work_;
    const pb::FileOp& op_;
    std::stop_token stop_;
    std::vector<Slot> trees_;
    std::vector<int> uses_;
    std::size_t first_ = 0;  ///< Of the actions' trees.
};

}  // namespace

asio::awaitable<Results> Operations::run_files(Work work) {
    std::stop_token nobody_wants_it = work.stop;
    return detail::at_length(place_, [this, work = std::move(work), stop = std::move(nobody_wants_it)](const std::stop_token&) {
        return FileWork(place_, work, stop).run();
    });
}

}  // namespace grua::build
