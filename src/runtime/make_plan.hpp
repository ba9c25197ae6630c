// From a request to a Plan: what is checked and opened on the host before there is a child.
#pragma once

#include "runtime/plan.hpp"

namespace grua::runtime {

/// Which namespaces are made and which are joined. Takes the request's network namespace.
void plan_namespaces(Plan& plan, CreateRequest& request);
/// The root, the mounts, and where they begin from; after plan_namespaces(). Takes the request's root.
void plan_mounts(Plan& plan, CreateRequest& request);

}  // namespace grua::runtime
