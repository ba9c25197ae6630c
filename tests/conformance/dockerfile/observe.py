"""What a build has made, as lines: an image's configuration, history and files, or a folder or tar that it wrote."""

import dataclasses
import datetime
import hashlib
import io
import json
import os
import stat
import tarfile

# Times of contexts are long before, times of a build after it.
LONG_AGO = 1_700_000_000
USUAL = (("architecture", "amd64"), ("os", "linux"))
USUAL_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHOWN = 240  # bytes of a text that are shown instead of their digest


@dataclasses.dataclass(eq=False)
class Node:
    kind: str  # as in ls -l
    mode: int
    uid: int
    gid: int
    mtime: float
    target: str = ""
    device: str = ""
    data: bytes = b""
    xattrs: tuple = ()

    def looks(self):
        return (self.kind, self.mode, self.uid, self.gid, self.mtime, self.target, self.device, self.data, self.xattrs)


def time_text(seconds):
    if seconds > LONG_AGO:
        return "now"
    text = datetime.datetime.fromtimestamp(int(seconds // 1), datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
    return text + (f"{seconds % 1:.9f}"[1:].rstrip("0") if seconds % 1 else "") + "Z"


def quoted(text):
    return json.dumps(text, ensure_ascii=False)


def named(path):
    return path if path.isprintable() and " " not in path and '"' not in path else quoted(path.encode("utf-8", "replace").decode())


def content_text(data):
    try:
        text = data.decode()
        if len(data) <= SHOWN and all(c.isprintable() or c in "\n\t\r" for c in text):
            return quoted(text)
    except UnicodeDecodeError:
        pass
    return f"{len(data)} bytes sha256:{hashlib.sha256(data).hexdigest()}"


KINDS = {tarfile.REGTYPE: "-", tarfile.AREGTYPE: "-", tarfile.DIRTYPE: "d", tarfile.SYMTYPE: "l", tarfile.CHRTYPE: "c",
         tarfile.BLKTYPE: "b", tarfile.FIFOTYPE: "p"}


def normal(name):
    name = name.strip("/").removeprefix("./")
    return "/" + ("" if name == "." else name)


def add_tar(tree, stream, layer=True):
    """Puts the entries of a tar over a tree; as a layer, with its whiteouts."""
    with tarfile.open(fileobj=stream) as tar:
        for entry in tar:
            path = normal(entry.name)
            folder, _, base = path.rpartition("/")
            if layer and base.startswith(".wh."):
                gone = folder if base == ".wh..wh..opq" else f"{folder}/{base[4:]}"
                for each in [each for each in tree if each.startswith(gone + "/") or (each == gone and base != ".wh..wh..opq")]:
                    del tree[each]
                continue
            if entry.type == tarfile.LNKTYPE:
                tree[path] = tree[normal(entry.linkname)]
                continue
            kind = KINDS[entry.type]
            if path in tree and not (kind == "d" and tree[path].kind == "d"):
                for each in [each for each in tree if each.startswith(path + "/")]:
                    del tree[each]
            found = tuple(sorted((key[len("SCHILY.xattr."):], value.encode("utf-8", "surrogateescape"))
                                 for key, value in entry.pax_headers.items() if key.startswith("SCHILY.xattr.")))
            data = tar.extractfile(entry).read() if kind == "-" else b""
            device = f"{entry.devmajor}:{entry.devminor}" if kind in "cb" else ""
            target = entry.linkname if kind == "l" else ""
            tree[path] = Node(kind, entry.mode & 0o7777, entry.uid, entry.gid, entry.mtime, target, device, data, found)
    return tree


def folder_tree(top):
    tree, inodes = {}, {}
    for parent, folders, files in os.walk(top):
        for name in sorted((*folders, *files)):
            path = os.path.join(parent, name)
            state = os.lstat(path)
            if not stat.S_ISDIR(state.st_mode) and state.st_ino in inodes:
                tree[path[len(top):]] = inodes[state.st_ino]
                continue
            kind = stat.filemode(state.st_mode)[0]
            data = open(path, "rb").read() if kind == "-" else b""
            found = tuple(sorted((key, os.getxattr(path, key, follow_symlinks=False)) for key in os.listxattr(path, follow_symlinks=False)))
            inodes[state.st_ino] = tree[path[len(top):]] = Node(
                kind, stat.S_IMODE(state.st_mode), state.st_uid, state.st_gid, state.st_mtime, os.readlink(path) if kind == "l" else "",
                f"{os.major(state.st_rdev)}:{os.minor(state.st_rdev)}" if kind in "cb" else "", data, found)
    return tree


def mode_text(node):
    if node.kind == "l":
        return "lrwxrwxrwx"
    return node.kind + stat.filemode(stat.S_IFREG | node.mode)[1:]


def tree_lines(tree, under=None):
    """One line for each path; those that are in the tree below just so are left out."""
    under = under or {}
    seen = {}
    for path in sorted({*tree, *under}):
        node = tree.get(path)
        if node is None:
            if path.rpartition("/")[0] in tree or path.count("/") == 1:
                yield f"removed {named(path)}"
            continue
        first = seen.setdefault(node, path)
        if path in under and node.looks() == under[path].looks():
            continue
        line = f"{mode_text(node)} {node.uid}:{node.gid} {time_text(node.mtime)} {named(path)}"
        if first != path:
            line += f" = {named(first)}"
        elif node.kind == "-":
            line += " " + content_text(node.data)
        elif node.kind == "l":
            line += f" -> {named(node.target)}"
        elif node.device:
            line += " " + node.device
        for key, value in node.xattrs if first == path else ():
            shown = value.decode("ascii", "replace")
            line += f" {key}=" + (quoted(shown) if shown.isprintable() and "\ufffd" not in shown else "0x" + value.hex())
        yield line


class Image:
    """An image as `docker save` gives it."""

    def __init__(self, archive):
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            files = {entry.name: tar.extractfile(entry).read() for entry in tar if entry.isfile()}
        manifest = json.loads(files["manifest.json"])[0]
        self.config = json.loads(files[manifest["Config"]])
        self.layers = [files[name] for name in manifest["Layers"]]
        self.diff_ids = self.config.get("rootfs", {}).get("diff_ids") or []

    def tree(self):
        """Its files, all layers over one another."""
        tree = {}
        for layer in self.layers:
            add_tar(tree, io.BytesIO(layer))
        return tree

    def config_lines(self):
        for key, value in sorted({"created": None, **self.config}.items()):
            if key == "created":
                if not is_now(value or ""):
                    yield f"created: {value or 'no time'}"
            elif key == "config":
                for name, inner in sorted(value.items()):
                    if inner is not None and inner != "" and inner is not False and (name, inner) != ("Env", [USUAL_PATH]):
                        yield f"config.{name}: {json.dumps(inner, ensure_ascii=False, sort_keys=True)}"
            elif key not in ("history", "rootfs") and value not in (None, "") and (key, value) not in USUAL:
                yield f"{key}: {json.dumps(value, ensure_ascii=False, sort_keys=True)}"

    def history_lines(self, skip=0):
        for each in (self.config.get("history") or [])[skip:]:
            line = ("empty" if each.get("empty_layer") else "layer") + f" {quoted(each.get('created_by', ''))}"
            if each.get("comment") != "buildkit.dockerfile.v0":
                line += f" ({each.get('comment') or 'no comment'})"
            if each.get("author") and self.layers:
                line += f" by {quoted(each['author'])}"
            if not is_now(each.get("created", "")) and self.layers:
                line += f" at {each.get('created', 'no time')}"
            yield line


def without_layers(inspected, history):
    """An image that was not saved, of what the API says of it."""
    image = Image.__new__(Image)
    image.layers, image.diff_ids = [], []
    image.config = {
        "architecture": inspected["Architecture"], "os": inspected["Os"], "variant": inspected.get("Variant"),
        "author": inspected.get("Author"), "created": inspected.get("Created"),
        "config": {key: value for key, value in (inspected["Config"] or {}).items() if value != 0 and key not in ("Hostname", "Domainname")},
        "history": [{"created_by": each["CreatedBy"], "comment": each["Comment"], "empty_layer": True} for each in reversed(history)]}
    return image


def is_now(text):
    return text[:4].isdigit() and int(text[:4]) >= 2026
