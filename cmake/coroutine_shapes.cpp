// Does this compiler destroy each object of a coroutine exactly once? GCC 12 does not: an aggregate-initialised temporary
// (a closure with captures is one) in an expression with co_await is destroyed twice. clang 19 is right on all of these.
// The build runs this when it is configured, under the address sanitizer, and refuses a compiler that fails it.
#include "base/async.cpp"  // With what is behind its header: this file is compiled alone.

#include <boost/asio/io_context.hpp>
#include <cstdio>
#include <functional>
#include <memory>
#include <vector>

namespace {

namespace asio = boost::asio;
using asio::awaitable;
using grua::offload;

int alive = 0;

struct Counted {
    std::unique_ptr<int> value = std::make_unique<int>(1);
    Counted() { ++alive; }
    Counted(const Counted& other) : value(std::make_unique<int>(*other.value)) { ++alive; }
    ~Counted() { --alive; }
};

struct Options {
    Counted counted;
    int number = 0;
};

awaitable<int> number() { co_return 1; }
awaitable<int> by_value(Options options) { co_return *options.counted.value; }
awaitable<int> by_reference(const Options& options) { co_return *options.counted.value; }
awaitable<int> by_vector(std::vector<Counted> all) { co_return *all.front().value; }

using Shape = awaitable<int> (*)(asio::thread_pool&);

awaitable<int> closure_argument(asio::thread_pool& pool) {
    Counted counted;
    co_return co_await offload(pool, [counted] { return *counted.value; });
}
awaitable<int> function_argument(asio::thread_pool& pool) {
    Counted counted;
    std::function<int()> work = [counted] { return *counted.value; };
    co_return co_await offload(pool, std::move(work));
}
awaitable<int> coroutine_closure(asio::thread_pool& pool) {
    Counted counted;
    auto executor = pool.get_executor();
    co_return co_await asio::co_spawn(executor, [counted]() -> awaitable<int> { co_return *counted.value; }, asio::use_awaitable);
}
awaitable<int> aggregate_by_value(asio::thread_pool&) { co_return co_await by_value(Options{.counted = {}, .number = 1}); }
awaitable<int> aggregate_by_reference(asio::thread_pool&) { co_return co_await by_reference({.counted = {}, .number = 1}); }
awaitable<int> await_in_braces(asio::thread_pool&) {
    const Options options{.counted = {}, .number = co_await number()};
    co_return options.number;
}
awaitable<int> braced_vector(asio::thread_pool&) { co_return co_await by_vector({Counted{}, Counted{}}); }
awaitable<int> two_awaits(asio::thread_pool& pool) {
    Counted counted;
    co_return (co_await offload(pool, [counted] { return *counted.value; })) * (co_await by_value({.counted = counted}));
}

}  // namespace

int main() {
    const std::pair<const char*, Shape> shapes[] = {
        {"closure argument", closure_argument},
        {"function argument", function_argument},
        {"coroutine closure", coroutine_closure},
        {"aggregate by value", aggregate_by_value},
        {"aggregate by reference", aggregate_by_reference},
        {"await in braces", await_in_braces},
        {"braced vector", braced_vector},
        {"two awaits", two_awaits},
    };
    int wrong = 0;
    for (const auto& [name, shape] : shapes) {
        asio::io_context loop;
        asio::thread_pool pool{1};
        int result = 0;
        asio::co_spawn(loop, shape(pool), [&](std::exception_ptr error, int value) { result = error ? 0 : value; });
        loop.run();
        pool.join();
        if (alive != 0 || result != 1) {
            std::printf("%s: %d objects left, result %d\n", name, alive, result);
            ++wrong;
        }
        alive = 0;
    }
    std::printf("%d of %zu coroutine shapes are compiled wrongly\n", wrong, std::size(shapes));
    return wrong;
}
