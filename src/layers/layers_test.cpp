#include "layers/layers.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "content/hash.hpp"
#include "layers/overlay.hpp"
#include "layers/source.hpp"
#include "layers/test_streams.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace grua::layers {
namespace {

namespace fs = std::filesystem;

std::string tar_entry(const std::string& name, char type, const std::string& link, const std::string& data) {
    std::string block(512, '\0');
    const auto put = [&](std::size_t at, const std::string& text) { block.replace(at, text.size(), text); };
    put(0, name);
    put(100, type == '5' ? "0000755" : "0000644");
    put(108, "0000000");
    put(116, "0000000");
    put(124, fmt::format("{:011o}", data.size()));
    put(136, "00000000001");
    block[156] = type;
    put(157, link);
    put(257, std::string("ustar\0"
                         "00",
                         8));
    put(148, "        ");
    unsigned sum = 0;
    for (const char c : block) sum += static_cast<unsigned char>(c);
    put(148, fmt::format("{:06o}", sum) + '\0' + ' ');
    return block + data + std::string((512 - data.size() % 512) % 512, '\0');
}

class Text : public Source {
public:
    explicit Text(std::string text) : text_(std::move(text) + std::string(1024, '\0')) {}
    std::size_t read(std::span<char> out) override {
        const std::size_t count = std::min(out.size(), text_.size() - at_);
        std::memcpy(out.data(), text_.data() + at_, count);
        at_ += count;
        return count;
    }

private:
    std::string text_;
    std::size_t at_ = 0;
};

class LayersTest : public testing::TestWithParam<LayerFormat> {
protected:
    void SetUp() override {
        std::string path = fs::temp_directory_path() / "grua-layers-XXXXXX";
        folder_ = ::mkdtemp(path.data());
        database_ = std::make_unique<store::Database>(folder_ + "/db");
        try {
            layers_ = std::make_unique<LayerStore>(folder_ + "/layers", *database_, GetParam());
        } catch (const Error& error) {
            if (GetParam() == LayerFormat::tree) throw;
            GTEST_SKIP() << error.what();
        }
    }
    void TearDown() override {
        layers_.reset();  // it empties its trash meanwhile
        fs::remove_all(folder_);
    }
    Layer unpack(const std::string& tar) {
        Text source{tar};
        const StagedPtr staged = layers_->stage(source, std::nullopt);
        layers_->publish({staged});
        return layers_->find(staged->diff_id()).value();
    }
    void refused(const std::string& tar) {
        EXPECT_THROW(unpack(tar), Error);
        EXPECT_TRUE(layers_->list().empty());
        EXPECT_TRUE(fs::is_empty(folder_ + "/layers/staging"));
    }

