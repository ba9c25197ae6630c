#include "build/draft.hpp"

#include "content/hash.hpp"

#include <set>

namespace grua::build {

Draft::Output Draft::add(const pb::Op& op, std::string_view name, pb::OpMetadata metadata) {
    std::string bytes = to_bytes(op);
    std::string digest = content::digest_of(bytes).text();
    if (!name.empty()) (*metadata.mutable_description())["llb.customname"] = name;
    const auto [at, is_new] = vertices_.try_emplace(digest);
    if (is_new) {
        at->second.bytes = std::move(bytes);
        at->second.metadata = std::move(metadata);
        for (const pb::Input& each : op.inputs()) at->second.inputs.push_back(each.digest());
    }
    return {.digest = std::move(digest)};
}

Draft::Output Draft::take_in(const pb::Definition& definition) {
    const Edge head = read_graph(definition);
    if (!head.vertex) return {};
    for (const std::string& bytes : definition.def()) {
        pb::Op op;
        if (!op.ParseFromString(bytes) || op.op_case() == pb::Op::OP_NOT_SET) continue;  // The last says what is asked for.
        const std::string digest = content::digest_of(bytes).text();
        const auto [at, is_new] = vertices_.try_emplace(digest);
        if (!is_new) continue;
        at->second.bytes = bytes;
        if (const auto found = definition.metadata().find(digest); found != definition.metadata().end())
            at->second.metadata = found->second;
        for (const pb::Input& each : op.inputs()) at->second.inputs.push_back(each.digest());
    }
    return {.digest = head.vertex->digest, .index = head.index};
}

void Draft::place(const Output& output, int first_line, int last_line) {
    const auto found = vertices_.find(output.digest);
    if (found == vertices_.end()) return;
    pb::Range range;
    range.mutable_start()->set_line(first_line);
    range.mutable_end()->set_line(last_line);
    found->second.ranges.push_back(std::move(range));
}

void Draft::set_source(std::string filename, std::string text, std::string language) {
    source_.set_filename(std::move(filename));
    source_.set_data(std::move(text));
    source_.set_language(std::move(language));
}

pb::Definition Draft::define(const Output& output) const {
    pb::Definition out;
    if (output.is_empty()) return out;
    struct Step {
        std::string digest;
        std::size_t next = 0;
    };
    std::set<std::string, std::less<>> seen{output.digest};
    std::vector<Step> path{{output.digest}};
    while (!path.empty()) {
        Step& step = path.back();
        const Vertex& vertex = vertices_.at(step.digest);
        if (step.next < vertex.inputs.size()) {
            const std::string& input = vertex.inputs[step.next++];
            if (seen.insert(input).second) path.push_back({input});
            continue;
        }
        out.add_def(vertex.bytes);
        (*out.mutable_metadata())[step.digest] = vertex.metadata;
        if (!vertex.ranges.empty()) {
            pb::Location& location = *(*out.mutable_source()->mutable_locations())[step.digest].add_locations();
            for (const pb::Range& each : vertex.ranges) *location.add_ranges() = each;
        }
        path.pop_back();
    }
    pb::Op head;
    pb::Input& input = *head.add_inputs();
    input.set_digest(output.digest);
    input.set_index(output.index);
    out.add_def(to_bytes(head));
    if (!source_.filename().empty()) *out.mutable_source()->add_infos() = source_;
    return out;
}

std::int64_t input_of(pb::Op& op, const Draft::Output& output) {
    if (output.is_empty()) return -1;
    for (int number = 0; number < op.inputs_size(); ++number)
        if (op.inputs(number).digest() == output.digest && op.inputs(number).index() == output.index) return number;
    pb::Input& input = *op.add_inputs();
    input.set_digest(output.digest);
    input.set_index(output.index);
    return op.inputs_size() - 1;
}

void set_platform(pb::Op& op, const oci::Platform& platform) {
    pb::Platform& out = *op.mutable_platform();
    out.set_os(platform.os);
    out.set_architecture(platform.architecture);
    out.set_variant(platform.variant);
    out.set_osversion(platform.os_version);
}

}  // namespace grua::build
