#include "build/file_mode.hpp"

#include "base/error.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <string>

namespace grua::build {
namespace {

struct Case {
    std::string text;
    mode_t before;
    mode_t after;
};

TEST(FileMode, ChangesAreAsInChmod) {
    const Case cases[] = {
        {"644", S_IFREG | 0755, 0644},         {"0", S_IFREG | 07777, 0},
        {"4755", S_IFREG | 0600, 04755},       {"7777", S_IFDIR | 0, 07777},
        {"u+x", S_IFREG | 0644, 0744},         {"+x", S_IFREG | 0644, 0755},
        {"a-w", S_IFREG | 0666, 0444},         {"go=", S_IFREG | 0777, 0700},
        {"u=rwX,go=rX", S_IFREG | 0600, 0644}, {"u=rwX,go=rX", S_IFREG | 0610, 0755},
        {"u=rwX,go=rX", S_IFDIR | 0600, 0755}, {"-x,+X", S_IFREG | 0755, 0755},
        {"+X,-x", S_IFREG | 0755, 0644},       {"a-X", S_IFREG | 0755, 0644},
        {"g=u", S_IFREG | 0640, 0660},         {"go=u-w", S_IFREG | 0700, 0755},
        {"o+g", S_IFREG | 0750, 0755},         {"u-o", S_IFREG | 0705, 0205},
        {"=u", S_IFREG | 0700, 0777},          {"=", S_IFREG | 07777, 01000},
        {"a=", S_IFREG | 07777, 01000},        {"=r", S_IFREG | 0777, 0444},
        {"u+s", S_IFREG | 0755, 04755},        {"g+s", S_IFREG | 0755, 02755},
        {"+s", S_IFREG | 0755, 06755},         {"o+s", S_IFREG | 0755, 0755},
        {"+t", S_IFDIR | 0755, 01755},         {"o+t", S_IFDIR | 0755, 0755},
        {"u+rw-x", S_IFREG | 0177, 0677},      {"u+w,g+w,o-r", S_IFREG | 0444, 0660},
        {"u=g=r", S_IFREG | 0070, 0470},       {"ug+", S_IFREG | 0640, 0640},
    };
    for (const Case& each : cases) {
        EXPECT_EQ(ModeChange::parse(each.text).apply(each.before), each.after) << each.text << " of " << std::oct << each.before;
    }
    EXPECT_EQ(ModeChange::exactly(0100644).apply(S_IFDIR | 0755), mode_t{0644});
}

TEST(FileMode, WhatIsNoModeIsRefused) {
    for (const std::string text : {"", "u", "x", "u+x,", ",u+x", "u?x", "u+q", "10000", "77777", "u+x g+x", "a", "+r,,+w"})
        EXPECT_THROW((void)ModeChange::parse(text), Error) << text;
    const auto text_of = [](const std::string& text) {
        try {
            (void)ModeChange::parse(text);
        } catch (const Error& error) {
            return std::string(error.what());
        }
        return std::string();
    };
    EXPECT_EQ(text_of("rwx"), "invalid syntax");
    EXPECT_EQ(text_of("689"), "strconv.ParseInt: parsing \"689\": invalid syntax");
    EXPECT_EQ(text_of("100000"), "strconv.ParseInt: parsing \"100000\": value out of range");
}

}  // namespace
}  // namespace grua::build
