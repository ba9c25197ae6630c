#include "build/history.hpp"

#include "base/log.hpp"
#include "base/utf8.hpp"
#include "content/hash.hpp"

#include <algorithm>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <deque>
#include <set>

namespace grua::build {
namespace {

constexpr std::string_view log_type = "application/vnd.buildkit.status.v0";
constexpr std::string_view made_of_type = "application/vnd.grua.made-of.v0+proto";
constexpr std::string_view error_type = "application/vnd.googeapis.google.rpc.status+proto";  // as BuildKit spells it
constexpr std::string_view attestation_type = "application/vnd.in-toto+json";
constexpr const char* timestamp_header = "buildkit-current-timestamp";  // clients set their clocks by it
constexpr const char* predicate_annotation = "in-toto.io/predicate-type";

constexpr std::size_t events_limit = 1000;                     // that a listener may be behind
constexpr std::size_t pending_limit = std::size_t{64} << 20U;  // bytes that wait for a disk which takes nothing
constexpr std::size_t documents_limit = 1000;                  // of one build's results
constexpr std::size_t log_message_limit = std::size_t{64} << 20U;
constexpr std::size_t log_head = 4;

wire::control::Descriptor add_blob(HistoryBlobs& blobs, std::string_view type, std::string bytes) {
    wire::control::Descriptor out;
    oci::Digest digest = content::digest_of(bytes);
    out.set_media_type(std::string(type));
    out.set_digest(digest.text());
    out.set_size(static_cast<std::int64_t>(bytes.size()));
    blobs.try_emplace(std::move(digest), std::make_shared<const std::string>(std::move(bytes)));
    return out;
}

/// What somebody reads who inspects a result: indices, manifests and configurations, not the layers. What is not there is left out.
class Documents {
public:
    Documents(const content::ContentStore& from, HistoryBlobs& to) : from_(from), to_(to) {}

