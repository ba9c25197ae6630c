"""AppArmor: each program is confined by its container's profile, and the default profile holds what it says. Where the kernel has none: skipped."""

import os
import pathlib
import unittest

from harness import Case, has_apparmor, run

PROFILES = pathlib.Path("/sys/kernel/security/apparmor/profiles")
OWN = """
profile grua-test flags=(attach_disconnected,mediate_deleted) {
  capability,
  file,
  signal,
  deny /etc/hostname r,
}
"""


@unittest.skipUnless(has_apparmor(), "this kernel has no AppArmor")
class AppArmor(Case):
    @classmethod
    def setUpClass(cls):
        if not PROFILES.exists():
            run("mount", "-t", "securityfs", "none", "/sys/kernel/security")
            cls.addClassCleanup(run, "umount", "/sys/kernel/security")
        super().setUpClass()

    def profile_of(self, *words):
        return self.out("run", "--rm", *words, "busybox", "cat", "/proc/self/attr/current")

    def test_each_program_has_the_profile_of_its_container(self):
        self.assertEqual(self.profile_of(), "grua-default (enforce)")
        self.assertEqual(self.profile_of("--init", "-u", "1000", "--security-opt", "no-new-privileges"), "grua-default (enforce)")
        self.assertEqual(self.profile_of("--security-opt", "apparmor=unconfined"), "unconfined")
        self.assertEqual(self.profile_of("--privileged"), "unconfined")
        self.docker("run", "-d", "--name", "box", "busybox", "sleep", "1000")
        read = ["cat", "/proc/self/attr/current"]
        self.assertEqual(self.out("exec", "box", *read), "grua-default (enforce)")
        self.assertEqual(self.out("exec", "-t", "-u", "1000", "box", *read).strip(), "grua-default (enforce)")
        self.assertEqual(self.out("exec", "--privileged", "box", *read), "unconfined")
        self.assertEqual(self.out("inspect", "--format", "{{.AppArmorProfile}}", "box"), "grua-default")
        self.assertIn("name=apparmor", self.out("info", "--format", "{{.SecurityOptions}}"))

    def test_what_the_default_profile_refuses(self):
        # With the capability to mount, and without masks and read-only mounts, the profile alone is in the way.
        script = ("mkdir /m; mount -t tmpfs x /m && echo mounted; mount --bind /etc /m && echo bound; for i in /proc/sys/kernel/core_pattern /proc/sys/vm/swappiness "
                  "/proc/sysrq-trigger; do true >> $i && echo opened $i; done; true")
        run_it = ["run", "--rm", "--cap-add", "SYS_ADMIN", "--security-opt", "systempaths=unconfined"]
        done = self.docker(*run_it, "busybox", "sh", "-c", script)
        self.assertEqual((done.stdout, done.stderr.count("ermission denied")), ("", 5), done.stderr)
        done = self.docker(*run_it, "--security-opt", "apparmor=unconfined", "busybox", "sh", "-c", script)
        self.assertIn("mounted\nbound\nopened /proc/sys/kernel/core_pattern\nopened /proc/sys/vm/swappiness\nopened /proc/sysrq-trigger\n", done.stdout)

    def test_a_container_is_stopped_and_signalled_as_ever(self):
        self.docker("run", "-d", "--name", "box", "busybox", "sh", "-c", "trap 'echo usr' USR1; trap 'exit 3' TERM; echo up; while :; do sleep 0.1; done")
        self.docker("kill", "-s", "USR1", "box")
        self.docker("exec", "box", "kill", "-USR1", "1")
        self.docker("stop", "-t", "20", "box")
        self.assertEqual(self.daemon.inspect("box")["State"]["ExitCode"], 3)
        self.assertIn("usr", self.out("logs", "box"))

    def test_a_profile_by_name(self):
        done = self.docker("run", "--rm", "--security-opt", "apparmor=nosuch", "busybox", "true", check=False)
        self.assertIn("apparmor failed to apply profile: nosuch is not loaded", done.stderr)
        self.assertEqual(done.returncode, 127 if "not found" in done.stderr else 126 if done.returncode == 126 else 125)
        path = self.daemon.root / "profile"
        path.write_text(OWN)
        run("apparmor_parser", "-Kr", path, env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})
        self.assertEqual(self.profile_of("--security-opt", "apparmor=grua-test"), "grua-test (enforce)")
        self.assertIn("ermission denied", self.docker("run", "--rm", "--security-opt", "apparmor=grua-test", "busybox", "cat", "/etc/hostname", check=False).stderr)
