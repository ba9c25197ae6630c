// What a connection goes over: a socket, or the messages of a call on another connection.
#pragma once

#include "base/async.hpp"
#include "base/fd.hpp"

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace grua::grpc {

/// Loop only. One read and one write at a time.
class Transport {
public:
    virtual ~Transport() = default;
    /// Up to so many bytes; 0 at the end, and where the peer is gone.
    virtual asio::awaitable<std::size_t> read(std::span<char> out) = 0;
    /// All of them; false where the peer is gone.
    virtual asio::awaitable<bool> write(std::string_view bytes) = 0;
    /// Whoever reads or writes comes back.
    virtual void close() = 0;
};

/// A connected stream socket. `early`: what was read of it before.
std::unique_ptr<Transport> over_socket(const asio::any_io_executor& loop, Fd socket, std::string early = {});

}  // namespace grua::grpc
