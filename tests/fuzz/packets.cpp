// What a client's session says of its files, packet by packet (two bytes of length before each): a list, and after its end the list of the
// next build of the same folder. What is taken leads nowhere else, and what is to be done turns the one tree into the other.
#include "build/selection.hpp"
#include "build/tree_index.hpp"
#include "fuzz.hpp"

#include <sys/stat.h>
#include <algorithm>
#include <set>
#include <string>
#include <vector>

namespace {

using namespace grua;
using namespace grua::build;

void check_path(std::string_view path) {
    fuzz::check(!path.empty() && !path.starts_with('/') && !path.ends_with('/') && !path.contains("//") && !path.contains('\0'));
    for (std::size_t at = 0; at <= path.size();) {
        const std::size_t end = std::min(path.find('/', at), path.size());
        const std::string_view part = path.substr(at, end - at);
        fuzz::check(part != "." && part != "..");
        at = end + 1;
    }
}

void check_tree(const TreeIndex& tree) {
    for (const auto& [path, entry] : tree) {
        check_path(path);
        if (const std::string_view parent = parent_of(path); !parent.empty()) {
            const auto above = tree.find(parent);
            fuzz::check(above != tree.end() && S_ISDIR(above->second.mode));
        }
        if (S_ISREG(entry.mode) && !entry.link.empty()) {
            const auto other = tree.find(entry.link);
            fuzz::check(other != tree.end() && S_ISREG(other->second.mode) && other->second.link.empty());
        }
        for (const auto& [name, value] : entry.xattrs) fuzz::check(!name.starts_with("trusted.overlay."));
        // As it is told to another client it is the same.
        const TreeEntry again = read_stat(write_stat(path, entry));
        fuzz::check(again.mode == entry.mode && again.link == entry.link && again.size == entry.size && again.mtime == entry.mtime);
        // Its digest counts all of it, and links lead to something or to nothing, but to an end.
        fuzz::refuses_or_takes([&] {
            if (const auto found = resolve(tree, path, true)) fuzz::check(found->empty() || tree.contains(*found));
        });
    }
    fuzz::refuses_or_takes([&] { static_cast<void>(digest_of(tree, {Selection{}})); });
}

/// What `changes` leave of the one and make of the other.
void check_changes(const TreeIndex& before, const TreeIndex& now, const TreeChanges& changes) {
    std::set<std::string> there;
    for (const auto& [path, entry] : before) there.insert(path);
    for (const std::string& each : changes.remove) fuzz::check(there.erase(each) == 1);
    for (const auto* list : {&changes.make, &changes.fetch, &changes.link})
        for (const std::string& each : *list) fuzz::check(there.insert(each).second);
    fuzz::check(there.size() == now.size());
    for (const auto& [path, entry] : now) fuzz::check(there.contains(path));
    for (const std::string& each : changes.touch) fuzz::check(S_ISDIR(now.at(each).mode));
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    std::string_view rest = fuzz::text(data, size);
    std::vector<TreeList> lists(2);
    std::size_t which = 0;
    while (rest.size() >= 2 && which < lists.size()) {
        const std::size_t length = static_cast<unsigned char>(rest[0]) | static_cast<std::size_t>(static_cast<unsigned char>(rest[1]))
                                                                             << 8U;
        const std::string_view bytes = rest.substr(2, length);
        rest.remove_prefix(2 + bytes.size());
        wire::files::Packet packet;
        if (!packet.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) continue;
        if (packet.type() != wire::files::Packet::PACKET_STAT) continue;
        if (!packet.has_stat()) {
            ++which;
            continue;
        }
        // Real ones end at the first that is refused.
        fuzz::refuses_or_takes([&] { lists[which].add(packet.stat()); });
    }
    for (TreeList& each : lists) {
        check_tree(each.entries());
        fuzz::check(each.in_order().size() == each.entries().size());
        fuzz::check(std::ranges::is_sorted(each.in_order(), PathOrder{}, [](const auto* one) -> const std::string& { return one->first; }));
    }
    TreeIndex& now = lists[1].entries();
    check_changes(lists[0].entries(), now, changes_between(lists[0].entries(), now));
    return 0;
}
