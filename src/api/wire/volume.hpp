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
    template <typename Self = VolumeUsage>
    static json::Fields fields() {
        return json::Fields{json::field("Size", &Self::size), json::field("RefCount", &Self::ref_count)};
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
    template <typename Self = Volume>
    static json::Fields fields() {
        return json::Fields{json::field("CreatedAt", &Self::created_at),
                            json::field("Driver", &Self::driver),
                            json::field("Labels", &Self::labels),
                            json::field("Mountpoint", &Self::mountpoint),
                            json::field("Name", &Self::name),
                            json::field("Options", &Self::options),
                            json::field("Scope", &Self::scope),
                            json::field("UsageData", &Self::usage_data).omitted_when_empty()};
    }
    bool operator==(const Volume&) const = default;
};

struct VolumeCreate {
    std::string name;
    std::string driver;
    std::map<std::string, std::string> driver_opts;
    std::map<std::string, std::string> labels;
    template <typename Self = VolumeCreate>
    static json::Fields fields() {
        return json::Fields{json::field("Name", &Self::name), json::field("Driver", &Self::driver),
                            json::field("DriverOpts", &Self::driver_opts), json::field("Labels", &Self::labels)};
    }
    bool operator==(const VolumeCreate&) const = default;
};

struct VolumeList {
    std::vector<Volume> volumes;
    std::optional<std::vector<std::string>> warnings;
    template <typename Self = VolumeList>
    static json::Fields fields() {
        return json::Fields{json::field("Volumes", &Self::volumes), json::field("Warnings", &Self::warnings)};
    }
    bool operator==(const VolumeList&) const = default;
};

}  // namespace grua::api::wire
