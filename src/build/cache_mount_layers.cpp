#include "build/cache_mount_layers.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "build/pack_options.hpp"
#include "content/content_store.hpp"
#include "images/make.hpp"
#include "layers/block_compressor.hpp"
#include "layers/pack.hpp"
#include "layers/source.hpp"
#include "layers/tree.hpp"
#include "layers/unpack.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cstdio>
#include <thread>

namespace grua::build {
namespace {

Fd open_folder(const std::string& path) {
    Fd out{::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
    if (!out) fail_errno("open {}", path);
    return out;
}

/// Ends the packing where nobody wants it any more.
class Stoppable final : public layers::Sink {
public:
    Stoppable(layers::Sink& inner, const std::stop_token& stop) : inner_(inner), stop_(stop) {}
    void write(std::string_view bytes) override {
        if (stop_.stop_requested()) fail(ErrorKind::unavailable, "context canceled");
        inner_.write(bytes);
    }

private:
    layers::Sink& inner_;
    const std::stop_token& stop_;
};

images::CachedLayer pack_folder(const content::ContentStore& content, const std::string& folder, const LayerForm& form,
                                images::BuildClaims& claims, const std::stop_token& stop) {
    const images::PackOptions options = pack_options(form);
    content::ContentStore::Writer writer = content.receive(content::ContentStore::Reading::later);
    layers::BlockCompressor compressor{options.compression, std::thread::hardware_concurrency(),
                                       [&](std::string_view bytes) { writer.write(bytes); }};
    Stoppable sink(compressor, stop);
    layers::Packer packer{sink};
    const std::size_t slash = folder.rfind('/');
    // With the folder itself: who may write in it is part of it.
    packer.add_entry(open_folder(folder.substr(0, slash)).get(), folder.substr(slash + 1), "./");
    packer.add_contents(open_folder(folder).get(), "");
    packer.finish();
    const std::optional<oci::Digest> of_tar = compressor.finish();
    writer.verify();
    const oci::Digest blob = writer.digest();
    images::CachedLayer out{
        .blob = {.media_type = images::layer_type(options.compression.kind, true), .digest = blob.text(), .size = writer.written()},
        .diff_id = of_tar.value_or(blob)};
    claims.blob(blob);
    if (!content.exists(blob)) writer.commit();
    return out;
}

}  // namespace

asio::awaitable<std::optional<CachedMount>> pack_cache_mount(Workplace& place, std::string id, LayerForm form,
                                                             std::shared_ptr<images::BuildClaims> claims) {
    // As the Dockerfile says it; before it stands the namespace, which mostly is none.
    CacheMountPtr mount = co_await place.cache_mounts.find("/" + id);
    if (!mount) mount = co_await place.cache_mounts.find(id);
    if (!mount) co_return std::nullopt;
    co_return co_await detail::at_length(place, [&place, mount, id, form, claims](const std::stop_token& stop) {
        return std::optional(CachedMount{.id = id, .layer = while_doing("cache mount " + id, [&] {
                                                       return pack_folder(place.content, mount->folder(), form, *claims, stop);
                                                   })});
    });
}

void fill_cache_mount(content::ContentStore& content, const oci::Descriptor& blob, const oci::Digest& diff_id, const std::string& folder) {
    // Aside: what is not what it says leaves nothing.
    const std::size_t slash = folder.rfind('/');
    const Fd above = open_folder(folder.substr(0, slash));
    const std::string leaf = folder.substr(slash + 1);
    const std::string aside = leaf + ".in";
    layers::remove_tree(above.get(), aside);
    if (::mkdirat(above.get(), aside.c_str(), 0755) != 0) fail_errno("mkdir {}.in", folder);
    try {
        const Fd file = content.open(oci::Digest::from(blob.digest));
        layers::FdSource packed{file.get()};
        const auto plain = layers::decompress(packed);
        layers::HashingReader hashed{*plain, diff_id.algorithm()};
        layers::TarReader tar{hashed};
        static_cast<void>(layers::unpack_tar(tar, folder + ".in"));
        if (const oci::Digest actual = hashed.finish(); actual != diff_id)
            fail(ErrorKind::invalid_argument, "blob {} has the diff ID {}, {} was announced", blob.digest, actual.text(), diff_id.text());
        if (::renameat(above.get(), aside.c_str(), above.get(), leaf.c_str()) != 0) fail_errno("rename {}.in", folder);
    } catch (...) {
        layers::remove_tree(above.get(), aside);
        throw;
    }
}

}  // namespace grua::build
