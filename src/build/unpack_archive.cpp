#include "build/unpack_archive.hpp"

#include "base/error.hpp"
#include "layers/extract.hpp"
#include "layers/source.hpp"
#include "layers/tar.hpp"

#include <unistd.h>
#include <memory>
#include <utility>

namespace grua::build {
namespace {

/// What comes out of the archive, as far as it is wanted.
class WatchedSource : public layers::Source {
public:
    WatchedSource(layers::Source& inner, const std::stop_token& stop, const FileProgress& progress)
        : inner_(inner), stop_(stop), progress_(progress) {}

    void watch(const layers::TarReader& tar) { tar_ = &tar; }

    std::size_t read(std::span<char> out) override {
        if (stop_.stop_requested()) fail(ErrorKind::unavailable, "context canceled");
        const std::size_t count = inner_.read(out);
        bytes_ += count;
        if (progress_) progress_(bytes_, tar_ ? tar_->entries() : 0);
        return count;
    }

private:
    layers::Source& inner_;
    const std::stop_token& stop_;
    const FileProgress& progress_;
    const layers::TarReader* tar_ = nullptr;
    std::uint64_t bytes_ = 0;
};

void rewind(int file) {
    if (::lseek(file, 0, SEEK_SET) < 0) fail_errno("seek");
}

}  // namespace

bool is_archive(int file) {
    try {
        rewind(file);
        layers::FdSource packed{file};
        const std::unique_ptr<layers::Source> plain = layers::decompress(packed);
        return layers::TarReader{*plain}.next().has_value();
    } catch (const Error&) {
        return false;  // Then it is a file like others.
    }
}

void unpack_archive(int file, const Root& folder, std::string_view shown, const std::optional<Owner>& owner, const std::stop_token& stop,
                    const FileProgress& progress) {
    rewind(file);
    layers::FdSource packed{file};
    const std::unique_ptr<layers::Source> plain = layers::decompress(packed);
    WatchedSource watched{*plain, stop, progress};
    layers::TarReader tar{watched};
    watched.watch(tar);
    layers::ExtractOptions options;
    options.shown = shown;
    if (owner) options.owner = {owner->uid, owner->gid};
    layers::extract_tar(tar, folder, "", options);
}

}  // namespace grua::build
