// A program in a tree: what it mounts is taken, the engine runs it, what it wrote becomes a layer.
#include "base/test_points.hpp"
#include "build/copy_tree.hpp"
#include "build/file_ops.hpp"
#include "build/operations/operations.hpp"
#include "build/operations/run_alone.hpp"
#include "build/session_files.hpp"
#include "build/ssh_agent.hpp"
#include "layers/overlay.hpp"
#include "linux/mounts.hpp"
#include "tasks/task.hpp"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>

namespace grua::build {
namespace {

/// "/bin/sh -c make": the words of a command as they are shown.
std::string shown(const google::protobuf::RepeatedPtrField<std::string>& words) {
    std::string out;
    for (const std::string& each : words) out += (out.empty() ? "" : " ") + each;
    return out;
}

/// A detached mount of what `path` leads to in the tree that `mount` is.
Fd part_of(Fd mount, const std::string& path) {
    if (path.empty() || path == "/") return mount;
    if (is_left_out("CVE-2024-1753") || is_left_out("CVE-2024-23651"))  // as who joins the root's name and the path
        return linux::copy_mount(AT_FDCWD, (descriptor_path(mount.get()) + "/" + path).c_str(), linux::Recursion::top_only);
    const Root root = Root::at(std::move(mount));
    const TreePlace place = find_place(root, path);
    if (!place.exists()) fail(ErrorKind::not_found, "failed to mount {}: no such file or directory", path);
    return linux::copy_mount(place.there.get(), "", linux::Recursion::top_only);
}

void make_read_only(const Fd& mount, std::string_view name) {
    linux::change_mount(mount.get(), {.set = MOUNT_ATTR_RDONLY}, linux::Recursion::top_only, name);
}

/// All that one run of a program has; it ends on the pool, since letting go of mounts takes its time.
class ExecWork {
public:
    ExecWork(Workplace& place, Worker::Work work) : place_(place), work_(std::move(work)), exec_(work_.vertex->op.exec()) {}

    /// What the client has, and what others may be using. On the loop.
    /// `agents`: of SSH, by the number of their mounts; they are the loop's, and outlive the program.
    asio::awaitable<void> take_what_is_shared(std::map<int, std::unique_ptr<SshAgent>>& agents) {
        for (int number = 0; number < exec_.mounts_size(); ++number) {
            const pb::Mount& mount = exec_.mounts(number);
            if (mount.mounttype() == pb::MOUNT_TYPE_CACHE) co_await take_cache(number);
            if (mount.mounttype() == pb::MOUNT_TYPE_SECRET)
                secrets_[number] = co_await secret(mount.secretopt().id(), mount.secretopt().optional());
            if (mount.mounttype() != pb::MOUNT_TYPE_SSH) continue;
            if (auto opened = co_await agent(mount.sshopt())) {
                sockets_[number] = opened->path();
                agents[number] = std::move(opened);
            }
        }
        for (const pb::SecretEnv& each : exec_.secretenv())
            if (auto value = co_await secret(each.id(), each.optional())) secret_env_.push_back(each.name() + "=" + *value);
    }

    /// Blocks.
    engine::StepRequest prepare() {
        engine::StepRequest out;
        for (int number = 0; number < exec_.mounts_size(); ++number) {
            const pb::Mount& mount = exec_.mounts(number);
            if (mount.dest() == "/") {
                out.root = bind(number);
                out.read_only_root = mount.readonly();
                continue;
            }
            if (mount.mounttype() == pb::MOUNT_TYPE_TMPFS) {
                const std::int64_t size = std::max<std::int64_t>(0, mount.tmpfsopt().size());
                if (mount.dest() == "/dev/shm")
                    out.shm_size = size;
                else
                    out.mounts.push_back({.destination = mount.dest(), .mount = {}, .read_only = mount.readonly(), .tmpfs_size = size});
                continue;
            }
            if (Fd made = mount_of(number))
                out.mounts.push_back({.destination = mount.dest(), .mount = std::move(made), .read_only = mount.readonly()});
        }
        if (!out.root) fail(ErrorKind::invalid_argument, "the operation has no mount at /");
        const pb::Meta& meta = exec_.meta();
        out.args = {meta.args().begin(), meta.args().end()};
        out.env = {meta.env().begin(), meta.env().end()};
        out.env.insert(out.env.end(), secret_env_.begin(), secret_env_.end());
        add_proxies(out.env);
        out.cwd = meta.cwd();
        out.user = meta.user();
        out.hostname = meta.hostname();
        if (out.hostname.empty() && exec_.network() != pb::NET_MODE_HOST) out.hostname = "buildkitsandbox";
        for (const pb::HostIP& each : meta.extrahosts()) out.extra_hosts.push_back(each.host() + ":" + each.ip());
        for (const pb::Ulimit& each : meta.ulimit())
            out.limits.ulimits.push_back({.name = each.name(), .hard = each.hard(), .soft = each.soft()});
        out.limits.cgroup_parent = meta.cgroupparent();
        add_limits(out.limits);
        if (exec_.network() == pb::NET_MODE_NONE) out.network = engine::StepNetwork::none;
        if (exec_.network() == pb::NET_MODE_HOST) out.network = engine::StepNetwork::host;
        out.insecure = is_left_out("GHSA-7236-3392-c5c6") ? exec_.security() != pb::SECURITY_MODE_SANDBOX
                                                          : exec_.security() == pb::SECURITY_MODE_INSECURE;
        out.output = [audiences = work_.audiences, vertex = work_.vertex](int stream, std::string_view bytes) {
            audiences->printed(*vertex, stream, bytes);
        };
        return out;
    }

