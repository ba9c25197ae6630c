#include "linux/capabilities.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/text.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <functional>

namespace grua::linux {
namespace {

using ::testing::ElementsAre;

CapabilitySet set_of(const std::vector<std::string>& names) { return parse_capabilities(names).set; }

int in_child(const std::function<int()>& body) {
    const pid_t pid = ::fork();
    if (pid == 0) {
        int result = 99;
        try {
            result = body();
        } catch (const Error&) {
        }
        ::_exit(result);
    }
    int status = 0;
    ::waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(Capabilities, NamesAndNumbers) {
    EXPECT_EQ(capability_number("CAP_CHOWN"), 0U);
    EXPECT_EQ(capability_number("CAP_CHECKPOINT_RESTORE"), 40U);
    EXPECT_EQ(capability_number("chown"), std::nullopt);
    EXPECT_EQ(capability_name(21), "CAP_SYS_ADMIN");
    EXPECT_EQ(capability_name(41), "");
    for (unsigned number = 0; number <= 40; ++number) EXPECT_EQ(capability_number(capability_name(number)), number);
}

TEST(Capabilities, ParsesAndTellsTheUnknown) {
    const auto parsed = parse_capabilities({"CAP_KILL", "CAP_FLY", "CAP_CHOWN"});
    EXPECT_THAT(capability_names(parsed.set), ElementsAre("CAP_CHOWN", "CAP_KILL"));
    EXPECT_THAT(parsed.unknown, ElementsAre("CAP_FLY"));
}

TEST(Capabilities, TheLastIsTheKernels) {
    EXPECT_EQ(std::to_string(last_capability()), trim(read_file("/proc/sys/kernel/cap_last_cap")));
    EXPECT_TRUE(known_capabilities().has(0));
    EXPECT_FALSE(known_capabilities().has(63));
}

TEST(Capabilities, GivesExactlyWhatIsAsked) {
    if (::geteuid() != 0 || !current_capabilities().effective.has(8)) GTEST_SKIP() << "needs CAP_SETPCAP";
    const auto few = set_of({"CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_CHECKPOINT_RESTORE"});
    const auto ambient = set_of({"CAP_NET_BIND_SERVICE"});
    EXPECT_EQ(in_child([&] {
                  limit_bounding(few);
                  ::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
                  if (::setresuid(1000, 1000, 1000) != 0) return 1;
                  set_capabilities({.bounding = few, .effective = few, .inheritable = ambient, .permitted = few, .ambient = few});
                  const auto now = current_capabilities();
                  if (now.bounding != few) return 2;
                  if (now.effective != few || now.permitted != few) return 3;
                  return now.inheritable == ambient && now.ambient == ambient ? 0 : 4;
              }),
              0);
    EXPECT_EQ(in_child([&] {
                  limit_bounding({});
                  set_capabilities({});
                  limit_bounding({});
                  return current_capabilities().bounding == CapabilitySet{} && ::setresuid(1, 1, 1) != 0 ? 0 : 1;
              }),
              0);
}

}  // namespace
}  // namespace grua::linux
