// A transaction of nftables messages. For the files of nftables only.
#pragma once

#include "linux/netlink_socket.hpp"

#include <cstddef>
#include <string_view>
#include <vector>

namespace grua::linux {

/// Sends them between the marks of a batch, with their sequence numbers, and reads the answers. Each must ask for an acknowledgement.
/// Throws Error with the errno of the first that failed; nothing has changed then.
void run_nft_batch(NetlinkSocket& socket, std::vector<std::vector<std::byte>> requests, std::string_view doing);

/// The first bytes of each: family and version.
struct NftHeader {
    unsigned char family = 0;
    unsigned char version = 0;
    unsigned short resource = 0;
};
NftHeader nft_header(unsigned char family);

}  // namespace grua::linux
