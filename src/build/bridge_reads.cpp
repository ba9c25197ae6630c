#include "build/bridge_reads.hpp"

#include "base/text.hpp"
#include "base/timespec.hpp"
#include "build/folder_names.hpp"
#include "build/oci_layout.hpp"
#include "build/step.hpp"
#include "build/tree_index.hpp"
#include "build/tree_path.hpp"
#include "build/wildcards.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>

namespace grua::build {
namespace {

namespace wb = wire::bridge;

/// Of one answer.
constexpr std::int64_t longest_read = std::int64_t{16} << 20U;
constexpr std::size_t names_limit = std::size_t{16} << 20U;
constexpr std::string_view image_scheme = "docker-image://";
constexpr int layout_resolver = 1;  ///< ResolverType of a layout that the client has.

wire::files::Stat stat_of(const std::string& name, int pinned, std::string_view path) {
    struct stat about{};
    if (::fstat(pinned, &about) != 0) fail_path("stat", path);
    TreeEntry entry{.mode = about.st_mode, .uid = about.st_uid, .gid = about.st_gid};
    if (S_ISREG(about.st_mode)) entry.size = static_cast<std::uint64_t>(about.st_size);
    if (S_ISLNK(about.st_mode)) entry.link = read_link(pinned, path);
    if (S_ISCHR(about.st_mode) || S_ISBLK(about.st_mode)) entry.device = about.st_rdev;
    entry.mtime = nanoseconds_of(about.st_mtim);
    return write_stat(name, entry);
}

TreePlace existing(const Root& root, const std::string& path) {
    TreePlace out = find_place(root, path);
    if (!out.exists()) fail_path("open", path, ENOENT);
    return out;
}

wb::ReadFileResponse read_file(const Root& root, const wb::ReadFileRequest& request) {
    const TreePlace place = existing(root, request.filepath());
    if (!S_ISREG(place.about.st_mode)) fail(ErrorKind::invalid_argument, "read {}: is not a regular file", request.filepath());
    const Fd file = reopen_file(place.there.get(), request.filepath());
    const std::int64_t offset = request.has_range() ? request.range().offset() : 0;
    std::int64_t length = request.has_range() && request.range().length() > 0 ? request.range().length() : place.about.st_size - offset;
    if (offset < 0) fail(ErrorKind::invalid_argument, "read {}: a negative offset", request.filepath());
    if (length > longest_read) fail(ErrorKind::invalid_argument, "read {}: more than {} bytes at a time", request.filepath(), longest_read);
    length = std::max<std::int64_t>(0, std::min<std::int64_t>(length, place.about.st_size - offset));
    std::string out(static_cast<std::size_t>(length), '\0');
    std::size_t got = 0;
    while (got < out.size()) {
        const ssize_t count = ::pread(file.get(), out.data() + got, out.size() - got, offset + static_cast<off_t>(got));
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) fail_path("read", request.filepath());
        if (count == 0) break;
        got += static_cast<std::size_t>(count);
    }
    out.resize(got);
    wb::ReadFileResponse answer;
    answer.set_data(std::move(out));
    return answer;
}

wb::ReadDirResponse read_folder(const Root& root, const wb::ReadDirRequest& request) {
    const TreePlace place = existing(root, request.dirpath());
    if (!place.is_folder()) fail_path("readdirent", request.dirpath(), ENOTDIR);
    const Fd folder{::openat(place.there.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (!folder) fail_path("open", request.dirpath());
    const FolderNames names(folder.get(), request.dirpath(), names_limit);
    wb::ReadDirResponse out;
    for (std::size_t at = 0; at < names.size(); ++at) {
        const std::string name = names.name(at);
        if (!request.includepattern().empty() && !matches_wildcards(request.includepattern(), name)) continue;
        const Fd pinned{::openat(folder.get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC)};
        if (!pinned) fail_path("open", request.dirpath() + "/" + name);
        *out.add_entries() = stat_of(name, pinned.get(), name);
    }
    return out;
}

wb::StatFileResponse stat_file(const Root& root, const wb::StatFileRequest& request) {
    const TreePlace place = existing(root, request.path());
    wb::StatFileResponse out;
    *out.mutable_stat() = stat_of(place.name(), place.there.get(), request.path());
    return out;
}

/// The tree of a result that the build has been given.
asio::awaitable<TreePtr> tree_of(Builder& builder, Caller caller, std::string ref) {
    co_return as_tree(co_await builder.make(caller.build, caller.front->definition(ref)));
}

template <typename Request, typename Read>
void add_read(grpc::Services& services, const std::string& method, const FindCaller& find, Builder& builder, Workplace& place, Read read) {
    services.add_unary<Request>(
        method,
        [find, &builder, &place, read](grpc::ServerCall& call,
                                       const Request& request) -> asio::awaitable<std::invoke_result_t<Read, const Root&, const Request&>> {
            const TreePtr tree = co_await tree_of(builder, co_await find(call), request.ref());
            co_return co_await detail::at_length(place, [&place, tree, request, read](const std::stop_token&) {
                const Root root = Root::at(tree ? tree->open() : place.layers.mount_layers({}));
                return read(root, request);
            });
        });
}

oci::Platform platform_of(const pb::Platform& said) {
    if (said.os().empty()) return oci::Platform::host();
    return {said.architecture(), said.os(), said.variant(), said.osversion()};
}

struct ImageQuestion {
    std::string reference;
    oci::Platform platform;
    std::string mode;
    std::string log_name;
};

asio::awaitable<std::shared_ptr<ResolvedImage>> resolve(Workplace& place, BuildPtr build, ImageQuestion question) {
    const std::string reference = oci::Reference::parse(question.reference).with_default_tag().text();
    if (question.log_name.empty()) question.log_name = fmt::format("resolve image config for {}{}", image_scheme, reference);
    co_return co_await in_step(build->journal, question.log_name, [&](Step&) -> asio::awaitable<std::shared_ptr<ResolvedImage>> {
        co_return std::make_shared<ResolvedImage>(
            co_await place.resolver.resolve(reference, question.platform, parse_image_policy(question.mode), build->request.session()));
    });
}

asio::awaitable<std::shared_ptr<const LayoutImage>> resolve_layout(Workplace& place, BuildPtr build, LayoutSource source,
                                                                   oci::Platform platform, std::string log_name) {
    if (source.session.empty()) source.session = build->request.session();
    if (log_name.empty()) log_name = fmt::format("resolve image config for {}{}", layout_scheme, source.digest.text());
    co_return co_await in_step(build->journal, log_name, [&](Step&) -> asio::awaitable<std::shared_ptr<const LayoutImage>> {
        return find_layout_image(place.sessions, source, platform);
    });
}

asio::awaitable<wb::ResolveImageConfigResponse> image_config(Workplace& place, BuildPtr build, wb::ResolveImageConfigRequest request) {
    wb::ResolveImageConfigResponse out;
    if (request.resolvertype() == layout_resolver) {
        LayoutSource source = parse_layout_reference(request.ref());
        if (!request.storeid().empty()) source.store = request.storeid();
        source.session = request.sessionid();
        const std::string digest = source.digest.text();
        const auto found = co_await resolve_layout(place, build, std::move(source), platform_of(request.platform()), request.logname());
        out.set_digest(digest);
        out.set_config(found->raw_config);
        out.set_ref(request.ref());
        co_return out;
    }
    const auto found = co_await resolve(place, build,
                                        {.reference = request.ref(),
                                         .platform = platform_of(request.platform()),
                                         .mode = request.resolvemode(),
                                         .log_name = request.logname()});
    out.set_digest(found->digest);
    out.set_config(found->raw_config);
    out.set_ref(found->reference);
    co_return out;
}

/// What a source is now; nothing of it is fetched but what tells.
asio::awaitable<wb::ResolveSourceMetaResponse> source_meta(Workplace& place, BuildPtr build, wb::ResolveSourceMetaRequest request) {
    if (!request.has_source()) fail(ErrorKind::invalid_argument, "source is required");
    if (request.image().attestationchain() || request.image().resolveattestations_size() > 0)
        fail(ErrorKind::not_implemented, "not implemented: attestations of images");
    if (request.git().returnobject()) fail(ErrorKind::not_implemented, "not implemented: objects of repositories");
    if (request.http().has_checksumrequest()) fail(ErrorKind::not_implemented, "not implemented: other checksums of files");
    const std::string identifier = request.source().identifier();
    const std::string session = build->request.session();
    wb::ResolveSourceMetaResponse out;
    *out.mutable_source() = request.source();
    if (identifier.starts_with(image_scheme)) {
        const auto found = co_await resolve(place, build,
                                            {.reference = identifier.substr(image_scheme.size()),
                                             .platform = platform_of(request.platform()),
                                             .mode = request.resolvemode(),
                                             .log_name = request.logname()});
        out.mutable_image()->set_digest(found->digest);
        if (!request.image().noconfig()) out.mutable_image()->set_config(found->raw_config);
    } else if (identifier.starts_with(layout_scheme)) {
        const auto found = co_await resolve_layout(place, build, read_layout_source(request.source(), session),
                                                   platform_of(request.platform()), request.logname());
        out.mutable_image()->set_digest(found->source.digest.text());
        out.mutable_image()->set_config(found->raw_config);
    } else if (identifier.starts_with("http://") || identifier.starts_with("https://")) {
        const auto found = co_await place.http.look_up(read_http_source(request.source()), {session});
        out.mutable_http()->set_checksum(found->digest.text());
        out.mutable_http()->set_filename(found->filename);
        if (found->last_modified) *out.mutable_http()->mutable_lastmodified() = to_timestamp(*found->last_modified);
    } else if (identifier.starts_with("git://")) {
        const auto found = co_await place.git.look_up(read_git_source(request.source()), {session});
        out.mutable_git()->set_checksum(found->object);
        out.mutable_git()->set_ref(found->ref);
        if (found->commit != found->object) out.mutable_git()->set_commitchecksum(found->commit);
    } else {
        fail(ErrorKind::invalid_argument, "nothing is known of {} before it is fetched", identifier);
    }
    co_return out;
}

}  // namespace

void add_bridge_reads(grpc::Services& services, const FindCaller& find, Builder& builder, Workplace& place) {
    const std::string service = "/moby.buildkit.v1.frontend.LLBBridge/";
    services.add_unary<wb::EvaluateRequest>(
        service + "Evaluate",
        [find, &builder](grpc::ServerCall& call, const wb::EvaluateRequest& request) -> asio::awaitable<wb::EvaluateResponse> {
            static_cast<void>(co_await tree_of(builder, co_await find(call), request.ref()));
            co_return wb::EvaluateResponse{};
        });
    add_read<wb::ReadFileRequest>(services, service + "ReadFile", find, builder, place, read_file);
    add_read<wb::ReadDirRequest>(services, service + "ReadDir", find, builder, place, read_folder);
    add_read<wb::StatFileRequest>(services, service + "StatFile", find, builder, place, stat_file);
    services.add_unary<wb::ResolveImageConfigRequest>(
        service + "ResolveImageConfig",
        [find, &place](grpc::ServerCall& call,
                       const wb::ResolveImageConfigRequest& request) -> asio::awaitable<wb::ResolveImageConfigResponse> {
            const BuildPtr build = (co_await find(call)).build;
            co_return co_await image_config(place, build, request);
        });
    services.add_unary<wb::ResolveSourceMetaRequest>(
        service + "ResolveSourceMeta",
        [find, &place](grpc::ServerCall& call,
                       const wb::ResolveSourceMetaRequest& request) -> asio::awaitable<wb::ResolveSourceMetaResponse> {
            const BuildPtr build = (co_await find(call)).build;
            co_return co_await source_meta(place, build, request);
        });
}

}  // namespace grua::build
