"""Images that want to do harm, through every door: import, load, pull, copy. Each ends in a clear answer, in bounded memory and time; gruad
answers others meanwhile, nothing outside of the layer changes, and nothing of it stays in the store."""

import bz2
import gzip
import hashlib
import http.client
import io
import json
import lzma
import os
import pathlib
import random
import shutil
import socket
import subprocess
import tarfile
import tempfile
import threading
import time

import registry_double as double
from harness import DOCKER, PATIENCE, SANITIZED, Case, Daemon, busybox_image, run, wait_until

MIB = 1 << 20
SECONDS = 10
GROWTH = 64 * MIB
# What the heap keeps hides what the next attack takes of it: there is a bound on all of them together, too.
GROWTH_OF_ALL = 96 * MIB
END = bytes(1024)


def octal(value, width):
    text = f"{value:0{width - 1}o}".encode() + b"\0"
    return text if len(text) <= width else b"\x80" + value.to_bytes(width - 1, "big")


def padded(data):
    return data + bytes(-len(data) % 512)


def header(name, size=0, kind=b"0", link=b"", mode=0o644, device=(0, 0), prefix=b"", magic=b"ustar\0" + b"00", **raw):
    """512 bytes as they are told; `raw` replaces a field whatever it means."""
    fields = {"name": name.ljust(100, b"\0")[:100], "mode": octal(mode, 8), "uid": octal(0, 8), "gid": octal(0, 8), "size": octal(size, 12) if isinstance(size, int) else size.ljust(12, b"\0")[:12],
              "mtime": octal(0, 12), "checksum": b" " * 8, "kind": kind, "link": link.ljust(100, b"\0")[:100], "magic": magic, "user": bytes(32), "group": bytes(32),
              "major": octal(device[0], 8), "minor": octal(device[1], 8), "prefix": prefix.ljust(155, b"\0")[:155], "rest": bytes(12)}
    widths = {"name": 100, "mode": 8, "uid": 8, "gid": 8, "size": 12, "mtime": 12, "checksum": 8, "kind": 1, "link": 100, "magic": 8, "user": 32, "group": 32, "major": 8,
              "minor": 8, "prefix": 155, "rest": 12}
    for field, value in raw.items():
        fields[field] = value.ljust(widths[field], b"\0")[:widths[field]]
    block = b"".join(fields.values())
    assert len(block) == 512
    if "checksum" not in raw:
        block = block[:148] + f"{sum(block):06o}".encode() + b"\0 " + block[156:]
    return block


def entry(name, data=b"", **fields):
    name = name if isinstance(name, bytes) else name.encode()
    if len(name) > 100:
        return pax({"path": name}) + entry(name[:50], data, **fields)
    return header(name, len(data), **fields) + data + bytes(-len(data) % 512)


def pax(values, kind=b"x"):
    text = b""
    for key, value in values.items():
        value = value if isinstance(value, bytes) else str(value).encode()
        body = b" " + key.encode() + b"=" + value + b"\n"
        length = len(body) + 1
        while len(str(length)) + len(body) != length:
            length = len(str(length)) + len(body)
        text += str(length).encode() + body
    return header(b"pax", len(text), kind=kind) + text + bytes(-len(text) % 512)


def struct_block(segments):
    return b"".join(f"{offset:011o}".encode() + b"\0" + f"{size:011o}".encode() + b"\0" if offset < 1 << 33 else
                    b"\x80" + offset.to_bytes(11, "big") + f"{size:011o}".encode() + b"\0" for offset, size in segments)


def sparse_header(segments, size, extended=False, numbers=None):
    """GNU's own form: four segments in the header, more in the blocks after it."""
    body = (numbers or struct_block(segments)).ljust(96, b"\0") + (b"\1" if extended else b"\0")
    real = f"{size:011o}".encode() + b"\0" if size < 1 << 33 else b"\x80" + size.to_bytes(11, "big")
    return header(b"big", 4, kind=b"S", magic=b"ustar  \0", prefix=(bytes(41) + body + real)[:155])


def symlink(name, target):
    return entry(name, kind=b"2", link=target if isinstance(target, bytes) else str(target).encode())


def hard_link(name, target):
    return entry(name, kind=b"1", link=target if isinstance(target, bytes) else str(target).encode())


def folder(name):
    return entry(name, kind=b"5", mode=0o755)


def random_damage(tar, count, seed):
    choice = random.Random(seed)
    for _ in range(count):
        damaged = bytearray(tar)
        for _ in range(choice.randrange(1, 8)):
            damaged[choice.randrange(len(damaged))] = choice.randrange(256)
        yield bytes(damaged[:choice.randrange(1, len(damaged))] if choice.random() < 0.3 else damaged)


