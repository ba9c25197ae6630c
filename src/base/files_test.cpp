#include "base/files.hpp"

#include "base/error.hpp"
#include "base/id.hpp"

#include <gtest/gtest.h>
#include <filesystem>
#include <thread>

namespace grua {
namespace {

namespace fs = std::filesystem;

class FilesTest : public testing::Test {
protected:
    FilesTest() { fs::create_directories(folder_); }
    ~FilesTest() override { fs::remove_all(folder_); }

    std::string folder_ = fs::temp_directory_path() / ("grua-files-" + random_hex(6));
};

// F: with one name aside for all, writers wrote into each other's file, and one's rename found nothing.
TEST_F(FilesTest, TwoWritersOfOneFileDoNotMeet) {
    const std::string path = folder_ + "/file";
    const std::string texts[] = {std::string(60000, 'a'), std::string(50, 'b')};
    std::atomic<int> failures = 0;
    const auto write = [&](const std::string& text) {
        for (int round = 0; round < 300; ++round) {
            try {
                replace_file(path, text);
                const std::string seen = read_file(path);
                if (seen != texts[0] && seen != texts[1]) ++failures;
            } catch (const Error&) {
                ++failures;
            }
        }
    };
    {
        std::jthread one([&] { write(texts[0]); });
        std::jthread two([&] { write(texts[1]); });
    }
    EXPECT_EQ(failures, 0);
    EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 1);
}

TEST_F(FilesTest, LeavesNothingWhereItFails) {
    fs::create_directories(folder_ + "/file/in-the-way");
    EXPECT_THROW(replace_file(folder_ + "/file", "text"), Error);
    EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 1);
}

TEST_F(FilesTest, SweepsWhatAKilledWriterLeftAndNothingElse) {
    for (const char* name : {"/a.tmp-0123456789abcdef", "/a.tmp-", "/b.tmp-0123456789abcdeg", "/c.tmp", "/d"})
        replace_file(folder_ + name, "");
    sweep_replacements(folder_);
    EXPECT_FALSE(fs::exists(folder_ + "/a.tmp-0123456789abcdef"));
    EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 4);
    sweep_replacements(folder_ + "/nowhere");
}

}  // namespace
}  // namespace grua
