#include "cli/build/run.hpp"

#include "base/condition.hpp"
#include "base/encoding.hpp"
#include "base/error.hpp"
#include "base/files.hpp"
#include "base/id.hpp"
#include "build/wire/bridge.pb.h"
#include "cli/build/call.hpp"
#include "cli/build/connection.hpp"
#include "cli/build/display.hpp"
#include "cli/build/failure.hpp"
#include "cli/build/history.hpp"
#include "cli/build/layout.hpp"
#include "cli/build/metadata.hpp"
#include "cli/build/request.hpp"
#include "cli/build/session.hpp"
#include "cli/context.hpp"
#include "cli/session.hpp"
#include "cli/terminal.hpp"
#include "grpc/client.hpp"

#include <unistd.h>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/json.hpp>
#include <csignal>
#include <memory>
#include <optional>

namespace grua::cli {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t id_bytes = 13;
constexpr auto between_frames = 100ms;
constexpr auto silence_at_end = 5s;  ///< Of the build's steps, when its result is there.
constexpr auto ping_time = 15s;
constexpr std::size_t pool_threads = 3;
constexpr int interrupted = 130;
constexpr int more_interrupts = 2;  ///< After the first one, which ends the build in order.
constexpr const char* build_of_call = "buildkit-controlapi-buildid";
constexpr const char* gateway_label = "org.mobyproject.buildkit.worker.moby.host-gateway-ip";

std::unique_ptr<BuildDisplay> make_display(const BuildOptions& options) {
    BuildProgress progress = options.progress;
    if (progress == BuildProgress::tty && !is_terminal(STDERR_FILENO))
        fail(ErrorKind::invalid_argument, "failed to get console: standard error is no terminal");
    if (progress == BuildProgress::automatic) progress = may_move_cursor(STDERR_FILENO) ? BuildProgress::tty : BuildProgress::plain;
    switch (progress) {
        case BuildProgress::tty:
            return std::make_unique<LiveDisplay>(LiveStyle{.colour = may_paint(STDERR_FILENO), .size = terminal_size(STDERR_FILENO)});
        case BuildProgress::rawjson:
            return std::make_unique<JsonDisplay>();
        case BuildProgress::quiet:
            return std::make_unique<QuietDisplay>();
        default:
            return std::make_unique<PlainDisplay>();
    }
}

bool shows_words(const BuildOptions& options) {
    return options.progress != BuildProgress::quiet && options.progress != BuildProgress::rawjson;
}

std::string warnings_text(const std::vector<wire::control::VertexWarning>& warnings, bool expanded) {
    if (warnings.empty()) return {};
    std::string head = warnings.size() == 1 ? "1 warning found" : fmt::format("{} warnings found", warnings.size());
    if (!expanded) head += " (use grua --debug to expand)";
    head += ":\n";
    const bool paint = may_paint(STDERR_FILENO);
    std::string out = "\n " + (paint ? "\x1b[33m" + head + "\x1b[0m" : head);
    for (const auto& each : warnings) {
        out += fmt::format(" - {}\n", printable(each.short_()));
        if (!expanded) continue;
        for (const std::string& detail : each.detail()) out += printable(detail) + "\n";
        if (!each.url().empty()) out += fmt::format("More info: {}\n", printable(each.url()));
        out += excerpt_of(each.info(), each.ranges()) + "\n";
    }
    return out;
}

class Run {
public:
    Run(const client::Endpoint& where, const BuildOptions& options, bool debug)
        : where_(where),
          options_(options),
          debug_(debug),
          display_(make_display(options)),
          inputs_(prepare_inputs(options, STDIN_FILENO)),
          session_(options_, inputs_, pool_),
          changed_(loop_->get_executor()) {}
    Run(const Run&) = delete;
    Run& operator=(const Run&) = delete;
    ~Run() {
        // What the pool does comes back to the loop, and what is left of coroutines there uses all else.
        pool_.stop();
        pool_.join();
        loop_.reset();
    }

    int run() {
        asio::cancellation_signal cancel;
        std::exception_ptr failure;
        asio::signal_set signals(*loop_, SIGINT, SIGTERM);
        wait_for_signals(signals, cancel);
        asio::co_spawn(*loop_, paint(), asio::detached);
        asio::co_spawn(*loop_, build(), asio::bind_cancellation_slot(cancel.slot(), [&](const std::exception_ptr& thrown) {
            failure = thrown;
            is_over_ = true;
            changed_.notify_all();
            signals.cancel();
            loop_->stop();
        }));
        loop_->run();
        show(display_->finish(now()));
        if (shows_words(options_)) show(warnings_text(display_->warnings(), debug_));
        if (interrupts_ > 0) {
            fmt::print(stderr, "ERROR: failed to build: failed to solve: Canceled: context canceled\n");
            return interrupted;
        }
        const int status = failure ? tell_failure(failure) : tell_result();
        if (options_.why) tell_why();
        return status;
    }

private:
    void show(const std::string& bytes) {
        if (!bytes.empty() && !write_stream(STDERR_FILENO, bytes)) display_ = std::make_unique<QuietDisplay>();
    }

