// "A start was asked for", in a container's live folder: written before its launch, taken away after its end has been stored. With what
// that start was given, which the store has only later.
#pragma once

#include "engine/model/record.hpp"

#include <optional>
#include <string>

namespace grua::engine {

/// Blocks.
void write_start_mark(const std::string& live, const ContainerRecord& record);

/// Into `record`, what the mark says of its networks. False where there is no mark. Throws Error where it cannot be read. Blocks.
bool read_start_mark(const std::string& live, ContainerRecord& record);

/// Of a start and its end: everything of a run that is in the live folder. Blocks.
void remove_start_traces(const std::string& live, bool keeps_record);

}  // namespace grua::engine
