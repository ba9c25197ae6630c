#include "build/history_record.hpp"

#include "base/codec.hpp"
#include "base/error.hpp"
#include "base/units.hpp"
#include "base/utf8.hpp"
#include "build/journal.hpp"

#include <algorithm>
#include <array>
#include <map>

namespace grua::build {
namespace {

constexpr std::string_view mask = "xxxxx";
constexpr int cancelled = 1;  // gRPC's code

bool ends_authority(char c) noexcept {
    return c == '/' || c == '?' || c == '#' || c == '"' || c == '\'' || static_cast<unsigned char>(c) <= ' ';
}

bool is_scheme_character(char c) noexcept {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.';
}

std::string masked(std::string_view user_info, std::string_view scheme) {
    const std::size_t colon = user_info.find(':');
    if (colon == std::string_view::npos) return std::string(to_lower(scheme) == "ssh" ? user_info : mask);
    return fmt::format("{}:{}", colon == 0 ? std::string_view() : mask, mask);
}

struct CacheImport {
    std::string type;
    std::map<std::string, std::string> attrs;

    template <typename Self = CacheImport>
    static json::Fields fields() {
        return json::Fields{json::field("Type", &Self::type), json::field("Attrs", &Self::attrs)};
    }
};
struct CacheImports {
    std::vector<CacheImport> list;

