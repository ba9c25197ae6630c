"""Images as the docker CLI sees them: load, import, list, tag, history, remove."""

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import pathlib
import socket
import subprocess
import tarfile
import tempfile
import unittest

from harness import CACHE, DOCKER, ENV, Case, busybox_image, debian_tar, run


class Images(Case):
    def test_load_prints_the_tag_and_lists_it(self):
        out = self.out("load", "-i", busybox_image())
        self.assertIn("Loaded image: busybox:latest", out)
        self.assertIn("busybox:latest", self.out("images", "--format", "{{.Repository}}:{{.Tag}}").split("\n"))

    def test_load_from_stdin(self):
        with open(busybox_image(), "rb") as archive:
            done = self.docker("load", stdin=archive)
        self.assertIn("Loaded image: busybox:latest", done.stdout)

    def test_load_packed_archives_and_oci_layouts(self):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as work:
            run(ENV / "rootfs.sh", "--busybox", f"{work}/root")
            for kind in (["--oci"], ["--oci", "--zstd"], ["--oci", "--plain"], ["--gzip"]):
                tag = "kind" + "".join(kind).replace("--", "-") + ":1"
                run(ENV / "oci-image.sh", *kind, "--tag", tag, "--cmd", "true", f"{work}/root", f"{work}/image.tar")
                image = pathlib.Path(f"{work}/image.tar")
                for name, pack in (("image.tar.gz", gzip.compress), ("image.tar.bz2", bz2.compress), ("image.tar.xz", lzma.compress)):
                    image.with_name(name).write_bytes(pack(image.read_bytes()))
                for name in ("image.tar", "image.tar.gz", "image.tar.bz2", "image.tar.xz"):
                    self.assertIn(f"Loaded image: {tag}", self.out("load", "-i", f"{work}/{name}"))
                self.docker("run", "--rm", "--network", "none", tag)
                self.docker("rmi", tag)

    def test_broken_archive_is_refused_with_a_reason(self):
        with tempfile.NamedTemporaryFile() as file:
            with open(busybox_image(), "rb") as archive:
                file.write(archive.read(400000))
            file.flush()
            done = self.docker("load", "-i", file.name, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stderr + done.stdout, "unexpected|ends|truncated|short")

    def test_tag_history_inspect_and_rmi(self):
        self.docker("tag", "busybox", "other/name:v1")
        self.assertEqual(self.out("inspect", "--format", "{{.Id}}", "other/name:v1"), self.out("inspect", "--format", "{{.Id}}", "busybox"))
        self.assertIn("layer", self.out("history", "--no-trunc", "busybox"))
        self.assertIn("Untagged: other/name:v1", self.out("rmi", "other/name:v1"))
        done = self.docker("rmi", "other/name:v1", check=False)
        self.assertIn("No such image: other/name:v1", done.stderr)

    def test_image_in_use_is_not_removed(self):
        self.docker("create", "--name", "user", "busybox", "true")
        done = self.docker("rmi", "busybox", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("conflict: unable to remove repository reference", done.stderr)

    def test_import_of_a_debian_root_file_system_runs(self):
        self.docker("import", "--change", 'CMD ["cat","/etc/debian_version"]', debian_tar(), "debian:test", timeout=300)
        self.assertRegex(self.out("run", "--rm", "--network", "none", "debian:test"), r"^12\.")
        self.docker("rmi", "debian:test")

    def test_many_layers(self):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as work:
            run(ENV / "rootfs.sh", "--busybox", f"{work}/root")
            layers = []
            for number in range(130):
                os.makedirs(f"{work}/l{number}/layers")
                open(f"{work}/l{number}/layers/{number}", "w").close()
                layers.append(f"{work}/l{number}")
            run(ENV / "oci-image.sh", "--tag", "many:1", f"{work}/root", *layers, f"{work}/image.tar", timeout=200)
            self.docker("load", "-i", f"{work}/image.tar")
        self.assertEqual(self.out("run", "--rm", "--network", "none", "many:1", "sh", "-c", "ls /layers | wc -l"), "130")
        self.docker("rmi", "many:1")

    def image_of(self, layers, name):
        """A docker-archive; `layers` are lists of (name, content), None for a folder."""
        blobs = []
        for entries in layers:
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode="w") as tar:
                for path, content in entries:
                    info = tarfile.TarInfo(path)
                    info.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
                    info.mode = 0o755
                    info.size = len(content or b"")
                    tar.addfile(info, io.BytesIO(content or b""))
            blobs.append(buffer.getvalue())
        config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/sh"]},
                             "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(blob).hexdigest() for blob in blobs]}}).encode()
        names = [hashlib.sha256(blob).hexdigest() + ".tar" for blob in blobs]
        manifest = json.dumps([{"Config": "config.json", "RepoTags": [name], "Layers": names}]).encode()
        with tempfile.NamedTemporaryFile(suffix=".tar") as file:
            with tarfile.open(fileobj=file, mode="w") as tar:
                for path, data in [*dict(zip(names, blobs)).items(), ("config.json", config), ("manifest.json", manifest)]:
                    info = tarfile.TarInfo(path)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
            file.flush()
            self.docker("load", "-q", "-i", file.name)

    def test_an_image_that_has_a_layer_twice_starts(self):
        """G1"""
        with tempfile.TemporaryDirectory() as work:
            run(ENV / "rootfs.sh", "--busybox", f"{work}/root")
            shell = [("bin/sh", pathlib.Path(f"{work}/root/bin/busybox").read_bytes()), ("bin/cat", pathlib.Path(f"{work}/root/bin/busybox").read_bytes())]
        a, b = [("f", b"of a"), ("a", b"a")], [("f", b"of b"), ("b", b"b")]
        away = [(".wh.f", b""), (".wh.a", b"")]
        for number, (layers, f, names) in enumerate([([a, b, a], "of a", "a b"), ([a, a], "of a", "a"), ([a, away, a], "of a", "a"), ([[], [], a], "of a", "a"),
                                                     ([a, away, b, away], None, "b"), ([[("d", None)], [], [], [("d", None)]], None, "d")]):
            self.image_of([shell, *layers], f"twice:{number}")
            script = "for n in a b d; do [ ! -e /$n ] || printf '%s ' $n; done; [ ! -e /f ] || cat /f"
            self.assertEqual(self.out("run", "--rm", f"twice:{number}", "sh", "-c", script), f"{names} {f or ''}", number)
            with tempfile.NamedTemporaryFile(suffix=".tar") as file:
                self.docker("save", "-o", file.name, f"twice:{number}")
                identity = self.out("inspect", "--format", "{{.Id}} {{.RootFS.Layers}}", f"twice:{number}")
                self.docker("rmi", f"twice:{number}")
                self.docker("load", "-q", "-i", file.name)
                self.assertEqual(self.out("inspect", "--format", "{{.Id}} {{.RootFS.Layers}}", f"twice:{number}"), identity)
        self.assertEqual(self.grua("system", "check", check=False).returncode, 0)

    def test_an_image_of_500_layers_runs(self):
        """G29"""
        with tempfile.TemporaryDirectory() as work:
            run(ENV / "rootfs.sh", "--busybox", f"{work}/root")
            shell = pathlib.Path(f"{work}/root/bin/busybox").read_bytes()
        self.image_of([[("bin/sh", shell), ("bin/ls", shell), ("bin/wc", shell)], *([(f"layers/{n}", b"x")] for n in range(498)), [("layers/.wh.7", b"")]], "deep:1")
        self.assertEqual(self.out("run", "--rm", "--network", "none", "deep:1", "sh", "-c", "ls /layers | wc -l", timeout=120), "497")
        self.docker("rmi", "deep:1")

    def test_an_import_that_breaks_off_gets_no_name(self):
        """B9: the client leaves between two entries, where a tar might end."""
        entry = io.BytesIO()
        with tarfile.open(fileobj=entry, mode="w") as tar:
            info = tarfile.TarInfo("f")
            info.size = 2000
            tar.addfile(info, io.BytesIO(bytes(2000)))
            size = tar.offset
        whole = entry.getvalue()
        for name, body in (("chunked", b"%x\r\n" % size + whole[:size] + b"\r\n"), ("packed", (lambda packed: b"%x\r\n" % len(packed) + packed + b"\r\n")(gzip.compress(whole)[:-4]))):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(self.daemon.socket))
                client.sendall(b"POST /images/create?fromSrc=-&repo=half-%s HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n" % name.encode() + body)
                client.shutdown(socket.SHUT_WR)
                while client.recv(4096):
                    pass
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.daemon.socket))
            client.sendall(b"POST /images/create?fromSrc=-&repo=half-length HTTP/1.1\r\nHost: d\r\nContent-Length: %d\r\n\r\n" % len(whole) + whole[:size])
            client.shutdown(socket.SHUT_WR)
            while client.recv(4096):
                pass
        # All of a stream that has no end, as of `curl … | docker import -`.
        done = subprocess.run([DOCKER, "import", "-", "half-pipe"], input=whole[:size], env=self.daemon.environment(), capture_output=True)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(b"breaks off", done.stderr)
        self.assertEqual(self.out("images", "-q", "half-*"), "")
        subprocess.run([DOCKER, "import", "-", "whole-pipe"], input=whole, env=self.daemon.environment(), check=True, capture_output=True)

    def test_no_such_image(self):
        done = self.docker("run", "--rm", "--pull", "never", "nothing:here", check=False)
        self.assertEqual(done.returncode, 125)
        self.assertIn("No such image: nothing:here", done.stderr)

    def test_what_is_not_built_says_so(self):
        status, body = self.daemon.api("POST", "/v1.44/swarm/init")
        self.assertEqual(status, 501)
        self.assertIn("not implemented", json.loads(body)["message"])
        self.assertEqual(self.daemon.api("GET", "/v1.44/no/such/path")[0], 404)


if __name__ == "__main__":
    unittest.main()
