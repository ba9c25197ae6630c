"""Output of containers on its way to who reads it: logs, attach, exec; and clients that go on sending, leave, or are many."""

import contextlib
import http.client
import json
import os
import pathlib
import random
import socket
import subprocess
import tempfile
import time

from harness import DOCKER, PATIENCE, SANITIZED, Case, run, wait_until


def frames(data):
    """Docker's frames taken apart: {stream: bytes}."""
    out = {1: b"", 2: b""}
    while data:
        stream, size = data[0], int.from_bytes(data[4:8], "big")
        assert stream in out and len(data) >= 8 + size, data[:20]
        out[stream] += data[8:8 + size]
        data = data[8 + size:]
    return out


class Raw(Case):
    def connect(self):
        connection = http.client.HTTPConnection("d", timeout=60 * PATIENCE)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(60 * PATIENCE)
        connection.sock.connect(str(self.daemon.socket))
        self.addCleanup(connection.close)
        return connection

    def hijack(self, path, body=b"", upgrade=True):
        """The socket of an attach or exec, behind the answer's head."""
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(60 * PATIENCE)
        self.addCleanup(client.close)
        client.connect(str(self.daemon.socket))
        head = f"POST {path} HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        head += "Connection: Upgrade\r\nUpgrade: tcp\r\n" if upgrade else ""
        client.sendall(head.encode() + b"\r\n" + body)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += client.recv(1)
        return client, int(answer.split(b" ")[1])

    @staticmethod
    def read_all(client):
        """To the end of the stream; a reset is an error."""
        out = bytearray()
        while data := client.recv(65536):
            out += data
        return bytes(out)

    def get(self, path):
        connection = self.connect()
        connection.request("GET", path)
        return connection.getresponse()


