// gzip by isa-l at its fastest useful level: the same bytes in give the same bytes out.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string_view>

namespace grua::layers {

class GzipWriter {
public:
    using Write = std::function<void(std::string_view)>;

    explicit GzipWriter(Write write);
    ~GzipWriter();

    void write(std::string_view bytes) { feed(bytes, false); }
    void finish() { feed({}, true); }

private:
    struct State;
    void feed(std::string_view bytes, bool last);

    Write write_;
    std::unique_ptr<State> state_;
};

}  // namespace grua::layers
