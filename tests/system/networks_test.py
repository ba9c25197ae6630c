"""User networks and published ports: who reaches whom, from where, and what is left afterwards.

Probes are Python programs in a network namespace: the host's (that of the daemon), an outside host's, a container's by its PID.
"""

import contextlib
import ipaddress
import json
import os
import subprocess
import tempfile

from harness import BIN, Case, run, wait_until

# Prints the client's address that the server says it sees, or nothing.
CONNECT = """
import socket, sys
kind, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ':' in host else socket.AF_INET
s = socket.socket(family, socket.SOCK_DGRAM if kind == 'udp' else socket.SOCK_STREAM)
s.settimeout(1)
try:
    s.connect((host, port))
    if kind == 'udp': s.send(b'x')
    print(s.recv(100).decode())
except OSError as error:
    print('no')
"""

# Connects, says so, and when a line comes sends a byte and prints what comes back.
HOLD = """
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)
print('connected', flush=True)
sys.stdin.readline()
s.sendall(b'x')
print(s.recv(100).decode(), flush=True)
"""
ECHO = """
import socket, sys, threading
s = socket.create_server(('0.0.0.0', int(sys.argv[1])))
print('up', flush=True)
def answer(c): c.sendall(c.recv(1)); c.close()
while True: threading.Thread(target=answer, args=(s.accept()[0],)).start()
"""

# Connects one after the other until a line comes; prints how many went well and how many did not.
LOAD = """
import select, socket, sys
done = failed = 0
while not select.select([sys.stdin], [], [], 0)[0]:
    try:
        with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as s:
            done, failed = done + bool(s.recv(100)), failed
    except OSError: failed += 1
print(done, failed)
"""

# Answers everyone with the address that they come from.
SERVE = """
import socket, sys, threading
port = int(sys.argv[1])
def tcp(family, host):
    s = socket.socket(family); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.bind((host, port)); s.listen(100)
    while True:
        c, a = s.accept(); c.sendall(a[0].encode()); c.close()
def udp(family, host):
    s = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.bind((host, port))
    while True:
        d, a = s.recvfrom(100); s.sendto(a[0].encode(), a)
for family, host in ((socket.AF_INET, '0.0.0.0'), (socket.AF_INET6, '::')):
    for server in (tcp, udp): threading.Thread(target=server, args=(family, host)).start()
"""

# One UDP socket: sends with each line that comes and prints who answers.
FLOW = """
import socket, sys
s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(1)
s.connect((sys.argv[1], int(sys.argv[2])))
for line in sys.stdin:
    try:
        s.send(b'x')
        print(s.recv(100).decode(), flush=True)
    except OSError:
        print('no', flush=True)
"""
# Answers each datagram with its own name.
NAMED = """
import socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(('::', 80))
print('up', flush=True)
while True: s.sendto(sys.argv[1].encode(), s.recvfrom(100)[1])
"""

# Sends the frames that are given in hexadecimal by an interface.
FRAMES = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((sys.argv[1], 0))
for frame in sys.argv[2:]: s.send(bytes.fromhex(frame))
"""


def mac_bytes(text):
    return bytes.fromhex(text.replace(":", ""))


def arp(operation, sender, target):
    """Sender and target are pairs of MAC and address."""
    both = b"".join(mac_bytes(mac) + ipaddress.ip_address(address).packed for mac, address in (sender, target))
    return b"\x00\x01\x08\x00\x06\x04" + operation.to_bytes(2, "big") + both


def neighbour_advert(source, target, mac, to):
    """An IPv6 packet: `mac` says that it is `target`, and that it overrides what was known."""
    source, target, to = (ipaddress.ip_address(each).packed for each in (source, target, to))
    body = b"\x88\x00\x00\x00\x60\x00\x00\x00" + target + b"\x02\x01" + mac_bytes(mac)
    return ipv6(source, to, body)


def ipv6(source, to, icmp):
    words = source + to + len(icmp).to_bytes(4, "big") + b"\x00\x00\x00\x3a" + icmp
    total = sum(int.from_bytes(words[i:i + 2], "big") for i in range(0, len(words), 2))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    icmp = icmp[:2] + (0xffff - total).to_bytes(2, "big") + icmp[4:]
    return b"\x60\x00\x00\x00" + len(icmp).to_bytes(2, "big") + b"\x3a\xff" + source + to + icmp


class Host(Case):
    """The host has an uplink to an outside host: 198.51.100.1 and .2, fd00:99::1 and ::2."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.outside = subprocess.Popen(["unshare", "-n", "sleep", "infinity"])
        wait_until("the outside host", lambda: run("readlink", f"/proc/{cls.outside.pid}/ns/net").stdout != run("readlink", "/proc/self/ns/net").stdout)
        cls.daemon.in_netns("ip", "link", "add", "up0", "type", "veth", "peer", "name", "down0", "netns", str(cls.outside.pid))
        for at, link, number in ((cls.daemon.holder.pid, "up0", 1), (cls.outside.pid, "down0", 2)):
            for words in (("addr", "add", f"198.51.100.{number}/24", "dev", link), ("addr", "add", f"fd00:99::{number}/64", "dev", link, "nodad"),
                          ("link", "set", link, "up"), ("link", "set", "lo", "up")):
                cls.at(at, "ip", *words)

    @classmethod
    def tearDownClass(cls):
        cls.outside.kill()
        cls.outside.wait()
        super().tearDownClass()

    def tearDown(self):
        super().tearDown()
        self.docker("network", "prune", "-f")

    @staticmethod
    def at(pid, *words, **more):
        return run("nsenter", f"--net=/proc/{pid}/ns/net", *words, **more)

    def pid(self, name):
        """Of a place: "host", "outside", or a container."""
        return {"host": self.daemon.holder.pid, "outside": self.outside.pid}.get(name) or int(self.out("inspect", "--format", "{{.State.Pid}}", name))

    def serve(self, name, port=80):
        server = subprocess.Popen(["nsenter", f"--net=/proc/{self.pid(name)}/ns/net", "python3", "-c", SERVE, str(port)])
        self.addCleanup(lambda: (server.kill(), server.wait()))
        wait_until(f"{name} serves", lambda: self.ask(name, "tcp", "127.0.0.1", port) != "no")

    def ask(self, place, kind, host, port):
        return self.at(self.pid(place), "python3", "-c", CONNECT, kind, host, str(port)).stdout.strip()

    def container(self, name, *options):
        self.docker("run", "-d", "--name", name, *options, "busybox", "sleep", "1000")
        return name

    def address(self, name, network, family=4):
        field = "IPAddress" if family == 4 else "GlobalIPv6Address"
        return self.out("inspect", "--format", f'{{{{(index .NetworkSettings.Networks "{network}").{field}}}}}', name)


