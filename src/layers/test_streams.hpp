// For tests: tars in memory.
#pragma once

#include "layers/source.hpp"
#include "layers/tar_writer.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>

namespace grua::layers {

class TextSink : public Sink {
public:
    void write(std::string_view bytes) override { text += bytes; }
    std::string text;
};

class TextSource : public Source {
public:
    explicit TextSource(std::string_view text) : text_(text) {}
    std::size_t read(std::span<char> out) override {
        const std::size_t count = std::min(out.size(), text_.size());
        std::memcpy(out.data(), text_.data(), count);
        text_.remove_prefix(count);
        return count;
    }

private:
    std::string_view text_;
};

}  // namespace grua::layers
