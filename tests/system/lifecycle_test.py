"""Starts, ends and removals that go wrong: each has an end, says why, and leaves nothing."""

import collections
import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
import time
import unittest

from harness import DOCKER, Case, Connection, Daemon, cgroup_version, run, wait_until


def processes(words):
    """PIDs of the programs that run with these words."""
    out = []
    for each in pathlib.Path("/proc").iterdir():
        if each.name.isdigit():
            with contextlib.suppress(OSError):
                if (each / "cmdline").read_bytes().split(b"\0")[:-1] == [word.encode() for word in words]:
                    out.append(int(each.name))
    return out


def parent(pid):
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def cgroups_of(daemon, container):
    return [path for path, _, _ in os.walk("/sys/fs/cgroup") if path.endswith(f"/{daemon.name}/{container}")]


class Starts(Case):
    # A7
    def test_an_error_that_is_too_long_is_told_and_not_waited_for(self):
        program = ("/" + "ä" * 120) * 16
        done = self.docker("run", "--name", "cc", "busybox", program, check=False, timeout=30)
        self.assertEqual(done.returncode, 127, done.stderr[-300:])
        self.docker("rm", "-f", "cc", timeout=30)
        self.docker("run", "-d", "--name", "cc", "busybox", "sleep", "100")
        self.assertNotEqual(self.docker("exec", "cc", program, check=False, timeout=30).returncode, 0)
        self.assertEqual(self.out("exec", "cc", "echo", "in"), "in")

    # F
    def test_a_path_decides_nothing_by_its_name(self):
        self.assertEqual(self.docker("run", "--rm", "busybox", "/permission denied", check=False).returncode, 127)
        self.docker("create", "--name", "cc", "busybox", "/is a directory/permission denied")
        self.docker("start", "cc", check=False)
        self.assertEqual(self.daemon.inspect("cc")["State"]["ExitCode"], 127)

    # F
    def test_the_exit_status_of_run_is_not_found_in_words(self):
        def status(*words):
            return self.grua("run", *words, check=False).returncode

        odd = self.daemon.root / "no such file or directory"
        odd.write_text("no program")
        for rm in ([], ["--rm"]):
            for detach in ([], ["-d"]):
                with self.subTest(rm=rm, detach=detach):
                    options = [*rm, *detach, "-v", f"{odd}:/{odd.name}"]
                    self.assertEqual(status(*options, "busybox", f"/{odd.name}"), 126)
                    self.assertEqual(status(*options, "busybox", "/permission denied"), 127)
                    self.assertEqual(status(*options, "busybox", "executable file not found"), 127)
        # What is refused before there is a container is no program's.
        self.assertEqual(status("--mount", "type=bind,source=/permission denied,target=/x", "busybox", "true"), 125)
        self.assertEqual(status("--network", "container:nosuch", "busybox", "true"), 125)
        answer = json.loads(self.daemon.api("POST", f"/containers/{self.out('create', 'busybox', '/absent')}/start")[1])
        self.assertEqual(answer["exitCode"], 127)


