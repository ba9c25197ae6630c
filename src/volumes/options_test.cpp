#include "volumes/options.hpp"

#include "base/error.hpp"

#include <gtest/gtest.h>
#include <sys/mount.h>

namespace grua::volumes {
namespace {

std::string refused(const OptionMap& options) {
    try {
        check_options(options);
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::invalid_argument) << error.what();
        return error.what();
    }
    return "";
}

TEST(VolumeOptionsTest, AreRefusedInDockersWords) {
    EXPECT_EQ(refused({{"foo", "bar"}}), "invalid option: \"foo\"");
    EXPECT_EQ(refused({{"type", "tmpfs"}}), "missing required option: \"device\"");
    EXPECT_EQ(refused({{"device", "tmpfs"}}), "missing required option: \"type\"");
    EXPECT_EQ(refused({{"o", "ro"}}), "missing required option: \"device\"");
    EXPECT_EQ(refused({{"o", "ro"}, {"device", "x"}}), "missing required option: \"type\"");
    EXPECT_EQ(refused({{"size", "much"}}), "invalid size: 'much'");
    EXPECT_EQ(refused({{"type", "cifs"}, {"device", "//host:445/x"}, {"o", ""}}),
              "port not allowed in CIFS device URL, include 'port' in 'o='");
    EXPECT_EQ(refused({{"type", "tmpfs"}, {"device", "tmpfs"}, {"o", "size=1m,uid=1000"}}), "");
    EXPECT_EQ(refused({{"type", ""}, {"device", ""}}), "") << "as in Docker: the mount says it";
}

// Words of mount(2) and mount(8) that would change another mount, or the source.
TEST(VolumeOptionsTest, NoneOfThemReachesAnotherMount) {
    for (const char* o :
         {"remount", "ro,remount", "move", "source=/etc", "bind,move", "rw,source=", "tmpcopyup", "unbindable", "idmap", "rro", "=x"})
        EXPECT_NE(refused({{"type", "none"}, {"device", "/srv"}, {"o", o}}), "") << o;
    EXPECT_NE(refused({{"type", "none"}, {"device", "srv/../etc"}, {"o", "bind"}}), "") << "relative to a folder that nobody has said";
    EXPECT_NE(refused({{"type", "nfs"}, {"device", ":/x\nsource"}, {"o", "addr=10.0.0.1"}}), "");
    EXPECT_NE(refused({{"type", "nfs"}, {"device", ":/x"}, {"o", std::string(5000, 'a')}}), "");
}

TEST(VolumeOptionsTest, ABindIsOfItsDevice) {
    const auto plan = mount_plan({{"type", "none"}, {"device", "/srv/x"}, {"o", "rbind,ro,noexec"}});
    ASSERT_TRUE(plan);
    EXPECT_TRUE(plan->order.is_bind);
    EXPECT_EQ(plan->order.recursion, linux::Recursion::recursive);
    EXPECT_EQ(plan->order.attributes, std::uint64_t{MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOEXEC});
    EXPECT_TRUE(plan->order.settings.empty());
}

TEST(VolumeOptionsTest, AFileSystemGetsItsOwnWords) {
    const auto plan = mount_plan({{"type", "nfs"}, {"device", ":/export"}, {"o", "addr=10.0.0.7,nolock,ro,vers=4.2,nosuid"}});
    ASSERT_TRUE(plan);
    EXPECT_FALSE(plan->order.is_bind);
    using Settings = std::vector<std::pair<std::string, std::string>>;
    EXPECT_EQ(plan->order.settings, (Settings{{"ro", ""}, {"addr", "10.0.0.7"}, {"nolock", ""}, {"vers", "4.2"}}));
    EXPECT_EQ(plan->order.attributes, std::uint64_t{MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID});
    EXPECT_EQ(plan->server, "10.0.0.7");
    EXPECT_FALSE(plan->has_name);
}

TEST(VolumeOptionsTest, TheServerOfEachKindIsKnown) {
    const auto server = [](const char* type, const char* device, const char* o) {
        return mount_plan({{"type", type}, {"device", device}, {"o", o}})->server;
    };
    EXPECT_EQ(server("nfs", ":/x", "addr=host.lan"), "host.lan");
    EXPECT_EQ(server("nfs4", "host.lan:/x", ""), "host.lan");
    EXPECT_EQ(server("nfs4", "[fe80::1]:/x", ""), "fe80::1");
    EXPECT_EQ(server("cifs", "//host.lan/x", "username=a"), "host.lan");
    EXPECT_EQ(server("tmpfs", "host:/x", ""), "");
}

TEST(VolumeOptionsTest, ANameBecomesAnAddress) {
    auto plan = *mount_plan({{"type", "nfs"}, {"device", ":/x"}, {"o", "addr=host.lan,nolock"}});
    EXPECT_TRUE(plan.has_name);
    set_address(plan, "10.0.0.7");
    EXPECT_EQ(plan.order.settings[0].second, "10.0.0.7");
    auto share = *mount_plan({{"type", "cifs"}, {"device", "//host.lan/x"}, {"o", "username=a"}});
    EXPECT_TRUE(share.has_name);
    set_address(share, "10.0.0.7");
    EXPECT_EQ(share.order.device, "//10.0.0.7/x");
}

TEST(VolumeOptionsTest, PasswordsAreNotShown) {
    const auto plan = mount_plan({{"type", "cifs"}, {"device", "//10.0.0.1/x"}, {"o", "username=a,password=secret,ro"}});
    EXPECT_EQ(plan->shown, "username=a,password=********,ro");
}

TEST(VolumeOptionsTest, AFolderOfItsOwnHasNothingToMount) {
    EXPECT_FALSE(mount_plan({}));
    EXPECT_FALSE(mount_plan({{"size", "10m"}}));
    EXPECT_EQ(size_of({{"size", "10m"}}), std::uint64_t{10} << 20U);
    EXPECT_FALSE(size_of({{"size", "0"}}));
}

}  // namespace
}  // namespace grua::volumes
