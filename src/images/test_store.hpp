// For tests: an image store of its own below a temporary folder.
#pragma once

#include "base/files.hpp"
#include "images/image_store.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

namespace grua::images {

class TestStore : public testing::Test {
protected:
    TestStore() {
        std::string path = std::filesystem::temp_directory_path() / "grua-images-XXXXXX";
        folder_ = ::mkdtemp(path.data());
        open();
    }
    ~TestStore() override {
        close();  // they empty their trash meanwhile
        std::filesystem::remove_all(folder_);
    }
    /// `boot`: of this run of the machine; another one is as after a power cut, for layers that nobody has synced.
    void open(const std::string& boot = "first") {
        close();
        database_ = std::make_unique<store::Database>(folder_ + "/db");
        blobs_ = std::make_unique<content::ContentStore>(folder_ + "/content");
        layers_ = std::make_unique<layers::LayerStore>(folder_ + "/layers", *database_, layers::LayerFormat::tree, boot);
        images_ = std::make_unique<ImageStore>(*database_, *blobs_, *layers_);
    }
    void close() {
        images_.reset();
        layers_.reset();
        blobs_.reset();
    }
    void shell(const std::string& script) const { ASSERT_EQ(std::system(fmt::format("cd {} && {}", folder_, script).c_str()), 0); }
    Fd input(const std::string& name) const { return Fd{::open((folder_ + "/" + name).c_str(), O_RDONLY | O_CLOEXEC)}; }

    std::string folder_;
    std::unique_ptr<store::Database> database_;
    std::unique_ptr<content::ContentStore> blobs_;
    std::unique_ptr<layers::LayerStore> layers_;
    std::unique_ptr<ImageStore> images_;
};

}  // namespace grua::images
