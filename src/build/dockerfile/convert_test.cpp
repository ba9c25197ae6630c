#include "build/dockerfile/convert.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace grua::build::dockerfile {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const ImageName busybox{.reference = "docker.io/library/busybox:latest", .platform = "linux/amd64"};

oci::ImageConfig config_of_busybox() {
    oci::ImageConfig out;
    out.architecture = "amd64";
    out.os = "linux";
    out.rootfs = {.type = "layers", .diff_ids = {"sha256:" + std::string(64, '1')}};
    out.config.cmd = {"sh"};
    out.config.env = {"PATH=/bin", "BASE=1"};
    out.history.push_back({.created = "2026-01-01T00:00:00Z", .created_by = "busybox", .author = {}, .comment = {}});
    return out;
}

class ConvertTest : public testing::Test {
protected:
    ConvertTest() {
        images[busybox] = {.config = config_of_busybox(), .pinned = "docker.io/library/busybox:latest@sha256:" + std::string(64, 'a')};
        options.inputs.build_platform = options.inputs.target_platform = oci::Platform::parse("linux/amd64");
        options.context = [this](Draft& draft, const std::vector<std::string>& paths) {
            context_paths = paths;
            pb::Op op;
            op.mutable_source()->set_identifier("local://context");
            for (const std::string& each : paths) (*op.mutable_source()->mutable_attrs())["followpaths"] += each + ",";
            return draft.add(op, "[internal] load build context");
        };
    }

    void convert(const std::string& text) {
        const Dockerfile file = read_dockerfile(text);
        out = dockerfile::convert(text, file, options, images);
        head = read_graph(out.definition);
    }
    std::string refusal(const std::string& text) {
        try {
            convert(text);
        } catch (const Error& error) {
            return error.what();
        }
        return "";
    }
    std::vector<std::string> names() const {
        std::vector<std::string> all;
        for (const VertexPtr& each : in_order(head)) all.push_back(each->name);
        return all;
    }
    std::vector<std::string> history() const {
        std::vector<std::string> all;
        for (std::size_t at = out.inherited_history; at < out.image.history.size(); ++at) all.push_back(out.image.history[at].created_by);
        return all;
    }
    const pb::ExecOp& exec() const { return head.vertex->op.exec(); }

    ConvertOptions options;
    std::map<ImageName, KnownImage> images;
    Conversion out;
    Edge head;
    std::vector<std::string> context_paths;
};

TEST_F(ConvertTest, AStageBecomesAChain) {
    convert("FROM busybox\nENV A=1 B=\"two words\"\nRUN echo $A >f\nCOPY x y/ /d/\nWORKDIR sub\nCMD [\"cat\", \"/f\"]\nLABEL k=v\n");
    EXPECT_THAT(names(), ElementsAre("[1/4] FROM docker.io/library/busybox:latest@sha256:" + std::string(64, 'a'), "[2/4] RUN echo 1 >f",
                                     "[internal] load build context", "[3/4] COPY x y/ /d/", "[4/4] WORKDIR sub"));
    EXPECT_THAT(history(), ElementsAre("ENV A=1 B=two words", "RUN /bin/sh -c echo $A >f # buildkit", "COPY x y/ /d/ # buildkit",
                                       "WORKDIR /sub", "CMD [\"cat\" \"/f\"]", "LABEL k=v"));
    EXPECT_THAT(context_paths, ElementsAre("x", "y"));
    EXPECT_EQ(out.image.config.working_dir, "/sub");
    EXPECT_EQ(out.image.config.cmd, (std::vector<std::string>{"cat", "/f"}));
    EXPECT_THAT(out.image.config.env, ElementsAre("PATH=/bin", "BASE=1", "A=1", "B=two words"));
    EXPECT_EQ(out.image.config.labels.at("k"), "v");
    EXPECT_EQ(out.image.history.size(), 7U);
    EXPECT_TRUE(out.image.history[1].empty_layer);
    EXPECT_FALSE(out.image.history[2].empty_layer);
    const auto run = in_order(head)[1];
    EXPECT_THAT(run->op.exec().meta().args(), ElementsAre("/bin/sh", "-c", "echo $A >f"));
    EXPECT_THAT(run->op.exec().meta().env(), ElementsAre("PATH=/bin", "BASE=1", "A=1", "B=two words"));
    EXPECT_EQ(run->op.exec().meta().cwd(), "/");
    const pb::FileOp& copy = in_order(head)[3]->op.file();
    ASSERT_EQ(copy.actions_size(), 2);
    EXPECT_EQ(copy.actions(0).copy().src(), "/x");
    EXPECT_EQ(copy.actions(0).copy().dest(), "/d/");
    EXPECT_EQ(copy.actions(0).input(), 0);
    EXPECT_EQ(copy.actions(0).secondaryinput(), 1);
    EXPECT_EQ(copy.actions(0).output(), -1);
    EXPECT_EQ(copy.actions(1).input(), 2);
    EXPECT_EQ(copy.actions(1).output(), 0);
    ASSERT_EQ(out.definition.source().locations().size(), 4U);
    EXPECT_EQ(out.definition.source().infos(0).filename(), "Dockerfile");
}

