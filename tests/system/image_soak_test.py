"""Two clients that load, pull, run, tag, commit, remove, prune and collect at random, against a model of who uses what.

GRUA_SOAK_SECONDS (120) says for how long, GRUA_SOAK_SEED what they do. Each client knows its own names and containers; what removes
globally (prune -a, gc) may take names of images without a container from both, and nothing else.
"""

import json
import os
import pathlib
import random
import shutil
import tempfile
import threading
import time
import unittest

from harness import BIN, DOCKER, ENV, Connection, Daemon, busybox_image, run, wait_until

SECONDS = float(os.environ.get("GRUA_SOAK_SECONDS", "120"))
SEED = int(os.environ.get("GRUA_SOAK_SEED", str(random.SystemRandom().randrange(1 << 32))))
IMAGES = 5


class Api:
    def __init__(self, path):
        self.connection = Connection(path)

    def ask(self, method, target):
        status, text = self.connection.ask(method, target)
        if status >= 300:
            raise AssertionError(f"{method} {target}: {status} {text}")
        return text.decode()


class Removals:
    """Operations that may take what others own. `stamp` differs where one ran in between or runs now."""

    def __init__(self):
        self.lock = threading.Lock()
        self.count = self.running = 0

    def __enter__(self):
        with self.lock:
            self.count += 1
            self.running += 1

    def __exit__(self, *_):
        with self.lock:
            self.count += 1
            self.running -= 1

    def stamp(self):
        with self.lock:
            return self.count, self.running


