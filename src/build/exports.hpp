// What a client wants done with a build's result, from the words of its request. What we know and cannot do is refused as not implemented;
// nothing is read and then left out. Pure.
#pragma once

#include "build/layer_form.hpp"
#include "build/wire/control.pb.h"
#include "oci/platform.hpp"
#include "oci/reference.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace grua::build {

/// More of them are refused.
inline constexpr std::size_t exporter_limit = 64;

struct Annotation {
    enum class Where : std::uint8_t { index, index_descriptor, manifest, manifest_descriptor };
    Where where = Where::manifest;
    std::optional<oci::Platform> platform;  ///< Nothing: of each.
    std::string key;
    std::string value;
};

/// SOURCE_DATE_EPOCH: no time that is made is later.
struct SourceDate {
    bool is_said = false;                 ///< Then what the front end says does not count, also where there is no time.
    std::optional<std::int64_t> seconds;  ///< Since 1970.
};

/// Of everything that is an image.
struct ImageForm {
    std::vector<oci::Reference> names;  ///< With a tag each.
    LayerForm layers;
    std::optional<bool> oci_types;     ///< Not said: where the image needs them.
    std::optional<bool> oci_artifact;  ///< Of the manifest of attestations. Not said: as oci_types.
    bool inline_attestations = false;  ///< Also those that are for what is inside an image only.
    bool rewrite_timestamp = false;    ///< In layers, to the source date.
    std::vector<Annotation> annotations;
};

/// Into the store of images, and from there to registries.
struct ImageExport {
    ImageForm form;
    bool push = false;
    bool push_by_digest = false;
    bool insecure = false;        ///< The registry may be without TLS.
    bool unpack = true;           ///< Layers are there for containers at once.
    bool store = true;            ///< Under its names.
    bool name_canonical = false;  ///< Also as name@digest.
    std::string dangling_prefix;  ///< prefix@digest is a name as well.
    bool dangling_only_if_unnamed = true;
};

/// As an archive to the client, or, without tar, as blobs into its content store.
struct ArchiveExport {
    enum class Layout : std::uint8_t { oci, docker };
    Layout layout = Layout::oci;
    ImageForm form;
    bool tar = true;
};

/// The files themselves to the client: as they are, or as a tar.
struct FilesExport {
    enum class Kind : std::uint8_t { folder, tar };
    enum class Mode : std::uint8_t { copy, remove_others };
    Kind kind = Kind::folder;
    Mode mode = Mode::copy;
    std::optional<bool> platform_split;  ///< A folder for each platform. Not said: where the result has platforms.
    std::string attestation_prefix;      ///< Of the names of files with attestations.
};

struct Export {
    int id = 0;        ///< Its place in the request: by this the client knows it.
    std::string type;  ///< As it was said.
    std::map<std::string, std::string> attributes;
    SourceDate source_date;
    std::variant<ImageExport, ArchiveExport, FilesExport> what;
};

/// Throws Error that names the exporter, `exporter "image": …`; invalid_argument, or not_implemented.
std::vector<Export> parse_exports(const wire::control::SolveRequest& request);

}  // namespace grua::build
