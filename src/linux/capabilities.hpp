// Capabilities: names, sets, and giving a process exactly those it shall have (capabilities(7)).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::linux {

/// A set of capabilities by number.
class CapabilitySet {
public:
    constexpr CapabilitySet() = default;
    constexpr explicit CapabilitySet(std::uint64_t bits) noexcept : bits_(bits) {}

    constexpr bool has(unsigned number) const noexcept { return number < 64 && ((bits_ >> number) & 1U) != 0; }
    constexpr void add(unsigned number) noexcept { bits_ |= std::uint64_t{1} << number; }
    constexpr void remove(unsigned number) noexcept { bits_ &= ~(std::uint64_t{1} << number); }
    constexpr std::uint64_t bits() const noexcept { return bits_; }
    constexpr CapabilitySet operator&(CapabilitySet other) const noexcept { return CapabilitySet{bits_ & other.bits_}; }
    constexpr CapabilitySet operator|(CapabilitySet other) const noexcept { return CapabilitySet{bits_ | other.bits_}; }
    constexpr bool operator==(const CapabilitySet&) const = default;

private:
    std::uint64_t bits_ = 0;
};

/// "CAP_CHOWN" -> 0; nothing for a name that capabilities(7) does not have. Exactly this spelling.
std::optional<unsigned> capability_number(std::string_view name) noexcept;
/// 0 -> "CAP_CHOWN"; empty beyond the last that grua knows.
std::string_view capability_name(unsigned number) noexcept;

/// The last capability that the running kernel has.
unsigned last_capability();
/// All capabilities that both grua and the running kernel know: what "ALL" means.
CapabilitySet known_capabilities();
/// Names of a set, in order of number.
std::vector<std::string> capability_names(CapabilitySet set);

struct ParsedCapabilities {
    CapabilitySet set;
    std::vector<std::string> unknown;  ///< Names that grua or this kernel does not know; OCI: warn and go on.
};
ParsedCapabilities parse_capabilities(const std::vector<std::string>& names);

/// The five sets of a process, OCI config.md#linux-process.
struct Capabilities {
    CapabilitySet bounding, effective, inheritable, permitted, ambient;
};

/// What the calling thread has now.
Capabilities current_capabilities();

/// Removes from the bounding set what is not in `keep`. Needs CAP_SETPCAP, so before the user changes.
void limit_bounding(CapabilitySet keep);

/// Sets permitted, effective, inheritable, then ambient. After the change of user (with PR_SET_KEEPCAPS set before it). What the
/// kernel does not let into the ambient set (not permitted or not inheritable) is left out. Allocates nothing.
void set_capabilities(const Capabilities& wanted);

}  // namespace grua::linux
