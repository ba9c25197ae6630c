"""What containers may do on their networks: rates, who may reach whom, and what `grua network reach` says of it."""

import json
import os
import random
import re
import subprocess
import threading
import time

from harness import wait_until
from networks_test import Host, run

# Sends for some seconds, from a moment on if that is not 0; prints what the other end took.
SEND = """
import socket, sys, time
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
seconds, begin = map(float, sys.argv[3:])
end = (begin or time.time()) + seconds
block = b'x' * 16384
s.settimeout(10)
s.sendall((f'{begin} {end}' if begin else '0 inf').encode().ljust(64))
while time.time() < end: s.sendall(block)
s.shutdown(socket.SHUT_WR)
print(s.recv(100).decode())
"""
# Takes connections, each of which begins with two moments; answers how many bytes came between them, after the first packet, and in which time.
SINK = """
import socket, sys, threading, time
s = socket.create_server(('0.0.0.0', int(sys.argv[1])))
print('up', flush=True)
def take(c):
    begin, end = map(float, c.recv(64, socket.MSG_WAITALL).split())
    first, last, count = 0, 0, 0
    while data := c.recv(65536):
        if begin <= (now := time.time()) <= end:
            if first: count += len(data)
            first, last = first or now, now
    c.sendall(f'{count} {last - first}'.encode())
    c.close()
while True: threading.Thread(target=take, args=(s.accept()[0],)).start()
"""
# What a frame carries of the stream: 1448 of 1514 bytes, with link, IP and TCP headers and time stamps.
PAYLOAD = 1448 / 1514


