"""What gruad keeps on the disk, and what happens when that is lost, damaged, full, of a newer version or somebody else's."""

import contextlib
import json
import os
import pathlib
import shutil
import sqlite3
import subprocess
import tempfile
import unittest

from harness import BIN, Daemon, SmallDisk, run, wait_until


def end_of(daemon):
    """gruad is started where it must not come up; its log since."""
    before = daemon.log.stat().st_size
    with contextlib.suppress(AssertionError):
        daemon.start()
        raise RuntimeError(f"gruad started\n{daemon.tail()}")
    return daemon.log.read_bytes()[before:].decode(errors="replace")


def is_alive(pid):
    return pathlib.Path(f"/proc/{pid}/status").exists() and "State:\tZ" not in pathlib.Path(f"/proc/{pid}/status").read_text()


def gruad(daemon, *options):
    """One that ends by itself, with the daemon's own options."""
    return run(BIN / "gruad", "--data-root", daemon.root / "data", "--exec-root", daemon.exec_root / "exec", *options, check=False)


class LostDatabase(unittest.TestCase):
    def setUp(self):
        self.daemon = Daemon()
        self.addCleanup(self.daemon.close)
        self.data = self.daemon.root / "data"
        docker = self.daemon.docker
        docker("run", "-d", "--name", "web", "-v", "kept:/kept", "busybox", "sh", "-c", "echo said; echo mine > /file; sleep 1000")
        docker("create", "--name", "never", "--label", "a=b", "busybox", "true")
        docker("run", "--name", "ended", "busybox", "sh", "-c", "echo other > /file; exit 7", check=False)
        wait_until("the file", lambda: self.daemon.docker("exec", "web", "cat", "/file", check=False).stdout == "mine\n")
        self.pid = self.daemon.inspect("web")["State"]["Pid"]
        self.ids = {name: self.daemon.inspect(name)["Id"] for name in ("web", "never", "ended")}

    def lose(self):
        self.daemon.kill()
        for path in self.data.glob("grua.db*"):
            path.unlink()

    def tree(self):
        return sorted(str(path) for path in self.data.rglob("*") if not path.name.startswith(("lock", "engine-id")))

    def check_refused(self, what):
        before = self.tree()
        log = end_of(self.daemon)
        self.assertIn(f"grua.db is {what}, but there are 3 containers, ", log)
        self.assertIn("gruad --rebuild", log)
        self.assertIn("Nothing has been changed", log)
        self.assertTrue(is_alive(self.pid), "the container was ended")
        self.assertEqual(self.tree(), before)

    # B1
    def test_gruad_refuses_to_start_and_touches_nothing(self):
        self.lose()
        self.check_refused("missing")

    # B1
    def test_an_empty_database_is_a_lost_one(self):
        self.lose()
        (self.data / "grua.db").touch()
        self.check_refused("empty")

    # B1
    def test_rebuild_brings_back_what_the_folders_say(self):
        self.lose()
        done = gruad(self.daemon, "--rebuild")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("1 images, 1 of them with a name", done.stdout)
        self.assertIn("3 containers; 0 of which nothing is known", done.stdout)
        self.daemon.start()
        docker = self.daemon.docker
        self.assertTrue(is_alive(self.pid))
        for name, id in self.ids.items():
            self.assertEqual(self.daemon.inspect(name)["Id"], id)
        self.assertEqual(self.daemon.inspect("web")["State"]["Status"], "running")
        self.assertEqual(self.daemon.inspect("web")["State"]["Pid"], self.pid)
        self.assertEqual(docker("exec", "web", "cat", "/file").stdout, "mine\n")
        self.assertEqual(docker("logs", "web").stdout, "said\n")
        self.assertEqual(self.daemon.inspect("never")["Config"]["Labels"]["a"], "b")
        self.assertEqual(self.daemon.inspect("never")["State"]["Status"], "created")
        self.assertEqual(self.daemon.inspect("ended")["State"]["Status"], "exited")
        self.assertIn("the database was lost", self.daemon.inspect("ended")["State"]["Error"])
        docker("cp", "ended:/file", self.daemon.root / "copied")
        self.assertEqual((self.daemon.root / "copied").read_text(), "other\n")
        docker("start", "-a", "never")
        self.assertEqual(docker("run", "--rm", "-v", "kept:/kept", "busybox", "echo", "new").stdout, "new\n")
        done = gruad(self.daemon, "--rebuild")
        self.assertIn("another gruad works on it", done.stderr)
        self.daemon.stop()
        done = gruad(self.daemon, "--rebuild")
        self.assertEqual(done.returncode, 1)
        self.assertIn("is there and whole", done.stderr)

    # B1
    def test_a_damaged_database_is_moved_aside_by_a_rebuild(self):
        self.daemon.stop()
        (self.data / "grua.db").write_bytes(b"x" * 8192)
        self.assertIn("is damaged", end_of(self.daemon))
        done = gruad(self.daemon, "--rebuild")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.daemon.start()
        self.assertEqual(self.daemon.inspect("web")["State"]["Pid"], self.pid)
        self.assertEqual([path.read_bytes()[:4] for path in self.data.glob("grua.db.2*")], [b"xxxx"])

    # B1
    def test_a_container_of_which_nothing_is_known_is_shown_as_dead_and_goes_by_force_only(self):
        self.lose()
        (self.data / "containers" / self.ids["ended"] / "record.json").unlink()
        done = gruad(self.daemon, "--rebuild")
        self.assertIn("1 of which nothing is known", done.stdout)
        self.daemon.start()
        id = self.ids["ended"]
        self.assertEqual(self.daemon.inspect(id)["State"]["Status"], "dead")
        self.assertIn("the database was lost", self.daemon.inspect(id)["State"]["Error"])
        self.assertTrue((self.data / "layers/containers" / id / "upper/file").exists())
        self.daemon.docker("container", "prune", "-f")
        self.assertNotEqual(self.daemon.docker("rm", id, check=False).returncode, 0)
        self.assertTrue((self.data / "layers/containers" / id / "upper/file").exists())
        self.daemon.docker("rm", "-f", id)
        self.assertFalse((self.data / "layers/containers" / id).exists())
        self.assertFalse((self.data / "containers" / id).exists())

    # B1: a database that was put back does not know what came since.
    def test_what_an_older_database_does_not_know_is_kept(self):
        self.daemon.stop()
        shutil.copy(self.data / "grua.db", self.daemon.root / "backup")
        self.daemon.start()
        self.daemon.docker("run", "-d", "--name", "newer", "busybox", "sh", "-c", "echo new > /file; sleep 1000")
        newer = self.daemon.inspect("newer")
        self.daemon.stop()
        for path in self.data.glob("grua.db*"):
            path.unlink()
        shutil.copy(self.daemon.root / "backup", self.data / "grua.db")
        self.daemon.start()
        self.assertTrue(is_alive(newer["State"]["Pid"]), "the container was ended")
        self.assertEqual(self.daemon.inspect(newer["Id"])["State"]["Status"], "dead")
        self.assertTrue((self.data / "layers/containers" / newer["Id"] / "upper").exists())
        self.assertEqual(self.daemon.inspect("web")["State"]["Pid"], self.pid)
        self.daemon.docker("rm", "-f", newer["Id"])
        wait_until("the process is gone", lambda: not is_alive(newer["State"]["Pid"]))


