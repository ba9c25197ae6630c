// apply_changes(): Dockerfile lines that change an image's configuration.
#include "base/error.hpp"
#include "base/text.hpp"
#include "images/image_store.hpp"
#include "images/words.hpp"

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <csignal>
#include <cstring>
#include <filesystem>

namespace grua::images {
namespace {

constexpr std::size_t change_limit = std::size_t{1} << 20U;  // bytes of all lines
constexpr std::uint64_t port_limit = 65535;

/// One instruction: its word as written and in upper case, and what follows.
struct Line {
    std::string word;
    std::string name;
    std::string rest;
};

std::vector<Line> lines_of(const std::vector<std::string>& changes) {
    const std::string text = join(changes, "\n");
    if (text.size() > change_limit) fail(ErrorKind::invalid_argument, "changes are larger than {} bytes", change_limit);
    // Neither an argument, a variable nor a path can hold one; the kernel would cut there.
    if (text.contains('\0')) fail(ErrorKind::invalid_argument, "changes contain a null byte");
    std::vector<Line> out;
    std::string whole;
    bool continued = false;
    for (const std::string& each : split(text, '\n')) {
        std::string_view line = continued ? std::string_view(each) : trim(each);
        if (trim(line).starts_with('#') || (trim(line).empty() && continued)) continue;
        const std::string_view kept = trim(line);
        continued = kept.ends_with('\\');
        if (continued) line = line.substr(0, line.rfind('\\'));
        whole += line;
        if (continued) continue;
        if (const std::string_view done = trim(whole); !done.empty()) {
            const std::size_t space = std::min(done.find_first_of(" \t"), done.size());
            Line one{std::string(done.substr(0, space)), {}, std::string(trim(done.substr(space)))};
            one.name = to_lower(one.word);
            out.push_back(std::move(one));
        }
        whole.clear();
    }
    if (continued) fail(ErrorKind::invalid_argument, "unexpected end of the changes after a line that goes on");
    return out;
}

/// ["a","b"]; nothing where it is not a list of strings: then it is the shell's form.
std::optional<std::vector<std::string>> json_list(std::string_view text) {
    if (!text.starts_with('[')) return std::nullopt;
    boost::system::error_code error;
    const json::Value value = boost::json::parse(text, error);
    if (error || !value.is_array()) return std::nullopt;
    std::vector<std::string> out;
    for (const json::Value& each : value.get_array()) {
        if (!each.is_string()) return std::nullopt;
        out.emplace_back(each.get_string());
    }
    return out;
}

/// Go's durations: "1m30s", "500ms", "1.5h".
std::int64_t duration(std::string_view text) {
    struct Unit {
        std::string_view name;
        double nanoseconds;
    };
    // The longer first: "ms" is not "m".
    constexpr std::array units{Unit{"ns", 1}, Unit{"us", 1e3}, Unit{"ms", 1e6}, Unit{"h", 3600e9}, Unit{"m", 60e9}, Unit{"s", 1e9}};
    constexpr double limit = 9e18;
    const auto bad = [&] { fail(ErrorKind::invalid_argument, "time: invalid duration \"{}\"", text); };
    double sum = 0;
    std::string_view rest = text;
    if (rest.empty()) bad();
    while (!rest.empty()) {
        const std::size_t digits = std::min(rest.find_first_not_of("0123456789."), rest.size());
        const std::string number{rest.substr(0, digits)};
        char* end = nullptr;
        const double value = std::strtod(number.c_str(), &end);
        if (number.empty() || *end != '\0') bad();
        rest.remove_prefix(digits);
        if (rest.empty() && value == 0 && sum == 0) return 0;
        const auto unit = std::ranges::find_if(units, [&](const Unit& each) { return rest.starts_with(each.name); });
        if (unit == units.end()) bad();
        rest.remove_prefix(unit->name.size());
        sum += value * unit->nanoseconds;
        if (!(sum < limit)) bad();
    }
    return static_cast<std::int64_t>(sum);
}

bool is_signal(std::string_view text) {
    if (const auto number = parse_uint(text)) return *number >= 1 && *number <= static_cast<std::uint64_t>(SIGRTMAX);
    std::string name = to_lower(text);
    std::ranges::transform(name, name.begin(), [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; });
    if (name.starts_with("SIG")) name.erase(0, 3);
    if (name.starts_with("RTMIN") || name.starts_with("RTMAX")) {
        const std::string_view offset = std::string_view(name).substr(5);
        return offset.empty() || ((offset[0] == '+' || offset[0] == '-') && parse_uint(offset.substr(1)).value_or(16) < 16);
    }
    for (int number = 1; number < SIGRTMIN; ++number) {
        const char* known = ::sigabbrev_np(number);
        if (known && name == known) return true;
    }
    return name == "IOT" || name == "CLD" || name == "POLL";
}

class Changes {
public:
    explicit Changes(oci::ImageRunConfig& config) : config_(config) {}

