// Authorities and certificates for tests, made anew each time.
#pragma once

#include "base/files.hpp"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>

namespace grua::tls {

class TestCertificates {
public:
    TestCertificates() {
        std::string name = std::filesystem::temp_directory_path() / "grua-tls-XXXXXX";
        if (!::mkdtemp(name.data())) throw std::runtime_error("mkdtemp");
        folder_ = name;
        make("ca", "", 3600);
        make("other-ca", "", 3600);
        make("server", "ca", 3600);
        make("client", "ca", 3600);
        make("expired", "ca", -10);
        make("stranger", "other-ca", 3600);
    }
    ~TestCertificates() {
        std::error_code ignored;
        std::filesystem::remove_all(folder_, ignored);
    }
    TestCertificates(const TestCertificates&) = delete;
    TestCertificates& operator=(const TestCertificates&) = delete;

    std::string certificate(const std::string& name) const { return folder_ + "/" + name + ".pem"; }
    std::string key(const std::string& name) const { return folder_ + "/" + name + "-key.pem"; }
    const std::string& folder() const { return folder_; }

private:
    template <typename T, typename Free>
    static std::shared_ptr<T> owned(T* each, Free release) {
        if (!each) throw std::runtime_error("OpenSSL");
        return {each, release};
    }

    static std::shared_ptr<FILE> open(const std::string& path, const char* mode) {
        return owned(std::fopen(path.c_str(), mode), std::fclose);
    }

    void make(const std::string& name, const std::string& issuer, long seconds) {
        const auto own_key = owned(EVP_EC_gen("P-256"), EVP_PKEY_free);
        const auto made = owned(X509_new(), X509_free);
        X509_set_version(made.get(), 2);
        ASN1_INTEGER_set(X509_get_serialNumber(made.get()), ++serial_);
        X509_gmtime_adj(X509_getm_notBefore(made.get()), -3600);
        X509_gmtime_adj(X509_getm_notAfter(made.get()), seconds);
        X509_NAME* subject = X509_get_subject_name(made.get());
        X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
        X509_set_pubkey(made.get(), own_key.get());
        std::shared_ptr<EVP_PKEY> signing = own_key;
        std::shared_ptr<X509> authority = made;
        if (!issuer.empty()) {
            signing = owned(PEM_read_PrivateKey(open(key(issuer), "r").get(), nullptr, nullptr, nullptr), EVP_PKEY_free);
            authority = owned(PEM_read_X509(open(certificate(issuer), "r").get(), nullptr, nullptr, nullptr), X509_free);
        }
        X509_set_issuer_name(made.get(), X509_get_subject_name(authority.get()));
        X509V3_CTX context;
        X509V3_set_ctx(&context, authority.get(), made.get(), nullptr, nullptr, 0);
        const auto extend = [&](int what, const char* value) {
            const auto extension = owned(X509V3_EXT_conf_nid(nullptr, &context, what, value), X509_EXTENSION_free);
            X509_add_ext(made.get(), extension.get(), -1);
        };
        extend(NID_basic_constraints, issuer.empty() ? "critical,CA:TRUE" : "CA:FALSE");
        if (name == "server") extend(NID_subject_alt_name, "IP:127.0.0.1,DNS:localhost");
        if (!issuer.empty()) extend(NID_ext_key_usage, name == "server" ? "serverAuth" : "clientAuth");
        X509_sign(made.get(), signing.get(), EVP_sha256());
        PEM_write_X509(open(certificate(name), "w").get(), made.get());
        PEM_write_PrivateKey(open(key(name), "w").get(), own_key.get(), nullptr, nullptr, 0, nullptr, nullptr);
    }

    std::string folder_;
    long serial_ = 0;
};

}  // namespace grua::tls
