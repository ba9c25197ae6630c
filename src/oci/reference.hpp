// The name of an image as people write it: [domain/]path[:tag][@digest], normalised as Docker does: "redis" is
// "docker.io/library/redis", and is shown as "redis" again.
#pragma once

#include "oci/digest.hpp"

#include <compare>
#include <optional>
#include <string>
#include <string_view>

namespace grua::oci {

class Reference {
public:
    /// Throws Error(invalid_argument) with Docker's texts: "invalid reference format", "invalid reference format:
    /// repository name (library/Redis) must be lowercase", "repository name must not be more than 255 characters".
    /// 64 hex digits alone are refused: they are an image ID.
    static Reference parse(std::string_view text);

    const std::string& domain() const noexcept { return domain_; }  ///< "docker.io", "localhost:5000"
    const std::string& path() const noexcept { return path_; }      ///< "library/redis"
    std::string name() const { return domain_ + "/" + path_; }      ///< "docker.io/library/redis"
    std::string familiar_name() const;                              ///< "redis", "localhost:5000/redis"
    const std::string& tag() const noexcept { return tag_; }        ///< Empty where there is none.
    const std::optional<Digest>& digest() const noexcept { return digest_; }

    bool is_name_only() const noexcept { return tag_.empty() && !digest_; }

    std::string text() const { return name() + suffix(); }
    std::string familiar() const { return familiar_name() + suffix(); }  ///< "redis:7", as Docker prints it.

    /// This with ":latest" where it has neither a tag nor a digest.
    Reference with_default_tag() const;
    Reference with_tag(std::string_view tag) const;     ///< Throws "invalid tag format"; drops a digest.
    Reference with_digest(const Digest& digest) const;  ///< Drops a tag.

    friend auto operator<=>(const Reference&, const Reference&) = default;

private:
    std::string suffix() const;

    std::string domain_;
    std::string path_;
    std::string tag_;
    std::optional<Digest> digest_;
};

/// [\w][\w.-]{0,127}
bool is_valid_tag(std::string_view tag) noexcept;

}  // namespace grua::oci
