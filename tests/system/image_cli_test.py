"""The image commands of grua itself, against a registry in the daemon's network: what they say, draw and store, beside the docker CLI."""

import json
import os
import pathlib
import re
import stat
import tarfile
import tempfile
import unittest

from harness import BIN, DOCKER, ENV, Case, Terminal, run


def registry(case, *options):
    """A registry on loopback of the daemon's network; its address. It ends with the class."""
    folder = case.daemon.root / ("registry" + "".join(options).replace("--", "-"))
    folder.mkdir()
    address = case.daemon.in_netns(ENV / "registry.sh", "start", folder, *options, timeout=120).stdout.strip().splitlines()[-1]
    case.addClassCleanup(lambda: case.daemon.in_netns(ENV / "registry.sh", "stop", folder, check=False))
    return address


class Cli(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.work = pathlib.Path(tempfile.mkdtemp(dir=cls.daemon.root))
        cls.config = cls.work / "config"
        cls.config.mkdir()

    def setUp(self):
        for file in self.config.iterdir():
            file.unlink()

    @classmethod
    def environment(cls, **more):
        return {**cls.daemon.environment(), "DOCKER_CONFIG": str(cls.config), "TERM": "xterm", "LANG": "C.UTF-8", **more}

    @classmethod
    def cli(cls, program, *words, check=True, env=None, **more):
        try:
            return run(program, *words, env=cls.environment(**(env or {})), check=check, **more)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{cls.daemon.tail()}") from None

    @classmethod
    def grua(cls, *words, **more):
        return cls.cli(BIN / "grua", *words, **more)

    def refused(self, *words, status=1, **more):
        """Standard error of a command that has to fail."""
        done = self.grua(*words, check=False, **more)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stderr

    def same_as_docker(self, *words, before=None, **more):
        """Both programs say the same, apart from their names."""
        results = []
        for program in (DOCKER, BIN / "grua"):
            if before:
                before()
            done = self.cli(program, *words, check=False, **more)
            results.append((done.returncode, done.stdout, re.sub(r"\bgrua\b", "docker", done.stderr)))
        self.assertEqual(results[0], results[1])
        return results[1]

    def terminal(self, *words, rows=24, columns=100, **more):
        return Terminal([str(BIN / "grua"), *map(str, words)], self.environment(**more), rows, columns)

    def forget(self, *names):
        for name in names:
            self.grua("rmi", "-f", name, check=False)


class PullAndPush(Cli):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.registry = registry(cls)
        cls.box = f"{cls.registry}/team/box"
        root = cls.work / "layer"
        root.mkdir()
        for number in range(3):
            (cls.work / f"l{number}").mkdir()
            (cls.work / f"l{number}" / f"file{number}").write_bytes(os.urandom(2_000_000))
        run(ENV / "oci-image.sh", "--gzip", "--tag", f"{cls.box}:layers", "--cmd", "true", *(cls.work / f"l{n}" for n in range(3)), cls.work / "layers.tar")
        cls.grua("load", "-q", "-i", cls.work / "layers.tar")
        cls.grua("tag", "busybox", f"{cls.box}:1")
        cls.grua("tag", "busybox", f"{cls.box}:latest")
        cls.pushed = {tag: cls.grua("push", f"{cls.box}:{tag}").stdout for tag in ("1", "latest", "layers")}

    def test_push_tells_the_digest_and_pull_gives_it_back(self):
        self.assertTrue(self.pushed["layers"].startswith(f"The push refers to repository [{self.box}]\n"), self.pushed["layers"])
        digest = re.search(r"layers: digest: (sha256:[0-9a-f]{64}) size: \d+\n$", self.pushed["layers"]).group(1)
        self.forget(f"{self.box}:layers")
        lines = self.grua("pull", f"{self.box}:layers").stdout.splitlines()
        self.assertEqual(lines[0], "layers: Pulling from team/box")
        self.assertEqual(sum(line.endswith(": Pull complete") for line in lines), 3)
        self.assertEqual(lines[-3:], [f"Digest: {digest}", f"Status: Downloaded newer image for {self.box}:layers", f"{self.box}:layers"])
        self.assertEqual(self.grua("pull", f"{self.box}:layers").stdout.splitlines()[-2], f"Status: Image is up to date for {self.box}:layers")
        self.assertEqual(self.grua("pull", "-q", f"{self.box}@{digest}").stdout, f"{self.box}@{digest}\n")
        self.assertIn(digest, self.grua("images", "--digests", self.box).stdout)

    def test_without_a_terminal_it_reads_as_docker(self):
        self.same_as_docker("pull", f"{self.box}:1", before=lambda: self.forget(f"{self.box}:1"))
        self.same_as_docker("pull", f"{self.box}:1")
        self.same_as_docker("pull", self.box)
        self.same_as_docker("push", f"{self.box}:1")
        self.same_as_docker("push", "-q", f"{self.box}:1")

    def test_what_is_wrong_reads_as_docker(self):
        for words in (["pull", f"{self.box}:nothing"], ["pull", f"{self.registry}/no/thing"], ["pull", "BAD"], ["pull", "-a", f"{self.box}:1"],
                      ["push", f"{self.box}:nothing"], ["push", "-a", f"{self.box}:1"], ["save", "nothing:here"], ["pull", "-q"]):
            status = self.same_as_docker(*words)[0]
            self.assertEqual(status, 1, words)

    def test_all_tags(self):
        self.forget(f"{self.box}:1", f"{self.box}:latest", f"{self.box}:layers")
        out = self.grua("pull", "-a", self.box).stdout
        self.assertEqual(len(re.findall(r"^Digest: ", out, re.M)), 3, out)
        listed = self.grua("images", "--format", "{{.Tag}}", self.box).stdout.split()
        self.assertEqual(sorted(listed), ["1", "latest", "layers"])
        self.assertEqual(len(re.findall(r": digest: ", self.grua("push", "-a", self.box).stdout)), 3)

    def test_a_terminal_gets_a_line_for_each_layer_and_a_total(self):
        self.forget(f"{self.box}:layers")
        terminal = self.terminal("pull", f"{self.box}:layers")
        self.assertEqual(terminal.wait(20), 0)
        self.assertRegex(terminal.text, r"Pull complete")
        self.assertRegex(terminal.text, r"Total .*6(\.\d+)?MB in ")
        self.assertIn("\x1b[32m", terminal.text)
        # A line never is as wide as the terminal.
        for line in re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", terminal.text).splitlines():
            if not line.startswith(("Digest", "Status", self.box)):
                self.assertLess(len(line), 100)
        self.forget(f"{self.box}:layers")
        plain = self.terminal("pull", f"{self.box}:layers", NO_COLOR="1")
        self.assertEqual(plain.wait(20), 0)
        self.assertNotRegex(plain.text, r"\x1b\[[0-9;]*m")

    def test_run_pulls_what_is_missing(self):
        self.forget(f"{self.box}:1")
        self.assertIn(f"No such image: {self.box}:1", self.refused("run", "--rm", "--pull", "never", f"{self.box}:1", "true", status=125))
        done = self.grua("run", "--rm", "--network", "none", f"{self.box}:1", "echo", "here")
        self.assertEqual(done.stdout, "here\n")
        self.assertTrue(done.stderr.startswith(f"Unable to find image '{self.box}:1' locally\n1: Pulling from team/box\n"), done.stderr)
        self.assertEqual(self.grua("run", "--rm", "--network", "none", f"{self.box}:1", "true").stderr, "")
        self.assertIn("Image is up to date", self.grua("run", "--rm", "--network", "none", "--pull", "always", f"{self.box}:1", "true").stderr)
        self.forget(f"{self.box}:1")
        done = self.grua("create", "--pull", "missing", "-q", f"{self.box}:1", "true")
        self.assertEqual(done.stderr, "")
        self.assertRegex(done.stdout, r"^[0-9a-f]{64}\n$")
        self.assertIn(f"Unable to find image '{self.box}:nothing' locally", self.refused("run", f"{self.box}:nothing", status=125))

    def test_a_platform_that_is_not_there(self):
        self.assertRegex(self.refused("pull", "--platform", "linux/riscv64", f"{self.box}:1"), "riscv64|no matching manifest")
        self.assertIn("is an invalid platform", self.refused("pull", "--platform", "a/b/c/d", f"{self.box}:1"))


class Logins(Cli):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.registry = registry(cls, "--htpasswd")
        cls.box = f"{cls.registry}/private/box"
        cls.grua("tag", "busybox", f"{cls.box}:1")

    def login(self, password="secret", **more):
        return self.grua("login", "-u", "user", "--password-stdin", self.registry, input=password + "\n", **more)

    def test_login_is_docker_s_too(self):
        self.assertRegex(self.refused("push", f"{self.box}:1"), "unauthorized|authentication required|no basic auth credentials|denied")
        done = self.login()
        self.assertEqual(done.stdout, "Login Succeeded\n")
        self.assertIn("WARNING! Your credentials are stored unencrypted in", done.stderr)
        self.assertEqual(stat.S_IMODE((self.config / "config.json").stat().st_mode), 0o600)
        self.grua("push", f"{self.box}:1")
        self.forget(f"{self.box}:1")
        self.cli(DOCKER, "pull", "-q", f"{self.box}:1")
        self.forget(f"{self.box}:1")
        self.grua("run", "--rm", "-q", "--network", "none", f"{self.box}:1", "true")
        self.assertEqual(self.grua("logout", self.registry).stdout, f"Removing login credentials for {self.registry}\n")
        self.assertEqual(json.loads((self.config / "config.json").read_text())["auths"], {})
        self.forget(f"{self.box}:1")
        self.refused("pull", f"{self.box}:1")
        self.grua("tag", "busybox", f"{self.box}:1")

    def test_docker_s_login_is_grua_s(self):
        self.cli(DOCKER, "login", "-u", "user", "--password-stdin", self.registry, input="secret")
        self.grua("push", "-q", f"{self.box}:1")
        # Without a name, what is stored is tried again.
        done = self.grua("login", self.registry)
        self.assertEqual(done.stdout, "Login Succeeded\n")
        self.assertIn("[Username: user]", done.stderr)

    def test_wrong_passwords_are_not_stored(self):
        error = self.login("wrong", check=False)
        self.assertEqual(error.returncode, 1)
        self.assertTrue(error.stderr.startswith("Error response from daemon: "), error.stderr)
        self.assertIn("401 Unauthorized", error.stderr)
        self.assertFalse((self.config / "config.json").exists())
        self.assertIn("password is empty", self.refused("login", "-u", "user", "--password-stdin", self.registry, input="\n"))
        self.assertIn("requires --username", self.refused("login", "--password-stdin", self.registry, input="x"))
        self.assertIn("non-TTY", self.refused("login", self.registry))

    def test_a_password_that_is_typed_is_not_shown(self):
        terminal = self.terminal("login", self.registry)
        terminal.expect("Username: ")
        terminal.send("user\n")
        terminal.expect("Password: ")
        terminal.send("secret\n")
        self.assertEqual(terminal.wait(), 0)
        self.assertIn("Login Succeeded", terminal.text)
        self.assertNotIn("secret", terminal.text)

    def test_a_credential_helper_keeps_it(self):
        tools = self.work / "tools"
        tools.mkdir(exist_ok=True)
        helper = tools / "docker-credential-kept"
        helper.write_text(f"""#!/bin/sh
case $1 in
store) cat > {tools}/kept ;;
get) if [ -e {tools}/kept ]; then cat {tools}/kept; else echo credentials not found in native keychain; exit 1; fi ;;
erase) cat > /dev/null; rm -f {tools}/kept ;;
esac
""")
        helper.chmod(0o755)
        (self.config / "config.json").write_text(json.dumps({"credHelpers": {self.registry: "kept"}}))
        path = {"PATH": f"{tools}:{os.environ['PATH']}"}
        done = self.login(env=path)
        self.assertNotIn("WARNING", done.stderr)
        self.assertNotIn("c2VjcmV0", (self.config / "config.json").read_text())
        self.assertEqual(json.loads((tools / "kept").read_text()), {"ServerURL": self.registry, "Username": "user", "Secret": "secret"})
        self.grua("push", "-q", f"{self.box}:1", env=path)
        self.grua("logout", self.registry, env=path)
        self.assertFalse((tools / "kept").exists())
        helper.unlink()
        self.assertIn('exec: "docker-credential-kept": executable file not found in $PATH', self.refused("push", f"{self.box}:1"))


class Archives(Cli):
    def test_save_to_a_file_is_whole_or_not_there(self):
        target = self.work / "saved.tar"
        self.grua("save", "-o", target, "busybox")
        self.assertEqual(stat.S_IMODE(target.stat().st_mode), 0o600)
        with tarfile.open(target) as archive:
            self.assertIn("manifest.json", archive.getnames())
        before = target.read_bytes()
        self.assertIn("nothing:here", self.refused("save", "-o", target, "nothing:here"))
        self.assertEqual(target.read_bytes(), before)
        self.assertEqual([path.name for path in self.work.iterdir() if path.name.startswith("saved")], ["saved.tar"])
        self.grua("tag", "busybox", "keeps:it")
        self.grua("rmi", "busybox")
        self.assertEqual(self.grua("load", "-i", target).stdout, "Loaded image: busybox:latest\n")
        self.grua("rmi", "keeps:it")

    def test_save_writes_no_terminal_but_a_pipe(self):
        terminal = self.terminal("save", "busybox")
        self.assertEqual(terminal.wait(), 1)
        self.assertIn("cowardly refusing to save to a terminal", terminal.text)
        target = self.work / "piped.tar"
        with open(target, "wb") as out:
            run("sh", "-c", f"{BIN / 'grua'} save busybox | cat >&3", env=self.environment(), pass_fds=(3,), preexec_fn=lambda: os.dup2(out.fileno(), 3))
        with tarfile.open(target) as archive:
            self.assertIn("manifest.json", archive.getnames())

    def test_platforms_of_save_and_load(self):
        machine = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
        target = self.work / "platform.tar"
        self.grua("save", "--platform", f"linux/{machine}", "-o", target, "busybox")
        self.grua("load", "-q", "--platform", f"linux/{machine}", "-i", target)
        self.assertRegex(self.refused("save", "--platform", "linux/riscv64", "-o", target, "busybox"), "riscv64|platform")

    def test_removal_of_a_platform_spares_the_others(self):
        self.assertIn("Error response from daemon: ", self.refused("rmi", "--platform", "linux/riscv64", "busybox"))
        self.assertIn("busybox", self.grua("images").stdout)

    def test_lists_and_trees(self):
        self.grua("tag", "busybox", "tree/one:1")
        tree = self.grua("images", "--tree").stdout
        self.assertRegex(tree.splitlines()[0], r"^IMAGE +ID +DISK USAGE +CONTENT SIZE +EXTRA$")
        self.assertRegex(tree, r"busybox:latest\ntree/one:1 +[0-9a-f]{12} ")
        self.assertRegex(tree, r"└─ linux/a")
        self.assertIn("not yet supported with --tree", self.refused("images", "--tree", "-q"))
        self.same_as_docker("images", "--filter", "reference=tree/*", "--format", "{{.Repository}}:{{.Tag}} {{.ID}} {{.Size}}")
        self.same_as_docker("images", "--digests", "--no-trunc", "--format", "{{json .Digest}}")
        # Docker's program lists the repositories of one image in no order.
        lines = [sorted(self.cli(program, "images").stdout.splitlines()) for program in (DOCKER, BIN / "grua")]
        self.assertEqual(*lines)
        self.same_as_docker("images", "nothing")
        self.same_as_docker("history", "busybox")
        self.same_as_docker("rmi", "tree/one:1", "tree/none", before=lambda: self.grua("tag", "busybox", "tree/one:1"))

    def test_disk_usage_and_prune(self):
        self.grua("create", "--name", "user", "busybox", "true")
        self.same_as_docker("system", "df")
        self.same_as_docker("system", "df", "-v")
        self.same_as_docker("system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}} {{.Size}} {{.Reclaimable}}")
        self.same_as_docker("system", "prune", input="n\n")
        self.same_as_docker("image", "prune", "-a", input="n\n")
        self.assertIn("Total reclaimed space: ", self.grua("image", "prune", "-f").stdout)
        out = self.grua("system", "prune", "-f").stdout
        self.assertIn("Deleted Containers:", out)

    def test_collection_explains_and_check_is_clean(self):
        if self.daemon.api("POST", "/grua/gc?dry-run=1")[0] in (404, 501):
            self.skipTest("gruad serves no collection yet")
        out = self.grua("system", "gc", "--dry-run").stdout
        self.assertRegex(out, r"(?m)^ACTION +KIND +ID +NAME +SIZE +REASON")
        self.assertRegex(out, r"(?m)^keep +image +[0-9a-f]{12} .*busybox:latest ")
        self.grua("system", "gc")
        self.assertIn("busybox", self.grua("images").stdout)
        done = self.grua("system", "check")
        self.assertRegex(done.stdout, r"^Checked \d+ objects?, [0-9.]+[kMG]?B: no problems\.\n$")


if __name__ == "__main__":
    unittest.main()
