// Dockerfile lines of `import --change` and `commit --change`.
#include "fuzz.hpp"
#include "images/image_store.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace grua;
    oci::ImageRunConfig config;
    return fuzz::refuses_or_takes([&] { images::apply_changes(config, {std::string(fuzz::text(data, size))}); });
}