def layers(canary):
    """Name → (tar, what the error must say; None: any answer, "": an error)."""
    up = b"../" * 14 + str(canary).encode()
    whole = entry("a", b"x" * 3000) + folder("d") + entry("d/b", b"y") + symlink("l", "a") + hard_link("h", "a") + END
    sparse = {"GNU.sparse.major": 1, "GNU.sparse.minor": 0, "GNU.sparse.name": "big"}

    def mapped(numbers, **more):
        body = (f"{len(numbers) // 2}\n" + "".join(f"{number}\n" for number in numbers)).encode()
        body += bytes(-len(body) % 512)
        return pax({**sparse, "GNU.sparse.realsize": 1 << 20, **more}) + entry("GNUSparseFile.0/big", body + b"data") + END

    yield from {
        "names that climb": (entry(up + b"/new", b"evil") + entry(b"a/../../../b", b"evil") + END, None),
        "absolute names": (entry(f"{canary}/new", b"evil") + END, None),
        "prefix that climbs": (header(b"new", 0, prefix=up[:150]) + END, None),
        "names of odd bytes": (entry(b"new\nline \xff\x01", b"x") + entry(b" ", b"x") + entry(b"\\..\\x", b"x") + END, None),
        "pax path with a NUL": (pax({"path": b"a\0b"}) + entry("x", b"x") + END, ""),
        "empty name": (entry("", b"x") + entry("/", b"x") + entry(".", b"x") + entry("..", b"x") + END, None),
        "link, then through it": (symlink("l", canary) + entry("l/new", b"evil") + END, None),
        "link chain": (symlink("a", "b") + symlink("b", "c") + symlink("c", canary) + entry("a/new", b"evil") + END, None),
        "links in a circle": (symlink("a", "b") + symlink("b", "a") + entry("a/new", b"evil") + END, None),
        "link replaced by a folder": (symlink("l", canary) + folder("l") + entry("l/new", b"x") + END, None),
        "hard link outside": (hard_link("h", up + b"/file") + entry("h", b"evil") + END, ""),
        "hard link to an absolute name": (hard_link("h", f"{canary}/file") + END, ""),
        "CVE-2014-6407 hard link through a link": (symlink("l", canary) + hard_link("h", "l/file") + END, ""),
        "hard link to a later entry": (hard_link("h", "later") + entry("later", b"x") + END, ""),
        "hard link to itself": (hard_link("h", "h") + END, ""),
        "hard link to a folder": (folder("d") + hard_link("h", "d") + END, ""),
        "hard link to a link": (symlink("l", f"{canary}/file") + hard_link("h", "l") + entry("h", b"evil") + END, None),
        "whiteout of dotdot": (entry(".wh...", b"") + entry(b".wh." + up, b"") + END, None),
        "whiteout of nothing": (entry(".wh.", b"") + END, None),
        "hard link to a device": (entry("null", kind=b"3", device=(1, 3)) + hard_link("h", "null") + entry("h", b"evil") + END, None),
        "hard link to the root": (hard_link("h", "/") + hard_link("h", "..") + END, ""),
        "whiteout with a slash": (entry(".wh.a/b", b"x") + entry("a/.wh.b/c", b"x") + END, None),
        "whiteout with content": (entry(".wh.x", b"content") + END, None),
        "opaque marker as a folder": (folder("d/.wh..wh..opq") + entry("d/.wh..wh..opq/x", b"x") + END, None),
        "other whiteout metadata": (entry(".wh..wh.plnk", b"") + folder(".wh..wh.aufs") + END, None),
        "whiteout through a link": (symlink("l", canary) + entry("l/.wh.file", b"") + END, None),
        "a whiteout of overlayfs": (entry("file", kind=b"3", device=(0, 0)) + END, None),
        "overlayfs' own xattrs": (pax({"SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.trusted.overlay.redirect": str(canary)}) + folder("d") + END, None),
        "devices of the host": (entry("mem", kind=b"3", device=(1, 1), mode=0o666) + entry("disk", kind=b"4", device=(8, 0), mode=0o666) + END, None),
        "device numbers too big": (header(b"d", kind=b"3", major=b"\x80\xff\xff\xff\xff\xff\xff\xff") + END, ""),
        "set-user-ID of root": (entry("su", b"#!/bin/sh\n", mode=0o4755) + END, None),
        "unknown kinds": (entry("a", b"", kind=b"Z") + entry("b", b"", kind=b"\xff") + END, None),
        "duplicates of other kinds": (entry("a", b"x") + folder("a") + entry("a/b", b"x") + symlink("a", canary) + entry("a", b"y") + hard_link("a", "a") + END, None),
        "a file used as a folder": (entry("a", b"x") + entry("a/b/c", b"x") + END, None),
        "negative size": (header(b"a", size=b"\xff" * 12) + END, ""),
        "size of 8 EiB": (header(b"a", size=b"\x80" + bytes(3) + b"\x7f" + b"\xff" * 7) + END, ""),
        "garbage size": (header(b"a", size=b"12x4567") + END, ""),
        "wrong checksum": (header(b"a", checksum=b"0000001\0") + END, ""),
        "pax size that lies": (pax({"size": 1 << 62}) + entry("a", b"x") + END, ""),
        "pax record too long": (header(b"p", 20, kind=b"x") + b"99999999999 path=a\n\0".ljust(512, b"\0") + entry("a", b"") + END, ""),
        "pax record without end": (header(b"p", 20, kind=b"x") + b"12 path=a".ljust(512, b"\0") + entry("a", b"") + END, ""),
        "endless pax header": (header(b"p", 1 << 33, kind=b"x") + bytes(2 * MIB), ""),
        "endless global header": (header(b"p", 1 << 33, kind=b"g") + bytes(2 * MIB), ""),
        "endless long name": (header(b"././@LongLink", 1 << 33, kind=b"L") + b"a" * (2 * MIB), ""),
        "name of 64 KiB": (pax({"path": b"n" * 65536}) + entry("a", b"") + END, "name is longer than 4096 bytes"),
        "link target of 64 KiB": (pax({"linkpath": b"n" * 65536}) + symlink("a", "b") + END, "name is longer than 4096 bytes"),
        "a part of 300 bytes": (pax({"path": b"n" * 300}) + entry("a", b"") + END, ""),
        "thousands of xattrs": (b"".join(pax({f"SCHILY.xattr.user.{number}": "v" * 50 for number in range(5000)}) + entry("a", b"") for _ in range(2)) + END, None),
        "xattrs of all entries": (b"".join(pax({f"SCHILY.xattr.user.{number}": b"v" * 900_000}, kind=b"g") for number in range(100)) + entry("a", b"") + END, "pax records of"),
        "pax headers one after the other": (b"".join(pax({f"SCHILY.xattr.user.{number}": b"v" * 900_000}) for number in range(100)) + entry("a", b"") + END, "pax records of"),
        "a global header of many words": (pax({f"word{number}": "v" for number in range(50_000)}, kind=b"g") + b"".join(entry(f"f{number}") for number in range(300)) + END, None),
        "a global header of many xattrs": (pax({f"SCHILY.xattr.user.{number}": "" for number in range(50_000)}, kind=b"g") + b"".join(entry(f"f{number}") for number in range(300)) + END, ""),
        "folders of long names": (folder("long/" + "/".join(["d" * 250] * 15)) * 10_000 + END, None),
        "an xattr of 1 MB": (pax({"SCHILY.xattr.user.big": b"v" * 900_000}) + entry("a", b"") + END, None),
        "GNU sparse beyond the end": (mapped([0, 4, 1 << 60, 4]), ""),
        "GNU sparse overlapping": (mapped([0, 3, 1, 1]), None),
        "GNU sparse negative": (mapped([0, -5]), ""),
        "GNU sparse not a number": (mapped([0, "x"]), ""),
        "GNU sparse of 8 EiB": (mapped([0, 4], **{"GNU.sparse.realsize": (1 << 63) - 1}), ""),
        "CVE-2025-58183 map without end": (pax({**sparse, "GNU.sparse.realsize": 1 << 20}) + header(b"GNUSparseFile.0/big", 1 << 33) + b"999999999\n" + b"0\n0\n" * (4 * MIB), ""),
        "old GNU sparse": (sparse_header([(0, 4), (1 << 40, 0)], 1 << 40) + padded(b"data") + END, None),
        "old GNU sparse of 8 EiB": (sparse_header([(0, 4)], (1 << 63) - 1) + padded(b"data") + END, "larger than"),
        "old GNU sparse overlapping": (sparse_header([(0, 3), (1, 1)], 100) + padded(b"data") + END, "sparse map"),
        "old GNU sparse backwards": (sparse_header([(50, 2), (0, 2)], 100) + padded(b"data") + END, "sparse map"),
        "old GNU sparse negative": (sparse_header([(0, 4)], 100, numbers=b"\xff" * 24) + padded(b"data") + END, "sparse"),
        "old GNU sparse without end": (sparse_header([(0, 0)], 100, extended=True) + (struct_block([(0, 0)] * 21) + b"\1" + bytes(7)) * 40_000, "too many sparse segments"),
        "folders 5,000 deep": (pax({"path": "d/" * 5000}) + folder("d") + END, "name is longer than 4096 bytes"),
        "folders 2,000 deep": (b"".join(folder(("d/" * depth)[:-1]) for depth in range(1, 2000, 13)) + entry("d/" * 2000 + "f", b"x") + END, None),
        "no end": (entry("a", b"x"), None),
        "cut in a header": (whole[:700], ""),
        "cut in the data": (header(b"a", 5000) + b"x" * 512, ""),
        "no tar at all": (b"<html>not found</html>" * 100, ""),
        "zeros only": (bytes(10240), None),
        "a gzip of garbage": (b"\x1f\x8b" + random.Random(1).randbytes(5000), ""),
        "a zstd of garbage": (b"\x28\xb5\x2f\xfd" + random.Random(2).randbytes(5000), ""),
        "a gzip that is cut": (gzip.compress(whole)[:-9], ""),
        "a gzip in a gzip": (gzip.compress(gzip.compress(whole)), ""),
        "a gzip header without end": (b"\x1f\x8b\x08\x18" + bytes(6) + b"x" * (2 * MIB), ""),
        "a bzip2 of garbage": (b"BZh9" + random.Random(3).randbytes(5000), "bzip2: damaged data"),
        "an xz of garbage": (b"\xfd7zXZ\0" + random.Random(4).randbytes(5000), "xz: damaged data"),
        "a bzip2 that is cut": (bz2.compress(whole)[:-9], "bzip2: unexpected end of data"),
        "an xz that is cut": (lzma.compress(whole)[:-9], "xz: unexpected end of data"),
        "an xz that takes 256 MiB": (lzma.compress(whole, filters=[{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 256 * MIB}]),
                                     "xz: unpacking it takes more than 128 MiB of memory"),
        "a zstd window of 2 GiB": (b"\x28\xb5\x2f\xfd" + b"\x00" + bytes([21 << 3]) + b"\x01\x00\x00", ""),
    }.items()
    for number, tar in enumerate(random_damage(whole, 20, 7)):
        yield f"damaged at random {number}", (tar, None)
    for kind, pack in (("gzip", gzip.compress), ("bzip2", bz2.compress), ("xz", lzma.compress)):
        for number, tar in enumerate(random_damage(pack(whole), 10, 8)):
            yield f"packed in {kind} and damaged {number}", (tar, None)


