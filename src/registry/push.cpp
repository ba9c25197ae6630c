// What goes out: blobs that are looked for first, mounted where another repository has them, else uploaded in a session that can
// be gone on with; then manifests.
#include "base/log.hpp"
#include "base/text.hpp"
#include "registry/client_impl.hpp"

#include "content/hash.hpp"

#include <unistd.h>
#include <algorithm>

namespace grua::registry {
namespace {

constexpr std::size_t mount_limit = 4;  // as many repositories are tried
constexpr std::size_t upload_attempts = 50;

/// The host that takes a push, with the scheme that it speaks.
struct Target {
    Core& core;
    std::shared_ptr<const Rules> rules;
    Endpoint endpoint;
    const oci::Reference& repository;
    const Access& access;

    Session session(std::string_view more_scopes = {}) const {
        std::string scope = scope_of(endpoint, push_actions);
        if (!more_scopes.empty()) scope += fmt::format(" {}", more_scopes);
        return {core, rules, endpoint, &repository, std::move(scope), access};
    }
};

/// "0-1023": the registry has 1024 bytes. Nothing where it does not say.
std::optional<std::uint64_t> received(const Response& response) {
    const std::string_view range = response.header("range");
    const std::size_t dash = range.find('-');
    if (dash == std::string_view::npos) return std::nullopt;
    const auto last = parse_uint(trim(range.substr(dash + 1)));
    if (!last) return std::nullopt;
    // "0-0" is what registries say of one byte and of none; asking for the first again is right for both.
    return *last == 0 ? 0 : *last + 1;
}

Url next_location(const Request& request, const Response& response, const Endpoint& endpoint) {
    if (response.header("location").empty()) {
        throw Failure(ErrorKind::unavailable, request.text() + ": the registry names no place for the upload", Retry::elsewhere,
                      response.status);
    }
    return target_of(request, response, endpoint);
}

class Upload {
public:
    Upload(const Target& target, const oci::Digest& digest, std::uint64_t size, const Source& source,
           const std::function<void(std::uint64_t)>& progress)
        : target_(target), session_(target.session()), digest_(digest), size_(size), source_(source), progress_(progress) {}

    void run(std::optional<Url> location);

private:
    void begin();
    void send_chunks();
    void finish();
    bool find_out();

