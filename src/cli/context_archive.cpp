#include "cli/context_archive.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "layers/tar_writer.hpp"

#include <algorithm>
#include <boost/json.hpp>

namespace grua::cli {

namespace {

constexpr std::uint64_t entry_limit = 1000;

/// docker's tars end with the last byte of the last file: what fills its block, and the end mark, are made up here.
class TextSource : public layers::Source {
public:
    explicit TextSource(std::string_view text) noexcept : text_(text), filling_((block - text.size() % block) % block + 2 * block) {}
    std::size_t read(std::span<char> out) override {
        if (text_.empty()) {
            made_up_ = true;
            const std::size_t size = std::min(out.size(), filling_);
            std::fill_n(out.data(), size, '\0');
            filling_ -= size;
            return size;
        }
        const std::size_t size = text_.copy(out.data(), out.size());
        text_.remove_prefix(size);
        return size;
    }
    bool made_up() const noexcept { return made_up_; }

private:
    static constexpr std::size_t block = 512;
    std::string_view text_;
    std::size_t filling_;
    bool made_up_ = false;
};

using Type = layers::TarEntry::Type;

void add(layers::TarWriter& tar, std::string name, Type type, mode_t mode, std::string_view bytes = {}) {
    layers::TarEntry entry;
    entry.name = std::move(name);
    entry.type = type;
    entry.mode = mode;
    entry.size = bytes.size();
    tar.add(entry);
    if (type == Type::file) tar.write(bytes);
}

std::string content_of(layers::TarReader& tar, std::uint64_t size) {
    std::string out(static_cast<std::size_t>(size), '\0');
    std::size_t got = 0;
    while (got < out.size()) {
        const std::size_t piece = tar.read(std::span(out).subspan(got));
        if (piece == 0) fail(ErrorKind::invalid_argument, "unexpected EOF");
        got += piece;
    }
    return out;
}

bool is_file_name(const std::string& name) { return !name.empty() && name != "." && name != ".."; }

}  // namespace

void write_context(int fd, const ContextArchive& archive) {
    layers::FdSink sink{fd};
    layers::TarWriter tar{sink};
    add(tar, "meta.json", Type::file, 0644, boost::json::serialize(archive.document));
    if (!archive.material.empty()) add(tar, "tls", Type::directory, 0700);
    for (const auto& [endpoint, files] : archive.material) {
        add(tar, "tls/" + endpoint, Type::directory, 0700);
        for (const auto& [name, bytes] : files) add(tar, fmt::format("tls/{}/{}", endpoint, name), Type::file, 0600, bytes);
    }
    tar.finish();
}

ContextArchive read_context(std::string_view archive) {
    if (archive.starts_with("PK\x03\x04")) fail(ErrorKind::not_implemented, "not implemented: contexts in zip files; make it a tar");
    TextSource source{archive};
    layers::TarReader tar{source, {.entries = entry_limit, .file_size = context_limit}};
    ContextArchive out;
    bool described = false;
    while (const auto entry = tar.next()) {
        if (entry->type == Type::directory) continue;
        const std::vector<std::string> parts = split(entry->name, '/');
        const bool is_meta = entry->name == "meta.json";
        const bool is_tls = parts.size() == 3 && parts[0] == "tls" && is_file_name(parts[1]) && is_file_name(parts[2]);
        if (entry->type != Type::file || entry->sparse || (!is_meta && !is_tls))
            fail(ErrorKind::invalid_argument, "{}: unexpected context file", entry->name);
        std::string bytes = content_of(tar, entry->size);
        if (source.made_up()) fail(ErrorKind::invalid_argument, "unexpected EOF");
        if (is_tls) {
            out.material[parts[1]][parts[2]] = std::move(bytes);
            continue;
        }
        boost::system::error_code error;
        boost::json::value parsed = boost::json::parse(bytes, error);
        if (error || !parsed.is_object()) fail(ErrorKind::invalid_argument, "meta.json: {}", error ? error.message() : "it is no object");
        out.document = std::move(parsed.get_object());
        described = true;
    }
    if (!described) fail(ErrorKind::invalid_argument, "invalid context: no metadata found");
    return out;
}

}  // namespace grua::cli
