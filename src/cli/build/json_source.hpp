// Places in source files as others write them in JSON.
#pragma once

#include "build/wire/graph.pb.h"
#include "cli/template.hpp"

namespace grua::cli {

/// {"filename", "language", "data": base64}
grua::wire::graph::SourceInfo read_json_source(const Value& value);

/// [{"start": {"line"}, "end": {"line"}}]
void read_json_ranges(const Value& value, google::protobuf::RepeatedPtrField<grua::wire::graph::Range>& out);

}  // namespace grua::cli
