// A file that a command writes: whole under its name, or not there.
#pragma once

#include "base/fd.hpp"

#include <string>

namespace grua::cli {

/// A new file under a name of its own until it is complete; a device or a pipe is written to as it is.
class OutputFile {
public:
    /// `doing` begins the texts of errors: "failed to save image".
    OutputFile(std::string path, std::string doing);
    ~OutputFile();
    OutputFile(const OutputFile&) = delete;
    OutputFile& operator=(const OutputFile&) = delete;

    int fd() const noexcept { return file_.get(); }
    void publish();

private:
    std::string path_;
    std::string doing_;
    std::string aside_;  ///< Empty where there is none to remove.
    Fd file_;
};

}  // namespace grua::cli
