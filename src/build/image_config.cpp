#include "build/image_config.hpp"

#include "base/error.hpp"
#include "base/text.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <optional>

namespace grua::build {
namespace {

namespace bj = boost::json;

bj::object parse_document(std::string_view document) {
    if (document.empty()) return {};
    (void)oci::parse_image_config(std::string(document));
    return bj::parse(document).as_object();
}

bool is_empty_layer(const bj::value& entry) {
    const auto* found = entry.is_object() ? entry.get_object().if_contains("empty_layer") : nullptr;
    return found && found->is_bool() && found->get_bool();
}

/// Each layer has its line, and each line without a layer says so. Gives the layers that stay.
std::vector<std::string> fit(bj::array& history, const std::vector<BuiltLayer>& layers) {
    std::vector<std::string> out;
    std::size_t next = 0;
    const auto take = [&](bj::object& entry) {
        if (!entry.contains("created")) entry["created"] = time_in_config(layers[next].made);
        if (layers[next].is_empty)
            entry["empty_layer"] = true;
        else
            out.push_back(layers[next].diff_id.text());
        ++next;
    };
    for (bj::value& each : history) {
        if (is_empty_layer(each)) continue;
        if (next < layers.size())
            take(each.as_object());
        else
            each.as_object()["empty_layer"] = true;
    }
    while (next < layers.size()) {
        bj::object entry{{"comment", "buildkit.exporter.image.v0"}};
        take(entry);
        history.push_back(std::move(entry));
    }
    return out;
}

/// What has no time has that of the first new layer, and behind it that of the layer before, as BuildKit has it. Gives the last time.
std::optional<std::string> fill_in_times(bj::array& history) {
    std::optional<std::string> created;
    const auto time_of = [](const bj::value& entry) {
        const auto* found = entry.as_object().if_contains("created");
        return found && found->is_string() ? std::optional(std::string(found->get_string())) : std::nullopt;
    };
    bool is_missing = false;
    for (const bj::value& each : history) {
        if (const auto time = time_of(each)) {
            created = time;
            if (is_missing) break;
        } else {
            is_missing = true;
        }
    }
    is_missing = false;
    std::optional<std::string> last;
    for (bj::value& each : history) {
        if (const auto time = time_of(each)) {
            if (is_missing) created = time;
        } else {
            is_missing = true;
            if (created) each.as_object()["created"] = *created;
        }
        if (const auto time = time_of(each)) last = time;
    }
    return last;
}

/// As Go writes it: lists that are empty are not there.
void drop_empty(bj::object& config) {
    for (const char* each : {"Env", "Cmd", "Entrypoint", "OnBuild", "Shell"})
        if (const auto* found = config.if_contains(each); found && found->is_array() && found->get_array().empty()) config.erase(each);
}

}  // namespace

std::string time_in_config(Time time) { return time == Time{} ? "1970-01-01T00:00:00Z" : format_time(time); }

std::string complete_config(std::string_view document, const std::vector<BuiltLayer>& layers, const oci::Platform& platform) {
    bj::object config = parse_document(document);
    if (!config.contains("architecture") || config["architecture"].as_string().empty()) config["architecture"] = platform.architecture;
    if (!config.contains("os") || config["os"].as_string().empty()) config["os"] = platform.os;
    if (!config.contains("config")) config["config"] = bj::object{};
    drop_empty(config["config"].as_object());
    bj::array history;
    if (const auto* known = config.if_contains("history"); known && known->is_array()) history = known->get_array();
    bj::array diff_ids;
    for (std::string& each : fit(history, layers)) diff_ids.emplace_back(std::move(each));
    config["rootfs"] = bj::object{{"type", "layers"}, {"diff_ids", std::move(diff_ids)}};
    const std::optional<std::string> last = fill_in_times(history);
    config["history"] = std::move(history);
    if (!config.contains("created") && last) config["created"] = *last;
    return bj::serialize(config);
}

}  // namespace grua::build
