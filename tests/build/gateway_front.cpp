// gateway_front: a front end as BuildKit runs them, in a container with LLBBridge on its standard streams. tests/system/gateway_test.py
// puts it into an image. The option "mode" says what it does: "build" makes an image as front ends do, the others do what none should.
#include "build/draft.hpp"
#include "build/wire/bridge.pb.h"
#include "grpc/client.hpp"
#include "grpc/server.hpp"

#include <unistd.h>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <string>

extern char** environ;

namespace {

using namespace grua;
using namespace grua::build;
namespace wb = wire::bridge;

constexpr auto quiet = asio::as_tuple(asio::use_awaitable);
const std::string bridge = "/moby.buildkit.v1.frontend.LLBBridge/";

class StandardStreams final : public grpc::Transport {
public:
    explicit StandardStreams(asio::io_context& loop) : in_(loop, ::dup(STDIN_FILENO)), out_(loop, ::dup(STDOUT_FILENO)) {}

    asio::awaitable<std::size_t> read(std::span<char> out) override {
        const auto [error, count] = co_await in_.async_read_some(asio::buffer(out.data(), out.size()), quiet);
        co_return error ? 0 : count;
    }
    asio::awaitable<bool> write(std::string_view bytes) override {
        const auto [error, count] = co_await asio::async_write(out_, asio::buffer(bytes), quiet);
        co_return !error;
    }
    void close() override {
        in_.close();
        out_.close();
    }

private:
    asio::posix::stream_descriptor in_;
    asio::posix::stream_descriptor out_;
};

using Options = std::map<std::string, std::string, std::less<>>;

/// "BUILDKIT_FRONTEND_OPT_0=name=value"
Options read_options() {
    Options out;
    for (char** each = environ; *each != nullptr; ++each) {
        const std::string_view text(*each);
        if (!text.starts_with("BUILDKIT_FRONTEND_OPT_")) continue;
        const std::string_view pair = text.substr(text.find('=') + 1);
        out.emplace(pair.substr(0, pair.find('=')), pair.substr(pair.find('=') + 1));
    }
    return out;
}

std::string option(const Options& options, std::string_view name) {
    const auto found = options.find(name);
    return found == options.end() ? std::string() : found->second;
}

Draft::Output image(Draft& draft, const std::string& reference) {
    pb::Op op;
    op.mutable_source()->set_identifier("docker-image://" + reference);
    return draft.add(op, "the base");
}

Draft::Output with_file(Draft& draft, const Draft::Output& below, const std::string& path, const std::string& text) {
    pb::Op op;
    pb::FileAction& action = *op.mutable_file()->add_actions();
    action.set_input(input_of(op, below));
    action.set_secondaryinput(-1);
    action.mutable_mkfile()->set_path(path);
    action.mutable_mkfile()->set_data(text);
    action.mutable_mkfile()->set_mode(0640);
    action.mutable_mkfile()->set_timestamp(-1);
    return draft.add(op, "a file of the front end's");
}

/// One connection, and the calls on it.
class FrontEnd {
public:
    FrontEnd(asio::io_context& loop, Options options) : loop_(loop), options_(std::move(options)) {
        connection_ = grpc::Http2::make(loop.get_executor(), std::make_unique<StandardStreams>(loop), grpc::Http2::Role::client);
        asio::co_spawn(loop, connection_->run(), asio::detached);
    }

    asio::awaitable<void> run(std::string mode) {
        (void)co_await ask<wb::PongResponse>("Ping", wb::PingRequest{});
        if (mode == "build") co_return co_await build();
        if (mode == "error") co_return co_await fail_build();
        if (mode == "unknown") co_return co_await return_unknown();
        if (mode == "recursion") co_return co_await ask_for_itself();
        if (mode == "results") co_return co_await flood_results();
        if (mode == "warnings") co_return co_await flood_warnings();
        if (mode == "host") co_return co_await use_host_network();
        if (mode == "late") co_await return_nothing();
        if (mode == "bad-exit") {
            co_await return_nothing();
            std::exit(9);
        }
        if (mode == "late" || mode == "hang") co_await sleep();
        std::cerr << "nothing is returned\n";
    }

private:
    template <typename Answer, typename Request>
    asio::awaitable<Answer> ask(std::string method, Request request) {
        co_return grpc::Services::parse<Answer>(co_await grpc::call(*connection_, bridge + method, request.SerializeAsString()));
    }

