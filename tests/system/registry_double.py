"""A registry that misbehaves on request, and what stands around one: a token service, a store that blobs are redirected to, a line
that breaks.

All of it runs as threads of the test, with sockets in the daemon's network namespace. What is asked and what is sent is counted.
"""

import contextlib
import ctypes
import gzip
import hashlib
import http.server
import io
import json
import os
import pathlib
import random
import re
import socket
import ssl
import subprocess
import tarfile
import threading
import time
import urllib.parse

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
CLONE_NEWNET = 0x40000000


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def enter_netns(pid):
    """This thread, and those that it starts, are in the network namespace of `pid` from now on."""
    with open(f"/proc/{pid}/ns/net", "rb") as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")


def in_netns(pid, body):
    """The result of `body()` on a thread in that namespace."""
    result = []

    def work():
        enter_netns(pid)
        result.append(body())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return result[0]


def layer(seed, size):
    """A gzip'd layer with one file of `size` random bytes, and its diff ID."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        entry = tarfile.TarInfo(f"file-{seed}")
        entry.size = size
        archive.addfile(entry, io.BytesIO(random.Random(seed).randbytes(size)))
    return gzip.compress(plain.getvalue(), 1, mtime=0), digest_of(plain.getvalue())


class Image:
    """Blobs and a manifest for one platform."""

    def __init__(self, sizes, seed=1, architecture="amd64"):
        self.blobs = {}
        made = [layer(f"{seed}-{at}", size) for at, size in enumerate(sizes)]
        config = json.dumps({"architecture": architecture, "os": "linux", "config": {"Cmd": ["sh"]},
                             "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in made]}}).encode()
        self.layers = [self._blob("application/vnd.oci.image.layer.v1.tar+gzip", data) for data, _ in made]
        self.config = self._blob("application/vnd.oci.image.config.v1+json", config)
        self.manifest = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": self.config, "layers": self.layers}).encode()
        self.digest = digest_of(self.manifest)
        self.platform = {"os": "linux", "architecture": architecture}

    def _blob(self, media_type, data):
        self.blobs[digest_of(data)] = data
        return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}

    def size(self):
        return sum(len(data) for data in self.blobs.values())


class Server:
    """Threads that serve HTTP on address:port in the network namespace of `pid`."""

    def __init__(self, pid, address="127.0.0.1", port=0, tls=None):
        self.pid = pid
        self.scheme = "https" if tls else "http"
        self.connections = 0
        self.requests = []  # (method, path, headers)
        self.open = set()
        self.lock = threading.Lock()
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle(self):
                with owner.lock:
                    owner.connections += 1
                    owner.open.add(self.connection)
                with contextlib.suppress(OSError, ssl.SSLError, ValueError):
                    if tls:
                        self.connection.settimeout(20)
                        self.connection = tls.wrap_socket(self.connection, server_side=True)
                        owner.open.add(self.connection)
                        self.rfile = self.connection.makefile("rb", -1)
                        self.wfile = self.connection.makefile("wb", 0)
                    elif self.connection.recv(1, socket.MSG_PEEK) == b"\x16":
                        self.wfile.write(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTPS request to an HTTP server.\n")
                        return
                    super().handle()

            def finish(self):
                with contextlib.suppress(OSError, ValueError):
                    super().finish()

            def log_message(self, *_):
                pass

            def any(self):
                with owner.lock:
                    owner.requests.append((self.command, self.path, dict(self.headers)))
                owner.answer(self)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = any

        class Threads(http.server.ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False
            request_queue_size = 128

            def handle_error(self, *_):
                pass

        self.server = in_netns(pid, lambda: Threads((address, port), Handler))
        self.authority = f"{address}:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        # A daemon that keeps a connection would go on speaking to this one.
        for each in self.open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def asked(self, word):
        with self.lock:
            return [path for _, path, _ in self.requests if word in path]

    @staticmethod
    def send(handler, status, body=b"", **headers):
        handler.send_response(status)
        length = headers.pop("Content_Length", len(body))
        if length is not None:
            handler.send_header("Content-Length", str(length))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)

    @staticmethod
    def complain(handler, status, code, message, **headers):
        body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        Server.send(handler, status, body, Content_Type="application/json", **headers)


class Double(Server):
    """The registry. `fault(handler, kind, name)` may answer instead and return True; kind is manifests, blobs, tags …"""

    def __init__(self, pid, *address, **more):
        super().__init__(pid, *address, **more)
        self.blobs = {}
        self.manifests = {}  # (repository, tag or digest) → (type, bytes)
        self.fault = None
        self.cuts = []  # each answer of a blob takes one: the connection ends after so many bytes
        self.sent = 0  # bytes of blobs
        self.ranges = True
        self.realm = None  # (URL, service, function that says whether a token is good)
        self.blobs_at = None  # a Store that they are redirected to

    def add(self, repository, tag, image, *more):
        """An image, or an index of several."""
        for each in (image, *more):
            self.blobs.update(each.blobs)
            self.manifests[repository, each.digest] = (OCI_MANIFEST, each.manifest)
        if not more:
            self.manifests[repository, tag] = (OCI_MANIFEST, image.manifest)
            return image.digest
        index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
            {"mediaType": OCI_MANIFEST, "digest": each.digest, "size": len(each.manifest), "platform": each.platform}
            for each in (image, *more)]}).encode()
        self.manifests[repository, tag] = self.manifests[repository, digest_of(index)] = (OCI_INDEX, index)
        return digest_of(index)

    def answer(self, handler):
        url = urllib.parse.urlsplit(handler.path)
        if self.realm and not self.let_in(handler):
            return
        if url.path == "/v2/":
            return self.send(handler, 200, b"{}")
        found = re.fullmatch(r"/v2/(.+)/(manifests|blobs|tags)/(.+)", url.path)
        if not found:
            return self.complain(handler, 404, "UNSUPPORTED", "not here")
        repository, kind, name = found.groups()
        if self.fault and self.fault(handler, kind, name):
            return
        if kind == "tags":
            tags = sorted(tag for where, tag in self.manifests if where == repository and ":" not in tag)
            return self.send(handler, 200, json.dumps({"name": repository, "tags": tags}).encode(), Content_Type="application/json")
        if kind == "manifests":
            if (repository, name) not in self.manifests:
                return self.complain(handler, 404, "MANIFEST_UNKNOWN", "manifest unknown")
            media_type, data = self.manifests[repository, name]
            return self.send(handler, 200, data, Content_Type=media_type, Docker_Content_Digest=digest_of(data))
        if name not in self.blobs:
            return self.complain(handler, 404, "BLOB_UNKNOWN", "blob unknown to registry")
        if self.blobs_at:
            return self.send(handler, 307, Location=f"{self.blobs_at}/data/{name}?signature=x")
        self.send_blob(handler, self.blobs[name])

    def let_in(self, handler):
        realm, service, good = self.realm
        scheme, _, token = handler.headers.get("Authorization", "").partition(" ")
        if scheme == "Bearer" and good(token):
            return True
        self.complain(handler, 401, "UNAUTHORIZED", "authentication required", WWW_Authenticate=f'Bearer realm="{realm}",service="{service}"')
        return False

    def send_blob(self, handler, data):
        first, status, headers = 0, 200, {}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", ""))
        if asked and self.ranges:
            first = int(asked[1])
            last = int(asked[2]) if asked[2] else len(data) - 1
            status, headers = 206, {"Content_Range": f"bytes {first}-{last}/{len(data)}"}
            data = data[first:last + 1]
        with self.lock:
            cut = self.cuts.pop(0) if self.cuts else None
        part = data if cut is None else data[:cut]
        self.send(handler, status, part, Content_Length=len(data), **headers)
        with self.lock:
            self.sent += len(part)
        if len(part) < len(data):
            end(handler)


def end(handler):
    """The connection is gone, without a goodbye."""
    handler.close_connection = True
    with contextlib.suppress(OSError):
        handler.connection.shutdown(socket.SHUT_RDWR)


class Store(Server):
    """A third host that holds blobs: it must never see credentials."""

    def __init__(self, pid, double, *address, **more):
        super().__init__(pid, *address, **more)
        self.double = double
        self.saw_credentials = False

    def answer(self, handler):
        self.saw_credentials |= "Authorization" in handler.headers
        name = urllib.parse.urlsplit(handler.path).path.removeprefix("/data/")
        self.double.send_blob(handler, self.double.blobs[name])


class Tokens(Server):
    """A token service: tokens are counted and can expire."""

    def __init__(self, pid, *address, users=None, **more):
        super().__init__(pid, *address, **more)
        self.users = users or {}
        self.given = 0
        self.valid = set()

    def answer(self, handler):
        given = handler.headers.get("Authorization")
        if given and given not in self.users:
            return self.send(handler, 401, b'{"details":"incorrect username or password"}', Content_Type="application/json")
        with self.lock:
            self.given += 1
            token = f"token-{self.given}"
            self.valid.add(token)
        return self.send(handler, 200, json.dumps({"token": token, "expires_in": 300, "refresh_token": "refresh"}).encode())

    def expire_all(self):
        with self.lock:
            self.valid.clear()

    def good(self, token):
        return token in self.valid


class Line:
    """A TCP line to target:port that counts what comes back and breaks after so many bytes, as often as `cuts` has numbers."""

    def __init__(self, pid, port, cuts=()):
        self.cuts = list(cuts)
        self.down = 0
        self.broken = 0
        self.limit = None  # bytes a second
        self.lock = threading.Lock()
        self.open = set()
        self.listener = in_netns(pid, lambda: socket.create_server(("127.0.0.1", 0), backlog=128))
        self.port = self.listener.getsockname()[1]
        self.authority = f"127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self._accept, args=(pid, port), daemon=True)
        self.thread.start()

    def _accept(self, pid, port):
        enter_netns(pid)
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", port))
            with self.lock:
                self.open |= {client, server}
            threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    def _pump(self, source, target, down):
        # Only what is larger than a document or a head is worth a break.
        passed = 0
        cut = None
        with contextlib.suppress(OSError):
            while data := source.recv(16384):
                if down:
                    with self.lock:
                        if cut is None and passed > 4096 and self.cuts:
                            cut = passed + self.cuts.pop(0)
                        if cut is not None and passed + len(data) >= cut:
                            data = data[:max(0, cut - passed)]
                            self.broken += 1
                        self.down += len(data)
                    if self.limit:
                        time.sleep(len(data) / self.limit)
                passed += len(data)
                target.sendall(data)
                if cut is not None and passed >= cut:
                    break
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for each in self.open:
            each.close()


class Capture:
    """Every IPv4 packet on the namespace's loopback: whom it was for."""

    def __init__(self, pid):
        def capture():
            packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
            packets.bind(("lo", 3))
            return packets

        self.socket = in_netns(pid, capture)
        self.socket.setblocking(False)

    def destinations(self):
        """Of all packets since the last call."""
        found = set()
        with contextlib.suppress(BlockingIOError):
            while True:
                packet = self.socket.recv(65535)
                if len(packet) >= 20 and packet[0] >> 4 == 4:
                    found.add(socket.inet_ntoa(packet[16:20]))
        return found

    def close(self):
        self.socket.close()


