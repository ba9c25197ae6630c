// A check of a container's health that takes no program in it.
#pragma once

#include "engine/model/record.hpp"
#include "linux/ip_address.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace grua::engine {

struct Probe {
    enum class Kind : std::uint8_t { http, tcp, file };

    Kind kind = Kind::file;
    std::string target;                ///< As it was written: a URL, HOST:PORT, a path.
    std::vector<linux::Ip> addresses;  ///< Tried in this order.
    std::uint16_t port = 0;
    std::string authority;  ///< Of the URL: host[:port].
    std::string path;       ///< Of the URL with its query, or the file.
};

/// Of a check's test: {"HTTP", "http://localhost:8080/ready"}, {"TCP", "localhost:5432"} or {"FILE", "/run/ready"}. Nothing for another
/// kind. Throws Error(invalid_argument).
std::optional<Probe> parse_probe(const StringList& test);

}  // namespace grua::engine
