#include "build/materials.hpp"

#include "base/error.hpp"
#include "base/test_points.hpp"
#include "oci/reference.hpp"

#include <algorithm>
#include <optional>
#include <string_view>

namespace grua::build {
namespace {

constexpr std::string_view image_scheme = "docker-image://";
constexpr std::string_view layout_scheme = "oci-layout://";
constexpr std::string_view local_scheme = "local://";
constexpr std::string_view git_scheme = "git://";
constexpr std::string_view mask = "xxxxx";

std::string attribute(const pb::SourceOp& source, const std::string& name) {
    const auto found = source.attrs().find(name);
    return found == source.attrs().end() ? std::string() : found->second;
}

void add_need(std::map<std::string, bool>& needs, const std::string& id, bool is_optional) {
    const auto [at, is_new] = needs.try_emplace(id, is_optional);
    if (!is_new && !is_optional) at->second = false;
}

std::string platform_text(const pb::Op& op) {
    if (!op.has_platform()) return {};
    const pb::Platform& said = op.platform();
    return oci::Platform{said.architecture(), said.os(), said.variant(), {}}.text();
}

/// "docker.io/library/busybox:latest", whatever digest is named beside the tag.
std::string tagged_name(const oci::Reference& reference) {
    return fmt::format("{}:{}", reference.name(), reference.tag().empty() ? "latest" : reference.tag());
}

std::optional<oci::Reference> parse_reference(const std::string& text) {
    try {
        return oci::Reference::parse(text);
    } catch (const Error&) {
        return std::nullopt;
    }
}

class Gathering {
public:
    Gathering(const SourcePins& pins, Materials& out) : pins_(pins), out_(out) {}

    void add(const Vertex& vertex) {
        if (vertex.op.has_source()) add_source(vertex);
        if (vertex.op.has_exec()) add_program(vertex.op.exec());
        if (vertex.op.has_build()) out_.is_complete = false;
    }

private:
    void add_source(const Vertex& vertex) {
        const pb::SourceOp& source = vertex.op.source();
        const std::string& identifier = source.identifier();
        const auto found = pins_.find(vertex.digest);
        const std::string pin = found == pins_.end() ? std::string() : found->second;
        if (identifier.starts_with(local_scheme)) {
            out_.folders.insert(identifier.substr(local_scheme.size()));
        } else if (identifier.starts_with(image_scheme)) {
            add_image(identifier.substr(image_scheme.size()), platform_text(vertex.op), false, pin);
        } else if (identifier.starts_with(layout_scheme)) {
            add_image(identifier.substr(layout_scheme.size()), platform_text(vertex.op), true, pin);
        } else if (identifier.starts_with(git_scheme)) {
            add_repository(source, pin);
        } else if (identifier.starts_with("https://") || identifier.starts_with("http://")) {
            out_.files.try_emplace(without_secrets(identifier), pin.empty() ? attribute(source, "http.checksum") : pin);
        } else {
            out_.is_complete = false;
        }
    }

    void add_image(const std::string& reference, std::string platform, bool is_layout, std::string digest) {
        if (digest.empty())
            if (const auto parsed = parse_reference(reference); parsed && parsed->digest()) digest = parsed->digest()->text();
        out_.images.try_emplace({.reference = reference, .platform = std::move(platform), .is_layout = is_layout}, std::move(digest));
    }

    void add_repository(const pb::SourceOp& source, const std::string& pin) {
        std::string rest = source.identifier().substr(git_scheme.size());
        std::string ref;
        if (const std::size_t sign = rest.find('#'); sign != std::string::npos) {
            ref = rest.substr(sign + 1);
            ref = ref.substr(0, ref.find(':'));
            rest.resize(sign);
        }
        const std::string full = attribute(source, "git.fullurl");
        std::string url = without_secrets(full.empty() ? "https://" + rest : full);
        if (!ref.empty()) url += "#" + ref;
        out_.repositories.try_emplace(url, pin.empty() ? attribute(source, "git.checksum") : pin);
        for (const char* each : {"git.authtokensecret", "git.authheadersecret"})
            if (const std::string id = attribute(source, each); !id.empty()) out_.add_secret(id, true);
        if (const std::string id = attribute(source, "git.mountsshsock"); !id.empty()) out_.add_agent(id, true);
    }

