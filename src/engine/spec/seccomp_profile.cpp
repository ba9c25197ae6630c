#include "engine/spec/seccomp_profile.hpp"

#include "base/text.hpp"

#include <algorithm>

namespace grua::engine {

extern const std::string_view seccomp_table;  // data/seccomp.json, compiled in

namespace {

using json::field;

struct Condition {
    std::vector<std::string> capabilities;
    std::vector<std::string> machines;
    std::string kernel;

    template <typename Self = Condition>
    static json::Fields fields() {
        return json::Fields{field("capabilities", &Self::capabilities), field("machines", &Self::machines), field("kernel", &Self::kernel)};
    }
};

struct Argument {
    std::uint32_t index = 0;
    std::string op;
    std::uint64_t value = 0;
    std::uint64_t value_two = 0;

    template <typename Self = Argument>
    static json::Fields fields() {
        return json::Fields{field("index", &Self::index), field("op", &Self::op), field("value", &Self::value),
                            field("value_two", &Self::value_two)};
    }
};

struct Rule {
    std::vector<std::string> names;
    std::optional<std::uint32_t> error;
    std::vector<Argument> args;
    Condition when;
    Condition unless;

    template <typename Self = Rule>
    static json::Fields fields() {
        return json::Fields{field("names", &Self::names), field("errno", &Self::error), field("args", &Self::args),
                            field("when", &Self::when), field("unless", &Self::unless)};
    }
};

struct Table {
    std::uint32_t default_errno = 1;
    std::map<std::string, std::vector<std::string>> architectures;
    std::vector<Rule> rules;

    template <typename Self = Table>
    static json::Fields fields() {
        return json::Fields{field("default_errno", &Self::default_errno), field("architectures", &Self::architectures),
                            field("rules", &Self::rules)};
    }
};

// --- Docker's form ---------------------------------------------------------------------------------------------------

struct DockerCondition {
    std::vector<std::string> caps;
    std::vector<std::string> arches;
    std::string min_kernel;

    template <typename Self = DockerCondition>
    static json::Fields fields() {
        return json::Fields{field("caps", &Self::caps), field("arches", &Self::arches), field("minKernel", &Self::min_kernel)};
    }
};

struct DockerArgument {
    std::uint32_t index = 0;
    std::uint64_t value = 0;
    std::uint64_t value_two = 0;
    std::string op;

    template <typename Self = DockerArgument>
    static json::Fields fields() {
        return json::Fields{field("index", &Self::index), field("value", &Self::value), field("valueTwo", &Self::value_two),
                            field("op", &Self::op)};
    }
};

struct DockerRule {
    std::string name;
    std::vector<std::string> names;
    std::string action;
    std::optional<std::uint32_t> error;
    std::vector<DockerArgument> args;
    DockerCondition includes;
    DockerCondition excludes;

    template <typename Self = DockerRule>
    static json::Fields fields() {
        return json::Fields{field("name", &Self::name),        field("names", &Self::names), field("action", &Self::action),
                            field("errnoRet", &Self::error),   field("args", &Self::args),   field("includes", &Self::includes),
                            field("excludes", &Self::excludes)};
    }
};

struct DockerArchitecture {
    std::string architecture;
    std::vector<std::string> sub_architectures;

    template <typename Self = DockerArchitecture>
    static json::Fields fields() {
        return json::Fields{field("architecture", &Self::architecture), field("subArchitectures", &Self::sub_architectures)};
    }
};

struct DockerProfile {
    std::string default_action;
    std::optional<std::uint32_t> default_errno;
    std::vector<std::string> architectures;
    std::vector<DockerArchitecture> arch_map;
    std::vector<std::string> flags;
    std::vector<DockerRule> syscalls;

