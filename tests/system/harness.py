"""What the system tests stand on: a gruad of their own, the docker CLI, images, a pty.

Each Daemon has its own data root, exec root, socket, cgroup parent and network namespace, so that tests run beside each other and
beside a gruad of the machine. Where a test fails the daemon's log is printed.
"""

import contextlib
import ctypes
import fcntl
import http.client
import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import termios
import time
import unittest
import uuid

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("GRUA_BIN", REPOSITORY / "build/debug/bin"))
ENV = REPOSITORY / "tests/env"
CACHE = pathlib.Path(os.environ.get("GRUA_TESTENV_CACHE", "/var/tmp/grua-testenv"))
DOCKER = os.environ.get("GRUA_DOCKER", str(CACHE / "clients/bin/docker"))
# Emulated machines are ten times slower; the waits follow.
PATIENCE = float(os.environ.get("GRUA_PATIENCE", "1"))
# A sanitizer keeps books of its own and what was freed: such a build's memory says nothing of gruad's.
SANITIZED = any(name in (BIN / "gruad").read_bytes() for name in (b"__asan_init", b"__tsan_init"))


# (milliseconds, handler) of each gruad that has ended: the longest that its loop was kept by one handler, as it said at its end.
TURNS = []


def run(*words, check=True, timeout=60, **more):
    """Runs a command, text in and out; raises with its output where it fails."""
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, errors="replace", timeout=timeout * PATIENCE,
                          **{"stdin": subprocess.DEVNULL, **more} if "input" not in more else more)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, words))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def wait_until(what, condition, seconds=10.0):
    """Polls until `condition()` is true and returns its value; fails naming `what`."""
    deadline = time.monotonic() + seconds * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds * PATIENCE:.0f} s in vain: {what}")
        time.sleep(0.02)


def in_namespace(pid, what):
    """A socket keeps the network namespace that it was made in."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net") as home, open(f"/proc/{pid}/ns/net") as there:
        if libc.setns(there.fileno(), 0x40000000) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        try:
            return what()
        finally:
            libc.setns(home.fileno(), 0x40000000)


def busybox_image():
    """A docker-archive of one static busybox, tagged busybox:latest. Made once."""
    archive = CACHE / "images/busybox.tar"
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as work:
            run(ENV / "rootfs.sh", "--busybox", f"{work}/root")
            run(ENV / "oci-image.sh", "--tag", "busybox:latest", "--cmd", "sh", f"{work}/root", f"{work}/image.tar")
            shutil.copy(f"{work}/image.tar", f"{archive}.new")
            os.rename(f"{archive}.new", archive)
    return archive


def debian_tar():
    """A Debian minbase root file system as a tar. Made once."""
    archive = CACHE / "images/debian.tar"
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        run(ENV / "rootfs.sh", f"{archive}.new.tar", timeout=600)
        os.rename(f"{archive}.new.tar", archive)
    return archive


def has_apparmor():
    """Whether this kernel confines by it."""
    enabled = pathlib.Path("/sys/module/apparmor/parameters/enabled")
    return enabled.exists() and enabled.read_text().startswith("Y")


def connections_of(listener):
    """One after the other, until the listener is closed."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        yield connection


class SmallDisk:
    """A disk of its own, in memory, which can be filled."""

    def __init__(self, size):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="grua-disk-", dir="/var/tmp"))
        run("mount", "-t", "tmpfs", "-o", f"size={size},mode=0710", "grua-test", self.path)

    def fill(self):
        """To the last byte, in the file "rest"."""
        with open(self.path / "rest", "ab", buffering=0) as rest:
            for size in (1 << 16, 4096, 1):
                with contextlib.suppress(OSError):
                    while rest.write(b"x" * size) == size:
                        pass

    def close(self):
        run("umount", "-l", self.path)
        self.path.rmdir()


class Connection(http.client.HTTPConnection):
    """To an engine's socket; it is kept from request to request as far as the engine keeps it."""

    def __init__(self, path, timeout=60):
        super().__init__("d", timeout=timeout * PATIENCE)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)

    def ask(self, method, target, body=None, headers=None):
        """Status and bytes. A body that is not bytes goes as JSON."""
        data = json.dumps(body).encode() if body is not None and not isinstance(body, bytes) else body
        self.request(method, target, data, {**({"Content-Type": "application/json"} if data is not None else {}), **(headers or {})})
        answer = self.getresponse()
        return answer.status, answer.read()


