#include "images/image_store.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "images/test_store.hpp"
#include "layers/source.hpp"
#include "oci/platform.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <zstd.h>
#include <filesystem>

namespace grua::images {
namespace {

namespace fs = std::filesystem;

/// A store of its own below a temporary folder, where `shell` makes archives.
constexpr const char* named =
    R"(,"annotations":{"io.containerd.image.name":"docker.io/library/two:1","org.opencontainers.image.ref.name":"1"})";

class ImageStoreTest : public TestStore {
protected:
    std::string digest(const std::string& name) const { return content::digest_of(read_file(folder_ + "/" + name)).text(); }
    std::vector<LoadedImage> load(const std::string& name) const { return images_->load(input(name).get()); }
    void save(const std::string& name, const std::vector<std::string>& references, const std::vector<oci::Platform>& platforms = {}) const {
        std::string bytes;
        images_->save(references, platforms, [&](std::string_view piece) { bytes += piece; });
        replace_file(folder_ + "/" + name, bytes);
    }
    std::string import(const std::string& name, const ImportOptions& options = {}) const {
        return images_->import(input(name).get(), options);
    }

    /// i.tar, a docker-archive named x:latest of the file f.
    void make_docker_archive() const {
        shell("mkdir r a && echo hi >r/f && tar -C r -cf a/l.tar . && gzip -k a/l.tar");
        replace_file(folder_ + "/a/c.json", config_of({digest("a/l.tar")}));
        replace_file(folder_ + "/a/manifest.json", R"([{"Config":"c.json","RepoTags":["x:latest"],"Layers":["l.tar.gz"]}])");
        shell("cd a && tar -cf ../i.tar *");
    }
    static std::string config_of(const std::vector<std::string>& diff_ids, const std::string& architecture = "") {
        const std::string list = diff_ids.empty() ? "" : "\"" + join(diff_ids, "\",\"") + "\"";
        return fmt::format(R"({{"architecture":"{}","os":"linux","config":{{"Cmd":["sh"]}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}})",
                           architecture.empty() ? oci::Platform::host().architecture : architecture, list);
    }

    /// A blob of the layout in o/; gives its descriptor with `more` members.
    std::string blob(const std::string& bytes, const std::string& type, const std::string& more = "") const {
        const oci::Digest digest = content::digest_of(bytes);
        make_directories(folder_ + "/o/blobs/sha256");
        replace_file(fmt::format("{}/o/blobs/sha256/{}", folder_, digest.hex()), bytes);
        return fmt::format(R"({{"mediaType":"application/vnd.oci.image.{}","digest":"{}","size":{}{}}})", type, digest.text(), bytes.size(),
                           more);
    }
    std::string manifest(const std::string& config, const std::string& layer, const std::string& more = "") const {
        return blob(fmt::format(R"({{"schemaVersion":2,"config":{},"layers":[{}]}})", blob(config, "config.v1+json"),
                                blob(read_file(folder_ + "/" + layer), "layer.v1.tar+gzip")),
                    "manifest.v1+json", more);
    }
    static std::string index(const std::string& entries) { return fmt::format(R"({{"schemaVersion":2,"manifests":[{}]}})", entries); }
    void write_layout(const std::string& entries) const {
        replace_file(folder_ + "/o/index.json", index(entries));
        replace_file(folder_ + "/o/oci-layout", R"({"imageLayoutVersion":"1.0.0"})");
        shell("tar -C o -cf o.tar .");
    }

