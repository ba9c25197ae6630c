"""A gruad and a registry of their own in one network namespace, for programs of others."""

import os
import pathlib
import shutil
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "system"))

from harness import BIN, DOCKER, ENV, Daemon  # noqa: E402

REGISTRY = "127.0.0.1:5000"  # of the namespace, which is its own


class Engine:
    """`home` is a folder for the programs' HOME and temporary files; the registry is empty, and Docker Hub's mirror."""

    def __init__(self, name):
        self.home = pathlib.Path(tempfile.mkdtemp(prefix=f"grua-{name}-", dir="/var/tmp"))
        (self.home / "tmp").mkdir()
        self.daemon = Daemon("--registry-mirror", f"http://{REGISTRY}")

    def __enter__(self):
        self.daemon.in_netns(ENV / "registry.sh", "start", self.home / "registry", "--port", REGISTRY.rpartition(":")[2])
        return self

    def __exit__(self, *_):
        self.daemon.in_netns(ENV / "registry.sh", "stop", self.home / "registry", check=False)
        self.daemon.close()
        shutil.rmtree(self.home, ignore_errors=True)

    def environment(self, *folders):
        """Of a program that finds these folders, the docker CLI and grua in its PATH."""
        path = [*map(str, folders), str(pathlib.Path(DOCKER).parent), str(BIN), os.environ["PATH"]]
        return {**self.daemon.environment(), "PATH": ":".join(path), "HOME": str(self.home), "TMPDIR": str(self.home / "tmp")}
