// Images into one tar that is an OCI layout and a docker-archive at once: the same images give the same bytes.
#include "base/error.hpp"
#include "images/image_store_impl.hpp"
#include "layers/tar_writer.hpp"

#include <algorithm>

namespace grua::images {
namespace {

constexpr std::size_t buffer_size = std::size_t{1} << 20U;

std::string blob_path(const oci::Digest& digest) { return fmt::format("blobs/{}/{}", digest.algorithm(), digest.hex()); }

/// Files and folders that belong to root and have no time.
class Layout : layers::Sink {
public:
    explicit Layout(const std::function<void(std::string_view)>& write) : write_(write) { folder("blobs/"); }

    void file(const std::string& name, std::string_view bytes) {
        tar_.add({.name = name, .mode = 0644, .size = bytes.size()});
        tar_.write(bytes);
    }

    /// Blobs come in the order of their digests.
    void blob(const oci::Digest& digest, std::string_view bytes) {
        make_place(digest);
        file(blob_path(digest), bytes);
    }
    void blob(const oci::Digest& digest, const content::ContentStore& content) {
        make_place(digest);
        const Fd file = content.open(digest);
        const std::uint64_t size = content.size(digest).value_or(0);
        tar_.add({.name = blob_path(digest), .mode = 0644, .size = size});
        layers::ExtentSource source{file.get(), 0, size};
        std::vector<char> buffer(buffer_size);
        while (const std::size_t count = source.read(buffer)) tar_.write({buffer.data(), count});
    }

    void finish() { tar_.finish(); }

private:
    void write(std::string_view bytes) override { write_(bytes); }

    void folder(const std::string& name) { tar_.add({.name = name, .type = layers::TarEntry::Type::directory, .mode = 0755}); }

    void make_place(const oci::Digest& digest) {
        if (place_ == digest.algorithm()) return;
        place_ = digest.algorithm();
        folder(fmt::format("blobs/{}/", place_));
    }

    const std::function<void(std::string_view)>& write_;
    layers::TarWriter tar_{*this};
    std::string place_;
};

/// What index.json says of an image: it is there once for each of its names.
void add_entries(std::vector<oci::Descriptor>& entries, const oci::Descriptor& target, const std::vector<oci::Reference>& names) {
    if (names.empty()) entries.push_back(target);
    for (const oci::Reference& name : names) {
        oci::Descriptor& entry = entries.emplace_back(target);
        entry.annotations["io.containerd.image.name"] = name.text();
        entry.annotations["org.opencontainers.image.ref.name"] = name.tag();
    }
}

/// What manifest.json says of it.
boost::json::object legacy_entry(const oci::Digest& config, const std::vector<oci::Reference>& names,
                                 const std::vector<oci::Descriptor>& layers) {
    boost::json::array tags;
    for (const oci::Reference& name : names) tags.emplace_back(name.familiar());
    boost::json::array paths;
    for (const oci::Descriptor& layer : layers) paths.emplace_back(blob_path(oci::Digest::from(layer.digest)));
    return {{"Config", blob_path(config)}, {"RepoTags", tags.empty() ? json::Value(nullptr) : json::Value(tags)}, {"Layers", paths}};
}

std::string index_text(std::vector<oci::Descriptor> entries) {
    oci::Index index;
    index.schema_version = 2;
    index.media_type = oci::media_type::index;
    index.manifests = std::move(entries);
    return json::dump(index, {});
}

constexpr std::string_view layout_text = R"({"imageLayoutVersion":"1.0.0"})";

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
        add_entries(entries, target, saved.names);
        legacy.emplace_back(legacy_entry(*image->config_digest, saved.names, image->layers));
    }

    Layout tar{write};
    for (const oci::Digest& digest : blobs) tar.blob(digest, content_);
    tar.file("index.json", index_text(std::move(entries)));
    tar.file("manifest.json", boost::json::serialize(legacy));
    tar.file("oci-layout", layout_text);
    tar.finish();
}

void ImageStore::save_built(const BuiltImage& image, ArchiveForm form, const std::function<void(std::string_view)>& write) const {
    const BuiltDocuments built = documents_of(image);
    std::vector<oci::Reference> names;
    for (const oci::Reference& each : image.names) names.push_back(each.with_default_tag());
    std::map<oci::Digest, const std::string*> files;  // those without a text are blobs of the store
    for (const oci::Descriptor& each : built.blobs) files.emplace(oci::Digest::from(each.digest), nullptr);
    for (const BuiltDocument& each : built.documents) files.emplace(oci::Digest::from(each.descriptor.digest), &each.text);

    Layout tar{write};
    for (const auto& [digest, text] : files) {
        if (text) {
            tar.blob(digest, *text);
        } else {
            tar.blob(digest, content_);
        }
    }
    std::vector<oci::Descriptor> entries;
    add_entries(entries, built.target, names);
    tar.file("index.json", index_text(std::move(entries)));
    if (form == ArchiveForm::docker) {
        std::vector<oci::Descriptor> layers;
        for (const PackedLayer& each : image.manifests[built.main].layers) {
            if (!each.is_empty) layers.push_back(each.blob);
        }
        tar.file("manifest.json", boost::json::serialize(boost::json::array{legacy_entry(built.configs[built.main], names, layers)}));
    }
    tar.file("oci-layout", layout_text);
    tar.finish();
}

}  // namespace grua::images
