#include "base/options.hpp"

#include "base/text.hpp"

#include <algorithm>
#include <utility>

namespace grua {
namespace {

std::string_view without_plus(std::string_view text) { return text.starts_with('+') ? text.substr(1) : text; }

void check(const OptionRule& rule, const std::string& value) {
    const auto refuse_unless = [&](bool right, std::string_view function) {
        if (!right) refuse_option_value(rule, value, fmt::format("strconv.{}: parsing \"{}\": invalid syntax", function, value));
    };
    if (rule.kind == OptionKind::boolean) refuse_unless(parse_bool(value).has_value(), "ParseBool");
    if (rule.kind == OptionKind::integer) refuse_unless(parse_int(without_plus(value)).has_value(), "ParseInt");
    if (rule.kind == OptionKind::unsigned_integer) refuse_unless(parse_uint(value).has_value(), "ParseUint");
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = std::exchange(row[0], i);
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, substituted}));
        }
    }
    return row[b.size()];
}

class Parser {
public:
    Parser(std::span<const OptionRule> rules, std::span<const std::string> words, OptionsEnd end)
        : rules_(rules), words_(words), end_(end) {}

    CommandLine parse() {
        for (; at_ < words_.size() && !out_.help; ++at_) {
            const std::string& word = words_[at_];
            if (word == "--") {
                ++at_;
                break;
            }
            if (word.size() < 2 || word[0] != '-') {
                if (end_ != OptionsEnd::at_double_dash && out_.arguments.size() + 1 == static_cast<std::size_t>(end_)) break;
                out_.arguments.push_back(word);
            } else if (word.starts_with("--")) {
                parse_long();
            } else {
                parse_letters();
            }
        }
        if (!out_.help) out_.arguments.insert(out_.arguments.end(), words_.begin() + static_cast<std::ptrdiff_t>(at_), words_.end());
        return std::move(out_);
    }

private:
    void parse_long() {
        const std::string_view body = std::string_view(words_[at_]).substr(2);
        const std::size_t equals = body.find('=');
        const std::string_view name = body.substr(0, equals);
        const auto found = std::ranges::find(rules_, name, &OptionRule::name);
        if (found == rules_.end()) {
            if (name != "help") unknown(name);
            out_.help = true;
        } else if (equals != std::string_view::npos) {
            take(*found, std::string(body.substr(equals + 1)));
        } else if (takes_no_word(*found)) {
            take(*found, "true");
        } else {
            take(*found, next_word([&] { return fmt::format("flag needs an argument: --{}", name); }));
        }
    }

    void parse_letters() {
        const std::string& word = words_[at_];
        for (std::size_t i = 1; i < word.size(); ++i) {
            const char letter = word[i];
            const auto found = std::ranges::find(rules_, letter, &OptionRule::letter);
            if (found == rules_.end()) {
                if (letter != 'h') fail(ErrorKind::invalid_argument, "unknown shorthand flag: '{}' in {}", letter, word);
                out_.help = true;
                return;
            }
            const bool has_equals = i + 1 < word.size() && word[i + 1] == '=';
            if (takes_no_word(*found) && !has_equals) {
                take(*found, "true");
                continue;
            }
            if (has_equals) return take(*found, word.substr(i + 2));
            if (i + 1 < word.size()) return take(*found, word.substr(i + 1));
            return take(*found, next_word([&] { return fmt::format("flag needs an argument: '{}' in {}", letter, word); }));
        }
    }

    static bool takes_no_word(const OptionRule& rule) {
        return rule.kind == OptionKind::boolean || rule.kind == OptionKind::not_implemented;
    }

    template <typename Complaint>
    std::string next_word(const Complaint& complaint) {
        if (at_ + 1 >= words_.size()) throw Error(ErrorKind::invalid_argument, complaint());
        return words_[++at_];
    }

    void take(const OptionRule& rule, std::string value) {
        if (rule.kind == OptionKind::not_implemented) fail(ErrorKind::not_implemented, "not implemented: --{}", rule.name);
        check(rule, value);
        out_.options.push_back({static_cast<std::size_t>(&rule - rules_.data()), std::move(value)});
    }

    [[noreturn]] void unknown(std::string_view name) const {
        std::vector<std::string> names;
        for (const OptionRule& rule : rules_) {
            if (!rule.hidden && rule.kind != OptionKind::not_implemented) names.emplace_back(rule.name);
        }
        const std::string near = nearest(name, names);
        fail(ErrorKind::invalid_argument, "unknown flag: --{}{}", name, near.empty() ? "" : fmt::format("\n\nDid you mean --{}?", near));
    }

    std::span<const OptionRule> rules_;
    std::span<const std::string> words_;
    OptionsEnd end_;
    std::size_t at_ = 0;
    CommandLine out_;
};

}  // namespace

CommandLine parse_command_line(std::span<const OptionRule> rules, std::span<const std::string> words, OptionsEnd end) {
    return Parser(rules, words, end).parse();
}

void refuse_option_value(const OptionRule& rule, std::string_view value, std::string_view why) {
    const std::string shown = rule.letter != 0 ? fmt::format("-{}, --{}", rule.letter, rule.name) : fmt::format("--{}", rule.name);
    fail(ErrorKind::invalid_argument, "invalid argument \"{}\" for \"{}\" flag: {}", value, shown, why);
}

std::optional<bool> parse_bool(std::string_view text) noexcept {
    for (const std::string_view yes : {"1", "t", "T", "true", "TRUE", "True"}) {
        if (text == yes) return true;
    }
    for (const std::string_view no : {"0", "f", "F", "false", "FALSE", "False"}) {
        if (text == no) return false;
    }
    return std::nullopt;
}

Options::Options(std::span<const OptionRule> rules, CommandLine line) : arguments_(std::move(line.arguments)), help_(line.help) {
    for (const OptionRule& rule : rules) values_.emplace(rule.name, std::vector<std::string>{});
    for (auto& each : line.options) values_.find(rules[each.rule].name)->second.push_back(std::move(each.value));
}

const std::vector<std::string>& Options::values(std::string_view name) const {
    const auto found = values_.find(name);
    if (found == values_.end()) fail(ErrorKind::system, "the command has no flag --{}", name);
    return found->second;
}

bool Options::given(std::string_view name) const { return !values(name).empty(); }

std::string Options::text(std::string_view name) const { return given(name) ? values(name).back() : std::string{}; }

bool Options::on(std::string_view name) const { return parse_bool(text(name)).value_or(false); }

std::vector<std::string> Options::list(std::string_view name) const { return values(name); }

std::optional<std::int64_t> Options::integer(std::string_view name) const {
    return given(name) ? parse_int(without_plus(values(name).back())) : std::nullopt;
}

std::optional<std::uint64_t> Options::unsigned_integer(std::string_view name) const { return parse_uint(text(name)); }

std::string nearest(std::string_view word, std::span<const std::string> names) {
    std::size_t best = std::min<std::size_t>(2, word.size() / 2) + 1;
    std::string found;
    for (const std::string& name : names) {
        const bool longer = word.size() >= 3 && name.starts_with(word);
        const std::size_t distance = longer ? 1 : edit_distance(word, name);
        if (distance < best) {
            best = distance;
            found = name;
        }
    }
    return found;
}

}  // namespace grua
