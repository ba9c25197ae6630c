// A ground for tests: it remembers what was asked of it, fails where it is told to, and its clock is turned by the test.
#pragma once

#include "base/id.hpp"
#include "base/test_clock.hpp"
#include "engine/lifecycle/lifecycle.hpp"
#include "store/database.hpp"

#include <algorithm>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <csignal>
#include <filesystem>
#include <future>
#include <mutex>
#include <set>

namespace grua::engine {

/// What was done, in its order; from the loop and from the pool.
class Notes {
public:
    void add(std::string what) {
        const std::lock_guard lock(mutex_);
        if (failures_.contains(what) && failures_[what] > 0) {
            --failures_[what];
            all_.push_back("failed: " + what);
            throw Error(ErrorKind::system, what + " failed");
        }
        all_.push_back(std::move(what));
    }
    void fail_at(const std::string& what, int times = 1) {
        const std::lock_guard lock(mutex_);
        failures_[what] = times;
    }
    std::vector<std::string> all() const {
        const std::lock_guard lock(mutex_);
        return all_;
    }
    long count(const std::string& what) const {
        const std::lock_guard lock(mutex_);
        return std::ranges::count(all_, what);
    }

private:
    mutable std::mutex mutex_;
    std::vector<std::string> all_;
    std::map<std::string, int> failures_;
};

enum class Answer : std::uint8_t { starts, fails, nothing };

class FakeTask final : public tasks::Task {
public:
    FakeTask(const asio::any_io_executor& loop, Notes& notes, Clock& clock, Timers& timers, std::string id, Answer answer,
             tasks::TaskEvents given, tasks::OutputCallback output)
        : events(std::move(given)),
          say(std::move(output)),
          notes_(notes),
          clock_(clock),
          timers_(timers),
          id_(std::move(id)),
          answer_(answer),
          changed_(loop),
          loop_(loop) {}

    asio::awaitable<void> run(Clock::Point deadline) override {
        notes_.add("launch " + id_);
        if (answer_ == Answer::fails)
            throw tasks::NotStarted(Error(ErrorKind::not_found, "exec: \"x\": no such file or directory", ENOENT));
        if (answer_ == Answer::starts) {
            events.started(42, clock_.wall());
            co_return;
        }
        const auto alarm = timers_.at(deadline, [this] { call_off("no answer in time"); });
        while (called_off_.empty()) co_await changed_.wait();
        throw Error(ErrorKind::unavailable, called_off_);
    }
    void call_off(std::string why) override {
        called_off_ = std::move(why);
        changed_.notify_all();
    }
    void end(int code) {
        if (events.exited) std::function(events.exited)({.code = code, .finished_at = clock_.wall()});
        if (events.output_ended && !output_lags) std::function(events.output_ended)();
    }
    pid_t pid() const override { return 42; }
    Fd pidfd() const override { return {}; }
    Fd open_namespace(const char*) const override { return {}; }
    bool is_linked() const override { return true; }
    void kill(int signal) override {
        notes_.add(fmt::format("signal {} {}", signal, id_));
        if (signal == SIGKILL && !hangs) end(137);
    }
    asio::awaitable<void> kill_all() override { co_return; }
    asio::awaitable<void> pause() override { co_return; }
    asio::awaitable<void> resume() override { co_return; }
    asio::awaitable<void> update(linux::Resources) override { co_return; }
    asio::awaitable<linux::CgroupStats> stats() override { co_return used; }
    asio::awaitable<std::vector<pid_t>> pids() override { co_return std::vector<pid_t>{}; }
    asio::awaitable<void> attach(tasks::AttachRequest, Fd) override { co_return; }
    asio::awaitable<void> resize(std::string, std::uint32_t, std::uint32_t) override { co_return; }
    asio::awaitable<tasks::ExecHandle> exec(std::string exec_id, oci::Process process, std::optional<tasks::AttachRequest>,
                                            Fd client) override {
        notes_.add("exec");
        exec_ids.push_back(exec_id);
        execs.push_back({.handle = std::make_shared<tasks::Exec>(loop_), .process = std::move(process), .client = std::move(client)});
        co_return execs.back().handle;
    }
    /// The last one's program says this and ends.
    void end_exec(int code, std::string_view output) {
        Ran& last = execs.back();
        if (last.client) static_cast<void>(::write(last.client.get(), output.data(), output.size()));
        last.client = Fd();
        last.handle->end(code);
    }
    asio::awaitable<void> hold(std::map<std::string, Fd>) override { co_return; }
    void close() override {
        events = {};
        say = nullptr;
        notes_.add("close " + id_);
    }

