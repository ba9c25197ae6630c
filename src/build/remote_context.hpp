// A build's context that is not a folder of the client's: a git repository, an archive or a Dockerfile on a web server, what the client
// uploads. As parts of the graph that the front end makes; also what ADD takes from elsewhere.
//
// A file of a web server is looked at before it is known what it is: the front end has its `source` made, opens `filename` in it, and asks
// is_context_archive().
#pragma once

#include "build/draft.hpp"
#include "build/git_url.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace grua::build {

struct RemoteContext {
    enum class Kind { git, http };
    Kind kind = Kind::git;
    pb::Op source;
    std::string name;      ///< As people see it: "[internal] load git source https://…".
    std::string filename;  ///< Of a file; empty for a repository.
};

struct RemoteContextOptions {
    bool keep_git_dir = false;  ///< BUILDKIT_CONTEXT_KEEP_GIT_DIR
    bool commit_times = false;  ///< SOURCE_DATE_EPOCH is set: files have the times of the commit.
};

/// `context` is the front end's option of this name. Nothing where it is a folder of the client's. Throws Error(invalid_argument) for a
/// repository that is named wrong.
std::optional<RemoteContext> find_remote_context(std::string_view context, const RemoteContextOptions& options = {});

/// Whether a file is unpacked, and is the Dockerfile otherwise. Blocks.
bool is_context_archive(int file);

/// The context out of its source: the repository as it is, the archive unpacked, or the folder with the Dockerfile in it.
Draft::Output add_remote_context(Draft& draft, const RemoteContext& context, bool is_archive);

/// A folder of a context as the whole ("contextsubdir").
Draft::Output add_context_folder(Draft& draft, const Draft::Output& context, const std::string& folder);

/// What a repository is as a source of a graph. Throws Error(invalid_argument).
pb::Op git_operation(const GitReference& reference, bool keep_git_dir = false, bool commit_times = false);

}  // namespace grua::build