    std::string failed() const { return fmt::format("process {:?} did not complete successfully", shown(exec_.meta().args())); }

    void tell_use(const engine::StepEnd& end) const {
        work_.audiences->used(*work_.vertex, {.cpu_time = end.cpu_time, .peak_memory = end.peak_memory, .layer_bytes = layer_bytes_});
    }

    void check(const engine::StepEnd& end) const {
        const auto& valid = exec_.meta().validexitcodes();
        if (valid.empty() ? end.exit_code == 0 : std::ranges::find(valid, end.exit_code) != valid.end()) return;
        throw ExitError(fmt::format("{}: {}", failed(), text_of(end)), end.exit_code);
    }

    /// Blocks.
    Results finish() {
        std::map<std::int64_t, std::shared_ptr<LayerTree>> out;
        for (int number = 0; number < exec_.mounts_size(); ++number) {
            const std::int64_t output = exec_.mounts(number).output();
            if (output < 0 || exec_.mounts(number).mounttype() != pb::MOUNT_TYPE_BIND) continue;
            const auto scratch = exec_.mounts(number).readonly() ? scratches_.end() : scratches_.find(number);
            std::vector<oci::Digest> layers = scratch == scratches_.end() ? layers_of_input(number) : scratch->second->keep();
            if (scratch != scratches_.end() && !layers.empty())
                if (const auto made = place_.layers.find_step(layers.back())) layer_bytes_ += made->size;
            out[output] = std::make_shared<LayerTree>(key_of_result(work_.key, static_cast<int>(output)), place_.layers, std::move(layers));
        }
        Results all;
        for (auto& [number, tree] : out) {
            if (number != static_cast<std::int64_t>(all.size()))
                fail(ErrorKind::invalid_argument, "the operation has no output {}", all.size());
            all.push_back(std::move(tree));
        }
        return all;
    }

    const std::stop_token& stop() const noexcept { return work_.stop; }

private:
    /// The same ID that begins with something else is another one.
    asio::awaitable<void> take_cache(int number) {
        const pb::Mount& mount = exec_.mounts(number);
        CacheMountWish wish{.id = mount.cacheopt().id(),
                            .description = fmt::format("cached mount {} from exec {}", mount.dest(), shown(exec_.meta().args()))};
        if (const TreePtr first = input(number)) wish.id += "\n" + first->key;
        if (mount.cacheopt().sharing() == pb::CACHE_SHARING_OPT_PRIVATE) wish.sharing = MountSharing::alone;
        if (mount.cacheopt().sharing() == pb::CACHE_SHARING_OPT_LOCKED) wish.sharing = MountSharing::locked;
        // The same one twice in one step is one: with a locked one it would wait for itself.
        for (const auto& [other, taken] : caches_) {
            if (cache_ids_.at(other) != wish.id) continue;
            caches_[number] = taken;
            cache_ids_[number] = std::move(wish.id);
            co_return;
        }
        cache_ids_[number] = wish.id;
        caches_[number] = co_await place_.cache_mounts.take(std::move(wish), work_.stop);
    }

    SessionGroup sessions() const { return {.sessions = &place_.sessions, .ids = place_.wanted.by(work_.vertex->digest, work_.session)}; }

