#include "content/content_store.hpp"

#include "base/error.hpp"

#include <gtest/gtest.h>
#include <filesystem>
#include <fstream>

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

}  // namespace
}  // namespace grua::content
