// Builds that run and that have ended, as `grua builder history` shows them. What is not about talking to the engine is pure.
#pragma once

#include "base/text.hpp"
#include "build/wire/control.pb.h"
#include "cli/template.hpp"
#include "client/endpoint.hpp"

#include <functional>
#include <string>
#include <vector>

namespace grua::cli {

using BuildRecord = wire::control::BuildHistoryRecord;

/// As the engine takes them: "status=error" and "ref=x" with a second '=', all others as they are.
std::vector<std::string> history_filters(const std::vector<std::string>& filters);

/// The newest first, those that run before those that have ended.
std::vector<BuildRecord> list_builds(const client::Endpoint& where, const std::vector<std::string>& filters);

/// By its ID or by how that begins; the newest where `name` is empty. Throws Error(not_found), Error(invalid_argument) where several
/// begin so.
const BuildRecord& choose_build(const std::vector<BuildRecord>& builds, const std::string& name);

void remove_build(const client::Endpoint& where, const std::string& ref);

/// All that it has told, in parts.
void replay_build(const client::Endpoint& where, const std::string& ref,
                  const std::function<void(const wire::control::StatusResponse&)>& told);

/// Sentences about why the steps that `step` names (see why.hpp) were not taken from the cache. `builds`: what there is. Throws
/// Error(not_found) where nothing is kept of the build.
std::string why_of(const client::Endpoint& where, const std::vector<BuildRecord>& builds, const BuildRecord& build,
                   const std::string& step);

/// What a build did, one operation after the other as they began.
std::vector<wire::control::Vertex> steps_of(const std::vector<wire::control::StatusResponse>& told);

/// "Running", "Completed", "Error", "Canceled".
std::string status_text(const BuildRecord& record);

/// For --format: a row of the list, and all that is known of one.
Value history_row(const BuildRecord& record, bool truncate, Time now);
Value history_document(const BuildRecord& record, const std::vector<wire::control::Vertex>& steps, Time now);

/// For people.
std::string history_details(const Value& document);

}  // namespace grua::cli
