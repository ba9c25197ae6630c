#include "build/front_end_request.hpp"

#include "base/test_loop.hpp"
#include "grpc/status.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <boost/json/parse.hpp>

namespace grua::build {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class FrontEndRequestTest : public testing::Test {
protected:
    FrontEndRequest request(std::string id, std::string text) {
        FrontEndRequest out{.id = std::move(id)};
        out.file.set_filename("Dockerfile");
        out.file.set_data(std::move(text));
        out.inputs.target_platform = oci::Platform::parse("linux/amd64");
        out.base_image = [this](const std::string& name, const oci::Platform& platform) { return base_image(name, platform); };
        return out;
    }

    asio::awaitable<dockerfile::BaseImage> base_image(std::string name, oci::Platform platform) {
        asked.push_back(name + " " + platform.text());
        if (name == "missing") fail(ErrorKind::not_found, "it is not there");
        co_return dockerfile::BaseImage{.env = {"KNOWN=1"}, .on_build = {"ARG late"}};
    }

    std::map<std::string, std::string> ask(FrontEndRequest what) {
        const wire::bridge::Result out = run(std::move(what));
        EXPECT_FALSE(out.has_ref());
        return {out.metadata().begin(), out.metadata().end()};
    }

    std::string refusal(FrontEndRequest what) {
        try {
            run(std::move(what));
        } catch (const grpc::CallError& error) {
            EXPECT_EQ(error.status().code, grpc::Code::unknown);
            return error.what();
        }
        return "";
    }

    wire::bridge::Result run(FrontEndRequest what) {
        wire::bridge::Result out;
        asio::io_context loop;
        run_on_loop(loop, [&]() -> asio::awaitable<void> { out = co_await run_request(std::move(what)); });
        return out;
    }

    std::vector<std::string> asked;
};

TEST_F(FrontEndRequestTest, lint_knows_the_variables_of_images) {
    auto found = ask(request("frontend.lint", "FROM a AS x\nENV b=$KNOWN\nFROM --platform=linux/arm64 c\nENV b=$UNKNOWN\nFROM a\n"));
    EXPECT_THAT(asked, ElementsAre("a linux/amd64", "c linux/arm64"));
    EXPECT_THAT(found["result.txt"], HasSubstr("variable '$UNKNOWN'"));
    EXPECT_THAT(found["result.txt"], Not(HasSubstr("variable '$KNOWN'")));
    EXPECT_EQ(found["result.statuscode"], "1");
    EXPECT_EQ(found["version"], "1.0.0");
}

TEST_F(FrontEndRequestTest, lint_goes_on_without_an_image) {
    auto found = ask(request("frontend.lint", "FROM missing\nMAINTAINER me\n"));
    EXPECT_THAT(asked, ElementsAre("missing linux/amd64"));
    const auto json = boost::json::parse(found["result.json"]);
    EXPECT_EQ(json.at("buildError").at("message"), "missing: it is not there");
    EXPECT_EQ(json.at("warnings").as_array().size(), 1U);
}

TEST_F(FrontEndRequestTest, outline_wants_the_images_of_its_target) {
    FrontEndRequest what = request("frontend.outline", "FROM a\nARG b=$KNOWN\nFROM missing AS other\n");
    what.inputs.target = "other";
    EXPECT_EQ(refusal(what), "it is not there");
    auto found = ask(request("frontend.outline", "FROM missing AS other\nFROM a\nARG b=$KNOWN\n"));
    EXPECT_THAT(found["result.txt"], HasSubstr("late"));
    EXPECT_THAT(found["result.txt"], HasSubstr("b           1"));
    EXPECT_FALSE(found.contains("result.statuscode"));
}

TEST_F(FrontEndRequestTest, targets_want_no_image) {
    auto found = ask(request("frontend.targets", "FROM a AS x\n"));
    EXPECT_THAT(asked, IsEmpty());
    EXPECT_EQ(found["result.txt"], "TARGET      DESCRIPTION\nx (default) \n");
    EXPECT_THAT(ask(request("frontend.subrequests.describe", "FROM a"))["result.txt"], HasSubstr("outline"));
}

TEST_F(FrontEndRequestTest, refuses_what_is_wrong) {
    EXPECT_EQ(refusal(request("frontend.nothing", "FROM a")), "unsupported request frontend.nothing");
    EXPECT_EQ(refusal(request("frontend.targets", "FROM a AS")),
              "dockerfile parse error on line 1: FROM requires either one or three arguments");
}

}  // namespace
}  // namespace grua::build
