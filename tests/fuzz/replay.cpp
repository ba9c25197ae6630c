// Runs a fuzz target over the files of its corpus, without libFuzzer.
#include "fuzz.hpp"

#include "base/files.hpp"

#include <cstdio>
#include <filesystem>

int main(int count, char** arguments) {
    int files = 0;
    for (int index = 1; index < count; ++index) {
        for (const auto& entry : std::filesystem::recursive_directory_iterator(arguments[index])) {
            if (!entry.is_regular_file()) continue;
            const std::string bytes = grua::read_file(entry.path());
            std::printf("%s\n", entry.path().c_str());
            std::fflush(stdout);
            LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
            ++files;
        }
    }
    // An empty corpus would test nothing.
    return files > 0 ? 0 : 1;
}
