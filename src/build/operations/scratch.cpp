#include "build/operations/scratch.hpp"

#include "base/id.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "layers/overlay.hpp"
#include "linux/mounts.hpp"

#include <fcntl.h>

namespace grua::build {

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

std::vector<oci::Digest> Scratch::keep() {
    std::vector<oci::Digest> out = below_;
    out.push_back(store_.keep_step(id_));
    id_.clear();
    return out;
}

}  // namespace grua::build
