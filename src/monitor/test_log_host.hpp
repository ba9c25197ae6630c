// Who runs a log driver in a test: what it tells is kept, and it gives up after a while.
#pragma once

#include "monitor/log_driver.hpp"

#include <poll.h>
#include <algorithm>
#include <functional>
#include <string>
#include <vector>

namespace grua::monitor {

class TestLogHost final : public LogHost {
public:
    bool wait(int fd, short events, std::chrono::milliseconds time) override {
        if (at_wait) at_wait();
        pollfd wait{.fd = fd, .events = events, .revents = 0};
        (void)::poll(&wait, 1, static_cast<int>(std::min<std::chrono::milliseconds>(time, std::chrono::milliseconds(50)).count()));
        return std::chrono::steady_clock::now() < end;
    }
    void tell(const std::string& text) override { news.push_back(text); }

    std::vector<std::string> news;
    std::function<void()> at_wait;
    std::chrono::steady_clock::time_point end = std::chrono::steady_clock::now() + std::chrono::seconds(120);
};

}  // namespace grua::monitor
