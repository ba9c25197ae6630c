// A context as a tar, as docker writes and reads it: meta.json, and tls/ENDPOINT/FILE.
#pragma once

#include "cli/docker_contexts.hpp"

namespace grua::cli {

struct ContextArchive {
    boost::json::object document;
    TlsMaterial material;
};

void write_context(int fd, const ContextArchive& archive);

/// Docker's bound for all of a context.
inline constexpr std::size_t context_limit = std::size_t{10} << 20U;

/// Throws Error(invalid_argument) for what docker does not write, not_implemented for zip.
ContextArchive read_context(std::string_view bytes);

}  // namespace grua::cli
