"""Each command of Docker's own clients that has to do with builds, as people type it: docker build's ways to show and to store, buildx's other
commands, bake, compose. What build_test and classic_build_test have is not here."""

import contextlib
import io
import hashlib
import json
import os
import pathlib
import re
import subprocess
import tarfile
import tempfile
import unittest

from build_test import Folder
from harness import BIN, CACHE, DOCKER, ENV, Case, Terminal, run, wait_until

CLIENTS = CACHE / "clients"


class Clients(Case):
    """A registry in the network namespace of gruad, for those that need one: `self.registry`."""

    def build(self, files, *words, **more):
        """What `docker build` of these files says."""
        with Folder(files) as folder:
            done = self.docker("build", *([] if "-q" in words else ["--progress", "plain"]), *words, str(folder.path), **more)
            return done.stdout + done.stderr

    def buildx(self, *words, **more):
        return self.docker("buildx", *words, **more)

    def run_made(self, *words, tag="made"):
        return self.out("run", "--rm", "--network", "none", tag, *words)

    def in_netns(self, *words, **more):
        """Docker's CLI where gruad's loopback is, for what it asks a registry itself."""
        return self.daemon.in_netns(DOCKER, *words, env=self.daemon.environment(), **more)

    def start_registry(self):
        folder = self.daemon.root / "registry"
        address = self.daemon.in_netns(ENV / "registry.sh", "start", folder, timeout=180).stdout.strip()
        self.addCleanup(run, ENV / "registry.sh", "stop", folder)
        return address


SMALL = {"Dockerfile": "FROM busybox\nCOPY a.txt /a.txt\nRUN cat /a.txt > /b.txt\nCMD cat /b.txt\n", "a.txt": "hello\n"}


class WhatABuildShows(Clients):
    def test_raw_json(self):
        with Folder(SMALL) as folder:
            done = self.docker("build", "--progress", "rawjson", str(folder.path))
        lines = [json.loads(line) for line in done.stderr.splitlines()]
        names = {vertex["name"] for line in lines for vertex in line.get("vertexes", [])}
        self.assertIn("[2/3] COPY a.txt /a.txt", names)
        self.assertIn("exporting to image", names)

    def test_a_terminal(self):
        with Folder(SMALL) as folder:
            terminal = Terminal([DOCKER, "build", "--no-cache", "-t", "made", str(folder.path)], self.daemon.environment(), columns=120)
            terminal.expect(r"\[\+\] Building", 60)
            terminal.expect(r"FINISHED", 60)
            self.assertEqual(terminal.wait(30), 0)
        self.assertEqual(self.run_made(), "hello")

    def test_the_id_and_the_metadata_in_files(self):
        with tempfile.TemporaryDirectory() as out:
            self.build(SMALL, "-t", "made", "--iidfile", f"{out}/id", "--metadata-file", f"{out}/metadata")
            image = self.daemon.inspect("made")["Id"]
            self.assertEqual(pathlib.Path(out, "id").read_text(), image)
            told = json.loads(pathlib.Path(out, "metadata").read_text())
        self.assertEqual(told["image.name"], "docker.io/library/made:latest")
        self.assertEqual(told["containerimage.digest"], told["containerimage.descriptor"]["digest"])
        self.assertRegex(told["buildx.build.ref"], "^default/default/[a-z0-9]{25}$")
        self.assertIn("buildx.build.provenance", told)

    def test_what_a_dockerfile_is_and_what_is_wrong_with_it(self):
        files = {"Dockerfile": "ARG version=1 \nFROM busybox as base\n# a stage\nFROM base AS last\nARG word=x\nRUN echo $word\nCMD echo shell\n"}
        with Folder(files) as folder:
            checked = self.docker("build", "--check", str(folder.path), check=False)
            self.assertEqual(checked.returncode, 1)
            self.assertIn("FromAsCasing", checked.stdout)
            self.assertIn("JSONArgsRecommended", checked.stdout)
            self.assertIn("Check complete, 2 warnings have been found!", checked.stdout + checked.stderr)
            outline = self.docker("build", "--call", "outline", str(folder.path)).stdout
            self.assertRegex(outline, r"TARGET:\s+last")
            self.assertRegex(outline, r"word\s+x")
            targets = json.loads(self.docker("build", "--call", "targets,format=json", str(folder.path)).stdout)
            self.assertEqual([each["name"] for each in targets["targets"]], ["base", "last"])
            self.assertTrue(targets["targets"][1]["default"])
            self.assertEqual(json.loads(self.docker("build", "--call", "check,format=json", str(folder.path), check=False).stdout)["warnings"][0]["ruleName"],
                             "FromAsCasing")
        good = self.build({"Dockerfile": "FROM busybox\n"}, "--check")
        self.assertIn("Check complete, no warnings found.", good)


