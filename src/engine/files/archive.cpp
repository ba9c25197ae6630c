// Files in and out of a container: stat, tar of a path, tar into a folder, the whole root file system.
//
// A container that runs is read and written through copies of its own mounts. One that does not is read through a snapshot,
// so that a slow reader keeps nobody from starting it; it is written through its own mount while its lane is held, from a file that has
// all of what is written, so that a slow sender keeps nobody from it either.
#include "base/id.hpp"
#include "base/log.hpp"
#include "base/timespec.hpp"
#include "engine/engine_impl.hpp"
#include "engine/lifecycle/given_mounts.hpp"
#include "layers/extract.hpp"
#include "layers/pack.hpp"
#include "layers/source.hpp"
#include "runtime/user.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <array>
#include <boost/asio/post.hpp>

namespace grua::engine {

/// One tar on its way: what the working thread and the loop share. The reading end belongs to whoever reads: a thread whose
/// reader is gone must find the pipe broken.
class TarOutput : public std::enable_shared_from_this<TarOutput> {
public:
    TarOutput(const asio::any_io_executor& loop, Fd writing) : loop_(loop), changed_(loop), writing_(std::move(writing)) {}

    // the working thread
    int pipe() const { return writing_.get(); }
    /// Bytes come from here on; what fails later breaks the stream off.
    void begin(PathStat stat) {
        asio::post(loop_, [self = shared_from_this(), stat = std::move(stat)]() mutable {
            self->stat_ = std::move(stat);
            self->changed_.notify_all();
        });
    }

