"""Power cuts: gruad works in a virtual machine on a disk of its own whose writes are logged; the disks that a cut at some moment
could have left are made from the log, and a gruad that starts on each must have all that it had reported as done.

GRUA_CUTS (20) says at how many moments. The recording is one run of the machine; the cuts are looked at on this host.
"""

import io
import json
import mmap
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "env"))

import writelog
from harness import BIN, ENV, PATIENCE, Daemon, busybox_image, run, wait_until
from image_soak_test import Api

CUTS = int(os.environ.get("GRUA_CUTS", "20"))
STEPS = int(os.environ.get("GRUA_CUT_STEPS", "60"))
SEED = int(os.environ.get("GRUA_CUT_SEED", str(random.SystemRandom().randrange(1 << 32))))
MIB = 1 << 20
DISK, FILES, NOTES = 264 * MIB, 256 * MIB, 260 * MIB  # the notes lie behind the file system
DEVICE = os.environ.get("GRUA_CUT_DEVICE", "/dev/vda")


class Notebook:
    """What was begun and what was reported as done, written past the file system so that the log has it in its place."""

    def __init__(self):
        self.file = os.open(DEVICE, os.O_WRONLY | os.O_DIRECT)
        self.page = mmap.mmap(-1, 64 << 10)

    def note(self, **what):
        text = json.dumps(what).encode()
        assert len(text) < len(self.page)
        self.page[:] = text.ljust(len(self.page), b"\0")
        os.pwrite(self.file, self.page, NOTES)


