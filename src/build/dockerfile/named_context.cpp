#include "build/dockerfile/named_context.hpp"

#include "base/text.hpp"
#include "oci/reference.hpp"

namespace grua::build::dockerfile {

std::optional<std::string> find_named_context(const std::set<std::string, std::less<>>& names, std::string_view image_or_stage,
                                              const oci::Platform& platform) {
    if (names.empty()) return std::nullopt;
    std::string short_name(image_or_stage);
    try {
        short_name = oci::Reference::parse(image_or_stage).with_default_tag().familiar();
        if (short_name.ends_with(":latest")) short_name.resize(short_name.size() - std::string_view(":latest").size());
    } catch (const Error&) {
        // The name of a stage need not be one of an image.
    }
    for (const std::string& each :
         {fmt::format("{}::{}", short_name, platform.text()), short_name, std::string(image_or_stage), to_lower(image_or_stage)})
        if (names.contains(each)) return each;
    return std::nullopt;
}

}  // namespace grua::build::dockerfile
