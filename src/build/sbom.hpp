// Bills of materials (SBOM): what is in a result, said by a scanner, which is an image itself and runs as a step of the build. BuildKit's
// protocol: it finds what it looks at below /run/src and writes in-toto statements into /run/out.
#pragma once

#include "build/attestations.hpp"
#include "build/control.hpp"
#include "build/operations/operations.hpp"
#include "oci/image_config.hpp"
#include "oci/platform.hpp"

#include <map>
#include <string>
#include <vector>

namespace grua::build {

/// A result, and what else of its build is to be looked at.
struct ScanTarget {
    oci::Platform platform;
    pb::Definition core;
    std::map<std::string, pb::Definition> extras = {};  ///< By their names.
    bool ignores_cache = false;
};

struct Scanner {
    oci::Reference name;
    std::string digest;  ///< Of the manifest or index, where the name alone may come to mean another one.
    oci::ImageConfig config;
    oci::Platform platform;
    std::map<std::string, std::string> parameters;
};

/// The step: what it says is in the folder that comes of it. Pure. Throws Error(invalid_argument) where the image names no program.
pb::Definition scan(const Scanner& scanner, const ScanTarget& target);

/// Adds to `result` what the scanner is to say of each target; it is run by whoever exports that. An empty target is left out.
asio::awaitable<void> add_sboms(Workplace& place, BuildPtr build, SbomWish wish, std::string resolve_mode, std::vector<ScanTarget> targets,
                                wire::bridge::Result& result);

bool has_sbom(const wire::bridge::Result& result);

}  // namespace grua::build
