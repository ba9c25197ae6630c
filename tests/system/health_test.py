"""Health checks, with the docker CLI."""

import json
import pathlib
import shutil
import subprocess
import tempfile
import time
import unittest

from harness import Case, Daemon, wait_until
from traces import FaultPoints

# As quick as a test may be, and still slow enough for a busy machine.
QUICK = ("--health-interval", "300ms", "--health-timeout", "5s", "--health-retries", "2")


class Health(Case):
    def status(self, name="well"):
        return self.out("inspect", "--format", "{{.State.Health.Status}}", name)

    def health(self, name="well"):
        return self.daemon.inspect(name)["State"]["Health"]

    def becomes(self, status, name="well"):
        wait_until(f"{name} is {status}", lambda: self.status(name) == status, 20)

    def run_checked(self, command, *more, name="well"):
        self.docker("run", "-d", "--name", name, "--health-cmd", command, *QUICK, *more, "busybox", "sleep", "1000")

    def names(self, *filters):
        return sorted(self.out("ps", "-a", "--format", "{{.Names}}", *[word for each in filters for word in ("--filter", each)]).split())

    def test_it_is_shown_told_and_found_by(self):
        begun = time.time()
        self.run_checked("test -e /well || { echo no such luck; exit 3; }")
        self.docker("run", "-d", "--name", "unchecked", "busybox", "sleep", "1000")
        self.docker("run", "-d", "--name", "fresh", "--health-cmd", "true", "--health-interval", "10m", "busybox", "sleep", "1000")
        self.assertIn("(health: starting)", self.out("ps", "--format", "{{.Status}}", "--filter", "name=fresh"))
        self.assertIn("fresh", self.names("health=starting"))
        self.becomes("unhealthy")
        shown = self.health()
        self.assertGreaterEqual(shown["FailingStreak"], 2)
        self.assertEqual((shown["Log"][0]["ExitCode"], shown["Log"][0]["Output"]), (3, "no such luck\n"))
        self.assertLess(shown["Log"][0]["Start"], shown["Log"][0]["End"])
        self.docker("exec", "well", "touch", "/well")
        self.becomes("healthy")
        self.assertIn("(healthy)", self.out("ps", "--format", "{{.Status}}", "--filter", "name=well"))
        self.assertEqual(self.health()["FailingStreak"], 0)
        self.assertEqual(self.names("health=healthy"), ["well"])
        self.assertEqual(self.names("health=none"), ["unchecked"])
        wait_until("five results are kept", lambda: len(self.health()["Log"]) == 5)
        time.sleep(1)
        self.assertEqual(len(self.health()["Log"]), 5)
        events = [json.loads(line) for line in self.out("events", "--since", str(begun), "--until", str(time.time()), "--format", "json",
                                                        "--filter", "container=well").split("\n")]
        actions = [each["Action"] for each in events]
        self.assertEqual([each for each in actions if each.startswith("health_status")], ["health_status: unhealthy", "health_status: healthy"])
        self.assertEqual(self.out("events", "--since", str(begun), "--until", str(time.time()), "--filter", "event=health_status",
                                  "--format", "{{.Action}}").split("\n"), ["health_status: unhealthy", "health_status: healthy"])
        # Nobody sees the checks themselves but in what they say.
        self.assertEqual([each for each in actions if "no such luck" in each], [])
        self.docker("stop", "-t", "0", "well")
        self.assertEqual(self.status(), "unhealthy")

    def probed(self, flag, target, *command):
        words = command or ("sh", "-c", "mkdir -p /www; echo hi > /www/index.html; touch /ready; httpd -p 8080 -h /www; exec sleep 1000")
        self.daemon.grua("run", "-d", "--name", "well", flag, target, *QUICK, "--health-timeout", "1s", "busybox", *words)

    def said(self):
        return self.health()["Log"][-1]["Output"]

    def test_a_probe_by_http(self):
        self.probed("--health-http", "http://localhost:8080/index.html")
        self.becomes("healthy")
        self.assertEqual(self.said(), "GET http://localhost:8080/index.html: 200 OK")
        self.docker("exec", "well", "rm", "/www/index.html")
        self.becomes("unhealthy")
        self.assertIn("404", self.said())
        self.docker("exec", "well", "killall", "httpd")
        wait_until("nobody listens", lambda: "Connection refused" in self.said(), 20)
        # What answers is the container's: nothing, rubbish, an answer without an end.
        for program, said in (("sleep 1000", "Health check exceeded timeout (1s)"), ("echo rubbish", "bad version"),
                              ("echo HTTP/1.1 200; cat /dev/zero", "8080")):
            self.docker("exec", "-d", "well", "sh", "-c", f"nc -ll -p 8080 -e sh -c '{program}'")
            wait_until(f"it says {said!r} of {program}", lambda said=said: said in self.said() and "refused" not in self.said(), 20)
            self.assertEqual(self.status(), "unhealthy")
            self.docker("exec", "well", "killall", "nc")

    def test_a_probe_of_a_port(self):
        self.probed("--health-tcp", ":8080")
        self.becomes("healthy")
        self.docker("exec", "well", "killall", "httpd")
        self.becomes("unhealthy")
        self.assertIn("Connection refused", self.said())
        # It is the container's port, and not one of the host's.
        self.docker("stop", "-t", "0", "well")
        self.docker("start", "well")
        self.becomes("healthy")
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual(self.status(), "healthy")
        self.docker("exec", "well", "killall", "httpd")
        self.becomes("unhealthy")

    def test_a_probe_of_a_file(self):
        self.probed("--health-file", "/ready")
        self.becomes("healthy")
        # A link leads to what is in the container.
        self.docker("exec", "well", "sh", "-c", "rm /ready; ln -s /root/../../www /ready")
        wait_until("it is looked at again", lambda: self.health()["Log"][-1]["ExitCode"] == 0, 10)
        self.docker("exec", "well", "ln", "-sfn", "/var/lib/dpkg/status", "/ready")
        self.becomes("unhealthy")
        self.assertEqual(self.said(), "/ready: no such file or directory")

    def test_a_file_system_that_hangs_is_in_nobody_elses_way(self):
        folder = self.daemon.root / "shared"
        folder.mkdir()
        self.mounted("-t", "tmpfs", "none", folder)
        (folder / "fs").mkdir()
        subprocess.run(["mount", "--make-shared", folder], check=True)
        others = [f"other-{number}" for number in range(10)]
        for name in others:
            self.daemon.grua("run", "-d", "--name", name, "--health-file", "/bin/busybox", *QUICK, "busybox", "sleep", "1000")
        self.daemon.grua("run", "-d", "--name", "well", "-v", f"{folder}:/shared:rslave", "--health-file", "/shared/fs/file", *QUICK,
                         "--health-timeout", "300ms", "busybox", "sleep", "1000")
        self.becomes("unhealthy")
        self.assertEqual(self.said(), "/shared/fs/file: no such file or directory")
        threads = len(list(pathlib.Path(f"/proc/{self.daemon.process.pid}/task").iterdir()))
        # A file system whose program answers nothing.
        with open("/dev/fuse", "rb+", buffering=0) as program:
            self.mounted("-i", "-t", "fuse", "-o", f"fd={program.fileno()},rootmode=40000,user_id=0,group_id=0", "none", folder / "fs", pass_fds=[program.fileno()])
            wait_until("it hangs", lambda: "the look for it before has not come back" in self.said(), 20)
            since = self.daemon.inspect(others[0])["State"]["Health"]["Log"][-1]["End"]
            for name in others:
                wait_until(f"{name} is looked at", lambda name=name: self.health(name)["Log"][0]["Start"] > since, 20)
                self.assertEqual({each["ExitCode"] for each in self.health(name)["Log"]}, {0})
            self.assertLessEqual(len(list(pathlib.Path(f"/proc/{self.daemon.process.pid}/task").iterdir())), threads + 2)
        wait_until("it has come back", lambda: self.said() == "/shared/fs/file: no such file or directory" or "not connected" in self.said(), 20)

    def mounted(self, *words, **how):
        subprocess.run(["mount", *map(str, words)], check=True, **how)
        self.addCleanup(subprocess.run, ["umount", "-l", words[-1]], check=False)

    def test_a_probe_that_cannot_be_made_is_refused(self):
        for flag, target, said in (("--health-http", "http://example.com/", "neither an IP address nor localhost"),
                                   ("--health-http", "https://localhost/", "not implemented"), ("--health-tcp", "localhost", "HOST:PORT"),
                                   ("--health-file", "ready", "absolute path")):
            failed = self.daemon.grua("create", flag, target, "busybox", check=False)
            self.assertEqual(failed.returncode, 1, failed)
            self.assertIn(said, failed.stderr)
        failed = self.daemon.grua("create", "--health-file", "/a", "--health-cmd", "true", "busybox", check=False)
        self.assertIn("conflicts", failed.stderr)

    def test_one_that_takes_too_long_is_ended(self):
        self.run_checked("echo waits; sleep 777", "--health-timeout", "2s", "--health-interval", "200ms")
        self.becomes("unhealthy")
        last = self.health()["Log"][-1]
        self.assertEqual((last["ExitCode"], last["Output"]), (-1, "Health check exceeded timeout (2s): waits\n"))
        self.docker("pause", "well")
        self.docker("unpause", "well")
        wait_until("it has ended", lambda: self.out("top", "well").count("sleep 777") <= 1)

    def test_what_it_says_is_bounded_and_text(self):
        self.run_checked("head -c 10000 /dev/zero | tr '\\0' x; printf '\\377'", name="long")
        self.run_checked("printf 'a\\377b'", name="odd")
        self.becomes("healthy", "long")
        self.becomes("healthy", "odd")
        self.assertEqual(self.health("long")["Log"][0]["Output"], "x" * 4096 + "...")
        self.assertEqual(self.health("odd")["Log"][0]["Output"], "a\ufffdb")

    def test_what_cannot_be_started_has_failed(self):
        status, text = self.daemon.api("POST", "/containers/create?name=well", {"Image": "busybox", "Cmd": ["sleep", "1000"], "Healthcheck": {
            "Test": ["CMD", "/no/such/program"], "Interval": 200_000_000, "Retries": 1}})
        self.assertEqual(status, 201, text)
        self.docker("start", "well")
        self.becomes("unhealthy")
        self.assertEqual(self.health()["Log"][-1]["ExitCode"], -1)
        self.assertIn("/no/such/program", self.health()["Log"][-1]["Output"])
        for test, said in ((["CMDS", "x"], "unknown kind"), (["cmd", "x"], "unknown kind")):
            status, text = self.daemon.api("POST", "/containers/create", {"Image": "busybox", "Healthcheck": {"Test": test}})
            self.assertEqual(status, 400)
            self.assertIn(said, text)

    def test_of_an_image_and_switched_off(self):
        self.docker("create", "--name", "base", "busybox", "sleep", "1000")
        self.docker("commit", "--change", "HEALTHCHECK --interval=300ms --retries=1 CMD test -e /well", "base", "checked")
        self.addCleanup(self.docker, "rmi", "-f", "checked")
        self.docker("run", "-d", "--name", "well", "checked")
        self.becomes("unhealthy")
        self.docker("run", "-d", "--name", "changed", "--health-cmd", "true", "checked")
        self.becomes("healthy", "changed")
        self.docker("run", "-d", "--name", "off", "--no-healthcheck", "checked")
        self.assertNotIn("Health", self.daemon.inspect("off")["State"])
        self.assertEqual(self.daemon.inspect("off")["Config"]["Healthcheck"]["Test"], ["NONE"])

    def test_nothing_is_checked_while_it_is_paused(self):
        self.run_checked("true")
        self.becomes("healthy")
        self.docker("pause", "well")
        self.assertEqual(self.status(), "unhealthy")
        last = self.health()["Log"][-1]
        time.sleep(1)
        self.assertEqual(self.health()["Log"][-1], last)
        self.docker("unpause", "well")
        self.becomes("healthy")

    def test_they_go_on_after_a_killed_gruad(self):
        self.run_checked("test -e /well")
        self.run_checked("sleep 777", "--health-interval", "100ms", "--health-timeout", "1000s", name="waits")
        self.docker("exec", "well", "touch", "/well")
        self.becomes("healthy")
        wait_until("its check runs", lambda: "sleep 777" in self.out("top", "waits"))
        for _ in range(3):
            self.daemon.kill()
            self.daemon.start()
            self.assertEqual(self.status(), "healthy")
            wait_until("it is checked", lambda: self.health()["Log"])
        wait_until("the checks of those before have ended", lambda: self.out("top", "waits").count("sleep 777") <= 1)
        self.docker("exec", "well", "rm", "/well")
        self.becomes("unhealthy")
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual(self.status(), "unhealthy")
        self.docker("exec", "well", "touch", "/well")
        self.becomes("healthy")
        # An end in order waits for none of them.
        begun = time.monotonic()
        self.daemon.stop()
        self.assertLess(time.monotonic() - begun, 4)
        self.daemon.start()

    def test_what_is_done_with_one_that_is_unhealthy(self):
        for action, policy in (("kill", "always"), ("restart", "no"), ("stop", "always")):
            self.grua("run", "-d", "--name", action, "--restart", policy, "--health-cmd", "test ! -e /ill", "--health-interval", "200ms", "--health-retries", "1",
                      "--health-on-failure", action, "busybox", "sh", "-c", "rm -f /ill; trap 'exit 3' TERM; while :; do sleep 0.1; done")
        for action in ("kill", "restart", "stop"):
            self.becomes("healthy", action)
            begun = self.daemon.inspect(action)["State"]["StartedAt"]
            self.docker("exec", action, "touch", "/ill")
            if action == "stop":
                wait_until("it has stopped", lambda: self.daemon.inspect("stop")["State"]["Status"] == "exited")
                self.assertEqual(self.daemon.inspect("stop")["State"]["ExitCode"], 3)
            else:
                wait_until(f"{action}: it runs anew", lambda action=action, begun=begun: self.daemon.inspect(action)["State"]["StartedAt"] > begun)
                self.becomes("healthy", action)
        self.assertIn("is none of none, kill, restart and stop", self.grua("create", "--health-cmd", "true", "--health-on-failure", "x", "busybox", check=False).stderr)


class HealthWithFaults(unittest.TestCase):
    def test_a_moment_without_threads_is_over_with_it(self):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="grua-health-"))
        self.addCleanup(shutil.rmtree, folder)
        faults = FaultPoints(folder)
        daemon = Daemon(env=faults.environment())
        self.addCleanup(daemon.close)
        faults.arm("base:start-thread:ENOMEM:3")
        daemon.grua("run", "-d", "--name", "well", "--health-file", "/bin/busybox", *QUICK, "busybox", "sleep", "1000")
        health = lambda: daemon.inspect("well")["State"]["Health"]
        wait_until("no look is possible", lambda: health()["Status"] == "unhealthy", 20)
        self.assertIn("start a thread", health()["Log"][-1]["Output"])
        wait_until("it is looked for again", lambda: health()["Status"] == "healthy", 20)
