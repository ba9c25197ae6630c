// Files that came over HTTP, kept for the next build that wants the same URL: it asks the server whether they are still the same.
//
//   <directory>/boot                  the run of the kernel that all this is of
//   <directory>/urls/<key>            what the server said of a URL, and the digest of what it gave
//   <directory>/content/<digest>      the bytes, once for all URLs that gave them
//
// A file gets its name when it is whole, so that a kill of gruad leaves nothing half made. Nothing is synced: after another start of the
// machine all of it goes. Thread-safe; blocks.
#pragma once

#include "base/clock.hpp"
#include "base/fd.hpp"
#include "base/mutex.hpp"
#include "build/context_store.hpp"
#include "oci/digest.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::build {

/// What a server said of a file.
struct HttpValidators {
    std::string etag;           ///< As it was sent; empty where there is none.
    std::string last_modified;  ///< The same. Good for a question only where `may_ask_by_time`.
    bool may_ask_by_time = false;
    std::string disposition;  ///< Content-Disposition.
};

class HttpCache {
public:
    HttpCache(std::string directory, std::uint64_t limit, std::string boot = ContextStore::this_boot());

    struct Kept {
        std::string shown;  ///< The URL, without credentials.
        oci::Digest digest;
        HttpValidators validators;
        Fd file;  ///< For reading; stays though the cache lets go of it.
    };
    /// Of a URL and all that a server's answer may depend on; nothing where there is none.
    std::optional<Kept> find(const std::string& key);

    /// A file without a name, to be written and then kept, or not.
    Fd new_file() const;

    /// `file` is whole, and its bytes are the digest's. What is too much then goes, the longest unused first.
    void keep(const std::string& key, std::string_view shown, const oci::Digest& digest, const HttpValidators& validators, int file);

    struct Entry {
        std::string name;  ///< The key.
        std::string shown;
        std::uint64_t bytes = 0;
        Time last_used{};
    };
    std::vector<Entry> list() const;
    /// False where there is none.
    bool remove(const std::string& name);

private:
    struct Record;
    std::optional<Record> read_record(const std::string& key) const;
    std::vector<std::pair<Record, Entry>> records() const;
    std::string content_path(const oci::Digest& digest) const;
    std::string record_path(std::string_view key) const { return directory_ + "/urls/" + std::string(key); }
    void trim() GRUA_REQUIRES(mutex_);

    std::string directory_;
    std::uint64_t limit_;
    mutable Mutex mutex_;
};

}  // namespace grua::build
