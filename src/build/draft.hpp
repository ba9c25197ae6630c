// A graph that is being made, from its sources upwards.
#pragma once

#include "build/graph.hpp"
#include "oci/platform.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace grua::build {

class Draft {
public:
    /// A result of an operation that was added; of none, which is an empty tree.
    struct Output {
        std::string digest;
        std::int64_t index = 0;

        bool is_empty() const noexcept { return digest.empty(); }
        bool operator==(const Output&) const = default;
    };

    /// `name` is what people see. The same operation twice is there once, under the name that it had first.
    Output add(const pb::Op& op, std::string_view name, pb::OpMetadata metadata = {});

    /// All that a graph of somebody else's needs, as it is. Throws what read_graph() throws.
    Output take_in(const pb::Definition& definition);

    /// Where an operation stands in the file that the graph is made of.
    void place(const Output& output, int first_line, int last_line);
    void set_source(std::string filename, std::string text, std::string language);

    /// What `output` needs, each after its inputs, and last what says that it is asked for.
    pb::Definition define(const Output& output) const;

private:
    struct Vertex {
        std::string bytes;
        pb::OpMetadata metadata;
        std::vector<std::string> inputs;
        std::vector<pb::Range> ranges;
    };
    std::map<std::string, Vertex, std::less<>> vertices_;
    pb::SourceInfo source_;
};

/// The number of this input of an operation, which is added where it is not there; -1 for an empty tree.
std::int64_t input_of(pb::Op& op, const Draft::Output& output);

void set_platform(pb::Op& op, const oci::Platform& platform);

}  // namespace grua::build
