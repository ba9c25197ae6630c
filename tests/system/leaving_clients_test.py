"""Clients that leave: at random moments, in every way, from every route that streams, twenty at a time.

GRUA_LEAVING_SECONDS (20) says for how long, GRUA_LEAVING_SEED what they do. After a quarter of the time (a minute at most) all pause, and
gruad's descriptors and memory are noted; at the end it must be the same process with no more of either.
"""

import collections
import io
import json
import os
import pathlib
import random
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import threading
import time

import registry_double as double
from harness import DOCKER, PATIENCE, SANITIZED, Case, busybox_image, run, wait_until

SECONDS = float(os.environ.get("GRUA_LEAVING_SECONDS", "20"))
SEED = int(os.environ.get("GRUA_LEAVING_SEED", str(random.SystemRandom().randrange(1 << 32))))
CLIENTS = 20
LONGEST_STAY = 0.4  # seconds
LINES = 200_000

# What gruad may have more of at the end than after the first quarter. A leak of one descriptor or of a few hundred bytes for each client
# that left is far beyond it: some hundred leave in a second. The heap is what is allocated; memory has the allocator's free pieces too, and
# under a sanitizer its books, so there the heap alone is told.
MORE_DESCRIPTORS = 8
MORE_HEAP = 4 << 20
MORE_MEMORY = 24 << 20


def request(method, target, body=b"", headers=()):
    lines = [f"{method} {target} HTTP/1.1", "Host: d", *headers]
    if body:
        lines += [f"Content-Length: {len(body)}", "Content-Type: application/json"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def upload(target, data, method="POST"):
    """A request whose body is chunked; whoever leaves within it leaves the other side in doubt."""
    head = f"{method} {target} HTTP/1.1\r\nHost: d\r\nContent-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    pieces = [data[at:at + 65536] for at in range(0, len(data), 65536)]
    return head + b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in pieces) + b"0\r\n\r\n"


UPGRADE = ("Connection: Upgrade", "Upgrade: tcp")


class Client:
    """One connection, and what it does before it leaves."""

    def __init__(self, address, dice):
        self.dice = dice
        self.by_tcp = isinstance(address, tuple)
        self.socket = socket.socket(socket.AF_INET if self.by_tcp else socket.AF_UNIX)
        self.socket.settimeout(20 * PATIENCE)
        wait_until("there is a place in gruad's queue", lambda: self.connects(address), 20)
        self.until = time.monotonic() + dice.random() ** 2 * LONGEST_STAY

    def connects(self, address):
        try:
            self.socket.connect(address)
        except BlockingIOError:
            return False
        return True

    def ask(self, data):
        """All of it, or less; False where the time is over."""
        view = memoryview(data)
        if self.dice.random() < 0.1:
            view = view[:self.dice.randrange(len(data) + 1)]
        while view:
            self.socket.settimeout(max(self.until - time.monotonic(), 0.001))
            try:
                view = view[self.socket.send(view[:65536]):]
            except TimeoutError:
                return False
        return True

    def stay(self):
        """Reads, fast, slowly or not at all, until it is time to leave."""
        way = self.dice.choice(["fast", "slow", "not"])
        while (left := self.until - time.monotonic()) > 0:
            if way == "not":
                time.sleep(min(left, 0.05))
                continue
            self.socket.settimeout(max(left, 0.001))
            try:
                if not self.socket.recv(65536 if way == "fast" else 100):
                    return
            except TimeoutError:
                return
            if way == "slow":
                time.sleep(min(left, 0.01))

    def say(self, data):
        try:
            self.socket.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass

    def leave(self):
        way = self.dice.choice(["close", "half", "other half", "reset"])
        try:
            if way == "reset" and self.by_tcp:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if way == "half":
                self.socket.shutdown(socket.SHUT_WR)
                self.until = time.monotonic() + 0.02
                self.stay()
            elif way == "other half":
                self.socket.shutdown(socket.SHUT_RD)
                time.sleep(0.005)
        except OSError:
            pass
        self.socket.close()


