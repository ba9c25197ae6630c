// What a transfer says or writes in its thread, on the way to the client.
#pragma once

#include "api/exchange.hpp"
#include "base/transfers.hpp"
#include "engine/image_service.hpp"

#include <exception>
#include <functional>
#include <memory>
#include <string>

namespace grua::api {

/// Lines from a transfer's thread to its answer. A client that reads slowly gets fewer bars, and every line; it slows nothing.
class ProgressStream : public engine::Reporter {
public:
    explicit ProgressStream(const asio::any_io_executor& loop);
    ~ProgressStream() override;

    // From any thread.
    void bar(const engine::Progress& progress) override;
    void status(const std::string& id, const std::string& status) override;
    void text(const std::string& line) override;
    void pushed(const std::string& tag, const engine::PushResult& what) override;
    void line(std::string text);  ///< As it is.
    void close(std::exception_ptr error);

    /// Writes what comes until close(), beginning the answer with the first line; throws the error if nothing was written
    /// before it, else writes it as the stream's last line.
    asio::awaitable<void> write_to(Exchange& exchange);

private:
    struct State;
    std::shared_ptr<State> state_;
};

using Say = std::shared_ptr<ProgressStream>;

/// A line of a progress stream that says what failed.
std::string error_line(std::string_view text);

/// Runs `work` on a thread of its own and streams what it says. A client that leaves stops it where `leaving_stops`.
asio::awaitable<void> stream(Transfers& transfers, Exchange& exchange, bool leaving_stops,
                             std::function<void(const Say&, const std::stop_token&)> work);
asio::awaitable<void> stream(Transfers& transfers, Exchange& exchange, bool leaving_stops, engine::Transfer transfer);

/// What `work` writes to the descriptor becomes the answer's body. An error before the first byte is the answer; a later one
/// breaks the connection, so that the client knows that it has not everything.
asio::awaitable<void> send_written(const asio::any_io_executor& loop, Transfers& transfers, Exchange& exchange,
                                   std::string_view content_type, std::function<void(int fd)> work);

}  // namespace grua::api
