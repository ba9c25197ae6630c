"""Volumes with options, and what a container's mounts may say: with the docker CLI, where that has a flag for it."""

import contextlib
import ctypes
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
import unittest

from harness import Case, Daemon, run, wait_until


def mounted_at(path):
    """How often something is mounted there."""
    return sum(line.split()[4] == str(path) for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines())


class Silent:
    """A file system whose server does not answer: whoever looks into it waits."""

    def __init__(self):
        self.place = tempfile.mkdtemp(prefix="grua-silent-", dir="/var/tmp")
        self.device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self.device},rootmode=40000,user_id=0,group_id=0".encode()
        if ctypes.CDLL(None, use_errno=True).mount(b"silent", self.place.encode(), b"fuse", 0, options) != 0:
            os.close(self.device)
            os.rmdir(self.place)
            raise unittest.SkipTest("no FUSE here")

    def close(self):
        os.close(self.device)
        run("umount", "-l", self.place)
        os.rmdir(self.place)


class Volumes(Case):
    def tearDown(self):
        super().tearDown()
        names = self.docker("volume", "ls", "-q").stdout.split()
        if names:
            self.docker("volume", "rm", *names)

    def place(self, name):
        return pathlib.Path(self.out("volume", "inspect", "-f", "{{.Mountpoint}}", name))

    def create(self, name, **options):
        self.docker("volume", "create", *(word for key, value in options.items() for word in ("-o", f"{key}={value}")), name)
        return self.place(name)

    def folder(self):
        path = pathlib.Path(tempfile.mkdtemp(prefix="grua-volume-", dir="/var/tmp"))
        self.addCleanup(shutil.rmtree, path)
        return path

    def test_a_tmpfs_is_there_while_containers_use_it(self):
        place = self.create("memory", type="tmpfs", device="tmpfs", o="size=1m,uid=7,mode=0750")
        self.assertEqual(json.loads(self.out("volume", "inspect", "memory"))[0]["Options"],
                         {"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=7,mode=0750"})
        self.assertEqual(mounted_at(place), 0)
        self.docker("run", "-d", "--name", "aa", "-v", "memory:/x", "busybox", "sleep", "1000")
        self.assertEqual(mounted_at(place), 1)
        self.assertEqual(self.out("exec", "aa", "stat", "-c", "%u %a", "/x"), "7 750")
        self.assertIn("1024", self.out("exec", "aa", "df", "-k", "/x"))
        self.docker("exec", "aa", "sh", "-c", "echo hello > /x/file")
        self.assertEqual(self.out("run", "--rm", "-v", "memory:/y", "busybox", "cat", "/y/file"), "hello")
        self.assertEqual(mounted_at(place), 1)
        self.docker("rm", "-f", "aa")
        self.assertEqual(mounted_at(place), 0)
        self.docker("volume", "rm", "memory")

    def test_a_bind_shows_its_device(self):
        folder = self.folder()
        (folder / "file").write_text("there")
        place = self.create("bound", type="none", device=str(folder), o="bind")
        self.assertEqual(self.out("run", "--rm", "-v", "bound:/x", "busybox", "sh", "-c", "cat /x/file; echo new > /x/made"), "there")
        self.assertEqual((folder / "made").read_text(), "new\n")
        self.assertEqual(mounted_at(place), 0)
        self.create("read", type="none", device=str(folder), o="bind,ro")
        self.assertIn("Read-only", self.docker("run", "--rm", "-v", "read:/x", "busybox", "touch", "/x/y", check=False).stderr)

    def test_a_file_system_on_a_device(self):
        image = self.folder() / "image"
        with open(image, "wb") as file:
            file.truncate(8 << 20)
        run("mkfs.ext4", "-q", image)
        loop = subprocess.run(["losetup", "-f", "--show", str(image)], capture_output=True, text=True, check=False)
        if loop.returncode != 0:
            self.skipTest("no loop devices: " + loop.stderr)
        device = loop.stdout.strip()
        try:
            place = self.create("disk", type="ext4", device=device, o="noatime")
            self.docker("run", "--rm", "-v", "disk:/x", "busybox", "sh", "-c", "echo kept > /x/file")
            self.assertEqual(self.out("run", "--rm", "-v", "disk:/x", "busybox", "cat", "/x/file"), "kept")
            self.assertEqual(mounted_at(place), 0)
            self.docker("volume", "rm", "disk")
        finally:
            run("losetup", "-d", device)

    def test_errors_name_the_volume(self):
        folder = self.folder()
        for name, options, said in (("nowhere", {"type": "none", "device": "/no/such/folder", "o": "bind"}, "no such file or directory"),
                                    ("strange", {"type": "strange-fs", "device": "x"}, "no such device"),
                                    ("words", {"type": "tmpfs", "device": "tmpfs", "o": "flavour=mint"}, "flavour"),
                                    ("server", {"type": "nfs", "device": ":/x", "o": "addr=127.0.0.9,nolock"}, "(server 127.0.0.9)")):
            place = self.create(name, **options)
            done = self.docker("run", "--rm", "-v", f"{name}:/x", "busybox", "true", check=False)
            # The client makes 127 of "no such file or directory", with dockerd as well.
            self.assertIn(done.returncode, (125, 127), done)
            self.assertIn(f"error while mounting volume '{place}': failed to mount local volume: mount {options['device']}:{place}", done.stderr)
            self.assertIn(said, done.stderr)
        for words, said in ((["-o", "foo=bar"], 'invalid option: "foo"'), (["-o", "type=tmpfs"], 'missing required option: "device"'),
                            (["-o", "type=none", "-o", f"device={folder}", "-o", "o=bind,remount"], "remount"),
                            (["-o", "size=10m"], "quota size requested but no quota support"),
                            (["-d", "nosuch"], 'error looking up volume plugin nosuch')):
            self.assertIn(said, self.docker("volume", "create", *words, "bad", check=False).stderr)
        self.assertEqual(self.docker("volume", "inspect", "bad", check=False).returncode, 1)

    def test_the_name_is_enough(self):
        self.create("memory", type="tmpfs", device="tmpfs", o="size=1m")
        self.docker("volume", "create", "-o", "type=none", "-o", "device=/etc", "-o", "o=bind", "memory")
        self.assertEqual(self.out("volume", "inspect", "-f", "{{.Options.type}}", "memory"), "tmpfs")

    def test_options_of_a_mount(self):
        folder = self.folder()
        self.docker("run", "--rm", "--mount", f"type=volume,src=made,dst=/x,volume-driver=local,volume-opt=type=none,volume-opt=device={folder},"
                    "volume-opt=o=bind,volume-label=a=b", "busybox", "touch", "/x/file")
        self.assertTrue((folder / "file").exists())
        self.assertEqual(self.out("volume", "ls", "-q", "--filter", "label=a=b"), "made")
        self.assertEqual(self.out("volume", "ls", "-q", "--filter", "label=a=c"), "")

    def test_an_empty_one_is_filled_where_it_is_mounted(self):
        folder = self.folder()
        self.create("bound", type="none", device=str(folder), o="bind")
        self.docker("create", "--name", "aa", "-v", "bound:/bin", "busybox", "true")
        self.assertTrue((folder / "busybox").exists() or list(folder.iterdir()))
        self.assertEqual(mounted_at(self.place("bound")), 0)
        self.create("bad", type="none", device="/no/such/folder", o="bind")
        done = self.docker("create", "-v", "bad:/bin", "busybox", "true", check=False)
        self.assertIn("failed to populate volume: error while mounting volume", done.stderr)

    def test_a_copy_sees_what_is_mounted(self):
        folder = self.folder()
        (folder / "file").write_text("there")
        self.create("bound", type="none", device=str(folder), o="bind")
        self.docker("create", "--name", "aa", "-v", "bound:/x", "busybox", "true")
        self.assertIn(b"there", subprocess.run(["sh", "-c", f"{self.daemon.docker('version', '-f', 'x').stdout and ''}"
                                                "exec \"$0\" cp aa:/x/file -", str(os.environ.get("GRUA_DOCKER", "/var/tmp/grua-testenv/clients/bin/docker"))],
                                               env=self.daemon.environment(), capture_output=True, check=True).stdout)
        self.assertEqual(mounted_at(self.place("bound")), 0)

    def test_in_use_it_stays(self):
        place = self.create("memory", type="tmpfs", device="tmpfs")
        self.docker("create", "--name", "aa", "-v", "memory:/x", "busybox", "true")
        self.assertIn("volume is in use", self.docker("volume", "rm", "memory", check=False).stderr)
        self.docker("rm", "aa")
        # By somebody else: what is in it is not the volume's to delete.
        run("mount", "-t", "tmpfs", "other", place)
        try:
            (place / "precious").write_text("kept")
            self.assertIn("unmount it first", self.docker("volume", "rm", "memory", check=False).stderr)
            self.assertEqual((place / "precious").read_text(), "kept")
        finally:
            run("umount", place)

    def test_prune_and_df_leave_those_with_options(self):
        self.create("memory", type="tmpfs", device="tmpfs")
        self.docker("volume", "create", "plain")
        self.docker("volume", "create")
        self.assertNotIn("plain", self.out("volume", "prune", "-f"))
        self.assertIn("plain", self.out("volume", "prune", "-f", "--all"))
        self.assertEqual(self.out("volume", "ls", "-q"), "memory")
        self.assertEqual(json.loads(self.daemon.api("GET", "/system/df?type=volume")[1])["Volumes"], [])

    def test_update_is_for_a_swarm(self):
        self.docker("volume", "create", "plain")
        status, body = self.daemon.api("PUT", "/v1.51/volumes/plain?version=1", {})
        self.assertEqual((status, json.loads(body)["message"]), (503, "volume update only valid for cluster volumes, but swarm is unavailable"))

    def test_one_that_does_not_answer_holds_up_nobody(self):
        silent = Silent()
        self.addCleanup(silent.close)
        place = self.create("dead", type="none", device=silent.place + "/x", o="bind")
        self.docker("create", "--name", "waits", "-v", "dead:/x", "busybox", "true")
        starts = [subprocess.Popen([*self.start_words(), "start", "waits"], env=self.daemon.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)]
        self.addCleanup(lambda: [each.kill() or each.wait() for each in starts])
        wait_until("a process mounts", lambda: self.children() != [])
        began = time.monotonic()
        self.docker("run", "--rm", "busybox", "true")
        self.docker("volume", "create", "other")
        self.docker("ps", "-a")
        self.assertIsNone(starts[0].poll(), "it has been mounted")
        self.docker("rm", "-f", "waits", timeout=20)
        self.assertLess(time.monotonic() - began, 20 * float(os.environ.get("GRUA_PATIENCE", "1")))
        self.assertIn(b"called off", starts[0].communicate()[1])
        self.assertEqual(mounted_at(place), 0)
        wait_until("the mounting process ends", lambda: self.children() == [])

    @staticmethod
    def start_words():
        from harness import DOCKER
        return [DOCKER]

    def children(self):
        """Processes of gruad that are gruad still: those that mount."""
        found = []
        for pid in pathlib.Path(f"/proc/{self.daemon.process.pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                for child in pid.read_text().split():
                    with contextlib.suppress(OSError):
                        if os.readlink(f"/proc/{child}/exe").split(" ")[0].endswith("/gruad") and "Z" not in pathlib.Path(f"/proc/{child}/stat").read_text().split()[2]:
                            found.append(child)
        return found


class Killed(unittest.TestCase):
    def setUp(self):
        self.daemon = Daemon()
        self.addCleanup(self.daemon.close)
        self.docker = self.daemon.docker
        self.docker("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "memory")
        self.place = pathlib.Path(self.docker("volume", "inspect", "-f", "{{.Mountpoint}}", "memory").stdout.strip())

    def test_what_a_running_container_has_stays(self):
        self.docker("run", "-d", "--name", "aa", "-v", "memory:/x", "busybox", "sh", "-c", "echo hello > /x/file; sleep 1000")
        self.daemon.kill()
        self.assertEqual(mounted_at(self.place), 1)
        self.daemon.start()
        self.assertEqual(self.docker("run", "--rm", "-v", "memory:/x", "busybox", "cat", "/x/file").stdout, "hello\n")
        self.assertEqual(mounted_at(self.place), 1)
        self.docker("rm", "-f", "aa")
        self.assertEqual(mounted_at(self.place), 0)

    def test_of_one_that_ended_meanwhile_it_goes(self):
        self.docker("run", "-d", "--name", "aa", "-v", "memory:/x", "busybox", "sleep", "1000")
        pid = int(self.docker("inspect", "-f", "{{.State.Pid}}", "aa").stdout)
        self.daemon.kill()
        os.kill(pid, 9)
        self.daemon.start()
        wait_until("it is unmounted", lambda: mounted_at(self.place) == 0)
        self.docker("start", "aa")
        self.assertEqual(mounted_at(self.place), 1)

    def test_between_the_mount_and_the_start(self):
        self.docker("create", "--name", "aa", "-v", "memory:/x", "busybox", "sleep", "1000")
        self.daemon.stop()
        for step in ("start:parts", "start:root", "start:launch", "release:mounts"):
            self.daemon.start(env={"GRUA_CRASH_AT": step})
            self.docker("start", "aa", check=False)
            if step == "release:mounts":
                self.docker("rm", "-f", "aa", check=False)
            wait_until("gruad is killed", lambda: self.daemon.process.poll() is not None)
            self.daemon.start()
            if step == "start:launch":
                self.docker("kill", "aa", check=False)
            wait_until(f"{step}: it is unmounted", lambda: mounted_at(self.place) == 0)
            self.daemon.stop()
        self.daemon.start()
        self.docker("rm", "-f", "aa", check=False)
        self.docker("volume", "rm", "memory")

    def test_a_process_that_mounts_ends_with_gruad(self):
        silent = Silent()
        self.addCleanup(silent.close)
        self.docker("volume", "create", "-o", "type=none", "-o", f"device={silent.place}/x", "-o", "o=bind", "dead")
        self.docker("create", "--name", "aa", "-v", "dead:/x", "busybox", "true")
        client = subprocess.Popen([*Volumes.start_words(), "start", "aa"], env=self.daemon.environment(), stderr=subprocess.DEVNULL)
        self.addCleanup(lambda: client.kill() or client.wait())

        def children():
            return [child for path in pathlib.Path(f"/proc/{self.daemon.process.pid}/task").glob("*/children") for child in path.read_text().split()
                    if os.readlink(f"/proc/{child}/exe").split(" ")[0].endswith("/gruad")]

        mounting = wait_until("a process mounts", children)
        self.daemon.kill()
        wait_until("it ends", lambda: not any(os.path.exists(f"/proc/{pid}") for pid in mounting))
        self.daemon.start()
        self.docker("rm", "-f", "aa")
        self.docker("volume", "rm", "dead")


class Mounts(Case):
    """Fields of Mounts, and --volumes-from."""

    def tearDown(self):
        super().tearDown()
        names = self.docker("volume", "ls", "-q").stdout.split()
        if names:
            self.docker("volume", "rm", *names)

    def create(self, **host):
        status, body = self.daemon.api("POST", "/v1.51/containers/create", {"Image": "busybox", "Cmd": ["true"], "HostConfig": host})
        return status, json.loads(body).get("message", "")

    def test_a_part_of_a_volume(self):
        self.docker("run", "--rm", "-v", "data:/x", "busybox", "sh", "-c", "mkdir -p /x/a/b; echo one > /x/a/b/file; ln -s a /x/link")
        for subpath, path in (("a", "/y/b/file"), ("a/b", "/y/file"), ("link/b", "/y/file"), ("a/../a/b", "/y/file")):
            self.assertEqual(self.out("run", "--rm", "--mount", f"type=volume,src=data,dst=/y,volume-subpath={subpath}", "busybox", "cat", path), "one")
        self.assertEqual(self.out("run", "--rm", "--mount", "type=volume,src=data,dst=/y,volume-subpath=a/b/file", "busybox", "cat", "/y"), "one")
        done = self.docker("run", "--rm", "--mount", "type=volume,src=data,dst=/y,volume-subpath=a,readonly", "busybox", "touch", "/y/z", check=False)
        self.assertIn("Read-only", done.stderr)
        done = self.docker("run", "--rm", "--mount", "type=volume,src=data,dst=/y,volume-subpath=missing", "busybox", "true", check=False)
        self.assertIn("/_data/missing: no such file or directory", done.stderr)
        self.assertIn("cannot access path", done.stderr)
        for mount, said in ((f"type=volume,dst=/y,volume-subpath=a", "must not set Subpath when using anonymous volumes"),
                            ("type=volume,src=data,dst=/y,volume-subpath=../x", "subpath must be a relative path within the volume")):
            self.assertIn(said, self.docker("create", "--mount", mount, "busybox", check=False).stderr)

    def test_a_part_is_filled_and_goes_on_after_a_restart(self):
        self.docker("run", "--rm", "-v", "data:/x", "busybox", "mkdir", "/x/sub")
        self.docker("run", "-d", "--name", "aa", "--mount", "type=volume,src=data,dst=/bin,volume-subpath=sub", "busybox", "sleep", "1000")
        self.assertIn("sub", self.out("run", "--rm", "-v", "data:/x", "busybox", "ls", "/x"))
        self.assertIn("sh", self.out("run", "--rm", "-v", "data:/x", "busybox", "ls", "/x/sub").split())
        self.docker("restart", "-t", "0", "aa")
        self.assertEqual(self.out("exec", "aa", "sh", "-c", "echo runs"), "runs")

    def test_an_image(self):
        words = ("run", "--rm", "--mount")
        self.assertIn("sh", self.out(*words, "type=image,src=busybox,dst=/img", "busybox", "ls", "/img/bin").split())
        self.assertIn("sh", self.out(*words, "type=image,src=busybox,dst=/img,image-subpath=bin", "busybox", "ls", "/img").split())
        self.assertIn("Read-only", self.docker(*words, "type=image,src=busybox,dst=/img", "busybox", "touch", "/img/x", check=False).stderr)
        self.assertIn("No such image", self.docker("create", "--mount", "type=image,src=nosuch:1,dst=/img", "busybox", check=False).stderr)
        done = self.docker(*words, "type=image,src=busybox,dst=/img,image-subpath=nosuch", "busybox", "true", check=False)
        self.assertIn("cannot access path nosuch", done.stderr)

    def test_an_image_stays_while_it_is_mounted(self):
        self.docker("run", "--name", "aa", "busybox", "touch", "/mark")
        self.docker("commit", "aa", "other:1")
        self.docker("run", "-d", "--name", "bb", "--mount", "type=image,src=other:1,dst=/img", "busybox", "sleep", "1000")
        mount = json.loads(self.out("inspect", "bb"))[0]["Mounts"][0]
        self.assertEqual((mount["Type"], mount["Name"], mount["Destination"], mount["RW"]), ("image", "other:1", "/img", False))
        self.assertIn("container", self.docker("rmi", "other:1", check=False).stderr)
        self.daemon.kill()
        self.daemon.start()
        self.docker("exec", "bb", "ls", "/img/mark")
        self.docker("restart", "-t", "0", "bb")
        self.docker("exec", "bb", "ls", "/img/mark")
        self.docker("rm", "-f", "aa", "bb")
        self.docker("rmi", "other:1")

    def test_volumes_from_in_all_forms(self):
        self.docker("run", "--name", "aa", "-v", "data:/x", "-v", "/anonymous", "--mount", "type=tmpfs,dst=/t,tmpfs-size=1m", "busybox",
                    "sh", "-c", "echo hello > /x/file; echo mine > /anonymous/file")
        for mode in ("", ":rw", ":ro", ":z", ":ro,Z", ":rw,cached"):
            self.assertEqual(self.out("run", "--rm", "--volumes-from", "aa" + mode, "busybox", "cat", "/x/file", "/anonymous/file"), "hello\nmine")
            done = self.docker("run", "--rm", "--volumes-from", "aa" + mode, "busybox", "touch", "/x/more", check=False)
            self.assertEqual("Read-only" in done.stderr, "ro" in mode, mode)
        self.assertIn("1024", self.out("run", "--rm", "--volumes-from", "aa", "busybox", "df", "-k", "/t"))
        for mode in ("nocopy", "shared", "bogus", "ro,rw", "z,Z"):
            self.assertIn(f"invalid mode: {mode}", self.docker("create", "--volumes-from", f"aa:{mode}", "busybox", check=False).stderr)
        # What it has it keeps when the other is gone, with its volumes.
        self.docker("create", "--name", "bb", "--volumes-from", "aa", "busybox", "cat", "/anonymous/file")
        self.docker("rm", "-v", "aa")
        self.assertEqual(self.out("start", "-a", "bb"), "mine")

    def test_volumes_from_takes_parts_and_images_along(self):
        self.docker("run", "--rm", "-v", "data:/x", "busybox", "sh", "-c", "mkdir /x/a; echo one > /x/a/file")
        self.docker("create", "--name", "aa", "--mount", "type=volume,src=data,dst=/y,volume-subpath=a", "--mount",
                    "type=image,src=busybox,dst=/img", "busybox")
        self.assertEqual(self.out("run", "--rm", "--volumes-from", "aa", "busybox", "sh", "-c", "cat /y/file; ls -d /img/bin"), "one\n/img/bin")

    def test_modes_of_binds(self):
        for spec, said in (("/tmp:/x:nocopy", "field VolumeOptions must not be specified"), ("data:/x:shared", "field BindOptions must not be specified"),
                           ("/tmp:/x:ro,rw", "invalid mode: ro,rw"), ("/tmp:ro", "invalid volume specification: '/tmp:ro'"),
                           ("data:/x:bogus", "invalid mode: bogus")):
            status, message = self.create(Binds=[spec])
            self.assertEqual(status, 400, spec)
            self.assertIn(said, message)

    def test_fields_of_mounts_are_checked(self):
        volume = {"Type": "volume", "Source": "data", "Target": "/x"}
        bind = {"Type": "bind", "Source": "/tmp", "Target": "/x"}
        for mount, said in (({**bind, "VolumeOptions": {}}, "VolumeOptions must not be specified"),
                            ({**volume, "ImageOptions": {}}, "field ImageOptions must not be specified"),
                            ({**bind, "BindOptions": {"Propagation": "bogus"}}, "invalid propagation mode: bogus"),
                            ({**bind, "BindOptions": {"ReadOnlyNonRecursive": True}}, "Writable && ReadOnlyNonRecursive"),
                            ({**bind, "ReadOnly": True, "BindOptions": {"ReadOnlyNonRecursive": True, "ReadOnlyForceRecursive": True}}, "ReadOnlyNonRecursive && ReadOnlyForceRecursive"),
                            ({"Type": "image", "Target": "/x"}, "field Source must not be empty"),
                            ({"Type": "image", "Source": "busybox", "Target": "/x", "ImageOptions": {"Subpath": "../x"}}, "subpath must be a relative path"),
                            ({"Type": "tmpfs", "Target": "/x", "TmpfsOptions": {"Options": [["suid"]]}}, "invalid option: suid"),
                            ({"Type": "tmpfs", "Target": "/x", "TmpfsOptions": {"Options": [["a", "b", "c"]]}}, "invalid option array length"),
                            ({"Type": "cluster", "Source": "x", "Target": "/x"}, "mount type unknown"),
                            ({"Type": "npipe", "Source": "x", "Target": "/x"}, "mount type unknown"),
                            ({**volume, "VolumeOptions": {"DriverConfig": {"Name": "nosuch"}}}, "error looking up volume plugin nosuch"),
                            ({**volume, "VolumeOptions": {"DriverConfig": {"Options": {"foo": "bar"}}}}, 'invalid option: "foo"')):
            status, message = self.create(Mounts=[mount])
            self.assertEqual(status, 400, (mount, message))
            self.assertIn(said, message)

    def test_options_of_tmpfs_and_binds(self):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="grua-volume-", dir="/var/tmp"))
        self.addCleanup(shutil.rmtree, folder)
        (folder / "inner").mkdir()
        run("mount", "-t", "tmpfs", "inner", folder / "inner")
        self.addCleanup(run, "umount", folder / "inner")
        (folder / "inner/file").touch()

        def seen(mount, *words):
            status, body = self.daemon.api("POST", "/v1.51/containers/create?name=cc", {"Image": "busybox", "Cmd": list(words), "HostConfig": {"Mounts": [mount]}})
            self.assertEqual(status, 201, body)
            done = self.docker("start", "-a", "cc", check=False)
            self.docker("rm", "cc")
            return done.stdout + done.stderr

        bind = {"Type": "bind", "Source": str(folder), "Target": "/x"}
        self.assertEqual(seen(bind, "ls", "/x/inner"), "file\n")
        self.assertEqual(seen({**bind, "BindOptions": {"NonRecursive": True}}, "ls", "/x/inner"), "")
        self.assertIn("Read-only", seen({**bind, "ReadOnly": True}, "touch", "/x/inner/new"))
        self.assertEqual(seen({**bind, "ReadOnly": True, "BindOptions": {"ReadOnlyNonRecursive": True}}, "touch", "/x/inner/new"), "")
        self.assertIn("Read-only", seen({**bind, "ReadOnly": True, "BindOptions": {"ReadOnlyForceRecursive": True}}, "touch", "/x/inner/new"))
        made = folder / "made/deep"
        self.assertEqual(seen({"Type": "bind", "Source": str(made), "Target": "/x", "BindOptions": {"CreateMountpoint": True}}, "touch", "/x/file"), "")
        self.assertTrue((made / "file").exists())
        tmpfs = {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 1 << 20, "Mode": 0o750, "Options": [["exec"]]}}
        text = seen(tmpfs, "grep", " /t ", "/proc/mounts")
        self.assertIn("size=1024k", text)
        self.assertIn("mode=750", text)
        self.assertNotIn("noexec", text)
        self.assertIn("noexec", seen({**tmpfs, "TmpfsOptions": {"Options": [["noexec"]]}}, "grep", " /t ", "/proc/mounts"))

    def test_a_bind_is_made_again_at_the_start(self):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="grua-volume-", dir="/var/tmp"))
        self.addCleanup(shutil.rmtree, folder)
        self.docker("create", "--name", "aa", "-v", f"{folder}/made:/x", "busybox", "touch", "/x/file")
        shutil.rmtree(folder / "made")
        self.docker("start", "-a", "aa")
        self.assertTrue((folder / "made/file").exists())
        self.docker("create", "--name", "bb", "--mount", f"type=bind,src={folder}/made,dst=/x", "busybox", "true")
        shutil.rmtree(folder / "made")
        self.assertIn("bind source path does not exist", self.docker("start", "bb", check=False).stderr)

    def test_storage_options(self):
        for options, said in (({"size": "10g"}, "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"),
                              ({"colour": "red"}, "unknown option colour"), ({"size": "much"}, "invalid size: 'much'")):
            status, message = self.create(StorageOpt=options)
            self.assertEqual((status, said in message), (400, True), message)
