// A layer on its way in: while its bytes are written to a blob's file they are read again from there, decompressed and
// unpacked by a thread of its own. The page cache is the buffer between the two, so neither waits for the other.
#pragma once

#include "base/mutex.hpp"
#include "layers/layers.hpp"

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <optional>
#include <thread>

namespace grua::images {

class Incoming {
public:
    /// `file` is borrowed and must stay open until finish() or the end of this. end() will say its digest by `algorithm`, where
    /// that is not empty.
    Incoming(layers::LayerStore& layers, int file, std::optional<oci::Digest> diff_id, std::string algorithm = {});
    Incoming(const Incoming&) = delete;
    Incoming& operator=(const Incoming&) = delete;
    ~Incoming();  ///< What is not finished is given up.

    void grew_to(std::uint64_t size);                  ///< So many bytes are in the file.
    void end(std::optional<oci::Digest> digest = {});  ///< There will be no more; the digest of the file, which is proven.

    std::uint64_t unpacked() const noexcept { return unpacked_; }  ///< Bytes of the file that are done.

    /// Waits for the unpacking; throws what it threw.
    layers::StagedPtr finish();

private:
    class Reader;
    void run(const std::optional<oci::Digest>& diff_id, const std::string& algorithm);
    oci::Digest wait_for_digest();

    layers::LayerStore& layers_;
    int file_;
    Mutex mutex_;
    std::condition_variable_any changed_;
    std::uint64_t size_ GRUA_GUARDED_BY(mutex_) = 0;
    bool ended_ GRUA_GUARDED_BY(mutex_) = false;
    std::optional<oci::Digest> digest_ GRUA_GUARDED_BY(mutex_);
    bool given_up_ GRUA_GUARDED_BY(mutex_) = false;
    std::atomic<std::uint64_t> unpacked_ = 0;
    layers::StagedPtr staged_;
    std::exception_ptr error_;
    std::thread thread_;
};

}  // namespace grua::images
