// What grua says to registries: the OCI distribution spec 1.1 and Docker's registry API v2, over libcurl.
//
// Every call blocks and is made on a thread of its own or of a pool, never on gruad's loop; one Client serves any number of them.
// Inside a call are: the choice of hosts (mirrors in order, then the registry; a blocked one gets no packet), authentication and
// its tokens, redirects (a foreign host never sees credentials), retries with back-off, time-outs and bounds.
//
// What comes out is verified: a manifest's bytes are its digest, a blob's length is its descriptor's. A blob's digest is checked
// by whoever writes it (content/), because the bytes are handed on while they arrive.
//
// Errors are Error with Docker's texts and name the host and the object: not_found, forbidden (denied, unauthorized, blocked by a
// rule), unavailable (host, network, too many requests, time-out), invalid_argument (what came is not what was announced).
// A stopped call throws Error(unavailable, "context canceled").
#pragma once

#include "oci/manifest.hpp"
#include "oci/reference.hpp"
#include "registry/credentials.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace grua::registry {

/// Times and sizes beyond which a host is given up. The defaults are for the open internet.
struct Limits {
    std::chrono::milliseconds connect{15'000};
    /// A transfer with fewer than `low_speed_bytes` a second for this long has failed (slow-loris).
    std::chrono::seconds low_speed{30};
    std::uint64_t low_speed_bytes = 512;
    /// A whole request whose answer is a document (manifest, token, list): no answer may take longer.
    std::chrono::seconds document{60};
    /// After the last byte of an upload: the registry hashes and stores it before it answers.
    std::chrono::seconds commit{300};
    /// Attempts in a row that bring no byte. Progress starts the count again.
    unsigned attempts = 5;
    std::chrono::milliseconds backoff{500};  ///< Doubled each time, with jitter, up to `backoff_limit`.
    std::chrono::milliseconds backoff_limit{10'000};
    std::chrono::seconds retry_after_limit{60};  ///< A longer Retry-After is an error at once.
    /// Blobs from this size on are fetched in parallel ranges.
    std::uint64_t range_threshold = std::uint64_t{64} << 20U;
    std::uint64_t range_size = std::uint64_t{4} << 20U;
    unsigned ranges = 3;                             ///< Connections of one blob; memory is at most this times range_size.
    std::uint64_t chunk = std::uint64_t{32} << 20U;  ///< Of an upload, where the registry wants no larger one.
};

struct Options {
    std::string config_directory = "/etc/grua";                    ///< registries.toml, certs.d
    std::string certs_directory = "/etc/docker/certs.d";           ///< <host[:port]>/{*.crt,*.cert,*.key}, as Docker lays them out
    std::string containerd_directory = "/etc/containerd/certs.d";  ///< <host>/hosts.toml; empty: not read
    std::string containers_directory = "/etc/containers";          ///< registries.conf, registries.conf.d; empty: not read
    std::vector<std::string> insecure_registries;                  ///< host[:port] or CIDR; 127.0.0.0/8 and ::1 always are
    std::vector<std::string> mirrors;                              ///< Docker's registry-mirrors: base URLs, for docker.io only
    /// Proxies; where empty, HTTP_PROXY, HTTPS_PROXY and NO_PROXY of the environment (either case).
    std::string http_proxy;
    std::string https_proxy;
    std::string no_proxy;
    std::string user_agent = "grua/" GRUA_VERSION;
    Limits limits;
};

/// What a caller brings to a call.
struct Access {
    Credentials credentials;
    std::stop_token stop;
    std::function<void(std::string_view)> notice;  ///< "Retrying in 2 seconds"; from the calling thread. May be empty.
    std::vector<std::string> avoid;                ///< host[:port] not to be asked where there is another: it served what was wrong
};

/// Docker Hub's RateLimit headers.
struct RateLimit {
    std::uint64_t limit = 0;
    std::uint64_t remaining = 0;
    std::chrono::seconds window{0};
};

/// "9 of 100 pulls left in 6 hours"
std::string describe(const RateLimit& limit);

struct Manifest {
    oci::Descriptor descriptor;  ///< media type as the document says it, digest of `bytes`, size
    std::string bytes;
    std::string host;  ///< that served it
    std::optional<RateLimit> rate_limit;
};

/// Takes the bytes of a blob, each once and in order, on the calling thread. What it throws ends the call.
using Sink = std::function<void(std::string_view)>;

/// Fills `size` bytes of `out` from `offset` on and says how many; may be asked for the same bytes again. pread(2) of a file fits.
using Source = std::function<std::size_t(std::uint64_t offset, char* out, std::size_t size)>;

/// A Source of an open file; `fd` is borrowed.
Source file_source(int fd);

enum class Pushed { existed, mounted, uploaded };
struct PushResult {
    Pushed how = Pushed::uploaded;
    std::string mounted_from;  ///< the repository ("library/debian")
};

struct LoginResult {
    std::string status;  ///< "Login Succeeded"
    std::string identity_token;
};

struct SearchResult {
    std::string name;
    std::string description;
    std::int64_t star_count = 0;
    bool is_official = false;
    bool is_automated = false;
    template <typename Self = SearchResult>
    static json::Fields fields() {
        return json::Fields{json::field("name", &Self::name), json::field("description", &Self::description),
                            json::field("star_count", &Self::star_count), json::field("is_official", &Self::is_official),
                            json::field("is_automated", &Self::is_automated)};
    }
};

class Client {
public:
    /// Configuration files are read here; throws Error(invalid_argument) that names file and place.
    explicit Client(const Options& options);
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;
    ~Client();

    /// Takes these mirrors and insecure registries and reads the configuration files again (SIGHUP); on an error the former rules
    /// stay and it is thrown. Proxies, limits and folders stay as they were.
    void reload(const Options& options);

    /// The name that a short name ("fedora:41", as the user wrote it) stands for by the alias tables; nothing where there is no alias.
    std::optional<std::string> alias(std::string_view name) const;

    /// By digest where the reference has one, else by tag. Manifest or index; schema 1 is refused as Docker does.
    Manifest manifest(const oci::Reference& reference, const Access& access) const;

    /// HEAD: what is there now, without the document; nothing where there is no such manifest.
    std::optional<oci::Descriptor> head_manifest(const oci::Reference& reference, const Access& access) const;

    /// The blob from `offset` to its end. Returns the hosts that served it: where the bytes are not their digest, call again from 0
    /// with these as access.avoid, so that a bad mirror is not the end.
    std::vector<std::string> blob(const oci::Reference& repository, const oci::Descriptor& descriptor, std::uint64_t offset,
                                  const Sink& sink, const Access& access) const;

    /// The file at an http or https URL; `begin` is told its size, where the host says it, before the first byte.
    void download(std::string_view url, const std::function<void(std::optional<std::uint64_t> size)>& begin, const Sink& sink,
                  const std::stop_token& stop) const;

    /// All tags, sorted as the registry sorts them; bounded.
    std::vector<std::string> tags(const oci::Reference& repository, const Access& access) const;

    /// What refers to `digest`: the referrers API, or the tag sha256-<hex> where the registry has none.
    std::vector<oci::Descriptor> referrers(const oci::Reference& repository, const oci::Digest& digest, const Access& access) const;

    /// HEAD, then a mount from each of `mount_from` (repositories of the same registry), then an upload that resumes.
    /// `progress` is given the bytes that the registry has so far; may be empty.
    PushResult push_blob(const oci::Reference& repository, const oci::Descriptor& descriptor, const Source& source,
                         const std::vector<oci::Reference>& mount_from, const std::function<void(std::uint64_t)>& progress,
                         const Access& access) const;

    /// To the reference's tag or digest. Returns the digest that the registry has now; it is checked to be that of `bytes`.
    oci::Digest push_manifest(const oci::Reference& reference, std::string_view media_type, std::string_view bytes,
                              const Access& access) const;

    /// POST /auth: are these right for credentials.server_address (empty: Docker Hub)?
    LoginResult login(const Credentials& credentials, std::stop_token stop) const;

    /// GET /v1/search of the registry that `term` names ("host/word"), else of Docker Hub.
    std::vector<SearchResult> search(std::string_view term, std::size_t limit, const Access& access) const;

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace grua::registry
