// What a client wants to be said about what it builds (`attest:provenance`, `attest:sbom`), from the options of its request. Pure.
#pragma once

#include "oci/reference.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace grua::build {

/// Of a front end, as the client gives them.
using ClientOptions = std::map<std::string, std::string, std::less<>>;

struct ProvenanceWish {
    enum class Mode : std::uint8_t {
        min,  ///< No values of arguments, no names of secrets, no steps.
        max,
    };
    enum class Form : std::uint8_t { slsa_0_2, slsa_1 };

    Mode mode = Mode::max;
    Form form = Form::slsa_0_2;
    std::string builder_id;                    ///< A URL, or empty.
    std::string filename = "provenance.json";  ///< Where files are exported.
    bool is_reproducible = false;              ///< The client says so.
    bool inline_only = false;                  ///< Not for files; see has_provenance() for images.
};

/// What is in an image: a scanner says it, which is an image itself.
struct SbomWish {
    oci::Reference generator;
    std::map<std::string, std::string> parameters;
};

struct AttestationWishes {
    std::optional<ProvenanceWish> provenance;
    std::optional<SbomWish> sbom;
};

/// Throws Error(invalid_argument) that names the option.
AttestationWishes parse_attestations(const ClientOptions& options);

}  // namespace grua::build