class Networks(Host):
    """Who reaches whom."""

    def test_networks_are_apart_and_their_containers_together(self):
        for network in ("one", "two"):
            self.docker("network", "create", "--ipv6", network)
        for name, network in (("c1", "one"), ("c2", "one"), ("c3", "two")):
            self.container(name, "--network", network)
        self.serve("c1")
        for family in (4, 6):
            address = self.address("c1", "one", family)
            for kind in ("tcp", "udp"):
                self.assertEqual(self.ask("c2", kind, address, 80), self.address("c2", "one", family))
                self.assertNotEqual(self.ask("host", kind, address, 80), "no")
                self.assertEqual(self.ask("c3", kind, address, 80), "no")
                self.assertEqual(self.ask("outside", kind, address, 80), "no")
        self.serve("outside")
        self.assertEqual(self.ask("c1", "tcp", "198.51.100.2", 80), "198.51.100.1")
        self.assertEqual(self.ask("c1", "tcp", "fd00:99::2", 80), "fd00:99::1")
        self.docker("network", "connect", "two", "c1")
        self.assertEqual(self.ask("c3", "tcp", self.address("c1", "two"), 80), self.address("c3", "two"))
        self.docker("network", "disconnect", "two", "c1")
        self.assertEqual(self.out("inspect", "--format", "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}", "c1").split(), ["one"])
        done = self.docker("network", "rm", "one", check=False)
        self.assertIn("has active endpoints", done.stderr)

    def test_internal(self):
        self.docker("network", "create", "--internal", "inner")
        self.container("c1", "--network", "inner")
        self.container("c2", "--network", "inner")
        self.serve("c1")
        self.serve("outside")
        self.assertNotEqual(self.ask("c2", "tcp", self.address("c1", "inner"), 80), "no")
        self.assertEqual(self.ask("c1", "tcp", "198.51.100.2", 80), "no")
        self.assertNotIn("default", self.out("exec", "c1", "ip", "route"))

    def test_icc_false(self):
        self.docker("network", "create", "-o", "com.docker.network.bridge.enable_icc=false", "apart")
        self.container("c1", "--network", "apart", "-p", "8081:80")
        self.container("c2", "--network", "apart")
        self.serve("c1")
        self.assertEqual(self.ask("c2", "tcp", self.address("c1", "apart"), 80), "no")
        self.assertNotEqual(self.ask("c2", "tcp", "198.51.100.1", 8081), "no")

    def test_static_addresses_and_names_of_interfaces(self):
        self.docker("network", "create", "--subnet", "10.99.20.0/24", "--subnet", "fd00:99:20::/64", "--ipv6", "--ip-range", "10.99.20.128/25", "n")
        self.container("c1", "--network", "name=n,ip=10.99.20.9,ip6=fd00:99:20::9,mac-address=02:00:00:00:00:09,"
                       "driver-opt=com.docker.network.endpoint.ifname=lan0")
        self.container("c2", "--network", "n")
        self.assertEqual((self.address("c1", "n"), self.address("c1", "n", 6)), ("10.99.20.9", "fd00:99:20::9"))
        self.assertEqual(self.address("c2", "n"), "10.99.20.128")
        self.assertIn("lan0", self.out("exec", "c1", "ls", "/sys/class/net"))
        self.assertEqual(self.out("exec", "c1", "cat", "/sys/class/net/lan0/address"), "02:00:00:00:00:09")
        done = self.docker("run", "--rm", "--network", "name=n,ip=10.99.20.9", "busybox", "true", check=False)
        self.assertIn("Address already in use", done.stderr)

    def test_the_default_route_follows_the_priority(self):
        self.docker("network", "create", "--subnet", "10.99.21.0/24", "one")
        self.docker("network", "create", "--subnet", "10.99.22.0/24", "two")
        self.container("c1", "--network", "name=one", "--network", "name=two,gw-priority=1")
        self.assertIn("default via 10.99.22.1", self.out("exec", "c1", "ip", "route"))
        self.docker("network", "disconnect", "two", "c1")
        self.assertIn("default via 10.99.21.1", self.out("exec", "c1", "ip", "route"))

    def test_links_of_the_default_bridge(self):
        """By /etc/hosts, as Docker's; another address is told; what does not run cannot be linked to."""
        self.container("db", "--hostname", "data")
        self.container("app", "--link", "db:database", "--link", "db")
        hosts = self.out("exec", "app", "cat", "/etc/hosts")
        address = self.address("db", "bridge")
        self.assertIn(f"{address}\tdatabase data db", hosts)
        self.assertIn(f"{address}\tdb data", hosts)
        self.assertEqual(json.loads(self.out("inspect", "--format", "{{json .HostConfig.Links}}", "app")), ["/db:/app/database", "/db:/app/db"])
        self.docker("stop", "-t0", "db")
        self.container("between")
        self.docker("start", "db")
        self.assertNotEqual(self.address("db", "bridge"), address)
        self.assertIn(f"{self.address('db', 'bridge')}\tdatabase data db", self.out("exec", "app", "cat", "/etc/hosts"))
        self.docker("stop", "-t0", "db", "app")
        done = self.docker("start", "app", check=False)
        self.assertIn("Cannot link to a non running container: /db AS /app/database", done.stderr)
        done = self.docker("run", "--rm", "--link", "nosuch", "busybox", "true", check=False)
        self.assertIn("could not get container for nosuch: No such container: nosuch", done.stderr)
        self.docker("network", "create", "n")
        self.container("c1", "--network", "n")
        self.container("c2", "--network", "n", "--link", "c1:one")
        self.assertIn(self.address("c1", "n"), self.out("exec", "c2", "nslookup", "one"))

    def test_the_mtu_follows_the_uplink(self):
        host = lambda *words: self.daemon.in_netns(*words)
        mtu = lambda name, link="eth0": self.out("exec", name, "cat", f"/sys/class/net/{link}/mtu")
        self.docker("network", "create", "n")
        self.docker("network", "create", "-o", "com.docker.network.driver.mtu=1300", "fixed")
        self.container("c1")
        self.container("c2", "--network", "n")
        self.container("c3", "--network", "fixed")
        try:
            host("ip", "route", "add", "default", "via", "198.51.100.2")
            host("ip", "link", "set", "up0", "mtu", "1400")
            wait_until("the MTU of containers", lambda: (mtu("c1"), mtu("c2")) == ("1400", "1400"))
            self.assertEqual(mtu("c3"), "1300")
            self.container("c4", "--network", "n")
            self.assertEqual(mtu("c4"), "1400")
            self.assertIn("mtu 1400", host("ip", "link", "show", "master", self.bridge("n")).stdout)
            host("ip", "link", "set", "up0", "mtu", "1500")
            wait_until("the MTU of containers", lambda: (mtu("c1"), mtu("c4")) == ("1500", "1500"))
        finally:
            host("ip", "route", "del", "default")
            host("ip", "link", "set", "up0", "mtu", "1500")

    def bridge(self, network):
        return "br-" + self.out("network", "inspect", "--format", "{{.Id}}", network)[:12]

    def test_a_route_that_meets_a_network_is_told(self):
        self.docker("network", "create", "--subnet", "10.99.30.0/24", "n")
        try:
            self.daemon.in_netns("ip", "route", "add", "10.99.30.128/25", "via", "198.51.100.2")
            wait_until("the warning", lambda: "network n: its subnet meets 10.99.30.128/25" in self.daemon.tail(200))
        finally:
            self.daemon.in_netns("ip", "route", "del", "10.99.30.128/25")

    def test_macvlan(self):
        self.docker("network", "create", "-d", "macvlan", "--subnet", "198.51.100.0/24", "--gateway", "198.51.100.2", "-o", "parent=up0", "lan")
        self.container("c1", "--network", "name=lan,ip=198.51.100.77")
        self.serve("c1")
        self.serve("outside")
        self.assertEqual(self.ask("outside", "tcp", "198.51.100.77", 80), "198.51.100.2")
        self.assertEqual(self.ask("c1", "tcp", "198.51.100.2", 80), "198.51.100.77")

    def test_ipvlan(self):
        probe = self.daemon.in_netns("ip", "link", "add", "link", "up0", "name", "probe0", "type", "ipvlan", check=False)
        if probe.returncode != 0:
            self.skipTest("this kernel has no ipvlan")
        self.daemon.in_netns("ip", "link", "del", "probe0")
        self.serve("outside")
        mac = self.daemon.in_netns("ip", "-o", "link", "show", "up0").stdout.split("link/ether ")[1].split()[0]
        # Other addresses each time: the server of the test keeps the namespace before, and its addresses.
        for mode, last in (("l2", 78), ("l3", 80), ("l3s", 82)):
            with self.subTest(mode):
                first, second = f"198.51.100.{last}", f"198.51.100.{last + 1}"
                options = ["--gateway", "198.51.100.2"] if mode == "l2" else []
                self.docker("network", "create", "-d", "ipvlan", "--subnet", "198.51.100.0/24", *options, "-o", "parent=up0", "-o", f"ipvlan_mode={mode}", "lan")
                for name, address in (("c1", first), ("c2", second)):
                    self.container(name, "--network", f"name=lan,ip={address}")
                self.serve("c1")
                if mode != "l2":
                    # Nobody answers for these addresses: the outside host is told the way.
                    self.at(self.outside.pid, "ip", "neigh", "replace", first, "lladdr", mac, "dev", "down0")
                self.assertEqual(self.ask("outside", "tcp", first, 80), "198.51.100.2")
                self.assertEqual(self.ask("c2", "tcp", first, 80), second)
                self.assertEqual(self.ask("c1", "tcp", "198.51.100.2", 80), first)
                self.docker("rm", "-f", "c1", "c2")
                self.docker("network", "rm", "lan")

    def test_cve_2020_13401_and_spoofing(self):
        """What a container with NET_RAW sends with other addresses than its own is dropped at its port; router advertisements too."""
        self.docker("network", "create", "--subnet", "10.99.23.0/24", "n")
        self.container("c1", "--network", "n")
        self.container("c2", "--network", "n")
        spoof = ("import socket,sys,struct\n"
                 "s=socket.socket(socket.AF_INET,socket.SOCK_RAW,socket.IPPROTO_RAW)\n"
                 "src,dst=sys.argv[1:3]\n"
                 "udp=struct.pack('!HHHH',5,9,8,0)\n"
                 "ip=struct.pack('!BBHHHBBH4s4s',0x45,0,28,0,0,64,17,0,socket.inet_aton(src),socket.inet_aton(dst))\n"
                 "s.sendto(ip+udp,(dst,0))\n")
        listen = "import socket\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\ns.bind(('0.0.0.0',9))\nprint('up',flush=True)\nwhile 1: print(s.recvfrom(9)[1][0],flush=True)\n"
        server = subprocess.Popen(["nsenter", f"--net=/proc/{self.pid('c2')}/ns/net", "python3", "-c", listen], stdout=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (server.kill(), server.wait(), server.stdout.close()))
        server.stdout.readline()
        own = self.address("c1", "n")
        for source in ("10.99.23.200", "198.51.100.9", own):
            self.at(self.pid("c1"), "python3", "-c", spoof, source, self.address("c2", "n"))
        self.assertEqual(server.stdout.readline().strip(), own)

    def test_cve_2021_27853_and_arp_and_nd_spoofing(self):
        """Nobody takes the gateway's or a neighbour's address: not by ARP, not by neighbour discovery, not with another MAC, and not behind
        the tags that filters overlook (CVE-2021-27853: VLAN 0, one or several)."""
        self.docker("network", "create", "--ipv6", "--subnet", "10.99.24.0/24", "--subnet", "fd00:99:24::/64", "n")
        for name in ("bad", "victim", "other"):
            self.container(name, "--network", "n")
        place = self.pid("victim")
        field = lambda name, what: self.out("inspect", "--format", f'{{{{(index .NetworkSettings.Networks "n").{what}}}}}', name)
        mac = {name: field(name, "MacAddress") for name in ("bad", "victim", "other")}
        v4 = {name: field(name, "IPAddress") for name in ("bad", "victim", "other")} | {"gateway": "10.99.24.1"}
        v6 = {name: field(name, "GlobalIPv6Address") for name in ("bad", "victim", "other")} | {"gateway": "fd00:99:24::1"}

        def known():
            """What the victim believes, without who lies, after it has spoken to all."""
            out = {}
            for words in self.at(place, "ip", "neigh", "show", "dev", "eth0").stdout.splitlines():
                words = words.split()
                if "lladdr" in words and words[0] not in (v4["bad"], v6["bad"]) and not words[0].startswith("fe80"):
                    out[words[0]] = words[words.index("lladdr") + 1]
            return out

        for name in ("other", "gateway"):
            for target in (v4[name], v6[name]):
                self.ask("victim", "udp", target, 9)
        before = known()
        self.assertEqual(set(before), {v4["other"], v4["gateway"], v6["other"], v6["gateway"]})

        def send(*bodies, tags=b"", source=mac["bad"]):
            frames = []
            for kind, body in bodies:
                frames.append((mac_bytes(mac["victim"]) + mac_bytes(source) + tags + kind + body).hex())
            self.at(self.pid("bad"), "python3", "-c", FRAMES, "eth0", *frames)

        arp_type, ipv6_type = b"\x08\x06", b"\x86\xdd"
        lies = []
        for name in ("other", "gateway"):
            to = (mac["victim"], v4["victim"])
            lies += [(arp_type, arp(operation, (mac["bad"], v4[name]), to)) for operation in (1, 2)]
            lies += [(ipv6_type, neighbour_advert(v6["bad"], v6[name], mac["bad"], v6["victim"])),
                     (ipv6_type, neighbour_advert(v6[name], v6[name], mac["bad"], v6["victim"]))]
        vlan0, service0 = b"\x81\x00\x00\x00", b"\x88\xa8\x00\x00"
        for tags in (b"", vlan0, vlan0 * 2, service0, service0 + vlan0, vlan0 + service0):
            send(*lies, tags=tags)
            self.assertEqual(known(), before, tags.hex())
        # A frame with the MAC of another would lead that one's traffic here.
        send((arp_type, arp(1, (mac["other"], v4["other"]), (mac["victim"], v4["victim"]))), source=mac["other"])
        self.serve("other")
        self.assertNotEqual(self.ask("victim", "tcp", v4["other"], 80), "no")
        # What is true goes through: the test would see a lie.
        self.at(place, "ip", "neigh", "flush", "dev", "eth0")
        send((arp_type, arp(1, (mac["bad"], v4["bad"]), (mac["victim"], v4["victim"]))))
        self.assertIn(mac["bad"], self.at(place, "ip", "neigh", "show", v4["bad"]).stdout)

    # --- ports ------------------------------------------------------------------------------------------------

    def test_a_port_from_everywhere(self):
        self.docker("network", "create", "--ipv6", "n")
        self.docker("network", "create", "--ipv6", "other")
        self.container("c1", "--network", "n", "-p", "8082:80", "-p", "8082:80/udp")
        self.container("c2", "--network", "n")
        self.container("c3", "--network", "other")
        self.serve("c1")
        for kind in ("tcp", "udp"):
            self.assertEqual(self.ask("outside", kind, "198.51.100.1", 8082), "198.51.100.2")
            self.assertEqual(self.ask("outside", kind, "fd00:99::1", 8082), "fd00:99::2")
            for place in ("host", "c1", "c2", "c3"):
                self.assertNotEqual(self.ask(place, kind, "198.51.100.1", 8082), "no", (place, kind))
                self.assertNotEqual(self.ask(place, kind, "fd00:99::1", 8082), "no", (place, kind))
            self.assertNotEqual(self.ask("host", kind, "127.0.0.1", 8082), "no")
        self.assertEqual(self.out("port", "c1", "80/tcp").split(), ["0.0.0.0:8082", "[::]:8082"])
        self.docker("stop", "-t", "0", "c1")
        self.assertEqual(self.ask("host", "tcp", "127.0.0.1", 8082), "no")
        self.docker("start", "c1")
        self.serve("c1")
        self.assertEqual(self.ask("outside", "tcp", "198.51.100.1", 8082), "198.51.100.2")

    def test_conflicts_and_ranges(self):
        self.container("c1", "-p", "127.0.0.1:8083:80", "-p", "9000-9002:90")
        done = self.docker("run", "-d", "-p", "8083:80", "busybox", "true", check=False)
        self.assertIn("Bind for 127.0.0.1:8083 failed: port is already allocated", done.stderr)
        self.container("c2", "-p", "198.51.100.1:8083:80", "-P", "--expose", "70")
        self.assertRegex(self.out("port", "c2", "70/tcp"), r"0\.0\.0\.0:(3[2-9]|[45])\d{3}")
        self.serve("c1")
        self.assertNotEqual(self.ask("host", "tcp", "127.0.0.1", 8083), "no")
        self.assertEqual(self.ask("outside", "tcp", "198.51.100.1", 8083), "no")
        taken = subprocess.Popen(["nsenter", f"--net=/proc/{self.daemon.holder.pid}/ns/net", "python3", "-c",
                                  "import socket,time\ns=socket.create_server(('0.0.0.0',8084))\nprint('up',flush=True)\ntime.sleep(60)"], stdout=subprocess.PIPE)
        self.addCleanup(lambda: (taken.kill(), taken.wait(), taken.stdout.close()))
        taken.stdout.readline()
        done = self.docker("run", "-d", "-p", "8084:80", "busybox", "true", check=False)
        self.assertIn("failed to bind host port 0.0.0.0:8084/tcp: Address already in use", done.stderr)

    def test_kill_flush_and_go_on(self):
        """The same after kill -9 of gruad, and after `nft flush ruleset`."""
        self.docker("network", "create", "--ipv6", "n")
        self.container("c1", "--network", "n", "-p", "8085:80")
        self.container("c2", "--network", "n")
        self.container("c3")
        self.serve("c1")
        def check():
            self.assertEqual(self.ask("outside", "tcp", "198.51.100.1", 8085), "198.51.100.2")
            self.assertEqual(self.ask("c2", "tcp", self.address("c1", "n", 6), 80), self.address("c2", "n", 6))
            self.assertEqual(self.ask("c3", "tcp", self.address("c1", "n"), 80), "no")
        check()
        before = json.loads(self.out("inspect", "c1"))[0]["NetworkSettings"]
        self.daemon.kill()
        self.assertEqual(self.ask("outside", "tcp", "198.51.100.1", 8085), "198.51.100.2")
        self.daemon.start()
        check()
        self.assertEqual(json.loads(self.out("inspect", "c1"))[0]["NetworkSettings"], before)
        self.daemon.in_netns("nft", "flush", "ruleset")
        wait_until("the rules are back", lambda: "ports4" in self.daemon.in_netns("nft", "list", "ruleset").stdout)
        check()
        self.docker("rm", "-f", "c1")
        self.container("c4", "--network", "n", "-p", "8085:80")

    def test_ports_change_while_it_runs(self):
        self.container("c1", "-p", "8087:80", "-p", "8091:81")
        self.serve("c1")
        pid = self.pid("c1")
        echo = subprocess.Popen(["nsenter", f"--net=/proc/{pid}/ns/net", "python3", "-c", ECHO, "81"], stdout=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (echo.kill(), echo.wait(), echo.stdout.close()))
        echo.stdout.readline()
        held = subprocess.Popen(["nsenter", f"--net=/proc/{self.outside.pid}/ns/net", "python3", "-c", HOLD, "198.51.100.1", "8091"],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (held.kill(), held.wait(), held.stdin.close(), held.stdout.close()))
        self.assertEqual(held.stdout.readline().strip(), "connected")
        self.grua("update", "--publish-add", "8088:80", "--publish-add", "127.0.0.1:8089:80", "c1")
        self.assertEqual(self.ask("outside", "tcp", "198.51.100.1", 8088), "198.51.100.2")
        self.assertNotEqual(self.ask("host", "tcp", "127.0.0.1", 8089), "no")
        self.grua("update", "--publish-rm", "8088:80", "c1")
        self.assertEqual(self.ask("outside", "tcp", "198.51.100.1", 8088), "no")
        self.assertEqual(self.out("port", "c1").split("\n"), ["80/tcp -> 0.0.0.0:8087", "80/tcp -> 127.0.0.1:8089", "80/tcp -> [::]:8087", "81/tcp -> 0.0.0.0:8091", "81/tcp -> [::]:8091"])
        done = self.grua("update", "--publish-rm", "8088:82", "c1", check=False)
        self.assertIn("port 82/tcp of container c1 is not published", done.stderr)
        self.container("c2")
        done = self.grua("update", "--publish-add", "8087:80", "c2", check=False)
        self.assertIn("port is already allocated", done.stderr)
        self.assertEqual(self.pid("c1"), pid)
        held.stdin.write("x\n")
        held.stdin.flush()
        self.assertEqual(held.stdout.readline().strip(), "x", "the connection from before goes on")
        self.docker("restart", "-t", "0", "c1")
        self.assertEqual(self.out("port", "c1").count("8089"), 1)

    def test_a_port_is_handed_over_without_a_lost_connection(self):
        self.container("c1", "-p", "8090:80")
        self.container("c2")
        self.serve("c1")
        self.serve("c2")
        clients = [subprocess.Popen(["nsenter", f"--net=/proc/{self.outside.pid}/ns/net", "python3", "-c", LOAD, "198.51.100.1", "8090"],
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        for _ in range(10):
            self.grua("update", "--publish-from", "c1", "c2")
            self.grua("update", "--publish-from", "c2", "c1")
        for client in clients:
            out, _ = client.communicate("stop\n", timeout=30)
            done, failed = map(int, out.split())
            self.assertEqual(failed, 0)
            self.assertGreater(done, 100)
        self.assertIn("8090", self.out("port", "c1"))
        self.assertEqual(self.out("port", "c2"), "")

    def test_udp_flows_follow_their_port(self):
        """A client that goes on with one socket, as DNS servers, syslog and QUIC do, is not led to who had the port before."""
        self.docker("network", "create", "--ipv6", "n")

        def answers(name):
            server = subprocess.Popen(["nsenter", f"--net=/proc/{self.pid(name)}/ns/net", "python3", "-c", NAMED, name], stdout=subprocess.PIPE)
            self.addCleanup(lambda: (server.kill(), server.wait(), server.stdout.close()))
            server.stdout.readline()

        def client(place, host):
            out = subprocess.Popen(["nsenter", f"--net=/proc/{self.pid(place)}/ns/net", "python3", "-c", FLOW, host, "8095"],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
            self.addCleanup(lambda: (out.kill(), out.wait(), out.stdin.close(), out.stdout.close()))
            return out

        def said(to):
            to.stdin.write("\n")
            return to.stdout.readline().strip()

        clients = [client("outside", "198.51.100.1"), client("outside", "fd00:99::1"), client("host", "198.51.100.1")]
        all_hear = lambda name: self.assertEqual([said(each) for each in clients], [name] * len(clients))
        all_hear("no")
        self.container("c1", "--network", "n", "-p", "8095:80/udp")
        answers("c1")
        all_hear("c1")
        # Removed, and another one has the port.
        self.docker("rm", "-f", "c1")
        self.container("c2", "--network", "n", "-p", "8095:80/udp")
        answers("c2")
        all_hear("c2")
        # Taken away while it runs.
        self.container("c3", "--network", "n")
        answers("c3")
        self.grua("update", "--publish-rm", "80/udp", "c2")
        all_hear("no")
        self.grua("update", "--publish-add", "8095:80/udp", "c3")
        all_hear("c3")
        # Handed over: who speaks to it goes on, until it ends.
        self.grua("update", "--publish-from", "c3", "c2")
        all_hear("c3")
        clients.append(client("outside", "198.51.100.1"))
        self.assertEqual(said(clients[-1]), "c2")
        self.docker("rm", "-f", "c3")
        all_hear("c2")

    def test_nothing_is_left(self):
        wait_until("the tests before have ended", lambda: '"veth' not in self.daemon.in_netns("nft", "list", "ruleset").stdout)
        rules = self.daemon.in_netns("nft", "list", "ruleset").stdout
        links = self.daemon.in_netns("ip", "-o", "link").stdout.count("br-")
        self.docker("network", "create", "n")
        self.container("c1", "--network", "n", "-p", "8086:80")
        self.docker("rm", "-f", "c1")
        self.docker("network", "rm", "n")
        with contextlib.suppress(AssertionError):
            wait_until("the rules are as before", lambda: self.daemon.in_netns("nft", "list", "ruleset").stdout == rules)
        self.assertEqual(self.daemon.in_netns("nft", "list", "ruleset").stdout, rules)
        self.assertEqual(self.daemon.in_netns("ip", "-o", "link").stdout.count("br-"), links)


# Asks the container's resolver from within: prints rcode and sorted answers; TCP by a fourth word.
ASK_DNS = """
import random, socket, struct, sys
name, kind, proto = sys.argv[1], int(sys.argv[2]), sys.argv[3]
labels = b''.join(bytes([len(l)]) + l.encode() for l in name.split('.') if l) + b'\\0'
q = struct.pack('!HHHHHH', random.getrandbits(16), 0x100, 1, 0, 0, 0) + labels + struct.pack('!HH', kind, 1)
if proto == 'tcp':
    s = socket.create_connection((sys.argv[4], 53), 5)
    s.sendall(struct.pack('!H', len(q)) + q)
    n = struct.unpack('!H', s.recv(2))[0]
    r = b''
    while len(r) < n: r += s.recv(n - len(r))
else:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(8)
    s.connect((sys.argv[4], 53)); s.send(q); r = s.recv(4096)
assert r[:2] == q[:2]
at, out = len(q), []
def skip(at):
    while r[at]:
        if r[at] >= 192: return at + 2
        at += 1 + r[at]
    return at + 1
def text(at):
    words = []
    while r[at]:
        if r[at] >= 192: at = (r[at] & 63) << 8 | r[at + 1]; continue
        words.append(r[at + 1:at + 1 + r[at]].decode()); at += 1 + r[at]
    return '.'.join(words)
for _ in range(struct.unpack('!H', r[6:8])[0]):
    at = skip(at); t, c, ttl, n = struct.unpack('!HHIH', r[at:at + 10]); at += 10
    out.append(socket.inet_ntoa(r[at:at + 4]) if t == 1 else socket.inet_ntop(socket.AF_INET6, r[at:at + 16]) if t == 28 else text(at)); at += n
print(r[3] & 15, 'TC' if r[2] & 2 else '', *out)
"""

# An upstream: answers every A question with the address given, counts what came into a file.
UPSTREAM = """
import socket, sys, struct, threading
host, port, answer, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
def reply(q):
    open(count, 'a').write('x')
    return q[:2] + b'\\x81\\x80' + q[4:6] + b'\\0\\1\\0\\0\\0\\0' + q[12:] + b'\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\5\\0\\4' + socket.inet_aton(answer)
def tcp():
    s = socket.create_server((host, port))
    while True:
        c, _ = s.accept(); n = struct.unpack('!H', c.recv(2))[0]; a = reply(c.recv(n)); c.sendall(struct.pack('!H', len(a)) + a); c.close()
threading.Thread(target=tcp, daemon=True).start()
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind((host, port))
print('up', flush=True)
while True:
    q, a = u.recvfrom(4096); u.sendto(reply(q), a)
"""


class Names(Host):
    """The embedded resolver."""

    def dns(self, place, name, kind=1, proto="udp", server="127.0.0.11"):
        return self.at(self.pid(place), "python3", "-c", ASK_DNS, name, str(kind), proto, server).stdout.split()

    def upstream(self, place, host, answer, port=53):
        count = tempfile.NamedTemporaryFile("w", delete=False).name
        server = subprocess.Popen(["nsenter", f"--net=/proc/{self.pid(place)}/ns/net", "python3", "-c", UPSTREAM, host, str(port), answer, count],
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.addCleanup(lambda: (server.kill(), server.wait(), server.stdout.close(), os.unlink(count)))
        server.stdout.readline()
        return lambda: len(open(count).read())

    def test_names_of_both_families_aliases_and_reverse(self):
        self.docker("network", "create", "--ipv6", "n")
        self.docker("network", "create", "other")
        self.container("web", "--network", "n", "--network-alias", "WWW", "--hostname", "front")
        self.container("two", "--network", "n", "--network-alias", "www")
        self.container("far", "--network", "other")
        four, six = self.address("web", "n"), self.address("web", "n", 6)
        for proto in ("udp", "tcp"):
            self.assertEqual(self.dns("two", "web", 1, proto), ["0", four])
            self.assertEqual(self.dns("two", "web", 28, proto), ["0", six])
        for name in ("Web", "web.n", "front", self.out("inspect", "--format", "{{.Id}}", "web")[:12]):
            self.assertEqual(self.dns("two", name), ["0", four], name)
        self.assertEqual(sorted(self.dns("two", "www")[1:]), sorted([four, self.address("two", "n")]))
        firsts = {self.dns("two", "www")[1] for _ in range(4)}
        self.assertEqual(len(firsts), 2, "the addresses of a service take turns")
        self.assertEqual(self.dns("two", ".".join(reversed(four.split("."))) + ".in-addr.arpa", 12), ["0", "web.n"])
        nibbles = ipaddress.ip_address(six).exploded.replace(":", "")
        self.assertEqual(self.dns("two", ".".join(reversed(nibbles)) + ".ip6.arpa", 12), ["0", "web.n"])
        self.assertEqual(self.dns("two", "web", 15), ["0"])
        self.assertNotEqual(self.dns("far", "web")[0], "0")
        self.assertIn(four, self.out("exec", "two", "nslookup", "web"))
        self.docker("network", "connect", "--alias", "late", "other", "two")
        self.assertEqual(self.dns("far", "late"), ["0", self.address("two", "other")])
        self.docker("network", "disconnect", "other", "two")
        self.assertNotEqual(self.dns("far", "late")[0], "0")
        self.docker("rename", "web", "site")
        self.assertEqual(self.dns("two", "site"), ["0", four])
        self.assertEqual(self.dns("two", ".".join(reversed(four.split("."))) + ".in-addr.arpa", 12), ["0", "site.n"])
        self.assertNotEqual(self.dns("two", "web")[0], "0")
        self.assertIn("site", json.loads(self.out("inspect", "site"))[0]["NetworkSettings"]["Networks"]["n"]["DNSNames"])

    def test_port_53_is_the_containers_own(self):
        self.docker("network", "create", "n")
        self.container("dd", "--network", "n")
        asked = self.upstream("dd", "0.0.0.0", "198.51.100.88")
        self.assertEqual(self.dns("dd", "dd"), ["0", self.address("dd", "n")])
        self.assertEqual(asked(), 0)

    def test_forwards_to_its_own_servers_and_fails_over(self):
        self.docker("network", "create", "--subnet", "10.99.30.0/24", "n")
        self.container("server", "--network", "name=n,ip=10.99.30.53")
        asked = self.upstream("server", "10.99.30.53", "198.51.100.88")
        self.container("client", "--network", "n", "--dns", "10.99.30.99", "--dns", "10.99.30.53")
        for proto in ("udp", "tcp"):
            self.assertEqual(self.dns("client", "example.com", 1, proto), ["0", "198.51.100.88"])
        self.assertGreaterEqual(asked(), 2)
        self.assertIn("nameserver 127.0.0.11", self.out("exec", "client", "cat", "/etc/resolv.conf"))
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual(self.dns("client", "server"), ["0", "10.99.30.53"])
        self.assertEqual(self.dns("client", "example.com"), ["0", "198.51.100.88"])


class DefaultBridge(Names):
    """What daemon.json says of the default bridge and of all networks, and names for programs of the host."""

    options = ("--host-dns", "127.0.0.153", "--bip", "10.99.28.1/24", "--fixed-cidr", "10.99.28.128/25", "--default-gateway", "10.99.28.9", "--ipv6",
               "--bip6", "fd00:99:28::1/64", "--fixed-cidr-v6", "fd00:99:28::8000/113", "--default-gateway-v6", "fd00:99:28::9",
               "--default-network-opt", "bridge=com.docker.network.driver.mtu=1400",
               "--default-network-opt", "bridge=com.docker.network.enable_ipv6=true")

    test_names_of_both_families_aliases_and_reverse = None
    test_port_53_is_the_containers_own = None
    test_forwards_to_its_own_servers_and_fails_over = None

    def test_its_addresses(self):
        self.container("c1")
        self.assertEqual(self.address("c1", "bridge"), "10.99.28.128")
        self.assertTrue(ipaddress.ip_address(self.address("c1", "bridge", 6)) in ipaddress.ip_network("fd00:99:28::8000/113"))
        for family, router in (("-4", "10.99.28.9"), ("-6", "fd00:99:28::9")):
            self.assertIn(f"default via {router} ", self.at(self.pid("c1"), "ip", family, "route").stdout)
        bridge = json.loads(self.out("network", "inspect", "bridge"))[0]
        self.assertTrue(bridge["EnableIPv6"])
        self.assertEqual(bridge["IPAM"]["Config"], [
            {"Subnet": "10.99.28.0/24", "IPRange": "10.99.28.128/25", "Gateway": "10.99.28.1", "AuxiliaryAddresses": {"DefaultGatewayIPv4": "10.99.28.9"}},
            {"Subnet": "fd00:99:28::/64", "IPRange": "fd00:99:28::8000/113", "Gateway": "fd00:99:28::1", "AuxiliaryAddresses": {"DefaultGatewayIPv6": "fd00:99:28::9"}}])
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual(self.address("c1", "bridge"), "10.99.28.128")
        self.container("c2")
        self.assertEqual(self.address("c2", "bridge"), "10.99.28.129")

    def test_options_of_networks_that_do_not_say_them(self):
        self.docker("network", "create", "n")
        self.docker("network", "create", "--ipv6=false", "-o", "com.docker.network.driver.mtu=1300", "other")
        for network, mtu, ipv6 in (("n", "1400", True), ("other", "1300", False)):
            seen = json.loads(self.out("network", "inspect", network))[0]
            self.assertEqual((seen["Options"]["com.docker.network.driver.mtu"], seen["EnableIPv6"]), (mtu, ipv6))
        self.container("c1", "--network", "n")
        self.assertIn("mtu 1400", self.at(self.pid("c1"), "ip", "link", "show", "eth0").stdout)

    def test_a_router_of_ones_own(self):
        self.docker("network", "create", "--subnet", "10.99.29.0/24", "--aux-address", "DefaultGatewayIPv4=10.99.29.7", "--ipv6=false", "n")
        self.container("c1", "--network", "n")
        self.assertIn("default via 10.99.29.7 ", self.at(self.pid("c1"), "ip", "route").stdout)
        self.assertEqual(self.out("inspect", "--format", "{{.NetworkSettings.Networks.n.Gateway}}", "c1"), "10.99.29.7")

    def test_names_for_the_host(self):
        """Of all networks, with and without the domain; nothing else is answered, and nothing is asked elsewhere."""
        self.docker("network", "create", "n")
        self.container("web", "--network", "n", "--network-alias", "www")
        self.container("plain")
        ask = lambda name, *more: self.dns("host", name, *more, server="127.0.0.153")
        four, six, plain = self.address("web", "n"), self.address("web", "n", 6), self.address("plain", "bridge")
        for proto in ("udp", "tcp"):
            for name in ("web", "web.n", "www", "web.grua.internal", "WEB.n.grua.internal"):
                self.assertEqual(ask(name, 1, proto), ["0", four], name)
                self.assertEqual(ask(name, 28, proto), ["0", six], name)
            self.assertEqual(ask("plain.grua.internal", 1, proto), ["0", plain])
        self.assertEqual(ask("nobody.grua.internal"), ["3"])
        self.assertEqual(ask("example.com"), ["5"])
        reverse = lambda address: ipaddress.ip_address(address).reverse_pointer
        self.assertEqual(ask(reverse(four), 12), ["0", "web.n.grua.internal"])
        self.assertEqual(ask(reverse(plain), 12), ["0", "plain.bridge.grua.internal"])
        self.assertEqual(ask(reverse("198.51.100.2"), 12), ["5"])
        # A container on the default bridge goes on having no names there, and the other's resolver knows none of it.
        self.assertEqual(self.dns("web", "plain")[0], "2")
        self.docker("network", "connect", "n", "plain")
        self.assertEqual(sorted(ask("plain.grua.internal")), sorted(["0", plain, self.address("plain", "n")]))
        self.docker("rename", "web", "shop")
        self.assertEqual((ask("web.grua.internal"), ask("shop")), (["3"], ["0", four]))
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual(ask("shop"), ["0", four])
        self.assertIn(plain, ask("plain"))
        self.docker("rm", "-f", "shop", "plain")
        self.assertEqual((ask("shop.grua.internal"), ask("plain.grua.internal")), (["3"], ["3"]))

    def test_what_is_refused(self):
        for words, text in ((("--host-dns", "::1"), 'host-dns "::1": an IPv4 address and a port'),
                            (("--default-network-opt", "bridge"), "--default-network-opt bridge: DRIVER=OPTION=VALUE is expected")):
            done = run(BIN / "gruad", *words, "--validate", check=False)
            self.assertEqual((done.returncode != 0, text in done.stderr), (True, True), done.stderr)
        before = self.daemon.options
        self.daemon.stop()
        try:
            for words, text in ((("--fixed-cidr", "10.98.0.0/24"), "fixed-cidr 10.98.0.0/24 is not within the default bridge's subnet 10.99.28.0/24"),
                                (("--default-gateway", "10.98.0.1"), "default-gateway 10.98.0.1 is no address of the default bridge's subnet 10.99.28.0/24")):
                self.daemon.options = ["--bip", "10.99.28.1/24", *words]
                with self.assertRaises(AssertionError):
                    self.daemon.start()
                self.assertIn(text, self.daemon.log.read_text())
        finally:
            self.daemon.options = before
            self.daemon.start()
