#include "cli/build/reproducible.hpp"

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/timespec.hpp"
#include "base/utf8.hpp"
#include "cli/build/run.hpp"
#include "cli/context.hpp"
#include "cli/units.hpp"
#include "content/hash.hpp"
#include "layers/tar.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <array>
#include <boost/json.hpp>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>

namespace grua::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t document_limit = std::size_t{32} << 20U;
constexpr std::size_t piece_size = std::size_t{256} << 10U;
constexpr std::size_t most_files = 10;  ///< Of a layer that are told one by one.
constexpr std::size_t digest_width = 12;
constexpr int deepest = 4;  ///< Indexes in indexes.

// --- the time of the context ---------------------------------------------------------------------------------------

/// What the program writes, where it ends well; nothing where it does not, or is not there.
std::optional<std::string> output_of(std::vector<std::string> words) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail_errno("pipe");
    const Fd out{ends[0]};
    Fd in{ends[1]};
    posix_spawn_file_actions_t files;
    ::posix_spawn_file_actions_init(&files);
    ::posix_spawn_file_actions_adddup2(&files, in.get(), STDOUT_FILENO);
    ::posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    std::vector<char*> arguments;
    for (std::string& each : words) arguments.push_back(each.data());
    arguments.push_back(nullptr);
    pid_t pid = -1;
    const int error = ::posix_spawnp(&pid, arguments[0], &files, nullptr, arguments.data(), environ);
    ::posix_spawn_file_actions_destroy(&files);
    in = {};
    if (error != 0) return std::nullopt;
    std::string said;
    std::array<char, 256> piece{};
    for (ssize_t got = 0; (got = ::read(out.get(), piece.data(), piece.size())) > 0;)
        said.append(piece.data(), static_cast<std::size_t>(got));
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return std::nullopt;
    return said;
}

/// Seconds since 1970.
std::string time_of_context(const std::string& context) {
    struct stat about{};
    if (context == "-" || ::stat(context.c_str(), &about) != 0 || !S_ISDIR(about.st_mode)) return "0";
    const auto said = output_of({"git", "-C", context, "log", "-1", "--format=%ct"});
    const std::string time(trim(said.value_or("")));
    return parse_uint(time) ? time : "0";
}

// --- archives ------------------------------------------------------------------------------------------------------

class FilePart final : public layers::Source {
public:
    FilePart(int fd, std::uint64_t offset, std::uint64_t size) : fd_(fd), at_(offset), end_(offset + size) {}
    std::size_t read(std::span<char> out) override {
        const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), end_ - at_));
        if (count == 0) return 0;
        const ssize_t got = ::pread(fd_, out.data(), count, static_cast<off_t>(at_));
        if (got < 0) fail_errno("read an archive");
        at_ += static_cast<std::uint64_t>(got);
        return static_cast<std::size_t>(got);
    }
    std::uint64_t at() const noexcept { return at_; }

private:
    int fd_;
    std::uint64_t at_;
    std::uint64_t end_;
};

std::string text_of(const boost::json::value& value, std::string_view name) { return text_at(value, name); }

/// What a file of a layer is, and what of it: all that its tar says.
using Files = std::map<std::string, std::string>;

struct Image {
    std::string digest;
    std::string platform;
    boost::json::value config;
    std::vector<std::string> layers;  ///< Digests of their blobs.
};

class Archive {
public:
    explicit Archive(const std::string& path) : file_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
        if (!file_) fail_errno("open {}", path);
        struct stat about{};
        if (::fstat(file_.get(), &about) != 0) fail_errno("look at {}", path);
        FilePart whole(file_.get(), 0, static_cast<std::uint64_t>(about.st_size));
        layers::TarReader tar(whole);
        while (const auto entry = tar.next())
            if (entry->type == layers::TarEntry::Type::file) places_[entry->name] = {.offset = whole.at(), .size = entry->size};
        add_images(document("index.json"), 0);
    }

    const std::vector<Image>& images() const noexcept { return images_; }

    /// `digest`: of a layer that is not packed.
    Files files_of(const std::string& digest) const {
        const Extent place = find(blob(digest));
        FilePart part(file_.get(), place.offset, place.size);
        layers::TarReader tar(part);
        Files out;
        std::vector<char> piece(piece_size);
        while (const auto entry = tar.next()) {
            content::Hasher hash;
            while (const std::size_t size = tar.read(piece)) hash.update({piece.data(), size});
            std::string what = fmt::format("mode {:04o}, owner {}:{}, time {}", entry->mode, entry->uid, entry->gid,
                                           format_time(time_of({.tv_sec = entry->mtime.tv_sec, .tv_nsec = 0})));
            if (entry->type == layers::TarEntry::Type::file)
                what += fmt::format(", {} {}", human_size(static_cast<double>(entry->size)),
                                    hash.finish().text().substr(std::string_view("sha256:").size(), digest_width));
            if (!entry->link.empty()) what += ", to " + printable(entry->link);
            for (const auto& [name, value] : entry->xattrs) what += fmt::format(", {} {} bytes", printable(name), value.size());
            out[entry->name] = what;
        }
        return out;
    }

