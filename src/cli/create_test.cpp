#include "cli/create.hpp"

#include "base/files.hpp"
#include "base/text.hpp"

#include <gtest/gtest.h>
#include <array>
#include <boost/json.hpp>
#include <filesystem>

namespace grua::cli {
namespace {

std::filesystem::path testdata() { return GRUA_TESTDATA; }

/// {cwd} stands for the folder that the docker CLI was started in.
std::string read_cases() {
    std::string text = read_file(testdata() / "create_requests.json");
    const std::string here = std::filesystem::canonical(testdata()).string();
    for (std::size_t at = text.find("{cwd}"); at != std::string::npos; at = text.find("{cwd}", at)) text.replace(at, 5, here);
    return text;
}

boost::json::object expected_body(const boost::json::value& base, const boost::json::object& changes) {
    boost::json::object body = base.as_object();
    for (const auto& [path, value] : changes) {
        const std::string_view name = path;
        const bool in_host = name.starts_with("HostConfig.");
        boost::json::object& target = in_host ? body["HostConfig"].as_object() : body;
        const std::string_view key = in_host ? name.substr(11) : name;
        if (value == boost::json::value("<absent>"))
            target.erase(key);
        else
            target[key] = value;
    }
    return body;
}

std::string differences(const boost::json::object& got, const boost::json::object& wanted, const std::string& prefix) {
    std::string out;
    for (const auto& [key, value] : wanted) {
        const std::string path = prefix + std::string(key);
        const boost::json::value* mine = got.if_contains(key);
        if (!mine)
            out += path + " is missing\n";
        else if (mine->is_object() && value.is_object())
            out += differences(mine->get_object(), value.get_object(), path + ".");
        else if (*mine != value)
            out += path + ": " + boost::json::serialize(*mine) + ", docker sends " + boost::json::serialize(value) + "\n";
    }
    for (const auto& [key, value] : got) {
        if (!wanted.contains(key)) out += prefix + std::string(key) + " is not sent by docker\n";
    }
    return out;
}

TEST(CreateRequest, IsWhatTheDockerClientSends) {
    const boost::json::value all = boost::json::parse(read_cases());
    const std::filesystem::path before = std::filesystem::current_path();
    std::filesystem::current_path(testdata());
    for (const boost::json::value& each : all.at("cases").as_array()) {
        std::vector<std::string> words;
        for (const auto& word : each.at("arguments").as_array()) words.emplace_back(word.as_string());
        SCOPED_TRACE(join(words, " "));
        const bool run = words[0] == "run";
        const std::array tables{create_flags(), run ? run_flags() : std::span<const Flag>{}};
        const Parsed parsed = parse_flags(tables, std::span(words).subspan(1), Interspersed::no);
        const bool detached = run && parsed.flags.on("detach");
        const CreateRequest request = build_create_request(parsed.flags, parsed.arguments, detached ? Detached::yes : Detached::no, {});
        const boost::json::object wanted = expected_body(all.at("base"), each.at("changes").as_object());
        EXPECT_EQ(differences(request.body, wanted, ""), "");
        if (!request.name.empty()) EXPECT_EQ("name=" + request.name, each.at("query").as_string());
    }
    std::filesystem::current_path(before);
}

std::string refusal(const std::vector<std::string>& words) {
    try {
        const std::array tables{create_flags()};
        const Parsed parsed = parse_flags(tables, words, Interspersed::no);
        build_create_request(parsed.flags, parsed.arguments, Detached::no, {});
        return "";
    } catch (const std::exception& error) {
        return error.what();
    }
}

TEST(CreateRequest, RefusesWithDockersTexts) {
    EXPECT_EQ(refusal({"--mount", "type=bind,src=/x,target=/y,volume-nocopy", "i"}),
              "cannot mix 'volume-*' options with mount type 'bind'");
    EXPECT_EQ(refusal({"-v", "a:b:c:d", "i"}), "invalid spec: a:b:c:d: too many colons");
    EXPECT_EQ(refusal({"-v", "a::c", "i"}), "invalid spec: a::c: empty section between colons");
    EXPECT_EQ(refusal({"--rm", "--restart", "always", "i"}), "conflicting options: cannot specify both --restart and --rm");
    EXPECT_EQ(refusal({"-p", "80-81:1-3", "i"}), "invalid ranges specified for container and host Ports: 1-3 and 80-81");
    EXPECT_EQ(refusal({"-p", "70000:80", "i"}), "invalid hostPort: 70000");
    EXPECT_EQ(refusal({"--device", "/dev/null:/x:y", "i"}), "bad mode specified: y");
    EXPECT_EQ(refusal({"--pid", "x", "i"}), "--pid: invalid PID mode");
    EXPECT_EQ(refusal({"--security-opt", "seccomp=/no/such", "i"}),
              "opening seccomp profile (/no/such) failed: open /no/such: no such file or directory");
    EXPECT_EQ(refusal({"--env-file", "/no/such", "i"}), "--env-file: open /no/such: no such file or directory");
    EXPECT_EQ(refusal({"-a", "x", "i"}), "invalid argument \"x\" for \"-a, --attach\" flag: valid streams are STDIN, STDOUT and STDERR");
    EXPECT_EQ(refusal({"-m", "x", "i"}), "invalid argument \"x\" for \"-m, --memory\" flag: invalid size: 'x'");
    EXPECT_EQ(refusal({"--network", "none", "--network-alias", "a", "i"}),
              "network-scoped aliases are only supported for user-defined networks");
}

TEST(Csv, KeepsQuotedCommas) {
    EXPECT_EQ(detail::split_csv("a,\"b,c\",d"), (std::vector<std::string>{"a", "b,c", "d"}));
    EXPECT_EQ(detail::split_csv("\"x\"\"y\""), (std::vector<std::string>{"x\"y"}));
}

}  // namespace
}  // namespace grua::cli
