"""Log drivers with the docker CLI: json-file with attributes and packed files, local, syslog and journald, and how each is fed."""

import contextlib
import gzip
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import threading
import time

from harness import DOCKER, PATIENCE, SANITIZED, Case, Daemon, connections_of, in_namespace, run, wait_until


def counting(lines, start=1):
    return f"i={start}; while [ $i -le {lines} ]; do echo line $i of the test; i=$((i+1)); done"


def expected(lines, start=1):
    return [f"line {i} of the test" for i in range(start, lines + 1)]


class Stream:
    """A syslog server for streams: what all its connections bring. It reads only while it may."""

    def __init__(self, listener):
        self.listener = listener
        self.listener.listen(20)
        self.may_read = threading.Event()
        self.may_read.set()
        self.pieces = []
        self.connections = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        for connection in connections_of(self.listener):
            number = len(self.pieces)
            self.pieces.append(bytearray())
            self.connections.append(connection)
            threading.Thread(target=self.read, args=(connection, number), daemon=True).start()

    def read(self, connection, number):
        while True:
            self.may_read.wait()
            try:
                data = connection.recv(65536)
            except OSError:
                return
            if not data:
                return
            self.pieces[number] += data

    def texts(self):
        """What follows the head of each message."""
        lines = [line for piece in list(self.pieces) for line in bytes(piece).decode(errors="replace").split("\n")[:-1]]
        return [line.partition("]: ")[2] for line in lines]

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for each in self.connections:
            with contextlib.suppress(OSError):  # It may be gone.
                each.shutdown(socket.SHUT_RDWR)
            each.close()


class Drivers(Case):
    def tcp(self, port=0, kind=socket.SOCK_STREAM):
        def make():
            made = socket.socket(socket.AF_INET, kind)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(("127.0.0.1", port))
            return made
        return in_namespace(self.daemon.holder.pid, make)

    def folder(self, name):
        return self.daemon.root / "data/containers" / self.out("inspect", "--format", "{{.Id}}", name)

    def run_ended(self, name, *words, script, **more):
        self.docker("run", "--name", name, *words, "busybox", "sh", "-c", script, **more)

    def monitor_of(self, name):
        pid = self.daemon.inspect(name)["State"]["Pid"]
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("PPid")).split()[1])

    def in_gruads_log(self, text):
        return text in self.daemon.log.read_text(errors="replace")