    void wait_for_signals(asio::signal_set& signals, asio::cancellation_signal& cancel) {
        signals.async_wait([&](const boost::system::error_code& error, int) {
            if (error) return;
            if (interrupts_++ == 0) cancel.emit(asio::cancellation_type::terminal);
            // Whoever insists does not wait for anything.
            if (interrupts_ > more_interrupts) ::_exit(interrupted);
            wait_for_signals(signals, cancel);
        });
    }

    asio::awaitable<void> paint() {
        asio::steady_timer timer(*loop_);
        while (!is_over_) {
            timer.expires_after(between_frames);
            co_await timer.async_wait(asio::use_awaitable);
            display_->resize(terminal_size(STDERR_FILENO));
            show(display_->tick(now()));
        }
    }

    asio::awaitable<void> build() {
        const auto loop = loop_->get_executor();
        BuildCalls calls(where_, loop);
        http2_ = &calls.http2();
        const EngineAbilities abilities = co_await ask_abilities();
        wire::control::SolveRequest request = make_request(options_, inputs_, abilities);
        const std::string session_id = random_hex(id_bytes);
        BuildSessionLink session(where_, loop, session_.services(), session_id, inputs_.shared_key);
        ref_ = random_hex(id_bytes);
        request.set_ref(ref_);
        request.set_session(session_id);
        asio::co_spawn(*loop_, listen(), asio::detached);
        std::exception_ptr failure;
        try {
            co_await solve(std::move(request));
        } catch (...) {
            failure = std::current_exception();
        }
        if (interrupts_ == 0) {
            co_await hear_the_rest();
            co_await session.end();
        }
        if (failure) std::rethrow_exception(failure);
    }

    asio::awaitable<void> solve(wire::control::SolveRequest request) {
        const std::string text = request.SerializeAsString();
        if (options_.call) {
            grpc::ClientCall outer(*http2_, "/moby.buildkit.v1.Control/Solve");
            co_await outer.write(text);
            outer.end();
            co_await call_front_end(request);
            while (co_await outer.read()) {
            }
            co_return;
        }
        const std::string answer = co_await grpc::call(*http2_, "/moby.buildkit.v1.Control/Solve", text);
        const auto solved = grpc::Services::parse<wire::control::SolveResponse>(answer);
        response_ = {solved.exporterresponse().begin(), solved.exporterresponse().end()};
    }

    grpc::CallOptions of_build(const std::string& ref, std::optional<std::chrono::nanoseconds> timeout = {}) const {
        return {.metadata = {{build_of_call, ref}}, .timeout = timeout};
    }

    /// We are the front end, which asks the engine's and returns what that has said.
    asio::awaitable<void> call_front_end(const wire::control::SolveRequest& request) {
        wire::bridge::SolveRequest asked;
        asked.set_frontend("dockerfile.v0");
        *asked.mutable_frontendopt() = request.frontendattrs();
        asked.set_allowresultreturn(true);
        asked.set_allowresultarrayref(true);
        const std::string text = asked.SerializeAsString();
        wire::bridge::ReturnRequest back;
        std::optional<grpc::CallError> failure;
        try {
            const std::string answer = co_await grpc::call(*http2_, "/moby.buildkit.v1.frontend.LLBBridge/Solve", text, of_build(ref_));
            const auto solved = grpc::Services::parse<wire::bridge::SolveResponse>(answer);
            *back.mutable_result() = solved.result();
            for (const auto& [name, value] : solved.result().metadata()) response_[name] = value;
        } catch (const grpc::CallError& error) {
            failure = error;
            back.mutable_error()->set_code(static_cast<int>(error.status().code));
            back.mutable_error()->set_message(error.status().message);
        }
        const std::string returned = back.SerializeAsString();
        (void)co_await grpc::call(*http2_, "/moby.buildkit.v1.frontend.LLBBridge/Return", returned, of_build(ref_));
        if (failure) throw grpc::CallError(failure->status());
    }

