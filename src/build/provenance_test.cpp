#include "build/provenance.hpp"

#include "build/draft.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <boost/json/parse.hpp>

namespace grua::build {
namespace {

using testing::ElementsAre;

const std::string digest_a = "sha256:" + std::string(64, 'a');
const std::string hex_a = std::string(64, 'a');

boost::json::value document(std::string_view text) { return boost::json::parse(text); }

std::string replaced(std::string text, const std::string& what, const std::string& with) {
    for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + with.size()))
        text.replace(at, what.size(), with);
    return text;
}

/// FROM busybox, RUN --mount=type=secret --network=none, of a Dockerfile.
class ProvenanceTest : public testing::Test {
protected:
    ProvenanceTest() {
        record.front_end = "dockerfile.v0";
        record.options = {{"filename", "Dockerfile"},
                          {"build-arg:FOO", "bar"},
                          {"label:lbl", "abc"},
                          {"target", "all"},
                          {"platform", "linux/amd64"},
                          {"image-resolve-mode", "local"},
                          {"cgroup-parent", "x"},
                          {"cache-imports", "[]"},
                          {"attest:provenance", "mode=max"},
                          {"vcs:source", "https://user:pass@example.com/repo.git"},
                          {"vcs:revision", "123456"},
                          {"vcs:localdir", ""},
                          {"context:other", "https://foo:bar@example.com/foo.html"}};
        record.invocation = "theid";
        record.started = *parse_time("2026-01-02T03:04:05.5Z");
        record.finished = *parse_time("2026-01-02T03:05:00Z");
        record.builder = oci::Platform::parse("linux/amd64");
        record.seen.images[{"docker.io/library/busybox:latest", "linux/amd64"}] = digest_a;
        record.seen.folders = {"context", "dockerfile"};
        part.platform = record.builder;
        add_steps();
    }

    void add_steps() {
        Draft draft;
        pb::Op image;
        image.mutable_source()->set_identifier("docker-image://docker.io/library/busybox:latest@" + digest_a);
        image.mutable_platform()->set_os("linux");
        image.mutable_platform()->set_architecture("amd64");
        const Draft::Output from = draft.add(image, "FROM busybox");
        pb::Op run;
        pb::Mount& root = *run.mutable_exec()->add_mounts();
        root.set_input(input_of(run, from));
        root.set_dest("/");
        pb::Mount& secret = *run.mutable_exec()->add_mounts();
        secret.set_input(-1);
        secret.set_output(-1);
        secret.set_mounttype(pb::MOUNT_TYPE_SECRET);
        secret.mutable_secretopt()->set_id("key");
        run.mutable_exec()->mutable_meta()->add_args("make");
        run.mutable_exec()->set_network(pb::NET_MODE_NONE);
        const Draft::Output made = draft.add(run, "RUN make");
        draft.place(from, 1, 1);
        draft.place(made, 2, 3);
        draft.set_source("Dockerfile", "FROM busybox\n", "Dockerfile");
        part.definition = draft.define(made);
        Draft of_file;
        pb::Op folder;
        folder.mutable_source()->set_identifier("local://dockerfile");
        (*folder.mutable_source()->mutable_attrs())["local.session"] = "s";
        (*folder.mutable_source()->mutable_attrs())["local.sharedkeyhint"] = "dockerfile";
        const Draft::Output file = of_file.add(folder, "");
        *part.definition.mutable_source()->mutable_infos(0)->mutable_definition() = of_file.define(file);
        names = {{"DIGEST_IMAGE", from.digest},
                 {"DIGEST_RUN", made.digest},
                 {"DIGEST_FILE", file.digest},
                 {"DIGEST_HEAD", digest_of_last(part.definition)},
                 {"DIGEST_HEAD_OF_FILE", digest_of_last(of_file.define(file))}};
        part.layers = {{.vertex = made.digest,
                        .index = 0,
                        .layers = {{.media_type = "application/vnd.oci.image.layer.v1.tar+gzip", .digest = digest_a, .size = 7}}},
                       {.vertex = "sha256:unknown", .index = 0, .layers = {}}};
        part.layers.push_back(part.layers.front());
    }

    static std::string digest_of_last(const pb::Definition& definition);

    boost::json::value predicate() const { return provenance_predicate(wish, record, part); }

