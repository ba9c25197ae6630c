#include "build/gateway.hpp"

#include "base/text.hpp"
#include "build/bridge_containers.hpp"
#include "build/bridge_reads.hpp"
#include "build/control.hpp"
#include "build/dockerfile/source.hpp"
#include "build/draft.hpp"
#include "build/operations/operations.hpp"
#include "build/step.hpp"
#include "tasks/task.hpp"

#include <sys/socket.h>
#include <array>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <set>

namespace grua::build {
namespace {

constexpr int deepest = 8;                ///< Front ends that ask for front ends.
constexpr std::size_t most_at_once = 16;  ///< Of one build.
constexpr std::size_t definition_limit = std::size_t{16} << 20U;
constexpr std::string_view abilities_label = "moby.buildkit.frontend.caps";
constexpr std::string_view no_network_label = "moby.buildkit.frontend.network.none";
constexpr const char* definition_folder = "/run/config/buildkit/metadata";

/// What has become of a program and of its connection; they end in any order.
struct Progress {
    explicit Progress(const asio::any_io_executor& loop) : changed(loop) {}

    Condition changed;
    Clock::Point since;  ///< The last of what is waited for by a clock.
    bool has_spoken = false;
    grpc::Transport* transport = nullptr;  ///< While there is one.
    bool connection_ended = false;
    std::optional<engine::StepEnd> end;
    std::exception_ptr failure;
    bool program_ended() const noexcept { return end || failure; }
};

/// Says when the program has begun to speak, and can be closed from outside.
class Heard final : public grpc::Transport {
public:
    Heard(std::unique_ptr<grpc::Transport> inner, std::shared_ptr<Progress> progress)
        : inner_(std::move(inner)), progress_(std::move(progress)) {
        progress_->transport = this;
    }
    Heard(const Heard&) = delete;
    Heard& operator=(const Heard&) = delete;
    ~Heard() override { progress_->transport = nullptr; }

    asio::awaitable<std::size_t> read(std::span<char> out) override {
        const std::size_t count = co_await inner_->read(out);
        if (count > 0) progress_->has_spoken = true;
        co_return count;
    }
    asio::awaitable<bool> write(std::string_view bytes) override { return inner_->write(bytes); }
    void close() override { inner_->close(); }

private:
    std::unique_ptr<grpc::Transport> inner_;
    std::shared_ptr<Progress> progress_;
};

std::array<Fd, 2> make_pair() {
    std::array<int, 2> pair{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) != 0) fail_errno("make a socket pair");
    return {Fd(pair[0]), Fd(pair[1])};
}

/// One program, from its start to the end of all that it has begun.
class Run {
public:
    Run(FrontEndProgram& program, const asio::any_io_executor& loop, const Clock& clock, Timers& timers)
        : program_(program), loop_(loop), clock_(clock), timers_(timers), progress_(std::make_shared<Progress>(loop)) {
        program_.front->has_returned = [progress = progress_, &clock] {
            progress->since = clock.steady();
            progress->changed.notify_all();
        };
    }
    Run(const Run&) = delete;
    Run& operator=(const Run&) = delete;
    ~Run() { program_.front->has_returned = {}; }

    void begin(const grpc::Services& services) {
        auto [ours, theirs] = make_pair();
        progress_->since = clock_.steady();
        asio::co_spawn(loop_, services.serve(loop_, std::make_unique<Heard>(grpc::over_socket(loop_, std::move(ours)), progress_)),
                       [progress = progress_, &clock = clock_](const std::exception_ptr&) {
                           progress->connection_ended = true;
                           if (!progress->program_ended()) progress->since = clock.steady();
                           progress->changed.notify_all();
                       });
        program_.request.streams = std::move(theirs);
        asio::co_spawn(loop_, program_.run(std::move(program_.request)),
                       asio::bind_cancellation_slot(
                           cancel_.slot(), [progress = progress_, &clock = clock_](std::exception_ptr failure, engine::StepEnd end) {
                               if (failure)
                                   progress->failure = std::move(failure);
                               else
                                   progress->end = end;
                               progress->since = clock.steady();
                               progress->changed.notify_all();
                           }));
    }

    /// Throws where the caller is cancelled, and only when all has ended.
    asio::awaitable<void> wait() {
        std::exception_ptr left;
        while (!progress_->program_ended() || !progress_->connection_ended) {
            if (clock_.steady() >= deadline()) is_late();
            try {
                co_await wait_until(progress_->changed, timers_, deadline());
                continue;
            } catch (...) {
                left = std::current_exception();
            }
            co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
            end("the build was ended");
        }
        if (left) std::rethrow_exception(left);
    }

