"""What a newcomer types, in folders with unusual names: quickstart, scripts/build and the virtual machine of ./test."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

from harness import ENV, PATIENCE, REPOSITORY, Terminal, run, wait_until


def write_program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


class Scripts(unittest.TestCase):
    def setUp(self):
        self.tree = pathlib.Path(tempfile.mkdtemp(prefix="grua clone $x-", dir="/tmp"))
        self.addCleanup(shutil.rmtree, self.tree)

    # F
    def test_a_virtual_machine_sees_a_tree_below_tmp(self):
        """It has a /tmp of its own; what is written there is not the host's."""
        (self.tree / "word").write_text("seen\n")
        done = run(ENV / "cgroup2-run.sh", "--ro", "--timeout", int(100 * PATIENCE), "--", "sh", "-c", "cat word && echo changed > word && cat word && pwd",
                   cwd=self.tree, timeout=120)
        self.assertEqual(done.stdout, f"seen\nchanged\n{self.tree}\n")
        self.assertEqual((self.tree / "word").read_text(), "seen\n")

    # F
    def test_the_next_steps_work_from_any_folder(self):
        shutil.copy(REPOSITORY / "quickstart", self.tree)
        write_program(self.tree / "scripts/setup", "#!/bin/sh\n")
        write_program(self.tree / "scripts/build", "#!/bin/sh\n")
        write_program(self.tree / "build/release/bin/grua", "#!/bin/sh\necho grua \"$1\"\n")
        elsewhere = self.tree / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "link").symlink_to(self.tree / "quickstart")
        said = run(elsewhere / "link", cwd=elsewhere).stdout
        steps = said.partition("Try next:")[2].splitlines()
        export = next(line for line in steps if line.strip().startswith("export"))
        for shell in ("bash", "dash"):
            with self.subTest(shell):
                script = f"PATH='/usr/bin:/bin:/with a blank'\n{export}\ngrua logs\necho \"$PATH\"\n"
                done = run(shell, "-c", script, cwd="/")
                self.assertEqual(done.stdout, f"grua logs\n{self.tree}/build/release/bin:/usr/bin:/bin:/with a blank\n")

    def fake_build(self):
        """scripts/build with a ninja whose output is fed by the test; how it is started."""
        (self.tree / "scripts").mkdir()
        shutil.copy(REPOSITORY / "scripts/build", self.tree / "scripts")
        (self.tree / "build/debug").mkdir(parents=True)
        (self.tree / "build/debug/build.ninja").touch()
        self.feed = self.tree / "feed"
        os.mkfifo(self.feed)
        write_program(self.tree / "tools/ninja", f"#!/bin/sh\nexec cat '{self.feed}'\n")
        return [str(self.tree / "scripts/build"), "debug"], {**os.environ, "PATH": f"{self.tree}/tools:{os.environ['PATH']}"}

    def test_a_build_moves_on_a_terminal(self):
        words, environment = self.fake_build()
        terminal = Terminal(words, environment)
        with open(self.feed, "w", buffering=1) as feed:
            feed.write("[7/41] Building\n")
            terminal.expect(r"\r\x1b\[Kbuild: debug: 7 of 41, \d+ s", 20)
            feed.write("[41/41] Linking\n")
            terminal.expect(r"41 of 41", 20)
        terminal.expect(r"\r\x1b\[Kbuild: debug in \d+ s", 20)
        self.assertEqual(terminal.wait(), 0)
        self.assertEqual((self.tree / "build/debug.log").read_text().splitlines()[-1], "[41/41] Linking")

    def test_a_build_without_a_terminal_says_each_tenth(self):
        words, environment = self.fake_build()
        with open(self.tree / "said", "w+b") as said:
            building = subprocess.Popen(words, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
            lines = lambda: (self.tree / "said").read_text().splitlines()
            with open(self.feed, "w", buffering=1) as feed:
                for number in (10, 20):
                    # Its clock has seconds, so the line comes with one of the next that ninja writes.
                    wait_until(f"{number} % is said", lambda: feed.write(f"[{number}/100] Building\n") and len(lines()) == number / 10, 20)
            self.assertEqual(building.wait(20 * PATIENCE), 0)
        self.assertRegex(lines()[0], r"^build: debug: 10 of 100, \d+ s$")
        self.assertRegex(lines()[1], r"^build: debug: 20 of 100, \d+ s$")
        self.assertRegex(lines()[2], r"^build: debug in \d+ s$")
        self.assertEqual(len(lines()), 3)


if __name__ == "__main__":
    unittest.main()
