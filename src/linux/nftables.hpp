// The kernel's packet filter: whole rulesets as one transaction, and a look at whether somebody took ours away.
//
// A ruleset is text for libnftables, applied rarely. Nothing is ever read back from the kernel to decide what to do.
// Tables are of family inet, in the network namespace of the calling thread.
#pragma once

#include "base/fd.hpp"

#include <cstddef>
#include <string>
#include <string_view>

namespace grua::linux {

/// All of `ruleset` takes effect at once, or nothing does and Error is thrown with what the kernel or the parser said.
void apply_ruleset(const std::string& ruleset, std::string_view doing);

/// How many rules a table has; 0 where there is none.
std::size_t rule_count(std::string_view table);

/// Tells when somebody deletes from a table, as `nft flush ruleset` of a restarted firewall service does.
class NftablesWatch {
public:
    explicit NftablesWatch(std::string table);

    int fd() const noexcept { return socket_.get(); }  ///< Readable when there may be something.

    /// Reads what has come. True where something of the table was deleted, by anybody, or events were lost.
    bool deleted();

private:
    std::string table_;
    Fd socket_;
};

}  // namespace grua::linux
