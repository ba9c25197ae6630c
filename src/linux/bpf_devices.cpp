#include "linux/detail/bpf_devices.hpp"

#include "base/error.hpp"
#include "base/fd.hpp"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <array>
#include <ranges>

namespace grua::linux::detail {
namespace {

constexpr std::uint8_t r0 = BPF_REG_0, context = BPF_REG_1, type = BPF_REG_2, access = BPF_REG_3, major = BPF_REG_4, minor = BPF_REG_5,
                       scratch = BPF_REG_6;

bpf_insn instruction(int code, std::uint8_t to, std::uint8_t from, int offset, std::int32_t value) {
    bpf_insn result{};
    result.code = static_cast<std::uint8_t>(code);
    result.dst_reg = to & 0xFU;
    result.src_reg = from & 0xFU;
    result.off = static_cast<std::int16_t>(offset);
    result.imm = value;
    return result;
}

bpf_insn load(std::uint8_t to, std::size_t offset) {
    return instruction(BPF_LDX | BPF_MEM | BPF_W, to, context, static_cast<int>(offset), 0);
}
bpf_insn alu(int operation, std::uint8_t to, std::int32_t value) { return instruction(BPF_ALU | operation | BPF_K, to, 0, 0, value); }
bpf_insn copy(std::uint8_t to, std::uint8_t from) { return instruction(BPF_ALU | BPF_MOV | BPF_X, to, from, 0, 0); }
bpf_insn jump(int condition, std::uint8_t what, std::int32_t value) { return instruction(BPF_JMP | condition | BPF_K, what, 0, 0, value); }

int bpf(bpf_cmd command, bpf_attr& attributes) { return static_cast<int>(::syscall(SYS_bpf, command, &attributes, sizeof attributes)); }

}  // namespace

Fd load_program(bpf_prog_type kind, const std::vector<bpf_insn>& program, std::string_view what) {
    bpf_attr attributes{};
    attributes.prog_type = kind;
    attributes.insns = reinterpret_cast<std::uint64_t>(program.data());
    attributes.insn_cnt = static_cast<std::uint32_t>(program.size());
    attributes.license = reinterpret_cast<std::uint64_t>("Apache-2.0");
    Fd loaded{bpf(BPF_PROG_LOAD, attributes)};
    if (!loaded && errno == EPERM) {
        // Before 5.11 programs count as locked memory of the user.
        rlimit unlimited{RLIM_INFINITY, RLIM_INFINITY}, before{};
        ::getrlimit(RLIMIT_MEMLOCK, &before);
        if (::setrlimit(RLIMIT_MEMLOCK, &unlimited) == 0) {
            loaded = Fd{bpf(BPF_PROG_LOAD, attributes)};
            const int error = errno;
            ::setrlimit(RLIMIT_MEMLOCK, &before);
            errno = error;
        }
    }
    if (!loaded) fail_errno("load the BPF program of {}", what);
    return loaded;
}

namespace {

std::vector<Fd> attached_programs(int cgroup) {
    constexpr std::size_t most = 64;  // BPF_CGROUP_MAX_PROGS
    std::array<std::uint32_t, most> ids{};
    bpf_attr query{};
    query.query.target_fd = static_cast<std::uint32_t>(cgroup);
    query.query.attach_type = BPF_CGROUP_DEVICE;
    query.query.prog_ids = reinterpret_cast<std::uint64_t>(ids.data());
    query.query.prog_cnt = ids.size();
    if (bpf(BPF_PROG_QUERY, query) != 0) fail_errno("list the device programs of the cgroup");
    std::vector<Fd> programs;
    for (std::size_t i = 0; i < query.query.prog_cnt; ++i) {
        bpf_attr by_id{};
        by_id.prog_id = ids[i];
        Fd program{bpf(BPF_PROG_GET_FD_BY_ID, by_id)};
        if (program) programs.push_back(std::move(program));
    }
    return programs;
}

}  // namespace

std::vector<bpf_insn> device_program(const DeviceList& list) {
    std::vector<bpf_insn> program{
        load(type, offsetof(bpf_cgroup_dev_ctx, access_type)),
        copy(access, type),
        alu(BPF_AND, type, 0xFFFF),
        alu(BPF_RSH, access, 16),
        load(major, offsetof(bpf_cgroup_dev_ctx, major)),
        load(minor, offsetof(bpf_cgroup_dev_ctx, minor)),
    };
    const auto answer = [&](bool allowed) {
        program.push_back(alu(BPF_MOV, r0, allowed ? 1 : 0));
        program.push_back(instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0));
    };
    // From the last rule to the first. `access` holds what no later rule has decided yet; a denied bit denies the whole.
    for (const auto& entry : std::views::reverse(list.entries)) {
        std::vector<std::size_t> to_next;
        const auto unless = [&](bpf_insn test) {
            to_next.push_back(program.size());
            program.push_back(test);
        };
        unless(jump(BPF_JNE, type, entry.type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR));
        if (entry.major) unless(jump(BPF_JNE, major, static_cast<std::int32_t>(*entry.major)));
        if (entry.minor) unless(jump(BPF_JNE, minor, static_cast<std::int32_t>(*entry.minor)));
        if (entry.access != access_all) {
            if (entry.allow) {
                program.push_back(alu(BPF_AND, access, static_cast<std::int32_t>(~entry.access & access_all)));
                unless(jump(BPF_JNE, access, 0));
            } else {
                program.push_back(copy(scratch, access));
                program.push_back(alu(BPF_AND, scratch, static_cast<std::int32_t>(entry.access)));
                unless(jump(BPF_JEQ, scratch, 0));
            }
        }
        answer(entry.allow);
        for (const auto at : to_next) program[at].off = static_cast<std::int16_t>(program.size() - at - 1);
    }
    answer(list.allow_by_default);
    return program;
}

void attach_device_program(int cgroup, const DeviceList& list) {
    const auto before = attached_programs(cgroup);
    const auto detach = [&](const Fd& program) {
        bpf_attr attributes{};
        attributes.target_fd = static_cast<std::uint32_t>(cgroup);
        attributes.attach_bpf_fd = static_cast<std::uint32_t>(program.get());
        attributes.attach_type = BPF_CGROUP_DEVICE;
        if (bpf(BPF_PROG_DETACH, attributes) != 0 && errno != ENOENT) fail_errno("detach the former device program of the cgroup");
    };
    if (!list.allow_by_default || !list.entries.empty()) {
        const Fd program = load_program(BPF_PROG_TYPE_CGROUP_DEVICE, device_program(list), "the device rules");
        bpf_attr attributes{};
        attributes.target_fd = static_cast<std::uint32_t>(cgroup);
        attributes.attach_bpf_fd = static_cast<std::uint32_t>(program.get());
        attributes.attach_type = BPF_CGROUP_DEVICE;
        attributes.attach_flags = BPF_F_ALLOW_MULTI;
        // All attached programs have to agree, so there is no moment without rules: first the new one, then the old ones go.
        if (bpf(BPF_PROG_ATTACH, attributes) != 0) fail_errno("attach the device program to the cgroup");
    }
    for (const auto& program : before) detach(program);
}

}  // namespace grua::linux::detail
