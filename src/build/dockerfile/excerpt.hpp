// Lines of a file as people are shown them beside a warning or an error, in BuildKit's form.
#pragma once

#include "build/dockerfile/source.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace grua::build::dockerfile {

class Excerpts {
public:
    /// `source` outlives this.
    Excerpts(std::string filename, std::string_view source);

    /// The lines that are meant are marked, some around them are there as well. Empty where `lines` are none of the file's.
    std::string of(LineRange lines) const;

private:
    std::string filename_;
    std::vector<std::string_view> lines_;
};

}  // namespace grua::build::dockerfile
