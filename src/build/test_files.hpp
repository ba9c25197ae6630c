// For tests: two trees in a temporary folder, and all that can be seen of one.
#pragma once

#include "base/error.hpp"
#include "base/files.hpp"
#include "build/file_ops.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace grua::build {

class TwoTrees : public testing::Test {
protected:
    TwoTrees() {
        std::string path = std::filesystem::temp_directory_path() / "grua-file-ops-XXXXXX";
        work_ = ::mkdtemp(path.data());
        for (const char* each : {"/from", "/to", "/outside"}) std::filesystem::create_directory(work_ + each);
        from_ = work_ + "/from/";
        to_ = work_ + "/to/";
    }
    ~TwoTrees() override { std::filesystem::remove_all(work_); }

    /// "dir/", "file=text", "link->target"; folders on the way are made.
    static void make(const std::string& folder, const std::vector<std::string>& entries) {
        namespace fs = std::filesystem;
        for (const std::string& each : entries) {
            const std::size_t arrow = each.find("->");
            const std::size_t equals = each.find('=');
            const std::string name = each.substr(0, std::min(arrow, equals));
            fs::create_directories(fs::path(folder + name).parent_path());
            if (arrow != std::string::npos)
                fs::create_symlink(each.substr(arrow + 2), folder + name);
            else if (!name.ends_with('/'))
                replace_file(folder + name, equals == std::string::npos ? name : each.substr(equals + 1));
        }
    }
    void from(const std::vector<std::string>& entries) const { make(from_, entries); }
    void to(const std::vector<std::string>& entries) const { make(to_, entries); }

    static void set_time(const std::string& path, time_t seconds) {
        const std::array times{timespec{seconds, 5}, timespec{seconds, 7}};
        ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times.data(), AT_SYMLINK_NOFOLLOW), 0) << path;
    }
    static struct stat look(const std::string& path) {
        struct stat out{};
        EXPECT_EQ(::lstat(path.c_str(), &out), 0) << path;
        return out;
    }
    static std::string shown(const std::string& path) {
        const auto about = look(path);
        if (S_ISDIR(about.st_mode)) return "/";
        if (S_ISLNK(about.st_mode)) return "->" + std::filesystem::read_symlink(path).string();
        if (S_ISREG(about.st_mode)) return "=" + read_file(path, std::size_t{1} << 30U);
        if (S_ISCHR(about.st_mode) || S_ISBLK(about.st_mode))
            return fmt::format("{}{}:{}", S_ISCHR(about.st_mode) ? 'c' : 'b', major(about.st_rdev), minor(about.st_rdev));
        return S_ISFIFO(about.st_mode) ? "|" : "?";
    }
    /// In the form of make(), by name.
    static std::vector<std::string> tree(const std::string& folder) {
        std::vector<std::string> out;
        for (const auto& each : std::filesystem::recursive_directory_iterator(folder))
            out.push_back(each.path().string().substr(folder.size()) + shown(each.path()));
        std::ranges::sort(out);
        return out;
    }
    std::vector<std::string> tree() const { return tree(to_); }
    mode_t mode(const std::string& path) const { return look(to_ + path).st_mode & 07777U; }

    static wire::graph::FileAction copy(const std::string& source, const std::string& target) {
        wire::graph::FileAction out;
        auto& copy = *out.mutable_copy();
        copy.set_src(source);
        copy.set_dest(target);
        copy.set_mode(-1);
        copy.set_timestamp(-1);
        copy.set_createdestpath(true);
        return out;
    }
    /// As Dockerfiles have it.
    static wire::graph::FileAction dockerfile_copy(const std::string& source, const std::string& target) {
        auto out = copy(source, target);
        auto& copy = *out.mutable_copy();
        copy.set_followsymlink(true);
        copy.set_dircopycontents(true);
        copy.set_allowwildcard(true);
        copy.set_allowemptywildcard(true);
        return out;
    }

    void apply(const wire::graph::FileAction& action, const FileActionOptions& options = {}) const {
        const Root source = Root::open(from_.c_str());
        apply_file_action(action, Root::open(to_.c_str()), &source, options);
    }
    std::string refusal(const wire::graph::FileAction& action, const FileActionOptions& options = {}) const {
        try {
            apply(action, options);
        } catch (const Error& error) {
            return error.what();
        }
        return "";
    }

    std::string work_;
    std::string from_;
    std::string to_;
};

}  // namespace grua::build
