"""The same docker commands on gruad and on dockerd: the same answers, fields and reachability, but for what DIFFERENCES lists."""

import json
import os
import pathlib
import re
import shlex
import subprocess
import tempfile
import time
import unittest

from harness import DOCKER, ENV, Daemon, busybox_image, run, wait_until

HERE = pathlib.Path(__file__).resolve().parent

# What differs, and why. Each is a pattern on a command, one on its output, and what the latter becomes on both sides.
DIFFERENCES = [
    ("network inspect", r',?\s*"Gateway": "[0-9a-f.:]+"', "", "Docker shows a gateway that it chose itself since version 29 only"),
    ("network create -d overlay", r".+", "", "the overlay driver is not built"),
    (r"inspect --format '{{json .NetworkSettings", r'"SandboxKey":"[^"]*"', '"SandboxKey":""', "a namespace of ours has no file: the path is by the process"),
    ("run -d --name six", r"(?s)invalid endpoint settings:.*", "", "two lines for two reasons; here the first is enough"),
    ("exec .* cat /etc/resolv.conf", r"#.*\n", "", "Docker's comments"),
    ("exec .* cat /etc/resolv.conf", r"\n\n+", "\n", "Docker's comments"),
    ("inspect|exec web", r"10\.BRIDGE\.0\.[23]", "10.BRIDGE.0.N", "which address is free again is by chance"),
    ("exec o1 nslookup again", r"45(::|\.)[34]", "45:N", "which address is free again is by chance"),
    ("ps ", "n2,n1", "n1,n2", "the order is by chance"),
    ("run -d --name five", r"Bind for (0\.0\.0\.0|::):8080", "Bind for ANY:8080", "which address is found taken is by chance"),
    ("exec web cat /etc/hosts", r"(?m)^\S*10\.BRIDGE\.0\.N\s+front\n", "", "Docker puts what came later last, here it is by network"),
    ("network prune", r"(?s).*", "", "the order is by chance"),
]

TRIES = 6

# What gruad itself moves ends with it.
PROXIED = r" ::1 |fd00:99::1 8101$"

SERVER = """
import http.server, socket, threading
class Who(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = self.client_address[0].removeprefix('::ffff:').encode()
        self.send_response(200); self.send_header('Content-Length', str(len(text))); self.end_headers(); self.wfile.write(text)
    def log_message(self, *_): pass
class Server(http.server.ThreadingHTTPServer): address_family = socket.AF_INET6
Server(('::', 80), Who).serve_forever()
"""


