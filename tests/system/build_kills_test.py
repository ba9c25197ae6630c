"""Builds in the middle of which gruad is killed: the next build is right, and nothing is left behind.

GRUA_BUILD_KILLS (10) says how often it is killed at random, GRUA_BUILD_KILLS_SEED when. Beside that it is killed at each point that the source
names on a build's way (base/files.hpp, crash_point): at all of them, at some where GRUA_BUILD_KILLS is less than 100, or at those that
GRUA_BUILD_POINTS names, with commas between. Right is what a build without the cache gives: the same files, the same configuration.
"""

import concurrent.futures
import hashlib
import io
import json
import os
import pathlib
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest

from harness import DOCKER, PATIENCE, REPOSITORY, Daemon, wait_until
from traces import Traces

KILLS = int(os.environ.get("GRUA_BUILD_KILLS", "10"))
SEED = int(os.environ.get("GRUA_BUILD_KILLS_SEED", str(random.SystemRandom().randrange(1 << 32))))
POINTS_AT_ONCE = 6  # of a run that is to be short

# Everything that a build has: stages that share a step, a folder that is linked, files that are copied, a cache of steps, removals.
# What it makes depends on the context alone.
DOCKERFILE = """\
FROM busybox AS base
RUN for i in 1 2 3 4 5 6 7 8 9; do head -c 30000 /dev/zero | tr '\\0' $i > /f$i; done; mkdir /d; ln -s ../f1 /d/l; ln /f2 /d/hard
FROM base AS one
COPY data /data
RUN cat /data/* > /all; rm /f3; chmod 711 /d; chown 7:8 /f4
FROM base AS two
COPY data/1 /one
RUN --mount=type=cache,target=/cache,id=kills [ -f /cache/known ] || { p=$(mktemp /cache/part.XXXXXX) && seq 1 5000 > $p && mv $p /cache/known; }; sha256sum < /cache/known > /sum
RUN --mount=type=cache,target=/cache,id=kills cat /one >> /cache/log; mkdir /work; touch /work/x; rm -r /work
FROM busybox
COPY --from=one /all /d /out/
COPY --from=two /sum /sum
COPY src/ /src/
ADD packed.tar /packed
RUN --mount=type=bind,target=/in --mount=type=tmpfs,target=/t cp /in/data/2 /t/x && sort /t/x > /sorted && rm -rf /src/gone
ENV WHAT=built
LABEL of=kills
"""
SMALL = "FROM busybox\nCOPY data /data\nRUN cat /data/2 | md5sum > /sum\n"


def files_of(archive):
    """What a container of it would see. Times of what a program has made differ from run to run."""
    out = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for each in tar:
            digest = hashlib.sha256(tar.extractfile(each).read()).hexdigest() if each.isreg() else ""
            copied = each.name.startswith(("src/", "data/", "packed/")) and not each.isdir()
            out[each.name.rstrip("/")] = (each.type, oct(each.mode), each.uid, each.gid, each.size, each.linkname, digest, each.mtime if copied else 0)
    return out


def size_of(path):
    """As gruad counts: each file once."""
    seen = {}
    for folder, _, names in os.walk(path):
        for name in names:
            about = os.lstat(f"{folder}/{name}")
            if os.path.isfile(f"{folder}/{name}") and not os.path.islink(f"{folder}/{name}"):
                seen[about.st_dev, about.st_ino] = about.st_size
    return sum(seen.values())


def files_below(path):
    """Paths of all that is there, while some of it goes."""
    for folder, folders, names in os.walk(path):
        yield from (f"{folder}/{name}" for name in [*folders, *names])


class Project:
    """A context that changes from round to round."""

    def __init__(self, chance):
        self.chance = chance
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="grua-kills-", dir="/var/tmp"))
        (self.path / "Dockerfile").write_text(DOCKERFILE)
        (self.path / "small.Dockerfile").write_text(SMALL)
        for name in ("1", "2", "3"):
            self.write(f"data/{name}")
        for number in range(40):
            self.write(f"src/d{number % 4}/f{number}")
        self.write("src/gone/x")
        os.symlink("d1/f1", self.path / "src/link")
        os.utime(self.path / "src/link", (1_000_000_000, 1_000_000_000), follow_symlinks=False)
        with tarfile.open(self.path / "packed.tar", "w") as tar:
            for number in range(10):
                info = tarfile.TarInfo(f"p/{number}")
                info.size, info.mtime = 2000, 1_000_000_000
                tar.addfile(info, io.BytesIO(chance.randbytes(2000)))

    def write(self, name):
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # what others have linked stays as it is
        path.write_bytes(self.chance.randbytes(self.chance.randrange(1, 20000)))
        time = self.chance.randrange(1_500_000_000, 1_600_000_000)  # the same wherever the same is made
        os.utime(path, (time, time))

    def change(self):
        for _ in range(self.chance.randrange(1, 4)):
            self.write(self.chance.choice(["data/1", "data/2", "src/d0/f0", "src/d2/f10", f"src/new{self.chance.randrange(5)}"]))

    def close(self):
        shutil.rmtree(self.path)
        shutil.rmtree(self.path.with_name(self.path.name + "-out"), ignore_errors=True)


