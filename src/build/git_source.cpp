#include "build/git_source.hpp"

#include "base/encoding.hpp"
#include "base/error.hpp"
#include "base/id.hpp"
#include "base/log.hpp"
#include "base/memory_file.hpp"
#include "base/text.hpp"
#include "build/either_stop.hpp"
#include "build/git_checkout.hpp"
#include "build/loop_call.hpp"
#include "build/ssh_agent.hpp"
#include "layers/tree.hpp"

#include <fcntl.h>
#include <unistd.h>
#include <algorithm>
#include <filesystem>
#include <utility>

namespace grua::build {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view scheme = "git://";
constexpr std::string_view attribute_prefix = "git.";
constexpr std::size_t known_hosts_limit = std::size_t{1} << 20U;

bool starts_with_checksum(std::string_view object, std::string_view checksum) { return !object.empty() && object.starts_with(checksum); }

void check_checksum(const GitIdentifier& what) {
    const auto is_hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); };
    if (!std::ranges::all_of(what.checksum, is_hex))
        fail(ErrorKind::invalid_argument, "invalid checksum {} for Git URL, expected hex commit hash", what.checksum);
    const std::string& ref = what.url.ref;
    if (is_git_commit(ref) && !ref.starts_with(what.checksum))
        fail(ErrorKind::invalid_argument, "expected checksum to match {}, got {}", what.checksum, ref);
    if (!what.fetch_by_commit || is_git_commit(ref)) return;
    if (what.checksum.empty()) fail(ErrorKind::invalid_argument, "fetch-by-commit requires a checksum or a commit SHA ref");
    if (!is_git_commit(what.checksum))
        fail(ErrorKind::invalid_argument, "fetch-by-commit requires a full commit SHA checksum, got {:?}", what.checksum);
}

/// A name without its kind is a branch's.
std::string full_ref(const std::string& ref) { return ref.empty() || ref.starts_with("refs/") ? ref : "refs/heads/" + ref; }

/// What needs no remote to be known.
std::optional<GitFound> known_before(const GitIdentifier& what) {
    if (is_git_commit(what.url.ref)) return GitFound{.what = what, .ref = {}, .object = what.url.ref, .commit = {}};
    if (what.fetch_by_commit) return GitFound{.what = what, .ref = full_ref(what.url.ref), .object = what.checksum, .commit = {}};
    return std::nullopt;
}

std::string without_front(std::string_view text, std::string_view front) {
    return std::string(text.starts_with(front) ? text.substr(front.size()) : text);
}

/// The objects by their names, of lines "object\tname".
std::string_view object_of(std::string_view listed, std::string_view name) {
    for (std::size_t at = 0; at < listed.size();) {
        const std::size_t end = std::min(listed.find('\n', at), listed.size());
        const std::string_view line = listed.substr(at, end - at);
        at = end + 1;
        const std::size_t tab = line.find('\t');
        if (tab != std::string_view::npos && line.substr(tab + 1) == name) return line.substr(0, tab);
    }
    return {};
}

void remove_all_in(const std::string& folder) {
    const Fd open{::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!open) fail_errno("open {}", folder);
    std::vector<std::string> names;
    for (const auto& each : fs::directory_iterator(folder)) names.push_back(each.path().filename());
    for (const std::string& each : names) layers::remove_tree(open.get(), each);
}

}  // namespace

GitIdentifier read_git_source(const pb::SourceOp& source, GitFiles files) {
    if (!source.identifier().starts_with(scheme))
        fail(ErrorKind::invalid_argument, "invalid git source {:?}", without_credentials(source.identifier()));
    // What is a URL only once it has a scheme is one of HTTPS.
    const auto parse = [&](std::string_view text) {
        const bool is_url = is_git_form(text) || split_url(text);
        return parse_git_url(is_url ? std::string(text) : fmt::format("https://{}", text), files).value();
    };
    GitIdentifier out{.url = parse(std::string_view(source.identifier()).substr(scheme.size()))};
    for (const auto& [name, value] : source.attrs()) {
        if (name == "git.fullurl") {
            GitUrl url = parse(value);
            url.ref = out.url.ref;
            url.folder = out.url.folder;
            out.url = std::move(url);
        } else if (name == "git.keepgitdir") {
            out.keep_git_dir = value == "true";
        } else if (name == "git.authheadersecret") {
            out.header_secret = value;
        } else if (name == "git.authtokensecret") {
            out.token_secret = value;
        } else if (name == "git.knownsshhosts") {
            if (value.size() > known_hosts_limit) fail(ErrorKind::invalid_argument, "{}: more than {} bytes", name, known_hosts_limit);
            out.known_hosts = value;
        } else if (name == "git.mountsshsock") {
            out.ssh_agent = value;
        } else if (name == "git.checksum") {
            out.checksum = value;
        } else if (name == "git.skipsubmodules") {
            out.skip_submodules = value == "true";
        } else if (name == "git.mtime") {
            if (value != "checkout" && value != "commit") fail(ErrorKind::invalid_argument, "{}: invalid value {:?}", name, value);
            out.commit_times = value == "commit";
        } else if (name == "git.fetchbycommit") {
            out.fetch_by_commit = value == "true";
        } else if (name.starts_with(attribute_prefix)) {
            fail(ErrorKind::not_implemented, "not implemented: {}", name);
        }
    }
    check_git_ref(out.url.ref);
    check_checksum(out);
    return out;
}

