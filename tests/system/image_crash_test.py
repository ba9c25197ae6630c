"""gruad killed at each named point of a load, a commit and a removal: what was reported is whole, what was not left nothing."""

import json
import os
import pathlib
import unittest

from harness import Daemon, busybox_image, wait_until

POINTS = ["layers:unpacked", "layers:synced", "layers:renamed", "layers:published", "content:verified", "content:published", "store:file-synced",
          "images:before-commit", "images:committed", "images:before-remove", "layers:row-removed"]


class Crashes(unittest.TestCase):
    options = ()

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(*cls.options)
        cls.addClassCleanup(cls.daemon.close)

    def tags(self):
        images = json.loads(self.daemon.api("GET", "/images/json?all=1")[1])
        return {tag: image["Id"] for image in images for tag in image["RepoTags"] or []}

    def check_is_clean(self):
        done = self.daemon.grua("system", "check", check=False)
        self.assertEqual(done.returncode, 0, done.stdout + self.daemon.tail())
        for line in map(json.loads, self.daemon.api("POST", "/grua/gc?dry-run=1")[1].splitlines()):
            if line.get("kind") in ("blob", "layer"):
                self.assertEqual(line["action"], "keep", line)
        data = pathlib.Path(self.daemon.root / "data")
        for folder in ("layers/staging", "layers/trash", "content/trash"):
            wait_until(f"{folder} is empty", lambda where=data / folder: not os.listdir(where))

    def test_killed_at_each_point(self):
        daemon = self.daemon
        image = self.tags()["busybox:latest"]
        reached = set()
        for point in POINTS:
            with self.subTest(point):
                before = self.tags()
                daemon.stop()
                daemon.start({"GRUA_CRASH_AT": point})
                done = {}
                daemon.docker("rmi", "-f", "busybox", check=False)
                done["load"] = daemon.docker("load", "-q", "-i", busybox_image(), check=False).returncode == 0
                daemon.docker("create", "--name", "maker", "busybox", "true", check=False)
                done["commit"] = daemon.docker("commit", "-c", f"LABEL at={point}", "maker", "made:1", check=False).returncode == 0
                daemon.docker("rm", "maker", check=False)
                done["rmi"] = daemon.docker("rmi", "made:1", check=False).returncode == 0
                if daemon.process.poll() is None:
                    daemon.stop()
                else:
                    reached.add(point)
                daemon.start()
                after = self.tags()
                self.check_is_clean()
                if done["load"]:
                    self.assertEqual(after["busybox:latest"], image)
                for tag in before:
                    self.assertIn(after.get(tag), [before[tag], None])
                daemon.docker("rm", "-f", "maker", check=False)
                daemon.docker("rmi", "-f", "made:1", check=False)
                daemon.docker("load", "-q", "-i", busybox_image())
                self.assertEqual(daemon.docker("run", "--rm", "busybox", "echo", "works").stdout, "works\n")
        self.assertGreaterEqual(len(reached), len(POINTS) - 2, reached)


if __name__ == "__main__":
    unittest.main()