class Killed(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.chance = random.Random(SEED)
        cls.mark = f"GRUA_TEST_OF_KILLS={SEED}.{os.getpid()}"
        cls.daemon = Daemon(env=dict([cls.mark.split("=")]))
        cls.addClassCleanup(cls.daemon.close)
        cls.traces = Traces(cls.daemon, cls.mark)
        cls.data = cls.daemon.root / "data"
        cls.live = cls.daemon.exec_root / "exec"
        cls.project = Project(cls.chance)
        cls.addClassCleanup(cls.project.close)
        cls.daemon.docker(*cls.words_of("all")[1:], timeout=180)  # The launcher comes with the first program.
        cls.resting = cls.traces.settled()

    # --- builds

    @classmethod
    def words_of(cls, tag, *words, file="Dockerfile"):
        return [DOCKER, "build", "-q", "-t", tag, "-f", str(cls.project.path / file), *words, str(cls.project.path)]

    def begin(self, words, **environment):
        return subprocess.Popen(words, env={**self.daemon.environment(), **environment}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)

    def begin_builds(self):
        """Several at once, each of another kind."""
        out = self.project.path.with_name(self.project.path.name + "-out")
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        begun = [self.begin(self.words_of("all")), self.begin([*self.words_of("tar", file="small.Dockerfile"), "--output", f"type=oci,dest={out}/x.tar"])]
        other = self.chance.randrange(4)
        if other == 0:
            begun.append(self.begin(self.words_of("old", file="small.Dockerfile"), DOCKER_BUILDKIT="0"))
        elif other == 1:
            begun.append(self.begin([*self.words_of("files", file="small.Dockerfile"), "--output", str(out / "files")]))
        elif other == 2:
            begun.append(self.begin(self.words_of("again", "--no-cache")))
        else:
            begun.append(self.begin([DOCKER, "builder", "prune", "-f", "--keep-storage", "100kb"]))
        return begun

    def end_of(self, begun):
        for each in begun:
            try:
                each.wait(60 * PATIENCE)
            except subprocess.TimeoutExpired:
                each.kill()
                each.wait()
                self.fail(f"a client waits for a gruad that was killed: {each.args}")

    def image(self, tag):
        """Its files and its configuration."""
        container = self.daemon.docker("create", tag, "x").stdout.strip()
        done = subprocess.run([DOCKER, "export", container], env=self.daemon.environment(), stdout=subprocess.PIPE, check=True)
        self.daemon.docker("rm", container)
        shown = json.loads(self.daemon.docker("image", "inspect", tag).stdout)[0]
        history = [line.split("\t")[1:] for line in self.daemon.docker("history", "--no-trunc", "--format", "{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}", tag).stdout.splitlines()]
        return files_of(done.stdout), (shown["Config"], shown["Architecture"], len(shown["RootFS"]["Layers"]), history)

    def check_next_build(self):
        """With what is known, and without."""
        with concurrent.futures.ThreadPoolExecutor() as pool:
            built = [pool.submit(self.daemon.docker, *words[1:], timeout=180)
                     for words in (self.words_of("all"), self.words_of("fresh", "--no-cache"), self.words_of("small", file="small.Dockerfile"))]
            for each in built:
                each.result()
        # What a kill has damaged would be found by whoever asks the cache, which the second of these does alone.
        self.daemon.docker(*self.words_of("all")[1:], timeout=180)
        (files, config), (fresh, fresh_config) = self.image("all"), self.image("fresh")
        self.assertEqual(config, fresh_config)
        self.assertEqual(files, fresh)
        for name in ("1", "2", "3"):
            self.assertEqual(self.image("small")[0][f"data/{name}"][6], hashlib.sha256((self.project.path / "data" / name).read_bytes()).hexdigest())
        for path in self.project.path.rglob("src/*/*"):
            if path.is_file() and "gone" not in str(path):
                self.assertEqual(files[str(path.relative_to(self.project.path))][6], hashlib.sha256(path.read_bytes()).hexdigest(), path)

    # --- what is left

    def rows(self, text):
        with sqlite3.connect(f"file:{self.data}/grua.db?mode=ro", uri=True, timeout=20) as database:
            return list(database.execute(text))

    def leftovers(self):
        """What is there and has no reason to be, by where it is."""
        out = {}

        def note(where, what):
            what = sorted(what)
            if what:
                out[where] = what

        containers = {each["Id"] for each in json.loads(self.daemon.api("GET", "/containers/json?all=1")[1])}
        for folder in ("layers/staging", "layers/trash", "content/trash", "content/partial", "build/history/trash", "build/history/partial"):
            if (self.data / folder).is_dir():
                note(folder, os.listdir(self.data / folder))
        note("layers/containers", set(os.listdir(self.data / "layers/containers")) - containers)
        numbers = {str(number) for (number,) in self.rows("SELECT number FROM layers")}
        note("layers without a row, and rows without a layer", numbers ^ set(os.listdir(self.data / "layers/l")))
        known = {row[0] for row in self.rows("SELECT layers FROM build_cache_results WHERE layers IS NOT NULL")}
        note("steps that no record has", {step for (step,) in self.rows("SELECT id FROM steps")} - {step for each in known for step in each.split(",")})
        for folder, names in (("contexts", {"index", "tree"}), ("mounts", {"about", "tree"})):
            for each in (self.data / "build" / folder).iterdir() if (self.data / "build" / folder).is_dir() else ():
                note(f"build/{folder}/{each.name}", set(os.listdir(each)) ^ names)
        blobs = self.data / "build/history/blobs/sha256"
        recorded = {digest.removeprefix("sha256:") for (digest,) in self.rows("SELECT DISTINCT digest FROM build_history_blobs")}
        note("history's blobs without a record, and records without a blob", recorded ^ set(os.listdir(blobs)))
        note("live", [os.path.relpath(each, self.live) for folder in ("steps", "build") for each in files_below(self.live / folder)])
        note("temporary files", [each for each in files_below(self.data)
                                 if re.search(r"\.tmp[-.][0-9a-f]{16}|\.staged-|/trash-[0-9a-f]", each) and "/layers/l/" not in each])
        now = self.traces.state()
        for kind in ("cgroups", "mounts", "links", "processes"):
            if now[kind] != self.resting[kind]:
                out[kind] = f"{self.resting[kind]} before, {now[kind]} now"
        return out

    def check_nothing_is_left(self):
        last = {}

        def is_clean():
            last.clear()
            last.update(self.leftovers())
            return not last

        try:
            wait_until("nothing is left", is_clean, 30)
        except AssertionError:
            self.fail(f"left behind: {json.dumps(last, indent=1)}\n{self.daemon.tail(30)}")
        done = self.daemon.grua("system", "check", check=False, timeout=300)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        lines = [json.loads(line) for line in self.daemon.api("POST", "/grua/gc?dry-run=1")[1].splitlines()]
        self.assertEqual([line for line in lines if line.get("kind") in ("blob", "layer") and line["action"] == "remove"], [])

    def check_use(self):
        """What du says is what the disk has."""
        shown = json.loads(self.daemon.api("GET", "/system/df?type=build-cache")[1])["BuildCache"]
        self.assertEqual([each for each in shown if each["InUse"]], [])
        of_type = {}
        for each in shown:
            kind = "download" if each["Description"].startswith("http url ") else each["Type"]
            of_type.setdefault(kind, []).append(each["Size"])
        build = self.data / "build"
        self.assertEqual(sum(of_type.get("download", [])), size_of(build / "http/content"))
        self.assertEqual(sum(of_type.get("internal", [])), size_of(build / "history/blobs"))
        self.assertEqual(sum(of_type.get("source.local", [])), sum(size_of(each) for each in (build / "contexts").glob("*/tree")))
        self.assertEqual(sum(of_type.get("exec.cachemount", [])), sum(size_of(each) for each in (build / "mounts").glob("*/tree")))
        # Of layers that steps wrote, those that no record has are images' alone.
        steps = {number for row in self.rows("SELECT layers FROM build_cache_results WHERE layers IS NOT NULL") for step in row[0].split(",") if step
                 for (number,) in self.rows(f"SELECT number FROM steps WHERE id = '{step}'")}
        self.assertEqual(sum(of_type.get("regular", [])), sum(size_of(self.data / "layers/l" / str(number)) for number in steps), shown)


class Kills(Killed):
    def test_killed_at_random_moments(self):
        self.project.change()
        began = time.monotonic()
        self.end_of(self.begin_builds())
        moments = 1.2 * (time.monotonic() - began)
        ended, failures = 0, []
        for number in range(KILLS):
            self.project.change()
            begun = self.begin_builds()
            time.sleep(self.chance.uniform(0, moments))
            ended += all(each.poll() is not None for each in begun)
            self.daemon.kill()
            self.end_of(begun)
            self.daemon.start()
            try:
                self.check_next_build()
                self.check_nothing_is_left()
                if number % 5 == 0:
                    self.check_use()
            except AssertionError as error:
                failures.append(f"kill {number}: {error}")
                self.resting = self.traces.settled()  # It is told once.
                if len(failures) > 5:
                    break
        print(f"    GRUA_BUILD_KILLS_SEED={SEED}: {KILLS} kills, {KILLS - ended} in the middle of builds, {len(failures)} failed", flush=True)
        self.assertEqual(failures, [], "\n\n".join(failures))
        # Everything goes when it is asked to.
        self.daemon.docker("builder", "prune", "-a", "-f", timeout=180)
        self.daemon.docker("rmi", "-f", *self.daemon.docker("images", "-q").stdout.split())
        wait_until("all layers are gone", lambda: os.listdir(self.data / "layers/l") == [], 30)
        for folder in ("contexts", "mounts"):
            self.assertEqual(os.listdir(self.data / "build" / folder), [])
        self.assertEqual(json.loads(self.daemon.api("GET", "/system/df?type=build-cache")[1])["BuildCache"], [])


class WebServer:
    """Of one file, beside the daemon."""

    def __init__(self, daemon, port=8123):
        self.folder = tempfile.TemporaryDirectory(prefix="grua-kills-web-", dir="/var/tmp")
        self.serve(b"served" * 1000)
        self.name = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(["nsenter", f"--net=/proc/{daemon.holder.pid}/ns/net", sys.executable, "-m", "http.server", "-b", "127.0.0.1", "-d", self.folder.name, str(port)],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until("the file is served", lambda: daemon.in_netns("curl", "-sf", f"{self.name}/file", check=False).returncode == 0)

    def serve(self, content):
        pathlib.Path(self.folder.name, "file").write_bytes(content)

    def close(self):
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()


# On the way of what shares its files with builds: images that come in, and git, which no test here has a server of.
NOT_OF_A_BUILD = {"layers:unpacked", "layers:renamed", "layers:published", "layers:synced", "layers:row-removed", "build:git-begun", "build:git-made",
                  "build:mount-filled"}


def points():
    """Those on a build's way: by their files, and of the engine's lists of steps those of a step."""
    source = REPOSITORY / "src"
    files = [*(source / "build").rglob("*.cpp"), *(source / "content").glob("*.cpp"), *(source / "store").glob("*.cpp"),
             *(source / "images" / name for name in ("built.cpp", "pack_layers.cpp", "image_store.cpp")), *(source / "layers" / name for name in ("steps.cpp", "layers.cpp"))]
    out = {name for each in files for name in re.findall(r'crash_point\("([^"]+)"\)', each.read_text())}
    out.update(re.findall(r'\.name = "(step:[^"]+)"', (source / "engine/steps/step_run.cpp").read_text()))
    return sorted(out | {f"release:{name}" for name in ("processes", "network", "cgroup", "monitor", "points", "live")})


class Points(Killed):
    """gruad kills itself at each of them."""

    def everything(self):
        """What passes all of them, one after the other."""
        self.project.change()
        self.web.serve(self.chance.randbytes(6000))  # What is here already does not come again.
        (self.project.path / "more.Dockerfile").write_text(f"FROM busybox\nADD {self.web.name}/file /file\nRUN --mount=type=cache,target=/c,id={self.chance.random()} touch /c/x\n")
        for words in (self.words_of("all", "--no-cache"), self.words_of("more", file="more.Dockerfile")):
            self.end_of([self.begin(words)])
        for words in (["builder", "prune", "-a", "-f"], ["rmi", "-f", "all", "more"]):
            self.end_of([self.begin([DOCKER, *words])])

    def test_killed_at_each_point(self):
        self.web = WebServer(self.daemon)
        self.addCleanup(self.web.close)
        wanted = points()
        if "GRUA_BUILD_POINTS" in os.environ:
            wanted = os.environ["GRUA_BUILD_POINTS"].split(",")
        elif KILLS < 100:
            wanted = self.chance.sample(wanted, POINTS_AT_ONCE)
        missed = []
        for point in wanted:
            with self.subTest(point):
                self.daemon.stop()
                self.daemon.start({"GRUA_CRASH_AT": point})
                self.everything()
                if self.daemon.process.poll() is None:
                    missed.append(point)
                    self.daemon.stop()
                self.daemon.start()
                self.check_next_build()
                self.check_nothing_is_left()
                self.check_use()
        print(f"    GRUA_BUILD_KILLS_SEED={SEED}: killed at {len(wanted) - len(missed)} of {len(wanted)} points", flush=True)
        self.assertEqual([each for each in missed if each not in NOT_OF_A_BUILD], [])


if __name__ == "__main__":
    unittest.main()
