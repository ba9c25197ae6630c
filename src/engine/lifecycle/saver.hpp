// Records on their way to the store. Changes are grouped: whatever is waiting when a commit begins goes with it, so ten
// containers cost about what one does. Containers that go with their exit are not stored, their record is kept in the
// exec root only.
//
// Nothing that was asked for is dropped: what the store did not take stays and is tried again, by itself and with what comes next,
// and one record that it refuses keeps none of the others back. Whoever waits for a record is told of the last attempt. A change
// that a client is refused because of that is to be undone by whoever made it, and saved again as it was: the newest save counts.
//
// Beside a container's log lies a description of it, written after its row and gone before that: what the store knows of it, for the
// day on which the database is lost (rebuild.hpp).
#pragma once

#include "base/async.hpp"
#include "base/condition.hpp"
#include "engine/model/stored_record.hpp"

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace grua::store {
class Database;
}

namespace grua::engine {

/// In a container's folder: its record as it was when it last changed otherwise than by running.
inline constexpr const char* description_file = "/record.json";

class Saver {
public:
    /// `containers`: the folder whose <id>/ get the descriptions; none are written where it is empty.
    Saver(asio::any_io_executor loop, asio::thread_pool& pool, store::Database& database, std::string containers = {});

    /// Makes the table; from the pool or before there is one.
    static void migrate(store::Database& database);

    struct Loaded {
        std::vector<ContainerRecord> records;
        /// Each is a container: whatever has its ID is to be left as it is, whether it runs or not.
        std::vector<UnreadableRecord> unreadable;
    };
    /// A description (see above) without a row is such a container too: an older database may have been put back.
    static Loaded load(store::Database& database, const std::string& containers = {});

    /// Queues; durable some milliseconds later. Not for a container whose record could not be read: its row stays as it is.
    void save(RecordPtr record);
    void save(const ContainerRecord& record) { save(std::make_shared<const ContainerRecord>(record)); }
    void remove(const std::string& id);

    /// Until what was queued so far of this container has been tried. Throws what the store threw where that is not durable.
    asio::awaitable<void> flushed(std::string id);

    /// Until everything queued so far has been tried. Throws what the store threw where anything is not durable, whose it ever is.
    asio::awaitable<void> flushed();

    store::Database& database() noexcept { return database_; }

private:
    struct Attempt;
    asio::awaitable<void> write();
    void begin();
    void try_later();
    asio::awaitable<void> tried_up_to(std::uint64_t mark);
    void commit(Attempt& attempt);
    void describe(const ContainerRecord& record);

    asio::any_io_executor loop_;
    asio::thread_pool& pool_;
    store::Database& database_;
    const std::string containers_;
    Condition done_;
    std::map<std::string, RecordPtr> waiting_;  ///< Null: to be deleted.
    std::map<std::string, Error> failures_;     ///< Of those that are waiting: why the last attempt did not take them.
    std::uint64_t queued_ = 0;
    std::uint64_t tried_ = 0;
    bool writing_ = false;
    asio::steady_timer again_;
    std::chrono::seconds delay_;
    std::map<std::string, std::size_t> described_;  ///< Hashes of what was written; used by commit() alone.
};

}  // namespace grua::engine
