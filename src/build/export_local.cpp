#include "build/export_local.hpp"

#include "base/error.hpp"
#include "base/utf8.hpp"
#include "build/send_tree.hpp"

#include <sys/stat.h>
#include <algorithm>
#include <utility>

namespace grua::build {
namespace {

std::string folder_of(std::string platform) {
    std::ranges::replace(platform, '/', '_');
    return platform;
}

/// "provenance.json" is "provenance.linux_amd64.json" where the files of several platforms lie side by side.
std::string attestation_name(const std::string& name, const FilesExport& options, const std::string& platform) {
    const std::string whole = options.attestation_prefix + name;
    if (platform.empty()) return whole;
    const std::size_t dot = std::min(whole.rfind('.'), whole.size());
    return fmt::format("{}.{}{}", whole.substr(0, dot), folder_of(platform), whole.substr(dot));
}

std::map<std::string, std::string> files_of(FilesResult& result, const FilesExport& options, bool names_platform) {
    std::map<std::string, std::string> out;
    for (auto& [name, contents] : result.attestations) {
        if (name.empty() || name.contains('/') || name == "." || name == "..")
            fail(ErrorKind::invalid_argument, "an attestation's file has a name, and {:?} is none", to_valid_utf8(name));
        const std::string shown = attestation_name(name, options, names_platform ? result.platform : "");
        if (!out.emplace(shown, std::move(contents)).second)
            fail(ErrorKind::conflict, "duplicate attestation path name {}", to_valid_utf8(shown));
    }
    return out;
}

/// Files that two platforms have; folders may be both theirs.
void refuse_same_files(const std::vector<TreePart>& parts, const std::vector<std::string>& platforms, const TreeView& view) {
    std::map<std::string, std::size_t> seen;
    TreeWalk walk(parts, view);
    while (const auto entry = walk.next()) {
        if (S_ISDIR(entry->about.mode)) continue;
        const auto [known, is_new] = seen.emplace(entry->path, entry->part);
        if (!is_new)
            fail(ErrorKind::conflict, "cannot overwrite {} from {} with {} when split option is disabled", to_valid_utf8(entry->path),
                 platforms[known->second], platforms[entry->part]);
    }
}

asio::awaitable<void> send(const Session& session, const FilesExportTask& task, std::vector<TreePart> parts, TreeView view,
                           std::string what, ExportProgress progress, asio::thread_pool& pool) {
    grpc::CallOptions options = file_send_options(task.exporter);
    // One call has everything, or the client would remove what another one has brought.
    if (task.options.mode == FilesExport::Mode::remove_others) options.metadata.emplace_back("buildkit-exporter-multi-platform", "1");
    grpc::ClientCall call(session.connection(file_send_method), file_send_method, std::move(options));
    ExportStep step(std::move(progress), std::move(what));
    SendOptions sent{.parts = std::move(parts), .view = std::move(view)};
    sent.progress = [&step](std::uint64_t bytes) { step.at(bytes); };
    co_await send_tree(call, std::move(sent), pool);
    step.done();
}

}  // namespace

bool is_split(const FilesExport& options, const std::vector<FilesResult>& results) {
    return options.platform_split.value_or(!results.empty() && !results.front().platform.empty());
}

std::vector<TreePart> export_parts(std::vector<FilesResult> results, const FilesExport& options, PartNames names) {
    const bool split = names.are_folders;
    std::vector<TreePart> out;
    for (FilesResult& each : results) {
        TreePart part{.files = files_of(each, options, names.in_attestations)};
        part.name = split ? folder_of(each.platform) : "";
        part.folder = std::move(each.root);
        out.push_back(std::move(part));
    }
    std::ranges::sort(out, {}, &TreePart::name);
    return out;
}

TreeView export_view(const FilesExportTask& task, Time now) {
    constexpr std::int64_t second = 1'000'000'000;
    TreeView out;
    if (task.source_date) out.mtime = *task.source_date * second;
    out.new_mtime = now.time_since_epoch().count() / second * second;
    return out;
}

asio::awaitable<void> export_local(SessionPtr session, FilesExportTask task, const ExportProgress& progress, Time now,
                                   asio::thread_pool& pool) {
    const bool split = is_split(task.options, task.results);
    const TreeView view = export_view(task, now);
    std::ranges::sort(task.results, {}, [](const FilesResult& each) { return folder_of(each.platform); });
    std::vector<std::string> platforms;
    for (const FilesResult& each : task.results) platforms.push_back(each.platform);
    std::vector<TreePart> parts = export_parts(std::move(task.results), task.options, {.are_folders = split, .in_attestations = !split});
    if (!split && parts.size() > 1) {
        if (task.options.mode == FilesExport::Mode::remove_others)
            fail(ErrorKind::not_implemented, "not implemented: mode=delete of several platforms in one folder");
        const auto shared = std::make_shared<std::vector<TreePart>>(std::move(parts));
        co_await offload(pool, [shared, &platforms, &view] { refuse_same_files(*shared, platforms, view); });
        parts = std::move(*shared);
    }
    if (task.options.mode == FilesExport::Mode::remove_others || parts.size() < 2) {
        const bool is_one = split && parts.size() == 1;
        co_await send(*session, task, std::move(parts), view, is_one ? "copying files " + platforms.front() : "copying files", progress,
                      pool);
        co_return;
    }
    for (std::size_t index = 0; index < parts.size(); ++index) {
        std::vector<TreePart> one;
        one.push_back(std::move(parts[index]));
        const std::string what = split ? "copying files " + platforms[index] : "copying files";
        co_await send(*session, task, std::move(one), view, what, progress, pool);
    }
}

}  // namespace grua::build
