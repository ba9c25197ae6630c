// Volumes.
#pragma once

#include "base/codec.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace grua::api::wire {

struct VolumeUsage {
    std::int64_t size = -1;
    std::int64_t ref_count = -1;
    static constexpr auto fields() {
        return std::tuple{json::field("Size", &VolumeUsage::size), json::field("RefCount", &VolumeUsage::ref_count)};
    }
    bool operator==(const VolumeUsage&) const = default;
};

struct Volume {
    std::string created_at;
    std::string driver;
    std::optional<std::map<std::string, std::string>> labels;
    std::string mountpoint;
    std::string name;
    std::optional<std::map<std::string, std::string>> options;
    std::string scope = "local";
    std::optional<VolumeUsage> usage_data;
    static constexpr auto fields() {
        return std::tuple{json::field("CreatedAt", &Volume::created_at),
                          json::field("Driver", &Volume::driver),
                          json::field("Labels", &Volume::labels),
                          json::field("Mountpoint", &Volume::mountpoint),
                          json::field("Name", &Volume::name),
                          json::field("Options", &Volume::options),
                          json::field("Scope", &Volume::scope),
                          json::field("UsageData", &Volume::usage_data).omitted_when_empty()};
    }
    bool operator==(const Volume&) const = default;
};

struct VolumeCreate {
    std::string name;
    std::string driver;
    std::map<std::string, std::string> driver_opts;
    std::map<std::string, std::string> labels;
    static constexpr auto fields() {
        return std::tuple{json::field("Name", &VolumeCreate::name), json::field("Driver", &VolumeCreate::driver),
                          json::field("DriverOpts", &VolumeCreate::driver_opts), json::field("Labels", &VolumeCreate::labels)};
    }
    bool operator==(const VolumeCreate&) const = default;
};

struct VolumeList {
    std::vector<Volume> volumes;
    std::optional<std::vector<std::string>> warnings;
    static constexpr auto fields() {
        return std::tuple{json::field("Volumes", &VolumeList::volumes), json::field("Warnings", &VolumeList::warnings)};
    }
    bool operator==(const VolumeList&) const = default;
};

}  // namespace grua::api::wire
