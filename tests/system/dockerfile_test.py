"""What the front end makes of Dockerfiles, beside what Docker's own builder has been recorded to make of them (tests/conformance/dockerfile): names of
steps, the image's configuration and history, errors. Nothing is built, so what a command, a file or a client would say is not looked at."""

import base64
import difflib
import json
import pathlib
import re
import subprocess
import sys
import unittest

from harness import BIN

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "conformance/dockerfile"
sys.path.append(str(FOLDER))
import casefile  # noqa: E402
import compare  # noqa: E402

FLAGS = {"--build-arg", "--target", "--label", "--platform", "--no-cache"}
USUAL_ENV = 'config.Env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]'
# Another result is meant, or is that of the client.
DIFFERENT = {
    "config/label-option": "the docker CLI gives a label without a value an empty one",
    "expand/open-braces": "the text says what is missing; Docker's has a broken character",
    "mount/bind-from-image": "one operation under two names: ours is the stage's",
    "stages/platform-option-bad": "the client's text",
    "stages/platform-option-two": "the client refuses",
}
AT_LEAST = 700  # cases that are compared: a comparison of nothing is none
AT_LEAST_ASKED = 20
NOT_ASKED = {"call/check-quiet": "what is quiet is the client"}


def expectations():
    out, lines = {}, None
    for path in FOLDER.glob("cases/*.expected"):
        for line in path.read_text().splitlines():
            if found := re.match(r"=== (\S+)", line):
                lines = out[f"{path.stem}/{found[1]}"] = []
            elif lines is not None:
                lines.append(line)
    return out


def dockerfile_of(case):
    """Its text; nothing where there is none, or one with attributes."""
    return next((each.text for each in case.sections if each.kind == "file" and each.words == ["Dockerfile"]), None)


def is_for_the_front_end(case):
    if len(case.builds) != 1 or dockerfile_of(case) is None:
        return False
    build = case.builds[0]
    return not build.settings and not build.env and all(not word.startswith("-") or word.split("=")[0] in FLAGS for word in build.options)


def made_of(case):
    words = [part for word in case.builds[0].options for part in (word.split("=", 1) if word.startswith("--") else [word])]
    text = dockerfile_of(case)
    done = subprocess.run([BIN / "build_front", *words], input=text if isinstance(text, bytes) else text.encode(), stdout=subprocess.PIPE, timeout=60, check=False)
    if done.returncode not in (0, 1):
        raise AssertionError(f"{case.id}: exit status {done.returncode}")
    return done.stdout.decode(errors="replace").splitlines()


def asked_of(case):
    """What a client asks about the Dockerfile, and in which form it wants the answer; nothing where it builds."""
    call, form, rest = None, "text", []
    words = iter(case.builds[0].options)
    for word in words:
        if word == "--check":
            call = "lint"
        elif word == "--call":
            call, _, form = next(words).partition(",format=")
            call = {"check": "lint"}.get(call, call)
        else:
            rest.append(word)
    return call, form, rest


def said_by_client(call, form, done):
    """What docker build prints of an answer, as compare.Runner has it, and its exit status."""
    if done.returncode:
        text = done.stdout.decode().splitlines()[-1].removeprefix("error: ")
        # The client puts what it knows of such an error in front of its text, which is the same.
        text = f"{text}: {text}" if text.startswith("unsupported request") else text
        return 1, [f"ERROR: failed to build: failed to solve: {text}"]
    answer = json.loads(done.stdout)
    found = json.loads(answer["result.json"])
    status, errors, output = int(answer.get("result.statuscode", 0)), [], answer["result.json" if form == "json" else "result.txt"]
    if call == "lint":
        warnings, error = len(found["warnings"] or ()), found.get("buildError")
        if warnings and form != "json":
            output = f"Check complete, {'1 warning has' if warnings == 1 else f'{warnings} warnings have'} been found!\n{output}"
        if not warnings and not error and form != "json":
            output = "Check complete, no warnings found."
        if error:
            errors = ["ERROR: " + error["message"], *excerpt_of(found["sources"][0], error["location"])]
    lines = errors + (["(standard output)", *compare.json_lines(output)] if output.strip() else [])
    return status, [line.rstrip() for line in lines]


def excerpt_of(source, location):
    """As the client makes it of an error; of warnings the engine's is compared."""
    if not location:
        return []
    lines, line = base64.b64decode(source["data"]).decode().split("\n"), location["ranges"][0]["start"]["line"]
    first, last, shown = line, line, 0
    while shown < 4:
        shown += 1 + (first > 1) + (last < len(lines))
        first, last = max(first - 1, 1), min(last + 1, len(lines))
    marked = [f" {number:3} | {'>>>' if number == line else '   '} {lines[number - 1]}" for number in range(first, last + 1)]
    return [f"{source['filename']}:{line}", "-" * 20, *marked, "-" * 20]


def comparable(lines):
    out = []
    for line in lines:
        line = re.sub(r"sha256:[0-9a-f]{64}", "sha256:<digest>", line)
        if not line.startswith(("step: [", "config.", "history: ", "author: ", "error: ")) or line.startswith("step: [internal] load") or line == USUAL_ENV:
            continue
        # Docker's own image store knows no merge of trees, and shows none; an image without layers has a time that is none.
        if " LINK COPY " not in line and " LINK ADD " not in line:
            out.append(line.replace(" at 1970-01-01T00:00:00Z", ""))
    return sorted(out)


class Dockerfiles(unittest.TestCase):
    def test_they_become_what_docker_makes_of_them(self):
        expected, compared, wrong = expectations(), 0, []
        for path in sorted(FOLDER.glob("cases/*.case")):
            for case in casefile.read(path):
                if case.id not in expected or case.id in DIFFERENT or not is_for_the_front_end(case):
                    continue
                want, got = expected[case.id], made_of(case)
                error = next((line.removeprefix("error: ") for line in got if line.startswith("error: ")), None)
                if "exit: 0" in want:
                    want, got = comparable(want), comparable(got)
                elif error is None:
                    continue  # It fails later.
                else:
                    want, got = [line.split("failed to solve: ")[-1] for line in want if "ERROR: " in line][-1:], [error]
                compared += 1
                if want != got:
                    wrong.append(f"{case.id} {' '.join(case.builds[0].options)}\n" + "\n".join(difflib.unified_diff(want, got, "Docker's", "ours", lineterm="", n=0)))
        self.assertEqual(wrong, [], "\n\n".join(wrong))
        self.assertGreaterEqual(compared, AT_LEAST)

    def test_what_is_asked_about_them_is_answered_as_docker_does(self):
        expected, compared, wrong = expectations(), 0, []
        for case in casefile.read(FOLDER / "cases/call.case"):
            call, form, rest = asked_of(case)
            if case.id in NOT_ASKED:
                continue
            done = subprocess.run([BIN / "build_front", "--call", call, *rest], input=dockerfile_of(case).encode(), stdout=subprocess.PIPE, timeout=60, check=False)
            status, lines = said_by_client(call, form, done)
            got = [f"exit: {status}"]
            if "only" not in case.builds[0].settings:
                got += [f"  | {line}".rstrip() for line in lines]
            want = [line.replace("<context>/", "") for line in expected[case.id] if line]
            compared += 1
            if want != got:
                wrong.append(f"{case.id} {' '.join(case.builds[0].options)}\n" + "\n".join(difflib.unified_diff(want, got, "Docker's", "ours", lineterm="", n=0)))
        self.assertEqual(wrong, [], "\n\n".join(wrong))
        self.assertGreaterEqual(compared, AT_LEAST_ASKED)
