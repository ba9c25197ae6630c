// The forward chains of the host's own firewall. nftables asks the chains of all tables, and one drop is enough: where ufw, Docker
// or an administrator has the iptables policy DROP, or firewalld rejects what it does not know, no container would reach anything.
//
// So packets of containers are marked by our table, before, and those chains get one rule that accepts the mark: the last of
// iptables' chains, behind whatever the administrator says, in place of the policy; the first of firewalld's, which ends with a
// reject. What our own table drops stays dropped.
#pragma once

#include <string_view>

namespace grua::network {

constexpr std::string_view admission_mark = "0x20000000";

/// Puts the rules where they are missing. Warns, once for each, where the chain's owner does not allow it.
void admit_containers();

}  // namespace grua::network
