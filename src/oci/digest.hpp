// A content digest, "sha256:<64 lowercase hex digits>" or "sha512:<128>": OCI image spec, descriptor.md #digests.
// Only what this parses becomes part of a path, so nothing else may ever be accepted (CVE-2024-3727).
#pragma once

#include <compare>
#include <optional>
#include <string>
#include <string_view>

namespace grua::oci {

class Digest {
public:
    /// Nothing where `text` is not exactly a digest of a known algorithm.
    static std::optional<Digest> parse(std::string_view text);

    /// As parse, but throws Error(invalid_argument, `invalid digest "…"`).
    static Digest from(std::string_view text);

    /// From the raw hash, 32 bytes (sha256) or 64 bytes (sha512).
    static Digest of_hash(std::string_view raw);

    /// "step:<64 hex>": what a layer of a build is known by before it has a diff ID (layers/layers.hpp). For what grua itself wrote down;
    /// parse(), which reads documents and requests, takes none.
    static std::optional<Digest> parse_step(std::string_view text);

    bool is_step() const noexcept { return algorithm() == "step"; }

    const std::string& text() const noexcept { return text_; }
    std::string_view algorithm() const noexcept { return std::string_view(text_).substr(0, text_.find(':')); }
    std::string_view hex() const noexcept { return std::string_view(text_).substr(text_.find(':') + 1); }

    friend bool operator==(const Digest&, const Digest&) = default;
    friend auto operator<=>(const Digest&, const Digest&) = default;

private:
    explicit Digest(std::string text) noexcept : text_(std::move(text)) {}

    std::string text_;
};

}  // namespace grua::oci
