// For tests: a cache of builds on a layer store and a database of its own, which can be begun anew as another gruad would.
#pragma once

#include "base/files.hpp"
#include "base/id.hpp"
#include "base/test_clock.hpp"
#include "base/test_loop.hpp"
#include "build/cache_store.hpp"
#include "content/hash.hpp"

#include <gtest/gtest.h>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace grua::build {

class TestTree final : public Result {
public:
    TestTree(std::string its_key, layers::LayerStore& store, std::vector<oci::Digest> layers)
        : Result(std::move(its_key)), layers_(std::move(layers)) {
        for (const oci::Digest& each : layers_) {
            holds_.push_back(store.hold(each));
            if (!holds_.back()) fail(ErrorKind::not_found, "layer {} is gone", each.text());
        }
    }
    const std::vector<oci::Digest>* kept_layers() const noexcept override { return &layers_; }

private:
    std::vector<oci::Digest> layers_;
    std::vector<layers::LayerStore::Hold> holds_;
};

class WithCache : public testing::Test {
protected:
    WithCache() : directory(std::filesystem::temp_directory_path() / ("grua-cache-" + random_hex(6))) {
        std::filesystem::create_directories(directory);
        start();
    }
    ~WithCache() override {
        stop();
        std::filesystem::remove_all(directory);
    }

    void start() {
        database.emplace(directory + "/grua.db");
        layers.emplace(directory + "/layers", *database);
        cache.emplace(
            loop.get_executor(), pool, clock, clock, *database, *layers, steps(),
            [this](std::string key, const std::vector<oci::Digest>& of) { return tree(std::move(key), of); },
            [this](const std::set<std::string>& leaving) { return leaving.empty() ? image_layers : std::set<oci::Digest>{}; },
            CacheStore::LayerBlobs{.kept =
                                       [this] {
                                           std::vector<oci::Digest> out;
                                           for (const auto& [diff_id, layer] : kept_blobs) out.push_back(diff_id);
                                           return out;
                                       },
                                   .keep =
                                       [this](const std::vector<images::CachedLayer>& more) {
                                           for (const images::CachedLayer& each : more) kept_blobs.emplace(each.diff_id, each);
                                       },
                                   .let_go =
                                       [this](const std::vector<oci::Digest>& gone) {
                                           for (const oci::Digest& each : gone) kept_blobs.erase(each);
                                       },
                                   .collect = [this] { ++collected; }});
    }
    void stop() {
        cache.reset();
        layers.reset();
        database.reset();
    }
    /// As after a kill: what has no rows is gone.
    void restart() {
        stop();
        start();
    }

    ResultPtr tree(std::string key, std::vector<oci::Digest> of) {
        return std::make_shared<TestTree>(std::move(key), *layers, std::move(of));
    }

    /// What a RUN would have written.
    oci::Digest step(std::size_t bytes = 10) {
        const std::string id = random_id();
        layers->prepare(id, {});
        replace_file(fmt::format("{}/layers/containers/{}/upper/file", directory, id), std::string(bytes, 'x'));
        return layers->keep_step(id);
    }
    /// A layer of a base image.
    oci::Digest base(const std::string& name) {
        const oci::Digest made = step(100);
        const oci::Digest out = content::digest_of(name);
        layers->identify(made, out);
        layers->sync_steps();
        layers->forget_steps({made});
        image_layers.insert(out);
        return out;
    }

    static VertexPtr vertex(const std::string& name, const std::string& source = {}) {
        const auto out = std::make_shared<Vertex>();
        out->name = name;
        if (source.empty())
            out->op.mutable_exec();
        else
            out->op.mutable_source()->set_identifier(source);
        return out;
    }

    template <typename Task>
    void run(Task task) {
        run_on_loop(loop, std::move(task));
    }
    std::optional<Results> find(const std::string& key) {
        std::optional<Results> out;
        run([&]() -> asio::awaitable<void> { out = co_await cache->find(key); });
        return out;
    }
    void keep(const std::string& key, Results results, const VertexPtr& made_by) {
        run([&]() -> asio::awaitable<void> { co_await cache->keep(key, results, made_by); });
    }
    /// What came of one operation, which nobody uses any more.
    void keep(const std::string& key, const std::vector<oci::Digest>& of, const std::string& name = "RUN", const std::string& source = {}) {
        keep(key, Results{tree(key, of)}, vertex(name, source));
    }
    void flush() {
        run([&]() -> asio::awaitable<void> { co_await cache->flush(); });
    }
    std::vector<UsageEntry> list() {
        std::vector<UsageEntry> out;
        run([&]() -> asio::awaitable<void> { out = co_await cache->list(); });
        return out;
    }
    std::vector<oci::Digest> steps() const {
        std::vector<oci::Digest> out;
        for (const auto& each : layers->steps()) out.push_back(each.id);
        return out;
    }
    bool has_step(const oci::Digest& digest) { return layers->find_step(digest).has_value(); }

    const std::string directory;
    asio::io_context loop;
    asio::thread_pool pool{2};
    TurnedClock clock;
    std::set<oci::Digest> image_layers;
    std::map<oci::Digest, images::CachedLayer> kept_blobs;
    int collected = 0;
    std::optional<store::Database> database;
    std::optional<layers::LayerStore> layers;
    std::optional<CacheStore> cache;
};

}  // namespace grua::build
