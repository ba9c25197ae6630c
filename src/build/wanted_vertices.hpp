// Which builds' sessions may be asked for what an operation takes of its client, as secrets: those of all builds in whose graphs it is.
// With bake one target's graph is a part of another's, and whoever of the two comes first begins the operations of both.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace grua::build {

class WantedVertices {
public:
    /// For as long as the answer lives. `vertices`: their digests.
    std::shared_ptr<const void> add(const std::string& session, const std::vector<std::string>& vertices) {
        const auto at = all_->insert({session, {vertices.begin(), vertices.end()}});
        return {static_cast<const void*>(&*at), [all = all_, at](const void*) { all->erase(at); }};
    }

    /// `first`, then all others that want the vertex.
    std::vector<std::string> by(std::string_view vertex, const std::string& first) const {
        std::vector<std::string> out{first};
        for (const auto& [session, vertices] : *all_)
            if (session != out.back() && session != first && vertices.contains(vertex)) out.push_back(session);
        return out;
    }

private:
    using All = std::multimap<std::string, std::set<std::string, std::less<>>>;
    std::shared_ptr<All> all_ = std::make_shared<All>();
};

}  // namespace grua::build
