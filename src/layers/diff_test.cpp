// Changes made through a real overlay, read from its upper folder.
#include "layers/diff.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "layers/overlay.hpp"
#include "layers/pack.hpp"
#include "layers/test_streams.hpp"
#include "layers/unpack.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <algorithm>
#include <cstring>
#include <filesystem>

namespace grua::layers {
namespace {

namespace fs = std::filesystem;

class DiffTest : public testing::Test {
protected:
    void SetUp() override {
        if (::geteuid() != 0) GTEST_SKIP() << "needs root";
        std::string path = fs::temp_directory_path() / "grua-diff-XXXXXX";
        folder_ = ::mkdtemp(path.data());
        for (const char* each : {"lower", "upper", "work", "empty", "layer"}) fs::create_directory(folder_ + "/" + each);
        fs::create_directories(folder_ + "/lower/etc/deep/er");
        for (const char* each : {"etc/passwd", "etc/group", "etc/deep/er/file", "etc/deep/other"})
            replace_file(folder_ + "/lower/" + each, std::string("content of ") + each);
        fs::create_directories(folder_ + "/lower/gone/below");
        fs::create_directories(folder_ + "/lower/again");
        for (const char* each : {"again/old", "again/same", "was-file", "linked"}) replace_file(folder_ + "/lower/" + each, "old");
        fs::create_directories(folder_ + "/lower/was-folder/below");
    }
    void TearDown() override {
        mount_ = Fd{};
        if (!folder_.empty()) fs::remove_all(folder_);
    }

    void mount() {
        mount_ = mount_overlay({.lower = {folder_ + "/lower"}, .upper = folder_ + "/upper", .work = folder_ + "/work"});
        root_ = fmt::format("/proc/self/fd/{}/", mount_.get());
    }
    std::string at(const std::string& path) const { return root_ + path; }

    static Fd open(const std::string& path) { return Fd{::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)}; }

    std::vector<std::string> changes(const MountPoints& mount_points = {}) const {
        const Fd upper = open(folder_ + "/upper");
        const Fd lower = open(folder_ + "/lower");
        std::vector<std::string> out;
        visit_changes({upper.get(), lower.get(), mount_points}, [&](const Change& each) {
            out.push_back(fmt::format("{} {}", "CAD"[static_cast<std::size_t>(each.kind)], each.path));
        });
        return out;
    }

    std::string packed(bool& any) const {
        const Fd upper = open(folder_ + "/upper");
        const Fd lower = open(folder_ + "/lower");
        TextSink sink;
        any = pack_changes({upper.get(), lower.get(), {}}, sink);
        return sink.text;
    }

    static std::vector<std::string> listing(const std::string& folder) {
        std::vector<std::string> lines;
        for (const auto& each : fs::recursive_directory_iterator(folder)) {
            struct stat status{};
            ::lstat(each.path().c_str(), &status);
            // A merged folder's time is not a change that is kept.
            const bool is_folder = S_ISDIR(status.st_mode);
            std::string line =
                fmt::format("{} {:o} {} {} {}.{:09}", each.path().lexically_relative(folder).string(), status.st_mode, status.st_uid,
                            status.st_gid, is_folder ? 0 : status.st_mtim.tv_sec, is_folder ? 0 : status.st_mtim.tv_nsec);
            if (S_ISREG(status.st_mode)) line += fmt::format(" {} {}", status.st_nlink, read_file(each.path().string()));
            lines.push_back(std::move(line));
        }
        std::ranges::sort(lines);
        return lines;
    }

