#include "build/tree.hpp"

#include "build/selection.hpp"
#include "build/tree_scan.hpp"
#include "linux/mounts.hpp"

#include <fcntl.h>
#include <sys/mount.h>

namespace grua::build {

TreePtr as_tree(const ResultPtr& result) { return std::static_pointer_cast<const Tree>(result); }

LayerTree::LayerTree(std::string its_key, layers::LayerStore& store, std::vector<oci::Digest> its_layers)
    : Tree(std::move(its_key)), store_(store), layers_(std::move(its_layers)) {
    for (const oci::Digest& each : layers_) {
        holds_.push_back(store_.hold(each));
        if (!holds_.back()) fail(ErrorKind::not_found, "layer {} does not exist", each.text());
    }
}

Fd LayerTree::open() const { return store_.mount_layers(layers_); }

std::string LayerTree::digest_of(const std::vector<Selection>& selections, ReadFiles* read) const {
    return build::digest_of(scan_tree(Root::at(open()), selections), selections, read);
}

Fd ContextTree::open() const {
    const Fd folder{::open(context_->folder().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
    if (!folder) fail_errno("open {}", context_->folder());
    Fd out = linux::copy_mount(folder.get(), "", linux::Recursion::top_only);
    linux::change_mount(out.get(), {.set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV}, linux::Recursion::top_only,
                        context_->folder());
    return out;
}

std::string ContextTree::digest_of(const std::vector<Selection>& selections, ReadFiles* read) const {
    return build::digest_of(context_->index(), selections, read);
}

}  // namespace grua::build
