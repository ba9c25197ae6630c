"""What is told of a container's life, also to who asks after a restart of gruad."""

import json
import socket
import time
import unittest

from harness import PATIENCE, Connection, Daemon, wait_until


class Events(unittest.TestCase):
    def setUp(self):
        self.daemon = Daemon()
        self.addCleanup(self.daemon.close)

    def events(self, *words):
        text = self.daemon.docker("events", "--since", "1", "--until", str(int(time.time()) + 1), "--format", "{{json .}}", *words, timeout=30).stdout
        return [json.loads(line) for line in text.splitlines()]

    def actions(self, *words):
        return [f"{each['Type']} {each['Action']}" for each in self.events(*words)]

    def life(self, name):
        self.daemon.docker("run", "--name", name, "--label", "a=b", "-v", f"{name}-data:/x", "--network", "none", "busybox", "true")
        self.daemon.docker("rm", name)

    def test_since_reaches_over_a_restart(self):
        self.life("aa")
        before = self.actions()
        for action in ("container create", "container start", "container die", "container destroy", "volume create", "volume mount", "volume unmount"):
            self.assertIn(action, before)
        self.daemon.stop()
        self.daemon.start()
        self.assertEqual(self.actions()[:len(before)], before)
        self.life("bb")
        kept = self.daemon.root / "data/events"
        wait_until("it is written down", lambda: '"bb"' in kept.read_text() and kept.read_text().count('"destroy"') == 2)
        self.daemon.kill()
        # The last line of one that was killed while it wrote.
        with open(kept, "a") as file:
            file.write('{"type":"container","act')
        self.daemon.start()
        names = [each["Actor"]["Attributes"].get("name") for each in self.events("--filter", "type=container", "--filter", "event=destroy")]
        self.assertEqual(names, ["aa", "bb"])
        self.assertEqual(self.events("--filter", "label=a=b", "--filter", "event=start")[0]["Actor"]["Attributes"]["a"], "b")

    def type_and_leave(self, path, body, keys):
        """A client of a stream that types, and the end of what it reads."""
        text = json.dumps(body)
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10 * PATIENCE)
            client.connect(str(self.daemon.socket))
            client.sendall(f"POST {path} HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\n"
                           f"Content-Length: {len(text)}\r\n\r\n{text}".encode())
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += client.recv(1)
            client.sendall(keys)
            if not keys:
                return
            while client.recv(100):
                pass

    def test_who_detaches_is_told_of(self):
        """The docker CLI looks for the keys itself; who sends them is let go of by the engine, which tells of it. Who just leaves is not told of."""
        self.daemon.docker("run", "-dit", "--name", "cc", "--label", "a=b", "busybox", "cat")
        stream = "stream=1&stdin=1&stdout=1"
        self.type_and_leave(f"/containers/cc/attach?{stream}", {}, b"")
        # The client is let go of before gruad hears of it.
        for number, (more, keys) in enumerate((("", b"x\x10\x11"), ("&detachKeys=ctrl-a", b"\x01")), 1):
            self.type_and_leave(f"/containers/cc/attach?{stream}{more}", {}, keys)
            wait_until("it is told", lambda number=number: len(self.events("--filter", "event=detach")) == number)
        config = {"Cmd": ["cat", "-"], "Tty": True, "AttachStdin": True, "AttachStdout": True, "DetachKeys": "ctrl-x"}
        made = json.loads(self.daemon.api("POST", "/containers/cc/exec", config)[1])["Id"]
        self.type_and_leave(f"/exec/{made}/start", {"Tty": True}, b"\x18")
        wait_until("it is told", lambda: self.events("--filter", "event=exec_detach"))
        told = self.events("--filter", "type=container")
        self.assertEqual([each["Action"] for each in told if not each["Action"].startswith("health")],
                         ["create", "start", "attach", "attach", "detach", "attach", "detach", "exec_create: cat -", "exec_start: cat -", "exec_detach"])
        self.assertEqual(told[-1]["Actor"]["Attributes"]["execID"], made)
        for each in told[4], told[-1]:
            self.assertEqual([each["Actor"]["Attributes"].get(name) for name in ("name", "image", "a")], ["cc", "busybox", "b"])
        self.assertEqual(len(self.events("--filter", "event=detach")), 2)

    def test_one_that_reads_on_is_told_of_what_comes_only(self):
        self.life("aa")
        self.daemon.stop()
        self.daemon.start()
        reader = Connection(self.daemon.socket)
        self.addCleanup(reader.close)
        reader.request("GET", "/events")
        answer = reader.getresponse()  # With its head the subscription is there.
        self.daemon.docker("create", "--name", "bb", "busybox")
        first = json.loads(answer.readline())
        self.assertEqual((first["Type"], first["Action"], first["Actor"]["Attributes"]["name"]), ("container", "create", "bb"))

    def told(self, container):
        """With the signals of kills."""
        return [each["Action"] + (f" {each['Actor']['Attributes']['signal']}" if each["Action"] == "kill" else "")
                for each in self.events("--filter", f"container={container}")]

    def test_a_restart_tells_of_the_stop(self):
        container = self.daemon.docker("run", "-d", "--network", "none", "busybox", "sleep", "1000").stdout.strip()
        self.daemon.docker("restart", "-t", "0", container)
        self.assertEqual(self.told(container), ["create", "start", "kill 15", "kill 9", "die", "stop", "start", "restart"])

    def test_what_is_paused_and_stopped_goes_on_to_its_end(self):
        container = self.daemon.docker("run", "-d", "--init", "--network", "none", "busybox", "sleep", "1000").stdout.strip()
        self.daemon.docker("pause", container)
        self.daemon.docker("stop", container)
        self.assertEqual(self.told(container), ["create", "start", "pause", "kill 15", "unpause", "die", "stop"])

    def test_the_stop_signal_by_kill_ends_a_pause(self):
        container = self.daemon.docker("run", "-d", "--init", "--stop-signal", "USR1", "--network", "none", "busybox", "sleep", "1000").stdout.strip()
        self.daemon.docker("pause", container)
        self.daemon.docker("kill", "-s", "TERM", container)
        self.assertEqual(self.daemon.inspect(container)["State"]["Status"], "paused")
        self.daemon.docker("unpause", container)
        self.assertEqual(self.daemon.docker("wait", container).stdout, "143\n")
        self.daemon.docker("start", container)
        self.daemon.docker("pause", container)
        self.daemon.docker("kill", "-s", "USR1", container)
        self.assertEqual(self.daemon.docker("wait", container, timeout=20).stdout, "138\n")
        self.assertEqual(self.told(container)[-5:], ["start", "pause", "kill 10", "unpause", "die"])

    def test_what_did_not_start_has_not_died(self):
        container = self.daemon.docker("create", "--network", "none", "busybox", "/nosuch").stdout.strip()
        self.assertNotEqual(self.daemon.docker("start", container, check=False).returncode, 0)
        self.assertEqual(self.told(container), ["create"])
