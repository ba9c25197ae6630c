#include "engine/lifecycle/saver.hpp"

#include "base/files.hpp"
#include "base/log.hpp"
#include "store/database.hpp"

#include <unistd.h>
#include <algorithm>
#include <array>
#include <boost/asio/detached.hpp>
#include <filesystem>
#include <functional>
#include <set>

namespace grua::engine {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

constexpr auto first_delay = 1s;
constexpr auto longest_delay = 30s;

constexpr std::size_t description_limit = std::size_t{16} << 20U;
constexpr const char* not_in_database = "the database does not know it: an older one may have been put back";

/// The containers that have a description.
std::vector<std::string> described(const std::string& containers) {
    std::vector<std::string> out;
    if (containers.empty()) return out;
    std::error_code error;
    for (auto entry = fs::directory_iterator(containers, error); !error && entry != fs::directory_iterator(); entry.increment(error)) {
        std::error_code ignored;
        if (fs::exists(entry->path().string() + description_file, ignored)) out.push_back(entry->path().filename());
    }
    return out;
}

Error error_of(const std::exception& thrown) {
    const auto* known = dynamic_cast<const Error*>(&thrown);
    return known ? *known : Error(ErrorKind::system, thrown.what());
}

}  // namespace

/// One commit: what goes, and which of it did not.
struct Saver::Attempt {
    std::map<std::string, RecordPtr> batch;
    std::map<std::string, Error> failures;
};

Saver::Saver(asio::any_io_executor loop, asio::thread_pool& pool, store::Database& database, std::string containers)
    : loop_(loop),
      pool_(pool),
      database_(database),
      containers_(std::move(containers)),
      done_(loop),
      again_(std::move(loop)),
      delay_(first_delay) {}

void Saver::migrate(store::Database& database) {
    static constexpr std::array steps = {"CREATE TABLE containers (id TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID"};
    database.migrate("engine", steps);
}

Saver::Loaded Saver::load(store::Database& database, const std::string& containers) {
    Loaded out;
    std::set<std::string> rows;
    for (const auto& row : database.query("SELECT id, document FROM containers")) {
        rows.insert(row.text(0));
        StoredRecord read = read_stored(row.text(0), row.text(1));
        if (auto* record = std::get_if<ContainerRecord>(&read)) {
            out.records.push_back(std::move(*record));
        } else {
            auto& kept = std::get<UnreadableRecord>(read);
            log::error("container {}: {}; all of it is left as it is", kept.id, kept.reason);
            out.unreadable.push_back(std::move(kept));
        }
    }
    for (const std::string& id : described(containers)) {
        if (rows.contains(id)) continue;
        log::error("container {}: {}; all of it is left as it is", id, not_in_database);
        ContainerRecord known;
        try {
            const StoredRecord read = read_stored(id, read_file(containers + "/" + id + description_file, description_limit));
            const auto* record = std::get_if<ContainerRecord>(&read);
            known = record ? *record : std::get<UnreadableRecord>(read).shown;
        } catch (const Error& error) {
            log::warn("container {}: {}", id, error.what());
        }
        out.unreadable.push_back(kept_aside(id, not_in_database, std::move(known)));
    }
    return out;
}

void Saver::save(RecordPtr record) {
    if (record->host_config.auto_remove) return;
    std::string id = record->id;
    waiting_.insert_or_assign(std::move(id), std::move(record));
    ++queued_;
    begin();
}

void Saver::remove(const std::string& id) {
    waiting_.insert_or_assign(id, nullptr);
    ++queued_;
    begin();
}

void Saver::begin() {
    if (writing_) return;
    writing_ = true;
    again_.cancel();
    asio::co_spawn(loop_, write(), asio::detached);
}

void Saver::describe(const ContainerRecord& record) {
    if (containers_.empty()) return;
    try {
        const std::size_t hash = std::hash<std::string>{}(description_of(record));
        const auto known = described_.find(record.id);
        if (known != described_.end() && known->second == hash) return;
        replace_file(containers_ + "/" + record.id + description_file, to_json(record), 0600);
        described_.insert_or_assign(record.id, hash);
    } catch (const std::exception& error) {
        log::warn("container {}: its description: {}", record.id, error.what());  // the store has it
    }
}

/// On the pool; one at a time.
void Saver::commit(Attempt& attempt) {
    const auto put = [&](const std::string& id, const RecordPtr& record) {
        if (record)
            database_.execute(
                "INSERT INTO containers (id, document) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET document = excluded.document",
                {id, to_json(*record)});
        else
            database_.execute("DELETE FROM containers WHERE id = ?", {id});
    };
    for (const auto& [id, record] : attempt.batch) {
        if (record || containers_.empty()) continue;
        std::error_code ignored;
        fs::remove(containers_ + "/" + id + description_file, ignored);
        fs::remove(containers_ + "/" + id, ignored);  // where nothing else is in it any more
    }
    try {
        database_.transaction([&] {
            for (const auto& [id, record] : attempt.batch) put(id, record);
        });
    } catch (const std::exception&) {
        // Each by itself then. A removal may take the room that is kept for it.
        for (const auto& [id, record] : attempt.batch) {
            try {
                if (record)
                    put(id, record);
                else
                    database_.making_room([&] { put(id, record); });
            } catch (const std::exception& error) {
                attempt.failures.emplace(id, error_of(error));
            }
        }
    }
    for (const auto& [id, record] : attempt.batch) {
        if (attempt.failures.contains(id)) continue;
        if (record)
            describe(*record);
        else
            described_.erase(id);
    }
    if (attempt.failures.empty()) database_.keep_reserve();
}

asio::awaitable<void> Saver::write() {
    bool failed = false;
    while (!waiting_.empty() && !failed) {
        const auto attempt = std::make_shared<Attempt>();
        attempt->batch = waiting_;
        const std::uint64_t up_to = queued_;
        auto work = [this, attempt] {
            commit(*attempt);
            return true;
        };
        co_await offload(pool_, std::move(work));
        for (const auto& [id, record] : attempt->batch) {
            const auto failure = attempt->failures.find(id);
            if (failure != attempt->failures.end()) {
                if (!failures_.contains(id)) log::error("save container {}: {}; it is tried again", id, failure->second.what());
                failures_.insert_or_assign(id, failure->second);
                continue;
            }
            failures_.erase(id);
            const auto newest = waiting_.find(id);
            if (newest != waiting_.end() && newest->second == record) waiting_.erase(newest);
        }
        // The same record, queued again while it was written, has been tried as well.
        tried_ = waiting_.empty() ? queued_ : up_to;
        // What came meanwhile has not been tried yet.
        failed = queued_ == up_to && !attempt->failures.empty();
        done_.notify_all();
    }
    writing_ = false;
    if (failed)
        try_later();
    else
        delay_ = first_delay;
}

void Saver::try_later() {
    again_.expires_after(delay_);
    delay_ = std::min<std::chrono::seconds>(delay_ * 2, longest_delay);
    again_.async_wait([this](const boost::system::error_code& error) {
        if (!error && !waiting_.empty()) begin();
    });
}

asio::awaitable<void> Saver::tried_up_to(std::uint64_t mark) {
    while (tried_ < mark) co_await done_.wait();
}

asio::awaitable<void> Saver::flushed(std::string id) {
    co_await tried_up_to(queued_);
    if (const auto failure = failures_.find(id); failure != failures_.end()) throw Error(failure->second);
}

asio::awaitable<void> Saver::flushed() {
    co_await tried_up_to(queued_);
    if (!failures_.empty()) throw Error(failures_.begin()->second);
}

}  // namespace grua::engine