class NewerRows(unittest.TestCase):
    """What a newer gruad wrote, and what is broken."""

    def setUp(self):
        self.daemon = Daemon()
        self.addCleanup(self.daemon.close)
        self.data = self.daemon.root / "data"
        self.daemon.docker("run", "-d", "--name", "web", "-v", "/anonymous", "busybox", "sh", "-c", "echo mine > /file; sleep 1000")
        self.daemon.docker("run", "-d", "--name", "beside", "busybox", "sleep", "1000")
        self.before = self.daemon.inspect("web")
        self.container = self.before["Id"]

    def change_row(self, change):
        self.daemon.kill()
        with contextlib.closing(sqlite3.connect(self.data / "grua.db")) as database, database:
            (text,) = database.execute("SELECT document FROM containers WHERE id = ?", (self.container,)).fetchone()
            database.execute("UPDATE containers SET document = ? WHERE id = ?", (change(text), self.container))
        self.daemon.start()

    def row(self):
        with contextlib.closing(sqlite3.connect(self.data / "grua.db")) as database:
            return database.execute("SELECT document FROM containers WHERE id = ?", (self.container,)).fetchone()

    def check_kept(self, reason):
        docker = self.daemon.docker
        self.assertTrue(is_alive(self.before["State"]["Pid"]), "the container was ended")
        shown = self.daemon.inspect(self.container)
        self.assertEqual(shown["State"]["Status"], "dead")
        self.assertIn(reason, shown["State"]["Error"])
        self.assertIn("Dead", docker("ps", "-a", "--filter", f"id={self.container}").stdout)
        self.assertEqual(self.daemon.inspect("beside")["State"]["Status"], "running")
        stored = self.row()
        docker("container", "prune", "-f")
        docker("system", "prune", "-f", "--volumes", check=False)
        for words in (["start"], ["rm"], ["stop"], ["rename"]):
            docker(*words, self.container, *(["other"] if words == ["rename"] else []), check=False)
        self.assertTrue(is_alive(self.before["State"]["Pid"]), "the container was ended")
        self.assertTrue((self.data / "layers/containers" / self.container / "upper/file").exists())
        self.assertTrue((self.data / "containers" / self.container).exists())
        self.assertEqual(self.row(), stored, "the row was written over")
        self.daemon.stop()
        self.daemon.start()
        self.assertEqual(self.daemon.inspect(self.container)["State"]["Status"], "dead")
        docker("rm", "-f", self.container)
        self.assertIsNone(self.row())
        self.assertFalse((self.data / "layers/containers" / self.container).exists())
        wait_until("the process is gone", lambda: not is_alive(self.before["State"]["Pid"]))

    # B2
    def test_a_document_of_a_newer_version_is_kept(self):
        self.change_row(lambda text: json.dumps({**json.loads(text), "version": 99}))
        self.check_kept("it was written by a newer grua: version 99")

    # B2
    def test_a_status_of_a_newer_version_is_kept(self):
        self.change_row(lambda text: json.dumps({**json.loads(text), "status": "hibernating"}))
        self.check_kept('status: expected a status, got "hibernating"')

    # B2
    def test_a_document_that_is_broken_is_kept(self):
        self.change_row(lambda text: text[: len(text) // 2])
        self.check_kept("not valid JSON")

    # B2: and the one that an older gruad wrote, without a version, is read.
    def test_a_document_without_a_version_is_read(self):
        def without(text):
            document = json.loads(text)
            document.pop("version", None)
            return json.dumps(document)

        self.change_row(without)
        self.assertEqual(self.daemon.inspect("web")["State"]["Pid"], self.before["State"]["Pid"])


class Roots(unittest.TestCase):
    def setUp(self):
        self.daemon = Daemon()
        self.addCleanup(self.daemon.close)

    def second(self, *options):
        """Another gruad with this one's exec root, as two with the defaults and other data roots are."""
        with tempfile.TemporaryDirectory() as data:
            words = [BIN / "gruad", "-H", f"unix://{data}/sock", "--data-root", f"{data}/data", "--exec-root", self.daemon.exec_root / "exec",
                     "--cgroup-parent", f"/{self.daemon.name}", "--bridge", self.daemon.name, "--bip", "10.99.7.1/24", *options]
            with subprocess.Popen(["nsenter", f"--net=/proc/{self.daemon.holder.pid}/ns/net", *map(str, words)], text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL) as process:
                try:
                    text, _ = process.communicate(timeout=10)
                    return process.returncode, text
                except subprocess.TimeoutExpired:
                    process.kill()
                    return 0, process.communicate()[0]

    # B7
    def test_a_second_gruad_on_one_exec_root_is_refused_and_ends_nothing(self):
        self.daemon.docker("run", "-d", "--name", "web", "busybox", "sleep", "1000")
        pid = self.daemon.inspect("web")["State"]["Pid"]
        status, text = self.second()
        self.assertTrue(is_alive(pid), "the container was ended")
        self.assertEqual(status, 1, text)
        self.assertIn(f"another gruad works on it, process {self.daemon.process.pid}", text)
        self.assertEqual(self.daemon.docker("exec", "web", "echo", "here").stdout, "here\n")

    # B7: one after the other is the same.
    def test_the_containers_of_another_data_root_are_not_ended(self):
        self.daemon.docker("run", "-d", "--name", "web", "busybox", "sleep", "1000")
        pid = self.daemon.inspect("web")["State"]["Pid"]
        self.daemon.stop()
        status, text = self.second()
        self.assertTrue(is_alive(pid), "the container was ended")
        self.assertEqual(status, 1, text)
        self.assertIn("belong to another data root", text)
        self.daemon.start()
        self.assertEqual(self.daemon.inspect("web")["State"]["Pid"], pid)

    # B7
    def test_the_pid_file_of_a_gruad_that_runs_is_not_taken(self):
        status, text = self.second("--exec-root", f"{self.daemon.root}/exec2", "--pidfile", self.daemon.exec_root / "pid")
        self.assertEqual(status, 1, text)
        self.assertIn(f"process {self.daemon.process.pid} is a gruad and runs", text)
        self.assertEqual((self.daemon.exec_root / "pid").read_text(), f"{self.daemon.process.pid}\n")
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual((self.daemon.exec_root / "pid").read_text(), f"{self.daemon.process.pid}\n")

    # A4
    def test_the_data_root_is_for_root_alone(self):
        data = self.daemon.root / "data"
        self.assertEqual(data.stat().st_mode & 0o7777, 0o710)
        self.daemon.docker("volume", "create", "known")
        self.daemon.docker("run", "--rm", "-v", "known:/v", "busybox", "sh", "-c", "cp /bin/busybox /v/id; chmod 4755 /v/id")
        program = data / "volumes/known/_data/id"
        self.assertTrue(program.stat().st_mode & 0o4000)
        self.daemon.root.chmod(0o755)
        with self.assertRaises(PermissionError):
            subprocess.run([program], user=65534, group=65534, extra_groups=[], capture_output=True, check=False)

    # A4
    def test_an_installation_of_before_is_mended_at_the_start(self):
        data = self.daemon.root / "data"
        self.daemon.stop()
        data.chmod(0o711)
        self.daemon.start()
        self.assertEqual(data.stat().st_mode & 0o7777, 0o710)

    # B3
    def test_what_cannot_be_swept_does_not_keep_gruad_from_starting(self):
        self.daemon.stop()
        data = self.daemon.root / "data"
        stuck = [data / "volumes/.trash-0123", data / "volumes/.new-0123", data / "layers/staging/left", data / "layers/trash/left",
                 data / "layers/l/987", data / "content/trash/left"]
        for path in stuck:
            (path / "inside").mkdir(parents=True)
        try:
            for path in stuck:
                run("chattr", "+i", path)
            self.daemon.start()
            self.assertEqual(self.daemon.docker("run", "--rm", "busybox", "echo", "here").stdout, "here\n")
            self.daemon.docker("create", "--name", "goes", "busybox")
            self.daemon.docker("rm", "goes")
            self.daemon.docker("volume", "create", "goes")
            self.daemon.docker("volume", "rm", "goes")
            wait_until("the trash of the others is empty",
                       lambda: [path.name for path in (data / "layers/trash").iterdir()] == ["left"] and
                       all(not path.name.startswith(".trash") or not list(path.iterdir()) or path.name == ".trash-0123"
                           for path in (data / "volumes").iterdir()))
        finally:
            for path in stuck:
                run("chattr", "-i", path, check=False)


class FullDisk(unittest.TestCase):
    def setUp(self):
        self.disk = SmallDisk("64m")
        self.addCleanup(self.disk.close)
        self.daemon = Daemon("--data-root", str(self.disk.path))
        self.addCleanup(self.daemon.close)

    def fill(self):
        self.disk.fill()
        self.assertEqual(os.statvfs(self.disk.path).f_bfree, 0)

    # B6
    def test_gruad_starts_and_makes_room(self):
        docker = self.daemon.docker
        docker("run", "-d", "--name", "web", "busybox", "sleep", "1000")
        docker("create", "--name", "goes", "busybox")
        docker("volume", "create", "goes")
        docker("network", "create", "--subnet", "10.99.66.0/24", "goes")
        pid = self.daemon.inspect("web")["State"]["Pid"]
        self.daemon.kill()
        self.fill()
        self.daemon.start()
        self.assertEqual(self.daemon.inspect("web")["State"]["Pid"], pid)
        self.fill()
        self.daemon.stop()
        self.daemon.start()
        docker("rm", "goes")
        docker("volume", "rm", "goes")
        docker("network", "rm", "goes")
        docker("rm", "-f", "web")
        self.assertFalse(is_alive(pid))
        docker("image", "rm", "busybox")
        (self.disk.path / "rest").unlink()
        self.daemon.stop()
        self.daemon.start()
        self.assertEqual(docker("ps", "-aq").stdout, "")
        self.assertEqual(docker("image", "ls", "-q").stdout, "")

    # B6
    def test_a_change_that_answers_full_does_not_hold(self):
        docker = self.daemon.docker
        docker("create", "--name", "first", "--label", "much=" + "m" * 20000, "busybox")
        self.fill()
        refused = 0
        for _ in range(200):
            refused = docker("rename", "first", "second", check=False)
            if refused.returncode != 0:
                break
            docker("rename", "second", "first")
        self.assertEqual(docker("ps", "-a", "--format", "{{.Names}}").stdout, "first\n")
        self.assertNotEqual(docker("inspect", "second", check=False).returncode, 0)
        self.assertIn("the disk is full", refused.stderr)
        made = docker("create", "--name", "third", "--label", "much=" + "m" * 20000, "busybox", check=False)
        self.assertNotEqual(made.returncode, 0)
        self.assertNotEqual(docker("inspect", "third", check=False).returncode, 0)
        (self.disk.path / "rest").unlink()
        docker("create", "--name", "second", "busybox")
        docker("rename", "second", "fourth")
        self.daemon.stop()
        self.daemon.start()
        names = sorted(docker("ps", "-a", "--format", "{{.Names}}").stdout.split())
        self.assertEqual(names, ["first", "fourth"])


if __name__ == "__main__":
    unittest.main()
