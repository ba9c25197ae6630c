#include "cli/output_file.hpp"

#include "base/error.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cstdlib>

namespace grua::cli {

OutputFile::OutputFile(std::string path, std::string doing) : path_(std::move(path)), doing_(std::move(doing)) {
    struct stat present{};
    const bool exists = ::stat(path_.c_str(), &present) == 0;
    if (exists && S_ISDIR(present.st_mode)) fail(ErrorKind::invalid_argument, "{}: {} is a directory", doing_, path_);
    if (exists && !S_ISREG(present.st_mode)) {
        file_ = Fd(::open(path_.c_str(), O_WRONLY | O_CLOEXEC));
        if (!file_) fail_errno("{}: open {}", doing_, path_);
        return;
    }
    aside_ = path_ + ".XXXXXX";
    file_ = Fd(::mkostemp(aside_.data(), O_CLOEXEC));
    if (!file_) fail_errno("{}: open {}", doing_, path_);
}

OutputFile::~OutputFile() {
    if (!aside_.empty()) ::unlink(aside_.c_str());
}

void OutputFile::publish() {
    if (aside_.empty()) return;
    if (::rename(aside_.c_str(), path_.c_str()) != 0) fail_errno("{}: rename {}", doing_, path_);
    aside_.clear();
}

}  // namespace grua::cli