    asio::awaitable<std::optional<std::string>> secret(std::string id, bool is_optional) {
        if (is_optional) co_return co_await find_secret(sessions(), std::move(id));
        co_return co_await get_secret(sessions(), std::move(id));
    }

    asio::awaitable<std::unique_ptr<SshAgent>> agent(pb::SSHOpt what) {
        try {
            co_return co_await SshAgent::open(place_.loop, sessions(),
                                              {.directory = place_.live_directory + "/agents",
                                               .id = what.id(),
                                               .uid = what.uid(),
                                               .gid = what.gid(),
                                               .mode = static_cast<mode_t>(what.mode())});
        } catch (const Error&) {
            if (!what.optional()) throw;
        }
        co_return nullptr;
    }

    static std::string text_of(const engine::StepEnd& end) {
        if (end.was_out_of_memory) return fmt::format("cannot allocate memory: exit code: {}", end.exit_code);
        return fmt::format("exit code: {}", end.exit_code);
    }

    TreePtr input(int number) const {
        const std::int64_t which = exec_.mounts(number).input();
        return which < 0 ? nullptr : as_tree(work_.inputs.at(static_cast<std::size_t>(which)));
    }
    std::vector<oci::Digest> layers_of_input(int number) const { return detail::layers_of(place_, input(number), work_.stop); }

    /// A tree that the program sees; where it may write, what it writes is ours.
    Fd bind(int number) {
        const pb::Mount& mount = exec_.mounts(number);
        // In a root, which the engine makes read only, places for mounts are made first.
        if (mount.readonly() && mount.dest() != "/") {
            const TreePtr tree = input(number);
            return part_of(tree ? tree->open() : place_.layers.mount_layers({}), mount.selector());
        }
        const TreePtr tree = input(number);
        const Context* folder = tree && mount.output() < 0 && mount.dest() != "/" ? tree->context() : nullptr;
        const auto made = scratches_
                              .emplace(number, std::make_unique<Scratch>(place_.layers, place_.pool,
                                                                         folder ? std::vector<oci::Digest>{} : layers_of_input(number)))
                              .first;
        const Scratch& scratch = *made->second;
        return part_of(mount.dest() == "/" ? scratch.mount() : scratch.mount_alone(folder ? folder->folder() : std::string()),
                       mount.selector());
    }

    Fd mount_of(int number) {
        const pb::Mount& mount = exec_.mounts(number);
        switch (mount.mounttype()) {
            case pb::MOUNT_TYPE_BIND:
                return bind(number);
            case pb::MOUNT_TYPE_CACHE:
                return cache(number);
            case pb::MOUNT_TYPE_SECRET: {
                const auto& value = secrets_.at(number);
                if (!value) return {};
                const pb::SecretOpt& secret = mount.secretopt();
                // A file on a file: the folder that it comes in is not seen.
                return part_of(
                    tasks::memory_mount(
                        {{.name = "secret", .content = *value, .mode = secret.mode(), .user = secret.uid(), .group = secret.gid()}}),
                    "/secret");
            }
            case pb::MOUNT_TYPE_SSH: {
                const auto socket = sockets_.find(number);
                return socket == sockets_.end() ? Fd{} : linux::copy_mount(AT_FDCWD, socket->second.c_str(), linux::Recursion::top_only);
            }
            default:
                fail(ErrorKind::not_implemented, "not implemented: mount of type {}", static_cast<int>(mount.mounttype()));
        }
    }

