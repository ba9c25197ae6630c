"""Requests for a container as nobody's client would send them: each is refused by the field's name, or is what Docker makes of it."""

import http.client
import json
import socket
import unittest
import urllib.parse

from harness import Daemon, wait_until

MOST = 2**63 - 1

# What a field must not be, and what may stand in its place, by the kind of value that inspect shows. Only wrong types: each must be a 400
# that names the field.
WRONG = {
    str: [7, True, {}, [], 1.5],
    bool: ["true", 1, {}, []],
    int: ["1", True, {}, [], 1.5, 2**64, -(2**64), 1e300],
    list: [7, True, {"a": 1}],
    dict: [7, True, "text", ["a"]],
}

LISTS_OR_TEXT = {"Cmd", "Entrypoint", "Shell", "CapAdd", "CapDrop"}


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class CreateRequest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.daemon = Daemon()
        cls.addClassCleanup(cls.daemon.close)
        cls.connection = Connection(cls.daemon.socket)
        cls.addClassCleanup(cls.connection.close)

    def post(self, path, body):
        text = body if isinstance(body, str) else json.dumps(body)
        self.connection.request("POST", path, text, {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        read = json.loads(answer.read() or b"{}")
        return answer.status, read

    def create(self, **fields):
        return self.post("/v1.50/containers/create", {"Image": "busybox", "Cmd": ["true"], **fields})

    def remove(self, id):
        self.connection.request("DELETE", f"/containers/{id}?force=1&v=1")
        answer = self.connection.getresponse()
        answer.read()
        self.assertEqual(answer.status, 204)

    def created(self, **fields):
        status, answer = self.create(**fields)
        self.assertEqual(status, 201, answer)
        self.addCleanup(self.remove, answer["Id"])
        return answer["Id"]

    def refused(self, what, **fields):
        status, answer = self.create(**fields)
        self.assertEqual((status, what in answer.get("message", "")), (400, True), f"{fields}: {status} {answer}")

    def test_every_field_of_a_wrong_type_is_refused_by_its_name(self):
        shown = self.daemon.inspect(self.created(Healthcheck={"Test": ["NONE"]}, StopSignal="TERM", HostConfig={"StorageOpt": {}}))
        config = {**shown["Config"], "StopSignal": "", "StopTimeout": 1, "Shell": [], "ExposedPorts": {}, "Labels": {}, "Volumes": {}, "Env": [],
                  "Entrypoint": [], "OnBuild": [], "MacAddress": ""}
        host = {**shown["HostConfig"], "Sysctls": {}, "Tmpfs": {}, "Annotations": {}, "Init": False, "MemorySwappiness": 0, "PidsLimit": 0,
                "OomKillDisable": False, "Mounts": [], "Links": [], "MaskedPaths": [], "ReadonlyPaths": []}
        for key in host:
            if host[key] is None:
                host[key] = {} if key in ("PortBindings",) else []
        seen = 0
        for place, fields in (("", config), ("HostConfig", host)):
            for field, value in fields.items():
                for wrong in WRONG[type(value)]:
                    if (wrong == [] and type(value) is list) or (field in LISTS_OR_TEXT and isinstance(wrong, str)):
                        continue
                    body = {field: wrong} if not place else {place: {field: wrong}}
                    with self.subTest(field=field, wrong=wrong):
                        self.refused(field, **body)
                        seen += 1
        self.assertGreater(seen, 250)

    # G10
    def test_null_is_nothing_wherever_it_stands(self):
        shown = self.daemon.inspect(self.created())
        fields = {key: None for key in shown["Config"] if key not in ("Image", "Cmd")}
        id = self.created(**fields, HostConfig={key: None for key in shown["HostConfig"]}, NetworkingConfig=None)
        again = self.daemon.inspect(id)
        self.assertEqual({**again["HostConfig"], "Hostname": ""}, {**shown["HostConfig"], "Hostname": ""})
        self.created(ExposedPorts={"80/tcp": None}, Volumes={"/v": None}, HostConfig={"PortBindings": {"80/tcp": None}},
                     NetworkingConfig={"EndpointsConfig": {"bridge": None}})
        self.created(Cmd="true", Entrypoint="env", Shell="sh", HostConfig={"CapAdd": "NET_ADMIN", "CapDrop": "ALL"})

    def test_bodies_that_are_no_request(self):
        for text in ("", "null", "[]", "1", "{", '{"Image":', "\u0000", '{"Image":"busybox"} x', '{"Image":"\ud800"}'.encode("utf-8", "replace").decode()):
            status, answer = self.post("/containers/create", text)
            self.assertEqual(status, 400, (text, answer))
            self.assertTrue(answer["message"])
        for deep in ("[" * 5000, '{"HostConfig":' * 5000, '{"Env":' + "[" * 40 + "]" * 40 + "}"):
            self.assertEqual(self.post("/containers/create", deep)[0], 400)

    # A16
    def test_control_characters_get_into_no_file(self):
        for field in ("Hostname", "Domainname", "User", "StopSignal", "MacAddress"):
            self.refused(f"{field}: it has a control character", **{field: "a\nb"})
        for field in ("Dns", "DnsSearch", "DnsOptions", "ExtraHosts", "GroupAdd", "Links", "VolumesFrom", "DeviceCgroupRules"):
            self.refused(f"HostConfig.{field}[0]: it has a control character", HostConfig={field: ["a\nb 192.0.2.1"]})
        for text in ("\x00", "a\x00b"):
            self.refused("NUL", Env=["A=" + text])
            self.refused("NUL", Cmd=[text])
            self.refused("NUL", Labels={text: ""})
            self.refused("NUL", HostConfig={"Binds": [f"/a{text}:/b"]})
        self.refused("Aliases[0]: it has a control character", NetworkingConfig={"EndpointsConfig": {"bridge": {"Aliases": ["a\nb"]}}})
        id = self.created(Cmd=["sh", "-c", "cat /etc/hosts /etc/hostname /etc/resolv.conf\necho end"], Env=["A=1\n2"], Labels={"a\n": "b\n"},
                          Domainname="example.org")
        self.assertIn("\nend\n", self.daemon.docker("start", "-a", id).stdout)
        status, answer = self.post(f"/containers/{id}/exec", {"Cmd": ["true"], "User": "root\n0"})
        self.assertEqual(status, 409, answer)

    # F: what is wrong with a log option is told at create.
    def test_log_options_are_checked(self):
        for option, value, what in (("max-size", "-1", "size"), ("max-size", "9999999999g", "size"), ("max-size", "0", "max-size"),
                                    ("max-file", "0", "max-file"), ("max-file", "x", "max-file"), ("max-file", "1000000000", "max-file"),
                                    ("bogus", "1", "unknown log opt 'bogus' for json-file log driver")):
            self.refused(what, HostConfig={"LogConfig": {"Type": "json-file", "Config": {option: value}}})
        self.created(HostConfig={"LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "2"}}})

    def test_a_volume_driver_that_no_volume_asks_for_is_shown_only(self):
        self.addCleanup(self.daemon.docker, "volume", "rm", "vol")
        mounts = [{"Type": "volume", "Source": "vol", "Target": "/x"}, {"Type": "tmpfs", "Target": "/y"}]
        for host in ({}, {"Binds": ["/tmp:/x"]}, {"Mounts": mounts}):
            id = self.created(HostConfig={**host, "VolumeDriver": "nosuch"})
            self.assertEqual(self.daemon.inspect(id)["HostConfig"]["VolumeDriver"], "nosuch")

    # G8: a client pulls the image where it reads 404.
    def test_what_is_not_there_but_the_image_is_no_404(self):
        self.refused("No such container: nosuch", HostConfig={"VolumesFrom": ["nosuch"]})
        self.refused("No such container: nosuch", HostConfig={"NetworkMode": "container:nosuch"})
        self.refused("No such container: nosuch", HostConfig={"PidMode": "container:nosuch"})
        for wants in ({"HostConfig": {"Binds": ["vol:/x"]}}, {"HostConfig": {"Binds": ["/x"]}}, {"Volumes": {"/x": {}}}):
            self.refused('error looking up volume plugin nosuch: plugin "nosuch" not found',
                         **{**wants, "HostConfig": {**wants.get("HostConfig", {}), "VolumeDriver": "nosuch"}})
        self.refused("nosuch", HostConfig={"Links": ["nosuch:a"]})
        self.assertEqual(self.create(Image="nosuch")[0], 404)

    # G14
    def test_contradictions_are_refused(self):
        joined = {"NetworkMode": "container:" + self.created(Cmd=["sleep", "1000"])}
        for what, fields in (("hostname and the network mode", {"Hostname": "h", "HostConfig": joined}),
                             ("dns and the network mode", {"HostConfig": {**joined, "Dns": ["192.0.2.1"]}}),
                             ("custom host-to-IP mapping and the network mode", {"HostConfig": {**joined, "ExtraHosts": ["a:192.0.2.1"]}}),
                             ("port publishing and the container type network mode", {"HostConfig": {**joined, "PortBindings": {"80/tcp": [{}]}}}),
                             ("port publishing and the container type network mode", {"HostConfig": {**joined, "PublishAllPorts": True}}),
                             ("port exposing and the container type network mode", {"ExposedPorts": {"80/tcp": {}}, "HostConfig": joined}),
                             ("host type networking can't be used with links", {"HostConfig": {"NetworkMode": "host", "Links": ["a:b"]}}),
                             ("hostname and the UTS mode", {"Hostname": "h", "HostConfig": {"UTSMode": "host"}})):
            with self.subTest(what=what):
                self.refused(what, **fields)
        two = {"Image": "busybox", "NetworkingConfig": {"EndpointsConfig": {"one": {}, "two": {}}}}
        with self.subTest(what="two networks for an old client"):
            status, answer = self.post("/v1.43/containers/create", two)
            self.assertEqual((status, "Container cannot be created with multiple network endpoints: one, two" in answer["message"]), (400, True), answer)

    # G15
    def test_values_that_nobody_could_use_are_refused_at_create(self):
        mount = {"Type": "bind", "Source": "/", "Target": "/b"}
        for what, fields in (('bad format for add-host: "x"', {"HostConfig": {"ExtraHosts": ["x"]}}), ("invalid MAC address: zz", {"MacAddress": "zz"}),
                             ("invalid isolation (bogus)", {"HostConfig": {"Isolation": "bogus"}}),
                             ("invalid propagation mode: bogus", {"HostConfig": {"Mounts": [{**mount, "BindOptions": {"Propagation": "bogus"}}]}}),
                             ("unknown log opt 'bogus'", {"HostConfig": {"LogConfig": {"Type": "json-file", "Config": {"bogus": "1"}}}}),
                             ('plugin "bogus" not found', {"HostConfig": {"Mounts": [
                                 {"Type": "volume", "Source": "v", "Target": "/b", "VolumeOptions": {"DriverConfig": {"Name": "bogus"}}}]}}),
                             ("invalid ulimit type: bogus", {"HostConfig": {"Ulimits": [{"Name": "bogus", "Soft": 1, "Hard": 1}]}})):
            with self.subTest(what=what):
                self.refused(what, **fields)
        for place, filters, what in (("/containers/json", {"health": ["bogus"]}, "bogus"), ("/containers/json", {"is-task": ["maybe"]}, "is-task")):
            with self.subTest(filters=filters):
                status, text = self.daemon.api("GET", f"{place}?filters={urllib.parse.quote(json.dumps(filters))}")
                self.assertEqual((status, what in text), (400, True), text)

    # G16
    def test_limits_near_the_largest_number_start(self):
        for limits in ({"Memory": MOST}, {"Memory": MOST, "MemorySwap": MOST}, {"Memory": 2**30, "MemorySwap": MOST},
                       {"Memory": MOST // 2 + 1}, {"MemoryReservation": MOST}, {"ShmSize": MOST}, {"PidsLimit": 4194304}, {"CpuShares": 262144}):
            with self.subTest(limits=limits):
                id = self.created(HostConfig=limits)
                self.daemon.docker("start", id)
                wait_until("it has ended", lambda id=id: self.daemon.inspect(id)["State"]["Status"] == "exited")
                self.assertEqual(self.daemon.inspect(id)["State"]["ExitCode"], 0)
        for limits in ({"Memory": -1}, {"MemorySwap": -2}, {"CpuShares": -1}, {"CpuShares": MOST}, {"PidsLimit": MOST}, {"ShmSize": -1}, {"NanoCpus": MOST}, {"OomScoreAdj": 1001}):
            self.assertEqual(self.create(HostConfig=limits)[0], 400, limits)

    # D7, G13
    def test_the_environment_is_kept_as_asked_and_the_last_wins(self):
        id = self.created(Env=["A=1", "FOO", "A=2", "EMPTY="], Cmd=["env"])
        self.assertEqual(self.daemon.inspect(id)["Config"]["Env"][:4], ["A=1", "FOO", "A=2", "EMPTY="])
        lines = self.daemon.docker("start", "-a", id).stdout.split("\n")
        self.assertEqual([line for line in lines if line.startswith(("A=", "FOO", "EMPTY"))], ["A=2", "EMPTY="])

    # D8
    def test_the_health_check_of_an_image_is_its_containers(self):
        self.daemon.docker("commit", "--change", "HEALTHCHECK --interval=7s CMD true", self.created(), "checked")
        status, answer = self.create(Image="checked")
        self.assertEqual(status, 201, answer)
        self.addCleanup(self.remove, answer["Id"])
        self.assertEqual(answer["Warnings"], [])
        shown = self.daemon.inspect(answer["Id"])["Config"]["Healthcheck"]
        self.assertEqual(shown["Test"], ["CMD-SHELL", "true"])
        self.assertEqual(shown["Interval"], 7_000_000_000)
        status, answer = self.create(Image="checked", Healthcheck={"Test": ["NONE"]})
        self.addCleanup(self.remove, answer["Id"])
        self.assertEqual(answer["Warnings"], [])


class Exec(unittest.TestCase):
    # A10
    def test_an_exec_has_the_daemons_no_new_privileges(self):
        daemon = Daemon("--no-new-privileges")
        self.addCleanup(daemon.close)
        daemon.docker("run", "-d", "--name", "web", "busybox", "sleep", "1000")
        for words in (["exec", "web"], ["exec", "-u", "1000", "web"], ["run", "--rm", "busybox"]):
            self.assertIn("NoNewPrivs:\t1", daemon.docker(*words, "cat", "/proc/self/status").stdout, words)


if __name__ == "__main__":
    unittest.main()