class Attach(Raw):
    # C1
    def test_the_log_of_a_stopped_container_is_whole(self):
        """C1: the client's socket does not wait, and a full one is not the end. However slowly it reads."""
        self.docker("run", "--name", "cc", "busybox", "sh", "-c", "i=0; while [ $i -lt 15000 ]; do echo line $i of a log that is longer than a socket holds; i=$((i+1)); done; echo end >&2")
        expected = b"".join(b"line %d of a log that is longer than a socket holds\n" % i for i in range(15000))
        client, status = self.hijack("/containers/cc/attach?logs=1&stdout=1&stderr=1")
        self.assertEqual(status, 101)
        time.sleep(0.3)  # The socket fills up; without it the test tests less and does not fail.
        streams = frames(self.read_all(client))
        self.assertEqual(len(streams[1]), len(expected))
        self.assertEqual(streams[1], expected)
        self.assertEqual(streams[2], b"end\n")
        client, _ = self.hijack("/containers/cc/attach?logs=1&stderr=1")
        self.assertEqual(frames(self.read_all(client)), {1: b"", 2: b"end\n"})

    def test_a_client_that_does_not_read_a_log_keeps_nobody(self):
        self.docker("run", "--name", "cc", "busybox", "sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x; echo")
        for _ in range(12):
            self.hijack("/containers/cc/attach?logs=1&stdout=1")
        started = time.monotonic()
        self.docker("run", "--rm", "busybox", "true")
        self.assertLess(time.monotonic() - started, 10 * PATIENCE)

    def test_input_that_nobody_takes_is_no_error(self):
        """G2: the program ends while its client still sends."""
        data = random.Random(2).randbytes(20_000_000)
        for _ in range(5):
            done = subprocess.run([DOCKER, "run", "-i", "--rm", "busybox", "head", "-c", "10"], input=data, env=self.daemon.environment(), capture_output=True)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, data[:10], b""))
        self.docker("run", "-d", "--name", "cc", "busybox", "sleep", "1000")
        for _ in range(5):
            done = subprocess.run([DOCKER, "exec", "-i", "cc", "sh", "-c", "echo said; exit 7"], input=data, env=self.daemon.environment(), capture_output=True)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (7, b"said\n", b""))

    def test_an_exec_that_cannot_start_says_so_to_a_client_that_still_sends(self):
        data = bytes(5_000_000)
        self.docker("run", "-d", "--name", "cc", "busybox", "sleep", "1000")
        for _ in range(5):
            done = subprocess.run([DOCKER, "exec", "-i", "cc", "nothing-here"], input=data, env=self.daemon.environment(), capture_output=True)
            self.assertEqual(done.returncode, 127, done.stderr)
            self.assertIn(b"nothing-here", done.stdout + done.stderr)
            self.assertNotIn(b"reset", done.stderr)

    def test_detach_keys_that_are_none(self):
        """A7, C3, G15: said as an answer, before the connection is taken over and before anything runs."""
        self.docker("run", "-d", "-it", "--name", "cc", "busybox", "sleep", "1000")
        for keys in ("%ff", "ctrl-", "nonsense", "%c3"):
            client, status = self.hijack(f"/containers/cc/attach?stream=1&stdin=1&detachKeys={keys}")
            self.assertEqual(status, 400, keys)
            body = json.dumps({"Cmd": ["touch", "/ran"], "Tty": True, "DetachKeys": keys}).encode()
            with contextlib.closing(self.connect()) as connection:
                connection.request("POST", "/containers/cc/exec", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                text = answer.read().decode()
                self.assertEqual(answer.status, 400, text)
        self.docker("exec", "cc", "test", "!", "-e", "/ran")
        self.docker("rm", "-f", "cc")


class Logs(Raw):
    def log_path(self, name):
        return pathlib.Path(self.out("inspect", "--format", "{{.LogPath}}", name))

    def test_many_followers_are_all_served(self):
        """C2, G6: more than a user has inotify instances. Each sees the whole, and the end."""
        self.docker("run", "-d", "--name", "cc", "-i", "busybox", "sh", "-c", "echo first; read x; echo last")
        answers = []
        for _ in range(140):
            answer = self.get("/containers/cc/logs?follow=1&stdout=1")
            self.assertEqual(answer.status, 200)
            self.assertEqual(answer.read(14), b"\1\0\0\0\0\0\0\6first\n")
            answers.append(answer)
        instances = [fd for fd in pathlib.Path(f"/proc/{self.pid_of_gruad()}/fd").iterdir() if os.path.islink(fd) and os.readlink(fd) == "anon_inode:inotify"]
        self.assertLessEqual(len(instances), 2)
        subprocess.run([DOCKER, "attach", "cc"], input=b"go\n", env=self.daemon.environment(), capture_output=True, check=True)
        for answer in answers:
            self.assertEqual(answer.read(), b"\1\0\0\0\0\0\0\5last\n")

    def pid_of_gruad(self):
        return int((self.daemon.exec_root / "pid").read_text())

    def test_who_follows_sees_the_end(self):
        """C2, G24: also of a container that ends while its log is looked at, and right after it was started."""
        for number in range(40):
            self.docker("run", "-d", "--name", f"c{number}", "busybox", "sh", "-c", "echo one; echo two")
            follow = subprocess.run([DOCKER, "logs", "-f", f"c{number}"], env=self.daemon.environment(), capture_output=True, text=True, timeout=30 * PATIENCE)
            self.assertEqual((follow.returncode, follow.stdout, follow.stderr), (0, "one\ntwo\n", ""))

    def test_following_what_does_not_run_ends(self):
        """G17"""
        self.docker("create", "--name", "cc", "busybox", "echo", "x")
        self.assertEqual(self.out("logs", "-f", "cc", timeout=20), "")
        self.docker("start", "-a", "cc")
        self.assertEqual(self.out("logs", "-f", "cc", timeout=20), "x")

    def test_a_log_without_lines_has_an_end(self):
        """C2: three gigabytes of zeros, as a crash leaves them."""
        self.docker("run", "--name", "cc", "busybox", "echo", "first")
        log = self.log_path("cc")
        with open(log, "ab") as file:
            file.truncate(3 << 30)
        started = time.monotonic()
        self.assertEqual(self.out("logs", "--tail", "2", "cc", timeout=60), "")
        self.assertLess(time.monotonic() - started, 15 * PATIENCE)
        with open(log, "ab") as file:
            file.write(b'\n{"log":"last\\n","stream":"stdout","time":"2026-01-02T03:04:05Z"}\n')
        self.assertEqual(self.out("logs", "--tail", "1", "cc", timeout=60), "last")
        status = pathlib.Path(f"/proc/{self.pid_of_gruad()}/status").read_text()
        peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
        if not SANITIZED:
            self.assertLess(peak, 400_000)

    def cpu(self):
        fields = pathlib.Path(f"/proc/{self.pid_of_gruad()}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def long_log(self, name, megabytes):
        self.docker("run", "--name", name, "--log-opt", "max-size=10g", "busybox", "echo", "first")
        line = b'{"log":"' + b"x" * 200 + b'\\n","stream":"stdout","time":"2020-01-02T03:04:05Z"}\n'
        with open(self.log_path(name), "ab") as file:
            for _ in range(megabytes):
                file.write(line * ((1 << 20) // len(line)))

    def test_a_search_that_finds_nothing_keeps_nobody_and_ends_with_its_client(self):
        """C2: filtered reads of a long log, more than there are threads of any kind."""
        self.long_log("cc", 300)
        clients = []
        for _ in range(12):
            client = socket.socket(socket.AF_UNIX)
            client.connect(str(self.daemon.socket))
            client.sendall(b"GET /containers/cc/logs?stderr=1&tail=all HTTP/1.1\r\nHost: d\r\n\r\n")
            clients.append(client)
        wait_until("they are answered", lambda: clients[0].recv(100, socket.MSG_PEEK))
        started = time.monotonic()
        self.docker("run", "--rm", "busybox", "true")
        self.assertLess(time.monotonic() - started, 10 * PATIENCE)
        for client in clients:
            client.close()

        def idle():
            before = self.cpu()
            time.sleep(0.5)
            return self.cpu() - before < 0.1
        # All of it would take minutes in a debug build.
        wait_until("nothing is searched any more", idle, 15)

    def test_options_of_logs_are_checked(self):
        """F: a size that overflows, a count without a bound."""
        self.docker("run", "--name", "cc", "--log-opt", "max-size=3k", "--log-opt", "max-file=3", "busybox", "sh", "-c", "i=0; while [ $i -lt 100 ]; do echo line $i; i=$((i+1)); done")
        folder = self.log_path("cc").parent
        files = sorted(path.name for path in folder.glob("*-json.log*"))
        self.assertEqual(len(files), 3, files)
        self.assertTrue(self.out("logs", "cc").endswith("line 98\nline 99"))
