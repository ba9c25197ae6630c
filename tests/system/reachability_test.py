"""Who reaches whom: every place asks every address of a container, by TCP, UDP and ICMP, in both families, for every driver and option that
decides about it; and again after gruad was killed, after the rules were flushed, and after the host's firewall was loaded anew.

A row of TABLE is a kind of network; a column what of a container on it is asked for: its own published port, another port, ping, and the
host's port that is published. The letters are the places that get an answer: n a container of the same network, f one of another network,
h the host, o a host outside, l the host by its loopback address. Where families differ there is a second row."""

import concurrent.futures
import json

import networks_test
from harness import wait_until

# name: options of `network create`                                                    port   other  ping   published
TABLE = {
    "nat": ((), {4: ("nh", "nh", "nh", "nfhol"), 6: ("nh", "nh", "nh", "nfhol")}),
    "icc": (("-o", "com.docker.network.bridge.enable_icc=false"), {4: ("h", "h", "h", "nfhol"), 6: ("h", "h", "h", "nfhol")}),
    "internal": (("--internal",), {4: ("nh", "nh", "nh", ""), 6: ("nh", "nh", "nh", "")}),
    "isolated": (("--internal", "-o", "com.docker.network.bridge.gateway_mode_ipv4=isolated", "-o", "com.docker.network.bridge.gateway_mode_ipv6=isolated"),
                 {4: ("n", "n", "n", ""), 6: ("n", "n", "n", "")}),
    "routed": (("-o", "com.docker.network.bridge.gateway_mode_ipv4=routed", "-o", "com.docker.network.bridge.gateway_mode_ipv6=routed"),
               {4: ("nfho", "nh", "nfho", ""), 6: ("nfho", "nh", "nfho", "")}),
    "unprotected": (("-o", "com.docker.network.bridge.gateway_mode_ipv4=nat-unprotected", "-o", "com.docker.network.bridge.gateway_mode_ipv6=nat-unprotected"),
                    {4: ("nho", "nho", "nho", "nfhol"), 6: ("nho", "nho", "nho", "nfhol")}),
    "no masquerading": (("-o", "com.docker.network.bridge.enable_ip_masquerade=false"), {4: ("nh", "nh", "nh", "nfhol"), 6: ("nh", "nh", "nh", "nfhol")}),
}
# One family only: the other's published port is the proxy's, which speaks TCP.
SINGLE = {
    "IPv4 only": (("--ipv6=false",), {4: ("nh", "nh", "nh", "nfhol")}),
    "IPv6 only": (("--ipv4=false", "--ipv6"), {6: ("nh", "nh", "nh", "nfhol")}),
}
PLACES = {"n": "near", "f": "far", "h": "host", "o": "outside"}
HOST = {4: "198.51.100.1", 6: "fd00:99::1"}
LOOPBACK = {4: "127.0.0.1", 6: "::1"}

# Reads questions from standard input, asks all at once, says which were answered.
PROBE = r"""
import concurrent.futures, json, os, socket, struct, sys
def ping(host):
    six = ':' in host
    s = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP)
    s.settimeout(WAIT)
    number = hash(host) & 0xffff
    head = lambda check: struct.pack('!BBHHH', 128 if six else 8, 0, check, number, 1)
    total = sum(struct.unpack('!4H', head(0)))
    s.sendto(head(0 if six else ~((total & 0xffff) + (total >> 16)) & 0xffff), (host, 0))
    while True:
        data = s.recv(200)
        if not six: data = data[(data[0] & 15) * 4:]
        if data[0] == (129 if six else 0) and struct.unpack('!H', data[4:6])[0] == number: return True
def ask(question):
    kind, host, port = question
    try:
        if kind == 'icmp': return ping(host)
        s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, socket.SOCK_DGRAM if kind == 'udp' else socket.SOCK_STREAM)
        s.settimeout(WAIT)
        s.connect((host, port))
        if kind == 'udp': s.send(b'x')
        return bool(s.recv(100))
    except OSError:
        return False
WAIT = float(sys.argv[1])
with concurrent.futures.ThreadPoolExecutor(64) as pool: print(json.dumps(list(pool.map(ask, json.loads(sys.stdin.read())))))
"""


