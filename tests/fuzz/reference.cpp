// Names of images: what is taken is written so that it is read back as the same.
#include "oci/reference.hpp"
#include "fuzz.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace grua;
    return fuzz::refuses_or_takes([&] {
        const oci::Reference reference = oci::Reference::parse(fuzz::text(data, size));
        fuzz::check(oci::Reference::parse(reference.text()) == reference);
        fuzz::check(!reference.with_default_tag().is_name_only());
    });
}
