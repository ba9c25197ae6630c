// What the store and the live folder keep of a container.
//
// A document is the members of the record and of its state, in one object, and "version", which says how it is to be read. What is
// added later and may be ignored by an older gruad changes nothing of that; what an older one would misread is a new version. No
// version is version 1, of before it was written down.
//
// A document that this gruad cannot read belongs to a container all the same. Nothing of that container is ended, swept or written
// over; it is shown as `dead`, with the reason, and goes only by a forced removal.
#pragma once

#include "engine/model/record.hpp"

#include <string>
#include <string_view>
#include <variant>

namespace grua::engine {

inline constexpr std::int64_t stored_version = 1;

/// A container whose document cannot be read.
struct UnreadableRecord {
    std::string id;
    std::string reason;
    /// As much as can be read of it: at least the ID, a name, and status `dead` with the reason as its error. Its mounts are there
    /// where they could be read, so that its volumes count as used.
    ContainerRecord shown;
};

/// `known`, which may be next to nothing, as what it is to be shown as.
UnreadableRecord kept_aside(std::string id, std::string reason, ContainerRecord known);

using StoredRecord = std::variant<ContainerRecord, UnreadableRecord>;

std::string to_json(const ContainerRecord& record);

/// `id` is what the document is kept by; one that says another is unreadable. Throws nothing that is about the text.
StoredRecord read_stored(std::string_view id, std::string_view text);

/// Throws Error(invalid_argument) with the reason where the text is no record that this gruad can read.
ContainerRecord record_from_json(std::string_view text);

/// For a container of which nothing else is known: it reads as unreadable, with this reason.
std::string lost_document(const std::string& id, const std::string& reason);

/// What does not change with each start: what a container is, without what became of it. Equal texts are equal descriptions.
std::string description_of(const ContainerRecord& record);

}  // namespace grua::engine
