// The log driver journald: its native protocol (systemd's "Native Journal Protocol"), a datagram for each entry, or a sealed file where an
// entry is too long for one. In a LogWorker.
//
// Not through libsystemd: that is not packaged as a static library, which the monitor needs, and all of it that would be used is this.
#pragma once

#include "base/fd.hpp"
#include "monitor/log_driver.hpp"
#include "monitor/log_formats.hpp"

#include <string>

namespace grua::monitor {

inline constexpr const char* journald_socket = "/run/systemd/journal/socket";

/// One entry. `ordinal` counts the entries of a driver from 1.
std::string journald_entry(std::string_view fields, const LogLine& line, std::uint64_t ordinal);

/// FIELD=value, or with its length where the value has a line's end in it.
void append_journald_field(std::string& out, std::string_view name, std::string_view value);

/// A name as journald takes it: upper case letters, digits and underscores, and none of these in front. Empty where nothing is left.
std::string journald_name(std::string_view name);

class Journald final : public LogDriver {
public:
    /// `fields` are in each entry.
    Journald(LogHost& host, const LogAttributes& fields);
    void log(const LogLine& line) noexcept override;
    void flush() noexcept override {}
    std::uint64_t lost() const noexcept override { return lost_; }

private:
    enum class Sent : std::uint8_t { yes, wait, away };
    Sent send(std::string_view entry);
    Sent send_as_file(std::string_view entry);

    LogHost& host_;
    std::string fields_;
    std::uint64_t ordinal_ = 0;
    Fd socket_;
    bool away_ = false;
    std::uint64_t lost_ = 0;
};

}  // namespace grua::monitor
