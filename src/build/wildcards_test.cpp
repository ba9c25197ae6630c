#include "build/wildcards.hpp"

#include "base/error.hpp"
#include "base/files.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <filesystem>

namespace grua::build {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;

TEST(Wildcards, ANameMatchesAsInGo) {
    const struct {
        std::string pattern;
        std::string name;
        bool matches;
    } cases[] = {
        {"abc", "abc", true},
        {"*", "abc", true},
        {"*c", "abc", true},
        {"a*", "a", true},
        {"a*", "ab/c", false},
        {"a*/b", "abc/b", true},
        {"a*/b", "a/c/b", false},
        {"a*b*c*d*e*", "axbxcxdxe", true},
        {"a*b?c*x", "abxbbxdbxebxczzx", true},
        {"ab[c]", "abc", true},
        {"ab[b-d]", "abc", true},
        {"ab[e-g]", "abc", false},
        {"ab[^c]", "abc", false},
        {"ab[^e-g]", "abc", true},
        {"a\\*b", "a*b", true},
        {"a\\*b", "ab", false},
        {"a?b",
         "a\xE2\x98\xBA"
         "b",
         true},
        {"a[^a]b",
         "a\xE2\x98\xBA"
         "b",
         true},
        {"a???b",
         "a\xE2\x98\xBA"
         "b",
         false},
        {"[a-\xCE\xB6]*", "\xCE\xB1", true},
        {"*[a-\xCE\xB6]", "A", false},
        {"a?b", "a/b", false},
        {"a*b", "a/b", false},
        {"a[^x]b", "a/b", true},
        {"[\\]a]", "]", true},
        {"[\\-x]", "-", true},
        {"[x\\-]", "-", true},
        {"[]a]", "]", false},
        {"[-]", "-", false},
        {"[x-]", "x", false},
        {"[-x]", "x", false},
        {"\\", "a", false},
        {"[a-b-c]", "a", false},
        {"[", "a", false},
        {"[^", "a", false},
        {"[^bc", "a", false},
        {"a[", "a", false},
        {"a[", "ab", false},
        {"*x", "xxx", true},
        {"**", "a/b", false},
        {"**/c", "a/b/c", false},
        {"**/c", "a/c", true},
        {"*a*b/c", "xaab/c", true},
        {"?", "\xFF", true},
        {"", "", true},
        {"", "a", false},
        {"*", "", true},
        {"*.txt", ".txt", true},
        {"a**b", "axyb", true},
    };
    for (const auto& each : cases) EXPECT_EQ(matches_wildcards(each.pattern, each.name), each.matches) << each.pattern << " " << each.name;
}

TEST(Wildcards, NoPatternTakesLong) {
    std::string pattern;
    for (int count = 0; count < 2000; ++count) pattern += "*a";
    EXPECT_FALSE(matches_wildcards(pattern + "b", std::string(4000, 'a')));
}

TEST(Wildcards, ABackslashTakesThemAway) {
    EXPECT_TRUE(has_wildcards("/a*"));
    EXPECT_TRUE(has_wildcards("/a?"));
    EXPECT_TRUE(has_wildcards("[a"));
    EXPECT_TRUE(has_wildcards("\\\\*"));
    EXPECT_FALSE(has_wildcards("\\*\\?\\["));
    EXPECT_FALSE(has_wildcards("a]"));
}

class ExpandWildcards : public testing::Test {
protected:
    ExpandWildcards() {
        std::string path = fs::temp_directory_path() / "grua-wildcards-XXXXXX";
        work_ = ::mkdtemp(path.data());
        for (const char* folder : {"/d/a", "/d/ab/c", "/d/b/x"}) fs::create_directories(work_ + folder);
        for (const char* file : {"/d/a.txt", "/d/ab/c/x.txt", "/d/b/x.txt", "/d/b/x/y.txt", "/top*", "/d/f-g"})
            replace_file(work_ + file, "");
        fs::create_symlink("d", work_ + "/link");
        fs::create_symlink("/d", work_ + "/absolute");
        fs::create_symlink("nothing", work_ + "/d/dangling");
    }
    ~ExpandWildcards() override { fs::remove_all(work_); }

    std::vector<std::string> expand(std::string_view path, LastLink links = LastLink::follow) const {
        return expand_wildcards(Root::open(work_.c_str()), path, links, {});
    }

    std::string work_;
};

TEST_F(ExpandWildcards, FoldersAreGoneThroughByName) {
    EXPECT_THAT(expand("/d/*"), ElementsAre("/d/a", "/d/a.txt", "/d/ab", "/d/b", "/d/dangling", "/d/f-g"));
    EXPECT_THAT(expand("d/*/x*"), ElementsAre("/d/b/x", "/d/b/x.txt"));
    EXPECT_THAT(expand("/d/?/"), ElementsAre("/d/a", "/d/b"));
    EXPECT_THAT(expand("/d/[ab]*/*"), ElementsAre("/d/ab/c", "/d/b/x", "/d/b/x.txt"));
    EXPECT_THAT(expand("/d/*/*/*.txt"), ElementsAre("/d/ab/c/x.txt", "/d/b/x/y.txt"));
    EXPECT_THAT(expand("/*/b"), ElementsAre("/d/b"));
    EXPECT_THAT(expand("/q*"), IsEmpty());
    EXPECT_THAT(expand("/d/["), IsEmpty());
    EXPECT_THAT(expand("/d/a.txt/*"), IsEmpty());
}

TEST_F(ExpandWildcards, AClassMayTakeASlash) {
    EXPECT_THAT(expand("/d/b[^q]x"), ElementsAre("/d/b/x"));
    EXPECT_THAT(expand("/d/f[+-0]g"), ElementsAre("/d/f-g"));
}

TEST_F(ExpandWildcards, WithoutOneThePathIsCleanedAndNotLookedFor) {
    EXPECT_THAT(expand("/missing/./x/"), ElementsAre("/missing/x"));
    EXPECT_THAT(expand("/d/."), ElementsAre("/d"));
    EXPECT_THAT(expand("/"), ElementsAre("/"));
    EXPECT_THAT(expand("/top\\*"), ElementsAre("/top\\*"));
    EXPECT_THAT(expand("/top\\**"), ElementsAre("/top*"));
}

TEST_F(ExpandWildcards, LinksInFrontAreFollowedInsideTheRoot) {
    EXPECT_THAT(expand("/link/*.txt"), ElementsAre("/d/a.txt"));
    EXPECT_THAT(expand("/absolute/*.txt"), ElementsAre("/d/a.txt"));
    EXPECT_THAT(expand("/link/*.txt", LastLink::keep), IsEmpty());
    EXPECT_THAT(expand("/link/b/*.txt", LastLink::keep), ElementsAre("/d/b/x.txt"));
    EXPECT_THAT(expand("/l*/b"), IsEmpty()) << "a link that a wildcard finds is not gone into";
    EXPECT_THROW((void)expand("/missing/*"), Error);
}

}  // namespace
}  // namespace grua::build
