#include "build/file_mode.hpp"

#include "base/error.hpp"

#include <sys/stat.h>
#include <array>
#include <charconv>
#include <utility>

namespace grua::build {
namespace {

constexpr mode_t set_ids = S_ISUID | S_ISGID;
constexpr mode_t permissions = S_IRWXU | S_IRWXG | S_IRWXO;
constexpr mode_t all_bits = set_ids | S_ISVTX | permissions;
constexpr mode_t executable = S_IXUSR | S_IXGRP | S_IXOTH;
constexpr std::size_t text_limit = 4096;

[[noreturn]] void bad_syntax() { fail(ErrorKind::invalid_argument, "invalid syntax"); }

mode_t parse_octal(std::string_view text) {
    // Go's reader of numbers has texts of its own for these.
    constexpr unsigned largest = 077777;
    unsigned value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 8);
    if (error == std::errc::invalid_argument || end != text.data() + text.size())
        fail(ErrorKind::invalid_argument, "strconv.ParseInt: parsing {:?}: invalid syntax", text);
    if (error != std::errc() || value > largest)
        fail(ErrorKind::invalid_argument, "strconv.ParseInt: parsing {:?}: value out of range", text);
    if ((value & ~all_bits) != 0) bad_syntax();
    return value;
}

}  // namespace

/// Clauses, each of which is whom it is for and any number of changes.
class ModeChange::Parser {
public:
    Parser(std::string_view text, std::vector<Step>& steps) : rest_(text), steps_(steps) {}

    void run() {
        for (;;) {
            read_who();
            do {
                read_change();
            } while (!rest_.empty() && rest_.front() != ',');
            if (rest_.empty()) return;
            rest_.remove_prefix(1);
        }
    }

private:
    char take() {
        if (rest_.empty()) bad_syntax();
        const char out = rest_.front();
        rest_.remove_prefix(1);
        return out;
    }

    void read_who() {
        who_ = 0;
        for (;;) {
            if (rest_.empty()) bad_syntax();
            switch (rest_.front()) {
                case 'a':
                    who_ |= set_ids | permissions;
                    break;
                case 'u':
                    who_ |= S_ISUID | S_IRWXU;
                    break;
                case 'g':
                    who_ |= S_ISGID | S_IRWXG;
                    break;
                case 'o':
                    who_ |= S_IRWXO;
                    break;
                default:
                    return;
            }
            rest_.remove_prefix(1);
        }
    }

    void read_change() {
        operation_ = take();
        if (operation_ != '+' && operation_ != '-' && operation_ != '=') bad_syntax();
        if (operation_ == '=') is_replaced_ = false;
        who_ &= ~mode_t{S_ISVTX};
        bits_ = bits_if_executable_ = 0;
        while (!rest_.empty() && read_permission(rest_.front())) rest_.remove_prefix(1);
        flush(operation_ == '=' && !is_replaced_);
        if (operation_ == '=') is_replaced_ = true;
    }

    bool read_permission(char letter) {
        // Set-user-ID, set-group-ID and the sticky bit are not for "others" alone.
        const bool for_others = who_ != 0 && (who_ & ~mode_t{S_IRWXO}) == 0;
        switch (letter) {
            case 'r':
                bits_ |= S_IRUSR | S_IRGRP | S_IROTH;
                return true;
            case 'w':
                bits_ |= S_IWUSR | S_IWGRP | S_IWOTH;
                return true;
            case 'x':
                bits_ |= executable;
                return true;
            case 'X':
                (operation_ == '-' ? bits_ : bits_if_executable_) |= executable;
                return true;
            case 's':
                if (!for_others) bits_ |= set_ids;
                return true;
            case 't':
                if (for_others) return true;
                // As in BSD: after it the change is not for all, but for what was named, and the sticky bit.
                who_ |= S_ISVTX;
                bits_ |= S_ISVTX;
                return true;
            case 'u':
            case 'g':
            case 'o':
                flush(false);
                if (operation_ == '=') is_replaced_ = true;
                add_copy(letter);
                return true;
            default:
                return false;
        }
    }

    void flush(bool even_if_nothing) {
        if (bits_ != 0 || even_if_nothing) add_bits();
        if (bits_if_executable_ != 0) add(Step::Kind::set_if_executable, masked(bits_if_executable_));
        bits_ = bits_if_executable_ = 0;
    }

    mode_t masked(mode_t bits) const { return who_ != 0 ? who_ & bits : bits; }
    void add(Step::Kind kind, mode_t bits) { steps_.push_back({.kind = kind, .bits = bits}); }

    void add_bits() {
        if (operation_ == '=') add(Step::Kind::clear, who_ != 0 ? who_ : set_ids | permissions);
        add(operation_ == '-' ? Step::Kind::clear : Step::Kind::set, masked(bits_));
    }

    void add_copy(char from) {
        Step step;
        step.kind = from == 'u' ? Step::Kind::copy_user : from == 'g' ? Step::Kind::copy_group : Step::Kind::copy_others;
        step.to = operation_ == '+' ? Step::To::add : operation_ == '-' ? Step::To::remove : Step::To::replace;
        for (const mode_t each : {mode_t{S_IRWXU}, mode_t{S_IRWXG}, mode_t{S_IRWXO}})
            if (who_ == 0 || (who_ & each) != 0) step.bits |= each;
        steps_.push_back(step);
    }

    std::string_view rest_;
    std::vector<Step>& steps_;
    mode_t who_ = 0;
    char operation_ = 0;
    mode_t bits_ = 0;
    mode_t bits_if_executable_ = 0;
    bool is_replaced_ = false;
};

ModeChange ModeChange::exactly(mode_t mode) {
    ModeChange out;
    out.steps_ = {{.kind = Step::Kind::clear, .bits = all_bits}, {.kind = Step::Kind::set, .bits = mode & all_bits}};
    return out;
}

ModeChange ModeChange::parse(std::string_view text) {
    if (text.empty() || text.size() > text_limit) bad_syntax();
    if (text.front() >= '0' && text.front() <= '9') return exactly(parse_octal(text));
    ModeChange out;
    Parser{text, out.steps_}.run();
    return out;
}

mode_t ModeChange::copy(const Step& step, mode_t mode) {
    const mode_t value = step.kind == Step::Kind::copy_user    ? mode >> 6 & 7
                         : step.kind == Step::Kind::copy_group ? mode >> 3 & 7
                                                               : mode & 7;
    const mode_t everywhere = (value << 6 | value << 3 | value) & step.bits;
    if (step.to == Step::To::remove) return mode & ~everywhere;
    return (step.to == Step::To::replace ? mode & ~step.bits : mode) | everywhere;
}

mode_t ModeChange::apply(mode_t mode) const {
    mode_t out = mode & all_bits;
    const bool is_executable = (mode & executable) != 0 || S_ISDIR(mode);
    for (const Step& step : steps_) {
        switch (step.kind) {
            case Step::Kind::set:
                out |= step.bits;
                break;
            case Step::Kind::clear:
                out &= ~step.bits;
                break;
            case Step::Kind::set_if_executable:
                if (is_executable) out |= step.bits;
                break;
            default:
                out = copy(step, out);
        }
    }
    return out;
}

}  // namespace grua::build
