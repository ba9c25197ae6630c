#include "engine/lifecycle/run_parts.hpp"

#include "base/id.hpp"
#include "engine/networking/networking.hpp"
#include "engine/spec/devices.hpp"

#include <unistd.h>
#include <array>
#include <filesystem>
#include <thread>

namespace grua::engine {
namespace {

constexpr int most_tries = 100;
constexpr std::chrono::milliseconds pause_between{10};

std::string host_name() {
    std::array<char, 256> name{};
    return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "localhost";
}

}  // namespace

Fd join_networks(Lifecycle& life, ContainerRecord& record, tasks::TaskSpec& spec) {
    network::Sandbox sandbox = life.ground.sandboxes.attach(sandbox_request(record, life.options.dns));
    spec.network_namespace = std::move(sandbox.netns);
    spec.held = held_of(std::move(sandbox.resolver));
    for (const network::Endpoint& each : sandbox.endpoints) set_endpoint(record, each);
    record.ports = ports_of(sandbox.ports);
    record.sandbox_id = random_id();
    return std::move(sandbox.sysfs);
}

std::string hostname_of(const ContainerRecord& record) {
    const HostConfig& config = record.host_config;
    const bool is_host = config.uts_mode == "host" || (config.network_mode == "host" && record.config.hostname.empty());
    return is_host ? host_name() : record.config.hostname;
}

SpecInput spec_input(const Lifecycle& life, const ContainerRecord& record, std::string cgroup_path, std::string hostname) {
    return {.record = record,
            .host = life.host,
            .cgroup_path = std::move(cgroup_path),
            .init_path = {},
            .hostname = std::move(hostname),
            .joined_namespaces = {},
            .devices = granted_devices(record.host_config),
            .block_devices = block_device_numbers(record.host_config),
            .linked_environment = {}};
}

void remove_tree(const std::string& path) {
    std::error_code error;
    for (int tries = 0; tries < most_tries; ++tries) {
        std::filesystem::remove_all(path, error);
        // Its monitor may still come and go with files in it.
        if (error != std::errc::directory_not_empty && error != std::errc::no_such_file_or_directory) break;
        std::this_thread::sleep_for(pause_between);
    }
    if (error) throw Error(ErrorKind::system, fmt::format("remove {}: {}", path, error.message()), error.value());
}

}  // namespace grua::engine
