#include "network/firewall.hpp"

#include "base/error.hpp"
#include "base/fault_point.hpp"
#include "base/log.hpp"
#include "network/admission.hpp"

#include <algorithm>

namespace grua::network {

Firewall::Firewall(std::string table) : table_(std::move(table)), watch_(table_, {"filter", "firewalld"}) {}

void Firewall::write() {
    is_written_ = false;
    const std::string rules = ruleset(table_, {elements_.begin(), elements_.end()}, loop_);
    fault_point("network:write-rules");
    linux::apply_ruleset(rules, "write the rules of table " + table_);
    optional_ = needed();
    rules_ = rule_count_of(rules);
    is_written_ = true;
}

bool Firewall::note(const linux::NftElement& element, bool is_there) {
    if (is_there ? !elements_.insert(element).second : elements_.erase(element) == 0) return false;
    if (const auto rules = needed_rules(element)) needing_[*rules] += is_there ? 1 : -1;
    return true;
}

std::set<OptionalRules> Firewall::needed() const {
    std::set<OptionalRules> out;
    for (const auto& [rules, count] : needing_)
        if (count > 0) out.insert(rules);
    return out;
}

/// Not where that cannot be told: to write them again does no harm.
bool Firewall::is_whole() const {
    try {
        return linux::rule_count(table_) == rules_;
    } catch (const Error& error) {
        log::warn("{}", error.what());
        return false;
    }
}

void Firewall::start(const Elements& elements) {
    const MutexLock lock(mutex_);
    for (const auto& each : elements) note(each, true);
    write();
    started_ = true;
    admit_containers();
}

void Firewall::guard(const std::string& loop) {
    const MutexLock lock(mutex_);
    if (loop_ == loop) return;
    loop_ = loop;
    if (started_) write();
}

void Firewall::change(const Elements& removed, const Elements& added, std::string_view doing) {
    const MutexLock lock(mutex_);
    Elements gone;
    Elements fresh;
    for (const auto& each : removed)
        if (note(each, false)) gone.push_back(each);
    for (const auto& each : added)
        if (note(each, true)) fresh.push_back(each);
    if (!started_) return;
    // After a failure what is there is not what is noted: all of it is written again.
    if (!is_written_ || !std::ranges::includes(optional_, needed())) {
        write();
        return;
    }
    try {
        fault_point("network:change-elements");
        linux::change_elements(socket_, table_, gone, fresh, doing);
    } catch (const Error& error) {
        log::warn("{}: the tables are not as they were left: writing them again", error.what());
        write();
    }
}

void Firewall::drop_unneeded() {
    const MutexLock lock(mutex_);
    if (started_ && needed() != optional_) write();
}

bool Firewall::repair() {
    const MutexLock lock(mutex_);
    if (!started_) return false;
    const auto changes = watch_.read();
    if (changes.others) admit_containers();
    if (!changes.deleted || is_whole()) return false;
    log::warn("somebody removed rules of table {}: writing them again", table_);
    write();
    return true;
}

void Firewall::remove_tables() {
    const MutexLock lock(mutex_);
    started_ = false;
    std::string text;
    for (const char* family : {"inet", "bridge", "ip", "ip6"}) text += fmt::format("table {0} {1}\ndelete table {0} {1}\n", family, table_);
    linux::apply_ruleset(text, "remove the rules of table " + table_);
}

}  // namespace grua::network
