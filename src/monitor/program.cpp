#include "monitor/program.hpp"

#include "base/stream_frames.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <algorithm>
#include <array>
#include <ctime>

namespace grua::monitor {
namespace {

constexpr std::size_t block = std::size_t{32} << 10U;
constexpr int most_blocks = 16;
constexpr std::size_t most_entries = 1000;  // of a log, at a time
// For a client to close its end after ours. A socket that is closed with input in it is reset, which takes from the client what it has not
// read yet, and is an error to it.
constexpr std::int64_t linger_ms = 10000;
constexpr int under_way_ms = 200;
constexpr std::size_t most_pending_input = std::size_t{64} << 10U;

}  // namespace

std::int64_t monotonic_ms() {
    timespec time{};
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

void check_attach(const Attach& wish) {
    (void)from_hex(wish.early_input_hex);
    (void)parse_detach_keys(wish.detach_keys.empty() ? default_detach_keys : wish.detach_keys);
}

void Program::attach(const Attach& wish, Fd socket, const std::string& log_path) {
    auto client = std::make_unique<Client>();
    client->wish = wish;
    client->socket = std::move(socket);
    const std::string early = from_hex(std::exchange(client->wish.early_input_hex, {}));
    client->matcher = DetachMatcher(parse_detach_keys(wish.detach_keys.empty() ? default_detach_keys : wish.detach_keys));
    client->reads = wish.use_stdin && wish.stream;
    if (wish.logs && !log_path.empty()) {
        if (log != nullptr) log->flush();
        // Nothing of it may be under way where the client joins what is live.
        if (log != nullptr)
            for (LogWorker* each : log->workers()) each->wait_until_written(under_way_ms);
        client->replay = std::make_unique<LogReader>(LogReaderOptions{.path = log_path, .tail = {}, .format = log_format});
    } else if (!wish.stream) {
        client->leaving = true;
    }
    Client& added = *clients.emplace_back(std::move(client));
    if (!early.empty() && added.reads) take_input(added, early);
}

void Program::deliver(Client& client, Stream stream, std::string_view bytes) const {
    if (client.gone || client.leaving || bytes.empty()) return;
    if (stream == Stream::standard_output ? !client.wish.use_stdout : !client.wish.use_stderr) return;
    if (client.wish.multiplexed)
        append_frame(client.out, static_cast<StdStream>(stream), bytes);
    else
        client.out += bytes;
}

/// A piece: a log is as long as a disk is large, and meanwhile nobody reads what the program writes. At the log's end - nothing can be
/// written between that look and the switch - the client joins what is live.
void Program::fill_from_log(Client& client) {
    if (!client.replay || client.out.size() >= block) return;
    const LogSlice slice = client.replay->slice(most_entries, block);
    for (const LogEntry& each : slice.entries)
        deliver(client, each.from_stderr ? Stream::standard_error : Stream::standard_output, each.text);
    if (slice.more) return;
    client.replay.reset();
    if (log != nullptr)
        for (const Stream stream : {Stream::standard_output, Stream::standard_error}) deliver(client, stream, log->unfinished(stream));
    if (!client.wish.stream || ended) client.leaving = true;
}

bool Program::stalled() const {
    const auto full = [](const auto& client) { return !client->gone && !client->replay && client->out.size() >= client_buffer; };
    return !ended && ((log != nullptr && log->is_full()) || std::ranges::any_of(clients, full));
}

void Program::read_output(Output& output) {
    std::array<char, block> bytes;
    // Bounded: what somebody else writes without end must not keep the monitor; poll(2) comes back for the rest.
    for (int turn = 0; turn < most_blocks && !stalled(); ++turn) {
        const ssize_t got = ::read(output.fd.get(), bytes.data(), bytes.size());
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && errno == EAGAIN) break;
        if (got <= 0) {  // A terminal says EIO when its last user has closed it.
            if (log != nullptr) log->end(output.stream, now());
            output.fd = {};
            break;
        }
        const std::string_view text(bytes.data(), static_cast<std::size_t>(got));
        if (log != nullptr) log->add(output.stream, text, now());
        for (const auto& client : clients)
            if (!client->replay) deliver(*client, output.stream, text);
        if (static_cast<std::size_t>(got) < bytes.size()) break;
    }
    if (log != nullptr) log->flush();
}

void Program::end_outputs() {
    for (Output& output : outputs)
        if (output.fd && log != nullptr) log->end(output.stream, now());
    outputs.clear();
    if (log != nullptr) log->flush();
    for (const auto& client : clients)
        if (!client->replay) client->leaving = true;
    input = {};
    pending_input = {};
}

void Program::take_input(Client& client, std::string_view bytes) {
    const bool wanted = input || pid == 0;  // Before the start it waits.
    if (!terminal) {
        if (wanted) pending_input += bytes;
    } else {
        std::string typed;
        if (client.matcher.feed(bytes, typed)) {
            client.reads = false;
            client.leaving = true;
            detached_.push_back(exec_id);
        }
        if (wanted) pending_input += typed;
    }
    write_input();
}

void Program::input_ended(Client& client) {
    client.reads = false;
    if (!close_stdin_with_client || terminal) return;
    input_ends = true;
    write_input();
}

void Program::read_client(Client& client) {
    std::array<char, block> bytes;
    while (client.reads && pending_input.size() < most_pending_input) {
        const ssize_t got = ::recv(client.socket.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && errno == EAGAIN) return;
        if (got <= 0) {
            input_ended(client);
            if (got < 0) client.gone = true;
            return;
        }
        take_input(client, {bytes.data(), static_cast<std::size_t>(got)});
    }
}

void Program::write_input() {
    while (input && !pending_input.empty()) {
        const ssize_t written = ::write(input.get(), pending_input.data(), pending_input.size());
        if (written < 0 && errno == EINTR) continue;
        if (written < 0 && errno == EAGAIN) return;
        if (written < 0) {
            pending_input.clear();
            if (!terminal) input = {};
            return;
        }
        pending_input.erase(0, static_cast<std::size_t>(written));
    }
    if (input_ends && !terminal) input = {};
    if (!input && pid != 0) pending_input.clear();
}

void Program::write_client(Client& client) {
    fill_from_log(client);
    for (;;) {
        if (client.gone || client.out.empty()) break;
        const ssize_t sent = ::send(client.socket.get(), client.out.data(), client.out.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && errno == EAGAIN) return;
        if (sent < 0) {
            if (client.reads) input_ended(client);
            client.gone = true;
            break;
        }
        client.out.erase(0, static_cast<std::size_t>(sent));
    }
    if (client.out.empty() && client.out.capacity() > block) client.out = {};
    if (client.leaving && client.out.empty() && !client.gone && client.ends_at == 0) {
        (void)::shutdown(client.socket.get(), SHUT_WR);
        client.reads = false;
        client.ends_at = monotonic_ms() + linger_ms;
        drop_input(client);
    }
}

void Program::drop_input(Client& client) {
    std::array<char, block> bytes;
    // Bounded: a client that sends without end must not keep the monitor from others.
    for (int turn = 0; turn < most_blocks; ++turn) {
        const ssize_t got = ::recv(client.socket.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
        if (got > 0 || (got < 0 && errno == EINTR)) continue;
        if (got == 0 || errno != EAGAIN) client.gone = true;
        return;
    }
}

void Program::sweep() {
    std::erase_if(clients, [](const auto& client) { return client->gone; });
    std::erase_if(outputs, [](const Output& output) { return !output.fd; });
}

}  // namespace grua::monitor
