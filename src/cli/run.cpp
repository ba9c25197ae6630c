// run, create, start and attach: docker's order is kept because it loses nothing - attach before start sees the first byte, a wait
// that is registered before start sees the exit of a process that lives for a microsecond.
#include "cli/create.hpp"
#include "cli/handlers.hpp"
#include "cli/session.hpp"

#include "base/fd.hpp"
#include "base/text.hpp"

#include <fcntl.h>
#include <unistd.h>
#include <boost/json.hpp>

namespace grua::cli {

namespace {

/// --cidfile: made before the container, so that a second run with the same file is refused, and removed if there is none in the end.
class CidFile {
public:
    explicit CidFile(std::string path) : path_(std::move(path)) {
        if (path_.empty()) return;
        file_ = Fd(::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
        if (!file_ && errno == EEXIST) {
            fail(ErrorKind::conflict, "container ID file found, make sure the other container isn't running or delete {}", path_);
        }
        if (!file_) fail_errno("failed to create the container ID file: open {}", path_);
    }
    ~CidFile() {
        if (file_ && !written_) ::unlink(path_.c_str());
    }
    CidFile(const CidFile&) = delete;
    CidFile& operator=(const CidFile&) = delete;

    void write(const std::string& id) {
        if (file_) written_ = write_stream(file_.get(), id);
    }

private:
    std::string path_;
    Fd file_;
    bool written_ = false;
};

std::string create(client::Client& daemon, const CreateRequest& request, const Flags& flags) {
    const std::string image(request.body.at("Image").as_string());
    const std::string platform = platform_text(default_platform(flags));
    CidFile cid_file(flags.text("cidfile"));
    const auto pullable = pullable_name(image);
    const Progress progress = flags.on("quiet") ? Progress::quiet : Progress::shown;
    if (flags.text("pull") == "always") pull(daemon, image, platform, progress, STDERR_FILENO);
    client::Query query;
    query.add_if(!request.name.empty(), "name", request.name).add_if(!platform.empty(), "platform", platform);
    const std::string path = "/containers/create" + query.text();
    const Value body = request.body;
    Value answer;
    try {
        answer = daemon.post(path, &body);
    } catch (const client::ApiError& error) {
        const std::string pull_policy = flags.text("pull");
        const bool absent = error.status() == 404 && std::string_view(error.what()).find("No such image") != std::string_view::npos;
        if (!absent || !pullable || (pull_policy != "missing" && !pull_policy.empty())) throw;
        if (progress == Progress::shown) fmt::print(stderr, "Unable to find image '{}' locally\n", *pullable);
        pull(daemon, image, platform, progress, STDERR_FILENO);
        answer = daemon.post(path, &body);
    }
    if (const auto* warnings = at(answer, "Warnings").if_array()) {
        for (const Value& warning : *warnings) fmt::print(stderr, "WARNING: {}\n", std::string_view(warning.as_string()));
    }
    std::string id = text_at(answer, "Id");
    cid_file.write(id);
    return id;
}

/// Docker's exit statuses for a container that did not start: 127 no program, 126 not executable, 125 all else.
int status_of_failed_start(const client::ApiError& error) {
    if (const auto code = error.exit_code()) return *code == 126 || *code == 127 ? *code : 125;
    // Docker's daemon says it in words alone, among which may be the program's name.
    const auto has = [message = std::string_view(error.what())](std::string_view text) { return message.contains(text); };
    if (has("executable file not found") || has("no such file or directory") || has("system cannot find the file specified")) return 127;
    if (has("permission denied") || has("is a directory") || has("not a directory")) return 126;
    return 125;
}

void check_input_terminal(bool attach_stdin, bool tty) {
    if (attach_stdin && tty && !is_terminal(STDIN_FILENO)) fail(ErrorKind::invalid_argument, "the input device is not a TTY");
}

struct AttachOptions {
    bool tty = false;
    bool in = false;
    bool out = true;
    bool err = true;
    bool sig_proxy = true;
    std::string detach_keys;
    std::string wait_condition;  ///< Empty: until it is not running.
};

/// An attach and a wait that are under way.
class Attachment {
public:
    Attachment(client::Client& daemon, std::string id, AttachOptions options)
        : daemon_(daemon), id_(std::move(id)), options_(std::move(options)), signals_(session_signals(options_.sig_proxy, options_.tty)) {
        if (!options_.detach_keys.empty()) parse_detach_keys(options_.detach_keys);
        client::Query query;
        query.add_if(!options_.detach_keys.empty(), "detachKeys", options_.detach_keys).add("stream", "1");
        query.add_if(options_.in, "stdin", "1").add_if(options_.out, "stdout", "1").add_if(options_.err, "stderr", "1");
        session_.stream = daemon_.hijack(container_path(id_, "/attach" + query.text()));
        session_.tty = options_.tty;
        session_.stdin_open = options_.in;
        if (!options_.detach_keys.empty()) session_.detach_keys = options_.detach_keys;
        client::Query wait;
        wait.add_if(!options_.wait_condition.empty(), "condition", options_.wait_condition);
        wait_ = daemon_.stream({.method = "POST", .target = container_path(id_, "/wait" + wait.text())});
    }

