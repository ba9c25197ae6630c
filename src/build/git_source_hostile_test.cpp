// A source of git against remotes, repositories and hosts that are not as one would like them.
#include "build/git_source.hpp"

#include "base/encoding.hpp"
#include "build/test_git.hpp"
#include "registry/test_server.hpp"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <mutex>
#include <thread>

namespace grua::build {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;

/// `git daemon` on 127.0.0.1, which serves all that is below a folder.
class GitDaemon {
public:
    explicit GitDaemon(const std::string& folder) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        {
            const Fd probe{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
            EXPECT_EQ(::bind(probe.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
            EXPECT_EQ(::getsockname(probe.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
        }
        port_ = ntohs(address.sin_port);
        const std::string script = fmt::format(
            "exec /usr/lib/git-core/git-daemon --reuseaddr --export-all --listen=127.0.0.1 --port={} --base-path={} 2>/dev/null", port_,
            folder);
        serving_ = std::jthread([script](const std::stop_token& stop) {
            try {
                (void)run_child_program({.program = "/bin/sh", .words = {"-c", script}, .environment = {"PATH=/usr/bin:/bin"}}, stop);
            } catch (const Error&) {
                // It was told to stop.
            }
        });
        for (int round = 0; round < 200; ++round) {
            const Fd client{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
            if (::connect(client.get(), reinterpret_cast<sockaddr*>(&address), size) == 0) return;
            std::this_thread::sleep_for(20ms);
        }
        ADD_FAILURE() << "git daemon does not listen";
    }
    std::string url(const std::string& path) const { return fmt::format("git://127.0.0.1:{}{}", port_, path); }

private:
    int port_ = 0;
    std::jthread serving_;
};

class GitSourceHostile : public WithRepository {};

TEST_F(GitSourceHostile, SubmodulesAreFetchedAsWell) {
    const std::string below = folder("served");
    const GitDaemon daemon(below);
    shell(below, "git clone -q --bare ../origin inner.git && git clone -q --bare ../origin other.git");
    shell(repository, fmt::format("git -c protocol.allow=always submodule --quiet add {} deep/inner && git commit -qm third",
                                  daemon.url("/inner.git")));
    shell(below, "git clone -q --bare ../origin whole.git");
    on_loop([&]() -> asio::awaitable<void> {
        const std::string into = co_await make(identifier(daemon.url("/whole.git")));
        EXPECT_EQ(read_file(into + "/deep/inner/file"), "one");
        EXPECT_FALSE(fs::exists(into + "/deep/inner/.git")) << "which would name a folder of this host";
        EXPECT_THAT(printed, HasSubstr("Submodule path 'deep/inner': checked out '" + second + "'"));
        EXPECT_EQ(names(co_await make(identifier(daemon.url("/whole.git"), {}, "deep/inner"))).size(), 6U);
        const auto without = co_await look_up(identifier(daemon.url("/whole.git"), {}, {}, {{"git.skipsubmodules", "true"}}));
        EXPECT_TRUE(key_of(*without).ends_with("(skip-submodules)"));
        EXPECT_TRUE(fs::is_empty(co_await put(without) + "/deep/inner"));
        const std::string kept_dir = co_await make(identifier(daemon.url("/whole.git"), {}, {}, {{"git.keepgitdir", "true"}}));
        EXPECT_EQ(shell(kept_dir + "/deep/inner", "git rev-parse HEAD"), second);
        // The next commit has it elsewhere.
        shell(repository,
              fmt::format("git config -f .gitmodules submodule.deep/inner.url {} && git commit -qam fourth", daemon.url("/other.git")));
        shell(below, "rm -rf inner.git && git -C whole.git fetch -q ../../origin main:main");
        EXPECT_EQ(read_file(co_await make(identifier(daemon.url("/whole.git"))) + "/deep/inner/file"), "one");
    });
}

// CVE-2022-39253, CVE-2018-17456, CVE-2018-11235, CVE-2024-32002: what a repository has for submodules.
TEST_F(GitSourceHostile, SubmodulesAreNoWayToThisHost) {
    const std::string canary = work + "/canary";
    const std::string program = work + "/payload";
    replace_file(program, "#!/bin/sh\ntouch " + canary + "\n", 0755);
    const std::string hooks = folder("hooks");
    for (const char* each : {"post-checkout", "post-merge", "reference-transaction", "post-index-change"})
        replace_file(hooks + "/" + each, "#!/bin/sh\ntouch " + canary + "\n", 0755);
    const auto with_submodule = [&](const std::string& name, const std::string& path, const std::string& url,
                                    const std::string& more = {}) {
        replace_file(repository + "/.gitmodules", fmt::format("[submodule \"{}\"]\n\tpath = {}\n\turl = {}\n{}", name, path, url, more));
        shell(repository, fmt::format("rm -f .git/index && git add .gitmodules && git update-index --add --cacheinfo 160000,{},'{}' && "
                                      "git update-ref refs/heads/evil $(git commit-tree -m evil $(git write-tree))",
                                      first, path));
    };
    on_loop([&]() -> asio::awaitable<void> {
        for (const std::string& url : {"file://" + repository, std::string("ext::sh -c touch% ") + canary, "-u" + program,
                                       std::string("ssh://-oProxyCommand=") + program + "/x"}) {
            with_submodule("inner", "inner", url);
            EXPECT_THAT(co_await refusal(make(local("evil"))), HasSubstr("failed to update submodules for file://")) << url;
            EXPECT_FALSE(fs::exists(canary)) << url;
        }
        with_submodule("../../hooks", "inner", "https://127.0.0.1:1/x");
        (void)co_await refusal(make(local("evil")));
        with_submodule("inner", "inner", "https://127.0.0.1:1/x", "\tupdate = !touch " + canary + "\n");
        EXPECT_NE(co_await refusal(make(local("evil"))), "");
        EXPECT_FALSE(fs::exists(canary));
        // A file that is a repository's configuration is nobody's.
        shell(repository,
              fmt::format("git reset -q --hard && git clean -qfdx && git checkout -q -B evil && mkdir bare && cd bare && "
                          "mkdir objects refs && printf x > objects/x && printf x > refs/x && printf 'ref: refs/heads/main' > HEAD && "
                          "printf '[core]\\n\\tbare = true\\n\\tfsmonitor = touch {}\\n' > config && "
                          "git --git-dir=../.git --work-tree=.. add . && git --git-dir=../.git commit -qm evil",
                          canary));
        EXPECT_TRUE(fs::exists(co_await make(local("evil", {}, {{"git.keepgitdir", "true"}})) + "/bare/config"));
        EXPECT_FALSE(fs::exists(canary));
        // Hooks of this host are not run for it either.
        shell(repository, "git checkout -q -f main");
        (void)co_await make(local());
        fs::copy(hooks, kept() + "/repo/hooks", fs::copy_options::recursive);
        shell(repository, "git checkout -q -f main && git commit -q --allow-empty -m next");
        (void)co_await make(local({}, {}, {{"git.keepgitdir", "true"}}));
        (void)co_await make(local());
        EXPECT_FALSE(fs::exists(canary));
    });
}

TEST_F(GitSourceHostile, WhatAKillLeavesIsInNobodysWay) {
    on_loop([&]() -> asio::awaitable<void> {
        (void)co_await make(local());
        const std::string folder_of_it = kept();
        for (const char* each : {"shallow.lock", "config.lock", "HEAD.lock", "packed-refs.lock"})
            replace_file(folder_of_it + "/repo/" + each, "");
        for (const auto& each : fs::recursive_directory_iterator(folder_of_it + "/repo/refs/grua"))
            if (each.is_regular_file()) replace_file(each.path().string() + ".lock", "");
        fs::create_directories(folder_of_it + "/work/objects");
        shell(repository, "printf x > third && git add . && git commit -qm third");
        renew();
        EXPECT_TRUE(fs::exists(co_await make(local()) + "/third"));
        // One that is not whole.
        fs::remove(folder_of_it + "/format");
        fs::remove_all(folder_of_it + "/repo/refs");
        EXPECT_TRUE(fs::exists(co_await make(local()) + "/third"));
        // Objects that a power cut took.
        for (const auto& each : fs::recursive_directory_iterator(folder_of_it + "/repo/objects"))
            if (each.is_regular_file()) fs::resize_file(each.path(), 0);
        EXPECT_TRUE(fs::exists(co_await make(local()) + "/third"));
    });
}

TEST_F(GitSourceHostile, TheNextGruadSweepsWhatAKillHasLeft) {
    on_loop([&]() -> asio::awaitable<void> {
        (void)co_await make(local());
        const std::string folder_of_it = kept();
        fs::create_directories(folder_of_it + "/work/objects");
        replace_file(folder_of_it + "/remote.tmp-0123456789abcdef", "");
        replace_file(folder_of_it + "/repo/shallow.lock", "");
        replace_file(folder_of_it + "/repo/objects/pack/tmp_pack_x", "");
        fs::create_directories(options.directory + "/never-whole/repo");
        replace_file(options.directory + "/never-whole/remote", "https://h/x");
        // A program that another one has begun, one in its place, and what is none of ours.
        const std::string mark = "GIT_CEILING_DIRECTORIES=" + options.directory;
        std::vector<std::jthread> running;
        std::vector<int> ended(3, -1);
        for (const std::string& each : {mark, mark + "/other", std::string("A=1")})
            running.emplace_back([&, each, number = running.size()](const std::stop_token& stop) {
                try {
                    ended[number] =
                        run_child_program({.program = "/bin/sh", .words = {"-c", "sleep 60; :"}, .environment = {each}}, stop).status;
                } catch (const Error&) {
                    // It was told to stop.
                }
            });
        co_await settle(200ms);
        renew();
        source->sweep();
        running.at(0).join();
        EXPECT_EQ(ended[0], SIGKILL);
        running.clear();
        EXPECT_EQ(ended[1], -1);
        EXPECT_EQ(ended[2], -1);
        EXPECT_EQ(names(options.directory).size(), 1U);
        EXPECT_THAT(names(folder_of_it), testing::ElementsAre("format", "lock", "remote", "repo"));
        EXPECT_FALSE(fs::exists(folder_of_it + "/repo/shallow.lock"));
        EXPECT_FALSE(fs::exists(folder_of_it + "/repo/objects/pack/tmp_pack_x"));
        EXPECT_TRUE(fs::exists(co_await make(local()) + "/file"));
        // Nor does it touch what somebody has.
        fs::create_directories(folder_of_it + "/work");
        const auto used = source->cache().open(GitProgram(options.program), "file://" + repository, false, {});
        source->cache().sweep();
        EXPECT_TRUE(fs::exists(folder_of_it + "/work"));
    });
}

TEST_F(GitSourceHostile, OneWorksOnARepositoryAtATime) {
    on_loop([&]() -> asio::awaitable<void> {
        (void)co_await make(local());
        int done = 0;
        for (const char* each : {"main", "feature/x", "v1", "light"})
            asio::co_spawn(loop, make(local(each)), [&](const std::exception_ptr& failure, const std::string& into) {
                EXPECT_FALSE(failure);
                EXPECT_TRUE(fs::exists(into + "/file"));
                ++done;
            });
        while (done < 4) co_await settle();
        // Nor is one removed meanwhile, and a git that a killed gruad has left counts.
        std::stop_source stop;
        std::jthread left([&, lock = kept() + "/lock"] {
            try {
                (void)run_child_program({.program = "/usr/bin/flock", .words = {lock, "sleep", "60"}, .environment = {}}, stop.get_token());
            } catch (const Error&) {
                // It was told to stop.
            }
        });
        while (!source->cache().list().at(0).is_used) co_await settle();
        const std::string name = source->cache().list().at(0).name;
        EXPECT_FALSE(source->cache().remove(name));
        std::string said = "nothing yet";
        std::stop_source unwanted;
        const auto found = co_await look_up(local());
        asio::co_spawn(
            loop,
            [&]() -> asio::awaitable<void> { said = co_await refusal(source->put(found, folder("waits"), {}, unwanted.get_token())); },
            asio::detached);
        co_await settle(200ms);
        EXPECT_EQ(said, "nothing yet");
        unwanted.request_stop();
        co_await settle(200ms);
        EXPECT_EQ(said, "context canceled");
        stop.request_stop();
        left.join();
        // Its child may be on its way out still.
        while (source->cache().list().at(0).is_used) co_await settle();
        EXPECT_TRUE(source->cache().remove(name));
        EXPECT_FALSE(source->cache().remove(name));
        EXPECT_FALSE(source->cache().remove("../origin"));
        EXPECT_TRUE(fs::exists(co_await make(local()) + "/file"));
        EXPECT_EQ(source->cache().list().at(0).remote, "file://" + repository);
    });
}

TEST_F(GitSourceHostile, WhatIsTooMuchGoes) {
    options.cache_limit = 1;
    renew();
    on_loop([&]() -> asio::awaitable<void> {
        EXPECT_TRUE(fs::exists(co_await make(local()) + "/file"));
        EXPECT_TRUE(source->cache().list().empty());
        EXPECT_TRUE(fs::is_empty(options.directory));
    });
}

TEST_F(GitSourceHostile, ARemoteThatSaysNothingIsGivenUp) {
    const Fd listener{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    ASSERT_EQ(::listen(listener.get(), 8), 0);
    ASSERT_EQ(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    const std::string url = fmt::format("git://127.0.0.1:{}/x", ntohs(address.sin_port));
    options.program.silence = 1s;
    renew();
    on_loop([&]() -> asio::awaitable<void> {
        EXPECT_THAT(co_await refusal(look_up(identifier(url, "main"))), HasSubstr("nothing came for 1 s"));
        options.program.silence = 60s;
        renew();
        asio::cancellation_signal cancel;
        bool is_over = false;
        asio::co_spawn(loop, look_up(identifier(url, "main")),
                       asio::bind_cancellation_slot(cancel.slot(), [&](const std::exception_ptr& failure, const GitFoundPtr&) {
                           EXPECT_TRUE(failure);
                           is_over = true;
                       }));
        co_await settle(200ms);
        EXPECT_FALSE(is_over);
        cancel.emit(asio::cancellation_type::terminal);
        while (!is_over) co_await settle();
    });
    EXPECT_TRUE(transfers.stop(3s)) << "git has ended with it";
}

TEST_F(GitSourceHostile, CredentialsAreTheRemotesAlone) {
    // A server of plain files, as git speaks to it: no part of a history.
    shell(work, "git clone -q --bare origin dumb.git && git -C dumb.git update-server-info");
    std::mutex mutex;
    std::string wanted;
    const auto want = [&](std::string text) {
        const std::lock_guard lock(mutex);
        wanted = std::move(text);
    };
    const registry::TestServer server([&](const registry::TestRequest& request) {
        registry::TestAnswer out;
        const std::lock_guard lock(mutex);
        if (request.header("authorization") != wanted) {
            out.status = 401;
            out.headers = {"WWW-Authenticate: Basic realm=\"x\""};
            return out;
        }
        const std::string path = work + request.target.substr(0, request.target.find('?'));
        if (fs::is_regular_file(path))
            out.body = read_file(path, 10U << 20U);
        else
            out.status = 404;
        return out;
    });
    const std::string url = server.url() + "/dumb.git";
    const std::string with_user = "http://me:secret@" + server.authority() + "/dumb.git";
    const std::map<std::string, std::string> attributes{{"git.authtokensecret", "GIT_AUTH_TOKEN"},
                                                        {"git.authheadersecret", "GIT_AUTH_HEADER"}};
    ids = {"s1"};
    with_client([&]() -> asio::awaitable<void> {
        want("Basic " + base64_encode("me:secret"));
        EXPECT_TRUE(fs::exists(co_await make(identifier(with_user, {}, {}, attributes)) + "/more"));
        EXPECT_EQ(asked, (std::vector<std::string>{"GIT_AUTH_HEADER." + server.authority(), "GIT_AUTH_TOKEN." + server.authority(),
                                                   "GIT_AUTH_HEADER", "GIT_AUTH_TOKEN", "GIT_AUTH_HEADER." + server.authority(),
                                                   "GIT_AUTH_TOKEN." + server.authority(), "GIT_AUTH_HEADER", "GIT_AUTH_TOKEN"}));
        const std::string keeps = co_await make(identifier(with_user, "v1", {}, {{"git.keepgitdir", "true"}}));
        EXPECT_THAT(shell(keeps, "cat .git/config"), testing::AllOf(HasSubstr(url), Not(HasSubstr("secret"))));
        EXPECT_EQ(source->cache().list().at(0).remote, url);
        EXPECT_EQ(shell(options.directory, "grep -r secret . || true"), "");

        want("basic " + base64_encode("x-access-token:abc"));
        secrets["GIT_AUTH_TOKEN"] = "abc\n";
        EXPECT_EQ((co_await look_up(identifier(url, {}, {}, attributes)))->object, second);
        want("Bearer own");
        secrets["GIT_AUTH_HEADER." + server.authority()] = "Bearer own";
        EXPECT_EQ((co_await look_up(identifier(url, {}, {}, attributes)))->object, second);
        want("nobody's");
        const std::string refused = co_await refusal(look_up(identifier(with_user)));
        EXPECT_THAT(refused, HasSubstr("git stderr:\nfatal: "));
        EXPECT_THAT(refused, Not(HasSubstr("secret")));
        EXPECT_THAT(refused, Not(HasSubstr(base64_encode("me:secret"))));
    });
}

TEST_F(GitSourceHostile, HostsWithoutGitSaySo) {
    options.program.program = "no-such-git";
    renew();
    on_loop([&]() -> asio::awaitable<void> {
        EXPECT_EQ(co_await refusal(look_up(local("main"))),
                  "failed to fetch remote file://" + repository + ": git is not installed on the engine's host");
        const std::string old = work + "/old-git";
        replace_file(old, "#!/bin/sh\necho git version 2.20.1\n", 0755);
        options.program.program = old;
        renew();
        EXPECT_THAT(co_await refusal(look_up(local("main"))), HasSubstr("is 2.20: 2.31 or newer is needed"));
    });
    EXPECT_EQ(parse_git_version("git version 2.39.5 (Apple Git-154)\n"), (std::pair{2, 39}));
    EXPECT_EQ(parse_git_version("git version 3.0\n"), (std::pair{3, 0}));
    for (const char* each : {"", "git version", "git version x.y", "hg 1.2"}) EXPECT_FALSE(parse_git_version(each)) << each;
    EXPECT_EQ(shell_quoted("/a b'c"), "'/a b'\\''c'");
    EXPECT_EQ(git_token_scope("https://github.com/a/b"), "https://github.com/");
    EXPECT_EQ(git_token_scope("https://h/a/b"), "https://h/a/b");
}

TEST_F(GitSourceHostile, AgentsAreTheClients) {
    ids = {"s1"};
    with_client([&]() -> asio::awaitable<void> {
        EXPECT_EQ(co_await refusal(look_up(identifier("git@127.0.0.1:x/y", "main", {}, {{"git.mountsshsock", "default"}}))),
                  "no SSH key \"default\" forwarded from the client");
    });
    // The agent and the hosts that are known are ssh's; here is another program of that name.
    const std::string programs = folder("programs");
    replace_file(programs + "/ssh",
                 "#!/bin/sh\nfor each in \"$@\"; do echo \"word $each\" >&2; done\necho agent $SSH_AUTH_SOCK >&2\n"
                 "for each in \"$@\"; do case $each in UserKnownHostsFile=*) cat ${each#*=} >&2;; esac; done\nexit 1\n",
                 0755);
    client.add("/moby.sshforward.v1.SSH/CheckAgent", [](grpc::ServerCall& call) -> asio::awaitable<void> {
        (void)co_await call.read_only();
        co_await call.write("");
    });
    const std::string path = ::getenv("PATH");
    ::setenv("PATH", (programs + ":" + path).c_str(), 1);
    with_client(
        [&]() -> asio::awaitable<void> {
            const std::string said = co_await refusal(look_up(identifier(
                "git@127.0.0.1:x/y", "main", {}, {{"git.mountsshsock", "default"}, {"git.knownsshhosts", "host ssh-ed25519 AAAA\n"}})));
            EXPECT_THAT(said, HasSubstr("word git@127.0.0.1\n"));
            EXPECT_THAT(said, HasSubstr("agent " + options.agent_directory));
            EXPECT_THAT(said, HasSubstr("host ssh-ed25519 AAAA\n"));
            EXPECT_THAT(said, HasSubstr("word IdentityFile=none\n"));
            EXPECT_THAT(said, Not(HasSubstr("IdentityAgent")));
            EXPECT_THAT(co_await refusal(look_up(identifier("ssh://git@127.0.0.1/x/y", "main"))),
                        testing::AllOf(HasSubstr("word IdentityAgent=none\n"), HasSubstr("word StrictHostKeyChecking=no\n")));
        },
        {"/moby.sshforward.v1.SSH/CheckAgent"});
    ::setenv("PATH", path.c_str(), 1);
    EXPECT_TRUE(fs::is_empty(options.agent_directory));
}

}  // namespace
}  // namespace grua::build
