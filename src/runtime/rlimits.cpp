#include "runtime/rlimits.hpp"

#include "base/error.hpp"

#include <sys/resource.h>
#include <algorithm>
#include <array>

namespace grua::runtime {
namespace {

struct Name {
    std::string_view text;
    int number;
};

constexpr std::array names{
    Name{"RLIMIT_AS", RLIMIT_AS},           Name{"RLIMIT_CORE", RLIMIT_CORE},         Name{"RLIMIT_CPU", RLIMIT_CPU},
    Name{"RLIMIT_DATA", RLIMIT_DATA},       Name{"RLIMIT_FSIZE", RLIMIT_FSIZE},       Name{"RLIMIT_LOCKS", RLIMIT_LOCKS},
    Name{"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK}, Name{"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE}, Name{"RLIMIT_NICE", RLIMIT_NICE},
    Name{"RLIMIT_NOFILE", RLIMIT_NOFILE},   Name{"RLIMIT_NPROC", RLIMIT_NPROC},       Name{"RLIMIT_RSS", RLIMIT_RSS},
    Name{"RLIMIT_RTPRIO", RLIMIT_RTPRIO},   Name{"RLIMIT_RTTIME", RLIMIT_RTTIME},     Name{"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
    Name{"RLIMIT_STACK", RLIMIT_STACK},
};

}  // namespace

std::optional<int> rlimit_number(std::string_view name) noexcept {
    const auto found = std::ranges::find(names, name, &Name::text);
    if (found == names.end()) return std::nullopt;
    return found->number;
}

void set_rlimits(pid_t pid, const std::vector<oci::Rlimit>& limits) {
    for (const oci::Rlimit& limit : limits) {
        const auto number = rlimit_number(limit.type);
        if (!number) fail(ErrorKind::invalid_argument, "process.rlimits: unknown limit {:?}", limit.type);
        const rlimit value{limit.soft, limit.hard};
        if (::prlimit(pid, static_cast<__rlimit_resource>(*number), &value, nullptr) != 0)
            fail_errno("set {} to {}:{}", limit.type, limit.soft, limit.hard);
    }
}

}  // namespace grua::runtime
