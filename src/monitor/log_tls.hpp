// TLS over a socket that does not wait. A narrow door to OpenSSL.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace grua::monitor {

struct PeerTls {
    std::string host;     ///< In the peer's certificate.
    std::string ca_file;  ///< Beside what this host trusts.
    std::string certificate_file;
    std::string key_file;
    bool skip_verify = false;
};

class TlsSession {
public:
    enum class Step : std::uint8_t { done, reads, writes, failed };  ///< Reads, writes: again once the socket can be read or written.

    /// Throws Error where a file cannot be used.
    TlsSession(int socket, const PeerTls& options);
    ~TlsSession();

    Step shake_hands();
    Step write(std::string_view bytes, std::size_t& written);
    /// What the peer says is of no interest; failed: it has left.
    Step drop_input();
    /// Of the last step that failed.
    const std::string& why() const;

private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace grua::monitor
