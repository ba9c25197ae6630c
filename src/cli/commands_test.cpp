// Whole commands against a daemon of a few canned answers: what they ask it, what they say, how they end.
#include "cli/cli.hpp"

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/files.hpp"
#include "base/text.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <array>
#include <boost/json.hpp>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <thread>

namespace grua::cli {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

/// One request on each connection; its target without the API version, its head and its body are kept.
class FakeDaemon {
public:
    struct Asked {
        std::string line;  ///< "POST /images/create?tag=1"
        std::string head;
        std::string body;
    };

    explicit FakeDaemon(const std::string& path) {
        listener_ = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path.copy(address.sun_path, sizeof address.sun_path - 1);
        if (::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || ::listen(listener_.get(), 8) != 0)
            fail_errno("listen on {}", path);
        thread_ = std::jthread([this] { serve(); });
    }
    ~FakeDaemon() {
        ::shutdown(listener_.get(), SHUT_RDWR);
        thread_.join();
    }
    FakeDaemon(const FakeDaemon&) = delete;
    FakeDaemon& operator=(const FakeDaemon&) = delete;

    /// For "POST /auth"; the answers of one path are given in turn, the last one for ever.
    void answer(const std::string& path, int status, std::string body) { answers_[path].push_back({status, std::move(body)}); }

    /// What was asked, apart from the version.
    std::vector<std::string> lines() const {
        std::vector<std::string> out;
        for (const Asked& each : asked) out.push_back(each.line);
        return out;
    }
    std::string auth_of(std::size_t request) const {
        const std::string& head = asked.at(request).head;
        const std::size_t at = head.find("X-Registry-Auth: ");
        return at == std::string::npos ? std::string() : head.substr(at + 17, head.find('\r', at) - at - 17);
    }

    std::vector<Asked> asked;

private:
    void serve() {
        while (true) {
            const Fd peer{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)};
            if (!peer) return;
            const Asked request = read_request(peer.get());
            std::string body = "OK";
            int status = 200;
            if (request.line != "GET /_ping") {
                asked.push_back(request);
                const auto found = answers_.find(request.line.substr(0, request.line.find('?')));
                if (found == answers_.end()) {
                    status = 404;
                    body = R"({"message":"page not found"})";
                } else {
                    std::tie(status, body) = found->second.front();
                    if (found->second.size() > 1) found->second.erase(found->second.begin());
                }
            }
            write_all(peer.get(),
                      fmt::format("HTTP/1.1 {} X\r\nApi-Version: 1.50\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{}", status,
                                  body.size(), body),
                      "answer");
        }
    }

    static Asked read_request(int peer) {
        std::string text;
        std::array<char, 4096> buffer;
        const auto more = [&] {
            const ssize_t count = ::recv(peer, buffer.data(), buffer.size(), 0);
            if (count <= 0) return false;
            text.append(buffer.data(), static_cast<std::size_t>(count));
            return true;
        };
        while (text.find("\r\n\r\n") == std::string::npos && more()) {
        }
        Asked out;
        const std::size_t head_end = text.find("\r\n\r\n") + 4;
        out.head = text.substr(0, head_end);
        if (const std::size_t length = out.head.find("Content-Length: "); length != std::string::npos) {
            const std::size_t size = parse_uint(out.head.substr(length + 16, out.head.find('\r', length) - length - 16)).value_or(0);
            while (text.size() < head_end + size && more()) {
            }
        }
        out.body = text.substr(head_end);
        out.line = out.head.substr(0, out.head.find(" HTTP/"));
        if (const std::size_t version = out.line.find(" /v1."); version != std::string::npos)
            out.line.erase(version + 1, out.line.find('/', version + 2) - version - 1);
        return out;
    }

    Fd listener_;
    std::map<std::string, std::vector<std::pair<int, std::string>>> answers_;
    std::jthread thread_;
};

class Commands : public testing::Test {
protected:
    void SetUp() override {
        folder = testing::TempDir() + "commands.XXXXXX";
        ASSERT_NE(::mkdtemp(folder.data()), nullptr);
        ::setenv("DOCKER_CONFIG", folder.c_str(), 1);
        ::setenv("GRUA_HOST", ("unix://" + folder + "/socket").c_str(), 1);
        ::unsetenv("DOCKER_AUTH_CONFIG");
        ::unsetenv("DOCKER_DEFAULT_PLATFORM");
        daemon.emplace(folder + "/socket");
    }
    void TearDown() override {
        daemon.reset();
        std::filesystem::remove_all(folder);
    }