class Worker(threading.Thread):
    def __init__(self, case, number, deadline):
        super().__init__()
        self.case, self.name, self.deadline = case, f"w{number}", deadline
        self.random = random.Random(SEED * 10 + number)
        self.api = Api(case.daemon.socket)
        self.tags = {}        # name → (image ID, stamp of when it was last seen)
        self.containers = {}  # name → (image ID, its marker, runs)
        self.markers = dict(case.markers)
        self.made = 0
        self.counts = {}
        self.history = []
        self.failure = None

    # --- the client

    def docker(self, *words):
        done = run(DOCKER, *words, env=self.case.daemon.environment(), check=False, timeout=120)
        self.history.append(f"{done.returncode} {' '.join(map(str, words))} {done.stderr.strip()[-200:]}")
        return done

    def expect(self, condition, what):
        if not condition:
            raise AssertionError(f"{self.name}: {what}\n" + "\n".join(self.history[-25:]))

    def allowed(self, done, *texts):
        """A refusal that the model foresees."""
        self.expect(any(text in done.stderr for text in texts), f"unexpected: {done.stderr}")

    # --- the model

    def users(self, image):
        return [name for name, (used, _, _) in self.containers.items() if used == image]

    def is_loose(self, tag):
        """May the name have gone by what another client does?"""
        image, stamp = self.tags[tag]
        count, running = self.case.removals.stamp()
        return not self.users(image) and (count != stamp[0] or running > 0)

    def note(self, tag, image):
        self.tags[tag] = (image, self.before)

    def verify(self):
        """Everything that is ours is there and is what we think."""
        stamp = self.case.removals.stamp()
        there = {tag: image["Id"] for image in json.loads(self.api.ask("GET", "/images/json?all=1")) for tag in image["RepoTags"] or []}
        for tag in list(self.tags):
            if tag in there:
                self.expect(there[tag] == self.tags[tag][0], f"{tag} is {there[tag]}, not {self.tags[tag][0]}")
                if stamp[1] == 0:
                    self.tags[tag] = (self.tags[tag][0], stamp)
            else:
                self.expect(self.is_loose(tag), f"{tag} of {self.tags[tag][0]} is gone, used by {self.users(self.tags[tag][0])}")
                del self.tags[tag]
        for tag in there:
            if f"{self.name}/" in tag:
                self.expect(tag in self.tags, f"{tag} is there and should not be")
        listed = {c["Names"][0][1:]: c for c in json.loads(self.api.ask("GET", "/containers/json?all=1"))}
        for name, (image, _, runs) in self.containers.items():
            self.expect(name in listed, f"container {name} is gone")
            self.expect(listed[name]["ImageID"] == image, f"container {name} has image {listed[name]['ImageID']}")
            self.expect((listed[name]["State"] == "running") == runs, f"container {name} is {listed[name]['State']}")

    # --- what is done

    def any_tag(self):
        return self.random.choice(sorted(self.tags)) if self.tags else None

    def any_container(self):
        return self.random.choice(sorted(self.containers)) if self.containers else None

    def load(self):
        number = self.random.randrange(IMAGES)
        done = self.docker("load", "-q", "-i", self.case.work / f"{self.name}-{number}.tar")
        self.expect(done.returncode == 0, "load failed")
        self.note(f"{self.name}/image:{number}", self.case.ids[number])

    def pull(self):
        if not self.case.registry:
            return self.load()
        number = self.random.randrange(IMAGES)
        name = f"{self.case.registry}/{self.name}/image:{number}"
        done = self.docker("pull", "-q", name)
        self.expect(done.returncode == 0, "pull failed")
        self.note(name, self.case.ids[number])

    def tag(self):
        tag = self.any_tag()
        if not tag:
            return
        new = f"{self.name}/tag:{self.random.randrange(4)}"
        done = self.docker("tag", tag, new)
        if done.returncode == 0:
            self.note(new, self.tags[tag][0])
        else:
            self.allowed(done, "No such image")
            self.expect(self.is_loose(tag), f"{tag} could not be tagged")

    def rmi(self):
        tag = self.any_tag()
        if not tag:
            return
        force = self.random.random() < 0.3
        done = self.docker("rmi", *(["-f"] if force else []), tag)
        if done.returncode == 0:
            del self.tags[tag]
        elif "No such image" in done.stderr:
            self.expect(self.is_loose(tag), f"{tag} could not be removed")
        else:
            self.allowed(done, "conflict: unable to")

    def start_one(self):
        tag = self.any_tag()
        if not tag:
            return
        self.made += 1
        name = f"{self.name}-{self.made}"
        image = self.tags[tag][0]
        kind = self.random.choice(["run", "create", "rm"])
        if kind == "rm":
            done = self.docker("run", "--pull", "never", "--rm", tag, "cat", "/id")
        elif kind == "run":
            done = self.docker("run", "--pull", "never", "-d", "--init", "--label", f"of={self.name}", "--name", name, tag, "sleep", "100000")
        else:
            done = self.docker("create", "--pull", "never", "--label", f"of={self.name}", "--name", name, tag, "cat", "/id")
        if done.returncode != 0:
            # Its own image may go until the container is there.
            self.allowed(done, "No such image", "Unable to find image")
            self.expect(self.is_loose(tag), f"{tag} could not be run")
            return
        if kind == "rm":
            self.expect(done.stdout.strip() == self.markers[image], f"{tag} has the wrong contents: {done.stdout}")
        else:
            self.containers[name] = (image, self.markers[image], kind == "run")

    def look(self):
        name = self.any_container()
        if not name:
            return
        image, marker, runs = self.containers[name]
        done = self.docker("exec", name, "cat", "/id") if runs else self.docker("start", "-a", name)
        self.expect(done.returncode == 0 and done.stdout.strip() == marker, f"{name} has the wrong contents: {done.stdout}{done.stderr}")

    def remove(self):
        name = self.any_container()
        if not name:
            return
        done = self.docker("rm", "-f", name)
        self.expect(done.returncode == 0, f"{name} could not be removed")
        del self.containers[name]

    def commit(self):
        running = [name for name, (_, _, runs) in self.containers.items() if runs]
        if not running:
            return
        name = self.random.choice(running)
        self.made += 1
        marker = f"{self.name}-made-{self.made}"
        self.expect(self.docker("exec", name, "sh", "-c", f"echo {marker} > /id").returncode == 0, "cannot write")
        self.containers[name] = (self.containers[name][0], marker, True)
        tag = f"{self.name}/commit:{self.random.randrange(3)}"
        done = self.docker("commit", "-p=false" if self.random.random() < 0.5 else "-p=true", name, tag)
        if done.returncode != 0:
            self.allowed(done, "No such image")  # its image was removed by force
            return
        self.markers[done.stdout.strip()] = marker
        self.note(tag, done.stdout.strip())

    def prune(self):
        if self.random.random() < 0.3:
            done = self.docker("container", "prune", "-f", "--filter", f"label=of={self.name}")
            self.expect(done.returncode == 0, "container prune failed")
            self.containers = {name: each for name, each in self.containers.items() if each[2]}
            return
        with self.case.removals:
            done = self.docker("image", "prune", "-f", *(["-a"] if self.random.random() < 0.3 else []))
        self.expect(done.returncode == 0, "prune failed")

    def collect(self):
        with self.case.removals:
            done = run(self.case.grua, "system", "gc", env=self.case.daemon.environment(), check=False)
        self.history.append(f"{done.returncode} gc {done.stderr}")
        self.expect(done.returncode == 0, "gc failed")

    def run(self):
        doings = {self.load: 5, self.pull: 5, self.tag: 5, self.rmi: 6, self.start_one: 10, self.look: 6, self.remove: 6, self.commit: 3,
                  self.prune: 3, self.collect: 2}
        try:
            while time.monotonic() < self.deadline and not self.case.stopped.is_set():
                doing = self.random.choices(list(doings), list(doings.values()))[0]
                self.before = self.case.removals.stamp()
                doing()
                self.verify()
                self.counts[doing.__name__] = self.counts.get(doing.__name__, 0) + 1
        except Exception as failure:
            self.failure = failure
            self.case.stopped.set()


