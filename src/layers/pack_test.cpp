// What goes into a tar comes out of it: trees with all that a file system can have, packed and made again.
#include "layers/pack.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "layers/extract.hpp"
#include "layers/test_streams.hpp"
#include "layers/unpack.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <map>
#include <thread>

namespace grua::layers {
namespace {

namespace fs = std::filesystem;

class PackTest : public testing::Test {
protected:
    PackTest() {
        std::string path = fs::temp_directory_path() / "grua-pack-XXXXXX";
        folder_ = ::mkdtemp(path.data());
        for (const char* each : {"in", "out", "other"}) fs::create_directory(folder_ + "/" + each);
    }
    ~PackTest() override { fs::remove_all(folder_); }

    std::string in(const std::string& name) const { return folder_ + "/in/" + name; }
    std::string out(const std::string& name) const { return folder_ + "/out/" + name; }

    static Fd open(const std::string& path) { return Fd{::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)}; }

    std::string packed(PackLimits limits = {}) const {
        TextSink sink;
        Packer packer{sink, limits};
        packer.add_contents(open(folder_ + "/in").get(), "");
        packer.finish();
        return sink.text;
    }

    void unpack(const std::string& tar) const {
        TextSource source{tar};
        TarReader reader{source};
        unpack_tar(reader, folder_ + "/out");
    }

    void extract(const std::string& tar, const std::string& folder, const ExtractOptions& options = {}) const {
        TextSource source{tar};
        TarReader reader{source};
        const Root root = Root::open((folder_ + "/out").c_str());
        extract_tar(reader, root, folder, options);
    }

    /// One line for each entry with all that a tar keeps.
    static std::vector<std::string> listing(const std::string& folder) {
        std::vector<std::string> lines;
        for (const auto& each : fs::recursive_directory_iterator(folder)) {
            struct stat status{};
            ::lstat(each.path().c_str(), &status);
            std::string line = fmt::format("{} {:o} {} {} {} {}.{:09}", each.path().lexically_relative(folder).string(), status.st_mode,
                                           status.st_uid, status.st_gid, status.st_rdev, status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
            if (S_ISREG(status.st_mode)) line += fmt::format(" {} {}", status.st_nlink, read_file(each.path().string(), 1U << 26U));
            if (S_ISLNK(status.st_mode)) line += " " + fs::read_symlink(each.path()).string();
            const Fd pinned{::open(each.path().c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC)};
            for (const auto& [key, value] : portable_xattrs(pinned.get(), status)) line += fmt::format(" {}={}", key, value);
            lines.push_back(std::move(line));
        }
        std::ranges::sort(lines);
        return lines;
    }

    static void set_time(const std::string& path, std::int64_t seconds, long nanoseconds) {
        const std::array times{timespec{1, 2}, timespec{seconds, nanoseconds}};
        ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times.data(), AT_SYMLINK_NOFOLLOW), 0);
    }

