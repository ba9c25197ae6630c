#include "cli/build/session.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/text.hpp"
#include "base/utf8.hpp"
#include "build/receive_tree.hpp"
#include "build/send_tree.hpp"
#include "build/wire/session.pb.h"
#include "cli/docker_config.hpp"
#include "cli/output_file.hpp"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <optional>

namespace grua::cli {
namespace {

namespace wire = grua::wire::session;

constexpr std::size_t piece_bytes = std::size_t{256} << 10U;
constexpr int look_milliseconds = 200;
constexpr const char* hub_host = "registry-1.docker.io";

std::string unescape(std::string_view text) {
    std::string out;
    const auto digit = [](char c) {
        return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    };
    for (std::size_t at = 0; at < text.size(); ++at) {
        const bool is_escape = text[at] == '%' && at + 2 < text.size() && digit(text[at + 1]) >= 0 && digit(text[at + 2]) >= 0;
        if (is_escape) {
            out += static_cast<char>(digit(text[at + 1]) * 16 + digit(text[at + 2]));
            at += 2;
        } else {
            out += text[at] == '+' ? ' ' : text[at];
        }
    }
    return out;
}

std::map<std::string, BuildSecret> check_secrets(const std::vector<BuildSecret>& secrets) {
    std::map<std::string, BuildSecret> out;
    for (const BuildSecret& each : secrets) {
        struct stat about{};
        if (each.variable.empty() && ::stat(each.path.c_str(), &about) != 0) fail_errno("failed to stat {}", each.path);
        if (about.st_size > static_cast<off_t>(secret_limit))
            fail(ErrorKind::invalid_argument, "secret {} too big. max size 500KB", each.id);
        out.insert_or_assign(each.id, each);
    }
    return out;
}

std::string read_secret(const BuildSecret& secret) {
    if (secret.variable.empty()) return read_file(secret.path, secret_limit);
    const char* value = std::getenv(secret.variable.c_str());
    return value ? value : "";
}

/// The next bytes of standard input; empty at its end, nothing where none have come yet.
std::optional<std::string> read_input() {
    pollfd waiting{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
    const int ready = ::poll(&waiting, 1, look_milliseconds);
    if (ready == 0 || (ready < 0 && errno == EINTR)) return std::nullopt;
    if (ready < 0) fail_errno("wait for standard input");
    std::string out(piece_bytes, '\0');
    const ssize_t count = ::read(STDIN_FILENO, out.data(), out.size());
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) return std::nullopt;
    if (count < 0) fail_errno("read standard input");
    out.resize(static_cast<std::size_t>(count));
    return out;
}

asio::awaitable<void> say(grpc::ServerCall& call, std::string bytes) {
    wire::BytesMessage message;
    message.set_data(std::move(bytes));
    const std::string text = message.SerializeAsString();
    co_await call.write(text);
}

}  // namespace

std::vector<std::string> metadata_list(const grpc::Headers& metadata, std::string_view name) {
    const std::string_view encoded = grpc::header(metadata, std::string(name) + "-encoded");
    const bool is_encoded = encoded == "1" || encoded == "true";
    std::vector<std::string> out;
    for (const auto& [each, value] : metadata)
        if (each == name) out.push_back(is_encoded ? unescape(value) : value);
    return out;
}

std::map<std::string, std::string> content_folders(const BuildOptions& options, const BuildInputs& inputs) {
    std::map<std::string, std::string> out = inputs.layouts;
    for (const auto& [entries, attribute] : {std::pair{&options.cache_to, "dest"}, std::pair{&options.cache_from, "src"}})
        for (const BuildCacheEntry& each : *entries)
            if (const auto folder = each.attributes.find(attribute); each.type == "local" && folder != each.attributes.end())
                out["local:" + folder->second] = folder->second;
    for (const BuildOutput& each : options.outputs)
        if (each.type != "local" && each.is_folder()) out["export"] = each.destination;
    return out;
}

BuildSession::BuildSession(const BuildOptions& options, const BuildInputs& inputs, asio::thread_pool& pool)
    : options_(options),
      inputs_(inputs),
      pool_(pool),
      secrets_(check_secrets(options.secrets)),
      agents_(options.agents),
      blobs_(content_folders(options, inputs), pool) {
    services_.add("/grpc.health.v1.Health/Check", [](grpc::ServerCall& call) -> asio::awaitable<void> {
        (void)co_await call.read_only();
        co_await call.write("\x08\x01");  // It serves.
    });
    add_files();
    add_logins();
    if (!options_.outputs.empty()) add_outputs();
    if (!secrets_.empty() || !inputs_.upload.empty()) add_secrets();
    if (!options_.agents.empty()) agents_.add_to(services_);
    if (!inputs_.upload.empty()) add_upload();
    blobs_.add_to(services_);
}

void BuildSession::add_files() {
    services_.add("/moby.filesync.v1.FileSync/DiffCopy", [this](grpc::ServerCall& call) { return send_folder(call); });
}

asio::awaitable<void> BuildSession::send_folder(grpc::ServerCall& call) {
    const std::vector<std::string> names = metadata_list(call.all_metadata(), "dir-name");
    const std::string name = names.empty() ? "" : names.front();
    const auto found = inputs_.folders.find(name);
    if (found == inputs_.folders.end()) fail(ErrorKind::not_found, "no access allowed to dir {:?}", to_valid_utf8(name));
    build::SendOptions sent;
    build::TreePart part;
    if (!found->second.path.empty()) part.folder = Root::open(found->second.path.c_str());
    part.files = found->second.files;
    sent.parts.push_back(std::move(part));
    sent.view.filter = {.include = metadata_list(call.all_metadata(), "include-patterns"),
                        .exclude = metadata_list(call.all_metadata(), "exclude-patterns"),
                        .follow = metadata_list(call.all_metadata(), "followpaths")};
    // Whose they are here says nothing about whose they are in an image.
    sent.view.owner = build::Owner{.uid = 0, .gid = 0};
    sent.view.tells_changes = true;
    co_await build::send_tree(call, std::move(sent), pool_);
}

void BuildSession::add_outputs() {
    services_.add("/moby.filesync.v1.FileSend/DiffCopy", [this](grpc::ServerCall& call) { return take_output(call); });
}

asio::awaitable<void> BuildSession::take_output(grpc::ServerCall& call) {
    const std::string_view id = call.metadata("buildkit-attachable-exporter-id");
    const auto number = id.empty() ? std::optional<std::uint64_t>(0) : parse_uint(id);
    if (!number || *number >= options_.outputs.size() || options_.outputs[*number].destination.empty())
        fail(ErrorKind::not_found, "exporter {} not found", to_valid_utf8(id));
    const BuildOutput& output = options_.outputs[*number];
    if (output.type == "local") {
        const auto mode = output.attributes.find("mode");
        const bool mirrors = mode != output.attributes.end() && to_lower(trim(mode->second)) == "delete";
        if (mirrors && call.metadata("buildkit-exporter-multi-platform") != "1")
            fail(ErrorKind::not_implemented, "local exporter mode=delete requires a daemon that sends all platforms at once");
        make_directories(output.destination, 0700);
        co_await build::receive_tree(call,
                                     {.folder = output.destination,
                                      .present = build::Present::replaced,
                                      .removes_others = mirrors,
                                      .owner = build::Owner{.uid = ::getuid(), .gid = ::getgid()}},
                                     pool_, co_await asio::this_coro::executor);
        co_return;
    }
    std::shared_ptr<OutputFile> file;
    if (output.destination != "-") file = std::make_shared<OutputFile>(output.destination, "failed to write " + output.destination);
    const int fd = file ? file->fd() : STDOUT_FILENO;
    while (const auto message = co_await call.read()) {
        auto piece = grpc::Services::parse<wire::BytesMessage>(*message);
        co_await offload(pool_, [file, fd, bytes = std::move(*piece.mutable_data())] { write_all(fd, bytes, "the output"); });
    }
    if (file) file->publish();
}

void BuildSession::add_secrets() {
    services_.add_unary<wire::GetSecretRequest>(
        "/moby.buildkit.secrets.v1.Secrets/GetSecret",
        [this](grpc::ServerCall&, const wire::GetSecretRequest& request) -> asio::awaitable<wire::GetSecretResponse> {
            const auto found = secrets_.find(request.id());
            if (found == secrets_.end()) fail(ErrorKind::not_found, "secret {}: not found", to_valid_utf8(request.id()));
            wire::GetSecretResponse out;
            out.set_data(co_await offload(pool_, [secret = found->second] { return read_secret(secret); }));
            co_return out;
        });
}

void BuildSession::add_logins() {
    services_.add_unary<wire::CredentialsRequest>(
        "/moby.filesync.v1.Auth/Credentials",
        [this](grpc::ServerCall&, const wire::CredentialsRequest& request) -> asio::awaitable<wire::CredentialsResponse> {
            const std::string host = request.host() == hub_host ? "docker.io" : request.host();
            const Credentials login = co_await offload(pool_, [host] { return DockerConfig::load().credentials(host); });
            wire::CredentialsResponse out;
            if (login.identity_token.empty()) out.set_username(login.username);
            out.set_secret(login.identity_token.empty() ? login.password : login.identity_token);
            co_return out;
        });
}

void BuildSession::add_upload() {
    services_.add("/moby.upload.v1.Upload/Pull", [this](grpc::ServerCall& call) { return send_input(call); });
}

asio::awaitable<void> BuildSession::send_input(grpc::ServerCall& call) {
    std::string_view path = call.metadata("urlpath");
    path = path.substr(path.rfind('/') + 1);
    if (path != inputs_.upload || std::exchange(input_is_taken_, true))
        fail(ErrorKind::not_found, "no http response from session for {}", to_valid_utf8(path));
    co_await say(call, inputs_.early);
    for (;;) {
        auto bytes = co_await offload(pool_, [] { return read_input(); });
        if (!bytes) continue;
        if (bytes->empty()) co_return;
        co_await say(call, std::move(*bytes));
    }
}

}  // namespace grua::cli
