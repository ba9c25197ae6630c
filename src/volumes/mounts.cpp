#include "volumes/mounts.hpp"

#include "base/error.hpp"
#include "base/log.hpp"
#include "linux/mountinfo.hpp"
#include "linux/mounts.hpp"
#include "volumes/options.hpp"

#include <fcntl.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <algorithm>
#include <array>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <filesystem>

namespace grua::volumes {
namespace {

/// The volume's folder as mountinfo has it. Nothing that is mounted in it is looked at.
std::string real_place(const Volume& volume) {
    const std::filesystem::path place(volume.mountpoint);
    return (std::filesystem::canonical(place.parent_path()) / place.filename()).string();
}

bool is_mounted(const Volume& volume) {
    const std::string place = real_place(volume);
    return std::ranges::count(linux::mounts_below(place), place) != 0;
}

/// To the volume's own folder, found without following a link.
void attach(const Volume& volume, const MountPlan& plan, const Fd& mount) {
    const Fd place{::open(volume.mountpoint.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
    if (!place) fail_errno("open {}", volume.mountpoint);
    try {
        linux::attach_mount(mount.get(), place.get(), volume.mountpoint);
    } catch (const Error& error) {
        // What the kernel says of a file on a folder says nothing.
        struct stat status{};
        if (error.os_error() != EINVAL || ::fstat(mount.get(), &status) != 0 || S_ISDIR(status.st_mode)) throw;
        throw Error(ErrorKind::system, "not a directory", ENOTDIR);
    }
    if (plan.propagation != 0)
        linux::change_mount(mount.get(), {.propagation = plan.propagation}, plan.propagation_recursion, volume.mountpoint);
}

std::string address_of(const std::string& name) {
    addrinfo wanted{};
    wanted.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (const int failed = ::getaddrinfo(name.c_str(), nullptr, &wanted, &found); failed != 0)
        fail(ErrorKind::system, "error resolving passed in network volume address: lookup {}: {}", name, ::gai_strerror(failed));
    const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, ::freeaddrinfo);
    std::array<char, NI_MAXHOST> text{};
    if (::getnameinfo(found->ai_addr, found->ai_addrlen, text.data(), text.size(), nullptr, 0, NI_NUMERICHOST) != 0)
        fail(ErrorKind::system, "error resolving passed in network volume address: {} has none", name);
    return text.data();
}

/// Docker's words.
std::string subject_of(const Volume& volume, const MountPlan& plan) {
    std::string out =
        fmt::format("error while mounting volume '{0}': failed to mount local volume: mount {1}:{0}", volume.mountpoint, plan.order.device);
    if (!plan.shown.empty()) out += fmt::format(", data: {}", plan.shown);
    return out;
}

/// As Go has the kernel's words.
std::string lowered(std::string text) {
    if (!text.empty() && text[0] >= 'A' && text[0] <= 'Z') text[0] = static_cast<char>(text[0] - 'A' + 'a');
    return text;
}

std::string reason_of(const Error& error, const MountPlan& plan) {
    std::string out = error.what();
    if (error.os_error() == ENODEV) out = fmt::format("no such device (this kernel has no file system {:?})", plan.order.type);
    return lowered(std::move(out));
}

auto seconds_of(std::chrono::milliseconds time) { return std::chrono::duration_cast<std::chrono::seconds>(time).count(); }

}  // namespace

struct Mounts::Place {
    explicit Place(const asio::any_io_executor& loop) : lane(loop) {}
    Lane lane;
    std::set<std::string> holders;
};

Mounts::Mounts(asio::any_io_executor loop, asio::thread_pool& pool, Transfers& transfers, Volumes& volumes, MountPatience patience)
    : loop_(std::move(loop)), pool_(pool), transfers_(transfers), volumes_(volumes), patience_(patience) {}
Mounts::~Mounts() = default;

Mounts::PlacePtr Mounts::place_of(const std::string& name) {
    PlacePtr& place = places_[name];
    if (!place) place = std::make_shared<Place>(loop_);
    return place;
}

bool Mounts::has_any(const std::vector<std::string>& names) const {
    return std::ranges::any_of(names, [&](const std::string& name) {
        const VolumePtr volume = volumes_.find(name);
        return volume && mount_plan(volume->options);
    });
}

asio::awaitable<void> Mounts::hold(std::string holder, std::vector<std::string> names) {
    for (const std::string& name : names) {
        const VolumePtr volume = volumes_.find(name);
        const auto plan = volume ? mount_plan(volume->options) : std::nullopt;
        if (!plan) continue;
        const PlacePtr place = place_of(name);
        const Lane::Turn turn = co_await place->lane.take();
        place->holders.insert(holder);
        if (co_await offload(pool_, [volume] { return is_mounted(*volume); })) continue;
        co_await mount(holder, volume, std::make_shared<MountPlan>(*plan));
    }
}

asio::awaitable<void> Mounts::let_go(std::string holder) {
    std::exception_ptr failure;
    std::vector<std::string> names;
    for (const auto& [name, place] : places_)
        if (place->holders.contains(holder)) names.push_back(name);
    for (const std::string& name : names) {
        const PlacePtr place = place_of(name);
        const Lane::Turn turn = co_await place->lane.take();
        if (place->holders.erase(holder) == 0) continue;
        const VolumePtr volume = volumes_.find(name);
        if (!place->holders.empty() || !volume) continue;
        try {
            co_await unmount(volume);
        } catch (...) {
            failure = std::current_exception();
            place->holders.insert(holder);
        }
    }
    std::erase_if(places_, [](const auto& each) { return each.second.use_count() == 1 && each.second->holders.empty(); });
    if (failure) std::rethrow_exception(failure);
}

void Mounts::call_off(const std::string& holder) {
    const auto [first, last] = waiting_.equal_range(holder);
    for (auto each = first; each != last; ++each)
        if (const auto end = each->second.lock()) (*end)();
}

void Mounts::is_held(const std::string& holder, const std::vector<std::string>& names) {
    for (const std::string& name : names)
        if (has_any({name})) place_of(name)->holders.insert(holder);
}

asio::awaitable<void> Mounts::unmount_unheld() {
    for (const VolumePtr& volume : volumes_.list()) {
        if (!mount_plan(volume->options)) continue;
        const PlacePtr place = place_of(volume->name);
        const Lane::Turn turn = co_await place->lane.take();
        if (!place->holders.empty()) continue;
        try {
            co_await unmount(volume);
        } catch (const Error& error) {
            log::warn("volume {}: {}", volume->name, error.what());
        }
    }
}

asio::awaitable<std::shared_ptr<linux::MountProcess>> Mounts::begin(std::function<linux::MountProcess()> start) {
    const auto process = co_await offload(pool_, [start = std::move(start)] { return std::make_shared<linux::MountProcess>(start()); });
    // Whoever has ended is waited for; a kernel that holds one keeps it here.
    std::erase_if(leaving_, [](const auto& each) { return each->has_ended(); });
    leaving_.push_back(process);
    co_return process;
}

/// False where it has not answered in time. Throws where it was called off.
asio::awaitable<bool> Mounts::answered(std::shared_ptr<linux::MountProcess> process, std::chrono::milliseconds patience,
                                       std::string holder) {
    struct Wait {
        explicit Wait(const asio::any_io_executor& loop, int fd) : socket(loop, fd), limit(loop) {}
        asio::posix::stream_descriptor socket;
        asio::steady_timer limit;
        bool is_late = false;
        bool is_called_off = false;
    };
    const int own = ::fcntl(process->socket(), F_DUPFD_CLOEXEC, 0);
    if (own < 0) fail_errno("duplicate a socket");
    const auto wait = std::make_shared<Wait>(loop_, own);
    wait->limit.expires_after(patience);
    wait->limit.async_wait([wait](const boost::system::error_code& error) {
        if (error || !wait->socket.is_open()) return;
        wait->is_late = true;
        wait->socket.cancel();
    });
    const auto end = std::make_shared<std::function<void()>>([weak = std::weak_ptr(wait)] {
        if (const auto target = weak.lock()) {
            target->is_called_off = true;
            target->socket.cancel();
        }
    });
    std::erase_if(waiting_, [](const auto& each) { return each.second.expired(); });
    waiting_.emplace(holder, end);
    boost::system::error_code error;
    co_await wait->socket.async_wait(asio::posix::stream_descriptor::wait_read, asio::redirect_error(asio::use_awaitable, error));
    wait->limit.cancel();
    if (wait->is_called_off) fail(ErrorKind::unavailable, "it was called off");
    if (wait->is_late) co_return false;
    if (error) fail(ErrorKind::unavailable, "nobody waits for it any more");
    co_return true;
}

asio::awaitable<void> Mounts::resolve(std::shared_ptr<MountPlan> plan) {
    if (!plan->has_name) co_return;
    const std::string address = co_await transfers_.call(loop_, [name = plan->server](const std::stop_token&) { return address_of(name); });
    set_address(*plan, address);
}

asio::awaitable<void> Mounts::mount(std::string holder, VolumePtr volume, std::shared_ptr<MountPlan> plan) {
    std::shared_ptr<linux::MountProcess> process;
    try {
        if (plan->order.device.empty()) fail(ErrorKind::system, "missing device in volume options");
        co_await resolve(plan);
        process = co_await begin([plan] { return linux::MountProcess::mount(plan->order); });
        if (!co_await answered(process, patience_.mount, holder))
            fail(ErrorKind::unavailable, "no answer within {} s", seconds_of(patience_.mount));
        co_await offload(pool_, [volume, plan, process] { attach(*volume, *plan, process->take()); });
    } catch (Error& error) {
        if (process) process->end();
        const std::string server = plan->server.empty() ? "" : fmt::format(" (server {})", plan->server);
        throw Error(error.kind(), fmt::format("{}: {}{}", subject_of(*volume, *plan), reason_of(error, *plan), server), 0);
    }
}

asio::awaitable<Fd> Mounts::part(std::string holder, std::string name, std::string subpath) {
    const VolumePtr volume = volumes_.get(name);
    const std::string shown = fmt::format("{}/{}", volume->mountpoint, subpath);
    linux::MountOrder order{.is_bind = true, .below = subpath, .recursion = linux::Recursion::recursive, .device = volume->mountpoint};
    std::shared_ptr<linux::MountProcess> process;
    try {
        process = co_await begin([order] { return linux::MountProcess::mount(order); });
        if (!co_await answered(process, patience_.mount, holder))
            fail(ErrorKind::unavailable, "no answer within {} s", seconds_of(patience_.mount));
        const auto mount = std::make_shared<Fd>();
        co_await offload(pool_, [process, mount] { *mount = process->take(); });
        co_return std::move(*mount);
    } catch (const Error& error) {
        if (process) process->end();
        fail(ErrorKind::invalid_argument, "cannot access path {}: {}", shown, lowered(error.what()));
    }
}

/// As often as something is mounted there.
asio::awaitable<void> Mounts::unmount(VolumePtr volume) {
    constexpr int most_layers = 16;
    for (int tries = 0; co_await offload(pool_, [volume] { return is_mounted(*volume); }); ++tries) {
        if (tries == most_layers) fail(ErrorKind::system, "unmount {}: something is mounted there again and again", volume->mountpoint);
        const auto process = co_await begin([volume] { return linux::MountProcess::unmount(real_place(*volume)); });
        if (!co_await answered(process, patience_.unmount, {})) {
            if (co_await offload(pool_, [volume] { return is_mounted(*volume); }))
                fail(ErrorKind::unavailable, "unmount {}: no answer", volume->mountpoint);
            log::warn("volume {}: it is unmounted; what was written is still on its way", volume->name);
            co_return;
        }
        co_await offload(pool_,
                         [volume, process] { while_doing(fmt::format("unmount {}", volume->mountpoint), [&] { (void)process->take(); }); });
    }
}

}  // namespace grua::volumes