    template <typename Self = DockerProfile>
    static json::Fields fields() {
        return json::Fields{field("defaultAction", &Self::default_action),
                            field("defaultErrnoRet", &Self::default_errno),
                            field("architectures", &Self::architectures),
                            field("archMap", &Self::arch_map),
                            field("flags", &Self::flags),
                            field("syscalls", &Self::syscalls)};
    }
};

/// Docker's names of machines are Go's.
std::string machine_of_go(std::string_view name) {
    if (name == "amd64") return "x86_64";
    if (name == "x86") return "i686";
    if (name == "arm64") return "aarch64";
    return std::string(name);
}

std::string scmp_of_machine(std::string_view machine) {
    if (machine == "x86_64") return "SCMP_ARCH_X86_64";
    if (machine == "aarch64") return "SCMP_ARCH_AARCH64";
    return "SCMP_ARCH_" + [](std::string text) {
        std::ranges::transform(text, text.begin(), [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; });
        return text;
    }(std::string(machine));
}

Condition from_docker(const DockerCondition& in) {
    Condition out{.capabilities = in.caps, .kernel = in.min_kernel};
    for (const auto& arch : in.arches) out.machines.push_back(machine_of_go(arch));
    return out;
}

// --- deciding --------------------------------------------------------------------------------------------------------

bool kernel_at_least(const SeccompSubject& subject, const std::string& wanted) {
    const auto parts = split(wanted, '.');
    const auto major_part = parse_int(parts[0]);
    const auto minor_part = parts.size() > 1 ? parse_int(parts[1]) : std::optional<std::int64_t>(0);
    if (!major_part || !minor_part) fail(ErrorKind::invalid_argument, "seccomp profile: invalid kernel version: {}", wanted);
    return std::pair<std::int64_t, std::int64_t>(subject.kernel) >= std::pair(*major_part, *minor_part);
}

bool holds(const Condition& when, const Condition& unless, const SeccompSubject& subject) {
    const auto has = [&](const std::string& name) { return subject.capabilities.contains(name); };
    const auto is = [&](const std::string& name) { return subject.machine == name; };
    if (!when.machines.empty() && std::ranges::none_of(when.machines, is)) return false;
    if (!std::ranges::all_of(when.capabilities, has)) return false;
    if (!when.kernel.empty() && !kernel_at_least(subject, when.kernel)) return false;
    if (std::ranges::any_of(unless.machines, is) || std::ranges::any_of(unless.capabilities, has)) return false;
    return unless.kernel.empty() || !kernel_at_least(subject, unless.kernel);
}

}  // namespace

oci::Seccomp default_seccomp(const SeccompSubject& subject) {
    static const Table table = json::parse<Table>(seccomp_table);
    oci::Seccomp out;
    out.default_action = "SCMP_ACT_ERRNO";
    out.default_errno_ret = table.default_errno;
    if (const auto found = table.architectures.find(subject.machine); found != table.architectures.end()) out.architectures = found->second;
    for (const Rule& rule : table.rules) {
        if (!holds(rule.when, rule.unless, subject)) continue;
        oci::SeccompRule made;
        made.names = rule.names;
        made.action = rule.error ? "SCMP_ACT_ERRNO" : "SCMP_ACT_ALLOW";
        made.errno_ret = rule.error;
        for (const Argument& arg : rule.args) {
            oci::SeccompArg each;
            each.index = arg.index;
            each.value = arg.value;
            each.value_two = arg.value_two;
            each.op = arg.op;
            made.args.push_back(std::move(each));
        }
        out.syscalls.push_back(std::move(made));
    }
    return out;
}

oci::Seccomp custom_seccomp(std::string_view profile, const SeccompSubject& subject) {
    const auto parsed = while_doing("Decoding seccomp profile failed", [&] { return json::parse<DockerProfile>(profile); });
    if (!parsed.architectures.empty() && !parsed.arch_map.empty())
        fail(ErrorKind::invalid_argument, "both 'architectures' and 'archMap' are specified in the seccomp profile, use either one");
    oci::Seccomp out;
    out.default_action = parsed.default_action;
    out.default_errno_ret = parsed.default_errno;
    out.architectures = parsed.architectures;
    out.flags = parsed.flags;
    for (const auto& each : parsed.arch_map) {
        if (each.architecture != scmp_of_machine(subject.machine)) continue;
        out.architectures.push_back(each.architecture);
        out.architectures.insert(out.architectures.end(), each.sub_architectures.begin(), each.sub_architectures.end());
    }
    for (const DockerRule& rule : parsed.syscalls) {
        if (!rule.name.empty() && !rule.names.empty())
            fail(ErrorKind::invalid_argument, "both 'name' and 'names' are specified in the seccomp profile, use either one");
        if (!holds(from_docker(rule.includes), from_docker(rule.excludes), subject)) continue;
        oci::SeccompRule made;
        made.names = rule.name.empty() ? rule.names : std::vector{rule.name};
        made.action = rule.action;
        made.errno_ret = rule.error;
        for (const DockerArgument& arg : rule.args) {
            oci::SeccompArg each;
            each.index = arg.index;
            each.value = arg.value;
            each.value_two = arg.value_two;
            each.op = arg.op;
            made.args.push_back(std::move(each));
        }
        out.syscalls.push_back(std::move(made));
    }
    return out;
}

}  // namespace grua::engine
