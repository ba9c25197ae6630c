#include "cli/build/connection.hpp"

#include "base/condition.hpp"
#include "base/error.hpp"
#include "client/client.hpp"
#include "client/http.hpp"
#include "grpc/client.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/json.hpp>
#include <tuple>

namespace grua::cli {
namespace {

constexpr int switching_protocols = 101;
constexpr int not_implemented = 501;

[[noreturn]] void refuse(int status, const std::string& body) {
    boost::system::error_code error;
    const boost::json::value parsed = boost::json::parse(body, error);
    const auto* object = error ? nullptr : parsed.if_object();
    const auto* message = object ? object->if_contains("message") : nullptr;
    std::string text = message && message->is_string() ? std::string(message->get_string()) : body;
    if (text.empty() || status < 400) text = fmt::format("the daemon does not build images (status {})", status);
    throw client::ApiError(status < 400 ? not_implemented : status, std::move(text));
}

}  // namespace

Upgraded upgrade(const client::Endpoint& where, const std::string& path, std::vector<std::pair<std::string, std::string>> headers) {
    headers.insert(headers.begin(), {{"Connection", "Upgrade"}, {"Upgrade", "h2c"}});
    client::Connection connection(where);
    client::Request request{.method = "POST", .target = path, .headers = std::move(headers)};
    connection.expect(request);
    connection.send(request);
    client::Response response = connection.receive();
    if (response.status != switching_protocols) refuse(response.status, response.read_all());
    Upgraded out;
    std::tie(out.socket, out.early) = connection.take_stream();
    return out;
}

BuildCalls::BuildCalls(const client::Endpoint& where, const asio::any_io_executor& loop) {
    Upgraded link = upgrade(where, "/grpc");
    http2_ = grpc::Http2::make(loop, grpc::over_socket(loop, std::move(link.socket), std::move(link.early)), grpc::Http2::Role::client);
    asio::co_spawn(loop, http2_->run(), asio::detached);
}

BuildCalls::~BuildCalls() { http2_->close("the build is over"); }

void call_engine(const client::Endpoint& where, std::string method, std::string request,
                 const std::function<void(const std::string& message)>& each) {
    asio::io_context loop;
    std::exception_ptr failure;
    const auto talk = [&]() -> asio::awaitable<void> {
        BuildCalls calls(where, loop.get_executor());
        grpc::ClientCall made(calls.http2(), method);
        co_await made.write(request);
        made.end();
        while (const auto message = co_await made.read())
            if (each) each(*message);
    };
    asio::co_spawn(loop, talk(), [&](const std::exception_ptr& thrown) { failure = thrown; });
    loop.run();
    if (failure) std::rethrow_exception(failure);
}

struct BuildSessionLink::State {
    explicit State(const asio::any_io_executor& loop) : changed(loop) {}
    Condition changed;
    bool is_over = false;
};

BuildSessionLink::BuildSessionLink(const client::Endpoint& where, const asio::any_io_executor& loop, const grpc::Services& services,
                                   const std::string& id, const std::string& shared_key)
    : state_(std::make_shared<State>(loop)) {
    std::vector<std::pair<std::string, std::string>> headers{{"X-Docker-Expose-Session-Uuid", id},
                                                             {"X-Docker-Expose-Session-Sharedkey", shared_key}};
    for (const std::string& each : services.methods()) headers.emplace_back("X-Docker-Expose-Session-Grpc-Method", each);
    Upgraded link = upgrade(where, "/session", std::move(headers));
    // To end it from outside.
    socket_ = Fd{::fcntl(link.socket.get(), F_DUPFD_CLOEXEC, 0)};
    if (!socket_) fail_errno("the session's connection");
    asio::co_spawn(loop, services.serve(loop, grpc::over_socket(loop, std::move(link.socket), std::move(link.early))),
                   [state = state_](const std::exception_ptr&) {
                       state->is_over = true;
                       state->changed.notify_all();
                   });
}

BuildSessionLink::~BuildSessionLink() { ::shutdown(socket_.get(), SHUT_RDWR); }

asio::awaitable<void> BuildSessionLink::end() {
    ::shutdown(socket_.get(), SHUT_RDWR);
    while (!state_->is_over) co_await state_->changed.wait();
}

}  // namespace grua::cli