std::string key_of(const GitFound& found) {
    const GitIdentifier& what = found.what;
    // By its commit a tag is the same as what it is a tag of; with its history it is not.
    std::string out = what.keep_git_dir || found.commit.empty() ? found.object : found.commit;
    if (what.keep_git_dir) {
        out += ".git";
        if (const std::string& ref = found.ref.empty() ? found.object : found.ref; !ref.empty()) out += "#" + ref;
    }
    if (!what.url.folder.empty()) out += ":" + what.url.folder;
    if (what.skip_submodules) out += "(skip-submodules)";
    if (what.commit_times) out += "(mtime=commit)";
    return out;
}

GitFound choose_git_ref(GitIdentifier what, const std::string& ref, std::string_view listed) {
    const std::string tag = "refs/tags/" + without_front(ref, "refs/tags/");
    GitFound out{.what = std::move(what), .ref = {}, .object = {}, .commit = {}};
    // As it is, as a branch, as a tag: what `git checkout` prefers.
    for (const std::string& name : {"refs/" + without_front(ref, "refs/"), "refs/heads/" + without_front(ref, "refs/heads/"), tag}) {
        if (!out.object.empty()) break;
        out.ref = name;
        out.object = object_of(listed, name);
    }
    if (out.object.empty()) fail(ErrorKind::not_found, "repository does not contain ref {}, output: {:?}", ref, listed.substr(0, 2000));
    if (out.ref == tag) out.commit = object_of(listed, tag + "^{}");
    for (const std::string& each : {out.object, out.commit})
        if (!each.empty() && !is_git_commit(each)) fail(ErrorKind::unavailable, "invalid commit sha {:?}", each);
    const std::string& checksum = out.what.checksum;
    if (!checksum.empty() && !starts_with_checksum(out.object, checksum) && !starts_with_checksum(out.commit, checksum))
        fail(ErrorKind::invalid_argument, "expected checksum to match {}, got {}{}{}", checksum, out.object,
             out.commit.empty() ? "" : " or ", out.commit);
    return out;
}

GitDefault choose_git_default(const std::string& remote, std::string_view listed) {
    constexpr std::string_view front = "ref: ";
    const std::string shown = without_credentials(remote);
    GitDefault out;
    for (const std::string& line : split(listed, '\n')) {
        const std::size_t tab = line.find('\t');
        if (tab == std::string::npos || std::string_view(line).substr(tab + 1) != "HEAD") continue;
        if (line.starts_with(front))
            out.ref = line.substr(front.size(), tab - front.size());
        else
            out.object = line.substr(0, tab);
    }
    if (!out.ref.starts_with("refs/heads/")) fail(ErrorKind::not_found, "could not find default branch for repository: {}", shown);
    check_git_ref(out.ref);
    return out;
}

/// What git is given for a remote, for as long as it runs.
struct GitSource::Means {
    GitAccess access;
    std::unique_ptr<SshAgent> agent;  ///< Ends on the loop.
    Fd known_hosts;
};

GitSource::GitSource(GitSourceOptions options, asio::any_io_executor loop, Sessions& sessions, Transfers& transfers)
    : options_(std::move(options)),
      loop_(std::move(loop)),
      sessions_(sessions),
      transfers_(transfers),
      git_([this] {
          GitProgramOptions program = options_.program;
          program.folder = options_.directory;
          return program;
      }()),
      cache_(options_.directory, options_.cache_limit) {}

asio::awaitable<GitFoundPtr> GitSource::look_up(GitIdentifier what, std::vector<std::string> sessions) {
    if (auto known = known_before(what)) co_return std::make_shared<const GitFound>(std::move(*known));
    const auto means = co_await means_of(what, {.sessions = &sessions_, .ids = std::move(sessions)});
    co_return co_await transfers_.call(
        loop_, [this, what = std::move(what), access = means->access](const std::stop_token& stop) { return ask(what, access, stop); });
}

asio::awaitable<void> GitSource::put(GitFoundPtr found, std::string folder, std::vector<std::string> sessions, std::stop_token stop,
                                     GitPrinted printed) {
    const auto means = co_await means_of(found->what, {.sessions = &sessions_, .ids = std::move(sessions)});
    std::function<void(int, std::string)> by_value;
    if (printed) by_value = [printed = std::move(printed)](int stream, const std::string& line) { printed(stream, line); };
    const LoopCall<int, std::string> told(loop_, std::move(by_value));
    GitPrinted remote;
    if (auto call = told.remote())
        remote = [call = std::move(call)](int stream, std::string_view line) { call(stream, std::string(line)); };
    co_await transfers_.call(loop_, [this, found, folder = std::move(folder), access = means->access, remote = std::move(remote),
                                     stop = std::move(stop)](const std::stop_token& own) {
        const EitherStop either(own, stop);
        make(*found, folder, access, remote, either.token());
        return true;
    });
}

