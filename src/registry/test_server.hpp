// A host for tests: plain HTTP/1.1 on 127.0.0.1, one function that answers, and connections that break where it says.
#pragma once

#include "base/fd.hpp"
#include "base/mutex.hpp"
#include "base/text.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <atomic>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace grua::registry {

struct TestRequest {
    std::string method;
    std::string target;
    std::map<std::string, std::string> headers;
    std::string body;

    std::string header(const std::string& name) const {
        const auto found = headers.find(name);
        return found == headers.end() ? std::string{} : found->second;
    }
};

struct TestAnswer {
    int status = 200;
    std::vector<std::string> headers;
    std::string body;
    std::optional<std::size_t> cut;        ///< the connection is closed after so many bytes of the body
    std::optional<std::size_t> announced;  ///< Content-Length; that of the body where not set
    std::chrono::milliseconds pause{0};    ///< before each byte of the body
};

class TestServer {
public:
    using Answer = std::function<TestAnswer(const TestRequest&)>;

    explicit TestServer(Answer answer) : answer_(std::move(answer)), listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        ::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
        ::listen(listener_.get(), 64);
        socklen_t size = sizeof address;
        ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
        port_ = ntohs(address.sin_port);
        accepting_ = std::jthread{[this] { accept_all(); }};
    }
    ~TestServer() {
        ended_ = true;
        ::shutdown(listener_.get(), SHUT_RDWR);
        accepting_.join();
        {
            const MutexLock lock{mutex_};
            for (const int each : sockets_) ::shutdown(each, SHUT_RDWR);
        }
        serving_.clear();
    }
    TestServer(const TestServer&) = delete;
    TestServer& operator=(const TestServer&) = delete;

    std::string authority() const { return fmt::format("127.0.0.1:{}", port_); }
    std::string url() const { return "http://" + authority(); }
    unsigned connections() const { return connections_; }
    std::uint64_t bytes_sent() const { return bytes_sent_; }
    std::vector<TestRequest> requests() const {
        const MutexLock lock{mutex_};
        return requests_;
    }

private:
    void accept_all() {
        while (!ended_) {
            const int fd = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
            if (fd < 0) continue;
            const MutexLock lock{mutex_};
            sockets_.push_back(fd);
            serving_.emplace_back([this, fd] { serve(Fd{fd}); });
        }
    }
    static bool read_more(int fd, std::string& buffer) {
        char bytes[65536];
        const ssize_t count = ::recv(fd, bytes, sizeof bytes, 0);
        if (count <= 0) return false;
        buffer.append(bytes, static_cast<std::size_t>(count));
        return true;
    }
    void serve(Fd socket) {
        ++connections_;
        std::string buffer;
        for (;;) {
            std::size_t end = 0;
            while ((end = buffer.find("\r\n\r\n")) == std::string::npos) {
                // TLS to a plain server: an answer that is none.
                if (!buffer.empty() && buffer[0] == 0x16) {
                    say(socket.get(), "HTTP/1.0 400 Bad Request\r\n\r\n");
                    return forget(socket.get());
                }
                if (!read_more(socket.get(), buffer)) return forget(socket.get());
            }
            TestRequest request;
            std::vector<std::string> lines = split(buffer.substr(0, end), '\n');
            buffer.erase(0, end + 4);
            const std::vector<std::string> words = split(lines.front(), ' ');
            request.method = words.at(0);
            request.target = words.at(1);
            for (std::size_t index = 1; index < lines.size(); ++index) {
                const std::size_t colon = lines[index].find(':');
                request.headers[to_lower(lines[index].substr(0, colon))] = trim(std::string_view(lines[index]).substr(colon + 1));
            }
            const std::size_t size = parse_uint(request.header("content-length")).value_or(0);
            while (buffer.size() < size) {
                if (!read_more(socket.get(), buffer)) return forget(socket.get());
            }
            request.body = buffer.substr(0, size);
            buffer.erase(0, size);
            {
                const MutexLock lock{mutex_};
                requests_.push_back(request);
            }
            const TestAnswer answer = answer_(request);
            std::string head =
                fmt::format("HTTP/1.1 {} X\r\nContent-Length: {}\r\n", answer.status, answer.announced.value_or(answer.body.size()));
            for (const std::string& each : answer.headers) head += each + "\r\n";
            if (!say(socket.get(), head + "\r\n")) return forget(socket.get());
            if (request.method == "HEAD") continue;
            const std::string body = answer.body.substr(0, answer.cut.value_or(std::string::npos));
            bytes_sent_ += body.size();
            if (answer.pause.count() > 0) {
                for (const char c : body) {
                    std::this_thread::sleep_for(answer.pause);
                    if (ended_ || !say(socket.get(), std::string(1, c))) break;
                }
            } else {
                say(socket.get(), body);
            }
            if (answer.cut || answer.announced) return forget(socket.get());
        }
    }
    static bool say(int fd, std::string_view text) {
        while (!text.empty()) {
            const ssize_t count = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
            if (count <= 0) return false;
            text.remove_prefix(static_cast<std::size_t>(count));
        }
        return true;
    }
    void forget(int fd) {
        const MutexLock lock{mutex_};
        std::erase(sockets_, fd);
    }

    Answer answer_;
    Fd listener_;
    int port_ = 0;
    std::atomic<bool> ended_ = false;
    std::atomic<unsigned> connections_ = 0;
    std::atomic<std::uint64_t> bytes_sent_ = 0;
    mutable Mutex mutex_;
    std::vector<TestRequest> requests_ GRUA_GUARDED_BY(mutex_);
    std::vector<int> sockets_ GRUA_GUARDED_BY(mutex_);
    std::vector<std::jthread> serving_;
    std::jthread accepting_;
};

}  // namespace grua::registry
