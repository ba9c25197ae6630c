#include "images/image_store.hpp"
#include "images/words.hpp"

#include "base/error.hpp"

#include <gtest/gtest.h>

namespace grua::images {
namespace {

using Strings = std::vector<std::string>;

oci::ImageRunConfig changed(const Strings& changes) {
    oci::ImageRunConfig config;
    apply_changes(config, changes);
    return config;
}

TEST(Changes, command_lines_have_two_forms) {
    EXPECT_EQ(changed({R"(CMD ["a", "b c"])"}).cmd, (Strings{"a", "b c"}));
    EXPECT_EQ(changed({"cmd echo $HOME"}).cmd, (Strings{"/bin/sh", "-c", "echo $HOME"}));
    EXPECT_EQ(changed({"CMD [not json]"}).cmd, (Strings{"/bin/sh", "-c", "[not json]"}));
    EXPECT_EQ(changed({"CMD []"}).cmd, Strings{});
    EXPECT_EQ(changed({R"(ENTRYPOINT ["/e"])"}).entrypoint, Strings{"/e"});
    oci::ImageRunConfig config;
    config.cmd = Strings{"old"};
    apply_changes(config, {"ENTRYPOINT [\"/e\"]"});
    EXPECT_FALSE(config.cmd);
    EXPECT_EQ(changed({"CMD [\"c\"]", "ENTRYPOINT [\"/e\"]"}).cmd, Strings{"c"});
}

TEST(Changes, environment_and_labels) {
    EXPECT_EQ(changed({"ENV A=1 B=\"two words\" C=a\\ b", "ENV A=$B!"}).env, (Strings{"A=two words!", "B=two words", "C=a b"}));
    EXPECT_EQ(changed({"ENV A the rest 'of it'"}).env, Strings{"A=the rest of it"});
    EXPECT_EQ(changed({"LABEL a=b \"c d\"='e f'", "LABEL x=${a:-none}"}).labels,
              (std::map<std::string, std::string>{{"a", "b"}, {"c d", "e f"}, {"x", "none"}}));
    EXPECT_EQ(changed({"ENV A=1 \\\n  # a comment\n  B=2"}).env, (Strings{"A=1", "B=2"}));
    EXPECT_THROW(changed({"ENV A"}), Error);
    EXPECT_THROW(changed({"ENV A=1 B"}), Error);
    EXPECT_THROW(changed({"ENV A=\"1"}), Error);
}

TEST(Changes, variables_that_grow_without_end_are_refused) {
    Strings lines{"ENV a=0123456789012345"};
    for (int n = 0; n < 64; ++n) lines.emplace_back("ENV a=$a$a");
    EXPECT_THROW(changed(lines), Error);
    std::string deep;
    for (int n = 0; n < 5000; ++n) deep += "${x:-";
    EXPECT_THROW(changed({"USER " + deep + std::string(5000, '}')}), Error);
}

TEST(Changes, the_other_instructions) {
    const oci::ImageRunConfig config =
        changed({"USER 1000:0", "WORKDIR /a", "WORKDIR b/../c/", "EXPOSE 80 53/udp 8000-8002", "VOLUME /x \"/y z\"", "VOLUME [\"/j\"]",
                 "STOPSIGNAL SIGRTMIN+3", "ONBUILD RUN x", "HEALTHCHECK --interval=1m30s --retries=2 CMD true"});
    EXPECT_EQ(config.user, "1000:0");
    EXPECT_EQ(config.working_dir, "/a/c");
    EXPECT_EQ(config.exposed_ports.size(), 5U);
    EXPECT_TRUE(config.exposed_ports.contains("53/udp"));
    EXPECT_TRUE(config.exposed_ports.contains("8001/tcp"));
    EXPECT_EQ(config.volumes.size(), 3U);
    EXPECT_TRUE(config.volumes.contains("/y z"));
    EXPECT_EQ(config.stop_signal, "SIGRTMIN+3");
    EXPECT_EQ(config.on_build, Strings{"RUN x"});
    EXPECT_EQ(config.healthcheck->interval, 90'000'000'000);
    EXPECT_EQ(config.healthcheck->test, (Strings{"CMD-SHELL", "true"}));
    EXPECT_EQ(changed({"HEALTHCHECK NONE"}).healthcheck->test, Strings{"NONE"});
}

TEST(Changes, what_is_no_change_is_refused) {
    for (const char* line : {"RUN x", "FROM a", "COPY a b", "ADD a b", "nonsense", "STOPSIGNAL SIGNOTHING", "EXPOSE 0", "EXPOSE 99999",
                             "EXPOSE 80/icmp", "USER", "VOLUME", "ONBUILD ONBUILD x", "HEALTHCHECK maybe", "ENV a=\\"}) {
        EXPECT_THROW(changed({line}), Error) << line;
    }
    try {
        changed({"RUN x"});
    } catch (const Error& error) {
        EXPECT_STREQ(error.what(), "RUN is not a valid change command");
    }
}

TEST(Words, quotes_and_variables) {
    const Variable variable = [](std::string_view name) { return name == "x" ? std::string("1 2") : std::string(); };
    EXPECT_EQ(expand_word("'$x'\"$x\"\\$x${x:+y}${n:+y}${n:-$x}$", variable), "$x1 2$xy1 2$");
    EXPECT_EQ(split_words("a 'b c'  d\\ e \"f \\\" g\""), (Strings{"a", "'b c'", "d\\ e", "\"f \\\" g\""}));
    EXPECT_THROW(expand_word("${x", variable), Error);
    EXPECT_THROW(expand_word("${x:?e}", variable), Error);
}

}  // namespace
}  // namespace grua::images
