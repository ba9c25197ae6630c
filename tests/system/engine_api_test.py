"""What Docker's clients meet in the Engine API beside the ordinary: versions, odd paths, what there is none of, events."""

import contextlib
import http.client
import json
import socket
import threading
import time

from harness import PATIENCE, Case, wait_until


class EngineApi(Case):
    def ask(self, method, path, body=None):
        status, text = self.daemon.api(method, path, body)
        return status, json.loads(text) if text.strip() else None

    def ask_at_once(self, method, path, body=None):
        """The same without a program of its own, whose start takes longer than what is raced with."""
        client = http.client.HTTPConnection("d", timeout=20 * PATIENCE)
        with contextlib.closing(client):
            client.sock = socket.socket(socket.AF_UNIX)
            client.sock.connect(str(self.daemon.socket))
            client.request(method, path, json.dumps(body or {}), {"Content-Type": "application/json"})
            text = client.getresponse().read()
        return json.loads(text) if text else None

    def raw(self, request):
        """All that comes until the other side has nothing left to say."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(self.daemon.socket))
            client.sendall(request.encode())
            client.shutdown(socket.SHUT_WR)
            out = b""
            while piece := client.recv(65536):
                out += piece
        return out

    # G12
    def test_versions_and_paths(self):
        version = self.ask("GET", "/version")[1]
        self.assertEqual((version["ApiVersion"], version["MinAPIVersion"]), ("1.51", "1.24"))
        self.assertEqual(self.ask("GET", "/v1.51/containers/json")[0], 200)
        status, answer = self.ask("GET", "/v1.52/containers/json")
        self.assertEqual((status, answer["message"]), (400, "client version 1.52 is too new. Maximum supported API version is 1.51"))
        for path in ("/networks/", "//containers/json", "/v1.44//containers///json", "/v1.51/networks/"):
            self.assertEqual(self.ask("GET", path)[0], 200, path)
        self.assertEqual(self.ask("GET", "/containers/json/")[0], 404)
        for path in ("/containers/json", "/v1.44/nothing/like/it"):
            self.assertTrue(self.raw(f"OPTIONS {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 200 "), path)

    # docker-py's ImageLoadError comes of the line.
    def test_an_archive_that_cannot_be_loaded_is_a_line_of_the_answer(self):
        status, answer = self.daemon.api("POST", "/images/load", {"no": "archive"})
        self.assertEqual(status, 200)
        line = json.loads(answer)
        self.assertIn("not a valid tar", line["errorDetail"]["message"])
        self.assertEqual(line["error"], line["errorDetail"]["message"])
        self.assertEqual(self.ask("POST", "/images/load?platform=nonsense/x/y/z", {})[0], 400)

    def test_a_prune_that_removed_nothing_says_null(self):
        for kind, member in (("containers", "ContainersDeleted"), ("networks", "NetworksDeleted"), ("images", "ImagesDeleted"), ("build", "CachesDeleted")):
            status, answer = self.ask("POST", f"/{kind}/prune")
            self.assertEqual((status, answer[member]), (200, None), kind)
        # Volumes are Docker's exception.
        self.assertEqual(self.ask("POST", "/volumes/prune"), (200, {"VolumesDeleted": [], "SpaceReclaimed": 0}))
        self.docker("system", "prune", "-f")

    def test_a_network_is_connected_with_the_address_that_was_asked_for(self):
        self.ask("POST", "/networks/create", {"Name": "own"})
        self.addCleanup(self.docker, "network", "rm", "own")
        asked = {"Container": "cc", "EndpointConfig": {"MacAddress": "02:42:ac:11:00:02"}}
        # Of a create the field is read since 1.44; of a connect Docker reads it whatever the version.
        for version in ("v1.43", "v1.44", "v1.51"):
            self.docker("create", "--name", "cc", "busybox", "cat", "/sys/class/net/eth1/address")
            self.assertEqual(self.ask("POST", f"/{version}/networks/own/connect", asked)[0], 200)
            self.assertEqual(self.daemon.inspect("cc")["NetworkSettings"]["Networks"]["own"]["MacAddress"], "02:42:ac:11:00:02")
            self.assertEqual(self.out("start", "-a", "cc"), "02:42:ac:11:00:02", version)
            self.docker("rm", "cc")

    def test_an_exec_is_made_for_a_user_that_the_container_knows(self):
        self.docker("run", "-d", "--name", "cc", "busybox", "sh", "-c", "echo late:x:77:78::/:/bin/sh >> /etc/passwd; echo last:x:79: >> /etc/group; touch /ready; sleep 1000")
        wait_until("its files are written", lambda: self.docker("exec", "cc", "test", "-e", "/ready", check=False).returncode == 0)
        known = {"": "0:0", "late": "77:78", "77": "77:78", "late:last": "77:79", "1234:5678": "1234:5678"}
        for user, ids in known.items():
            self.assertEqual(self.out("exec", "-u", user, "cc", "sh", "-c", "echo $(id -u):$(id -g)"), ids, user)
        unknown = {"nosuch": "unable to find user nosuch: no matching entries in passwd file", "late:nosuch": "unable to find group nosuch: no matching entries in group file",
                   "2147483648": "uids and gids must be in range 0-2147483647"}
        for user, text in unknown.items():
            self.assertEqual(self.ask("POST", "/containers/cc/exec", {"Cmd": ["true"], "User": user}), (400, {"message": text}), user)
        self.assertEqual(self.daemon.inspect("cc")["ExecIDs"], None)
        for program in (self.docker, self.grua):
            done = program("exec", "-u", "nosuch", "cc", "true", check=False)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn("unable to find user nosuch", done.stderr)

    def test_an_import_that_cannot_be_read_is_refused(self):
        """Docker says 500; nothing was streamed, so the status is the answer's."""
        status, answer = self.daemon.api("POST", "/images/create?fromSrc=-&repo=broken", {"no": "archive"})
        self.assertEqual(status, 400)
        self.assertIn("not a valid tar", json.loads(answer)["message"])
        self.assertEqual(self.out("images", "-q", "broken"), "")

    def test_who_attaches_before_the_start_misses_nothing(self):
        """Also not with logs=1, where the container may start and end before its log was looked at."""
        lost = []

        def attach(logs):
            for _ in range(5):
                made = self.ask_at_once("POST", "/containers/create", {"Image": "busybox", "Cmd": ["printf", "said"], "HostConfig": {"NetworkMode": "none"}})["Id"]
                with socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(10 * PATIENCE)
                    client.connect(str(self.daemon.socket))
                    client.sendall(f"POST /containers/{made}/attach?stream=1&stdout=1{logs} HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n".encode())
                    head = b""
                    while not head.endswith(b"\r\n\r\n"):
                        head += client.recv(1)
                    self.ask_at_once("POST", f"/containers/{made}/start")
                    got = b""
                    with contextlib.suppress(TimeoutError):
                        while piece := client.recv(100):
                            got += piece
                    if got != b"\1\0\0\0\0\0\0\4said":
                        lost.append((logs, got))

        threads = [threading.Thread(target=attach, args=(logs,)) for logs in ("", "&logs=1", "&logs=1", "&logs=1", "&logs=1") * 2]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        self.assertEqual(lost, [])

    # G12
    def test_images_count_their_containers(self):
        self.docker("create", "--name", "one", "busybox")
        self.docker("create", "--name", "two", "busybox")
        counts = {version: [each["Containers"] for each in self.ask("GET", f"/{version}/images/json")[1] if "busybox:latest" in each["RepoTags"]]
                  for version in ("v1.50", "v1.51")}
        self.assertEqual(counts, {"v1.50": [-1], "v1.51": [2]})
        self.docker("rm", "two")
        self.assertEqual([each["Containers"] for each in self.ask("GET", "/v1.51/images/json?filters=%7B%7D")[1]], [1])

    # G22
    def test_there_is_no_swarm_and_no_plugin(self):
        manager = "This node is not a swarm manager."
        for method, path in (("GET", "/swarm"), ("GET", "/nodes"), ("GET", "/nodes/x"), ("GET", "/services"), ("POST", "/services/create"),
                             ("GET", "/tasks"), ("GET", "/secrets"), ("POST", "/secrets/create"), ("GET", "/configs/x"), ("DELETE", "/configs/x")):
            status, answer = self.ask(method, path)
            self.assertEqual(status, 503, path)
            self.assertIn(manager, answer["message"], path)
        self.assertEqual(self.ask("POST", "/swarm/leave"), (503, {"message": "This node is not part of a swarm"}))
        status, answer = self.ask("POST", "/swarm/init", {})
        self.assertEqual((status, answer["message"]), (501, "not implemented: POST /swarm/init"))
        self.assertIn(manager, self.docker("node", "ls", check=False).stderr)
        self.assertEqual(self.ask("GET", "/plugins"), (200, []))
        self.assertEqual(self.out("plugin", "ls", "--format", "{{.Name}}"), "")
        self.assertEqual(self.ask("GET", "/plugins/some/thing:1/json"), (404, {"message": 'plugin "some/thing:1" not found'}))
        self.assertIn("not found", self.docker("plugin", "rm", "nosuch", check=False).stderr)

    # G19
    def test_events_of_networks_volumes_and_names(self):
        begun = time.time()
        self.docker("network", "create", "net")
        self.addCleanup(self.docker, "network", "rm", "net")
        self.docker("run", "-d", "--name", "one", "--network", "net", "-v", "vol:/data:ro", "busybox", "sleep", "1000")
        self.addCleanup(self.docker, "volume", "rm", "vol")
        self.docker("top", "one")
        self.docker("tag", "busybox", "other")
        self.addCleanup(self.docker, "rmi", "other")
        self.docker("stop", "-t", "0", "one")
        lines = self.out("events", "--since", str(begun), "--until", str(time.time()), "--format", "json").split("\n")
        events = [json.loads(line) for line in lines]
        told = [(each["Type"], each["Action"]) for each in events]
        self.assertEqual([each for each in told if each[0] != "image"],
                         [("network", "create"), ("volume", "create"), ("container", "create"), ("network", "connect"), ("volume", "mount"),
                          ("container", "start"), ("container", "top"), ("container", "kill"), ("container", "kill"), ("container", "die"), ("network", "disconnect"),
                          ("volume", "unmount"), ("container", "stop")])
        attributes = {f"{each['Type']} {each['Action']}": each["Actor"]["Attributes"] for each in events}
        container = self.daemon.inspect("one")["Id"]
        self.assertEqual(attributes["network connect"], {"container": container, "name": "net", "type": "bridge"})
        self.assertEqual(attributes["network disconnect"], attributes["network connect"])
        self.assertEqual(attributes["volume mount"], {"container": container, "destination": "/data", "driver": "local", "propagation": "",
                                                      "read/write": "false"})
        self.assertEqual(attributes["volume unmount"], {"container": container, "driver": "local"})
        self.assertEqual(attributes["image tag"]["name"], "other:latest")

    # G5
    def test_the_framing_of_an_exec_is_that_of_its_start(self):
        self.docker("run", "-d", "--name", "one", "busybox", "sleep", "1000")
        for made, started in ((True, False), (False, True), (True, True), (False, False)):
            exec_id = self.ask("POST", "/containers/one/exec", {"AttachStdout": True, "Tty": made, "Cmd": ["echo", "hi"]})[1]["Id"]
            body = json.dumps({"Detach": False, "Tty": started})
            answer = self.raw(f"POST /exec/{exec_id}/start HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
                              f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}")
            head, _, said = answer.partition(b"\r\n\r\n")
            text = b"hi\r\n" if made else b"hi\n"
            self.assertEqual(said, text if started else bytes([1, 0, 0, 0, 0, 0, 0, len(text)]) + text, (made, started))
            self.assertIn(b"raw-stream" if started else b"multiplexed-stream", head)

    # G7
    def test_rotation_is_told(self):
        self.docker("create", "--name", "one", "busybox")
        self.assertEqual(self.daemon.inspect("one")["HostConfig"]["LogConfig"], {"Type": "json-file", "Config": {"max-file": "5", "max-size": "10m"}})
        self.docker("create", "--name", "two", "--log-opt", "max-size=1m", "busybox")
        self.assertEqual(self.daemon.inspect("two")["HostConfig"]["LogConfig"]["Config"], {"max-file": "5", "max-size": "1m"})
        self.docker("create", "--name", "three", "--log-driver", "none", "busybox")
        self.assertEqual(self.daemon.inspect("three")["HostConfig"]["LogConfig"], {"Type": "none", "Config": {}})

    # G9
    def test_a_start_that_fails_is_told_once(self):
        for more in ((), ("--rm",)):
            failed = self.docker("run", *more, "busybox", "/no/such/program", check=False)
            self.assertEqual(failed.returncode, 127)
            self.assertEqual(failed.stderr.count("no such file or directory"), 1, failed.stderr)
            self.assertNotIn("Error waiting for container", failed.stderr)
        self.docker("create", "--name", "one", "busybox", "/no/such/program")
        self.docker("start", "one", check=False)
        status, answer = self.ask("POST", "/containers/one/wait")
        self.assertEqual((status, answer["StatusCode"]), (200, 127))
        self.assertIn("no such file", answer["Error"]["Message"])

    # G13
    def test_links_are_in_the_environment(self):
        self.docker("run", "-d", "--name", "db", "-e", "MODE=fast", "--expose", "6379", "busybox", "sleep", "1000")
        address = self.daemon.inspect("db")["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
        self.docker("run", "-d", "--name", "web", "--link", "db:my-db", "busybox", "sh", "-c", "env; sleep 1000")
        wanted = {f"MY_DB_PORT=tcp://{address}:6379", f"MY_DB_PORT_6379_TCP_ADDR={address}", "MY_DB_NAME=/web/my-db", "MY_DB_ENV_MODE=fast"}
        self.assertLessEqual(wanted, set(self.out("exec", "web", "env").split("\n")))
        wait_until("its output", lambda: "MY_DB_NAME" in self.out("logs", "web"))
        self.assertLessEqual(wanted, set(self.out("logs", "web").split("\n")))

    # G20
    def test_a_root_that_is_read_only_is_so_with_its_network_files(self):
        for name in ("hosts", "hostname", "resolv.conf"):
            self.assertIn("Read-only", self.docker("run", "--rm", "--read-only", "busybox", "sh", "-c", f"echo >> /etc/{name}", check=False).stderr)
            self.docker("run", "--rm", "busybox", "sh", "-c", f"echo >> /etc/{name}")
        # What changes them from outside still can.
        self.docker("network", "create", "net")
        self.addCleanup(self.docker, "network", "rm", "net")
        self.docker("run", "-d", "--name", "one", "--read-only", "busybox", "sleep", "1000")
        self.docker("network", "connect", "net", "one")
        self.assertEqual(self.out("exec", "one", "grep", "-c", self.daemon.inspect("one")["Config"]["Hostname"], "/etc/hosts"), "2")

    # G21
    def test_exposed_ports_of_an_image_may_be_ranges(self):
        self.docker("create", "--name", "base", "busybox", "sleep", "1000")
        status, answer = self.ask("POST", "/commit?container=base&repo=ranges", {"ExposedPorts": {"8000-8002/tcp": {}, "53/udp": {}}})
        self.assertEqual(status, 201, answer)
        self.addCleanup(self.docker, "rmi", "-f", "ranges")
        self.docker("run", "-d", "--name", "one", "-P", "ranges", "sleep", "1000")
        self.assertEqual(sorted(self.daemon.inspect("one")["NetworkSettings"]["Ports"]), ["53/udp", "8000/tcp", "8001/tcp", "8002/tcp"])

    # G11
    def test_the_mode_of_a_container_without_one_is_bridge(self):
        self.docker("create", "--name", "one", "busybox")
        self.ask("POST", "/containers/create?name=two", {"Image": "busybox", "HostConfig": {"NetworkMode": "default"}})
        for name in ("one", "two"):
            self.assertEqual(self.daemon.inspect(name)["HostConfig"]["NetworkMode"], "bridge")
        self.assertEqual({each["HostConfig"]["NetworkMode"] for each in self.ask("GET", "/containers/json?all=1")[1]}, {"bridge"})

    # G23
    def test_the_name_of_one_that_goes_with_its_stop_is_free(self):
        for number in range(60):
            self.docker("run", "-d", "--rm", "--name", "name", "busybox", "sleep", "1000")
            self.docker(*(("kill", "name") if number % 2 else ("stop", "-t", "0", "name")))

    # G23: by a removal that takes long, for all that is in the container's folder.
    def test_the_name_of_one_that_goes_slowly_is_free(self):
        for end in (("stop", "-t", "0", "name"), ("kill", "name")):
            id = self.out("run", "-d", "--rm", "--name", "name", "busybox", "sleep", "1000")
            more = self.daemon.root / "data/containers" / id / "more"
            more.mkdir()
            for number in range(60000):
                (more / str(number)).touch()
            self.docker(*end)
            self.docker("run", "--rm", "--name", "name", "busybox", "true")

    # G4
    def test_a_build_client_speaks_http2_after_an_upgrade(self):
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        settings = b"\0\0\0\x04\0\0\0\0\0"
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(self.daemon.socket))
            client.sendall(b"POST /v1.44/grpc HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + preface + settings)
            answer = b""
            while len(answer.partition(b"\r\n\r\n")[2]) < 9:
                piece = client.recv(65536)
                self.assertTrue(piece, answer)
                answer += piece
        self.assertTrue(answer.startswith(b"HTTP/1.1 101 "), answer)
        self.assertIn(b"Upgrade: h2c\r\n", answer)
        self.assertEqual(answer.partition(b"\r\n\r\n")[2][3], 4, "SETTINGS come first")
        self.assertEqual(self.ask("POST", "/grpc")[0], 400)

    def test_attach_over_a_websocket(self):
        def read(stream, count):
            out = b""
            while len(out) < count:
                piece = stream.read(count - len(out))
                self.assertTrue(piece, out)
                out += piece
            return out

        def message(stream):
            """Operation and payload of a frame, which a server does not mask."""
            first, size = read(stream, 2)
            self.assertEqual(first & 0x80, 0x80)
            self.assertLess(size, 126)
            return first & 0x0F, read(stream, size)

        def frame(operation, payload):
            mask = b"\x01\x02\x03\x04"
            return bytes([0x80 | operation, 0x80 | len(payload)]) + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))

        self.docker("run", "-d", "-i", "--name", "one", "busybox", "sh", "-c", "while read line; do echo got $line; echo and $line >&2; done; echo end")
        head = ("Host: d\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(self.daemon.socket))
            client.sendall(f"GET /containers/one/attach/ws?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\n{head}".encode())
            stream = client.makefile("rb")
            self.assertIn(b" 101 ", stream.readline())
            headers = []
            while (line := stream.readline()) != b"\r\n":
                headers.append(line.lower())
            self.assertIn(b"sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n", headers)
            client.sendall(frame(1, b"one\n"))
            said = b""
            while said.count(b"\n") < 2:
                operation, payload = message(stream)
                self.assertEqual(operation, 2)
                said += payload
            self.assertEqual(sorted(said.split(b"\n")), [b"", b"and one", b"got one"])
            client.sendall(frame(9, b"ping"))
            self.assertEqual(message(stream), (10, b"ping"))
            self.docker("kill", "one")
            self.assertEqual(message(stream)[0], 8)
        self.assertEqual(self.ask("GET", "/containers/one/attach/ws?stream=1")[0], 400)
        self.assertTrue(self.raw(f"GET /containers/nosuch/attach/ws?stream=1 HTTP/1.1\r\n{head}").startswith(b"HTTP/1.1 404 "))
