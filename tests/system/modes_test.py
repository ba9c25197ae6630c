"""Namespaces that are shared, cgroup parents, security options, links that go, and programs that are too young for a signal."""

import json
import pathlib
import time

from harness import BIN, Case, Daemon, has_apparmor, wait_until


class Modes(Case):
    def pid(self, name):
        return int(self.out("inspect", "-f", "{{.State.Pid}}", name))

    def refused(self, *words):
        done = self.docker("create", *words, "busybox", "true", check=False)
        self.assertNotEqual(done.returncode, 0, words)
        return done.stderr

    def test_ipc_of_another_container(self):
        self.docker("run", "-d", "--name", "donor", "--ipc", "shareable", "--shm-size", "1m", "busybox", "sh", "-c", "echo hello > /dev/shm/file; sleep 1000")
        own = self.out("exec", "donor", "readlink", "/proc/self/ns/ipc")
        words = ("run", "--rm", "--ipc", "container:donor", "busybox", "sh", "-c")
        self.assertEqual(self.out(*words, "readlink /proc/self/ns/ipc; cat /dev/shm/file; echo more > /dev/shm/made"), f"{own}\nhello")
        self.assertEqual(self.out("exec", "donor", "cat", "/dev/shm/made"), "more")
        self.assertIn("1024", self.out(*words, "df -k /dev/shm"))
        self.assertEqual(self.out(*words, "ls /dev/mqueue | wc -l"), "0")
        # Whoever joins one that has joined is in the first one's.
        self.docker("run", "-d", "--name", "second", "--ipc", "container:donor", "busybox", "sleep", "1000")
        self.assertEqual(self.out("run", "--rm", "--ipc", "container:second", "busybox", "cat", "/dev/shm/file"), "hello")
        donor = json.loads(self.out("inspect", "donor"))[0]["Id"]
        self.assertEqual(self.out("inspect", "-f", "{{.HostConfig.IpcMode}}", "second"), f"container:{donor}")
        # What it has is its own while it runs, and gone for the next one when the donor has ended.
        self.docker("rm", "-f", "donor")
        self.assertEqual(self.out("exec", "second", "cat", "/dev/shm/file"), "hello")
        self.docker("stop", "-t", "0", "second")
        self.assertIn("No such container", self.docker("start", "second", check=False).stderr)

    def test_ipc_that_is_not_shared(self):
        for mode in ("private", "none"):
            self.docker("run", "-d", "--name", mode, "--ipc", mode, "busybox", "sleep", "1000")
            done = self.docker("run", "--rm", "--ipc", f"container:{mode}", "busybox", "true", check=False)
            self.assertIn("non-shareable IPC (hint: use IpcMode:shareable for the donor container)", done.stderr)
        self.assertNotEqual(self.docker("exec", "none", "ls", "/dev/shm/", check=False).stdout + "x", "")
        self.assertEqual(self.docker("exec", "none", "grep", " /dev/shm ", "/proc/mounts", check=False).stdout, "")
        self.docker("run", "-d", "--name", "own", "--ipc", "host", "busybox", "sleep", "1000")
        self.assertEqual(self.out("run", "--rm", "--ipc", "container:own", "busybox", "readlink", "/proc/self/ns/ipc"),
                         self.out("exec", "own", "readlink", "/proc/self/ns/ipc"))
        self.docker("create", "--name", "stopped", "--ipc", "shareable", "busybox")
        done = self.docker("run", "--rm", "--ipc", "container:stopped", "busybox", "true", check=False)
        self.assertIn("cannot join ipc namespace of a non running container", done.stderr)
        self.assertIn("invalid IPC mode: bogus", self.refused("--ipc", "bogus"))
        done = self.docker("create", "--ipc", "container:nosuch", "busybox", check=False)
        self.assertIn("No such container: nosuch", done.stderr)
        self.assertNotIn("pull", done.stderr.lower())

    def test_the_daemon_says_what_is_asked_for_by_nobody(self):
        daemon = Daemon("--default-ipc-mode", "shareable")
        self.addCleanup(daemon.close)
        daemon.docker("run", "-d", "--name", "donor", "busybox", "sleep", "1000")
        self.assertEqual(daemon.docker("inspect", "-f", "{{.HostConfig.IpcMode}}", "donor").stdout, "shareable\n")
        daemon.docker("run", "--rm", "--ipc", "container:donor", "busybox", "true")

    def test_other_namespaces(self):
        for words, path, same in ((["--uts", "host"], "uts", True), ([], "uts", False), (["--pid", "host"], "pid", True), (["--cgroupns", "host"], "cgroup", True),
                                  (["--cgroupns", "private"], "cgroup", False), (["--userns", "host"], "user", True)):
            here = pathlib.Path(f"/proc/self/ns/{path}").readlink()
            there = self.out("run", "--rm", *words, "busybox", "readlink", f"/proc/self/ns/{path}")
            self.assertEqual(there == str(here), same, words)
        for words in (["--pid", "bogus"], ["--uts", "bogus"], ["--userns", "bogus"], ["--cgroupns", "bogus"]):
            self.assertIn("invalid", self.refused(*words), words)

    def test_cgroup_parents(self):
        name = self.daemon.name
        for parent, there in ((f"/{name}/own", f"/{name}/own"), (f"{name}/own", f"/{name}/own"), (f"../../../{name}/own/", f"/{name}/own"),
                              (f"/{name}/x/../own//", f"/{name}/own")):
            self.docker("run", "-d", "--name", "aa", "--cgroup-parent", parent, "busybox", "sleep", "1000")
            id = self.out("inspect", "-f", "{{.Id}}", "aa")
            self.assertIn(f":{there}/{id}\n", pathlib.Path(f"/proc/{self.pid('aa')}/cgroup").read_text(), parent)
            self.docker("rm", "-f", "aa")
        self.assertIn("a component is too long", self.refused("--cgroup-parent", "x" * 300))

    def test_security_options(self):
        def status(option, *words):
            return self.out("run", "--rm", *(["--security-opt", option] if option else []), "busybox", *words)

        for option, value in (("no-new-privileges", "1"), ("no-new-privileges:true", "1"), ("no-new-privileges=false", "0"), ("no-new-privileges=T", "1"), ("", "0")):
            self.assertEqual(status(option, "grep", "NoNewPrivs", "/proc/self/status").split()[1], value, option)
        for option, value in (("seccomp=unconfined", "0"), ("seccomp=builtin", "2"), ("", "2")):
            self.assertEqual(status(option, "grep", "^Seccomp:", "/proc/self/status").split()[1], value, option)
        self.assertEqual(status("systempaths=unconfined", "sh", "-c", "grep -c ' /proc/' /proc/mounts || true"), "0")
        for option in ("apparmor=unconfined", "label=disable", "label:disable"):
            status(option, "true")
        for option, said in (("apparmor=docker-default", "this kernel has no AppArmor"), ("label=type:x", "this kernel has no SELinux"),
                             ("no-new-privileges=maybe", "invalid --security-opt 2"), ("nonsense", "invalid --security-opt 1"), ("what=x", "invalid --security-opt 2"),
                             ("writable-cgroups=maybe", "invalid --security-opt 2")):
            if ("AppArmor" in said and has_apparmor()) or ("SELinux" in said and pathlib.Path("/sys/fs/selinux/enforce").exists()):
                continue
            # The CLI has its own mind about some, so that the API is asked.
            code, body = self.daemon.api("POST", "/containers/create", {"Image": "busybox", "HostConfig": {"SecurityOpt": [option]}})
            self.assertEqual((code, said in body), (400, True), (option, body))

    def test_options_that_no_client_sends(self):
        for option in ("disable", "writable-cgroups"):
            status, body = self.daemon.api("POST", "/containers/create", {"Image": "busybox", "HostConfig": {"SecurityOpt": [option]}})
            self.assertEqual(status, 201, body)

    def test_writable_cgroups(self):
        make = "mkdir $(ls -d /sys/fs/cgroup/pids /sys/fs/cgroup | head -n 1)/made"
        for option, works in (("writable-cgroups=true", True), ("writable-cgroups=1", True), ("writable-cgroups=false", False), ("", False)):
            done = self.docker("run", "--rm", "--cgroupns", "private", *(["--security-opt", option] if option else []), "busybox", "sh", "-c", make, check=False)
            self.assertEqual(done.returncode == 0, works, (option, done.stderr))

    def test_links_can_be_removed(self):
        self.docker("run", "-d", "--name", "db", "busybox", "sleep", "1000")
        self.docker("run", "-d", "--name", "web", "--link", "db:one", "--link", "db:two", "busybox", "sleep", "1000")
        self.assertIn("one", self.out("exec", "web", "cat", "/etc/hosts"))
        self.docker("rm", "--link", "web/one")
        self.assertEqual(json.loads(self.out("inspect", "web"))[0]["HostConfig"]["Links"], ["/db:/web/two"])
        hosts = self.out("exec", "web", "cat", "/etc/hosts")
        self.assertNotIn("one", hosts)
        self.assertIn("two", hosts)
        self.docker("inspect", "db")
        self.assertIn("No such container: web/one", self.docker("rm", "--link", "web/one", check=False).stderr)
        self.assertIn("cannot remove the default link name", self.docker("rm", "--link", "db", check=False).stderr)
        self.assertIn("No such container", self.docker("rm", "--link", "nosuch/two", check=False).stderr)
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual(json.loads(self.out("inspect", "web"))[0]["HostConfig"]["Links"], ["/db:/web/two"])
        self.grua("rm", "--link", "/web/two")
        self.docker("restart", "-t", "0", "web")
        self.assertNotIn("two", self.out("exec", "web", "cat", "/etc/hosts"))


