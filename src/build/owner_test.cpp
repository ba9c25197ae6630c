#include "build/owner.hpp"

#include "build/test_files.hpp"

namespace grua::build {
namespace {

using wire::graph::ChownOpt;

class OwnerTest : public TwoTrees {
protected:
    static ChownOpt of(const std::string& user, const std::string& group) {
        ChownOpt out;
        const auto set = [](wire::graph::UserOpt& opt, const std::string& text) {
            if (text.find_first_not_of("0123456789") == std::string::npos)
                opt.set_byid(static_cast<std::uint32_t>(std::stoul(text)));
            else
                opt.mutable_byname()->set_name(text);
        };
        if (!user.empty()) set(*out.mutable_user(), user);
        if (!group.empty()) set(*out.mutable_group(), group);
        return out;
    }
    std::string found(const std::string& user, const std::string& group) const {
        const ChownOpt owner = of(user, group);
        const Root root = Root::open(from_.c_str());
        try {
            const auto out = find_owner(&owner, &root, &root);
            return out ? fmt::format("{}:{}", out->uid, out->gid) : "none";
        } catch (const Error& error) {
            return error.what();
        }
    }
};

TEST_F(OwnerTest, NamesAndNumbers) {
    from({"etc/passwd=root:x:0:0:root:/root:/bin/sh\n#no:x:9:9\n\n  app:x:101:102:::\napp:x:1:1:::\nshort:x:7\nbad:x:abc:def\nlast:x:+5:6",
          "etc/group=#www:x:1:\nwww:x:201:app,root\n  grp:x:202:\nbad:x:zz:"});
    const struct {
        std::string user;
        std::string group;
        std::string owner;
    } cases[] = {
        {"", "", "0:0"},
        {"5", "", "5:5"},
        {"5", "6", "5:6"},
        {"", "6", "0:6"},
        {"app", "", "101:102"},
        {"app", "7", "101:7"},
        {"app", "www", "101:201"},
        {"5", "grp", "5:202"},
        {"nobody", "", "0:0"},
        {"app", "missing", "101:102"},
        {"short", "", "7:0"},
        {"bad", "", "0:0"},
        {"last", "", "5:6"},
        {"#no", "", "9:9"},
        {"5", "#www", "5:5"},
        {"5", "bad", "5:0"},
        {"4294967295", "", "4294967295:4294967295"},
    };
    for (const auto& each : cases) EXPECT_EQ(found(each.user, each.group), each.owner) << each.user << ":" << each.group;
    EXPECT_EQ(find_owner(nullptr, nullptr, nullptr), std::nullopt);
}

TEST_F(OwnerTest, FilesThatAreNone) {
    EXPECT_EQ(found("app", "grp"), "0:0") << "none at all";
    from({"etc/"});
    ASSERT_EQ(::mkfifo((from_ + "etc/passwd").c_str(), 0600), 0);
    EXPECT_EQ(found("app", ""), "/etc/passwd is not a regular file");
    EXPECT_EQ(found("5", ""), "5:5");
    from({"etc/group->../../../outside/group"});
    replace_file(work_ + "/outside/group", "grp:x:66:");
    EXPECT_EQ(found("5", "grp"), "5:5") << "links stay inside";
    std::filesystem::remove_all(from_ + "etc");
    replace_file(from_ + "etc", "");
    EXPECT_EQ(found("app", ""), "0:0");
    std::filesystem::remove(from_ + "etc");
    from({"etc/passwd=" + std::string(70'000, 'x'), "etc/group=big:x:4294967296:"});
    EXPECT_EQ(found("app", ""), "bufio.Scanner: token too long");
    EXPECT_EQ(found("5", "big"), "/etc/group: 4294967296 is out of range");
    std::filesystem::resize_file(from_ + "etc/passwd", 20U << 20U);
    EXPECT_EQ(found("app", ""), "\"/etc/passwd\" exceeds 10485760 bytes");
    const ChownOpt owner = of("app", "");
    EXPECT_THROW((void)find_owner(&owner, nullptr, nullptr), Error);
}

}  // namespace
}  // namespace grua::build
