// What a layer's tar may do and what not, with the attacks that other unpackers fell to. The same as a tree and as an erofs image.
#include "layers/unpack.hpp"

#include "base/error.hpp"
#include "base/files.hpp"
#include "base/text.hpp"
#include "layers/compare.hpp"
#include "layers/erofs.hpp"
#include "layers/folder_times.hpp"
#include "layers/source.hpp"
#include "layers/tree.hpp"

#include <bzlib.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <isa-l/igzip_lib.h>
#include <lzma.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <zstd.h>
#include <array>
#include <cstring>
#include <filesystem>

namespace grua::layers {
namespace {

namespace fs = std::filesystem;

struct Entry {
    std::string name;
    char type = '0';
    std::string data = {};
    std::string link = {};
    std::string mode = "0000644";
    unsigned device_minor = 0;
    std::optional<std::uint64_t> size = std::nullopt;  ///< other than the data's
    std::string gnu = {};                              ///< bytes from 386 on; makes it a GNU header
};

std::string padded(std::string data) {
    data.resize((data.size() + 511) / 512 * 512, '\0');
    return data;
}

std::string header(const Entry& entry) {
    std::string block(512, '\0');
    const auto put = [&](std::size_t at, const std::string& text) { block.replace(at, text.size(), text); };
    put(0, entry.name);
    put(100, entry.mode);
    put(108, "0000000");
    put(116, "0000000");
    put(124, fmt::format("{:011o}", entry.size.value_or(entry.data.size())));
    put(136, "00000000001");
    block[156] = entry.type;
    put(157, entry.link);
    put(257, entry.gnu.empty() ? std::string("ustar\00000", 8) : "ustar  ");
    put(337, fmt::format("{:07o}", entry.device_minor));
    put(386, entry.gnu);
    put(148, "        ");
    unsigned sum = 0;
    for (const char c : block) sum += static_cast<unsigned char>(c);
    put(148, fmt::format("{:06o}", sum) + '\0' + ' ');
    return block;
}

std::string tar(const std::vector<Entry>& entries) {
    std::string out;
    for (const Entry& each : entries) out += header(each) + padded(each.data);
    return out + std::string(1024, '\0');
}

/// A pax header that belongs to the next entry.
Entry pax(const std::vector<std::pair<std::string, std::string>>& records) {
    std::string data;
    for (const auto& [key, value] : records) {
        const std::size_t rest = key.size() + value.size() + 3;
        std::size_t length = rest + 1;
        while (std::to_string(length).size() + rest != length) ++length;
        data += fmt::format("{} {}={}\n", length, key, value);
    }
    return {.name = "pax", .type = 'x', .data = data};
}

class Text : public Source {
public:
    explicit Text(std::string text) : text_(std::move(text)) {}
    std::size_t read(std::span<char> out) override {
        const std::size_t count = std::min(out.size(), text_.size() - at_);
        std::memcpy(out.data(), text_.data() + at_, count);
        at_ += count;
        return count;
    }

private:
    std::string text_;
    std::size_t at_ = 0;
};

class UnpackTest : public testing::Test {
protected:
    UnpackTest() {
        std::string path = fs::temp_directory_path() / "grua-unpack-XXXXXX";
        folder_ = ::mkdtemp(path.data());
        fs::create_directory(folder_ + "/outside");
        replace_file(folder_ + "/outside/secret", "keep");
        fs::create_directory(root_ = folder_ + "/root");
    }
    ~UnpackTest() override {
        EXPECT_EQ(read_file(folder_ + "/outside/secret"), "keep");
        EXPECT_EQ(std::distance(fs::directory_iterator(folder_ + "/outside"), {}), 1);
        EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 2);
        fs::remove_all(folder_);
    }

