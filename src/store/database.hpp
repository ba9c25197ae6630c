// The durable state of one host: an SQLite file in WAL mode with synchronous=FULL, so that what a transaction wrote is
// there after a power cut or is not there at all. Each room keeps its own tables and brings its own migrations.
// Thread-safe by one mutex; may block on the disk, so it is used from the pool only.
#pragma once

#include "base/mutex.hpp"

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

struct sqlite3;
struct sqlite3_stmt;

namespace grua::store {

/// A value bound to a "?". Text is borrowed until the call returns.
class Parameter {
public:
    Parameter(std::nullptr_t) noexcept : value_(nullptr) {}
    Parameter(std::string_view text) noexcept : value_(text) {}
    Parameter(const std::string& text) noexcept : value_(std::string_view(text)) {}
    Parameter(const char* text) noexcept : value_(std::string_view(text)) {}
    Parameter(std::int64_t number) noexcept : value_(number) {}
    Parameter(int number) noexcept : value_(std::int64_t{number}) {}
    Parameter(std::uint64_t number);  ///< Throws where it does not fit SQLite's 63 bits.
    template <typename T>
    Parameter(const std::optional<T>& maybe) : value_(nullptr) {
        if (maybe) *this = Parameter(*maybe);
    }

    const std::variant<std::nullptr_t, std::int64_t, std::string_view>& value() const noexcept { return value_; }

private:
    std::variant<std::nullptr_t, std::int64_t, std::string_view> value_;
};

/// One row of a result, columns by position.
class Row {
public:
    using Column = std::variant<std::nullptr_t, std::int64_t, std::string>;

    explicit Row(std::vector<Column> columns) noexcept : columns_(std::move(columns)) {}

    bool is_null(std::size_t column) const { return std::holds_alternative<std::nullptr_t>(columns_.at(column)); }
    const std::string& text(std::size_t column) const;  ///< Empty for NULL; throws Error(system) where it is a number.
    std::int64_t integer(std::size_t column) const;     ///< 0 for NULL; throws Error(system) where it is text.

private:
    std::vector<Column> columns_;
};

class Database {
public:
    /// Opens or creates the file (mode 0600). Throws Error(unavailable) that says so where the file is damaged or is no database.
    explicit Database(const std::string& path);
    ~Database();
    Database(const Database&) = delete;
    Database& operator=(const Database&) = delete;

    /// Brings the tables of `room` up to date: steps[n] takes version n to n + 1, all in one transaction. A step, once
    /// released, never changes. Throws Error(unavailable) where the file was written by a newer grua.
    void migrate(std::string_view room, std::span<const char* const> steps);

    /// One statement without a result; returns the number of rows that it changed. Statements are prepared once.
    std::int64_t execute(std::string_view sql, std::initializer_list<Parameter> parameters = {});

    std::vector<Row> query(std::string_view sql, std::initializer_list<Parameter> parameters = {});

    std::int64_t last_insert_id();

    /// All of `body`'s statements or none: an exception that leaves it rolls back. Inside another transaction it is part of that.
    void transaction(const std::function<void()>& body);

private:
    sqlite3_stmt* prepare(std::string_view sql) GRUA_REQUIRES(mutex_);
    void bind(sqlite3_stmt* statement, std::string_view sql, std::initializer_list<Parameter> parameters) GRUA_REQUIRES(mutex_);
    void close() noexcept GRUA_REQUIRES(mutex_);
    [[noreturn]] void fail_with(int code, std::string_view doing) const GRUA_REQUIRES(mutex_);

    std::string path_;
    RecursiveMutex mutex_;  // a transaction's body uses the database
    sqlite3* database_ GRUA_POINTEE_GUARDED_BY(mutex_) = nullptr;
    int depth_ GRUA_GUARDED_BY(mutex_) = 0;
    std::map<std::string, sqlite3_stmt*, std::less<>> statements_ GRUA_GUARDED_BY(mutex_);
};

}  // namespace grua::store
