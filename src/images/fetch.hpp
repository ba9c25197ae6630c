// Layers on their way from registries. Two pulls that want the same one share its Fetch; it goes on while one of them
// wants it, and what a cancelled one has received is kept for the next.
#pragma once

#include "base/mutex.hpp"
#include "content/content_store.hpp"
#include "layers/layers.hpp"
#include "registry/client.hpp"

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <semaphore>
#include <string>
#include <thread>

namespace grua::images {

class Incoming;

class Fetch {
public:
    enum class Phase { waiting, downloading, extracting, done };
    struct State {
        Phase phase = Phase::waiting;
        std::uint64_t downloaded = 0;
        std::uint64_t extracted = 0;  ///< bytes of the blob
    };
    ~Fetch();

    const oci::Descriptor& blob() const noexcept { return blob_; }
    const std::optional<oci::Digest>& diff_id() const noexcept { return diff_id_; }
    State state() const;

    /// Null while it runs and after success.
    std::exception_ptr error() const;

    /// Until it is done, at most this long.
    void wait_for(std::chrono::milliseconds time) const;

private:
    friend class Fetches;
    Fetch() = default;

    oci::Descriptor blob_;
    std::optional<oci::Digest> diff_id_;  ///< To unpack to; none where the layer is unpacked already.
    mutable Mutex mutex_;
    mutable std::condition_variable_any ended_;
    Phase phase_ GRUA_GUARDED_BY(mutex_) = Phase::waiting;
    std::uint64_t downloaded_ GRUA_GUARDED_BY(mutex_) = 0;
    Incoming* incoming_ GRUA_GUARDED_BY(mutex_) = nullptr;  ///< while it unpacks
    std::exception_ptr error_ GRUA_GUARDED_BY(mutex_);
    std::vector<content::ContentStore::Writer> written_ GRUA_GUARDED_BY(mutex_);  ///< The verified blob until publish(); at most one.
    layers::StagedPtr staged_ GRUA_GUARDED_BY(mutex_);
    std::jthread thread_;
};

using FetchPtr = std::shared_ptr<Fetch>;

class Fetches {
public:
    /// Hands the bytes from an offset on to the sink, until the end or a stop.
    using Download = std::function<void(std::uint64_t offset, const registry::Sink& sink, std::stop_token stop)>;

    Fetches(content::ContentStore& content, layers::LayerStore& layers) : content_(content), layers_(layers) {}

    /// The fetch of this blob, a running one or a new one. `started` says which.
    FetchPtr join(const oci::Descriptor& blob, const std::optional<oci::Digest>& diff_id, Download download, bool& started);

    /// Makes what was fetched, and these documents, durable and visible; once for all who share it.
    void publish(const std::vector<FetchPtr>& fetches, std::vector<content::ContentStore::Writer> documents);

private:
    void run(Fetch& fetch, const Download& download, const std::stop_token& stop);
    bool take(Fetch& fetch, const Download& download, const std::stop_token& stop);
    void receive(Fetch& fetch, const Download& download, const std::stop_token& stop);
    void extract(Fetch& fetch);

    static constexpr std::ptrdiff_t side_by_side = 4;  // what two cores and a disk make use of

    content::ContentStore& content_;
    layers::LayerStore& layers_;
    Mutex mutex_;
    std::map<std::string, std::weak_ptr<Fetch>> running_ GRUA_GUARDED_BY(mutex_);
    std::counting_semaphore<> slots_{side_by_side};
    Mutex publishing_;  // one at a time
};

}  // namespace grua::images
