// What a server of gRPC may answer, as the engine's clients' sessions do, in pieces of any size: frames, header blocks, pushes, messages.
// Every call ends, and the connection.
#include "fuzz.hpp"
#include "grpc/client.hpp"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
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

asio::awaitable<void> stream(grpc::Http2& connection) {
    grpc::ClientCall call(connection, "/t/Stream", {});
    co_await call.write("a message");
    for (int messages = 0; messages < 100; ++messages)
        if (!co_await call.read()) co_return;
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size < 1) return 0;
    asio::io_context loop;
    const auto connection = grpc::Http2::make(
        loop.get_executor(), std::make_unique<Given>(std::string(fuzz::text(data + 1, size - 1)), std::size_t{data[0]} + 1),
        grpc::Http2::Role::client);
    int ended = 0;
    const auto count = [&](const std::exception_ptr& failure) {
        ++ended;
        fuzz::refuses_or_takes([&] {
            if (failure) std::rethrow_exception(failure);
        });
    };
    const auto count_answer = [&](const std::exception_ptr& failure, const std::string&) { count(failure); };
    asio::co_spawn(loop, connection->run(), count);
    asio::co_spawn(loop, stream(*connection), count);
    asio::co_spawn(loop, grpc::call(*connection, "/t/Unary", "asked", {}), count_answer);
    asio::co_spawn(loop, grpc::call(*connection, "/t/Other", std::string(100'000, 'x'), {}), count_answer);
    loop.run_for(std::chrono::seconds(10));
    fuzz::check(ended == 4);
    fuzz::check(connection->held() <= grpc::Http2Limits{}.held);
    return 0;
}
