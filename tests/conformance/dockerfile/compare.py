"""Runs cases with a docker CLI against an engine, and compares with what Docker's own engine was seen to do.

    with Runner("/run/x.sock", enter=["nsenter", "--net=/proc/1/ns/net"]) as runner:
        for case in cases():
            lines = runner.run(case)
            print(difference(case, lines, differences()))

`cases/TOPIC.case` has the cases of a topic, `cases/TOPIC.expected` what Docker's engine did. differences.txt says where another is meant.
"""

import contextlib
import difflib
import fnmatch
import gzip
import http.client
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]

import casefile  # noqa: E402
import observe  # noqa: E402

CACHE = pathlib.Path(os.environ.get("GRUA_TESTENV_CACHE", "/var/tmp/grua-testenv"))
DOCKER = os.environ.get("GRUA_DOCKER", str(CACHE / "clients/bin/docker"))
PATIENCE = float(os.environ.get("GRUA_PATIENCE", "1"))
PORT = 8099  # of the HTTP server, in the engine's network namespace
PARTS = ("exit", "text", "steps", "config", "history", "tree")


def cases(patterns=()):
    """All cases, or those of the topics, or of the names topic/name, that are given; names may have stars."""
    for path in sorted((HERE / "cases").glob("*.case")):
        for case in casefile.read(path):
            if not patterns or any(fnmatch.fnmatchcase(word, pattern) for word in (case.topic, case.id) for pattern in patterns):
                yield case


def expected(topic):
    """The lines of each case of a topic, as recorded."""
    found, name = {}, None
    path = HERE / f"cases/{topic}.expected"
    for line in path.read_text(encoding="utf-8").split("\n") if path.exists() else ():
        if line.startswith("=== "):
            name = line[4:]
            found[name] = []
        elif line:
            found[name].append(line)
    return found


def write_expected(topic, found, order):
    text = "\n".join("\n".join([f"=== {name}", *found[name], ""]) for name in order if name in found)
    (HERE / f"cases/{topic}.expected").write_text(text, encoding="utf-8")


class Rule:
    """A line of differences.txt: "cases | lines" for what is of any value, "cases | lines -> lines" for what is other; regular expressions."""

    def __init__(self, text):
        self.text = text
        self.cases, _, rest = text.partition(" | ")
        self.lines, self.arrow, self.ours = rest.partition(" -> ")
        self.used = False

    def apply(self, case, docker, ours):
        if not re.fullmatch(self.cases, case.id):
            return docker, ours
        before = (docker, ours)
        if self.arrow:
            docker = [re.sub(f"^(?:{self.lines})$", self.ours, line) for line in docker]
        else:
            docker, ours = ([line for line in lines if not re.fullmatch(self.lines, line)] for lines in (docker, ours))
        self.used = self.used or (docker, ours) != before
        return docker, ours


def differences():
    lines = (HERE / "differences.txt").read_text(encoding="utf-8").splitlines()
    return [Rule(line) for line in lines if line.strip() and not line.startswith("#")]


def stale(rules):
    """Rules that nothing was like, once all cases have run."""
    return [rule.text for rule in rules if not rule.used]


def difference(case, ours, rules=()):
    """What is other than recorded, for a person to read; empty where nothing is."""
    docker = expected(case.topic).get(case.name)
    if docker is None:
        return f"{case.id}: nothing is recorded; run record\n"
    for rule in rules:
        docker, ours = rule.apply(case, docker, ours)
    if docker == ours:
        return ""
    lines = difflib.unified_diff(docker, ours, "Docker", "here", lineterm="", n=2)
    return f"{case.id}: {case.about}\n" + "".join(f"    {line}\n" for line in list(lines)[2:])


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("d", timeout=60 * PATIENCE)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def normal(text, names=()):
    """Without what differs from run to run."""
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text).replace("\r\n", "\n")
    for name, word in names:
        text = text.replace(name, word)
    text = re.sub(r"sha256:[0-9a-f]{64}", "sha256:<digest>", text)
    text = re.sub(r"\b[-a-z0-9]{25,36}::[a-z0-9]{25}\b", "<ref>", text)
    text = re.sub(r"/[^ ]*/buildkit-mount\d+", "<mount>", text)
    text = re.sub(r"/[^ ]*/overlay2/[a-z0-9]+/(merged|diff)\b", "<root>", text)
    # The client says one or the other, as it hears of the error by one call or another first.
    text = text.replace("failed to run Build function: ", "failed to solve: ")
    text = re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", lambda found: f"\\x{ord(found[0]):02x}", text)
    # The rules that were violated are named in any order.
    text = re.sub(r"(?<=violation found for rules: )(.*)", lambda found: ", ".join(sorted(found[0].split(", "))), text)
    # What stands between an engine and a registry that is not there.
    text = re.sub(r"failed to do request: .*", "failed to do request: <no network>", text)
    return text


