// Where a cache of builds is: documents and blobs by their digests, in a registry or in a content store that a client's session serves.
//
// What is read of it is foreign: read_document() gives what is its digest, and no more than was asked for; of blobs whoever takes them
// looks. All of it blocks, and is used from threads of transfers; never on the loop.
#pragma once

#include "base/async.hpp"
#include "build/session.hpp"
#include "oci/manifest.hpp"
#include "registry/client.hpp"

#include <functional>
#include <memory>
#include <stop_token>
#include <string>

namespace grua::build {

class CacheRemote {
public:
    CacheRemote() = default;
    CacheRemote(const CacheRemote&) = delete;
    CacheRemote& operator=(const CacheRemote&) = delete;
    virtual ~CacheRemote() = default;

    /// What leads to all else: a manifest or an index. Throws Error.
    virtual std::string root(const std::stop_token& stop) = 0;

    /// A small one, whole. `descriptor.size` may be 0 where it is not known. Throws Error.
    std::string read_document(const oci::Descriptor& descriptor, std::size_t limit, const std::stop_token& stop);

    /// The blob from `offset` to its end.
    virtual void read(const oci::Descriptor& blob, std::uint64_t offset, const registry::Sink& sink, const std::stop_token& stop) = 0;

    /// `open` is called where it is not there yet, and gives a descriptor of its bytes. False where it was there.
    virtual bool write(const oci::Descriptor& blob, const std::function<Fd()>& open, const std::stop_token& stop) = 0;

    /// The last: from now on it is known by its name.
    virtual void write_root(const oci::Descriptor& descriptor, const std::string& text, const std::stop_token& stop) = 0;

private:
    virtual std::string document(const oci::Descriptor& descriptor, std::size_t limit, const std::stop_token& stop) = 0;
};

/// Throws Error(not_implemented) where it is wanted of a registry elsewhere: which ones may be without TLS is the engine's to say.
void refuse_insecure(const oci::Reference& reference, bool is_wanted);

/// `client` outlives it.
std::shared_ptr<CacheRemote> registry_remote(const registry::Client& client, oci::Reference reference, registry::Credentials credentials);

/// `store`: "local:FOLDER"; `root`: what root() reads, may be empty. Ends on the loop.
std::shared_ptr<CacheRemote> session_remote(asio::any_io_executor loop, SessionPtr session, std::string store, std::string root);

}  // namespace grua::build
