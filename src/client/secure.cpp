#include "base/error.hpp"
#include "client/endpoint.hpp"
#include "tls/relays.hpp"

#include <fcntl.h>
#include <future>

namespace grua::client::detail {

namespace {

/// One thread for all connections of this program. Ended at its exit, when what was sent last is on its way.
tls::Relays& relays() {
    static tls::Relays all;
    return all;
}

std::string reason_of(const std::string& failure) {
    // Some other protocol's bytes where a TLS record's version should be.
    if (failure == "wrong version number" || failure == "packet length too long" || failure == "http request")
        return "the daemon does not speak TLS there (" + failure + ")";
    return failure;
}

}  // namespace

Link connect_tls(Fd tcp, const Endpoint& endpoint) {
    const tls::Context context = tls::Context::client(endpoint.security->files, endpoint.security->daemon);
    if (::fcntl(tcp.get(), F_SETFL, O_NONBLOCK) < 0) fail_errno("connect {}", endpoint.text());
    const auto promise = std::make_shared<std::promise<tls::Shaken>>();
    std::future<tls::Shaken> future = promise->get_future();
    relays().connect(std::move(tcp), context, endpoint.address, [promise](tls::Shaken how) { promise->set_value(std::move(how)); });
    tls::Shaken how = future.get();
    if (!how.plain) fail(ErrorKind::unavailable, "TLS with {}: {}", endpoint.text(), reason_of(how.failure));
    if (::fcntl(how.plain.get(), F_SETFL, 0) < 0) fail_errno("connect {}", endpoint.text());
    return {.socket = std::move(how.plain), .why_ended = [ending = how.ending, where = endpoint.text()] {
                const std::string why = ending->why();
                return why.empty() ? why : fmt::format("TLS with {}: {}", where, why);
            }};
}

}  // namespace grua::client::detail
