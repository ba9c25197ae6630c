#include "registry/tls.hpp"

#include "base/error.hpp"
#include "base/files.hpp"

#include <cstdlib>
#include <filesystem>
#include <set>

namespace grua::registry {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t pem_limit = std::size_t{1} << 20U;

std::string from_environment(const char* name, const char* otherwise) {
    const char* value = ::getenv(name);
    return value && *value ? value : otherwise;
}

/// The file's PEM text; empty where there is none.
std::string system_authorities() {
    try {
        return read_file(system_ca_file(), pem_limit);
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::not_found) throw;
        return {};
    }
}

void read_directory(const std::string& directory, Tls& tls) {
    std::error_code error;
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator{directory, error}) names.insert(entry.path().filename());
    for (const std::string& name : names) {
        const fs::path path = fs::path(directory) / name;
        const std::string stem = path.stem();
        if (path.extension() == ".crt") {
            tls.authorities += read_file(path, pem_limit) + "\n";
        } else if (path.extension() == ".cert") {
            if (!names.contains(stem + ".key")) {
                fail(ErrorKind::invalid_argument,
                     "missing key {}.key for client certificate {}. CA certificates must use the extension .crt", stem, name);
            }
            if (!tls.certificate.empty()) continue;
            tls.certificate = path;
            tls.key = fs::path(directory) / (stem + ".key");
        } else if (path.extension() == ".key" && !names.contains(stem + ".cert")) {
            fail(ErrorKind::invalid_argument, "missing client certificate {}.cert for key {}", stem, name);
        }
    }
}

}  // namespace

Tls tls_of(const std::vector<std::string>& directories, const std::string& authority, const TlsFiles& more) {
    Tls tls;
    tls.skip_verify = more.skip_verify;
    for (const std::string& path : more.authorities) tls.authorities += read_file(path, pem_limit) + "\n";
    if (!more.certificates.empty()) {
        tls.certificate = more.certificates.front().first;
        tls.key = more.certificates.front().second;
    }
    for (const std::string& directory : directories) {
        if (!directory.empty()) read_directory(directory + "/" + authority, tls);
    }
    // Beside the system's: a private registry may redirect to a public host.
    if (!tls.authorities.empty()) tls.authorities += system_authorities();
    return tls;
}

std::string system_ca_file() { return from_environment("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"); }
std::string system_ca_directory() { return from_environment("SSL_CERT_DIR", "/etc/ssl/certs"); }

}  // namespace grua::registry
