"""Case files: reads them, and makes the folder that a case describes.

    === name: what it is about, in one line
    --- Dockerfile
    FROM busybox
    --- file a/b.txt mode=0600 uid=3 gid=4 mtime=1000000000 xattr.user.x=y
    text
    --- build --target x

Sections, in any order; names with spaces are quoted as in a shell:
    Dockerfile             the same as: file Dockerfile
    file PATH              a file with the lines that follow; cut: without the last line feed; crlf: with CR LF; escaped: with \\n, \\x00;
                           repeat=N: the text N times
    dir PATH               a folder (those that a path needs are made as 0755)
    link PATH -> TARGET    a symbolic link
    hardlink PATH -> OTHER a hard link of another path
    fifo PATH, char PATH 1:3, block PATH 7:0, socket PATH
    archive PATH           a tar of the entries that follow, one a line: file PATH [attributes] [: text], dir, link, hardlink, fifo, char as
                           above; packed as its name ends (.tar, .gz, .bz2, .xz)
    served NAME            a file at http://127.0.0.1:8099/CASE/NAME (attributes as of file)
    build [OPTIONS…]       one build; without such a section there is one without options; several run one after the other
Attributes: mode, uid, gid, mtime (seconds), xattr.NAME=VALUE (hex:… for bytes). Times are 2001-02-03 04:05:06 UTC where nothing is said.
In front of the options of a build, in brackets:
    [context=sub]          the folder of the case that is sent, not the case's own; [context=-] with stdin
    [stdin=PATH]           a file of the case on standard input; [stdin=tar], [stdin=tar.gz], [stdin=pax]: the folder as an archive
    [env=NAME=VALUE]       in the environment of docker
    [cached]               says which steps came from the cache
    [only=exit,text]       what of the result is looked at (exit, text, steps, config, history, tree)
In options {work} is a folder for results, {context} the case's own folder.
"""

import bz2
import dataclasses
import gzip
import io
import lzma
import os
import pathlib
import re
import shlex
import socket
import stat
import tarfile

TIME = 981173106


@dataclasses.dataclass
class Section:
    kind: str
    words: list
    text: str
    line: int


@dataclasses.dataclass
class Build:
    options: list
    settings: dict
    env: dict


@dataclasses.dataclass
class Case:
    topic: str
    name: str
    about: str
    sections: list
    builds: list

    @property
    def id(self):
        return f"{self.topic}/{self.name}"

    @property
    def tag(self):
        return f"case-{self.topic}-{self.name}"


def words_of(line, place):
    try:
        return shlex.split(line, posix=True)
    except ValueError as error:
        raise SystemExit(f"{place}: {error}")


def read_build(words):
    settings, env = {}, {}
    while words and re.fullmatch(r"\[.*\]", words[0]):
        name, _, value = words.pop(0)[1:-1].partition("=")
        if name == "env":
            key, _, text = value.partition("=")
            env[key] = text
        else:
            settings[name] = value
    return Build(words, settings, env)


def read(path):
    """The cases of one file."""
    path = pathlib.Path(path)
    cases, section = [], None
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        place = f"{path.name}:{number}"
        if line.startswith("=== "):
            name, colon, about = line[4:].partition(": ")
            if not colon or not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
                raise SystemExit(f'{place}: no "=== name: about"')
            cases.append(Case(path.stem, name, about, [], []))
            section = None
        elif line.startswith("--- "):
            if not cases:
                raise SystemExit(f"{place}: a section before the first case")
            words = words_of(line[4:], place)
            kind = words.pop(0)
            if kind == "Dockerfile":
                kind, words = "file", ["Dockerfile", *words]
            section = Section(kind, words, "", number)
            cases[-1].sections.append(section)
        elif section:
            section.text += line + "\n"
        elif line and not line.startswith("#"):
            raise SystemExit(f"{place}: text outside of a section")
    for case in cases:
        # The empty line before the next case is none of the last section.
        for each in case.sections[-1:]:
            each.text = each.text.removesuffix("\n") if each.text.endswith("\n\n") or each.text == "\n" else each.text
        case.builds = [read_build(list(each.words)) for each in case.sections if each.kind == "build"] or [Build([], {}, {})]
        case.sections = [each for each in case.sections if each.kind != "build"]
    if len({case.name for case in cases}) != len(cases):
        raise SystemExit(f"{path.name}: two cases of one name")
    return cases


def attributes(words):
    """The words before the first attribute, and the attributes."""
    plain, found = [], {}
    for word in words:
        name, equals, value = word.partition("=")
        if equals and (name in ("mode", "uid", "gid", "mtime", "repeat") or name.startswith("xattr.")):
            found[name] = value
        elif word in ("cut", "crlf", "escaped"):
            found[word] = True
        else:
            plain.append(word)
    return plain, found


