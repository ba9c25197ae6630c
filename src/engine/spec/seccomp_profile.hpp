// Which system calls a container may make: the table of data/seccomp.json, or a profile that the user gives in Docker's
// form, decided for one machine and one set of capabilities. Pure.
#pragma once

#include "oci/runtime_spec.hpp"

#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace grua::engine {

/// What a profile's conditions ask about.
struct SeccompSubject {
    std::string machine;                 ///< uname -m: "x86_64".
    std::pair<int, int> kernel;          ///< {6, 1}
    std::set<std::string> capabilities;  ///< "CAP_CHOWN" …: what the container may have.
};

oci::Seccomp default_seccomp(const SeccompSubject& subject);

/// Throws Error(invalid_argument) where `profile` is not Docker's form (docs.docker.com, "Seccomp security profiles").
oci::Seccomp custom_seccomp(std::string_view profile, const SeccompSubject& subject);

}  // namespace grua::engine
