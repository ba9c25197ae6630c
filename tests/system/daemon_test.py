"""gruad's options and its configuration file, as far as dockerd has them too."""

import json
import pathlib
import subprocess
import tempfile
import time
import unittest

from harness import BIN, PATIENCE, REPOSITORY, SANITIZED, Daemon, run, wait_until


class Validation(unittest.TestCase):
    def validate(self, *words, config=None):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "daemon.json"
            if config is not None:
                path.write_text(config if isinstance(config, str) else json.dumps(config))
            done = run(BIN / "gruad", "--validate", "--config-file" if config is not None else "--debug",
                       *([path] if config is not None else []), *words, check=False)
        return done.returncode, done.stdout + done.stderr


class Options(Validation):
    def test_what_asks_for_what_is_so_anyway_is_taken(self):
        for words in (["--userland-proxy=false"], ["--iptables"], ["--live-restore"], ["--storage-driver", "overlay2"], ["--feature", "x=true"],
                      ["--exec-opt", "native.cgroupdriver=cgroupfs"], ["--default-runtime=runc"], ["--max-concurrent-downloads=5"],
                      ["--containerd", "/run/containerd/containerd.sock"], ["--seccomp-profile", "builtin"], ["--log-opt", "max-size=1m"],
                      ["--log-driver=local", "--log-opt", "max-size=1m"], ["--log-driver", "syslog", "--log-opt", "syslog-address=udp://127.0.0.1"],
                      ["--log-driver=journald"]):
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
                            (["--log-driver=gelf"], "not implemented: the log driver gelf"), (["--log-driver=bogus"], "error looking up logging plugin bogus"),
                            (["--log-driver=local", "--log-opt", "x=y"], "unknown log opt 'x' for log driver local"),
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


# Each key of dockerd's daemon.json, with a value that is right for dockerd.
WORKS = {
    "bip": "10.99.1.1/24", "bip6": "fd00:99::1/64", "bridge": "grua7", "cgroup-parent": "/x", "data-root": "/x", "debug": True,
    "default-address-pools": [{"base": "10.99.0.0/16", "size": 24}], "default-cgroupns-mode": "private", "default-gateway": "10.99.1.9", "default-gateway-v6": "fd00:99::9",
    "default-init": "/x/init", "default-ipc-mode": "shareable", "default-network-opts": {"bridge": {"com.docker.network.driver.mtu": "1400"}}, "default-shm-size": "32M", "default-stop-timeout": 3,
    "default-ulimits": {"nofile": {"Name": "nofile", "Hard": 2048, "Soft": 1024}}, "dns": ["192.0.2.1"], "dns-opts": ["ndots:2"], "dns-search": ["x.example"], "exec-root": "/x",
    "fixed-cidr": "10.99.1.128/25", "fixed-cidr-v6": "fd00:99::/80", "group": "root", "host-gateway-ip": "192.0.2.7", "host-gateway-ips": ["192.0.2.7", "fd00::7"],
    "hosts": ["unix:///x.sock", "tcp://127.0.0.1:2375", "fd://"], "http-proxy": "http://x.example:1", "https-proxy": "http://x.example:1", "icc": False, "init": True,
    "init-path": "/x/init", "ip": "127.0.0.1", "ip-forward": False, "ip-masq": False, "ipv6": True, "labels": ["a=b"], "live-restore": False, "log-driver": "none",
    "log-format": "json", "log-level": "warn", "log-opts": {"max-size": "1m"}, "min-api-version": "1.30", "mtu": 1400, "no-new-privileges": True, "no-proxy": "x.example",
    "pidfile": "/x", "proxies": {"http-proxy": "http://x.example:1"}, "shutdown-timeout": 20, "tls": False,
}
# Of these a value that asks for something that is not so here is refused: (what is taken, what is not or None).
TAKEN = {
    "allow-direct-routing": (False, True), "builder": ({"gc": {"enabled": True}, "entitlements": {"network-host": True, "security-insecure": True, "device": True}}, None),
    "containerd": ("/x.sock", None), "containerd-namespace": ("x", None), "containerd-plugin-namespace": ("x", None), "cpu-rt-period": (0, 1), "cpu-rt-runtime": (0, 1),
    "cri-containerd": (True, None), "default-runtime": ("runc", "kata"),
    "exec-opts": (["native.cgroupdriver=cgroupfs"], ["native.cgroupdriver=systemd"]), "experimental": (True, None), "features": ({"x": True}, None),
    "firewall-backend": ("nftables", "iptables"), "ip-forward-no-drop": (True, None), "ip6tables": (True, False), "iptables": (True, False), "max-concurrent-downloads": (3, None),
    "max-concurrent-uploads": (3, None), "max-download-attempts": (3, None), "network-control-plane-mtu": (1400, None), "network-diagnostic-port": (0, 1),
    "node-generic-resources": (["x=y"], None), "raw-logs": (True, None), "rootless": (False, True), "seccomp-profile": ("builtin", "/x"), "selinux-enabled": (False, True),
    "storage-driver": ("overlay2", "zfs"), "swarm-default-advertise-addr": ("192.0.2.1", None), "swarm-raft-election-tick": (3, None), "swarm-raft-heartbeat-tick": (3, None),
    "userland-proxy": (True, None), "userland-proxy-path": ("/x", None),
}
REFUSED = {"authorization-plugins": ["x"], "bridge-accept-fwmark": "1", "cdi-spec-dirs": ["/x"], "metrics-addr": "127.0.0.1:9323", "nri-opts": "x", "resolv-conf": "/x",
           "runtimes": {"x": {"path": "/x"}}, "storage-opts": ["x=y"], "userns-remap": "default"}
