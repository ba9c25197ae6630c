#include "build/wildcards.hpp"

#include "base/error.hpp"
#include "base/text.hpp"
#include "base/utf8.hpp"
#include "build/folder_names.hpp"
#include "build/ignore_file.hpp"
#include "build/tree_path.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <algorithm>
#include <optional>
#include <utility>

namespace grua::build {
namespace {

constexpr std::size_t held_limit = std::size_t{512} << 20U;

/// One element of a pattern that is no star: what it takes of the name's front.
enum class Taken { yes, no, bad };

struct Character {
    char32_t value = 0;
    std::size_t size = 1;
    bool is_valid = false;
};

Character first_of(std::string_view text) {
    const std::size_t size = utf8_length(text);
    const auto byte = [&](std::size_t at) { return static_cast<char32_t>(static_cast<unsigned char>(text[at])); };
    if (size == 0) return {.value = 0xFFFD};
    char32_t value = size == 1 ? byte(0) : byte(0) & (0xFFU >> (size + 1));
    for (std::size_t at = 1; at < size; ++at) value = value << 6U | (byte(at) & 0x3FU);
    return {.value = value, .size = size, .is_valid = true};
}

/// A character inside of brackets, which may be escaped. Nothing where the pattern is wrong.
std::optional<char32_t> class_character(std::string_view pattern, std::size_t& at) {
    if (at >= pattern.size() || pattern[at] == '-' || pattern[at] == ']') return std::nullopt;
    if (pattern[at] == '\\') ++at;
    if (at >= pattern.size()) return std::nullopt;
    const Character character = first_of(pattern.substr(at));
    at += character.size;
    if (!character.is_valid || at >= pattern.size()) return std::nullopt;
    return character.value;
}

/// `at` is behind the bracket, and then behind the closing one. Nothing where the pattern is wrong.
std::optional<bool> in_class(std::string_view pattern, std::size_t& at, char32_t character) {
    const bool negated = at < pattern.size() && pattern[at] == '^';
    if (negated) ++at;
    bool found = false;
    for (bool is_first = true;; is_first = false) {
        if (!is_first && at < pattern.size() && pattern[at] == ']') break;
        const auto low = class_character(pattern, at);
        if (!low) return std::nullopt;
        auto high = low;
        if (pattern[at] == '-') {
            ++at;
            high = class_character(pattern, at);
            if (!high) return std::nullopt;
        }
        found = found || (*low <= character && character <= *high);
    }
    ++at;
    return found != negated;
}

/// Takes one element, not a star, of the pattern at `at` and what it matches of the name at `position`.
Taken take(std::string_view pattern, std::size_t& at, std::string_view name, std::size_t& position) {
    const char kind = pattern[at];
    const bool ended = position >= name.size();
    if (kind == '[') {
        ++at;
        const Character character = ended ? Character{} : first_of(name.substr(position));
        const auto found = in_class(pattern, at, character.value);
        if (!found) return Taken::bad;
        if (ended || !*found) return Taken::no;
        position += character.size;
        return Taken::yes;
    }
    if (kind == '?') {
        ++at;
        if (ended || name[position] == '/') return Taken::no;
        position += first_of(name.substr(position)).size;
        return Taken::yes;
    }
    if (kind == '\\' && ++at >= pattern.size()) return Taken::bad;
    if (ended || name[position] != pattern[at]) return Taken::no;
    ++at;
    ++position;
    return Taken::yes;
}

/// Where a class of it may take a slash, parts of the pattern are not parts of the path.
bool may_take_slash(std::string_view pattern) {
    for (std::size_t at = 0; at < pattern.size(); ++at) {
        if (pattern[at] == '\\') {
            ++at;
        } else if (pattern[at] == '[') {
            std::size_t behind = at + 1;
            const auto takes = in_class(pattern, behind, U'/');
            if (!takes) return false;  // It matches nothing.
            if (*takes) return true;
            at = behind - 1;
        }
    }
    return false;
}

/// The search below one folder. What is still to be looked at is held as paths, and each folder is opened when its turn has come.
class Search {
public:
    Search(const TreePlace& base, std::string_view pattern, const std::stop_token& stop)
        : base_(base), pattern_(pattern), stop_(stop), by_parts_(!may_take_slash(pattern)) {
        if (by_parts_) parts_ = split(pattern_, '/');
    }

    std::vector<std::string> run() {
        look_into({});
        while (!waiting_.empty()) {
            if (stop_.stop_requested()) fail(ErrorKind::unavailable, "context canceled");
            const Item item = std::move(waiting_.back());
            waiting_.pop_back();
            held_ -= item.path.size();
            if (!item.is_match)
                look_into(item);
            else if (out_.size() < wildcard_match_limit)
                out_.push_back(item.path);
            else
                fail(ErrorKind::invalid_argument, "{}: matches too many files", pattern_);
        }
        return std::move(out_);
    }

private:
    struct Item {
        std::string path;
        std::size_t depth = 0;  ///< How many names.
        bool is_match = false;
    };

