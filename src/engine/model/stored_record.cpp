#include "engine/model/stored_record.hpp"

#include "base/id.hpp"

namespace grua::engine {
namespace {

/// All members, whatever API version brought them.
constexpr json::Version everything{1, 999};

/// Records nest less than what a client may send, and what was stored can be read again.
constexpr std::size_t stored_depth = json::depth_limit * 2;

json::Value parse_document(std::string_view text) {
    boost::json::parse_options options;
    options.max_depth = stored_depth;
    boost::system::error_code error;
    json::Value value = boost::json::parse(text, error, {}, options);
    if (error) fail(ErrorKind::invalid_argument, "not valid JSON: {}", error.message());
    if (!value.is_object()) fail(ErrorKind::invalid_argument, "not an object");
    return value;
}

std::int64_t version_of(const json::Value& document) {
    const json::Value* version = document.get_object().if_contains("version");
    if (!version) return 1;
    if (!version->is_int64() || version->get_int64() < 1) fail(ErrorKind::invalid_argument, "version: expected a number above 0");
    return version->get_int64();
}

ContainerRecord record_of(const json::Value& document) {
    const std::int64_t version = version_of(document);
    if (version > stored_version)
        fail(ErrorKind::invalid_argument, "it was written by a newer grua: version {}, this one reads up to {}", version, stored_version);
    if (const json::Value* lost = document.get_object().if_contains("lost"); lost && lost->is_string())
        fail(ErrorKind::invalid_argument, "{}", std::string_view(lost->get_string()));
    if (!document.get_object().contains("status")) fail(ErrorKind::invalid_argument, "it has no status");
    ContainerRecord record;
    json::detail::read(document, record, "");
    json::detail::read(document, record.state, "");
    if (record.id.empty()) fail(ErrorKind::invalid_argument, "it has no ID");
    return record;
}

/// Each member by itself: one that cannot be read is left out.
ContainerRecord as_far_as_readable(const json::Value& document) {
    ContainerRecord record;
    for (const json::Field& each : json::fields_of<ContainerRecord>()) {
        const json::Value* found = document.get_object().if_contains(each.name);
        if (!found || found->is_null()) continue;
        try {
            ContainerRecord with = record;
            each.codec->read(*found, each.of(&with), "");
            record = std::move(with);
        } catch (const Error&) {
            continue;  // The reason says more.
        }
    }
    return record;
}

UnreadableRecord unreadable(std::string_view id, std::string reason, std::string_view text) {
    ContainerRecord known;
    try {
        known = as_far_as_readable(parse_document(text));
    } catch (const Error&) {
        known = {};
    }
    return kept_aside(std::string(id), std::move(reason), std::move(known));
}

}  // namespace

UnreadableRecord kept_aside(std::string id, std::string reason, ContainerRecord known) {
    UnreadableRecord out{.id = std::move(id), .reason = std::move(reason), .shown = std::move(known)};
    out.shown.id = out.id;
    if (out.shown.name.empty()) out.shown.name = short_id(out.id);
    out.shown.state = State{};
    out.shown.state.status = Status::dead;
    out.shown.state.error = out.reason;
    // Nothing acts by itself on what is not understood.
    out.shown.host_config.auto_remove = false;
    out.shown.host_config.restart_policy = {.name = "no"};
    return out;
}

std::string to_json(const ContainerRecord& record) {
    json::Value members = json::detail::write(record, everything);
    json::Value state = json::detail::write(record.state, everything);
    boost::json::object& document = members.get_object();
    for (auto& [name, value] : state.get_object()) document.emplace(name, std::move(value));
    document.emplace("version", stored_version);
    return boost::json::serialize(document);
}

ContainerRecord record_from_json(std::string_view text) { return record_of(parse_document(text)); }

StoredRecord read_stored(std::string_view id, std::string_view text) {
    try {
        ContainerRecord record = record_from_json(text);
        if (record.id != id) fail(ErrorKind::invalid_argument, "it is the record of container {}", printable(record.id));
        return record;
    } catch (const Error& error) {
        return unreadable(id, fmt::format("its stored record cannot be read: {}", error.what()), text);
    }
}

std::string lost_document(const std::string& id, const std::string& reason) {
    return boost::json::serialize(boost::json::object{{"id", id}, {"lost", reason}, {"version", stored_version}});
}

std::string description_of(const ContainerRecord& record) {
    ContainerRecord only = record;
    only.state = {};
    only.restart_count = 0;
    only.stopped_by_user = false;
    only.interfaces.clear();
    only.ports.clear();
    only.sandbox_id.clear();
    for (auto& [name, settings] : only.networks) {
        EndpointSettings asked;
        asked.ipam_config = std::move(settings.ipam_config);
        asked.links = std::move(settings.links);
        asked.aliases = std::move(settings.aliases);
        asked.driver_opts = std::move(settings.driver_opts);
        asked.gw_priority = settings.gw_priority;
        settings = std::move(asked);
    }
    return to_json(only);
}

}  // namespace grua::engine