    void make_odd_tree() const {
        const std::string long_name(200, 'l');
        fs::create_directories(in("d/e"));
        replace_file(in("plain"), "x");
        set_time(in("plain"), 1'700'000'000, 0);
        replace_file(in("nanoseconds"), "y");
        set_time(in("nanoseconds"), 1'700'000'000, 123'456'789);
        replace_file(in("before-1970"), "y");
        set_time(in("before-1970"), -5, 500'000'000);
        replace_file(in("just-before-1970"), "y");
        set_time(in("just-before-1970"), -1, 250'000'000);
        replace_file(in("far-future"), "y");
        set_time(in("far-future"), 20'000'000'000, 0);
        replace_file(in("new\nline \xff\xfe = 'quoted' \\"), "y");
        replace_file(in("d/" + long_name), std::string(100'000, 'z'));
        replace_file(in("d/exactly"), std::string(512, 'z'));
        fs::create_symlink(long_name, in("long-link"));
        fs::create_symlink("no\nwhere\xff", in("d/dangling"));
        set_time(in("d/dangling"), 1'600'000'000, 42);
        fs::create_hard_link(in("plain"), in("d/also-plain"));
        fs::create_hard_link(in("long-link"), in("d/also-link"));
        ::chmod(in("d/exactly").c_str(), 06755);
        ::chmod(in("d/e").c_str(), 01777);
        ::setxattr(in("plain").c_str(), "user.some", "a\0b=\n", 5, 0);
        ::setxattr(in("plain").c_str(), "user.empty", "", 0, 0);
        ::setxattr(in("plain").c_str(), "user.a=b", "c", 1, 0);
        ::setxattr(in("d").c_str(), "user.folder", "d", 1, 0);
        ::mkfifo(in("fifo").c_str(), 0640);
        if (::geteuid() == 0) {
            ASSERT_EQ(::lchown(in("d/exactly").c_str(), 100'000, 4'000'000'000U), 0);
            ASSERT_EQ(::lchown(in("long-link").c_str(), 3'000'000, 7), 0);
            ::chmod(in("d/exactly").c_str(), 06755);
            ::mknod(in("null").c_str(), S_IFCHR | 0666, ::makedev(1, 3));
            ::mknod(in("block").c_str(), S_IFBLK | 0600, ::makedev(259, 70'000));
            const unsigned char capability[20] = {1, 0, 0, 2, 0, 4};
            ASSERT_EQ(::setxattr(in("d/exactly").c_str(), "security.capability", capability, sizeof capability, 0), 0);
        }
        set_time(in("d/e"), 1'500'000'000, 1);
        set_time(in("d"), 1'500'000'001, 999'999'999);
    }

    std::string folder_;
};

TEST_F(PackTest, nothing_is_younger_than_it_may_be) {
    const auto make = [&](const std::string& name, std::int64_t seconds, long nanoseconds) {
        replace_file(in(name), name);
        const std::array times{timespec{seconds, nanoseconds}, timespec{seconds, nanoseconds}};
        ASSERT_EQ(::utimensat(AT_FDCWD, in(name).c_str(), times.data(), 0), 0);
    };
    make("before", 999, 5);
    make("then", 1000, 0);
    make("just-after", 1000, 1);
    make("after", 2'000'000'000, 123);
    const std::string tar = packed({.latest = timespec{1000, 0}});
    TextSource source{tar};
    TarReader reader{source};
    std::map<std::string, std::pair<std::int64_t, long>> times;
    while (const auto entry = reader.next()) times[entry->name] = {entry->mtime.tv_sec, entry->mtime.tv_nsec};
    const std::map<std::string, std::pair<std::int64_t, long>> expected{
        {"before", {999, 5}}, {"then", {1000, 0}}, {"just-after", {1000, 0}}, {"after", {1000, 0}}};
    EXPECT_EQ(times, expected);
}

TEST_F(PackTest, everything_comes_out_of_a_layers_tar) {
    make_odd_tree();
    unpack(packed());
    EXPECT_EQ(listing(folder_ + "/in"), listing(folder_ + "/out"));
}

TEST_F(PackTest, everything_comes_out_of_an_extraction) {
    make_odd_tree();
    fs::create_directories(out("sub"));
    extract(packed(), "/sub/");
    EXPECT_EQ(listing(folder_ + "/in"), listing(folder_ + "/out/sub"));
    extract(packed(), "/sub");  // over itself
    EXPECT_EQ(listing(folder_ + "/in"), listing(folder_ + "/out/sub"));
}

TEST_F(PackTest, the_same_tree_gives_the_same_bytes) {
    make_odd_tree();
    const std::string first = packed();
    unpack(first);
    fs::remove_all(folder_ + "/in");
    fs::rename(folder_ + "/out", folder_ + "/in");
    EXPECT_TRUE(first == packed());
}

TEST_F(PackTest, holes_stay_holes) {
    constexpr off_t size = 1 << 24;
    const auto write_at = [](const std::string& path, const std::vector<off_t>& places) {
        const Fd file{::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644)};
        for (const off_t each : places) ASSERT_EQ(::pwrite(file.get(), "data", 4, each), 4);
        ASSERT_EQ(::ftruncate(file.get(), size), 0);
    };
    write_at(in("nothing"), {});
    write_at(in("begin"), {0});
    write_at(in("end"), {size - 4});
    write_at(in("middle"), {1 << 20, 3 << 20});
    const std::string tar = packed();
    EXPECT_LT(tar.size(), 400'000U);
    unpack(tar);
    EXPECT_EQ(listing(folder_ + "/in"), listing(folder_ + "/out"));
    struct stat status{};
    ::stat(out("nothing").c_str(), &status);
    EXPECT_LT(status.st_blocks, 100);
    // Where they are too many to be told apart the rest is written out.
    const std::string few = packed({.sparse_segments = 1});
    EXPECT_GT(few.size(), tar.size());
    fs::remove_all(folder_ + "/out");
    fs::create_directory(folder_ + "/out");
    unpack(few);
    EXPECT_EQ(listing(folder_ + "/in"), listing(folder_ + "/out"));
}

TEST_F(PackTest, one_entry_and_one_tree_by_name) {
    make_odd_tree();
    TextSink sink;
    Packer packer{sink};
    packer.add_tree(open(folder_ + "/in").get(), "d", "renamed");
    packer.add_tree(open(folder_ + "/in").get(), "long-link", "link");
    EXPECT_THROW(packer.add_tree(open(folder_ + "/in").get(), "missing", "x"), Error);
    packer.finish();
    extract(sink.text, "");
    EXPECT_TRUE(fs::is_directory(out("renamed/e")));
    EXPECT_TRUE(fs::is_symlink(out("link")));
}

TEST_F(PackTest, too_deep) {
    std::string path = folder_ + "/in";
    for (int level = 0; level < 20; ++level) path += "/d";
    fs::create_directories(path);
    EXPECT_NO_THROW(packed({.depth = 20}));
    EXPECT_THROW(packed({.depth = 19}), Error);
}

TEST_F(PackTest, a_file_that_changes_meanwhile_does_not_break_the_tar) {
    replace_file(in("a"), std::string(1 << 20, 'a'));
    std::jthread writer{[&](const std::stop_token& stop) {
        for (int round = 0; !stop.stop_requested(); ++round) {
            EXPECT_EQ(::truncate(in("a").c_str(), round % 2 == 0 ? 100 : 1 << 21), 0);
            fs::create_directories(in("b/c"));
            std::error_code ignored;
            fs::remove_all(in("b"), ignored);
        }
    }};
    for (int round = 0; round < 200; ++round) {
        TextSink sink;
        Packer packer{sink};
        packer.add_contents(open(folder_ + "/in").get(), "");
        packer.finish();
        TextSource source{sink.text};
        TarReader reader{source};
        while (reader.next()) {
        }
    }
}

TEST_F(PackTest, kinds_are_kept_where_that_is_asked) {
    replace_file(in("x"), "file");
    const std::string file = packed();
    fs::remove(in("x"));
    fs::create_directories(in("x/y"));
    const std::string folder = packed();
    extract(file, "");
    const auto refused = [&](const std::string& tar, std::string_view text) {
        try {
            extract(tar, "", {.keep_kinds = true});
            ADD_FAILURE() << "not refused";
        } catch (const Error& error) {
            EXPECT_NE(std::string_view(error.what()).find(text), std::string_view::npos) << error.what();
        }
    };
    refused(folder, "cannot overwrite non-directory \"x\" with directory");
    extract(folder, "");
    EXPECT_TRUE(fs::is_directory(out("x/y")));
    refused(file, "cannot overwrite directory \"x\" with non-directory");
    extract(file, "");
    EXPECT_EQ(read_file(out("x")), "file");
}

TEST_F(PackTest, CVE_2026_17106_an_extraction_stays_inside) {
    const std::string outside = folder_ + "/other";
    for (const std::string& target : {outside, std::string("../other"), std::string("../../../../../../..") + outside}) {
        TextSink sink;
        TarWriter tar{sink};
        tar.add({.name = "link", .link = target, .type = TarEntry::Type::symlink});
        tar.add({.name = "link/file", .type = TarEntry::Type::file, .mode = 0644});
        tar.finish();
        // As the tree's owner sees it the link leads to nothing.
        EXPECT_THROW(extract(sink.text, ""), Error);
        EXPECT_TRUE(fs::is_empty(outside));
    }
    for (const char* name : {"../x", "a/../../x"}) {
        TextSink bad;
        TarWriter writer{bad};
        writer.add({.name = name, .type = TarEntry::Type::file, .mode = 0644});
        writer.finish();
        EXPECT_THROW(extract(bad.text, ""), Error) << name;
    }
    replace_file(outside + "/secret", "secret");
    TextSink hard;
    TarWriter writer{hard};
    writer.add({.name = "stolen", .link = "link/secret", .type = TarEntry::Type::hard_link});
    writer.finish();
    EXPECT_THROW(extract(hard.text, ""), Error);
}

TEST_F(PackTest, CVE_2018_15664_a_link_that_is_swapped_while_a_tar_is_extracted) {
    // in the tree, somebody exchanges a folder and a link to the host all the time
    const std::string outside = folder_ + "/other";
    replace_file(outside + "/canary", "as it was", 0600);
    fs::create_directories(out("work/place"));
    fs::create_symlink(outside, out("work/swap"));
    std::jthread swapper{[&](const std::stop_token& stop) {
        while (!stop.stop_requested())
            ::renameat2(AT_FDCWD, out("work/place").c_str(), AT_FDCWD, out("work/swap").c_str(), RENAME_EXCHANGE);
    }};
    TextSink sink;
    TarWriter tar{sink};
    tar.add({.name = "place/canary", .type = TarEntry::Type::file, .mode = 0777, .size = 4, .mtime = {1, 0}});
    tar.write("evil");
    tar.add({.name = "place/made", .type = TarEntry::Type::directory, .mode = 0777});
    tar.finish();
    for (int round = 0; round < 2000; ++round) {
        try {
            extract(sink.text, "work");
        } catch (const Error&) {
            // What was swapped away may be missing.
        }
    }
    swapper = {};
    EXPECT_EQ(read_file(outside + "/canary"), "as it was");
    EXPECT_FALSE(fs::exists(outside + "/made"));
    struct stat status{};
    ::stat((outside + "/canary").c_str(), &status);
    EXPECT_EQ(status.st_mode & 07777U, 0600U);
}

}  // namespace
}  // namespace grua::layers
