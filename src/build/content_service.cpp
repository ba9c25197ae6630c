#include "build/content_service.hpp"

#include "build/wire/content.pb.h"

#include <algorithm>

namespace grua::build {
namespace {

constexpr std::size_t read_size = std::size_t{256} << 10U;

oci::Digest parse_digest(const std::string& text) {
    if (auto digest = oci::Digest::parse(text)) return *std::move(digest);
    fail(ErrorKind::invalid_argument, "\"{}\" failed validation", text.substr(0, 200));
}

asio::awaitable<HistoryBlobPtr> find(History& history, std::string digest) {
    HistoryBlobPtr blob = co_await history.blob(parse_digest(digest));
    if (!blob) fail(ErrorKind::not_found, "content {}: not found", digest);
    co_return blob;
}

asio::awaitable<wire::content::InfoResponse> info(History& history, std::string digest) {
    const HistoryBlobPtr blob = co_await find(history, digest);
    wire::content::InfoResponse out;
    wire::content::Info& said = *out.mutable_info();
    said.set_digest(digest);
    said.set_size(static_cast<std::int64_t>(blob->size()));
    *said.mutable_created_at() = to_timestamp(blob->created());
    *said.mutable_updated_at() = to_timestamp(blob->created());
    co_return out;
}

asio::awaitable<void> read(grpc::ServerCall& call, asio::thread_pool& pool, History& history) {
    const auto request = grpc::Services::parse<wire::content::ReadContentRequest>(co_await call.read_only());
    const HistoryBlobPtr blob = co_await find(history, request.digest());
    std::uint64_t at = request.offset() > 0 ? static_cast<std::uint64_t>(request.offset()) : 0;
    if (at > blob->size())
        throw grpc::CallError(
            {.code = grpc::Code::out_of_range, .message = fmt::format("read past object length {} bytes", blob->size()), .details = {}});
    std::uint64_t left = blob->size() - at;
    if (request.size() > 0) left = std::min(left, static_cast<std::uint64_t>(request.size()));
    while (left > 0) {
        auto work = [blob, at, count = static_cast<std::size_t>(std::min<std::uint64_t>(left, read_size))] {
            return blob->read(at, count);
        };
        wire::content::ReadContentResponse out;
        out.set_offset(static_cast<std::int64_t>(at));
        out.set_data(co_await offload(pool, std::move(work)));
        if (out.data().empty()) fail(ErrorKind::system, "content {}: it ends before its size", request.digest());
        at += out.data().size();
        left -= out.data().size();
        co_await call.write(out.SerializeAsString());
    }
}

}  // namespace

void add_content_service(grpc::Services& services, asio::thread_pool& pool, History& history) {
    const std::string service = "/containerd.services.content.v1.Content/";
    services.add_unary<wire::content::InfoRequest>(
        service + "Info",
        [&history](grpc::ServerCall&, const wire::content::InfoRequest& request) { return info(history, request.digest()); });
    services.add(service + "Read", [&pool, &history](grpc::ServerCall& call) { return read(call, pool, history); });
}

}  // namespace grua::build