    int grua(const std::vector<std::string>& words) {
        testing::internal::CaptureStdout();
        testing::internal::CaptureStderr();
        const int status = run(words);
        out = testing::internal::GetCapturedStdout();
        err = testing::internal::GetCapturedStderr();
        return status;
    }
    void configure(const std::string& text) const { replace_file(folder + "/config.json", text); }

    std::string folder;
    std::string out;
    std::string err;
    std::optional<FakeDaemon> daemon;
};

constexpr const char* pull_stream =
    "{\"status\":\"Pulling from library/x\",\"id\":\"1\"}\r\n{\"status\":\"Pull complete\",\"progressDetail\":{},\"id\":\"aaa\"}\r\n"
    "{\"status\":\"Status: Downloaded newer image for x:1\"}\r\n";

TEST_F(Commands, PullSendsTheNormalisedNameAndTheCredentials) {
    configure(R"({"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"}}})");
    daemon->answer("POST /images/create", 200, pull_stream);
    EXPECT_EQ(grua({"pull", "--platform", "aarch64", "x:1"}), 0);
    EXPECT_EQ(daemon->lines()[0], "POST /images/create?fromImage=docker.io%2Flibrary%2Fx&tag=1&platform=linux%2Farm64");
    EXPECT_EQ(daemon->auth_of(0),
              "eyJ1c2VybmFtZSI6InUiLCJwYXNzd29yZCI6InAiLCJzZXJ2ZXJhZGRyZXNzIjoiaHR0cHM6Ly9pbmRleC5kb2NrZXIuaW8vdjEvIn0=");
    EXPECT_EQ(out, "1: Pulling from library/x\naaa: Pull complete\nStatus: Downloaded newer image for x:1\ndocker.io/library/x:1\n");
    EXPECT_EQ(grua({"pull", "-a", "host:5000/x"}), 0);
    EXPECT_EQ(daemon->lines()[1], "POST /images/create?fromImage=host%3A5000%2Fx");
    EXPECT_EQ(daemon->auth_of(1), "e30=");
    EXPECT_EQ(grua({"pull", "-q", "x"}), 0);
    EXPECT_EQ(out, "docker.io/library/x:latest\n");
}

TEST_F(Commands, APullThatFailsInTheStreamEndsWithItsText) {
    daemon->answer(
        "POST /images/create", 200,
        "{\"status\":\"Pulling from x\",\"id\":\"1\"}\r\n{\"errorDetail\":{\"message\":\"unexpected EOF\"},\"error\":\"x\"}\r\n");
    EXPECT_EQ(grua({"pull", "x:1"}), 1);
    EXPECT_EQ(err, "unexpected EOF\n");
    EXPECT_THAT(out, Not(HasSubstr("docker.io")));
}

TEST_F(Commands, WhatTheDaemonDoesNotServeIsSaid) {
    daemon->answer("POST /images/create", 501, R"({"message":"not implemented: pull"})");
    EXPECT_EQ(grua({"pull", "x:1"}), 1);
    EXPECT_EQ(err, "Error response from daemon: not implemented: pull\n");
    EXPECT_EQ(grua({"system", "gc"}), 1);
    EXPECT_THAT(err, StartsWith("the daemon has no /grua/gc"));
}

TEST_F(Commands, CreatePullsWhatIsMissing) {
    daemon->answer("POST /containers/create", 404, R"({"message":"No such image: x:latest"})");
    daemon->answer("POST /containers/create", 201, R"({"Id":"abc","Warnings":["be careful"]})");
    daemon->answer("POST /images/create", 200, pull_stream);
    EXPECT_EQ(grua({"create", "x"}), 0);
    EXPECT_EQ(out, "abc\n");
    EXPECT_THAT(err, StartsWith("Unable to find image 'x:latest' locally\n1: Pulling from library/x\n"));
    EXPECT_THAT(err, HasSubstr("WARNING: be careful\n"));
    EXPECT_EQ(daemon->asked.size(), 3U);
}

TEST_F(Commands, CreateNeverPullsAnImageIdOrAgainstTheWill) {
    const std::string id(64, 'a');
    daemon->answer("POST /containers/create", 404, R"({"message":"No such image: x"})");
    EXPECT_EQ(grua({"create", id}), 1);
    EXPECT_EQ(grua({"create", "sha256:" + id}), 1);
    EXPECT_EQ(grua({"create", "--pull", "never", "x"}), 1);
    EXPECT_EQ(err, "Error response from daemon: No such image: x\n");
    EXPECT_THAT(daemon->lines(), Not(Contains(StartsWith("POST /images/create"))));
}

