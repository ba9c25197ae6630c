#include "tasks/launcher.hpp"

#include "base/log.hpp"
#include "base/mutex.hpp"
#include "monitor/launcher.hpp"
#include "monitor/messages.hpp"
#include "monitor/socket.hpp"

#include <sys/wait.h>

namespace grua::tasks {

struct Launcher::State {
    std::string runtime_path;
    Mutex mutex;
    monitor::LauncherProcess process GRUA_GUARDED_BY(mutex);

    void start() GRUA_REQUIRES(mutex) {
        if (runtime_path.empty()) fail(ErrorKind::unavailable, "grua-runtime is not installed");
        process = monitor::start_launcher(runtime_path);
    }

    void reap() GRUA_REQUIRES(mutex) {
        process.socket = Fd();
        if (process.pid > 0) (void)::waitpid(process.pid, nullptr, 0);
        process = {};
    }
};

Launcher::Launcher(std::string runtime_path) : state_(std::make_unique<State>()) { state_->runtime_path = std::move(runtime_path); }

Launcher::~Launcher() {
    const MutexLock lock(state_->mutex);
    state_->reap();
}

void Launcher::launch(LaunchOrder order) {
    monitor::Launch message;
    message.id = order.id;
    message.directory = order.directory;
    message.fds = {"control", "spec"};
    message.log = order.log;
    message.open_stdin = order.open_stdin;
    message.stdin_once = order.stdin_once;
    message.seccomp_cache = order.seccomp_cache;
    std::vector<int> fds{order.control.get(), order.spec.get()};
    if (order.rootfs) {
        message.fds.emplace_back("rootfs");
        fds.push_back(order.rootfs.get());
    }
    if (order.network_namespace) {
        message.fds.emplace_back("netns");
        fds.push_back(order.network_namespace.get());
    }
    for (const auto& [name, fd] : order.more) {
        message.fds.push_back(name);
        fds.push_back(fd.get());
    }
    const std::string text = monitor::encode(message);
    const MutexLock lock(state_->mutex);
    if (!state_->process.socket) state_->start();
    if (monitor::send(state_->process.socket.get(), text, fds) == monitor::Sent::yes) return;
    log::warn("the launcher has ended; starting it again");
    state_->reap();
    state_->start();
    if (monitor::send(state_->process.socket.get(), text, fds) != monitor::Sent::yes)
        fail(ErrorKind::unavailable, "the launcher does not run");
}

}  // namespace grua::tasks
