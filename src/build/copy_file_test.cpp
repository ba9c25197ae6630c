#include "build/copy_file.hpp"

#include "base/error.hpp"
#include "build/test_files.hpp"

#include <sys/mman.h>

namespace grua::build {
namespace {

struct Piece {
    off_t at = 0;
    std::string text;
};

class CopyFile : public TwoTrees {
protected:
    static void fill(int file, const std::vector<Piece>& pieces, off_t size) {
        ASSERT_EQ(::ftruncate(file, size), 0);
        for (const Piece& each : pieces)
            ASSERT_EQ(::pwrite(file, each.text.data(), each.text.size(), each.at), static_cast<ssize_t>(each.text.size()));
    }
    /// What arrives of the source, which said to be of `size`.
    std::string copied(int source, off_t size) const {
        struct stat about{};
        EXPECT_EQ(::fstat(source, &about), 0);
        about.st_size = size;
        const Fd target{::open((to_ + "copy").c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600)};
        std::uint64_t bytes = 0;
        ContentCopier copier{[&](std::uint64_t count) { bytes += count; }};
        copier.copy(source, target.get(), about, "/source");
        EXPECT_LE(bytes, static_cast<std::uint64_t>(size));
        return read_file(to_ + "copy", 1U << 30U);
    }
    std::string whole(int source) const {
        EXPECT_EQ(::lseek(source, 0, SEEK_SET), 0);
        return read_all(source, "source", 1U << 30U);
    }
};

TEST_F(CopyFile, WhatIsInItArrives) {
    const std::string much(3'000'000, 'm');
    const struct {
        std::vector<Piece> pieces;
        off_t size;
    } cases[] = {
        {{}, 0},
        {{{0, "x"}}, 1},
        {{{0, much}}, 3'000'000},
        {{}, 10'000'000},
        {{{5'000'000, "middle"}}, 10'000'000},
        {{{0, "front"}, {9'999'997, "end"}}, 10'000'000},
        {{{0, much}, {6'000'000, much}}, 9'000'000},
        {{{1'000'000, much}}, 9'000'001},
    };
    for (const auto& each : cases) {
        // A file of another file system as well, of which the kernel copies nothing.
        Fd sources[] = {Fd{::open((from_ + "f").c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600)}, Fd{::memfd_create("source", MFD_CLOEXEC)}};
        for (const Fd& source : sources) {
            fill(source.get(), each.pieces, each.size);
            EXPECT_EQ(copied(source.get(), each.size), whole(source.get())) << each.size;
        }
    }
}

TEST_F(CopyFile, AFileMayHaveBecomeShorterOrLonger) {
    for (const bool is_memory : {false, true}) {
        const Fd source{is_memory ? ::memfd_create("source", MFD_CLOEXEC) : ::open((from_ + "f").c_str(), O_RDWR | O_CREAT, 0600)};
        fill(source.get(), {{0, "0123456789"}}, 10);
        const std::string shorter = copied(source.get(), 4);
        EXPECT_TRUE(shorter == "0123" || shorter == "0123456789") << shorter;
        EXPECT_EQ(copied(source.get(), 10), "0123456789");
        EXPECT_EQ(copied(source.get(), 1000).substr(0, 10), "0123456789");
    }
}

}  // namespace
}  // namespace grua::build