    const Target& target_;
    Session session_;
    const oci::Digest& digest_;
    std::uint64_t size_;
    const Source& source_;
    const std::function<void(std::uint64_t)>& progress_;
    std::optional<Url> location_;
    std::uint64_t offset_ = 0;  ///< that the registry has
    std::uint64_t best_ = 0;
    bool whole_ = false;  ///< the registry wants no chunks
};

void Upload::begin() {
    Request request;
    request.method = "POST";
    request.url = target_.endpoint.url("blobs/uploads/");
    const Response response = session_.expect(request, {202});
    location_ = next_location(request, response, target_.endpoint);
    offset_ = 0;
}

void Upload::send_chunks() {
    const std::uint64_t chunk = target_.core.options.limits.chunk;
    // The last chunk goes with the PUT that ends the upload.
    while (!whole_ && size_ - offset_ > chunk) {
        Request request;
        request.method = "PATCH";
        request.url = *location_;
        request.source = source_;
        request.source_offset = offset_;
        request.source_size = chunk;
        request.headers = {"Content-Type: application/octet-stream", fmt::format("Content-Range: {}-{}", offset_, offset_ + chunk - 1)};
        if (progress_) request.sent = [this](std::uint64_t sent) { progress_(offset_ + sent); };
        const Response response = session_.send(request);
        if (response.status == 405 || response.status == 501) {
            whole_ = true;
            return;
        }
        if (response.status != 202 && response.status != 204) throw failure_of(request, response);
        location_ = next_location(request, response, target_.endpoint);
        const std::uint64_t there = received(response).value_or(offset_ + chunk);
        if (there <= offset_ || there > size_) {
            throw Failure(
                ErrorKind::unavailable,
                fmt::format("{}: the registry says that it has {} of {} bytes, it had {} before", request.text(), there, size_, offset_),
                Retry::again, response.status);
        }
        offset_ = there;
        best_ = std::max(best_, offset_);
    }
}

void Upload::finish() {
    Request request;
    request.method = "PUT";
    request.url = *location_;
    request.url.add_query("digest", digest_.text());
    request.headers = {"Content-Type: application/octet-stream"};
    if (offset_ > 0) request.headers.push_back(fmt::format("Content-Range: {}-{}", offset_, size_ - 1));
    request.source = source_;
    request.source_offset = offset_;
    request.source_size = size_ - offset_;
    if (progress_) request.sent = [this](std::uint64_t sent) { progress_(offset_ + sent); };
    const Response response = session_.expect(request, {200, 201, 202, 204});
    const std::string_view claimed = response.header("docker-content-digest");
    if (!claimed.empty() && claimed != digest_.text()) {
        throw Failure(ErrorKind::unavailable,
                      fmt::format("{} stored blob {} as {}", target_.endpoint.authority(), digest_.text(), claimed.substr(0, 200)),
                      Retry::never, response.status);
    }
    if (progress_) progress_(size_);
}

/// Asks how much of a broken upload has arrived; false where the session is gone.
bool Upload::find_out() {
    if (!location_) return false;
    Request request;
    request.url = *location_;
    const Response response = session_.send(request);
    const std::optional<std::uint64_t> there = received(response);
    if (response.status != 204 || !there || *there > size_) return false;
    if (!response.header("location").empty()) location_ = next_location(request, response, target_.endpoint);
    offset_ = *there;
    return true;
}

void Upload::run(std::optional<Url> location) {
    location_ = std::move(location);
    Attempts attempts{target_.core, target_.access, upload_attempts};
    bool broken = false;
    for (;;) {
        const std::uint64_t before = best_;
        try {
            if (broken && !find_out()) location_.reset();
            broken = false;
            if (!location_) begin();
            send_chunks();
            finish();
            return;
        } catch (const Failure& failure) {
            // 404: the session ended there; 416: it has another offset than we thought.
            const bool session_lost = failure.status() == 404 || failure.status() == 416;
            const bool may_retry = failure.retry() == Retry::again || (failure.retry() == Retry::elsewhere && session_lost);
            if (!may_retry || !attempts.again(failure, best_ > before)) throw;
            broken = true;
        }
    }
}

}  // namespace

Source file_source(int fd) {
    return [fd](std::uint64_t offset, char* out, std::size_t size) -> std::size_t {
        for (;;) {
            const ssize_t count = ::pread(fd, out, size, static_cast<off_t>(offset));
            if (count >= 0) return static_cast<std::size_t>(count);
            if (errno != EINTR) fail_errno("read what is to be pushed");
        }
    };
}

PushResult Client::push_blob(const oci::Reference& repository, const oci::Descriptor& descriptor, const Source& source,
                             const std::vector<oci::Reference>& mount_from, const std::function<void(std::uint64_t)>& progress,
                             const Access& access) const {
    const oci::Digest digest = oci::Digest::from(descriptor.digest);
    Core& core = impl_->core;
    std::optional<Endpoint> endpoint;
    const bool exists = from_hosts(core, repository, Operation::push, std::string(push_actions), access, [&](Session& session) {
        Request request;
        request.method = "HEAD";
        request.url = session.endpoint().url("blobs/" + digest.text());
        const Response response = session.expect(request, {200, 404});
        endpoint = session.endpoint();
        return response.status == 200 && (!response.content_length || *response.content_length == descriptor.size);
    });
    if (exists) return {Pushed::existed, {}};

    const Target target{core, core.rules(), *endpoint, repository, access};
    std::optional<Url> location;
    std::size_t tried = 0;
    for (const oci::Reference& from : mount_from) {
        if (from.domain() != repository.domain() || from.path() == repository.path() || ++tried > mount_limit) continue;
        Session session = target.session(fmt::format("repository:{}:pull", from.path()));
        Request request;
        request.method = "POST";
        request.url = endpoint->url("blobs/uploads/");
        request.url.add_query("mount", digest.text());
        request.url.add_query("from", from.path());
        Response response;
        try {
            response = session.send(request);
        } catch (const Failure& failure) {
            // No token for the other repository: it may still be uploaded.
            if (failure.retry() == Retry::never) throw;
            log::debug("registry {}: no mount of {} from {}: {}", endpoint->authority(), digest.text(), from.path(), failure.what());
            continue;
        }
        if (response.status == 201) return {Pushed::mounted, from.path()};
        // What may not be mounted may still be uploaded; a session that was opened instead is used.
        if (response.status == 202) {
            location = next_location(request, response, *endpoint);
            break;
        }
        log::debug("registry {}: no mount of {} from {}: {}", endpoint->authority(), digest.text(), from.path(),
                   failure_of(request, response).what());
    }
    Upload{target, digest, descriptor.size, source, progress}.run(std::move(location));
    return {Pushed::uploaded, {}};
}

oci::Digest Client::push_manifest(const oci::Reference& reference, std::string_view media_type, std::string_view bytes,
                                  const Access& access) const {
    const oci::Reference full = reference.with_default_tag();
    const oci::Digest digest = content::digest_of(bytes, full.digest() ? full.digest()->algorithm() : "sha256");
    if (full.digest() && *full.digest() != digest) {
        fail(ErrorKind::invalid_argument, "push {}: the manifest has the digest {}", full.familiar(), digest.text());
    }
    return from_hosts(impl_->core, full, Operation::push, std::string(push_actions), access, [&](Session& session) {
        Request request;
        request.method = "PUT";
        request.url = session.endpoint().url("manifests/" + (full.digest() ? full.digest()->text() : full.tag()));
        request.headers.push_back(fmt::format("Content-Type: {}", media_type));
        request.body = bytes;
        const Response response = session.expect(request, {200, 201, 202, 204});
        const std::string_view claimed = response.header("docker-content-digest");
        if (!claimed.empty() && claimed != digest.text()) {
            throw Failure(ErrorKind::unavailable,
                          fmt::format("{} stored {} as {} instead of {}", session.endpoint().authority(), full.familiar(),
                                      claimed.substr(0, 200), digest.text()),
                          Retry::never, response.status);
        }
        return digest;
    });
}

}  // namespace grua::registry
