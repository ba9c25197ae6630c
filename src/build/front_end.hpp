// The front end "dockerfile.v0": options of a client and the files of its session become a graph and an image's configuration.
#pragma once

#include "build/control.hpp"
#include "build/operations/operations.hpp"
#include "build/wire/bridge.pb.h"

#include <functional>
#include <map>
#include <string>
#include <string_view>

namespace grua::build {

using FrontEndOptions = std::map<std::string, std::string, std::less<>>;
using FrontEndInputs = std::map<std::string, pb::Definition, std::less<>>;  ///< Graphs that others have made.

/// Runs a graph, of which the front end has to know what is in it.
using MakeTree = std::function<asio::awaitable<TreePtr>(pb::Definition definition)>;

/// Asks another front end, by the options "source" and "cmdline", in the place of this one.
using Forward = std::function<asio::awaitable<wire::bridge::Result>(FrontEndOptions options)>;

/// Whether a front end that is named as an image is ours all the same: Docker's own, of whichever version.
bool is_dockerfile_front_end(std::string_view source);

/// A result with the graph of each platform that is asked for, and metadata as BuildKit's has them. Throws grpc::CallError with the place
/// in the Dockerfile.
asio::awaitable<wire::bridge::Result> run_front_end(Workplace& place, BuildPtr build, FrontEndOptions options, FrontEndInputs inputs,
                                                    MakeTree make, Forward forward);

}  // namespace grua::build
