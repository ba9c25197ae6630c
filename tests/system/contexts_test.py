"""The CLI's ways to a daemon: TLS, ssh, and Docker's contexts, of which docker and grua have the same."""

import json
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

from harness import BIN, DOCKER, PATIENCE, Daemon, run
from listeners_test import Certificates, TlsDaemon

GRUA = str(BIN / "grua")


class Store(Certificates):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="grua-contexts-")
        self.addCleanup(folder.cleanup)
        self.home = pathlib.Path(folder.name)
        self.config = self.home / "docker"

    def call(self, program, *words, env=None, check=True, **more):
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("DOCKER_", "GRUA_"))}
        return run(program, *words, env={**environment, "DOCKER_CONFIG": str(self.config), "DOCKER_CLI_HINTS": "false", **(env or {})}, cwd=self.home, check=check, **more)

    def both(self, *words, **more):
        """The same from both; docker's answer."""
        one, other = (self.call(program, *words, check=False, **more) for program in (DOCKER, GRUA))
        # Columns are as wide as what is in them; Go writes < and > for HTML.
        text = re.sub(" +", " ", one.stdout.replace("/var/run/docker.sock", "/run/grua/grua.sock").replace("\\u003c", "<").replace("\\u003e", ">"))
        self.assertEqual((one.returncode, text, one.stderr), (other.returncode, re.sub(" +", " ", other.stdout), other.stderr), words)
        return one

    def docker_option(self, **more):
        shown = {"host": "tcp://127.0.0.1:2376", "ca": f"{self.folder}/ca.pem", "cert": f"{self.folder}/client.pem", "key": f"{self.folder}/client-key.pem", **more}
        return ",".join(f"{name.replace('_', '-')}={value}" for name, value in shown.items())

    def test_what_one_writes_the_other_reads(self):
        for writer, name in ((DOCKER, "of-docker"), (GRUA, "of-grua")):
            done = self.call(writer, "context", "create", name, "--description", "hi there", "--docker", self.docker_option())
            self.assertEqual((done.stdout, done.stderr), (f"{name}\n", f'Successfully created context "{name}"\n'))
            self.both("context", "inspect", name)
            self.call(writer, "context", "update", name, "--docker", "host=unix:///z")
            self.both("context", "inspect", name)
            self.call(writer, "context", "create", f"{name}-2", "--from", name, "--description", "copy")
            self.call(writer, "context", "create", f"{name}-3", "--docker", f"from={name}-2")
            self.call(writer, "context", "create", f"{name}-4", "--docker", self.docker_option(skip_tls_verify="true"))
        for words in (["ls"], ["ls", "-q"], ["ls", "--format", "json"], ["ls", "--format", "{{.Name}} {{.Current}}"], ["inspect", "of-docker-2", "of-grua-3", "of-grua-4"],
                      ["show"], ["inspect"], ["inspect", "-f", "{{.Endpoints.docker.Host}}", "of-grua"]):
            self.both("context", *words)
        for path in self.config.rglob("key.pem"):
            self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        for writer in (DOCKER, GRUA):
            self.call(writer, "context", "use", "of-docker")
            self.both("context", "show")
            self.both("context", "ls")
            self.assertEqual(self.both("context", "rm", "of-docker").stderr, 'context "of-docker" is in use, set -f flag to force remove\n')
            self.assertEqual(json.loads((self.config / "config.json").read_text())["currentContext"], "of-docker")
            self.call(writer, "context", "use", "default")
            self.assertNotIn("currentContext", json.loads((self.config / "config.json").read_text()))
        for writer, reader in ((DOCKER, GRUA), (GRUA, DOCKER)):
            self.call(writer, "context", "export", "of-grua-4")
            self.assertIn("file exists", self.call(writer, "context", "export", "of-grua-4", check=False).stderr.lower())
            self.call(reader, "context", "import", "again", "of-grua-4.dockercontext")
            self.both("context", "inspect", "again")
            self.call(writer, "context", "rm", "again")
            os.unlink(self.home / "of-grua-4.dockercontext")
        tar = self.home / "piped.tar"
        with open(tar, "wb") as out:
            subprocess.run([GRUA, "context", "export", "of-grua-4", "-"], env={**os.environ, "DOCKER_CONFIG": str(self.config)}, stdout=out, check=True)
        self.assertEqual(self.call(DOCKER, "context", "import", "piped", str(tar)).stdout, "piped\n")

    def test_what_is_wrong_is_said_in_the_same_words(self):
        self.call(DOCKER, "context", "create", "there", "--docker", "host=unix:///x")
        for words in (["create", "there"], ["create", "a/b"], ["create", "default"], ["create", "xx", "--docker", "foo=1"], ["rm", "nope", "default"], ["use", "nope"],
                      ["update", "nope"], ["inspect", "nope", "there"], ["export", "nope"], ["import", "there", "/etc/passwd"]):
            self.both("context", *words)
        self.both("-c", "there", "-H", "unix:///y", "context", "show")
        self.both("context", "ls", env={"DOCKER_HOST": "unix:///a"})
        self.both("context", "ls", env={"DOCKER_CONTEXT": "nope"})
        self.both("context", "use", "there", env={"DOCKER_HOST": "unix:///a"})
        self.both("context", "show", env={"DOCKER_CONTEXT": "there"})
        self.both("-c", "there", "context", "show")
        self.assertIn('context "nope": context not found', self.call(GRUA, "-c", "nope", "ps", check=False).stderr)
        # A remote daemon's client is no reason to start one here.
        self.assertIn("Cannot connect to the grua daemon at unix:///x", self.call(GRUA, "-c", "there", "ps", check=False).stderr)
        for option, said in (("host=ftp://x", "Invalid bind address protocol"), (self.docker_option(key="/etc/passwd"), "no private key in PEM"),
                             (self.docker_option(ca="/nowhere"), "/nowhere: no such file"), ("host=tcp://x,skip-tls-verify=perhaps", "neither true nor false")):
            self.assertIn(said, self.call(GRUA, "context", "create", "yy", "--docker", option, check=False).stderr)
        self.assertFalse(self.call(GRUA, "context", "inspect", "yy", check=False).returncode == 0)
        broken = self.home / "x.tar"
        for data in (b"", os.urandom(2000), b"PK\x03\x04rest"):
            broken.write_bytes(data)
            self.assertNotEqual(self.call(GRUA, "context", "import", "yy", str(broken), check=False).returncode, 0)
        self.assertFalse(any("yy" in path.read_text() for path in self.config.rglob("meta.json")))


