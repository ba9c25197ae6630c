#include "engine/spec/spec.hpp"

#include "engine/model/capability_set.hpp"
#include "engine/model/create_request.hpp"
#include "engine/model/restart_policy.hpp"
#include "engine/model/signals.hpp"
#include "engine/spec/seccomp_profile.hpp"

#include <gmock/gmock.h>
#include <csignal>

namespace grua::engine {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using namespace std::chrono_literals;

HostFacts test_host() {
    return {.machine = "x86_64",
            .kernel = {6, 1},
            .cgroup_v2 = true,
            .swap_limit = true,
            .cpus = 4,
            .capabilities = {"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_NET_ADMIN", "CAP_SYS_ADMIN"},
            .thermal_directories = {"/sys/devices/system/cpu/cpu0/thermal_throttle"}};
}

ContainerRecord test_record() {
    ContainerRecord record;
    record.id = std::string(64, 'a');
    record.path = "sh";
    record.args = {"-c", "true"};
    record.config.hostname = "box";
    record.host_config.ipc_mode = "private";
    record.host_config.network_mode = "default";
    record.host_config.shm_size = 67108864;
    return record;
}

oci::RuntimeSpec spec_of(const ContainerRecord& record) {
    const HostFacts host = test_host();
    return build_spec({.record = record, .host = host, .cgroup_path = "/grua/x", .init_path = {}, .hostname = record.config.hostname});
}

template <typename Body>
std::string message_of(Body body) {
    try {
        body();
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

std::vector<std::string> destinations(const oci::RuntimeSpec& spec) {
    std::vector<std::string> out;
    for (const auto& mount : spec.mounts) out.push_back(mount.destination);
    return out;
}

TEST(Spec, IsValidAndHasDockersDefaults) {
    const auto spec = spec_of(test_record());
    EXPECT_NO_THROW(oci::check(spec));
    EXPECT_THAT(spec.process->args, ElementsAre("sh", "-c", "true"));
    EXPECT_THAT(spec.process->env, ElementsAre(HasSubstr("PATH=/usr/local/sbin"), "HOSTNAME=box"));
    EXPECT_THAT(destinations(spec), ElementsAre("/proc", "/dev", "/dev/pts", "/sys", "/sys/fs/cgroup", "/dev/mqueue", "/dev/shm"));
    EXPECT_THAT(spec.process->capabilities->effective, ElementsAre("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL"));
    EXPECT_THAT(spec.process->capabilities->inheritable, IsEmpty()) << "CVE-2022-24769";
    EXPECT_THAT(spec.process->capabilities->ambient, IsEmpty());
    EXPECT_THAT(spec.linux_->masked_paths, Contains("/proc/interrupts"));
    EXPECT_THAT(spec.linux_->masked_paths, Contains("/sys/devices/system/cpu/cpu0/thermal_throttle"));
    EXPECT_THAT(spec.linux_->readonly_paths, Contains("/proc/sys"));
    EXPECT_TRUE(spec.linux_->seccomp);
    EXPECT_EQ(spec.linux_->sysctl.at("net.ipv4.ip_unprivileged_port_start"), "0");
}

TEST(Spec, PrivilegedOpensPathsButOnlyThen) {
    auto record = test_record();
    record.host_config.privileged = true;
    const auto spec = spec_of(record);
    EXPECT_THAT(spec.linux_->masked_paths, IsEmpty());
    EXPECT_FALSE(spec.linux_->seccomp);
    EXPECT_THAT(spec.process->capabilities->bounding, Contains("CAP_SYS_ADMIN"));
    EXPECT_TRUE(spec.linux_->resources->devices.front().allow);
}

TEST(Spec, AFolderIsMountedBeforeWhatIsInIt) {
    auto record = test_record();
    for (const char* path : {"/data/sub/deep", "/data", "/data/sub"}) {
        MountPoint point;
        point.type = "bind";
        point.source = "/srv";
        point.destination = path;
        point.rw = false;
        record.mounts.push_back(point);
    }
    const auto spec = spec_of(record);
    EXPECT_THAT(std::vector(spec.mounts.end() - 3, spec.mounts.end())[0].destination, "/data");
    EXPECT_EQ(spec.mounts.back().destination, "/data/sub/deep");
    EXPECT_THAT(spec.mounts.back().options, ElementsAre("rbind", "rro", "rprivate"));
}

TEST(Spec, AMountOfTheUserReplacesADefault) {
    auto record = test_record();
    record.host_config.tmpfs["/dev/shm"] = "size=1m,exec";
    const auto spec = spec_of(record);
    EXPECT_EQ(std::ranges::count(spec.mounts, "/dev/shm", &oci::Mount::destination), 1);
    EXPECT_THAT(spec.mounts.back().options, ElementsAre("nosuid", "nodev", "size=1m", "exec"));
}

TEST(Spec, NamespacesFollowTheModes) {
    auto record = test_record();
    record.host_config.network_mode = "host";
    record.host_config.pid_mode = "host";
    record.host_config.uts_mode = "host";
    record.host_config.ipc_mode = "host";
    record.host_config.cgroupns_mode = "host";
    const auto spec = spec_of(record);
    ASSERT_EQ(spec.linux_->namespaces.size(), 1U);
    EXPECT_EQ(spec.linux_->namespaces[0].type, "mount");
    EXPECT_THAT(spec.linux_->sysctl, IsEmpty());
}

TEST(Spec, CpusBecomeAQuota) {
    auto record = test_record();
    record.host_config.nano_cpus = 1'500'000'000;
    EXPECT_EQ(spec_of(record).linux_->resources->cpu->quota, 150000);
}

TEST(SecurityOptions, AppArmorHasADefault) {
    HostFacts host;
    HostConfig config;
    EXPECT_EQ(apparmor_profile_of(config, host), "");
    host.apparmor = true;
    host.default_profile = "grua-default";
    EXPECT_EQ(apparmor_profile_of(config, host), "grua-default");
    config.privileged = true;
    EXPECT_EQ(apparmor_profile_of(config, host), "unconfined");
    config.security_opt = {"apparmor=mine"};
    EXPECT_EQ(apparmor_profile_of(config, host), "mine");
}

TEST(Spec, AnExecHasTheProfileOfItsContainer) {
    auto record = test_record();
    record.apparmor_profile = "mine";
    EXPECT_EQ(spec_of(record).process->apparmor_profile, "mine");
    const HostFacts host;
    const SpecInput input{.record = record, .host = host};
    EXPECT_EQ(exec_process(input, {}).apparmor_profile, "mine");
    ExecConfig privileged;
    privileged.privileged = true;
    EXPECT_EQ(exec_process(input, privileged).apparmor_profile, "unconfined");
}

TEST(SecurityOptions, AreReadOrRefused) {
    HostConfig config;
    config.security_opt = {"no-new-privileges", "seccomp=unconfined", "systempaths=unconfined", "apparmor=unconfined", "label=disable"};
    const auto options = parse_security_options(config);
    EXPECT_TRUE(options.no_new_privileges && options.seccomp_unconfined && options.system_paths_unconfined);
    EXPECT_FALSE(options.writable_cgroups);
    EXPECT_TRUE(options.labels.empty());
    config.security_opt = {"apparmor=docker-default", "label=type:x", "writable-cgroups=T", "no-new-privileges:false"};
    const auto more = parse_security_options(config);
    EXPECT_EQ(more.apparmor_profile, "docker-default");
    EXPECT_EQ(more.labels, StringList{"type:x"});
    EXPECT_TRUE(more.writable_cgroups);
    EXPECT_FALSE(more.no_new_privileges);
    for (const char* bad : {"writable-cgroups=maybe", "no-new-privileges=yes", "systempaths=x"}) {
        config.security_opt = {bad};
        EXPECT_THAT(message_of([&] { parse_security_options(config); }), HasSubstr("invalid --security-opt 2")) << bad;
    }
    config.security_opt = {"nonsense=1"};
    EXPECT_THAT(message_of([&] { parse_security_options(config); }), HasSubstr("invalid --security-opt"));
}

TEST(Seccomp, FollowsTheCapabilities) {
    SeccompSubject subject{.machine = "x86_64", .kernel = {6, 1}, .capabilities = {}};
    const auto allows = [&](const char* name) {
        for (const auto& rule : default_seccomp(subject).syscalls)
            if (rule.action == "SCMP_ACT_ALLOW" && rule.args.empty() && std::ranges::find(rule.names, name) != rule.names.end())
                return true;
        return false;
    };
    EXPECT_TRUE(allows("openat"));
    EXPECT_TRUE(allows("ptrace"));
    EXPECT_TRUE(allows("arch_prctl"));
    EXPECT_FALSE(allows("mount"));
    EXPECT_FALSE(allows("keyctl"));
    subject.kernel = {4, 4};
    EXPECT_FALSE(allows("ptrace"));
    subject.capabilities = {"CAP_SYS_ADMIN"};
    EXPECT_TRUE(allows("mount"));
}

TEST(Seccomp, TakesDockersFormAndRefusesOthers) {
    const SeccompSubject subject{.machine = "x86_64", .kernel = {6, 1}, .capabilities = {}};
    const auto profile = custom_seccomp(
        R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ERRNO"},
            {"name":"chmod","action":"SCMP_ACT_ERRNO","includes":{"arches":["arm64"]}}]})",
        subject);
    ASSERT_EQ(profile.syscalls.size(), 1U);
    EXPECT_THAT(profile.syscalls[0].names, ElementsAre("mkdir"));
    EXPECT_THAT(message_of([&] { custom_seccomp("not json", subject); }), HasSubstr("Decoding seccomp profile failed"));
}

