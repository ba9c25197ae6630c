// create and run.
#pragma once

#include "commands.hpp"

#include <sys/types.h>
#include <csignal>
#include <string>
#include <vector>

namespace grua::app {

int create(const Context& context, const Options& options);
int run(const Context& context, const Options& options);

// ---- What exec does alike. ----

/// Descriptors for the program, from 3 on: those of socket activation (LISTEN_FDS, which a new environment is told of), then those of
/// --preserve-fds.
int preserve_descriptors(const Options& options, std::vector<std::string>* environment);

void write_pid_file(const Options& options, pid_t pid);

void check_terminal(const Options& options, bool terminal, bool detach);

/// Passes signals (and the terminal) on until the process ends; returns its exit status.
int attend(pid_t pid, int pidfd, int terminal, const sigset_t& signals);

/// Folder for compiled filters.
std::string seccomp_cache(const Context& context);

}  // namespace grua::app
