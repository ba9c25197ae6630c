"""What clients of the API may do to gruad, on purpose or by being slow: requests as bytes, not by a library."""

import contextlib
import fcntl
import io
import json
import os
import pathlib
import re
import resource
import select
import socket
import struct
import subprocess
import tarfile
import threading
import time
import unittest

from harness import PATIENCE, Case, Daemon, wait_until


class Wire:
    """One connection, byte by byte."""

    def __init__(self, daemon, data=b"", timeout=20):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout * PATIENCE)
        self.socket.connect(str(daemon.socket))
        if data:
            self.send(data)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode())

    def until(self, enough):
        """What comes until `enough` is in it, or the end."""
        got = b""
        while enough not in got:
            piece = self.socket.recv(65536)
            if not piece:
                break
            got += piece
        return got

    def head(self):
        return self.until(b"\r\n\r\n")

    def rest(self):
        got = b""
        while piece := self.socket.recv(1 << 20):
            got += piece
        return got


def unframed(stream):
    """What came, by stream; neighbours of one stream are joined, because nobody says how a program's output is cut."""
    out = []
    while stream:
        kind, size = stream[0], int.from_bytes(stream[4:8], "big")
        data, stream = stream[8:8 + size], stream[8 + size:]
        out.append((kind, out.pop()[1] + data) if out and out[-1][0] == kind else (kind, data))
    return out


def get(target, *headers):
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: d", *headers, "", ""])


def post(target, body="", *headers):
    return "\r\n".join([f"POST {target} HTTP/1.1", "Host: d", "Content-Type: application/json", f"Content-Length: {len(body)}",
                        *headers, "", ""]) + body


