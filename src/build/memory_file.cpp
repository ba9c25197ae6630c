#include "build/memory_file.hpp"

#include "base/error.hpp"
#include "base/files.hpp"

#include <sys/mman.h>

namespace grua::build {

Fd memory_file(const std::string& text) {
    Fd out{::memfd_create("document", MFD_CLOEXEC)};
    if (!out) fail_errno("make a file in memory");
    write_all(out.get(), text, "a document");
    return out;
}

}  // namespace grua::build
