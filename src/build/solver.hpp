// Which operations of a graph are run, in which order, and which results are there already.
//
//     by its definition's key ──► known: done, nothing below it is looked at
//            │ not known
//            ▼
//     its inputs, side by side ──► by its contents' key ──► known: done, and known by the first key as well from now on
//                                        │ not known
//                                        ▼
//                                   run, and kept by both
//
// An operation that several builds want at the same time is done once for all, and ends with the last that wants it. What an operation
// is done with - files, processes, networks - is behind Worker; here is only the order. Loop only.
#pragma once

#include "base/async.hpp"
#include "base/clock.hpp"
#include "base/condition.hpp"
#include "base/error.hpp"
#include "build/cache_key.hpp"
#include "build/graph.hpp"

#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace grua::build {

/// What came of an operation: one of its results, held for as long as this lives.
class Result {
public:
    explicit Result(std::string its_key) : key(std::move(its_key)) {}
    Result(const Result&) = delete;
    Result& operator=(const Result&) = delete;
    virtual ~Result() = default;

    /// Under which it came out: the same contents made the same way have the same.
    const std::string key;
};
using ResultPtr = std::shared_ptr<const Result>;
using Results = std::vector<ResultPtr>;

/// Where a build's operations are told of. Its calls do not throw.
class Audience {
public:
    virtual ~Audience() = default;
    virtual void started(const Vertex& vertex) = 0;
    /// `error`: empty where it was done.
    virtual void completed(const Vertex& vertex, bool was_cached, const std::string& error) = 0;
    virtual void printed(const Vertex& vertex, int stream, std::string_view bytes) = 0;
    /// How far a part of it is: "transferring context:", bytes or layers of so many.
    virtual void advanced(const Vertex& vertex, const std::string& what, std::int64_t current, std::int64_t total, bool is_done) = 0;
};

/// Those who want an operation while it is done.
class Audiences {
public:
    void printed(const Vertex& vertex, int stream, std::string_view bytes) const {
        for (Audience* each : all_) each->printed(vertex, stream, bytes);
    }
    void advanced(const Vertex& vertex, const std::string& what, std::int64_t current, std::int64_t total, bool is_done) const {
        for (Audience* each : all_) each->advanced(vertex, what, current, total, is_done);
    }

private:
    friend class Solver;
    std::vector<Audience*> all_;
};

/// What a source is before it is fetched.
struct SourceKey {
    std::string key;
    std::shared_ptr<const void> found;  ///< For run().
};

/// Does what the operations say.
class Worker {
public:
    virtual ~Worker() = default;

    /// What a source is now. `session`: of the build that asks.
    virtual asio::awaitable<SourceKey> look_up(const Vertex& source, const std::string& session) = 0;

    /// Of an input's files those that count; of all selections together.
    virtual asio::awaitable<std::string> digest_of(const ResultPtr& input, const std::vector<Selection>& selections) = 0;

    struct Work {
        VertexPtr vertex;
        Results inputs;
        std::shared_ptr<const void> source;  ///< Of look_up().
        std::string key;                     ///< Of the results: key_of_result().
        std::string session;
        std::shared_ptr<const Audiences> audiences;
        std::stop_token stop;  ///< Nobody wants it any more.
    };
    virtual asio::awaitable<Results> run(Work work) = 0;
};

/// Which results are kept, by their keys.
class Cache {
public:
    virtual ~Cache() = default;
    /// Nothing where none is known by this key, or where it is gone.
    virtual asio::awaitable<std::optional<Results>> find(const std::string& key) = 0;
    virtual asio::awaitable<void> keep(const std::string& key, const Results& results) = 0;
};

/// One build.
struct Wish {
    Edge edge;
    std::string session;
    Audience* audience = nullptr;  ///< Outlives the call.
};

class Solver {
public:
    /// So many operations are run at a time; looking at keys and caches is not counted.
    Solver(asio::any_io_executor loop, Worker& worker, Cache& cache, std::size_t at_once);
    ~Solver();

    /// The result that is wished for; null for an empty tree. Throws what the first operation that failed has thrown, as VertexError.
    asio::awaitable<ResultPtr> solve(Wish wish);

    std::size_t running() const noexcept;

    struct State;

private:
    std::shared_ptr<State> state_;
};

/// What an operation failed with, and which.
class VertexError : public Error {
public:
    VertexError(const Error& error, VertexPtr vertex) : Error(error), vertex_(std::move(vertex)) {}
    const VertexPtr& vertex() const noexcept { return vertex_; }

private:
    VertexPtr vertex_;
};

}  // namespace grua::build
