// stats: one stream for each container, one poll() over all of them, repainted at most twice a second.
#include "cli/handlers.hpp"
#include "cli/output.hpp"
#include "cli/terminal.hpp"
#include "cli/units.hpp"

#include "base/encoding.hpp"
#include "base/id.hpp"
#include "base/text.hpp"

#include <poll.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <chrono>
#include <list>

namespace grua::cli {

namespace {

using Clock = std::chrono::steady_clock;
constexpr auto repaint_interval = std::chrono::milliseconds(500);

struct Watched {
    std::string name;  ///< As it was asked for.
    client::Stream stream;
    Value sample;  ///< The last one; null where there is none yet.
    bool gone = false;
};

double cpu_percentage(const Value& sample) {
    const Value& current = at(sample, "cpu_stats");
    const Value& before = at(sample, "precpu_stats");
    const auto used = [](const Value& stats) { return static_cast<double>(number_at(at(stats, "cpu_usage"), "total_usage")); };
    const auto system = [](const Value& stats) { return static_cast<double>(number_at(stats, "system_cpu_usage")); };
    double cpus = static_cast<double>(number_at(current, "online_cpus"));
    if (cpus == 0) {
        const auto* each = at(at(current, "cpu_usage"), "percpu_usage").if_array();
        cpus = each ? static_cast<double>(each->size()) : 1;
    }
    const double cpu_delta = used(current) - used(before);
    const double system_delta = system(current) - system(before);
    return cpu_delta > 0 && system_delta > 0 ? cpu_delta / system_delta * cpus * 100 : 0;
}

/// Without the page cache that the kernel can drop at once.
double memory_used(const Value& memory) {
    const std::int64_t usage = number_at(memory, "usage");
    const Value& stats = at(memory, "stats");
    for (const char* member : {"total_inactive_file", "inactive_file"}) {
        if (at(stats, member).is_null()) continue;
        const std::int64_t inactive = number_at(stats, member);
        if (inactive < usage) return static_cast<double>(usage - inactive);
    }
    return static_cast<double>(usage);
}

std::pair<double, double> network_bytes(const Value& sample) {
    double in = 0;
    double out = 0;
    if (const auto* networks = at(sample, "networks").if_object()) {
        for (const auto& [name, network] : *networks) {
            in += static_cast<double>(number_at(network, "rx_bytes"));
            out += static_cast<double>(number_at(network, "tx_bytes"));
        }
    }
    return {in, out};
}

std::pair<double, double> block_bytes(const Value& sample) {
    double in = 0;
    double out = 0;
    if (const auto* entries = at(at(sample, "blkio_stats"), "io_service_bytes_recursive").if_array()) {
        for (const Value& entry : *entries) {
            const std::string op = to_lower(text_at(entry, "op"));
            if (op.starts_with('r'))
                in += static_cast<double>(number_at(entry, "value"));
            else if (op.starts_with('w'))
                out += static_cast<double>(number_at(entry, "value"));
        }
    }
    return {in, out};
}

Value row_of(const Watched& watched, bool truncate) {
    const Value& sample = watched.sample;
    boost::json::object row{{"Container", watched.name}, {"Name", "--"},  {"ID", ""},        {"CPUPerc", "--"}, {"MemUsage", "-- / --"},
                            {"MemPerc", "--"},           {"NetIO", "--"}, {"BlockIO", "--"}, {"PIDs", "--"}};
    if (sample.is_null()) return row;
    std::string name = text_at(sample, "name");
    if (name.starts_with('/')) name.erase(0, 1);
    const std::string id = text_at(sample, "id");
    if (!name.empty()) row["Name"] = name;
    row["ID"] = truncate ? std::string(short_id(id)) : id;
    const Value& memory = at(sample, "memory_stats");
    const double used = memory_used(memory);
    const auto limit = static_cast<double>(number_at(memory, "limit"));
    const auto [net_in, net_out] = network_bytes(sample);
    const auto [block_in, block_out] = block_bytes(sample);
    row["CPUPerc"] = fmt::format("{:.2f}%", cpu_percentage(sample));
    row["MemUsage"] = binary_size(used) + " / " + binary_size(limit);
    row["MemPerc"] = fmt::format("{:.2f}%", limit > 0 ? used / limit * 100 : 0);
    row["NetIO"] = human_size(net_in, 3) + " / " + human_size(net_out, 3);
    row["BlockIO"] = human_size(block_in, 3) + " / " + human_size(block_out, 3);
    row["PIDs"] = std::to_string(number_at(at(sample, "pids_stats"), "current"));
    return row;
}

constexpr std::array headings{Heading{"Container", "CONTAINER"},
                              Heading{"Name", "NAME"},
                              Heading{"ID", "CONTAINER ID"},
                              Heading{"CPUPerc", "CPU %"},
                              Heading{"MemUsage", "MEM USAGE / LIMIT"},
                              Heading{"MemPerc", "MEM %"},
                              Heading{"NetIO", "NET I/O"},
                              Heading{"BlockIO", "BLOCK I/O"},
                              Heading{"PIDs", "PIDS"}};

class Stats {
public:
    Stats(client::Client& daemon, const Flags& flags) : daemon_(daemon), flags_(flags), once_(flags.on("no-stream")) {}

