// What the stages of a Dockerfile are built from, and which of them a target needs.
#pragma once

#include "build/dockerfile/expansion.hpp"
#include "build/dockerfile/stages.hpp"
#include "oci/platform.hpp"

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace grua::build::dockerfile {

/// What the caller of a build gives.
struct BuildInputs {
    std::map<std::string, std::string, std::less<>> arguments;  ///< --build-arg
    std::string target;                                         ///< Empty for the last stage.
    oci::Platform build_platform = oci::Platform::host();
    oci::Platform target_platform = oci::Platform::host();
};

/// BUILDPLATFORM, TARGETARCH and their like.
Environment platform_arguments(const Dockerfile& file, const BuildInputs& inputs);

/// Those and ARGs before the first FROM, with the values of `given` in place of defaults. Throws SourceError.
Environment global_arguments(const Dockerfile& file, Environment predefined, const std::map<std::string, std::string, std::less<>>& given,
                             Expander& expander);

/// The words of a FROM with their variables replaced.
struct ExpandedFrom {
    Expanded base;
    std::optional<Expanded> platform;
};

struct StageNode {
    std::string name;                       ///< Its own, or "stage-1" by its position.
    std::string base;                       ///< An image where `base_stage` is none; "scratch" for nothing.
    std::optional<std::size_t> base_stage;  ///< An earlier one.
    std::optional<oci::Platform> platform;  ///< Where FROM says so.

    /// COPY --from and RUN --mount=from.
    struct Source {
        std::size_t instruction = 0;  ///< In the stage.
        std::string from;
        std::optional<std::size_t> stage;  ///< Otherwise it is an image.
    };
    std::vector<Source> sources;
};

/// Adds the stages of a file in their order.
class StageGraph {
public:
    explicit StageGraph(const Dockerfile& file) : file_(file) {}

    /// Throws SourceError for an empty base or a platform that is none. `globals` is for what the user may have meant.
    void add(const ExpandedFrom& from, const Environment& globals);

    /// Finds what each instruction takes its files from, when all stages are there. Throws SourceError for a --from with variables, a
    /// number that no stage has, and stages that need one another.
    void connect(Expander& expander);

    const std::vector<StageNode>& stages() const noexcept { return stages_; }
    std::optional<std::size_t> find(std::string_view name) const;

    /// The stage to build. Throws Error(invalid_argument), `target stage "x" could not be found`.
    std::size_t target(std::string_view name) const;

    /// For each stage, whether `target` needs it.
    std::vector<bool> needed_for(std::size_t target) const;

private:
    void add_source(StageNode& node, std::size_t instruction, const std::string& from);
    void check_circles() const;

    const Dockerfile& file_;
    std::vector<StageNode> stages_;
    std::map<std::string, std::size_t, std::less<>> by_name_;
};

ExpandedFrom expand_from(const Stage& stage, const Environment& globals, Expander& expander);

/// All of it at once, for a builder.
StageGraph make_graph(const Dockerfile& file, const BuildInputs& inputs, Expander& expander);

/// Candidates of a "did you mean" are no more than this.
inline constexpr std::size_t suggestion_limit = 1000;

}  // namespace grua::build::dockerfile
