"""Faults at each point on the way of a build: see fault_injection_test."""

import pathlib
import tempfile
import unittest

from fault_injection_test import NOT_FOUND, Faults


class Builds(Faults):
    """A build with all that it makes on the disk: a context, copies, programs, a cache of steps, an image, a record of the history."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="grua-faults-", dir="/var/tmp")
        self.addCleanup(folder.cleanup)
        self.folder_of_it = pathlib.Path(folder.name)
        for name in ("a", "d/b", "d/c"):
            (self.folder_of_it / name).parent.mkdir(exist_ok=True)
            (self.folder_of_it / name).write_text(name)
        (self.folder_of_it / "Dockerfile").write_text(
            "FROM busybox\nCOPY a /a\nCOPY d /d/\nRUN --mount=type=cache,target=/c [ -e /c/x ] || echo known > /c/x; cat /c/x /a > /x\nWORKDIR /made\n")

    def build(self):
        done = self.daemon.docker("build", "-t", "faulty", self.folder_of_it, check=False, timeout=120)
        return done.returncode == 0, done.stderr + done.stdout

    def remove(self, missing_ok=False):
        """All of it, once it has been looked at: the image, what is known for the next build, what was told."""
        if not missing_ok:
            said = self.daemon.docker("run", "--rm", "--network", "none", "faulty", "cat", "/x", "/d/b", "/d/c").stdout
            self.assertEqual(said, "known\nad/bd/c")
        status, text = self.ask("DELETE", "/images/faulty?force=1")
        self.assertIn(status, (200, NOT_FOUND), text)
        self.assertTrue(missing_ok or status == 200, text)
        status, text = self.ask("POST", "/build/prune?all=1")
        self.assertEqual(status, 200, text)

    def test_build(self):
        # What failed may be known half-way; what is pruned after it is all that was kept.
        self.walk(self.build, self.remove, ["build:context-index", "build:receive-file", "build:mount-folder", "build:mount-about", "layers:keep-step", "layers:rename-step",
                                            "images:pack-layer", "images:commit-packed", "images:publish-built", "step:network", "step:points", "store:commit"], at_once=False)


if __name__ == "__main__":
    unittest.main()
