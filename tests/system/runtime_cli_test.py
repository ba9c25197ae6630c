"""grua-runtime's command line beside runc's: words, options, what it does to cgroups, and containers of an ordinary user."""

import array
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest

from harness import ENV, PATIENCE, cgroup_file, cgroup_version, has_apparmor, run, wait_until
from security_test import RUNTIME, default_spec


def cgroup_roots():
    """Mount points of the hierarchies: of v1, and of v2 beside them or alone."""
    lines = [line.split() for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()]
    return [pathlib.Path(line[4]) for line in lines if line[line.index("-") + 1] in ("cgroup", "cgroup2")]


class Case(unittest.TestCase):
    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="grua-cli-", dir="/var/tmp"))
        self.addCleanup(shutil.rmtree, self.work, ignore_errors=True)
        run(ENV / "rootfs.sh", "--busybox", self.work / "rootfs")
        self.name = f"cli-{os.getpid()}-{self._testMethodName[-20:]}"
        self.cgroup = f"/grua-cli-{os.getpid()}/{self.name}"
        self.spec = default_spec()
        self.spec["process"]["args"] = ["sleep", "1000"]
        self.spec["linux"]["cgroupsPath"] = self.cgroup
        self.addCleanup(self.remove_parents)
        self.addCleanup(self.runtime, "delete", "--force", self.name, check=False)

    def remove_parents(self):
        for root in cgroup_roots():
            for path in (self.cgroup + "/sub", self.cgroup, str(pathlib.Path(self.cgroup).parent)):
                if os.path.isdir(f"{root}{path}"):
                    os.rmdir(f"{root}{path}")

    def runtime(self, *words, **more):
        return run(RUNTIME, "--root", self.work / "state", *words, **more)

    def write(self):
        (self.work / "config.json").write_text(json.dumps(self.spec))

    def start(self, *options, **more):
        """Detached, with nothing of this process's pipes in its hands."""
        self.write()
        with open(self.work / "output", "w") as output:
            done = subprocess.run([str(w) for w in (RUNTIME, "--root", self.work / "state", "run", "-d", "--bundle", self.work, *options, self.name)],
                                  stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=60 * PATIENCE, **more)
        self.assertEqual(done.returncode, 0, (self.work / "output").read_text())
        return self.state()["pid"]

    def state(self):
        return json.loads(self.runtime("state", self.name).stdout)

    def refused(self, *words, status=1, **more):
        done = self.runtime(*words, check=False, **more)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stderr

    def folders(self):
        return [f"{root}{self.cgroup}" for root in cgroup_roots() if os.path.isdir(f"{root}{self.cgroup}")]


