// What a build does beside its operations - reading a Dockerfile, exporting - as its clients see it: a step with a name.
#pragma once

#include "base/async.hpp"
#include "base/id.hpp"
#include "build/journal.hpp"
#include "content/hash.hpp"

#include <string>
#include <string_view>
#include <utility>

namespace grua::build {

class Step {
public:
    /// `journal` outlives it.
    Step(Journal& journal, std::string name) : journal_(journal) {
        vertex_.name = std::move(name);
        vertex_.digest = content::digest_of(random_hex(32)).text();
        journal_.started(vertex_);
    }
    Step(const Step&) = delete;
    Step& operator=(const Step&) = delete;
    ~Step() {
        if (!is_completed_) complete("canceled");
    }

    const std::string& digest() const noexcept { return vertex_.digest; }
    void advanced(const std::string& what, std::uint64_t current, std::uint64_t total, bool is_done) {
        journal_.advanced(vertex_, what, static_cast<std::int64_t>(current), static_cast<std::int64_t>(total), is_done);
    }
    void printed(int stream, std::string_view bytes) { journal_.printed(vertex_, stream, bytes); }
    void complete(const std::string& error = {}) {
        is_completed_ = true;
        journal_.completed(vertex_, false, error);
    }

private:
    Journal& journal_;
    Vertex vertex_;
    bool is_completed_ = false;
};

/// `body` takes the step; what it throws is what the step has failed with.
template <typename Body>
auto in_step(Journal& journal, std::string name, Body body) -> std::invoke_result_t<Body&, Step&> {
    Step step(journal, std::move(name));
    try {
        if constexpr (std::is_same_v<std::invoke_result_t<Body&, Step&>, asio::awaitable<void>>) {
            co_await body(step);
            step.complete();
        } else {
            auto out = co_await body(step);
            step.complete();
            co_return out;
        }
    } catch (const Error& error) {
        step.complete(error.what());
        throw;
    }
}

}  // namespace grua::build