    /// An image for s390x and this machine, "two:1".
    std::string load_index() {
        make_docker_archive();
        shell("mkdir r2 && echo other >r2/f && tar -C r2 -cf a/m.tar . && gzip -k a/m.tar");
        const std::string platform = R"(,"platform":{{"os":"linux","architecture":"{}"}})";
        const auto entry = [&](const std::string& architecture, const std::string& layer) {
            return manifest(config_of({digest("a/" + layer)}, architecture), "a/" + layer + ".gz",
                            fmt::format(fmt::runtime(platform), architecture));
        };
        const std::string host = oci::Platform::host().architecture;
        write_layout(blob(index(entry("s390x", "m.tar") + "," + entry(host, "l.tar")), "index.v1+json", named));
        return load("o.tar").at(0).id;
    }
};

std::string text_of(const std::function<void()>& body) {
    try {
        body();
    } catch (const Error& error) {
        return error.what();
    }
    return "no error";
}

TEST_F(ImageStoreTest, loads_tags_and_removes) {
    make_docker_archive();
    const auto loaded = load("i.tar");
    ASSERT_EQ(loaded.size(), 1U);
    EXPECT_EQ(loaded[0].names, std::vector<std::string>{"x:latest"});
    images_->tag("x", "y:2");
    const std::string id = images_->get("x")->id;
    EXPECT_EQ(images_->get(id.substr(7, 4))->id, id);
    EXPECT_THROW(images_->remove(id, {}, {}), Error);
    EXPECT_EQ(images_->remove("y:2", {}, {}).size(), 1U);
    const auto used = [](const std::string&) { return std::vector<ContainerUse>{{std::string(64, 'a'), false}}; };
    EXPECT_THROW(images_->remove("x", {}, used), Error);
    open();
    EXPECT_EQ(images_->get("x:latest")->size, 3U);
    const auto removed = images_->remove("x", {}, {});
    ASSERT_EQ(removed.size(), 3U);
    EXPECT_EQ(removed[0].untagged, "x:latest");
    EXPECT_EQ(removed[1].deleted, id);
    EXPECT_EQ(removed[2].deleted, digest("a/l.tar"));
    EXPECT_TRUE(images_->list().empty());
    EXPECT_TRUE(layers_->list().empty());
}

TEST_F(ImageStoreTest, imports_a_root_file_system) {
    shell("mkdir -p r/etc && echo 12 >r/etc/v && tar -C r -cf r.tar . && gzip -k r.tar");
    const std::string plain = read_file(folder_ + "/r.tar");
    std::string packed(ZSTD_compressBound(plain.size()), '\0');
    packed.resize(ZSTD_compress(packed.data(), packed.size(), plain.data(), plain.size(), 3));
    replace_file(folder_ + "/r.tar.zst", packed);
    ImportOptions options{.reference = "mine:1"};
    apply_changes(options.config, {"CMD [\"cat\",\"/etc/v\"]", "ENV A=b"});
    const std::string id = import("r.tar", options);
    open();
    const ImagePtr image = images_->get("mine:1");
    EXPECT_EQ(image->id, id);
    EXPECT_EQ(image->diff_ids, std::vector{oci::Digest::from(digest("r.tar"))});
    EXPECT_EQ(image->config.architecture, oci::Platform::host().architecture);
    EXPECT_EQ(image->config.config.cmd, (std::vector<std::string>{"cat", "/etc/v"}));
    EXPECT_EQ(image->config.comment, "Imported from -");
    EXPECT_GT(image->created, now() - std::chrono::hours(1));
    const auto history = images_->history("mine:1");
    ASSERT_EQ(history.size(), 1U);
    EXPECT_EQ(history[0].comment, "Imported from -");
    EXPECT_EQ(history[0].size, 3U);
    // The same bytes packed share the layer; a name moves to the newer image.
    EXPECT_NE(import("r.tar.gz", {.reference = "mine:1", .message = "again", .architecture = "arm/v6"}), id);
    EXPECT_EQ(images_->get("mine:1")->config.comment, "again");
    EXPECT_EQ(images_->get("mine:1")->config.variant, "v6");
    import("r.tar.zst");
    EXPECT_EQ(layers_->list().size(), 1U);
    EXPECT_EQ(images_->list().size(), 3U);
    EXPECT_EQ(text_of([&] { import("r.tar", {.reference = "a@" + digest("r.tar")}); }), "cannot import digest reference");
}

// No type of the OCI's stands for them, so nobody could pull what was pushed in them.
TEST_F(ImageStoreTest, layers_in_bzip2_and_xz_are_kept_as_gzip) {
    make_docker_archive();
    shell("bzip2 -k a/l.tar && xz -k a/l.tar");
    const oci::Digest diff_id = oci::Digest::from(digest("a/l.tar"));
    const auto expect_gzip = [&](const std::string& name) {
        const ImagePtr image = images_->get(name);
        EXPECT_EQ(image->diff_ids, std::vector{diff_id});
        ASSERT_EQ(image->layers.size(), 1U);
        EXPECT_EQ(image->layers[0].media_type, "application/vnd.oci.image.layer.v1.tar+gzip");
        const std::string kept = blobs_->read(oci::Digest::from(image->layers[0].digest), 1U << 20U);
        EXPECT_EQ(kept.size(), image->layers[0].size);
        EXPECT_EQ(layers::packing_of(kept), layers::Packing::gzip);
    };
    for (const char* packed : {"l.tar.bz2", "l.tar.xz"}) {
        import(fmt::format("a/{}", packed), {.reference = "imported:1"});
        expect_gzip("imported:1");
        replace_file(folder_ + "/a/manifest.json",
                     fmt::format(R"([{{"Config":"c.json","RepoTags":["loaded:1"],"Layers":["{}"]}}])", packed));
        shell("cd a && rm -f ../p.tar* && tar -cf ../p.tar * && bzip2 -k ../p.tar && xz -k ../p.tar");
        for (const char* archive : {"p.tar", "p.tar.bz2", "p.tar.xz"}) {
            load(archive);
            expect_gzip("loaded:1");
            images_->remove("loaded:1", {}, {});
        }
        EXPECT_EQ(layers_->list().size(), 1U);
    }
    shell("mkdir -p b/blobs/sha256 && cp a/l.tar.xz b/blobs/sha256/" + digest("a/l.tar.xz").substr(7) + " && cp a/c.json b");
    replace_file(folder_ + "/b/manifest.json", fmt::format(R"([{{"Config":"c.json","RepoTags":["named:1"],"Layers":["blobs/sha256/{}"]}}])",
                                                           digest("a/l.tar.xz").substr(7)));
    shell("tar -C b -cf named.tar .");
    EXPECT_EQ(text_of([&] { load("named.tar"); }), "not implemented: layers in bzip2 or xz that are named by their digest");
}

TEST_F(ImageStoreTest, an_import_that_fails_leaves_nothing) {
    shell("mkdir r && head -c 100000 /dev/urandom >r/f && tar -C r -c . | head -c 50000 >cut.tar && echo no tar at all >text.tar");
    EXPECT_THROW(import("cut.tar"), Error);
    EXPECT_THROW(import("text.tar"), Error);
    EXPECT_TRUE(layers_->list().empty());
    EXPECT_TRUE(images_->list().empty());
    EXPECT_TRUE(fs::is_empty(folder_ + "/layers/staging"));
}

TEST_F(ImageStoreTest, what_is_not_there_is_named_as_docker_names_it) {
    make_docker_archive();
    load("i.tar");
    const std::string id = images_->get("x")->id;
    const auto text = [&](const std::string& name) { return text_of([&] { static_cast<void>(images_->get(name)); }); };
    EXPECT_EQ(text("nothing"), "No such image: nothing:latest");
    EXPECT_EQ(text("a/b:1"), "No such image: a/b:1");
    EXPECT_EQ(text(std::string(12, id[7] == '0' ? '1' : '0')), "No such image: " + std::string(12, id[7] == '0' ? '1' : '0') + ":latest");
    EXPECT_EQ(text(std::string(64, 'a')), "No such image: sha256:" + std::string(64, 'a'));
    EXPECT_EQ(text("sha256:" + std::string(64, 'a')), "No such image: sha256:" + std::string(64, 'a'));
    EXPECT_EQ(text("A"), "invalid reference format: repository name (library/A) must be lowercase");
    // A prefix of two images is neither.
    std::map<char, std::string> seen;
    for (int n = 0; n < 20; ++n) {
        const std::string other = import("a/l.tar", {.message = std::to_string(n)});
        if (!seen.emplace(other[7], other).second) {
            EXPECT_EQ(text(other.substr(7, 1)), fmt::format("No such image: {}:latest", other[7]));
            break;
        }
    }
}

TEST_F(ImageStoreTest, containers_and_names_keep_an_image) {
    make_docker_archive();
    load("i.tar");
    const std::string id = images_->get("x")->id;
    const std::string shown = id.substr(7, 12);
    const std::string container(64, 'c');
    const auto stopped = [&](const std::string&) { return std::vector<ContainerUse>{{container, false}}; };
    const auto running = [&](const std::string&) { return std::vector<ContainerUse>{{container, true}}; };
    const auto refused = [&](const std::string& name, bool force, const UsedBy& users) {
        return text_of([&] { images_->remove(name, {.force = force}, users); });
    };
    const std::string in_use = "(must force) - container cccccccccccc is using its referenced image " + shown;
    EXPECT_EQ(refused("x", false, stopped), "conflict: unable to remove repository reference \"x\" " + in_use);
    EXPECT_EQ(refused(shown, false, stopped),
              "conflict: unable to delete " + shown + " (must be forced) - image is being used by stopped container cccccccccccc");
    const std::string cannot =
        "conflict: unable to delete " + shown + " (cannot be forced) - image is being used by running container cccccccccccc";
    EXPECT_EQ(refused(shown, true, running), cannot);
    images_->tag("x", "y/z:1");
    EXPECT_EQ(refused(id, false, {}),
              "conflict: unable to delete " + shown + " (must be forced) - image is referenced in multiple repositories");
    // Of several names one goes, whoever uses the image.
    EXPECT_EQ(images_->remove("x", {}, running).size(), 1U);
    // The last one by force: the name goes, a running container keeps the image, without a name.
    EXPECT_EQ(images_->remove("y/z:1", {.force = true}, running).size(), 1U);
    EXPECT_TRUE(images_->get(id)->repo_tags.empty());
    EXPECT_TRUE(images_->prune(true, running).removed.empty());
    {
        const ImageStore::Lease lease = images_->hold(id);
        EXPECT_TRUE(images_->prune(true, {}).removed.empty());
    }
    const auto pruned = images_->prune(false, {});
    EXPECT_EQ(pruned.removed.size(), 2U);
    EXPECT_GT(pruned.reclaimed, 3U);
    // A stopped container does not keep what is forced away.
    load("i.tar");
    EXPECT_EQ(images_->remove("x", {.force = true}, stopped).size(), 2U);
    EXPECT_TRUE(images_->list().empty());
}

TEST_F(ImageStoreTest, images_that_share_layers_keep_them) {
    make_docker_archive();
    load("i.tar");
    import("a/l.tar", {.reference = "y:1"});
    EXPECT_EQ(images_->remove("x", {}, {}).size(), 2U);
    EXPECT_EQ(layers_->list().size(), 1U);
    EXPECT_EQ(images_->remove("y:1", {}, {}).size(), 3U);
    EXPECT_TRUE(layers_->list().empty());
}

TEST_F(ImageStoreTest, loads_the_manifest_for_this_machine_of_a_nested_index) {
    make_docker_archive();
    const std::string diff = digest("a/l.tar");
    const std::string platform = R"(,"platform":{{"os":"linux","architecture":"{}"}})";
    const std::string mine =
        manifest(config_of({diff}), "a/l.tar.gz", fmt::format(fmt::runtime(platform), oci::Platform::host().architecture));
    const std::string other = manifest(config_of({diff}, "s390x"), "a/l.tar.gz", fmt::format(fmt::runtime(platform), "s390x"));
    write_layout(blob(index(other + "," + mine), "index.v1+json", named));
    const auto loaded = load("o.tar");
    ASSERT_EQ(loaded.size(), 1U);
    EXPECT_EQ(loaded[0].names, std::vector<std::string>{"two:1"});
    const ImagePtr image = images_->get("two:1");
    EXPECT_EQ(image->config.architecture, oci::Platform::host().architecture);
    ASSERT_TRUE(image->manifest_digest);
    // Two manifests with one name, without an index between.
    const auto with_name = [](std::string each) { return each.substr(0, each.size() - 1) + named + "}"; };
    write_layout(with_name(other) + "," + with_name(mine));
    const auto again = load("o.tar");
    ASSERT_EQ(again.size(), 1U);
    EXPECT_EQ(again[0].id, image->manifest_digest->text());
    EXPECT_NE(again[0].id, image->id);
}

TEST_F(ImageStoreTest, an_index_keeps_its_platforms) {
    const std::string id = load_index();
    const std::string host = oci::Platform::host().architecture;
    const ImagePtr image = images_->get("two:1");
    ASSERT_EQ(image->variants.size(), 2U);
    EXPECT_TRUE(image->variants[0].available);
    EXPECT_EQ(image->blobs.size(), 7U);
    EXPECT_EQ(layers_->list().size(), 1U);
    EXPECT_EQ(image->config.architecture, host);
    const ImagePtr other = images_->for_platform(image, oci::Platform::parse("linux/s390x"));
    EXPECT_EQ(other->config.architecture, "s390x");
    EXPECT_THROW(images_->for_platform(image, oci::Platform::parse("linux/riscv64")), Error);
    images_->unpack(*other);
    EXPECT_EQ(layers_->list().size(), 2U);
    // Out and in again, the same; of one platform only that one's manifest.
    save("all.tar", {"two:1"});
    save("one.tar", {"two:1"}, {oci::Platform::parse("linux/s390x")});
    open();
    EXPECT_EQ(layers_->list().size(), 2U);
    images_->remove("two:1", {}, {});
    EXPECT_TRUE(blobs_->list().empty());
    EXPECT_TRUE(layers_->list().empty());
    EXPECT_EQ(load("all.tar").at(0).id, id);
    save("again.tar", {"two:1"});
    EXPECT_EQ(digest("all.tar"), digest("again.tar"));
    EXPECT_EQ(load("one.tar").at(0).id, other->manifest_digest->text());
    EXPECT_EQ(images_->get("two:1")->config.architecture, "s390x");
    // Only what is asked for of an index.
    images_->prune(true, {});
    images_->load(input("all.tar").get(), {}, {oci::Platform::parse("linux/s390x")});
    EXPECT_EQ(images_->get("two:1")->config.architecture, "s390x");
    EXPECT_FALSE(images_->get("two:1")->variants[1].available);
}

TEST_F(ImageStoreTest, single_platforms_of_an_index_are_removed) {
    const std::string id = load_index();
    const oci::Platform other = oci::Platform::parse("linux/s390x");
    images_->unpack(*images_->for_platform(images_->get(id), other));
    const std::string manifest = images_->get(id)->variants[0].manifest.digest;
    const auto error_of = [&](const oci::Platform& platform, const UsedBy& used_by) -> std::string {
        try {
            images_->remove_platforms("two:1", {platform}, used_by);
        } catch (const Error& error) {
            return error.what();
        }
        return "no error";
    };
    EXPECT_EQ(error_of(oci::Platform::parse("linux/riscv64"), {}), "image two:1 has no variant for linux/riscv64 here");
    EXPECT_TRUE(
        error_of(other, [&](const std::string&) { return std::vector{ContainerUse{"c1", false, manifest}}; }).contains("container c1"));
    {
        const auto lease = images_->hold(id);
        EXPECT_TRUE(error_of(other, {}).contains("being created"));
    }
    const auto total = images_->get(id)->total_size;
    const auto removed = images_->remove_platforms("two:1", {other}, {});
    ASSERT_EQ(removed.size(), 1U);
    EXPECT_EQ(removed[0].deleted, manifest);
    EXPECT_FALSE(images_->get(id)->variants[0].available);
    EXPECT_LT(images_->get(id)->total_size, total);
    EXPECT_EQ(images_->get(id)->blobs.size(), 4U);
    EXPECT_EQ(blobs_->list().size(), 4U);
    EXPECT_EQ(layers_->list().size(), 1U);
    EXPECT_TRUE(error_of(oci::Platform::host(), {}).contains("remove the image itself"));
    open();
    EXPECT_EQ(images_->get("two:1")->id, id);
}

TEST_F(ImageStoreTest, a_docker_archive_is_saved_as_it_came) {
    make_docker_archive();
    const std::string id = load("i.tar").at(0).id;
    EXPECT_EQ(images_->get(id)->config_digest->text(), digest("a/c.json"));
    save("out.tar", {"x", id.substr(7, 12)});
    images_->remove("x", {}, {});
    EXPECT_TRUE(blobs_->list().empty());
    const auto loaded = load("out.tar");
    EXPECT_EQ(loaded.at(0).id, id);
    EXPECT_EQ(loaded.at(0).names, std::vector<std::string>{"x:latest"});
    EXPECT_THROW(save("none.tar", {"nothing"}), Error);
}

TEST_F(ImageStoreTest, a_commit_adds_a_layer) {
    make_docker_archive();
    const std::string parent = load("i.tar").at(0).id;
    shell("mkdir d && echo new >d/g && tar -C d -cf d.tar ./g && tar -cf empty.tar -T /dev/null");
    const Fd diff = input("d.tar");
    CommitRequest request{.parent = parent,
                          .layer = diff.get(),
                          .config = images_->get("x")->config.config,
                          .created_by = "sh -c x",
                          .author = "me",
                          .comment = "why",
                          .reference = "y:1"};
    request.config.env = {"A=b"};
    const std::string id = images_->commit(request);
    open();
    const ImagePtr image = images_->get("y:1");
    EXPECT_EQ(image->id, id);
    EXPECT_EQ(image->diff_ids, (std::vector{oci::Digest::from(digest("a/l.tar")), oci::Digest::from(digest("d.tar"))}));
    EXPECT_EQ(image->config.config.env, std::vector<std::string>{"A=b"});
    EXPECT_EQ(image->config.author, "me");
    EXPECT_EQ(images_->history("y:1").front().created_by, "sh -c x");
    // Nothing changed: no layer.
    const Fd nothing = input("empty.tar");
    request.layer = nothing.get();
    request.reference = "z:1";
    images_->commit(request);
    EXPECT_EQ(images_->get("z:1")->diff_ids, images_->get("x")->diff_ids);
    EXPECT_TRUE(images_->get("z:1")->config.history.back().empty_layer);
}

TEST_F(ImageStoreTest, an_archive_has_bounds) {
    make_docker_archive();
    // One image named often costs what it costs once, in descriptors too.
    std::string often = R"([{"Config":"c.json","RepoTags":["x:latest"],"Layers":["l.tar.gz"]})";
    for (int n = 0; n < 2000; ++n) often += R"(,{"Config":"c.json","RepoTags":null,"Layers":["l.tar.gz"]})";
    replace_file(folder_ + "/a/manifest.json", often + "]");
    shell("cd a && tar -cf ../often.tar *");
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
    const rlimit few{200, before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
    EXPECT_EQ(text_of([&] { load("often.tar"); }), "no error");
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    EXPECT_EQ(images_->list().size(), 1U);
    // More documents than are kept in memory: the last ones are read from the disk.
    shell("cd a && for i in $(seq 9); do head -c 3000000 /dev/zero | tr '\\0' $i >a$i.json; done && tar -cf ../docs.tar a?.json [c-m]*");
    EXPECT_EQ(text_of([&] { load("docs.tar"); }), "no error");
    // A name is 4 KiB at most, and there may be a hundred thousand.
    shell(
        "python3 -c 'import tarfile; t = tarfile.open(\"names.tar\", \"w\"); "
        "[t.addfile(tarfile.TarInfo((\"d\" * 250 + \"/\") * 15 + str(n))) for n in range(5000)]'");
    EXPECT_THAT(text_of([&] { load("names.tar"); }), testing::HasSubstr("its names are larger than"));
}

// What is unpacked already is of those who have its blob.
TEST_F(ImageStoreTest, a_diff_id_gives_no_other_images_files) {
    make_docker_archive();
    load("i.tar");
    shell("mkdir b r2 && echo junk >r2/f && tar -C r2 -cf b/l.tar . && cp a/c.json b");
    const auto archive = [&](const std::string& layers, const std::vector<std::string>& diff_ids) {
        replace_file(folder_ + "/b/c.json", config_of(diff_ids));
        replace_file(folder_ + "/b/manifest.json", R"([{"Config":"c.json","RepoTags":["evil:1"],"Layers":)" + layers + "}]");
        shell("cd b && tar -cf ../b.tar *");
        return text_of([&] { load("b.tar"); });
    };
    const std::string other = digest("a/l.tar");
    const std::string own = digest("b/l.tar");
    EXPECT_THAT(archive(R"(["l.tar"])", {other}), testing::HasSubstr("has the diff ID " + own));
    EXPECT_THAT(archive(R"(["c.json"])", {other}), testing::HasSubstr("is no tar"));
    EXPECT_THAT(archive(R"(["l.tar","l.tar"])", {own, other}), testing::HasSubstr("has the diff ID " + own));
    EXPECT_EQ(images_->list().size(), 1U);
    // The same layer, packed otherwise or once more, is taken.
    shell("gzip -c1 a/l.tar >b/l.gz");
    EXPECT_EQ(archive(R"(["l.gz","l.tar","l.gz"])", {other, own, other}), "no error");
    EXPECT_EQ(layers_->list().size(), 2U);
}

TEST_F(ImageStoreTest, a_layer_that_is_wrong_is_named) {
    make_docker_archive();
    shell("cd a && printf broken | gzip >l.tar.gz && tar -cf ../broken.tar *");
    EXPECT_THAT(text_of([&] { load("broken.tar"); }), testing::StartsWith("layer " + digest("a/l.tar.gz") + ": not a valid tar"));
}

TEST_F(ImageStoreTest, a_layout_that_is_damaged_is_refused) {
    make_docker_archive();
    const std::string entry = manifest(config_of({digest("a/l.tar")}), "a/l.tar.gz", named);
    const std::string layer = "o/blobs/sha256/" + digest("a/l.tar.gz").substr(7);
    write_layout(entry);
    shell("cp " + layer + " keep && rm " + layer + " && tar -C o -cf gone.tar .");
    EXPECT_THAT(text_of([&] { load("gone.tar"); }), testing::HasSubstr("is missing"));
    // The same tar packed otherwise: its diff ID is right, its digest is not.
    shell("gzip -dc keep | gzip -1 >" + layer + " && truncate -s $(stat -c %s keep) " + layer + " && tar -C o -cf other.tar .");
    EXPECT_NE(text_of([&] { load("other.tar"); }), "no error");
    const std::string config = "o/blobs/sha256/" + content::digest_of(config_of({digest("a/l.tar")})).text().substr(7);
    shell("cp keep " + layer + " && sed -i s/linux/linus/ " + config + " && tar -C o -cf config.tar .");
    EXPECT_THAT(text_of([&] { load("config.tar"); }), testing::HasSubstr("has the digest"));
    EXPECT_TRUE(layers_->list().empty());
    EXPECT_TRUE(images_->list().empty());
    shell("sed -i s/linus/linux/ " + config);
    write_layout(R"({"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:../../x","size":1})");
    EXPECT_THAT(text_of([&] { load("o.tar"); }), testing::HasSubstr("invalid digest"));
}

}  // namespace
}  // namespace grua::images
