#include "images/built.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "images/image_store.hpp"
#include "images/make.hpp"
#include "images/test_store.hpp"
#include "layers/source.hpp"
#include "layers/tar.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <filesystem>
#include <thread>

namespace grua::images {
namespace {

namespace fs = std::filesystem;

using Digests = std::vector<oci::Digest>;

std::string error_of(const std::function<void()>& body) {
    try {
        body();
    } catch (const Error& error) {
        return error.what();
    }
    return "no error";
}

oci::Platform host() { return oci::Platform::parse("linux/" + oci::Platform::host().architecture); }

class BuiltTest : public TestStore {
protected:
    /// What a step of a build leaves: `script` runs in its folder.
    oci::Digest step(const Digests& below, const std::string& script) {
        const std::string container = fmt::format("build-{}", count_++);
        layers_->prepare(container, below);
        shell(fmt::format("cd {} && {}", layers_->paths(container).upper, script));
        return layers_->keep_step(container);
    }

    /// An image of one layer, packed as `pack` says: "cat", "gzip", "zstd -q".
    ImagePtr make_base(const std::string& name, const std::string& pack = "gzip") {
        shell(fmt::format("rm -rf base && mkdir -p base/etc && echo {0} >base/etc/name && tar -C base -c . | {1} >base.tar", name, pack));
        images_->import(input("base.tar").get(), {.reference = name});
        return images_->get(name);
    }

    static BuiltManifest manifest_for(std::vector<PackedLayer> layers, const oci::Platform& platform = host()) {
        oci::ImageConfig config;
        config.architecture = platform.architecture;
        config.os = platform.os;
        config.variant = platform.variant;
        config.created = "2026-01-02T03:04:05Z";
        config.rootfs.type = "layers";
        for (const PackedLayer& each : layers) {
            if (!each.is_empty) config.rootfs.diff_ids.push_back(each.diff_id.text());
            config.history.push_back(
                {.created = config.created, .created_by = "test", .author = {}, .comment = {}, .empty_layer = each.is_empty});
        }
        BuiltManifest out;
        out.config = json::dump(config, {});
        out.layers = std::move(layers);
        out.platform = platform;
        return out;
    }
    static BuiltImage image_of(std::vector<PackedLayer> layers, const std::string& name = "built:1") {
        BuiltImage out;
        out.manifests.push_back(manifest_for(std::move(layers)));
        if (!name.empty()) out.names.push_back(oci::Reference::parse(name));
        return out;
    }
    std::vector<PackedLayer> pack(const Digests& chain, const PackOptions& options = {}) {
        return images_->pack_layers(chain, options, *claims_);
    }
    BuiltResult build(const Digests& chain, const std::string& name, const PackOptions& options = {}) {
        BuildClaims claims{*images_};
        return images_->add_built(image_of(images_->pack_layers(chain, options, claims), name), claims);
    }
    std::string tar_of(const oci::Descriptor& blob) const {
        const Fd file = blobs_->open(oci::Digest::from(blob.digest));
        layers::FdSource packed{file.get()};
        const auto plain = layers::decompress(packed);
        std::string out;
        std::vector<char> buffer(65536);
        while (const std::size_t count = plain->read(buffer)) out.append(buffer.data(), count);
        return out;
    }
    layers::Packing packing_of(const oci::Descriptor& blob) const {
        return layers::packing_of(blobs_->read(oci::Digest::from(blob.digest), std::size_t{8} << 20U).substr(0, layers::packing_mark_size));
    }
    std::string saved(const std::vector<std::string>& names) const {
        std::string out;
        images_->save(names, {}, [&](std::string_view piece) { out += piece; });
        return out;
    }
    std::string saved(const BuiltImage& image, ArchiveForm form) const {
        std::string out;
        images_->save_built(image, form, [&](std::string_view piece) { out += piece; });
        return out;
    }
    std::vector<LoadedImage> load(const std::string& archive) const {
        replace_file(folder_ + "/archive.tar", archive);
        return images_->load(input("archive.tar").get());
    }
    void begin() { claims_.emplace(*images_); }
    void end() { claims_.reset(); }

