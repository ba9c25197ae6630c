#include "build/bridge_containers.hpp"

#include "build/control.hpp"
#include "build/operations/run_alone.hpp"

#include <sys/socket.h>
#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/write.hpp>
#include <map>

namespace grua::build {
namespace {

namespace wb = wire::bridge;

constexpr auto quiet = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t most_containers = 64;  ///< Of one front end.
constexpr std::size_t piece_size = std::size_t{32} << 10U;
constexpr std::size_t most_unsent = std::size_t{4} << 20U;  ///< Of standard error.
constexpr std::uint32_t not_known = 255;                    ///< BuildKit's UnknownExitStatus.

struct Container {
    pb::ExecOp op;  ///< Without its program.
    Results trees;  ///< Which the mounts' inputs number.
    bool is_used = false;
    std::function<void()> end;  ///< Of its program, where that is there still.
};
using ContainerPtr = std::shared_ptr<Container>;

/// Of all front ends of one connection or, outside, of all clients. Loop only.
class Containers {
public:
    void check_new(const FrontPtr& front, const std::string& id) {
        std::erase_if(all_, [](const auto& each) { return each.first.expired() || each.first.lock()->is_done(); });
        if (front->is_done()) fail(ErrorKind::conflict, "the build has its result already");
        if (id.empty()) fail(ErrorKind::invalid_argument, "a container has an ID");
        const auto& own = all_[front];
        if (own.contains(id)) fail(ErrorKind::conflict, "Container {} already exists", id);
        if (own.size() >= most_containers) fail(ErrorKind::unavailable, "a front end has at most {} containers", most_containers);
    }
    void add(const FrontPtr& front, const std::string& id, ContainerPtr container) {
        check_new(front, id);
        all_[front].emplace(id, std::move(container));
    }
    ContainerPtr find(const FrontPtr& front, const std::string& id) const {
        if (const auto own = all_.find(front); own != all_.end())
            if (const auto found = own->second.find(id); found != own->second.end()) return found->second;
        fail(ErrorKind::not_found, "container \"{}\" previously released or not created", id);
    }
    void release(const FrontPtr& front, const std::string& id) {
        if (const ContainerPtr found = find(front, id); found->end) found->end();
        all_[front].erase(id);
    }

private:
    std::map<std::weak_ptr<Front>, std::map<std::string, ContainerPtr>, std::owner_less<>> all_;
};

asio::awaitable<void> make_container(Containers& all, Builder& builder, Caller caller, wb::NewContainerRequest request) {
    all.check_new(caller.front, request.containerid());
    if (request.has_constraints() && request.constraints().filter_size() > 0)
        fail(ErrorKind::not_implemented, "not implemented: constraints of a container");
    const auto out = std::make_shared<Container>();
    out->op.set_network(request.network());
    out->op.mutable_meta()->set_hostname(request.hostname());
    *out->op.mutable_meta()->mutable_extrahosts() = request.extrahosts();
    for (const pb::Mount& each : request.mounts()) {
        pb::Mount& mount = *out->op.add_mounts();
        mount = each;
        mount.clear_resultid();
        mount.set_input(-1);
        mount.set_output(-1);
        if (each.resultid().empty()) continue;
        mount.set_input(static_cast<std::int64_t>(out->trees.size()));
        out->trees.push_back(co_await builder.make(caller.build, caller.front->definition(each.resultid())));
    }
    all.add(caller.front, request.containerid(), out);
}

std::array<Fd, 2> make_pair() {
    std::array<int, 2> pair{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) != 0) fail_errno("make a socket pair");
    return {Fd(pair[0]), Fd(pair[1])};
}

/// One program, and the call that it is spoken to by.
class Process : public std::enable_shared_from_this<Process> {
public:
    Process(const asio::any_io_executor& loop, grpc::ServerCall& call, std::string id)
        : loop_(loop), call_(call), id_(std::move(id)), streams_(loop), changed_(loop) {}

    void begin(Workplace& place, Worker::Work work, bool wants_output, bool wants_errors) {
        auto [ours, theirs] = make_pair();
        streams_.assign(asio::local::stream_protocol(), ours.release());
        ProgramStreams streams{.socket = std::move(theirs), .output = {}};
        if (wants_errors)
            streams.output = [self = weak_from_this()](int, std::string_view bytes) {
                if (const auto there = self.lock()) there->said(bytes);
            };
        wants_output_ = wants_output;
        wants_errors_ = wants_errors;
        asio::co_spawn(
            loop_, run_alone(place, std::move(work), std::move(streams)),
            asio::bind_cancellation_slot(cancel_.slot(), [self = shared_from_this()](std::exception_ptr failure, engine::StepEnd end) {
                self->failure_ = std::move(failure);
                self->end_ = end;
                self->has_ended_ = true;
                self->changed_.notify_all();
            }));
    }
    void end() { cancel_.emit(asio::cancellation_type::terminal); }

