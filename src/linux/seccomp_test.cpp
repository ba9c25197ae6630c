#include "linux/seccomp.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "linux/detail/seccomp_layout.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/bpf_common.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <functional>
#include <random>
#include <set>

namespace grua::linux {
namespace {

constexpr std::uint32_t no_such_call = SECCOMP_RET_ERRNO | ENOSYS;

/// Classic BPF by the meaning of its instructions.
std::uint32_t run(const std::vector<sock_filter>& program, const seccomp_data& data) {
    std::uint32_t accumulator = 0;
    for (std::size_t at = 0; at < program.size(); ++at) {
        const auto& i = program[at];
        switch (i.code) {
            case BPF_LD | BPF_W | BPF_ABS:
                std::memcpy(&accumulator, reinterpret_cast<const char*>(&data) + i.k, sizeof accumulator);
                break;
            case BPF_ALU | BPF_AND | BPF_K:
                accumulator &= i.k;
                break;
            case BPF_JMP | BPF_JA:
                at += i.k;
                break;
            case BPF_JMP | BPF_JEQ | BPF_K:
                at += accumulator == i.k ? i.jt : i.jf;
                break;
            case BPF_JMP | BPF_JGT | BPF_K:
                at += accumulator > i.k ? i.jt : i.jf;
                break;
            case BPF_JMP | BPF_JGE | BPF_K:
                at += accumulator >= i.k ? i.jt : i.jf;
                break;
            case BPF_RET | BPF_K:
                return i.k;
            default:
                ADD_FAILURE() << "instruction " << i.code;
                return 0;
        }
    }
    ADD_FAILURE() << "fell off the end";
    return 0;
}

/// As long and as holey as Docker's: every second to last call of x86-64, and some with arguments.
SeccompProfile large_profile() {
    SeccompProfile profile;
    profile.architectures = {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"};
    SeccompSyscall allowed;
    for (int number = 0; number < 450; ++number) {
        char* name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, number);
        const std::string text = name ? name : "";
        ::free(name);
        if (!text.empty() && number % 11 != 7 && text != "clone" && text != "clone3" && text != "socket" && text != "personality")
            allowed.names.push_back(text);
    }
    allowed.names.insert(allowed.names.end(), {"socketcall", "mmap2", "no_such_call_anywhere"});
    profile.syscalls.push_back(allowed);
    for (const std::uint64_t persona : {0x0ULL, 0x8ULL, 0x20000ULL, 0xffffffffULL})
        profile.syscalls.push_back({{"personality"}, SeccompAction::allow, {}, {{0, persona, 0, SeccompOp::equal}}});
    profile.syscalls.push_back({{"socket"}, SeccompAction::allow, {}, {{0, 40, 0, SeccompOp::not_equal}}});
    profile.syscalls.push_back({{"clone"}, SeccompAction::allow, {}, {{0, 0x7E020000, 0, SeccompOp::masked_equal}}});
    profile.syscalls.push_back({{"clone3"}, SeccompAction::error, ENOSYS, {}});
    return profile;
}

std::vector<SeccompProfile> profiles() {
    std::vector<SeccompProfile> result{{}, large_profile()};
    auto native = large_profile();
    native.architectures.clear();
    result.push_back(native);

    SeccompProfile deny;  // A deny list: no ENOSYS.
    deny.default_action = SeccompAction::allow;
    deny.syscalls = {{{"mount", "umount2"}, SeccompAction::error, EACCES, {}},
                     {{"kill"}, SeccompAction::kill_process, {}, {{1, 9, 0, SeccompOp::equal}, {0, 1, 0, SeccompOp::equal}}},
                     {{"lseek"}, SeccompAction::trap, {}, {{1, 0x1'0000'0000, 0, SeccompOp::greater_equal}}},
                     {{"ioctl"}, SeccompAction::trace, 7, {{1, 5, 0, SeccompOp::less}, {1, 50, 0, SeccompOp::greater}}}};
    result.push_back(deny);

    std::mt19937 random{1};
    for (int count = 0; count < 12; ++count) {
        SeccompProfile profile;
        profile.default_errno = random() % 2 ? std::optional<std::uint32_t>{EACCES} : std::nullopt;
        if (random() % 2) profile.architectures = {"SCMP_ARCH_X86", "SCMP_ARCH_X86_64"};
        for (int number = 0; number < 400; ++number) {
            char* name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, number);
            const std::string text = name ? name : "";
            ::free(name);
            if (text.empty() || random() % 3 == 0) continue;
            SeccompSyscall rule{{text}, random() % 4 ? SeccompAction::allow : SeccompAction::log, {}, {}};
            if (random() % 8 == 0)
                rule.args = {{static_cast<unsigned>(random() % 6), (std::uint64_t{random() % 3} << 32U) | random() % 5, random() % 5,
                              static_cast<SeccompOp>(random() % 7)}};
            profile.syscalls.push_back(rule);
        }
        result.push_back(profile);
    }
    return result;
}

TEST(Seccomp, Names) {
    EXPECT_EQ(seccomp_action("SCMP_ACT_KILL"), SeccompAction::kill_thread);
    EXPECT_EQ(seccomp_action("SCMP_ACT_ERRNO"), SeccompAction::error);
    EXPECT_EQ(seccomp_action("ALLOW"), std::nullopt);
    EXPECT_EQ(seccomp_op("SCMP_CMP_MASKED_EQ"), SeccompOp::masked_equal);
    EXPECT_EQ(seccomp_op(""), std::nullopt);
}

TEST(Seccomp, TheLayoutDecidesWhatLibseccompDecides) {
    int index = 0;
    for (const auto& profile : profiles()) {
        SCOPED_TRACE(fmt::format("profile {}", index++));
        const auto compiled = detail::compile_with_library(profile);
        const auto laid_out = detail::lay_out(compiled.program, compiled.architectures);
        std::set<std::uint64_t> values{0, 1, 2, 3, 4, 5, 9, 40, 50, 51, ~std::uint64_t{0}};
        for (const auto& rule : profile.syscalls)
            for (const auto& argument : rule.args)
                for (const auto value : {argument.value, argument.value_two})
                    values.insert({value - 1, value, value + 1, value | (std::uint64_t{1} << 32U)});
        std::set<std::uint32_t> numbers{0x3FFF'FFFF, 0x7FFF'FFFF, 0x8000'0000, 0xFFFF'FFFE, 0xFFFF'FFFF};
        for (std::uint32_t number = 0; number < 620; ++number) numbers.insert({number, number | 0x4000'0000});
        int wrong = 0;
        for (const auto arch : std::vector<std::uint32_t>{AUDIT_ARCH_X86_64, AUDIT_ARCH_I386, AUDIT_ARCH_AARCH64, 0, 1})
            for (const auto number : numbers) {
                const auto known = std::ranges::find(compiled.architectures, arch, &detail::FilterArchitecture::audit);
                const bool is_new = known != compiled.architectures.end() && std::ranges::any_of(known->unknown, [&](const auto& unknown) {
                                        return number > unknown.newest && number <= unknown.last;
                                    });
                for (const auto value : values)
                    for (const auto second : {std::uint64_t{1}, value}) {
                        const seccomp_data data{static_cast<int>(number), arch, 0, {value, second, value, second, value, value}};
                        const auto expected = is_new ? no_such_call : run(compiled.program, data);
                        if (run(laid_out, data) != expected && ++wrong < 5)
                            ADD_FAILURE() << fmt::format("arch {:#x} number {:#x} value {:#x}", arch, number, value);
                    }
            }
        EXPECT_EQ(wrong, 0);
    }
}

TEST(Seccomp, TheLayoutIsShort) {
    const auto compiled = detail::compile_with_library(large_profile());
    const auto laid_out = detail::lay_out(compiled.program, compiled.architectures);
    EXPECT_LT(laid_out.size() * 2, compiled.program.size());
    RecordProperty("libseccomp", static_cast<int>(compiled.program.size()));
    RecordProperty("laid_out", static_cast<int>(laid_out.size()));
}

TEST(Seccomp, ACallNewerThanTheProfileDoesNotExist) {
    SeccompProfile profile;
    profile.syscalls = {{{"read", "exit_group"}, SeccompAction::allow, {}, {}}};
    const auto program = compile_seccomp(profile);
    const auto answer = [&](int number) { return run(program.instructions, {number, seccomp_arch_native(), 0, {}}); };
    EXPECT_EQ(answer(SYS_read), SECCOMP_RET_ALLOW);
    EXPECT_EQ(answer(SYS_mkdir), SECCOMP_RET_ERRNO | EPERM);
    EXPECT_EQ(answer(SYS_clone3), no_such_call);
    EXPECT_EQ(program.flags, SECCOMP_FILTER_FLAG_SPEC_ALLOW);
}

TEST(Seccomp, RefusesWhatMeansNothing) {
    const auto with = [](const std::function<void(SeccompProfile&)>& change) {
        SeccompProfile profile;
        change(profile);
        return profile;
    };
    EXPECT_THROW(compile_seccomp(with([](auto& p) { p.architectures = {"SCMP_ARCH_Z80"}; })), Error);
    EXPECT_THROW(compile_seccomp(with([](auto& p) { p.flags = {{"SECCOMP_FILTER_FLAG_NO"}}; })), Error);
    EXPECT_THROW(compile_seccomp(with([](auto& p) { p.default_action = SeccompAction::notify; })), Error);
    EXPECT_THROW(compile_seccomp(with([](auto& p) { p.syscalls = {{{"write"}, SeccompAction::notify, {}, {}}}; })), Error);
    EXPECT_THROW(compile_seccomp(with([](auto& p) { p.syscalls = {{{"read"}, SeccompAction::allow, {}, {{6, 0, 0, SeccompOp::equal}}}}; })),
                 Error);
    EXPECT_EQ(compile_seccomp(with([](auto& p) { p.flags = {{"SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_TSYNC"}}; })).flags,
              SECCOMP_FILTER_FLAG_LOG);
}

TEST(Seccomp, TheKernelTakesItAndObeys) {
    auto profile = large_profile();
    std::erase_if(profile.syscalls.front().names, [](const auto& name) { return name == "mkdirat" || name == "mkdir"; });
    const auto program = compile_seccomp(profile);
    const pid_t pid = ::fork();
    if (pid == 0) {
        int result = 0;
        try {
            if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) ::_exit(100);
            load_seccomp(program);
            if (::syscall(SYS_mkdirat, AT_FDCWD, "/no/where", 0700) != -1 || errno != EPERM) result = 1;
            if (::syscall(SYS_socket, 40, 1, 0) != -1 || errno != EPERM) result = 2;
            if (::syscall(SYS_clone3, nullptr, 0) != -1 || errno != ENOSYS) result = 3;
            if (::syscall(600) != -1 || errno != ENOSYS) result = 4;
            if (::syscall(SYS_getppid) <= 0) result = 5;
        } catch (const Error&) {
            result = 101;
        }
        ::_exit(result);
    }
    int status = 0;
    ::waitpid(pid, &status, 0);
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(Seccomp, NotifyGivesAListener) {
    SeccompProfile profile;
    profile.default_action = SeccompAction::allow;
    profile.syscalls = {{{"mkdirat"}, SeccompAction::notify, {}, {}}};
    const auto program = compile_seccomp(profile);
    EXPECT_NE(program.flags & SECCOMP_FILTER_FLAG_NEW_LISTENER, 0U);
    const pid_t pid = ::fork();
    if (pid == 0) {
        ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        const Fd listener = load_seccomp(program);
        ::_exit(listener ? 0 : 1);
    }
    int status = 0;
    ::waitpid(pid, &status, 0);
    EXPECT_EQ(status, 0);
}

class SeccompFolder : public ::testing::Test {
protected:
    void SetUp() override {
        char name[] = "/tmp/grua-seccomp-XXXXXX";
        ASSERT_NE(::mkdtemp(name), nullptr);
        root_ = name;
        folder_ = root_ + "/cache";
    }
    void TearDown() override { std::filesystem::remove_all(root_); }

    static std::vector<sock_filter> get(const std::string& folder, const SeccompProfile& profile) {
        return SeccompCache{folder}.get(profile).instructions;
    }
    std::string only_file() const {
        std::vector<std::string> files;
        for (const auto& entry : std::filesystem::directory_iterator{folder_}) files.push_back(entry.path());
        EXPECT_EQ(files.size(), 1U);
        return files.empty() ? "" : files.front();
    }
    static bool same(const std::vector<sock_filter>& a, const std::vector<sock_filter>& b) {
        return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(sock_filter)) == 0;
    }

    std::string root_, folder_;
};

TEST_F(SeccompFolder, KeepsTheProgram) {
    const auto profile = large_profile();
    const auto compiled = get("", profile);
    EXPECT_TRUE(same(get(folder_, profile), compiled));
    struct stat info{};
    ASSERT_EQ(::stat(folder_.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777U, 0700U);
    EXPECT_TRUE(same(get(folder_, profile), compiled));
    only_file();

    auto other = profile;
    other.syscalls.back().errno_ret = EPERM;
    EXPECT_FALSE(same(get(folder_, other), compiled));
}

TEST_F(SeccompFolder, TakesNothingThatIsNotWholeAndOurs) {
    const auto profile = large_profile();
    const auto compiled = get(folder_, profile);
    const auto file = only_file();
    const auto bytes = read_file(file);
    for (const auto size : {std::size_t{0}, std::size_t{10}, bytes.size() / 2, bytes.size() - 1}) {
        replace_file(file, bytes.substr(0, size), 0600);
        EXPECT_TRUE(same(get(folder_, profile), compiled));
        EXPECT_EQ(read_file(file), bytes);
    }
    for (std::size_t at = 0; at < bytes.size(); at += 997) {
        auto broken = bytes;
        broken[at] = static_cast<char>(broken[at] ^ 4);
        replace_file(file, broken, 0600);
        EXPECT_TRUE(same(get(folder_, profile), compiled)) << at;
    }
    // An open folder is not used; compiling goes on.
    ASSERT_EQ(::chmod(folder_.c_str(), 0777), 0);
    replace_file(file, "x", 0600);
    EXPECT_TRUE(same(get(folder_, profile), compiled));
    EXPECT_EQ(read_file(file), "x");
}

}  // namespace
}  // namespace grua::linux
