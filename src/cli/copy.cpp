// cp: between a container and the local system, as tars. A container's tar is not trusted: it is unpacked so that nothing in it
// leads out of the folder it goes to.
#include "cli/copy_paths.hpp"
#include "cli/handlers.hpp"
#include "cli/session.hpp"
#include "cli/terminal.hpp"
#include "cli/units.hpp"

#include "base/encoding.hpp"
#include "base/text.hpp"
#include "layers/extract.hpp"
#include "layers/pack.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <array>
#include <atomic>
#include <boost/json.hpp>
#include <chrono>
#include <climits>
#include <csignal>
#include <filesystem>
#include <thread>

namespace grua::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t piece_size = std::size_t{256} << 10U;
constexpr int link_limit = 10;
// Go's os.FileMode.
constexpr std::int64_t mode_folder = std::int64_t{1} << 31U;
constexpr std::int64_t mode_link = std::int64_t{1} << 27U;
constexpr std::int64_t mode_device = std::int64_t{1} << 26U;

Value stat_header(const client::Response& response) {
    boost::system::error_code error;
    const auto text = base64_decode(response.header("x-docker-container-path-stat"));
    if (!text) fail(ErrorKind::unavailable, "the daemon's description of the path is not base64");
    Value out = boost::json::parse(*text, error);
    if (error) fail(ErrorKind::unavailable, "the daemon's description of the path is not JSON: {}", error.message());
    return out;
}

std::string archive_target(const std::string& container, client::Query query) {
    return container_path(container, "/archive" + query.text());
}

/// Nothing where there is no such path, or the daemon does not tell.
std::optional<Value> stat_in_container(client::Client& daemon, const std::string& container, const std::string& path) {
    try {
        const client::Stream stream =
            daemon.stream({.method = "HEAD", .target = archive_target(container, client::Query().add("path", path))});
        return stat_header(stream.response);
    } catch (const client::ApiError&) {
        return std::nullopt;
    }
}

/// Absolute, or beside the link.
std::string target_of_link(const Value& stat, const std::string& link) {
    const std::string target = text_at(stat, "linkTarget");
    return target.starts_with('/') ? target : clean_text(split_entry(link).first + "/" + target);
}

/// What was copied, on a terminal; docker's words.
class CopyProgress {
public:
    CopyProgress(const char* header, bool quiet) : header_(header), quiet_(quiet), paint_(!quiet && may_paint(STDERR_FILENO)) {}

    void moved(std::size_t count) {
        bytes_ += count;
        const auto now = std::chrono::steady_clock::now();
        if (!paint_ || now - shown_ < std::chrono::milliseconds{75}) return;
        shown_ = now;
        write_stream(STDERR_FILENO, fmt::format("\r\x1b[2K{}{}", header_, human_size(static_cast<double>(bytes_.load()), 3)));
    }

    void finish(std::optional<std::uint64_t> content, const std::string& target) {
        if (paint_) write_stream(STDERR_FILENO, "\r\x1b[2K");
        if (quiet_) return;
        const std::uint64_t size = content.value_or(bytes_);
        std::string text = fmt::format("Successfully copied {}", human_size(static_cast<double>(size), 3));
        if (size != bytes_) text += fmt::format(" (transferred {})", human_size(static_cast<double>(bytes_.load()), 3));
        write_stream(STDERR_FILENO, fmt::format("{} to {}\n", text, target));
    }

private:
    const char* header_;
    bool quiet_;
    bool paint_;
    std::atomic<std::uint64_t> bytes_ = 0;
    std::chrono::steady_clock::time_point shown_{};
};

class BodySource : public layers::Source {
public:
    BodySource(client::Response& response, CopyProgress& progress) : response_(response), progress_(progress) {}
    std::size_t read(std::span<char> out) override {
        const std::size_t count = response_.read_some(out);
        progress_.moved(count);
        return count;
    }

private:
    client::Response& response_;
    CopyProgress& progress_;
};

std::string absolute(const std::string& path) {
    return keep_end(clean_text(path.starts_with('/') ? path : fs::current_path().string() + "/" + path), path);
}

/// docker refuses devices: what they would be overwritten with is a tar's content.
void check_output_path(const std::string& path) {
    const std::string folder = split_entry(path).first;
    struct stat status{};
    if (::stat(folder.c_str(), &status) != 0 && errno == ENOENT)
        fail(ErrorKind::invalid_argument, "invalid output path: directory \"{}\" does not exist", folder);
    if (::stat(path.c_str(), &status) == 0 && (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode)))
        fail(ErrorKind::invalid_argument, "invalid output path: \"{}\" must be a directory or a regular file: got a device", path);
}

