"""Known escapes of container engines, each by its CVE number.

With GRUA_WITHOUT=CVE-… a build of the preset `unprotected` leaves that protection out, and the test of that name must fail
(`./test protections` checks it): a test that cannot fail shows nothing.
"""

import base64
import contextlib
import ctypes
import fcntl
import hashlib
import http.client
import io
import json
import os
import pathlib
import shutil
import socket
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest

from harness import BIN, DOCKER, ENV, Case, run, wait_until

RUNTIME = BIN / "grua-runtime"

# A process in all namespaces of the container whose init is argv[1], with every capability, looks at each process that appears there as
# fast as it can, until its standard input ends. It prints what it saw that is not the container's: argv[2] is a folder of the host with a
# mount on it, argv[3] a socket of the host, argv[4] the capabilities that a process in there may have.
SPY = """
import ctypes, json, os, select, sys
init, folder, socket, allowed = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4], 16)
libc = ctypes.CDLL(None, use_errno=True)
for kind in ("net", "ipc", "uts", "pid", "mnt"):
    fd = os.open(f"/proc/{init}/ns/{kind}", os.O_RDONLY)
    globals()[kind] = fd
for kind in ("net", "ipc", "uts", "pid", "mnt"):
    if libc.setns(globals()[kind], 0):
        raise OSError(ctypes.get_errno(), "setns " + kind)
os.closerange(3, 64)
if os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
os.chdir("/")

def read(path):
    with open(path) as file:
        return file.read()

def look(pid):
    if folder in read(f"/proc/{pid}/mountinfo"):
        yield "mountinfo"
    if socket in read(f"/proc/{pid}/net/unix"):
        yield "net/unix"
    if os.path.exists(f"/proc/{pid}/root{folder}"):
        yield "root"
    for fd in os.listdir(f"/proc/{pid}/fd"):
        if int(fd) > 2:
            yield "fd " + os.readlink(f"/proc/{pid}/fd/{fd}")
    for line in read(f"/proc/{pid}/status").splitlines():
        if line.startswith(("CapPrm", "CapEff")) and int(line.split()[1], 16) & ~allowed:
            yield line

seen, looks = {}, 0
me = int(os.readlink("/proc/self"))
print("ready", flush=True)
pid = max(int(name) for name in os.listdir("/proc") if name.isdigit())
idle = 0
while True:
    pid += 1
    for candidate in range(pid, pid + 3):
        if not os.path.exists(f"/proc/{candidate}"):
            continue
        pid, idle = candidate, 0
        try:
            while candidate != me:  # As long as it lives.
                looks += 1
                for what in look(candidate):
                    seen[what] = seen.get(what, 0) + 1
        except (OSError, ValueError):
            pass
        break
    else:
        pid -= 1
        idle += 1
        if idle % 1000 == 0 and select.select([0], [], [], 0)[0]:
            break
print(json.dumps({"seen": seen, "looks": looks}))
"""


def default_spec():
    return {
        "ociVersion": "1.2.0", "hostname": "box", "root": {"path": "rootfs"},
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["true"], "env": ["PATH=/bin"], "cwd": "/",
                    "capabilities": {kind: ["CAP_CHOWN", "CAP_SYS_ADMIN"] for kind in ("bounding", "effective", "permitted")}},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"},
                   {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
                   {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666", "mode=0620"]}],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts", "network")], "maskedPaths": ["/proc/kcore"],
                  "readonlyPaths": ["/proc/sys"]},
    }


