#include "runtime/outcome.hpp"

#include "base/utf8.hpp"

#include <sys/mman.h>
#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <string>

namespace grua::runtime {
namespace {

constexpr std::size_t longest_text = std::size_t{8} << 10U;
constexpr std::size_t head = std::size_t{4} << 10U;
constexpr std::size_t tail = std::size_t{1} << 10U;

/// What is too long loses its middle: the reason stands at the end.
std::string bounded(std::string_view text) {
    std::string out{text};
    if (text.size() > head + tail) out = fmt::format("{}…{}", cut_utf8(text, head), text.substr(text.size() - tail));
    out = to_valid_utf8(out);
    return std::string(cut_utf8(out, longest_text));
}

}  // namespace

struct Outcome::Page {
    std::atomic<bool> executing;
    std::atomic<bool> failed;
    pid_t program;
    ErrorKind kind;
    int os_error;
    std::size_t size;
    std::array<char, longest_text> text;
};

Outcome::Outcome() {
    void* page = ::mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) fail_errno("share memory with a child");
    page_ = static_cast<Page*>(page);
}

Outcome::~Outcome() { ::munmap(page_, sizeof(Page)); }

void Outcome::about_to_execute() const noexcept { page_->executing = true; }

void Outcome::failed(const Error& error, std::string_view doing) const noexcept {
    const std::string text = bounded(doing.empty() ? std::string(error.what()) : fmt::format("{}: {}", doing, error.what()));
    page_->kind = error.kind();
    page_->os_error = error.os_error();
    page_->size = text.size();
    std::memcpy(page_->text.data(), text.data(), text.size());
    page_->failed = true;
}

pid_t* Outcome::program() const noexcept { return &page_->program; }

bool Outcome::is_executing() const noexcept { return page_->executing; }

std::optional<Error> Outcome::failure() const {
    if (!page_->failed) return std::nullopt;
    const ErrorKind kind = page_->kind < ErrorKind::invalid_argument || page_->kind > ErrorKind::system ? ErrorKind::system : page_->kind;
    const std::size_t size = std::min<std::size_t>(page_->size, longest_text);
    return Error{kind, to_valid_utf8(std::string_view(page_->text.data(), size)), page_->os_error};
}

}  // namespace grua::runtime
