"""gruad and its peers, started for one run of a benchmark, and plain HTTP to their sockets."""

import http.client
import json
import shutil
import socket
import sys
import tempfile

from harness import CACHE, DOCKER, ENV, Daemon, busybox_image, run

CLIENTS = CACHE / "clients"


class Engines:
    """gruad, Docker's daemon and podman's service, each with the busybox image, as far as they are installed.

    "dockerd+containerd" is Docker's daemon with containerd's image store, the default of new installations since Docker 29: as gruad does,
    it keeps what it has built as compressed blobs, where dockerd's own store compresses when an image is pushed.
    """

    def __init__(self, peers=("dockerd", "podman")):
        self.grua = Daemon()
        self.hosts = {"docker CLI, gruad": self.grua.socket}
        self.peers = []
        for peer in ("dockerd", "dockerd+containerd", "podman"):
            kind, _, store = peer.partition("+")
            label = f"docker CLI, {peer}"
            if peer in peers and (CLIENTS / "bin" / kind).exists():
                folder = tempfile.mkdtemp(prefix=f"grua-bench-{kind}-", dir="/var/tmp")
                self.peers.append((kind, folder))
                more = ["--", "--feature", f"{store}-snapshotter=true"] if store else []
                started = run(ENV / "peers.sh", "start", kind, folder, *more, check=False, timeout=90)
                if started.returncode != 0:
                    print(f"{peer} does not start and is left out: {started.stderr.strip()}", file=sys.stderr)
                    continue
                self.hosts[label] = started.stdout.strip().split("\n")[-1]
                run(DOCKER, "-H", f"unix://{self.hosts[label]}", "load", "-q", "-i", busybox_image())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.grua.close()
        for kind, folder in self.peers:
            run(ENV / "peers.sh", "stop", kind, folder, check=False)
            shutil.rmtree(folder, ignore_errors=True)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("d")
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def call(connection, method, path, body=None):
    connection.request(method, path, json.dumps(body) if body is not None else None, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status >= 400:
        raise RuntimeError(f"{method} {path}: {answer.status} {text!r}")
    return json.loads(text) if text else None
