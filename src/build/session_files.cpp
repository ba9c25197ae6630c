#include "build/session_files.hpp"

#include "build/wire/session.pb.h"
#include "grpc/client.hpp"

#include <memory>

namespace grua::build {
namespace {

constexpr std::string_view secret_method = "/moby.buildkit.secrets.v1.Secrets/GetSecret";
constexpr std::string_view upload_method = "/moby.upload.v1.Upload/Pull";
constexpr std::size_t upload_piece = std::size_t{256} << 10U;  ///< Pieces of the client's are small; they are handed on together.

[[noreturn]] void fail_without_secret(const std::string& id) { fail(ErrorKind::not_found, "secret {}: not found", id); }

asio::awaitable<std::string> secret_of(SessionPtr session, std::string id) {
    if (!session->serves(secret_method)) fail_without_secret(id);
    wire::session::GetSecretRequest request;
    request.set_id(id);
    std::string answer;
    try {
        answer = co_await grpc::call(session->connection(secret_method), std::string(secret_method), request.SerializeAsString());
    } catch (const grpc::CallError& error) {
        if (error.status().code == grpc::Code::not_found || error.status().code == grpc::Code::unimplemented) fail_without_secret(id);
        throw;
    }
    std::string data = grpc::Services::parse<wire::session::GetSecretResponse>(answer).data();
    if (data.size() > secret_limit) fail(ErrorKind::invalid_argument, "secret {}: invalid secret size {}", id, data.size());
    co_return data;
}

}  // namespace

asio::awaitable<std::string> get_secret(SessionGroup group, std::string id) {
    std::string out;
    co_await ask_sessions(std::move(group),
                          [&](SessionPtr session) -> asio::awaitable<void> { out = co_await secret_of(std::move(session), id); });
    co_return out;
}

asio::awaitable<std::optional<std::string>> find_secret(SessionGroup group, std::string id) {
    if (group.ids.empty()) co_return std::nullopt;
    try {
        co_return co_await get_secret(std::move(group), std::move(id));
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::not_found) throw;
    }
    co_return std::nullopt;
}

asio::awaitable<SessionPtr> pull_upload(SessionGroup group, std::string path, TakeBytes take) {
    // A client that has begun to send is not asked again, and no other one is: what has come of it has been taken.
    std::unique_ptr<grpc::ClientCall> call;
    SessionPtr giver;
    std::optional<std::string> first;
    co_await ask_sessions(std::move(group), [&](SessionPtr session) -> asio::awaitable<void> {
        call.reset();
        call =
            std::make_unique<grpc::ClientCall>(session->connection(upload_method), std::string(upload_method),
                                               grpc::CallOptions{.metadata = {{"urlpath", path}, {"urlhost", std::string(upload_host)}}});
        call->end();
        first = co_await call->read();
        giver = std::move(session);
    });
    std::string piece;
    for (auto message = std::move(first); message; message = co_await call->read()) {
        piece += grpc::Services::parse<wire::session::BytesMessage>(*message).data();
        if (piece.size() >= upload_piece) co_await take(std::exchange(piece, {}));
    }
    if (!piece.empty()) co_await take(std::move(piece));
    co_return giver;
}

}  // namespace grua::build