/// The target of a copy to here: links are followed to what they name, which need not exist.
CopySide local_target(std::string path) {
    struct stat status{};
    for (int links = 0; ::lstat(path.c_str(), &status) == 0; ++links) {
        if (!S_ISLNK(status.st_mode)) return {.path = path, .exists = true, .is_folder = S_ISDIR(status.st_mode)};
        if (links > link_limit) fail(ErrorKind::invalid_argument, "too many symlinks in {}", path);
        const std::string target = fs::read_symlink(path).string();
        path = target.starts_with('/') ? target : clean_text(split_entry(path).first + "/" + target);
    }
    if (errno != ENOENT) fail_errno("lstat {}", path);
    const std::string parent = split_entry(path).first;
    if (::stat(parent.c_str(), &status) != 0) fail_errno("stat {}", parent);
    if (!S_ISDIR(status.st_mode)) fail(ErrorKind::invalid_argument, "not a directory");
    return {.path = path};
}

std::string resolved(const std::string& path) {
    std::array<char, PATH_MAX> out{};
    if (!::realpath(path.c_str(), out.data())) fail_errno("lstat {}", path);
    return out.data();
}

/// The source of a copy from here: links before the last part are followed, the last one where that is asked.
CopySide local_source(const std::string& path, bool follow) {
    CopySide out;
    if (follow) {
        std::tie(out.path, out.rename) = renamed_by_links(path, resolved(path));
    } else {
        const std::size_t slash = path.rfind('/');
        out.path = resolved(path.substr(0, slash + 1)) + "/" + path.substr(slash + 1);
    }
    struct stat status{};
    if (::lstat(out.path.c_str(), &status) != 0) fail_errno("lstat {}", out.path);
    out.exists = true;
    out.is_folder = S_ISDIR(status.st_mode);
    return out;
}

int copy_from_container(client::Client& daemon, const CopyArgument& from, const std::string& to, const Flags& flags, bool quiet) {
    std::string source = from.path;
    std::string rename;
    const std::string target = to == "-" ? to : absolute(to);
    if (to != "-") check_output_path(target);
    if (flags.on("follow-link")) {
        const auto stat = stat_in_container(daemon, from.container, source);
        if (stat && (number_at(*stat, "mode") & mode_link) != 0)
            std::tie(source, rename) = renamed_by_links(source, target_of_link(*stat, source));
    }
    client::Stream stream = daemon.stream({.method = "GET", .target = archive_target(from.container, client::Query().add("path", source))});
    CopyProgress progress("Copying from container - ", quiet);
    BodySource body(stream.response, progress);
    if (to == "-") {
        std::string piece(piece_size, '\0');
        while (const std::size_t count = stream.response.read_some(piece)) print(std::string_view(piece).substr(0, count));
        return 0;
    }
    const Value stat = stat_header(stream.response);
    const bool is_folder = (number_at(stat, "mode") & mode_folder) != 0;
    const CopySide side{.path = source, .exists = true, .is_folder = is_folder, .rename = rename};
    const CopyPlan plan = plan_copy(side, local_target(target));
    // The name that the user gave stands for the one that links led to, then for what the target is called.
    const auto first = rename.empty() ? std::function<std::string(const std::string&)>{}
                                      : renaming({.folder = "", .from = split_entry(source).second, .to = rename});
    const auto second = renaming(plan);
    layers::ExtractOptions options{.keep_kinds = true, .ownership = layers::Ownership::of_caller, .shown = plan.folder};
    if (first || second) {
        options.rename = [first, second](const std::string& name) {
            const std::string once = first ? first(name) : name;
            return second ? second(once) : once;
        };
    }
    layers::TarReader tar{body};
    layers::extract_tar(tar, Root::open(plan.folder.c_str()), "", options);
    std::array<char, 4096> rest{};
    while (body.read(rest) > 0) {
    }
    progress.finish(is_folder ? std::nullopt : std::optional(static_cast<std::uint64_t>(number_at(stat, "size"))), target);
    return 0;
}

std::uint64_t content_size(const std::string& path) {
    struct stat status{};
    if (::lstat(path.c_str(), &status) != 0 || !S_ISDIR(status.st_mode))
        return S_ISREG(status.st_mode) ? static_cast<std::uint64_t>(status.st_size) : 0;
    std::uint64_t sum = 0;
    std::error_code error;
    for (fs::recursive_directory_iterator at(path, fs::directory_options::skip_permission_denied, error), end; at != end && !error;
         at.increment(error)) {
        std::error_code ignored;
        if (at->is_regular_file(ignored) && !at->is_symlink(ignored)) sum += at->file_size(ignored);
    }
    return sum;
}

std::function<std::string()> pieces_of(const std::shared_ptr<Fd>& file, CopyProgress& progress) {
    return [file, &progress] {
        std::string piece(piece_size, '\0');
        ssize_t count = -1;
        do {
            count = ::read(file->get(), piece.data(), piece.size());
        } while (count < 0 && errno == EINTR);
        if (count < 0) fail_errno("read");
        piece.resize(static_cast<std::size_t>(count));
        progress.moved(piece.size());
        return piece;
    };
}