TEST_F(ConvertTest, ImagesAreAskedForFirst) {
    images.clear();
    convert(
        "FROM debian:12 AS a\nRUN --mount=type=bind,from=alpine,target=/x true\nFROM busybox\nCOPY --from=a /f /\nCOPY --from=other/image "
        "/g /\n");
    std::vector<std::string> wanted;
    for (const ImageName& each : out.wanted) wanted.push_back(each.reference);
    EXPECT_THAT(wanted, ElementsAre("docker.io/library/alpine:latest", "docker.io/library/busybox:latest", "docker.io/library/debian:12",
                                    "docker.io/other/image:latest"));
    // What no target needs is not asked for.
    convert("FROM debian AS a\nFROM busybox\n");
    ASSERT_EQ(out.wanted.size(), 1U);
    EXPECT_EQ(out.wanted[0].reference, "docker.io/library/busybox:latest");
    EXPECT_THAT(refusal("FROM Bad/Name\n"), HasSubstr("failed to parse stage name \"Bad/Name\": invalid reference format"));
}

TEST_F(ConvertTest, StagesAreNamed) {
    convert("FROM busybox AS one\nRUN a\nFROM one\nRUN b\nCOPY --from=one /x /\n");
    EXPECT_THAT(names(), ElementsAre(HasSubstr("[one 1/2] FROM docker.io/library/busybox"), "[one 2/2] RUN a", "[stage-1 1/2] RUN b",
                                     "[stage-1 2/2] COPY --from=one /x /"));
    EXPECT_THAT(refusal("FROM busybox AS one\nCOPY --from=two /x /\nFROM busybox AS two\nRUN x\nFROM one\n"),
                HasSubstr("cannot copy from stage \"two\", it needs to be defined before current stage \"one\""));
    options.inputs.target = "one";
    convert("FROM busybox AS one\nRUN a\nFROM one\nRUN b\n");
    EXPECT_EQ(head.vertex->name, "[one 2/2] RUN a");
}

TEST_F(ConvertTest, ArgumentsAreVariablesAndNoConfiguration) {
    options.inputs.arguments = {{"A", "given"}};
    convert("ARG GLOBAL=g\nFROM busybox\nARG A=default\nARG B=b$A\nARG GLOBAL\nARG NONE\nRUN echo $A $B ${GLOBAL} $NONE $UNSET\n");
    EXPECT_EQ(head.vertex->name, "[2/2] RUN echo given bgiven g $NONE $UNSET");
    EXPECT_THAT(out.image.config.env, ElementsAre("PATH=/bin", "BASE=1"));
    EXPECT_THAT(history(), ElementsAre("ARG A=given", "ARG B=bgiven", "ARG GLOBAL=g", "ARG NONE",
                                       "RUN |4 A=given B=bgiven GLOBAL=g NONE= /bin/sh -c echo $A $B ${GLOBAL} $NONE $UNSET # buildkit"));
    EXPECT_THAT(exec().meta().env(), ElementsAre("PATH=/bin", "BASE=1", "A=given", "B=bgiven", "GLOBAL=g"));
}