    /// What the client says meanwhile; what is wrong with it ends the program.
    void hear(asio::awaitable<void> listening) {
        hears_ = true;
        asio::co_spawn(loop_, std::move(listening),
                       asio::bind_cancellation_slot(deaf_.slot(), [self = shared_from_this()](std::exception_ptr wrong) {
                           self->hears_ = false;
                           if (wrong && !self->has_ended_) {
                               self->misheard_ = std::move(wrong);
                               self->end();
                           }
                           self->changed_.notify_all();
                       }));
    }
    const std::exception_ptr& misheard() const noexcept { return misheard_; }

    /// Ends what has not ended, and comes back when nobody uses the call any more.
    asio::awaitable<void> wait() {
        if (!has_ended_) end();
        if (hears_) deaf_.emit(asio::cancellation_type::terminal);
        boost::system::error_code ignored;
        streams_.close(ignored);
        while (!has_ended_ || hears_ || (begun_to_tell_ && !output_told_)) co_await changed_.wait();
    }

    asio::awaitable<void> write_input(wb::FdMessage message) {
        if (message.fd() != 0) fail(ErrorKind::invalid_argument, "fd {} unavailable to write", message.fd());
        // One that does not read its input any more ends all the same.
        if (!message.data().empty()) (void)co_await asio::async_write(streams_, asio::buffer(message.data()), quiet);
        boost::system::error_code ignored;
        if (message.eof()) streams_.shutdown(asio::socket_base::shutdown_send, ignored);
    }

    /// Until the program has ended; all that it says, and how it ended.
    asio::awaitable<void> tell() {
        begun_to_tell_ = true;
        asio::co_spawn(loop_, tell_output(), [self = shared_from_this()](const std::exception_ptr&) {
            self->output_told_ = true;
            self->changed_.notify_all();
        });
        for (;;) {
            while (!errors_.empty()) co_await send_errors();
            if (has_ended_ && output_told_ && errors_.empty()) break;
            co_await changed_.wait();
        }
        if (wants_errors_) co_await send(file(2, {}, true));
        co_await send(exit());
        wb::ExecMessage done;
        done.mutable_done();
        co_await send(std::move(done));
    }

    asio::awaitable<void> send(wb::ExecMessage message) {
        message.set_processid(id_);
        co_await call_.write(message.SerializeAsString());
    }

private:
    static wb::ExecMessage file(std::uint32_t fd, std::string bytes, bool is_end) {
        wb::ExecMessage out;
        out.mutable_file()->set_fd(fd);
        out.mutable_file()->set_data(std::move(bytes));
        out.mutable_file()->set_eof(is_end);
        return out;
    }

    /// What nobody takes is cut off rather than kept.
    void said(std::string_view bytes) {
        errors_ += bytes.substr(0, most_unsent - std::min(most_unsent, errors_.size()));
        changed_.notify_all();
    }
    asio::awaitable<void> send_errors() {
        std::string bytes = std::exchange(errors_, {});
        for (std::size_t at = 0; at < bytes.size(); at += piece_size) co_await send(file(2, bytes.substr(at, piece_size), false));
    }

    asio::awaitable<void> tell_output() {
        const auto self = shared_from_this();
        std::string piece(piece_size, '\0');
        for (;;) {
            const auto [error, count] = co_await streams_.async_read_some(asio::buffer(piece), quiet);
            if (error || count == 0) break;
            if (wants_output_) co_await send(file(1, piece.substr(0, count), false));
        }
        if (wants_output_) co_await send(file(1, {}, true));
    }

    wb::ExecMessage exit() const {
        wb::ExecMessage out;
        wb::ExitMessage& exit = *out.mutable_exit();
        std::string why;
        exit.set_code(static_cast<std::uint32_t>(end_.exit_code));
        if (failure_) {
            exit.set_code(not_known);
            try {
                std::rethrow_exception(failure_);
            } catch (const engine::StepNotStarted& error) {
                exit.set_code(static_cast<std::uint32_t>(error.exit_code));
                why = error.what();
            } catch (const std::exception& error) {
                why = error.what();
            }
        } else if (end_.exit_code != 0) {
            why = fmt::format("exit code: {}", end_.exit_code);
        }
        if (!why.empty()) {
            exit.mutable_error()->set_code(static_cast<int>(grpc::Code::unknown));
            exit.mutable_error()->set_message(why);
        }
        return out;
    }