class Driver:
    """In the virtual machine."""

    def __init__(self, steps, seed):
        self.seed = seed
        self.random = random.Random(seed)
        self.steps = steps
        self.notes = Notebook()
        self.work = pathlib.Path(tempfile.mkdtemp(dir="/tmp"))
        config = self.work / "daemon.json"
        config.write_text(json.dumps({"gc": {"enabled": False, "high": 0, "low": 0, "keep": "1s", "images": "dangling"}}))
        self.daemon = Daemon("--config-file", config, image=False)
        self.api = Api(self.daemon.socket)
        self.archive = busybox_image().read_bytes()
        self.registry = None
        self.made = 0

    def ask(self, method, target, body=None, kind="application/x-tar"):
        data = body.encode() if isinstance(body, str) else body
        status, answer = self.api.connection.ask(method, target, data, {"Content-Type": kind} if data is not None else {})
        text = answer.decode(errors="replace")
        if status >= 300 and status not in (404, 409):
            raise AssertionError(f"{method} {target}: {status} {text}")
        for line in text.splitlines():
            if '"errorDetail"' in line:
                raise AssertionError(f"{method} {target}: {line}")
        return text

    def state(self):
        images = json.loads(self.ask("GET", "/images/json?all=1"))
        return {"tags": {tag: image["Id"] for image in images for tag in image["RepoTags"] or []},
                "images": sorted(image["Id"] for image in images),
                "containers": sorted(c["Id"] for c in json.loads(self.ask("GET", "/containers/json?all=1")))}

    def any_tag(self):
        tags = [tag for image in json.loads(self.ask("GET", "/images/json")) for tag in image["RepoTags"] or []]
        return self.random.choice(sorted(tags))

    def containers(self):
        return [c["Id"] for c in json.loads(self.ask("GET", "/containers/json?all=1"))]

    def load(self):
        self.ask("POST", "/images/load", self.archive)

    def import_one(self):
        buffer = io.BytesIO()
        self.made += 1
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for number in range(5):
                data = self.random.randbytes(self.random.randrange(1, 60000))
                info = tarfile.TarInfo(f"d{number}/f")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        self.ask("POST", f"/images/create?fromSrc=-&repo=imported&tag={self.random.randrange(4)}", buffer.getvalue())

    def tag(self):
        self.ask("POST", f"/images/{self.any_tag()}/tag?repo=tag&tag={self.random.randrange(4)}")

    def rmi(self):
        self.ask("DELETE", f"/images/{self.any_tag()}" + self.random.choice(["", "?force=1"]))

    def create(self):
        self.ask("POST", "/containers/create", json.dumps({"Image": self.any_tag(), "Cmd": ["true"]}), "application/json")

    def commit(self):
        if not self.containers():
            return self.create()
        container = self.random.choice(self.containers())
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            data = self.random.randbytes(3000)
            info = tarfile.TarInfo(f"file-{self.random.randrange(5)}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        self.ask("PUT", f"/containers/{container}/archive?path=/", buffer.getvalue())
        self.ask("POST", f"/commit?container={container}&repo=commit&tag={self.random.randrange(3)}", "{}", "application/json")

    def remove(self):
        if self.containers():
            self.ask("DELETE", f"/containers/{self.random.choice(self.containers())}?force=1")

    def collect(self):
        time.sleep(1)
        self.ask("POST", "/grua/gc")

    def push_and_pull(self):
        if not self.registry:
            return
        tag = f"{self.registry}/pushed:{self.random.randrange(3)}"
        self.ask("POST", f"/images/{self.any_tag()}/tag?repo={self.registry}/pushed&tag={tag.rpartition(':')[2]}")
        self.note_between()
        self.ask("POST", f"/images/{tag}/push", "", "application/json")
        self.ask("DELETE", f"/images/{tag}?force=1")
        self.ask("POST", "/grua/gc")
        self.note_between()
        self.ask("POST", f"/images/create?fromImage={tag}")

    def note_between(self):
        """What a step of several has done so far."""
        self.notes.note(done=self.step - 0.5, what="between", state=self.state())
        self.notes.note(begun=self.step, what="between")

    def start_registry(self):
        try:
            self.registry = self.daemon.in_netns(ENV / "registry.sh", "start", self.work / "registry", timeout=60).stdout.strip()
        except Exception as error:
            print(f"powercut: no registry in the machine: {error}", file=sys.stderr)

    def doings(self):
        """With how often they are done."""
        self.start_registry()
        return {self.load: 3, self.import_one: 4, self.tag: 2, self.rmi: 4, self.create: 3, self.commit: 4, self.remove: 2, self.collect: 3, self.push_and_pull: 2}

    def run(self):
        doings = self.doings()
        self.load()
        self.notes.note(done=0, root=str(self.daemon.root), state=self.state())
        for step in range(1, self.steps + 1):
            doing = self.random.choices(list(doings), list(doings.values()))[0]
            if not self.state()["tags"]:
                doing = self.load
            self.step = step
            self.notes.note(begun=step, what=doing.__name__)
            doing()
            self.notes.note(done=step, what=doing.__name__, state=self.state())
        print(f"{self.steps} steps done", flush=True)
        self.leave()

    def leave(self):
        os._exit(0)  # the disk is as the log says; nothing is put away


class PowerCuts(unittest.TestCase):
    driver = pathlib.Path(__file__).resolve()
    cuts, steps, seed = CUTS, STEPS, SEED

    @classmethod
    def setUpClass(cls):
        cls.work = pathlib.Path(tempfile.mkdtemp(prefix="grua-cut-", dir="/var/tmp"))
        cls.addClassCleanup(shutil.rmtree, cls.work, ignore_errors=True)
        cls.disk, cls.log = cls.work / "disk", cls.work / "log"
        with open(cls.disk, "wb") as disk:
            disk.truncate(DISK)
        run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", cls.disk, f"{FILES // MIB}M")
        shutil.copy(cls.disk, cls.work / "before")
        busybox_image()
        cls.log.touch()
        started = time.monotonic()
        done = cls.record()
        if "steps done" not in done.stdout:
            raise AssertionError(f"the run in the machine failed: {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-5000:]}")
        cls.entries = writelog.read_log(cls.log)
        cls.notes = []
        with open(cls.log, "rb") as log:
            for at, entry in enumerate(cls.entries):
                if entry.offset == NOTES:
                    log.seek(entry.data)
                    cls.notes.append((at, json.loads(log.read(entry.length).rstrip(b"\0"))))
        print(f"powercut: GRUA_CUT_SEED={cls.seed}; {cls.steps} steps, {len(cls.entries)} writes and flushes, recorded in {time.monotonic() - started:.0f} s", flush=True)

    @classmethod
    def record(cls):
        """One run of the driver, on a disk whose writes are logged."""
        return run(ENV / "cgroup2-run.sh", "--ro", "--share", cls.work, "--disk", cls.disk, "--disk-log", cls.log, "--mem", "2G", "--append", "no_timer_check", "--timeout", "1200", "--",
                   "env", "GRUA_TEST_DIR=/mnt", "GRUA_PATIENCE=8", f"GRUA_BIN={BIN}", "PYTHONDONTWRITEBYTECODE=1",
                   sys.executable, cls.driver, "drive", cls.steps, cls.seed, check=False, timeout=1300)

    def setUp(self):
        # Disks are mounted in a namespace of their own: a container that starts elsewhere meanwhile would copy the mount, and the file
        # system would outlive its umount.
        self.holder = subprocess.Popen(["unshare", "-n", "-m", "sh", "-c", "echo; exec sleep infinity"], stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE)
        self.addCleanup(self.holder.stdout.close)
        self.addCleanup(self.holder.wait)
        self.addCleanup(self.holder.kill)
        self.holder.stdout.readline()
        self.inside = ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", f"--mount=/proc/{self.holder.pid}/ns/mnt"]
        self.at = self.work / "mnt"
        self.at.mkdir(exist_ok=True)

    def known_at(self, cut):
        """The states between which the store must be: the last that was reported, and the one that was on its way."""
        done = [note for at, note in self.notes if at <= cut and "done" in note][-1]
        later = [note for at, note in self.notes if at > cut and "done" in note]
        begun = [note for at, note in self.notes if at <= cut and "begun" in note]
        is_under_way = begun and begun[-1]["begun"] > done["done"]
        after = later[0] if is_under_way and later else done
        return done, after

    def make(self, path, base, log, kept):
        # A new file each time: mount takes a loop device that still has the file, and with it the file system of the cut before.
        path.unlink(missing_ok=True)
        run("cp", "--sparse=always", base, path)
        with open(path, "r+b") as disk:
            for entry in kept:
                writelog.apply(log, disk, entry)

    def look(self, copy, cut):
        done, after = self.known_at(cut)
        run(*self.inside, "mount", "-o", "loop", copy, self.at)
        try:
            # The name of the run's folder is the machine's.
            root = self.at / pathlib.Path(self.notes[0][1]["root"]).name / "data"
            self.check_store(root, done, after)
        finally:
            run(*self.inside, "umount", self.at)

    def check_store(self, root, done, after):
        run_dir = pathlib.Path(tempfile.mkdtemp(prefix="grua-", dir="/run"))
        gruad_log = run_dir / "log"
        sock = run_dir / "sock"
        config = run_dir / "daemon.json"
        config.write_text(json.dumps({"gc": {"enabled": False}}))
        with open(gruad_log, "wb") as log:
            daemon = subprocess.Popen([*self.inside, BIN / "gruad", "-H", f"unix://{sock}", "--config-file", config,
                                       "--data-root", root, "--exec-root", run_dir / "exec", "--bridge", "gcut0", "--bip", "10.99.8.1/24",
                                       "--cgroup-parent", "/grua-cut"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_until("gruad", lambda: daemon.poll() is not None or "serves the Engine API" in gruad_log.read_text(), 20)
            self.assertIsNone(daemon.poll(), gruad_log.read_text())
            api = Api(sock)
            images = json.loads(api.ask("GET", "/images/json?all=1"))
            tags = {tag: image["Id"] for image in images for tag in image["RepoTags"] or []}
            for tag in done["state"]["tags"] | after["state"]["tags"] | tags:
                self.assertIn(tags.get(tag), [done["state"]["tags"].get(tag), after["state"]["tags"].get(tag)], f"{tag} in {done['what'] if 'what' in done else ''} → {after.get('what')}")
            there = {image["Id"] for image in images}
            self.assertLessEqual(set(done["state"]["images"]) & set(after["state"]["images"]), there)
            containers = {c["Id"] for c in json.loads(api.ask("GET", "/containers/json?all=1"))}
            self.assertLessEqual(set(done["state"]["containers"]) & set(after["state"]["containers"]), containers)
            self.assertLessEqual(containers, set(done["state"]["containers"]) | set(after["state"]["containers"]), f"containers in {done.get('what')} → {after.get('what')}")
            checked = api.ask("POST", "/grua/check")
            self.assertEqual(json.loads(checked.splitlines()[-1])["problems"], 0, checked)
            leaked = [line for line in map(json.loads, api.ask("POST", "/grua/gc?dry-run=1").splitlines()) if line.get("kind") in ("blob", "layer")]
            self.assertEqual([line for line in leaked if line["action"] == "remove"], [])
            seen = pathlib.Path(f"/proc/{self.holder.pid}/root{root}")
            for folder in ("layers/staging", "layers/trash", "content/trash"):
                wait_until(f"{folder} is empty", lambda where=seen / folder: not os.listdir(where))
            uppers = set(os.listdir(seen / "layers/containers"))
            self.assertEqual(uppers, containers)
            self.check_more(sock, seen, done, after)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{gruad_log.read_text()[-3000:]}") from None
        finally:
            daemon.terminate()
            daemon.wait(20 * PATIENCE)
            shutil.rmtree(run_dir, ignore_errors=True)

    def check_more(self, sock, seen, done, after):
        """`seen`: the data root, from here."""

    def test_what_was_reported_is_there_after_a_cut(self):
        choice = random.Random(self.seed)
        first = self.notes[0][0]
        cuts = sorted(choice.randrange(first, len(self.entries)) for _ in range(self.cuts))
        base, copy, played = self.work / "before", self.work / "copy", 0
        failures = []
        with open(self.log, "rb") as log, open(base, "r+b") as disk:
            for number, cut in enumerate(cuts):
                durable = writelog.last_flush(self.entries, cut)
                for entry in self.entries[played:durable]:
                    writelog.apply(log, disk, entry)
                disk.flush()
                played = max(played, durable)
                keep = [0, 0.5, 1][number % 3]
                kept = writelog.choose(self.entries, cut, choice, keep)
                self.make(copy, base, log, kept)
                try:
                    self.look(copy, cut)
                except AssertionError as error:
                    failures.append(f"cut {cut} of {len(self.entries)}, {durable} flushed, keeping {keep} of the others: {error}")
                    if os.environ.get("GRUA_KEEP"):
                        self.make(pathlib.Path(f"/var/tmp/grua-cut-failed-{self.seed}-{cut}"), base, log, kept)
        print(f"powercut: {len(cuts)} cuts, {len(failures)} failed", flush=True)
        self.assertEqual(failures, [], "\n\n".join(failures[:5]))


if __name__ == "__main__":
    if sys.argv[1:2] == ["drive"]:
        Driver(int(sys.argv[2]), int(sys.argv[3])).run()
    else:
        unittest.main()
