// SHA-256 and SHA-512 by OpenSSL's EVP, which uses the processor's instructions for them.
#pragma once

#include "oci/digest.hpp"

#include <cstddef>
#include <memory>
#include <string_view>

struct evp_md_ctx_st;

namespace grua::content {

class Hasher {
public:
    /// `algorithm` is a Digest's: "sha256" or "sha512".
    explicit Hasher(std::string_view algorithm = "sha256");

    void update(std::string_view bytes);

    /// The digest of all bytes so far. Nothing may follow.
    oci::Digest finish();

private:
    struct Free {
        void operator()(evp_md_ctx_st* context) const noexcept;
    };
    std::unique_ptr<evp_md_ctx_st, Free> context_;
};

oci::Digest digest_of(std::string_view bytes, std::string_view algorithm = "sha256");

}  // namespace grua::content