TEST_F(ConvertTest, ArgumentsForScannersAreNoVariables) {
    convert("FROM busybox\nARG BUILDKIT_SBOM_SCAN_STAGE=true A=1\nENV B=2\nRUN make\n");
    EXPECT_THAT(exec().meta().env(), ElementsAre("PATH=/bin", "BASE=1", "A=1", "B=2"));
}

TEST_F(ConvertTest, AFileSaysWhatElseIsScanned) {
    const std::string text =
        "FROM busybox AS one\nRUN 1\nFROM one AS two\nRUN 2\nFROM busybox AS unused\nFROM busybox AS three\nRUN 3\nFROM scratch\n"
        "COPY --from=two / /\nCOPY --from=three / /\nCOPY x /\n";
    const auto scanned = [&](const std::string& arguments) {
        convert(arguments + text);
        std::vector<std::string> all;
        for (const auto& [name, definition] : out.also_scanned) all.push_back(name);
        return all;
    };
    EXPECT_THAT(scanned(""), testing::IsEmpty());
    EXPECT_THAT(scanned("ARG BUILDKIT_SBOM_SCAN_STAGE=true\n"), ElementsAre("one", "three", "two"));
    EXPECT_EQ(read_graph(out.also_scanned.at("two")).vertex->name, "[two 1/1] RUN 2");
    EXPECT_THAT(scanned("ARG BUILDKIT_SBOM_SCAN_STAGE=two,unused,stage-5\n"), ElementsAre("two"));
    EXPECT_THAT(scanned("ARG BUILDKIT_SBOM_SCAN_STAGE=maybe\nARG BUILDKIT_SBOM_SCAN_CONTEXT=1\n"), ElementsAre("context"));
    EXPECT_EQ(read_graph(out.also_scanned.at("context")).vertex->op.source().attrs().at("followpaths"), "x,");
    // In a stage it is that stage's, and that of those that are made of it.
    convert(
        "FROM busybox AS one\nARG BUILDKIT_SBOM_SCAN_STAGE=true\nFROM one AS two\nFROM busybox AS three\nFROM scratch\n"
        "COPY --from=two / /\nCOPY --from=three / /\n");
    EXPECT_EQ(out.also_scanned.size(), 2U);
    EXPECT_FALSE(out.also_scanned.contains("three"));
    // Of another stage than the last one nobody asks what it has of the context.
    convert("FROM busybox AS one\nARG BUILDKIT_SBOM_SCAN_CONTEXT=true\nFROM busybox\nCOPY --from=one / /\n");
    EXPECT_THAT(out.also_scanned, testing::IsEmpty());
    options.inputs.arguments["BUILDKIT_SBOM_SCAN_STAGE"] = "false";
    EXPECT_THAT(scanned("ARG BUILDKIT_SBOM_SCAN_STAGE=true\n"), testing::IsEmpty());
    options.no_cache_stages = {"three"};
    EXPECT_THAT(scanned("ARG BUILDKIT_SBOM_SCAN_STAGE=true\n"), testing::IsEmpty());
    EXPECT_FALSE(out.ignores_cache);
    options.inputs.arguments["BUILDKIT_SBOM_SCAN_STAGE"] = "three";
    EXPECT_THAT(scanned("ARG BUILDKIT_SBOM_SCAN_STAGE=true\n"), ElementsAre("three"));
    EXPECT_TRUE(out.ignores_cache);
}

