// Definitions of graphs as clients send them: as they are, and with inputs that are there, since no mutation finds a digest. What is taken
// is in order, has keys that say what it is, and can be shown.
#include "build/cache_key.hpp"
#include "build/draft.hpp"
#include "build/graph_json.hpp"
#include "build/materials.hpp"
#include "content/hash.hpp"
#include "fuzz.hpp"

#include <set>
#include <string>
#include <vector>

namespace {

using namespace grua;
using namespace grua::build;

constexpr std::size_t most_operations = 64;

/// Each input is one of those before it.
pb::Definition connected(const pb::Definition& given) {
    pb::Definition out;
    std::vector<std::string> digests;
    for (const std::string& bytes : given.def()) {
        pb::Op op;
        if (digests.size() == most_operations || !op.ParseFromString(bytes)) break;
        if (digests.empty()) op.clear_inputs();
        for (pb::Input& each : *op.mutable_inputs())
            each.set_digest(digests[(each.digest().size() + static_cast<std::size_t>(each.index())) % digests.size()]);
        std::string made = to_bytes(op);
        digests.push_back(content::digest_of(made).text());
        if (!given.metadata().empty()) (*out.mutable_metadata())[digests.back()] = given.metadata().begin()->second;
        out.add_def(std::move(made));
    }
    if (digests.empty()) return out;
    pb::Op last;
    last.add_inputs()->set_digest(digests.back());
    out.add_def(to_bytes(last));
    return out;
}

void take(const pb::Definition& definition) {
    fuzz::refuses_or_takes([&] {
        const Edge edge = read_graph(definition);
        const std::vector<VertexPtr> order = in_order(edge);
        fuzz::check(order.empty() == !edge.vertex);
        fuzz::check(order.empty() || order.back() == edge.vertex);
        std::set<const Vertex*> seen;
        for (const VertexPtr& each : order) {
            const KeyPlan plan = plan_key(each->op);
            fuzz::check(plan.inputs.size() == each->inputs.size());
            std::vector<std::string> inputs;
            for (const Edge& input : each->inputs) {
                fuzz::check(seen.contains(input.vertex.get()) && input.index >= 0 && input.index < results_of(input.vertex->op));
                inputs.push_back(key_of_result(input.vertex->digest, input.index));
            }
            fuzz::check(make_key(plan, inputs) == make_key(plan_key(each->op), inputs));
            fuzz::check(seen.insert(each.get()).second);
            static_cast<void>(to_json(each->op));
        }
        static_cast<void>(to_json(definition));
        static_cast<void>(materials_of(edge, {}));
        // Taken into another graph it is the same.
        Draft draft;
        const Draft::Output output = draft.take_in(definition);
        if (output.is_empty()) return;
        const Edge again = read_graph(draft.define(output));
        fuzz::check(again.vertex && again.vertex->digest == edge.vertex->digest && again.index == edge.index);
    });
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    pb::Definition definition;
    if (!definition.ParseFromArray(data, static_cast<int>(size))) return 0;
    take(definition);
    take(connected(definition));
    return 0;
}