class JsonFile(Drivers):
    def test_attributes_are_in_each_entry_and_in_details(self):
        self.run_ended("cc", "--label", "com.example.a=x y", "--label", "other=1", "-e", "HOME_OF=a,b", "--log-opt", "labels=other,nosuch",
                       "--log-opt", "labels-regex=^com", "--log-opt", "env=HOME_OF", "--log-opt", "tag={{.Name}}/{{.ImageName}}", script="echo hi; echo err >&2")
        lines = [json.loads(line) for line in (self.folder("cc") / f"{self.folder('cc').name}-json.log").read_text().splitlines()]
        attributes = {"HOME_OF": "a,b", "com.example.a": "x y", "other": "1", "tag": "cc/busybox"}
        self.assertEqual([(line["log"], line["attrs"]) for line in sorted(lines, key=lambda line: line["stream"], reverse=True)],
                         [("hi\n", attributes), ("err\n", attributes)])
        self.assertEqual(self.out("logs", "--details", "cc"), "HOME_OF=a%2Cb,com.example.a=x+y,other=1,tag=cc%2Fbusybox hi")
        self.assertEqual(self.out("logs", "cc"), "hi")
        self.assertEqual(self.grua("logs", "--details", "cc").stdout, "HOME_OF=a%2Cb,com.example.a=x+y,other=1,tag=cc%2Fbusybox hi\n")
        self.run_ended("dd", script="echo hi")
        self.assertEqual(self.out("logs", "--details", "dd"), " hi")

    def test_rotated_files_are_packed_and_read(self):
        self.docker("run", "-d", "--name", "cc", "--log-opt", "max-size=20k", "--log-opt", "max-file=100", "--log-opt", "compress=true", "busybox", "sh", "-c",
                    counting(5000) + "; sleep 1000")
        wait_until("all are packed", lambda: len(list(self.folder("cc").glob("*.gz"))) > 20 and not [f for f in self.folder("cc").glob("*.log.*") if f.suffix != ".gz"], 30)
        self.assertEqual(self.out("logs", "cc").split("\n"), expected(5000))
        for tail in (1, 300, 3000):
            self.assertEqual(self.out("logs", "--tail", tail, "cc").split("\n"), expected(5000, 5001 - tail))
        self.docker("restart", "-t", "0", "cc")
        wait_until("it has all again", lambda: self.out("logs", "cc").split("\n") == expected(5000) * 2, 30)
        some = sorted(self.folder("cc").glob("*.gz"))[0]
        self.assertIn(b'"stream":"stdout"', gzip.decompress(some.read_bytes()))

    def test_a_follower_misses_nothing_while_it_packs(self):
        self.docker("run", "-d", "--name", "cc", "--log-opt", "max-size=10k", "--log-opt", "max-file=500", "--log-opt", "compress=true", "busybox", "sh", "-c",
                    counting(20000))
        self.assertEqual(self.out("logs", "-f", "cc", timeout=120).split("\n"), expected(20000))

    def test_a_monitor_that_is_killed_while_it_packs(self):
        for _ in range(4):
            self.docker("run", "-d", "--name", "cc", "--log-opt", "max-size=30k", "--log-opt", "max-file=900", "--log-opt", "compress=true", "busybox", "sh",
                        "-c", counting(30000) + "; sleep 1000")
            wait_until("it packs", lambda: list(self.folder("cc").glob("*.gz")))
            os.kill(self.monitor_of("cc"), signal.SIGKILL)
            wait_until("it has ended", lambda: not self.daemon.inspect("cc")["State"]["Running"])
            lines = self.out("logs", "cc").split("\n")
            self.assertEqual(lines, expected(len(lines)))
            self.docker("start", "cc")
            wait_until("all is there", lambda: self.out("logs", "--tail", "1", "cc") == expected(30000)[-1], 60)
            wait_until("all is packed", lambda: not [f for f in self.folder("cc").glob("*.log.*") if f.suffix != ".gz"], 60)
            self.assertEqual(self.out("logs", "cc", timeout=120).split("\n"), lines + expected(30000))
            self.docker("rm", "-f", "cc")

    def test_a_broken_line_is_left_out_and_said(self):
        for driver, name in (("json-file", "{}-json.log"), ("local", "container.log")):
            self.run_ended("cc", "--log-driver", driver, script="echo one; echo two")
            path = self.folder("cc") / name.format(self.folder("cc").name)
            first, second = path.read_bytes().splitlines(keepends=True)
            path.write_bytes(first + b"\0" * 4096 + first[:9] + b"\n" + second)
            said = len(self.daemon.log.read_bytes())
            self.assertEqual(self.out("logs", "cc"), "one\ntwo")
            self.assertEqual(self.out("logs", "--tail", "1", "cc"), "two")
            news = self.daemon.log.read_bytes()[said:].decode()
            self.assertEqual(news.count("(cc): lines of its log are broken"), 1, news)
            self.docker("rm", "cc")

    def test_what_is_wrong_is_told_at_create(self):
        for driver, option, said in (("json-file", "labels-regex=(", "error parsing regexp"), ("json-file", "tag={{.Nosuch}}", "Nosuch"),
                                     ("json-file", "tag={{", "log option tag"), ("json-file", "max-buffer-size=1m", "only supported with 'mode=non-blocking'"),
                                     ("json-file", "compress=perhaps", "invalid boolean value for compress"), ("local", "bogus=1", "unknown log opt 'bogus' for log driver local"),
                                     ("syslog", "syslog-address=ftp://x", "unsupported scheme: 'ftp'"), ("syslog", "syslog-address=unix:///nosuch", "stat /nosuch"),
                                     ("syslog", "syslog-facility=x", "invalid syslog facility"), ("syslog", "syslog-format=x", "Invalid syslog format"),
                                     ("journald", "max-size=1m", "unknown log opt 'max-size' for journald log driver")):
            done = self.docker("create", "--log-driver", driver, "--log-opt", option, "busybox", check=False)
            self.assertNotEqual(done.returncode, 0, option)
            self.assertIn(said, done.stderr)
        for driver, said in (("bogus", 'error looking up logging plugin bogus: plugin "bogus" not found'), ("gelf", "not implemented: the log driver gelf")):
            done = self.docker("create", "--log-driver", driver, "busybox", check=False)
            self.assertIn(said, done.stderr)
        self.assertEqual(json.loads(self.daemon.api("GET", "/info")[1])["Plugins"]["Log"], ["journald", "json-file", "local", "syslog"])


