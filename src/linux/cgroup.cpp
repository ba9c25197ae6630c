// Making, opening and removing a cgroup in its hierarchies.
#include "linux/cgroup.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "linux/detail/cgroup_file.hpp"
#include "linux/detail/cgroup_mounts.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <chrono>
#include <ctime>

namespace grua::linux {
namespace {

using std::chrono::steady_clock;

constexpr auto removal_patience = std::chrono::seconds{1};

Fd open_directory(int at, const char* path) { return Fd{::openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)}; }

/// A new v1 cpuset is empty, and no process can join it before both are set.
void fill_cpuset(int parent, int child) {
    for (const char* name : {"cpuset.cpus", "cpuset.mems"}) {
        if (!trim(detail::read_cgroup_file(child, name).value_or("")).empty()) continue;
        detail::write_cgroup_file(child, name, trim(detail::read_cgroup_file(parent, name).value_or("")));
    }
}

std::vector<std::string> child_names(int directory) {
    std::vector<std::string> names;
    Fd copy = open_directory(directory, ".");
    DIR* stream = copy ? ::fdopendir(copy.get()) : nullptr;
    if (stream == nullptr) return names;
    (void)copy.release();
    while (const dirent* entry = ::readdir(stream))
        if (entry->d_type == DT_DIR && std::string_view{entry->d_name} != "." && std::string_view{entry->d_name} != "..")
            names.emplace_back(entry->d_name);
    ::closedir(stream);
    return names;
}

/// rmdir of the directory and, first, of those below it. Returns errno of the last refusal.
int remove_tree(int at, const char* path, int depth) {
    constexpr int deepest = 64;
    if (::unlinkat(at, path, AT_REMOVEDIR) == 0 || errno == ENOENT) return 0;
    const int error = errno;
    if ((error != EBUSY && error != ENOTEMPTY) || depth == deepest) return error;
    const Fd directory = open_directory(at, path);
    if (!directory) return errno == ENOENT ? 0 : errno;
    const auto names = child_names(directory.get());
    for (const auto& name : names)
        if (const int child = remove_tree(directory.get(), name.c_str(), depth + 1); child != 0) return child;
    if (names.empty()) return error;
    return ::unlinkat(at, path, AT_REMOVEDIR) == 0 || errno == ENOENT ? 0 : errno;
}

void evacuate(int directory) {
    // As the root of a cgroup namespace is never the kernel's root, its processes stand in the way of its children's
    // controllers (cgroup-v2.rst, "No Internal Process Constraint"). Whoever runs the engine there gave it this subtree.
    constexpr const char* leaf = "init";
    if (::mkdirat(directory, leaf, 0755) != 0 && errno != EEXIST) return;
    const Fd child = open_directory(directory, leaf);
    if (!child) return;
    for (int round = 0; round < 10; ++round) {
        const auto text = detail::read_cgroup_file(directory, "cgroup.procs").value_or("");
        if (text.empty()) return;
        for (const auto& pid : split(text, '\n'))
            if (!pid.empty()) (void)detail::try_write_cgroup_file(child.get(), "cgroup.procs", pid);
    }
}

constexpr std::array<std::pair<const char*, unsigned>, 8> delegated{{{"+cpu", controller::cpu},
                                                                     {"+cpuset", controller::cpuset},
                                                                     {"+memory", controller::memory},
                                                                     {"+io", controller::io},
                                                                     {"+pids", controller::pids},
                                                                     {"+hugetlb", controller::hugetlb},
                                                                     {"+rdma", controller::rdma},
                                                                     {"+misc", controller::misc}}};

void delegate(int directory, unsigned wanted, bool namespace_root) {
    std::string all;
    for (const auto& [text, bit] : delegated)
        if ((wanted & bit) != 0) all += (all.empty() ? "" : " ") + std::string{text};
    int error = detail::try_write_cgroup_file(directory, "cgroup.subtree_control", all);
    if (error == EBUSY && namespace_root) {
        evacuate(directory);
        error = detail::try_write_cgroup_file(directory, "cgroup.subtree_control", all);
    }
    if (error == 0) return;
    // One that refuses (cpu with real-time processes about, say) must not keep the others away. What is missing in the end is told by
    // apply(), where somebody needs it.
    for (const auto& [text, bit] : delegated)
        if ((wanted & bit) != 0) (void)detail::try_write_cgroup_file(directory, "cgroup.subtree_control", text);
}

}  // namespace