TEST_F(Commands, LoginStoresWhatTheRegistryGives) {
    daemon->answer("POST /auth", 200, R"({"Status":"Login Succeeded","IdentityToken":"tok"})");
    EXPECT_EQ(grua({"login", "-u", "me", "-p", "secret", "https://host:5000/v2/"}), 0);
    EXPECT_EQ(out, "Login Succeeded\n");
    EXPECT_EQ(err, "WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n");
    EXPECT_EQ(daemon->asked[0].body, R"({"username":"me","password":"secret","serveraddress":"host:5000"})");
    EXPECT_EQ(boost::json::parse(read_file(folder + "/config.json")),
              boost::json::parse(R"({"auths":{"host:5000":{"auth":"bWU6","identitytoken":"tok"}}})"));
    EXPECT_EQ(grua({"logout", "host:5000"}), 0);
    EXPECT_EQ(boost::json::parse(read_file(folder + "/config.json")), boost::json::parse(R"({"auths":{}})"));
}

TEST_F(Commands, ARefusedLoginStoresNothing) {
    daemon->answer("POST /auth", 401, R"({"message":"unauthorized: incorrect username or password"})");
    EXPECT_EQ(grua({"login", "-u", "me", "-p", "x"}), 1);
    EXPECT_THAT(err, HasSubstr("Error response from daemon: unauthorized: incorrect username or password\n"));
    EXPECT_FALSE(std::filesystem::exists(folder + "/config.json"));
    for (const auto& [words, text] : std::vector<std::pair<std::vector<std::string>, std::string>>{
             {{"login", "-p", "x", "--password-stdin"}, "cannot specify both --password and --password-stdin"},
             {{"login", "--password-stdin"}, "the --password-stdin option requires --username to be set"},
             {{"login", "-u", ""}, "username is empty"},
             {{"login", "-u", "a", "-p", ""}, "password is empty"}}) {
        EXPECT_EQ(grua(words), 1);
        EXPECT_THAT(err, HasSubstr(text));
    }
}

TEST_F(Commands, PushTellsItsNotesAtTheEnd) {
    daemon->answer("POST /images/host%3A5000/x/push", 200,
                   "{\"status\":\"Pushed\",\"progressDetail\":{},\"id\":\"aaa\"}\r\n{\"progressDetail\":{},\"aux\":{\"Tag\":\"1\"}}\r\n"
                   "{\"aux\":{\"manifestPushedInsteadOfIndex\":true,\"originalIndex\":{\"digest\":\"sha256:a\"},\"selectedManifest\":{"
                   "\"digest\":\"sha256:b\"}}}\r\n");
    EXPECT_EQ(grua({"push", "--platform", "linux/arm64/v8", "host:5000/x"}), 0);
    EXPECT_EQ(out, "Using default tag: latest\naaa: Pushed\n");
    EXPECT_THAT(err, HasSubstr("sha256:a -> sha256:b"));
    EXPECT_EQ(daemon->lines()[0],
              "POST /images/host%3A5000/x/push?platform=%7B%22architecture%22%3A%22arm64%22%2C%22os%22%3A%22linux%22%7D&tag=latest");
}

