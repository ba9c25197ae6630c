"""The table of the Engine API (docs/api.md) says what is: no name without a row, nothing read that it does not have, wrong values answered."""

import json
import pathlib
import re
import sys
import urllib.parse

from harness import REPOSITORY, Case, busybox_image

sys.path.insert(0, str(REPOSITORY / "tests/api"))
sys.path.insert(0, str(REPOSITORY / "tests/conformance"))
import table  # noqa: E402

# The place of a wrong value in the body; lists and maps are one long.
ENTRY = {"[]": lambda value: [value], "{}": lambda value: {"key": value}}
# What stands for {id} and {name} in a path.
SUBJECTS = {"containers": "one", "exec": "EXEC", "images": "busybox:latest", "volumes": "vol", "networks": "mesh", "distribution": "busybox",
            "plugins": "nosuch", "grua": "mesh"}
BODIES = {("POST", "/containers/create"): {"Image": "busybox", "Cmd": ["true"]}, ("POST", "/containers/{id}/exec"): {"Cmd": ["true"]},
          ("POST", "/networks/create"): {"Name": "nn"}, ("POST", "/networks/{id}/connect"): {"Container": "one"},
          ("POST", "/networks/{id}/disconnect"): {"Container": "one"}}
# The rest of a query, without which nobody comes to the wrong value.
QUERIES = {("GET", "/containers/{id}/logs"): {"stdout": "1"}, ("POST", "/containers/{id}/resize"): {"h": "1", "w": "1"},
           ("POST", "/exec/{id}/resize"): {"h": "1", "w": "1"}, ("GET", "/images/search"): {"term": "x"}, ("POST", "/commit"): {"container": "one"}}
# A right value of each parameter that is more than a flag.
VALUES = {"filters": "{}", "since": "1", "until": "2", "t": "0", "signal": "KILL", "condition": "not-running", "path": "/tmp", "ps_args": "-ef",
          "limit": "1", "term": "x", "platform": "linux", "platforms": "linux", "names": "busybox:latest", "tag": "tagged", "repo": "made",
          "changes": "LABEL a=b", "container": "one", "name": "named", "type": "volume", "scope": "local", "detachKeys": "ctrl-a",
          "fromSrc": "-", "filter": "x"}
# Whose answers need a registry, a stopped container, a terminal or a body that is no JSON: other tests read them.
ELSEWHERE = {("POST", "/images/create"), ("GET", "/images/search"), ("POST", "/images/{name}/push"), ("POST", "/images/load"), ("POST", "/build"),
             ("PUT", "/containers/{id}/archive"), ("POST", "/containers/{id}/resize"), ("POST", "/exec/{id}/resize"),
             ("GET", "/containers/{id}/attach/ws"), ("POST", "/containers/{id}/attach"), ("POST", "/grua/check"),
             ("POST", "/containers/{id}/start"), ("POST", "/containers/{id}/wait"), ("POST", "/containers/{id}/rename")}


def nested(place, value):
    """A body with this value at a field's place: "Mounts[].Type"."""
    for name in reversed(place.split(".")):
        while name.endswith(("[]", "{}")):
            value, name = ENTRY[name[-2:]](value), name[:-2]
        value = {name: value}
    return value


def merged(base, more):
    return {**base, **{key: merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
                       for key, value in more.items()}}


