"""What goes in comes out: images with all that a file system can have, through grua and back, with skopeo, umoci, GNU tar and dockerd as referees."""

import hashlib
import io
import json
import os
import pathlib
import shutil
import tarfile
import tempfile
import unittest

from files_test import listing, make_odd_tree
from harness import CACHE, DOCKER, ENV, Case, run

CLIENTS = CACHE / "clients"


def blobs_of(archive):
    """{digest: size} of the blobs in an OCI layout's tar, each checked; and the images' names with their targets."""
    out, names = {}, {}
    with tarfile.open(archive) as tar:
        for entry in tar:
            parts = entry.name.split("/")
            if entry.isfile() and parts[0] == "blobs":
                digest = hashlib.sha256(tar.extractfile(entry).read()).hexdigest()
                assert digest == parts[2], entry.name
                out["sha256:" + digest] = entry.size
            if entry.name == "index.json":
                for one in json.load(tar.extractfile(entry))["manifests"]:
                    names[one.get("annotations", {}).get("io.containerd.image.name", "")] = one["digest"]
    return out, names


class RoundTrips(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        run(ENV / "clients.sh", CLIENTS, "skopeo", "umoci", "dockerd", timeout=600)
        cls.work = pathlib.Path(tempfile.mkdtemp(prefix="grua-roundtrip-", dir=os.environ.get("GRUA_TEST_DIR", "/var/tmp")))
        cls.addClassCleanup(shutil.rmtree, cls.work, ignore_errors=True)
        tree = cls.work / "odd"
        tree.mkdir()
        make_odd_tree(tree)
        for name, options in (("odd", ["-S"]), ("dense", [])):
            run("tar", "-c", *options, "--format=posix", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-f", cls.work / f"{name}.tar", "-C", tree, ".")
        cls.write_changes(cls.work / "changes.tar")
        for kind, options in (("docker", []), ("docker-gzip", ["--gzip"]), ("oci", ["--oci"]), ("oci-zstd", ["--oci", "--zstd"])):
            run(ENV / "oci-image.sh", *options, "--tag", "odd:1", "--cmd", "sh", cls.work / "odd.tar", cls.work / "changes.tar", cls.work / f"{kind}.tar")
        # dockerd loses its own way in sparse entries: what it loaded with them it cannot save.
        run(ENV / "oci-image.sh", "--tag", "odd:1", "--cmd", "sh", cls.work / "dense.tar", cls.work / "changes.tar", cls.work / "dense-image.tar")
        # What both layers make together.
        shutil.rmtree(tree / "d")
        (tree / "z-plain").unlink()
        (tree / "d").mkdir(mode=0o750)
        (tree / "d/new").write_bytes(b"new")
        os.utime(tree / "d/new", ns=(1, 1_700_000_000_000_000_000))
        os.utime(tree / "d", ns=(1, 1_700_000_001_000_000_000))
        cls.tree = tree

    @staticmethod
    def write_changes(path):
        """A layer that hides a file, and everything of a folder."""
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
            def add(name, data=None, mode=0o644, time=1_700_000_000):
                entry = tarfile.TarInfo(name)
                entry.mode, entry.mtime = mode, time
                if data is None:
                    entry.type = tarfile.DIRTYPE
                else:
                    entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data or b""))

            add("d", mode=0o750, time=1_700_000_001)
            add("d/.wh..wh..opq", b"")
            add("d/new", b"new")
            add(".wh.z-plain", b"")

    def tearDown(self):
        super().tearDown()
        self.docker("image", "prune", "-af")

    def layers(self, image="odd:1", host=None):
        words = ["-H", f"unix://{host}"] if host else []
        return json.loads(self.out(*words, "inspect", "--format", "{{json .RootFS.Layers}}", image))

    def exported(self, name):
        """The tree of a container of the image, by export and GNU tar."""
        self.docker("create", "--name", name, "odd:1")
        self.docker("export", "-o", self.work / f"{name}.tar", name)
        out = self.work / name
        out.mkdir()
        run("tar", "-x", "-p", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-f", self.work / f"{name}.tar", "-C", out)
        # What every container has.
        for made in (".dockerenv", "dev", "etc", "proc", "sys"):
            path = out / made
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        return out

    def compare(self, found, but=()):
        """With the tree as it must be; the root's own attributes aside."""
        left, right = listing(self.tree), listing(found)
        self.assertEqual(left.keys(), right.keys())
        for name, what in left.items():
            if name not in but:
                self.assertEqual(what, right[name], name)

    def test_whatever_form_comes_the_tree_is_the_same(self):
        for kind in ("docker", "docker-gzip", "oci", "oci-zstd"):
            with self.subTest(kind):
                self.docker("load", "-q", "-i", self.work / f"{kind}.tar")
                self.compare(self.exported(f"from-{kind}"))
                self.docker("rm", f"from-{kind}")
                self.docker("image", "prune", "-af")

    def test_save_has_the_digests_of_load(self):
        for kind in ("oci", "oci-zstd"):
            with self.subTest(kind):
                self.docker("load", "-q", "-i", self.work / f"{kind}.tar")
                self.docker("save", "-o", self.work / "saved.tar", "odd:1")
                self.docker("image", "prune", "-af")
                came, names = blobs_of(self.work / f"{kind}.tar")
                went, saved_names = blobs_of(self.work / "saved.tar")
                self.assertEqual(came, went)
                self.assertEqual(sorted(names.values()), sorted(saved_names.values()))
                self.docker("load", "-q", "-i", self.work / "saved.tar")
                self.docker("save", "-o", self.work / "again.tar", "odd:1")
                self.assertEqual((self.work / "saved.tar").read_bytes(), (self.work / "again.tar").read_bytes())
                self.docker("image", "prune", "-af")

    def test_skopeo_reads_what_is_saved(self):
        self.docker("load", "-q", "-i", self.work / "oci.tar")
        self.docker("save", "-o", self.work / "saved.tar", "odd:1")
        skopeo = [CLIENTS / "bin/skopeo", "--insecure-policy"]
        for source in (f"oci-archive:{self.work}/saved.tar", f"docker-archive:{self.work}/saved.tar:odd:1"):
            with self.subTest(source):
                shutil.rmtree(self.work / "dir", ignore_errors=True)
                run(*skopeo, "copy", source, f"dir:{self.work}/dir")
                manifest = json.loads((self.work / "dir/manifest.json").read_text())
                config = json.loads((self.work / "dir" / manifest["config"]["digest"].removeprefix("sha256:")).read_text())
                self.assertEqual(config["rootfs"]["diff_ids"], self.layers())
        # And the other way, both forms.
        for target in (f"oci-archive:{self.work}/skopeo-oci.tar:odd:2", f"docker-archive:{self.work}/skopeo-docker.tar:odd:2"):
            run(*skopeo, "copy", f"docker-archive:{self.work}/saved.tar:odd:1", target)
            self.docker("load", "-q", "-i", target.split(":")[1])
            self.assertEqual(self.layers("odd:2"), self.layers())

    def test_umoci_unpacks_the_same_tree(self):
        self.docker("load", "-q", "-i", self.work / "oci.tar")
        self.docker("save", "-o", self.work / "saved.tar", "odd:1")
        layout = self.work / "layout"
        layout.mkdir()
        run("tar", "-x", "-f", self.work / "saved.tar", "-C", layout)
        run(CLIENTS / "bin/umoci", "unpack", "--image", f"{layout}:1", self.work / "bundle")
        self.compare(self.work / "bundle/rootfs")

    def test_dockerd_in_both_directions(self):
        peer = self.work / "peer"
        socket = run(ENV / "peers.sh", "start", "dockerd", peer, timeout=90).stdout.strip().split("\n")[-1]
        self.addCleanup(run, ENV / "peers.sh", "stop", "dockerd", peer, check=False)
        self.docker("load", "-q", "-i", self.work / "dense-image.tar")
        layers = self.layers()
        self.docker("save", "-o", self.work / "ours.tar", "odd:1")
        run(DOCKER, "-H", f"unix://{socket}", "load", "-q", "-i", self.work / "ours.tar", env=self.daemon.environment())
        self.assertEqual(self.layers(host=socket), layers)
        run(DOCKER, "-H", f"unix://{socket}", "save", "-o", self.work / "theirs.tar", "odd:1", env=self.daemon.environment())
        self.docker("image", "prune", "-af")
        self.docker("load", "-q", "-i", self.work / "theirs.tar")
        self.assertEqual(self.layers(), layers)
        self.compare(self.exported("from-dockerd"))


if __name__ == "__main__":
    unittest.main()
