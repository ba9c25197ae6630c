"""Every flag of the docker CLI's commands for containers, images, networks, volumes and the system: by docker and by grua, with the same result.

The flags are read from `docker COMMAND --help`, so a newer docker's new flag fails here until it has a row. What grua does not have it says.
"""

import functools
import http.client
import json
import os
import re
import socket

from harness import BIN, DOCKER, PATIENCE, Case, run

GROUPS = ("container", "image", "network", "volume", "system")

# Flags of `create` and `run`: what is said behind them. A text with blanks is one word.
CREATE = {
    "add-host": ["one:10.1.2.3"], "annotation": ["key=value"], "attach": ["stdout"], "blkio-weight": ["300"], "blkio-weight-device": ["/dev/null:300"],
    "cap-add": ["NET_ADMIN"], "cap-drop": ["chown"], "cgroup-parent": ["/grua-flags"], "cgroupns": ["private"], "cidfile": ["{folder}/cid"], "cpu-count": ["1"],
    "cpu-percent": ["1"], "cpu-period": ["50000"], "cpu-quota": ["25000"], "cpu-rt-period": ["10000"], "cpu-rt-runtime": ["0"], "cpu-shares": ["512"],
    "cpus": ["0.5", "x"], "cpuset-cpus": ["0"], "cpuset-mems": ["0"], "device": ["/dev/null:/dev/other:r", "/dev/zero"], "device-cgroup-rule": ["c 1:3 rwm", "x"],
    "device-read-bps": ["/dev/null:1mb"], "device-read-iops": ["/dev/null:100"], "device-write-bps": ["/dev/null:1mb"], "device-write-iops": ["/dev/null:100", "x"],
    "disable-content-trust": [None], "dns": ["10.1.2.3"], "dns-option": ["ndots:3"], "dns-search": ["example.org"], "domainname": ["example"],
    "entrypoint": ["echo"], "env": ["A=b", "HOME"], "env-file": ["{folder}/env", "{folder}/none"], "expose": ["81/udp", "90-92"], "gpus": ["all"],
    "group-add": ["audio"], "health-cmd": ["true"], "health-interval": ["9s", "x"], "health-retries": ["4"], "health-start-interval": ["2s"],
    "health-start-period": ["3s"], "health-timeout": ["4s"], "hostname": ["named"], "init": [None], "interactive": [None], "io-maxbandwidth": ["1m"],
    "io-maxiops": ["1"], "ip": ["172.30.1.9"], "ip6": ["fd00:99::9"], "ipc": ["private"], "isolation": ["default", "bogus"], "kernel-memory": ["64m"],
    "label": ["a=b", "c"], "label-file": ["{folder}/labels"], "link": ["other:alias"], "link-local-ip": ["169.254.7.7"], "log-driver": ["none", "json-file"],
    "log-opt": ["max-size=1m"], "mac-address": ["02:42:0a:01:02:03"], "memory": ["64m", "x"], "memory-reservation": ["32m"], "memory-swap": ["128m"],
    "memory-swappiness": ["10"], "mount": ["type=volume,source=vol,target=/v,readonly", "type=tmpfs,target=/t,tmpfs-size=1m", "type=bind,source={folder},target=/b", "type=x"],
    "name": ["given"], "network": ["none", "own", "name=own,alias=one,ip=172.30.1.8"], "network-alias": ["alias"], "no-healthcheck": [None],
    "oom-kill-disable": [None], "oom-score-adj": ["100"], "pid": ["host"], "pids-limit": ["50"], "platform": ["linux/amd64"], "privileged": [None],
    "publish": ["127.0.0.1:18080:80", "81", "82-83:90-91/udp", "x"], "publish-all": [None], "pull": ["never"], "quiet": [None], "read-only": [None],
    "restart": ["on-failure:3", "always", "x"], "rm": [None], "runtime": ["nosuch"], "security-opt": ["no-new-privileges", "seccomp=unconfined", "x"],
    "shm-size": ["1m"], "stop-signal": ["SIGINT"], "stop-timeout": ["3"], "storage-opt": ["size=1G"], "sysctl": ["net.ipv4.ip_default_ttl=60"],
    "tmpfs": ["/t:size=1m"], "tty": [None], "ulimit": ["nofile=10:20", "x"], "use-api-socket": [None], "user": ["33:33"], "userns": ["host"], "uts": ["host"],
    "volume": ["vol:/v:ro", "/anonymous", "{folder}:/b", "x:y"], "volume-driver": ["nosuch"], "volumes-from": ["other:ro"], "workdir": ["/tmp"],
}
CREATE_WITH = {  # what a flag is not taken without
    "cpu-quota": ["--cpu-period", "50000"], "ip": ["--network", "own"], "ip6": ["--network", "own"], "network-alias": ["--network", "own"],
    "link-local-ip": ["--network", "own"], "memory-reservation": ["--memory", "64m"], "memory-swap": ["--memory", "64m"], "memory-swappiness": ["--memory", "64m"],
    "oom-kill-disable": ["--memory", "64m"], "health-interval": ["--health-cmd", "true"], "health-retries": ["--health-cmd", "true"],
    "volume-driver": ["--volume", "new:/v"], "publish-all": ["--expose", "80"],
}