/// A tar of a local path that is made while it is sent.
class LocalTar {
public:
    LocalTar(const CopySide& source, const std::string& name) {
        std::array<int, 2> ends{};
        if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail_errno("make a pipe");
        reading_ = std::make_shared<Fd>(ends[0]);
        packing_ = std::jthread{[this, source, name, writing = std::make_shared<Fd>(ends[1])] { pack(source, name, std::move(*writing)); }};
    }
    ~LocalTar() { *reading_ = Fd{}; }  // A packer that still writes ends with that.
    LocalTar(const LocalTar&) = delete;
    LocalTar& operator=(const LocalTar&) = delete;

    std::shared_ptr<Fd> reading() const { return reading_; }
    /// Throws what made the tar end early.
    void check() {
        *reading_ = Fd{};
        packing_.join();
        if (failure_) std::rethrow_exception(failure_);
    }

private:
    void pack(const CopySide& source, const std::string& name, Fd writing) {
        // A pipe that nobody reads is an error here, not the end of the program.
        sigset_t broken_pipe;
        ::sigemptyset(&broken_pipe);
        ::sigaddset(&broken_pipe, SIGPIPE);
        ::pthread_sigmask(SIG_BLOCK, &broken_pipe, nullptr);
        try {
            const auto [folder, leaf] = split_entry(source.path);
            const Fd parent{::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
            if (!parent) fail_errno("open {}", folder);
            layers::FdSink sink{writing.get()};
            layers::Packer packer{sink};
            packer.add_tree(parent.get(), leaf == "/" ? "." : leaf, name);
            packer.finish();
        } catch (const Error& error) {
            if (error.os_error() != EPIPE) failure_ = std::current_exception();
        } catch (...) {
            failure_ = std::current_exception();
        }
    }

    std::shared_ptr<Fd> reading_;
    std::exception_ptr failure_;
    std::jthread packing_;
};

void send(client::Client& daemon, const std::string& container, const std::string& folder, const Flags& flags,
          std::function<std::string()> pieces) {
    client::Query query;
    query.add("path", folder).add("noOverwriteDirNonDir", "true").add_if(flags.on("archive"), "copyUIDGID", "true");
    client::Stream stream = daemon.stream({.method = "PUT",
                                           .target = archive_target(container, query),
                                           .content_type = "application/x-tar",
                                           .body_source = std::move(pieces)});
    (void)stream.response.read_all();
}

int copy_to_container(client::Client& daemon, const std::string& from, const CopyArgument& to, const Flags& flags, bool quiet) {
    CopySide target{.path = to.path};
    auto stat = stat_in_container(daemon, to.container, to.path);
    if (stat && (number_at(*stat, "mode") & mode_link) != 0) {
        target.path = target_of_link(*stat, to.path);
        stat = stat_in_container(daemon, to.container, target.path);
    }
    if (stat && (number_at(*stat, "mode") & mode_device) != 0)
        fail(ErrorKind::invalid_argument, "destination \"{}:{}\" must be a directory or a regular file: got a device", to.container,
             to.path);
    target.exists = stat.has_value();
    target.is_folder = stat && (number_at(*stat, "mode") & mode_folder) != 0;

    CopyProgress progress("Copying to container - ", quiet);
    if (from == "-") {
        if (!target.is_folder) fail(ErrorKind::invalid_argument, "destination \"{}:{}\" must be a directory", to.container, to.path);
        send(daemon, to.container, target.path, flags, pieces_of(std::make_shared<Fd>(::dup(STDIN_FILENO)), progress));
        progress.finish(std::nullopt, to.container + ":" + target.path);
        return 0;
    }
    const CopySide source = local_source(absolute(from), flags.on("follow-link"));
    const CopyPlan plan = plan_copy(source, target);
    const std::string own_name = source.rename.empty() ? split_entry(source.path).second : source.rename;
    LocalTar tar(source, plan.from.empty() ? own_name : plan.to);
    try {
        send(daemon, to.container, plan.folder, flags, pieces_of(tar.reading(), progress));
    } catch (const Error&) {
        tar.check();  // A tar that broke off says more than what the daemon made of it.
        throw;
    }
    tar.check();
    progress.finish(content_size(source.path), to.container + ":" + target.path);
    return 0;
}

}  // namespace

int copy_files(Context& context, const Parsed& given) {
    if (given.arguments[0].empty()) fail(ErrorKind::invalid_argument, "source can not be empty");
    if (given.arguments[1].empty()) fail(ErrorKind::invalid_argument, "destination can not be empty");
    const bool quiet = given.flags.given("quiet") ? given.flags.on("quiet") : !is_terminal(STDOUT_FILENO);
    const CopyArgument from = split_copy_argument(given.arguments[0]);
    const CopyArgument to = split_copy_argument(given.arguments[1]);
    if (!from.container.empty() && !to.container.empty()) fail(ErrorKind::invalid_argument, "copying between containers is not supported");
    if (from.container.empty() && to.container.empty()) fail(ErrorKind::invalid_argument, "must specify at least one container source");
    if (to.container.empty()) return copy_from_container(context.daemon(), from, to.path, given.flags, quiet);
    return copy_to_container(context.daemon(), from.path, to, given.flags, quiet);
}

}  // namespace grua::cli
