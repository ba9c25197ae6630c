#include "build/failure.hpp"

#include "base/utf8.hpp"
#include "build/graph_json.hpp"
#include "build/wire/common.pb.h"

#include <boost/json/serialize.hpp>

namespace grua::build {
namespace {

// As BuildKit's clients know them: messages in JSON.
constexpr const char* source_type = "github.com/moby/buildkit/errdefs.Source+json";
constexpr const char* vertex_type = "github.com/moby/buildkit/errdefs.Vertex+json";
constexpr const char* request_type = "github.com/moby/buildkit/errdefs.Subrequest+json";

void add_detail(wire::common::Status& status, const char* type, const boost::json::object& message) {
    auto& detail = *status.add_details();
    detail.set_type_url(type);
    detail.set_value(boost::json::serialize(message));
}

wire::common::Status begin(const std::string& message) {
    wire::common::Status out;
    out.set_code(static_cast<int>(grpc::Code::unknown));
    out.set_message(to_valid_utf8(message));
    return out;
}

void add_place(wire::common::Status& status, const Place& place) {
    if (place.ranges.empty()) return;
    boost::json::array ranges;
    for (const pb::Range& each : place.ranges) ranges.push_back(to_json(each));
    add_detail(status, source_type, {{"info", to_json(place.file)}, {"ranges", std::move(ranges)}});
}

grpc::CallError finish(const wire::common::Status& status) {
    return grpc::CallError({.code = grpc::Code::unknown, .message = status.message(), .details = status.SerializeAsString()});
}

}  // namespace

pb::Range lines(int first, int last) {
    pb::Range out;
    out.mutable_start()->set_line(first);
    out.mutable_end()->set_line(last);
    return out;
}

grpc::CallError failure_at(const std::string& message, const Place& place) {
    wire::common::Status status = begin(message);
    add_place(status, place);
    return finish(status);
}

grpc::CallError failure_of(const std::string& message, const pb::Definition& definition, const std::string& vertex) {
    wire::common::Status status = begin(message);
    add_detail(status, vertex_type, {{"digest", vertex}});
    const auto found = definition.source().locations().find(vertex);
    if (found != definition.source().locations().end()) {
        for (const pb::Location& each : found->second.locations()) {
            if (each.sourceindex() < 0 || each.sourceindex() >= definition.source().infos_size()) continue;
            add_place(status,
                      {.file = definition.source().infos(each.sourceindex()), .ranges = {each.ranges().begin(), each.ranges().end()}});
        }
    }
    return finish(status);
}

grpc::CallError failure_of_request(const std::string& request) {
    wire::common::Status status = begin("unsupported request " + request);
    add_detail(status, request_type, {{"name", to_valid_utf8(request)}});
    return finish(status);
}

}  // namespace grua::build
