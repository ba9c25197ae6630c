// DNS messages as the resolver needs them: a question as values, an answer as bytes. The wire format is libldns's.
#pragma once

#include "linux/ip_address.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace grua::network::dns {

using Bytes = std::vector<std::byte>;
using View = std::span<const std::byte>;

enum class Rcode : std::uint8_t { no_error = 0, format_error = 1, server_failure = 2, name_error = 3, not_implemented = 4, refused = 5 };

inline constexpr std::uint16_t type_a = 1, type_ptr = 12, type_aaaa = 28;

struct Question {
    std::uint16_t id = 0;
    std::string name;  ///< Lower case, without the dot at the end; what is no letter, digit, '-' or '_' is escaped as \ddd.
    std::uint16_t type = 0;
    std::uint16_t class_ = 0;
    bool recursion_desired = false;
    std::size_t udp_size = 512;  ///< The longest answer that the client takes by UDP.
};

/// A query with one question. `rcode` says why there is none: format_error, not_implemented for another kind of query; no_error
/// for what gets no answer at all (too short for one, or an answer itself).
struct Parsed {
    std::optional<Question> question;
    Rcode rcode = Rcode::no_error;
};
Parsed parse_query(View message);

/// The address of a reverse lookup's name, "2.0.18.172.in-addr.arpa".
std::optional<linux::Ip> reverse_address(std::string_view name);

/// Answers of `question`'s type: addresses, or one name of a reverse lookup. Where they do not fit into `limit` bytes there are
/// none, and the answer says that it is truncated.
Bytes answer_addresses(const Question& question, const std::vector<linux::Ip>& addresses, std::size_t limit);
Bytes answer_name(const Question& question, const std::string& name);

/// An answer without records to what came in, whatever that was (it has a header at least).
Bytes answer_error(View query, Rcode rcode);

/// `answer` is an answer to `query`: the same ID and question.
bool is_answer_to(View answer, View query);

Rcode rcode_of(View message);
std::uint16_t id_of(View message);
void set_id(Bytes& message, std::uint16_t id);

}  // namespace grua::network::dns
