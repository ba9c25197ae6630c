#include "build/history_store.hpp"

#include "base/encoding.hpp"
#include "base/error.hpp"
#include "base/files.hpp"
#include "base/log.hpp"
#include "base/timespec.hpp"

#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <set>

namespace grua::build {
namespace {

// Before times are shown they are read from the document; the column is for the order alone.
constexpr std::array migrations{
    "CREATE TABLE build_history (ref TEXT PRIMARY KEY, created INTEGER NOT NULL, completed INTEGER NOT NULL, pinned INTEGER NOT NULL,"
    " document TEXT NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE build_history_blobs (ref TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (ref, digest)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX build_history_blobs_by_digest ON build_history_blobs (digest)"};

std::int64_t nanoseconds_of(const wire::common::Timestamp& time) { return time.seconds() * 1'000'000'000 + time.nanos(); }

std::optional<HistoryRecord> read_row(const store::Row& row, std::size_t column) {
    HistoryRecord out;
    const auto bytes = base64_decode(row.text(column));
    if (bytes && out.ParseFromString(*bytes)) return out;
    log::warn("history of builds: a record cannot be read");
    return std::nullopt;
}

void add_digest(const wire::control::Descriptor& descriptor, std::vector<oci::Digest>& to) {
    if (auto digest = oci::Digest::parse(descriptor.digest())) to.push_back(std::move(*digest));
}

void add_digests(const wire::control::BuildResultInfo& result, std::vector<oci::Digest>& to) {
    add_digest(result.resultdeprecated(), to);
    for (const auto& each : result.attestations()) add_digest(each, to);
    for (const auto& [number, descriptor] : result.results()) add_digest(descriptor, to);
}

}  // namespace

HistoryBlob::HistoryBlob(Fd file) : file_(std::move(file)) {
    struct stat status{};
    if (::fstat(file_.get(), &status) != 0) fail_errno("stat a blob of the history");
    size_ = static_cast<std::uint64_t>(status.st_size);
    created_ = time_of(status.st_mtim);
}

std::string HistoryBlob::read(std::uint64_t offset, std::size_t count) const {
    if (offset >= size()) return {};
    count = static_cast<std::size_t>(std::min<std::uint64_t>(count, size() - offset));
    if (bytes_) return bytes_->substr(offset, count);
    std::string out(count, '\0');
    std::size_t got = 0;
    while (got < count) {
        const ssize_t bytes = ::pread(file_.get(), out.data() + got, count - got, static_cast<off_t>(offset + got));
        if (bytes < 0 && errno == EINTR) continue;
        if (bytes < 0) fail_errno("read a blob of the history");
        if (bytes == 0) break;
        got += static_cast<std::size_t>(bytes);
    }
    out.resize(got);
    return out;
}

std::vector<oci::Digest> blobs_of(const HistoryRecord& record) {
    std::vector<oci::Digest> out;
    add_digest(record.logs(), out);
    add_digest(record.trace(), out);
    add_digest(record.externalerror(), out);
    add_digest(record.madeof(), out);
    add_digests(record.result(), out);
    for (const auto& [platform, result] : record.results()) add_digests(result, out);
    return out;
}

content::ContentStore& HistoryStore::opened() {
    const MutexLock lock(mutex_);
    if (content_) return *content_;
    database_.migrate("build_history", migrations);
    auto content = std::make_unique<content::ContentStore>(directory_);
    std::set<std::string> known;
    for (const store::Row& row : database_.query("SELECT DISTINCT digest FROM build_history_blobs")) known.insert(row.text(0));
    for (const oci::Digest& each : content->list())
        if (!known.contains(each.text())) content->remove(each);
    content_ = std::move(content);
    return *content_;
}

void HistoryStore::insert(const HistoryRecord& record) {
    database_.execute(
        "INSERT INTO build_history (ref, created, completed, pinned, document) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (ref) DO UPDATE SET created = excluded.created, completed = excluded.completed, pinned = excluded.pinned,"
        " document = excluded.document",
        {record.ref(), nanoseconds_of(record.createdat()), nanoseconds_of(record.completedat()), record.pinned() ? 1 : 0,
         base64_encode(record.SerializeAsString())});
}

void HistoryStore::put(const HistoryRecord& record, const HistoryBlobs& blobs) {
    content::ContentStore& content = opened();
    for (const auto& [digest, bytes] : blobs) content.put(*bytes);
    crash_point("build:history-blobs");
    database_.transaction([&] {
        insert(record);
        for (const auto& [digest, bytes] : blobs)
            database_.execute("INSERT INTO build_history_blobs (ref, digest) VALUES (?, ?) ON CONFLICT DO NOTHING",
                              {record.ref(), digest.text()});
    });
    crash_point("build:history-kept");
}

std::optional<HistoryRecord> HistoryStore::find(const std::string& ref) {
    opened();
    const auto rows = database_.query("SELECT document FROM build_history WHERE ref = ?", {ref});
    return rows.empty() ? std::nullopt : read_row(rows[0], 0);
}

std::vector<HistoryRecord> HistoryStore::list(std::size_t most) {
    opened();
    std::vector<HistoryRecord> out;
    const std::int64_t limit = most == 0 ? -1 : static_cast<std::int64_t>(most);
    for (const store::Row& row : database_.query("SELECT document FROM build_history ORDER BY created DESC, ref LIMIT ?", {limit}))
        if (auto record = read_row(row, 0)) out.push_back(std::move(*record));
    return out;
}

std::optional<HistoryRecord> HistoryStore::change(const std::string& ref, const std::function<void(HistoryRecord&)>& change) {
    std::optional<HistoryRecord> out = find(ref);
    if (!out) return std::nullopt;
    change(*out);
    insert(*out);
    return out;
}

std::vector<std::string> HistoryStore::remove(const std::vector<std::string>& refs) {
    content::ContentStore& content = opened();
    std::vector<std::string> out;
    std::set<std::string> loose;
    database_.making_room([&] {
        out.clear();
        loose.clear();
        for (const std::string& ref : refs) {
            for (const store::Row& row : database_.query("SELECT digest FROM build_history_blobs WHERE ref = ?", {ref}))
                loose.insert(row.text(0));
            database_.execute("DELETE FROM build_history_blobs WHERE ref = ?", {ref});
            if (database_.execute("DELETE FROM build_history WHERE ref = ?", {ref}) > 0) out.push_back(ref);
        }
        std::erase_if(loose, [&](const std::string& digest) {
            return !database_.query("SELECT 1 FROM build_history_blobs WHERE digest = ? LIMIT 1", {digest}).empty();
        });
    });
    crash_point("build:history-removed");
    for (const std::string& each : loose) content.remove(oci::Digest::from(each));
    return out;
}

std::vector<std::string> HistoryStore::collect(const HistoryLimits& limits, Time now) {
    opened();
    const std::int64_t oldest = (now - limits.age).time_since_epoch().count();
    const auto rows = database_.query(
        "SELECT ref, completed FROM build_history WHERE pinned = 0 ORDER BY completed DESC, ref LIMIT -1 OFFSET ?", {limits.entries});
    std::vector<std::string> leaving;
    for (std::size_t at = 0; at < rows.size(); ++at)
        if (rows[at].integer(1) < oldest || at + limits.entries >= limits.most_entries) leaving.push_back(rows[at].text(0));
    return leaving.empty() ? leaving : remove(leaving);
}

std::vector<KeptBuild> HistoryStore::kept() {
    const content::ContentStore& content = opened();
    std::vector<HistoryRecord> records = list(0);
    std::ranges::reverse(records);
    std::vector<KeptBuild> out;
    std::set<oci::Digest> counted;
    for (const HistoryRecord& record : records) {
        KeptBuild kept{.ref = record.ref(), .name = {}, .completed = Time{std::chrono::nanoseconds(nanoseconds_of(record.completedat()))}};
        kept.is_pinned = record.pinned();
        if (const auto name = record.exporterresponse().find("image.name"); name != record.exporterresponse().end())
            kept.name = name->second;
        for (const store::Row& row : database_.query("SELECT digest FROM build_history_blobs WHERE ref = ?", {kept.ref})) {
            const auto digest = oci::Digest::parse(row.text(0));
            if (digest && counted.insert(*digest).second) kept.bytes += content.size(*digest).value_or(0);
        }
        out.push_back(std::move(kept));
    }
    return out;
}

HistoryBlobPtr HistoryStore::blob(const oci::Digest& digest) {
    const content::ContentStore& content = opened();
    try {
        return std::make_shared<const HistoryBlob>(content.open(digest));
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::not_found) return nullptr;
        throw;
    }
}

}  // namespace grua::build
