#include "layers/compress.hpp"

#include "base/error.hpp"

#include <isa-l/igzip_lib.h>
#include <array>
#include <cstdint>

namespace grua::layers {

struct GzipWriter::State {
    isal_zstream stream{};
    std::array<std::uint8_t, ISAL_DEF_LVL1_DEFAULT> level{};
    std::array<std::uint8_t, std::size_t{128} << 10U> out{};
};

GzipWriter::GzipWriter(Write write) : write_(std::move(write)), state_(std::make_unique<State>()) {
    isal_deflate_init(&state_->stream);
    state_->stream.gzip_flag = IGZIP_GZIP;
    state_->stream.level = 1;
    state_->stream.level_buf = state_->level.data();
    state_->stream.level_buf_size = static_cast<std::uint32_t>(state_->level.size());
    state_->stream.flush = NO_FLUSH;
}

GzipWriter::~GzipWriter() = default;

void GzipWriter::feed(std::string_view bytes, bool last) {
    isal_zstream& stream = state_->stream;
    // The library takes what it reads as bytes that it could write to, and does not.
    stream.next_in = reinterpret_cast<std::uint8_t*>(const_cast<char*>(bytes.data()));
    stream.avail_in = static_cast<std::uint32_t>(bytes.size());
    stream.end_of_stream = last ? 1 : 0;
    do {
        stream.next_out = state_->out.data();
        stream.avail_out = static_cast<std::uint32_t>(state_->out.size());
        if (const int code = isal_deflate(&stream); code != COMP_OK) fail(ErrorKind::system, "gzip: cannot compress ({})", code);
        const std::size_t made = state_->out.size() - stream.avail_out;
        if (made > 0) write_({reinterpret_cast<const char*>(state_->out.data()), made});
    } while (stream.avail_out == 0 || stream.avail_in > 0 || (last && stream.internal_state.state != ZSTATE_END));
}

}  // namespace grua::layers
