"""Front ends that are images: one of the tests' own in a container, by `# syntax=` and as a client asks for it, and ones that lie."""

import json
import pathlib
import re
import tempfile
import time
import unittest

from harness import BIN, Case, run, wait_until
from build_test import Folder
from llb_client import Client, Failed, Files, FrontEnd, Session, bridge, control, read_tar

PROGRAM = BIN / "gateway_front"


def front_end_tar(folder):
    """The program with what it is linked to."""
    root = pathlib.Path(folder) / "root"
    root.mkdir()
    libraries = re.findall(r"(/\S+) \(0x", run("ldd", PROGRAM).stdout)
    for path in {PROGRAM, *map(pathlib.Path, libraries)}:
        target = root / ("front" if path == PROGRAM else str(path).lstrip("/"))
        target.parent.mkdir(parents=True, exist_ok=True)
        run("cp", "-L", path, target)
    archive = pathlib.Path(folder) / "front.tar"
    run("tar", "-C", root, "-cf", archive, ".")
    return archive


class FrontEndImages(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            archive = front_end_tar(folder)
            labels = "moby.buildkit.frontend.caps=moby.buildkit.frontend.inputs,moby.buildkit.frontend.contexts"
            for name, more in (("front", [f"LABEL {labels}"]), ("front-bare", []), ("front-alone", [f"LABEL {labels}", "LABEL moby.buildkit.frontend.network.none=true"])):
                changes = ["ENTRYPOINT [\"/front\"]", "ENV MARK=marked", *more]
                cls.daemon.docker("import", *[word for each in changes for word in ("--change", each)], archive, f"{name}:latest")

    def setUp(self):
        self.client = Client(self.daemon)
        self.addCleanup(self.client.close)

    def tearDown(self):
        super().tearDown()
        # Whatever it did: no process, no mount of a step's, no folder of one.
        wait_until("nothing is left of the front ends", lambda: not self.processes(), 30)
        wait_until("no step is left", lambda: not any((self.daemon.exec_root / "exec/steps").iterdir()), 30)

    def processes(self):
        return [line for line in run("pgrep", "-a", "-x", "front", check=False).stdout.splitlines() if self.is_ours(line.split()[0])]

    def is_ours(self, pid):
        try:
            return self.daemon.name in pathlib.Path(f"/proc/{pid}/cgroup").read_text()
        except OSError:
            return False

    def solve(self, session=None, exports=(), inputs=None, source="front", **options):
        attributes = {"source": source, **{name.replace("__", ":").replace("_", "-"): value for name, value in options.items()}}
        return self.client.solve(frontend="gateway.v0", attributes=attributes, session=session, exports=exports, inputs=inputs)

    def refused(self, words, **more):
        with self.assertRaises(Failed) as failed:
            self.solve(**more)
        self.assertIn(words, str(failed.exception))

    def told(self, session):
        return read_tar(session.received[0]).text("told")

    def test_it_is_asked_by_a_client(self):
        with Session(self.daemon) as session:
            self.solve(session, [("tar", {})], build_arg__A="b", inputs={"one": Files().mkfile("/given", "by another").done()})
            told = dict(line.split("=", 1) for line in self.told(session).splitlines() if "=" in line)
            self.assertEqual((told["source"], told["build-arg:A"], told["BUILDKIT_SESSION_ID"], told["MARK"]), ("front", "b", session.id, "marked"))
            self.assertEqual(json.loads(told["BUILDKIT_WORKERS"])[0]["platforms"][0]["os"], "linux")
            self.assertEqual((told["input one"], told["BUILDKIT_EXPORTEDPRODUCT"], told["definition"]), ("by another", "grua", "2"))
        said = self.client.told
        self.assertIn("the front end speaks", said.log())
        self.assertEqual([each.short for each in said.warnings], [b"the front end warns"])
        self.assertIn("[internal] run front end docker.io/library/front:latest", said.names())
        answer = self.solve(exports=[("image", {"name": "by-front"})])
        self.assertRegex(answer["containerimage.digest"], "^sha256:")
        self.assertIn("source=front", self.out("run", "--rm", "--network", "none", "by-front", "cat", "/told"))
        # By a front end outside, as buildx asks.
        with Session(self.daemon) as session:
            front = FrontEnd(self.client, session, exports=[("tar", {})])
            result = front.solve(Frontend="gateway.v0", FrontendOpt={"source": "front"})
            self.assertTrue(result.ref.id)
            front.finish(bridge.Result(ref=bridge.Ref(id=result.ref.id)))
            self.assertIn("source=front", self.told(session))

    def test_a_dockerfile_names_it(self):
        with Folder({"Dockerfile": "# syntax=front reads=no some words\nanything at all\n"}) as folder:
            done = self.docker("build", "--progress", "plain", "-t", "named", "--build-arg", "X=y", folder.path)
            self.assertIn("the front end speaks", done.stderr)
            self.assertIn("the front end warns", done.stderr)
            told = self.out("run", "--rm", "--network", "none", "named", "cat", "/told")
            self.assertIn("cmdline=front reads=no some words\n", told)
            self.assertIn("build-arg:X=y\n", told)
            # What it is about it reads itself.
            with Session(self.daemon, folders={"dockerfile": folder.path}) as session:
                self.solve(session, [("tar", {})], reads="yes")
                self.assertIn("anything at all", self.told(session))
            said = self.docker("build", "--progress", "plain", "--build-arg", "BUILDKIT_SYNTAX=front mode=error", folder.path, check=False)
            self.assertIn("the front end does not like it", said.stderr)
            with Session(self.daemon, folders={"dockerfile": folder.path}) as session, self.assertRaises(Failed) as failed:
                self.client.solve(frontend="dockerfile.v0", attributes={"build-arg:BUILDKIT_SYNTAX": "front mode=error"}, session=session)
            self.assertEqual(str(failed.exception), "failed with build-arg:BUILDKIT_SYNTAX = front mode=error: the front end does not like it")
            folder.write("Dockerfile", "# syntax=front mode=error\nFROM busybox\n")
            said = self.docker("build", "--progress", "plain", folder.path, check=False)
            self.assertEqual(said.returncode, 1)
            self.assertIn("the front end does not like it", said.stderr)
            self.assertIn("Dockerfile:1", said.stderr)
            folder.write("Dockerfile", "# syntax=no-such-front-end@sha256:" + "0" * 64 + "\nFROM busybox\n")
            self.assertIn("no-such-front-end", self.docker("build", folder.path, check=False).stderr)
            # Docker's own is ours.
            folder.write("Dockerfile", "# syntax=docker/dockerfile:1.999-labs\nFROM busybox\nRUN echo ours > /ours\n")
            self.docker("build", "-q", "-t", "ours", folder.path)
            self.assertEqual(self.out("run", "--rm", "--network", "none", "ours", "cat", "/ours"), "ours")
            folder.write("Dockerfile", "# syntax=front\nFROM busybox\nRUN echo ours > /ours\n")
            self.docker("build", "-q", "-t", "ours", "--build-arg", "BUILDKIT_SYNTAX=docker/dockerfile", folder.path)

    def test_what_it_has_to_say_of_itself(self):
        self.refused("unsupported frontend capability moby.buildkit.frontend.inputs", source="front-bare", inputs={"one": Files().mkfile("/given").done()})
        with self.assertRaises(Failed) as failed:
            self.client.solve(frontend="gateway.v0", attributes={"source": "front", "frontend.caps": "moby.buildkit.frontend.subrequests+forward"})
        self.assertIn("unsupported frontend capability moby.buildkit.frontend.subrequests", str(failed.exception))
        with self.assertRaises(Failed) as failed:
            self.client.solve(frontend="gateway.v0")
        self.assertIn("no source specified", str(failed.exception))
        with Session(self.daemon) as session:
            self.solve(session, [("tar", {})], source="front-alone")

    def test_what_fails_is_said(self):
        self.refused("the front end does not like it", mode="error")
        self.refused("front end docker.io/library/front:latest: it has ended with exit code 3", mode="exit")
        self.refused("it has ended with exit code 4", mode="unknown")
        self.assertIn("return reference nobody not found", self.client.told.log())
        self.refused("it has ended without a result", mode="nothing")
        self.refused("it has ended with exit code 9", mode="bad-exit")
        self.refused("it has ended with exit code 4", mode="host")
        self.assertIn("network.host is not allowed", self.client.told.log())

    def test_connections_that_are_none(self):
        self.refused("it has ended its connection without a result", mode="garbage")
        # A result counts, also of one that does not go.
        self.solve(mode="late")

    def test_ones_that_say_nothing(self):
        answers = [self.begin(mode) for mode in ("silent", "closed")]
        for each in answers:
            self.assertIn("it has not said anything for 60 s", each.exception().details())

    def begin(self, mode):
        request = control.SolveRequest(Ref=f"mode-{mode}", Frontend="gateway.v0")
        request.FrontendAttrs["source"], request.FrontendAttrs["mode"] = "front", mode
        return self.client.begin(request)

    def test_floods(self):
        self.refused("it has ended with exit code 4", mode="results")
        self.assertIn("a front end is given at most", self.client.told.log())
        self.refused("it has ended with exit code 4", mode="warnings")
        self.assertIn("a front end warns at most", self.client.told.log())
        self.assertLessEqual(len(self.client.told.warnings), 1000)
        self.refused("it has ended with exit code 4", mode="recursion")
        self.assertIn("8 deep", self.client.told.log())
        for mode in ("errors", "hang"):
            answer = self.begin(mode)
            wait_until("it runs", self.processes, 30)
            time.sleep(2)
            self.assertLess(self.daemon.memory(), 150 << 20)
            answer.cancel()
            wait_until("who leaves ends it", lambda: not self.processes(), 30)

    def test_it_does_not_outlive_its_gruad(self):
        answer = self.begin("hang")
        wait_until("it runs", self.processes, 30)
        self.daemon.kill()
        self.assertIsNotNone(answer.exception())
        self.daemon.start()
        wait_until("it has ended", lambda: not self.processes(), 30)


if __name__ == "__main__":
    unittest.main()
