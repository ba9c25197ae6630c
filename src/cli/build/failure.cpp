#include "cli/build/failure.hpp"

#include "base/encoding.hpp"
#include "base/text.hpp"
#include "build/wire/common.pb.h"
#include "cli/build/json_source.hpp"
#include "cli/context.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <boost/json.hpp>
#include <optional>

namespace grua::cli {
namespace {

using grua::wire::errors::Source;
using grua::wire::graph::Range;

constexpr std::string_view type_name = "errdefs.Source";
constexpr std::string_view as_json = "+json";
constexpr int lines_around = 2;
constexpr int lines_around_one = 4;

std::optional<Source> read_source(const grua::wire::common::Any& any) {
    std::string_view type = any.type_url();
    const bool is_json = type.ends_with(as_json);
    if (is_json) type.remove_suffix(as_json.size());
    if (!type.ends_with(type_name)) return std::nullopt;
    Source out;
    if (!is_json) return out.ParseFromString(any.value()) ? std::optional(std::move(out)) : std::nullopt;
    boost::system::error_code error;
    const Value parsed = boost::json::parse(any.value(), error);
    if (error) return std::nullopt;
    *out.mutable_info() = read_json_source(at(parsed, "info"));
    read_json_ranges(at(parsed, "ranges"), *out.mutable_ranges());
    return out;
}

int last_line(const Range& range) { return std::max(range.start().line(), range.end().line()); }

}  // namespace

grua::wire::graph::SourceInfo read_json_source(const Value& value) {
    grua::wire::graph::SourceInfo out;
    out.set_filename(text_at(value, "filename"));
    out.set_language(text_at(value, "language"));
    out.set_data(base64_decode(text_at(value, "data")).value_or(""));
    return out;
}

void read_json_ranges(const Value& value, google::protobuf::RepeatedPtrField<Range>& out) {
    const auto* list = value.if_array();
    if (!list) return;
    for (const Value& each : *list) {
        Range& range = *out.Add();
        range.mutable_start()->set_line(static_cast<std::int32_t>(number_at(at(each, "start"), "line")));
        range.mutable_end()->set_line(static_cast<std::int32_t>(number_at(at(each, "end"), "line")));
    }
}

std::vector<Source> sources_of(const grpc::Status& status) {
    std::vector<Source> out;
    grua::wire::common::Status details;
    if (!details.ParseFromString(status.details)) return out;
    for (const auto& each : details.details())
        if (auto source = read_source(each)) out.push_back(std::move(*source));
    return out;
}

std::string excerpt_of(const grua::wire::graph::SourceInfo& file, const google::protobuf::RepeatedPtrField<Range>& ranges) {
    if (ranges.empty()) return {};
    const std::vector<std::string> lines = split(file.data(), '\n');
    const auto count = static_cast<int>(lines.size());
    int first = ranges[0].start().line();
    int last = last_line(ranges[0]);
    for (const Range& each : ranges) {
        first = std::min(first, each.start().line());
        last = std::max(last, last_line(each));
    }
    if (first < 1 || first > count) return {};
    last = std::min(last, count);
    const int named = first;
    const int around = first == last ? lines_around_one : lines_around;
    for (int steps = 0; steps < around; ++steps) {
        if (first > 1) {
            --first;
            ++steps;
        }
        if (last < count) {
            ++last;
            ++steps;
        }
    }
    const auto is_meant = [&](int line) {
        return std::ranges::any_of(ranges, [&](const Range& each) { return each.start().line() <= line && line <= last_line(each); });
    };
    std::string out = fmt::format("{}:{}\n--------------------\n", printable(file.filename()), named);
    for (int line = first; line <= last; ++line)
        out += fmt::format(" {:3} | {} {}\n", line, is_meant(line) ? ">>>" : "   ", printable(lines[static_cast<std::size_t>(line - 1)]));
    return out + "--------------------\n";
}

}  // namespace grua::cli
