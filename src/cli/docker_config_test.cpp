#include "cli/docker_config.hpp"

#include "base/encoding.hpp"
#include "base/error.hpp"
#include "base/files.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <boost/json.hpp>
#include <cstdlib>
#include <filesystem>

namespace grua::cli {
namespace {

using testing::HasSubstr;

class DockerConfigFile : public testing::Test {
protected:
    void SetUp() override {
        std::string name = testing::TempDir() + "config.XXXXXX";
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        folder = name;
        ::setenv("DOCKER_CONFIG", (folder + "/docker").c_str(), 1);
        ::unsetenv("DOCKER_AUTH_CONFIG");
        ::setenv("PATH", (folder + "/bin:/usr/bin:/bin").c_str(), 1);
        std::filesystem::create_directory(folder + "/bin");
    }
    void TearDown() override { std::filesystem::remove_all(folder); }

    std::string file() const { return folder + "/docker/config.json"; }
    void write(const std::string& text) const {
        std::filesystem::create_directories(folder + "/docker");
        replace_file(file(), text);
    }
    boost::json::value document() const { return boost::json::parse(read_file(file())); }
    /// A helper that keeps what it is told in files of its folder.
    void install_helper(const std::string& name) const {
        const std::string path = folder + "/bin/docker-credential-" + name;
        replace_file(path,
                     "#!/bin/sh\ncd " + folder + "\necho \"$1\" >> " + name + ".calls\ncase $1 in\nstore) cat > " + name +
                         ".secret ;;\nget) cat > " + name + ".asked; if [ -e " + name + ".secret ]; then cat " + name +
                         ".secret; else echo credentials not found in native keychain; exit 1; fi ;;\nerase) cat > " + name +
                         ".erased; rm -f " + name + ".secret ;;\nesac\n",
                     0755);
    }

