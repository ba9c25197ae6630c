// Signatures of images as cosign makes them with a key: a manifest beside the image holds documents that name the image's
// digest, each signed. signatures.toml says which names need one; without the file none does.
#pragma once

#include "base/mutex.hpp"
#include "registry/client.hpp"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace grua::registry {

/// A public key in PEM (ECDSA, RSA or Ed25519) and where it is from.
struct PublicKey {
    std::string file;
    std::string pem;
};

/// Throws Error(invalid_argument) that names the file where it is no public key.
PublicKey read_public_key(const std::string& file);

/// `signature` is the raw signature of `payload`'s bytes.
bool is_signed_by(const PublicKey& key, std::string_view payload, std::string_view signature);

/// What cosign signs ("simple signing"): throws where it is not about `digest` in this repository.
void check_payload(std::string_view payload, const oci::Reference& repository, const oci::Digest& digest);

/// Throws Error(forbidden) with what was looked for and where where no signature of one of `keys` is there for `digest`.
void verify_signature(const Client& client, const oci::Reference& repository, const oci::Digest& digest, const std::vector<PublicKey>& keys,
                      const Access& access);

/// Which names need a signature, and by whose key: the longest prefix of a name decides.
class SignaturePolicy {
public:
    /// `file` need not exist. Throws Error(invalid_argument) that names file and line.
    explicit SignaturePolicy(std::string file);

    void reload();  ///< On an error the former rules stay and it is thrown.

    /// Throws Error(forbidden) where the name needs a signature of `digest` and has none.
    void check(const Client& client, const oci::Reference& reference, const oci::Digest& digest, const Access& access) const;

private:
    struct Rule {
        std::string prefix;
        std::vector<PublicKey> keys;  ///< Empty: such names need none.
        bool refused = false;
    };
    using Rules = std::vector<Rule>;
    static Rules read(const std::string& file);

    std::string file_;
    mutable Mutex mutex_;
    std::shared_ptr<const Rules> rules_ GRUA_GUARDED_BY(mutex_);
};

}  // namespace grua::registry
