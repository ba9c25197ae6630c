#include "build/solver.hpp"

#include "base/id.hpp"
#include "base/log.hpp"
#include "content/hash.hpp"

#include <algorithm>
#include <boost/asio/detached.hpp>
#include <set>

namespace grua::build {
namespace {

constexpr std::string_view called_off = "canceled";
constexpr std::size_t deepest = 8;            ///< Graphs that are made by an operation of a graph.
constexpr std::size_t planned_at_once = 500;  ///< Operations whose keys are made in one turn of the loop.

/// An operation while it is run, for all that want it.
struct Run {
    std::vector<Condition*> wanted_by;  ///< Of builds' parts: told when it has ended.
    std::shared_ptr<Audiences> audiences = std::make_shared<Audiences>();
    std::stop_source stop;
    bool is_orphan = false;  ///< The build whose session it is done with has left.
    std::optional<Results> results;
    std::exception_ptr failure;
};
using RunPtr = std::shared_ptr<Run>;

/// One build's view of one operation.
struct Part {
    explicit Part(const asio::any_io_executor& loop) : changed(loop) {}
    Condition changed;         ///< Its results are there, or what it waits for.
    std::string key;           ///< Of its definition.
    std::string contents_key;  ///< Once its inputs are there.
    KeyPlan plan;
    bool is_made_anew = false;  ///< Or something below it: its definition says nothing about what comes out.
    std::shared_ptr<const void> source;
    std::optional<Results> results;
    bool is_begun = false;
    bool is_told = false;
};

/// One build.
struct Build {
    Build(const asio::any_io_executor& loop, Wish what) : wish(std::move(what)), changed(loop) {}
    Wish wish;
    Condition changed;
    std::map<const Vertex*, Part> parts;
    std::size_t busy = 0;  ///< Coroutines that are about it.
    std::exception_ptr failure;
    bool is_over = false;  ///< Nobody wants it any more, or it has failed.

    void fail_with(std::exception_ptr why) {
        if (!failure) failure = std::move(why);
        is_over = true;
        changed.notify_all();
        for (auto& [vertex, part] : parts) part.changed.notify_all();
    }
};
using BuildPtr = std::shared_ptr<Build>;

}  // namespace

struct Solver::State : std::enable_shared_from_this<Solver::State> {
    State(asio::any_io_executor on, Worker& its_worker, Cache& its_cache, std::size_t most)
        : loop(std::move(on)), worker(its_worker), cache(its_cache), at_once(most), freed(loop) {}

    asio::any_io_executor loop;
    Worker& worker;
    Cache& cache;
    std::size_t at_once;
    std::size_t running = 0;
    Condition freed;
    std::map<std::string, RunPtr> runs;  ///< By the key of their contents.

    // Each is spawned, and counted in `busy`.
    asio::awaitable<void> look_up(BuildPtr build, VertexPtr vertex);
    asio::awaitable<void> solve(BuildPtr build, VertexPtr vertex);
    asio::awaitable<void> run(RunPtr run, std::string name, Worker::Work work);

    template <typename Task>
    void begin(const BuildPtr& build, Task task);
    asio::awaitable<void> wait_for_inputs(const BuildPtr& build, const VertexPtr& vertex);
    asio::awaitable<std::string> contents_key(const BuildPtr& build, const VertexPtr& vertex);
    static MadeStep* made(const BuildPtr& build, const VertexPtr& vertex);
    asio::awaitable<std::optional<Results>> find(const BuildPtr& build, const VertexPtr& vertex, const std::string& key);
    asio::awaitable<Results> run_or_join(const BuildPtr& build, const VertexPtr& vertex, const std::string& key);
    void done(const BuildPtr& build, const VertexPtr& vertex, Results results, bool was_cached);
    void tell_those_below(const BuildPtr& build, const VertexPtr& vertex);
    void make_keys(const BuildPtr& build, const std::vector<VertexPtr>& order) const;
};

namespace {

/// A build that wants a run; the last one that leaves ends it.
class Want {
public:
    Want(RunPtr run, std::vector<Audience*>& audiences, Audience* audience, Condition& changed, bool is_first)
        : run_(std::move(run)), audiences_(audiences), audience_(audience), changed_(changed), is_first_(is_first) {
        run_->wanted_by.push_back(&changed_);
        if (audience_) audiences_.push_back(audience_);
    }
    Want(const Want&) = delete;
    Want& operator=(const Want&) = delete;
    ~Want() {
        take_one(audiences_, audience_);
        take_one(run_->wanted_by, &changed_);
        if (is_first_) run_->is_orphan = true;
        if (run_->wanted_by.empty()) run_->stop.request_stop();
    }

private:
    template <typename Value>
    static void take_one(std::vector<Value>& from, const Value& value) {
        if (const auto found = std::ranges::find(from, value); found != from.end()) from.erase(found);
    }

