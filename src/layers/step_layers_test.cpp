// Layers of builds: from the writable layer of a step's container to a layer with a diff ID, over restarts of gruad and of the machine.
#include "base/error.hpp"
#include "base/files.hpp"
#include "content/hash.hpp"
#include "layers/compare.hpp"
#include "layers/layers.hpp"
#include "layers/pack.hpp"
#include "layers/rebuild.hpp"
#include "layers/test_streams.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <thread>

namespace grua::layers {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

using Digests = std::vector<oci::Digest>;
using Body = std::function<void(const std::string& root)>;

class StepLayersTest : public testing::TestWithParam<LayerFormat> {
protected:
    void SetUp() override {
        std::string path = fs::temp_directory_path() / "grua-steps-XXXXXX";
        folder_ = ::mkdtemp(path.data());
        try {
            open();
        } catch (const Error& error) {
            if (GetParam() == LayerFormat::tree) throw;
            GTEST_SKIP() << error.what();
        }
    }
    void TearDown() override {
        close();  // it empties its trash meanwhile
        fs::remove_all(folder_);
    }
    void open(const std::string& boot = "first") {
        close();
        database_ = std::make_unique<store::Database>(folder_ + "/db");
        layers_ = std::make_unique<LayerStore>(folder_ + "/layers", *database_, GetParam(), boot);
    }
    void close() {
        layers_.reset();
        database_.reset();
    }

    /// The bytes of a layer with one file.
    static std::string tar_of(const std::string& name, const std::string& contents) {
        TextSink sink;
        TarWriter writer{sink};
        TarEntry entry;
        entry.name = name;
        entry.mode = 0644;
        entry.size = contents.size();
        writer.add(entry);
        writer.write(contents);
        writer.finish();
        return sink.text;
    }
    oci::Digest unpack(const std::string& tar) {
        TextSource source{tar};
        const StagedPtr staged = layers_->stage(source, std::nullopt);
        layers_->publish({staged});
        return staged->diff_id();
    }
    /// What a RUN does.
    oci::Digest run(const std::string& id, const Digests& below, const Body& body) {
        layers_->prepare(id, below, Durability::volatile_);
        {
            const Fd root = layers_->mount(id);
            body(fmt::format("/proc/self/fd/{}/", root.get()));
        }
        return layers_->keep_step(id);
    }
    static Body writes(const std::string& name, const std::string& contents = "x") {
        return [=](const std::string& root) { replace_file(root + name, contents); };
    }
    std::string pack(const oci::Digest& layer, const Digests& below) const {
        TextSink sink;
        layers_->pack_layer(layer, below, sink);
        return sink.text;
    }
    std::vector<std::string> names_in(const Digests& layers) const {
        const Fd root = layers_->mount_layers(layers);
        std::vector<std::string> out = sorted_names(root.get());
        return out;
    }
    std::vector<std::string> folders(const std::string& name = "l") const {
        std::vector<std::string> out;
        for (const auto& each : fs::directory_iterator(folder_ + "/layers/" + name)) out.push_back(each.path().filename());
        std::ranges::sort(out);
        return out;
    }
    std::int64_t rows(const std::string& table) { return database_->query("SELECT count(*) FROM " + table).front().integer(0); }
    std::vector<std::string> problems() const {
        std::vector<std::string> out;
        for (const auto& each : layers_->inconsistencies()) out.push_back(each.id + ": " + each.problem);
        return out;
    }
    /// Nothing is left of steps, in memory, rows and folders.
    void expect_no_steps() {
        layers_->wait_for_purge();
        EXPECT_THAT(layers_->steps(), IsEmpty());
        EXPECT_THAT(folders("staging"), IsEmpty());
        for (const std::string& each : folders()) EXPECT_FALSE(each.starts_with("-")) << each;
        EXPECT_THAT(problems(), IsEmpty());
        open();
        layers_->forget_steps({});
        EXPECT_EQ(rows("steps"), 0);
        EXPECT_EQ(database_->query("SELECT count(*) FROM layers WHERE number < 0").front().integer(0), 0);
    }

