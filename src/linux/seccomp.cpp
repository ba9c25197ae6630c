// A profile compiled with libseccomp, and loaded.
#include "linux/seccomp.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "linux/detail/seccomp_layout.hpp"

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <set>
#include <utility>

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

namespace grua::linux {
namespace {

constexpr std::uint32_t x32_bit = 0x4000'0000;

constexpr std::array<std::pair<std::string_view, SeccompAction>, 9> actions{{{"SCMP_ACT_KILL", SeccompAction::kill_thread},
                                                                             {"SCMP_ACT_KILL_THREAD", SeccompAction::kill_thread},
                                                                             {"SCMP_ACT_KILL_PROCESS", SeccompAction::kill_process},
                                                                             {"SCMP_ACT_TRAP", SeccompAction::trap},
                                                                             {"SCMP_ACT_ERRNO", SeccompAction::error},
                                                                             {"SCMP_ACT_TRACE", SeccompAction::trace},
                                                                             {"SCMP_ACT_ALLOW", SeccompAction::allow},
                                                                             {"SCMP_ACT_LOG", SeccompAction::log},
                                                                             {"SCMP_ACT_NOTIFY", SeccompAction::notify}}};

constexpr std::array<std::pair<std::string_view, SeccompOp>, 7> ops{{{"SCMP_CMP_NE", SeccompOp::not_equal},
                                                                     {"SCMP_CMP_LT", SeccompOp::less},
                                                                     {"SCMP_CMP_LE", SeccompOp::less_equal},
                                                                     {"SCMP_CMP_EQ", SeccompOp::equal},
                                                                     {"SCMP_CMP_GE", SeccompOp::greater_equal},
                                                                     {"SCMP_CMP_GT", SeccompOp::greater},
                                                                     {"SCMP_CMP_MASKED_EQ", SeccompOp::masked_equal}}};

constexpr std::array<std::pair<std::string_view, unsigned>, 4> flag_names{
    {{"SECCOMP_FILTER_FLAG_TSYNC", 0},  // The process that loads has one thread.
     {"SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG},
     {"SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW},
     {"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV}}};

template <typename Table>
auto look_up(const Table& table, std::string_view name) noexcept -> std::optional<typename Table::value_type::second_type> {
    const auto found = std::ranges::find(table, name, [](const auto& entry) { return entry.first; });
    return found == table.end() ? std::nullopt : std::optional{found->second};
}

std::uint32_t library_action(SeccompAction action, const std::optional<std::uint32_t>& value) {
    switch (action) {
        case SeccompAction::kill_thread:
            return SCMP_ACT_KILL_THREAD;
        case SeccompAction::kill_process:
            return SCMP_ACT_KILL_PROCESS;
        case SeccompAction::trap:
            return SCMP_ACT_TRAP;
        case SeccompAction::error:
            return SCMP_ACT_ERRNO(value.value_or(EPERM));
        case SeccompAction::trace:
            return SCMP_ACT_TRACE(value.value_or(EPERM));
        case SeccompAction::allow:
            return SCMP_ACT_ALLOW;
        case SeccompAction::log:
            return SCMP_ACT_LOG;
        case SeccompAction::notify:
            return SCMP_ACT_NOTIFY;
    }
    fail(ErrorKind::invalid_argument, "seccomp: no such action");
}

scmp_arg_cmp comparison(const SeccompArg& argument) {
    constexpr unsigned most = 6;
    if (argument.index >= most) fail(ErrorKind::invalid_argument, "seccomp: a system call has no argument {}", argument.index);
    constexpr std::array<scmp_compare, 7> comparisons{SCMP_CMP_NE, SCMP_CMP_LT, SCMP_CMP_LE,       SCMP_CMP_EQ,
                                                      SCMP_CMP_GE, SCMP_CMP_GT, SCMP_CMP_MASKED_EQ};
    return {argument.index, comparisons[static_cast<std::size_t>(argument.op)], argument.value, argument.value_two};
}

/// libseccomp returns -errno and does not set it.
void check(int result, std::string_view what) {
    if (result < 0) fail(ErrorKind::invalid_argument, "seccomp: {}: {}", what, std::generic_category().message(-result));
}

std::uint32_t architecture(const std::string& name) {
    // "SCMP_ARCH_X86_64" is libseccomp's "x86_64".
    constexpr std::string_view prefix = "SCMP_ARCH_";
    std::string plain = name.starts_with(prefix) ? name.substr(prefix.size()) : name;
    std::ranges::transform(plain, plain.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    const std::uint32_t token = plain == "native" ? seccomp_arch_native() : seccomp_arch_resolve_name(plain.c_str());
    if (token == 0) fail(ErrorKind::invalid_argument, "seccomp: unknown architecture {}", name);
    return token;
}

void add_rule(scmp_filter_ctx filter, const SeccompSyscall& rule, const std::string& name, std::uint32_t action) {
    const int number = seccomp_syscall_resolve_name(name.c_str());
    if (number == __NR_SCMP_ERROR) return;
    std::vector<scmp_arg_cmp> comparisons;
    std::array<unsigned, 6> uses{};
    for (const auto& argument : rule.args) {
        comparisons.push_back(comparison(argument));
        ++uses[argument.index];
    }
    const auto what = fmt::format("rule for {}", name);
    if (std::ranges::any_of(uses, [](unsigned count) { return count > 1; })) {
        // A rule has one comparison for each argument. More are alternatives, as runc has it for the profiles that say so.
        for (const auto& one : comparisons) check(seccomp_rule_add_array(filter, action, number, 1, &one), what);
        return;
    }
    check(seccomp_rule_add_array(filter, action, number, static_cast<unsigned>(comparisons.size()), comparisons.data()), what);
}

std::vector<sock_filter> export_program(scmp_filter_ctx filter) {
    const Fd file{::memfd_create("seccomp", MFD_CLOEXEC)};
    if (!file) fail_errno("memfd_create");
    check(seccomp_export_bpf(filter, file.get()), "export the filter");
    if (::lseek(file.get(), 0, SEEK_SET) != 0) fail_errno("rewind the seccomp filter");
    const auto bytes = read_all(file.get(), "the seccomp filter", std::size_t{4} << 20U);
    std::vector<sock_filter> program(bytes.size() / sizeof(sock_filter));
    std::memcpy(program.data(), bytes.data(), program.size() * sizeof(sock_filter));
    return program;
}

bool lets_through(SeccompAction action) {
    return action == SeccompAction::allow || action == SeccompAction::log || action == SeccompAction::trace;
}

/// The largest number that a rule of the profile names there.
std::optional<std::uint32_t> newest_named(const SeccompProfile& profile, std::uint32_t token) {
    int newest = 0;
    for (const auto& rule : profile.syscalls)
        for (const auto& name : rule.names) newest = std::max(newest, seccomp_syscall_resolve_name_arch(token, name.c_str()));
    return newest > 0 ? std::optional{static_cast<std::uint32_t>(newest)} : std::nullopt;
}

std::vector<detail::FilterArchitecture> filter_architectures(const SeccompProfile& profile, const std::set<std::uint32_t>& tokens) {
    std::vector<detail::FilterArchitecture> result;
    const auto entry = [&](std::uint32_t audit) -> detail::FilterArchitecture& {
        const auto found = std::ranges::find(result, audit, &detail::FilterArchitecture::audit);
        return found != result.end() ? *found : result.emplace_back(detail::FilterArchitecture{.audit = audit, .unknown = {}});
    };
    // Most processes are of the machine's own kind: asked for first.
    entry(seccomp_arch_native() == SCMP_ARCH_X32 ? AUDIT_ARCH_X86_64 : seccomp_arch_native());
    for (const auto token : tokens) {
        auto& architecture = entry(token == SCMP_ARCH_X32 ? AUDIT_ARCH_X86_64 : token);
        if (lets_through(profile.default_action)) continue;
        const auto newest = newest_named(profile, token);
        // x32 is x86-64 with a bit in the number.
        const std::uint32_t last = token == SCMP_ARCH_X86_64 ? x32_bit - 1 : 0xFFFF'FFFF;
        if (newest && *newest < last) architecture.unknown.push_back({*newest, last});
    }
    return result;
}

void check_notify(const SeccompProfile& profile) {
    if (profile.default_action == SeccompAction::notify)
        fail(ErrorKind::invalid_argument, "seccomp: SCMP_ACT_NOTIFY cannot be the default action");
    for (const auto& rule : profile.syscalls)
        // Whoever sends the listener away has the filter on already.
        if (rule.action == SeccompAction::notify && std::ranges::find(rule.names, "write") != rule.names.end())
            fail(ErrorKind::invalid_argument, "seccomp: SCMP_ACT_NOTIFY cannot be used for write");
}

}  // namespace

std::optional<SeccompAction> seccomp_action(std::string_view name) noexcept { return look_up(actions, name); }
std::optional<SeccompOp> seccomp_op(std::string_view name) noexcept { return look_up(ops, name); }

namespace detail {

CompiledFilter compile_with_library(const SeccompProfile& profile) {
    check_notify(profile);
    const auto default_action = library_action(profile.default_action, profile.default_errno);
    const std::unique_ptr<void, void (*)(scmp_filter_ctx)> filter{seccomp_init(default_action), seccomp_release};
    if (!filter) fail(ErrorKind::invalid_argument, "seccomp: the default action cannot be used");

    CompiledFilter result;
    std::set<std::uint32_t> tokens{seccomp_arch_native()};
    for (const auto& name : profile.architectures) {
        const auto token = architecture(name);
        tokens.insert(token);
        if (const int added = seccomp_arch_add(filter.get(), token); added != -EEXIST) check(added, name);
    }
    for (const auto& rule : profile.syscalls) {
        const auto action = library_action(rule.action, rule.errno_ret);
        if (action == default_action) continue;
        result.notifies = result.notifies || rule.action == SeccompAction::notify;
        for (const auto& name : rule.names) add_rule(filter.get(), rule, name, action);
    }
    result.program = export_program(filter.get());
    result.architectures = filter_architectures(profile, tokens);
    return result;
}

}  // namespace detail

SeccompNames seccomp_names() {
    SeccompNames names;
    for (const auto& [name, action] : actions) {
        if (action != SeccompAction::notify) names.actions.push_back(name);  // Nobody takes the listener yet.
    }
    for (const auto& [name, op] : ops) names.operators.push_back(name);
    for (const auto& [name, flag] : flag_names) {
        names.flags.push_back(name);
        // Without a program the kernel looks at the flags first: EFAULT is about the program, EINVAL about them. Flags that need a
        // listener, which nobody takes, are not among them.
        if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flag, nullptr) < 0 && errno == EFAULT) names.kernel_flags.push_back(name);
    }
    for (const char* name : {"x86",    "x86_64",    "x32",     "arm",      "aarch64",     "loongarch64", "m68k",     "mips",
                             "mips64", "mips64n32", "mipsel",  "mipsel64", "mipsel64n32", "parisc",      "parisc64", "ppc",
                             "ppc64",  "ppc64le",   "riscv64", "s390",     "s390x",       "sh",          "sheb"}) {
        if (seccomp_arch_resolve_name(name) == 0) continue;
        std::string full = fmt::format("SCMP_ARCH_{}", name);
        std::ranges::transform(full, full.begin(), [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; });
        names.architectures.push_back(std::move(full));
    }
    return names;
}

SeccompProgram compile_seccomp(const SeccompProfile& profile) {
    SeccompProgram program;
    if (!profile.flags) program.flags = SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    for (const auto& name : profile.flags.value_or(std::vector<std::string>{})) {
        const auto flag = look_up(flag_names, name);
        if (!flag) fail(ErrorKind::invalid_argument, "seccomp: unknown flag {}", name);
        program.flags |= *flag;
    }
    const auto compiled = detail::compile_with_library(profile);
    if (compiled.notifies) program.flags |= SECCOMP_FILTER_FLAG_NEW_LISTENER;
    program.instructions = detail::lay_out(compiled.program, compiled.architectures);
    return program;
}

Fd load_seccomp(const SeccompProgram& program) {
    sock_fprog filter{.len = static_cast<unsigned short>(program.instructions.size()),
                      .filter = const_cast<sock_filter*>(program.instructions.data())};
    const auto load = [&](unsigned flags) { return static_cast<int>(::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter)); };
    int loaded = load(program.flags);
    // SPEC_ALLOW came with 4.17; without it the kernel is only slower.
    if (loaded < 0 && errno == EINVAL && (program.flags & SECCOMP_FILTER_FLAG_SPEC_ALLOW) != 0)
        loaded = load(program.flags & ~unsigned{SECCOMP_FILTER_FLAG_SPEC_ALLOW});
    if (loaded < 0) fail_errno("load the seccomp filter");
    return Fd{(program.flags & SECCOMP_FILTER_FLAG_NEW_LISTENER) != 0 ? loaded : -1};
}

}  // namespace grua::linux
