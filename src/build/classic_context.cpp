#include "build/classic_context.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/test_points.hpp"
#include "build/ignore_file.hpp"
#include "build/selection.hpp"
#include "build/tree_path.hpp"
#include "build/tree_scan.hpp"
#include "layers/extract.hpp"
#include "layers/source.hpp"
#include "layers/tar.hpp"
#include "linux/root.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <utility>

namespace grua::build {
namespace {

constexpr std::size_t dockerfile_limit = std::size_t{10} << 20U;
constexpr std::size_t block = 512;
constexpr std::size_t piece_size = std::size_t{256} << 10U;
constexpr const char* usual_name = "Dockerfile";

/// A client may be silent for as long as it likes; a stop is heard meanwhile.
class BodySource : public layers::Source {
public:
    BodySource(int body, const std::stop_token& stop) : body_(body), fd_(body), stop_(stop) {}

    std::size_t read(std::span<char> out) override {
        pollfd waited{.fd = fd_, .events = POLLIN, .revents = 0};
        do {
            if (stop_.stop_requested()) fail(ErrorKind::unavailable, "context canceled");
        } while (::poll(&waited, 1, between_looks) == 0);
        return body_.read(out);
    }

private:
    static constexpr int between_looks = 100;  ///< Milliseconds.

    layers::FdSource body_;
    int fd_;
    const std::stop_token& stop_;
};

class NoSource : public layers::Source {
public:
    std::size_t read(std::span<char>) override { return 0; }
};

std::string read_some(layers::Source& source, std::size_t limit) {
    std::string out;
    std::vector<char> piece(std::min(limit, piece_size));
    while (out.size() < limit) {
        const std::size_t count = source.read({piece.data(), std::min(piece.size(), limit - out.size())});
        if (count == 0) break;
        out.append(piece.data(), count);
    }
    return out;
}

/// By its first block; what is empty is an archive of nothing.
bool is_archive(const std::string& first) {
    if (first.empty() || layers::packing_of(first) != layers::Packing::plain) return true;
    if (first.size() < block) return false;
    try {
        NoSource rest;
        layers::ReplaySource bytes(first, rest);
        (void)layers::TarReader{bytes}.next();
        return true;
    } catch (const Error&) {
        return false;
    }
}

std::unique_ptr<Context> take_folder(ContextStore& store) {
    auto out = store.take({});
    out->begin_change();
    return out;
}

void keep(Context& context) { context.keep(scan_tree(Root::open(context.folder().c_str()), {Selection{}})); }

std::unique_ptr<Context> folder_with(ContextStore& store, const std::string& text) {
    auto out = take_folder(store);
    replace_file(out->folder() + "/" + usual_name, text);
    keep(*out);
    return out;
}

void unpack(layers::Source& packed, const std::string& folder, const ClassicRequest& request) {
    const std::unique_ptr<layers::Source> plain = layers::decompress(packed);
    layers::TarReader tar{*plain};
    layers::ExtractOptions options;
    options.shown = "the build context";
    // Nobody's files are somebody's in an image because they were so on the client's machine.
    if (request.version == ClassicVersion::lines) options.owner = {0, 0};
    layers::extract_tar(tar, Root::open(folder.c_str()), "", options);
    // Padding, and what tells a body that has come to its end from one that broke off.
    std::vector<char> piece(piece_size);
    while (plain->read(piece) > 0) {
    }
    while (packed.read(piece) > 0) {
    }
}

/// As it is found in the context, whatever the request says of folders above it.
std::string path_in_context(std::string_view path) {
    std::vector<std::string> parts;
    std::string out;
    for (std::string& part : split(path, '/')) {
        if (part.empty() || part == ".") continue;
        if (part != "..")
            parts.push_back(std::move(part));
        else if (!parts.empty())
            parts.pop_back();
    }
    return join(parts, "/");
}

/// With its path as .dockerignore may name it.
std::pair<std::string, std::string> find_dockerfile(const Context& context, const ClassicRequest& request) {
    const std::string wanted = request.dockerfile.empty() ? usual_name : request.dockerfile;
    const std::string path = path_in_context(wanted);
    // As people write it in lower case.
    const std::vector<std::string> paths = path == usual_name ? std::vector<std::string>{path, "dockerfile"} : std::vector{path};
    for (const std::string& each : paths) {
        auto text = each.empty() ? std::nullopt : read_context_file(context, each);
        if (!text) continue;
        if (text->empty()) fail(ErrorKind::invalid_argument, "the Dockerfile ({}) cannot be empty", wanted);
        return {each, std::move(*text)};
    }
    fail(ErrorKind::invalid_argument, "Cannot locate specified Dockerfile: {}", wanted);
}

/// Out of the folder and its list.
void take_out(const Context& context, TreeIndex& index, const std::string& path) {
    const auto found = resolve(index, path, false);
    if (!found || found->empty() || S_ISDIR(index.at(*found).mode)) return;
    const std::string parent(parent_of(*found));
    const Fd folder = open_path(Root::open(context.folder().c_str()), parent, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    const std::string name = found->substr(parent.empty() ? 0 : parent.size() + 1);
    if (::unlinkat(folder.get(), name.c_str(), 0) != 0 && errno != ENOENT) fail_errno("remove /{} from the build context", *found);
    index.erase(*found);
}

void remove_ignored(Context& context, const std::string& dockerfile) {
    const auto text = read_context_file(context, ".dockerignore");
    if (!text) return;
    const IgnoreFile ignored = IgnoreFile::parse(*text);
    TreeIndex index = context.index();
    for (const std::string& each : {std::string(".dockerignore"), dockerfile})
        if (ignored.ignores(each)) take_out(context, index, each);
    context.keep(std::move(index));
}

}  // namespace

std::optional<std::string> read_context_file(const Context& context, const std::string& path) {
    if (is_left_out("context-links")) return read_file(context.folder() + "/" + path, dockerfile_limit);
    const auto found = resolve(context.index(), path, true);
    if (!found || found->empty() || !S_ISREG(context.index().at(*found).mode)) return std::nullopt;
    const Fd file = Root::open(context.folder().c_str()).open_at(*found, O_RDONLY);
    return read_all(file.get(), path, dockerfile_limit);
}

ClassicContext receive_classic_context(ContextStore& store, const engine::Input& body, const ClassicRequest& request,
                                       const std::stop_token& stop) {
    ClassicContext out;
    BodySource source(body.reading.get(), stop);
    const std::string first = read_some(source, block);
    layers::ReplaySource whole(first, source);
    // To BuildKit a body that is no archive is the Dockerfile itself.
    if (request.version == ClassicVersion::trace && !is_archive(first)) {
        const std::string text = read_some(whole, dockerfile_limit + 1);
        body.check();
        if (text.size() > dockerfile_limit) fail(ErrorKind::invalid_argument, "the Dockerfile has more than {} bytes", dockerfile_limit);
        out.files = folder_with(store, text);
        out.dockerfile = folder_with(store, text);
        return out;
    }
    out.files = take_folder(store);
    try {
        unpack(whole, out.files->folder(), request);
    } catch (const Error&) {
        // An archive that is cut short looks broken; that it was cut is what the client needs to know.
        body.check();
        throw;
    }
    body.check();
    keep(*out.files);
    if (request.version == ClassicVersion::trace) return out;
    auto [path, text] = find_dockerfile(*out.files, request);
    remove_ignored(*out.files, path);
    out.dockerfile = folder_with(store, text);
    out.dockerfile_text = std::move(text);
    return out;
}

}  // namespace grua::build