class Daemon:
    """A gruad and the docker CLI that speaks to it."""

    def __init__(self, *options, image=True, before=(), env=None, bridge=True):
        self.name = "gt" + uuid.uuid4().hex[:8]
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="grua-test-", dir=os.environ.get("GRUA_TEST_DIR", "/var/tmp")))
        self.exec_root = pathlib.Path(tempfile.mkdtemp(prefix="grua-", dir="/run"))
        self.socket = self.exec_root / "grua.sock"
        self.log = self.root / "gruad.log"
        self.options = list(options)
        self.before = list(before)  # a command that executes its arguments, between the namespace and gruad
        self.env = dict(env or {})  # of gruad, at each of its starts
        self.bridge = bridge  # one of its own; else what the options say
        self.process = None
        # Holds the network namespace, so that it outlives a killed daemon.
        self.holder = subprocess.Popen(["unshare", "-n", "sleep", "infinity"], stdin=subprocess.DEVNULL)
        wait_until("the network namespace", lambda: self._netns() != os.stat("/proc/self/ns/net").st_ino)
        self.in_netns("ip", "link", "set", "lo", "up")
        (self.root / "docker-config").mkdir()
        try:
            self.start()
        except BaseException:
            # Nobody closes what was never made; the holder would keep the runner's output open for ever.
            self.holder.kill()
            self.holder.wait()
            raise
        if image:
            self.docker("load", "-q", "-i", busybox_image())

    def _netns(self):
        with contextlib.suppress(FileNotFoundError):
            return os.stat(f"/proc/{self.holder.pid}/ns/net").st_ino
        return None

    def in_netns(self, *words, **more):
        return run("nsenter", f"--net=/proc/{self.holder.pid}/ns/net", *words, **more)

    def start(self, env=None):
        log = open(self.log, "ab")
        self.process = subprocess.Popen(
            ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", *self.before, str(BIN / "gruad"), "-H", f"unix://{self.socket}",
             "--data-root", str(self.root / "data"), "--exec-root", str(self.exec_root / "exec"), "--pidfile", str(self.exec_root / "pid"),
             *(["--bridge", self.name, "--bip", "10.99.7.1/24"] if self.bridge else []), "--cgroup-parent", f"/{self.name}", *self.options,
             *(["--debug"] if SANITIZED and "--debug" not in self.options else [])],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **self.env, **(env or {})})
        log.close()

        def answers():
            if self.process.poll() is not None:
                raise AssertionError(f"gruad ended with {self.process.returncode}\n{self.tail()}")
            return run("curl", "-sf", "--max-time", "2", "--unix-socket", self.socket, "http://d/_ping", check=False).returncode == 0

        wait_until("gruad answers", answers, 20)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20 * PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError("gruad did not end within 20 s of SIGTERM")

    def close(self):
        """Removes every container, ends the daemon and gives back all that it held."""
        try:
            ids = self.docker("ps", "-aq", check=False).stdout.split()
            if ids:
                self.docker("rm", "-f", *ids, check=False)
            self.stop()
        finally:
            for found in re.finditer(r"longest turn of the loop: (\d+) ms in ([^\"\\\n]*)", self.log.read_text(errors="replace")):
                TURNS.append((int(found[1]), found[2].strip()))
            self._end_left_over()
            self.holder.kill()
            self.holder.wait()
            shutil.rmtree(self.exec_root, ignore_errors=True)
            shutil.rmtree(self.root, ignore_errors=True)

    def _end_left_over(self):
        """Containers outlive their gruad: what an interrupted run leaves would go on, and its cgroups stay for ever."""
        for parent in [*pathlib.Path("/sys/fs/cgroup").glob(f"*/{self.name}"), *pathlib.Path("/sys/fs/cgroup").glob(self.name)]:
            for procs in parent.rglob("cgroup.procs"):
                with contextlib.suppress(OSError):
                    for pid in procs.read_text().split():
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(int(pid), signal.SIGKILL)

            def is_empty(parent=parent):
                for folder in sorted((each for each in (parent, *parent.rglob("*")) if each.is_dir()), reverse=True):
                    with contextlib.suppress(OSError):
                        folder.rmdir()
                return not parent.exists()

            with contextlib.suppress(AssertionError):
                wait_until("the cgroups are empty", is_empty, 3)

    def tail(self, lines=40):
        return "--- gruad's log\n" + "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def environment(self):
        return {**os.environ, "DOCKER_HOST": f"unix://{self.socket}", "DOCKER_CONFIG": str(self.root / "docker-config"),
                "GRUA_HOST": f"unix://{self.socket}", "DOCKER_CLI_HINTS": "false"}

    def docker(self, *words, **more):
        try:
            return run(DOCKER, *words, env=self.environment(), **more)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.tail()}") from None

    def grua(self, *words, **more):
        try:
            return run(BIN / "grua", *words, env=self.environment(), **more)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.tail()}") from None

    def anonymous(self):
        """Bytes of memory that are no file's: what gruad has allocated, and what its allocator keeps of what was freed."""
        for line in pathlib.Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Anonymous:"):
                return int(line.split()[1]) << 10
        raise AssertionError("no Anonymous in smaps_rollup")

    def heap(self):
        """Bytes that gruad has allocated; it says so with --debug."""
        status, text = self.api("GET", "/debug/vars")
        if status != 200:
            raise AssertionError(f"/debug/vars: {status} {text}")
        return json.loads(text)["memstats"]["Alloc"]

    def memory(self):
        return self.heap() if SANITIZED else self.anonymous()

    def pid(self):
        """gruad's own, as it says."""
        return int((self.exec_root / "pid").read_text())

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid()}/fd"))

    def threads(self):
        return len(os.listdir(f"/proc/{self.pid()}/task"))

    def at_rest(self):
        """Descriptors when nothing has changed for half a second, and for longer where everything takes longer: what waits for its turn changes
        nothing, and what is made ahead for the next container is there."""
        def still():
            first = (self.descriptors(), self.threads())
            time.sleep(0.5 * PATIENCE)
            return first if first == (self.descriptors(), self.threads()) else None

        return wait_until("gruad is at rest", still, 60)[0]

    def inspect(self, container):
        return json.loads(self.docker("inspect", container).stdout)[0]

    def api(self, method, path, body=None):
        """Status and body of one plain request."""
        words = ["curl", "-s", "--max-time", "20", "-X", method, "-w", "\n%{http_code}", "--unix-socket", str(self.socket)]
        if body is not None:
            words += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
        text, _, status = run(*words, f"http://d{path}").stdout.rpartition("\n")
        return int(status), text

    def spawn(self, *words, program=None):
        return Terminal([program or DOCKER, *map(str, words)], self.environment())