    tasks::TaskEvents events;
    tasks::OutputCallback say;
    bool output_lags = false;  ///< Its output's end does not come with its own.
    bool hangs = false;        ///< In the kernel: what kills others does not end it.
    linux::CgroupStats used;
    std::vector<std::string> exec_ids;
    struct Ran {
        tasks::ExecHandle handle;
        oci::Process process;
        Fd client;
    };
    std::vector<Ran> execs;

private:
    Notes& notes_;
    Clock& clock_;
    Timers& timers_;
    std::string id_;
    Answer answer_;
    std::string called_off_;
    Condition changed_;
    asio::any_io_executor loop_;
};

class FakeTasks final : public tasks::Tasks {
public:
    FakeTasks(asio::any_io_executor loop, Notes& notes, TurnedClock& clock) : loop_(std::move(loop)), notes_(notes), clock_(clock) {}
    tasks::Draft prepare(tasks::TaskSpec spec) override {
        notes_.add("prepare " + spec.id);
        tasks::Draft out{.id = spec.id, .directory = spec.directory, .on_output = std::move(spec.output)};
        document = std::move(spec.document);
        mounts = std::move(spec.mounts);
        return out;
    }
    tasks::TaskPtr make(tasks::Draft draft, std::vector<tasks::TaskClient>, tasks::TaskEvents events) override {
        last = std::make_shared<FakeTask>(loop_, notes_, clock_, clock_, draft.id, answer, std::move(events), std::move(draft.on_output));
        return last;
    }
    std::optional<tasks::FoundTask> find(const std::string& directory, const std::string&) override {
        notes_.add("find " + directory);
        return std::nullopt;
    }
    tasks::TaskPtr adopt(tasks::FoundTask, tasks::TaskEvents events) override {
        return std::make_shared<FakeTask>(loop_, notes_, clock_, clock_, "adopted", answer, std::move(events), nullptr);
    }
    void end_cgroup(const std::string& path) override { notes_.add("end cgroup " + path); }
    bool is_frozen(const std::string&) override { return false; }
    void thaw(const std::string&) override {}

    Answer answer = Answer::starts;
    std::shared_ptr<FakeTask> last;
    oci::RuntimeSpec document;  ///< Of the last that was prepared.
    std::vector<tasks::TaskMount> mounts;

private:
    asio::any_io_executor loop_;
    Notes& notes_;
    TurnedClock& clock_;
};

class FakeRoots final : public Roots {
public:
    explicit FakeRoots(Notes& notes) : notes_(notes) {}
    bool has(const std::string& id) override { return there.contains(id); }
    Hold hold(const std::string& id) override {
        notes_.add("hold " + id);
        ++held;
        return Hold(nullptr, [this](const void*) { --held; });
    }
    Fd mount(const std::string& id) override {
        notes_.add("mount " + id);
        return {};
    }
    void remove(const std::string& id) override {
        notes_.add("remove layer " + id);
        there.erase(id);
    }
    std::vector<std::string> all() override { return {there.begin(), there.end()}; }
    Fd mount_layers(const StringList& chain) override {
        notes_.add("mount image " + join(chain, " "));
        return {};
    }
    Hold hold_layers(const StringList& chain) override {
        notes_.add("hold image " + join(chain, " "));
        ++held;
        return Hold(nullptr, [this](const void*) { --held; });
    }

    std::set<std::string> there;
    std::atomic<int> held = 0;

private:
    Notes& notes_;
};

class FakeSandboxes final : public Sandboxes {
public:
    explicit FakeSandboxes(Notes& notes) : notes_(notes) {}
    network::Sandbox attach(const network::SandboxRequest& request) override {
        notes_.add("attach " + request.container_id);
        attached.insert(request.container_id);
        return {};
    }
    void release(const std::string& id) override {
        notes_.add("release " + id);
        attached.erase(id);
    }
    void recover(std::vector<network::Attachment>) override { notes_.add("recover networks"); }
    std::string id_of(const std::string& network) override { return network; }
    std::string driver_of(const std::string&) override { return "bridge"; }
    void write_files(const ContainerRecord&, const std::string&, const LinkedHosts&) override { notes_.add("write files"); }

    std::set<std::string> attached;

private:
    Notes& notes_;
};

class FakeVolumes final : public VolumeFolders {
public:
    explicit FakeVolumes(Notes& notes) : notes_(notes) {}
    void remove(const std::string& name) override { notes_.add("remove volume " + name); }
    bool has_mounts(const StringList& names) override {
        return std::ranges::any_of(names, [&](const std::string& name) { return with_mounts.contains(name); });
    }
    asio::awaitable<void> hold_mounts(std::string holder, StringList) override {
        held.insert(holder);
        notes_.add("mount volumes of " + holder);
        co_return;
    }
    asio::awaitable<void> let_go_of_mounts(std::string holder) override {
        notes_.add("unmount volumes of " + holder);
        held.erase(holder);
        co_return;
    }
    asio::awaitable<Fd> part(std::string, std::string volume, std::string subpath) override {
        notes_.add("part " + volume + " " + subpath);
        co_return Fd{};
    }
    void call_off_mounts(const std::string& holder) override { notes_.add("call off mounts of " + holder); }
    void found_mounts(const std::string& holder, const StringList&) override { held.insert(holder); }
    asio::awaitable<void> unmount_unheld() override {
        notes_.add("unmount what nobody holds");
        co_return;
    }