class Soak(unittest.TestCase):
    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="grua-soak-", dir="/var/tmp"))
        self.addCleanup(shutil.rmtree, self.work, ignore_errors=True)
        config = self.work / "daemon.json"
        config.write_text(json.dumps({"gc": {"enabled": False, "high": 0, "low": 0, "keep": "0s", "images": "unused"}}))
        self.daemon = Daemon("--config-file", config, image=False)
        self.addCleanup(self.daemon.close)
        self.grua = BIN / "grua"
        self.empty = self.files()
        self.registry = None
        if (ENV / "registry.sh").exists():
            self.registry = self.daemon.in_netns(ENV / "registry.sh", "start", self.work / "registry", timeout=300).stdout.strip()
            self.addCleanup(run, ENV / "registry.sh", "stop", self.work / "registry")
        self.removals = Removals()
        self.stopped = threading.Event()
        self.make_images(busybox_image())

    def files(self):
        """What is not a folder, below the data root but for the database and what has happened."""
        root = self.daemon.root / "data"
        for trash in (root / "layers/trash", root / "content/trash"):
            wait_until(f"{trash} is empty", lambda where=trash: not os.listdir(where))
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir() and not path.name.startswith("grua.db") and path.name != "events")

    def make_images(self, busybox):
        """A family that shares layers: each stands on the one before or on the first."""
        docker = self.daemon.docker
        docker("load", "-q", "-i", busybox)
        self.ids, self.markers, base = [], {}, "busybox"
        for number in range(IMAGES):
            docker("run", "--name", "maker", base, "sh", "-c", f"echo image-{number} > /id; head -c 200000 /dev/urandom > /data-{number}")
            docker("commit", "maker", f"made:{number}")
            docker("rm", "maker")
            self.ids.append(docker("inspect", "-f", "{{.Id}}", f"made:{number}").stdout.strip())
            self.markers[self.ids[-1]] = f"image-{number}"
            for worker in ("w0", "w1"):
                docker("tag", f"made:{number}", f"{worker}/image:{number}")
                docker("save", "-o", self.work / f"{worker}-{number}.tar", f"{worker}/image:{number}")
                if self.registry:
                    docker("tag", f"made:{number}", f"{self.registry}/{worker}/image:{number}")
                    docker("push", "-q", f"{self.registry}/{worker}/image:{number}")
            base = f"made:{number}" if number % 3 else "made:0"
        self.daemon.grua("system", "gc")
        self.assertEqual(self.files(), self.empty)

    def test_what_is_used_stays_and_what_is_not_goes(self):
        print(f"soak: GRUA_SOAK_SEED={SEED}, {SECONDS:.0f} s", flush=True)
        deadline = time.monotonic() + SECONDS
        workers = [Worker(self, number, deadline) for number in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        for worker in workers:
            if worker.failure:
                raise AssertionError(f"seed {SEED}: {worker.failure}\n{self.daemon.tail(60)}")
        print(f"soak: {[worker.counts for worker in workers]}", flush=True)
        self.daemon.grua("system", "check")
        names = self.daemon.docker("ps", "-aq").stdout.split()
        if names:
            self.daemon.docker("rm", "-f", *names)
        explained = self.daemon.grua("system", "gc", "--dry-run").stdout
        self.daemon.grua("system", "gc")
        self.assertEqual(self.daemon.docker("images", "-aq").stdout, "", explained)
        self.assertEqual(self.files(), self.empty)
        self.assertIn("no problems", self.daemon.grua("system", "check").stdout)


if __name__ == "__main__":
    unittest.main()
