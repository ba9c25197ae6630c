// Where gruad listens, and who is let in there: -H, --group, --tls and its files, and what systemd hands over.
#pragma once

#include "api/listen.hpp"
#include "options.hpp"
#include "tls/context.hpp"

#include <optional>
#include <vector>

namespace grua::gruad {

api::Protection protection_of(const Options& options);

/// The certificates; nothing where there is no TLS. Throws Error that names the option and the file.
std::optional<tls::Context> tls_context(const Options& options);

/// Logs certificates that clients will not like.
void warn_of_dates(const Options& options);

/// As -H says it, each once; the default where it says nothing.
std::vector<api::Address> addresses_of(const Options& options);

/// In their order. `inherited` from descriptor 3 on; those that no address asks for are closed.
std::vector<api::Listening> open_listeners(const std::vector<api::Address>& addresses, const Options& options, std::vector<Fd> inherited);

}  // namespace grua::gruad