private:
    struct Extent {
        std::uint64_t offset = 0;
        std::uint64_t size = 0;
    };

    static std::string blob(const std::string& digest) {
        std::string out = "blobs/" + digest;
        if (const std::size_t colon = out.find(':'); colon != std::string::npos) out[colon] = '/';
        return out;
    }
    Extent find(const std::string& name) const {
        const auto found = places_.find(name);
        if (found == places_.end()) fail(ErrorKind::invalid_argument, "the archive has no {}", printable(name));
        return found->second;
    }
    boost::json::value document(const std::string& name) const {
        const Extent place = find(name);
        if (place.size > document_limit) fail(ErrorKind::invalid_argument, "{} has more than {} bytes", printable(name), document_limit);
        FilePart part(file_.get(), place.offset, place.size);
        std::string text(place.size, '\0');
        std::size_t at = 0;
        while (at < text.size()) {
            const std::size_t got = part.read({text.data() + at, text.size() - at});
            if (got == 0) fail(ErrorKind::invalid_argument, "the archive ends within {}", printable(name));
            at += got;
        }
        boost::system::error_code error;
        boost::json::value out = boost::json::parse(text, error);
        if (error) fail(ErrorKind::invalid_argument, "{} is no JSON", printable(name));
        return out;
    }

    void add_images(const boost::json::value& index, int depth) {
        const auto* manifests = at(index, "manifests").if_array();
        if (!manifests || depth > deepest) return;
        for (const auto& each : *manifests) {
            // It tells of a build, and each has its own.
            if (!text_of(at(each, "annotations"), "vnd.docker.reference.type").empty()) continue;
            const std::string digest = text_of(each, "digest");
            const boost::json::value manifest = document(blob(digest));
            if (!at(manifest, "manifests").is_null()) {
                add_images(manifest, depth + 1);
                continue;
            }
            Image image{
                .digest = digest, .platform = {}, .config = document(blob(text_of(at(manifest, "config"), "digest"))), .layers = {}};
            image.platform = text_of(image.config, "os") + "/" + text_of(image.config, "architecture");
            if (const auto* layers = at(manifest, "layers").if_array())
                for (const auto& layer : *layers) image.layers.push_back(text_of(layer, "digest"));
            images_.push_back(std::move(image));
        }
    }

    Fd file_;
    std::map<std::string, Extent> places_;
    std::vector<Image> images_;
};

// --- what differs --------------------------------------------------------------------------------------------------

/// Of each layer the instruction that has made it.
std::vector<std::string> makers_of(const Image& image) {
    std::vector<std::string> out;
    if (const auto* history = at(image.config, "history").if_array())
        for (const auto& each : *history)
            if (!bool_at(each, "empty_layer")) out.push_back(text_of(each, "created_by"));
    return out;
}

void compare_layers(const Archive& first, const Archive& second, const std::string& left, const std::string& right, std::string& out) {
    const Files old = first.files_of(left);
    const Files now = second.files_of(right);
    std::size_t count = 0;
    const auto tell = [&](const std::string& path, const std::string& what) {
        if (++count <= most_files) out += fmt::format("    /{}: {}.\n", printable(path), what);
    };
    for (const auto& [path, what] : old) {
        const auto other = now.find(path);
        if (other == now.end())
            tell(path, "only the first build has made it");
        else if (other->second != what)
            tell(path, fmt::format("{}; the second time {}", what, other->second));
    }
    for (const auto& [path, what] : now)
        if (!old.contains(path)) tell(path, "only the second build has made it");
    if (count > most_files) out += fmt::format("    And {} more.\n", count - most_files);
    if (count == 0) out += "    The same files, in another order.\n";
}

