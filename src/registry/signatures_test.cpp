#include "registry/signatures.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "registry/credentials.hpp"

#include <gtest/gtest.h>
#include <cstdlib>
#include <filesystem>

namespace grua::registry {
namespace {

namespace fs = std::filesystem;

class SignaturesTest : public testing::Test {
protected:
    SignaturesTest() {
        std::string path = fs::temp_directory_path() / "grua-signatures-XXXXXX";
        folder_ = ::mkdtemp(path.data());
    }
    ~SignaturesTest() override { fs::remove_all(folder_); }
    void shell(const std::string& script) const { ASSERT_EQ(std::system(fmt::format("cd {} && {}", folder_, script).c_str()), 0); }
    std::string file(const std::string& name) const { return folder_ + "/" + name; }
    void write(const std::string& text) const { replace_file(file("signatures.toml"), text); }
    std::string error_of(const std::string& text) const {
        write(text);
        try {
            const SignaturePolicy policy{file("signatures.toml")};
        } catch (const Error& error) {
            return std::string(error.what()).substr(folder_.size() + 1);
        }
        return "no error";
    }

    std::string folder_;
};

TEST_F(SignaturesTest, keys_of_each_kind_verify_what_they_signed) {
    replace_file(file("p"), "payload");
    shell("openssl ecparam -name prime256v1 -genkey -noout -out ec.key && openssl ec -in ec.key -pubout -out ec.pub 2>/dev/null");
    shell("openssl genrsa -out rsa.key 2048 2>/dev/null && openssl rsa -in rsa.key -pubout -out rsa.pub 2>/dev/null");
    for (const std::string name : {"ec", "rsa"}) {
        shell(fmt::format("openssl dgst -sha256 -sign {0}.key -out {0}.sig p", name));
        const PublicKey key = read_public_key(file(name + ".pub"));
        const std::string signature = read_file(file(name + ".sig"));
        EXPECT_TRUE(is_signed_by(key, "payload", signature));
        EXPECT_FALSE(is_signed_by(key, "payloae", signature));
        EXPECT_FALSE(is_signed_by(key, "payload", signature.substr(1)));
        EXPECT_FALSE(is_signed_by(key, "payload", ""));
    }
    shell(
        "openssl genpkey -algorithm ed25519 -out ed.key && openssl pkey -in ed.key -pubout -out ed.pub && "
        "openssl pkeyutl -sign -inkey ed.key -rawin -in p -out ed.sig");
    EXPECT_TRUE(is_signed_by(read_public_key(file("ed.pub")), "payload", read_file(file("ed.sig"))));
    EXPECT_FALSE(is_signed_by(read_public_key(file("ec.pub")), "payload", read_file(file("ed.sig"))));
    EXPECT_THROW(read_public_key(file("ec.key")), Error);
    EXPECT_THROW(read_public_key(file("p")), Error);
}

TEST_F(SignaturesTest, a_payload_is_about_one_digest) {
    const oci::Digest digest = oci::Digest::from("sha256:" + std::string(64, 'a'));
    const auto payload = [](const std::string& of, const std::string& type, const std::string& in) {
        return fmt::format(
            R"({{"critical":{{"identity":{{"docker-reference":"{}"}},"image":{{"docker-manifest-digest":"{}"}},"type":"{}"}}}})", in, of,
            type);
    };
    const std::string type = "cosign container image signature";
    const oci::Reference redis = oci::Reference::parse("redis:7");
    // cosign calls Docker Hub by its old name; a tag says nothing about the repository.
    for (const char* name : {"index.docker.io/library/redis", "docker.io/library/redis", "redis", "redis:6"}) {
        EXPECT_NO_THROW(check_payload(payload(digest.text(), type, name), redis, digest)) << name;
    }
    for (const char* name : {"", "docker.io/library/redis2", "docker.io/me/redis", "a.example/library/redis", "../redis", "REDIS"}) {
        EXPECT_THROW(check_payload(payload(digest.text(), type, name), redis, digest), Error) << name;
    }
    EXPECT_THROW(check_payload(payload(digest.text(), type, std::string(100'000, 'x')), redis, digest), Error);
    EXPECT_THROW(check_payload(payload("sha256:" + std::string(64, 'b'), type, "redis"), redis, digest), Error);
    EXPECT_THROW(check_payload(payload(digest.text(), "other", "redis"), redis, digest), Error);
    EXPECT_THROW(check_payload("no json", redis, digest), Error);
}

TEST_F(SignaturesTest, a_wrong_file_is_refused_with_its_line) {
    EXPECT_EQ(error_of("[[policy]]\nprefix = \"a.example\"\nrequire = \"nothing\"\n"), "no error");
    EXPECT_EQ(error_of("\n[[policy]]\nrequire = \"nothing\"\n"), "signatures.toml:2: prefix is missing");
    EXPECT_EQ(error_of("[[policy]]\nprefix = \"a\"\nrequire = \"signature\"\n"),
              "signatures.toml:1: a signature is required, and no key is given");
    EXPECT_EQ(error_of("[[policy]]\nprefix = \"a\"\nrequire = \"maybe\"\n"),
              "signatures.toml:1: require has to be \"signature\", \"nothing\" or \"refuse\"");
    EXPECT_EQ(error_of("[[policy]]\nprefix = \"a\"\nkey = 1\n"), "signatures.toml:3: unknown key \"key\"");
    EXPECT_EQ(error_of("[policies]\n"), "signatures.toml:1: unknown key \"policies\"");
    EXPECT_NO_THROW(SignaturePolicy{file("none.toml")});
}

}  // namespace
}  // namespace grua::registry