class LeavingClients(Case):
    options = ("-H", "tcp://127.0.0.1:2375", "--debug")
    before_a_start = "attach to what was not started"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        print(f"leaving_clients: GRUA_LEAVING_SEED={SEED} for {SECONDS:.0f} s", file=sys.stderr, flush=True)
        cls.registry = double.Double(cls.daemon.holder.pid)
        cls.addClassCleanup(cls.registry.close)
        cls.registry.add("big", "1", double.Image([1 << 20, 300_000, 2_000_000]))

    def setUp(self):
        self.archive = pathlib.Path(busybox_image()).read_bytes()
        self.docker("run", "-d", "--name", "full", "busybox", "seq", str(LINES))
        self.docker("wait", "full", timeout=120)
        self.docker("run", "-d", "--name", "talker", "busybox", "sh", "-c", "while :; do seq 200; sleep 0.05; done")
        self.docker("run", "-d", "-i", "--name", "quiet", "busybox", "sh", "-c", "mkdir /tmp/in; dd if=/dev/urandom of=/tmp/out bs=1M count=4; cat")
        self.docker("create", "--name", "created", "busybox", "true")
        self.docker("create", "--name", "stopped", "busybox", "true")
        self.pid = self.daemon.process.pid
        self.tar = subprocess.run(["tar", "-c", "-C", "/usr/include", "c++"], capture_output=True).stdout[:4 << 20] or self.archive

    # --- what is asked ---------------------------------------------------------------------------------------------

    def plain(self, method, target, *more, **named):
        def route(client):
            return client.ask(request(method, target, *more, **named)) and client.stay()
        return route

    def attach(self, target, talk=False):
        def route(client):
            if not client.ask(request("POST", target, headers=UPGRADE if client.dice.random() < 0.7 else ())):
                return
            if talk:
                client.say(client.dice.randbytes(client.dice.randrange(1, 100_000)))
            client.stay()
        return route

    def exec(self, *command, stdin=False):
        body = json.dumps({"AttachStdin": stdin, "AttachStdout": True, "AttachStderr": True, "Cmd": command}).encode()

        def route(client):
            client.socket.sendall(request("POST", "/containers/quiet/exec", body))
            head, _, text = client.socket.recv(65536).partition(b"\r\n\r\n")
            self.assertTrue(head.startswith(b"HTTP/1.1 201 "), head)
            start = request("POST", f"/exec/{json.loads(text)['Id']}/start", b'{"Detach":false,"Tty":false}', UPGRADE)
            if client.ask(start):
                if stdin:
                    client.say(client.dice.randbytes(client.dice.randrange(1, 100_000)))
                client.stay()
        return route

    def upload(self, target, data, method="POST"):
        whole = upload(target, data, method)
        return lambda client: client.ask(whole) and client.stay()

    def routes(self):
        logs = "stdout=1&stderr=1"
        attach = "stream=1&stdout=1&stderr=1"
        return {
            "logs": self.plain("GET", f"/containers/full/logs?{logs}"),
            "logs, timestamps and tail": self.plain("GET", f"/containers/full/logs?{logs}&timestamps=1&tail=100000"),
            "logs -f": self.plain("GET", f"/containers/talker/logs?{logs}&follow=1"),
            "logs -f of what is quiet": self.plain("GET", f"/containers/quiet/logs?{logs}&follow=1"),
            "attach": self.attach(f"/containers/talker/attach?{attach}"),
            "attach with its log": self.attach(f"/containers/talker/attach?{attach}&logs=1"),
            "attach and talk": self.attach(f"/containers/quiet/attach?{attach}&stdin=1", talk=True),
            self.before_a_start: self.attach(f"/containers/created/attach?{attach}&stdin=1", talk=True),
            "attach to a log": self.attach("/containers/full/attach?stdout=1&stderr=1&logs=1"),
            "exec": self.exec("seq", "20000"),
            "exec and talk": self.exec("cat", stdin=True),
            "stats": self.plain("GET", "/containers/talker/stats?stream=1"),
            "stats once": self.plain("GET", "/containers/talker/stats?stream=0"),
            "stats of what does not run": self.plain("GET", "/containers/full/stats?stream=1"),
            "events": self.plain("GET", "/events"),
            "events since": self.plain("GET", "/events?since=0"),
            "events until": self.plain("GET", "/events?since=0&until=1"),
            "wait": self.plain("POST", "/containers/quiet/wait"),
            "wait for removal": self.plain("POST", "/containers/quiet/wait?condition=removed"),
            "wait for the next exit": self.plain("POST", "/containers/created/wait?condition=next-exit"),
            "pull": self.plain("POST", f"/images/create?fromImage={self.registry.authority}/big&tag=1"),
            "push": self.plain("POST", "/images/localhost:1/nothing/push?tag=1", headers=("X-Registry-Auth: e30=",)),
            "load": self.upload("/images/load", self.archive),
            "import": self.upload("/images/create?fromSrc=-&repo=imported", self.tar),
            "save": self.plain("GET", "/images/busybox:latest/get"),
            "save several": self.plain("GET", "/images/get?names=busybox:latest"),
            "cp out": self.plain("GET", "/containers/quiet/archive?path=/tmp/out"),
            "cp out of what does not run": self.plain("GET", "/containers/stopped/archive?path=/bin"),
            "cp in": self.upload("/containers/quiet/archive?path=/tmp/in", self.tar, "PUT"),
            "cp into what does not run": self.upload("/containers/stopped/archive?path=/tmp", self.tar, "PUT"),
            "stat of a path": self.plain("HEAD", "/containers/quiet/archive?path=/tmp/out"),
            "export": self.plain("GET", "/containers/quiet/export"),
            "export of what does not run": self.plain("GET", "/containers/full/export"),
            "changes": self.plain("GET", "/containers/quiet/changes"),
            "top": self.plain("GET", "/containers/talker/top"),
            "list with sizes": self.plain("GET", "/containers/json?all=1&size=1"),
            "images": self.plain("GET", "/images/json?all=1"),
            "disk usage": self.plain("GET", "/system/df"),
            "info": self.plain("GET", "/info"),
            "several at once": lambda client: client.ask(3 * request("GET", "/version") + request("GET", f"/containers/talker/logs?{logs}&follow=1") + request("GET", "/info")) and client.stay(),
        }

    # --- what gruad has ----------------------------------------------------------------------------------------------

    def is_there(self):
        self.assertIsNone(self.daemon.process.poll(), f"seed {SEED}: gruad ended with {self.daemon.process.returncode}\n{self.daemon.tail()}")
        self.assertEqual(self.daemon.process.pid, self.pid)

    def at_rest(self):
        """Descriptors, memory and heap: what waits for its turn changes nothing."""
        return self.daemon.at_rest(), self.daemon.anonymous(), self.daemon.heap()

    # --- tests -------------------------------------------------------------------------------------------------------

    # A1
    def test_every_route(self):
        routes = self.routes()
        going = threading.Event()
        over = threading.Event()
        counts = collections.Counter()
        failures = []
        lock = threading.Lock()
        idle = threading.Semaphore(0)

        def work(number):
            dice = random.Random(f"{SEED}-{number}")
            double.enter_netns(self.daemon.holder.pid)
            while not over.is_set():
                if not going.is_set():
                    idle.release()
                    going.wait()
                    continue
                name = dice.choice(list(routes))
                try:
                    # Of one by TCP that has only to wait it takes a minute to see that it left.
                    by_tcp = dice.random() < 0.3 and name != self.before_a_start
                    client = Client(("127.0.0.1", 2375) if by_tcp else str(self.daemon.socket), dice)
                    try:
                        routes[name](client)
                    finally:
                        client.leave()
                except (BrokenPipeError, ConnectionResetError):
                    pass  # The other side may be quicker: an upload that it refuses.
                except BaseException as error:
                    with lock:
                        failures.append(f"{name}: {error!r}")
                    over.set()
                with lock:
                    counts[name] += 1

        threads = [threading.Thread(target=work, args=[number], daemon=True) for number in range(CLIENTS)]
        for each in threads:
            each.start()

        def let_go(seconds):
            going.set()
            over.wait(seconds)
            going.clear()
            for _ in threads:
                idle.acquire(timeout=60 * PATIENCE)
            self.is_there()
            self.assertEqual(failures, [], f"seed {SEED}\n{self.daemon.tail()}")

        first = min(SECONDS / 4, 60)
        let_go(first)
        descriptors, memory, heap = self.at_rest()
        let_go(SECONDS - first)
        over.set()
        going.set()
        for each in threads:
            each.join(60 * PATIENCE)
        now_descriptors, now_memory, now_heap = self.at_rest()
        print(f"leaving_clients: {sum(counts.values())} left; descriptors {descriptors} → {now_descriptors}, memory "
              f"{memory >> 10} → {now_memory >> 10} KiB, of it heap {heap >> 10} → {now_heap >> 10} KiB", file=sys.stderr, flush=True)
        self.assertEqual([name for name in routes if not counts[name]], [], f"seed {SEED}: nobody left these; more time is needed")
        self.assertLessEqual(now_descriptors, descriptors + MORE_DESCRIPTORS, f"seed {SEED}\n{self.open_files()}")
        self.assertLessEqual(now_heap, heap + MORE_HEAP, f"seed {SEED}")
        if not SANITIZED:
            self.assertLessEqual(now_memory, memory + MORE_MEMORY, f"seed {SEED}")
        # And it is of use.
        self.assertEqual(self.out("run", "--rm", "busybox", "echo", "still here"), "still here")
        self.assertEqual(self.out("ps", "--format", "{{.Names}}", "--filter", "status=running").split(), ["quiet", "talker"])
        self.docker("start", "-a", "created")
        self.docker("start", "-a", "stopped")

    def open_files(self):
        return run("ls", "-l", f"/proc/{self.pid}/fd", check=False).stdout

    # A1
    def test_the_docker_command(self):
        """As people leave: Ctrl-C, a closed terminal, a pipe whose reader has seen enough."""
        self.docker("tag", "busybox", f"{self.registry.authority}/mine:1")
        commands = [
            ("logs", "full"), ("logs", "-f", "talker"), ("logs", "-f", "quiet"), ("logs", "-f", "--tail", "5", "talker"),
            ("attach", "--no-stdin", "--sig-proxy=false", "talker"), ("exec", "quiet", "seq", "100000"), ("exec", "-i", "quiet", "cat"),
            ("stats", "talker"), ("events", "--since", "0"), ("wait", "quiet"), ("pull", f"{self.registry.authority}/big:1"),
            ("push", f"{self.registry.authority}/mine:1"), ("save", "busybox"), ("load",), ("cp", "quiet:/tmp/out", "-"),
            ("cp", "-", "quiet:/tmp/in"), ("export", "quiet"), ("run", "--rm", "busybox", "seq", "100000"),
            ("run", "-i", "--rm", "busybox", "cat"), ("start", "-a", "stopped"),
        ]
        failures = []

        def work(number, until):
            dice = random.Random(f"{SEED}-docker-{number}")
            try:
                while time.monotonic() < until:
                    words = dice.choice(commands)
                    # What feeds it never ends, what reads it may.
                    feed = subprocess.Popen(["cat", str(busybox_image()), "/dev/zero"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
                    process = subprocess.Popen([DOCKER, *words], stdin=feed.stdout, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                               env=self.daemon.environment())
                    feed.stdout.close()
                    time.sleep(dice.random() * 0.3)
                    if words[-1] == "full" and dice.random() < 0.5:
                        process.stdout.read1(10)
                    process.stdout.close()
                    process.send_signal(dice.choice([signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGHUP]))
                    time.sleep(0.05)
                    process.kill()
                    feed.kill()
                    process.wait()
                    feed.wait()
            except BaseException as error:
                failures.append(repr(error))

        until = time.monotonic() + min(SECONDS / 2, 300)
        threads = [threading.Thread(target=work, args=[number, until], daemon=True) for number in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        self.assertEqual(failures, [], f"seed {SEED}")
        self.is_there()
        # The issue's own two.
        for _ in range(5):
            done = subprocess.run(f"{DOCKER} logs full | head -1", shell=True, capture_output=True, text=True, env=self.daemon.environment())
            self.assertEqual(done.stdout, "1\n")
            follower = self.daemon.spawn("logs", "-f", "talker")
            follower.expect("200")
            follower.send("\x03")
            follower.wait()
        self.is_there()
        self.assertEqual(self.out("run", "--rm", "busybox", "echo", "still here"), "still here")

    def test_copies_whose_clients_left_while_they_waited_are_not_made(self):
        """Those of a container that does not run wait for each other, and each keeps what it was sent."""
        def packed(names):
            out = io.BytesIO()
            with tarfile.open(fileobj=out, mode="w") as tar:
                for name in names:
                    tar.addfile(tarfile.TarInfo(name), io.BytesIO())
            return out.getvalue()

        def begin(data):
            client = socket.socket(socket.AF_UNIX)
            client.connect(str(self.daemon.socket))
            client.sendall(upload("/containers/stopped/archive?path=/tmp", data, "PUT"))
            return client

        before = self.daemon.at_rest()
        first = begin(packed(f"long/{number}" for number in range(40_000)))
        others = [begin(packed([f"left-{number}"])) for number in range(60)]
        for each in others:
            each.close()
        self.assertTrue(first.recv(1000).startswith(b"HTTP/1.1 200 "))
        first.close()
        wait_until("nobody waits any more", lambda: self.daemon.descriptors() <= before + MORE_DESCRIPTORS, 20)
        made = subprocess.run([DOCKER, "cp", "stopped:/tmp/.", "-"], stdout=subprocess.PIPE, check=True, env=self.daemon.environment()).stdout
        with tarfile.open(fileobj=io.BytesIO(made)) as tar:
            names = [pathlib.PurePath(name).name for name in tar.getnames()]
        self.assertIn("39999", names)
        self.assertLess(len([name for name in names if name.startswith("left-")]), 10)

    # A1
    def test_eighty_streams_of_statistics_leave_at_once(self):
        for _ in range(3):
            streams = []
            for _ in range(80):
                each = socket.socket(socket.AF_UNIX)
                each.connect(str(self.daemon.socket))
                each.sendall(request("GET", "/containers/talker/stats?stream=1"))
                streams.append(each)
            for each in streams:
                self.assertTrue(each.recv(100))
            # Their next samples are a second after the first; each is on the pool for a moment.
            time.sleep(0.9)
            for each in streams:
                time.sleep(0.002)
                each.close()
            wait_until("all are gone", lambda: self.daemon.process.poll() is not None or self.daemon.descriptors() < 80, 20)
            self.is_there()
