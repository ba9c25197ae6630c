// The instructions of a Dockerfile, each with what it takes.
#pragma once

#include "build/dockerfile/parser.hpp"
#include "build/dockerfile/run_options.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace grua::build::dockerfile {

/// A file that stands in the Dockerfile itself.
struct InlineFile {
    std::string name;
    std::string content;
    bool expand = false;      ///< Variables in it are replaced. Never so for RUN: its shell does that.
    bool strip_tabs = false;  ///< Of RUN, where its shell is to do it; the files of COPY and ADD have been stripped.
};

/// What COPY and ADD copy, and where to.
struct Sources {
    std::vector<std::string> paths;
    std::vector<InlineFile> files;
    std::string destination;
};

struct Add {
    Sources sources;
    std::string chown;
    std::string chmod;
    bool link = false;
    std::vector<std::string> exclude;
    std::string checksum;
    std::optional<bool> keep_git_dir;
    std::optional<bool> unpack;
};

struct Copy {
    Sources sources;
    std::string from;  ///< A stage's name or number, or an image.
    std::string chown;
    std::string chmod;
    bool link = false;
    bool parents = false;
    std::vector<std::string> exclude;
};

struct Arg {
    struct Declared {
        std::string key;
        std::optional<std::string> value;
        std::string description;  ///< Of the comment above it that begins with its name.
    };
    std::vector<Declared> declared;
};

/// The command of RUN, CMD or ENTRYPOINT.
struct CommandLine {
    std::vector<std::string> words;  ///< One text where it is for a shell; nothing where the instruction has none.
    std::vector<InlineFile> files;
    bool in_shell = true;  ///< False for an array of JSON.
};

struct Cmd {
    CommandLine command;
};

struct Entrypoint {
    CommandLine command;
};

struct Env {
    std::vector<KeyValue> pairs;
};

struct Expose {
    std::vector<std::string> ports;  ///< As they are written, sorted; see ports.hpp.
};

struct From {
    std::string base;         ///< An image or an earlier stage, with its variables.
    std::string name;         ///< In lower case; may be empty.
    std::string platform;     ///< With its variables; may be empty.
    std::string description;  ///< Of the comment above it that begins with its name.
};

struct Healthcheck {
    std::vector<std::string> test;  ///< {"NONE"}, {"CMD", …} or {"CMD-SHELL", text}
    std::chrono::nanoseconds interval{0};
    std::chrono::nanoseconds timeout{0};
    std::chrono::nanoseconds start_period{0};
    std::chrono::nanoseconds start_interval{0};
    int retries = 0;
};

struct Label {
    std::vector<KeyValue> pairs;
};

struct Maintainer {
    std::string name;
};

struct OnBuild {
    std::string expression;  ///< What is kept in the image: an instruction with its heredocs; see read_trigger().
};

struct Run {
    CommandLine command;
    std::vector<std::string> mount_flags;    ///< As they are written, to be read when variables are known.
    std::vector<std::string> mount_sources;  ///< The `from` of each, which may be empty.
    std::vector<Mount> mounts;               ///< Of the flags, after expand().
    std::vector<Device> devices;
    RunNetwork network = RunNetwork::standard;
    RunSecurity security = RunSecurity::sandbox;
    std::vector<std::string> flags_used;  ///< Names, without dashes.
};

struct Shell {
    std::vector<std::string> words;
};

struct StopSignal {
    std::string signal;
};

struct User {
    std::string user;
};

struct Volume {
    std::vector<std::string> paths;
};

struct Workdir {
    std::string path;
};

using Body = std::variant<Add, Arg, Cmd, Copy, Entrypoint, Env, Expose, From, Healthcheck, Label, Maintainer, OnBuild, Run, Shell,
                          StopSignal, User, Volume, Workdir>;

struct Instruction {
    Body body;
    std::string keyword;  ///< As it is written.
    std::string code;     ///< The whole instruction in one line, without its heredocs.
    LineRange lines;
    std::vector<std::string> comments;  ///< Right above it.
};

/// Throws SourceError.
Instruction read_instruction(const Node& node);

/// A trigger of a base image: one instruction in a text of its own. Its lines are `lines`, those of the FROM. Throws SourceError.
Instruction read_trigger(std::string_view expression, LineRange lines);

}  // namespace grua::build::dockerfile
