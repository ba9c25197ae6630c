#include "images/archive.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "layers/compress.hpp"
#include "layers/source.hpp"
#include "layers/tar.hpp"

#include <unistd.h>
#include <algorithm>
#include <exception>
#include <filesystem>
#include <set>

namespace grua::images {
namespace {

constexpr std::uint64_t entry_limit = 100'000;
constexpr int link_limit = 8;
constexpr std::uint64_t document_limit = std::uint64_t{8} << 20U;
constexpr std::uint64_t documents_limit = std::uint64_t{16} << 20U;  // in memory; what is more goes to the disk like a layer
constexpr std::size_t names_limit = std::size_t{16} << 20U;
constexpr std::size_t blob_limit = 20'000;  // each has a descriptor until the end
constexpr std::size_t side_by_side = 2;
constexpr std::size_t buffer_size = std::size_t{256} << 10U;

std::string clean(const std::string& path) { return std::filesystem::path("/" + path).lexically_normal().relative_path().string(); }

/// "blobs/sha256/<hex>" says what the bytes must be.
std::optional<oci::Digest> named_digest(const std::string& path) {
    const std::vector<std::string> parts = split(path, '/');
    if (parts.size() != 3 || parts[0] != "blobs") return std::nullopt;
    return oci::Digest::parse(parts[1] + ":" + parts[2]);
}

bool looks_like_layer(std::string_view first) {
    return layers::packing_of(first) != layers::Packing::plain ||
           (first.size() >= 512 && (first.substr(257, 5) == "ustar" || first.find_first_not_of('\0') == std::string_view::npos));
}

}  // namespace

/// The bytes of one entry; the first ones can be looked at before.
class EntryReader {
public:
    EntryReader(layers::TarReader& tar, std::vector<char>& buffer, std::function<void(std::uint64_t)> progress)
        : tar_(tar), buffer_(buffer), progress_(std::move(progress)) {
        fill();
    }
    std::string_view chunk() const { return {buffer_.data(), have_}; }
    void next() {
        done_ += have_;
        if (progress_) progress_(done_);
        fill();
    }

private:
    void fill() {
        have_ = 0;
        for (std::size_t count = 1; have_ < buffer_.size() && count > 0; have_ += count)
            count = tar_.read(std::span(buffer_).subspan(have_));
    }

    layers::TarReader& tar_;
    std::vector<char>& buffer_;
    std::function<void(std::uint64_t)> progress_;
    std::size_t have_ = 0;
    std::uint64_t done_ = 0;
};

/// The entry as a source.
class EntrySource : public layers::Source {
public:
    explicit EntrySource(EntryReader& reader) noexcept : reader_(reader) {}
    std::size_t read(std::span<char> out) override {
        if (at_ == reader_.chunk().size()) {
            reader_.next();
            at_ = 0;
        }
        const std::size_t count = reader_.chunk().substr(at_).copy(out.data(), out.size());
        at_ += count;
        return count;
    }

private:
    EntryReader& reader_;
    std::size_t at_ = 0;
};

namespace {

/// What no layer may be packed with, as gzip.
void repack(EntryReader& reader, const std::function<void(std::string_view)>& write) {
    EntrySource entry{reader};
    const auto plain = layers::decompress(entry);
    layers::GzipWriter gzip{write};
    std::vector<char> bytes(buffer_size);
    while (const std::size_t count = plain->read(bytes)) gzip.write({bytes.data(), count});
    gzip.finish();
}

}  // namespace

/// A blob that is not committed, and what is unpacked from it.
struct Archive::Blob {
    explicit Blob(content::ContentStore::Writer made) : writer(std::move(made)) {}

    /// Takes the result of the unpacking.
    void settle() {
        if (!incoming) return;
        try {
            staged = incoming->finish();
        } catch (...) {
            error = std::current_exception();  // it may be no layer at all
        }
        incoming.reset();
    }