# Keys below "builder", and files that have to be there (listeners_test).
ELSEWHERE = {"device", "network-host", "security-insecure", "tlscacert", "tlscert", "tlskey", "tlsverify"}
NEWER_NAMES = {"host-gateway-ip": "host-gateway-ips", "default-init": "init-path"}
DOCKERD = """allow-direct-routing authorization-plugins bip bip6 bridge bridge-accept-fwmark builder cdi-spec-dirs cgroup-parent containerd containerd-namespace containerd-plugin-namespace
cpu-rt-period cpu-rt-runtime cri-containerd data-root debug default-address-pools default-cgroupns-mode default-gateway default-gateway-v6 default-init default-ipc-mode
default-network-opts default-runtime default-shm-size default-stop-timeout default-ulimits device dns dns-opts dns-search exec-opts exec-root experimental features
firewall-backend fixed-cidr fixed-cidr-v6 group host-gateway-ip host-gateway-ips hosts http-proxy https-proxy icc init init-path ip ip-forward ip-forward-no-drop ip-masq
ip6tables iptables ipv6 labels live-restore log-driver log-format log-level log-opts max-concurrent-downloads max-concurrent-uploads max-download-attempts metrics-addr
min-api-version mtu network-control-plane-mtu network-diagnostic-port network-host no-new-privileges no-proxy node-generic-resources nri-opts pidfile proxies raw-logs
resolv-conf rootless runtimes seccomp-profile security-insecure selinux-enabled shutdown-timeout storage-driver storage-opts swarm-default-advertise-addr
swarm-raft-election-tick swarm-raft-heartbeat-tick tls tlscacert tlscert tlskey tlsverify userland-proxy userland-proxy-path userns-remap""".split()


