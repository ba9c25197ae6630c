#include "cli/build/why.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <deque>

namespace grua::cli {
namespace {

namespace made = wire::made;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// A build of "FROM busybox", "COPY a.txt /", "RUN make": what each test changes of it.
struct Made {
    std::string pin = "sha256:1";
    std::string key_of_base = "base";
    std::string copy = "[2/3] COPY a.txt /";
    std::string run = "[3/3] RUN make";
    std::string command = "make";
    std::vector<std::string> env{"PATH=/bin", "WORD=one"};
    std::string key_of_copy = "copied";
    std::map<std::string, std::string> files{{"a.txt", "aaaa"}};
    mode_t mode = S_IFREG | 0644;
    bool is_run_cached = false;
    bool is_copy_cached = false;
    bool anew = false;
};

made::MadeOf build_of(const Made& what) {
    made::MadeOf out;
    made::Step& base = *out.add_steps();
    base.set_vertex("v1");
    base.set_name("[1/3] FROM docker.io/library/busybox:latest");
    base.mutable_op()->mutable_source()->set_identifier("docker-image://docker.io/library/busybox:latest");
    base.set_pin(what.pin);
    base.set_definitionkey("d1" + what.pin);
    base.set_cached(what.pin == "sha256:1");
    made::Step& folder = *out.add_steps();
    folder.set_vertex("v0");
    folder.set_name("[internal] load build context");
    folder.mutable_op()->mutable_source()->set_identifier("local://context");
    folder.set_definitionkey("d0");
    made::Step& copy = *out.add_steps();
    copy.set_vertex("v2");
    copy.set_name(what.copy);
    auto& action = *copy.mutable_op()->mutable_file()->add_actions()->mutable_copy();
    action.set_src("/a.txt");
    action.set_dest("/");
    action.set_mode(-1);
    action.set_timestamp(-1);
    copy.set_definitionkey("d2");
    copy.set_cached(what.is_copy_cached);
    if (!what.is_copy_cached) copy.set_contentskey("c2");
    made::Input& below = *copy.add_inputs();
    below.set_vertex("v1");
    below.set_key(what.key_of_base);
    made::Input& files = *copy.add_inputs();
    files.set_vertex("v0");
    files.set_bycontents(true);
    for (const auto& [path, digest] : what.files) {
        files.set_key(files.key() + path + digest);
        made::File& file = *files.add_files();
        file.set_path(path);
        file.set_digest(digest);
        file.set_mode(what.mode);
        file.set_size(digest.size());
    }
    files.set_key(files.key() + std::to_string(what.mode));
    made::Step& run = *out.add_steps();
    run.set_vertex("v3");
    run.set_name(what.run);
    auto& meta = *run.mutable_op()->mutable_exec()->mutable_meta();
    for (const char* each : {"/bin/sh", "-c"}) meta.add_args(each);
    meta.add_args(what.command);
    for (const std::string& each : what.env) meta.add_env(each);
    run.set_definitionkey("d3");
    run.set_contentskey(what.is_run_cached ? "" : "c3");
    run.set_cached(what.is_run_cached);
    run.set_anew(what.anew);
    made::Input& copied = *run.add_inputs();
    copied.set_vertex("v2");
    copied.set_key(what.key_of_copy);
    return out;
}

/// What is said of the steps; `earlier` builds, the last one first.
std::vector<Explanation> why(const Made& now, const std::vector<Made>& earlier, const std::string& step = {}) {
    std::deque<Made> rest(earlier.begin(), earlier.end());
    return explain(build_of(now), step, [&]() -> std::optional<made::MadeOf> {
        if (rest.empty()) return std::nullopt;
        const made::MadeOf out = build_of(rest.front());
        rest.pop_front();
        return out;
    });
}

std::vector<std::string> reasons(const Made& now, const std::vector<Made>& earlier, const std::string& step) {
    const auto all = why(now, earlier, step);
    EXPECT_EQ(all.size(), 1U);
    return all.empty() ? std::vector<std::string>{} : all[0].reasons;
}

TEST(Why, a_file_is_told_with_what_it_was_and_is) {
    EXPECT_THAT(reasons({.files = {{"a.txt", "bbbbbb"}}}, {{}}, "COPY"),
                ElementsAre("file a.txt has changed: was 4B aaaa and is 6B bbbbbb now"));
    EXPECT_THAT(reasons({.mode = S_IFREG | 0755}, {{}}, "2"), ElementsAre("file a.txt has changed: its mode was 0644 and is 0755 now"));
    EXPECT_THAT(reasons({.files = {{"b.txt", "bb"}}}, {{}}, "2/3"),
                ElementsAre("file b.txt is new: 2B bb", "file a.txt is gone: it was 4B aaaa"));
    EXPECT_THAT(reasons({.mode = S_IFDIR | 0755}, {{}}, "copy a.txt"),
                ElementsAre("folder a.txt has changed: was a file and is a folder now"));
}

TEST(Why, of_many_files_the_first_are_told) {
    Made now;
    for (int number = 0; number < 9; ++number) now.files["f" + std::to_string(number)] = "x";
    const auto said = reasons(now, {{}}, "COPY");
    ASSERT_EQ(said.size(), 6U);
    EXPECT_EQ(said[0], "file f0 is new: 1B x");
    EXPECT_EQ(said[5], "so have 4 more files");
}

TEST(Why, a_variable_and_a_command_are_told_with_both_values) {
    EXPECT_THAT(reasons({.env = {"PATH=/bin", "WORD=two"}}, {{}}, "RUN"), ElementsAre("variable WORD was \"one\" and is \"two\" now"));
    EXPECT_THAT(reasons({.env = {"PATH=/bin", "MORE=x"}}, {{}}, "RUN"),
                ElementsAre("variable MORE is new: \"x\"", "variable WORD is gone: it was \"one\""));
    EXPECT_THAT(reasons({.run = "[3/3] RUN make all", .command = "make all"}, {{}}, "RUN"),
                ElementsAre("the command was \"make\" and is \"make all\" now"));
}

TEST(Why, a_base_is_told_by_its_digests_and_what_stands_on_it_by_its_name) {
    const Made now{.pin = "sha256:2", .key_of_base = "other base", .key_of_copy = "other"};
    EXPECT_THAT(reasons(now, {{}}, "FROM"),
                ElementsAre("the image docker.io/library/busybox:latest was \"sha256:1\" and is \"sha256:2\" now"));
    EXPECT_THAT(reasons(now, {{}}, "COPY"), ElementsAre("it stands on [1/3] FROM docker.io/library/busybox:latest, which was done again"));
    EXPECT_THAT(reasons(now, {{}}, "RUN"), ElementsAre("it stands on [2/3] COPY a.txt /, which was done again"));
}

TEST(Why, the_nearest_build_that_looked_at_the_step_counts) {
    // Of the last build nothing is known of it: it was cached as a whole.
    const Made cached{.is_run_cached = true, .is_copy_cached = true};
    EXPECT_THAT(reasons({.env = {"PATH=/bin", "WORD=two"}}, {cached, {}, {.env = {"PATH=/bin", "WORD=older"}}}, "RUN"),
                ElementsAre("variable WORD was \"one\" and is \"two\" now"));
    EXPECT_THAT(reasons({}, {}, "RUN"), ElementsAre("no earlier build of this is known that had this step"));
    EXPECT_THAT(reasons({}, {{}}, "RUN"), ElementsAre(HasSubstr("not in the cache any more")));
    EXPECT_THAT(reasons({.anew = true}, {{}}, "RUN"), ElementsAre(HasSubstr("--no-cache")));
}

TEST(Why, a_step_in_another_place_is_the_same_step) {
    // One was put in before it.
    Made now{.run = "[4/4] RUN make", .env = {"PATH=/bin", "WORD=two"}};
    now.copy = "[3/4] COPY a.txt /";
    EXPECT_THAT(reasons(now, {{}}, "RUN"), ElementsAre("variable WORD was \"one\" and is \"two\" now"));
}

TEST(Why, what_was_cached_and_the_folder_of_the_client_are_not_told) {
    const auto all = why({.is_run_cached = true, .is_copy_cached = true}, {{}});
    EXPECT_THAT(all, IsEmpty());
    EXPECT_EQ(explanations_text(all, ""), "All steps were in the cache.\n");
    EXPECT_THAT(explanations_text(why({}, {{}}, "RUN nothing"), "RUN nothing"), HasSubstr("No step that \"RUN nothing\" names"));
    EXPECT_EQ(explanations_text(why({.env = {"PATH=/bin", "WORD=two"}}, {{}}, "3"), "3"),
              "[3/3] RUN make\n    Variable WORD was \"one\" and is \"two\" now.\n");
}

}  // namespace
}  // namespace grua::cli
