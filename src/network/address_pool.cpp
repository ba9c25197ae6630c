#include "network/address_pool.hpp"

#include "base/error.hpp"

#include <algorithm>
#include <bit>

namespace grua::network {

using linux::Ipv4;
using linux::Ipv4Prefix;

namespace {

constexpr std::uint32_t bits = 64;

struct DefaultPool {
    Ipv4Prefix range;
    unsigned size;  ///< Prefix length of the subnets that it is cut into.
};

// dockerd's --default-address-pool where none is given: 172.17 to 172.31, then 192.168 in pieces.
constexpr DefaultPool default_pools[] = {
    {{{0xac110000}, 16}, 16}, {{{0xac120000}, 16}, 16}, {{{0xac130000}, 16}, 16}, {{{0xac140000}, 14}, 16},
    {{{0xac180000}, 14}, 16}, {{{0xac1c0000}, 14}, 16}, {{{0xc0a80000}, 16}, 20},
};

}  // namespace

AddressPool::AddressPool(Ipv4Prefix subnet) : subnet_(subnet.subnet()) {
    if (subnet.length < shortest_prefix || subnet.length > 30) {
        fail(ErrorKind::invalid_argument, "subnet {}: its prefix must be from {} to 30 bits long", subnet_.text(), shortest_prefix);
    }
    size_ = std::uint32_t{1} << (32 - subnet_.length);
    free_ = size_ - 2;
    taken_.resize((size_ + bits - 1) / bits);
    // Bits behind the end, the network's own address and the broadcast address are as taken as any.
    if (size_ < bits) taken_[0] = ~std::uint64_t{0} << size_;
    taken_.front() |= 1;
    taken_.back() |= std::uint64_t{1} << ((size_ - 1) % bits);
}

bool AddressPool::usable(Ipv4 address) const noexcept {
    return subnet_.contains(address) && address != subnet_.address && address != subnet_.broadcast();
}

bool AddressPool::take(std::uint32_t offset) {
    std::uint64_t& word = taken_[offset / bits];
    const std::uint64_t bit = std::uint64_t{1} << (offset % bits);
    if ((word & bit) != 0) return false;
    word |= bit;
    --free_;
    return true;
}

AddressPool::Reserved AddressPool::reserve(Ipv4 address) {
    if (!usable(address)) return Reserved::outside;
    return take(address.value - subnet_.address.value) ? Reserved::yes : Reserved::taken;
}

std::optional<Ipv4> AddressPool::allocate() {
    if (free_ == 0) return std::nullopt;
    // Word by word from next_; the word that it is in comes twice, first without the bits before it.
    std::uint64_t ignored = (std::uint64_t{1} << (next_ % bits)) - 1;
    for (std::size_t i = 0, word = next_ / bits; i <= taken_.size(); ++i, word = (word + 1) % taken_.size(), ignored = 0) {
        const std::uint64_t full = taken_[word] | ignored;
        if (full == ~std::uint64_t{0}) continue;
        const auto offset = static_cast<std::uint32_t>(word * bits) + static_cast<std::uint32_t>(std::countr_one(full));
        take(offset);
        next_ = (offset + 1) % size_;
        return Ipv4{subnet_.address.value + offset};
    }
    return std::nullopt;
}

void AddressPool::release(Ipv4 address) {
    if (!usable(address)) return;
    const std::uint32_t offset = address.value - subnet_.address.value;
    const std::uint64_t bit = std::uint64_t{1} << (offset % bits);
    if ((taken_[offset / bits] & bit) == 0) return;
    taken_[offset / bits] &= ~bit;
    ++free_;
}

Ipv4Prefix choose_subnet(std::span<const Ipv4Prefix> used) {
    for (const DefaultPool& pool : default_pools) {
        const std::uint32_t step = std::uint32_t{1} << (32 - pool.size);
        const std::uint32_t count = std::uint32_t{1} << (pool.size - pool.range.length);
        for (std::uint32_t i = 0; i < count; ++i) {
            const Ipv4Prefix candidate{{pool.range.address.value + i * step}, pool.size};
            if (std::ranges::none_of(used, [&](const Ipv4Prefix& one) { return one.overlaps(candidate); })) return candidate;
        }
    }
    fail(ErrorKind::unavailable, "all predefined address pools overlap with this host's addresses and routes: give one with --bip");
}

}  // namespace grua::network
