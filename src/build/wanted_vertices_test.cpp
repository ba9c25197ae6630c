#include "build/wanted_vertices.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace grua::build {
namespace {

using testing::ElementsAre;

TEST(WantedVertices, those_who_want_one_are_asked_behind_the_first_for_as_long_as_they_do) {
    WantedVertices wanted;
    const auto one = wanted.add("one", {"a", "b"});
    auto two = wanted.add("two", {"b"});
    const auto again = wanted.add("two", {"b", "c"});
    EXPECT_THAT(wanted.by("a", "one"), ElementsAre("one"));
    EXPECT_THAT(wanted.by("b", "one"), ElementsAre("one", "two"));
    EXPECT_THAT(wanted.by("b", "two"), ElementsAre("two", "one"));
    EXPECT_THAT(wanted.by("nothing", "three"), ElementsAre("three"));
    two = nullptr;
    EXPECT_THAT(wanted.by("b", "one"), ElementsAre("one", "two"));
    EXPECT_THAT(wanted.by("c", "one"), ElementsAre("one", "two"));
}

}  // namespace
}  // namespace grua::build
