// Where a build's files come from: folders that are served to the engine, a tar on standard input, addresses that it fetches itself.
#pragma once

#include "cli/build/options.hpp"

#include <map>
#include <optional>
#include <string>

namespace grua::cli {

struct LocalFolder {
    std::string path;                          ///< Empty: there is nothing but the files below.
    std::map<std::string, std::string> files;  ///< Contents by names.
};

struct BuildInputs {
    std::map<std::string, LocalFolder> folders;  ///< By the names by which the engine asks for them.
    std::map<std::string, std::string> layouts;  ///< OCI layouts' folders, by the IDs of their stores.
    Words attributes;                            ///< For the front end.
    std::string upload;                          ///< The ID by which standard input is asked for; empty: it is not.
    std::string early;                           ///< What was read of it already.
    std::string shared_key;                      ///< The same for each build of the same folder.
    std::string dockerfile;                      ///< How it is called where it is shown.
};

/// Reads standard input where that is what a Dockerfile or a context comes from. Throws Error(invalid_argument) with docker's texts.
BuildInputs prepare_inputs(const BuildOptions& options, int standard_input);

/// True for what the engine fetches: http://, https://, git://, ssh://, git@host:path, github.com/….
bool is_remote(std::string_view context);

/// True for the beginning of a tar, packed or not.
bool is_archive(std::string_view bytes);

}  // namespace grua::cli
