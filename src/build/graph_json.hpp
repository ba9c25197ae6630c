// Messages of a graph in JSON, as BuildKit's programs write and read them: in the details of errors, in what a front end answers about a
// Dockerfile, in provenance. Names are the messages' own; what is empty is left out, bytes are base64, and a choice between messages
// ("op", "action", "user") is an object of its own whose name begins with a capital letter.
#pragma once

#include "base/codec.hpp"
#include "build/graph.hpp"

namespace grua::build {

json::Value to_json(const pb::Op& op);
json::Value to_json(const pb::Definition& definition);
json::Value to_json(const pb::SourceInfo& file);
json::Value to_json(const pb::Locations& locations);
json::Value to_json(const pb::Location& location);
json::Value to_json(const pb::Range& range);

/// `{"ranges":[…]}`
json::Value location_json(const std::vector<pb::Range>& ranges);

}  // namespace grua::build
