"""Every step that a load, a pull, a run or a removal takes is made to fail once, as a full disk or a lack of descriptors would have it.

The steps are not listed here: a build with crash points writes the names of those it visits (base/fault_point.hpp), and whatever was visited
without a fault is then failed at, point by point. After each: the error says what was being done, nothing is left behind, the same again
without the fault succeeds, and it is the gruad of before.
"""

import json
import os
import pathlib
import re
import sqlite3
import time
import unittest

import registry_double as double
from harness import Daemon, busybox_image, wait_until

KINDS = {"ENOSPC": "No space left on device", "EMFILE": "Too many open files", "ENOMEM": "Cannot allocate memory", "EIO": "Input/output error"}
# All kinds at each point, where there is time for it; else they take turns.
FULL = os.environ.get("GRUA_FAULTS") == "all"
MADE = "(made by a test)"
NOT_FOUND = 404


class Faults(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(os.environ.get("GRUA_TEST_DIR", "/var/tmp")) / f"grua-faults-{os.getpid()}-{cls.__name__}"
        cls.folder.mkdir()
        cls.addClassCleanup(lambda: [each.unlink() for each in cls.folder.iterdir()] and None or cls.folder.rmdir())
        cls.armed, cls.trace = cls.folder / "fail-at", cls.folder / "trace"
        cls.armed.touch()
        cls.trace.touch()
        cls.daemon = Daemon(env={"GRUA_FAIL_AT": f"@{cls.armed}", "GRUA_FAULT_TRACE": str(cls.trace)})
        cls.addClassCleanup(cls.daemon.close)
        cls.pid = cls.gruad_pid()

    @classmethod
    def gruad_pid(cls):
        return int((cls.daemon.exec_root / "pid").read_text())

    def arm(self, text):
        """In one step: gruad looks at it in the middle of its work."""
        new = self.folder / "fail-at.new"
        new.write_text(text)
        new.rename(self.armed)

    def visited(self):
        return list(dict.fromkeys(self.trace.read_text().splitlines()))

    # What a container, an image or a network may leave behind.

    def cgroups(self):
        found = []
        for parent in [*pathlib.Path("/sys/fs/cgroup").glob(f"*/{self.daemon.name}"), *pathlib.Path("/sys/fs/cgroup").glob(self.daemon.name)]:
            found += [str(each) for each in parent.iterdir() if each.is_dir()]
        return found

    def mounts(self):
        lines = pathlib.Path(f"/proc/{self.pid}/mountinfo").read_text().splitlines()
        return sorted(line.split()[4] for line in lines if str(self.daemon.root) in line or str(self.daemon.exec_root) in line)

    def links(self):
        """Links of containers: they carry the ID of theirs. The sandboxes that wait for one come and go."""
        shown = self.daemon.in_netns("ip", "-d", "-o", "link").stdout
        return sorted(re.findall(r"alias (\S*:[0-9a-f]{64}:\S*)", shown))

    def folders(self):
        data, live = self.daemon.root / "data", self.daemon.exec_root / "exec"
        out = {}
        for name in ("layers/staging", "layers/trash", "layers/containers", "layers/l", "content/trash", "containers", "volumes"):
            if (data / name).is_dir():
                out[name] = sorted(os.listdir(data / name))
        out["content/blobs"] = sorted(each.name for each in (data / "content/blobs").rglob("*") if each.is_file())
        out["live"] = sorted(str(each.relative_to(live)) for each in live.rglob("*") if re.search(r"[0-9a-f]{64}", str(each)))
        return out

    def rows(self):
        with sqlite3.connect(f"file:{self.daemon.root}/data/grua.db?mode=ro", uri=True, timeout=10) as database:
            names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")]
            return {name: database.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in sorted(names)}

    def rules(self):
        """As words without an order, which elements of sets have none of."""
        text = re.sub(r" counter packets \d+ bytes \d+", "", self.daemon.in_netns("nft", "list", "ruleset").stdout)
        return sorted(word.rstrip(",") for word in text.split())

    def shown(self):
        def answer(path):
            return json.loads(self.daemon.api("GET", path)[1])
        return {"containers": sorted((each["Id"], each["State"]) for each in answer("/containers/json?all=1")),
                "images": sorted(each["Id"] for each in answer("/images/json?all=1")),
                "volumes": sorted(each["Name"] for each in answer("/volumes")["Volumes"] or []),
                "networks": sorted(each["Name"] for each in answer("/networks"))}

    def processes(self):
        """Of this gruad, by its environment: the launcher and the monitors. A monitor that nobody needs any more is one too many."""
        count = 0
        mark = f"GRUA_FAULT_TRACE={self.trace}".encode()
        for each in pathlib.Path("/proc").glob("[0-9]*/environ"):
            try:
                count += mark in each.read_bytes().split(b"\0")
            except OSError:
                continue
        return count

    def state(self):
        return {"cgroups": self.cgroups(), "mounts": self.mounts(), "links": self.links(), "folders": self.folders(), "rows": self.rows(),
                "rules": self.rules(), "shown": self.shown(), "processes": self.processes()}

    def settled(self):
        """The state when nothing has changed for longer than anything is put off."""
        last, since = self.state(), time.monotonic()

        def is_quiet():
            nonlocal last, since
            now = self.state()
            if now != last:
                last, since = now, time.monotonic()
            return time.monotonic() - since > 3

        wait_until("nothing changes any more", is_quiet, 30)
        return last

    def differences(self, before):
        now = self.state()
        return {key: {"before": before[key], "now": now[key]} if key != "rules" else sorted(set(before[key]) ^ set(now[key]))
                for key in now if before[key] != now[key]}

    def expect_state(self, what):
        last = {}

        def is_same():
            last.clear()
            last.update(self.differences(self.before))
            return not last

        try:
            wait_until(what, is_same, 6)
        except AssertionError:
            self.before = self.settled()  # it is told once, not of every point from here on
            self.fail(f"{what}: left behind: {json.dumps(last, indent=1, default=str)[:6000]}\n{self.daemon.tail(15)}")

    # The walk.

    def walk(self, do, undo, must_visit, at_once=True):
        """`do` returns (whether it succeeded, what was said); `undo` takes away what it made. `at_once`: what failed leaves nothing; else the
        second try takes away what the first one left."""
        for _ in range(2):  # the first makes what is made once
            succeeded, said = do()
            self.assertTrue(succeeded, said)
            undo()
        self.before = self.settled()
        self.trace.write_text("")
        succeeded, said = do()
        self.assertTrue(succeeded, said)
        points = self.visited()  # what undo() visits is another walk's
        undo()
        for name in must_visit:
            self.assertIn(name, points, "a step that is known to be taken was not visited")
        self.expect_state("without a fault")
        failed_at, kinds = 0, list(KINDS)
        descriptors = self.daemon.at_rest()
        for index, point in enumerate(points):
            for kind in [*kinds, "exception"] if FULL else [kinds[index % len(kinds)], *(["exception"] if index % 5 == 0 else [])]:
                with self.subTest(point=point, kind=kind):
                    self.trace.write_text("")
                    self.arm(f"{point}:{kind}")
                    succeeded, said = do()
                    self.arm("")
                    self.assertEqual(self.daemon.process.poll(), None, f"gruad ended\n{self.daemon.tail()}")
                    self.assertIn(point, self.visited(), "the point was not visited when it should fail")
                    taken = succeeded
                    if succeeded:
                        undo()
                    else:
                        failed_at += 1
                        self.check_text(said, point, kind)
                        undo(missing_ok=True)
                    if at_once and not succeeded:
                        self.expect_state(f"after {kind} at {point} ({said})")
                    succeeded, said = do()
                    self.assertTrue(succeeded, f"the second try: {said}\n{self.daemon.tail(15)}")
                    undo()
                    if taken or not at_once:
                        self.expect_state(f"after {kind} at {point} and a second try")
                    self.assertEqual(self.gruad_pid(), self.pid)
        self.assertGreater(failed_at, 0)
        # One descriptor that is not given back at each fault would be as many as there were faults.
        wait_until("descriptors are given back", lambda: self.daemon.descriptors() < descriptors + max(8, len(points) // 2), 10)

    def check_text(self, said, point, kind):
        """What was being done stands before the reason, and is more than whom it was done to. Calls that name themselves in their own text,
        as `rename a to b: …`, need nobody to do that."""
        if kind == "exception":
            return
        self.assertIn(MADE, said, "the reason does not reach the client")
        if point.startswith(("store:", "content:", "layers:")):
            return
        reason = f"{KINDS[kind]} {MADE}"
        before = said.partition(reason)[0].removeprefix("Error response from daemon: ").strip().rstrip(":")
        words = re.sub(r"[0-9a-f]{12,64}|sha256", "", before)
        self.assertRegex(words, r"[a-z]{3}", f"the error does not name its step: {said!r}")

    def ask(self, method, path, body=None):
        status, text = self.daemon.api(method, path, body)
        return status, text.strip()


class Containers(Faults):
    """create, start, exit and removal of a container that has all: a network with an address and a port, limits, a volume, links of files."""

    body = {"Image": "busybox", "Cmd": ["sh", "-c", "echo said; exec sleep 1000"], "ExposedPorts": {"80/tcp": {}},
            "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "8123"}]}, "Memory": 64 << 20, "PidsLimit": 50,
                           "Mounts": [{"Type": "volume", "Source": "faulty", "Target": "/data"}, {"Type": "tmpfs", "Target": "/scratch"}]}}

    def created(self):
        return self.ask("POST", "/containers/create?name=one", self.body)

    def remove_all(self, missing_ok=False):
        for path in ("/containers/one?force=1", "/volumes/faulty"):
            status, text = self.ask("DELETE", path)
            self.assertIn(status, (204, NOT_FOUND), text)
            self.assertTrue(missing_ok or status == 204, text)

    def test_create_and_start(self):
        def run():
            status, text = self.created()
            if status == 201:
                status, text = self.ask("POST", "/containers/one/start")
            return status in (201, 204), text

        self.walk(run, self.remove_all, ["layers:prepare", "layers:mount", "network:sandbox", "network:wire", "network:rules", "store:write", "runtime:cgroup", "runtime:born",
                   "monitor:started"])

    def test_exit_and_removal(self):
        """A removal that failed is asked for again and succeeds."""
        def end():
            status, text = self.created()
            self.assertEqual(status, 201, text)
            status, text = self.ask("POST", "/containers/one/start")
            self.assertEqual(status, 204, text)
            self.arm_now()
            status, text = self.ask("POST", "/containers/one/kill")
            self.assertIn(status, (204, 409), text)
            status, text = self.ask("POST", "/containers/one/wait")
            self.assertEqual(status, 200, text)
            status, text = self.ask("DELETE", "/containers/one")
            return status == 204, text

        self.walk_late(end, self.remove_all)

    def walk_late(self, do, undo):
        """As walk(), and what is armed holds only from arm_now() on: what comes before it in `do` is another test's."""
        later = {"text": ""}
        at_once = self.arm

        def arm(text):
            later["text"] = text
            if not text:
                at_once("")

        def arm_now():
            self.trace.write_text("")
            at_once(later["text"])

        self.arm, self.arm_now = arm, arm_now
        self.walk(do, lambda missing_ok=True: undo(missing_ok=True), ["layers:move-to-trash", "store:write"], at_once=False)

    def test_exec(self):
        status, text = self.created()
        self.assertEqual(status, 201, text)
        self.addCleanup(self.remove_all)
        status, text = self.ask("POST", "/containers/one/start")
        self.assertEqual(status, 204, text)

        def execute(detach):
            status, text = self.ask("POST", "/containers/one/exec", {"Cmd": ["true"], "AttachStdout": True})
            if status != 201:
                return False, text
            made = json.loads(text)["Id"]
            status, text = self.ask("POST", f"/exec/{made}/start", {"Detach": detach, "Tty": False})
            if status != 200:
                return False, text
            shown = {}

            def has_ended():
                shown.update(json.loads(self.ask("GET", f"/exec/{made}/json")[1]))
                return not shown["Running"]

            wait_until("the exec has ended", has_ended)
            return shown["ExitCode"] == 0, text

        for detach in (True, False):
            self.walk(lambda: execute(detach), lambda missing_ok=True: None,
                      ["exec:launch", "runtime:exec-clone", "runtime:exec-born", "monitor:exec-started"])


class Images(Faults):
    """load, pull, commit and the removal of what came in."""

    def names(self):
        return json.loads(self.daemon.api("GET", "/images/json?all=1")[1])

    def remove(self, *names, missing_ok=False):
        for name in names:
            status, text = self.ask("DELETE", f"/images/{name}?force=1")
            self.assertIn(status, (200, NOT_FOUND), text)
            self.assertTrue(missing_ok or status == 200, text)

    def docker(self, *words):
        done = self.daemon.docker(*words, check=False)
        return done.returncode == 0, done.stderr + done.stdout

    def test_load(self):
        self.remove("busybox:latest", missing_ok=True)
        self.walk(lambda: self.docker("load", "-q", "-i", busybox_image()), lambda missing_ok=False: self.remove("busybox:latest", missing_ok=missing_ok),
                  ["layers:unpack", "layers:rename-layer", "content:create-blob", "store:commit"])

    def test_pull(self):
        registry = double.Double(self.daemon.holder.pid)
        self.addCleanup(registry.close)
        registry.add("x", "1", double.Image([300 << 10, 40 << 10]))
        name = f"{registry.authority}/x:1"
        self.walk(lambda: self.docker("pull", "-q", name), lambda missing_ok=False: self.remove(name, missing_ok=missing_ok),
                  ["base:start-thread", "layers:unpack", "content:rename-blob", "images:publish"])

    def test_removal(self):
        """What failed to go is whole, or can be removed again."""
        def load():
            self.assertTrue(self.docker("load", "-q", "-i", busybox_image())[0])

        def remove():
            held, self.armed_text = self.armed_text, ""
            load()
            self.trace.write_text("")
            Faults.arm(self, held)
            status, text = self.ask("DELETE", "/images/busybox:latest?force=1")
            return status == 200, text

        self.armed_text = ""

        def arm(text):
            self.armed_text = text
            if not text:
                Faults.arm(self, "")

        self.arm = arm
        self.remove("busybox:latest", missing_ok=True)
        self.walk(remove, lambda missing_ok=True: self.remove("busybox:latest", missing_ok=True), ["store:commit", "layers:move-to-trash", "content:move-to-trash"], at_once=False)


class VolumesAndNetworks(Faults):
    def test_volume(self):
        def make():
            status, text = self.ask("POST", "/volumes/create", {"Name": "faulty"})
            return status == 201, text

        def remove(missing_ok=False):
            status, text = self.ask("DELETE", "/volumes/faulty")
            self.assertIn(status, (204, NOT_FOUND) if missing_ok else (204,), text)

        self.walk(make, remove, ["store:create-file", "store:sync-file"])

    def test_network(self):
        def make():
            status, text = self.ask("POST", "/networks/create", {"Name": "n", "IPAM": {"Config": [{"Subnet": "10.99.77.0/24"}]}})
            return status == 201, text

        def remove(missing_ok=False):
            status, text = self.ask("DELETE", "/networks/n")
            self.assertIn(status, (204, NOT_FOUND) if missing_ok else (204,), text)

        self.walk(make, remove, ["store:write", "network:change-elements"])


if __name__ == "__main__":
    unittest.main()
