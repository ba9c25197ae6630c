#include "store/database.hpp"

#include "base/error.hpp"
#include "base/fault_point.hpp"
#include "base/log.hpp"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <limits>
#include <utility>

namespace grua::store {
namespace {

constexpr int busy_timeout_ms = 5000;

bool is_full(const Error& error) { return error.os_error() == ENOSPC || error.os_error() == EDQUOT; }

/// Ends a statement's run whatever happens, so that it holds no lock and can be used again.
class Run {
public:
    explicit Run(sqlite3_stmt* statement) noexcept : statement_(statement) {}
    Run(const Run&) = delete;
    Run& operator=(const Run&) = delete;
    ~Run() {
        sqlite3_reset(statement_);
        sqlite3_clear_bindings(statement_);
    }

private:
    sqlite3_stmt* statement_;
};

Row::Column column(sqlite3_stmt* statement, int index) {
    switch (sqlite3_column_type(statement, index)) {
        case SQLITE_NULL:
            return nullptr;
        case SQLITE_INTEGER:
            return std::int64_t{sqlite3_column_int64(statement, index)};
        default: {
            const void* bytes = sqlite3_column_blob(statement, index);
            const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement, index));
            return bytes ? std::string(static_cast<const char*>(bytes), size) : std::string();
        }
    }
}

}  // namespace

Parameter::Parameter(std::uint64_t number) : value_(nullptr) {
    if (!std::in_range<std::int64_t>(number)) fail(ErrorKind::invalid_argument, "{} is too large for the database", number);
    value_ = static_cast<std::int64_t>(number);
}

const std::string& Row::text(std::size_t column) const {
    static const std::string empty;
    if (is_null(column)) return empty;
    const auto* text = std::get_if<std::string>(&columns_[column]);
    if (!text) fail(ErrorKind::system, "database: column {} is not text", column);
    return *text;
}

std::int64_t Row::integer(std::size_t column) const {
    if (is_null(column)) return 0;
    const auto* number = std::get_if<std::int64_t>(&columns_[column]);
    if (!number) fail(ErrorKind::system, "database: column {} is not a number", column);
    return *number;
}

Database::Database(const std::string& path) : path_(path), reserve_(path + ".reserve") {
    // Opening writes a little: the log of transactions.
    try {
        open();
    } catch (const Error& error) {
        if (!is_full(error) || !reserve_.release()) throw;
        open();
        reserve_.fill();
    }
}