    std::string folder;
};

TEST_F(DockerConfigFile, StoresAsDockerDoes) {
    DockerConfig config = DockerConfig::load();
    testing::internal::CaptureStderr();
    config.store({.username = "me", .password = "a:b", .server_address = "host:5000"});
    EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("WARNING! Your credentials are stored unencrypted in '" + file() + "'."));
    EXPECT_EQ(read_file(file()), "{\n\t\"auths\": {\n\t\t\"host:5000\": {\n\t\t\t\"auth\": \"bWU6YTpi\"\n\t\t}\n\t}\n}");
    struct stat status{};
    ASSERT_EQ(::stat(file().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600U);
    ASSERT_EQ(::stat((folder + "/docker").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0700U);

    const Credentials found = DockerConfig::load().credentials("host:5000");
    EXPECT_EQ(found.username, "me");
    EXPECT_EQ(found.password, "a:b");
    EXPECT_EQ(found.server_address, "host:5000");
    EXPECT_EQ(DockerConfig::load().credentials("other"), Credentials{});
}

TEST_F(DockerConfigFile, KeepsWhatItDoesNotKnow) {
    write(R"({"HttpHeaders":{"X":"y"},"auths":{"a":{"auth":"dTpw"}},"something":{"new":[1,2]}})");
    ::chmod(file().c_str(), 0640);
    DockerConfig config = DockerConfig::load();
    config.store({.identity_token = "token", .server_address = "b"});
    config.erase("a");
    config.erase("never there");
    EXPECT_EQ(document(),
              boost::json::parse(R"({"HttpHeaders":{"X":"y"},"auths":{"b":{"identitytoken":"token"}},"something":{"new":[1,2]}})"));
    struct stat status{};
    ASSERT_EQ(::stat(file().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0640U);
}

TEST_F(DockerConfigFile, DockerHubHasOneKeyAndUrlsAreFound) {
    write(R"({"auths":{"https://index.docker.io/v1/":{"auth":"aHViOnA="},"https://old.example/v1/":{"auth":"b2xkOnA="}}})");
    const DockerConfig config = DockerConfig::load();
    EXPECT_EQ(config.credentials("docker.io").username, "hub");
    EXPECT_EQ(config.credentials("index.docker.io").username, "hub");
    EXPECT_EQ(config.credentials("old.example").username, "old");
    EXPECT_EQ(config.credentials("old.example").server_address, "https://old.example/v1/");
}

TEST_F(DockerConfigFile, WhatCannotBeReadIsNotWrittenOver) {
    for (const char* text : {"{", "[]", R"({"auths":{"a":{"auth":"!"}}})", R"({"auths":{"a":{"auth":"dQ=="}}})"}) {
        write(text);
        testing::internal::CaptureStderr();
        DockerConfig config = DockerConfig::load();
        EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("WARNING: Error parsing config file (" + file() + ")"));
        EXPECT_EQ(config.credentials("a"), Credentials{});
        EXPECT_THROW(config.store({.username = "u", .password = "p", .server_address = "b"}), Error);
        EXPECT_EQ(read_file(file()), text);
    }
}

TEST_F(DockerConfigFile, ALinkStaysALink) {
    std::filesystem::create_directories(folder + "/docker");
    std::filesystem::create_symlink("../real.json", file());
    DockerConfig config = DockerConfig::load();
    config.store({.identity_token = "t", .server_address = "b"});
    EXPECT_TRUE(std::filesystem::is_symlink(file()));
    EXPECT_TRUE(std::filesystem::is_regular_file(folder + "/real.json"));
}

TEST_F(DockerConfigFile, HelpersKeepThePasswords) {
    install_helper("one");
    install_helper("two");
    write(R"({"credsStore":"one","credHelpers":{"special:5000":"two"}})");
    DockerConfig config = DockerConfig::load();
    EXPECT_EQ(config.credentials("host"), Credentials{}) << "the helper knows none";
    config.store({.username = "me", .password = "secret", .server_address = "host"});
    EXPECT_EQ(boost::json::parse(read_file(folder + "/one.secret")),
              boost::json::parse(R"({"ServerURL":"host","Username":"me","Secret":"secret"})"));
    EXPECT_EQ(document().at("auths"), boost::json::parse(R"({"host":{}})"));
    EXPECT_EQ(config.credentials("host").password, "secret");
    EXPECT_EQ(read_file(folder + "/one.asked"), "host");

    config.store({.username = "me", .identity_token = "tok", .server_address = "special:5000"});
    EXPECT_THAT(read_file(folder + "/two.secret"), HasSubstr("<token>"));
    const Credentials special = config.credentials("special:5000");
    EXPECT_EQ(special.identity_token, "tok");
    EXPECT_EQ(special.username, "");
    EXPECT_EQ(special.header(), base64url_encode(R"({"serveraddress":"special:5000","identitytoken":"tok"})"));

    config.erase("host");
    EXPECT_EQ(read_file(folder + "/one.erased"), "host");
    EXPECT_FALSE(document().at("auths").as_object().contains("host"));
}

TEST_F(DockerConfigFile, AHelperThatFailsIsToldAsDockerTellsIt) {
    write(R"({"credsStore":"absent"})");
    const auto message = [] {
        try {
            DockerConfig::load().credentials("host");
        } catch (const Error& error) {
            return std::string(error.what());
        }
        return std::string();
    };
    EXPECT_EQ(message(),
              "error getting credentials - err: exec: \"docker-credential-absent\": executable file not found in $PATH, out: ``");
    replace_file(folder + "/bin/docker-credential-absent", "#!/bin/sh\necho locked\nexit 3\n", 0755);
    EXPECT_EQ(message(), "error getting credentials - err: exit status 3, out: `locked`");
}

TEST_F(DockerConfigFile, TheEnvironmentGoesFirst) {
    write(R"({"auths":{"a":{"auth":"dTpw"},"b":{"auth":"dTpw"}}})");
    ::setenv("DOCKER_AUTH_CONFIG", R"({"auths":{"a":{"auth":"ZW52OnA="}}})", 1);
    EXPECT_EQ(DockerConfig::load().credentials("a").username, "env");
    EXPECT_EQ(DockerConfig::load().credentials("b").username, "u");
    ::setenv("DOCKER_AUTH_CONFIG", R"({"auths":{"a":{}}})", 1);
    testing::internal::CaptureStderr();
    EXPECT_EQ(DockerConfig::load().credentials("a").username, "u");
    EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("is missing key `auth` for a"));
}

TEST(RegistryHost, OfWhatPeopleWrite) {
    EXPECT_EQ(registry_host("host:5000"), "host:5000");
    EXPECT_EQ(registry_host("https://host:5000/v2/"), "host:5000");
    EXPECT_EQ(registry_host("http://[::1]:5000"), "[::1]:5000");
    EXPECT_EQ(registry_host("host/path"), "host");
    EXPECT_EQ(Credentials{}.header(), "e30=");
}

}  // namespace
}  // namespace grua::cli
