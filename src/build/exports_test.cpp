#include "build/exports.hpp"

#include "base/error.hpp"
#include "build/cache_requests.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace grua::build {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using Words = std::map<std::string, std::string>;

wire::control::SolveRequest request(const std::string& type, const Words& words) {
    wire::control::SolveRequest out;
    auto& exporter = *out.add_exporters();
    exporter.set_type(type);
    exporter.mutable_attrs()->insert(words.begin(), words.end());
    return out;
}

Export parse(const std::string& type, const Words& words = {}) { return parse_exports(request(type, words)).at(0); }

template <typename Body>
std::string refusal(Body body, ErrorKind kind = ErrorKind::invalid_argument) {
    try {
        body();
    } catch (const Error& error) {
        EXPECT_EQ(static_cast<int>(error.kind()), static_cast<int>(kind)) << error.what();
        return error.what();
    }
    return "";
}

std::string refusal_of(const std::string& type, const Words& words, ErrorKind kind = ErrorKind::invalid_argument) {
    return refusal([&] { parse(type, words); }, kind);
}

TEST(Exports, WithoutAnyThereIsNone) { EXPECT_THAT(parse_exports({}), IsEmpty()); }

TEST(Exports, AnImage) {
    const Export out = parse("moby", {{"name", "a,docker.io/library/a:latest,localhost:5000/b:2,"},
                                      {"push", ""},
                                      {"registry.insecure", "true"},
                                      {"unpack", "false"},
                                      {"compression", "zstd"},
                                      {"compression-level", "19"},
                                      {"force-compression", ""},
                                      {"oci-mediatypes", "true"},
                                      {"annotation.org.opencontainers.image.title", "t"},
                                      {"annotation-index.k", "v"},
                                      {"annotation-manifest-descriptor[linux/arm64].k", "w"},
                                      {"source-date-epoch", "17"}});
    const auto& image = std::get<ImageExport>(out.what);
    ASSERT_THAT(image.form.names, SizeIs(2));
    EXPECT_EQ(image.form.names[0].text(), "docker.io/library/a:latest");
    EXPECT_EQ(image.form.names[1].text(), "localhost:5000/b:2");
    EXPECT_TRUE(image.push);
    EXPECT_TRUE(image.insecure);
    EXPECT_FALSE(image.unpack);
    EXPECT_TRUE(image.store);
    EXPECT_TRUE(image.form.inline_attestations);
    EXPECT_EQ(image.form.layers.compression, LayerCompression::zstd);
    EXPECT_EQ(image.form.layers.level, 19);
    EXPECT_TRUE(image.form.layers.is_forced);
    ASSERT_THAT(image.form.annotations, SizeIs(3));
    for (const Annotation& each : image.form.annotations) {
        if (each.value == "t") EXPECT_EQ(each.key, "org.opencontainers.image.title");
        if (each.value == "v") EXPECT_EQ(static_cast<int>(each.where), static_cast<int>(Annotation::Where::index));
        if (each.value == "w") EXPECT_EQ(each.platform->text(), "linux/arm64");
    }
    EXPECT_EQ(out.source_date.seconds, 17);
}

TEST(Exports, TheFormsOfArchivesAndFiles) {
    EXPECT_FALSE(std::get<ArchiveExport>(parse("oci", {{"tar", "false"}, {"dest", "x"}}).what).tar);
    EXPECT_EQ(static_cast<int>(std::get<ArchiveExport>(parse("docker").what).layout), static_cast<int>(ArchiveExport::Layout::docker));
    EXPECT_FALSE(std::get<ArchiveExport>(parse("docker").what).form.inline_attestations);
    const Export folder = parse("local", {{"platform-split", "false"}, {"attestation-prefix", "x."}, {"mode", " Delete"}});
    const auto& files = std::get<FilesExport>(folder.what);
    EXPECT_EQ(files.platform_split, false);
    EXPECT_EQ(files.attestation_prefix, "x.");
    EXPECT_EQ(static_cast<int>(files.mode), static_cast<int>(FilesExport::Mode::remove_others));
    EXPECT_EQ(static_cast<int>(std::get<FilesExport>(parse("tar").what).kind), static_cast<int>(FilesExport::Kind::tar));
}