class SharedPids(Case):
    """A8: with a PID namespace that others are in, too, the end of the first process ends nobody else by itself."""

    number = 71000

    def run_two(self, *options, last="sleep infinity"):
        SharedPids.number += 1
        words = ["sleep", str(self.number)]
        self.docker("run", "-d", "--name", "cc", *options, "busybox", "sh", "-c", f"{' '.join(words)} & {last}")
        wait_until("the second process", lambda: processes(words))
        return words, self.daemon.inspect("cc")["Id"]

    def assert_ended(self, words, container):
        wait_until(f"{words} has ended", lambda: not processes(words))
        wait_until("its cgroup is gone", lambda: not cgroups_of(self.daemon, container))

    def test_kill(self):
        words, container = self.run_two("--pid", "host")
        self.docker("kill", "cc")
        self.assert_ended(words, container)

    def test_stop(self):
        words, container = self.run_two("--pid", "host")
        self.docker("stop", "-t", "0", "cc")
        self.assert_ended(words, container)

    def test_rm(self):
        words, container = self.run_two("--pid", "host")
        self.docker("rm", "-f", "cc")
        self.assert_ended(words, container)

    def test_its_own_exit(self):
        words, container = self.run_two("--pid", "host", last="sleep 0.5")
        self.assert_ended(words, container)

    def test_the_namespace_of_another_container(self):
        self.docker("run", "-d", "--name", "other", "busybox", "sleep", "infinity")
        words, container = self.run_two("--pid", "container:other")
        self.docker("kill", "cc")
        self.assert_ended(words, container)
        self.assertEqual(self.daemon.inspect("other")["State"]["Status"], "running")

    def test_while_gruad_is_away(self):
        words, _ = self.run_two("--pid", "host", last="sleep 1")
        self.daemon.kill()
        wait_until(f"{words} has ended", lambda: not processes(words))
        self.daemon.start()
        self.assertEqual(self.daemon.inspect("cc")["State"]["Status"], "exited")


