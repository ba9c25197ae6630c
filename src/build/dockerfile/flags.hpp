// The --flags of an instruction, against those that it knows.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace grua::build::dockerfile::detail {

enum class FlagKind { truth, text, list };

struct KnownFlag {
    std::string_view name;  ///< Without the dashes.
    FlagKind kind;
};

class Flags {
public:
    /// Throws Error(invalid_argument): unknown, given twice, without a value, a value that is none.
    Flags(const std::vector<std::string>& given, std::span<const KnownFlag> known);

    std::string text(std::string_view name) const;           ///< Empty where it was not given.
    std::optional<bool> truth(std::string_view name) const;  ///< `--name` alone is true.
    std::vector<std::string> list(std::string_view name) const;

    std::vector<std::string> used() const;

private:
    void take(const std::string& flag, std::span<const KnownFlag> known);

    std::map<std::string, std::vector<std::string>, std::less<>> values_;
};

/// One line of CSV, of a flag that has several keys. Throws Error(invalid_argument) with Go's texts.
std::vector<std::string> csv_fields(std::string_view line);

}  // namespace grua::build::dockerfile::detail