def processor_time(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def share_of_a_processor(pid, seconds=2.0):
    before, began = processor_time(pid), time.monotonic()
    time.sleep(seconds)  # the measure, not a wait
    return (processor_time(pid) - before) / (time.monotonic() - began)


class HttpCase(Case):
    def wire(self, data=b"", **more):
        made = Wire(self.daemon, data, **more)
        self.addCleanup(made.socket.close)
        return made

    @property
    def pid(self):
        return self.daemon.process.pid


class Requests(HttpCase):
    # A14
    def test_headers_that_trickle_in_are_given_thirty_seconds_in_all(self):
        slow = self.wire("GET /version HTTP/1.1\r\n", timeout=1)
        began = time.monotonic()
        closed = threading.Event()

        def trickle():
            try:
                while not closed.wait(2):
                    slow.send("X: y\r\n")
            except OSError:
                pass

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            slow.socket.settimeout(60 * PATIENCE)
            self.assertTrue(slow.head().startswith(b"HTTP/1.1 408 Request Timeout\r\n"))
        finally:
            closed.set()
            thread.join()
        self.assertGreater(time.monotonic() - began, 25)

    # A14
    def test_a_body_that_trickles_in_keeps_nobody_from_a_container_that_does_not_run(self):
        self.docker("create", "--name", "cc", "busybox", "true")
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as archive:
            entry = tarfile.TarInfo("file")
            entry.size = 100_000
            archive.addfile(entry, io.BytesIO(b"x" * entry.size))
        data = tar.getvalue()
        slow = self.wire(f"PUT /containers/cc/archive?path=/tmp HTTP/1.1\r\nHost: d\r\nContent-Length: {len(data)}\r\n\r\n")
        slow.send(data[:1000])
        # Under way, as gruad sees it: it has taken what there is.
        wait_until("the body is read", lambda: self.unread(slow) == 0)
        self.assertEqual(self.docker("start", "-a", "cc", timeout=15).returncode, 0)
        slow.send(data[1000:])
        self.assertTrue(slow.head().startswith(b"HTTP/1.1 200 OK\r\n"))
        self.assertEqual(len(self.docker("cp", "cc:/tmp/file", "-").stdout) > 100_000, True)

    def unread(self, wire):
        """Bytes that the other side has not taken (SIOCOUTQ)."""
        return struct.unpack("i", fcntl.ioctl(wire.socket, 0x5411, b"\0\0\0\0"))[0]

    # G3: dockerode (testcontainers, dev containers) sends its options as JSON.
    def test_the_body_of_an_attach_is_not_typed_into_the_program(self):
        self.docker("run", "-d", "-i", "--name", "cc", "busybox", "cat")
        body = json.dumps({"stream": True, "stdin": True, "stdout": True, "stderr": True, "hijack": True})
        for upgrade in ((), ("Connection: Upgrade", "Upgrade: tcp")):
            with Wire(self.daemon, post("/containers/cc/attach?stream=1&stdin=1&stdout=1&stderr=1", body, *upgrade)) as client:
                head = client.head()
                self.assertTrue(head.startswith(b"HTTP/1.1 101 UPGRADED" if upgrade else b"HTTP/1.1 200 OK"), head)
                client.send("typed\n")
                self.assertTrue(client.until(b"typed\n").endswith(b"\1\0\0\0\0\0\0\6typed\n"))
        self.assertEqual(self.out("logs", "cc"), "typed\ntyped")

    # F
    def test_ps_filters_published_and_exposed_ports(self):
        self.docker("run", "-d", "--name", "aa", "-p", "18080:80", "-p", "18053:53/udp", "busybox", "sleep", "100")
        self.docker("run", "-d", "--name", "bb", "--expose", "81", "busybox", "sleep", "100")
        self.docker("create", "--name", "nn", "-p", "18080:80", "busybox")

        def names(*filters):
            words = [word for each in filters for word in ("--filter", each)]
            return sorted(self.out("ps", "-a", "--format", "{{.Names}}", *words).split())

        self.assertEqual(names("publish=18080"), ["aa"])
        self.assertEqual(names("publish=18080/udp"), [])
        self.assertEqual(names("publish=18053/udp"), ["aa"])
        self.assertEqual(names("publish=18000-18090/tcp"), ["aa"])
        self.assertEqual(names("publish=80"), [])
        self.assertEqual(names("expose=80"), ["aa"])
        self.assertEqual(names("expose=80-90/tcp"), ["aa", "bb"])
        self.assertEqual(names("expose=81", "publish=18080"), ["aa", "bb"])
        for wrong in ("publish=80:80", "publish=x", "expose=90-80", "expose=80/icmp"):
            self.assertNotEqual(self.docker("ps", "--filter", wrong, check=False).returncode, 0, wrong)

    # A9
    def test_an_expression_does_not_stop_the_loop(self):
        self.docker("create", "--name", "aa" * 28 + "_b", "busybox")
        began = time.monotonic()
        self.assertEqual(self.out("ps", "-aq", "--filter", "name=^(a+)+$"), "")
        self.assertLess(time.monotonic() - began, 5 * PATIENCE)
        self.assertNotEqual(self.out("ps", "-aq", "--filter", "name=^a+_b$"), "")
        self.assertIn("regular expressions need more than",
                      self.docker("ps", "-aq", "--filter", "name=[ab]{1000}|[cd]{1000}c|[ef]{1000}e|[gh]{1000}g|[ij]{1000}i", check=False).stderr)


class Attaches(HttpCase):
    # A13
    def test_clients_that_wait_for_a_start_are_forgotten_when_they_leave_and_are_bounded(self):
        self.docker("create", "-i", "--name", "cc", "busybox", "sh", "-c", "echo begun; cat")
        before = self.daemon.at_rest()
        ask = post("/containers/cc/attach?stream=1&stdin=1&stdout=1&stderr=1", "", "Connection: Upgrade", "Upgrade: tcp")
        waiting = [Wire(self.daemon, ask) for _ in range(100)]
        for each in waiting:
            self.assertTrue(each.head().startswith(b"HTTP/1.1 101 "))
        with Wire(self.daemon, ask) as one_more:
            self.assertTrue(one_more.head().startswith(b"HTTP/1.1 503 Service Unavailable\r\n"))
        for each in waiting:
            each.socket.close()
        wait_until("gruad has let go of them", lambda: self.daemon.descriptors() <= before + 3)
        # One that has only stopped to send is still there.
        half = self.wire(ask)
        half.head()
        half.send("typed\n")
        half.socket.shutdown(socket.SHUT_WR)
        self.docker("start", "cc")
        self.assertEqual(unframed(half.rest()), [(1, b"begun\ntyped\n")])

    # docker-py reads the head through a buffer, and what follows past it.
    def test_output_never_comes_together_with_the_head(self):
        self.docker("run", "-d", "--name", "cc", "busybox", "sh", "-c", "echo said; exec sleep 1000")
        wait_until("it has said it", lambda: self.out("logs", "cc") == "said")
        upgrade = ("Connection: Upgrade", "Upgrade: tcp")

        def exec_start():
            status, made = self.daemon.api("POST", "/containers/cc/exec", {"Cmd": ["echo", "said"], "AttachStdout": True})
            self.assertEqual(status, 201)
            return post(f"/exec/{json.loads(made)['Id']}/start", '{"Detach":false,"Tty":false}', *upgrade)

        for ask in (exec_start(), post("/containers/cc/attach?logs=1&stdout=1&stderr=1", "", *upgrade), post("/containers/cc/attach?logs=1&stdout=1", "")):
            with self.subTest(ask.split()[1]), Wire(self.daemon, ask) as client:
                # A client that is slow to read, as any is on a busy machine.
                select.select([client.socket], [], [], 20 * PATIENCE)
                time.sleep(0.05)
                self.assertRegex(client.socket.recv(65536), rb"(?s)^HTTP/1.1 (101|200) .*\r\n\r\n$")
                self.assertEqual(unframed(client.rest()), [(1, b"said\n")])

    # A15
    def test_waiters_of_clients_that_left_are_forgotten(self):
        self.docker("run", "-d", "--name", "cc", "busybox", "sleep", "1000")
        ask = post("/containers/cc/wait?condition=removed")

        def come_and_go(times):
            for _ in range(times):
                with Wire(self.daemon, ask) as client:
                    client.head()

        come_and_go(1000)
        wait_until("all are gone", lambda: self.daemon.descriptors() < 100)
        before = self.daemon.memory()
        come_and_go(10_000)  # Each has 200 bytes and more.
        wait_until("all are gone", lambda: self.daemon.descriptors() < 100)
        self.assertLess(self.daemon.memory(), before + (1 << 20))


class Subscribers(HttpCase):
    # A15
    def test_subscribers_that_do_not_read_cost_nothing_and_are_told_that_they_missed_some(self):
        self.docker("create", "--name", "cc", "--label", "x=" + 2000 * "y", "busybox")
        first = self.daemon.memory()
        unread = [self.wire(get("/events")) for _ in range(200)]
        for each in unread:
            self.assertTrue(each.head().startswith(b"HTTP/1.1 200 OK"))
        other = self.wire(get('/events?filters={"type":["volume"]}'))
        other.head()
        with Wire(self.daemon) as client:
            for turn in range(1500):
                client.send(post(f"/containers/{('cc', 'dd')[turn % 2]}/rename?name={('dd', 'cc')[turn % 2]}"))
                self.assertTrue(client.head().startswith(b"HTTP/1.1 204 "))
        self.assertLess(self.daemon.memory(), first + (40 << 20))
        # Who reads again sees that the stream is not whole: it breaks off.
        text = unread[0].rest()
        self.assertIn(b'"Action":"rename"', text)
        self.assertFalse(text.endswith(b"0\r\n\r\n"))
        # Who wanted none of them missed none.
        self.docker("volume", "create", "vv")
        self.assertIn(b'"Action":"create"', other.until(b"}\n"))
        for each in unread:
            each.socket.close()
        wait_until("their descriptors are back", lambda: self.daemon.descriptors() < 100)
        self.docker("volume", "rm", "vv")


class Crowds(HttpCase):
    """Two hundred clients of one route that take what they asked for slowly, or not at all."""

    CROWD = 200
    EACH = 2 << 20  # bytes of gruad's own memory for one of them, at most

    def test_slow_readers_of_every_stream_are_bounded(self):
        self.docker("run", "-d", "--name", "full", "busybox", "seq", "100000")
        self.docker("wait", "full", timeout=60)
        self.docker("run", "-d", "--name", "runs", "busybox", "sh", "-c", "dd if=/dev/zero of=/tmp/large bs=1M count=8; sleep 1000")
        logs = "stdout=1&stderr=1"
        routes = {
            "logs": get(f"/containers/full/logs?{logs}"),
            "logs -f": get(f"/containers/full/logs?{logs}&follow=1&timestamps=1"),
            "attach to a log": post(f"/containers/full/attach?{logs}&logs=1"),
            "stats": get("/containers/runs/stats?stream=1"),
            "events": get("/events?since=0"),
            "save": get("/images/busybox:latest/get"),
            "cp out": get("/containers/runs/archive?path=/tmp"),
            "export": get("/containers/runs/export"),
            "wait": post("/containers/runs/wait"),
        }
        first = self.daemon.memory()
        descriptors = self.daemon.at_rest()
        for name, request in routes.items():
            with self.subTest(name):
                crowd = [Wire(self.daemon, request, timeout=60) for _ in range(self.CROWD)]
                for each in crowd:
                    self.assertEqual(each.socket.recv(12), b"HTTP/1.1 200")
                # gruad answers others meanwhile, and soon.
                began = time.monotonic()
                self.assertEqual(self.daemon.api("GET", "/_ping")[1], "OK")
                self.assertLess(time.monotonic() - began, 2 * PATIENCE)
                self.assertLess(self.daemon.memory() - first, self.CROWD * self.EACH)
                # The half of them reads on for a moment.
                for each in crowd[::2]:
                    if name != "wait":
                        each.socket.recv(1000)
                for each in crowd:
                    each.socket.close()
                wait_until("their descriptors are back", lambda: self.daemon.descriptors() <= descriptors + 8, 60)
        wait_until("their memory is back", lambda: self.daemon.memory() < first + (64 << 20), 30)
        self.assertEqual(self.out("run", "--rm", "busybox", "echo", "still here"), "still here")

    def test_requests_that_are_never_finished_cost_little(self):
        first = self.daemon.memory()
        half = [Wire(self.daemon, "GET /version HTTP/1.1\r\nX: " + "y" * 100_000) for _ in range(300)]
        bodies = [Wire(self.daemon, "POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n"
                                    "Content-Length: 8000000\r\n\r\n" + "[" * 100_000) for _ in range(100)]
        self.assertEqual(self.daemon.api("GET", "/_ping")[1], "OK")
        self.assertLess(self.daemon.memory() - first, 150 << 20)
        for each in half + bodies:
            each.socket.close()
        wait_until("all are gone", lambda: self.daemon.descriptors() < 100)

    def test_idle_connections_cost_little_and_many_may_come_at_once(self):
        first = self.daemon.memory()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        idle = [Wire(self.daemon) for _ in range(2000)]
        for each in idle:
            each.send(get("/_ping"))
        for each in idle:
            self.assertTrue(each.until(b"\r\n\r\nOK").startswith(b"HTTP/1.1 200 OK"))
        # It was 19 KiB for each: a buffer for a request that nobody sends.
        self.assertLess(self.daemon.memory() - first, 2000 * (12 << 10))
        for each in idle:
            each.socket.close()
        wait_until("all are gone", lambda: self.daemon.descriptors() < 100)

    def test_half_closed_clients_get_their_answer(self):
        """As `nc -N` and `socat` ask: nothing more comes from them, and they read."""
        for target, expected in (("/_ping", b"OK"), ("/version", b"ApiVersion")):
            with Wire(self.daemon, get(target)) as client:
                client.socket.shutdown(socket.SHUT_WR)
                self.assertIn(expected, client.rest())


class Shortage(HttpCase):
    """A gruad with few descriptors."""

    before = ("prlimit", "--nofile=160:160")

    # A12
    def test_gruad_goes_on_without_descriptors_and_recovers(self):
        self.docker("network", "create", "--subnet", "198.51.100.0/24", "n")
        self.addCleanup(self.docker, "network", "rm", "n", check=False)
        self.docker("run", "-d", "--name", "cc", "--network", "n", "-p", "[::1]:18081:80", "busybox", "sleep", "1001")
        held, answers = [], []
        for _ in range(250):
            held.append(Wire(self.daemon, timeout=1))
            # One that is refused has its answer before it asks.
            with contextlib.suppress(BrokenPipeError):
                held[-1].send(get("/events"))
        for each in held:
            try:
                answers.append(each.head()[:12])
            except TimeoutError:
                answers.append(b"nothing")
        self.assertIn(b"HTTP/1.1 200", answers)
        self.assertIn(b"HTTP/1.1 503", answers, self.daemon.tail())
        # One who asks the resolver by TCP, one who connects by the proxy: neither makes a thread spin.
        asking = self.in_container("nc", "127.0.0.11", "53")
        connecting = subprocess.Popen(["nsenter", f"--net=/proc/{self.daemon.holder.pid}/ns/net", "busybox", "nc", "::1", "18081"],
                                      stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            self.assertLess(share_of_a_processor(self.pid), 0.5)
        finally:
            for each in (asking, connecting):
                each.kill()
                each.wait()
                each.stdin.close()
        for each in held:
            each.socket.close()
        wait_until("gruad admits clients again", lambda: self.docker("ps", check=False).returncode == 0, 10)
        self.assertEqual(self.out("run", "--rm", "busybox", "echo", "again"), "again")

    def in_container(self, *words):
        """A program in the container's network, started without gruad."""
        pid = next(int(each.name) for each in pathlib.Path("/proc").iterdir()
                   if each.name.isdigit() and (each / "cmdline").exists() and b"sleep\x001001" in (each / "cmdline").read_bytes()
                   and self.daemon.name in (each / "cgroup").read_text())
        return subprocess.Popen(["nsenter", "-t", str(pid), "-n", "busybox", *words], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)

    # A12
    def test_idle_connections_give_way(self):
        idle = [Wire(self.daemon, get("/_ping")) for _ in range(60)]
        for each in idle:
            self.assertTrue(each.until(b"OK").startswith(b"HTTP/1.1 200 OK"))
        busy = [Wire(self.daemon) for _ in range(60)]
        wait_until("a new client is served", lambda: self.docker("version", check=False).returncode == 0, 10)
        for each in idle + busy:
            each.socket.close()


class Ends(unittest.TestCase):
    # B10
    def test_gruad_ends_well_while_calls_are_in_flight(self):
        daemon = Daemon("--shutdown-timeout", "1")
        self.addCleanup(daemon.close)
        daemon.docker("run", "-d", "--name", "cc", "busybox", "sh", "-c", "trap '' TERM; while :; do sleep 1; done")
        daemon.docker("create", "--name", "dd", "busybox", "true")
        calls = [Wire(daemon, each) for each in (
            post("/containers/cc/stop?t=300"), post("/containers/cc/wait"), get("/containers/cc/logs?stdout=1&follow=1"),
            get("/containers/cc/stats"), get("/events"), post("/containers/cc/restart?t=300"),
            post("/containers/dd/attach?stream=1&stdout=1"), "GET /version HTTP/1.1\r\nHost",
            "POST /images/load HTTP/1.1\r\nHost: d\r\nContent-Length: 100000\r\n\r\nxx",
            "PUT /containers/dd/archive?path=/ HTTP/1.1\r\nHost: d\r\nContent-Length: 100000\r\n\r\nxx")]
        wait_until("the stop is under way", lambda: '"Action":"kill"' in daemon.docker("events", "--since", "0", "--until", "0s", "--format", "json").stdout)
        daemon.process.terminate()
        self.assertEqual(daemon.process.wait(30 * PATIENCE), 0, daemon.tail())
        for each in calls:
            each.socket.close()
        self.assertNotRegex(daemon.log.read_text(), re.compile("terminate called|Sanitizer"))
        daemon.start()
        self.assertEqual(daemon.docker("ps", "--format", "{{.Names}}").stdout.split(), ["cc"])
