// What of a program's files is in its memory.
#pragma once

#include <cstddef>

namespace grua {

/// Lets go of the pages of programs and libraries that are mapped and were never written: what only the start needed does not stay in this
/// process. What is needed again comes from the page cache, 16 pages for a fault. Gives how many bytes were looked at; 0 where it cannot be
/// told which were not written.
std::size_t let_go_of_mapped_pages() noexcept;

}  // namespace grua
