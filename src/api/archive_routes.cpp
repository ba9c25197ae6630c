// Files of containers: cp, export, diff, commit.
#include "api/routes.hpp"
#include "base/async.hpp"
#include "base/encoding.hpp"
#include "base/utf8.hpp"
#include "oci/reference.hpp"

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/this_coro.hpp>

namespace grua::api {
namespace {

using boost::json::object;

constexpr std::size_t piece_size = std::size_t{256} << 10U;

std::string path_of(const Exchange& exchange) {
    const std::string_view path = exchange.query().get("path");
    if (path.empty()) fail(ErrorKind::invalid_argument, "bad parameter: path cannot be empty");
    return std::string(path);
}

void add_stat_header(Exchange& exchange, const engine::PathStat& stat) {
    const object out{{"name", to_valid_utf8(stat.name)},
                     {"size", stat.size},
                     {"mode", stat.mode},
                     {"mtime", format_time(stat.modified)},
                     {"linkTarget", to_valid_utf8(stat.link_target)}};
    exchange.add_header("X-Docker-Container-Path-Stat", base64_encode(boost::json::serialize(out)));
}

/// From the pipe to the client, as fast as the client takes it. A tar that is not whole breaks the connection off.
Answer send_tar(Exchange& exchange, engine::TarStream& tar, std::string_view content_type) {
    co_await exchange.begin(200, content_type);
    asio::posix::stream_descriptor pipe{co_await asio::this_coro::executor, tar.take().release()};
    std::vector<char> piece(piece_size);
    for (;;) {
        const auto [error, size] = co_await pipe.async_read_some(asio::buffer(piece), asio::as_tuple(asio::use_awaitable));
        if (error) break;
        co_await exchange.write({piece.data(), size});
    }
    co_await tar.finished();
    co_await exchange.end();
}

}  // namespace

// Copies from and to a container that does not run wait for each other: whose client has left meanwhile is not made.

Answer container_archive_head(const Services& services, Exchange& exchange) {
    exchange.cancel_when_client_leaves();
    const engine::PathStat stat = co_await services.files.stat(exchange.name, path_of(exchange));
    add_stat_header(exchange, stat);
    co_await exchange.send_empty(200);
}

Answer container_archive_get(const Services& services, Exchange& exchange) {
    exchange.cancel_when_client_leaves();
    const auto tar = co_await services.files.read(exchange.name, path_of(exchange));
    add_stat_header(exchange, tar->stat());
    co_await send_tar(exchange, *tar, "application/x-tar");
}

Answer container_archive_put(const Services& services, Exchange& exchange) {
    const Query& query = exchange.query();
    engine::ExtractRequest request{
        .path = path_of(exchange), .keep_kinds = query.flag("noOverwriteDirNonDir"), .owner_is_user = query.flag("copyUIDGID")};
    exchange.cancel_when_client_leaves();
    co_await services.files.write(exchange.name, std::move(request), [&exchange] { return exchange.body_pipe(); });
    co_await exchange.send_empty(200);
}

Answer container_export(const Services& services, Exchange& exchange) {
    exchange.cancel_when_client_leaves();
    const auto tar = co_await services.files.export_all(exchange.name);
    co_await send_tar(exchange, *tar, "application/octet-stream");
}

Answer container_changes(const Services& services, Exchange& exchange) {
    exchange.cancel_when_client_leaves();
    const auto changes = co_await services.files.changes(exchange.name);
    if (changes.empty()) co_return co_await exchange.send(200, "null\n");
    boost::json::array out;
    out.reserve(changes.size());
    for (const engine::FileChange& each : changes) out.push_back(object{{"Path", to_valid_utf8(each.path)}, {"Kind", each.kind}});
    co_await exchange.send(200, boost::json::serialize(out) + "\n");
}

Answer container_commit(const Services& services, Exchange& exchange) {
    const Query& query = exchange.query();
    engine::CommitOptions options;
    check_body(exchange, json::fields_of<engine::ContainerConfig>());
    check_json_content_type(exchange.head());
    if (const std::string body = co_await exchange.read_body(); !body.empty()) {
        const json::Value given = parse_json(body);
        // An empty document or null: the container's own configuration.
        if (const object* members = given.if_object(); members && !members->empty())
            json::detail::read(given, options.config.emplace(), "");
    }
    if (const std::string_view repo = query.get("repo"); !repo.empty()) {
        const oci::Reference parsed = oci::Reference::parse(engine::reference_of(repo, query.get("tag")));
        if (parsed.digest()) fail(ErrorKind::invalid_argument, "refusing to create a reference with a digest");
        options.reference = parsed.with_default_tag().familiar();
    }
    options.author = query.get("author");
    options.comment = query.get("comment");
    options.changes = query.all("changes");
    options.pause = query.flag("pause", true);
    const std::string id = co_await services.files.commit(std::string(query.get("container")), std::move(options));
    co_await exchange.send(201, boost::json::serialize(object{{"Id", id}}) + "\n");
}

}  // namespace grua::api
