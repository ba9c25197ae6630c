#include "build/cache_manifest.hpp"

#include "base/encoding.hpp"
#include "base/text.hpp"
#include "content/hash.hpp"
#include "images/make.hpp"
#include "oci/image_config.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <set>

namespace grua::build {
namespace {

namespace bj = boost::json;

constexpr std::string_view inline_member = "moby.buildkit.cache.v0";
constexpr std::string_view mount_annotation = "grua.cache-mount.id";
constexpr std::size_t images_limit = 64;  // of an index
constexpr int index_depth_limit = 4;
constexpr std::size_t mount_id_limit = 1024;

bj::object parse_object(std::string_view text, std::string_view what) {
    boost::system::error_code error;
    bj::value out = bj::parse(text, error);
    if (error || !out.is_object()) fail(ErrorKind::invalid_argument, "{}: it is no JSON object", what);
    return std::move(out.as_object());
}

bool is_index_text(std::string_view text) { return parse_object(text, "cache manifest").contains("manifests"); }

/// Images that have a cache in their configurations, through indexes.
class Images {
public:
    Images(CacheRemote& remote, const std::stop_token& stop) : remote_(remote), stop_(stop) {}

    std::vector<CacheContents> run(const std::string& root) {
        take(root, 0);
        return std::move(out_);
    }

private:
    void take(const std::string& text, int depth) {
        if (depth > index_depth_limit) fail(ErrorKind::invalid_argument, "cache manifest: indexes are nested too deeply");
        if (!is_index_text(text)) return take_image(oci::parse_manifest(text));
        for (const oci::Descriptor& each : oci::parse_index(text).manifests) {
            if (oci::is_attestation(each) || !seen_.insert(each.digest).second) continue;
            if (!oci::is_manifest(each.media_type) && !oci::is_index(each.media_type)) continue;
            if (seen_.size() > images_limit) fail(ErrorKind::invalid_argument, "cache manifest: more than {} images", images_limit);
            take(remote_.read_document(each, oci::manifest_size_limit, stop_), depth + 1);
        }
    }

    void take_image(const oci::Manifest& manifest) {
        if (manifest.layers.empty()) return;
        CacheContents found = read_inline_cache(manifest, remote_.read_document(manifest.config, oci::image_config_size_limit, stop_));
        if (!found.names.empty()) out_.push_back(std::move(found));
    }

