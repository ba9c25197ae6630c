#include "linux/detail/cgroup_apply.hpp"

#include "base/error.hpp"
#include "linux/cgroup.hpp"
#include "linux/detail/cgroup_file.hpp"

#include <fmt/format.h>

namespace grua::linux {
namespace detail {

std::string rdma_line(const std::string& device, const RdmaLimit& limit) {
    std::string line = device;
    if (limit.hca_handles) line += fmt::format(" hca_handle={}", *limit.hca_handles);
    if (limit.hca_objects) line += fmt::format(" hca_object={}", *limit.hca_objects);
    return line;
}

}  // namespace detail

void Cgroup::apply(const Resources& resources) {
    while_doing(fmt::format("cgroup {}", path_.text()), [&] {
        if (layout() == CgroupLayout::v2) {
            detail::apply_v2(resources, require(controller::unified, "limits"));
        } else {
            detail::apply_v1(resources, [this](unsigned wanted, std::string_view what) { return require(wanted, what); });
        }
    });
}

}  // namespace grua::linux
