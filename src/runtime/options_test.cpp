// Mount options, kernel parameters, limits and program names.
#include "runtime/mount_options.hpp"
#include "runtime/program.hpp"
#include "runtime/rlimits.hpp"
#include "runtime/sysctl.hpp"

#include "base/error.hpp"

#include <gmock/gmock.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>

namespace grua::runtime {
namespace {

using testing::ElementsAre;

TEST(MountOptionNames, AreSortedByWhoTakesThem) {
    const MountOptions options = parse_mount_options({"ro", "nosuid", "size=64k", "rslave", "mode=755"});
    EXPECT_EQ(options.top.set & (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID), std::uint64_t{MOUNT_ATTR_RDONLY} | MOUNT_ATTR_NOSUID);
    EXPECT_EQ(options.propagation, static_cast<unsigned long>(MS_SLAVE));
    EXPECT_EQ(options.propagation_recursion, linux::Recursion::recursive);
    EXPECT_THAT(options.filesystem, ElementsAre("size=64k", "mode=755"));
}

TEST(MountOptionNames, BindAndItsRecursion) {
    EXPECT_TRUE(parse_mount_options({"bind"}).bind);
    EXPECT_FALSE(parse_mount_options({"bind"}).recursive_bind);
    EXPECT_TRUE(parse_mount_options({"rbind"}).recursive_bind);
    EXPECT_TRUE(parse_mount_options({"tmpcopyup"}).copy_up);
}

TEST(MountOptionNames, RecursiveAttributesGoBelow) {
    const MountOptions options = parse_mount_options({"rbind", "rro"});
    EXPECT_EQ(options.below.set & MOUNT_ATTR_RDONLY, std::uint64_t{MOUNT_ATTR_RDONLY});
}

TEST(SysctlNames, FirstSeparatorDecides) {
    EXPECT_EQ(sysctl_path("net.ipv4.ip_forward"), "net/ipv4/ip_forward");
    EXPECT_EQ(sysctl_path("net/ipv4/ip_forward"), "net/ipv4/ip_forward");
    EXPECT_EQ(sysctl_path("net.ipv4.conf.eno2/100.rp_filter"), "net/ipv4/conf/eno2.100/rp_filter");
}

TEST(SysctlNames, CVE_2022_0811_NoWayOut) {
    for (const auto* name : {"net/../kernel/core_pattern", "net.../../kernel/core_pattern", "", "net..ipv4", "/net/ipv4"})
        EXPECT_THROW(sysctl_path(name), Error) << name;
}

TEST(SysctlNames, OnlyOfOwnNamespaces) {
    EXPECT_NO_THROW(check_sysctls({{"net.core.somaxconn", "1"}}, CLONE_NEWNET));
    EXPECT_THROW(check_sysctls({{"net.core.somaxconn", "1"}}, CLONE_NEWIPC), Error);
    EXPECT_NO_THROW(check_sysctls({{"kernel.shmmax", "1"}}, CLONE_NEWIPC));
    EXPECT_NO_THROW(check_sysctls({{"fs.mqueue.msg_max", "1"}}, CLONE_NEWIPC));
    EXPECT_THROW(check_sysctls({{"kernel.shmmax", "1"}}, CLONE_NEWNET), Error);
    EXPECT_THROW(check_sysctls({{"kernel.core_pattern", "|x"}}, ~std::uint64_t{0}), Error);
    EXPECT_THROW(check_sysctls({{"kernel.hostname", "x"}}, ~std::uint64_t{0}), Error);
}

TEST(Rlimits, Names) {
    EXPECT_EQ(rlimit_number("RLIMIT_NOFILE"), static_cast<int>(RLIMIT_NOFILE));
    EXPECT_EQ(rlimit_number("RLIMIT_CORE"), static_cast<int>(RLIMIT_CORE));
    EXPECT_FALSE(rlimit_number("NOFILE"));
    EXPECT_FALSE(rlimit_number(""));
}

std::string refusal(std::string_view name, ErrorKind kind) {
    try {
        return "found " + find_program(name, {"PATH=/nowhere:/bin"});
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), kind) << name;
        return error.what();
    }
}

TEST(Program, IsLookedUpInPath) {
    EXPECT_EQ(find_program("sh", {"PATH=/nowhere:/bin"}), "/bin/sh");
    EXPECT_EQ(find_program("/bin/sh", {}), "/bin/sh");
}

TEST(Program, MissingOnesHaveDockersWords) {
    EXPECT_EQ(refusal("no-such", ErrorKind::not_found), "exec: \"no-such\": executable file not found in $PATH");
    EXPECT_EQ(refusal("/no/such", ErrorKind::not_found), "exec: \"/no/such\": stat /no/such: no such file or directory");
    EXPECT_EQ(refusal("/etc/passwd", ErrorKind::forbidden), "exec: \"/etc/passwd\": permission denied");
    EXPECT_EQ(refusal("/etc", ErrorKind::forbidden), "exec: \"/etc\": is a directory");
}

TEST(Program, LastVariableWins) {
    EXPECT_EQ(variable({"A=1", "AB=2", "A=3"}, "A"), "3");
    EXPECT_EQ(variable({"A=1"}, "B"), "");
}

// D7
TEST(Environment, TheLastOfANameWins) {
    EXPECT_THAT(last_of_each({"A=1", "B=2", "A=3", "AB=4", "C", "A=5", "C"}), ElementsAre("B=2", "AB=4", "A=5", "C"));
    EXPECT_TRUE(last_of_each({}).empty());
}

}  // namespace
}  // namespace grua::runtime
