#include "build/statements.hpp"

#include "base/files.hpp"
#include "base/id.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <boost/json/parse.hpp>
#include <filesystem>

namespace grua::build {
namespace {

namespace wb = wire::bridge;
using testing::HasSubstr;

class StatementsTest : public testing::Test {
protected:
    StatementsTest() { std::filesystem::create_directories(folder_ + "/out"); }
    ~StatementsTest() override { std::filesystem::remove_all(folder_); }

    void put(const std::string& path, const std::string& text) const { replace_file(folder_ + "/" + path, text); }

    static wb::Attestation bundle() {
        wb::Attestation out;
        out.set_kind(wb::ATTESTATION_KIND_Bundle);
        out.set_path("/out");
        out.set_intotopredicatetype("https://spdx.dev/Document");
        (*out.mutable_metadata())["sbom-core"] = "sbom";
        return out;
    }
    static wb::Attestation predicate(const std::string& path) {
        wb::Attestation out;
        out.set_path(path);
        out.set_intotopredicatetype("https://x");
        return out;
    }
    std::vector<GivenStatement> read(const wb::Attestation& attestation) const {
        std::size_t room = statement_bytes_limit;
        return read_statements(attestation, Root::open(folder_.c_str()), room);
    }
    std::string refusal(const wb::Attestation& attestation) const {
        try {
            (void)read(attestation);
        } catch (const Error& error) {
            return error.what();
        }
        return {};
    }