    /// A build of nothing: what it is told is what the engine can do.
    asio::awaitable<EngineAbilities> ask_abilities() {
        const std::string ref = random_hex(id_bytes);
        wire::control::SolveRequest request;
        request.set_ref(ref);
        request.set_internal(true);
        const std::string text = request.SerializeAsString();
        grpc::ClientCall outer(*http2_, "/moby.buildkit.v1.Control/Solve");
        co_await outer.write(text);
        outer.end();
        const std::string pong = co_await grpc::call(*http2_, "/moby.buildkit.v1.frontend.LLBBridge/Ping", {}, of_build(ref, ping_time));
        const auto abilities = grpc::Services::parse<wire::bridge::PongResponse>(pong);
        EngineAbilities out;
        for (const auto& each : abilities.llbcaps())
            if (each.enabled()) out.graph.insert(each.id());
        for (const auto& worker : abilities.workers())
            if (const auto found = worker.labels().find(gateway_label); found != worker.labels().end()) out.gateway = found->second;
        wire::bridge::ReturnRequest back;
        back.mutable_result()->mutable_ref();
        const std::string returned = back.SerializeAsString();
        (void)co_await grpc::call(*http2_, "/moby.buildkit.v1.frontend.LLBBridge/Return", returned, of_build(ref));
        while (co_await outer.read()) {
        }
        co_return out;
    }

    asio::awaitable<void> listen() {
        try {
            wire::control::StatusRequest request;
            request.set_ref(ref_);
            const std::string text = request.SerializeAsString();
            grpc::ClientCall call(*http2_, "/moby.buildkit.v1.Control/Status");
            co_await call.write(text);
            call.end();
            while (const auto message = co_await call.read()) {
                heard_ = Condition::Clock::now();
                show(display_->take(grpc::Services::parse<wire::control::StatusResponse>(*message), now()));
            }
        } catch (const Error&) {
            // The build itself says why it has ended.
        }
        has_heard_all_ = true;
        changed_.notify_all();
    }

    asio::awaitable<void> hear_the_rest() {
        heard_ = Condition::Clock::now();
        while (!has_heard_all_ && Condition::Clock::now() < heard_ + silence_at_end) co_await changed_.wait(heard_ + silence_at_end);
    }

    int tell_failure(const std::exception_ptr& failure) const {
        try {
            std::rethrow_exception(failure);
        } catch (const grpc::CallError& error) {
            for (const auto& each : sources_of(error.status())) fmt::print(stderr, "{}", excerpt_of(each.info(), each.ranges()));
            fmt::print(stderr, "ERROR: failed to build: failed to solve: {}\n", error.what());
        } catch (const std::exception& error) {
            fmt::print(stderr, "ERROR: failed to build: {}\n", error_text(error));
        }
        return 1;
    }

    void tell_why() const {
        try {
            const std::vector<BuildRecord> builds = list_builds(where_, {});
            print(why_of(where_, builds, choose_build(builds, ref_), *options_.why));
        } catch (const std::exception& error) {
            // The build is what it is.
            fmt::print(stderr, "--why: {}\n", error_text(error));
        }
    }

    int tell_result() {
        for (const BuildCacheEntry& each : options_.cache_to) {
            if (each.type != "local" || !response_.contains("cache.manifest")) continue;
            const auto tag = each.attributes.find("tag");
            add_to_layout(each.attributes.at("dest"), response_.at("cache.manifest"),
                          {tag != each.attributes.end() ? tag->second : "latest"});
        }
        for (const BuildOutput& each : options_.outputs) {
            if (each.type == "local" || !each.is_folder() || !response_.contains("containerimage.descriptor")) continue;
            const auto names = response_.find("image.name");
            add_to_layout(each.destination, base64_decode(response_.at("containerimage.descriptor")).value_or(""),
                          names != response_.end() ? split(names->second, ',') : std::vector<std::string>{"latest"});
        }
        if (!options_.image_id_file.empty()) replace_file(options_.image_id_file, image_id_of(response_));
        if (!options_.metadata_file.empty()) {
            Words told = response_;
            if (!options_.call) told["buildx.build.ref"] = "default/default/" + ref_;
            replace_file(options_.metadata_file, metadata_text(told));
        }
        if (options_.call) return show_call(*options_.call, response_);
        if (options_.progress == BuildProgress::quiet && options_.says_id) print(image_id_of(response_) + "\n");
        return 0;
    }

    client::Endpoint where_;
    const BuildOptions& options_;
    bool debug_;
    std::unique_ptr<BuildDisplay> display_;
    BuildInputs inputs_;
    std::unique_ptr<asio::io_context> loop_ = std::make_unique<asio::io_context>();
    asio::thread_pool pool_{pool_threads};
    BuildSession session_;
    Condition changed_;
    grpc::Http2* http2_ = nullptr;
    std::string ref_;
    Words response_;
    Condition::Clock::time_point heard_{};
    bool has_heard_all_ = false;
    bool is_over_ = false;
    int interrupts_ = 0;
};

}  // namespace

int run_build(const client::Endpoint& where, const BuildOptions& options, bool debug) { return Run{where, options, debug}.run(); }

}  // namespace grua::cli
