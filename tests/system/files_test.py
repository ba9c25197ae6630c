"""Files of containers: cp, diff, export, commit, with the docker CLI and with grua's own, on trees with all that a file system can have."""

import base64
import contextlib
import hashlib
import http.client
import io
import json
import os
import pathlib
import random
import shutil
import socket
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
import time

from harness import BIN, DOCKER, PATIENCE, Case, run, wait_until

CAPABILITY = bytes([1, 0, 0, 2, 0, 4]) + bytes(14)


def make_odd_tree(root):
    """In `root`, on the host: what tars are bad at."""
    root = os.fsencode(str(root))
    path = lambda name: root + b"/" + name
    os.makedirs(path(b"d/e"))
    for name, text in [(b"plain", b"x"), (b"nanoseconds", b"y"), (b"before-1970", b"z"), (b"new\nline \xff\xfe ='\"\\", b"odd"), (b"d/" + b"l" * 200, b"long" * 9999),
                       (b"d/block", b"b" * 512), (b"d/setuid", b"s"), (b"owned", b"o"), (b"capable", b"c")]:
        with open(path(name), "wb") as file:
            file.write(text)
    with open(path(b"sparse"), "wb") as file:
        file.seek(1 << 20)
        file.write(b"in the middle")
        file.truncate(64 << 20)
    os.symlink(b"l" * 200, path(b"long-link"))
    os.symlink(b"no\nwhere\xff", path(b"d/dangling"))
    os.link(path(b"plain"), path(b"d/also-plain"))
    os.link(path(b"plain"), path(b"z-plain"))
    os.mkfifo(path(b"fifo"), 0o640)
    os.mknod(path(b"null"), 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(path(b"block"), 0o600 | stat.S_IFBLK, os.makedev(259, 70000))
    os.chown(path(b"owned"), 100000, 4000000000)
    os.chown(path(b"long-link"), 70000, 3000000, follow_symlinks=False)
    os.chmod(path(b"d/setuid"), 0o6755)
    os.chmod(path(b"d/e"), 0o1777)
    with contextlib.suppress(OSError):  # An old kernel's tmpfs has no user xattrs.
        os.setxattr(path(b"plain"), b"user.some", b"a\0b=\n")
        os.setxattr(path(b"d"), b"user.folder", b"f")
    os.setxattr(path(b"capable"), b"security.capability", CAPABILITY)
    times = {b"nanoseconds": 1_700_000_000_123_456_789, b"before-1970": -4_500_000_000, b"d/dangling": 1_600_000_000_000_000_042, b"d/e": 1_500_000_000_000_000_001,
             b"plain": 1_650_000_000_000_000_000, b"d": 1_500_000_001_999_999_999}
    for name, when in times.items():
        os.utime(path(name), ns=(1, when), follow_symlinks=False)


def listing(root, times=True):
    """{name: all that is known of it}; names are bytes."""
    root = os.fsencode(str(root))
    inodes, out = {}, {}
    for folder, folders, files in os.walk(root):
        for name in sorted(folders + files):
            path = folder + b"/" + name
            found = os.lstat(path)
            relative = os.path.relpath(path, root)
            kind = stat.S_IFMT(found.st_mode)
            one = [oct(found.st_mode), found.st_uid, found.st_gid, found.st_rdev if kind in (stat.S_IFCHR, stat.S_IFBLK) else 0]
            if times:
                one.append(found.st_mtime_ns)
            if kind == stat.S_IFREG:
                with open(path, "rb") as file:
                    one += [found.st_size, hashlib.sha256(file.read()).hexdigest()]
            if kind == stat.S_IFLNK:
                one.append(os.readlink(path))
            else:
                one.append({key: os.getxattr(path, key) for key in sorted(os.listxattr(path)) if key != "security.selinux"})
            if kind != stat.S_IFDIR and found.st_nlink > 1:
                one.append(("same as", inodes.setdefault((found.st_dev, found.st_ino), relative)))
            out[relative] = one
    return out


class Files(Case):
    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="grua-files-", dir=os.environ.get("GRUA_TEST_DIR", "/var/tmp")))
        self.addCleanup(shutil.rmtree, self.work, ignore_errors=True)

    def tree(self, name):
        out = self.work / name
        out.mkdir()
        return out

    def untar(self, tar, name):
        """By GNU tar, the referee."""
        out = self.tree(name)
        run("tar", "-x", "-p", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-f", tar, "-C", out)
        return out

    def tar(self, folder, name):
        out = self.work / name
        run("tar", "-c", "-S", "--format=posix", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-f", out, "-C", folder, ".")
        return out

    def odd_image(self):
        """An image of the odd tree with a shell in it; the tree for comparison."""
        tree = self.tree("odd")
        make_odd_tree(tree)
        (tree / "bin").mkdir()
        shutil.copy2(self.busybox(), tree / "bin/busybox")
        for name in ("sh", "sleep", "rm", "cat", "ls", "mkdir", "ln", "chmod", "true", "stat", "touch", "mv", "find", "id", "rmdir"):
            os.symlink("busybox", tree / "bin" / name)
        self.docker("import", self.tar(tree, "odd.tar"), "odd:1")
        return tree

    def busybox(self):
        """Out of the test image, by cp."""
        target = self.work / "busybox"
        self.docker("create", "--name", "shell-source", "busybox")
        self.docker("cp", "-L", "shell-source:/bin/busybox", target)
        self.docker("rm", "shell-source")
        return target

    def compare(self, one, other, **how):
        left, right = listing(one, **how), listing(other, **how)
        self.assertEqual(left.keys(), right.keys())
        for name, what in left.items():
            self.assertEqual(what, right[name], name)


class Export(Files):
    def test_everything_comes_out_and_in_again(self):
        tree = self.odd_image()
        self.docker("create", "--name", "odd", "odd:1", "sh")
        self.docker("export", "-o", self.work / "one.tar", "odd")
        out = self.untar(self.work / "one.tar", "out")
        self.compare(tree, out)
        self.assertLess(os.stat(out / "sparse").st_blocks * 512, 1 << 20)
        self.assertLess((self.work / "one.tar").stat().st_size, 8 << 20)
        with open(self.work / "one.tar", "rb") as tar:
            self.docker("import", "-", "odd:2", stdin=tar)
        self.docker("create", "--name", "odd2", "odd:2", "sh")
        self.grua("export", "-o", self.work / "two.tar", "odd2")
        self.assertEqual((self.work / "one.tar").read_bytes(), (self.work / "two.tar").read_bytes())

    def test_a_running_container_without_its_mounts(self):
        self.docker("run", "-d", "--name", "cc", "-v", "vol:/data", "--tmpfs", "/tmp", "busybox", "sh", "-c", "echo v > /data/v; echo t > /tmp/t; echo r > /r; sleep 1000")
        wait_until("it wrote", lambda: self.docker("exec", "cc", "cat", "/r", check=False).stdout == "r\n")
        self.docker("export", "-o", self.work / "e.tar", "cc")
        names = run("tar", "tf", self.work / "e.tar").stdout.split("\n")
        self.assertIn("r", names)
        self.assertIn("data/", names)
        for name in ("data/v", "tmp/t", "proc/1/", "dev/null", "./"):
            self.assertNotIn(name, names)
        self.docker("volume", "rm", "-f", "vol", check=False)

    def test_texts_and_events(self):
        done = self.docker("export", "nobody", check=False)
        self.assertIn("No such container: nobody", done.stderr)
        self.docker("create", "--name", "cc", "busybox")
        since = time.time()
        self.docker("export", "-o", self.work / "e.tar", "cc")
        self.docker("cp", "cc:/bin", self.work / "bin")
        self.docker("cp", self.work / "e.tar", "cc:/tmp/")
        self.docker("commit", "-m", "why", "cc", "made:1")
        events = [json.loads(line) for line in self.out("events", "--since", str(since), "--until", str(time.time()), "--filter", "type=container", "--format", "{{json .}}").split("\n")]
        self.assertEqual([event["Action"] for event in events], ["export", "archive-path", "extract-to-dir", "commit"])
        commit = events[-1]["Actor"]["Attributes"]
        self.assertEqual((commit["comment"], commit["imageRef"]), ("why", "made:1"))
        self.assertTrue(commit["imageID"].startswith("sha256:"))

    def test_a_slow_reader_takes_nothing_from_others(self):
        self.docker("run", "-d", "--name", "cc", "busybox", "sh", "-c", "dd if=/dev/zero of=/big bs=1M count=64; touch /done; sleep 1000")
        wait_until("it wrote", lambda: self.docker("exec", "cc", "ls", "/done", check=False).returncode == 0)
        before = self.daemon.threads()
        clients = [subprocess.Popen(["curl", "-sN", "--unix-socket", str(self.daemon.socket), "http://d/containers/cc/export"], stdout=subprocess.PIPE) for _ in range(12)]
        try:
            for client in clients:
                client.stdout.read(512)
            memory = lambda: int(pathlib.Path(f"/proc/{self.daemon.process.pid}/statm").read_text().split()[1]) * 4096
            self.assertEqual(self.out("run", "--rm", "busybox", "echo", "goes on"), "goes on")
            self.docker("cp", "cc:/bin/busybox", self.work / "sh")
            self.assertLess(memory(), 200 << 20)
        finally:
            for client in clients:
                client.kill()
                client.wait()
                client.stdout.close()
        wait_until("the threads are gone", lambda: self.daemon.threads() <= before + 2)
        self.docker("rm", "-f", "cc")


    def test_removed_while_it_is_read(self):
        """Whoever reads gets all of it; its files go when the last reader has left."""
        trash = pathlib.Path(self.daemon.root) / "data/layers/trash"
        for stay in (0, 1):
            self.docker("run", "-d", "-e", f"STAY={stay}", "--name", "cc", "busybox", "sh", "-c", "mkdir /z; for i in 1 2 3 4 5 6; do dd if=/dev/urandom of=/z/$i bs=1M count=8; done; touch /done; [ $STAY = 0 ] || sleep 1000")
            wait_until("it wrote", lambda: "A /done" in self.out("diff", "cc").split("\n"))
            with subprocess.Popen(["curl", "-sN", "--unix-socket", str(self.daemon.socket), "http://d/containers/cc/export"], stdout=subprocess.PIPE) as client:
                begin = client.stdout.read(512)
                self.docker("rm", "-f", "cc")
                with tarfile.open(fileobj=io.BytesIO(begin + client.stdout.read())) as tar:
                    sizes = {member.name: member.size for member in tar if member.name.startswith("z/") and member.isfile()}
                self.assertEqual(client.wait(), 0)
            self.assertEqual(sizes, {f"z/{i}": 8 << 20 for i in range(1, 7)})
            wait_until("its files are gone", lambda: not os.listdir(trash))

    def test_clients_that_leave_at_once(self):
        """More than there are threads for: none stays behind a pipe that nobody reads."""
        self.docker("run", "-d", "--name", "cc", "busybox", "sh", "-c", "dd if=/dev/zero of=/big bs=1M count=16; touch /done; sleep 1000")
        wait_until("it wrote", lambda: self.docker("exec", "cc", "ls", "/done", check=False).returncode == 0)
        before = self.daemon.threads()
        for path in ("/containers/cc/export", "/containers/cc/archive?path=/"):
            for _ in range(100):
                client = socket.socket(socket.AF_UNIX)
                client.connect(str(self.daemon.socket))
                client.sendall(f"GET {path} HTTP/1.1\r\nHost: d\r\n\r\n".encode())
                client.close()
        wait_until("the threads are gone", lambda: self.daemon.threads() <= before + 2)
        self.docker("export", "-o", self.work / "e.tar", "cc")


    def test_a_connection_that_goes_on(self):
        """One that has asked for a file is idle like others: it does not keep the daemon from ending."""
        self.docker("create", "--name", "cc", "busybox")
        client = http.client.HTTPConnection("d")
        client.sock = socket.socket(socket.AF_UNIX)
        client.sock.connect(str(self.daemon.socket))
        for method in ("HEAD", "GET"):
            client.request(method, "/containers/cc/archive?path=/bin/busybox")
            answer = client.getresponse()
            answer.read()
            self.assertEqual(answer.status, 200)
        started = time.monotonic()
        self.daemon.stop()
        self.assertLess(time.monotonic() - started, 10 * PATIENCE)
        client.close()
        self.daemon.start()


class Copy(Files):
    def programs(self):
        return {"docker": self.docker, "grua": self.grua}

    def result(self, program, *words, **more):
        done = program("cp", *words, check=False, **more)
        text = done.stderr.strip().removeprefix("grua: ")
        return done.returncode, text

    def test_from_a_container_as_docker_does_it(self):
        """The table of docker's manual, with both clients: the same trees, exit codes and texts."""
        self.docker("create", "--name", "cc", "busybox")
        source = self.tree("source")
        (source / "dir/sub").mkdir(parents=True)
        (source / "file").write_text("file")
        (source / "dir/inner").write_text("inner")
        (source / "dir/sub/deep").write_text("deep")
        (source / "link").symlink_to("dir")
        (source / "flink").symlink_to("/s/file")
        (source / "broken").symlink_to("nowhere")
        self.docker("cp", f"{source}/.", "cc:/s")
        cases = [(["cc:/s/file"], "new"), (["cc:/s/file"], "dir"), (["cc:/s/file"], "file"), (["cc:/s/file"], "missing/"), (["cc:/s/file"], "missing/x"), (["cc:/s/file"], "dir/"),
                 (["cc:/s/dir"], "new"), (["cc:/s/dir"], "dir"), (["cc:/s/dir"], "file"), (["cc:/s/dir/."], "new"), (["cc:/s/dir/."], "dir"), (["cc:/s/dir/"], "new"), (["cc:/s/dir/"], "dir"),
                 (["cc:/s/dir/."], "file"), (["cc:/s/link"], "new"), (["cc:/s/link"], "dir"), (["-L", "cc:/s/link"], "new"), (["-L", "cc:/s/link"], "dir"), (["cc:/s/link/"], "new"),
                 (["cc:/s/link/."], "new"), (["-L", "cc:/s/link/."], "dir"), (["-L", "cc:/s/link/"], "dir"), (["cc:/s/flink"], "new"), (["-L", "cc:/s/flink"], "new"), (["-L", "cc:/s/flink"], "dir"),
                 (["-L", "cc:/s/flink"], "file"), (["cc:/s/broken"], "new"), (["-L", "cc:/s/broken"], "new"), (["cc:/s/nothing"], "new"), (["cc:/s/file/"], "new"), (["cc:/s/file/x"], "new"),
                 (["cc:s/dir"], "tolink"), (["cc:/s/dir/../file"], "new"), (["cc:/s/file"], "tobroken"), (["cc:/s/dir"], "tobroken"), (["cc:/s"], "conflict"), (["cc:/"], "all"),
                 (["nobody:/x"], "new"), (["cc:"], "new"), (["/x"], "new"), (["cc:/s/dir"], "cc:/x")]
        for source_words, target in cases:
            outcomes = {}
            for name, program in self.programs().items():
                place = self.tree(f"{name}-{random.random()}")
                (place / "dir").mkdir()
                (place / "file").write_text("old")
                (place / "conflict/s").mkdir(parents=True)
                (place / "conflict/s/dir").write_text("a file in the way")
                (place / "tolink").symlink_to("dir")
                (place / "tobroken").symlink_to("through")
                for path in place.rglob("*"):
                    os.utime(path, ns=(1, 1), follow_symlinks=False)
                where = target if ":" in target else f"{place}/{target}"
                code, text = self.result(program, *source_words, where)
                outcomes[name] = (code, text.replace(str(place), "PLACE").split("\n")[0], listing(place))
                shutil.rmtree(place)
            with self.subTest(source=source_words, target=target):
                code, text, files = outcomes["docker"]
                self.assertEqual(outcomes["grua"][0], code, outcomes["grua"][1])
                if code == 0:
                    # What is put into a folder of the test's own gives it the time of the test.
                    same = lambda tree: {name: what[:4] + what[5:] if name in (b"dir", b"conflict/s", b"conflict") else what for name, what in tree.items()}
                    self.assertEqual(same(outcomes["grua"][2]), same(files))

    def test_into_a_container_as_docker_does_it(self):
        source = self.tree("source")
        (source / "dir/sub").mkdir(parents=True)
        (source / "file").write_text("file")
        (source / "dir/inner").write_text("inner")
        (source / "link").symlink_to("dir")
        (source / "flink").symlink_to(source / "file")
        cases = [(["file"], "new"), (["file"], "dir"), (["file"], "dir/"), (["file"], "file"), (["file"], "missing/"), (["file"], "missing/x"), (["dir"], "new"), (["dir"], "dir"), (["dir"], "file"),
                 (["dir/."], "new"), (["dir/."], "dir"), (["dir/"], "new"), (["dir/"], "dir"), (["dir/."], "file"), (["link"], "new"), (["link"], "dir"), (["-L", "link"], "new"), (["-L", "link"], "dir"),
                 (["link/."], "new"), (["-L", "link/"], "dir"), (["flink"], "new"), (["-L", "flink"], "new"), (["-L", "flink"], "dir"), (["file"], "tolink"), (["dir"], "tolink"), (["file"], "tofile"),
                 (["file"], "tobroken"), (["dir"], "tobroken"), (["dir"], "absolute"), (["nothing"], "new"), (["file"], "dir/../named"), (["."], "whole"), (["file"], "file/x"), (["dir"], "conflict")]
        self.docker("run", "-d", "--name", "cc", "busybox", "sleep", "1000")
        for words, target in cases:
            outcomes = {}
            for name, program in self.programs().items():
                self.docker("exec", "cc", "sh", "-c", "rm -rf /t; mkdir -p /t/dir /t/conflict; touch -d @1000000 /t/conflict/dir; echo old > /t/file; touch -d @1000000 /t/file; "
                            "cd /t; ln -s dir tolink; ln -s file tofile; ln -s through tobroken; ln -s /t/dir absolute")
                given = [word if word == "-L" else f"{source}/{word}" for word in words]
                code, text = self.result(program, *given, f"cc:/t/{target}")
                place = self.tree(f"{name}-{random.random()}")
                self.docker("cp", "cc:/t", place)
                outcomes[name] = (code, text.split("\n")[0], listing(place))
                shutil.rmtree(place)
            with self.subTest(source=words, target=target):
                code, text, files = outcomes["docker"]
                self.assertEqual(outcomes["grua"][0], code, (text, outcomes["grua"][1]))
                left, right = ({key: [part for at, part in enumerate(what) if at != 4] for key, what in tree.items()} for tree in (files, outcomes["grua"][2]))
                self.assertEqual(left, right)

    def test_everything_through_both_clients(self):
        """The odd tree into a container and out of it again; device nodes and owners need the tar form."""
        tree = self.tree("odd")
        make_odd_tree(tree)
        tar = self.tar(tree, "odd.tar")
        self.docker("run", "-d", "--name", "cc", "busybox", "sleep", "1000")
        for name, program in self.programs().items():
            self.docker("exec", "cc", "sh", "-c", "rm -rf /t; mkdir /t")
            with open(tar, "rb") as file:
                program("cp", "-", "cc:/t", stdin=file)
            with open(self.work / f"{name}.tar", "wb") as file:
                subprocess.run([str(BIN / "grua") if name == "grua" else DOCKER, "cp", "cc:/t/.", "-"], stdout=file, env=self.daemon.environment(), check=True)
            self.compare(tree, self.untar(self.work / f"{name}.tar", f"out-{name}"))
        # Folder to folder by grua's client: only owners cannot come along, as with docker's.
        self.grua("cp", "cc:/t", self.work / "direct")
        left, right = listing(tree), listing(self.work / "direct")
        self.assertEqual(left.keys(), right.keys())
        for key, what in left.items():
            self.assertEqual([what[0], what[3:]], [right[key][0], right[key][3:]], key)
        self.grua("cp", tree, "cc:/u")
        with open(self.work / "u.tar", "wb") as file:
            subprocess.run([str(BIN / "grua"), "cp", "cc:/u/.", "-"], stdout=file, env=self.daemon.environment(), check=True)
        self.compare(tree, self.untar(self.work / "u.tar", "out-u"))

    def test_whatever_the_container_does(self):
        """Running, paused, stopped, never started; volumes, binds, tmpfs and network files as the container sees them."""
        (self.work / "bind").mkdir()
        (self.work / "bind/b").write_text("bind")
        self.docker("create", "--name", "cc", "-v", "cp-vol:/data/vol", "-v", f"{self.work}/bind:/bound", "--tmpfs", "/scratch", "busybox", "sleep", "1000")
        (self.work / "put").write_text("put")
        out = lambda path: self.docker("cp", path, self.work / f"got-{random.random()}", check=False)
        got = lambda path: subprocess.run(["tar", "xO"], input=subprocess.run([DOCKER, "cp", path, "-"], capture_output=True, env=self.daemon.environment()).stdout, capture_output=True).stdout.decode()
        self.docker("cp", self.work / "put", "cc:/data/vol/before")
        self.assertEqual(got("cc:/data/vol/before"), "put")
        self.assertEqual(got("cc:/bound/b"), "bind")
        self.docker("start", "cc")
        self.docker("exec", "cc", "sh", "-c", "echo s > /scratch/s; ln -s /data/vol /v; ln -s ../../../../../../bound /b")
        self.assertEqual(got("cc:/scratch/s"), "s\n")
        self.assertEqual(got("cc:/v/before"), "put")
        self.assertEqual(got("cc:/b/b"), "bind")
        self.assertIn("127.0.0.1", got("cc:/etc/hosts"))
        self.assertNotEqual(out("cc:/proc/1/environ").returncode, 0)
        for state in ("pause", "unpause"):
            self.docker(state, "cc")
            self.docker("cp", self.work / "put", f"cc:/data/vol/{state}")
            self.docker("cp", self.work / "put", f"cc:/{state}")
            self.assertEqual(got(f"cc:/data/vol/{state}") + got(f"cc:/{state}"), "putput")
        self.docker("cp", self.work / "put", "cc:/b/written")
        self.assertEqual((self.work / "bind/written").read_text(), "put")
        self.docker("cp", self.work / "put", "cc:/scratch/written")
        self.assertEqual(self.out("exec", "cc", "cat", "/scratch/written", "/pause", "/data/vol/unpause"), "putputput")
        self.docker("stop", "-t", "0", "cc")
        self.assertEqual(got("cc:/data/vol/unpause") + got("cc:/unpause"), "putput")
        self.docker("cp", self.work / "put", "cc:/stopped")
        self.docker("start", "cc")
        self.assertEqual(self.out("exec", "cc", "cat", "/stopped"), "put")
        self.docker("rm", "-f", "cc")
        self.docker("volume", "rm", "cp-vol")

    def test_what_is_read_only(self):
        (self.work / "put").write_text("put")
        self.docker("create", "--name", "cc", "--read-only", "-v", "ro-vol:/ro:ro", "-v", "rw-vol:/rw", "busybox", "sleep", "1000")
        for _ in ("created", "running"):
            for path, text in (("/x", "container rootfs is marked read-only"), ("/ro/x", "mounted volume is marked read-only"), ("/etc/x", "container rootfs is marked read-only")):
                done = self.docker("cp", self.work / "put", f"cc:{path}", check=False)
                # An answer may come while the CLI still sends, which it notes in a line of its own.
                self.assertEqual((done.returncode, done.stderr.strip().splitlines()[-1]), (1, f"Error response from daemon: {text}"))
            self.docker("cp", self.work / "put", "cc:/rw/x")
            # By another way: a link in a folder that may be written.
            tar = io.BytesIO()
            with tarfile.open(fileobj=tar, mode="w") as file:
                link = tarfile.TarInfo("out")
                link.type, link.linkname = tarfile.SYMTYPE, "/ro"
                file.addfile(link)
                file.addfile(tarfile.TarInfo("out/x"))
            done = subprocess.run([DOCKER, "cp", "-", "cc:/rw"], input=tar.getvalue(), capture_output=True, env=self.daemon.environment())
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(b"read-only file system", done.stderr.lower())
            self.docker("start", "cc")
        self.docker("rm", "-f", "cc")
        self.docker("volume", "rm", "ro-vol", "rw-vol")

    def test_texts(self):
        (self.work / "put").write_text("put")
        self.docker("run", "-d", "--name", "cc", "busybox", "sleep", "1000")
        for words, text in [(("cc:/no/such", self.work), "Could not find the file /no/such in container cc"), (("nobody:/x", self.work), "No such container: nobody"),
                            ((self.work / "put", "cc:/no/such/"), "no such directory"), ((self.work / "put", "cc:/no/such/x"), "Could not find the file /no/such in container cc"),
                            ((self.work, "cc:/bin/busybox"), "cannot copy directory")]:
            for program in self.programs().values():
                self.assertIn(text, program("cp", *words, check=False).stderr)
        status, text = self.daemon.api("GET", "/v1.44/containers/cc/archive")
        self.assertEqual((status, json.loads(text)["message"]), (400, "bad parameter: path cannot be empty"))
        put = run("curl", "-s", "-w", "%{http_code}", "-X", "PUT", "--unix-socket", self.daemon.socket, "--data-binary", "@/dev/null", "http://d/containers/cc/archive?path=/bin/busybox").stdout
        self.assertEqual(put, '{"message":"extraction point is not a directory"}\n400')
        head = run("curl", "-sI", "--unix-socket", self.daemon.socket, "http://d/containers/cc/archive?path=/bin/busybox").stdout
        encoded = next(line.split(": ", 1)[1] for line in head.split("\n") if line.lower().startswith("x-docker-container-path-stat"))
        told = json.loads(base64.b64decode(encoded))
        self.assertEqual(sorted(told), ["linkTarget", "mode", "mtime", "name", "size"])
        self.assertEqual((told["name"], told["mode"]), ("busybox", 0o755))

    def test_owners(self):
        """-a: all is the container's user's."""
        self.docker("run", "-d", "--name", "cc", "--user", "7777:8888", "busybox", "sleep", "1000")
        (self.work / "put").write_text("put")
        os.chown(self.work / "put", 1234, 5678)
        for name, program in self.programs().items():
            program("cp", self.work / "put", f"cc:/tmp/{name}")
            program("cp", "-a", self.work / "put", f"cc:/tmp/{name}-a")
            self.assertEqual(self.out("exec", "cc", "stat", "-c", "%u:%g", f"/tmp/{name}", f"/tmp/{name}-a"), "1234:5678\n7777:8888")

    def test_compressed_and_broken_tars(self):
        self.docker("run", "-d", "--name", "cc", "busybox", "sleep", "1000")
        tree = self.tree("in")
        (tree / "f").write_text("text")
        for number, tool in enumerate((["gzip"], ["zstd"], ["xz"], [sys.executable, "-c", "import bz2, sys; sys.stdout.buffer.write(bz2.compress(sys.stdin.buffer.read()))"])):
            (tree / "f").write_text(f"text {number}")
            packed = subprocess.run(tool, input=self.tar(tree, "t.tar").read_bytes(), capture_output=True, check=True).stdout
            subprocess.run([DOCKER, "cp", "-", "cc:/tmp"], input=packed, env=self.daemon.environment(), check=True)
            self.assertEqual(self.out("exec", "cc", "cat", "/tmp/f"), f"text {number}")
        for bad in (b"not a tar at all" * 100, self.tar(tree, "t.tar").read_bytes()[:1300]):
            done = subprocess.run([DOCKER, "cp", "-", "cc:/tmp"], input=bad, env=self.daemon.environment(), capture_output=True)
            self.assertNotEqual(done.returncode, 0, bad[:10])
        for _ in range(5):  # A client that leaves in the middle.
            half = subprocess.Popen([DOCKER, "cp", "-", "cc:/tmp"], stdin=subprocess.PIPE, env=self.daemon.environment(), stderr=subprocess.DEVNULL)
            half.stdin.write(self.tar(tree, "t.tar").read_bytes()[:600])
            half.stdin.flush()
            half.kill()
            half.wait()
            half.stdin.close()
        self.docker("stop", "-t", "0", "cc")  # Nothing holds its lane.

    def test_an_answer_that_comes_early(self):
        """A client that is refused before it has sent all may go on, and then reads why: no broken pipe takes its place."""
        self.docker("create", "--name", "cc", "busybox")
        requests = [("PUT /containers/nobody/archive?path=/", "No such container"), ("PUT /containers/cc/archive", "path cannot be empty"),
                    ("PUT /containers/cc/archive?path=/bin/busybox", "not a directory"), ("PUT /containers/cc/archive?path=/tmp", "not a valid tar"),
                    ("POST /images/load", "not a valid tar"), ("POST /images/create?fromSrc=-", "not a valid tar"), ("POST /containers/create", "Content-Type"),
                    ("POST", "malformed")]
        piece = bytes([255]) * 4096
        for size in (4096, 1 << 20, 64 << 20):
            for request, say in requests:
                with self.subTest(request=request, size=size), socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(60 * PATIENCE)
                    client.connect(str(self.daemon.socket))
                    client.sendall(f"{request} HTTP/1.1\r\nHost: d\r\nContent-Length: {size}\r\n\r\n".encode())
                    for _ in range(size // len(piece)):
                        client.sendall(piece)
                    answer = http.client.HTTPResponse(client)
                    answer.begin()
                    self.assertIn(say, answer.read().decode())

    def test_into_mounted_files(self):
        """What is mounted cannot be replaced, but written."""
        self.docker("run", "-d", "--name", "cc", "busybox", "sleep", "1000")
        (self.work / "hosts").write_text("127.0.0.1 mine\n")
        self.docker("cp", self.work / "hosts", "cc:/etc/hosts")
        self.assertEqual(self.out("exec", "cc", "cat", "/etc/hosts"), "127.0.0.1 mine")

    def test_a_folder_with_a_mount_in_it_stays(self):
        """Replacing it would empty the volume."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("a"))
        (self.work / "a.tar").write_bytes(buffer.getvalue())
        self.docker("run", "--name", "cc", "-v", "kept:/a/b", "busybox", "sh", "-c", "echo data > /a/b/file; [ -e /stay ] && sleep 1000; true")
        self.addCleanup(self.docker, "volume", "rm", "kept", check=False)
        for _ in ("stopped", "running"):
            answer = run("curl", "-s", "--unix-socket", self.daemon.socket, "-T", self.work / "a.tar", "http://d/containers/cc/archive?path=/").stdout
            self.assertIn("busy", json.loads(answer)["message"])
            self.assertEqual(self.out("run", "--rm", "-v", "kept:/v", "busybox", "cat", "/v/file"), "data")
            (self.work / "stay").touch()
            self.docker("cp", self.work / "stay", "cc:/stay")
            self.docker("start", "cc")

    def test_nothing_stays_mounted(self):
        self.docker("run", "-d", "--name", "cc", "busybox", "sleep", "1000")
        before = pathlib.Path(f"/proc/{self.daemon.process.pid}/mountinfo").read_text()
        self.docker("cp", "cc:/bin/busybox", self.work / "sh")
        open_before = self.daemon.at_rest()
        for _ in range(20):
            self.docker("cp", "cc:/bin/busybox", self.work / "sh")
            self.docker("cp", self.work / "sh", "cc:/tmp/")
            self.docker("diff", "cc")
        self.assertEqual(pathlib.Path(f"/proc/{self.daemon.process.pid}/mountinfo").read_text(), before)
        wait_until("no descriptor is left", lambda: self.daemon.descriptors() <= open_before)

    def test_CVE_2019_14271_nothing_of_the_container_is_loaded(self):
        """Libraries of the name service in the container are never mapped, and its programs never run, when a user is looked up."""
        libraries = self.tree("libraries")
        for name in ("libnss_files.so.2", "libnss_compat.so.2", "libnss_dns.so.2", "libc.so.6"):
            (libraries / name).write_bytes(b"\x7fELF not a library")
        self.docker("run", "-d", "--name", "cc", "--user", "nobody", "busybox", "sleep", "1000")
        for folder in ("/lib", "/lib64", "/lib/x86_64-linux-gnu", "/usr/lib"):
            self.docker("exec", "-u", "root", "cc", "mkdir", "-p", folder)
            self.docker("cp", f"{libraries}/.", f"cc:{folder}")
        maps = lambda: {line.split(maxsplit=5)[5].strip() for line in open(f"/proc/{self.daemon.process.pid}/maps") if "/" in line}
        before = maps()
        (self.work / "put").write_text("put")
        for _ in range(3):
            self.docker("cp", "-a", self.work / "put", "cc:/tmp/put")
        uid = self.out("exec", "cc", "id", "-u")
        self.assertEqual(self.out("exec", "cc", "stat", "-c", "%u", "/tmp/put"), uid)
        self.assertEqual(maps(), before)


    def test_after_the_daemon_was_killed(self):
        self.docker("run", "-d", "--name", "cc", "--tmpfs", "/scratch", "busybox", "sh", "-c", "echo t > /scratch/t; echo x > /x; sleep 1000")
        wait_until("it wrote", lambda: self.docker("exec", "cc", "cat", "/x", check=False).stdout == "x\n")
        self.daemon.kill()
        self.daemon.start()
        self.docker("cp", "cc:/scratch/t", self.work / "t")
        self.docker("cp", "cc:/x", self.work / "x")
        self.docker("cp", self.work / "t", "cc:/scratch/back")
        self.assertEqual(((self.work / "t").read_text(), (self.work / "x").read_text(), self.out("exec", "cc", "cat", "/scratch/back")), ("t\n", "x\n", "t"))
        self.assertEqual(self.out("diff", "cc"), "A /scratch\nA /x")

    def test_a_container_that_comes_and_goes(self):
        """Copies and starts side by side: each copy works or says that there is nothing, and the container starts every time."""
        self.docker("create", "--name", "cc", "busybox", "true")
        (self.work / "put").write_text("put")
        ended = threading.Event()
        failures = []

        def copy():
            while not ended.is_set():
                for words in (("cc:/bin/busybox", "/dev/null"), (self.work / "put", "cc:/tmp/put")):
                    done = self.docker("cp", *words, check=False) if words[1] != "/dev/null" else subprocess.run(
                        [DOCKER, "cp", words[0], "-"], env=self.daemon.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                    if done.returncode:
                        failures.append(done.stderr)

        threads = [threading.Thread(target=copy) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(25):
                self.docker("start", "-a", "cc")
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        self.assertEqual(failures, [])


class Changes(Files):
    def changes(self, name):
        text = self.out("diff", name)
        self.assertEqual(self.grua("diff", name).stdout.removesuffix("\n"), text)
        return text.split("\n") if text else []

    def test_a_container_that_changed_nothing(self):
        self.docker("run", "--name", "cc", "busybox", "true")
        self.assertEqual(self.changes("cc"), [])
        self.assertEqual(self.daemon.api("GET", "/v1.44/containers/cc/changes"), (200, "null\n"))

    def test_each_kind(self):
        self.odd_image()
        self.docker("run", "--name", "cc", "odd:1", "sh", "-c",
                    "echo x > /added; rm /plain; rm -r /d/e; mkdir /d/e; touch /d/e/new; chmod 600 /owned; mkdir -p /n/m; touch /n/m/f; chmod 600 /capable; chmod 644 /capable; mv /fifo /moved; ln /nanoseconds /link")
        self.assertEqual(self.changes("cc"), ["A /added", "C /d", "C /d/e", "A /d/e/new", "D /fifo", "A /link", "A /moved", "A /n", "A /n/m", "A /n/m/f", "C /owned", "D /plain"])
        status, text = self.daemon.api("GET", "/v1.44/containers/cc/changes")
        self.assertEqual(json.loads(text)[0], {"Kind": 1, "Path": "/added"})

    def test_the_cost_is_that_of_the_changes(self):
        """An image of 10,000 files: 20 diffs take less of the processor than two walks over all of it."""
        tree = self.tree("many")
        for number in range(100):
            (tree / f"d{number}").mkdir()
            for file in range(100):
                (tree / f"d{number}/f{file}").touch()
        shutil.copy2(self.busybox(), tree / "sh")
        self.docker("import", self.tar(tree, "many.tar"), "many:1")
        self.docker("run", "--name", "cc", "many:1", "/sh", "-c", "echo x > /d5/f5; echo y > /d7/new")

        def used():
            fields = pathlib.Path(f"/proc/{self.daemon.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
            return int(fields[11]) + int(fields[12])

        start = used()
        for _ in range(2):
            self.docker("export", "-o", self.work / "whole.tar", "cc")
        whole = used() - start
        start = used()
        for _ in range(20):
            self.assertEqual(self.daemon.api("GET", "/v1.44/containers/cc/changes")[0], 200)
        self.assertLess(used() - start, whole)
        self.assertEqual(self.changes("cc"), ["C /d5", "C /d5/f5", "C /d7", "A /d7/new"])


class Commit(Files):
    def test_what_ran_runs_again(self):
        self.docker("run", "-d", "--name", "cc", "-e", "A=1", "-w", "/tmp", "busybox", "sh", "-c", "echo data > /made; rm /etc/passwd; sleep 1000")
        wait_until("it wrote", lambda: self.docker("exec", "cc", "cat", "/made", check=False).stdout == "data\n")
        id = self.out("commit", "-m", "why", "-a", "Me <me@example.org>", "-c", 'CMD ["sh", "-c", "cat /made; ls /etc/passwd; pwd; echo $A $B"]', "-c", "ENV B=2", "-c", "LABEL x=y", "cc", "made:1")
        self.assertRegex(id, "^sha256:[0-9a-f]{64}$")
        self.assertEqual(self.out("inspect", "--format", "{{.State.Status}}", "cc"), "running")
        done = self.docker("run", "--rm", "made:1")
        self.assertEqual(done.stdout, "data\n/tmp\n1 2\n")
        self.assertIn("/etc/passwd: No such file", done.stderr)
        image = json.loads(self.out("image", "inspect", "made:1"))[0]
        self.assertEqual((image["Id"], image["Author"], image["Comment"], image["Config"]["Labels"]), (id, "Me <me@example.org>", "why", {"x": "y"}))
        top = self.out("history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Comment}}", "made:1").split("\n")[0]
        self.assertEqual(top, "sh -c echo data > /made; rm /etc/passwd; sleep 1000|why")

    def test_everything_is_in_the_image(self):
        """Commit of a container made of the odd tree: the tree of the image is the tree of the container."""
        self.odd_image()
        self.docker("run", "--name", "cc", "odd:1", "sh", "-c", "touch /d/new; mv /sparse /d/moved; ln /d/setuid /hard; rm /plain; rm -r /d/e; mkdir /d/e; rm /null; mkdir /null; chmod 700 /d")
        self.docker("commit", "cc", "odd:3")
        self.docker("create", "--name", "c3", "odd:3", "sh")
        for name in ("cc", "c3"):
            self.grua("export", "-o", self.work / f"{name}.tar", name)
        trees = [self.untar(self.work / "cc.tar", "a"), self.untar(self.work / "c3.tar", "b")]
        for tree in trees:  # What was only made to mount on is not part of the image.
            for name in ("dev", "etc", "proc", "sys"):
                shutil.rmtree(tree / name, ignore_errors=True)
        self.compare(*trees)
        self.assertEqual(self.out("diff", "c3"), "")

    def test_options(self):
        self.docker("run", "-d", "--name", "cc", "busybox", "sh", "-c", "while :; do date > /now; done")
        since = time.time()
        self.grua("commit", "--no-pause", "cc", "made:2")
        self.grua("commit", "-p=false", "cc")
        self.grua("commit", "-m", "text", "-c", "USER 7", "cc", "made:3")
        actions = self.out("events", "--since", str(since), "--until", str(time.time()), "--filter", "container=cc", "--format", "{{.Action}}").split("\n")
        self.assertEqual([action for action in actions if action in ("commit", "pause", "unpause")], ["commit", "commit", "pause", "unpause", "commit"])
        self.assertEqual(self.out("run", "--rm", "made:3", "id", "-u"), "7")
        for words, text in [((["nobody"]), "No such container: nobody"), (["-c", "FROM x", "cc"], "FROM"), (["cc", "UPPER"], "invalid reference format")]:
            done = self.docker("commit", *words, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn(text, done.stderr)
        self.docker("exec", "cc", "touch", "/.wh.x")
        done = self.docker("commit", "cc", "made:4", check=False)
        self.assertIn("begins with .wh.", done.stderr)
        self.assertEqual(self.out("images", "-q", "made:4"), "")
        self.assertEqual(self.out("inspect", "--format", "{{.State.Status}}", "cc"), "running")

    def test_the_daemon_ends_in_the_middle(self):
        """What was paused for the commit goes on when a gruad is there again; what its user paused stays."""
        self.docker("run", "-d", "--name", "cc", "busybox", "sh", "-c", "for i in 1 2 3 4 5 6 7 8; do dd if=/dev/urandom of=/$i bs=1M count=16; done; touch /done; sleep 1000")
        self.docker("run", "-d", "--name", "still", "busybox", "sleep", "1000")
        self.docker("pause", "still")
        wait_until("it wrote", lambda: self.docker("exec", "cc", "ls", "/done", check=False).returncode == 0)
        status = lambda: self.out("inspect", "--format", "{{.State.Status}}", "cc")
        for end in (self.daemon.kill, self.daemon.stop):
            client = subprocess.Popen([DOCKER, "commit", "cc"], env=self.daemon.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wait_until("it is paused", lambda: status() == "paused")
            end()
            client.wait(20 * PATIENCE)
            self.daemon.start()
            self.assertEqual(status(), "running")
            self.assertEqual(self.docker("exec", "cc", "echo", "on").stdout, "on\n")
        self.assertEqual(self.out("inspect", "--format", "{{.State.Status}}", "still"), "paused")
        self.docker("unpause", "still")

    def test_a_client_that_leaves_in_the_middle(self):
        self.docker("run", "-d", "--name", "cc", "busybox", "sh", "-c", "for i in 1 2 3 4; do dd if=/dev/urandom of=/$i bs=1M count=16; done; touch /done; sleep 1000")
        wait_until("it wrote", lambda: self.docker("exec", "cc", "ls", "/done", check=False).returncode == 0)
        status = lambda: self.out("inspect", "--format", "{{.State.Status}}", "cc")
        client = subprocess.Popen([DOCKER, "commit", "cc"], env=self.daemon.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until("it is paused", lambda: status() == "paused")
        client.kill()
        client.wait()
        wait_until("it goes on", lambda: status() == "running")

    def test_only_the_configuration(self):
        self.docker("create", "--name", "cc", "busybox", "true")
        self.docker("commit", "-c", "CMD echo changed", "cc", "made:5")
        self.assertEqual(self.out("run", "--rm", "made:5"), "changed")
        layers = lambda name: json.loads(self.out("image", "inspect", name))[0]["RootFS"]["Layers"]
        self.assertEqual(layers("made:5"), layers("busybox"))
