// Records on their way to the store. Changes are grouped: whatever is waiting when a commit begins goes with it, so ten
// containers cost about what one does. Containers that go with their exit are not stored, their record is kept in the
// exec root only.
#pragma once

#include "base/async.hpp"
#include "base/condition.hpp"
#include "engine/model/record.hpp"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace grua::store {
class Database;
}

namespace grua::engine {

class Saver {
public:
    Saver(asio::any_io_executor loop, asio::thread_pool& pool, store::Database& database);

    /// Makes the table; from the pool or before there is one.
    static void migrate(store::Database& database);
    static std::vector<ContainerRecord> load(store::Database& database);

    /// Queues; durable some milliseconds later.
    void save(const ContainerRecord& record);
    void remove(const std::string& id);

    /// Until everything queued so far is durable. Throws what the store threw.
    asio::awaitable<void> flushed();

private:
    asio::awaitable<void> write();
    void begin();

    asio::any_io_executor loop_;
    asio::thread_pool& pool_;
    store::Database& database_;
    Condition done_;
    std::map<std::string, std::optional<std::string>> waiting_;  ///< Nothing: to be deleted.
    std::uint64_t queued_ = 0;
    std::uint64_t written_ = 0;
    bool writing_ = false;
    std::optional<Error> failure_;
};

}  // namespace grua::engine
