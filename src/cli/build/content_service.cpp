#include "cli/build/content_service.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/id.hpp"
#include "base/log.hpp"
#include "build/wire/content.pb.h"
#include "content/hash.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <memory>
#include <optional>
#include <utility>

namespace grua::cli {
namespace {

namespace wire = grua::wire::content;

constexpr std::size_t piece_bytes = std::size_t{256} << 10U;
constexpr std::size_t writers_limit = 256;
constexpr std::string_view service = "/containerd.services.content.v1.Content/";

std::string blob_path(const std::string& folder, const oci::Digest& digest) {
    return fmt::format("{}/blobs/{}/{}", folder, digest.algorithm(), digest.hex());
}

struct Blob {
    Fd file;
    struct stat about{};
};

Blob open_blob(const std::string& folder, const std::string& digest) {
    Blob out;
    const oci::Digest known = oci::Digest::from(digest);
    out.file = Fd{::open(blob_path(folder, known).c_str(), O_RDONLY | O_CLOEXEC)};
    if (!out.file && errno == ENOENT) fail(ErrorKind::not_found, "content {}: not found", known.text());
    if (!out.file || ::fstat(out.file.get(), &out.about) != 0) fail_errno("open blob {}", known.text());
    return out;
}

/// A blob that comes: aside, until its digest is known to be right.
class Ingest {
public:
    explicit Ingest(std::string folder) : folder_(std::move(folder)) {
        make_directories(folder_ + "/ingest");
        aside_ = fmt::format("{}/ingest/{}", folder_, random_hex(8));
        file_ = Fd{::open(aside_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644)};
        if (!file_) fail_errno("create {}", aside_);
    }
    Ingest(const Ingest&) = delete;
    Ingest& operator=(const Ingest&) = delete;
    ~Ingest() {
        if (!aside_.empty()) ::unlink(aside_.c_str());
        ::rmdir((folder_ + "/ingest").c_str());
    }

    std::int64_t size() const noexcept { return size_; }

    void write(std::string_view bytes) {
        write_all(file_.get(), bytes, aside_);
        hash_.update(bytes);
        size_ += static_cast<std::int64_t>(bytes.size());
    }

    std::string commit(const std::string& expected, std::int64_t total) {
        const oci::Digest digest = hash_.finish();
        if (total > 0 && total != size_) fail(ErrorKind::conflict, "unexpected commit size {}, expected {}", size_, total);
        if (!expected.empty() && expected != digest.text())
            fail(ErrorKind::conflict, "unexpected commit digest {}, expected {}", digest.text(), expected);
        make_directories(fmt::format("{}/blobs/{}", folder_, digest.algorithm()));
        const std::string path = blob_path(folder_, digest);
        if (::rename(aside_.c_str(), path.c_str()) != 0) fail_errno("rename {}", path);
        aside_.clear();
        return digest.text();
    }

private:
    std::string folder_;
    std::string aside_;
    Fd file_;
    content::Hasher hash_;
    std::int64_t size_ = 0;
};

}  // namespace

/// One writer by a reference at a time.
class ContentService::Claim {
public:
    Claim(std::map<std::string, std::int64_t>& writing, std::string reference) : writing_(writing), reference_(std::move(reference)) {
        if (reference_.empty()) fail(ErrorKind::invalid_argument, "first message must have a reference");
        if (writing_.size() >= writers_limit) fail(ErrorKind::unavailable, "more than {} blobs at once", writers_limit);
        if (!writing_.emplace(reference_, 0).second) fail(ErrorKind::unavailable, "ref {} locked", reference_);
    }
    Claim(const Claim&) = delete;
    Claim& operator=(const Claim&) = delete;
    ~Claim() { writing_.erase(reference_); }

