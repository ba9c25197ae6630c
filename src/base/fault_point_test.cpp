#include "base/fault_point.hpp"

#include "base/error.hpp"
#include "base/files.hpp"

#include <gtest/gtest.h>
#include <cstdlib>
#include <filesystem>

#ifdef GRUA_CRASH_POINTS
namespace grua {
namespace {

class FaultPoint : public testing::Test {
protected:
    void TearDown() override {
        ::unsetenv("GRUA_FAIL_AT");
        ::unsetenv("GRUA_FAULT_TRACE");
        std::filesystem::remove_all(folder_);
    }
    void SetUp() override { std::filesystem::create_directories(folder_); }

    /// The errno that a visit fails with, 0 where it does not.
    static int visit(std::string_view name) {
        try {
            fault_point(name);
            return 0;
        } catch (const Error& error) {
            EXPECT_EQ(error.kind(), ErrorKind::system);
            EXPECT_EQ(std::string_view{error.what()}.find(name), std::string_view::npos);
            return error.os_error();
        }
    }

    std::string folder_ = testing::TempDir() + "grua-fault-" + std::to_string(::getpid());
};

TEST_F(FaultPoint, FailsTheNamedNumberOfVisits) {
    EXPECT_EQ(visit("layers:unpack"), 0);
    ::setenv("GRUA_FAIL_AT", "layers:unpack:ENOSPC, mount the layers:EMFILE:2", 1);
    EXPECT_EQ(visit("another"), 0);
    EXPECT_EQ(visit("layers:unpack"), ENOSPC);
    EXPECT_EQ(visit("layers:unpack"), 0);
    EXPECT_EQ(visit("mount the layers"), EMFILE);
    EXPECT_EQ(visit("mount the layers"), EMFILE);
    EXPECT_EQ(visit("mount the layers"), 0);
}

TEST_F(FaultPoint, AFileArmsAndDisarmsWhatRuns) {
    const std::string file = folder_ + "/fail-at";
    ::setenv("GRUA_FAIL_AT", ("@" + file).c_str(), 1);
    EXPECT_EQ(visit("layers:sync"), 0);
    replace_file(file, "layers:sync:EIO\n");
    EXPECT_EQ(visit("layers:sync"), EIO);
    EXPECT_EQ(visit("layers:sync"), 0);
    replace_file(file, "layers:sync:exception:9\n");
    EXPECT_THROW(fault_point("layers:sync"), std::runtime_error);
    replace_file(file, "");
    EXPECT_EQ(visit("layers:sync"), 0);
    replace_file(file, "layers:sync:EIO\n");
    EXPECT_EQ(visit("layers:sync"), EIO);
}

TEST_F(FaultPoint, VisitsAreTraced) {
    ::setenv("GRUA_FAULT_TRACE", (folder_ + "/trace").c_str(), 1);
    fault_point("one");
    fault_point("two words");
    EXPECT_EQ(read_file(folder_ + "/trace"), "one\ntwo words\n");
}

TEST_F(FaultPoint, AMisspelledPointEndsTheProgram) {
    ::setenv("GRUA_FAIL_AT", "layers:unpack:ENOSPACE", 1);
    EXPECT_DEATH(fault_point("layers:unpack"), "cannot read");
}

}  // namespace
}  // namespace grua
#endif
