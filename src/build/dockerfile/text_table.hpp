// Columns of text for people, each as wide as its widest cell.
#pragma once

#include <string>
#include <vector>

namespace grua::build::dockerfile {

class TextTable {
public:
    /// `gap`: blanks between two columns.
    explicit TextTable(std::size_t gap) : gap_(gap) {}

    /// As many cells as the rows before.
    void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }

    std::string text() const;

private:
    std::size_t gap_;
    std::vector<std::vector<std::string>> rows_;
};

}  // namespace grua::build::dockerfile
