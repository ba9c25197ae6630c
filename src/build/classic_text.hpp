// A build as Docker's first builder tells it: its steps one after the other in the order of the Dockerfile, in lines of JSON. Pure.
//
// The steps are the Dockerfile's; how far they are a journal says, whose operations are known by their lines. What is done at the same time
// is kept and told when its turn comes. A step that makes no files (ENV, CMD) is told as cached where those beside it are.
#pragma once

#include "build/dockerfile/source.hpp"
#include "build/dockerfile/stage_graph.hpp"
#include "build/graph.hpp"
#include "build/wire/control.pb.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace grua::build {

struct ClassicStep {
    enum class Kind : std::uint8_t {
        argument,  ///< ARG before the first FROM.
        from,
        instruction,
    };
    Kind kind = Kind::instruction;
    std::string text;  ///< The instruction in one line.
    std::size_t stage = 0;
    dockerfile::LineRange lines;            ///< None of --label.
    std::optional<std::size_t> base_stage;  ///< Of FROM.
};

struct ClassicPlan {
    std::vector<ClassicStep> steps;   ///< Of the stages that the target needs; others are not built.
    std::vector<std::string> unused;  ///< Arguments that no ARG takes.
};

/// Throws SourceError, or Error(invalid_argument) for a target that is not there.
ClassicPlan plan_classic(std::string_view source, const dockerfile::BuildInputs& inputs, const std::vector<std::string>& arguments,
                         const std::map<std::string, std::string>& labels);

/// {"stream": …} and its kind, each with its line end.
std::string stream_line(std::string_view text);
std::string aux_line(std::string_view id, std::string_view member, std::string_view value);
std::string error_line(std::string_view message, std::optional<int> code);

class ClassicText {
public:
    /// `image_id`: of an image of the store by its reference; empty where it is not there.
    explicit ClassicText(std::function<std::string(const std::string& reference)> image_id) : image_id_(std::move(image_id)) {}

    void take(ClassicPlan plan);
    bool has_plan() const noexcept { return !plan_.steps.empty(); }
    void take(const pb::Definition& graph);
    void take(const wire::control::StatusResponse& status);

    /// What can be told by now, and was not.
    std::string lines();

    struct Outcome {
        std::string image_id;            ///< "sha256:…"
        std::vector<std::string> names;  ///< As people write them.
        bool tells_ids = true;
    };
    /// The rest of a build that has come to its end.
    std::string finish(const Outcome& outcome);

    /// The rest of one that has failed, with what the step has printed. `vertex`: the operation; may be empty.
    std::string fail(std::string_view message, std::optional<int> code, const std::string& vertex);

private:
    struct Known {
        bool is_completed = false;
        bool is_started = false;
        bool is_cached = false;
        bool is_told = false;  ///< By a step; to another one that is the same it is known.
        std::vector<std::pair<std::int64_t, std::string>> printed;
        std::map<std::int64_t, std::string> cut;  ///< The begun character at the end of what a stream has printed.
        std::map<std::string, wire::control::VertexStatus> bars;
    };
    struct Place {
        std::vector<std::string> vertices;
        std::string reference;  ///< Of FROM.
    };

    void advance(bool is_over);
    void begin_step();
    void tell_printed();
    void tell_end();
    bool is_done(std::size_t step) const;
    /// Nothing where it is not clear yet.
    std::optional<bool> is_cached(std::size_t step) const;
    std::optional<bool> is_made_from_cache(std::size_t step) const;
    std::string id_of(std::size_t step) const;
    void say(std::string_view text);

    std::function<std::string(const std::string& reference)> image_id_;
    ClassicPlan plan_;
    std::vector<Place> places_;  ///< Of each step, once the graph is there.
    bool has_graph_ = false;
    std::map<std::string, Known, std::less<>> known_;
    std::size_t at_ = 0;
    bool has_begun_step_ = false;
    std::vector<bool> cached_;  ///< Of each step that has been told.
    std::string image_of_build_;
    std::string last_id_;
    std::map<std::size_t, std::string> stage_ids_;
    std::string out_;
};

}  // namespace grua::build
