"""Registries: the packaged docker-registry and a double that misbehaves, by the docker CLI and skopeo."""

import contextlib
import gzip
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import struct
import subprocess
import time
import unittest
import unittest.mock

import registry_double as double
from harness import CACHE, DOCKER, ENV, Daemon, busybox_image, run, wait_until

SKOPEO = os.environ.get("GRUA_SKOPEO", str(CACHE / "clients/bin/skopeo"))
KIB, MIB = 1 << 10, 1 << 20
# /etc with the test's files over it; the rest of the machine's stays.
OVER_ETC = 'mount -t overlay overlay -o "lowerdir=$1:/etc" /etc && shift && exec "$@"'


class RegistryCase(unittest.TestCase):
    """A daemon with an /etc of its own, and helpers that start hosts beside it."""

    options = ()

    @classmethod
    def setUpClass(cls):
        cls.etc = pathlib.Path(subprocess.run(["mktemp", "-d", "/var/tmp/grua-etc-XXXXXX"], check=True, capture_output=True, text=True).stdout.strip())
        cls.addClassCleanup(shutil.rmtree, cls.etc, ignore_errors=True)
        cls.write("grua/daemon.json", "{}")
        cls.configure()
        # The environment's authorities and proxies are not the test's.
        with unittest.mock.patch.dict(os.environ):
            for name in list(os.environ):
                if name.lower().endswith("_proxy") or name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
                    del os.environ[name]
            cls.daemon = Daemon("--config-file", "/etc/grua/daemon.json", *cls.options, image=False,
                                before=["unshare", "-m", "sh", "-c", OVER_ETC, "sh", str(cls.etc)])
        cls.addClassCleanup(cls.daemon.close)

    @classmethod
    def configure(cls):
        cls.write("grua/registries.toml", "[limits]\nstall-seconds = 2\nattempts = 3\n")

    @classmethod
    def write(cls, path, text):
        (cls.etc / path).parent.mkdir(parents=True, exist_ok=True)
        (cls.etc / path).write_text(text)

    def tearDown(self):
        names = self.out("images", "-aq").split()
        if names:
            self.docker("rmi", "-f", *set(names), check=False)

    def docker(self, *words, **more):
        return self.daemon.docker(*words, **more)

    def out(self, *words):
        return self.docker(*words).stdout.strip()

    def fails(self, *words):
        """The text of a docker command that has to fail."""
        done = self.docker(*words, check=False)
        self.assertNotEqual(done.returncode, 0, done.stdout)
        return done.stderr

    @property
    def pid(self):
        return self.daemon.holder.pid

    def host(self, kind, *arguments, **more):
        made = kind(self.pid, *arguments, **more)
        self.addCleanup(made.close)
        return made

    def is_intact(self):
        """Every blob of the store is its digest, and there is no half-made one."""
        blobs = self.daemon.root / "data/content/blobs/sha256"
        for blob in blobs.iterdir():
            self.assertFalse(blob.name.startswith("."), blob)
            self.assertEqual(double.digest_of(blob.read_bytes()), f"sha256:{blob.name}")

    def partial_bytes(self):
        return sum(each.stat().st_size for each in (self.daemon.root / "data/content/partial").iterdir())


def packaged(case, name, *options):
    """Starts docker-registry in the daemon's namespace; its address."""
    folder = case.etc / f"made/{name}"
    address = case.daemon.in_netns(ENV / "registry.sh", "start", folder, *options, timeout=180).stdout.strip()
    case.addClassCleanup(run, ENV / "registry.sh", "stop", folder)
    return address


