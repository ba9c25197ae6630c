// Certificates of a host as Docker lays them out: <certs.d>/<host[:port]>/*.crt are authorities beside the system's, *.cert with
// *.key are client certificates.
#pragma once

#include "registry/rules.hpp"

#include <string>
#include <vector>

namespace grua::registry {

struct Tls {
    std::string authorities;  ///< PEM, with the system's; empty where those are all
    std::string certificate;  ///< paths; empty where there is none
    std::string key;
    bool skip_verify = false;
};

/// Throws invalid_argument with Docker's texts for a certificate without a key and a key without a certificate.
Tls tls_of(const std::vector<std::string>& directories, const std::string& authority, const TlsFiles& more);

/// The system's authorities, as OpenSSL's environment variables or Debian's folders say.
std::string system_ca_file();
std::string system_ca_directory();

}  // namespace grua::registry
