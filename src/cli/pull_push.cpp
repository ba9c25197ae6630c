// pull and push: names as docker normalises them, the registry's credentials in a header, progress as a stream.
#include "cli/docker_config.hpp"
#include "cli/handlers.hpp"

#include "oci/platform.hpp"
#include "oci/reference.hpp"

#include <unistd.h>
#include <boost/json.hpp>

namespace grua::cli {

namespace {

std::vector<std::pair<std::string, std::string>> auth_header(const oci::Reference& reference) {
    return {{"X-Registry-Auth", DockerConfig::load().credentials(reference.domain()).header()}};
}

/// As docker's commands take it: "-a" goes without a tag, and without both the tag is latest.
oci::Reference named_image(const Parsed& given) {
    oci::Reference reference = oci::Reference::parse(given.arguments[0]);
    const bool all = given.flags.on("all-tags");
    if (all && !reference.is_name_only()) fail(ErrorKind::invalid_argument, "tag can't be used with --all-tags/-a");
    if (all || !reference.is_name_only()) return reference;
    reference = reference.with_default_tag();
    if (!given.flags.on("quiet")) print(fmt::format("Using default tag: {}\n", reference.tag()));
    return reference;
}

void pull_reference(client::Client& daemon, const oci::Reference& reference, const std::string& platform, Progress progress, int out) {
    client::Query query;
    query.add("fromImage", reference.name());
    if (reference.digest())
        query.add("tag", reference.digest()->text());
    else if (!reference.tag().empty())
        query.add("tag", reference.tag());
    query.add_if(!platform.empty(), "platform", platform);
    client::Stream stream = daemon.stream({.method = "POST", .target = "/images/create" + query.text(), .headers = auth_header(reference)});
    show_progress(stream, out, progress);
}

/// What a push tells beside its progress.
std::string note_of(const Value& aux) {
    if (bool_at(aux, "manifestPushedInsteadOfIndex")) {
        return fmt::format("Not all multiplatform-content is present and only the available single-platform image was pushed\n{} -> {}",
                           text_at(at(aux, "originalIndex"), "digest"), text_at(at(aux, "selectedManifest"), "digest"));
    }
    if (bool_at(aux, "contentMissing")) {
        return "The image index names manifests of platforms that are neither here nor in the registry.\nPull them, or push one "
               "platform with --platform.";
    }
    return {};
}

}  // namespace

std::string platform_text(const std::string& platform) { return platform.empty() ? platform : oci::Platform::parse(platform).text(); }

std::string platform_json(const std::string& platform) {
    const oci::Platform parsed = oci::Platform::parse(platform);
    boost::json::object out{{"architecture", parsed.architecture}, {"os", parsed.os}};
    if (!parsed.variant.empty()) out["variant"] = parsed.variant;
    return boost::json::serialize(out);
}

std::string default_platform(const Flags& flags) {
    if (flags.given("platform")) return flags.text("platform");
    const char* platform = std::getenv("DOCKER_DEFAULT_PLATFORM");
    return platform ? platform : "";
}

void require_api(client::Client& daemon, int minor, const char* what) {
    if (daemon.api_minor() >= minor) return;
    fail(ErrorKind::not_implemented, "\"{}\" requires API version 1.{}, but the Docker daemon API version is {}", what, minor,
         daemon.api_version());
}

void pull(client::Client& daemon, const std::string& image, const std::string& platform, Progress progress, int out) {
    pull_reference(daemon, oci::Reference::parse(image).with_default_tag(), platform_text(platform), progress, out);
}

std::optional<std::string> pullable_name(const std::string& image) {
    const auto is_hex = [](std::string_view text) {
        return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
    };
    if (is_hex(image) || (image.starts_with("sha256:") && is_hex(std::string_view(image).substr(7)))) return std::nullopt;
    return oci::Reference::parse(image).with_default_tag().familiar();
}

int pull_image(Context& context, const Parsed& given) {
    const bool quiet = given.flags.on("quiet");
    const oci::Reference reference = named_image(given);
    const std::string platform = platform_text(default_platform(given.flags));
    pull_reference(context.daemon(), reference, platform, quiet ? Progress::quiet : Progress::shown, STDOUT_FILENO);
    print(reference.text() + "\n");
    return 0;
}

int push_image(Context& context, const Parsed& given) {
    const Flags& flags = given.flags;
    const bool quiet = flags.on("quiet");
    const std::string platform = flags.text("platform");
    client::Query query;
    if (!platform.empty()) query.add("platform", platform_json(platform));
    const oci::Reference reference = named_image(given);
    if (reference.digest()) fail(ErrorKind::invalid_argument, "cannot push a digest reference");
    query.add_if(!reference.tag().empty(), "tag", reference.tag());
    client::Client& daemon = context.daemon();
    if (!platform.empty()) {
        require_api(daemon, 46, "platform");
        fmt::print(stderr, "Only {} of the image is pushed, without attestations; leave --platform out to push all of it.\n", platform);
    }
    std::vector<std::string> notes;
    client::Stream stream = daemon.stream({.method = "POST",
                                           .target = image_path(reference.name(), "/push" + query.text()),
                                           .body = "{}",
                                           .content_type = "application/json",
                                           .headers = auth_header(reference)});
    const auto tell_notes = [&] {
        for (const std::string& note : notes) fmt::print(stderr, "\n{}\n", note);
    };
    try {
        show_progress(stream, STDOUT_FILENO, quiet ? Progress::quiet : Progress::shown, [&](const Value& aux) {
            if (std::string note = note_of(aux); !note.empty()) notes.push_back(std::move(note));
        });
    } catch (const Error&) {
        tell_notes();
        throw;
    }
    if (quiet) print(reference.text() + "\n");
    tell_notes();
    return 0;
}

}  // namespace grua::cli