    template <typename Self = CacheImports>
    static json::Fields fields() {
        return json::Fields{json::field("list", &Self::list)};
    }
};

/// Where a cache comes from, without the tokens for it; nothing of a text that says no such thing.
std::string shown_imports(const std::string& text) {
    try {
        CacheImports imports = json::parse<CacheImports>(fmt::format(R"({{"list":{}}})", text));
        for (CacheImport& each : imports.list)
            std::erase_if(each.attrs, [](const auto& attr) { return attr.first != "ref" && attr.first != "scope"; });
        std::string out = json::dump(imports, json::Version{});
        out = out.substr(out.find('['));
        out.pop_back();
        return text_without_credentials(out);
    } catch (const Error&) {
        return {};
    }
}

void copy_attributes(const google::protobuf::Map<std::string, std::string>& from, google::protobuf::Map<std::string, std::string>& to) {
    for (const auto& [name, value] : from)
        to[to_valid_utf8(name)] = name == "cache-imports" ? shown_imports(value) : to_valid_utf8(text_without_credentials(value));
}

Time time_of(const wire::common::Timestamp& time) {
    return Time{std::chrono::seconds(time.seconds())} + std::chrono::nanoseconds(time.nanos());
}

/// Where a build's files come from, where that is a repository of git's.
std::optional<std::string> repository_of(const HistoryRecord& record) {
    const auto& attributes = record.frontendattrs();
    if (const auto found = attributes.find("vcs:source"); found != attributes.end()) return found->second;
    const auto found = attributes.find("context");
    if (found == attributes.end()) return std::nullopt;
    const std::string_view context = std::string_view(found->second).substr(0, found->second.find('#'));
    static constexpr std::array schemes{"git://", "git@", "ssh://", "github.com/"};
    const bool is_git = std::ranges::any_of(schemes, [&](const char* each) { return context.starts_with(each); }) ||
                        ((context.starts_with("http://") || context.starts_with("https://")) && context.ends_with(".git"));
    return is_git ? std::optional(std::string(context)) : std::nullopt;
}

std::optional<std::string> field_of(const HistoryRecord& record, const std::string& path) {
    if (path == "ref") return record.ref();
    if (path == "status") return std::string(status_of(record));
    if (path == "repository") return repository_of(record);
    return std::nullopt;
}

struct Comparison {
    std::string name;
    std::string sign;
    std::string value;
};

std::optional<Comparison> parse_comparison(const std::string& text) {
    for (const char* sign : {">=", "<=", ">", "<"}) {
        const std::size_t at = text.find(sign);
        if (at == std::string::npos) continue;
        Comparison out{.name = text.substr(0, at), .sign = sign, .value = text.substr(at + std::string_view(sign).size())};
        if (out.name != "startedAt" && out.name != "completedAt" && out.name != "duration") return std::nullopt;
        return out;
    }
    return std::nullopt;
}

bool compare(std::int64_t left, std::string_view sign, std::int64_t right) {
    if (sign == ">=") return left >= right;
    if (sign == "<=") return left <= right;
    return sign == ">" ? left > right : left < right;
}

std::optional<std::int64_t> duration_of(const std::string& text) {
    try {
        return parse_duration(text);
    } catch (const Error&) {
        return std::nullopt;
    }
}

std::function<bool(const HistoryRecord&)> by_time(const Comparison& comparison, Time now) {
    const std::optional<std::int64_t> duration = duration_of(comparison.value);
    if (comparison.name == "duration") {
        if (!duration) fail(ErrorKind::invalid_argument, "invalid duration {}", comparison.value);
        return [wanted = *duration, sign = comparison.sign](const HistoryRecord& record) {
            const auto took =
                record.has_completedat() ? time_of(record.completedat()) - time_of(record.createdat()) : std::chrono::nanoseconds{};
            return compare(took.count(), sign, wanted);
        };
    }
    const std::optional<Time> time = duration ? std::optional(now - std::chrono::nanoseconds(*duration)) : parse_time(comparison.value);
    if (!time) fail(ErrorKind::invalid_argument, "invalid time {}", comparison.value);
    return [wanted = std::chrono::floor<std::chrono::seconds>(*time).time_since_epoch().count(), sign = comparison.sign,
            is_start = comparison.name == "startedAt"](const HistoryRecord& record) {
        return compare(is_start ? record.createdat().seconds() : record.completedat().seconds(), sign, wanted);
    };
}

}  // namespace

std::string text_without_credentials(std::string_view text) {
    static constexpr std::string_view sign = "://";
    std::string out;
    std::size_t done = 0;
    for (std::size_t at = text.find(sign); at != std::string_view::npos; at = text.find(sign, at + sign.size())) {
        const std::size_t begin = at + sign.size();
        std::size_t end = begin;
        while (end < text.size() && !ends_authority(text[end])) ++end;
        const std::size_t user_end = text.substr(begin, end - begin).rfind('@');
        if (user_end == std::string_view::npos || user_end == 0) continue;
        std::size_t scheme = at;
        while (scheme > 0 && is_scheme_character(text[scheme - 1])) --scheme;
        out += text.substr(done, begin - done);
        out += masked(text.substr(begin, user_end), text.substr(scheme, at - scheme));
        done = begin + user_end;
    }
    out += text.substr(done);
    return out;
}

HistoryRecord begin_record(const wire::control::SolveRequest& request, Time now) {
    HistoryRecord out;
    out.set_ref(to_valid_utf8(request.ref()));
    out.set_frontend(to_valid_utf8(request.frontend()));
    copy_attributes(request.frontendattrs(), *out.mutable_frontendattrs());
    for (const wire::control::Exporter& each : request.exporters()) {
        wire::control::Exporter& exporter = *out.add_exporters();
        exporter.set_type(to_valid_utf8(each.type()));
        copy_attributes(each.attrs(), *exporter.mutable_attrs());
    }
    if (request.exporters().empty() && !request.exporterdeprecated().empty()) {
        wire::control::Exporter& exporter = *out.add_exporters();
        exporter.set_type(to_valid_utf8(request.exporterdeprecated()));
        copy_attributes(request.exporterattrsdeprecated(), *exporter.mutable_attrs());
    }
    *out.mutable_createdat() = to_timestamp(now);
    return out;
}

void count_steps(const std::vector<wire::control::StatusResponse>& told, HistoryRecord& out) {
    struct Step {
        bool is_cached = false;
        bool is_completed = false;
    };
    std::map<std::string_view, Step> steps;
    int warnings = 0;
    for (const auto& each : told) {
        warnings += each.warnings_size();
        for (const wire::control::Vertex& vertex : each.vertexes()) {
            Step& step = steps[vertex.digest()];
            step.is_cached |= vertex.cached();
            step.is_completed |= vertex.has_completed();
        }
    }
    out.set_numtotalsteps(static_cast<int>(steps.size()));
    out.set_numcachedsteps(static_cast<int>(std::ranges::count_if(steps, [](const auto& each) { return each.second.is_cached; })));
    out.set_numcompletedsteps(static_cast<int>(std::ranges::count_if(steps, [](const auto& each) { return each.second.is_completed; })));
    out.set_numwarnings(warnings);
}

std::string write_log(const std::vector<wire::control::StatusResponse>& told) {
    std::string out;
    for (const auto& each : told) {
        const auto size = static_cast<std::uint32_t>(each.ByteSizeLong());
        for (const unsigned shift : {0U, 8U, 16U, 24U}) out.push_back(static_cast<char>((size >> shift) & 0xffU));
        each.AppendToString(&out);
    }
    return out;
}

std::string_view status_of(const HistoryRecord& record) {
    if (!record.has_completedat()) return "running";
    if (!record.has_error()) return "completed";
    return record.error().code() == cancelled || record.error().message().contains("context canceled") ? "canceled" : "error";
}

HistoryFilter HistoryFilter::parse(const std::vector<std::string>& lines, Time now) {
    if (lines.size() > filter_limit) fail(ErrorKind::invalid_argument, "filter: more than {} of them", filter_limit);
    HistoryFilter out;
    for (const std::string& line : lines) {
        if (line.size() > filter_size_limit) fail(ErrorKind::invalid_argument, "filter: longer than {} bytes", filter_size_limit);
        std::vector<Condition> all;
        std::vector<std::string> selectors;
        for (std::string& field : split_csv(line)) {
            if (const auto comparison = parse_comparison(field))
                all.push_back(by_time(*comparison, now));
            else
                selectors.push_back(std::move(field));
        }
        if (!selectors.empty())
            all.emplace_back([filter = Filter::parse({join(selectors, ",")})](const HistoryRecord& record) {
                return filter.matches([&](const std::string& path) { return field_of(record, path); });
            });
        out.any_.push_back(std::move(all));
    }
    return out;
}

bool HistoryFilter::matches(const HistoryRecord& record) const {
    if (any_.empty()) return true;
    return std::ranges::any_of(any_,
                               [&](const auto& all) { return std::ranges::all_of(all, [&](const auto& is_so) { return is_so(record); }); });
}

}  // namespace grua::build