    void at(std::int64_t offset) { writing_[reference_] = offset; }

private:
    std::map<std::string, std::int64_t>& writing_;
    std::string reference_;
};

const std::string& ContentService::folder_of(const grpc::ServerCall& call) const {
    const std::string id(call.metadata("buildkit-attachable-store-id"));
    const auto found = folders_.find(id);
    if (found == folders_.end()) fail(ErrorKind::not_found, "unknown store {}", id);
    return found->second;
}

asio::awaitable<void> ContentService::read(grpc::ServerCall& call) {
    const std::string folder = folder_of(call);
    const auto request = grpc::Services::parse<wire::ReadContentRequest>(co_await call.read_only());
    const auto blob =
        std::make_shared<Blob>(co_await offload(pool_, [folder, digest = request.digest()] { return open_blob(folder, digest); }));
    std::int64_t left = blob->about.st_size - request.offset();
    if (request.offset() < 0 || left < 0)
        fail(ErrorKind::invalid_argument, "content {}: offset {} is not within it", request.digest(), request.offset());
    if (request.size() > 0) left = std::min<std::int64_t>(left, request.size());
    std::int64_t offset = request.offset();
    while (left > 0) {
        const auto size = static_cast<std::size_t>(std::min<std::int64_t>(left, piece_bytes));
        wire::ReadContentResponse answer;
        answer.set_offset(offset);
        answer.set_data(co_await offload(pool_, [blob, offset, size] {
            std::string bytes(size, '\0');
            const ssize_t count = ::pread(blob->file.get(), bytes.data(), size, offset);
            if (count < 0) fail_errno("read a blob");
            if (count == 0) fail(ErrorKind::conflict, "a blob has become shorter");
            bytes.resize(static_cast<std::size_t>(count));
            return bytes;
        }));
        offset += static_cast<std::int64_t>(answer.data().size());
        left -= static_cast<std::int64_t>(answer.data().size());
        const std::string message = answer.SerializeAsString();
        co_await call.write(message);
    }
}

asio::awaitable<void> ContentService::write(grpc::ServerCall& call) {
    const std::string folder = folder_of(call);
    std::optional<Claim> claim;
    std::shared_ptr<Ingest> ingest;
    std::string expected;
    std::int64_t total = 0;
    while (const auto message = co_await call.read()) {
        auto request = grpc::Services::parse<wire::WriteContentRequest>(*message);
        if (!claim) claim.emplace(writing_, request.ref());
        if (!request.expected().empty()) expected = request.expected();
        if (request.total() > 0) total = request.total();
        if (!ingest) {
            ingest = co_await offload(pool_, [folder, expected] {
                struct stat about{};
                if (!expected.empty() && ::stat(blob_path(folder, oci::Digest::from(expected)).c_str(), &about) == 0)
                    throw grpc::CallError(
                        {.code = grpc::Code::already_exists, .message = "content " + expected + ": already exists", .details = {}});
                return std::make_shared<Ingest>(folder);
            });
        }
        if (!request.data().empty()) {
            if (request.offset() != ingest->size())
                fail(ErrorKind::invalid_argument, "unexpected offset {}, expected {}", request.offset(), ingest->size());
            co_await offload(pool_, [ingest, data = request.data()] { ingest->write(data); });
            claim->at(ingest->size());
        }
        wire::WriteContentResponse answer;
        answer.set_action(request.action());
        answer.set_offset(ingest->size());
        answer.set_total(total);
        const bool is_last = request.action() == wire::WRITE_ACTION_COMMIT;
        if (is_last) answer.set_digest(co_await offload(pool_, [ingest, expected, total] { return ingest->commit(expected, total); }));
        const std::string text = answer.SerializeAsString();
        co_await call.write(text);
        if (is_last) co_return;
    }
}

void ContentService::add_to(grpc::Services& services) {
    const auto method = [](const char* name) { return std::string(service) + name; };
    services.add_unary<wire::InfoRequest>(
        method("Info"), [this](grpc::ServerCall& call, const wire::InfoRequest& request) -> asio::awaitable<wire::InfoResponse> {
            const auto blob =
                co_await offload(pool_, [folder = folder_of(call), digest = request.digest()] { return open_blob(folder, digest); });
            wire::InfoResponse out;
            out.mutable_info()->set_digest(request.digest());
            out.mutable_info()->set_size(blob.about.st_size);
            for (auto* time : {out.mutable_info()->mutable_created_at(), out.mutable_info()->mutable_updated_at()}) {
                time->set_seconds(blob.about.st_mtim.tv_sec);
                time->set_nanos(static_cast<std::int32_t>(blob.about.st_mtim.tv_nsec));
            }
            co_return out;
        });
    services.add_unary<wire::StatusRequest>(
        method("Status"), [this](grpc::ServerCall& call, const wire::StatusRequest& request) -> asio::awaitable<wire::StatusResponse> {
            (void)folder_of(call);
            const auto found = writing_.find(request.ref());
            if (found == writing_.end()) fail(ErrorKind::not_found, "ref {}: not found", request.ref());
            wire::StatusResponse out;
            out.mutable_status()->set_ref(request.ref());
            out.mutable_status()->set_offset(found->second);
            co_return out;
        });
    services.add(method("Read"), [this](grpc::ServerCall& call) { return read(call); });
    services.add(method("Write"), [this](grpc::ServerCall& call) { return write(call); });
}

}  // namespace grua::cli