TEST_F(Commands, SaveWritesWholeFilesOnly) {
    const std::string target = folder + "/out.tar";
    daemon->answer("GET /images/get", 200, "tar");
    EXPECT_EQ(grua({"save", "--platform", "linux/amd64,linux/arm64", "-o", target, "a", "b:1"}), 0);
    EXPECT_EQ(read_file(target), "tar");
    EXPECT_THAT(daemon->lines()[0], AllOf(StartsWith("GET /images/get?names=a&names=b%3A1&platform=%7B"), HasSubstr("arm64")));
    struct stat status{};
    ASSERT_EQ(::stat(target.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600U);
    EXPECT_EQ(grua({"save", "a"}), 0);
    EXPECT_EQ(out, "tar");
    EXPECT_EQ(grua({"save", "-o", "/dev/null", "a"}), 0);
    EXPECT_EQ(grua({"save", "-o", folder, "a"}), 1);
    EXPECT_EQ(grua({"save", "-o", folder + "/no/where", "a"}), 1);
    EXPECT_THAT(err, StartsWith("failed to save image: "));
}

TEST_F(Commands, SearchIsATable) {
    daemon->answer(
        "GET /images/search", 200,
        R"([{"name":"nginx","description":"line one\nline two that goes on and on and on and on","is_official":true,"star_count":5}])");
    EXPECT_EQ(grua({"search", "--limit", "3", "-f", "stars=3", "nginx"}), 0);
    EXPECT_EQ(out,
              "NAME      DESCRIPTION                                     STARS     OFFICIAL\nnginx     line one line two that goes on and "
              "on and on…   5         [OK]\n");
    EXPECT_EQ(daemon->lines()[0], "GET /images/search?term=nginx&limit=3&filters=%7B%22stars%22%3A%7B%223%22%3Atrue%7D%7D");
    EXPECT_EQ(grua({"search", "--format", "{{.Name}} {{json .IsOfficial}}", "nginx"}), 0);
    EXPECT_EQ(out, "nginx \"[OK]\"\n");
}

constexpr const char* decisions =
    "{\"kind\":\"image\",\"id\":\"sha256:aaaaaaaaaaaabbbb\",\"name\":\"web:1\",\"action\":\"keep\",\"reason\":\"used by container "
    "web\",\"size\":5000000}\n"
    "{\"kind\":\"partial\",\"id\":\"sha256:ccccccccccccdddd\",\"name\":\"\",\"action\":\"remove\",\"reason\":\"broken off 9 days "
    "ago\",\"size\":123000}\n"
    "{\"reclaimed\":123000,\"removed\":1,\"kept\":1}\n";

TEST_F(Commands, CollectionExplainsItself) {
    daemon->answer("POST /grua/gc", 200, decisions);
    EXPECT_EQ(grua({"system", "gc", "--dry-run"}), 0);
    EXPECT_EQ(daemon->lines()[0], "POST /grua/gc?dry-run=1");
    EXPECT_EQ(out,
              "ACTION    KIND      ID             NAME      SIZE      REASON\n"
              "remove    partial   cccccccccccc             123kB     broken off 9 days ago\n"
              "keep      image     aaaaaaaaaaaa   web:1     5MB       used by container web\n"
              "\nWould remove 1 object and reclaim 123kB, 1 kept. Nothing was changed.\n");
    EXPECT_EQ(grua({"system", "gc"}), 0);
    EXPECT_EQ(daemon->lines()[1], "POST /grua/gc");
    EXPECT_THAT(out, Not(HasSubstr("web:1")));
    EXPECT_THAT(out, HasSubstr("\nRemoved 1 object, 1 kept.\nTotal reclaimed space: 123kB\n"));
    EXPECT_EQ(grua({"system", "gc", "--all", "--format", "{{.Action}} {{.ID}}", "--no-trunc"}), 0);
    EXPECT_EQ(out, "remove sha256:ccccccccccccdddd\nkeep sha256:aaaaaaaaaaaabbbb\n");
}

TEST_F(Commands, ACollectionThatHasNothingToDo) {
    daemon->answer("POST /grua/gc", 200, "{\"reclaimed\":0,\"removed\":0,\"kept\":7}\n");
    EXPECT_EQ(grua({"system", "gc"}), 0);
    EXPECT_EQ(out, "Nothing to remove, 7 kept.\n");
}

TEST_F(Commands, AnAnswerThatBreaksOffIsAFailure) {
    daemon->answer("POST /grua/gc", 200, "{\"kind\":\"image\",\"action\":\"keep\"}\n");
    EXPECT_EQ(grua({"system", "gc"}), 1);
    EXPECT_EQ(err, "the daemon's answer ended before its end\n");
    daemon->answer("POST /grua/check", 200, "{\"kind\":\"blob\"}\n{\"error\":\"disk is full\"}\n");
    EXPECT_EQ(grua({"system", "check"}), 1);
    EXPECT_EQ(err, "disk is full\n");
}

TEST_F(Commands, CheckEndsWithOneWhereAProblemIsLeft) {
    const std::string finding = R"({"kind":"blob","id":"sha256:aaaaaaaaaaaabbbb","problem":"has another digest","repaired":)";
    daemon->answer("POST /grua/check", 200, finding + "false}\n{\"checked\":12,\"problems\":1,\"repaired\":0,\"bytes\":1000}\n");
    daemon->answer("POST /grua/check", 200, finding + "true}\n{\"checked\":12,\"problems\":1,\"repaired\":1,\"bytes\":1000}\n");
    daemon->answer("POST /grua/check", 200, "{\"checked\":12,\"problems\":0,\"repaired\":0,\"bytes\":1000}\n");
    EXPECT_EQ(grua({"system", "check"}), 1);
    EXPECT_EQ(out,
              "KIND      ID             PROBLEM              REPAIRED\nblob      aaaaaaaaaaaa   has another digest   no\n\n"
              "Checked 12 objects, 1kB: 1 problem. `grua system check --repair` fetches again what is broken.\n");
    EXPECT_EQ(grua({"system", "check", "--repair"}), 0);
    EXPECT_EQ(daemon->lines()[1], "POST /grua/check?repair=1");
    EXPECT_THAT(out, HasSubstr("Checked 12 objects, 1kB: 1 problem, all repaired.\n"));
    EXPECT_EQ(grua({"system", "check"}), 0);
    EXPECT_EQ(out, "Checked 12 objects, 1kB: no problems.\n");
}

TEST_F(Commands, TheTreeHasEachPlatform) {
    daemon->answer("GET /images/json", 200,
                   R"([{"Id":"sha256:aaaaaaaaaaaabbbb","RepoTags":["b:2","a:1"],"Size":3000000,"Containers":1,"Manifests":[
        {"ID":"sha256:111111111111","Available":true,"Kind":"image","Size":{"Total":3000000,"Content":1000000},
         "ImageData":{"Platform":{"os":"linux","architecture":"arm64","variant":"v8"},"Containers":["x"]}},
        {"ID":"sha256:222222222222","Available":false,"Kind":"image","Size":{"Total":0,"Content":0},"ImageData":{"Platform":{"os":"linux","architecture":"amd64"}}},
        {"ID":"sha256:333333333333","Kind":"attestation","Size":{"Total":0,"Content":500000}}]},
        {"Id":"sha256:cccccccccccc","RepoTags":[],"Size":5}])");
    EXPECT_EQ(grua({"images", "--tree"}), 0);
    EXPECT_EQ(daemon->lines()[0], "GET /images/json?manifests=1");
    EXPECT_EQ(out,
              "IMAGE               ID             DISK USAGE   CONTENT SIZE   EXTRA\n"
              "a:1\n"
              "b:2                 aaaaaaaaaaaa          3MB          1.5MB   U\n"
              "├─ linux/arm64/v8   111111111111          3MB            1MB   U\n"
              "└─ linux/amd64      222222222222           0B             0B\n"
              "\n"
              "<untagged>          cccccccccccc           5B             0B\n"
              "\n");
}

