// Queueing disciplines: what a link may send in a time, and how several share that.
#include "linux/netlink.hpp"

#include "linux/detail/bpf_devices.hpp"
#include "linux/netlink_message.hpp"

#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <algorithm>
#include <limits>
#include <utility>

namespace grua::linux {

namespace {

constexpr std::uint64_t tick_nanoseconds = 64;  // PSCHED_TICKS2NS, fixed since Linux 2.6.31.
constexpr std::uint64_t nanoseconds = 1'000'000'000;
constexpr std::uint64_t burst_milliseconds = 5;
constexpr std::uint64_t queue_milliseconds = 100;
constexpr std::uint64_t smallest_burst = 16384;  // Bytes; a link's largest packet after segmentation many times over.
constexpr std::uint64_t smallest_queue = 65536;
constexpr std::uint32_t root_handle = 0x00010000;     // 1:
constexpr std::uint32_t ingress_handle = 0xFFFF0000;  // ffff:
// Bytes that one sends before it is the next one's turn. Not less than the largest packet before segmentation: of larger ones each
// turn sends one all the same, and who sent them pays for seconds afterwards.
constexpr std::uint32_t share_quantum = 65550;

std::uint64_t bytes_in(std::uint64_t bits_per_second, std::uint64_t milliseconds) { return bits_per_second / 8 * milliseconds / 1000; }

std::uint64_t burst_of(const Rate& rate) {
    return rate.burst != 0 ? rate.burst : std::max(smallest_burst, bytes_in(rate.bits, burst_milliseconds));
}

std::uint32_t to_u32(std::uint64_t value) {
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(value, std::numeric_limits<std::uint32_t>::max()));
}

/// How long `bytes` take at the rate.
std::uint32_t ticks(std::uint64_t bytes, const Rate& rate) {
    const std::uint64_t per_second = std::max<std::uint64_t>(rate.bits / 8, 1);
    return to_u32(bytes * nanoseconds / per_second / tick_nanoseconds);
}

tc_ratespec spec_of(const Rate& rate) {
    tc_ratespec out{};
    out.linklayer = TC_LINKLAYER_ETHERNET;  // Else the kernel wants a table of rates.
    out.rate = to_u32(rate.bits / 8);
    return out;
}

void put_rate(MessageBuilder& out, std::uint16_t type, const Rate& rate) {
    if (const std::uint64_t bytes = rate.bits / 8; bytes > std::numeric_limits<std::uint32_t>::max()) out.number(type, bytes);
}

tcmsg traffic_header(int link, std::uint32_t parent, std::uint32_t handle) {
    tcmsg header{};
    header.tcm_family = AF_UNSPEC;
    header.tcm_ifindex = link;
    header.tcm_parent = parent;
    header.tcm_handle = handle;
    return header;
}

/// Not the action "mirred": that forgets the packet's connection, which on a bridge with br_netfilter is known by then and not
/// looked for again, so nothing would be translated.
Fd redirection(int to) {
    const auto instruction = [](int code, std::uint8_t target, std::int32_t value) {
        bpf_insn out{};
        out.code = static_cast<std::uint8_t>(code);
        out.dst_reg = target & 0xfU;
        out.imm = value;
        return out;
    };
    return detail::load_program(
        BPF_PROG_TYPE_SCHED_CLS,
        {instruction(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_1, to), instruction(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_2, 0),
         instruction(BPF_JMP | BPF_CALL, BPF_REG_0, BPF_FUNC_redirect), instruction(BPF_JMP | BPF_EXIT, BPF_REG_0, 0)},
        "rate limits");
}

}  // namespace

void NetlinkBatch::set_rate(int link, const Rate& rate) {
    auto message =
        built(RTM_NEWQDISC, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, traffic_header(link, TC_H_ROOT, 0), [&](MessageBuilder& out) {
            out.text(TCA_KIND, "tbf");
            out.nested(TCA_OPTIONS, [&] {
                const std::uint64_t burst = burst_of(rate);
                tc_tbf_qopt options{};
                options.rate = spec_of(rate);
                options.limit = to_u32(burst + std::max(smallest_queue, bytes_in(rate.bits, queue_milliseconds)));
                options.buffer = ticks(burst, rate);
                out.bytes(TCA_TBF_PARMS, &options, sizeof options);
                out.number(TCA_TBF_BURST, to_u32(burst));
                put_rate(out, TCA_TBF_RATE64, rate);
            });
        });
    requests_.push_back({std::move(message), fmt::format("limit the rate of link {}", link)});
}

