#include "api/container_wire.hpp"
#include "api/filters.hpp"
#include "api/framing.hpp"
#include "api/routes.hpp"
#include "api/stats_wire.hpp"

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace grua::api {

using namespace std::chrono_literals;

namespace {

/// What attach and exec start say of the bytes that follow, API 1.42 and later.
std::string_view stream_type(bool terminal, json::Version version) {
    return !terminal && version >= json::Version{1, 42} ? multiplexed_stream : raw_stream;
}

std::optional<Time> time_of(const Exchange& exchange, std::string_view name) {
    const std::string_view text = exchange.query().get(name);
    if (text.empty() || text == "0") return std::nullopt;
    const auto time = parse_timestamp(text, now());
    if (!time) fail(ErrorKind::invalid_argument, "invalid value for \"{}\": {}", name, text);
    return time;
}

/// "all", "" and what is no number mean everything, as with Docker.
std::int64_t tail_of(const Exchange& exchange) {
    const auto lines = parse_int(exchange.query().get("tail"));
    return lines && *lines >= 0 ? *lines : -1;
}

/// RFC 3339 with all nine digits, so that columns stand below each other.
std::string log_time(Time time) {
    std::string text = format_time(time);
    const std::size_t dot = text.find('.');
    if (dot == std::string::npos) return text.substr(0, text.size() - 1) + ".000000000Z";
    text.pop_back();
    text.resize(dot + 10, '0');
    return text + "Z";
}

void append_line(std::string& out, const engine::LogLine& line, bool timestamps, bool details, bool terminal) {
    std::string text;
    if (details) text = engine::shown_attributes(line) + " ";
    text += line.text;
    if (timestamps) text.insert(0, log_time(line.time) + " ");
    if (terminal) {
        out += text;
    } else {
        append_frame(out, line.is_stderr ? StdStream::err : StdStream::out, text);
    }
}

asio::awaitable<void> pause(std::chrono::nanoseconds time) {
    asio::steady_timer timer{co_await asio::this_coro::executor, std::chrono::duration_cast<asio::steady_timer::duration>(time)};
    co_await timer.async_wait(asio::use_awaitable);
}

/// Returns when the client has read the answer's head, or after a quarter of a second. Some clients (docker-py) read the head through a
/// buffer and what follows past that buffer, so that what comes together with the head is lost to them. How much the peer of a Unix socket
/// has not read the kernel tells (SIOCOUTQ).
asio::awaitable<void> head_is_read(int socket) {
    constexpr auto most = 250ms;
    std::chrono::nanoseconds step = 50us;
    for (std::chrono::nanoseconds waited{}; waited < most; waited += step, step = std::min<std::chrono::nanoseconds>(step * 2, 5ms)) {
        int unread = 0;
        if (::ioctl(socket, SIOCOUTQ, &unread) != 0 || unread == 0) co_return;
        co_await pause(step);
    }
}

enum class FirstOutput { at_once, after_a_start };

/// Ends HTTP and gives the client's socket to the container.
Answer become(Exchange& exchange, engine::Stream stream, FirstOutput first) {
    Hijacked client =
        co_await exchange.hijack(exchange.head().header("upgrade").empty() ? raw_stream : stream_type(stream.terminal, exchange.version));
    // A client that starts the container when it has seen the head must find itself attached.
    if (first == FirstOutput::at_once) co_await head_is_read(client.socket.get());
    co_await stream.hand_over(std::move(client.socket), std::move(client.early_input));
}

}  // namespace

Answer container_logs(const Services& services, Exchange& exchange) {
    const Query& query = exchange.query();
    engine::LogOptions options;
    options.use_stdout = query.flag("stdout");
    options.use_stderr = query.flag("stderr");
    if (!options.use_stdout && !options.use_stderr) {
        fail(ErrorKind::invalid_argument, "Bad parameters: you must choose at least one stream");
    }
    options.since = time_of(exchange, "since");
    options.until = time_of(exchange, "until");
    options.tail = tail_of(exchange);
    options.follow = query.flag("follow");
    const bool timestamps = query.flag("timestamps");
    const bool details = query.flag("details");
    const engine::Logs logs = co_await services.watch.logs(exchange.name, options);
    co_await exchange.begin(200, stream_type(logs.terminal, exchange.version));
    exchange.cancel_when_client_leaves();
    for (;;) {
        const std::vector<engine::LogLine> lines = co_await logs.lines->next();
        if (lines.empty()) break;
        std::string out;
        for (const engine::LogLine& line : lines) append_line(out, line, timestamps, details, logs.terminal);
        co_await exchange.write(out);
    }
    co_await exchange.end();
}

Answer container_stats(const Services& services, Exchange& exchange) {
    const bool stream = exchange.query().flag("stream", true);
    const bool one_shot = !stream && exchange.query().flag("one-shot");
    const engine::StatsSource source = services.watch.stats(exchange.name);
    std::optional<engine::StatsSample> sample = co_await source.next();
    engine::StatsSample before;
    if (!stream) {
        // Rates need two samples, a second apart; with one-shot the client makes do with one.
        if (!one_shot && sample && sample->running) {
            before = *std::move(sample);
            co_await pause(1s);
            sample = co_await source.next();
        }
        co_await exchange.send(200, stats_json(*source.container, sample.value_or(engine::StatsSample{}), before) + "\n");
        co_return;
    }
    co_await exchange.begin(200, "application/json");
    exchange.cancel_when_client_leaves();
    while (sample) {
        co_await exchange.write(stats_json(*source.container, *sample, before) + "\n");
        co_await pause(1s);
        before = *std::move(sample);
        sample = co_await source.next();
    }
    co_await exchange.end();
}

engine::AttachOptions attach_options(const Query& query) {
    engine::AttachOptions out;
    out.use_stdin = query.flag("stdin");
    out.use_stdout = query.flag("stdout");
    out.use_stderr = query.flag("stderr");
    out.logs = query.flag("logs");
    out.stream = query.flag("stream");
    out.detach_keys = query.get("detachKeys");
    return out;
}

Answer container_attach(const Services& services, Exchange& exchange) {
    engine::AttachOptions options = attach_options(exchange.query());
    const auto first = options.logs ? FirstOutput::at_once : FirstOutput::after_a_start;
    co_await become(exchange, services.watch.attach(exchange.name, std::move(options)), first);
}

Answer container_wait(const Services& services, Exchange& exchange) {
    const std::string_view text = exchange.query().get("condition");
    engine::WaitCondition condition = engine::WaitCondition::not_running;
    if (text == "next-exit") {
        condition = engine::WaitCondition::next_exit;
    } else if (text == "removed") {
        condition = engine::WaitCondition::removed;
    } else if (!text.empty() && text != "not-running") {
        fail(ErrorKind::invalid_argument, "invalid condition: \"{}\"", text);
    }
    const std::shared_ptr<engine::Waiter> waiter = services.watch.wait(exchange.name, condition);
    // The CLI starts the container only after it has seen these headers.
    co_await exchange.begin(200, "application/json");
    exchange.cancel_when_client_leaves();
    const engine::WaitResult result = co_await waiter->result();
    wire::WaitAnswer answer{.status_code = result.exit_code};
    if (!result.error.empty()) answer.error = wire::WaitError{result.error};
    co_await exchange.write(json::dump(answer, exchange.version) + "\n");
    co_await exchange.end();
}

Answer exec_create(const Services& services, Exchange& exchange) {
    auto config = co_await read_json<engine::ExecConfig>(exchange);
    if (config.cmd.empty()) fail(ErrorKind::invalid_argument, "No exec command specified");
    wire::Id id{.id = co_await services.execs.create(exchange.name, std::move(config))};
    co_await send_json(exchange, 201, id);
}

Answer exec_start(const Services& services, Exchange& exchange) {
    const auto body = co_await read_json<wire::ExecStartBody>(exchange);
    engine::ExecStart start{.detach = body.detach, .tty = body.tty};
    if (body.console_size) {
        if (body.console_size->size() != 2) fail(ErrorKind::invalid_argument, "ConsoleSize: expected two numbers");
        start.console_size = {(*body.console_size)[0], (*body.console_size)[1]};
    }
    if (!start.detach) co_return co_await become(exchange, services.execs.start_attached(exchange.name, start), FirstOutput::at_once);
    co_await services.execs.start(exchange.name, start);
    co_await exchange.send_empty(200);
}

Answer exec_inspect(const Services& services, Exchange& exchange) {
    const engine::ExecPtr exec = services.execs.find(exchange.name);
    const engine::ExecConfig& config = exec->config;
    wire::ExecInspect out;
    out.id = exec->id;
    out.running = exec->running;
    out.exit_code = exec->exit_code;
    out.process_config = {.tty = config.tty,
                          .entrypoint = exec->entrypoint(),
                          .arguments = exec->arguments(),
                          .privileged = config.privileged,
                          .user = config.user};
    out.open_stdin = config.attach_stdin;
    out.open_stdout = config.attach_stdout;
    out.open_stderr = config.attach_stderr;
    out.container_id = exec->container_id;
    out.detach_keys = config.detach_keys;
    out.pid = exec->pid;
    co_await send_json(exchange, 200, out);
}

}  // namespace grua::api
