#include "build/bridge.hpp"

#include "base/id.hpp"
#include "build/control.hpp"

#include <array>

namespace grua::build {
namespace {

namespace wb = wire::bridge;

constexpr std::size_t id_size = 25;

// What a front end elsewhere may ask of us, and which parts of LLB are understood.
constexpr std::array bridge_abilities{"frontend.caps",
                                      "frontend.inputs",
                                      "gateway.evaluate",
                                      "gateway.exec",
                                      "gateway.exec.extrahosts",
                                      "gateway.exec.secretenv",
                                      "gateway.solve.evaluate",
                                      "gateway.solve.metadata",
                                      "gateway.warnings",
                                      "importcaches",
                                      "proto.refarray",
                                      "readdir",
                                      "readfile",
                                      "reference.attestations",
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
                                     "source.buildop.llbfilename",
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
                                     "source.image.checksum",
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

/// As BuildKit's older clients take it, and as all others do.
void write_result(wb::SolveResponse& out, wb::Result result, const wb::SolveRequest& request) {
    if (!request.allowresultreturn()) {
        if (result.has_refs()) fail(ErrorKind::invalid_argument, "solve did not return default result");
        out.set_ref(result.ref().id());
        return;
    }
    if (!request.allowresultarrayref()) {
        if (result.has_ref()) result.set_refdeprecated(std::string(result.ref().id()));
        if (result.has_refs()) {
            wb::RefMapDeprecated ids;
            for (const auto& [name, ref] : result.refs().refs()) (*ids.mutable_refs())[name] = ref.id();
            *result.mutable_refsdeprecated() = std::move(ids);
        }
    }
    *out.mutable_result() = std::move(result);
}

asio::awaitable<wb::SolveResponse> solve(Builder& builder, Caller caller, wb::SolveRequest request) {
    if (request.final()) fail(ErrorKind::not_implemented, "not implemented: Final; the result is what Return says");
    wb::SolveResponse out;
    try {
        wb::Result result = co_await builder.solve(caller, request);
        caller.front->keep(result);
        write_result(out, std::move(result), request);
    } catch (const grpc::CallError&) {
        throw;
    } catch (const Error& error) {
        // A client shows the names of other codes, which are no part of what went wrong.
        throw grpc::CallError({.code = grpc::Code::unknown, .message = error.what(), .details = {}});
    }
    co_return out;
}

void warn(const Caller& caller, const wb::WarnRequest& request) {
    caller.front->count_warning();
    wire::control::VertexWarning out;
    out.set_vertex(request.digest());
    out.set_level(request.level());
    out.set_short_(request.short_());
    *out.mutable_detail() = request.detail();
    out.set_url(request.url());
    *out.mutable_info() = request.info();
    *out.mutable_ranges() = request.ranges();
    caller.build->journal.warned(std::move(out));
}

}  // namespace

void Front::keep(wb::Result& result) {
    each_ref(result, [&](wb::Ref& ref) {
        ref.set_id(random_hex(id_size));
        bytes_ += ref.def().ByteSizeLong();
        if (results_.size() >= most_results || bytes_ > most_bytes)
            fail(ErrorKind::unavailable, "a front end is given at most {} results of {} bytes in all", most_results, most_bytes);
        results_[ref.id()] = ref.def();
    });
}

const pb::Definition& Front::definition(std::string_view id) const {
    const auto found = results_.find(id);
    if (found == results_.end()) fail(ErrorKind::not_found, "no such ref: {}", id);
    return found->second;
}

/// The graphs are those that we have given, whatever comes with their IDs; without an ID it is nothing.
void Front::complete(wb::Result& result) const {
    if (result.result_case() == wb::Result::kRefDeprecated) {
        const std::string id = result.refdeprecated();
        result.mutable_ref()->set_id(id);
    }
    if (result.has_refsdeprecated()) {
        wb::RefMap refs;
        for (const auto& [name, id] : result.refsdeprecated().refs()) (*refs.mutable_refs())[name].set_id(id);
        *result.mutable_refs() = std::move(refs);
    }
    each_ref(result, [&](wb::Ref& ref) {
        ref.clear_def();
        if (ref.id().empty()) return;
        const auto found = results_.find(ref.id());
        if (found == results_.end()) fail(ErrorKind::not_found, "return reference {} not found", ref.id());
        *ref.mutable_def() = found->second;
    });
}

void Front::forget() noexcept {
    results_.clear();
    returned_.reset();
}

void Front::take(const wb::ReturnRequest& request) {
    if (is_done()) fail(ErrorKind::conflict, "the build has its result already");
    if (request.has_error()) {
        error_ = grpc::Status{.code = grpc::parse_code(fmt::format("{}", request.error().code())),
                              .message = request.error().message(),
                              .details = request.error().SerializeAsString()};
    } else {
        if (!request.has_result()) fail(ErrorKind::invalid_argument, "a return has a result or an error");
        wb::Result result = request.result();
        complete(result);
        returned_ = std::move(result);
    }
    if (has_returned) has_returned();
}

void Front::count_warning() {
    if (++warnings_ > most_warnings) fail(ErrorKind::unavailable, "a front end warns at most {} times", most_warnings);
}

void add_bridge(grpc::Services& services, FindCaller find, Builder& builder) {
    const std::string service = "/moby.buildkit.v1.frontend.LLBBridge/";
    services.add_unary<wb::PingRequest>(
        service + "Ping", [find, &builder](grpc::ServerCall& call, const wb::PingRequest&) -> asio::awaitable<wb::PongResponse> {
            (void)co_await find(call);
            wb::PongResponse out;
            add_abilities(out.mutable_frontendapicaps(), bridge_abilities);
            add_abilities(out.mutable_llbcaps(), graph_abilities);
            *out.add_workers() = builder.worker();
            co_return out;
        });
    services.add_unary<wb::SolveRequest>(
        service + "Solve", [find, &builder](grpc::ServerCall& call, const wb::SolveRequest& request) -> asio::awaitable<wb::SolveResponse> {
            const Caller caller = co_await find(call);
            co_return co_await solve(builder, caller, request);
        });
    services.add_unary<wb::ReturnRequest>(
        service + "Return", [find](grpc::ServerCall& call, const wb::ReturnRequest& request) -> asio::awaitable<wb::ReturnResponse> {
            (co_await find(call)).front->take(request);
            co_return wb::ReturnResponse{};
        });
    services.add_unary<wb::WarnRequest>(
        service + "Warn", [find](grpc::ServerCall& call, const wb::WarnRequest& request) -> asio::awaitable<wb::WarnResponse> {
            warn(co_await find(call), request);
            co_return wb::WarnResponse{};
        });
    services.add_unary<wb::InputsRequest>(service + "Inputs",
                                          [find](grpc::ServerCall& call, const wb::InputsRequest&) -> asio::awaitable<wb::InputsResponse> {
                                              const Caller caller = co_await find(call);
                                              wb::InputsResponse out;
                                              for (const auto& [name, definition] : caller.front->inputs)
                                                  (*out.mutable_definitions())[name] = definition;
                                              co_return out;
                                          });
}

void add_health(grpc::Services& services) {
    services.add("/grpc.health.v1.Health/Check", [](grpc::ServerCall& call) -> asio::awaitable<void> {
        (void)co_await call.read_only();
        co_await call.write("\x08\x01");  // It serves.
    });
}

}  // namespace grua::build
