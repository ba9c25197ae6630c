"""Caches of builds that travel: between two daemons through a registry, a folder and an image; and what of images goes elsewhere without an archive."""

import hashlib
import json
import os
import pathlib
import shutil
import tempfile
import unittest

from build_test import Folder
from harness import CACHE, DOCKER, ENV, Daemon, run

CLIENTS = CACHE / "clients"

DOCKERFILE = """FROM {registry}/base
COPY a.txt /a.txt
RUN head -c 9 /dev/urandom | base64 > /r
RUN true
RUN cat /a.txt >> /r
CMD cat /r
"""
STAGES = """FROM {registry}/base AS one
RUN head -c 9 /dev/urandom | base64 > /one
FROM {registry}/base
COPY a.txt /a.txt
COPY --from=one /one /two
"""


class CachesThatTravel(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.first = Daemon()
        cls.addClassCleanup(cls.first.close)
        cls.registries = cls.first.root / "registry"
        cls.registry = cls.start_registry(cls.first, cls.registries)
        cls.first.docker("tag", "busybox", f"{cls.registry}/base")
        cls.first.docker("push", "-q", f"{cls.registry}/base")

    @classmethod
    def start_registry(cls, daemon, folder, *options):
        address = daemon.in_netns(ENV / "registry.sh", "start", folder, *options, timeout=180).stdout.strip().splitlines()[-1]
        cls.addClassCleanup(lambda: daemon.in_netns(ENV / "registry.sh", "stop", folder, check=False))
        return address

    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="grua-caches-", dir="/var/tmp"))
        self.addCleanup(shutil.rmtree, self.work, ignore_errors=True)
        self.name = self.id().rsplit(".", 1)[1].replace("_", "-")

    def another(self):
        """One that has nothing, and reaches the same registry: the second one serves the same folder at the same address in its network."""
        daemon = Daemon(image=False)
        self.addCleanup(daemon.close)
        folder = daemon.root / "registry"
        folder.mkdir()
        (folder / "data").symlink_to(self.registries / "data")
        daemon.in_netns(ENV / "registry.sh", "start", folder, "--port", self.registry.rpartition(":")[2], timeout=180)
        self.addCleanup(lambda: daemon.in_netns(ENV / "registry.sh", "stop", folder, check=False))
        return daemon

    def build(self, daemon, *words, dockerfile=DOCKERFILE, files=None, check=True):
        """What the client says, and the image's digest."""
        about = self.work / "about.json"
        about.unlink(missing_ok=True)
        with Folder({"Dockerfile": dockerfile.format(registry=self.registry), "a.txt": "a\n", **(files or {})}) as folder:
            done = daemon.docker("buildx", "build", "--progress", "plain", "--provenance=false", "--metadata-file", str(about), *words,
                                 str(folder.path), check=check, timeout=120)
        digest = json.loads(about.read_text()).get("containerimage.digest") if about.exists() else None
        return done.stdout + done.stderr, digest

    def run_made(self, daemon, tag, *words):
        return daemon.docker("run", "--rm", "--network", "none", tag, *words).stdout

    def assert_same(self, cache_to, cache_from, cached=5, dockerfile=DOCKERFILE):
        """What one daemon exports another finds, and makes the same image of."""
        _, made = self.build(self.first, "-t", self.name, "--cache-to", cache_to, dockerfile=dockerfile)
        other = self.another()
        said, found = self.build(other, "-t", self.name, "--cache-from", cache_from, dockerfile=dockerfile)
        self.assertEqual(said.count(" CACHED\n"), cached, said)
        self.assertEqual(found, made, said)
        return other, said

    def test_through_a_registry(self):
        for number, form in enumerate(("mode=max", "mode=min", "mode=max,image-manifest=false", "mode=max,oci-mediatypes=false", "mode=max,compression=zstd")):
            with self.subTest(form):
                ref = f"type=registry,ref={self.registry}/cache:{number}"
                if "zstd" in form:
                    # The image is packed otherwise there: its files are the same, and not its digest.
                    self.build(self.first, "-t", self.name, "--cache-to", f"{ref},{form}")
                    other = self.another()
                    said, _ = self.build(other, "-t", self.name, "--cache-from", ref)
                    self.assertEqual(said.count(" CACHED\n"), 5, said)
                else:
                    other, said = self.assert_same(f"{ref},{form}", ref)
                self.assertIn("importing cache manifest from", said)
                self.assertEqual(self.run_made(other, self.name), self.run_made(self.first, self.name))
                # It is known there from now on.
                said, _ = self.build(other, "-t", "again")
                self.assertEqual(said.count(" CACHED\n"), 5, said)

    def test_through_a_folder(self):
        for form in ("mode=max", "mode=min,image-manifest=false"):
            with self.subTest(form):
                folder = self.work / form.replace(",", "-")
                other, _ = self.assert_same(f"type=local,dest={folder},{form}", f"type=local,src={folder}")
                self.assertEqual(self.run_made(other, self.name), self.run_made(self.first, self.name))

    def test_within_an_image(self):
        for words in (("--cache-to", "type=inline"), ("--build-arg", "BUILDKIT_INLINE_CACHE=1")):
            with self.subTest(words[0]):
                image = f"{self.registry}/app:{len(words[0])}"
                _, made = self.build(self.first, "-t", image, "--push", *words)
                other = self.another()
                said, found = self.build(other, "-t", self.name, "--cache-from", image, *words)
                self.assertEqual(said.count(" CACHED\n"), 5, said)
                self.assertEqual(found, made)
                self.assertEqual(self.run_made(other, self.name), self.run_made(self.first, image))
        # An image without one is none that fails.
        said, _ = self.build(self.another(), "-t", self.name, "--cache-from", f"{self.registry}/base")
        self.assertNotIn("CACHED", said)

    def test_stages_that_are_not_in_the_image(self):
        least, most = (f"type=registry,ref={self.registry}/stages:{each}" for each in ("min", "max"))
        self.build(self.first, "-t", self.name, "--cache-to", f"{least},mode=min", "--cache-to", f"{most},mode=max", dockerfile=STAGES)
        # The file of the context is another one: what comes before is not looked for by the whole graph.
        changed = {"a.txt": "b\n"}
        other = self.another()
        said, _ = self.build(other, "-t", self.name, "--cache-from", most, dockerfile=STAGES, files=changed)
        self.assertEqual(self.run_made(other, self.name, "cat", "/two"), self.run_made(self.first, self.name, "cat", "/two"), said)
        other = self.another()
        said, _ = self.build(other, "-t", self.name, "--cache-from", least, dockerfile=STAGES, files=changed)
        self.assertNotIn("CACHED [one 2/2]", said.replace("\n", " "))
        self.assertNotEqual(self.run_made(other, self.name, "cat", "/two"), self.run_made(self.first, self.name, "cat", "/two"), said)

    def test_a_step_on_what_was_found(self):
        ref = f"type=registry,ref={self.registry}/more:1"
        self.build(self.first, "-t", self.name, "--cache-to", f"{ref},mode=max")
        other = self.another()
        said, _ = self.build(other, "-t", self.name, "--cache-from", ref, "--cache-to", f"type=registry,ref={self.registry}/more:2,mode=max",
                             dockerfile=DOCKERFILE + "RUN echo more >> /r\n")
        self.assertIn("RUN echo more", said)
        self.assertEqual(self.run_made(other, self.name), self.run_made(self.first, self.name) + "more\n")
        # What was imported is exported again with what is new.
        third = self.another()
        said, _ = self.build(third, "-t", self.name, "--cache-from", f"type=registry,ref={self.registry}/more:2", dockerfile=DOCKERFILE + "RUN echo more >> /r\n")
        self.assertEqual(said.count(" CACHED\n"), 6, said)
        self.assertEqual(self.run_made(third, self.name), self.run_made(other, self.name))

    def test_nothing_comes_that_nobody_needs(self):
        folder = self.work / "cache"
        self.build(self.first, "-t", self.name, "--cache-to", f"type=local,dest={folder},mode=max")
        manifest = json.loads((folder / "index.json").read_text())["manifests"][0]["digest"]
        layers = [each["digest"] for each in json.loads((folder / "blobs" / manifest.replace(":", "/")).read_text())["layers"]]
        for each in layers:
            (folder / "blobs" / each.replace(":", "/")).unlink()
        other = self.another()
        said, _ = self.build(other, "--output", "type=cacheonly", "--cache-from", f"type=local,src={folder}")
        self.assertEqual(said.count(" CACHED\n"), 5, said)
        # An image needs them: what is not there is made after all.
        self.build(other, "-t", self.name, "--cache-from", f"type=local,src={folder}")
        self.assertNotEqual(self.run_made(other, self.name), self.run_made(self.first, self.name))

    def test_a_damaged_blob_is_no_blob(self):
        folder = self.work / "cache"
        self.build(self.first, "-t", self.name, "--cache-to", f"type=local,dest={folder},mode=max")
        manifest = json.loads((folder / "index.json").read_text())["manifests"][0]["digest"]
        for each in json.loads((folder / "blobs" / manifest.replace(":", "/")).read_text())["layers"]:
            path = folder / "blobs" / each["digest"].replace(":", "/")
            path.chmod(0o600)
            path.write_bytes(bytes(path.stat().st_size))
        other = self.another()
        self.build(other, "-t", self.name, "--cache-from", f"type=local,src={folder}")
        self.assertTrue(self.run_made(other, self.name).endswith("a\n"))

    def test_a_cache_that_is_none_fails_nothing(self):
        def cache(name, config, layers=()):
            """A folder with this as its cache."""
            folder = self.work / name
            (folder / "blobs/sha256").mkdir(parents=True)

            def put(text):
                text = text if isinstance(text, bytes) else json.dumps(text).encode()
                digest = hashlib.sha256(text).hexdigest()
                (folder / "blobs/sha256" / digest).write_bytes(text)
                return {"digest": f"sha256:{digest}", "size": len(text)}

            manifest = put({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": list(layers),
                            "config": {"mediaType": "application/vnd.buildkit.cacheconfig.v0", **put(config)}})
            (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [
                {"mediaType": "application/vnd.oci.image.manifest.v1+json", "annotations": {"org.opencontainers.image.ref.name": "latest"}, **manifest}]}))
            (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
            return f"type=local,src={folder}"

        digest = "sha256:" + "a" * 64
        for name, config in (("garbage", b"\x00\xff{"), ("layer-loop", {"layers": [{"blob": digest}]}),
                             ("record-loop", {"records": [{"digest": digest, "inputs": [[{"link": 0}]]}]}),
                             ("far", {"records": [{"digest": digest, "layers": [{"layer": 9}]}]}), ("large", b" " * (5 << 20))):
            with self.subTest(name):
                said, _ = self.build(self.first, "-t", self.name, "--no-cache", "--cache-from", cache(name, config))
                self.assertIn("ERROR: ", said)
                self.assertIn("cache", said)
        said, _ = self.build(self.first, "-t", self.name, "--no-cache", "--cache-from", f"type=registry,ref={self.registry}/not-there")
        self.assertIn("importing cache manifest from", said)

    def test_caches_of_others_are_refused_by_name(self):
        # buildx asks for others only where it knows an account of theirs.
        other = "type=azblob,account_url=https://a.example/,secret_access_key=s"
        for flag in ("--cache-to", "--cache-from"):
            said, _ = self.build(self.first, "-t", self.name, flag, other, check=False)
            self.assertIn("not implemented: cache type azblob", said)

    def test_an_export_that_fails(self):
        nowhere = "type=registry,ref=127.0.0.1:9/cache"
        said, _ = self.build(self.first, "-t", self.name, "--cache-to", nowhere, check=False)
        self.assertIn("ERROR: failed to build", said)
        said, made = self.build(self.first, "-t", self.name, "--cache-to", f"{nowhere},ignore-error=true")
        self.assertIn("exporting cache to registry", said)
        self.assertTrue(made)

    def test_cache_mounts_travel(self):
        dockerfile = ("FROM {registry}/base\nRUN --mount=type=cache,id=travels,target=/c --mount=type=cache,id=stays,target=/d "
                      "echo $RANDOM >> /c/f; echo x >> /d/f; chmod 700 /c; cat /c/f > /out; wc -l < /d/f >> /out\n")
        folder = self.work / "cache"
        self.build(self.first, "-t", self.name, "--cache-to", f'type=local,dest={folder},"mounts=travels,none"', dockerfile=dockerfile)
        first = self.run_made(self.first, self.name, "cat", "/out").split()
        other = self.another()
        self.build(other, "-t", self.name, "--no-cache", "--cache-from", f"type=local,src={folder}", dockerfile=dockerfile)
        second = self.run_made(other, self.name, "cat", "/out").split()
        self.assertEqual(second[0], first[0])
        self.assertEqual((len(second), second[-1]), (3, "1"))
        # What is there is not taken for another's.
        self.build(other, "-t", self.name, "--no-cache", "--cache-from", f"type=local,src={folder}", dockerfile=dockerfile)
        self.assertEqual(len(self.run_made(other, self.name, "cat", "/out").split()), 4)

    def test_what_was_imported_outlives_the_daemon_and_goes_with_prune(self):
        folder = self.work / "cache"
        _, made = self.build(self.first, "-t", self.name, "--cache-to", f"type=local,dest={folder},mode=max")
        other = self.another()
        self.build(other, "-t", self.name, "--cache-from", f"type=local,src={folder}")
        shutil.rmtree(folder)
        other.docker("rmi", self.name)
        other.stop()
        other.start()
        said, again = self.build(other, "-t", self.name)
        self.assertEqual(said.count(" CACHED\n"), 5, said)
        self.assertEqual(again, made)
        other.docker("rmi", self.name)
        other.docker("builder", "prune", "-af")
        self.assertEqual([each for each in os.listdir(other.root / "data/content/blobs/sha256")], [])

    def test_caches_of_dockers_buildkit(self):
        """It reads ours, and we read its; neither knows the other's keys, and nothing fails."""
        run(ENV / "clients.sh", CLIENTS, "dockerd", timeout=600)
        ours = f"type=registry,ref={self.registry}/ours:1"
        self.build(self.first, "-t", f"{self.registry}/ours:inline", "--push", "--cache-to", f"{ours},mode=max", "--cache-to", "type=inline")
        there = self.another()
        peer = self.work / "peer"
        socket = there.in_netns(ENV / "peers.sh", "start", "dockerd", peer, "--host-net", "--", "--feature", "containerd-snapshotter=true",
                                timeout=120).stdout.strip().splitlines()[-1]
        self.addCleanup(lambda: there.in_netns(ENV / "peers.sh", "stop", "dockerd", peer, check=False))

        class Docker:
            def docker(self, *words, **more):
                return run(DOCKER, *words, env={**there.environment(), "DOCKER_HOST": f"unix://{socket}"}, **more)

        theirs = f"type=registry,ref={self.registry}/theirs:1"
        said, _ = self.build(Docker(), "-t", f"{self.registry}/theirs:inline", "--push", "--cache-from", ours, "--cache-from", f"{self.registry}/ours:inline",
                             "--cache-to", f"{theirs},mode=max", "--cache-to", "type=inline")
        self.assertIn("importing cache manifest from", said)
        self.assertNotIn("ERROR", said)
        said, _ = self.build(self.another(), "-t", self.name, "--cache-from", theirs, "--cache-from", f"{self.registry}/theirs:inline")
        self.assertIn("importing cache manifest from", said)
        self.assertNotIn("ERROR", said)
        self.assertNotIn("CACHED", said)

    # --- images that go elsewhere -----------------------------------------------------------------------------------

    def test_push_by_digest(self):
        # buildx refuses to ask for it, other clients do not.
        name = f"{self.registry}/by-digest"

        def push(to):
            with Folder({"Dockerfile": f"FROM {self.registry}/base\nRUN echo by digest > /x\n"}) as folder:
                done = self.first.grua("build", "--provenance=false", "--output", f"type=image,name={to},push-by-digest=true,push=true", str(folder.path), check=False)
                return done.returncode, done.stdout + done.stderr

        status, said = push(name)
        self.assertEqual(status, 0, said)
        self.assertIn("not found", self.first.docker("pull", name, check=False).stderr.replace("manifest unknown", "not found"))
        digest = next(line.split()[2] for line in self.first.docker("images", "--digests").stdout.splitlines() if line.startswith(name))
        self.first.docker("rmi", f"{name}@{digest}")
        self.first.docker("pull", "-q", f"{name}@{digest}")
        status, said = push(f"{name}:1")
        self.assertEqual(status, 1)
        self.assertIn("can't push tagged ref", said)

    def test_push_without_a_copy_here(self):
        name = f"{self.registry}/elsewhere:1"
        _, digest = self.build(self.first, "--output", f"type=image,name={name},push=true,store=false", dockerfile=DOCKERFILE + "RUN echo elsewhere\n")
        self.assertNotIn("elsewhere", self.first.docker("images", "-a", "--digests").stdout)
        self.first.docker("pull", "-q", name)
        self.assertIn(digest, self.first.docker("images", "--digests").stdout)

    def test_a_layout_without_an_archive(self):
        folder = self.work / "layout"
        _, digest = self.build(self.first, "--output", f"type=oci,dest={folder},tar=false")
        self.assertEqual(json.loads((folder / "index.json").read_text())["manifests"][0]["digest"], digest)
        pending = [digest]
        while pending:
            blob = (folder / "blobs" / pending.pop().replace(":", "/")).read_bytes()
            if blob[:1] == b"{":
                document = json.loads(blob)
                pending += [each["digest"] for each in [*document.get("layers", []), *document.get("manifests", []), *([document["config"]] if "digest" in document.get("config", {}) else [])]]


if __name__ == "__main__":
    unittest.main()
