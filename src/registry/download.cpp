// One file by its URL, for import. No credentials, no mirrors; the block list and the rule that TLS is not left hold here, too.
#include "base/text.hpp"
#include "registry/client_impl.hpp"

namespace grua::registry {

void Client::download(std::string_view url, const std::function<void(std::optional<std::uint64_t> size)>& begin, const Sink& sink,
                      const std::stop_token& stop) const {
    const Core& core = impl_->core;
    Request request;
    request.url = Url::parse(url);
    const auto rules = core.rules();
    const Accept accept = [&](const Response& head) {
        if (!is_success(head.status)) return Sink{};
        begin(head.content_length);
        return sink;
    };
    const std::vector<std::string> directories{core.options.config_directory + "/certs.d", core.options.certs_directory};
    for (unsigned hops = 0;; ++hops) {
        if (hops > redirect_limit) fail(ErrorKind::unavailable, "{}: stopped after {} redirects", request.text(), redirect_limit);
        rules->check_host(request.url.authority());
        const Response response = core.http.perform(request, tls_of(directories, request.url.authority(), {}), accept, stop);
        if (is_success(response.status)) return;
        if (!is_redirect(response.status) || response.header("location").empty())
            fail(response.status == 404 ? ErrorKind::not_found : ErrorKind::unavailable, "failed to GET {} with status {}: {}",
                 request.url.text(), response.status, printable(std::string_view(response.body).substr(0, 200)));
        request.url = target_of(request, response, {});
    }
}

}  // namespace grua::registry
