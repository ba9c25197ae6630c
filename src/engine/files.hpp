// Files of running, paused and stopped containers, as the container sees them: cp, export, diff, commit.
#pragma once

#include "base/async.hpp"
#include "base/fd.hpp"
#include "base/text.hpp"
#include "engine/input.hpp"
#include "engine/model/documents.hpp"
#include "engine/principal.hpp"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace grua::engine {

/// What stands at a path of a container.
struct PathStat {
    std::string name;
    std::int64_t size = 0;
    std::uint32_t mode = 0;  ///< As Go's os.FileMode has it: type bits at the top.
    Time modified{};
    std::string link_target;  ///< Of a symbolic link: where it leads in the container.
};

/// A tar that is being made while it is read.
class TarStream {
public:
    virtual ~TarStream() = default;
    virtual const PathStat& stat() const = 0;
    virtual Fd take() = 0;  ///< The reading end of a pipe. Closed early it ends the work.
    /// After the pipe's end: throws the Error that the end was, where the tar is not whole.
    virtual asio::awaitable<void> finished() = 0;
};

struct ExtractRequest {
    std::string path;            ///< An existing folder.
    bool keep_kinds = false;     ///< No folder is replaced by a file, nor the other way round.
    bool owner_is_user = false;  ///< Everything belongs to the user that the container runs as.
    /// Where the tar's stream ends without the tar's own end; throws where it should have gone on. May be empty.
    std::function<void()> check_end = {};
};

struct FileChange {
    std::string path;
    int kind = 0;  ///< Docker's: 0 modified, 1 added, 2 deleted.
};

struct CommitOptions {
    std::string reference;  ///< Of the image; may be empty.
    std::string author;
    std::string comment;
    StringList changes;                     ///< Lines of a Dockerfile.
    std::optional<ContainerConfig> config;  ///< The container's own where it is not given.
    bool pause = true;
};

class Files : public Service {
public:
    using Service::Service;

    asio::awaitable<PathStat> stat(std::string reference, std::string path) const;
    /// What is at `path` as a tar whose entries begin with its name.
    asio::awaitable<std::shared_ptr<TarStream>> read(std::string reference, std::string path) const;
    /// A tar (plain, gzip, bzip2, xz or zstd) from `input` into a folder of the container.
    asio::awaitable<void> write(std::string reference, ExtractRequest request, OpenInput input) const;
    /// The root file system without what is mounted in it.
    asio::awaitable<std::shared_ptr<TarStream>> export_all(std::string reference) const;
    /// Against the image.
    asio::awaitable<std::vector<FileChange>> changes(std::string reference) const;
    /// Makes an image of the container; returns its ID.
    asio::awaitable<std::string> commit(std::string reference, CommitOptions options) const;
};

}  // namespace grua::engine