class WhereABuildGoes(Clients):
    def test_load(self):
        self.build(SMALL, "--load", "-t", "made")
        self.assertEqual(self.run_made(), "hello")

    def test_push_to_a_registry(self):
        address = self.start_registry()
        said = self.build(SMALL, "--push", "-t", f"{address}/pushed:1")
        self.assertIn(f"pushing manifest for {address}/pushed:1", said)
        self.docker("rmi", f"{address}/pushed:1", check=False)
        self.assertEqual(self.out("run", "--rm", "--network", "none", f"{address}/pushed:1"), "hello")

    def test_files_and_archives(self):
        files = {"Dockerfile": "FROM scratch\nCOPY a.txt d/\nENV A=b\n", "d/a.txt": "", "a.txt": "hello\n"}
        with tempfile.TemporaryDirectory(dir="/var/tmp") as out:
            self.build(files, "--output", f"{out}/folder")
            self.assertEqual(pathlib.Path(out, "folder/d/a.txt").read_text(), "hello\n")
            self.build(files, "--output", f"type=tar,dest={out}/files.tar")
            with tarfile.open(f"{out}/files.tar") as tar:
                self.assertEqual(tar.extractfile("d/a.txt").read(), b"hello\n")
            with Folder(files) as folder:
                piped = subprocess.run([DOCKER, "build", "-q", "-o", "-", str(folder.path)], env=self.daemon.environment(), stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, check=True)
            with tarfile.open(fileobj=io.BytesIO(piped.stdout)) as tar:
                self.assertEqual(tar.extractfile("d/a.txt").read(), b"hello\n")
            self.build(files, "--output", f"type=oci,dest={out}/oci.tar", "-t", "archived")
            with tarfile.open(f"{out}/oci.tar") as tar:
                index = json.load(tar.extractfile("index.json"))
                self.assertEqual(index["manifests"][0]["annotations"]["io.containerd.image.name"], "docker.io/library/archived:latest")
            self.build(files, "--output", f"type=docker,dest={out}/docker.tar", "-t", "archived:2")
            self.docker("rmi", "archived:2", check=False)
            self.assertIn("Loaded image: archived:2", self.out("load", "-i", f"{out}/docker.tar"))
            self.assertIn("A=b", self.daemon.inspect("archived:2")["Config"]["Env"])
            # Two at once, of one build.
            self.build(files, "-o", f"type=local,dest={out}/one", "-o", "type=image,name=two")
            self.assertTrue(pathlib.Path(out, "one/d/a.txt").exists())
            self.assertIn("A=b", self.daemon.inspect("two")["Config"]["Env"])


class Builders(Clients):
    def test_the_engine_is_a_builder(self):
        self.assertRegex(self.buildx("ls").stdout, r"default\*?\s+docker\s*\n.*default\s+.*default\s+running\s+v\d+\.\d+\.\d+")
        listed = [json.loads(line) for line in self.buildx("ls", "--format", "json").stdout.splitlines()]
        self.assertEqual([(each["Driver"], each["Nodes"][0]["Status"]) for each in listed if each["Name"] == "default"], [("docker", "running")])
        for words in ((), ("default",), ("--bootstrap", "default")):
            said = self.buildx("inspect", *words).stdout
            self.assertRegex(said, r"Driver:\s+docker\n")
            self.assertRegex(said, r"Status:\s+running\n")
            self.assertRegex(said, r"BuildKit version:\s+v\d+\.\d+")
            self.assertRegex(said, r"Platforms:\s+linux/amd64")
        self.assertIn("github.com/docker/buildx", self.buildx("version").stdout)

    def test_the_engine_as_a_remote_builder(self):
        self.buildx("create", "--name", "far", "--driver", "remote", f"unix://{self.daemon.socket}")
        self.addCleanup(self.buildx, "rm", "far", check=False)
        self.assertRegex(self.buildx("inspect", "--bootstrap", "far").stdout, r"Status:\s+running\n")
        with tempfile.TemporaryDirectory(dir="/var/tmp") as out:
            self.build({"Dockerfile": "FROM scratch\nCOPY a /\n", "a": "x"}, "--builder", "far", "-o", out)
            self.assertEqual(pathlib.Path(out, "a").read_text(), "x")

    def test_a_builder_in_a_container_is_looked_for_here(self):
        self.buildx("create", "--name", "boxed", "--driver", "docker-container")
        self.addCleanup(self.buildx, "rm", "boxed", check=False)
        self.assertRegex(self.buildx("inspect", "boxed").stdout, r"Status:\s+inactive\n")
        self.buildx("stop", "boxed")

    def test_dial_stdio(self):
        """What it carries is HTTP/2 of the engine's builder: its answer to a client's preface and empty SETTINGS are its own SETTINGS."""
        dial = subprocess.Popen([DOCKER, "buildx", "dial-stdio"], env=self.daemon.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)
        try:
            dial.stdin.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
            dial.stdin.flush()
            head = dial.stdout.read(9)
            self.assertEqual(head[3:5], b"\4\0", head)
        finally:
            dial.kill()
            dial.communicate()


