#include "build/file_ops.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "build/unpack_archive.hpp"
#include "layers/tree.hpp"

#include <fcntl.h>
#include <unistd.h>
#include <array>
#include <utility>

namespace grua::build {
namespace {

using namespace wire::graph;

constexpr std::int64_t second = 1'000'000'000;

/// Nanoseconds since 1970; -1 is none.
std::optional<timespec> time_of(std::int64_t timestamp) {
    if (timestamp == -1) return std::nullopt;
    // Nanoseconds are counted up from the second before, also before 1970.
    std::int64_t seconds = timestamp / second;
    std::int64_t rest = timestamp % second;
    if (rest < 0) {
        rest += second;
        --seconds;
    }
    return timespec{.tv_sec = seconds, .tv_nsec = rest};
}

std::string rooted(const std::string& path) { return clean_path("/" + path); }

/// Cleaned, but what its end says is kept: "/a/" and "/a/." are the folder, or what is in it.
std::string clean_with_end(const std::string& path) {
    std::string out = rooted(path);
    if (path.ends_with("/.")) return out + (out == "/" ? "." : "/.");
    if (path.ends_with('/') && out != "/") out += '/';
    return out;
}

/// Go's filepath.Base.
std::string last_name(std::string_view path) {
    while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
    return std::string(path.substr(path == "/" ? 0 : path.rfind('/') + 1));
}

/// A new file, link or folder: the owner only where one is given, and the time.
void finish_new(int fd, const std::string& path, const FileActionOptions& options, std::int64_t timestamp) {
    if (options.owner && ::fchownat(fd, "", options.owner->uid, options.owner->gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0)
        fail_path("lchown", path);
    if (const auto time = time_of(timestamp)) {
        const std::array times{*time, *time};
        if (::utimensat(fd, "", times.data(), AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) != 0) fail_path("failed to utime", path);
    }
}

void set_mode(int fd, const std::string& path, mode_t mode) {
    struct stat about{};
    if (::fstat(fd, &about) != 0) fail_path("stat", path);
    // A folder may have got its set-group-ID from the one that it is in.
    if ((about.st_mode & 0777U) != mode && ::fchmod(fd, mode | (about.st_mode & 07000U)) != 0) fail_path("chmod", path);
}

void make_folder(const FileActionMkDir& action, const Root& root, const FileActionOptions& options) {
    TreePlace place = find_place(root, action.path());
    const auto mode = static_cast<mode_t>(action.mode()) & 0777U;
    if (action.makeparents()) {
        make_place(place, {.mode = mode, .owner = options.owner, .time = time_of(action.timestamp())});
        return;
    }
    if (place.exists()) return;
    const std::string path = place.path();
    if (place.missing > 1) fail_path("mkdir", path, ENOENT);
    if (::mkdirat(place.folder.get(), place.name().c_str(), 0700) != 0) {
        if (errno == EEXIST) return;
        fail_path("mkdir", path);
    }
    const Fd folder{::openat(place.folder.get(), place.name().c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
    if (!folder) fail_path("mkdir", path);
    set_mode(folder.get(), path, mode);
    finish_new(folder.get(), path, options, action.timestamp());
}

Fd create_file(const TreePlace& place, mode_t mode) {
    Fd file{::openat(place.folder.get(), place.name().c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)};
    if (!file) fail_path("open", place.path());
    set_mode(file.get(), place.path(), mode);
    return file;
}

/// A file that is there keeps what it is, but for what is in it. Its other names, which may be somebody else's, keep that as well.
Fd open_to_write(const TreePlace& place) {
    const std::string path = place.path();
    if (S_ISDIR(place.about.st_mode)) fail_path("open", path, EISDIR);
    if (!S_ISREG(place.about.st_mode)) fail(ErrorKind::invalid_argument, "open {}: not a regular file", path);
    if (place.about.st_nlink == 1) {
        Fd file{::open(descriptor_path(place.there.get()).c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC)};
        if (!file) fail_path("open", path);
        return file;
    }
    const Fd before = reopen_file(place.there.get(), path);
    if (::unlinkat(place.folder.get(), place.name().c_str(), 0) != 0) fail_path("open", path);
    Fd file = create_file(place, 0600);
    if (::fchown(file.get(), place.about.st_uid, place.about.st_gid) != 0) fail_path("lchown", path);
    if (::fchmod(file.get(), place.about.st_mode & 07777U) != 0) fail_path("chmod", path);
    copy_xattrs(before.get(), file.get());
    return file;
}

void make_file(const FileActionMkFile& action, const Root& root, const FileActionOptions& options) {
    const TreePlace place = find_place(root, rooted(action.path()));
    const std::string path = place.path();
    if (place.missing > 1) fail_path("open", path, ENOENT);
    const Fd file = place.exists() ? open_to_write(place) : create_file(place, static_cast<mode_t>(action.mode()) & 0777U);
    write_all(file.get(), action.data(), path);
    finish_new(file.get(), path, options, action.timestamp());
}

void make_link(const FileActionSymlink& action, const Root& root, const FileActionOptions& options) {
    const TreePlace place = find_place(root, rooted(action.newpath()));
    const std::string path = place.path();
    const std::string call = "symlink " + action.oldpath();
    if (place.exists()) fail_path(call, path, EEXIST);
    if (place.missing > 1) fail_path(call, path, ENOENT);
    if (::symlinkat(action.oldpath().c_str(), place.folder.get(), place.name().c_str()) != 0) fail_path(call, path);
    const Fd link{::openat(place.folder.get(), place.name().c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC)};
    if (!link) fail_path(call, path);
    finish_new(link.get(), path, options, action.timestamp());
}

/// A link that leads nowhere is not there for it either.
bool is_there(const Root& root, const TreePlace& place) {
    if (!place.exists() || !S_ISLNK(place.about.st_mode)) return place.exists();
    try {
        return find_place(root, place.path()).exists();
    } catch (const Error&) {
        return true;
    }
}

void remove_path(const std::string& path, const FileActionRm& action, const Root& root, const FileActionOptions& options) {
    const TreePlace place = find_place(root, rooted(path), LastLink::keep);
    if (place.names.empty()) fail(ErrorKind::invalid_argument, "rmPath: invalid empty path");
    if (!action.allownotfound() && !is_there(root, place)) fail_path("stat", place.path(), ENOENT);
    if (!place.exists()) return;
    while_doing(place.path(), [&] {
        if (!layers::remove_tree(place.folder.get(), place.name(), options.stop)) fail(ErrorKind::unavailable, "context canceled");
    });
}

void remove(const FileActionRm& action, const Root& root, const FileActionOptions& options) {
    if (!action.allowwildcard()) return remove_path(action.path(), action, root, options);
    for (const std::string& each : expand_wildcards(root, action.path(), LastLink::keep, options.stop))
        remove_path(each, action, root, options);
}

std::optional<IgnoreFile> patterns_of(const google::protobuf::RepeatedPtrField<std::string>& patterns, const char* what) {
    if (patterns.empty()) return std::nullopt;
    try {
        return IgnoreFile{{patterns.begin(), patterns.end()}};
    } catch (Error& error) {
        std::string all;
        for (const std::string& each : patterns) all.append(all.empty() ? "" : " ").append(each);
        error.add_context(fmt::format("invalid {}: [{}]", what, all.substr(0, 1024)));
        throw;
    }
}

class Copy {
public:
    Copy(const FileActionCopy& action, const Root& destination, const Root& source, const FileActionOptions& options)
        : action_(action), destination_(destination), source_(source), options_(options), copier_(source, destination, copy_options()) {
        if (action.modestr().empty() && action.mode() != -1) folders_.mode = static_cast<mode_t>(action.mode()) & 0777U;
        folders_.owner = options.owner;
        folders_.time = time_of(action.timestamp());
    }

    void run() {
        if (!action_.createdestpath()) check_destination();
        const std::string source = clean_with_end(action_.src());
        std::vector<std::string> sources{source};
        if (action_.allowwildcard()) sources = expand_wildcards(source_, source, source_links(), options_.stop);
        if (sources.empty() && !action_.allowemptywildcard()) fail(ErrorKind::not_found, "{} not found", source);
        for (const std::string& each : sources)
            if (!action_.attemptunpackdockercompatibility() || !unpack(each)) copy(each);
        copier_.check_required();
    }

private:
    struct Total {
        std::uint64_t bytes = 0;
        std::uint64_t entries = 0;
    };
    void report(const Total& copied, const Total& unpacked) const {
        options_.progress(copied.bytes + unpacked.bytes, copied.entries + unpacked.entries);
    }

    CopyOptions copy_options() {
        CopyOptions out;
        out.owner = options_.owner;
        if (!action_.modestr().empty())
            out.mode = ModeChange::parse(action_.modestr());
        else if (action_.mode() != -1)
            out.mode = ModeChange::exactly(static_cast<mode_t>(action_.mode()));
        out.time = time_of(action_.timestamp());
        out.include = patterns_of(action_.include_patterns(), "includepatterns");
        out.exclude = patterns_of(action_.exclude_patterns(), "excludepatterns");
        out.replaces_kinds = action_.alwaysreplaceexistingdestpaths();
        out.sharing = options_.sharing;
        out.required = {action_.required_paths().begin(), action_.required_paths().end()};
        out.stop = options_.stop;
        if (options_.progress)
            out.progress = [this](std::uint64_t bytes, std::uint64_t entries) { report(copied_ = {bytes, entries}, unpacked_); };
        return out;
    }

    LastLink source_links() const { return action_.followsymlink() ? LastLink::follow : LastLink::keep; }

    void check_destination() const {
        const TreePlace place = find_place(destination_, rooted(action_.dest()));
        if (place.missing > 1) fail_path("failed to stat " + action_.dest() + ": lstat", place.path(place.names.size() - 1), ENOENT);
    }

    /// False where it is no archive.
    bool unpack(const std::string& path) {
        const TreePlace from = find_place(source_, path);
        if (!from.exists() || !S_ISREG(from.about.st_mode)) return false;
        const Fd file = reopen_file(from.there.get(), from.path());
        if (!is_archive(file.get())) return false;
        TreePlace to = find_place(destination_, rooted(action_.dest()));
        make_place(to, {.owner = folders_.owner, .time = folders_.time});
        while_doing(from.path(), [&] {
            Total now = unpacked_;
            FileProgress progress;
            if (options_.progress) {
                progress = [&](std::uint64_t bytes, std::uint64_t entries) {
                    now = {.bytes = unpacked_.bytes + bytes, .entries = unpacked_.entries + entries};
                    report(copied_, now);
                };
            }
            unpack_archive(file.get(), Root::at(std::move(to.there)), to.path(), options_.owner, options_.stop, progress);
            unpacked_ = now;
        });
        return true;
    }

    void copy(const std::string& path) {
        const std::string end = clean_with_end(action_.dest());
        const std::size_t name = end.rfind('/') + 1;
        const bool names_folder = name == end.size() || end.substr(name) == ".";
        MadeFolders made_first;
        if (!std::exchange(is_ensured_, true)) {
            TreePlace ensured = find_place(destination_, names_folder ? end : end.substr(0, name));
            made_first = make_place(ensured, folders_);
        }

        const TreePlace from = find_place(source_, clean_path(path), source_links());
        if (!from.exists()) fail_path("lstat", from.path(), ENOENT);
        TreePlace to = find_place(destination_, clean_path(end));
        MadeFolders made_second;
        const CopyTarget target = target_of(from, last_name(path), to, made_second);
        copier_.copy(from, target);
        if (!folders_.time) return;
        // What was made in them has changed it. What a further source makes in them changes it as well, as in BuildKit.
        made_second.set_times(destination_, *folders_.time);
        made_first.set_times(destination_, *folders_.time);
    }

    /// `name` is the source's, as it was asked for.
    CopyTarget target_of(const TreePlace& from, const std::string& name, TreePlace& to, MadeFolders& made) const {
        const bool is_contents = from.is_folder() && action_.dircopycontents();
        const bool goes_into = from.is_folder() ? !is_contents && to.exists() : to.is_folder();
        if (goes_into && name != "." && name != "/") {
            made = make_place(to, folders_);
            return {.folder = std::move(to.there), .name = name, .path = (to.names.empty() ? "" : to.path()) + "/" + name};
        }
        made = make_place(to, folders_, is_contents && !to.exists() ? 0 : 1);
        return {.folder = std::move(to.folder), .name = to.name(), .path = to.path()};
    }

    const FileActionCopy& action_;
    const Root& destination_;
    const Root& source_;
    const FileActionOptions& options_;
    TreeCopier copier_;
    NewFolders folders_;  // That are made for what is copied.
    bool is_ensured_ = false;
    Total copied_;
    Total unpacked_;
};

}  // namespace

const ChownOpt* owner_of(const FileAction& action) {
    if (action.has_copy()) return action.copy().has_owner() ? &action.copy().owner() : nullptr;
    if (action.has_mkfile()) return action.mkfile().has_owner() ? &action.mkfile().owner() : nullptr;
    if (action.has_mkdir()) return action.mkdir().has_owner() ? &action.mkdir().owner() : nullptr;
    if (action.has_symlink()) return action.symlink().has_owner() ? &action.symlink().owner() : nullptr;
    return nullptr;
}

void apply_file_action(const FileAction& action, const Root& destination, const Root* source, const FileActionOptions& options) {
    switch (action.action_case()) {
        case FileAction::kCopy:
            if (!source) fail(ErrorKind::invalid_argument, "a copy needs a source");
            return Copy{action.copy(), destination, *source, options}.run();
        case FileAction::kMkfile:
            return make_file(action.mkfile(), destination, options);
        case FileAction::kMkdir:
            return make_folder(action.mkdir(), destination, options);
        case FileAction::kRm:
            return remove(action.rm(), destination, options);
        case FileAction::kSymlink:
            return make_link(action.symlink(), destination, options);
        case FileAction::ACTION_NOT_SET:
            break;
    }
    fail(ErrorKind::invalid_argument, "file action without an action");
}

}  // namespace grua::build
