#include "build/statements.hpp"

#include "base/files.hpp"
#include "base/utf8.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <algorithm>
#include <boost/json/parse.hpp>
#include <filesystem>
#include <new>
#include <utility>

namespace grua::build {
namespace {

namespace wb = wire::bridge;

constexpr std::string_view of_provenance = "https://slsa.dev/provenance/";

std::string base_name(std::string_view path) {
    const std::size_t slash = path.rfind('/');
    return std::string(slash == std::string_view::npos ? path : path.substr(slash + 1));
}

/// A few bytes of text may be many of memory: an end to that.
class Bounded final : public boost::json::memory_resource {
    void* do_allocate(std::size_t bytes, std::size_t alignment) override {
        if (bytes > room_) throw std::bad_alloc();
        room_ -= bytes;
        return ::operator new(bytes, std::align_val_t{alignment});
    }
    void do_deallocate(void* at, std::size_t bytes, std::size_t alignment) override {
        room_ += bytes;
        ::operator delete(at, std::align_val_t{alignment});
    }
    bool do_is_equal(const boost::json::memory_resource& other) const noexcept override { return this == &other; }

    std::size_t room_ = statement_memory_limit;
};

/// A regular file, and nothing that waits.
json::Value read_json(const Root& files, const std::string& path, std::size_t& room) {
    const Fd file = files.open_at(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    struct stat about{};
    if (::fstat(file.get(), &about) != 0) fail_errno("look at {}", path);
    if (!S_ISREG(about.st_mode)) fail(ErrorKind::invalid_argument, "it is no regular file");
    if (static_cast<std::uint64_t>(about.st_size) > room)
        fail(ErrorKind::invalid_argument, "all that is said of a result has at most {} bytes", statement_bytes_limit);
    const std::string text = read_all(file.get(), path, room);
    room -= text.size();
    boost::json::parse_options options;
    options.max_depth = json::depth_limit * 4;
    boost::system::error_code error;
    try {
        json::Value out = boost::json::parse(text, error, boost::json::make_shared_resource<Bounded>(), options);
        if (error) fail(ErrorKind::invalid_argument, "it is not valid JSON: {}", error.message());
        return out;
    } catch (const std::bad_alloc&) {
        fail(ErrorKind::invalid_argument, "it takes more than {} bytes of memory", statement_memory_limit);
    }
}

std::string text_member(const boost::json::object& of, std::string_view name) {
    const json::Value* found = of.if_contains(name);
    if (!found) return {};
    if (!found->is_string()) fail(ErrorKind::invalid_argument, "{} is no text", name);
    return std::string(std::string_view(found->get_string()));
}

Subject read_subject(const json::Value& value) {
    if (!value.is_object()) fail(ErrorKind::invalid_argument, "subject: one is no object");
    const boost::json::object& from = value.get_object();
    Subject out{.name = text_member(from, "name"), .digests = {}};
    const json::Value* digests = from.if_contains("digest");
    if (!digests || digests->is_null()) return out;
    if (!digests->is_object()) fail(ErrorKind::invalid_argument, "subject: its digest is no object");
    for (const auto& [algorithm, digest] : digests->get_object()) {
        if (!digest.is_string()) fail(ErrorKind::invalid_argument, "subject: its digest {} is no text", std::string_view(algorithm));
        out.digests.emplace(std::string_view(algorithm), std::string_view(digest.get_string()));
    }
    return out;
}

/// The result, where the statement says nothing of what it is about.
void complete(GivenStatement& out) {
    if (out.about.empty()) out.about.push_back({.is_result = true, .subject = {}});
}

void check_type(const std::string& type) {
    if (type.starts_with(of_provenance)) fail(ErrorKind::invalid_argument, "a front end may not set provenance attestations");
}

GivenStatement read_whole(json::Value document) {
    if (!document.is_object()) fail(ErrorKind::invalid_argument, "it is no in-toto statement");
    boost::json::object& from = document.get_object();
    GivenStatement out{.filename = {}, .predicate_type = text_member(from, "predicateType"), .predicate = {}, .about = {}};
    if (json::Value* predicate = from.if_contains("predicate")) out.predicate = std::move(*predicate);
    if (const json::Value* subjects = from.if_contains("subject"); subjects && !subjects->is_null()) {
        if (!subjects->is_array()) fail(ErrorKind::invalid_argument, "subject is no list");
        for (const json::Value& each : subjects->get_array()) out.about.push_back({.is_result = false, .subject = read_subject(each)});
    }
    return out;
}

std::vector<std::string> names_in(const Root& files, const std::string& path) {
    const Fd folder = files.open_at(path.empty() ? "." : path, O_RDONLY | O_DIRECTORY);
    std::vector<std::string> out;
    std::error_code error;
    for (std::filesystem::directory_iterator each{fmt::format("/proc/self/fd/{}", folder.get()), error}, end; !error && each != end;
         each.increment(error)) {
        if (out.size() == statement_count_limit) fail(ErrorKind::invalid_argument, "it has more than {} files", statement_count_limit);
        out.push_back(each->path().filename());
    }
    if (error) fail(ErrorKind::system, "cannot be listed: {}", error.message());
    std::ranges::sort(out);
    return out;
}

std::vector<GivenStatement> read_bundle(const wb::Attestation& attestation, const Root& files, std::size_t& room) {
    std::vector<GivenStatement> out;
    for (const std::string& name : names_in(files, attestation.path())) {
        while_doing(to_valid_utf8(name), [&] {
            GivenStatement one = read_whole(read_json(files, attestation.path() + "/" + name, room));
            if (!attestation.intotopredicatetype().empty() && one.predicate_type != attestation.intotopredicatetype())
                fail(ErrorKind::invalid_argument, "it is of the type {}, not of {}", to_valid_utf8(one.predicate_type),
                     to_valid_utf8(attestation.intotopredicatetype()));
            one.filename = name;
            out.push_back(std::move(one));
        });
    }
    return out;
}

GivenStatement read_predicate(const wb::Attestation& attestation, const Root& files, std::size_t& room) {
    GivenStatement out{
        .filename = base_name(attestation.path()),
        .predicate_type = attestation.intotopredicatetype(),
        .predicate = while_doing(to_valid_utf8(attestation.path()), [&] { return read_json(files, attestation.path(), room); }),
        .about = {}};
    for (const wb::InTotoSubject& each : attestation.intotosubjects()) {
        GivenStatement::About about{.is_result = each.kind() == wb::IN_TOTO_SUBJECT_KIND_Self,
                                    .subject = {.name = each.name(), .digests = {}}};
        for (const std::string& text : each.digest()) {
            const std::size_t colon = text.find(':');
            if (colon == std::string::npos) fail(ErrorKind::invalid_argument, "subject: {} is no digest", to_valid_utf8(text));
            about.subject.digests.emplace(text.substr(0, colon), text.substr(colon + 1));
        }
        out.about.push_back(std::move(about));
    }
    return out;
}

std::string metadata(const wb::Attestation& attestation, const std::string& name) {
    const auto found = attestation.metadata().find(name);
    return found == attestation.metadata().end() ? std::string() : found->second;
}

}  // namespace

std::vector<GivenStatement> read_statements(const wb::Attestation& attestation, const Root& files, std::size_t& room) {
    return while_doing("attestation", [&] {
        const bool is_bundle = attestation.kind() == wb::ATTESTATION_KIND_Bundle;
        if (!is_bundle && attestation.kind() != wb::ATTESTATION_KIND_InToto)
            fail(ErrorKind::invalid_argument, "unknown kind {}", static_cast<int>(attestation.kind()));
        if (!is_bundle && base_name(attestation.path()).empty()) fail(ErrorKind::invalid_argument, "it does not have a path");
        std::vector<GivenStatement> out;
        if (is_bundle)
            out = read_bundle(attestation, files, room);
        else
            out.push_back(read_predicate(attestation, files, room));
        const std::string core = metadata(attestation, "sbom-core");
        for (GivenStatement& each : out) {
            check_type(each.predicate_type);
            complete(each);
            each.is_core = !core.empty() && each.filename.substr(0, each.filename.find('.')) == core;
            each.inline_only = metadata(attestation, "inline-only") == "true";
        }
        // The result first, whatever else was looked at.
        std::ranges::sort(out, {}, [](const GivenStatement& each) { return std::pair(!each.is_core, each.filename); });
        return out;
    });
}

json::Value statement_of(const GivenStatement& given, const std::vector<Subject>& own) {
    std::vector<Subject> subjects;
    for (const GivenStatement::About& each : given.about) {
        if (!each.is_result) {
            subjects.push_back(each.subject);
            if (each.subject.name.empty()) subjects.back().name = "_";
            continue;
        }
        for (const Subject& result : own) {
            subjects.push_back(result);
            if (!each.subject.name.empty() && each.subject.name != "_")
                subjects.push_back({.name = each.subject.name, .digests = result.digests});
        }
    }
    return in_toto_statement(given.predicate_type, subjects, given.predicate);
}

}  // namespace grua::build
