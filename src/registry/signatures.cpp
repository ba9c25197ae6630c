#include "registry/signatures.hpp"

#include "base/encoding.hpp"
#include "base/error.hpp"
#include "base/files.hpp"
#include "base/text.hpp"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <algorithm>
#include <memory>
#include <span>
#include <tuple>

namespace grua::registry {
namespace {

constexpr std::size_t key_limit = std::size_t{64} << 10U;
constexpr std::size_t payload_limit = std::size_t{256} << 10U;
constexpr std::size_t signature_limit = 100;  // of one image
constexpr std::size_t reference_limit = 1024;
constexpr const char* signature_annotation = "dev.cosignproject.cosign/signature";
constexpr std::string_view payload_type = "application/vnd.dev.cosign.simplesigning.v1+json";

struct Image {
    std::string digest;
    template <typename Self = Image>
    static json::Fields fields() {
        return json::Fields{json::field("docker-manifest-digest", &Self::digest)};
    }
};
struct Identity {
    std::string reference;
    template <typename Self = Identity>
    static json::Fields fields() {
        return json::Fields{json::field("docker-reference", &Self::reference)};
    }
};
struct Critical {
    Identity identity;
    Image image;
    std::string type;
    template <typename Self = Critical>
    static json::Fields fields() {
        return json::Fields{json::field("identity", &Self::identity), json::field("image", &Self::image), json::field("type", &Self::type)};
    }
};
struct Payload {
    Critical critical;
    template <typename Self = Payload>
    static json::Fields fields() {
        return json::Fields{json::field("critical", &Self::critical)};
    }
};

template <auto Function>
struct Freed {
    template <typename T>
    void operator()(T* object) const noexcept {
        Function(object);
    }
};
using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;

Key parse_key(std::string_view pem) {
    const std::unique_ptr<BIO, Freed<BIO_free_all>> text{BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))};
    if (!text) throw std::bad_alloc();
    return Key{PEM_read_bio_PUBKEY(text.get(), nullptr, nullptr, nullptr)};
}

/// The signatures that are kept beside the image, under a tag that its digest makes.
std::vector<oci::Descriptor> find_signatures(const Client& client, const oci::Reference& repository, const oci::Digest& digest,
                                             const Access& access) {
    const oci::Reference tag = repository.with_tag(fmt::format("{}-{}.sig", digest.algorithm(), digest.hex()));
    try {
        return oci::parse_manifest(client.manifest(tag, access).bytes).layers;
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::not_found) throw;
    }
    fail(ErrorKind::forbidden, "{}@{} is not signed: there is no {}", repository.familiar_name(), digest.text(), tag.familiar());
}

}  // namespace

PublicKey read_public_key(const std::string& file) {
    PublicKey key{file, read_file(file)};
    if (key.pem.size() > key_limit || !parse_key(key.pem)) fail(ErrorKind::invalid_argument, "{}: not a public key in PEM", file);
    return key;
}

bool is_signed_by(const PublicKey& key, std::string_view payload, std::string_view signature) {
    const Key parsed = parse_key(key.pem);
    const std::unique_ptr<EVP_MD_CTX, Freed<EVP_MD_CTX_free>> context{EVP_MD_CTX_new()};
    if (!parsed || !context) return false;
    // Ed25519 hashes by itself.
    const EVP_MD* hash = EVP_PKEY_get_base_id(parsed.get()) == EVP_PKEY_ED25519 ? nullptr : EVP_sha256();
    if (EVP_DigestVerifyInit(context.get(), nullptr, hash, nullptr, parsed.get()) != 1) return false;
    const auto* bytes = reinterpret_cast<const unsigned char*>(payload.data());
    return EVP_DigestVerify(context.get(), reinterpret_cast<const unsigned char*>(signature.data()), signature.size(), bytes,
                            payload.size()) == 1;
}

void check_payload(std::string_view payload, const oci::Reference& repository, const oci::Digest& digest) {
    const Payload parsed = json::parse<Payload>(payload);
    if (parsed.critical.type != "cosign container image signature") {
        fail(ErrorKind::forbidden, "signature of {}: it is about a \"{}\"", digest.text(), parsed.critical.type);
    }
    if (parsed.critical.image.digest != digest.text()) {
        fail(ErrorKind::forbidden, "signature of {}: it is about {}", digest.text(), parsed.critical.image.digest);
    }
    // Whoever may write to one repository cannot pass its images off as those of another that has the same key.
    const std::string& reference = parsed.critical.identity.reference;
    const bool is_valid = !reference.empty() && reference.size() <= reference_limit;
    if (!is_valid || oci::Reference::parse(reference).name() != repository.name()) {
        fail(ErrorKind::forbidden, "signature of {}: it is about the repository \"{}\"", digest.text(),
             reference.substr(0, reference_limit));
    }
}

void verify_signature(const Client& client, const oci::Reference& repository, const oci::Digest& digest, const std::vector<PublicKey>& keys,
                      const Access& access) {
    const std::vector<oci::Descriptor> found = find_signatures(client, repository, digest, access);
    std::string why = "it has no signature";
    for (const oci::Descriptor& each : std::span(found).first(std::min(found.size(), signature_limit))) {
        const auto encoded = each.annotations.find(signature_annotation);
        if (each.media_type != payload_type || encoded == each.annotations.end()) continue;
        const auto signature = base64_decode_any(encoded->second);
        if (!signature || each.size > payload_limit) {
            why = signature ? fmt::format("what is signed is larger than {} bytes", payload_limit) : "its signature is not base64";
            continue;
        }
        std::string payload;
        try {
            client.blob(repository, each, 0, [&](std::string_view bytes) { payload += bytes; }, access);
        } catch (const Error& error) {
            if (access.stop.stop_requested()) throw;
            why = error.what();  // another one may be there
            continue;
        }
        const auto signs = [&](const PublicKey& key) { return is_signed_by(key, payload, *signature); };
        if (std::ranges::none_of(keys, signs)) {
            why = "no signature is of a key that is trusted";
            continue;
        }
        try {
            return check_payload(payload, repository, digest);
        } catch (const Error& error) {
            why = error.what();
        }
    }
    fail(ErrorKind::forbidden, "{}@{} is refused: {}", repository.familiar_name(), digest.text(), why);
}

}  // namespace grua::registry