class Words(Case):
    def test_the_program_carries_no_library_that_a_log_driver_alone_needs(self):
        self.assertNotIn(b"OpenSSL", pathlib.Path(RUNTIME).read_bytes())

    def test_options_may_stand_behind_the_id(self):  # E2
        pid = self.start()
        self.runtime("update", self.name, "--pids-limit", "33")
        self.assertEqual(cgroup_file(pid, "pids", "pids.max"), "33")
        self.runtime("update", self.name, "--pids-limit=44")
        self.assertEqual(cgroup_file(pid, "pids", "pids.max"), "44")
        self.assertEqual(self.runtime("exec", self.name, "--cwd", "/bin", "pwd").stdout, "/bin\n")
        self.assertEqual(self.runtime("exec", self.name, "ls", "-d", "/bin").stdout, "/bin\n")
        self.assertEqual(self.runtime("exec", self.name, "--", "ls", "-d", "/bin").stdout, "/bin\n")
        self.runtime("delete", self.name, "--force")
        self.assertEqual(self.runtime("list", "-q").stdout, "")

    def test_what_a_command_does_not_know_is_refused_by_name(self):  # E2
        self.write()
        self.assertIn("--bogus", self.refused("run", "-d", "--bundle", self.work, self.name, "--bogus"))
        self.assertIn("more", self.refused("run", "-d", "--bundle", self.work, self.name, "more"))
        self.assertEqual(self.runtime("list", "-q").stdout, "")
        self.start()
        for command in ("create", "start", "run", "state", "kill", "delete", "pause", "resume", "update", "events"):
            text = self.refused(command, self.name, "--bogus")
            self.assertIn(f"{command}: unknown flag: --bogus", text)
        for command in ("list", "spec", "features"):
            self.assertIn(f"{command}: unknown flag: --bogus", self.refused(command, "--bogus"))
            self.assertIn("word", self.refused(command, "word"))
        self.assertIn("exec: unknown flag: --bogus", self.refused("exec", "--bogus", self.name, "true", status=255))
        for command in ("start", "state", "delete", "pause", "resume", "update", "events"):
            self.assertIn("word", self.refused(command, self.name, "word"))
            self.assertIn("ID is missing", self.refused(command))
        self.assertIn("word", self.refused("kill", self.name, "TERM", "word"))
        self.assertIn("unknown signal", self.refused("kill", self.name, "WORD"))
        self.assertIn("unknown flag: --bogus", run(RUNTIME, "--bogus", "list", check=False).stderr)
        self.assertEqual(self.state()["status"], "running")

    def test_numbers_and_formats_are_checked(self):  # E2
        self.start()
        self.assertIn("--pids-limit", self.refused("update", self.name, "--pids-limit", "many"))
        self.assertIn("--memory", self.refused("update", self.name, "--memory", "64x"))
        self.assertIn("format", self.refused("list", "--format", "yaml"))
        self.assertIn("log-format", run(RUNTIME, "--log-format", "xml", "list", check=False).stderr)
        self.assertIn("not implemented: --l3-cache-schema", self.refused("update", self.name, "--l3-cache-schema", "x"))

    def test_a_label_for_exec_is_not_passed_over(self):  # E2
        self.start()
        for option, there, said in (("--apparmor", has_apparmor(), "x is not loaded"), ("--process-label", os.path.exists("/sys/fs/selinux"), "not implemented")):
            done = self.runtime("exec", option, "x", self.name, "true", check=False)
            self.assertEqual(done.returncode != 0, there, done.stderr)
            self.assertIn(said if there else "has no effect", done.stderr)

    def test_debug_says_what_is_done(self):  # E7
        self.spec["process"]["args"] = ["true"]
        self.write()
        log = self.work / "log"
        self.runtime("--debug", "--log", log, "--log-format", "json", "run", "--bundle", self.work, self.name)
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        self.assertTrue(all(line["level"] == "debug" for line in lines), lines)
        self.assertTrue(any(self.cgroup in line["msg"] for line in lines), lines)
        self.assertTrue(any("ended with status 0" in line["msg"] for line in lines), lines)

    def test_ps_takes_the_options_of_ps(self):  # E7
        pid = self.start()
        head, line = self.runtime("ps", self.name).stdout.splitlines()
        self.assertEqual(head.split()[:3], ["UID", "PID", "PPID"])
        self.assertEqual(int(line.split()[1]), pid)
        self.assertEqual(self.runtime("ps", self.name, "-o", "pid,comm", "-e").stdout.split(), ["PID", "COMMAND", str(pid), "sleep"])
        self.assertIn("PID", self.refused("ps", self.name, "-o", "comm"))
        self.assertEqual(json.loads(self.runtime("ps", "--format", "json", self.name).stdout), [pid])

    def test_features(self):  # E7b
        seccomp = json.loads(self.runtime("features").stdout)["linux"]["seccomp"]
        for key, some in (("actions", "SCMP_ACT_ERRNO"), ("operators", "SCMP_CMP_MASKED_EQ"), ("archs", "SCMP_ARCH_X86_64"),
                          ("knownFlags", "SECCOMP_FILTER_FLAG_LOG"), ("supportedFlags", "SECCOMP_FILTER_FLAG_TSYNC")):
            self.assertIn(some, seccomp[key], key)
        # One filter is for machines of one byte order.
        archs = [each for each in seccomp["archs"] if each in ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32")]
        self.assertEqual(len(archs), 3)
        for action in seccomp["actions"]:
            self.spec["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": archs, "flags": seccomp["supportedFlags"],
                                             "syscalls": [{"names": ["acct"], "action": action}]}
            self.spec["process"]["args"] = ["true"]
            self.write()
            self.runtime("run", "--bundle", self.work, self.name)

    def test_sockets_are_handed_on(self):  # E7b
        self.spec["process"]["args"] = ["sh", "-c", "echo $LISTEN_FDS $LISTEN_PID $LISTEN_FDNAMES; echo through >&3; echo also >&4"]
        self.write()
        read, write = os.pipe()
        also, write_also = os.pipe()

        def prepare():
            os.dup2(os.dup(write), 3)
            os.dup2(os.dup(write_also), 4)
            os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="web")
            os.execv(RUNTIME, [str(w) for w in (RUNTIME, "--root", self.work / "state", "run", "--preserve-fds", 1, "--bundle", self.work, self.name)])

        with open(self.work / "output", "w+") as output:
            child = os.fork()
            if child == 0:
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
                prepare()
            os.close(write)
            os.close(write_also)
            _, status = os.waitpid(child, 0)
            output.seek(0)
            text = output.read()
        self.assertEqual((status, text), (0, "1 1 web\n"))
        with os.fdopen(read) as first, os.fdopen(also) as second:
            self.assertEqual((first.read(), second.read()), ("through\n", "also\n"))

    def test_pidfd_socket(self):  # E7
        path = self.work / "pidfd.sock"
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(str(path))
        listener.listen()
        pid = self.start("--pidfd-socket", path)
        connection, _ = listener.accept()
        with connection:
            message, control, _, _ = connection.recvmsg(100, socket.CMSG_LEN(array.array("i").itemsize))
        self.assertEqual(message, b"standard")
        fd = array.array("i", control[0][2])[0]
        self.assertIn(f"Pid:\t{pid}\n", pathlib.Path(f"/proc/self/fdinfo/{fd}").read_text())
        signal.pidfd_send_signal(fd, signal.SIGKILL)
        os.close(fd)
        wait_until("the container has stopped", lambda: self.state()["status"] == "stopped")

    def test_no_session_keyring_of_the_caller(self):
        if not os.path.exists("/proc/keys"):
            self.skipTest("this kernel has no keys")
        # KEYCTL_JOIN_SESSION_KEYRING, and KEYCTL_SETPERM: only whoever has it sees it, not all of the same user.
        script = ("import ctypes, os, sys; call = ctypes.CDLL(None).syscall; own = call(250, 1, None); assert call(250, 5, own, 0x3f000000) == 0;"
                  " print(own, flush=True); os.execv(sys.argv[1], sys.argv[1:])")
        self.spec["process"]["args"] = ["cat", "/proc/keys"]
        self.write()

        def keys(*options):
            done = run("python3", "-c", script, RUNTIME, "--root", self.work / "state", "run", *options, "--bundle", self.work, self.name)
            own, _, out = done.stdout.partition("\n")
            return f"{int(own) & 0xffffffff:08x} ", out

        own, out = keys()
        self.assertNotIn(own, out)
        own, out = keys("--no-new-keyring")
        self.assertIn(own, out)