    asio::awaitable<void> sleep() {
        asio::steady_timer timer(loop_, std::chrono::hours(1));
        co_await timer.async_wait(asio::use_awaitable);
    }

    asio::awaitable<wb::Result> solve(pb::Definition definition) {
        wb::SolveRequest request;
        *request.mutable_definition() = std::move(definition);
        request.set_allowresultreturn(true);
        request.set_allowresultarrayref(true);
        co_return (co_await ask<wb::SolveResponse>("Solve", request)).result();
    }

    asio::awaitable<std::string> read_file(std::string ref, std::string path) {
        wb::ReadFileRequest request;
        request.set_ref(ref);
        request.set_filepath(path);
        co_return (co_await ask<wb::ReadFileResponse>("ReadFile", request)).data();
    }

    asio::awaitable<void> warn(std::string text) {
        wb::WarnRequest request;
        request.set_level(1);
        request.set_short_(std::move(text));
        (void)co_await ask<wb::WarnResponse>("Warn", request);
    }

    /// What the client sent as the file that it is about.
    asio::awaitable<std::string> read_context() {
        Draft draft;
        pb::Op op;
        op.mutable_source()->set_identifier("local://dockerfile");
        (*op.mutable_source()->mutable_attrs())["local.followpaths"] = "[\"Dockerfile\"]";
        const wb::Result result = co_await solve(draft.define(draft.add(op, "the file")));
        co_return co_await read_file(result.ref().id(), "Dockerfile");
    }

    asio::awaitable<void> build() {
        std::cerr << "the front end speaks\n";
        std::string told;
        for (const auto& [name, value] : options_) told += name + "=" + value + "\n";
        for (const char* name : {"BUILDKIT_SESSION_ID", "BUILDKIT_WORKERS", "BUILDKIT_EXPORTEDPRODUCT", "MARK"})
            told += std::string(name) + "=" + (std::getenv(name) ? std::getenv(name) : "") + "\n";
        std::ifstream own("/run/config/buildkit/metadata/frontend.bin", std::ios::binary);
        const std::string bytes{std::istreambuf_iterator<char>(own), {}};
        pb::Definition definition;
        told += fmt::format("definition={}\n", definition.ParseFromString(bytes) ? definition.def_size() : -1);
        told += fmt::format("file={}\n", option(options_, "reads") == "yes" ? co_await read_context() : "");
        const auto inputs = co_await ask<wb::InputsResponse>("Inputs", wb::InputsRequest{});
        for (const auto& [name, graph] : inputs.definitions()) {
            const wb::Result given = co_await solve(graph);
            told += fmt::format("input {}={}\n", name, co_await read_file(given.ref().id(), "/given"));
        }
        wb::ResolveImageConfigRequest resolve;
        resolve.set_ref("busybox");
        const auto config = co_await ask<wb::ResolveImageConfigResponse>("ResolveImageConfig", resolve);
        Draft draft;
        wb::Result result = co_await solve(draft.define(with_file(draft, image(draft, "docker.io/library/busybox:latest"), "/told", told)));
        const std::string ref = result.ref().id();
        wb::EvaluateRequest evaluate;
        evaluate.set_ref(ref);
        (void)co_await ask<wb::EvaluateResponse>("Evaluate", evaluate);
        if (co_await read_file(ref, "/told") != told) throw std::runtime_error("the file has something else in it");
        wb::StatFileRequest stat;
        stat.set_ref(ref);
        stat.set_path("/told");
        if (((co_await ask<wb::StatFileResponse>("StatFile", stat)).stat().mode() & 0777U) != 0640)
            throw std::runtime_error("the mode is another");
        wb::ReadDirRequest list;
        list.set_ref(ref);
        list.set_dirpath("/");
        list.set_includepattern("t*ld");
        if ((co_await ask<wb::ReadDirResponse>("ReadDir", list)).entries_size() != 1) throw std::runtime_error("the list is another");
        co_await warn("the front end warns");
        wb::ReturnRequest request;
        request.mutable_result()->mutable_ref()->set_id(ref);
        (*request.mutable_result()->mutable_metadata())["containerimage.config"] = config.config();
        (void)co_await ask<wb::ReturnResponse>("Return", request);
    }

