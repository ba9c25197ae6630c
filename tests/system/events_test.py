"""What is told of a container's life, also to who asks after a restart of gruad."""

import json
import time
import unittest

from harness import Daemon, wait_until


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

    def test_one_that_reads_on_is_told_of_what_comes_only(self):
        self.life("aa")
        self.daemon.stop()
        self.daemon.start()
        reader = self.daemon.spawn("events", "--format", "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}")
        self.daemon.docker("create", "--name", "bb", "busybox")
        reader.expect("container create bb")
        self.assertNotIn("aa", reader.text)
        reader.send("\x03")
        reader.wait()

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
