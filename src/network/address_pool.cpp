#include "network/address_pool.hpp"

#include "base/error.hpp"
#include "base/text.hpp"

#include <algorithm>

namespace grua::network {

using linux::Ip;
using linux::IpPrefix;

namespace {

constexpr Ip::Value ones(unsigned bits) { return bits >= 128 ? ~Ip::Value{0} : (Ip::Value{1} << bits) - 1; }

/// Addresses from the first to the last, both included.
struct Range {
    Ip::Value first = 0, last = 0;
};

/// Of the family, in order, with none that touches another.
std::vector<Range> merged(const std::vector<IpPrefix>& used, Ip::Family family) {
    std::vector<Range> all;
    for (const IpPrefix& each : used) {
        if (each.address.family == family) all.push_back({each.subnet().address.value, each.last().value});
    }
    std::ranges::sort(all, {}, &Range::first);
    std::vector<Range> out;
    for (const Range& each : all) {
        if (!out.empty() && each.first <= out.back().last) {
            out.back().last = std::max(out.back().last, each.last);
        } else {
            out.push_back(each);
        }
    }
    return out;
}

/// The first subnet of the pool that meets no range.
std::optional<IpPrefix> first_free(const DefaultPool& pool, const std::vector<Range>& used) {
    const Ip::Family family = pool.base.address.family;
    const Ip::Value step = ones(pool.base.address.bits() - pool.size);  // Less one.
    Ip::Value candidate = pool.base.subnet().address.value;
    const Ip::Value last = pool.base.last().value;
    for (auto range = std::ranges::lower_bound(used, candidate, {}, &Range::last);; ++range) {
        if (range == used.end() || range->first > (candidate | step)) return IpPrefix{{family, candidate}, pool.size};
        if ((range->last | step) >= last) return std::nullopt;
        candidate = (range->last | step) + 1;
    }
}

DefaultPool pool(const char* base, unsigned size) { return {*IpPrefix::parse(base), size}; }

}  // namespace

AddressPool::AddressPool(IpPrefix subnet, std::optional<IpPrefix> range) : subnet_(subnet.subnet()) {
    if (subnet_.host_bits() < 2) {
        fail(ErrorKind::invalid_argument, "subnet {}: its prefix must be at most {} bits long", subnet_.text(), subnet_.address.bits() - 2);
    }
    if (range && (range->address.family != subnet_.address.family || range->length < subnet_.length || !subnet_.contains(range->address))) {
        fail(ErrorKind::invalid_argument, "invalid ip-range {}: parent subnet is {}", range->text(), subnet_.text());
    }
    const IpPrefix given = range.value_or(subnet_).subnet();
    first_ = given.address.value;
    last_ = given.last().value;
    if (!usable({subnet_.address.family, first_})) ++first_;
    if (!usable({subnet_.address.family, last_})) --last_;
    next_ = first_;
}

bool AddressPool::usable(Ip address) const noexcept {
    return subnet_.contains(address) && address != subnet_.address && (address.is_v6() || address != subnet_.last());
}

AddressPool::Reserved AddressPool::reserve(Ip address) {
    if (!usable(address)) return Reserved::outside;
    return taken_.insert(address.value).second ? Reserved::yes : Reserved::taken;
}

std::optional<Ip> AddressPool::allocate() {
    // From next_ to the end, then from the start: the first that is not in the run of taken ones.
    const auto in = [&](Ip::Value from, Ip::Value to) -> std::optional<Ip::Value> {
        for (auto taken = taken_.lower_bound(from); taken != taken_.end() && *taken == from; ++taken, ++from) {
            if (from == to) return std::nullopt;
        }
        return from;
    };
    std::optional<Ip::Value> found = in(next_, last_);
    if (!found && next_ > first_) found = in(first_, next_ - 1);
    if (!found) return std::nullopt;
    taken_.insert(*found);
    next_ = *found == last_ ? first_ : *found + 1;
    return Ip{subnet_.address.family, *found};
}

void AddressPool::release(Ip address) {
    if (usable(address)) taken_.erase(address.value);
}

const std::vector<DefaultPool>& default_bridge_pools() {
    static const std::vector<DefaultPool> pools{pool("172.17.0.0/16", 16), pool("172.18.0.0/15", 16), pool("172.20.0.0/14", 16),
                                                pool("172.24.0.0/13", 16), pool("192.168.0.0/16", 20)};
    return pools;
}

const std::vector<DefaultPool>& network_pools() {
    static const std::vector<DefaultPool> pools{pool("172.18.0.0/15", 24), pool("172.20.0.0/14", 24), pool("172.24.0.0/13", 24),
                                                pool("192.168.0.0/16", 24)};
    return pools;
}

DefaultPool parse_default_pool(std::string_view text) {
    std::optional<IpPrefix> base;
    std::optional<std::uint64_t> size;
    for (const std::string& each : split(std::string(text), ',')) {
        if (each.starts_with("base=")) base = IpPrefix::parse(std::string_view(each).substr(5));
        if (each.starts_with("size=")) size = parse_uint(std::string_view(each).substr(5));
    }
    if (!base || !size || *size < base->length || *size + 2 > base->address.bits()) {
        fail(ErrorKind::invalid_argument, "invalid default address pool \"{}\": give base=SUBNET,size=PREFIX LENGTH", text);
    }
    return {base->subnet(), static_cast<unsigned>(*size)};
}

IpPrefix choose_subnet(std::span<const DefaultPool> pools, Ip::Family family, std::vector<IpPrefix> used) {
    const auto ranges = merged(used, family);
    for (const DefaultPool& each : pools) {
        if (each.base.address.family != family) continue;
        if (const auto found = first_free(each, ranges)) return *found;
    }
    fail(ErrorKind::unavailable, "all predefined address pools have been fully subnetted");
}

IpPrefix choose_unique_local(std::string_view id, std::vector<IpPrefix> used) {
    // 40 bits of the ID, which is random.
    Ip base{.family = Ip::Family::v6, .value = 0xfd};
    for (const char c : id.substr(0, 10)) base.value = base.value << 4U | static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10);
    base.value <<= 80U;
    const std::vector<DefaultPool> one{{{base, 48}, 64}};
    return choose_subnet(one, Ip::Family::v6, std::move(used));
}

}  // namespace grua::network
