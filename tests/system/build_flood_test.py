"""Much of everything that a build's client, its files and its programs can send: each has a bound, is refused or borne within it, and costs gruad no more
memory than is said here. With GRUA_FIGURES=FILE what was measured is written there."""

import contextlib
import gzip
import http.client
import io
import os
import pathlib
import socket
import struct
import tarfile
import threading
import time
import unittest

from harness import DOCKER, PATIENCE, SANITIZED, Case, run, wait_until
from build_client import CONTROL, NONE, Client, Graph, Session, bridge_pb2, control_pb2, files_pb2, graph_pb2, grpc, sends_tree, upgraded
from build_test import Folder

BUSYBOX = "docker-image://docker.io/library/busybox:latest"
FOLDER = 1 << 31  # Of Go's modes.
MIB = 1 << 20
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name, value):
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def call_headers(path):
    return b"\x83\x86" + literal(b":path", path) + literal(b":authority", b"d") + literal(b"te", b"trailers") + literal(b"content-type", b"application/grpc")


class Floods(Case):
    options = ("--debug",)

    def setUp(self):
        self.gruad = self.daemon.pid()
        self.client = Client(self, self.daemon)

    def tearDown(self):
        self.assertEqual(self.daemon.process.poll(), None, self.daemon.tail())
        self.assertEqual(self.daemon.pid(), self.gruad)
        super().tearDown()

    def status(self, name):
        return int(next(line for line in pathlib.Path(f"/proc/{self.gruad}/status").read_text().splitlines() if line.startswith(name)).split()[1]) << 10

    @contextlib.contextmanager
    def bounded(self, peak, seconds, after=30 * MIB):
        """Of gruad's memory, at most and when it is over; files of its own that are mapped count as they do for it always."""
        pathlib.Path(f"/proc/{self.gruad}/clear_refs").write_text("5")
        before, begun = self.status("VmRSS"), time.monotonic()
        yield
        took, most = time.monotonic() - begun, self.status("VmHWM")
        left = []

        def has_shrunk():
            # Threads that end give back what was freed.
            graph = Graph()
            self.client.refusal(graph.done(graph.mkfile(f"/{time.monotonic()}")))
            left[:] = [self.status("VmRSS")]
            return left[0] < before + after

        with contextlib.suppress(AssertionError):
            wait_until("gruad gives memory back", has_shrunk, 20 / PATIENCE)
        line = f"{self.id().split('.')[-1]}: RSS before {before >> 20}, most {most >> 20}, after {left[0] >> 20} MiB; {took:.1f} s"
        if "GRUA_FIGURES" in os.environ:
            with open(os.environ["GRUA_FIGURES"], "a") as out:
                print(line, file=out)
        if SANITIZED:
            return
        self.assertLess(most - before, peak, line)
        self.assertLess(left[0] - before, after, line)
        self.assertLess(took, seconds * PATIENCE, line)

    def build(self, files, *words, check=True, **more):
        with Folder(files) as folder:
            done = self.docker("build", "--progress", "plain", *words, str(folder.path), check=check, **more)
            return done.returncode, done.stdout + done.stderr

    def refused(self, files, says, *words):
        code, said = self.build(files, *words, check=False)
        self.assertNotEqual(code, 0)
        self.assertIn(says, said[-5000:])

    # --- definitions

    def test_a_chain_of_100000_vertices(self):
        """The last one fails before any of the others is done, and all of them have begun by then."""
        graph = Graph()
        last = graph.run("exit 3", graph.source(BUSYBOX))
        for number in range(99_997):
            op = graph_pb2.Op()
            op.merge.inputs.add(input=0)
            op.platform.OSFeatures.append(str(number))
            last = graph.add(op, last)
        definition = graph.done(last)
        with self.bounded(700 * MIB, 120, after=100 * MIB):
            self.assertIn("exit code: 3", self.client.refusal(definition, timeout=180))

    def test_a_merge_of_3000_vertices_on_one(self):
        graph = Graph()
        base = graph.source(BUSYBOX)
        leaves = []
        for number in range(3000):
            op = graph_pb2.Op()
            op.merge.inputs.add(input=0)
            op.platform.OSFeatures.append(str(number))
            leaves.append(graph.add(op, base))
        op = graph_pb2.Op()
        op.merge.inputs.add(input=0)
        definition = graph.done(graph.add(op, *leaves))
        with self.bounded(200 * MIB, 120):
            self.assertEqual(self.client.refusal(definition, timeout=180), "")

    def test_more_vertices_than_are_allowed(self):
        graph = Graph()
        for number in range(100_001):
            op = graph_pb2.Op()
            op.source.identifier = str(number)
            getattr(graph.definition, "def").append(op.SerializeToString())
        with self.bounded(150 * MIB, 30):
            self.assertIn("more than the 100000", self.client.refusal(graph.definition))

    def test_messages_that_are_too_large(self):
        with self.bounded(200 * MIB, 60):
            for size in (17 * MIB, 60 * MIB):
                with self.assertRaises(grpc.RpcError) as failed:
                    self.client.call(CONTROL + "Solve", bytes(size))
                self.assertEqual(failed.exception.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)

    def test_results_warnings_and_builds_without_end(self):
        graph = Graph()
        definition = graph.done(graph.mkfile("/x", bytes(5 * MIB)))
        with self.bounded(250 * MIB, 90):
            with self.client.front_end() as front:
                with self.assertRaises(grpc.RpcError) as failed:
                    for _ in range(200):
                        front.solve(definition, evaluate=False)
                self.assertIn("a front end is given at most", failed.exception.details())
                for _ in range(40):
                    front.call("Warn", bridge_pb2.WarnRequest(short=b"x" * 8 * MIB))
            with self.client.front_end() as front:
                for _ in range(1000):
                    front.call("Warn", bridge_pb2.WarnRequest(short=b"x" * 100))
                with self.assertRaises(grpc.RpcError) as failed:
                    front.call("Warn", bridge_pb2.WarnRequest(short=b"x" * 100))
                self.assertIn("warns at most 1000 times", failed.exception.details())

    # --- frames

    def raw(self):
        connection = upgraded(self.daemon, "/grpc")
        self.addCleanup(connection.close)
        connection.settimeout(20 * PATIENCE)
        connection.sendall(PREFACE + frame(4, 0, 0))
        return connection

    def sends(self, connection, pieces):
        """Until it is refused; bytes that went."""
        sent = 0
        drain = threading.Thread(target=self.drain, args=(connection,), daemon=True)
        drain.start()
        with contextlib.suppress(OSError):
            for piece in pieces:
                connection.sendall(piece)
                sent += len(piece)
        return sent

    @staticmethod
    def drain(connection):
        with contextlib.suppress(OSError):
            while connection.recv(1 << 16):
                pass

    def test_streams_that_are_given_up_at_once(self):
        with self.bounded(60 * MIB, 60):
            connection = self.raw()
            pieces = (frame(1, 4, number, call_headers(b"/grpc.health.v1.Health/Check")) + frame(3, 0, number, struct.pack(">I", 8)) for number in range(1, 400_001, 2))
            whole = 200_000 * len(frame(1, 4, 1, call_headers(b"/grpc.health.v1.Health/Check")) + frame(3, 0, 1, b"1234"))
            self.assertLess(self.sends(connection, pieces), whole, "it is told to be calm")

    def test_pings_settings_and_headers_without_end(self):
        block = call_headers(b"/x")
        for pieces in (lambda: (frame(6, 0, 0, b"12345678") * 100 for _ in range(5000)), lambda: (frame(4, 0, 0) * 100 for _ in range(5000)),
                       lambda: (frame(1, 0, 1, block) if not number else frame(9, 0, 1, literal(b"x", b"y" * 100) * 50) for number in range(20_000)),
                       lambda: (frame(1, 4 | 1, number, block) for number in range(1, 100_001, 2)),
                       lambda: (frame(2, 0, number, struct.pack(">IB", 0, 5)) for number in range(1, 100_001, 2)),
                       lambda: (frame(8, 0, 0, struct.pack(">I", 1)) * 100 for _ in range(5000)),
                       lambda: (frame(0, 0, 1, b"x" * 16000) for _ in range(5000)),
                       lambda: (frame(200, 0, 0, b"x" * 16000) for _ in range(5000))):
            with self.bounded(60 * MIB, 60):
                self.sends(self.raw(), pieces())

    def test_who_asks_and_does_not_read(self):
        with self.bounded(80 * MIB, 60):
            connection = self.raw()
            # Whoever does not take its acknowledgements sends no more; the test gives up where its writes have to wait.
            connection.settimeout(3)
            with contextlib.suppress(OSError):
                for _ in range(20_000):
                    connection.sendall(frame(6, 0, 0, b"12345678") * 100)
            connection = self.raw()
            connection.settimeout(3)
            request = b"\0\0\0\0\0"
            with contextlib.suppress(OSError):
                for number in range(1, 20_001, 2):
                    connection.sendall(frame(1, 4, number, call_headers(CONTROL.encode() + b"ListWorkers")) + frame(0, 1, number, request))

    def test_many_messages_that_are_not_whole(self):
        """250 streams with 16 MiB each would be four gigabytes."""
        with self.bounded(250 * MIB, 90):
            connection = self.raw()
            window = frame(8, 0, 0, struct.pack(">I", 1 << 30))
            head = b"\0" + struct.pack(">I", 16 * MIB - 10)

            def pieces():
                yield window
                for number in range(1, 401, 2):
                    yield frame(1, 4, number, call_headers(CONTROL.encode() + b"Solve")) + frame(0, 0, number, head)
                for _ in range(60):
                    for number in range(1, 401, 2):
                        yield frame(0, 0, number, bytes(16000))
            self.sends(connection, pieces())
            connection.shutdown(socket.SHUT_RDWR)

    def test_a_thousand_connections_and_sessions(self):
        with self.bounded(200 * MIB, 90, after=60 * MIB):
            connections = []
            for number in range(500):
                connections.append(self.raw())
                session = upgraded(self.daemon, "/session", f"X-Docker-Expose-Session-Uuid: s{number}", "X-Docker-Expose-Session-Name: x",
                                   "X-Docker-Expose-Session-Grpc-Method: /grpc.health.v1.Health/Check")
                self.addCleanup(session.close)
                connections.append(session)
            self.assertEqual(self.client.refusal(Graph().done(Graph().source(BUSYBOX))) != "", True)
            for each in connections:
                each.close()

    # --- what programs print

    def test_a_program_that_prints_without_end(self):
        with self.bounded(150 * MIB, 120):
            code, said = self.build({"Dockerfile": "FROM busybox\nRUN yes | head -c 300000000\nRUN yes >&2 | head -c 1 & sleep 5; kill $!; true\n"
                                     "RUN i=0; while [ $i -lt 30000 ]; do printf x; i=$((i+1)); done; head -c 50000000 /dev/zero; head -c 5000000 /dev/urandom\n"}, "--no-cache")
            self.assertIn("log limit 2MiB reached", said)

    def test_many_programs_that_print_much(self):
        stages = "".join(f"FROM busybox AS s{number}\nRUN yes {number} | head -c 3000000\n" for number in range(60))
        copies = "".join(f"COPY --from=s{number} /etc/passwd /p{number}\n" for number in range(60))
        with self.bounded(400 * MIB, 240):
            # Docker's client gives up what it has not shown three seconds after the end.
            self.build({"Dockerfile": stages + "FROM busybox\n" + copies}, "--no-cache", "--progress", "quiet", timeout=240)

    # --- files that are read

    def test_Dockerfiles_that_grow(self):
        laughs = "FROM busybox\nARG a0=ha\n" + "".join(f"ARG a{number + 1}=" + f"${{a{number}}}" * 10 + "\n" for number in range(12)) + "RUN echo $a12\n"
        globals_ = "ARG a0=ha\n" + "".join(f"ARG a{number + 1}=" + f"${{a{number}}}" * 10 + "\n" for number in range(12)) + "FROM $a12\n"
        nested = "FROM busybox\nENV x=" + "${a:-" * 5000 + "b" + "}" * 5000 + "\n"
        label = "FROM busybox\nENV a=" + "x" * 60000 + "\n" + "LABEL " + " ".join(f"l{number}=$a$a$a$a" for number in range(900)) + "\n"
        substitutes = "FROM busybox\nENV a=" + "a" * 60000 + "\nENV b=${a//*a*a*a*a*a*a*a*b/x}\n"
        with self.bounded(250 * MIB, 90):
            self.refused({"Dockerfile": laughs}, "expand to too much text")
            self.refused({"Dockerfile": globals_}, "too much")
            self.refused({"Dockerfile": nested}, "nest too deep")
            self.refused({"Dockerfile": label}, "too much")
            self.build({"Dockerfile": substitutes}, check=False)

    def test_an_error_with_a_large_Dockerfile_is_said(self):
        """Its details have the whole file in them, which no header block of usual size has room for."""
        for size in (60_000, 500_000, 5 * MIB):
            code, said = self.build({"Dockerfile": "FROM busybox\n" + ("#" + "x" * 99 + "\n") * (size // 101) + "RUN exit 7\n"}, check=False, timeout=60)
            self.assertEqual(code, 1)
            self.assertIn("exit code: 7", said)

    def test_Dockerfiles_of_many_lines(self):
        stages = "".join(f"FROM {'busybox' if not number else f's{number - 1}'} AS s{number}\n" for number in range(5000))
        onbuild = "FROM busybox\n" + "ONBUILD RUN true\n" * 20_000
        heredocs = "FROM busybox\nRUN " + "".join(f"<<E{number} " for number in range(2000)) + "\n" + "".join(f"x\nE{number}\n" for number in range(2000))
        args = "FROM busybox\n" + "".join(f"ARG a{number}=$a{number - 1}x\n" for number in range(8000)) + "RUN true\n"
        comments = "#\n" * 4_000_000 + "FROM busybox\n"
        open_heredoc = "FROM busybox\nRUN <<E\n" + "x\n" * 3_000_000
        for text in (stages, onbuild, heredocs, args, comments, open_heredoc):
            with self.bounded(450 * MIB, 120, after=60 * MIB):
                self.build({"Dockerfile": text}, check=False, timeout=180)
        with self.bounded(100 * MIB, 60):
            self.refused({"Dockerfile": "FROM busybox\n" + "#" + "x" * (11 * MIB) + "\n"}, "")

    def test_patterns_that_ask_for_much(self):
        """By the classic builder the engine itself matches."""
        ignored = "\n".join(["*" * 200 + "a", "**/" * 200 + "b", "?*" * 500 + "c", "[a-z]*" * 300 + "d", "!" + "**/a*" * 100] * 20)
        names = {f"{'a' * 200}{number}": "" for number in range(300)}
        deep = "/".join("d" * 10 for _ in range(60)) + "/file"
        files = {"Dockerfile": "FROM busybox\nCOPY . /c\n" + "".join(f"COPY {'a*' * 60}{number} /x/\n" for number in range(5)), ".dockerignore": ignored, deep: "", **names}
        with self.bounded(150 * MIB, 90):
            self.build(files, check=False)
            with Folder(files) as folder:
                run(DOCKER, "build", str(folder.path), env={**self.daemon.environment(), "DOCKER_BUILDKIT": "0"}, check=False)
        graph = Graph()
        source = graph.run("mkdir /d; cd /d; for i in $(seq 300); do touch $(printf a%.0s $(seq 200))$i; done", graph.source(BUSYBOX))
        op = graph_pb2.Op()
        action = op.file.actions.add(input=NONE, secondaryInput=0, output=0)
        copy = action.copy
        copy.src, copy.dest, copy.allowWildcard, copy.createDestPath, copy.mode, copy.timestamp = "/d/" + "a*" * 100 + "b", "/", True, True, -1, -1
        copy.allowEmptyWildcard = True
        copy.include_patterns.extend(["*a" * 100 + "c", "**/a*" * 60 + "d"])
        with self.bounded(100 * MIB, 60):
            self.client.refusal(graph.done(graph.add(op, source)))

    def test_a_list_of_a_million_files(self):
        def stats():
            for folder in range(1000):
                yield files_pb2.Stat(path=f"d{folder:04}", mode=FOLDER | 0o755)
                for number in range(1000):
                    yield files_pb2.Stat(path=f"d{folder:04}/f{number:04}", mode=(1 << 27) | 0o777, linkname="x")
        session = Session(self, self.daemon, {"/moby.filesync.v1.FileSync/DiffCopy": sends_tree(stats())})
        graph = Graph()
        definition = graph.done(graph.source("local://context"))
        with self.bounded(900 * MIB, 500, after=150 * MIB):
            self.assertEqual(self.client.refusal(definition, Session=session.id, timeout=550), "")

    def test_a_list_of_names_that_are_long(self):
        def stats():
            for number in range(1_000_000):
                yield files_pb2.Stat(path=f"{number:07}", mode=(1 << 27) | 0o777, linkname="x" * 4000, xattrs={"user.x": b"y" * 60_000})
        session = Session(self, self.daemon, {"/moby.filesync.v1.FileSync/DiffCopy": sends_tree(stats())})
        graph = Graph()
        with self.bounded(900 * MIB, 200, after=100 * MIB):
            self.assertIn("bytes of names and attributes", self.client.refusal(graph.done(graph.source("local://context")), Session=session.id, timeout=250))

    def classic(self, body):
        connection = http.client.HTTPConnection("d")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(120 * PATIENCE)
        connection.sock.connect(str(self.daemon.socket))
        self.addCleanup(connection.close)
        with contextlib.suppress(BrokenPipeError):
            connection.request("POST", "/v1.44/build", body, {"Content-Type": "application/x-tar"}, encode_chunked=True)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")

    def test_archives_that_are_much_larger_inside(self):
        def tar(*members):
            out = io.BytesIO()
            with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as made:
                for info, data in members:
                    made.addfile(info, io.BytesIO(data) if data is not None else None)
            return out.getvalue()

        def member(name, size=0, **more):
            info = tarfile.TarInfo(name)
            info.size = size
            for key, value in more.items():
                setattr(info, key, value)
            return info

        dockerfile = (member("Dockerfile", 13), b"FROM scratch\n")
        # A name, a link, a pax header and a sparse map without end; a file of a thousand terabytes that has no bytes.
        long_name = tar(dockerfile, (member("././@LongLink", 100 * MIB, type=tarfile.GNUTYPE_LONGNAME), b"x" * (100 * MIB)))
        pax = tar(dockerfile, (member("p", 100 * MIB, type=tarfile.XHDTYPE), b"1" * (100 * MIB)))
        many_pax = tar(dockerfile, *[(member("p", 900_000, type=tarfile.XHDTYPE), f"{900_000} path={'a/' * 449_000}".encode().ljust(900_000, b"x")) for _ in range(50)])
        sparse = bytearray(tar(dockerfile, (member("s", 0), None)))
        large = tar(dockerfile, (member("s", 8 ** 11 - 1), None))[:2048]
        for body in (long_name, pax, many_pax, bytes(sparse), large):
            with self.bounded(120 * MIB, 90):
                self.classic(body)
        # Its size is its disk's matter, not the memory's.
        zeros = gzip.compress(tar(dockerfile, (member("z", 300 * MIB), bytes(300 * MIB))))
        with self.bounded(120 * MIB, 90):
            status, said = self.classic(zeros)
            self.assertEqual(status, 200, said)

    def test_what_a_loop_is_kept_by(self):
        """Of all above: said at the end of gruad's log, and bounded here by what an answer takes meanwhile."""
        graph = Graph()
        for number in range(99_000):
            op = graph_pb2.Op()
            op.merge.inputs.add(input=NONE)
            op.platform.OSFeatures.append(str(number))
            last = graph.add(op)
        definition = graph.done(last)
        waits = []
        done = threading.Event()

        def ask():
            while not done.is_set():
                begun = time.monotonic()
                self.daemon.api("GET", "/_ping")
                waits.append(time.monotonic() - begun)

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            self.client.refusal(definition)
        finally:
            done.set()
            asking.join()
        self.assertLess(max(waits), 2 * PATIENCE)


if __name__ == "__main__":
    unittest.main()