# Of the other commands. {c} runs, {s} has ended; {folder} has files; both are made anew for each command line.
CASES = {
    "container attach": {"detach-keys": "--detach-keys ctrl-x --no-stdin {ending}", "no-stdin": "--no-stdin {ending}", "sig-proxy": "--sig-proxy=false --no-stdin {ending}"},
    "container commit": {"author": "-a me {s} made", "change": "-c ENV=1 -c 'ENV A=b' {s} made", "message": "-m said {s} made", "pause": "--pause=false {c} made"},
    "container cp": {"archive": "-a {folder}/env {c}:/env", "follow-link": "-L {c}:/link -", "quiet": "-q {folder}/env {c}:/env"},
    "container exec": {
        "detach": "-d {c} true", "detach-keys": "--detach-keys ctrl-x {c} echo 1", "env": "-e A=b {c} sh -c 'echo $A'", "env-file": "--env-file {folder}/env {c} env",
        "interactive": "-i {c} cat", "privileged": "--privileged {c} grep CapEff /proc/self/status", "tty": "-t {c} tty", "user": "-u 33 {c} id", "workdir": "-w /tmp {c} pwd"},
    "container export": {"output": "-o {folder}/out.tar {s}"},
    "container inspect": {"format": "-f '{{{{.Name}}}} {{{{json .State.Status}}}}' {c} {s}", "size": "-s -f '{{{{.SizeRw}}}}' {s}"},
    "container kill": {"signal": "-s HUP {c}"},
    "container logs": {
        "details": "--details {s}", "follow": "-f {s}", "since": "--since 10m {s}", "tail": "-n 1 {s}", "timestamps": "-t --since 2001-01-01 --until 2002-01-01 {s}",
        "until": "--until 2001-01-01T00:00:00Z {s}"},
    "container ls": {
        "all": "-a --format {{{{.Names}}}}", "filter": "-f status=exited -f label=kind=ended --format '{{{{.Names}}}} {{{{.Image}}}}'", "format": "--format 'table {{{{.Names}}}}\\t{{{{.Image}}}}'",
        "last": "-n 1 --format {{{{.Names}}}}", "latest": "-l --format {{{{.Names}}}}", "no-trunc": "--no-trunc --format {{{{.ID}}}}", "quiet": "-q", "size": "-s --format {{{{.Names}}}}"},
    "container prune": {"filter": "-f --filter label=kind=ended", "force": "-f"},
    "container restart": {"signal": "-s KILL {c}", "timeout": "-t 0 {c}"},
    "container rm": {"force": "-f {c}", "link": "-l {s}/nosuch", "volumes": "-v {s}"},
    "container start": {
        "attach": "-a {s}", "checkpoint": "--checkpoint one {s}", "checkpoint-dir": "--checkpoint-dir /nowhere --checkpoint one {s}", "detach-keys": "--detach-keys ctrl-x -a {s}",
        "interactive": "-i {s}"},
    "container stats": {
        "all": "-a --no-stream --format {{{{.Name}}}}", "format": "--no-stream --format '{{{{.Name}}}} {{{{.PIDs}}}}' {c}", "no-stream": "--no-stream --format {{{{.Name}}}}",
        "no-trunc": "--no-stream --no-trunc --format {{{{.ID}}}} {c}"},
    "container stop": {"signal": "-s KILL {c}", "timeout": "-t 0 {c}"},
    "container update": {
        "blkio-weight": "--blkio-weight 300 {s}", "cpu-period": "--cpu-period 50000 {s}", "cpu-quota": "--cpu-quota 25000 {s}", "cpu-rt-period": "--cpu-rt-period 10000 {s}",
        "cpu-rt-runtime": "--cpu-rt-runtime 0 {s}", "cpu-shares": "-c 512 {s}", "cpus": "--cpus 0.5 {s}", "cpuset-cpus": "--cpuset-cpus 0 {s}", "cpuset-mems": "--cpuset-mems 0 {s}",
        "memory": "-m 64m --memory-swap 64m {s}", "memory-reservation": "--memory-reservation 32m {s}", "memory-swap": "--memory 64m --memory-swap 128m {s}",
        "pids-limit": "--pids-limit 9 {s}", "restart": "--restart on-failure:2 {s}"},
    "image history": {
        "format": "--format {{{{.CreatedBy}}}} busybox", "human": "-H=false --format {{{{.Size}}}} busybox", "no-trunc": "--no-trunc --format {{{{.ID}}}} busybox",
        "platform": "--platform linux/amd64 -q busybox", "quiet": "-q busybox"},
    "image import": {"change": "-c 'CMD [\"sh\"]' {folder}/root.tar made", "message": "-m said {folder}/root.tar made", "platform": "--platform linux/arm64 {folder}/root.tar made"},
    "image inspect": {"format": "-f {{{{.Os}}}} busybox", "platform": "--platform linux/amd64 -f {{{{.Os}}}} busybox"},
    "image load": {"input": "-i {folder}/image.tar", "platform": "--platform linux/amd64 -i {folder}/image.tar", "quiet": "-q -i {folder}/image.tar"},
    "image ls": {
        "all": "-a --format {{{{.Repository}}}}", "digests": "--digests --format '{{{{.Repository}}}} {{{{.Digest}}}}'", "filter": "-f reference=busy* --format {{{{.Tag}}}}", "format": "--format {{{{.ID}}}}",
        "no-trunc": "--no-trunc --format {{{{.ID}}}}", "quiet": "-q", "tree": "--tree"},
    "image prune": {"all": "-a -f --filter label=nosuch", "filter": "-f --filter until=1h", "force": "-f"},
    "image pull": {
        "all-tags": "-a 127.0.0.1:9/none", "disable-content-trust": "--disable-content-trust 127.0.0.1:9/none", "platform": "--platform linux/amd64 127.0.0.1:9/none",
        "quiet": "-q 127.0.0.1:9/none"},
    "image push": {
        "all-tags": "-a 127.0.0.1:9/none", "disable-content-trust": "--disable-content-trust 127.0.0.1:9/none", "platform": "--platform linux/amd64 127.0.0.1:9/none",
        "quiet": "-q 127.0.0.1:9/none"},
    "image rm": {"force": "-f second", "no-prune": "--no-prune second", "platform": "--platform linux/arm64 second"},
    "image save": {"output": "-o {folder}/out.tar busybox", "platform": "--platform linux/amd64 -o {folder}/out.tar busybox"},
    "network connect": {
        "alias": "--alias one own {c}", "driver-opt": "--driver-opt com.docker.network.endpoint.ifname=eth7 own {c}", "gw-priority": "--gw-priority 5 own {c}",
        "ip": "--ip 172.30.1.7 own {c}", "ip6": "--ip6 fd00:99::7 own {c}", "link": "--link {s}:two own {c}", "link-local-ip": "--link-local-ip 169.254.7.7 own {c}"},
    "network create": {
        "attachable": "--attachable made", "aux-address": "--subnet 172.31.1.0/24 --aux-address router=172.31.1.9 made", "config-from": "--config-from nosuch made",
        "config-only": "--config-only made", "driver": "-d nosuch made", "gateway": "--subnet 172.31.1.0/24 --gateway 172.31.1.3 made", "ingress": "--ingress made",
        "internal": "--internal made", "ip-range": "--subnet 172.31.1.0/24 --ip-range 172.31.1.128/25 made", "ipam-driver": "--ipam-driver default made",
        "ipam-opt": "--ipam-opt a=b made", "ipv4": "--ipv4=true made", "ipv6": "--ipv6 --subnet fd00:98::/64 made", "label": "--label a=b made",
        "opt": "-o com.docker.network.bridge.name=grua-flags made", "scope": "--scope local made", "subnet": "--subnet 172.31.1.0/24 made"},
    "network disconnect": {"force": "-f own {onown}"},
    "network inspect": {"format": "-f {{{{.Driver}}}} own", "verbose": "-v -f {{{{.Name}}}} own"},
    "network ls": {"filter": "-f name=own --format {{{{.Name}}}}", "format": "--format '{{{{.Name}}}} {{{{.Driver}}}}'", "no-trunc": "--no-trunc --format {{{{.ID}}}}", "quiet": "-q"},
    "network prune": {"filter": "-f --filter label=nosuch", "force": "-f"},
    "network rm": {"force": "-f nosuch"},
    "system df": {"format": "--format {{{{.Type}}}}", "verbose": "-v --format '{{{{range .Images}}}}{{{{.Repository}}}} {{{{end}}}}'"},
    "system events": {
        "filter": "--since 1h --until 0s --filter type=nothing", "format": "--since 1h --until 0s --filter event=create --filter type=container --format {{{{.Actor.Attributes.name}}}}",
        "since": "--since 1h --until 0s --filter container={s} --filter event=die --format {{{{.Action}}}}", "until": "--until 0s --since 0s"},
    "system info": {"format": "-f '{{{{.OSType}}}} {{{{.Containers}}}}'"},
    "system prune": {"all": "-a -f --filter label=nosuch", "filter": "-f --filter label=kind=ended", "force": "-f", "volumes": "-f --volumes"},
    "volume create": {
        "driver": "-d nosuch made", "label": "--label a=b made", "opt": "-o type=tmpfs -o device=tmpfs made",
        **{name: f"--{name} {value} made" for name, value in {"availability": "active", "group": "one", "limit-bytes": "1m", "required-bytes": "1m", "scope": "single", "secret": "a=b",
                                                              "sharing": "none", "topology-preferred": "a=b", "topology-required": "a=b", "type": "block"}.items()}},
    "volume inspect": {"format": "-f {{{{.Name}}}} vol"},
    "volume ls": {"cluster": "--cluster", "filter": "-f name=vol --format {{{{.Name}}}}", "format": "--format '{{{{.Name}}}} {{{{.Driver}}}}'", "quiet": "-q"},
    "volume prune": {"all": "-a -f", "filter": "-f --filter label=nosuch", "force": "-f"},
    "volume rm": {"force": "-f nosuch"},
    "volume update": {"availability": "--availability active vol"},
}