    /// The exit status of this program.
    int run() {
        const auto resize = [this](ConsoleSize size) {
            if (size.rows == 0 && size.columns == 0) return;
            quietly([&] { daemon_.post(container_path(id_, fmt::format("/resize?h={}&w={}", size.rows, size.columns))); });
        };
        if (options_.tty && is_terminal(STDOUT_FILENO)) {
            session_.resize = resize;
            resize(terminal_size());
        }
        if (options_.sig_proxy) {
            session_.signal = [this](int signal) {
                quietly([&] { daemon_.post(container_path(id_, "/kill?signal=" + signal_name(signal))); });
            };
        }
        if (run_session(session_, signals_) == SessionEnd::detached) {
            fmt::print(stderr, "read escape sequence\n");
            return 0;
        }
        return exit_status();
    }

    int exit_status() {
        const Value answer = boost::json::parse(wait_.response.read_all());
        const std::string error = text_at(at(answer, "Error"), "Message");
        if (!error.empty()) fail(ErrorKind::system, "Error waiting for container: {}", error);
        return static_cast<int>(number_at(answer, "StatusCode"));
    }

private:
    /// The process may be gone already: that is seen at the end of the stream.
    template <typename Body>
    static void quietly(Body body) {
        try {
            body();
        } catch (const Error&) {
        }
    }

