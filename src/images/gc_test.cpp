#include "images/gc.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "images/test_store.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <filesystem>

namespace grua::images {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

/// A store of its own with images of a given size.
class StoreTest : public TestStore {
protected:
    /// Of about `size` bytes packed and the same unpacked; used long ago.
    std::string image(const std::string& name, int size = 20'000, const std::vector<std::string>& changes = {}) {
        shell(
            fmt::format("rm -rf r && mkdir r && head -c {} /dev/urandom >r/f && ln r/f r/g && mkdir r/d && echo x >r/d/x && "
                        "tar -C r -cf r.tar .",
                        size));
        ImportOptions options{.reference = name};
        apply_changes(options.config, changes);
        return images_->import(input("r.tar").get(), options);
    }
    std::map<std::string, Decision> decide(GcMode mode = GcMode::dry_run) {
        std::map<std::string, Decision> out;
        for (Decision& each : images_->collect(policy_, {.disk = full_, .freed = 0, .leaving = leaving_}, used_by_, mode).decisions) {
            const std::string id = each.id;
            out.emplace(id, std::move(each));
        }
        return out;
    }
    std::vector<Finding> check(const CheckRequest& request = {}) {
        std::vector<Finding> out;
        sums_ = images_->check(request, [&](const Finding& each) { out.push_back(each); });
        return out;
    }
    std::string blob_path(const oci::Digest& digest) const { return folder_ + "/content/blobs/sha256/" + std::string(digest.hex()); }

