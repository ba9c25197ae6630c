#include "linux/detail/seccomp_layout.hpp"

#include "base/error.hpp"

#include <linux/bpf_common.h>
#include <linux/seccomp.h>
#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <map>
#include <set>
#include <span>
#include <tuple>

namespace grua::linux::detail {
namespace {

constexpr std::uint32_t number_offset = offsetof(seccomp_data, nr), arch_offset = offsetof(seccomp_data, arch);

/// One instruction with its successors by name: `yes` is the next one of a load or AND.
struct Node {
    std::uint16_t code;
    std::uint32_t k;
    std::size_t yes, no;
    auto operator<=>(const Node&) const = default;
};

/// Equal nodes are one, so that equal ends of different system calls are the same place of the program.
class Graph {
public:
    std::size_t add(Node node) {
        const auto [at, is_new] = known_.try_emplace(node, nodes_.size());
        if (is_new) nodes_.push_back(node);
        return at->second;
    }
    std::size_t returns(std::uint32_t k) { return add({BPF_RET | BPF_K, k, 0, 0}); }
    std::size_t load(std::uint32_t offset, std::size_t next) { return add({BPF_LD | BPF_W | BPF_ABS, offset, next, 0}); }
    std::size_t jump(int condition, std::uint32_t k, std::size_t yes, std::size_t no) {
        return yes == no ? yes : add({static_cast<std::uint16_t>(BPF_JMP | condition | BPF_K), k, yes, no});
    }
    const Node& operator[](std::size_t node) const { return nodes_[node]; }
    std::size_t size() const { return nodes_.size(); }

private:
    std::vector<Node> nodes_;
    std::map<Node, std::size_t> known_;
};

/// Runs the program with the architecture and the number known.
class Residue {
public:
    Residue(const std::vector<sock_filter>& program, Graph& graph) : program_(program), graph_(graph) {}

    std::size_t of(std::uint32_t arch, std::uint32_t number) {
        arch_ = arch;
        number_ = number;
        return run(0, std::nullopt, 0);
    }

private:
    std::size_t run(std::size_t at, std::optional<std::uint32_t> accumulator, int depth) {
        constexpr int deepest = 4096;
        if (depth > deepest) fail(ErrorKind::system, "the filter is too deep");
        for (; at < program_.size(); ++at) {
            const auto& i = program_[at];
            switch (i.code) {
                case BPF_RET | BPF_K:
                    return graph_.returns(i.k);
                case BPF_JMP | BPF_JA:
                    at += i.k;
                    continue;
                case BPF_LD | BPF_W | BPF_ABS:
                    if (i.k == number_offset) {
                        accumulator = number_;
                    } else if (i.k == arch_offset) {
                        accumulator = arch_;
                    } else {
                        return graph_.load(i.k, run(at + 1, std::nullopt, depth + 1));
                    }
                    continue;
                case BPF_ALU | BPF_AND | BPF_K:
                    // Masking the number would make runs of equal numbers that the constants do not tell.
                    if (accumulator) unexpected(i);
                    return graph_.add({i.code, i.k, run(at + 1, std::nullopt, depth + 1), 0});
                case BPF_JMP | BPF_JEQ | BPF_K:
                case BPF_JMP | BPF_JGT | BPF_K:
                case BPF_JMP | BPF_JGE | BPF_K:
                    break;
                default:
                    unexpected(i);
            }
            if (!accumulator) return branch(at, depth);
            const int condition = BPF_OP(i.code);
            const bool holds = condition == BPF_JEQ ? *accumulator == i.k : condition == BPF_JGT ? *accumulator > i.k : *accumulator >= i.k;
            at += holds ? i.jt : i.jf;
        }
        fail(ErrorKind::system, "the filter has no end");
    }

    /// On an argument: both ways. Each place is worked out once for each number.
    std::size_t branch(std::size_t at, int depth) {
        const auto key = std::tuple{arch_, number_, at};
        if (const auto found = done_.find(key); found != done_.end()) return found->second;
        const auto& i = program_[at];
        const auto yes = run(at + 1 + i.jt, std::nullopt, depth + 1), no = run(at + 1 + i.jf, std::nullopt, depth + 1);
        return done_[key] = graph_.jump(BPF_OP(i.code), i.k, yes, no);
    }

    [[noreturn]] static void unexpected(const sock_filter& i) {
        fail(ErrorKind::system, "the filter has an unexpected instruction, code {:#x}", i.code);
    }

