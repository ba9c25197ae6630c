#include "cli/build/why.hpp"

#include "base/text.hpp"
#include "base/utf8.hpp"
#include "cli/units.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <algorithm>
#include <deque>
#include <map>
#include <string_view>
#include <tuple>

namespace grua::cli {
namespace {

namespace made = wire::made;
namespace pb = wire::graph;

constexpr std::size_t most_files = 5;  ///< Of each kind that are told one by one.
constexpr std::size_t value_width = 200;
constexpr std::size_t digest_width = 12;
constexpr std::string_view shell = "/bin/sh -c ";

/// "[base 2/3] COPY a b": the stage, the number in it, the instruction.
struct Place {
    std::string stage;
    std::string number;
    std::string instruction;
    bool is_in_stage = false;
};

Place place_of(const std::string& name) {
    Place out{.stage = {}, .number = {}, .instruction = name};
    const std::size_t end = name.find("] ");
    if (!name.starts_with('[') || end == std::string::npos) return out;
    const std::string inside = name.substr(1, end - 1);
    const std::size_t slash = inside.rfind('/');
    if (slash == std::string::npos) return out;
    const std::size_t space = inside.rfind(' ', slash);
    out.number = inside.substr(space == std::string::npos ? 0 : space + 1, slash - (space == std::string::npos ? 0 : space + 1));
    out.stage = space == std::string::npos ? std::string() : inside.substr(0, space);
    out.instruction = name.substr(end + 2);
    out.is_in_stage = !out.number.empty() && std::ranges::all_of(out.number, [](char c) { return c >= '0' && c <= '9'; });
    return out;
}

bool is_folder_of_client(const made::Step& step) {
    return step.op().has_source() && step.op().source().identifier().starts_with("local://");
}

/// Operations that are told of: a folder of the client's is what those that read it say of it.
bool is_told(const made::Step& step) { return !is_folder_of_client(step) && !step.definitionkey().empty(); }

std::string quoted(const std::string& value) { return fmt::format("\"{}\"", ellipsis(printable(value), value_width)); }

// --- what an operation is ------------------------------------------------------------------------------------------

/// By what people call it.
using Facts = std::map<std::string, std::string>;

std::string user_text(const pb::UserOpt& user) {
    if (user.has_byname()) return user.byname().name();
    return user.has_byid() ? std::to_string(user.byid()) : std::string();
}

std::string owner_text(const pb::ChownOpt& owner) { return fmt::format("{}:{}", user_text(owner.user()), user_text(owner.group())); }

void add_mount(const pb::Mount& mount, Facts& out) {
    if (mount.dest() == "/" && mount.mounttype() == pb::MOUNT_TYPE_BIND) return;
    std::string what;
    switch (mount.mounttype()) {
        case pb::MOUNT_TYPE_CACHE:
            what = "cache " + mount.cacheopt().id();
            break;
        case pb::MOUNT_TYPE_SECRET:
            what = "secret " + mount.secretopt().id();
            break;
        case pb::MOUNT_TYPE_SSH:
            what = "SSH agent " + mount.sshopt().id();
            break;
        case pb::MOUNT_TYPE_TMPFS:
            what = "tmpfs";
            break;
        default:
            what = "files " + mount.selector();
            break;
    }
    out["the mount at " + mount.dest()] = what + (mount.readonly() ? ", read-only" : "");
}

void add_exec(const pb::ExecOp& exec, Facts& out) {
    const pb::Meta& meta = exec.meta();
    std::string command;
    for (const std::string& each : meta.args()) command += (command.empty() ? "" : " ") + each;
    out["the command"] = command.starts_with(shell) ? command.substr(shell.size()) : command;
    for (const std::string& each : meta.env()) {
        const std::size_t sign = std::min(each.find('='), each.size());
        out["variable " + each.substr(0, sign)] = each.substr(std::min(sign + 1, each.size()));
    }
    out["the working directory"] = meta.cwd();
    if (!meta.user().empty()) out["the user"] = meta.user();
    if (!meta.hostname().empty()) out["the hostname"] = meta.hostname();
    for (const pb::HostIP& each : meta.extrahosts()) out["the host " + each.host()] = each.ip();
    for (const pb::Ulimit& each : meta.ulimit()) out["the limit " + each.name()] = fmt::format("{}:{}", each.soft(), each.hard());
    if (exec.network() == pb::NET_MODE_HOST) out["the network"] = "host";
    if (exec.network() == pb::NET_MODE_NONE) out["the network"] = "none";
    if (exec.security() == pb::SECURITY_MODE_INSECURE) out["the security"] = "insecure";
    for (const pb::Mount& each : exec.mounts()) add_mount(each, out);
    for (const auto& each : exec.secretenv()) out["the secret variable " + each.name()] = each.id();
}

void add_file_action(const pb::FileAction& action, Facts& out) {
    if (action.has_copy()) {
        const pb::FileActionCopy& copy = action.copy();
        const std::string what = fmt::format("the copy of {} to {}", copy.src(), copy.dest());
        std::string how = copy.modestr().empty() ? (copy.mode() == -1 ? "" : fmt::format("mode {:o} ", copy.mode()))
                                                 : fmt::format("mode {} ", copy.modestr());
        if (copy.has_owner()) how += "owner " + owner_text(copy.owner()) + " ";
        if (!copy.exclude_patterns().empty())
            how += "without " + join({copy.exclude_patterns().begin(), copy.exclude_patterns().end()}, " ") + " ";
        if (!copy.include_patterns().empty())
            how += "only " + join({copy.include_patterns().begin(), copy.include_patterns().end()}, " ") + " ";
        if (copy.attemptunpackdockercompatibility()) how += "unpacked ";
        if (copy.timestamp() >= 0) how += fmt::format("time {} ", copy.timestamp() / 1'000'000'000);
        out[what] = how.empty() ? "as it is" : how.substr(0, how.size() - 1);
    }
    if (action.has_mkdir()) out["the folder " + action.mkdir().path()] = fmt::format("mode {:o}", action.mkdir().mode() & 07777);
    if (action.has_mkfile()) out["the text of " + action.mkfile().path()] = action.mkfile().data();
    if (action.has_symlink()) out["the link " + action.symlink().newpath()] = action.symlink().oldpath();
    if (action.has_rm()) out["the removal of " + action.rm().path()] = "done";
}

/// A source's name is no fact of it: under another name it is another source.
std::string source_word(const std::string& identifier) {
    if (identifier.starts_with("docker-image://")) return "the image " + identifier.substr(std::string_view("docker-image://").size());
    if (identifier.starts_with("oci-layout://")) return "the image " + identifier;
    if (identifier.starts_with("git://")) return "the commit of " + identifier.substr(std::string_view("git://").size());
    return "the file " + identifier;
}

Facts facts_of(const made::Step& step) {
    Facts out;
    const pb::Op& op = step.op();
    if (op.has_exec()) add_exec(op.exec(), out);
    for (const pb::FileAction& each : op.file().actions()) add_file_action(each, out);
    if (op.has_source()) out[source_word(op.source().identifier())] = step.pin().empty() ? "what it was" : step.pin();
    if (op.has_platform())
        out["the platform"] = fmt::format("{}/{}{}{}", op.platform().os(), op.platform().architecture(),
                                          op.platform().variant().empty() ? "" : "/", op.platform().variant());
    return out;
}

void compare_facts(const made::Step& before, const made::Step& now, std::vector<std::string>& out) {
    const Facts old = facts_of(before);
    const Facts present = facts_of(now);
    for (const auto& [name, value] : present) {
        const auto known = old.find(name);
        if (known == old.end())
            out.push_back(fmt::format("{} is new: {}", printable(name), quoted(value)));
        else if (known->second != value)
            out.push_back(fmt::format("{} was {} and is {} now", printable(name), quoted(known->second), quoted(value)));
    }
    for (const auto& [name, value] : old)
        if (!present.contains(name)) out.push_back(fmt::format("{} is gone: it was {}", printable(name), quoted(value)));
}

// --- what it has read ----------------------------------------------------------------------------------------------

std::string kind_of(mode_t mode) {
    if (S_ISDIR(mode)) return "folder";
    if (S_ISLNK(mode)) return "link";
    return S_ISREG(mode) ? "file" : "special file";
}

std::string contents_of(const made::File& file) {
    return fmt::format("{} {}", human_size(static_cast<double>(file.size())), file.digest().substr(0, digest_width));
}

/// What of a file is another: empty where nothing is.
std::string difference(const made::File& before, const made::File& now) {
    std::vector<std::string> out;
    const auto add = [&](std::string_view what, const std::string& old, const std::string& present) {
        if (old != present) out.push_back(fmt::format("{} was {} and is {} now", what, old, present));
    };
    const std::string old_kind = kind_of(before.mode());
    const std::string kind = kind_of(now.mode());
    if (old_kind != kind) return fmt::format("was a {} and is a {} now", old_kind, kind);
    if (before.digest() != now.digest() || (S_ISREG(now.mode()) && before.size() != now.size()))
        out.push_back(fmt::format("was {} and is {} now", contents_of(before), contents_of(now)));
    add("its mode", fmt::format("{:04o}", before.mode() & 07777U), fmt::format("{:04o}", now.mode() & 07777U));
    add("its owner", fmt::format("{}:{}", before.uid(), before.gid()), fmt::format("{}:{}", now.uid(), now.gid()));
    if (S_ISLNK(now.mode())) add("its target", quoted(before.link()), quoted(now.link()));
    add("its device", std::to_string(before.device()), std::to_string(now.device()));
    const std::map<std::string, std::string> old_xattrs{before.xattrs().begin(), before.xattrs().end()};
    if (old_xattrs != std::map<std::string, std::string>{now.xattrs().begin(), now.xattrs().end()})
        out.emplace_back("it has other extended attributes");
    return join(out, ", ");
}

using Files = std::map<std::string_view, const made::File*>;

Files files_of(const made::Input& input) {
    Files out;
    for (const made::File& each : input.files()) out[each.path()] = &each;
    return out;
}

class FileReasons {
public:
    explicit FileReasons(std::vector<std::string>& out) : out_(out) {}

    void add(std::string reason) {
        if (++count_ <= most_files) out_.push_back(std::move(reason));
    }
    ~FileReasons() {
        if (count_ > most_files) out_.push_back(fmt::format("so have {} more files", count_ - most_files));
    }
    FileReasons(const FileReasons&) = delete;
    FileReasons& operator=(const FileReasons&) = delete;

private:
    std::vector<std::string>& out_;
    std::size_t count_ = 0;
};

void compare_files(const made::Input& before, const made::Input& now, std::vector<std::string>& out) {
    const Files old = files_of(before);
    const Files present = files_of(now);
    const bool is_whole = !before.cut() && !now.cut();
    FileReasons reasons(out);
    const auto named = [](const made::File& file) { return fmt::format("{} {}", kind_of(file.mode()), printable(file.path())); };
    for (const auto& [path, file] : present) {
        const auto known = old.find(path);
        if (known != old.end()) {
            if (const std::string what = difference(*known->second, *file); !what.empty())
                reasons.add(fmt::format("{} has changed: {}", named(*file), what));
        } else if (is_whole) {
            reasons.add(fmt::format("{} is new{}", named(*file), S_ISREG(file->mode()) ? ": " + contents_of(*file) : ""));
        }
    }
    if (!is_whole) return;
    for (const auto& [path, file] : old)
        if (!present.contains(path))
            reasons.add(fmt::format("{} is gone{}", named(*file), S_ISREG(file->mode()) ? ": it was " + contents_of(*file) : ""));
}

// --- one operation -------------------------------------------------------------------------------------------------

const made::Step* step_by(const made::MadeOf& build, const std::string& vertex) {
    const auto found = std::ranges::find(build.steps(), vertex, [](const made::Step& each) { return each.vertex(); });
    return found == build.steps().end() ? nullptr : &*found;
}

void compare_inputs(const made::MadeOf& build, const made::Step& before, const made::Step& now, std::vector<std::string>& out) {
    for (int number = 0; number < now.inputs_size(); ++number) {
        const made::Input& input = now.inputs(number);
        if (number >= before.inputs_size()) continue;  // Facts say so.
        const made::Input& old = before.inputs(number);
        if (input.key() == old.key()) continue;
        if (input.bycontents() && old.bycontents()) {
            compare_files(old, input, out);
            continue;
        }
        const made::Step* below = step_by(build, input.vertex());
        if (!below) continue;
        out.push_back(fmt::format("it stands on {}, which {}", printable(below->name()),
                                  below->cached() ? "is another one than it was" : "was done again"));
    }
}

/// Of earlier builds, as far as they have been needed.
class Earlier {
public:
    explicit Earlier(const std::function<std::optional<made::MadeOf>()>& next) : next_(next) {}

    /// The nearest one in which the step was looked at. `build`: its own.
    const made::Step* find(const made::Step& step, const made::MadeOf& build) {
        for (std::size_t number = 0; const made::MadeOf* each = at(number); ++number)
            if (const made::Step* found = find_in(*each, step, build)) return found;
        return nullptr;
    }

private:
    const made::MadeOf* at(std::size_t number) {
        while (number >= builds_.size() && !has_ended_) {
            if (auto more = next_())
                builds_.push_back(std::move(*more));
            else
                has_ended_ = true;
        }
        return number < builds_.size() ? &builds_[number] : nullptr;
    }

    static const made::Step* find_in(const made::MadeOf& earlier, const made::Step& step, const made::MadeOf& build) {
        const Place place = place_of(step.name());
        const made::Step* there = nullptr;
        for (const made::Step& each : earlier.steps()) {
            const bool has_details = each.op().has_source() ? !each.definitionkey().empty() : !each.contentskey().empty();
            if (!has_details || each.op().op_case() != step.op().op_case()) continue;
            if (each.name() == step.name()) return &each;
            const Place other = place_of(each.name());
            if (!place.is_in_stage || !other.is_in_stage || other.stage != place.stage) continue;
            if (other.instruction == place.instruction) return &each;
            // In its place there was another one, which is not elsewhere now.
            const bool is_still_there = std::ranges::any_of(build.steps(), [&](const made::Step& present) {
                const Place now = place_of(present.name());
                return now.stage == other.stage && now.instruction == other.instruction;
            });
            if (other.number == place.number && !is_still_there) there = &each;
        }
        return there;
    }

    const std::function<std::optional<made::MadeOf>()>& next_;
    std::deque<made::MadeOf> builds_;
    bool has_ended_ = false;
};

std::vector<std::string> reasons_of(const made::MadeOf& build, const made::Step& step, Earlier& earlier) {
    if (step.anew()) return {"it was to be done anew (--no-cache)"};
    const made::Step* before = earlier.find(step, build);
    if (!before) return {"no earlier build of this is known that had this step"};
    std::vector<std::string> out;
    const Place old = place_of(before->name());
    const Place now = place_of(step.name());
    if (step.op().has_source() && before->op().source().identifier() != step.op().source().identifier()) {
        out.push_back(fmt::format("the instruction was {} and is {} now", quoted(old.instruction), quoted(now.instruction)));
        return out;
    }
    compare_facts(*before, step, out);
    compare_inputs(build, *before, step, out);
    if (out.empty() && old.instruction != now.instruction)
        out.push_back(fmt::format("the instruction was {} and is {} now", quoted(old.instruction), quoted(now.instruction)));
    if (out.empty()) out.emplace_back("nothing that it is made of has changed: what it had made was not in the cache any more");
    return out;
}

bool is_named(const made::Step& step, const std::string& wanted) {
    if (wanted.empty()) return true;
    const Place place = place_of(step.name());
    const std::string inside = step.name().substr(0, step.name().find(']'));
    if (place.is_in_stage && (wanted == place.number || inside == "[" + wanted || inside.ends_with(" " + wanted))) return true;
    if (std::ranges::all_of(wanted, [](char c) { return (c >= '0' && c <= '9') || c == '/'; })) return false;
    return to_lower(step.name()).contains(to_lower(wanted));
}

}  // namespace

std::vector<Explanation> explain(const made::MadeOf& build, const std::string& step,
                                 const std::function<std::optional<made::MadeOf>()>& earlier) {
    std::vector<const made::Step*> told;
    for (const made::Step& each : build.steps())
        if (is_told(each) && !each.cached() && is_named(each, step)) told.push_back(&each);
    // As the Dockerfile has them.
    std::ranges::sort(told, {}, [](const made::Step* each) {
        const Place place = place_of(each->name());
        return std::tuple(!place.is_in_stage, place.stage, place.number.size(), place.number, each->vertex());
    });
    Earlier builds(earlier);
    std::vector<Explanation> out;
    for (const made::Step* each : told) out.push_back({.step = each->name(), .reasons = reasons_of(build, *each, builds)});
    return out;
}

std::string explanations_text(const std::vector<Explanation>& explanations, const std::string& step) {
    if (explanations.empty())
        return step.empty() || step == "all"
                   ? "All steps were in the cache.\n"
                   : fmt::format("No step that {} names was done: it was in the cache, or is not in this build.\n", quoted(step));
    std::string out;
    for (const Explanation& each : explanations) {
        out += printable(each.step) + "\n";
        for (const std::string& reason : each.reasons) {
            std::string sentence = reason;
            if (!sentence.empty() && sentence[0] >= 'a' && sentence[0] <= 'z') sentence[0] = static_cast<char>(sentence[0] - 'a' + 'A');
            out += fmt::format("    {}.\n", sentence);
        }
    }
    return out;
}

}  // namespace grua::cli
