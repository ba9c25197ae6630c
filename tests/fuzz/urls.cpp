// URLs of sources: of git, of files; and what a server calls a file.
#include "build/git_url.hpp"
#include "build/http_file_name.hpp"

#include "fuzz.hpp"

#include <algorithm>

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace grua;
    const std::string_view bytes = fuzz::text(data, size);
    const std::string name = build::http_file_name(bytes, {}, bytes);
    fuzz::check(!name.empty() && name != "." && name != ".." && !name.contains('/') && !name.contains('\0'));
    fuzz::check(!build::clean_git_folder(bytes).starts_with('/') && !build::clean_git_folder(bytes).starts_with("../"));
    static_cast<void>(build::parse_http_date(bytes));
    static_cast<void>(build::parse_query(bytes));
    if (const auto parts = build::split_url(bytes); parts && parts->user) {
        const auto hidden = build::split_url(build::without_credentials(bytes));
        fuzz::check(hidden && hidden->host == parts->host);
        fuzz::check(!hidden->user || hidden->user->name.empty() || hidden->user->name == "xxxxx");
    }
    return fuzz::refuses_or_takes([&] {
        const auto takes_no_option = [](const build::GitUrl& url) {
            fuzz::check(!url.remote.starts_with('-') && !url.host.starts_with('-') && !url.ref.starts_with('-') &&
                        !url.path.starts_with('-'));
            fuzz::check(!url.user || !url.user->name.starts_with('-'));
            fuzz::check(std::ranges::none_of(url.remote, [](char c) { return static_cast<unsigned char>(c) < ' '; }));
        };
        if (const auto url = build::parse_git_url(bytes)) takes_no_option(*url);
        if (const auto reference = build::parse_git_reference(bytes)) {
            const auto again = build::parse_git_url(reference->is_short_form ? "https://" + reference->remote : reference->remote);
            fuzz::check(again.has_value());
            takes_no_option(*again);
        }
    });
}
