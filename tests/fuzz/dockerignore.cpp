// .dockerignore: the first line is a path, the rest the file. What a walk answers does not depend on what it knows of the folders above.
#include "build/ignore_file.hpp"
#include "fuzz.hpp"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace grua;
    const std::string_view bytes = fuzz::text(data, size);
    const std::size_t line = std::min(bytes.find('\n'), bytes.size());
    const std::string path = build::clean_path(bytes.substr(0, line));
    fuzz::check(build::clean_path(path) == path);
    return fuzz::refuses_or_takes([&] {
        const build::IgnoreFile file = build::IgnoreFile::parse(bytes.substr(std::min(line + 1, bytes.size())));
        build::IgnoreFile::Answer answer;
        bool was_ignored = false;
        for (std::size_t end = path.find('/', 1); end != std::string::npos; end = path.find('/', end + 1)) {
            const std::string_view folder = std::string_view(path).substr(0, end);
            answer = file.match(folder, answer.above);
            // What is in a folder that is left out comes back by an exception only.
            was_ignored = answer.ignored && !file.may_take_back_below(folder);
            if (was_ignored) break;
        }
        if (was_ignored) {
            fuzz::check(file.match(path, answer.above).ignored);
        } else if (!file.has_exceptions()) {
            fuzz::check(file.match(path, answer.above).ignored == file.ignores(path));
        }
        for (const build::IgnoreFile::Rule& rule : file.rules()) {
            fuzz::check(!rule.pattern.matches(path) || rule.pattern.matches_or_above(path));
            const std::size_t slash = path.rfind('/');
            if (slash != std::string::npos && slash > 0 && rule.pattern.matches(path)) {
                fuzz::check(rule.pattern.may_match_below(std::string_view(path).substr(0, slash)));
            }
        }
    });
}
