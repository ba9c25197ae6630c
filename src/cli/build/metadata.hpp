// What an engine says of a result, for --metadata-file, --iidfile and -q. Pure.
#pragma once

#include "cli/build/options.hpp"

#include <string>

namespace grua::cli {

/// The digest of the image's configuration, or of the image; empty where there is none.
std::string image_id_of(const Words& response);

/// As docker writes it: members in their order, and what is an object in base64 as that object.
std::string metadata_text(const Words& response);

}  // namespace grua::cli
