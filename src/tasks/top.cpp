#include "tasks/top.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/text.hpp"

#include <pwd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <cstdlib>
#include <ctime>

namespace grua::tasks {
namespace {

struct Sample {
    pid_t pid = 0;
    pid_t parent = 0;
    uid_t uid = 0;
    gid_t gid = 0;
    std::string comm;
    std::string state;
    pid_t group = 0, session = 0;
    std::int64_t tty = 0;
    std::uint64_t cpu_ticks = 0;
    std::uint64_t start_ticks = 0;
    std::int64_t nice = 0, priority = 0, threads = 0;
    std::uint64_t vsz_kib = 0, rss_kib = 0;
    std::string command;
};

struct Clock {
    double uptime = 0;
    double ticks = 100;
    std::uint64_t memory_kib = 1;
    std::int64_t now = 0;
};

Clock read_clock() {
    Clock out;
    out.ticks = static_cast<double>(::sysconf(_SC_CLK_TCK));
    out.uptime = std::strtod(read_file("/proc/uptime").c_str(), nullptr);
    out.now = ::time(nullptr);
    for (const auto& line : split(read_file("/proc/meminfo"), '\n'))
        if (line.starts_with("MemTotal:")) out.memory_kib = std::max<std::uint64_t>(1, std::strtoull(line.c_str() + 9, nullptr, 10));
    return out;
}

/// Nothing where the process ended meanwhile.
std::optional<Sample> read_sample(pid_t pid) {
    Sample out{.pid = pid};
    const std::string folder = fmt::format("/proc/{}", pid);
    try {
        const std::string stat = read_file(folder + "/stat");
        // The name is in brackets and may hold anything, brackets too.
        const auto open = stat.find('(');
        const auto close = stat.rfind(')');
        if (open == std::string::npos || close == std::string::npos) return std::nullopt;
        out.comm = stat.substr(open + 1, close - open - 1);
        const auto words = split(trim(std::string_view(stat).substr(close + 1)), ' ');
        if (words.size() < 22) return std::nullopt;
        const auto number = [&](std::size_t field) { return parse_int(words.at(field - 3)).value_or(0); };  // As proc(5) counts.
        out.state = words[0];
        out.parent = static_cast<pid_t>(number(4));
        out.group = static_cast<pid_t>(number(5));
        out.session = static_cast<pid_t>(number(6));
        out.tty = number(7);
        out.cpu_ticks = static_cast<std::uint64_t>(number(14) + number(15));
        out.priority = number(18);
        out.nice = number(19);
        out.threads = number(20);
        out.start_ticks = static_cast<std::uint64_t>(number(22));
        out.vsz_kib = static_cast<std::uint64_t>(number(23)) / 1024;
        out.rss_kib = static_cast<std::uint64_t>(number(24) * ::sysconf(_SC_PAGESIZE) / 1024);
        struct stat status{};
        if (::stat(folder.c_str(), &status) == 0) {
            out.uid = status.st_uid;
            out.gid = status.st_gid;
        }
        out.command = read_file(folder + "/cmdline");
    } catch (const Error&) {
        return std::nullopt;
    }
    std::ranges::replace(out.command, '\0', ' ');
    std::ranges::replace_if(out.command, [](char c) { return static_cast<unsigned char>(c) < 0x20; }, '?');
    while (out.command.ends_with(' ')) out.command.pop_back();
    if (out.command.empty()) out.command = "[" + out.comm + "]";
    return out;
}

std::string user_name(uid_t uid) {
    struct passwd entry{};
    struct passwd* found = nullptr;
    std::vector<char> buffer(16384);
    if (::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) == 0 && found) return found->pw_name;
    return std::to_string(uid);
}

std::string tty_name(std::int64_t device) {
    if (device == 0) return "?";
    const auto number = static_cast<dev_t>(device);
    if (major(number) == 136) return fmt::format("pts/{}", minor(number));
    if (major(number) == 4) return fmt::format("tty{}", minor(number));
    return "?";
}

std::string clock_text(double seconds) {
    const auto whole = static_cast<std::int64_t>(seconds);
    return fmt::format("{:02}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

std::string start_text(const Sample& sample, const Clock& clock) {
    const auto started = clock.now - static_cast<std::int64_t>(clock.uptime - static_cast<double>(sample.start_ticks) / clock.ticks);
    std::tm local{};
    const std::time_t time = started;
    ::localtime_r(&time, &local);
    std::array<char, 16> text{};
    (void)std::strftime(text.data(), text.size(), clock.now - started < 86400 ? "%H:%M" : "%b%d", &local);
    return text.data();
}

double seconds(const Sample& sample, const Clock& clock) { return static_cast<double>(sample.cpu_ticks) / clock.ticks; }

double cpu_share(const Sample& sample, const Clock& clock) {
    const double age = clock.uptime - static_cast<double>(sample.start_ticks) / clock.ticks;
    return age <= 0 ? 0 : 100 * seconds(sample, clock) / age;
}

std::string short_time(double value) {
    const auto whole = static_cast<std::int64_t>(value);
    return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

struct Column {
    std::string_view name;  ///< As -o takes it.
    std::string_view title;
    std::string (*text)(const Sample&, const Clock&);
};

constexpr std::array columns = {
    Column{"pid", "PID", [](const Sample& s, const Clock&) { return std::to_string(s.pid); }},
    Column{"ppid", "PPID", [](const Sample& s, const Clock&) { return std::to_string(s.parent); }},
    Column{"pgid", "PGID", [](const Sample& s, const Clock&) { return std::to_string(s.group); }},
    Column{"pgrp", "PGRP", [](const Sample& s, const Clock&) { return std::to_string(s.group); }},
    Column{"sid", "SID", [](const Sample& s, const Clock&) { return std::to_string(s.session); }},
    Column{"user", "USER", [](const Sample& s, const Clock&) { return user_name(s.uid); }},
    Column{"euser", "EUSER", [](const Sample& s, const Clock&) { return user_name(s.uid); }},
    Column{"uid", "UID", [](const Sample& s, const Clock&) { return std::to_string(s.uid); }},
    Column{"gid", "GID", [](const Sample& s, const Clock&) { return std::to_string(s.gid); }},
    Column{"comm", "COMMAND", [](const Sample& s, const Clock&) { return s.comm; }},
    Column{"ucmd", "CMD", [](const Sample& s, const Clock&) { return s.comm; }},
    Column{"cmd", "CMD", [](const Sample& s, const Clock&) { return s.command; }},
    Column{"args", "COMMAND", [](const Sample& s, const Clock&) { return s.command; }},
    Column{"command", "COMMAND", [](const Sample& s, const Clock&) { return s.command; }},
    Column{"stat", "STAT", [](const Sample& s, const Clock&) { return s.state; }},
    Column{"s", "S", [](const Sample& s, const Clock&) { return s.state; }},
    Column{"state", "S", [](const Sample& s, const Clock&) { return s.state; }},
    Column{"tty", "TT", [](const Sample& s, const Clock&) { return tty_name(s.tty); }},
    Column{"tt", "TT", [](const Sample& s, const Clock&) { return tty_name(s.tty); }},
    Column{"time", "TIME", [](const Sample& s, const Clock& c) { return clock_text(seconds(s, c)); }},
    Column{"cputime", "TIME", [](const Sample& s, const Clock& c) { return clock_text(seconds(s, c)); }},
    Column{"bsdtime", "TIME", [](const Sample& s, const Clock& c) { return short_time(seconds(s, c)); }},
    Column{"start", "START", [](const Sample& s, const Clock& c) { return start_text(s, c); }},
    Column{"stime", "STIME", [](const Sample& s, const Clock& c) { return start_text(s, c); }},
    Column{"etimes", "ELAPSED",
           [](const Sample& s, const Clock& c) {
               return std::to_string(static_cast<std::int64_t>(c.uptime - static_cast<double>(s.start_ticks) / c.ticks));
           }},
    Column{"c", "C", [](const Sample& s, const Clock& c) { return std::to_string(static_cast<int>(cpu_share(s, c))); }},
    Column{"pcpu", "%CPU", [](const Sample& s, const Clock& c) { return fmt::format("{:.1f}", cpu_share(s, c)); }},
    Column{"%cpu", "%CPU", [](const Sample& s, const Clock& c) { return fmt::format("{:.1f}", cpu_share(s, c)); }},
    Column{"pmem", "%MEM",
           [](const Sample& s, const Clock& c) {
               return fmt::format("{:.1f}", 100.0 * static_cast<double>(s.rss_kib) / static_cast<double>(c.memory_kib));
           }},
    Column{"%mem", "%MEM",
           [](const Sample& s, const Clock& c) {
               return fmt::format("{:.1f}", 100.0 * static_cast<double>(s.rss_kib) / static_cast<double>(c.memory_kib));
           }},
    Column{"vsz", "VSZ", [](const Sample& s, const Clock&) { return std::to_string(s.vsz_kib); }},
    Column{"rss", "RSS", [](const Sample& s, const Clock&) { return std::to_string(s.rss_kib); }},
    Column{"ni", "NI", [](const Sample& s, const Clock&) { return std::to_string(s.nice); }},
    Column{"nice", "NI", [](const Sample& s, const Clock&) { return std::to_string(s.nice); }},
    Column{"pri", "PRI", [](const Sample& s, const Clock&) { return std::to_string(39 - s.priority); }},
    Column{"nlwp", "NLWP", [](const Sample& s, const Clock&) { return std::to_string(s.threads); }},
};

struct Shown {
    const Column* column;
    std::string title;
};

Shown shown(std::string_view name, std::string_view title = {}) {
    const auto found = std::ranges::find(columns, name, &Column::name);
    if (found == columns.end()) fail(ErrorKind::invalid_argument, "Error running ps: unknown user-defined format specifier \"{}\"", name);
    return {&*found, std::string(title.empty() ? found->title : title)};
}

std::vector<Shown> full_format() {
    return {shown("euser", "UID"), shown("pid"),        shown("ppid"), shown("c"),
            shown("stime"),        shown("tty", "TTY"), shown("time"), shown("cmd")};
}

std::vector<Shown> user_format() {
    return {shown("user"), shown("pid"),        shown("%cpu"), shown("%mem"),  shown("vsz"),
            shown("rss"),  shown("tty", "TTY"), shown("stat"), shown("start"), shown("bsdtime", "TIME"),
            shown("args")};
}

std::vector<Shown> chosen(std::string_view ps_args) {
    std::vector<std::string> words;
    for (auto& word : split(ps_args, ' '))
        if (!word.empty()) words.push_back(std::move(word));
    std::vector<Shown> out;
    bool user = false;
    bool full = words.empty();
    for (std::size_t at = 0; at < words.size(); ++at) {
        const std::string& word = words[at];
        const bool is_format = word == "-o" || word == "o" || word == "-eo" || word == "-axo" || word == "-Ao" || word == "axo";
        if (is_format || word.starts_with("-o")) {
            std::string list = !is_format ? word.substr(2) : at + 1 < words.size() ? words[++at] : "";
            for (const auto& part : split(list, ',')) {
                const auto equals = part.find('=');
                out.push_back(equals == std::string::npos ? shown(part) : shown(part.substr(0, equals), part.substr(equals + 1)));
            }
            continue;
        }
        const std::string_view letters = word.starts_with('-') ? std::string_view(word).substr(1) : word;
        if (letters.find_first_not_of("efFaAxuwlHdT") != std::string_view::npos)
            fail(ErrorKind::invalid_argument, "Error running ps: unsupported option \"{}\"", word);
        if (!word.starts_with('-') && letters.contains('u')) user = true;
        if (letters.contains('f') || letters.contains('F')) full = true;
    }
    if (!out.empty()) return out;
    if (user) return user_format();
    if (full) return full_format();
    return {shown("pid"), shown("tty", "TTY"), shown("time"), shown("ucmd")};
}

}  // namespace

ProcessTable process_table(const std::vector<pid_t>& pids, std::string_view ps_args) {
    const auto wanted = chosen(ps_args);
    const Clock clock = read_clock();
    ProcessTable out;
    for (const auto& each : wanted) out.titles.push_back(each.title);
    for (const pid_t pid : pids) {
        const auto sample = read_sample(pid);
        if (!sample) continue;
        std::vector<std::string> row;
        for (const auto& each : wanted) row.push_back(each.column->text(*sample, clock));
        out.processes.push_back(std::move(row));
    }
    return out;
}

}  // namespace grua::tasks
