#include "images/cached_layers.hpp"

#include "base/error.hpp"
#include "images/image_store.hpp"
#include "layers/source.hpp"

#include <array>
#include <chrono>
#include <thread>

namespace grua::images {
namespace {

using namespace std::chrono_literals;

constexpr std::array migrations{
    "CREATE TABLE cached_layers (diff_id TEXT PRIMARY KEY, blob TEXT NOT NULL, media_type TEXT NOT NULL, size INTEGER NOT NULL, "
    "made INTEGER NOT NULL) STRICT, WITHOUT ROWID"};
constexpr auto between_looks = 20ms;
constexpr std::size_t buffer_size = std::size_t{256} << 10U;

class TextSource : public layers::Source {
public:
    explicit TextSource(std::string_view text) noexcept : text_(text) {}
    std::size_t read(std::span<char> out) override {
        const std::size_t count = text_.copy(out.data(), out.size());
        text_.remove_prefix(count);
        return count;
    }

private:
    std::string_view text_;
};

std::string empty_tar() { return std::string(1024, '\0'); }

void check_stop(const std::stop_token& stop) {
    if (stop.stop_requested()) fail(ErrorKind::unavailable, "context canceled");
}

/// Of what the blob is when it is decompressed.
oci::Digest unpacked_digest(int file, std::string_view algorithm, const std::stop_token& stop) {
    layers::FdSource packed{file};
    const auto source = layers::decompress(packed);
    content::Hasher hasher{algorithm};
    std::vector<char> buffer(buffer_size);
    while (const std::size_t count = source->read(buffer)) {
        check_stop(stop);
        hasher.update({buffer.data(), count});
    }
    return hasher.finish();
}

/// One at a time: who has begun with a blob goes on with it, and others find it when he is done.
class Fetching {
public:
    Fetching(content::ContentStore& content, layers::LayerStore& layers, const DownloadBlob& download, BuildClaims& claims,
             const std::stop_token& stop)
        : content_(content), layers_(layers), download_(download), claims_(claims), stop_(stop) {}

    void bring_blob(const CachedLayer& layer) {
        if (layer.blob.digest.empty()) return;
        if (!receive(layer.blob)) return;
        // An image that named the two together would be another one's for whoever unpacks it.
        const Fd file = content_.open(oci::Digest::from(layer.blob.digest));
        const oci::Digest actual = unpacked_digest(file.get(), layer.diff_id.algorithm(), stop_);
        if (actual == layer.diff_id) return;
        fail(ErrorKind::invalid_argument, "blob {} has the diff ID {}, {} was announced", layer.blob.digest, actual.text(),
             layer.diff_id.text());
    }

    void bring_files(const CachedLayer& layer) {
        if (claims_.layer(layer.diff_id)) return;
        std::vector<layers::StagedPtr> staged;
        while_doing("layer " + layer.diff_id.text(), [&] {
            if (layer.blob.digest.empty()) {
                const std::string tar = empty_tar();
                TextSource source{tar};
                staged.push_back(layers_.stage(source, layer.diff_id));
                return;
            }
            receive(layer.blob);
            const Fd file = content_.open(oci::Digest::from(layer.blob.digest));
            layers::FdSource source{file.get()};
            staged.push_back(layers_.stage(source, layer.diff_id));
        });
        layers_.publish(staged);
        if (!claims_.layer(layer.diff_id)) fail(ErrorKind::system, "layer {} could not be stored", layer.diff_id.text());
    }

private:
    /// False where it was here.
    bool receive(const oci::Descriptor& blob) {
        const oci::Digest digest = oci::Digest::from(blob.digest);
        claims_.blob(digest);
        for (;;) {
            check_stop(stop_);
            if (content_.exists(digest)) return false;
            try {
                content::ContentStore::Writer writer = content_.resume(digest, blob.size);
                const auto take = [&](std::string_view bytes) {
                    check_stop(stop_);
                    writer.write(bytes);
                };
                if (writer.written() < blob.size) download_(blob, writer.written(), take);
                writer.commit();
                return true;
            } catch (const Error& error) {
                if (error.kind() == ErrorKind::invalid_argument) content_.remove_partial(digest);
                if (error.kind() != ErrorKind::conflict) throw;
            }
            std::this_thread::sleep_for(between_looks);
        }
    }

    content::ContentStore& content_;
    layers::LayerStore& layers_;
    const DownloadBlob& download_;
    BuildClaims& claims_;
    const std::stop_token& stop_;
};

CachedLayer layer_of(const store::Row& row) {
    return {.blob = {.media_type = row.text(2), .digest = row.text(1), .size = static_cast<std::uint64_t>(row.integer(3))},
            .diff_id = oci::Digest::from(row.text(0)),
            .made = Time{std::chrono::nanoseconds{row.integer(4)}}};
}

}  // namespace

const oci::Digest& empty_layer_id() {
    static const oci::Digest out = content::digest_of(empty_tar());
    return out;
}

void fetch_cached(content::ContentStore& content, layers::LayerStore& layers, const std::vector<CachedLayer>& wanted, FetchWhat what,
                  const DownloadBlob& download, BuildClaims& claims, const std::stop_token& stop) {
    Fetching fetching(content, layers, download, claims, stop);
    for (const CachedLayer& each : wanted) {
        if (what == FetchWhat::blobs)
            fetching.bring_blob(each);
        else
            fetching.bring_files(each);
    }
}

void detail::migrate_cached_layers(store::Database& database) { database.migrate("cached_layers", migrations); }

std::vector<CachedLayer> detail::read_cached_layers(store::Database& database) {
    std::vector<CachedLayer> out;
    for (const store::Row& row : database.query("SELECT diff_id, blob, media_type, size, made FROM cached_layers"))
        out.push_back(layer_of(row));
    return out;
}

std::optional<CachedLayer> detail::read_cached_layer(store::Database& database, const oci::Digest& diff_id) {
    for (const store::Row& row :
         database.query("SELECT diff_id, blob, media_type, size, made FROM cached_layers WHERE diff_id = ?", {diff_id.text()}))
        return layer_of(row);
    return std::nullopt;
}

void CachedLayers::keep(const std::vector<CachedLayer>& layers) {
    database_.transaction([&] {
        for (const CachedLayer& each : layers)
            database_.execute("INSERT OR IGNORE INTO cached_layers (diff_id, blob, media_type, size, made) VALUES (?, ?, ?, ?, ?)",
                              {each.diff_id.text(), each.blob.digest, each.blob.media_type, each.blob.size,
                               static_cast<std::int64_t>(each.made.time_since_epoch().count())});
    });
}

void CachedLayers::let_go(const std::vector<oci::Digest>& diff_ids) {
    std::vector<oci::Digest> known;
    for (const oci::Digest& each : diff_ids)
        if (find(each)) known.push_back(each);
    if (known.empty()) return;
    database_.making_room([&] {
        for (const oci::Digest& each : known) database_.execute("DELETE FROM cached_layers WHERE diff_id = ?", {each.text()});
    });
}

std::optional<CachedLayer> CachedLayers::find(const oci::Digest& diff_id) const { return detail::read_cached_layer(database_, diff_id); }

std::vector<CachedLayer> CachedLayers::all() const { return detail::read_cached_layers(database_); }

}  // namespace grua::images
