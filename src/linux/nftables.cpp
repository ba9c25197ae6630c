#include "linux/nftables.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "base/thread.hpp"
#include "linux/netlink_message.hpp"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <nftables/libnftables.h>
#include <sched.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>

namespace grua::linux {

namespace {

bool is_ours(std::uint16_t type, unsigned message) { return type == ((NFNL_SUBSYS_NFTABLES << 8U) | message); }

using Context = std::unique_ptr<nft_ctx, decltype(&nft_ctx_free)>;

/// A context holds 0.6 MB; rulesets are rare.
Context make_context(std::string_view doing) {
    Context context(nft_ctx_new(NFT_CTX_DEFAULT), &nft_ctx_free);
    if (!context) fail(ErrorKind::system, "{}: nftables: no context", doing);
    nft_ctx_buffer_error(context.get());
    nft_ctx_buffer_output(context.get());
    return context;
}

/// libnftables waits by select(), which ends a program whose descriptor is 1,024 or more, as a gruad with some hundred containers has. So
/// it works in a thread that has a table of descriptors of its own, and in it only the first three.
template <typename Work>
void with_few_descriptors(const Work& work) {
    in_thread([&] {
        if (::unshare(CLONE_FILES) != 0) fail_errno("nftables: unshare the descriptors");
        if (::close_range(3, ~0U, 0) != 0) fail_errno("nftables: close the descriptors");
        work();
    });
}

}  // namespace

void apply_ruleset(const std::string& ruleset, std::string_view doing) {
    with_few_descriptors([&] {
        const Context context = make_context(doing);
        if (nft_run_cmd_from_buffer(context.get(), ruleset.c_str()) != 0)
            fail(ErrorKind::system, "{}: nftables: {}", doing, trim(nft_ctx_get_error_buffer(context.get())));
    });
}

std::optional<std::string> list_chain(const std::string& chain) {
    std::optional<std::string> out;
    with_few_descriptors([&] {
        const Context context = make_context("list chain " + chain);
        nft_ctx_output_set_flags(context.get(), NFT_CTX_OUTPUT_HANDLE);
        if (nft_run_cmd_from_buffer(context.get(), ("list chain " + chain).c_str()) == 0) out = nft_ctx_get_output_buffer(context.get());
    });
    return out;
}

std::size_t rule_count(std::string_view table) {
    nfgenmsg header{};
    header.nfgen_family = NFPROTO_INET;
    const auto request = built((NFNL_SUBSYS_NFTABLES << 8U) | NFT_MSG_GETRULE, NLM_F_DUMP, header,
                               [&](MessageBuilder& message) { message.text(NFTA_RULE_TABLE, table); });
    NetlinkSocket socket(NETLINK_NETFILTER);
    try {
        return retried([&] {
            std::size_t count = 0;
            socket.ask(request, fmt::format("nftables: list rules of {}", table), [&](const Message& message) {
                if (is_ours(message.type, NFT_MSG_NEWRULE)) ++count;
            });
            return count;
        });
    } catch (const Error& error) {
        if (error.os_error() != ENOENT) throw;
        return 0;
    }
}

NftablesWatch::NftablesWatch(std::string table, std::vector<std::string> others)
    : table_(std::move(table)), others_(std::move(others)), socket_(NETLINK_NETFILTER) {
    socket_.set_option(NETLINK_ADD_MEMBERSHIP, NFNLGRP_NFTABLES);
}

NftablesWatch::Changes NftablesWatch::read() {
    // Table, chain and rule messages carry the table's name in the same attribute.
    static_assert(int{NFTA_TABLE_NAME} == int{NFTA_RULE_TABLE} && int{NFTA_CHAIN_TABLE} == int{NFTA_RULE_TABLE});
    constexpr std::array deletions{NFT_MSG_DELTABLE, NFT_MSG_DELCHAIN, NFT_MSG_DELRULE};
    constexpr std::array additions{NFT_MSG_NEWCHAIN, NFT_MSG_NEWRULE};
    Changes out;
    const bool lost = socket_.read_waiting("nftables: watch tables", [&](const Message& message) {
        const auto is_one = [&](unsigned type) { return is_ours(message.type, type); };
        const bool deletion = std::ranges::any_of(deletions, is_one);
        if (!deletion && std::ranges::none_of(additions, is_one)) return;
        for (const Attribute& attribute : message.attributes_after<nfgenmsg>()) {
            if (attribute.type != NFTA_RULE_TABLE) continue;
            out.deleted = out.deleted || (deletion && attribute.text() == table_);
            out.others = out.others || std::ranges::find(others_, attribute.text()) != others_.end();
        }
    });
    return lost ? Changes{.deleted = true, .others = true} : out;
}

}  // namespace grua::linux
