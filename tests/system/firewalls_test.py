"""The host's own firewall and grua side by side: ufw, firewalld, iptables, nftables, as their users set them up."""

import subprocess

import networks_test
from harness import ENV, run, wait_until


class Firewalls(networks_test.Host):
    """Ports 8092 and 8093 go by the host's input rules, of which only the first is allowed there; 8094 goes Docker's way."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.inside = subprocess.Popen([ENV / "firewalls.sh", str(cls.daemon.holder.pid)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        cls.addClassCleanup(lambda: (cls.inside.kill(), cls.inside.wait(), cls.inside.stdout.close()))
        cls.root = cls.inside.stdout.readline().split()[1]

    def setUp(self):
        self.docker("network", "create", "--ipv6", "n")
        self.container("c1", "--network", "n", "--label", "grua.publish-policy=host-input", "--label", "grua.publish-policy.82/tcp=docker",
                       "-p", "8092:80", "-p", "8092:80/udp", "-p", "8093:80", "-p", "8094:82")
        self.container("c2", "--network", "n")
        for port in (80, 82):
            self.serve("c1", port)
        self.serve("outside", 99)

    def tearDown(self):
        self.daemon.in_netns("nft", "flush", "ruleset")
        super().tearDown()

    def fw(self, *words, **more):
        return run("nsenter", "-m", "-n", "-t", str(self.inside.pid), "chroot", self.root, *words, **more)

    def reached(self, port, kind="tcp", place="outside"):
        return self.ask(place, kind, "198.51.100.1", port), self.ask(place, kind, "fd00:99::1", port)

    def check(self, when, closed=("no", "no")):
        open_to_all = ("198.51.100.2", "fd00:99::2")
        for kind in ("tcp", "udp"):
            self.assertEqual(self.reached(8092, kind), open_to_all, (when, kind, "allowed, with the client's address"))
        self.assertEqual(self.reached(8093), closed, (when, "denied"))
        self.assertEqual(self.reached(8094), open_to_all, (when, "Docker's way: nobody is asked"))
        # Containers go on reaching the outside and each other, the host reaches its ports.
        self.assertEqual((self.ask("c1", "tcp", "198.51.100.2", 99), self.ask("c1", "tcp", "fd00:99::2", 99)), ("198.51.100.1", "fd00:99::1"), when)
        self.assertEqual(self.ask("c2", "tcp", self.address("c1", "n"), 80), self.address("c2", "n"), when)
        self.assertNotEqual(self.ask("host", "tcp", "127.0.0.1", 8093), "no", when)

    def test_none(self):
        self.check("no firewall", closed=("198.51.100.2", "fd00:99::2"))

    def test_ufw(self):
        self.addCleanup(self.fw, "ufw", "--force", "reset")
        self.fw("ufw", "--force", "enable")
        self.fw("ufw", "allow", "8092")
        wait_until("containers are let through", lambda: "0x20000000" in self.fw("ip6tables", "-S", "FORWARD").stdout)
        self.check("enabled")
        self.fw("ufw", "reload")
        self.check("reloaded")
        # What the administrator forbids to be forwarded stays forbidden, Docker's way too.
        self.fw("ufw", "route", "deny", "proto", "tcp", "to", self.address("c1", "n"), "port", "82")
        self.assertEqual(self.reached(8094)[0], "no")
        self.fw("ufw", "disable")
        self.check("disabled", closed=("198.51.100.2", "fd00:99::2"))

    def test_firewalld(self):
        daemon = subprocess.Popen(["nsenter", "-m", "-n", "-t", str(self.inside.pid), "chroot", self.root, "sh", "-c",
                                   "dbus-daemon --system --nofork --nopidfile & bus=$!; trap 'kill $bus' EXIT; firewalld --nofork --nopid"], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(lambda: (self.fw("sh", "-c", "kill $(pidof -x firewalld) $(pidof dbus-daemon)", check=False), daemon.wait()))
        wait_until("firewalld runs", lambda: self.fw("firewall-cmd", "--state", check=False).returncode == 0, 20)
        for kind in ("tcp", "udp"):
            self.fw("firewall-cmd", "--permanent", f"--add-port=8092/{kind}")
        self.fw("firewall-cmd", "--reload")
        ours = lambda: "0x20000000" in self.fw("nft", "list", "chain", "inet", "firewalld", "filter_FORWARD", check=False).stdout
        wait_until("containers are let through", ours)
        self.check("started")
        self.fw("firewall-cmd", "--reload")
        wait_until("containers are let through again", ours)
        self.check("reloaded")
        self.fw("firewall-cmd", "--complete-reload")
        wait_until("containers are let through again", ours)
        self.check("completely reloaded")

    def test_iptables(self):
        for tool in ("iptables", "ip6tables"):
            for rule in ("-P FORWARD DROP", "-A INPUT -i lo -j ACCEPT", "-A INPUT -m state --state ESTABLISHED,RELATED -j ACCEPT",
                         "-A INPUT -p tcp --dport 8092 -j ACCEPT", "-A INPUT -p udp --dport 8092 -j ACCEPT",
                         "-A INPUT -p ipv6-icmp -j ACCEPT" if tool == "ip6tables" else "-A INPUT -p icmp -j ACCEPT", "-A INPUT -j REJECT"):
                self.fw(tool, *rule.split())
        self.check("iptables")
        saved = self.fw("iptables-save").stdout
        self.fw("iptables-restore", input=saved)
        self.check("restored")

    def test_nftables(self):
        self.daemon.in_netns("nft", "-f", "-", input="""
            table inet fw {
                chain input {
                    type filter hook input priority 0; policy drop;
                    ct state established,related accept
                    iif lo accept
                    meta l4proto ipv6-icmp accept
                    meta l4proto { tcp, udp } th dport 8092 accept
                }
            }""")
        self.check("nftables")
        self.daemon.kill()
        self.daemon.start()
        self.check("after kill -9 of gruad")
