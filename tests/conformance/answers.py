"""What an engine answers, made comparable: the same objects are made in it, everything is asked, and what differs on every machine is named.

Each value of an answer is one fact: (question, subject, place, value), at the versions of the API in which it holds. The facts of Docker's
engine are kept in docker_answers.txt (made by beside_dockerd); tests/system/same_answers_test.py compares gruad's with them.
"""

import collections
import http.client
import json
import os
import pathlib
import re
import socket
import time
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
VERSIONS = (24, 43, 44, 51)
IMAGE = "busybox:latest"


class Engine:
    """An engine behind its socket."""

    def __init__(self, path):
        self.path = str(path)

    def ask(self, method, path, body=None, version=51, headers=None, raw=None):
        """Status and text."""
        connection = http.client.HTTPConnection("engine", timeout=120)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(120)
        connection.sock.connect(self.path)
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} if data is not None and raw is None else {}
        try:
            connection.request(method, f"/v1.{version}{path}", data, {**sent, **(headers or {}), "Connection": "close"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        finally:
            connection.close()

    def do(self, method, path, body=None, **more):
        status, text = self.ask(method, path, body, **more)
        if status >= 400:
            raise AssertionError(f"{method} {path}: {status} {text}")
        return json.loads(text) if text.strip().startswith(("{", "[")) and "\n{" not in text.strip() else text

    def get(self, path, version=51):
        return self.do("GET", path, version=version)


def container(command=("sleep", "1000"), host=None, **config):
    return {"Image": IMAGE, "Cmd": list(command), "HostConfig": host or {}, **config}


# Made in this order; who is in RUNNING is started.
CONTAINERS = {
    "plain": container(),
    "running": container(),
    "exited": container(("sh", "-c", "echo out; echo changed > /etc/changed; exit 3")),
    "paused": container(),
    "terminal": container(Tty=True, OpenStdin=True, StdinOnce=True, AttachStdin=True, AttachStdout=True, AttachStderr=True),
    "worded": container(("sleep 1000",), Entrypoint=["/bin/sh", "-c"], Hostname="host", Domainname="example.org", User="1000:1000", WorkingDir="/tmp",
                        Env=["A=b", "EMPTY=", "WITHOUT"], Labels={"a": "b", "c": ""}, StopSignal="SIGUSR1", StopTimeout=3,
                        ExposedPorts={"80/tcp": {}, "53/udp": {}}, Volumes={"/anonymous": {}}),
    "limited": container(host={"Memory": 67108864, "NanoCpus": 500000000, "CpuShares": 512, "PidsLimit": 100, "OomScoreAdj": 10,
                               "Ulimits": [{"Name": "nofile", "Soft": 100, "Hard": 200}], "BlkioWeight": 0, "ShmSize": 1048576,
                               "CpusetCpus": "0"}),
    "mounted": container(host={"Binds": ["named:/named:ro", "/tmp:/host"], "Tmpfs": {"/scratch": "size=1m"}, "ReadonlyRootfs": True,
                               "Mounts": [{"Type": "volume", "Source": "other", "Target": "/other"},
                                          {"Type": "tmpfs", "Target": "/fast", "TmpfsOptions": {"SizeBytes": 1048576}}]}),
    "trusted": container(host={"Privileged": True, "PidMode": "host"}),
    "careful": container(host={"CapDrop": ["ALL"], "CapAdd": ["NET_BIND_SERVICE"], "SecurityOpt": ["no-new-privileges"],
                               "Sysctls": {"net.ipv4.ip_unprivileged_port_start": "0"}, "Init": True, "GroupAdd": ["5"]}),
    "published": container(ExposedPorts={"80/tcp": {}, "53/udp": {}}, host={"PortBindings": {"80/tcp": [{"HostPort": "18080"}], "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "10053"}]},
                                 "Dns": ["10.0.0.53"], "DnsSearch": ["example.org"], "DnsOptions": ["ndots:2"],
                                 "ExtraHosts": ["other:10.0.0.1"], "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}}),
    "on-host": container(host={"NetworkMode": "host"}),
    "alone": container(host={"NetworkMode": "none"}),
    "joined": container(host={"NetworkMode": "container:running"}),
    "named-net": {**container(host={"NetworkMode": "mesh"}),
                  "NetworkingConfig": {"EndpointsConfig": {"mesh": {"Aliases": ["web"], "IPAMConfig": {"IPv4Address": "10.97.5.9"}}}}},
    "linked": container(host={"Links": ["running:other"]}),
    "checked": container(Healthcheck={"Test": ["CMD-SHELL", "exit 0"], "Interval": 3600000000000, "Timeout": 5000000000, "Retries": 2}),
    "by-default": container(host={"NetworkMode": "default", "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}}}),
    "by-id": {**container(), "Image": None},
}
RUNNING = [name for name in CONTAINERS if name not in ("plain", "by-id")]


def build(engine, archive):
    """Makes the objects. What facts() is given besides the engine: IDs of execs, and when it began."""
    begun = f"{time.time():.9f}"
    with open(archive, "rb") as file:
        engine.do("POST", "/images/load?quiet=1", raw=file.read(), headers={"Content-Type": "application/x-tar"})
    engine.do("POST", "/networks/create", {"Name": "mesh", "IPAM": {"Config": [{"Subnet": "10.97.5.0/24"}]}, "Labels": {"a": "b"}})
    engine.do("POST", "/networks/create", {"Name": "inner", "Internal": True, "Options": {"com.docker.network.bridge.enable_icc": "false"}})
    engine.do("POST", "/volumes/create", {"Name": "named", "Labels": {"a": "b"}})
    engine.do("POST", "/volumes/create", {"Name": "lonely"})
    image_id = engine.get(f"/images/{IMAGE}/json")["Id"]
    for name, body in CONTAINERS.items():
        engine.do("POST", f"/containers/create?name={name}", {**body, "Image": body["Image"] or image_id})
    for name in RUNNING:
        engine.do("POST", f"/containers/{name}/start")
    engine.do("POST", "/containers/exited/wait")
    engine.do("POST", "/containers/paused/pause")
    engine.do("POST", "/commit?container=exited&repo=committed&tag=1&comment=why&author=me&changes=" +
              urllib.parse.quote("LABEL a=b") + "&changes=" + urllib.parse.quote("EXPOSE 80"))
    engine.do("POST", f"/images/{IMAGE}/tag?repo=other&tag=2")
    execs = {}
    for name, body in {"new": {"Cmd": ["true"]},
                       "ended": {"Cmd": ["sh", "-c", "exit 4"], "AttachStdout": True, "AttachStderr": True, "User": "1000", "Env": ["A=b"]},
                       "going": {"Cmd": ["sleep", "1000"], "Tty": True, "AttachStdin": True, "DetachKeys": "ctrl-a"}}.items():
        execs[name] = engine.do("POST", "/containers/running/exec", body)["Id"]
    engine.do("POST", f"/exec/{execs['ended']}/start", {})
    engine.do("POST", f"/exec/{execs['going']}/start", {"Detach": True, "Tty": True})
    return execs, begun


def clear(engine):
    """Removes all objects of an engine that is for tests alone."""
    for each in engine.get("/containers/json?all=1"):
        engine.do("DELETE", f"/containers/{each['Id']}?force=1&v=1")
    for each in engine.get("/networks?filters=" + urllib.parse.quote('{"type":["custom"]}')):
        engine.do("DELETE", f"/networks/{each['Id']}")
    for each in engine.get("/volumes")["Volumes"] or ():
        engine.do("DELETE", f"/volumes/{each['Name']}")
    for each in engine.get("/images/json"):
        engine.do("DELETE", f"/images/{each['Id']}?force=1")


class Names:
    """What differs from machine to machine, by a name that is the same on all."""

    def __init__(self, engine, execs):
        self.words = {}
        for name in CONTAINERS:
            known = engine.get(f"/containers/{name}/json")
            self.words[known["Id"]] = f"<{name}>"
            self.words[known["Id"][:12]] = f"<{name}, short>"
        for each in engine.get("/networks"):
            self.words[each["Id"]] = f"<network {each['Name']}>"
        for each in engine.get("/images/json"):
            for tag in each["RepoTags"] or ():
                self.words[each["Id"]] = f"<image {tag}>"
        for name, one in execs.items():
            self.words[one] = f"<exec {name}>"
        self.words[os.uname().release] = "<kernel>"
        self.pattern = re.compile("|".join(re.escape(each) for each in sorted(self.words, key=len, reverse=True)))

    def of(self, text):
        text = self.pattern.sub(lambda found: self.words[found[0]], text)
        text = re.sub(r"\b[0-9a-f]{64}\b", "<id>", text)
        text = re.sub(r"\b[0-9a-f]{12}\b", "<short>", text)
        text = re.sub(r"\b172\.\d+\.\d+\.\d+(/\d+)?", "<pool>", text)
        text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", lambda found: "<never>" if found[0].startswith("0001") else "<time>", text)
        text = re.sub(r"\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b", "<mac>", text)
        text = re.sub(r"\b10\.(98|99)\.\d+\.\d+\b", "<address>", text)
        text = re.sub(r"\b(About|Less than|Up|Exited) .*(second|minute|hour).*", lambda found: f"<{found[1]}>", text)
        text = re.sub(r"/(var|run|proc|tmp)/\S*(grua-|peer)\S*|/var/run/docker/netns/\S+|/proc/\d+/ns/net|/run/docker/netns/\S+", "<path>", text)
        return text


# In Docker these have the order of a map of Go: another one each time.
SORTED = {"Mounts": lambda mount: mount["Destination"], "Ports": lambda port: (port["PrivatePort"], port["Type"], port.get("IP", "")), "ExecIDs": None}


def flatten(value, names, place=""):
    """Each leaf as (place, text)."""
    if isinstance(value, dict):
        if not value:
            yield place, "{}"
        for key, each in value.items():
            key = names.of(key)
            yield from flatten(each, names, f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        if not value:
            yield place, "[]"
        if place in SORTED:
            value = sorted(value, key=SORTED[place] or names.of)
        for at, each in enumerate(value):
            yield from flatten(each, names, f"{place}[{at}]")
    elif isinstance(value, str):
        yield place, json.dumps(names.of(value), ensure_ascii=False).replace(" | ", " / ")
    else:
        yield place, json.dumps(value)


# Numbers and texts that only have to be there: by question and place.
ONLY_TYPE = re.compile(
    r"(?:^|.*\.)(?:Pid|Created|SizeRw|SizeRootFs|Size|SharedSize|VirtualSize|time|timeNano|SystemTime|NFd|NGoroutines|MemTotal|NCPU|LayersSize"
    r"|RefCount|EndpointID|SandboxID|NetworkID|ImageID|ID|imageID|ResolvConfPath|HostnamePath|HostsPath|LogPath|Mountpoint|NEventsListener"
    r"|execID|execDuration|IPv4Address|Parent|ParentId|DockerRootDir)|Processes(?:\[\d+\])+")


def own_name(one):
    """Docker's list has links' names, too."""
    return next(name for name in one["Names"] if name.count("/") == 1)


def facts(engine, execs, begun):
    """{(question, subject, place, value): versions}; events since `begun`."""
    names = Names(engine, execs)
    found = collections.defaultdict(set)

    def add(version, question, subject, answer, shown=""):
        for place, value in flatten(answer, names):
            if not re.match(shown, place):
                continue
            if ONLY_TYPE.fullmatch(place) and value not in ("null", '""', "0", "-1", '"<never>"', "[]", "{}"):
                value = "<string>" if value.startswith('"') else "<number>"
            found[question, subject, place or "-", value].add(version)

    def each(version, question, answer, name_of, shown=""):
        for one in answer:
            add(version, question, names.of(name_of(one)), one, shown)

    for version in VERSIONS:
        each(version, "/containers/json", engine.get("/containers/json?all=1", version), own_name)
        each(version, "/containers/json?size=1", engine.get("/containers/json?all=1&size=1&filters=" + urllib.parse.quote('{"name":["^/plain$"]}'), version), own_name, "Size")
        for name in CONTAINERS:
            add(version, "/containers/{id}/json", name, engine.get(f"/containers/{name}/json", version))
        add(version, "/containers/{id}/json?size=1", "exited", engine.get("/containers/exited/json?size=1", version), "Size")
        for name in ("running", "terminal"):
            add(version, "/containers/{id}/top", name, engine.get(f"/containers/{name}/top", version)["Titles"])
        for name in ("plain", "exited"):
            add(version, "/containers/{id}/changes", name, engine.get(f"/containers/{name}/changes", version))
        each(version, "/images/json", engine.get("/images/json", version), lambda one: (one["RepoTags"] or ["-"])[0])
        for image in (IMAGE, "committed:1"):
            add(version, "/images/{name}/json", image, engine.get(f"/images/{image}/json", version))
            add(version, "/images/{name}/history", image, engine.get(f"/images/{image}/history", version))
        each(version, "/networks", engine.get("/networks", version), lambda one: one["Name"])
        for name in ("mesh", "inner", "bridge", "host", "none"):
            add(version, "/networks/{id}", name, engine.get(f"/networks/{name}", version))
        listed = engine.get("/volumes", version)
        each(version, "/volumes", [one for one in listed["Volumes"] if len(one["Name"]) < 64], lambda one: one["Name"])
        add(version, "/volumes", "-", listed["Warnings"])
        for name in ("named", "lonely", "other"):
            add(version, "/volumes/{name}", name, engine.get(f"/volumes/{name}", version))
        for name, one in execs.items():
            add(version, "/exec/{id}/json", name, engine.get(f"/exec/{one}/json", version))
        add(version, "/info", "-", engine.get("/info", version))
        add(version, "/version", "-", engine.get("/version", version))
        if version >= 25:
            usage = engine.get("/system/df", version)
            for kind, name_of in (("Containers", own_name), ("Images", lambda one: (one["RepoTags"] or ["-"])[0]),
                                  ("Volumes", lambda one: one["Name"])):
                each(version, f"/system/df {kind}", sorted(usage.pop(kind) or [], key=name_of), name_of, "(?!NetworkSettings|Mounts)")
            add(version, "/system/df", "-", usage)
        for line in engine.ask("GET", f"/events?since={begun}&until={int(time.time()) + 1}", version=version)[1].splitlines():
            event = json.loads(line)
            attributes = event["Actor"]["Attributes"]
            subject = names.of(attributes.get("name") or event["Actor"]["ID"])
            about = names.of(attributes.get("container", "")) or subject
            if about.strip("<>") in ("running", "exited", "mounted") or event["Type"] == "image":
                add(version, "/events", f"{event['Type']} {names.of(event['Action']).strip()} {subject} {about}", event)
    return found


def table_of(lines):
    """{(question, place): {(subject, version): value}} of lines_of()'s text; what all subjects have is of the subject "*"."""
    out = collections.defaultdict(dict)
    for line in lines:
        question, subjects, fact, versions = line.split(" | ")
        place, _, value = fact.partition(" = ")
        for subject in subjects.split("; "):
            for version in versions.split():
                out[question, place][subject, version] = value
    return out


def differences(docker, grua):
    """What differs and is not meant, and the lines of differences.txt that meet nothing."""
    meant = [line for line in (HERE / "differences.txt").read_text().splitlines() if line and not line.startswith("#")]
    met = set()
    found = []
    left, right = table_of(docker), table_of(grua)
    for key in sorted({*left, *right}):
        pairs = collections.defaultdict(list)
        for who in {*left.get(key, {}), *right.get(key, {})}:
            values = [side.get(key, {}).get(who, side.get(key, {}).get(("*", who[1]), "-")) for side in (left, right)]
            if who[0] != "*" and values[0] != values[1] or who[0] == "*" and values[0] != values[1] and not any(
                    subject != "*" and version == who[1] for side in (left, right) for subject, version in side.get(key, {})):
                pairs[tuple(values)].append(who)
        for (docker_says, grua_says), who in sorted(pairs.items()):
            question, place = key
            subjects = "; ".join(sorted({subject for subject, _ in who}))
            what = f"{question} | {subjects} | {place}"
            line = f"{what} | {docker_says} -> {grua_says}"
            rule = next((each for each in meant if re.fullmatch(each, line) or re.fullmatch(each, what)), None)
            if rule is None:
                found.append(f"{line} | {' '.join(sorted({version for _, version in who}))}")
            met.add(rule)
    return found, [each for each in meant if each not in met]


def lines_of(found):
    """The facts as text, what is alike together: QUESTION | SUBJECTS | PLACE = VALUE | VERSIONS."""
    by_value = collections.defaultdict(lambda: collections.defaultdict(list))
    for (question, subject, place, value), versions in found.items():
        by_value[question, place, value][tuple(sorted(versions))].append(subject)
    subjects = collections.defaultdict(set)
    for question, subject, _, _ in found:
        subjects[question].add(subject)
    out = []
    for (question, place, value), groups in by_value.items():
        for versions, who in groups.items():
            everybody = set(who) == subjects[question]
            out.append(" | ".join((question, "*" if everybody else "; ".join(sorted(who)), f"{place} = {value}", " ".join(map(str, versions)))))
    return sorted(out)
