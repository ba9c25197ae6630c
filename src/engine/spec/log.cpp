#include "engine/spec/log.hpp"

#include "base/id.hpp"
#include "base/template.hpp"
#include "base/text.hpp"
#include "monitor/journald.hpp"
#include "monitor/log_options.hpp"

#include <re2/re2.h>
#include <unistd.h>
#include <array>
#include <functional>

namespace grua::engine {
namespace {

constexpr const char* default_tag = "{{.ID}}";

using KeyForm = std::function<std::string(std::string_view)>;

/// Records of before there were others say none.
std::string driver_of(const LogConfig& config) { return config.type.empty() ? "json-file" : config.type; }

std::string value_of(const StringMap& options, const std::string& name) {
    const auto found = options.find(name);
    return found == options.end() ? std::string() : found->second;
}

/// Go's syntax, and found anywhere in a name.
class Expression {
public:
    explicit Expression(const std::string& text) : expression_(text, RE2::Quiet) {
        if (!expression_.ok()) fail(ErrorKind::invalid_argument, "error parsing regexp: {}: `{}`", expression_.error(), text);
    }
    bool is_in(const std::string& name) const { return RE2::PartialMatch(name, expression_); }

private:
    RE2 expression_;
};

/// Of `all` what `names` (by comma) and `expression` choose, in that order.
void choose(const StringMap& all, const std::string& names, const std::string& expression, const KeyForm& form, StringMap& out) {
    for (const std::string& name : split(names, ','))
        if (const auto found = all.find(name); found != all.end()) out.insert_or_assign(form(name), found->second);
    if (expression.empty()) return;
    const Expression wanted(expression);
    for (const auto& [name, value] : all)
        if (wanted.is_in(name)) out.insert_or_assign(form(name), value);
}

StringMap chosen_attributes(const ContainerRecord& record, const KeyForm& form) {
    const StringMap& options = record.host_config.log_config.config;
    StringMap environment;
    for (const std::string& each : record.config.env)
        if (const std::size_t equals = each.find('='); equals != std::string::npos)
            environment.insert_or_assign(each.substr(0, equals), each.substr(equals + 1));
    StringMap out;
    choose(record.config.labels, value_of(options, "labels"), value_of(options, "labels-regex"), form, out);
    choose(environment, value_of(options, "env"), value_of(options, "env-regex"), form, out);
    return out;
}

StringMap as_they_are(const ContainerRecord& record) {
    return chosen_attributes(record, [](std::string_view name) { return std::string(name); });
}

std::string host_name() {
    std::array<char, 256> name{};
    return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "localhost";
}

boost::json::object object_of(const StringMap& map) {
    boost::json::object out;
    for (const auto& [key, value] : map) out.emplace(key, value);
    return out;
}

boost::json::array array_of(const StringList& list) { return boost::json::array(list.begin(), list.end()); }

std::string_view without_algorithm(std::string_view digest) {
    const std::size_t colon = digest.find(':');
    return colon == std::string_view::npos ? digest : digest.substr(colon + 1);
}

/// What Docker's templates see: the fields and the methods of its logger.Info.
templates::Value template_data(const ContainerRecord& record) {
    std::string command = record.path;
    for (const std::string& each : record.args) command += " " + each;
    return boost::json::object{{"ID", std::string(short_id(record.id))},
                               {"FullID", record.id},
                               {"Name", record.name},
                               {"Command", command},
                               {"ImageID", std::string(short_id(without_algorithm(record.image_id)))},
                               {"ImageFullID", record.image_id},
                               {"ImageName", record.config.image},
                               {"Hostname", host_name()},
                               {"Config", object_of(record.host_config.log_config.config)},
                               {"ContainerID", record.id},
                               {"ContainerName", "/" + record.name},
                               {"ContainerEntrypoint", record.path},
                               {"ContainerArgs", array_of(record.args)},
                               {"ContainerImageID", record.image_id},
                               {"ContainerImageName", record.config.image},
                               {"ContainerCreated", format_time(record.created)},
                               {"ContainerEnv", array_of(record.config.env)},
                               {"ContainerLabels", object_of(record.config.labels)},
                               {"LogPath", record.log_path},
                               {"DaemonName", "docker"}};
}

std::string tag_of(const ContainerRecord& record, const std::string& otherwise) {
    std::string text = value_of(record.host_config.log_config.config, "tag");
    if (text.empty()) text = otherwise;
    if (text.empty()) return text;
    templates::TemplateOptions options;
    // (.ExtraAttributes nil).NAME, as Docker's documentation has it.
    options.method = [&record](const templates::Value&, std::string_view name,
                               std::span<const templates::Value>) -> std::optional<templates::Value> {
        if (name != "ExtraAttributes") return std::nullopt;
        return object_of(as_they_are(record));
    };
    return while_doing("log option tag", [&] { return templates::Template::parse(text).run(template_data(record), options); });
}

StringMap journal_fields(const ContainerRecord& record) {
    const std::string tag = tag_of(record, default_tag);
    StringMap out{{"CONTAINER_ID", std::string(short_id(record.id))},
                  {"CONTAINER_ID_FULL", record.id},
                  {"CONTAINER_NAME", record.name},
                  {"CONTAINER_TAG", tag},
                  {"IMAGE_NAME", record.config.image},
                  {"SYSLOG_IDENTIFIER", tag},
                  {"CONTAINER_LOG_EPOCH", random_id()}};
    for (const auto& [name, value] : chosen_attributes(record, monitor::journald_name)) out.insert_or_assign(name, value);
    return out;
}

}  // namespace

std::string log_path(const LogConfig& config, const std::string& folder, const std::string& id) {
    if (config.type == "none" || !monitor::parse_log_options(config.type, config.config).keeps_file) return {};
    if (config.type == "json-file") return fmt::format("{0}/{1}-json.log", folder, id);
    return folder + (config.type == "local" ? "/container.log" : "/container-cached.log");
}

monitor::LogFormat log_format(const ContainerRecord& record) {
    return driver_of(record.host_config.log_config) == "json-file" ? monitor::LogFormat::json : monitor::LogFormat::local;
}

monitor::LogSpec log_spec(const ContainerRecord& record) {
    const LogConfig& config = record.host_config.log_config;
    const std::string driver = driver_of(config);
    monitor::LogSpec out;
    if (driver == "none") return out;
    const monitor::LogSettings settings = monitor::parse_log_options(driver, config.config);
    out.driver = driver;
    out.path = record.log_path;
    out.max_size = settings.limits.max_size;
    out.max_files = settings.limits.max_files;
    out.compress = settings.limits.compress;
    out.buffer = settings.buffer;
    out.attributes = as_they_are(record);
    if (const std::string tag = tag_of(record, ""); !tag.empty()) out.attributes.insert_or_assign("tag", tag);
    if (driver == "journald") out.journal = journal_fields(record);
    if (driver != "syslog") return out;
    out.tag = tag_of(record, default_tag);
    out.syslog = settings.syslog;
    out.syslog->hostname = host_name();
    return out;
}

void check_log_config(const LogConfig& config) {
    monitor::check_log_driver(config.type);
    ContainerRecord any;
    any.id = std::string(64, '0');
    any.host_config.log_config = config;
    (void)log_spec(any);
    if (config.type == "syslog") monitor::check_log_peer(monitor::parse_log_options(config.type, config.config));
}

}  // namespace grua::engine
