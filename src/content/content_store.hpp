// Blobs by digest: <directory>/blobs/<algorithm>/<hex>. A blob that can be opened is whole, durable and is its digest:
// it is staged, hashed while written, synced, and only then renamed to its name.
// Thread-safe without locks: two writers of one blob both succeed, with the same bytes.
#pragma once

#include "base/fd.hpp"
#include "content/hash.hpp"
#include "oci/digest.hpp"
#include "store/durable_file.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::content {

class ContentStore {
public:
    /// `directory` is <data-root>/content. Leftovers of interrupted ingests are removed.
    explicit ContentStore(std::string directory);

    /// A blob on its way in; destroyed without commit() it leaves nothing.
    class Writer {
    public:
        void write(std::string_view bytes);  ///< Throws invalid_argument past the announced size.
        std::uint64_t written() const noexcept { return written_; }
        void commit();  ///< Throws invalid_argument where size or digest are not the announced ones.

    private:
        friend class ContentStore;
        Writer(const ContentStore& store, oci::Digest expected, std::optional<std::uint64_t> size);

        const ContentStore* store_;
        oci::Digest expected_;
        std::optional<std::uint64_t> size_;
        Hasher hasher_;
        store::StagedFile file_;
        std::uint64_t written_ = 0;
    };

    Writer ingest(const oci::Digest& expected, std::optional<std::uint64_t> size) const { return {*this, expected, size}; }

    /// An unnamed file beside the blobs, for what has to be looked at before it can be one.
    Fd spool() const;

    /// A small document under its SHA-256.
    oci::Digest put(std::string_view bytes) const;

    bool exists(const oci::Digest& digest) const;
    Fd open(const oci::Digest& digest) const;  ///< Throws not_found.
    std::string read(const oci::Digest& digest, std::size_t limit) const;
    void remove(const oci::Digest& digest) const;  ///< What is not there is no error.
    std::vector<oci::Digest> list() const;

private:
    std::string path(const oci::Digest& digest) const;

    std::string directory_;
};

}  // namespace grua::content
