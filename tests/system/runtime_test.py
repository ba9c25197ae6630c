"""grua-runtime alone, on bundles of busybox: what an OCI configuration may ask for beyond what the engine's containers use."""

import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

from harness import ENV, Terminal, run
from security_test import RUNTIME, default_spec


class Runtime(unittest.TestCase):
    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="grua-rt-", dir="/var/tmp"))
        self.addCleanup(shutil.rmtree, self.work, ignore_errors=True)
        run(ENV / "rootfs.sh", "--busybox", self.work / "rootfs")
        (self.work / "rootfs").chmod(0o755)
        self.spec = default_spec()
        self.spec["process"]["env"].append("HOME=/")

    def start(self, *args, options=(), check=True, name="", **more):
        self.spec["process"]["args"] = list(args)
        (self.work / "config.json").write_text(json.dumps(self.spec))
        return run(RUNTIME, "--root", self.work / "state", "run", "--bundle", self.work, *options, f"rt-{os.getpid()}{name}", check=check, **more)

    def start_in_background(self, *args, options=()):
        self.spec["process"]["args"] = list(args)
        (self.work / "config.json").write_text(json.dumps(self.spec))
        name = f"rt-{os.getpid()}"
        # Not by run(): the container would hold its pipes.
        with open(self.work / "said", "w+") as said:
            done = subprocess.run([RUNTIME, "--root", self.work / "state", "run", "-d", "--bundle", self.work, *options, name], check=False, timeout=20,
                                  stdin=subprocess.DEVNULL, stdout=said, stderr=said)
            said.seek(0)
            self.assertEqual(done.returncode, 0, said.read())
        self.addCleanup(self.delete)
        return json.loads(run(RUNTIME, "--root", self.work / "state", "state", name).stdout)["pid"]

    def run_in(self, *args, check=True):
        return run(RUNTIME, "--root", self.work / "state", "exec", f"rt-{os.getpid()}", *args, check=check)

    def delete(self):
        run(RUNTIME, "--root", self.work / "state", "delete", "-f", f"rt-{os.getpid()}", check=False)

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
        # runtime.md: "created" comes after step 2, and the hooks of a creation are steps 3 to 5.
        self.assertEqual([json.loads(state)["status"] for _, state in lines], ["created"] * 3 + ["running", "stopped"])

    def test_hooks_of_the_runtime_see_the_hosts_paths_in_the_mount_namespace(self):  # E3
        log = self.work / "log"
        for point in ("prestart", "createRuntime"):
            look = (f"pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); nsenter -m -t $pid sh -c 'ls -d {self.work}/config.json {self.work}/rootfs/proc/1/stat'"
                    f" >> {log} 2>&1")
            self.spec["hooks"] = {point: [{"path": "/bin/sh", "args": ["sh", "-c", look], "env": ["PATH=/usr/bin:/bin"]}]}
            log.write_text("")
            self.start("true")
            self.assertEqual(log.read_text().split(), [f"{self.work}/config.json", f"{self.work}/rootfs/proc/1/stat"], point)

    def test_hooks_of_the_container_run_with_its_environment_inside_its_filter(self):  # E5
        self.spec["process"]["env"].append("COLOUR=blue")
        self.spec["process"]["user"] = {"uid": 1000, "gid": 1000}
        self.spec["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]}
        (self.work / "rootfs/tmp").chmod(0o777)
        self.spec["hooks"] = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "(echo $COLOUR; id -u; mkdir /tmp/made) > /tmp/hook 2>&1; cat /proc/self/status > /tmp/status"]}]}
        self.start("true")
        self.assertEqual((self.work / "rootfs/tmp/hook").read_text().splitlines()[:2], ["blue", "1000"])
        self.assertIn("not supported", (self.work / "rootfs/tmp/hook").read_text())
        self.assertIn("CapEff:\t0000000000000000", (self.work / "rootfs/tmp/status").read_text())

    def test_what_a_failed_hook_wrote_is_in_the_error(self):  # E5
        for point in ("prestart", "createRuntime", "createContainer", "startContainer"):
            self.spec["hooks"] = {point: [{"path": "/bin/sh", "args": ["sh", "-c", "echo that is why >&2; exit 3"]}]}
            done = self.start("true", check=False)
            self.assertNotEqual(done.returncode, 0, point)
            # In the error itself: what is passed through besides reaches no client of gruad's.
            error = next(line for line in done.stderr.splitlines() if "level=error" in line)
            self.assertRegex(error, f"{point} hook /bin/sh: exit status 3.*that is why")

    def test_a_hook_that_leaves_somebody_behind_does_not_hold_the_start(self):  # E5
        self.spec["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "sleep 30 & exit 0"]}]}
        self.start("true", timeout=10)

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
        theirs = None  # Descriptor 3 may be somebody's.
        with contextlib.suppress(OSError):
            theirs = fcntl.fcntl(3, fcntl.F_DUPFD_CLOEXEC, 20)
        try:
            os.dup2(write, 3)
            self.start("sh", "-c", "echo through >&3", options=("--preserve-fds", "1"), pass_fds=(3,))
            self.assertEqual(os.read(read, 100), b"through\n")
        finally:
            os.close(read)
            os.close(write)
            if theirs is None:
                os.close(3)
            else:
                os.dup2(theirs, 3, inheritable=False)
                os.close(theirs)

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

    def test_a_filter_need_not_know_what_the_runtime_does(self):  # D3
        """Only execve comes behind it, at a start and at an exec, whoever the user is."""
        needed = ["execve", "exit_group", "exit", "write", "brk", "arch_prctl", "set_tid_address", "set_robust_list", "rseq", "mprotect", "prlimit64",
                  "readlinkat", "readlink", "getrandom", "newfstatat", "fstat", "getuid", "setuid", "setgid", "getgid", "ioctl", "munmap", "mmap", "writev", "close",
                  "nanosleep", "clock_nanosleep", "prctl", "rt_sigprocmask", "rt_sigaction"]
        profiles = ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["faccessat2", "close_range", "capset", "setresuid", "setgroups", "chdir", "getcwd"],
                                                                      "action": "SCMP_ACT_KILL_PROCESS"}]},
                    {"defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": [{"names": needed, "action": "SCMP_ACT_ALLOW"}]})
        for profile in profiles:
            for user in (0, 1000):
                for no_new_privileges in (False, True):
                    self.spec["linux"]["seccomp"] = profile
                    self.spec["process"]["user"] = {"uid": user, "gid": user}
                    self.spec["process"]["noNewPrivileges"] = no_new_privileges
                    self.assertEqual(self.start("echo", "through").stdout, "through\n")
                    pid = self.start_in_background("sleep", "1000")
                    self.assertEqual(self.run_in("echo", "through").stdout, "through\n")
                    self.assertIn("Seccomp:\t2", pathlib.Path(f"/proc/{pid}/status").read_text())
                    self.delete()

    def test_a_program_that_cannot_be_executed_is_an_error_behind_any_filter(self):  # D3, E1
        (self.work / "rootfs/bin/nonsense").write_bytes(b"\0\1\2 no program")
        (self.work / "rootfs/bin/nonsense").chmod(0o755)
        self.spec["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": [{"names": ["execve"], "action": "SCMP_ACT_ALLOW"}]}
        done = self.start("/bin/nonsense", check=False)
        self.assertIn("exec /bin/nonsense: exec format error", done.stderr)
        self.spec["linux"].pop("seccomp")
        self.start_in_background("sleep", "1000")
        self.assertIn("exec /bin/nonsense: exec format error", self.run_in("/bin/nonsense", check=False).stderr)

    def test_no_failure_of_a_start_is_lost(self):  # E1
        self.spec["mounts"].append({"destination": "/proc/version", "type": "bind", "source": "/dev/null", "options": ["bind"]})
        for _ in range(60):
            done = self.start("true", check=False)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("inside /proc", done.stderr)

    def test_working_folder_that_only_root_or_only_the_user_may_enter(self):  # D4
        (self.work / "rootfs/closed").mkdir(mode=0o700)
        self.spec["process"]["user"] = {"uid": 1000, "gid": 1000}
        self.spec["process"]["cwd"] = "/closed"
        self.assertEqual(self.start("sh", "-c", "pwd; ls 2>/dev/null || echo no").stdout.split(), ["/closed", "no"])
        self.start_in_background("sleep", "1000")
        self.assertEqual(self.run_in("pwd").stdout, "/closed\n")

    def test_the_callers_processors_are_not_the_containers(self):  # D5
        every = len(os.sched_getaffinity(0))
        self.assertGreater(every, 1)
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        try:
            self.assertEqual(self.start("nproc").stdout, f"{every}\n")
            self.start_in_background("sleep", "1000")
            self.assertEqual(self.run_in("nproc").stdout, f"{every}\n")
        finally:
            os.sched_setaffinity(0, range(os.cpu_count()))

    def capabilities(self, **sets):
        self.spec["process"]["capabilities"] = sets
        out = self.start("grep", "^Cap", "/proc/self/status")
        return {line.split(":")[0]: int(line.split()[1], 16) for line in out.stdout.splitlines()}, out.stderr

    def test_capabilities_are_what_the_configuration_says(self):  # D6
        chown, kill = 1 << 0, 1 << 5
        self.spec["process"]["user"] = {"uid": 1000, "gid": 1000}
        found, _ = self.capabilities(bounding=["CAP_CHOWN", "CAP_KILL"], permitted=["CAP_KILL"], inheritable=["CAP_CHOWN", "CAP_KILL"],
                                     effective=["CAP_KILL"], ambient=["CAP_KILL"])
        self.assertEqual(found, {"CapInh": chown | kill, "CapPrm": kill, "CapEff": kill, "CapBnd": chown | kill, "CapAmb": kill})
        found, words = self.capabilities(bounding=["CAP_CHOWN"], permitted=["CAP_CHOWN"], effective=["CAP_CHOWN"], ambient=["CAP_CHOWN"])
        self.assertEqual(found["CapAmb"], 0)
        self.assertIn("can't raise ambient capability CAP_CHOWN", words)
        found, words = self.capabilities(bounding=["CAP_CHOWN", "CAP_NONSENSE"])
        self.assertEqual(found["CapBnd"], chown)
        self.assertIn("CAP_NONSENSE", words)
        self.spec["process"]["user"] = {"uid": 0, "gid": 0}
        self.assertEqual(self.capabilities()[0]["CapPrm"], 0)
        self.spec["process"].pop("capabilities")
        self.assertIn("CapBnd:\t0000000000000000", self.start("cat", "/proc/self/status").stdout)

    def test_the_filter_leaves_no_right_behind(self):  # D3
        """CAP_SYS_ADMIN, which loads it, is not the program's."""
        self.spec["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}]}
        for user in (0, 1000):
            self.spec["process"]["user"] = {"uid": user, "gid": user}
            allowed = 1 if user == 0 else 0
            found, _ = self.capabilities(bounding=["CAP_CHOWN"], permitted=["CAP_CHOWN"], effective=["CAP_CHOWN"])
            self.assertEqual(found, {"CapInh": 0, "CapPrm": allowed, "CapEff": allowed, "CapBnd": 1, "CapAmb": 0})
            self.start_in_background("sleep", "1000")
            out = self.run_in("grep", "^Cap[PE]", "/proc/self/status").stdout.split()
            self.assertEqual(out, ["CapPrm:", f"{allowed:016x}", "CapEff:", f"{allowed:016x}"])
            self.delete()

    def test_a_terminal_in_the_foreground_has_no_carriage_returns_of_its_own(self):  # E6
        self.spec["process"]["terminal"] = True
        self.spec["process"]["args"] = ["stty", "-a"]
        (self.work / "config.json").write_text(json.dumps(self.spec))
        terminal = Terminal([RUNTIME, "--root", str(self.work / "state"), "run", "--bundle", str(self.work), f"rt-{os.getpid()}"], os.environ)
        terminal.expect("-onlcr")
        self.assertEqual(terminal.wait(), 0)

    def test_without_pivot(self):  # E6
        for kind in ("plain", "with a hook"):
            if kind != "plain":
                self.spec["hooks"] = {"createRuntime": [{"path": "/bin/true"}]}
            out = self.start("sh", "-c", "ls /; cat /proc/self/stat | cut -d' ' -f1", options=("--no-pivot",)).stdout
            self.assertIn("bin", out.split())
            self.assertNotIn("boot", out.split())

    def test_read_only_dev_is_filled_first(self):  # E6
        for mount in self.spec["mounts"]:
            if mount["destination"] == "/dev":
                mount["options"].append("ro")
        self.mount("/data", "tmpfs", "tmpfs", "ro")
        (self.work / "source").mkdir()
        self.mount("/data/sub", "bind", self.work / "source", "bind")
        out = self.start("sh", "-c", "ls -d /dev/null /dev/pts/ptmx /data/sub; touch /dev/x /data/x 2>&1; touch /data/sub/x", check=False)
        self.assertEqual(out.stdout.split("\n")[:3], ["/data/sub", "/dev/null", "/dev/pts/ptmx"])
        self.assertEqual(out.stdout.count("Read-only file system"), 2)
        self.assertTrue((self.work / "source/x").exists())

    def test_a_binds_source_may_be_an_earlier_mount(self):  # E6
        self.mount("/first", "tmpfs", "tmpfs", "size=123k")
        self.mount("/second", "bind", self.work / "rootfs/first", "bind")
        out = self.start("sh", "-c", "touch /first/x; ls /second").stdout
        self.assertEqual(out.split(), ["x"])

    def test_mountinfo_has_the_configurations_order(self):  # E6
        (self.work / "source").mkdir()
        self.mount("/one", "bind", self.work / "source", "bind")
        self.mount("/two", "tmpfs", "tmpfs")
        self.mount("/three", "bind", self.work / "source", "bind")
        out = self.start("cat", "/proc/self/mountinfo").stdout.splitlines()
        wanted = [mount["destination"] for mount in self.spec["mounts"]]
        self.assertEqual([line.split()[4] for line in out if line.split()[4] in wanted][:len(wanted)], wanted)

    def test_a_link_to_nothing_as_a_mount_point(self):  # D1
        outside = self.work / "outside"
        root = self.work / "rootfs"
        (root / "file").symlink_to(f"../../..{outside}/made")
        (root / "folder").symlink_to("/away/to/../folder/")
        (self.work / "source").write_text("bound")
        self.mount("/file", "bind", self.work / "source", "bind")
        self.mount("/folder/below", "tmpfs", "tmpfs")
        self.spec["process"]["cwd"] = "/folder/work"
        out = self.start("sh", "-c", f"pwd; cat {outside}/made; ls /away")
        self.assertEqual(out.stdout, "/away/folder/work\nboundfolder\nto\n")
        self.assertFalse(outside.exists())
        (root / "round").symlink_to("around")
        (root / "around").symlink_to("round")
        self.mount("/round/x", "tmpfs", "tmpfs")
        self.assertIn("Too many levels", self.start("true", check=False).stderr)

    def test_network_devices_of_the_host(self):  # E7b
        """In a network namespace that the runtime is started in, so that the machine's links are not touched."""
        self.spec["linux"]["netDevices"] = {"grua8": {"name": "inside0"}, "grua9": {}, "grua7": {"name": "dev%d"}}
        self.spec["process"]["args"] = ["ip", "-o", "addr"]
        (self.work / "config.json").write_text(json.dumps(self.spec))
        runtime = f"{RUNTIME} --root {self.work}/state run --bundle {self.work} rt-{os.getpid()}"
        made = ("for l in grua7 grua8 grua9; do ip link add $l type veth peer name peer-$l; done; ip addr add 198.51.100.8/25 dev grua8; ip addr add fd00:99::8/64 dev grua8 nodad;"
                " ip link set grua8 up")
        out = run("unshare", "-n", "sh", "-ec", f"{made}; {runtime}; ip -o link").stdout
        for expected in ("inside0    inet 198.51.100.8/25", "inside0    inet6 fd00:99::8/64"):
            self.assertIn(expected, out)
        inside, _, left = out.partition("1: lo: <LOOPBACK> mtu")
        self.assertNotIn(": grua8", left)
        for names, why in (({"nosuch": {}}, "network device nosuch: the host has no such interface"), ({"lo": {"name": "a/b"}}, "invalid name")):
            self.spec["linux"]["netDevices"] = names
            self.assertIn(why, self.start("true", check=False).stderr)

    def test_without_a_mount_namespace(self):  # E7
        self.spec["linux"]["namespaces"] = [each for each in self.spec["linux"]["namespaces"] if each["type"] != "mount"]
        self.assertIn("unable to restrict sys entries without a private MNT namespace", self.start("true", check=False).stderr)
        self.spec["linux"].update(maskedPaths=[], readonlyPaths=[])
        self.spec["mounts"] = []
        self.assertEqual(self.start("sh", "-c", "ls -d /bin /boot 2>/dev/null", check=False).stdout, "/bin\n")
        self.start_in_background("sleep", "1000")
        self.assertEqual(self.run_in("sh", "-c", "ls -d /bin /boot 2>/dev/null", check=False).stdout, "/bin\n")

    def holder(self, *options):
        """The pid of a process that holds new namespaces."""
        process = subprocess.Popen(["unshare", *options, "sh", "-c", "echo up; exec sleep 60"], stdout=subprocess.PIPE)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertEqual(process.stdout.readline(), b"up\n")
        return process.pid

    def namespace_by_path(self, kind, pid, name):
        others = [each for each in self.spec["linux"]["namespaces"] if each["type"] != kind]
        self.spec["linux"]["namespaces"] = [*others, {"type": kind, "path": f"/proc/{pid}/ns/{name}"}]
        return os.readlink(f"/proc/{pid}/ns/{name}")

    def test_time_namespace_by_path(self):  # E9
        expected = self.namespace_by_path("time", self.holder("-T", "--boottime", "100000"), "time")
        out = self.start("sh", "-c", "readlink /proc/self/ns/time; cut -d. -f1 /proc/uptime").stdout.split()
        self.assertEqual(out[0], expected)
        self.assertGreater(int(out[1]), 100000)

    def test_user_namespace_by_path(self):  # E9
        self.work.chmod(0o755)
        run("chown", "-R", "100000:100000", self.work / "rootfs")
        pid = self.holder("-U")
        for kind in ("uid", "gid"):
            pathlib.Path(f"/proc/{pid}/{kind}_map").write_text("0 100000 65536\n")
        expected = self.namespace_by_path("user", pid, "user")
        out = self.start("sh", "-c", "readlink /proc/self/ns/user; id -u; echo $$; mkdir /made && ls -dn /made").stdout.split()
        self.assertEqual(out[:3], [expected, "0", "1"])
        self.assertEqual(os.stat(self.work / "rootfs/made").st_uid, 100000)
        started = self.start_in_background("sleep", "1000")
        self.assertEqual(os.readlink(f"/proc/{started}/ns/user"), expected)
        self.assertEqual(self.run_in("readlink", "/proc/self/ns/user").stdout.strip(), expected)

    def test_mount_namespace_by_path(self):  # E9
        expected = self.namespace_by_path("mount", self.holder("-m"), "mnt")
        out = self.start("sh", "-c", "readlink /proc/self/ns/mnt; ls -d /bin /boot 2>/dev/null", check=False).stdout.split()
        self.assertEqual(out, [expected, "/bin"])
        self.assertEqual(os.listdir(self.work / "rootfs/proc"), [])

    def test_pid_namespace_by_path(self):  # A2
        pid = self.holder("-p", "-f")
        inside = int(pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text())
        expected = self.namespace_by_path("pid", inside, "pid")
        out = self.start("sh", "-c", "readlink /proc/self/ns/pid; cat /proc/1/comm; test $$ = $(cut -d' ' -f6 /proc/$$/stat) && echo leads").stdout.split()
        self.assertEqual(out, [expected, "sleep", "leads"])
        started = self.start_in_background("sleep", "1000")
        self.assertEqual(os.readlink(f"/proc/{started}/ns/pid"), expected)
        self.assertEqual(self.run_in("cat", "/proc/1/comm").stdout.strip(), "sleep")
        self.assertEqual(self.start("sh", "-c", "exit 42", check=False, name="other").returncode, 42)
        self.assertIn("executable file not found", self.start("nosuch", check=False, name="other").stderr)

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
        for name, value in (("personality", {"domain": "LINUX32"}), ("intelRdt", {"closID": "x"})):  # E7b
            self.spec = default_spec()
            self.spec["linux"][name] = value
            self.assertIn("not implemented", self.start("true", check=False).stderr, name)
        for part, name, module in (("process", "selinuxLabel", "/sys/fs/selinux"), ("linux", "mountLabel", "/sys/fs/selinux")):
            self.spec = default_spec()
            self.spec[part][name] = "x"
            there = os.path.exists(module)
            done = self.start("true", check=False)
            self.assertEqual((done.returncode == 0, "not implemented" in done.stderr, "has no effect" in done.stderr), (not there, there, not there), name)
