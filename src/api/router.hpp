// Which function answers a path. One table names every operation of the Engine API; what is not built yet stands in it
// without a handler and is answered with 501, so that a client can tell it from a path that does not exist.
#pragma once

#include "api/exchange.hpp"
#include "api/services.hpp"

#include <span>
#include <string>
#include <string_view>

namespace grua::api {

struct Backend;
struct Services;

using Handler = asio::awaitable<void> (*)(const Services&, Exchange&);

/// The table of a body's type.
using Body = const json::Fields& (*)();

struct Route {
    std::string_view method;
    std::string_view pattern;   ///< "/containers/{id}/json"; {name*} takes slashes too.
    Handler handler = nullptr;  ///< Null: known, not built.
    int since = 24;             ///< The API's minor version that brought it.
    // All that the handler reads. What is not here it cannot read (Query::declare, filters_of, read_json), and docs/api.md is made of it.
    std::string_view parameters;  ///< api/names.hpp
    std::string_view filters;     ///< Of the parameter "filters".
    Body body = nullptr;

    constexpr Route reads(std::string_view names) const { return {method, pattern, handler, since, names, filters, body}; }
    constexpr Route filtered_by(std::string_view names) const { return {method, pattern, handler, since, parameters, names, body}; }
    constexpr Route with_body(Body type) const { return {method, pattern, handler, since, parameters, filters, type}; }

    std::string title() const { return std::string(method) + " " + std::string(pattern); }
};

/// What docs/api.md says of one: its names, the types of its body's fields, and since when.
json::Value describe(const Route& route);

/// Every operation, in the order in which they are tried.
std::span<const Route> routes();

/// A target's path without its version prefix, and the version: the newest where there is none. Throws Error(invalid_argument) for a
/// version that is not spoken, with Docker's text. Nothing where the path is not of the API's form.
struct Target {
    json::Version version = newest_version;
    std::string_view path;
};
Target split_version(std::string_view path, json::Version oldest = oldest_version);

/// The path with one slash where several follow each other.
std::string with_single_slashes(std::string_view path);

struct Match {
    const Route* route = nullptr;
    std::string name;
};
/// A null route: page not found, also where only the method differs, as Docker's router answers.
Match find_route(std::span<const Route> table, std::string_view method, std::string_view path);

/// Answers one request from the table.
asio::awaitable<void> dispatch(const Backend& backend, Exchange& exchange);

}  // namespace grua::api
