// What RUN has in its flags: --mount, --device, --network, --security.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace grua::build::dockerfile {

enum class MountType : std::uint8_t { bind, cache, tmpfs, secret, ssh };
enum class Sharing : std::uint8_t { shared, private_, locked };

std::string_view name_of(MountType type) noexcept;

struct Mount {
    MountType type = MountType::bind;
    std::string from;    ///< A stage or an image; empty is the build's context, or nothing for a cache.
    std::string source;  ///< Of a secret, its ID.
    std::string target;
    bool read_only = true;        ///< The default of a bind, a secret and an SSH agent; a cache and a tmpfs are writable.
    std::int64_t size_limit = 0;  ///< Of a tmpfs in bytes, 0 where there is none.
    std::string id;               ///< Of a cache, a secret or an SSH agent.
    std::optional<Sharing> sharing;
    bool required = false;
    std::optional<std::string> env;  ///< The variable that a secret is in; empty is one of its own name.
    std::optional<std::uint32_t> mode;
    std::optional<std::uint32_t> uid;
    std::optional<std::uint32_t> gid;

    friend bool operator==(const Mount&, const Mount&) = default;
};

/// Replaces the variables of one word.
using ExpandWord = std::function<std::string(std::string_view)>;

/// The `from` of a --mount. Values may have variables, so that all else is read when those are known; only `from` may have none, since a
/// stage's sources must be known before. Throws Error(invalid_argument).
std::string mount_source_stage(std::string_view flag);

/// The whole of a --mount. Throws Error(invalid_argument).
Mount parse_mount(std::string_view flag, const ExpandWord& expand);

struct Device {
    std::string name;  ///< vendor/class=name, of CDI.
    bool required = false;

    friend bool operator==(const Device&, const Device&) = default;
};

Device parse_device(std::string_view flag);

enum class RunNetwork : std::uint8_t { standard, none, host };
enum class RunSecurity : std::uint8_t { sandbox, insecure };

/// Throw Error(invalid_argument).
RunNetwork parse_run_network(std::string_view flag);
RunSecurity parse_run_security(std::string_view flag);

}  // namespace grua::build::dockerfile
