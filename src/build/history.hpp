// The history of builds: BuildKit's ListenBuildHistory and UpdateBuildHistory, and what an ended build has told, for whoever asks later.
//
// A build that runs is in memory only and is forgotten with gruad. One that has ended is told at once, with all that it refers to, and is
// durable some milliseconds later: nobody who builds waits for a disk. Loop only.
#pragma once

#include "base/async.hpp"
#include "base/clock.hpp"
#include "base/condition.hpp"
#include "build/history_store.hpp"
#include "build/journal.hpp"
#include "build/made_of.hpp"
#include "grpc/server.hpp"
#include "oci/manifest.hpp"

#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace grua::build {

/// What came of a build.
struct BuildOutcome {
    std::optional<grpc::Status> error;
    std::map<std::string, std::string> exporter_response;
    /// What each exporter has made, in their order; its document and those below it, layers aside, are kept with the record.
    std::vector<std::optional<oci::Descriptor>> results;

    struct Attestation {
        std::string platform;  ///< "linux/amd64"; empty where the build has one result.
        std::string predicate_type;
        std::string predicate;  ///< JSON
    };
    std::vector<Attestation> attestations;

    std::string project;  ///< Which builds are of the same.
    MadeSteps made;       ///< What became of its operations.
};

class History {
public:
    /// `images`: where documents of results are. All of them outlive this; flushed() comes before its end.
    History(asio::any_io_executor loop, asio::thread_pool& pool, const Clock& clock, store::Database& database,
            content::ContentStore& images, std::string directory, HistoryLimits limits = {});
    ~History();

    /// The two methods of Control.
    void add_to(grpc::Services& services);

    /// Nothing is kept of an internal one.
    void began(const wire::control::SolveRequest& request);

    /// Ends the journal, and is back when whoever asks is told of it. What has not begun is no error. Does not throw: a build does not fail
    /// because of its history. `journal` outlives the call.
    asio::awaitable<void> ended(std::string ref, Journal& journal, BuildOutcome outcome);

    /// Begins the answer, and says all that a build which has ended has told. False, and nothing is said, where there is no such build or
    /// it has not ended.
    asio::awaitable<bool> tell_status(std::string ref, grpc::ServerCall& call);

    /// Null where no record refers to it.
    asio::awaitable<HistoryBlobPtr> blob(oci::Digest digest);

    /// Until all that has ended is durable. Throws where that fails.
    asio::awaitable<void> flushed();

    /// Those that are durable. Measures, on the pool.
    asio::awaitable<std::vector<KeptBuild>> kept();
    /// False where there is none, and where it has not ended.
    asio::awaitable<bool> forget(std::string ref);
    /// What is more than the limits goes, and what a kill has left.
    asio::awaitable<void> collect();

private:
    using Event = wire::control::BuildHistoryEvent;
    using EventType = wire::control::BuildHistoryEventType;
    struct Ended {
        HistoryRecord record;
        HistoryBlobs blobs;
        std::size_t size = 0;  ///< Of the blobs.
    };
    using EndedPtr = std::shared_ptr<const Ended>;
    struct Listener;
    class Listening;

    asio::awaitable<void> finish(std::string ref, Journal& journal, BuildOutcome outcome);
    asio::awaitable<void> listen(grpc::ServerCall& call);
    asio::awaitable<std::vector<HistoryRecord>> stored(wire::control::BuildHistoryRequest request, HistoryFilter filter);
    asio::awaitable<void> update(wire::control::UpdateBuildHistoryRequest request);
    asio::awaitable<bool> remove(std::string ref);
    asio::awaitable<void> pin(std::string ref, bool is_pinned);
    asio::awaitable<HistoryBlobPtr> log_of(std::string ref);
    void begin_writing();
    asio::awaitable<void> write();
    asio::awaitable<bool> write_pending();
    void drop_what_is_too_much();
    void tell(EventType type, const HistoryRecord& record);
    void tell_removal(const std::string& ref);

    asio::any_io_executor loop_;
    asio::thread_pool& pool_;
    const Clock& clock_;
    content::ContentStore& images_;
    HistoryLimits limits_;
    HistoryStore store_;
    Lane changing_;  ///< Whoever writes rows or removes them.
    Condition written_;
    bool is_writing_ = false;
    std::optional<Error> failure_;  ///< Of the last attempt.
    std::map<std::string, HistoryRecord, std::less<>> active_;
    std::map<std::string, EndedPtr, std::less<>> pending_;  ///< Not durable yet.
    std::list<Listener*> listeners_;
};

}  // namespace grua::build
