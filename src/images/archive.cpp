#include "images/archive.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "layers/source.hpp"
#include "layers/tar.hpp"

#include <fcntl.h>
#include <filesystem>

namespace grua::images {
namespace {

constexpr std::uint64_t entry_limit = 100'000;
constexpr int link_limit = 8;

std::string clean(const std::string& path) { return std::filesystem::path("/" + path).lexically_normal().relative_path().string(); }

}  // namespace

Archive::Archive(int input, Fd spool) : spool_(std::move(spool)) {
    layers::FdSource raw{input};
    const auto plain = layers::decompress(raw);
    layers::TarReader tar{*plain, {.entries = entry_limit}};
    std::vector<char> buffer(std::size_t{256} << 10U);
    std::uint64_t end = 0;
    using Type = layers::TarEntry::Type;
    while (const auto entry = tar.next()) {
        const std::string name = clean(entry->name);
        if (entry->type == Type::symlink) {
            links_[name] = clean((std::filesystem::path(name).parent_path() / entry->link).string());
        } else if (entry->type == Type::hard_link) {
            links_[name] = clean(entry->link);
        } else if (entry->type == Type::file) {
            if (entry->sparse) fail(ErrorKind::invalid_argument, "invalid archive: {} is sparse", name);
            for (std::size_t count = tar.read(buffer); count > 0; count = tar.read(buffer)) write_all(fd(), {buffer.data(), count}, name);
            files_[name] = {end, entry->size};
            end += entry->size;
        }
    }
    while (plain->read(buffer) > 0) {
    }
}

std::optional<Archive::Extent> Archive::find(const std::string& path) const {
    std::string name = clean(path);
    for (int hop = 0; hop < link_limit; ++hop) {
        if (const auto file = files_.find(name); file != files_.end()) return file->second;
        const auto link = links_.find(name);
        if (link == links_.end()) return std::nullopt;
        name = link->second;
    }
    return std::nullopt;
}

Archive::Extent Archive::get(const std::string& path) const {
    const auto found = find(path);
    if (!found) fail(ErrorKind::invalid_argument, "invalid archive: {} is missing", path);
    return *found;
}

std::string Archive::read(const std::string& path, std::size_t limit) const {
    const Extent extent = get(path);
    if (extent.size > limit) fail(ErrorKind::invalid_argument, "invalid archive: {} is larger than {} bytes", path, limit);
    layers::ExtentSource source{fd(), extent.offset, extent.size};
    std::string out(extent.size, '\0');
    for (std::size_t have = 0; have < out.size();) have += source.read(std::span(out).subspan(have));
    return out;
}

}  // namespace grua::images
