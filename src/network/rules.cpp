#include "network/rules.hpp"

#include "base/text.hpp"

#include <fmt/format.h>
#include <vector>

namespace grua::network {

std::string table_name(const std::string& bridge) { return "grua_" + bridge; }

Ruleset ruleset(const RulesOptions& options) {
    // Packets between ports come through "forward" only where br_netfilter is loaded; see also the ports' isolation.
    const std::vector<std::string> forward{
        fmt::format("iifname \"{0}\" oifname \"{0}\" {1}", options.bridge, options.icc ? "accept" : "drop"),
        fmt::format("oifname \"{}\" ct state established,related accept", options.bridge),
        fmt::format("oifname \"{}\" drop", options.bridge),
        fmt::format("iifname \"{}\" accept", options.bridge),
    };
    std::vector<std::string> postrouting;
    if (options.masquerade) {
        postrouting.push_back(fmt::format("ip saddr {} oifname != \"{}\" masquerade", options.subnet.text(), options.bridge));
    }
    // "table" first, because deleting one that is not there is an error.
    return {.text = fmt::format("table inet {0}\n"
                                "delete table inet {0}\n"
                                "table inet {0} {{\n"
                                "    chain postrouting {{\n"
                                "        type nat hook postrouting priority srcnat; policy accept;\n"
                                "        {1}\n"
                                "    }}\n"
                                "    chain forward {{\n"
                                "        type filter hook forward priority filter; policy accept;\n"
                                "        {2}\n"
                                "    }}\n"
                                "}}\n",
                                table_name(options.bridge), join(postrouting, "\n        "), join(forward, "\n        ")),
            .rules = postrouting.size() + forward.size()};
}

}  // namespace grua::network