void Cgroup::join_hierarchy(std::size_t index) {
    const auto& hierarchy = mounts_.detected_->hierarchies[index];
    const int root = hierarchy.root.get();
    const char* path = path_.relative();
    const bool cpuset = layout() != CgroupLayout::v2 && (hierarchy.controllers & controller::cpuset) != 0;

    const bool made = !cpuset && ::mkdirat(root, path, 0755) == 0;
    const int error = made || cpuset ? ENOENT : errno;
    if (error == EEXIST) is_new_ = false;
    if (!made && error != EEXIST) {
        errno = error;
        if (error != ENOENT) fail_errno("create cgroup {}", path_.text());
        Fd parent = open_directory(root, ".");
        for (const auto& part : split(path, '/')) {
            if (::mkdirat(parent.get(), part.c_str(), 0755) != 0 && errno != EEXIST) fail_errno("create cgroup {}", path_.text());
            Fd child = open_directory(parent.get(), part.c_str());
            if (!child) fail_errno("open cgroup {}", path_.text());
            if (cpuset) fill_cpuset(parent.get(), child.get());
            parent = std::move(child);
        }
        directories_.push_back({index, hierarchy.controllers, std::move(parent)});
        return;
    }
    Fd directory = open_directory(root, path);
    if (!directory) fail_errno("open cgroup {}", path_.text());
    directories_.push_back({index, hierarchy.controllers, std::move(directory)});
}

void Cgroup::enable_controllers() const {
    const auto& hierarchy = mounts_.detected_->hierarchies[directories_.front().hierarchy];
    unsigned wanted = 0;
    for (const auto& [text, bit] : delegated) wanted |= hierarchy.controllers & bit;
    const auto missing = [&](int directory) {
        return wanted & ~parse_controller_list(detail::read_cgroup_file(directory, "cgroup.controllers").value_or(""));
    };
    if (missing(directories_.front().fd.get()) == 0) return;

    Fd directory = open_directory(hierarchy.root.get(), ".");
    bool namespace_root = true;
    for (const auto& part : split(path_.relative(), '/')) {
        delegate(directory.get(), wanted & ~missing(directory.get()), namespace_root);
        namespace_root = false;
        directory = open_directory(directory.get(), part.c_str());
        if (!directory) fail_errno("open cgroup {}", path_.text());
    }
}

Cgroup Cgroup::create(const CgroupMounts& mounts, const CgroupPath& path) {
    Cgroup cgroup{mounts, path};
    const auto& detected = *mounts.detected_;
    for (std::size_t i = 0; i < detected.hierarchies.size(); ++i)
        if ((detected.hierarchies[i].controllers & detected.joined) != 0) cgroup.join_hierarchy(i);
    if (detected.layout == CgroupLayout::v2) cgroup.enable_controllers();
    return cgroup;
}

Cgroup Cgroup::none() { return {CgroupMounts{std::make_shared<CgroupMounts::Detected>()}, CgroupPath{"/"}}; }

Cgroup Cgroup::open(const CgroupMounts& mounts, const CgroupPath& path) {
    Cgroup cgroup{mounts, path};
    const auto& hierarchies = mounts.detected_->hierarchies;
    for (std::size_t i = 0; i < hierarchies.size(); ++i) {
        Fd directory = open_directory(hierarchies[i].root.get(), path.relative());
        if (directory) {
            cgroup.directories_.push_back({i, hierarchies[i].controllers, std::move(directory)});
        } else if (errno != ENOENT) {
            fail_errno("open cgroup {}", path.text());
        }
    }
    if (cgroup.directories_.empty()) fail(ErrorKind::not_found, "no such cgroup: {}", path.text());
    return cgroup;
}

