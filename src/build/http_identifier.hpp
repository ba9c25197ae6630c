// What a graph says of a file of a web server, and by which key what came of it is known. Pure.
#pragma once

#include "base/fd.hpp"
#include "base/text.hpp"
#include "build/graph.hpp"
#include "oci/digest.hpp"

#include <sys/types.h>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace grua::build {

/// What a graph says of the file.
struct HttpIdentifier {
    std::string url;  ///< With credentials, where it has some.
    std::optional<oci::Digest> checksum;
    std::string filename;  ///< Empty: the server's choice.
    mode_t mode = 0;       ///< 0: none is asked for, it is 0600.
    uid_t uid = 0;
    gid_t gid = 0;
    std::string header_secret;                                 ///< The name of a secret for Authorization.
    std::vector<std::pair<std::string, std::string>> headers;  ///< Accept and User-Agent, by name.

    bool is_upload() const;
};

/// Throws Error(invalid_argument), or not_implemented for what is not done here.
HttpIdentifier read_http_source(const pb::SourceOp& source);

/// What it is now.
struct HttpFound {
    HttpIdentifier what;
    oci::Digest digest;
    std::string filename;
    std::optional<Time> last_modified;
    Fd file;  ///< For reading; none where only the digest is known.
};
using HttpFoundPtr = std::shared_ptr<const HttpFound>;

/// A digest of all that the file in its folder depends on, made of the same things as BuildKit's.
std::string key_of(const HttpFound& found);

/// Throws Error(invalid_argument) of a value that would end its line.
void check_header_value(std::string_view name, std::string_view value);

}  // namespace grua::build
