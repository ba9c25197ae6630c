"""What the builder takes from its cache and what it does anew: one thing is changed at a time, and the steps that run are named. Then random edits
of a small project, each built with the cache and by a second gruad without, which must give the same image.

GRUA_EDITS=N is how many edits there are, GRUA_EDITS_SEED=S makes the edits of one life again that has failed.
"""

import itertools
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tarfile
import tempfile
import threading
import time
import unittest
from random import Random

from build_test import Folder
from harness import BIN, DOCKER, Case, Connection, Daemon, in_namespace, run, wait_until


# So many edits are made on a project before another one is begun.
EDITS_OF_A_LIFE = 100
EDITS = int(os.environ.get("GRUA_EDITS", "40"))
SEED = os.environ.get("GRUA_EDITS_SEED")


def steps_of(said):
    """{step: whether it was cached} of what --progress=rawjson says. Sources are none, nor is what lays a linked copy on the rest."""
    out = {}
    for line in said.splitlines():
        if not line.startswith("{"):
            continue
        for vertex in json.loads(line).get("vertexes") or []:
            found = re.fullmatch(r"\[(?:\S+ )*\d+/\d+\] (.*)", vertex["name"], re.DOTALL)
            if found and "completed" in vertex and vertex.get("inputs") and not found[1].startswith("LINK "):
                out[found[1]] = out.get(found[1], True) and vertex.get("cached", False)
    return out


class CoreRules:
    """For a Case."""

    def client(self, *words, **more):
        return self.said(run(DOCKER, "build", "--progress=rawjson", *words, env=self.daemon.environment(), check=False, **more))

    def said(self, done):
        self.assertEqual(done.returncode, 0, "\n".join(line for line in done.stderr.splitlines() if not line.startswith("{")))
        return done.stderr

    def steps(self, folder, *words, **more):
        return steps_of(self.client(*words, str(folder.path), **more))

    def assert_ran(self, folder, expected, *words, **more):
        """Of the steps exactly these ran, each named by its beginning, and all others were cached."""
        steps = self.steps(folder, *words, **more)
        ran = sorted(name for name, cached in steps.items() if not cached)
        found = sorted(name for name in ran if any(name.startswith(each) for each in expected))
        if ran != found or not all(any(name.startswith(each) for name in ran) for each in expected):
            self.fail(f"ran: {ran}\nexpected: {sorted(expected)}\nof: {sorted(steps)}")

    def check(self, files, changes, words=()):
        """The files are built, then each change of (name, function of the folder or words of the command, what runs) on what is there by then."""
        with Folder(files) as folder:
            first = self.steps(folder, *words)
            self.assertTrue(first and not any(first.values()), f"what the first build ran: {first}")
            self.assert_ran(folder, [], *words)
            for name, change, expected in changes:
                with self.subTest(name):
                    more = ()
                    if callable(change):
                        change(folder.path)
                    else:
                        more = change
                    self.assert_ran(folder, expected, *words, *more)

    def pinned(self, text):
        """No two tests know the same steps."""
        return f"FROM busybox\nRUN : {self.id()}\n{text}"

    def test_files_of_the_context(self):
        def text(name, value):
            return lambda path: (path / name).write_text(value)

        def same_text_again(path):
            (path / "folder/a").write_text("1")
            os.utime(path / "folder/a", (1, 1))

        def replace(make):
            def change(path):
                (path / "folder/x").unlink(missing_ok=True)
                make(path / "folder/x")
            return change

        copy, after = "COPY folder", "RUN ls"
        both = [copy, after]
        self.check({"Dockerfile": self.pinned("COPY file /file\nCOPY folder /folder\nRUN ls -l /folder\n"), "file": "f", "folder/a": "1", "folder/b": "b",
                    "folder/x": "1", "folder/in/i": "i", "other": "o"}, [
            ("time", lambda path: os.utime(path / "folder/a", (1, 1)), []),
            ("time of a folder", lambda path: os.utime(path / "folder", (5, 5)), []),
            ("time to come", lambda path: os.utime(path / "file", (4102444800, 4102444800)), []),
            ("contents of the same size", text("folder/a", "2"), both),
            ("the contents of before, and a clock that went back", same_text_again, []),
            ("size", text("folder/a", "11"), both),
            ("nothing in it", text("folder/a", ""), both),
            ("mode", lambda path: (path / "folder/a").chmod(0o600), both),
            ("set-user-ID", lambda path: (path / "folder/a").chmod(0o4755), both),
            ("mode of a folder in it", lambda path: (path / "folder/in").chmod(0o700), both),
            ("mode of the folder", lambda path: (path / "folder").chmod(0o700), both),
            ("owner, which clients do not send", lambda path: os.chown(path / "folder/b", 1234, 4321), []),
            ("name", lambda path: (path / "folder/b").rename(path / "folder/c"), both),
            ("case of a name", lambda path: (path / "folder/c").rename(path / "folder/C"), both),
            ("file that is new", text("folder/new", ""), both),
            ("file that is gone", lambda path: (path / "folder/new").unlink(), []),
            ("empty folder", lambda path: (path / "folder/empty").mkdir(), both),
            ("file that is not copied", text("other", "p"), []),
            ("file that is new and not copied", text("more", "p"), []),
            ("file of another step", text("file", "g"), ["COPY file", *both]),
            ("file becomes a folder", replace(lambda path: path.mkdir()), both),
            ("folder becomes a link", lambda path: ((path / "folder/x").rmdir(), (path / "folder/x").symlink_to("a")), both),
            ("where a link leads", replace(lambda path: path.symlink_to("C")), both),
            ("link to nothing", replace(lambda path: path.symlink_to("nothing")), both),
            ("link to the root", replace(lambda path: path.symlink_to("/folder/a")), both),
            ("link becomes the file that it was", replace(lambda path: path.write_text("1")), []),
            ("file becomes a pipe", replace(os.mkfifo), both),
            ("xattr", lambda path: os.setxattr(path / "folder/a", "user.a", b"1"), both),
            ("value of an xattr", lambda path: os.setxattr(path / "folder/a", "user.a", b"2"), both),
            ("xattr of a folder", lambda path: os.setxattr(path / "folder/in", "user.a", b"2"), both),
            ("xattr that is gone", lambda path: os.removexattr(path / "folder/in", "user.a"), []),
        ])

    def test_what_is_ignored(self):
        both = ["COPY . /all", "RUN ls"]

        def text(name, value):
            return lambda path: (path / name).write_text(value)

        self.check({"Dockerfile": self.pinned("COPY . /all\nRUN ls -l /all\n"), ".dockerignore": "*.log\nignored\nDockerfile\n.dockerignore\n", "a": "1",
                    "a.log": "", "ignored/a": ""}, [
            ("ignored file", text("a.log", "1"), []),
            ("ignored file that is new", text("b.log", "1"), []),
            ("file in an ignored folder", text("ignored/a", "1"), []),
            ("comment and order", text(".dockerignore", "# all\nDockerfile\nignored\n*.log\n.dockerignore\n"), []),
            ("pattern for nothing", text(".dockerignore", "Dockerfile\nignored\n*.log\n.dockerignore\nnothing\n"), []),
            ("exception", text(".dockerignore", "Dockerfile\nignored\n*.log\n.dockerignore\n!b.log\n"), both),
            ("file that is no longer ignored", text("b.log", "2"), both),
            ("one more that is ignored", text(".dockerignore", "Dockerfile\nignored\n*.log\n.dockerignore\n!b.log\na\n"), both),
            ("file that is now ignored", text("a", "2"), []),
            ("as it was", text(".dockerignore", "*.log\nignored\nDockerfile\n.dockerignore\n"), both),
        ])

    def test_arguments_and_variables(self):
        lines = {"base": "FROM busybox", "one": "RUN : one", "global": "ARG WORD=a", "two": "RUN : two", "copy": "COPY file /file", "env": "ENV E=1",
                 "three": "RUN : three", "used": "ARG LATE", "four": "RUN : $LATE"}

        def dockerfile(**more):
            changed = {**lines, **more}
            return lambda path: (path / "Dockerfile").write_text(f"# {self.id()}\n" + "\n".join(each for each in changed.values() if each) + "\n")

        with Folder({"file": ""}) as folder:
            dockerfile()(folder.path)
            text = (folder.path / "Dockerfile").read_text()
        arguments = lambda *words: [each for word in words for each in ("--build-arg", word)]
        self.check({"Dockerfile": text.replace("RUN : one", f"RUN : one {self.id()}"), "file": ""}, [
            ("value of an argument", arguments("WORD=b"), ["RUN : two", "COPY file", "RUN : three", "RUN : $LATE"]),
            ("the value that it has anyway", arguments("WORD=a"), []),
            ("argument that is used late", arguments("LATE=1"), ["RUN : 1"]),
            ("argument that nobody asks for", arguments("OTHER=1"), []),
            ("proxies", arguments("HTTP_PROXY=http://198.51.100.1", "no_proxy=x"), []),
            ("variable", lambda path: self.edit(path, "ENV E=1", "ENV E=2"), ["RUN : three", "RUN : $LATE"]),
            ("variable back", lambda path: self.edit(path, "ENV E=2", "ENV E=1"), []),
            ("what is no step", lambda path: self.edit(path, "ENV E=1", "LABEL a=b\nENV E=1\nEXPOSE 80\nVOLUME /v\nSTOPSIGNAL 9"), []),
            ("command of the image", lambda path: self.edit(path, "EXPOSE 80", "CMD [\"x\"]\nENTRYPOINT [\"y\"]"), []),
            ("comment and space", lambda path: self.edit(path, "RUN : two", "# a comment\n\nRUN   : two"), []),
            ("user", lambda path: self.edit(path, "RUN : three", "USER nobody\nRUN : three"), ["RUN : three", "RUN : $LATE"]),
            ("folder", lambda path: self.edit(path, "RUN : $LATE", "WORKDIR /w\nRUN : $LATE"), ["WORKDIR /w", "RUN : $LATE"]),
            ("shell", lambda path: self.edit(path, "RUN : $LATE", "SHELL [\"/bin/sh\", \"-ec\"]\nRUN : $LATE"), ["RUN : $LATE"]),
            ("words of a command", lambda path: self.edit(path, "RUN   : two", "RUN : 2"), ["RUN : 2", "COPY file", "RUN : three", "WORKDIR", "RUN : $LATE"]),
            ("step in between", lambda path: self.edit(path, "COPY file /file", "RUN : new\nCOPY file /file"),
             ["RUN : new", "COPY file", "RUN : three", "WORKDIR", "RUN : $LATE"]),
            ("order", lambda path: self.edit(path, "RUN : new\nCOPY file /file", "COPY file /file\nRUN : new"),
             ["RUN : new", "RUN : three", "WORKDIR", "RUN : $LATE"]),
        ])

    @staticmethod
    def edit(path, old, new):
        text = (path / "Dockerfile").read_text()
        assert old in text, (old, text)
        (path / "Dockerfile").write_text(text.replace(old, new))

    def make_image(self, tag, dockerfile):
        run(DOCKER, "build", "-q", "-t", tag, "-", input=dockerfile, env=self.daemon.environment())

    def test_base_images(self):
        name = f"base-{type(self).__name__.lower()}"
        self.make_image(name, self.pinned("RUN echo 1 > /version\n"))
        self.make_image(f"{name}:next", self.pinned("RUN echo 2 > /version\n"))
        self.make_image(f"{name}:env", f"FROM {name}\nENV FROM_BASE=1\n")
        self.docker("tag", name, f"{name}:same")
        rest = ["COPY file", "RUN cat", "COPY again"]

        def base(tag):
            return lambda path: (path / "Dockerfile").write_text(f"FROM {name}:{tag}\nCOPY file /file\nRUN cat /version\nCOPY again /\n")

        self.check({"Dockerfile": f"FROM {name}\nCOPY file /file\nRUN cat /version\nCOPY again /\n", "file": "", "again": ""}, [
            ("the same image by another name", base("same"), []),
            ("the same files with another variable", base("env"), ["RUN cat", "COPY again"]),
            ("another image", base("next"), rest),
            ("the tag is another image now", lambda path: (self.docker("tag", f"{name}:next", f"{name}:same"), base("same")(path)), []),
            ("the tag is a new image", lambda path: self.make_image(f"{name}:same", self.pinned("RUN echo 3 > /version\n")), rest),
            ("an image that adds nothing", base("latest"), []),
        ])