void Database::open() {
    // Made by us first: SQLite would take the umask's mode.
    if (const int fd = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600); fd >= 0) {
        ::close(fd);
    } else {
        fail_errno("open database {}", path_);
    }
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    try {
        if (const int code = sqlite3_open_v2(path_.c_str(), &database_, flags, nullptr); code != SQLITE_OK) fail_with(code, "open");
        sqlite3_busy_timeout(database_, busy_timeout_ms);
        for (const char* pragma : {"PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "PRAGMA foreign_keys=ON"}) query(pragma);
        const std::vector<Row> check = query("PRAGMA quick_check(1)");
        if (check.empty() || check.front().text(0) != "ok") fail_damaged(check.empty() ? "no answer" : check.front().text(0));
        execute("CREATE TABLE IF NOT EXISTS schema_versions (room TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT");
    } catch (...) {
        close();
        throw;
    }
}

Database::~Database() { close(); }

void Database::close() noexcept {
    for (auto& [sql, statement] : statements_) sqlite3_finalize(statement);
    statements_.clear();
    sqlite3_close_v2(std::exchange(database_, nullptr));
}

void Database::fail_damaged(std::string_view what) const {
    fail(ErrorKind::unavailable,
         "database {} is damaged: {}; restore it from a backup, or let \"gruad --rebuild\" make a new one from what the data root holds",
         path_, what);
}

void Database::fail_with(int code, std::string_view doing) const {
    const int primary = code & 0xff;
    const std::string text = sqlite3_errmsg(database_);
    if (primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB) fail_damaged(text);
    const int os_error = database_ ? sqlite3_system_errno(database_) : 0;
    const auto unavailable = [&](int number, std::string_view why) {
        throw Error(ErrorKind::unavailable, fmt::format("database {}: {}: {}", path_, doing, why), number);
    };
    const bool is_io = primary == SQLITE_IOERR || primary == SQLITE_CANTOPEN;
    if (primary == SQLITE_FULL || (is_io && (os_error == ENOSPC || os_error == EDQUOT)))
        unavailable(os_error == EDQUOT ? EDQUOT : ENOSPC, "the disk is full: remove what is not needed, or give it more room");
    if (primary == SQLITE_BUSY || primary == SQLITE_LOCKED)
        unavailable(EBUSY, "another process works on it: end that one, no program but gruad may have it open");
    if (primary == SQLITE_READONLY || (is_io && os_error == EROFS))
        unavailable(EROFS, "it cannot be written: see whether its file system was made read-only after an error");
    if (is_io)
        unavailable(os_error == 0 ? EIO : os_error,
                    fmt::format("{} ({}): see what the kernel's log says of the disk", text, std::generic_category().message(os_error)));
    fail(primary == SQLITE_CONSTRAINT ? ErrorKind::conflict : ErrorKind::system, "database {}: {}: {}", path_, doing, text);
}

sqlite3_stmt* Database::prepare(std::string_view sql) {
    if (const auto found = statements_.find(sql); found != statements_.end()) return found->second;
    sqlite3_stmt* statement = nullptr;
    const int code =
        sqlite3_prepare_v3(database_, sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
    if (code != SQLITE_OK) fail_with(code, sql);
    statements_.emplace(sql, statement);
    return statement;
}

void Database::bind(sqlite3_stmt* statement, std::string_view sql, std::initializer_list<Parameter> parameters) {
    if (std::cmp_not_equal(sqlite3_bind_parameter_count(statement), parameters.size())) {
        fail(ErrorKind::system, "database: {} parameters for \"{}\"", parameters.size(), sql);
    }
    int index = 0;
    for (const Parameter& parameter : parameters) {
        ++index;
        int code = SQLITE_OK;
        if (const auto* number = std::get_if<std::int64_t>(&parameter.value())) {
            code = sqlite3_bind_int64(statement, index, *number);
        } else if (const auto* text = std::get_if<std::string_view>(&parameter.value())) {
            code = sqlite3_bind_text64(statement, index, text->data() ? text->data() : "", text->size(), SQLITE_TRANSIENT, SQLITE_UTF8);
        } else {
            code = sqlite3_bind_null(statement, index);
        }
        if (code != SQLITE_OK) fail_with(code, sql);
    }
}

std::int64_t Database::execute(std::string_view sql, std::initializer_list<Parameter> parameters) {
    const RecursiveMutexLock lock{mutex_};
    sqlite3_stmt* statement = prepare(sql);
    const Run run{statement};
    bind(statement, sql, parameters);
    if (sqlite3_stmt_readonly(statement) == 0) fault_point("store:write");
    int code = sqlite3_step(statement);
    while (code == SQLITE_ROW) code = sqlite3_step(statement);
    if (code != SQLITE_DONE) fail_with(code, sql);
    return sqlite3_changes64(database_);
}

std::vector<Row> Database::query(std::string_view sql, std::initializer_list<Parameter> parameters) {
    const RecursiveMutexLock lock{mutex_};
    sqlite3_stmt* statement = prepare(sql);
    const Run run{statement};
    bind(statement, sql, parameters);
    std::vector<Row> rows;
    int code = sqlite3_step(statement);
    for (; code == SQLITE_ROW; code = sqlite3_step(statement)) {
        const int count = sqlite3_column_count(statement);
        std::vector<Row::Column> columns;
        columns.reserve(static_cast<std::size_t>(count));
        for (int index = 0; index < count; ++index) columns.push_back(column(statement, index));
        rows.emplace_back(std::move(columns));
    }
    if (code != SQLITE_DONE) fail_with(code, sql);
    return rows;
}

std::int64_t Database::last_insert_id() {
    const RecursiveMutexLock lock{mutex_};
    return sqlite3_last_insert_rowid(database_);
}

void Database::transaction(const std::function<void()>& body) {
    const RecursiveMutexLock lock{mutex_};
    if (depth_ > 0) return body();

    execute("BEGIN IMMEDIATE");
    ++depth_;
    try {
        body();
        --depth_;
        fault_point("store:commit");
        execute("COMMIT");
    } catch (...) {
        depth_ = 0;
        // A failed COMMIT may have rolled back by itself.
        if (sqlite3_get_autocommit(database_) == 0) {
            try {
                execute("ROLLBACK");
            } catch (const Error& error) {
                log::error("{}", error.what());
            }
        }
        throw;
    }
}

bool Database::is_new() { return query("SELECT 1 FROM schema_versions LIMIT 1").empty(); }

void Database::making_room(const std::function<void()>& body) {
    const RecursiveMutexLock lock{mutex_};
    try {
        transaction(body);
    } catch (const Error& error) {
        if (depth_ > 0 || !is_full(error) || !reserve_.release()) throw;
        transaction(body);
        reserve_.fill();
        log::warn("database {}: the disk is full; room that was kept for removals is in use", path_);
    }
}

void Database::keep_reserve() noexcept {
    const RecursiveMutexLock lock{mutex_};
    reserve_.fill();
}

void Database::migrate(std::string_view room, std::span<const char* const> steps) {
    transaction([&]() GRUA_REQUIRES(mutex_) {
        const std::vector<Row> rows = query("SELECT version FROM schema_versions WHERE room = ?", {room});
        const std::int64_t version = rows.empty() ? 0 : rows.front().integer(0);
        const auto wanted = static_cast<std::int64_t>(steps.size());
        if (version > wanted) {
            fail(ErrorKind::unavailable, "database {}: its \"{}\" has version {}, this grua knows {}; use the newer grua", path_, room,
                 version, wanted);
        }
        for (std::int64_t at = version; at < wanted; ++at) {
            char* text = nullptr;
            const int code = sqlite3_exec(database_, steps[static_cast<std::size_t>(at)], nullptr, nullptr, &text);
            sqlite3_free(text);
            if (code != SQLITE_OK) fail_with(code, fmt::format("bring the tables of {} to version {}", room, at + 1));
        }
        if (version != wanted) {
            execute("INSERT INTO schema_versions (room, version) VALUES (?1, ?2) ON CONFLICT (room) DO UPDATE SET version = ?2",
                    {room, wanted});
        }
    });
}

}  // namespace grua::store