TEST_F(ConvertTest, AnEmptyImageHasAPathAndNothingElse) {
    convert("FROM scratch\nCOPY . /\n");
    EXPECT_THAT(names(), ElementsAre("[internal] load build context", "[1/1] COPY . /"));
    EXPECT_THAT(context_paths, IsEmpty()) << "all of it is taken";
    EXPECT_EQ(head.vertex->op.file().actions(0).input(), -1);
    EXPECT_THAT(out.image.config.env, ElementsAre("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"));
    EXPECT_EQ(out.image.config.working_dir, "/");
    EXPECT_EQ(out.image.architecture, "amd64");
    convert("FROM scratch\nLABEL a=b\n");
    EXPECT_FALSE(head.vertex);
}

TEST_F(ConvertTest, RunHasItsMounts) {
    options.cache_namespace = "ns";
    convert(
        "FROM busybox\nWORKDIR /w\nRUN --mount=type=cache,target=c,id=x,sharing=locked,uid=5 --mount=type=tmpfs,target=/t,size=10m "
        "--mount=type=secret,id=key,env=KEY --mount=type=secret,id=file,target=/s,required=true --mount=type=ssh "
        "--mount=target=/ctx,source=sub,rw "
        "--network=none --security=insecure echo $KEY\n");
    ASSERT_EQ(exec().mounts_size(), 6);
    EXPECT_EQ(exec().mounts(0).dest(), "/");
    std::vector<std::string> targets;
    for (const pb::Mount& each : exec().mounts()) targets.push_back(each.dest());
    EXPECT_THAT(targets, ElementsAre("/", "/ctx", "/run/buildkit/ssh_agent.0", "/s", "/t", "/w/c"));
    EXPECT_EQ(exec().mounts(5).cacheopt().id(), "ns/x");
    EXPECT_EQ(exec().mounts(5).cacheopt().sharing(), pb::CACHE_SHARING_OPT_LOCKED);
    EXPECT_EQ(exec().mounts(5).selector(), "/cache");
    EXPECT_EQ(exec().mounts(4).tmpfsopt().size(), 10 << 20);
    EXPECT_FALSE(exec().mounts(3).secretopt().optional());
    EXPECT_EQ(exec().mounts(1).selector(), "/sub");
    EXPECT_FALSE(exec().mounts(1).readonly());
    EXPECT_EQ(exec().mounts(1).output(), -1);
    EXPECT_EQ(exec().secretenv(0).name(), "KEY");
    EXPECT_EQ(exec().network(), pb::NET_MODE_NONE);
    EXPECT_EQ(exec().security(), pb::SECURITY_MODE_INSECURE);
    EXPECT_THAT(head.vertex->name, HasSubstr("echo ****"));
    EXPECT_THAT(exec().meta().env(), testing::Contains("SSH_AUTH_SOCK=/run/buildkit/ssh_agent.0"));
    EXPECT_THAT(context_paths, ElementsAre("sub"));
}

TEST_F(ConvertTest, HeredocsOfRunAndCopy) {
    convert("FROM busybox\nRUN <<EOF\necho a\necho b\nEOF\n");
    EXPECT_THAT(exec().meta().args(), ElementsAre("/bin/sh", "-c", "echo a\necho b\n"));
    EXPECT_EQ(head.vertex->name, "[2/2] RUN <<EOF (echo a...)");
    convert("FROM busybox\nRUN <<EOF\n#!/bin/cat\nx\nEOF\n");
    EXPECT_THAT(exec().meta().args(), ElementsAre("/bin/sh", "-c", "/dev/pipes/EOF"));
    EXPECT_EQ(exec().mounts(1).dest(), "/dev/pipes/");
    convert("FROM busybox\nRUN cat <<A && cat <<B\n1\nA\n2\nB\n");
    EXPECT_THAT(exec().meta().args(), ElementsAre("/bin/sh", "-c", "cat <<A && cat <<B\n1\nA\n2\nB"));
    convert("FROM busybox\nENV V=v\nCOPY <<a <<\"b\" /d/\n$V\na\n$V\nb\n");
    const auto all = in_order(head);
    EXPECT_EQ(all[1]->op.file().actions(0).mkfile().data(), "v\n");
    EXPECT_EQ(all[2]->op.file().actions(0).mkfile().data(), "$V\n");
    EXPECT_THAT(history().back(), HasSubstr("COPY <<a <<b /d/"));
}

