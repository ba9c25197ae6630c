// What a client is told of a failure beside its text: where in a file it is, and which operation it was.
#pragma once

#include "build/graph.hpp"
#include "grpc/status.hpp"

#include <string>
#include <vector>

namespace grua::build {

struct Place {
    pb::SourceInfo file;
    std::vector<pb::Range> ranges;
};

pb::Range lines(int first, int last);

/// A call's end with this text.
grpc::CallError failure_at(const std::string& message, const Place& place);

/// The same for an operation, where the definition knows its place.
grpc::CallError failure_of(const std::string& message, const pb::Definition& definition, const std::string& vertex);

/// For a request of a client to a front end (`requestid`) that is none.
grpc::CallError failure_of_request(const std::string& request);

}  // namespace grua::build