class Local(Drivers):
    def test_everything_that_docker_logs_can_do(self):
        self.run_ended("cc", "--log-driver", "local", "--label", "a=b", "--log-opt", "labels=a", script="echo one; sleep 1.1; echo err >&2; echo two; printf open")
        self.assertEqual(self.daemon.inspect("cc")["LogPath"], "")
        self.assertEqual(self.docker("logs", "cc").stdout, "one\ntwo\nopen")
        self.assertEqual(self.docker("logs", "cc").stderr, "err\n")
        self.assertEqual(self.docker("logs", "--tail", "1", "cc").stdout, "open")
        self.assertEqual(self.out("logs", "--details", "--tail", "1", "cc"), "a=b open")
        stamps = [line.split(" ")[0] for line in self.out("logs", "-t", "cc").split("\n")]
        self.assertEqual(self.docker("logs", "--since", stamps[1], "cc").stdout, "two\nopen")
        self.assertEqual(self.docker("logs", "--until", stamps[0], "cc").stdout, "one\n")

    def test_following_and_packing(self):
        self.docker("run", "-d", "--name", "cc", "--log-driver", "local", "--log-opt", "max-size=10k", "--log-opt", "max-file=300", "busybox", "sh", "-c", counting(10000))
        self.assertEqual(self.out("logs", "-f", "cc", timeout=120).split("\n"), expected(10000))
        self.assertEqual(self.out("logs", "cc").split("\n"), expected(10000))
        self.assertTrue(list(self.folder("cc").glob("container.log.*.gz")))

    def test_bytes_that_are_no_text_and_a_line_of_a_megabyte(self):
        for driver in ("local", "json-file"):
            self.run_ended("cc", "--log-driver", driver, script="printf 'a\\377\\0b\\n'; head -c 1048576 /dev/zero | tr '\\0' x; echo; echo after")
            out = subprocess.run([DOCKER, "logs", "cc"], env=self.daemon.environment(), capture_output=True).stdout
            first = b"a\xff\0b\n" if driver == "local" else "a\ufffd\0b\n".encode()
            self.assertEqual(out, first + b"x" * 1048576 + b"\nafter\n")
            self.docker("rm", "cc")

    def test_attach_with_logs_joins(self):
        self.docker("run", "-d", "-i", "--name", "cc", "--log-driver", "local", "--log-opt", "mode=non-blocking", "busybox", "sh", "-c", "echo one; read x; echo two")
        wait_until("it has written", lambda: self.out("logs", "cc") == "one")
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(30 * PATIENCE)
        client.connect(str(self.daemon.socket))
        client.sendall(b"POST /containers/cc/attach?logs=1&stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n")
        data = b""
        while b"one\n" not in data:
            data += client.recv(4096)
        client.sendall(b"go\n")
        while piece := client.recv(4096):
            data += piece
        self.assertTrue(data.endswith(b"\1\0\0\0\0\0\0\4one\n\1\0\0\0\0\0\0\4two\n"), data)


