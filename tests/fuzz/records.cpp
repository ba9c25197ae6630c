// What the store gives back of containers and networks: perhaps another version's, perhaps damaged.
#include "engine/model/stored_record.hpp"
#include "fuzz.hpp"
#include "network/config.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace grua;
    const std::string_view text = fuzz::text(data, size);
    fuzz::refuses_or_takes([&] {
        const engine::ContainerRecord record = engine::record_from_json(text);
        const std::string stored = engine::to_json(record);
        fuzz::check(engine::to_json(engine::record_from_json(stored)) == stored);
        static_cast<void>(engine::status_text(record.state, now()));
    });
    return fuzz::refuses_or_takes([&] {
        const auto config = json::parse<network::NetworkConfig>(text);
        fuzz::check(json::parse<network::NetworkConfig>(json::dump(config, {1, 99})) == config);
        network::check_ipam(config.ipam.config, config.has_ipv6());
        static_cast<void>(network::bridge_settings(config));
        static_cast<void>(network::child_settings(config));
    });
}