    void apply(const Line& line) {
        line_ = &line;
        struct Instruction {
            std::string_view name;
            void (Changes::*apply)();
        };
        constexpr std::array instructions{Instruction{"cmd", &Changes::cmd},
                                          Instruction{"entrypoint", &Changes::entrypoint},
                                          Instruction{"env", &Changes::env},
                                          Instruction{"expose", &Changes::expose},
                                          Instruction{"label", &Changes::label},
                                          Instruction{"onbuild", &Changes::on_build},
                                          Instruction{"user", &Changes::user},
                                          Instruction{"stopsignal", &Changes::stop_signal},
                                          Instruction{"volume", &Changes::volume},
                                          Instruction{"workdir", &Changes::working_dir},
                                          Instruction{"healthcheck", &Changes::healthcheck}};
        const auto found = std::ranges::find(instructions, line.name, &Instruction::name);
        if (found == instructions.end()) fail(ErrorKind::invalid_argument, "{} is not a valid change command", line.word);
        (this->*found->apply)();
    }

private:
    std::string upper() const {
        std::string out = line_->name;
        std::ranges::transform(out, out.begin(), [](char c) { return static_cast<char>(c - 'a' + 'A'); });
        return out;
    }

    void need_arguments() const {
        if (line_->rest.empty()) fail(ErrorKind::invalid_argument, "{} requires at least one argument", upper());
    }

    std::string expand(std::string_view word) const {
        return expand_word(word, [this](std::string_view name) -> std::string {
            for (const std::string& each : config_.env) {
                if (each.size() > name.size() && each.starts_with(name) && each[name.size()] == '=') return each.substr(name.size() + 1);
            }
            return {};
        });
    }

    std::string one_argument() const {
        if (line_->rest.empty()) fail(ErrorKind::invalid_argument, "{} requires exactly one argument", upper());
        return expand(line_->rest);
    }

    std::vector<std::string> command_line(std::string_view text) const {
        if (auto list = json_list(text)) return std::move(*list);
        if (text.empty()) return {};
        std::vector<std::string> out = config_.shell.empty() ? std::vector<std::string>{"/bin/sh", "-c"} : config_.shell;
        out.emplace_back(text);
        return out;
    }

    void cmd() {
        config_.cmd = command_line(line_->rest);
        cmd_is_set_ = !config_.cmd->empty();
    }

    void entrypoint() {
        config_.entrypoint = command_line(line_->rest);
        // A CMD that was meant as arguments of another entrypoint is none of this one.
        if (!cmd_is_set_) config_.cmd.reset();
    }

    /// "a=1 b=2", or "a the rest of the line".
    std::vector<std::pair<std::string, std::string>> pairs() const {
        need_arguments();
        const std::vector<std::string> words = split_words(line_->rest);
        std::vector<std::pair<std::string, std::string>> out;
        if (words.front().find('=') == std::string::npos) {
            if (words.size() < 2) fail(ErrorKind::invalid_argument, "{} must have two arguments", upper());
            out.emplace_back(words.front(), expand(trim(std::string_view(line_->rest).substr(words.front().size()))));
            return out;
        }
        for (const std::string& word : words) {
            const std::size_t equal = word.find('=');
            if (equal == std::string::npos)
                fail(ErrorKind::invalid_argument, "Syntax error - can't find = in \"{}\". Must be of the form: name=value", word);
            // All values see the environment as it was before the line.
            out.emplace_back(expand(word.substr(0, equal)), expand(word.substr(equal + 1)));
            if (out.back().first.empty()) fail(ErrorKind::invalid_argument, "{} names can not be blank", upper());
        }
        return out;
    }

    void env() {
        for (const auto& [name, value] : pairs()) {
            const auto old = std::ranges::find_if(
                config_.env, [&, &key = name](const std::string& each) { return each.substr(0, each.find('=')) == key; });
            if (old != config_.env.end()) {
                *old = name + "=" + value;
            } else {
                config_.env.push_back(name + "=" + value);
            }
        }
    }

    void label() {
        for (const auto& [name, value] : pairs()) config_.labels[name] = value;
    }