TEST_F(ConvertTest, CopyHasItsFlags) {
    convert("FROM busybox\nCOPY --chown=user:5 --chmod=u+x --exclude=*.o --parents a/./b/c /d\n");
    const pb::FileActionCopy& parents = head.vertex->op.file().actions(0).copy();
    EXPECT_EQ(parents.src(), "/a");
    EXPECT_THAT(parents.include_patterns(), ElementsAre("b/c"));
    EXPECT_THAT(parents.required_paths(), ElementsAre("/a/b/c"));
    EXPECT_THAT(parents.exclude_patterns(), ElementsAre("*.o"));
    EXPECT_EQ(parents.owner().user().byname().name(), "user");
    EXPECT_EQ(parents.owner().user().byname().input(), 0);
    EXPECT_EQ(parents.owner().group().byid(), 5U);
    EXPECT_EQ(parents.modestr(), "u+x");
    convert("FROM busybox\nCOPY --link --chown=1 a /d\n");
    EXPECT_EQ(head.vertex->op.merge().inputs_size(), 2);
    EXPECT_THAT(names(), ElementsAre(HasSubstr("FROM"), "[internal] load build context", "[2/2] COPY --link --chown=1 a /d",
                                     "[2/2] LINK COPY --link --chown=1 a /d"));
    convert("FROM busybox\nADD --chmod=755 http://example.com/x/f.tar?y /d/\n");
    EXPECT_EQ(in_order(head)[1]->op.source().identifier(), "http://example.com/x/f.tar?y");
    EXPECT_EQ(head.vertex->op.file().actions(0).copy().src(), "f.tar");
    EXPECT_EQ(head.vertex->op.file().actions(0).copy().mode(), 0755);
    EXPECT_FALSE(head.vertex->op.file().actions(0).copy().attemptunpackdockercompatibility());
    EXPECT_THAT(refusal("FROM busybox\nCOPY --chmod=9 a /\n"), HasSubstr("invalid chmod parameter: '9'. it should be octal string"));
    EXPECT_THAT(refusal("FROM busybox\nCOPY --chmod=77777 a /\n"), HasSubstr("between 0 and 07777"));
    EXPECT_THAT(refusal("FROM busybox\nCOPY http://x/y /\n"), HasSubstr("source can't be a URL for COPY"));
    EXPECT_THAT(refusal("FROM busybox\nADD --checksum=sha256:x a /\n"), HasSubstr("checksum requires HTTP(S) or Git sources"));
}

TEST_F(ConvertTest, TriggersOfTheBaseComeFirst) {
    images.at(busybox).config.config.on_build = {"COPY --from=tools /t /", "RUN trigger"};
    convert("FROM busybox\nRUN own\n");
    ASSERT_EQ(out.wanted.size(), 1U);
    EXPECT_EQ(out.wanted[0].reference, "docker.io/library/tools:latest");
    images[out.wanted[0]] = {.config = config_of_busybox(), .pinned = {}};
    convert("FROM busybox\nRUN own\n");
    EXPECT_THAT(names(), ElementsAre(HasSubstr("[1/2] FROM"), "FROM docker.io/library/tools:latest", "[2/4] ONBUILD COPY --from=tools /t /",
                                     "[3/4] ONBUILD RUN trigger", "[4/4] RUN own"));
    EXPECT_THAT(out.image.config.on_build, IsEmpty());
    images.at(busybox).config.config.on_build.clear();
    convert("FROM busybox AS a\nONBUILD RUN late\nFROM a\nRUN own\n");
    EXPECT_THAT(names(), ElementsAre(HasSubstr("FROM"), "[stage-1 1/2] ONBUILD RUN late", "[stage-1 2/2] RUN own"));
}