    std::string folder_;
    std::unique_ptr<store::Database> database_;
    std::unique_ptr<LayerStore> layers_;
};

TEST_P(StepLayersTest, a_step_is_a_layer_at_once) {
    const oci::Digest base = unpack(tar_of("base", "of the image"));
    const oci::Digest one = run("c1", {base}, writes("one", "12345"));
    EXPECT_TRUE(one.is_step());
    EXPECT_FALSE(layers_->has_container("c1"));
    EXPECT_THAT(folders("containers"), IsEmpty());
    EXPECT_THROW(layers_->keep_step("c1"), Error);
    EXPECT_THROW(layers_->keep_step("../c1"), Error);
    const oci::Digest two = run("c1", {base, one}, [](const std::string& root) {
        EXPECT_EQ(read_file(root + "one"), "12345");
        fs::remove(root + "base");
        replace_file(root + "two", "x");
    });
    EXPECT_THAT(names_in({base, one}), ElementsAre("base", "one"));
    EXPECT_THAT(names_in({base, one, two}), ElementsAre("one", "two"));
    layers_->prepare("c2", {base, one, two});
    EXPECT_EQ(layers_->container_layers("c2"), (Digests{base, one, two}));
    EXPECT_TRUE(layers_->mount_lower("c2"));
    const auto step = layers_->find_step(one);
    ASSERT_TRUE(step);
    EXPECT_EQ(step->size, 5U);
    EXPECT_FALSE(step->diff_id);
    EXPECT_FALSE(step->is_held);
    EXPECT_EQ(layers_->find(one)->size, 5U);
    EXPECT_TRUE(layers_->find(one)->is_step);
    EXPECT_EQ(layers_->steps().size(), 2U);
    EXPECT_FALSE(layers_->find_step(base));
    // Those who ask for layers of images do not know of it.
    EXPECT_EQ(layers_->list().size(), 1U);
    EXPECT_THAT(layers_->remove_layers({one, two}), IsEmpty());
    EXPECT_THAT(problems(), IsEmpty());
    layers_->remove("c2");
    layers_->forget_steps({one, two, two});
    EXPECT_FALSE(layers_->find(one));
    EXPECT_THROW(layers_->mount_layers({two}), Error);
    expect_no_steps();
}

TEST_P(StepLayersTest, what_outlives_what) {
    const auto make = [&] {
        const oci::Digest out = run("c1", {}, writes("f"));
        EXPECT_EQ(layers_->find_step(out)->size, 1U);
        return out;
    };
    oci::Digest step = make();
    open();
    EXPECT_FALSE(layers_->find(step));
    expect_no_steps();

    step = make();
    layers_->store_steps();
    layers_->store_steps();
    EXPECT_THAT(problems(), IsEmpty());
    open();
    EXPECT_THAT(names_in({step}), ElementsAre("f"));
    EXPECT_EQ(layers_->find_step(step)->size, 1U);
    EXPECT_THAT(problems(), IsEmpty());
    open("second");
    EXPECT_FALSE(layers_->find(step));
    expect_no_steps();

    // One that is synced, one that had a row before, and one that came after.
    const oci::Digest early = make();
    layers_->store_steps();
    step = make();
    layers_->sync_steps();
    const oci::Digest late = make();
    layers_->store_steps();
    open();
    EXPECT_EQ(layers_->steps().size(), 3U);
    open("second");
    EXPECT_THAT(names_in({step}), ElementsAre("f"));
    EXPECT_TRUE(layers_->find(early));
    EXPECT_FALSE(layers_->find(late));
    EXPECT_THAT(problems(), IsEmpty());
    layers_->forget_steps({step, early});
    expect_no_steps();
}

TEST_P(StepLayersTest, a_container_never_stands_on_another_step_than_its_own) {
    const oci::Digest step = run("c1", {}, writes("f"));
    layers_->prepare("c2", {step});
    open();
    EXPECT_THROW(layers_->mount("c2"), Error);
    const oci::Digest other = run("c1", {}, writes("g"));
    EXPECT_THROW(layers_->mount("c2"), Error);
    EXPECT_THAT(folders(), ElementsAre("-2"));
    // Nor where nothing but a row that goes has its number.
    layers_->store_steps();
    layers_->remove("c2");
    open("second");
    const oci::Digest third = run("c1", {}, writes("h"));
    EXPECT_THAT(folders(), ElementsAre("-3"));
    layers_->forget_steps({other, third});
    expect_no_steps();
}

TEST_P(StepLayersTest, a_row_without_a_folder_is_dropped) {
    const oci::Digest lost = run("c1", {}, writes("f"));
    const oci::Digest step = run("c1", {}, writes("g"));
    layers_->sync_steps();
    const std::int64_t number = layers_->find(lost)->number;
    close();
    fs::remove_all(fmt::format("{}/layers/l/{}", folder_, number));
    open();
    EXPECT_FALSE(layers_->find(lost));
    EXPECT_TRUE(layers_->find(step));
    layers_->forget_steps({step});
    expect_no_steps();
}

TEST_P(StepLayersTest, a_step_gets_its_diff_id) {
    const oci::Digest base = unpack(tar_of("base", "x"));
    const oci::Digest step = run("c1", {base}, writes("f"));
    const std::string tar = pack(step, {base});
    const oci::Digest diff_id = content::digest_of(tar);
    const auto kind_of = [](const std::function<void()>& call) {
        try {
            call();
        } catch (const Error& error) {
            return error.kind();
        }
        return ErrorKind::not_modified;
    };
    EXPECT_EQ(kind_of([&] { layers_->identify(step, step); }), ErrorKind::invalid_argument);
    EXPECT_EQ(kind_of([&] { layers_->identify(base, diff_id); }), ErrorKind::not_found);
    layers_->identify(step, diff_id);
    layers_->identify(step, diff_id);
    EXPECT_EQ(kind_of([&] { layers_->identify(step, base); }), ErrorKind::conflict);
    const auto check = [&] {
        EXPECT_EQ(layers_->find_step(step)->diff_id, diff_id);
        EXPECT_EQ(layers_->find(diff_id)->number, layers_->find(step)->number);
        EXPECT_EQ(layers_->find(step)->diff_id, diff_id);
        EXPECT_TRUE(layers_->find(diff_id)->is_step);
        EXPECT_EQ(layers_->list().size(), 2U);
        EXPECT_THAT(names_in({base, diff_id}), ElementsAre("base", "f"));
        EXPECT_THAT(problems(), IsEmpty());
        // What an image needs no more is still the step's.
        EXPECT_THAT(layers_->remove_layers({diff_id, step}), IsEmpty());
        TextSource source{tar};
        EXPECT_EQ(layers_->verify(diff_id, source, [] {}).difference.value_or("whole"), "whole");
        TextSource again{tar};
        EXPECT_THROW(layers_->verify(step, again, [] {}), Error);
    };
    check();
    // An image that comes with the same layer takes this one.
    EXPECT_EQ(unpack(tar), diff_id);
    check();
    layers_->sync_steps();
    open("second");
    check();
    // From now on it is an image's.
    layers_->forget_steps({step});
    EXPECT_FALSE(layers_->find(step));
    EXPECT_TRUE(layers_->find(diff_id));
    EXPECT_FALSE(layers_->find(diff_id)->is_step);
    EXPECT_EQ(layers_->remove_layers({diff_id}), Digests{diff_id});
    expect_no_steps();
}

TEST_P(StepLayersTest, a_diff_id_that_is_learnt_late_is_stored) {
    const oci::Digest step = run("c1", {}, writes("f"));
    layers_->sync_steps();
    const oci::Digest diff_id = content::digest_of(pack(step, {}));
    layers_->identify(step, diff_id);
    EXPECT_THAT(problems(), IsEmpty());
    open();
    EXPECT_FALSE(layers_->find_step(step)->diff_id);
    layers_->identify(step, diff_id);
    layers_->store_steps();
    open("second");
    EXPECT_EQ(layers_->find_step(step)->diff_id, diff_id);
    layers_->forget_steps({step});
    layers_->remove_layers({diff_id});
    expect_no_steps();
}

TEST_P(StepLayersTest, a_layer_that_is_there_takes_the_place_of_the_step) {
    const oci::Digest step = run("c1", {}, writes("f"));
    const oci::Digest diff_id = unpack(pack(step, {}));
    layers_->store_steps();
    layers_->prepare("c2", {step});
    auto held = layers_->hold(step);
    EXPECT_TRUE(layers_->find_step(step)->is_held);
    layers_->identify(step, diff_id);
    EXPECT_EQ(layers_->find(step)->number, layers_->find(diff_id)->number);
    EXPECT_EQ(layers_->find_step(step)->diff_id, diff_id);
    EXPECT_THAT(layers_->remove_layers({diff_id}), IsEmpty());
    EXPECT_THAT(problems(), IsEmpty());
    // What stands on the step's own folder does so to the end.
    held.reset();
    layers_->wait_for_purge();
    EXPECT_THAT(folders(), ElementsAre("-1", "1"));
    const auto works = [&] { return ::faccessat(layers_->mount("c2").get(), "f", F_OK, 0) == 0; };
    EXPECT_TRUE(works());
    layers_->store_steps();
    open();
    EXPECT_EQ(layers_->find(step)->number, layers_->find(diff_id)->number);
    EXPECT_THAT(folders(), ElementsAre("-1", "1"));
    EXPECT_TRUE(works());
    EXPECT_THAT(problems(), IsEmpty());
    layers_->remove("c2");
    layers_->wait_for_purge();
    EXPECT_THAT(folders(), ElementsAre("1"));
    EXPECT_THAT(problems(), IsEmpty());
    open();
    EXPECT_EQ(layers_->steps().size(), 1U);
    EXPECT_THAT(names_in({step}), ElementsAre("f"));
    layers_->forget_steps({step});
    EXPECT_EQ(layers_->remove_layers({diff_id}), Digests{diff_id});
    expect_no_steps();
}

TEST_P(StepLayersTest, two_steps_that_are_the_same_layer) {
    const auto same = [](const std::string& root) {
        replace_file(root + "f", "x");
        ASSERT_EQ(::utimensat(AT_FDCWD, (root + "f").c_str(), std::array<timespec, 2>{}.data(), 0), 0);
    };
    const oci::Digest one = run("c1", {}, same);
    const oci::Digest two = run("c1", {}, same);
    const oci::Digest diff_id = content::digest_of(pack(one, {}));
    ASSERT_EQ(content::digest_of(pack(two, {})), diff_id);
    layers_->identify(one, diff_id);
    layers_->identify(two, diff_id);
    layers_->wait_for_purge();
    EXPECT_EQ(folders().size(), 1U);
    // Overlayfs takes no layer twice.
    EXPECT_THAT(names_in({one, two}), ElementsAre("f"));
    layers_->sync_steps();
    open("second");
    EXPECT_EQ(layers_->steps().size(), 2U);
    layers_->forget_steps({one});
    EXPECT_THAT(layers_->remove_layers({diff_id}), IsEmpty());
    layers_->forget_steps({two});
    EXPECT_EQ(layers_->remove_layers({diff_id}), Digests{diff_id});
    expect_no_steps();
}

TEST_P(StepLayersTest, a_container_of_a_built_image_outlives_the_build) {
    const oci::Digest step = run("c1", {}, writes("f"));
    const oci::Digest diff_id = content::digest_of(pack(step, {}));
    layers_->identify(step, diff_id);
    // It was never stored: forgetting makes it what all layers are.
    layers_->forget_steps({step});
    layers_->prepare("c2", {diff_id});
    for (const char* boot : {"first", "second"}) {
        open(boot);
        EXPECT_EQ(layers_->container_layers("c2"), Digests{diff_id});
        EXPECT_EQ(::faccessat(layers_->mount("c2").get(), "f", F_OK, 0), 0);
        EXPECT_THAT(layers_->remove_layers({diff_id}), IsEmpty());
        EXPECT_THAT(problems(), IsEmpty());
    }
    layers_->remove("c2");
    EXPECT_EQ(layers_->remove_layers({diff_id}), Digests{diff_id});
    expect_no_steps();
}

TEST_P(StepLayersTest, what_is_held_or_stood_on_goes_last) {
    const oci::Digest held = run("c1", {}, writes("f"));
    const oci::Digest stood_on = run("c1", {}, writes("g"));
    layers_->store_steps();
    layers_->prepare("c2", {stood_on});
    auto hold = layers_->hold(held);
    auto container = layers_->hold_container("c2");
    EXPECT_TRUE(layers_->is_held(held));
    EXPECT_TRUE(layers_->find_step(stood_on)->is_held);
    layers_->forget_steps({held, stood_on});
    EXPECT_FALSE(layers_->hold(held));
    EXPECT_THROW(layers_->prepare("c3", {held}), Error);
    layers_->wait_for_purge();
    EXPECT_THAT(folders(), ElementsAre("-1", "-2"));
    EXPECT_THAT(problems(), IsEmpty());
    hold.reset();
    layers_->wait_for_purge();
    EXPECT_THAT(folders(), ElementsAre("-2"));
    container.reset();
    layers_->wait_for_purge();
    EXPECT_THAT(folders(), ElementsAre("-2"));
    open();
    EXPECT_THAT(layers_->steps(), IsEmpty());
    EXPECT_EQ(layers_->container_layers("c2"), Digests{stood_on});
    EXPECT_TRUE(layers_->mount("c2"));
    layers_->remove("c2");
    layers_->wait_for_purge();
    EXPECT_THAT(folders(), IsEmpty());
    expect_no_steps();
}

TEST_P(StepLayersTest, who_reads_a_container_goes_on_when_it_is_kept) {
    layers_->prepare("c1", {});
    replace_file(folder_ + "/layers/containers/c1/upper/f", "x");
    auto hold = layers_->hold_container("c1");
    const Fd snapshot = layers_->mount_snapshot("c1");
    const oci::Digest step = layers_->keep_step("c1");
    layers_->forget_steps({step});
    layers_->wait_for_purge();
    EXPECT_EQ(read_file(fmt::format("/proc/self/fd/{}/f", snapshot.get())), "x");
    hold.reset();
    layers_->wait_for_purge();
    EXPECT_THAT(folders(), IsEmpty());
}

std::vector<std::string> entries_of(const std::string& tar) {
    TextSource source{tar};
    TarReader reader{source};
    std::vector<std::string> out;
    while (const std::optional<TarEntry> entry = reader.next())
        out.push_back(fmt::format("{} {} {:o} {} {}", entry->name, entry->link, entry->mode, entry->uid, entry->size));
    return out;
}

/// What was changed of the base by all means there are.
void change(const std::string& root) {
    replace_file(root + "etc/new", "new");
    fs::remove(root + "etc/group");
    fs::remove_all(root + "again");
    fs::create_directories(root + "again/sub");
    replace_file(root + "again/sub/same", "not the same");
    fs::remove_all(root + "gone");
    fs::create_directories(root + "gone-for-a-file");
    fs::remove_all(root + "gone-for-a-file");
    fs::create_symlink("/etc", root + "gone");
    fs::remove(root + "was-file");
    fs::create_directories(root + "was-file/below");
    fs::create_hard_link(root + "etc/new", root + "linked");
    ASSERT_EQ(::chmod((root + "touched").c_str(), 0600), 0);
    ASSERT_EQ(::chmod((root + "touched").c_str(), 0644), 0);
    ASSERT_EQ(::lchown((root + "etc").c_str(), 70'000, 3'000'000), 0);
    ASSERT_EQ(::setxattr((root + "linked").c_str(), "user.x", "y", 1, 0), 0);
    ASSERT_EQ(::chmod((root + "linked").c_str(), 04755), 0);
    ASSERT_EQ(::mkfifo((root + "pipe").c_str(), 0640), 0);
}

TEST_P(StepLayersTest, what_is_packed_unpacks_to_the_same) {
    const std::string tree = folder_ + "/tree";
    for (const char* each : {"etc", "again/sub", "gone/below"}) fs::create_directories(fmt::format("{}/{}", tree, each));
    for (const char* each : {"etc/passwd", "etc/group", "again/old", "again/sub/same", "again/sub/hidden", "gone/f", "was-file", "touched"})
        replace_file(fmt::format("{}/{}", tree, each), std::string("content of ") + each);
    TextSink packed;
    {
        Packer packer{packed};
        const Fd folder{::open(tree.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
        packer.add_contents(folder.get(), "");
        packer.finish();
    }
    const oci::Digest base = unpack(packed.text);
    const oci::Digest step = run("c1", {base}, change);
    const std::string tar = pack(step, {base});
    EXPECT_TRUE(pack(step, {base}) == tar);
    const oci::Digest diff_id = unpack(tar);
    // Both on the base: equal to the last time and xattr.
    const Fd built = layers_->mount_layers({base, step});
    const Fd pulled = layers_->mount_layers({base, diff_id});
    EXPECT_EQ(first_difference(pulled.get(), built.get(), {}).value_or("none"), "none");
    // A layer of either form is packed to the same entries; the times of whiteouts are lost when they are unpacked.
    EXPECT_EQ(entries_of(pack(diff_id, {base})), entries_of(tar));
    EXPECT_TRUE(pack(base, {}) == packed.text);
    // Alone they differ in form, which is no difference.
    const Fd upper{::open(fmt::format("{}/layers/l/{}", folder_, layers_->find(step)->number).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (GetParam() == LayerFormat::tree) {
        const Fd fresh{
            ::open(fmt::format("{}/layers/l/{}", folder_, layers_->find(diff_id)->number).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
        EXPECT_EQ(first_difference(fresh.get(), upper.get(), {.is_upper = true}).value_or("none"), "none");
        EXPECT_TRUE(first_difference(fresh.get(), upper.get(), {}));
        // Names of its files elsewhere are no difference, a link that is none any more is.
        const std::string own = fmt::format("{}/layers/l/{}", folder_, layers_->find(step)->number);
        fs::create_hard_link(own + "/etc/new", folder_ + "/elsewhere");
        EXPECT_EQ(first_difference(fresh.get(), upper.get(), {.is_upper = true}).value_or("none"), "none");
        ASSERT_EQ(std::system(fmt::format("cd {} && cp -a linked copy && mv copy linked", own).c_str()), 0);
        EXPECT_EQ(first_difference(fresh.get(), upper.get(), {.is_upper = true}).value_or("none"), "linked: it is linked with other names");
        fs::remove(own + "/linked");
        fs::rename(folder_ + "/elsewhere", own + "/linked");
        replace_file(fmt::format("/proc/self/fd/{}/etc/new", upper.get()), "old");
        EXPECT_TRUE(first_difference(fresh.get(), upper.get(), {.is_upper = true}));
        ASSERT_EQ(::unlinkat(upper.get(), "pipe", 0), 0);
        ASSERT_EQ(::unlinkat(upper.get(), "etc/new", 0), 0);
        EXPECT_EQ(first_difference(fresh.get(), upper.get(), {.is_upper = true}).value_or("none"), "etc/new: it is missing");
    }
    // Nothing at all.
    TextSink nothing;
    const oci::Digest idle = run("c1", {base}, [](const std::string&) {});
    EXPECT_FALSE(layers_->pack_layer(idle, {base}, nothing));
    EXPECT_THROW(layers_->pack_layer(oci::Digest::parse_step("step:" + std::string(64, 'a')).value(), {}, nothing), Error);
}

TEST_P(StepLayersTest, a_broken_folder_of_a_step_is_repaired_in_its_place) {
    const oci::Digest step = run("c1", {}, writes("f"));
    const std::string tar = pack(step, {});
    const oci::Digest diff_id = content::digest_of(tar);
    layers_->identify(step, diff_id);
    layers_->sync_steps();
    layers_->forget_steps({step});
    const std::int64_t number = layers_->find(diff_id)->number;
    fs::remove(fmt::format("{}/layers/l/{}/f", folder_, number));
    {
        TextSource source{tar};
        const auto verified = layers_->verify(diff_id, source, [] {});
        EXPECT_EQ(verified.difference, "f: it is missing");
        EXPECT_TRUE(layers_->replace(verified.fresh));
    }
    EXPECT_EQ(layers_->find(diff_id)->number, number);
    open("second");
    EXPECT_THAT(names_in({diff_id}), ElementsAre("f"));
    EXPECT_THAT(problems(), IsEmpty());
}

TEST_P(StepLayersTest, numbers_of_layers_go_on_from_above) {
    const oci::Digest step = run("c1", {}, writes("f"));
    layers_->sync_steps();
    EXPECT_EQ(layers_->find(step)->number, -1);
    EXPECT_EQ(layers_->find(unpack(tar_of("a", "x")))->number, 1);
    EXPECT_EQ(layers_->find(unpack(tar_of("b", "x")))->number, 2);
}

TEST_P(StepLayersTest, an_older_store_is_taken_over) {
    const oci::Digest base = unpack(tar_of("base", "x"));
    layers_->prepare("c1", {base});
    close();
    {
        store::Database old{folder_ + "/db"};
        old.execute("ALTER TABLE layers DROP COLUMN boot");
        old.execute("DROP TABLE steps");
        old.execute("UPDATE schema_versions SET version = 1 WHERE room = 'layers'");
    }
    open();
    EXPECT_EQ(layers_->container_layers("c1"), Digests{base});
    EXPECT_TRUE(layers_->mount("c1"));
    EXPECT_THAT(problems(), IsEmpty());
}

TEST_P(StepLayersTest, a_lost_database_knows_both_folders_of_one_diff_id_again) {
    const oci::Digest step = run("c1", {}, writes("f"));
    layers_->prepare("of-the-step", {step});
    const oci::Digest diff_id = unpack(pack(step, {}));
    layers_->prepare("of-the-layer", {diff_id});
    close();
    fs::remove(folder_ + "/db");
    fs::remove(folder_ + "/db-wal");
    {
        store::Database fresh{folder_ + "/db"};
        rebuild_rows(folder_ + "/layers", fresh, {{"of-the-step", {diff_id}}, {"of-the-layer", {diff_id}}});
    }
    open();
    for (const char* each : {"of-the-step", "of-the-layer"}) EXPECT_EQ(::faccessat(layers_->mount(each).get(), "f", F_OK, 0), 0) << each;
    EXPECT_TRUE(layers_->find(diff_id));
    EXPECT_THAT(problems(), IsEmpty());
}

TEST_P(StepLayersTest, threads_keep_forget_and_look) {
    const oci::Digest base = unpack(tar_of("base", "x"));
    std::atomic<bool> done = false;
    const auto build = [&](int builder) {
        for (int round = 0; round < 20; ++round) {
            const std::string name = fmt::format("b{}-{}", builder, round);
            const oci::Digest one = run(name, {base}, writes(name));
            const auto held = layers_->hold(one);
            ASSERT_TRUE(held);
            const oci::Digest two = run(name, {base, one}, writes("other"));
            if (round % 2 == 0) layers_->store_steps();
            const std::string tar = pack(one, {base});
            ASSERT_THAT(tar, HasSubstr(name));
            layers_->identify(one, content::digest_of(tar));
            if (round % 5 == 0) layers_->sync_steps();
            layers_->forget_steps({two, one});
            ASSERT_THAT(layers_->remove_layers({content::digest_of(tar)}), IsEmpty());
        }
    };
    std::thread looks{[&] {
        while (!done) {
            for (const auto& each : layers_->steps()) static_cast<void>(layers_->find(each.id));
            static_cast<void>(layers_->list());
            EXPECT_THAT(problems(), IsEmpty());
        }
    }};
    std::thread pulls{[&] {
        for (int round = 0; round < 20; ++round) {
            const oci::Digest layer = unpack(tar_of(fmt::format("pulled-{}", round), "x"));
            EXPECT_TRUE(layers_->find(layer));
            EXPECT_EQ(layers_->remove_layers({layer}), Digests{layer});
        }
    }};
    std::vector<std::thread> builders;
    for (int each = 0; each < 3; ++each) builders.emplace_back(build, each);
    for (std::thread& each : builders) each.join();
    pulls.join();
    done = true;
    looks.join();
    Digests all;
    for (const Layer& each : layers_->list()) all.push_back(each.diff_id);
    EXPECT_EQ(all.size(), 61U);
    layers_->remove_layers(all);
    expect_no_steps();
}

#ifdef GRUA_CRASH_POINTS
TEST_P(StepLayersTest, a_failure_leaves_nothing_in_the_way) {
    const auto failing = [](const char* point, const std::function<void()>& body) {
        ::setenv("GRUA_FAIL_AT", point, 1);
        EXPECT_THROW(body(), Error) << point;
        ::unsetenv("GRUA_FAIL_AT");
    };
    layers_->prepare("c1", {});
    failing("layers:keep-step:EIO", [&] { layers_->keep_step("c1"); });
    EXPECT_TRUE(layers_->has_container("c1"));
    failing("layers:rename-step:EIO", [&] { layers_->keep_step("c1"); });
    EXPECT_FALSE(layers_->has_container("c1"));
    EXPECT_THAT(layers_->steps(), IsEmpty());
    const oci::Digest step = run("c1", {}, writes("f"));
    failing("store:commit:ENOSPC", [&] { layers_->store_steps(); });
    failing("store:sync-filesystem:EIO", [&] { layers_->sync_steps(); });
    EXPECT_THAT(problems(), IsEmpty());
    layers_->sync_steps();
    // Forgotten all the same; its rows go with the next that are written.
    failing("store:commit:EIO", [&] { layers_->forget_steps({step}); });
    EXPECT_FALSE(layers_->find(step));
    EXPECT_THAT(problems(), IsEmpty());
    layers_->forget_steps({step});
    EXPECT_EQ(rows("steps") + rows("layers"), 0);
    expect_no_steps();
}

TEST_P(StepLayersTest, gruad_may_be_killed_at_each_point) {
    const auto build = [&] {
        open();
        const oci::Digest one = run("c1", {}, writes("f"));
        layers_->store_steps();
        layers_->sync_steps();
        layers_->forget_steps({one});
    };
    for (const char* point :
         {"layers:step-aside", "layers:step-renamed", "layers:steps-stored", "layers:steps-synced", "layers:steps-forgotten"}) {
        close();
        const pid_t child = ::fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            ::setenv("GRUA_CRASH_AT", point, 1);
            build();
            ::_exit(0);
        }
        int status = 0;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        EXPECT_TRUE(WIFSIGNALED(status)) << point;
        open();
        EXPECT_FALSE(layers_->has_container("c1")) << point;
        EXPECT_THAT(problems(), IsEmpty()) << point;
        Digests all;
        for (const auto& each : layers_->steps()) {
            EXPECT_THAT(names_in({each.id}), ElementsAre("f")) << point;
            all.push_back(each.id);
        }
        layers_->forget_steps(all);
        expect_no_steps();
    }
}
#endif

INSTANTIATE_TEST_SUITE_P(Formats, StepLayersTest, testing::Values(LayerFormat::tree, LayerFormat::erofs),
                         [](const auto& each) { return each.param == LayerFormat::tree ? "tree" : "erofs"; });

}  // namespace
}  // namespace grua::layers
