"""grua build and grua builder: what grua's own command line says and makes, with the engine as it is."""

import json
import os
import pathlib
import subprocess
import tarfile
import tempfile
import unittest

from build_test import Folder
from harness import BIN, Case, Terminal, run

FILES = {"Dockerfile": "FROM busybox\nARG WORD=one\nCOPY a.txt /a.txt\nRUN echo $WORD > /w && cat /a.txt > /b.txt && echo told\nCMD cat /w /b.txt\n",
         "a.txt": "hello\n"}


class Build(Case):
    def build(self, folder, *words, **more):
        return self.grua("build", *words, folder.path, **more)

    def run_made(self, *words, tag="made"):
        return self.out("run", "--rm", "--network", "none", tag, *words)

    def test_an_image_that_runs(self):
        with Folder(FILES) as folder:
            said = self.build(folder, "--progress", "plain", "-t", "made", "--build-arg", "WORD=said").stderr
        self.assertIn("[2/3] COPY a.txt /a.txt", said)
        self.assertRegex(said, r"(?m)^#\d+ \d+\.\d+ told$")
        self.assertEqual(self.run_made(), "said\nhello")

    def test_all_that_is_shown(self):
        with Folder(FILES) as folder:
            quiet = self.build(folder, "-q").stdout.strip()
            self.assertRegex(quiet, "^sha256:[0-9a-f]{64}$")
            raw = [json.loads(line) for line in self.build(folder, "--progress", "rawjson").stderr.splitlines()]
            self.assertIn("[2/3] COPY a.txt /a.txt", {each["name"] for line in raw for each in line.get("vertexes", [])})
            terminal = Terminal([str(BIN / "grua"), "build", "--no-cache", "-t", "made", str(folder.path)], self.daemon.environment(), columns=120)
            terminal.expect("RUN echo", 60)
            self.assertEqual(terminal.wait(60), 0)
            self.assertIn("Check complete", self.build(folder, "--check", check=False).stdout)
            self.assertIn("WORD", self.build(folder, "--call", "outline").stdout)

    def test_where_it_goes(self):
        with Folder(FILES) as folder, tempfile.TemporaryDirectory(dir="/var/tmp") as out:
            self.build(folder, "-o", f"{out}/files")
            self.assertEqual(pathlib.Path(out, "files/b.txt").read_text(), "hello\n")
            self.build(folder, "-o", f"type=tar,dest={out}/files.tar")
            with tarfile.open(f"{out}/files.tar") as tar:
                self.assertEqual(tar.extractfile("b.txt").read(), b"hello\n")
            self.build(folder, "-t", "made:2", "--iidfile", f"{out}/id", "--metadata-file", f"{out}/metadata")
            self.assertEqual(pathlib.Path(out, "id").read_text(), self.daemon.inspect("made:2")["Id"])
            self.assertEqual(json.loads(pathlib.Path(out, "metadata").read_text())["image.name"], "docker.io/library/made:2")

    def test_secrets_contexts_and_standard_input(self):
        with Folder({"f": "other\n"}) as other, Folder({"Dockerfile": "FROM base\nCOPY --from=more f /f\nRUN --mount=type=secret,id=s wc -c < /run/secrets/s > /size\n"}) as folder:
            other.write("secret", "hidden")
            self.build(folder, "-t", "made", "--build-context", f"more={other.path}", "--build-context", "base=docker-image://busybox", "--secret",
                       f"id=s,src={other.path}/secret")
        self.assertEqual(self.run_made("cat", "/f", "/size"), "other\n6")
        done = subprocess.run([BIN / "grua", "build", "-q", "-t", "piped", "-"], env=self.daemon.environment(), input=b"FROM busybox\nRUN echo x > /x\n",
                              capture_output=True, check=True)
        self.assertTrue(done.stdout.startswith(b"sha256:"))
        self.assertEqual(self.run_made("cat", "/x", tag="piped"), "x")

    def test_what_fails(self):
        with Folder({"Dockerfile": "FROM busybox\nRUN echo bad; exit 3\n"}) as folder:
            done = self.build(folder, "--progress", "plain", check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("exit code: 3", done.stderr)
        self.assertIn(">>> RUN echo bad; exit 3", done.stderr)

    def test_the_cache(self):
        with Folder(FILES) as folder:
            self.build(folder, "-q")
            self.assertEqual(self.build(folder, "--progress", "plain").stderr.count(" CACHED\n"), 3)
        self.assertRegex(self.grua("builder", "du").stdout, r"Reclaimable:\s+")
        self.assertIn("COPY a.txt", self.grua("builder", "du", "--verbose").stdout)
        self.assertRegex(self.grua("builder", "prune", "-af").stdout, r"Total:\s+")
        self.assertNotIn("COPY a.txt", self.grua("builder", "du", "--verbose").stdout)


class History(Case):
    def setUp(self):
        self.grua("builder", "history", "rm", "--all")
        with Folder(FILES) as folder:
            self.grua("build", "-q", "--no-cache", "-t", "recorded", "--build-arg", "WORD=this", folder.path)
            folder.write("Dockerfile", "FROM busybox\nRUN head -c 30000000 /dev/zero > /tmp/z; sha256sum /tmp/z; exit 5\n")
            self.grua("build", "-q", folder.path, check=False)
        self.bad, self.good = self.grua("builder", "history", "ls", "-q").stdout.split()

    def test_ls(self):
        lines = self.grua("builder", "history", "ls").stdout.splitlines()
        self.assertEqual(lines[0].split(), ["BUILD", "ID", "NAME", "STATUS", "CREATED", "AT", "DURATION"])
        self.assertRegex(lines[1], rf"^{self.bad}\s+Dockerfile\s+Error\s.* ago\s+\d+\.\ds$")
        self.assertRegex(lines[2], rf"^{self.good}\s+recorded\s+Completed\s")
        self.assertEqual(self.grua("builder", "history", "ls", "-q", "--filter", "status=error").stdout, self.bad + "\n")
        self.assertEqual(self.grua("builder", "history", "ls", "-q", "--filter", f"ref={self.good}").stdout, self.good + "\n")
        self.assertEqual(self.grua("builder", "history", "ls", "--format", "{{.Status}}").stdout, "Error\nCompleted\n")

    def test_inspect(self):
        said = self.grua("builder", "history", "inspect", self.good[:10]).stdout
        self.assertRegex(said, r"Status:\s+Completed\n")
        self.assertRegex(said, r"BUILD ARG\s+VALUE\nWORD\s+this\n")
        self.assertRegex(said, r"(?m)^TIME\s+CPU\s+PEAK MEMORY\s+LAYER\s+STEP$")
        # The newest, where none is named.
        bad = self.grua("builder", "history", "inspect").stdout
        self.assertRegex(bad, r"Status:\s+Error\n")
        self.assertIn("exit code: 5", bad)

    def test_what_steps_have_used(self):
        def steps(build):
            return {each["Name"].partition("] ")[2].split()[0]: each
                    for each in json.loads(self.grua("builder", "history", "inspect", "--format", "{{json .Steps}}", build).stdout) if "]" in each["Name"]}
        run = steps(self.good)["RUN"]
        self.assertEqual(run["LayerBytes"], len("this\n") + len("hello\n"))
        self.assertGreater(run["PeakMemory"], 4096)
        self.assertLess(run["CPUSeconds"], 60)
        failed = steps(self.bad)["RUN"]
        self.assertGreater(failed["CPUSeconds"], 0.01)
        # The file's pages are the cgroup's.
        self.assertGreater(failed["PeakMemory"], 30_000_000)
        self.assertNotIn("CPUSeconds", steps(self.good)["COPY"])

    def test_logs_and_rm(self):
        self.assertIn("told", self.grua("builder", "history", "logs", self.good).stdout)
        raw = self.grua("builder", "history", "logs", "--progress", "rawjson", self.bad).stdout
        self.assertIn("exit code: 5", json.dumps([json.loads(line) for line in raw.splitlines()]))
        self.grua("builder", "history", "rm", self.bad)
        self.assertEqual(self.grua("builder", "history", "ls", "-q").stdout, self.good + "\n")
        self.assertIn("there is no build", self.grua("builder", "history", "inspect", self.bad, check=False).stderr)
        self.grua("builder", "history", "rm", "-a")
        self.assertEqual(self.grua("builder", "history", "ls", "-q").stdout, "")

    def test_the_words_are_completed_and_explained(self):
        self.assertIn("history\t", self.grua("__complete", "--", "builder", "").stdout)
        self.assertEqual({line.split("\t")[0] for line in self.grua("__complete", "--", "builder", "history", "").stdout.splitlines()},
                         {"ls", "list", "inspect", "logs", "rm"})
        self.assertIn("Usage:  grua builder history COMMAND", self.grua("builder", "history", "--help").stdout)
        self.assertIn("grua builder history ls", self.grua("builder", "history", "lst", check=False).stderr)


class Why(Case):
    """Each change of a build, and what is said of it."""

    def why(self, folder, *words):
        return self.grua("build", "--progress", "quiet", "--why", *words, folder.path).stdout

    def test_what_changed(self):
        self.grua("builder", "prune", "-af")
        with Folder(FILES) as folder:
            self.assertIn("No earlier build", self.why(folder))
            self.assertIn("All steps were in the cache.", self.why(folder))
            folder.write("a.txt", "hello, world\n")
            said = self.why(folder)
            self.assertRegex(said, r"\[2/3\] COPY a.txt /a.txt\n    File a.txt has changed: was 6B [0-9a-f]{12} and is 13B [0-9a-f]{12} now\.\n")
            self.assertRegex(said, r"\[3/3\] RUN .*\n    It stands on \[2/3\] COPY a.txt /a.txt, which was done again\.\n")
            said = self.why(folder, "--build-arg", "WORD=two")
            self.assertNotIn("COPY", said)
            self.assertRegex(said, r'\[3/3\] RUN .*\n    Variable WORD was "one" and is "two" now\.\n')
            (folder.path / "a.txt").chmod(0o600)
            self.assertRegex(self.grua("build", "--progress", "quiet", "--why=2/3", folder.path).stdout,
                             r"\[2/3\] COPY a.txt /a.txt\n    File a.txt has changed: its mode was 0644 and is 0600 now\.\n$")
            self.assertIn("--no-cache", self.why(folder, "--no-cache"))

    def test_the_base(self):
        with Folder({"Dockerfile": "FROM based\nRUN echo x > /x\n"}) as folder:
            for word in ("one", "two"):
                self.docker("build", "-q", "-t", "based", "-", input=f"FROM busybox\nLABEL w={word}\nRUN echo {word} > /base\n")
                said = self.why(folder)
            self.assertRegex(said, r'The image docker.io/library/based:latest was "sha256:[0-9a-f]{64}" and is "sha256:[0-9a-f]{64}" now\.\n')
            self.assertIn("It stands on [1/2] FROM docker.io/library/based:latest, which was done again.", said)

    def test_a_build_of_dockers_client_is_explained_afterwards(self):
        with Folder(FILES) as folder:
            self.docker("build", "-q", folder.path)
            folder.write("a.txt", "other\n")
            self.docker("build", "-q", folder.path)
        said = self.grua("builder", "history", "inspect", "--why=COPY").stdout
        self.assertRegex(said, r"^\[2/3\] COPY a.txt /a.txt\n    File a.txt has changed: .*\.\n$")


class Reproducible(Case):
    def test_the_same_files_make_the_same_image(self):
        made = []
        for name in ("one", "two"):
            with Folder(FILES) as folder:
                self.grua("build", "-q", "--no-cache", "--reproducible", "-t", name, folder.path)
            made.append(self.daemon.inspect(name))
        self.assertEqual(made[0]["Id"], made[1]["Id"])
        self.assertEqual(made[0]["Created"], "1970-01-01T00:00:00Z")
        with Folder(FILES) as folder:
            git = ["git", "-C", folder.path, "-c", "user.name=t", "-c", "user.email=t@t"]
            run(*git, "init", "-q")
            run(*git, "add", ".")
            run(*git, "commit", "-q", "-m", "all", env={**os.environ, "GIT_COMMITTER_DATE": "2001-02-03T04:05:06Z"})
            self.grua("build", "-q", "--reproducible", "-t", "dated", folder.path)
        self.assertEqual(self.daemon.inspect("dated")["Created"], "2001-02-03T04:05:06Z")

    def test_what_differs_is_told(self):
        with Folder(FILES) as folder:
            self.assertEqual(self.grua("build", "--progress", "quiet", "--reproducible=check", "-t", "same", folder.path).stdout.splitlines()[1:],
                             ["Both builds have made the same."])
            folder.write("Dockerfile", "FROM busybox\nRUN echo same > /same\nRUN head -c 9 /dev/urandom > /random && echo x > /x\nCOPY a.txt /\n")
            done = self.grua("build", "--progress", "quiet", "--reproducible=check", folder.path, check=False)
        self.assertEqual(done.returncode, 1)
        said = done.stdout.split("\n", 1)[1]
        self.assertRegex(said, r"^The two builds have not made the same\.\nlinux/amd64: RUN /bin/sh -c head -c 9 [^\n]*\n    /random: [^\n]*9B [0-9a-f]{12}; "
                               r"the second time [^\n]*9B [0-9a-f]{12}\.\n$")


if __name__ == "__main__":
    unittest.main()