    std::uint64_t unpack(const std::vector<Entry>& entries) const { return unpack_bytes(tar(entries)); }
    std::uint64_t unpack_bytes(std::string bytes) const {
        Text source{bytes};
        const auto plain = decompress(source);
        TarReader reader{*plain};
        const bool is_fresh = fs::is_empty(root_);
        timespec began{};
        ::clock_gettime(CLOCK_REALTIME_COARSE, &began);
        std::string tree_error;
        std::uint64_t size = 0;
        try {
            size = unpack_tar(reader, root_);
        } catch (const Error& error) {
            tree_error = error.what();
        }
        if (is_fresh) compare_with_image(std::move(bytes), began, tree_error, size);
        if (!tree_error.empty()) fail(ErrorKind::invalid_argument, "{}", tree_error);
        return size;
    }
    /// Both refuse, with the same words, or both have the same files.
    void compare_with_image(std::string bytes, const timespec& began, const std::string& tree_error, std::uint64_t size) const {
        static const bool can_mount = [&] {
            try {
                check_erofs(folder_);
                return true;
            } catch (const Error&) {
                return false;
            }
        }();
        const std::string path = folder_ + "/image";
        Text source{std::move(bytes)};
        const auto plain = decompress(source);
        TarReader reader{*plain};
        try {
            EXPECT_EQ(write_erofs(reader, path), size);
            EXPECT_EQ(tree_error, "");
            if (can_mount && tree_error.empty()) {
                const Fd mount = mount_erofs(path);
                const Fd image{::openat(mount.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
                const Fd tree{::open(root_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
                EXPECT_EQ(first_difference(tree.get(), image.get(), {.made_after = began}).value_or("none"), "none");
            }
        } catch (const Error& error) {
            EXPECT_EQ(error.what(), tree_error);
        }
        fs::remove(path);
    }
    void refused(const std::vector<Entry>& entries, const std::string& why) const { refused_bytes(tar(entries), why); }
    void refused_bytes(std::string bytes, const std::string& why) const {
        try {
            unpack_bytes(std::move(bytes));
            ADD_FAILURE() << "was unpacked: " << why;
        } catch (const Error& error) {
            EXPECT_THAT(error.what(), testing::HasSubstr(why));
        }
    }
    struct stat status(const std::string& name) const {
        struct stat out{};
        EXPECT_EQ(::lstat((root_ + "/" + name).c_str(), &out), 0) << name;
        return out;
    }
    bool exists(const std::string& name) const {
        return ::faccessat(AT_FDCWD, (root_ + "/" + name).c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    }
    std::string xattr(const std::string& name, const std::string& key) const {
        std::array<char, 256> value{};
        const ssize_t size = ::lgetxattr((root_ + "/" + name).c_str(), key.c_str(), value.data(), value.size());
        return size < 0 ? "none" : std::string(value.data(), static_cast<std::size_t>(size));
    }

    std::string folder_;
    std::string root_;
};

// Names that lead out: CVE-2018-15664's kind, CVE-2014-9357.
TEST_F(UnpackTest, dotdot_and_absolute_names) {
    refused({{"../outside/secret", '0', "x"}}, "leads out");
    refused({{"a/../../outside/secret", '0', "x"}}, "leads out");
    refused({pax({{"path", "../outside/secret"}}), {"fine", '0', "x"}}, "leads out");
    unpack({{"/outside/secret", '0', "inside"}, {"d", '5'}, {"d/../up", '0', "u"}, {"./p//q/", '5'}});
    EXPECT_EQ(read_file(root_ + "/outside/secret"), "inside");
    EXPECT_EQ(read_file(root_ + "/up"), "u");
    EXPECT_TRUE(exists("p/q"));
}

// A link that an earlier entry made is in the way: CVE-2019-14271's and CVE-2021-30465's kind.
TEST_F(UnpackTest, symlinks_in_the_way_stay_inside) {
    // As with chroot, an absolute target is the layer's own.
    const std::string outside = folder_ + "/outside";
    for (const std::string& target : {outside, std::string("../outside"), std::string("/proc/self/root/etc")}) {
        try {
            unpack({{"l", '2', "", target}, {"l/secret", '0', "x"}, {"l/new", '0', "x"}});
        } catch (const Error&) {
        }
        fs::remove_all(root_);
        fs::create_directory(root_);
    }
    // A file over a link replaces the link.
    unpack({{"l", '2', "", outside + "/secret"}, {"l", '0', "x"}});
    EXPECT_TRUE(S_ISREG(status("l").st_mode));
    // Attributes of a link are its own.
    unpack({{"m", '2', "", outside + "/secret", "0000777"}});
    EXPECT_TRUE(S_ISLNK(status("m").st_mode));
    struct stat secret{};
    ASSERT_EQ(::stat((outside + "/secret").c_str(), &secret), 0);
    EXPECT_EQ(secret.st_mode & 07777U, 0644U);
}

TEST_F(UnpackTest, links_inside_are_followed) {
    unpack({{"usr/bin", '5'}, {"bin", '2', "", "usr/bin"}, {"bin/sh", '0', "x"}});
    EXPECT_TRUE(exists("usr/bin/sh"));
    EXPECT_TRUE(S_ISLNK(status("bin").st_mode));
}

// CVE-2015-3627's kind: a hard link to the machine's file, then written through.
TEST_F(UnpackTest, hard_links_stay_inside) {
    refused({{"h", '1', "", "../outside/secret"}}, "leads out");
    refused({{"h", '1', "", folder_ + "/outside/secret"}}, "");
    refused({{"h", '1', "", "missing"}}, "hard link");
    refused({{"h", '1', "", "/"}}, "hard link to the root");
    // To a link: the link itself, so that what follows does not write through it.
    unpack({{"l", '2', "", folder_ + "/outside/secret"}, {"h", '1', "", "l"}, {"h", '0', "x"}});
    EXPECT_TRUE(S_ISREG(status("h").st_mode));
    EXPECT_TRUE(S_ISLNK(status("l").st_mode));
}

TEST_F(UnpackTest, hard_links_across_folders) {
    EXPECT_EQ(unpack({{"a/f", '0', "four"}, {"b/c", '5'}, {"b/c/g", '1', "", "a/f"}, {"h", '1', "", "./b/c/g"}}), 4U);
    EXPECT_EQ(status("a/f").st_nlink, 3U);
    EXPECT_EQ(status("a/f").st_ino, status("h").st_ino);
    EXPECT_EQ(tree_size(root_), 4U);
}

TEST_F(UnpackTest, whiteouts) {
    unpack({{"d/.wh.gone", '0'}, {"o", '5'}, {"o/.wh..wh..opq", '0'}, {"o/kept", '0', "k"}, {".wh.again", '0'}, {"again", '5'}});
    EXPECT_TRUE(S_ISCHR(status("d/gone").st_mode));
    EXPECT_EQ(status("d/gone").st_rdev, 0U);
    EXPECT_EQ(xattr("o", "trusted.overlay.opaque"), "y");
    EXPECT_TRUE(exists("o/kept"));
    // Removed below and made anew: nothing of the old folder shows.
    EXPECT_EQ(xattr("again", "trusted.overlay.opaque"), "y");
    // It hides what is below, not what the layer has itself.
    unpack({{"mine", '0', "m"}, {".wh.mine", '0'}});
    EXPECT_TRUE(S_ISREG(status("mine").st_mode));
    for (const char* name : {".wh.", ".wh..", ".wh...", "a/.wh..."}) refused({{name, '0'}}, "invalid whiteout");
}

TEST_F(UnpackTest, devices_and_fifos) {
    unpack({{"null", '3', "", "", "0000666", 3}, {"pipe", '6'}});
    EXPECT_TRUE(S_ISCHR(status("null").st_mode));
    EXPECT_EQ(status("null").st_rdev, ::makedev(0, 3));
    EXPECT_TRUE(S_ISFIFO(status("pipe").st_mode));
}

TEST_F(UnpackTest, later_entries_replace_earlier_ones) {
    unpack({{"f", '0', "old"}, {"f", '0', "new"}, {"d/in", '0', "x"}, {"d", '0', "file"}, {"e", '0'}, {"e", '5'}, {"e/in", '0', "y"}});
    EXPECT_EQ(read_file(root_ + "/f"), "new");
    EXPECT_TRUE(S_ISREG(status("d").st_mode));
    EXPECT_EQ(read_file(root_ + "/e/in"), "y");
    // A folder over a folder keeps what is in it.
    unpack({{"k/in", '0', "x"}, {"k", '5', "", "", "0000700"}});
    EXPECT_TRUE(exists("k/in"));
    EXPECT_EQ(status("k").st_mode & 07777U, 0700U);
    // Its file under a folder that became a link, with the parent still open.
    unpack({{"p/x", '0', "1"}, {"p", '2', "", folder_ + "/outside"}, {"q", '5'}});
    EXPECT_TRUE(S_ISLNK(status("p").st_mode));
}

TEST_F(UnpackTest, attributes_are_kept) {
    unpack({pax({{"mtime", "1234567890.123456789"}, {"SCHILY.xattr.user.color", "blue"}, {"uid", "1234"}, {"gid", "70000"}}),
            {"f", '0', "x", "", "0004755"},
            pax({{"mtime", "-1.25"}}),
            {"d", '5', "", "", "0001777"},
            {"d/later", '0', "x"}});
    const struct stat file = status("f");
    EXPECT_EQ(file.st_mtim.tv_sec, 1234567890);
    EXPECT_EQ(file.st_mtim.tv_nsec, 123456789);
    EXPECT_EQ(file.st_uid, 1234U);
    EXPECT_EQ(file.st_gid, 70000U);
    EXPECT_EQ(file.st_mode & 07777U, 04755U);
    EXPECT_EQ(status("d").st_mode & 07777U, 01777U);
    EXPECT_EQ(status("d").st_mtim.tv_sec, -2);
    EXPECT_EQ(status("d").st_mtim.tv_nsec, 750000000);
    // Not every file system has these.
    if (::setxattr(root_.c_str(), "user.probe", "", 0, 0) == 0) {
        EXPECT_EQ(xattr("f", "user.color"), "blue");
    }
}

// A layer that brings overlayfs' own attributes could show files of elsewhere.
TEST_F(UnpackTest, overlay_attributes_are_not_taken) {
    unpack({pax({{"SCHILY.xattr.trusted.overlay.redirect", "/etc"}, {"SCHILY.xattr.user.overlay.opaque", "y"}}), {"d", '5'}});
    EXPECT_EQ(xattr("d", "trusted.overlay.redirect"), "none");
    EXPECT_EQ(xattr("d", "user.overlay.opaque"), "none");
}

TEST_F(UnpackTest, long_names) {
    const std::string part(200, 'n');
    const std::string path = part + "/" + part + "/" + part;
    unpack({pax({{"path", path + "/pax"}}),
            {"short", '0', "x"},
            {"././@LongLink", 'L', path + "/gnu" + std::string(1, '\0')},
            {"short", '0', "y"},
            {"././@LongLink", 'K', path + "/gnu" + std::string(1, '\0')},
            {"link", '1', "", "short"}});
    EXPECT_EQ(read_file(root_ + "/" + path + "/pax"), "x");
    EXPECT_EQ(status(path + "/gnu").st_nlink, 2U);
    refused({pax({{"path", std::string(5000, 'x')}}), {"f", '0'}}, "longer than");
    refused({pax({{"path", std::string("a\0b", 3)}}), {"f", '0'}}, "NUL");
    refused({{.name = "x", .type = 'L', .size = std::uint64_t{1} << 33U}}, "long name of");
}

TEST_F(UnpackTest, sparse_files_of_all_formats) {
    const std::uint64_t size = 1U << 20U;
    const std::string map = fmt::format("0,2,{},2", size - 2);
    unpack({pax({{"GNU.sparse.size", std::to_string(size)}, {"GNU.sparse.map", map}, {"GNU.sparse.name", "pax01"}}),
            {"x", '0', "abyz"},
            pax({{"GNU.sparse.major", "1"},
                 {"GNU.sparse.minor", "0"},
                 {"GNU.sparse.realsize", std::to_string(size)},
                 {"GNU.sparse.name", "pax10"}}),
            {"x", '0', padded(fmt::format("2\n0\n2\n{}\n2\n", size - 2)) + "abyz"},
            {.name = "gnu",
             .type = 'S',
             .data = "abyz",
             .gnu = fmt::format("{:011o} {:011o} {:011o} {:011o} ", 0, 2, size - 2, 2) + std::string(49, '\0') +
                    fmt::format("{:011o}", size)}});
    for (const char* name : {"pax01", "pax10", "gnu"}) {
        const std::string bytes = read_file(root_ + "/" + name, size);
        ASSERT_EQ(bytes.size(), size) << name;
        EXPECT_EQ(bytes.substr(0, 3), std::string("ab\0", 3)) << name;
        EXPECT_EQ(bytes.substr(size - 2), "yz") << name;
        EXPECT_LT(status(name).st_blocks * 512, 65536) << name;
    }
}

// CVE-2025-58183: a sparse map without a bound takes all memory.
TEST_F(UnpackTest, cve_2025_58183_sparse_maps_are_bounded) {
    const std::vector<std::pair<std::string, std::string>> version{{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}};
    auto records = version;
    records.emplace_back("GNU.sparse.realsize", "1000000000");
    refused({pax(records), {"f", '0', padded("99999999999\n")}}, "too many sparse segments");
    refused({pax(records), {"f", '0', padded("1\n" + std::string(500, '0'))}}, "sparse map");
    std::string many = "262144\n";
    many += std::string(std::size_t{9} << 20U, '0');
    refused({pax(records), {"f", '0', padded(many)}}, "sparse map");
    // Compressed it is small, and still bounded.
    std::string list;
    for (int n = 0; n < 300000; ++n) list += "0,0,";
    list.resize(1000000);
    refused({pax({{"GNU.sparse.size", "10"}, {"GNU.sparse.map", list}}), {"f", '0'}}, "sparse map");
    // Segments that overlap, go back or beyond the end.
    for (const char* map : {"0,5,2,5", "8,2,0,8", "5,10", "18446744073709551615,10", "0,18446744073709551615"}) {
        refused({pax({{"GNU.sparse.size", "10"}, {"GNU.sparse.map", map}}), {"f", '0', "0123456789"}}, "sparse map");
    }
    refused({pax({{"GNU.sparse.size", "9223372036854775807"}, {"GNU.sparse.map", "0,1"}}), {"f", '0', "x"}}, "larger than");
}

// Each header has a bound; without one on their sum a stream of headers takes all memory.
TEST_F(UnpackTest, pax_records_of_many_headers_are_bounded) {
    for (const char type : {'x', 'g'}) {
        std::vector<Entry> many;
        for (int n = 0; n < 3; ++n) {
            Entry header = pax({{fmt::format("SCHILY.xattr.user.{}", n), std::string(500'000, 'v')}});
            header.type = type;
            many.push_back(header);
        }
        many.push_back({"f", '0'});
        refused(many, "pax records of");
    }
    // Comments are not kept, so that they may be long.
    Entry comment = pax({{"comment", std::string(500'000, 'c')}});
    comment.type = 'g';
    unpack({comment, comment, comment, {"f", '0', "x"}});
    EXPECT_EQ(read_file(root_ + "/f"), "x");
}

TEST_F(UnpackTest, times_of_any_number_of_folders) {
    std::string deep;
    for (int n = 0; n < 14; ++n) deep += std::string(250, 'd') + "/";
    const auto folder = [](const std::string& name, const std::string& time) {
        return std::vector<Entry>{pax({{"path", name}, {"mtime", time}}), {"x", '5', "", "", "0000755"}};
    };
    std::vector<Entry> entries = folder("first", "1000");
    const auto add = [&](const std::vector<Entry>& more) { entries.insert(entries.end(), more.begin(), more.end()); };
    for (std::size_t held = 0; held < 2 * FolderTimes::held_limit + deep.size(); held += deep.size()) {
        add(folder(deep + std::to_string(held), "3000"));
    }
    // These come after times were set, and change the folders once more.
    add({{"first/late", '0', "x"}, {"other/f", '0', "y"}});
    add(folder("other", "2000"));
    add({{"other/late", '0', "x"}});
    unpack(entries);
    EXPECT_EQ(status("first").st_mtim.tv_sec, 1000);
    EXPECT_EQ(status("other").st_mtim.tv_sec, 2000);
    EXPECT_EQ(status(deep + "0").st_mtim.tv_sec, 3000);
}

std::string zeros_gzip(std::size_t size) {
    const std::string plain(size, '\0');
    std::string out(size / 50 + 4096, '\0');
    isal_zstream stream;
    ::isal_deflate_init(&stream);
    stream.next_in = reinterpret_cast<std::uint8_t*>(const_cast<char*>(plain.data()));
    stream.avail_in = static_cast<std::uint32_t>(plain.size());
    stream.next_out = reinterpret_cast<std::uint8_t*>(out.data());
    stream.avail_out = static_cast<std::uint32_t>(out.size());
    stream.end_of_stream = 1;
    stream.gzip_flag = IGZIP_GZIP;
    EXPECT_EQ(::isal_deflate(&stream), 0);
    out.resize(stream.total_out);
    return out;
}

std::string zeros_zstd(std::size_t size) {
    const std::string plain(size, '\0');
    std::string out(ZSTD_compressBound(size), '\0');
    out.resize(ZSTD_compress(out.data(), out.size(), plain.data(), size, 3));
    return out;
}

std::string in_bzip2(std::string plain) {
    std::string out(plain.size() + plain.size() / 100 + 600, '\0');
    auto size = static_cast<unsigned>(out.size());
    EXPECT_EQ(::BZ2_bzBuffToBuffCompress(out.data(), &size, plain.data(), static_cast<unsigned>(plain.size()), 9, 0, 0), BZ_OK);
    out.resize(size);
    return out;
}

/// `dictionary`: what it takes to unpack it, in bytes.
std::string in_xz(const std::string& plain, std::uint32_t dictionary = 1U << 20U) {
    lzma_options_lzma options;
    EXPECT_FALSE(::lzma_lzma_preset(&options, 0));
    options.dict_size = dictionary;
    std::array filters{lzma_filter{.id = LZMA_FILTER_LZMA2, .options = &options}, lzma_filter{.id = LZMA_VLI_UNKNOWN, .options = nullptr}};
    std::string out(::lzma_stream_buffer_bound(plain.size()), '\0');
    std::size_t size = 0;
    EXPECT_EQ(::lzma_stream_buffer_encode(filters.data(), LZMA_CHECK_CRC32, nullptr, reinterpret_cast<const std::uint8_t*>(plain.data()),
                                          plain.size(), reinterpret_cast<std::uint8_t*>(out.data()), &size, out.size()),
              LZMA_OK);
    out.resize(size);
    return out;
}

/// What comes out of it, or why nothing does.
std::string unpacked(const std::string& bytes) {
    try {
        Text source{bytes};
        const auto plain = decompress(source);
        std::string out;
        std::vector<char> buffer(1000);
        while (const std::size_t count = plain->read(buffer)) out.append(buffer.data(), count);
        return out;
    } catch (const Error& error) {
        return error.what();
    }
}

TEST(Packing, bzip2_and_xz_are_unpacked_also_several_in_a_row) {
    std::string plain;
    for (int i = 0; plain.size() < 3U << 20U; ++i) plain += std::to_string(std::int64_t{i} * 7919);
    for (const auto& pack :
         std::vector<std::function<std::string(std::string)>>{in_bzip2, [](const std::string& text) { return in_xz(text); }}) {
        const std::string packed = pack(plain);
        EXPECT_NE(packing_of(packed), Packing::plain);
        EXPECT_TRUE(is_no_layer_packing(packing_of(packed)));
        EXPECT_TRUE(unpacked(packed) == plain);
        EXPECT_TRUE(unpacked(packed + pack("more") + pack("")) == plain + "more");
        EXPECT_EQ(unpacked(pack("")), "");
        for (const std::size_t at : {packing_mark_size, packed.size() / 2, packed.size() - 1})
            EXPECT_THAT(unpacked(packed.substr(0, at)), testing::HasSubstr("unexpected end of data")) << at;
        EXPECT_THAT(unpacked(packed + "behind it there is something"), testing::HasSubstr("damaged data"));
        std::string damaged = packed;
        damaged[packed.size() / 2] = static_cast<char>(damaged[packed.size() / 2] ^ 1);
        EXPECT_THAT(unpacked(damaged), testing::HasSubstr("damaged data"));
    }
}

TEST(Packing, what_xz_may_take_of_the_memory_is_bounded) {
    EXPECT_EQ(unpacked(in_xz("x", 64U << 20U)), "x");  // xz -9
    EXPECT_EQ(unpacked(in_xz("x", 256U << 20U)), "xz: unpacking it takes more than 128 MiB of memory");
}

TEST_F(UnpackTest, compression_bombs_are_bounded) {
    constexpr std::uint64_t limit = 1U << 20U;
    const std::string zeros(8 * limit, '\0');
    for (const std::string& bomb : {zeros_gzip(8 * limit), zeros_zstd(8 * limit), in_bzip2(zeros), in_xz(zeros)}) {
        EXPECT_LT(bomb.size(), limit / 4);
        Text source{bomb};
        const auto plain = decompress(source, limit);
        std::vector<char> buffer(65536);
        std::uint64_t sum = 0;
        EXPECT_THROW(
            for (;;) {
                const std::size_t count = plain->read(buffer);
                if (count == 0) break;
                sum += count;
            },
            Error);
        EXPECT_LE(sum, limit);
    }
}

TEST_F(UnpackTest, damaged_tars) {
    const std::string good = tar({{"f", '0', std::string(2000, 'x')}});
    refused_bytes(good.substr(0, 1500), "unexpected end");
    refused_bytes(good.substr(0, 300), "middle of a header");
    std::string flipped = good;
    flipped[5] = 'y';
    refused_bytes(flipped, "checksum");
    refused({{.name = "f", .type = '0', .size = std::uint64_t{1} << 32U}}, "unexpected end");
    refused({{"f", 'Z', "x"}}, "unknown tar entry type");
    refused({{"x", 'x', "99 path=a\n"}, {"f", '0'}}, "pax record");
    refused({{"x", 'x', "5 a=\n3 \n"}, {"f", '0'}}, "pax record");
    refused({{".", '0', "x"}}, "only a folder");
    refused({{"", '0', "x"}}, "entry without a name: only a folder");
}

}  // namespace
}  // namespace grua::layers
