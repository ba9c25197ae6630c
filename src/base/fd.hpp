// A file descriptor with one owner. No raw int that owns anything crosses a function boundary in grua.
#pragma once

#include <unistd.h>
#include <utility>

namespace grua {

class Fd {
public:
    Fd() = default;
    explicit Fd(int fd) noexcept : fd_(fd) {}
    Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    /// What was held is closed at once, not when `other` ends.
    Fd& operator=(Fd&& other) noexcept {
        const Fd old{std::exchange(fd_, std::exchange(other.fd_, -1))};
        return *this;
    }
    ~Fd() {
        if (fd_ >= 0) ::close(fd_);
    }

    int get() const noexcept { return fd_; }
    explicit operator bool() const noexcept { return fd_ >= 0; }
    [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }

private:
    int fd_ = -1;
};

}  // namespace grua
