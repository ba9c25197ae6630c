// Caches of builds from elsewhere: their manifests, their configurations and the records in images' configurations.
#include "build/cache_manifest.hpp"
#include "fuzz.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace grua;
    const std::string_view text = fuzz::text(data, size);
    build::BlobsByDigest blobs;
    fuzz::refuses_or_takes([&] {
        const build::CacheManifest manifest = build::parse_cache_manifest(text);
        for (const oci::Descriptor& each : manifest.blobs) blobs.emplace(each.digest, each);
        static_cast<void>(
            build::parse_cache_manifest(build::write_cache_manifest(build::CacheForm::index, manifest.config, manifest.blobs).text));
    });
    const auto read = [&](const build::CacheConfig& config) {
        // Whatever is said of the blobs, what is written of it is read again.
        for (const build::CacheConfig::Layer& each : config.layers)
            blobs.emplace(each.blob, oci::Descriptor{.media_type = "application/vnd.oci.image.layer.v1.tar",
                                                     .digest = each.blob,
                                                     .size = 1,
                                                     .annotations = {{"containerd.io/uncompressed", each.blob}}});
        const build::CacheContents contents = build::read_contents(config, blobs);
        const build::WrittenContents written = build::write_contents(contents);
        const std::string again = build::cache_config_text(written.config);
        fuzz::check(build::cache_config_text(build::parse_cache_config(again)) == again);
    };
    fuzz::refuses_or_takes([&] { read(build::parse_cache_config(text)); });
    const std::string blob = "sha256:" + std::string(64, 'b');
    fuzz::refuses_or_takes([&] { read(build::parse_inline_records(text, {blob, blob})); });
    return fuzz::refuses_or_takes([&] {
        oci::Manifest manifest;
        manifest.layers.push_back({.media_type = "application/vnd.oci.image.layer.v1.tar", .digest = blob, .size = 1});
        static_cast<void>(build::read_inline_cache(manifest, text));
    });
}
