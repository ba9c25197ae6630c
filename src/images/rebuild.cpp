#include "images/rebuild.hpp"

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "oci/manifest.hpp"
#include "oci/reference.hpp"

#include <unistd.h>
#include <algorithm>
#include <optional>

namespace grua::images {
namespace {

struct Document {
    std::string media_type;
    std::uint64_t size = 0;
    std::vector<oci::Descriptor> below;  ///< An index's manifests; a manifest's configuration and layers.
    bool is_index = false;
};

/// What is packed is no document, and not read further.
bool may_be_document(const content::ContentStore& content, const oci::Digest& digest) {
    if (content.size(digest).value_or(0) > oci::manifest_size_limit) return false;
    char first = 0;
    return ::pread(content.open(digest).get(), &first, 1, 0) == 1 && first == '{';
}

std::optional<Document> read_document(const content::ContentStore& content, const oci::Digest& digest) {
    if (!may_be_document(content, digest)) return std::nullopt;
    const std::string text = content.read(digest, oci::manifest_size_limit);
    const auto type_or = [](const std::string& type, std::string_view other) { return type.empty() ? std::string(other) : type; };
    try {
        oci::Index index = oci::parse_index(text);
        return Document{type_or(index.media_type, oci::media_type::index), text.size(), std::move(index.manifests), true};
    } catch (const Error&) {
        // A manifest, or none of both.
    }
    try {
        oci::Manifest manifest = oci::parse_manifest(text);
        std::vector<oci::Descriptor> below = std::move(manifest.layers);
        below.push_back(std::move(manifest.config));
        return Document{type_or(manifest.media_type, oci::media_type::manifest), text.size(), std::move(below), false};
    } catch (const Error&) {
        return std::nullopt;
    }
}

}  // namespace

RebuiltImages rebuild_rows(const content::ContentStore& content, store::Database& database,
                           const std::map<std::string, std::set<std::string>>& names) {
    migrate(database);
    std::map<std::string, Document> documents;
    for (const oci::Digest& digest : content.list())
        if (auto found = read_document(content, digest)) documents.emplace(digest.text(), std::move(*found));

    const auto is_whole = [&](const std::string& digest) {
        const auto found = documents.find(digest);
        return found != documents.end() && !found->second.is_index &&
               std::ranges::all_of(found->second.below,
                                   [&](const oci::Descriptor& each) { return content.exists(oci::Digest::from(each.digest)); });
    };
    std::set<std::string> inner;
    for (const auto& [digest, document] : documents)
        if (document.is_index)
            for (const oci::Descriptor& each : document.below) inner.insert(each.digest);

    RebuiltImages out;
    const auto time = static_cast<std::int64_t>(now().time_since_epoch().count());
    database.transaction([&] {
        for (const auto& [digest, document] : documents) {
            if (inner.contains(digest)) continue;
            const bool whole = document.is_index
                                   ? std::ranges::any_of(document.below, [&](const oci::Descriptor& each) { return is_whole(each.digest); })
                                   : is_whole(digest);
            if (!whole) continue;
            database.execute("INSERT INTO images (id, media_type, size, parent, tagged, used) VALUES (?1, ?2, ?3, '', ?4, ?4)",
                             {digest, document.media_type, document.size, time});
            out.ids.insert(digest);
            const auto known = names.find(digest);
            if (known == names.end()) continue;
            bool named = false;
            for (const std::string& each : known->second) {
                try {
                    const oci::Reference name = oci::Reference::parse(each).with_default_tag();
                    database.execute("INSERT OR IGNORE INTO image_references (name, image) VALUES (?, ?)", {name.text(), digest});
                    named = true;
                } catch (const Error& error) {
                    log::debug("{}: {}", each, error.what());  // by its ID
                }
            }
            if (named) ++out.named;
        }
    });
    return out;
}

}  // namespace grua::images
