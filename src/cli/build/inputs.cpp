#include "cli/build/inputs.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/id.hpp"
#include "cli/build/layout.hpp"
#include "content/hash.hpp"

#include <dirent.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <filesystem>

namespace grua::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t dockerfile_limit = std::size_t{16} << 20U;
constexpr std::size_t block = 512;
constexpr std::size_t id_bytes = 13;

bool is_folder(const std::string& path) {
    std::error_code ignored;
    return fs::is_directory(path, ignored);
}

std::string read_front(int fd, std::size_t size) {
    std::string out(size, '\0');
    std::size_t at = 0;
    while (at < size) {
        const ssize_t count = ::read(fd, out.data() + at, size - at);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) fail_errno("failed to peek context header from STDIN");
        if (count == 0) break;
        at += static_cast<std::size_t>(count);
    }
    out.resize(at);
    return out;
}

/// A checksum that fits is what every tar has.
bool is_tar(std::string_view bytes) {
    if (bytes.size() < block) return false;
    constexpr std::size_t sum_at = 148;
    constexpr std::size_t sum_size = 8;
    unsigned sum = 0;
    for (std::size_t index = 0; index < block; ++index)
        sum += index >= sum_at && index < sum_at + sum_size ? ' ' : static_cast<unsigned char>(bytes[index]);
    unsigned said = 0;
    for (const char digit : bytes.substr(sum_at, sum_size)) {
        if (digit < '0' || digit > '7') continue;
        said = said * 8 + static_cast<unsigned>(digit - '0');
    }
    return said == sum;
}

/// "dockerfile" where there is no "Dockerfile": one of old has that name.
std::string present_name(const std::string& folder, const std::string& name) {
    if (name != "Dockerfile") return name;
    std::error_code ignored;
    bool has_lower = false;
    for (const auto& each : fs::directory_iterator(folder, ignored)) {
        if (each.path().filename() == "Dockerfile") return name;
        has_lower = has_lower || each.path().filename() == "dockerfile";
    }
    return has_lower ? "dockerfile" : name;
}

/// Who has the folder, and which it is: two users' folders of one name are not the same.
std::string key_of(const std::string& folder) {
    std::array<char, 256> host{};
    ::gethostname(host.data(), host.size() - 1);
    std::error_code ignored;
    const std::string text = fmt::format("{}\n{}\n{}", host.data(), ::getuid(), fs::weakly_canonical(folder, ignored).string());
    return "b:" + std::string(content::digest_of(text).hex());
}

class Preparation {
public:
    Preparation(const BuildOptions& options, int standard_input) : options_(options), input_(standard_input) {}

    BuildInputs run() {
        context();
        dockerfile();
        for (const auto& [name, place] : options_.contexts) named_context(name, place);
        return std::move(out_);
    }

private:
    void context() {
        const std::string& path = options_.context;
        if (path.empty()) fail(ErrorKind::invalid_argument, "please specify build context (e.g. \".\" for the current directory)");
        if (path == "-") return piped_context();
        if (is_folder(path)) {
            out_.folders["context"].path = path;
            out_.shared_key = key_of(path);
        } else if (is_remote(path)) {
            is_remote_ = true;
            out_.attributes["context"] = path;
        } else {
            fail(ErrorKind::invalid_argument, "unable to prepare context: path \"{}\" not found", path);
        }
    }

    void piped_context() {
        std::string front = read_front(input_, 2 * block);
        if (is_archive(front)) {
            out_.upload = random_hex(id_bytes);
            out_.early = std::move(front);
            out_.attributes["context"] = "http://buildkit-session/" + out_.upload;
            return;
        }
        if (!options_.file.empty())
            fail(ErrorKind::invalid_argument, "ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles");
        out_.folders["context"];
        piped_dockerfile(std::move(front));
    }

    void piped_dockerfile(std::string front) {
        out_.folders["dockerfile"].files["Dockerfile"] = std::move(front) + read_all(input_, "standard input", dockerfile_limit);
        out_.attributes["dockerfilekey"] = "dockerfile";
        out_.attributes["filename"] = "Dockerfile";
        out_.dockerfile = "stdin";
    }

    void dockerfile() {
        if (out_.attributes.contains("filename")) return;
        const std::string& file = options_.file;
        if (file == "-") return piped_dockerfile({});
        if (file.starts_with("http://") || file.starts_with("https://"))
            fail(ErrorKind::not_implemented, "not implemented: -f with a URL; fetch it, and give it to standard input with -f -");
        const fs::path path(file);
        const bool is_in_archive = !out_.upload.empty();
        out_.dockerfile = file.empty() ? (fs::path(options_.context) / "Dockerfile").string() : file;
        if (is_in_archive || (is_remote_ && !path.is_absolute())) {
            out_.attributes["filename"] = file.empty() ? "Dockerfile" : file;
            return;
        }
        std::string folder = file.empty() ? options_.context : path.parent_path().string();
        if (folder.empty()) folder = ".";
        if (!is_folder(folder)) fail(ErrorKind::invalid_argument, "unable to prepare context: path \"{}\" not found", folder);
        out_.folders["dockerfile"].path = folder;
        out_.attributes["filename"] = present_name(folder, file.empty() ? "Dockerfile" : path.filename().string());
        if (is_remote_) out_.attributes["dockerfilekey"] = "dockerfile";
    }

    void named_context(const std::string& name, const std::string& place) {
        constexpr std::string_view layout = "oci-layout://";
        out_.attributes["frontend.caps"] = "moby.buildkit.frontend.contexts+forward";
        std::string& attribute = out_.attributes["context:" + name];
        if (place.starts_with("docker-image://") || place.starts_with("target:") || (is_remote(place) && !is_folder(place))) {
            attribute = place;
            return;
        }
        if (place.starts_with(layout)) {
            const LayoutReference reference = find_in_layout(place.substr(layout.size()));
            const std::string store = random_hex(id_bytes);
            out_.layouts[store] = reference.folder;
            attribute = fmt::format("oci-layout://{}:{}@{}", store, reference.tag, reference.digest);
            return;
        }
        if (!is_folder(place)) fail(ErrorKind::invalid_argument, "failed to get build context {}: {} is no folder", name, place);
        // The engine asks for both by these names as well.
        const std::string own = name == "context" || name == "dockerfile" ? "_" + name : name;
        out_.folders[own].path = place;
        attribute = "local:" + own;
    }

    const BuildOptions& options_;
    int input_;
    bool is_remote_ = false;
    BuildInputs out_;
};

}  // namespace

bool is_remote(std::string_view context) {
    for (const std::string_view scheme : {"http://", "https://", "git://", "ssh://", "git@", "github.com/"})
        if (context.starts_with(scheme)) return true;
    return false;
}

bool is_archive(std::string_view bytes) {
    using namespace std::string_view_literals;
    for (const std::string_view magic : {"\x1F\x8B\x08"sv, "BZh"sv,
                                         "\xFD"
                                         "7zXZ\0"sv,
                                         "\x28\xB5\x2F\xFD"sv})
        if (bytes.starts_with(magic)) return true;
    return is_tar(bytes);
}

BuildInputs prepare_inputs(const BuildOptions& options, int standard_input) { return Preparation{options, standard_input}.run(); }

}  // namespace grua::cli
