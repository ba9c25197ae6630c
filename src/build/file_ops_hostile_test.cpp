// Trees that want to get at what is outside, or to cost more than they may.
#include "build/test_files.hpp"

#include <gmock/gmock.h>
#include <atomic>
#include <iterator>
#include <thread>

namespace grua::build {
namespace {

namespace fs = std::filesystem;
using wire::graph::FileAction;

class HostileTrees : public TwoTrees {
protected:
    HostileTrees() {
        make(work_ + "/outside/", {"secret=keep", "sub/x=keep"});
        for (const char* each : {"secret", "sub/x", "sub", ""}) set_time(work_ + "/outside/" + each, 1000);
    }

    /// All that can be seen of what is outside, the times of changes too.
    std::map<std::string, std::string> outside() const {
        std::map<std::string, std::string> out;
        const auto add = [&](const std::string& path) {
            const auto about = look(path);
            out[path] = fmt::format("{:o} {}:{} {} {}.{} {}.{}", about.st_mode, about.st_uid, about.st_gid, about.st_nlink,
                                    about.st_mtim.tv_sec, about.st_mtim.tv_nsec, about.st_ctim.tv_sec, about.st_ctim.tv_nsec);
            if (S_ISREG(about.st_mode)) out[path] += read_file(path);
        };
        add(work_ + "/outside");
        for (const auto& each : fs::recursive_directory_iterator(work_ + "/outside")) add(each.path());
        return out;
    }

    static std::size_t open_descriptors() {
        return static_cast<std::size_t>(std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator()));
    }

