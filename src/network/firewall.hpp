// The two tables of a daemon in the kernel, and what their sets should hold.
//
// What is kept true: the kernel has what change() was told, or the next look finds the difference. Whoever flushes or
// changes the tables is answered by writing them again as a whole, in one transaction, and by a warning in the log.
// Thread-safe. The host's network namespace is that of the thread that calls.
#pragma once

#include "base/mutex.hpp"
#include "linux/nftables.hpp"
#include "network/rules.hpp"

#include <linux/netlink.h>
#include <map>
#include <set>
#include <string>
#include <string_view>

namespace grua::network {

class Firewall {
public:
    /// Writes nothing: the rules that a gruad before left work on until start().
    explicit Firewall(std::string table);

    /// The tables in the place of what they were, at once.
    void start(const Elements& elements);

    /// Ports can be guarded from now on; `loop` is the link by which what is admitted comes in again.
    void guard(const std::string& loop);

    /// All in one transaction. Before start() it is noted only.
    void change(const Elements& removed, const Elements& added, std::string_view doing);

    /// Rules that no element needs any more go.
    void drop_unneeded();

    /// Readable when somebody took something away that may be ours.
    int watched() const noexcept { return watch_.fd(); }
    /// To be called then. True where the tables were not whole and were written again.
    bool repair();

    void remove_tables();

private:
    void write() GRUA_REQUIRES(mutex_);
    /// False where it was so already.
    bool note(const linux::NftElement& element, bool is_there) GRUA_REQUIRES(mutex_);
    std::set<OptionalRules> needed() const GRUA_REQUIRES(mutex_);
    bool is_whole() const GRUA_REQUIRES(mutex_);

    std::string table_;
    mutable Mutex mutex_;
    std::string loop_ GRUA_GUARDED_BY(mutex_);
    std::size_t rules_ GRUA_GUARDED_BY(mutex_) = 0;             ///< Of the table of family inet, as it was written.
    std::set<OptionalRules> optional_ GRUA_GUARDED_BY(mutex_);  ///< That were written.
    linux::NftablesWatch watch_;
    linux::NetlinkSocket socket_ GRUA_GUARDED_BY(mutex_){NETLINK_NETFILTER};
    std::set<linux::NftElement> elements_ GRUA_GUARDED_BY(mutex_);
    std::map<OptionalRules, int> needing_ GRUA_GUARDED_BY(mutex_);  ///< How many of them need what.
    bool started_ GRUA_GUARDED_BY(mutex_) = false;
    bool is_written_ GRUA_GUARDED_BY(mutex_) = false;  ///< The kernel has what elements_ says.
};

}  // namespace grua::network
