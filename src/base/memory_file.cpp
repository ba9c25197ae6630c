#include "base/memory_file.hpp"

#include "base/error.hpp"
#include "base/files.hpp"

#include <sys/mman.h>
#include <unistd.h>

namespace grua {

Fd memory_file(std::string_view bytes, const char* what) {
    Fd file{::memfd_create(what, MFD_CLOEXEC)};
    if (!file) fail_errno("make the memory file {}", what);
    write_all(file.get(), bytes, what);
    if (::lseek(file.get(), 0, SEEK_SET) != 0) fail_errno("rewind {}", what);
    return file;
}

}  // namespace grua