void compare_configs(const Image& first, const Image& second, std::string& out) {
    const auto* left = first.config.if_object();
    const auto* right = second.config.if_object();
    if (!left || !right) return;
    std::set<std::string> names;
    for (const auto* each : {left, right})
        for (const auto& [name, value] : *each) names.insert(std::string(name));
    names.erase("rootfs");  // Layers are told of.
    for (const std::string& name : names) {
        const std::string before = to_json(at(first.config, name));
        const std::string now = to_json(at(second.config, name));
        if (before != now) out += fmt::format("    {} is {}; the second time {}.\n", printable(name), printable(before), printable(now));
    }
}

void compare_images(const Archive& first, const Archive& second, const Image& left, const Image& right, std::string& out) {
    if (left.digest == right.digest) return;
    const std::vector<std::string> makers = makers_of(left);
    if (left.layers.size() != right.layers.size()) {
        out +=
            fmt::format("{}: the first build has made {} layers, the second {}.\n", left.platform, left.layers.size(), right.layers.size());
        return;
    }
    for (std::size_t number = 0; number < left.layers.size(); ++number) {
        if (left.layers[number] == right.layers[number]) continue;
        out += fmt::format("{}: {}\n", left.platform,
                           number < makers.size() ? printable(makers[number]) : fmt::format("layer {}", number + 1));
        compare_layers(first, second, left.layers[number], right.layers[number], out);
    }
    std::string config;
    compare_configs(left, right, config);
    if (!config.empty()) out += fmt::format("{}: the configuration\n{}", left.platform, config);
    if (out.empty()) out += fmt::format("{}: the manifest, {} and {}\n", left.platform, left.digest, right.digest);
}

class TemporaryFolder {
public:
    TemporaryFolder() {
        const char* where = std::getenv("TMPDIR");
        path_ = std::string(where && *where ? where : "/var/tmp") + "/grua-build-XXXXXX";
        if (!::mkdtemp(path_.data())) fail_errno("make a folder {}", path_);
    }
    ~TemporaryFolder() {
        std::error_code ignored;
        fs::remove_all(path_, ignored);
    }
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;
    const std::string& path() const noexcept { return path_; }

private:
    std::string path_;
};

}  // namespace

void make_reproducible(BuildOptions& options) {
    options.arguments.emplace("SOURCE_DATE_EPOCH", time_of_context(options.context));
    options.attestations.emplace("provenance", std::nullopt);
    if (!options.has_output && !options.call) {
        options.outputs.push_back({.type = "moby", .attributes = {}, .destination = {}});
        options.has_output = true;
    }
    for (BuildOutput& each : options.outputs)
        if (each.type == "moby" || each.type == "image" || each.type == "oci" || each.type == "docker")
            each.attributes.emplace("rewrite-timestamp", "true");
}

std::string compare_archives(const std::string& first, const std::string& second) {
    const Archive left(first);
    const Archive right(second);
    if (left.images().size() != right.images().size())
        return fmt::format("The first build has made {} images, the second {}.\n", left.images().size(), right.images().size());
    std::string out;
    for (std::size_t number = 0; number < left.images().size(); ++number)
        compare_images(left, right, left.images()[number], right.images()[number], out);
    return out;
}

int build_twice(const client::Endpoint& where, const BuildOptions& options, bool debug) {
    BuildOptions first = options;
    first.no_cache = true;
    if (const int status = run_build(where, first, debug); status != 0) return status;
    const TemporaryFolder folder;
    BuildOptions kept = options;
    for (std::string* each : {&kept.image_id_file, &kept.metadata_file}) each->clear();
    kept.cache_to.clear();
    kept.why.reset();
    kept.says_id = false;
    const auto archive = [&](bool no_cache, const std::string& name) {
        kept.no_cache = no_cache;
        // As they are: packing the same gives the same.
        kept.outputs = {{.type = "oci",
                         .attributes = {{"compression", "uncompressed"}, {"force-compression", "true"}, {"rewrite-timestamp", "true"}},
                         .destination = folder.path() + "/" + name}};
        return run_build(where, kept, debug);
    };
    // What the first has made is in the cache now.
    if (const int status = archive(false, "first"); status != 0) return status;
    if (const int status = archive(true, "second"); status != 0) return status;
    const std::string differences = compare_archives(folder.path() + "/first", folder.path() + "/second");
    if (differences.empty()) {
        print("Both builds have made the same.\n");
        return 0;
    }
    print("The two builds have not made the same.\n" + differences);
    return 1;
}

}  // namespace grua::cli
