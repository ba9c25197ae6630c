// images --tree: each image with its platforms below it.
#include "cli/handlers.hpp"
#include "cli/terminal.hpp"
#include "cli/units.hpp"

#include "base/text.hpp"

#include <unistd.h>
#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <tuple>

namespace grua::cli {

namespace {

constexpr std::size_t gap = 3;
constexpr std::size_t id_width = 12;
constexpr std::size_t usage_width = 10;    // "DISK USAGE"
constexpr std::size_t content_width = 12;  // "CONTENT SIZE"
constexpr std::size_t extra_width = 5;     // "EXTRA"
constexpr std::size_t name_least = 12;

struct Details {
    std::string id;
    std::int64_t total = 0;
    std::int64_t content = 0;
    bool in_use = false;
};

struct Child {
    std::string platform;
    bool available = true;
    Details details;
};

struct Image {
    std::vector<std::string> names;
    Details details;
    std::vector<Child> children;
};

std::string platform_of(const Value& data) {
    const Value& platform = at(data, "Platform");
    std::string os = text_at(platform, "os");
    if (os.empty()) return "unknown";
    std::string out = os + "/" + text_at(platform, "architecture");
    if (const std::string variant = text_at(platform, "variant"); !variant.empty()) out += "/" + variant;
    return out;
}

Image image_of(const Value& summary) {
    Image out;
    if (const auto* tags = at(summary, "RepoTags").if_array()) {
        for (const Value& tag : *tags) {
            if (print_value(tag) != "<none>:<none>") out.names.push_back(print_value(tag));
        }
    }
    std::ranges::sort(out.names);
    out.details = {.id = text_at(summary, "Id"), .total = number_at(summary, "Size"), .in_use = number_at(summary, "Containers") > 0};
    const auto* manifests = at(summary, "Manifests").if_array();
    if (!manifests) return out;
    for (const Value& manifest : *manifests) {
        const Value& size = at(manifest, "Size");
        out.details.content += number_at(size, "Content");
        if (text_at(manifest, "Kind") != "image") continue;
        const Value& data = at(manifest, "ImageData");
        const auto* containers = at(data, "Containers").if_array();
        const bool in_use = containers && !containers->empty();
        out.details.in_use = out.details.in_use || in_use;
        out.children.push_back({.platform = platform_of(data),
                                .available = bool_at(manifest, "Available"),
                                .details = {.id = text_at(manifest, "ID"),
                                            .total = number_at(size, "Total"),
                                            .content = number_at(size, "Content"),
                                            .in_use = in_use}});
    }
    return out;
}

std::string left(const std::string& text, std::size_t width) {
    const std::size_t present = display_width(text);
    return present < width ? text + std::string(width - present, ' ') : text;
}

std::string right(const std::string& text, std::size_t width) {
    const std::size_t present = display_width(text);
    return present < width ? std::string(width - present, ' ') + text : text;
}

class Tree {
public:
    Tree(std::vector<Image> images, std::size_t columns, bool paint) : images_(std::move(images)), columns_(columns), paint_(paint) {
        for (const Image& image : images_) {
            for (const std::string& name : image.names) name_width_ = std::max(name_width_, display_width(name));
            for (const Child& child : image.children) name_width_ = std::max(name_width_, display_width(child.platform) + 3);
        }
        // On a narrow terminal the last columns go first; a name that is too long gets a line of its own.
        if (columns_ == 0) return;
        std::size_t room = columns_;
        fields_ = 0;
        for (const std::size_t width : {id_width, usage_width, content_width, extra_width}) {
            if (room < width + gap + name_least) break;
            room -= width + gap;
            ++fields_;
        }
        name_width_ = std::min(name_width_, room);
    }

    std::string text() const {
        std::string out = columns_ == 0 ? std::string() : right("U  in use", columns_) + "\n";
        out += coloured("\x1b[1m", left("IMAGE", name_width_) + fields({"ID", "DISK USAGE", "CONTENT SIZE", "EXTRA"})) + "\n";
        const bool spaced = std::ranges::any_of(images_, [](const Image& image) { return !image.children.empty(); });
        for (const Image& image : images_) {
            out += names(image) + coloured("", details(image.details)) + "\n";
            for (std::size_t i = 0; i < image.children.size(); ++i) {
                const Child& child = image.children[i];
                const std::string branch = (i + 1 < image.children.size() ? "├─ " : "└─ ") + child.platform;
                out += coloured(child.available ? "" : "\x1b[2m", left(branch, name_width_) + details(child.details)) + "\n";
            }
            if (spaced) out += "\n";
        }
        return out;
    }

private:
    std::string coloured(const char* colour, const std::string& text) const { return paint_ && *colour ? colour + text + "\x1b[0m" : text; }

    std::string names(const Image& image) const {
        if (image.names.empty()) return coloured("\x1b[2m", left("<untagged>", name_width_));
        std::string out;
        for (std::size_t i = 0; i < image.names.size(); ++i) {
            const bool last = i + 1 == image.names.size();
            const bool whole = display_width(image.names[i]) <= name_width_;
            out += coloured("\x1b[1;34m", last && whole ? left(image.names[i], name_width_) : image.names[i]);
            if (!last || !whole) out += "\n";
            if (last && !whole) out += std::string(name_width_, ' ');
        }
        return out;
    }

    std::string fields(const std::array<std::string, 4>& texts) const {
        constexpr std::array widths{id_width, usage_width, content_width, std::size_t{0}};
        std::string out;
        for (std::size_t i = 0; i < fields_; ++i) {
            out.append(gap, ' ');
            out += i == 0 || i == 3 ? left(texts[i], widths[i]) : right(texts[i], widths[i]);
        }
        return out;
    }

    std::string details(const Details& details) const {
        std::string id = details.id.starts_with("sha256:") ? details.id.substr(7) : details.id;
        const auto size = [](std::int64_t bytes) { return human_size(static_cast<double>(bytes), 3); };
        std::string out = fields({id.substr(0, id_width), size(details.total), size(details.content), details.in_use ? "U" : ""});
        out.erase(out.find_last_not_of(' ') + 1);
        return out;
    }

    std::vector<Image> images_;
    std::size_t columns_;
    bool paint_;
    std::size_t name_width_ = std::string_view("<untagged>").size();
    std::size_t fields_ = 4;
};

}  // namespace

std::string image_tree(const Value& summaries, std::size_t columns, bool paint) {
    std::vector<Image> images;
    for (const Value& summary : summaries.as_array()) images.push_back(image_of(summary));
    // By name; those without one come last.
    std::ranges::sort(images, {}, [](const Image& image) {
        return std::tuple(image.names.empty(), image.names.empty() ? std::string() : image.names[0], image.details.id);
    });
    return Tree(std::move(images), columns, paint).text();
}

}  // namespace grua::cli
