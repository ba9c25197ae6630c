"""Networks in numbers, and random operations with kills of gruad: nothing is lost meanwhile, nothing is left behind.

GRUA_SOAK_OPERATIONS (400) says how many operations, GRUA_SOAK_SEED which. From 10,000 on the numbers are those that are promised.
"""

import http.client
import json
import os
import random
import unittest

from harness import Connection, Daemon, wait_until

OPERATIONS = int(os.environ.get("GRUA_SOAK_OPERATIONS", "400"))
FULL = OPERATIONS >= 10_000
SEED = int(os.environ.get("GRUA_SOAK_SEED", str(random.SystemRandom().randrange(1 << 32))))


class Api:
    """gruad's, on one connection."""

    def __init__(self, daemon):
        self.connection = Connection(daemon.socket)

    def __call__(self, method, path, body=None):
        for again in (False, True):
            try:
                status, text = self.connection.ask(method, "/v1.50" + path, body)
                return status, json.loads(text) if text.strip() else None
            except (OSError, http.client.HTTPException):
                self.connection.close()
                if again:
                    raise
        return None


class Soak(unittest.TestCase):
    def setUp(self):
        self.daemon = Daemon("--default-address-pool", "base=10.99.128.0/17,size=28")
        self.addCleanup(self.daemon.close)
        self.api = Api(self.daemon)

    def must(self, method, path, body=None):
        status, answer = self.api(method, path, body)
        self.assertLess(status, 400, (method, path, body, answer))
        return answer

    def kernel(self):
        """What gruad has in the host's namespace, but for its pool of sandboxes, which comes and goes."""
        links = [line.split(":")[1].strip().split("@")[0] for line in self.daemon.in_netns("ip", "-o", "link").stdout.split("\n") if line]
        bridges = [link for link in links if not link.startswith("veth")]
        ports = self.daemon.in_netns("sh", "-c", "ls -d /sys/class/net/veth*/master 2>/dev/null | wc -l", check=False).stdout.strip()
        held = self.daemon.in_netns("ss", "-Hltun").stdout.count("\n")
        return bridges, ports, held, self.daemon.in_netns("nft", "list", "ruleset").stdout

    def run_container(self, name, networks, ports=()):
        endpoints = {each: {} for each in networks}
        self.must("POST", f"/containers/create?name={name}", {
            "Image": "busybox", "Cmd": ["sleep", "100000"], "ExposedPorts": {"80/tcp": {}},
            "HostConfig": {"NetworkMode": networks[0], "PortBindings": {"80/tcp": [{"HostPort": str(each)} for each in ports]}},
            "NetworkingConfig": {"EndpointsConfig": endpoints}})
        return self.api("POST", f"/containers/{name}/start")

    def test_a_thousand_endpoints_on_one_network(self):
        """A Linux bridge takes 1,023 ports: the container beyond is refused with that reason."""
        self.must("POST", "/networks/create", {"Name": "big", "IPAM": {"Config": [{"Subnet": "10.99.64.0/20"}]}})
        count = 1000 if FULL else 60
        for number in range(count):
            status, answer = self.run_container(f"c{number}", ["big"])
            self.assertEqual(status, 204, answer)
        self.assertEqual(len(self.must("GET", "/networks/big")["Containers"]), count)
        if not FULL:
            return
        for number in range(1000, 1030):
            status, answer = self.run_container(f"c{number}", ["big"])
            if status != 204:
                break
        self.assertEqual(number, 1023)
        self.assertIn("network big is full: a Linux bridge takes 1,023 links", answer["message"])
        self.must("DELETE", "/containers/c1023?force=1")
        self.must("DELETE", "/containers/c7?force=1")
        wait_until("a port is free again", lambda: self.run_container("again", ["big"])[0] == 204 or self.api("DELETE", "/containers/again?force=1") and False)

    def test_a_network_can_go_as_soon_as_its_last_container_has_ended(self):
        """The client is told of the end while the endpoint is being taken apart."""
        for number in range(100 if FULL else 40):
            self.must("POST", "/networks/create", {"Name": f"n{number}"})
            self.assertEqual(self.run_container(f"c{number}", [f"n{number}"], [20000 + number])[0], 204)
            self.must("POST", f"/containers/c{number}/" + ("stop?t=0" if number % 2 else "kill"))
            self.assertEqual(self.api("DELETE", f"/networks/n{number}"), (204, None))

    def test_two_thousand_networks(self):
        count = 2000 if FULL else 300
        last = f"n{count - 1}"
        for number in range(count):
            self.must("POST", "/networks/create", {"Name": f"n{number}"})
        networks = self.must("GET", "/networks")
        subnets = {each["IPAM"]["Config"][0]["Subnet"] for each in networks if each["Name"].startswith("n") and each["Name"] != "none"}
        self.assertEqual(len(subnets), count)
        self.assertEqual(self.run_container("cc", [last, "n0"])[0], 204)
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual(sorted(self.must("GET", "/containers/cc/json")["NetworkSettings"]["Networks"]), ["n0", last])
        self.must("DELETE", "/containers/cc?force=1")
        for number in range(count):
            self.must("DELETE", f"/networks/n{number}")
        self.assertEqual(len(self.must("GET", "/networks")), 3)

    def test_random_operations(self):
        print(f"soak: GRUA_SOAK_SEED={SEED}, {OPERATIONS} operations", flush=True)
        chance = random.Random(SEED)
        before = self.kernel()
        networks, containers, made, internal = {"bridge"}, {}, 0, {}
        counts = {}
        # A /28 has addresses for 13; those of containers that have just ended must be had again at once.
        full = lambda network: network != "bridge" and sum(network in on for on, _, _ in containers.values()) >= 13
        for _ in range(OPERATIONS):
            what = chance.choices(["network", "remove network", "run", "remove", "connect", "disconnect", "stop", "start", "ports", "rename", "kill"],
                                  [6, 4, 12, 9, 10, 8, 4, 4, 6, 2, 1])[0]
            counts[what] = counts.get(what, 0) + 1
            name = chance.choice(sorted(containers)) if containers else None
            network = chance.choice(sorted(networks))
            made += 1
            if what == "network" and len(networks) < 20:
                internal[f"n{made}"] = chance.random() < 0.2
                self.must("POST", "/networks/create", {"Name": f"n{made}", "EnableIPv6": chance.random() < 0.5, "Internal": internal[f"n{made}"],
                                                       "Options": {"com.docker.network.bridge.enable_icc": chance.choice(["true", "false"])}})
                networks.add(f"n{made}")
            elif what == "remove network" and network != "bridge":
                status, answer = self.api("DELETE", f"/networks/{network}")
                used = any(network in on and runs for on, _, runs in containers.values())
                self.assertEqual(status, 403 if used else 204, answer)
                if not used:
                    networks.discard(network)
                    for on, _, _ in containers.values():
                        on.discard(network)
            elif what == "run" and len(containers) < 30:
                free = sorted(each for each in networks if not full(each))
                on = chance.sample(free, min(len(free), chance.randrange(1, 4)))
                ports = [20000 + made] if chance.random() < 0.5 else []
                status, answer = self.run_container(f"c{made}", on, ports)
                self.assertEqual(status, 204, answer)
                containers[f"c{made}"] = (set(on), set(ports), True)
            elif what == "remove" and name:
                self.must("DELETE", f"/containers/{name}?force=1")
                del containers[name]
            elif what == "connect" and name and network not in containers[name][0] and not full(network):
                self.must("POST", f"/networks/{network}/connect", {"Container": name})
                containers[name][0].add(network)
            elif what == "disconnect" and name and len(containers[name][0]) > 1:
                network = chance.choice(sorted(containers[name][0]))
                self.must("POST", f"/networks/{network}/disconnect", {"Container": name})
                containers[name][0].discard(network)
            elif what == "stop" and name and containers[name][2]:
                self.must("POST", f"/containers/{name}/stop?t=0")
                containers[name] = (*containers[name][:2], False)
            elif what == "start" and name and not containers[name][2]:
                status, answer = self.api("POST", f"/containers/{name}/start")
                # Its network may have gone meanwhile.
                if status == 204:
                    containers[name] = (*containers[name][:2], True)
                else:
                    self.assertIn("not found", answer["message"])
            elif what == "ports" and name and containers[name][2]:
                port = 30000 + made
                status, answer = self.api("POST", f"/containers/{name}/update", {"PublishAdd": {"80/tcp": [{"HostPort": str(port)}]}})
                leads_out = any(each == "bridge" or not internal[each] for each in containers[name][0])
                self.assertEqual(status, 200 if leads_out else 400, answer)
                if leads_out:
                    containers[name][1].add(port)
            elif what == "rename" and name:
                self.must("POST", f"/containers/{name}/rename?name=r{made}")
                containers[f"r{made}"] = containers.pop(name)
            elif what == "kill":
                self.daemon.kill()
                self.daemon.start()
                self.compare(networks, containers, internal)
        self.compare(networks, containers, internal)
        print(f"soak: {counts}", flush=True)
        for name in containers:
            self.must("DELETE", f"/containers/{name}?force=1")
        for network in networks - {"bridge"}:
            self.must("DELETE", f"/networks/{network}")
        wait_until("all is as it was", lambda: self.kernel() == before, 20)

    def compare(self, networks, containers, internal):
        """gruad knows what was made, and the kernel has it."""
        self.assertEqual({each["Name"] for each in self.must("GET", "/networks")} - {"host", "none"}, networks)
        listed = {each["Names"][0][1:]: each for each in self.must("GET", "/containers/json?all=1")}
        self.assertEqual(set(listed), set(containers))
        for name, (on, ports, runs) in containers.items():
            inside = self.must("GET", f"/containers/{name}/json")
            self.assertEqual(inside["State"]["Running"], runs, name)
            if not runs:
                continue
            self.assertEqual(set(inside["NetworkSettings"]["Networks"]), on, name)
            bound = {int(each["HostPort"]) for each in inside["NetworkSettings"]["Ports"].get("80/tcp") or []}
            leads_out = any(each == "bridge" or not internal[each] for each in on)
            # Once published they stay the container's, also while no network of it leads out.
            if bound or leads_out:
                self.assertEqual(bound, ports, name)
