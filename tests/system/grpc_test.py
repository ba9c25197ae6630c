"""gRPC beside another implementation of it, python3-grpcio, both ways."""

import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from concurrent import futures

sys.path.append("/usr/lib/python3/dist-packages")  # Debian's, whichever python3 comes first
import grpc  # noqa: E402

from harness import BIN, PATIENCE, SANITIZED, wait_until  # noqa: E402

PEER = BIN / "grpc_peer"


def method(channel, kind, name):
    return getattr(channel, kind)(f"/test.Test/{name}")


class Peers(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.socket = pathlib.Path(folder.name) / "s"

    def serve(self):
        peer = subprocess.Popen([PEER, "serve", self.socket], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(peer.stdout.close)
        self.addCleanup(peer.wait, 10 * PATIENCE)
        self.addCleanup(peer.stdin.close)
        self.assertEqual(peer.stdout.readline(), b"ready\n")
        channel = grpc.insecure_channel(f"unix:{self.socket}", options=[("grpc.max_receive_message_length", 64 << 20)])
        self.addCleanup(channel.close)
        return channel, peer

    def test_its_client_and_our_server(self):
        channel, peer = self.serve()
        echo = method(channel, "stream_stream", "Echo")
        sent = [b"", b"a", bytes(range(256)) * 5000, b"b"]
        answer = echo(iter(sent), metadata=(("x-said", "hello"),))
        self.assertEqual(list(answer), sent)
        self.assertEqual(dict(answer.initial_metadata())["x-seen"], "hello")
        self.assertEqual(method(channel, "unary_unary", "Size")(bytes(10_000_000), timeout=30), b"10000000")
        self.assertEqual(method(channel, "stream_unary", "Size")(iter([b"abc"] * 10_000), timeout=60), b"30000")
        self.assertEqual(len(list(method(channel, "unary_stream", "Many")(b"20000"))), 20000)
        for name, sent, code, said in (("Fail", "50 % ü\n".encode(), grpc.StatusCode.FAILED_PRECONDITION, "50 % ü\n"),
                                       ("Nothing", b"", grpc.StatusCode.UNIMPLEMENTED, "not implemented: /test.Test/Nothing"),
                                       ("Size", bytes(17 << 20), grpc.StatusCode.RESOURCE_EXHAUSTED, None), ("Wait", b"", grpc.StatusCode.DEADLINE_EXCEEDED, None)):
            with self.assertRaises(grpc.RpcError) as failed:
                method(channel, "unary_unary", name)(sent, timeout=5 if name != "Wait" else 0.3)
            self.assertEqual(failed.exception.code(), code, name)
            if said is not None:
                self.assertEqual(failed.exception.details(), said)
        # Who leaves in the middle, and two hundred at once.
        for _ in range(50):
            stream = method(channel, "unary_stream", "Many")(b"100000")
            next(stream)
            stream.cancel()
        with futures.ThreadPoolExecutor(16) as pool:
            size = method(channel, "unary_unary", "Size")
            self.assertEqual({each.result() for each in [pool.submit(size, bytes(1000), timeout=60) for _ in range(200)]}, {b"1000"})
        self.assertIsNone(peer.poll())

    def test_a_slow_reader_stops_its_stream_and_the_memory_stays(self):
        channel, peer = self.serve()
        slow = method(channel, "unary_stream", "Many")(b"100000")
        next(slow)
        size = method(channel, "unary_unary", "Size")
        for _ in range(20):
            self.assertEqual(size(bytes(1000), timeout=30), b"1000")
            time.sleep(0.02)
        status = pathlib.Path(f"/proc/{peer.pid}/status").read_text()
        resident = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))
        self.assertLess(resident, 600_000 if SANITIZED else 60_000)
        self.assertEqual(sum(1 for _ in slow), 99_999)

    def test_our_client_and_its_server(self):
        over = threading.Event()

        def fail(request, context):
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, request.decode())

        def wait(_request, _context):
            over.wait(30)
            return b""

        methods = {
            "Upper": grpc.unary_unary_rpc_method_handler(lambda request, _: request.upper()),
            "Size": grpc.unary_unary_rpc_method_handler(lambda request, _: str(len(request)).encode()),
            "Many": grpc.unary_stream_rpc_method_handler(lambda request, _: (b"x" * 1000 for _ in range(int(request)))),
            "Fail": grpc.unary_unary_rpc_method_handler(fail),
            "Wait": grpc.unary_unary_rpc_method_handler(wait),
            "Echo": grpc.stream_stream_rpc_method_handler(lambda requests, _: requests),
        }
        server = grpc.server(futures.ThreadPoolExecutor(8))
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", methods),))
        server.add_insecure_port(f"unix:{self.socket}")
        server.start()
        self.addCleanup(server.stop, 0)
        self.addCleanup(over.set)
        wait_until("it listens", self.socket.exists)
        got = subprocess.run([PEER, "call", self.socket], stdout=subprocess.PIPE, check=True, timeout=60 * PATIENCE).stdout.decode().splitlines()
        # Whoever sees it first says it.
        late = got.pop(5)
        self.assertTrue(late.startswith("/test.Test/Wait 4 "), late)
        self.assertEqual(got, ["echo ABC", "size 3000000", "many 5000", "/test.Test/Fail 9 why 100 %25%0A%C3%BC",
                               "/test.Test/Nothing 12 Method not found!", " ".join(map(str, range(10))) + " "])
