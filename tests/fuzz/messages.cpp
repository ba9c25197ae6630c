// What gruad, the launcher and a monitor read of each other: any text as each message, with any number of descriptors.
#include "monitor/messages.hpp"
#include "fuzz.hpp"
#include "monitor/detach_keys.hpp"
#include "monitor/launcher.hpp"
#include "monitor/monitor.hpp"

#include <fcntl.h>
#include <algorithm>
#include <string>
#include <vector>

namespace {

using namespace grua;

/// What is taken is written so that it is taken again, and as the same.
template <typename Message>
void round_trip(std::string_view text) {
    fuzz::refuses_or_takes([&] {
        const auto message = monitor::decode<Message>(text);
        const std::string written = monitor::encode(message);
        fuzz::check(monitor::encode(monitor::decode<Message>(written)) == written);
    });
}

void launch(std::string_view text) {
    fuzz::refuses_or_takes([&] {
        const auto launch = monitor::decode<monitor::Launch>(text);
        // A name more or less than descriptors is refused, as a descriptor that is missing.
        std::vector<Fd> given;
        for (std::size_t i = 0; i < std::min<std::size_t>(launch.fds.size(), 4); ++i)
            given.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
        const monitor::MonitorFds fds = monitor::sort_fds(launch, given);
        fuzz::check(fds.control && fds.spec && launch.fds.size() <= 4);
        monitor::check_version(launch.version, "gruad");
        fuzz::check(launch.version >= monitor::oldest_version && launch.version <= monitor::protocol_version);
    });
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text = fuzz::text(data, size);
    round_trip<monitor::Header>(text);
    round_trip<monitor::Launch>(text);
    round_trip<monitor::Attach>(text);
    round_trip<monitor::Exec>(text);
    round_trip<monitor::Resize>(text);
    round_trip<monitor::Reply>(text);
    round_trip<monitor::Started>(text);
    round_trip<monitor::Failed>(text);
    round_trip<monitor::Exited>(text);
    round_trip<monitor::ExecExited>(text);
    round_trip<monitor::Hello>(text);
    launch(text);
    // A message whose text came from inside a container can be read, whatever the bytes were.
    const monitor::Failed failed{.error = {.kind = "system", .os_error = 0, .message = std::string(text)}};
    fuzz::check(monitor::decode<monitor::Failed>(monitor::encode(failed)).error.message == to_valid_utf8(text));
    fuzz::refuses_or_takes([&] { fuzz::check(monitor::to_hex(monitor::from_hex(text)) == text); });
    return fuzz::refuses_or_takes([&] {
        const std::string keys = monitor::parse_detach_keys(text);
        std::string out;
        monitor::DetachMatcher matcher{keys};
        fuzz::check(keys.empty() || matcher.feed(keys, out));
    });
}
