// Looking into a container that runs: stats, top, sizes. Files are read on the pool.
#include "base/files.hpp"
#include "engine/engine_impl.hpp"
#include "images/image_store.hpp"
#include "layers/layers.hpp"
#include "tasks/top.hpp"

#include <unistd.h>
#include <algorithm>

namespace grua::engine {
namespace {

std::uint64_t system_cpu_ns() {
    const std::string text = read_file("/proc/stat");
    const std::string line = text.substr(0, text.find('\n'));
    const auto ticks = static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK));
    std::uint64_t sum = 0;
    int fields = 0;
    for (const auto& word : split(line, ' ')) {
        const auto number = parse_uint(word);
        if (!number || fields == 8) continue;  // guest times are in user's already
        sum += *number;
        ++fields;
    }
    return sum * (1'000'000'000 / ticks);
}

std::uint64_t host_memory() {
    return static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace

asio::awaitable<StatsSample> Engine::Impl::stats(std::string reference) {
    const auto record = get_container(reference)->record;
    StatsSample sample;
    sample.read = now();
    if (!is_running(record->state.status)) co_return sample;
    auto read = [this, record, path = cgroup_path(*record), cpus = host.cpus, sample]() mutable {
        sample.cgroup = linux::Cgroup::open(cgroups, linux::CgroupPath::parse(path)).stats();
        sample.running = true;
        sample.system_cpu_ns = system_cpu_ns();
        sample.online_cpus = cpus;
        sample.memory_limit = std::min(sample.cgroup.memory.limit.value_or(host_memory()), host_memory());
        const std::string& mode = record->host_config.network_mode;
        if (mode != "host" && mode != "none")
            sample.interfaces = parse_net_dev(read_file(fmt::format("/proc/{}/net/dev", record->state.pid)));
        for (const network::LimitedInterface& each : rooms.networks.limited(record->id)) {
            const auto found = sample.interfaces.find(each.interface);
            if (found == sample.interfaces.end()) continue;
            if (each.in.rate.bits != 0) found->second.rx_limit = each.in;
            if (each.out.rate.bits != 0) found->second.tx_limit = each.out;
        }
        return sample;
    };
    try {
        co_return co_await offload(pool, std::move(read));
    } catch (const Error& error) {
        // It ended meanwhile.
        if (error.kind() != ErrorKind::not_found && error.os_error() != ENODEV && error.os_error() != ESRCH) throw;
    }
    co_return sample;
}

asio::awaitable<Processes> Engine::Impl::top(std::string reference, std::string ps_args) {
    const auto record = get_container(reference)->record;
    if (!is_running(record->state.status)) fail(ErrorKind::conflict, "container {} is not running", record->id);
    auto read = [this, path = cgroup_path(*record), ps_args] {
        auto pids = linux::Cgroup::open(cgroups, linux::CgroupPath::parse(path)).pids();
        std::ranges::sort(pids);
        return tasks::process_table(pids, ps_args);
    };
    tasks::ProcessTable table = co_await offload(pool, std::move(read));
    co_return Processes{.titles = std::move(table.titles), .processes = std::move(table.processes)};
}

asio::awaitable<Sizes> Engine::Impl::sizes(std::string reference) {
    const auto record = get_container(reference)->record;
    auto measure = [this, record] {
        Sizes out;
        if (rooms.layers.has_container(record->id)) out.rw = rooms.layers.usage(record->id);
        const auto image = rooms.images.find(record->image_id);
        out.root_fs = out.rw + (image ? image->size : 0);
        return out;
    };
    co_return co_await offload(pool, std::move(measure));
}

}  // namespace grua::engine
