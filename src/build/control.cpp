#include "build/control.hpp"

#include "base/encoding.hpp"
#include "base/id.hpp"
#include "base/text.hpp"

#include <algorithm>

namespace grua::build {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::seconds wait_for_build = 15s;
constexpr std::size_t most_ended = 16;
constexpr std::size_t most_builds = 1000;  ///< Side by side.
constexpr std::string_view build_of_call = "buildkit-controlapi-buildid";

/// What an exporter has made, as it tells the client.
std::optional<oci::Descriptor> result_of(const std::map<std::string, std::string>& answer) {
    const auto found = answer.find("containerimage.descriptor");
    if (found == answer.end()) return std::nullopt;
    const auto text = base64_decode(found->second);
    return text ? std::optional(json::parse<oci::Descriptor>(*text)) : std::nullopt;
}

}  // namespace

/// A build is known for as long as this lives; then it has ended.
class Control::Registered {
public:
    Registered(Control& control, const std::string& ref, BuildPtr build) : control_(control), ref_(ref), build_(std::move(build)) {
        control_.builds_.emplace(ref_, build_);
        control_.changed_.notify_all();
    }
    Registered(const Registered&) = delete;
    Registered& operator=(const Registered&) = delete;
    ~Registered() {
        control_.builds_.erase(ref_);
        // Who comes late asks for its status.
        build_->front->forget();
        build_->provenance.clear();
        control_.ended_.emplace_back(ref_, build_);
        if (control_.ended_.size() > most_ended) control_.ended_.pop_front();
        build_->journal.end();
        build_->imported = {};
        build_->changed.notify_all();
    }

private:
    Control& control_;
    std::string ref_;
    BuildPtr build_;
};

Control::Control(asio::any_io_executor loop, const Clock& clock, Timers& timers, Sessions& sessions, Builder& builder, History* history)
    : loop_(std::move(loop)), clock_(clock), timers_(timers), sessions_(sessions), builder_(builder), history_(history), changed_(loop_) {}

BuildPtr Control::known(std::string_view ref) const {
    if (const auto found = builds_.find(ref); found != builds_.end()) return found->second;
    const auto ended = std::ranges::find(ended_, ref, &std::pair<std::string, BuildPtr>::first);
    return ended == ended_.end() ? nullptr : ended->second;
}

asio::awaitable<BuildPtr> Control::find(std::string ref) {
    const auto deadline = clock_.steady() + wait_for_build;
    for (;;) {
        if (BuildPtr found = known(ref)) co_return found;
        if (clock_.steady() >= deadline) fail(ErrorKind::not_found, "no such job {}", ref);
        co_await wait_until(changed_, timers_, deadline);
    }
}

FindCaller Control::callers() {
    return [this](const grpc::ServerCall& call) -> asio::awaitable<Caller> {
        const std::string ref(call.metadata(build_of_call));
        if (ref.empty()) fail(ErrorKind::invalid_argument, "{}: the call names no build", build_of_call);
        const BuildPtr build = co_await find(ref);
        co_return Caller{.build = build, .front = build->front};
    };
}

asio::awaitable<wire::control::SolveResponse> Control::solve(wire::control::SolveRequest request, Build::Onlooker onlooker) {
    const std::string ref = request.ref();
    if (ref.empty()) fail(ErrorKind::invalid_argument, "Ref: a build has an ID");
    if (builds_.contains(ref)) fail(ErrorKind::conflict, "job ID {} exists", ref);
    if (builds_.size() >= most_builds) fail(ErrorKind::unavailable, "{} builds are running", most_builds);
    const auto build = std::make_shared<Build>(loop_, clock_, std::move(request));
    const Registered registered(*this, ref, build);
    build->onlooker = std::move(onlooker);
    if (build->onlooker.begun) build->onlooker.begun(build);
    if (history_) history_->began(build->request);
    BuildOutcome outcome;
    wire::control::SolveResponse out;
    std::exception_ptr failure;
    try {
        out = co_await run(build);
        outcome.exporter_response.insert(out.exporterresponse().begin(), out.exporterresponse().end());
        outcome.results.push_back(result_of(outcome.exporter_response));
        outcome.attestations = std::move(build->provenance);
    } catch (const grpc::CallError& error) {
        failure = std::current_exception();
        outcome.error = error.status();
    } catch (const Error& error) {
        outcome.error = grpc::Status{.code = grpc::Code::unknown, .message = error.what(), .details = {}};
        failure = std::make_exception_ptr(grpc::CallError(*outcome.error));
    } catch (const std::exception& error) {
        failure = std::current_exception();
        outcome.error = grpc::status_of(error);
    }
    build->wanted.clear();
    outcome.project = std::move(build->project);
    outcome.made = std::move(build->made);
    if (history_) {
        // Also of a build whose client has left.
        co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
        co_await history_->ended(ref, build->journal, std::move(outcome));
    }
    if (failure) std::rethrow_exception(failure);
    co_return out;
}