TEST(Exports, OlderClientsHaveOneOnly) {
    wire::control::SolveRequest old;
    old.set_exporterdeprecated("tar");
    (*old.mutable_exporterattrsdeprecated())["platform-split"] = "true";
    const auto all = parse_exports(old);
    ASSERT_THAT(all, SizeIs(1));
    EXPECT_EQ(std::get<FilesExport>(all[0].what).platform_split, true);
    // Newer ones say it twice.
    *old.add_exporters() = request("local", {}).exporters(0);
    EXPECT_EQ(parse_exports(old).at(0).type, "local");
}

TEST(Exports, TheSourceDateIsTheBuildsWhereNoneIsSaid) {
    auto asked = request("moby", {});
    (*asked.mutable_frontendattrs())["build-arg:SOURCE_DATE_EPOCH"] = "5";
    EXPECT_EQ(parse_exports(asked)[0].source_date.seconds, 5);
    (*asked.mutable_exporters(0)->mutable_attrs())["source-date-epoch"] = "";
    EXPECT_TRUE(parse_exports(asked)[0].source_date.is_said);
    EXPECT_FALSE(parse_exports(asked)[0].source_date.seconds);
    (*asked.mutable_exporters(0)->mutable_attrs()).clear();
    (*asked.mutable_frontendattrs())["build-arg:SOURCE_DATE_EPOCH"] = "context";
    EXPECT_FALSE(parse_exports(asked)[0].source_date.is_said);
}

TEST(Exports, WhatIsWrongIsRefusedByName) {
    EXPECT_THAT(refusal_of("nosuch", {}, ErrorKind::not_found), HasSubstr("exporter \"nosuch\": there is no such exporter"));
    EXPECT_THAT(refusal_of("moby", {{"pussh", "true"}}), HasSubstr("exporter \"moby\": unknown attribute \"pussh\""));
    EXPECT_THAT(refusal_of("moby", {{"push", "maybe"}}), HasSubstr("non-bool value specified for push: \"maybe\""));
    EXPECT_THAT(refusal_of("moby", {{"oci-mediatypes", ""}}), HasSubstr("oci-mediatypes"));
    EXPECT_THAT(refusal_of("moby", {{"name", "A"}}), HasSubstr("must be lowercase"));
    EXPECT_THAT(refusal_of("moby", {{"name", "a@sha256:" + std::string(64, '0')}}), HasSubstr("digest"));
    EXPECT_THAT(refusal_of("moby", {{"push", "true"}}), HasSubstr("no name"));
    EXPECT_THAT(refusal_of("image", {{"compression", "brotli"}}), HasSubstr("unsupported compression type brotli"));
    EXPECT_THAT(refusal_of("image", {{"compression-level", "10"}}), HasSubstr("compression-level"));
    EXPECT_THAT(refusal_of("image", {{"compression", "zstd"}, {"oci-mediatypes", "false"}}), HasSubstr("conflicts"));
    EXPECT_THAT(refusal_of("image", {{"annotation-nosuch.k", "v"}}), HasSubstr("unrecognized annotation type nosuch"));
    EXPECT_THAT(refusal_of("image", {{"annotation", "v"}}), HasSubstr("unknown attribute"));
    EXPECT_THAT(refusal_of("local", {{"mode", "move"}}), HasSubstr("invalid local exporter mode"));
    EXPECT_THAT(refusal_of("tar", {{"mode", "copy"}}), HasSubstr("unknown attribute"));
    EXPECT_THAT(refusal_of("local", {{"attestation-prefix", "../"}}), HasSubstr("attestation-prefix"));
    EXPECT_THAT(refusal_of("local", {{"push", "true"}}), HasSubstr("unknown attribute"));
    EXPECT_THAT(refusal_of("image", {{"source-date-epoch", "soon"}}), HasSubstr("source-date-epoch"));
    for (const auto& [name, value] :
         Words{{"compression", "estargz"}, {"prefer-nondist-layers", "true"}, {"buildinfo", "true"}, {"name", "*"}})
        EXPECT_THAT(refusal_of("image", {{name, value}}, ErrorKind::not_implemented), HasSubstr("not implemented: ")) << name;
    wire::control::SolveRequest many;
    for (std::size_t count = 0; count <= exporter_limit; ++count) many.add_exporters()->set_type("local");
    EXPECT_THAT(refusal([&] { parse_exports(many); }), HasSubstr("more than 64"));
}

wire::control::CacheOptionsEntry entry(const std::string& type, const Words& words) {
    wire::control::CacheOptionsEntry out;
    out.set_type(type);
    out.mutable_attrs()->insert(words.begin(), words.end());
    return out;
}

