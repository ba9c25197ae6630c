#include "engine/principal.hpp"

#include "base/error.hpp"
#include "engine/containers.hpp"

#include <gtest/gtest.h>
#include <array>
#include <cstddef>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace grua::engine {
namespace {

PrincipalPtr somebody() {
    Principal who{
        .listener = "unix:///run/grua/grua.sock", .peer = Peer{.pid = 812, .uid = 1000, .gid = 1000}, .address = {}, .certificate = {}};
    return std::make_shared<const Principal>(std::move(who));
}

/// One that nobody looks into.
std::shared_ptr<Inside> some_engine() {
    alignas(std::max_align_t) static std::array<std::byte, 64> place;
    return {std::shared_ptr<void>{}, reinterpret_cast<Inside*>(place.data())};
}

/// Remembers what it was asked and refuses images that are not its own.
class OwnImagesOnly : public Policy {
public:
    void check(const Principal& who, const Asked& what) const override {
        asked.push_back(std::string(to_string(what.operation)) + " " + std::string(what.object) + " " + std::to_string(who.peer->uid));
        const auto* const* create = std::get_if<const CreateRequest*>(&what.request);
        if (create && !(*create)->config.image.starts_with("own/"))
            fail(ErrorKind::forbidden, "image {} is not yours", (*create)->config.image);
    }
    mutable std::vector<std::string> asked;
};

/// A service as the real ones are.
class Doing : public Service {
public:
    using Service::Service;
    void create(const CreateRequest& request) const { ask(Operation::container_create, request.name, &request); }
    void start(std::string_view name) const { ask(Operation::container_start, name); }
};

std::string refusal(const auto& what) {
    try {
        what();
    } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::forbidden);
        return error.what();
    }
    return "allowed";
}

TEST(Principal, IsNamedForTheLog) {
    EXPECT_EQ(somebody()->text(), "uid 1000 (pid 812) by unix:///run/grua/grua.sock");
    const Principal remote{.listener = "tcp://192.0.2.1:2376", .peer = {}, .address = "192.0.2.7:4000", .certificate = "CN=ci"};
    EXPECT_EQ(remote.text(), "\"CN=ci\" 192.0.2.7:4000 by tcp://192.0.2.1:2376");
}

TEST(Policy, IsAskedOnceForEachRequestWithWhatItSays) {
    const auto policy = std::make_shared<const OwnImagesOnly>();
    const auto door = std::make_shared<const Door>(some_engine(), policy, somebody());
    const Doing service{door};
    CreateRequest request;
    request.name = "web";
    request.config.image = "own/web:1";
    EXPECT_EQ(refusal([&] { service.create(request); }), "allowed");
    service.start("web");
    request.config.image = "other/web";
    EXPECT_EQ(refusal([&] { service.create(request); }), "image other/web is not yours");
    EXPECT_EQ(policy->asked,
              (std::vector<std::string>{"container create web 1000", "container start web 1000", "container create web 1000"}));
}

TEST(Policy, WithoutOneEverythingIsAllowed) {
    const auto door = std::make_shared<const Door>(some_engine(), nullptr, somebody());
    EXPECT_EQ(refusal([&] { Doing{door}.start("web"); }), "allowed");
}

TEST(Operation, EachHasANameOfItsOwn) {
    std::set<std::string_view> names;
    for (int each = 0; each <= static_cast<int>(Operation::store_check); ++each) names.insert(to_string(static_cast<Operation>(each)));
    EXPECT_EQ(names.size(), static_cast<std::size_t>(Operation::store_check) + 1);
    EXPECT_EQ(to_string(Operation::container_update), "container update");
    EXPECT_EQ(to_string(Operation::image_remote_inspect), "image remote inspect");
    EXPECT_EQ(to_string(Operation::registry_login), "registry login");
    EXPECT_EQ(to_string(Operation::network_disconnect), "network disconnect");
}

}  // namespace
}  // namespace grua::engine