    // the loop
    void end(std::exception_ptr failure) {
        writing_ = Fd{};
        failure_ = std::move(failure);
        ended_ = true;
        changed_.notify_all();
    }
    asio::awaitable<void> begun() {
        while (!stat_ && !ended_) co_await changed_.wait();
        if (!stat_) co_await finished();
    }
    const PathStat& stat() const { return *stat_; }
    asio::awaitable<void> finished() {
        const auto self = shared_from_this();
        while (!ended_) co_await changed_.wait();
        if (failure_) std::rethrow_exception(failure_);
    }

private:
    asio::any_io_executor loop_;
    Condition changed_;
    Fd writing_;
    std::optional<PathStat> stat_;
    std::exception_ptr failure_;
    bool ended_ = false;
};

namespace {

class TarReading : public TarStream {
public:
    TarReading(std::shared_ptr<TarOutput> output, Fd reading) : output_(std::move(output)), reading_(std::move(reading)) {}
    const PathStat& stat() const override { return output_->stat(); }
    Fd take() override { return std::move(reading_); }
    asio::awaitable<void> finished() override { return output_->finished(); }

private:
    std::shared_ptr<TarOutput> output_;
    Fd reading_;
};

constexpr int vanish_tries = 50;

/// Go's os.FileMode: the low nine bits are Unix's, the rest has places of its own.
std::uint32_t go_mode(mode_t mode) {
    std::uint32_t out = mode & 0777U;
    const auto put = [&](bool there, unsigned bit) {
        if (there) out |= 1U << bit;
    };
    put(S_ISDIR(mode), 31);
    put(S_ISLNK(mode), 27);
    put(S_ISBLK(mode) || S_ISCHR(mode), 26);
    put(S_ISFIFO(mode), 25);
    put(S_ISSOCK(mode), 24);
    put((mode & S_ISUID) != 0, 23);
    put((mode & S_ISGID) != 0, 22);
    put(S_ISCHR(mode), 21);
    put((mode & S_ISVTX) != 0, 20);
    return out;
}

/// The last part of a path: "." of "/a/.", "a" of "/a/", "/" of "/".
std::string base_of(std::string_view path) {
    while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
    return path == "/" ? "/" : std::string(path.substr(path.rfind('/') + 1));
}

/// `path` is cleaned.
PathStat stat_of(const Root& root, const std::string& path) {
    const Fd found = root.open_at(path, O_PATH | O_NOFOLLOW);
    struct stat status{};
    if (::fstat(found.get(), &status) != 0) fail_errno("stat {}", path);
    PathStat out;
    out.name = base_of(path);
    out.size = status.st_size;
    out.mode = go_mode(status.st_mode);
    out.modified = time_of(status.st_mtim);
    if (S_ISLNK(status.st_mode)) out.link_target = follow_links(root, path);
    return out;
}

/// Docker's text for a path that is not there.
template <typename Work>
auto finding(const std::string& path, const std::string& container, Work&& work) {
    try {
        return work();
    } catch (const Error& error) {
        if (error.os_error() == ENOTDIR) fail(ErrorKind::invalid_argument, "lstat {}: not a directory", path);
        if (error.kind() != ErrorKind::not_found) throw;
        fail(ErrorKind::not_found, "Could not find the file {} in container {}", path, container);
    }
}

void pack_path(const Root& root, const std::string& path, layers::Packer& packer) {
    const std::string name = base_of(path);
    const std::size_t slash = path.rfind('/');
    const bool asserted_folder = path.ends_with('/') || path.ends_with("/.");
    if (asserted_folder) {
        const Fd folder = root.open_at(path, O_PATH | O_DIRECTORY);
        packer.add_tree(folder.get(), ".", name);
    } else {
        const Fd parent = root.open_at(path.substr(0, slash + 1), O_PATH | O_DIRECTORY);
        packer.add_tree(parent.get(), path.substr(slash + 1), name);
    }
    packer.finish();
}

/// The mount that `path` is in, and whether it may be written: the kernel says no as well, but not in Docker's words.
void check_writable(const ContainerRecord& record, const std::string& path) {
    const MountPoint* best = nullptr;
    for (const MountPoint& point : record.mounts) {
        const std::string below = point.destination.ends_with('/') ? point.destination : point.destination + "/";
        if (path != point.destination && !path.starts_with(below)) continue;
        if (!best || point.destination.size() > best->destination.size()) best = &point;
    }
    if (best && !best->rw) fail(ErrorKind::invalid_argument, "mounted volume is marked read-only");
    if (!best && record.host_config.readonly_rootfs) fail(ErrorKind::invalid_argument, "container rootfs is marked read-only");
}

/// The folder as a path without links. Throws where it is none.
std::string extraction_point(const Root& root, const std::string& path) {
    (void)root.open_at(path, O_PATH);
    try {
        (void)root.open_at(path, O_PATH | O_DIRECTORY);
    } catch (const Error& error) {
        if (error.os_error() == ENOTDIR) fail(ErrorKind::invalid_argument, "extraction point is not a directory");
        throw;
    }
    return follow_links(root, path);
}

/// A file without a name, which goes with its descriptor.
Fd unnamed_file(const std::string& folder) {
    Fd out{::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)};
    if (out || (errno != EOPNOTSUPP && errno != EISDIR)) return out;
    std::string path = folder + "/.body-XXXXXX";
    out = Fd{::mkostemp(path.data(), O_CLOEXEC)};
    if (out) ::unlink(path.c_str());
    return out;
}

/// All that comes from a pipe, from its beginning.
Fd spool(const Fd& from, const std::string& folder) {
    constexpr std::size_t piece = std::size_t{1} << 20U;
    Fd out = unnamed_file(folder);
    if (!out) fail_errno("make a file in {}", folder);
    for (;;) {
        const ssize_t moved = ::splice(from.get(), nullptr, out.get(), nullptr, piece, SPLICE_F_MOVE);
        if (moved == 0) break;
        if (moved < 0 && errno != EINTR) fail_errno("keep what is sent in {}", folder);
    }
    if (::lseek(out.get(), 0, SEEK_SET) < 0) fail_errno("lseek");
    return out;
}

}  // namespace

asio::awaitable<void> Engine::Impl::in_own_thread(std::function<void()> work) {
    auto call = [work = std::move(work)](const std::stop_token&) {
        work();
        return true;
    };
    co_await to_its_end(loop, rooms.transfers.call(loop, std::move(call)));
}

ImageMounter Engine::Impl::image_mounter() {
    return [this](const MountDetail& detail) { return mount_image(ground.roots, options, detail); };
}

/// `work` is done on the pool while the options of the container's volumes have mounted what they name. What is copied of it stays.
asio::awaitable<void> Engine::Impl::with_volumes_mounted(RecordPtr record, std::function<void()> work) {
    const StringList names = volume_names(*record);
    if (!ground.volumes.has_mounts(names)) co_return co_await offload(pool, std::move(work));
    const std::string holder = "view-" + random_hex(8);
    std::exception_ptr failure;
    try {
        co_await ground.volumes.hold_mounts(holder, names);
        co_await offload(pool, std::move(work));
    } catch (...) {
        failure = std::current_exception();
    }
    co_await ground.volumes.let_go_of_mounts(holder);
    if (failure) std::rethrow_exception(failure);
}

