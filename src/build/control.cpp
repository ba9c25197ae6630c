#include "build/control.hpp"

#include "base/encoding.hpp"
#include "base/id.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <array>

namespace grua::build {
namespace {

using namespace std::chrono_literals;

constexpr std::chrono::seconds wait_for_build = 15s;
constexpr std::size_t most_ended = 16;
constexpr std::string_view build_of_call = "buildkit-controlapi-buildid";

// What a front end outside may ask of us, and which parts of LLB are understood.
constexpr std::array bridge_abilities{"frontend.caps",
                                      "frontend.inputs",
                                      "gateway.evaluate",
                                      "gateway.solve.evaluate",
                                      "gateway.solve.metadata",
                                      "gateway.warnings",
                                      "importcaches",
                                      "proto.refarray",
                                      "readdir",
                                      "readfile",
                                      "reference.output",
                                      "resolveimage",
                                      "resolveimage.resolvemode",
                                      "return",
                                      "returnmap",
                                      "solve.base",
                                      "source.metaresolver",
                                      "statfile"};
constexpr std::array graph_abilities{"constraints",
                                     "diffop",
                                     "exec.cgroup",
                                     "exec.meta.base",
                                     "exec.meta.cgroup.parent",
                                     "exec.meta.network",
                                     "exec.meta.proxyenv",
                                     "exec.meta.security",
                                     "exec.meta.setsdefaultpath",
                                     "exec.meta.ulimit",
                                     "exec.mount.bind",
                                     "exec.mount.bind.readwrite-nooutput",
                                     "exec.mount.cache",
                                     "exec.mount.cache.sharing",
                                     "exec.mount.secret",
                                     "exec.mount.selector",
                                     "exec.mount.ssh",
                                     "exec.mount.tmpfs",
                                     "exec.mount.tmpfs.size",
                                     "exec.secretenv",
                                     "exec.validexitcode",
                                     "exporter.image.annotations",
                                     "exporter.image.attestations",
                                     "exporter.multiple",
                                     "exporter.sourcedateepoch",
                                     "file.base",
                                     "file.copy.alwaysreplaceexistingdestpaths",
                                     "file.copy.includeexcludepatterns",
                                     "file.rm.wildcard",
                                     "file.symlink.create",
                                     "gc.freespacefilter",
                                     "history.filter",
                                     "mergeop",
                                     "meta.description",
                                     "meta.ignorecache",
                                     "platform",
                                     "source.git",
                                     "source.git.checksum",
                                     "source.git.fullurl",
                                     "source.git.httpauth",
                                     "source.git.keepgitdir",
                                     "source.git.knownsshhosts",
                                     "source.git.mountsshsock",
                                     "source.git.skipsubmodules",
                                     "source.git.subdir",
                                     "source.http",
                                     "source.image",
                                     "source.image.resolvemode",
                                     "source.local",
                                     "source.local.excludepatterns",
                                     "source.local.followpaths",
                                     "source.local.includepatterns",
                                     "source.local.sessionid",
                                     "source.local.sharedkeyhint",
                                     "source.local.unique",
                                     "source.ocilayout"};

template <typename List>
void add_abilities(List* to, const auto& names) {
    for (const char* each : names) {
        auto& ability = *to->Add();
        ability.set_id(each);
        ability.set_enabled(true);
    }
}

/// What an exporter has made, as it tells the client.
std::optional<oci::Descriptor> result_of(const std::map<std::string, std::string>& answer) {
    const auto found = answer.find("containerimage.descriptor");
    if (found == answer.end()) return std::nullopt;
    const auto text = base64_decode(found->second);
    return text ? std::optional(json::parse<oci::Descriptor>(*text)) : std::nullopt;
}

const pb::Definition* definition_of(const wire::bridge::Ref& ref) { return ref.has_def() ? &ref.def() : nullptr; }

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
        control_.ended_.emplace_back(ref_, build_);
        if (control_.ended_.size() > most_ended) control_.ended_.pop_front();
        build_->journal.end();
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

asio::awaitable<BuildPtr> Control::build_of(const grpc::ServerCall& call) {
    const std::string ref(call.metadata(build_of_call));
    if (ref.empty()) fail(ErrorKind::invalid_argument, "{}: the call names no build", build_of_call);
    return find(ref);
}

asio::awaitable<wire::control::SolveResponse> Control::solve(wire::control::SolveRequest request, Build::Onlooker onlooker) {
    const std::string ref = request.ref();
    if (ref.empty()) fail(ErrorKind::invalid_argument, "Ref: a build has an ID");
    if (builds_.contains(ref)) fail(ErrorKind::conflict, "job ID {} exists", ref);
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
        result = co_await builder_.solve(build, std::move(own));
    }
    if (build->onlooker.converted) build->onlooker.converted(result);
    wire::control::SolveResponse out;
    for (auto& [name, value] : co_await builder_.finish(build, std::move(result))) (*out.mutable_exporterresponse())[name] = value;
    co_return out;
}

/// The client is the front end: until it says what has come of it, or has left, which cancels this.
asio::awaitable<wire::bridge::Result> Control::front_end_outside(BuildPtr build) {
    while (!build->returned && !build->returned_error) co_await build->changed.wait();
    if (build->returned_error) throw grpc::CallError(*build->returned_error);
    co_return *build->returned;
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

asio::awaitable<wire::bridge::SolveResponse> Control::solve_for_front_end(BuildPtr build, wire::bridge::SolveRequest request) {
    const bool as_result = request.allowresultreturn();
    wire::bridge::SolveResponse out;
    wire::bridge::Result result;
    try {
        result = co_await builder_.solve(build, std::move(request));
    } catch (const grpc::CallError&) {
        throw;
    } catch (const Error& error) {
        // A client shows the names of other codes, which are no part of what went wrong.
        throw grpc::CallError({.code = grpc::Code::unknown, .message = error.what(), .details = {}});
    }
    const auto keep = [&](wire::bridge::Ref& ref) {
        ref.set_id(random_hex(25));
        if (const pb::Definition* definition = definition_of(ref)) build->results[ref.id()] = *definition;
    };
    if (result.has_ref()) keep(*result.mutable_ref());
    if (result.has_refs())
        for (auto& [name, ref] : *result.mutable_refs()->mutable_refs()) keep(ref);
    if (as_result)
        *out.mutable_result() = std::move(result);
    else
        out.set_ref(result.ref().id());
    co_return out;
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

void Control::add_bridge(grpc::Services& services) {
    const std::string service = "/moby.buildkit.v1.frontend.LLBBridge/";
    services.add_unary<wire::bridge::PingRequest>(
        service + "Ping", [this](grpc::ServerCall& call, const wire::bridge::PingRequest&) -> asio::awaitable<wire::bridge::PongResponse> {
            (void)co_await build_of(call);
            wire::bridge::PongResponse out;
            add_abilities(out.mutable_frontendapicaps(), bridge_abilities);
            add_abilities(out.mutable_llbcaps(), graph_abilities);
            *out.add_workers() = builder_.worker();
            co_return out;
        });
    services.add_unary<wire::bridge::SolveRequest>(
        service + "Solve",
        [this](grpc::ServerCall& call, const wire::bridge::SolveRequest& request) -> asio::awaitable<wire::bridge::SolveResponse> {
            const BuildPtr build = co_await build_of(call);
            co_return co_await solve_for_front_end(build, request);
        });
    services.add_unary<wire::bridge::ReturnRequest>(
        service + "Return",
        [this](grpc::ServerCall& call, const wire::bridge::ReturnRequest& request) -> asio::awaitable<wire::bridge::ReturnResponse> {
            const BuildPtr build = co_await build_of(call);
            if (build->returned || build->returned_error) fail(ErrorKind::conflict, "the build has its result already");
            if (request.has_error()) {
                const int code = request.error().code();
                build->returned_error = grpc::Status{.code = grpc::parse_code(fmt::format("{}", code)),
                                                     .message = request.error().message(),
                                                     .details = request.error().SerializeAsString()};
            } else {
                wire::bridge::Result result = request.result();
                // By its ID alone: the graph is the one that we have given.
                if (result.has_ref() && !result.ref().has_def())
                    if (const auto found = build->results.find(result.ref().id()); found != build->results.end())
                        *result.mutable_ref()->mutable_def() = found->second;
                build->returned = std::move(result);
            }
            build->changed.notify_all();
            co_return wire::bridge::ReturnResponse{};
        });
}

void Control::add_to(grpc::Services& services) {
    add_control(services);
    add_bridge(services);
    services.add("/grpc.health.v1.Health/Check", [](grpc::ServerCall& call) -> asio::awaitable<void> {
        (void)co_await call.read_only();
        co_await call.write("\x08\x01");  // It serves.
    });
    // Traces of the client's own.
    services.add("/opentelemetry.proto.collector.trace.v1.TraceService/Export", [](grpc::ServerCall& call) -> asio::awaitable<void> {
        (void)co_await call.read_only();
        co_await call.write({});
    });
}

}  // namespace grua::build
