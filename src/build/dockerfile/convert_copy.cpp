// COPY and ADD.
#include "base/text.hpp"
#include "build/dockerfile/converter.hpp"
#include "build/wildcards.hpp"

#include <algorithm>

namespace grua::build::dockerfile::detail {
namespace {

constexpr std::uint64_t highest_mode = 07777;

bool is_http(std::string_view source) { return source.starts_with("http://") || source.starts_with("https://"); }

/// What is fetched by git: by its scheme, by the address of a service that is known, or by its end.
bool is_git(std::string_view source) {
    if (source.starts_with("git://") || source.starts_with("git@") || source.starts_with("ssh://")) return true;
    if (!is_http(source)) return source.starts_with("github.com/");
    const std::string_view path = source.substr(0, source.find_first_of("?#"));
    return path.ends_with(".git");
}

struct Mode {
    std::int32_t bits = -1;  ///< As in the source where it is negative.
    std::string text;        ///< "u=rwX,go=rX"
};

/// [ugoa]*([-+=]([rwxXst]*|[ugo]))+ , separated by commas.
bool is_symbolic_mode(std::string_view text) {
    for (const std::string& part : split(text, ',')) {
        std::size_t at = std::min(part.find_first_not_of("ugoa"), part.size());
        if (at == part.size()) return false;
        while (at < part.size()) {
            if (part[at] != '+' && part[at] != '-' && part[at] != '=') return false;
            at = std::min(part.find_first_not_of("rwxXstugo", at + 1), part.size());
        }
    }
    return !text.empty();
}

Mode read_mode(const std::string& text) {
    if (text.empty()) return {};
    const auto refuse = [&] {
        fail(ErrorKind::invalid_argument, "invalid chmod parameter: '{}'. it should be octal string and between 0 and 07777", text);
    };
    if (text.find_first_not_of("01234567") == std::string::npos) {
        std::uint64_t value = 0;
        for (const char c : text) {
            value = value * 8 + static_cast<std::uint64_t>(c - '0');
            if (value > highest_mode) refuse();
        }
        return {.bits = static_cast<std::int32_t>(value), .text = {}};
    }
    if (text.find_first_not_of("0123456789") == std::string::npos) refuse();
    if (!is_symbolic_mode(text)) fail(ErrorKind::invalid_argument, "invalid syntax");
    return {.bits = -1, .text = text};
}

/// With the texts of BuildKit's errors.
std::string check_digest(const std::string& text) {
    if (const auto digest = oci::Digest::parse(text)) return digest->text();
    const std::size_t colon = text.find(':');
    const std::string_view algorithm = std::string_view(text).substr(0, colon);
    if (colon == std::string::npos || colon == 0 || colon + 1 == text.size())
        fail(ErrorKind::invalid_argument, "invalid checksum digest format");
    if (algorithm != "sha256" && algorithm != "sha384" && algorithm != "sha512")
        fail(ErrorKind::invalid_argument, "unsupported digest algorithm");
    fail(ErrorKind::invalid_argument, "invalid checksum digest length");
}

}  // namespace

void set_owner(pb::ChownOpt& out, std::string_view owner, std::int64_t input) {
    const auto set = [&](pb::UserOpt& user, std::string_view text) {
        if (const auto number = parse_uint(text); number && *number <= std::numeric_limits<std::uint32_t>::max()) {
            user.set_byid(static_cast<std::uint32_t>(*number));
        } else {
            user.mutable_byname()->set_name(std::string(text));
            user.mutable_byname()->set_input(input);
        }
    };
    const std::size_t colon = owner.find(':');
    if (const std::string_view user = owner.substr(0, colon); !user.empty()) set(*out.mutable_user(), user);
    if (colon != std::string_view::npos && colon + 1 < owner.size()) set(*out.mutable_group(), owner.substr(colon + 1));
}

struct Converter::CopyPlan {
    const Sources& sources;
    const std::string& chown;
    const std::string& chmod;
    const std::vector<std::string>& exclude;
    bool is_add = false;
    bool link = false;
    bool parents = false;
    std::string checksum = {};
    std::optional<bool> keep_git_dir = {};
    std::optional<bool> unpack = {};
    std::optional<Draft::Output> from = {};  ///< A stage's or an image's files; nothing for the context.
};

/// An operation on files, action by action: each works on what the one before has left.
class FileActions {
public:
    FileActions(pb::Op& op, const Draft::Output& below) : op_(op), next_(input_of(op, below)) {}

