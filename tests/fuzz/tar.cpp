// Layers: decompression and the tar reader, which must end and stay in their bounds on any bytes.
#include "layers/tar.hpp"
#include "fuzz.hpp"
#include "layers/source.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace {

class Bytes : public grua::layers::Source {
public:
    explicit Bytes(std::string_view bytes) : rest_(bytes) {}
    std::size_t read(std::span<char> out) override {
        const std::size_t count = std::min(out.size(), rest_.size());
        if (count > 0) std::memcpy(out.data(), rest_.data(), count);
        rest_.remove_prefix(count);
        return count;
    }

private:
    std::string_view rest_;
};

constexpr std::uint64_t limit = std::uint64_t{4} << 20U;

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace grua;
    return fuzz::refuses_or_takes([&] {
        Bytes bytes{fuzz::text(data, size)};
        const auto plain = layers::decompress(bytes, limit);
        layers::TarReader tar{*plain, {.entries = 1000, .sparse_segments = 4096}};
        std::array<char, 4096> buffer;
        while (const auto entry = tar.next()) {
            fuzz::check(entry->segments.size() <= 4096 && entry->name.size() <= 4096 && entry->link.size() <= 4096);
            for (const layers::TarEntry::Segment& each : entry->segments) fuzz::check(each.offset + each.size <= entry->size);
            std::uint64_t read = 0;
            for (std::size_t count = tar.read(buffer); count > 0; count = tar.read(buffer)) read += count;
            fuzz::check(read <= limit && (entry->sparse || read == entry->size));
        }
    });
}