# Builds have tests of their own (build_test, build_cases_test), and flags of grua's are those of buildx, which this docker has not.
ELSEWHERE = {"container create", "container run", "image build"}
# What grua has not: its answer. All of it is a swarm's or a checkpoint's.
ABSENT = {
    "volume update": "not implemented: grua volume update; use ",
    "network create --ingress": "not implemented: --ingress; use ",
    "volume ls --cluster": "not implemented: --cluster; use ",
    **{f"volume create --{name}": f"not implemented: --{name}; use " for name in (
        "availability", "group", "limit-bytes", "required-bytes", "scope", "secret", "sharing", "topology-preferred", "topology-required", "type")},
}
# Where grua's words differ from docker's on purpose: the exit status alone counts.
OWN_WORDS = {"image ls --tree"}


@functools.cache
def docker_help(*words):
    return run(DOCKER, *words, "--help", env={**os.environ, "COLUMNS": "200", "DOCKER_CONFIG": "/nonexistent"}, check=False).stdout


def docker_commands(group):
    return re.findall(r"^  ([a-z-]+) {2,}", docker_help(group).partition("Commands:\n")[2], re.MULTILINE)


def docker_flags(*words):
    options = docker_help(*words).partition("Options:\n")[2].partition("\n\n")[0]
    return [name for name in re.findall(r"^ +(?:-\w, )?--([a-z0-9-]+)", options, re.MULTILINE) if name != "help"]