class Events(Case):
    def test_statistics_come_until_the_container_ends(self):  # E7
        pid = self.start()
        events = subprocess.Popen([str(w) for w in (RUNTIME, "--root", self.work / "state", "events", "--interval", "50ms", self.name)],
                                  stdout=subprocess.PIPE, text=True)
        self.addCleanup(events.stdout.close)
        self.addCleanup(events.wait)
        self.addCleanup(events.kill)
        for _ in range(3):
            event = json.loads(events.stdout.readline())
            self.assertEqual((event["type"], event["id"]), ("stats", self.name))
            self.assertEqual(event["data"]["pids"]["current"], 1)
        os.kill(pid, signal.SIGKILL)
        self.assertEqual(events.wait(20 * PATIENCE), 0)

    def test_a_lack_of_memory_is_an_event(self):  # E7
        self.spec["process"]["args"] = ["sh", "-c", "while [ ! -e /go ]; do sleep 0.1; done; (head -c 100000000 /dev/zero | tail -c 90000000); sleep 1000"]
        self.spec["linux"]["resources"] = {"memory": {"limit": 20 << 20, "swap": 20 << 20}}
        self.start()
        events = subprocess.Popen([str(w) for w in (RUNTIME, "--root", self.work / "state", "events", "--interval", "200ms", self.name)],
                                  stdout=subprocess.PIPE, text=True)
        self.addCleanup(events.stdout.close)
        self.addCleanup(events.wait)
        self.addCleanup(events.kill)
        self.assertEqual(json.loads(events.stdout.readline())["type"], "stats")
        (self.work / "rootfs/go").touch()
        for _ in range(int(300 * PATIENCE)):
            if json.loads(events.stdout.readline())["type"] == "oom":
                return
        self.fail("no event")

    def test_refusals(self):  # E7
        self.assertIn("does not exist", self.refused("events", self.name))
        self.start()
        self.assertIn("interval", self.refused("events", "--interval", "0s", self.name))
        self.assertEqual(json.loads(self.runtime("events", "--stats", self.name).stdout)["type"], "stats")


