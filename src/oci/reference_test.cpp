#include "oci/reference.hpp"

#include "base/error.hpp"
#include "oci/image_config.hpp"
#include "oci/manifest.hpp"
#include "oci/platform.hpp"

#include <gtest/gtest.h>

namespace grua::oci {
namespace {

const std::string hex(64, 'a');

std::string error_of(std::string_view text) {
    try {
        Reference::parse(text);
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
        return error.what();
    }
    return "";
}

TEST(Digest, takes_known_algorithms_only) {
    EXPECT_EQ(Digest::from("sha256:" + hex).hex(), hex);
    EXPECT_EQ(Digest::from("sha512:" + hex + hex).algorithm(), "sha512");
    EXPECT_EQ(Digest::of_hash(std::string(32, '\x0f')).text().substr(0, 11), "sha256:0f0f");
}

// A digest becomes a path: a crafted one must never be taken for one.
TEST(Digest, CVE_2024_3727_refuses_odd_digests) {
    for (const std::string& text :
         std::vector<std::string>{std::string(), std::string("sha256:"), "sha256:" + hex.substr(1), "sha256:" + hex + "a", "SHA256:" + hex,
                                  "sha256:" + std::string(64, 'A'), "sha256:" + hex.substr(3) + "../", "sha512:" + hex, "md5:" + hex,
                                  "sha256-" + hex, "sha256:../../../../etc/passwd", hex, "sha256:" + hex + "\n",
                                  std::string("sha256:") + std::string(63, 'a') + '\0', " sha256:" + hex, "../sha256:" + hex}) {
        EXPECT_FALSE(Digest::parse(text)) << text;
        EXPECT_THROW(Digest::from(text), Error) << text;
    }
}

// A layer of a build is named by grua alone: an image that could name one would get another's files.
TEST(Digest, documents_name_no_steps) {
    const Digest step = Digest::parse_step("step:" + hex).value();
    EXPECT_TRUE(step.is_step());
    EXPECT_EQ(step.algorithm(), "step");
    EXPECT_EQ(step.hex(), hex);
    EXPECT_FALSE(Digest::from("sha256:" + hex).is_step());
    EXPECT_FALSE(Digest::parse(step.text()));
    EXPECT_THROW(Digest::from(step.text()), Error);
    for (const std::string& text : {"sha256:" + hex, "step:" + hex + "a", "step:" + hex.substr(1), "step:" + hex.substr(3) + "../",
                                    "step:" + std::string(64, 'A'), std::string("step:"), hex})
        EXPECT_FALSE(Digest::parse_step(text)) << text;
    const auto config = [](const std::string& diff_id) {
        return fmt::format(R"({{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{}"]}}}})", diff_id);
    };
    EXPECT_NO_THROW(parse_image_config(config("sha256:" + hex)));
    EXPECT_THROW(parse_image_config(config(step.text())), Error);
}

TEST(Reference, is_normalised) {
    struct Case {
        std::string text, full, familiar;
    };
    for (const Case& each : std::vector<Case>{
             {"redis", "docker.io/library/redis", "redis"},
             {"redis:7", "docker.io/library/redis:7", "redis:7"},
             {"library/redis", "docker.io/library/redis", "redis"},
             {"docker.io/redis", "docker.io/library/redis", "redis"},
             {"index.docker.io/library/redis", "docker.io/library/redis", "redis"},
             {"foo/bar:x_Y.z-1", "docker.io/foo/bar:x_Y.z-1", "foo/bar:x_Y.z-1"},
             {"localhost/app", "localhost/app", "localhost/app"},
             {"localhost:5000/app:1", "localhost:5000/app:1", "localhost:5000/app:1"},
             {"[::1]:5000/app", "[::1]:5000/app", "[::1]:5000/app"},
             {"Host/app", "Host/app", "Host/app"},
             {"a.b-c.de/x__y/z---w.v", "a.b-c.de/x__y/z---w.v", "a.b-c.de/x__y/z---w.v"},
             {"redis@sha256:" + hex, "docker.io/library/redis@sha256:" + hex, "redis@sha256:" + hex},
             {"redis:7@sha256:" + hex, "docker.io/library/redis:7@sha256:" + hex, "redis:7@sha256:" + hex},
         }) {
        const Reference reference = Reference::parse(each.text);
        EXPECT_EQ(reference.text(), each.full);
        EXPECT_EQ(reference.familiar(), each.familiar);
        EXPECT_EQ(Reference::parse(reference.text()), reference);
        EXPECT_EQ(Reference::parse(reference.familiar()), reference);
    }
    EXPECT_EQ(Reference::parse("redis").with_default_tag().familiar(), "redis:latest");
    EXPECT_EQ(Reference::parse("redis:7").with_default_tag().familiar(), "redis:7");
}

