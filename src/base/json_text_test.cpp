#include "base/codec.hpp"

#include <gtest/gtest.h>
#include <limits>

namespace grua::json {
namespace {

struct Inner {
    std::string text;
    std::optional<int> number;
    static json::Fields fields() { return json::Fields{field("Text", &Inner::text), field("Number", &Inner::number).omitted_when_empty()}; }
    bool operator==(const Inner&) const = default;
};

struct Outer {
    Inner inner;
    std::vector<Inner> list;
    std::map<std::string, std::optional<std::vector<Inner>>> map;
    std::optional<Inner> none;
    bool flag = true;
    std::int64_t least = std::numeric_limits<std::int64_t>::min();
    std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
    std::uint16_t small = 80;
    Value any = parse("[1.5,{\"a\":null}]");
    std::string newer;
    static Value parse(const char* text) { return boost::json::parse(text); }
    static json::Fields fields() {
        return json::Fields{field("Inner", &Outer::inner), field("List", &Outer::list),
                            field("Map", &Outer::map),     field("None", &Outer::none),
                            field("Flag", &Outer::flag),   field("Least", &Outer::least),
                            field("Most", &Outer::most),   field("Small", &Outer::small),
                            field("Any", &Outer::any),     field("Newer", &Outer::newer).added_in(44)};
    }
};

Outer example() {
    Outer out;
    std::string all;
    for (int c = 0; c < 256; ++c) all += static_cast<char>(c < 128 ? c : 'x');
    out.inner.text = all + "ä\u2028\"\\/";
    out.list = {{.text = "a", .number = 1}, {.text = "", .number = {}}};
    out.map["one \"key\"\n"] = std::nullopt;
    out.map["two"] = std::vector<Inner>{{.text = "b", .number = 2}};
    return out;
}

TEST(JsonText, IsWhatTheCodecDumps) {
    for (const int minor_number : {24, 43, 44, 50}) {
        EXPECT_EQ(text_of(example(), {1, minor_number}), dump(example(), {1, minor_number}));
    }
}

TEST(JsonText, APlaceOfTheTextCanBeFound) {
    std::string out;
    std::size_t place = 0;
    append_struct(out, example(), {1, 44}, [&](std::string_view name) {
        if (name == "Flag") place = out.size();
    });
    EXPECT_EQ(out.substr(place, 5), "true,");
}

}  // namespace
}  // namespace grua::json