class Reachability(networks_test.Host):
    def setUp(self):
        self.docker("network", "create", "--ipv6", "elsewhere")
        self.container("far", "--network", "elsewhere")
        for family, networks in ((4, "172.16.0.0/12"), (6, "fd00::/8")):
            self.at(self.outside.pid, "ip", f"-{family}", "route", "replace", networks, "via", HOST[family])

    def questions(self, addresses, families, udp=True):
        """From which place what is asked, and who should be answered."""
        for family, columns in families.items():
            for column, letters in enumerate(columns):
                kinds = ("icmp",) if column == 2 else ("tcp", "udp") if udp or column != 3 else ("tcp",)
                for kind in kinds:
                    for letter, place in (*PLACES.items(), ("l", "host")):
                        if letter == "l" and column != 3:
                            continue
                        host = addresses[family] if column != 3 else LOOPBACK[family] if letter == "l" else HOST[family]
                        port = (80, 81, 0, 8080)[column]
                        yield place, [kind, host, port], letter in letters

    def wrong(self, questions, wait):
        """Those that were answered and should not be, or the other way round."""
        def ask(place):
            asked = [(question, expected) for where, question, expected in questions if where == place]
            text = self.at(self.pids[place], "python3", "-c", PROBE, str(wait), input=json.dumps([question for question, _ in asked])).stdout
            return [f"{place} {' '.join(map(str, question))}: {'answered' if answered else 'no answer'}"
                    for (question, expected), answered in zip(asked, json.loads(text), strict=True) if answered != expected]

        with concurrent.futures.ThreadPoolExecutor(len(PLACES)) as pool:
            return [line for lines in pool.map(ask, PLACES.values()) for line in lines]

    def assertReach(self, questions, when):
        for wait in (0.4, 1, 2):
            wrong = self.wrong(questions, wait)
            if not wrong:
                return
        self.fail(f"{when}: {wrong}")

    def check(self, name, options, families, both=True):
        self.docker("network", "create", *(("--ipv6",) if both else ()), *options, "n")
        self.container("target", "--network", "n", "-p", "8080:80", "-p", "8080:80/udp")
        self.container("near", "--network", "n")
        for port in (80, 81):
            self.serve("target", port)
        addresses = {family: self.address("target", "n", family) for family in families}
        self.pids = {place: self.pid(place) for place in PLACES.values()}
        questions = list(self.questions(addresses, families))
        self.assertReach(questions, name)
        self.daemon.kill()
        try:
            alone = [each for each in questions if (each[1][1], each[1][2]) != ("::1", 8080)]  # That is gruad's own.
            self.assertReach(alone, f"{name}, without gruad")
        finally:
            self.daemon.start()
        self.assertReach(questions, f"{name}, after kill -9")
        rules = lambda: "ports4" in self.daemon.in_netns("nft", "list", "ruleset").stdout
        for what, text in (("flush", "flush ruleset\n"), ("reload", "flush ruleset\ntable inet filter { chain forward { type filter hook forward priority filter; policy accept; }; }\n")):
            self.daemon.in_netns("nft", "-f", "-", input=text)
            wait_until("the rules are back", rules)
            self.assertReach(questions, f"{name}, after {what}")

    def test_macvlan(self):
        """Those of one parent and who is on it; the host's own link does not see its children."""
        self.docker("network", "create", "-d", "macvlan", "--ipv6", "--subnet", "198.51.100.0/24", "--gateway", "198.51.100.2", "--subnet", "fd00:99::/64",
                    "--gateway", "fd00:99::2", "-o", "parent=up0", "n")
        self.container("target", "--network", "name=n,ip=198.51.100.91,ip6=fd00:99::91")
        self.container("near", "--network", "name=n,ip=198.51.100.92,ip6=fd00:99::92")
        for port in (80, 81):
            self.serve("target", port)
        self.pids = {place: self.pid(place) for place in PLACES.values()}
        families = {family: ("no", "no", "no") for family in (4, 6)}
        questions = list(self.questions({4: "198.51.100.91", 6: "fd00:99::91"}, families))
        self.assertReach(questions, "macvlan")
        self.daemon.kill()
        self.daemon.start()
        self.assertReach(questions, "macvlan, after kill -9")

    def test_host_and_none(self):
        """The host's own ports are the host's; a container without a network has its loopback."""
        self.docker("run", "-d", "--name", "target", "--network", "host", "busybox", "sleep", "1000")
        self.docker("run", "-d", "--name", "near", "--network", "none", "busybox", "sleep", "1000")
        self.serve("target", 80)
        for family in (4, 6):
            for kind in ("tcp", "udp"):
                # By UDP the host answers a container of its own with another address: that of the bridge.
                for place, expected in (("host", True), ("outside", True), *((("far", True),) if kind == "tcp" else ()), ("near", False)):
                    with self.subTest(family=family, kind=kind, place=place):
                        self.assertEqual(self.ask(place, kind, HOST[family], 80) != "no", expected)
        self.assertEqual(self.out("exec", "near", "ls", "/sys/class/net"), "lo")


def add(name, options, families, both=True):
    setattr(Reachability, "test_" + name.replace(" ", "_").lower(), lambda self: self.check(name, options, families, both))


for each, (given, table) in TABLE.items():
    add(each, given, table)
for each, (given, table) in SINGLE.items():
    add(each, given, table, both=False)