    std::optional<BuildClaims> claims_;
    int count_ = 0;
};

TEST_F(BuiltTest, a_build_becomes_an_image) {
    const ImagePtr base = make_base("base:1");
    Digests chain = base->diff_ids;
    chain.push_back(step(chain, "mkdir etc && echo new >etc/added && rm -f x"));
    chain.push_back(step(chain, "echo again >second"));
    begin();
    std::vector<PackProgress> told;
    const auto packed = images_->pack_layers(chain, {.bases = {base}}, *claims_, [&](const PackProgress& each) { told.push_back(each); });
    ASSERT_EQ(packed.size(), 3U);
    EXPECT_EQ(packed[0].blob.digest, base->layers[0].digest);
    EXPECT_EQ(packed[0].diff_id, base->diff_ids[0]);
    for (const PackedLayer& each : packed) {
        EXPECT_FALSE(each.is_empty);
        EXPECT_EQ(content::digest_of(tar_of(each.blob)), each.diff_id);
        EXPECT_EQ(blobs_->size(oci::Digest::from(each.blob.digest)), each.blob.size);
        EXPECT_EQ(each.blob.media_type, "application/vnd.oci.image.layer.v1.tar+gzip");
    }
    ASSERT_GE(told.size(), 2U);
    EXPECT_EQ(told.front().layers, 2U);
    EXPECT_EQ(told.back().current, told.back().total);
    EXPECT_EQ(told.back().total, 10U);
    EXPECT_EQ(layers_->find_step(chain[1])->diff_id, packed[1].diff_id);

    const BuiltResult result = images_->add_built(image_of(packed), *claims_);
    EXPECT_TRUE(result.moved.empty());
    EXPECT_EQ(result.names, std::vector<std::string>{"built:1"});
    end();
    open();
    const ImagePtr image = images_->get("built:1");
    EXPECT_EQ(image->id, result.id);
    EXPECT_EQ(image->target.media_type, oci::media_type::manifest);
    EXPECT_EQ(image->config_digest, result.configs.at(0));
    EXPECT_EQ(image->diff_ids, (Digests{packed[0].diff_id, packed[1].diff_id, packed[2].diff_id}));
    EXPECT_EQ(image->parent, "");
    EXPECT_EQ(images_->history("built:1").size(), 3U);
    EXPECT_EQ(image->repo_tags, std::vector<std::string>{"built:1"});
    // What a container of it sees.
    layers_->prepare("c", image->diff_ids);
    const Fd root = layers_->mount("c");
    EXPECT_EQ(::faccessat(root.get(), "etc/added", F_OK, 0), 0);
    EXPECT_EQ(::faccessat(root.get(), "etc/name", F_OK, 0), 0);
    EXPECT_EQ(::faccessat(root.get(), "second", F_OK, 0), 0);
    layers_->remove("c");
    // Out and in again.
    const std::string archive = saved({"built:1"});
    images_->remove("built:1", {}, {});
    EXPECT_EQ(load(archive).at(0).id, result.id);
}

TEST_F(BuiltTest, the_same_build_gives_the_same_image) {
    const ImagePtr base = make_base("base:1");
    Digests chain = base->diff_ids;
    chain.push_back(step(chain, "echo new >added"));
    const BuiltResult first = build(chain, "built:1");
    const std::size_t blobs = blobs_->list().size();
    const BuiltResult second = build(chain, "built:2");
    EXPECT_EQ(second.id, first.id);
    EXPECT_EQ(blobs_->list().size(), blobs);
    EXPECT_EQ(images_->get(first.id)->repo_tags, (std::vector<std::string>{"built:1", "built:2"}));
    // Another image takes the name, and it is said from which.
    chain.push_back(step(chain, "echo more >more"));
    const BuiltResult third = build(chain, "built:2");
    EXPECT_NE(third.id, first.id);
    EXPECT_EQ(third.moved, (std::vector<std::pair<std::string, std::string>>{{"built:2", first.id}}));
    EXPECT_EQ(images_->get("built:2")->id, third.id);
    EXPECT_EQ(build(chain, "").names, std::vector<std::string>{});
    BuiltImage by_digest = image_of(images_->pack_layers(chain, {}, claims_.emplace(*images_)), "");
    by_digest.repositories.push_back(oci::Reference::parse("registry.example/r"));
    EXPECT_EQ(images_->add_built(by_digest, *claims_).id, third.id);
    EXPECT_EQ(images_->get("registry.example/r@" + third.id)->id, third.id);
    by_digest.names.push_back(oci::Reference::parse("a@" + third.id));
    EXPECT_THAT(error_of([&] { images_->add_built(by_digest, *claims_); }), testing::HasSubstr("a name with a digest"));
    end();
}

TEST_F(BuiltTest, an_index_has_what_is_said_about_its_images) {
    const ImagePtr base = make_base("base:1");
    Digests chain = base->diff_ids;
    chain.push_back(step(chain, "echo new >added"));
    for (const bool is_artifact : {true, false}) {
        begin();
        BuiltImage image = image_of(pack(chain));
        image.manifests[0].annotations = {{"m", "1"}};
        image.manifests[0].descriptor_annotations = {{"d", "2"}};
        image.annotations = {{"i", "3"}};
        const oci::Descriptor subject = manifest_of(image.manifests[0], true);
        const std::string statement = fmt::format(R"({{"about":"{}"}})", subject.digest);
        image.attestations.push_back(
            {.subject = 0, .statements = {{"https://slsa.dev/provenance/v1", statement}}, .is_artifact = is_artifact});
        const BuiltResult result = images_->add_built(image, *claims_);
        EXPECT_EQ(result.target.media_type, oci::media_type::index);
        end();
        open();
        const ImagePtr found = images_->get("built:1");
        EXPECT_EQ(found->id, result.id);
        EXPECT_EQ(found->manifest_digest->text(), subject.digest);
        ASSERT_EQ(found->variants.size(), 2U);
        EXPECT_EQ(found->variants[0].kind, Variant::Kind::image);
        EXPECT_EQ(found->variants[0].platform, host());
        EXPECT_EQ(found->variants[0].manifest.annotations.at("d"), "2");
        EXPECT_EQ(found->variants[1].kind, Variant::Kind::attestation);
        EXPECT_EQ(found->variants[1].subject->text(), subject.digest);
        EXPECT_EQ(found->variants[1].platform.text(), "unknown/unknown");
        EXPECT_TRUE(found->variants[0].available && found->variants[1].available);
        EXPECT_TRUE(found->references == std::vector{oci::Reference::parse("built:1")});
        const oci::Manifest said = oci::parse_manifest(blobs_->read(oci::Digest::from(found->variants[1].manifest.digest), 1U << 20U));
        EXPECT_EQ(said.subject.has_value(), is_artifact);
        ASSERT_EQ(said.layers.size(), 1U);
        EXPECT_EQ(said.layers[0].annotations.at("in-toto.io/predicate-type"), "https://slsa.dev/provenance/v1");
        EXPECT_EQ(blobs_->read(oci::Digest::from(said.layers[0].digest), 1U << 20U), statement);
        EXPECT_EQ(oci::parse_index(blobs_->read(oci::Digest::from(found->id), 1U << 20U)).annotations.at("i"), "3");
        EXPECT_EQ(images_->list().size(), 2U);
        const std::string archive = saved({"built:1"});
        images_->remove("built:1", {}, {});
        EXPECT_EQ(blobs_->list().size(), images_->get("base:1")->blobs.size());
        EXPECT_EQ(load(archive).at(0).id, result.id);
        EXPECT_EQ(saved({"built:1"}), archive);
        images_->remove("built:1", {}, {});
        chain.back() = step(base->diff_ids, "echo other >other");  // a diff ID that went with the image
    }
}

TEST_F(BuiltTest, an_image_for_several_platforms) {
    const ImagePtr base = make_base("base:1");
    const oci::Digest here = step(base->diff_ids, "echo here >added");
    const oci::Digest there = step(base->diff_ids, "echo there >added");
    begin();
    BuiltImage image = image_of(pack({base->diff_ids[0], there}));
    image.manifests.front() = manifest_for(pack({base->diff_ids[0], there}), oci::Platform::parse("linux/s390x"));
    image.manifests.push_back(manifest_for(pack({base->diff_ids[0], here})));
    const BuiltResult result = images_->add_built(image, *claims_);
    EXPECT_EQ(result.configs.size(), 2U);
    end();
    const ImagePtr found = images_->get("built:1");
    EXPECT_EQ(found->config.architecture, host().architecture);
    EXPECT_EQ(found->diff_ids[1], layers_->find_step(here)->diff_id);
    EXPECT_EQ(images_->for_platform(found, oci::Platform::parse("linux/s390x"))->diff_ids[1], layers_->find_step(there)->diff_id);
    // One manifest, in an index all the same.
    begin();
    BuiltImage one = image_of(pack({base->diff_ids[0], here}), "one:1");
    one.is_index = true;
    EXPECT_TRUE(oci::is_index(images_->add_built(one, *claims_).target.media_type));
    end();
}

TEST_F(BuiltTest, docker_s_media_types) {
    const ImagePtr base = make_base("base:1");
    Digests chain = base->diff_ids;
    chain.push_back(step(chain, "echo new >added"));
    begin();
    BuiltImage image = image_of(pack(chain));
    image.oci_types = false;
    const BuiltResult result = images_->add_built(image, *claims_);
    EXPECT_EQ(result.target.media_type, oci::media_type::docker_manifest);
    const ImagePtr found = images_->get("built:1");
    for (const oci::Descriptor& each : found->layers) EXPECT_EQ(each.media_type, "application/vnd.docker.image.rootfs.diff.tar.gzip");
    // What came in Docker's types leaves in OCI's again.
    EXPECT_EQ(compression_of(found->layers[1].media_type), Compression::gzip);
    EXPECT_EQ(build(found->diff_ids, "again:1", {.bases = {found}}).target.media_type, oci::media_type::manifest);
    for (const oci::Descriptor& each : images_->get("again:1")->layers)
        EXPECT_EQ(each.media_type, "application/vnd.oci.image.layer.v1.tar+gzip");
    image.attestations.push_back({});
    EXPECT_EQ(error_of([&] { images_->add_built(image, *claims_); }), R"(cannot export attestations with "oci-mediatypes=false")");
    image.attestations.clear();
    image.manifests[0].descriptor_annotations = {{"a", "b"}};
    EXPECT_EQ(error_of([&] { images_->add_built(image, *claims_); }), R"(cannot export annotations with "oci-mediatypes=false")");
    image.oci_types = true;
    image.annotations = {{"a", "b"}};
    EXPECT_EQ(error_of([&] { images_->add_built(image, *claims_); }), "index annotations not supported for single platform export");
    end();
}

TEST_F(BuiltTest, what_does_not_fit_is_refused) {
    const ImagePtr base = make_base("base:1");
    Digests chain = base->diff_ids;
    chain.push_back(step(chain, "echo new >added"));
    begin();
    const auto packed = pack(chain);
    const auto refused = [&](const BuiltImage& image) { return error_of([&] { images_->add_built(image, *claims_); }); };
    BuiltImage image = image_of(packed);
    std::swap(image.manifests[0].layers[0], image.manifests[0].layers[1]);
    EXPECT_EQ(refused(image), fmt::format("layer {} has the diff ID {}, the configuration says {}", chain[1].text(),
                                          packed[1].diff_id.text(), packed[0].diff_id.text()));
    image.manifests[0].layers.pop_back();
    EXPECT_EQ(refused(image), "invalid manifest, layers length mismatch: expected 1, got 2");
    image.manifests[0].config = "{";
    EXPECT_NE(refused(image), "no error");
    image.manifests.clear();
    EXPECT_EQ(refused(image), "an image needs a manifest");
    image = image_of(packed);
    image.attestations.push_back({.subject = 1, .statements = {}});
    EXPECT_EQ(refused(image), "an attestation about none of the image's manifests");
    image = image_of(packed);
    image.manifests[0].layers[1].blob.digest = content::digest_of("none").text();
    EXPECT_EQ(refused(image), fmt::format("the blob {} of a layer is not here", content::digest_of("none").text()));
    const oci::Digest unknown = content::digest_of("unknown");
    EXPECT_EQ(error_of([&] { pack({unknown}); }), fmt::format("layer {}: no image that is here has its blob", unknown.text()));
    const oci::Digest lost = oci::Digest::parse_step("step:" + std::string(64, 'a')).value();
    EXPECT_EQ(error_of([&] { pack({lost}); }), fmt::format("layer {}: it is not here", lost.text()));
    EXPECT_EQ(error_of([&] { pack(chain, {.compression = {Compression::gzip, 11}}); }), "gzip: invalid compression level 11: it is 0 to 9");
    end();
    EXPECT_EQ(images_->list().size(), 1U);
    EXPECT_EQ(blobs_->list().size(), images_->get("base:1")->blobs.size());
}

TEST_F(BuiltTest, a_layer_without_an_entry_is_left_out) {
    const ImagePtr base = make_base("base:1");
    Digests chain = base->diff_ids;
    chain.push_back(step(chain, "true"));
    chain.push_back(step(chain, "echo new >added"));
    chain.push_back(step(chain, "true"));
    begin();
    const auto packed = pack(chain);
    ASSERT_EQ(packed.size(), 4U);
    EXPECT_TRUE(packed[1].is_empty && packed[3].is_empty);
    EXPECT_FALSE(packed[2].is_empty);
    EXPECT_EQ(packed[1].diff_id, content::digest_of(std::string(1024, '\0')));
    images_->add_built(image_of(packed), *claims_);
    end();
    EXPECT_EQ(images_->get("built:1")->diff_ids, (Digests{packed[0].diff_id, packed[2].diff_id}));
    const auto history = images_->history("built:1");
    ASSERT_EQ(history.size(), 4U);
    EXPECT_EQ(history[0].size, 0U);
    EXPECT_EQ(history[1].size, 4U);
}

TEST_F(BuiltTest, layers_are_packed_as_it_is_asked_for) {
    const ImagePtr base = make_base("base:1");
    Digests chain = base->diff_ids;
    chain.push_back(step(chain, "yes words | head -c 3000000 >text && ln text other && mkdir d && chmod 700 d && ln -s /x d/link"));
    struct Case {
        Compression kind;
        layers::Packing packing;
        const char* type;
    };
    std::optional<oci::Digest> diff_id;
    for (const Case& each : {Case{Compression::gzip, layers::Packing::gzip, "application/vnd.oci.image.layer.v1.tar+gzip"},
                             Case{Compression::zstd, layers::Packing::zstd, "application/vnd.oci.image.layer.v1.tar+zstd"},
                             Case{Compression::uncompressed, layers::Packing::plain, "application/vnd.oci.image.layer.v1.tar"}}) {
        begin();
        PackOptions options{.compression = {each.kind, {}}, .bases = {base}};
        const auto packed = pack(chain, options);
        EXPECT_EQ(packed[0].blob.digest, base->layers[0].digest) << "what came stays as it came";
        EXPECT_EQ(packed[1].blob.media_type, each.type);
        EXPECT_EQ(packing_of(packed[1].blob), each.packing);
        if (diff_id) EXPECT_EQ(packed[1].diff_id, *diff_id);
        diff_id = packed[1].diff_id;
        // The tar is the layer.
        const Fd file = blobs_->open(oci::Digest::from(packed[1].blob.digest));
        layers::FdSource source{file.get()};
        EXPECT_EQ(layers_->stage(source, diff_id)->diff_id(), *diff_id);
        options.force = true;
        const auto forced = pack(chain, options);
        EXPECT_EQ(packing_of(forced[0].blob), each.packing);
        EXPECT_EQ(forced[0].diff_id, packed[0].diff_id);
        EXPECT_EQ(forced[1].blob, packed[1].blob);
        EXPECT_EQ(content::digest_of(tar_of(forced[0].blob)), packed[0].diff_id);
        end();
    }
    // Levels are no decoration.
    std::vector<std::uint64_t> sizes;
    for (const int level : {0, 1, 9}) {
        begin();
        sizes.push_back(pack(chain, {.compression = {Compression::gzip, level}})[1].blob.size);
        end();
    }
    EXPECT_GT(sizes[0], 3'000'000U);
    EXPECT_GT(sizes[0], sizes[1]);
    EXPECT_GT(sizes[1], sizes[2]);
}

TEST_F(BuiltTest, what_an_image_has_packed_is_not_packed_again) {
    const ImagePtr base = make_base("base:1");
    Digests chain = base->diff_ids;
    chain.push_back(step(chain, "echo new >added"));
    build(chain, "built:1");
    begin();
    std::size_t anew = 0;
    const auto count = [&](const PackProgress& each) { anew = each.layers; };
    images_->pack_layers(chain, {.compression = {Compression::zstd, {}}}, *claims_, count);
    EXPECT_EQ(anew, 0U);
    // By force, and then it is there in both.
    const PackOptions forced{.compression = {Compression::zstd, {}}, .force = true};
    const auto packed = images_->pack_layers(chain, forced, *claims_, count);
    EXPECT_EQ(anew, 2U);
    images_->add_built(image_of(packed, "zstd:1"), *claims_);
    end();
    begin();
    anew = 0;
    EXPECT_EQ(images_->pack_layers(chain, forced, *claims_, count)[1].blob, packed[1].blob);
    const auto plain = images_->pack_layers(chain, {}, *claims_, count);
    EXPECT_EQ(anew, 0U);
    EXPECT_EQ(plain[0].blob.digest, base->layers[0].digest);
    EXPECT_EQ(packing_of(plain[1].blob), layers::Packing::gzip);
    // What the build stands on comes first, however it is packed.
    const ImagePtr other = images_->get("zstd:1");
    EXPECT_EQ(images_->pack_layers(chain, {.bases = {other}}, *claims_, count)[0].blob.digest, other->layers[0].digest);
    end();
}

TEST_F(BuiltTest, an_image_that_comes_in_with_a_steps_layer_survives_a_power_cut) {
    const ImagePtr base = make_base("base:1");
    Digests chain = base->diff_ids;
    chain.push_back(step(chain, "echo new >added"));
    // An archive for the client: no image is made of it here, and nothing is synced.
    begin();
    const std::string archive = saved(image_of(pack(chain)), ArchiveForm::docker);
    end();
    const std::string id = load(archive).at(0).id;
    open("second");
    const ImagePtr image = images_->get(id);
    for (const oci::Digest& each : image->diff_ids) EXPECT_TRUE(layers_->find(each)) << each.text();
    EXPECT_EQ(layers_->inconsistencies().size(), 0U);
    layers_->prepare("c", image->diff_ids);
    const Fd root = layers_->mount("c");
    EXPECT_EQ(::faccessat(root.get(), "added", F_OK, 0), 0);
}

TEST_F(BuiltTest, a_step_outlives_its_image_and_is_packed_to_the_same_bytes) {
    const ImagePtr base = make_base("base:1");
    Digests chain = base->diff_ids;
    chain.push_back(step(chain, "head -c 2000000 /dev/urandom >random && mkdir -p a/b && touch -d 2001-01-01 a/b"));
    const BuiltResult first = build(chain, "built:1");
    const std::string blob = images_->get("built:1")->layers[1].digest;
    images_->remove("built:1", {}, {});
    EXPECT_FALSE(blobs_->exists(oci::Digest::from(blob)));
    ASSERT_TRUE(layers_->find_step(chain[1]));
    open();
    ASSERT_TRUE(layers_->find_step(chain[1]));
    EXPECT_EQ(build(chain, "built:1").id, first.id);
    EXPECT_EQ(images_->get("built:1")->layers[1].digest, blob);
    // A folder that somebody has touched is another layer, and not said to be the same.
    images_->remove("built:1", {}, {});
    shell("for each in layers/l/-*; do echo changed >$each/changed; done");
    EXPECT_THAT(error_of([&] { build(chain, "built:1"); }), testing::HasSubstr("its files were changed"));
    EXPECT_EQ(images_->list().size(), 1U);
}

TEST_F(BuiltTest, builds_at_once_share_what_they_have_in_common) {
    const ImagePtr base = make_base("base:1");
    Digests common = base->diff_ids;
    for (int each = 0; each < 3; ++each) common.push_back(step(common, fmt::format("yes {0} | head -c 1500000 >file{0}", each)));
    constexpr std::size_t builds = 4;
    std::vector<Digests> chains(builds, common);
    for (std::size_t each = 0; each < builds; ++each) chains[each].push_back(step(common, fmt::format("echo {} >own", each)));
    std::vector<std::string> errors(builds);
    std::atomic<std::size_t> anew = 0;
    {
        std::vector<std::jthread> threads;
        for (std::size_t each = 0; each < builds; ++each) {
            threads.emplace_back([&, each] {
                errors[each] = error_of([&] {
                    BuildClaims claims{*images_};
                    std::size_t mine = 0;
                    const auto packed =
                        images_->pack_layers(chains[each], {}, claims, [&](const PackProgress& told) { mine = told.layers; });
                    anew += mine;
                    images_->add_built(image_of(packed, fmt::format("built:{}", each)), claims);
                });
            });
        }
    }
    EXPECT_THAT(errors, testing::Each("no error"));
    // Each once but for a build that came after another had its image.
    EXPECT_EQ(anew, 3 + builds);
    for (std::size_t each = 0; each < builds; ++each) {
        const ImagePtr image = images_->get(fmt::format("built:{}", each));
        EXPECT_EQ(image->diff_ids.size(), 5U);
        for (const oci::Descriptor& layer : image->layers) EXPECT_TRUE(blobs_->exists(oci::Digest::from(layer.digest)));
    }
    EXPECT_EQ(images_->list().size(), builds + 1);
}

TEST_F(BuiltTest, a_build_that_waited_for_one_that_failed_packs_itself) {
    const oci::Digest layer = step({}, "yes word | head -c 30000000 >file");
    std::stop_source stop;
    std::string first = "none";
    std::atomic<bool> has_begun = false;
    BuildClaims claims{*images_};
    std::jthread other{[&] {
        first = error_of([&] {
            BuildClaims own{*images_};
            images_->pack_layers({layer}, {}, own, [&](const PackProgress&) { has_begun = true; }, stop.get_token());
            fail(ErrorKind::system, "over too soon");
        });
    }};
    while (!has_begun) std::this_thread::yield();
    stop.request_stop();
    const auto packed = images_->pack_layers({layer}, {}, claims);
    other.join();
    EXPECT_TRUE(blobs_->exists(oci::Digest::from(packed[0].blob.digest)));
    EXPECT_THAT(first, testing::AnyOf(testing::HasSubstr("context canceled"), testing::Eq("over too soon")));
}

TEST_F(BuiltTest, claims_keep_what_no_image_has_yet) {
    const ImagePtr base = make_base("base:1");
    Digests chain = base->diff_ids;
    chain.push_back(step(chain, "echo new >added"));
    const std::size_t before = blobs_->list().size();
    begin();
    const auto packed = pack(chain);
    const oci::Digest blob = oci::Digest::from(packed[1].blob.digest);
    layers_->forget_steps({chain[1]});
    images_->collect();
    images_->prune(true, {});
    EXPECT_TRUE(blobs_->exists(blob));
    EXPECT_TRUE(layers_->find(packed[1].diff_id));
    EXPECT_TRUE(blobs_->exists(oci::Digest::from(packed[0].blob.digest))) << "of an image that is gone";
    images_->add_built(image_of(packed), *claims_);
    end();
    EXPECT_TRUE(blobs_->exists(blob));
    images_->remove("built:1", {}, {});
    // Without an image it all goes with the build.
    const ImagePtr again = make_base("base:1");
    chain = again->diff_ids;
    chain.push_back(step(chain, "echo new >added"));
    begin();
    const oci::Digest packed_again = oci::Digest::from(pack(chain)[1].blob.digest);
    EXPECT_TRUE(blobs_->exists(packed_again));
    end();
    EXPECT_FALSE(blobs_->exists(packed_again));
    EXPECT_EQ(blobs_->list().size(), before);
}

TEST_F(BuiltTest, times_are_rewritten) {
    const ImagePtr base = make_base("base:1");
    Digests chain = base->diff_ids;
    chain.push_back(step(chain, "touch -d @5 old && touch -d @2000000000.5 young"));
    begin();
    const PackOptions options{.rewrite_timestamps = 1000, .bases = {base}};
    const auto packed = pack(chain, options);
    EXPECT_EQ(packed[0].blob.digest, base->layers[0].digest);
    EXPECT_FALSE(layers_->find_step(chain[1])->diff_id) << "it is not what the folder is";
    EXPECT_FALSE(layers_->find(packed[1].diff_id));
    images_->add_built(image_of(packed), *claims_);
    end();
    open();
    ASSERT_TRUE(layers_->find(packed[1].diff_id));
    EXPECT_EQ(images_->get("built:1")->diff_ids[1], packed[1].diff_id);
    layers_->prepare("c", images_->get("built:1")->diff_ids);
    const Fd root = layers_->mount("c");
    struct stat status{};
    ASSERT_EQ(::fstatat(root.get(), "young", &status, 0), 0);
    EXPECT_EQ(status.st_mtim.tv_sec, 1000);
    EXPECT_EQ(status.st_mtim.tv_nsec, 0);
    ASSERT_EQ(::fstatat(root.get(), "old", &status, 0), 0);
    EXPECT_EQ(status.st_mtim.tv_sec, 5);
    ASSERT_EQ(::fstatat(root.get(), "etc/name", &status, 0), 0);
    EXPECT_GT(status.st_mtim.tv_sec, 1000) << "what came with the base";
    // Without it the step is itself.
    const oci::Digest unsaved = step(base->diff_ids, "touch -d @5 old && touch -d @2000000000.5 young");
    begin();
    const auto plain = pack({base->diff_ids[0], unsaved});
    EXPECT_NE(plain[1].diff_id, packed[1].diff_id);
    EXPECT_EQ(layers_->find_step(unsaved)->diff_id, plain[1].diff_id);
    EXPECT_EQ(pack({base->diff_ids[0], unsaved}, options)[1].diff_id, packed[1].diff_id);
    end();
}

TEST_F(BuiltTest, archives_of_what_is_not_in_the_store) {
    const ImagePtr base = make_base("base:1");
    Digests chain = base->diff_ids;
    chain.push_back(step(chain, "echo new >added"));
    chain.push_back(step(chain, "true"));
    begin();
    BuiltImage image = image_of(pack(chain), "built:1");
    image.names.push_back(oci::Reference::parse("other"));
    const std::string id = documents_of(image).target.digest;
    const std::string as_docker = saved(image, ArchiveForm::docker);
    const std::string as_oci = saved(image, ArchiveForm::oci);
    EXPECT_EQ(as_docker, saved(image, ArchiveForm::docker));
    EXPECT_NE(as_docker.find("manifest.json"), std::string::npos);
    EXPECT_EQ(as_oci.find("manifest.json"), std::string::npos);
    EXPECT_EQ(images_->list().size(), 1U);
    image.attestations.push_back({.subject = 0, .statements = {{"p", "{}"}}});
    const std::string attested = saved(image, ArchiveForm::oci);
    end();
    for (const std::string& archive : {as_docker, as_oci}) {
        const auto loaded = load(archive);
        ASSERT_EQ(loaded.size(), 2U);
        EXPECT_EQ(loaded[0].id, id);
        EXPECT_EQ(images_->get("other:latest")->id, id);
        images_->remove("other", {}, {});
        images_->remove("built:1", {}, {});
    }
    // As older Dockers read it.
    replace_file(folder_ + "/archive.tar", as_docker);
    shell("mkdir old && tar -C old -xf archive.tar && rm old/index.json && tar -C old -cf old.tar .");
    EXPECT_EQ(load(read_file(folder_ + "/old.tar")).at(0).names, (std::vector<std::string>{"built:1", "other:latest"}));
    EXPECT_EQ(load(attested).at(0).id, documents_of(image).target.digest);
    EXPECT_EQ(images_->get("built:1")->variants.size(), 2U);
}

TEST_F(BuiltTest, a_build_that_is_stopped_leaves_nothing) {
    const std::size_t before = blobs_->list().size();
    Digests chain;
    for (int each = 0; each < 3; ++each) chain.push_back(step(chain, fmt::format("yes {0} | head -c 20000000 >file{0}", each)));
    for (int round = 0; round < 5; ++round) {
        begin();
        std::stop_source stop;
        std::jthread stopper{[&] {
            std::this_thread::sleep_for(std::chrono::milliseconds(5 * round));
            stop.request_stop();
        }};
        const std::string said = error_of([&] { images_->pack_layers(chain, {}, *claims_, {}, stop.get_token()); });
        EXPECT_THAT(said, testing::AnyOf(testing::HasSubstr("context canceled"), testing::Eq("no error")));
        end();
        EXPECT_EQ(blobs_->list().size(), before);
    }
    // A client that is gone: its progress throws.
    begin();
    EXPECT_EQ(
        error_of([&] { images_->pack_layers(chain, {}, *claims_, [](const PackProgress&) { fail(ErrorKind::unavailable, "gone"); }); }),
        "gone");
    end();
    EXPECT_EQ(blobs_->list().size(), before);
}

#ifdef GRUA_CRASH_POINTS
TEST_F(BuiltTest, a_disk_that_is_full_leaves_nothing) {
    const ImagePtr base = make_base("base:1");
    Digests chain = base->diff_ids;
    chain.push_back(step(chain, "yes words | head -c 3000000 >text"));
    chain.push_back(step(chain, "echo more >more"));
    const std::size_t before = blobs_->list().size();
    const std::size_t layers_before = layers_->list().size();
    const PackOptions options{.rewrite_timestamps = 1000};
    for (const char* point :
         {"images:pack-layer", "content:create-blob", "content:write-blob", "images:commit-packed", "content:rename-blob", "layers:unpack",
          "images:publish-built", "layers:rename-layer", "images:before-commit", "base:start-thread"}) {
        ASSERT_EQ(::setenv("GRUA_FAIL_AT", fmt::format("{}:ENOSPC", point).c_str(), 1), 0);
        const std::string said = error_of([&] { build(chain, "built:1", options); });
        ::unsetenv("GRUA_FAIL_AT");
        EXPECT_THAT(said, testing::HasSubstr("No space left on device")) << point;
        EXPECT_EQ(blobs_->list().size(), before) << point;
        EXPECT_EQ(layers_->list().size(), layers_before) << point;
        EXPECT_TRUE(fs::is_empty(folder_ + "/layers/staging")) << point;
        EXPECT_EQ(images_->list().size(), 1U) << point;
        for (const auto& entry : fs::directory_iterator(folder_ + "/content/blobs/sha256"))
            EXPECT_FALSE(entry.path().filename().string().starts_with('.')) << point;
    }
    EXPECT_EQ(error_of([&] { build(chain, "built:1", options); }), "no error");
}
#endif

}  // namespace
}  // namespace grua::images