class Monitors(Case):
    # C3
    def test_an_exec_whose_monitor_is_killed_fails(self):
        self.docker("run", "-d", "--name", "cc", "busybox", "sleep", "infinity")
        client = subprocess.Popen([DOCKER, "exec", "cc", "sleep", "infinity"], env=self.daemon.environment(), stdin=subprocess.DEVNULL)
        wait_until("the exec runs", lambda: len(self.out("top", "cc").splitlines()) == 3)
        os.kill(parent(self.daemon.inspect("cc")["State"]["Pid"]), signal.SIGKILL)
        self.assertNotEqual(client.wait(30), 0)
        wait_until("the container has ended", lambda: self.daemon.inspect("cc")["State"]["Status"] == "exited")
        self.assertIn("monitor was killed", self.daemon.inspect("cc")["State"]["Error"])

    # A7
    def test_a_removal_by_force_does_not_wait_for_a_monitor_that_is_stopped(self):
        self.docker("run", "-d", "--name", "cc", "busybox", "sleep", "infinity")
        monitor = parent(self.daemon.inspect("cc")["State"]["Pid"])
        os.kill(monitor, signal.SIGSTOP)
        try:
            self.docker("rm", "-f", "cc", timeout=60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(monitor, signal.SIGCONT)
        self.assertEqual(self.out("ps", "-aq"), "")


class Removals(Case):
    # B5
    def test_a_removal_that_failed_can_be_asked_for_again(self):
        for how in ("rm", "rm_by_itself", "prune"):
            with self.subTest(how):
                options = ["--rm"] if how == "rm_by_itself" else []
                container = self.out("create", *options, "--name", "cc", "busybox", "sleep", "0.3")
                held = self.daemon.root / "data/containers" / container / "held"
                held.mkdir()
                run("mount", "-t", "tmpfs", "none", held)
                try:
                    if how == "rm_by_itself":
                        self.docker("start", "cc")
                        wait_until("its removal has failed", lambda: self.daemon.inspect("cc")["State"]["Status"] == "dead")
                    elif how == "rm":
                        self.assertNotEqual(self.docker("rm", "cc", check=False).returncode, 0)
                    else:
                        self.docker("container", "prune", "-f", check=False)
                    self.assertEqual(self.daemon.inspect("cc")["State"]["Status"], "dead")
                finally:
                    run("umount", held)
                self.docker("rm", "cc")
                self.assertEqual(self.out("ps", "-aq"), "")

    # B4
    def test_volumes_of_a_container_that_is_made_are_not_pruned(self):
        """While the create is under way, in which its volumes are filled."""
        self.daemon.stop()
        self.daemon.start(env={"GRUA_FAULT_TRACE": str(self.daemon.root / "trace")})
        stop = time.monotonic() + 6
        pruner = subprocess.Popen(["sh", "-c", f"while :; do {DOCKER} volume prune -af >/dev/null 2>&1; done"], env=self.daemon.environment())
        try:
            number = 0
            while time.monotonic() < stop:
                number += 1
                name = f"v{number}"
                container = self.out("create", "-v", f"{name}:/etc", "-v", "/usr", "busybox", "true")
                self.assertEqual(self.docker("start", "-a", container, check=False).returncode, 0)
                self.docker("rm", "-v", container)
        finally:
            pruner.kill()
            pruner.wait()

    # C4
    def test_removals_of_big_volumes_hold_no_start_up(self):
        """Three times as many as the pool has threads; the files of one volume are links of one file, which is quick to make."""
        volumes = self.daemon.root / "data/volumes"
        names = [f"big{number}" for number in range(24)]
        for name in names:
            data = pathlib.Path(self.out("volume", "inspect", "-f", "{{.Mountpoint}}", self.out("volume", "create", name)))
            (data / "0").touch()
            for number in range(1, 10_000):
                os.link(data / "0", data / str(number))
        self.docker("create", "--name", "cc", "busybox", "sleep", "100")

        def is_removed():
            return not any((volumes / name).exists() for name in names) and not [*volumes.glob(".trash-*"), *volumes.glob(".trash/*")]

        began = time.monotonic()
        clients = []
        for name in names:
            clients.append(socket.socket(socket.AF_UNIX))
            clients[-1].connect(str(self.daemon.socket))
            clients[-1].sendall(f"DELETE /volumes/{name} HTTP/1.1\r\nHost: d\r\n\r\n".encode())
        asked = time.monotonic()
        self.assertEqual(self.daemon.api("POST", "/containers/cc/start"), (204, ""))
        start = time.monotonic() - asked
        wait_until("the volumes are removed", is_removed, 120)
        whole = time.monotonic() - began
        for each in clients:
            self.assertTrue(each.recv(1000).startswith(b"HTTP/1.1 204 "))
            each.close()
        self.assertLess(start, whole / 2, f"a start took {start:.2f} s beside removals of {whole:.2f} s")

    # B8
    def test_a_create_that_fails_leaves_nothing(self):
        faults = self.daemon.root / "faults"
        self.daemon.stop()
        self.daemon.start(env={"GRUA_FAIL_AT": f"@{faults}"})
        try:
            for step in ("create:name", "create:record", "create:folders", "create:unpacked", "create:volumes", "create:layer",
                         "create:stored", "layers:sync-containers", "create:known"):
                with self.subTest(step):
                    faults.write_text(f"{step}:ENOSPC")
                    failed = self.docker("create", "--name", "cc", "-v", "/etc", "busybox", check=False)
                    self.assertNotEqual(failed.returncode, 0)
                    faults.write_text("")
                    self.assertEqual(self.out("ps", "-aq"), "")
                    self.assertEqual(self.out("volume", "ls", "-q"), "")
                    self.assertEqual(os.listdir(self.daemon.root / "data/containers"), [])
                    self.assertEqual(os.listdir(self.daemon.exec_root / "exec/containers"), [])
                    self.assertEqual(os.listdir(self.daemon.root / "data/layers/containers"), [])
                    self.docker("rm", self.out("create", "--name", "cc", "busybox"))
        finally:
            self.daemon.stop()
            self.daemon.start()


    # B6
    def test_an_update_that_fails_changes_nothing(self):
        """Also a limit that was not there before is not there after."""
        faults = self.daemon.root / "faults"
        self.daemon.stop()
        self.daemon.start(env={"GRUA_FAIL_AT": f"@{faults}"})
        try:
            self.docker("run", "-d", "--name", "cc", "busybox", "sleep", "1000")
            limits = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us"
            if cgroup_version() == 2:
                limits = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max /sys/fs/cgroup/cpu.max"
            before = self.out("exec", "cc", "sh", "-c", limits)
            faults.write_text("store:write:ENOSPC:9")
            failed = self.docker("update", "--memory", "100m", "--pids-limit", "50", "--cpus", "0.5", "cc", check=False)
            self.assertNotEqual(failed.returncode, 0)
            self.assertIn("Cannot update container", failed.stderr)
            faults.write_text("")
            self.assertEqual(self.out("exec", "cc", "sh", "-c", limits), before)
            self.assertEqual(self.daemon.inspect("cc")["HostConfig"]["Memory"], 0)
            self.docker("update", "--pids-limit", "60", "cc")
            self.assertNotEqual(self.out("exec", "cc", "sh", "-c", limits), before)
        finally:
            self.docker("rm", "-f", "cc", check=False)
            self.daemon.stop()
            self.daemon.start()


class Races(Case):
    def test_a_start_beside_a_removal_by_force_is_done_or_a_conflict(self):
        answers = collections.Counter()
        until = time.monotonic() + 10
        while time.monotonic() < until:
            self.docker("create", "--name", "cc", "--network", "none", "busybox", "sleep", "1000")
            found = []
            starter = threading.Thread(target=lambda: found.append(Connection(self.daemon.socket).ask("POST", "/containers/cc/start")))
            starter.start()
            time.sleep(random.random() * 0.02)
            status, text = Connection(self.daemon.socket).ask("DELETE", "/containers/cc?force=1")
            self.assertEqual(status, 204, text)
            starter.join()
            self.assertIn(found[0][0], (204, 404, 409), found)
            answers[found[0][0]] += 1
        self.assertGreater(answers[409], 0, answers)


class Pauses(Case):
    def test_what_ends_while_it_is_to_be_paused_does_not_run(self):
        ask = Connection(self.daemon.socket).ask
        self.docker("create", "--name", "cc", "--network", "none", "busybox", "true")
        answers = collections.Counter()
        until = time.monotonic() + 8
        while time.monotonic() < until:
            self.assertEqual(ask("POST", "/containers/cc/start")[0], 204)
            while True:
                status, text = ask("POST", "/containers/cc/pause")
                answers[status] += 1
                self.assertIn(status, (204, 409), text)
                if status == 409 and not json.loads(ask("GET", "/containers/cc/json")[1])["State"]["Running"]:
                    break
                ask("POST", "/containers/cc/unpause")
        self.assertGreater(answers[204], 0, answers)


class Restarts(Case):
    def test_one_that_is_asked_for_begins_to_count_anew(self):
        self.docker("run", "-d", "--name", "cc", "--network", "none", "--restart", "always", "busybox", "sleep", "100000")
        os.kill(self.daemon.inspect("cc")["State"]["Pid"], signal.SIGKILL)
        wait_until("it runs again", lambda: self.daemon.inspect("cc")["RestartCount"] == 1 and self.daemon.inspect("cc")["State"]["Running"])
        self.docker("restart", "-t", "0", "cc")
        self.assertEqual(self.daemon.inspect("cc")["RestartCount"], 0)


class ComingBack(unittest.TestCase):
    def setUp(self):
        self.daemon = Daemon()
        self.addCleanup(self.daemon.close)

    def state(self, name):
        return self.daemon.inspect(name)["State"]

    # B2
    def test_a_record_that_cannot_be_read_keeps_everything_of_it(self):
        container = self.daemon.docker("run", "-d", "--name", "cc", "busybox", "sleep", "infinity").stdout.strip()
        pid = self.state("cc")["Pid"]
        database = self.daemon.root / "data/grua.db"
        self.daemon.stop()
        with contextlib.closing(sqlite3.connect(database)) as store:
            (document,) = store.execute("SELECT document FROM containers WHERE id = ?", [container]).fetchone()
            store.execute("UPDATE containers SET document = ?", [document.replace('"running"', '"hibernating"')])
            store.commit()
        self.daemon.start()
        self.assertEqual(self.state(container)["Status"], "dead")
        self.assertEqual(pathlib.Path(f"/proc/{pid}/comm").read_text(), "sleep\n")
        self.assertNotEqual(self.daemon.docker("rm", container, check=False).returncode, 0)
        self.daemon.docker("container", "prune", "-f")
        self.daemon.stop()
        with contextlib.closing(sqlite3.connect(database)) as store:
            store.execute("UPDATE containers SET document = ?", [document])
            store.commit()
        self.daemon.start()
        self.assertEqual((self.state("cc")["Status"], self.state("cc")["Pid"]), ("running", pid))

    # B11
    def test_after_the_host_came_back_what_others_need_is_started_first(self):
        docker = self.daemon.docker
        docker("run", "-d", "--restart", "always", "--name", "zz", "busybox", "sleep", "infinity")
        docker("run", "-d", "--restart", "always", "--name", "aa", "--network", "container:zz", "busybox", "sleep", "infinity")
        docker("run", "-d", "--restart", "always", "--name", "bb", "--pid", "container:zz", "busybox", "sleep", "infinity")
        docker("run", "-d", "--restart", "always", "--name", "cc", "--link", "zz:other", "busybox", "sleep", "infinity")
        pids = [self.state(name)["Pid"] for name in ("zz", "aa", "bb", "cc")]
        monitors = [parent(pid) for pid in pids]
        self.daemon.kill()
        for pid in [*monitors, *pids]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.daemon.exec_root / "exec")
        self.daemon.start()
        for name in ("zz", "aa", "bb", "cc"):
            wait_until(f"{name} runs", lambda name=name: self.state(name)["Status"] == "running", 20)
        self.assertEqual([self.daemon.inspect(name)["RestartCount"] for name in ("zz", "aa", "bb", "cc")], [0, 0, 0, 0])

    def test_killed_before_each_step_it_comes_back_whole(self):
        """The steps are those that a life goes through; none leaves what nobody owns, or a container that cannot be used."""
        trace = self.daemon.root / "trace"
        self.daemon.stop()
        self.daemon.start(env={"GRUA_FAULT_TRACE": str(trace)})
        self.daemon.docker("run", "--name", "cc", "-v", "/data", "busybox", "true")
        self.daemon.docker("rm", "-v", "cc")
        self.daemon.stop()
        kinds = ("create:", "start:", "exit:", "remove:", "release:")
        steps = list(dict.fromkeys(line for line in trace.read_text().split("\n") if line.startswith(kinds)))
        self.assertGreater(len(steps), 25)
        for step in steps:
            with self.subTest(step):
                self.daemon.start(env={"GRUA_CRASH_AT": step})
                self.daemon.docker("run", "-d", "--name", "cc", "-v", "/data", "busybox", "sleep", "0.2", check=False)
                with contextlib.suppress(AssertionError):
                    wait_until("gruad is killed", lambda: self.daemon.process.poll() is not None, 2)
                self.daemon.docker("rm", "-f", "-v", "cc", check=False)
                with contextlib.suppress(AssertionError):
                    wait_until("gruad is killed", lambda: self.daemon.process.poll() is not None, 2)
                self.assertIsNotNone(self.daemon.process.poll(), f"{step} was not come to")
                self.daemon.start()
                if self.daemon.docker("ps", "-aq").stdout:
                    self.daemon.docker("start", "cc", check=False)
                    self.assertIn(self.state("cc")["Status"], ("running", "exited"))
                    self.daemon.docker("rm", "-f", "-v", "cc")
                self.assertEqual(self.daemon.docker("volume", "ls", "-q").stdout, "")
                self.assertEqual(os.listdir(self.daemon.root / "data/containers"), [])
                self.assertEqual(os.listdir(self.daemon.exec_root / "exec/containers"), [])
                self.assertEqual(os.listdir(self.daemon.root / "data/layers/containers"), [])
                self.daemon.stop()
        self.daemon.start()