@contextlib.contextmanager
def host_with_secrets(case):
    """A folder with a mount on it and a socket, which nobody inside a container may see."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="grua-canary-", dir="/var/tmp"))
    case.addCleanup(shutil.rmtree, folder, ignore_errors=True)
    run("mount", "-t", "tmpfs", "canary", folder)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/socket")
        try:
            yield folder
        finally:
            listener.close()
            run("umount", "-l", folder)


@contextlib.contextmanager
def spying(pid, folder, secret, allowed):
    """What the spy saw, in a dict that is filled in the end."""
    spy = subprocess.Popen([sys.executable, "-c", SPY, str(pid), str(folder), str(secret), f"{allowed:x}"], text=True,
                           stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    found = {}
    try:
        started = spy.stdout.readline()
        if started != "ready\n":
            raise AssertionError(f"the spy: {started}{spy.stderr.read()}")
        yield found
    finally:
        out, err = spy.communicate("", timeout=60)
        try:
            found.update(json.loads(out))
        except ValueError:
            raise AssertionError(f"the spy: {out}{err}") from None


def seen(folder):
    """All that can be seen of a tree, the times of changes too."""
    out = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        status = os.lstat(path)
        out[str(path)] = (status.st_mode, status.st_uid, status.st_gid, status.st_nlink, status.st_mtime_ns, status.st_ctime_ns, os.listxattr(path, follow_symlinks=False),
                          path.read_bytes() if path.is_file() else None)
    return out


class Bundles(unittest.TestCase):
    """The runtime alone, on a bundle that the attacker controls."""

    def setUp(self):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="grua-sec-", dir="/var/tmp"))
        self.addCleanup(shutil.rmtree, self.work, ignore_errors=True)
        run(ENV / "rootfs.sh", "--busybox", self.work / "rootfs")
        (self.work / "host").mkdir()
        self.spec = default_spec()
        self.count = 0

    def bundle(self, *args, check=True):
        if args:
            self.spec["process"]["args"] = list(args)
        (self.work / "config.json").write_text(json.dumps(self.spec))
        self.count += 1
        return run(RUNTIME, "--root", self.work / "state", "run", "--bundle", self.work, f"sec-{os.getpid()}-{self.count}", check=check)

    def canary(self):
        return sorted(str(path.relative_to(self.work / "host")) for path in (self.work / "host").rglob("*"))

    def test_CVE_2019_5736_the_runtime_cannot_be_overwritten(self):
        """exec of /proc/self/exe is the runtime itself, made to wait at a pipe: the container opens it, ends it and writes."""
        runtime = self.work / "runtime"
        shutil.copy(RUNTIME, runtime)
        binary = hashlib.sha256(runtime.read_bytes()).hexdigest()
        self.spec["process"]["args"] = [
            "sh", "-c", "mkdir /trap; mkfifo /trap/config.json; while :; do for p in /proc/[0-9]*; do case $(readlink $p/exe) in *busybox|'') ;;"
            " *) exec 3< $p/exe; kill -9 ${p#/proc/}; for i in 1 2 3 4 5 6 7 8 9; do sleep 0.1; echo overwritten > /proc/self/fd/3; done ;; esac; done; done"]
        self.spec["process"]["env"].append(f"GRUA_WITHOUT={os.environ.get('GRUA_WITHOUT', '')}")
        (self.work / "config.json").write_text(json.dumps(self.spec))
        name, words = f"sec-{os.getpid()}-exe", [runtime, "--root", self.work / "state"]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run([*words, "run", "-d", "--bundle", self.work, name], check=True, timeout=20, **quiet)
        self.addCleanup(run, RUNTIME, "--root", self.work / "state", "delete", "-f", name)
        wait_until("the trap is there", lambda: (self.work / "rootfs/trap/config.json").exists())
        trap = subprocess.Popen([*words, "exec", name, "/proc/self/exe", "run", "--bundle", "/trap", "x"], **quiet)
        try:
            trap.wait(3)
        except subprocess.TimeoutExpired:
            trap.kill()
            trap.wait()
        time.sleep(1)
        self.assertEqual(hashlib.sha256(runtime.read_bytes()).hexdigest(), binary)

    def in_background(self, name, **more):
        self.spec["process"].update(args=["sleep", "1000"], **more)
        (self.work / "config.json").write_text(json.dumps(self.spec))
        words = [RUNTIME, "--root", self.work / "state"]
        # Not by run(): the container would hold its pipes.
        subprocess.run([*words, "run", "-d", "--bundle", self.work, name], check=True, timeout=20, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(run, *words, "delete", "-f", name, check=False)
        return json.loads(run(*words, "state", name).stdout)["pid"]

    def test_CVE_2016_9962_exec_shows_nothing_of_the_host(self):  # A2
        """Who comes in is not seen before it has left the host: mounts, root, network, descriptors, and rights that no one inside has."""
        every = ["CAP_CHOWN", "CAP_KILL", "CAP_SYS_PTRACE"]
        self.spec["process"]["capabilities"] = {kind: every for kind in ("bounding", "effective", "permitted")}
        self.spec["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}]}
        name = f"sec-{os.getpid()}-spied"
        init = self.in_background(name)
        looks = 0
        for _ in range(10):  # Each lives for some microseconds only, so that the spy is often late.
            with host_with_secrets(self) as folder, spying(init, folder, f"{folder}/socket", 1 << 0 | 1 << 5 | 1 << 19) as found:
                for _ in range(100):
                    run(RUNTIME, "--root", self.work / "state", "exec", name, "true")
            self.assertEqual(found["seen"], {})
            looks += found["looks"]
            if looks > 20:
                break
        self.assertGreater(looks, 0)
        # The spy can see: what joins the PID namespace alone shows all.
        with host_with_secrets(self) as folder, spying(init, folder, f"{folder}/socket", 0) as found:
            run("nsenter", f"--pid=/proc/{init}/ns/pid", "sleep", "0.2")
        self.assertLessEqual({"mountinfo", "net/unix", "root"}, set(found["seen"]))

    def test_CVE_2016_9962_a_start_in_anothers_pid_namespace_shows_nothing_of_the_host(self):  # A2
        init = self.in_background(f"sec-{os.getpid()}-spied")
        for namespace in self.spec["linux"]["namespaces"]:
            if namespace["type"] == "pid":
                namespace["path"] = f"/proc/{init}/ns/pid"
        with host_with_secrets(self) as folder, spying(init, folder, f"{folder}/socket", 1 << 0 | 1 << 21) as found:
            for _ in range(100):
                self.bundle("true")
        self.assertGreater(found["looks"], 0)
        self.assertEqual(found["seen"], {})

    def test_CVE_2021_30465_swapped_mount_targets(self):
        """A link that is swapped for a folder while the container starts never leads a mount point to the host (also 2024-45310)."""
        volume = self.work / "rootfs/volume"
        volume.mkdir()
        (volume / "target").mkdir()
        (volume / "swap").symlink_to(self.work / "host")
        self.spec["mounts"].append({"destination": "/volume/target/made", "type": "tmpfs", "source": "tmpfs"})
        renameat2 = ctypes.CDLL(None, use_errno=True).syscall
        swapper = os.fork()
        if swapper == 0:
            a, b = os.fsencode(volume / "target"), os.fsencode(volume / "swap")
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline:
                renameat2(316, -100, a, -100, b, 2)
            os._exit(0)
        try:
            for _ in range(150):
                self.bundle("true", check=False)
        finally:
            os.kill(swapper, 9)
            os.waitpid(swapper, 0)
        self.assertEqual(self.canary(), [])

    def test_CVE_2024_21626_working_folder_through_a_descriptor(self):
        for number in range(3, 40):
            self.spec["process"]["cwd"] = f"/proc/self/fd/{number}"
            done = self.bundle("ls", "..", check=False)
            self.assertNotEqual(done.returncode, 0, f"fd {number} led to {done.stdout}")

    def test_CVE_2024_21626_no_descriptor_is_left_open(self):
        out = self.bundle("sh", "-c", "ls -l /proc/1/fd /proc/self/fd | grep -c '[0-9] -> '; ls /proc/1/fd").stdout.split("\n")
        self.assertEqual(sorted(set(out[1:]) - {""} - {"0", "1", "2"}), ["3"] if "3" in out[1:] else [])
        target = self.bundle("sh", "-c", "exec readlink /proc/1/fd/3", check=False).stdout.strip()
        self.assertIn(target, ("", "/proc/1/fd"))

    def test_CVE_2025_31133_masking_does_not_use_the_images_null(self):
        (self.work / "dev").mkdir()
        (self.work / "dev/null").symlink_to("/proc/sys/kernel/hostname")
        self.spec["mounts"] = [self.spec["mounts"][0], {"destination": "/dev", "type": "bind", "source": str(self.work / "dev"), "options": ["rbind"]}]
        self.spec["linux"]["maskedPaths"] = ["/proc/version"]  # Every kernel has it, unlike /proc/kcore.
        out = self.bundle("stat", "-c", "%F %t:%T", "/proc/version", check=False)
        self.assertEqual(out.stdout.strip(), "character special file 1:3", out.stderr)

    def test_CVE_2025_52565_console_is_the_terminal_and_nothing_else(self):
        """/dev/console of the image is a link: the terminal must not be mounted where it leads."""
        (self.work / "rootfs/dev").mkdir(exist_ok=True)
        (self.work / "rootfs/trap").write_text("as it was\n")
        (self.work / "rootfs/dev/console").symlink_to("/trap")
        self.spec["mounts"] = [m for m in self.spec["mounts"] if m["destination"] != "/dev"]
        (self.work / "rootfs/dev/pts").mkdir()
        self.spec["process"]["terminal"] = True
        (self.work / "config.json").write_text(json.dumps(self.spec))
        self.spec["process"]["args"] = ["stat", "-c", "%F", "/trap"]
        (self.work / "config.json").write_text(json.dumps(self.spec))
        out = run("script", "-qec", f"{RUNTIME} --root {self.work}/state run --bundle {self.work} sec-{os.getpid()}-console", "/dev/null", check=False)
        self.assertNotIn("character special", out.stdout)

    def test_CVE_2025_52881_settings_are_written_to_the_real_proc(self):
        """A mount over /proc/sys must not catch what the runtime writes."""
        fake = self.work / "fake/net/ipv4"
        fake.mkdir(parents=True)
        (fake / "ip_unprivileged_port_start").write_text("fake")
        self.spec["mounts"].append({"destination": "/proc/sys", "type": "bind", "source": str(self.work / "fake"), "options": ["rbind"]})
        self.spec["linux"]["sysctl"] = {"net.ipv4.ip_unprivileged_port_start": "77"}
        self.spec["linux"]["readonlyPaths"] = []
        self.bundle("true", check=False)
        self.assertEqual((fake / "ip_unprivileged_port_start").read_text(), "fake")

    def test_CVE_2022_29162_inheritable_capabilities_are_empty(self):
        """What --cap adds is not inherited by a file's capabilities."""
        name = f"sec-{os.getpid()}-caps"
        self.in_background(name)
        out = run(RUNTIME, "--root", self.work / "state", "exec", "--cap", "CAP_KILL", name, "grep", "Cap[IP]", "/proc/self/status")
        self.assertEqual(out.stdout.split(), ["CapInh:", "0000000000000000", "CapPrm:", "0000000000200021"])

    def test_CVE_2026_41579_dev_that_is_a_link(self):
        shutil.rmtree(self.work / "rootfs/dev")
        (self.work / "rootfs/dev").symlink_to("../" * 12 + str(self.work / "host"))
        self.bundle("true", check=False)
        self.assertEqual(self.canary(), [])

    def test_CVE_2023_27561_proc_that_is_a_link(self):
        shutil.rmtree(self.work / "rootfs/proc")
        (self.work / "rootfs/elsewhere").mkdir()
        (self.work / "rootfs/proc").symlink_to("elsewhere")
        done = self.bundle("cat", "/elsewhere/version", check=False)
        self.assertNotEqual(done.returncode, 0)

    def test_CVE_2022_0811_only_namespaced_settings(self):
        for name in ("kernel.core_pattern", "kernel.shm_rmid_forced+kernel.core_pattern", "net.../../kernel/core_pattern", "net/ipv4/../../kernel/core_pattern"):
            self.spec["linux"]["sysctl"] = {name: "|/evil"}
            done = self.bundle("true", check=False)
            self.assertNotEqual(done.returncode, 0, name)
        self.assertNotIn("evil", pathlib.Path("/proc/sys/kernel/core_pattern").read_text())