class Packaged(RegistryCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.address = packaged(cls, "plain")
        image = double.Image([200 * KIB, 50 * KIB])
        other = double.Image([120 * KIB], seed=2, architecture="arm64")
        cls.image, cls.other = image, other
        cls.layout = cls.daemon.root / "layout"
        blobs = cls.layout / "blobs/sha256"
        blobs.mkdir(parents=True)
        both = {**image.blobs, **other.blobs, image.digest: image.manifest, other.digest: other.manifest}
        index = json.dumps({"schemaVersion": 2, "mediaType": double.OCI_INDEX, "manifests": [
            {"mediaType": double.OCI_MANIFEST, "digest": each.digest, "size": len(each.manifest), "platform": each.platform}
            for each in (image, other)]}).encode()
        cls.index = double.digest_of(index)
        both[cls.index] = index
        for digest, data in both.items():
            (blobs / digest.removeprefix("sha256:")).write_bytes(data)
        (cls.layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        (cls.layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [
            {"mediaType": double.OCI_INDEX, "digest": cls.index, "size": len(index),
             "annotations": {"org.opencontainers.image.ref.name": "both"}}]}))
        cls.skopeo("copy", "-q", "--all", f"oci:{cls.layout}:both", f"docker://{cls.address}/multi:1", "--dest-tls-verify=false")

    @classmethod
    def skopeo(cls, *words, **more):
        return cls.daemon.in_netns(SKOPEO, *words, **more)

    def raw(self, name):
        return self.skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{self.address}/{name}").stdout.encode()

    def test_pull_push_and_by_digest(self):
        said = self.docker("pull", f"{self.address}/multi:1").stdout
        self.assertIn("1: Pulling from multi", said)
        self.assertIn(f"Digest: {self.index}", said)
        self.assertIn(f"Status: Downloaded newer image for {self.address}/multi:1", said)
        self.assertIn("Image is up to date", self.docker("pull", f"{self.address}/multi:1").stdout)
        self.assertEqual(self.out("inspect", "-f", "{{.Architecture}}", f"{self.address}/multi:1"), "amd64")
        self.docker("tag", f"{self.address}/multi:1", f"{self.address}/copy:2")
        said = self.docker("push", f"{self.address}/copy:2").stdout
        self.assertIn("Mounted from multi", said)
        # Only one platform is here, so that one is pushed, as it came.
        self.assertEqual(double.digest_of(self.raw("copy:2")), self.image.digest)
        self.assertIn(f"2: digest: {self.image.digest}", said)
        self.assertIn("Layer already exists", self.docker("push", f"{self.address}/copy:2").stdout)
        self.docker("rmi", "-f", f"{self.address}/multi:1", f"{self.address}/copy:2")
        self.docker("pull", "-q", f"{self.address}/copy@{self.image.digest}")
        self.assertIn(f"{self.address}/copy@{self.image.digest}", self.out("images", "--digests", "--format", "{{.Repository}}@{{.Digest}}"))
        self.skopeo("inspect", "--tls-verify=false", f"docker://{self.address}/copy:2")
        self.is_intact()

    def test_platform_and_all_tags(self):
        self.docker("pull", "-q", "--platform", "linux/arm64", f"{self.address}/multi:1")
        self.assertEqual(self.out("inspect", "-f", "{{.Architecture}}", f"{self.address}/multi:1"), "arm64")
        self.assertIn("no matching manifest for linux/s390x in the manifest list entries",
                      self.fails("pull", "--platform", "linux/s390x", f"{self.address}/multi:1"))
        for tag in "abc":
            self.skopeo("copy", "-q", f"oci:{self.layout}:both", f"docker://{self.address}/tags:{tag}", "--dest-tls-verify=false")
        self.docker("pull", "-q", "--all-tags", f"{self.address}/tags")
        self.assertEqual(sorted(self.out("images", "--format", "{{.Tag}}", f"{self.address}/tags").split()), ["a", "b", "c"])
        for tag in "abc":
            self.docker("tag", f"{self.address}/tags:{tag}", f"{self.address}/again:{tag}")
        self.docker("push", "-q", "--all-tags", f"{self.address}/again")
        tags = json.loads(self.skopeo("list-tags", "--tls-verify=false", f"docker://{self.address}/again").stdout)["Tags"]
        self.assertEqual(sorted(tags), ["a", "b", "c"])

    def test_single_platforms_are_removed(self):
        name = f"{self.address}/multi:1"
        for platform in ("linux/arm64", "linux/amd64"):
            self.docker("pull", "-q", "--platform", platform, name)
        available = lambda: sorted(each["ImageData"]["Platform"]["architecture"] for each in json.loads(self.daemon.api(
            "GET", f"/v1.50/images/{name}/json?manifests=1")[1])["Manifests"] if each["Available"])
        self.assertEqual(available(), ["amd64", "arm64"])
        self.assertIn("Use --force", self.fails("image", "rm", "--platform", "linux/arm64", name))
        self.assertIn("no variant for linux/s390x here", self.docker("image", "rm", "-f", "--platform", "linux/s390x", name, check=False).stderr)
        self.docker("create", "--name", "user", "--platform", "linux/arm64", name)
        self.assertIn("container", self.fails("image", "rm", "-f", "--platform", "linux/arm64", name))
        self.docker("rm", "user")
        self.assertIn(self.other.digest, self.docker("image", "rm", "-f", "--platform", "linux/arm64", name).stdout)
        self.assertEqual(available(), ["amd64"])
        self.assertFalse([digest for digest in self.other.blobs if (self.daemon.root / "data/content/blobs/sha256" / digest[7:]).exists()])
        self.assertIn("remove the image itself", self.fails("image", "rm", "-f", "--platform", "linux/amd64", name))
        self.is_intact()

    def test_what_is_not_there(self):
        self.assertIn(f"manifest for {self.address}/multi:none not found: manifest unknown: manifest unknown",
                      self.fails("pull", f"{self.address}/multi:none"))
        # docker-registry says of an unknown repository that the manifest is unknown.
        self.assertIn("manifest unknown", self.fails("pull", f"{self.address}/nobody/nothing"))
        self.assertIn("connect: connection refused", self.fails("pull", "127.0.0.1:1/x"))
        self.assertIn("An image does not exist locally with the tag", self.fails("push", f"{self.address}/never:made"))

    def test_what_was_pulled_runs(self):
        self.docker("load", "-q", "-i", busybox_image())
        self.docker("tag", "busybox:latest", f"{self.address}/busybox:latest")
        self.docker("push", "-q", f"{self.address}/busybox")
        self.docker("rmi", "-f", "busybox:latest", f"{self.address}/busybox:latest")
        done = self.docker("run", "--rm", f"{self.address}/busybox", "echo", "it runs")
        self.assertIn("it runs", done.stdout)
        self.assertIn("Status: Downloaded newer image", done.stderr)
        inspected = json.loads(self.skopeo("inspect", "--tls-verify=false", f"docker://{self.address}/busybox").stdout)
        self.assertEqual([f"{self.address}/busybox@{inspected['Digest']}"],
                         json.loads(self.out("inspect", "-f", "{{json .RepoDigests}}", f"{self.address}/busybox")))

    def test_distribution_of_a_name(self):
        status, body = self.daemon.api("GET", f"/distribution/{self.address}/multi:1/json")
        self.assertEqual(status, 200, body)
        found = json.loads(body)
        self.assertEqual(found["Descriptor"]["digest"], self.index)
        self.assertEqual({each["architecture"] for each in found["Platforms"]}, {"amd64", "arm64"})

    def test_a_line_that_breaks_fifty_times(self):
        image = double.Image([3 * MIB, 2 * MIB, 3 * MIB], seed=50)
        name = "cut:1"
        layout = self.daemon.root / "cut"
        for digest, data in {**image.blobs, image.digest: image.manifest}.items():
            (layout / "blobs/sha256").mkdir(parents=True, exist_ok=True)
            (layout / "blobs/sha256" / digest.removeprefix("sha256:")).write_bytes(data)
        (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [
            {"mediaType": double.OCI_MANIFEST, "digest": image.digest, "size": len(image.manifest)}]}))
        self.skopeo("copy", "-q", f"oci:{layout}", f"docker://{self.address}/{name}", "--dest-tls-verify=false")
        seed = random.randrange(1 << 30)
        rng = random.Random(seed)
        port = int(self.address.rpartition(":")[2])
        line = self.host(double.Line, port, [rng.randrange(1, 150 * KIB) for _ in range(50)])
        with self.subTest(seed=seed):
            self.docker("pull", f"{line.authority}/{name}", timeout=120)
            self.assertEqual(line.broken, 50)
            self.assertLess(line.down, 1.05 * image.size())
        self.is_intact()

    def test_an_upload_is_gone_on_with(self):
        # Two chunks and a half; the line breaks in each.
        image = double.Image([70 * MIB], seed=70)
        origin = self.host(double.Double)
        origin.add("big", "1", image)
        self.docker("pull", "-q", f"{origin.authority}/big:1", timeout=120)
        port = int(self.address.rpartition(":")[2])
        line = self.host(Uplink, port, [10 * MIB, 20 * MIB])
        self.docker("tag", f"{origin.authority}/big:1", f"{line.authority}/up:1")
        self.docker("push", "-q", f"{line.authority}/up:1", timeout=120)
        self.assertEqual(line.broken, 2)
        self.assertLess(line.up, 1.5 * image.size())
        self.assertEqual(double.digest_of(self.raw("up:1")), image.digest)


