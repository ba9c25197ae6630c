#include "build/classic_builds.hpp"

#include "base/condition.hpp"
#include "base/encoding.hpp"
#include "base/log.hpp"
#include "build/classic_context.hpp"
#include "build/classic_solve.hpp"
#include "build/classic_text.hpp"
#include "build/either_stop.hpp"

#include <algorithm>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/system/system_error.hpp>
#include <map>
#include <set>

namespace grua::build {
namespace {

using namespace std::chrono_literals;

/// So long the two requests of an upload wait for each other.
constexpr auto upload_patience = 5s;
constexpr std::string_view upload_scheme = "upload-request:";

/// With BuildKit's words for one that was ended.
std::exception_ptr with_reason(const std::exception_ptr& failure) {
    try {
        if (failure) std::rethrow_exception(failure);
    } catch (const boost::system::system_error& error) {
        if (error.code() == asio::error::operation_aborted)
            return std::make_exception_ptr(Error(ErrorKind::unavailable, "context canceled"));
    } catch (...) {
        // It has words of its own.
    }
    return failure;
}

std::string text_of(const std::exception_ptr& failure) {
    try {
        std::rethrow_exception(failure);
    } catch (const std::exception& error) {
        return error.what();
    }
}

std::string shown(const google::protobuf::RepeatedPtrField<std::string>& words) {
    std::string out;
    for (const std::string& each : words) out += (out.empty() ? "" : " ") + each;
    return out;
}

}  // namespace

/// What a request and its build have in common.
struct ClassicBuild::State {
    State(asio::any_io_executor loop, ClassicRequest its_request, engine::Input its_body,
          std::function<std::string(const std::string&)> image_id)
        : request(std::move(its_request)), body(std::move(its_body)), changed(std::move(loop)), text(std::move(image_id)) {}

    const ClassicRequest request;
    engine::Input body;
    asio::cancellation_signal end;
    Condition changed;
    ClassicText text;
    BuildPtr build;  ///< Once it has been begun.
    wire::control::SolveResponse response;
    std::exception_ptr failure;
    bool is_over = false;

    // Of who reads the lines.
    std::size_t at = 0;
    bool has_told = false;
    bool has_told_all = false;

    bool has_lines() const { return request.version == ClassicVersion::lines; }
    asio::awaitable<std::string> some_lines();
    std::string last_lines();
    std::string failure_lines();
};

namespace {

/// Uploads by the ID that both requests say.
class Uploads {
public:
    Uploads(asio::any_io_executor loop, const Clock& clock, Timers& timers) : clock_(clock), timers_(timers), changed_(std::move(loop)) {}

    asio::awaitable<void> bring(std::string id, engine::Input body) {
        const auto mine = std::make_shared<Upload>(std::move(body));
        if (!waiting_.emplace(id, mine).second) fail(ErrorKind::conflict, "an upload {} has come already", id);
        const Entry entry{*this, id};
        changed_.notify_all();
        const auto deadline = clock_.steady() + upload_patience;
        while (!mine->is_taken && clock_.steady() < deadline) co_await wait_until(changed_, timers_, deadline);
        if (!mine->is_taken) fail(ErrorKind::unavailable, "no build has come for the upload {}: context deadline exceeded", id);
        while (!mine->is_read) co_await changed_.wait();
    }

    /// The upload's request goes on when this ends.
    struct Upload {
        explicit Upload(engine::Input its_body) : body(std::move(its_body)) {}
        engine::Input body;
        bool is_taken = false;
        bool is_read = false;
    };
    class Taken {
    public:
        Taken(Uploads& all, std::shared_ptr<Upload> upload) : all_(all), upload_(std::move(upload)) {}
        Taken(const Taken&) = delete;
        Taken& operator=(const Taken&) = delete;
        ~Taken() {
            upload_->is_read = true;
            all_.changed_.notify_all();
        }
        engine::Input take_body() { return std::move(upload_->body); }

    private:
        Uploads& all_;
        std::shared_ptr<Upload> upload_;
    };

    asio::awaitable<std::unique_ptr<Taken>> take(std::string id) {
        const auto deadline = clock_.steady() + upload_patience;
        for (;;) {
            const auto found = waiting_.find(id);
            if (found != waiting_.end() && !found->second->is_taken) {
                found->second->is_taken = true;
                changed_.notify_all();
                co_return std::make_unique<Taken>(*this, found->second);
            }
            if (clock_.steady() >= deadline) fail(ErrorKind::unavailable, "no upload {} has come: context deadline exceeded", id);
            co_await wait_until(changed_, timers_, deadline);
        }
    }

private:
    struct Entry {
        Uploads& all;
        const std::string& id;
        ~Entry() { all.waiting_.erase(id); }
    };