class Limits(Host):
    def sink(self, place, port):
        server = subprocess.Popen(["nsenter", f"--net=/proc/{self.pid(place)}/ns/net", "python3", "-c", SINK, str(port)], stdout=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (server.kill(), server.wait(), server.stdout.close()))
        server.stdout.readline()

    def rate(self, place, host, port, seconds=2, begin=0):
        """Megabits per second, counted as the limit counts."""
        count, took = self.at(self.pid(place), "python3", "-c", SEND, host, str(port), str(seconds), str(begin), timeout=90).stdout.split()
        return int(count) * 8 / float(took) / 1e6 / PAYLOAD

    def assertRate(self, measured, limit):
        self.assertLess(abs(measured - limit), 0.05 * limit, f"{measured:.2f} Mbit/s, the limit is {limit}")

    def test_a_container(self):
        """Each way within 5 %, changed while it runs, counted, and gone with the container."""
        self.docker("network", "create", "n")
        self.grua("run", "-d", "--name", "c1", "--network", "n", "--net-rate-in", "20mbit", "--net-rate-out", "10mbit", "busybox", "sleep", "1000")
        self.container("c2", "--network", "n")
        config = self.daemon.inspect("c1")["HostConfig"]
        self.assertEqual((config["NetRateIn"], config["NetRateOut"]), ("20mbit", "10mbit"))
        self.sink("c1", 80)
        self.sink("c2", 80)
        self.sink("outside", 80)
        self.assertRate(self.rate("c1", self.address("c2", "n"), 80), 10)
        self.assertRate(self.rate("c1", "198.51.100.2", 80), 10)
        self.assertRate(self.rate("c2", self.address("c1", "n"), 80), 20)
        self.assertRate(self.rate("host", self.address("c1", "n"), 80), 20)
        self.grua("update", "--net-rate-in", "5mbit", "--net-rate-out", "none", "c1")
        self.assertRate(self.rate("c2", self.address("c1", "n"), 80), 5)
        self.assertGreater(self.rate("c1", self.address("c2", "n"), 80, 1), 100)
        sample = json.loads(self.daemon.api("GET", "/containers/c1/stats?stream=0&one-shot=1")[1])["networks"]["eth0"]
        self.assertEqual(sample["rx_limit"]["bits_per_second"], 5000000)
        self.assertGreater(sample["rx_limit"]["delayed"], 100)
        self.assertNotIn("tx_limit", sample)

    def test_a_start_that_fails_leaves_no_link(self):
        self.docker("network", "create", "n")
        wrong = "name=n,driver-opt=com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.nothing=1"
        refused = self.grua("run", "-d", "--name", "c2", "--network", wrong, "--net-rate-out", "10mbit", "busybox", "sleep", "1000", check=False)
        self.assertIn("endpoint sysctl", refused.stderr)
        wait_until("its links are gone", lambda: "ifb" not in self.daemon.in_netns("ip", "-o", "link").stdout, 10)

    def test_it_outlives_gruad(self):
        self.docker("network", "create", "n")
        self.docker("run", "-d", "--name", "c1", "--network", "n", "--label", "grua.net-rate-out=10mbit", "busybox", "sleep", "1000")
        self.daemon.kill()
        self.daemon.start()
        self.sink("outside", 80)
        self.assertRate(self.rate("c1", "198.51.100.2", 80), 10)
        links = lambda: self.daemon.in_netns("ip", "-o", "link").stdout
        self.assertIn("ifb", links())
        self.grua("update", "--net-rate-out", "20mbit", "c1")
        self.assertRate(self.rate("c1", "198.51.100.2", 80), 20)
        self.docker("rm", "-f", "c1")
        wait_until("its links are gone", lambda: "ifb" not in links())

    def test_a_network_shares_its_rate(self):
        """Three containers that send all they can have a third each, and together the whole; one alone has all of it.
        Counted between moments at which all of them send, as on a busy machine they do not begin at one time."""
        self.grua("network", "create", "--net-rate-in", "30mbit", "--net-rate-out", "15mbit", "n")
        for name in ("c1", "c2", "c3"):
            self.container(name, "--network", "n")
            self.sink(name, 80)
        self.sink("outside", 80)

        def together(way):
            rates, begin = {}, time.time() + 2
            threads = [threading.Thread(target=lambda name=name: rates.update({name: way(name, begin)})) for name in ("c1", "c2", "c3")]
            for each in threads:
                each.start()
            for each in threads:
                each.join()
            return list(rates.values())

        out = together(lambda name, begin: self.rate(name, "198.51.100.2", 80, 5, begin))
        self.assertRate(sum(out), 15)
        for each in out:
            self.assertLess(abs(each - 5), 0.4, out)
        into = together(lambda name, begin: self.rate("host", self.address(name, "n"), 80, 5, begin))
        self.assertRate(sum(into), 30)
        for each in into:
            self.assertLess(abs(each - 10), 0.8, into)
        self.assertRate(self.rate("c1", "198.51.100.2", 80), 15)
        self.grua("network", "update", "--net-rate-out", "5mbit", "n")
        self.assertRate(self.rate("c1", "198.51.100.2", 80), 5)
        self.daemon.kill()
        self.daemon.start()
        self.assertRate(self.rate("c1", "198.51.100.2", 80), 5)
        # Between containers of the network there is no limit.
        self.assertGreater(self.rate("c1", self.address("c2", "n"), 80, 1), 100)
        self.grua("network", "update", "--net-rate-out", "none", "--net-rate-in", "none", "n")
        self.assertGreater(self.rate("c1", "198.51.100.2", 80, 1), 100)
        self.docker("rm", "-f", "c1", "c2", "c3")
        self.docker("network", "rm", "n")
        self.assertNotIn("ifb", self.daemon.in_netns("ip", "-o", "link").stdout)

    def test_what_is_no_rate(self):
        for words, text in ((("--net-rate-in", "fast"), "net-rate-in fast: no rate"), (("--net-rate-out", "1k"), "the least is 8kbit"),
                            (("--net-burst", "1", "--net-rate-in", "1mbit"), "net-burst 1: bytes"),
                            (("--network", "host", "--net-rate-in", "1mbit"), "no network of its own")):
            done = self.grua("create", *words, "busybox", check=False)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(text, done.stderr)
        done = self.grua("network", "create", "--net-rate-in", "fast", "n", check=False)
        self.assertIn("net-rate-in fast: no rate", done.stderr)


