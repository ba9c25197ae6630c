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

Error refusal_of(std::string_view program, int error) {
    const ErrorKind kind = error == ENOENT ? ErrorKind::not_found : ErrorKind::forbidden;
    const char* text = error == ENOENT    ? "no such file or directory"
                       : error == EACCES  ? "permission denied"
                       : error == ENOEXEC ? "exec format error"
                                          : nullptr;
    return {kind, to_valid_utf8(fmt::format("exec {}: {}", program, text ? text : std::generic_category().message(error))), error};
}

}  // namespace

struct Outcome::Page {
    std::atomic<bool> executing;
    std::atomic<bool> refused;  // By execve; `text` is the program.
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

void Outcome::about_to_execute(std::string_view program) const noexcept {
    const std::string_view kept = program.substr(0, longest_text);
    page_->size = kept.size();
    std::memcpy(page_->text.data(), kept.data(), kept.size());
    page_->executing = true;
}

void Outcome::execve_failed(int error) const noexcept {
    page_->os_error = error;
    page_->refused = true;
}

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
    if (!page_->failed && !page_->refused) return std::nullopt;
    if (!page_->failed) return refusal_of({page_->text.data(), std::min<std::size_t>(page_->size, longest_text)}, page_->os_error);
    const ErrorKind kind = page_->kind < ErrorKind::invalid_argument || page_->kind > ErrorKind::system ? ErrorKind::system : page_->kind;
    const std::size_t size = std::min<std::size_t>(page_->size, longest_text);
    return Error{kind, to_valid_utf8(std::string_view(page_->text.data(), size)), page_->os_error};
}

}  // namespace grua::runtime