class Cache(Clients):
    def entries(self, *words):
        return [json.loads(line) for line in self.buildx("du", "--format", "json", *words).stdout.splitlines()]

    def setUp(self):
        self.docker("builder", "prune", "-af")
        self.build({"Dockerfile": "FROM busybox\nRUN head -c 3000000 /dev/urandom > /first\nRUN head -c 2000000 /dev/urandom > /second\n"
                                  "RUN --mount=type=cache,target=/c,id=kept echo x > /c/x\n"}, "-q", "-o", "type=cacheonly")

    def test_du(self):
        said = self.buildx("du").stdout
        self.assertRegex(said, r"Reclaimable:\s+\d[\d.]*M?B")
        self.assertRegex(said, r"Total:\s+\d[\d.]*M?B")
        verbose = self.buildx("du", "--verbose").stdout
        self.assertRegex(verbose, r"Description: .*RUN head -c 3000000")
        # Each is what it says on a line of its own.
        self.assertRegex(verbose, r"(?m)^Description:\s+local source for context$")
        self.assertRegex(verbose, r"Type:\s+exec.cachemount")
        entries = self.entries()
        first = next(each for each in entries if "/first" in each["Description"])
        self.assertEqual([each["ID"] for each in self.entries("--filter", f"id={first['ID']}")], [first["ID"]])
        self.assertTrue(all(each["Type"] == "exec.cachemount" for each in self.entries("--filter", "type=exec.cachemount")))
        self.assertEqual(len(self.entries("--filter", "type=exec.cachemount")), 1)
        self.assertEqual(self.entries("--filter", "description~=nothing"), [])

    def test_prune_of_what_a_filter_names(self):
        before = self.entries()
        said = self.buildx("prune", "-f", "--filter", "type=exec.cachemount").stdout
        self.assertRegex(said, r"Total:\s+\d")
        self.assertEqual({each["ID"] for each in before} - {each["ID"] for each in self.entries()},
                         {each["ID"] for each in before if each["Type"] == "exec.cachemount"})
        self.buildx("prune", "-f", "--filter", "until=1h")
        self.assertEqual(len(self.entries()), len(before) - 1)
        self.assertRegex(self.buildx("prune", "-f", "--verbose").stdout, r"Description:.*head -c 2000000")

    def test_prune_by_sizes(self):
        def has(what):
            return any(what in each["Description"] for each in self.entries())
        self.buildx("prune", "-f", "--max-used-space", "100mb")
        self.assertTrue(has("/first") and has("/second"))
        self.buildx("prune", "-f", "--reserved-space", "100mb")
        self.assertTrue(has("/first") and has("/second"))
        self.buildx("prune", "-f", "--min-free-space", "1kb")
        self.assertTrue(has("/first") and has("/second"))
        # The step that stands on the other goes first.
        self.buildx("prune", "-f", "-a", "--max-used-space", "4mb")
        self.assertFalse(has("/second"))
        self.buildx("prune", "-f", "-a", "--min-free-space", "1000000gb")
        self.assertFalse(has("/first"))

    def test_the_older_words(self):
        self.docker("builder", "prune", "-f", "--keep-storage", "100mb")
        self.assertGreater(len(self.entries()), 1)
        said = self.docker("system", "df", "-v").stdout
        self.assertIn("Build cache usage: ", said)
        self.assertRegex(said, r"exec\.cachemount|regular")
        self.assertRegex(self.out("system", "df", "--format", "{{.Type}}={{.TotalCount}}"), r"Build Cache=[1-9]")
        self.docker("builder", "prune", "-af")
        self.assertEqual(self.entries(), [])

    def test_without_the_plugin(self):
        """`docker builder prune` of a CLI that has no buildx asks the engine's API."""
        with tempfile.TemporaryDirectory() as config:
            environment = {**self.daemon.environment(), "DOCKER_CONFIG": config, "DOCKER_BUILDKIT": "0"}
            said = run(DOCKER, "builder", "prune", "-af", env=environment).stdout
        self.assertRegex(said, r"Total( reclaimed space)?:\s+\d")
        self.assertEqual(self.entries(), [])


