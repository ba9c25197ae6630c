#include "build/export_tar.hpp"

#include "build/tree_tar.hpp"

#include <memory>

namespace grua::build {

asio::awaitable<void> export_tar(SessionPtr session, FilesExportTask task, const ExportProgress& progress, Time now,
                                 asio::thread_pool& pool) {
    // Several platforms have folders of their own here, whatever is said of their attestations' names.
    const bool has_platforms = !task.results.empty() && !task.results.front().platform.empty();
    const bool names_platforms = has_platforms && !is_split(task.options, task.results);
    const TreeView view = export_view(task, now);
    const PartNames names{.are_folders = has_platforms, .in_attestations = names_platforms};
    const auto tar = std::make_shared<TreeTar>(export_parts(std::move(task.results), task.options, names), view);
    ExportStep step(progress, "sending tarball");
    co_await send_bytes(*session, file_send_options(task.exporter), [tar] { return tar->read(); }, step, pool);
}

}  // namespace grua::build