/// The lane is held where the container does not run.
asio::awaitable<std::shared_ptr<FileView>> Engine::Impl::open_view(ContainerPtr container, layers::Access access) {
    auto view = std::make_shared<FileView>();
    view->attach_at = options.exec_root + "/view";
    view->read_only_root = container->record->host_config.readonly_rootfs || access == layers::Access::read_only;
    const RecordPtr record = container->record;
    if (is_running(record->state.status)) {
        const auto pidfd = std::make_shared<Fd>(container->task ? container->task->pidfd() : Fd());
        auto work = [this, view, record, pidfd] {
            view->held = rooms.layers.hold_container(record->id);
            RunningMounts mounts = copy_running_mounts(pidfd->get(), tmpfs_destinations(*record));
            view->root = std::move(mounts.root);
            view->mounts = copy_host_mounts(*record, image_mounter());
            std::ranges::move(mounts.tmpfs, std::back_inserter(view->mounts));
            return true;
        };
        co_await offload(pool, std::move(work));
    } else {
        auto work = [this, view, record, access] {
            view->held = rooms.layers.hold_container(record->id);
            view->mounts = copy_host_mounts(*record, image_mounter());
            if (access == layers::Access::read_write) {
                view->root = rooms.layers.mount(record->id, layers::Access::read_write);
                return;
            }
            view->root = rooms.layers.mount_snapshot(record->id);
            const auto root_of = [](const Fd& mount) { return Root::at(Fd{::fcntl(mount.get(), F_DUPFD_CLOEXEC, 0)}); };
            if (has_mount_points(root_of(view->root), view->mounts)) return;
            // It was never started: its mount points are made now, in its own files, as the start would.
            FileView once{
                .attach_at = view->attach_at, .root = rooms.layers.mount(record->id), .mounts = copy_host_mounts(*record, image_mounter())};
            with_file_view(std::move(once), [](const Root&) {});
            view->root = rooms.layers.mount_snapshot(record->id);
        };
        co_await with_volumes_mounted(record, std::move(work));
    }
    co_return view;
}

/// A view of the container as it is now; one that ends in between is looked at again. `held`, which the caller awaits with, gets
/// the lane of one that does not run.
asio::awaitable<std::shared_ptr<FileView>> Engine::Impl::view_of(ContainerPtr container, std::string reference, layers::Access access,
                                                                 std::optional<Lane::Turn>& held) {
    for (int tries = 0;; ++tries) {
        if (!is_running(container->record->state.status)) {
            held.emplace(co_await container->lane.take());
            while (container->is_settling()) co_await container->changed.wait();
        }
        if (container->is_gone()) fail(ErrorKind::not_found, "No such container: {}", reference);
        if (is_running(container->record->state.status)) held.reset();
        try {
            co_return co_await open_view(container, access);
        } catch (const Error& error) {
            if (error.os_error() != ESRCH || tries == vanish_tries) throw;
        }
        held.reset();
        co_await container->changed.wait(Condition::Clock::now() + std::chrono::milliseconds{20});
    }
}

asio::awaitable<PathStat> Engine::Impl::stat_path(std::string reference, std::string path) {
    const auto container = get_container(reference);
    std::optional<Lane::Turn> held;
    const auto view = co_await view_of(container, reference, layers::Access::read_only, held);
    held.reset();
    const auto out = std::make_shared<PathStat>();
    co_await in_own_thread([view, out, path, reference] {
        with_file_view(std::move(*view),
                       [&](const Root& root) { *out = finding(path, reference, [&] { return stat_of(root, clean_path(path)); }); });
    });
    co_return std::move(*out);
}

/// Starts `work` in a thread of its own and comes back when it has begun to write, or has failed.
asio::awaitable<std::shared_ptr<TarStream>> Engine::Impl::open_tar(std::function<void(TarOutput&)> work) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail_errno("make a pipe");
    Fd reading{ends[0]};
    Fd writing{ends[1]};
    // As far as the host's limits let it: fewer switches between the two sides.
    ::fcntl(writing.get(), F_SETPIPE_SZ, 1 << 20);
    const auto output = std::make_shared<TarOutput>(loop, std::move(writing));
    const auto stream = std::make_shared<TarReading>(output, std::move(reading));
    const auto run = [](std::shared_ptr<Inside> self, std::shared_ptr<TarOutput> out,
                        std::function<void(TarOutput&)> pack) -> asio::awaitable<void> {
        std::exception_ptr failure;
        try {
            co_await self->in_own_thread([out, pack = std::move(pack)] { pack(*out); });
        } catch (...) {
            failure = std::current_exception();
        }
        out->end(failure);
    };
    spawn(run(shared_impl(), output, std::move(work)), "tar stream");
    co_await output->begun();
    co_return stream;
}

