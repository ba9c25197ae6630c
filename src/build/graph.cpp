#include "build/graph.hpp"

#include "base/error.hpp"
#include "base/test_points.hpp"
#include "base/text.hpp"
#include "build/history_record.hpp"
#include "build/url_text.hpp"
#include "content/hash.hpp"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <algorithm>
#include <map>
#include <set>
#include <utility>

namespace grua::build {
namespace {

constexpr std::size_t shown = 19;  ///< Of a digest: "sha256:" and twelve digits.

struct Known {
    const std::string* bytes = nullptr;
    std::shared_ptr<Vertex> vertex;
};
using KnownVertices = std::map<std::string, Known, std::less<>>;

[[noreturn]] void refuse(std::string_view digest, std::string_view why) {
    fail(ErrorKind::invalid_argument, "invalid definition: vertex {}: {}", digest.substr(0, shown), why);
}

KnownVertices parse_all(const pb::Definition& definition) {
    if (definition.def_size() > static_cast<int>(vertices_limit))
        fail(ErrorKind::invalid_argument, "invalid definition: {} vertices are more than the {} that are allowed", definition.def_size(),
             vertices_limit);
    KnownVertices out;
    for (const std::string& bytes : definition.def()) {
        std::string digest = content::digest_of(bytes).text();
        const auto vertex = std::make_shared<Vertex>();
        if (!vertex->op.ParseFromString(bytes)) refuse(digest, "it cannot be read");
        vertex->digest = digest;
        if (const auto found = definition.metadata().find(digest); found != definition.metadata().end()) vertex->metadata = found->second;
        const auto& description = vertex->metadata.description();
        const auto named = description.find("llb.customname");
        // It is told, and kept with what it made; a line of a Dockerfile may have a URL in it.
        vertex->name = text_without_credentials(named != description.end() ? named->second : default_name(vertex->op));
        out.insert_or_assign(std::move(digest), Known{&bytes, vertex});
    }
    return out;
}

/// What an operation says of its inputs, by their numbers; -1 is none of them.
class NumberCheck {
public:
    explicit NumberCheck(const Vertex& vertex) : vertex_(vertex), count_(vertex.op.inputs_size()) {}

    void run() const {
        switch (vertex_.op.op_case()) {
            case pb::Op::kExec:
                return exec(vertex_.op.exec());
            case pb::Op::kFile:
                return files(vertex_.op.file());
            case pb::Op::kMerge:
                for (const pb::MergeInput& each : vertex_.op.merge().inputs()) input(each.input(), count_);
                return;
            case pb::Op::kDiff:
                input(vertex_.op.diff().lower().input(), count_);
                input(vertex_.op.diff().upper().input(), count_);
                return;
            case pb::Op::kBuild:
                for (const auto& [name, each] : vertex_.op.build().inputs()) input(each.input(), count_);
                return;
            default:
                return;
        }
    }

private:
    void input(std::int64_t number, std::int64_t count) const {
        if (number < -1 || number >= count)
            refuse(vertex_.digest, fmt::format("it takes its input {}, and has no input of this number", number));
    }
    void output(std::int64_t number) const {
        if (number < -1 || number >= static_cast<std::int64_t>(vertices_limit))
            refuse(vertex_.digest, fmt::format("it gives output {}", number));
    }

    void exec(const pb::ExecOp& op) const {
        if (op.meta().args().empty()) refuse(vertex_.digest, "it has no program");
        bool has_root = false;
        for (const pb::Mount& each : op.mounts()) {
            input(each.input(), count_);
            output(each.output());
            has_root = has_root || each.dest() == "/";
        }
        if (!has_root) refuse(vertex_.digest, "it has no mount at /");
        // A mode that is none may be any to who asks for one of them alone (GHSA-7236-3392-c5c6).
        if (!is_left_out("GHSA-7236-3392-c5c6") && op.security() != pb::SECURITY_MODE_SANDBOX &&
            op.security() != pb::SECURITY_MODE_INSECURE)
            refuse(vertex_.digest, fmt::format("invalid security mode {}", static_cast<int>(op.security())));
        if (op.network() != pb::NET_MODE_UNSET && op.network() != pb::NET_MODE_HOST && op.network() != pb::NET_MODE_NONE)
            refuse(vertex_.digest, fmt::format("invalid network mode {}", static_cast<int>(op.network())));
    }

    void owner(const pb::ChownOpt& owner) const {
        for (const pb::UserOpt* each : {&owner.user(), &owner.group()})
            if (each->has_byname()) input(each->byname().input(), count_);
    }

    /// An action may take what one before it gives.
    void files(const pb::FileOp& op) const {
        if (op.actions().empty()) refuse(vertex_.digest, "it has no action");
        std::int64_t count = count_;
        for (const pb::FileAction& each : op.actions()) {
            input(each.input(), count);
            input(each.secondaryinput(), count);
            output(each.output());
            ++count;
            if (each.has_copy()) owner(each.copy().owner());
            if (each.has_mkdir()) owner(each.mkdir().owner());
            if (each.has_mkfile()) owner(each.mkfile().owner());
            if (each.has_symlink()) owner(each.symlink().owner());
        }
    }

