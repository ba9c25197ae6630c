#include "api/stats_wire.hpp"

#include <boost/json.hpp>

namespace grua::api {

namespace {

using boost::json::array;
using boost::json::object;

object cpu_object(const engine::StatsSample& sample) {
    const linux::CpuStats& cpu = sample.cgroup.cpu;
    object usage{{"total_usage", cpu.usage_ns}, {"usage_in_kernelmode", cpu.system_ns}, {"usage_in_usermode", cpu.user_ns}};
    if (!cpu.per_cpu_ns.empty()) usage["percpu_usage"] = array(cpu.per_cpu_ns.begin(), cpu.per_cpu_ns.end());
    object out{{"cpu_usage", std::move(usage)}};
    if (sample.running) {
        out["system_cpu_usage"] = sample.system_cpu_ns;
        out["online_cpus"] = sample.online_cpus;
    }
    out["throttling_data"] =
        object{{"periods", cpu.periods}, {"throttled_periods", cpu.throttled_periods}, {"throttled_time", cpu.throttled_ns}};
    return out;
}

boost::json::value io_entries(const std::vector<linux::IoEntry>& entries) {
    if (entries.empty()) return nullptr;
    array out;
    for (const linux::IoEntry& entry : entries) {
        out.push_back(object{{"major", entry.major}, {"minor", entry.minor}, {"op", entry.op}, {"value", entry.value}});
    }
    return out;
}

object memory_object(const engine::StatsSample& sample) {
    object out;
    if (!sample.running) return out;
    const linux::MemoryStats& memory = sample.cgroup.memory;
    out["usage"] = memory.usage;
    if (memory.max_usage > 0) out["max_usage"] = memory.max_usage;
    object detail;
    for (const auto& [name, value] : memory.detail) detail[name] = value;
    out["stats"] = std::move(detail);
    if (memory.failures > 0) out["failcnt"] = memory.failures;
    out["limit"] = sample.memory_limit;
    return out;
}

}  // namespace

std::string stats_json(const engine::ContainerRecord& record, const engine::StatsSample& sample, const engine::StatsSample& before) {
    object out{{"name", "/" + record.name},           {"id", record.id}, {"read", format_time(sample.running ? sample.read : Time{})},
               {"preread", format_time(before.read)}, {"num_procs", 0},  {"storage_stats", object{}}};
    object pids;
    if (sample.running) {
        pids["current"] = sample.cgroup.pids.current;
        if (sample.cgroup.pids.limit) pids["limit"] = *sample.cgroup.pids.limit;
    }
    out["pids_stats"] = std::move(pids);
    out["cpu_stats"] = cpu_object(sample);
    out["precpu_stats"] = cpu_object(before);
    out["memory_stats"] = memory_object(sample);
    out["blkio_stats"] = object{{"io_service_bytes_recursive", io_entries(sample.cgroup.io.service_bytes)},
                                {"io_serviced_recursive", io_entries(sample.cgroup.io.serviced)},
                                {"io_queue_recursive", nullptr},
                                {"io_service_time_recursive", nullptr},
                                {"io_wait_time_recursive", nullptr},
                                {"io_merged_recursive", nullptr},
                                {"io_time_recursive", nullptr},
                                {"sectors_recursive", nullptr}};
    if (!sample.interfaces.empty()) {
        object networks;
        for (const auto& [name, one] : sample.interfaces) {
            networks[name] = object{{"rx_bytes", one.rx_bytes},     {"rx_packets", one.rx_packets}, {"rx_errors", one.rx_errors},
                                    {"rx_dropped", one.rx_dropped}, {"tx_bytes", one.tx_bytes},     {"tx_packets", one.tx_packets},
                                    {"tx_errors", one.tx_errors},   {"tx_dropped", one.tx_dropped}};
            const auto add_limit = [&](const char* member, const std::optional<engine::LimitCounters>& limit) {
                if (!limit) return;
                networks[name].as_object()[member] =
                    object{{"bits_per_second", limit->rate.bits}, {"delayed", limit->delayed}, {"dropped", limit->dropped}};
            };
            add_limit("rx_limit", one.rx_limit);
            add_limit("tx_limit", one.tx_limit);
        }
        out["networks"] = std::move(networks);
    }
    return boost::json::serialize(out);
}

}  // namespace grua::api
