#include "oci/platform.hpp"

#include "base/text.hpp"

#include <sys/utsname.h>
#include <algorithm>
#include <array>

namespace grua::oci {
namespace {

struct Synonym {
    std::string_view name;
    std::string_view architecture;
    std::string_view variant;
};
constexpr std::array synonyms{
    Synonym{"x86_64", "amd64", ""}, Synonym{"x86-64", "amd64", ""},    Synonym{"aarch64", "arm64", ""},   Synonym{"i386", "386", ""},
    Synonym{"i686", "386", ""},     Synonym{"armhf", "arm", "v7"},     Synonym{"armel", "arm", "v6"},     Synonym{"armv7l", "arm", "v7"},
    Synonym{"armv6l", "arm", "v6"}, Synonym{"riscv64", "riscv64", ""}, Synonym{"ppc64le", "ppc64le", ""},
};

constexpr std::array<std::string_view, 4> operating_systems{"linux", "windows", "darwin", "freebsd"};

/// Of a word that stands alone; behind a system's name any is taken.
constexpr auto architectures = std::to_array<std::string_view>(
    {"386", "amd64", "arm", "arm64", "loong64", "mips", "mipsle", "mips64", "mips64le", "ppc64", "ppc64le", "riscv64", "s390x", "wasm"});

void normalise(Platform& platform) {
    platform.os = to_lower(platform.os);
    platform.architecture = to_lower(platform.architecture);
    platform.variant = to_lower(platform.variant);
    const auto found = std::ranges::find(synonyms, platform.architecture, &Synonym::name);
    if (found != synonyms.end()) {
        platform.architecture = found->architecture;
        if (platform.variant.empty()) platform.variant = found->variant;
    }
    if (platform.architecture == "arm64" && (platform.variant == "8" || platform.variant == "v8")) platform.variant.clear();
    if (platform.architecture == "amd64" && platform.variant == "v1") platform.variant.clear();
    if (platform.architecture == "arm" && platform.variant.empty()) platform.variant = "v7";
    if (platform.architecture == "arm" && platform.variant.size() == 1) platform.variant.insert(0, "v");
}

}  // namespace

Platform Platform::parse(std::string_view text) {
    const std::vector<std::string> parts = split(text, '/');
    const bool plain = std::ranges::all_of(text, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.' || c == '/';
    });
    if (!plain || parts.size() > 3 || std::ranges::any_of(parts, &std::string::empty)) {
        fail(ErrorKind::invalid_argument, "\"{}\" is an invalid platform: it is written os[/architecture[/variant]]", text);
    }
    Platform out = host();
    out.variant.clear();
    if (parts.size() == 1) {
        const std::string word = to_lower(parts[0]);
        const bool is_system = std::ranges::find(operating_systems, word) != operating_systems.end();
        const bool is_machine = std::ranges::find(architectures, word) != architectures.end() ||
                                std::ranges::find(synonyms, word, &Synonym::name) != synonyms.end();
        if (!is_system && !is_machine) fail(ErrorKind::invalid_argument, "\"{}\": unknown operating system or architecture", text);
        (is_system ? out.os : out.architecture) = word;
    } else {
        out.os = parts[0];
        out.architecture = parts[1];
        if (parts.size() == 3) out.variant = parts[2];
    }
    normalise(out);
    return out;
}

Platform Platform::host() {
    utsname name{};
    ::uname(&name);
    Platform out{.architecture = name.machine, .os = "linux", .variant = {}, .os_version = {}};
    normalise(out);
    return out;
}

Platform Platform::processor() {
    Platform out = host();
#ifdef __x86_64__
    if (__builtin_cpu_supports("x86-64-v4")) {
        out.variant = "v4";
    } else if (__builtin_cpu_supports("x86-64-v3")) {
        out.variant = "v3";
    } else if (__builtin_cpu_supports("x86-64-v2")) {
        out.variant = "v2";
    }
#endif
    return out;
}

std::string Platform::text() const {
    return variant.empty() ? fmt::format("{}/{}", os, architecture) : fmt::format("{}/{}/{}", os, architecture, variant);
}

int Platform::fitness(const Platform& wanted) const {
    constexpr int exact = 100;
    Platform mine = *this;
    normalise(mine);
    if (mine.os != wanted.os || mine.architecture != wanted.architecture) return 0;
    if (mine.variant == wanted.variant) return exact;
    if (mine.variant.empty()) return 1;
    // Variants are "v5", "v6", "v7", of amd64 "v2" to "v4": an older one runs on a newer machine, a newer one does not run on an older.
    const bool has_levels = mine.architecture == "arm" || mine.architecture == "amd64";
    if (has_levels && mine.variant < wanted.variant) return 1 + (mine.variant.back() - '0');
    return 0;
}

}  // namespace grua::oci
