#include "build/remote_context.hpp"

#include "base/error.hpp"
#include "build/unpack_archive.hpp"
#include "build/url_text.hpp"
#include "layers/source.hpp"

#include <unistd.h>
#include <array>

namespace grua::build {
namespace {

constexpr const char* file_in_source = "context";
constexpr std::string_view internal = "[internal] ";

bool is_http(std::string_view text) { return text.starts_with("http://") || text.starts_with("https://"); }

/// One copy into an empty tree.
Draft::Output add_copy(Draft& draft, const Draft::Output& from, const std::string& path, auto set) {
    pb::Op op;
    pb::FileAction& action = *op.mutable_file()->add_actions();
    action.set_input(-1);
    action.set_secondaryinput(input_of(op, from));
    pb::FileActionCopy& copy = *action.mutable_copy();
    copy.set_src(path);
    copy.set_dest("/");
    copy.set_mode(-1);
    copy.set_timestamp(-1);
    set(copy);
    return draft.add(op, {});
}

}  // namespace

pb::Op git_operation(const GitReference& reference, bool keep_git_dir, bool commit_times) {
    const std::string remote = reference.is_short_form ? "https://" + reference.remote : reference.remote;
    const auto url = parse_git_url(remote);
    if (!url) fail(ErrorKind::invalid_argument, "invalid git URL {:?}", without_credentials(remote));
    pb::Op out;
    pb::SourceOp& source = *out.mutable_source();
    source.set_identifier("git://" + url->name(reference.ref, clean_git_folder(reference.folder)));
    auto& attributes = *source.mutable_attrs();
    attributes["git.fullurl"] = url->remote;
    attributes["git.authtokensecret"] = "GIT_AUTH_TOKEN";
    attributes["git.authheadersecret"] = "GIT_AUTH_HEADER";
    if (url->scheme == "ssh") attributes["git.mountsshsock"] = "default";
    if (keep_git_dir || reference.keep_git_dir.value_or(false)) attributes["git.keepgitdir"] = "true";
    if (!reference.checksum.empty()) attributes["git.checksum"] = reference.checksum;
    if (!reference.submodules.value_or(true)) attributes["git.skipsubmodules"] = "true";
    if (!reference.mtime.empty())
        attributes["git.mtime"] = reference.mtime;
    else if (commit_times)
        attributes["git.mtime"] = "commit";
    if (reference.fetch_by_commit) attributes["git.fetchbycommit"] = "true";
    return out;
}

std::optional<RemoteContext> find_remote_context(std::string_view context, const RemoteContextOptions& options) {
    RemoteContext out;
    if (const auto reference = parse_git_reference(context)) {
        out.source = git_operation(*reference, options.keep_git_dir, options.commit_times);
        out.name = fmt::format("{}load git source {}", internal, without_credentials(context));
        return out;
    }
    if (!is_http(context)) return std::nullopt;
    out.kind = RemoteContext::Kind::http;
    out.filename = file_in_source;
    out.name = fmt::format("{}load remote build context", internal);
    out.source.mutable_source()->set_identifier(std::string(context));
    (*out.source.mutable_source()->mutable_attrs())["http.filename"] = file_in_source;
    return out;
}

bool is_context_archive(int file) {
    std::array<char, layers::packing_mark_size> first{};
    const ssize_t count = ::pread(file, first.data(), first.size(), 0);
    if (count < 0) fail_errno("read the downloaded context");
    if (layers::packing_of({first.data(), static_cast<std::size_t>(count)}) != layers::Packing::plain) return true;
    return is_archive(file);
}

Draft::Output add_remote_context(Draft& draft, const RemoteContext& context, bool is_archive) {
    const Draft::Output source = draft.add(context.source, context.name);
    if (context.kind == RemoteContext::Kind::git || !is_archive) return source;
    return add_copy(draft, source, "/" + context.filename,
                    [](pb::FileActionCopy& copy) { copy.set_attemptunpackdockercompatibility(true); });
}

Draft::Output add_context_folder(Draft& draft, const Draft::Output& context, const std::string& folder) {
    return add_copy(draft, context, folder, [](pb::FileActionCopy& copy) { copy.set_dircopycontents(true); });
}

}  // namespace grua::build
