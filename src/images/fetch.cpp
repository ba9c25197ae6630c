#include "images/fetch.hpp"

#include "base/error.hpp"
#include "base/fault_point.hpp"
#include "base/thread.hpp"
#include "images/incoming.hpp"
#include "layers/source.hpp"

#include <chrono>

namespace grua::images {

using namespace std::chrono_literals;

Fetch::~Fetch() = default;

Fetch::State Fetch::state() const {
    const MutexLock lock{mutex_};
    return {phase_, downloaded_, incoming_ ? incoming_->unpacked() : 0};
}

std::exception_ptr Fetch::error() const {
    const MutexLock lock{mutex_};
    return error_;
}

void Fetch::wait_for(std::chrono::milliseconds time) const {
    MutexLock lock{mutex_};
    ended_.wait_for(lock, time, [&]() GRUA_REQUIRES(mutex_) { return phase_ == Phase::done; });
}

FetchPtr Fetches::join(const oci::Descriptor& blob, const std::optional<oci::Digest>& diff_id, Download download, bool& started) {
    const MutexLock lock{mutex_};
    std::erase_if(running_, [](const auto& each) { return each.second.expired(); });
    const std::string key = blob.digest + " " + (diff_id ? diff_id->text() : "");
    started = false;
    if (const auto found = running_.find(key); found != running_.end()) {
        // One that failed is for those who saw it fail; the next begins again.
        if (FetchPtr fetch = found->second.lock(); fetch && !fetch->error()) return fetch;
    }
    started = true;
    FetchPtr fetch{new Fetch};
    fetch->blob_ = blob;
    fetch->diff_id_ = diff_id;
    fetch->thread_ = start_thread<std::jthread>(
        [this, raw = fetch.get(), download = std::move(download)](const std::stop_token& stop) { run(*raw, download, stop); });
    running_[key] = fetch;
    return fetch;
}

void Fetches::run(Fetch& fetch, const Download& download, const std::stop_token& stop) {
    std::exception_ptr error;
    bool has_slot = false;
    try {
        while (!has_slot) {
            has_slot = slots_.try_acquire_for(100ms);
            if (!has_slot && stop.stop_requested()) fail(ErrorKind::unavailable, "context canceled");
        }
        while (!take(fetch, download, stop)) {
            // Another fetch has the blob's file: one that unpacks something else of it, or of a pull that was just left.
            if (stop.stop_requested()) fail(ErrorKind::unavailable, "context canceled");
            std::this_thread::sleep_for(20ms);
        }
    } catch (...) {
        error = std::current_exception();
    }
    if (has_slot) slots_.release();
    const MutexLock lock{fetch.mutex_};
    fetch.error_ = error;
    fetch.phase_ = Fetch::Phase::done;
    fetch.ended_.notify_all();
}

/// From here or from there; false where another has the blob's file.
bool Fetches::take(Fetch& fetch, const Download& download, const std::stop_token& stop) {
    if (content_.exists(oci::Digest::from(fetch.blob_.digest))) {
        if (fetch.diff_id_) extract(fetch);
        return true;
    }
    try {
        receive(fetch, download, stop);
        return true;
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::conflict) throw;
        return false;
    }
}

/// Downloads and unpacks at once.
void Fetches::receive(Fetch& fetch, const Download& download, const std::stop_token& stop) {
    const oci::Digest digest = oci::Digest::from(fetch.blob_.digest);
    std::optional<content::ContentStore::Writer> writer;
    bool is_whole = false;
    for (bool again = false;; again = true) {
        writer.emplace(content_.resume(digest, fetch.blob_.size));
        std::optional<Incoming> incoming;
        if (fetch.diff_id_) incoming.emplace(layers_, writer->fd(), fetch.diff_id_, std::string(digest.algorithm()));
        const auto show = [&](Fetch::Phase phase) {
            if (incoming) incoming->grew_to(writer->written());
            const MutexLock lock{fetch.mutex_};
            fetch.phase_ = phase;
            fetch.downloaded_ = writer->written();
            fetch.incoming_ = incoming ? &*incoming : nullptr;
        };
        const auto hide = [&] {
            const MutexLock lock{fetch.mutex_};
            fetch.incoming_ = nullptr;
        };
        try {
            show(Fetch::Phase::downloading);
            if (writer->written() < fetch.blob_.size) {
                const auto take = [&](std::string_view bytes) {
                    writer->write(bytes);
                    show(Fetch::Phase::downloading);
                };
                download(writer->written(), take, stop);
            }
            try {
                writer->verify();
            } catch (const Error&) {
                // What an attempt before a power cut left may be anything, and a mirror may lie: once more, from another host.
                if (again) throw;
                if (incoming) hide();
                incoming.reset();
                continue;
            }
            is_whole = true;
            show(Fetch::Phase::extracting);
            if (incoming) {
                incoming->end(digest);
                layers::StagedPtr staged = while_doing("layer " + digest.text(), [&] { return incoming->finish(); });
                hide();
                const MutexLock lock{fetch.mutex_};
                fetch.staged_ = std::move(staged);
            }
        } catch (...) {
            hide();
            // Where all of it is here and it is no layer, or has no room, there is nothing to go on with.
            if (is_whole) {
                incoming.reset();
                writer.reset();
                content_.remove_partial(digest);
            }
            throw;
        }
        const MutexLock lock{fetch.mutex_};
        fetch.written_.push_back(std::move(*writer));
        return;
    }
}

/// The blob is here, only the layer is not.
void Fetches::extract(Fetch& fetch) {
    const Fd file = content_.open(oci::Digest::from(fetch.blob_.digest));
    Incoming incoming{layers_, file.get(), fetch.diff_id_};
    {
        const MutexLock lock{fetch.mutex_};
        fetch.phase_ = Fetch::Phase::extracting;
        fetch.downloaded_ = fetch.blob_.size;
    }
    incoming.grew_to(fetch.blob_.size);
    incoming.end();
    layers::StagedPtr staged = while_doing("layer " + fetch.blob_.digest, [&] { return incoming.finish(); });
    const MutexLock lock{fetch.mutex_};
    fetch.staged_ = std::move(staged);
}

void Fetches::publish(const std::vector<FetchPtr>& fetches, std::vector<content::ContentStore::Writer> writers) {
    fault_point("images:publish");
    const MutexLock one_at_a_time{publishing_};
    std::vector<layers::StagedPtr> staged;
    for (const FetchPtr& each : fetches) {
        const MutexLock lock{each->mutex_};
        if (each->staged_) staged.push_back(each->staged_);
        for (auto& writer : each->written_) writers.push_back(std::move(writer));
        each->written_.clear();
    }
    layers_.publish(staged);
    content_.commit(writers);
}

}  // namespace grua::images
