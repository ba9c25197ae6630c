#include "build/attestations.hpp"

#include "base/text.hpp"
#include "base/utf8.hpp"
#include "build/dockerfile/flags.hpp"
#include "build/dockerfile/source.hpp"

#include <optional>
#include <string_view>
#include <utility>

namespace grua::build {
namespace {

using Attributes = std::map<std::string, std::string>;

// The scanner that BuildKit takes where nobody names one.
constexpr std::string_view default_scanner = "docker/buildkit-syft-scanner:stable-1";

Attributes read_attributes(const std::string& text) {
    Attributes out;
    if (text.empty()) return out;
    for (const std::string& field : dockerfile::detail::csv_fields(text)) {
        const std::size_t sign = field.find('=');
        out[field.substr(0, sign)] = sign == std::string::npos ? std::string() : field.substr(sign + 1);
    }
    return out;
}

std::optional<std::string> take(Attributes& attributes, const std::string& name) {
    const auto found = attributes.find(name);
    if (found == attributes.end()) return std::nullopt;
    return std::move(attributes.extract(found).mapped());
}

bool take_flag(Attributes& attributes, const std::string& name) {
    const auto text = take(attributes, name);
    if (!text) return false;
    const dockerfile::Truth truth = dockerfile::parse_truth(*text);
    if (truth == dockerfile::Truth::unknown)
        fail(ErrorKind::invalid_argument, "failed to parse {} flag {}", name, dockerfile::in_quotes(*text));
    return truth == dockerfile::Truth::yes;
}

ProvenanceWish::Mode mode_of(const std::string& text) {
    if (text == "min") return ProvenanceWish::Mode::min;
    if (text == "max" || text == "full") return ProvenanceWish::Mode::max;
    fail(ErrorKind::invalid_argument, "invalid mode {}", dockerfile::in_quotes(text));
}

ProvenanceWish::Form form_of(const std::string& text) {
    if (text == "v0.2") return ProvenanceWish::Form::slsa_0_2;
    if (text == "v1") return ProvenanceWish::Form::slsa_1;
    if (text.empty()) fail(ErrorKind::invalid_argument, "provenance SLSA version cannot be empty");
    fail(ErrorKind::invalid_argument, "invalid provenance SLSA version: {}", to_valid_utf8(text));
}

bool is_plain_name(const std::string& name) {
    return !name.empty() && name != "." && name != ".." && !name.contains('/') && !name.contains('\0');
}

ProvenanceWish read_provenance(Attributes attributes) {
    ProvenanceWish out;
    if (const auto mode = take(attributes, "mode")) out.mode = mode_of(*mode);
    if (const auto form = take(attributes, "version")) out.form = form_of(*form);
    out.builder_id = take(attributes, "builder-id").value_or("");
    if (const auto name = take(attributes, "filename")) {
        if (!is_plain_name(*name)) fail(ErrorKind::invalid_argument, "filename: {} is no name of a file", dockerfile::in_quotes(*name));
        out.filename = *name;
    }
    out.is_reproducible = take_flag(attributes, "reproducible");
    out.inline_only = take_flag(attributes, "inline-only");
    // What a step has used of the machine.
    if (take_flag(attributes, "capture-usage")) fail(ErrorKind::not_implemented, "not implemented: capture-usage");
    if (!attributes.empty()) fail(ErrorKind::invalid_argument, "unknown attribute {}", dockerfile::in_quotes(attributes.begin()->first));
    return out;
}

SbomWish read_sbom(Attributes attributes) {
    const std::string name = take(attributes, "generator").value_or(std::string(default_scanner));
    if (name.empty()) fail(ErrorKind::invalid_argument, "sbom generator cannot be empty");
    const oci::Reference generator = while_doing(fmt::format("failed to parse sbom generator {}", to_valid_utf8(name)),
                                                 [&] { return oci::Reference::parse(name).with_default_tag(); });
    return {.generator = generator, .parameters = std::move(attributes)};
}

}  // namespace

AttestationWishes parse_attestations(const ClientOptions& options) {
    std::map<std::string, std::string> wanted;
    const auto read = [&](std::string_view prefix) {
        for (auto each = options.lower_bound(prefix); each != options.end() && each->first.starts_with(prefix); ++each)
            wanted[to_lower(each->first.substr(prefix.size()))] = each->second;
    };
    read("build-arg:BUILDKIT_ATTEST_");
    read("attest:");  // The last one counts.
    AttestationWishes out;
    for (const auto& [type, text] : wanted) {
        while_doing("attest:" + to_valid_utf8(type), [&] {
            if (type != "provenance" && type != "sbom")
                fail(ErrorKind::invalid_argument, "unknown attestation type {}", dockerfile::in_quotes(type));
            Attributes attributes = read_attributes(text);
            take(attributes, "type");
            if (take_flag(attributes, "disabled")) return;
            if (type == "provenance")
                out.provenance = read_provenance(std::move(attributes));
            else
                out.sbom = read_sbom(std::move(attributes));
        });
    }
    return out;
}

}  // namespace grua::build
