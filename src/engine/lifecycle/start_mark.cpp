#include "engine/lifecycle/start_mark.hpp"

#include "base/codec.hpp"
#include "base/fault_point.hpp"
#include "base/files.hpp"

#include <unistd.h>
#include <array>
#include <optional>
#include <utility>

namespace grua::engine {
namespace {

constexpr auto mark_name = "/start.json";
constexpr std::size_t longest_mark = std::size_t{16} << 20U;

struct Mark {
    std::map<std::string, EndpointSettings> networks;
    StringMap desired_macs;
    StringMap interfaces;
    std::map<std::string, std::vector<PortBinding>> ports;
    std::string sandbox_id;
    std::optional<int> restart_count;  ///< Not in the marks of older gruads.
    template <typename Self = Mark>
    static json::Fields fields() {
        return json::Fields{json::field("networks", &Self::networks),     json::field("desired_macs", &Self::desired_macs),
                            json::field("interfaces", &Self::interfaces), json::field("ports", &Self::ports),
                            json::field("sandbox_id", &Self::sandbox_id), json::field("restart_count", &Self::restart_count)};
    }
};

}  // namespace

void write_start_mark(const std::string& live, const ContainerRecord& record) {
    const Mark mark{.networks = record.networks,
                    .desired_macs = record.desired_macs,
                    .interfaces = record.interfaces,
                    .ports = record.ports,
                    .sandbox_id = record.sandbox_id,
                    .restart_count = record.restart_count};
    replace_file(live + mark_name, json::dump(mark, {1, 999}), 0600);
}

bool read_start_mark(const std::string& live, ContainerRecord& record) {
    std::string text;
    try {
        text = read_file(live + mark_name, longest_mark);
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::not_found) return false;
        throw;
    }
    Mark mark = json::parse<Mark>(text);
    record.networks = std::move(mark.networks);
    record.desired_macs = std::move(mark.desired_macs);
    record.interfaces = std::move(mark.interfaces);
    record.ports = std::move(mark.ports);
    record.sandbox_id = std::move(mark.sandbox_id);
    record.restart_count = mark.restart_count.value_or(record.restart_count);
    return true;
}

void remove_start_traces(const std::string& live, bool keeps_record) {
    const auto take_away = [&](const char* name) {
        const std::string path = live + name;
        if (::unlink(path.c_str()) != 0 && errno != ENOENT) fail_errno("remove {}", path);
    };
    // What is left after each of them still says what was: a socket without a status is a monitor that was killed, and without the mark
    // nothing of this was a run.
    constexpr std::array<std::pair<const char*, const char*>, 3> in_order{
        {{"traces:socket", "/monitor.sock"}, {"traces:status", "/exit.json"}, {"traces:mark", mark_name}}};
    for (const auto& [step, file] : in_order) {
        begin_step(step);
        take_away(file);
    }
    // Of a gruad that marked a start with the whole record.
    if (!keeps_record) take_away("/record.json");
}

}  // namespace grua::engine
