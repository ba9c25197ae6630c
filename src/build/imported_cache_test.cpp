#include "build/imported_cache.hpp"

#include "base/files.hpp"
#include "base/test_clock.hpp"
#include "base/test_loop.hpp"
#include "build/cache_mount_layers.hpp"
#include "build/test_cache_remote.hpp"
#include "images/test_store.hpp"
#include "linux/root.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

namespace grua::build {
namespace {

using layers::TarEntry;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string key(const std::string& name) { return content::digest_of(name).text(); }

VertexPtr vertex(int outputs = 1) {
    const auto out = std::make_shared<Vertex>();
    out->name = "RUN make";
    for (int number = 0; number < outputs; ++number) {
        pb::Mount& mount = *out->op.mutable_exec()->add_mounts();
        mount.set_dest(number == 0 ? "/" : "/more");
        mount.set_input(-1);
        mount.set_output(number);
    }
    return out;
}

class ImportedCacheTest : public images::TestStore {
protected:
    ImportedCacheTest() : cached_(std::make_unique<images::CachedLayers>(*database_)) { begin(); }
    ~ImportedCacheTest() override {
        imported_.reset();
        pool_.join();
    }

    void begin() {
        shared_ = std::make_shared<ImportedLayers>(*blobs_, *layers_, *images_, *cached_, pool_);
        imported_ = std::make_shared<ImportedCache>(shared_);
    }

    /// A result of these layers, known by the name.
    void has(const std::string& name, std::vector<CachedLayerPtr> of) {
        CacheContents contents;
        contents.results.push_back({.key = key("result of " + name), .layers = std::move(of)});
        contents.names.emplace(key(name), std::vector<std::size_t>{0});
        imported_->add({.contents = {std::move(contents)}, .mounts = {}}, remote_);
    }
    TreePtr find(const std::string& name, int outputs = 1) {
        const auto found = imported_->find(key(name), vertex(outputs));
        return found ? as_tree(found->front()) : nullptr;
    }
    std::string read(const TreePtr& tree, const std::string& name) {
        const Root root = Root::at(tree->open());
        return read_all(root.open_at(name, O_RDONLY).get(), name, 1000);
    }
    template <typename Body>
    std::string refusal(Body body) {
        try {
            body();
        } catch (const Error& error) {
            return error.what();
        }
        return {};
    }

