#include "content/content_store.hpp"

#include "base/error.hpp"

#include <gtest/gtest.h>
#include <filesystem>
#include <fstream>
#include <vector>

namespace grua::content {
namespace {

namespace fs = std::filesystem;

class ContentTest : public testing::Test {
protected:
    ContentTest() {
        std::string path = fs::temp_directory_path() / "grua-content-XXXXXX";
        folder_ = ::mkdtemp(path.data());
    }
    ~ContentTest() override { fs::remove_all(folder_); }
    std::size_t files() const {
        std::size_t count = 0;
        for (const auto& each : fs::recursive_directory_iterator(folder_)) count += each.is_regular_file() ? 1U : 0U;
        return count;
    }

    std::string folder_;
};

TEST(Hash, is_the_known_one) {
    EXPECT_EQ(digest_of("abc").text(), "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    EXPECT_EQ(digest_of("", "sha512").text().substr(0, 15), "sha512:cf83e135");
}

TEST_F(ContentTest, keeps_what_is_its_digest) {
    const ContentStore store{folder_};
    const oci::Digest digest = store.put("hello");
    EXPECT_TRUE(store.exists(digest));
    EXPECT_EQ(store.read(digest, 100), "hello");
    EXPECT_EQ(store.list(), std::vector{digest});
    store.remove(digest);
    store.remove(digest);
    EXPECT_FALSE(store.exists(digest));
    EXPECT_THROW(store.open(digest), Error);
}

TEST_F(ContentTest, keeps_what_goes_past_the_page_cache) {
    const ContentStore store{folder_};
    const std::size_t direct_from = std::size_t{4} << 20U;
    for (const std::size_t size : {std::size_t{0}, direct_from, direct_from + 1, 3 * direct_from + 5}) {
        std::string text;
        for (std::size_t line = 0; text.size() < size; ++line) text += std::to_string(line) + "\n";
        text.resize(size);
        auto writer = store.receive(ContentStore::Reading::later);
        for (std::size_t at = 0; at < size; at += 100'001) writer.write(std::string_view(text).substr(at, 100'001));
        auto moved = std::move(writer);
        moved.verify();
        EXPECT_EQ(moved.digest(), digest_of(text));
        EXPECT_EQ(moved.written(), size);
        moved.commit();
        EXPECT_TRUE(store.read(digest_of(text), size + 1) == text);
    }
    const std::size_t before = files();
    {
        auto given_up = store.receive(ContentStore::Reading::later);
        given_up.write(std::string(3 * direct_from, 'x'));
    }
    EXPECT_EQ(files(), before);
}

TEST_F(ContentTest, refuses_what_is_not_and_leaves_nothing) {
    const ContentStore store{folder_};
    const oci::Digest digest = digest_of("hello");
    {
        auto writer = store.ingest(digest, std::nullopt);
        writer.write("hullo");
        EXPECT_THROW(writer.commit(), Error);
    }
    {
        auto writer = store.ingest(digest, 5);
        writer.write("hell");
        EXPECT_THROW(writer.commit(), Error);
        EXPECT_THROW(writer.write("oo"), Error);
    }
    EXPECT_FALSE(store.exists(digest));
    EXPECT_EQ(files(), 0U);
    std::ofstream{folder_ + "/blobs/sha256/.staged-abc"} << "left over";
    const ContentStore again{folder_};
    EXPECT_EQ(files(), 0U);
}

TEST_F(ContentTest, goes_on_where_a_download_broke_off) {
    const ContentStore store{folder_};
    const oci::Digest digest = digest_of("hello world");
    {
        auto writer = store.resume(digest, 11);
        EXPECT_EQ(writer.written(), 0U);
        writer.write("hello ");
        EXPECT_THROW(store.resume(digest, 11), Error);  // one writer at a time
        EXPECT_FALSE(store.remove_partial(digest));
        ASSERT_EQ(store.partials().size(), 1U);
        EXPECT_TRUE(store.partials().front().in_use);
    }
    const ContentStore again{folder_};
    ASSERT_EQ(again.partials().size(), 1U);
    EXPECT_EQ(again.partials().front().digest, digest);
    EXPECT_EQ(again.partials().front().size, 6U);
    EXPECT_FALSE(again.partials().front().in_use);
    EXPECT_GT(again.partials().front().modified, now() - std::chrono::minutes{1});
    auto writer = again.resume(digest, 11);
    EXPECT_EQ(writer.written(), 6U);
    writer.write("world");
    writer.commit();
    EXPECT_EQ(again.read(digest, 100), "hello world");
    EXPECT_TRUE(again.partials().empty());
}

TEST_F(ContentTest, what_does_not_lead_to_the_digest_is_not_kept) {
    const ContentStore store{folder_};
    const oci::Digest digest = digest_of("hello world");
    {
        auto writer = store.resume(digest, 11);
        writer.write("hullo world");
        EXPECT_THROW(writer.commit(), Error);
    }
    EXPECT_EQ(files(), 0U);
    {
        auto writer = store.resume(digest, 11);
        writer.write("hello world");
        EXPECT_THROW(writer.write("!"), Error);
    }
    {
        // More than was announced can never become the blob.
        const auto shorter = store.resume(digest, 5);
        EXPECT_EQ(shorter.written(), 0U);
    }
    EXPECT_EQ(files(), 0U);
    {
        store.resume(digest, 11);
    }
    EXPECT_EQ(files(), 0U);
    EXPECT_TRUE(store.remove_partial(digest));
}

TEST_F(ContentTest, commits_many_at_once_or_none) {
    const ContentStore store{folder_};
    const auto fill = [&](std::string_view expected, std::string_view bytes) {
        auto writer = store.resume(digest_of(expected), std::nullopt);
        writer.write(bytes);
        return writer;
    };
    {
        std::vector<ContentStore::Writer> writers;
        writers.push_back(fill("one", "one"));
        writers.push_back(fill("two", "too"));
        EXPECT_THROW(store.commit(writers), Error);
    }
    EXPECT_TRUE(store.list().empty());
    EXPECT_EQ(store.partials().size(), 1U);
    std::vector<ContentStore::Writer> writers;
    writers.push_back(store.resume(digest_of("one"), 3));
    EXPECT_EQ(writers.front().written(), 3U);
    writers.push_back(store.ingest(digest_of("two"), 3));
    writers.back().write("two");
    store.commit(writers);
    EXPECT_EQ(store.list().size(), 2U);
    EXPECT_EQ(store.read(digest_of("two"), 3), "two");
}

}  // namespace
}  // namespace grua::content
