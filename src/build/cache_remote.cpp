#include "build/cache_remote.hpp"

#include "base/id.hpp"
#include "build/wire/content.pb.h"
#include "content/hash.hpp"
#include "grpc/client.hpp"

#include <unistd.h>
#include <boost/asio/use_future.hpp>
#include <chrono>
#include <optional>

namespace grua::build {
namespace {

constexpr std::string_view content_service = "/containerd.services.content.v1.Content/";
constexpr std::string_view store_header = "buildkit-attachable-store-id";
constexpr std::size_t piece_size = std::size_t{1} << 20U;
constexpr std::chrono::seconds short_call{30};

/// Collects at most so many bytes.
class Collecting {
public:
    Collecting(const std::string& digest, std::size_t limit) : digest_(digest), limit_(limit) {}
    void operator()(std::string_view bytes) {
        if (text.size() + bytes.size() > limit_) fail(ErrorKind::invalid_argument, "blob {} has more than {} bytes", digest_, limit_);
        text += bytes;
    }
    std::string text;

private:
    const std::string& digest_;
    std::size_t limit_;
};

class RegistryRemote final : public CacheRemote {
public:
    RegistryRemote(const registry::Client& client, oci::Reference reference, registry::Credentials credentials)
        : client_(client), reference_(std::move(reference)), credentials_(std::move(credentials)) {}

    std::string root(const std::stop_token& stop) override { return client_.manifest(reference_, access(stop)).bytes; }

    void read(const oci::Descriptor& blob, std::uint64_t offset, const registry::Sink& sink, const std::stop_token& stop) override {
        static_cast<void>(client_.blob(reference_, blob, offset, sink, access(stop)));
    }

    bool write(const oci::Descriptor& blob, const std::function<Fd()>& open, const std::stop_token& stop) override {
        std::optional<Fd> file;
        const registry::Source source = [&](std::uint64_t offset, char* out, std::size_t size) {
            if (!file) file = open();
            return registry::file_source(file->get())(offset, out, size);
        };
        return client_.push_blob(reference_, blob, source, {}, {}, access(stop)).how != registry::Pushed::existed;
    }

    void write_root(const oci::Descriptor& descriptor, const std::string& text, const std::stop_token& stop) override {
        static_cast<void>(client_.push_manifest(reference_, descriptor.media_type, text, access(stop)));
    }

private:
    registry::Access access(const std::stop_token& stop) const {
        return {.credentials = credentials_, .stop = stop, .notice = {}, .avoid = {}};
    }

    std::string document(const oci::Descriptor& descriptor, std::size_t limit, const std::stop_token& stop) override {
        if (oci::is_manifest(descriptor.media_type) || oci::is_index(descriptor.media_type))
            return client_.manifest(reference_.with_digest(oci::Digest::from(descriptor.digest)), access(stop)).bytes;
        Collecting out(descriptor.digest, limit);
        read(descriptor, 0, [&](std::string_view bytes) { out(bytes); }, stop);
        return std::move(out.text);
    }

    const registry::Client& client_;
    oci::Reference reference_;
    registry::Credentials credentials_;
};

/// A call's messages, for a thread that waits for each of them.
class WaitingCall {
    template <typename Task>
    auto wait(Task& task) {
        return asio::co_spawn(loop_, task, asio::use_future).get();
    }

public:
    WaitingCall(asio::any_io_executor loop, SessionPtr session, const std::string& store, const std::string& method,
                std::optional<std::chrono::nanoseconds> timeout = {})
        : loop_(std::move(loop)) {
        auto begin = [session = std::move(session), store, method, timeout]() -> asio::awaitable<std::shared_ptr<grpc::ClientCall>> {
            const std::string path = std::string(content_service) + method;
            co_return std::make_shared<grpc::ClientCall>(
                session->connection(path), path, grpc::CallOptions{.metadata = {{std::string(store_header), store}}, .timeout = timeout});
        };
        call_ = wait(begin);
    }
    WaitingCall(const WaitingCall&) = delete;
    WaitingCall& operator=(const WaitingCall&) = delete;
    /// It ends on the loop.
    ~WaitingCall() {
        asio::post(loop_, [call = std::move(call_)] {});
    }

    void write(std::string message) {
        auto send = [call = call_, message = std::move(message)]() -> asio::awaitable<bool> {
            co_await call->write(message);
            co_return true;
        };
        static_cast<void>(wait(send));
    }
    void end() {
        auto finish = [call = call_]() -> asio::awaitable<bool> {
            call->end();
            co_return true;
        };
        static_cast<void>(wait(finish));
    }
    std::optional<std::string> read() {
        auto next = [call = call_]() -> asio::awaitable<std::optional<std::string>> { co_return co_await call->read(); };
        return wait(next);
    }

private:
    asio::any_io_executor loop_;
    std::shared_ptr<grpc::ClientCall> call_;
};

class SessionRemote final : public CacheRemote {
public:
    SessionRemote(asio::any_io_executor loop, SessionPtr session, std::string store, std::string root)
        : loop_(std::move(loop)), session_(std::move(session)), store_(std::move(store)), root_(std::move(root)) {}
    ~SessionRemote() override {
        asio::post(loop_, [session = std::move(session_)] {});
    }

    std::string root(const std::stop_token& stop) override {
        return read_document({.media_type = {}, .digest = root_, .size = 0}, oci::manifest_size_limit, stop);
    }