    asio::any_io_executor loop_;
    grpc::ServerCall& call_;
    std::string id_;
    asio::local::stream_protocol::socket streams_;
    Condition changed_;
    asio::cancellation_signal cancel_;
    bool wants_output_ = false;
    bool wants_errors_ = false;
    asio::cancellation_signal deaf_;
    bool hears_ = false;
    std::exception_ptr misheard_;
    bool has_ended_ = false;
    bool begun_to_tell_ = false;
    bool output_told_ = false;
    std::string errors_;
    engine::StepEnd end_;
    std::exception_ptr failure_;
};

/// The first of a call.
Worker::Work work_of(const Caller& caller, Container& container, const wb::InitMessage& init) {
    if (init.tty()) fail(ErrorKind::not_implemented, "not implemented: a terminal in a front end's container");
    if (std::exchange(container.is_used, true))
        fail(ErrorKind::not_implemented, "not implemented: a second program in a front end's container");
    const auto vertex = std::make_shared<Vertex>();
    pb::ExecOp& exec = *vertex->op.mutable_exec();
    exec = container.op;
    pb::Meta& meta = *exec.mutable_meta();
    *meta.mutable_args() = init.meta().args();
    *meta.mutable_env() = init.meta().env();
    meta.set_cwd(init.meta().cwd());
    meta.set_user(init.meta().user());
    exec.set_security(init.security());
    *exec.mutable_secretenv() = init.secretenv();
    vertex->name = default_name(vertex->op);
    const auto& granted = caller.build->request.entitlements();
    check_entitlements({vertex, 0}, {granted.begin(), granted.end()});
    return {.vertex = vertex,
            .inputs = container.trees,
            .source = {},
            .key = {},
            .session = caller.build->request.session(),
            .audiences = {},
            .stop = {},
            .granted = {},
            .above = {}};
}

wb::ExecMessage parse(const std::string& bytes) { return grpc::Services::parse<wb::ExecMessage>(bytes); }

/// What the client says after the first; until it ends the call, or gives it up.
asio::awaitable<void> listen(grpc::ServerCall& call, std::shared_ptr<Process> process) {
    while (const auto message = co_await call.read()) {
        const wb::ExecMessage said = parse(*message);
        if (said.has_file()) co_await process->write_input(said.file());
        if (said.has_signal()) {
            if (said.signal().name() != "SIGKILL" && said.signal().name() != "KILL")
                fail(ErrorKind::not_implemented, "not implemented: the signal {} for a front end's program", said.signal().name());
            process->end();
        }
        if (said.has_init()) fail(ErrorKind::not_implemented, "not implemented: a second program in one call");
    }
}

asio::awaitable<void> exec_process(grpc::ServerCall& call, Containers& all, Caller caller, Operations& operations) {
    const auto first = co_await call.read();
    if (!first) co_return;
    const wb::ExecMessage message = parse(*first);
    if (message.processid().empty()) fail(ErrorKind::invalid_argument, "ProcessID required");
    if (!message.has_init()) fail(ErrorKind::not_found, "IO for process \"{}\" not found", message.processid());
    const wb::InitMessage& init = message.init();
    const ContainerPtr container = all.find(caller.front, init.containerid());
    Worker::Work work = work_of(caller, *container, init);
    const auto wants = [&](std::uint32_t fd) { return std::ranges::find(init.fds(), fd) != init.fds().end(); };
    Workplace& place = operations.place();
    const auto process = std::make_shared<Process>(place.loop, call, message.processid());
    process->begin(place, std::move(work), wants(1), wants(2));
    container->end = [weak = std::weak_ptr(process)] {
        if (const auto there = weak.lock()) there->end();
    };
    std::exception_ptr failure;
    try {
        wb::ExecMessage started;
        started.mutable_started();
        co_await process->send(std::move(started));
        if (!wants(0))
            co_await process->write_input([] {
                wb::FdMessage end;
                end.set_eof(true);
                return end;
            }());
        process->hear(listen(call, process));
        co_await process->tell();
    } catch (...) {
        failure = std::current_exception();
    }
    // Whoever has gone leaves nothing behind.
    co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
    call.stop_reading();
    co_await process->wait();
    if (process->misheard()) std::rethrow_exception(process->misheard());
    if (failure) std::rethrow_exception(failure);
}

}  // namespace

void add_bridge_containers(grpc::Services& services, const FindCaller& find, Builder& builder, Operations& operations) {
    const std::string service = "/moby.buildkit.v1.frontend.LLBBridge/";
    const auto all = std::make_shared<Containers>();
    services.add_unary<wb::NewContainerRequest>(
        service + "NewContainer",
        [find, all, &builder](grpc::ServerCall& call, const wb::NewContainerRequest& request) -> asio::awaitable<wb::NewContainerResponse> {
            co_await make_container(*all, builder, co_await find(call), request);
            co_return wb::NewContainerResponse{};
        });
    services.add_unary<wb::ReleaseContainerRequest>(
        service + "ReleaseContainer",
        [find, all](grpc::ServerCall& call, const wb::ReleaseContainerRequest& request) -> asio::awaitable<wb::ReleaseContainerResponse> {
            all->release((co_await find(call)).front, request.containerid());
            co_return wb::ReleaseContainerResponse{};
        });
    services.add(service + "ExecProcess", [find, all, &operations](grpc::ServerCall& call) -> asio::awaitable<void> {
        const Caller caller = co_await find(call);
        co_await exec_process(call, *all, caller, operations);
    });
}

}  // namespace grua::build