    GcPolicy policy_{.keep = 0s};
    Disk full_{.used = 90'000, .total = 100'000};
    std::set<std::string> leaving_;
    UsedBy used_by_;
    CheckSums sums_;
};

using Verdict = Decision::Verdict;

TEST_F(StoreTest, collects_the_longest_unused_until_below_the_low_mark) {
    const std::string one = image("");
    const std::string two = image("");
    const std::string named = image("x:1");
    images_->touch(one, now() + 1s);
    policy_.keep = -1h;
    const auto dry = decide();
    ASSERT_EQ(dry.size(), 3U);
    EXPECT_EQ(dry.at(two).verdict, Verdict::remove);
    EXPECT_GT(dry.at(two).size, 40'000U);
    EXPECT_EQ(dry.at(one).reason, "without the others the disk is below 75 %");
    EXPECT_EQ(dry.at(named).reason, "it has a name");
    const auto real = decide(GcMode::real);
    for (const auto& [id, each] : real) {
        EXPECT_EQ(each.verdict, dry.at(id).verdict);
        EXPECT_EQ(each.reason, dry.at(id).reason);
        EXPECT_EQ(each.size, dry.at(id).size);
    }
    EXPECT_FALSE(images_->find(two));
    EXPECT_TRUE(images_->find(one));
    EXPECT_EQ(layers_->list().size(), 2U);
    EXPECT_TRUE(check().empty());
}

TEST_F(StoreTest, keeps_what_is_used_pinned_or_recent) {
    const std::string pinned = image("", 10, {"LABEL grua.pin=true"});
    const std::string not_pinned = image("", 10, {"LABEL grua.pin=false"});
    const std::string used = image("", 10);
    const std::string named = image("x:1", 10);
    used_by_ = [&](const std::string& id) {
        return id == used ? std::vector<ContainerUse>{{std::string(64, 'c'), false}} : std::vector<ContainerUse>{};
    };
    policy_.images = GcPolicy::Images::unused;
    const auto held = images_->acquire("x:1");
    auto decisions = decide();
    EXPECT_EQ(decisions.at(pinned).reason, "pinned by its label grua.pin");
    EXPECT_EQ(decisions.at(not_pinned).verdict, Verdict::remove);
    EXPECT_EQ(decisions.at(used).reason, "used by container cccccccccccc");
    EXPECT_EQ(decisions.at(named).reason, "a container or an image is being made of it");
    leaving_.insert(std::string(64, 'c'));
    EXPECT_EQ(decide().at(used).verdict, Verdict::remove);
    policy_.keep = 24h;
    EXPECT_EQ(decide().at(not_pinned).reason, "used 0 seconds ago, kept for 1 day");
    policy_.keep = 0s;
    full_.used = 80'000;
    EXPECT_EQ(decide().at(not_pinned).reason, "the disk is 80 % full, images go above 85 %");
    policy_.images = GcPolicy::Images::none;
    EXPECT_EQ(decide().at(not_pinned).reason, "the policy removes no images");
}

TEST_F(StoreTest, remembers_the_last_use) {
    const std::string id = image("x:1", 10);
    const Time used = now() + 1h;
    images_->touch(id, used);
    images_->tag("x:1", "y:1");
    open();
    EXPECT_EQ(images_->last_used(id), used);
    images_->touch(id, used - 5min);
    EXPECT_EQ(images_->last_used(id), used);
}

TEST_F(StoreTest, collects_partials_and_orphans) {
    const oci::Digest digest = content::digest_of("half of it");
    {
        auto writer = blobs_->resume(digest, 10);
        writer.write("half");
    }
    const oci::Digest orphan = blobs_->put("nobody's");
    EXPECT_EQ(decide().at(digest.text()).verdict, Verdict::keep);
    policy_.partials = 0s;
    const auto decisions = decide(GcMode::real);
    EXPECT_EQ(decisions.at(digest.text()).kind, "partial");
    EXPECT_EQ(decisions.at(digest.text()).verdict, Verdict::remove);
    EXPECT_EQ(decisions.at(orphan.text()).reason, "no image needs it");
    EXPECT_TRUE(blobs_->partials().empty());
    EXPECT_FALSE(blobs_->exists(orphan));
}

TEST_F(StoreTest, layers_of_builds_stay_until_their_builder_lets_go) {
    const auto run = [&](const std::string& text) {
        layers_->prepare("c1", {});
        replace_file(folder_ + "/layers/containers/c1/upper/f", text);
        return layers_->keep_step("c1");
    };
    const oci::Digest bare = run("has no diff ID");
    const oci::Digest step = run("has one");
    const oci::Digest diff_id = content::digest_of("what was packed");
    layers_->identify(step, diff_id);
    layers_->sync_steps();
    EXPECT_EQ(images_->disk_usage(), 7U);
    for (const GcMode mode : {GcMode::dry_run, GcMode::real}) {
        const auto decisions = decide(mode);
        ASSERT_EQ(decisions.size(), 1U);
        EXPECT_EQ(decisions.at(diff_id.text()).verdict, Verdict::keep);
        EXPECT_EQ(decisions.at(diff_id.text()).reason, "the builder keeps it for the next build");
    }
    EXPECT_TRUE(check().empty());
    EXPECT_TRUE(layers_->find(bare));
    layers_->forget_steps({bare, step});
    EXPECT_FALSE(layers_->find(bare));
    EXPECT_EQ(decide(GcMode::real).at(diff_id.text()).verdict, Verdict::remove);
    EXPECT_FALSE(layers_->find(diff_id));
}

TEST_F(StoreTest, an_image_that_is_being_removed_cannot_be_acquired) {
    const std::string id = image("x:1", 10);
    const auto used_by = [&](const std::string&) -> std::vector<ContainerUse> { return {}; };
    {
        const auto held = images_->acquire("x:1");
        EXPECT_THROW(images_->remove(id, {.force = true}, used_by), Error);
    }
    images_->remove(id, {.force = true}, used_by);
    EXPECT_THROW(images_->acquire("x:1"), Error);
}

TEST_F(StoreTest, check_of_a_whole_store_finds_nothing) {
    image("x:1");
    image("", 10);
    layers_->prepare("c1", images_->get("x:1")->diff_ids);
    EXPECT_TRUE(check().empty());
    EXPECT_EQ(sums_.problems, 0U);
    EXPECT_GT(sums_.bytes, 20'000U);
    EXPECT_TRUE(fs::is_empty(folder_ + "/layers/staging"));
}

TEST_F(StoreTest, check_names_each_difference_of_a_layer_and_repairs_it) {
    const std::string id = image("x:1");
    const oci::Digest diff_id = images_->get(id)->diff_ids.at(0);
    const std::string layer = folder_ + "/layers/l/" + std::to_string(layers_->find(diff_id)->number);
    layers_->prepare("c", {diff_id});
    registry::Options options;
    options.config_directory = folder_;
    const registry::Client client{options};
    const std::vector<std::pair<std::string, std::string>> damages{
        {"printf y >d/x && truncate -s 2 d/x && touch -r f d/x", "d/x: its time of modification differs"},
        {"chmod 600 f", "f: its mode is 600, not 644"},
        {"chown 7 d", "d: its owner differs"},
        {"T=$(stat -c %y .) && rm g && cp -p f g && touch -d \"$T\" .", "f: it has another number of hard links"},
        {"rm d/x", "d: its time of modification differs"},
        {"touch new && touch -r f .", "new: it is not in the layer"},
        {"xattr", "d: its xattrs differ"},
        {"T=$(stat -c %y d/x) && printf 'y\\n' >d/x && touch -d \"$T\" d/x", "d/x: its contents differ"},
    };
    for (const auto& [damage, expected] : damages) {
        if (damage == "xattr") {
            ASSERT_EQ(::setxattr((layer + "/d").c_str(), "trusted.a", "b", 1, 0), 0);
        } else {
            shell(fmt::format("cd {} && {}", layer, damage));
        }
        auto found = check();
        ASSERT_EQ(found.size(), 1U) << damage;
        EXPECT_EQ(found[0].kind, "layer");
        EXPECT_EQ(found[0].id, diff_id.text());
        if (!expected.starts_with("d/x: its time")) EXPECT_EQ(found[0].problem, expected);
        EXPECT_FALSE(found[0].repaired);
        const CheckRequest repair{.registry = &client, .access = {}};
        auto hold = layers_->hold_container("c");
        found = check(repair);
        EXPECT_FALSE(found.at(0).repaired);
        EXPECT_TRUE(found.at(0).problem.ends_with("; not repaired: containers run on it or are read")) << found.at(0).problem;
        hold.reset();
        found = check(repair);
        ASSERT_EQ(found.size(), 1U);
        EXPECT_TRUE(found[0].repaired) << found[0].problem;
        EXPECT_TRUE(check().empty()) << damage;
    }
    fs::remove_all(layer);
    EXPECT_EQ(check().at(0).problem, "its folder is missing");
    EXPECT_TRUE(check({.registry = &client, .access = {}}).at(0).repaired);
    EXPECT_TRUE(check().empty());
    EXPECT_TRUE(fs::is_empty(folder_ + "/layers/staging"));
}

TEST_F(StoreTest, check_names_blobs_that_are_broken_or_missing) {
    const std::string id = image("x:1");
    const oci::Digest layer = oci::Digest::from(images_->get(id)->layers.at(0).digest);
    shell(fmt::format("printf x | dd of={} bs=1 seek=100 conv=notrunc status=none", blob_path(layer)));
    auto found = check();
    ASSERT_EQ(found.size(), 1U);
    EXPECT_EQ(found[0].kind, "blob");
    EXPECT_EQ(found[0].id, layer.text());
    EXPECT_THAT(found[0].problem, testing::StartsWith("its bytes have the digest sha256:"));
    fs::remove(blob_path(layer));
    found = check();
    ASSERT_EQ(found.size(), 1U);
    EXPECT_EQ(found[0].problem, "it is missing");
    // The manifest gone, the image cannot be read after a start; it is named nevertheless, and nothing of it is collected.
    fs::rename(blob_path(oci::Digest::from(id)), folder_ + "/manifest");
    open();
    EXPECT_FALSE(images_->find("x:1"));
    EXPECT_EQ(layers_->list().size(), 1U);
    found = check();
    ASSERT_EQ(found.size(), 2U);
    EXPECT_EQ(found[0].kind, "blob");
    EXPECT_EQ(found[1].kind, "image");
    EXPECT_EQ(found[1].id, id);
    const auto decisions = decide(GcMode::real);
    EXPECT_EQ(decisions.at(id).reason, "it cannot be read: see `grua system check`");
    EXPECT_EQ(layers_->list().size(), 1U);
}

TEST_F(StoreTest, check_names_containers_without_their_layers) {
    image("x:1", 10);
    layers_->prepare("c1", images_->get("x:1")->diff_ids);
    shell("ln -sfn normal,77 layers/containers/c1/layers");
    const auto found = check();
    ASSERT_EQ(found.size(), 1U);
    EXPECT_EQ(found[0].kind, "reference");
    EXPECT_EQ(found[0].id, "c1");
    EXPECT_EQ(found[0].problem, "the container stands on layer 77, which is not there");
}

}  // namespace
}  // namespace grua::images