def without_nothing(value):
    """Null, "", 0, false and what is empty are one."""
    if isinstance(value, dict):
        return {key: kept for key, each in value.items() if (kept := without_nothing(each)) not in (None, "", 0, False, {}, [])}
    return [without_nothing(each) for each in value] if isinstance(value, list) else value


def shell_words(text):
    return [a or b for a, b in re.findall(r"'([^']*)'|(\S+)", text)]


class Flags(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = cls.daemon.root / "flags"
        cls.folder.mkdir()
        (cls.folder / "env").write_text("A=from a file\n")
        (cls.folder / "labels").write_text("a=from a file\n")
        cls.daemon.docker("save", "-o", cls.folder / "image.tar", "busybox")
        run("tar", "-C", cls.folder, "-cf", cls.folder / "root.tar", "env")

    def api(self, method, path, body=None):
        """Status and document of one request; hundreds of them would be slow by curl."""
        connection = http.client.HTTPConnection("d")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(20 * PATIENCE)
        connection.sock.connect(str(self.daemon.socket))
        connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, json.loads(text) if text.strip().startswith((b"{", b"[")) else None

    def container(self, name, *command, **config):
        status, made = self.api("POST", f"/containers/create?name={name}", {"Image": "busybox", "Cmd": command or ("true",), **config})
        self.assertEqual(status, 201, made)
        if command:
            self.assertEqual(self.api("POST", f"/containers/{name}/start")[0], 204)

    def call(self, program, words):
        done = run(program, *words, env={**self.daemon.environment(), "NO_COLOR": "1"}, check=False, timeout=20)
        return done.returncode, done.stdout, done.stderr

    def tidy(self, text, *ids):
        for each in ids:
            text = text.replace(each, "<id>")
        text = re.sub(r"[0-9a-f]{64}", "<hex>", text)
        return re.sub(r"\b[0-9a-f]{12}\b", "<short>", text)

    def begin_anew(self):
        """No containers, one volume and one network."""
        ids = [each["Id"] for each in self.api("GET", "/containers/json?all=1")[1]]
        for each in ids:
            self.api("DELETE", f"/containers/{each}?force=1&v=1")
        for each in self.api("GET", "/volumes")[1]["Volumes"] or []:
            if each["Name"] != "vol":
                self.api("DELETE", f"/volumes/{each['Name']}?force=1")
        self.api("DELETE", "/networks/made")
        self.api("DELETE", "/images/made?force=1")

        self.api("POST", "/volumes/create", {"Name": "vol"})
        self.api("POST", "/networks/create", {"Name": "own", "EnableIPv6": True, "IPAM": {"Config": [{"Subnet": "172.30.1.0/24"}, {"Subnet": "fd00:99::/64"}]}})

    # ---- create and run

    def created(self, program, words):
        """What is then there, or how it failed."""
        (self.folder / "cid").unlink(missing_ok=True)
        code, out, err = self.call(program, ["create", *words, "busybox"])
        if code != 0:
            return code, None, err
        name = out.strip()
        found = self.api("GET", f"/containers/{name}/json")[1]
        kept = {key: found.get(key) for key in ("Path", "Args", "Config", "HostConfig", "Mounts", "Driver")}
        kept["Networks"] = found["NetworkSettings"]["Networks"]
        return code, without_nothing(json.loads(self.tidy(json.dumps(kept), name, name[:12], found["Name"][1:]))), err

    def test_create(self):
        self.assertEqual(sorted(set(docker_flags("container", "create")) - set(CREATE)), [], "flags of docker without a row here")
        for name, values in CREATE.items():
            for value in values:
                with self.subTest(f"--{name} {value}"):
                    words = [f"--{name}"] if value is None else [f"--{name}", value.format(folder=self.folder)]
                    words += CREATE_WITH.get(name, [])
                    results = []
                    for program in (DOCKER, BIN / "grua"):
                        self.begin_anew()
                        self.container("other", HostConfig={"Binds": ["vol:/of-other"]})
                        results.append(self.created(program, words))
                    (docker_code, docker_found, docker_err), (code, found, err) = results
                    self.assertEqual(code != 0, docker_code != 0, f"docker: {docker_code} {docker_err}grua: {code} {err}")
                    self.assertEqual(found, docker_found)
                    self.assertNotIn("flag", err if code == 0 else "")

    def test_run(self):
        self.assertEqual(sorted(set(docker_flags("container", "run")) - set(docker_flags("container", "create"))), ["detach", "detach-keys", "sig-proxy"])
        for words in (["-d"], ["--detach-keys", "ctrl-x"], ["--sig-proxy=false"], ["--detach-keys", "nonsense"]):
            with self.subTest(words):
                docker, grua = (self.call(program, ["run", "--rm", *words, "busybox", "echo", "said"]) for program in (DOCKER, BIN / "grua"))
                # Of what docker refuses after the create its own status is 1.
                self.assertEqual((grua[0] != 0, self.tidy(grua[1])), (docker[0] != 0, self.tidy(docker[1])), grua[2] + docker[2])

    # ---- the others

    def make(self):
        """{c} runs, {s} has ended, {ending} will end soon, {onown} is on a network."""
        self.begin_anew()
        self.api("POST", "/images/busybox/tag?repo=second")
        names = {"c": "running", "s": "stopped", "ending": "ending", "onown": "onown"}
        self.container("running", "sh", "-c", "ln -s /etc/passwd /link; trap 'exit 1' TERM HUP; while :; do sleep 0.2; done", Labels={"kind": "runs"})
        self.container("stopped", "sh", "-c", "echo one; echo two", Labels={"kind": "ended"})
        self.api("POST", "/containers/stopped/wait")
        return {**names, "folder": self.folder}

    def world(self):
        """What there is: names, states, and what update changes."""
        containers = []
        for each in self.api("GET", "/containers/json?all=1")[1]:
            found = self.api("GET", f"/containers/{each['Id']}/json")[1]
            networks = {name: without_nothing({key: at.get(key) for key in ("Aliases", "IPAMConfig", "Links", "DriverOpts", "GwPriority")})
                        for name, at in found["NetworkSettings"]["Networks"].items()}
            containers.append((each["Names"][0], each["State"], json.loads(self.tidy(json.dumps(without_nothing({"host": found["HostConfig"], "at": networks})), each["Id"], each["Id"][:12]))))
        images = sorted(tag for each in self.api("GET", "/images/json")[1] for tag in each["RepoTags"] or ["<none>"])
        made = {}
        for kind in ("images", "networks", "volumes"):
            status, found = self.api("GET", f"/{kind}/made" + ("/json" if kind == "images" else ""))
            if status == 200:
                found = without_nothing(found)
                made[kind] = {key: found.get(key) for key in ("Labels", "Options", "IPAM", "Internal", "Attachable", "ConfigOnly", "EnableIPv6", "EnableIPv4", "Scope", "Driver", "Comment", "Author",
                                                              "Architecture", "Config")}
        volumes = sorted(each["Name"] for each in self.api("GET", "/volumes")[1]["Volumes"] or [])
        networks = sorted(each["Name"] for each in self.api("GET", "/networks")[1])
        return {"containers": sorted(containers, key=lambda each: each[0]), "images": images, "made": made, "volumes": volumes, "networks": networks}

    def done(self, program, command, text):
        names = self.make()
        if "{ending}" in text:
            self.container("ending", "sh", "-c", "sleep 2; echo end; exit 3")
        if "{onown}" in text:
            self.container("onown", HostConfig={"NetworkMode": "own"})
        code, out, err = self.call(program, [*command.split(), *shell_words(text.format(**names))])
        ids = [each["Id"] for each in self.api("GET", "/containers/json?all=1")[1]]
        return code, self.tidy(out, *ids, *(each[:12] for each in ids)), err, self.world()

    def test_the_other_commands(self):
        known = {f"{group} {command}": docker_flags(group, command) for group in GROUPS for command in docker_commands(group)}
        self.assertGreater(len(known), 45)
        for command, flags in known.items():
            if command in ELSEWHERE or command in ABSENT:
                continue
            with self.subTest(command):
                self.assertEqual(sorted(set(flags) - set(CASES.get(command, {}))), [], "flags of docker without a row here")
        for command, cases in CASES.items():
            for flag, text in cases.items():
                case = f"{command} --{flag}"
                if command in ABSENT or case in ABSENT:
                    continue
                with self.subTest(case):
                    docker, grua = (self.done(program, command, text) for program in (DOCKER, BIN / "grua"))
                    self.assertEqual(grua[0] != 0, docker[0] != 0, f"docker: {docker[:3]}, grua: {grua[:3]}")
                    if case in OWN_WORDS:
                        pass
                    elif command == "image ls":  # the names of one image have no order
                        self.assertEqual(sorted(grua[1].split("\n")), sorted(docker[1].split("\n")))
                    elif command == "system events":  # of all the command lines before
                        self.assertEqual(set(grua[1].split("\n")), set(docker[1].split("\n")))
                    elif grua[0] == 0:
                        self.assertEqual(grua[1].rstrip("\n"), docker[1].rstrip("\n"))
                    self.assertEqual(grua[3], docker[3])

    def test_what_is_not_there_says_so(self):
        names = self.make()
        for case, answer in ABSENT.items():
            with self.subTest(case):
                command, _, flag = case.partition(" --")
                cases = CASES[command].values() if not flag else [CASES[command][flag]]
                for text in cases or ["."]:
                    code, _, err = self.call(BIN / "grua", [*command.split(), *shell_words(text.format(**names))])
                    self.assertNotEqual(code, 0)
                    self.assertIn(answer, err)


class Globals(Case):
    """What stands before the command, and what the shell is offered."""

    def grua_alone(self, *words):
        """Without GRUA_HOST and DOCKER_HOST."""
        environment = {name: value for name, value in self.daemon.environment().items() if name not in ("GRUA_HOST", "DOCKER_HOST")}
        return run(BIN / "grua", *words, env=environment, check=False)

    def test_contexts_of_docker(self):
        self.docker("context", "create", "here", "--docker", f"host=unix://{self.daemon.socket}")
        self.docker("context", "create", "nowhere", "--docker", "host=unix:///nowhere.sock")
        self.docker("create", "--name", "cc", "busybox")
        self.assertEqual(self.grua_alone("-c", "here", "ps", "-a", "--format", "{{.Names}}").stdout, "cc\n")
        self.assertIn("unix:///nowhere.sock", self.grua_alone("--context", "nowhere", "ps").stderr)
        self.assertIn('context "other": context not found', self.grua_alone("--context", "other", "ps").stderr)
        self.assertIn("conflicting options", self.grua_alone("--context", "here", "-H", "unix:///x", "ps").stderr)
        self.assertIn("context not found", self.grua_alone("--config", self.daemon.root / "nothing", "--context", "here", "ps").stderr)

    def test_what_is_not_there_says_so(self):
        done = self.grua("--log-level=info", "ps", check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("not implemented: --log-level; use ", done.stderr)
        known = set(docker_flags()) | {"help"}
        self.assertEqual(known - {"config", "context", "debug", "host", "help", "version", "log-level", "tls", "tlscacert", "tlscert", "tlskey", "tlsverify"}, set())
        for command in ("plugin", "service", "stack", "swarm", "node", "secret", "config", "manifest", "trust", "checkpoint"):
            self.assertRegex(self.grua(command, check=False).stderr, f"not implemented: grua {command}; use ")

    def test_completion_offers_live_names(self):
        self.docker("create", "--name", "offered", "-v", "kept:/v", "busybox")
        self.docker("network", "create", "joined")
        self.addCleanup(self.docker, "volume", "rm", "kept")
        self.addCleanup(self.docker, "network", "rm", "joined")

        def offers(*words):
            return {line.split("\t")[0] for line in self.grua("__complete", "--", *words).stdout.splitlines()}

        self.assertLessEqual({"offered", "kept", "joined", "busybox:latest"}, offers("inspect", ""))
        self.assertIn("joined", offers("network", "connect", ""))
        self.assertIn("offered", offers("network", "connect", "joined", ""))
        self.assertNotIn("joined", offers("network", "disconnect", "-f", "joined", ""))
        self.assertEqual(offers("--context", "x", "-D", "container", "rm", "off"), {"offered"})
        self.assertIn("kept", offers("run", "-v", ""))
        self.assertIn("joined", offers("run", "--network", ""))
        self.assertIn("--health-on-failure", offers("create", "--health"))
