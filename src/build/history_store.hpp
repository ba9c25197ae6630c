// Builds that have ended, on disk: a row each, and what they refer to as blobs in a folder of the history's own, so that it stays when an
// image goes.
//
//   <directory>/blobs/sha256/<hex>   logs, errors, provenance, manifests and configurations of images
//
// A record whose row is there has all of its blobs; a blob that no row refers to belongs to nobody and is removed when the folder is
// opened, which is on first use: a gruad that never builds has neither tables nor folder. Thread-safe but for one thing: whoever writes or
// removes does so one after the other. Blocks, so it is used from the pool.
#pragma once

#include "base/fd.hpp"
#include "base/mutex.hpp"
#include "build/history_record.hpp"
#include "content/content_store.hpp"
#include "store/database.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace grua::build {

/// Bytes that stay readable while this lives.
class HistoryBlob {
public:
    HistoryBlob(std::shared_ptr<const std::string> bytes, Time created) : bytes_(std::move(bytes)), created_(created) {}
    explicit HistoryBlob(Fd file);

    std::uint64_t size() const noexcept { return bytes_ ? bytes_->size() : size_; }
    Time created() const noexcept { return created_; }
    /// Fewer than `count` at the end only. May block.
    std::string read(std::uint64_t offset, std::size_t count) const;

private:
    std::shared_ptr<const std::string> bytes_;
    Fd file_;
    std::uint64_t size_ = 0;
    Time created_;
};
using HistoryBlobPtr = std::shared_ptr<const HistoryBlob>;

/// By their digests.
using HistoryBlobs = std::map<oci::Digest, std::shared_ptr<const std::string>>;

struct HistoryLimits {
    std::size_t entries = 50;  ///< More are kept while they are younger than `age`,
    std::chrono::seconds age{48 * 3600};
    std::size_t most_entries = 1000;  ///< and more than these are not, pinned ones aside.
};

/// What one that has ended takes of the disk.
struct KeptBuild {
    std::string ref;
    std::string name;  ///< Of what it has made; may be empty.
    Time completed{};
    std::uint64_t bytes = 0;  ///< A blob counts for the oldest that refers to it.
    bool is_pinned = false;
};

class HistoryStore {
public:
    /// `database` outlives this.
    HistoryStore(store::Database& database, std::string directory) : database_(database), directory_(std::move(directory)) {}

    /// Durable when it returns.
    void put(const HistoryRecord& record, const HistoryBlobs& blobs);

    std::optional<HistoryRecord> find(const std::string& ref);
    /// The newest first; of all where `most` is 0.
    std::vector<HistoryRecord> list(std::size_t most);

    /// What it is then; nothing where there is none.
    std::optional<HistoryRecord> change(const std::string& ref, const std::function<void(HistoryRecord&)>& change);

    /// Those that were there.
    std::vector<std::string> remove(const std::vector<std::string>& refs);
    /// What is more than is kept; the ones that went.
    std::vector<std::string> collect(const HistoryLimits& limits, Time now);

    /// The oldest first.
    std::vector<KeptBuild> kept();

    /// Null where there is none.
    HistoryBlobPtr blob(const oci::Digest& digest);

private:
    content::ContentStore& opened();
    void insert(const HistoryRecord& record);

    store::Database& database_;
    std::string directory_;
    Mutex mutex_;
    std::unique_ptr<content::ContentStore> content_ GRUA_GUARDED_BY(mutex_);
};

/// All digests that a record has.
std::vector<oci::Digest> blobs_of(const HistoryRecord& record);

}  // namespace grua::build