class ApiTable(Case):
    options = ("--log-level", "debug")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.operations = json.loads(cls.daemon.api("GET", "/grua/api")[1])
        cls.names, cls.rows = table.read_names(), table.read_rows()
        cls.facts, cls.unbuilt = table.read_facts(cls.operations)

    def is_table_of(self, title):
        """Of an operation without a handler, and of a swarm, no further name has a row."""
        return title not in self.unbuilt and title != ("PUT", "/volumes/{name}") and title[1].split("/")[1] not in (*table.SWARM, "session") and \
            not title[1].startswith("/plugins/")

    def test_every_name_of_the_api_has_a_row(self):
        missing = [key for key in self.names if key[2] != "path" and (key[2] == "op" or self.is_table_of(key[:2])) and
                   not (key[2] == "header" and key[3] == "Content-type") and not table.row_of(self.rows, key)]
        self.assertEqual(missing, [])

    def test_everything_that_is_read_has_a_row_and_a_name(self):
        for key in self.facts:
            row = table.row_of(self.rows, key)
            self.assertTrue(row, key)
            self.assertNotEqual(row.state, "unread", key)
            known = key in self.names or key[1].split("/")[1] == "grua" or (key[0], key[1], "path", key[3]) in self.names
            self.assertTrue(known or row.beyond or key[0] == "HEAD", f"{key}: no version of the API has it")
            self.assertFalse(key in self.names and row.beyond, f"{key}: the API has it")

    def test_no_row_is_of_nothing(self):
        for key, row in self.rows.items():
            if key[0] == "*" or key[3].endswith("*"):
                continue
            is_read = key in self.facts or key[2] == "header" or (key[2] == "body" and key[:2] in table.BY_HAND)
            self.assertTrue(is_read or (row.state == "unread" and key in self.names), f"{key}: nobody reads it")
            if key[2] == "op":
                self.assertEqual(row.state == "refused", key[:2] in self.unbuilt, key)
            self.assertTrue(row.text or row.state != "unread", f"{key}: why is it not read?")

    def test_the_page_is_as_it_is_printed(self):
        page = REPOSITORY / "docs/api.md"
        self.assertEqual(page.read_text(), table.page(self.operations), "tests/api/table.py SOCKET > docs/api.md prints it")

    def test_what_a_field_says_is_used(self):
        """A field that works is named in the code that makes containers, networks and volumes, not only in the tables that read it."""
        tables = [REPOSITORY / "src" / each for each in ("engine/model/documents.hpp", "network/config.hpp", *(f"api/wire/{name}.hpp" for name in ("container", "network", "volume")))]
        members = {}
        for each in tables:
            for name, member in re.findall(r'field\("(\w+)",\s*&Self::(\w+)\)', each.read_text()):
                members.setdefault(name, set()).add(member)
        code = "".join(path.read_text() for room in ("engine", "api", "network", "volumes") for path in (REPOSITORY / "src" / room).rglob("*.?pp")
                       if path not in tables and not path.name.endswith("_test.cpp") and path.name != "test_ground.hpp")
        used = set(re.findall(r"(?:\.|->|::)(\w+)\b", code))
        for key in self.facts:
            row = table.row_of(self.rows, key)
            if key[2] == "body" and row.state in ("works", "refused") and row.text[:4] != "see ":
                name = re.sub(r"[\[\]{}]", "", key[3].split(".")[-1])
                self.assertTrue(members[name] & used, f"{key}: nobody reads what it says")

    def wrong_body(self, key):
        """A value of another type; a list may be sent as a text, so it gets neither."""
        expected = self.facts[key][1]
        return {"string": 7, "integer": "x", "boolean": "x"}.get(expected, 7)

    def path_of(self, title, **query):
        path = re.sub(r"\{\w+\}", SUBJECTS.get(title[1].split("/")[1], "one"), title[1]).replace("EXEC", self.exec)
        query = {**QUERIES.get(title, {}), **query}
        return f"{path}?{urllib.parse.urlencode(query)}" if query else path

    def make(self):
        self.docker("load", "-q", "-i", busybox_image())
        self.docker("network", "create", "mesh", "--subnet", "10.97.5.0/24")
        self.addCleanup(self.docker, "network", "rm", "mesh", check=False)
        self.docker("volume", "create", "vol")
        self.addCleanup(self.docker, "volume", "rm", "vol", check=False)
        self.docker("run", "-d", "--name", "one", "busybox", "sleep", "1000")
        self.exec = json.loads(self.daemon.api("POST", "/containers/one/exec", {"Cmd": ["true"]})[1])["Id"]
        self.addCleanup(self.docker, "rm", "-f", "one", check=False)

    def test_a_value_of_the_wrong_type_is_told_with_its_place(self):
        self.make()
        for key in self.facts:
            if key[2] != "body" or self.facts[key][1].split(" ")[-1] == "anything":
                continue
            status, text = self.daemon.api(key[0], self.path_of(key[:2]), nested(key[3], self.wrong_body(key)))
            place = key[3].replace("[]", "[0]").replace("{}", "[key]")
            self.assertEqual((status, text.partition(": expected")[0]), (400, '{"message":"' + place), (key, text))

    def test_wrong_values_are_answered_as_the_table_says(self):
        self.make()
        for key, row in self.rows.items():
            for request, statuses, expected in row.wrong:
                with self.subTest(key=key, request=request):
                    title, body = key[:2], BODIES.get(key[:2])
                    if key[2] == "query":
                        path = self.path_of(title, **{key[3]: request})
                    elif key[2] == "filter":
                        path = self.path_of(title, filters=json.dumps({key[3]: [request]}))
                    else:
                        path = self.path_of(title)
                        value = json.loads(request)
                        whole = "[]" in key[3] or "{}" in key[3]
                        top = key[3] if key[3].count(".") <= (1 if key[3].startswith("HostConfig.") else 0) else key[3].rpartition(".")[0]
                        body = merged(body or {}, value if whole else nested(top if isinstance(value, dict) and top != key[3] else key[3], value))
                    status, text = self.daemon.api(key[0], path, body)
                    self.assertIn(status, statuses, text)
                    self.assertIn(expected, json.loads(text)["message"])

    def test_every_parameter_is_read(self):
        """What an operation does not ask for although it may is told by gruad's log."""
        self.make()
        log = self.daemon.log
        removals = {("DELETE", "/containers/{id}"), ("DELETE", "/volumes/{name}"), ("DELETE", "/images/{name}")}
        titles = {key[:2]: [] for key in self.facts if key[2] == "query"}
        for key in self.facts:
            if key[2] == "query":
                titles[key[:2]].append(key[3])
        for title in sorted(titles, key=lambda title: title in removals or title[1].endswith("/prune")):
            if title in ELSEWHERE:
                continue
            before = len(log.read_text())
            asked = {name: VALUES.get(name, "1") for name in titles[title]}
            if title == ("DELETE", "/containers/{id}"):
                asked["link"] = "0"
            if title == ("POST", "/containers/{id}/kill"):
                asked["signal"] = "CONT"
            asked.pop("platforms", None)  # busybox has one only
            asked.update({name: "0" for name in ("stream", "follow") if name in asked})
            with self.subTest(title=title):
                status, text = self.daemon.api(title[0], self.path_of(title, **asked), BODIES.get(title))
                self.assertLess(status, 400, text[:300])
                self.assertNotIn("nobody reads the parameter", log.read_text()[before:])
