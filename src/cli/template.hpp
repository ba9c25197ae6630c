// Docker's --format: base/template.hpp under the names that this room has.
#pragma once

#include "base/template.hpp"

namespace grua::cli {

using templates::pretty_json;
using templates::print_value;
using templates::Template;
using templates::template_depth_limit;
using templates::TemplateOptions;
using templates::to_json;
using templates::Value;

}  // namespace grua::cli
