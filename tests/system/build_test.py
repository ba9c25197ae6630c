"""Builds by Docker's own clients: docker build, buildx, compose and bake, with images that run afterwards."""

import json
import os
import pathlib
import signal
import subprocess
import tempfile
import unittest

from harness import DOCKER, Case, wait_until


class Folder:
    """A build's context."""

    def __init__(self, files):
        self._temporary = tempfile.TemporaryDirectory(prefix="grua-build-", dir="/var/tmp")
        self.path = pathlib.Path(self._temporary.name)
        for name, text in files.items():
            self.write(name, text)

    def write(self, name, text, mode=None):
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        if mode is not None:
            path.chmod(mode)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._temporary.cleanup()


class Builds(Case):
    def build(self, files, *words, tag="made", **more):
        """What `docker build` says; the image is `tag`."""
        with Folder(files) as folder:
            done = self.docker("build", "--progress", "plain", "-t", tag, *words, str(folder.path), **more)
            return done.stdout + done.stderr

    def run_made(self, *words, tag="made"):
        return self.out("run", "--rm", "--network", "none", tag, *words)

    def test_files_and_programs_become_an_image_that_runs(self):
        said = self.build({"Dockerfile": "FROM busybox\nCOPY a.txt /a.txt\nRUN cat /a.txt > /b.txt && echo done\nCMD cat /b.txt\n", "a.txt": "hello\n"})
        self.assertIn("[2/3] COPY a.txt /a.txt", said)
        self.assertIn("[3/3] RUN cat /a.txt > /b.txt && echo done", said)
        self.assertIn("naming to docker.io/library/made", said)
        self.assertEqual(self.run_made(), "hello")

    def test_what_is_known_is_not_done_again(self):
        with Folder({"Dockerfile": "FROM busybox\nCOPY a.txt /\nRUN cat /a.txt > /c\nRUN head -c 9 /dev/urandom | base64 > /r\n", "a.txt": "1"}) as folder:
            def build():
                done = self.docker("build", "--progress", "plain", "-t", "cached", str(folder.path))
                return done.stderr, self.out("run", "--rm", "--network", "none", "cached", "cat", "/r")
            _, first = build()
            said, second = build()
            self.assertEqual(first, second)
            self.assertEqual(said.count(" CACHED\n"), 4)
            # What is not copied does not count, and what is touched does not either.
            folder.write("other", "x")
            os.utime(folder.path / "a.txt", (1, 1))
            _, third = build()
            self.assertEqual(first, third)
            folder.write("a.txt", "2")
            said, fourth = build()
            self.assertNotEqual(first, fourth)
            self.assertEqual(said.count(" CACHED\n"), 1)

    def test_a_program_that_fails_fails_the_build_with_its_place(self):
        said = self.build({"Dockerfile": "FROM busybox\nRUN echo bad; exit 3\n"}, check=False)
        self.assertIn('process "/bin/sh -c echo bad; exit 3" did not complete successfully: exit code: 3', said)
        self.assertIn("Dockerfile:2", said)
        self.assertIn(">>> RUN echo bad; exit 3", said)

    def test_several_stages_are_built_from_one_another(self):
        self.build({"Dockerfile": "FROM busybox AS one\nRUN mkdir /d && echo x > /d/f\nFROM busybox AS two\nRUN echo unneeded && false\n"
                                  "FROM scratch\nCOPY --from=one /d /e\nCOPY --from=busybox /bin/busybox /bin/cat\nCMD [\"/bin/cat\", \"/e/f\"]\n"})
        self.assertEqual(self.run_made(), "x")

    def test_arguments_labels_targets_and_users(self):
        self.build({"Dockerfile": "ARG base=nothing\nFROM ${base} AS one\nARG word=default\nRUN echo me:x:1234:1234::/:/bin/sh >> /etc/passwd && echo $word > /w\nUSER me\n"
                                  "RUN id -un > /tmp/who\nFROM one AS two\nRUN false\n"},
                   "--build-arg", "base=busybox", "--build-arg", "word=said", "--label", "a=b", "--target", "one")
        self.assertEqual(self.run_made("cat", "/w", "/tmp/who"), "said\nme")
        self.assertEqual(self.out("inspect", "-f", "{{index .Config.Labels \"a\"}} {{.Config.User}}", "made"), "b me")

    def test_the_network_of_steps(self):
        self.build({"Dockerfile": "FROM busybox\nRUN ip -o link | wc -l > /with\nRUN --network=none ip -o link | wc -l > /without\n"
                                  "RUN grep -c 10.1.1.1 /etc/hosts > /hosts\n"}, "--add-host", "other:10.1.1.1")
        self.assertEqual(self.run_made("cat", "/with", "/without", "/hosts"), "2\n1\n1")

    def test_mounts_of_steps(self):
        with tempfile.NamedTemporaryFile("w", suffix=".secret") as secret:
            secret.write("hidden")
            secret.flush()
            files = {"Dockerfile": "FROM busybox AS base\nRUN mkdir /given && echo g > /given/f\nFROM busybox\n"
                                   "RUN --mount=type=secret,id=s cat /run/secrets/s | wc -c > /size\n"
                                   "RUN --mount=type=secret,id=s,env=S echo $S | wc -c >> /size\n"
                                   "RUN --mount=type=bind,from=base,source=/given,target=/in cat /in/f > /f && ! touch /in/g\n"
                                   "RUN --mount=type=bind,target=/context cat /context/c >> /f\n"
                                   "RUN --mount=type=tmpfs,target=/t touch /t/x\n"
                                   "RUN --mount=type=cache,target=/cache date +%N >> /cache/runs && wc -l < /cache/runs > /runs\n", "c": "c\n"}
            self.build(files, "--secret", f"id=s,src={secret.name}")
            self.assertEqual(self.run_made("cat", "/size", "/f", "/runs"), "6\n7\ng\nc\n1")
            self.build(files, "--secret", f"id=s,src={secret.name}", "--no-cache")
            self.assertEqual(self.run_made("cat", "/runs"), "2")
            # Neither what was mounted nor where is left.
            self.assertEqual(self.run_made("sh", "-c", "ls -d /in /context /cache /t /run/secrets 2>/dev/null; true"), "")
        self.assertNotIn("hidden", self.out("history", "--no-trunc", "made"))

    def test_what_dockerignore_says_stays_away(self):
        self.build({"Dockerfile": "FROM busybox\nCOPY . /all/\n", ".dockerignore": "*.log\n!keep.log\n", "a.log": "", "keep.log": "", "b": ""})
        self.assertEqual(self.run_made("ls", "/all").split(), ["Dockerfile", "b", "keep.log"])

    def test_contexts_with_names(self):
        with Folder({"f": "other\n"}) as other:
            self.build({"Dockerfile": "FROM base\nCOPY --from=more /f /f\n"}, "--build-context", f"more={other.path}", "--build-context", "base=docker-image://busybox")
        self.assertEqual(self.run_made("cat", "/f"), "other")

    def test_from_standard_input(self):
        done = self.docker("build", "-q", "-t", "piped", "-", input="FROM busybox\nRUN echo x > /x\n")
        self.assertTrue(done.stdout.startswith("sha256:"), done.stdout)
        # What is printed is the image's ID.
        self.assertEqual(self.run_made("cat", "/x", tag=done.stdout.strip()), "x")
        self.assertEqual(self.run_made("cat", "/x", tag="piped"), "x")

    def test_many_at_once(self):
        with Folder({"Dockerfile": "FROM busybox\nARG n\nRUN sleep 0.1; echo $n > /n\n"}) as folder:
            running = [subprocess.Popen([DOCKER, "build", "-q", "-t", f"many{number}", "--build-arg", f"n={number}", str(folder.path)],
                                        env=self.daemon.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                       for number in range(20)]
            for number, each in enumerate(running):
                said, _ = each.communicate(timeout=120)
                self.assertEqual(each.returncode, 0, said)
        for number in (0, 7, 19):
            self.assertEqual(self.run_made("cat", "/n", tag=f"many{number}"), str(number))

    def test_who_leaves_ends_what_runs(self):
        with Folder({"Dockerfile": "FROM busybox\nRUN sleep 987\n"}) as folder:
            client = subprocess.Popen([DOCKER, "build", "-q", str(folder.path)], env=self.daemon.environment(),
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)

            def sleeps():
                return subprocess.run(["pgrep", "-f", "^sleep 987$"], stdout=subprocess.PIPE, check=False).stdout.split()

            wait_until("the step runs", sleeps, 30)
            os.killpg(client.pid, signal.SIGKILL)
            client.wait()
            wait_until("the step has ended", lambda: not sleeps(), 15)

    def test_a_step_does_not_outlive_its_gruad(self):
        with Folder({"Dockerfile": "FROM busybox\nRUN sleep 986\n"}) as folder:
            client = subprocess.Popen([DOCKER, "build", "-q", str(folder.path)], env=self.daemon.environment(),
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

            def sleeps():
                return subprocess.run(["pgrep", "-f", "^sleep 986$"], stdout=subprocess.PIPE, check=False).stdout.split()

            wait_until("the step runs", sleeps, 30)
            self.daemon.kill()
            client.wait()
            self.daemon.start()
            wait_until("the step has ended", lambda: not sleeps(), 15)
            (folder.path / "Dockerfile").write_text("FROM busybox\nRUN echo again > /x\n")
            self.docker("build", "-q", "-t", "again", str(folder.path))
            self.assertEqual(self.run_made("cat", "/x", tag="again"), "again")


class Bake(Case):
    def test_targets_that_stand_on_one_another(self):
        bake = {"group": {"default": {"targets": ["top"]}},
                "target": {"base": {"dockerfile-inline": "FROM busybox\nRUN echo base > /b\nENV E=1\n"},
                           "top": {"dockerfile-inline": "FROM base\nRUN cat /b > /c && echo $E >> /c\n", "contexts": {"base": "target:base"},
                                   "tags": ["baked"]}}}
        with Folder({"docker-bake.json": json.dumps(bake)}) as folder:
            self.docker("buildx", "bake", "--progress", "plain", cwd=folder.path)
        self.assertEqual(self.out("run", "--rm", "--network", "none", "baked", "cat", "/c"), "base\n1")

    def test_compose_builds(self):
        compose = "services:\n  web:\n    build: .\n    image: composed\n    network_mode: none\n"
        with Folder({"compose.yaml": compose, "Dockerfile": "FROM busybox\nRUN echo c > /c\n"}) as folder:
            self.docker("compose", "-p", "gruabuild", "build", cwd=folder.path)
        self.assertEqual(self.out("run", "--rm", "--network", "none", "composed", "cat", "/c"), "c")


if __name__ == "__main__":
    unittest.main()
