#include "build/oci_layout.hpp"

#include "build/wire/content.pb.h"
#include "content/hash.hpp"
#include "layers/tar_writer.hpp"

#include <sys/socket.h>
#include <array>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <set>

namespace grua::build {
namespace {

constexpr std::string_view read_call = "/containerd.services.content.v1.Content/Read";
constexpr int indexes_in_each_other = 4;
constexpr std::string_view index_file = "index.json";

std::string attribute(const pb::SourceOp& source, const std::string& name) {
    const auto found = source.attrs().find(name);
    return found == source.attrs().end() ? std::string() : found->second;
}

/// A blob as it comes, to its end.
class BlobRead {
public:
    BlobRead(const SessionPtr& session, const LayoutSource& source, const std::string& digest)
        : session_(session),
          digest_(digest),
          call_(session->connection(read_call), std::string(read_call),
                {.metadata = {{"buildkit-attachable-store-id", "oci:" + source.store}}, .timeout = {}}) {}

    asio::awaitable<void> begin() {
        wire::content::ReadContentRequest request;
        request.set_digest(digest_);
        co_await call_.write(request.SerializeAsString());
        call_.end();
    }
    asio::awaitable<std::optional<std::string>> next() {
        auto message = co_await call_.read();
        if (!message) co_return std::nullopt;
        co_return grpc::Services::parse<wire::content::ReadContentResponse>(*message).data();
    }

private:
    SessionPtr session_;
    std::string digest_;
    grpc::ClientCall call_;
};

asio::awaitable<std::string> read_document(SessionPtr session, LayoutSource source, oci::Digest digest, std::size_t limit) {
    BlobRead blob(session, source, digest.text());
    co_await blob.begin();
    std::string out;
    while (auto piece = co_await blob.next()) {
        out += *piece;
        if (out.size() > limit) fail(ErrorKind::invalid_argument, "{} has more than the {} bytes that are taken", digest.text(), limit);
    }
    const oci::Digest actual = content::digest_of(out, digest.algorithm());
    if (actual != digest) fail(ErrorKind::invalid_argument, "blob {} has the digest {}", digest.text(), actual.text());
    co_return out;
}

bool is_index_document(const std::string& text) {
    const auto document = json::parse<oci::Index>(text);
    return oci::is_index(document.media_type) || (document.media_type.empty() && !document.manifests.empty());
}

/// The layout as one tar, a piece at a time.
class LayoutTar {
public:
    explicit LayoutTar(grpc::Transport& out) : out_(out), writer_(buffer_) {}

    asio::awaitable<void> document(std::string name, std::string text) {
        begin(name, text.size());
        writer_.write(text);
        co_await flush();
    }
    void begin(const std::string& name, std::uint64_t size) { writer_.add({.name = name, .mode = 0644, .size = size}); }
    asio::awaitable<void> piece(std::string bytes) {
        writer_.write(bytes);
        co_await flush();
    }
    asio::awaitable<void> finish() {
        writer_.finish();
        co_await flush();
    }

private:
    struct Buffer final : layers::Sink {
        void write(std::string_view bytes) override { text += bytes; }
        std::string text;
    };
    asio::awaitable<void> flush() {
        const std::string bytes = std::exchange(buffer_.text, {});
        if (!co_await out_.write(bytes)) fail(ErrorKind::unavailable, "whoever loads the image has ended");
    }