    asio::thread_pool pool_{2};
    std::unique_ptr<images::CachedLayers> cached_;
    std::shared_ptr<FakeRemote> remote_ = std::make_shared<FakeRemote>();
    std::shared_ptr<ImportedLayers> shared_;
    std::shared_ptr<ImportedCache> imported_;
};

TEST_F(ImportedCacheTest, NothingComesBeforeItIsNeeded) {
    has("x", {cached_layer(*remote_, layer_tar("a", "1")), cached_layer(*remote_, layer_tar("b", "2"))});
    const TreePtr tree = find("x");
    ASSERT_TRUE(tree);
    EXPECT_EQ(tree->key, key("result of x"));
    EXPECT_EQ(find("x"), tree);
    EXPECT_EQ(remote_->reads, 0);
    EXPECT_EQ(tree->kept_layers(), nullptr);
    // For an image the blobs alone.
    tree->imported()->bring_blobs();
    EXPECT_EQ(remote_->reads, 2);
    EXPECT_THAT(layers_->list(), IsEmpty());
    EXPECT_EQ(read(tree, "a") + read(tree, "b"), "12");
    EXPECT_EQ(remote_->reads, 2);
    ASSERT_TRUE(tree->kept_layers());
    EXPECT_EQ(*tree->kept_layers(), tree->imported()->diff_ids());
    EXPECT_EQ(find("y"), nullptr);
}

TEST_F(ImportedCacheTest, WhatIsNotThereIsFoundNoMore) {
    const CachedLayerPtr base = cached_layer(*remote_, layer_tar("a", "1"));
    const CachedLayerPtr gone = cached_layer(*remote_, layer_tar("b", "2"));
    has("below", {base});
    has("x", {base, gone});
    has("above", {base, gone, cached_layer(*remote_, layer_tar("c", "3"))});
    remote_->blobs.erase(gone->blob.digest);
    EXPECT_THAT(refusal([&] { (void)find("x")->open(); }), HasSubstr("imported cache"));
    EXPECT_GT(imported_->lost(), 0U);
    EXPECT_EQ(find("x"), nullptr);
    EXPECT_EQ(find("above"), nullptr) << "it has the same blob";
    EXPECT_EQ(read(find("below"), "a"), "1");
}

TEST_F(ImportedCacheTest, WhatIsNotItsDigestIsRefused) {
    const CachedLayerPtr wrong = cached_layer(*remote_, layer_tar("a", "1"));
    remote_->blobs[wrong->blob.digest][3] ^= 1;
    has("x", {wrong});
    EXPECT_NE(refusal([&] { (void)find("x")->open(); }), "");
    EXPECT_EQ(find("x"), nullptr);
    // Longer than it was announced.
    const CachedLayerPtr longer = cached_layer(*remote_, layer_tar("b", "1"));
    remote_->blobs[longer->blob.digest] += std::string(4096, 'x');
    has("y", {longer});
    EXPECT_NE(refusal([&] { (void)find("y")->open(); }), "");
    EXPECT_EQ(find("y"), nullptr);
    // The blob is one thing, what it is said to be another.
    images::CachedLayer other = *cached_layer(*remote_, layer_tar("c", "1"));
    other.diff_id = content::digest_of("something else");
    has("z", {std::make_shared<const images::CachedLayer>(other)});
    EXPECT_THAT(refusal([&] { find("z")->imported()->bring_blobs(); }), HasSubstr("diff ID"));
    EXPECT_EQ(find("z"), nullptr);
    begin();
    has("z", {std::make_shared<const images::CachedLayer>(other)});
    EXPECT_NE(refusal([&] { (void)find("z")->open(); }), "");
}

TEST_F(ImportedCacheTest, LayersDoNotLeadOut) {
    replace_file(folder_ + "/canary", "alive", 0644);
    const std::string up = "../../../../../../../../../.." + folder_;
    has("up", {cached_layer(*remote_, layer_tar(up + "/canary", "dead"))});
    EXPECT_NE(refusal([&] { (void)find("up")->open(); }), "");
    has("link", {cached_layer(*remote_, layer_tar({{{.name = "d", .link = folder_, .type = TarEntry::Type::symlink}, ""},
                                                   {{.name = "d/canary"}, "dead"}}))});
    (void)refusal([&] { (void)find("link")->open(); });
    EXPECT_EQ(read_file(folder_ + "/canary", 100), "alive");
}

TEST_F(ImportedCacheTest, AsManyResultsAsTheOperationHas) {
    has("x", {cached_layer(*remote_, layer_tar("a", "1"))});
    EXPECT_EQ(find("x", 2), nullptr);
    EXPECT_TRUE(find("x", 1));
}

TEST_F(ImportedCacheTest, WhatHasComeIsKeptWithItsBlobs) {
    asio::io_context loop;
    TurnedClock clock;
    images::CachedLayers& kept = *cached_;
    CacheStore cache(
        loop.get_executor(), pool_, clock, clock, *database_, *layers_, {},
        [this](std::string its_key, const std::vector<oci::Digest>& of) -> ResultPtr {
            return std::make_shared<LayerTree>(std::move(its_key), *layers_, of);
        },
        [](const std::set<std::string>&) { return std::set<oci::Digest>{}; },
        {.kept = [] { return std::vector<oci::Digest>{}; },
         .keep = [&](const std::vector<images::CachedLayer>& more) { kept.keep(more); },
         .let_go = [&](const std::vector<oci::Digest>& gone) { kept.let_go(gone); },
         .collect = [&] { images_->collect(); }});
    const CachedLayerPtr layer = cached_layer(*remote_, layer_tar("a", "1"));
    has("x", {layer});
    has("untouched", {cached_layer(*remote_, layer_tar("b", "2"))});
    (void)find("x")->open();
    (void)find("untouched");
    run_on_loop(loop, [&]() -> asio::awaitable<void> {
        co_await imported_->keep_in(cache, pool_);
        co_await cache.flush();
        EXPECT_FALSE(co_await cache.look(key("untouched")));
        const auto known = co_await cache.look(key("x"));
        EXPECT_TRUE(known);
        if (known) EXPECT_EQ(known->record->id, key("result of x"));
    });
    // Nobody else has it, and it stays with its blob: an image can be made of it when the cache elsewhere is gone.
    imported_.reset();
    pool_.join();
    images_->collect();
    EXPECT_TRUE(blobs_->exists(layer->diff_id));
    ASSERT_TRUE(kept.find(layer->diff_id));
    EXPECT_EQ(kept.find(layer->diff_id)->made, layer->made);
    {
        images::BuildClaims claims(*images_);
        EXPECT_EQ(images_->pack_layers({layer->diff_id}, {}, claims).front().blob.digest, layer->blob.digest);
    }
    kept.let_go({layer->diff_id});
    images_->collect();
    EXPECT_FALSE(blobs_->exists(layer->diff_id));
}

TEST_F(ImportedCacheTest, OneInWhichNothingIsNeedsNoBlob) {
    const auto nothing = std::make_shared<const images::CachedLayer>(
        images::CachedLayer{.blob = {}, .diff_id = images::empty_layer_id(), .made = Time{std::chrono::seconds(5)}});
    has("x", {cached_layer(*remote_, layer_tar("a", "1")), nothing, nothing});
    const TreePtr tree = find("x");
    EXPECT_EQ(read(tree, "a"), "1");
    EXPECT_EQ(remote_->reads, 1);
    images::BuildClaims claims(*images_);
    const auto packed = tree->imported()->packed(claims);
    EXPECT_FALSE(packed[0].is_empty);
    EXPECT_TRUE(packed[1].is_empty && packed[2].is_empty);
}

TEST_F(ImportedCacheTest, MountsBeginWithWhatAnotherBuildHasLeft) {
    const std::string folder = folder_ + "/mount/tree";
    std::filesystem::create_directories(folder);
    const CachedLayerPtr good =
        cached_layer(*remote_, layer_tar({{{.name = "./", .type = TarEntry::Type::directory, .mode = 0700}, ""}, {{.name = "f"}, "1"}}));
    const CachedLayerPtr bad = cached_layer(*remote_, layer_tar({{{.name = "g"}, "1"}, {{.name = "../out"}, "1"}}));
    imported_->add({.contents = {}, .mounts = {{.id = "bad", .layer = *bad}, {.id = "npm", .layer = *good}}}, remote_);
    EXPECT_FALSE(imported_->fill_mount("other", folder));
    EXPECT_FALSE(imported_->fill_mount("bad", folder));
    EXPECT_TRUE(std::filesystem::is_empty(folder));
    EXPECT_FALSE(std::filesystem::exists(folder_ + "/mount/tree.in"));
    EXPECT_TRUE(imported_->fill_mount("/npm", folder));
    EXPECT_EQ(read_file(folder + "/f", 100), "1");
    struct stat about{};
    ASSERT_EQ(::stat(folder.c_str(), &about), 0);
    EXPECT_EQ(about.st_mode & 07777U, 0700U);
}

}  // namespace
}  // namespace grua::build