def content(text, found):
    if "crlf" in found:
        text = text.replace("\n", "\r\n")
    if "cut" in found:
        text = text.removesuffix("\n").removesuffix("\r")
    data = text.encode()
    if "escaped" in found:
        data = text.removesuffix("\n").encode("latin-1", "backslashreplace").decode("unicode_escape").encode("latin-1")
    return data * int(found.get("repeat", 1))


def xattrs(found):
    for name, value in found.items():
        if name.startswith("xattr."):
            yield name[6:], bytes.fromhex(value[4:]) if value.startswith("hex:") else value.encode()


def archive(name, text):
    """A tar as its lines say, packed as its name says; the same text, the same bytes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for line in text.splitlines():
            if not line:
                continue
            line, _, body = line.partition(" : ")
            plain, found = attributes(shlex.split(line))
            kind, entry = plain[0], tarfile.TarInfo(plain[1])
            entry.mode = int(found.get("mode", "0755" if kind == "dir" else "0644"), 8)
            entry.uid, entry.gid, entry.mtime = int(found.get("uid", 0)), int(found.get("gid", 0)), int(found.get("mtime", TIME))
            for key, value in xattrs(found):
                entry.pax_headers["SCHILY.xattr." + key] = value.decode("utf-8", "surrogateescape")
            data = None
            if kind == "dir":
                entry.type = tarfile.DIRTYPE
            elif kind in ("link", "hardlink"):
                entry.type, entry.linkname = tarfile.SYMTYPE if kind == "link" else tarfile.LNKTYPE, plain[3]
            elif kind == "fifo":
                entry.type = tarfile.FIFOTYPE
            elif kind == "char":
                entry.type = tarfile.CHRTYPE
                entry.devmajor, entry.devminor = map(int, plain[2].split(":"))
            else:
                data = body.encode().decode("unicode_escape").encode("latin-1") * int(found.get("repeat", 1))
                entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data) if data is not None else None)
    data = out.getvalue()
    if name.endswith((".gz", ".tgz")):
        return gzip.compress(data, mtime=0)
    if name.endswith(".bz2"):
        return bz2.compress(data)
    if name.endswith(".xz"):
        return lzma.compress(data)
    return data


def dress(path, found, link=False):
    """Owner, mode, xattrs; the time comes last."""
    if "uid" in found or "gid" in found:
        os.chown(path, int(found.get("uid", 0)), int(found.get("gid", 0)), follow_symlinks=False)
    if "mode" in found and not link:
        os.chmod(path, int(found["mode"], 8))
    for key, value in xattrs(found):
        os.setxattr(path, key, value, follow_symlinks=False)


def make(case, folder, served):
    """Makes the case's context below `folder`, and what is fetched by HTTP below `served`."""
    times, os_mask = {}, os.umask(0o022)
    try:
        for section in case.sections:
            plain, found = attributes(section.words)
            path = os.path.join(served if section.kind == "served" else folder, plain[0])
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if section.kind in ("file", "served"):
                pathlib.Path(path).write_bytes(content(section.text, found))
                os.chmod(path, 0o644)
            elif section.kind == "dir":
                os.makedirs(path, exist_ok=True)
            elif section.kind == "link":
                os.symlink(plain[2], path)
            elif section.kind == "hardlink":
                os.link(os.path.join(folder, plain[2]), path)
            elif section.kind == "fifo":
                os.mkfifo(path, 0o644)
            elif section.kind in ("char", "block"):
                major, minor = map(int, plain[1].split(":"))
                os.mknod(path, 0o644 | (stat.S_IFCHR if section.kind == "char" else stat.S_IFBLK), os.makedev(major, minor))
            elif section.kind == "socket":
                with socket.socket(socket.AF_UNIX) as made:
                    made.bind(path)
            elif section.kind == "archive":
                pathlib.Path(path).write_bytes(archive(plain[0], section.text))
                os.chmod(path, 0o644)
            else:
                raise SystemExit(f"{case.topic}:{section.line}: unknown section {section.kind}")
            dress(path, found, section.kind == "link")
            times[path] = int(found.get("mtime", TIME))
        for top in (folder, served):
            for parent, folders, files in os.walk(top, topdown=False):
                for name in (*folders, *files):
                    path = os.path.join(parent, name)
                    when = times.get(path, TIME)
                    os.utime(path, (when, when), follow_symlinks=False)
        os.utime(folder, (TIME, TIME))
    finally:
        os.umask(os_mask)


def packed(folder, form=tarfile.USTAR_FORMAT):
    """The folder as a tar, as it is: owners, modes, times, links."""
    def plain(entry):
        entry.mtime = int(entry.mtime) if form == tarfile.USTAR_FORMAT else entry.mtime
        return entry

    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name in sorted(os.listdir(folder)):
            tar.add(os.path.join(folder, name), name, filter=plain)
    return out.getvalue()
