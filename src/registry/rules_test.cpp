#include "registry/rules.hpp"

#include "base/error.hpp"

#include <gtest/gtest.h>
#include <filesystem>
#include <fstream>

namespace grua::registry {
namespace {

namespace fs = std::filesystem;

class RulesTest : public testing::Test {
protected:
    RulesTest() {
        std::string path = fs::temp_directory_path() / "grua-rules-XXXXXX";
        folder_ = ::mkdtemp(path.data());
        options_.config_directory = folder_;
        options_.containerd_directory = folder_ + "/containerd";
        options_.containers_directory = folder_ + "/containers";
    }
    ~RulesTest() override { fs::remove_all(folder_); }

    void put(const std::string& name, const std::string& text) const {
        const fs::path path = fs::path(folder_) / name;
        fs::create_directories(path.parent_path());
        std::ofstream{path} << text;
    }
    /// "https://host/v2/repository" of each, in order.
    std::vector<std::string> hosts(const std::string& name, Operation operation = Operation::pull) const {
        std::vector<std::string> out;
        for (const Endpoint& each : Rules{options_}.endpoints(oci::Reference::parse(name), operation)) {
            std::string text = each.url("").text();
            text.pop_back();
            out.push_back(text);
        }
        return out;
    }
    std::string refused(const std::string& name) const {
        try {
            hosts(name);
        } catch (const Error& error) {
            return error.what();
        }
        return {};
    }

