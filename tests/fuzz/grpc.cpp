// What a client of gRPC may send, in pieces of any size: preface, frames, header blocks, messages. Every call ends, and the connection.
#include "fuzz.hpp"
#include "grpc/server.hpp"

#include <algorithm>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>

namespace {

using namespace grua;

/// Gives what was fuzzed, then its end.
class Given final : public grpc::Transport {
public:
    Given(std::string bytes, std::size_t piece) : bytes_(std::move(bytes)), piece_(piece) {}
    asio::awaitable<std::size_t> read(std::span<char> out) override {
        // Calls have their turns between the pieces.
        for (int turn = 0; turn < 3; ++turn) co_await asio::post(co_await asio::this_coro::executor, asio::use_awaitable);
        const std::size_t count = std::min({out.size(), piece_, bytes_.size()});
        std::copy_n(bytes_.begin(), count, out.begin());
        bytes_.erase(0, count);
        co_return count;
    }
    asio::awaitable<bool> write(std::string_view) override { co_return true; }
    void close() override { bytes_.clear(); }

private:
    std::string bytes_;
    std::size_t piece_;
};

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 1) return 0;
    constexpr std::string_view preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    std::string bytes(grua::fuzz::text(data + 1, size - 1));
    if (data[0] % 2 == 0) bytes.insert(0, preface);
    asio::io_context loop;
    grpc::Services services;
    services.add("/t/E", [](grpc::ServerCall& call) -> asio::awaitable<void> {
        while (auto message = co_await call.read()) co_await call.write(*message);
    });
    bool has_ended = false;
    asio::co_spawn(loop, services.serve(loop.get_executor(), std::make_unique<Given>(std::move(bytes), std::size_t{data[0]} + 1)),
                   [&](const std::exception_ptr& failure) { has_ended = !failure; });
    loop.run_for(std::chrono::seconds(10));
    grua::fuzz::check(has_ended);
    return 0;
}
