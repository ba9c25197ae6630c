// os/architecture[/variant], in the words of Go's GOOS and GOARCH.
#pragma once

#include "base/codec.hpp"

#include <string>
#include <string_view>
#include <tuple>

namespace grua::oci {

struct Platform {
    std::string architecture;
    std::string os;
    std::string variant;
    std::string os_version;

    template <typename Self = Platform>
    static json::Fields fields() {
        return json::Fields{json::field("architecture", &Self::architecture), json::field("os", &Self::os),
                            json::field("variant", &Self::variant).omitted_when_empty(),
                            json::field("os.version", &Self::os_version).omitted_when_empty()};
    }
    friend bool operator==(const Platform&, const Platform&) = default;

    /// "linux/amd64", "arm64", "linux/arm/v7"; synonyms (x86_64, aarch64, armhf, armel, i386) are normalised.
    static Platform parse(std::string_view text);

    /// This machine's.
    static Platform host();

    /// host() with the level of its processor (x86-64-v2 to v4): what an image may be for where nobody has said for which platform.
    static Platform processor();

    /// An index may have an entry whose platform says nothing.
    bool empty() const noexcept { return os.empty() && architecture.empty(); }

    std::string text() const;

    /// How well an image of this platform runs where `wanted` is: 0 not at all, higher is better.
    int fitness(const Platform& wanted) const;
};

}  // namespace grua::oci