    std::string folder_;
    std::unique_ptr<store::Database> database_;
    std::unique_ptr<LayerStore> layers_;
};

TEST_P(LayersTest, mounts_130_layers) {
    std::vector<oci::Digest> ids;
    for (int n = 0; n < 130; ++n) ids.push_back(unpack(tar_entry(fmt::format("f{}", n), '0', "", std::to_string(n))).diff_id);
    ids.push_back(unpack(tar_entry(".wh.f7", '0', "", "")).diff_id);
    layers_->prepare("c1", ids);
    const Fd root = layers_->mount("c1");
    EXPECT_TRUE(Fd{::openat(root.get(), "f0", O_RDONLY)});
    EXPECT_TRUE(Fd{::openat(root.get(), "f129", O_RDONLY)});
    EXPECT_FALSE(Fd{::openat(root.get(), "f7", O_RDONLY)});
    EXPECT_TRUE(Fd{::openat(root.get(), "new", O_WRONLY | O_CREAT, 0644)});
    EXPECT_TRUE(layers_->remove_layers(ids).empty());
    layers_->remove("c1");
    EXPECT_EQ(layers_->remove_layers(ids).size(), 131U);
}

// G29: as many as an image may have, with what every container has below and above them.
TEST_P(LayersTest, mounts_500_layers) {
    std::vector<oci::Digest> ids;
    for (int n = 0; n < 499; ++n) ids.push_back(unpack(tar_entry(fmt::format("f{}", n), '0', "", std::to_string(n))).diff_id);
    ids.push_back(unpack(tar_entry(".wh.f7", '0', "", "")).diff_id);
    layers_->prepare("c1", ids);
    for (const Fd& root : {layers_->mount("c1"), layers_->mount_snapshot("c1")}) {
        EXPECT_EQ(::faccessat(root.get(), "f0", F_OK, 0), 0);
        EXPECT_EQ(::faccessat(root.get(), "f498", F_OK, 0), 0);
        EXPECT_NE(::faccessat(root.get(), "f7", F_OK, 0), 0);
    }
    const Fd root = layers_->mount("c1");
    EXPECT_EQ(::unlinkat(root.get(), "f0", 0), 0);
    EXPECT_TRUE(Fd{::openat(root.get(), "new", O_WRONLY | O_CREAT | O_CLOEXEC, 0644)});
}

TEST_P(LayersTest, what_is_mounted_on_is_there_and_yields_to_layers) {
    layers_->prepare("c1", {});
    const std::string own = tar_entry("etc/", '5', "", "") + tar_entry("etc/hosts", '0', "", "its own");
    layers_->prepare("c2", {unpack(own).diff_id});
    const Fd bare = layers_->mount("c1");
    const Fd root = layers_->mount("c2");
    for (const int each : {bare.get(), root.get()})
        for (const char* path : {"dev", "proc", "sys", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab", ".dockerenv"})
            EXPECT_EQ(::faccessat(each, path, F_OK, AT_SYMLINK_NOFOLLOW), 0) << path;
    const Fd hosts{::openat(root.get(), "etc/hosts", O_RDONLY | O_CLOEXEC)};
    EXPECT_EQ(read_all(hosts.get(), "hosts", 100), "its own");
    // A container writes to its own layer.
    ASSERT_TRUE(Fd{::openat(bare.get(), "etc/hosts", O_WRONLY | O_TRUNC | O_CLOEXEC)});
    EXPECT_TRUE(fs::exists(folder_ + "/layers/containers/c1/upper/etc/hosts"));
    EXPECT_TRUE(fs::is_empty(folder_ + "/layers/containers/c2/upper"));
}

TEST_P(LayersTest, a_container_cannot_nest_folders_too_deep_to_be_removed) {
    layers_->prepare("c1", {});
    Fd folder{::open((folder_ + "/layers/containers/c1/upper").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    for (int depth = 0; depth < 3000; ++depth) {
        ASSERT_EQ(::mkdirat(folder.get(), "d", 0755), 0);
        ASSERT_TRUE(Fd{::openat(folder.get(), "f", O_WRONLY | O_CREAT | O_CLOEXEC, 0644)});
        folder = Fd{::openat(folder.get(), "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    }
    EXPECT_EQ(layers_->usage("c1"), 0U);
    layers_->remove("c1");
    layers_->wait_for_purge();
    EXPECT_TRUE(fs::is_empty(folder_ + "/layers/trash"));
}

TEST_P(LayersTest, what_is_held_stays_when_its_container_is_removed) {
    layers_->prepare("c1", {});
    layers_->prepare("c2", {});
    const auto path = [&](const char* id) { return fmt::format("{}/layers/containers/{}/upper/f", folder_, id); };
    for (const char* id : {"c1", "c2"}) ASSERT_TRUE(Fd{::open(path(id).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644)});
    auto hold = layers_->hold_container("c1");
    auto same = layers_->hold_container("c1");
    const Fd tree = layers_->open_upper("c1");
    layers_->remove("c1");
    layers_->remove("c2");
    layers_->wait_for_purge();
    EXPECT_EQ(std::distance(fs::directory_iterator(folder_ + "/layers/trash"), fs::directory_iterator()), 1);
    EXPECT_TRUE(Fd{::openat(tree.get(), "f", O_RDONLY | O_CLOEXEC)});
    EXPECT_THROW(layers_->hold_container("c1"), Error);
    // The next of its name has nothing to do with it.
    layers_->prepare("c1", {});
    hold.reset();
    layers_->wait_for_purge();
    EXPECT_TRUE(Fd{::openat(tree.get(), "f", O_RDONLY | O_CLOEXEC)});
    same.reset();
    layers_->wait_for_purge();
    EXPECT_TRUE(fs::is_empty(folder_ + "/layers/trash"));
    EXPECT_TRUE(layers_->has_container("c1"));
}

/// The names in a root, but for what every container has.
std::vector<std::string> names_in(const Fd& root) {
    std::vector<std::string> out;
    for (const auto& each : fs::directory_iterator(fmt::format("/proc/self/fd/{}", root.get()))) {
        const std::string name = each.path().filename();
        const bool is_base = name == "dev" || name == "etc" || name == "proc" || name == "sys" || name == ".dockerenv";
        if (!is_base) out.push_back(name);
    }
    std::ranges::sort(out);
    return out;
}

// G1: the builders of some images write a layer twice, mostly an empty one.
TEST_P(LayersTest, an_image_that_has_a_layer_twice_is_mounted) {
    using Names = std::vector<std::string>;
    const oci::Digest a = unpack(tar_entry("a", '0', "", "of a") + tar_entry("d/", '5', "", "") + tar_entry("d/in-a", '0', "", "")).diff_id;
    const oci::Digest b = unpack(tar_entry("a", '0', "", "of b") + tar_entry("b", '0', "", "") + tar_entry("d", '0', "", "file")).diff_id;
    const oci::Digest hides = unpack(tar_entry(".wh.a", '0', "", "") + tar_entry(".wh.d", '0', "", "")).diff_id;
    const oci::Digest nothing = unpack("").diff_id;
    const std::vector<std::pair<std::vector<oci::Digest>, Names>> images{
        {{a, a}, {"a", "d"}},          {{nothing, nothing}, {}},      {{a, nothing, nothing, b}, {"a", "b", "d"}},
        {{a, hides, a}, {"a", "d"}},   {{a, hides, b, hides}, {"b"}}, {{a, b, a}, {"a", "b", "d"}},
        {{hides, a, hides, hides}, {}}};
    for (std::size_t at = 0; at < images.size(); ++at) {
        const std::string id = fmt::format("c{}", at);
        layers_->prepare(id, images[at].first);
        EXPECT_EQ(names_in(layers_->mount(id)), images[at].second) << at;
        EXPECT_EQ(names_in(layers_->mount_snapshot(id)), images[at].second) << at;
        EXPECT_EQ(names_in(layers_->mount_layers(images[at].first)), images[at].second) << at;
    }
    EXPECT_TRUE(layers_->remove_layers({a, a, nothing}).empty());
    const Fd last = layers_->mount("c5");
    const Fd file{::openat(last.get(), "a", O_RDONLY | O_CLOEXEC)};
    EXPECT_EQ(read_all(file.get(), "a", 100), "of a");
    EXPECT_EQ(::faccessat(last.get(), "d/in-a", F_OK, 0), 0);
    for (std::size_t at = 0; at < images.size(); ++at) layers_->remove(fmt::format("c{}", at));
    EXPECT_EQ(layers_->remove_layers({a, b, a, nothing, nothing}), (std::vector{a, b, nothing}));
}

// Both are unpacked before either is known.
TEST_P(LayersTest, a_layer_that_is_published_twice_at_once_leaves_nothing) {
    Text first{tar_entry("f", '0', "", "x")};
    Text second{tar_entry("f", '0', "", "x")};
    std::vector<StagedPtr> staged{layers_->stage(first, std::nullopt), layers_->stage(second, std::nullopt)};
    layers_->publish(staged);
    staged.clear();
    EXPECT_TRUE(fs::is_empty(folder_ + "/layers/staging"));
    EXPECT_EQ(layers_->list().size(), 1U);
}

// B9
TEST_P(LayersTest, a_container_whose_layer_is_missing_is_not_mounted_with_a_hole) {
    const oci::Digest a = unpack(tar_entry("a", '0', "", "")).diff_id;
    const oci::Digest b = unpack(tar_entry("b", '0', "", "")).diff_id;
    layers_->prepare("c1", {a, b});
    layers_->prepare("c2", {a});
    const std::int64_t lost = layers_->find(b)->number;
    layers_.reset();
    database_->execute("DELETE FROM layers WHERE number = ?", {lost});
    layers_ = std::make_unique<LayerStore>(folder_ + "/layers", *database_, GetParam());
    const auto refused = [&](const auto& mount) {
        try {
            mount();
            ADD_FAILURE() << "was mounted";
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::system);
            EXPECT_NE(std::string(error.what()).find(fmt::format("/l: {};", lost)), std::string::npos) << error.what();
        }
    };
    refused([&] { layers_->mount("c1"); });
    refused([&] { layers_->mount_snapshot("c1"); });
    refused([&] { layers_->mount_lower("c1"); });
    EXPECT_TRUE(layers_->mount("c2"));
    EXPECT_EQ(layers_->container_layers("c1"), std::vector{a});
    layers_->remove("c1");
    EXPECT_FALSE(layers_->has_container("c1"));
}

// B9: whoever feeds it may be gone, and an end of file is no sign of that.
TEST_P(LayersTest, a_tar_that_breaks_off_between_two_entries_is_refused) {
    const std::string whole = tar_entry("a", '0', "", "x") + tar_entry("b", '0', "", "y");
    const auto stage = [&](const std::string& bytes, const std::optional<oci::Digest>& expected = std::nullopt) {
        TextSource source{bytes};
        return layers_->stage(source, expected)->diff_id();
    };
    EXPECT_THROW(stage(whole), Error);
    EXPECT_THROW(stage(whole.substr(0, whole.size() / 2)), Error);
    // One block is the end, as for GNU tar; nothing at all is an empty layer, as for Docker.
    EXPECT_NO_THROW(stage(whole + std::string(512, '\0')));
    EXPECT_NO_THROW(stage(""));
    // What its digest vouches for is whole, however it ends.
    EXPECT_NO_THROW(stage(whole, content::digest_of(whole)));
    // A header that belongs to an entry that does not come.
    const std::string long_name = tar_entry("././@LongLink", 'L', "", "name");
    EXPECT_THROW(stage(whole + long_name, content::digest_of(whole + long_name)), Error);
}

// B3
TEST_P(LayersTest, what_cannot_be_deleted_keeps_no_other_trash) {
    const auto set_immutable = [](const std::string& path, bool on) {
        const Fd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
        int flags = 0;
        if (::ioctl(file.get(), FS_IOC_GETFLAGS, &flags) != 0) return false;
        flags = on ? flags | FS_IMMUTABLE_FL : flags & ~FS_IMMUTABLE_FL;
        return ::ioctl(file.get(), FS_IOC_SETFLAGS, &flags) == 0;
    };
    std::vector<std::string> ids;
    for (int n = 0; n < 8; ++n) ids.push_back(fmt::format("c{}", n));
    std::vector<Fd> held;
    for (const std::string& id : ids) {
        layers_->prepare(id, {});
        const std::string path = fmt::format("{}/layers/containers/{}/upper/f", folder_, id);
        held.emplace_back(::open(path.c_str(), O_RDONLY | O_CREAT | O_CLOEXEC, 0644));
    }
    const std::string stuck = folder_ + "/layers/containers/c3/upper/f";
    if (!set_immutable(stuck, true)) GTEST_SKIP() << "this file system has no immutable files";
    for (const std::string& id : ids) layers_->remove(id);
    layers_->wait_for_purge();
    const fs::path trash = folder_ + "/layers/trash";
    EXPECT_EQ(std::distance(fs::directory_iterator(trash), {}), 1);
    EXPECT_TRUE(set_immutable(fmt::format("/proc/self/fd/{}", held[3].get()), false));
    // It is tried again with the next.
    layers_->prepare("next", {});
    layers_->remove("next");
    layers_->wait_for_purge();
    EXPECT_TRUE(fs::is_empty(trash));
}

/// Folders l/1, l/2 … with one file each, highest first, as `directory` names them.
Overlay overlay_of(const std::string& directory, int layers) {
    Overlay overlay{.upper = directory + "/c/upper", .work = directory + "/c/work"};
    fs::create_directories(overlay.upper);
    fs::create_directories(overlay.work);
    for (int n = 1; n <= layers; ++n) {
        const std::string layer = fmt::format("{}/l/{}", directory, n);
        fs::create_directories(layer);
        EXPECT_TRUE(Fd{::open(fmt::format("{}/f{}", layer, n).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644)});
        overlay.lower.insert(overlay.lower.begin(), layer);
    }
    return overlay;
}

void expect_files(const Fd& root, int layers) {
    for (int n = 1; n <= layers; ++n) EXPECT_EQ(::faccessat(root.get(), fmt::format("f{}", n).c_str(), F_OK, 0), 0) << n;
}

TEST_P(LayersTest, kernels_without_lowerdir_plus_mount_many_layers) {
    Overlay overlay = overlay_of(folder_ + "/with:colon,comma", 300);
    {
        const Fd root = mount_overlay_by_text(overlay);
        expect_files(root, 300);
        EXPECT_TRUE(Fd{::openat(root.get(), "new", O_WRONLY | O_CREAT | O_CLOEXEC, 0644)});
    }
    overlay.read_only = true;
    const Fd root = mount_overlay_by_text(overlay);
    EXPECT_FALSE(Fd{::openat(root.get(), "new2", O_WRONLY | O_CREAT | O_CLOEXEC, 0644)});
    EXPECT_EQ(errno, EROFS);
    overlay.upper.clear();
    expect_files(mount_overlay_by_text(overlay), 300);
    // The machine's mounts know nothing of it.
    std::ifstream mounts("/proc/self/mountinfo");
    const std::string all{std::istreambuf_iterator<char>(mounts), {}};
    EXPECT_EQ(all.find(fs::path(folder_).filename().string()), std::string::npos);
    EXPECT_THROW(mount_overlay_by_text(overlay_of(folder_ + "/many", 900)), Error);
}

TEST_P(LayersTest, more_layers_than_overlayfs_stacks_are_refused_with_their_number) {
    Overlay overlay = overlay_of(folder_ + "/many", 999);
    const Fd root = mount_overlay(overlay);
    for (const char* each : {"f1", "f499", "f500", "f501", "f999"}) EXPECT_EQ(::faccessat(root.get(), each, F_OK, 0), 0) << each;
    overlay.lower.push_back(folder_);
    try {
        mount_overlay(overlay);
        ADD_FAILURE() << "was mounted";
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
        EXPECT_STREQ(error.what(), "1000 layers are more than can be mounted on each other (999)");
    }
}

TEST_P(LayersTest, long_paths_are_mounted) {
    const std::string part = "/" + std::string(200, 'd');
    const Overlay overlay = overlay_of(folder_ + part + part, 3);
    expect_files(mount_overlay(overlay), 3);
    expect_files(mount_overlay_by_text(overlay), 3);
}

#ifdef GRUA_CRASH_POINTS
TEST_P(LayersTest, AStepThatFailsIsInNobodysWay) {
    const auto failing = [](const char* point, auto body) {
        ::setenv("GRUA_FAIL_AT", point, 1);
        body();
        ::unsetenv("GRUA_FAIL_AT");
    };
    const Layer first = unpack(tar_entry("f", '0', "", "first"));
    for (const char* point : {"layers:prepare:EMFILE", "layers:prepare-upper:ENOSPC"}) {
        failing(point, [&] { EXPECT_THROW(layers_->prepare("c1", {first.diff_id}), Error) << point; });
        EXPECT_FALSE(layers_->has_container("c1"));
        layers_->prepare("c1", {first.diff_id});
        layers_->remove("c1");
    }
    layers_->wait_for_purge();  // which takes what is left over with it
    // Its row is gone, so the layer is; the folder goes with the next removal.
    const std::string folder = folder_ + "/layers/l/" + std::to_string(first.number);
    failing("layers:move-to-trash:EIO", [&] { EXPECT_EQ(layers_->remove_layers({first.diff_id}).size(), 1U); });
    EXPECT_FALSE(layers_->find(first.diff_id));
    EXPECT_TRUE(fs::exists(folder));
    unpack(tar_entry("f", '0', "", "first"));
    EXPECT_TRUE(layers_->remove_layers({}).empty());
    EXPECT_FALSE(fs::exists(folder));
}
#endif

TEST_P(LayersTest, names_stay_inside) {
    refused(tar_entry("../canary", '0', "", "x"));
    refused(tar_entry("a", '1', "../canary", ""));
    refused(tar_entry("a", '1', "/etc/passwd", ""));
    refused(tar_entry(".wh..", '0', "", ""));
    refused(tar_entry(".wh...", '0', "", ""));
    // Through a link: stays below the layer's root, where there is no such folder.
    refused(tar_entry("l", '2', folder_, "") + tar_entry("l/canary", '0', "", "x"));
    EXPECT_FALSE(fs::exists(folder_ + "/canary"));
}

TEST_P(LayersTest, verify) {
    const std::string tar = tar_entry("made/by/itself", '0', "", "x") + tar_entry("d/.wh.gone", '0', "", "") +
                            tar_entry("big", '0', "", std::string(100'000, 'b'));
    const Layer layer = unpack(tar);
    // What is looked at was changed before the look began, as soon as the file system's clock has ticked.
    const auto changed = [&](const std::string& path) {
        struct stat status{};
        EXPECT_EQ(::stat((folder_ + path).c_str(), &status), 0) << path;
        return std::pair{status.st_ctim.tv_sec, status.st_ctim.tv_nsec};
    };
    do {
        std::ofstream{folder_ + "/probe"} << "x";
    } while (changed("/probe") <= changed("/layers/l/" + std::to_string(layer.number)));
    const auto verified = [&] {
        Text source{tar};
        return layers_->verify(layer.diff_id, source, [] {}).difference.value_or("whole");
    };
    EXPECT_EQ(verified(), "whole");
    const std::string path = folder_ + "/layers/l/" + std::to_string(layer.number);
    if (GetParam() == LayerFormat::tree) {
        std::ofstream{path + "/big"} << std::string(100'000, 'c');
        EXPECT_EQ(verified(), "big: its time of modification differs");
    } else {
        std::fstream image{path, std::ios::in | std::ios::out | std::ios::binary};
        image.seekp(4096 * 4);
        image << "damage";
        image.close();
        EXPECT_EQ(verified(), "big: its contents differ");
        fs::resize_file(path, 100);
        EXPECT_NE(verified().find("erofs: mount"), std::string::npos) << verified();
    }
    fs::remove_all(path);
    EXPECT_EQ(verified(), "its folder is missing");
    Text source{tar};
    const auto again = layers_->verify(layer.diff_id, source, [] {});
    EXPECT_TRUE(layers_->replace(again.fresh));
    EXPECT_EQ(verified(), "whole");
}

INSTANTIATE_TEST_SUITE_P(Formats, LayersTest, testing::Values(LayerFormat::tree, LayerFormat::erofs),
                         [](const auto& each) { return each.param == LayerFormat::tree ? "tree" : "erofs"; });

}  // namespace
}  // namespace grua::layers
