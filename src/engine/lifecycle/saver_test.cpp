#include "engine/lifecycle/saver.hpp"

#include "base/id.hpp"
#include "store/database.hpp"

#include <gtest/gtest.h>
#include <boost/asio/io_context.hpp>
#include <filesystem>

namespace grua::engine {
namespace {

template <typename Body>
void run_on_loop(asio::io_context& loop, Body body) {
    std::exception_ptr failure;
    asio::co_spawn(loop, body(), [&](const std::exception_ptr& thrown) { failure = thrown; });
    loop.run();
    loop.restart();
    if (failure) std::rethrow_exception(failure);
}

TEST(Saver, GroupsAndKeepsTheLast) {
    const std::string path = std::filesystem::temp_directory_path() / ("grua-saver-" + random_hex(6));
    std::filesystem::create_directories(path);
    {
        store::Database database(path + "/grua.db");
        Saver::migrate(database);
        asio::io_context loop;
        asio::thread_pool pool(2);
        Saver saver(loop.get_executor(), pool, database);
        ContainerRecord record;
        run_on_loop(loop, [&]() -> asio::awaitable<void> {
            for (int i = 0; i < 20; ++i) {
                record.id = "id" + std::to_string(i % 10);
                record.restart_count = i;
                saver.save(record);
            }
            saver.remove("id3");
            co_await saver.flushed();
        });
        const auto stored = Saver::load(database);
        ASSERT_EQ(stored.size(), 9U);
        for (const auto& each : stored) EXPECT_GE(each.restart_count, 10);
    }
    std::filesystem::remove_all(path);
}

}  // namespace
}  // namespace grua::engine
