// Manifests, indexes, docker-archive's manifest.json and image configurations.
#include "fuzz.hpp"
#include "oci/image_config.hpp"
#include "oci/manifest.hpp"

namespace {

/// What is taken is written so that it is taken again.
template <typename Parse>
void round_trip(std::string_view text, Parse parse) {
    grua::fuzz::refuses_or_takes([&] {
        const auto document = parse(text);
        static_cast<void>(parse(grua::json::dump(document, {})));
    });
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace grua;
    const std::string_view text = fuzz::text(data, size);
    round_trip(text, oci::parse_manifest);
    round_trip(text, [](std::string_view one) {
        oci::Index index = oci::parse_index(one);
        static_cast<void>(oci::choose(index, oci::Platform::host()));
        return index;
    });
    round_trip(text, [](std::string_view one) {
        oci::ImageConfig config = oci::parse_image_config(one);
        fuzz::check(oci::diff_ids(config).size() <= oci::layer_count_limit);
        return config;
    });
    return fuzz::refuses_or_takes([&] { static_cast<void>(oci::parse_archive_manifest(text)); });
}
