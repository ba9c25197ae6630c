#include "engine/model/state_machine.hpp"

#include "base/error.hpp"
#include "engine/lifecycle/container.hpp"

#include <gtest/gtest.h>
#include <boost/asio/io_context.hpp>

namespace grua::engine {
namespace {

constexpr std::array all{Status::created, Status::running,  Status::paused, Status::restarting,
                         Status::exited,  Status::removing, Status::dead};

static_assert(may_change(Status::created, Status::running) && !may_change(Status::removing, Status::running));

TEST(StateMachine, EveryPair) {
    // Rows: from. Columns: to, in the same order.
    constexpr std::array<std::string_view, all.size()> table{
        "yy...y.",  // created
        ".yy.y..",  // running
        ".yy.y..",  // paused
        ".y.yyy.",  // restarting
        ".y.yyy.",  // exited
        ".....y.",  // removing
        ".....yy",  // dead
    };
    for (std::size_t from = 0; from < all.size(); ++from)
        for (std::size_t to = 0; to < all.size(); ++to)
            EXPECT_EQ(may_change(all.at(from), all.at(to)), table.at(from)[to] == 'y')
                << to_string(all.at(from)) << " to " << to_string(all.at(to));
}

TEST(StateMachine, AnUpdateIsHeldToIt) {
    asio::io_context loop;
    ContainerRecord record;
    record.id = "abc";
    Container container(loop.get_executor(), record);
    container.update([](ContainerRecord& next) { next.state.status = Status::removing; });
    const RecordPtr before = container.record;
    try {
        container.update([](ContainerRecord& next) {
            next.name = "other";
            next.state.status = Status::running;
        });
        FAIL() << "a container that is being removed runs";
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::conflict);
        EXPECT_STREQ(error.what(), "container abc is removing: it cannot become running");
    }
    EXPECT_EQ(container.record, before);
    container.update([](ContainerRecord& next) { next.name = "other"; });
    EXPECT_EQ(container.record->name, "other");
    // The daemon ended in the middle of the removal.
    container.found([](ContainerRecord& next) { next.state.status = Status::exited; });
    EXPECT_EQ(container.record->state.status, Status::exited);
}

}  // namespace
}  // namespace grua::engine
