#include "tls/context.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/utf8.hpp"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <algorithm>
#include <ctime>
#include <string>
#include <vector>

namespace grua::tls {

namespace {

constexpr std::size_t pem_limit = std::size_t{1} << 20U;
constexpr std::size_t subject_limit = 1024;

/// Go's for servers: forward secrecy and authenticated encryption only. TLS 1.3 has no others.
constexpr const char* ciphers = "ECDHE+AESGCM:ECDHE+CHACHA20";

template <auto release>
struct Release {
    template <typename T>
    void operator()(T* each) const {
        release(each);
    }
};
using BioPtr = std::unique_ptr<BIO, Release<BIO_free>>;
using CertificatePtr = std::unique_ptr<X509, Release<X509_free>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, Release<EVP_PKEY_free>>;

BioPtr memory(const std::string& text) { return BioPtr{BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))}; }

/// Nobody is asked on a terminal for a passphrase.
int no_passphrase(char*, int, int, void* asked) {
    *static_cast<bool*>(asked) = true;
    return -1;
}

std::string read_pem(const std::string& path) {
    try {
        return read_file(path, pem_limit);
    } catch (const Error& error) {
        throw Error(ErrorKind::invalid_argument, error.what(), error.os_error());
    }
}

std::vector<CertificatePtr> certificates_of(const std::string& path) {
    const std::string text = read_pem(path);
    const BioPtr input = memory(text);
    std::vector<CertificatePtr> out;
    while (CertificatePtr each{PEM_read_bio_X509(input.get(), nullptr, nullptr, nullptr)}) out.push_back(std::move(each));
    const bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    const std::string why = take_errors("it is empty");
    if (out.empty() || !at_end) fail(ErrorKind::invalid_argument, "{}: no certificate in PEM ({})", path, why);
    return out;
}

KeyPtr key_of(const std::string& path) {
    const std::string text = read_pem(path);
    const BioPtr input = memory(text);
    bool encrypted = false;
    KeyPtr key{PEM_read_bio_PrivateKey(input.get(), nullptr, no_passphrase, &encrypted)};
    const std::string why = take_errors("it is empty");
    if (encrypted) fail(ErrorKind::not_implemented, "not implemented: {} has a passphrase", path);
    if (!key) fail(ErrorKind::invalid_argument, "{}: no private key in PEM ({})", path, why);
    return key;
}

void trust(SSL_CTX* context, const std::string& path) {
    X509_STORE* store = SSL_CTX_get_cert_store(context);
    for (const CertificatePtr& each : certificates_of(path)) {
        if (X509_STORE_add_cert(store, each.get()) != 1)
            fail(ErrorKind::invalid_argument, "{}: {}", path, take_errors("the certificate is not taken"));
    }
}

void show(SSL_CTX* context, const Files& files) {
    const std::vector<CertificatePtr> chain = certificates_of(files.certificate);
    const KeyPtr key = key_of(files.key);
    if (SSL_CTX_use_certificate(context, chain.front().get()) != 1)
        fail(ErrorKind::invalid_argument, "{}: {}", files.certificate, take_errors("the certificate is not taken"));
    for (std::size_t i = 1; i < chain.size(); ++i) {
        if (SSL_CTX_add1_chain_cert(context, chain[i].get()) != 1)
            fail(ErrorKind::invalid_argument, "{}: {}", files.certificate, take_errors("its chain is not taken"));
    }
    if (X509_check_private_key(chain.front().get(), key.get()) != 1 || SSL_CTX_use_PrivateKey(context, key.get()) != 1) {
        take_errors("");
        fail(ErrorKind::invalid_argument, "{} is not the key of the certificate {}", files.key, files.certificate);
    }
}

std::shared_ptr<SSL_CTX> make(const SSL_METHOD* method) {
    ERR_clear_error();
    std::shared_ptr<SSL_CTX> context{SSL_CTX_new(method), SSL_CTX_free};
    if (!context) fail(ErrorKind::system, "TLS: {}", take_errors("out of memory"));
    SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
    SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF |
                                           SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_num_tickets(context.get(), 0);
    SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(context.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS |
                                        SSL_MODE_NO_AUTO_CHAIN);
    if (SSL_CTX_set_cipher_list(context.get(), ciphers) != 1) fail(ErrorKind::system, "TLS: {}", take_errors("no ciphers"));
    return context;
}