class Secure(Certificates):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.daemon = TlsDaemon(cls.folder, "--tlsverify")
        cls.addClassCleanup(cls.daemon.close)

    def grua(self, *words, **more):
        return self.daemon.secure(*words, program=GRUA, **more)

    def plain(self, *words, env=None, check=True, program=GRUA, **more):
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("DOCKER_", "GRUA_"))}
        return run("nsenter", f"--net=/proc/{self.daemon.holder.pid}/ns/net", program, *words,
                   env={**environment, "DOCKER_CONFIG": str(self.daemon.root / "docker-config"), **(env or {})}, check=check, **more)

    def test_commands_and_streams(self):
        text = "".join(f"line {i}\n" for i in range(20000))
        self.assertEqual(self.grua("run", "-i", "--rm", "busybox", "sh", "-c", "cat; echo end", input=text).stdout, text + "end\n")
        self.grua("run", "-d", "--name", "box", "busybox", "sleep", "1000")
        self.addCleanup(self.daemon.docker, "rm", "-f", "box")
        self.assertEqual(self.grua("exec", "-i", "box", "wc", "-c", input=text).stdout.strip(), str(len(text)))
        data = os.urandom(3_000_000)
        pathlib.Path(self.folder, "in").write_bytes(data)
        self.grua("cp", f"{self.folder}/in", "box:/x")
        self.grua("cp", "box:/x", f"{self.folder}/out")
        self.assertEqual(pathlib.Path(self.folder, "out").read_bytes(), data)
        self.grua("save", "-o", f"{self.folder}/saved", "busybox")
        self.assertIn("busybox", self.grua("load", "-i", f"{self.folder}/saved").stdout)

    def test_the_environment_and_a_context_say_the_same(self):
        certificates = pathlib.Path(self.folder, "certs")
        certificates.mkdir()
        for name, of in (("ca", "ca"), ("cert", "client"), ("key", "client-key")):
            (certificates / f"{name}.pem").write_bytes(pathlib.Path(self.folder, f"{of}.pem").read_bytes())
        shown = {"DOCKER_HOST": "tcp://127.0.0.1:2376", "DOCKER_CERT_PATH": str(certificates)}
        self.assertIn("Server", self.plain("version", env={**shown, "DOCKER_TLS_VERIFY": "1"}).stdout)
        self.assertIn("Server", self.plain("version", env={**shown, "DOCKER_TLS": "1"}).stdout)
        self.assertIn("Client sent an HTTP request to an HTTPS server", self.plain("version", env=shown, check=False).stderr)
        self.plain("context", "create", "safe", "--docker", f"host=tcp://127.0.0.1:2376,ca={certificates}/ca.pem,cert={certificates}/cert.pem,key={certificates}/key.pem")
        self.plain("context", "create", "copied", env={**shown, "DOCKER_TLS_VERIFY": "1"})
        for name in ("safe", "copied"):
            for program in (GRUA, DOCKER):
                self.assertIn("Server", self.plain("-c", name, "version", program=program).stdout)
                self.assertIn("Server", self.plain("version", program=program, env={"DOCKER_CONTEXT": name}).stdout)

    def test_why_not_is_said(self):
        for words, said in (({"name": "stranger"}, "alert"), ({"name": "expired"}, "alert"), ({"name": ""}, "alert"), ({"ca": "other"}, "the server's certificate (CN=server,O=Tests)"),
                            ({"name": "client", "ca": "nowhere"}, "nowhere.pem: no such file")):
            done = self.grua("ps", check=False, **words)
            self.assertEqual(done.returncode, 1)
            self.assertIn(said, done.stderr, words)
        # Plain HTTP where TLS is expected.
        daemon = Daemon("-H", "tcp://127.0.0.1:2390", image=False)
        self.addCleanup(daemon.close)
        done = run("nsenter", f"--net=/proc/{daemon.holder.pid}/ns/net", GRUA, "-H", "tcp://127.0.0.1:2390", "--tls", "ps", check=False,
                   env={**os.environ, "DOCKER_CERT_PATH": "/nowhere"})
        self.assertIn("the daemon does not speak TLS there", done.stderr)
        done = run("nsenter", f"--net=/proc/{daemon.holder.pid}/ns/net", GRUA, "-H", "tcp://127.0.0.1:2391", "--tls", "ps", check=False)
        self.assertIn("Cannot connect to the grua daemon at tcp://127.0.0.1:2391", done.stderr)

    def test_a_daemon_that_dies_ends_the_stream(self):
        following = subprocess.Popen(["nsenter", f"--net=/proc/{self.daemon.holder.pid}/ns/net", GRUA, "-H", "tcp://127.0.0.1:2376", "--tlsverify", f"--tlscacert={self.folder}/ca.pem",
                                      f"--tlscert={self.folder}/client.pem", f"--tlskey={self.folder}/client-key.pem", "events", "--since", "1", "--filter", "container=seen"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.addCleanup(following.stdout.close)
        self.daemon.docker("create", "--name", "seen", "busybox")
        self.assertIn(b"create", following.stdout.readline())
        self.daemon.docker("rm", "seen")
        self.daemon.kill()
        following.wait(20 * PATIENCE)
        self.daemon.start()


class Ssh(unittest.TestCase):
    """With a program in ssh's place that does here what the real one does there."""

    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon()
        cls.addClassCleanup(cls.daemon.close)

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="grua-ssh-")
        self.addCleanup(folder.cleanup)
        self.bin = pathlib.Path(folder.name)
        self.fake('echo "$@" >> {0}/calls\nfor word; do last=$word; done\nPATH={0}/remote:$PATH\nunset DOCKER_HOST\nexec sh -c "$last"\n')
        (self.bin / "remote").mkdir()

    def fake(self, text):
        path = self.bin / "ssh"
        path.write_text("#!/bin/sh\n" + text.format(self.bin))
        path.chmod(0o755)

    def remote(self, name, program):
        path = self.bin / "remote" / name
        path.write_text(f'#!/bin/sh\nexport GRUA_HOST=unix://{self.daemon.socket} DOCKER_HOST=unix://{self.daemon.socket}\nexec {program} "$@"\n')
        path.chmod(0o755)

    def call(self, program, *words, check=True, **more):
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("DOCKER_", "GRUA_"))}
        environment["PATH"] = f"{self.bin}:{environment['PATH']}"
        return run(program, *words, env={**environment, "DOCKER_CONFIG": str(self.bin / "config"), "DOCKER_CLI_HINTS": "false"}, check=check, **more)

    def test_each_clients_way_leads_to_each_others_end(self):
        text = "".join(f"line {i}\n" for i in range(20000))
        for name, program in (("grua", GRUA), ("docker", DOCKER)):
            for each in (self.bin / "remote").iterdir():
                each.unlink()
            self.remote(name, program)
            if name == "grua":
                self.remote("docker", GRUA)
            for client in (GRUA, DOCKER):
                host = "ssh://me@far:2222"
                self.assertIn("Server", self.call(client, "-H", host, "version").stdout)
                self.assertEqual(self.call(client, "-H", host, "run", "-i", "--rm", "busybox", "sh", "-c", "cat; echo end", input=text).stdout, text + "end\n")
                self.assertEqual(self.call(client, "-H", host, "run", "--rm", "busybox", "sh", "-c", "exit 3", check=False).returncode, 3)
        first = (self.bin / "calls").read_text().splitlines()[0]
        self.assertRegex(first, r"^-o ConnectTimeout=30 -T -l me -p 2222 -- far ")

    def test_the_daemons_socket_there_and_a_context(self):
        self.remote("docker", GRUA)
        (self.bin / "remote/docker").write_text(f'#!/bin/sh\nexec {GRUA} "$@"\n')
        (self.bin / "remote/grua").write_text(f'#!/bin/sh\nexec {GRUA} "$@"\n')
        (self.bin / "remote/grua").chmod(0o755)
        link = self.bin / "it's there.sock"
        link.symlink_to(self.daemon.socket)
        self.assertIn("Server", self.call(GRUA, "-H", f"ssh://far{link}", "version").stdout)
        self.call(GRUA, "context", "create", "far", "--docker", f"host=ssh://far{self.daemon.socket}")
        for client in (GRUA, DOCKER):
            self.assertIn("Server", self.call(client, "-c", "far", "version").stdout)

    def test_why_not_is_said(self):
        self.fake('echo "ssh: connect to host far port 22: Connection refused" >&2\nexit 255\n')
        done = self.call(GRUA, "-H", "ssh://far", "ps", check=False)
        self.assertEqual((done.returncode, done.stderr), (1, "error during connect: ssh far: ended with 255: ssh: connect to host far port 22: Connection refused\n"))
        (self.bin / "ssh").unlink()
        environment = {"PATH": str(self.bin)}
        done = subprocess.run([GRUA, "-H", "ssh://far", "ps"], env=environment, capture_output=True, text=True, timeout=60)
        self.assertIn("No such file", done.stderr)
        self.assertIn("no name of a host", self.call(GRUA, "-H", "ssh://-oProxyCommand=touch/x", "ps", check=False).stderr)
        # A program that says much and dies, and one that is killed.
        self.fake("head -c 1000000 /dev/zero | tr '\\0' x >&2\nexit 1\n")
        self.assertLess(len(self.call(GRUA, "-H", "ssh://far", "ps", check=False).stderr), 5000)
        self.fake("kill -9 $$\n")
        self.assertIn("was ended by signal 9", self.call(GRUA, "-H", "ssh://far", "ps", check=False).stderr)
        self.fake("printf 'HTTP/1.1 200 OK\\r\\nContent-Length: 99999\\r\\n\\r\\nx'\n")
        self.assertNotEqual(self.call(GRUA, "-H", "ssh://far", "ps", check=False).returncode, 0)

    def test_dial_stdio_ends_each_direction_by_itself(self):
        done = run(GRUA, "system", "dial-stdio", env={**os.environ, "GRUA_HOST": f"unix://{self.daemon.socket}"}, input="GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")
        self.assertTrue(done.stdout.endswith("OK"), done.stdout)
        done = run(GRUA, "system", "dial-stdio", env={**os.environ, "GRUA_HOST": "unix:///nowhere.sock"}, input="", check=False)
        self.assertEqual((done.returncode, done.stderr), (1, "Cannot connect to the grua daemon at unix:///nowhere.sock. Is gruad running?\n"))


if __name__ == "__main__":
    unittest.main()