    const std::string folder_ = std::filesystem::temp_directory_path() / ("grua-statements-" + random_hex(6));
};

const std::vector<Subject> own{{.name = "image", .digests = {{"sha256", "aa"}}}};

TEST_F(StatementsTest, a_folder_has_whole_statements_the_results_own_first) {
    put("out/a.spdx.json", R"({"predicateType": "https://spdx.dev/Document", "predicate": {"is": "a"},
                               "subject": [{"name": "f", "digest": {"sha1": "bb"}}, {}]})");
    put("out/sbom.spdx.json", R"({"predicateType": "https://spdx.dev/Document", "predicate": {"is": "core"}})");
    const auto found = read(bundle());
    ASSERT_EQ(found.size(), 2U);
    EXPECT_EQ(found[0].filename, "sbom.spdx.json");
    EXPECT_TRUE(found[0].is_core);
    EXPECT_EQ(statement_of(found[0], own), boost::json::parse(R"({"_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": "https://spdx.dev/Document", "predicate": {"is": "core"}, "subject": [{"name": "image", "digest": {"sha256": "aa"}}]})"));
    EXPECT_FALSE(found[1].is_core);
    EXPECT_EQ(statement_of(found[1], own).at("subject"),
              boost::json::parse(R"([{"name": "f", "digest": {"sha1": "bb"}}, {"name": "_", "digest": {}}])"));
}

TEST_F(StatementsTest, a_file_is_a_predicate) {
    put("out/said.json", R"([1, 2])");
    wb::Attestation said = predicate("out/said.json");
    (*said.mutable_metadata())["inline-only"] = "true";
    auto found = read(said);
    ASSERT_EQ(found.size(), 1U);
    EXPECT_EQ(found[0].filename, "said.json");
    EXPECT_TRUE(found[0].inline_only);
    EXPECT_EQ(statement_of(found[0], own).at("predicate"), boost::json::parse("[1, 2]"));
    wb::InTotoSubject& self = *said.add_intotosubjects();
    self.set_name("other");
    wb::InTotoSubject& raw = *said.add_intotosubjects();
    raw.set_kind(wb::IN_TOTO_SUBJECT_KIND_Raw);
    raw.set_name("file");
    raw.add_digest("sha512:cc");
    found = read(said);
    EXPECT_EQ(statement_of(found.at(0), own).at("subject"), boost::json::parse(R"([{"name": "image", "digest": {"sha256": "aa"}},
        {"name": "other", "digest": {"sha256": "aa"}}, {"name": "file", "digest": {"sha512": "cc"}}])"));
}

TEST_F(StatementsTest, what_is_none_is_refused_by_its_name) {
    put("out/x.json", "{");
    EXPECT_THAT(refusal(bundle()), HasSubstr("attestation: x.json: it is not valid JSON"));
    put("out/x.json", R"({"predicateType": "https://other"})");
    EXPECT_EQ(refusal(bundle()), "attestation: x.json: it is of the type https://other, not of https://spdx.dev/Document");
    put("out/x.json", R"({"predicateType": 7})");
    EXPECT_EQ(refusal(bundle()), "attestation: x.json: predicateType is no text");
    put("out/x.json", R"({"predicateType": "https://spdx.dev/Document", "subject": [{"digest": {"a": 1}}]})");
    EXPECT_EQ(refusal(bundle()), "attestation: x.json: subject: its digest a is no text");
    put("out/x.json", R"([])");
    EXPECT_EQ(refusal(bundle()), "attestation: x.json: it is no in-toto statement");
    put("out/x.json", std::string(200, '['));
    EXPECT_THAT(refusal(bundle()), HasSubstr("it is not valid JSON"));
    EXPECT_EQ(refusal(predicate("")), "attestation: it does not have a path");
    EXPECT_THAT(refusal(predicate("out/none.json")), HasSubstr("out/none.json"));
    EXPECT_EQ(refusal(predicate("out")), "attestation: out: it is no regular file");
    wb::Attestation odd = bundle();
    odd.set_kind(static_cast<wb::AttestationKind>(7));
    EXPECT_EQ(refusal(odd), "attestation: unknown kind 7");
}

TEST_F(StatementsTest, what_is_too_much_is_refused) {
    put("out/x.json", "[" + std::string(statement_bytes_limit, ' ') + "]");
    EXPECT_EQ(refusal(bundle()), "attestation: x.json: all that is said of a result has at most 41943040 bytes");
    std::string many = "[1";
    for (std::size_t at = 0; at < statement_bytes_limit / 2 - 10; ++at) many += ",1";
    put("out/x.json", many + "]");
    EXPECT_EQ(refusal(bundle()), "attestation: x.json: it takes more than 167772160 bytes of memory");
    // Of two files as of one.
    const std::string half =
        R"({"predicateType": "https://spdx.dev/Document", "predicate": {"a": ")" + std::string(statement_bytes_limit / 2, 'a') + "\"}}";
    put("out/x.json", half);
    EXPECT_EQ(refusal(bundle()), "");
    put("out/y.json", half);
    EXPECT_EQ(refusal(bundle()), "attestation: y.json: all that is said of a result has at most 41943040 bytes");
}

TEST_F(StatementsTest, nobody_but_us_says_how_a_result_came_to_be) {
    put("out/x.json", R"({"predicateType": "https://slsa.dev/provenance/v1", "predicate": {}})");
    wb::Attestation any = bundle();
    any.clear_intotopredicatetype();
    EXPECT_EQ(refusal(any), "attestation: a front end may not set provenance attestations");
    wb::Attestation alone = predicate("out/x.json");
    alone.set_intotopredicatetype("https://slsa.dev/provenance/v0.2");
    EXPECT_EQ(refusal(alone), "attestation: a front end may not set provenance attestations");
}

TEST_F(StatementsTest, nothing_outside_of_the_tree_is_read) {
    std::filesystem::create_symlink("/etc/passwd", folder_ + "/out/link.json");
    EXPECT_NE(refusal(bundle()), "");
    EXPECT_THAT(refusal(predicate("../../../../etc/passwd")), HasSubstr("passwd"));
    std::filesystem::remove(folder_ + "/out/link.json");
    ASSERT_EQ(::mkfifo((folder_ + "/out/pipe.json").c_str(), 0600), 0);
    EXPECT_EQ(refusal(bundle()), "attestation: pipe.json: it is no regular file");
    std::filesystem::remove(folder_ + "/out/pipe.json");
    for (std::size_t at = 0; at <= statement_count_limit; ++at) put(fmt::format("out/{}", at), "{}");
    EXPECT_EQ(refusal(bundle()), "attestation: it has more than 256 files");
}

}  // namespace
}  // namespace grua::build