TEST_F(Commands, CompletionKnowsRegistriesAndPlatforms) {
    configure(R"({"auths":{"a.example":{},"b.example":{}},"credHelpers":{"c.example":"x"}})");
    EXPECT_EQ(grua({"__complete", "--", "logout", ""}), 0);
    EXPECT_EQ(out, "a.example\nb.example\nc.example\n");
    EXPECT_EQ(grua({"__complete", "--", "pull", "--platform", "linux/arm6"}), 0);
    EXPECT_EQ(out, "linux/arm64\n");
}

TEST_F(Commands, CompletionKnowsLogDrivers) {
    EXPECT_EQ(grua({"__complete", "--", "run", "--log-driver", "j"}), 0);
    EXPECT_EQ(out, "json-file\njournald\n");
    EXPECT_EQ(grua({"__complete", "--", "create", "--log-opt", "mode="}), 0);
    EXPECT_EQ(out, "mode=blocking\nmode=non-blocking\n");
}

TEST_F(Commands, PruneTakesTheFiltersOfTheConfiguration) {
    configure(R"({"pruneFilters":["label!=keep","until=1h","label=x"]})");
    daemon->answer("POST /images/prune", 200, R"({"ImagesDeleted":[{"Untagged":"a:1"},{"Deleted":"sha256:a"}],"SpaceReclaimed":5000})");
    EXPECT_EQ(grua({"image", "prune", "-f", "--filter", "label!=x"}), 0);
    EXPECT_EQ(out, "Deleted Images:\nuntagged: a:1\ndeleted: sha256:a\n\nTotal reclaimed space: 5kB\n");
    EXPECT_THAT(daemon->lines()[0], AllOf(HasSubstr("keep"), HasSubstr("until"), HasSubstr("dangling"), Not(HasSubstr("%22label%22"))));
}

}  // namespace
}  // namespace grua::cli
