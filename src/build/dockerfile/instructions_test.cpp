#include "build/dockerfile/instructions.hpp"

#include "build/dockerfile/expand.hpp"
#include "build/dockerfile/ports.hpp"

#include <gtest/gtest.h>

namespace grua::build::dockerfile {
namespace {

using namespace std::chrono_literals;
using Strings = std::vector<std::string>;
using RunInstruction = Run;  // A test has a member of that name.

Instruction read(std::string_view line) { return read_instruction(parse(line).nodes.at(0)); }

template <typename T>
T read_as(std::string_view line) {
    return std::get<T>(read(line).body);
}

std::string refusal(std::string_view line) {
    try {
        static_cast<void>(read(line));
    } catch (const SourceError& error) {
        EXPECT_EQ(error.lines().first, 1) << line;
        return error.what();
    }
    return "";
}

struct Refused {
    std::string_view line;
    std::string_view text;
};

class InstructionErrors : public testing::TestWithParam<Refused> {};

TEST_P(InstructionErrors, are_buildkits) { EXPECT_EQ(refusal(GetParam().line), GetParam().text) << GetParam().line; }

INSTANTIATE_TEST_SUITE_P(
    Lines, InstructionErrors,
    testing::Values(
        Refused{"RUNN a", "unknown instruction: RUNN (did you mean RUN?)"},
        Refused{"coppy a b", "unknown instruction: coppy (did you mean copy?)"},
        Refused{"Frmo a", "unknown instruction: Frmo (did you mean from?)"}, Refused{"XYZZY", "unknown instruction: XYZZY"},
        Refused{"FROM", "FROM requires either one or three arguments"}, Refused{"FROM a b", "FROM requires either one or three arguments"},
        Refused{"FROM a is b", "FROM requires either one or three arguments"},
        Refused{"FROM a AS 1b", "invalid name for build stage: \"1b\", name can't start with a number or contain symbols"},
        Refused{"FROM --plaform=a b", "unknown flag: --plaform (did you mean platform?)"}, Refused{"FROM --x=a b", "unknown flag: --x"},
        Refused{"FROM --platform a", "missing a value on flag: --platform"},
        Refused{"FROM --platform=a --platform=b c", "duplicate flag specified: --platform"},
        Refused{"COPY a", "COPY requires at least two arguments, but only one was provided. Destination could not be determined"},
        Refused{"ADD", "ADD requires at least two arguments, but only one was provided. Destination could not be determined"},
        Refused{"COPY a <<b\nb", "COPY cannot accept a heredoc as a destination"},
        Refused{"COPY --link=maybe a b", "expecting boolean value for flag --link, not: maybe"},
        Refused{"COPY --link= a b", "missing a value on flag: --link"},
        Refused{"COPY --link --link a b", "duplicate flag specified: --link"},
        Refused{"COPY --exclud=a a b", "unknown flag: --exclud (did you mean exclude?)"},
        Refused{"ADD --from=a a b", "unknown flag: --from"}, Refused{"ENV", "ENV requires at least one argument"},
        Refused{"ENV =b", "ENV names can not be blank"}, Refused{"LABEL", "LABEL requires at least one argument"},
        Refused{"ENV --a b=c", "unknown flag: --a"}, Refused{"ARG", "ARG requires at least one argument"},
        Refused{"ARG =b", "ARG names can not be blank"}, Refused{"EXPOSE", "EXPOSE requires at least one argument"},
        Refused{"VOLUME", "VOLUME requires at least one argument"}, Refused{"VOLUME [\"\"]", "VOLUME specified can not be an empty string"},
        Refused{"VOLUME []", "VOLUME requires at least one argument"}, Refused{"USER", "USER requires exactly one argument"},
        Refused{"WORKDIR", "WORKDIR requires exactly one argument"}, Refused{"STOPSIGNAL", "STOPSIGNAL requires exactly one argument"},
        Refused{"MAINTAINER", "MAINTAINER requires exactly one argument"}, Refused{"SHELL", "SHELL requires at least one argument"},
        Refused{"SHELL []", "SHELL requires at least one argument"},
        Refused{"SHELL bash -c", "SHELL requires the arguments to be in JSON form"}, Refused{"CMD --a b", "unknown flag: --a"}));

INSTANTIATE_TEST_SUITE_P(
    Healthchecks, InstructionErrors,
    testing::Values(Refused{"HEALTHCHECK", "HEALTHCHECK requires at least one argument"},
                    Refused{"HEALTHCHECK NONE a", "HEALTHCHECK NONE takes no arguments"},
                    Refused{"HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"},
                    Refused{"HEALTHCHECK CMD []", "Missing command after HEALTHCHECK CMD"},
                    Refused{"HEALTHCHECK curl a", "Unknown type \"CURL\" in HEALTHCHECK (try CMD)"},
                    Refused{"HEALTHCHECK --interval=1 CMD a", "time: missing unit in duration \"1\""},
                    Refused{"HEALTHCHECK --timeout=1us CMD a", "Interval \"timeout\" cannot be less than 1ms"},
                    Refused{"HEALTHCHECK --start-period=-1s CMD a", "Interval \"start-period\" cannot be less than 1ms"},
                    Refused{"HEALTHCHECK --retries=-1 CMD a", "--retries cannot be negative (-1)"},
                    Refused{"HEALTHCHECK --retries=x CMD a", "strconv.ParseInt: parsing \"x\": invalid syntax"},
                    Refused{"HEALTHCHECK --retries=3000000000 CMD a", "strconv.ParseInt: parsing \"3000000000\": value out of range"},
                    Refused{"HEALTHCHECK --intervall=1s CMD a", "unknown flag: --intervall (did you mean interval?)"}));

INSTANTIATE_TEST_SUITE_P(OnBuilds, InstructionErrors,
                         testing::Values(Refused{"ONBUILD", "ONBUILD requires at least one argument"},
                                         Refused{"ONBUILD ONBUILD RUN a", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"},
                                         Refused{"ONBUILD from a", "FROM isn't allowed as an ONBUILD trigger"},
                                         Refused{"ONBUILD MAINTAINER a", "MAINTAINER isn't allowed as an ONBUILD trigger"},
                                         Refused{"ONBUILD --a RUN b", "unknown flag: --a"}));

INSTANTIATE_TEST_SUITE_P(
    Runs, InstructionErrors,
    testing::Values(
        Refused{"RUN --mont=a b", "unknown flag: --mont (did you mean mount?)"},
        Refused{"RUN --network=bridge a", "invalid network mode \"bridge\""},
        Refused{"RUN --security=none a", "security \"none\" is not valid"}, Refused{"RUN --network= a", "invalid network mode \"\""},
        Refused{"RUN --mount=type=bind,from=$a b", "'from' doesn't support variable expansion, define alias stage instead"},
        Refused{"RUN --mount=a'\"'b c", "failed to parse csv mounts: parse error on line 1, column 2: bare \" in non-quoted field"},
        Refused{"RUN --mount='\"a' c",
                "failed to parse csv mounts: parse error on line 1, column 2: extraneous or missing \" in quoted-field"},
        Refused{"RUN --mount= c", "failed to parse csv mounts: EOF"}, Refused{"RUN --device=a,name=b c", "device name already set to a"},
        Refused{"RUN --device=a,b c", "invalid field 'b' must be a key=value pair"},
        Refused{"RUN --device=a,requird=1 c", "unexpected key 'requird' in 'requird=1' (did you mean required?)"},
        Refused{"RUN --device=a,required=x c", "invalid value for required: x"}));

TEST(Instruction, keeps_where_it_comes_from) {
    const Instruction run = read("# about it\n  Run a \\\n  b  ");
    EXPECT_EQ(run.keyword, "Run");
    EXPECT_EQ(run.code, "Run a   b");
    EXPECT_EQ(run.lines, (LineRange{2, 3}));
    EXPECT_EQ(run.comments, Strings{"about it"});
}

TEST(Instruction, from) {
    const From from = read_as<From>("# base what it is\nFROM --platform=$X alpine:$Y as BaSe");
    EXPECT_EQ(from.base, "alpine:$Y");
    EXPECT_EQ(from.name, "base");
    EXPECT_EQ(from.platform, "$X");
    EXPECT_EQ(from.description, "what it is");
    EXPECT_EQ(read_as<From>("FROM a As a-b_c.1").name, "a-b_c.1");
}

TEST(Instruction, copy_and_add) {
    const Copy copy = read_as<Copy>("COPY --from=x --chown=1:2 --chmod=755 --link --parents=false --exclude=a --exclude=b s1 s2 d/");
    EXPECT_EQ(copy.from, "x");
    EXPECT_EQ(copy.chown, "1:2");
    EXPECT_EQ(copy.chmod, "755");
    EXPECT_TRUE(copy.link);
    EXPECT_FALSE(copy.parents);
    EXPECT_EQ(copy.exclude, (Strings{"a", "b"}));
    EXPECT_EQ(copy.sources.paths, (Strings{"s1", "s2"}));
    EXPECT_EQ(copy.sources.destination, "d/");
    EXPECT_EQ(read_as<Copy>(R"(COPY ["a b", "c d"])").sources.destination, "c d");

    const Add add = read_as<Add>("ADD --checksum=sha256:1 --keep-git-dir --unpack=false https://x /y");
    EXPECT_EQ(add.checksum, "sha256:1");
    EXPECT_EQ(add.keep_git_dir, true);
    EXPECT_EQ(add.unpack, false);
    EXPECT_FALSE(read_as<Add>("ADD a b").unpack);

    const Copy inlined = read_as<Copy>("COPY <<a <<-'b' c /d/\n1\na\n\t2\n\tb\n");
    ASSERT_EQ(inlined.sources.files.size(), 2U);
    EXPECT_EQ(inlined.sources.files[0].content, "1\n");
    EXPECT_TRUE(inlined.sources.files[0].expand);
    EXPECT_EQ(inlined.sources.files[1].name, "b");
    EXPECT_EQ(inlined.sources.files[1].content, "2\n");
    EXPECT_FALSE(inlined.sources.files[1].expand);
    EXPECT_EQ(inlined.sources.paths, Strings{"c"});
}

TEST(Instruction, variables) {
    const Arg arg = read_as<Arg>("# B second\n# A first one\nARG A B=b C= D=\"x y\"");
    ASSERT_EQ(arg.declared.size(), 4U);
    EXPECT_EQ(arg.declared[0].value, std::nullopt);
    EXPECT_EQ(arg.declared[0].description, "first one");
    EXPECT_EQ(arg.declared[1].value, "b");
    EXPECT_EQ(arg.declared[1].description, "second");
    EXPECT_EQ(arg.declared[2].value, "");
    EXPECT_EQ(arg.declared[3].value, "\"x y\"");
    EXPECT_EQ(read_as<Env>("ENV a=b c=\"d\"").pairs, (std::vector<KeyValue>{{"a", "b"}, {"c", "\"d\""}}));
    EXPECT_EQ(read_as<Env>("ENV a b c").pairs, (std::vector<KeyValue>{{"a", "b c", true}}));
    EXPECT_EQ(read_as<Label>("LABEL a=b").pairs, (std::vector<KeyValue>{{"a", "b"}}));
}

TEST(Instruction, commands) {
    EXPECT_EQ(read_as<Cmd>("CMD a  b").command.words, Strings{"a  b"});
    EXPECT_TRUE(read_as<Cmd>("CMD a  b").command.in_shell);
    EXPECT_EQ(read_as<Cmd>(R"(CMD ["a", "b"])").command.words, (Strings{"a", "b"}));
    EXPECT_FALSE(read_as<Cmd>("CMD []").command.in_shell);
    EXPECT_TRUE(read_as<Entrypoint>("ENTRYPOINT").command.words.empty());
    EXPECT_EQ(read_as<Shell>(R"(SHELL ["/bin/bash", "-c"])").words, (Strings{"/bin/bash", "-c"}));
    EXPECT_EQ(read_as<StopSignal>("STOPSIGNAL SIGTERM").signal, "SIGTERM");
    EXPECT_EQ(read_as<User>("USER a:b").user, "a:b");
    EXPECT_EQ(read_as<Workdir>("WORKDIR /a b").path, "/a b");
    EXPECT_EQ(read_as<Volume>("VOLUME /a /b").paths, (Strings{"/a", "/b"}));
    EXPECT_EQ(read_as<Expose>("EXPOSE 80 443 $P").ports, (Strings{"$P", "443", "80"}));
    EXPECT_EQ(read_as<Maintainer>("MAINTAINER a <b>").name, "a <b>");
}

TEST(Instruction, healthcheck) {
    EXPECT_EQ(read_as<Healthcheck>("HEALTHCHECK none").test, Strings{"NONE"});
    const Healthcheck check = read_as<Healthcheck>(
        "HEALTHCHECK --interval=1m30s --timeout=1.5s --start-period=0 --start-interval=10ms --retries=3 CMD curl  -f x");
    EXPECT_EQ(check.test, (Strings{"CMD-SHELL", "curl  -f x"}));
    EXPECT_EQ(check.interval, 90s);
    EXPECT_EQ(check.timeout, 1500ms);
    EXPECT_EQ(check.start_period, 0s);
    EXPECT_EQ(check.start_interval, 10ms);
    EXPECT_EQ(check.retries, 3);
    EXPECT_EQ(read_as<Healthcheck>(R"(HEALTHCHECK CMD ["a", "b"])").test, (Strings{"CMD", "a", "b"}));
}

TEST(Instruction, onbuild) {
    EXPECT_EQ(read_as<OnBuild>("ONBUILD  RUN  a").expression, "RUN  a");
    const OnBuild onbuild = read_as<OnBuild>("onbuild COPY <<E /x\ntext\nE");
    EXPECT_EQ(onbuild.expression, "COPY <<E /x\ntext\nE");
    const Instruction trigger = read_trigger(onbuild.expression, {7, 8});
    EXPECT_EQ(trigger.lines, (LineRange{7, 8}));
    EXPECT_EQ(std::get<Copy>(trigger.body).sources.files.at(0).content, "text\n");
    for (const std::string_view bad : {"", "RUN a\nRUN b", "FROM a", "RUNN a"}) {
        try {
            static_cast<void>(read_trigger(bad, {7, 8}));
            ADD_FAILURE() << bad;
        } catch (const SourceError& error) {
            EXPECT_EQ(error.lines(), (LineRange{7, 8}));
        }
    }
}

TEST(Instruction, run) {
    const RunInstruction run = read_as<RunInstruction>(
        "RUN --mount=type=cache,target=/c --mount=from=x,target=/y --network=none --security=insecure --device=v/c=d,required a");
    EXPECT_EQ(run.mount_flags, (Strings{"type=cache,target=/c", "from=x,target=/y"}));
    EXPECT_EQ(run.mount_sources, (Strings{"", "x"}));
    EXPECT_EQ(run.network, RunNetwork::none);
    EXPECT_EQ(run.security, RunSecurity::insecure);
    EXPECT_EQ(run.devices, (std::vector<Device>{{"v/c=d", true}}));
    EXPECT_EQ(run.flags_used, (Strings{"device", "mount", "network", "security"}));
    const RunInstruction inlined = read_as<RunInstruction>("RUN <<-E\n\ta\nE");
    EXPECT_EQ(inlined.command.words, Strings{"<<-E"});
    ASSERT_EQ(inlined.command.files.size(), 1U);
    EXPECT_EQ(inlined.command.files[0].content, "\ta\n");
    EXPECT_TRUE(inlined.command.files[0].strip_tabs);
}

Mount mount(std::string_view flag) {
    return parse_mount(flag, [](std::string_view word) { return std::string(word == "$T" ? "cache" : word); });
}

TEST(Mount, of_each_type) {
    EXPECT_EQ(mount("target=/a"), (Mount{.target = "/a"}));
    EXPECT_EQ(mount("TYPE=Bind,source=s,dst=/a,rw,from=x"), (Mount{.from = "x", .source = "s", .target = "/a", .read_only = false}));
    EXPECT_EQ(mount("type=$T,id=i,sharing=locked,destination=/a,mode=0755,uid=1,gid=2"), (Mount{.type = MountType::cache,
                                                                                                .target = "/a",
                                                                                                .read_only = false,
                                                                                                .id = "i",
                                                                                                .sharing = Sharing::locked,
                                                                                                .mode = 0755,
                                                                                                .uid = 1,
                                                                                                .gid = 2}));
    EXPECT_EQ(mount("type=cache,target=/a,ro").read_only, true);
    EXPECT_EQ(mount("type=cache,target=/a,readonly=false").read_only, false);
    EXPECT_EQ(mount("target=/a,readwrite=0").read_only, true);
    EXPECT_EQ(mount("type=tmpfs,target=/a,size=1g"),
              (Mount{.type = MountType::tmpfs, .target = "/a", .read_only = false, .size_limit = 1 << 30}));
    EXPECT_EQ(mount("type=secret,id=s,env=E,required"), (Mount{.type = MountType::secret, .id = "s", .required = true, .env = "E"}));
    EXPECT_EQ(mount("type=ssh,required=true,mode=600"), (Mount{.type = MountType::ssh, .required = true, .mode = 0600}));
    EXPECT_EQ(mount("\"target=/a,b\",\"source=q\"\"q\"").target, "/a,b");
}

TEST(Mount, refuses) {
    for (const auto& [flag, text] : std::initializer_list<Refused>{
             {"type=foo", "unsupported mount type \"foo\""},
             {"type=cach", "unsupported mount type \"cach\" (did you mean cache?)"},
             {"type=cache,sharing=private2", "unsupported sharing value \"private2\" (did you mean private?)"},
             {"target", "invalid field 'target' must be a key=value pair"},
             {"targt=/a", "unexpected key 'targt' in 'targt=/a' (did you mean target?)"},
             {"required", "unexpected key 'required' for mount type 'bind'"},
             {"required=true,type=ssh", "unexpected key 'required' for mount type 'bind'"},
             {"size=1", "unexpected key 'size' for mount type 'bind'"},
             {"type=tmpfs,size=x", "invalid value for size: x"},
             {"ro=x", "invalid value for ro: x"},
             {"mode=9", "invalid value 9 for mode"},
             {"uid=-1", "invalid value -1 for uid"},
             {"gid=", "invalid value  for gid"},
             {"uid=4294967296", "invalid value 4294967296 for uid"},
             {"mode=1", "mode not allowed for \"bind\" type mounts"},
             {"type=tmpfs,gid=1", "gid not allowed for \"tmpfs\" type mounts"},
             {"type=secret", "invalid secret mount. one of source, target required"},
             {"type=secret,id=a,from=b", "secret mount should not have a from"},
             {"type=secret,id=a,sharing=shared", "secret mount should not define sharing"},
             {"type=secret,id=a,source=b", "both source and id can't be set"},
             {"type=ssh,sharing=shared", "invalid cache sharing set for ssh mount"},
         }) {
        try {
            static_cast<void>(mount(flag));
            ADD_FAILURE() << flag;
        } catch (const Error& error) {
            EXPECT_EQ(error.what(), text) << flag;
        }
    }
}

TEST(Port, of_expose) {
    struct Row {
        std::string_view text;
        PortRange range;
        bool odd_casing = false;
        bool is_mapping = false;
    };
    for (const Row& row : {
             Row{"80", {80, 80, "tcp"}},
             Row{"80/", {80, 80, "tcp"}},
             Row{"53/UDP", {53, 53, "udp"}, true},
             Row{"8000-8010/sctp", {8000, 8010, "sctp"}},
             Row{"5000:80", {80, 80, "tcp"}, false, true},
             Row{"127.0.0.1:5000:80", {80, 80, "tcp"}, false, true},
             Row{"[::1]::80", {80, 80, "tcp"}, false, true},
             Row{"5000-5010:80", {80, 80, "tcp"}, false, true},
             Row{"0-65535", {0, 65535, "tcp"}},
         }) {
        const ExposedPort port = parse_port(row.text);
        EXPECT_EQ(port.range, row.range) << row.text;
        EXPECT_EQ(port.odd_casing, row.odd_casing) << row.text;
        EXPECT_EQ(port.is_mapping, row.is_mapping) << row.text;
    }
    for (const auto& [text, error] : std::initializer_list<Refused>{
             {"", "invalid port: \"\": no port specified"},
             {"80/foo", "invalid port: \"80/foo\": invalid proto: foo"},
             {"a", "invalid containerPort: a"},
             {"65536", "invalid containerPort: 65536"},
             {"90-80", "invalid containerPort: 90-80"},
             {"-80", "invalid containerPort: -80"},
             {"x:80", "invalid hostPort: x"},
             {"1.2.3:80:80", "invalid IP address: 1.2.3"},
             {"1-3:80-81", "invalid ranges specified for container and host Ports: 80-81 and 1-3"},
         }) {
        try {
            static_cast<void>(parse_port(text));
            ADD_FAILURE() << text;
        } catch (const Error& refused) {
            EXPECT_EQ(refused.what(), error) << text;
        }
    }
}

TEST(Expand, replaces_what_each_instruction_expands) {
    const Expansions marks{.word = [](std::string_view text) { return fmt::format("<{}>", text); },
                           .words = [](std::string_view text) { return Strings{std::string(text), "more"}; },
                           .heredoc = [](std::string_view text) { return fmt::format("[{}]", text); }};
    const auto expanded = [&](std::string_view line) {
        Instruction out = read(line);
        expand(out, marks);
        return out.body;
    };
    const Copy copy = std::get<Copy>(expanded("COPY --from=f --chown=o --chmod=m --exclude=e a <<E <<'F' d\nE\nF"));
    EXPECT_EQ(copy.from, "f");
    EXPECT_EQ(copy.chown, "<o>");
    EXPECT_EQ(copy.chmod, "<m>");
    EXPECT_EQ(copy.exclude, Strings{"e"});
    EXPECT_EQ(copy.sources.paths, Strings{"<a>"});
    EXPECT_EQ(copy.sources.destination, "<d>");
    EXPECT_EQ(copy.sources.files[0].content, "[]");
    EXPECT_EQ(copy.sources.files[1].content, "");
    EXPECT_EQ(std::get<Add>(expanded("ADD --checksum=c a b")).checksum, "<c>");
    EXPECT_EQ(std::get<Env>(expanded("ENV a=b")).pairs, (std::vector<KeyValue>{{"<a>", "<b>"}}));
    EXPECT_EQ(std::get<Label>(expanded("LABEL a b")).pairs, (std::vector<KeyValue>{{"<a>", "<b>", true}}));
    EXPECT_EQ(std::get<Expose>(expanded("EXPOSE 1")).ports, (Strings{"1", "more"}));
    EXPECT_EQ(std::get<User>(expanded("USER a")).user, "<a>");
    EXPECT_EQ(std::get<Volume>(expanded("VOLUME a b")).paths, (Strings{"<a>", "<b>"}));
    EXPECT_EQ(std::get<Workdir>(expanded("WORKDIR a")).path, "<a>");
    EXPECT_EQ(std::get<StopSignal>(expanded("STOPSIGNAL a")).signal, "<a>");
    const RunInstruction run = std::get<RunInstruction>(expanded("RUN --mount=target=/a b"));
    EXPECT_EQ(run.mounts.at(0).target, "</a>");
    EXPECT_EQ(run.command.words, Strings{"b"});
    EXPECT_EQ(std::get<Cmd>(expanded("CMD a")).command.words, Strings{"a"});
    EXPECT_EQ(std::get<Arg>(expanded("ARG a=b")).declared[0].value, "b");
    EXPECT_THROW(expanded("RUN --mount=foo=bar b"), SourceError);
}

}  // namespace
}  // namespace grua::build::dockerfile
