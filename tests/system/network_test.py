"""The default bridge, none and host."""

import subprocess

from harness import Case, Daemon, run, wait_until


class Bridge(Case):
    def address(self, name):
        return self.out("inspect", "--format", "{{.NetworkSettings.Networks.bridge.IPAddress}}", name)

    def test_one_container_reaches_another(self):
        self.docker("run", "-d", "--name", "server", "busybox", "sh", "-c", "mkdir /w; echo hello > /w/index.html; httpd -f -h /w -p 80")
        out = self.out("run", "--rm", "busybox", "sh", "-c",
                       f"for i in 1 2 3 4 5 6 7 8 9; do wget -q -O - http://{self.address('server')}/ && break; sleep 0.2; done")
        self.assertEqual(out, "hello")

    def test_outside_by_masquerading_and_not_the_other_way(self):
        inside = f"/proc/{self.daemon.holder.pid}/ns/net"
        outside = subprocess.Popen(["unshare", "-n", "sleep", "infinity"])
        self.addCleanup(lambda: (outside.kill(), outside.wait()))
        wait_until("the outside host", lambda: run("readlink", f"/proc/{outside.pid}/ns/net").stdout != run("readlink", "/proc/self/ns/net").stdout)
        self.daemon.in_netns("ip", "link", "add", "up0", "type", "veth", "peer", "name", "down0", "netns", str(outside.pid))
        self.addCleanup(lambda: self.daemon.in_netns("ip", "link", "del", "up0", check=False))
        self.daemon.in_netns("ip", "addr", "add", "198.51.100.1/24", "dev", "up0")
        self.daemon.in_netns("ip", "link", "set", "up0", "up")
        there = ["nsenter", f"--net=/proc/{outside.pid}/ns/net"]
        run(*there, "ip", "addr", "add", "198.51.100.2/24", "dev", "down0")
        run(*there, "ip", "link", "set", "down0", "up")
        run(*there, "ip", "link", "set", "lo", "up")
        server = subprocess.Popen([*there, "python3", "-c", "import socket\ns=socket.create_server(('198.51.100.2',8000))\nwhile 1:\n c,a=s.accept()\n c.sendall(a[0].encode())\n c.close()"])
        self.addCleanup(lambda: (server.kill(), server.wait()))
        out = self.out("run", "--rm", "busybox", "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do nc 198.51.100.2 8000 < /dev/null && break; sleep 0.2; done")
        self.assertEqual(out, "198.51.100.1")

        self.docker("run", "-d", "--name", "server", "busybox", "httpd", "-f", "-p", "9")
        run(*there, "ip", "route", "add", "10.99.7.0/24", "via", "198.51.100.1")
        probe = f"import socket\nsocket.create_connection(('{self.address('server')}', 9), 2)"
        wait_until("the host reaches it", lambda: run("nsenter", f"--net={inside}", "python3", "-c", probe, check=False).returncode == 0)
        self.assertNotEqual(run(*there, "python3", "-c", probe, check=False).returncode, 0)

    def test_hosts_hostname_resolv_conf(self):
        out = self.out("run", "--rm", "--hostname", "box", "--dns", "198.51.100.53", "--add-host", "other:198.51.100.9", "busybox",
                       "cat", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
        self.assertRegex(out, r"10\.99\.7\.\d+\s+box")
        self.assertRegex(out, r"198\.51\.100\.9\s+other")
        self.assertIn("nameserver 198.51.100.53", out)

    def test_none_has_only_loopback(self):
        self.assertEqual(self.out("run", "--rm", "--network", "none", "busybox", "ls", "/sys/class/net"), "lo")
        self.assertEqual(self.out("run", "--rm", "--network", "none", "busybox", "cat", "/sys/class/net/lo/flags"), "0x9")

    def test_host_is_the_hosts(self):
        ours = self.daemon.in_netns("readlink", "/proc/self/ns/net").stdout.strip()
        self.assertEqual(self.out("run", "--rm", "--network", "host", "busybox", "readlink", "/proc/self/ns/net"), ours)

    def test_container_shares_anothers(self):
        self.docker("run", "-d", "--name", "first", "busybox", "sleep", "1000")
        namespace = self.out("exec", "first", "readlink", "/proc/self/ns/net")
        self.assertEqual(self.out("run", "--rm", "--network", "container:first", "busybox", "readlink", "/proc/self/ns/net"), namespace)

    def test_network_list(self):
        names = self.out("network", "ls", "--format", "{{.Name}}").split()
        self.assertEqual(sorted(names), ["bridge", "host", "none"])
        self.assertIn("10.99.7.0/24", self.out("network", "inspect", "bridge"))

    def test_cve_2024_32473_and_2020_13401_no_ipv6_and_no_router_advertisements(self):
        out = self.out("run", "--rm", "busybox", "sh", "-c", "cat /proc/net/if_inet6 | grep -c eth0; cat /proc/sys/net/ipv6/conf/eth0/accept_ra")
        self.assertEqual(out.split("\n"), ["0", "0"])