class History(Clients):
    def setUp(self):
        self.buildx("history", "rm", "--all")
        with Folder({"Dockerfile": "# a comment\nFROM busybox AS one\nARG word\nRUN echo said $word\nRUN --mount=type=secret,id=s true\n"}) as folder:
            folder.write("secret", "hidden")
            self.docker("build", "-q", "-t", "recorded", "--no-cache", "--build-arg", "word=this", "--secret", f"id=s,src={folder.path}/secret",
                        "--attest", "type=provenance,mode=max", str(folder.path))
            folder.write("Dockerfile", "FROM busybox\nRUN echo before; exit 5\n")
            self.docker("build", "-q", str(folder.path), check=False)
        self.records = [json.loads(line) for line in self.buildx("history", "ls", "--format", "json").stdout.splitlines()]
        self.good = next(each["ref"] for each in self.records if each["status"] == "Completed").rpartition("/")[2]
        self.bad = next(each["ref"] for each in self.records if each["status"] == "Error").rpartition("/")[2]

    def test_ls(self):
        self.assertEqual(len(self.records), 2)
        self.assertRegex(self.buildx("history", "ls").stdout, rf"(?m)^{self.bad}\s+.*\s+Error\s")
        self.assertEqual({each["total_steps"] > 0 for each in self.records}, {True})
        listed = self.buildx("history", "ls", "--format", "json", "--filter", "status=error").stdout.splitlines()
        self.assertEqual([json.loads(line)["ref"].rpartition("/")[2] for line in listed], [self.bad])
        listed = self.buildx("history", "ls", "--format", "json", "--filter", f"ref={self.good}").stdout.splitlines()
        self.assertEqual(len(listed), 1)
        self.assertEqual(self.buildx("history", "ls", "--format", "json", "--filter", "startedAt<1h").stdout, "")
        self.assertEqual(len(self.buildx("history", "ls", "--format", "json", "--filter", "startedAt>1h").stdout.splitlines()), 2)

    def test_inspect(self):
        said = self.buildx("history", "inspect", self.good).stdout
        self.assertNotIn("Status:", said)
        self.assertRegex(said, r"Build Steps:\s+(\d+)/\1 ")
        self.assertRegex(said, r"Duration:\s+\d")
        self.assertRegex(said, r"(?m)^BUILD ARG\s+VALUE\nword\s+this")
        self.assertIn("pkg:docker/busybox@latest", said)
        self.assertIn("application/vnd.oci.image.manifest.v1+json", said.replace("docker.distribution.manifest.v2", "oci.image.manifest.v1"))
        self.assertIn("https://slsa.dev/provenance/", said)
        self.assertNotIn("hidden", said)
        self.assertEqual(json.loads(self.buildx("history", "inspect", "--format", "json", self.good).stdout)["Ref"], self.good)
        # The newest, where none is named.
        bad = self.buildx("history", "inspect").stdout
        self.assertRegex(bad, r"(?m)^Error:\s+")
        self.assertIn("exit code: 5", bad)
        self.assertIn("Dockerfile:2", bad)
        self.assertIn(">>> RUN echo before; exit 5", bad)

    def test_attachments(self):
        provenance = json.loads(self.buildx("history", "inspect", "attachment", "--type", "provenance", self.good).stdout)
        self.assertIn("buildType", json.dumps(provenance))
        for line in self.buildx("history", "inspect", self.good).stdout.partition("Attachments:")[2].splitlines():
            if found := re.search(r"sha256:[0-9a-f]{64}", line):
                self.assertTrue(self.buildx("history", "inspect", "attachment", self.good, found[0]).stdout)

    def test_logs(self):
        said = self.buildx("history", "logs", self.good)
        self.assertIn("said this", said.stdout + said.stderr)
        raw = self.buildx("history", "logs", "--progress", "rawjson", self.bad)
        self.assertIn("exit code: 5", raw.stdout + raw.stderr)

    def test_rm(self):
        self.buildx("history", "rm", self.bad)
        self.assertEqual([json.loads(line)["ref"].rpartition("/")[2] for line in self.buildx("history", "ls", "--format", "json").stdout.splitlines()],
                         [self.good])
        self.assertNotEqual(self.buildx("history", "logs", self.bad, check=False).returncode, 0)
        self.buildx("history", "rm", "--all")
        self.assertEqual(self.buildx("history", "ls", "--format", "json").stdout, "")

    def test_export(self):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as out:
            for words, count in (((self.good,), 1), (("--finalize", self.bad), 1), (("--all",), 2)):
                self.buildx("history", "export", "-o", f"{out}/record", *words)
                with tarfile.open(f"{out}/record") as tar:
                    top = json.load(tar.extractfile("index.json"))["manifests"][0]
                    document = json.load(tar.extractfile("blobs/sha256/" + top["digest"].partition(":")[2]))
                    if count > 1:
                        self.assertEqual(len(document["manifests"]), count)
                        continue
                    record = json.load(tar.extractfile("blobs/sha256/" + document["config"]["digest"].partition(":")[2]))
                    self.assertEqual(record["Ref"], words[-1])
                    for each in document["layers"]:
                        data = tar.extractfile("blobs/sha256/" + each["digest"].partition(":")[2]).read()
                        self.assertEqual(len(data), each["size"])
                        self.assertNotIn(b"hidden", data)

    def test_what_is_docker_desktops(self):
        """A build's record is opened in and imported into another program, which is not here: the client says so."""
        for words in (("open", self.good), ("import", "-f", "/dev/null")):
            done = self.buildx("history", *words, check=False)
            self.assertNotEqual(done.returncode, 0)
            self.assertNotIn("rpc error", done.stdout + done.stderr)


class ImageTools(Clients):
    def test_an_image_of_several_images(self):
        address = self.start_registry()
        for platform in ("amd64", "arm64"):
            self.build({"Dockerfile": f"FROM scratch\nENV A={platform}\n"}, "--platform", f"linux/{platform}", "--provenance=false", "--push",
                       "-t", f"{address}/tools:{platform}")
        self.in_netns("buildx", "imagetools", "create", "--progress", "plain", "-t", f"{address}/tools:both", "--annotation", "index:made=here",
                      f"{address}/tools:amd64", f"{address}/tools:arm64")
        raw = json.loads(self.in_netns("buildx", "imagetools", "inspect", "--raw", f"{address}/tools:both").stdout)
        self.assertEqual({each["platform"]["architecture"] for each in raw["manifests"]}, {"amd64", "arm64"})
        self.assertEqual(raw["annotations"]["made"], "here")
        said = self.in_netns("buildx", "imagetools", "inspect", f"{address}/tools:both").stdout
        self.assertRegex(said, r"Platform:\s+linux/arm64")
        config = json.loads(self.in_netns("buildx", "imagetools", "inspect", "--format", "{{json .Image}}", f"{address}/tools:both").stdout)
        self.assertEqual(config["linux/arm64"]["config"]["Env"][-1], "A=arm64")
        # The engine takes it for what it is.
        self.docker("pull", "-q", f"{address}/tools:both")
        self.assertIn("A=amd64", self.daemon.inspect(f"{address}/tools:both")["Config"]["Env"])

    def test_several_platforms_and_their_provenance_of_one_build(self):
        address = self.start_registry()
        self.build({"Dockerfile": "FROM scratch\nARG TARGETARCH\nENV A=$TARGETARCH\n"}, "--platform", "linux/amd64,linux/arm64", "--push",
                   "-t", f"{address}/many", "--provenance", "mode=max", "--annotation", "index,manifest:who=me")
        raw = json.loads(self.in_netns("buildx", "imagetools", "inspect", "--raw", f"{address}/many").stdout)
        self.assertEqual(sorted(each["platform"]["architecture"] for each in raw["manifests"]), ["amd64", "arm64", "unknown", "unknown"])
        self.assertEqual(raw["annotations"]["who"], "me")
        provenance = json.loads(self.in_netns("buildx", "imagetools", "inspect", "--format", "{{json .Provenance}}", f"{address}/many").stdout)
        self.assertEqual(set(provenance), {"linux/amd64", "linux/arm64"})


