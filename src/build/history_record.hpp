// What the history keeps of a build, and which records somebody asks for. Pure.
#pragma once

#include "base/text.hpp"
#include "build/filter.hpp"
#include "build/wire/control.pb.h"

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::build {

using HistoryRecord = wire::control::BuildHistoryRecord;

/// Of a build that begins. Passwords and tokens of what was asked for are no part of it.
HistoryRecord begin_record(const wire::control::SolveRequest& request, Time now);

/// "https://user:password@host/path": "https://xxxxx:xxxxx@host/path", wherever such a URL is in the text. The user of an ssh URL stays.
std::string text_without_credentials(std::string_view text);

/// Steps and warnings of all that a build has told.
void count_steps(const std::vector<wire::control::StatusResponse>& told, HistoryRecord& out);

/// As BuildKit keeps it: messages, each after its length in four bytes, the lowest first.
std::string write_log(const std::vector<wire::control::StatusResponse>& told);

/// "running", "completed", "error" or "canceled".
std::string_view status_of(const HistoryRecord& record);

/// Lines of CSV: status==, ref~=, repository~= and so on as in build/filter.hpp; startedAt, completedAt and duration by <, <=, > and >=
/// with a duration of Go's, or the first two with a time.
class HistoryFilter {
public:
    /// Throws Error(invalid_argument).
    static HistoryFilter parse(const std::vector<std::string>& lines, Time now);

    bool is_empty() const noexcept { return any_.empty(); }
    bool matches(const HistoryRecord& record) const;

private:
    using Condition = std::function<bool(const HistoryRecord&)>;
    std::vector<std::vector<Condition>> any_;
};

}  // namespace grua::build