    /// With the digests of the operations in place of their names.
    boost::json::value expected(std::string text) const {
        for (auto each = names.rbegin(); each != names.rend(); ++each) text = replaced(std::move(text), each->first, each->second);
        return document(replaced(std::move(text), "HEX_A", hex_a));
    }

    ProvenanceWish wish;
    BuildRecord record;
    BuildPart part;
    std::map<std::string, std::string> names;
};

std::string ProvenanceTest::digest_of_last(const pb::Definition& definition) {
    pb::Definition alone;
    alone.add_def(definition.def(definition.def_size() - 1));
    Draft draft;
    pb::Op op;
    EXPECT_TRUE(op.ParseFromString(alone.def(0)));
    return draft.add(op, "").digest;
}

TEST_F(ProvenanceTest, the_least_says_when_and_of_what) {
    wish.mode = ProvenanceWish::Mode::min;
    EXPECT_EQ(predicate(), expected(R"({
        "builder": {"id": ""},
        "buildType": "https://mobyproject.org/buildkit@v1",
        "materials": [{"uri": "pkg:docker/busybox@latest?platform=linux%2Famd64", "digest": {"sha256": "HEX_A"}}],
        "invocation": {
            "configSource": {"entryPoint": "Dockerfile"},
            "parameters": {
                "frontend": "dockerfile.v0",
                "args": {"context:other": "https://xxxxx:xxxxx@example.com/foo.html", "target": "all"},
                "locals": [{"name": "context"}, {"name": "dockerfile"}]
            },
            "environment": {"platform": "linux/amd64"}
        },
        "metadata": {
            "buildInvocationID": "theid",
            "buildStartedOn": "2026-01-02T03:04:05.5Z",
            "buildFinishedOn": "2026-01-02T03:05:00Z",
            "completeness": {"parameters": false, "environment": true, "materials": false},
            "reproducible": false,
            "https://mobyproject.org/buildkit@v1#metadata": {
                "vcs": {"revision": "123456", "source": "https://xxxxx:xxxxx@example.com/repo.git"}
            }
        }
    })"));
}

constexpr std::string_view steps = R"({
    "llbDefinition": [
        {"id": "step0", "op": {"Op": {"source": {"identifier": "docker-image://docker.io/library/busybox:latest@sha256:HEX_A"}},
                               "platform": {"Architecture": "amd64", "OS": "linux"}}},
        {"id": "step1", "inputs": ["step0:0"],
         "op": {"Op": {"exec": {"meta": {"args": ["make"]}, "network": 2, "mounts": [
             {"dest": "/"}, {"input": -1, "output": -1, "mountType": 1, "secretOpt": {"ID": "key"}}]}}}},
        {"id": "step2", "op": {"Op": {}}, "inputs": ["step1:0"]}
    ],
    "digestMapping": {"DIGEST_IMAGE": "step0", "DIGEST_RUN": "step1", "DIGEST_HEAD": "step2"}
})";

