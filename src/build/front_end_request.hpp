// A client asks about a Dockerfile in place of a build: `docker build --check`, `--call`. Nothing is built; of images only their
// configurations are looked at.
#pragma once

#include "base/async.hpp"
#include "build/dockerfile/base_image.hpp"
#include "build/dockerfile/lint_rules.hpp"
#include "build/dockerfile/stage_graph.hpp"
#include "build/graph.hpp"
#include "build/ignore_file.hpp"
#include "build/wire/bridge.pb.h"

#include <functional>
#include <optional>
#include <string>

namespace grua::build {

struct FrontEndRequest {
    std::string id;       ///< "frontend.lint"
    pb::SourceInfo file;  ///< The Dockerfile, with what has loaded it.
    dockerfile::BuildInputs inputs;
    const IgnoreFile* ignore = nullptr;  ///< Outlives the call.
    std::optional<dockerfile::LintConfig> check;

    /// Of an image, or of what stands for it. Throws Error where it cannot be had.
    std::function<asio::awaitable<dockerfile::BaseImage>(std::string name, oci::Platform platform)> base_image;
    /// Whether something else stands for the stage of this name.
    std::function<bool(const std::string& name, const oci::Platform& platform)> is_replaced;
};

/// A result without a graph; its metadata is the answer. Throws grpc::CallError for a request that is none, and Error.
asio::awaitable<wire::bridge::Result> run_request(FrontEndRequest request);

}  // namespace grua::build
