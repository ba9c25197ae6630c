// Looking into a container that runs: stats, top, sizes. Files are read on the pool.
#include "base/files.hpp"
#include "engine/engine_impl.hpp"
#include "images/image_store.hpp"
#include "layers/layers.hpp"
#include "linux/netns.hpp"
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

std::map<std::string, InterfaceStats> interfaces_in(int netns) {
    const linux::NetnsVisit visit(netns);
    return parse_net_dev(read_file("/proc/thread-self/net/dev"));
}

std::uint64_t host_memory() {
    return static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace

asio::awaitable<StatsSample> Engine::Impl::stats(std::string reference) {
    const auto container = get_container(reference);
    const auto record = container->record;
    const auto task = container->task;
    StatsSample sample;
    sample.read = now();
    if (!is_running(record->state.status) || !task) co_return sample;
    try {
        sample.cgroup = co_await task->stats();
        const std::string& mode = record->host_config.network_mode;
        const bool has_own = mode != "host" && mode != "none";
        const auto netns = std::make_shared<Fd>(has_own ? task->open_namespace("net") : Fd());
        auto read = [this, record, netns, cpus = host.cpus, sample]() mutable {
            sample.running = true;
            sample.system_cpu_ns = system_cpu_ns();
            sample.online_cpus = cpus;
            sample.memory_limit = std::min(sample.cgroup.memory.limit.value_or(host_memory()), host_memory());
            if (*netns) sample.interfaces = interfaces_in(netns->get());
            for (const network::LimitedInterface& each : rooms.networks.limited(record->id)) {
                const auto found = sample.interfaces.find(each.interface);
                if (found == sample.interfaces.end()) continue;
                if (each.in.rate.bits != 0) found->second.rx_limit = each.in;
                if (each.out.rate.bits != 0) found->second.tx_limit = each.out;
            }
            return sample;
        };
        co_return co_await offload(pool, std::move(read));
    } catch (const Error& error) {
        // It ended meanwhile.
        const bool has_ended = error.kind() == ErrorKind::not_found || error.kind() == ErrorKind::conflict;
        if (!has_ended && error.os_error() != ENODEV && error.os_error() != ESRCH) throw;
    }
    co_return sample;
}

asio::awaitable<Processes> Engine::Impl::top(std::string reference, std::string ps_args) {
    const auto container = get_container(reference);
    const auto task = container->task;
    if (!is_running(container->record->state.status) || !task) fail(ErrorKind::conflict, "container {} is not running", container->id());
    std::vector<pid_t> pids = co_await task->pids();
    std::ranges::sort(pids);
    auto read = [pids = std::move(pids), ps_args] { return tasks::process_table(pids, ps_args); };
    tasks::ProcessTable table = co_await offload(pool, std::move(read));
    emit(*container->record, "top");
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
    co_return co_await at_length(std::move(measure));
}

}  // namespace grua::engine
