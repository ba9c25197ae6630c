#include "base/log.hpp"

#include "base/fd.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <atomic>
#include <string>
#include <thread>

namespace grua {
namespace {

// B10: the thread sanitizer has its say here.
TEST(Log, MayBeConfiguredWhileOthersWrite) {
    std::array<int, 2> ends{};
    ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK), 0);
    const Fd out{ends[0]};
    const Fd in{ends[1]};
    log::configure(log::Level::error, log::Format::text, in.get());
    std::atomic<bool> ended = false;
    {
        std::jthread writer([&] {
            while (!ended) log::info("a line");
        });
        for (int turn = 0; turn < 2000; ++turn)
            log::configure(turn % 2 == 0 ? log::Level::info : log::Level::error, turn % 3 == 0 ? log::Format::json : log::Format::text,
                           in.get());
        ended = true;
    }
    log::configure(log::Level::info, log::Format::json, in.get());
    std::string written(1 << 20, '\0');
    while (::read(out.get(), written.data(), written.size()) > 0) {
    }
    log::info("the {}", "last");
    written.resize(static_cast<std::size_t>(std::max<ssize_t>(::read(out.get(), written.data(), written.size()), 0)));
    log::configure(log::Level::info, log::Format::text, 2);
    EXPECT_TRUE(written.starts_with(R"({"level":"info","msg":"the last","time":")")) << written;
}

}  // namespace
}  // namespace grua
