#include "images/incoming.hpp"

#include "base/error.hpp"
#include "base/thread.hpp"
#include "layers/source.hpp"

#include <unistd.h>
#include <algorithm>

namespace grua::images {

/// The file as it grows.
class Incoming::Reader : public layers::Source {
public:
    explicit Reader(Incoming& incoming) : incoming_(incoming) {}

    std::size_t read(std::span<char> out) override {
        std::uint64_t size = 0;
        {
            MutexLock lock{incoming_.mutex_};
            incoming_.changed_.wait(
                lock, [&]() GRUA_REQUIRES(incoming_.mutex_) { return incoming_.size_ > at_ || incoming_.ended_ || incoming_.given_up_; });
            if (incoming_.given_up_) fail(ErrorKind::unavailable, "context canceled");
            size = incoming_.size_;
        }
        const std::size_t wanted = std::min<std::uint64_t>(out.size(), size - at_);
        if (wanted == 0) return 0;
        for (;;) {
            const ssize_t count = ::pread(incoming_.file_, out.data(), wanted, static_cast<off_t>(at_));
            if (count < 0 && errno == EINTR) continue;
            if (count < 0) fail_errno("read");
            at_ += static_cast<std::uint64_t>(count);
            return static_cast<std::size_t>(count);
        }
    }

private:
    Incoming& incoming_;
    std::uint64_t at_ = 0;
};

Incoming::Incoming(layers::LayerStore& layers, int file, std::optional<oci::Digest> diff_id, std::string algorithm)
    : layers_(layers), file_(file) {
    thread_ = start_thread([this, diff_id = std::move(diff_id), algorithm = std::move(algorithm)] { run(diff_id, algorithm); });
}

Incoming::~Incoming() {
    if (!thread_.joinable()) return;
    {
        const MutexLock lock{mutex_};
        given_up_ = true;
    }
    changed_.notify_all();
    thread_.join();
}

void Incoming::run(const std::optional<oci::Digest>& diff_id, const std::string& algorithm) {
    try {
        Reader reader{*this};
        staged_ = layers_.stage(reader, diff_id, [this](std::uint64_t done) { unpacked_ = done; },
                                {.algorithm = algorithm, .digest = [this] { return wait_for_digest(); }});
    } catch (...) {
        error_ = std::current_exception();
    }
}

void Incoming::grew_to(std::uint64_t size) {
    {
        const MutexLock lock{mutex_};
        size_ = size;
    }
    changed_.notify_all();
}

oci::Digest Incoming::wait_for_digest() {
    MutexLock lock{mutex_};
    changed_.wait(lock, [&]() GRUA_REQUIRES(mutex_) { return ended_ || given_up_; });
    if (!digest_) fail(ErrorKind::unavailable, "context canceled");
    return *digest_;
}

void Incoming::end(std::optional<oci::Digest> digest) {
    {
        const MutexLock lock{mutex_};
        digest_ = std::move(digest);
        ended_ = true;
    }
    changed_.notify_all();
}

layers::StagedPtr Incoming::finish() {
    thread_.join();
    if (error_) std::rethrow_exception(error_);
    return std::move(staged_);
}

}  // namespace grua::images
