// What others than we say of a result (in-toto): a front end of what it knows, a scanner of what it finds. It comes as files of a tree that
// the build has made, each a predicate alone, or as a folder of whole statements. What is in these files is anybody's.
#pragma once

#include "build/provenance.hpp"
#include "build/wire/bridge.pb.h"
#include "linux/root.hpp"

#include <cstddef>
#include <string>
#include <vector>

namespace grua::build {

/// More is refused, of one result: bytes of files, what these are in memory, and statements.
inline constexpr std::size_t statement_bytes_limit = std::size_t{40} << 20U;
inline constexpr std::size_t statement_memory_limit = std::size_t{160} << 20U;
inline constexpr std::size_t statement_count_limit = 256;

struct GivenStatement {
    struct About {
        bool is_result = false;  ///< The result that is exported, under its own names, ...
        Subject subject;         ///< ... and by the name in here as well, where there is one; else what is here.
    };
    std::string filename;  ///< "sbom.spdx.json", where files are exported.
    std::string predicate_type;
    json::Value predicate;
    std::vector<About> about;
    bool is_core = false;      ///< Of the result itself, beside what is said of other parts of its build.
    bool inline_only = false;  ///< See has_statement().
};

/// `files`: the tree that it came in; `room`: how many bytes of files may still come. Throws Error that names the file: invalid_argument
/// for what is no statement, too large or about how the result came to be, which nobody but we can know; not_found.
std::vector<GivenStatement> read_statements(const wire::bridge::Attestation& attestation, const Root& files, std::size_t& room);

/// `own`: of the result that is exported.
json::Value statement_of(const GivenStatement& given, const std::vector<Subject>& own);

}  // namespace grua::build
