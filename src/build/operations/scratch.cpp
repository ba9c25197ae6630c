#include "build/operations/scratch.hpp"

#include "base/id.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "layers/overlay.hpp"
#include "linux/mounts.hpp"

#include <fcntl.h>
#include <sys/xattr.h>
#include <array>

namespace grua::build {
namespace {

/// Of a layer: names of contexts. Nobody sees it in a tree, since overlayfs shows none of its own, and nothing packs or copies it.
constexpr const char* contexts_mark = "trusted.overlay.grua.contexts";
constexpr std::size_t marks_limit = 2048;  ///< What is longer cannot be set.

std::string contexts_in(const std::string& layer) {
    std::array<char, marks_limit> text{};
    const ssize_t size = ::lgetxattr(layer.c_str(), contexts_mark, text.data(), text.size());
    return size < 0 ? std::string() : std::string(text.data(), static_cast<std::size_t>(size));
}

}  // namespace

Scratch::Scratch(layers::LayerStore& store, asio::thread_pool& pool, std::vector<oci::Digest> below)
    : store_(store), pool_(pool), id_("build-" + random_hex(16)), below_(std::move(below)) {
    for (const oci::Digest& each : below_) holds_.push_back(store_.hold(each));
    store_.prepare(id_, below_, layers::Durability::volatile_);
}

Scratch::~Scratch() {
    if (id_.empty()) return;
    asio::post(pool_, [&store = store_, id = id_] {
        try {
            store.remove(id);
        } catch (const Error& error) {
            log::error("a build's files: {}", error.what());
        }
    });
}

Fd Scratch::mount() const { return store_.mount(id_); }

Fd Scratch::mount_alone(const std::string& folder) const {
    const layers::LayerStore::Paths paths = store_.paths(id_);
    layers::Overlay overlay{.lower = {}, .upper = paths.upper, .work = paths.work, .omit_syncs = true};
    if (!folder.empty()) overlay.lower.push_back(folder);
    for (std::string& each : split(paths.lower, ':'))
        if (folder.empty() && !each.empty() && !each.ends_with("/base")) overlay.lower.push_back(std::move(each));
    if (!overlay.lower.empty()) return layers::mount_overlay(overlay);
    return linux::copy_mount(AT_FDCWD, paths.upper.c_str(), linux::Recursion::top_only);
}

bool Scratch::take_names_of(const Context& context) const {
    // What stands on nothing is to be laid on something else.
    if (below_.empty()) return false;
    const layers::LayerStore::Paths paths = store_.paths(id_);
    const std::string name = context.name() + "\n";
    std::string own = contexts_in(paths.upper);
    if (own.contains(name)) return false;
    for (const std::string& each : split(paths.lower, ':'))
        if (contexts_in(each).contains(name)) return false;
    own += name;
    if (own.size() > marks_limit) return false;
    return ::lsetxattr(paths.upper.c_str(), contexts_mark, own.data(), own.size(), 0) == 0;
}

std::vector<oci::Digest> Scratch::keep() {
    std::vector<oci::Digest> out = below_;
    out.push_back(store_.keep_step(id_));
    id_.clear();
    return out;
}

}  // namespace grua::build