class Feeding(Drivers):
    def test_non_blocking_files_have_all_when_the_container_has_ended(self):
        for driver in ("json-file", "local"):
            self.run_ended("cc", "--log-driver", driver, "--log-opt", "mode=non-blocking", "--log-opt", "max-buffer-size=8m", script=counting(3000) + "; exit 0")
            self.assertEqual(self.out("logs", "cc").split("\n"), expected(3000))
            self.docker("rm", "cc")

    def test_a_server_that_does_not_read_holds_a_container_that_may_lose_nothing(self):
        server = Stream(self.tcp())
        port = server.listener.getsockname()[1]
        server.may_read.clear()
        self.docker("run", "-d", "--name", "cc", "--log-driver", "syslog", "--log-opt", f"syslog-address=tcp://127.0.0.1:{port}", "busybox", "sh", "-c",
                    "i=0; while [ $i -lt 300 ]; do i=$((i+1)); head -c 15000 /dev/zero | tr '\\0' x; echo \" $i\"; done; echo end")
        wait_until("it waits", lambda: self.is_still("cc"), 30)
        self.assertTrue(self.daemon.inspect("cc")["State"]["Running"])
        server.may_read.set()
        self.assertEqual(self.out("wait", "cc", timeout=120), "0")
        wait_until("all has come", lambda: server.texts()[-1:] == ["end"], 30)
        self.assertEqual([text.split(" ")[-1] for text in server.texts()], [str(i) for i in range(1, 301)] + ["end"])
        self.assertEqual(len(self.out("logs", "cc").split("\n")), 301)

    def is_still(self, name):
        before = len(self.out("logs", name))
        time.sleep(1)
        return before > 0 and len(self.out("logs", name)) == before

    def test_a_server_that_does_not_read_holds_no_container_that_may_lose(self):
        server = Stream(self.tcp())
        port = server.listener.getsockname()[1]
        server.may_read.clear()
        self.docker("run", "-d", "--name", "cc", "--log-driver", "syslog", "--log-opt", f"syslog-address=tcp://127.0.0.1:{port}", "--log-opt", "mode=non-blocking",
                    "--log-opt", "max-buffer-size=100k", "busybox", "sh", "-c", "i=0; while [ $i -lt 1000 ]; do i=$((i+1)); head -c 15000 /dev/zero | tr '\\0' x; echo; done; sleep 1000")
        wait_until("its lines are left out", lambda: self.in_gruads_log("log driver syslog: its buffer is full, and lines are left out"), 60)
        memory = sum(int(line.split()[1]) for line in pathlib.Path(f"/proc/{self.monitor_of('cc')}/status").read_text().splitlines() if line.startswith("RssAnon"))
        if not SANITIZED:  # A sanitizer's books are most of its memory.
            self.assertLess(memory, 6000)
        server.may_read.set()
        wait_until("it has caught up", lambda: self.in_gruads_log("it has caught up"), 30)
        # The cache is a driver of its own: what it has is no less for the server's being away. It may lose, too, where its worker is slow.
        self.assertGreater(len(self.out("logs", "cc").split("\n")), 10 if SANITIZED else 50)