/// HTTP/1.1 is what is spoken; a client that names others only is told so by the handshake, as by Go's servers.
int choose_protocol(SSL*, const unsigned char** chosen, unsigned char* size, const unsigned char* offered, unsigned offered_size, void*) {
    static constexpr std::string_view http{"\x08http/1.1"};
    const auto* ours = reinterpret_cast<const unsigned char*>(http.data());
    unsigned char* found = nullptr;
    if (SSL_select_next_proto(&found, size, ours, static_cast<unsigned>(http.size()), offered, offered_size) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *chosen = found;
    return SSL_TLSEXT_ERR_OK;
}

/// Whose certificate was refused is not to be had later.
int note_refused(int fine, X509_STORE_CTX* checked) {
    if (fine == 1) return fine;
    const auto* session = static_cast<const SSL*>(X509_STORE_CTX_get_ex_data(checked, SSL_get_ex_data_X509_STORE_CTX_idx()));
    if (auto* refused = session ? static_cast<std::string*>(SSL_get_app_data(session)) : nullptr)
        *refused = subject_of(X509_STORE_CTX_get0_cert(checked));
    return fine;
}

}  // namespace

Context Context::server(const Files& files, Verify clients) {
    std::shared_ptr<SSL_CTX> context = make(TLS_server_method());
    show(context.get(), files);
    SSL_CTX_set_alpn_select_cb(context.get(), choose_protocol, nullptr);
    if (clients == Verify::yes) {
        trust(context.get(), files.authorities);
        SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, note_refused);
    }
    return {std::move(context), clients};
}

Context Context::client(const Files& files, Verify server) {
    std::shared_ptr<SSL_CTX> context = make(TLS_client_method());
    if (files.certificate.empty() != files.key.empty()) {
        fail(ErrorKind::invalid_argument, "{} needs its {}", files.certificate.empty() ? files.key : files.certificate,
             files.certificate.empty() ? "certificate" : "key");
    }
    if (!files.certificate.empty()) show(context.get(), files);
    if (!files.authorities.empty()) {
        trust(context.get(), files.authorities);
    } else if (server == Verify::yes && SSL_CTX_set_default_verify_paths(context.get()) != 1) {
        fail(ErrorKind::system, "the system's authorities: {}", take_errors("they are not taken"));
    }
    SSL_CTX_set_verify(context.get(), server == Verify::yes ? SSL_VERIFY_PEER : SSL_VERIFY_NONE,
                       server == Verify::yes ? note_refused : nullptr);
    return {std::move(context), server};
}

std::string dates_of(const std::string& certificate) {
    const std::vector<CertificatePtr> chain = certificates_of(certificate);
    const auto date = [](const ASN1_TIME* time) {
        const BioPtr out{BIO_new(BIO_s_mem())};
        ASN1_TIME_print(out.get(), time);
        char* text = nullptr;
        const long size = BIO_get_mem_data(out.get(), &text);
        return std::string(text, static_cast<std::size_t>(size));
    };
    const ASN1_TIME* from = X509_get0_notBefore(chain.front().get());
    const ASN1_TIME* until = X509_get0_notAfter(chain.front().get());
    if (X509_cmp_current_time(until) < 0) return fmt::format("{} has expired ({})", certificate, date(until));
    if (X509_cmp_current_time(from) > 0) return fmt::format("{} is not valid before {}", certificate, date(from));
    return {};
}

std::string subject_of(const X509* certificate) {
    if (!certificate) return {};
    const BioPtr out{BIO_new(BIO_s_mem())};
    X509_NAME_print_ex(out.get(), X509_get_subject_name(certificate), 0,
                       XN_FLAG_RFC2253 & ~static_cast<unsigned long>(ASN1_STRFLGS_ESC_MSB));
    char* text = nullptr;
    const long size = BIO_get_mem_data(out.get(), &text);
    const std::string_view bytes(text, size > 0 ? static_cast<std::size_t>(size) : 0);
    return to_valid_utf8(cut_utf8(bytes, subject_limit));
}

std::string take_errors(std::string_view otherwise) {
    // The first is what went wrong, the others what that led to.
    const unsigned long first = ERR_get_error();
    ERR_clear_error();
    const char* reason = first != 0 ? ERR_reason_error_string(first) : nullptr;
    return std::string(reason ? std::string_view(reason) : otherwise);
}

}  // namespace grua::tls