    const std::vector<sock_filter>& program_;
    Graph& graph_;
    std::uint32_t arch_ = 0, number_ = 0;
    std::map<std::tuple<std::uint32_t, std::uint32_t, std::size_t>, std::size_t> done_;
};

/// Numbers from `first` up to the next range's go to `node`, but for a few single ones.
struct Range {
    std::uint32_t first;
    std::size_t node;
    std::vector<std::pair<std::uint32_t, std::size_t>> exceptions;
};

/// "A, one number B, A" is one comparison instead of two.
std::vector<Range> with_exceptions(const std::vector<Range>& ranges) {
    constexpr std::size_t most = 2;  // Each makes the way through its leaf one step longer.
    std::vector<Range> result;
    for (std::size_t i = 0; i < ranges.size(); ++i) {
        Range range = ranges[i];
        while (range.exceptions.size() < most && i + 2 < ranges.size() && ranges[i + 2].node == range.node &&
               ranges[i + 2].first == ranges[i + 1].first + 1) {
            range.exceptions.emplace_back(ranges[i + 1].first, ranges[i + 1].node);
            i += 2;
        }
        result.push_back(std::move(range));
    }
    return result;
}

std::size_t search_tree(std::span<const Range> ranges, Graph& graph) {
    if (ranges.size() == 1) {
        std::size_t node = ranges[0].node;
        for (const auto& [number, other] : ranges[0].exceptions) node = graph.jump(BPF_JEQ, number, other, node);
        return node;
    }
    const auto middle = ranges.size() / 2;
    const auto upper = search_tree(ranges.subspan(middle), graph), lower = search_tree(ranges.first(middle), graph);
    return graph.jump(BPF_JGE, ranges[middle].first, upper, lower);
}

std::size_t architecture_tree(const FilterArchitecture& architecture, const std::set<std::uint32_t>& edges, Residue& residue,
                              Graph& graph) {
    auto starts = edges;
    for (const auto& unknown : architecture.unknown) {
        starts.insert(unknown.newest + 1);
        if (unknown.last != std::numeric_limits<std::uint32_t>::max()) starts.insert(unknown.last + 1);
    }
    const auto no_such_call = graph.returns(SECCOMP_RET_ERRNO | ENOSYS);
    std::vector<Range> ranges;
    for (const auto start : starts) {
        const bool unknown = std::ranges::any_of(architecture.unknown, [&](const auto& u) { return start > u.newest && start <= u.last; });
        const auto node = unknown ? no_such_call : residue.of(architecture.audit, start);
        if (ranges.empty() || ranges.back().node != node) ranges.push_back({start, node, {}});
    }
    if (ranges.size() == 1) return ranges.front().node;
    return graph.load(number_offset, search_tree(with_exceptions(ranges), graph));
}

/// Writes the graph from its ends to its root: BPF only jumps forward, and at most 255 by a condition.
class Writer {
public:
    explicit Writer(const Graph& graph) : graph_(graph), places_(graph.size(), nowhere) {}

    std::vector<sock_filter> write(std::size_t root) {
        place(root);
        bring_near(root, 0);
        if (reversed_.size() > BPF_MAXINSNS)
            fail(ErrorKind::invalid_argument, "the filter is too large: {} instructions", reversed_.size());
        return {reversed_.rbegin(), reversed_.rend()};
    }

private:
    static constexpr std::size_t nowhere = std::numeric_limits<std::size_t>::max();

    /// How far the next instruction to be written would jump.
    std::size_t distance(std::size_t node) const { return reversed_.size() - places_[node] - 1; }

    void push(std::uint16_t code, std::uint32_t k, std::size_t yes = 0, std::size_t no = 0) {
        reversed_.push_back({code, static_cast<std::uint8_t>(yes), static_cast<std::uint8_t>(no), k});
    }

    /// Where it is too far away: a copy of an end, or a jump.
    void bring_near(std::size_t node, std::size_t furthest) {
        if (distance(node) <= furthest) return;
        const auto place = reversed_.size();
        if (BPF_CLASS(graph_[node].code) == BPF_RET) {
            push(graph_[node].code, graph_[node].k);
        } else {
            push(BPF_JMP | BPF_JA, static_cast<std::uint32_t>(distance(node)));
        }
        places_[node] = place;
    }

    void place(std::size_t id) {
        if (places_[id] != nowhere) return;
        const Node& node = graph_[id];
        switch (BPF_CLASS(node.code)) {
            case BPF_RET:
                push(node.code, node.k);
                break;
            case BPF_JMP: {
                constexpr std::size_t furthest = 255;
                place(node.yes);
                place(node.no);
                // Bringing one near moves the other one away by one.
                bring_near(node.yes, furthest - 1);
                bring_near(node.no, furthest);
                push(node.code, node.k, distance(node.yes), distance(node.no));
                break;
            }
            default:
                place(node.yes);
                bring_near(node.yes, 0);
                push(node.code, node.k);
        }
        places_[id] = reversed_.size() - 1;
    }

    const Graph& graph_;
    std::vector<std::size_t> places_;
    std::vector<sock_filter> reversed_;
};

}  // namespace

std::vector<sock_filter> lay_out(const std::vector<sock_filter>& program, const std::vector<FilterArchitecture>& architectures) {
    // Between two neighbouring edges no comparison can come out differently.
    std::set<std::uint32_t> edges{0};
    for (const auto& i : program) {
        if (BPF_CLASS(i.code) != BPF_JMP || BPF_OP(i.code) == BPF_JA) continue;
        edges.insert(i.k);
        if (i.k != std::numeric_limits<std::uint32_t>::max()) edges.insert(i.k + 1);
    }
    Graph graph;
    Residue residue{program, graph};
    // An architecture that the filter does not name: 0 is none (EM_NONE).
    std::size_t root = architecture_tree({}, edges, residue, graph);
    for (auto architecture = architectures.rbegin(); architecture != architectures.rend(); ++architecture)
        root = graph.jump(BPF_JEQ, architecture->audit, architecture_tree(*architecture, edges, residue, graph), root);
    root = graph.load(arch_offset, root);
    return Writer{graph}.write(root);
}

}  // namespace grua::linux::detail