asio::awaitable<std::shared_ptr<TarStream>> Engine::Impl::archive_path(std::string reference, std::string path) {
    const auto container = get_container(reference);
    std::optional<Lane::Turn> held;
    const auto view = co_await view_of(container, reference, layers::Access::read_only, held);
    held.reset();
    auto stream = co_await open_tar([view, path, reference](TarOutput& output) {
        with_file_view(std::move(*view), [&](const Root& root) {
            const std::string cleaned = clean_path(path);
            output.begin(finding(path, reference, [&] { return stat_of(root, cleaned); }));
            layers::FdSink sink{output.pipe()};
            layers::Packer packer{sink};
            pack_path(root, cleaned, packer);
        });
    });
    emit(*container->record, "archive-path");
    co_return stream;
}

asio::awaitable<void> Engine::Impl::extract(std::string reference, ExtractRequest request, Fd input) {
    const auto container = get_container(reference);
    const auto tar = std::make_shared<Fd>(std::move(input));
    std::optional<Lane::Turn> held;
    std::shared_ptr<FileView> view;
    for (bool is_whole = false;;) {
        if (!is_whole && !is_running(container->record->state.status)) {
            co_await in_own_thread([tar, folder = options.data_root] { *tar = spool(*tar, folder); });
            is_whole = true;
        }
        view = co_await view_of(container, reference, layers::Access::read_write, held);
        if (is_whole || !held) break;
        // It has ended meanwhile.
        view.reset();
        held.reset();
    }
    co_await in_own_thread([view, request, reference, tar, record = container->record] {
        const Fd own = std::move(*tar);
        with_file_view(std::move(*view), [&](const Root& root) {
            const std::string path = finding(request.path, reference, [&] { return extraction_point(root, clean_path(request.path)); });
            check_writable(*record, path);
            layers::ExtractOptions options{.keep_kinds = request.keep_kinds};
            if (request.owner_is_user && !record->config.user.empty()) {
                const runtime::Identity user = runtime::find_user(runtime::read_user_files(root), record->config.user, {});
                options.owner = {user.uid, user.gid};
            }
            layers::FdSource source{own.get()};
            const auto plain = layers::decompress(source);
            layers::TarReader reader{*plain};
            layers::extract_tar(reader, root, path, options);
            if (!reader.has_end_mark() && request.check_end) request.check_end();
        });
    });
    emit(*container->record, "extract-to-dir");
}

asio::awaitable<std::shared_ptr<TarStream>> Engine::Impl::export_files(std::string reference) {
    const auto container = get_container(reference);
    const Status status = container->record->state.status;
    if (status == Status::dead) fail(ErrorKind::conflict, "You cannot export container {} which is Dead", container->id());
    if (status == Status::removing) fail(ErrorKind::conflict, "You cannot export container {} which is being removed", container->id());
    struct Tree {
        layers::LayerStore::Hold held;  // first: the mount goes before it
        Fd root;
    };
    const auto tree = std::make_shared<Tree>();
    for (int tries = 0; !tree->root; ++tries) {
        const RecordPtr record = container->record;
        if (container->is_gone()) fail(ErrorKind::not_found, "No such container: {}", reference);
        const bool runs = is_running(record->state.status);
        const auto pidfd = std::make_shared<Fd>(runs && container->task ? container->task->pidfd() : Fd());
        auto work = [this, tree, record, pidfd] {
            tree->held = rooms.layers.hold_container(record->id);
            tree->root = *pidfd ? copy_running_mounts(pidfd->get(), {}).root : rooms.layers.mount_snapshot(record->id);
            return true;
        };
        try {
            co_await offload(pool, std::move(work));
            continue;
        } catch (const Error& error) {
            if (error.os_error() != ESRCH || tries == vanish_tries) throw;
        }
        co_await container->changed.wait(Condition::Clock::now() + std::chrono::milliseconds{20});
    }
    auto stream = co_await open_tar([tree, reference](TarOutput& output) {
        output.begin({});
        while_doing(fmt::format("Error exporting container {}", reference), [&] {
            layers::FdSink sink{output.pipe()};
            layers::Packer packer{sink};
            packer.add_contents(tree->root.get(), "");
            packer.finish();
        });
    });
    emit(*container->record, "export");
    co_return stream;
}

}  // namespace grua::engine
