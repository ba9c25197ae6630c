// Certificates, and what is asked of the other side's.
#pragma once

#include <memory>
#include <string>
#include <string_view>

using SSL_CTX = struct ssl_ctx_st;
using X509 = struct x509_st;

namespace grua::tls {

/// PEM files.
struct Files {
    std::string authorities;  ///< Who signs the other side's certificate.
    std::string certificate;  ///< Ours, with those between it and its authority.
    std::string key;
};

/// What the other side shows is checked against `Files::authorities`; `no`: whoever it is.
enum class Verify { yes, no };

/// TLS 1.2 and later, without renegotiation and resumption: who was let in once is checked again with each connection. Shared by its
/// copies.
class Context {
public:
    /// Throws Error(invalid_argument) that names the file: what is not there, is no PEM, has a passphrase, does not belong together.
    /// With Verify::yes clients without a certificate of these authorities are refused.
    static Context server(const Files& files, Verify clients);
    /// All files may be left out; without authorities the system's decide.
    static Context client(const Files& files, Verify server);

    SSL_CTX* get() const noexcept { return context_.get(); }
    Verify verify() const noexcept { return verify_; }

private:
    Context(std::shared_ptr<SSL_CTX> context, Verify verify) : context_(std::move(context)), verify_(verify) {}

    std::shared_ptr<SSL_CTX> context_;
    Verify verify_;
};

/// What is wrong with the dates of the certificate in this file, as a sentence; empty where it is of today.
std::string dates_of(const std::string& certificate);

/// "CN=client,O=Example" (RFC 2253), valid UTF-8, at most 1 KiB. Empty for none.
std::string subject_of(const X509* certificate);

/// What OpenSSL has noted in this thread, as one line, and forgets with that; `otherwise` where it is nothing.
std::string take_errors(std::string_view otherwise);

}  // namespace grua::tls
