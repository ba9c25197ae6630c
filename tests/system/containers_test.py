"""Containers through the unmodified docker CLI."""

import json
import os
import pathlib
import subprocess
import tempfile
import time

from harness import Case, cgroup_file, cgroup_version, wait_until


class Run(Case):
    def test_output_and_exit_status(self):
        done = self.docker("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 7", check=False)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (7, "out\n", "err\n"))

    def test_stdin_is_piped(self):
        done = self.docker("run", "--rm", "-i", "busybox", "wc", "-c", input="x" * 100000)
        self.assertEqual(done.stdout.strip(), "100000")

    def test_much_output_is_whole(self):
        done = self.docker("run", "--rm", "busybox", "sh", "-c", "yes 0123456789abcdef | head -n 500000 | tee /dev/stderr")
        self.assertEqual((len(done.stdout), len(done.stderr)), (17 * 500000, 17 * 500000))

    def test_missing_program(self):
        done = self.docker("run", "--rm", "busybox", "no-such-program", check=False)
        self.assertEqual(done.returncode, 127)
        self.assertIn('exec: "no-such-program": executable file not found in $PATH', done.stderr)

    def test_program_that_may_not_be_executed(self):
        done = self.docker("run", "--rm", "busybox", "/etc/passwd", check=False)
        self.assertEqual(done.returncode, 126)
        self.assertIn("permission denied", done.stderr)

    def test_bad_option_is_125(self):
        self.assertEqual(self.docker("run", "--rm", "--memory", "1m", "busybox", "true", check=False).returncode, 125)

    def test_user_env_workdir_entrypoint_hostname_label(self):
        out = self.out("run", "--rm", "--user", "33:7", "--env", "A=b c", "--workdir", "/new/folder", "--entrypoint", "sh", "--hostname", "box",
                       "busybox", "-c", "id -u; id -g; echo $A; pwd; hostname; echo $PATH").split("\n")
        self.assertEqual(out, ["33", "7", "b c", "/new/folder", "box", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"])

    def test_init_read_only_tmpfs_shm(self):
        out = self.out("run", "--rm", "--init", "--read-only", "--tmpfs", "/t:size=1m,mode=1777", "--shm-size", "8m", "busybox", "sh", "-c",
                       "cat /proc/1/comm; touch /x 2>&1; touch /t/x && echo wrote; df -k /dev/shm | tail -1 | awk '{print $2}'; df -k /t | tail -1 | awk '{print $2}'")
        self.assertIn("init", out.split("\n")[0])
        self.assertIn("Read-only file system", out)
        self.assertIn("wrote\n8192\n1024", out)

    def test_capabilities(self):
        def effective(*options):
            return int(self.out("run", "--rm", *options, "busybox", "awk", "/CapEff/{print $2}", "/proc/self/status"), 16)

        self.assertEqual(effective(), 0xA80425FB)
        self.assertEqual(effective("--cap-drop", "ALL"), 0)
        self.assertEqual(effective("--cap-drop", "ALL", "--cap-add", "NET_ADMIN"), 1 << 12)
        self.assertGreater(effective("--privileged"), 0xA80425FB)

    def test_seccomp_and_no_new_privileges(self):
        status = self.out("run", "--rm", "--security-opt", "no-new-privileges", "busybox", "cat", "/proc/self/status")
        self.assertRegex(status, r"NoNewPrivs:\s+1")
        self.assertRegex(status, r"Seccomp:\s+2")
        status = self.out("run", "--rm", "--security-opt", "seccomp=unconfined", "busybox", "cat", "/proc/self/status")
        self.assertRegex(status, r"Seccomp:\s+0")
        done = self.docker("run", "--rm", "busybox", "unshare", "-m", "true", check=False)
        self.assertNotEqual(done.returncode, 0)

    def test_ulimit_sysctl_device(self):
        out = self.out("run", "--rm", "--ulimit", "nofile=123:456", "--sysctl", "net.ipv4.ip_unprivileged_port_start=77", "--device",
                       "/dev/null:/dev/other", "busybox", "sh", "-c",
                       "ulimit -n; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; echo x > /dev/other && stat -c %t:%T /dev/other")
        self.assertEqual(out.split("\n"), ["123", "77", "1:3"])

    def test_bind_mounts_and_volumes(self):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "in").write_text("host\n")
            self.assertEqual(self.out("run", "--rm", "-v", f"{folder}:/data", "busybox", "sh", "-c", "cat /data/in; echo made > /data/out"), "host")
            self.assertEqual(pathlib.Path(folder, "out").read_text(), "made\n")
            done = self.docker("run", "--rm", "-v", f"{folder}:/data:ro", "busybox", "touch", "/data/x", check=False)
            self.assertIn("Read-only file system", done.stderr)
        self.docker("run", "--rm", "-v", "keep:/data", "busybox", "sh", "-c", "echo kept > /data/f")
        self.assertEqual(self.out("run", "--rm", "-v", "keep:/data", "busybox", "cat", "/data/f"), "kept")
        self.assertIn("keep", self.out("volume", "ls", "-q"))
        self.docker("volume", "rm", "keep")
        done = self.docker("run", "--rm", "--mount", "type=bind,src=/no/such/path,dst=/x", "busybox", "true", check=False)
        self.assertIn("bind source path does not exist: /no/such/path", done.stderr)

    def test_proc_and_sys_are_masked(self):
        """Masked files are empty, masked folders have nothing in them, and what sets the host cannot be written."""
        masked = ["acpi", "interrupts", "kcore", "keys", "latency_stats", "sched_debug", "scsi", "timer_list"]
        here = [f"/proc/{name}" for name in masked if os.path.exists(f"/proc/{name}")] + ["/sys/firmware"]
        self.assertEqual(self.out("run", "--rm", "busybox", "sh", "-c", f"for i in {' '.join(here)}; do [ -d $i ] && ls -A $i || cat $i; done"), "")
        for path in ("/proc/sys/kernel/core_pattern", "/proc/irq/default_smp_affinity", "/sys/kernel/mm/transparent_hugepage/enabled"):
            if os.path.exists(path):
                done = self.docker("run", "--rm", "busybox", "sh", "-c", f"echo x > {path}", check=False)
                self.assertIn("Read-only file system", done.stderr)


class Lifecycle(Case):
    def background(self, *options, command=("sleep", "1000")):
        return self.out("run", "-d", *options, "busybox", *command)

    def test_ps_filters_and_formats(self):
        one = self.background("--name", "one", "--label", "kind=a")
        self.docker("run", "--name", "two", "--label", "kind=b", "busybox", "sh", "-c", "exit 3", check=False)
        self.assertEqual(self.out("ps", "-q", "--no-trunc"), one)
        self.assertEqual(self.out("ps", "-a", "--filter", "label=kind=b", "--format", "{{.Names}} {{.Status}}").split(" ")[:2], ["two", "Exited"])
        self.assertEqual(self.out("ps", "-a", "--filter", "status=exited", "--filter", "exited=3", "--format", "{{.Names}}"), "two")
        self.assertEqual(self.out("ps", "-a", "--filter", "name=^one$", "--format", "{{.Image}}"), "busybox")
        self.assertEqual(sorted(self.out("ps", "-a", "--filter", "ancestor=busybox", "--format", "{{.Names}}").split()), ["one", "two"])

    def test_stop_start_restart_kill(self):
        self.background("--name", "cc", command=("sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.1; done"))
        self.docker("stop", "cc")
        self.assertEqual(self.out("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "cc"), "exited 5")
        self.docker("start", "cc")
        pid = self.out("inspect", "--format", "{{.State.Pid}}", "cc")
        self.docker("restart", "-t", "1", "cc")
        self.assertNotEqual(self.out("inspect", "--format", "{{.State.Pid}}", "cc"), pid)
        self.docker("kill", "-s", "KILL", "cc")
        self.assertEqual(self.out("wait", "cc"), "137")
        done = self.docker("kill", "cc", check=False)
        self.assertIn("is not running", done.stderr)

    def test_pause_rename_top(self):
        identity = self.background("--name", "cc")
        self.docker("pause", "cc")
        self.assertIn("Paused", self.out("ps", "--format", "{{.Status}}"))
        self.docker("unpause", "cc")
        self.docker("rename", "cc", "dd")
        self.assertEqual(self.out("inspect", "--format", "{{.Id}} {{.Name}}", "dd"), f"{identity} /dd")
        self.assertIn("sleep 1000", self.out("top", "dd"))

    def test_name_conflict(self):
        self.background("--name", "cc")
        done = self.docker("create", "--name", "cc", "busybox", "true", check=False)
        self.assertIn('Conflict. The container name "/cc" is already in use by container', done.stderr)

    def test_rm_of_a_running_container_needs_force(self):
        self.background("--name", "cc")
        done = self.docker("rm", "cc", check=False)
        self.assertIn("container is running: stop the container before removing or force remove", done.stderr)
        self.docker("rm", "-f", "cc")
        self.assertIn("No such container: cc", self.docker("inspect", "--type", "container", "cc", check=False).stderr)

    def test_wait_gets_the_status_of_a_container_that_removes_itself(self):
        self.background("--rm", "--name", "cc", command=("sh", "-c", "sleep 0.5; exit 9"))
        self.assertEqual(self.out("wait", "cc"), "9")
        wait_until("the container is gone", lambda: self.out("ps", "-aq") == "")

    def test_restart_policy(self):
        self.background("--name", "cc", "--restart", "on-failure:2", command=("sh", "-c", "echo run; exit 1"))
        wait_until("three runs", lambda: self.out("inspect", "--format", "{{.State.Status}} {{.RestartCount}}", "cc") == "exited 2")
        self.assertEqual(self.out("logs", "cc"), "run\nrun\nrun")

    def test_logs(self):
        self.background("--name", "cc", command=("sh", "-c", "for i in 1 2 3 4 5; do echo $i; sleep 0.2; done; echo e >&2"))
        follow = subprocess.run([*self.follow_words("cc")], env=self.daemon.environment(), capture_output=True, text=True, timeout=30)
        self.assertEqual((follow.stdout, follow.stderr), ("1\n2\n3\n4\n5\n", "e\n"))
        self.assertEqual(self.out("logs", "--tail", "2", "cc"), "5")
        first = self.out("logs", "-t", "cc").split("\n")[0]
        self.assertRegex(first, r"^\d{4}-\d\d-\d\dT[\d:.]+Z 1$")
        third = self.out("logs", "-t", "cc").split("\n")[2].split(" ")[0]
        self.assertEqual(self.out("logs", "--since", third, "cc"), "3\n4\n5")
        self.assertEqual(self.out("logs", "--until", third, "cc").split("\n")[:2], ["1", "2"])

    @staticmethod
    def follow_words(name):
        from harness import DOCKER
        return [DOCKER, "logs", "-f", name]

    def test_exec(self):
        self.background("--name", "cc")
        done = self.docker("exec", "-e", "A=1", "-w", "/tmp", "-u", "33", "cc", "sh", "-c", "echo $A; pwd; id -u; echo err >&2; exit 4", check=False)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (4, "1\n/tmp\n33\n", "err\n"))
        self.assertEqual(self.docker("exec", "-i", "cc", "cat", input="through").stdout, "through")
        done = self.docker("exec", "cc", "nothing-here", check=False)
        self.assertEqual(done.returncode, 127)
        self.docker("exec", "-d", "cc", "touch", "/made")
        wait_until("the detached exec has run", lambda: self.docker("exec", "cc", "test", "-e", "/made", check=False).returncode == 0)

    def test_inspect_formats(self):
        self.background("--name", "cc", "--label", "a=b", "--memory", "64m", "-v", "/tmp:/host:ro")
        self.assertEqual(self.out("inspect", "--format", "{{.HostConfig.Memory}} {{index .Config.Labels \"a\"}} {{(index .Mounts 0).Destination}}", "cc"),
                         "67108864 b /host")
        for name in ("State", "HostConfig", "Config", "NetworkSettings", "Mounts", "GraphDriver"):
            self.assertIn(name, self.daemon.inspect("cc"))

    def test_events(self):
        since = str(int(time.time()) - 1)
        self.docker("run", "--rm", "--name", "seen", "busybox", "true")
        wait_until("the container is gone", lambda: self.out("ps", "-aq") == "")
        events = self.out("events", "--since", since, "--until", str(int(time.time()) + 1), "--filter", "type=container", "--format", "{{.Action}}")
        names = events.split("\n")
        for action in ("create", "attach", "start", "die", "destroy"):
            self.assertIn(action, names)

    def test_info_version_df(self):
        self.assertRegex(self.out("version", "--format", "{{.Server.Version}} {{.Server.APIVersion}}"), r"^\d+\.\d+\.\d+ 1\.51$")
        info = json.loads(self.out("info", "--format", "{{json .}}"))
        self.assertEqual((info["Driver"], str(info["CgroupVersion"]), info["OSType"]), ("overlay2", str(cgroup_version()), "linux"))
        self.assertIn("Images", self.out("system", "df"))


class Limits(Case):
    def start(self, *options):
        self.docker("run", "-d", "--name", "cc", *options, "busybox", "sh", "-c", "while :; do :; done")
        return int(self.out("inspect", "--format", "{{.State.Pid}}", "cc"))

    def test_limits_reach_the_cgroup(self):
        pid = self.start("--memory", "64m", "--cpus", "0.5", "--pids-limit", "50", "--cpuset-cpus", "0")
        self.assertEqual(cgroup_file(pid, "memory", ("memory.limit_in_bytes", "memory.max")), str(64 << 20))
        self.assertEqual(cgroup_file(pid, "pids", "pids.max"), "50")
        self.assertEqual(cgroup_file(pid, "cpuset", "cpuset.cpus"), "0")
        quota = cgroup_file(pid, "cpu", ("cpu.cfs_quota_us", "cpu.max")).split()[0]
        self.assertEqual(quota, "50000")

    def test_update_while_running(self):
        pid = self.start("--memory", "64m")
        self.docker("update", "--memory", "128m", "--memory-swap", "128m", "--cpus", "0.25", "cc")
        self.assertEqual(cgroup_file(pid, "memory", ("memory.limit_in_bytes", "memory.max")), str(128 << 20))
        self.assertEqual(cgroup_file(pid, "cpu", ("cpu.cfs_quota_us", "cpu.max")).split()[0], "25000")
        self.assertEqual(self.out("inspect", "--format", "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}", "cc"), f"{128 << 20} 250000000")

        def used():
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

        def periods():
            stat = dict(line.split() for line in cgroup_file(pid, "cpu", "cpu.stat").splitlines())
            return int(stat["nr_periods"])

        before, started, first = used(), time.monotonic(), periods()
        wait_until("30 periods of the quota have passed", lambda: periods() >= first + 30, 30)
        share = (used() - before) / (time.monotonic() - started)
        self.assertLess(share, 0.35)

    def test_memory_limit_holds_the_program(self):
        done = self.docker("run", "--name", "cc", "--memory", "16m", "--memory-swap", "16m", "busybox", "sh", "-c",
                           "x=0123456789abcdef; while :; do x=$x$x; done", check=False, timeout=120)
        self.assertEqual(done.returncode, 137)
        self.assertEqual(self.out("inspect", "--format", "{{.State.OOMKilled}}", "cc"), "true")

    def test_pids_limit_holds(self):
        out = self.docker("run", "--rm", "--pids-limit", "5", "busybox", "sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait", check=False)
        self.assertIn("can't fork", out.stderr)

    def test_stats(self):
        self.start("--memory", "64m")
        stats = lambda: self.out("stats", "--no-stream", "--format", "{{.Name}} {{.CPUPerc}} {{.MemUsage}} {{.PIDs}}")
        self.assertRegex(stats(), r"^cc \d+\.\d+% [\d.]+.?iB / 64MiB 1$")
        wait_until("a tenth of a processor is used", lambda: float(stats().split()[1].rstrip("%")) > 10, 60)
