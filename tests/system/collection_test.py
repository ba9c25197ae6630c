"""Collection by its policy, and the check that finds and repairs what is broken."""

import json
import pathlib
import re
import shutil
import signal
import tempfile
import threading
import time
import unittest

from harness import BIN, ENV, Daemon, busybox_image, run, wait_until


class Collection(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.work = pathlib.Path(tempfile.mkdtemp(prefix="grua-gc-", dir="/var/tmp"))
        cls.addClassCleanup(shutil.rmtree, cls.work, ignore_errors=True)
        (cls.work / "daemon.json").write_text("{}")
        cls.daemon = Daemon("--config-file", cls.work / "daemon.json")
        cls.addClassCleanup(cls.daemon.close)
        cls.data = cls.daemon.root / "data"

    def policy(self, **members):
        (self.work / "daemon.json").write_text(json.dumps({"gc": members}))
        before = self.daemon.log.read_text().count("configuration is read again")
        self.daemon.process.send_signal(signal.SIGHUP)
        wait_until("the policy", lambda: self.daemon.log.read_text().count("configuration is read again") > before)

    def gc(self, dry=True):
        status, text = self.daemon.api("POST", "/grua/gc" + ("?dry-run=1" if dry else ""))
        self.assertEqual(status, 200, text)
        lines = [json.loads(line) for line in text.splitlines()]
        return lines[:-1], lines[-1]

    def events(self, since):
        return self.daemon.docker("events", "--since", since, "--until", int(time.time()) + 1, "--format", "{{.Type}} {{.Action}} {{.Actor.ID}}").stdout

    def image(self, name, *changes):
        self.daemon.docker("rm", "-f", "maker", check=False)
        self.daemon.docker("run", "--name", "maker", "busybox", "sh", "-c", "head -c 50000 /dev/urandom > /data")
        words = [word for change in changes for word in ("-c", change)]
        made = self.daemon.docker("commit", *words, "maker", *([name] if name else [])).stdout.strip()
        self.daemon.docker("rm", "maker")
        return made

    def reasons(self, lines):
        """By ID, without how long ago."""
        return {line["id"]: (line["action"], re.sub(r"[0-9]+ (second|minute)s?", "a while", line["reason"])) for line in lines}

    def test_a_dry_run_says_what_the_real_one_does(self):
        docker = self.daemon.docker
        loose, named = self.image(""), self.image("named:1")
        pinned = self.image("", "LABEL grua.pin=true")
        used = self.image("")
        docker("create", "--name", "user", used, "true")
        docker("create", "--name", "stopped", "busybox", "true")
        docker("volume", "create", "kept")
        docker("run", "-v", "kept:/v", "--name", "ran", "busybox", "touch", "/v/file")
        lines, sums = self.gc()
        self.assertEqual(sums["removed"], 0)
        self.assertIn("used", self.reasons(lines)[loose][1])
        self.policy(high=0, low=0, keep="0s", enabled=False)
        lines, sums = self.gc()
        reasons = self.reasons(lines)
        self.assertEqual(reasons[loose][0], "remove")
        self.assertEqual(reasons[named], ("keep", "it has a name"))
        self.assertEqual(reasons[pinned], ("keep", "pinned by its label grua.pin"))
        self.assertIn("used by container", reasons[used][1])
        self.assertTrue(all(line["action"] == "keep" for line in lines if line["kind"] == "container"))
        self.assertGreater(sums["reclaimed"], 100_000)
        self.assertEqual(docker("image", "inspect", loose, check=False).returncode, 0)
        again, same = self.gc()
        self.assertEqual((self.reasons(again), same), (reasons, sums))

        since = int(time.time())
        real, real_sums = self.gc(dry=False)
        self.assertEqual(self.reasons(real), reasons)
        self.assertEqual(real_sums, sums)
        self.assertIn(f"image delete {loose}", self.events(since))
        self.assertNotEqual(docker("image", "inspect", loose, check=False).returncode, 0)
        for image in (named, pinned, used):
            docker("image", "inspect", image)

        self.policy(high=0, low=0, keep="0s", enabled=False, images="unused", containers="0s")
        lines, _ = self.gc()
        reasons = self.reasons(lines)
        base = docker("image", "inspect", "-f", "{{.Id}}", "busybox").stdout.strip()
        self.assertEqual({line["id"] for line in lines if line["action"] == "keep"}, {pinned, base})
        self.assertEqual(reasons[base][1], f"image {pinned[7:19]} was made of it")
        real, _ = self.gc(dry=False)
        self.assertEqual(self.reasons(real), reasons)
        self.assertIn("container destroy", self.events(since))
        self.assertEqual(docker("ps", "-aq").stdout, "")
        self.assertIn("kept", docker("volume", "ls", "-q").stdout)
        self.policy()
        docker("rmi", "-f", pinned)
        docker("load", "-q", "-i", busybox_image())

    def test_wrong_policies_are_named(self):
        for text, expected in (('{"gc": 1}', "gc: expected an object"), ('{"gc": {"high": 101}}', "gc.high: expected a percentage"),
                               ('{"gc": {"keep": "1 day"}}', 'invalid duration "1 day"'), ('{"gc": {"images": "all"}}', 'gc.images: "all" is none of'),
                               ('{"gc": {"low": 90}}', "low (90) is above high (85)"), ('{"gc": {"hihg": 1}}', 'gc: unknown key "hihg"')):
            (self.work / "wrong.json").write_text(text)
            done = run(BIN / "gruad", "--validate", "--config-file", self.work / "wrong.json", check=False)
            self.assertIn(expected, done.stderr)

    # --- check

    def check(self, repair=False):
        done = self.daemon.grua("system", "check", *(["--repair"] if repair else []), "--format", "{{.Kind}} {{.Problem}} {{.Repaired}}", check=False)
        return done.returncode, done.stdout.splitlines()

    def test_check_repairs_from_the_registry(self):
        docker = self.daemon.docker
        registry = self.daemon.in_netns(ENV / "registry.sh", "start", self.work / "registry", timeout=300).stdout.strip()
        self.addCleanup(run, ENV / "registry.sh", "stop", self.work / "registry")
        name = f"{registry}/a/busybox:1"
        docker("tag", "busybox", name)
        docker("push", "-q", name)
        docker("rmi", "busybox")
        docker("rmi", name)
        docker("pull", "-q", name)
        docker("tag", name, "busybox")
        self.assertEqual(self.check(), (0, []))
        image = docker("image", "inspect", "-f", "{{.Id}}", name).stdout.strip()
        manifest = json.loads((self.data / "content/blobs/sha256" / image.removeprefix("sha256:")).read_text())
        layer = self.data / "content/blobs/sha256" / manifest["layers"][0]["digest"].removeprefix("sha256:")
        with open(layer, "r+b") as file:
            file.seek(1000)
            file.write(b"broken")
        code, lines = self.check()
        self.assertEqual((code, len(lines)), (1, 1), lines)
        self.assertRegex(lines[0], "^blob its bytes have the digest sha256:[0-9a-f]+ no$")
        self.assertRegex(self.check(repair=True)[1][0], "^blob its bytes have the digest .* yes$")
        self.assertEqual(self.check(), (0, []))

        # All documents gone: after a start the image is not listed, and comes back by the repair.
        unpacked = next(iter((self.data / "layers/l").iterdir())) / "bin/busybox"
        for digest in (image, manifest["config"]["digest"]):
            (self.data / "content/blobs/sha256" / digest.removeprefix("sha256:")).unlink()
        with open(unpacked, "r+b") as file:
            file.seek(100_000)
            file.write(b"broken")
        self.daemon.stop()
        self.daemon.start()
        self.assertEqual(docker("images", "-q").stdout, "")
        code, lines = self.check()
        self.assertEqual(code, 1)
        self.assertIn("blob it is missing no", lines)
        code, lines = self.check(repair=True)
        self.assertEqual(code, 0, lines)
        self.assertIn("layer bin/busybox: its time of modification differs yes", lines)
        self.assertEqual(self.check(), (0, []))
        self.assertEqual(docker("run", "--rm", name, "echo", "works").stdout, "works\n")

    def test_a_layer_that_is_mounted_is_left_alone(self):
        docker = self.daemon.docker
        docker("run", "-d", "--init", "--name", "runs", "busybox", "sleep", "100000")
        unpacked = next(path for path in (self.data / "layers/l").iterdir() if (path / "bin").is_dir())
        (unpacked / "new").write_text("x")
        code, lines = self.check(repair=True)
        self.assertEqual(code, 1)
        self.assertIn("not repaired: containers run on it or are read", lines[0])
        docker("rm", "-f", "runs")
        self.assertEqual(self.check(repair=True)[0], 0)
        self.assertEqual(self.check(), (0, []))
        self.assertFalse((unpacked / "new").exists())

    def test_check_disturbs_nobody(self):
        failures = []

        def check():
            for _ in range(3):
                code, lines = self.check()
                if code:
                    failures.append(lines)

        checks = threading.Thread(target=check)
        checks.start()
        while checks.is_alive():
            self.image("")
            self.daemon.docker("image", "prune", "-f")
        checks.join()
        self.assertEqual(failures, [])


if __name__ == "__main__":
    unittest.main()
