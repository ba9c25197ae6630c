// Tars whose names and links want to get at what is outside, against every function that makes files of a tar: one table, so that what one
// of them is proof against all are. What they do inside is the other tests'; here nothing outside may change, not even a time.
#include "base/error.hpp"
#include "base/files.hpp"
#include "layers/erofs.hpp"
#include "layers/extract.hpp"
#include "layers/layers.hpp"
#include "layers/test_streams.hpp"
#include "layers/unpack.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <array>
#include <filesystem>
#include <functional>
#include <map>

namespace grua::layers {
namespace {

namespace fs = std::filesystem;
using Type = TarEntry::Type;

struct Piece {
    TarEntry entry;
    std::string data;
};
using Pieces = std::vector<Piece>;

constexpr timespec chosen{12345, 0};

Piece piece(Type type, const std::string& name, const std::string& link = {}, mode_t mode = 0777) {
    Piece out;
    out.entry.name = name;
    out.entry.link = link;
    out.entry.type = type;
    out.entry.mode = mode;
    out.entry.mtime = chosen;
    out.entry.uid = out.entry.gid = 4242;
    if (type == Type::file) out.data = "evil";
    out.entry.size = out.data.size();
    return out;
}
Piece file(const std::string& name) { return piece(Type::file, name); }
Piece folder(const std::string& name) { return piece(Type::directory, name); }
Piece symlink(const std::string& name, const std::string& target) { return piece(Type::symlink, name, target); }
Piece hard_link(const std::string& name, const std::string& target) { return piece(Type::hard_link, name, target); }
Piece empty(const std::string& name) {
    Piece out = file(name);
    out.data.clear();
    out.entry.size = 0;
    return out;
}
Piece device(Type type, const std::string& name) {
    Piece out = piece(type, name);
    out.entry.device_major = 1;
    out.entry.device_minor = 3;
    return out;
}
Piece with_xattrs(Piece of) {
    of.entry.xattrs = {{"user.evil", "x"}, {"trusted.evil", "x"}, {"security.evil", "x"}};
    return of;
}

/// Several of one kind for each way in which a link may name the folder outside.
std::vector<std::pair<std::string, Pieces>> attacks(const std::string& outside) {
    std::string up;
    for (int n = 0; n < 16; ++n) up += "../";
    const std::string inside = outside.substr(1);  // The same path below the root.
    std::vector<std::pair<std::string, Pieces>> out{
        {"names that climb", {file(up + inside + "/new")}},
        {"a folder whose name climbs", {folder(up + inside), folder("../outside")}},
        {"names that climb later", {folder("a"), file("a/../../outside/new"), file("a/../../outside/secret")}},
        {"absolute names", {file(outside + "/new"), file(outside + "/secret"), folder(outside)}},
        {"hard link that climbs", {hard_link("h", "../outside/secret"), file("h")}},
        {"hard link to an absolute name", {hard_link("h", outside + "/secret"), file("h")}},
        {"hard link to the root's parent", {hard_link("h", ".."), hard_link("g", "/")}},
        {"whiteouts that climb", {empty(".wh..."), empty(".wh.."), empty(".wh.../outside/secret"), empty("a/.wh...")}},
        {"a root of another kind", {file("."), symlink("/", outside), symlink("./", outside), file("x/..")}},
        {"times through a folder that is a link to the root",
         {folder(inside), folder(inside + "/sub"), symlink("l", "/"), folder("l/" + inside), folder("l/" + inside + "/sub")}},
        {"times through a link that climbs",
         {folder("outside"), folder("outside/sub"), symlink("l", ".."), folder("l/outside"), folder("l/outside/sub")}},
        {"times of a folder that became a link to the root",
         {folder("d/" + inside), folder("d/" + inside + "/sub"), empty("x"), symlink("d", "/"), folder("y")}},
        {"attributes of many folders",
         [&] {
             // More than are held: their times are set while the tar goes on.
             Pieces many{folder(inside), symlink("l", "/")};
             const std::string deep = "l/" + inside + "/" + std::string(250, 'd');
             for (int n = 0; n < 40; ++n) many.push_back(folder(deep + "/" + std::to_string(n)));
             many.push_back(folder("l/" + inside));
             return many;
         }()},
    };
    for (const std::string& target : {outside, std::string("../outside"), up + inside, "/proc/self/root" + outside}) {
        const auto add = [&](const std::string& name, Pieces pieces) { out.emplace_back(name + " (" + target + ")", std::move(pieces)); };
        const Piece link = symlink("l", target);
        add("a link, then a file through it", {link, file("l/new")});
        add("a link, then a file over what is there", {link, file("l/secret")});
        add("a link, then folders through it", {link, folder("l/sub"), folder("l/made"), folder("l/made/more"), folder("l/")});
        add("a link, then links through it", {link, symlink("l/s", "x"), hard_link("l/h", "l"), hard_link("l/secret", "l")});
        add("a link to a link", {symlink("m", "l"), link, file("m/new"), folder("m/sub")});
        add("a folder replaced by a link", {folder("l"), file("l/a"), link, file("l/new"), folder("l/sub")});
        add("a link replaced by a folder", {link, folder("l"), file("l/secret"), folder("l/sub")});
        add("a link to a file, then the file", {symlink("l", target + "/secret"), file("l")});
        add("a hard link to a link, then the file", {symlink("l", target + "/secret"), hard_link("h", "l"), file("h")});
        add("a hard link through a link", {link, hard_link("h", "l/secret"), file("h")});
        add("a hard link to a link to a folder", {link, hard_link("h", "l"), file("h/new"), folder("h/sub")});
        add("whiteouts through a link", {link, empty("l/.wh.secret"), empty("l/.wh.sub"), empty(".wh.l")});
        add("opaque through a link", {link, empty("l/.wh..wh..opq"), empty("l/sub/.wh..wh..opq")});
        add("a whiteout of a link, then a folder", {link, empty(".wh.l"), folder("l/sub"), file("l/new")});
        add("devices through a link",
            {link, device(Type::character_device, "l/c"), device(Type::block_device, "l/b"), piece(Type::fifo, "l/p")});
        add("xattrs on a link", {with_xattrs(link)});
        add("xattrs through a link", {link, with_xattrs(file("l/secret")), with_xattrs(folder("l/sub")), with_xattrs(folder("l/"))});
        add("mode, owner and time of a link",
            {piece(Type::symlink, "l", target, 07777), piece(Type::symlink, "m", target + "/secret", 07777)});
    }
    return out;
}

std::string tar_of(const Pieces& pieces) {
    TextSink sink;
    TarWriter writer{sink};
    for (const Piece& each : pieces) {
        writer.add(each.entry);
        writer.write(each.data);
    }
    writer.finish();
    return sink.text;
}

/// All that can be seen of a tree, the times of changes too.
std::map<std::string, std::string> seen(const std::string& folder) {
    std::map<std::string, std::string> out;
    const auto look = [&](const std::string& path) {
        struct stat status{};
        EXPECT_EQ(::lstat(path.c_str(), &status), 0) << path;
        std::string names(1024, '\0');
        const ssize_t size = ::llistxattr(path.c_str(), names.data(), names.size());
        out[path] = fmt::format("mode {:o} owner {}:{} size {} links {} modified {}.{} changed {}.{} xattrs {}", status.st_mode,
                                status.st_uid, status.st_gid, status.st_size, status.st_nlink, status.st_mtim.tv_sec,
                                status.st_mtim.tv_nsec, status.st_ctim.tv_sec, status.st_ctim.tv_nsec, size);
        if (S_ISREG(status.st_mode)) out[path] += " " + read_file(path);
    };
    look(folder);
    for (const auto& each : fs::recursive_directory_iterator(folder)) look(each.path());
    return out;
}

class HostilePaths : public testing::Test {
protected:
    HostilePaths() {
        std::string path = fs::temp_directory_path() / "grua-hostile-XXXXXX";
        work_ = ::mkdtemp(path.data());
        fs::create_directories(work_ + "/outside/sub");
        replace_file(work_ + "/outside/secret", "keep");
        for (const char* each : {"/outside/secret", "/outside/sub", "/outside"}) {
            const std::array times{timespec{1000, 0}, timespec{1000, 0}};
            ::utimensat(AT_FDCWD, (work_ + each).c_str(), times.data(), 0);
        }
    }
    ~HostilePaths() override { fs::remove_all(work_); }