    void look_into(const Item& folder) {
        const std::string shown = base_.path() + (base_.names.empty() ? "" : "/") + folder.path;
        const std::optional<Fd> open = open_folder(folder.path, shown);
        if (!open) return;
        const FolderNames names{open->get(), shown, held_limit};
        for (std::size_t index = names.size(); index-- > 0;) {
            Item item;
            item.path = folder.path.empty() ? names.name(index) : folder.path + "/" + names.name(index);
            item.depth = folder.depth + 1;
            item.is_match = is_match(item, names.name(index));
            const bool may_be_folder = names.type(index) == DT_DIR || names.type(index) == DT_UNKNOWN;
            if (!item.is_match && (!may_be_folder || !may_be_above(item, names.name(index)))) continue;
            held_ += item.path.size();
            if (held_ > held_limit) fail(ErrorKind::invalid_argument, "{}: too many files in it", shown);
            waiting_.push_back(std::move(item));
        }
    }

    std::optional<Fd> open_folder(const std::string& path, const std::string& shown) const {
        if (shown.size() >= path_limit) fail_path("lstat", shown, ENAMETOOLONG);
        const auto open = [&](int from, const char* name) {
            return Fd{::openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)};
        };
        Fd folder = open(base_.there.get(), ".");
        for (std::size_t at = 0; folder && at < path.size();) {
            const std::size_t end = std::min(path.find('/', at), path.size());
            folder = open(folder.get(), path.substr(at, end - at).c_str());
            at = end + 1;
        }
        if (folder) return folder;
        // What was no folder, or is none any more, has nothing in it.
        if (errno == ENOTDIR || errno == ELOOP || errno == ENOENT) return std::nullopt;
        fail_path("open", shown);
    }

    bool is_match(const Item& item, const char* name) const {
        if (!by_parts_) return matches_wildcards(pattern_, item.path);
        return item.depth == parts_.size() && matches_wildcards(parts_.back(), name);
    }

    bool may_be_above(const Item& item, const char* name) const {
        return !by_parts_ || (item.depth < parts_.size() && matches_wildcards(parts_[item.depth - 1], name));
    }

    const TreePlace& base_;
    std::string pattern_;
    const std::stop_token& stop_;
    bool by_parts_;
    std::vector<std::string> parts_;
    std::vector<Item> waiting_;  // The next one is the last.
    std::size_t held_ = 0;
    std::vector<std::string> out_;
};

}  // namespace

bool has_wildcards(std::string_view path) {
    for (std::size_t at = 0; at < path.size(); ++at) {
        if (path[at] == '\\')
            ++at;
        else if (path[at] == '*' || path[at] == '?' || path[at] == '[')
            return true;
    }
    return false;
}

bool matches_wildcards(std::string_view pattern, std::string_view name) {
    // Of several stars only the last one is ever made longer: what is in front of it was matched as early as it can be.
    constexpr std::size_t none = std::string_view::npos;
    std::size_t at = 0;
    std::size_t position = 0;
    std::size_t star = none;     // Behind it in the pattern.
    std::size_t star_taken = 0;  // Up to where in the name it goes.
    for (;;) {
        if (at < pattern.size() && pattern[at] == '*') {
            star = ++at;
            star_taken = position;
            continue;
        }
        if (at == pattern.size() && position == name.size()) return true;
        if (at < pattern.size()) {
            const Taken taken = take(pattern, at, name, position);
            if (taken == Taken::yes) continue;
            if (taken == Taken::bad) return false;
        }
        if (star == none || star_taken >= name.size() || name[star_taken] == '/') return false;
        position = ++star_taken;
        at = star;
    }
}

std::vector<std::string> expand_wildcards(const Root& root, std::string_view path, LastLink links, const std::stop_token& stop) {
    const std::string cleaned = clean_path("/" + std::string(path));
    const std::vector<std::string> parts = split(cleaned, '/');
    const auto first = std::ranges::find_if(parts, [](const std::string& each) { return has_wildcards(each); });
    if (first == parts.end()) return {cleaned};

    const TreePlace base = find_place(root, join({parts.begin(), first}, "/"), links);
    if (!base.exists()) fail_path("lstat", base.path(), ENOENT);
    if (!base.is_folder()) return {};
    std::vector<std::string> out = Search{base, join({first, parts.end()}, "/"), stop}.run();
    const std::string front = base.names.empty() ? "/" : base.path() + "/";
    for (std::string& each : out) each.insert(0, front);
    return out;
}

}  // namespace grua::build
