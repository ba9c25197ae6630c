#include "linux/project_quota.hpp"

#include "base/error.hpp"
#include "base/id.hpp"

#include <gtest/gtest.h>
#include <filesystem>
#include <fstream>

namespace grua::linux {
namespace {

namespace fs = std::filesystem;

/// GRUA_QUOTA_DIR names a folder on a file system that is mounted with prjquota (tests/system/quota_test.py does); without it this shows
/// only that a file system without is told apart.
class ProjectQuotaTest : public testing::Test {
protected:
    ProjectQuotaTest() {
        const char* place = std::getenv("GRUA_QUOTA_DIR");
        folder_ = (place ? fs::path(place) : fs::temp_directory_path()) / ("grua-quota-" + random_hex(6));
        fs::create_directories(folder_);
    }
    ~ProjectQuotaTest() override { fs::remove_all(folder_); }

    /// Bytes that could be written.
    std::uint64_t fill(const fs::path& file) {
        std::ofstream out(file, std::ios::binary);
        const std::string piece(64 << 10U, 'x');
        for (int i = 0; i < 64 && out.flush(); ++i) out << piece;
        out.close();
        return fs::file_size(file);
    }

    fs::path folder_;
};

TEST_F(ProjectQuotaTest, BoundsWhatIsBelowAFolder) {
    if (!has_project_quota(folder_)) {
        EXPECT_THROW(bound_folder(folder_, 1 << 20U), Error);
        EXPECT_FALSE(bound_of(folder_));
        unbound_folder(folder_);
        GTEST_SKIP() << "no project quota here: set GRUA_QUOTA_DIR";
    }
    for (const char* name : {"a", "b"}) {
        fs::create_directory(folder_ / name);
        bound_folder(folder_ / name, 1 << 20U);
        EXPECT_EQ(bound_of(folder_ / name), 1U << 20U);
        fs::create_directory(folder_ / name / "sub");
        const auto written = fill(folder_ / name / "sub/file");
        EXPECT_LE(written, 1U << 20U);
        EXPECT_GE(written, 900U << 10U) << "each has its own";
    }
    EXPECT_EQ(fill(folder_ / "outside"), 4U << 20U);
    unbound_folder(folder_ / "a");
    EXPECT_FALSE(bound_of(folder_ / "a"));
    EXPECT_EQ(fill(folder_ / "a/more"), 4U << 20U);
    unbound_folder(folder_ / "missing");
}

}  // namespace
}  // namespace grua::linux