# "#5 [2/3] RUN x", "#5 CACHED"
STEP = re.compile(r"#(\d+) (.*)")


def steps_of(output):
    """Names of the steps, without the engine's own, and those that came from the cache."""
    names, cached = {}, set()
    for line in output.split("\n"):
        found = STEP.fullmatch(line)
        if not found:
            continue
        if found[1] not in names:
            names[found[1]] = found[2]
        elif found[2] == "CACHED":
            cached.add(found[1])
    shown = {number: name for number, name in names.items()
             if name.startswith("[") and not re.match(r"\[internal\] load (build definition|\.dockerignore|build context|remote)", name)}
    return sorted(shown.values()), sorted(shown[number] for number in cached if number in shown)


def said(output):
    """What is not the progress of steps: warnings, the excerpt of a failure, the error."""
    lines = [line for line in output.split("\n") if not STEP.match(line)]
    lines = [re.sub(r"^\d+\.\d{1,3}( |$)", r"<seconds>\1", line.rstrip()) for line in lines]
    out = []
    for line in lines:
        if line or (out and out[-1]):
            out.append(line)
    while out and not out[-1]:
        out.pop()
    # Docker tells of the variables of one line in any order.
    warned = [index for index, line in enumerate(out) if line.startswith(" - ")]
    for index, line in zip(warned, sorted(out[index] for index in warned)):
        out[index] = line
    return out