    void read(const oci::Descriptor& blob, std::uint64_t offset, const registry::Sink& sink, const std::stop_token& stop) override {
        WaitingCall call(loop_, session_, store_, "Read");
        wire::content::ReadContentRequest request;
        request.set_digest(blob.digest);
        request.set_offset(static_cast<std::int64_t>(offset));
        call.write(request.SerializeAsString());
        call.end();
        while (const auto message = call.read()) {
            if (stop.stop_requested()) fail(ErrorKind::unavailable, "context canceled");
            const auto piece = grpc::Services::parse<wire::content::ReadContentResponse>(*message);
            sink(piece.data());
        }
    }

    bool write(const oci::Descriptor& blob, const std::function<Fd()>& open, const std::stop_token& stop) override {
        if (is_there(blob.digest)) return false;
        const Fd file = open();
        return send(blob, registry::file_source(file.get()), stop);
    }

    void write_root(const oci::Descriptor& descriptor, const std::string& text, const std::stop_token& stop) override {
        if (is_there(descriptor.digest)) return;
        const registry::Source source = [&](std::uint64_t offset, char* out, std::size_t size) {
            return offset >= text.size() ? 0 : text.copy(out, size, offset);
        };
        static_cast<void>(send(descriptor, source, stop));
    }

private:
    std::string document(const oci::Descriptor& descriptor, std::size_t limit, const std::stop_token& stop) override {
        Collecting out(descriptor.digest, limit);
        read(descriptor, 0, [&](std::string_view bytes) { out(bytes); }, stop);
        return std::move(out.text);
    }

    bool is_there(const std::string& digest) const {
        WaitingCall call(loop_, session_, store_, "Info", short_call);
        wire::content::InfoRequest request;
        request.set_digest(digest);
        call.write(request.SerializeAsString());
        call.end();
        try {
            return call.read().has_value();
        } catch (const grpc::CallError& error) {
            if (error.status().code == grpc::Code::not_found) return false;
            throw;
        }
    }

    /// False where another was faster.
    bool send(const oci::Descriptor& blob, const registry::Source& source, const std::stop_token& stop) const {
        try {
            WaitingCall call(loop_, session_, store_, "Write");
            const auto ask = [&](wire::content::WriteContentRequest request) {
                call.write(request.SerializeAsString());
                const auto answer = call.read();
                if (!answer) fail(ErrorKind::unavailable, "blob {}: the client has ended the call", blob.digest);
                return grpc::Services::parse<wire::content::WriteContentResponse>(*answer);
            };
            wire::content::WriteContentRequest request;
            request.set_action(wire::content::WRITE_ACTION_STAT);
            request.set_ref(fmt::format("grua-{}-{}", oci::Digest::from(blob.digest).hex(), random_hex(8)));
            request.set_total(static_cast<std::int64_t>(blob.size));
            request.set_expected(blob.digest);
            std::int64_t at = ask(request).offset();
            if (at != 0) fail(ErrorKind::system, "blob {}: the client has {} bytes of it already", blob.digest, at);
            std::string piece(piece_size, '\0');
            while (static_cast<std::uint64_t>(at) < blob.size) {
                if (stop.stop_requested()) fail(ErrorKind::unavailable, "context canceled");
                const std::size_t count = source(static_cast<std::uint64_t>(at), piece.data(), piece.size());
                if (count == 0) fail(ErrorKind::system, "blob {} ends before its size", blob.digest);
                request.set_action(wire::content::WRITE_ACTION_WRITE);
                request.set_offset(at);
                request.set_data(piece.substr(0, count));
                ask(request);
                at += static_cast<std::int64_t>(count);
            }
            request.set_action(wire::content::WRITE_ACTION_COMMIT);
            request.set_offset(at);
            request.clear_data();
            ask(request);
            return true;
        } catch (const grpc::CallError& error) {
            if (error.status().code == grpc::Code::already_exists) return false;
            throw;
        }
    }

    asio::any_io_executor loop_;
    SessionPtr session_;
    std::string store_;
    std::string root_;
};

}  // namespace

std::string CacheRemote::read_document(const oci::Descriptor& descriptor, std::size_t limit, const std::stop_token& stop) {
    const oci::Digest digest = oci::Digest::from(descriptor.digest);
    if (descriptor.size > limit)
        fail(ErrorKind::invalid_argument, "blob {} is too large ({} > {})", descriptor.digest, descriptor.size, limit);
    std::string out = document(descriptor, limit, stop);
    if (const oci::Digest actual = content::digest_of(out, digest.algorithm()); actual != digest)
        fail(ErrorKind::invalid_argument, "blob {} has the digest {}", digest.text(), actual.text());
    return out;
}

void refuse_insecure(const oci::Reference& reference, bool is_wanted) {
    const std::string& host = reference.domain();
    if (!is_wanted || host.starts_with("127.") || host.starts_with("localhost") || host.starts_with("[::1]")) return;
    fail(ErrorKind::not_implemented, "not implemented: registry.insecure; name {} in insecure-registries", host);
}

std::shared_ptr<CacheRemote> registry_remote(const registry::Client& client, oci::Reference reference, registry::Credentials credentials) {
    return std::make_shared<RegistryRemote>(client, std::move(reference), std::move(credentials));
}

std::shared_ptr<CacheRemote> session_remote(asio::any_io_executor loop, SessionPtr session, std::string store, std::string root) {
    return std::make_shared<SessionRemote>(std::move(loop), std::move(session), std::move(store), std::move(root));
}

}  // namespace grua::build