def described(data, kind=double.OCI_MANIFEST, **more):
    return {"mediaType": kind, "digest": double.digest_of(data), "size": len(data), **more}


def layout(index, blobs=()):
    """The tar of an OCI layout."""
    out = entry("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    for data in blobs:
        out += entry("blobs/sha256/" + hashlib.sha256(data).hexdigest(), data)
    return out + entry("index.json", json.dumps(index).encode()) + END


def packed(parts):
    """A tar of these entries, by gzip."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1) as file:
        for part in parts:
            file.write(part)
        file.write(END)
    return out.getvalue()


def bomb(size):
    """A file of zeros."""
    return packed([header(b"zeros", size), *[bytes(MIB)] * (size // MIB)])


class Hostile(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.data = pathlib.Path(cls.daemon.root) / "data"
        cls.floor = cls.memory()

    def setUp(self):
        self.canary = pathlib.Path(tempfile.mkdtemp(prefix="grua-canary-", dir="/var/tmp"))
        self.addCleanup(shutil.rmtree, self.canary)
        (self.canary / "file").write_text("untouched")
        self.before = self.etc()
        # Others are served meanwhile: the slowest answer is kept.
        self.ended, self.slowest, self.answers = threading.Event(), 0.0, 0
        self.watcher = threading.Thread(target=self.watch)
        self.watcher.start()
        self.addCleanup(self.watcher.join)
        self.addCleanup(self.ended.set)

    def etc(self):
        return {str(path): path.lstat().st_mtime_ns for path in pathlib.Path("/etc").iterdir()}

    def watch(self):
        while not self.ended.is_set():
            started = time.monotonic()
            with self.connection() as client:
                client.request("GET", "/containers/json")
                answer = client.getresponse()
                answer.read()
            if answer.status != 200:
                return  # what is counted stands still
            self.slowest, self.answers = max(self.slowest, time.monotonic() - started), self.answers + 1
            time.sleep(0.05)

    def connection(self):
        client = http.client.HTTPConnection("d", timeout=60 * PATIENCE)
        client.sock = socket.socket(socket.AF_UNIX)
        client.sock.settimeout(60 * PATIENCE)
        client.sock.connect(str(self.daemon.socket))
        client.__class__ = type("Closing", (http.client.HTTPConnection,), {"__enter__": lambda c: c, "__exit__": lambda c, *_: c.close()})
        return client

    def send(self, method, target, body=b""):
        """What gruad answers, as one text, and whether it is an error."""
        with self.connection() as client:
            client.request(method, target, body, {"Content-Type": "application/x-tar"})
            answer = client.getresponse()
            text = answer.read().decode(errors="replace")
        return text, answer.status >= 400 or '"errorDetail"' in text

    @classmethod
    def memory(cls):
        """The most that was resident since it was reset."""
        for line in pathlib.Path(f"/proc/{cls.daemon.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) << 10
        return 0

    def used(self):
        """Bytes and files of what is stored, but for the database."""
        sizes = [path.lstat().st_blocks * 512 for place in ("layers", "content") for path in (self.data / place).rglob("*") if not path.is_dir()]
        return sum(sizes), len(sizes)

    def attack(self, name, say, *request, growth=GROWTH):
        pathlib.Path(f"/proc/{self.daemon.process.pid}/clear_refs").write_text("5")
        memory, started = self.memory(), time.monotonic()
        text, failed = self.send(*request)
        took = time.monotonic() - started
        self.assertIsNone(self.daemon.process.poll(), self.daemon.tail())
        self.assertLess(took, SECONDS * PATIENCE, name)
        if not SANITIZED:
            self.assertLess((self.memory() - memory) / MIB, growth / MIB, name)
            self.assertLess((self.memory() - self.floor) / MIB, (growth + GROWTH_OF_ALL - GROWTH) / MIB, name)
        if say is not None:
            self.assertTrue(failed, f"{name}: {text[-300:]}")
            self.assertIn(say, text, name)
        if failed:
            message = json.loads(text.strip().splitlines()[-1])
            message = message.get("message") or message["errorDetail"]["message"]
            self.assertGreater(len(message), 10, name)
            self.assertNotRegex(message, r"[\x00-\x08\x0b-\x1f]", name)
            self.assertLess(len(message), 3000, name)
            self.assertNotRegex(message, r"basic_string|vector::|bad_alloc|std::|terminate", name)
        self.assertEqual([(path.name, path.read_text()) for path in self.canary.iterdir()], [("file", "untouched")], name)
        return failed

    def is_clean(self):
        self.assertEqual(self.etc(), self.before)
        self.docker("image", "prune", "-af")
        self.daemon.api("POST", "/grua/gc")
        done = self.daemon.grua("system", "check", check=False)
        self.assertEqual(done.returncode, 0, done.stdout)
        for place in ("layers/staging", "layers/trash", "content/trash", "content/partial"):
            wait_until(f"{place} is empty", lambda where=self.data / place: not os.listdir(where), 30)
        self.assertEqual(self.docker("images", "-aq").stdout, "")
        self.assertEqual(os.listdir(self.data / "layers/l"), [])
        self.assertEqual(self.used(), (0, 5))  # /etc/hosts and its like, empty, and a link, in the lowest layer of all containers.
        answers = self.answers
        wait_until("gruad still answers others", lambda: self.answers > answers)
        self.ended.set()
        self.watcher.join()
        self.assertLess(self.slowest, 2 * PATIENCE)

    def test_layers_by_import(self):
        refused = sum(self.attack(name, say, "POST", "/images/create?fromSrc=-&repo=evil", tar) for name, (tar, say) in layers(self.canary))
        self.assertGreater(refused, 30)
        self.is_clean()

    def archive(self, tar, **more):
        """A docker-archive of that one layer, whose diff ID is right."""
        config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [double.digest_of(self.plain(tar))]}, **more}).encode()
        manifest = json.dumps([{"Config": "config.json", "RepoTags": ["evil:1"], "Layers": ["layer.tar"]}]).encode()
        return entry("layer.tar", tar) + entry("config.json", config) + entry("manifest.json", manifest) + END

    @staticmethod
    def plain(tar):
        try:
            return gzip.decompress(tar) if tar.startswith(b"\x1f\x8b") else tar
        except (OSError, EOFError, ValueError):
            return tar
        except Exception:  # zlib.error
            return tar

    def test_layers_by_load(self):
        for name, (tar, say) in layers(self.canary):
            self.attack(name, "" if say else say, "POST", "/images/load", self.archive(tar))
        self.is_clean()

    def test_layers_by_layout(self):
        """An OCI layout, with layers packed as its media type says."""
        for name, (tar, say) in layers(self.canary):
            packed = tar if tar[:2] in (b"\x1f\x8b", b"\x28\xb5") else gzip.compress(tar, 1)
            config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [double.digest_of(self.plain(packed))]}}).encode()
            manifest = json.dumps({"schemaVersion": 2, "mediaType": double.OCI_MANIFEST, "config": described(config, "application/vnd.oci.image.config.v1+json"),
                                   "layers": [described(packed, "application/vnd.oci.image.layer.v1.tar+gzip")]}).encode()
            self.attack(name, "" if say else say, "POST", "/images/load", layout({"schemaVersion": 2, "manifests": [described(manifest)]}, [packed, config, manifest]))
        self.is_clean()

    def test_layers_by_pull(self):
        registry = double.Double(self.daemon.holder.pid)
        self.addCleanup(registry.close)
        for number, (name, (tar, say)) in enumerate(layers(self.canary)):
            packed = tar if tar[:2] in (b"\x1f\x8b", b"\x28\xb5", b"BZ", b"\xfd7") else gzip.compress(tar, 1)
            image = double.Image([])
            layer = image._blob("application/vnd.oci.image.layer.v1.tar+gzip", packed)
            config = image._blob("application/vnd.oci.image.config.v1+json", json.dumps(
                {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [double.digest_of(self.plain(packed))]}}).encode())
            image.manifest = json.dumps({"schemaVersion": 2, "mediaType": double.OCI_MANIFEST, "config": config, "layers": [layer]}).encode()
            image.digest = double.digest_of(image.manifest)
            registry.add(f"x{number}", "1", image)
            self.attack(name, "" if say else say, "POST", f"/images/create?fromImage={registry.authority}/x{number}&tag=1")
        self.is_clean()

    def test_layers_by_copy(self):
        self.docker("load", "-q", "-i", busybox_image())
        self.docker("create", "--name", "cc", "busybox", "true")
        for name, (tar, say) in layers(self.canary):
            # A copy makes no layer: a whiteout is a file like others, and an empty body is nothing to copy.
            self.attack(name, None, "PUT", "/containers/cc/archive?path=/tmp", tar)
        self.docker("rm", "-f", "cc")
        self.is_clean()

    def test_bombs(self):
        """What is a thousandth when packed: as much as it is is written, with a bound on memory; then it can be removed."""
        door = "/images/create?fromSrc=-&repo=bomb"
        self.attack("1 GiB of zeros", None, "POST", door, bomb(1 << 30))
        self.attack("packed twice", "", "POST", door, gzip.compress(bomb(64 * MIB)))
        self.attack("20,000 entries", None, "POST", door, packed(header(f"f{number}".encode()) for number in range(20_000)))
        deep = "/".join(["d" * 250] * 15)
        self.attack("40,000 times one folder of a long name", None, "POST", door, packed([folder(deep)] * 40_000))
        self.attack("20,000 folders of long names", None, "POST", door, packed(folder(f"{deep}/{number}") for number in range(20_000)))
        mapped = pax({"GNU.sparse.major": 1, "GNU.sparse.minor": 0, "GNU.sparse.name": "big", "GNU.sparse.realsize": 1 << 39}) + \
            entry("GNUSparseFile.0/big", b"1\n0\n4\n".ljust(512, b"\0") + b"data") + END
        self.attack("a file of 512 GiB of holes", None, "POST", door, mapped)
        self.is_clean()

    def test_zstd_windows(self):
        """What a packer may ask to be remembered is memory: 128 MiB, as zstd has it without --long, and not more."""
        tar = header(b"r", 160 * MIB) + os.urandom(160 * MIB) + END
        for log, say, growth in ((27, None, GROWTH + 128 * MIB), (28, "zstd: Frame requires too much memory", GROWTH + 128 * MIB)):
            data = subprocess.run(["zstd", "-q", "-1", f"--long={log}", "-c"], input=tar, check=True, capture_output=True).stdout
            self.attack(f"a window of {1 << log >> 20} MiB", say, "POST", "/images/create?fromSrc=-&repo=bomb", data, growth=growth)
        self.is_clean()

    def test_archives_that_are_cut(self):
        whole = self.archive(entry("a", b"x" * 3000) + folder("d") + END)
        oci = next(archive for name, (archive, _) in self.documents() if name == "a layout that is right")
        choice = random.Random(11)
        for archive in (whole, oci):
            self.attack("a whole archive", None, "POST", "/images/load", archive)
            for at in sorted(choice.randrange(1, len(archive) - len(END)) for _ in range(20)):
                self.attack(f"{at} bytes of {len(archive)}", None, "POST", "/images/load", archive[:at])
                self.attack(f"{at} bytes of {len(archive)}, packed", None, "POST", "/images/load", gzip.compress(archive)[:at])
        self.is_clean()

    def test_archives_of_many_names(self):
        long = "/".join(["n" * 250] * 15)
        self.attack("files of long names", "its names are larger than", "POST", "/images/load", packed(entry(f"{long}/{number}", b"x") for number in range(45_000)))
        links = (pax({"path": f"{long}/{number}", "linkpath": f"{long}/x{number}"}) + symlink("l", "x") for number in range(45_000))
        self.attack("links of long names", "its names are larger than", "POST", "/images/load", packed(links))
        self.attack("100,001 files", "more than 100000 entries", "POST", "/images/load", packed(header(str(number).encode()) for number in range(100_001)))
        document = b'{"a":"' + b"x" * (8 * MIB - 100) + b'"}'
        self.attack("100 documents of 8 MiB", "does not contain", "POST", "/images/load",
                    packed(entry(f"{number}.json", b'{"n":%d,' % number + document[1:]) for number in range(100)))
        self.is_clean()

    def documents(self):
        """Archives whose documents lie. Name → (archive, what the error must say)."""
        tar = entry("f", b"x") + END
        diff = double.digest_of(tar)
        good = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff]}}

        def made(config=good, layers=("layer.tar",), tags=("evil:1",), manifest=None, files=None):
            config = config if isinstance(config, bytes) else json.dumps(config).encode()
            if manifest is None:
                manifest = json.dumps([{"Config": "config.json", "RepoTags": list(tags), "Layers": list(layers)}]).encode()
            out = b"".join(entry(name, data) for name, data in {"layer.tar": tar, "config.json": config, **(files or {})}.items())
            return out + entry("manifest.json", manifest) + END

        config = json.dumps(good).encode()
        manifest = json.dumps({"schemaVersion": 2, "mediaType": double.OCI_MANIFEST, "config": described(config, "application/vnd.oci.image.config.v1+json"),
                               "layers": [described(tar, "application/vnd.oci.image.layer.v1.tar")]}).encode()
        both = json.dumps({"schemaVersion": 2, "config": described(config, "application/vnd.oci.image.config.v1+json"), "layers": [],
                           "manifests": [described(manifest)]}).encode()
        spelt = manifest[:-1] + b', "Manifests": [' + json.dumps(described(manifest)).encode() + b"]}"
        nested = manifest
        chain = [manifest, config, tar]
        kind = double.OCI_MANIFEST
        for _ in range(40):
            nested = json.dumps({"schemaVersion": 2, "mediaType": double.OCI_INDEX, "manifests": [described(nested, kind)]}).encode()
            kind = double.OCI_INDEX
            chain.append(nested)
        yield from {
            "config is a path out of the archive": (made(manifest=json.dumps([{"Config": "../../../etc/passwd", "RepoTags": None, "Layers": []}]).encode()), ""),
            "layer is an absolute path": (made(layers=["/etc/shadow"]), ""),
            **{f"layer is a link to {target}": (symlink("l.tar", target) + made(layers=["l.tar"]), "l.tar is missing")
               for target in ("/etc/shadow", "../../../../../../etc/shadow", "l.tar", f"{self.canary}/file", "/proc/self/fd/0")},
            "layer is a hard link": (hard_link("l.tar", "/etc/shadow") + made(layers=["l.tar"]), "l.tar is missing"),
            "config is a link": (symlink("c.json", "/etc/passwd") + made(manifest=json.dumps([{"Config": "c.json", "RepoTags": None, "Layers": ["layer.tar"]}]).encode()), "c.json is missing"),
            "layer is a folder": (folder("l.tar") + made(layers=["l.tar"]), "l.tar is missing"),
            "layer is a device": (entry("l.tar", kind=b"4", device=(8, 0)) + made(layers=["l.tar"]), "l.tar is missing"),
            "manifest.json is a link": (symlink("manifest.json", "/etc/passwd") + END, "does not contain a manifest.json"),
            "manifest.json is a folder": (folder("manifest.json") + END, "does not contain a manifest.json"),
            "manifest.json twice": (entry("manifest.json", b"[{}]") + made(), None),
            "a layer that is the config": (made(layers=["config.json"]), "is no tar"),
            "diff IDs and layers differ in number": (made({**good, "rootfs": {"type": "layers", "diff_ids": [diff, diff]}}), ""),
            "another diff ID": (made({**good, "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]}}), "sha256:" + "0" * 64),
            "no rootfs": (made({"architecture": "amd64", "os": "linux"}), ""),
            "rootfs of another type": (made({**good, "rootfs": {"type": "evil", "diff_ids": []}}), ""),
            "another system": (made({**good, "os": "windows"}), ""),
            "digest that is a path": (made({**good, "rootfs": {"type": "layers", "diff_ids": ["sha256:../../../../etc/passwd"]}}), ""),
            "digest in upper case": (made({**good, "rootfs": {"type": "layers", "diff_ids": [diff.upper()]}}), ""),
            "digest too short": (made({**good, "rootfs": {"type": "layers", "diff_ids": [diff[:-1]]}}), ""),
            "digest of another algorithm": (made({**good, "rootfs": {"type": "layers", "diff_ids": ["md5:" + "0" * 32]}}), ""),
            "501 layers": (made({**good, "rootfs": {"type": "layers", "diff_ids": [diff] * 501}}, layers=["layer.tar"] * 501), ""),
            "10,000 layers": (made({**good, "rootfs": {"type": "layers", "diff_ids": [diff] * 10000}}, layers=["layer.tar"] * 10000), ""),
            "tag of odd bytes": (made(tags=["../../evil:1"]), ""),
            "tag in upper case": (made(tags=["Evil:1"]), ""),
            "tag with a control byte": (made(tags=["evil:1\n\x1b[31m"]), ""),
            "config is no JSON": (made(b"\x00\xff{"), ""),
            "config is a list": (made(b"[1]"), ""),
            "fields of other types": (made({**good, "config": {"Env": {"a": 1}, "Cmd": 7}}), ""),
            "JSON nested 100,000 deep": (made(b'{"a":' * 100_000 + b"1" + b"}" * 100_000), ""),
            "manifest nested 100,000 deep": (made(manifest=b"[" * 100_000 + b"]" * 100_000), ""),
            "config of 50 MB": (made(json.dumps({**good, "comment": "x" * (50 * MIB)}).encode()), ""),
            "manifest of 50 MB": (made(manifest=b'[{"Config":"' + b"x" * (50 * MIB) + b'"}]'), ""),
            "keys twice": (made(config[:-1] + b',"rootfs":{"type":"layers","diff_ids":[]}}'), None),
            "history without end": (made(config[:-1] + b',"history":[' + b"{}," * (2 * MIB) + b"{}]}"), "more than 200000 values"),
            "numbers without end": (made(config[:-1] + b',"x":[' + b"0," * (4 * MIB - 500) + b"0]}"), "more than 200000 values"),
            "an environment without end": (made(config.replace(b'"config": {}', b'"config": {"Env":[' + b'"",' * (2 * MIB) + b'""]}')), "more than 200000 values"),
            "names without end": (made(manifest=b'[{"Config":"config.json","Layers":["layer.tar"],"RepoTags":[' + b'"",' * MIB + b'""]}]'), "more than 200000 values"),
            "images without end": (made(manifest=b"[" + b"{}," * MIB + b"{}]"), "more than 200000 values"),
            "one image 10,000 times": (made(manifest=b"[" + b",".join([b'{"Config":"config.json","RepoTags":["evil:1"],"Layers":["layer.tar"]}'] * 10_000) + b"]"), None),
            "a layout that is right": (layout({"schemaVersion": 2, "manifests": [described(manifest)]}, [manifest, config, tar]), None),
            "other spelling of an index's member": (layout({"schemaVersion": 2, "manifests": [described(spelt)]}, [spelt, config, tar]), 'manifests\\" does not belong there'),
            "index and manifest at once (CVE-2021-41190)": (layout({"schemaVersion": 2, "manifests": [described(both, double.OCI_INDEX)]}, [both, manifest, config, tar]), ""),
            "manifest that says it is an index": (layout({"schemaVersion": 2, "manifests": [described(manifest, double.OCI_INDEX)]}, [manifest, config, tar]), ""),
            "indexes 40 deep": (layout({"schemaVersion": 2, "manifests": [described(nested, double.OCI_INDEX)]}, chain), ""),
            "an index of 20,000": (layout({"schemaVersion": 2, "manifests": [described(manifest)] * 20_000}, [manifest, config, tar]), None),
            "size that lies": (layout({"schemaVersion": 2, "manifests": [described(manifest, size=7)]}, [manifest, config, tar]), ""),
            "a blob that is another": (entry("blobs/sha256/" + hashlib.sha256(tar).hexdigest(), b"evil") +
                                       layout({"schemaVersion": 2, "manifests": [described(manifest)]}, [manifest, config]), double.digest_of(b"evil")),
            "a layer that is another": (entry("blobs/sha256/" + hashlib.sha256(tar).hexdigest(), tar[:-1] + b"x") +
                                        layout({"schemaVersion": 2, "manifests": [described(manifest)]}, [manifest, config]), double.digest_of(tar)),
            "a blob that is a link": (symlink("blobs/sha256/" + hashlib.sha256(tar).hexdigest(), "/etc/shadow") +
                                      layout({"schemaVersion": 2, "manifests": [described(manifest)]}, [manifest, config]), "is missing"),
            "a digest that is a path": (layout({"schemaVersion": 2, "manifests": [{**described(manifest), "digest": "sha256:../../../../etc/passwd"}]}, [manifest]), ""),
            "blobs that are missing": (layout({"schemaVersion": 2, "manifests": [described(manifest)]}, []), ""),
            "names of the layout that are none": (layout({"schemaVersion": 2, "manifests": [described(manifest, annotations={"io.containerd.image.name": "../x\n"})]}, [manifest, config, tar]), ""),
            "an empty archive": (END, ""),
            "nothing": (b"", ""),
        }.items()

    def test_documents_by_load(self):
        for name, (archive, say) in self.documents():
            if not self.attack(name, say, "POST", "/images/load", archive):
                self.docker("image", "prune", "-af")  # a layer that is stored is not looked at again
        self.is_clean()

    def documents_of_a_registry(self):
        """Name → (media type and bytes of the manifest, blobs, what the error must say)."""
        image = double.Image([1000])
        plain, right = json.loads(image.manifest), json.loads(image.blobs[image.config["digest"]])
        diff, layer, size = right["rootfs"]["diff_ids"][0], image.layers[0], image.layers[0]["size"]
        hexadecimal = layer["digest"].partition(":")[2]

        def made(document=None, config=None, kind=double.OCI_MANIFEST, **changes):
            data = config if isinstance(config, bytes) else json.dumps(config or right).encode()
            document = {**plain, "config": described(data, image.config["mediaType"]), **(document or {}), **changes}
            return kind, json.dumps(document).encode(), {**image.blobs, double.digest_of(data): data}

        with_ids = lambda *ids, **more: {**right, "rootfs": {"type": "layers", "diff_ids": list(ids)}, **more}
        yield "right", made(), None
        for name, digest in {"a path": "sha256:../../../../etc/passwd", "upper case": "sha256:" + hexadecimal.upper(), "upper case name": "SHA256:" + hexadecimal,
                             "too short": layer["digest"][:-1], "too long": layer["digest"] + "0", "another algorithm": "md5:" + "0" * 32, "no algorithm": hexadecimal,
                             "an unknown algorithm": "blake3:" + hexadecimal, "a line feed": layer["digest"] + "\n", "a NUL": "sha256:\0" + hexadecimal[1:], "nothing": "",
                             "a slash": "sha256/" + hexadecimal, "a query": layer["digest"] + "?x", "spaces": " " + layer["digest"]}.items():
            yield f"layer's digest: {name}", made(layers=[{**layer, "digest": digest}]), "invalid digest"
            yield f"config's digest: {name}", made({"config": {**image.config, "digest": digest}}), "invalid digest"
            yield f"diff ID: {name}", made(config=with_ids(digest)), "invalid digest"
        for name, wrong in {"smaller": size - 1, "larger": size + 1, "nothing": 0, "8 EiB": (1 << 63) - 1}.items():
            yield f"layer's size: {name}", made(layers=[{**layer, "size": wrong}]), ""
            yield f"config's size: {name}", made({"config": {**image.config, "size": wrong}}), ""
        for wrong in (-1, 1 << 70, "7", 1.5):
            yield f"size {wrong!r}", made(layers=[{**layer, "size": wrong}]), "size"
        yield "more diff IDs than layers", made(config=with_ids(diff, diff)), "length mismatch"
        yield "fewer diff IDs than layers", made(config=with_ids()), "length mismatch"
        yield "another diff ID", made(config=with_ids("sha256:" + "0" * 64)), "layer has the diff ID"
        yield "10,000 layers", made(config=with_ids(*[diff] * 10_000), layers=[layer] * 10_000), "at most 500"
        yield "keys twice", (double.OCI_MANIFEST, made()[1][:-1] + b', "layers": []}', made()[2]), "length mismatch"
        yield "config of 50 MB", made(config=with_ids(diff, comment="x" * (50 * MIB))), "at most 8388608 are taken"
        yield "config nested 100,000 deep", made(config=b'{"a":' * 100_000 + b"1" + b"}" * 100_000), "too deep"
        yield "config of values without end", made(config=json.dumps(right).encode()[:-1] + b', "history": [' + b"{}," * (2 * MIB) + b"{}]}"), "more than 200000 values"
        yield "manifest of 50 MB", made(annotations={"x": "x" * (50 * MIB)}), "larger than 4194304 bytes"
        yield "manifest nested 100,000 deep", (double.OCI_MANIFEST, b'{"a":' * 100_000 + b"1" + b"}" * 100_000, {}), ""
        yield "manifest of values without end", (double.OCI_MANIFEST, made()[1][:-1] + b', "x": [' + b"0," * MIB + b"0]}", made()[2]), "more than 200000 values"
        yield "manifest that is no JSON", (double.OCI_MANIFEST, b"\x00\xff{", {}), ""
        yield "manifest that is a list", (double.OCI_MANIFEST, b"[]", {}), ""
        yield "CVE-2021-21285 a manifest of null", (double.OCI_MANIFEST, b"null", {}), ""
        yield "CVE-2021-21285 members of null", made(layers=[None], config=None), ""
        yield "CVE-2021-21285 config of null", (double.OCI_MANIFEST, b'{"schemaVersion":2,"config":null,"layers":null}', {}), ""
        yield "CVE-2021-41190 in another spelling", made({"Manifests": [described(image.manifest)]}), "an image manifest and an index at once"
        yield "an index that holds itself", (double.OCI_INDEX, json.dumps({"schemaVersion": 2, "manifests": [
            {"mediaType": double.OCI_INDEX, "digest": "sha256:" + "1" * 64, "size": 100}]}).encode(), {}), ""
        yield "an index of 20,000", (double.OCI_INDEX, json.dumps({"schemaVersion": 2, "manifests": [described(image.manifest)] * 20_000}).encode(), {}), "20000 entries"
        for kind in ("", "text/html", "application/vnd.oci.image.manifest.v2+json", "x" * 4000):
            yield f"media type {kind[:50]!r}", made(kind=kind or "-", mediaType=kind or "-"), ""

    def test_documents_by_pull(self):
        registry = double.Double(self.daemon.holder.pid)
        self.addCleanup(registry.close)
        for number, (name, (kind, manifest, blobs), say) in enumerate(self.documents_of_a_registry()):
            registry.blobs.update(blobs)
            registry.manifests[f"x{number}", "1"] = (kind, manifest)
            if not self.attack(name, say, "POST", f"/images/create?fromImage={registry.authority}/x{number}&tag=1"):
                self.docker("image", "prune", "-af")
        self.is_clean()


    def test_a_diff_id_gives_no_other_images_files(self):
        """Who names a layer that is unpacked here brings its blob, too, or gets nothing of it."""
        secret, junk = entry("secret", b"private") + END, entry("junk", b"x") + END
        self.send("POST", "/images/create?fromSrc=-&repo=private", secret)
        diff = double.digest_of(secret)
        config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["x"]}, "rootfs": {"type": "layers", "diff_ids": [diff]}}).encode()
        why = f"layer has the diff ID {double.digest_of(junk)}, expected {diff}"
        for place, name in (("layer.tar", why), ("config.json", "is no tar")):
            manifest = json.dumps([{"Config": "config.json", "RepoTags": ["evil:1"], "Layers": [place]}]).encode()
            self.attack(place, name, "POST", "/images/load", entry("layer.tar", junk) + entry("config.json", config) + entry("manifest.json", manifest) + END)
        registry = double.Double(self.daemon.holder.pid)
        self.addCleanup(registry.close)
        # The second blob is stored when it is named: by an image of its own.
        own = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [double.digest_of(junk)]}}).encode()
        twice = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [double.digest_of(junk), diff]}}).encode()
        blob = gzip.compress(junk, mtime=0)
        registry.blobs.update({double.digest_of(data): data for data in (blob, config, own, twice)})
        for name, document, count, say in (("evil", config, 1, double.digest_of(junk)), ("own", own, 1, None), ("evil", config, 1, double.digest_of(junk)), ("twice", twice, 2, "has the diff IDs")):
            manifest = json.dumps({"schemaVersion": 2, "mediaType": double.OCI_MANIFEST, "config": described(document, "application/vnd.oci.image.config.v1+json"),
                                   "layers": [described(blob, "application/vnd.oci.image.layer.v1.tar+gzip")] * count}).encode()
            registry.manifests[name, "1"] = (double.OCI_MANIFEST, manifest)
            self.attack(name, say, "POST", f"/images/create?fromImage={registry.authority}/{name}&tag=1")
        self.is_clean()


class FullDisk(Case):
    """A layer is bounded by the disk: where there is no room it is refused, and the room is there again."""

    room = 192 * MIB

    @classmethod
    def setUpClass(cls):
        find = 'for word; do [ "$last" != --data-root ] || data=$word; last=$word; done; '
        small = f'{find} mkdir -p "$data" && mount -t tmpfs -o size={cls.room} none "$data" && exec "$@"'
        cls.daemon = Daemon(before=["unshare", "-m", "sh", "-c", small, "sh"])
        cls.addClassCleanup(cls.daemon.close)

    def free(self):
        place = os.statvfs(f"/proc/{self.daemon.process.pid}/root{self.daemon.root}/data")
        return place.f_bavail * place.f_frsize

    def test_a_bomb(self):
        registry = double.Double(self.daemon.holder.pid)
        self.addCleanup(registry.close)
        image = double.Image([])
        layer = image._blob("application/vnd.oci.image.layer.v1.tar+gzip", bomb(1 << 30))
        config = image._blob("application/vnd.oci.image.config.v1+json", json.dumps(
            {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]}}).encode())
        image.manifest = json.dumps({"schemaVersion": 2, "mediaType": double.OCI_MANIFEST, "config": config, "layers": [layer]}).encode()
        image.digest = double.digest_of(image.manifest)
        registry.add("bomb", "1", image)
        before = self.free()
        with tempfile.NamedTemporaryFile(dir="/var/tmp") as tar, tempfile.NamedTemporaryFile(dir="/var/tmp") as archive:
            tar.write(image.blobs[layer["digest"]])
            tar.flush()
            archive.write(entry("layer.tar", image.blobs[layer["digest"]]) + entry("config.json", image.blobs[config["digest"]]) +
                          entry("manifest.json", json.dumps([{"Config": "config.json", "RepoTags": ["bomb:1"], "Layers": ["layer.tar"]}]).encode()) + END)
            archive.flush()
            self.docker("create", "--name", "cc", "busybox", "true")
            copy = ("sh", "-c", f"gzip -dc {tar.name} | {DOCKER} cp - cc:/tmp")
            for words in (("import", tar.name, "bomb:2"), ("load", "-i", archive.name), ("pull", f"{registry.authority}/bomb:1"), copy):
                done = run(*words, check=False, env=self.daemon.environment()) if words is copy else self.docker(*words, check=False)
                self.assertNotEqual(done.returncode, 0, words)
                # What is copied into a container that does not run is kept beside it before it is unpacked.
                self.assertIn("keep what is sent in" if words is copy else "zeros: write file", done.stderr)
                self.assertIn("No space left on device", done.stderr)
                wait_until("the room is there again", lambda: self.free() > before - 2 * MIB)
                self.assertEqual(self.out("run", "--rm", "busybox", "echo", "works"), "works")


    def test_a_removal_that_failed(self):
        """Where the disk is too full to note that a container is gone, it can be removed when there is room."""
        place = pathlib.Path(f"/proc/{self.daemon.process.pid}/root{self.daemon.root}/data/filler")
        self.docker("create", "--name", "cc", "busybox", "true")
        with open(place, "wb") as filler:
            try:
                while filler.write(bytes(65536)):
                    filler.flush()
            except OSError:
                pass
            try:
                while os.write(filler.fileno(), b"x"):
                    pass
            except OSError:
                pass
        done = self.docker("rm", "cc", check=False)
        place.unlink()
        if done.returncode != 0:  # what the database had in reserve may have been enough
            self.assertIn("database or disk is full", done.stderr)
            self.docker("rm", "cc")
        self.assertEqual(self.out("ps", "-aq"), "")
        self.docker("create", "--name", "cc", "busybox", "true")


class Configurations(Case):
    """What an image's configuration asks for is data: it never names a file of the host, and no command of the host runs by it."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.marker = pathlib.Path(tempfile.mkdtemp(prefix="grua-canary-", dir="/var/tmp"))
        cls.addClassCleanup(shutil.rmtree, cls.marker)

    def image(self, name, *changes):
        options = [word for change in changes for word in ("-c", change)]
        self.docker("create", "--name", "maker", "busybox", "true")
        self.docker("commit", *options, "maker", name)
        self.docker("rm", "maker")
        self.addCleanup(self.docker, "rmi", "-f", name, check=False)

    def test_CVE_2019_16884_a_volume_over_proc(self):
        for place in ("/proc", "/proc/self/attr", "/sys", "/"):
            self.image("evil:1", f'VOLUME ["{place}"]')
            done = self.docker("run", "--rm", "evil:1", "sh", "-c", "stat -f -c %t /proc; cat /proc/sys/kernel/ostype", check=False)
            self.assertTrue(done.returncode != 0 or done.stdout.startswith("9fa0\nLinux"), (place, done.stdout, done.stderr))

    def root(self, changed):
        """Imports busybox with what `changed` does to its entries as evil:1."""
        self.docker("create", "--name", "maker", "busybox", "true")
        with tempfile.NamedTemporaryFile(suffix=".tar") as plain, tempfile.NamedTemporaryFile(suffix=".tar") as evil:
            self.docker("export", "-o", plain.name, "maker")
            self.docker("rm", "maker")
            with tarfile.open(plain.name) as source, tarfile.open(evil.name, "w") as target:
                for member in changed(source.getmembers()):
                    target.addfile(member, source.extractfile(member) if member.isreg() and member.size else None)
            self.docker("import", evil.name, "evil:1")
        self.addCleanup(self.docker, "rmi", "-f", "evil:1", check=False)

    def test_CVE_2019_19921_proc_is_a_link_to_a_volume(self):
        def changed(members):
            yield from (member for member in members if member.name.strip("/").split("/")[0] != "proc")
            link = tarfile.TarInfo("proc")
            link.type, link.linkname = tarfile.SYMTYPE, "evil"
            yield link

        self.root(changed)
        self.docker("run", "--rm", "-v", "fake:/v", "busybox", "sh", "-c", "mkdir -p /v/self/attr /v/sys/kernel; echo fake > /v/sys/kernel/ostype")
        self.addCleanup(self.docker, "volume", "rm", "-f", "fake")
        for where in ("/evil", "/proc", "/evil/self/attr"):
            done = self.docker("run", "--rm", "-v", f"fake:{where}", "evil:1", "sh", "-c", "stat -f -c %t /proc; cat /proc/sys/kernel/ostype", check=False)
            self.assertTrue(done.returncode != 0 or done.stdout.startswith("9fa0\nLinux"), (where, done.stdout, done.stderr))

    def test_CVE_2025_24965_no_configuration_is_in_the_image(self):
        """Files that other runtimes would take for theirs are files like others."""
        def changed(members):
            yield from members
            for name in (".krun_config.json", ".krun_vm.json", "config.json", ".dockerenv", ".containerenv", "run/.containerenv", "etc/grua/daemon.json"):
                link = tarfile.TarInfo(name)
                link.type, link.linkname = tarfile.SYMTYPE, str(self.marker / "made")
                yield link

        self.root(changed)
        done = self.docker("run", "--rm", "evil:1", "echo", "asked for", check=False)
        self.assertTrue(done.returncode != 0 or done.stdout == "asked for\n", done.stderr)
        self.assertFalse((self.marker / "made").exists())

    def test_CVE_2022_23648_a_volume_that_climbs(self):
        """The files that fill a new volume are the image's, whatever its path says."""
        secret = self.marker / "secret"
        secret.write_text("the host's")
        up = "/" + "../" * 12
        self.docker("run", "--name", "linked", "busybox", "ln", "-s", str(self.marker), "/link")
        self.docker("commit", "-c", 'VOLUME ["/link"]', "linked", "evil:1")
        for name, place in (("evil:1", "/link"), ("evil:2", f"{up}{self.marker}")):
            if name == "evil:2":
                self.image(name, f'VOLUME ["{place}"]')
            done = self.docker("run", "--rm", name, "sh", "-c", f"cat {place}/secret /link/secret; ls -A {place}", check=False)
            self.assertNotIn("the host's", done.stdout + done.stderr)
        self.assertEqual([path.name for path in self.marker.iterdir()], ["secret"])

    def test_CVE_2026_53488_labels_are_data(self):
        command = f"$(touch {self.marker}/ran); `touch {self.marker}/ran`"
        self.image("evil:1", f'LABEL org.systemd.property.ExecStart="{command}" io.kubernetes.cri-o.x="{command}" run.oci.handler="/bin/sh" '
                             f'org.opencontainers.image.title="{command}"')
        for _ in range(2):
            self.docker("run", "--rm", "evil:1", "true")
        spec = self.docker("run", "--rm", "evil:1", "cat", "/proc/self/mountinfo").stdout
        self.assertNotIn("touch", spec)
        self.assertFalse((self.marker / "ran").exists())

    def test_CVE_2024_3154_annotations_set_no_property(self):
        done = self.docker("run", "--rm", "--annotation", f"org.systemd.property.ExecStartPost=/bin/touch {self.marker}/ran", "busybox", "true", check=False)
        self.assertIn(done.returncode, (0, 125), done.stderr)
        self.assertFalse((self.marker / "ran").exists())

    def test_CVE_2020_1726_a_volume_keeps_its_files(self):
        self.docker("run", "--rm", "-v", "kept:/etc", "busybox", "sh", "-c", "rm -rf /etc/* 2>/dev/null; echo mine > /etc/mine")
        self.addCleanup(self.docker, "volume", "rm", "-f", "kept")
        self.assertEqual(self.docker("run", "--rm", "-v", "kept:/etc", "busybox", "cat", "/etc/mine").stdout, "mine\n")
        self.docker("run", "--rm", "-v", "kept:/bin/../v", "busybox", "true", check=False)
        self.assertEqual(self.docker("run", "--rm", "-v", "kept:/v", "busybox", "cat", "/v/mine").stdout, "mine\n")

    def test_CVE_2020_14370_environments_are_their_own(self):
        self.docker("run", "-d", "--name", "one", "-e", "SECRET=1", "busybox", "sleep", "1000")
        self.docker("exec", "-e", "OTHER=2", "one", "true")
        self.assertNotIn("SECRET", self.docker("run", "--rm", "busybox", "env").stdout)
        self.assertNotIn("OTHER", self.docker("exec", "one", "env").stdout)

    def test_CVE_2021_41091_the_data_root_is_closed(self):
        data = pathlib.Path(self.daemon.root) / "data"
        done = run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c",
                   f"ls {data}; ls {data}/layers; ls {data}/layers/l; ls {data}/containers; ls {data}/content; cat {data}/grua.db", check=False)
        self.assertEqual(done.stdout, "")

    def test_GHSA_x86f_5xw2_fm2r_no_helper_of_the_container_unpacks(self):
        """An archive that is copied in is inflated by gruad itself, never by programs that the container has."""
        self.docker("run", "-d", "--name", "trap", "-v", f"{self.marker}:/m", "busybox", "sh", "-c",
                    "for p in xz unpigz pigz gzip zstd igzip bzip2; do for d in /bin /usr/bin /usr/local/bin; do mkdir -p $d; rm -f $d/$p; "
                    "printf '#!/bin/sh\\ntouch /m/ran\\n' > $d/$p; chmod 755 $d/$p; done; done; touch /ready; sleep 1000")
        wait_until("the trap is there", lambda: self.docker("exec", "trap", "ls", "/ready", check=False).returncode == 0)
        with tempfile.TemporaryDirectory() as work:
            path = pathlib.Path(work) / "t"
            for data in (gzip.compress(entry("f", b"x") + END), b"\xfd7zXZ\0" + bytes(100), b"BZh9" + bytes(100)):
                path.write_bytes(data)
                run("curl", "-s", "-T", path, "--unix-socket", self.daemon.socket, "http://d/containers/trap/archive?path=/tmp")
        self.assertFalse((self.marker / "ran").exists())

    def test_CVE_2021_20291_a_crafted_image_blocks_nobody(self):
        """A layer listed many times, pulled by several at once, beside one that fails: no lock is kept."""
        registry = double.Double(self.daemon.holder.pid)
        self.addCleanup(registry.close)
        image = double.Image([50_000])
        layer, config = image.layers[0], json.loads(image.blobs[image.config["digest"]])
        config["rootfs"]["diff_ids"] *= 40
        image.config = image._blob("application/vnd.oci.image.config.v1+json", json.dumps(config).encode())
        image.manifest = json.dumps({"schemaVersion": 2, "mediaType": double.OCI_MANIFEST, "config": image.config, "layers": [layer] * 40}).encode()
        image.digest = double.digest_of(image.manifest)
        registry.add("same", "1", image)
        broken = double.Image([50_000], seed=1)
        registry.add("broken", "1", broken)
        registry.fault = lambda handler, kind, name: kind == "blobs" and name == broken.config["digest"] and (registry.send(handler, 200, b"evil"), True)[1]
        pulls = [threading.Thread(target=self.docker, args=("pull", "-q", f"{registry.authority}/{name}:1"), kwargs={"check": False, "timeout": 30})
                 for name in ("same", "broken") * 4]
        for each in pulls:
            each.start()
        for each in pulls:
            each.join(60 * PATIENCE)
            self.assertFalse(each.is_alive())
        self.docker("rmi", "-f", f"{registry.authority}/same:1", check=False)
        self.assertEqual(self.docker("run", "--rm", "busybox", "echo", "works").stdout, "works\n")


if __name__ == "__main__":
    import unittest
    unittest.main()
