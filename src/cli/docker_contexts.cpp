#include "cli/docker_contexts.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/text.hpp"
#include "cli/context.hpp"
#include "cli/docker_config.hpp"

#include <openssl/sha.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <filesystem>

namespace grua::cli {

namespace {

namespace fs = std::filesystem;

/// Docker's bound for all of a context.
constexpr std::size_t file_limit = std::size_t{10} << 20U;

/// A context's folder: the SHA-256 of its name.
std::string folder_of(const std::string& name) {
    std::array<unsigned char, SHA256_DIGEST_LENGTH> sum{};
    ::SHA256(reinterpret_cast<const unsigned char*>(name.data()), name.size(), sum.data());
    std::string out;
    for (const unsigned char each : sum) out += fmt::format("{:02x}", each);
    return out;
}

boost::json::object parse_metadata(const std::string& path) {
    const std::string text = read_file(path, file_limit);
    boost::system::error_code error;
    Value parsed = boost::json::parse(text, error);
    if (error || !parsed.is_object())
        fail(ErrorKind::invalid_argument, "failed to read metadata: parsing {}: {}", path, error ? error.message() : "it is no object");
    return std::move(parsed.get_object());
}

boost::json::object& member(boost::json::object& of, std::string_view name) {
    Value& found = of[name];
    if (!found.is_object()) found = boost::json::object();
    return found.get_object();
}

const Value& docker_endpoint(const boost::json::object& document) {
    static const Value nothing;
    const Value* endpoints = document.if_contains("Endpoints");
    return endpoints ? at(*endpoints, "docker") : nothing;
}

}  // namespace

std::string DockerContext::description() const {
    const Value* metadata = document.if_contains("Metadata");
    return metadata ? text_at(*metadata, "Description") : std::string();
}

void DockerContext::describe(std::string_view text) {
    boost::json::object& metadata = member(document, "Metadata");
    if (text.empty()) {
        metadata.erase("Description");
    } else {
        metadata["Description"] = text;
    }
}

std::string DockerContext::host() const { return text_at(docker_endpoint(document), "Host"); }

bool DockerContext::skip_verify() const { return bool_at(docker_endpoint(document), "SkipTLSVerify"); }

void DockerContext::set_host(std::string_view host, bool skip_verify) {
    boost::json::object& docker = member(member(document, "Endpoints"), "docker");
    docker["Host"] = host;
    docker["SkipTLSVerify"] = skip_verify;
}

DockerContexts::DockerContexts() : folder_(config_folder() + "/contexts") {}

std::string DockerContexts::metadata_path(const std::string& name) const { return fmt::format("{}/meta/{}", folder_, folder_of(name)); }
std::string DockerContexts::tls_path(const std::string& name) const { return fmt::format("{}/tls/{}", folder_, folder_of(name)); }

std::vector<DockerContext> DockerContexts::list() const {
    std::vector<DockerContext> out;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator{folder_ + "/meta", error}) {
        const std::string path = entry.path().string() + "/meta.json";
        try {
            DockerContext each{.name = {}, .document = parse_metadata(path)};
            each.name = text_at(Value(each.document), "Name");
            out.push_back(std::move(each));
        } catch (const Error& failure) {
            if (failure.kind() != ErrorKind::not_found) throw;
        }
    }
    std::ranges::sort(out, {}, &DockerContext::name);
    return out;
}

DockerContext DockerContexts::find(const std::string& name) const {
    check_context_name(name);
    const std::string path = metadata_path(name) + "/meta.json";
    try {
        return {.name = name, .document = parse_metadata(path)};
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::not_found) throw;
        fail(ErrorKind::not_found, "context \"{}\": context not found: open {}: no such file or directory", name, path);
    }
}

bool DockerContexts::has(const std::string& name) const { return ::access((metadata_path(name) + "/meta.json").c_str(), F_OK) == 0; }

TlsMaterial DockerContexts::material(const std::string& name) const {
    TlsMaterial out;
    std::error_code error;
    for (const auto& endpoint : fs::directory_iterator{tls_path(name), error}) {
        std::error_code none;
        for (const auto& file : fs::directory_iterator{endpoint.path(), none})
            out[endpoint.path().filename()][file.path().filename()] = read_file(file.path(), file_limit);
    }
    return out;
}

void DockerContexts::write(const DockerContext& context, const std::optional<TlsMaterial>& material) {
    boost::json::object document = context.document;
    document["Name"] = context.name;
    make_directories(metadata_path(context.name));
    if (material) {
        fs::remove_all(tls_path(context.name));
        for (const auto& [endpoint, files] : *material) {
            const std::string folder = fmt::format("{}/{}", tls_path(context.name), endpoint);
            make_directories(folder, 0700);
            for (const auto& [name, bytes] : files) replace_file(fmt::format("{}/{}", folder, name), bytes, 0600);
        }
    }
    // Last: with it the context is there.
    replace_file(metadata_path(context.name) + "/meta.json", boost::json::serialize(document));
}

void DockerContexts::remove(const std::string& name) {
    if (!has(name)) fail(ErrorKind::not_found, "context \"{}\" does not exist", name);
    fs::remove_all(metadata_path(name));
    fs::remove_all(tls_path(name));
}

client::Endpoint DockerContexts::endpoint(const std::string& name) const {
    const DockerContext context = find(name);
    return while_doing(fmt::format("context \"{}\"", name), [&] {
        if (context.host().empty()) fail(ErrorKind::invalid_argument, "it has no docker endpoint");
        client::Endpoint out = client::parse_endpoint(context.host());
        const std::string folder = tls_path(name) + "/docker/";
        const auto file = [&](const char* each) { return ::access((folder + each).c_str(), F_OK) == 0 ? folder + each : std::string(); };
        const tls::Files files{.authorities = file("ca.pem"), .certificate = file("cert.pem"), .key = file("key.pem")};
        const bool some = !files.authorities.empty() || !files.certificate.empty() || !files.key.empty();
        if (out.kind == client::Endpoint::Kind::tcp && (some || context.skip_verify()))
            out.security = client::Security{.files = files, .daemon = context.skip_verify() ? tls::Verify::no : tls::Verify::yes};
        return out;
    });
}

void check_context_name(const std::string& name) {
    const auto is_alphanumeric = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); };
    if (name.empty()) fail(ErrorKind::invalid_argument, "context name cannot be empty");
    if (name == default_context) fail(ErrorKind::invalid_argument, "\"default\" is a reserved context name");
    const bool fine = name.size() > 1 && is_alphanumeric(name.front()) &&
                      std::ranges::all_of(name, [&](char c) { return is_alphanumeric(c) || std::string_view("_.+-").contains(c); });
    if (!fine)
        fail(ErrorKind::invalid_argument,
             "context name \"{}\" is invalid, names are validated against regexp \"^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$\"", name);
}

}  // namespace grua::cli
