#include "linux/detail/device_rules.hpp"

#include "base/error.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <limits>

namespace grua::linux {
namespace detail {
namespace {

std::optional<std::uint32_t> number(const std::optional<std::int64_t>& value) {
    if (!value || *value < 0) return std::nullopt;
    // Also what a BPF immediate can be compared with: it is signed.
    if (*value > std::numeric_limits<std::int32_t>::max()) fail(ErrorKind::invalid_argument, "device rule: {} is no device number", *value);
    return static_cast<std::uint32_t>(*value);
}

unsigned access_bits(const std::string& access) {
    unsigned bits = access.empty() ? access_all : 0;
    for (const char c : access) {
        switch (c) {
            case 'r':
                bits |= access_read;
                break;
            case 'w':
                bits |= access_write;
                break;
            case 'm':
                bits |= access_mknod;
                break;
            case 'a':  // A type's letter, which others' rules have here and runc passes over.
                break;
            default:
                fail(ErrorKind::invalid_argument, "device rule: access \"{}\" is not made of r, w and m", access);
        }
    }
    if (bits == 0) fail(ErrorKind::invalid_argument, "device rule: access \"{}\" is not made of r, w and m", access);
    return bits;
}

bool overlap(const DeviceEntry& a, const DeviceEntry& b) {
    const auto meet = [](const auto& x, const auto& y) { return !x || !y || *x == *y; };
    return a.type == b.type && meet(a.major, b.major) && meet(a.minor, b.minor) && (a.access & b.access) != 0;
}

bool covers(const DeviceEntry& wide, const DeviceEntry& narrow) {
    const auto holds = [](const auto& x, const auto& y) { return !x || x == y; };
    return wide.type == narrow.type && holds(wide.major, narrow.major) && holds(wide.minor, narrow.minor) &&
           (narrow.access & ~wide.access) == 0;
}

std::string line(const DeviceEntry& entry) {
    const auto text = [](const auto& value) { return value ? std::to_string(*value) : "*"; };
    return fmt::format("{} {}:{} {}{}{}", entry.type, text(entry.major), text(entry.minor), (entry.access & access_read) != 0 ? "r" : "",
                       (entry.access & access_write) != 0 ? "w" : "", (entry.access & access_mknod) != 0 ? "m" : "");
}

}  // namespace

DeviceList device_list(const std::vector<DeviceRule>& rules) {
    DeviceList list;
    for (const auto& rule : rules) {
        DeviceEntry entry{.allow = rule.allow,
                          .type = rule.type,
                          .major = number(rule.major),
                          .minor = number(rule.minor),
                          .access = access_bits(rule.access)};
        switch (rule.type) {
            case 'b':
            case 'c':
                list.entries.push_back(entry);
                break;
            case 'a':
                if (!entry.major && !entry.minor && entry.access == access_all) {
                    list = {.allow_by_default = rule.allow, .entries = {}};
                } else {
                    for (const char type : {'c', 'b'}) {
                        entry.type = type;
                        list.entries.push_back(entry);
                    }
                }
                break;
            default:
                fail(ErrorKind::invalid_argument, "device rule: type \"{}\" is none of a, b and c", rule.type);
        }
    }
    return list;
}

std::vector<std::pair<bool, std::string>> device_writes_v1(const DeviceList& list) {
    std::vector<std::pair<bool, std::string>> writes{{list.allow_by_default, "a"}};
    std::vector<DeviceEntry> exceptions;
    for (const auto& entry : list.entries) {
        const auto same = std::ranges::find_if(exceptions, [&](const auto& e) { return e.same_device(entry); });
        if (entry.allow != list.allow_by_default) {
            if (std::ranges::any_of(exceptions, [&](const auto& e) { return covers(e, entry); })) continue;
            writes.emplace_back(entry.allow, line(entry));
            (same != exceptions.end() ? void(same->access |= entry.access) : exceptions.push_back(entry));
            continue;
        }
        const auto hits = std::ranges::count_if(exceptions, [&](const auto& e) { return overlap(e, entry); });
        if (hits == 0) continue;
        if (hits > 1 || same == exceptions.end())
            fail(ErrorKind::invalid_argument, "device rule \"{} {}\" undoes a part of another one, which cgroup v1 cannot do",
                 entry.allow ? "allow" : "deny", line(entry));
        writes.emplace_back(entry.allow, line(entry));
        same->access &= ~entry.access;
        if (same->access == 0) exceptions.erase(same);
    }
    return writes;
}

}  // namespace detail

const std::vector<DeviceRule>& default_device_rules() {
    static const std::vector<DeviceRule> rules = [] {
        std::vector<DeviceRule> list{{true, 'c', {}, {}, "m"}, {true, 'b', {}, {}, "m"}};
        constexpr std::pair<int, int> devices[] = {{1, 3}, {1, 5}, {1, 7}, {1, 8},
                                                   {1, 9}, {5, 0}, {5, 2}};  // null zero full random urandom tty ptmx
        for (const auto& [major, minor] : devices) list.push_back({true, 'c', major, minor, "rwm"});
        list.push_back({true, 'c', 136, {}, "rwm"});
        return list;
    }();
    return rules;
}

}  // namespace grua::linux
