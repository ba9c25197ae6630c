// Why an operation of a build was not taken from the cache: which file, variable or base is another one than in the nearest earlier build
// that had it. Pure.
#pragma once

#include "build/wire/made.pb.h"

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace grua::cli {

struct Explanation {
    std::string step;
    std::vector<std::string> reasons;  ///< Sentences.
};

/// Of the operations that were done, those that `step` names: by number ("3", "2/3"), by a part of the name, or all where it is empty.
/// `earlier` gives the builds of the same project before this one, the last one first, and is asked for no more of them than is needed.
std::vector<Explanation> explain(const wire::made::MadeOf& build, const std::string& step,
                                 const std::function<std::optional<wire::made::MadeOf>()>& earlier);

/// As lines for people; says so where nothing was done.
std::string explanations_text(const std::vector<Explanation>& explanations, const std::string& step);

}  // namespace grua::cli
