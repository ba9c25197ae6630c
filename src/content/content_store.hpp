// Blobs by digest: <directory>/blobs/<algorithm>/<hex>. A blob that can be opened is whole, durable and is its digest:
// it is staged, hashed while written, synced, and only then renamed to its name.
//
// A download is staged in <directory>/partial/<algorithm>-<hex> and stays there when it breaks off, so that the next attempt goes on
// where it ended, also after a kill -9. What a partial holds is hashed again when it is opened: only bytes that lead to the digest
// become a blob, and what does not is removed.
//
// Thread-safe without locks: two writers of one blob by ingest() both succeed, with the same bytes. A partial has one writer at a
// time, by flock(2).
#pragma once

#include "base/fd.hpp"
#include "base/mutex.hpp"
#include "base/text.hpp"
#include "content/hash.hpp"
#include "oci/digest.hpp"
#include "store/direct_writer.hpp"
#include "store/durable_file.hpp"

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace grua::content {

class ContentStore {
public:
    /// `directory` is <data-root>/content. Leftovers of interrupted ingests are removed; partials stay.
    explicit ContentStore(std::string directory);

    /// When its bytes are wanted. `later`: much of them goes past the page cache, and nobody reads them before verify().
    enum class Reading { soon, later };

    /// A blob on its way in. Destroyed without commit() one of ingest() leaves nothing, one of resume() leaves its partial.
    class Writer {
    public:
        Writer(Writer&& other) noexcept;
        Writer& operator=(Writer&&) = delete;
        ~Writer();

        void write(std::string_view bytes);                                            ///< Throws invalid_argument past the announced size.
        std::uint64_t written() const noexcept { return written_; }                    ///< With what an earlier attempt left.
        int fd() const noexcept { return partial_ ? partial_.get() : staged_->fd(); }  ///< Borrowed; for pread(2) of what is written.

        /// Throws invalid_argument where size or digest are not the announced ones; a partial with another digest is removed then.
        /// Nothing may follow but commit().
        void verify();

        /// verify(), and durable under its digest.
        void commit();

        const oci::Digest& digest() const noexcept { return expected_; }  ///< Of receive() after verify() only.

    private:
        friend class ContentStore;
        enum class Kind { staged, partial };
        void write_out(std::string_view bytes);
        Writer(const ContentStore& store, oci::Digest expected, std::optional<std::uint64_t> size, Kind kind);
        void hash_partial();
        void restart();
        void publish();
        void discard() noexcept;

        const ContentStore* store_;
        oci::Digest expected_;
        std::optional<std::uint64_t> size_;
        Hasher hasher_;
        std::optional<store::StagedFile> staged_;      ///< of ingest()
        Fd partial_;                                   ///< of resume(), locked
        std::unique_ptr<store::DirectWriter> direct_;  ///< takes over where there is much
        std::uint64_t written_ = 0;
        bool verified_ = false;
        bool finds_digest_ = false;  ///< of receive()
        Reading reading_ = Reading::soon;
    };

    /// For bytes whose digest (SHA-256) is not known before they are all there.
    Writer receive(Reading reading = Reading::soon) const;

    Writer ingest(const oci::Digest& expected, std::optional<std::uint64_t> size) const;

    /// Begins with what an earlier attempt left: written() says how much. Throws conflict while another writer has it.
    Writer resume(const oci::Digest& expected, std::optional<std::uint64_t> size) const;

    /// commit() of many for the price of one: all verified, one syncfs, all renamed, the folders synced. Where one is not its
    /// digest none is committed.
    void commit(std::span<Writer> writers) const;

    /// What interrupted downloads left.
    struct Partial {
        oci::Digest digest;
        std::uint64_t size = 0;
        Time modified;
        bool in_use = false;
    };
    std::vector<Partial> partials() const;
    bool remove_partial(const oci::Digest& digest) const;  ///< False where a writer has it; what is not there is removed.

    /// An unnamed file beside the blobs, for what has to be looked at before it can be one.
    Fd spool() const;

    /// A small document under its SHA-256.
    oci::Digest put(std::string_view bytes) const;

    bool exists(const oci::Digest& digest) const;
    Fd open(const oci::Digest& digest) const;  ///< Throws not_found.
    std::string read(const oci::Digest& digest, std::size_t limit) const;
    std::optional<std::uint64_t> size(const oci::Digest& digest) const;  ///< Bytes; nothing where it is not here.
    void remove(const oci::Digest& digest) const;                        ///< What is not there is no error.
    std::vector<oci::Digest> list() const;

private:
    std::string path(const oci::Digest& digest) const;
    std::string partial_path(const oci::Digest& digest) const;
    void purge(const std::stop_token& stop) const;

    std::string directory_;
    mutable Mutex mutex_;
    mutable std::condition_variable_any trashed_;
    mutable bool purged_ GRUA_GUARDED_BY(mutex_) = false;
    std::jthread purger_;  ///< Deletes what remove() moved to <directory>/trash: large files take their time.
};

}  // namespace grua::content
