#include "linux/mounts.hpp"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/stat.h>
#include <thread>

namespace grua::linux {
namespace {

dev_t mounted(const char* type) {
    struct stat about{};
    const Fd mount = make_filesystem(type, type, {}, 0);
    EXPECT_EQ(::fstat(mount.get(), &about), 0);
    return about.st_dev;
}

TEST(MountsTest, AHeldFileSystemIsTheOneThatIsMounted) {
    std::thread([] {
        ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
        const Fd held = hold_filesystem("sysfs");
        const dev_t first = mounted("sysfs");
        EXPECT_NE(mounted("tmpfs"), first);  // Which would get the number if the first was gone.
        EXPECT_EQ(mounted("sysfs"), first);
    }).join();
}

}  // namespace
}  // namespace grua::linux