class Cgroups(Case):
    def hierarchy(self, controller):
        for root in cgroup_roots():
            if cgroup_version() == 2 or controller in root.name.split(","):
                return root
        self.skipTest(f"no controller {controller} here")

    def test_a_frozen_cgroup_is_refused(self):  # E4
        folder = pathlib.Path(f"{self.hierarchy('freezer')}{self.cgroup}")
        folder.mkdir(parents=True)
        (folder / ("cgroup.freeze" if cgroup_version() == 2 else "freezer.state")).write_text("1" if cgroup_version() == 2 else "FROZEN")
        self.write()
        self.assertIn("frozen", self.refused("run", "-d", "--bundle", self.work, self.name, timeout=20))
        self.assertFalse((self.work / "state" / self.name).exists())
        self.assertTrue(folder.exists())

    def test_an_inhabited_cgroup_is_refused(self):  # E4
        pid = self.start()
        self.write()
        text = self.refused("run", "-d", "--bundle", self.work, self.name + "-2", timeout=20)
        self.assertIn("not empty: 1 process", text)
        self.assertFalse((self.work / "state" / (self.name + "-2")).exists())
        self.assertEqual(self.state()["status"], "running")
        self.assertIn(str(pid), self.runtime("ps", "--format", "json", self.name).stdout)

    def test_a_refused_device_rule_leaves_no_cgroups(self):  # E7b
        for rule in ({"allow": True, "type": "x", "access": "rwm"}, {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "q"},
                     {"allow": True, "type": "c", "major": 1 << 40, "access": "r"}):
            self.spec["linux"]["resources"] = {"devices": [rule]}
            self.write()
            self.refused("run", "-d", "--bundle", self.work, self.name)
            self.assertEqual(self.folders(), [])
            self.assertFalse((self.work / "state" / self.name).exists())

    def test_access_may_have_an_a(self):  # E7
        self.spec["linux"]["resources"] = {"devices": [{"allow": False, "access": "rwm"}, {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rwa"}]}
        self.start()
        if cgroup_version() == 1:
            self.assertIn("c 10:229 rw\n", pathlib.Path(f"{self.hierarchy('devices')}{self.cgroup}/devices.list").read_text())

    def test_idle_and_burst(self):  # E7, E7b
        pid = self.start()
        self.runtime("update", "--cpu-quota", "50000", "--cpu-period", "100000", "--cpu-burst", "20000", self.name)
        self.assertEqual(cgroup_file(pid, "cpu", ("cpu.cfs_burst_us", "cpu.max.burst")), "20000")
        self.runtime("update", self.name, "--cpu-idle", "1")
        self.assertEqual(cgroup_file(pid, "cpu", "cpu.idle"), "1")

    def test_memory_takes_units(self):
        pid = self.start()
        self.runtime("update", self.name, "--memory", "64M")
        self.assertEqual(cgroup_file(pid, "memory", ("memory.limit_in_bytes", "memory.max")), str(64 << 20))

    def test_the_path_is_joined_in_the_empty_hierarchy_of_a_hybrid(self):  # E7
        unified = [root for root in cgroup_roots() if (root / "cgroup.procs").exists() and (root / "cgroup.controllers").exists()]
        if cgroup_version() == 2 or not unified:
            self.skipTest("no hybrid")
        pid = self.start()
        self.assertIn(f"0::{self.cgroup}\n", pathlib.Path(f"/proc/{pid}/cgroup").read_text())
        self.assertEqual(self.runtime("exec", self.name, "sh", "-c", "grep ^0:: /proc/self/cgroup").stdout, f"0::{self.cgroup}\n")

    def test_exec_in_a_cgroup_below(self):  # E7
        self.start()
        for folder in self.folders():
            os.mkdir(folder + "/sub")
        out = self.runtime("exec", "--cgroup", "sub", self.name, "cat", "/proc/self/cgroup").stdout
        self.assertIn(f":{self.cgroup}/sub\n", out)
        if cgroup_version() == 1:
            lines = self.runtime("exec", "--cgroup", "pids:sub", self.name, "cat", "/proc/self/cgroup").stdout.splitlines()
            self.assertEqual([line.split(":")[1] for line in lines if line.endswith(f"{self.cgroup}/sub")], ["pids"])
            self.assertIn("unknown controller", self.refused("exec", "--cgroup", "bogus:sub", self.name, "true", status=255))
        self.assertIn("no such cgroup", self.refused("exec", "--cgroup", "nosuch", self.name, "true", status=255))
        self.assertIn("..", self.refused("exec", "--cgroup", "../..", self.name, "true", status=255))

    def test_only_what_is_paused_can_be_resumed(self):  # E7b
        self.start()
        self.assertIn("not paused", self.refused("resume", self.name))
        self.runtime("pause", self.name)
        self.assertEqual(self.state()["status"], "paused")
        self.assertIn("not running", self.refused("pause", self.name))
        self.runtime("resume", self.name)
        self.assertEqual(self.state()["status"], "running")

    def test_a_paused_container_can_be_killed(self):
        self.start()
        self.runtime("pause", self.name)
        self.runtime("kill", self.name, "KILL")
        wait_until("it has ended", lambda: self.state()["status"] == "stopped")


class Ends(Case):
    """Containers that share a PID namespace or have none of their own."""

    def without_pid_namespace(self):
        self.spec["linux"]["namespaces"] = [each for each in self.spec["linux"]["namespaces"] if each["type"] != "pid"]
        self.spec["mounts"] = [{"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"]} if each["destination"] == "/proc" else each
                               for each in self.spec["mounts"]]
        del self.spec["linux"]["maskedPaths"], self.spec["linux"]["readonlyPaths"]
        self.spec["process"]["args"] = ["sh", "-c", "sleep 12345 & exec sleep 12346"]

    def processes(self):
        found = set()
        for folder in self.folders():
            found |= set(pathlib.Path(folder, "cgroup.procs").read_text().split())
        return found

    def test_kill_ends_the_whole_cgroup(self):  # A8
        self.without_pid_namespace()
        self.start()
        wait_until("both run", lambda: len(self.processes()) == 2)
        self.runtime("kill", self.name, "KILL")
        wait_until("none is left", lambda: not self.processes())
        self.runtime("delete", self.name)
        self.assertEqual(self.folders(), [])

    def test_kill_ends_what_an_ended_init_left(self):  # A8
        self.without_pid_namespace()
        pid = self.start()
        wait_until("both run", lambda: len(self.processes()) == 2)
        os.kill(pid, signal.SIGKILL)
        wait_until("init has ended", lambda: self.state()["status"] == "stopped")
        self.assertEqual(len(self.processes()), 1)
        self.runtime("kill", self.name, "KILL")
        wait_until("none is left", lambda: not self.processes())
        self.assertIn("not running", self.refused("kill", self.name, "KILL"))

    def test_delete_ends_the_whole_cgroup(self):  # A8
        self.without_pid_namespace()
        pid = self.start()
        wait_until("both run", lambda: len(self.processes()) == 2)
        os.kill(pid, signal.SIGKILL)
        wait_until("init has ended", lambda: self.state()["status"] == "stopped")
        self.runtime("delete", self.name)
        self.assertEqual(self.folders(), [])

    def test_run_ends_the_whole_cgroup(self):  # A8
        self.without_pid_namespace()
        self.spec["process"]["args"] = ["sh", "-c", "sleep 12345 > /dev/null 2>&1 & exit 7"]
        self.write()
        self.assertEqual(self.runtime("run", "--bundle", self.work, self.name, check=False).returncode, 7)
        self.assertEqual(self.folders(), [])
        self.assertEqual(self.runtime("list", "-q").stdout, "")


class Folders(Case):
    def test_what_a_killed_create_left_can_be_deleted(self):  # E1
        (self.work / "state" / self.name).mkdir(parents=True)
        self.assertEqual(self.runtime("list", "-q").stdout, "")
        self.write()
        self.assertIn("already exists", self.refused("run", "-d", "--bundle", self.work, self.name))
        self.runtime("delete", self.name)
        self.assertFalse((self.work / "state" / self.name).exists())
        self.assertIn("does not exist", self.refused("delete", self.name))
        self.runtime("delete", "--force", self.name)

    def test_a_folder_in_the_making_is_not_a_leftover(self):  # E1
        self.spec["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", f"touch {self.work}/there; while [ ! -e {self.work}/go ]; do sleep 0.05; done"]}]}
        self.write()
        create = subprocess.Popen([str(w) for w in (RUNTIME, "--root", self.work / "state", "create", "--bundle", self.work, self.name)],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(create.wait)
        self.addCleanup((self.work / "go").touch)
        wait_until("the hook runs", (self.work / "there").exists)
        self.assertIn("being created", self.refused("delete", self.name))
        (self.work / "go").touch()
        self.assertEqual(create.wait(20 * PATIENCE), 0)
        self.assertEqual(self.state()["status"], "created")

    def test_nothing_is_left_of_a_create_that_failed(self):  # E1
        def fails(*options):
            self.write()
            self.refused("create", "--bundle", self.work, *options, self.name)
            self.assertFalse((self.work / "state" / self.name).exists())
            self.assertEqual(self.folders(), [])

        fails("--pid-file", self.work / "no/such/folder/pid")
        fails("--pidfd-socket", self.work / "nobody")
        self.spec["hooks"] = {"createRuntime": [{"path": "/bin/false"}]}
        fails()
        del self.spec["hooks"]
        self.spec["process"]["args"] = ["/no/such/program"]
        fails()
        self.spec["mounts"].append({"destination": "/x", "type": "bind", "source": "/no/such", "options": ["bind"]})
        fails()


class OrdinaryUser(Case):
    """A user of the host without any right there."""

    UID = 54321

    def setUp(self):
        super().setUp()
        if pathlib.Path("/proc/sys/kernel/unprivileged_userns_clone").exists() and pathlib.Path("/proc/sys/kernel/unprivileged_userns_clone").read_text() == "0\n":
            self.skipTest("this kernel gives ordinary users no namespaces")
        self.run_dir = self.work / "run"
        self.run_dir.mkdir()
        for path in (self.work, self.run_dir):
            os.chown(path, self.UID, self.UID)
        run("chown", "-R", f"{self.UID}:{self.UID}", self.work / "rootfs")
        self.program = self.work / "grua-runtime"
        shutil.copy(RUNTIME, self.program)
        self.program.chmod(0o755)

    def as_user(self, *words, check=True, **more):
        return run(self.program, *words, check=check, user=self.UID, group=self.UID, extra_groups=[], cwd=self.work,
                   env={"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(self.run_dir)}, **more)

    def bundle(self, *args):
        self.as_user("spec", "--rootless")
        spec = json.loads((self.work / "config.json").read_text())
        spec["process"]["terminal"] = False
        spec["process"]["args"] = list(args)
        self.save(spec)
        return spec

    def save(self, spec):
        (self.work / "config.json").write_text(json.dumps(spec))

    def test_run(self):  # E8
        self.bundle("sh", "-c", "id -u; id -g; cat /proc/self/uid_map; echo x > /dev/null; cat /proc/self/status | grep -c NoNewPrivs:.*1; exit 7")
        done = self.as_user("run", "box", check=False)
        self.assertEqual(done.returncode, 7, done.stderr)
        self.assertEqual(done.stdout.split(), ["0", "0", "0", str(self.UID), "1", "1"])
        self.assertEqual(self.as_user("list", "-q").stdout, "")

    def test_the_life_of_a_container(self):  # E8
        spec = self.bundle("sleep", "1000")
        spec["root"]["readonly"] = False
        self.save(spec)
        with open(self.work / "output", "w") as output:
            self.as_user_detached(output, "create", "box")
        self.addCleanup(self.as_user, "delete", "--force", "box", check=False)
        self.assertEqual(json.loads(self.as_user("state", "box").stdout)["status"], "created")
        self.as_user("start", "box")
        self.assertEqual(json.loads(self.as_user("state", "box").stdout)["status"], "running")
        self.assertEqual(self.as_user("exec", "box", "sh", "-c", "id -u; hostname; touch /made").stdout, "0\ngrua\n")
        self.assertEqual((self.work / "rootfs/made").stat().st_uid, self.UID)
        self.assertNotEqual(self.as_user("delete", "box", check=False).returncode, 0)
        self.as_user("kill", "box", "KILL")
        wait_until("it has stopped", lambda: json.loads(self.as_user("state", "box").stdout)["status"] == "stopped")
        self.as_user("delete", "box")
        self.assertFalse((self.run_dir / "grua-runtime/box").exists())

    def as_user_detached(self, output, *words):
        subprocess.run([str(self.program), *words], check=True, user=self.UID, group=self.UID, extra_groups=[], cwd=self.work, stdin=subprocess.DEVNULL,
                       stdout=output, stderr=output, env={"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(self.run_dir)}, timeout=60 * PATIENCE)

    def test_limits_without_a_cgroup_are_refused(self):  # E8
        spec = self.bundle("true")
        spec["linux"]["resources"] = {"memory": {"limit": 64 << 20}}
        self.save(spec)
        self.assertIn("limits need a cgroup", self.as_user("run", "box", check=False).stderr)
        self.assertEqual(self.as_user("list", "-q").stdout, "")

    def test_a_container_without_a_user_namespace_is_refused(self):  # E8
        spec = self.bundle("true")
        spec["linux"]["namespaces"] = [each for each in spec["linux"]["namespaces"] if each["type"] != "user"]
        self.save(spec)
        self.assertIn("user namespace", self.as_user("run", "box", check=False).stderr)

    def test_more_than_one_id_by_newuidmap(self):  # E8
        if not shutil.which("newuidmap"):
            self.skipTest("newuidmap is not installed")
        with tempfile.TemporaryDirectory(dir="/var/tmp") as etc:
            # The helpers read /etc/subuid of their own mount namespace.
            for name in ("subuid", "subgid"):
                pathlib.Path(etc, name).write_text(f"{self.UID}:700000:65536\n")
            pathlib.Path(etc, "passwd").write_text(pathlib.Path("/etc/passwd").read_text() + f"grua-test:x:{self.UID}:{self.UID}::/:/bin/sh\n")
            spec = self.bundle("sh", "-c", "cat /proc/self/uid_map; chown 1000:1000 /tmp/x; stat -c %u:%g /tmp/x")
            spec["root"]["readonly"] = False
            spec["linux"]["uidMappings"] = spec["linux"]["gidMappings"] = [{"containerID": 0, "hostID": self.UID, "size": 1},
                                                                          {"containerID": 1, "hostID": 700000, "size": 65536}]
            self.save(spec)
            (self.work / "rootfs/tmp").mkdir(exist_ok=True)
            (self.work / "rootfs/tmp/x").touch()
            os.chown(self.work / "rootfs/tmp/x", self.UID, self.UID)
            binds = "; ".join(f"touch /etc/{name}; mount --bind {etc}/{name} /etc/{name}" for name in ("subuid", "subgid", "passwd"))
            out = run("unshare", "-m", "sh", "-ec", f"{binds}; cd {self.work}; exec setpriv --reuid {self.UID} --regid {self.UID} --clear-groups "
                      f"env XDG_RUNTIME_DIR={self.run_dir} {self.program} run box")
        self.assertEqual(out.stdout.split(), ["0", str(self.UID), "1", "1", "700000", "65536", "1000:1000"])
