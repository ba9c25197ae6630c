// import and commit.
#include "images/make.hpp"

#include "base/error.hpp"
#include "content/hash.hpp"
#include "images/image_store_impl.hpp"
#include "layers/compress.hpp"
#include "layers/source.hpp"

#include <array>
#include <vector>

namespace grua::images {
namespace {

constexpr std::size_t buffer_size = std::size_t{256} << 10U;

}  // namespace

std::string layer_media_type(std::string_view first_bytes) {
    std::string type = "application/vnd.oci.image.layer.v1.tar";
    const layers::Packing packing = layers::packing_of(first_bytes);
    if (packing == layers::Packing::gzip) type += "+gzip";
    if (packing == layers::Packing::zstd) type += "+zstd";
    return type;
}

std::string oci_layer_type(std::string_view type) {
    if (type == "application/vnd.docker.image.rootfs.diff.tar") return layer_media_type({});
    if (type == "application/vnd.docker.image.rootfs.diff.tar.gzip") return layer_media_type("\x1f\x8b");
    if (type == "application/vnd.docker.image.rootfs.diff.tar.zstd") return layer_media_type("\x28\xb5\x2f\xfd");
    return std::string(type);
}

std::optional<layers::Compression> compression_of(std::string_view type) {
    for (const std::string_view begin :
         {"application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.nondistributable.v1.tar",
          "application/vnd.docker.image.rootfs.diff.tar", "application/vnd.docker.image.rootfs.foreign.diff.tar"}) {
        if (!type.starts_with(begin)) continue;
        const std::string_view packing = type.substr(begin.size());
        if (packing.empty()) return layers::Compression::uncompressed;
        if (packing == "+gzip" || packing == ".gzip") return layers::Compression::gzip;
        if (packing == "+zstd" || packing == ".zstd") return layers::Compression::zstd;
    }
    return std::nullopt;
}

std::string layer_type(layers::Compression compression, bool oci_types) {
    std::string type = oci_types ? "application/vnd.oci.image.layer.v1.tar" : "application/vnd.docker.image.rootfs.diff.tar";
    if (compression == layers::Compression::uncompressed) return type;
    return type + (oci_types ? '+' : '.') + (compression == layers::Compression::gzip ? "gzip" : "zstd");
}

std::string manifest_text(oci::Manifest manifest) {
    manifest.schema_version = 2;
    manifest.media_type = oci::media_type::manifest;
    return json::dump(manifest, {});
}

NewLayer read_layer(int input, content::ContentStore& content, layers::LayerStore& layers,
                    const std::function<void(std::uint64_t done)>& progress) {
    layers::FdSource file{input};
    layers::CountingSource counted{file};
    layers::Source* source = &counted;
    std::vector<char> buffer(buffer_size);
    const auto fill = [&] {
        std::size_t have = 0;
        for (std::size_t count = 1; have < buffer.size() && count > 0; have += count) count = source->read(std::span(buffer).subspan(have));
        return std::string_view{buffer.data(), have};
    };
    auto writer = content.receive();
    std::string_view bytes = fill();
    std::optional<layers::ReplaySource> replay;
    std::unique_ptr<layers::Source> unpacked;
    if (layers::is_no_layer_packing(layers::packing_of(bytes))) {
        replay.emplace(std::string(bytes), counted);
        unpacked = layers::decompress(*replay);
        source = unpacked.get();
        bytes = fill();
    }
    const std::string type = layer_media_type(bytes);
    const bool is_packed = type != layer_media_type({});
    Incoming incoming{layers, writer.fd(), std::nullopt, "sha256"};
    const auto write = [&](std::string_view out) {
        writer.write(out);
        incoming.grew_to(writer.written());
    };
    layers::GzipWriter gzip{write};
    for (; !bytes.empty(); bytes = fill()) {
        if (is_packed) {
            write(bytes);
        } else {
            gzip.write(bytes);
        }
        if (progress) progress(counted.count());
    }
    if (!is_packed) gzip.finish();
    writer.verify();
    incoming.end(writer.digest());
    layers::StagedPtr staged = incoming.finish();
    oci::Descriptor blob{
        .media_type = is_packed ? type : layer_media_type("\x1f\x8b"), .digest = writer.digest().text(), .size = writer.written()};
    return {std::move(blob), std::move(staged), std::move(writer)};
}

/// Configuration and manifest of an image of these layers go into the content store.
ImageStore::NewImage ImageStore::make(const oci::ImageConfig& config, std::vector<oci::Descriptor> layers, Claims& claims) {
    const std::string raw = json::dump(config, {});
    static_cast<void>(oci::parse_image_config(raw));
    const auto put = [&](const std::string& text) {
        claims.blob(content::digest_of(text));
        return content_.put(text);
    };
    oci::Manifest manifest;
    manifest.config = {.media_type = std::string(config_media_type), .digest = put(raw).text(), .size = raw.size()};
    manifest.layers = std::move(layers);
    for (oci::Descriptor& each : manifest.layers) each.media_type = oci_layer_type(each.media_type);
    const std::string text = manifest_text(std::move(manifest));
    return {{.media_type = std::string(oci::media_type::manifest), .digest = put(text).text(), .size = text.size()}, {}, {}};
}

/// The layer becomes visible and its blob durable.
void ImageStore::publish(NewLayer& layer, Claims& claims) {
    claims.blob(layer.writer.digest());
    claims.keep(layer.staged);
    claims.publishes();
    layers_.publish({layer.staged});
    std::array writers{std::move(layer.writer)};
    content_.commit(writers);
}

std::string ImageStore::import(int input, const ImportOptions& options, const OnProgress& progress) {
    std::vector<oci::Reference> names;
    if (!options.reference.empty()) {
        const oci::Reference name = oci::Reference::parse(options.reference).with_default_tag();
        if (name.digest()) fail(ErrorKind::invalid_argument, "cannot import digest reference");
        names.push_back(name);
    }
    const oci::Platform platform =
        options.architecture.empty() ? oci::Platform::host() : oci::Platform::parse("linux/" + options.architecture);
    Claims claims{*this};
    NewLayer layer = read_layer(input, content_, layers_, [&](std::uint64_t done) {
        if (progress) progress({"", "Importing", done, 0});
    });
    if (options.whole) options.whole();
    oci::ImageConfig config;
    config.created = format_time(now());
    config.comment = options.message.empty() ? "Imported from " + options.source : options.message;
    config.architecture = platform.architecture;
    config.variant = platform.variant;
    config.os = platform.os;
    config.config = options.config;
    config.rootfs = {.type = "layers", .diff_ids = {layer.staged->diff_id().text()}};
    config.history.push_back({.created = config.created, .created_by = {}, .author = {}, .comment = config.comment, .empty_layer = false});
    publish(layer, claims);
    NewImage image = make(config, {layer.blob}, claims);
    image.references = std::move(names);
    add({image});
    return image.target.digest;
}

std::string ImageStore::commit(const CommitRequest& request) {
    std::vector<oci::Reference> names;
    if (!request.reference.empty()) {
        const oci::Reference name = oci::Reference::parse(request.reference).with_default_tag();
        if (name.digest()) fail(ErrorKind::invalid_argument, "refusing to create a tag with a digest reference");
        names.push_back(name);
    }
    const auto [parent, lease] = request.parent.empty() ? Acquired{} : acquire(request.parent);
    Claims claims{*this};
    NewLayer layer = read_layer(request.layer, content_, layers_, {});
    if (request.whole) request.whole();
    oci::ImageConfig config;
    std::vector<oci::Descriptor> layers;
    if (parent) {
        config = parent->config;
        layers = parent->layers;
        for (const oci::Digest& each : parent->diff_ids) claims.layer(each);
    } else {
        const oci::Platform platform = oci::Platform::host();
        config.architecture = platform.architecture;
        config.variant = platform.variant;
        config.os = platform.os;
        config.rootfs.type = "layers";
    }
    config.created = format_time(now());
    config.author = request.author;
    config.comment = request.comment;
    config.config = request.config;
    const bool is_empty = layer.staged->is_empty();
    config.history.push_back({.created = config.created,
                              .created_by = request.created_by,
                              .author = request.author,
                              .comment = request.comment,
                              .empty_layer = is_empty});
    if (!is_empty) {  // a commit without changes has no layer
        config.rootfs.diff_ids.push_back(layer.staged->diff_id().text());
        layers.push_back(layer.blob);
        publish(layer, claims);
    }
    NewImage image = make(config, std::move(layers), claims);
    image.references = std::move(names);
    image.parent = request.parent;
    add({image});
    return image.target.digest;
}

}  // namespace grua::images
