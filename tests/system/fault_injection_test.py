"""Every step that a load, a pull, a run or a removal takes is made to fail once, as a full disk or a lack of descriptors would have it.

The steps are not listed here: a build with crash points writes the names of those it visits (base/fault_point.hpp), and whatever was visited
without a fault is then failed at, point by point. After each: the error says what was being done, nothing is left behind, the same again
without the fault succeeds, and it is the gruad of before.
"""

import json
import os
import pathlib
import re
import unittest

import registry_double as double
from harness import Daemon, busybox_image, wait_until
from traces import MADE, FaultPoints, Traces

KINDS = {"ENOSPC": "No space left on device", "EMFILE": "Too many open files", "ENOMEM": "Cannot allocate memory", "EIO": "Input/output error"}
# All kinds at each point, where there is time for it; else they take turns.
FULL = os.environ.get("GRUA_FAULTS") == "all"
NOT_FOUND = 404


class Faults(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(os.environ.get("GRUA_TEST_DIR", "/var/tmp")) / f"grua-faults-{os.getpid()}-{cls.__name__}"
        cls.folder.mkdir()
        cls.addClassCleanup(lambda: [each.unlink() for each in cls.folder.iterdir()] and None or cls.folder.rmdir())
        cls.faults = FaultPoints(cls.folder)
        cls.trace = cls.faults.trace
        cls.daemon = Daemon(env=cls.faults.environment())
        cls.addClassCleanup(cls.daemon.close)
        cls.pid = cls.gruad_pid()
        cls.traces = Traces(cls.daemon, cls.faults.mark())

    @classmethod
    def gruad_pid(cls):
        return cls.daemon.pid()

    def arm(self, text):
        self.faults.arm(text)

    def visited(self):
        return self.faults.visited()

    def expect_state(self, what):
        last = {}

        def is_same():
            last.clear()
            last.update(self.traces.differences(self.before))
            return not last

        try:
            wait_until(what, is_same, 6)
        except AssertionError:
            self.before = self.traces.settled()  # it is told once, not of every point from here on
            self.fail(f"{what}: left behind: {json.dumps(last, indent=1, default=str)[:6000]}\n{self.daemon.tail(15)}")

    # The walk.

    def walk(self, do, undo, must_visit, at_once=True):
        """`do` returns (whether it succeeded, what was said); `undo` takes away what it made. `at_once`: what failed leaves nothing; else the
        second try takes away what the first one left."""
        for _ in range(2):  # the first makes what is made once
            succeeded, said = do()
            self.assertTrue(succeeded, said)
            undo()
        self.before = self.traces.settled()
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
