"""Power cuts in the middle of builds, as powercut_test makes them: a gruad that starts on what a cut has left has the images that were reported,
its next build is the same as one without the cache, and nothing is left behind.

GRUA_BUILD_CUTS (10) says at how many moments, GRUA_BUILD_CUT_STEPS (12) how much is done while they are recorded. That needs no virtual machine: the
disk is a loop device on a file that keeps a log of itself (tests/env/logdisk.py), and gruad is told of another start of the machine.
"""

import concurrent.futures
import json
import os
import pathlib
import random
import subprocess
import sys
import unittest
import uuid

import powercut_test
from build_kills_test import Project, files_of
from harness import BIN, ENV, PATIENCE, busybox_image, run, wait_until
from powercut_test import SEED

CUTS = int(os.environ.get("GRUA_BUILD_CUTS", "10"))
STEPS = int(os.environ.get("GRUA_BUILD_CUT_STEPS", "12"))
KINDS = {"built": "Dockerfile", "small": "small.Dockerfile"}


class Driver(powercut_test.Driver):
    def __init__(self, steps, seed):
        super().__init__(steps, seed)
        self.project = Project(random.Random(seed))
        self.changes = 0

    def state(self):
        return {**super().state(), "changes": self.changes}

    def change(self):
        self.project.change()
        self.changes += 1

    def have_base(self):
        """What is built stands on it, and it may have been removed."""
        if "busybox:latest" not in self.state()["tags"]:
            self.load()
            self.note_between()

    def grua(self, tag, *words):
        run(BIN / "grua", "build", "-q", "-t", tag, "-f", self.project.path / KINDS[tag], *words, self.project.path, env=self.daemon.environment(), timeout=120)

    def build(self):
        self.have_base()
        self.change()
        self.grua("built")

    def build_anew(self):
        self.have_base()
        self.grua("built", "--no-cache")

    def build_two(self):
        """At once: they share what they have in common."""
        self.have_base()
        self.change()
        both = [subprocess.Popen([BIN / "grua", "build", "-q", "-t", tag, "-f", self.project.path / file, self.project.path], env=self.daemon.environment())
                for tag, file in KINDS.items()]
        for each in both:
            if each.wait() != 0:
                raise AssertionError("a build failed")

    def build_archive(self):
        """No image of it is made here: it comes in as one then."""
        self.have_base()
        archive = self.work / "archive.tar"
        self.grua("small", "--output", f"type=docker,dest={archive}")
        self.note_between()
        run(BIN / "grua", "load", "-i", archive, env=self.daemon.environment())

    def prune(self):
        self.ask("POST", "/build/prune?all=1")

    def note_between(self):
        self.notes.note(done=self.step - 0.5, what="between", state=self.state())
        self.notes.note(begun=self.step, what="between")

    def leave(self):
        """What runs here is no machine that ends."""
        self.daemon.kill()
        self.daemon._end_left_over()
        self.daemon.holder.kill()
        self.project.close()

    def doings(self):
        return {self.build: 5, self.build_anew: 2, self.build_two: 3, self.build_archive: 2, self.rmi: 1, self.prune: 1, self.create: 1, self.collect: 1}