class Engine:
    """One of the two, with an uplink up0 to an outside host."""

    def __init__(self, pid):
        self.pid = pid
        self.ids = {}
        self.reached = {}  # since the last "again"
        self.outside = subprocess.Popen(["unshare", "-n", "sleep", "infinity"], stdin=subprocess.DEVNULL)
        wait_until("the outside host", lambda: os.stat(f"/proc/{self.outside.pid}/ns/net").st_ino != os.stat("/proc/self/ns/net").st_ino)
        self.at(pid, "ip", "link", "add", "up0", "type", "veth", "peer", "name", "down0", "netns", str(self.outside.pid))
        for at, link, number in ((pid, "up0", 1), (self.outside.pid, "down0", 2)):
            for words in (("addr", "add", f"198.51.100.{number}/24", "dev", link), ("addr", "add", f"fd00:99::{number}/64", "dev", link, "nodad"),
                          ("link", "set", link, "up"), ("link", "set", "lo", "up")):
                self.at(at, "ip", *words)
        # It knows the way to containers, so that only the engine's rules are in between.
        self.at(self.outside.pid, "ip", "route", "add", "10.0.0.0/8", "via", "198.51.100.1")
        self.server = subprocess.Popen(["nsenter", f"--net=/proc/{self.outside.pid}/ns/net", "python3", "-c", SERVER], stdin=subprocess.DEVNULL)

    def close(self):
        for process in (self.server, self.outside):
            process.kill()
            process.wait()

    @staticmethod
    def at(pid, *words, **more):
        return run("nsenter", f"--net=/proc/{pid}/ns/net", *words, **more)

    def docker(self, *words):
        return run(DOCKER, *self.client, *words, check=False)

    def target(self, text):
        name, at, network = text.partition("@")
        if not at:
            return text
        network, _, six = network.partition("/")
        field = "GlobalIPv6Address" if six else "IPAddress"
        return self.docker("inspect", "--format", f'{{{{(index .NetworkSettings.Networks "{network}").{field}}}}}', name).stdout.strip()

    def reach(self, place, kind, target, port):
        address = self.target(target)
        url = f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"
        where = {"host": self.pid, "outside": self.outside.pid}.get(place)
        inside = {"http": ("wget", "-T", "1", "-qO-", f"{url}/cgi-bin/who"), "ping": ("ping", "-c", "1", "-W", "1", address)}[kind]
        if where is None:
            done = self.docker("exec", place, *inside)
        else:
            done = self.at(where, *(("curl", "-sf", "-m", "1", f"{url}/cgi-bin/who") if kind == "http" else inside), check=False)
        return (done.stdout.strip() or "yes") if done.returncode == 0 and kind == "http" else "yes" if done.returncode == 0 else "no"

    def plain(self, text):
        text = re.sub(r"\b[0-9a-f]{64}\b", lambda found: self.ids.setdefault(found.group(), f"ID{len(self.ids)}"), text)
        text = re.sub(r"\b[0-9a-f]{12}\b", "SHORT", text)
        text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)", "TIME", text)
        text = re.sub(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", "MAC", text)
        text = re.sub(r"fe80::[0-9a-f:]+", "LINKLOCAL", text)
        text = re.sub(r"@if\d+", "@if", text)
        text = text.replace(" tentative", "")
        return text.replace(self.bridge, "10.BRIDGE.0").replace(self.bridge_name, "BRIDGE")

    def again(self):
        """Nothing happens to dockerd."""
        return ""

    def result(self, line):
        words = shlex.split(line)
        if words[0] == "again":
            return self.again()
        if words[0] == "reach":
            self.reached[line] = self.reach(*words[1:])
            return self.plain(self.reached[line])
        done = self.docker(*words)
        if "httpd" in words and done.returncode == 0:
            name = words[words.index("--name") + 1]
            serves = lambda: self.docker("exec", name, "grep", "-qs", ":0050 .* 0A ", "/proc/net/tcp", "/proc/net/tcp6").returncode == 0
            wait_until(f"{name} serves", serves)
        output = self.plain(done.stdout)
        if "nslookup" in words:  # It asks for both families at once; which answer comes first is chance.
            output = "\n".join(sorted(output.split("\n")))
        return f"{done.returncode}\n{output}\n{self.plain(done.stderr)}"


class Grua(Engine):
    bridge = "10.99.7"

    def __init__(self):
        self.daemon = Daemon(image=False)
        self.client = ("-H", f"unix://{self.daemon.socket}")
        self.bridge_name = self.daemon.name
        super().__init__(self.daemon.holder.pid)

    def again(self):
        """Killed, flushed, and the host's own firewall loaded anew: all is as it was. Says what is not."""
        out = []
        rules = lambda: "ports4" in self.daemon.in_netns("nft", "list", "ruleset").stdout
        for what in ("kill", "flush", "reload"):
            if what == "kill":
                self.daemon.kill()
                out += self.changed("kill -9", [line for line in self.reached if line.split()[1] in ("host", "outside") and "@" not in line and not re.search(PROXIED, line)])
                self.daemon.start()
            elif what == "flush":
                self.daemon.in_netns("nft", "flush", "ruleset")
                wait_until("the rules are back", rules)
            else:
                # As nftables.service does it.
                self.daemon.in_netns("nft", "-f", "-", input="flush ruleset\ntable inet filter { chain forward { type filter hook forward priority filter; policy accept; }; }\n")
                wait_until("the rules are back", rules)
            out += self.changed(what, self.reached)
        self.reached.clear()
        return "\n".join(out)

    def changed(self, what, lines):
        out = []
        for line in lines:
            for _ in range(TRIES):
                now = self.reach(*shlex.split(line)[1:])
                if now == self.reached[line]:
                    break
                time.sleep(0.5)
            else:
                out.append(f"after {what}: {line}: {now}, was {self.reached[line]}")
        return out

    def close(self):
        super().close()
        self.daemon.close()


class Docker(Engine):
    bridge = "10.98.0"
    bridge_name = "docker0"

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="grua-peer-", dir="/var/tmp")
        self.client = ("-H", run(ENV / "peers.sh", "start", "dockerd", self.folder, timeout=120).stdout.strip().split("\n")[-1].replace("/", "unix:///", 1))
        super().__init__(int(pathlib.Path(self.folder, "pid").read_text().split()[1]))

    def close(self):
        super().close()
        run(ENV / "peers.sh", "stop", "dockerd", self.folder, check=False)
        run("rm", "-rf", self.folder)


def who_image(folder):
    """busybox with a page that says who asks."""
    page = pathlib.Path(folder, "srv/cgi-bin")
    page.mkdir(parents=True)
    (page / "who").write_text('#!/bin/sh\nprintf "Content-Type: text/plain\\r\\n\\r\\n%s" "$REMOTE_ADDR"\n')
    (page / "who").chmod(0o755)
    run(ENV / "rootfs.sh", "--busybox", f"{folder}/root")
    run("cp", "-a", f"{folder}/srv", f"{folder}/root/")
    run(ENV / "oci-image.sh", "--tag", "busybox:latest", "--cmd", "sh", f"{folder}/root", f"{folder}/image.tar")
    return f"{folder}/image.tar"


class Cases(unittest.TestCase):
    maxDiff = None

    def test_gruad_and_dockerd(self):
        lines = [line for line in (HERE / "network_cases.txt").read_text().split("\n") if line.strip() and not line.startswith("#")]
        engines = []
        for kind in (Docker, Grua):
            engines.append(kind())
            self.addCleanup(engines[-1].close)
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            image = who_image(folder)
            for engine in engines:
                self.assertEqual(engine.docker("load", "-i", image).returncode, 0)
        used = set()
        for line in lines:
            theirs, ours = (engine.result(line) for engine in engines)
            # What is there may need a moment, as an IPv6 address does.
            for _ in range(TRIES if line.startswith("reach ") else 0):
                if theirs == ours:
                    break
                time.sleep(0.5)
                theirs, ours = (engine.result(line) for engine in engines)
            if theirs != ours:
                for number, (command, pattern, instead, _) in enumerate(DIFFERENCES):
                    if re.match(command, line):
                        used.add(number)
                        theirs, ours = (re.sub(pattern, instead, text) for text in (theirs, ours))
            with self.subTest(line):
                self.assertEqual(ours, theirs)
        unused = [each for number, each in enumerate(DIFFERENCES) if number not in used and not each[3].endswith("by chance")]
        self.assertEqual(unused, [], "differences that are none any more")
