// What a step or a source takes of a build's client while it runs: secrets, a tar that was given on its standard input. Agents of SSH are
// in ssh_agent.hpp. Loop only.
#pragma once

#include "base/async.hpp"
#include "base/error.hpp"
#include "build/session.hpp"

#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace grua::build {

/// The sessions of those who want an operation: they are asked in turn, until one of them can.
struct SessionGroup {
    Sessions* sessions = nullptr;  ///< Outlives the call.
    std::vector<std::string> ids;
};

/// What `ask` gives of the first session with which it does not throw Error; else what it has thrown of the last one. Throws
/// Error(not_found) where there is none at all.
template <typename Ask>
asio::awaitable<void> ask_sessions(SessionGroup group, Ask ask) {
    std::exception_ptr failure;
    for (const std::string& id : group.ids) {
        try {
            co_await ask(co_await group.sessions->find(id));
            co_return;
        } catch (const Error&) {
            failure = std::current_exception();
        }
    }
    if (failure) std::rethrow_exception(failure);
    fail(ErrorKind::not_found, "no active sessions");
}

/// Bytes of a secret, as in BuildKit.
inline constexpr std::size_t secret_limit = std::size_t{500} << 10U;

/// Throws Error(not_found, "secret NAME: not found") where no client has it.
asio::awaitable<std::string> get_secret(SessionGroup group, std::string id);

/// The same for what need not be there.
asio::awaitable<std::optional<std::string>> find_secret(SessionGroup group, std::string id);

/// The host of URLs that are a client's uploads.
inline constexpr std::string_view upload_host = "buildkit-session";

/// Takes some of the upload's bytes, in their order.
using TakeBytes = std::function<asio::awaitable<void>(std::string bytes)>;

/// `path`: of the URL, "/<ID>". A client gives an upload once. Returns whose it was.
asio::awaitable<SessionPtr> pull_upload(SessionGroup group, std::string path, TakeBytes take);

}  // namespace grua::build