class Terminal:
    """A command on a pty, as a person would run it."""

    def __init__(self, words, environment, rows=24, columns=80):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.clear()
            os.environ.update(environment)
            os.environ.setdefault("TERM", "xterm")
            os.execvp(words[0], words)
        self.resize(rows, columns)
        self.text = ""

    def resize(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def send(self, text):
        os.write(self.fd, text.encode())

    def expect(self, pattern, seconds=10):
        """Reads until `pattern` has appeared since the last expect; returns the match."""
        deadline = time.monotonic() + seconds * PATIENCE
        while True:
            found = re.search(pattern, self.text)
            if found:
                self.text = self.text[found.end():]
                return found
            left = deadline - time.monotonic()
            if left <= 0:
                raise AssertionError(f"no {pattern!r} within {seconds} s in {self.text!r}")
            if select.select([self.fd], [], [], left)[0]:
                try:
                    data = os.read(self.fd, 65536)
                except OSError:
                    data = b""
                if not data:
                    raise AssertionError(f"it ended without {pattern!r}: {self.text!r}")
                self.text += data.decode(errors="replace")

    def wait(self, seconds=10):
        """Drains and reaps; the exit code."""
        deadline = time.monotonic() + seconds * PATIENCE
        while time.monotonic() < deadline:
            if select.select([self.fd], [], [], 0.02)[0]:
                with contextlib.suppress(OSError):
                    self.text += os.read(self.fd, 65536).decode(errors="replace")
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        raise AssertionError(f"it did not end within {seconds} s: {self.text!r}")


class Case(unittest.TestCase):
    """A class of tests that share one daemon; what a test made is removed after it."""

    options = ()
    before = ()
    daemon = None

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon(*cls.options, before=cls.before)
        cls.addClassCleanup(cls.daemon.close)

    def tearDown(self):
        ids = self.docker("ps", "-aq").stdout.split()
        if ids:
            self.docker("rm", "-f", "-v", *ids)

    def docker(self, *words, **more):
        return self.daemon.docker(*words, **more)

    def grua(self, *words, **more):
        return self.daemon.grua(*words, **more)

    def out(self, *words, **more):
        """Standard output of a docker command without the last line feed."""
        return self.docker(*words, **more).stdout.removesuffix("\n")


def cgroup_file(pid, controller, name):
    """A file of the cgroup that process `pid` is in, on v1 or v2. `name` may be a pair (v1, v2)."""
    v1, v2 = name if isinstance(name, tuple) else (name, name)
    unified = None
    for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return pathlib.Path(f"/sys/fs/cgroup/{controller}{path}/{v1}").read_text().strip()
        if controllers == "":
            unified = path
    return pathlib.Path(f"/sys/fs/cgroup{unified}/{v2}").read_text().strip()


def cgroup_version():
    return 2 if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else 1
