"""Much output at once: a gigabyte of lines through each log driver, servers that pause, ten containers at full speed, a full disk, kills of gruad.

GRUA_LOG_MEGABYTES says how much a container writes (1000); what goes through journald, to servers that pause and by several containers is a part of it.
"""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import threading
import time

import log_drivers_test as drivers
from harness import DOCKER, PATIENCE, SANITIZED, Daemon, SmallDisk, connections_of, run, wait_until

MEGABYTES = int(os.environ.get("GRUA_LOG_MEGABYTES", "1000"))
LINE = 200
PAD = b"x" * 100
# Room for all of it, so that nothing is rotated away.
ROOM = ("--log-opt", "max-size=50m", "--log-opt", "max-file=100")


def line(number):
    """LINE bytes with their newline."""
    return b"%d %s\n" % (number, b"x" * (LINE - 2 - len(str(number))))


def lines_in(megabytes):
    return megabytes * 1_000_000 // LINE


def printing(lines):
    """A script that writes so many of them as fast as it can."""
    return f"""awk 'BEGIN {{ p = sprintf("%{LINE}s", ""); gsub(/ /, "x", p); for (i = 1; i <= {lines}; i++) print i " " substr(p, 1, {LINE - 2} - length(i "")) }}'"""


class Counted:
    """Lines 1, 2, 3 …, each once and in order; looked at as they come. `cut` takes off what stands before each."""

    def __init__(self, cut=lambda text: text):
        self.cut = cut
        self.rest = b""
        self.count = 0
        self.wrong = None
        self.last = time.monotonic()

    def take(self, data):
        pieces = (self.rest + data).split(b"\n")
        self.rest = pieces.pop()
        for piece in pieces:
            self.count += 1
            text = self.cut(piece)
            if self.wrong is None and text + b"\n" != line(self.count):
                self.wrong = f"line {self.count} is {text[:30]!r}"
        self.last = time.monotonic()


class Server:
    """A syslog server for streams that counts what comes. After each `pause_after` bytes it does not read for `pause` seconds."""

    def __init__(self, listener, pause_after=None, pause=3.0):
        self.listener = listener
        self.listener.listen(20)
        self.pause_after, self.pause = pause_after, pause
        self.paused = 0
        self.got = Counted(lambda text: text.partition(b"]: ")[2])
        self.connections = 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        # One after the other: the next one begins where the last one broke off.
        for connection in connections_of(self.listener):
            self.connections += 1
            left = self.pause_after
            with connection:
                while data := connection.recv(1 << 18):
                    self.got.take(data)
                    if left is None:
                        continue
                    left -= len(data)
                    if left <= 0:
                        left = self.pause_after
                        self.paused += 1
                        time.sleep(self.pause)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class Memory:
    """The most that processes have had of memory that is no file's, in KiB; looked at ten times a second."""

    def __init__(self, pids):
        self.pids = pids  # gives the pids of now
        self.most = {}
        self.ends = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        while not self.ends.wait(0.1):
            for pid in self.pids():
                with contextlib.suppress(OSError):
                    # Of what a fork shares, each has its part.
                    shown = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
                    size = next(int(each.split()[1]) for each in shown.splitlines() if each.startswith("Pss_Anon:"))
                    self.most[pid] = max(size, self.most.get(pid, 0))

    def stop(self):
        self.ends.set()
        self.thread.join()
        return max(self.most.values(), default=0)