    asio::awaitable<void> return_nothing() {
        wb::ReturnRequest request;
        request.mutable_result()->mutable_ref();
        (void)co_await ask<wb::ReturnResponse>("Return", request);
    }

    asio::awaitable<void> fail_build() {
        wb::ReturnRequest request;
        request.mutable_error()->set_code(2);
        request.mutable_error()->set_message("the front end does not like it");
        (void)co_await ask<wb::ReturnResponse>("Return", request);
    }

    asio::awaitable<void> return_unknown() {
        wb::ReturnRequest request;
        request.mutable_result()->mutable_ref()->set_id("nobody");
        (void)co_await ask<wb::ReturnResponse>("Return", request);
    }

    asio::awaitable<void> ask_for_itself() {
        wb::SolveRequest request;
        request.set_frontend("gateway.v0");
        for (const auto& [name, value] : options_) (*request.mutable_frontendopt())[name] = value;
        (void)co_await ask<wb::SolveResponse>("Solve", request);
    }

    asio::awaitable<void> flood_results() {
        for (;;) {
            Draft draft;
            (void)co_await solve(draft.define(with_file(draft, {}, "/a", std::string(100'000, 'x'))));
        }
    }

    asio::awaitable<void> flood_warnings() {
        for (;;) co_await warn("again");
    }

    asio::awaitable<void> use_host_network() {
        Draft draft;
        pb::Op op;
        pb::ExecOp& exec = *op.mutable_exec();
        exec.mutable_meta()->add_args("true");
        exec.mutable_meta()->set_cwd("/");
        exec.set_network(pb::NET_MODE_HOST);
        exec.add_mounts()->set_dest("/");
        exec.mutable_mounts(0)->set_input(input_of(op, image(draft, "docker.io/library/busybox:latest")));
        const wb::Result result = co_await solve(draft.define(draft.add(op, "a program")));
        (void)co_await read_file(result.ref().id(), "/told");
    }

    asio::io_context& loop_;
    Options options_;
    std::shared_ptr<grpc::Http2> connection_;
};

[[noreturn]] void flood_errors() {
    const std::string line(1023, 'x');
    for (;;) std::cerr << line << "\n";
}

}  // namespace

int main() {
    const Options options = read_options();
    std::string mode = option(options, "mode");
    // `# syntax=NAME mode=MODE`
    if (const std::string words = option(options, "cmdline"); mode.empty() && words.contains("mode="))
        mode = words.substr(words.find("mode=") + 5);
    if (mode.empty()) mode = "build";
    if (mode == "exit") return 3;
    if (mode == "silent") ::pause();
    if (mode == "garbage") std::cout << std::string(100'000, '?') << std::flush;
    if (mode == "garbage" || mode == "closed") {
        if (mode == "closed") ::close(STDOUT_FILENO);
        ::pause();
    }
    if (mode == "errors") flood_errors();
    int status = 0;
    asio::io_context loop;
    FrontEnd front(loop, options);
    asio::co_spawn(loop, front.run(mode), [&](const std::exception_ptr& failure) {
        try {
            if (failure) std::rethrow_exception(failure);
        } catch (const std::exception& error) {
            std::cerr << "front end: " << error.what() << "\n";
            status = 4;
        }
        loop.stop();
    });
    loop.run();
    return status;
}
