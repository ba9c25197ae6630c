#include "base/prepared.hpp"

#include <gtest/gtest.h>

namespace grua {
namespace {

struct Value {
    int number = 0;
    Prepared prepared;
    bool operator==(const Value&) const = default;
};

TEST(Prepared, IsMadeOnceForEachKey) {
    const Value value{.number = 7, .prepared = {}};
    int made = 0;
    const auto ask = [&](std::uint32_t key) {
        return value.prepared.get(key, [&] {
            ++made;
            return PreparedText{.text = std::to_string(key), .gap = 0};
        });
    };
    EXPECT_EQ(ask(1)->text, "1");
    EXPECT_EQ(ask(2)->text, "2");
    EXPECT_EQ(ask(1)->text, "1");
    EXPECT_EQ(made, 2);
}

TEST(Prepared, OfManyKeysTheLastAreKept) {
    const Value value;
    int made = 0;
    const auto ask = [&](std::uint32_t key) {
        return value.prepared.get(key, [&] {
            ++made;
            return PreparedText{};
        });
    };
    for (std::uint32_t key = 0; key < 10; ++key) ask(key);
    made = 0;
    ask(9);
    EXPECT_EQ(made, 0);
    ask(0);
    EXPECT_EQ(made, 1);
}

TEST(Prepared, ACopyHasNoneAndEqualsItsOriginal) {
    const Value first;
    first.prepared.get(1, [] { return PreparedText{.text = "old", .gap = 0}; });
    Value second = first;
    EXPECT_EQ(first, second);
    second.number = 8;
    EXPECT_EQ(second.prepared.get(1, [] { return PreparedText{.text = "new", .gap = 0}; })->text, "new");
    EXPECT_EQ(first.prepared.get(1, [] { return PreparedText{.text = "none", .gap = 0}; })->text, "old");
    Value third;
    third.prepared.get(1, [] { return PreparedText{.text = "stale", .gap = 0}; });
    third = first;
    EXPECT_EQ(third.prepared.get(1, [] { return PreparedText{.text = "fresh", .gap = 0}; })->text, "fresh");
}

}  // namespace
}  // namespace grua
