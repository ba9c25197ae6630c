"""gruad's options and its configuration file, as far as dockerd has them too."""

import json
import pathlib
import tempfile
import unittest

from harness import BIN, SANITIZED, Daemon, run, wait_until


class Options(unittest.TestCase):
    def validate(self, *words, config=None):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "daemon.json"
            if config is not None:
                path.write_text(config if isinstance(config, str) else json.dumps(config))
            done = run(BIN / "gruad", "--validate", "--config-file" if config is not None else "--debug",
                       *([path] if config is not None else []), *words, check=False)
        return done.returncode, done.stdout + done.stderr

    def test_what_asks_for_what_is_so_anyway_is_taken(self):
        for words in (["--userland-proxy=false"], ["--iptables"], ["--live-restore"], ["--storage-driver", "overlay2"], ["--feature", "x=true"],
                      ["--exec-opt", "native.cgroupdriver=cgroupfs"], ["--default-runtime=runc"], ["--max-concurrent-downloads=5"],
                      ["--containerd", "/run/containerd/containerd.sock"], ["--seccomp-profile", "builtin"], ["--log-opt", "max-size=1m"]):
            self.assertEqual(self.validate(*words), (0, "configuration OK\n"), words)
        for config in ("", "\n ", "{}", {"userland-proxy": False}, {"iptables": True, "ip6tables": True}, {"builder": {"gc": {"enabled": True}}},
                       {"features": {"containerd-snapshotter": True}}, {"exec-opts": ["native.cgroupdriver=cgroupfs"]},
                       {"log-driver": "json-file", "log-opts": {"max-size": "10m", "max-file": "3"}}, {"default-cgroupns-mode": "host"},
                       {"live-restore": False}, {"max-download-attempts": 3}, {"storage-driver": "overlay2"}, {"default-stop-timeout": 3}):
            self.assertEqual(self.validate(config=config), (0, "configuration OK\n"), config)

    def test_what_asks_for_something_else_is_refused_by_name(self):
        for words, said in ((["--iptables=false"], "not implemented: iptables=false"),
                            (["--storage-driver=btrfs"], "not implemented: storage-driver=btrfs"),
                            (["--exec-opt", "native.cgroupdriver=systemd"], "not implemented: exec-opt=native.cgroupdriver=systemd"),
                            (["--log-driver=syslog"], "not implemented: log-driver=syslog"),
                            (["--add-runtime", "x=y"], "not implemented: --add-runtime"),
                            (["--log-opt", "max-size"], "invalid log option: max-size"), (["--log-opt", "bogus=1"], "unknown log opt 'bogus'"),
                            (["--default-cgroupns-mode=x"], "invalid default cgroup namespace mode: x"),
                            (["--log-driver=none", "--log-opt", "max-size=1m"], "invalid logging opts for driver none")):
            status, text = self.validate(*words)
            self.assertEqual(status, 1, words)
            self.assertIn(said, text)
        for config, said in (({"iptables": False}, "not implemented: iptables=false"), ({"log-opts": ["max-size=1m"]}, "log-opts: expected an object"),
                             ({"exec-opts": ["native.cgroupdriver=systemd"]}, "not implemented: exec-opt=native.cgroupdriver=systemd"),
                             ({"runtimes": {}}, "not implemented: runtimes"), ({"no-such-key": 1}, "no-such-key"), ("[", "not a JSON object")):
            status, text = self.validate(config=config)
            self.assertEqual(status, 1, config)
            self.assertIn(said, text)


class Defaults(unittest.TestCase):
    def daemon(self, *options, **more):
        daemon = Daemon(*options, **more)
        self.addCleanup(daemon.close)
        return daemon

    def test_of_logs_cgroups_and_notes(self):
        daemon = self.daemon("--log-opt", "max-size=1m", "--default-cgroupns-mode", "private", "--userland-proxy=false")
        daemon.docker("create", "--name", "one", "busybox")
        shown = daemon.inspect("one")["HostConfig"]
        self.assertEqual((shown["LogConfig"]["Config"], shown["CgroupnsMode"]), ({"max-file": "5", "max-size": "1m"}, "private"))
        daemon.docker("create", "--name", "two", "--cgroupns", "host", "--log-opt", "max-file=2", "busybox")
        shown = daemon.inspect("two")["HostConfig"]
        self.assertEqual((shown["LogConfig"]["Config"], shown["CgroupnsMode"]), ({"max-file": "2", "max-size": "1m"}, "host"))
        self.assertIn("userland-proxy has no meaning here: the kernel forwards published ports", daemon.log.read_text())

    def test_what_is_allocated_is_told_with_debug_alone(self):
        for words, expected in (((), 200 if SANITIZED else 404), (("--debug",), 200)):
            status, text = self.daemon(*words).api("GET", "/debug/vars")
            self.assertEqual(status, expected, text)
        self.assertGreater(json.loads(text)["memstats"]["Alloc"], 100_000)

    def test_without_logs(self):
        daemon = self.daemon("--log-driver", "none")
        daemon.docker("run", "--name", "one", "busybox", "echo", "hi")
        self.assertEqual(daemon.inspect("one")["HostConfig"]["LogConfig"], {"Type": "none", "Config": {}})
        self.assertIn("does not support reading", daemon.docker("logs", "one", check=False).stderr)
        daemon.docker("run", "--name", "two", "--log-driver", "json-file", "busybox", "echo", "hi")
        self.assertEqual(daemon.docker("logs", "two").stdout, "hi\n")

    def test_containers_end_with_gruad_where_they_are_told_to(self):
        daemon = self.daemon("--live-restore=false")
        trap = "trap 'echo told; exit 7' TERM; echo ready; while :; do sleep 0.05; done"
        daemon.docker("run", "-d", "--name", "plain", "busybox", "sh", "-c", trap)
        daemon.docker("run", "-d", "--name", "always", "--restart", "always", "busybox", "sh", "-c", trap)
        daemon.docker("run", "-d", "--rm", "--name", "goes", "busybox", "sh", "-c", trap)
        for name in ("plain", "always", "goes"):
            wait_until(f"{name} is ready", lambda name=name: "ready" in daemon.docker("logs", name).stdout)
        pids = [daemon.inspect(name)["State"]["Pid"] for name in ("plain", "always", "goes")]
        daemon.stop()
        for pid in pids:
            self.assertFalse(pathlib.Path(f"/proc/{pid}").exists())
        daemon.start()
        state = daemon.inspect("plain")["State"]
        self.assertEqual((state["Status"], state["ExitCode"]), ("exited", 7))
        wait_until("what always runs runs", lambda: daemon.inspect("always")["State"]["Running"])
        wait_until("what goes has gone", lambda: daemon.docker("ps", "-aq", "--filter", "name=goes").stdout == "")
        # A kill is no end in order.
        daemon.kill()
        daemon.start()
        self.assertTrue(daemon.inspect("always")["State"]["Running"])
