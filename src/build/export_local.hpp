// A build's result as files in a folder of its client.
#pragma once

#include "build/exports.hpp"
#include "build/file_send.hpp"
#include "build/tree_walk.hpp"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace grua::build {

/// One platform's, or that of a result without platforms.
struct FilesResult {
    std::string platform;                             ///< "linux/amd64"; empty where the result has none.
    std::optional<Root> root;                         ///< What was built; nothing: an empty tree. Whoever mounted it keeps it so.
    std::map<std::string, std::string> attestations;  ///< By the names of their files, "provenance.json".
};

struct FilesExportTask {
    FilesExport options;
    int exporter = 0;
    std::optional<std::int64_t> source_date;  ///< Seconds; of every file.
    std::vector<FilesResult> results;         ///< Several have a platform each.
};

/// Where a platform is told.
struct PartNames {
    bool are_folders = false;      ///< "linux_amd64"
    bool in_attestations = false;  ///< "provenance.linux_amd64.json"
};

/// The trees as they are sent, in the order of their folders. Throws Error(invalid_argument), Error(conflict) where two attestations have
/// one name.
std::vector<TreePart> export_parts(std::vector<FilesResult> results, const FilesExport& options, PartNames names);

/// True where each platform has a folder, as far as the attributes say it.
bool is_split(const FilesExport& options, const std::vector<FilesResult>& results);

/// Of what is to be exported, and its times.
TreeView export_view(const FilesExportTask& task, Time now);

/// "copying files", for each platform where they are split. Throws Error; conflict where two platforms have the same file and no folders of
/// their own.
asio::awaitable<void> export_local(SessionPtr session, FilesExportTask task, const ExportProgress& progress, Time now,
                                   asio::thread_pool& pool);

}  // namespace grua::build