class Keys(Validation):
    """Each key of dockerd's: it works, is taken with a reason, or is refused by its name; and docs/daemon.md says so."""

    def section(self, heading):
        text = (REPOSITORY / "docs/daemon.md").read_text()
        return text.partition(f"## {heading}")[2].partition("\n## ")[0]

    def test_all_of_them_are_here(self):
        self.assertEqual({*WORKS, *TAKEN, *REFUSED, *ELSEWHERE}, set(DOCKERD))

    def test_what_works(self):
        described = self.section("What works")
        for key, value in WORKS.items():
            self.assertEqual(self.validate(config={key: value}), (0, "configuration OK\n"), key)
            self.assertIn(f"`{key}`", described)
            # What is of another kind, or of no kind at all, is said with the key's name.
            for wrong in ({"x": []}, 3.5, None):
                if key == "proxies" and wrong == {"x": []}:
                    continue  # x would be another key.
                status, text = self.validate(config={key: wrong})
                self.assertEqual(status, 1, (key, wrong))
                self.assertIn(NEWER_NAMES.get(key, key), text)

    def test_what_is_taken(self):
        described = self.section("What is taken")
        for key, (fine, other) in TAKEN.items():
            self.assertEqual(self.validate(config={key: fine}), (0, "configuration OK\n"), key)
            self.assertIn(f"`{key}`", described)
            if other is not None:
                status, text = self.validate(config={key: other})
                self.assertEqual(status, 1, key)
                self.assertIn("not implemented: ", text)

    def test_what_is_refused(self):
        described = self.section("What is refused")
        for key, value in REFUSED.items():
            status, text = self.validate(config={key: value})
            self.assertEqual(status, 1, key)
            self.assertIn(f"not implemented: {key}\n", text)
            self.assertIn(f"`{key}`", described.replace("`--", "`"))

    def test_values_that_contradict(self):
        for config, said in (({"host-gateway-ip": "192.0.2.1", "host-gateway-ips": ["192.0.2.1"]}, "are the same: give one of them"),
                             ({"host-gateway-ips": ["192.0.2.1", "192.0.2.2"]}, "only one IPv4 host gateway IP address"), ({"host-gateway-ips": ["x"]}, "x: no address"),
                             ({"min-api-version": "1.23"}, "from 1.24 to"), ({"min-api-version": "2"}, "from 1.24 to"), ({"min-api-version": "1.99"}, "from 1.24 to"),
                             ({"default-init": "/x", "init-path": "/y"}, "are the same")):
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


class WithoutBridge(unittest.TestCase):
    def test_there_is_none_and_who_asks_for_none_has_none(self):
        daemon = Daemon("--bridge", "none", bridge=False)
        self.addCleanup(daemon.close)
        self.assertEqual(sorted(daemon.docker("network", "ls", "--format", "{{.Name}}").stdout.split()), ["host", "none"])
        links = "ls /sys/class/net"
        for words in ([], ["--network", "bridge"], ["-p", "80:80"]):
            self.assertEqual(daemon.docker("run", "--rm", *words, "busybox", "sh", "-c", links).stdout, "lo\n")
        self.assertIn("network bridge not found", daemon.docker("network", "inspect", "bridge", check=False).stderr)
        self.assertFalse(daemon.in_netns("ip", "-o", "link", "show", "type", "bridge").stdout)
        daemon.docker("network", "create", "other")
        self.assertIn("eth0", daemon.docker("run", "--rm", "--network", "other", "busybox", "sh", "-c", links).stdout)
        self.assertIn("unable to derive the IP value for host-gateway",
                      daemon.docker("run", "--rm", "--network", "other", "--add-host", "up:host-gateway", "busybox", "true", check=False).stderr)
        # With what runs there it goes on after a kill.
        daemon.docker("run", "-d", "--name", "box", "--network", "other", "busybox", "sleep", "1000")
        daemon.kill()
        daemon.start()
        self.assertIn("eth0", daemon.docker("exec", "box", "sh", "-c", links).stdout)
        daemon.docker("rm", "-f", "box")
        daemon.docker("network", "rm", "other")

    def test_that_of_before_goes(self):
        daemon = Daemon("--bridge", "grua0", "--bip", "10.99.7.1/24", bridge=False)
        self.addCleanup(daemon.close)
        daemon.docker("run", "-d", "--name", "box", "-p", "8080:80", "busybox", "sleep", "1000")
        daemon.stop()
        daemon.options = ["--bridge", "none"]
        daemon.start()
        self.assertFalse(daemon.in_netns("ip", "-o", "link", "show", "type", "bridge").stdout)
        self.assertTrue(daemon.inspect("box")["State"]["Running"])
        self.assertEqual(daemon.docker("exec", "box", "ls", "/sys/class/net").stdout, "lo\n")
        daemon.docker("stop", "-t", "0", "box")
        self.assertIn("network bridge not found", daemon.docker("start", "box", check=False).stderr)
        daemon.stop()
        daemon.options = ["--bridge", "grua0", "--bip", "10.99.7.1/24"]
        daemon.start()
        daemon.docker("start", "box")
        self.assertIn("eth0", daemon.docker("exec", "box", "ls", "/sys/class/net").stdout)