class Young(Case):
    """Process 1 of a PID namespace gets no signal that it has no handler for."""

    def stop_after(self, script, timeout=30):
        self.docker("run", "-d", "--name", "aa", "busybox", "sh", "-c", script)
        began = time.monotonic()
        self.docker("stop", "-t", str(timeout), "aa", timeout=timeout + 60)
        return time.monotonic() - began, int(self.out("inspect", "-f", "{{.State.ExitCode}}", "aa"))

    def test_one_without_a_handler_yet_gets_the_signal_again(self):
        took, code = self.stop_after("sleep 1; trap 'exit 7' TERM; while true; do sleep 0.1; done")
        self.assertEqual(code, 7)
        self.assertLess(took, 29)

    def test_also_one_that_becomes_another_program(self):
        took, code = self.stop_after("sleep 1; exec sh -c \"trap 'exit 8' TERM; while true; do sleep 0.1; done\"")
        self.assertEqual(code, 8)
        self.assertLess(took, 29)

    def test_also_one_that_becomes_an_init(self):
        """Which has no handler either: it blocks signals, and takes them one by one."""
        self.docker("run", "-d", "--name", "aa", "-v", f"{BIN}/grua-init:/the-init:ro", "busybox", "sh", "-c", "sleep 1; exec /the-init sleep 1000")
        began = time.monotonic()
        self.docker("stop", "-t", "30", "aa", timeout=90)
        self.assertEqual(self.out("inspect", "-f", "{{.State.ExitCode}}", "aa"), "143")
        self.assertLess(time.monotonic() - began, 29)

    def test_one_that_has_a_handler_gets_it_once(self):
        self.docker("run", "-d", "--name", "aa", "busybox", "sh", "-c",
                    "n=0; trap 'n=$((n+1))' TERM; echo ready; i=0; while [ $i -lt 30 ]; do sleep 0.1; i=$((i+1)); done; exit $n")
        wait_until("it has its handler", lambda: "ready" in self.docker("logs", "aa").stdout)
        self.docker("stop", "-t", "60", "aa", timeout=120)
        self.assertEqual(self.out("inspect", "-f", "{{.State.ExitCode}}", "aa"), "1")

    def test_one_that_never_has_one_is_killed_in_time(self):
        self.docker("run", "-d", "--name", "aa", "busybox", "sleep", "1000")
        began = time.monotonic()
        self.docker("stop", "-t", "1", "aa")
        self.assertGreater(time.monotonic() - began, 0.9)
        self.assertEqual(self.out("inspect", "-f", "{{.State.ExitCode}}", "aa"), "137")

    def test_one_that_ignores_it_is_not_asked_again(self):
        took, code = self.stop_after("trap '' TERM; sleep 1000", timeout=2)
        self.assertEqual(code, 137)
        self.assertGreater(took, 1.9)