    int run(const std::vector<std::string>& names) {
        named_ = !names.empty();
        if (named_) {
            for (const std::string& name : names) watch(name);
        } else {
            if (!once_)
                events_ =
                    daemon_.stream({.method = "GET", .target = "/events?filters=" + percent_encode(R"({"type":{"container":true}})")});
            const Value containers = daemon_.get(flags_.on("all") ? "/containers/json?all=1" : "/containers/json");
            for (const Value& container : containers.as_array()) watch(text_at(container, "Id"));
        }
        if (once_) {
            for (Watched& each : watched_) take_sample(each);
            print(text());
            return 0;
        }
        return follow();
    }

private:
    void watch(const std::string& name) {
        const bool known = std::ranges::any_of(watched_, [&](const Watched& each) { return each.name == name; });
        if (known) return;
        client::Stream stream;
        stream.connection = daemon_.begin({.method = "GET", .target = container_path(name, once_ ? "/stats?stream=0" : "/stats?stream=1")});
        watched_.push_back({.name = name, .stream = std::move(stream)});
        if (once_) return;
        try {
            watched_.back().stream.response = client::Client::finish(*watched_.back().stream.connection);
        } catch (const client::ApiError&) {
            watched_.pop_back();
            if (named_) throw;
        }
    }

    void take_sample(Watched& each) {
        if (once_) each.stream.response = client::Client::finish(*each.stream.connection);
        const auto line = each.stream.response.read_line();
        if (!line)
            each.gone = true;
        else if (!trim(*line).empty())
            each.sample = boost::json::parse(*line);
    }

    void take_event() {
        const auto line = events_.response.read_line();
        if (!line) fail(ErrorKind::unavailable, "the daemon closed the connection");
        const Value event = boost::json::parse(*line);
        const std::string action = text_at(event, "Action");
        const std::string id = text_at(at(event, "Actor"), "ID");
        if (action == "start" || (action == "create" && flags_.on("all")))
            watch(id);
        else if ((action == "die" && !flags_.on("all")) || action == "destroy")
            watched_.remove_if([&](const Watched& each) { return each.name == id; });
    }

    int follow() {
        const bool painting = is_terminal(STDOUT_FILENO) && flags_.text("format").find("json") == std::string::npos;
        Clock::time_point next = Clock::now() + repaint_interval;
        while (true) {
            std::vector<pollfd> polled;
            if (events_.connection) polled.push_back({events_.connection->fd(), POLLIN, 0});
            for (const Watched& each : watched_) polled.push_back({each.stream.connection->fd(), POLLIN, 0});
            const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(next - Clock::now()).count();
            if (::poll(polled.data(), polled.size(), static_cast<int>(std::max<std::int64_t>(left, 0))) < 0 && errno != EINTR)
                fail_errno("poll");
            std::size_t i = events_.connection ? 1 : 0;
            for (Watched& each : watched_) {
                if (polled[i++].revents != 0) take_sample(each);
            }
            watched_.remove_if([&](const Watched& each) { return each.gone; });
            if (events_.connection && polled[0].revents != 0) take_event();
            if (named_ && watched_.empty()) return 0;
            if (Clock::now() < next) continue;
            next = Clock::now() + repaint_interval;
            paint(painting);
        }
    }

    void paint(bool painting) {
        std::string shown = text();
        if (painting) {
            // From the top, each line cleared to its end, and what was below cleared too: no flicker.
            std::string lines;
            for (const char c : shown) lines += c == '\n' ? std::string("\x1b[K\n") : std::string(1, c);
            shown = (std::exchange(painted_, true) ? "\x1b[H" : "\x1b[2J\x1b[H") + lines + "\x1b[J";
        }
        print(shown);
    }

    std::string text() const {
        std::vector<Value> rows;
        for (const Watched& each : watched_) rows.push_back(row_of(each, !flags_.on("no-trunc")));
        const Listing listing{
            .default_table = "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}",
            .headings = headings};
        return render_rows(listing, flags_.text("format"), rows);
    }

    client::Client& daemon_;
    const Flags& flags_;
    bool once_;
    bool named_ = false;
    bool painted_ = false;
    client::Stream events_;
    std::list<Watched> watched_;
};

}  // namespace

int container_stats(Context& context, const Parsed& given) { return Stats(context.daemon(), given.flags).run(given.arguments); }

}  // namespace grua::cli
