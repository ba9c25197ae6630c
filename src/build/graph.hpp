// The graph of a build, LLB: operations that are named by the digest of their bytes, and what each takes of which.
//
// It comes from outside as a Definition and is checked as a whole before anything of it is done: every input is there, each operation
// is one of BuildKit's, and nothing can be its own input, since that would have to know its own digest.
#pragma once

#include "build/wire/graph.pb.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace grua::build {

namespace pb = wire::graph;

struct Vertex;
using VertexPtr = std::shared_ptr<const Vertex>;

/// One of the results of a vertex.
struct Edge {
    VertexPtr vertex;
    int index = 0;

    bool operator==(const Edge&) const = default;
};

struct Vertex {
    std::string digest;  ///< Of `op` as it was on the wire.
    pb::Op op;
    pb::OpMetadata metadata;
    std::vector<Edge> inputs;
    std::string name;  ///< As people see it.

    ~Vertex();
    Vertex() = default;
    Vertex(const Vertex&) = delete;
    Vertex& operator=(const Vertex&) = delete;
};

/// More is not read.
inline constexpr std::size_t vertices_limit = 100'000;

/// What is asked for; an edge without a vertex where the definition is empty, which means nothing at all ("scratch"). Throws
/// Error(invalid_argument) that names the vertex.
Edge read_graph(const pb::Definition& definition);

/// Throws Error(forbidden) where an operation does what is not granted: "network.host", "security.insecure".
void check_entitlements(const Edge& edge, const std::vector<std::string>& granted);

/// How many results a vertex has.
int results_of(const pb::Op& op) noexcept;

/// All vertices that an edge needs, each once and its inputs before it.
std::vector<VertexPtr> in_order(const Edge& edge);

/// The bytes of a message, the same each time: the order of a map's keys is that of their bytes.
std::string to_bytes(const google::protobuf::MessageLite& message);

/// Of an operation without a name of its own: "docker-image://docker.io/library/busybox:latest", "/bin/sh -c make".
std::string default_name(const pb::Op& op);

}  // namespace grua::build