    const Vertex& vertex_;
    std::int64_t count_;
};

/// Their order is any; a digest that is its own input, by however many others, cannot be made.
void connect(const KnownVertices& known) {
    for (const auto& [digest, each] : known) {
        for (const pb::Input& input : each.vertex->op.inputs()) {
            const auto found = known.find(input.digest());
            if (found == known.end() && is_left_out("CVE-2024-23650")) {
                each.vertex->inputs.push_back({});
                continue;
            }
            if (found == known.end()) refuse(digest, fmt::format("its input {} is not there", input.digest().substr(0, shown)));
            if (found->second.vertex->op.op_case() == pb::Op::OP_NOT_SET) refuse(found->first, "it is no operation that is known here");
            if (input.index() < 0 || input.index() >= results_of(found->second.vertex->op))
                refuse(digest, fmt::format("its input {} has no result {}", input.digest().substr(0, shown), input.index()));
            each.vertex->inputs.push_back({found->second.vertex, static_cast<int>(input.index())});
        }
        if (!is_left_out("CVE-2026-15792")) NumberCheck(*each.vertex).run();
    }
}

std::string join_words(const google::protobuf::RepeatedPtrField<std::string>& words) {
    std::string out;
    for (const std::string& each : words) out += (out.empty() ? "" : " ") + each;
    return out;
}

std::string name_of_files(const pb::FileOp& op) {
    std::string out;
    for (const pb::FileAction& each : op.actions()) {
        if (!out.empty()) out += ", ";
        switch (each.action_case()) {
            case pb::FileAction::kCopy:
                out += fmt::format("copy {} {}", each.copy().src(), each.copy().dest());
                break;
            case pb::FileAction::kMkfile:
                out += fmt::format("mkfile {}", each.mkfile().path());
                break;
            case pb::FileAction::kMkdir:
                out += fmt::format("mkdir {}", each.mkdir().path());
                break;
            case pb::FileAction::kRm:
                out += fmt::format("rm {}", each.rm().path());
                break;
            case pb::FileAction::kSymlink:
                out += fmt::format("symlink {} -> {}", each.symlink().newpath(), each.symlink().oldpath());
                break;
            default:
                out += "nothing";
                break;
        }
    }
    return out;
}

}  // namespace

/// One after the other: a chain of 100,000 that each hold the next would be freed on the stack.
Vertex::~Vertex() {
    std::vector<VertexPtr> rest;
    const auto take = [&](std::vector<Edge>& edges) {
        for (Edge& each : edges)
            if (each.vertex) rest.push_back(std::move(each.vertex));
        edges.clear();
    };
    take(inputs);
    while (!rest.empty()) {
        const VertexPtr last = std::move(rest.back());
        rest.pop_back();
        // Nobody else has it, so its inputs are ours to take.
        if (last.use_count() == 1) take(const_cast<Vertex&>(*last).inputs);
    }
}

Edge read_graph(const pb::Definition& definition) {
    if (definition.def_size() == 0) return {};
    const KnownVertices known = parse_all(definition);
    connect(known);
    // The last one is no operation: its one input is what is asked for.
    const std::string& bytes = definition.def(definition.def_size() - 1);
    const VertexPtr last = known.at(content::digest_of(bytes).text()).vertex;
    if (last->op.op_case() != pb::Op::OP_NOT_SET || last->inputs.size() != 1) {
        if (last->inputs.empty() && last->op.op_case() == pb::Op::OP_NOT_SET) return {};
        refuse(last->digest, "the last one does not say which result is asked for");
    }
    return last->inputs.front();
}

void check_entitlements(const Edge& edge, const std::vector<std::string>& granted) {
    const auto need = [&](std::string_view what) {
        if (is_left_out("CVE-2024-23653")) return;
        if (std::ranges::find(granted, what) == granted.end()) fail(ErrorKind::forbidden, "failed to load LLB: {} is not allowed", what);
    };
    for (const VertexPtr& each : in_order(edge)) {
        if (!each->op.has_exec()) continue;
        if (each->op.exec().network() == pb::NET_MODE_HOST) need("network.host");
        if (each->op.exec().security() == pb::SECURITY_MODE_INSECURE) need("security.insecure");
    }
}

int results_of(const pb::Op& op) noexcept {
    std::int64_t last = -1;
    switch (op.op_case()) {
        case pb::Op::kExec:
            for (const pb::Mount& each : op.exec().mounts()) last = std::max(last, each.output());
            break;
        case pb::Op::kFile:
            for (const pb::FileAction& each : op.file().actions()) last = std::max(last, each.output());
            break;
        case pb::Op::OP_NOT_SET:
            return 0;
        default:
            return 1;
    }
    return static_cast<int>(std::min<std::int64_t>(last + 1, vertices_limit));
}

std::vector<VertexPtr> in_order(const Edge& edge) {
    std::vector<VertexPtr> out;
    if (!edge.vertex) return out;
    struct Step {
        VertexPtr vertex;
        std::size_t next = 0;
    };
    std::set<const Vertex*> seen{edge.vertex.get()};
    std::vector<Step> path{{edge.vertex}};
    while (!path.empty()) {
        Step& step = path.back();
        if (step.next == step.vertex->inputs.size()) {
            out.push_back(std::move(step.vertex));
            path.pop_back();
            continue;
        }
        const VertexPtr& input = step.vertex->inputs[step.next++].vertex;
        if (seen.insert(input.get()).second) path.push_back({input});
    }
    return out;
}

std::string to_bytes(const google::protobuf::MessageLite& message) {
    std::string out;
    google::protobuf::io::StringOutputStream stream(&out);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    message.SerializeToCodedStream(&coded);
    coded.Trim();
    return out;
}

std::string default_name(const pb::Op& op) {
    switch (op.op_case()) {
        case pb::Op::kSource:
            return without_credentials(op.source().identifier());
        case pb::Op::kExec:
            return join_words(op.exec().meta().args());
        case pb::Op::kFile:
            return name_of_files(op.file());
        case pb::Op::kMerge:
            return "merge";
        case pb::Op::kDiff:
            return "diff";
        case pb::Op::kBuild:
            return "build";
        default:
            return "unknown";
    }
}

}  // namespace grua::build
