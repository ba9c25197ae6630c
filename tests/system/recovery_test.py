"""gruad is killed and started again: no line, no exit status, no kernel object is lost or left."""

import json
import os
import pathlib
import random
import select
import signal
import socket
import struct
import subprocess
import time
import unittest

from dns_load import query, sockets_in
from harness import DOCKER, Case, Connection, Daemon, in_namespace, run, wait_until

ROUNDS = int(os.environ.get("GRUA_KILLS", "25"))


def mounts_of(daemon):
    text = pathlib.Path("/proc/self/mountinfo").read_text()
    return [line for line in text.splitlines() if str(daemon.root) in line or str(daemon.exec_root) in line]


def cgroups_of(daemon):
    return [path for path, folders, _ in os.walk("/sys/fs/cgroup") if f"/{daemon.name}/" in path]


def links_of(daemon):
    links = json.loads(daemon.in_netns("ip", "-j", "link", "show").stdout)
    return [link["ifname"] for link in links if link["ifname"] not in ("lo", daemon.name)]


def hears(pid, number):
    """It has a handler for the signal, or takes it when it wants to."""
    masks = [int(line.split()[1], 16) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(("SigBlk:", "SigCgt:"))]
    return any(mask >> (number - 1) & 1 for mask in masks)


class Recovery(unittest.TestCase):
    def setUp(self):
        self.daemon = Daemon()
        self.addCleanup(self.daemon.close)

    def test_a_running_container_goes_on(self):
        self.daemon.docker("run", "-d", "--name", "cc", "busybox", "sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done")
        pid = self.daemon.docker("inspect", "--format", "{{.State.Pid}}", "cc").stdout
        log = pathlib.Path(self.daemon.inspect("cc")["LogPath"])
        lines = lambda: log.read_text().count("\n")
        wait_until("it has written", lambda: lines() > 10)
        self.daemon.kill()
        before = lines()
        wait_until("it writes while there is no gruad", lambda: lines() > before + 20)
        self.daemon.start()
        self.assertEqual(self.daemon.docker("inspect", "--format", "{{.State.Pid}}", "cc").stdout, pid)
        self.assertEqual(self.daemon.docker("exec", "cc", "echo", "in").stdout, "in\n")
        self.daemon.docker("stop", "-t", "0", "cc")
        lines = self.daemon.docker("logs", "cc").stdout.split()
        self.assertEqual(lines, [str(n + 1) for n in range(len(lines))])
        self.assertGreater(len(lines), 30)

    def test_an_exit_while_the_daemon_is_away_is_known_afterwards(self):
        self.daemon.docker("run", "-d", "--name", "cc", "busybox", "sh", "-c", "sleep 1; echo last; exit 42")
        self.daemon.docker("run", "-d", "--rm", "--name", "rr", "busybox", "sleep", "1")
        pids = [self.daemon.inspect(name)["State"]["Pid"] for name in ("cc", "rr")]
        self.daemon.kill()
        wait_until("both have ended", lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids))
        self.daemon.start()
        self.assertEqual(self.daemon.docker("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "cc").stdout, "exited 42\n")
        self.assertEqual(self.daemon.docker("logs", "cc").stdout, "last\n")
        wait_until("--rm is honoured", lambda: self.daemon.docker("ps", "-aq", "--filter", "name=rr").stdout == "")

    def test_names_that_are_asked_for_while_no_gruad_is_there_are_answered_by_the_next(self):
        """At the start on a network with names, and connected to one later; of a container that the next gruad finds after the asking one."""
        self.daemon.docker("network", "create", "n")
        self.daemon.docker("run", "-d", "--name", "late", "busybox", "sleep", "1000")
        self.daemon.docker("network", "connect", "n", "late")
        self.daemon.docker("run", "-d", "--name", "early", "--network", "n", "busybox", "sleep", "1000")
        names = ["early", "late"]
        pids = [self.daemon.inspect(name)["State"]["Pid"] for name in names]
        addresses = [socket.inet_aton(self.daemon.inspect(name)["NetworkSettings"]["Networks"]["n"]["IPAddress"]) for name in names]
        for _ in range(2):  # The second time by what the first gruad was given.
            self.daemon.kill()
            asking = sockets_in(pids)
            streams = [in_namespace(pid, lambda: socket.create_connection(("127.0.0.11", 53), 20)) for pid in pids]
            for socket_of, stream, other in zip(asking, streams, reversed(names)):
                socket_of.setblocking(True)
                socket_of.settimeout(20)
                socket_of.send(query(other))
                stream.sendall(struct.pack("!H", len(query(other))) + query(other))
            self.assertEqual(select.select([*asking, *streams], [], [], 0.5)[0], [])  # Not even a refusal.
            self.daemon.start()
            for socket_of, stream, address in zip(asking, streams, reversed(addresses)):
                self.assertEqual(socket_of.recv(1000)[-4:], address)
                self.assertEqual(stream.recv(1000)[-4:], address)
                socket_of.close()
                stream.close()
        self.daemon.docker("rm", "-f", *names)

    def test_a_stop_that_was_answered_holds(self):
        """gruad dies in the moment after its answer; the restart policy finds it written down."""
        for number in range(12):
            name = f"c{number}"
            self.daemon.docker("run", "-d", "--init", "--name", name, "--network", "none", "--restart", "unless-stopped", "busybox", "sleep", "100000")
            # A signal of `kill` that comes before grua-init is ready for it is lost, as with Docker.
            pid = self.daemon.inspect(name)["State"]["Pid"]
            wait_until("grua-init is ready", lambda pid=pid: hears(pid, signal.SIGTERM))
            connection = Connection(self.daemon.socket)
            status, text = connection.ask("POST", f"/containers/{name}/{('stop', 'kill', 'kill?signal=TERM')[number % 3]}")
            self.daemon.kill()
            self.assertEqual(status, 204, text)
            self.daemon.start()
            for _ in range(2):  # And stays so.
                wait_until(f"{name} has ended", lambda name=name: self.daemon.inspect(name)["State"]["Status"] == "exited")
                time.sleep(0.2)

    def test_a_change_of_one_that_goes_with_its_exit_holds(self):
        self.daemon.docker("network", "create", "--subnet", "10.99.66.0/24", "nn")
        self.daemon.docker("create", "--rm", "--name", "created", "--memory", "32m", "busybox", "true")
        self.daemon.docker("run", "-d", "--rm", "--name", "running", "--memory", "32m", "busybox", "sleep", "100000")
        for name in ("created", "running"):
            self.daemon.docker("update", "--memory", "64m", "--memory-swap", "-1", name)
            self.daemon.docker("network", "connect", "nn", name)
        self.daemon.kill()
        self.daemon.start()
        for name in ("created", "running"):
            shown = self.daemon.inspect(name)
            self.assertEqual((shown["HostConfig"]["Memory"], sorted(shown["NetworkSettings"]["Networks"])), (64 << 20, ["bridge", "nn"]), name)

    def test_restarts_that_are_used_up_are_not_begun_anew(self):
        """The last end is while gruad is away."""
        self.daemon.docker("run", "-d", "--name", "cc", "--network", "none", "--restart", "on-failure:1", "busybox", "sh", "-c", "sleep 3; exit 3")
        os.kill(self.daemon.inspect("cc")["State"]["Pid"], signal.SIGKILL)

        def runs_again():
            shown = self.daemon.inspect("cc")
            return shown["RestartCount"] == 1 and shown["State"]["Pid"]

        pid = wait_until("it runs again", runs_again)
        self.daemon.kill()
        wait_until("it has ended", lambda: not os.path.exists(f"/proc/{pid}"))
        self.daemon.start()
        time.sleep(0.5)
        shown = self.daemon.inspect("cc")
        self.assertEqual((shown["State"]["Status"], shown["State"]["ExitCode"], shown["RestartCount"]), ("exited", 3, 1))

    def test_an_attached_client_goes_on_on_its_socket(self):
        # Not by docker attach or run: they also ask for the exit status and may leave when that connection breaks.
        self.daemon.docker("create", "-t", "--name", "cc", "busybox", "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10; do echo $i; sleep 0.2; done")
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(self.daemon.socket))
            client.sendall(b"POST /containers/cc/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
                           b"Content-Length: 0\r\n\r\n")
            answer = client.makefile("rb")
            self.assertIn(b" 101 ", answer.readline())
            while answer.readline() != b"\r\n":
                pass
            self.daemon.docker("start", "cc")
            self.assertEqual(answer.readline(), b"1\r\n")
            self.daemon.kill()
            self.daemon.start()
            self.assertEqual(answer.read().split(), [b"%d" % n for n in range(2, 11)])
        wait_until("cc has ended", lambda: self.daemon.inspect("cc")["State"]["Status"] == "exited")
        self.assertEqual(self.daemon.inspect("cc")["State"]["ExitCode"], 0)

    def test_killed_at_random_moments_nothing_is_lost_or_left(self):
        """GRUA_KILLS times: containers start, write numbered lines, exit with a status of their own; gruad dies in between."""
        chance = random.Random(int(os.environ.get("GRUA_SEED", "1")))
        expected = {}
        for number in range(ROUNDS):
            if number % 50 == 0:
                # The moments lie within and shortly after a start, however long that takes on this machine now.
                began = time.monotonic()
                self.daemon.docker("run", "-d", "--name", f"measured{number}", "busybox", "true")
                moments = max(0.25, 1.5 * (time.monotonic() - began))
            name = f"k{number}"
            lines, code = chance.randint(1, 400), chance.randint(0, 100)
            script = f"i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo $i; done; exit {code}"
            client = subprocess.Popen([DOCKER, "run", "-d", "--name", name, "busybox", "sh", "-c", script],
                                      env=self.daemon.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            time.sleep(chance.uniform(0, moments))
            self.daemon.kill()
            out, _ = client.communicate(timeout=60)
            self.daemon.start()
            expected[name] = (lines, code, client.returncode == 0)
        started = 0
        for name, (lines, code, told) in expected.items():
            found = self.daemon.docker("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", name, check=False)
            if found.returncode != 0:
                self.assertFalse(told, f"{name} was reported as started and is gone")
                continue
            if found.stdout.startswith("created"):
                self.assertFalse(told, f"{name} was reported as started and is only created")
                continue
            wait_until(f"{name} has ended", lambda: self.daemon.docker("inspect", "--format", "{{.State.Running}}", name).stdout == "false\n")
            shown = self.daemon.inspect(name)
            state = shown["State"]
            said = [line for line in self.daemon.log.read_text(errors="replace").splitlines() if shown["Id"][:12] in line]
            self.assertEqual((state["Status"], state["ExitCode"], state["Error"]), ("exited", code, ""), "\n".join([name, str(state), *said]))
            self.assertEqual(self.daemon.docker("logs", name).stdout.split(), [str(n + 1) for n in range(lines)], name)
            started += 1
        print(f"    {ROUNDS} kills, {started} containers started")
        self.assertGreater(started, 0)
        ids = self.daemon.docker("ps", "-aq").stdout.split()
        if ids:
            self.daemon.docker("rm", "-f", *ids, timeout=120)
        self.daemon.stop()
        wait_until("veths are gone", lambda: not links_of(self.daemon), 5)
        self.assertEqual(mounts_of(self.daemon), [])
        self.assertEqual(cgroups_of(self.daemon), [])
        left = run("pgrep", "-f", f"{self.daemon.exec_root}", check=False).stdout.split()
        self.assertEqual(left, [])
        self.daemon.start()
        self.assertEqual(self.daemon.docker("ps", "-aq").stdout, "")
