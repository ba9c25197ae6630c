#include "network/admission.hpp"

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "linux/nftables.hpp"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

namespace grua::network {
namespace {

struct Chain {
    std::string name;  // as nft(8) has it
    bool is_first;     // our rule goes before all others
};

/// The rules of a chain as it is printed with handles, each on a line.
std::vector<std::string> rules_of(const std::string& text) {
    std::vector<std::string> out;
    for (const std::string& line : split(text, '\n')) {
        const std::string_view rule = trim(line);
        const bool is_rule = rule.contains(" # handle ") && !rule.starts_with("table ") && !rule.starts_with("chain ");
        if (is_rule) out.emplace_back(rule);
    }
    return out;
}

void admit(const Chain& chain) {
    const auto text = linux::list_chain(chain.name);
    if (!text) return;
    const std::vector<std::string> rules = rules_of(*text);
    const auto is_ours = [](const std::string& rule) { return rule.contains(admission_mark) && rule.contains("accept"); };
    const auto count = std::ranges::count_if(rules, is_ours);
    // An open chain is left alone.
    if (count == 0 && !chain.is_first && !text->contains("policy drop")) return;
    if (count == 1 && is_ours(chain.is_first ? rules.front() : rules.back())) return;
    std::string change;
    for (const std::string& rule : rules) {
        if (is_ours(rule)) change += fmt::format("delete rule {} handle {}\n", chain.name, rule.substr(rule.rfind(' ') + 1));
    }
    change += fmt::format("{} rule {} meta mark & {} == {} counter accept\n", chain.is_first ? "insert" : "add", chain.name, admission_mark,
                          admission_mark);
    linux::apply_ruleset(change, "let containers through chain " + chain.name);
    log::info("chain {}: containers are let through", chain.name);
}

}  // namespace

void admit_containers() {
    static std::set<std::string> warned;
    for (const Chain& chain :
         {Chain{"ip filter FORWARD", false}, Chain{"ip6 filter FORWARD", false}, Chain{"inet firewalld filter_FORWARD", true}}) {
        try {
            admit(chain);
        } catch (const Error& error) {
            if (!warned.insert(chain.name).second) continue;
            log::warn(
                "{}: containers may not be reached, nor reach others; add their bridges to a zone that accepts (firewall-cmd "
                "--zone=trusted "
                "--add-interface=BRIDGE)",
                error.what());
        }
    }
}

}  // namespace grua::network