class Runner:
    """Cases against one engine. `enter` are words before a command that runs in the engine's network namespace."""

    def __init__(self, socket_path, enter=(), base="busybox:latest"):
        self.socket, self.enter = str(socket_path), list(enter)
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="grua-cases-", dir=os.environ.get("GRUA_TEST_DIR", "/var/tmp")))
        os.chmod(self.work, 0o755)
        (self.work / "config").mkdir()
        (self.work / "served").mkdir()
        self.server = None
        try:
            self.base = self.image(base)
            self.under = self.base.tree()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.server:
            self.server.kill()
            self.server.wait()
        shutil.rmtree(self.work, ignore_errors=True)

    def ask(self, method, target):
        connection = Connection(self.socket)
        with contextlib.closing(connection):
            connection.request(method, target)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def image(self, name):
        target = f"/v1.45/images/{urllib.parse.quote(name, safe=':')}"
        status, data = self.ask("GET", f"{target}/get")
        if status == 200:
            return observe.Image(data)
        # Docker does not save an image without layers.
        asked = [self.ask("GET", f"{target}/{what}") for what in ("json", "history")]
        if status == 500 and b"empty export" in data and all(each[0] == 200 for each in asked):
            return observe.without_layers(*(json.loads(each[1]) for each in asked))
        raise AssertionError(f"image {name}: {status} {data[:300]!r}")

    def serve(self):
        """An HTTP server for what is fetched; it needs no network but the engine's loopback."""
        if not self.server:
            self.server = subprocess.Popen(
                [*self.enter, sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", self.work / "served", str(PORT)],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(1 * PATIENCE)

    def run(self, case):
        """Runs a case in a folder of its own; what was seen, as lines.

        Docker's builder knows a context again by its path, and then takes a file of the same size and time for the same; and it takes a step
        from the cache whatever the times of its files are. So each case has a path of its own, and finds an empty cache.
        """
        folder = self.work / case.topic / case.name
        results = self.work / "out"
        served = self.work / "served" / case.name
        for each in (folder, results):
            shutil.rmtree(each, ignore_errors=True)
            each.mkdir(parents=True)
        self.ask("POST", "/v1.45/build/prune?all=true")
        casefile.make(case, str(folder), str(served))
        if any(each.kind == "served" for each in case.sections):
            self.serve()
        lines = []
        for number, build in enumerate(case.builds):
            if len(case.builds) > 1:
                lines.append(f"build {number + 1}: {' '.join(build.options)}".rstrip())
            lines += self.build(case, build, folder, results)
        self.ask("DELETE", f"/v1.45/images/{case.tag}?force=1")
        shutil.rmtree(folder, ignore_errors=True)
        return lines

    def build(self, case, build, folder, results):
        options = [word.replace("{work}", str(results)).replace("{context}", str(folder)) for word in build.options]
        asks = any(word.startswith(("--check", "--call", "--print")) for word in options)
        writes = any(word.startswith(("--output", "-o")) for word in options)
        place = build.settings.get("context", "")
        place = place if re.match(r"-$|/|[a-z]+:", place) else str(folder / place)
        stdin = build.settings.get("stdin")
        data = None
        if stdin in ("tar", "tar.gz", "pax"):
            data = casefile.packed(folder, *([tarfile.PAX_FORMAT] if stdin == "pax" else []))
            data = gzip.compress(data, mtime=0) if stdin == "tar.gz" else data
        elif stdin:
            data = (folder / stdin).read_bytes()
        progress = [] if {"-q", "--quiet"} & set(options) else ["--progress=plain"]
        words = [DOCKER, "build", *progress, *(["-t", case.tag] if not asks and not writes else []), *options, place]
        # Nothing of the caller's environment: proxies, SOURCE_DATE_EPOCH and the like would change the result.
        env = {"PATH": os.environ["PATH"], "HOME": str(self.work), "DOCKER_HOST": f"unix://{self.socket}",
               "DOCKER_CONFIG": str(self.work / "config"), "DOCKER_CLI_HINTS": "false", "BUILDX_GIT_INFO": "false",
               "BUILDX_NO_DEFAULT_ATTESTATIONS": "1", **build.env}
        try:
            done = subprocess.run(words, cwd=folder, env=env, capture_output=True, timeout=60 * PATIENCE,
                                  **({"input": data} if data is not None else {"stdin": subprocess.DEVNULL}))
        except subprocess.TimeoutExpired:
            return ["exit: none within a minute"]
        names = [(str(folder), "<context>"), (str(results), "<work>"), (str(self.work), "<home>"), (case.tag, "<tag>")]
        output, progress = (normal(data.decode("utf-8", "replace"), names) for data in (done.stdout, done.stderr))
        parts = build.settings["only"].split(",") if "only" in build.settings else PARTS
        steps, cached = steps_of(progress)
        lines = [f"exit: {done.returncode}"] if "exit" in parts else []
        if "text" in parts:
            text = said(progress)
            if output.strip():
                text += ["(standard output)", *json_lines(output)]
            lines += [f"  | {line}".rstrip() for line in text]
        if done.returncode == 0 and not asks:
            if "steps" in parts:
                lines += [f"step: {name}" for name in steps if not name.endswith("load metadata for docker.io/library/busybox:latest")]
            if "cached" in build.settings:
                lines += [f"cached: {name}" for name in cached if " FROM " not in name]
            if writes:
                lines += self.written(results, parts)
            else:
                lines += self.image_lines(case, parts)
        return lines

    def image_lines(self, case, parts):
        image = self.image(case.tag)
        known = image.diff_ids[:1] == self.base.diff_ids[:1]
        out = []
        if "config" in parts:
            out += image.config_lines()
        if "history" in parts:
            out += (f"history: {line}" for line in image.history_lines(len(self.base.config["history"]) if known else 0))
            out.append(f"layers: {len(image.layers)}")
        if "tree" in parts:
            out += observe.tree_lines(image.tree(), self.under if known else None)
        return out

    def written(self, results, parts):
        """What was written below the folder for results: folders as they are, archives by their entries."""
        if "tree" not in parts:
            return []
        tree = observe.folder_tree(str(results))
        out, under = [], {path: node for path, node in self.under.items() if path != "/"}
        for path, node in tree.items():
            if path.endswith(".tar"):
                inner = observe.add_tar({}, open(f"{results}{path}", "rb"), layer=False)
                out += [f"{path}:", *observe.tree_lines(inner, under if "/bin/busybox" in inner else None)]
        plain = {path: node for path, node in tree.items() if not path.endswith(".tar")}
        first = next((path for path in plain if path.endswith("/bin/busybox")), "")
        top = first.removesuffix("/bin/busybox")
        under = {top + path: node for path, node in under.items()} if first else {}
        return [*observe.tree_lines(plain, under), *out]


def json_lines(text):
    """JSON on several lines with its keys in order; other text as it is."""
    def hide(key, value):
        # A definition has the session's name in it.
        if isinstance(value, dict):
            return "<definition>" if key == "definition" else {name: hide(name, each) for name, each in value.items()}
        return [hide("", each) for each in value] if isinstance(value, list) else value

    with contextlib.suppress(ValueError):
        return json.dumps(hide("", json.loads(text)), indent=2, ensure_ascii=False, sort_keys=True).split("\n")
    return [line.rstrip() for line in text.rstrip("\n").split("\n")]
