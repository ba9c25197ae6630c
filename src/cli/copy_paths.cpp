#include "cli/copy_paths.hpp"

#include "base/error.hpp"
#include "base/text.hpp"

#include <vector>

namespace grua::cli {
namespace {

/// The last part: "." of "a/.", "b" of "a/b/", "/" of "/".
std::string base_of(std::string_view path) {
    while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
    if (path.empty()) return ".";
    return path == "/" ? "/" : std::string(path.substr(path.rfind('/') + 1));
}

std::string folder_of(std::string_view path) {
    const std::size_t slash = path.rfind('/');
    return slash == std::string_view::npos ? "." : clean_text(path.substr(0, slash + 1));
}

}  // namespace

CopyArgument split_copy_argument(const std::string& argument) {
    const std::size_t colon = argument.find(':');
    // "/a:b" and "./a:b" are local.
    if (argument.starts_with('/') || argument.starts_with('.') || colon == std::string::npos) return {"", argument};
    return {argument.substr(0, colon), argument.substr(colon + 1)};
}

std::string clean_text(std::string_view path) {
    const bool absolute = path.starts_with('/');
    std::vector<std::string> parts;
    for (std::string& part : split(path, '/')) {
        if (part.empty() || part == ".") continue;
        if (part == ".." && !parts.empty() && parts.back() != "..") {
            parts.pop_back();
        } else if (part != ".." || !absolute) {
            parts.push_back(std::move(part));
        }
    }
    const std::string out = (absolute ? "/" : "") + join(parts, "/");
    return out.empty() ? "." : out;
}

bool ends_in_slash(std::string_view path) { return path.ends_with('/'); }

bool means_contents(std::string_view path) { return base_of(path) == "."; }

std::string keep_end(std::string cleaned, std::string_view original) {
    if (!means_contents(cleaned) && means_contents(original)) cleaned += ends_in_slash(cleaned) ? "." : "/.";
    if (!ends_in_slash(cleaned) && ends_in_slash(original)) cleaned += "/";
    return cleaned;
}

std::pair<std::string, std::string> split_entry(const std::string& path) {
    std::string cleaned = clean_text(path);
    if (means_contents(path)) cleaned += "/.";
    return {folder_of(cleaned), base_of(cleaned)};
}

CopyPlan plan_copy(const CopySide& source, const CopySide& target) {
    const auto [folder, name] = split_entry(target.path);
    const std::string from = source.rename.empty() ? split_entry(source.path).second : source.rename;
    if (target.exists && target.is_folder) return {.folder = target.path, .from = "", .to = ""};
    if (target.exists && source.is_folder) fail(ErrorKind::invalid_argument, "cannot copy directory");
    const bool asserted = ends_in_slash(target.path) || means_contents(target.path);
    if (!target.exists && !source.is_folder && asserted) fail(ErrorKind::invalid_argument, "no such directory");
    return {.folder = folder, .from = from, .to = name};
}

std::function<std::string(const std::string&)> renaming(const CopyPlan& plan) {
    if (plan.from.empty()) return {};
    if (plan.from == "/") {
        return [to = plan.to](const std::string& name) {
            const std::size_t begin = std::min(name.find_first_not_of('/'), name.size());
            return to + "/" + name.substr(begin);
        };
    }
    return [from = plan.from, to = plan.to](const std::string& name) {
        if (!name.starts_with(from) || (name.size() > from.size() && name[from.size()] != '/')) return name;
        return to + name.substr(from.size());
    };
}

std::pair<std::string, std::string> renamed_by_links(const std::string& path, std::string resolved) {
    if (means_contents(path) && !means_contents(resolved)) resolved += "/.";
    if (ends_in_slash(path) && !ends_in_slash(resolved)) resolved += "/";
    return {resolved, base_of(path) == base_of(resolved) ? "" : base_of(path)};
}

}  // namespace grua::cli
