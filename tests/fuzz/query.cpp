// Targets of requests: escapes, parameters, the version, the route.
#include "api/query.hpp"

#include "api/router.hpp"
#include "fuzz.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace grua;
    const std::string_view bytes = fuzz::text(data, size);
    const std::size_t question = bytes.find('?');
    return fuzz::refuses_or_takes([&] {
        const std::string path = api::percent_decode(bytes.substr(0, question), false);
        fuzz::check(path.size() <= bytes.size());
        const api::Target target = api::split_version(path);
        fuzz::check(target.version <= api::newest_version && target.version >= api::oldest_version);
        for (const char* method : {"GET", "POST", "DELETE", "HEAD", "PUT"}) {
            const api::Match match = api::find_route(api::routes(), method, target.path);
            fuzz::check(!match.route || target.path.contains(match.name));
        }
        if (question == bytes.npos) return;
        const api::Query query = api::Query::parse(bytes.substr(question + 1));
        for (const char* name : {"a", "filters", "t", ""}) {
            fuzz::check(query.has(name) || (query.get(name).empty() && query.all(name).empty()));
            static_cast<void>(query.flag(name));
        }
        static_cast<void>(query.number("t"));
    });
}
