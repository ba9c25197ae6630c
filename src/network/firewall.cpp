#include "network/firewall.hpp"

#include "base/error.hpp"
#include "base/log.hpp"
#include "network/admission.hpp"

#include <algorithm>

namespace grua::network {

Firewall::Firewall(std::string table) : table_(std::move(table)), watch_(table_, {"filter", "firewalld"}) {}

void Firewall::write() {
    const Elements elements{elements_.begin(), elements_.end()};
    const std::string rules = ruleset(table_, elements, loop_);
    linux::apply_ruleset(rules, "write the rules of table " + table_);
    optional_ = needed_rules(elements);
    rules_ = rule_count_of(rules);
}

bool Firewall::is_whole() const { return linux::rule_count(table_) == rules_; }

void Firewall::start(const Elements& elements) {
    const std::lock_guard lock(mutex_);
    elements_.insert(elements.begin(), elements.end());
    write();
    started_ = true;
    admit_containers();
}

void Firewall::guard(const std::string& loop) {
    const std::lock_guard lock(mutex_);
    if (loop_ == loop) return;
    loop_ = loop;
    if (started_) write();
}

void Firewall::change(const Elements& removed, const Elements& added, std::string_view doing) {
    const std::lock_guard lock(mutex_);
    Elements gone;
    Elements fresh;
    for (const auto& each : removed)
        if (elements_.erase(each) > 0) gone.push_back(each);
    for (const auto& each : added)
        if (elements_.insert(each).second) fresh.push_back(each);
    if (!started_) return;
    if (!std::ranges::includes(optional_, needed_rules(fresh))) {
        write();
        return;
    }
    try {
        linux::change_elements(socket_, table_, gone, fresh, doing);
    } catch (const Error& error) {
        log::warn("{}: the tables are not as they were left: writing them again", error.what());
        write();
    }
}

void Firewall::drop_unneeded() {
    const std::lock_guard lock(mutex_);
    if (started_ && !optional_.empty() && needed_rules({elements_.begin(), elements_.end()}) != optional_) write();
}

bool Firewall::repair() {
    const std::lock_guard lock(mutex_);
    if (!started_) return false;
    const auto changes = watch_.read();
    if (changes.others) admit_containers();
    if (!changes.deleted || is_whole()) return false;
    log::warn("somebody removed rules of table {}: writing them again", table_);
    write();
    return true;
}

void Firewall::remove_tables() {
    const std::lock_guard lock(mutex_);
    started_ = false;
    std::string text;
    for (const char* family : {"inet", "bridge", "ip", "ip6"}) text += fmt::format("table {0} {1}\ndelete table {0} {1}\n", family, table_);
    linux::apply_ruleset(text, "remove the rules of table " + table_);
}

}  // namespace grua::network