    client::Client& daemon_;
    std::string id_;
    AttachOptions options_;
    SignalPipe signals_;
    Session session_;
    client::Stream wait_;
};

int run_attached(client::Client& daemon, const CreateRequest& request, const std::string& id, const Flags& flags) {
    const auto is = [&](const char* member) { return request.body.at(member).as_bool(); };
    AttachOptions options{.tty = is("Tty"), .in = is("AttachStdin"), .out = is("AttachStdout"), .err = is("AttachStderr")};
    options.sig_proxy = flags.on("sig-proxy");
    options.detach_keys = flags.text("detach-keys");
    options.wait_condition = flags.on("rm") ? "removed" : "next-exit";
    Attachment attachment(daemon, id, options);
    try {
        daemon.post(container_path(id, "/start"));
    } catch (const Error&) {
        if (flags.on("rm")) {
            try {
                attachment.exit_status();
            } catch (const Error&) {
                // It was not even made; the start's error is the one to tell.
            }
        }
        throw;
    }
    return attachment.run();
}

/// Docker's form of an error of run.
int failed_run(const std::string& message, int status) {
    fmt::print(stderr, "grua: {}\n\nRun 'grua run --help' for more information\n", message);
    return status;
}

}  // namespace

int run_container(Context& context, const Parsed& given) {
    const Flags& flags = given.flags;
    const bool detach = flags.on("detach");
    std::string id;  // Once it is made.
    try {
        if (!flags.text("detach-keys").empty()) parse_detach_keys(flags.text("detach-keys"));
        const CreateRequest request = build_create_request(flags, given.arguments, detach ? Detached::yes : Detached::no, terminal_size());
        if (!detach) {
            const bool tty = request.body.at("Tty").as_bool();
            if (request.body.at("AttachStdin").as_bool() && tty && !is_terminal(STDIN_FILENO)) {
                fmt::print(stderr, "the input device is not a TTY\n");
                return 1;
            }
        }
        client::Client& daemon = context.daemon();
        id = create(daemon, request, flags);
        const bool attached = !detach && (request.body.at("AttachStdin").as_bool() || request.body.at("AttachStdout").as_bool() ||
                                          request.body.at("AttachStderr").as_bool());
        if (attached) return run_attached(daemon, request, id, flags);
        print(id + "\n");
        daemon.post(container_path(id, "/start"));
        return 0;
    } catch (const client::ApiError& error) {
        return failed_run(error_text(error), id.empty() ? 125 : status_of_failed_start(error));
    } catch (const Error& error) {
        return failed_run(error_text(error), 125);
    }
}

int create_container(Context& context, const Parsed& given) {
    CreateRequest request;
    try {
        request = build_create_request(given.flags, given.arguments, Detached::no, terminal_size());
    } catch (const Error& error) {
        fmt::print(stderr, "grua: {}\n\nRun 'grua create --help' for more information\n", error.what());
        return 125;
    }
    print(create(context.daemon(), request, given.flags) + "\n");
    return 0;
}

int start_containers(Context& context, const Parsed& given) {
    const Flags& flags = given.flags;
    client::Client& daemon = context.daemon();
    client::Query query;
    query.add_if(flags.given("checkpoint"), "checkpoint", flags.text("checkpoint"));
    query.add_if(flags.given("checkpoint-dir"), "checkpoint-dir", flags.text("checkpoint-dir"));
    if (!flags.on("attach") && !flags.on("interactive")) {
        return for_each_name(given.arguments, [&](const std::string& name) {
            daemon.post(container_path(name, "/start" + query.text()));
            print(name + "\n");
        });
    }
    if (given.arguments.size() > 1) fail(ErrorKind::invalid_argument, "you cannot start and attach multiple containers at once");
    const Value container = daemon.get(container_path(given.arguments[0], "/json"));
    const Value& config = at(container, "Config");
    const bool in = flags.on("interactive") && bool_at(config, "OpenStdin");
    check_input_terminal(in, bool_at(config, "Tty"));
    AttachOptions options{.tty = bool_at(config, "Tty"), .in = in};
    options.sig_proxy = flags.on("sig-proxy");
    options.detach_keys = flags.text("detach-keys");
    options.wait_condition = bool_at(at(container, "HostConfig"), "AutoRemove") ? "removed" : "next-exit";
    const std::string id = text_at(container, "Id");
    Attachment attachment(daemon, id, options);
    daemon.post(container_path(id, "/start" + query.text()));
    return attachment.run();
}

int attach_container(Context& context, const Parsed& given) {
    const Flags& flags = given.flags;
    client::Client& daemon = context.daemon();
    const Value container = daemon.get(container_path(given.arguments[0], "/json"));
    const Value& state = at(container, "State");
    if (!bool_at(state, "Running")) fail(ErrorKind::conflict, "cannot attach to a stopped container, start it first");
    if (bool_at(state, "Paused")) fail(ErrorKind::conflict, "cannot attach to a paused container, unpause it first");
    if (bool_at(state, "Restarting")) fail(ErrorKind::conflict, "cannot attach to a restarting container, wait until it is running");
    const Value& config = at(container, "Config");
    const bool in = !flags.on("no-stdin") && bool_at(config, "OpenStdin");
    check_input_terminal(in, bool_at(config, "Tty"));
    AttachOptions options{.tty = bool_at(config, "Tty"), .in = in};
    options.sig_proxy = flags.on("sig-proxy");
    options.detach_keys = flags.text("detach-keys");
    Attachment attachment(daemon, text_at(container, "Id"), options);
    return attachment.run();
}

}  // namespace grua::cli
