"""Who asks, what reading costs, and who holds the loop: the engine as its clients meet it."""

import json
import os
import re
import unittest

from harness import Case, Daemon, run, wait_until


class Principals(unittest.TestCase):
    def test_each_request_is_logged_with_who_asks(self):
        daemon = Daemon("--debug")
        self.addCleanup(daemon.close)
        daemon.docker("create", "--name", "box", "busybox")
        log = daemon.log.read_text()
        self.assertRegex(log, rf'container create box is asked by uid 0 \(pid \d+\) by unix://{daemon.socket}"')
        # Somebody else who may reach the socket is somebody else.
        os.chmod(daemon.exec_root, 0o711)
        os.chmod(daemon.socket, 0o666)
        run("setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", "curl", "-sf", "--unix-socket", daemon.socket, "http://d/containers/box/json")
        self.assertRegex(daemon.log.read_text(), r"container inspect box is asked by uid 12345 \(pid \d+\)")


class Reads(Case):
    def listed(self, query="all=1"):
        status, text = self.daemon.api("GET", f"/v1.44/containers/json?{query}")
        self.assertEqual(status, 200, text)
        return json.loads(text)

    # C6
    def test_what_is_kept_ready_follows_every_change(self):
        self.docker("create", "--name", "first", "--label", 'Status=""', "--label", 'a="b"\n', "busybox", "sleep", "100")
        before = self.listed()[0]
        self.assertEqual(before, self.listed()[0])
        self.assertEqual((before["State"], before["Status"], before["Names"]), ("created", "Created", ["/first"]))
        self.assertEqual(before["Labels"], {"Status": '""', "a": '"b"\n'})
        self.docker("rename", "first", "second")
        self.docker("start", "second")
        after = self.listed()[0]
        self.assertEqual((after["State"], after["Names"]), ("running", ["/second"]))
        self.assertRegex(after["Status"], "^Up ")
        # The words change though the record does not.
        wait_until("the age changes", lambda: self.listed()[0]["Status"] != after["Status"])
        self.assertEqual({**self.listed()[0], "Status": ""}, {**after, "Status": ""})
        inspected = self.daemon.inspect("second")
        self.assertEqual(inspected["Name"], "/second")
        self.docker("kill", "second")
        wait_until("it has ended", lambda: self.daemon.inspect("second")["State"]["Status"] == "exited")
        self.assertRegex(self.listed()[0]["Status"], r"^Exited \(137\) ")

    def test_each_version_of_the_api_has_its_own(self):
        self.docker("create", "--name", "box", "--annotation", "x=y", "busybox")
        def annotations(version):
            return json.loads(self.daemon.api("GET", f"/v{version}/containers/json?all=1")[1])[0]["HostConfig"].get("Annotations")
        for _ in range(2):
            self.assertIsNone(annotations("1.44"))
            self.assertEqual(annotations("1.46"), {"x": "y"})

    def test_sizes_are_measured_when_they_are_asked_for(self):
        self.docker("create", "--name", "box", "busybox")
        self.assertNotIn("SizeRootFs", self.listed()[0])
        self.assertGreater(self.listed("all=1&size=1")[0]["SizeRootFs"], 0)
        self.assertNotIn("SizeRootFs", self.listed()[0])
        self.assertGreater(json.loads(self.daemon.api("GET", "/v1.44/containers/box/json?size=1")[1])["SizeRootFs"], 0)

    def test_an_image_that_gets_another_name_is_listed_with_it(self):
        def tags():
            return sorted(tag for each in json.loads(self.daemon.api("GET", "/v1.44/images/json")[1]) for tag in each["RepoTags"])
        self.assertEqual(tags(), ["busybox:latest"])
        self.docker("tag", "busybox", "other:1")
        self.addCleanup(self.docker, "rmi", "other:1", check=False)
        self.assertEqual(tags(), ["busybox:latest", "other:1"])
        self.assertEqual(sorted(json.loads(self.daemon.api("GET", "/v1.44/images/busybox/json")[1])["RepoTags"]), tags())
        self.docker("rmi", "other:1")
        self.assertEqual(tags(), ["busybox:latest"])


class Loop(unittest.TestCase):
    def test_the_longest_turn_is_named_when_gruad_ends(self):
        daemon = Daemon()
        self.addCleanup(daemon.close)
        daemon.docker("run", "--rm", "busybox", "true")
        daemon.stop()
        found = re.search(r"longest turn of the loop: (\d+) ms in ([^\"]+)", daemon.log.read_text())
        self.assertTrue(found, daemon.tail())


if __name__ == "__main__":
    unittest.main()
