// URLs of git repositories as BuildKit takes them: for a context, for ADD, in a graph. Pure.
//
//     https://host/path.git#REF:FOLDER    http, ssh and git as well; "?" has REF and FOLDER by name, and more
//     user@host:path#REF:FOLDER           as scp writes it
//     github.com/owner/name               for a context only
//
// A URL comes from anybody and goes to a program: none that this parses has a host, a user, a path or a ref that the program could take for
// an option (CVE-2017-1000117), nor a control character.
#pragma once

#include "build/url_text.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace grua::build {

struct GitUrl {
    std::string scheme;  ///< "http", "https", "ssh", "git"; "ssh" for scp's form. "file" where that was allowed.
    std::string host;    ///< With its port.
    std::string path;    ///< Of scp's form without a slash at its front.
    std::optional<UrlUser> user;
    std::vector<std::pair<std::string, std::string>> query;
    std::string ref;
    std::string folder;  ///< Clean, without a slash at its front; empty for all of it.
    std::string remote;  ///< For git: with the user, without query and fragment.

    /// Without credentials; scp's form keeps its user, without whom it is none.
    std::string shown() const { return without_credentials(remote); }
    /// "host/path#ref:folder", by which a source of a graph is called.
    std::string name(std::string_view with_ref, std::string_view with_folder) const;
};

enum class GitFiles { refused, allowed };  ///< "file://", which is this host's.

/// Nothing where the text has none of the forms. Throws Error(invalid_argument) where it has one, and is wrong.
std::optional<GitUrl> parse_git_url(std::string_view text, GitFiles files = GitFiles::refused);

/// Whether it has one of the forms, right or wrong.
bool is_git_form(std::string_view text);

/// What a context or ADD says, with the choices that are in the query.
struct GitReference {
    std::string remote;      ///< As GitUrl's; of the short form "github.com/…" as it is.
    std::string short_name;  ///< Of the repository.
    std::string ref;         ///< A branch, a tag, a commit; empty for the repository's own choice.
    std::string checksum;    ///< The commit must begin with it.
    std::string folder;
    std::optional<bool> keep_git_dir;
    std::optional<bool> submodules;
    std::string mtime;  ///< "checkout", "commit"; empty where it is not said.
    bool fetch_by_commit = false;
    bool is_short_form = false;     ///< It could be a path as well.
    bool is_not_encrypted = false;  ///< "git://", "http://"
};

/// Nothing where it is not to be fetched by git: of http and https only what ends in ".git" is. Throws Error(invalid_argument).
std::optional<GitReference> parse_git_reference(std::string_view text);

/// 40 or 64 digits of lower-case hex.
bool is_git_commit(std::string_view text) noexcept;

/// A name that git could have given; empty is right. Throws Error(invalid_argument, `invalid git ref "-x"`).
void check_git_ref(std::string_view ref);

/// "a/../b/" is "b"; nothing leads above the top.
std::string clean_git_folder(std::string_view folder);

}  // namespace grua::build
