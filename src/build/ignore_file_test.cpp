#include "build/ignore_file.hpp"

#include "base/error.hpp"

#include <gtest/gtest.h>

namespace grua::build {
namespace {

using Strings = std::vector<std::string>;

/// The walk of a context from its top to `path`.
bool walk(const IgnoreFile& file, std::string_view path) {
    IgnoreFile::Answer answer;
    for (std::size_t end = path.find('/'); end != std::string_view::npos; end = path.find('/', end + 1)) {
        answer = file.match(path.substr(0, end), answer.above);
    }
    return file.match(path, answer.above).ignored;
}

struct Case {
    std::string_view pattern;
    std::string_view path;
    bool ignored;
};

class IgnorePattern : public testing::TestWithParam<Case> {};

TEST_P(IgnorePattern, matches) {
    const auto& [pattern, path, ignored] = GetParam();
    const IgnoreFile file = IgnoreFile::parse(pattern);
    EXPECT_EQ(file.ignores(path), ignored) << pattern << " " << path;
    EXPECT_EQ(walk(file, path), ignored) << pattern << " " << path << " in a walk";
    EXPECT_EQ(file.match(path, {}).ignored, ignored) << pattern << " " << path << " alone";
}

INSTANTIATE_TEST_SUITE_P(OneName, IgnorePattern,
                         testing::Values(Case{"abc", "abc", true}, Case{"abc", "ab", false}, Case{"abc", "abcd", false},
                                         Case{"abc", "abc/d", true}, Case{"abc", "d/abc", false}, Case{"*", "abc", true},
                                         Case{"*", "a/b", true}, Case{"*c", "abc", true}, Case{"a*", "a", true}, Case{"a*", "ab/c", true},
                                         Case{"a*/b", "abc/b", true}, Case{"a*/b", "a/c/b", false},
                                         Case{"a*b*c*d*e*/f", "axbxcxdxexxx/f", true}, Case{"a*b*c*d*e*/f", "axbxcxdxe/xxx/f", false},
                                         Case{"a*b?c*x", "abxbbxdbxebxczzx", true}, Case{"a*b?c*x", "abxbbxdbxebxczzy", false},
                                         Case{"a?b", "a/b", false}, Case{"a*b", "a/b", false},
                                         Case{"a?b",
                                              "a\xE2\x98\xBA"
                                              "b",
                                              true},
                                         Case{"a???b",
                                              "a\xE2\x98\xBA"
                                              "b",
                                              false},
                                         Case{".*", ".foo", true}, Case{".*", "foo", false}, Case{"a.c", "abc", false},
                                         Case{"a(b)c|$+{", "a(b)c|$+{", true}, Case{"^a*", "^ab", true}, Case{"*.go", "a.go", true},
                                         Case{"*.go", "d/a.go", false}, Case{"a/*.txt", "a/b.txt", true},
                                         Case{"a/*.txt", "a/b/c.txt", false}));

INSTANTIATE_TEST_SUITE_P(Sets, IgnorePattern,
                         testing::Values(Case{"ab[c]", "abc", true}, Case{"ab[b-d]", "abc", true}, Case{"ab[e-g]", "abc", false},
                                         Case{"ab[^c]", "abc", false}, Case{"ab[^e-g]", "abc", true},
                                         Case{"a[^a]b",
                                              "a\xE2\x98\xBA"
                                              "b",
                                              true},
                                         Case{"[a-ζ]*", "α", true}, Case{"*[a-ζ]", "A", false}, Case{"[\\]a]", "]", true},
                                         Case{"[\\-]", "-", true}, Case{"[x\\-]", "x", true}, Case{"[x\\-]", "z", false},
                                         Case{"a]", "a]", true}, Case{"a[b-d]e", "aae", false}, Case{"[d-b]", "c", false}));

INSTANTIATE_TEST_SUITE_P(
    Deep, IgnorePattern,
    testing::Values(Case{"**", "a", true}, Case{"**", "a/b", true}, Case{"**/", "a/b", true}, Case{"**/a", "a", true},
                    Case{"**/a", "x/y/a", true}, Case{"**/a", "x/ya", false}, Case{"**a", "xa", true}, Case{"**a", "x/ya", true},
                    Case{"**a*", "xab", false}, Case{"a/**", "a", false}, Case{"a/**", "a/b", true}, Case{"a/**", "a/b/c", true},
                    Case{"a**", "abc/d", true}, Case{"a**/*.txt", "a/b/c.txt", true}, Case{"a**/*.txt", "a/c.txt", true},
                    Case{"**/*.txt", "c.txt", true}, Case{"**/**/*.txt", "c.txt", true}, Case{"**/**/*.txt", "a/b/c.txt", true},
                    Case{"**/f*.txt", "d/d/f1.txt", true}, Case{"a/**/b", "a/b", true}, Case{"a/**/b", "a/x/y/b", true},
                    Case{"a/**/b", "a/xb", false}, Case{"a/**/b/**", "a/x/b", false}, Case{"a/**/b/**", "a/x/b/c", true},
                    Case{"**/.foo", "bar.foo", false}, Case{"**/.foo", ".foo", true}, Case{"**/a/b", "x/a/b/c", true},
                    Case{"***", "a/b", true}, Case{"****", "a/b", true}, Case{"foo**bar", "foo/x/bar", true},
                    Case{"foo**bar", "foo/xbar", false}, Case{"foo**bar", "foox/bar", true}, Case{"foo**bar", "foobar", true}));

INSTANTIATE_TEST_SUITE_P(Lines, IgnorePattern,
                         testing::Values(Case{"# a", "# a", false}, Case{" # a", "# a", true}, Case{"\\#a", "#a", true},
                                         Case{"  a  \t", "a", true}, Case{"a b", "a b", true}, Case{"/a", "a", true},
                                         Case{"//a/", "a", true}, Case{"./a/../b/./c/", "b/c", true}, Case{"a/", "a/b", true},
                                         Case{"\r\n\na\r\n", "a", true},
                                         Case{"\xEF\xBB\xBF"
                                              "a",
                                              "a", true},
                                         Case{".", "a", false}, Case{"/", "a", false}, Case{"..", "a", false}, Case{"../a", "a", false},
                                         Case{"a\\*b", "a*b", true}, Case{"a\\*b", "axb", false}, Case{"a\\\\", "a\\", true},
                                         Case{"\\a\\b", "ab", true}, Case{"\\!a", "!a", true}));

INSTANTIATE_TEST_SUITE_P(Order, IgnorePattern,
                         testing::Values(Case{"*\n!a", "a", false}, Case{"*\n!a", "b", true}, Case{"!a\n*", "a", true},
                                         Case{"*.md\n!README*.md\nREADME-secret.md", "README-x.md", false},
                                         Case{"*.md\n!README*.md\nREADME-secret.md", "README-secret.md", true},
                                         Case{"**\n!a/b", "a/b/c", false}, Case{"**\n!a/b", "a/c", true},
                                         Case{"**\n!a/b\na/b/c", "a/b/c", true}, Case{"a\n!a/b", "a/b", false},
                                         Case{"a\n!a/b", "a/c", true}, Case{"a\n! a/b ", "a/b", false}, Case{"a\n!/a/b", "a/b", false},
                                         Case{"a\n!./a/b/", "a/b", false}, Case{"*\n!*.go", "d/x.go", true},
                                         Case{"*\n!**/*.go", "d/x.go", false}, Case{"a\n!**/b\na/x/*", "a/x/b", true},
                                         Case{"a/b\nc\n!a/b/d", "a/b/d/e", false}));

TEST(IgnoreFile, a_walk_forgets_what_changed_nothing_for_the_folder) {
    const IgnoreFile file = IgnoreFile::parse("a/b\n!a");
    EXPECT_FALSE(file.ignores("a/b"));
    EXPECT_TRUE(walk(file, "a/b")) << "as Docker sends a context";
    const IgnoreFile other = IgnoreFile::parse("a\n!**/b\na/x");
    EXPECT_TRUE(other.ignores("a/x/b"));
    EXPECT_FALSE(walk(other, "a/x/b"));
}

TEST(IgnoreFile, knows_where_an_exception_may_be) {
    struct Row {
        std::string_view source;
        std::string_view folder;
        bool walk;
    };
    for (const Row& row : {
             Row{"a", "a", false},
             Row{"a\n!b", "a", false},
             Row{"a\n!a/b/c", "a", true},
             Row{"a\n!a/b/c", "a/b", true},
             Row{"a\n!a/b/c", "a/b/c", false},
             Row{"a\n!a/b/c", "a/x", false},
             Row{"a\n!a*/c", "ab", true},
             Row{"a\n!a*/c", "b", false},
             Row{"a\n!**/c", "x/y", true},
             Row{"a\n!*.go", "x", false},
             Row{"a\n!x/**", "x", true},
             Row{"a\n!x/**", "y", false},
             Row{"a\n!x\\a/y", "xa", true},
         }) {
        EXPECT_EQ(IgnoreFile::parse(row.source).may_take_back_below(row.folder), row.walk) << row.source << " in " << row.folder;
    }
}

TEST(IgnoreFile, refuses_what_is_no_pattern) {
    for (const std::string_view pattern : {"[", "[]", "[a", "[^]", "[-x]", "[a-]", "[x-]a]", "a\\", "[\\", "[\xFF]", "*[", "a/[b"}) {
        try {
            static_cast<void>(IgnoreFile::parse("x\n" + std::string(pattern)));
            ADD_FAILURE() << pattern;
        } catch (const Error& error) {
            EXPECT_STREQ(error.what(), ".dockerignore line 2: syntax error in pattern") << pattern;
        }
    }
    for (const std::string_view pattern : {"!", "! "}) {
        try {
            static_cast<void>(IgnoreFile::parse(pattern));
            ADD_FAILURE();
        } catch (const Error& error) {
            EXPECT_STREQ(error.what(), ".dockerignore line 1: illegal exclusion pattern: \"!\"");
        }
    }
}

TEST(IgnoreFile, stands_hostile_patterns_and_paths) {
    std::string pattern;
    for (int i = 0; i < 5000; ++i) pattern += "*a";
    std::string deep;
    for (int i = 0; i < 1000; ++i) deep += "**/a/";
    const IgnoreFile file = IgnoreFile::parse(pattern + "b\n" + deep + "b\n" + std::string(30000, '[') + "]\n");
    EXPECT_FALSE(file.ignores(std::string(1000, 'a')));
    std::string path;
    for (int i = 0; i < 1000; ++i) path += "a/";
    EXPECT_FALSE(file.ignores(path + "c"));
    EXPECT_TRUE(file.ignores(path + "b"));
    EXPECT_FALSE(file.ignores(std::string("a\0b\xFF", 4)));
    EXPECT_TRUE(
        IgnoreFile::parse("a?b").ignores("a\xFF"
                                         "b"));
    EXPECT_FALSE(IgnoreFile::parse("a\xFE*").ignores("a\xFF"));
    EXPECT_TRUE(IgnoreFile::parse("a\xFF*").ignores("a\xFF"));

    EXPECT_THROW(IgnoreFile::parse(std::string(70000, 'a')), Error);
    std::string many;
    for (std::size_t i = 0; i <= ignore_pattern_limit; ++i) many += "a\n";
    EXPECT_THROW(IgnoreFile::parse(many), Error);
    EXPECT_TRUE(IgnoreFile::parse(std::string(1 << 20, '\n')).empty());
}

TEST(IgnoreFile, cleans_paths_as_go_does) {
    for (const auto& [path, clean] : std::initializer_list<std::pair<std::string_view, std::string_view>>{{"", "."},
                                                                                                          {"a//b", "a/b"},
                                                                                                          {"a/..", "."},
                                                                                                          {"/..", "/"},
                                                                                                          {"../..", "../.."},
                                                                                                          {"a/../../b", "../b"},
                                                                                                          {"/a/../../b", "/b"},
                                                                                                          {"a/b/", "a/b"}}) {
        EXPECT_EQ(clean_path(path), clean) << path;
    }
}

}  // namespace
}  // namespace grua::build
