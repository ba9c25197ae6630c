#include "runtime/user.hpp"

#include "base/error.hpp"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace grua::runtime {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const UserFiles files{.passwd =
                          "# comment\nroot:x:0:0:root:/root:/bin/sh\nann:x:1000:100::/home/ann:/bin/sh\nbroken:x:one:1::/:\n"
                          "bob:x:1001:100:::/bin/sh\n1234:x:0:0::/root:/bin/sh\n",
                      .group = "root:x:0:\nusers:x:100:\nwheel:x:10:root,ann\naudio:x:29:ann\nbad:x:no:ann\n"};

std::string refusal(std::string_view user, ErrorKind kind) {
    try {
        const Identity found = find_user(files, user, {});
        return fmt::format("found {}:{}", found.uid, found.gid);
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), kind) << user;
        return error.what();
    }
}

TEST(User, NobodyIsRootWithItsGroups) {
    const Identity root = find_user(files, "", {});
    EXPECT_EQ(root.uid, 0U);
    EXPECT_EQ(root.home, "/root");
    EXPECT_THAT(root.groups, ElementsAre(10U));
}

TEST(User, NameBringsGroupsAndHome) {
    const Identity ann = find_user(files, "ann", {});
    EXPECT_EQ(ann.uid, 1000U);
    EXPECT_EQ(ann.gid, 100U);
    EXPECT_EQ(ann.home, "/home/ann");
    EXPECT_THAT(ann.groups, ElementsAre(10U, 29U));
    EXPECT_EQ(find_user(files, "bob", {}).home, "/");
}

TEST(User, NumberThatIsInPasswdBringsTheSame) { EXPECT_THAT(find_user(files, "1000", {}).groups, ElementsAre(10U, 29U)); }

TEST(User, GivenGroupLeavesOutTheOthers) {
    const Identity ann = find_user(files, "ann:audio", {"wheel", "77"});
    EXPECT_EQ(ann.gid, 29U);
    EXPECT_THAT(ann.groups, ElementsAre(10U, 77U));
    EXPECT_EQ(find_user(files, "5:6", {}).gid, 6U);
    EXPECT_THAT(find_user(files, "5:6", {}).groups, IsEmpty());
}

TEST(User, CVE_2026_46680_ANumberIsNeverAName) {
    const Identity found = find_user(files, "1234", {});
    EXPECT_EQ(found.uid, 1234U);
    EXPECT_EQ(found.gid, 0U);
}

TEST(User, CVE_2026_30892_NonsenseIsRefused) {
    for (const auto* user : {"1000junk", "+0", "-1", "4294967296", "99999999999999999999", "0x0", "2147483648"})
        EXPECT_THAT(refusal(user, ErrorKind::invalid_argument), testing::Not(HasSubstr("found"))) << user;
    EXPECT_EQ(refusal("0:4294967295", ErrorKind::invalid_argument), "uids and gids must be in range 0-2147483647");
}

TEST(User, UnknownNamesHaveDockersWords) {
    EXPECT_EQ(refusal("x", ErrorKind::not_found), "unable to find user x: no matching entries in passwd file");
    EXPECT_EQ(refusal("broken", ErrorKind::not_found), "unable to find user broken: no matching entries in passwd file");
    EXPECT_EQ(refusal("ann:x", ErrorKind::not_found), "unable to find group x: no matching entries in group file");
    EXPECT_EQ(refusal(" 0", ErrorKind::not_found), "unable to find user  0: no matching entries in passwd file");
}

TEST(User, HomeOfUnknownIsTheRoot) {
    EXPECT_EQ(home_of(files.passwd, 1000), "/home/ann");
    EXPECT_EQ(home_of(files.passwd, 4711), "/");
    EXPECT_EQ(home_of("", 0), "/");
}

class UserFilesTest : public testing::Test {
protected:
    void SetUp() override {
        std::string name = "/tmp/grua-user-XXXXXX";
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        folder_ = name;
        std::filesystem::create_directory(folder_ / "etc");
    }
    void TearDown() override { std::filesystem::remove_all(folder_); }
    UserFiles read() const { return read_user_files(Root::open(folder_.c_str())); }
    std::filesystem::path folder_;
};

TEST_F(UserFilesTest, MissingFilesAreEmpty) { EXPECT_EQ(read().passwd, ""); }

TEST_F(UserFilesTest, CVE_2024_9676_PipeIsRefusedAtOnce) {
    ASSERT_EQ(::mkfifo((folder_ / "etc/passwd").c_str(), 0600), 0);
    EXPECT_THROW(read(), Error);
}

TEST_F(UserFilesTest, CVE_2026_47262_HugeFileIsRefusedUnread) {
    std::ofstream{folder_ / "etc/group"}.close();
    std::filesystem::resize_file(folder_ / "etc/group", std::uintmax_t{64} << 30U);
    EXPECT_THROW(read(), Error);
}

TEST_F(UserFilesTest, LinkStaysInTheContainer) {
    std::ofstream{folder_ / "etc/real"} << "inside:x:5:5::/:\n";
    std::filesystem::create_symlink("/etc/real", folder_ / "etc/passwd");
    EXPECT_EQ(read().passwd, "inside:x:5:5::/:\n");
}

}  // namespace
}  // namespace grua::runtime