class Syslog(Drivers):
    def target(self, port, *more, network="tcp"):
        return ["--log-driver", "syslog", "--log-opt", f"syslog-address={network}://127.0.0.1:{port}", *more]

    def test_over_tcp_and_its_forms(self):
        server = Stream(self.tcp())
        port = server.listener.getsockname()[1]
        for form, head in (("", r""), ("rfc3164", ""), ("rfc5424", ""), ("rfc5424micro", "")):
            self.run_ended("cc", *self.target(port, "--log-opt", f"syslog-format={form}", "--log-opt", "tag={{.Name}}.x", "--log-opt", "syslog-facility=local1"),
                           script="echo hello; echo err >&2")
            self.docker("rm", "cc")
        wait_until("all came", lambda: sum(bytes(piece).count(b"\n") for piece in server.pieces) == 8)
        text = b"".join(map(bytes, server.pieces)).decode()
        host = socket.gethostname()
        self.assertRegex(text, r"<142>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d cc\.x\[\d+\]: hello\n")
        self.assertRegex(text, rf"<139>[A-Z][a-z]{{2}} [ \d]\d \d\d:\d\d:\d\d {host} cc\.x\[\d+\]: err\n")
        self.assertRegex(text, rf"<142>1 \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d) {host} cc\.x \d+ cc\.x - hello\n")
        self.assertRegex(text, rf"<139>1 \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{6}}(Z|[+-]\d\d:\d\d) {host} cc\.x \d+ cc\.x - err\n")

    def test_docker_logs_reads_the_cache(self):
        server = Stream(self.tcp())
        port = server.listener.getsockname()[1]
        self.docker("run", "-d", "--name", "cc", "--label", "a=b", *self.target(port, "--log-opt", "labels=a", "--log-opt", "cache-max-size=50k", "--log-opt", "cache-max-file=90"),
                    "busybox", "sh", "-c", counting(5000))
        self.assertEqual(self.out("logs", "-f", "cc", timeout=60).split("\n"), expected(5000))
        self.assertEqual(self.out("logs", "--details", "--tail", "1", "cc"), "a=b line 5000 of the test")
        wait_until("all came", lambda: len(server.texts()) == 5000, 30)
        self.assertEqual(server.texts(), expected(5000))
        self.run_ended("dd", *self.target(port, "--log-opt", "cache-disabled=true"), script="echo one")
        self.assertIn("configured logging driver does not support reading", self.docker("logs", "dd", check=False).stderr)
        self.assertEqual([each.name for each in self.folder("dd").glob("*.log*")], [])

    def test_a_server_that_is_not_there_is_told_by_the_start(self):
        listener = self.tcp()
        port = listener.getsockname()[1]
        listener.close()
        done = self.docker("run", "--name", "cc", *self.target(port), "busybox", "true", check=False)
        self.assertEqual(done.returncode, 125, done.stderr)
        self.assertIn(f"failed to initialize logging driver: dial tcp 127.0.0.1:{port}: connect: connection refused", done.stderr)
        done = self.docker("run", "--name", "dd", "--log-driver", "syslog", "--log-opt", "syslog-address=udp://nosuch.invalid", "busybox", "true", check=False)
        self.assertIn("dial udp: lookup nosuch.invalid", done.stderr)
        self.docker("rm", "cc", "dd")

    def test_a_server_that_dies_and_comes_back(self):
        server = Stream(self.tcp())
        port = server.listener.getsockname()[1]
        self.docker("run", "-d", "-i", "--name", "cc", *self.target(port), "busybox", "sh", "-c", "while read x; do echo got $x; done")

        def say(*words):
            with subprocess.Popen([DOCKER, "attach", "--sig-proxy=false", "cc"], env=self.daemon.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
                for word in words:
                    client.stdin.write(f"{word}\n".encode())
                    client.stdin.flush()
                    client.stdout.readline()
                client.kill()
        say("one")
        wait_until("the first came", lambda: server.texts() == ["got one"])
        server.close()
        say("two", "three")
        wait_until("it is told", lambda: self.in_gruads_log(f"log driver syslog: tcp://127.0.0.1:{port} is away"))
        # gruad has no part in it.
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual(self.out("logs", "cc"), "got one\ngot two\ngot three")
        back = Stream(self.tcp(port))
        wait_until("the rest came", lambda: back.texts() == ["got two", "got three"], 20)
        said = [line for line in self.daemon.log.read_text().splitlines() if f":{port} is away" in line]
        self.assertEqual(len(said), 1, said)
        back.close()

    def test_a_container_ends_while_its_server_is_away(self):
        server = Stream(self.tcp())
        port = server.listener.getsockname()[1]
        self.docker("run", "-d", "-i", "--name", "cc", *self.target(port), "busybox", "sh", "-c", "read x; echo last")
        server.close()
        started = time.monotonic()
        subprocess.run([DOCKER, "attach", "cc"], env=self.daemon.environment(), input=b"x\n", capture_output=True)
        self.assertEqual(self.out("wait", "cc"), "0")
        self.assertLess(time.monotonic() - started, 5 * PATIENCE)
        back = Stream(self.tcp(port))
        wait_until("what was left came", lambda: back.texts() == ["last"])
        self.assertEqual(self.out("logs", "cc"), "last")
        self.docker("start", "cc")
        back.close()

    def test_over_udp_and_unix_sockets(self):
        received = self.tcp(kind=socket.SOCK_DGRAM)
        received.settimeout(20 * PATIENCE)
        self.run_ended("cc", *self.target(received.getsockname()[1], network="udp"), script="echo hello")
        self.assertTrue(received.recv(65536).endswith(b"]: hello\n"))
        path = self.daemon.root / "log.sock"
        for kind, network in ((socket.SOCK_STREAM, "unix"), (socket.SOCK_DGRAM, "unixgram")):
            made = socket.socket(socket.AF_UNIX, kind)
            made.settimeout(20 * PATIENCE)
            made.bind(str(path))
            words = ["--log-driver", "syslog", "--log-opt", f"syslog-address={network}://{path}"]
            if kind == socket.SOCK_STREAM:
                server = Stream(made)
                self.run_ended(network, *words, script="echo hello; echo; echo there")
                wait_until("it came", lambda: server.texts() == ["hello", "there"])
            else:
                self.run_ended(network, *words, script="echo hello")
                self.assertTrue(made.recv(65536).endswith(b"]: hello\n"))
            path.unlink()
            done = self.docker("start", "-a", network, check=False)
            self.assertIn(f"failed to initialize logging driver: dial {network} {path}: connect: no such file or directory", done.stderr)


class Journald(Drivers):
    """/run/systemd is the test's own in the mount namespace of its gruad."""

    before = ()

    @classmethod
    def setUpClass(cls):
        os.makedirs("/run/systemd", exist_ok=True)
        cls.systemd = pathlib.Path(run("mktemp", "-d", "/var/tmp/grua-journal-XXXXXX").stdout.strip())
        (cls.systemd / "journal").mkdir()
        cls.addClassCleanup(run, "rm", "-rf", cls.systemd)
        (cls.systemd / "log").mkdir()
        os.makedirs("/run/log", exist_ok=True)
        cls.before = ("unshare", "-m", "sh", "-c", f'mount --bind {cls.systemd} /run/systemd && mount --bind {cls.systemd}/log /run/log && exec "$@"', "sh")
        super().setUpClass()

    def serve(self):
        path = self.systemd / "journal/socket"
        path.unlink(missing_ok=True)
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        made.settimeout(20 * PATIENCE)
        made.bind(str(path))
        self.addCleanup(made.close)
        return made

    @staticmethod
    def entry(journal):
        out = {}
        data = journal.recv(1 << 20)
        while data:
            head, _, rest = data.partition(b"\n")
            if b"=" in head:
                name, _, value = head.partition(b"=")
                data = rest
            else:
                name, size = head, int.from_bytes(rest[:8], "little")
                value, data = rest[8:8 + size], rest[9 + size:]
            out[name.decode()] = value
        return out

    def test_fields(self):
        journal = self.serve()
        self.run_ended("cc", "--log-driver", "journald", "--label", "com.example.l=v", "-e", "VAR=x\ny", "--log-opt", "labels=com.example.l", "--log-opt", "env=VAR", "--log-opt",
                       "tag=t/{{.Name}}", script="echo hello; printf '\\377' >&2; head -c 20000 /dev/zero | tr '\\0' x; echo")
        id = self.out("inspect", "--format", "{{.Id}}", "cc")
        entries = [self.entry(journal) for _ in range(4)]
        first = next(each for each in entries if each["MESSAGE"] == b"hello")
        for name, value in {"CONTAINER_ID": id[:12], "CONTAINER_ID_FULL": id, "CONTAINER_NAME": "cc", "CONTAINER_TAG": "t/cc", "SYSLOG_IDENTIFIER": "t/cc", "IMAGE_NAME": "busybox",
                            "PRIORITY": "6", "COM_EXAMPLE_L": "v", "VAR": "x\ny"}.items():
            self.assertEqual(first[name], value.encode(), name)
        self.assertNotIn("CONTAINER_PARTIAL_MESSAGE", first)
        broken = next(each for each in entries if each["MESSAGE"] == b"\xff")
        self.assertEqual((broken["PRIORITY"], broken["CONTAINER_PARTIAL_MESSAGE"]), (b"3", b"true"))
        parts = [each for each in entries if each["MESSAGE"].startswith(b"x")]
        self.assertEqual([(len(each["MESSAGE"]), each["CONTAINER_PARTIAL_ORDINAL"], each["CONTAINER_PARTIAL_LAST"]) for each in parts], [(16384, b"1", b"false"), (3616, b"2", b"true")])
        self.assertEqual(parts[0]["CONTAINER_PARTIAL_ID"], parts[1]["CONTAINER_PARTIAL_ID"])
        self.assertEqual(len(self.docker("logs", "cc").stdout), 6 + 20001)

    def test_a_real_journald(self):
        """systemd's own, where it is installed; in gruad's mount namespace, and without the host's network, where it would ask for audit."""
        program, machine = pathlib.Path("/lib/systemd/systemd-journald"), pathlib.Path("/etc/machine-id")
        if not program.exists() or not machine.exists() or not shutil.which("journalctl"):
            self.skipTest("there is no systemd-journald")
        (self.systemd / "journal/socket").unlink(missing_ok=True)
        storage = self.systemd / "log/journal" / machine.read_text().strip()
        storage.mkdir(parents=True, exist_ok=True)
        gruad = (self.daemon.exec_root / "pid").read_text().strip()
        journald = subprocess.Popen(["nsenter", "-t", gruad, "-m", "-n", program], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(lambda: (journald.kill(), journald.wait()))
        wait_until("journald listens", (self.systemd / "journal/socket").exists)
        self.run_ended("cc", "--log-driver", "journald", "--log-opt", "tag=real", script=counting(3000) + "; printf 'two\\n' >&2")
        words = ["journalctl", "-D", storage, "-o", "json", "--no-pager", "CONTAINER_NAME=cc"]

        def entries():
            return [json.loads(line) for line in run(*words, check=False).stdout.splitlines()]
        wait_until("journald has all", lambda: len(entries()) == 3001, 30)
        self.assertEqual([each["MESSAGE"] for each in entries() if each["PRIORITY"] == "6"], expected(3000))
        self.assertEqual([each["SYSLOG_IDENTIFIER"] for each in entries() if each["PRIORITY"] == "3"], ["real"])
        journald.kill()
        journald.wait()

    def test_where_it_is_not(self):
        (self.systemd / "journal/socket").unlink(missing_ok=True)
        done = self.docker("run", "--name", "cc", "--log-driver", "journald", "busybox", "true", check=False)
        self.assertIn("failed to initialize logging driver: journald is not enabled on this host", done.stderr)

    def test_all_lines_at_full_speed(self):
        journal = self.serve()
        self.docker("run", "-d", "--name", "cc", "--log-driver", "journald", "busybox", "sh", "-c", counting(20000))
        got = [self.entry(journal) for _ in range(20000)]
        self.assertEqual([each["MESSAGE"].decode() for each in got], expected(20000))
        self.assertEqual([int(each["CONTAINER_LOG_ORDINAL"]) for each in got], list(range(1, 20001)))


class Default(Drivers):
    options = ("--log-driver", "local", "--log-opt", "max-size=1m", "--log-opt", "cache-disabled=true")

    def test_of_gruad(self):
        self.run_ended("cc", script="echo hi")
        self.assertEqual(self.daemon.inspect("cc")["HostConfig"]["LogConfig"], {"Type": "local", "Config": {"cache-disabled": "true", "max-size": "1m"}})
        self.assertEqual(self.out("logs", "cc"), "hi")
        self.assertEqual(self.out("info", "--format", "{{.LoggingDriver}}"), "local")
        self.docker("create", "--name", "dd", "--log-driver", "json-file", "busybox")
        self.assertEqual(self.daemon.inspect("dd")["HostConfig"]["LogConfig"], {"Type": "json-file", "Config": {"cache-disabled": "true"}})