    grpc::Transport& out_;
    Buffer buffer_;
    layers::TarWriter writer_;
};

std::string blob_path(const oci::Digest& digest) { return fmt::format("blobs/{}/{}", digest.algorithm(), digest.hex()); }

using Came = std::function<void(const std::string& layer, std::uint64_t bytes, std::uint64_t all)>;

asio::awaitable<void> send_layer(SessionPtr session, const LayoutImage& image, const oci::Descriptor& layer, LayoutTar& tar,
                                 const Came& came) {
    BlobRead blob(session, image.source, layer.digest);
    co_await blob.begin();
    tar.begin(blob_path(oci::Digest::from(layer.digest)), layer.size);
    std::uint64_t sent = 0;
    while (auto piece = co_await blob.next()) {
        sent += piece->size();
        if (sent > layer.size)
            fail(ErrorKind::invalid_argument, "blob {} has more than the {} bytes of its descriptor", layer.digest, layer.size);
        co_await tar.piece(std::move(*piece));
        if (came) came(layer.digest, sent, layer.size);
    }
    if (sent < layer.size)
        fail(ErrorKind::invalid_argument, "blob {} has {} bytes, its descriptor says {}", layer.digest, sent, layer.size);
}

asio::awaitable<void> send_layout(SessionPtr session, const LayoutImage& image, grpc::Transport& out, const Came& came) {
    LayoutTar tar(out);
    const oci::Manifest manifest = oci::parse_manifest(image.manifest);
    const std::string digest = content::digest_of(image.manifest).text();
    const std::string type = manifest.media_type.empty() ? std::string(oci::media_type::manifest) : manifest.media_type;
    co_await tar.document("oci-layout", R"({"imageLayoutVersion":"1.0.0"})");
    const boost::json::object entry{{"mediaType", type}, {"digest", digest}, {"size", image.manifest.size()}};
    co_await tar.document(std::string(index_file),
                          boost::json::serialize(boost::json::object{{"schemaVersion", 2}, {"manifests", boost::json::array{entry}}}));
    co_await tar.document(blob_path(oci::Digest::from(digest)), image.manifest);
    co_await tar.document(blob_path(oci::Digest::from(manifest.config.digest)), image.raw_config);
    std::set<std::string> sent;
    for (const oci::Descriptor& each : manifest.layers)
        if (sent.insert(each.digest).second) co_await send_layer(session, image, each, tar, came);
    co_await tar.finish();
}

struct Loading {
    explicit Loading(const asio::any_io_executor& loop) : changed(loop) {}
    Condition changed;
    bool has_ended = false;
    std::exception_ptr failure;
};

}  // namespace

LayoutSource parse_layout_reference(std::string_view reference) {
    const std::size_t at = reference.rfind('@');
    const auto digest = at == std::string_view::npos ? std::nullopt : oci::Digest::parse(reference.substr(at + 1));
    if (!digest || at == 0) fail(ErrorKind::invalid_argument, "oci-layout reference \"{}\" has no digest", reference);
    std::string_view name = reference.substr(0, at);
    // A tag says nothing beside the digest.
    const std::size_t slash = name.rfind('/');
    if (const std::size_t colon = name.rfind(':'); colon != std::string_view::npos && (slash == std::string_view::npos || colon > slash))
        name = name.substr(0, colon);
    return {.store = std::string(name), .session = {}, .digest = *digest};
}

LayoutSource read_layout_source(const pb::SourceOp& source, const std::string& session) {
    LayoutSource out = parse_layout_reference(std::string_view(source.identifier()).substr(layout_scheme.size()));
    if (std::string store = attribute(source, "oci.store"); !store.empty()) out.store = std::move(store);
    out.session = attribute(source, "oci.session");
    if (out.session.empty()) out.session = session;
    if (!attribute(source, "oci.layerlimit").empty()) fail(ErrorKind::not_implemented, "not implemented: oci.layerlimit");
    return out;
}

asio::awaitable<std::shared_ptr<const LayoutImage>> find_layout_image(Sessions& sessions, LayoutSource source, oci::Platform platform) {
    const SessionPtr session = co_await sessions.find(source.session);
    const std::shared_ptr<LayoutImage> out(new LayoutImage{.source = source, .manifest = {}, .raw_config = {}, .config = {}});
    oci::Digest digest = source.digest;
    for (int depth = 0;; ++depth) {
        out->manifest = co_await read_document(session, source, digest, oci::manifest_size_limit);
        if (!is_index_document(out->manifest)) break;
        const oci::Index index = oci::parse_index(out->manifest);
        const oci::Descriptor* best = oci::choose(index, platform);
        if (!best || depth > indexes_in_each_other) fail(ErrorKind::not_found, "no match for platform in manifest: not found");
        digest = oci::Digest::from(best->digest);
    }
    const oci::Manifest manifest = oci::parse_manifest(out->manifest);
    out->raw_config = co_await read_document(session, source, oci::Digest::from(manifest.config.digest), oci::image_config_size_limit);
    out->config = oci::parse_image_config(out->raw_config);
    co_return out;
}

asio::awaitable<void> load_layout_image(LayoutTarget target, std::shared_ptr<const LayoutImage> image, Came came) {
    const SessionPtr session = co_await target.sessions.find(image->source.session);
    std::array<int, 2> pair{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) != 0) fail_errno("make a socket pair");
    auto ours = grpc::over_socket(target.loop, Fd(pair[0]));
    const auto loading = std::make_shared<Loading>(target.loop);
    asio::co_spawn(target.loop,
                   target.transfers.call(target.loop,
                                         [&images = target.images, input = std::make_shared<Fd>(pair[1])](const std::stop_token&) {
                                             for (const images::LoadedImage& each : images.load(input->get()))
                                                 images.unpack(*images.get(each.id));
                                             return true;
                                         }),
                   [loading](const std::exception_ptr& failure, bool) {
                       loading->failure = failure;
                       loading->has_ended = true;
                       loading->changed.notify_all();
                   });
    std::exception_ptr failure;
    try {
        co_await send_layout(session, *image, *ours, came);
    } catch (...) {
        failure = std::current_exception();
    }
    // Which is the end of what comes, also where that is too soon.
    ours.reset();
    co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
    while (!loading->has_ended) co_await loading->changed.wait();
    // Why nobody has read to the end is the other's to say.
    const bool was_refused = loading->failure && failure;
    if (was_refused) {
        try {
            std::rethrow_exception(failure);
        } catch (const Error& error) {
            if (error.kind() == ErrorKind::unavailable) std::rethrow_exception(loading->failure);
            throw;
        }
    }
    if (failure) std::rethrow_exception(failure);
    if (loading->failure) std::rethrow_exception(loading->failure);
}

}  // namespace grua::build
