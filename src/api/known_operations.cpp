// The table of operations as JSON, with the fields of bodies from the tables that read them: what docs/api.md is made of.
#include "api/names.hpp"
#include "api/router.hpp"
#include "api/routes.hpp"
#include "api/wire/container.hpp"
#include "api/wire/network.hpp"
#include "engine/network_service.hpp"

#include <map>

namespace grua::api {

namespace {

using boost::json::array;
using boost::json::object;

/// What can be said of a member's type without the member.
struct Kind {
    std::string expected;  ///< "a string", "an array of integers"
    std::string suffix;    ///< Between the name and the names below it: "", "[]" of a list, "{}" of a map.
    const json::Fields& (*members)() = nullptr;
};

template <typename T>
Kind kind_of() {
    using json::detail::is_list, json::detail::is_map, json::detail::is_optional;
    if constexpr (requires { typename T::Plain; }) {
        return kind_of<typename T::Plain>();
    } else if constexpr (json::WireStruct<T>) {
        return {.expected = "object", .suffix = "", .members = &json::fields_of<T>};
    } else if constexpr (is_optional<T>::value) {
        return kind_of<typename T::value_type>();
    } else if constexpr (is_list<T>::value) {
        Kind kind = kind_of<typename T::value_type>();
        return {.expected = "array of " + kind.expected, .suffix = "[]" + kind.suffix, .members = kind.members};
    } else if constexpr (is_map<T>::value) {
        Kind kind = kind_of<typename T::mapped_type>();
        return {.expected = "map of " + kind.expected, .suffix = "{}" + kind.suffix, .members = kind.members};
    } else if constexpr (std::same_as<T, bool>) {
        return {.expected = "boolean"};
    } else if constexpr (std::integral<T>) {
        return {.expected = "integer"};
    } else if constexpr (std::same_as<T, json::Value>) {
        return {.expected = "anything"};
    } else {
        return {.expected = "string"};
    }
}

using Kinds = std::map<const json::Codec*, Kind>;

template <typename... T>
Kinds kinds() {
    return {{&json::detail::codec<T>, kind_of<T>()}...};
}

/// Every type of a member of a body. A type that is missing here is an error of the test that walks the table.
const Kinds& known_kinds() {
    using namespace engine;
    using Ipam = decltype(NetworkConfig::ipam);
    using Bindings = std::map<std::string, std::vector<PortBinding>>;
    static const Kinds all =
        kinds<bool, std::int64_t, std::uint64_t, std::uint32_t, std::uint16_t, std::string, json::Value, std::optional<bool>,
              std::optional<std::int64_t>, StringList, std::optional<StringList>, StringMap, std::optional<StringMap>, OrNull<StringList>,
              std::map<std::string, json::Value>, OrNull<std::map<std::string, json::Value>>, std::vector<std::uint32_t>,
              std::optional<std::vector<std::uint32_t>>, std::vector<StringList>, std::optional<HealthConfig>, LogConfig, Bindings,
              OrNull<Bindings>, RestartPolicy, std::vector<Mount>, std::optional<BindOptions>, std::optional<VolumeOptions>,
              std::optional<TmpfsOptions>, std::optional<ImageOptions>, std::optional<DriverConfig>, OrNull<std::vector<WeightDevice>>,
              OrNull<std::vector<ThrottleDevice>>, OrNull<std::vector<DeviceMapping>>, OrNull<std::vector<DeviceRequest>>,
              OrNull<std::vector<Ulimit>>, HostConfig, NetworkingConfig, std::map<std::string, EndpointSettings>,
              std::optional<EndpointSettings>, std::optional<EndpointIpamConfig>, Ipam, decltype(Ipam::config),
              decltype(NetworkConfig::config_from)>();
    return all;
}

void describe(array& out, const json::Fields& fields, const std::string& place) {
    for (const json::Field& each : fields) {
        const std::string name = place + each.name;
        const auto kind = known_kinds().find(each.codec);
        if (kind == known_kinds().end()) fail(ErrorKind::system, "{}: its type is not among the known kinds", name);
        out.push_back(object{{"Name", name}, {"Type", kind->second.expected}, {"Since", each.since.minor_number}});
        if (kind->second.members) describe(out, kind->second.members(), name + kind->second.suffix + ".");
    }
}

array described(std::string_view names) {
    array out;
    while (const auto name = take_name(names)) out.push_back(object{{"Name", name->text}, {"Since", name->since}});
    return out;
}

}  // namespace

json::Value describe(const Route& route) {
    object out{{"Method", route.method},
               {"Path", route.pattern},
               {"Since", route.since},
               {"Implemented", route.handler != nullptr},
               {"Parameters", described(route.parameters)},
               {"Filters", described(route.filters)}};
    array body;
    if (route.body) describe(body, route.body(), "");
    out["Body"] = std::move(body);
    return out;
}

Answer known_operations(const Services&, Exchange& exchange) {
    array out;
    for (const Route& route : routes()) out.push_back(describe(route));
    co_await exchange.send(200, boost::json::serialize(out) + "\n");
}

}  // namespace grua::api
