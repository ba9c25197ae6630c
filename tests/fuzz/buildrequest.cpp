// A build's request: exporters, caches, attestations and what the history keeps of it. Every attribute is understood or refused, and what
// is kept has no credentials of URLs.
#include "build/attestations.hpp"
#include "build/cache_requests.hpp"
#include "build/exports.hpp"
#include "build/history_record.hpp"
#include "build/wire/control.pb.h"
#include "fuzz.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace grua;
    wire::control::SolveRequest request;
    if (!request.ParseFromArray(data, static_cast<int>(size))) return 0;
    fuzz::refuses_or_takes([&] { static_cast<void>(build::parse_exports(request)); });
    fuzz::refuses_or_takes([&] { static_cast<void>(build::parse_caches(request.cache())); });
    fuzz::refuses_or_takes(
        [&] { static_cast<void>(build::parse_attestations({request.frontendattrs().begin(), request.frontendattrs().end()})); });
    for (const auto& [name, value] : request.frontendattrs())
        fuzz::refuses_or_takes([&] { static_cast<void>(build::parse_cache_imports(value)); });
    return fuzz::refuses_or_takes([&] {
        const build::HistoryRecord record = build::begin_record(request, Time{});
        for (const auto& [name, value] : record.frontendattrs()) fuzz::check(build::text_without_credentials(value) == value);
        static_cast<void>(record.SerializeAsString());
    });
}
