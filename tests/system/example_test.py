"""examples/shop: nginx, a Python application, PostgreSQL and Redis under Docker's compose plugin, in fair and in foul weather."""

import json
import os
import pathlib
import re
import signal
import time
import urllib.parse

from harness import BIN, CACHE, PATIENCE, REPOSITORY, Case, debian_tar, run, wait_until

SHOP = REPOSITORY / "examples/shop"
PARTS = ("proxy", "web", "db", "cache")


def parent_of(pid):
    return int(re.search(r"^PPid:\t(\d+)$", pathlib.Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)[1])


def is_running(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Shop(Case):
    maxDiff = None
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.daemon.grua("import", "--change", 'CMD ["bash"]', debian_tar(), "debian:bookworm")
        cls.archive = CACHE / "images" / f"shop-{run('sh', '-c', f'cat {SHOP}/images* | md5sum | cut -c1-12').stdout.strip()}.tar"
        cls.script("images", cls.archive, timeout=600)

    @classmethod
    def script(cls, name, *words, **more):
        """A script of examples/shop, as a person would call it, but for this daemon and with its secrets elsewhere."""
        environment = {**cls.daemon.environment(), "PATH": f"{BIN}:{os.environ['PATH']}", "SHOP_SECRETS": str(cls.daemon.root / "secrets"),
                       "SHOP_IMAGES": str(getattr(cls, "archive", ""))}
        try:
            return run(SHOP / name, *words, env=environment, **{"timeout": 180, **more})
        except AssertionError as error:
            raise AssertionError(f"{error}\n{cls.daemon.tail()}") from None

        cls.addClassCleanup(cls.script, "compose", "--profile", "*", "down", "-v", "-t", "0", check=False)

    def setUp(self):
        self.script("up")
        self.item = self._testMethodName

    def tearDown(self):
        """The shop stays for the next test; it is one that goes on, after all."""

    def curl(self, path, *words, check=True):
        """What the shop answers through the published port: status, headers, body."""
        done = self.daemon.in_netns("curl", "-s", "-i", "--max-time", 10, *words, f"http://127.0.0.1:8080{path}", check=False)
        head, _, body = done.stdout.partition("\n\n")
        lines = head.split("\n")
        status = int(lines[0].split()[1]) if done.returncode == 0 else 0
        if check and status not in (200, 201):
            raise AssertionError(f"{path}: curl {done.returncode}, {done.stdout}{self.daemon.tail()}")
        return status, {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}, body

    def order(self, amount):
        return json.loads(self.curl("/orders", "-d", urllib.parse.urlencode({"item": self.item, "amount": amount}))[2])["id"]

    def sold(self):
        """How much of this test's item."""
        return json.loads(self.curl("/orders")[2]).get(self.item, 0)

    def serves(self):
        return self.curl("/orders", check=False)[0] == 200

    def containers(self, service):
        return self.out("ps", "-q", "--filter", f"label=com.docker.compose.service={service}").split()

    def state(self, container):
        return self.daemon.inspect(container)["State"]

    def is_healthy(self, container):
        state = self.state(container)
        return state["Running"] and state["Health"]["Status"] == "healthy"

    def server_names(self, requests=40):
        return {self.curl("/orders")[1]["x-server"] for _ in range(requests)}

    def test_what_is_ordered_is_sold(self):
        self.item = "<b>"
        self.assertEqual(self.sold(), 0)
        first = self.order(2)
        self.assertEqual(self.order(3), first + 1)
        _, fresh, rows = self.curl("/orders")
        _, again, _ = self.curl("/orders")
        self.assertEqual((fresh["x-source"], again["x-source"], json.loads(rows)["<b>"]), ("postgresql", "redis", 5))
        page = self.curl("/")[2]
        self.assertIn("<h1>The little shop</h1><p>Visitor ", page)
        self.assertIn("<li>&lt;b&gt;: 5</li>", page)
        self.assertEqual(self.curl("/orders", "-d", "item=tea&amount=0", check=False)[0], 400)
        self.assertEqual(self.curl("/nothing", check=False)[0], 404)
        self.assertEqual(self.script("compose", "--progress", "quiet", "run", "--rm", "-T", "report").stdout.splitlines()[0], "<b>|5")

        # What the file asks for is there: a secret, a network without a way out, a root that cannot be written, limits.
        web = self.daemon.inspect(self.containers("web")[0])
        self.assertEqual((web["HostConfig"]["Memory"], web["HostConfig"]["NanoCpus"], web["HostConfig"]["PidsLimit"]), (128 << 20, 500_000_000, 64))
        self.assertEqual(sorted(web["NetworkSettings"]["Networks"]), ["shop_back", "shop_front"])
        self.assertIn("/run/secrets/db_password", [mount["Destination"] for mount in web["Mounts"]])
        self.assertNotEqual(self.docker("exec", self.containers("proxy")[0], "touch", "/etc/new", check=False).returncode, 0)
        routes = self.out("exec", self.containers("db")[0], "cat", "/proc/net/route").splitlines()[1:]
        self.assertNotIn("00000000", [line.split()[1] for line in routes])

    def test_gruad_may_die(self):
        self.order(1)
        before = {service: [self.state(each)["Pid"] for each in self.containers(service)] for service in PARTS}
        self.daemon.kill()
        # The application goes on: ports are the kernel's, and so are connections between the containers.
        self.assertTrue(all(is_running(pid) for pids in before.values() for pid in pids))
        self.assertEqual(self.curl("/proxy")[2], "up\n")
        self.daemon.start()
        wait_until("the shop serves", self.serves, 15)
        self.order(2)
        self.assertEqual(self.sold(), 3)
        self.assertEqual({service: [self.state(each)["Pid"] for each in self.containers(service)] for service in PARTS}, before)
        for service in PARTS:
            for each in self.containers(service):
                wait_until(f"{service} is healthy", lambda each=each: self.is_healthy(each), 30)
        self.assertTrue(self.out("exec", self.containers("web")[0], "python3", "-c", "import socket; print(socket.gethostbyname('db'))"))

    def survives(self, victim_of):
        """Ends for each container the process that `victim_of` names for its first one; the restart policy and the health checks see to the rest."""
        self.order(1)
        for service in PARTS:
            for each in self.containers(service):
                with self.subTest(service):
                    first = self.state(each)
                    os.kill(victim_of(first["Pid"]), signal.SIGKILL)
                    wait_until(f"{service} was started again", lambda: self.state(each)["StartedAt"] != first["StartedAt"] and self.state(each)["Running"], 30)
                    wait_until(f"{service} is healthy", lambda: self.is_healthy(each), 60)
                    self.assertFalse(is_running(first["Pid"]) and self.state(each)["Pid"] == first["Pid"])
                    wait_until("the shop serves", self.serves, 15)
        self.assertEqual(self.sold(), 1)
        self.order(1)
        self.assertEqual(self.sold(), 2)

    def test_each_part_may_die(self):
        self.survives(lambda pid: pid)

    def test_each_monitor_may_die(self):
        self.survives(parent_of)

    def test_it_grows_and_shrinks(self):
        self.assertEqual(len(self.server_names()), 2)
        self.script("compose", "up", "-d", "--wait", "--scale", "web=4")
        self.assertEqual(len(self.containers("web")), 4)
        wait_until("all four serve", lambda: len(self.server_names()) == 4, 20)
        self.script("compose", "up", "-d", "--wait", "--scale", "web=1")
        self.assertEqual(len(self.containers("web")), 1)
        wait_until("the shop serves", self.serves, 15)
        # Nginx remembers a name for a second.
        wait_until("one serves", lambda: self.server_names(10) == {self.containers("web")[0]}, 20)

    def test_it_goes_away_without_a_trace(self):
        self.order(1)
        processes = {int(pid) for each in self.out("ps", "-q").split() for pid in self.out("top", each, "-eo", "pid").split()[1:]}
        monitors = {parent_of(self.state(each)["Pid"]) for each in self.out("ps", "-q").split()}
        self.assertGreaterEqual(len(processes), 8)
        self.assertEqual(len(monitors), 5)
        self.script("compose", "down", "-v", timeout=120)
        self.assertEqual(self.out("ps", "-aq"), "")
        self.assertEqual(self.out("volume", "ls", "-q"), "")
        self.assertEqual(sorted(self.out("network", "ls", "--format", "{{.Name}}").split()), ["bridge", "host", "none"])

        def traces():
            left = [f"process {pid}" for pid in processes | monitors if is_running(pid)]
            left += [line for line in pathlib.Path("/proc/mounts").read_text().splitlines() if str(self.daemon.root) in line or str(self.daemon.exec_root) in line]
            for root in [*pathlib.Path("/sys/fs/cgroup").glob(f"*/{self.daemon.name}"), *pathlib.Path("/sys/fs/cgroup").glob(self.daemon.name)]:
                left += [str(folder) for folder in root.iterdir() if folder.is_dir()]
            left += re.findall(r".*: (?:br-|veth).*", self.daemon.in_netns("ip", "-o", "link").stdout)
            left += re.findall(r".*\b8080\b.*|.*shop.*", self.daemon.in_netns("nft", "list", "ruleset").stdout)
            left += [str(each) for each in (self.daemon.root / "data").glob("volumes/shop*")]
            return left

        self.daemon.stop()  # and with it the links that it keeps ready for containers to come
        self.addCleanup(self.daemon.start)
        deadline = time.monotonic() + 10 * PATIENCE
        while (left := traces()) and time.monotonic() < deadline:
            time.sleep(0.1)
        self.assertEqual(left, [])
