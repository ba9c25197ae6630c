// A build's result as a tar, for a file of its client.
#pragma once

#include "build/export_local.hpp"

namespace grua::build {

/// "sending tarball". The same trees give the same bytes, where a source date is given.
asio::awaitable<void> export_tar(SessionPtr session, FilesExportTask task, const ExportProgress& progress, Time now,
                                 asio::thread_pool& pool);

}  // namespace grua::build
