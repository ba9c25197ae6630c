// Who reaches whom: what the rules say, by name, and what trying says.
#include "base/log.hpp"
#include "engine/engine_impl.hpp"
#include "engine/networking/networking.hpp"
#include "linux/netns.hpp"
#include "network/probe.hpp"

#include <algorithm>

namespace grua::engine {

namespace {

constexpr auto probe_patience = std::chrono::milliseconds(500);
constexpr std::size_t most_probed = 16;  // Ports of one way.

/// A place that something can be tried from, or to.
struct Place {
    std::string name;
    Fd netns;
};

bool is_expected(const Reached& way, std::uint16_t port) {
    return way.all || std::ranges::find(way.ports, fmt::format("{}/tcp", port)) != way.ports.end();
}

/// Tries the target's listening ports, or the host's that are published.
void probe(Reached& way, const Place& from, const Place& to, const std::string& host_address) {
    std::vector<std::uint16_t> ports;
    const bool is_published = way.by.starts_with("published");
    if (is_published) {
        for (const std::string& each : way.ports)
            if (const auto port = parse_uint(each.substr(0, each.find('/'))); port && each.ends_with("/tcp"))
                ports.push_back(static_cast<std::uint16_t>(*port));
    } else if (to.netns) {
        ports = network::listening_ports(to.netns.get());
    }
    auto address = linux::Ip::parse(way.address);
    if (address && address->is_unspecified()) address = address->is_v4() ? linux::Ip::parse(host_address) : std::nullopt;
    if (!address || !from.netns || ports.empty()) return;
    if (ports.size() > most_probed) ports.resize(most_probed);
    const auto open = network::connectable(from.netns.get(), *address, ports, probe_patience);
    for (const std::uint16_t port : ports)
        way.probed.push_back({.port = fmt::format("{}/tcp", port), .open = open.contains(port), .expected = is_expected(way, port)});
}

}  // namespace

asio::awaitable<std::vector<Reached>> Engine::Impl::reach(bool with_probe) {
    std::map<std::string, RecordPtr> records;
    std::map<std::string, std::shared_ptr<Place>> places;
    for (const auto& [id, container] : containers) {
        const RecordPtr& record = container->record;
        if (!is_running(record->state.status) || !has_sandbox(*record)) continue;
        records[id] = record;
        auto place = std::make_shared<Place>(Place{.name = record->name, .netns = {}});
        try {
            if (with_probe && container->task) place->netns = container->task->open_namespace("net");
        } catch (const Error& error) {
            log::debug("{}", error.what());
        }
        places[id] = std::move(place);
    }
    auto work = [this, with_probe, records, places] {
        const auto home = std::make_shared<Place>(Place{.name = "host", .netns = linux::NetnsVisit::current()});
        std::vector<Reached> out;
        for (network::Reach& each : rooms.networks.reach()) {
            Reached way{.from = std::move(each.from),
                        .to = std::move(each.to),
                        .by = std::move(each.by),
                        .address = std::move(each.address),
                        .all = each.all,
                        .ports = std::move(each.ports),
                        .probed = {}};
            const auto from = places.find(way.from);
            const auto to = places.find(way.to);
            // It began or ended meanwhile.
            if ((from == places.end() && way.from != "host" && way.from != "outside") || (to == places.end() && way.to != "outside"))
                continue;
            if (with_probe && to != places.end() && way.from != "outside") {
                const Place& source = way.from == "host" ? *home : *from->second;
                probe(way, source, *to->second, rooms.networks.gateway());
            }
            if (from != places.end()) way.from = from->second->name;
            if (to != places.end()) way.to = to->second->name;
            out.push_back(std::move(way));
        }
        std::ranges::sort(out, {}, [](const Reached& each) { return std::tie(each.to, each.from, each.by, each.address, each.ports); });
        return out;
    };
    if (!with_probe) co_return co_await offload(pool, std::move(work));
    co_return co_await at_length(std::move(work));
}

}  // namespace grua::engine