    pb::FileActionCopy& copy(const Draft::Output& from) {
        const std::int64_t source = input_of(op_, from);
        actions_.push_back({next_, source});
        pb::FileAction& action = *op_.mutable_file()->add_actions();
        action.set_output(-1);
        return *action.mutable_copy();
    }
    /// Of the action that was added last.
    std::int64_t below() const { return actions_.back().first; }

    /// Results of actions are numbered behind the inputs, which are all known now.
    void finish() {
        const std::int64_t inputs = op_.inputs_size();
        for (int number = 0; number < op_.file().actions_size(); ++number) {
            pb::FileAction& action = *op_.mutable_file()->mutable_actions(number);
            const auto& [below, source] = actions_[static_cast<std::size_t>(number)];
            action.set_input(number == 0 ? below : inputs + number - 1);
            action.set_secondaryinput(source);
            if (number == op_.file().actions_size() - 1) action.set_output(0);
        }
    }

private:
    pb::Op& op_;
    std::int64_t next_;
    std::vector<std::pair<std::int64_t, std::int64_t>> actions_;
};

void Converter::copy(StageDraft& state, const Instruction& instruction, CopyPlan plan) {
    const std::string destination = absolute(state.folder, plan.sources.destination, true);
    const Mode mode = read_mode(plan.chmod);
    if (!plan.checksum.empty()) {
        if (plan.sources.paths.size() != 1) fail(ErrorKind::invalid_argument, "checksum can't be specified for multiple sources");
        if (!is_http(plan.sources.paths.front()) && !is_git(plan.sources.paths.front()))
            fail(ErrorKind::invalid_argument, "checksum requires HTTP(S) or Git sources");
    }
    std::string created_by = plan.is_add ? "ADD" : "COPY";
    if (plan.parents) created_by += " --parents";
    if (!plan.chown.empty()) created_by += " --chown=" + plan.chown;
    if (!plan.chmod.empty()) created_by += " --chmod=" + plan.chmod;
    const std::string name = shown(state.variables.lookup(), instruction.code, expander_.rules());
    const std::string step = step_name(state, name);

    const bool links = plan.link && plan.chmod.empty();
    pb::Op op;
    set_platform(op, state.platform);
    const Draft::Output below = links ? Draft::Output{} : state.files;
    FileActions actions(op, below);
    const auto add = [&](const Draft::Output& from, const std::string& source) -> pb::FileActionCopy& {
        pb::FileActionCopy& out = actions.copy(from);
        out.set_src(source);
        out.set_dest(destination);
        out.set_mode(mode.bits);
        out.set_modestr(mode.text);
        out.set_createdestpath(true);
        out.set_timestamp(-1);
        for (const std::string& each : plan.exclude) out.add_exclude_patterns(each);
        return out;
    };
    for (const std::string& source : plan.sources.paths) {
        created_by += " " + source;
        if (is_git(source)) {
            if (!plan.is_add) fail(ErrorKind::invalid_argument, "source can't be a git ref for COPY");
            add(git_source(plan.checksum, plan.keep_git_dir, source, step), "/");
        } else if (is_http(source)) {
            if (!plan.is_add) fail(ErrorKind::invalid_argument, "source can't be a URL for COPY");
            const auto [from, file] = http_source(plan.checksum, source, step);
            add(from, file).set_attemptunpackdockercompatibility(plan.unpack.value_or(false));
        } else {
            std::string path = source;
            std::string pattern;
            if (plan.parents) {
                const std::size_t pivot = source.find("/./");
                pattern = absolute("/", pivot == std::string::npos ? source : source.substr(pivot + 3), false).substr(1);
                path = pivot == std::string::npos ? "/" : source.substr(0, pivot);
            }
            if (!plan.from) context_paths_.insert(absolute("/", source, false));
            pb::FileActionCopy& out = add(plan.from ? *plan.from : context(), absolute("/", path, false));
            out.set_followsymlink(true);
            out.set_dircopycontents(true);
            out.set_attemptunpackdockercompatibility(plan.unpack.value_or(plan.is_add));
            out.set_allowwildcard(true);
            out.set_allowemptywildcard(true);
            if (!pattern.empty()) out.add_include_patterns(pattern);
            if (plan.parents && !has_wildcards(path) && !has_wildcards(pattern)) out.add_required_paths(absolute(path, pattern, false));
        }
    }
    for (const InlineFile& file : plan.sources.files) {
        created_by += " <<" + file.name;
        add(inline_file(state, file.name, file.content, 0644), file.name);
    }
    created_by += " " + plan.sources.destination;
    if (!plan.chown.empty())
        for (int number = 0; number < op.file().actions_size(); ++number)
            set_owner(*op.mutable_file()->mutable_actions(number)->mutable_copy()->mutable_owner(), plan.chown,
                      number == 0 ? input_of(op, links ? state.files : below) : -1);
    actions.finish();

    pb::OpMetadata about = metadata(state, instruction);
    if (!links) {
        state.files = draft_.add(op, step, about);
        draft_.place(state.files, instruction.lines.first, instruction.lines.last);
    } else {
        const Draft::Output copied = draft_.add(op, step, about);
        draft_.place(copied, instruction.lines.first, instruction.lines.last);
        if (state.files.is_empty()) {
            state.files = copied;
        } else {
            pb::Op merge;
            merge.mutable_merge()->add_inputs()->set_input(input_of(merge, state.files));
            merge.mutable_merge()->add_inputs()->set_input(input_of(merge, copied));
            --state.step;
            state.files = draft_.add(merge, step_name(state, "LINK " + name), std::move(about));
            draft_.place(state.files, instruction.lines.first, instruction.lines.last);
        }
    }
    remember(state, created_by + " # buildkit", true);
}

void Converter::apply(StageDraft& state, const Instruction& instruction, const Copy& copy_) {
    CopyPlan plan{.sources = copy_.sources,
                  .chown = copy_.chown,
                  .chmod = copy_.chmod,
                  .exclude = copy_.exclude,
                  .link = copy_.link,
                  .parents = copy_.parents};
    if (!copy_.from.empty())
        plan.from = take(instruction, copy_.from,
                         fmt::format("cannot copy from stage {}, it needs to be defined before current stage {}", in_quotes(copy_.from),
                                     in_quotes(state.name)));
    copy(state, instruction, std::move(plan));
}

void Converter::apply(StageDraft& state, const Instruction& instruction, const Add& add) {
    copy(state, instruction,
         {.sources = add.sources,
          .chown = add.chown,
          .chmod = add.chmod,
          .exclude = add.exclude,
          .is_add = true,
          .link = add.link,
          .checksum = add.checksum,
          .keep_git_dir = add.keep_git_dir,
          .unpack = add.unpack});
}

Draft::Output Converter::inline_file(const StageDraft& state, const std::string& name, const std::string& content, int mode) {
    pb::Op op;
    set_platform(op, state.platform);
    pb::FileAction& action = *op.mutable_file()->add_actions();
    action.set_input(-1);
    action.set_secondaryinput(-1);
    action.set_output(0);
    pb::FileActionMkFile& make = *action.mutable_mkfile();
    make.set_path(absolute("/", name, false));
    make.set_mode(mode);
    make.set_data(content);
    make.set_timestamp(-1);
    return draft_.add(op, "[internal] preparing inline document");
}

std::pair<Draft::Output, std::string> Converter::http_source(const std::string& checksum, const std::string& url, std::string_view step) {
    std::string_view path = std::string_view(url).substr(0, url.find_first_of("?#"));
    while (path.ends_with('/')) path.remove_suffix(1);
    const std::size_t host = path.find("//") + 2;
    const std::size_t slash = path.rfind('/');
    std::string file = slash != std::string_view::npos && slash >= host ? std::string(path.substr(slash + 1)) : std::string();
    if (file.empty() || file == "." || file == "..") file = "__unnamed__";
    pb::Op op;
    op.mutable_source()->set_identifier(url);
    (*op.mutable_source()->mutable_attrs())["http.filename"] = file;
    if (!checksum.empty()) (*op.mutable_source()->mutable_attrs())["http.checksum"] = check_digest(checksum);
    return {draft_.add(op, step), file};
}

Draft::Output Converter::git_source(const std::string& checksum, std::optional<bool> keep_git_dir, const std::string& source,
                                    std::string_view step) {
    pb::Op op;
    std::string remote = source;
    if (remote.starts_with("github.com/")) remote.insert(0, "https://");
    auto& attributes = *op.mutable_source()->mutable_attrs();
    const std::size_t hash = remote.find('#');
    const std::string plain = remote.substr(0, hash);
    attributes["git.fullurl"] = plain;
    if (keep_git_dir.value_or(false)) attributes["git.keepgitdir"] = "true";
    if (!checksum.empty()) attributes["git.checksum"] = checksum;
    const std::size_t scheme = remote.find("://");
    op.mutable_source()->set_identifier("git://" + (scheme == std::string::npos ? remote : remote.substr(scheme + 3)));
    return draft_.add(op, step);
}

}  // namespace grua::build::dockerfile::detail
