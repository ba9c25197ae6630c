"""Builds by POST /build, in both versions: the docker CLI without BuildKit, and requests as older clients send them."""

import base64
import bz2
import gzip
import io
import json
import lzma
import pathlib
import socket
import subprocess
import sys
import tarfile
import threading
import time
import unittest
import urllib.parse

from build_test import Folder
from harness import DOCKER, ENV, Case, Connection, cgroup_file, run, wait_until


def tar_of(files):
    """A tar in memory: {name: text}; a value that is None is a folder."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            data = (text or "").encode()
            entry.type, entry.mode, entry.size, entry.uid = (tarfile.DIRTYPE, 0o755, 0, 0) if text is None else (tarfile.REGTYPE, 0o644, len(data), 1000)
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def target(path="/build", **query):
    return f"/v1.51{path}?{urllib.parse.urlencode(query, doseq=True)}"


def lines_of(body):
    return [json.loads(line) for line in body.decode().splitlines() if line]


def text_of(lines):
    return "".join(line.get("stream", "") for line in lines)


def processes(word):
    """PIDs of programs with this word among their arguments."""
    out = []
    for each in pathlib.Path("/proc").iterdir():
        try:
            if each.name.isdigit() and word.encode() in (each / "cmdline").read_bytes().split(b"\0"):
                out.append(int(each.name))
        except OSError:
            pass
    return out


class ClassicBuilds(Case):
    def classic(self, files, *words, tag="made", **more):
        """What `docker build` without BuildKit says."""
        with Folder(files) as folder:
            return run(DOCKER, "build", "-t", tag, *words, folder.path, env={**self.daemon.environment(), "DOCKER_BUILDKIT": "0"}, **more)

    def ask(self, files, headers=None, **query):
        """Status and the lines of a request with this context."""
        connection = Connection(self.daemon.socket)
        try:
            status, body = connection.ask("POST", target(**query), files if isinstance(files, bytes) else tar_of(files),
                                          {"Content-Type": "application/x-tar", **(headers or {})})
        finally:
            connection.close()
        return status, lines_of(body)

    def built(self, files, **query):
        status, lines = self.ask(files, **query)
        self.assertEqual(status, 200, lines)
        self.assertNotIn("errorDetail", lines[-1], lines)
        return lines

    def open_build(self, files, **query):
        """A request that is under way: its connection."""
        connection = Connection(self.daemon.socket)
        connection.request("POST", target(**query), tar_of(files), {"Content-Type": "application/x-tar"})
        return connection

    def run_made(self, *words, tag="made"):
        return self.out("run", "--rm", "--network", "none", tag, *words)

    def test_the_cli_without_buildkit_builds_an_image_that_runs(self):
        files = {"Dockerfile": "FROM busybox\nENV A=b\nCOPY a.txt /a.txt\nRUN cat /a.txt > /b.txt && echo done\nCMD cat /b.txt\n", "a.txt": "hello\n"}
        said = self.classic(files).stdout
        self.assertIn("Step 1/5 : FROM busybox\n ---> ", said)
        self.assertIn("Step 4/5 : RUN cat /a.txt > /b.txt && echo done\n", said)
        self.assertIn("\ndone\n ---> ", said)
        image = self.daemon.inspect("made")["Id"]
        self.assertIn(f"\n ---> {image.removeprefix('sha256:')[:12]}\nSuccessfully built {image.removeprefix('sha256:')[:12]}\nSuccessfully tagged made:latest\n", said)
        self.assertNotIn("Using cache", said)
        self.assertEqual(self.run_made(), "hello")
        # What is known says so, also of instructions that make no files.
        again = self.classic(files).stdout
        self.assertEqual(again.count(" ---> Using cache\n"), 4, again)
        self.assertEqual(self.daemon.inspect("made")["Config"]["Env"][-1], "A=b")
        self.assertEqual(self.classic(files, "--no-cache").stdout.count("Using cache"), 0)

    def test_a_program_that_fails_gives_the_cli_its_status(self):
        self.docker("rmi", "-f", "made", check=False)
        done = self.classic({"Dockerfile": "FROM busybox\nRUN echo out; echo bad >&2; exit 3\n"}, check=False)
        self.assertEqual(done.returncode, 3)
        self.assertIn("The command '/bin/sh -c echo out; echo bad >&2; exit 3' returned a non-zero code: 3", done.stderr)
        self.assertIn("\nout\n", done.stdout)
        self.assertIn("\033[91mbad\n\033[0m", done.stdout)
        self.assertNotEqual(self.docker("image", "inspect", "made", check=False).returncode, 0)

    def test_a_quiet_build_says_its_image_alone(self):
        said = self.classic({"Dockerfile": "FROM busybox\nRUN echo x\n"}, "-q").stdout
        self.assertEqual(said.strip(), self.daemon.inspect("made")["Id"])
        done = self.classic({"Dockerfile": "FROM busybox\nRUN echo seen && false\n"}, "-q", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("seen", done.stdout + done.stderr)

    def test_options_of_the_cli_are_the_builds(self):
        files = {"Dockerfile": "ARG BASE\nFROM $BASE AS one\nARG A\nRUN echo $A > /a; cat /etc/hosts > /hosts; ulimit -n > /n; df -k /dev/shm > /shm\n"
                               "FROM one AS two\nRUN false\n"}
        said = self.classic(files, "--build-arg", "A=1", "--build-arg", "BASE=busybox", "--build-arg", "NONE=2", "--target", "one", "--label", "l=v w",
                            "--add-host", "other:10.99.1.1", "--ulimit", "nofile=123:456", "--shm-size", "3m", "-t", "made:two").stdout
        self.assertIn("Step 1/5 : ARG BASE\nStep 2/5 : FROM $BASE AS one\n", said)
        self.assertIn("Step 5/5 : LABEL l=v w\n", said)
        self.assertIn("[Warning] One or more build-args [NONE] were not consumed\n", said)
        self.assertIn("Successfully tagged made:latest\nSuccessfully tagged made:two\n", said)
        self.assertEqual(self.daemon.inspect("made:two")["Config"]["Labels"], {"l": "v w"})
        self.assertEqual(self.run_made("cat", "/a", "/n"), "1\n123")
        self.assertIn("10.99.1.1\tother", self.run_made("cat", "/hosts"))
        self.assertIn(" 3072 ", self.run_made("cat", "/shm"))

    def test_networks(self):
        for mode, seen in (("none", "lo"), ("default", "lo\neth0")):
            self.classic({"Dockerfile": "FROM busybox\nRUN ls /sys/class/net | sort -r > /net\n"}, "--network", mode, "--no-cache")
            self.assertEqual(self.run_made("cat", "/net"), seen)
        self.classic({"Dockerfile": "FROM busybox\nRUN ip link > /net\n"}, "--network", "host", "--no-cache")
        self.assertIn(self.daemon.name, self.run_made("cat", "/net"))
        done = self.classic({"Dockerfile": "FROM busybox\n"}, "--network", "container:x", check=False)
        self.assertIn("not implemented: networkmode container:x", done.stderr)

    def test_limits_are_those_of_its_programs(self):
        said = []
        build = threading.Thread(target=lambda: said.append(
            self.classic({"Dockerfile": "FROM busybox\nRUN sleep 7301\n"}, "--memory", "32m", "--memory-swap", "64m", "--cpuset-cpus", "0", "--cpu-shares",
                         "512", "--cgroup-parent", f"/{self.daemon.name}/mine", check=False)))
        build.start()
        try:
            pid = wait_until("the program runs", lambda: processes("7301"), 60)[-1]
            self.assertEqual(cgroup_file(pid, "memory", ("memory.limit_in_bytes", "memory.max")), str(32 << 20))
            self.assertEqual(cgroup_file(pid, "cpuset", "cpuset.cpus"), "0")
            self.assertIn(f"/{self.daemon.name}/mine/", pathlib.Path(f"/proc/{pid}/cgroup").read_text())
        finally:
            for each in processes("7301"):
                subprocess.run(["kill", "-9", str(each)], check=False)
            build.join()
        self.assertEqual(said[0].returncode, 137, said)
        status, lines = self.ask({"Dockerfile": "FROM busybox\nRUN true\n"}, memory="1000", nocache="1")
        self.assertIn("Minimum memory limit allowed is 6MB", lines[-1]["error"])

    def test_dockerignore_is_the_clients(self):
        files = {"Dockerfile": "FROM busybox\nCOPY . /c\n", ".dockerignore": "*.log\nDockerfile\n.dockerignore\n", "a.txt": "a", "b.log": "b"}
        self.classic(files)
        self.assertEqual(self.run_made("ls", "-A", "/c"), "a.txt")
        # Who sends all of it gets all but the two files that the builder itself has no use for.
        self.built(files, t="made")
        self.assertEqual(self.run_made("ls", "-A", "/c").split(), ["a.txt", "b.log"])

    def test_files_are_roots(self):
        self.built({"Dockerfile": "FROM busybox\nCOPY a /a\n", "a": "x"}, t="made")
        self.assertEqual(self.run_made("stat", "-c", "%u:%g", "/a"), "0:0")

    def test_bodies_may_be_packed(self):
        plain = tar_of({"Dockerfile": "FROM scratch\nCOPY a /\n", "a": "x" * 100_000})
        zstd = subprocess.run(["zstd", "-c"], input=plain, capture_output=True, check=True).stdout
        ids = set()
        for body in (plain, gzip.compress(plain), bz2.compress(plain), lzma.compress(plain), zstd):
            ids.add(self.built(body)[-2]["aux"]["ID"])
        self.assertEqual(len(ids), 1, "what is built twice is the same")

    def test_wrong_requests_are_refused_before_anything_is_built(self):
        good = {"Dockerfile": "FROM busybox\n"}
        for files, query, status, text in (
                (good, {"version": "3"}, 400, 'invalid version "3"'),
                (good, {"t": "X"}, 400, "invalid reference format: repository name (library/X) must be lowercase"),
                (good, {"t": "x@sha256:" + "0" * 64}, 400, "build tag cannot contain a digest"),
                (good, {"buildargs": "{"}, 400, "error reading build args: "),
                (good, {"shmsize": "x"}, 400, 'shmsize: "x" is not a number'),
                (good, {"squash": "1"}, 501, "not implemented: squash"),
                (good, {"securityopt": "x"}, 400, "security options are not supported on linux"),
                (good, {"isolation": "hyperv"}, 400, 'unsupported isolation: "hyperv"'),
                (good, {"remote": "nowhere"}, 400, "remoteURL (nowhere) could not be recognized as URL"),
                (good, {"remote": "client-session"}, 400, "experimental session with v1 builder is no longer supported"),
                (good, {"dockerfile": "other"}, 400, "Cannot locate specified Dockerfile: other"),
                (good, {"dockerfile": "../../etc/passwd"}, 400, "Cannot locate specified Dockerfile: ../../etc/passwd"),
                (good, {"target": "x"}, 400, 'target stage "x" could not be found'),
                ({"Dockerfile": ""}, {}, 400, "the Dockerfile (Dockerfile) cannot be empty"),
                ({"Dockerfile": "FROM busybox\nRUNN x\n"}, {}, 400, "unknown instruction: RUNN (did you mean RUN?)"),
                (b"FROM busybox\n", {}, 400, "")):
            with self.subTest(query=query, files=files):
                code, lines = self.ask(files, **query)
                self.assertEqual(code, status, lines)
                self.assertIn(text, lines[0]["message"])
        self.assertIn("busybox", self.out("images", "--format", "{{.Repository}}"))

    def test_what_fails_when_it_has_begun_is_told_in_its_stream(self):
        status, lines = self.ask({"Dockerfile": "FROM nowhere.invalid/x\n"})
        self.assertEqual(status, 200)
        self.assertEqual(text_of(lines[:2]), "Step 1/1 : FROM nowhere.invalid/x\n")
        self.assertEqual(lines[-1]["error"], lines[-1]["errorDetail"]["message"])
        self.assertNotIn("code", lines[-1]["errorDetail"])
        status, lines = self.ask({"Dockerfile": "FROM busybox\nCOPY none /\n"})
        self.assertIn("none", lines[-1]["error"])

    def test_a_body_that_breaks_off_builds_nothing(self):
        whole = tar_of({"Dockerfile": "FROM busybox\nRUN echo broken\n", "a": "x" * 1_000_000})
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.daemon.socket))
            client.sendall(f"POST {target(t='broken')} HTTP/1.1\r\nHost: d\r\nContent-Length: {len(whole)}\r\n\r\n".encode() + whole[:500_000])
            time.sleep(0.2)
        wait_until("nothing of it is left", lambda: not any((self.daemon.root / "data").glob("**/contexts/once-*")), 20)
        self.assertNotEqual(self.docker("image", "inspect", "broken", check=False).returncode, 0)

    def test_a_context_is_not_kept(self):
        self.built({"Dockerfile": "FROM busybox\nCOPY a /\n", "a": "x"})
        wait_until("nothing of it is left", lambda: not any((self.daemon.root / "data").glob("**/contexts/once-*")), 20)

    def test_a_large_context_is_not_kept_in_memory(self):
        with Folder({"Dockerfile": "FROM scratch\nCOPY small /\n", "small": "s"}) as folder:
            run("dd", "if=/dev/urandom", f"of={folder.path}/large", "bs=1M", "count=192")
            before = self.daemon.memory()
            run(DOCKER, "build", "-t", "made", folder.path, env={**self.daemon.environment(), "DOCKER_BUILDKIT": "0"}, timeout=240)
            self.assertLess(self.daemon.memory() - before, 128 << 20)

    def test_a_client_that_leaves_ends_its_build(self):
        connection = self.open_build({"Dockerfile": "FROM busybox\nRUN sleep 7302\n"}, nocache="1")
        wait_until("the program runs", lambda: processes("7302"), 60)
        connection.close()
        wait_until("the program has ended", lambda: not processes("7302"), 20)
        self.built({"Dockerfile": "FROM busybox\n"})

    def test_a_build_is_cancelled_by_its_id(self):
        for version in ("1", "2"):
            connection = self.open_build({"Dockerfile": "FROM busybox\nRUN sleep 7303\n"}, nocache="1", version=version, buildid="mine")
            wait_until("the program runs", lambda: processes("7303"), 60)
            self.assertEqual(self.daemon.api("POST", "/build/cancel?id=mine"), (200, ""))
            lines = lines_of(connection.getresponse().read())
            self.assertIn("canceled", lines[-1]["error"])
            wait_until("the program has ended", lambda: not processes("7303"), 20)
        self.assertEqual(self.daemon.api("POST", "/build/cancel?id=nobody")[0], 200)
        self.assertEqual(self.daemon.api("POST", "/build/cancel")[0], 400)

    def test_lines_come_while_it_runs(self):
        connection = self.open_build({"Dockerfile": "FROM busybox\nRUN echo early; sleep 7304\n"}, nocache="1")
        answer = connection.getresponse()
        self.assertEqual((answer.status, answer.getheader("Content-Type")), (200, "application/json"))
        seen = ""
        while "early" not in seen:
            seen += json.loads(answer.readline()).get("stream", "")
        wait_until("the program runs", lambda: processes("7304"), 60)
        connection.close()
        wait_until("the program has ended", lambda: not processes("7304"), 20)

    def test_version_two_is_buildkits_messages(self):
        files = {"Dockerfile": "FROM busybox\nCOPY a /a\nRUN echo said-by-it\n", "a": "x"}
        lines = self.built(files, version="2", t="traced", nocache="1")
        self.assertEqual({line["id"] for line in lines[:-1]}, {"moby.buildkit.trace"})
        messages = b"".join(base64.b64decode(line["aux"], validate=True) for line in lines[:-1])
        self.assertIn(b"RUN echo said-by-it", messages)
        self.assertIn(b"said-by-it\n", messages)
        self.assertEqual(lines[-1], {"id": "moby.image.id", "aux": {"ID": self.daemon.inspect("traced")["Id"]}})
        self.assertEqual(self.run_made("cat", "/a", tag="traced"), "x")
        quiet = self.built(files, version="2", q="1")
        self.assertEqual(quiet, [{"stream": lines[-1]["aux"]["ID"] + "\n"}])
        status, failed = self.ask({"Dockerfile": "FROM busybox\nRUN exit 3\n"}, version="2")
        self.assertEqual(status, 200)
        self.assertIn("did not complete successfully: exit code: 3", failed[-1]["error"])

    def test_a_dockerfile_alone_is_a_body_of_version_two(self):
        self.built(b"FROM busybox\nRUN echo alone > /x\n", version="2", t="made")
        self.assertEqual(self.run_made("cat", "/x"), "alone")

    def test_a_context_may_come_in_a_request_of_its_own(self):
        waiting = Connection(self.daemon.socket)
        waiting.request("POST", target(version="2", remote="upload-request", buildid="apart", t="made"))
        upload = Connection(self.daemon.socket)
        status, body = upload.ask("POST", target(version="2", buildid="upload-request:apart"), tar_of({"Dockerfile": "FROM busybox\nCOPY a /a\n", "a": "apart"}))
        self.assertEqual((status, body), (200, b""))
        lines = lines_of(waiting.getresponse().read())
        self.assertEqual(lines[-1]["id"], "moby.image.id", lines)
        self.assertEqual(self.run_made("cat", "/a"), "apart")
        status, body = upload.ask("POST", target(version="2", buildid="upload-request:nobody"), tar_of({"Dockerfile": "FROM busybox\n"}))
        self.assertEqual(status, 503)
        self.assertIn(b"context deadline exceeded", body)

    def test_older_clients_get_no_ids(self):
        connection = Connection(self.daemon.socket)
        status, body = connection.ask("POST", "/v1.29/build", tar_of({"Dockerfile": "FROM busybox\n"}), {"Content-Type": "application/tar"})
        self.assertEqual(status, 200)
        self.assertFalse([line for line in lines_of(body) if "aux" in line])

    def test_stages_are_built_from_one_another(self):
        said = text_of(self.built({"Dockerfile": "FROM busybox AS one\nRUN mkdir /d && echo x > /d/f\nFROM busybox AS unneeded\nRUN false\nFROM scratch\n"
                                                 "COPY --from=one /d /e\nCOPY --from=busybox /bin/busybox /bin/cat\nCMD [\"/bin/cat\", \"/e/f\"]\n"}, t="made"))
        self.assertIn("Step 3/6 : FROM scratch\n ---> \n", said)
        self.assertNotIn("RUN false", said)
        self.assertEqual(self.run_made(), "x")

    def test_many_at_once(self):
        def one(number):
            results.append(self.ask({"Dockerfile": f"FROM busybox\nCOPY a /a\nRUN cat /a /a > /b && sleep 0.2\nENV N={number}\n", "a": f"{number}"},
                                    t=f"many-{number}"))
        results = []
        threads = [threading.Thread(target=one, args=(number,)) for number in range(6)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        self.assertEqual([status for status, _ in results], [200] * 6)
        for number in range(6):
            self.assertEqual(self.run_made("cat", "/b", tag=f"many-{number}"), f"{number}{number}")

    def test_credentials_of_the_request_reach_the_registry(self):
        folder = self.daemon.root / "registry"
        address = self.daemon.in_netns(ENV / "registry.sh", "start", folder, "--htpasswd", timeout=180).stdout.strip()
        self.addCleanup(run, ENV / "registry.sh", "stop", folder)
        self.docker("login", "-u", "user", "--password-stdin", address, input="secret")
        self.docker("tag", "busybox", f"{address}/closed")
        self.docker("push", "-q", f"{address}/closed")
        self.docker("rmi", f"{address}/closed")
        self.docker("logout", address)
        files = {"Dockerfile": f"FROM {address}/closed\nRUN echo in > /x\n"}
        _, lines = self.ask(files)
        self.assertIn("errorDetail", lines[-1])
        for key in (address, f"http://{address}/v2/"):
            wrong = base64.urlsafe_b64encode(json.dumps({key: {"username": "user", "password": "wrong"}}).encode()).decode()
            _, lines = self.ask(files, {"X-Registry-Config": wrong})
            self.assertIn("errorDetail", lines[-1])
            right = base64.urlsafe_b64encode(json.dumps({key: {"username": "user", "password": "secret"}, "https://index.docker.io/v1/": {}}).encode()).decode()
            status, lines = self.ask(files, {"X-Registry-Config": right}, t="made", pull="1")
            self.assertEqual((status, text_of(lines[-1:])), (200, "Successfully tagged made:latest\n"), lines)
            self.assertEqual(self.run_made("cat", "/x"), "in")
            self.docker("rmi", "-f", "made", f"{address}/closed", check=False)

    def test_a_context_from_elsewhere(self):
        with Folder({"Dockerfile": "FROM busybox\nRUN echo alone > /x\n", "folder/a": "x"}) as folder:
            (folder.path / "c.tar.gz").write_bytes(gzip.compress(tar_of({"d/Dockerfile": "FROM busybox\nCOPY a /x\n", "a": "packed", ".dockerignore": "a"})))
            server = subprocess.Popen(["nsenter", f"--net=/proc/{self.daemon.holder.pid}/ns/net", sys.executable, "-m", "http.server", "-b", "127.0.0.1",
                                       "-d", folder.path, "8123"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.addCleanup(server.wait)
            self.addCleanup(server.kill)
            wait_until("the files are served", lambda: self.daemon.in_netns("curl", "-sf", "http://127.0.0.1:8123/", check=False).returncode == 0)
            for version in ("1", "2"):
                lines = self.built(b"", remote="http://127.0.0.1:8123/Dockerfile", version=version, t="made")
                self.assertEqual(self.run_made("cat", "/x"), "alone")
                if version == "1":
                    self.assertIn("Step 2/2 : RUN echo alone > /x\n", text_of(lines))
                self.built(b"", remote="http://127.0.0.1:8123/c.tar.gz", dockerfile="d/Dockerfile", version=version, t="made")
                self.assertEqual(self.run_made("cat", "/x"), "packed")
                status, lines = self.ask(b"", remote="http://127.0.0.1:8123/none", version=version)
                self.assertIn("404", json.dumps(lines[-1]))

    def test_the_cache_is_told_and_pruned(self):
        self.built({"Dockerfile": "FROM busybox\nRUN echo pruned > /pruned\n"}, t="made")
        status, text = self.daemon.api("GET", "/v1.51/system/df?type=build-cache")
        records = json.loads(text)["BuildCache"]
        mine = [each for each in records if "echo pruned" in each["Description"]]
        self.assertEqual((status, len(mine)), (200, 1), records)
        self.assertEqual(set(mine[0]) - {"Parents"}, {"ID", "Type", "Description", "InUse", "Shared", "Size", "CreatedAt", "LastUsedAt", "UsageCount"})
        self.docker("rmi", "made")
        status, text = self.daemon.api("POST", "/v1.51/build/prune?" + urllib.parse.urlencode({"filters": json.dumps({"id": [mine[0]["ID"]]}), "all": "1"}))
        self.assertEqual((status, json.loads(text)["CachesDeleted"]), (200, [mine[0]["ID"]]))
        self.assertGreater(json.loads(text)["SpaceReclaimed"], 0)
        self.docker("builder", "prune", "-af")
        self.assertEqual(json.loads(self.daemon.api("GET", "/v1.51/system/df")[1])["BuildCache"], [])
        self.assertEqual(self.daemon.api("POST", "/v1.51/build/prune?reserved-space=x")[0], 400)
        self.assertNotIn("Using cache", text_of(self.built({"Dockerfile": "FROM busybox\nRUN echo pruned > /pruned\n"})))


if __name__ == "__main__":
    unittest.main()
