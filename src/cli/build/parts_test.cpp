// The small pure parts: excerpts, requests, layouts, inputs, metadata, calls, filters of the cache.
#include "base/encoding.hpp"
#include "base/error.hpp"
#include "base/files.hpp"
#include "base/id.hpp"
#include "cli/build/cache.hpp"
#include "cli/build/call.hpp"
#include "cli/build/failure.hpp"
#include "cli/build/inputs.hpp"
#include "cli/build/layout.hpp"
#include "cli/build/metadata.hpp"
#include "cli/build/request.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <array>
#include <boost/json.hpp>
#include <filesystem>

namespace grua::cli {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;
using testing::StartsWith;

class BuildPartsTest : public testing::Test {
protected:
    BuildPartsTest() : folder((fs::temp_directory_path() / ("grua-parts-" + random_hex(6))).string()) {
        fs::create_directories(folder);
        ::unsetenv("BUILDX_NO_DEFAULT_ATTESTATIONS");
    }
    ~BuildPartsTest() override { fs::remove_all(folder); }

    /// Standard input with these bytes.
    static Fd input(const std::string& bytes) {
        std::array<int, 2> ends{};
        EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
        EXPECT_EQ(::write(ends[1], bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
        ::close(ends[1]);
        return Fd(ends[0]);
    }
    template <typename Body>
    static std::string refusal(Body body) {
        try {
            body();
        } catch (const std::exception& error) {
            return error.what();
        }
        return "";
    }

    std::string folder;
};

grua::wire::errors::Source source_at(int first, int last) {
    grua::wire::errors::Source out;
    out.mutable_info()->set_filename("Dockerfile");
    out.mutable_info()->set_data("FROM a\nRUN b\nRUN c\nRUN d\nRUN e\n");
    auto& range = *out.add_ranges();
    range.mutable_start()->set_line(first);
    range.mutable_end()->set_line(last);
    return out;
}

std::string shown(const grua::wire::errors::Source& source) { return excerpt_of(source.info(), source.ranges()); }

TEST_F(BuildPartsTest, AnExcerptIsAsDockerShowsIt) {
    EXPECT_EQ(shown(source_at(3, 3)),
              "Dockerfile:3\n--------------------\n"
              "   1 |     FROM a\n   2 |     RUN b\n   3 | >>> RUN c\n   4 |     RUN d\n   5 |     RUN e\n--------------------\n");
    EXPECT_EQ(shown(source_at(1, 1)),
              "Dockerfile:1\n--------------------\n   1 | >>> FROM a\n   2 |     RUN b\n   3 |     RUN c\n--------------------\n");
    EXPECT_EQ(shown(source_at(2, 3)),
              "Dockerfile:2\n--------------------\n   1 |     FROM a\n   2 | >>> RUN b\n   3 | >>> RUN c\n   4 |     RUN "
              "d\n--------------------\n");
    EXPECT_EQ(shown(source_at(9, 9)), "");
    EXPECT_EQ(shown(source_at(0, 0)), "");
    EXPECT_THAT(shown(source_at(3, 900)), HasSubstr(">>> RUN e"));
}

TEST_F(BuildPartsTest, SourcesComeInEitherForm) {
    grua::wire::common::Status details;
    auto* any = details.add_details();
    any->set_type_url("type.googleapis.com/errdefs.Source");
    any->set_value(source_at(2, 2).SerializeAsString());
    any = details.add_details();
    any->set_type_url("github.com/moby/buildkit/errdefs.Source+json");
    any->set_value(fmt::format(R"({{"info":{{"filename":"D","data":"{}"}},"ranges":[{{"start":{{"line":1}},"end":{{"line":1}}}}]}})",
                               base64_encode("FROM x")));
    any = details.add_details();
    any->set_type_url("github.com/moby/buildkit/errdefs.Vertex+json");
    any->set_value("{}");
    any = details.add_details();
    any->set_type_url("errdefs.Source+json");
    any->set_value("broken");
    const auto sources = sources_of({.code = grpc::Code::unknown, .message = "m", .details = details.SerializeAsString()});
    ASSERT_EQ(sources.size(), 2U);
    EXPECT_THAT(shown(sources[0]), StartsWith("Dockerfile:2\n"));
    EXPECT_EQ(shown(sources[1]), "D:1\n--------------------\n   1 | >>> FROM x\n--------------------\n");
    EXPECT_THAT(sources_of({.code = grpc::Code::unknown, .message = "m", .details = "\xFF\xFF"}), IsEmpty());
}

TEST_F(BuildPartsTest, AContextFolder) {
    replace_file(folder + "/dockerfile", "FROM a");
    BuildOptions options{.context = folder};
    BuildInputs out = prepare_inputs(options, -1);
    EXPECT_EQ(out.folders.at("context").path, folder);
    EXPECT_EQ(out.folders.at("dockerfile").path, folder);
    EXPECT_EQ(out.attributes.at("filename"), "dockerfile");
    EXPECT_THAT(out.shared_key, StartsWith("b:"));
    EXPECT_EQ(prepare_inputs({.context = folder + "/."}, -1).shared_key, out.shared_key);
    replace_file(folder + "/Dockerfile", "FROM b");
    EXPECT_EQ(prepare_inputs(options, -1).attributes.at("filename"), "Dockerfile");
    options.file = folder + "/Dockerfile.other";
    EXPECT_EQ(prepare_inputs(options, -1).attributes.at("filename"), "Dockerfile.other");
    EXPECT_THAT(refusal([&] { prepare_inputs({.context = folder + "/none"}, -1); }), HasSubstr("not found"));
    EXPECT_THAT(refusal([&] { prepare_inputs({.context = ""}, -1); }), HasSubstr("please specify build context"));
}

TEST_F(BuildPartsTest, ADockerfileOnStandardInput) {
    const BuildInputs alone = prepare_inputs({.context = "-"}, input("FROM a\n").get());
    EXPECT_EQ(alone.folders.at("dockerfile").files.at("Dockerfile"), "FROM a\n");
    EXPECT_EQ(alone.folders.at("context").path, "");
    EXPECT_EQ(alone.attributes.at("dockerfilekey"), "dockerfile");
    const BuildInputs beside = prepare_inputs({.context = folder, .file = "-"}, input("FROM b\n").get());
    EXPECT_EQ(beside.folders.at("dockerfile").files.at("Dockerfile"), "FROM b\n");
    EXPECT_EQ(beside.folders.at("context").path, folder);
    EXPECT_THAT(refusal([&] { prepare_inputs({.context = "-", .file = "x"}, input("FROM").get()); }),
                HasSubstr("ambiguous Dockerfile source"));
}

TEST_F(BuildPartsTest, AnArchiveOnStandardInput) {
    const std::string bytes = "\x1F\x8B\x08" + std::string(3000, 'x');
    const Fd piped = input(bytes);
    const BuildInputs out = prepare_inputs({.context = "-", .file = "d/Dockerfile"}, piped.get());
    EXPECT_EQ(out.attributes.at("context"), "http://buildkit-session/" + out.upload);
    EXPECT_EQ(out.attributes.at("filename"), "d/Dockerfile");
    EXPECT_EQ(out.early + read_all(piped.get(), "rest"), bytes);
    EXPECT_THAT(out.folders, IsEmpty());
    std::string tar(512, '\0');
    tar.replace(0, 1, "a");
    tar.replace(257, 5, "ustar");
    unsigned sum = 8 * ' ';
    for (const char each : tar) sum += static_cast<unsigned char>(each);
    tar.replace(148, 6, fmt::format("{:06o}", sum));
    tar[155] = ' ';
    EXPECT_TRUE(is_archive(tar));
    EXPECT_FALSE(is_archive(std::string(512, 'x')));
    EXPECT_FALSE(is_archive("FROM a"));
}

TEST_F(BuildPartsTest, RemoteAndNamedContexts) {
    const BuildInputs remote = prepare_inputs({.context = "https://example.org/a.git#main"}, -1);
    EXPECT_EQ(remote.attributes.at("context"), "https://example.org/a.git#main");
    EXPECT_EQ(remote.attributes.at("filename"), "Dockerfile");
    EXPECT_THAT(remote.folders, IsEmpty());
    BuildOptions options{.context = folder};
    options.contexts = {{"base", "docker-image://alpine"}, {"context", folder}, {"other", folder}};
    const BuildInputs named = prepare_inputs(options, -1);
    EXPECT_EQ(named.attributes.at("context:base"), "docker-image://alpine");
    EXPECT_EQ(named.attributes.at("context:context"), "local:_context");
    EXPECT_EQ(named.attributes.at("context:other"), "local:other");
    EXPECT_EQ(named.folders.at("other").path, folder);
    EXPECT_EQ(named.attributes.at("frontend.caps"), "moby.buildkit.frontend.contexts+forward");
}

TEST_F(BuildPartsTest, LayoutsHaveNames) {
    const std::string first = "sha256:" + std::string(64, 'a');
    const std::string second = "sha256:" + std::string(64, 'b');
    add_to_layout(folder, fmt::format(R"({{"digest":"{}","size":3}})", first), {"latest"});
    EXPECT_EQ(digest_in_layout(folder, "latest"), first);
    add_to_layout(folder, fmt::format(R"({{"digest":"{}","size":3}})", second), {"latest", "docker.io/library/a:1"});
    EXPECT_EQ(digest_in_layout(folder, "latest"), second);
    EXPECT_EQ(digest_in_layout(folder, "1"), second);
    EXPECT_EQ(digest_in_layout(folder, "docker.io/library/a:1"), second);
    const boost::json::value index = boost::json::parse(read_file(folder + "/index.json"));
    EXPECT_EQ(index.at("manifests").as_array().size(), 2U);
    EXPECT_THAT(read_file(folder + "/oci-layout"), HasSubstr("1.0.0"));
    const LayoutReference found = find_in_layout(folder + ":1");
    EXPECT_EQ(found.folder + "|" + found.tag + "|" + found.digest, folder + "|1|" + second);
    EXPECT_EQ(find_in_layout(folder + "@" + first).digest, first);
    EXPECT_THAT(refusal([&] { find_in_layout(folder + ":none"); }), HasSubstr("could not be resolved"));
    EXPECT_EQ(digest_in_layout(folder + "/none", "latest"), "");
}

TEST_F(BuildPartsTest, TheRequest) {
    BuildOptions options{.context = folder};
    options.tags = {"a", "b:1"};
    options.arguments = {{"X", "1"}};
    options.no_cache = true;
    options.pull = true;
    options.hosts = {{"h", "host-gateway"}, {"i", "10.0.0.1"}};
    options.network = "host";
    options.shm_size = 5;
    options.ulimits = {"nofile=1:2"};
    options.cache_from = {{.type = "registry", .attributes = {{"ref", "r"}}}, {.type = "local", .attributes = {{"src", folder}}}};
    options.cache_to = {{.type = "inline", .attributes = {}}};
    const EngineAbilities abilities{.graph = {"exporter.image.attestations"}, .gateway = "172.17.0.1"};
    const auto request = make_request(options, prepare_inputs(options, -1), abilities);
    const Words words{request.frontendattrs().begin(), request.frontendattrs().end()};
    EXPECT_THAT(words, ElementsAre(Pair("add-hosts", "h=172.17.0.1,i=10.0.0.1"), Pair("attest:provenance", "mode=min,inline-only=true"),
                                   Pair("build-arg:X", "1"), Pair("cache-imports", R"([{"Type":"registry","Attrs":{"ref":"r"}}])"),
                                   Pair("filename", "Dockerfile"), Pair("force-network-mode", "host"), Pair("image-resolve-mode", "pull"),
                                   Pair("no-cache", ""), Pair("shm-size", "5"), Pair("ulimit", "nofile=1:2")));
    ASSERT_EQ(request.exporters_size(), 1);
    EXPECT_EQ(request.exporters(0).type(), "moby");
    EXPECT_EQ(request.exporters(0).attrs().at("name"), "a,b:1");
    EXPECT_EQ(request.exporterdeprecated(), "moby");
    EXPECT_EQ(request.entitlements(0), "network.host");
    EXPECT_EQ(request.cache().exports(0).type(), "inline");
    EXPECT_EQ(request.cache().imports_size(), 1);
    EXPECT_EQ(request.frontend(), "dockerfile.v0");
    EXPECT_THAT(refusal([&] { make_request(options, {}, {}); }), HasSubstr("host-gateway"));

    BuildOptions check{.context = folder};
    check.call = BuildCall{.name = "lint"};
    const auto asked = make_request(check, prepare_inputs(check, -1), {});
    EXPECT_EQ(asked.exporters_size(), 0);
    EXPECT_EQ(asked.frontend(), "");
    EXPECT_TRUE(asked.internal());
    EXPECT_EQ(asked.frontendattrs().at("requestid"), "frontend.lint");

    BuildOptions attested{.context = folder};
    attested.attestations["sbom"] = "type=sbom";
    EXPECT_THAT(refusal([&] { make_request(attested, {}, {}); }), HasSubstr("Attestations are not supported"));
    attested.attestations["sbom"] = std::nullopt;
    EXPECT_EQ(make_request(attested, {}, {}).frontendattrs().count("attest:sbom"), 0U);
}

TEST_F(BuildPartsTest, Metadata) {
    const Words response{{"containerimage.config.digest", "sha256:c"},
                         {"containerimage.descriptor", base64_encode(R"({"size":1})")},
                         {"containerimage.digest", "sha256:d"},
                         {"image.name", "a"}};
    EXPECT_EQ(image_id_of(response), "sha256:c");
    EXPECT_EQ(image_id_of({{"containerimage.digest", "sha256:d"}}), "sha256:d");
    EXPECT_EQ(image_id_of({}), "");
    const boost::json::value parsed = boost::json::parse(metadata_text(response));
    EXPECT_EQ(parsed.at("containerimage.descriptor").at("size").as_int64(), 1);
    EXPECT_EQ(parsed.at("image.name").as_string(), "a");
}

TEST_F(BuildPartsTest, CallsPrintTheirResults) {
    const Words good{{"result.json", R"({"warnings":[]})"}, {"result.statuscode", "0"}};
    EXPECT_EQ(read_call({.name = "lint"}, good).text, "Check complete, no warnings found.\n");
    const Words bad{{"result.json", R"({"warnings":[{}]})"}, {"result.txt", "WARNING: x\n"}, {"result.statuscode", "1"}};
    EXPECT_EQ(read_call({.name = "lint"}, bad).text, "Check complete, 1 warning has been found!\nWARNING: x\n");
    EXPECT_EQ(read_call({.name = "lint"}, bad).status, 1);
    EXPECT_EQ(read_call({.name = "lint", .is_json = false, .ignores_status = true}, bad).status, 0);
    EXPECT_EQ(read_call({.name = "lint", .is_json = true}, bad).text, "{\"warnings\":[{}]}\n");
    EXPECT_EQ(read_call({.name = "targets"}, {{"result.txt", "TARGET\n"}}).text, "TARGET\n");
    EXPECT_THAT(refusal([] { read_call({.name = "targets"}, {}); }), HasSubstr("not implemented"));
    const Words broken{
        {"result.json", fmt::format(R"({{"warnings":[],"sources":[{{"filename":"D","data":"{}"}}],"buildError":{{"message":"no",)"
                                    R"("location":{{"ranges":[{{"start":{{"line":1}},"end":{{"line":1}}}}]}}}}}})",
                                    base64_encode("FRM x"))}};
    EXPECT_EQ(refusal([&] { read_call({.name = "lint"}, broken); }),
              "no\nD:1\n--------------------\n   1 | >>> FRM x\n--------------------\n");
}

TEST_F(BuildPartsTest, FiltersOfTheCache) {
    EXPECT_EQ(read_cache_filter({}).text, "");
    const CacheFilter out = read_cache_filter({"until=24h", "type=regular", "id=abc", "shared", "description~=x"});
    EXPECT_EQ(out.unused_for, 24LL * 3600 * 1'000'000'000);
    EXPECT_EQ(out.text, "description~=x,id~=abc,shared,type==regular");
    EXPECT_THAT(refusal([] { read_cache_filter({"until=x"}); }), HasSubstr("expects a duration"));
    EXPECT_THAT(refusal([] { read_cache_filter({"until=1h", "unused-for=1h"}); }), HasSubstr("conflicting filters"));
    EXPECT_THAT(refusal([] { read_cache_filter({"type=a", "type=b"}); }), HasSubstr("expects only one value"));
}

TEST_F(BuildPartsTest, TheCacheAsATable) {
    wire::control::UsageRecord record;
    record.set_id("abc");
    record.set_size(1'500'000);
    record.set_mutable_(true);
    record.set_inuse(true);
    record.mutable_lastusedat()->set_seconds(1000);
    const Time time(std::chrono::seconds(1000 + 7200));
    EXPECT_EQ(cache_row(record, time), "abc*\tfalse\t1.5MB\t2 hours ago\n");
    EXPECT_THAT(cache_summary({record}), HasSubstr("Total:"));
    record.set_recordtype("regular");
    EXPECT_THAT(cache_details(record, time), HasSubstr("regular"));
}

}  // namespace
}  // namespace grua::cli