constexpr std::string_view more = R"({
    "vcs": {"revision": "123456", "source": "https://xxxxx:xxxxx@example.com/repo.git"},
    "source": {
        "locations": {
            "step0": {"locations": [{"ranges": [{"start": {"line": 1}, "end": {"line": 1}}]}]},
            "step1": {"locations": [{"ranges": [{"start": {"line": 2}, "end": {"line": 3}}]}]}
        },
        "infos": [{
            "filename": "Dockerfile", "language": "Dockerfile", "data": "RlJPTSBidXN5Ym94Cg==",
            "llbDefinition": [
                {"id": "step0", "op": {"Op": {"source": {"identifier": "local://dockerfile",
                                                         "attrs": {"local.sharedkeyhint": "dockerfile"}}}}},
                {"id": "step1", "op": {"Op": {}}, "inputs": ["step0:0"]}
            ],
            "digestMapping": {"DIGEST_FILE": "step0", "DIGEST_HEAD_OF_FILE": "step1"}
        }]
    },
    "layers": {"step1:0": [[{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": "sha256:HEX_A", "size": 7}]]}
})";

TEST_F(ProvenanceTest, the_most_has_the_steps_as_well) {
    wish.builder_id = "https://ci/7";
    wish.is_reproducible = true;
    const boost::json::value found = predicate();
    EXPECT_EQ(found.at("buildConfig"), expected(std::string(steps)));
    EXPECT_EQ(found.at("builder"), document(R"({"id": "https://ci/7"})"));
    EXPECT_EQ(found.at("invocation").at("parameters"), document(R"({
        "frontend": "dockerfile.v0",
        "args": {"build-arg:FOO": "bar", "context:other": "https://xxxxx:xxxxx@example.com/foo.html", "label:lbl": "abc", "target": "all"},
        "secrets": [{"id": "key"}],
        "locals": [{"name": "context"}, {"name": "dockerfile"}]
    })"));
    EXPECT_EQ(found.at("metadata").at("https://mobyproject.org/buildkit@v1#metadata"), expected(std::string(more)));
    EXPECT_EQ(found.at("metadata").at("reproducible"), true);
    EXPECT_EQ(found.at("metadata").at("completeness"), document(R"({"parameters": true, "environment": true, "materials": false})"));
}

TEST_F(ProvenanceTest, the_newer_form_says_the_same) {
    wish.form = ProvenanceWish::Form::slsa_1;
    wish.is_reproducible = true;
    EXPECT_EQ(predicate(), expected(replaced(replaced(R"({
        "buildDefinition": {
            "buildType": "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md",
            "resolvedDependencies": [{"uri": "pkg:docker/busybox@latest?platform=linux%2Famd64", "digest": {"sha256": "HEX_A"}}],
            "externalParameters": {
                "configSource": {"path": "Dockerfile"},
                "request": {
                    "frontend": "dockerfile.v0",
                    "args": {"build-arg:FOO": "bar", "context:other": "https://xxxxx:xxxxx@example.com/foo.html", "label:lbl": "abc",
                             "target": "all"},
                    "secrets": [{"id": "key"}],
                    "locals": [{"name": "context"}, {"name": "dockerfile"}]
                }
            },
            "internalParameters": {"buildConfig": STEPS, "builderPlatform": "linux/amd64"}
        },
        "runDetails": {
            "builder": {"id": ""},
            "metadata": {
                "invocationID": "theid",
                "startedOn": "2026-01-02T03:04:05.5Z",
                "finishedOn": "2026-01-02T03:05:00Z",
                "buildkit_metadata": MORE,
                "buildkit_completeness": {"request": true, "resolvedDependencies": false},
                "buildkit_reproducible": true
            }
        }
    })",
                                                      "STEPS", std::string(steps)),
                                             "MORE", std::string(more))));
    EXPECT_EQ(predicate_type(wish.form), "https://slsa.dev/provenance/v1");
    EXPECT_EQ(predicate_type(ProvenanceWish::Form::slsa_0_2), "https://slsa.dev/provenance/v0.2");
}

TEST_F(ProvenanceTest, a_build_of_a_repository_is_hermetic) {
    const std::string commit(40, 'c');
    record.seen.folders.clear();
    record.seen.repositories["https://xxxxx@example.com/x.git#refs/tags/v1"] = commit;
    record.seen.files["https://example.com/x.tar"] = digest_a;
    record.options["context"] = "https://token@example.com/x.git?tag=v1#:folder";
    boost::json::value found = predicate();
    const std::string source =
        R"({"uri": "https://xxxxx@example.com/x.git#refs/tags/v1", "digest": {"sha1": "cccccccccccccccccccccccccccccccccccccccc"})";
    EXPECT_EQ(found.at("invocation").at("configSource"), document(source + R"(, "entryPoint": "Dockerfile"})"));
    EXPECT_EQ(found.at("materials").at(1), document(source + "}"));
    EXPECT_EQ(found.at("materials").at(2), expected(R"({"uri": "https://example.com/x.tar", "digest": {"sha256": "HEX_A"}})"));
    EXPECT_EQ(found.at("metadata").at("https://mobyproject.org/buildkit@v1#hermetic"), true);
    EXPECT_EQ(found.at("metadata").at("completeness").at("materials"), true);
    EXPECT_FALSE(found.at("invocation").at("parameters").at("args").as_object().contains("context"));
    record.options["context"] = "https://example.com/x.tar";
    wish.form = ProvenanceWish::Form::slsa_1;
    found = predicate();
    EXPECT_EQ(found.at("buildDefinition").at("externalParameters").at("configSource"),
              expected(R"({"uri": "https://example.com/x.tar", "digest": {"sha256": "HEX_A"}, "path": "Dockerfile"})"));
    EXPECT_EQ(found.at("runDetails").at("metadata").at("buildkit_hermetic"), true);
    record.options["context"] = "https://u:p@elsewhere.com/";
    EXPECT_EQ(predicate().at("buildDefinition").at("externalParameters").at("configSource").at("uri"),
              "https://xxxxx:xxxxx@elsewhere.com/");
}

TEST_F(ProvenanceTest, the_context_may_have_another_name) {
    record.options["contextkey"] = "mine";
    record.options["mine"] = "https://u:p@h/x.tar";
    EXPECT_EQ(predicate().at("invocation").at("configSource").at("uri"), "https://xxxxx:xxxxx@h/x.tar");
    record.options.erase("contextkey");
    record.options["input:context"] = "local:context";
    EXPECT_EQ(predicate().at("invocation").at("configSource").at("uri"), "local:context");
}

TEST_F(ProvenanceTest, a_graph_of_the_client_has_no_front_end) {
    record.front_end.clear();
    record.options.clear();
    record.seen = {};
    part.definition = {};
    const boost::json::value found = predicate();
    EXPECT_EQ(found.at("invocation"), document(R"({"configSource": {}, "parameters": {}, "environment": {"platform": "linux/amd64"}})"));
    EXPECT_EQ(found.at("buildConfig"), document("{}"));
    EXPECT_EQ(found.at("metadata").at("completeness").at("parameters"), false);
    EXPECT_FALSE(found.as_object().contains("materials"));
}

TEST_F(ProvenanceTest, an_image_with_a_name_that_is_none_is_told_as_it_is) {
    record.seen.images[{"Not A Name", ""}] = "";
    const boost::json::value found = predicate();
    EXPECT_EQ(found.at("materials").at(0), document(R"({"uri": "Not A Name"})"));
}

TEST(Provenance, packages_are_named_by_their_references) {
    const auto url = [](const char* reference, const std::string& platform = {}) {
        return package_url("docker", oci::Reference::parse(reference), platform);
    };
    EXPECT_EQ(url("alpine"), "pkg:docker/alpine@latest");
    EXPECT_EQ(url("docker.io/library/alpine:3.15"), "pkg:docker/alpine@3.15");
    EXPECT_EQ(url("user/test:v2"), "pkg:docker/user/test@v2");
    EXPECT_EQ(url("ghcr.io/foo/bar"), "pkg:docker/ghcr.io/foo/bar@latest");
    EXPECT_EQ(url("localhost:5000/foo"), "pkg:docker/localhost%3A5000/foo@latest");
    EXPECT_EQ(url(("alpine@" + digest_a).c_str()), "pkg:docker/alpine?digest=" + digest_a);
    EXPECT_EQ(url(("alpine:1@" + digest_a).c_str(), "linux/arm/v7"),
              "pkg:docker/alpine@1?digest=" + digest_a + "&platform=linux%2Farm%2Fv7");
}

TEST(Provenance, a_statement_names_what_it_is_about) {
    const oci::Digest digest = oci::Digest::from(digest_a);
    const auto subjects =
        image_subjects({oci::Reference::parse("a:1"), oci::Reference::parse("h:1/b")}, oci::Platform::parse("linux/amd64"), digest);
    EXPECT_EQ(in_toto_statement("https://x", subjects, document(R"({"y": 1})")), document(replaced(R"({
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": "https://x",
        "subject": [{"name": "pkg:docker/a@1?platform=linux%2Famd64", "digest": {"sha256": "HEX_A"}},
                    {"name": "pkg:docker/h%3A1/b@latest?platform=linux%2Famd64", "digest": {"sha256": "HEX_A"}}],
        "predicate": {"y": 1}
    })",
                                                                                                   "HEX_A", hex_a)));
    EXPECT_EQ(in_toto_statement("https://x", {}, {}).at("subject"), document("[]"));
}

TEST(Provenance, files_are_named_by_their_paths) {
    TreeIndex files;
    files["a"] = {.mode = S_IFDIR | 0755};
    files["a/b"] = {.mode = S_IFREG | 0644, .digest = digest_a};
    files["c"] = {.mode = S_IFLNK | 0777};
    std::vector<std::string> found;
    for (const Subject& each : file_subjects(files)) found.push_back(each.name + " sha256:" + each.digests.at("sha256"));
    EXPECT_THAT(found, ElementsAre("a/b " + digest_a));
}

}  // namespace
}  // namespace grua::build
