// The HTTP server of gruad: listening sockets, connections, routes.
//
// This room turns the Docker Engine API (1.24 to 1.51) into calls of the engine and back. What it keeps true: a request is
// parsed completely and checked before anything is done; a handler is one engine call; no answer is made up - what is not
// built is 501; a client that is slow or gone stops its own stream and nothing else.
#pragma once

#include "api/connection.hpp"
#include "api/services.hpp"
#include "base/fd.hpp"
#include "base/spare_descriptor.hpp"
#include "tls/relays.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <vector>

namespace grua::api {

class Server {
public:
    /// `backend` outlives the server.
    Server(asio::any_io_executor loop, const Backend& backend);
    ~Server();

    /// Accepts from a listening socket until stop(). `name`: its address, as principals show it. With `tls` its clients speak that.
    void accept_from(Fd listener, std::string name, std::optional<tls::Context> tls = std::nullopt);

    /// Other certificates for the clients that come from now on, of the listeners with TLS.
    void use(const tls::Context& tls);

    /// Accepts no more, ends idle connections and streams, gives the others `patience`, then cuts their clients off. How many calls are
    /// under way all the same: what they stand on must not be destroyed.
    asio::awaitable<std::size_t> stop(std::chrono::milliseconds patience);

private:
    struct Listener;
    asio::awaitable<void> accept_clients(std::shared_ptr<Listener> from);
    void secure(Fd client, const tls::Context& tls, engine::Principal who);
    void admit(tls::Shaken how, engine::Principal who);

    asio::any_io_executor loop_;
    Connections connections_;
    SpareDescriptor spare_;
    std::vector<std::shared_ptr<Listener>> listeners_;
    int last_for_clients_;
    std::chrono::steady_clock::time_point refusal_logged_;
    std::unique_ptr<tls::Relays> relays_;  ///< Made for the first listener with TLS. Last: its thread ends first.
};

}  // namespace grua::api