class Rules(CoreRules):
    def test_stages(self):
        self.check({"Dockerfile": "FROM busybox AS made\nARG WORD=a\nCOPY src /src\nRUN cp /src/used /result && echo $WORD > /rest\nFROM made AS unused\nRUN false\n"
                                  f"FROM busybox\nRUN : {self.id()}\nCOPY --from=made /result /result\nRUN cat /result\nCOPY --from=busybox /etc/passwd /p\n",
                    "src/used": "1", "src/unused": "1"}, [
            ("what does not reach the image", lambda path: (path / "src/unused").write_text("2"), ["COPY src", "RUN cp"]),
            ("an argument that does not reach it", ["--build-arg", "WORD=b"], ["RUN cp"]),
            ("what does", lambda path: (path / "src/used").write_text("2"), ["COPY src", "RUN cp", "COPY --from=made", "RUN cat", "COPY --from=busybox"]),
            ("mode of what does", lambda path: (path / "src/used").chmod(0o755), ["COPY src", "RUN cp", "COPY --from=made", "RUN cat", "COPY --from=busybox"]),
            ("another command with the same result", lambda path: self.edit(path, "RUN cp", "RUN : ; cp"), ["RUN : ; cp"]),
            ("a stage that is not built", lambda path: self.edit(path, "RUN false", "RUN exit 2"), []),
            ("name of a stage", lambda path: self.edit(path, "=made", "=MADE"), []),
            ("a part of it", ["--target", "made"], []),
        ])

    def test_files_of_a_stage(self):
        """Each change is one of the first stage's command, after which the file that is copied has something else."""
        def dockerfile(command):
            return f"FROM busybox AS made\nRUN : {self.id()}; mkdir /d; echo 1 > /d/a; {command}\nFROM busybox\nRUN : {self.id()}\nCOPY --from=made /d /d\n"

        def change(command):
            return lambda path: (path / "Dockerfile").write_text(dockerfile(command))

        both = ["RUN : ", "COPY --from=made"]
        self.check({"Dockerfile": dockerfile(":")}, [
            ("nothing", change(": 1"), ["RUN : "]),
            ("time", change("touch -d @7 /d/a"), ["RUN : "]),
            ("another file", change("touch /d/b"), both),
            ("elsewhere", change("touch /b"), ["RUN : "]),
            ("mode", change("chmod 600 /d/a"), both),
            ("mode of the folder", change("chmod 700 /d"), both),
            ("owner", change("chown 1 /d/a"), both),
            ("group", change("chown :1 /d/a"), both),
            ("owner of a link", change("ln -s a /d/l; chown -h 1 /d/l"), both),
            ("link", change("ln -s a /d/l"), both),
            ("where it leads", change("ln -s b /d/l"), both),
            ("pipe", change("mkfifo /d/p"), both),
            ("device", change("mknod /d/n c 1 3"), both),
            ("another device", change("mknod /d/n c 1 5"), both),
            ("file that was and is gone", change("touch /d/b; rm /d/b"), ["RUN : "]),
        ])

    def test_selections(self):
        """Of a folder of the context what a COPY reads, by its flags."""
        def text(name, value):
            return lambda path: ((path / name).parent.mkdir(parents=True, exist_ok=True), (path / name).write_text(value))

        lines = {"wild": "COPY *.conf /conf/", "deep": "COPY f*/?/*.c /c/", "link": "COPY --link linked /linked", "chown": "COPY --chown=1:1 owned /owned",
                 "chmod": "COPY --chmod=640 moded /moded", "two": "COPY two1 two2 /two/"}
        stages = "".join(f"FROM busybox AS {name}\nRUN : {self.id()} {name}\n{line}\n" for name, line in lines.items())
        final = "FROM busybox\n" + "".join(f"RUN --mount=from={name},target=/{name}m :\n" for name in lines)
        files = {"a.conf": "1", "b.conf": "1", "x": "", "f1/s/a.c": "1", "f1/s/a.h": "1", "linked/a": "1", "owned/a": "1", "moded/a": "1", "two1": "1", "two2": "1"}

        def rest(name):
            names = list(lines)
            return [lines[name], *(f"RUN --mount=from={each}," for each in names[names.index(name):])]

        self.check({"Dockerfile": stages + final, **files}, [
            ("file that matches", text("a.conf", "2"), rest("wild")),
            ("file that matches and is new", text("c.conf", "2"), rest("wild")),
            ("name of one that matches", lambda path: (path / "c.conf").rename(path / "d.conf"), rest("wild")),
            ("one that matches is gone", lambda path: (path / "d.conf").unlink(), []),
            ("one that does not match", text("d.config", ""), []),
            ("match of several names", text("f1/s/a.c", "2"), rest("deep")),
            ("no match of several names", text("f1/s/a.h", "2"), []),
            ("match too deep", text("f1/s/s/a.c", "2"), []),
            ("folder that matches and is new", text("f2/t/b.c", "1"), rest("deep")),
            ("linked", text("linked/a", "2"), rest("link")),
            ("changes owner", text("owned/a", "2"), rest("chown")),
            ("changes mode", text("moded/a", "2"), rest("chmod")),
            ("the second of two", text("two2", "2"), rest("two")),
        ])
        self.check({"Dockerfile": self.pinned("COPY a b /x/\nCOPY c /c\n"), "a": "1", "b": "2", "c": "3"}, [
            ("mode of all", lambda path: self.edit(path, "COPY c", "COPY --chmod=600 c"), ["COPY --chmod"]),
            ("another mode", lambda path: self.edit(path, "--chmod=600", "--chmod=644"), ["COPY --chmod"]),
            ("owner", lambda path: self.edit(path, "--chmod=644", "--chown=1"), ["COPY --chown"]),
            ("order of sources", lambda path: self.edit(path, "COPY a b", "COPY b a"), ["COPY b a", "COPY --chown"]),
            ("two that change places", lambda path: ((path / "a").write_text("2"), (path / "b").write_text("1")), ["COPY b a", "COPY --chown"]),
            ("destination", lambda path: self.edit(path, "c /c", "c /d"), ["COPY --chown"]),
        ])

    def test_filters(self):
        def text(name, value):
            return lambda path: ((path / name).parent.mkdir(parents=True, exist_ok=True), (path / name).write_text(value))

        exclude, parents = "COPY --exclude", "COPY --parents"
        dockerfile = self.pinned("COPY --exclude=*.log --exclude=**/tmp logs /logs\nCOPY --parents tree/./*/a.txt /parents/\n")
        self.check({"Dockerfile": dockerfile, "logs/a": "1", "logs/b.log": "1", "logs/in/tmp/t": "1", "tree/one/a.txt": "1", "tree/two/b.txt": "1"}, [
            ("file that is not excluded", text("logs/a", "2"), [exclude, parents]),
            ("file that is excluded", text("logs/b.log", "2"), []),
            ("file of a folder that is excluded", text("logs/in/tmp/t", "2"), []),
            ("file that is new beside it", text("logs/in/u", "2"), [exclude, parents]),
            ("what is taken with its folders", text("tree/one/a.txt", "2"), [parents]),
            ("what is not taken with its folders", text("tree/two/b.txt", "2"), []),
            ("what is taken of another folder", text("tree/two/a.txt", "2"), [parents]),
            ("mode of a folder that comes along", lambda path: (path / "tree/one").chmod(0o700), [parents]),
            ("what is excluded", lambda path: self.edit(path, "--exclude=*.log", "--exclude=*.text"), [exclude, parents]),
        ])

    def test_links_in_the_context(self):
        def text(name, value):
            return lambda path: (path / name).write_text(value)

        def link(name, target):
            def change(path):
                (path / name).unlink()
                (path / name).symlink_to(target)
            return change

        with Folder({"Dockerfile": self.pinned("COPY file /file\nCOPY folder/f /f\nCOPY whole /whole\nRUN --mount=source=mounted,target=/m cat /m/f\n"), "target": "1",
                     "same": "1", "real/f": "1", "real2/f": "1", "more": "1"}) as folder:
            for name, target in (("file", "target"), ("folder", "real"), ("whole", "real"), ("mounted", "real")):
                (folder.path / name).symlink_to(target)
            self.steps(folder)
            self.assert_ran(folder, [])
            for name, change, expected in [
                ("what a link leads to", text("target", "2"), ["COPY file", "COPY folder/f", "COPY whole", "RUN --mount"]),
                ("as it was", text("target", "1"), []),
                ("a link to the same contents", link("file", "same"), []),
                ("a file in a linked folder", text("real/f", "2"), ["COPY folder/f", "COPY whole", "RUN --mount"]),
                ("a linked folder elsewhere", link("mounted", "real2"), ["RUN --mount"]),
                ("what it led to", text("more", "2"), []),
                ("a link that becomes what it leads to", lambda path: ((path / "file").unlink(), (path / "file").write_text("1")), []),
            ]:
                with self.subTest(name):
                    change(folder.path)
                    self.assert_ran(folder, expected)

    def test_mounts_of_steps(self):
        def text(name, value):
            return lambda path: (path / name).write_text(value)

        one, two, three, four = "RUN --mount=source=src", "RUN --mount=from=made,source=/d", "RUN --mount=rw", "RUN --mount=type=cache"
        self.check({"Dockerfile": "FROM busybox AS made\nCOPY stage /d\nRUN cp -a /d /e\nFROM busybox\n"
                                  f"RUN : {self.id()}\nRUN --mount=source=src,target=/m cat /m/*\nRUN --mount=from=made,source=/d,target=/m cat /m/*\n"
                                  "RUN --mount=rw,source=src,target=/m touch /m/x\nRUN --mount=type=cache,target=/cache touch /cache/x\n"
                                  "RUN --mount=type=tmpfs,target=/t :\n", "src/a": "1", "other/a": "1", "stage/a": "1"}, [
            ("file that is mounted", text("src/a", "2"), [one, two, three, four, "RUN --mount=type=tmpfs"]),
            ("file that is not mounted", text("other/a", "2"), []),
            ("time", lambda path: os.utime(path / "src/a", (1, 1)), []),
            ("file of a stage that is mounted", text("stage/a", "2"), ["COPY stage", "RUN cp", two, three, four, "RUN --mount=type=tmpfs"]),
            ("another part of the stage", lambda path: self.edit(path, "RUN cp -a /d /e", "RUN cp -a /d /f"), ["RUN cp"]),
            ("where it is mounted", lambda path: self.edit(path, "target=/m touch /m/x", "target=/n touch /n/x"), [three, four, "RUN --mount=type=tmpfs"]),
            ("what is in the cache", lambda path: self.docker("buildx", "prune", "-f", "--filter", "type=exec.cachemount"), []),
            ("another cache", lambda path: self.edit(path, "type=cache,target", "type=cache,id=c,target"), [four, "RUN --mount=type=tmpfs"]),
            ("how it is shared", lambda path: self.edit(path, "type=cache,id=c", "type=cache,sharing=locked,id=c"), []),
            ("its size", lambda path: self.edit(path, "type=tmpfs,target", "type=tmpfs,size=1m,target"), ["RUN --mount=type=tmpfs"]),
        ])

    def test_secrets(self):
        with tempfile.NamedTemporaryFile("w") as secret:
            secret.write("1")
            secret.flush()
            words = ("--secret", f"id=s,src={secret.name}", "--secret", f"id=t,src={secret.name}")
            self.check({"Dockerfile": self.pinned("RUN --mount=type=secret,id=s test -e /run/secrets/s\nRUN --mount=type=secret,id=s,env=S test $S$T\nRUN : after\n")}, [
                ("its value", lambda path: pathlib.Path(secret.name).write_text("2"), []),
                ("which", lambda path: self.edit(path, "env=S", "env=T"), ["RUN --mount=type=secret,id=s,env=T", "RUN : after"]),
                ("where", lambda path: self.edit(path, "id=s test -e /run/secrets/s", "id=s,target=/s test -e /s"),
                 ["RUN --mount=type=secret,id=s,target=/s", "RUN --mount=type=secret,id=s,env=T", "RUN : after"]),
                ("its mode", lambda path: self.edit(path, "target=/s", "target=/s,mode=0444"),
                 ["RUN --mount=type=secret,id=s,target=/s,mode", "RUN --mount=type=secret,id=s,env=T", "RUN : after"]),
            ], words)

    def test_how_programs_run(self):
        with Folder({"Dockerfile": self.pinned("COPY file /file\nRUN cat /file\nRUN : two\n"), "file": ""}) as folder:
            every = ["RUN : ", "COPY file", "RUN cat"]
            for name, words, expected in [
                ("nothing", [], every),
                ("no network", ["--network=none"], every),
                ("no network again", ["--network=none"], []),
                ("the host's network", ["--network=host", "--allow=network.host"], every),
                ("the network that is usual", ["--network=default"], []),
                ("a further host", ["--add-host=other:198.51.100.1"], every),
                ("another address of it", ["--add-host=other:198.51.100.2"], []),
                ("another host", ["--add-host=third:198.51.100.2"], every),
                ("a limit", ["--ulimit=nofile=1000:1000"], every),
                ("a label", ["--label=a=b"], []),
                ("a name", ["-t=named:1"], []),
            ]:
                with self.subTest(name):
                    self.assert_ran(folder, expected, *words)
            self.edit(folder.path, "RUN : two", "RUN --network=none : two")
            self.assert_ran(folder, ["RUN --network=none : two"])
            self.edit(folder.path, "RUN --network=none : two", "RUN --security=insecure : two")
            self.assert_ran(folder, ["RUN --security=insecure : two"], "--allow=security.insecure")

    def test_contexts_with_names(self):
        def text(path, value):
            return lambda _: path.write_text(value)

        dockerfile = self.pinned("COPY f /own\nCOPY --from=more f /f\nRUN --mount=from=more,source=g,target=/g cat /g\nCOPY --from=image /etc/group /g2\n")
        with Folder({"f": "1", "g": "1"}) as other, Folder({"f": "1", "g": "1"}) as third:
            words = ("--build-context", f"more={other.path}", "--build-context", "image=docker-image://busybox")
            self.check({"Dockerfile": dockerfile, "f": "1"}, [
                ("its file", text(other.path / "f", "2"), ["COPY --from=more", "RUN --mount", "COPY --from=image"]),
                ("file that is mounted", text(other.path / "g", "2"), ["RUN --mount", "COPY --from=image"]),
                ("time", lambda _: os.utime(other.path / "f", (1, 1)), []),
                ("another file", text(other.path / "h", "2"), []),
                ("another folder with the same", lambda _: (text(third.path / "f", "2")(0), text(third.path / "g", "2")(0)), []),
            ], words)
            with Folder({"Dockerfile": dockerfile, "f": "1"}) as folder:
                self.assert_ran(folder, [], "--build-context", f"more={third.path}", "--build-context", "image=docker-image://busybox")
                text(third.path / "f", "3")(0)
                self.assert_ran(folder, ["COPY --from=more", "RUN --mount", "COPY --from=image"], "--build-context", f"more={third.path}", "--build-context",
                                "image=docker-image://busybox")

    def test_a_linked_copy_does_not_depend_on_what_it_lies_on(self):
        self.check({"Dockerfile": self.pinned("ARG A=1\nRUN : before\nCOPY --link file /file\nCOPY --link --from=busybox /etc/group /g\nRUN : after\n"), "file": "1"}, [
            ("below", ["--build-arg", "A=2"], ["RUN : before", "RUN : after"]),
            ("itself", lambda path: (path / "file").write_text("2"), ["COPY --link file", "RUN : after"]),
        ])

    def test_texts_in_a_dockerfile(self):
        self.check({"Dockerfile": self.pinned("COPY <<a <<b /texts/\nA\na\nB\nb\nRUN <<e\n: 1\ne\nRUN : after\n")}, [
            ("text of a file", lambda path: self.edit(path, "\nA\n", "\nAA\n"), ["COPY <<a", "RUN <<e", "RUN : after"]),
            ("text of a command", lambda path: self.edit(path, ": 1", ": 2"), ["RUN <<e", "RUN : after"]),
        ])

    def test_archives(self):
        def archive(path, text):
            (path / "in").write_text(text)
            with tarfile.open(path / "a.tar", "w") as tar:
                tar.add(path / "in", "in")

        with Folder({"Dockerfile": self.pinned("ADD a.tar /a/\nRUN cat /a/in\n")}) as folder:
            archive(folder.path, "1")
            self.steps(folder)
            self.assert_ran(folder, [])
            archive(folder.path, "2")
            self.assert_ran(folder, ["ADD a.tar", "RUN cat"])

    def test_what_is_downloaded(self):
        served = {"body": b"1", "etag": '"1"', "asked": []}
        lock = threading.Lock()

        def serve(listener):
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    head = b""
                    while b"\r\n\r\n" not in head:
                        more = connection.recv(65536)
                        if not more:
                            break
                        head += more
                    text = head.decode()
                    with lock:
                        served["asked"].append(text)
                        known = re.search(r"(?im)^if-none-match: (.*?)\r", text)
                        tag = served["etag"]
                        same = known and tag and tag in [each.strip() for each in known[1].split(",")]
                        body = b"" if same or text.startswith("HEAD") else served["body"]
                        line = "304 Not Modified" if same else "200 OK"
                        size = len(served["body"]) if text.startswith("HEAD") else len(body)
                        connection.sendall(f"HTTP/1.1 {line}\r\nContent-Length: {size}\r\nConnection: close\r\n".encode()
                                           + (f"ETag: {tag}\r\n".encode() if tag else b"") + b"\r\n" + body)

        listener = in_namespace(self.daemon.holder.pid, socket.socket)
        with listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(16)
            thread = threading.Thread(target=serve, args=(listener,), daemon=True)
            thread.start()
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/file"

            def serves(body, etag):
                def change(_):
                    with lock:
                        served.update(body=body, etag=etag)
                return change

            both = ["ADD http", "RUN cat"]
            try:
                self.check({"Dockerfile": self.pinned(f"ADD {url} /file\nRUN cat /file\n")}, [
                    ("the same again", serves(b"1", '"1"'), []),
                    ("another tag and the same file", serves(b"1", '"2"'), []),
                    ("another file", serves(b"2", '"3"'), both),
                    ("another file by the same tag, which only its server knows", serves(b"3", '"3"'), []),
                    ("another file without a tag", serves(b"4", ""), both),
                    ("the same file without a tag", serves(b"4", ""), []),
                ])
            finally:
                listener.shutdown(socket.SHUT_RDWR)

    def test_without_the_cache(self):
        files = {"Dockerfile": f"FROM busybox AS one\nRUN : {self.id()}\nRUN head -c 8 /dev/urandom > /r\nFROM busybox AS two\nRUN : two {self.id()}\n"
                               "FROM two\nCOPY --from=one /r /r\nRUN cat /r\n"}
        every = ["RUN : two", "RUN : ", "RUN head", "COPY --from", "RUN cat"]
        self.check(files, [
            ("all", ["--no-cache"], every),
            ("and what was made then is what is known", [], []),
            ("a stage", ["--no-cache-filter=one"], [f"RUN : {self.id()}", "RUN head", "COPY --from", "RUN cat"]),
            ("and known", [], []),
            ("a stage with the same result", ["--no-cache-filter=two"], ["RUN : two", "COPY --from", "RUN cat"]),
            ("and is known", [], []),
            ("what was pruned", lambda path: self.docker("buildx", "prune", "-af"), every),
        ])


