"""Layers as erofs images: the suites of images once more on gruad --layer-format erofs, and what only images can meet."""

import os
import pathlib
import signal
import subprocess

import image_crash_test
import images_test
import roundtrip_test
from harness import Case, busybox_image, wait_until

OPTIONS = ("--layer-format", "erofs")


class RoundTrips(roundtrip_test.RoundTrips):
    options = OPTIONS


class Images(images_test.Images):
    options = OPTIONS


class Crashes(image_crash_test.Crashes):
    options = OPTIONS


class Erofs(Case):
    options = OPTIONS

    def layers(self):
        folder = pathlib.Path(self.daemon.root) / "data/layers/l"
        return sorted(folder.iterdir(), key=lambda path: int(path.name))

    def test_a_layer_is_one_file(self):
        self.assertTrue(all(path.is_file() for path in self.layers()))
        self.assertEqual(self.out("run", "--rm", "busybox", "sh", "-c", "echo new > /etc/made && cat /etc/made"), "new")
        self.assertNotIn("erofs", pathlib.Path("/proc/self/mounts").read_text())

    def test_containers_outlive_gruad(self):
        self.docker("run", "-d", "--name", "cc", "busybox", "sleep", "1000")
        pid = self.daemon.inspect("cc")["State"]["Pid"]
        self.daemon.kill()
        self.assertGreater(len(os.listdir(f"/proc/{pid}/root/bin")), 10)
        self.daemon.start()
        self.assertEqual(self.out("exec", "cc", "echo", "goes on"), "goes on")
        self.assertEqual(self.daemon.inspect("cc")["State"]["Pid"], pid)
        self.docker("restart", "-t", "0", "cc")
        self.assertEqual(self.out("exec", "cc", "echo", "and on"), "and on")

    def test_removed_with_its_image(self):
        before = self.layers()
        self.docker("run", "--name", "cc", "busybox", "sh", "-c", "echo x > /x")
        self.docker("commit", "cc", "more:1")
        self.assertEqual(self.out("run", "--rm", "more:1", "cat", "/x"), "x")
        self.docker("rm", "cc")
        self.docker("rmi", "more:1")
        self.assertEqual(self.layers(), before)
        wait_until("the trash is empty", lambda: not os.listdir(pathlib.Path(self.daemon.root) / "data/layers/trash"))
        held = [os.readlink(path) for path in pathlib.Path(f"/proc/{self.daemon.process.pid}/fd").iterdir() if path.is_symlink()]
        self.assertFalse([path for path in held if "(deleted)" in path and "/layers/" in path])

    def test_formats_side_by_side(self):
        """What is there stays what it is; a container may stand on both."""
        self.daemon.stop()
        options = self.daemon.options
        try:
            self.daemon.options = tuple("tree" if word == "erofs" else word for word in options)
            self.daemon.start()
            self.docker("run", "--name", "cc", "busybox", "sh", "-c", "echo x > /x")
            self.docker("commit", "cc", "mixed:1")
            self.docker("rm", "cc")
            self.assertEqual({path.is_dir() for path in self.layers()}, {True, False})
            self.assertEqual(self.out("run", "--rm", "mixed:1", "cat", "/x"), "x")
        finally:
            self.daemon.stop()
            self.daemon.options = options
            self.daemon.start()
        self.assertEqual(self.out("run", "--rm", "mixed:1", "cat", "/x"), "x")
        self.docker("rmi", "mixed:1")

    def test_damage_is_found_and_repaired(self):
        image = self.layers()[0]
        with open(image, "r+b") as file:
            file.seek(4096 * 20)
            file.write(b"damage" * 700)
        found = self.grua("system", "check", check=False)
        self.assertNotEqual(found.returncode, 0)
        self.assertIn("contents differ", found.stdout + found.stderr)
        self.grua("system", "check", "--repair")
        self.grua("system", "check")
        self.assertEqual(self.out("run", "--rm", "busybox", "echo", "whole"), "whole")