    void add(const oci::Descriptor& descriptor) {
        const auto digest = oci::Digest::parse(descriptor.digest);
        if (!digest || to_.contains(*digest) || count_ >= documents_limit) return;
        try {
            std::string bytes = from_.read(*digest, oci::manifest_size_limit);
            ++count_;
            const auto kept = std::make_shared<const std::string>(std::move(bytes));
            to_.emplace(*digest, kept);
            if (oci::is_index(descriptor.media_type)) {
                for (const oci::Descriptor& each : oci::parse_index(*kept).manifests) add(each);
            } else if (oci::is_manifest(descriptor.media_type)) {
                const oci::Manifest manifest = oci::parse_manifest(*kept);
                add(manifest.config);
                for (const oci::Descriptor& each : manifest.layers)
                    if (each.media_type == attestation_type) add(each);
            }
        } catch (const Error& error) {
            log::debug("history of builds: {} {}: {}", descriptor.media_type, descriptor.digest, error.what());
        }
    }

private:
    const content::ContentStore& from_;
    HistoryBlobs& to_;
    std::size_t count_ = 0;
};

wire::control::Descriptor to_wire(const oci::Descriptor& descriptor) {
    wire::control::Descriptor out;
    out.set_media_type(descriptor.media_type);
    out.set_digest(descriptor.digest);
    out.set_size(static_cast<std::int64_t>(descriptor.size));
    for (const auto& [name, value] : descriptor.annotations) (*out.mutable_annotations())[name] = to_valid_utf8(value);
    return out;
}

void add_results(HistoryRecord& record, HistoryBlobs& blobs, const std::vector<std::optional<oci::Descriptor>>& results,
                 const content::ContentStore& images) {
    Documents documents(images, blobs);
    for (std::size_t number = 0; number < results.size(); ++number) {
        if (!results[number]) continue;
        wire::control::BuildResultInfo& out = *record.mutable_result();
        const wire::control::Descriptor descriptor = to_wire(*results[number]);
        if (!out.has_resultdeprecated()) *out.mutable_resultdeprecated() = descriptor;
        (*out.mutable_results())[static_cast<std::int64_t>(number)] = descriptor;
        documents.add(*results[number]);
    }
}

void add_attestations(HistoryRecord& record, HistoryBlobs& blobs, std::vector<BuildOutcome::Attestation>& attestations) {
    for (BuildOutcome::Attestation& each : attestations) {
        wire::control::BuildResultInfo& out =
            each.platform.empty() ? *record.mutable_result() : (*record.mutable_results())[to_valid_utf8(each.platform)];
        wire::control::Descriptor& descriptor = *out.add_attestations();
        descriptor = add_blob(blobs, attestation_type, std::move(each.predicate));
        (*descriptor.mutable_annotations())[predicate_annotation] = to_valid_utf8(each.predicate_type);
    }
}

/// The whole error is a blob; its code and text are in the record.
void add_error(HistoryRecord& record, HistoryBlobs& blobs, const grpc::Status& error) {
    wire::common::Status whole;
    if (error.details.empty() || !whole.ParseFromString(error.details)) whole.Clear();
    // The stacks of a front end outside have the command line with them that it was begun with, and the URLs and tokens in that.
    for (int number = whole.details_size() - 1; number >= 0; --number)
        if (whole.details(number).type_url().contains("stack.Stack")) whole.mutable_details()->DeleteSubrange(number, 1);
    whole.set_code(static_cast<int>(error.code));
    whole.set_message(text_without_credentials(to_valid_utf8(error.message)));
    *record.mutable_externalerror() = add_blob(blobs, error_type, whole.SerializeAsString());
    whole.clear_details();
    *record.mutable_error() = std::move(whole);
}

}  // namespace

/// Somebody who is told of what happens.
struct History::Listener {
    explicit Listener(const asio::any_io_executor& loop) : changed(loop) {}
    std::deque<Event> waiting;
    Condition changed;
    bool is_late = false;
};

class History::Listening {
public:
    Listening(std::list<Listener*>& all, Listener& listener) : all_(all), at_(all.insert(all.end(), &listener)) {}
    Listening(const Listening&) = delete;
    Listening& operator=(const Listening&) = delete;
    ~Listening() { all_.erase(at_); }

private:
    std::list<Listener*>& all_;
    std::list<Listener*>::iterator at_;
};

History::History(asio::any_io_executor loop, asio::thread_pool& pool, const Clock& clock, store::Database& database,
                 content::ContentStore& images, std::string directory, HistoryLimits limits)
    : loop_(loop),
      pool_(pool),
      clock_(clock),
      images_(images),
      limits_(limits),
      store_(database, std::move(directory)),
      changing_(loop),
      written_(std::move(loop)) {}

History::~History() = default;

void History::tell(EventType type, const HistoryRecord& record) {
    Event event;
    event.set_type(type);
    *event.mutable_record() = record;
    for (Listener* each : listeners_) {
        if (each->waiting.size() >= events_limit) {
            each->is_late = true;
            each->waiting.clear();
        }
        if (!each->is_late) each->waiting.push_back(event);
        each->changed.notify_all();
    }
}

void History::began(const wire::control::SolveRequest& request) {
    if (request.internal()) return;
    const auto [at, is_new] = active_.insert_or_assign(request.ref(), begin_record(request, clock_.wall()));
    tell(wire::control::BUILD_HISTORY_EVENT_TYPE_STARTED, at->second);
}

asio::awaitable<void> History::ended(std::string ref, Journal& journal, BuildOutcome outcome) {
    journal.end();
    const std::string name = ref;
    std::string failure;
    try {
        co_await to_its_end(loop_, finish(std::move(ref), journal, std::move(outcome)));
    } catch (const std::exception& error) {
        failure = error.what();
    }
    active_.erase(name);
    if (!failure.empty()) log::error("the history of build {}: {}", name, failure);
}

asio::awaitable<void> History::finish(std::string ref, Journal& journal, BuildOutcome outcome) {
    const auto found = active_.find(ref);
    if (found == active_.end()) co_return;
    const auto ended = std::make_shared<Ended>();
    ended->record = found->second;
    *ended->record.mutable_completedat() = to_timestamp(clock_.wall());
    const auto told = std::make_shared<std::vector<wire::control::StatusResponse>>();
    std::size_t at = 0;
    while (auto next = co_await journal.next(at)) {
        told->push_back(std::move(*next));
        co_await asio::post(loop_, asio::use_awaitable);  // others have their turn: it may be a lot
    }
    auto work = [ended, told, images = &images_, outcome = std::move(outcome)]() mutable {
        HistoryRecord& record = ended->record;
        count_steps(*told, record);
        *record.mutable_logs() = add_blob(ended->blobs, log_type, write_log(*told));
        told->clear();
        for (const auto& [name, value] : outcome.exporter_response)
            (*record.mutable_exporterresponse())[to_valid_utf8(name)] = to_valid_utf8(value);
        add_attestations(record, ended->blobs, outcome.attestations);
        add_results(record, ended->blobs, outcome.results, *images);
        if (outcome.error) add_error(record, ended->blobs, *outcome.error);
        record.set_project(outcome.project);
        if (std::string made_of = write_made_of(outcome.made); !made_of.empty())
            *record.mutable_madeof() = add_blob(ended->blobs, made_of_type, std::move(made_of));
        for (const auto& [digest, bytes] : ended->blobs) ended->size += bytes->size();
    };
    co_await offload(pool_, std::move(work));
    active_.erase(ref);
    tell(wire::control::BUILD_HISTORY_EVENT_TYPE_COMPLETE, ended->record);
    pending_.insert_or_assign(std::move(ref), ended);
    begin_writing();
}

void History::begin_writing() {
    if (std::exchange(is_writing_, true)) return;
    asio::co_spawn(loop_, write(), asio::detached);
}

asio::awaitable<void> History::write() {
    bool goes_on = true;
    while (goes_on && !pending_.empty()) {
        const Lane::Turn turn = co_await changing_.take();
        goes_on = co_await write_pending();
    }
    is_writing_ = false;
    written_.notify_all();
}

/// By whoever has the turn. False where something could not be written; it is tried again with what comes next.
asio::awaitable<bool> History::write_pending() {
    struct Tried {
        std::set<std::string> written;
        std::vector<std::string> gone;
        std::optional<Error> failure;
    };
    if (pending_.empty()) co_return true;
    const auto batch = pending_;
    auto work = [this, batch, now = clock_.wall()] {
        Tried out;
        try {
            for (const auto& [ref, ended] : batch) {
                store_.put(ended->record, ended->blobs);
                out.written.insert(ref);
            }
            out.gone = store_.collect(limits_, now);
        } catch (const Error& error) {
            out.failure = error;
        }
        return out;
    };
    const Tried tried = co_await offload(pool_, std::move(work));
    for (const std::string& each : tried.written)
        if (const auto found = pending_.find(each); found != pending_.end() && found->second == batch.at(each)) pending_.erase(found);
    for (const std::string& each : tried.gone) tell_removal(each);
    failure_ = tried.failure;
    if (failure_) {
        log::error("the history of builds cannot be stored: {}", failure_->what());
        drop_what_is_too_much();
    }
    co_return !failure_;
}

void History::drop_what_is_too_much() {
    std::size_t size = 0;
    for (const auto& [ref, ended] : pending_) size += ended->size;
    while (size > pending_limit || pending_.size() > limits_.most_entries) {
        const auto oldest = std::ranges::min_element(
            pending_, {}, [](const auto& each) { return std::pair(each.second->record.completedat().seconds(), each.first); });
        log::error("the history of build {} is lost", oldest->first);
        size -= oldest->second->size;
        pending_.erase(oldest);
    }
}

asio::awaitable<void> History::flushed() {
    if (!pending_.empty()) begin_writing();
    while (is_writing_) co_await written_.wait();
    if (!pending_.empty() && failure_) throw Error(*failure_);
}

// --- what is asked -------------------------------------------------------------------------------------------------

asio::awaitable<std::vector<HistoryRecord>> History::stored(wire::control::BuildHistoryRequest request, HistoryFilter filter) {
    // Before the rows are read: what gets its row meanwhile is in one of the two, or in both.
    const auto pending = pending_;
    auto work = [this, pending, filter = std::move(filter), ref = request.ref(), limit = static_cast<std::size_t>(request.limit())] {
        std::vector<HistoryRecord> out;
        for (const auto& [name, ended] : pending)
            if (ref.empty() || name == ref) out.push_back(ended->record);
        if (ref.empty()) {
            for (HistoryRecord& each : store_.list(filter.is_empty() ? limit : 0))
                if (!pending.contains(each.ref())) out.push_back(std::move(each));
        } else if (out.empty()) {
            if (auto found = store_.find(ref)) out.push_back(std::move(*found));
        }
        std::erase_if(out, [&](const HistoryRecord& each) { return !filter.matches(each); });
        std::ranges::sort(out, std::ranges::greater{}, [](const HistoryRecord& each) {
            return std::tuple(each.createdat().seconds(), each.createdat().nanos(), each.ref());
        });
        if (limit != 0 && out.size() > limit) out.resize(limit);
        return out;
    };
    co_return co_await offload(pool_, std::move(work));
}

asio::awaitable<void> History::listen(grpc::ServerCall& call) {
    const auto request = grpc::Services::parse<wire::control::BuildHistoryRequest>(co_await call.read_only());
    const HistoryFilter filter = HistoryFilter::parse({request.filter().begin(), request.filter().end()}, clock_.wall());
    if (request.limit() < 0) fail(ErrorKind::invalid_argument, "invalid limit {}", request.limit());
    call.begin({{timestamp_header, format_time(clock_.wall())}});
    Listener listener(loop_);
    const Listening listening(listeners_, listener);
    const auto is_wanted = [&](const HistoryRecord& record) { return request.ref().empty() || record.ref() == request.ref(); };
    std::vector<HistoryRecord> active;
    for (const auto& [ref, record] : active_)
        if (is_wanted(record) && filter.matches(record)) active.push_back(record);
    Event event;
    event.set_type(wire::control::BUILD_HISTORY_EVENT_TYPE_STARTED);
    for (HistoryRecord& each : active) {
        *event.mutable_record() = std::move(each);
        co_await call.write(event.SerializeAsString());
    }
    if (!request.activeonly()) {
        event.set_type(wire::control::BUILD_HISTORY_EVENT_TYPE_COMPLETE);
        for (HistoryRecord& each : co_await stored(request, filter)) {
            *event.mutable_record() = std::move(each);
            co_await call.write(event.SerializeAsString());
        }
    }
    while (!request.earlyexit()) {
        while (listener.waiting.empty() && !listener.is_late) co_await listener.changed.wait();
        if (listener.is_late) fail(ErrorKind::unavailable, "more than {} events of builds have not been read", events_limit);
        const Event next = std::move(listener.waiting.front());
        listener.waiting.pop_front();
        const bool is_removal = next.type() == wire::control::BUILD_HISTORY_EVENT_TYPE_DELETED;
        if (is_wanted(next.record()) && (is_removal || filter.matches(next.record()))) co_await call.write(next.SerializeAsString());
    }
}

asio::awaitable<HistoryBlobPtr> History::log_of(std::string ref) {
    if (const auto found = pending_.find(ref); found != pending_.end()) {
        const auto digest = oci::Digest::parse(found->second->record.logs().digest());
        co_return std::make_shared<const HistoryBlob>(found->second->blobs.at(*digest), clock_.wall());
    }
    auto work = [this, ref = std::move(ref)]() -> HistoryBlobPtr {
        const auto record = store_.find(ref);
        const auto digest = record ? oci::Digest::parse(record->logs().digest()) : std::nullopt;
        return digest ? store_.blob(*digest) : nullptr;
    };
    co_return co_await offload(pool_, std::move(work));
}

asio::awaitable<bool> History::tell_status(std::string ref, grpc::ServerCall& call) {
    if (active_.contains(ref)) co_return false;
    const HistoryBlobPtr log = co_await log_of(std::move(ref));
    if (!log) co_return false;
    call.begin({{timestamp_header, format_time(clock_.wall())}});
    for (std::uint64_t at = 0; at < log->size();) {
        auto work = [log, at] {
            std::size_t size = 0;
            const std::string head = log->read(at, log_head);
            for (std::size_t byte = 0; byte < head.size(); ++byte)
                size |= static_cast<std::size_t>(static_cast<unsigned char>(head[byte])) << (8 * byte);
            if (head.size() < log_head || size > log_message_limit) fail(ErrorKind::system, "the log of the build is damaged");
            std::string message = log->read(at + log_head, size);
            if (message.size() != size) fail(ErrorKind::system, "the log of the build is damaged");
            return message;
        };
        const std::string message = co_await offload(pool_, std::move(work));
        at += log_head + message.size();
        co_await call.write(message);
    }
    co_return true;
}

asio::awaitable<HistoryBlobPtr> History::blob(oci::Digest digest) {
    for (const auto& [ref, ended] : pending_)
        if (const auto found = ended->blobs.find(digest); found != ended->blobs.end())
            co_return std::make_shared<const HistoryBlob>(found->second, clock_.wall());
    auto work = [this, digest = std::move(digest)] { return store_.blob(digest); };
    co_return co_await offload(pool_, std::move(work));
}

// --- what is changed -----------------------------------------------------------------------------------------------

asio::awaitable<void> History::update(wire::control::UpdateBuildHistoryRequest request) {
    if (request.ref().empty()) fail(ErrorKind::invalid_argument, "Ref: which build is not said");
    if (request.delete_()) {
        (void)co_await remove(request.ref());
        co_return;
    }
    if (request.finalize()) co_return co_await flushed();
    co_await pin(request.ref(), request.pinned());
}

asio::awaitable<std::vector<KeptBuild>> History::kept() {
    auto work = [this] { return store_.kept(); };
    co_return co_await offload(pool_, std::move(work));
}

asio::awaitable<bool> History::forget(std::string ref) {
    if (active_.contains(ref)) co_return false;
    co_return co_await remove(std::move(ref));
}

asio::awaitable<void> History::collect() {
    const Lane::Turn turn = co_await changing_.take();
    auto work = [this, now = clock_.wall()] { return store_.collect(limits_, now); };
    for (const std::string& each : co_await offload(pool_, std::move(work))) tell_removal(each);
}

void History::tell_removal(const std::string& ref) {
    HistoryRecord record;
    record.set_ref(ref);
    tell(wire::control::BUILD_HISTORY_EVENT_TYPE_DELETED, record);
}

asio::awaitable<bool> History::remove(std::string ref) {
    const Lane::Turn turn = co_await changing_.take();
    if (active_.contains(ref)) fail(ErrorKind::conflict, "build {} has not ended", ref);
    const bool was_pending = pending_.erase(ref) > 0;
    auto work = [this, ref] { return store_.remove({ref}); };
    const std::vector<std::string> gone = co_await offload(pool_, std::move(work));
    if (gone.empty() && !was_pending) co_return false;
    tell_removal(ref);
    co_return true;
}

asio::awaitable<void> History::pin(std::string ref, bool is_pinned) {
    const auto change = [is_pinned](HistoryRecord& record) {
        record.set_pinned(is_pinned);
        record.set_generation(record.generation() + 1);
    };
    const Lane::Turn turn = co_await changing_.take();
    (void)co_await write_pending();
    if (const auto found = pending_.find(ref); found != pending_.end()) {
        const auto changed = std::make_shared<Ended>(*found->second);
        change(changed->record);
        found->second = changed;
        co_return tell(wire::control::BUILD_HISTORY_EVENT_TYPE_COMPLETE, changed->record);
    }
    auto work = [this, ref, change] { return store_.change(ref, change); };
    const auto changed = co_await offload(pool_, std::move(work));
    if (!changed) fail(ErrorKind::not_found, "there is no record of a build {}", ref);
    tell(wire::control::BUILD_HISTORY_EVENT_TYPE_COMPLETE, *changed);
}

void History::add_to(grpc::Services& services) {
    services.add("/moby.buildkit.v1.Control/ListenBuildHistory", [this](grpc::ServerCall& call) { return listen(call); });
    services.add_unary<wire::control::UpdateBuildHistoryRequest>(
        "/moby.buildkit.v1.Control/UpdateBuildHistory",
        [this](grpc::ServerCall&,
               const wire::control::UpdateBuildHistoryRequest& request) -> asio::awaitable<wire::control::UpdateBuildHistoryResponse> {
            co_await update(request);
            co_return wire::control::UpdateBuildHistoryResponse{};
        });
}

}  // namespace grua::build
