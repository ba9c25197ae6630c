#include "build/git_url.hpp"

#include "base/error.hpp"
#include "base/test_points.hpp"
#include "base/text.hpp"

#include <algorithm>
#include <array>
#include <map>

namespace grua::build {
namespace {

constexpr std::size_t ref_limit = 1024;
constexpr std::string_view short_form = "github.com/";
constexpr std::array<std::string_view, 4> schemes{"http", "https", "ssh", "git"};

bool is_git_scheme(std::string_view scheme) { return std::ranges::find(schemes, scheme) != schemes.end(); }

bool is_letter_or_digit(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

[[noreturn]] void refuse(std::string_view text, std::string_view why) {
    fail(ErrorKind::invalid_argument, "invalid git URL {:?}: {}", without_credentials(text.substr(0, ref_limit)), why);
}

/// user@host:path?query#fragment, as far as it has this form.
struct ScpForm {
    std::string_view user;
    std::string_view host;
    std::string_view path;
    std::string_view query;
    std::string_view fragment;
};

std::optional<ScpForm> split_scp(std::string_view text) {
    const auto take = [&text](auto belongs) {
        const std::size_t end = std::min(static_cast<std::size_t>(std::ranges::find_if_not(text, belongs) - text.begin()), text.size());
        const std::string_view out = text.substr(0, end);
        text.remove_prefix(end);
        return out;
    };
    ScpForm out;
    if (text.contains('\n')) return std::nullopt;
    out.user = take([](char c) { return is_letter_or_digit(c) || c == '-' || c == '_'; });
    if (out.user.empty() || !text.starts_with('@')) return std::nullopt;
    text.remove_prefix(1);
    out.host = take([](char c) { return is_letter_or_digit(c) || c == '-' || c == '.'; });
    if (out.host.empty() || !text.starts_with(':')) return std::nullopt;
    text.remove_prefix(1);
    const auto cut = [&text](char mark) {
        const std::size_t at = text.find(mark);
        const std::string_view behind = at == std::string_view::npos ? std::string_view{} : text.substr(at + 1);
        text = text.substr(0, at);
        return behind;
    };
    out.fragment = cut('#');
    out.query = cut('?');
    out.path = text;
    return out;
}

void take_fragment(std::string_view fragment, GitUrl& out) {
    const std::size_t colon = fragment.find(':');
    out.ref = fragment.substr(0, colon);
    if (colon != std::string_view::npos) out.folder = clean_git_folder(fragment.substr(colon + 1));
}

/// What a program could take for an option: none of it is anybody's real name.
void check_parts(std::string_view text, const GitUrl& url) {
    if (url.host.starts_with('-')) refuse(text, "the host begins with a dash");
    if (url.user && url.user->name.starts_with('-')) refuse(text, "the user's name begins with a dash");
    if (url.path.starts_with('-')) refuse(text, "the path begins with a dash");
    if (url.host.empty() && url.scheme != "file") refuse(text, "it has no host");
    // Escapes are none of a name's: git undoes them.
    for (const char c : url.host)
        if (!is_letter_or_digit(c) && !std::string_view("-._:[]").contains(c)) refuse(text, "the host's name has strange characters");
    check_git_ref(url.ref);
}

GitUrl of_scp(std::string_view text, const ScpForm& form) {
    GitUrl out{.scheme = "ssh",
               .host = std::string(form.host),
               .path = std::string(form.path),
               .user = UrlUser{.name = std::string(form.user), .password = {}},
               .query = parse_query(form.query)};
    take_fragment(form.fragment, out);
    out.remote = fmt::format("{}@{}:{}", form.user, form.host, form.path);
    check_parts(text, out);
    return out;
}

GitUrl of_url(std::string_view text, const UrlParts& parts) {
    GitUrl out{.scheme = parts.scheme,
               .host = parts.host,
               .path = percent_decode(parts.path),
               .user = parts.user,
               .query = parse_query(parts.query)};
    take_fragment(parts.fragment, out);
    const std::size_t authority = text.find("://") + 3;
    const std::size_t end = std::min(text.find_first_of("?#"), text.size());
    out.remote = fmt::format("{}://{}", parts.scheme, escape_url(text.substr(authority, end - authority)));
    check_parts(text, out);
    return out;
}

bool parse_truth(std::string_view name, std::string_view text) {
    static const std::map<std::string_view, bool> words{{"1", true},    {"t", true},      {"T", true},      {"true", true},
                                                        {"TRUE", true}, {"True", true},   {"0", false},     {"f", false},
                                                        {"F", false},   {"false", false}, {"FALSE", false}, {"False", false}};
    if (text.empty()) return true;
    const auto found = words.find(text);
    if (found == words.end()) fail(ErrorKind::invalid_argument, "invalid {} value: {:?}", name, text);
    return found->second;
}

void take_ref(GitReference& reference, const std::string& ref) {
    if (!reference.ref.empty() && reference.ref != ref)
        fail(ErrorKind::invalid_argument, "ref conflicts: {:?} vs {:?}", reference.ref, ref);
    reference.ref = ref;
}

void take_choice(GitReference& reference, const std::string& name, const std::string& value) {
    if (name == "ref") {
        take_ref(reference, value);
    } else if (name == "subdir") {
        if (!reference.folder.empty() && reference.folder != value)
            fail(ErrorKind::invalid_argument, "subdir conflicts: {:?} vs {:?}", reference.folder, value);
        reference.folder = value;
    } else if (name == "checksum" || name == "commit") {
        reference.checksum = value;
    } else if (name == "keep-git-dir") {
        reference.keep_git_dir = parse_truth(name, value);
    } else if (name == "submodules") {
        reference.submodules = parse_truth(name, value);
    } else if (name == "fetch-by-commit") {
        reference.fetch_by_commit = parse_truth(name, value);
    } else if (name == "mtime") {
        if (value != "checkout" && value != "commit")
            fail(ErrorKind::invalid_argument, "invalid mtime value: {:?} (must be \"checkout\" or \"commit\")", value);
        reference.mtime = value;
    } else if (name != "tag" && name != "branch") {
        fail(ErrorKind::invalid_argument, "unexpected query {:?}", name);
    }
}

void take_query(GitReference& reference, const std::vector<std::pair<std::string, std::string>>& query) {
    std::map<std::string, std::string> seen;
    for (const auto& [name, value] : query) {
        if (!seen.emplace(name, value).second) fail(ErrorKind::invalid_argument, "query {:?} has multiple values", name);
        const bool may_be_empty = name == "submodules" || name == "keep-git-dir" || name == "fetch-by-commit";
        if (value.empty() && !may_be_empty) fail(ErrorKind::invalid_argument, "query {:?} has no value", name);
        take_choice(reference, name, value);
    }
    if (seen.contains("tag") && seen.contains("branch")) fail(ErrorKind::invalid_argument, "branch conflicts with tag");
    for (const auto& [name, prefix] : {std::pair{"tag", "refs/tags/"}, std::pair{"branch", "refs/heads/"}}) {
        const auto found = seen.find(name);
        if (found == seen.end()) continue;
        take_ref(reference, found->second.starts_with(prefix) ? found->second : prefix + found->second);
    }
}

}  // namespace

std::string GitUrl::name(std::string_view with_ref, std::string_view with_folder) const {
    std::string out = host + (path.starts_with('/') ? "" : "/") + path;
    if (!with_ref.empty() || !with_folder.empty()) out.append("#").append(with_ref);
    if (!with_folder.empty()) out.append(":").append(with_folder);
    return out;
}

std::optional<GitUrl> parse_git_url(std::string_view text, GitFiles files) {
    if (std::ranges::any_of(text, [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7f; }))
        refuse(printable(text), "it has a control character");
    if (text.size() > url_limit) refuse(text, "it is too long");
    if (const auto parts = split_url(text)) {
        if (!is_git_scheme(parts->scheme) && (parts->scheme != "file" || files == GitFiles::refused))
            fail(ErrorKind::invalid_argument, "{}: invalid protocol", parts->scheme);
        return of_url(text, *parts);
    }
    if (const auto form = split_scp(text)) return of_scp(text, *form);
    return std::nullopt;
}

bool is_git_form(std::string_view text) {
    if (const auto parts = split_url(text)) return is_git_scheme(parts->scheme);
    return split_scp(text).has_value();
}

std::optional<GitReference> parse_git_reference(std::string_view text) {
    if (text.starts_with("./") || text.starts_with("../")) return std::nullopt;
    GitReference out;
    out.is_short_form = text.starts_with(short_form);
    // Whose scheme is another one is somebody else's to refuse.
    if (!out.is_short_form && !is_git_form(text)) return std::nullopt;
    const std::string whole = out.is_short_form ? fmt::format("https://{}", text) : std::string(text);
    if (const auto parts = split_url(whole);
        parts && !out.is_short_form && parts->scheme.starts_with("http") && !percent_decode(parts->path).ends_with(".git"))
        return std::nullopt;
    const auto url = parse_git_url(whole);
    if (!url) return std::nullopt;
    out.is_not_encrypted = url->scheme == "http" || url->scheme == "git";
    out.remote = out.is_short_form ? url->remote.substr(url->remote.find("://") + 3) : url->remote;
    out.ref = url->ref;
    out.folder = url->folder;
    out.short_name = out.remote.substr(out.remote.rfind('/') + 1);
    if (out.short_name.ends_with(".git")) out.short_name.resize(out.short_name.size() - 4);
    take_query(out, url->query);
    check_git_ref(out.ref);
    return out;
}

bool is_git_commit(std::string_view text) noexcept {
    if (text.size() != 40 && text.size() != 64) return false;
    return std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

void check_git_ref(std::string_view ref) {
    if (is_left_out("CVE-2019-13139")) return;
    const auto is_wrong = [](char c) {
        return static_cast<unsigned char>(c) <= ' ' || c == 0x7f || std::string_view("~^:?*[\\").contains(c);
    };
    if (ref.starts_with('-') || ref.size() > ref_limit || std::ranges::any_of(ref, is_wrong) || ref.contains("..") || ref.contains("@{"))
        fail(ErrorKind::invalid_argument, "invalid git ref {:?}", ref.substr(0, ref_limit));
}

std::string clean_git_folder(std::string_view folder) {
    std::vector<std::string> names;
    for (std::string& each : split(folder, '/')) {
        if (each.empty() || each == ".") continue;
        if (each != "..")
            names.push_back(std::move(each));
        else if (!names.empty())
            names.pop_back();
    }
    return join(names, "/");
}

}  // namespace grua::build
