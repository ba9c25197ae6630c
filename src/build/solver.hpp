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
#include "build/made_of.hpp"
#include "oci/digest.hpp"

#include <chrono>
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

    /// What is left of it when it ends: layers of the layer store, the lowest first, out of which it can be made again. Null where it ends
    /// with this.
    virtual const std::vector<oci::Digest>* kept_layers() const noexcept { return nullptr; }

    /// Under which it came out: the same contents made the same way have the same.
    const std::string key;
};
using ResultPtr = std::shared_ptr<const Result>;
using Results = std::vector<ResultPtr>;

/// What an operation has used of the machine; 0 where that is not known.
struct StepAccount {
    std::chrono::nanoseconds cpu_time{};
    std::uint64_t peak_memory = 0;  ///< Bytes.
    std::uint64_t layer_bytes = 0;  ///< Of the files that it has left.
};

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
    /// Before it is completed.
    virtual void used(const Vertex& /*vertex*/, const StepAccount& /*account*/) {}
};

/// Those who want an operation while it is done.
class Audiences {
public:
    void started(const Vertex& vertex) const {
        for (Audience* each : all_) each->started(vertex);
    }
    void completed(const Vertex& vertex, bool was_cached, const std::string& error) const {
        for (Audience* each : all_) each->completed(vertex, was_cached, error);
    }
    void printed(const Vertex& vertex, int stream, std::string_view bytes) const {
        for (Audience* each : all_) each->printed(vertex, stream, bytes);
    }
    void advanced(const Vertex& vertex, const std::string& what, std::int64_t current, std::int64_t total, bool is_done) const {
        for (Audience* each : all_) each->advanced(vertex, what, current, total, is_done);
    }
    void used(const Vertex& vertex, const StepAccount& account) const {
        for (Audience* each : all_) each->used(vertex, account);
    }

private:
    friend class Solver;
    std::vector<Audience*> all_;
};

/// What a source is before it is fetched.
struct SourceKey {
    std::string key;
    std::shared_ptr<const void> found;  ///< For run().
    bool was_told = false;              ///< It has been fetched by this, and the audience knows.
    std::string pin = {};               ///< For provenance: the digest of an image or a file, a commit; empty where there is none.
};

/// What a build may take from elsewhere, by the same keys as from the cache.
class Imports {
public:
    virtual ~Imports() = default;
    /// As many results as the operation has. Loop only.
    virtual std::optional<Results> find(const std::string& key, const VertexPtr& vertex) = 0;
    /// The files of a cache mount, into this empty folder. False where there are none by this ID; then it is still empty. Blocks.
    virtual bool fill_mount(const std::string& id, const std::string& folder) = 0;
};
using ImportsPtr = std::shared_ptr<Imports>;

/// Does what the operations say.
class Worker {
public:
    virtual ~Worker() = default;

    /// What a source is now. `session`: of the build that asks. `audience`: may be null; outlives the call.
    virtual asio::awaitable<SourceKey> look_up(VertexPtr source, std::string session, Audience* audience) = 0;

    /// Of an input's files those that count; of all selections together. `read`: gets them; may be null. It outlives the call.
    virtual asio::awaitable<std::string> digest_of(ResultPtr input, std::vector<Selection> selections, ReadFiles* read) = 0;

    struct Work {
        VertexPtr vertex;
        Results inputs;
        std::shared_ptr<const void> source;  ///< Of look_up().
        std::string key;                     ///< Of the results: key_of_result().
        std::string session;
        ImportsPtr imports;  ///< Of the build that has begun it; may be null.
        std::shared_ptr<const Audiences> audiences;
        std::stop_token stop;              ///< Nobody wants it any more.
        std::vector<std::string> granted;  ///< Of Wish.
        std::vector<std::string> above;    ///< Of Wish, and this one.
    };
    virtual asio::awaitable<Results> run(Work work) = 0;
};

/// Which results are kept, by their keys.
class Cache {
public:
    virtual ~Cache() = default;
    /// Nothing where none is known by this key, or where it is gone.
    virtual asio::awaitable<std::optional<Results>> find(std::string key) = 0;
    virtual asio::awaitable<void> keep(std::string key, Results results, VertexPtr made_by) = 0;
};

/// One build.
struct Wish {
    Edge edge;
    std::string session;
    Audience* audience = nullptr;  ///< Outlives the call.
    /// By the digests of sources what they were found to be. Outlives the call; may be null.
    std::map<std::string, std::string, std::less<>>* pins = nullptr;
    /// What became of the operations. Outlives the call; may be null.
    MadeSteps* made = nullptr;
    std::vector<std::string> granted = {};  ///< "network.host": what a graph that an operation of this one makes may do as well.
    /// Of a graph that an operation has made: that operation and those which it came of, by the keys of their contents.
    std::vector<std::string> above = {};
    ImportsPtr imports = {};  ///< Asked where the cache knows nothing; may be null.
    /// By the digests of operations the keys of their definitions. Outlives the call; may be null.
    std::map<std::string, std::string, std::less<>>* keys = nullptr;
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

/// A program has ended with a status that is none of those it may end with.
struct ExitError : Error {
    ExitError(std::string message, int code) : Error(ErrorKind::system, std::move(message)), exit_code(code) {}
    int exit_code;
};

/// What an operation failed with, and which.
class VertexError : public Error {
public:
    VertexError(const Error& error, VertexPtr vertex) : Error(error), vertex_(std::move(vertex)) {
        if (const auto* exit = dynamic_cast<const ExitError*>(&error)) exit_code_ = exit->exit_code;
    }
    const VertexPtr& vertex() const noexcept { return vertex_; }
    std::optional<int> exit_code() const noexcept { return exit_code_; }

private:
    VertexPtr vertex_;
    std::optional<int> exit_code_;
};

}  // namespace grua::build
