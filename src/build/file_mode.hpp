// Modes as `COPY --chmod` has them: octal, or symbolic as chmod(1) of BSD reads them. Pure.
#pragma once

#include <sys/types.h>
#include <string_view>
#include <vector>

namespace grua::build {

class ModeChange {
public:
    /// "644", "u=rwX,go-w". No umask is applied. Throws Error(invalid_argument).
    static ModeChange parse(std::string_view text);

    /// Every file gets these permission bits.
    static ModeChange exactly(mode_t mode);

    /// The permission bits of what has `mode`, which is with the kind: X is set on folders, and on what was executable by anybody.
    mode_t apply(mode_t mode) const;

private:
    class Parser;
    struct Step {
        enum class Kind { set, clear, set_if_executable, copy_user, copy_group, copy_others };
        enum class To { add, remove, replace };
        Kind kind = Kind::set;
        mode_t bits = 0;  ///< Of a copy those of the classes that it goes to.
        To to = To::add;  ///< Of a copy.
    };
    static mode_t copy(const Step& step, mode_t mode);

    std::vector<Step> steps_;
};

}  // namespace grua::build
