#include "images/image_store.hpp"

#include "base/error.hpp"
#include "base/files.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <cstdlib>
#include <filesystem>

namespace grua::images {
namespace {

namespace fs = std::filesystem;

TEST(ImageStore, loads_tags_and_removes) {
    std::string folder = fs::temp_directory_path() / "grua-images-XXXXXX";
    ASSERT_TRUE(::mkdtemp(folder.data()));
    ASSERT_EQ(std::system(fmt::format("cd {} && mkdir r a && echo hi >r/f && tar -C r -cf a/l.tar . && gzip -k a/l.tar", folder).c_str()),
              0);
    const std::string layer = content::digest_of(read_file(folder + "/a/l.tar")).text();
    replace_file(
        folder + "/a/c.json",
        fmt::format(R"({{"architecture":"amd64","os":"linux","config":{{"Cmd":["sh"]}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}})",
                    layer));
    replace_file(folder + "/a/manifest.json", R"([{"Config":"c.json","RepoTags":["x:latest"],"Layers":["l.tar.gz"]}])");
    ASSERT_EQ(std::system(fmt::format("cd {0}/a && tar -cf ../i.tar *", folder).c_str()), 0);
    {
        store::Database database{folder + "/db"};
        const content::ContentStore content{folder + "/content"};
        content::ContentStore blobs = content;
        layers::LayerStore layers{folder + "/layers", database};
        ImageStore images{database, blobs, layers};
        const Fd input{::open((folder + "/i.tar").c_str(), O_RDONLY)};
        const auto loaded = images.load(input.get());
        ASSERT_EQ(loaded.size(), 1U);
        EXPECT_EQ(loaded[0].names, std::vector<std::string>{"x:latest"});
        images.tag("x", "y:2");
        const std::string id = images.get("x")->id;
        EXPECT_EQ(images.get(id.substr(7, 4))->id, id);
        EXPECT_THROW(images.remove(id, {}, {}), Error);
        EXPECT_EQ(images.remove("y:2", {}, {}).size(), 1U);
        const auto used = [](const std::string&) { return std::vector<ContainerUse>{{std::string(64, 'a'), false}}; };
        EXPECT_THROW(images.remove("x", {}, used), Error);
        const ImageStore again{database, blobs, layers};
        EXPECT_EQ(again.get("x:latest")->size, 3U);
        EXPECT_EQ(images.remove("x", {}, {}).size(), 2U);
        EXPECT_TRUE(images.list().empty());
        EXPECT_TRUE(layers.list().empty());
    }
    fs::remove_all(folder);
}

}  // namespace
}  // namespace grua::images
