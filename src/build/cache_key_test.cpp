#include "build/cache_key.hpp"

#include <gtest/gtest.h>

namespace grua::build {
namespace {

std::string operation(const pb::Op& op) { return plan_key(op).operation; }

pb::Op source(const std::string& identifier) {
    pb::Op out;
    out.mutable_source()->set_identifier(identifier);
    return out;
}

/// A program in the first input, with the second mounted at /m.
pb::Op exec() {
    pb::Op out;
    out.add_inputs()->set_digest("sha256:root");
    out.add_inputs()->set_digest("sha256:other");
    pb::ExecOp& exec = *out.mutable_exec();
    exec.mutable_meta()->add_args("make");
    pb::Mount& root = *exec.add_mounts();
    root.set_dest("/");
    pb::Mount& other = *exec.add_mounts();
    other.set_input(1);
    other.set_dest("/m");
    other.set_selector("/src");
    other.set_output(-1);
    return out;
}

/// Copies of the second input's files onto the first, one on the other.
pb::Op copies(const std::vector<std::string>& paths) {
    pb::Op out;
    out.add_inputs()->set_digest("sha256:root");
    out.add_inputs()->set_digest("sha256:context");
    for (const std::string& each : paths) {
        pb::FileAction& action = *out.mutable_file()->add_actions();
        action.set_input(out.file().actions_size() == 1 ? 0 : out.file().actions_size());
        action.set_secondaryinput(1);
        action.mutable_copy()->set_src(each);
        action.mutable_copy()->set_dest("/to/");
    }
    return out;
}

TEST(CacheKey, ASourceIsWhatItsKeySays) {
    EXPECT_EQ(operation(source("docker-image://docker.io/library/a:1")), operation(source("docker-image://docker.io/library/b:2")));
    pb::Op local = source("local://context");
    const std::string plain = operation(local);
    (*local.mutable_source()->mutable_attrs())["local.session"] = "of this build";
    EXPECT_EQ(operation(local), plain);
    EXPECT_NE(plain, operation(source("docker-image://context")));
}

TEST(CacheKey, SurroundingsOfAProgramDoNotCount) {
    const std::string plain = operation(exec());
    const auto changed = [](auto change) {
        pb::Op op = exec();
        change(op, *op.mutable_exec());
        return operation(op);
    };
    using pb::ExecOp;
    EXPECT_EQ(changed([](pb::Op& op, ExecOp&) { op.mutable_inputs(0)->set_digest("sha256:x"); }), plain);
    EXPECT_EQ(changed([](pb::Op&, ExecOp& exec) { exec.mutable_meta()->mutable_proxy_env()->set_http_proxy("x"); }), plain);
    EXPECT_NE(changed([](pb::Op&, ExecOp& exec) { exec.mutable_meta()->add_env("A=b"); }), plain);
    EXPECT_NE(changed([](pb::Op&, ExecOp& exec) { exec.mutable_meta()->set_user("x"); }), plain);
    EXPECT_NE(changed([](pb::Op&, ExecOp& exec) { exec.set_network(pb::NET_MODE_NONE); }), plain);
    EXPECT_NE(changed([](pb::Op&, ExecOp& exec) { exec.set_security(pb::SECURITY_MODE_INSECURE); }), plain);
    EXPECT_NE(changed([](pb::Op& op, ExecOp&) { op.mutable_platform()->set_architecture("386"); }), plain);
    EXPECT_NE(changed([](pb::Op&, ExecOp& exec) { exec.mutable_mounts(1)->set_dest("/n"); }), plain);
    const auto with_host = [&](const char* host, const char* ip) {
        return changed([&](pb::Op&, ExecOp& exec) {
            pb::HostIP& added = *exec.mutable_meta()->add_extrahosts();
            added.set_host(host);
            added.set_ip(ip);
        });
    };
    EXPECT_EQ(with_host("a", "198.51.100.1"), with_host("a", "198.51.100.2"));
    EXPECT_NE(with_host("a", "198.51.100.1"), with_host("b", "198.51.100.1"));
}

TEST(CacheKey, WhichCacheIsMountedDoesNotCount) {
    const auto with_cache = [](const std::string& id, pb::CacheSharingOpt sharing) {
        pb::Op op = exec();
        pb::Mount& mount = *op.mutable_exec()->add_mounts();
        mount.set_input(-1);
        mount.set_dest("/cache");
        mount.set_mounttype(pb::MOUNT_TYPE_CACHE);
        mount.mutable_cacheopt()->set_id(id);
        mount.mutable_cacheopt()->set_sharing(sharing);
        return operation(op);
    };
    const std::string named = with_cache("ns/a", pb::CACHE_SHARING_OPT_SHARED);
    EXPECT_EQ(with_cache("ns/b", pb::CACHE_SHARING_OPT_SHARED), named);
    EXPECT_EQ(with_cache("ns/a", pb::CACHE_SHARING_OPT_LOCKED), named);
    // As in BuildKit one that a Dockerfile does not name keeps the key that it always had.
    EXPECT_NE(with_cache("ns//cache", pb::CACHE_SHARING_OPT_SHARED), named);
    EXPECT_NE(with_cache("/cache", pb::CACHE_SHARING_OPT_SHARED), named);
}

TEST(CacheKey, MountsCountByTheirContentsWhereNothingOfThemComesOut) {
    const auto counts = [](auto change) {
        pb::Op op = exec();
        change(*op.mutable_exec()->mutable_mounts(1));
        return plan_key(op).inputs.at(1).by_content;
    };
    EXPECT_TRUE(counts([](pb::Mount&) {})) << "what is written to it is gone";
    EXPECT_TRUE(counts([](pb::Mount& mount) { mount.set_readonly(true); }));
    EXPECT_FALSE(counts([](pb::Mount& mount) { mount.set_output(1); })) << "what is beside the part comes out as well";
    EXPECT_TRUE(counts([](pb::Mount& mount) {
        mount.set_output(1);
        mount.set_selector("/");
    }));
    EXPECT_FALSE(counts([](pb::Mount& mount) { mount.set_dest("/"); }));
    EXPECT_FALSE(counts([](pb::Mount& mount) { mount.set_contentcache(pb::MOUNT_CONTENT_CACHE_OFF); }));
    EXPECT_FALSE(plan_key(exec()).inputs.at(0).by_content);
}

TEST(CacheKey, WhereSomethingWasReadCountsWhereThereAreSeveral) {
    EXPECT_EQ(operation(copies({"/one/file"})), operation(copies({"/two/file"})));
    EXPECT_NE(operation(copies({"/one/file"})), operation(copies({"/one/other"}))) << "the copy has that name";
    // What is read of one input is one digest, in an order of its own.
    EXPECT_NE(operation(copies({"/one/a", "/two/b"})), operation(copies({"/two/a", "/one/b"})));
    pb::Op other = copies({"/one/file"});
    other.mutable_platform()->set_architecture("386");
    EXPECT_EQ(operation(copies({"/one/file"})), operation(other));
    pb::Op op = exec();
    const std::string plain = operation(op);
    op.mutable_exec()->mutable_mounts(1)->set_selector("/elsewhere");
    EXPECT_EQ(operation(op), plain);
    op.mutable_exec()->mutable_mounts(1)->set_output(1);
    const std::string written = operation(op);
    op.mutable_exec()->mutable_mounts(1)->set_selector("/src");
    EXPECT_NE(operation(op), written) << "it counts as a whole, and which part it was says this alone";
}

}  // namespace
}  // namespace grua::build