TEST(Reference, is_refused_with_dockers_words) {
    EXPECT_EQ(error_of("Redis"), "invalid reference format: repository name (library/Redis) must be lowercase");
    EXPECT_EQ(error_of("foo/Bar:1"), "invalid reference format: repository name (foo/Bar) must be lowercase");
    for (const std::string text :
         {"",    ":",           "a:",    "a//b", "/a",          "a/",        "-a",        "a-",     "a..b",        "a___b", "a._b",
          "a b", "a@sha256:zz", "a:b:c", "a:-x", "host:port/a", "ho_st.x/a", "../../etc", "a/../b", "https://x/y", "a\n"}) {
        EXPECT_EQ(error_of(text), "invalid reference format") << text;
    }
    EXPECT_EQ(error_of(std::string(256, 'a')), "repository name must not be more than 255 characters");
    EXPECT_NE(error_of(hex), "");
    EXPECT_THROW(Reference::parse("a").with_tag("x y"), Error);
}

TEST(Platform, chooses_the_best_variant) {
    EXPECT_EQ(Platform::parse("x86_64").text(), "linux/amd64");
    EXPECT_EQ(Platform::parse("linux/armhf").text(), "linux/arm/v7");
    EXPECT_EQ(Platform::parse("linux/arm64/v8").text(), "linux/arm64");
    EXPECT_THROW(Platform::parse("a/b/c/d"), Error);
    EXPECT_THROW(Platform::parse(""), Error);

    const std::string digest = "sha256:" + hex;
    Index index;
    for (const auto& [architecture, variant] : {std::pair{"arm", "v5"}, {"arm", "v6"}, {"arm", "v8"}, {"unknown", ""}}) {
        index.manifests.push_back(
            {.media_type = std::string(media_type::manifest), .digest = digest, .platform = Platform{architecture, "linux", variant, ""}});
    }
    ASSERT_TRUE(choose(index, Platform::parse("linux/arm/v7")));
    EXPECT_EQ(choose(index, Platform::parse("linux/arm/v7"))->platform->variant, "v6");
    EXPECT_FALSE(choose(index, Platform::parse("linux/amd64")));
}

// G27
TEST(Platform, an_image_of_a_lower_level_runs) {
    const auto index_of = [](std::initializer_list<const char*> variants) {
        Index index;
        for (const char* variant : variants) {
            index.manifests.push_back({.media_type = std::string(media_type::manifest),
                                       .digest = "sha256:" + hex,
                                       .platform = Platform{"amd64", "linux", variant, ""}});
        }
        return index;
    };
    const Platform newer{"amd64", "linux", "v3", ""};
    const Index with_levels = index_of({"", "v2", "v4"});
    ASSERT_TRUE(choose(with_levels, newer));
    EXPECT_EQ(choose(with_levels, newer)->platform->variant, "v2");
    EXPECT_EQ(choose(with_levels, Platform::parse("linux/amd64"))->platform->variant, "");
    EXPECT_FALSE(choose(index_of({"v4"}), newer));
    EXPECT_FALSE(choose(index_of({"v2"}), Platform::parse("linux/amd64"))) << "what was asked for is no level";

    Index says_nothing = index_of({""});
    says_nothing.manifests[0].platform = Platform{};
    EXPECT_TRUE(choose(says_nothing, newer));
}

TEST(Manifest, a_document_has_so_many_values) {
    EXPECT_NO_THROW(check_value_count(R"({"a":[1,"{,[\",{",{"b":2}]})", "x"));
    std::string list = R"({"history":[{})";
    for (std::size_t n = 0; n < value_count_limit / 2; ++n) list += ",{}";
    EXPECT_THROW(parse_image_config(list + "]}"), Error);
    EXPECT_NO_THROW(check_value_count('"' + std::string(value_count_limit * 2, ',') + '"', "x"));
}

TEST(Manifest, is_checked) {
    const std::string digest = "sha256:" + hex;
    const std::string config = R"({"mediaType":"x","digest":")" + digest + R"(","size":1})";
    EXPECT_EQ(parse_manifest(R"({"schemaVersion":2,"config":)" + config + R"(,"layers":[)" + config + "]}").layers.size(), 1U);
    EXPECT_THROW(parse_manifest(R"({"schemaVersion":1,"config":)" + config + R"(,"layers":[]})"), Error);
    EXPECT_THROW(parse_manifest(R"({"schemaVersion":2,"config":{"digest":"sha256:../x"},"layers":[]})"), Error);
    EXPECT_THROW(parse_manifest(R"({"schemaVersion":2,"layers":[]})"), Error);
    // In the spelling of another reader too.
    EXPECT_THROW(parse_manifest(R"({"schemaVersion":2,"config":)" + config + R"(,"layers":[],"Manifests":[]})"), Error);
    EXPECT_THROW(parse_index(R"({"schemaVersion":2,"manifests":[],"LAYERS":[]})"), Error);
    EXPECT_THROW(parse_index(R"({"schemaVersion":2,"mediaType":"text/plain","manifests":[]})"), Error);
    EXPECT_EQ(parse_archive_manifest(R"([{"Config":"a.json","RepoTags":null,"Layers":["x/layer.tar"]}])").at(0).layers.at(0),
              "x/layer.tar");
    EXPECT_THROW(parse_archive_manifest("{}"), Error);
}

}  // namespace
}  // namespace grua::oci