    content::ContentStore::Writer writer;
    std::unique_ptr<Incoming> incoming;  // ends before the writer's file closes
    layers::StagedPtr staged;
    std::exception_ptr error;
};

Archive::Archive(int input, content::ContentStore& content, layers::LayerStore& layers, OnFound claim, const OnProgress& progress)
    : content_(content), layers_(layers), claim_(std::move(claim)) {
    layers::FdSource raw{input};
    const auto plain = layers::decompress(raw);
    layers::TarReader tar{*plain, {.entries = entry_limit}};
    std::vector<char> buffer(buffer_size);
    using Type = layers::TarEntry::Type;
    std::size_t names = 0;
    while (const auto entry = tar.next()) {
        const std::string name = clean(entry->name);
        names += name.size() + entry->link.size();
        if (names > names_limit) fail(ErrorKind::invalid_argument, "invalid archive: its names are larger than {} bytes", names_limit);
        if (entry->type == Type::symlink) {
            links_[name] = clean((std::filesystem::path(name).parent_path() / entry->link).string());
        } else if (entry->type == Type::hard_link) {
            links_[name] = clean(entry->link);
        } else if (entry->type == Type::file) {
            if (entry->sparse) fail(ErrorKind::invalid_argument, "invalid archive: {} is sparse", name);
            EntryReader reader{tar, buffer, [&, size = entry->size](std::uint64_t done) {
                                   if (progress) progress(name, done, size);
                               }};
            add_file(name, entry->size, reader);
        }
    }
    while (plain->read(buffer) > 0) {
    }
}

Archive::~Archive() = default;

void Archive::make_room() {
    while (unpacking_.size() >= side_by_side) {
        unpacking_.front()->settle();
        unpacking_.erase(unpacking_.begin());
    }
}

void Archive::add_file(const std::string& name, std::uint64_t size, EntryReader& reader) {
    const std::optional<oci::Digest> expected = named_digest(name);
    const bool is_layer = looks_like_layer(reader.chunk());
    if (!is_layer && size <= document_limit && document_bytes_ + size <= documents_limit) {
        document_bytes_ += size;
        std::string text;
        text.reserve(size);
        for (; !reader.chunk().empty(); reader.next()) text += reader.chunk();
        const oci::Digest digest = content::digest_of(text, std::string(expected ? expected->algorithm() : "sha256"));
        if (expected && digest != *expected) {
            fail(ErrorKind::invalid_argument, "invalid archive: {} has the digest {}", expected->text(), digest.text());
        }
        files_.insert_or_assign(name, File{digest, size});
        documents_.insert_or_assign(digest, std::move(text));
        return;
    }
    if (expected) claim_(*expected);
    if (expected && content_.size(*expected) == size) {
        // It is here; that the archive is whole is checked all the same.
        content::Hasher hasher{expected->algorithm()};
        for (; !reader.chunk().empty(); reader.next()) hasher.update(reader.chunk());
        if (const oci::Digest actual = hasher.finish(); actual != *expected) {
            fail(ErrorKind::invalid_argument, "invalid archive: {} has the digest {}", expected->text(), actual.text());
        }
        files_.insert_or_assign(name, File{*expected, size});
        return;
    }
    if (blobs_.size() >= blob_limit) fail(ErrorKind::invalid_argument, "invalid archive: too many files");
    auto blob = std::make_unique<Blob>(expected ? content_.ingest(*expected, size) : content_.receive());
    if (is_layer) {
        make_room();
        blob->incoming =
            std::make_unique<Incoming>(layers_, blob->writer.fd(), std::nullopt, std::string(expected ? expected->algorithm() : "sha256"));
    }
    const auto write = [&blob](std::string_view bytes) {
        blob->writer.write(bytes);
        if (blob->incoming) blob->incoming->grew_to(blob->writer.written());
    };
    if (!expected && layers::is_no_layer_packing(layers::packing_of(reader.chunk()))) {
        repack(reader, write);
    } else {
        for (; !reader.chunk().empty(); reader.next()) write(reader.chunk());
    }
    while_doing("invalid archive", [&] { blob->writer.verify(); });
    const oci::Digest digest = blob->writer.digest();
    if (blob->incoming) blob->incoming->end(digest);
    files_.insert_or_assign(name, File{digest, blob->writer.written()});
    if (blobs_.contains(digest)) return;
    if (blob->incoming) unpacking_.push_back(blob.get());
    blobs_.emplace(digest, std::move(blob));
}

std::optional<Archive::File> Archive::find(const std::string& path) const {
    std::string name = clean(path);
    for (int hop = 0; hop < link_limit; ++hop) {
        if (const auto file = files_.find(name); file != files_.end()) return file->second;
        const auto link = links_.find(name);
        if (link == links_.end()) return std::nullopt;
        name = link->second;
    }
    return std::nullopt;
}

Archive::File Archive::get(const std::string& path) const {
    const auto found = find(path);
    if (!found) fail(ErrorKind::invalid_argument, "invalid archive: {} is missing", path);
    return *found;
}

std::string Archive::read(const std::string& path, std::size_t limit) const {
    const File file = get(path);
    if (file.size > limit) fail(ErrorKind::invalid_argument, "invalid archive: {} is larger than {} bytes", path, limit);
    if (const auto document = documents_.find(file.digest); document != documents_.end()) return document->second;
    if (const auto blob = blobs_.find(file.digest); blob != blobs_.end()) {
        layers::ExtentSource source{blob->second->writer.fd(), 0, file.size};
        std::string out(file.size, '\0');
        for (std::size_t have = 0; have < out.size();) have += source.read(std::span(out).subspan(have));
        return out;
    }
    return content_.read(file.digest, limit);
}

std::string Archive::first_bytes(const File& file) const {
    std::string out(layers::packing_mark_size, '\0');
    const auto document = documents_.find(file.digest);
    if (document != documents_.end()) return document->second.substr(0, out.size());
    const auto blob = blobs_.find(file.digest);
    const Fd stored = blob == blobs_.end() ? content_.open(file.digest) : Fd{};
    const ssize_t count = ::pread(blob == blobs_.end() ? stored.get() : blob->second->writer.fd(), out.data(), out.size(), 0);
    if (count < 0) fail_errno("read {}", file.digest.text());
    out.resize(static_cast<std::size_t>(count));
    return out;
}

layers::StagedPtr Archive::layer(const File& file, const oci::Digest& diff_id) {
    const auto found = blobs_.find(file.digest);
    if (found != blobs_.end()) {
        Blob& blob = *found->second;
        std::erase(unpacking_, &blob);
        blob.settle();
        if (blob.error) while_doing("layer " + file.digest.text(), [&] { std::rethrow_exception(blob.error); });
        if (blob.staged && blob.staged->diff_id().algorithm() == diff_id.algorithm()) {
            if (blob.staged->diff_id() != diff_id) {
                fail(ErrorKind::invalid_argument, "layer has the diff ID {}, expected {}", blob.staged->diff_id().text(), diff_id.text());
            }
            return blob.staged;
        }
        layers::ExtentSource source{blob.writer.fd(), 0, file.size};
        return while_doing("layer " + file.digest.text(), [&] { return layers_.stage(source, diff_id); });
    }
    const auto document = documents_.find(file.digest);
    if (document != documents_.end()) fail(ErrorKind::invalid_argument, "invalid archive: layer {} is no tar", file.digest.text());
    const Fd stored = content_.open(file.digest);
    layers::FdSource source{stored.get()};
    return layers_.stage(source, diff_id);
}

void Archive::commit(const std::vector<oci::Digest>& wanted) {
    std::vector<content::ContentStore::Writer> writers;
    // An archive may name one image ten thousand times; each writer has a descriptor.
    for (const oci::Digest& digest : std::set(wanted.begin(), wanted.end())) {
        if (const auto document = documents_.find(digest); document != documents_.end()) {
            if (content_.exists(digest)) continue;
            auto& writer = writers.emplace_back(content_.ingest(digest, document->second.size()));
            writer.write(document->second);
        } else if (const auto blob = blobs_.find(digest); blob != blobs_.end()) {
            blob->second->settle();
            writers.push_back(std::move(blob->second->writer));
            blobs_.erase(blob);
        }
    }
    content_.commit(writers);
}

}  // namespace grua::images