    std::string folder_;
    std::string root_;
    Fd mount_;
};

TEST_F(DiffTest, nothing) {
    mount();
    EXPECT_TRUE(changes().empty());
    bool any = true;
    const std::string tar = packed(any);
    TextSource source{tar};
    EXPECT_FALSE(any);
    EXPECT_FALSE(TarReader{source}.next());
}

TEST_F(DiffTest, each_kind_of_change) {
    mount();
    replace_file(at("etc/new"), "new");
    fs::remove(at("etc/group"));
    fs::remove_all(at("gone"));
    fs::create_directories(at("made/in"));
    replace_file(at("made/in/file"), "x");
    fs::remove_all(at("again"));
    fs::create_directory(at("again"));
    replace_file(at("again/new"), "x");
    fs::remove(at("was-file"));
    fs::create_directories(at("was-file/below"));
    fs::remove_all(at("was-folder"));
    replace_file(at("was-folder"), "x");
    ::chmod(at("etc/deep/er/file").c_str(), 0600);
    const std::vector<std::string> wanted{"C /again",          "A /again/new",   "D /again/old",        "D /again/same",   "C /etc",
                                          "C /etc/deep",       "C /etc/deep/er", "C /etc/deep/er/file", "D /etc/group",    "A /etc/new",
                                          "D /gone",           "A /made",        "A /made/in",          "A /made/in/file", "C /was-file",
                                          "A /was-file/below", "C /was-folder"};
    EXPECT_EQ(changes(), wanted);
}

TEST_F(DiffTest, what_was_only_touched_is_no_change) {
    mount();
    ::chmod(at("etc/passwd").c_str(), 0600);
    EXPECT_EQ(changes(), (std::vector<std::string>{"C /etc", "C /etc/passwd"}));
    ::chmod(at("etc/passwd").c_str(), 0644);
    EXPECT_TRUE(fs::exists(folder_ + "/upper/etc/passwd"));
    EXPECT_TRUE(changes().empty());
    // A new file that went again has changed its folder's time only.
    replace_file(at("etc/deep/passing"), "x");
    fs::remove(at("etc/deep/passing"));
    EXPECT_TRUE(changes().empty());
    ::setxattr(at("etc/passwd").c_str(), "user.x", "y", 1, 0);
    EXPECT_EQ(changes(), (std::vector<std::string>{"C /etc", "C /etc/passwd"}));
}

TEST_F(DiffTest, bytes_count_also_where_the_time_was_set_back) {
    mount();
    struct stat status{};
    ::stat(at("etc/passwd").c_str(), &status);
    const Fd file{::open(at("etc/passwd").c_str(), O_WRONLY | O_CLOEXEC)};
    ASSERT_EQ(::pwrite(file.get(), "C", 1, 0), 1);
    const std::array times{status.st_atim, status.st_mtim};
    ::futimens(file.get(), times.data());
    EXPECT_EQ(changes(), (std::vector<std::string>{"C /etc", "C /etc/passwd"}));
}

TEST_F(DiffTest, user_xattrs_hide_nothing) {
    mount();
    ::setxattr(at("etc").c_str(), "user.overlay.opaque", "y", 1, 0);
    EXPECT_TRUE(changes().empty());
}

TEST_F(DiffTest, mount_points_are_no_changes) {
    mount();
    fs::create_directories(at("dev/shm"));
    replace_file(at("etc/hosts"), "");
    const MountPoints points{"/dev", "/dev/shm", "/etc/hosts"};
    EXPECT_TRUE(changes(points).empty());
    replace_file(at("dev/extra"), "x");
    replace_file(at("etc/hosts"), "x");
    EXPECT_EQ(changes(points), (std::vector<std::string>{"C /dev", "A /dev/extra", "C /etc", "A /etc/hosts"}));
}

TEST_F(DiffTest, the_layer_on_top_of_the_image_is_the_container) {
    mount();
    replace_file(at("etc/new"), "new");
    fs::remove(at("etc/group"));
    fs::remove_all(at("gone"));
    fs::remove_all(at("again"));
    fs::create_directory(at("again"));
    replace_file(at("again/same"), "not the same");
    fs::remove(at("was-file"));
    fs::create_directories(at("was-file/below"));
    fs::remove_all(at("was-folder"));
    fs::create_symlink("/etc", at("was-folder"));
    ASSERT_EQ(::lchown(at("etc/deep").c_str(), 70'000, 3'000'000), 0);
    bool any = false;
    const std::string tar = packed(any);
    EXPECT_TRUE(any);
    EXPECT_EQ(tar, packed(any));
    TextSource source{tar};
    TarReader reader{source};
    unpack_tar(reader, folder_ + "/layer");
    const Fd image = mount_overlay({.lower = {folder_ + "/layer", folder_ + "/lower"}, .read_only = true});
    EXPECT_EQ(listing(fmt::format("/proc/self/fd/{}/", image.get())), listing(root_));
}

// Overlayfs marks the outermost of the new folders alone.
TEST_F(DiffTest, a_folder_that_was_made_again_hides_what_its_subfolders_had) {
    fs::create_directories(folder_ + "/lower/again/sub/deep");
    for (const char* each : {"again/sub/old", "again/sub/deep/old"}) replace_file(folder_ + "/lower/" + each, "old");
    mount();
    fs::remove_all(at("again"));
    fs::create_directories(at("again/sub/deep"));
    replace_file(at("again/sub/deep/new"), "x");
    EXPECT_EQ(changes(), (std::vector<std::string>{"C /again", "D /again/old", "D /again/same", "C /again/sub", "C /again/sub/deep",
                                                   "A /again/sub/deep/new", "D /again/sub/deep/old", "D /again/sub/old"}));
    bool any = false;
    const std::string tar = packed(any);
    TextSource source{tar};
    TarReader reader{source};
    unpack_tar(reader, folder_ + "/layer");
    const Fd image = mount_overlay({.lower = {folder_ + "/layer", folder_ + "/lower"}, .read_only = true});
    EXPECT_EQ(listing(fmt::format("/proc/self/fd/{}/", image.get())), listing(root_));
}

TEST_F(DiffTest, hard_links_stay_links_whichever_name_changed) {
    mount();
    // The names before and after it in the order of the walk.
    fs::create_hard_link(at("linked"), at("a-link"));
    fs::create_hard_link(at("linked"), at("z-link"));
    fs::create_hard_link(at("etc/passwd"), at("zz-link"));
    EXPECT_EQ(changes(), (std::vector<std::string>{"A /a-link", "A /z-link", "A /zz-link"}));
    bool any = false;
    const std::string tar = packed(any);
    TextSource source{tar};
    TarReader reader{source};
    unpack_tar(reader, folder_ + "/layer");
    struct stat status{};
    for (const auto& [name, links] : std::vector<std::pair<std::string, nlink_t>>{{"linked", 3}, {"a-link", 3}, {"etc/passwd", 2}}) {
        ASSERT_EQ(::stat((folder_ + "/layer/" + name).c_str(), &status), 0) << name;
        EXPECT_EQ(status.st_nlink, links) << name;
    }
    ASSERT_EQ(::stat((folder_ + "/layer/etc").c_str(), &status), 0);
}

TEST_F(DiffTest, a_file_named_like_a_whiteout_is_refused) {
    mount();
    replace_file(at("etc/.wh.passwd"), "x");
    bool any = false;
    EXPECT_THROW(packed(any), Error);
}

TEST_F(DiffTest, only_the_upper_is_walked) {
    for (int number = 0; number < 3000; ++number) replace_file(fmt::format("{}/lower/etc/{}", folder_, number), "x");
    mount();
    replace_file(at("etc/new"), "x");
    // The image's folder cannot even be listed.
    const Fd upper = open(folder_ + "/upper");
    const Fd lower{::open((folder_ + "/lower").c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
    std::size_t count = 0;
    visit_changes({upper.get(), lower.get(), {}}, [&](const Change&) { ++count; });
    EXPECT_EQ(count, 2U);
}

}  // namespace
}  // namespace grua::layers