asio::awaitable<std::shared_ptr<GitSource::Means>> GitSource::means_of(const GitIdentifier& what, SessionGroup group) const {
    const auto out = std::make_shared<Means>();
    GitAccess& access = out->access;
    access.remote = what.url.remote;
    const bool is_http = what.url.scheme == "http" || what.url.scheme == "https";
    if (is_http) {
        const UrlParts parts = split_url(what.url.remote).value();
        access.remote = parts.plain();
        access.authorization = co_await authorization(what, group);
        access.authorized = git_token_scope(access.remote);
        if (access.authorization.empty() && what.url.user) {
            access.authorization = what.url.user->authorization();
            access.authorized = fmt::format("{}://{}/", parts.scheme, parts.host);
        }
    }
    if (what.url.scheme == "ssh" && !what.ssh_agent.empty()) {
        out->agent = co_await SshAgent::open(
            loop_, group, {.directory = options_.agent_directory, .id = what.ssh_agent, .uid = ::geteuid(), .gid = ::getegid()});
        access.ssh_agent = out->agent->path();
    }
    if (!what.known_hosts.empty()) {
        out->known_hosts = memory_file(what.known_hosts, "known_hosts");
        access.known_hosts = fmt::format("/proc/{}/fd/{}", ::getpid(), out->known_hosts.get());
    }
    co_return out;
}

/// Secrets of the host itself before those for all hosts.
asio::awaitable<std::string> GitSource::authorization(const GitIdentifier& what, SessionGroup group) const {
    struct Secret {
        std::string name;
        bool is_token;
    };
    std::vector<Secret> secrets;
    for (const std::string& of_host : {"." + what.url.host, std::string()}) {
        if (!what.header_secret.empty()) secrets.push_back({what.header_secret + of_host, false});
        if (!what.token_secret.empty()) secrets.push_back({what.token_secret + of_host, true});
    }
    for (const Secret& each : secrets) {
        const auto found = co_await find_secret(group, each.name);
        if (!found) continue;
        const std::string value(trim(*found));
        if (value.contains('\n') || value.contains('\r') || value.contains('\0'))
            fail(ErrorKind::invalid_argument, "secret {}: it is no header's value", each.name);
        co_return each.is_token ? "basic " + base64_encode("x-access-token:" + value) : value;
    }
    co_return std::string();
}

GitFoundPtr GitSource::ask(const GitIdentifier& what, const GitAccess& access, const std::stop_token& stop) const {
    const std::string shown = without_credentials(access.remote);
    const auto list = [&](std::vector<std::string> words) {
        GitCall call{.words = std::move(words), .access = &access};
        call.words.insert(call.words.begin(), "ls-remote");
        return git_.run(call, stop);
    };
    const std::string& ref = what.url.ref;
    if (ref.empty()) {
        const std::string listed = while_doing(fmt::format("error fetching default branch for repository {}", shown),
                                               [&] { return list({"--symref", "--", "origin", "HEAD"}); });
        const GitDefault chosen = choose_git_default(access.remote, listed);
        return std::make_shared<const GitFound>(choose_git_ref(what, chosen.ref, fmt::format("{}\t{}\n", chosen.object, chosen.ref)));
    }
    const std::string listed =
        while_doing(fmt::format("failed to fetch remote {}", shown), [&] { return list({"--", "origin", ref, ref + "^{}"}); });
    return std::make_shared<const GitFound>(choose_git_ref(what, ref, listed));
}

void GitSource::make(const GitFound& found, const std::string& folder, const GitAccess& access, const GitPrinted& printed,
                     const std::stop_token& stop) {
    const GitIdentifier& what = found.what;
    {
        const auto repository = cache_.open(git_, access.remote, found.object.size() == 64, stop);
        const auto make_once = [&] {
            repository->fetch({.object = found.object, .ref = found.ref, .whole = !what.fetch_by_commit}, access, printed, stop);
            const std::string commit = repository->commit_of(found.object, stop);
            if (!what.checksum.empty() && !starts_with_checksum(found.object, what.checksum) &&
                !starts_with_checksum(commit, what.checksum))
                fail(ErrorKind::invalid_argument, "expected checksum to match {}, got {}{}{}", what.checksum, found.object,
                     commit == found.object ? "" : " or ", commit == found.object ? "" : commit);
            check_out(*repository,
                      {.object = found.object,
                       .commit = commit,
                       .ref = found.ref,
                       .folder = what.url.folder,
                       .keep_git_dir = what.keep_git_dir,
                       .submodules = !what.skip_submodules,
                       .commit_times = what.commit_times},
                      folder, access, printed, stop);
        };
        bool is_damaged = false;
        try {
            make_once();
        } catch (const GitError& error) {
            if (!is_git_damage(error)) throw;
            log::info("the repository that is kept of {} is begun anew: {}", without_credentials(access.remote), error.what());
            is_damaged = true;
        }
        if (is_damaged) {
            repository->begin_anew(stop);
            remove_all_in(folder);
            make_once();
        }
    }
    cache_.trim();
}

}  // namespace grua::build