    CacheRemote& remote_;
    const std::stop_token& stop_;
    std::set<std::string> seen_;
    std::vector<CacheContents> out_;
};

std::vector<CachedMount> mounts_of(const std::vector<oci::Descriptor>& blobs) {
    std::vector<CachedMount> out;
    for (const oci::Descriptor& each : blobs) {
        const auto id = each.annotations.find(std::string(mount_annotation));
        if (id == each.annotations.end() || id->second.empty() || id->second.size() > mount_id_limit) continue;
        const auto layer = layer_of(each);
        if (layer) out.push_back({.id = id->second, .layer = *layer});
    }
    return out;
}

}  // namespace

CacheManifest parse_cache_manifest(std::string_view text) {
    if (text.size() > oci::manifest_size_limit)
        fail(ErrorKind::invalid_argument, "cache manifest: more than {} bytes", oci::manifest_size_limit);
    oci::check_value_count(text, "cache manifest");
    const bj::object document = parse_object(text, "cache manifest");
    const bool is_index = document.contains("manifests");
    // Two readers would understand it differently (CVE-2021-41190).
    if (is_index && (document.contains("layers") || document.contains("config")))
        fail(ErrorKind::invalid_argument, "cache manifest: it is both a manifest and an index");
    CacheManifest out;
    const auto check = [](const oci::Descriptor& each) {
        if (!oci::Digest::parse(each.digest)) fail(ErrorKind::invalid_argument, "cache manifest: a descriptor has no digest");
    };
    if (is_index) {
        // As an index that names blobs it is none that parse_index() would have to take.
        const auto index = while_doing("cache manifest", [&] { return json::parse<oci::Index>(text); });
        for (const oci::Descriptor& each : index.manifests) {
            check(each);
            if (each.media_type == cache_config_type)
                out.config = each;
            else
                out.blobs.push_back(each);
        }
    } else {
        auto manifest = while_doing("cache manifest", [&] { return json::parse<oci::Manifest>(text); });
        check(manifest.config);
        for (const oci::Descriptor& each : manifest.layers) check(each);
        if (manifest.config.media_type == cache_config_type) out.config = std::move(manifest.config);
        out.blobs = std::move(manifest.layers);
    }
    return out;
}

oci::Descriptor descriptor_of(const CachedMount& mount) {
    oci::Descriptor out = descriptor_of(mount.layer);
    out.annotations.emplace(mount_annotation, mount.id);
    return out;
}

CacheRoot write_cache_manifest(CacheForm form, const oci::Descriptor& config, std::vector<oci::Descriptor> blobs) {
    for (oci::Descriptor& each : blobs)
        if (const auto compression = images::compression_of(each.media_type))
            each.media_type = images::layer_type(*compression, form != CacheForm::docker_index);
    CacheRoot out;
    if (form == CacheForm::manifest) {
        oci::Manifest manifest;
        manifest.schema_version = 2;
        manifest.media_type = oci::media_type::manifest;
        manifest.config = config;
        manifest.layers = std::move(blobs);
        out.descriptor.media_type = manifest.media_type;
        out.text = json::dump(manifest, {});
    } else {
        oci::Index index;
        index.schema_version = 2;
        index.media_type = form == CacheForm::index ? oci::media_type::index : oci::media_type::docker_index;
        index.manifests = std::move(blobs);
        index.manifests.push_back(config);
        out.descriptor.media_type = index.media_type;
        out.text = json::dump(index, {});
    }
    out.descriptor.digest = content::digest_of(out.text).text();
    out.descriptor.size = out.text.size();
    return out;
}

RemoteCache read_remote_cache(CacheRemote& remote, const std::stop_token& stop) {
    const std::string root = remote.root(stop);
    const CacheManifest manifest = parse_cache_manifest(root);
    RemoteCache out;
    if (manifest.config.digest.empty()) {
        out.contents = Images(remote, stop).run(root);
        return out;
    }
    BlobsByDigest blobs;
    for (const oci::Descriptor& each : manifest.blobs)
        if (!each.annotations.contains(std::string(mount_annotation))) blobs.emplace(each.digest, each);
    out.mounts = mounts_of(manifest.blobs);
    out.contents.push_back(read_contents(parse_cache_config(remote.read_document(manifest.config, cache_config_limit, stop)), blobs));
    return out;
}

std::string with_inline_cache(std::string_view config, const CacheConfig& records) {
    bj::object document = parse_object(config, "image configuration");
    document[inline_member] = base64_encode(inline_records_text(records));
    return bj::serialize(document);
}

CacheContents read_inline_cache(const oci::Manifest& manifest, std::string_view config) {
    const oci::ImageConfig image = oci::parse_image_config(config);
    const bj::object document = parse_object(config, "image configuration");
    const auto* member = document.if_contains(inline_member);
    if (!member || !member->is_string()) return {};
    const std::vector<oci::Digest> diff_ids = oci::diff_ids(image);
    if (diff_ids.size() != manifest.layers.size()) return {};
    const auto text = base64_decode(std::string_view(member->get_string()));
    if (!text) fail(ErrorKind::invalid_argument, "image configuration: {} is no base64", inline_member);
    std::vector<std::string> times;
    for (const oci::HistoryEntry& each : image.history)
        if (!each.empty_layer) times.push_back(each.created);
    std::vector<std::string> layers;
    BlobsByDigest blobs;
    for (std::size_t at = 0; at < diff_ids.size(); ++at) {
        images::CachedLayer layer{.blob = manifest.layers[at], .diff_id = diff_ids[at]};
        if (times.size() == diff_ids.size()) layer.made = parse_time(times[at]).value_or(Time{});
        layers.push_back(layer.blob.digest);
        blobs.emplace(layer.blob.digest, descriptor_of(layer));
    }
    return read_contents(parse_inline_records(*text, layers), blobs);
}

}  // namespace grua::build
