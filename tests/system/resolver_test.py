"""The resolver of containers under load, with the host's resolv.conf in the test's hands: what is asked upstream, and what is not."""

import os
import random
import re
import statistics
import subprocess
import tempfile
import time

import networks_test
from dns_load import IPV6, code_and_count, load, query, sockets_in
from harness import PATIENCE, Daemon, wait_until


class Resolver(networks_test.Names):
    """gruad sees its own /etc/resolv.conf, which the test writes."""

    @classmethod
    def setUpClass(cls):
        file = tempfile.NamedTemporaryFile("w", suffix=".conf", delete=False)
        cls.addClassCleanup(os.unlink, file.name)
        cls.resolv = file.name
        cls.before = ["unshare", "-m", "sh", "-c", f'mount --bind {file.name} "$(realpath /etc/resolv.conf)" && exec "$@"', "sh"]
        super().setUpClass()

    def host_asks(self, *servers):
        with open(self.resolv, "w") as file:
            file.writelines(f"nameserver {each}\n" for each in servers)

    def asked_at_once(self, name, place, wanted, seconds=5):
        wait_until(f"{name} from {place} is {wanted}", lambda: self.dns(place, name) == wanted, seconds)

    # The suite of networks runs these.
    test_names_of_both_families_aliases_and_reverse = None
    test_port_53_is_the_containers_own = None
    test_forwards_to_its_own_servers_and_fails_over = None

    def test_cve_2024_29018_an_internal_network_asks_nobody(self):
        self.docker("network", "create", "--internal", "inner")
        self.docker("network", "create", "open")
        self.container("c1", "--network", "inner")
        self.container("c2", "--network", "open")
        asked = self.upstream("outside", "198.51.100.2", "198.51.100.88")
        self.host_asks("198.51.100.2")
        self.asked_at_once("example.com", "c2", ["0", "198.51.100.88"])
        before = asked()
        self.assertEqual(self.dns("c1", "example.com"), ["2"])
        self.assertEqual(self.dns("c1", "example.com", 1, "tcp"), ["2"])
        self.assertEqual(self.dns("c1", "c1"), ["0", self.address("c1", "inner")])
        self.assertEqual(asked(), before)
        # Not by a server of its own choice either: no packet leaves.
        self.container("c3", "--network", "inner", "--dns", "198.51.100.2")
        self.assertNotEqual(self.dns("c3", "example.com")[0], "0")
        self.assertEqual(asked(), before)

    def test_follows_the_hosts_servers(self):
        """One of the host's loopback too, as systemd-resolved's; changed while questions come."""
        self.docker("network", "create", "n")
        self.container("c1", "--network", "n")
        self.upstream("outside", "198.51.100.2", "198.51.100.80")
        self.upstream("host", "127.0.0.53", "198.51.100.81")
        self.host_asks("198.51.100.2")
        self.asked_at_once("example.com", "c1", ["0", "198.51.100.80"])
        self.host_asks("127.0.0.53")
        self.asked_at_once("example.com", "c1", ["0", "198.51.100.81"])
        sockets = sockets_in([self.pid("c1")])
        turns = iter([("198.51.100.2",), ("127.0.0.53",)] * 5)
        changed = 0

        def meanwhile(elapsed):
            nonlocal changed
            if elapsed > 0.2 * (changed + 1) and changed < 10:
                changed += 1
                self.host_asks(*next(turns))

        took, lost = load(sockets, ["example.com"], 300, 3, meanwhile=meanwhile)
        self.assertEqual((lost, changed), (0, 10))
        self.assertLess(statistics.quantiles(took, n=100)[98], 0.5 * PATIENCE)

    def test_dead_servers_hold_up_nobody(self):
        self.docker("network", "create", "n")
        for name in ("c1", "c2"):
            self.container(name, "--network", "n")
        # Nobody answers there, and nothing says so.
        self.at(self.outside.pid, "nft", "add table inet t; add chain inet t i { type filter hook input priority 0; }; add rule inet t i udp dport 53 counter drop")
        self.addCleanup(lambda: self.at(self.outside.pid, "nft", "delete table inet t"))
        self.host_asks("198.51.100.2", "198.51.100.3")
        flood = sockets_in([self.pid("c1")])[0]
        counted = lambda: int(re.search(r"counter packets (\d+)", self.at(self.outside.pid, "nft", "list table inet t").stdout)[1])
        wait_until("the dead ones are asked", lambda: flood.send(query("example.com")) and counted() > 0)
        started = time.monotonic()
        for number in range(5000):
            try:
                flood.send(query("example.com", number=number))
            except BlockingIOError:
                pass
        took, lost = load(sockets_in([self.pid("c2")]), ["c1", "c2"], 500, 3)
        self.assertEqual(lost, 0)
        self.assertLess(statistics.quantiles(took, n=100)[98], 0.05 * PATIENCE)
        self.assertEqual(self.dns("c2", "example.com"), ["2"])
        self.assertLess(time.monotonic() - started, 15 * PATIENCE)

    def test_malformed_packets_and_floods_hold_up_nobody(self):
        self.docker("network", "create", "--ipv6", "n")
        for name in ("c1", "c2"):
            self.container(name, "--network", "n")
        random.seed(7)
        attack = subprocess.Popen(["nsenter", f"--net=/proc/{self.pid('c1')}/ns/net", "python3", "-c", """
import os, random, socket, time
random.seed(7)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK); s.connect(('127.0.0.11', 53))
good = b'\\0\\1\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\2c2\\0\\0\\1\\0\\1'
end = time.monotonic() + 4
while time.monotonic() < end:
    kind = random.randrange(4)
    packet = bytearray(good)
    if kind == 0: packet = os.urandom(random.randrange(600))
    elif kind == 1: packet = packet[:random.randrange(len(packet))]
    elif kind == 2:
        for _ in range(3): packet[random.randrange(len(packet))] = random.randrange(256)
    else: packet = packet[:12] + b'\\xc0\\x0c' * random.randrange(1, 200)
    try: s.send(packet)
    except OSError: pass
"""])
        took, lost = load(sockets_in([self.pid("c2")]), ["c1", "c2"], 1000, 3)
        attack.wait()
        self.assertEqual(lost, 0)
        self.assertLess(statistics.quantiles(took, n=100)[98], 0.05 * PATIENCE)
        self.assertIsNone(self.daemon.process.poll())

    def test_names_after_many_connects_and_disconnects(self):
        self.docker("network", "create", "--ipv6", "n")
        names = [f"c{number}" for number in range(10)]
        for name in names:
            self.container(name)
        for _ in range(20):
            for name in names:
                self.assertIn(self.daemon.api("POST", "/networks/n/connect", {"Container": name})[0], (200, 403))
            for name in names[::2]:
                self.daemon.api("POST", "/networks/n/disconnect", {"Container": name})
        on, off = names[1::2], names[::2]
        sockets = sockets_in([self.pid(name) for name in on])
        for kind in (1, IPV6):
            took, lost = load(sockets, on, 1000, 2, kind=kind)
            self.assertEqual(lost, 0)
        for name in off:
            self.assertNotEqual(self.dns(on[0], name)[0], "0", name)
        for name in on:
            self.assertEqual(self.dns(on[0], name), ["0", self.address(name, "n")])
