// Whom a further program of a container is to run as. Docker looks that up when the exec is made, so its clients hear there of one whom
// nobody knows; the runtime looks again when it starts.
#include "engine/engine_impl.hpp"
#include "engine/files/file_view.hpp"
#include "runtime/user.hpp"

#include <algorithm>
#include <cerrno>

namespace grua::engine {
namespace {

/// Of "1000" and "1000:1000" the files say nothing that matters.
bool is_numbers(std::string_view user) {
    return std::ranges::all_of(user, [](char c) { return c == ':' || (c >= '0' && c <= '9'); });
}

void check_user(const runtime::UserFiles& files, const std::string& user) {
    try {
        (void)runtime::find_user(files, user, {});
    } catch (const Error& error) {
        // What is not found is in the request.
        throw Error(ErrorKind::invalid_argument, error.what());
    }
}

}  // namespace

asio::awaitable<std::string> Engine::Impl::create_exec(std::string reference, ExecConfig config) {
    const auto container = check_exec_create(reference, config);
    if (is_numbers(config.user)) {
        check_user({}, config.user);
        co_return add_exec(*container, std::move(config));
    }
    const auto pidfd = std::make_shared<Fd>(container->task ? container->task->pidfd() : Fd());
    if (!*pidfd) fail(ErrorKind::conflict, "container {} is not running", container->id());
    try {
        check_user(co_await at_length([pidfd] { return read_running_user_files(pidfd->get()); }), config.user);
    } catch (const Error& error) {
        if (error.os_error() != ESRCH) throw;
        fail(ErrorKind::conflict, "container {} is not running", container->id());
    }
    // Checked once more: much may have become of it meanwhile.
    co_return co_await exec_create(container->id(), std::move(config));
}

}  // namespace grua::engine
