"""Where gruad listens and who is let in: TLS, systemd's sockets and datagrams, sockets' files; with the docker CLI at the other end."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import unittest

from harness import BIN, DOCKER, PATIENCE, REPOSITORY, Daemon, in_namespace, run, wait_until


def make_certificates(folder):
    """ca.pem with server.pem and client.pem of it, expired.pem, and stranger.pem of another authority; each with NAME-key.pem."""
    def openssl(*words):
        run("openssl", *words, cwd=folder)

    def key(name):
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}-key.pem")

    for ca in ("ca", "other"):
        key(ca)
        openssl("req", "-x509", "-new", "-key", f"{ca}-key.pem", "-days", "2", "-subj", f"/CN={ca}", "-out", f"{ca}.pem")
    for name, ca, days in (("server", "ca", 2), ("client", "ca", 2), ("second", "ca", 2), ("expired", "ca", -1), ("stranger", "other", 2)):
        key(name)
        openssl("req", "-new", "-key", f"{name}-key.pem", "-subj", f"/O=Tests/CN={name}", "-out", f"{name}.csr")
        pathlib.Path(folder, f"{name}.ext").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n" if name in ("server", "second") else "extendedKeyUsage=clientAuth\n")
        dates = ["-days", str(days)]
        if days < 0:
            # x509 has no past for its end; ca has.
            pathlib.Path(folder, "index.txt").write_text("")
            pathlib.Path(folder, "ca.cnf").write_text(f"[ca]\ndefault_ca=c\n[c]\ndatabase={folder}/index.txt\nnew_certs_dir={folder}\ndefault_md=sha256\n"
                                                      "policy=p\nrand_serial=yes\n[p]\ncommonName=supplied\norganizationName=optional\n")
            openssl("ca", "-batch", "-config", "ca.cnf", "-cert", f"{ca}.pem", "-keyfile", f"{ca}-key.pem", "-in", f"{name}.csr", "-out", f"{name}.pem",
                    "-startdate", "20200101000000Z", "-enddate", "20210101000000Z", "-notext")
            continue
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}-key.pem", "-CAcreateserial", *dates, "-extfile", f"{name}.ext",
                "-out", f"{name}.pem")


class TlsDaemon(Daemon):
    """Listens on tcp://127.0.0.1:2376 of its network namespace, too."""

    PORT = 2376

    def __init__(self, folder, *options, **more):
        self.folder = folder
        super().__init__("-H", f"tcp://127.0.0.1:{self.PORT}", "--tlscacert", f"{folder}/ca.pem", "--tlscert", f"{folder}/server.pem", "--tlskey",
                         f"{folder}/server-key.pem", *options, **more)

    def secure(self, *words, name="client", ca="ca", host="127.0.0.1", program=DOCKER, tls=("--tlsverify",), check=True, **more):
        shown = [f"--tlscert={self.folder}/{name}.pem", f"--tlskey={self.folder}/{name}-key.pem"] if name else []
        words = ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", program, "-H", f"tcp://{host}:{self.PORT}", *tls, f"--tlscacert={self.folder}/{ca}.pem", *shown,
                 *words]
        environment = {**os.environ, "DOCKER_CONFIG": str(self.root / "docker-config"), "DOCKER_CLI_HINTS": "false"}
        done = run(*words, env=environment, check=False, **more)
        if check and done.returncode != 0:
            raise AssertionError(f"{words}: exit {done.returncode}\n{done.stdout}{done.stderr}\n{self.tail()}")
        return done

    def connect(self):
        """A plain TCP connection to the port, from this process."""
        return in_namespace(self.holder.pid, lambda: socket.create_connection(("127.0.0.1", self.PORT), timeout=20 * PATIENCE))


