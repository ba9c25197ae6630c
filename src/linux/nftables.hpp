// The kernel's packet filter: whole rulesets as one transaction, and a look at whether somebody took ours away.
//
// A ruleset is text for libnftables, applied rarely. Of our own tables nothing is ever read back to decide what to do.
// Tables are of family inet, in the network namespace of the calling thread.
#pragma once

#include "linux/netlink_socket.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::linux {

/// All of `ruleset` takes effect at once, or nothing does and Error is thrown with what the kernel or the parser said.
void apply_ruleset(const std::string& ruleset, std::string_view doing);

/// How many rules a table has; 0 where there is none.
std::size_t rule_count(std::string_view table);

/// A chain as nft(8) prints it with handles; nothing where it is not there. `chain` is "ip filter FORWARD".
std::optional<std::string> list_chain(const std::string& chain);

/// Tells when somebody deletes from a table, as `nft flush ruleset` of a restarted firewall service does, and when tables of
/// others change.
class NftablesWatch {
public:
    NftablesWatch(std::string table, std::vector<std::string> others);

    int fd() const noexcept { return socket_.fd(); }  ///< Readable when there may be something.

    struct Changes {
        bool deleted = false;  ///< Something of the table, by anybody; or events were lost.
        bool others = false;   ///< A chain or rule of the others; or events were lost.
    };
    /// Reads what has come.
    Changes read();

private:
    std::string table_;
    std::vector<std::string> others_;
    NetlinkSocket socket_;
};

}  // namespace grua::linux