    /// A chain of folders, each in the one before, and a file in the last one.
    static void make_deep(const std::string& top, const std::string& name, int count) {
        Fd folder{::open(top.c_str(), O_RDONLY | O_DIRECTORY)};
        for (int depth = 0; depth < count; ++depth) {
            ASSERT_EQ(::mkdirat(folder.get(), name.c_str(), 0755), 0);
            folder = Fd{::openat(folder.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW)};
            ASSERT_TRUE(folder);
        }
        const Fd file{::openat(folder.get(), "leaf", O_WRONLY | O_CREAT, 0644)};
        ASSERT_EQ(::write(file.get(), "x", 1), 1);
    }
    static int depth_of(const std::string& top, const std::string& name) {
        Fd folder{::open(top.c_str(), O_RDONLY | O_DIRECTORY)};
        for (int depth = 0;; ++depth) {
            Fd next{::openat(folder.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW)};
            if (!next) return ::faccessat(folder.get(), "leaf", F_OK, 0) == 0 ? depth : -1;
            folder = std::move(next);
        }
    }
};

TEST_F(HostileTrees, NoLinkLeadsOut) {
    const std::string away = work_ + "/outside";
    const auto before = outside();
    from({"f=1", "d/x=2", "d/sub/x=3"});
    FileActionOptions options;
    if (::geteuid() == 0) options.owner = Owner{.uid = 4242, .gid = 4242};
    for (const std::string& target : {away, std::string("../outside"), "../../../../../../../.." + away, "/proc/self/root" + away}) {
        for (const std::string place : {"/l", "/l/secret", "/l/sub", "/l/new/", "/l/new/more", "/l/../outside/secret", "/m/secret"}) {
            SCOPED_TRACE(target + " " + place);
            fs::remove_all(to_);
            to({"l->" + target, "m->l"});
            fs::create_symlink(target, from_ + "evil");
            FileAction file;
            file.mutable_mkfile()->set_path(place);
            file.mutable_mkfile()->set_data("evil");
            FileAction folder;
            folder.mutable_mkdir()->set_path(place);
            folder.mutable_mkdir()->set_makeparents(true);
            folder.mutable_mkdir()->set_mode(0777);
            FileAction link;
            link.mutable_symlink()->set_newpath(place);
            link.mutable_symlink()->set_oldpath("x");
            FileAction remove;
            remove.mutable_rm()->set_path(place);
            FileAction remove_all;
            remove_all.mutable_rm()->set_path(place + "*");
            remove_all.mutable_rm()->set_allowwildcard(true);
            auto replace = dockerfile_copy("/d", place);
            replace.mutable_copy()->set_alwaysreplaceexistingdestpaths(true);
            replace.mutable_copy()->set_mode(0777);
            auto unpack = dockerfile_copy("/evil/secret", place);
            unpack.mutable_copy()->set_attemptunpackdockercompatibility(true);
            for (const FileAction& each :
                 {copy("/f", place), copy("/d", place), dockerfile_copy("/d", place), replace, file, folder, link, unpack, remove,
                  remove_all, dockerfile_copy("/evil/*", place), dockerfile_copy("/evil", place), copy("/evil/sub", place)}) {
                (void)refusal(each, options);
                EXPECT_EQ(outside(), before);
            }
            for (const auto& each : fs::recursive_directory_iterator(to_)) {
                if (each.is_symlink() || !each.is_regular_file()) continue;
                EXPECT_NE(read_file(each.path()), "keep") << each.path();
            }
            fs::remove(from_ + "evil");
        }
    }
}

TEST_F(HostileTrees, FoldersAsDeepAsAPathIsLong) {
    make_deep(from_, "d", 1000);
    const std::size_t before = open_descriptors();
    std::size_t most = 0;
    FileActionOptions options;
    options.progress = [&](std::uint64_t, std::uint64_t) { most = std::max(most, open_descriptors()); };
    apply(copy("/d", "/g/"), options);
    EXPECT_EQ(depth_of(to_ + "g", "d"), 1000);
    EXPECT_LT(most, before + 150);
    most = 0;
    auto action = dockerfile_copy("/", "/only/");
    action.mutable_copy()->add_include_patterns("**/leaf");
    apply(action, options);
    EXPECT_EQ(depth_of(to_ + "only", "d"), 1000) << "none of them is made before the file is found";
    EXPECT_LT(most, before + 150);
    FileAction remove;
    remove.mutable_rm()->set_path("/g");
    apply(remove);
    EXPECT_FALSE(fs::exists(to_ + "g"));
}

TEST_F(HostileTrees, DeeperFoldersAreRefusedByName) {
    make_deep(from_, "d", 3000);
    const std::string error = refusal(copy("/d", "/g"));
    EXPECT_THAT(error, testing::StartsWith("failed to stat /d/d/d/d/"));
    EXPECT_THAT(error, testing::EndsWith("...: file name too long"));
    EXPECT_LT(error.size(), 1000U);
    for (const std::string& path : {from_ + "d", to_ + "g"}) {
        const Root root = Root::open(fs::path(path).parent_path().c_str());
        FileAction remove;
        remove.mutable_rm()->set_path("/" + fs::path(path).filename().string());
        apply_file_action(remove, root, nullptr, {});
    }
}

TEST_F(HostileTrees, ManyAndLongNames) {
    const std::string longest(255, 'n');
    const std::string inner = from_ + "d/" + longest + "/";
    fs::create_directories(inner);
    replace_file(inner + "short", "1");
    fs::rename(inner + "short", inner + longest);
    for (int count = 0; count < 2'000; ++count) ASSERT_EQ(::mknod(fmt::format("{}d/{:05}", from_, count).c_str(), S_IFREG | 0600, 0), 0);
    apply(dockerfile_copy("/d/*", "/g/"));
    apply(copy("/d", "/h"));
    EXPECT_EQ(read_file(to_ + "h/" + longest + "/" + longest), "1");
    const auto count_of = [&](const char* folder) { return std::distance(fs::directory_iterator(to_ + folder), fs::directory_iterator()); };
    EXPECT_EQ(count_of("g"), 2'001);
    EXPECT_EQ(count_of("h"), 2'001);
    EXPECT_THAT(refusal(copy("/" + longest + "x", "/g")), testing::HasSubstr("file name too long"));
    EXPECT_THAT(refusal(copy("/d", "/" + std::string(5000, 'a'))), testing::HasSubstr("file name too long"));
}

TEST_F(HostileTrees, APipeIsNeverOpened) {
    from({"d/"});
    ASSERT_EQ(::mkfifo((from_ + "d/p").c_str(), 0600), 0);
    auto action = dockerfile_copy("/d/p", "/g/");
    action.mutable_copy()->set_attemptunpackdockercompatibility(true);
    apply(action);
    apply(dockerfile_copy("/d", "/h"));
    EXPECT_EQ(tree(), (std::vector<std::string>{"g/", "g/p|", "h/", "h/p|"}));
}

TEST_F(HostileTrees, AFileThatGrowsHasAnEnd) {
    replace_file(from_ + "log", std::string(1'000'000, 'x'));
    std::atomic<bool> done = false;
    std::jthread writer([&] {
        const Fd file{::open((from_ + "log").c_str(), O_WRONLY | O_APPEND)};
        for (int round = 0; round < 2000 && !done; ++round) write_all(file.get(), std::string(4096, 'y'), "log");
    });
    apply(copy("/log", "/log"));
    done = true;
    EXPECT_GE(fs::file_size(to_ + "log"), 1'000'000U);
}

/// Somebody who puts other things in the place of names, again and again.
class Attacker {
public:
    Attacker(std::string path, std::function<void(const std::string& path)> make)
        : thread_([path = std::move(path), make = std::move(make)](const std::stop_token& stop) {
              const std::string aside = path + ".aside";
              make(aside);
              while (!stop.stop_requested()) ::syscall(SYS_renameat2, AT_FDCWD, path.c_str(), AT_FDCWD, aside.c_str(), RENAME_EXCHANGE);
          }) {}

private:
    std::jthread thread_;
};

TEST_F(HostileTrees, AFolderOfTheDestinationThatBecomesALink) {
    from({"d/e/x=1", "d/e/secret=2", "d/e/sub/x=3"});
    to({"g/d/e/"});
    const auto before = outside();
    const Attacker attacker{to_ + "g/d/e", [&](const std::string& path) { fs::create_symlink(work_ + "/outside", path); }};
    FileActionOptions options;
    if (::geteuid() == 0) options.owner = Owner{.uid = 4242, .gid = 4242};
    FileAction file;
    file.mutable_mkfile()->set_path("/g/d/e/secret");
    file.mutable_mkfile()->set_data("evil");
    FileAction remove;
    remove.mutable_rm()->set_path("/g/d/e/secret");
    for (int round = 0; round < 200; ++round)
        for (const FileAction& each : {copy("/d", "/g"), file, remove}) (void)refusal(each, options);
    EXPECT_EQ(outside(), before);
}

TEST_F(HostileTrees, AFileOfTheSourceThatBecomesSomethingElse) {
    from({"d/file=mine", "d/folder/secret=mine"});
    std::vector<std::unique_ptr<Attacker>> attackers;
    attackers.push_back(std::make_unique<Attacker>(from_ + "d/file",
                                                   [&](const std::string& path) { fs::create_symlink(work_ + "/outside/secret", path); }));
    attackers.push_back(
        std::make_unique<Attacker>(from_ + "d/folder", [&](const std::string& path) { fs::create_symlink(work_ + "/outside", path); }));
    int copies = 0;
    for (int round = 0; round < 200; ++round) {
        fs::remove_all(to_ + "g");
        if (refusal(dockerfile_copy("/d", "/g")).empty()) ++copies;
        (void)refusal(dockerfile_copy("/d/folder/secret", "/g/secret"));
        if (!fs::exists(to_ + "g")) continue;
        for (const auto& each : fs::recursive_directory_iterator(to_ + "g"))
            if (!each.is_symlink() && each.is_regular_file()) EXPECT_EQ(read_file(each.path()), "mine") << each.path();
    }
    EXPECT_GT(copies, 0);
}

TEST_F(HostileTrees, AFileOfTheSourceThatBecomesAPipe) {
    from({"d/file=mine"});
    const Attacker attacker{from_ + "d/file", [](const std::string& path) { ::mkfifo(path.c_str(), 0600); }};
    for (int round = 0; round < 500; ++round) (void)refusal(dockerfile_copy("/d/file*", "/g/"));
}

}  // namespace
}  // namespace grua::build
