// What a container's environment says of those that it has links to.
#include "base/text.hpp"
#include "engine/networking/networking.hpp"

#include <algorithm>

namespace grua::engine {
namespace {

struct Port {
    std::uint64_t number = 0;
    std::string protocol;

    std::string url(const std::string& address) const { return fmt::format("{}://{}:{}", protocol, address, number); }
};

std::string upper(std::string_view text) {
    std::string out{text};
    for (char& c : out) {
        if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
        if (c == '-') c = '_';
    }
    return out;
}

std::vector<Port> exposed_ports(const ContainerRecord& record) {
    std::vector<Port> out;
    for (const auto& [text, unused] : record.config.exposed_ports) {
        const std::size_t slash = text.find('/');
        if (const auto number = parse_uint(text.substr(0, slash)))
            out.push_back({.number = *number, .protocol = slash == std::string::npos ? "tcp" : text.substr(slash + 1)});
    }
    std::ranges::sort(out, [](const Port& left, const Port& right) {
        return left.number != right.number ? left.number < right.number : left.protocol == "tcp" && right.protocol != "tcp";
    });
    return out;
}

/// The last of those that follow each other without a gap.
std::size_t end_of_range(const std::vector<Port>& ports, std::size_t first) {
    std::size_t last = first;
    while (last + 1 < ports.size() && ports[last + 1].number <= ports[last].number + 1) ++last;
    return last;
}

void add_ranges(StringList& out, const std::string& name, const std::vector<Port>& ports, const std::string& address) {
    for (std::size_t first = 0; first < ports.size();) {
        const std::size_t last = end_of_range(ports, first);
        if (last > first + 1) {
            const auto prefix = [&](const Port& port) { return fmt::format("{}_PORT_{}_{}", name, port.number, upper(port.protocol)); };
            const std::string begin = prefix(ports[first]);
            out.push_back(fmt::format("{}_START={}", begin, ports[first].url(address)));
            out.push_back(fmt::format("{}_PORT_START={}", begin, ports[first].number));
            out.push_back(fmt::format("{}_END={}", begin, ports[last].url(address)));
            out.push_back(fmt::format("{}_PORT_END={}", begin, ports[last].number));
        }
        first = last + 1;
    }
}

}  // namespace

StringList link_environment(const std::string& of, const std::string& alias, const ContainerRecord& other, const std::string& address) {
    const std::string name = upper(alias);
    const std::vector<Port> ports = exposed_ports(other);
    StringList out;
    if (!ports.empty()) out.push_back(fmt::format("{}_PORT={}", name, ports.front().url(address)));
    add_ranges(out, name, ports, address);
    for (const Port& port : ports) {
        const std::string prefix = fmt::format("{}_PORT_{}_{}", name, port.number, upper(port.protocol));
        out.push_back(fmt::format("{}={}", prefix, port.url(address)));
        out.push_back(fmt::format("{}_ADDR={}", prefix, address));
        out.push_back(fmt::format("{}_PORT={}", prefix, port.number));
        out.push_back(fmt::format("{}_PROTO={}", prefix, port.protocol));
    }
    out.push_back(fmt::format("{}_NAME=/{}/{}", name, of, alias));
    for (const std::string& each : other.config.env) {
        const std::size_t equals = each.find('=');
        const std::string_view variable = std::string_view(each).substr(0, equals);
        // Those of every image say nothing about the other container.
        if (equals == std::string::npos || variable == "HOME" || variable == "PATH") continue;
        out.push_back(fmt::format("{}_ENV_{}", name, each));
    }
    return out;
}

}  // namespace grua::engine
