"""Images that are not as most are, and that start in Docker."""

import pathlib
import shutil
import tempfile

from harness import ENV, Case, run


class OddImages(Case):
    def image(self, tag, change, *options):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as work:
            root = pathlib.Path(work, "root")
            run(ENV / "rootfs.sh", "--busybox", root)
            change(root)
            run(ENV / "oci-image.sh", "--tag", tag, "--cmd", "sh", *options, root, f"{work}/image.tar")
            self.docker("load", "-q", "-i", f"{work}/image.tar")
        self.addCleanup(self.docker, "rmi", "-f", tag)

    def sh(self, tag, script, *options):
        return self.out("run", "--rm", *options, tag, "sh", "-c", script)

    def test_files_of_ours_where_the_image_has_links_to_nothing(self):  # D1
        def change(root):
            for name in ("resolv.conf", "hosts", "hostname"):
                (root / "etc" / name).unlink(missing_ok=True)
            (root / "etc/resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
            (root / "etc/hosts").symlink_to("/var/lib/hosts")
            (root / "etc/hostname").symlink_to("hostname.real")

        self.image("dangling:1", change)
        out = self.sh("dangling:1", "cat /etc/hostname /var/lib/hosts /run/systemd/resolve/stub-resolv.conf", "--hostname", "box", "--dns", "198.51.100.53")
        self.assertEqual(out.splitlines()[0], "box")
        self.assertIn("localhost", out)
        self.assertIn("198.51.100.53", out)

    def test_a_file_bound_over_a_link_to_nothing(self):  # D1
        self.image("dangling:2", lambda root: (root / "link").symlink_to("/not/there"))
        with tempfile.NamedTemporaryFile(dir="/var/tmp") as file, tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            file.write(b"bound")
            file.flush()
            self.assertEqual(self.sh("dangling:2", "cat /not/there", "-v", f"{file.name}:/link"), "bound")
            self.assertEqual(self.sh("dangling:2", "touch /not/there/x; ls /link", "-v", f"{folder}:/link"), "x")
            self.assertEqual(self.sh("dangling:2", "mount | grep -c ' /not/there/tmp '", "--tmpfs", "/link/tmp"), "1")
        self.assertFalse(pathlib.Path("/not").exists())

    def test_folders_that_are_links(self):  # D1
        def change(root):
            shutil.move(root / "etc", root / "real-etc")
            (root / "etc").symlink_to("real-etc")
            for name in ("sys", "proc"):
                shutil.rmtree(root / name, ignore_errors=True)
                (root / name).symlink_to("elsewhere")
            (root / "data").symlink_to("/not/yet")

        self.image("links:1", change)
        self.assertEqual(self.sh("links:1", "cat /etc/hostname; ls -d /sys/kernel; pwd", "--hostname", "box", "-w", "/data/work").split(), ["box", "/sys/kernel", "/not/yet/work"])

    def test_dev_that_is_a_file(self):  # D1
        def change(root):
            shutil.rmtree(root / "dev", ignore_errors=True)
            (root / "dev").write_text("a file")

        self.image("devfile:1", change)
        self.assertEqual(self.sh("devfile:1", "ls -d /dev/null /dev/pts"), "/dev/null\n/dev/pts")

    def test_what_programs_look_for(self):  # D2
        self.assertEqual(self.sh("busybox", "ls /.dockerenv; readlink /etc/mtab; grep -c ' / ' /etc/mtab").split(), ["/.dockerenv", "/proc/mounts", "1"])
        self.docker("run", "--name", "cc", "busybox", "true")
        self.assertEqual(self.out("diff", "cc"), "")

    def test_an_error_in_two_byte_letters_is_told(self):  # A7
        name = "\u00e4" * 4000
        for words in ((f"/{name}",), (name,), (f"x{name}",), ("-w", f"/{name}"), ("-w", f"/x{name}")):
            done = self.docker("run", "--rm", *(words[:-1]), *([words[-1], "busybox", "true"] if len(words) > 1 else ["--entrypoint", words[-1], "busybox"]),
                               check=False, timeout=20)
            self.assertNotEqual(done.returncode, 0)
            self.assertTrue(done.stderr.strip(), words[0][:20])
        self.docker("run", "-d", "--name", "cc", "busybox", "sleep", "1000")
        for word in (name, f"x{name}"):
            self.assertNotEqual(self.docker("exec", "cc", word, check=False, timeout=20).returncode, 0)
        self.docker("rm", "-f", "cc", timeout=20)

    def test_the_images_user_is_found_through_a_link(self):  # D1
        def change(root):
            shutil.move(root / "etc/passwd", root / "accounts")
            (root / "etc/passwd").symlink_to("../accounts")
            (root / "accounts").write_text("ann:x:1000:1000::/:/bin/sh\n")

        self.image("accounts:1", change)
        self.assertEqual(self.sh("accounts:1", "id -u", "-u", "ann"), "1000")
