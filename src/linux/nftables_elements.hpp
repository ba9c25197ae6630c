// Elements of sets and maps of our tables, changed in one transaction of the kernel. No text is parsed and no table is
// read for it, so that the thousandth costs what the first did (libnftables reads a set before it adds to it).
#pragma once

#include "linux/ip_address.hpp"
#include "linux/netlink_socket.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace grua::linux {

/// A key or a value: fields one after the other, each filled up to four bytes, as concatenations are; and the same as text.
class NftBytes {
public:
    NftBytes& ip(const Ip& address);
    NftBytes& port(std::uint16_t port);          ///< inet_service
    NftBytes& protocol(std::uint8_t protocol);   ///< inet_proto
    NftBytes& interface(std::string_view name);  ///< ifname
    NftBytes& mac(const Mac& mac);               ///< ether_addr
    NftBytes& priority(std::uint32_t priority);  ///< classid: what "meta priority" has
    const std::vector<std::byte>& bytes() const noexcept { return bytes_; }
    const std::string& text() const noexcept { return text_; }  ///< For nft(8).
    friend bool operator==(const NftBytes& a, const NftBytes& b) { return a.bytes_ == b.bytes_; }
    friend auto operator<=>(const NftBytes& a, const NftBytes& b) { return a.bytes_ <=> b.bytes_; }

private:
    NftBytes& append(const void* data, std::size_t size, std::string_view text);
    std::vector<std::byte> bytes_;
    std::string text_;
};

enum class NftFamily : std::uint8_t { inet = 1, ip = 2, bridge = 7, ip6 = 10 };
std::string_view to_string(NftFamily family);  ///< For nft(8).

struct NftElement {
    NftFamily family = NftFamily::inet;
    std::string_view set;
    NftBytes key;
    NftBytes value;  ///< Of a map; empty for a set.
    friend auto operator<=>(const NftElement&, const NftElement&) = default;
};

/// Takes `removed` away and adds `added`, all or nothing, in the table `table` of each element's family and of the socket's
/// network namespace. Throws Error with the kernel's errno: ENOENT where an element, a set or the table is not there.
/// `socket`, of NETLINK_NETFILTER, is to be kept: the kernel lets who closes one wait until all that was deleted there is freed,
/// 5 to 20 ms.
void change_elements(NetlinkSocket& socket, std::string_view table, const std::vector<NftElement>& removed,
                     const std::vector<NftElement>& added, std::string_view doing);

}  // namespace grua::linux
