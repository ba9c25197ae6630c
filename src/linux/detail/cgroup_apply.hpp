// The writes of Cgroup::apply for each generation; the door is cgroup.hpp.
#pragma once

#include "linux/cgroup_resources.hpp"

#include <functional>
#include <string_view>

namespace grua::linux::detail {

/// The directory of the hierarchy with this controller, joined if need be; throws where there is none.
using FindDirectory = std::function<int(unsigned controller, std::string_view what)>;

void apply_v1(const Resources& resources, const FindDirectory& find);
void apply_v2(const Resources& resources, int directory);

/// hca_handle=1 hca_object=max, as rdma.max takes it.
std::string rdma_line(const std::string& device, const RdmaLimit& limit);

/// 0 is OCI's "not set" where the member is there nevertheless.
template <typename Number>
Number set_or_zero(const std::optional<Number>& value) {
    return value.value_or(Number{0});
}

}  // namespace grua::linux::detail