class Engine(Case):
    def test_CVE_2019_5736_a_monitors_program_is_sealed(self):
        """While a monitor runs, the kernel refuses to write to its program anyhow; afterwards only the seal does."""
        self.docker("run", "-d", "--name", "cc", "busybox", "sleep", "1000")
        stat = pathlib.Path(f"/proc/{self.out('inspect', '--format', '{{.State.Pid}}', 'cc')}/stat").read_text()
        with open(f"/proc/{stat.rsplit(')', 1)[1].split()[1]}/exe", "rb") as monitor:
            f_get_seals, f_seal_write = 1034, 8
            self.assertTrue(fcntl.fcntl(monitor, f_get_seals) & f_seal_write)

    def test_nothing_of_the_host_is_below_the_root(self):
        """One that may unmount takes off its own root: what its mount namespace begins with is empty."""
        self.docker("run", "-d", "--name", "cc", "--privileged", "busybox", "sh", "-c", "umount -l / && echo done; sleep 1000")
        wait_until("the root is off", lambda: "done" in self.out("logs", "cc"))
        below = ("import ctypes, os, sys; libc = ctypes.CDLL(None, use_errno=True); fd = os.open(sys.argv[1], os.O_RDONLY)\n"
                 "if libc.setns(fd, 0x20000): raise OSError(ctypes.get_errno(), 'setns')\nprint(os.listdir('/'))")
        pid = self.out("inspect", "--format", "{{.State.Pid}}", "cc")
        self.assertEqual(run(sys.executable, "-c", below, f"/proc/{pid}/ns/mnt").stdout.strip(), "[]")

    def test_CVE_2022_29162_inheritable_capabilities_are_empty(self):
        self.docker("run", "-d", "--name", "cc", "busybox", "sleep", "1000")
        for words in (["exec", "cc"], ["exec", "--privileged", "cc"], ["run", "--rm", "busybox"], ["run", "--rm", "--privileged", "busybox"]):
            self.assertEqual(self.out(*words, "grep", "CapInh", "/proc/self/status").split()[1], "0" * 16, words)

    def test_CVE_2016_9962_exec_shows_nothing_of_the_host(self):  # A2
        self.docker("run", "-d", "--name", "cc", "--cap-add", "SYS_PTRACE", "busybox", "sleep", "1000")
        init = self.daemon.inspect("cc")["State"]["Pid"]
        status = pathlib.Path(f"/proc/{init}/status").read_text().splitlines()
        allowed = next(int(line.split()[1], 16) for line in status if line.startswith("CapBnd"))
        with host_with_secrets(self) as folder, spying(init, folder, self.daemon.socket, allowed) as found:
            for turn in range(60):
                self.docker("exec", *(["-t"] if turn % 3 == 0 else []), *(["-u", "1000"] if turn % 2 else []), "cc", "true")
        self.assertGreater(found["looks"], 0)
        self.assertEqual(found["seen"], {})

    def test_CVE_2016_9962_a_start_in_anothers_pid_namespace_shows_nothing_of_the_host(self):  # A2
        self.docker("run", "-d", "--name", "cc", "--cap-add", "SYS_PTRACE", "busybox", "sleep", "1000")
        init = self.daemon.inspect("cc")["State"]["Pid"]
        status = pathlib.Path(f"/proc/{init}/status").read_text().splitlines()
        allowed = next(int(line.split()[1], 16) for line in status if line.startswith("CapBnd")) | 1 << 21
        with host_with_secrets(self) as folder, spying(init, folder, self.daemon.socket, allowed) as found:
            for _ in range(30):
                # A program that opens nothing of its own.
                self.assertGreater(int(self.out("run", "--rm", "--pid", "container:cc", "busybox", "sh", "-c", "echo $$")), 1)
        self.assertGreater(found["looks"], 0)
        self.assertEqual(found["seen"], {})

    def test_the_null_device_of_the_host_is_not_in_a_container(self):  # A3
        before = os.stat("/dev/null")
        # Wherever it fails, the host's is as it was.
        self.addCleanup(os.chown, "/dev/null", before.st_uid, before.st_gid)
        self.addCleanup(os.chmod, "/dev/null", stat.S_IMODE(before.st_mode))
        change = "chmod 0640 {0}; chown 7:7 {0}; true"
        self.docker("run", "-d", "--name", "cc", "busybox", "sh", "-c", change.format("/proc/self/fd/0") + "; sleep 1000")
        self.docker("exec", "cc", "sh", "-c", "".join(change.format(path) + ";" for path in ("/proc/interrupts", "/proc/kcore", "/proc/keys")))
        self.docker("exec", "-d", "cc", "sh", "-c", change.format("/proc/self/fd/0") + "; touch /done")
        wait_until("exec has changed its null device", lambda: self.docker("exec", "cc", "ls", "/done", check=False).returncode == 0)
        self.docker("exec", "cc", "sh", "-c", "rm /dev/null; echo trap > /dev/null")
        self.docker("exec", "-d", "cc", "sh", "-c", "stat -L -c %t:%T /proc/self/fd/0 > /kind; " + change.format("/proc/self/fd/0"))
        kind = wait_until("exec has a null device", lambda: self.docker("exec", "cc", "cat", "/kind", check=False).stdout)
        self.assertEqual(kind, "1:3\n")
        other = self.docker("run", "--rm", "busybox", "stat", "-L", "-c", "%a %u", "/dev/null", "/proc/interrupts").stdout.split()
        self.assertEqual(other, ["666", "0"] * 2)
        after = os.stat("/dev/null")
        self.assertEqual((after.st_mode, after.st_uid, after.st_gid), (before.st_mode, before.st_uid, before.st_gid))

    def groups(self, *words):
        return sorted(map(int, self.out(*words, "sh", "-c", "grep Groups: /proc/self/status | cut -d: -f2").split()))

    def test_CVE_2022_36109_the_primary_group_is_among_the_groups(self):  # A5
        self.image("groups:2", lambda root: ((root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nann:x:1000:1001::/:/bin/sh\n"),
                                             (root / "etc/group").write_text("root:x:0:\nann:x:1001:\naudio:x:29:ann,root\nfloppy:x:19:\n")))
        self.docker("run", "-d", "--name", "cc", "groups:2", "sleep", "1000")
        for user, more, expected in (("1000", (), [29, 1001]), ("ann", (), [29, 1001]), ("1000:1000", (), [1000]), ("ann:floppy", (), [19]), ("77", (), [0]),
                                     ("5:6", ("--group-add", "29"), [6, 29]), ("0", (), [0, 29])):
            self.assertEqual(self.groups("run", "--rm", "-u", user, *more, "groups:2"), expected, user)
            if not more:
                self.assertEqual(self.groups("exec", "-u", user, "cc"), expected, user)
        # G18
        self.assertEqual(self.groups("run", "--rm", "groups:2"), [0, 29])
        self.assertEqual(self.groups("exec", "cc"), [0, 29])

    def test_CVE_2024_21626_working_folder_of_exec(self):
        self.docker("run", "-d", "--name", "cc", "busybox", "sleep", "1000")
        for number in range(3, 20):
            done = self.docker("exec", "-w", f"/proc/self/fd/{number}", "cc", "ls", "..", check=False)
            self.assertNotEqual(done.returncode, 0, done.stdout)

    def image(self, tag, changes):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as work:
            run(ENV / "rootfs.sh", "--busybox", f"{work}/root")
            changes(pathlib.Path(work, "root"))
            run(ENV / "oci-image.sh", "--tag", tag, "--cmd", "sh", f"{work}/root", f"{work}/image.tar")
            self.docker("load", "-q", "-i", f"{work}/image.tar")
        self.addCleanup(self.docker, "rmi", "-f", tag)

    def test_CVE_2026_46680_a_number_is_a_number(self):
        self.image("users:1", lambda root: (root / "etc/passwd").write_text("1000:x:0:0::/root:/bin/sh\nroot:x:0:0::/:/bin/sh\n"))
        self.assertEqual(self.out("run", "--rm", "--user", "1000", "users:1", "id", "-u"), "1000")

    def test_CVE_2026_30892_nonsense_is_not_root(self):
        for user in ("1000junk", "+0", "-1", "4294967296", "99999999999999999999", "0x0", " 0"):
            done = self.docker("run", "--rm", "--user", user, "busybox", "id", "-u", check=False)
            self.assertNotEqual(done.returncode, 0, f"{user} became {done.stdout}")

    def test_CVE_2026_47262_group_file_without_end(self):
        def changes(root):
            with open(root / "etc/group", "wb") as file:
                file.truncate(2 << 30)

        with tempfile.TemporaryDirectory(dir="/var/tmp") as work:
            run(ENV / "rootfs.sh", "--busybox", f"{work}/root")
            changes(pathlib.Path(work, "root"))
            run("tar", "-C", f"{work}/root", "--sparse", "-cf", f"{work}/root.tar", ".")
            self.docker("import", f"{work}/root.tar", "groups:1")
        self.addCleanup(self.docker, "rmi", "-f", "groups:1")
        started = time.monotonic()
        self.docker("run", "--rm", "--user", "nobody:nogroup", "groups:1", "true", check=False)
        self.assertLess(time.monotonic() - started, 20)

    def test_CVE_2024_9676_passwd_that_is_a_pipe(self):
        def changes(root):
            (root / "etc/passwd").unlink()
            os.mkfifo(root / "etc/passwd")

        self.image("pipe:1", changes)
        done = self.docker("run", "--rm", "--user", "nobody", "pipe:1", "true", check=False, timeout=20)
        self.assertNotEqual(done.returncode, 0)

    def attacks(self, canary):
        """Tars that want to get at a folder of the host."""
        up = "../" * 14

        inside = str(canary).strip("/")

        def entry(name, kind=tarfile.REGTYPE, link="", data=b"evil", xattrs=False):
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode, info.mtime, info.uid, info.gid = kind, link, 0o7777, 12345, 4242, 4242
            info.pax_headers = {"SCHILY.xattr.user.evil": "x", "SCHILY.xattr.trusted.evil": "x"} if xattrs else {}
            info.size = len(data) if kind == tarfile.REGTYPE else 0
            return info, data if kind == tarfile.REGTYPE else None

        def folders(path):
            parts = path.split("/")
            return [entry("/".join(parts[:count]), tarfile.DIRTYPE) for count in range(1, len(parts) + 1)]

        before = seen(canary)
        attacks = {
            "dotdot": [entry(f"{up}{canary}/new")],
            "absolute": [entry(f"{canary}/new")],
            "link": [entry("l", tarfile.SYMTYPE, str(canary)), entry("l/new")],
            "relative link": [entry("l", tarfile.SYMTYPE, up + str(canary)), entry("l/new"), entry("l/sub/new")],
            "link for a file": [entry("l", tarfile.SYMTYPE, f"{canary}/file"), entry("l")],
            "hard link": [entry("h", tarfile.LNKTYPE, f"{up}{canary}/file"), entry("h")],
            "hard link through a link": [entry("l", tarfile.SYMTYPE, str(canary)), entry("h", tarfile.LNKTYPE, "l/file"), entry("h")],
            "whiteout": [entry("l", tarfile.SYMTYPE, str(canary)), entry("l/.wh.file", data=b"")],
            "whiteout of dotdot": [entry(".wh...", data=b""), entry(f".wh.{up}{canary}", data=b"")],
            "opaque": [entry("l", tarfile.SYMTYPE, str(canary)), entry("l/.wh..wh..opq", data=b"")],
            "device": [entry("l", tarfile.SYMTYPE, str(canary)), entry("l/dev", tarfile.CHRTYPE)],
            "folders through a link to the root": [*folders(inside), entry("l", tarfile.SYMTYPE, "/"), *folders(f"l/{inside}")],
            "folders through a link that climbs": [*folders(inside), entry("l", tarfile.SYMTYPE, "../" * 14), *folders(f"l/{inside}")],
            "folders that become links": [*folders(f"d/{inside}"), entry("d", tarfile.SYMTYPE, "/"), entry("x", tarfile.DIRTYPE)],
            "folders through a link": [entry("l", tarfile.SYMTYPE, str(canary)), entry("l/", tarfile.DIRTYPE), entry("l/sub", tarfile.DIRTYPE)],
            "mode of a link": [entry("l", tarfile.SYMTYPE, f"{canary}/file"), entry("m", tarfile.SYMTYPE, str(canary))],
            "xattrs of a link": [entry("l", tarfile.SYMTYPE, str(canary), xattrs=True), entry("m", tarfile.SYMTYPE, f"{canary}/file", xattrs=True)],
            "xattrs through a link": [entry("l", tarfile.SYMTYPE, str(canary)), entry("l/file", xattrs=True), entry("l/", tarfile.DIRTYPE, xattrs=True)],
            "hard link to a link": [entry("l", tarfile.SYMTYPE, f"{canary}/file"), entry("h", tarfile.LNKTYPE, "l"), entry("h")],
            "fifo": [entry("l", tarfile.SYMTYPE, str(canary)), entry("l/pipe", tarfile.FIFOTYPE)],
        }
        for name, entries in attacks.items():
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
                for info, data in entries:
                    archive.addfile(info, io.BytesIO(data) if data is not None else None)
            yield name, buffer.getvalue()
            self.assertEqual(seen(canary), before, name)

    def test_times_of_folders_stay_inside(self):
        """A6: a layer's folders get their times last, when links may have come in their way."""
        canary = self.canary()
        for name, tar in self.attacks(canary):
            if name.startswith("folders"):
                run(DOCKER, "import", "-", "evil:1", check=False, stdin=self.file_of(tar), env=self.daemon.environment())
                self.docker("rmi", "-f", "evil:1", check=False)

    def test_a_copy_to_the_client_stays_inside(self):
        """What a daemon, or a container through it, sends to `grua cp` makes files in the folder that was named, and nowhere else."""
        work = pathlib.Path(tempfile.mkdtemp(prefix="grua-cp-", dir="/var/tmp"))
        self.addCleanup(shutil.rmtree, work)
        stat = base64.b64encode(json.dumps({"name": "l", "size": 0, "mode": 0o20000000755, "mtime": "2026-01-02T03:04:05Z", "linkTarget": ""}).encode())
        for name, tar in self.attacks(self.canary()):
            for target in (".", "renamed"):
                place = work / "in"
                place.mkdir()
                with socket.socket(socket.AF_UNIX) as listener:
                    listener.bind(str(work / "sock"))
                    listener.listen(8)
                    listener.settimeout(0.2)
                    client = subprocess.Popen([BIN / "grua", "-H", f"unix://{work}/sock", "cp", "cc:/l", str(place / target)], stdin=subprocess.DEVNULL,
                                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self.daemon.environment())
                    asked = 0
                    while client.poll() is None:
                        try:
                            peer, _ = listener.accept()
                        except TimeoutError:
                            continue
                        with peer, contextlib.suppress(OSError):
                            request = peer.recv(65536)
                            asked += b"/archive" in request
                            body = tar if b"/archive" in request else b"OK"
                            peer.sendall(b"HTTP/1.1 200 OK\r\nApi-Version: 1.44\r\nX-Docker-Container-Path-Stat: " + stat +
                                         b"\r\nContent-Type: application/x-tar\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                self.assertGreater(asked, 0, name)
                (work / "sock").unlink()
                self.assertEqual([path.name for path in work.iterdir()], ["in"], name)
                shutil.rmtree(place)

    def file_of(self, data):
        file = tempfile.TemporaryFile()
        self.addCleanup(file.close)
        file.write(data)
        file.seek(0)
        return file

    def canary(self):
        canary = pathlib.Path(tempfile.mkdtemp(prefix="grua-canary-", dir="/var/tmp"))
        self.addCleanup(shutil.rmtree, canary)
        (canary / "file").write_text("untouched")
        (canary / "sub").mkdir()
        return canary

    def test_CVE_2026_17106_layer_extraction_stays_inside(self):
        for _, tar in self.attacks(self.canary()):
            with tempfile.NamedTemporaryFile(suffix=".tar") as file:
                file.write(tar)
                file.flush()
                self.docker("import", file.name, "evil:1", check=False)
            self.docker("rmi", "-f", "evil:1", check=False)

    def test_CVE_2026_17106_a_copied_tar_stays_inside(self):
        self.docker("run", "-d", "--name", "cc", "-v", "evil-vol:/vol", "busybox", "sleep", "1000")
        self.addCleanup(self.docker, "volume", "rm", "-f", "evil-vol")
        for _, tar in self.attacks(self.canary()):
            with tempfile.NamedTemporaryFile(suffix=".tar") as file:
                file.write(tar)
                file.flush()
                for path in ("/tmp", "/vol", "/"):
                    run("curl", "-s", "-X", "PUT", "--unix-socket", self.daemon.socket, "--data-binary", f"@{file.name}", f"http://d/containers/cc/archive?path={path}")

    def test_CVE_2018_15664_a_copy_follows_no_swapped_link(self):
        """A program in the container exchanges a folder and a link to a folder of the host all the time, while files are copied in and out."""
        host = pathlib.Path(tempfile.mkdtemp(prefix="grua-canary-", dir="/var/tmp"))
        self.addCleanup(shutil.rmtree, host)
        (host / "file").write_text("the host's")
        self.docker("run", "-d", "--name", "cc", "-v", "swap-vol:/vol", "busybox", "sh", "-c",
                    f"for d in /w /vol/w; do mkdir -p $d/place; echo the container\\'s > $d/place/file; ln -s {host} $d/swap; done; sleep 1000")
        self.addCleanup(self.docker, "volume", "rm", "-f", "swap-vol")
        wait_until("the trap is there", lambda: self.docker("exec", "cc", "ls", "/vol/w/swap/", "-d", check=False).stdout or
                   self.docker("exec", "cc", "readlink", "/vol/w/swap", check=False).stdout)
        root = f"/proc/{self.out('inspect', '--format', '{{.State.Pid}}', 'cc')}/root"
        renameat2 = ctypes.CDLL(None, use_errno=True).syscall
        swapper = os.fork()
        if swapper == 0:
            pairs = [(os.fsencode(f"{root}{d}/place"), os.fsencode(f"{root}{d}/swap")) for d in ("/w", "/vol/w")]
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline:
                for a, b in pairs:
                    renameat2(316, -100, a, -100, b, 2)
            os._exit(0)
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name, data in (("file", b"evil"), ("made", b"evil"), ("place/file", b"evil")):
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(data), 0o777
                archive.addfile(info, io.BytesIO(data))
        worked = {"GET": 0, "PUT": 0}
        try:
            for _ in range(300):
                for path in ("/w/place", "/vol/w/place", "/w", "/w/place/file"):
                    for method, body in (("GET", None), ("PUT", buffer.getvalue())):
                        connection = http.client.HTTPConnection("d")
                        connection.sock = socket.socket(socket.AF_UNIX)
                        connection.sock.connect(str(self.daemon.socket))
                        connection.request(method, f"/containers/cc/archive?path={path}", body)
                        answer = connection.getresponse()
                        with contextlib.suppress(http.client.IncompleteRead):
                            self.assertNotIn(b"the host's", answer.read())
                        worked[method] += answer.status == 200
                        connection.close()
        finally:
            os.kill(swapper, 9)
            os.waitpid(swapper, 0)
        self.assertEqual([(path.name, path.read_text()) for path in host.iterdir()], [("file", "the host's")])
        self.assertGreater(min(worked.values()), 50, worked)

    def test_CVE_2017_1002101_a_subpath_stays_in_its_volume(self):
        """Links in a volume that lead out of it, also those that are swapped in while containers start (CVE-2021-25741)."""
        host = pathlib.Path(tempfile.mkdtemp(prefix="grua-canary-", dir="/var/tmp"))
        self.addCleanup(shutil.rmtree, host)
        (host / "file").write_text("the host's")
        self.addCleanup(self.docker, "volume", "rm", "-f", "sub-vol")
        self.docker("run", "-d", "--name", "cc", "-v", "sub-vol:/vol", "busybox", "sh", "-c",
                    f"cd /vol; mkdir -p place up; echo the container\\'s > place/file; ln -s {host} out; ln -s {'../' * 12}{host} up/out;"
                    f"ln -s {host} swap; ln -s /proc/1/root{host} magic; touch ready; sleep 1000")
        data = pathlib.Path(self.out("volume", "inspect", "-f", "{{.Mountpoint}}", "sub-vol"))
        wait_until("the trap is there", lambda: (data / "ready").exists())

        def mounted(subpath):
            done = self.docker("run", "--rm", "--network", "none", "--mount", f"type=volume,src=sub-vol,dst=/x,volume-subpath={subpath}",
                               "busybox", "sh", "-c", "cat /x/file; echo evil > /x/made", check=False)
            self.assertNotIn("the host's", done.stdout)
            return done

        for subpath in ("out", "up/out", "magic", "out/file", "place/../up/out"):
            self.assertIn("cannot access path", mounted(subpath).stderr, subpath)
        for subpath in ("..", "../..", "/etc", "place/../../x"):
            self.assertIn("subpath must be a relative path within the volume", mounted(subpath).stderr, subpath)
        renameat2 = ctypes.CDLL(None, use_errno=True).syscall
        swapper = os.fork()
        if swapper == 0:
            deadline = time.monotonic() + 300
            while time.monotonic() < deadline:
                renameat2(316, -100, os.fsencode(data / "place"), -100, os.fsencode(data / "swap"), 2)
            os._exit(0)
        try:
            worked = sum(mounted("place").returncode == 0 for _ in range(40))
        finally:
            os.kill(swapper, 9)
            os.waitpid(swapper, 0)
        self.assertEqual([(path.name, path.read_text()) for path in host.iterdir()], [("file", "the host's")])
        self.assertGreater(worked, 3)

    def test_CVE_2017_1002101_a_copy_stays_in_its_subpath(self):
        host = pathlib.Path(tempfile.mkdtemp(prefix="grua-canary-", dir="/var/tmp"))
        self.addCleanup(shutil.rmtree, host)
        (host / "file").write_text("the host's")
        self.addCleanup(self.docker, "volume", "rm", "-f", "sub-vol")
        self.docker("run", "--rm", "-v", "sub-vol:/vol", "busybox", "mkdir", "-p", "/vol/place")
        self.docker("create", "--name", "cc", "--mount", "type=volume,src=sub-vol,dst=/x,volume-subpath=place", "busybox", "true")
        data = pathlib.Path(self.out("volume", "inspect", "-f", "{{.Mountpoint}}", "sub-vol"))
        (data / "place").rmdir()
        (data / "place").symlink_to(host)
        self.assertNotEqual(self.docker("cp", "cc:/x/file", "-", check=False).returncode, 0)
        with tempfile.NamedTemporaryFile() as file:
            self.docker("cp", file.name, "cc:/x/made", check=False)
        self.assertEqual([path.name for path in host.iterdir()], ["file"])

    def test_CVE_2020_15257_no_abstract_sockets(self):
        self.docker("run", "-d", "--name", "cc", "--network", "host", "busybox", "sleep", "1000")
        self.assertNotIn("@", self.out("exec", "cc", "cat", "/proc/net/unix"))

    def test_CVE_2022_0492_no_new_namespaces_or_mounts_by_default(self):
        for words in (["unshare", "-Ur", "true"], ["mount", "-t", "tmpfs", "x", "/mnt"], ["unshare", "-m", "true"]):
            self.assertNotEqual(self.docker("run", "--rm", "busybox", *words, check=False).returncode, 0, words)
