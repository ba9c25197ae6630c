#include "runtime/program.hpp"

#include "base/error.hpp"
#include "base/text.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <ranges>
#include <set>

namespace grua::runtime {
namespace {

enum class Executable { yes, missing, forbidden, directory };

Executable look_at(const std::string& path, int& error) {
    struct stat about{};
    error = 0;
    if (::stat(path.c_str(), &about) != 0) {
        error = errno;
        return error == EACCES || error == EPERM ? Executable::forbidden : Executable::missing;
    }
    if (S_ISDIR(about.st_mode)) return Executable::directory;
    // Asked of the kernel with the identity that will execute: a root without CAP_DAC_OVERRIDE may not, and neither may
    // anyone on a noexec mount - that one execve will tell.
    if (::faccessat(AT_FDCWD, path.c_str(), X_OK, AT_EACCESS) == 0) return Executable::yes;
    error = errno;
    if (error == ENOSYS) return (about.st_mode & 0111U) != 0 ? Executable::yes : Executable::forbidden;
    return Executable::forbidden;
}

}  // namespace

std::string_view variable(const std::vector<std::string>& environment, std::string_view name) noexcept {
    for (const std::string& each : std::views::reverse(environment)) {
        if (each.size() > name.size() && each.starts_with(name) && each[name.size()] == '=')
            return std::string_view(each).substr(name.size() + 1);
    }
    return {};
}

std::vector<std::string> last_of_each(const std::vector<std::string>& environment) {
    std::vector<std::string> out;
    std::set<std::string_view> seen;
    for (const std::string& each : std::views::reverse(environment))
        if (seen.insert(std::string_view(each).substr(0, each.find('='))).second) out.push_back(each);
    std::ranges::reverse(out);
    return out;
}

std::string find_program(std::string_view name, const std::vector<std::string>& environment) {
    int error = 0;
    if (name.contains('/')) {
        std::string path{name};
        switch (look_at(path, error)) {
            case Executable::yes:
                return path;
            case Executable::directory:
                throw Error(ErrorKind::forbidden, fmt::format("exec: {:?}: is a directory", name), EISDIR);
            case Executable::forbidden:
                throw Error(ErrorKind::forbidden, fmt::format("exec: {:?}: permission denied", name), EACCES);
            case Executable::missing:
                throw Error(ErrorKind::not_found,
                            fmt::format("exec: {:?}: stat {}: {}", name, name, to_lower(std::generic_category().message(error))), error);
        }
    }

    bool forbidden = false;
    if (!name.empty()) {
        for (const std::string& directory : split(variable(environment, "PATH"), ':')) {
            // A relative entry, the empty one too, would run what lies in the working directory.
            if (!directory.starts_with('/')) continue;
            std::string path = fmt::format("{}/{}", directory, name);
            const Executable found = look_at(path, error);
            if (found == Executable::yes) return path;
            forbidden = forbidden || found == Executable::forbidden;
        }
    }
    if (forbidden) throw Error(ErrorKind::forbidden, fmt::format("exec: {:?}: permission denied", name), EACCES);
    throw Error(ErrorKind::not_found, fmt::format("exec: {:?}: executable file not found in $PATH", name), ENOENT);
}

}  // namespace grua::runtime