SCANNER = {"Dockerfile": "FROM busybox\nCOPY --chmod=755 scan /scan\nENV KNOWS=scanner\nENTRYPOINT [\"/scan\"]\n", "scan": """#!/bin/sh
# Says which files there are, as BuildKit's scanners do.
say() {
  files=$(cd "$2" && find . -type f | sort | sed 's|.*|{"fileName":"&"}|' | tr '\\n' ',')
  printf '{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"%s","predicate":{"spdxVersion":"SPDX-2.2","name":"%s","comment":"%s","files":[%s]}}' \\
    "${BUILDKIT_SCAN_KIND:-https://spdx.dev/Document}" "$1" "$KNOWS $(id -u)" "${files%,}" > "$BUILDKIT_SCAN_DESTINATION/$1.spdx.json"
}
touch "$BUILDKIT_SCAN_SOURCE/x" 2> /dev/null && exit 9
[ -z "$BUILDKIT_SCAN_EXIT" ] || { echo no scan today; exit $BUILDKIT_SCAN_EXIT; }
say sbom "$BUILDKIT_SCAN_SOURCE"
for each in ${BUILDKIT_SCAN_SOURCE_EXTRAS:+"$BUILDKIT_SCAN_SOURCE_EXTRAS"*}; do say "$(basename "$each")" "$each"; done
"""}
SCANNED = {"Dockerfile": """FROM busybox AS made
ARG BUILDKIT_SBOM_SCAN_STAGE=true
RUN mkdir /only && echo compiler > /only/compiler
FROM busybox AS other
RUN echo unused > /unused
FROM scratch
ARG BUILDKIT_SBOM_SCAN_CONTEXT=true
COPY --from=made /only/compiler /program
COPY a.txt /
""", "a.txt": "a\n"}


class BillsOfMaterials(Clients):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        with Folder(SCANNER) as folder:
            cls.daemon.docker("build", "-q", "-t", "scanner", str(folder.path))

    def scanned(self, out, *words, files=None, **more):
        return self.build(files or SCANNED, "--sbom", "generator=scanner", "--provenance=false", "--output", f"type=local,dest={out}", *words, **more)

    @staticmethod
    def names(statement):
        return [each["fileName"] for each in statement["predicate"]["files"]]

    def test_an_image_says_what_is_in_it(self):
        address = self.start_registry()
        self.build(SCANNED, "--push", "-t", f"{address}/scanned", "--sbom", "generator=scanner", "--provenance", "mode=min")
        bill = json.loads(self.in_netns("buildx", "imagetools", "inspect", "--format", "{{json .SBOM}}", f"{address}/scanned").stdout)
        self.assertEqual(self.names({"predicate": bill["SPDX"]}), ["./a.txt", "./program"])
        self.assertEqual(bill["SPDX"]["comment"], "scanner 0")
        provenance = json.loads(self.in_netns("buildx", "imagetools", "inspect", "--format", "{{json .Provenance}}", f"{address}/scanned").stdout)
        self.assertIn("SLSA", provenance)
        raw = json.loads(self.in_netns("buildx", "imagetools", "inspect", "--raw", f"{address}/scanned").stdout)
        self.assertEqual([each["platform"]["architecture"] for each in raw["manifests"]], ["amd64", "unknown"])
        # It runs as any other.
        self.assertEqual(self.daemon.inspect(f"{address}/scanned")["Os"], "linux")

    def test_files_have_theirs_beside_them(self):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as out:
            told = self.scanned(out)
            self.assertIn("[linux/amd64] generating sbom using docker.io/library/scanner:latest", told)
            self.assertEqual(sorted(each.name for each in pathlib.Path(out).iterdir()),
                             ["a.txt", "program", "sbom-context.spdx.json", "sbom-made.spdx.json", "sbom.spdx.json"])
            bill = json.loads(pathlib.Path(out, "sbom.spdx.json").read_text())
            self.assertEqual(bill["predicateType"], "https://spdx.dev/Document")
            self.assertEqual([each["name"] for each in bill["subject"]], ["a.txt", "program"])
            self.assertEqual(bill["subject"][0]["digest"]["sha256"], hashlib.sha256(b"a\n").hexdigest())
            self.assertIn("./only/compiler", self.names(json.loads(pathlib.Path(out, "sbom-made.spdx.json").read_text())))
            # Of the context what the build takes of it.
            self.assertEqual(self.names(json.loads(pathlib.Path(out, "sbom-context.spdx.json").read_text())), ["./a.txt"])
        with tempfile.TemporaryDirectory(dir="/var/tmp") as out:
            # Nothing has changed: it is not scanned again.
            self.assertRegex(self.scanned(out), r"(?s)generating sbom using.*\n#\d+ CACHED")
            self.scanned(out, "--build-arg", "BUILDKIT_SBOM_SCAN_STAGE=other", "--build-arg", "BUILDKIT_SBOM_SCAN_CONTEXT=false")
        with tempfile.TemporaryDirectory(dir="/var/tmp") as out:
            self.scanned(out, "--build-arg", "BUILDKIT_SBOM_SCAN_STAGE=x,made", "--build-arg", "BUILDKIT_SBOM_SCAN_CONTEXT=false")
            self.assertEqual(sorted(each.name for each in pathlib.Path(out).iterdir()), ["a.txt", "program", "sbom-made.spdx.json", "sbom.spdx.json"])

    def test_each_platform_has_its_own(self):
        files = {"Dockerfile": "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /\n", "amd64": "1", "arm64": "22"}
        with tempfile.TemporaryDirectory(dir="/var/tmp") as out:
            self.scanned(out, "--platform", "linux/amd64,linux/arm64", files=files)
            for platform, name in (("linux_amd64", "amd64"), ("linux_arm64", "arm64")):
                bill = json.loads(pathlib.Path(out, platform, "sbom.spdx.json").read_text())
                self.assertEqual(self.names(bill), [f"./{name}"])

    def test_a_scanner_that_fails_fails_the_build(self):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as out:
            for generator, words in (("scanner,EXIT=3", ("no scan today", "did not complete successfully: exit code: 3")),
                                     ("scanner,KIND=https://other", ("attestation: sbom-context.spdx.json: it is of the type https://other",)),
                                     ("nowhere.invalid/none", ("nowhere.invalid/none",)),
                                     ("busybox,x", ())):
                told = self.build(SCANNED, "--sbom", f"generator={generator}", "--output", f"type=local,dest={out}", check=False)
                for each in words:
                    self.assertIn(each, told)
                self.assertIn("ERROR", told)
            self.assertEqual(list(pathlib.Path(out).iterdir()), [])


