#include "build/http_cache.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/id.hpp"
#include "content/hash.hpp"

#include <gtest/gtest.h>
#include <filesystem>

namespace grua::build {
namespace {

namespace fs = std::filesystem;

class HttpCacheTest : public testing::Test {
protected:
    HttpCacheTest() : directory(fs::temp_directory_path() / ("grua-http-" + random_hex(6))) {}
    ~HttpCacheTest() override { fs::remove_all(directory); }

    static void keep(HttpCache& cache, const std::string& key, const std::string& bytes, const std::string& etag = "\"1\"") {
        const Fd file = cache.new_file();
        write_all(file.get(), bytes, "a file");
        cache.keep(key, "https://h/" + key, content::digest_of(bytes), {.etag = etag, .last_modified = "x", .disposition = "y"},
                   file.get());
    }
    static std::string contents(HttpCache& cache, const std::string& key) {
        const auto found = cache.find(key);
        return found ? read_all(found->file.get(), "kept") : "nothing";
    }
    std::size_t files(const char* below) const {
        return static_cast<std::size_t>(std::distance(fs::directory_iterator(directory / below), fs::directory_iterator{}));
    }
    /// So long ago that it was not used since.
    void age(const std::string& key, int hours) const {
        fs::last_write_time(directory / "urls" / key, fs::file_time_type::clock::now() - std::chrono::hours(hours));
    }

    fs::path directory;
};

TEST_F(HttpCacheTest, TheNextOneFindsWhatTheLastHasLeft) {
    {
        HttpCache cache(directory, 1000, "boot");
        EXPECT_FALSE(cache.find("a"));
        keep(cache, "a", "abc");
        keep(cache, "b", "abc", "\"2\"");
        EXPECT_EQ(files("content"), 1U) << "the same bytes are there once";
        keep(cache, "b", "other");
        keep(cache, "b", "other");
    }
    HttpCache cache(directory, 1000, "boot");
    EXPECT_EQ(contents(cache, "a"), "abc");
    EXPECT_EQ(contents(cache, "b"), "other");
    const auto found = cache.find("a");
    EXPECT_EQ(found->validators.etag, "\"1\"");
    EXPECT_EQ(found->validators.last_modified, "x");
    EXPECT_EQ(found->validators.disposition, "y");
    EXPECT_EQ(found->shown, "https://h/a");
    ASSERT_EQ(cache.list().size(), 2U);
    EXPECT_TRUE(cache.remove("a"));
    EXPECT_FALSE(cache.remove("a"));
    EXPECT_FALSE(cache.remove("../boot"));
    EXPECT_EQ(read_all(found->file.get(), "kept"), "abc") << "who has it goes on";
    EXPECT_EQ(files("content"), 1U);
    EXPECT_EQ(contents(cache, "b"), "other");
    EXPECT_FALSE(HttpCache(directory, 1000, "other boot").find("b")) << "nothing of it was synced";
}

TEST_F(HttpCacheTest, WhatSeveralUrlsGaveTakesItsRoomOnce) {
    HttpCache cache(directory, 1000, "boot");
    keep(cache, "a", "abc");
    keep(cache, "b", "abc");
    keep(cache, "c", "other");
    std::uint64_t bytes = 0;
    for (const auto& each : cache.list()) bytes += each.bytes;
    EXPECT_EQ(bytes, 8U);
}

TEST_F(HttpCacheTest, WhatWasUsedLastStays) {
    HttpCache cache(directory, 10, "boot");
    keep(cache, "a", "aaaa");
    keep(cache, "b", "bbbb");
    age("a", 3);
    age("b", 2);
    EXPECT_EQ(contents(cache, "a"), "aaaa");  // It is used now.
    keep(cache, "c", "cccc");
    EXPECT_EQ(contents(cache, "a"), "aaaa");
    EXPECT_EQ(contents(cache, "b"), "nothing");
    EXPECT_EQ(contents(cache, "c"), "cccc");
    keep(cache, "d", "larger than all of it");
    EXPECT_FALSE(cache.find("d"));
    EXPECT_EQ(files("content"), 2U);
}

TEST_F(HttpCacheTest, WhatAKillLeavesIsRemoved) {
    {
        HttpCache cache(directory, 1000, "boot");
        keep(cache, "a", "abc");
        keep(cache, "b", "b");
        keep(cache, "c", "c");
    }
    replace_file(directory / "content/sha256-0", "of no record");
    fs::remove(directory / "content" / ("sha256-" + std::string(content::digest_of("b").hex())));
    replace_file(directory / "urls/c", "{\"digest\": 5");
    HttpCache cache(directory, 1000, "boot");
    EXPECT_EQ(contents(cache, "a"), "abc");
    EXPECT_EQ(contents(cache, "b"), "nothing");
    EXPECT_EQ(contents(cache, "c"), "nothing");
    EXPECT_EQ(files("content"), 1U);
    EXPECT_EQ(files("urls"), 1U);
}

}  // namespace
}  // namespace grua::build