TEST(Capabilities, AddAndDrop) {
    const StringList all{"CAP_CHOWN", "CAP_KILL", "CAP_NET_ADMIN", "CAP_SYS_ADMIN"};
    HostConfig config;
    config.cap_drop = {"all"};
    config.cap_add = {"net_admin"};
    EXPECT_THAT(container_capabilities(config, all), ElementsAre("CAP_NET_ADMIN"));
    config.cap_add = {"ALL"};
    config.cap_drop = {"SYS_ADMIN"};
    EXPECT_THAT(container_capabilities(config, all), ElementsAre("CAP_CHOWN", "CAP_KILL", "CAP_NET_ADMIN"));
    EXPECT_EQ(message_of([] { normalize_capabilities({"nope"}); }), "unknown capability: \"CAP_NOPE\"");
}

TEST(Merge, RequestWinsOverImage) {
    oci::ImageRunConfig image;
    image.env = {"A=1", "B=2"};
    image.entrypoint = StringList{"/entry"};
    image.cmd = StringList{"serve"};
    image.working_dir = "/srv";
    ContainerConfig config;
    config.env = {"B=3"};
    merge_image(config, image);
    EXPECT_THAT(config.env, ElementsAre("B=3", "A=1"));
    EXPECT_THAT(command_of(config), ElementsAre("/entry", "serve"));

    ContainerConfig own;
    own.entrypoint = StringList{""};
    own.cmd = StringList{"sh"};
    merge_image(own, image);
    EXPECT_THAT(command_of(own), ElementsAre("sh"));

    ContainerConfig entry;
    entry.entrypoint = StringList{"/mine"};
    merge_image(entry, image);
    EXPECT_THAT(command_of(entry), ElementsAre("/mine"));

    ContainerConfig none;
    EXPECT_EQ(message_of([&] { merge_image(none, {}); }), "no command specified");
}