    std::string folder_;
    Options options_;
};

using Hosts = std::vector<std::string>;

TEST_F(RulesTest, nothing_configured) {
    EXPECT_EQ(hosts("redis"), Hosts{"https://registry-1.docker.io/v2/library/redis"});
    EXPECT_EQ(hosts("r.example:5000/a/b"), Hosts{"https://r.example:5000/v2/a/b"});
    EXPECT_EQ(hosts("localhost:5000/a"), (Hosts{"https://localhost:5000/v2/a", "http://localhost:5000/v2/a"}));
    EXPECT_EQ(hosts("127.9.9.9:5000/a"), (Hosts{"https://127.9.9.9:5000/v2/a", "http://127.9.9.9:5000/v2/a"}));
    EXPECT_EQ(hosts("10.0.0.1:5000/a"), Hosts{"https://10.0.0.1:5000/v2/a"});
}

TEST_F(RulesTest, insecure_registries_and_mirrors_of_docker) {
    options_.insecure_registries = {"10.0.0.0/8", "r.example:5000"};
    options_.mirrors = {"http://m.example:5000", "https://n.example/hub/"};
    EXPECT_EQ(hosts("10.0.0.1:5000/a"), (Hosts{"https://10.0.0.1:5000/v2/a", "http://10.0.0.1:5000/v2/a"}));
    EXPECT_EQ(hosts("r.example:5000/a"), (Hosts{"https://r.example:5000/v2/a", "http://r.example:5000/v2/a"}));
    EXPECT_EQ(hosts("r.example/a"), Hosts{"https://r.example/v2/a"});
    EXPECT_EQ(hosts("redis"), (Hosts{"http://m.example:5000/v2/library/redis", "https://n.example/hub/v2/library/redis",
                                     "https://registry-1.docker.io/v2/library/redis"}));
    EXPECT_EQ(hosts("redis", Operation::push), Hosts{"https://registry-1.docker.io/v2/library/redis"});
    options_.mirrors = {"m.example"};
    EXPECT_THROW(hosts("redis"), Error);
}

TEST_F(RulesTest, longest_prefix_wins) {
    put("registries.toml", R"(
[[registry]]
prefix = "docker.io"
[[registry.mirror]]
location = "m.example:5000/hub"
[[registry.mirror]]
location = "http://n.example"
pull = "digest-only"

[[registry]]
prefix = "docker.io/library"
location = "official.example/base"

[[registry]]
prefix = "*.corp.example"
mirrors-only = true
[[registry.mirror]]
location = "cache.example"
username = "u"
password = "p"
)");
    EXPECT_EQ(hosts("me/app"), (Hosts{"https://m.example:5000/v2/hub/me/app", "https://registry-1.docker.io/v2/me/app"}));
    const std::string digest = "@sha256:" + std::string(64, 'a');
    EXPECT_EQ(hosts("me/app" + digest),
              (Hosts{"https://m.example:5000/v2/hub/me/app", "http://n.example/v2/me/app", "https://registry-1.docker.io/v2/me/app"}));
    EXPECT_EQ(hosts("redis"), Hosts{"https://official.example/v2/base/redis"});
    EXPECT_EQ(hosts("docker.io/libraryx/redis"),
              (Hosts{"https://m.example:5000/v2/hub/libraryx/redis", "https://registry-1.docker.io/v2/libraryx/redis"}));
    EXPECT_EQ(hosts("a.corp.example/x/y"), Hosts{"https://cache.example/v2/x/y"});
    EXPECT_EQ(hosts("a.corp.example/x/y", Operation::push), Hosts{"https://a.corp.example/v2/x/y"});
    const auto endpoints = Rules{options_}.endpoints(oci::Reference::parse("a.corp.example/x"), Operation::pull);
    EXPECT_EQ(endpoints.at(0).location.credentials.username, "u");
    EXPECT_TRUE(endpoints.at(0).is_mirror);
}

TEST_F(RulesTest, blocked_by_any_file) {
    put("registries.toml", "[[registry]]\nprefix = \"bad.example\"\nblocked = true\n[[registry]]\nprefix = \"bad.example/good\"\n");
    put("containers/registries.conf",
        "unqualified-search-registries = [\"docker.io\"]\n[[registry]]\nlocation = \"*.evil.example\"\nblocked = true\n");
    EXPECT_EQ(refused("bad.example/x"), "registry bad.example is blocked by the rule \"bad.example\" in " + folder_ + "/registries.toml");
    EXPECT_NE(refused("bad.example:5000/x"), "");
    EXPECT_EQ(refused("bad.example/good/x"), "");
    EXPECT_NE(refused("a.evil.example/x"), "");
    EXPECT_EQ(refused("evil.example/x"), "");
    const Rules rules{options_};
    EXPECT_THROW(rules.check_host("bad.example"), Error);
    EXPECT_THROW(rules.check_host("x.evil.example:444"), Error);
    EXPECT_NO_THROW(rules.check_host("good.example"));
}

TEST_F(RulesTest, the_hub_is_blocked_under_each_of_its_names) {
    put("registries.toml", "[[registry]]\nprefix = \"docker.io\"\nblocked = true\n");
    EXPECT_NE(refused("redis"), "");
    EXPECT_THROW(Rules{options_}.check_host("registry-1.docker.io"), Error);
}

TEST_F(RulesTest, hosts_toml_of_containerd) {
    put("containerd/docker.io/hosts.toml", R"(
server = "https://registry-1.docker.io"
[host."https://z.example"]
  capabilities = ["pull", "resolve"]
  ca = "z.crt"
[host."http://a.example:5000/v2/cache"]
  capabilities = ["pull"]
  override_path = true
  skip_verify = true
  [host."http://a.example:5000/v2/cache".header]
    x-key = ["1"]
)");
    put("containerd/_default/hosts.toml", "[host.\"https://any.example\"]\n");
    const auto endpoints = Rules{options_}.endpoints(oci::Reference::parse("redis"), Operation::pull);
    ASSERT_EQ(endpoints.size(), 3U);
    EXPECT_EQ(endpoints[0].url("x").text(), "https://z.example/v2/library/redis/x?ns=docker.io");
    EXPECT_EQ(endpoints[0].location.tls.authorities.at(0), folder_ + "/containerd/docker.io/z.crt");
    EXPECT_EQ(endpoints[1].url("x").text(), "http://a.example:5000/v2/cache/library/redis/x?ns=docker.io");
    EXPECT_EQ(endpoints[1].location.headers.at(0), "x-key: 1");
    EXPECT_EQ(endpoints[2].url("x").text(), "https://registry-1.docker.io/v2/library/redis/x");
    EXPECT_EQ(Rules{options_}.endpoints(oci::Reference::parse("redis"), Operation::resolve).size(), 2U);
    EXPECT_EQ(Rules{options_}.endpoints(oci::Reference::parse("other.example/x"), Operation::pull).size(), 2U);
}

TEST_F(RulesTest, registries_conf_of_containers) {
    put("containers/registries.conf", R"(
[[registry]]
prefix = "quay.io/team"
insecure = true
location = "mirror.example/quay"
[[registry.mirror]]
location = "10.1.1.1:5000/q"
pull-from-mirror = "tag-only"
)");
    put("containers/registries.conf.d/00-names.conf", "[aliases]\n\"fedora\" = \"registry.fedoraproject.org/fedora\"\n");
    EXPECT_EQ(hosts("quay.io/team/x:1"),
              (Hosts{"https://10.1.1.1:5000/v2/q/x", "https://mirror.example/v2/quay/x", "http://mirror.example/v2/quay/x"}));
    EXPECT_EQ(Rules{options_}.alias("fedora:41").value(), "registry.fedoraproject.org/fedora:41");
    EXPECT_FALSE(Rules{options_}.alias("fedora/x"));
}

TEST_F(RulesTest, limits) {
    put("registries.toml", "[limits]\nstall-seconds = 2\nattempts = 3\n");
    const Rules rules{options_};
    EXPECT_EQ(rules.limits().low_speed, std::chrono::seconds{2});
    EXPECT_EQ(rules.limits().attempts, 3U);
    EXPECT_EQ(rules.limits().connect, Limits{}.connect);
    put("registries.toml", "[limits]\nattempts = 0\n");
    EXPECT_EQ(refused("x"), folder_ + "/registries.toml:2: attempts has to be a number from 1 to 100");
}

TEST_F(RulesTest, errors_say_where) {
    const auto why = [&](const std::string& text) {
        put("registries.toml", text);
        return refused("x");
    };
    EXPECT_EQ(why("\n[[registry]]\nprefix = \"a\"\nblock = true\n"), folder_ + "/registries.toml:4: unknown key \"block\"");
    EXPECT_NE(why("[[registry]\n").find("registries.toml:1:"), std::string::npos);
    EXPECT_NE(why("[[registry]]\nblocked = true\n").find("needs a prefix"), std::string::npos);
    EXPECT_NE(why("[[registry]]\nprefix = \"a\"\nblocked = 1\n").find("has to be true or false"), std::string::npos);
    EXPECT_NE(why("[[registry]]\nprefix = \"a.b\"\n[[registry.mirror]]\nlocation = \"ftp://x\"\n").find("registries.toml:"),
              std::string::npos);
}

}  // namespace
}  // namespace grua::registry