    /// `door` is given each tar and a fresh root beside the canary. It may refuse it, with an Error.
    void attack(const std::function<void(const std::string& tar, const std::string& root)>& door) const {
        const auto before = seen(work_ + "/outside");
        int done = 0;
        for (const auto& [name, pieces] : attacks(work_ + "/outside")) {
            const std::string root = work_ + "/root";
            fs::create_directory(root);
            try {
                door(tar_of(pieces), root);
                ++done;
            } catch (const Error& error) {
                EXPECT_STRNE(error.what(), "") << name;
            }
            EXPECT_EQ(seen(work_ + "/outside"), before) << name;
            fs::remove_all(root);
            std::vector<std::string> beside;
            for (const auto& each : fs::directory_iterator(work_)) beside.push_back(each.path().filename());
            EXPECT_EQ(beside, std::vector<std::string>{"outside"}) << name;
        }
        // Links inside are no harm: a door that refuses everything would show nothing.
        EXPECT_GT(done, 10);
    }

    std::string work_;
};

// A6
TEST_F(HostilePaths, unpacking_a_layer_changes_nothing_outside) {
    attack([](const std::string& tar, const std::string& root) {
        TextSource source{tar};
        TarReader reader{source};
        unpack_tar(reader, root);
    });
}

TEST_F(HostilePaths, making_an_image_of_a_layer_changes_nothing_outside) {
    attack([](const std::string& tar, const std::string& root) {
        TextSource source{tar};
        TarReader reader{source};
        write_erofs(reader, root + "/image");
    });
}

TEST_F(HostilePaths, the_store_of_layers_changes_nothing_outside) {
    const std::string place = work_ + "-store";
    fs::create_directory(place);
    {
        store::Database database{place + "/db"};
        LayerStore layers{place + "/layers", database};
        attack([&](const std::string& tar, const std::string&) {
            TextSource source{tar};
            layers.publish({layers.stage(source, std::nullopt)});
        });
    }
    fs::remove_all(place);
}

TEST_F(HostilePaths, copying_into_a_container_changes_nothing_outside) {
    for (const bool keep_kinds : {false, true}) {
        attack([&](const std::string& tar, const std::string& root) {
            TextSource source{tar};
            TarReader reader{source};
            fs::create_directories(root + "/in/side");
            extract_tar(reader, Root::open(root.c_str()), keep_kinds ? "/in/side" : "/", {.keep_kinds = keep_kinds});
        });
    }
}

// What `cp` of the client does with what a container sends: nothing is given away, names are replaced.
TEST_F(HostilePaths, copying_out_of_a_container_changes_nothing_outside) {
    const auto renamed = [](const std::string& name) { return name.starts_with("l") ? "renamed" + name.substr(1) : name; };
    for (const bool renames : {false, true}) {
        attack([&](const std::string& tar, const std::string& root) {
            TextSource source{tar};
            TarReader reader{source};
            ExtractOptions options{.keep_kinds = true, .ownership = Ownership::of_caller, .shown = root};
            if (renames) options.rename = renamed;
            extract_tar(reader, Root::open(root.c_str()), "", options);
        });
    }
}

}  // namespace
}  // namespace grua::layers
