#include "monitor/log_tls.hpp"

#include "base/error.hpp"
#include "tls/context.hpp"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <array>
#include <cstring>
#include <memory>

namespace grua::monitor {
namespace {

bool is_address(const std::string& host) {
    std::array<unsigned char, 16> bytes{};
    return ::inet_pton(AF_INET, host.c_str(), bytes.data()) == 1 || ::inet_pton(AF_INET6, host.c_str(), bytes.data()) == 1;
}

void require(bool holds, const std::string& what) {
    if (!holds) fail(ErrorKind::system, "{}: {}", what, tls::take_errors("it is not taken"));
}

struct SslFree {
    void operator()(SSL* each) const { ::SSL_free(each); }
};

class TlsSession final : public PeerSession {
public:
    TlsSession(int socket, const tls::Context& context, const std::string& host) : ssl_(::SSL_new(context.get())) {
        require(ssl_ != nullptr && ::SSL_set_fd(ssl_.get(), socket) == 1, "TLS");
        if (is_address(host)) {
            require(::X509_VERIFY_PARAM_set1_ip_asc(::SSL_get0_param(ssl_.get()), host.c_str()) == 1, host);
        } else {
            require(::SSL_set_tlsext_host_name(ssl_.get(), host.c_str()) == 1, host);
            require(::SSL_set1_host(ssl_.get(), host.c_str()) == 1, host);
        }
    }
    ~TlsSession() override { ::SSL_shutdown(ssl_.get()); }

    Step shake_hands() override {
        ::ERR_clear_error();
        return step(::SSL_connect(ssl_.get()));
    }

    Step write(std::string_view bytes, std::size_t& written) override {
        ::ERR_clear_error();
        return step(::SSL_write_ex(ssl_.get(), bytes.data(), bytes.size(), &written));
    }

    Step drop_input() override {
        std::array<char, 4096> bytes{};
        for (;;) {
            ::ERR_clear_error();
            const Step got = step(::SSL_read(ssl_.get(), bytes.data(), static_cast<int>(bytes.size())));
            if (got != Step::done) return got;
        }
    }

    const std::string& why() const override { return why_; }

private:
    Step step(int done) {
        if (done > 0) return Step::done;
        const int error = ::SSL_get_error(ssl_.get(), done);
        if (error == SSL_ERROR_WANT_READ) return Step::reads;
        if (error == SSL_ERROR_WANT_WRITE) return Step::writes;
        const long verified = ::SSL_get_verify_result(ssl_.get());
        why_ = error == SSL_ERROR_SYSCALL && errno != 0 ? std::strerror(errno) : tls::take_errors("the connection was closed");
        if (verified != X509_V_OK) why_ = fmt::format("its certificate is not accepted: {}", ::X509_verify_cert_error_string(verified));
        return Step::failed;
    }

    std::unique_ptr<SSL, SslFree> ssl_;
    std::string why_;
};

}  // namespace

MakePeerSession tls_sessions(const SyslogTarget& target) {
    return [target](int socket) -> std::unique_ptr<PeerSession> {
        const tls::Context context =
            tls::Context::client({.authorities = target.ca_file, .certificate = target.certificate_file, .key = target.key_file},
                                 target.skip_verify ? tls::Verify::no : tls::Verify::yes);
        // Beside the file's, as Docker's driver has it.
        if (!target.ca_file.empty()) require(::SSL_CTX_set_default_verify_paths(context.get()) == 1, "what this host trusts");
        return std::make_unique<TlsSession>(socket, context, target.host);
    };
}

}  // namespace grua::monitor