TEST_F(ConvertTest, ABaseIsTheOneThatWasLookedAt) {
    images.at(busybox) = {.config = config_of_busybox(), .pinned = {}, .digest = "sha256:" + std::string(64, 'b')};
    convert("FROM busybox\nCOPY --from=busybox /a /b\n");
    EXPECT_EQ(names().front(), "[stage-0 1/2] FROM docker.io/library/busybox:latest");
    for (const VertexPtr& each : in_order(head))
        if (each->op.has_source()) EXPECT_EQ(each->op.source().attrs().at("image.checksum"), images.at(busybox).digest);
}

TEST_F(ConvertTest, TheRestOfTheConfiguration) {
    convert(
        "FROM busybox\nEXPOSE 80 53/udp 8000-8001\nVOLUME /a /b\nUSER me:us\nSTOPSIGNAL SIGUSR1\nSHELL [\"/bin/x\", \"-y\"]\nENTRYPOINT "
        "run me\n"
        "HEALTHCHECK --interval=90s --timeout=1500ms --retries=2 CMD check\nMAINTAINER somebody\n");
    EXPECT_EQ(out.image.config.exposed_ports.size(), 4U);
    EXPECT_EQ(out.image.config.user, "me:us");
    EXPECT_EQ(out.image.config.entrypoint, (std::vector<std::string>{"/bin/x", "-y", "run me"}));
    EXPECT_FALSE(out.image.config.cmd) << "the base's CMD was for the base's entry point";
    EXPECT_EQ(out.image.author, "somebody");
    EXPECT_THAT(history(), testing::Contains("HEALTHCHECK &{[\"CMD-SHELL\" \"check\"] \"1m30s\" \"1.5s\" \"0s\" \"0s\" '\\x02'}"));
    EXPECT_THAT(history(), testing::Contains("ENTRYPOINT [\"/bin/x\" \"-y\" \"run me\"]"));
    EXPECT_THAT(refusal("FROM busybox\nSTOPSIGNAL NOSUCH\n"), HasSubstr("NOSUCH"));
    EXPECT_THAT(refusal("FROM busybox\nSTOPSIGNAL 0\n"), HasSubstr("0"));
    convert("FROM busybox\nSTOPSIGNAL 100\nWORKDIR //a/./b/\nRUN x\n");
    EXPECT_EQ(out.image.config.working_dir, "//a/./b/") << "an absolute one stays as it is written";
    EXPECT_THAT(refusal("FROM busybox\nRUN []\n"), HasSubstr("arguments are required"));
    options.inputs.arguments = {{"SOURCE_DATE_EPOCH", "1000000000"}};
    convert("FROM busybox\nENV a=b\n");
    EXPECT_EQ(out.image.history.back().created, "2001-09-09T01:46:40Z");
    options.inputs.arguments = {{"SOURCE_DATE_EPOCH", "yesterday"}};
    EXPECT_THAT(refusal("FROM busybox\n"), HasSubstr("invalid SOURCE_DATE_EPOCH: yesterday"));
    options.inputs.arguments.clear();
    options.has_platform = true;
    options.inputs.target_platform = oci::Platform::parse("linux/arm64");
    images[{.reference = busybox.reference, .platform = "linux/arm64"}] = images.at(busybox);
    options.labels = {{"from", "flag"}};
    convert("FROM busybox\n");
    EXPECT_EQ(out.image.architecture, "arm64");
    EXPECT_EQ(out.image.config.labels.at("from"), "flag");
}

}  // namespace
}  // namespace grua::build::dockerfile