void NetlinkBatch::remove_queue(int link) {
    auto message = built(RTM_DELQDISC, NLM_F_ACK, traffic_header(link, TC_H_ROOT, 0), [](MessageBuilder&) {});
    requests_.push_back({std::move(message), fmt::format("remove the rate limit of link {}", link)});
}

void NetlinkBatch::redirect_incoming(int link, int to) {
    auto queue = built(RTM_NEWQDISC, NLM_F_ACK | NLM_F_CREATE, traffic_header(link, TC_H_INGRESS, ingress_handle),
                       [&](MessageBuilder& out) { out.text(TCA_KIND, "ingress"); });
    requests_.push_back({std::move(queue), fmt::format("watch what comes in by link {}", link)});

    tcmsg header = traffic_header(link, ingress_handle, 0);
    constexpr std::uint32_t priority = 1;
    header.tcm_info = TC_H_MAKE(priority << 16, __builtin_bswap16(ETH_P_ALL));
    const int program = held_.emplace_back(redirection(to)).get();
    auto filter = built(RTM_NEWTFILTER, NLM_F_ACK | NLM_F_CREATE, header, [&](MessageBuilder& out) {
        out.text(TCA_KIND, "bpf");
        out.nested(TCA_OPTIONS, [&] {
            out.number(TCA_BPF_FD, static_cast<std::uint32_t>(program));
            out.text(TCA_BPF_NAME, "grua_redirect");
            out.number(TCA_BPF_FLAGS, std::uint32_t{TCA_BPF_FLAG_ACT_DIRECT});
        });
    });
    requests_.push_back({std::move(filter), fmt::format("lead what comes in by link {} through link {}", link, to)});
}

void NetlinkBatch::remove_redirect(int link) {
    auto message = built(RTM_DELQDISC, NLM_F_ACK, traffic_header(link, TC_H_INGRESS, ingress_handle), [](MessageBuilder&) {});
    requests_.push_back({std::move(message), fmt::format("let in what comes by link {}", link)});
}

void NetlinkBatch::set_shared_rate(int link, const Rate& rate) {
    auto queue = built(RTM_NEWQDISC, NLM_F_ACK | NLM_F_CREATE, traffic_header(link, TC_H_ROOT, root_handle), [&](MessageBuilder& out) {
        out.text(TCA_KIND, "htb");
        out.nested(TCA_OPTIONS, [&] {
            tc_htb_glob options{};
            options.version = 3;  // TC_HTB_PROTOVER's upper half.
            options.rate2quantum = 10;
            out.bytes(TCA_HTB_INIT, &options, sizeof options);
        });
    });
    requests_.push_back({std::move(queue), fmt::format("share the rate of link {}", link)});
    add_class(link, root_handle, 1, rate, rate);
}

void NetlinkBatch::set_share(int link, std::uint16_t share, const Rate& all) {
    // What each has of its own is next to nothing, so that all borrow, in turn.
    constexpr std::uint64_t smallest_rate = 8000;
    add_class(link, root_handle | 1, share, {.bits = std::max(all.bits / 4096, smallest_rate), .burst = burst_of(all)}, all);
}

void NetlinkBatch::add_class(int link, std::uint32_t parent, std::uint16_t id, const Rate& rate, const Rate& ceiling) {
    auto message = built(RTM_NEWTCLASS, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, traffic_header(link, parent, root_handle | id),
                         [&](MessageBuilder& out) {
                             out.text(TCA_KIND, "htb");
                             out.nested(TCA_OPTIONS, [&] {
                                 tc_htb_opt options{};
                                 options.rate = spec_of(rate);
                                 options.ceil = spec_of(ceiling);
                                 options.buffer = ticks(burst_of(rate), rate);
                                 options.cbuffer = ticks(burst_of(ceiling), ceiling);
                                 options.quantum = share_quantum;
                                 out.bytes(TCA_HTB_PARMS, &options, sizeof options);
                                 put_rate(out, TCA_HTB_RATE64, rate);
                                 put_rate(out, TCA_HTB_CEIL64, ceiling);
                             });
                         });
    requests_.push_back({std::move(message), fmt::format("share {} of the rate of link {}", id, link)});
}

void NetlinkBatch::remove_share(int link, std::uint16_t share) {
    auto message = built(RTM_DELTCLASS, NLM_F_ACK, traffic_header(link, 0, root_handle | share), [](MessageBuilder&) {});
    requests_.push_back({std::move(message), fmt::format("remove share {} of link {}", share, link)});
}

std::uint32_t share_class(std::uint16_t share) noexcept { return root_handle | share; }

}  // namespace grua::linux
