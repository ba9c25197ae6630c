#include "content/hash.hpp"

#include "base/error.hpp"

#include <openssl/evp.h>
#include <array>

namespace grua::content {

void Hasher::Free::operator()(evp_md_ctx_st* context) const noexcept { EVP_MD_CTX_free(context); }

Hasher::Hasher(std::string_view algorithm) : context_(EVP_MD_CTX_new()) {
    const EVP_MD* kind = algorithm == "sha512" ? EVP_sha512() : EVP_sha256();
    if (!context_ || EVP_DigestInit_ex(context_.get(), kind, nullptr) != 1) fail(ErrorKind::system, "OpenSSL offers no {}", algorithm);
}

void Hasher::update(std::string_view bytes) {
    if (EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) != 1) fail(ErrorKind::system, "OpenSSL could not hash");
}

oci::Digest Hasher::finish() {
    std::array<char, EVP_MAX_MD_SIZE> raw{};
    unsigned size = 0;
    if (EVP_DigestFinal_ex(context_.get(), reinterpret_cast<unsigned char*>(raw.data()), &size) != 1) {
        fail(ErrorKind::system, "OpenSSL could not hash");
    }
    return oci::Digest::of_hash({raw.data(), size});
}

oci::Digest digest_of(std::string_view bytes, std::string_view algorithm) {
    Hasher hasher{algorithm};
    hasher.update(bytes);
    return hasher.finish();
}

}  // namespace grua::content