    wire::bridge::Result result() const {
        if (program_.front->error()) throw grpc::CallError(*program_.front->error());
        if (program_.front->is_done() && (!fault_.empty() || is_fine())) return *program_.front->returned();
        if (!fault_.empty()) fail(ErrorKind::system, "front end {}: {}", program_.name, fault_);
        if (progress_->failure) {
            try {
                std::rethrow_exception(progress_->failure);
            } catch (Error& error) {
                error.add_context(fmt::format("front end {}", program_.name));
                throw;
            }
        }
        if (!is_fine()) fail(ErrorKind::system, "front end {}: it has ended with exit code {}", program_.name, progress_->end->exit_code);
        fail(ErrorKind::system, "front end {}: it has ended without a result", program_.name);
    }

private:
    bool is_fine() const { return progress_->end && progress_->end->exit_code == 0; }

    Clock::Point deadline() const {
        // What it has said last is read to its end.
        if (progress_->program_ended()) return is_closed_ ? Clock::never : progress_->since + program_.times.end;
        if (!fault_.empty()) return Clock::never;
        if (program_.front->is_done() || progress_->connection_ended) return progress_->since + program_.times.end;
        return progress_->has_spoken ? Clock::never : progress_->since + program_.times.first_words;
    }
    std::string fault() const {
        if (program_.front->is_done()) return "it has returned its result, and has not ended";
        if (progress_->connection_ended) return "it has ended its connection without a result";
        return fmt::format("it has not said anything for {} s", program_.times.first_words.count());
    }
    void is_late() {
        if (!progress_->program_ended()) return end(fault());
        is_closed_ = true;
        if (progress_->transport) progress_->transport->close();
    }
    void end(std::string why) {
        fault_ = std::move(why);
        cancel_.emit(asio::cancellation_type::terminal);
    }

    FrontEndProgram& program_;
    asio::any_io_executor loop_;
    const Clock& clock_;
    Timers& timers_;
    std::shared_ptr<Progress> progress_;
    asio::cancellation_signal cancel_;
    std::string fault_;  ///< Why it was ended.
    bool is_closed_ = false;
};

/// Names without what is to be done where one is missing.
std::set<std::string> names_of(std::string_view list) {
    std::set<std::string> out;
    for (const std::string& each : split(std::string(list), ',')) {
        const std::string name = each.substr(0, each.find('+'));
        if (!name.empty()) out.insert(name);
    }
    return out;
}

std::string label_of(const oci::ImageConfig& image, std::string_view name) {
    const auto found = image.config.labels.find(std::string(name));
    return found == image.config.labels.end() ? std::string() : found->second;
}

class Counted {
public:
    explicit Counted(Build& build) : build_(build) {
        if (build_.front_ends >= most_at_once) fail(ErrorKind::unavailable, "a build has at most {} front ends at a time", most_at_once);
        ++build_.front_ends;
    }
    Counted(const Counted&) = delete;
    Counted& operator=(const Counted&) = delete;
    ~Counted() { --build_.front_ends; }

private:
    Build& build_;
};

/// What the program runs in; let go of on the pool.
struct Ground {
    ScratchPtr scratch;
    engine::StepRequest request;
};

pb::Definition definition_of_image(const std::string& reference) {
    Draft draft;
    pb::Op op;
    op.mutable_source()->set_identifier("docker-image://" + reference);
    const oci::Platform host = oci::Platform::host();
    op.mutable_platform()->set_os(host.os);
    op.mutable_platform()->set_architecture(host.architecture);
    return draft.define(draft.add(op, fmt::format("[internal] front end {}", reference)));
}

Ground prepare(Workplace& place, const TreePtr& tree, const pb::Definition& definition, const oci::ImageConfig& image,
               std::vector<std::string> environment, const std::stop_token& stop) {
    Ground out;
    out.scratch = std::make_unique<Scratch>(place.layers, place.pool, detail::layers_of(place, tree, stop));
    engine::StepRequest& request = out.request;
    request.root = out.scratch->mount();
    request.args =
        image.config.entrypoint && !image.config.entrypoint->empty() ? *image.config.entrypoint : std::vector<std::string>{"/run"};
    request.env = std::move(environment);
    request.cwd = image.config.working_dir;
    request.hostname = "buildkitsandbox";
    if (dockerfile::parse_truth(label_of(image, no_network_label)) == dockerfile::Truth::yes) request.network = engine::StepNetwork::none;
    std::string bytes = definition.SerializeAsString();
    if (bytes.size() <= definition_limit)
        request.mounts.push_back({.destination = definition_folder,
                                  .mount = tasks::memory_mount({{.name = "frontend.bin", .content = std::move(bytes)}}),
                                  .read_only = true});
    return out;
}

}  // namespace

asio::awaitable<wire::bridge::Result> run_program(FrontEndProgram program, const grpc::Services& services, asio::any_io_executor loop,
                                                  const Clock& clock, Timers& timers) {
    Run run(program, loop, clock, timers);
    run.begin(services);
    co_await run.wait();
    co_return run.result();
}