TEST(Caches, AllThree) {
    wire::control::CacheOptions options;
    const std::string digest = "sha256:" + std::string(64, 'a');
    *options.add_exports() = entry("inline", {});
    *options.add_exports() = entry("inline", {{"mode", "max"}});
    *options.add_exports() =
        entry("registry", {{"ref", "r.example/c"}, {"mode", "max"}, {"oci-mediatypes", "false"}, {"ignore-error", "true"}});
    *options.add_exports() = entry("local", {{"dest", "/c"}, {"tag", "x"}, {"compression", "zstd"}, {"mounts", "npm,/root/.cache,npm"}});
    *options.add_imports() = entry("registry", {{"ref", "c"}, {"registry.insecure", "true"}});
    *options.add_imports() = entry("local", {{"src", "/c"}, {"digest", digest}});
    options.add_importrefsdeprecated("old:1");
    const CacheRequest out = parse_caches(options);
    ASSERT_THAT(out.exports, SizeIs(3));
    EXPECT_TRUE(std::holds_alternative<InlineCache>(out.exports[0].where));
    EXPECT_EQ(std::get<RegistryCache>(out.exports[1].where).reference.text(), "r.example/c:latest");
    EXPECT_EQ(static_cast<int>(out.exports[1].mode), static_cast<int>(CacheExport::Mode::max));
    EXPECT_FALSE(out.exports[1].image_manifest);
    EXPECT_TRUE(out.exports[1].ignore_error);
    EXPECT_EQ(std::get<LocalCache>(out.exports[2].where).folder, "/c");
    EXPECT_THAT(out.exports[2].mounts, testing::ElementsAre("npm", "/root/.cache"));
    ASSERT_THAT(out.imports, SizeIs(3));
    EXPECT_TRUE(std::get<RegistryCache>(out.imports[0].where).insecure);
    EXPECT_EQ(std::get<LocalCache>(out.imports[1].where).digest->text(), digest);
    EXPECT_EQ(std::get<RegistryCache>(out.imports[2].where).reference.text(), "docker.io/library/old:1");
}

TEST(Caches, WhatIsWrongIsRefusedByName) {
    const auto exported = [](const std::string& type, const Words& words, ErrorKind kind = ErrorKind::invalid_argument) {
        wire::control::CacheOptions options;
        *options.add_exports() = entry(type, words);
        return refusal([&] { parse_caches(options); }, kind);
    };
    for (const char* each : {"gha", "s3", "azblob"})
        EXPECT_THAT(exported(each, {}, ErrorKind::not_implemented), HasSubstr(fmt::format("not implemented: cache type {}", each)));
    EXPECT_THAT(exported("nosuch", {}, ErrorKind::not_found), HasSubstr("cache export \"nosuch\": there is no such cache"));
    EXPECT_THAT(exported("registry", {}), HasSubstr("missing ref"));
    EXPECT_THAT(exported("local", {}), HasSubstr("dest is missing"));
    EXPECT_THAT(exported("registry", {{"ref", "c"}, {"mode", "most"}}), HasSubstr("neither min nor max"));
    EXPECT_THAT(exported("registry", {{"ref", "c"}, {"x", ""}}), HasSubstr("unknown attribute \"x\""));
    EXPECT_THAT(exported("registry", {{"ref", "c"}, {"oci-mediatypes", "false"}, {"image-manifest", "true"}}),
                HasSubstr("OCI mediatypes are required"));
    EXPECT_THAT(exported("inline", {{"mounts", "npm"}}), HasSubstr("unknown attribute \"mounts\""));
    wire::control::CacheOptions twice;
    *twice.add_exports() = entry("registry", {{"ref", "c"}, {"mode", "max"}});
    *twice.add_exports() = entry("registry", {{"ref", "c"}});
    EXPECT_THAT(refusal([&] { parse_caches(twice); }), HasSubstr("duplicate cache exports [registry]"));
}

TEST(Caches, ImportsOfAFrontEnd) {
    const auto out = parse_cache_imports(R"([{"Type":"registry","Attrs":{"ref":"c:1"}}])");
    ASSERT_THAT(out, SizeIs(1));
    EXPECT_EQ(std::get<RegistryCache>(out[0].where).reference.tag(), "1");
    EXPECT_THAT(parse_cache_imports("[]"), IsEmpty());
    for (const char* each : {"", "{}", "[1]", R"([{"Type":1}])", R"([{"Type":"registry","Attrs":{"ref":1}}])"})
        EXPECT_NE(refusal([&] { parse_cache_imports(each); }), "") << each;
}

}  // namespace
}  // namespace grua::build