    std::set<std::string> with_mounts;
    std::set<std::string> held;

private:
    Notes& notes_;
};

class FakeImages final : public ImageShelf {
public:
    bool has(const std::string&) override { return true; }
    void was_used(const std::string&, Time) override {}
    void collect() override {}
};

/// Answers when the test says so.
class FakeProbes final : public Probes {
public:
    explicit FakeProbes(asio::any_io_executor loop) : changed_(std::move(loop)) {}
    asio::awaitable<ProbeAnswer> ask(ProbeRequest request) override {
        asked.push_back(request.probe);
        const std::stop_callback stop{request.stop, [this] { answer({}); }};
        while (!answer_) co_await changed_.wait();
        co_return *std::exchange(answer_, std::nullopt);
    }
    void answer(ProbeAnswer answer) {
        answer_ = std::move(answer);
        changed_.notify_all();
    }

    std::vector<Probe> asked;

private:
    Condition changed_;
    std::optional<ProbeAnswer> answer_;
};

/// An engine's lifecycle on all of that, in folders of its own.
class World {
public:
    World()
        : path(std::filesystem::temp_directory_path() / ("grua-lifecycle-" + random_hex(6))),
          tasks(loop.get_executor(), notes, clock),
          roots(notes),
          sandboxes(notes),
          volumes(notes),
          probes(loop.get_executor()),
          ground{tasks, roots, sandboxes, volumes, images, probes, clock, clock} {
        for (const char* folder : {"/data/containers", "/exec/containers"}) std::filesystem::create_directories(path + folder);
        database = std::make_unique<store::Database>(path + "/grua.db");
        begin();
    }
    World(const World&) = delete;
    World& operator=(const World&) = delete;
    ~World() {
        end();
        database.reset();
        std::error_code ignored;
        std::filesystem::remove_all(path, ignored);
    }

    /// A gruad that comes after another one.
    void begin() {
        Options options;
        options.data_root = path + "/data";
        options.exec_root = path + "/exec";
        HostFacts host;
        host.machine = "x86_64";
        host.kernel = {6, 1};
        life = std::make_shared<Lifecycle>(loop.get_executor(), pool, std::move(options), std::move(host), *database, ground);
    }
    void end() {
        if (!life) return;
        run([&]() -> asio::awaitable<void> { co_await life->shutdown(); });
        settle();
        life.reset();
        loop.restart();
        loop.poll();
    }

    ContainerPtr add(const std::string& id, const std::function<void(ContainerRecord&)>& change = {}) {
        ContainerRecord record;
        record.id = id;
        record.name = "name-" + id;
        record.created = clock.wall();
        record.path = "/bin/true";
        record.config.cmd = StringList{"/bin/true"};
        record.host_config.network_mode = "bridge";
        record.networks["bridge"];
        if (change) change(record);
        roots.there.insert(id);
        life->names.emplace(record.name, id);
        const auto container = std::make_shared<Container>(loop.get_executor(), record);
        life->own_itself(container->owned, record);
        life->add(container);
        life->save(*container);
        return container;
    }

    /// Until it has ended. Throws what it threw.
    template <typename Body>
    void run(Body body) {
        bool done = false;
        std::exception_ptr failure;
        asio::co_spawn(loop, body(), [&](const std::exception_ptr& thrown) {
            failure = thrown;
            done = true;
        });
        until([&] { return done; });
        if (failure) std::rethrow_exception(failure);
    }
    /// What the call's error says; empty where it has none.
    template <typename Body>
    std::string error_of(Body body) {
        try {
            run(std::move(body));
        } catch (const std::exception& error) {
            return error.what();
        }
        return {};
    }
    template <typename Condition>
    void until(Condition condition) {
        const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (!condition()) {
            if (std::chrono::steady_clock::now() > deadline) throw Error(ErrorKind::system, "waited in vain");
            loop.restart();
            loop.run_one_for(std::chrono::milliseconds(50));
        }
    }
    /// Until nothing is left that goes on by itself: neither on the loop nor on the pool, which has one thread.
    void settle() {
        for (int quiet = 0; quiet < 3;) {
            loop.restart();
            std::size_t ran = loop.poll();
            std::promise<void> reached;
            asio::post(pool, [&] { reached.set_value(); });
            reached.get_future().wait();
            loop.restart();
            ran += loop.poll();
            quiet = ran == 0 ? quiet + 1 : 0;
        }
    }
    void turn(std::chrono::nanoseconds by) {
        clock.turn(by);
        settle();
    }
    Status status(const ContainerPtr& container) const { return container->record->state.status; }

    const std::string path;
    asio::io_context loop;
    asio::thread_pool pool{1};
    TurnedClock clock;
    Notes notes;
    FakeTasks tasks;
    FakeRoots roots;
    FakeSandboxes sandboxes;
    FakeVolumes volumes;
    FakeImages images;
    FakeProbes probes;
    Ground ground;
    std::unique_ptr<store::Database> database;
    std::shared_ptr<Lifecycle> life;
};

}  // namespace grua::engine