class Uplink(double.Line):
    """A line that breaks and counts on the way to the registry."""

    def __init__(self, *arguments):
        self.up = 0
        super().__init__(*arguments)

    def _pump(self, source, target, down):
        passed = 0
        cut = None
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not down:
                    with self.lock:
                        self.up += len(data)
                        if cut is None and passed > 65536 and self.cuts:
                            cut = self.cuts.pop(0)
                passed += len(data)
                if cut is not None and passed >= cut:
                    self.broken += 1
                    break
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                each.shutdown(socket.SHUT_RDWR)
                each.close()


class Secured(RegistryCase):
    """docker-registry with TLS of a private authority, and with passwords."""

    @classmethod
    def configure(cls):
        super().configure()
        cls.write("hosts", "127.0.0.1 localhost registry.test other.test\n")
        for name, port in (("tls", 5443), ("closed", 5444)):
            double.make_authority(cls.etc / f"made/{name}", "registry.test", "other.test")
            folder = cls.etc / f"docker/certs.d/registry.test:{port}"
            folder.mkdir(parents=True)
            shutil.copy(cls.etc / f"made/{name}/ca.crt", folder)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        packaged(cls, "tls", "--tls", "--port", "5443")
        packaged(cls, "closed", "--tls", "--htpasswd", "--port", "5444")

    closed = "registry.test:5444"

    def test_private_authority(self):
        self.docker("load", "-q", "-i", busybox_image())
        for name in ("registry.test", "other.test", "localhost"):
            self.docker("tag", "busybox:latest", f"{name}:5443/busybox:1")
        self.docker("push", "-q", "registry.test:5443/busybox:1")
        self.docker("rmi", "registry.test:5443/busybox:1")
        self.docker("pull", "-q", "registry.test:5443/busybox:1")
        # certs.d has nothing of this name.
        text = self.fails("pull", "other.test:5443/busybox:1")
        self.assertIn("tls: failed to verify certificate: x509:", text)
        self.assertIn("https://other.test:5443/v2/busybox/manifests/1", text)
        # Loopback is insecure, as Docker has it.
        self.docker("pull", "-q", "localhost:5443/busybox:1")
        self.daemon.in_netns(SKOPEO, "inspect", "--tls-verify=false", "docker://localhost:5443/busybox:1")
        self.is_intact()

    def test_login(self):
        self.assertIn("no basic auth credentials", self.fails("pull", f"{self.closed}/x"))
        done = self.docker("login", "-u", "user", "-p", "wrong", self.closed, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("401 Unauthorized", done.stderr)
        self.assertIn("Login Succeeded", self.docker("login", "-u", "user", "--password-stdin", self.closed, input="secret").stdout)
        self.docker("load", "-q", "-i", busybox_image())
        self.docker("tag", "busybox:latest", f"{self.closed}/busybox:1")
        self.docker("push", "-q", f"{self.closed}/busybox:1")
        self.docker("rmi", "-f", "busybox:latest", f"{self.closed}/busybox:1")
        self.docker("pull", "-q", f"{self.closed}/busybox:1")
        self.docker("logout", self.closed)
        self.assertIn("no basic auth credentials", self.fails("push", f"{self.closed}/busybox:1"))
        self.is_intact()


class Misbehaving(RegistryCase):
    """Each fault ends in a message that says what and where, and leaves an intact store; the next pull is right."""

    def setUp(self):
        self.registry = self.host(double.Double)
        self.image = double.Image([300 * KIB, 40 * KIB], seed=self.id())
        self.registry.add("x", "1", self.image)
        self.name = f"{self.registry.authority}/x:1"

    def refused(self, fault, *parts):
        self.registry.fault = fault
        text = self.fails("pull", self.name)
        for part in parts:
            self.assertIn(part, text)
        self.assertEqual(self.out("images", "-q"), "")
        self.is_intact()
        self.registry.fault = None
        self.docker("pull", "-q", self.name)
        self.is_intact()

    def last_layer(self, answer):
        digest = self.image.layers[-1]["digest"]
        return lambda handler, kind, name: name == digest and (answer(handler, self.image.blobs[digest]), True)[1]

    def test_import_from_a_url(self):
        """A blob of the registry is a file at a URL like another."""
        digest = self.image.layers[0]["digest"]
        url = f"http://{self.registry.authority}/v2/x/blobs/{digest}"
        said = self.docker("import", "-c", "CMD sh", url, "made:1").stdout
        self.assertIn(f"Downloading from {url}", said)
        image = json.loads(self.out("image", "inspect", "made:1"))[0]
        self.assertEqual((image["Comment"], image["Config"]["Cmd"]), (f"Imported from {url}", ["/bin/sh", "-c", "sh"]))
        self.daemon.grua("import", url, "made:2")
        self.assertEqual(json.loads(self.out("image", "inspect", "made:2"))[0]["RootFS"], image["RootFS"])
        self.docker("rmi", "made:1", "made:2")
        self.registry.fault = self.first_layer(lambda handler, _: self.registry.complain(handler, 404, "BLOB_UNKNOWN", "blob unknown to registry"))
        self.assertIn(f"failed to GET {url} with status 404", self.fails("import", url, "made:1"))

        def breaks(handler, data):
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(data)))
            handler.end_headers()
            handler.wfile.write(data[:-100])
            double.end(handler)

        self.registry.fault = self.first_layer(breaks)
        self.assertIn(url, self.fails("import", url, "made:1"))
        self.assertIn("connection refused", self.fails("import", "http://127.0.0.1:1/x.tar", "made:1"))
        self.assertEqual(self.out("images", "-qa"), "")
        self.is_intact()

    def first_layer(self, answer):
        digest = self.image.layers[0]["digest"]
        return lambda handler, kind, name: name == digest and (answer(handler, self.image.blobs[digest]), True)[1]

    def test_missing_layer(self):
        digest = self.image.layers[-1]["digest"]
        self.refused(self.last_layer(lambda handler, _: self.registry.complain(handler, 404, "BLOB_UNKNOWN", "blob unknown to registry")),
                     "blob unknown", digest, self.registry.authority)

    def test_wrong_digest(self):
        self.refused(self.last_layer(lambda handler, data: self.registry.send(handler, 200, bytes(len(data)))),
                     self.image.layers[-1]["digest"])

    def test_wrong_size(self):
        self.refused(self.last_layer(lambda handler, data: self.registry.send(handler, 200, data + b"x")),
                     f"{self.image.layers[-1]['size'] + 1} bytes, {self.image.layers[-1]['size']} were announced", self.registry.authority)
        self.docker("rmi", "-f", self.name)

    def test_endless_body(self):
        def endless(handler, _):
            handler.send_response(200)
            handler.end_headers()
            with contextlib.suppress(OSError):
                for _ in range(4096):
                    handler.wfile.write(bytes(65536))
            double.end(handler)

        self.refused(self.last_layer(endless), "more than the announced", self.registry.authority)

    def test_endless_manifest(self):
        def endless(handler, kind, _):
            if kind != "manifests":
                return False
            handler.send_response(200)
            handler.end_headers()
            with contextlib.suppress(OSError):
                for _ in range(4096):
                    handler.wfile.write(b" " * 65536)
            double.end(handler)
            return True

        self.refused(endless, "the answer is larger than 4194304 bytes", self.registry.authority)

    def test_slow_loris(self):
        def slow(handler, data):
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(data)))
            handler.end_headers()
            with contextlib.suppress(OSError):
                for at in range(200):
                    handler.wfile.write(data[at:at + 1])
                    time.sleep(0.1)

        started = time.monotonic()
        self.refused(self.last_layer(slow), "the host sends less than 512 bytes a second for 2 s", self.registry.authority)
        self.assertLess(time.monotonic() - started, 25)

    def test_slow_headers(self):
        def slow(handler, kind, _):
            if kind != "manifests":
                return False
            with contextlib.suppress(OSError):
                handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
                for _ in range(100):
                    handler.wfile.write(b"y")
                    time.sleep(0.1)
            return True

        self.refused(slow, "the host sends less than 512 bytes a second for 2 s", "/v2/x/manifests/1")

    def test_endless_headers(self):
        def many(handler, kind, _):
            if kind != "manifests":
                return False
            handler.send_response(200)
            with contextlib.suppress(OSError):
                for at in range(5000):
                    handler.send_header(f"X-{at}", "y" * 100)
                    handler.flush_headers()
                handler.end_headers()
            return True

        self.refused(many, "headers of the answer are too many or too long")

    def test_schema_1(self):
        body = json.dumps({"schemaVersion": 1, "name": "x", "tag": "1", "fsLayers": [], "history": []}).encode()
        for media_type in ("application/vnd.docker.distribution.manifest.v1+prettyjws", "application/json"):
            self.registry.manifests["old", "1"] = (media_type, body)
            self.assertIn("manifest version 2, schema 1 support has been removed", self.fails("pull", f"{self.registry.authority}/old:1"))

    def test_CVE_2021_41190_manifest_and_index_at_once(self):
        document = {**json.loads(self.image.manifest), "manifests": []}
        for media_type in (double.OCI_MANIFEST, double.OCI_INDEX):
            self.registry.manifests["both", "1"] = (media_type, json.dumps({**document, "mediaType": media_type}).encode())
            self.assertIn("an image manifest and an index at once", self.fails("pull", f"{self.registry.authority}/both:1"))
        self.registry.manifests["both", "1"] = (double.OCI_INDEX, self.image.manifest)
        self.assertIn("is not the document's mediaType", self.fails("pull", f"{self.registry.authority}/both:1"))
        self.assertEqual(self.out("images", "-q"), "")

    def test_CVE_2024_3727_digests_that_are_paths(self):
        for bad in ("sha256:../../../../etc/passwd", "sha256:" + "A" * 64, "sha256:" + "a" * 63, "md5:" + "a" * 32, "sha256:" + "a" * 64 + "/.."):
            document = json.loads(self.image.manifest)
            document["layers"][0]["digest"] = bad
            self.registry.manifests["bad", "1"] = (double.OCI_MANIFEST, json.dumps(document).encode())
            self.assertIn("invalid digest", self.fails("pull", f"{self.registry.authority}/bad:1"))

        def lies(handler, kind, name):
            if kind != "manifests":
                return False
            self.registry.send(handler, 200, self.image.manifest, Content_Type=double.OCI_MANIFEST, Docker_Content_Digest="sha256:../x")
            return True

        self.refused(lies, "invalid digest")

    def test_busy(self):
        answers = [(429, {"Retry_After": "1"}), (503, {})]

        def busy(handler, kind, _):
            if kind != "manifests" or not answers:
                return False
            status, headers = answers.pop(0)
            self.registry.complain(handler, status, "TOOMANYREQUESTS", "slow down", **headers)
            return True

        self.registry.fault = busy
        started = time.monotonic()
        self.assertIn("Retrying in 1 second", self.docker("pull", self.name).stdout)
        self.assertGreater(time.monotonic() - started, 1)
        self.docker("rmi", "-f", self.name)

        def closed(handler, *_):
            self.registry.complain(handler, 429, "TOOMANYREQUESTS", "You have reached your pull rate limit.", Retry_After="86400")
            return True

        self.refused(closed, "toomanyrequests: You have reached your pull rate limit.")

    def test_tokens_that_expire(self):
        tokens = self.host(double.Tokens, users={"Basic dTpw"})
        self.registry.realm = (f"http://{tokens.authority}/token", "service", tokens.good)
        self.docker("pull", "-q", self.name)
        self.docker("rmi", "-f", self.name)
        given = tokens.given

        def expire_once(handler, kind, name):
            if kind == "blobs" and tokens.valid and expire_once.left:
                expire_once.left -= 1
                tokens.expire_all()
                self.registry.complain(handler, 401, "UNAUTHORIZED", "token expired",
                                       WWW_Authenticate=f'Bearer realm="{self.registry.realm[0]}",service="service"')
                return True
            return False

        expire_once.left = 1
        self.registry.fault = expire_once
        self.docker("pull", "-q", self.name)
        self.assertGreater(tokens.given, given)
        self.registry.fault = None
        # None is good any more: it ends, and says so.
        self.docker("rmi", "-f", self.name)
        self.registry.realm = (self.registry.realm[0], "service", lambda _: False)
        self.assertIn("unauthorized: authentication required", self.fails("pull", self.name))
        self.is_intact()

    def test_no_ranges(self):
        self.registry.ranges = False
        self.registry.cuts = [100 * KIB, 150 * KIB]
        self.docker("pull", "-q", self.name)
        self.is_intact()

    def test_killed_and_resumed(self):
        image = double.Image([6 * MIB], seed=9)
        self.registry.add("big", "1", image)
        line = self.host(double.Line, int(self.registry.authority.rpartition(":")[2]))
        line.limit = 4 * MIB
        name = f"{line.authority}/big:1"
        for _ in range(2):
            pull = subprocess.Popen([DOCKER, "pull", "-q", name], env=self.daemon.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            before = self.partial_bytes()
            wait_until("a part has arrived", lambda: self.partial_bytes() > before + MIB)
            self.daemon.kill()
            pull.wait()
            self.daemon.start()
            self.assertGreater(self.partial_bytes(), before)
        # A client that goes away leaves what it has, too.
        pull = subprocess.Popen([DOCKER, "pull", "-q", name], env=self.daemon.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before = self.partial_bytes()
        wait_until("a part has arrived", lambda: self.partial_bytes() > before + MIB)
        pull.kill()
        pull.wait()
        line.limit = None
        self.docker("pull", "-q", name)
        # What was in the buffers of three broken lines is what may be lost.
        self.assertLess(line.down, 1.05 * image.size() + 3 * 512 * KIB)
        self.assertEqual(self.partial_bytes(), 0)
        self.is_intact()

    def test_big_blobs_by_ranges(self):
        image = double.Image([66 * MIB], seed=66)
        self.registry.add("ranges", "1", image)
        self.registry.cuts = [None, MIB, None, 2 * MIB, 100]
        self.docker("pull", "-q", f"{self.registry.authority}/ranges:1")
        self.assertGreater(self.registry.connections, 3)
        self.assertLess(self.registry.sent, 1.05 * image.size())
        self.is_intact()


class Realms(double.Double):
    """A registry whose ways in are `way(repository)`: the good value of Authorization and the fields of WWW-Authenticate."""

    def let_in(self, handler):
        found = handler.path.removeprefix("/v2/").partition("/")[0]
        good, fields = self.realm(found)
        if handler.headers.get("Authorization") == good:
            return True
        handler.send_response(401)
        for each in fields:
            handler.send_header("WWW-Authenticate", each)
        body = b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}'
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
        return False


class TokensByPath(double.Server):
    """Each path has a token of its own; /dead has none."""

    def answer(self, handler):
        name = handler.path[1:].partition("?")[0]
        if name == "dead":
            return self.send(handler, 503)
        self.send(handler, 200, json.dumps({"token": name}).encode(), Content_Type="application/json")


class Ways(RegistryCase):
    """How a registry asks for credentials changes, differs, and has several forms."""

    def setUp(self):
        self.registry = self.host(Realms)
        self.tokens = self.host(TokensByPath)
        for name in ("a", "b"):
            self.registry.add(name, "1", double.Image([10 * KIB], seed=name))

    def bearer(self, name):
        return f'Bearer realm="http://{self.tokens.authority}/{name}",service="s"'

    def pull(self, name):
        self.docker("pull", "-q", f"{self.registry.authority}/{name}:1")
        self.docker("rmi", "-f", f"{self.registry.authority}/{name}:1")

    # G25
    def test_a_token_service_that_was_dead_once_is_not_asked_for_ever(self):
        self.registry.realm = lambda _: ("Bearer live", [self.bearer("dead")])
        self.fails("pull", f"{self.registry.authority}/a:1")
        self.registry.realm = lambda _: ("Bearer live", [self.bearer("live")])
        self.pull("a")

    # G25
    def test_repositories_have_token_services_of_their_own(self):
        self.registry.realm = lambda name: (f"Bearer of-{name}", [self.bearer(f"of-{name}")])
        for name in ("a", "b", "a", "b"):
            self.pull(name)

    # G25
    def test_a_registry_changes_from_basic_to_bearer(self):
        self.registry.realm = lambda _: ("Basic dTpw", ['Basic realm="r"'])
        self.docker("login", "-u", "u", "-p", "p", self.registry.authority)
        self.pull("a")
        self.registry.realm = lambda _: ("Bearer live", [self.bearer("live")])
        self.pull("a")
        self.docker("logout", self.registry.authority)

    # G26
    def test_the_way_in_is_not_the_first_that_is_offered(self):
        for fields, good in ((["Negotiate", self.bearer("live")], "Bearer live"), (['Digest realm="r", nonce="n"', 'Basic realm="r"'], "Basic dTpw")):
            self.registry.realm = lambda _, fields=fields, good=good: (good, fields)
            self.docker("login", "-u", "u", "-p", "p", self.registry.authority)
            self.pull("a")
            self.docker("logout", self.registry.authority)

    # G27
    def test_an_index_of_one_platform_with_a_level_or_with_nothing(self):
        for number, platform in enumerate(({"os": "linux", "architecture": "amd64", "variant": "v2"}, {"os": "", "architecture": ""})):
            image = double.Image([10 * KIB], seed=f"level-{number}")
            index = json.dumps({"schemaVersion": 2, "mediaType": double.OCI_INDEX, "manifests": [
                {"mediaType": double.OCI_MANIFEST, "digest": image.digest, "size": len(image.manifest), "platform": platform}]}).encode()
            self.registry.add("level", "only", image)
            self.registry.manifests["level", "1"] = (double.OCI_INDEX, index)
            with self.subTest(platform=platform):
                self.pull("level")

    # G28
    def test_what_a_registry_packs_unasked_is_unpacked(self):
        def packs(handler, kind, name):
            found = self.registry.manifests.get(("a", name)) if kind == "manifests" else ("application/octet-stream", self.registry.blobs.get(name))
            if not found or found[1] is None:
                return False
            self.registry.send(handler, 200, gzip.compress(found[1]), Content_Type=found[0], Content_Encoding="gzip")
            return True

        self.registry.fault = packs
        self.pull("a")
        self.is_intact()

    # G28
    def test_other_words_for_a_success_of_a_push(self):
        self.docker("load", "-q", "-i", busybox_image())
        for blob, manifest in ((200, 204), (202, 201)):
            taker = self.host(Taker, blob, manifest)
            self.docker("tag", "busybox", f"{taker.authority}/x:1")
            self.docker("push", f"{taker.authority}/x:1")
            self.assertTrue(taker.manifest)

    # G29
    def test_a_digest_of_another_algorithm_is_pulled(self):
        kind, manifest = self.registry.manifests["a", "1"]
        digest = "sha512:" + hashlib.sha512(manifest).hexdigest()
        self.registry.manifests["a", digest] = (kind, manifest)
        name = f"{self.registry.authority}/a@{digest}"
        self.docker("pull", "-q", name)
        self.registry.manifests["a", digest] = (kind, manifest + b" ")
        self.docker("rmi", "-f", name)
        self.assertIn(digest, self.fails("pull", name))

    # G29
    def test_localhost_in_capitals_is_local(self):
        name = f"LOCALHOST:{self.registry.authority.rpartition(':')[2]}/a:1"
        self.docker("pull", "-q", name)


class Taker(double.Server):
    """A registry that takes what is pushed, and answers with statuses of its own."""

    def __init__(self, pid, blob, manifest):
        self.statuses = (blob, manifest)
        self.manifest = b""
        super().__init__(pid)

    def answer(self, handler):
        size = int(handler.headers.get("Content-Length", 0))
        body = handler.rfile.read(size)
        if "chunked" in handler.headers.get("Transfer-Encoding", ""):
            while size := int(handler.rfile.readline(), 16):
                body += handler.rfile.read(size)
                handler.rfile.readline()
            handler.rfile.readline()
        if handler.path == "/v2/":
            return self.send(handler, 200, b"{}")
        if handler.command == "POST":
            return self.send(handler, 202, Location="/v2/x/blobs/uploads/1", Range="0-0")
        if handler.command == "PATCH":
            return self.send(handler, 202, Location="/v2/x/blobs/uploads/1", Range=f"0-{len(body) - 1}")
        if handler.command == "PUT" and "/manifests/" in handler.path:
            self.manifest = body
            return self.send(handler, self.statuses[1], Docker_Content_Digest=double.digest_of(body))
        if handler.command == "PUT":
            return self.send(handler, self.statuses[0])
        self.complain(handler, 404, "UNKNOWN", "not here")


class Search(double.Server):
    """What answers GET /v1/search."""

    def answer(self, handler):
        self.send(handler, 200, json.dumps({"results": [
            {"name": "hello", "description": "says hello", "star_count": 7, "is_official": True},
            {"name": "me/hello", "description": "", "star_count": 1, "is_official": False}]}).encode())


class Mirrors(RegistryCase):
    @classmethod
    def configure(cls):
        cls.write("hosts", "127.0.0.11 origin.example\n127.0.0.12 first.example\n127.0.0.13 second.example\n127.0.0.14 blocked.example\n")
        cls.write("grua/registries.toml", """
[limits]
attempts = 2

[aliases]
tool = "second.example:5000/hub/tools/tool"

[[registry]]
prefix = "origin.example:5000"
location = "http://origin.example:5000"
[[registry.mirror]]
location = "http://first.example:5000/cache"
[[registry.mirror]]
location = "http://second.example:5000/hub"
username = "reader"
password = "secret"

[[registry]]
prefix = "second.example:5000"
location = "http://second.example:5000"

[[registry]]
prefix = "blocked.example"
blocked = true
""")
        cls.write("containerd/certs.d/c8d.example/hosts.toml", 'server = "http://origin.example:5000"\n[host."http://first.example:5000"]\n')
        cls.write("containers/registries.conf", '[[registry]]\nprefix = "conf.example"\nlocation = "blocked.example:5000"\n'
                                                '[[registry]]\nprefix = "no.example"\nblocked = true\n')

    def setUp(self):
        self.origin, self.first, self.second, self.blocked = (self.host(double.Double, f"127.0.0.{at}", 5000) for at in (11, 12, 13, 14))
        self.image = double.Image([50 * KIB], seed=self.id())
        self.origin.add("x", "1", self.image)

    def test_order(self):
        self.docker("pull", "-q", "origin.example:5000/x:1")
        self.assertTrue(self.first.asked("/v2/cache/x/manifests/1"))
        self.assertTrue(self.second.asked("/v2/hub/x/manifests/1"))
        self.assertTrue(self.origin.asked("/v2/x/manifests/1"))
        self.docker("rmi", "-f", "origin.example:5000/x:1")
        self.second.add("hub/x", "1", self.image)
        self.origin.requests.clear()
        self.docker("pull", "-q", "origin.example:5000/x:1")
        self.assertEqual(self.origin.requests, [])
        self.docker("rmi", "-f", "origin.example:5000/x:1")
        self.first.add("cache/x", "1", self.image)
        self.second.requests.clear()
        self.docker("pull", "-q", "origin.example:5000/x:1")
        self.assertEqual(self.second.requests, [])
        # One that lies is passed over.
        self.docker("rmi", "-f", "origin.example:5000/x:1")
        digest = self.image.layers[0]["digest"]
        self.first.blobs[digest] = bytes(len(self.first.blobs[digest]))
        self.docker("pull", "-q", "origin.example:5000/x:1")
        self.assertTrue(self.second.asked(digest))
        self.is_intact()

    def test_a_mirror_has_its_own_credentials(self):
        self.second.add("hub/x", "1", self.image)
        seen = set()

        def basic(handler, *_):
            seen.add(handler.headers.get("Authorization"))
            if handler.headers.get("Authorization") == "Basic cmVhZGVyOnNlY3JldA==":
                return False
            self.second.complain(handler, 401, "UNAUTHORIZED", "authentication required", WWW_Authenticate='Basic realm="r"')
            return True

        self.second.fault = basic
        (self.daemon.root / "docker-config/config.json").write_text(json.dumps({"auths": {"origin.example:5000": {"auth": "dTpw"}}}))
        self.addCleanup((self.daemon.root / "docker-config/config.json").unlink)
        self.docker("pull", "-q", "origin.example:5000/x:1")
        self.assertEqual(seen, {None, "Basic cmVhZGVyOnNlY3JldA=="})

    def test_a_blocked_host_gets_no_packet(self):
        self.blocked.add("x", "1", self.image)
        capture = self.host(double.Capture)
        for name in ("blocked.example:5000/x:1", "conf.example/x:1"):
            text = self.fails("pull", name)
            self.assertIn('is blocked by the rule "blocked.example" in /etc/grua/registries.toml', text)
        self.assertIn('is blocked by the rule "no.example" in /etc/containers/registries.conf', self.fails("pull", "no.example/x"))
        # Nor as a redirect's target.
        def redirect(handler, kind, _):
            self.origin.send(handler, 307, Location="http://blocked.example:5000/v2/x/blobs/y")
            return True

        self.origin.fault = redirect
        self.assertIn("is blocked by the rule", self.fails("pull", "origin.example:5000/x:1"))
        reached = capture.destinations()
        self.assertIn("127.0.0.11", reached)
        self.assertNotIn("127.0.0.14", reached)
        self.assertEqual(self.blocked.connections, 0)

    def test_the_file_is_read_again(self):
        self.addCleanup(self.configure)
        self.second.add("late", "1", self.image)
        with open(self.etc / "grua/registries.toml", "a") as rules:
            rules.write('[[registry]]\nprefix = "late.example"\nlocation = "http://second.example:5000"\n')
        self.daemon.process.send_signal(signal.SIGHUP)
        wait_until("the new rule holds", lambda: self.docker("pull", "-q", "late.example/late:1", check=False).returncode == 0)
        with open(self.etc / "grua/registries.toml", "a") as rules:
            rules.write("[[nonsense]]\n")
        self.daemon.process.send_signal(signal.SIGHUP)
        wait_until("the log names the place", lambda: 'unknown key \\"nonsense\\"' in self.daemon.tail())
        self.docker("pull", "-q", "late.example/late:1")

    def test_files_of_others_and_aliases(self):
        self.docker("pull", "-q", "c8d.example/x:1")
        self.assertTrue(self.first.asked("/v2/x/manifests/1?ns=c8d.example"))
        self.assertTrue(self.origin.asked("/v2/x/manifests/1"))
        self.second.add("hub/tools/tool", "2", self.image)
        status, body = self.daemon.api("POST", "/images/create?fromImage=tool&tag=2")
        self.assertIn("Downloaded newer image for second.example:5000/hub/tools/tool:2", body)


class Hub(RegistryCase):
    """Docker Hub's flow under its own names: a token service, blobs on a third host; all with an authority of the test."""

    names = {"registry-1.docker.io": "127.0.0.21", "auth.docker.io": "127.0.0.22", "production.cloudfront.docker.com": "127.0.0.23",
             "index.docker.io": "127.0.0.24"}

    @classmethod
    def configure(cls):
        super().configure()
        cls.write("hosts", "".join(f"{address} {name}\n" for name, address in cls.names.items()))
        cls.context = double.make_authority(cls.etc / "made", *cls.names)
        for name in cls.names:
            (cls.etc / f"docker/certs.d/{name}").mkdir(parents=True)
            shutil.copy(cls.etc / "made/ca.crt", cls.etc / f"docker/certs.d/{name}/ca.crt")

    def setUp(self):
        address = lambda name: (self.names[name], 443)
        self.registry = self.host(double.Double, *address("registry-1.docker.io"), tls=self.context)
        self.tokens = self.host(double.Tokens, *address("auth.docker.io"), tls=self.context, users={"Basic dXNlcjpzZWNyZXQ="})
        self.store = self.host(double.Store, self.registry, *address("production.cloudfront.docker.com"), tls=self.context)
        self.registry.realm = ("https://auth.docker.io/token", "registry.docker.io", self.tokens.good)
        self.registry.blobs_at = "https://production.cloudfront.docker.com"
        self.image = double.Image([200 * KIB, 90 * KIB], seed=self.id())
        self.registry.add("library/hello", "latest", self.image)
        self.registry.add("library/hello", "1", self.image, double.Image([10], seed=3, architecture="arm64"))


class ThroughAProxy(Hub):
    options = ("--https-proxy", "http://127.0.0.1:3128")

    def test_what_the_proxy_says_is_not_the_hosts(self):
        double.ConnectProxy.names = self.names
        proxy = self.host(double.ConnectProxy)
        proxy.refuses = True
        self.assertIn("403", self.fails("pull", "hello"))
        proxy.refuses = False
        self.docker("pull", "-q", "hello")
        # The token service answers, the blobs are redirected, and all of it went through the tunnel.
        self.assertLessEqual({"registry-1.docker.io:443", "auth.docker.io:443", "production.cloudfront.docker.com:443"}, set(proxy.asked))
        self.is_intact()


class DockerHub(Hub):
    """What else Docker Hub does: denies, unknown names, rate limits."""

    def test_everyday(self):
        said = self.docker("pull", "hello").stdout
        self.assertIn("Using default tag: latest", said)
        self.assertIn("latest: Pulling from library/hello", said)
        self.assertIn("Status: Downloaded newer image for hello:latest", said)
        self.assertIn("docker.io/library/hello:latest", said)
        self.assertEqual(self.tokens.asked("/token"), ["/token?service=registry.docker.io&scope=repository%3Alibrary%2Fhello%3Apull"])
        self.assertFalse(self.store.saw_credentials)
        self.assertTrue(self.store.requests)
        self.docker("pull", "-q", "hello:1")
        self.is_intact()

    def test_denied_and_unknown(self):
        def fault(handler, kind, name):
            self.registry.complain(handler, 401, "UNAUTHORIZED", "authentication required",
                                   WWW_Authenticate='Bearer realm="https://auth.docker.io/token",service="registry.docker.io",error="insufficient_scope"')
            return True

        self.registry.fault = fault
        self.assertIn("pull access denied for nobody/nothing, repository does not exist or may require 'docker login': denied: "
                      "requested access to the resource is denied", self.fails("pull", "nobody/nothing"))
        self.registry.fault = None
        self.assertIn("manifest for hello:none not found: manifest unknown: manifest unknown", self.fails("pull", "hello:none"))

    def test_login(self):
        done = self.docker("login", "-u", "user", "-p", "wrong", check=False)
        self.assertIn("unauthorized: incorrect username or password", done.stderr)
        self.assertIn("Login Succeeded", self.docker("login", "-u", "user", "--password-stdin", input="secret").stdout)
        self.docker("pull", "-q", "hello")
        self.docker("logout")
        # An identity token was given, so the password is not sent again.
        posts = [method for method, path, _ in self.tokens.requests if method == "POST"]
        self.assertTrue(posts)

    def test_search(self):
        index = self.host(Search, self.names["index.docker.io"], 443, tls=self.context)
        lines = self.out("search", "--format", "{{.Name}} {{.StarCount}} {{.IsOfficial}}", "hello").splitlines()
        self.assertEqual(lines, ["hello 7 [OK]", "me/hello 1"])
        self.assertEqual(index.asked("/v1/search"), ["/v1/search?q=hello&n=25"])
        self.assertEqual(self.out("search", "--filter", "stars=5", "--format", "{{.Name}}", "hello"), "hello")

    def test_rate_limit(self):
        def fault(handler, kind, name):
            if kind != "manifests":
                return False
            self.registry.complain(handler, 429, "TOOMANYREQUESTS", "You have reached your unauthenticated pull rate limit.",
                                   Retry_After="3600", **limits)
            return True

        limits = {"RateLimit_Limit": "100;w=21600", "RateLimit_Remaining": "0;w=21600"}
        self.registry.fault = fault
        self.assertIn("toomanyrequests: You have reached your unauthenticated pull rate limit. (0 of 100 pulls left in 6 hours)",
                      self.fails("pull", "hello"))

        def few(handler, kind, name):
            if kind != "manifests":
                return False
            data = self.image.manifest
            self.registry.send(handler, 200, data, Content_Type=double.OCI_MANIFEST, **{**limits, "RateLimit_Remaining": "3;w=21600"})
            return True

        self.registry.fault = few
        self.assertIn("registry-1.docker.io: 3 of 100 pulls left in 6 hours", self.docker("pull", "hello").stdout)

    def test_redirected_blobs_resume(self):
        self.registry.cuts = [50 * KIB, 60 * KIB, 20 * KIB]
        self.docker("pull", "-q", "hello")
        self.assertLess(self.registry.sent, 1.05 * self.image.size())
        self.assertFalse(self.store.saw_credentials)
        self.is_intact()


if __name__ == "__main__":
    unittest.main()
