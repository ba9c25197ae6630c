// What a request brings with it that other builds have from their client's session: folders of files, and credentials of registries.
#pragma once

#include "build/context_store.hpp"
#include "registry/credentials.hpp"

#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace grua::build {

struct Given {
    std::map<std::string, std::shared_ptr<const Context>, std::less<>> contexts;  ///< "context", "dockerfile"
    std::map<std::string, registry::Credentials, std::less<>> credentials;        ///< By the registry's host, "docker.io".
};

/// By the IDs of sessions that no client has. Loop only; outlives those that it gives.
class GivenSessions {
public:
    /// Known by its ID for as long as this lives.
    class Session {
    public:
        Session(GivenSessions& all, std::string id) : all_(&all), id_(std::move(id)) {}
        Session(const Session&) = delete;
        Session& operator=(const Session&) = delete;
        ~Session() { all_->given_.erase(id_); }

        const std::string& id() const noexcept { return id_; }

    private:
        GivenSessions* all_;
        std::string id_;
    };

    std::unique_ptr<Session> add(Given given);

    /// Null where the session is a client's. Holds until the next wait.
    const Given* find(std::string_view id) const;

private:
    std::map<std::string, Given, std::less<>> given_;
};

}  // namespace grua::build
