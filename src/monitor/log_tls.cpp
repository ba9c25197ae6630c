#include "monitor/log_tls.hpp"

#include "base/error.hpp"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <array>
#include <cstring>

namespace grua::monitor {
namespace {

std::string openssl_error() {
    const unsigned long code = ::ERR_get_error();
    std::array<char, 256> text{};
    ::ERR_error_string_n(code, text.data(), text.size());
    ::ERR_clear_error();
    return code == 0 ? "the connection was closed" : text.data();
}

bool is_address(const std::string& host) {
    std::array<unsigned char, 16> bytes{};
    return ::inet_pton(AF_INET, host.c_str(), bytes.data()) == 1 || ::inet_pton(AF_INET6, host.c_str(), bytes.data()) == 1;
}

}  // namespace

struct TlsSession::State {
    ~State() {
        ::SSL_free(ssl);
        ::SSL_CTX_free(context);
    }
    SSL_CTX* context = nullptr;
    SSL* ssl = nullptr;
    std::string why;

    Step step(int done) {
        if (done > 0) return Step::done;
        const int error = ::SSL_get_error(ssl, done);
        if (error == SSL_ERROR_WANT_READ) return Step::reads;
        if (error == SSL_ERROR_WANT_WRITE) return Step::writes;
        const long verified = ::SSL_get_verify_result(ssl);
        why = error == SSL_ERROR_SYSCALL && errno != 0 ? std::strerror(errno) : openssl_error();
        if (verified != X509_V_OK) why = fmt::format("its certificate is not accepted: {}", ::X509_verify_cert_error_string(verified));
        return Step::failed;
    }
};

TlsSession::TlsSession(int socket, const PeerTls& options) : state_(std::make_unique<State>()) {
    State& state = *state_;
    const auto require = [](bool holds, const std::string& what) {
        if (!holds) fail(ErrorKind::system, "{}: {}", what, openssl_error());
    };
    state.context = ::SSL_CTX_new(::TLS_client_method());
    require(state.context != nullptr, "TLS");
    ::SSL_CTX_set_min_proto_version(state.context, TLS1_2_VERSION);
    ::SSL_CTX_set_mode(state.context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    ::SSL_CTX_set_verify(state.context, options.skip_verify ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, nullptr);
    require(::SSL_CTX_set_default_verify_paths(state.context) == 1, "what this host trusts");
    if (!options.ca_file.empty())
        require(::SSL_CTX_load_verify_file(state.context, options.ca_file.c_str()) == 1, "read " + options.ca_file);
    if (!options.certificate_file.empty())
        require(::SSL_CTX_use_certificate_chain_file(state.context, options.certificate_file.c_str()) == 1,
                "read " + options.certificate_file);
    if (!options.key_file.empty())
        require(::SSL_CTX_use_PrivateKey_file(state.context, options.key_file.c_str(), SSL_FILETYPE_PEM) == 1, "read " + options.key_file);
    state.ssl = ::SSL_new(state.context);
    require(state.ssl != nullptr && ::SSL_set_fd(state.ssl, socket) == 1, "TLS");
    if (is_address(options.host)) {
        require(::X509_VERIFY_PARAM_set1_ip_asc(::SSL_get0_param(state.ssl), options.host.c_str()) == 1, options.host);
    } else {
        require(::SSL_set_tlsext_host_name(state.ssl, options.host.c_str()) == 1, options.host);
        require(::SSL_set1_host(state.ssl, options.host.c_str()) == 1, options.host);
    }
}

TlsSession::~TlsSession() { ::SSL_shutdown(state_->ssl); }

TlsSession::Step TlsSession::shake_hands() {
    ::ERR_clear_error();
    return state_->step(::SSL_connect(state_->ssl));
}

TlsSession::Step TlsSession::write(std::string_view bytes, std::size_t& written) {
    ::ERR_clear_error();
    return state_->step(::SSL_write_ex(state_->ssl, bytes.data(), bytes.size(), &written));
}

TlsSession::Step TlsSession::drop_input() {
    std::array<char, 4096> bytes{};
    for (;;) {
        ::ERR_clear_error();
        const Step step = state_->step(::SSL_read(state_->ssl, bytes.data(), static_cast<int>(bytes.size())));
        if (step != Step::done) return step;
    }
}

const std::string& TlsSession::why() const { return state_->why; }

}  // namespace grua::monitor
