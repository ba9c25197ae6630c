#include "engine/files.hpp"

#include "engine/engine_impl.hpp"

namespace grua::engine {

asio::awaitable<PathStat> Files::stat(std::string reference, std::string path) const {
    return ask(Operation::file_stat, reference).stat_path(std::move(reference), std::move(path));
}

asio::awaitable<std::shared_ptr<TarStream>> Files::read(std::string reference, std::string path) const {
    return ask(Operation::file_read, reference).archive_path(std::move(reference), std::move(path));
}

asio::awaitable<void> Files::write(std::string reference, ExtractRequest request, OpenInput input) const {
    Inside& engine = ask(Operation::file_write, reference);
    (void)engine.get_container(reference);  // Before a large body is read.
    Input tar = input();
    request.check_end = std::move(tar.check);
    return engine.extract(std::move(reference), std::move(request), std::move(tar.reading));
}

asio::awaitable<std::shared_ptr<TarStream>> Files::export_all(std::string reference) const {
    return ask(Operation::container_export, reference).export_files(std::move(reference));
}

asio::awaitable<std::vector<FileChange>> Files::changes(std::string reference) const {
    return ask(Operation::container_changes, reference).changes(std::move(reference));
}

asio::awaitable<std::string> Files::commit(std::string reference, CommitOptions options) const {
    return ask(Operation::container_commit, reference, &options).commit(std::move(reference), std::move(options));
}

}  // namespace grua::engine