    const Clock& clock_;
    Timers& timers_;
    Condition changed_;
    std::map<std::string, std::shared_ptr<Upload>> waiting_;
};

}  // namespace

/// All that builds have in common; it lives as long as one of them.
struct ClassicWork : std::enable_shared_from_this<ClassicWork> {
    explicit ClassicWork(ClassicBuilds::Surroundings all)
        : around(std::move(all)), uploads(around.loop, around.clock, around.timers), changed(around.loop) {}

    ClassicBuilds::Surroundings around;
    Uploads uploads;
    Condition changed;
    std::set<std::shared_ptr<ClassicBuild::State>> running;

    asio::awaitable<void> run(std::shared_ptr<ClassicBuild::State> build);
    asio::awaitable<void> receive(ClassicBuild::State& build, Given& out);
    bool knows_cache(const ClassicRequest& request) const;
    void plan(ClassicBuild::State& build, std::string_view dockerfile) const;
};

asio::awaitable<void> ClassicWork::receive(ClassicBuild::State& build, Given& out) {
    engine::Input body = std::move(build.body);
    std::unique_ptr<Uploads::Taken> upload;
    if (build.request.wants_upload()) {
        upload = co_await uploads.take(build.request.id);
        body = upload->take_body();
    }
    const auto input = std::make_shared<engine::Input>(std::move(body));
    std::stop_source called_off;
    auto work = [&contexts = around.contexts, input, request = build.request,
                 wanted = called_off.get_token()](const std::stop_token& stop) {
        const EitherStop either(stop, wanted);
        auto made = std::make_shared<ClassicContext>(receive_classic_context(contexts, *input, request, either.token()));
        input->reading = Fd{};
        return made;
    };
    const auto came = co_await to_its_end(around.loop, around.transfers.call(around.loop, std::move(work)),
                                          [called_off]() mutable { called_off.request_stop(); });
    const auto files = shared(around.pool, std::move(came->files));
    out.contexts["context"] = files;
    out.contexts["dockerfile"] = came->dockerfile ? shared(around.pool, std::move(came->dockerfile)) : files;
    if (build.has_lines()) plan(build, came->dockerfile_text);
}

/// Whether one of the images is here whose cache is to be used.
bool ClassicWork::knows_cache(const ClassicRequest& request) const {
    const auto is_here = [&](const std::string& name) {
        try {
            return !around.image_id(name).empty();
        } catch (const Error&) {
            return false;  // It is no name of an image, so there is none of it.
        }
    };
    return request.cache_from.empty() || std::ranges::any_of(request.cache_from, is_here);
}

/// What is wrong with the Dockerfile is said before anything has been answered.
void ClassicWork::plan(ClassicBuild::State& build, std::string_view dockerfile) const {
    const ClassicRequest& request = build.request;
    dockerfile::BuildInputs inputs;
    std::vector<std::string> names;
    for (const auto& [name, value] : request.arguments) {
        names.push_back(name);
        if (value) inputs.arguments[name] = *value;
    }
    inputs.target = request.target;
    if (!request.platform.empty()) inputs.target_platform = oci::Platform::parse(request.platform);
    build.text.take(plan_classic(dockerfile, inputs, names, request.labels));
    build.changed.notify_all();
}

asio::awaitable<void> ClassicWork::run(std::shared_ptr<ClassicBuild::State> build) {
    Given own;
    own.credentials = build->request.credentials;
    if (build->request.has_body() || build->request.wants_upload()) co_await receive(*build, own);
    const auto session = around.sessions.given().add(std::move(own));
    // Called while this waits; the build outlives it, for those who ask late, and must not keep what asks it.
    ClassicBuild::State& state = *build;
    const auto converted = [this, &state](wire::bridge::Result& result) {
        pb::Definition& graph = *result.mutable_ref()->mutable_def();
        limit(graph, state.request.limits);
        if (!state.has_lines()) return;
        // From elsewhere: the front end has read it.
        if (!state.text.has_plan() && graph.source().infos_size() > 0) plan(state, graph.source().infos(0).data());
        state.text.take(graph);
    };
    const auto begun = [&state](const BuildPtr& made) {
        state.build = made;
        state.changed.notify_all();
    };
    wire::control::SolveRequest request = solve_request_of(build->request, session->id());
    if (build->has_lines() && !knows_cache(build->request)) (*request.mutable_frontendattrs())["no-cache"] = "";
    build->response = co_await around.control.solve(std::move(request), {.begun = begun, .converted = converted});
}

// --- what is told ----------------------------------------------------------------------------------------------------

/// What there is by now, or nothing where it has to be asked again.
asio::awaitable<std::string> ClassicBuild::State::some_lines() {
    if (!build) {
        std::string out = has_lines() && text.has_plan() ? text.lines() : std::string();
        if (out.empty()) co_await changed.wait();
        co_return out;
    }
    const auto status = co_await build->journal.next(at);
    if (!status) {
        if (!is_over) co_await changed.wait();
        co_return std::string();
    }
    if (!has_lines()) co_return aux_line("moby.buildkit.trace", {}, base64_encode(status->SerializeAsString()));
    text.take(*status);
    // Whether something is known or is being done is clear when all has been looked at.
    co_return build->journal.has_more(at) ? std::string() : text.lines();
}

std::string ClassicBuild::State::last_lines() {
    const auto found = response.exporterresponse().find("containerimage.digest");
    const std::string id = found == response.exporterresponse().end() ? std::string() : found->second;
    if (request.is_quiet) return stream_line(id + "\n");
    if (!has_lines()) return request.makes_image() ? aux_line("moby.image.id", "ID", id) : std::string();
    ClassicText::Outcome outcome{.image_id = id, .names = {}, .tells_ids = request.tells_ids};
    for (const oci::Reference& each : names_of(request)) outcome.names.push_back(each.familiar());
    return text.finish(outcome);
}

std::string ClassicBuild::State::failure_lines() {
    if (!has_lines()) return error_line(text_of(failure), {});
    if (!build || !build->failed) return text.fail(text_of(failure), {}, {});
    if (!build->exit_code) return text.fail(text_of(failure), {}, build->failed->digest);
    const std::string message =
        fmt::format("The command '{}' returned a non-zero code: {}", shown(build->failed->op.exec().meta().args()), *build->exit_code);
    return text.fail(message, *build->exit_code, build->failed->digest);
}

asio::awaitable<std::optional<std::string>> ClassicBuild::next() {
    State& state = *state_;
    // Of one that is to be quiet only a failure is told.
    while (state.request.is_quiet && !state.is_over) co_await state.changed.wait();
    const bool is_told = !state.request.is_quiet || state.failure;
    while (is_told && !(state.is_over && (!state.build || !state.build->journal.has_more(state.at)))) {
        std::string lines = co_await state.some_lines();
        if (lines.empty()) continue;
        state.has_told = true;
        co_return lines;
    }
    if (std::exchange(state.has_told_all, true)) co_return std::nullopt;
    if (!state.failure) co_return state.last_lines();
    if (!state.has_told && !(state.has_lines() && state.text.has_plan())) std::rethrow_exception(state.failure);
    co_return state.failure_lines();
}

ClassicBuild::~ClassicBuild() { state_->end.emit(asio::cancellation_type::terminal); }

// --- all of them -----------------------------------------------------------------------------------------------------

ClassicBuilds::ClassicBuilds(Surroundings surroundings) : work_(std::make_shared<ClassicWork>(std::move(surroundings))) {}
ClassicBuilds::~ClassicBuilds() = default;

ClassicBuildPtr ClassicBuilds::begin(ClassicRequest request, engine::Input body) {
    const auto work = work_;
    const auto build = std::make_shared<ClassicBuild::State>(work->around.loop, std::move(request), std::move(body), work->around.image_id);
    work->running.insert(build);
    asio::co_spawn(work->around.loop, work->run(build),
                   asio::bind_cancellation_slot(build->end.slot(), [work, build](const std::exception_ptr& failure) {
                       build->failure = with_reason(failure);
                       build->is_over = true;
                       build->changed.notify_all();
                       work->running.erase(build);
                       work->changed.notify_all();
                       if (failure) log::debug("a build: {}", text_of(build->failure));
                   }));
    return std::make_unique<ClassicBuild>(build);
}

asio::awaitable<void> ClassicBuilds::upload(std::string id, engine::Input body) {
    const auto work = work_;
    id.erase(0, id.starts_with(upload_scheme) ? upload_scheme.size() : 0);
    co_await work->uploads.bring(std::move(id), std::move(body));
}

void ClassicBuilds::cancel(const std::string& id) {
    for (const auto& each : std::set(work_->running))
        if (each->request.id == id) each->end.emit(asio::cancellation_type::terminal);
}

asio::awaitable<void> ClassicBuilds::shutdown() {
    const auto work = work_;
    for (const auto& each : std::set(work->running)) each->end.emit(asio::cancellation_type::terminal);
    while (!work->running.empty()) co_await work->changed.wait();
}

}  // namespace grua::build