std::vector<std::string> front_end_environment(const oci::ImageConfig& image, const GatewayRequest& request, const std::string& session,
                                               const wire::worker::WorkerRecord& worker) {
    std::vector<std::string> out = image.config.env;
    int number = 0;
    for (const auto& [name, value] : request.options) out.push_back(fmt::format("BUILDKIT_FRONTEND_OPT_{}={}={}", number++, name, value));
    out.push_back("BUILDKIT_SESSION_ID=" + session);
    boost::json::object labels;
    for (const auto& [name, value] : worker.labels()) labels[name] = value;
    boost::json::array platforms;
    for (const pb::Platform& each : worker.platforms()) {
        boost::json::object platform{{"architecture", each.architecture()}, {"os", each.os()}};
        if (!each.variant().empty()) platform["variant"] = each.variant();
        platforms.push_back(std::move(platform));
    }
    const wire::worker::BuildkitVersion& version = worker.buildkitversion();
    const boost::json::array workers{boost::json::object{
        {"id", worker.id()},
        {"labels", std::move(labels)},
        {"platforms", std::move(platforms)},
        {"gcPolicy", boost::json::array{}},
        {"buildkitVersion",
         boost::json::object{{"package", version.package()}, {"version", version.version()}, {"revision", version.revision()}}},
        {"cdiDevices", boost::json::array{}}}};
    out.push_back("BUILDKIT_WORKERS=" + boost::json::serialize(workers));
    out.emplace_back("BUILDKIT_EXPORTEDPRODUCT=grua");
    return out;
}

void check_front_end_abilities(const oci::ImageConfig& image, const GatewayRequest& request) {
    const std::set<std::string> there = names_of(label_of(image, abilities_label));
    const auto asked = request.options.find("frontend.caps");
    std::set<std::string> needed = names_of(asked == request.options.end() ? std::string_view{} : std::string_view(asked->second));
    if (!request.inputs.empty()) needed.insert("moby.buildkit.frontend.inputs");
    for (const std::string& each : needed)
        if (!there.contains(each))
            throw grpc::CallError({.code = grpc::Code::unimplemented,
                                   .message = fmt::format("front end {}: unsupported frontend capability {}", request.source, each),
                                   .details = {}});
}

asio::awaitable<wire::bridge::Result> run_gateway(GatewayRequest request, Caller caller, Builder& builder, Operations& operations,
                                                  const Clock& clock) {
    if (request.source.empty()) fail(ErrorKind::invalid_argument, "no source specified for gateway");
    if (caller.front->depth >= deepest) fail(ErrorKind::invalid_argument, "front ends that ask for front ends, {} deep", deepest);
    if (request.options.contains("context:" + request.source))
        fail(ErrorKind::not_implemented, "not implemented: a named context in the place of the front end {}", request.source);
    Workplace& place = operations.place();
    const BuildPtr build = caller.build;
    const Counted counted(*build);
    const std::string reference = oci::Reference::parse(request.source).with_default_tag().text();
    const ResolvedImage found = co_await in_step(
        build->journal, fmt::format("resolve image config for docker-image://{}", reference), [&](Step&) -> asio::awaitable<ResolvedImage> {
            return place.resolver.resolve(reference, oci::Platform::host(), ImagePolicy::prefer_here, build->request.session());
        });
    check_front_end_abilities(found.config, request);
    // From a registry it is what was found, whatever the tag means by now.
    const bool is_named = found.image || oci::Reference::parse(reference).digest();
    const pb::Definition definition = definition_of_image(is_named ? reference : fmt::format("{}@{}", reference, found.digest));
    const TreePtr tree = as_tree(co_await builder.make(build, definition));
    const auto ground =
        co_await detail::at_length(place, [&place, tree, definition, image = found.config,
                                           environment = front_end_environment(found.config, request, build->request.session(),
                                                                               builder.worker())](const std::stop_token& stop) {
            return std::shared_ptr<Ground>(new Ground(prepare(place, tree, definition, image, environment, stop)),
                                           [&pool = place.pool](Ground* gone) { asio::post(pool, [gone] { delete gone; }); });
        });
    const auto front = std::make_shared<Front>(caller.front->depth + 1, request.inputs);
    grpc::Services services;
    const FindCaller find = [build, front](const grpc::ServerCall&) -> asio::awaitable<Caller> {
        co_return Caller{.build = build, .front = front};
    };
    add_bridge(services, find, builder);
    add_bridge_reads(services, find, builder, place);
    add_bridge_containers(services, find, builder, operations);
    add_health(services);
    LoopTimers timers(place.loop);
    co_return co_await in_step(
        build->journal, fmt::format("[internal] run front end {}", reference), [&](Step& step) -> asio::awaitable<wire::bridge::Result> {
            ground->request.output = [&step](int stream, std::string_view bytes) { step.printed(stream, bytes); };
            return run_program({.name = reference,
                                .request = std::move(ground->request),
                                .run = [&place](engine::StepRequest asked) { return place.steps.run(std::move(asked)); },
                                .front = front,
                                .times = {}},
                               services, place.loop, clock, timers);
        });
}

}  // namespace grua::build