class SideBySide(unittest.TestCase):
    def test_two_gruads_do_not_fight_for_a_bridge(self):
        daemon = Daemon(image=False)
        self.addCleanup(daemon.close)
        with tempfile.TemporaryDirectory() as folder:
            words = [BIN / "gruad", "--config-file=/dev/null", "-H", f"unix://{folder}/sock", "--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid",
                     "--cgroup-parent", f"/{daemon.name}-2"]
            done = daemon.in_netns(*words, "--bridge", daemon.name, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn(f"bridge {daemon.name}: another gruad has it, process {daemon.process.pid} with --data-root {daemon.root}/data; end that one, or give this one a --bridge", done.stderr)
            # With one of its own it stands beside the other; and after a kill the name is free.
            other = subprocess.Popen(["nsenter", f"--net=/proc/{daemon.holder.pid}/ns/net", *map(str, words), "--bridge", daemon.name[:8] + "b", "--bip", "10.99.8.1/24"],
                                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            ping = lambda: run("curl", "-sf", "--max-time", "2", "--unix-socket", f"{folder}/sock", "http://d/_ping", check=False).returncode == 0
            wait_until("the other answers", ping, 20)
            self.assertEqual(daemon.api("GET", "/_ping")[0], 200)
            other.terminate()
            other.wait(60)
        daemon.kill()
        daemon.start()


class AtTheEnd(unittest.TestCase):
    def test_what_does_not_end_is_killed_within_the_time(self):
        daemon = Daemon("--live-restore=false", "--shutdown-timeout", "3")
        self.addCleanup(daemon.close)
        deaf = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
        for name in ("one", "two", "three"):
            daemon.docker("run", "-d", "--name", name, "--restart", "always", "busybox", "sh", "-c", deaf)
        for name in ("one", "two", "three"):
            wait_until(f"{name} is ready", lambda name=name: "ready" in daemon.docker("logs", name).stdout)
        daemon.docker("pause", "three")
        pids = [daemon.inspect(name)["State"]["Pid"] for name in ("one", "two", "three")]
        begun = time.monotonic()
        daemon.stop()
        self.assertLess(time.monotonic() - begun, 3 + 6 * PATIENCE)
        self.assertIn("has not ended within 3 s and is killed", daemon.log.read_text())
        for pid in pids:
            self.assertFalse(pathlib.Path(f"/proc/{pid}").exists())
        daemon.start()
        for name in ("one", "two", "three"):
            wait_until(f"{name} runs again", lambda name=name: daemon.inspect(name)["State"]["Running"])


class Api(unittest.TestCase):
    def test_the_oldest_version_and_the_hosts_gateway(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "daemon.json"
            path.write_text(json.dumps({"min-api-version": "1.44", "host-gateway-ips": ["192.0.2.7", "fd00::7"]}))
            daemon = Daemon("--config-file", path)
            self.addCleanup(daemon.close)
            self.assertEqual(json.loads(daemon.api("GET", "/version")[1])["MinAPIVersion"], "1.44")
            status, text = daemon.api("GET", "/v1.43/info")
            self.assertEqual(status, 400)
            self.assertIn("client version 1.43 is too old. Minimum supported API version is 1.44", text)
            hosts = daemon.docker("run", "--rm", "--add-host", "up:host-gateway", "busybox", "cat", "/etc/hosts").stdout
            self.assertIn("192.0.2.7\tup\nfd00::7\tup\n", hosts)
