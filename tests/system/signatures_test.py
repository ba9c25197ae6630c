"""Signatures as cosign makes them with a key, by the packaged docker-registry, the docker CLI and grua: signatures.toml holds."""

import base64
import hashlib
import json
import signal
import subprocess
import tempfile
import unittest

import registry_double as double
from harness import run, wait_until
from registry_test import KIB, RegistryCase, packaged

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
ANNOTATION = "dev.cosignproject.cosign/signature"
POLICY = "/etc/grua/signatures.toml"


def tag_of(digest):
    return digest.replace(":", "-") + ".sig"


class Signed(RegistryCase):
    """Images under team/ need a signature by the first key, those under ed/ and rsa/ one of theirs, those under no/ are refused."""

    @classmethod
    def configure(cls):
        cls.write("hosts", "127.0.0.31 origin.example\n127.0.0.32 mirror.example\n")
        cls.write("grua/registries.toml", '[limits]\nattempts = 2\n[[registry]]\nprefix = "origin.example:5000"\nlocation = "http://origin.example:5000"\n'
                                          '[[registry.mirror]]\nlocation = "http://mirror.example:5000"\n')
        cls.write("grua/signatures.toml", "")  # what is not there when /etc is mounted is never seen
        keys = cls.keys = cls.etc / "grua/keys"
        keys.mkdir(parents=True)
        openssl = lambda *words: subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=keys)
        for name in ("team", "other"):
            openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")
        openssl("genpkey", "-algorithm", "ed25519", "-out", "ed.key")
        openssl("genrsa", "-out", "rsa.key", "2048")
        for name in ("team", "other", "ed", "rsa"):
            openssl("pkey", "-in", f"{name}.key", "-pubout", "-out", f"{name}.pub")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.address = packaged(cls, "plain")

    def setUp(self):
        self.policy()
        # Each test has images of its own: what is signed in one is not in another.
        self.image = double.Image([40 * KIB], seed=self.id())
        self.name = f"{self.address}/team/{self._testMethodName}"

    @classmethod
    def rules(cls):
        rule = lambda prefix, require, *keys: f'[[policy]]\nprefix = "{prefix}"\nrequire = "{require}"\n' + (
            f"keys = {json.dumps([f'/etc/grua/keys/{key}.pub' for key in keys])}\n" if keys else "")
        return (rule(f"{cls.address}/team", "signature", "team") + rule(f"{cls.address}/team/free", "nothing") + rule(f"{cls.address}/no", "refuse") +
                rule(f"{cls.address}/ed", "signature", "ed") + rule(f"{cls.address}/rsa", "signature", "other", "rsa") +
                rule("origin.example", "signature", "team"))

    def policy(self, text=None):
        """It holds when the log says that it was read, or why it was not."""
        self.write("grua/signatures.toml", self.rules() if text is None else text)
        before = self.daemon.log.read_text(errors="replace").count("read again")
        self.daemon.process.send_signal(signal.SIGHUP)
        wait_until("the policy is read", lambda: self.daemon.log.read_text(errors="replace").count("read again") > before)

    def http(self, method, path, data, kind="application/octet-stream"):
        """One request to the packaged registry; its headers and status."""
        with tempfile.NamedTemporaryFile() as body:
            body.write(data)
            body.flush()
            url = path if path.startswith("http") else f"http://{self.address}{path}"
            return self.daemon.in_netns("curl", "-s", "-D", "-", "-o", "/dev/null", "-X", method, "-H", f"Content-Type: {kind}", "--data-binary", f"@{body.name}", url).stdout

    def put_blob(self, name, data):
        repository = name.partition("/")[2]
        answer = self.http("POST", f"/v2/{repository}/blobs/uploads/", b"")
        where = next(line.split(None, 1)[1].strip() for line in answer.splitlines() if line.lower().startswith("location:"))
        self.assertIn(" 201 ", self.http("PUT", where + ("&" if "?" in where else "?") + "digest=" + double.digest_of(data), data).splitlines()[0])

    def put_manifest(self, name, reference, data, kind=double.OCI_MANIFEST):
        answer = self.http("PUT", f"/v2/{name.partition('/')[2]}/manifests/{reference}", data, kind)
        self.assertIn(" 201 ", answer.splitlines()[0], answer)

    def push(self, name, image, tag="1"):
        for data in image.blobs.values():
            self.put_blob(name, data)
        self.put_manifest(name, tag, image.manifest)
        return image.digest

    def payload(self, name, digest, **critical):
        critical = {"identity": {"docker-reference": name}, "image": {"docker-manifest-digest": digest}, "type": "cosign container image signature", **critical}
        return json.dumps({"critical": critical, "optional": None}).encode()

    def signature(self, data, key="team"):
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            raw = ("pkeyutl", "-sign", "-rawin", "-in", file.name, "-inkey") if key == "ed" else ("dgst", "-sha256", "-sign")
            words = ["openssl", *raw, self.keys / f"{key}.key", *(() if key == "ed" else (file.name,))]
            return base64.b64encode(subprocess.run(words, check=True, capture_output=True).stdout).decode()

    @staticmethod
    def layer(data, signature, kind=SIMPLE_SIGNING):
        return {"mediaType": kind, "size": len(data), "digest": double.digest_of(data), "annotations": {ANNOTATION: signature}}

    def signatures(self, *layers, config=b"{}", **more):
        """The manifest that cosign keeps beside an image."""
        return json.dumps({"schemaVersion": 2, "mediaType": double.OCI_MANIFEST, "layers": list(layers),
                           "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "size": len(config), "digest": double.digest_of(config)}, **more}).encode()

    def sign(self, name, digest, *payloads, key="team", signature=None):
        """Pushes a signature of each payload (one that is right, where none is given) under the image's tag."""
        payloads = payloads or (self.payload(name, digest),)
        for data in (b"{}", *payloads):
            self.put_blob(name, data)
        self.put_manifest(name, tag_of(digest), self.signatures(*(self.layer(data, self.signature(data, key) if signature is None else signature) for data in payloads)))

    def stored(self):
        blobs = self.daemon.root / "data/content"
        return sorted(path.name for where in ("blobs/sha256", "partial") for path in (blobs / where).iterdir())

    def refused(self, name, *parts, tag=":1"):
        """By both clients, with the image, the policy's file and the reason; nothing of it is stored."""
        before = self.stored()
        for text in (self.fails("pull", name + tag), self.daemon.grua("pull", name + tag, check=False).stderr):
            for part in (name + tag, POLICY, *parts):
                self.assertIn(part, text)
        self.assertEqual(self.stored(), before)
        self.assertEqual(self.out("images", "-aq"), "")

    def pulls(self, name, tag=":1"):
        for pull in (self.docker, self.daemon.grua):
            pull("pull", "-q", name + tag)
            self.docker("rmi", "-f", name + tag)

    def test_signed(self):
        digest = self.push(self.name, self.image)
        self.sign(self.name, digest)
        self.pulls(self.name)
        self.pulls(self.name, f"@{digest}")
        self.assertIn("Pull complete", self.docker("pull", f"{self.name}:1").stdout)
        self.is_intact()

    def test_not_signed(self):
        digest = self.push(self.name, self.image)
        why = f"is not signed: there is no {self.name}:{tag_of(digest)}"
        self.refused(self.name, f"prefix {self.address}/team", why)
        self.refused(self.name, why, tag=f"@{digest}")
        # Nor by a run, a create, or the engine's own API.
        self.assertIn(why, self.fails("run", "--rm", f"{self.name}:1", "true"))
        self.assertIn(why, self.daemon.api("POST", f"/images/create?fromImage={self.name}&tag=1")[1])
        self.assertIn(why, self.fails("pull", "--all-tags", self.name))
        self.sign(self.name, digest)
        self.pulls(self.name)

    def test_keys_of_each_kind(self):
        for key in ("ed", "rsa"):
            name = f"{self.address}/{key}/x"
            digest = self.push(name, self.image)
            self.refused(name, "is not signed")
            self.sign(name, digest, key="team")
            self.refused(name, "no signature is of a key that is trusted")
            self.sign(name, digest, key=key)
            self.pulls(name)

    def test_wrong_signatures(self):
        digest = self.push(self.name, self.image)
        other = "sha256:" + hashlib.sha256(b"other").hexdigest()
        good = self.payload(self.name, digest)
        self.sign(self.name, digest, key="other")
        self.refused(self.name, "no signature is of a key that is trusted")
        # What was signed, and what it says now.
        self.sign(self.name, digest, good, signature=self.signature(self.payload(self.name, other)))
        self.refused(self.name, "no signature is of a key that is trusted")
        self.sign(self.name, digest, good.replace(b'"optional": null', b'"optional": {}  '), signature=self.signature(good))
        self.refused(self.name, "no signature is of a key that is trusted")
        for payload, why in ((self.payload(self.name, other), f"it is about {other}"),
                             (self.payload(self.name, digest, image={"docker-manifest-digest": digest.upper()}), "it is about SHA256:"),
                             (self.payload(self.name, digest, type="atomic container signature"), 'it is about a "atomic container signature"'),
                             (self.payload(f"{self.address}/team/other", digest), f'it is about the repository "{self.address}/team/other"'),
                             (self.payload(self.name + "2", digest), "it is about the repository"),
                             (self.payload("", digest), 'it is about the repository ""'),
                             (self.payload("../team", digest), "invalid reference format"),
                             (b"not JSON", "not valid JSON"), (b"[" * 10_000, "not valid JSON")):
            self.sign(self.name, digest, payload)
            self.refused(self.name, why)
        for signature in ("", "%%%", "AAAA", base64.b64encode(bytes(64)).decode(), "A" * 20_000):
            self.sign(self.name, digest, good, signature=signature)
            self.refused(self.name, f"{self.name}@{digest} is refused: ")
        # A layer of another kind is no signature, whatever is noted on it.
        self.put_manifest(self.name, tag_of(digest), self.signatures(self.layer(good, self.signature(good), "text/plain")))
        self.refused(self.name, "it has no signature")
        # One that is right is enough, wherever it is.
        self.sign(self.name, digest, self.payload(self.name, other), b"nothing", good)
        self.pulls(self.name)

    def test_bounds(self):
        digest = self.push(self.name, self.image)
        padded = self.payload(self.name, digest)[:-1] + b', "x": "' + b"x" * (300 * KIB) + b'"}'
        self.sign(self.name, digest, padded)
        self.refused(self.name, "what is signed is larger than 262144 bytes")
        good = self.payload(self.name, digest)
        # The 101st signature is not looked at.
        wrong = self.payload(self.name, "sha256:" + "0" * 64)
        self.put_blob(self.name, good)
        self.put_blob(self.name, wrong)
        wrong, good = (self.layer(data, self.signature(data)) for data in (wrong, good))
        self.put_manifest(self.name, tag_of(digest), self.signatures(*[wrong] * 100, good))
        self.refused(self.name, "it is about sha256:" + "0" * 64)
        self.put_manifest(self.name, tag_of(digest), self.signatures(*[wrong] * 501, good))
        self.refused(self.name, "502 layers")
        self.put_manifest(self.name, tag_of(digest), self.signatures(good))
        self.pulls(self.name)

    def test_prefixes(self):
        self.push(self.name, self.image)
        for name in ("teams/x", "team2/x", "x", "tea/m", "team/free/x", "team/free"):
            self.push(f"{self.address}/{name}", self.image)
            self.pulls(f"{self.address}/{name}")
        self.refused(self.name)
        self.push(f"{self.address}/team", self.image)
        self.refused(f"{self.address}/team")
        self.push(f"{self.address}/no/x", self.image)
        self.refused(f"{self.address}/no/x", f"is refused by {POLICY} (prefix {self.address}/no)")
        # A name without an image there is told as ever.
        self.assertIn("manifest unknown", self.fails("pull", f"{self.address}/team/nobody:1"))
        # A host without a port is the host on each; all is what has no other rule.
        host = self.address.partition(":")[0]
        self.policy(f'[[policy]]\nprefix = "{host}"\nrequire = "refuse"\n[[policy]]\nprefix = "{self.address}/x"\nrequire = "nothing"\n')
        self.refused(self.name, f"is refused by {POLICY} (prefix {host})")
        self.pulls(f"{self.address}/x")
        self.policy('[[policy]]\nprefix = "*"\nrequire = "refuse"\n')
        self.refused(self.name, f"is refused by {POLICY} (prefix *)")

    def test_the_policy_is_read_again(self):
        digest = self.push(self.name, self.image)
        self.refused(self.name, "is not signed")
        self.policy("")
        self.pulls(self.name)
        self.policy(self.rules().replace("team.pub", "other.pub"))
        self.sign(self.name, digest)
        self.refused(self.name, "no signature is of a key that is trusted")
        # A file that is wrong changes nothing, and the log says where it is.
        for text, why in (("[[policy]]\nprefix = 1\n", "signatures.toml:"), ('[[policy]]\nprefix = "*"\nrequire = "signature"\nkeys = ["/etc/passwd"]\n', "/etc/passwd: not a public key in PEM"),
                          ('[[policy]]\nprefix = "*"\nrequire = "signature"\nkeys = ["/etc/grua/keys/none.pub"]\n', "/etc/grua/keys/none.pub")):
            self.policy(text)
            wait_until("the log names the place", lambda: why in self.daemon.tail())
            self.refused(self.name, "no signature is of a key that is trusted")
        self.policy()
        self.pulls(self.name)

    def test_an_index(self):
        other = double.Image([10 * KIB], seed=2, architecture="arm64")
        for image in (self.image, other):
            for data in image.blobs.values():
                self.put_blob(self.name, data)
            self.put_manifest(self.name, image.digest, image.manifest)
        index = json.dumps({"schemaVersion": 2, "mediaType": double.OCI_INDEX, "manifests": [
            {"mediaType": double.OCI_MANIFEST, "digest": each.digest, "size": len(each.manifest), "platform": each.platform} for each in (self.image, other)]}).encode()
        digest = double.digest_of(index)
        self.put_manifest(self.name, "1", index, double.OCI_INDEX)
        # A signature of what is in it is none of the index.
        self.sign(self.name, self.image.digest)
        self.refused(self.name, f"is not signed: there is no {self.name}:{tag_of(digest)}")
        self.sign(self.name, digest)
        self.pulls(self.name)
        self.docker("pull", "-q", "--platform", "linux/arm64", f"{self.name}:1")
        self.docker("rmi", "-f", f"{self.name}:1")
        self.pulls(self.name, f"@{digest}")
        self.pulls(self.name, f"@{self.image.digest}")
        self.refused(self.name, "is not signed", tag=f"@{other.digest}")

    def test_a_manifest_as_its_own_signature(self):
        """An image whose tag is that of another's signature signs nothing; one whose tag moved is another image."""
        digest = self.push(self.name, self.image)
        self.push(self.name, self.image, tag_of(digest))
        self.refused(self.name, "it has no signature")
        self.sign(self.name, digest)
        self.pulls(self.name)
        moved = self.push(self.name, double.Image([7 * KIB], seed=7))
        self.refused(self.name, f"there is no {self.name}:{tag_of(moved)}")

    def test_a_mirror_weakens_nothing(self):
        origin, mirror = (self.host(double.Double, f"127.0.0.{at}", 5000) for at in (31, 32))
        name = "origin.example:5000/x"
        evil = double.Image([30 * KIB], seed="evil")
        keep = lambda host, digest, *layers: host.manifests.__setitem__(("x", tag_of(digest)), (double.OCI_MANIFEST, self.signatures(*layers)))

        def signed(host, digest, key="team", of=None):
            data = self.payload(name, of or digest)
            host.blobs[double.digest_of(data)] = data
            keep(host, digest, self.layer(data, self.signature(data, key)))

        origin.add("x", "1", self.image)
        signed(origin, self.image.digest)
        mirror.add("x", "1", evil)
        self.refused(name, "is not signed")
        signed(mirror, evil.digest, key="other")
        self.refused(name, "no signature is of a key that is trusted")
        signed(mirror, evil.digest, of=self.image.digest)
        self.refused(name, f"it is about {self.image.digest}")
        # It has the image and no signature: the registry's is taken, and nothing but the image comes from the mirror.
        mirror.manifests.clear()
        mirror.add("x", "1", self.image)
        origin.requests.clear()
        self.pulls(name)
        self.assertEqual([path for path in origin.asked("/blobs/") if path.rpartition("/")[2] in self.image.blobs], [])
        self.assertTrue(origin.asked(tag_of(self.image.digest)))
        # Documents under a digest that is not theirs.
        mirror.manifests["x", self.image.digest] = (double.OCI_MANIFEST, evil.manifest)
        mirror.manifests.pop(("x", "1"))
        self.docker("pull", "-q", f"{name}@{self.image.digest}")
        self.assertEqual(self.out("inspect", "-f", "{{.Id}}", f"{name}@{self.image.digest}"), self.image.digest)

    def test_an_answer_without_end(self):
        origin = self.host(double.Double, "127.0.0.31", 5000)
        origin.add("x", "1", self.image)

        def endless(handler, kind, name):
            if not name.endswith(".sig"):
                return False
            handler.send_response(200)
            handler.end_headers()
            try:
                for _ in range(1000):
                    handler.wfile.write(b" " * 65536)
            except OSError:
                pass
            double.end(handler)
            return True

        origin.fault = endless
        self.refused("origin.example:5000/x", "the answer is larger than 4194304 bytes")


if __name__ == "__main__":
    unittest.main()