class Policies(Host):
    def asked(self, place, target, port=80, kind="tcp", network="n", family=4):
        return self.ask(place, kind, self.address(target, network, family), port) != "no"

    def test_who_is_allowed(self):
        """By container, label, network and port; within a network and across; both families; TCP and UDP."""
        self.docker("network", "create", "--ipv6", "n")
        self.docker("network", "create", "--ipv6", "front")
        self.grua("run", "-d", "--name", "db", "--network", "n", "--network-allow", "container=app,port=80,port=80/udp", "--network-allow", "label=role=admin",
                  "--network-allow", "network=front,port=81", "busybox", "sleep", "1000")
        for name, options in (("app", ()), ("other", ()), ("boss", ("--label", "role=admin"))):
            self.container(name, "--network", "n", *options)
        self.container("web", "--network", "front")
        for port in (80, 81):
            self.serve("db", port)
        for family in (4, 6):
            for kind in ("tcp", "udp"):
                with self.subTest(family=family, kind=kind):
                    self.assertTrue(self.asked("app", "db", 80, kind, family=family))
                    self.assertFalse(self.asked("app", "db", 81, kind, family=family))
                    self.assertFalse(self.asked("other", "db", 80, kind, family=family))
                    self.assertTrue(self.asked("boss", "db", 81, kind, family=family))
                    self.assertFalse(self.asked("web", "db", 80, kind, family=family))
                    self.assertEqual(self.asked("web", "db", 81, kind, family=family), kind == "tcp")
        # What it asks is answered, and nothing else is let in by that.
        self.serve("other")
        for kind in ("tcp", "udp"):
            self.assertTrue(self.asked("db", "other", 80, kind))
            self.assertTrue(self.asked("db", "other", 80, kind, family=6))
        self.assertIn("1 packets received", self.out("exec", "db", "ping", "-c1", "-W2", self.address("other", "n")))
        self.assertNotIn("1 packets received", self.docker("exec", "other", "ping", "-c1", "-W1", self.address("db", "n"), check=False).stdout)
        self.assertIn("1 packets received", self.out("exec", "boss", "ping", "-c1", "-W2", self.address("db", "n")))
        # Who comes later, is renamed or changes is known at once.
        self.container("late", "--network", "n", "--label", "role=admin")
        self.assertTrue(self.asked("late", "db"))
        self.docker("rename", "app", "gone")
        self.assertFalse(self.asked("gone", "db"))
        self.docker("rename", "other", "app")
        self.assertTrue(self.asked("app", "db"))
        self.grua("update", "--network-allow", "none", "db")
        self.assertFalse(self.asked("app", "db"))
        self.daemon.kill()
        self.daemon.start()
        self.assertFalse(self.asked("late", "db"))
        rules = lambda: self.daemon.in_netns("nft", "list", "tables").stdout.split("\n")
        before = rules()
        self.daemon.in_netns("nft", "flush", "ruleset")
        wait_until("the rules are back", lambda: rules() == before)
        self.assertFalse(self.asked("late", "db"))
        self.grua("update", "--network-allow", "default", "db")
        self.assertTrue(self.asked("late", "db"))

    def test_a_network_s_policy_and_published_ports(self):
        self.docker("network", "create", "n", "-o", "grua.network.allow=label=web,port=80")
        self.container("db", "--network", "n", "-p", "8080:80")
        self.container("c1", "--network", "n")
        self.container("c2", "--network", "n", "--label", "web=yes")
        self.serve("db")
        self.assertFalse(self.asked("c1", "db"))
        self.assertTrue(self.asked("c2", "db"))
        self.assertNotEqual(self.ask("outside", "tcp", "198.51.100.1", 8080), "no")
        self.assertNotEqual(self.ask("c1", "tcp", "198.51.100.1", 8080), "no")
        self.grua("network", "update", "--network-allow", "network=n", "n")
        self.assertTrue(self.asked("c1", "db"))
        self.grua("network", "update", "--network-allow", "default", "n")
        self.assertTrue(self.asked("c1", "db"))
        # A label is for the creation: what an update takes away stays away.
        self.container("closed", "--network", "n", "--label", "grua.network-allow=none")
        self.serve("closed")
        self.assertFalse(self.asked("c1", "closed"))
        self.grua("update", "--network-allow", "default", "closed")
        self.assertTrue(self.asked("c1", "closed"))
        done = self.grua("network", "update", "--network-allow", "network", "n", check=False)
        self.assertIn('network policy "network": network has no value', done.stderr)

    def policy_rules(self):
        """All elements of the sets that policies are made of."""
        sets = re.findall(r"set (\w*(?:peers|allowed|restricted)\w*) \{.*?\n\t\}", self.daemon.in_netns("nft", "-s", "list", "ruleset").stdout, re.DOTALL)
        self.assertGreater(len(sets), 10)
        tables = json.loads(self.daemon.in_netns("nft", "-j", "-s", "list", "sets").stdout)["nftables"]
        return {(each["set"]["family"], each["set"]["name"], json.dumps(element)) for each in tables if "set" in each
                and each["set"]["name"] in sets for element in each["set"].get("elem", [])}

    def test_step_by_step_as_at_once(self):
        """Each change touches the rules of one container; a gruad that begins anew makes all of them, and they are the same."""
        seed = int(os.environ.get("GRUA_POLICY_SEED", str(random.SystemRandom().randrange(1 << 32))))
        chance = random.Random(seed)
        policies = ("none", "default", "label=web,port=80", "container=c1", "container=c2,port=53/udp", "network=n1,port=80", "network=late", "label=web")
        for name in ("n0", "n1"):
            self.grua("network", "create", "--ipv6", "--network-allow", chance.choice(policies[2:]), name)
        there, seen = {}, 0
        for step in range(200):
            name = f"c{chance.randrange(6)}"
            what = chance.randrange(7)
            if name not in there:
                there[name] = chance.choice(("n0", "n1"))
                allow = chance.choice(((), ("--network-allow", chance.choice([each for each in policies if each != "default"]))))
                self.grua("run", "-d", "--name", name, "--network", there[name], *chance.choice(((), ("--label", "web"))), *allow, "busybox", "sleep", "1000")
            elif what == 0:
                self.grua("rm", "-f", name)
                del there[name]
            elif what == 1:
                self.grua("update", "--network-allow", chance.choice(policies), name)
            elif what == 2:
                self.grua("network", "update", "--network-allow", chance.choice(policies[1:]), chance.choice(("n0", "n1")))
            elif what == 3:
                other = f"c{chance.randrange(6)}"
                if other not in there:
                    self.grua("rename", name, other)
                    there[other] = there.pop(name)
            elif what == 4:
                self.grua("network", chance.choice(("connect", "disconnect")), "late", name, check=False)
            elif what == 5:
                self.grua("network", "create", "late", check=False)
            else:
                self.grua("network", "rm", "late", check=False)
            if step % 20 == 19:
                before = self.policy_rules()
                self.daemon.kill()
                self.daemon.start()
                self.assertEqual(before, self.policy_rules(), f"GRUA_POLICY_SEED={seed}, step {step}")
                seen += len(before)
        self.assertGreater(seen, 10)

    def test_without_icc(self):
        """Where containers do not reach each other, a policy opens what it names."""
        self.docker("network", "create", "-o", "com.docker.network.bridge.enable_icc=false", "n")
        self.grua("run", "-d", "--name", "db", "--network", "n", "--network-allow", "container=app,port=80,port=80/udp", "busybox", "sleep", "1000")
        self.container("app", "--network", "n")
        self.container("other", "--network", "n")
        self.serve("db")
        for kind in ("tcp", "udp"):
            self.assertTrue(self.asked("app", "db", 80, kind))
            self.assertFalse(self.asked("other", "db", 80, kind))
        self.serve("app")
        self.assertFalse(self.asked("db", "app"))


