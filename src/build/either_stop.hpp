// Told to stop by one of two: the thread that does the work, and who wants it.
#pragma once

#include <functional>
#include <stop_token>
#include <utility>

namespace grua::build {

class EitherStop {
public:
    EitherStop(const std::stop_token& one, const std::stop_token& other) : of_one_(one, Request{both_}), of_other_(other, Request{both_}) {}
    EitherStop(const EitherStop&) = delete;
    EitherStop& operator=(const EitherStop&) = delete;

    std::stop_token token() const noexcept { return both_.get_token(); }

private:
    struct Request {
        std::stop_source source;
        void operator()() noexcept { source.request_stop(); }
    };
    std::stop_source both_;
    std::stop_callback<Request> of_one_;
    std::stop_callback<Request> of_other_;
};

}  // namespace grua::build