    RunPtr run_;
    std::vector<Audience*>& audiences_;
    Audience* audience_;
    Condition& changed_;
    bool is_first_;
};

/// It waits for others that it does not know before it is begun: nothing would ever come of it where it waited for itself.
void check_above(const Vertex& vertex, const std::string& key, const std::vector<std::string>& above) {
    if (!vertex.op.has_build()) return;
    if (std::ranges::find(above, key) != above.end())
        fail(ErrorKind::invalid_argument, "the graph that the operation reads contains itself");
    if (above.size() >= deepest)
        fail(ErrorKind::invalid_argument, "graphs that are made by an operation of a graph are at most {} deep", deepest);
}

/// One of those that are run at a time.
class Place {
public:
    Place(std::size_t& count, Condition& freed) : count_(count), freed_(freed) { ++count_; }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    ~Place() {
        --count_;
        freed_.notify_all();
    }

private:
    std::size_t& count_;
    Condition& freed_;
};

std::exception_ptr of_vertex(const VertexPtr& vertex) {
    try {
        throw;
    } catch (const VertexError&) {
        return std::current_exception();
    } catch (const Error& error) {
        return std::make_exception_ptr(VertexError(error, vertex));
    } catch (const std::exception& error) {
        return std::make_exception_ptr(VertexError(Error(ErrorKind::system, error.what()), vertex));
    }
}

std::string text_of(const std::exception_ptr& failure) {
    try {
        std::rethrow_exception(failure);
    } catch (const std::exception& error) {
        return error.what();
    }
}

}  // namespace

Solver::Solver(asio::any_io_executor loop, Worker& worker, Cache& cache, std::size_t at_once)
    : state_(std::make_shared<State>(std::move(loop), worker, cache, at_once)) {}
Solver::~Solver() = default;

std::size_t Solver::running() const noexcept { return state_->running; }

asio::awaitable<ResultPtr> Solver::solve(Wish wish) {
    if (!wish.edge.vertex) co_return nullptr;
    const auto state = state_;
    const Edge edge = wish.edge;
    const auto build = std::make_shared<Build>(state->loop, std::move(wish));
    const std::vector<VertexPtr> order = in_order(edge);
    // What has been begun comes to its end before the caller goes on, however it goes on: it uses the caller's audience.
    std::exception_ptr left;
    const auto wait_until = [&](auto is_so) -> asio::awaitable<void> {
        while (!is_so()) {
            try {
                co_await build->changed.wait();
                continue;
            } catch (...) {
                left = std::current_exception();
                build->fail_with(left);
            }
            co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
        }
    };
    for (const VertexPtr& each : order) {
        build->parts.try_emplace(each.get(), state->loop).first->second.plan = plan_key(each->op);
        if (build->parts.size() % planned_at_once == 0) co_await asio::post(state->loop, asio::use_awaitable);  // others have their turn
    }
    for (const VertexPtr& each : order)
        if (each->op.has_source()) state->begin(build, state->look_up(build, each));
    co_await wait_until([&] { return build->busy == 0; });
    if (!build->is_over) {
        state->make_keys(build, order);
        if (build->wish.keys)
            for (const VertexPtr& each : order) build->wish.keys->insert_or_assign(each->digest, build->parts.at(each.get()).key);
        build->parts.at(edge.vertex.get()).is_begun = true;
        state->begin(build, state->solve(build, edge.vertex));
        co_await wait_until([&] { return build->busy == 0; });
    }
    if (left) std::rethrow_exception(left);
    if (build->failure) std::rethrow_exception(build->failure);
    co_return build->parts.at(edge.vertex.get()).results->at(static_cast<std::size_t>(edge.index));
}

template <typename Task>
void Solver::State::begin(const BuildPtr& build, Task task) {
    ++build->busy;
    // In a turn of its own: each that begins its inputs at once would be on the stack of the one that needs it, 100,000 deep.
    asio::post(loop, [this, self = shared_from_this(), build, task = std::move(task)]() mutable {
        asio::co_spawn(loop, std::move(task), [build](const std::exception_ptr& failure) {
            --build->busy;
            if (failure) build->fail_with(failure);
            build->changed.notify_all();
        });
    });
}

asio::awaitable<void> Solver::State::look_up(BuildPtr build, VertexPtr vertex) {
    Part& part = build->parts.at(vertex.get());
    std::exception_ptr failure;
    try {
        SourceKey found = co_await worker.look_up(vertex, build->wish.session, build->wish.audience);
        part.key = std::move(found.key);
        part.source = std::move(found.found);
        if (MadeStep* step = made(build, vertex)) step->pin = found.pin;
        if (build->wish.pins && !found.pin.empty()) build->wish.pins->insert_or_assign(vertex->digest, std::move(found.pin));
        part.is_told = found.was_told;
    } catch (...) {
        failure = of_vertex(vertex);
    }
    if (!failure) co_return;
    if (build->wish.audience) {
        build->wish.audience->started(*vertex);
        build->wish.audience->completed(*vertex, false, text_of(failure));
    }
    std::rethrow_exception(failure);
}

void Solver::State::make_keys(const BuildPtr& build, const std::vector<VertexPtr>& order) const {
    for (const VertexPtr& vertex : order) {
        Part& part = build->parts.at(vertex.get());
        part.is_made_anew = vertex->metadata.ignore_cache() || std::ranges::any_of(vertex->inputs, [&](const Edge& each) {
                                return build->parts.at(each.vertex.get()).is_made_anew;
                            });
        if (vertex->op.has_source()) {
            part.key = make_key(part.plan, {part.key});
            continue;
        }
        std::vector<std::string> inputs;
        for (const Edge& each : vertex->inputs) inputs.push_back(key_of_result(build->parts.at(each.vertex.get()).key, each.index));
        part.key = make_key(part.plan, inputs);
    }
}

asio::awaitable<void> Solver::State::solve(BuildPtr build, VertexPtr vertex) {
    Part& part = build->parts.at(vertex.get());
    std::exception_ptr failure;
    try {
        const bool asks_cache = !vertex->metadata.ignore_cache();
        if (!part.is_made_anew) {
            if (auto known = co_await find(build, vertex, part.key)) {
                tell_those_below(build, vertex);
                co_return done(build, vertex, std::move(*known), true);
            }
        }
        co_await wait_for_inputs(build, vertex);
        if (build->is_over) co_return;
        const std::string key = co_await contents_key(build, vertex);
        part.contents_key = key;
        if (asks_cache && (key != part.key || part.is_made_anew)) {
            if (auto known = co_await find(build, vertex, key)) {
                co_await cache.keep(part.key, *known, vertex);
                co_return done(build, vertex, std::move(*known), true);
            }
        }
        if (build->is_over) co_return;
        if (build->wish.audience && !part.is_told) build->wish.audience->started(*vertex);
        check_above(*vertex, key, build->wish.above);
        // What is made anew is something else than what was there, to all that take it as a whole.
        Results results = co_await run_or_join(build, vertex, asks_cache ? key : content::digest_of(key + random_hex(32)).text());
        if (build->is_over && results.empty()) {
            if (build->wish.audience) build->wish.audience->completed(*vertex, false, std::string(called_off));
            co_return;
        }
        co_await cache.keep(part.key, results, vertex);
        if (key != part.key) co_await cache.keep(key, results, vertex);
        done(build, vertex, std::move(results), false);
    } catch (...) {
        failure = of_vertex(vertex);
    }
    if (!failure) co_return;
    if (build->wish.audience) build->wish.audience->completed(*vertex, false, text_of(failure));
    std::rethrow_exception(failure);
}

void Solver::State::done(const BuildPtr& build, const VertexPtr& vertex, Results results, bool was_cached) {
    Part& part = build->parts.at(vertex.get());
    part.results = std::move(results);
    if (MadeStep* step = made(build, vertex); step && !std::exchange(step->has_ended, true)) {
        step->definition_key = part.key;
        step->was_cached = was_cached;
    }
    if (!std::exchange(part.is_told, true) && build->wish.audience) {
        if (was_cached) build->wish.audience->started(*vertex);
        build->wish.audience->completed(*vertex, was_cached, {});
    }
    part.changed.notify_all();
}

/// Null where nobody wants to know. What an earlier graph of the same build has come to stays.
MadeStep* Solver::State::made(const BuildPtr& build, const VertexPtr& vertex) {
    if (!build->wish.made) return nullptr;
    MadeStep& out = (*build->wish.made)[vertex->digest];
    out.vertex = vertex;
    return &out;
}

/// They were not looked at, since what is made of them is there; to a person they are cached as well. Not below those that are told or are
/// being looked at: what is there is told with them, and to each only once.
void Solver::State::tell_those_below(const BuildPtr& build, const VertexPtr& vertex) {
    if (!build->wish.audience) return;
    std::vector<std::pair<VertexPtr, bool>> rest{{vertex, false}};
    while (!rest.empty()) {
        const auto [each, inputs_are_told] = std::move(rest.back());
        rest.pop_back();
        if (inputs_are_told) {
            build->wish.audience->started(*each);
            build->wish.audience->completed(*each, true, {});
            continue;
        }
        if (each != vertex) {
            Part& part = build->parts.at(each.get());
            if (part.is_begun || std::exchange(part.is_told, true)) continue;
            rest.emplace_back(each, true);
        }
        for (auto input = each->inputs.rbegin(); input != each->inputs.rend(); ++input) rest.emplace_back(input->vertex, false);
    }
}

asio::awaitable<void> Solver::State::wait_for_inputs(const BuildPtr& build, const VertexPtr& vertex) {
    for (const Edge& each : vertex->inputs) {
        Part& input = build->parts.at(each.vertex.get());
        if (std::exchange(input.is_begun, true)) continue;
        begin(build, solve(build, each.vertex));
    }
    for (const Edge& each : vertex->inputs) {
        Part& input = build->parts.at(each.vertex.get());
        while (!build->is_over && !input.results) co_await input.changed.wait();
    }
}

asio::awaitable<std::string> Solver::State::contents_key(const BuildPtr& build, const VertexPtr& vertex) {
    const Part& part = build->parts.at(vertex.get());
    if (vertex->op.has_source()) co_return part.key;
    std::vector<std::string> inputs;
    std::vector<MadeInput> made_inputs;
    for (std::size_t number = 0; number < vertex->inputs.size(); ++number) {
        const Edge& edge = vertex->inputs[number];
        const ResultPtr& input = build->parts.at(edge.vertex.get()).results->at(static_cast<std::size_t>(edge.index));
        const InputUse& use = part.plan.inputs[number];
        const auto read = build->wish.made && use.by_content ? std::make_shared<ReadFiles>() : nullptr;
        inputs.push_back(use.by_content ? co_await worker.digest_of(input, use.selections, read.get()) : input->key);
        made_inputs.push_back({.key = inputs.back(), .files = read});
    }
    std::string key = make_key(part.plan, inputs);
    if (MadeStep* step = made(build, vertex); step && step->contents_key.empty()) {
        step->definition_key = part.key;
        step->contents_key = key;
        step->inputs = std::move(made_inputs);
    }
    co_return key;
}

asio::awaitable<std::optional<Results>> Solver::State::find(const BuildPtr& build, const VertexPtr& vertex, const std::string& key) {
    if (auto known = co_await cache.find(key)) co_return known;
    co_return build->wish.imports ? build->wish.imports->find(key, vertex) : std::nullopt;
}

asio::awaitable<Results> Solver::State::run_or_join(const BuildPtr& build, const VertexPtr& vertex, const std::string& key) {
    Part& part = build->parts.at(vertex.get());
    // A build of its own is done for each build that wants it: two that have each other in their graphs would wait for one another.
    const std::string name = vertex->op.has_build() ? key + random_hex(32) : key;
    for (;;) {
        // One that has ended since the cache was asked has left its results there.
        if (!runs.contains(name))
            if (auto known = co_await cache.find(key)) co_return std::move(*known);
        const auto [at, is_new] = runs.try_emplace(name);
        if (is_new) at->second = std::make_shared<Run>();
        const RunPtr run = at->second;
        const Want want(run, run->audiences->all_, build->wish.audience, part.changed, is_new);
        if (is_new) {
            Worker::Work work{.vertex = vertex,
                              .inputs = {},
                              .source = part.source,
                              .key = key,
                              .session = build->wish.session,
                              .imports = build->wish.imports,
                              .audiences = run->audiences,
                              .stop = run->stop.get_token(),
                              .granted = build->wish.granted,
                              .above = build->wish.above};
            work.above.push_back(part.contents_key);
            for (const Edge& each : vertex->inputs)
                work.inputs.push_back(build->parts.at(each.vertex.get()).results->at(static_cast<std::size_t>(each.index)));
            asio::co_spawn(loop, shared_from_this()->run(run, name, std::move(work)), asio::detached);
        }
        while (!run->results && !run->failure && !build->is_over) co_await part.changed.wait();
        if (run->results) co_return *run->results;
        if (build->is_over) co_return Results{};
        // It was begun for another build, which has left and taken its session with it.
        if (!is_new && run->is_orphan) continue;
        std::rethrow_exception(run->failure);
    }
}

asio::awaitable<void> Solver::State::run(RunPtr run, std::string name, Worker::Work work) {
    const auto self = shared_from_this();
    const std::stop_callback wakes{run->stop.get_token(), [this] { freed.notify_all(); }};
    try {
        // One that waits for others only takes no place from them.
        std::optional<Place> place;
        if (!work.vertex->op.has_build()) {
            while (running >= at_once && !run->stop.stop_requested()) co_await freed.wait();
            place.emplace(running, freed);
        }
        if (run->stop.stop_requested()) fail(ErrorKind::unavailable, "{}", called_off);
        run->results = co_await worker.run(std::move(work));
    } catch (...) {
        run->failure = std::current_exception();
    }
    runs.erase(name);
    for (Condition* each : run->wanted_by) each->notify_all();
}

}  // namespace grua::build
