// What an answer that is not the wanted one means: the registry's error document, in Docker's words.
#pragma once

#include "registry/http.hpp"

#include <optional>
#include <string>
#include <string_view>

namespace grua::registry {

/// "manifest unknown: manifest unknown" of {"errors":[{"code","message"}]}; code is the first's.
struct Complaint {
    std::string code;
    std::string text;
};
std::optional<Complaint> parse_complaint(std::string_view body);

/// The Failure for `response`, `Get "https://…": …` in front.
Failure failure_of(const Request& request, const Response& response);

/// Retry-After in seconds or as a date.
std::optional<std::chrono::seconds> parse_retry_after(std::string_view text);

/// RateLimit headers, "100;w=21600".
std::optional<RateLimit> rate_limit_of(const Response& response);

/// A pull's errors in the words that Docker has for them: `pull access denied for x, …`, `manifest for x:y not found: …`.
[[noreturn]] void rethrow_for_pull(const Failure& failure, const oci::Reference& reference);

}  // namespace grua::registry