class Links(Host):
    options = ("--icc=false",)
    asked = Policies.asked

    def test_a_link_opens_the_ports_that_the_other_exposes(self):
        """As Docker's, on a default bridge whose containers do not reach each other: by /etc/hosts and the exposed ports, in one direction."""
        db = lambda: self.container("db", "--expose", "80", "--expose", "80/udp")
        db()
        self.container("app", "--link", "db")
        self.container("other")
        seen = lambda place, target, port=80, kind="tcp": self.asked(place, target, port, kind, "bridge")

        def check(*started):
            for name in started:
                self.serve(name)
            self.serve("db", 81)
            for kind in ("tcp", "udp"):
                self.assertTrue(seen("app", "db", 80, kind))
                self.assertFalse(seen("app", "db", 81, kind))
                self.assertFalse(seen("other", "db", 80, kind))
                self.assertFalse(seen("db", "app", 80, kind))

        check("db", "app")
        ways = [each for each in json.loads(self.grua("network", "reach", "--all", "--format", "json").stdout) if each["By"] == "link"]
        self.assertEqual([each["Ports"] for each in ways], [["80/tcp", "80/udp"]])
        # Another address, another gruad.
        self.docker("restart", "-t0", "db")
        self.daemon.kill()
        self.daemon.start()
        check("db")
        self.docker("rm", "-f", "app")
        self.assertFalse(seen("other", "db"))


