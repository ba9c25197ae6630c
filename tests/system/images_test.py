"""Images as the docker CLI sees them: load, import, list, tag, history, remove."""

import json
import os
import subprocess
import tempfile
import unittest

from harness import CACHE, ENV, Case, busybox_image, debian_tar, run


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
                run("gzip", "-kf", f"{work}/image.tar")
                for name in ("image.tar", "image.tar.gz"):
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

    def test_no_such_image(self):
        done = self.docker("run", "--rm", "--pull", "never", "nothing:here", check=False)
        self.assertEqual(done.returncode, 125)
        self.assertIn("No such image: nothing:here", done.stderr)

    def test_what_is_not_built_says_so(self):
        status, body = self.daemon.api("POST", "/v1.44/build")
        self.assertEqual(status, 501)
        self.assertIn("not implemented", json.loads(body)["message"])
        self.assertEqual(self.daemon.api("GET", "/v1.44/no/such/path")[0], 404)


if __name__ == "__main__":
    unittest.main()
