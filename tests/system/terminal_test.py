"""Terminals: a shell driven as a person would, by the docker CLI and by grua."""

from harness import BIN, Case, wait_until


class DockerCli(Case):
    program = None

    def shell(self, *options):
        terminal = self.daemon.spawn("run", "-it", "--name", "tt", *options, "busybox", "sh", program=self.program)
        terminal.expect("/ # ")
        return terminal

    def test_prompt_input_and_exit_status(self):
        terminal = self.shell("--rm")
        terminal.send("tty; echo $((6 * 7))\r")
        terminal.expect("/dev/pts/0")
        terminal.expect("42")
        terminal.expect("/ # ")
        terminal.send("exit 3\r")
        self.assertEqual(terminal.wait(), 3)

    def test_interrupt_reaches_the_program_and_not_the_client(self):
        terminal = self.shell("--rm")
        terminal.send("sleep 1000\r")
        terminal.expect("sleep 1000")
        wait_until("the program runs", lambda: "sleep" in self.docker("top", "tt").stdout)
        terminal.send("\x03")
        terminal.expect("/ # ")
        terminal.send("echo still-here\r")
        terminal.expect("still-here\r\n")
        terminal.send("exit\r")
        terminal.wait()

    def test_resize(self):
        terminal = self.shell("--rm")
        # The docker CLI asks for the size once more when the program has started; what changes before that is not told.
        rows = [50]

        def resized():
            terminal.resize(rows[-1], 132)
            terminal.send("stty size\r")
            found = terminal.expect(r"(\d+ \d+)\r\n").group(1) == f"{rows[-1]} 132"
            rows.append(rows[-1] + 1)
            return found

        wait_until("the new size", resized)
        terminal.send("exit\r")
        terminal.wait()

    def test_detach_and_attach(self):
        terminal = self.shell()
        terminal.send("x=kept\r")
        terminal.expect("/ # ")
        terminal.send("\x10\x11")
        self.assertEqual(terminal.wait(), 0)
        self.assertEqual(self.out("inspect", "--format", "{{.State.Running}}", "tt"), "true")
        again = self.daemon.spawn("attach", "tt", program=self.program)
        again.send("\recho $x\r")
        again.expect("kept")
        again.send("exit 6\r")
        self.assertEqual(again.wait(), 6)

    def test_exec_on_a_terminal(self):
        self.docker("run", "-d", "--name", "tt", "busybox", "sleep", "1000")
        terminal = self.daemon.spawn("exec", "-it", "tt", "sh", program=self.program)
        terminal.expect("/ # ")
        terminal.send("tty\r")
        terminal.expect("/dev/pts/")
        terminal.send("exit 5\r")
        self.assertEqual(terminal.wait(), 5)


class GruaCli(DockerCli):
    program = str(BIN / "grua")
