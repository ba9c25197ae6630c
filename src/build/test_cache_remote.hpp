// For tests: a cache elsewhere that has what it was given, and layers for it.
#pragma once

#include "build/cache_contents.hpp"
#include "build/cache_remote.hpp"
#include "content/hash.hpp"
#include "layers/test_streams.hpp"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace grua::build {

class FakeRemote final : public CacheRemote {
public:
    std::string root(const std::stop_token&) override { return top; }
    void read(const oci::Descriptor& blob, std::uint64_t offset, const registry::Sink& sink, const std::stop_token&) override {
        ++reads;
        const auto found = blobs.find(blob.digest);
        if (found == blobs.end()) fail(ErrorKind::not_found, "blob {}: not found", blob.digest);
        sink(std::string_view(found->second).substr(offset));
    }
    bool write(const oci::Descriptor& blob, const std::function<Fd()>&, const std::stop_token&) override {
        return !blobs.contains(blob.digest);
    }
    void write_root(const oci::Descriptor&, const std::string& text, const std::stop_token&) override { top = text; }

    std::string top;
    std::map<std::string, std::string> blobs;
    int reads = 0;

private:
    std::string document(const oci::Descriptor& descriptor, std::size_t, const std::stop_token& stop) override {
        std::string out;
        read(descriptor, 0, [&](std::string_view bytes) { out += bytes; }, stop);
        return out;
    }
};

/// A layer's tar, as it is.
inline std::string layer_tar(const std::vector<std::pair<layers::TarEntry, std::string>>& entries) {
    layers::TextSink sink;
    layers::TarWriter tar(sink);
    for (const auto& [entry, text] : entries) {
        layers::TarEntry own = entry;
        own.size = text.size();
        if (own.mode == 0) own.mode = own.type == layers::TarEntry::Type::directory ? 0755 : 0644;
        tar.add(own);
        tar.write(text);
    }
    tar.finish();
    return sink.text;
}
inline std::string layer_tar(const std::string& name, const std::string& text) { return layer_tar({{{.name = name}, text}}); }

inline CachedLayerPtr cached_layer(FakeRemote& remote, const std::string& tar) {
    const oci::Digest digest = content::digest_of(tar);
    remote.blobs[digest.text()] = tar;
    return std::make_shared<const images::CachedLayer>(
        images::CachedLayer{.blob = {.media_type = "application/vnd.oci.image.layer.v1.tar", .digest = digest.text(), .size = tar.size()},
                            .diff_id = digest,
                            .made = Time{std::chrono::seconds(1'700'000'000)}});
}

}  // namespace grua::build