    /// A folder that outlives the build; what it begins with is copied once.
    Fd cache(int number) {
        const pb::Mount& mount = exec_.mounts(number);
        const CacheMountPtr& taken = caches_.at(number);
        if (taken->is_new() && !std::exchange(filled_[taken.get()], true)) {
            const TreePtr first = input(number);
            if (work_.imports && work_.imports->fill_mount(mount.cacheopt().id(), taken->folder())) {
                // As another build has left it.
            } else if (first) {
                pb::FileAction action;
                pb::FileActionCopy& copy = *action.mutable_copy();
                copy.set_src("/");
                copy.set_dest("/");
                copy.set_dircopycontents(true);
                copy.set_mode(-1);
                copy.set_timestamp(-1);
                const Root from = Root::at(first->open());
                const Root to = Root::open(taken->folder().c_str());
                apply_file_action(action, to, &from, {.owner = {}, .stop = work_.stop, .progress = {}});
                // The folder is as the one that it begins with.
                const TreePlace place = find_place(from, "/");
                if (::fchownat(to.fd(), "", place.about.st_uid, place.about.st_gid, AT_EMPTY_PATH) != 0 ||
                    ::chmod(descriptor_path(to.fd()).c_str(), place.about.st_mode & 07777U) != 0)
                    fail_errno("set owner and mode of {}", taken->folder());
            }
            taken->keep();
        }
        const Fd folder{::open(taken->folder().c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
        if (!folder) fail_errno("open {}", taken->folder());
        // Others write to it meanwhile, links as well: what is selected is found below it, and stays what it is (CVE-2024-23651).
        Fd out = part_of(linux::copy_mount(folder.get(), "", linux::Recursion::top_only), mount.selector());
        if (mount.readonly()) make_read_only(out, mount.dest());
        return out;
    }

    /// Of numbers that are no limit of ours the engine says so.
    void add_limits(engine::Resources& out) const {
        const pb::LinuxResources& limits = work_.vertex->metadata.linux_resources();
        out.memory = limits.memory();
        out.memory_swap = limits.memoryswap();
        out.cpu_shares = static_cast<std::int64_t>(limits.cpushares());
        out.cpu_period = static_cast<std::int64_t>(limits.cpuperiod());
        out.cpu_quota = limits.cpuquota();
        out.cpuset_cpus = limits.cpusetcpus();
        out.cpuset_mems = limits.cpusetmems();
    }

    void add_proxies(std::vector<std::string>& env) const {
        const pb::ProxyEnv& proxies = exec_.meta().proxy_env();
        const auto add = [&](const char* upper, const char* lower, const std::string& value) {
            if (value.empty()) return;
            env.push_back(fmt::format("{}={}", upper, value));
            env.push_back(fmt::format("{}={}", lower, value));
        };
        add("HTTP_PROXY", "http_proxy", proxies.http_proxy());
        add("HTTPS_PROXY", "https_proxy", proxies.https_proxy());
        add("FTP_PROXY", "ftp_proxy", proxies.ftp_proxy());
        add("NO_PROXY", "no_proxy", proxies.no_proxy());
        add("ALL_PROXY", "all_proxy", proxies.all_proxy());
    }

    Workplace& place_;
    Worker::Work work_;
    const pb::ExecOp& exec_;
    std::map<int, CacheMountPtr> caches_;
    std::map<int, std::string> cache_ids_;
    std::map<const CacheMount*, bool> filled_;
    std::map<int, std::optional<std::string>> secrets_;
    std::map<int, std::string> sockets_;
    std::vector<std::string> secret_env_;
    std::map<int, ScratchPtr> scratches_;
    std::uint64_t layer_bytes_ = 0;
};

std::shared_ptr<ExecWork> begin_work(Workplace& place, Worker::Work work) {
    return {new ExecWork(place, std::move(work)), [&pool = place.pool](ExecWork* gone) { asio::post(pool, [gone] { delete gone; }); }};
}

}  // namespace

asio::awaitable<engine::StepEnd> run_alone(Workplace& place, Worker::Work work, ProgramStreams streams) {
    const auto job = begin_work(place, std::move(work));
    std::map<int, std::unique_ptr<SshAgent>> agents;
    co_await job->take_what_is_shared(agents);
    const auto request =
        co_await detail::at_length(place, [job](const std::stop_token&) { return std::make_shared<engine::StepRequest>(job->prepare()); });
    request->streams = std::move(streams.socket);
    request->output = std::move(streams.output);
    co_return co_await place.steps.run(std::move(*request));
}

asio::awaitable<Results> Operations::run_exec(Work work) {
    if (work.vertex->op.exec().cdidevices_size() > 0) fail(ErrorKind::not_implemented, "not implemented: RUN --device");
    const auto job = begin_work(place_, std::move(work));
    std::map<int, std::unique_ptr<SshAgent>> agents;
    co_await job->take_what_is_shared(agents);
    const auto request =
        co_await detail::at_length(place_, [job](const std::stop_token&) { return std::make_shared<engine::StepRequest>(job->prepare()); });
    engine::StepEnd end;
    try {
        end = co_await place_.steps.run(std::move(*request));
    } catch (Error& error) {
        error.add_context(job->failed());
        throw;
    }
    job->tell_use(end);  // Also of one that fails.
    job->check(end);
    Results out = co_await detail::at_length(place_, [job](const std::stop_token&) { return job->finish(); });
    job->tell_use(end);
    co_return out;
}

}  // namespace grua::build
