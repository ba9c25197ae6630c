#include "build/selection.hpp"

#include "base/error.hpp"
#include "base/test_points.hpp"
#include "base/text.hpp"
#include "base/utf8.hpp"
#include "build/ignore_file.hpp"
#include "build/wildcards.hpp"
#include "content/hash.hpp"

#include <sys/stat.h>
#include <deque>
#include <set>

namespace grua::build {
namespace {

constexpr int most_links = 255;

std::deque<std::string> parts_of(std::string_view path) {
    std::deque<std::string> out;
    for (std::string& each : split(path, '/'))
        if (!each.empty() && each != ".") out.push_back(std::move(each));
    return out;
}

/// Lengths in front, so that no two lists of texts give the same bytes; what begins with the same word has as many texts.
void add(content::Hasher& hash, std::string_view text) {
    hash.update(fmt::format("{}:", text.size()));
    hash.update(text);
}

/// `first`: the name under which the same file has been added already. Then one file with two names comes of it, and not two.
void add(content::Hasher& hash, std::string_view name, const TreeEntry& entry, std::string_view first = {}) {
    add(hash, first.empty() ? "entry" : "link");
    add(hash, name);
    add(hash, fmt::format("{:o} {} {} {} {}", entry.mode, entry.uid, entry.gid, entry.device, entry.xattrs.size()));
    if (!first.empty()) add(hash, first);
    // Another name of a file counts by its contents, as the file does.
    add(hash, S_ISLNK(entry.mode) ? entry.link : std::string_view{});
    add(hash, entry.digest);
    for (const auto& [key, value] : entry.xattrs) {
        add(hash, key);
        add(hash, value);
    }
}

class Reader {
public:
    Reader(const TreeIndex& tree, content::Hasher& hash, ReadFiles* read) : tree_(tree), hash_(hash), read_(read) {}

    void take(const Selection& selection) {
        if (selection.is_wildcard && has_wildcards(selection.path)) return take_matches(selection);
        const auto root = resolve(tree_, selection.path, selection.follows_links);
        if (!root && is_left_out("CVE-2024-1753")) return;
        if (!root) fail(ErrorKind::not_found, "\"{}\": not found", to_valid_utf8(selection.path));
        take_below(*root, selection);
    }

private:
    /// The folder in front of the first wildcard is resolved as any path is, what matches behind it is not.
    void take_matches(const Selection& selection) {
        std::deque<std::string> parts = parts_of(selection.path);
        std::string folder;
        while (!parts.empty() && !has_wildcards(parts.front())) {
            folder += "/" + parts.front();
            parts.pop_front();
        }
        const auto base = resolve(tree_, folder, true);
        if (!base) return;
        const std::string pattern = join({parts.begin(), parts.end()}, "/");
        const std::size_t front = front_of(*base);
        for (auto each = first_below(*base); each != tree_.end() && is_below(each->first, *base); ++each) {
            const std::string_view name = std::string_view(each->first).substr(front);
            if (!matches_wildcards(pattern, name)) continue;
            add(hash_, "match");
            add(hash_, name);
            const auto root = resolve(tree_, each->first, selection.follows_links);
            if (!root) fail(ErrorKind::not_found, "\"/{}\": not found", to_valid_utf8(each->first));
            take_below(*root, selection);
        }
    }

    void take_below(const std::string& root, const Selection& selection) {
        names_.clear();
        const auto itself = tree_.find(root);
        if (itself != tree_.end()) take("", *itself);
        if (itself != tree_.end() && !S_ISDIR(itself->second.mode)) return;
        if (selection.include.empty() && selection.exclude.empty()) {
            for (auto each = first_below(root); each != tree_.end() && is_below(each->first, root); ++each)
                take_entry(root, *each, [&](std::string_view path) { return is_below(path, root); });
            return;
        }
        take_filtered(root, selection);
    }

    void take_filtered(const std::string& root, const Selection& selection) {
        const IgnoreFile include(selection.include);
        const IgnoreFile exclude(selection.exclude);
        const std::size_t front = front_of(root);
        std::set<std::string, PathOrder> taken;
        for (auto each = first_below(root); each != tree_.end() && is_below(each->first, root); ++each) {
            const std::string name = each->first.substr(front);
            if ((!selection.include.empty() && !include.ignores(name)) || exclude.ignores(name)) continue;
            // The folders that it is in come with it.
            for (std::string path = name; !path.empty() && taken.insert(path).second; path = std::string(parent_of(path))) continue;
        }
        const auto is_taken = [&](std::string_view path) { return is_below(path, root) && taken.contains(path.substr(front)); };
        for (const std::string& each : taken) take_entry(root, *tree_.find(root.empty() ? each : root + "/" + each), is_taken);
    }

    void take(std::string_view name, const TreeIndex::value_type& entry) {
        add(hash_, name, entry.second);
        if (read_) read_->add(entry);
    }

    /// `is_taken`: whether the file that it is another name of is taken as well. It comes first in the list.
    template <typename IsTaken>
    void take_entry(const std::string& root, const TreeIndex::value_type& what, IsTaken is_taken) {
        const auto& [path, entry] = what;
        const std::string_view name = std::string_view(path).substr(front_of(root));
        if (read_) read_->add(what);
        if (!S_ISREG(entry.mode) || entry.link.empty()) return add(hash_, name, entry);
        if (is_taken(entry.link)) return add(hash_, name, entry, std::string_view(entry.link).substr(front_of(root)));
        const auto [first, is_new] = names_.try_emplace(entry.link, name);
        add(hash_, name, entry, is_new ? std::string_view{} : first->second);
    }

    static std::size_t front_of(const std::string& root) { return root.empty() ? 0 : root.size() + 1; }

    TreeIndex::const_iterator first_below(const std::string& folder) const {
        return folder.empty() ? tree_.begin() : tree_.upper_bound(folder);
    }
    static bool is_below(std::string_view path, std::string_view folder) {
        return folder.empty() || (path.size() > folder.size() && path.starts_with(folder) && path[folder.size()] == '/');
    }

    const TreeIndex& tree_;
    content::Hasher& hash_;
    ReadFiles* read_;
    std::map<std::string_view, std::string_view> names_;  ///< The first that was taken of a file of which the first name was not.
};

}  // namespace

std::optional<std::string> resolve(const TreeIndex& tree, std::string_view path, bool follows_last) {
    std::deque<std::string> rest = parts_of(path);
    std::string at;
    for (int links = 0; !rest.empty();) {
        const std::string part = std::move(rest.front());
        rest.pop_front();
        if (part == "..") {
            at = std::string(parent_of(at));
            continue;
        }
        std::string next = at.empty() ? part : at + "/" + part;
        const auto entry = tree.find(next);
        if (entry == tree.end()) return std::nullopt;
        if (S_ISLNK(entry->second.mode) && (!rest.empty() || follows_last)) {
            if (++links > most_links) fail(ErrorKind::invalid_argument, "{}: too many links", to_valid_utf8(path));
            if (entry->second.link.starts_with('/')) at.clear();
            std::deque<std::string> target = parts_of(entry->second.link);
            rest.insert(rest.begin(), target.begin(), target.end());
            continue;
        }
        if (!rest.empty() && !S_ISDIR(entry->second.mode)) return std::nullopt;
        at = std::move(next);
    }
    return at;
}

std::string digest_of(const TreeIndex& tree, const std::vector<Selection>& selections, ReadFiles* read) {
    content::Hasher hash;
    for (const Selection& each : selections) {
        add(hash, "selection");
        Reader(tree, hash, read).take(each);
    }
    return hash.finish().text();
}

}  // namespace grua::build
