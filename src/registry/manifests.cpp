// Manifests, tags, referrers: documents that are read.
#include "base/log.hpp"
#include "base/text.hpp"
#include "registry/challenge.hpp"
#include "registry/client_impl.hpp"

#include "content/hash.hpp"

#include <algorithm>
#include <array>
#include <set>

namespace grua::registry {
namespace {

constexpr std::size_t list_size_limit = std::size_t{8} << 20U;
constexpr std::size_t page_limit = 1000;
constexpr std::size_t tag_count_limit = 200'000;
constexpr std::size_t page_size = 1000;

constexpr std::array schema1_types{std::string_view("application/vnd.docker.distribution.manifest.v1+json"),
                                   std::string_view("application/vnd.docker.distribution.manifest.v1+prettyjws")};

struct Tags {
    std::vector<std::string> tags;
    template <typename Self = Tags>
    static json::Fields fields() {
        return json::Fields{json::field("tags", &Self::tags)};
    }
};

std::string object_of(const oci::Reference& reference) { return reference.digest() ? reference.digest()->text() : reference.tag(); }

[[noreturn]] void refuse(const oci::Reference& reference, const std::string& why, Retry retry = Retry::elsewhere) {
    throw Failure(ErrorKind::invalid_argument, fmt::format("manifest {}: {}", reference.familiar(), why), retry, 200);
}

[[noreturn]] void refuse_schema1(const oci::Reference& reference) {
    throw Failure(
        ErrorKind::invalid_argument,
        fmt::format("Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been removed. Suggest the "
                    "author of {} to upgrade the image to the OCI Format or Docker Image manifest v2, schema 2. More information at "
                    "https://docs.docker.com/go/deprecated-image-specs/",
                    reference.text()),
        Retry::never, 200);
}

/// The digest that a registry claims, strictly parsed: it is going to be a file's name (CVE-2024-3727).
std::optional<oci::Digest> claimed_digest(const Response& response, const oci::Reference& reference) {
    const std::string_view text = response.header("docker-content-digest");
    if (text.empty()) return std::nullopt;
    std::optional<oci::Digest> digest = oci::Digest::parse(text);
    if (!digest) refuse(reference, fmt::format("invalid digest \"{}\" in the answer", text.substr(0, 100)));
    return digest;
}

std::string media_type_of(std::string_view header) { return to_lower(trim(header.substr(0, header.find(';')))); }

/// Types that say nothing about what a document is.
bool is_vague(std::string_view type) {
    return type.empty() || type == "application/json" || type == "text/plain" || type == "application/octet-stream" || type == "text/json";
}

Manifest read_manifest(Session& session, const oci::Reference& reference) {
    Request request;
    request.url = session.endpoint().url("manifests/" + object_of(reference));
    request.headers.push_back("Accept: " + accept_manifests());
    request.body_limit = oci::manifest_size_limit;
    Response response = session.expect(request, {200});

    const std::optional<oci::Digest> wanted = reference.digest() ? reference.digest() : claimed_digest(response, reference);
    const oci::Digest actual = content::digest_of(response.body, wanted ? wanted->algorithm() : "sha256");
    if (wanted && *wanted != actual) {
        refuse(reference, fmt::format("manifest verification failed for digest {}: {} sent {}", wanted->text(),
                                      session.endpoint().authority(), actual.text()));
    }
    Manifest out;
    out.descriptor.media_type = checked_media_type(response.header("content-type"), response.body, reference);
    out.descriptor.digest = actual.text();
    out.descriptor.size = response.body.size();
    out.bytes = std::move(response.body);
    out.host = session.endpoint().authority();
    out.rate_limit = rate_limit_of(response);
    if (out.rate_limit) {
        log::info("registry {}: {}", out.host, describe(*out.rate_limit));
    }
    return out;
}

/// Follows Link from page to page; `take` is given each body.
template <typename Take>
void each_page(Session& session, Url url, Take&& take) {
    std::set<std::string> seen;
    for (std::size_t page = 0; page < page_limit && seen.insert(url.text()).second; ++page) {
        Request request;
        request.url = url;
        request.body_limit = list_size_limit;
        const Response response = session.expect(request, {200});
        if (!while_doing(request.text(), [&] { return take(response); })) return;
        const std::optional<std::string> next = next_link(response.header("link"));
        if (!next) return;
        url = request.url.resolve(*next);
        // A page of another host would be asked with this one's rights.
        if (!url.same_origin(request.url)) {
            throw Failure(ErrorKind::unavailable,
                          fmt::format("{}: the next page is on another host, {}", request.url.text(), url.authority()), Retry::elsewhere);
        }
    }
}

}  // namespace

std::string accept_manifests() {
    return fmt::format("{}, {}, {}, {}", oci::media_type::index, oci::media_type::manifest, oci::media_type::docker_index,
                       oci::media_type::docker_manifest);
}

std::string checked_media_type(std::string_view content_type, std::string_view document, const oci::Reference& reference) {
    const std::string announced = media_type_of(content_type);
    if (std::ranges::find(schema1_types, announced) != schema1_types.end()) refuse_schema1(reference);

    try {
        oci::check_value_count(document, "it");
    } catch (const Error& error) {
        refuse(reference, error.what());
    }
    boost::json::parse_options options;
    options.max_depth = json::depth_limit;
    boost::system::error_code error;
    const json::Value value = boost::json::parse(document, error, {}, options);
    const boost::json::object* object = value.if_object();
    if (error || !object) refuse(reference, error ? fmt::format("not valid JSON: {}", error.message()) : std::string("not an object"));
    // As Go reads it: without regard to case.
    const auto has = [&](std::string_view name) { return json::detail::find_member(*object, name) != nullptr; };
    const json::Value* version = json::detail::find_member(*object, "schemaVersion");
    if (has("fsLayers") || (version && version->is_int64() && version->get_int64() == 1)) refuse_schema1(reference);

    std::string stated;
    if (const json::Value* type = json::detail::find_member(*object, "mediaType"); type && type->is_string()) stated = type->get_string();
    if (std::ranges::find(schema1_types, stated) != schema1_types.end()) refuse_schema1(reference);

    // CVE-2021-41190: one document that is a manifest to the one and an index to the other.
    const bool like_manifest = has("config") || has("layers");
    const bool like_index = has("manifests");
    if (like_manifest && like_index) refuse(reference, "the document is an image manifest and an index at once");
    if (!stated.empty() && !is_vague(announced) && stated != announced) {
        refuse(reference, fmt::format("Content-Type \"{}\" is not the document's mediaType \"{}\"", announced, stated));
    }
    const std::string type = !stated.empty()       ? stated
                             : is_vague(announced) ? std::string(like_index ? oci::media_type::index : oci::media_type::manifest)
                                                   : announced;
    if (!oci::is_manifest(type) && !oci::is_index(type)) {
        throw Failure(ErrorKind::invalid_argument,
                      fmt::format("manifest {}: unsupported media type {}", reference.familiar(), type.substr(0, 200)), Retry::elsewhere,
                      200);
    }
    if (oci::is_manifest(type) ? like_index : like_manifest) {
        refuse(reference, fmt::format("the document is not what its media type \"{}\" says", type));
    }
    return type;
}

Client::Client(const Options& options) : impl_(std::make_unique<Impl>(options)) {}
Client::~Client() = default;

void Client::reload(const Options& options) { impl_->core.reload(options); }

std::optional<std::string> Client::alias(std::string_view name) const { return impl_->core.rules()->alias(name); }

Manifest Client::manifest(const oci::Reference& reference, const Access& access) const {
    const oci::Reference full = reference.with_default_tag();
    try {
        return from_hosts(impl_->core, full, Operation::resolve, std::string(pull_action), access,
                          [&](Session& session) { return read_manifest(session, full); });
    } catch (const Failure& failure) {
        rethrow_for_pull(failure, full);
    }
}

std::optional<oci::Descriptor> Client::head_manifest(const oci::Reference& reference, const Access& access) const {
    const oci::Reference full = reference.with_default_tag();
    const auto head = [&](Session& session) -> std::optional<oci::Descriptor> {
        Request request;
        request.method = "HEAD";
        request.url = session.endpoint().url("manifests/" + object_of(full));
        request.headers.push_back("Accept: " + accept_manifests());
        const Response response = session.expect(request, {200});
        std::optional<oci::Digest> digest = claimed_digest(response, full);
        if (!digest) digest = full.digest();
        const std::string type = media_type_of(response.header("content-type"));
        const bool known = oci::is_manifest(type) || oci::is_index(type);
        if (digest && known && response.content_length) return oci::Descriptor{type, digest->text(), *response.content_length, {}, {}};
        // An old registry, or one that says nothing by HEAD.
        return read_manifest(session, full).descriptor;
    };
    try {
        return from_hosts(impl_->core, full, Operation::resolve, std::string(pull_action), access, head);
    } catch (const Failure& failure) {
        if (failure.status() == 404) return std::nullopt;
        rethrow_for_pull(failure, full);
    }
}

std::vector<std::string> Client::tags(const oci::Reference& repository, const Access& access) const {
    const auto list = [&](Session& session) {
        std::vector<std::string> out;
        Url url = session.endpoint().url("tags/list");
        url.add_query("n", std::to_string(page_size));
        each_page(session, std::move(url), [&](const Response& response) {
            oci::check_value_count(response.body, "tags");
            for (std::string& tag : json::parse<Tags>(response.body).tags) {
                if (out.size() >= tag_count_limit) fail(ErrorKind::invalid_argument, "{}: too many tags", repository.familiar_name());
                // What is no tag cannot be pulled by it.
                if (oci::is_valid_tag(tag)) out.push_back(std::move(tag));
            }
            return true;
        });
        return out;
    };
    try {
        return from_hosts(impl_->core, repository, Operation::resolve, std::string(pull_action), access, list);
    } catch (const Failure& failure) {
        rethrow_for_pull(failure, repository);
    }
}

std::vector<oci::Descriptor> Client::referrers(const oci::Reference& repository, const oci::Digest& digest, const Access& access) const {
    const auto by_api = [&](Session& session) -> std::optional<std::vector<oci::Descriptor>> {
        std::vector<oci::Descriptor> out;
        try {
            each_page(session, session.endpoint().url("referrers/" + digest.text()), [&](const Response& response) {
                oci::Index index = oci::parse_index(response.body);
                std::ranges::move(index.manifests, std::back_inserter(out));
                return out.size() < oci::index_entry_limit;
            });
        } catch (const Failure& failure) {
            // A registry of before OCI 1.1 has no such address.
            if (failure.status() == 404 || failure.status() == 405 || failure.status() == 400) return std::nullopt;
            throw;
        }
        return out;
    };
    const auto by_tag = [&](Session& session) {
        const oci::Reference tag = repository.with_tag(fmt::format("{}-{}", digest.algorithm(), digest.hex().substr(0, 64)));
        try {
            return oci::parse_index(read_manifest(session, tag).bytes).manifests;
        } catch (const Failure& failure) {
            if (failure.status() == 404) return std::vector<oci::Descriptor>{};
            throw;
        }
    };
    return from_hosts(impl_->core, repository.with_digest(digest), Operation::resolve, std::string(pull_action), access,
                      [&](Session& session) {
                          if (auto found = by_api(session)) return std::move(*found);
                          return by_tag(session);
                      });
}

}  // namespace grua::registry
