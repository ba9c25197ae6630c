// /etc/passwd and /etc/group of an image, and the user that is looked for in them. The first line says who.
#include "fuzz.hpp"
#include "runtime/user.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace grua;
    std::string_view text = fuzz::text(data, size);
    const auto take = [&](char end) {
        const std::size_t length = std::min(text.find(end), text.size());
        const std::string part{text.substr(0, length)};
        text.remove_prefix(std::min(length + 1, text.size()));
        return part;
    };
    const std::string user = take('\n');
    const std::string more = take('\n');
    const std::string passwd = take('\0');
    const runtime::UserFiles files{.passwd = passwd, .group = std::string(text)};
    fuzz::check(!runtime::home_of(files.passwd, 0).empty());
    return fuzz::refuses_or_takes([&] {
        const runtime::Identity found = runtime::find_user(files, user, more.empty() ? std::vector<std::string>{} : std::vector{more});
        constexpr std::uint32_t most = 0x7fffffff;
        fuzz::check(found.uid <= most && found.gid <= most && !found.home.empty());
        fuzz::check(found.groups.size() <= 65536);
        for (const std::uint32_t gid : found.groups) fuzz::check(gid <= most && gid != found.gid);
        // A number is a number, whatever the image calls it (CVE-2026-46680).
        const std::string who = user.substr(0, user.find(':'));
        if (!who.empty() && who.find_first_not_of("0123456789") == std::string::npos) fuzz::check(std::stoull(who) == found.uid);
    });
}
