// Images into one tar that is an OCI layout and a docker-archive at once: the same images give the same bytes.
#include "base/error.hpp"
#include "images/image_store_impl.hpp"
#include "layers/tar_writer.hpp"

#include <algorithm>

namespace grua::images {
namespace {

constexpr std::size_t buffer_size = std::size_t{1} << 20U;

/// Files and folders that belong to root and have no time.
class Layout : layers::Sink {
public:
    explicit Layout(const std::function<void(std::string_view)>& write) : write_(write) {}

    void folder(const std::string& name) { tar_.add({.name = name, .type = layers::TarEntry::Type::directory, .mode = 0755}); }

    void file(const std::string& name, std::string_view bytes) {
        tar_.add({.name = name, .mode = 0644, .size = bytes.size()});
        tar_.write(bytes);
    }

    void file(const std::string& name, int fd, std::uint64_t size) {
        tar_.add({.name = name, .mode = 0644, .size = size});
        layers::ExtentSource source{fd, 0, size};
        std::vector<char> buffer(buffer_size);
        while (const std::size_t count = source.read(buffer)) tar_.write({buffer.data(), count});
    }

    void finish() { tar_.finish(); }

private:
    void write(std::string_view bytes) override { write_(bytes); }

    const std::function<void(std::string_view)>& write_;
    layers::TarWriter tar_{*this};
};

std::string blob_path(const oci::Digest& digest) { return fmt::format("blobs/{}/{}", digest.algorithm(), digest.hex()); }

}  // namespace

void ImageStore::save(const std::vector<std::string>& references, const std::vector<oci::Platform>& platforms,
                      const std::function<void(std::string_view)>& write) const {
    struct Saved {
        ImagePtr image;
        std::vector<oci::Reference> names;
    };
    std::vector<Saved> images;
    const auto add = [&](const ImagePtr& image) -> Saved& {
        const auto found = std::ranges::find(images, image, &Saved::image);
        return found != images.end() ? *found : images.emplace_back(Saved{image, {}});
    };
    for (const std::string& text : references) {
        const ImagePtr image = find(text);
        if (!image) fail(ErrorKind::not_found, "No such image: {}", text);
        Saved& saved = add(image);
        const bool by_id = is_id_prefix(image->id, text);
        if (by_id) continue;
        const oci::Reference name = oci::Reference::parse(text).with_default_tag();
        if (!name.digest() && std::ranges::find(saved.names, name) == saved.names.end()) saved.names.push_back(name);
    }

    std::vector<oci::Descriptor> entries;
    boost::json::array legacy;
    std::set<oci::Digest> blobs;
    for (const Saved& saved : images) {
        ImagePtr image = saved.image;
        std::vector<oci::Digest> wanted = image->blobs;
        oci::Descriptor target = image->target;
        if (!platforms.empty()) {
            wanted.clear();
            for (const oci::Platform& each : platforms) {
                image = for_platform(saved.image, each);
                wanted.push_back(*image->manifest_digest);
                wanted.push_back(*image->config_digest);
                for (const oci::Descriptor& layer : image->layers) wanted.push_back(oci::Digest::from(layer.digest));
            }
            // One platform is the image; of several the index says which is which.
            if (platforms.size() == 1) {
                const std::string digest = image->manifest_digest->text();
                target = std::ranges::find(image->variants, digest, [](const Variant& each) { return each.manifest.digest; })->manifest;
            } else {
                wanted.push_back(oci::Digest::from(target.digest));
            }
        }
        blobs.insert(wanted.begin(), wanted.end());
        if (saved.names.empty()) entries.push_back(target);
        boost::json::array tags;
        for (const oci::Reference& name : saved.names) {
            oci::Descriptor& entry = entries.emplace_back(target);
            entry.annotations["io.containerd.image.name"] = name.text();
            entry.annotations["org.opencontainers.image.ref.name"] = name.tag();
            tags.emplace_back(name.familiar());
        }
        boost::json::array layers;
        for (const oci::Descriptor& layer : image->layers) layers.emplace_back(blob_path(oci::Digest::from(layer.digest)));
        legacy.emplace_back(boost::json::object{{"Config", blob_path(*image->config_digest)},
                                                {"RepoTags", tags.empty() ? json::Value(nullptr) : json::Value(tags)},
                                                {"Layers", layers}});
    }
    oci::Index index;
    index.schema_version = 2;
    index.media_type = oci::media_type::index;
    index.manifests = std::move(entries);

    Layout tar{write};
    tar.folder("blobs/");
    std::string folder;
    for (const oci::Digest& digest : blobs) {
        if (folder != digest.algorithm()) {
            folder = digest.algorithm();
            tar.folder(fmt::format("blobs/{}/", folder));
        }
        const Fd file = content_.open(digest);
        tar.file(blob_path(digest), file.get(), content_.size(digest).value_or(0));
    }
    tar.file("index.json", json::dump(index, {}));
    tar.file("manifest.json", boost::json::serialize(legacy));
    tar.file("oci-layout", R"({"imageLayoutVersion":"1.0.0"})");
    tar.finish();
}

}  // namespace grua::images