class Certificates(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="grua-tls-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name
        make_certificates(cls.folder)

    def refused(self, *words, config="{}"):
        path = pathlib.Path(self.folder, "daemon.json")
        path.write_text(config)
        done = run(BIN / "gruad", "--validate", "--config-file", path, *words, check=False, env={**os.environ, "DOCKER_CERT_PATH": "/nowhere"})
        self.assertEqual(done.returncode, 1, done.stdout)
        return done.stderr


class Validation(Certificates):
    def test_each_file_that_is_wrong_is_named(self):
        of = lambda name: f"{self.folder}/{name}"
        fine = {"--tlscacert": of("ca.pem"), "--tlscert": of("server.pem"), "--tlskey": of("server-key.pem")}
        def with_(**other):
            return [f"{k}={v}" for k, v in {**fine, **{f"--{k}": v for k, v in other.items()}}.items()]
        done = run(BIN / "gruad", "--validate", "--config-file=/dev/null", "--tlsverify", "-H", "tcp://0.0.0.0:2376", *with_())
        self.assertEqual(done.stdout, "configuration OK\n")
        pathlib.Path(of("garbage.pem")).write_bytes(os.urandom(1000))
        pathlib.Path(of("empty.pem")).write_text("")
        run("openssl", "ec", "-aes256", "-passout", "pass:x", "-in", of("server-key.pem"), "-out", of("locked.pem"))
        for change, said in (({"tlscert": "/nowhere/x.pem"}, "TLS: /nowhere/x.pem: no such file"), ({"tlskey": of("client-key.pem")}, "client-key.pem is not the key of"),
                             ({"tlscacert": of("garbage.pem")}, "garbage.pem: no certificate in PEM"), ({"tlscert": of("empty.pem")}, "empty.pem: no certificate in PEM"),
                             ({"tlskey": of("garbage.pem")}, "garbage.pem: no private key in PEM"), ({"tlskey": self.folder}, f"TLS: read {self.folder}: Is a directory"),
                             ({"tlskey": of("locked.pem")}, "not implemented: " + of("locked.pem") + " has a passphrase")):
            self.assertIn(said, self.refused("--tlsverify", *with_(**change)), change)
        self.assertIn("/nowhere/cert.pem: no such file", self.refused("--tls"))
        self.assertIn("/nowhere/cert.pem: no such file", self.refused(config='{"tls": true}'))
        self.assertIn("without --tls or --tlsverify nothing is encrypted", self.refused("--tlscert", of("server.pem")))
        self.assertIn("tlsverify: expected a boolean", self.refused(config='{"tlsverify": "yes"}'))
        self.assertIn("tlsverify: (from flag: true, from file: false)", self.refused("--tlsverify", config='{"tlsverify": false}'))

    def test_who_reaches_gruad_by_tcp_shows_a_certificate(self):
        fine = [f"--tlscacert={self.folder}/ca.pem", f"--tlscert={self.folder}/server.pem", f"--tlskey={self.folder}/server-key.pem"]
        for words in ([], ["--tls=false"], ["--tlsverify=false", *fine]):
            self.assertIn("not implemented: --host tcp://0.0.0.0:2376 without --tlsverify", self.refused("-H", "tcp://0.0.0.0:2376", *words))
        for words in (["--tls", *fine], ["--tlsverify", *fine]):
            run(BIN / "gruad", "--validate", "--config-file=/dev/null", "-H", "tcp://[::]:2376", *words)
        for host, said in (("fd://x", "should be a number: x"), ("fd://2", "begin with 3"), ("tcp://127.0.0.1:0", "invalid port"), ("udp://x", "unsupported protocol")):
            self.assertIn(said, self.refused("-H", host))


class Mutual(Certificates):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.daemon = TlsDaemon(cls.folder, "--tlsverify", "--debug")
        cls.addClassCleanup(cls.daemon.close)

    def setUp(self):
        self.daemon.docker("rm", "-f", "box", check=False)

    def test_the_clients_of_the_authority_are_let_in_and_named(self):
        self.assertRegex(self.daemon.secure("version").stdout, "Server:")
        self.daemon.secure("create", "--name", "box", "busybox", "sh")
        self.assertRegex(self.daemon.log.read_text(), r'container create box is asked by \\"CN=client,O=Tests\\" 127.0.0.1:\d+ by tcp://127.0.0.1:2376')

    def test_others_are_told_and_logged(self):
        for name, said in (("expired", "certificate has expired"), ("stranger", "unable to get local issuer certificate"), ("", "peer did not return a certificate")):
            done = self.daemon.secure("version", name=name, check=False)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("tls", done.stderr)
            wait_until("it is logged", lambda said=said: said in self.daemon.log.read_text())
        self.assertIn("(CN=stranger,O=Tests)", self.daemon.log.read_text())
        self.assertIn("unknown authority", self.daemon.secure("version", ca="other", check=False).stderr)

    def test_without_tls_a_client_is_told(self):
        done = self.daemon.in_netns(DOCKER, "-H", "tcp://127.0.0.1:2376", "version", check=False)
        self.assertIn("Client sent an HTTP request to an HTTPS server", done.stderr)

    def test_streams_go_both_ways_and_end_each_by_itself(self):
        text = "".join(f"line {i}\n" for i in range(20000))
        done = self.daemon.secure("run", "-i", "--rm", "busybox", "sh", "-c", "cat; echo end", input=text)
        self.assertEqual(done.stdout, text + "end\n")
        self.daemon.secure("run", "-d", "--name", "box", "busybox", "sleep", "1000")
        self.assertEqual(self.daemon.secure("exec", "-i", "box", "sh", "-c", "wc -c; exit 3", input=text, check=False).stdout.strip(), str(len(text)))
        self.assertEqual(self.daemon.secure("exec", "box", "sh", "-c", "exit 3", check=False).returncode, 3)
        with tempfile.TemporaryDirectory() as folder:
            data = os.urandom(3_000_000)
            pathlib.Path(folder, "in").write_bytes(data)
            self.daemon.secure("cp", f"{folder}/in", "box:/x")
            self.daemon.secure("cp", "box:/x", f"{folder}/out")
            self.assertEqual(pathlib.Path(folder, "out").read_bytes(), data)
            pathlib.Path(folder, "Dockerfile").write_text("FROM busybox\n")
            built = self.daemon.secure("build", "-q", folder).stdout.strip()
            self.assertTrue(built.startswith("sha256:"), built)

    def test_a_terminal_and_a_client_that_leaves(self):
        self.daemon.secure("run", "-d", "--name", "box", "busybox", "sh", "-c", "trap '' HUP; while :; do echo tick; sleep 0.05; done")
        words = ["nsenter", f"--net=/proc/{self.daemon.holder.pid}/ns/net", DOCKER, "-H", "tcp://127.0.0.1:2376", "--tlsverify", f"--tlscacert={self.folder}/ca.pem",
                 f"--tlscert={self.folder}/client.pem", f"--tlskey={self.folder}/client-key.pem"]
        before = self.daemon.at_rest()
        followers = [subprocess.Popen([*words, "logs", "-f", "box"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) for _ in range(5)]
        for each in followers:
            self.assertEqual(each.stdout.readline(), b"tick\n")
            each.kill()
            each.wait()
            each.stdout.close()
        wait_until("their descriptors are given back", lambda: self.daemon.descriptors() <= before + 2)

    def test_half_open_handshakes_and_garbage_keep_nobody_out(self):
        silent = [self.daemon.connect() for _ in range(200)]
        for i, each in enumerate(silent):
            if i % 3 == 0:
                each.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")
            elif i % 3 == 1:
                with contextlib.suppress(OSError):
                    each.sendall(os.urandom(500))
        begun = time.monotonic()
        self.daemon.secure("version")
        self.assertLess(time.monotonic() - begun, 5 * PATIENCE)
        for each in silent:
            each.close()
        self.daemon.secure("version")

    def test_who_asks_again_within_a_connection_is_the_same(self):
        context = ssl.create_default_context(cafile=f"{self.folder}/ca.pem")
        context.load_cert_chain(f"{self.folder}/client.pem", f"{self.folder}/client-key.pem")
        with context.wrap_socket(self.daemon.connect(), server_hostname="127.0.0.1") as client:
            for _ in range(3):
                client.sendall(b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n")
                answer = b""
                while b"OK" not in answer.partition(b"\r\n\r\n")[2]:
                    answer += client.recv(4096)
            self.assertTrue(client.version() >= "TLSv1.2")
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        with self.assertRaises((ssl.SSLError, ConnectionError)):
            old.wrap_socket(self.daemon.connect())

    def test_a_websocket(self):
        self.daemon.docker("run", "-d", "-i", "--name", "box", "busybox", "sh", "-c", "read line; echo got $line; sleep 1000")
        context = ssl.create_default_context(cafile=f"{self.folder}/ca.pem")
        context.load_cert_chain(f"{self.folder}/client.pem", f"{self.folder}/client-key.pem")
        with context.wrap_socket(self.daemon.connect(), server_hostname="127.0.0.1") as client, client.makefile("rb") as stream:
            client.sendall(b"GET /containers/box/attach/ws?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                           b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
            self.assertIn(b" 101 ", stream.readline())
            while stream.readline() != b"\r\n":
                pass
            client.sendall(bytes([0x82, 0x84, 0, 0, 0, 0]) + b"you\n")
            first, size = stream.read(2)
            self.assertEqual((first, stream.read(size)), (0x82, b"got you\n"))

    def test_a_client_that_leaves_harms_nobody(self):
        """At each moment of a handshake and of a request."""
        context = ssl.create_default_context(cafile=f"{self.folder}/ca.pem")
        context.load_cert_chain(f"{self.folder}/client.pem", f"{self.folder}/client-key.pem")
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        begun = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        with contextlib.suppress(ssl.SSLWantReadError):
            begun.do_handshake()
        hello = outgoing.read()

        before = self.daemon.at_rest()
        for size in [*range(0, len(hello), 37), len(hello)]:
            plain = self.daemon.connect()
            plain.sendall(hello[:size])
            if size % 2:
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # A reset, no end.
            plain.close()
        for request in (b"", b"GET /ev", b"GET /events HTTP/1.1\r\nHost: d\r\n\r\n", b"POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"):
            client = context.wrap_socket(self.daemon.connect(), server_hostname="127.0.0.1")
            client.sendall(request)
            client.close()
        self.daemon.secure("version")
        wait_until("nothing of them is left", lambda: self.daemon.descriptors() <= before + 2)

    def test_certificates_are_read_again(self):
        def shown():
            der = None
            context = ssl.create_default_context(cafile=f"{self.folder}/ca.pem")
            context.load_cert_chain(f"{self.folder}/client.pem", f"{self.folder}/client-key.pem")
            with context.wrap_socket(self.daemon.connect(), server_hostname="127.0.0.1") as client:
                der = dict(pair[0] for pair in client.getpeercert()["subject"])
            return der["commonName"]
        self.assertEqual(shown(), "server")
        for name in ("server.pem", "server-key.pem"):
            os.rename(f"{self.folder}/{name}", f"{self.folder}/kept-{name}")
            self.addCleanup(os.rename, f"{self.folder}/kept-{name}", f"{self.folder}/{name}")
        pathlib.Path(self.folder, "server.pem").write_text("broken")
        self.daemon.process.send_signal(signal.SIGHUP)
        wait_until("it is refused", lambda: re.search(r"not read again: TLS: .*server.pem: no certificate in PEM", self.daemon.log.read_text()))
        self.assertEqual(shown(), "server")
        for name in (".pem", "-key.pem"):
            pathlib.Path(self.folder, f"server{name}").write_bytes(pathlib.Path(self.folder, f"second{name}").read_bytes())
        self.daemon.process.send_signal(signal.SIGHUP)
        wait_until("the other is shown", lambda: shown() == "second")


class Others(Certificates):
    def test_without_verification_any_client_is_let_in(self):
        daemon = TlsDaemon(self.folder, "--tlsverify=false", image=False)
        self.addCleanup(daemon.close)
        daemon.secure("version", name="")
        daemon.secure("version", name="", ca="other", tls=("--tls",))
        self.assertIn("every user of this machine who can reach it is root here", daemon.log.read_text())

    def test_an_expired_certificate_of_ours_is_said(self):
        for name in (".pem", "-key.pem"):
            pathlib.Path(self.folder, f"old{name}").write_bytes(pathlib.Path(self.folder, f"expired{name}").read_bytes())
        daemon = Daemon("-H", "tcp://127.0.0.1:2376", "--tls", f"--tlscacert={self.folder}/ca.pem", f"--tlscert={self.folder}/old.pem", f"--tlskey={self.folder}/old-key.pem",
                        image=False)
        self.addCleanup(daemon.close)
        self.assertRegex(daemon.log.read_text(), r"TLS: .*/old.pem has expired \(Jan  1 00:00:00 2021 GMT\): clients that verify it are not let in")

    def test_when_descriptors_are_used_up(self):
        daemon = TlsDaemon(self.folder, "--tlsverify", image=False, before=["prlimit", "--nofile=200:200"])
        self.addCleanup(daemon.close)
        silent = [daemon.connect() for _ in range(400)]
        self.addCleanup(lambda: [each.close() for each in silent])
        # After a second the silent ones give way.
        wait_until("a client is let in", lambda: daemon.secure("version", check=False).returncode == 0, 20)
        self.assertEqual(daemon.api("GET", "/_ping")[0], 200)


class Systemd(unittest.TestCase):
    """As systemd does it: it listens, starts the service with the sockets as descriptors 3 and on, and listens to a datagram socket."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="grua-sd-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(self.folder / "notify"))
        self.notify.settimeout(20 * PATIENCE)
        self.addCleanup(self.notify.close)

    def listen(self, name):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.folder / name))
        listener.listen(100)
        self.addCleanup(listener.close)
        return listener

    def activated(self, sockets, *options, notify=None, image=False):
        """A program that puts the sockets in their places and becomes its arguments."""
        script = ("import os, sys\nfds = [int(x) for x in sys.argv[1].split(',') if x]\nhigh = [os.dup(fd) for fd in fds]\n"
                  "moved = [__import__('fcntl').fcntl(fd, 0, 100) for fd in fds]\n"
                  "for i, fd in enumerate(moved): os.dup2(fd, 3 + i)\n"
                  "os.closerange(3 + len(fds), 4096)\nos.environ['LISTEN_PID'] = str(os.getpid())\nos.environ['LISTEN_FDS'] = str(len(fds))\n"
                  "os.environ['LISTEN_FDNAMES'] = 'x'\nos.execv(sys.argv[2], sys.argv[2:])\n")
        path = self.folder / "activate.py"
        path.write_text(script)
        wrapper = self.folder / "python"
        wrapper.write_text(f"#!/bin/sh\nexec python3 {path} \"$@\"\n")
        wrapper.chmod(0o755)
        outer = self

        class Activated(Daemon):
            def start(self, env=None):
                real = subprocess.Popen

                def popen(words, **more):
                    return real(words, pass_fds=[each.fileno() for each in sockets], **more)
                subprocess.Popen = popen
                try:
                    super().start(env)
                finally:
                    subprocess.Popen = real
        daemon = Activated(*options, image=image, before=["python3", str(path), ",".join(str(each.fileno()) for each in sockets)],
                           env={"NOTIFY_SOCKET": notify or str(self.folder / "notify")})
        outer.addCleanup(daemon.close)
        return daemon

    def ping(self, name):
        return run("curl", "-s", "--max-time", "20", "--unix-socket", self.folder / name, "http://d/_ping", check=False).stdout

    def test_its_sockets_are_served_and_outlive_gruad(self):
        one, two = self.listen("one"), self.listen("two")
        daemon = self.activated([one, two], "-H", "fd://", image=True)
        self.assertEqual((self.ping("one"), self.ping("two")), ("OK", "OK"))
        self.assertEqual(self.notify.recv(1000), b"READY=1")
        # No other process has them, nor the variables: not the launcher, no monitor, no program of a container.
        daemon.docker("run", "-d", "--name", "box", "busybox", "sleep", "1000")
        inodes = {os.fstat(each.fileno()).st_ino for each in (one, two)}
        others = [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and int(pid) not in (os.getpid(), daemon.process.pid)]
        for pid in others:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                for fd in os.listdir(f"/proc/{pid}/fd"):
                    with contextlib.suppress(OSError):
                        self.assertNotIn(os.stat(f"/proc/{pid}/fd/{fd}").st_ino, inodes, pathlib.Path(f"/proc/{pid}/cmdline").read_bytes())
        environment = pathlib.Path(f"/proc/{daemon.inspect('box')['State']['Pid']}/environ").read_bytes()
        self.assertNotRegex(environment, rb"LISTEN_FDS|NOTIFY_SOCKET")
        daemon.kill()
        # A client that comes now waits for the next.
        waiting = subprocess.Popen(["curl", "-s", "--max-time", "60", "--unix-socket", str(self.folder / "one"), "http://d/_ping"], stdout=subprocess.PIPE)
        self.addCleanup(waiting.stdout.close)
        daemon.start()
        self.assertEqual(waiting.communicate(timeout=60)[0], b"OK")
        daemon.stop()
        self.assertTrue((self.folder / "one").exists())

    def test_with_systemds_own_program(self):
        if not shutil.which("systemd-socket-activate"):
            self.skipTest("there is no systemd-socket-activate")
        path = self.folder / "real"
        client = subprocess.Popen(["sh", "-c", f"until curl -sf --max-time 60 --unix-socket {path} http://d/_ping; do sleep 0.05; done"], stdout=subprocess.PIPE)
        self.addCleanup(client.stdout.close)
        daemon = Daemon("-H", "fd://", image=False, before=["systemd-socket-activate", "-l", str(path)])
        self.addCleanup(daemon.close)
        self.assertEqual(client.communicate(timeout=60 * PATIENCE)[0], b"OK")

    def test_the_units_are_ones(self):
        if not shutil.which("systemd-analyze"):
            self.skipTest("there is no systemd-analyze")
        for name in ("gruad.service", "gruad.socket"):
            text = (REPOSITORY / "packaging/systemd" / name).read_text()
            self.assertIn("ExecStart=/usr/bin/gruad -H fd://" if name == "gruad.service" else "ListenStream=/run/grua/grua.sock", text)
            (self.folder / name).write_text(re.sub("Documentation=.*", "", text.replace("/usr/bin/gruad", str(BIN / "gruad"))))
        done = run("systemd-analyze", "verify", self.folder / "gruad.service", self.folder / "gruad.socket", check=False)
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))

    def test_one_of_them_by_its_number(self):
        one, two = self.listen("one"), self.listen("two")
        daemon = self.activated([one, two], "-H", "fd://4")
        self.assertEqual(self.ping("two"), "OK")
        self.assertIn("systemd listens on 1 sockets of this service that no --host fd:// asks for", daemon.log.read_text())

    def test_what_is_none_is_refused(self):
        def refusal(sockets, *options):
            with self.assertRaises(AssertionError) as raised:
                self.activated(sockets, *options)
            return str(raised.exception)
        self.assertIn("no sockets found via socket activation", refusal([], "-H", "fd://"))
        one = self.listen("one")
        self.assertIn("fd://9: too few socket activated files", refusal([one], "-H", "fd://9"))
        datagram = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(datagram.close)
        self.assertIn("fd://3: systemd gave no socket that listens for streams", refusal([datagram], "-H", "fd://"))
        with open("/dev/null") as null:
            self.assertIn("fd://3: systemd gave no socket that listens for streams", refusal([null], "-H", "fd://"))
        anywhere = socket.create_server(("0.0.0.0", 0))
        self.addCleanup(anywhere.close)
        self.assertIn("without --tlsverify", refusal([anywhere], "-H", "fd://"))

    def test_it_is_told_of_each_state(self):
        daemon = self.activated([], notify=str(self.folder / "notify"))
        self.assertEqual(self.notify.recv(1000), b"READY=1")
        daemon.process.send_signal(signal.SIGHUP)
        self.assertRegex(self.notify.recv(1000), rb"^RELOADING=1\nMONOTONIC_USEC=\d+$")
        self.assertEqual(self.notify.recv(1000), b"READY=1")
        daemon.stop()
        self.assertEqual(self.notify.recv(1000), b"STOPPING=1")

    def test_by_an_abstract_address_and_when_nobody_is_there(self):
        abstract = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(abstract.close)
        gone = self.activated([], notify="/nowhere/notify")
        self.assertIn("systemd was not told READY=1", gone.log.read_text())


class Files(unittest.TestCase):
    def start(self, *options):
        return run(BIN / "gruad", "--config-file=/dev/null", "--data-root", self.folder / "data", "--exec-root", self.folder / "exec", *options, check=False)

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="grua-listen-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def test_what_is_no_dead_socket_stays(self):
        path = self.folder / "sock"
        def refused(said):
            done = self.start("-H", f"unix://{path}")
            self.assertEqual((done.returncode, f"can't create unix socket {path}: {said}" in done.stderr), (1, True), done.stderr)
        path.symlink_to("/etc/passwd")
        refused("a link is there")
        path.unlink()
        path.mkdir()
        refused("a folder is there")
        path.rmdir()
        path.write_text("mine")
        refused("a file is there")
        self.assertEqual(path.read_text(), "mine")
        path.unlink()
        alive = socket.socket(socket.AF_UNIX)
        self.addCleanup(alive.close)
        alive.bind(str(path))
        alive.listen(1)
        refused("another daemon listens on it")
        self.assertTrue(path.exists())
        self.assertIn("there is no group nobody-has-it", self.start("-H", f"unix://{self.folder}/x", "--group", "nobody-has-it").stderr)

    def test_several_at_once_and_whose_they_are(self):
        daemon = Daemon("-H", f"unix://{self.folder}/two", "-H", f"unix://{self.folder}/two", "-H", "tcp://127.0.0.1:2375", "--group", "65534", image=False)
        self.addCleanup(daemon.close)
        status = (self.folder / "two").stat()
        self.assertEqual((status.st_mode & 0o777, status.st_gid), (0o660, 65534))
        self.assertEqual(run("curl", "-s", "--unix-socket", self.folder / "two", "http://d/_ping").stdout, "OK")
        self.assertEqual(daemon.in_netns("curl", "-s", "http://127.0.0.1:2375/_ping").stdout, "OK")
        # What somebody has put in its place meanwhile is not gruad's to remove; a socket that is left from a kill is.
        daemon.kill()
        daemon.start()
        (self.folder / "two").unlink()
        (self.folder / "two").write_text("mine")
        daemon.stop()
        self.assertEqual((self.folder / "two").read_text(), "mine")
        self.assertFalse(daemon.socket.exists())
        (self.folder / "two").unlink()


if __name__ == "__main__":
    unittest.main()
