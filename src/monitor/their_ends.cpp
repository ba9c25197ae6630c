#include "monitor/their_ends.hpp"

#include "base/error.hpp"

#include <fcntl.h>
#include <unistd.h>
#include <array>

namespace grua::monitor {
namespace {

void set_nonblocking(const Fd& fd) { (void)::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK); }

std::pair<Fd, Fd> make_pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) < 0) fail_errno("pipe2");
    return {Fd(ends[0]), Fd(ends[1])};
}

}  // namespace

Fd duplicate(const Fd& fd) {
    Fd copy(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
    if (!copy) fail_errno("duplicate a descriptor");
    return copy;
}

TheirEnds make_pipes(Program& program, bool with_input) {
    TheirEnds theirs;
    if (with_input) {
        auto [read, write] = make_pipe();
        set_nonblocking(write);
        theirs.in = std::move(read);
        program.input = std::move(write);
    }
    for (const Stream stream : {Stream::standard_output, Stream::standard_error}) {
        auto [read, write] = make_pipe();
        set_nonblocking(read);
        (stream == Stream::standard_output ? theirs.out : theirs.err) = std::move(write);
        program.outputs.push_back({.fd = std::move(read), .stream = stream});
    }
    return theirs;
}

void use_terminal(Program& program, Fd master, bool with_input) {
    set_nonblocking(master);
    if (with_input) program.input = duplicate(master);
    program.outputs.push_back({.fd = std::move(master), .stream = Stream::standard_output});
}

}  // namespace grua::monitor
