#include "linux/capabilities.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/text.hpp"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <utility>

namespace grua::linux {
namespace {

/// By number.
constexpr std::array<std::string_view, 41> names{"CAP_CHOWN",
                                                 "CAP_DAC_OVERRIDE",
                                                 "CAP_DAC_READ_SEARCH",
                                                 "CAP_FOWNER",
                                                 "CAP_FSETID",
                                                 "CAP_KILL",
                                                 "CAP_SETGID",
                                                 "CAP_SETUID",
                                                 "CAP_SETPCAP",
                                                 "CAP_LINUX_IMMUTABLE",
                                                 "CAP_NET_BIND_SERVICE",
                                                 "CAP_NET_BROADCAST",
                                                 "CAP_NET_ADMIN",
                                                 "CAP_NET_RAW",
                                                 "CAP_IPC_LOCK",
                                                 "CAP_IPC_OWNER",
                                                 "CAP_SYS_MODULE",
                                                 "CAP_SYS_RAWIO",
                                                 "CAP_SYS_CHROOT",
                                                 "CAP_SYS_PTRACE",
                                                 "CAP_SYS_PACCT",
                                                 "CAP_SYS_ADMIN",
                                                 "CAP_SYS_BOOT",
                                                 "CAP_SYS_NICE",
                                                 "CAP_SYS_RESOURCE",
                                                 "CAP_SYS_TIME",
                                                 "CAP_SYS_TTY_CONFIG",
                                                 "CAP_MKNOD",
                                                 "CAP_LEASE",
                                                 "CAP_AUDIT_WRITE",
                                                 "CAP_AUDIT_CONTROL",
                                                 "CAP_SETFCAP",
                                                 "CAP_MAC_OVERRIDE",
                                                 "CAP_MAC_ADMIN",
                                                 "CAP_SYSLOG",
                                                 "CAP_WAKE_ALARM",
                                                 "CAP_BLOCK_SUSPEND",
                                                 "CAP_AUDIT_READ",
                                                 "CAP_PERFMON",
                                                 "CAP_BPF",
                                                 "CAP_CHECKPOINT_RESTORE"};

bool in_bounding(unsigned number) noexcept { return ::prctl(PR_CAPBSET_READ, number, 0, 0, 0) == 1; }
bool exists(unsigned number) noexcept { return ::prctl(PR_CAPBSET_READ, number, 0, 0, 0) >= 0; }

std::uint32_t low(CapabilitySet set) noexcept { return static_cast<std::uint32_t>(set.bits()); }
std::uint32_t high(CapabilitySet set) noexcept { return static_cast<std::uint32_t>(set.bits() >> 32U); }
CapabilitySet both(std::uint32_t lower, std::uint32_t upper) noexcept { return CapabilitySet{std::uint64_t{upper} << 32U | lower}; }

}  // namespace

std::optional<unsigned> capability_number(std::string_view name) noexcept {
    const auto* found = std::ranges::find(names, name);
    return found == names.end() ? std::nullopt : std::optional{static_cast<unsigned>(found - names.begin())};
}

std::string_view capability_name(unsigned number) noexcept { return number < names.size() ? names[number] : std::string_view{}; }

unsigned last_capability() {
    // By asking the kernel, not /proc, which may not be there; the answer does not change.
    static const unsigned last = [] {
        unsigned number = static_cast<unsigned>(names.size()) - 1;
        while (number > 0 && !exists(number)) --number;
        while (number < 63 && exists(number + 1)) ++number;
        return number;
    }();
    return last;
}

CapabilitySet known_capabilities() {
    const auto count = std::min<unsigned>(last_capability() + 1, names.size());
    return CapabilitySet{(std::uint64_t{1} << count) - 1};
}

std::vector<std::string> capability_names(CapabilitySet set) {
    std::vector<std::string> result;
    for (unsigned number = 0; number < names.size(); ++number)
        if (set.has(number)) result.emplace_back(names[number]);
    return result;
}

ParsedCapabilities parse_capabilities(const std::vector<std::string>& wanted) {
    ParsedCapabilities result;
    const auto known = known_capabilities();
    for (const auto& name : wanted) {
        const auto number = capability_number(name);
        if (number && known.has(*number)) {
            result.set.add(*number);
        } else {
            result.unknown.push_back(name);
        }
    }
    return result;
}

Capabilities current_capabilities() {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, 2> data{};
    if (::syscall(SYS_capget, &header, data.data()) != 0) fail_errno("read the capabilities");
    Capabilities result{.effective = both(data[0].effective, data[1].effective),
                        .inheritable = both(data[0].inheritable, data[1].inheritable),
                        .permitted = both(data[0].permitted, data[1].permitted)};
    for (unsigned number = 0; number <= last_capability(); ++number) {
        if (in_bounding(number)) result.bounding.add(number);
        if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, number, 0, 0) == 1) result.ambient.add(number);
    }
    return result;
}

void limit_bounding(CapabilitySet keep) {
    // Also those that grua has no name for: what is not asked for is not given.
    for (unsigned number = 0; number <= last_capability(); ++number)
        if (!keep.has(number) && ::prctl(PR_CAPBSET_DROP, number, 0, 0, 0) != 0)
            // Without the right to drop it is fine where there is nothing to drop.
            if (errno != EPERM || in_bounding(number)) fail_errno("drop capability {} from the bounding set", number);
}

void set_capabilities(const Capabilities& wanted) {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    const std::array<__user_cap_data_struct, 2> data{{{low(wanted.effective), low(wanted.permitted), low(wanted.inheritable)},
                                                      {high(wanted.effective), high(wanted.permitted), high(wanted.inheritable)}}};
    if (::syscall(SYS_capset, &header, data.data()) != 0) fail_errno("set the capabilities");
    if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0 && errno != EINVAL) fail_errno("clear the ambient capabilities");
    const auto possible = wanted.ambient & wanted.permitted & wanted.inheritable;
    for (unsigned number = 0; number <= last_capability(); ++number)
        if (possible.has(number) && ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0) != 0)
            fail_errno("raise ambient capability {}", number);
}

}  // namespace grua::linux
