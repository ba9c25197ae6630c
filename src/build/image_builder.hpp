// What a build does, from what its client asks for to what it gets: the Builder of the real rooms.
#pragma once

#include "build/cache_store.hpp"
#include "build/control.hpp"
#include "build/front_end.hpp"
#include "build/operations/operations.hpp"
#include "build/run_exports.hpp"
#include "build/solver.hpp"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace grua::build {

class ImageBuilder final : public Builder {
public:
    /// All of them outlive this.
    ImageBuilder(Operations& operations, CacheStore& cache, const Clock& clock, wire::worker::WorkerRecord worker);

    asio::awaitable<wire::bridge::Result> solve(Caller caller, wire::bridge::SolveRequest request) override;
    asio::awaitable<std::map<std::string, std::string>> finish(BuildPtr build, wire::bridge::Result result) override;
    asio::awaitable<ResultPtr> make(BuildPtr build, pb::Definition definition) override;
    wire::worker::WorkerRecord worker() const override { return worker_; }

private:
    struct ExportNeeds {
        bool blobs = false;
        bool files = false;
    };
    asio::awaitable<wire::bridge::Result> run_own(Caller caller, FrontEndOptions options, FrontEndInputs inputs);
    asio::awaitable<wire::bridge::Result> run_front_end(Caller caller, const std::string& name, FrontEndOptions options,
                                                        FrontEndInputs inputs);
    asio::awaitable<void> tell_wanted(BuildPtr build, const wire::bridge::Result& result);
    asio::awaitable<std::string> project_of(BuildPtr build) const;
    asio::awaitable<std::shared_ptr<ImportedCache>> imported_by(BuildPtr build);
    asio::awaitable<std::map<std::string, std::string>> make_and_export(BuildPtr build, wire::bridge::Result result);
    /// What is said of the results by whoever has made them.
    asio::awaitable<void> read_attestations(BuildPtr build, const wire::bridge::Result& result, std::vector<MadeImage>& made);
    asio::awaitable<TreePtr> make_for_export(BuildPtr build, pb::Definition definition, ExportNeeds needs);
    asio::awaitable<void> tell_provenance(BuildPtr build, std::vector<MadeImage> made, std::optional<ProvenanceWish> asked);

    Operations& operations_;
    CacheStore& cache_;
    const Clock& clock_;
    wire::worker::WorkerRecord worker_;
    Solver solver_;
};

}  // namespace grua::build
