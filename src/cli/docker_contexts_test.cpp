#include "cli/docker_contexts.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "cli/context_archive.hpp"
#include "layers/tar_writer.hpp"

#include <gmock/gmock.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <boost/json.hpp>
#include <filesystem>

namespace grua::cli {
namespace {

using ::testing::HasSubstr;

template <typename Call>
std::string refusal(const Call& call) {
    try {
        call();
    } catch (const Error& error) {
        return error.what();
    }
    return "taken";
}

class Contexts : public ::testing::Test {
protected:
    Contexts() {
        std::string name = std::filesystem::temp_directory_path() / "grua-contexts-XXXXXX";
        folder_ = ::mkdtemp(name.data());
        store_ = DockerContexts(folder_);
    }
    ~Contexts() override { std::filesystem::remove_all(folder_); }

    std::string folder_;
    DockerContexts store_;
};

TEST_F(Contexts, KeepWhatIsNotKnownHere) {
    DockerContext made{.name = "far", .document = {}};
    made.document["Metadata"] = boost::json::object{{"Other", 1}};
    made.document["Endpoints"] = boost::json::object{{"kubernetes", boost::json::object{{"Host", "https://k"}}}};
    made.set_host("tcp://far:2376", false);
    store_.write(made, TlsMaterial{{"docker", {{"ca.pem", "x"}}}, {"kubernetes", {{"k", "y"}}}});
    // The folder's name is docker's: the SHA-256 of the context's.
    EXPECT_THAT(store_.metadata_path("foo"), HasSubstr("/meta/2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"));
    DockerContext found = store_.find("far");
    found.describe("new");
    store_.write(found, std::nullopt);
    found = store_.find("far");
    EXPECT_EQ(
        boost::json::serialize(found.document),
        R"({"Metadata":{"Other":1,"Description":"new"},"Endpoints":{"kubernetes":{"Host":"https://k"},"docker":{"Host":"tcp://far:2376","SkipTLSVerify":false}},"Name":"far"})");
    EXPECT_EQ(store_.material("far"), (TlsMaterial{{"docker", {{"ca.pem", "x"}}}, {"kubernetes", {{"k", "y"}}}}));
    EXPECT_EQ(store_.endpoint("far").security->files.authorities, store_.tls_path("far") + "/docker/ca.pem");
    store_.remove("far");
    EXPECT_FALSE(store_.has("far"));
    EXPECT_FALSE(std::filesystem::exists(store_.tls_path("far")));
}

TEST_F(Contexts, WithoutFilesHaveTlsOnlyWhereNobodyIsVerified) {
    DockerContext made{.name = "far", .document = {}};
    made.set_host("tcp://far:2376", false);
    store_.write(made, TlsMaterial{});
    EXPECT_FALSE(store_.endpoint("far").security);
    made.set_host("tcp://far:2376", true);
    store_.write(made, TlsMaterial{});
    EXPECT_EQ(store_.endpoint("far").security->daemon, tls::Verify::no);
}

TEST_F(Contexts, ThatAreBrokenAreNamed) {
    make_directories(store_.metadata_path("far"));
    EXPECT_THAT(refusal([&] { store_.find("far"); }),
                HasSubstr("context \"far\": context not found: open " + store_.metadata_path("far") + "/meta.json"));
    for (const char* text : {"{", "[]", ""}) {
        replace_file(store_.metadata_path("far") + "/meta.json", text);
        EXPECT_THAT(refusal([&] { store_.find("far"); }), HasSubstr("failed to read metadata: parsing " + store_.metadata_path("far")));
        EXPECT_THAT(refusal([&] { store_.list(); }), HasSubstr("failed to read metadata"));
    }
    replace_file(store_.metadata_path("far") + "/meta.json", R"({"Endpoints":[],"Metadata":3})");
    EXPECT_EQ(refusal([&] { store_.endpoint("far"); }), "context \"far\": it has no docker endpoint");
    for (const char* name : {"", "a", "default", "../x", "a b", "-ab", "a/b", "\xff\xff"})
        EXPECT_NE(refusal([&] { check_context_name(name); }), "taken") << name;
    for (const char* name : {"ab", "a.b", "0_", "x+y-z"}) EXPECT_EQ(refusal([&] { check_context_name(name); }), "taken") << name;
}

std::string tar_of(const std::vector<std::pair<std::string, std::string>>& files,
                   layers::TarEntry::Type type = layers::TarEntry::Type::file) {
    const Fd file{::memfd_create("tar", MFD_CLOEXEC)};
    layers::FdSink sink{file.get()};
    layers::TarWriter tar{sink};
    for (const auto& [name, bytes] : files) {
        layers::TarEntry entry;
        entry.name = name;
        entry.type = type;
        entry.link = type == layers::TarEntry::Type::symlink ? "/etc/shadow" : "";
        entry.size = type == layers::TarEntry::Type::file ? bytes.size() : 0;
        tar.add(entry);
        if (type == layers::TarEntry::Type::file) tar.write(bytes);
    }
    tar.finish();
    ::lseek(file.get(), 0, SEEK_SET);
    return read_all(file.get(), "tar");
}

TEST(ContextArchive, ComesBackAsItWas) {
    const Fd file{::memfd_create("tar", MFD_CLOEXEC)};
    write_context(file.get(),
                  {.document = {{"Name", "x"}}, .material = {{"docker", {{"ca.pem", "1"}, {"key.pem", std::string(100'000, 'k')}}}}});
    ::lseek(file.get(), 0, SEEK_SET);
    const std::string bytes = read_all(file.get(), "tar");
    const ContextArchive read = read_context(bytes);
    EXPECT_EQ(boost::json::serialize(read.document), R"({"Name":"x"})");
    EXPECT_EQ(read.material.at("docker").at("key.pem").size(), 100'000U);
    // Cut off anywhere it is refused or has less files, whole ones. docker itself leaves off what follows the last.
    for (std::size_t size = 0; size < bytes.size(); size += 37) {
        try {
            const ContextArchive part = read_context(std::string_view(bytes).substr(0, size));
            EXPECT_EQ(part.document, read.document);
            if (part.material.empty()) continue;
            for (const auto& [name, content] : part.material.at("docker")) EXPECT_EQ(content, read.material.at("docker").at(name)) << size;
        } catch (const Error&) {
        }
    }
    const std::size_t end = bytes.rfind('k') + 1;
    EXPECT_EQ(read_context(std::string_view(bytes).substr(0, end)).material, read.material);
    EXPECT_EQ(refusal([&] { read_context(std::string_view(bytes).substr(0, end - 1)); }), "unexpected EOF");
}

TEST(ContextArchive, ThatDockerDidNotWriteIsRefused) {
    const auto refused = [](const std::string& bytes) { return refusal([&] { read_context(bytes); }); };
    EXPECT_EQ(refused(""), "invalid context: no metadata found");
    EXPECT_EQ(refused("PK\x03\x04 and more"), "not implemented: contexts in zip files; make it a tar");
    EXPECT_EQ(refused(tar_of({{"x", ""}})), "x: unexpected context file");
    for (const char* name : {"tls/../x", "tls/docker/..", "tls/docker", "tls/a/b/c", "/meta.json", "./meta.json", "tls//ca.pem"})
        EXPECT_THAT(refused(tar_of({{"meta.json", "{}"}, {name, "x"}})), HasSubstr("unexpected context file")) << name;
    EXPECT_THAT(refused(tar_of({{"meta.json", ""}}, layers::TarEntry::Type::symlink)), HasSubstr("unexpected context file"));
    EXPECT_THAT(refused(tar_of({{"meta.json", "["}})), HasSubstr("meta.json: "));
    EXPECT_THAT(refused(tar_of({{"meta.json", "[]"}})), HasSubstr("meta.json: it is no object"));
}

}  // namespace
}  // namespace grua::cli
