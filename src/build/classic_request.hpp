// What POST /build asks for. Pure.
//
// Docker has two builders behind it: version 1 is told of in lines for people, version 2 in BuildKit's messages. Here one builder does
// both, so what only version 1 cannot do (RUN --mount, COPY --chmod, heredocs) it can, and what only its containers could is refused.
#pragma once

#include "engine/model/documents.hpp"
#include "oci/reference.hpp"
#include "registry/credentials.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::build {

enum class ClassicVersion : std::uint8_t { lines, trace };

struct ClassicRequest {
    struct Output {
        std::string type;
        std::map<std::string, std::string> attributes;
    };

    ClassicVersion version = ClassicVersion::lines;
    std::string dockerfile;  ///< Its path in the context; empty: "Dockerfile".
    std::vector<std::string> names;
    std::vector<std::string> extra_hosts;
    std::string remote;  ///< Empty: the body is the context.
    std::string session;
    std::string id;  ///< By which it can be cancelled, and gets an upload.
    bool is_quiet = false;
    bool no_cache = false;
    bool pull = false;
    bool tells_ids = true;                ///< Clients before API 1.30 know no "aux".
    std::vector<std::string> cache_from;  ///< Images. In version 1 only what they are made of is known; here, all is where one of them is.
    std::map<std::string, std::optional<std::string>, std::less<>> arguments;  ///< Without a value it is named only.
    std::map<std::string, std::string> labels;
    std::string network_mode;
    std::string platform;
    std::string target;
    std::string cgroup_parent;
    std::int64_t shm_size = 0;
    std::vector<engine::Ulimit> ulimits;
    engine::Resources limits;  ///< Memory and processor of programs.
    std::vector<Output> outputs;
    std::map<std::string, registry::Credentials, std::less<>> credentials;

    /// Files of another kind come out otherwise.
    bool makes_image() const { return outputs.empty() || outputs.front().type == "moby" || outputs.front().type == "image"; }

    /// It is the context of another one.
    bool is_upload() const { return version == ClassicVersion::trace && id.starts_with("upload-request:"); }
    bool wants_upload() const { return remote == "upload-request"; }
    bool has_body() const { return remote.empty(); }
    bool has_session_context() const { return remote == "client-session"; }
};

/// By hosts. What cannot be read is left out, as dockerd does: a build that needs none works. `header`: X-Registry-Config.
std::map<std::string, registry::Credentials, std::less<>> read_registry_config(std::string_view header);

// Its words as the builder has them; each throws Error(invalid_argument).

/// With a tag each, each once.
std::vector<oci::Reference> names_of(const ClassicRequest& request);
/// "host=address,…", "name=soft:hard,…"
std::string hosts_of(const ClassicRequest& request);
std::string ulimits_of(const ClassicRequest& request);

/// What can be said of it without its context. Throws Error with Docker's texts.
void check(const ClassicRequest& request);

}  // namespace grua::build
