"""grua-runtime alone, on bundles of busybox: what an OCI configuration may ask for beyond what the engine's containers use."""

import fcntl
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

from harness import ENV, run
from security_test import RUNTIME, default_spec


class Runtime(unittest.TestCase):
    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="grua-rt-", dir="/var/tmp"))
        self.addCleanup(shutil.rmtree, self.work, ignore_errors=True)
        run(ENV / "rootfs.sh", "--busybox", self.work / "rootfs")
        self.spec = default_spec()
        self.spec["process"]["env"].append("HOME=/")

    def start(self, *args, options=(), check=True, **more):
        self.spec["process"]["args"] = list(args)
        (self.work / "config.json").write_text(json.dumps(self.spec))
        return run(RUNTIME, "--root", self.work / "state", "run", "--bundle", self.work, *options, f"rt-{os.getpid()}", check=check, **more)

    def mount(self, destination, kind, source, *options):
        self.spec["mounts"].append({"destination": destination, "type": kind, "source": str(source), "options": list(options)})

    def test_exit_status_is_the_programs(self):
        self.assertEqual(self.start("sh", "-c", "exit 42", check=False).returncode, 42)

    def test_hooks_run_in_order_with_the_state(self):
        log = self.work / "log"
        points = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"]
        self.spec["hooks"] = {point: [{"path": "/bin/sh", "args": ["sh", "-c", f"echo {point} $(cat) >> {log}"]}] for point in points}
        self.start("true")
        lines = [line.split(" ", 1) for line in log.read_text().splitlines()]
        self.assertEqual([point for point, _ in lines], points)
        for _, state in lines:
            self.assertEqual(json.loads(state)["bundle"], str(self.work))

    def test_hook_that_fails_ends_the_start(self):
        self.spec["hooks"] = {"createRuntime": [{"path": "/bin/false"}]}
        self.assertNotEqual(self.start("touch", "/ran", check=False).returncode, 0)
        self.assertFalse((self.work / "rootfs/ran").exists())

    def test_sysctls(self):
        self.spec["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.msgmax": "4711"}
        self.assertEqual(self.start("cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/msgmax").stdout.split(), ["1", "4711"])

    def test_tmpcopyup(self):
        (self.work / "rootfs/data/sub").mkdir(parents=True)
        (self.work / "rootfs/data/sub/file").write_text("there\n")
        (self.work / "rootfs/data/sub/file").chmod(0o640)
        self.mount("/data", "tmpfs", "tmpfs", "tmpcopyup")
        out = self.start("sh", "-c", "cat /data/sub/file; stat -c %a /data/sub/file; echo new > /data/sub/file")
        self.assertEqual(out.stdout.split(), ["there", "640"])
        self.assertEqual((self.work / "rootfs/data/sub/file").read_text(), "there\n")

    def test_binds_are_read_only_as_far_as_they_say(self):
        source = self.work / "source"
        (source / "sub").mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", source / "sub"], check=True)
        self.addCleanup(subprocess.run, ["umount", source / "sub"], check=False)
        self.mount("/ro", "bind", source, "rbind", "ro")
        self.mount("/rro", "bind", source, "rbind", "rro")
        self.mount("/rw", "bind", source, "rbind")
        out = self.start("sh", "-c", "for d in ro rro rw; do for f in $d/x $d/sub/x; do touch /$f 2>/dev/null && echo $f; done; done", check=False)
        self.assertEqual(out.stdout.split(), ["ro/sub/x", "rw/x", "rw/sub/x"])

    def test_preserved_descriptors(self):
        read, write = (fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in os.pipe())
        try:
            os.dup2(write, 3)
            self.start("sh", "-c", "echo through >&3", options=("--preserve-fds", "1"), pass_fds=(3,))
            self.assertEqual(os.read(read, 100), b"through\n")
        finally:
            os.close(read)
            os.close(write)
            os.close(3)

    def test_network_namespace_by_path(self):
        holder = subprocess.Popen(["unshare", "-n", "sh", "-c", "ip link add grua9 type dummy 2>/dev/null; echo up; exec sleep 60"], stdout=subprocess.PIPE)
        self.addCleanup(holder.wait)
        self.addCleanup(holder.kill)
        self.assertEqual(holder.stdout.readline(), b"up\n")
        expected = os.readlink(f"/proc/{holder.pid}/ns/net")
        for namespace in self.spec["linux"]["namespaces"]:
            if namespace["type"] == "network":
                namespace["path"] = f"/proc/{holder.pid}/ns/net"
        self.assertEqual(self.start("readlink", "/proc/self/ns/net").stdout.strip(), expected)
        holder.stdout.close()

    def test_seccomp(self):
        self.spec["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
                                         "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]}
        self.assertIn("not supported", self.start("mkdir", "/x", check=False).stderr)

    def test_exec_of_a_container_made_in_a_chroot_is_in_the_container(self):
        """The root of the mount namespace was the machine's, and exec ran the machine's programs."""
        jail = self.work / "jail"
        (jail / "work").mkdir(parents=True)
        (jail / "proc").mkdir()
        # A build with sanitizers is not static.
        (jail / "usr").mkdir()
        for name in ("lib", "lib64"):
            (jail / name).symlink_to(f"usr/{name}")
        (self.work / "rootfs/marker").write_text("inside")
        self.spec["process"]["args"] = ["sleep", "1000"]
        (self.work / "config.json").write_text(json.dumps(self.spec))
        shutil.copy(RUNTIME, self.work / "runtime")
        name = f"rt-{os.getpid()}"
        runtime = f"chroot {jail} /work/runtime --root /work/state"
        out = run("unshare", "-m", "sh", "-ec", f"mount --bind {self.work} {jail}/work; mount --bind /proc {jail}/proc; mount --bind /usr {jail}/usr; mkdir {jail}/dev {jail}/sys;"
                  f"mount --rbind /dev {jail}/dev; mount --rbind /sys {jail}/sys; {runtime} run -d --bundle /work {name} > /dev/null 2>&1 < /dev/null;"
                  f"{runtime} exec {name} cat /marker; {runtime} delete -f {name}", check=False)
        self.assertEqual(out.stdout, "inside", out.stderr)

    def test_user_namespace(self):
        self.spec["linux"]["namespaces"].append({"type": "user"})
        maps = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        self.spec["linux"]["uidMappings"] = self.spec["linux"]["gidMappings"] = maps
        self.work.chmod(0o755)
        run("chown", "-R", "100000:100000", self.work / "rootfs")
        self.assertEqual(self.start("cat", "/proc/self/uid_map").stdout.split(), ["0", "100000", "65536"])

    def test_what_would_have_no_effect_is_refused(self):
        for name, value in (("scheduler", {"policy": "SCHED_FIFO"}), ("ioPriority", {"class": "IOPRIO_CLASS_RT", "priority": 0}),
                            ("execCPUAffinity", {"initial": "0"})):
            self.spec = default_spec()
            self.spec["process"][name] = value
            self.assertIn("not implemented", self.start("true", check=False).stderr, name)
        for name, value in (("personality", {"domain": "LINUX32"}), ("intelRdt", {"closID": "x"}), ("netDevices", {"eth9": {}})):  # E7b
            self.spec = default_spec()
            self.spec["linux"][name] = value
            self.assertIn("not implemented", self.start("true", check=False).stderr, name)
        for part, name, module in (("process", "apparmorProfile", "/sys/module/apparmor/parameters/enabled"), ("process", "selinuxLabel", "/sys/fs/selinux"),
                                   ("linux", "mountLabel", "/sys/fs/selinux")):
            self.spec = default_spec()
            self.spec[part][name] = "x"
            there = os.path.exists(module)
            done = self.start("true", check=False)
            self.assertEqual((done.returncode == 0, "not implemented" in done.stderr, "has no effect" in done.stderr), (not there, there, not there), name)
