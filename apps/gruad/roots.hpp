// The two folders that are one gruad's alone: what lasts (data root) and what goes with the host (exec root). Each is locked while a
// gruad works on it, and an exec root remembers whose containers run below it.
#pragma once

#include "base/fd.hpp"

#include <string>

namespace grua::gruad {

/// Makes the folder, with this mode, and gives one that is there this mode. What is below it gets nobody in who may not enter it.
void prepare_root(const std::string& path, mode_t mode);

/// A lock on <root>/lock, which names this process. Throws Error(conflict) that names the process that has it.
Fd lock_root(const std::string& root, std::string_view what);

/// The process ID of this daemon, in a file for scripts and service managers; removed when this ends, unless another's is in it.
class PidFile {
public:
    /// No file where `path` is empty. Throws Error(conflict) where the file names a gruad that runs.
    explicit PidFile(std::string path);
    PidFile(const PidFile&) = delete;
    PidFile& operator=(const PidFile&) = delete;
    ~PidFile() { remove(); }

    void remove() noexcept;

private:
    std::string path_;
};

/// A bridge of this network namespace belongs to one gruad, for as long as it runs.
class BridgeLock {
public:
    /// Throws Error(conflict) that names the other.
    BridgeLock(const std::string& bridge, const std::string& data_root);
    BridgeLock(const BridgeLock&) = delete;
    BridgeLock& operator=(const BridgeLock&) = delete;
    ~BridgeLock();

private:
    std::string path_;
    Fd lock_;
};

/// An ID of the data root, made once; `docker info` shows it.
std::string engine_id(const std::string& data_root);

/// Throws Error(conflict) where containers of another data root run below this exec root: they would belong to nobody here.
void claim_exec_root(const std::string& exec_root, const std::string& engine_id);

/// What a data root and an exec root hold that only a database knows what to do with; empty where there is nothing.
/// "3 containers, 12 layers of images".
std::string contents_without_database(const std::string& data_root, const std::string& exec_root);

/// Throws Error(unavailable) that says what to do where grua.db is missing or empty beside folders that are not.
void check_database(const std::string& data_root, const std::string& exec_root);

/// The same for one that was opened and has no tables.
void refuse_new_database(const std::string& data_root, const std::string& exec_root);

}  // namespace grua::gruad
