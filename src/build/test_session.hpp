// For tests: sessions, and a client at the other end of one.
#pragma once

#include "base/test_clock.hpp"
#include "base/test_loop.hpp"
#include "base/transfers.hpp"
#include "build/session.hpp"
#include "build/session_files.hpp"
#include "build/wire/session.pb.h"
#include "grpc/server.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <array>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace grua::build {

class WithSessions : public testing::Test {
protected:
    WithSessions() {
        std::string path = std::filesystem::temp_directory_path() / "grua-session-XXXXXX";
        work = ::mkdtemp(path.data());
        client.add("/moby.buildkit.secrets.v1.Secrets/GetSecret", [this](grpc::ServerCall& call) -> asio::awaitable<void> {
            const auto request = grpc::Services::parse<wire::session::GetSecretRequest>(co_await call.read_only());
            asked.push_back(request.id());
            const auto found = secrets.find(request.id());
            if (found == secrets.end()) throw grpc::CallError({.code = grpc::Code::not_found, .message = "not found", .details = {}});
            wire::session::GetSecretResponse answer;
            answer.set_data(found->second);
            co_await call.write(answer.SerializeAsString());
        });
    }
    ~WithSessions() override {
        transfers.stop(std::chrono::seconds(10));
        std::filesystem::remove_all(work);
    }

    /// A session of a client that serves what `client` does, until the body has ended.
    template <typename Body>
    void with_client(Body body, std::set<std::string, std::less<>> methods = {"/moby.buildkit.secrets.v1.Secrets/GetSecret"}) {
        std::array<int, 2> raw{};
        ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, raw.data()), 0);
        const Fd end(::dup(raw[1]));
        const auto executor = loop.get_executor();
        SessionHead head{.id = "s1", .name = {}, .shared_key = {}, .methods = std::move(methods)};
        asio::co_spawn(loop, sessions.serve(std::move(head), grpc::over_socket(executor, Fd(raw[0]))), asio::detached);
        asio::co_spawn(loop, client.serve(executor, grpc::over_socket(executor, Fd(raw[1]))), asio::detached);
        run_on_loop(loop, [&]() -> asio::awaitable<void> {
            std::exception_ptr failure;
            try {
                co_await body();
            } catch (...) {
                failure = std::current_exception();
            }
            ::shutdown(end.get(), SHUT_RDWR);
            if (failure) std::rethrow_exception(failure);
        });
    }
    /// Without one.
    template <typename Body>
    void on_loop(Body body) {
        run_on_loop(loop, std::move(body));
    }
    /// What a call fails with; empty where it does not.
    template <typename Task>
    asio::awaitable<std::string> refusal(Task task) {
        try {
            co_await std::move(task);
        } catch (const Error& error) {
            co_return error.what();
        }
        co_return std::string();
    }
    asio::awaitable<void> settle(std::chrono::milliseconds time = std::chrono::milliseconds(20)) {
        asio::steady_timer timer(loop.get_executor(), time);
        co_await timer.async_wait(asio::use_awaitable);
    }
    SessionGroup group(std::vector<std::string> ids = {"s1"}) { return {.sessions = &sessions, .ids = std::move(ids)}; }
    std::string folder(const std::string& name) const {
        const std::string out = work + "/" + name;
        std::filesystem::create_directories(out);
        return out;
    }

    std::string work;
    asio::io_context loop;
    asio::thread_pool pool{2};
    Transfers transfers;
    TurnedClock clock;
    Sessions sessions{loop.get_executor(), clock, clock};
    grpc::Services client;
    std::map<std::string, std::string> secrets;
    std::vector<std::string> asked;
};

}  // namespace grua::build