asio::awaitable<wire::control::SolveResponse> Control::run(BuildPtr build) {
    wire::bridge::Result result;
    if (build->request.frontend().empty() && !build->request.has_definition()) {
        result = co_await front_end_outside(build);
    } else {
        wire::bridge::SolveRequest own;
        own.set_frontend(build->request.frontend());
        *own.mutable_definition() = build->request.definition();
        *own.mutable_frontendopt() = build->request.frontendattrs();
        *own.mutable_frontendinputs() = build->request.frontendinputs();
        result = co_await builder_.solve({.build = build, .front = build->front}, std::move(own));
    }
    if (build->onlooker.converted) build->onlooker.converted(result);
    wire::control::SolveResponse out;
    for (auto& [name, value] : co_await builder_.finish(build, std::move(result))) (*out.mutable_exporterresponse())[name] = value;
    co_return out;
}

/// The client is the front end: until it says what has come of it, or has left, which cancels this.
asio::awaitable<wire::bridge::Result> Control::front_end_outside(BuildPtr build) {
    while (!build->front->is_done()) co_await build->changed.wait();
    if (build->front->error()) throw grpc::CallError(*build->front->error());
    co_return *build->front->returned();
}

asio::awaitable<void> Control::tell_status(grpc::ServerCall& call) {
    const auto request = grpc::Services::parse<wire::control::StatusRequest>(co_await call.read_only());
    // At once, before there is anything to tell: the client sets its clock by it.
    call.begin({{"buildkit-current-timestamp", format_time(clock_.wall())}});
    if (history_ && !known(request.ref()) && co_await history_->tell_status(request.ref(), call)) co_return;
    const BuildPtr build = co_await find(request.ref());
    std::size_t at = 0;
    while (auto next = co_await build->journal.next(at)) co_await call.write(next->SerializeAsString());
}

void Control::add_control(grpc::Services& services) {
    const std::string service = "/moby.buildkit.v1.Control/";
    services.add_unary<wire::control::SolveRequest>(
        service + "Solve", [this](grpc::ServerCall&, const wire::control::SolveRequest& request) { return solve(request); });
    services.add(service + "Status", [this](grpc::ServerCall& call) { return tell_status(call); });
    services.add_unary<wire::control::ListWorkersRequest>(
        service + "ListWorkers",
        [this](grpc::ServerCall&, const wire::control::ListWorkersRequest&) -> asio::awaitable<wire::control::ListWorkersResponse> {
            wire::control::ListWorkersResponse out;
            *out.add_record() = builder_.worker();
            co_return out;
        });
    services.add_unary<wire::control::InfoRequest>(
        service + "Info", [this](grpc::ServerCall&, const wire::control::InfoRequest&) -> asio::awaitable<wire::control::InfoResponse> {
            wire::control::InfoResponse out;
            *out.mutable_buildkitversion() = builder_.worker().buildkitversion();
            co_return out;
        });
    services.add(service + "Session", [this](grpc::ServerCall& call) -> asio::awaitable<void> {
        call.begin();
        co_await sessions_.serve(read_session_head(call.all_metadata()), over_call(call));
    });
}

void Control::add_to(grpc::Services& services) {
    add_control(services);
    add_bridge(services, callers(), builder_);
    add_health(services);
    // Traces of the client's own.
    services.add("/opentelemetry.proto.collector.trace.v1.TraceService/Export", [](grpc::ServerCall& call) -> asio::awaitable<void> {
        (void)co_await call.read_only();
        co_await call.write({});
    });
}

}  // namespace grua::build