def children(pid):
    with contextlib.suppress(OSError):
        return [int(each) for each in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def says(text):
    print(f"log_volume: {text}", flush=True)


class Volume(drivers.Drivers):
    def family(self, name):
        """The monitor of a container and the workers that it has forked; what it started in the container is not of it."""
        monitor = self.monitor_of(name)
        init = self.daemon.inspect(name)["State"]["Pid"]
        return lambda: [monitor, *(pid for pid in children(monitor) if pid != init)]

    def start(self, name, megabytes, *words, before="", after=""):
        self.docker("run", "-d", "--name", name, *words, "busybox", "sh", "-c", f"{before}{printing(lines_in(megabytes))}{after}")

    def finish(self, name, seconds=1200):
        wait_until(f"{name} has ended", lambda: self.daemon.inspect(name)["State"]["Status"] == "exited", seconds)
        self.assertEqual(self.daemon.inspect(name)["State"]["ExitCode"], 0)

    def read(self, name, *words):
        """All of its log, as it comes."""
        got = Counted()
        with subprocess.Popen([DOCKER, "logs", *words, name], env=self.daemon.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
            while data := client.stdout.read1(1 << 20):
                got.take(data)
            said = client.stderr.read()
        self.assertEqual((client.returncode, said), (0, b""))
        return got

    def is_whole(self, got, megabytes):
        self.assertIsNone(got.wrong)
        self.assertEqual((got.count, got.rest), (lines_in(megabytes), b""))

    def listener(self, network):
        if network == "tcp":
            made = self.tcp()
            return made, f"tcp://127.0.0.1:{made.getsockname()[1]}"
        path = self.daemon.root / "log.sock"
        path.unlink(missing_ok=True)
        made = socket.socket(socket.AF_UNIX)
        made.bind(str(path))
        return made, f"unix://{path}"


class Files(Volume):
    def test_a_gigabyte_is_read_as_it_was_written(self):
        for driver in ("json-file", "local"):
            started = time.monotonic()
            self.start("cc", MEGABYTES, "--log-driver", driver, *ROOM)
            memory = Memory(self.family("cc"))
            self.finish("cc")
            wrote = time.monotonic() - started
            most = memory.stop()
            started = time.monotonic()
            self.is_whole(self.read("cc"), MEGABYTES)
            says(f"{driver}: {MEGABYTES} MB written in {wrote:.0f} s, read in {time.monotonic() - started:.0f} s; the monitor had at most {most} KiB")
            if not SANITIZED:
                self.assertLess(most, 4096)
            self.docker("rm", "cc")

    def test_ten_containers_and_a_follower(self):
        part = max(1, MEGABYTES // 20)
        before = self.daemon.memory()
        names = [f"cc{number}" for number in range(10)]
        started = time.monotonic()
        for number, name in enumerate(names):
            # All begin when the last one is there.
            self.start(name, part, "--log-driver", ("json-file", "local")[number % 2], *ROOM, "-v", "go:/go", before="until [ -e /go/now ]; do sleep 0.1; done; ")
        memory = Memory(lambda: [self.daemon.process.pid])
        followed = []
        followers = [threading.Thread(target=lambda name=name: followed.append(self.read(name, "-f"))) for name in names[:2]]
        for each in followers:
            each.start()
        self.docker("run", "--rm", "-v", "go:/go", "busybox", "touch", "/go/now")
        slowest = 0.0
        while any(self.daemon.inspect(name)["State"]["Running"] for name in names):
            asked = time.monotonic()
            self.daemon.api("GET", "/containers/json")
            slowest = max(slowest, time.monotonic() - asked)
            time.sleep(0.1)
        wrote = time.monotonic() - started
        for each in followers:
            each.join()
        self.assertEqual(len(followed), 2)
        for got in followed:
            self.is_whole(got, part)
        for name in names:
            self.is_whole(self.read(name), part)
        most = memory.stop()
        says(f"10 containers: {10 * part} MB in {wrote:.0f} s; gruad had at most {most} KiB (before: {before >> 10}); the slowest list took {slowest * 1000:.0f} ms")
        if not SANITIZED:
            self.assertLess(most - (before >> 10), 64 << 10)


class Servers(Volume):
    def test_a_gigabyte_to_a_syslog_server(self):
        for network, megabytes in (("tcp", MEGABYTES), ("unix", max(1, MEGABYTES // 2))):
            listener, address = self.listener(network)
            # Ten pauses of three seconds.
            server = Server(listener, pause_after=megabytes * 1_000_000 // 8, pause=3.0)
            started = time.monotonic()
            self.start("cc", megabytes, "--log-driver", "syslog", "--log-opt", f"syslog-address={address}", "--log-opt", "cache-max-size=50m", "--log-opt", "cache-max-file=100")
            memory = Memory(self.family("cc"))
            self.finish("cc")
            wait_until("all has come", lambda: server.got.count >= lines_in(megabytes) or time.monotonic() - server.got.last > 30, 60)
            most = memory.stop()
            self.is_whole(server.got, megabytes)
            self.assertGreater(server.paused, 5)
            self.assertEqual(server.connections, 2)  # gruad looks whether it is there, before the start.
            says(f"syslog over {network}: {megabytes} MB in {time.monotonic() - started:.0f} s with {server.paused} pauses of 3 s; monitor and worker had at most {most} KiB each")
            self.is_whole(self.read("cc"), megabytes)
            if not SANITIZED:
                self.assertLess(most, 8192)
            self.docker("rm", "cc")
            server.close()

    def test_a_server_that_never_reads_and_a_container_that_may_lose(self):
        megabytes = max(1, MEGABYTES // 4)
        listener, address = self.listener("tcp")
        listener.listen(5)
        took = {}
        for driver, words in (("none", ()), ("syslog", ("--log-opt", f"syslog-address={address}", "--log-opt", "mode=non-blocking", "--log-opt", "max-buffer-size=1m",
                                                        "--log-opt", "cache-disabled=true"))):
            # What the program took of its own clock: nothing of its start, and of its monitor's farewell.
            self.start("cc", megabytes, "--log-driver", driver, *words, "-v", "go:/go", before="cat /proc/uptime > /go/began; ", after="; cat /proc/uptime > /go/ended; sleep 1000")
            memory = Memory(self.family("cc"))
            volume = pathlib.Path(self.out("volume", "inspect", "--format", "{{.Mountpoint}}", "go"))
            wait_until("all is written", (volume / "ended").exists, 300)
            most = memory.stop()
            took[driver] = float((volume / "ended").read_text().split()[0]) - float((volume / "began").read_text().split()[0])
            says(f"{driver}, non-blocking: {megabytes} MB in {took[driver]:.1f} s; monitor and worker had at most {most} KiB each")
            if driver == "syslog":
                wait_until("it is said", lambda: self.in_gruads_log("log driver syslog: its buffer is full, and lines are left out"))
                if not SANITIZED:
                    self.assertLess(most, 8192)
            self.docker("rm", "-f", "cc")
            (volume / "ended").unlink()
        # A server that stands still for ever would hold it for ever. A part more is the work of cutting lines.
        self.assertLess(took["syslog"], 10 * took["none"] + 10)
        listener.close()


class Killed(Volume):
    def test_a_gruad_that_is_killed_costs_no_line(self):
        megabytes = max(1, MEGABYTES // 5)
        for driver in ("json-file", "local", "syslog"):
            words, server = ROOM, None
            if driver == "syslog":
                listener, address = self.listener("tcp")
                server = Server(listener)
                words = ("--log-opt", f"syslog-address={address}", "--log-opt", "cache-max-size=50m", "--log-opt", "cache-max-file=100")
            self.start("cc", megabytes, "--log-driver", driver, *words)
            kills = 0
            while self.daemon.inspect("cc")["State"]["Running"]:
                self.daemon.kill()
                self.daemon.start()
                kills += 1
                time.sleep(0.3)
            self.finish("cc")
            self.is_whole(self.read("cc"), megabytes)
            if server:
                wait_until("all has come", lambda server=server: server.got.count >= lines_in(megabytes), 60)
                self.is_whole(server.got, megabytes)
                server.close()
            says(f"{driver}: {megabytes} MB, gruad killed {kills} times")
            self.assertGreater(kills, 0)
            self.docker("rm", "cc")


class Journal(drivers.Journald, Volume):
    """The real journald; what it limits and keeps by itself is switched off."""

    test_fields = test_where_it_is_not = test_all_lines_at_full_speed = test_a_real_journald = None

    def test_a_part_of_a_gigabyte(self):
        megabytes = max(1, MEGABYTES // 20)
        program, machine = pathlib.Path("/lib/systemd/systemd-journald"), pathlib.Path("/etc/machine-id")
        if not program.exists() or not machine.exists() or not shutil.which("journalctl"):
            self.skipTest("there is no systemd-journald")
        (self.systemd / "journald.conf.d").mkdir()
        (self.systemd / "journald.conf.d/test.conf").write_text("[Journal]\nRateLimitIntervalSec=0\nRateLimitBurst=0\nRuntimeMaxUse=4G\nSystemMaxUse=4G\nMaxLevelConsole=emerg\n")
        (self.systemd / "journal/socket").unlink(missing_ok=True)
        storage = self.systemd / "log/journal" / machine.read_text().strip()
        storage.mkdir(parents=True, exist_ok=True)
        gruad = (self.daemon.exec_root / "pid").read_text().strip()
        journald = subprocess.Popen(["nsenter", "-t", gruad, "-m", "-n", program], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(lambda: (journald.kill(), journald.wait()))
        wait_until("journald listens", (self.systemd / "journal/socket").exists)
        started = time.monotonic()
        self.start("cc", megabytes, "--log-driver", "journald", "--log-opt", "cache-max-file=100")
        memory = Memory(self.family("cc"))
        for _ in range(3):
            time.sleep(1)
            journald.send_signal(19)
            time.sleep(3)
            journald.send_signal(18)
        self.finish("cc")
        took = time.monotonic() - started
        most = memory.stop()

        def entries():
            got = Counted()
            with subprocess.Popen(["journalctl", "-D", storage, "-o", "cat", "--no-pager", "CONTAINER_NAME=cc"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as reader:
                while data := reader.stdout.read1(1 << 20):
                    got.take(data)
            return got

        wait_until("journald has all", lambda: entries().count >= lines_in(megabytes), 60)
        self.is_whole(entries(), megabytes)
        self.is_whole(self.read("cc"), megabytes)
        says(f"journald: {megabytes} MB in {took:.0f} s with 3 pauses of 3 s; monitor and worker had at most {most} KiB each")
        if not SANITIZED:
            self.assertLess(most, 8192)


class FullDisk(Volume):
    @classmethod
    def setUpClass(cls):
        cls.disk = SmallDisk("96m")
        cls.addClassCleanup(cls.disk.close)
        cls.daemon = Daemon("--data-root", str(cls.disk.path))
        cls.addClassCleanup(cls.daemon.close)

    def numbers(self, name):
        return [int(each.split()[0]) for each in self.out("logs", name).splitlines()]

    def test_the_container_goes_on_and_so_does_its_log(self):
        for driver, more in (("json-file", ()), ("local", ()), ("json-file", ("--log-opt", "mode=non-blocking"))):
            with self.subTest(driver=driver, more=more):
                try:
                    self.goes_on(driver, more)
                finally:
                    (self.disk.path / "rest").unlink(missing_ok=True)
                    self.docker("rm", "-f", "cc")

    def goes_on(self, driver, more):
        said = len(self.daemon.log.read_text(errors="replace"))
        self.docker("run", "-d", "--name", "cc", "--network", "none", "--tmpfs", "/t", "--log-driver", driver, "--log-opt", "max-size=1g", *more, "busybox", "sh", "-c",
                    f"i=0; while true; do i=$((i+1)); echo $i {PAD.decode()}; echo $i > /t/n.new; mv /t/n.new /t/n; usleep 1000; done")
        follower = subprocess.Popen([DOCKER, "logs", "-f", "cc"], env=self.daemon.environment(), stdout=subprocess.PIPE, text=True)
        followed = []
        reader = threading.Thread(target=lambda: followed.extend(int(each.split()[0]) for each in follower.stdout))
        reader.start()
        pid, monitor = self.daemon.inspect("cc")["State"]["Pid"], self.monitor_of("cc")

        def written():
            return int(pathlib.Path(f"/proc/{pid}/root/t/n").read_text() or 0)

        wait_until("it writes", lambda: len(self.numbers("cc")) > 100, 30)
        self.disk.fill()
        full = written()
        wait_until("it goes on without room", lambda: written() > full + 500, 60)
        self.assertEqual(self.daemon.api("GET", "/containers/json")[0], 200)
        self.assertEqual(self.monitor_of("cc"), monitor)
        lost = written()
        (self.disk.path / "rest").unlink()
        wait_until("its log goes on", lambda: self.numbers("cc")[-1] > lost + 500, 60)
        self.docker("kill", "cc")
        reader.join(30 * PATIENCE)
        follower.wait()
        numbers = self.numbers("cc")
        gaps = [(one, other) for one, other in zip(numbers, numbers[1:]) if other != one + 1]
        says(f"a full disk under {driver} {' '.join(more)}: {len(numbers)} lines kept, gaps {gaps[:5]} ({len(gaps)})")
        self.assertEqual(numbers[0], 1)
        self.assertTrue(all(one < other for one, other in gaps), gaps[:5])
        # A page of room is found again and again by what is smaller; each line that was kept is a whole one.
        missing = sum(other - one - 1 for one, other in gaps)
        self.assertGreater(missing, 100)
        # Who follows sees what a reader sees afterwards.
        self.assertEqual(followed, numbers)
        news = self.daemon.log.read_text(errors="replace")[said:]
        self.assertIn("No space left on device", news)
        self.assertRegex(news, rf"\b{missing} lines were left out in all")
