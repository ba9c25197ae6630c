// Compiled filters in a folder.
#include "linux/seccomp.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/log.hpp"

#include <fcntl.h>
#include <seccomp.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cstring>

namespace grua::linux {
namespace {

/// With each change of what compile_seccomp makes of a profile.
constexpr std::string_view version = "grua seccomp 1\n";

/// All that the program depends on, so that two profiles with the same text have the same program.
std::string key_text(const SeccompProfile& profile) {
    std::string text{version};
    const auto number = [&](std::uint64_t value) { text.append(std::to_string(value)) += ' '; };
    const auto word = [&](const std::string& value) {
        number(value.size());
        text.append(value) += '\n';
    };
    const auto maybe = [&](const std::optional<std::uint32_t>& value) { value ? number(*value) : void(text += "- "); };
    const auto* library = seccomp_version();
    number(library->major);
    number(library->minor);
    number(library->micro);
    number(seccomp_arch_native());
    number(seccomp_api_get());  // What the running kernel can do decides some rules.
    number(static_cast<unsigned>(profile.default_action));
    maybe(profile.default_errno);
    number(profile.architectures.size());
    for (const auto& name : profile.architectures) word(name);
    text += profile.flags ? "+ " : "- ";
    for (const auto& name : profile.flags.value_or(std::vector<std::string>{})) word(name);
    for (const auto& rule : profile.syscalls) {
        text += '\n';
        number(static_cast<unsigned>(rule.action));
        maybe(rule.errno_ret);
        number(rule.names.size());
        for (const auto& name : rule.names) word(name);
        for (const auto& argument : rule.args) {
            number(argument.index);
            number(static_cast<unsigned>(argument.op));
            number(argument.value);
            number(argument.value_two);
        }
    }
    return text;
}

/// FNV-1a. Not for security: who may write to the folder is us alone, and the whole key is compared. It names, and finds torn files.
template <typename Number>
Number fnv(std::string_view bytes, Number basis, Number prime) {
    for (const char c : bytes) basis = (basis ^ static_cast<unsigned char>(c)) * prime;
    return basis;
}

std::uint64_t checksum(std::string_view bytes) { return fnv<std::uint64_t>(bytes, 0xcbf29ce484222325, 0x100000001b3); }

std::string file_name(std::string_view key) {
    __extension__ using Wide = unsigned __int128;
    constexpr Wide basis = (Wide{0x6c62272e07bb0142} << 64U) | 0x62b821756295c58d, prime = (Wide{1} << 88U) | 0x13b;
    const Wide hash = fnv<Wide>(key, basis, prime);
    return fmt::format("{:016x}{:016x}.bpf", static_cast<std::uint64_t>(hash >> 64U), static_cast<std::uint64_t>(hash));
}

struct Header {
    std::uint64_t checksum;  // Of all that follows it.
    std::uint64_t key_size;
    std::uint32_t instructions, flags;
};

std::string serialize(std::string_view key, const SeccompProgram& program) {
    Header header{.checksum = 0,
                  .key_size = key.size(),
                  .instructions = static_cast<std::uint32_t>(program.instructions.size()),
                  .flags = program.flags};
    std::string bytes(reinterpret_cast<const char*>(&header), sizeof header);
    bytes += key;
    bytes.append(reinterpret_cast<const char*>(program.instructions.data()), program.instructions.size() * sizeof(sock_filter));
    header.checksum = checksum(std::string_view{bytes}.substr(sizeof header.checksum));
    std::memcpy(bytes.data(), &header.checksum, sizeof header.checksum);
    return bytes;
}

std::optional<SeccompProgram> deserialize(std::string_view bytes, std::string_view key) {
    Header header{};
    if (bytes.size() < sizeof header) return std::nullopt;
    std::memcpy(&header, bytes.data(), sizeof header);
    if (header.key_size != key.size() || header.instructions > BPF_MAXINSNS ||
        bytes.size() != sizeof header + key.size() + header.instructions * sizeof(sock_filter) ||
        header.checksum != checksum(bytes.substr(sizeof header.checksum)) || bytes.substr(sizeof header, key.size()) != key)
        return std::nullopt;
    SeccompProgram program{.instructions = std::vector<sock_filter>(header.instructions), .flags = header.flags};
    std::memcpy(program.instructions.data(), bytes.data() + sizeof header + key.size(), header.instructions * sizeof(sock_filter));
    return program;
}

/// Nobody else may have written it: a filter from another hand is a container without one.
bool is_ours(int fd, mode_t type) {
    struct stat info{};
    return ::fstat(fd, &info) == 0 && (info.st_mode & S_IFMT) == type && info.st_uid == ::geteuid() && (info.st_mode & 022U) == 0;
}

std::optional<SeccompProgram> read_program(const std::string& directory, const std::string& name, std::string_view key) {
    const Fd folder{::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!folder || !is_ours(folder.get(), S_IFDIR)) return std::nullopt;
    const Fd file{::openat(folder.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC)};
    if (!file || !is_ours(file.get(), S_IFREG)) return std::nullopt;
    return deserialize(read_all(file.get(), name), key);
}

void write_program(const std::string& directory, const std::string& name, std::string_view bytes) {
    make_directories(directory, 0700);
    const Fd folder{::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!folder) fail_errno("open {}", directory);
    if (!is_ours(folder.get(), S_IFDIR)) fail(ErrorKind::forbidden, "{}: others may write to it", directory);
    replace_file(directory + "/" + name, bytes, 0600);
}

}  // namespace

const SeccompProgram& SeccompCache::get(const SeccompProfile& profile) {
    auto key = key_text(profile);
    if (const auto found = programs_.find(key); found != programs_.end()) return found->second;
    const auto name = file_name(key);
    std::optional<SeccompProgram> program;
    try {
        if (!directory_.empty()) program = read_program(directory_, name, key);
    } catch (const Error& error) {
        log::warn("seccomp cache: {}", error.what());
    }
    if (!program) {
        program = compile_seccomp(profile);
        try {
            if (!directory_.empty()) write_program(directory_, name, serialize(key, *program));
        } catch (const Error& error) {
            log::warn("seccomp cache: {}", error.what());
        }
    }
    return programs_.emplace(std::move(key), std::move(*program)).first->second;
}

}  // namespace grua::linux