def make_authority(folder, *names):
    """An authority and a server certificate for `names` in `folder`: ca.crt, server.crt, server.key. Returns a server's context."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    run = lambda *words: subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, cwd=folder)
    run("req", "-x509", *key, "-days", "30", "-subj", "/CN=test authority", "-addext", "basicConstraints=critical,CA:TRUE",
        "-keyout", "ca.key", "-out", "ca.crt")
    run("req", *key, "-subj", "/CN=test", "-keyout", "server.key", "-out", "server.csr")
    alternatives = ",".join(f"IP:{name}" if name[0].isdigit() else f"DNS:{name}" for name in names)
    (folder / "extensions").write_text(f"subjectAltName={alternatives}\n")
    run("x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30",
        "-extfile", "extensions", "-out", "server.crt")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    return context


class ConnectProxy:
    """An HTTP proxy on 127.0.0.1:3128 that takes CONNECT only, with headers that are not the host's."""

    address = ("127.0.0.1", 3128)

    def __init__(self, pid):
        self.asked = []
        self.refuses = False
        self.listener = in_netns(pid, lambda: socket.create_server(self.address, backlog=128))
        threading.Thread(target=self._accept, args=(pid,), daemon=True).start()

    def _accept(self, pid):
        enter_netns(pid)
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            head = b""
            while b"\r\n\r\n" not in head and (data := client.recv(4096)):
                head += data
            target = head.split()[1].decode()
            self.asked.append(target)
            if self.refuses:
                client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                client.close()
                continue
            host, _, port = target.rpartition(":")
            server = socket.create_connection((self.names[host], int(port)))
            client.sendall(b"HTTP/1.1 200 Connection established\r\nContent-Length: 7\r\nDocker-Content-Digest: of the proxy\r\n\r\n")
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    @staticmethod
    def _pump(source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