class Bake(Clients):
    def bake(self, folder, *words, variables=None):
        return run(DOCKER, "buildx", "bake", "--progress", "plain", *words, cwd=folder.path, env={**self.daemon.environment(), **(variables or {})})

    def test_matrix_groups_functions_and_overrides(self):
        text = """
variable "TAG" { default = "one" }
function "raised" {
  params = [word]
  result = "${word}-UP"
}
group "default" { targets = ["app", "other"] }
target "shared" { args = { FROM_SHARED = raised("x") } }
target "app" {
  inherits = ["shared"]
  name = "app-${flavour}"
  matrix = { flavour = ["a", "b"] }
  args = { FLAVOUR = flavour }
  tags = ["app-${flavour}:${TAG}"]
}
target "other" {
  dockerfile = "other.Dockerfile"
  tags = ["other:${TAG}"]
}
"""
        files = {"docker-bake.hcl": text, "Dockerfile": "FROM busybox\nARG FLAVOUR FROM_SHARED\nRUN echo $FLAVOUR $FROM_SHARED > /said\n",
                 "other.Dockerfile": "FROM busybox\nARG MORE=none\nRUN echo other $MORE > /said\n"}
        with Folder(files) as folder:
            printed = json.loads(self.bake(folder, "--print").stdout)
            self.assertEqual(set(printed["target"]), {"app-a", "app-b", "other"})
            self.assertIn("app-a", self.bake(folder, "--list", "targets").stdout)
            self.assertIn("TAG", self.bake(folder, "--list", "variables").stdout)
            with tempfile.TemporaryDirectory() as out:
                self.bake(folder, "--set", "other.args.MORE=more", "--metadata-file", f"{out}/m", variables={"TAG": "two"})
                self.assertEqual({"app-a", "app-b", "other"} - set(json.loads(pathlib.Path(out, "m").read_text())), set())
            for tag, said in (("app-a:two", "a x-UP"), ("app-b:two", "b x-UP"), ("other:two", "other more")):
                self.assertEqual(self.run_made("cat", "/said", tag=tag), said)
            self.bake(folder, "other", "--set", "*.tags=renamed", "--no-cache", "--pull=false")
            self.assertEqual(self.run_made("cat", "/said", tag="renamed"), "other none")
            self.assertIn("Check complete", self.bake(folder, "--check", "other").stdout)

    def test_secrets_outputs_and_caches(self):
        text = """
target "default" {
  dockerfile-inline = "FROM busybox AS b\\nRUN --mount=type=secret,id=s wc -c < /run/secrets/s > /size\\nFROM scratch\\nCOPY --from=b /size /\\n"
  secret = ["id=s,src=secret"]
  output = ["type=local,dest=out"]
  labels = { a = "b" }
}
"""
        with Folder({"docker-bake.hcl": text, "secret": "hidden"}) as folder:
            self.bake(folder, "--allow", "fs=*")
            self.assertEqual((folder.path / "out/size").read_text().strip(), "6")

    def test_definitions_of_a_repository(self):
        with Folder({"docker-bake.hcl": 'target "default" { tags = ["remote"] }\n', "Dockerfile": "FROM busybox\nCOPY a /a\n", "a": "far\n"}) as folder:
            git = ["git", "-C", folder.path, "-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main"]
            run(*git, "init", "-q")
            run(*git, "add", ".")
            run(*git, "commit", "-q", "-m", "all")
            run(*git, "update-server-info")
            server = subprocess.Popen(["nsenter", f"--net=/proc/{self.daemon.holder.pid}/ns/net", "python3", "-m", "http.server", "-b", "127.0.0.1",
                                       "-d", folder.path, "8124"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.addCleanup(server.wait)
            self.addCleanup(server.kill)
            with tempfile.TemporaryDirectory() as empty:
                self.buildx("bake", "--progress", "plain", "http://127.0.0.1:8124/.git", cwd=empty)
        self.assertEqual(self.run_made("cat", "/a", tag="remote"), "far")


class Compose(Clients):
    def compose(self, folder, *words, **more):
        return self.docker("compose", "-p", "gruaclients", "--progress", "plain", *words, cwd=folder.path, **{"timeout": 120, **more})

    @contextlib.contextmanager
    def project(self, files):
        with Folder(files) as folder:
            try:
                yield folder
            finally:
                self.compose(folder, "down", "-t", "0", "-v", "--rmi", "local", check=False)

    def test_all_that_a_build_may_say(self):
        compose = """
services:
  web:
    build:
      context: .
      dockerfile: web.Dockerfile
      target: wanted
      args: {WORD: said}
      labels: {a: b}
      additional_contexts: {more: ./more, base: docker-image://busybox}
      secrets: [hidden]
      extra_hosts: ["other:10.1.1.1"]
      platforms: [linux/amd64]
      tags: ["web:second"]
      shm_size: 12mb
      network: none
    image: web:first
    network_mode: none
    command: cat /word /more /size /host
  inline:
    build:
      context: .
      additional_contexts: {web: "service:web"}
      dockerfile_inline: |
        FROM web
        RUN cat /word > /again
    image: inline:first
secrets:
  hidden: {file: ./secret}
"""
        files = {"compose.yaml": compose, "more/f": "more\n", "secret": "hidden",
                 "web.Dockerfile": "FROM base AS wanted\nARG WORD\nRUN echo $WORD > /word\nCOPY --from=more f /more\n"
                                   "RUN --mount=type=secret,id=hidden wc -c < /run/secrets/hidden > /size\nRUN grep -c 10.1.1.1 /etc/hosts > /host\n"
                                   "FROM wanted\nRUN false\n"}
        with self.project(files) as folder:
            self.compose(folder, "build")
            self.assertEqual(self.run_made(tag="web:second", *("cat", "/word", "/more", "/size", "/host")), "said\nmore\n6\n1")
            self.assertEqual(self.daemon.inspect("web:first")["Config"]["Labels"]["a"], "b")
            self.assertEqual(self.run_made("cat", "/again", tag="inline:first"), "said")
            self.compose(folder, "build", "--no-cache", "--build-arg", "WORD=other", "web")
            self.assertEqual(self.run_made("cat", "/word", tag="web:first"), "other")
            printed = json.loads(self.compose(folder, "build", "--print").stdout)
            self.assertEqual(set(printed["target"]), {"web", "inline"})

    def test_up_builds_what_is_missing_and_what_is_asked_for(self):
        compose = "services:\n  web:\n    build: .\n    network_mode: none\n    init: true\n    command: sleep 1000\n"
        with self.project({"compose.yaml": compose, "Dockerfile": "FROM busybox\nCOPY a /a\n", "a": "1\n"}) as folder:
            self.compose(folder, "up", "-d")
            self.assertEqual(self.compose(folder, "exec", "-T", "web", "cat", "/a").stdout, "1\n")
            folder.write("a", "2\n")
            self.compose(folder, "up", "-d")
            self.assertEqual(self.compose(folder, "exec", "-T", "web", "cat", "/a").stdout, "1\n")
            self.compose(folder, "up", "-d", "--build")
            self.assertEqual(self.compose(folder, "exec", "-T", "web", "cat", "/a").stdout, "2\n")

    def test_what_cannot_be_built_fails(self):
        with Folder({"compose.yaml": "services:\n  web:\n    build: .\n", "Dockerfile": "FROM busybox\nRUN exit 9\n"}) as folder:
            done = self.compose(folder, "build", check=False)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("exit code: 9", done.stdout + done.stderr)
            # A check of the Dockerfile alone.
            self.compose(folder, "build", "--check")

    def test_watch_builds_again(self):
        compose = ("services:\n  web:\n    build: .\n    network_mode: none\n    init: true\n    command: sleep 1000\n"
                   "    develop:\n      watch:\n        - {action: rebuild, path: ./a}\n")
        with self.project({"compose.yaml": compose, "Dockerfile": "FROM busybox\nCOPY a /a\n", "a": "1\n"}) as folder:
            self.compose(folder, "up", "-d")
            watch = Terminal([DOCKER, "compose", "-p", "gruaclients", "--project-directory", str(folder.path), "watch", "--no-up"],
                             self.daemon.environment(), columns=200)
            try:
                watch.expect("Watch (enabled|configuration)", 30)
                folder.write("a", "2\n")
                watch.expect("(?i)rebuilding service", 60)
                watch.expect("(?i)(successfully built|service.*rebuilt|Started)", 60)
            finally:
                os.kill(watch.pid, 9)
                watch.wait()
            self.assertEqual(self.run_made("cat", "/a", tag="gruaclients-web"), "2")


class Agents(Clients):
    """What a step is given of the client's SSH agent, by each client that can give it."""

    def test_an_agent_is_there_for_the_step_that_mounts_it(self):
        dockerfile = ('FROM busybox\nRUN --mount=type=ssh [ -S "$SSH_AUTH_SOCK" ] && echo $SSH_AUTH_SOCK > /with\n'
                      'RUN [ -z "$SSH_AUTH_SOCK" ] && ! ls /run/buildkit/ssh* 2>/dev/null && echo without >> /with\n')
        with Folder({"Dockerfile": dockerfile, "compose.yaml": "services:\n  web:\n    build: {context: ., ssh: [default]}\n    image: agent:compose\n"}) as folder:
            with tempfile.TemporaryDirectory() as home:
                agent = subprocess.Popen(["ssh-agent", "-D", "-a", f"{home}/agent"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
                self.addCleanup(agent.wait)
                self.addCleanup(agent.kill)
                wait_until("the agent listens", pathlib.Path(home, "agent").exists)
                environment = {**self.daemon.environment(), "SSH_AUTH_SOCK": f"{home}/agent"}
                for tag, words in (("agent:docker", (DOCKER, "build", "--no-cache", "--ssh", "default", "-t", "agent:docker", folder.path)),
                                   ("agent:grua", (BIN / "grua", "build", "--no-cache", "--ssh", "default", "-t", "agent:grua", folder.path)),
                                   ("agent:compose", (DOCKER, "compose", "-p", "gruaagent", "build", "--no-cache"))):
                    run(*words, env=environment, cwd=folder.path, timeout=120)
                    self.assertRegex(self.run_made("cat", "/with", tag=tag), r"^/run/buildkit/ssh_agent\.0\nwithout$")
                done = run(DOCKER, "build", "--no-cache", folder.path, env=self.daemon.environment(), check=False)
                self.assertNotEqual(done.returncode, 0)


class OfOneProgram(Clients):
    """docker-py, as its users write it: its builds are of the older API."""

    PROGRAM = r"""
import io, json, sys, tarfile
import docker

client = docker.from_env(timeout=120)
image, log = client.images.build(path=sys.argv[1], tag="py:1", buildargs={"WORD": "said"}, labels={"a": "b"}, target="wanted", rm=True)
text = "".join(each.get("stream", "") for each in log)
assert "Step 1/" in text and "Successfully built" in text, text
assert image.labels["a"] == "b" and "py:1" in image.tags, image.attrs
assert client.containers.run("py:1", ["cat", "/word", "/kept"], network_mode="none", remove=True) == b"said\nkept\n"
assert client.containers.run("py:1", ["ls", "/all"], network_mode="none", remove=True).split() == [b"Dockerfile", b"kept"], "ignored files came"

again, log = client.images.build(path=sys.argv[1], buildargs={"WORD": "said"}, labels={"a": "b"}, target="wanted", cache_from=["py:1"])
assert again.id == image.id, (again.id, image.id)

alone, _ = client.images.build(fileobj=io.BytesIO(b"FROM busybox\nRUN echo alone > /x\n"), nocache=True, pull=False, forcerm=True)
assert client.containers.run(alone.id, ["cat", "/x"], network_mode="none", remove=True) == b"alone\n"

packed = io.BytesIO()
with tarfile.open(fileobj=packed, mode="w:gz") as tar:
    for name, data in (("sub/Other", b"FROM busybox\nCOPY f /f\n"), ("f", b"packed\n")):
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
packed.seek(0)
lines = list(client.api.build(fileobj=packed, custom_context=True, encoding="gzip", dockerfile="sub/Other", tag="py:2", decode=True,
                              container_limits={"memory": 1 << 28}, shmsize=1 << 25, network_mode="none", extra_hosts={"other": "10.1.1.1"}))
assert lines[-1]["stream"] == "Successfully tagged py:2\n", lines
assert any("aux" in each for each in lines)

quiet = list(client.api.build(fileobj=io.BytesIO(b"FROM busybox\n"), quiet=True, decode=True))
assert quiet[-1]["stream"].startswith("sha256:"), quiet

try:
    client.images.build(fileobj=io.BytesIO(b"FROM busybox\nRUN exit 3\n"))
    raise AssertionError("it was built")
except docker.errors.BuildError as error:
    assert "returned a non-zero code: 3" in error.msg, error.msg
    assert any("RUN exit 3" in each.get("stream", "") for each in error.build_log)
try:
    client.images.build(fileobj=io.BytesIO(b"NOTHING\n"))
    raise AssertionError("it was built")
except docker.errors.APIError as error:
    assert "unknown instruction" in str(error).lower(), error

pruned = client.api.prune_builds(all=True)
assert pruned["SpaceReclaimed"] >= 0 and pruned["CachesDeleted"] is not None, pruned
print("done")
"""

    def test_builds(self):
        python = CLIENTS / "bin/docker-py"
        if not python.exists():
            run(ENV / "clients.sh", CLIENTS, "docker-py", timeout=600)
        files = {"Dockerfile": "FROM busybox AS wanted\nARG WORD\nRUN echo $WORD > /word\nCOPY kept /kept\nCOPY . /all/\nFROM wanted\nRUN false\n",
                 "kept": "kept\n", "left": "", ".dockerignore": "left\n.dockerignore\n"}
        with Folder(files) as folder:
            done = self.daemon.in_netns(python, "-c", self.PROGRAM, folder.path, env=self.daemon.environment(), timeout=180)
        self.assertEqual(done.stdout, "done\n")


if __name__ == "__main__":
    unittest.main()
