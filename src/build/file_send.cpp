#include "build/file_send.hpp"

#include "base/error.hpp"
#include "build/wire/session.pb.h"

#include <optional>
#include <string_view>

namespace grua::build {
namespace {

constexpr std::size_t longest_piece = std::size_t{32} << 10U;
constexpr std::chrono::milliseconds between_reports{100};

asio::awaitable<void> write_pieces(grpc::ClientCall& call, std::string_view bytes) {
    while (!bytes.empty()) {
        wire::session::BytesMessage message;
        message.set_data(std::string(bytes.substr(0, longest_piece)));
        bytes.remove_prefix(message.data().size());
        const std::string text = message.SerializeAsString();
        co_await call.write(text);
    }
}

/// False where the client takes nothing more; why, its end of the call says.
asio::awaitable<bool> write_all(grpc::ClientCall& call, const std::function<std::string()>& next, ExportStep& step,
                                asio::thread_pool& pool) {
    std::uint64_t sent = 0;
    for (;;) {
        const std::string bytes = co_await offload(pool, next);
        if (bytes.empty()) break;
        try {
            co_await write_pieces(call, bytes);
        } catch (const Error&) {
            co_return false;
        }
        sent += bytes.size();
        step.at(sent);
    }
    co_return true;
}

}  // namespace

ExportStep::ExportStep(ExportProgress tell, std::string what) : tell_(std::move(tell)), what_(std::move(what)) {
    if (tell_) tell_(what_, 0, false);
}

void ExportStep::at(std::uint64_t bytes) {
    bytes_ = bytes;
    const auto now = std::chrono::steady_clock::now();
    if (!tell_ || now - told_ < between_reports) return;
    told_ = now;
    tell_(what_, static_cast<std::int64_t>(bytes), false);
}

void ExportStep::done() {
    if (tell_) tell_(what_, static_cast<std::int64_t>(bytes_), true);
}

grpc::CallOptions file_send_options(int exporter, const std::map<std::string, std::string>& about) {
    grpc::CallOptions out;
    out.metadata.emplace_back("buildkit-attachable-exporter-id", fmt::format("{}", exporter));
    for (const auto& [name, value] : about) out.metadata.emplace_back("exporter-md-" + name, value);
    return out;
}

asio::awaitable<void> send_bytes(const Session& session, grpc::CallOptions options, std::function<std::string()> next, ExportStep& step,
                                 asio::thread_pool& pool) {
    grpc::ClientCall call(session.connection(file_send_method), file_send_method, std::move(options));
    std::optional<grpc::CallError> refused;
    try {
        const bool is_all = co_await write_all(call, next, step, pool);
        if (is_all) call.end();
        while (co_await call.read()) {
        }
        if (!is_all) fail(ErrorKind::unavailable, "the client has ended the call before it had all");
    } catch (const grpc::CallError& error) {
        refused = error;
    }
    if (refused && refused->status().code != grpc::Code::already_exists) throw grpc::CallError(refused->status());
    step.done();
}

}  // namespace grua::build