class BuildPowerCuts(powercut_test.PowerCuts):
    driver = pathlib.Path(__file__).resolve()
    cuts, steps = CUTS, STEPS

    @classmethod
    def record(cls):
        """In a mount namespace of its own, which has the disk and its loop device's file."""
        at, mounted, boot = cls.work / "at", cls.work / "mounted", cls.work / "boot"
        at.touch()
        mounted.mkdir()
        boot.write_text(f"{uuid.uuid4()}\n")
        holder = subprocess.Popen(["unshare", "-m", "sh", "-c", "echo; exec sleep infinity"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        cls.addClassCleanup(holder.stdout.close)
        cls.addClassCleanup(holder.wait)
        cls.addClassCleanup(holder.kill)
        holder.stdout.readline()
        inside = ["nsenter", f"--mount=/proc/{holder.pid}/ns/mnt"]
        server = subprocess.Popen([*inside, sys.executable, ENV / "logdisk.py", cls.disk, cls.log, at], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        cls.addClassCleanup(server.stdout.close)
        cls.addClassCleanup(server.wait)
        cls.addClassCleanup(server.kill)
        if server.stdout.readline() != b"ready\n":
            raise AssertionError("the disk with a log is not served")
        device = run(*inside, "losetup", "--show", "-f", at).stdout.strip()
        try:
            run(*inside, "mount", device, mounted)
            run(*inside, "mount", "--bind", boot, "/proc/sys/kernel/random/boot_id")
            done = run(*inside, "env", f"GRUA_TEST_DIR={mounted}", f"GRUA_PATIENCE={PATIENCE}", f"GRUA_BIN={BIN}", f"GRUA_CUT_DEVICE={device}", "PYTHONDONTWRITEBYTECODE=1",
                       sys.executable, cls.driver, "drive", cls.steps, cls.seed, check=False, timeout=60 + 30 * cls.steps)
            wait_until("the disk is nobody's", lambda: run(*inside, "umount", mounted, check=False).returncode == 0, 30)
        finally:
            run(*inside, "losetup", "-d", device, check=False)
            run(*inside, "umount", "-l", at, check=False)
        return done

    def grua(self, sock, *words):
        return run(BIN / "grua", *words, env={**os.environ, "GRUA_HOST": f"unix://{sock}", "DOCKER_CONFIG": str(self.work / "docker-config")}, timeout=180)

    def image(self, sock, tag):
        container = self.grua(sock, "create", tag, "x").stdout.strip()
        archive = self.work / "exported.tar"
        self.grua(sock, "export", "-o", archive, container)
        self.grua(sock, "rm", container)
        return files_of(archive.read_bytes()), json.loads(self.grua(sock, "image", "inspect", tag).stdout)[0]["Config"]

    def api(self, sock, method, target):
        return powercut_test.Api(sock).ask(method, target)

    def project_after(self, changes):
        """As it was in the machine."""
        project = Project(random.Random(self.seed))
        for _ in range(changes):
            project.change()
        return project

    def check_more(self, sock, seen, done, after):
        tags = {tag for image in json.loads(self.api(sock, "GET", "/images/json?all=1")) for tag in image["RepoTags"] or []}
        if "busybox:latest" not in tags:
            self.grua(sock, "load", "-q", "-i", busybox_image())
        project = self.project_after(done["state"]["changes"])
        builds = [["build", "-q", "-f", project.path / file, "-t", f"{tag}:{kind}", *more, project.path]
                  for tag, file in KINDS.items() for kind, *more in (("next",), ("fresh", "--no-cache"))]
        try:
            with concurrent.futures.ThreadPoolExecutor() as pool:
                list(pool.map(lambda words: self.grua(sock, *words), builds))
        finally:
            project.close()
        for tag in KINDS:
            (files, config), (fresh, fresh_config) = self.image(sock, f"{tag}:next"), self.image(sock, f"{tag}:fresh")
            other = {name: (files.get(name), fresh.get(name)) for name in {*files, *fresh} if files.get(name) != fresh.get(name)}
            self.assertEqual((other, config), ({}, fresh_config), f"{tag} after {done.get('what')} → {after.get('what')}")
        checked = self.api(sock, "POST", "/grua/check")
        self.assertEqual(json.loads(checked.splitlines()[-1])["problems"], 0, checked)
        for folder, names in (("contexts", {"index", "tree"}), ("mounts", {"about", "tree"})):
            for each in (seen / "build" / folder).iterdir():
                self.assertEqual(set(os.listdir(each)), names, each)
        self.assertEqual(os.listdir(seen / "layers/staging"), [])


if __name__ == "__main__":
    if sys.argv[1:2] == ["drive"]:
        driver = Driver(int(sys.argv[2]), int(sys.argv[3]))
        try:
            driver.run()
        except BaseException:
            driver.leave()
            raise
    else:
        unittest.main()
