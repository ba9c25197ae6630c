#include "build/cache_contents.hpp"

#include "build/cache_manifest.hpp"
#include "build/test_cache_remote.hpp"
#include "content/hash.hpp"
#include "oci/image_config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace grua::build {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

std::string key(const std::string& name) { return content::digest_of(name).text(); }

CachedLayerPtr layer(const std::string& name) {
    return std::make_shared<const images::CachedLayer>(images::CachedLayer{
        .blob = {.media_type = "application/vnd.oci.image.layer.v1.tar+gzip", .digest = key("blob " + name), .size = 10},
        .diff_id = content::digest_of("diff " + name),
        .made = Time{std::chrono::seconds(1'700'000'000 + static_cast<int>(name.size()))}});
}

CachedLayerPtr empty(int second) {
    return std::make_shared<const images::CachedLayer>(
        images::CachedLayer{.blob = {}, .diff_id = images::empty_layer_id(), .made = Time{std::chrono::seconds(second)}});
}

/// A base, a step on it known by two keys, one in which nothing is, and one with two results.
CacheContents some() {
    CacheContents out;
    out.results = {{.key = key("base"), .layers = {layer("1")}},
                   {.key = key("step"), .layers = {layer("1"), layer("22")}},
                   {.key = key("nothing"), .layers = {layer("1"), layer("22"), empty(77), layer("333")}},
                   {.key = key("two"), .layers = {layer("4444")}},
                   {.key = key("two/1"), .layers = {layer("55555")}}};
    out.names = {{key("base"), {0}}, {key("step"), {1}}, {key("alias"), {1}}, {key("nothing"), {2}}, {key("two"), {3, 4}}};
    return out;
}

BlobsByDigest by_digest(const std::vector<oci::Descriptor>& blobs) {
    BlobsByDigest out;
    for (const oci::Descriptor& each : blobs) out.emplace(each.digest, each);
    return out;
}

std::vector<std::string> blobs_of(const CacheContents& contents, const std::string& name) {
    std::vector<std::string> out;
    for (const std::size_t each : contents.names.at(name))
        for (const CachedLayerPtr& one : contents.results[each].layers) out.push_back(one->blob.digest);
    return out;
}

TEST(CacheContents, AreReadAsTheyWereWritten) {
    const WrittenContents written = write_contents(some());
    EXPECT_THAT(written.blobs, SizeIs(5));
    const CacheContents out = read_contents(parse_cache_config(cache_config_text(written.config)), by_digest(written.blobs));
    EXPECT_THAT(blobs_of(out, key("base")), ElementsAre(key("blob 1")));
    EXPECT_THAT(blobs_of(out, key("alias")), ElementsAre(key("blob 1"), key("blob 22")));
    EXPECT_EQ(out.results[out.names.at(key("alias")).at(0)].key, key("step"));
    EXPECT_THAT(blobs_of(out, key("two")), ElementsAre(key("blob 4444"), key("blob 55555")));
    const CacheContents::Result& nothing = out.results[out.names.at(key("nothing")).at(0)];
    ASSERT_THAT(nothing.layers, SizeIs(4));
    EXPECT_EQ(nothing.layers[2]->diff_id, images::empty_layer_id());
    EXPECT_EQ(nothing.layers[2]->made, Time{std::chrono::seconds(77)});
    EXPECT_EQ(nothing.layers[3]->diff_id, layer("333")->diff_id);
    EXPECT_EQ(nothing.layers[3]->made, layer("333")->made);
}

TEST(CacheContents, TheSameGiveTheSame) {
    CacheContents other = some();
    std::swap(other.results[0], other.results[1]);
    other.names = {{key("two"), {3, 4}}, {key("nothing"), {2}}, {key("alias"), {0}}, {key("step"), {0}}, {key("base"), {1}}};
    EXPECT_EQ(cache_config_text(write_contents(other).config), cache_config_text(write_contents(some()).config));
}

TEST(CacheContents, OfWhatIsNotWholeThereIsNothing) {
    const WrittenContents written = write_contents(some());
    BlobsByDigest blobs = by_digest(written.blobs);
    blobs.erase(key("blob 22"));
    blobs.at(key("blob 55555")).annotations.clear();
    blobs.at(key("blob 4444")).media_type = "application/vnd.oci.image.layer.v1.tar+gzip";
    const CacheContents out = read_contents(written.config, blobs);
    EXPECT_TRUE(out.names.contains(key("base")));
    EXPECT_FALSE(out.names.contains(key("step")));
    EXPECT_FALSE(out.names.contains(key("alias")));
    EXPECT_FALSE(out.names.contains(key("nothing")));
    // One of its results, which has a key of its own, is not all of them.
    EXPECT_THAT(out.names.find(key("two")) == out.names.end() ? std::vector<std::size_t>{0} : out.names.at(key("two")), SizeIs(1));
}

TEST(CacheContents, WhatBuildKitHasWrittenNamesNothingOfOurs) {
    CacheConfig config = write_contents(some()).config;
    for (CacheConfig::Record& each : config.records)
        for (auto& input : each.inputs) input.front().selector.clear();
    const CacheContents out = read_contents(config, by_digest(write_contents(some()).blobs));
    EXPECT_FALSE(out.names.contains(key("alias")));
}

TEST(CacheContents, LayersHaveABound) {
    CacheConfig config;
    BlobsByDigest blobs;
    for (int number = 0; number < 501; ++number) {
        const images::CachedLayer one = *layer(std::to_string(number));
        config.layers.push_back({.blob = one.blob.digest, .parent = number - 1});
        blobs.emplace(one.blob.digest, descriptor_of(one));
    }
    config.records.push_back(
        {.results = {{.layer = 500, .created_at = {}, .empty = {}}}, .chains = {}, .digest = key("deep"), .inputs = {}});
    EXPECT_THAT(read_contents(config, blobs).names, IsEmpty());
    for (int number = 0; number < 500; ++number)
        config.records.push_back({.results = {{.layer = 499, .created_at = {}, .empty = {}}},
                                  .chains = {},
                                  .digest = key(std::to_string(number)),
                                  .inputs = {}});
    EXPECT_THROW((void)read_contents(config, blobs), Error);
}

TEST(CacheContents, AnImageTellsOfItsOwnLayersAlone) {
    const std::vector<oci::Digest> chain{layer("1")->diff_id, layer("22")->diff_id, images::empty_layer_id(), layer("333")->diff_id};
    const CacheConfig records = write_inline(some(), chain);
    const std::string config =
        with_inline_cache(json::dump(
                              [&] {
                                  oci::ImageConfig image;
                                  image.architecture = "amd64";
                                  image.os = "linux";
                                  image.rootfs.type = "layers";
                                  for (const std::size_t each : {0U, 1U, 3U}) image.rootfs.diff_ids.push_back(chain[each].text());
                                  image.history = {{.created = "2024-01-01T00:00:00Z", .created_by = "base"},
                                                   {.created = "2024-01-02T00:00:00Z", .created_by = "step"},
                                                   {.created = "2024-01-03T00:00:00Z", .created_by = "nothing", .empty_layer = true},
                                                   {.created = "2024-01-04T00:00:00Z", .created_by = "more"}};
                                  return image;
                              }(),
                              {}),
                          records);
    oci::Manifest manifest;
    for (const char* name : {"1", "22", "333"}) manifest.layers.push_back(layer(name)->blob);
    const CacheContents out = read_inline_cache(manifest, config);
    EXPECT_THAT(blobs_of(out, key("alias")), ElementsAre(key("blob 1"), key("blob 22")));
    EXPECT_EQ(out.results[out.names.at(key("alias")).at(0)].layers[1]->made, *parse_time("2024-01-02T00:00:00Z"));
    EXPECT_THAT(blobs_of(out, key("nothing")), ElementsAre(key("blob 1"), key("blob 22"), "", key("blob 333")));
    EXPECT_FALSE(out.names.contains(key("two")));
    // Other layers than the configuration has diff IDs: nobody knows which is which.
    manifest.layers.pop_back();
    EXPECT_THAT(read_inline_cache(manifest, config).names, IsEmpty());
}

TEST(CacheManifest, IsReadAsItWasWritten) {
    const WrittenContents written = write_contents(some());
    const oci::Descriptor config{.media_type = std::string(cache_config_type), .digest = key("config"), .size = 5};
    for (const CacheForm form : {CacheForm::manifest, CacheForm::index, CacheForm::docker_index}) {
        const CacheRoot root = write_cache_manifest(form, config, written.blobs);
        const CacheManifest out = parse_cache_manifest(root.text);
        EXPECT_EQ(out.config.digest, config.digest);
        EXPECT_THAT(out.blobs, SizeIs(5));
        EXPECT_THAT(read_contents(written.config, by_digest(out.blobs)).names, SizeIs(some().names.size() + 1));
    }
}

TEST(CacheManifest, IsNoneWhereItIsTwoThings) {
    EXPECT_THROW((void)parse_cache_manifest(R"({"schemaVersion":2,"manifests":[],"layers":[]})"), Error);
    EXPECT_THROW((void)parse_cache_manifest("x"), Error);
    EXPECT_THROW((void)parse_cache_manifest(R"({"layers":[{"digest":"../x"}]})"), Error);
    EXPECT_THROW((void)parse_cache_manifest(std::string(oci::manifest_size_limit + 1, ' ')), Error);
}

TEST(RemoteCache, IsReadToItsConfigurationAndNoFurther) {
    const WrittenContents written = write_contents(some());
    const std::string text = cache_config_text(written.config);
    const oci::Descriptor config{
        .media_type = std::string(cache_config_type), .digest = content::digest_of(text).text(), .size = text.size()};
    std::vector<oci::Descriptor> blobs = written.blobs;
    blobs.push_back(descriptor_of(CachedMount{.id = "npm", .layer = *layer("mount")}));
    FakeRemote remote;
    remote.top = write_cache_manifest(CacheForm::manifest, config, blobs).text;
    EXPECT_THROW((void)read_remote_cache(remote, {}), Error) << "its configuration is missing";
    remote.blobs[config.digest] = text;
    const RemoteCache out = read_remote_cache(remote, {});
    ASSERT_THAT(out.contents, SizeIs(1));
    EXPECT_THAT(out.contents[0].names, SizeIs(some().names.size() + 1));
    ASSERT_THAT(out.mounts, SizeIs(1));
    EXPECT_EQ(out.mounts[0].id, "npm");
    EXPECT_EQ(out.mounts[0].layer.diff_id, layer("mount")->diff_id);
    remote.blobs[config.digest] = text + " ";
    EXPECT_THROW((void)read_remote_cache(remote, {}), Error) << "it is not its digest";
    oci::Descriptor huge = config;
    huge.size = std::uint64_t{1} << 40U;
    remote.top = write_cache_manifest(CacheForm::manifest, huge, blobs).text;
    EXPECT_THROW((void)read_remote_cache(remote, {}), Error) << "it is too large";
}

TEST(RemoteCache, AnImageWithoutOneIsAnEmptyOne) {
    oci::ImageConfig image;
    image.rootfs.type = "layers";
    image.rootfs.diff_ids = {layer("1")->diff_id.text()};
    const std::string config = json::dump(image, {});
    oci::Manifest manifest;
    manifest.schema_version = 2;
    manifest.media_type = oci::media_type::manifest;
    manifest.config = {
        .media_type = "application/vnd.oci.image.config.v1+json", .digest = content::digest_of(config).text(), .size = config.size()};
    manifest.layers = {layer("1")->blob};
    FakeRemote remote;
    remote.top = json::dump(manifest, {});
    remote.blobs[manifest.config.digest] = config;
    EXPECT_THAT(read_remote_cache(remote, {}).contents, IsEmpty());
}

TEST(RemoteCache, IndexesInEachOtherHaveAnEnd) {
    FakeRemote remote;
    oci::Index index;
    index.schema_version = 2;
    index.media_type = oci::media_type::index;
    for (int depth = 0; depth < 8; ++depth) {
        remote.top = json::dump(index, {});
        const oci::Descriptor own{
            .media_type = index.media_type, .digest = content::digest_of(remote.top).text(), .size = remote.top.size()};
        remote.blobs[own.digest] = remote.top;
        index.manifests = {own};
    }
    EXPECT_THROW((void)read_remote_cache(remote, {}), Error);
}

}  // namespace
}  // namespace grua::build
