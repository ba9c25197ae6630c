#include "build/context_store.hpp"

#include "base/files.hpp"
#include "base/id.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <chrono>
#include <filesystem>

namespace grua::build {
namespace {

namespace fs = std::filesystem;

class ContextStoreTest : public testing::Test {
protected:
    ContextStoreTest() : directory(fs::temp_directory_path() / ("grua-contexts-" + random_hex(6))) {}
    ~ContextStoreTest() override { fs::remove_all(directory); }

    static TreeIndex index_of(const std::string& path) {
        TreeIndex out;
        out[path] = {.mode = S_IFREG | 0644, .size = 3, .mtime = 5, .xattrs = {{"user.a", std::string("\0b", 2)}}, .digest = "sha256:1"};
        return out;
    }
    static void fill(Context& context, const std::string& path) {
        context.begin_change();
        replace_file(context.folder() + "/" + path, "abc");
        context.keep(index_of(path));
    }
    std::size_t folders() const {
        return static_cast<std::size_t>(std::distance(fs::directory_iterator(directory), fs::directory_iterator{}));
    }

    fs::path directory;
};

TEST_F(ContextStoreTest, TheNextBuildFindsWhatTheLastHasLeft) {
    ContextStore store(directory, "boot");
    {
        const auto context = store.take("key");
        EXPECT_TRUE(context->index().empty());
        fill(*context, "a");
    }
    {
        const auto again = store.take("key");
        EXPECT_EQ(again->index(), index_of("a"));
        EXPECT_EQ(read_file(again->folder() + "/a"), "abc");
    }
    EXPECT_TRUE(store.take("another")->index().empty());
    EXPECT_EQ(folders(), 1U) << "what was not kept leaves nothing";
    ASSERT_EQ(store.list().size(), 1U);
    EXPECT_EQ(store.list()[0].key, "key");
    EXPECT_EQ(store.list()[0].bytes > 0, true);
    // So does the next gruad, and none after another start of the machine.
    EXPECT_EQ(ContextStore(directory, "boot").take("key")->index(), index_of("a"));
    EXPECT_TRUE(ContextStore(directory, "other boot").take("key")->index().empty());
    EXPECT_EQ(folders(), 0U);
}

TEST_F(ContextStoreTest, WhatMayHaveBeenChangedAgainAtOnceIsNotTrusted) {
    using namespace std::chrono;
    const std::int64_t now = duration_cast<nanoseconds>(system_clock::now().time_since_epoch()).count();
    const std::int64_t whole = now / 1'000'000'000 * 1'000'000'000;
    ContextStore store(directory, "boot");
    {
        const auto context = store.take("key");
        context->begin_change();
        TreeIndex index;
        for (const auto& [path, time] : {std::pair("old", now - 1'000'000'001), std::pair("new", now + 60'000'000'000),
                                         std::pair("rounded", whole), std::pair("old and rounded", whole - 10'000'000'000)})
            index[path] = {.mode = S_IFREG | 0644, .mtime = time, .digest = "sha256:1"};
        index["folder"] = {.mode = S_IFDIR | 0755, .mtime = now + 60'000'000'000};
        context->keep(std::move(index));
    }
    const TreeIndex kept = store.take("key")->index();
    EXPECT_EQ(kept.at("old").mtime, now - 1'000'000'001);
    EXPECT_NE(kept.at("new").mtime, now + 60'000'000'000);
    EXPECT_NE(kept.at("rounded").mtime, whole);
    EXPECT_EQ(kept.at("old and rounded").mtime, whole - 10'000'000'000);
    EXPECT_EQ(kept.at("folder").mtime, now + 60'000'000'000);
}

TEST_F(ContextStoreTest, TwoAtATimeAreInNobodysWay) {
    ContextStore store(directory, "boot");
    fill(*store.take("key"), "a");
    const auto first = store.take("key");
    {
        const auto second = store.take("key");
        EXPECT_NE(second->folder(), first->folder());
        EXPECT_TRUE(second->index().empty());
        fill(*second, "b");
        EXPECT_FALSE(store.remove(fs::path(first->folder()).parent_path().filename()));
    }
    EXPECT_EQ(first->index(), index_of("a"));
    EXPECT_EQ(folders(), 1U);
    const auto without = store.take("");
    fill(*without, "c");
    EXPECT_EQ(folders(), 2U);
}

TEST_F(ContextStoreTest, WhatWasBeingChangedIsBegunAnew) {
    {
        ContextStore store(directory, "boot");
        fill(*store.take("key"), "a");
        const auto context = store.take("key");
        context->begin_change();
        // gruad is killed here: nothing is said of the folder.
        fs::copy(directory, directory.string() + "-copy", fs::copy_options::recursive);
    }
    EXPECT_EQ(folders(), 0U);
    fs::remove_all(directory);
    fs::rename(directory.string() + "-copy", directory);
    EXPECT_EQ(folders(), 1U);
    EXPECT_TRUE(ContextStore(directory, "boot").take("key")->index().empty());
}

TEST_F(ContextStoreTest, WhatAKillHasLeftHalfWrittenGoes) {
    std::string beside;
    {
        ContextStore store(directory, "boot");
        const auto context = store.take("key");
        fill(*context, "a");
        beside = fs::path(context->folder()).parent_path();
    }
    replace_file(beside + "/index.tmp-0123456789abcdef", "half");
    const ContextStore store(directory, "boot");
    EXPECT_FALSE(fs::exists(beside + "/index.tmp-0123456789abcdef"));
    EXPECT_TRUE(fs::exists(beside + "/index"));
}

TEST_F(ContextStoreTest, AnIndexThatCannotBeReadIsNone) {
    {
        ContextStore store(directory, "boot");
        fill(*store.take("key"), "a");
    }
    const fs::path index = fs::directory_iterator(directory)->path() / "index";
    const std::string good = read_file(index);
    for (const std::string& bad : {std::string(), std::string("\xff\xff"), good.substr(0, good.size() / 2)}) {
        replace_file(index, bad);
        ContextStore store(directory, "boot");
        EXPECT_TRUE(store.take("key")->index().empty());
        fill(*store.take("key"), "a");
    }
    EXPECT_FALSE(ContextStore(directory, "boot").remove("../x"));
    EXPECT_FALSE(ContextStore::this_boot().empty());
}

}  // namespace
}  // namespace grua::build
