// What a request for a container meant in the version of the API that its client speaks.
#pragma once

#include "api/wire/container.hpp"

namespace grua::api {

/// Takes out what that version did not know, and puts in what was the default then. Returns warnings. Throws Error(invalid_argument), with
/// Docker's texts, where the client would be misled.
engine::StringList take_as_in(json::Version version, wire::CreateBody& body);

}  // namespace grua::api