int Cgroup::directory(unsigned wanted) const noexcept {
    const auto found = std::ranges::find_if(directories_, [&](const Directory& d) { return (d.controllers & wanted) != 0; });
    return found == directories_.end() ? -1 : found->fd.get();
}

int Cgroup::directory_fd() const noexcept { return layout() == CgroupLayout::v2 ? directory(controller::unified) : -1; }
int Cgroup::unified_fd() const noexcept { return layout() == CgroupLayout::hybrid ? directory(controller::unified) : -1; }

void Cgroup::descend(unsigned controllers, std::string_view path) {
    while (path.starts_with('/')) path.remove_prefix(1);
    while (path.ends_with('/')) path.remove_suffix(1);
    if (path.empty()) return;
    const auto below = CgroupPath::parse(fmt::format("/{}", path));
    bool found = false;
    for (Directory& each : directories_) {
        if (controllers != 0 && (each.controllers & controllers) == 0) continue;
        Fd directory = open_directory(each.fd.get(), ".");
        for (const auto& part : split(below.relative(), '/')) {
            if (directory) directory = open_directory(directory.get(), part.c_str());
        }
        if (!directory && errno != ENOENT) fail_errno("open cgroup {}{}", path_.text(), below.text());
        if (!directory && controllers == 0) continue;
        if (!directory) fail(ErrorKind::not_found, "no such cgroup: {}{}", path_.text(), below.text());
        each.fd = std::move(directory);
        found = true;
    }
    if (!found) fail(ErrorKind::not_found, "no such cgroup: {}{}", path_.text(), below.text());
    if (layout() == CgroupLayout::v2) path_ = CgroupPath{path_.text() + below.text()};
}

std::vector<Cgroup::Folder> Cgroup::folders() const {
    std::vector<Folder> out;
    for (const Directory& each : directories_) out.push_back({mounts_.detected_->hierarchies[each.hierarchy].name, each.fd.get()});
    return out;
}

int Cgroup::require(unsigned wanted, std::string_view what) {
    if (const int found = directory(wanted); found >= 0) return found;
    join_late(wanted);
    const int found = directory(wanted);
    if (found < 0) fail(ErrorKind::unavailable, "{}: this machine's cgroups have no such controller", what);
    return found;
}

void Cgroup::join_late(unsigned wanted) {
    const auto& hierarchies = mounts_.detected_->hierarchies;
    const auto found = std::ranges::find_if(hierarchies, [&](const auto& h) { return (h.controllers & wanted) != 0; });
    if (found == hierarchies.end()) return;
    join_hierarchy(static_cast<std::size_t>(found - hierarchies.begin()));
    // A process forks while it is moved; its child is found in the next round.
    const Directory& joined = directories_.back();
    for (int round = 0; round < 10; ++round) {
        bool moved = false;
        const auto there = detail::read_cgroup_file(joined.fd.get(), "cgroup.procs").value_or("");
        const auto members = split(there, '\n');
        for (const pid_t pid : pids()) {
            const auto text = std::to_string(pid);
            if (std::ranges::find(members, text) != members.end()) continue;
            moved = detail::try_write_cgroup_file(joined.fd.get(), "cgroup.procs", text) == 0 || moved;
        }
        if (!moved) return;
    }
}

void Cgroup::remove() {
    const auto deadline = steady_clock::now() + removal_patience;
    timespec pause{0, 500'000};
    for (const auto& directory : directories_) {
        const int root = mounts_.detected_->hierarchies[directory.hierarchy].root.get();
        while (const int error = remove_tree(root, path_.relative(), 0)) {
            if (steady_clock::now() >= deadline) {
                errno = error;
                fail_errno("remove cgroup {}", path_.text());
            }
            // An exiting process leaves its cgroup shortly after its parent could wait for it.
            ::nanosleep(&pause, nullptr);
            pause.tv_nsec = std::min(pause.tv_nsec * 2, 50'000'000L);
        }
    }
    directories_.clear();
}

}  // namespace grua::linux