TEST(Check, RefusesWithDockersTexts) {
    const auto refused = [](auto change) {
        ContainerConfig config;
        HostConfig host;
        change(config, host);
        return message_of([&] { check_request(config, host, test_host()); });
    };
    EXPECT_EQ(refused([](auto&, auto& host) { host.memory = 1024; }), "Minimum memory limit allowed is 6MB");
    EXPECT_EQ(refused([](auto&, auto& host) { host.nano_cpus = 5'000'000'000; }),
              "range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs available");
    EXPECT_EQ(refused([](auto&, auto& host) { host.cpuset_cpus = "0-9"; }),
              "Requested CPUs are not available - requested 0-9, available: 0-3");
    EXPECT_EQ(refused([](auto& config, auto&) { config.working_dir = "x"; }),
              "the working directory 'x' is invalid, it needs to be an absolute path");
    EXPECT_EQ(refused([](auto&, auto& host) {
                  host.auto_remove = true;
                  host.restart_policy.name = "always";
              }),
              "can't create 'AutoRemove' container with restart policy");
    EXPECT_EQ(refused([](auto&, auto& host) { host.port_bindings["80/dccp"] = {{}}; }),
              "invalid port specification: \"80/dccp\": invalid proto");
    EXPECT_EQ(refused([](auto&, auto& host) { host.port_bindings["80/tcp"] = {{.host_ip = "nowhere", .host_port = ""}}; }),
              "invalid IP address: nowhere");
    EXPECT_EQ(refused([](auto&, auto& host) { host.memory = 6 << 20; }), "");
}

TEST(Mounts, BindsVolumesAndAnonymousOnes) {
    ContainerConfig config;
    config.volumes["/var/lib/x"] = json::Value(boost::json::object{});
    HostConfig host;
    host.binds = {"/srv:/data:ro", "named:/named", "/anonymous"};
    const auto planned = plan_mounts(config, host, {});
    ASSERT_EQ(planned.size(), 4U);
    EXPECT_TRUE(planned[0].anonymous);
    EXPECT_EQ(planned[1].point.type, "bind");
    EXPECT_FALSE(planned[1].point.rw);
    EXPECT_TRUE(planned[1].detail.create_source);
    EXPECT_EQ(planned[2].point.name, "named");
    EXPECT_EQ(planned[3].point.destination, "/var/lib/x");
    host.binds.emplace_back("/etc:/data");
    EXPECT_EQ(message_of([&] { plan_mounts(config, host, {}); }), "Duplicate mount point: /data");
    host.binds = {"/srv:/data:what"};
    EXPECT_EQ(message_of([&] { plan_mounts(config, host, {}); }), "invalid mode: what");
}

TEST(Mounts, OfOtherContainersKeepWhatIsSaidOfThem) {
    ContainerRecord other;
    other.mounts = {{.type = "volume", .name = "data", .source = "/v/data/_data", .destination = "/x", .mode = "z"},
                    {.type = "image", .name = "busybox", .destination = "/img", .rw = false},
                    {.type = "tmpfs", .destination = "/t"}};
    other.mount_details = {{"/x", {.subpath = "sub"}},
                           {"/img", {.image_id = "sha256:1", .chain = {"sha256:2"}}},
                           {"/t", {.tmpfs = TmpfsOptions{.size_bytes = 7}}}};
    const auto planned = plan_mounts({}, {}, {{.container = std::make_shared<const ContainerRecord>(other), .read_only = true}});
    ASSERT_EQ(planned.size(), 3U);
    EXPECT_EQ(planned[0].detail.chain, StringList{"sha256:2"});
    EXPECT_EQ(planned[1].detail.tmpfs->size_bytes, 7);
    EXPECT_EQ(planned[2].detail.subpath, "sub");
    for (const PlannedMount& each : planned) EXPECT_FALSE(each.point.rw || each.copy);
}

TEST(Mounts, ModesOfVolumesFrom) {
    EXPECT_EQ(parse_volumes_from("name").container, "name");
    EXPECT_TRUE(parse_volumes_from("name:ro,z").read_only);
    EXPECT_FALSE(parse_volumes_from("name:rw").read_only);
    for (const char* mode : {"nocopy", "shared", "bogus", "ro,rw", "z,Z", "a:b"})
        EXPECT_EQ(message_of([&] { parse_volumes_from(std::string("name:") + mode); }), std::string("invalid mode: ") + mode);
    EXPECT_NE(message_of([&] { parse_volumes_from(""); }), "");
}

TEST(Mounts, SubpathsStayInsideByTheirText) {
    const auto refused = [](const char* subpath) {
        HostConfig host;
        host.mounts = {{.type = "volume", .source = "data", .target = "/x", .volume_options = VolumeOptions{.subpath = subpath}}};
        return message_of([&] { plan_mounts({}, host, {}); });
    };
    for (const char* subpath : {"a", "a/b", "a/../b", "./a"}) EXPECT_EQ(refused(subpath), "") << subpath;
    for (const char* subpath : {"..", "../a", "/a", "a/../../b"})
        EXPECT_EQ(refused(subpath), "invalid mount config for type \"volume\": subpath must be a relative path within the volume")
            << subpath;
}

TEST(Mounts, ThatComeAsDescriptorsHaveNoPath) {
    auto record = test_record();
    record.mounts = {{.type = "volume", .name = "data", .source = "/v/data/_data", .destination = "/x"},
                     {.type = "image", .name = "busybox", .destination = "/img", .rw = false}};
    record.mount_details = {{"/x", {.subpath = "sub"}}};
    const auto spec = spec_of(record);
    for (const char* destination : {"/x", "/img"}) {
        const auto found = std::ranges::find(spec.mounts, destination, &oci::Mount::destination);
        ASSERT_NE(found, spec.mounts.end());
        EXPECT_EQ(found->source, "given");
    }
}

TEST(Spec, AnnotationsAndWritableCgroups) {
    auto record = test_record();
    record.host_config.annotations = {{"a", "b"}};
    record.host_config.security_opt = {"writable-cgroups=true"};
    const auto spec = spec_of(record);
    EXPECT_EQ(spec.annotations.at("a"), "b");
    const auto cgroups = std::ranges::find(spec.mounts, "/sys/fs/cgroup", &oci::Mount::destination);
    ASSERT_NE(cgroups, spec.mounts.end());
    EXPECT_EQ(std::ranges::count(cgroups->options, "ro"), 0);
}

TEST(CgroupParent, IsCleanedAsDockerDoesIt) {
    for (const auto& [asked, made] : std::map<std::string, std::string>{
             {"x", "/x"}, {"/x/", "/x"}, {"../../x", "/x"}, {"/a/../b", "/b"}, {"/", ""}, {"", ""}, {"a//b", "/a/b"}, {"..", ""}})
        EXPECT_EQ(clean_cgroup_parent(asked), made) << asked;
}

TEST(RestartPolicy, BacksOffAndStartsAgain) {
    RestartDelay delay;
    const RestartPolicy always{.name = "always"};
    EXPECT_EQ(delay.next(always, {.exit_code = 0}), 100ms);
    EXPECT_EQ(delay.next(always, {.exit_code = 0}), 200ms);
    for (int i = 0; i < 20; ++i) delay.next(always, {});
    EXPECT_EQ(delay.next(always, {}), 60000ms);
    EXPECT_EQ(delay.next(always, {.ran_for = 11s}), 100ms);
    EXPECT_FALSE(delay.next(always, {.stopped_by_user = true}));
    const RestartPolicy thrice{.name = "on-failure", .maximum_retry_count = 3};
    EXPECT_TRUE(delay.next(thrice, {.exit_code = 1, .restarts = 2}));
    EXPECT_FALSE(delay.next(thrice, {.exit_code = 1, .restarts = 3}));
    EXPECT_FALSE(delay.next(thrice, {.exit_code = 0}));
}

TEST(Signals, ByNameAndNumber) {
    EXPECT_EQ(parse_signal("TERM"), SIGTERM);
    EXPECT_EQ(parse_signal("sigkill"), SIGKILL);
    EXPECT_EQ(parse_signal("15"), 15);
    EXPECT_EQ(parse_signal("RTMIN+3"), 37);
    EXPECT_EQ(parse_signal("SIGRTMAX"), 64);
    EXPECT_EQ(message_of([] { parse_signal("nope"); }), "invalid signal: nope");
    EXPECT_NE(message_of([] { parse_signal("0"); }), "");
}

}  // namespace
}  // namespace grua::engine
