// `grua build --reproducible`: what makes two builds of the same files the same image, and what differs where they are not.
#pragma once

#include "cli/build/options.hpp"
#include "client/endpoint.hpp"

#include <string>

namespace grua::cli {

/// Times are those of the context's last commit, or 1970 where it is in no repository, and no attestation is made that was not asked for:
/// it would tell when and by whom it was built. What was said otherwise stays.
void make_reproducible(BuildOptions& options);

/// What two archives of OCI images have that is not the same, as lines for people: the step, its files. Empty where they are the same.
/// Throws Error(invalid_argument) for what is no such archive.
std::string compare_archives(const std::string& first, const std::string& second);

/// Builds as it is asked for, and once more, neither from the cache; says what differs. The exit status.
int build_twice(const client::Endpoint& where, const BuildOptions& options, bool debug);

}  // namespace grua::cli