class Reach(Host):
    def test_the_rules_and_trying_agree(self):
        """Every way that the rules give, and every one that they do not, is tried; the matrix says both."""
        self.docker("network", "create", "--ipv6", "n")
        self.docker("network", "create", "-o", "com.docker.network.bridge.enable_icc=false", "apart")
        self.docker("network", "create", "--internal", "inner")
        self.container("web", "--network", "n", "-p", "8080:80", "-p", "127.0.0.1:8081:80")
        self.grua("run", "-d", "--name", "db", "--network", "n", "--network-allow", "container=web,port=80", "--network-allow", "network=apart,port=81", "busybox",
                  "sleep", "1000")
        for name, network in (("a1", "apart"), ("a2", "apart"), ("i1", "inner"), ("i2", "inner")):
            self.container(name, "--network", network)
        for name in ("web", "db", "a1", "i1"):
            self.serve(name)
        self.serve("db", 81)
        ways = json.loads(self.grua("network", "reach", "--probe", "--all", "--format", "json").stdout)
        probed = [(way["From"], way["To"], way["Address"], each) for way in ways for each in way.get("Probed", ())]
        self.assertGreater(len(probed), 20)
        self.assertEqual([each for each in probed if each[3]["Open"] != each[3]["Expected"]], [])
        between = {(way["From"], way["To"]): (way["By"], way["Ports"]) for way in ways if way["By"] != "published" and ":" not in way["Address"]}
        self.assertEqual(between["web", "db"], ("policy", ["80/tcp"]))
        self.assertEqual(between["a1", "db"], ("policy", ["81/tcp"]))
        self.assertEqual(between["db", "web"], ("network n", ["all"]))
        self.assertEqual(between["a1", "a2"], ("", []))
        self.assertEqual(between["i2", "i1"], ("network inner", ["all"]))
        self.assertEqual(between["host", "db"], ("network n", ["all"]))
        self.assertNotIn(("i1", "outside"), between)
        published = {(way["From"], way["Address"]) for way in ways if way["By"] == "published"}
        self.assertIn(("outside", "0.0.0.0"), published)
        self.assertIn(("a1", "0.0.0.0"), published)
        self.assertNotIn(("i1", "0.0.0.0"), published)
        shown = self.grua("network", "reach", "db").stdout.split("\n")
        self.assertEqual(shown[0].split(), ["FROM", "TO", "BY", "ADDRESS", "PORTS"])
        self.assertTrue(any(line.split()[:3] == ["web", "db", "policy"] for line in shown), shown)
