#include "store/direct_writer.hpp"

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/files.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <filesystem>

namespace grua::store {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t piece = DirectWriter::piece_size;

/// Of a length, and no two of its blocks are the same.
std::string text_of(std::size_t size) {
    std::string out;
    for (std::size_t line = 0; out.size() < size; ++line) out += std::to_string(line) + "\n";
    out.resize(size);
    return out;
}

/// In a folder of its own; `directory` says on which file system.
class DirectWriterTest : public testing::TestWithParam<const char*> {
protected:
    DirectWriterTest() {
        std::string path = std::string(GetParam()) + "/grua-direct-XXXXXX";
        folder_ = ::mkdtemp(path.data());
        file_ = Fd{::open((folder_ + "/file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
    }
    ~DirectWriterTest() override { fs::remove_all(folder_); }

    void begin_with(const std::string& text) const { write_all(file_.get(), text, "file"); }
    std::string written() const { return read_file(folder_ + "/file", 64 * piece); }

    std::string folder_;
    Fd file_;
};

TEST_P(DirectWriterTest, WritesWhatItIsGivenInAnyPieces) {
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{4096}, piece - 1, piece, piece + 1, 9 * piece + 4097}) {
        ASSERT_EQ(::ftruncate(file_.get(), 0), 0);
        const std::string text = text_of(size);
        DirectWriter writer{file_.get(), 0, "file"};
        for (std::size_t at = 0, step = 1; at < size; at += step, step = step * 7 + 3)
            writer.write(std::string_view(text).substr(at, step));
        writer.finish();
        EXPECT_TRUE(written() == text) << size;
    }
}

TEST_P(DirectWriterTest, GoesOnBehindWhatIsThere) {
    const std::string text = text_of(6 * piece + 100);
    begin_with(text.substr(0, 4 * piece));
    DirectWriter writer{file_.get(), 4 * piece, "file"};
    writer.write(std::string_view(text).substr(4 * piece));
    writer.finish();
    EXPECT_TRUE(written() == text);
}

TEST_P(DirectWriterTest, OneThatIsGivenUpHoldsNobodyUp) {
    {
        DirectWriter writer{file_.get(), 0, "file"};
        writer.write(text_of(7 * piece));
    }
    const DirectWriter unused{file_.get(), 0, "file"};
}

TEST_P(DirectWriterTest, WhatFailsIsToldOnceItIsKnown) {
    const Fd unwritable{::open((folder_ + "/file").c_str(), O_RDONLY | O_CLOEXEC)};
    const std::string text = text_of(piece);
    DirectWriter writer{unwritable.get(), 0, "the file"};
    const auto all = [&] {
        for (int count = 0; count < 20; ++count) writer.write(text);
    };
    EXPECT_THROW(all(), Error);
    try {
        writer.finish();
        FAIL();
    } catch (const Error& error) {
        EXPECT_STREQ(error.what(), "write the file: Bad file descriptor");
    }
}

// A disk, and a file system that may take no direct writes.
INSTANTIATE_TEST_SUITE_P(On, DirectWriterTest, testing::Values("/var/tmp", "/dev/shm"));

}  // namespace
}  // namespace grua::store
