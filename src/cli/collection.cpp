// system gc and system check: the daemon tells each decision or finding on a line of its own, and the sums on the last one.
// These two are grua's own part of the API (POST /grua/gc, POST /grua/check).
#include "cli/handlers.hpp"
#include "cli/output.hpp"
#include "cli/units.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <array>
#include <boost/json.hpp>

namespace grua::cli {

namespace {

struct Answer {
    std::vector<Value> lines;
    Value sums;  ///< Null where the stream ended without them.
};

/// The sums are the one line without a kind. Throws Error for a message of failure in the stream.
Answer read_answer(client::Client& daemon, const std::string& target) {
    client::Stream stream = [&] {
        try {
            return daemon.stream({.method = "POST", .target = target});
        } catch (const client::ApiError& error) {
            // Another engine answers as to any path that it does not know.
            if (error.status() != 404) throw;
            fail(ErrorKind::not_implemented, "the daemon has no {}: it is no gruad, or an older one", target.substr(0, target.find('?')));
        }
    }();
    Answer out;
    while (const auto line = stream.response.read_line()) {
        if (trim(*line).empty()) continue;
        boost::system::error_code error;
        Value parsed = boost::json::parse(*line, error);
        if (error) fail(ErrorKind::unavailable, "the daemon's answer is not JSON: {}", error.message());
        std::string failed = text_at(at(parsed, "errorDetail"), "message");
        if (failed.empty()) failed = text_at(parsed, "error");
        if (!failed.empty()) fail(ErrorKind::system, "{}", failed);
        if (at(parsed, "kind").is_null())
            out.sums = std::move(parsed);
        else
            out.lines.push_back(std::move(parsed));
    }
    if (out.sums.is_null()) fail(ErrorKind::unavailable, "the daemon's answer ended before its end");
    return out;
}

std::string size_text(std::int64_t bytes) { return human_size(static_cast<double>(bytes), 3); }

std::string counted(std::int64_t count, std::string_view singular, std::string_view plural) {
    return fmt::format("{} {}", count, count == 1 ? singular : plural);
}

std::string shown_id(const Value& line, bool truncate) {
    const std::string id = text_at(line, "id");
    return truncate && id.starts_with("sha256:") ? id.substr(7, 12) : id;
}

constexpr std::array decision_headings{Heading{"Action", "ACTION"}, Heading{"Kind", "KIND"}, Heading{"ID", "ID"},
                                       Heading{"Name", "NAME"},     Heading{"Size", "SIZE"}, Heading{"Reason", "REASON"}};

Value decision_row(const Value& line, bool truncate) {
    return boost::json::object{{"Action", text_at(line, "action")},
                               {"Kind", text_at(line, "kind")},
                               {"ID", shown_id(line, truncate)},
                               {"Name", text_at(line, "name")},
                               {"Size", size_text(number_at(line, "size"))},
                               {"Reason", text_at(line, "reason")}};
}

constexpr std::array finding_headings{Heading{"Kind", "KIND"}, Heading{"ID", "ID"}, Heading{"Problem", "PROBLEM"},
                                      Heading{"Repaired", "REPAIRED"}};

Value finding_row(const Value& line, bool truncate) {
    return boost::json::object{{"Kind", text_at(line, "kind")},
                               {"ID", shown_id(line, truncate)},
                               {"Problem", text_at(line, "problem")},
                               {"Repaired", bool_at(line, "repaired") ? "yes" : "no"}};
}

}  // namespace

int collect_garbage(Context& context, const Parsed& given) {
    const Flags& flags = given.flags;
    const bool dry = flags.on("dry-run");
    const Answer answer = read_answer(context.daemon(), dry ? "/grua/gc?dry-run=1" : "/grua/gc");
    std::vector<Value> rows;
    const auto add = [&](std::string_view action) {
        for (const Value& line : answer.lines) {
            if (text_at(line, "action") == action) rows.push_back(decision_row(line, !flags.on("no-trunc")));
        }
    };
    add("remove");
    // What stays is told where it was asked for: a dry run is there to explain.
    if (dry || flags.on("all")) add("keep");
    const std::string format = flags.text("format");
    const Listing listing{.default_table = "{{.Action}}\t{{.Kind}}\t{{.ID}}\t{{.Name}}\t{{.Size}}\t{{.Reason}}",
                          .headings = decision_headings};
    if (!rows.empty() || !format.empty()) print(render_rows(listing, format, rows));
    if (!format.empty() && !format.starts_with("table")) return 0;
    const std::int64_t removed = number_at(answer.sums, "removed");
    const std::string kept = fmt::format("{} kept", number_at(answer.sums, "kept"));
    const std::string reclaimed = size_text(number_at(answer.sums, "reclaimed"));
    if (!rows.empty()) print("\n");
    if (removed == 0)
        print(fmt::format("Nothing to remove, {}.\n", kept));
    else if (dry)
        print(fmt::format("Would remove {} and reclaim {}, {}. Nothing was changed.\n", counted(removed, "object", "objects"), reclaimed,
                          kept));
    else
        print(fmt::format("Removed {}, {}.\nTotal reclaimed space: {}\n", counted(removed, "object", "objects"), kept, reclaimed));
    return 0;
}

int check_store(Context& context, const Parsed& given) {
    const Flags& flags = given.flags;
    const bool repair = flags.on("repair");
    const Answer answer = read_answer(context.daemon(), repair ? "/grua/check?repair=1" : "/grua/check");
    std::vector<Value> rows;
    rows.reserve(answer.lines.size());
    for (const Value& line : answer.lines) rows.push_back(finding_row(line, !flags.on("no-trunc")));
    const std::int64_t problems = number_at(answer.sums, "problems");
    const std::int64_t left = problems - number_at(answer.sums, "repaired");
    const int status = left > 0 ? 1 : 0;
    const std::string format = flags.text("format");
    const Listing listing{.default_table = "{{.Kind}}\t{{.ID}}\t{{.Problem}}\t{{.Repaired}}", .headings = finding_headings};
    if (!rows.empty() || !format.empty()) print(render_rows(listing, format, rows));
    if (!format.empty() && !format.starts_with("table")) return status;
    if (!rows.empty()) print("\n");
    const std::string checked = fmt::format("Checked {}, {}", counted(number_at(answer.sums, "checked"), "object", "objects"),
                                            size_text(number_at(answer.sums, "bytes")));
    if (problems == 0) {
        print(checked + ": no problems.\n");
    } else if (!repair) {
        print(fmt::format("{}: {}. `grua system check --repair` fetches again what is broken.\n", checked,
                          counted(problems, "problem", "problems")));
    } else if (left == 0) {
        print(fmt::format("{}: {}, all repaired.\n", checked, counted(problems, "problem", "problems")));
    } else {
        print(fmt::format("{}: {}, {} repaired, {} left.\n", checked, counted(problems, "problem", "problems"), problems - left, left));
    }
    return status;
}

}  // namespace grua::cli