    void on_build() {
        need_arguments();
        const std::string word = to_lower(line_->rest.substr(0, line_->rest.find_first_of(" \t")));
        if (word == "onbuild") fail(ErrorKind::invalid_argument, "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
        if (word == "from" || word == "maintainer") {
            fail(ErrorKind::invalid_argument, "{} isn't allowed as an ONBUILD trigger", word == "from" ? "FROM" : "MAINTAINER");
        }
        config_.on_build.push_back(line_->rest);
    }

    void user() { config_.user = one_argument(); }

    void stop_signal() {
        const std::string name = one_argument();
        if (!is_signal(name)) fail(ErrorKind::invalid_argument, "invalid signal: {}", name);
        config_.stop_signal = name;
    }

    void working_dir() {
        const std::string path = one_argument();
        const std::filesystem::path before = config_.working_dir.empty() ? "/" : config_.working_dir;
        std::string out = ("/" / before / path).lexically_normal();
        if (out.size() > 1 && out.ends_with('/')) out.pop_back();
        config_.working_dir = out;
    }

    void volume() {
        need_arguments();
        const auto list = json_list(line_->rest);
        for (const std::string& word : list ? *list : split_words(line_->rest)) {
            const std::string path{trim(expand(word))};
            if (path.empty()) fail(ErrorKind::invalid_argument, "VOLUME specified can not be an empty string");
            config_.volumes[path] = boost::json::object{};
        }
    }

    /// "80", "80/udp", "8000-8010/tcp"; a host's part in front ("127.0.0.1:80:80") is none of the image's.
    void expose() {
        need_arguments();
        for (const std::string& word : split_words(line_->rest)) {
            for (const std::string& spec : split_words(expand(word))) {
                const std::string_view text = std::string_view(spec).substr(spec.rfind(':') + 1);
                const std::size_t slash = std::min(text.find('/'), text.size());
                const std::string protocol = slash == text.size() ? "tcp" : to_lower(text.substr(slash + 1));
                const std::string_view range = text.substr(0, slash);
                const std::size_t dash = std::min(range.find('-'), range.size());
                const auto first = parse_uint(range.substr(0, dash));
                const auto last = dash == range.size() ? first : parse_uint(range.substr(dash + 1));
                if (!first || !last || *first > *last || *first == 0 || *last > port_limit)
                    fail(ErrorKind::invalid_argument, "invalid containerPort: {}", spec);
                if (protocol != "tcp" && protocol != "udp" && protocol != "sctp")
                    fail(ErrorKind::invalid_argument, "invalid proto: {}", protocol);
                for (std::uint64_t port = *first; port <= *last; ++port) {
                    config_.exposed_ports[fmt::format("{}/{}", port, protocol)] = boost::json::object{};
                }
            }
        }
    }

    void healthcheck() {
        need_arguments();
        oci::HealthConfig health;
        std::string_view rest = line_->rest;
        while (rest.starts_with("--")) {
            const std::string_view flag = rest.substr(0, rest.find_first_of(" \t"));
            const std::size_t equal = std::min(flag.find('='), flag.size());
            const std::string_view name = flag.substr(2, equal - 2);
            const std::string_view value = flag.substr(std::min(equal + 1, flag.size()));
            if (name == "interval") {
                health.interval = duration(value);
            } else if (name == "timeout") {
                health.timeout = duration(value);
            } else if (name == "start-period") {
                health.start_period = duration(value);
            } else if (name == "start-interval") {
                health.start_interval = duration(value);
            } else if (name == "retries") {
                const auto count = parse_int(value);
                if (!count || *count < 0) fail(ErrorKind::invalid_argument, "--retries cannot be negative ({})", value);
                health.retries = *count;
            } else {
                fail(ErrorKind::invalid_argument, "unknown flag: --{}", name);
            }
            rest = trim(rest.substr(flag.size()));
        }
        const std::string_view word = rest.substr(0, rest.find_first_of(" \t"));
        const std::string_view command = trim(rest.substr(word.size()));
        if (to_lower(word) == "none") {
            if (!command.empty()) fail(ErrorKind::invalid_argument, "HEALTHCHECK NONE takes no arguments");
            health.test = {"NONE"};
        } else if (to_lower(word) == "cmd") {
            if (command.empty()) fail(ErrorKind::invalid_argument, "Missing command after HEALTHCHECK CMD");
            health.test = {"CMD-SHELL", std::string(command)};
            if (const auto list = json_list(command)) {
                health.test = {"CMD"};
                health.test.insert(health.test.end(), list->begin(), list->end());
            }
        } else {
            fail(ErrorKind::invalid_argument, "Unknown type \"{}\" in HEALTHCHECK (try CMD)", word);
        }
        config_.healthcheck = health;
    }

    oci::ImageRunConfig& config_;
    const Line* line_ = nullptr;
    bool cmd_is_set_ = false;
};

}  // namespace

void apply_changes(oci::ImageRunConfig& config, const std::vector<std::string>& changes) {
    Changes all{config};
    for (const Line& line : lines_of(changes)) all.apply(line);
}

}  // namespace grua::images
