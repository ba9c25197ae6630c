// Why a build has failed, with the lines of the Dockerfile that it has failed at.
#pragma once

#include "build/wire/errors.pb.h"
#include "grpc/status.hpp"

#include <string>
#include <vector>

namespace grua::cli {

/// What an engine says beside a status: the innermost first. What cannot be read is left out.
std::vector<grua::wire::errors::Source> sources_of(const grpc::Status& status);

/// "Dockerfile:2", and the lines around; empty where the lines are not in the file.
std::string excerpt_of(const grua::wire::graph::SourceInfo& file,
                       const google::protobuf::RepeatedPtrField<grua::wire::graph::Range>& ranges);

}  // namespace grua::cli
