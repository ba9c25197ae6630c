#include "build/oci_layout.hpp"

#include "base/error.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace grua::build {
namespace {

const std::string digest = "sha256:" + std::string(64, 'a');

pb::SourceOp source(const std::string& identifier, const std::map<std::string, std::string>& attributes = {}) {
    pb::SourceOp out;
    out.set_identifier(identifier);
    out.mutable_attrs()->insert(attributes.begin(), attributes.end());
    return out;
}

std::string refusal(const pb::SourceOp& what) {
    try {
        (void)read_layout_source(what, "s");
    } catch (const Error& error) {
        return error.what();
    }
    return {};
}

TEST(LayoutSource, TheStoreIsTheNameWhereNoneIsSaid) {
    const LayoutSource plain = read_layout_source(source("oci-layout://the/name@" + digest), "of the build");
    EXPECT_EQ(plain.store, "the/name");
    EXPECT_EQ(plain.session, "of the build");
    EXPECT_EQ(plain.digest.text(), digest);
    const LayoutSource said =
        read_layout_source(source("oci-layout://name@" + digest, {{"oci.store", "mine"}, {"oci.session", "other"}}), "s");
    EXPECT_EQ(said.store, "mine");
    EXPECT_EQ(said.session, "other");
    EXPECT_EQ(parse_layout_reference("store:tag@" + digest).store, "store");
    EXPECT_EQ(parse_layout_reference("host:80/store@" + digest).store, "host:80/store");
}

TEST(LayoutSource, WhatHasNoDigestIsRefused) {
    for (const std::string& each :
         {std::string("name"), std::string("name:tag"), std::string("name@"), std::string("name@sha256:12"), "@" + digest})
        EXPECT_THAT(refusal(source("oci-layout://" + each)), testing::HasSubstr("has no digest")) << each;
    EXPECT_THAT(refusal(source("oci-layout://name@" + digest, {{"oci.layerlimit", "1"}})), testing::HasSubstr("not implemented"));
}

}  // namespace
}  // namespace grua::build
