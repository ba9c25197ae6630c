// The files of an image archive as they come, through a pipe and with the index last: documents are kept in memory, all
// else goes into blobs, and what looks like a layer is unpacked while it comes, before anything says that it is wanted.
#pragma once

#include "content/content_store.hpp"
#include "images/incoming.hpp"
#include "layers/layers.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace grua::images {

class Archive {
public:
    /// The name of the entry and how much of it is read.
    using OnProgress = std::function<void(const std::string& path, std::uint64_t done, std::uint64_t size)>;

    /// Told of a blob before it is looked for in the store, so that what is there stays.
    using OnFound = std::function<void(const oci::Digest&)>;

    /// Reads the tar (plain or packed) from `input` to its end.
    Archive(int input, content::ContentStore& content, layers::LayerStore& layers, OnFound claim, const OnProgress& progress);
    ~Archive();

    /// Of what is kept: a layer in bzip2 or xz is kept as gzip.
    struct File {
        oci::Digest digest;
        std::uint64_t size = 0;
    };
    /// Links inside the archive are followed, by name only.
    std::optional<File> find(const std::string& path) const;
    File get(const std::string& path) const;  ///< Throws "invalid archive: … is missing".
    std::string read(const std::string& path, std::size_t limit) const;
    std::string first_bytes(const File& file) const;  ///< A few, to see how it is packed.

    /// The layer that is in the file, unpacked; throws where it has another diff ID.
    layers::StagedPtr layer(const File& file, const oci::Digest& diff_id);

    /// A document that is not in the archive but made from it.
    void add_document(const oci::Digest& digest, std::string text) { documents_.insert_or_assign(digest, std::move(text)); }

    /// Makes blobs of those of `wanted` that are not.
    void commit(const std::vector<oci::Digest>& wanted);

private:
    struct Blob;
    void add_file(const std::string& name, std::uint64_t size, class EntryReader& reader);
    void make_room();

    content::ContentStore& content_;
    layers::LayerStore& layers_;
    OnFound claim_;
    std::map<std::string, File> files_;
    std::map<std::string, std::string> links_;
    std::map<oci::Digest, std::string> documents_;
    std::uint64_t document_bytes_ = 0;
    std::map<oci::Digest, std::unique_ptr<Blob>> blobs_;
    std::vector<Blob*> unpacking_;
};

}  // namespace grua::images
