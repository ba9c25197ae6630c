#include "base/mapped_pages.hpp"

#include <gtest/gtest.h>
#include <sstream>

namespace grua {
namespace {

struct Base {
    virtual ~Base() = default;
    virtual int number() const { return 1; }
};
struct Derived final : Base {
    int number() const override { return 2; }
};

TEST(MappedPages, what_is_let_go_of_comes_back) {
    const Derived derived;
    const Base* volatile base = &derived;
    EXPECT_GT(let_go_of_mapped_pages(), 100'000U);
    // Tables of virtual functions are relocated: they were written, and stay.
    EXPECT_EQ(base->number(), 2);
    std::ostringstream out;
    out << 1.5 << " text";
    EXPECT_EQ(out.str(), "1.5 text");
    EXPECT_GT(let_go_of_mapped_pages(), 100'000U);
}

}  // namespace
}  // namespace grua
