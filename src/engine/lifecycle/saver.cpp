#include "engine/lifecycle/saver.hpp"

#include "base/log.hpp"
#include "store/database.hpp"

#include <array>
#include <boost/asio/detached.hpp>

namespace grua::engine {

Saver::Saver(asio::any_io_executor loop, asio::thread_pool& pool, store::Database& database)
    : loop_(loop), pool_(pool), database_(database), done_(std::move(loop)) {}

void Saver::migrate(store::Database& database) {
    static constexpr std::array steps = {"CREATE TABLE containers (id TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID"};
    database.migrate("engine", steps);
}

std::vector<ContainerRecord> Saver::load(store::Database& database) {
    std::vector<ContainerRecord> out;
    for (const auto& row : database.query("SELECT id, document FROM containers")) {
        try {
            out.push_back(record_from_json(row.text(1)));
        } catch (const Error& error) {
            log::error("container {}: its stored record cannot be read: {}", row.text(0), error.what());
        }
    }
    return out;
}

void Saver::save(const ContainerRecord& record) {
    if (record.host_config.auto_remove) return;
    waiting_.insert_or_assign(record.id, to_json(record));
    ++queued_;
    begin();
}

void Saver::remove(const std::string& id) {
    waiting_.insert_or_assign(id, std::nullopt);
    ++queued_;
    begin();
}

void Saver::begin() {
    if (writing_) return;
    writing_ = true;
    asio::co_spawn(loop_, write(), asio::detached);
}

asio::awaitable<void> Saver::write() {
    while (!waiting_.empty()) {
        auto batch = std::exchange(waiting_, {});
        const std::uint64_t up_to = queued_;
        auto commit = [this, batch = std::move(batch)] {
            database_.transaction([&] {
                for (const auto& [id, document] : batch) {
                    if (document)
                        database_.execute(
                            "INSERT INTO containers (id, document) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET document = "
                            "excluded.document",
                            {id, *document});
                    else
                        database_.execute("DELETE FROM containers WHERE id = ?", {id});
                }
            });
            return true;
        };
        try {
            co_await offload(pool_, std::move(commit));
            failure_.reset();
        } catch (const Error& error) {
            log::error("save containers: {}", error.what());
            failure_ = error;
        }
        written_ = up_to;
        done_.notify_all();
    }
    writing_ = false;
}

asio::awaitable<void> Saver::flushed() {
    const std::uint64_t mine = queued_;
    while (written_ < mine) co_await done_.wait();
    if (failure_) throw Error(*failure_);
}

}  // namespace grua::engine