class ByGrua(Rules, Case):
    def client(self, *words, **more):
        done = self.grua("build", "--progress=rawjson", *words, check=False, **more)
        return self.said(done)


class ByDocker(Rules if EDITS >= 1000 else CoreRules, Case):
    """Its client takes five times as long, so all of them are for the long run."""


class Attacks(Case):
    """What a cache must not be fooled by."""

    def built(self, folder, *words, daemon=None):
        """{path: contents} of what `grua build` makes of the folder, links and folders left out."""
        with tempfile.TemporaryDirectory(dir="/var/tmp") as out:
            self.grua("build", "-q", "-o", f"type=local,dest={out}", *words, str(folder.path), timeout=120)
            return {str(path.relative_to(out)): path.read_text(errors="replace") for path in pathlib.Path(out).rglob("*") if path.is_file() and not path.is_symlink()}

    def pinned(self, text):
        return f"FROM busybox AS base\nRUN : {self.id()}\n{text}"

    def test_contents_of_the_same_size_and_time(self):
        """Docker's clients say no more of a file than its size and time; `grua build` says when it was changed."""
        with Folder({"Dockerfile": "FROM scratch\nCOPY a /a\n", "a": "1"}) as folder:
            self.assertEqual(self.built(folder), {"a": "1"})
            about = (folder.path / "a").stat()
            (folder.path / "a").write_text("2")
            os.utime(folder.path / "a", ns=(about.st_atime_ns, about.st_mtime_ns))
            self.assertEqual(self.built(folder), {"a": "2"})
            # Another file that was moved there.
            (folder.path / "b").write_text("3")
            os.utime(folder.path / "b", ns=(about.st_atime_ns, about.st_mtime_ns))
            (folder.path / "b").rename(folder.path / "a")
            self.assertEqual(self.built(folder), {"a": "3"})

    def test_xattrs_that_are_gone(self):
        def xattrs(folder):
            with tempfile.TemporaryDirectory(dir="/var/tmp") as out:
                self.grua("build", "-q", "-o", f"type=tar,dest={out}/tar", str(folder.path))
                with tarfile.open(f"{out}/tar") as tar:
                    return {entry.name.rstrip("/"): key for entry in tar for key in entry.pax_headers if "xattr" in key}

        with Folder({"Dockerfile": "FROM scratch\nCOPY d /d\n", "d/e/f": "1", "d/g": "1"}) as folder:
            for name in ("d/e", "d/e/f", "d/g"):
                os.setxattr(folder.path / name, "user.a", b"1")
            key = "SCHILY.xattr.user.a"
            self.assertEqual(xattrs(folder), {"d/e": key, "d/e/f": key, "d/g": key})
            for name in ("d/e", "d/g"):
                os.removexattr(folder.path / name, "user.a")
            self.assertEqual(xattrs(folder), {"d/e/f": key})

    def test_names_of_one_file(self):
        look = "RUN [ /d/a -ef /d/b ] && echo one > /r || echo two > /r\n"
        with Folder({"Dockerfile": self.pinned(f"COPY d /d\n{look}"), "d/a": "1", "d/b": "1"}) as folder:
            self.assertEqual(self.built(folder)["r"], "two\n")
            (folder.path / "d/b").unlink()
            os.link(folder.path / "d/a", folder.path / "d/b")
            self.assertEqual(self.built(folder)["r"], "one\n")
            (folder.path / "d/b").unlink()
            (folder.path / "d/b").write_text("1")
            self.assertEqual(self.built(folder)["r"], "two\n")

    def test_a_file_that_was_copied_twice_is_two(self):
        text = "COPY d /1\nCOPY d /2\nCOPY --link d /3\nCOPY --link d /4\nRUN cp -a /1 /2 /3 /4 /x/ && echo more >> /x/1/a; for i in 2 3 4; do cat /x/$i/a; done > /r\n"
        with Folder({"Dockerfile": self.pinned(f"RUN mkdir /x\n{text}"), "d/a": "1\n"}) as folder:
            self.assertEqual(self.built(folder)["r"], "1\n1\n1\n")
            # On an image that was made of the same folder.
            self.grua("build", "-q", "-t", "twice", str(folder.path))
            (folder.path / "Dockerfile").write_text("FROM twice\nCOPY d /5\nRUN mkdir /y; cp -a /1 /5 /y/ && echo more >> /y/5/a; cat /y/1/a > /r\n")
            self.assertEqual(self.built(folder)["r"], "1\n")

    def test_two_states_of_one_folder_at_once(self):
        files = {"Dockerfile": self.pinned("COPY a /a\nRUN sleep 2; cp /a /b\n"), "a": "1"}
        with Folder(files) as folder:
            first = subprocess.Popen([BIN / "grua", "build", "--progress=plain", "-t", "first", str(folder.path)], env=self.daemon.environment(),
                                     stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            for line in first.stderr:
                if "RUN sleep" in line:
                    break
            threading.Thread(target=first.stderr.read, daemon=True).start()
            (folder.path / "a").write_text("2")
            self.assertEqual(self.built(folder)["b"], "2")
            self.assertEqual(first.wait(60), 0)
            self.assertEqual(self.out("run", "--rm", "--network", "none", "first", "cat", "/a", "/b"), "11")
            self.assertEqual(self.built(folder)["b"], "2")
            (folder.path / "a").write_text("1")
            self.assertEqual(self.built(folder)["b"], "1")

    def test_two_folders_with_the_same_name_at_once(self):
        text = self.pinned("COPY a /a\nRUN cp /a /b; sleep 0.3\n")
        with Folder({"p/Dockerfile": text, "p/a": "1"}) as one, Folder({"p/Dockerfile": text, "p/a": "2"}) as two:
            running = [(value, subprocess.Popen([BIN / "grua", "build", "-q", "-t", f"same{value}{turn}", "p"], cwd=folder.path, env=self.daemon.environment(),
                                                stdout=subprocess.DEVNULL)) for turn in range(3) for value, folder in ((1, one), (2, two))]
            for _, client in running:
                self.assertEqual(client.wait(120), 0)
            for turn in range(3):
                for value in (1, 2):
                    self.assertEqual(self.out("run", "--rm", "--network", "none", f"same{value}{turn}", "cat", "/b"), str(value))

    def test_a_cache_that_is_pruned_meanwhile(self):
        with Folder({"Dockerfile": self.pinned("COPY a /a\nRUN sleep 1; cp /a /b\nFROM base\nRUN sleep 0.5; cp /a /c\nCOPY --from=base /b /b\n"), "a": "1"}) as folder:
            for value in "121":
                (folder.path / "a").write_text(value)
                client = subprocess.Popen([BIN / "grua", "build", "-q", "-t", f"pruned{value}", str(folder.path)], env=self.daemon.environment(),
                                          stdout=subprocess.DEVNULL)
                while client.poll() is None:
                    self.grua("builder", "prune", "-af")
                    time.sleep(0.1)
                self.assertEqual(client.wait(), 0)
                self.assertEqual(self.out("run", "--rm", "--network", "none", f"pruned{value}", "cat", "/a", "/b", "/c"), value * 3)

    def test_a_gruad_that_is_killed_between(self):
        with Folder({"Dockerfile": self.pinned("COPY d /d\nRUN cp -a /d /e\n"), "d/a": "1", "d/b": "1"}) as folder:
            for value in range(4):
                (folder.path / "d/a").write_text(str(value))
                before = self.built(folder)
                self.assertEqual(before["e/a"], str(value))
                self.daemon.kill()
                (folder.path / "d/b").write_text(str(value))
                self.daemon.start()
                after = self.built(folder)
                self.assertEqual((after["e/a"], after["e/b"]), (str(value), str(value)))

    def test_caches_that_steps_mount_at_the_same_time(self):
        def run_two(sharing, command):
            """What each of two builds writes into /r."""
            text = self.pinned(f"ARG N\nRUN --mount=type=cache,id={sharing},sharing={sharing},target=/c touch /c/$N; {command}; ls /c > /r\n")
            with Folder({"Dockerfile": text}) as folder:
                words = [BIN / "grua", "build", "-q", str(folder.path)]
                running = [subprocess.Popen([*words, "-t", f"{sharing}{number}", "--build-arg", f"N={number}"], env=self.daemon.environment(),
                                            stdout=subprocess.DEVNULL) for number in (1, 2)]
                for client in running:
                    self.assertEqual(client.wait(120), 0)
            return [self.out("run", "--rm", "--network", "none", f"{sharing}{number}", "cat", "/r").split() for number in (1, 2)]

        # Each goes on when it sees the other.
        self.assertEqual(run_two("shared", "while [ $(ls /c | wc -l) != 2 ]; do sleep 0.05; done"), [["1", "2"], ["1", "2"]])
        self.assertEqual(sorted(map(len, run_two("locked", "sleep 1"))), [1, 2])

    def test_a_base_that_is_moved_meanwhile(self):
        """What the tag is when its configuration is looked at is what it is for all of the build."""
        for version in (1, 2):
            run(DOCKER, "build", "-q", "-t", f"version{version}", "-", input=f"FROM busybox\nENV VERSION={version}\nRUN echo {version} > /version\n",
                env=self.daemon.environment())
        self.docker("tag", "version1", "moving")
        ended = threading.Event()

        def move():
            connection = Connection(self.daemon.socket)
            for number in itertools.count():
                if ended.is_set():
                    return
                connection.ask("POST", f"/v1.47/images/version{1 + number % 2}/tag?repo=moving&tag=latest")

        mover = threading.Thread(target=move)
        mover.start()
        try:
            with Folder({"Dockerfile": "FROM moving\nARG N\nRUN : $N; test $(cat /version) = $VERSION\nCOPY --from=moving /version /copied\n"}) as folder:
                for number in range(25):
                    self.grua("build", "-q", "--build-arg", f"N={number}", str(folder.path))
        finally:
            ended.set()
            mover.join()

    def test_what_a_platform_runs(self):
        with Folder({"Dockerfile": "FROM scratch\nADD root.tar /\nRUN : x\n"}) as folder:
            self.docker("create", "--name", "root", "busybox")
            self.docker("export", "-o", str(folder.path / "root.tar"), "root")

            def ran(*words):
                done = self.grua("build", "--progress=rawjson", *words, str(folder.path))
                return sorted(name for name, cached in steps_of(done.stderr).items() if not cached)

            self.assertEqual(ran(), ["ADD root.tar /", "RUN : x"])
            self.assertEqual(ran("--platform=linux/386"), ["RUN : x"])
            self.assertEqual(ran("--platform=linux/386"), [])
            self.assertEqual(ran("--platform=linux/amd64"), [])


# Files that steps tell of are these, by all that a program can see of them but their times.
LOOK = "(find %s 2>/dev/null | sort | while read -r f; do stat -c '%%n %%a %%u %%g %%F %%N' \"$f\"; [ ! -f \"$f\" ] || md5sum < \"$f\"; done) >> /tmp/out; true"


# Which of them are one file.
SAME_FILES = ("RUN find /d /d2 /all /from -type f -exec stat -c '%i %n' {} + 2>/dev/null | sort -k 2 | "
              "awk '$1 in n {print n[$1], $2} !($1 in n) {n[$1] = $2}' > /tmp/links")


class Project:
    """A folder and a Dockerfile that change at random; the same number makes the same changes."""

    NAMES = ("a", "b", "d/a", "d/b", "d/e/a", "d/e/b", "d/f", "w1.conf", "w2.conf", "d/x.log", "x.log", "l", "d/l")
    FOLDERS = ("d", "d/e", "g", "d/f", "a")
    TEXTS = ("", "1\n", "2\n", "11\n", "22\n", "x" * 5000, "y" * 5000)
    MODES = (0o644, 0o600, 0o755, 0o4755, 0o444, 0o666)
    FOLDER_MODES = (0o755, 0o700, 0o1777, 0o2755)
    TARGETS = ("a", "d/a", "b", "../b", "/d/a", "d", "e", "nothing", "l", ".", "d/e")
    IGNORED = ("*.log", "d/e", "**/b", "!d/e/b", "w?.conf", "d/*", "!d/a", "l", "# nothing", "d/f/")
    BASES = ("busybox", "edit-one", "edit-two", "edit-same", "made")
    LINES = (
        "COPY . /all/", "COPY d /d", "COPY d/ /d/", "COPY d /d2", "COPY a /a", "COPY a b /two/", "COPY w*.conf /conf/", "COPY d/* /flat/",
        "COPY --link d /d", "COPY --link . /linked/", "COPY --chown=1:2 d /owned", "COPY --chown=nobody d /d", "COPY --chmod=640 a /a",
        "COPY --exclude=*.log --exclude=e d /less/", "COPY --parents d/*/a ./d/b /parents/", "COPY --parents d /parents/", "ADD d /added",
        "ADD t.tar /tar/", "COPY l /l", "COPY d/l /dl", "COPY d/e /d/e", "COPY --from=made /d /from", "COPY --from=made / /made/",
        "COPY --from=made --link /tmp/out /made-out", "COPY --from=made /d/* /from/", "COPY --from=more d /more", "COPY --from=more . /more/",
        "COPY --from=edit-one /version /version2", "RUN LOOK", "RUN rm -rf /d/a /all/d", "RUN mkdir -p /d/e && echo $WORD$E >> /d/e/new; true",
        "RUN chmod 700 /d; chown 5 /a; true", "RUN ln -f /all/a /hard || true; ln -s /d /soft || true", "RUN --mount=target=/m,source=d LOOKM",
        "RUN --mount=from=made,target=/m LOOKM", "RUN --mount=from=made,source=/d,target=/m,rw rm -rf /m/a; LOOKM",
        "RUN --mount=target=/m,rw touch /m/a /m/new; LOOKM", "RUN --mount=from=more,target=/m LOOKM",
        "RUN --mount=type=cache,target=/c echo 1 > /c/f; cat /c/f >> /cached", "RUN --mount=type=tmpfs,target=/d/t :",
        "RUN --mount=type=secret,id=s,target=/s test -e /s", "RUN cp -a /d /copied || true", "RUN mv /d /moved || true", "WORKDIR /w/d",
        "USER nobody", "USER root", "ENV E=1", "ENV E=2", "ARG WORD=x", "ARG WORD", "LABEL a=b", "CMD [\"x\"]", "RUN echo $E > /tmp/e",
        "RUN --network=none echo 1 > /tmp/n", "COPY <<t /texts/\nTEXT $E\nt", "RUN <<t\necho $WORD\nLOOK\nt", SAME_FILES)

    def __init__(self, path, random):
        self.path = path
        self.random = random
        self.tree = path / "p"
        self.more = path / "more"
        self.words = {}
        for folder in (self.tree / "d/e", self.more / "d"):
            folder.mkdir(parents=True)
        for name in ("a", "b", "d/a", "d/b", "d/e/a", "w1.conf", "x.log"):
            (self.tree / name).write_text(random.choice(self.TEXTS))
        (self.tree / "l").symlink_to("a")
        (self.tree / "d/l").symlink_to("e")
        for name in ("a", "d/a"):
            (self.more / name).write_text(random.choice(self.TEXTS))
        self.archive()
        self.stages = [["COPY d /d", "RUN LOOK"], ["COPY . /all/", "RUN LOOK", "COPY --from=made /d /from"]]
        for stage in self.stages:
            stage += random.sample(self.LINES, 3)
        self.bases = ["busybox", "busybox"]
        self.write_dockerfile()

    def archive(self):
        with tarfile.open(self.tree / "t.tar", "w") as tar:
            for name in ("d/a", "n"):
                entry = tarfile.TarInfo(name)
                entry.mode = self.random.choice(self.MODES)
                entry.mtime = 1700000000
                tar.addfile(entry)

    def write_dockerfile(self):
        lines = []
        for name, base, stage in zip(("made", "last"), self.bases, self.stages):
            # A stage does not stand on itself, nor copy from itself.
            other = "made" if name == "last" else "edit-one"
            lines.append(f"FROM {base.replace('made', other)} AS {name}\nUSER root")
            for line in stage:
                line = line.replace("=made", f"={other}").replace("LOOKM", LOOK % "/m")
                lines.append(line.replace("LOOK", LOOK % "/d /d2 /all /a /two /from /made /more /l"))
        (self.tree / "Dockerfile").write_text("\n".join(lines) + "\n")

    # What can be changed. Each says what it has done; nothing where it could not.

    def some(self, kinds="fdl", tree=None):
        tree = tree or (self.more if self.random.random() < 0.15 else self.tree)
        found = []
        for folder, folders, files in os.walk(tree):
            for name in sorted(folders + files):
                path = pathlib.Path(folder, name)
                kind = "l" if path.is_symlink() else "d" if path.is_dir() else "f" if path.is_file() else "o"
                if kind in kinds and name not in ("Dockerfile", "t.tar", ".dockerignore"):
                    found.append(path)
        found.sort()
        return self.random.choice(found) if found else None

    def clear(self, path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def place(self, names):
        """A place for something new; what was there is gone."""
        tree = self.more if self.random.random() < 0.15 else self.tree
        path = tree / self.random.choice(names)
        for parent in reversed(path.relative_to(tree).parents):
            if (tree / parent).is_symlink() or not (tree / parent).is_dir():
                self.clear(tree / parent)
            (tree / parent).mkdir(exist_ok=True)
        self.clear(path)
        return path

    def write(self):
        path = self.place(self.NAMES)
        path.write_text(self.random.choice(self.TEXTS))
        return f"write {path}"

    def write_again(self):
        path = self.some("f")
        if path:
            path.write_text(self.random.choice(self.TEXTS))
        return path and f"write again {path}"

    def write_unseen(self):
        """Of the same size and time: only the file system knows."""
        path = self.some("f")
        if not path or not path.stat().st_size:
            return None
        about = path.stat()
        data = path.read_bytes()
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
        return f"write unseen {path}"

    def touch(self):
        path = self.some("fd")
        when = self.random.choice((10 ** 8, 10 ** 9, 2 * 10 ** 9, 1733000000))
        if path:
            os.utime(path, (when, when))
        return path and f"touch {path} {when}"

    def chmod(self):
        path = self.some("fd")
        if not path:
            return None
        mode = self.random.choice(self.FOLDER_MODES if path.is_dir() else self.MODES)
        path.chmod(mode)
        return f"chmod {path} {mode:o}"

    def chown(self):
        path = self.some("fdl")
        if path:
            os.lchown(path, self.random.choice((0, 1000)), self.random.choice((0, 1000)))
        return path and f"chown {path}"

    def rename(self):
        path = self.some("fdl")
        if not path:
            return None
        aside = path.parent / ".aside"
        path.rename(aside)
        held = self.path / "held"
        aside.rename(held)
        to = self.place(self.NAMES + self.FOLDERS)
        held.rename(to)
        return f"rename {path} {to}"

    def remove(self):
        path = self.some("fdlo")
        if path:
            self.clear(path)
        return path and f"remove {path}"

    def make_folder(self):
        path = self.place(self.FOLDERS)
        path.mkdir()
        if self.random.random() < 0.7:
            (path / "a").write_text(self.random.choice(self.TEXTS))
        return f"folder {path}"

    def make_link(self):
        path = self.place(self.NAMES)
        target = self.random.choice(self.TARGETS)
        path.symlink_to(target)
        return f"link {path} {target}"

    def make_hard_link(self):
        first = self.some("f")
        if not first:
            return None
        path = self.place(self.NAMES)
        if not first.exists():
            return f"remove {path}"
        os.link(first, path)
        return f"hard link {path} {first}"

    def break_hard_link(self):
        path = self.some("f")
        if not path:
            return None
        about = path.stat()
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)
        path.chmod(about.st_mode & 0o7777)
        os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
        return f"new file {path}"

    def make_pipe(self):
        path = self.place(self.NAMES)
        os.mkfifo(path)
        return f"pipe {path}"

    def set_xattr(self):
        path = self.some("fd")
        if path:
            os.setxattr(path, self.random.choice(("user.a", "user.b", "trusted.a")), self.random.choice((b"1", b"2", b"")))
        return path and f"xattr {path}"

    def remove_xattrs(self):
        path = self.some("fd")
        if not path:
            return None
        for name in os.listxattr(path):
            os.removexattr(path, name)
        return f"no xattrs {path}"

    def make_archive(self):
        self.archive()
        return "archive"

    def ignore(self):
        lines = self.random.sample(self.IGNORED, self.random.randrange(3))
        (self.tree / ".dockerignore").write_text("".join(f"{line}\n" for line in lines))
        return f"ignore {lines}"

    def change_line(self):
        stage = self.random.choice(self.stages)
        way = self.random.choice(("swap", "replace", "insert", "remove"))
        at = self.random.randrange(len(stage)) if stage else 0
        if way == "swap" and len(stage) > 1:
            to = self.random.randrange(len(stage))
            stage[at], stage[to] = stage[to], stage[at]
        elif way == "replace" and stage:
            stage[at] = self.random.choice(self.LINES)
        elif way == "remove" and len(stage) > 2:
            del stage[at]
        elif len(stage) < 7:
            stage.insert(at, self.random.choice(self.LINES))
        else:
            return None
        self.write_dockerfile()
        return f"{way} line {at}"

    def change_base(self):
        at = self.random.randrange(2)
        self.bases[at] = self.random.choice(self.BASES)
        self.write_dockerfile()
        return f"base {at} {self.bases[at]}"

    def change_words(self):
        name, values = self.random.choice((("WORD", ("x", "y", None)), ("target", ("made", "last", None)), ("network", ("none", None)), ("secret", ("1", "2")),
                                           ("OTHER", ("1", None)), ("add-host", ("h:198.51.100.1", "h:198.51.100.2", None)), ("label", ("a=c", None))))
        self.words[name] = self.random.choice(values)
        return f"{name} {self.words[name]}"

    EDITS = ((write, 8), (write_again, 8), (write_unseen, 6), (touch, 4), (chmod, 5), (chown, 2), (rename, 7), (remove, 4), (make_folder, 4),
             (make_link, 5), (make_hard_link, 4), (break_hard_link, 3), (make_pipe, 1), (set_xattr, 4), (remove_xattrs, 2), (make_archive, 2),
             (ignore, 4), (change_line, 14), (change_base, 4), (change_words, 6))

    def edit(self):
        """One change, or several at once."""
        done = []
        while not done or self.random.random() < 0.25:
            text = self.random.choices([each for each, _ in self.EDITS], [weight for _, weight in self.EDITS])[0](self)
            if text:
                done.append(text.replace(f"{self.path}/", ""))
        return "; ".join(done)

    def repair(self, times):
        """What a build failed for is there again; after it has failed several times, whatever that was."""
        (self.tree / ".dockerignore").unlink(missing_ok=True)
        if times > 1:
            for stage in self.stages:
                if stage:
                    del stage[self.random.randrange(len(stage))]
            self.write_dockerfile()
        for name in ("a", "b", "d/a", "d/b", "d/e/a", "w1.conf"):
            path = self.tree / name
            for parent in reversed(path.relative_to(self.tree).parents):
                if (self.tree / parent).is_symlink() or not (self.tree / parent).is_dir():
                    self.clear(self.tree / parent)
                (self.tree / parent).mkdir(exist_ok=True)
            if not path.is_file():
                self.clear(path)
                path.write_text("1\n")
        for name, target in (("l", "a"), ("d/l", "e")):
            if not (self.tree / name).exists():
                self.clear(self.tree / name)
                (self.tree / name).symlink_to(target)
        if not (self.more / "d").is_dir():
            self.clear(self.more / "d")
            (self.more / "d").mkdir()

    def command(self):
        """Words of a build of what there is now."""
        words = ["--build-arg", "SOURCE_DATE_EPOCH=1000", "--build-context", f"more={self.more}"]
        for name in ("WORD", "OTHER"):
            if self.words.get(name):
                words += ["--build-arg", f"{name}={self.words[name]}"]
        for name in ("target", "network", "add-host", "label"):
            if self.words.get(name):
                words += [f"--{name}", self.words[name]]
        (self.path / "secret").write_text(self.words.get("secret") or "1")
        return [*words, "--secret", f"id=s,src={self.path / 'secret'}"]


class RandomEdits(unittest.TestCase):
    """Each state is built with what is cached, and by another gruad with neither a cache nor an earlier context."""

    @classmethod
    def setUpClass(cls):
        cls.cached, cls.fresh = Daemon(), Daemon()
        for daemon in (cls.cached, cls.fresh):
            cls.addClassCleanup(daemon.close)
        for name, text in (("edit-one", "RUN echo 1 > /version; mkdir /d; echo base > /d/base\n"), ("edit-two", "RUN echo 2 > /version\nENV E=base\n")):
            run(DOCKER, "build", "-q", "-t", name, "-", input=f"FROM busybox\n{text}", env=cls.cached.environment())
        cls.cached.docker("tag", "edit-one", "edit-same")
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            cls.cached.docker("save", "-o", f"{folder}/images", "edit-one", "edit-two", "edit-same")
            cls.fresh.docker("load", "-q", "-i", f"{folder}/images")

    def build(self, daemon, tree, *words):
        """The image's ID, or why there is none. Times are no part of what is compared."""
        done = run(BIN / "grua", "build", "-q", "-o", "type=image,rewrite-timestamp=true", *words, str(tree), env=daemon.environment(), check=False, timeout=120)
        if done.returncode == 0:
            return done.stdout.strip()
        return done.stderr.strip().splitlines()[-1]

    def test_each_state_is_built_as_without_a_cache(self):
        if SEED:
            return self.live(SEED, EDITS_OF_A_LIFE)
        begin = f"{time.time_ns():x}"
        failed = done = 0
        for life in range((EDITS + EDITS_OF_A_LIFE - 1) // EDITS_OF_A_LIFE):
            failed += self.live(f"{begin}-{life}", min(EDITS_OF_A_LIFE, EDITS - done))
            done = min(EDITS, done + EDITS_OF_A_LIFE)
            if life % 2 == 1:
                # What nobody asks for any more takes room; the cached one forgets a part, as a collection does.
                self.fresh.grua("builder", "prune", "-af")
                self.fresh.docker("image", "prune", "-f")
                self.cached.docker("image", "prune", "-f")
        self.assertLess(failed, done / 2)

    def live(self, seed, count):
        """How many states could not be built, by either."""
        failed = times = 0
        with tempfile.TemporaryDirectory(prefix="grua-edits-", dir="/var/tmp") as folder:
            random = Random(seed)
            project = Project(pathlib.Path(folder), random)
            edits = []
            for number in range(count):
                edits.append(project.edit())
                words = project.command()
                self.disturb(random, project, words)
                one = self.build(self.cached, project.tree, *words)
                # By another name it is another folder, of which nothing is kept.
                there = project.path / f"p{number}"
                project.tree.rename(there)
                other = self.build(self.fresh, there, "--no-cache", *words)
                there.rename(project.tree)
                if not one.startswith("sha256:") and not other.startswith("sha256:"):
                    # Of several reasons the first is told.
                    failed += 1
                    times += 1
                    project.repair(times)
                    continue
                times = 0
                difference = one != other and self.difference(one, other)
                if difference:
                    self.fail(f"GRUA_EDITS_SEED={seed}, edit {number}: {edits[-1]}\nwith the cache {one}\nwithout {other}\n{difference}\n"
                              f"{' '.join(words)}\nof {(project.tree / 'Dockerfile').read_text()}\nafter:\n" + "\n".join(edits[-8:]))
        return failed

    def disturb(self, random, project, words):
        """What must not be seen in what is built."""
        chance = random.random()
        if chance < 0.01:
            self.cached.kill()
            self.cached.start()
        elif chance < 0.02:
            self.cached.grua("builder", "prune", "-f", "--filter", "unused-for=2s")
        elif chance < 0.03:
            client = subprocess.Popen([BIN / "grua", "build", "-q", *words, str(project.tree)], env=self.cached.environment(),
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(random.random() * 0.4)
            if random.random() < 0.5:
                client.kill()
            elif random.random() < 0.5:
                self.cached.grua("builder", "prune", "-af")
            else:
                self.cached.kill()
                self.cached.start()
            client.wait()

    def difference(self, one, other):
        """What is in one image and not in the other. What a step writes again as it was is in its layer where only its time is another: that says
        nothing, so it is the tree that is compared, and not its layers."""
        if not (one.startswith("sha256:") and other.startswith("sha256:")):
            return "only one could be built"
        configs, trees = [], []
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            for daemon, image in ((self.cached, one), (self.fresh, other)):
                daemon.docker("save", "-o", f"{folder}/image", image)
                with tarfile.open(f"{folder}/image") as tar:
                    manifest = json.load(tar.extractfile("manifest.json"))[0]
                    config = json.load(tar.extractfile(manifest["Config"]))
                    del config["rootfs"]
                    for each in config["history"]:
                        each.pop("empty_layer", None)
                    configs.append(config)
                    trees.append(tree_of(tar.extractfile(name) for name in manifest["Layers"]))
        out = []
        for what, left, right in (("config", *configs), ("tree", *trees)):
            for key in sorted({*left, *right}):
                if left.get(key) != right.get(key):
                    out.append(f"{what}: {key}: {left.get(key)} and {right.get(key)}")
        return "\n".join(out[:30])


def tree_of(layers):
    """{path: all that is said of it but its time} of layers, the lowest first."""
    tree = {}

    def remove(path, itself=True):
        for each in [each for each in tree if each.startswith(f"{path}/") or (itself and each == path)]:
            del tree[each]

    for layer in layers:
        with tarfile.open(fileobj=layer) as tar:
            entries = [(entry, tar.extractfile(entry).read() if entry.isreg() else b"") for entry in tar]
        for entry, _ in entries:
            folder, _, name = entry.name.rpartition("/")
            if name == ".wh..wh..opq":
                remove(folder, False)
            elif name.startswith(".wh."):
                remove(f"{folder}/{name[4:]}".lstrip("/"))
        for entry, data in entries:
            if entry.name.rpartition("/")[2].startswith(".wh."):
                continue
            if not entry.isdir():
                remove(entry.name)
            xattrs = {key: value for key, value in entry.pax_headers.items() if "xattr" in key}
            tree[entry.name] = (entry.type, oct(entry.mode), entry.uid, entry.gid, entry.linkname, entry.devmajor, entry.devminor, xattrs, data)
    return tree


if __name__ == "__main__":
    unittest.main()