    void add_program(const pb::ExecOp& program) {
        for (const pb::Mount& each : program.mounts()) {
            if (each.mounttype() == pb::MOUNT_TYPE_SECRET) out_.add_secret(each.secretopt().id(), each.secretopt().optional());
            if (each.mounttype() == pb::MOUNT_TYPE_SSH) out_.add_agent(each.sshopt().id(), each.sshopt().optional());
        }
        for (const pb::SecretEnv& each : program.secretenv()) out_.add_secret(each.id(), each.optional());
        if (program.network() != pb::NET_MODE_NONE) out_.uses_network = true;
    }

    const SourcePins& pins_;
    Materials& out_;
};

/// What is known of a name counts before what is not.
template <typename Key>
void add_all(std::map<Key, std::string>& to, const std::map<Key, std::string>& from) {
    for (const auto& [name, what] : from) {
        std::string& known = to[name];
        if (known.empty()) known = what;
    }
}

template <typename Key>
bool are_known(const std::map<Key, std::string>& all) {
    return std::ranges::none_of(all, [](const auto& each) { return each.second.empty(); });
}

/// Of whichever variant.
bool is_of(const ImageMaterial& image, const oci::Platform& platform) {
    const std::string machine = fmt::format("{}/{}", platform.os, platform.architecture);
    return image.platform == machine || image.platform.starts_with(machine + "/");
}

}  // namespace

void Materials::add_secret(const std::string& id, bool is_optional) { add_need(secrets, id, is_optional); }

void Materials::add_agent(const std::string& id, bool is_optional) { add_need(agents, id.empty() ? "default" : id, is_optional); }

void Materials::merge(const Materials& other) {
    add_all(images, other.images);
    add_all(repositories, other.repositories);
    add_all(files, other.files);
    folders.insert(other.folders.begin(), other.folders.end());
    for (const auto& [id, is_optional] : other.secrets) add_secret(id, is_optional);
    for (const auto& [id, is_optional] : other.agents) add_agent(id, is_optional);
    uses_network = uses_network || other.uses_network;
    is_complete = is_complete && other.is_complete;
}

bool Materials::are_fixed() const {
    return is_complete && folders.empty() && are_known(images) && are_known(repositories) && are_known(files);
}

Materials materials_of(const Edge& edge, const SourcePins& pins) {
    Materials out;
    Gathering gathering(pins, out);
    for (const VertexPtr& each : in_order(edge)) gathering.add(*each);
    return out;
}

Materials for_platform(const Materials& all, const oci::Platform& platform, const std::vector<oci::Platform>& platforms) {
    Materials out = all;
    if (platforms.size() < 2) return out;
    std::map<std::string, std::set<std::string>> by_reference;  // And the platforms that it is there for.
    for (const auto& [image, digest] : all.images) {
        for (const oci::Platform& each : platforms)
            if (is_of(image, each)) by_reference[image.reference].insert(each.text());
    }
    std::erase_if(out.images, [&](const auto& each) {
        const auto found = by_reference.find(each.first.reference);
        const bool is_there_for_each = found != by_reference.end() && found->second.size() == platforms.size();
        return is_there_for_each && !each.first.platform.empty() && !is_of(each.first, platform);
    });
    return out;
}

void name_images_once(Materials& materials) {
    std::set<std::string> tagged;
    for (const auto& [image, digest] : materials.images)
        if (const auto parsed = parse_reference(image.reference); parsed && !parsed->digest()) tagged.insert(tagged_name(*parsed));
    std::erase_if(materials.images, [&](const auto& each) {
        const auto parsed = parse_reference(each.first.reference);
        return parsed && parsed->digest() && tagged.contains(tagged_name(*parsed));
    });
}

std::string without_secrets(const std::string& url) {
    if (is_left_out("CVE-2023-26054")) return url;
    const std::size_t scheme = url.find("://");
    if (scheme == std::string::npos) return url;
    const std::size_t begin = scheme + 3;
    const std::size_t end = std::min(url.find_first_of("/?#", begin), url.size());
    const std::string authority = url.substr(begin, end - begin);
    const std::size_t sign = authority.rfind('@');
    if (sign == std::string::npos) return url;
    const std::string user = authority.substr(0, sign);
    const std::size_t colon = user.find(':');
    std::string shown;
    if (colon != 0 && !user.empty()) shown = mask;
    if (colon != std::string::npos) shown += fmt::format(":{}", mask);
    return url.substr(0, begin) + shown + authority.substr(sign) + url.substr(end);
}

}  // namespace grua::build
