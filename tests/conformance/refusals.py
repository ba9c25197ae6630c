"""Requests that an engine refuses, or takes where one might think it does not: (method, path, body[, version])."""

import json
import re
import urllib.parse

from answers import IMAGE, container


def filters(**given):
    return "filters=" + urllib.parse.quote(json.dumps({name: [value] if isinstance(value, str) else value for name, value in given.items()}))


def create(host=None, version=51, **config):
    return ("POST", "/containers/create", {**container(host=host), **config}, version)


# Nothing of these changes what a later one meets: who would be made is not, or has no name and is removed.
REQUESTS = [
    # what is not there
    *((method, f"/containers/nosuch{rest}", body) for method, rest, body in (
        ("GET", "/json", None), ("GET", "/top", None), ("GET", "/logs?stdout=1", None), ("GET", "/changes", None), ("GET", "/export", None),
        ("GET", "/stats?stream=0", None), ("POST", "/start", None), ("POST", "/stop", None), ("POST", "/restart", None), ("POST", "/kill", None),
        ("POST", "/update", {}), ("POST", "/rename?name=xx", None), ("POST", "/pause", None), ("POST", "/unpause", None), ("POST", "/wait", None),
        ("DELETE", "", None), ("GET", "/archive?path=/", None), ("PUT", "/archive?path=/", None), ("POST", "/exec", {"Cmd": ["true"]}),
        ("POST", "/attach?stream=1", None), ("POST", "/resize?h=1&w=1", None))),
    *((method, f"/images/nosuch{rest}", None) for method, rest in (
        ("GET", "/json"), ("GET", "/history"), ("POST", "/tag?repo=xx"), ("DELETE", ""), ("POST", "/push"), ("GET", "/get"))),
    *((method, f"/volumes/nosuch{rest}", None) for method, rest in (("GET", ""), ("DELETE", ""), ("DELETE", "?force=1"))),
    *((method, f"/networks/nosuch{rest}", body) for method, rest, body in (
        ("GET", "", None), ("DELETE", "", None), ("POST", "/connect", {"Container": "running"}), ("POST", "/disconnect", {"Container": "running"}))),
    *((method, f"/exec/nosuch{rest}", body) for method, rest, body in (("GET", "/json", None), ("POST", "/start", {}), ("POST", "/resize?h=1&w=1", None))),
    ("POST", "/networks/mesh/connect", {"Container": "nosuch"}),
    ("POST", "/networks/mesh/disconnect", {"Container": "nosuch"}),
    ("POST", "/networks/mesh/disconnect", {"Container": "running"}),
    ("POST", "/commit?container=nosuch", None),
    ("GET", "/images/get?names=nosuch", None),
    ("GET", "/plugins/nosuch/json", None),
    ("GET", "/nosuch", None),
    ("PATCH", "/containers/json", None),
    create(Image="nosuch"),
    create(Image=""),
    create(Image="UPPER"),
    create(host={"VolumesFrom": ["nosuch"]}),
    create(host={"NetworkMode": "nosuch"}),
    create(host={"Links": ["nosuch:xx"]}),
    create(host={"Links": [":xx"]}),
    # states and conflicts
    ("POST", "/containers/running/start", None),
    ("POST", "/containers/plain/stop", None),
    ("POST", "/containers/plain/kill", None),
    ("POST", "/containers/plain/pause", None),
    ("POST", "/containers/plain/unpause", None),
    ("POST", "/containers/running/unpause", None),
    ("POST", "/containers/paused/pause", None),
    ("POST", "/containers/paused/exec", {"Cmd": ["true"]}),
    ("POST", "/containers/plain/exec", {"Cmd": ["true"]}),
    ("POST", "/containers/plain/resize?h=1&w=1", None),
    ("POST", "/containers/running/resize?h=1&w=1", None),
    ("POST", "/containers/running/resize?h=x&w=1", None),
    ("POST", "/containers/running/resize?h=1", None),
    ("GET", "/containers/plain/top", None),
    ("GET", "/containers/paused/top?ps_args=nosuch", None),
    ("DELETE", "/containers/running", None),
    ("DELETE", "/containers/paused", None),
    ("POST", "/containers/plain/rename?name=running", None),
    ("POST", "/containers/plain/rename?name=plain", None),
    ("POST", "/containers/plain/rename?name=", None),
    ("POST", "/containers/plain/rename?name=%2Fno%2Fname", None),
    ("POST", "/containers/create?name=running", container()),
    ("POST", "/containers/create?name=!x", container()),
    ("POST", "/containers/create?name=x", container()),
    ("POST", "/containers/create?platform=nosuch", container()),
    ("POST", "/containers/create?platform=linux/arm64", container()),
    ("DELETE", f"/images/{IMAGE}", None),
    ("DELETE", "/volumes/other", None),
    ("DELETE", "/networks/mesh", None),
    ("DELETE", "/networks/bridge", None),
    ("POST", "/networks/create", {"Name": "mesh"}),
    ("POST", "/networks/create", {"Name": "bridge"}),
    ("POST", "/networks/create", {"Name": ""}),
    ("POST", "/networks/create", {"Name": "nn", "Driver": "nosuch"}),
    ("POST", "/networks/create", {"Name": "nn", "IPAM": {"Driver": "nosuch"}}),
    ("POST", "/networks/create", {"Name": "nn", "IPAM": {"Config": [{"Subnet": "zz"}]}}),
    ("POST", "/networks/create", {"Name": "nn", "IPAM": {"Config": [{"Subnet": "10.97.5.0/24"}]}}),
    ("POST", "/networks/create", {"Name": "nn", "IPAM": {"Config": [{"Subnet": "10.97.6.0/24", "Gateway": "zz"}]}}),
    ("POST", "/networks/create", {"Name": "nn", "IPAM": {"Config": [{"Subnet": "10.97.6.0/24", "Gateway": "10.1.1.1"}]}}),
    ("POST", "/networks/create", {"Name": "nn", "IPAM": {"Config": [{"Subnet": "10.97.6.0/24", "IPRange": "10.1.1.0/24"}]}}),
    ("POST", "/networks/create", {"Name": "nn", "Scope": "swarm"}),
    ("POST", "/networks/create", {"Name": "nn", "Ingress": True}),
    ("POST", "/networks/create", {"Name": "nn", "Driver": "host"}),
    ("POST", "/networks/create", {"Name": "nn", "Driver": "overlay"}),
    ("POST", "/networks/create", {"Name": "nn", "Options": {"com.docker.network.driver.mtu": "zz"}}),
    ("POST", "/networks/create", {"Name": "nn", "ConfigFrom": {"Network": "nosuch"}}),
    ("POST", "/networks/host/connect", {"Container": "running"}),
    ("POST", "/networks/mesh/connect", {"Container": "on-host"}),
    ("POST", "/networks/mesh/connect", {"Container": "joined"}),
    ("POST", "/networks/mesh/connect", {"Container": "named-net"}),
    ("POST", "/networks/bridge/connect", {"Container": "plain", "EndpointConfig": {"Aliases": ["a"]}}),
    ("POST", "/networks/mesh/connect", {"Container": "running", "EndpointConfig": {"IPAMConfig": {"IPv4Address": "zz"}}}),
    ("POST", "/networks/mesh/connect", {"Container": "running", "EndpointConfig": {"IPAMConfig": {"IPv4Address": "10.1.1.1"}}}),
    ("POST", "/networks/mesh/connect", {"Container": "running", "EndpointConfig": {"IPAMConfig": {"IPv4Address": "10.97.5.9"}}}),
    ("POST", "/volumes/create", {"Name": "!"}),
    ("POST", "/volumes/create", {"Name": "xx", "Driver": "nosuch"}),
    ("POST", "/volumes/create", {"Name": "xx", "DriverOpts": {"nosuch": "1"}}),
    # wrong values of a new container
    ("POST", "/containers/create", None),
    ("POST", "/containers/create", []),
    create(Cmd=[]),
    create(Env=["=x"]),
    create(WorkingDir="relative"),
    create(StopSignal="NOSUCH"),
    create(Hostname="a" * 64),
    create(MacAddress="zz"),
    create(MacAddress="02:00:00:00:00:01"),
    create(ExposedPorts={"zz": {}}),
    create(ExposedPorts={"99999/tcp": {}}),
    create(Healthcheck={"Test": ["NOSUCH"]}),
    create(Healthcheck={"Test": ["CMD", "true"], "Interval": 1}),
    create(Healthcheck={"Test": ["CMD", "true"], "Retries": -1}),
    create(Volumes={"": {}}),
    create(Volumes={"relative": {}}),
    create(Volumes={"/": {}}),
    create(Hostname="xx", host={"NetworkMode": "container:running"}),
    create(host={"NetworkMode": "container:"}),
    create(host={"NetworkMode": "host", "Links": ["running"]}),
    create(host={"NetworkMode": "host", "PortBindings": {"80/tcp": [{"HostPort": "1"}]}}),
    create(host={"AutoRemove": True, "RestartPolicy": {"Name": "always"}}),
    create(host={"RestartPolicy": {"Name": "nosuch"}}),
    create(host={"RestartPolicy": {"Name": "always", "MaximumRetryCount": 1}}),
    create(host={"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": -1}}),
    create(host={"RestartPolicy": {"MaximumRetryCount": 1}}),
    create(host={"CapAdd": ["NOSUCH"]}),
    create(host={"CapDrop": ["NOSUCH"]}),
    create(host={"IpcMode": "nosuch"}),
    create(host={"PidMode": "nosuch"}),
    create(host={"PidMode": "container:nosuch"}),
    create(host={"UTSMode": "nosuch"}),
    create(host={"UsernsMode": "nosuch"}),
    create(host={"CgroupnsMode": "nosuch"}),
    create(host={"Isolation": "nosuch"}),
    create(host={"Runtime": "nosuch"}),
    create(host={"ShmSize": -1}),
    create(host={"OomScoreAdj": 2000}),
    create(host={"Memory": 1}),
    create(host={"Memory": 67108864, "MemorySwap": 1}),
    create(host={"MemorySwap": 67108864}),
    create(host={"MemorySwap": -2}),
    create(host={"Memory": 67108864, "MemorySwappiness": 200}),
    create(host={"MemorySwappiness": -2}),
    create(host={"MemoryReservation": 1}),
    create(host={"Memory": 67108864, "MemoryReservation": 134217728}),
    create(host={"NanoCpus": 99000000000}),
    create(host={"NanoCpus": -1}),
    create(host={"NanoCpus": 1, "CpuPeriod": 1000}),
    create(host={"NanoCpus": 1, "CpuQuota": 1000}),
    create(host={"CpuPeriod": 1}),
    create(host={"CpuQuota": 1}),
    create(host={"CpuShares": -1}),
    create(host={"CpusetCpus": "99"}),
    create(host={"CpusetCpus": "zz"}),
    create(host={"CpusetMems": "zz"}),
    create(host={"CpusetMems": "99"}),
    create(host={"BlkioWeight": 1}),
    create(host={"BlkioWeightDevice": [{"Path": "/dev/zero", "Weight": 1}]}),
    create(host={"IOMaximumIOps": 1}),
    create(host={"CpuCount": 1}),
    create(host={"CpuPercent": 1}),
    create(host={"Ulimits": [{"Name": "nosuch", "Soft": 1, "Hard": 1}]}),
    create(host={"Ulimits": [{"Name": "nofile", "Soft": 2, "Hard": 1}]}),
    create(host={"DeviceCgroupRules": ["zz"]}),
    create(host={"Devices": [{"PathOnHost": "/dev/nosuch"}]}),
    create(host={"Devices": [{"PathOnHost": "/dev/zero", "PathInContainer": "/dev/x", "CgroupPermissions": "zz"}]}),
    create(host={"DeviceRequests": [{"Driver": "nosuch", "Count": 1}]}),
    create(host={"LogConfig": {"Type": "nosuch"}}),
    create(host={"LogConfig": {"Type": "json-file", "Config": {"nosuch": "1"}}}),
    create(host={"LogConfig": {"Type": "json-file", "Config": {"max-size": "zz"}}}),
    create(host={"Binds": ["relative:/x"]}),
    create(host={"Binds": ["/tmp:relative"]}),
    create(host={"Binds": ["/tmp:/x:nosuch"]}),
    create(host={"Binds": ["/tmp:/"]}),
    create(host={"Binds": ["!bad:/x"]}),
    create(host={"Binds": ["/tmp:/x", "/var:/x"]}),
    create(host={"Tmpfs": {"relative": ""}}),
    create(host={"Tmpfs": {"/x": "nosuch"}}),
    create(host={"Mounts": [{"Type": "nosuch", "Target": "/x"}]}),
    create(host={"Mounts": [{"Type": "bind", "Target": "/x"}]}),
    create(host={"Mounts": [{"Type": "bind", "Source": "/no/such", "Target": "/x"}]}),
    create(host={"Mounts": [{"Type": "bind", "Source": "relative", "Target": "/x"}]}),
    create(host={"Mounts": [{"Type": "bind", "Source": "/tmp", "Target": ""}]}),
    create(host={"Mounts": [{"Type": "bind", "Source": "/tmp", "Target": "/x", "VolumeOptions": {}}]}),
    create(host={"Mounts": [{"Type": "bind", "Source": "/tmp", "Target": "/x", "BindOptions": {"Propagation": "nosuch"}}]}),
    create(host={"Mounts": [{"Type": "bind", "Source": "/tmp", "Target": "/x", "Consistency": "nosuch"}]}),
    create(host={"Mounts": [{"Type": "tmpfs", "Source": "/tmp", "Target": "/x"}]}),
    create(host={"Mounts": [{"Type": "tmpfs", "Target": "/x", "TmpfsOptions": {"SizeBytes": -1}}]}),
    create(host={"Mounts": [{"Type": "tmpfs", "Target": "/x", "TmpfsOptions": {"Options": [["nosuch"]]}}]}),
    create(host={"Mounts": [{"Type": "volume", "Target": "/x", "VolumeOptions": {"DriverConfig": {"Name": "nosuch"}}}]}),
    create(host={"Mounts": [{"Type": "volume", "Target": "/x", "BindOptions": {}}]}),
    create(host={"Mounts": [{"Type": "bind", "Source": "/tmp", "Target": "/x", "BindOptions": {"ReadOnlyForceRecursive": True}}]}),
    create(host={"Mounts": [{"Type": "bind", "Source": "/tmp", "Target": "/x", "ReadOnly": True, "BindOptions": {"ReadOnlyForceRecursive": True, "ReadOnlyNonRecursive": True}}]}),
    create(host={"PortBindings": {"zz": [{"HostPort": "1"}]}}),
    create(host={"PortBindings": {"80/tcp": [{"HostPort": "zz"}]}}),
    create(host={"PortBindings": {"80/tcp": [{"HostIp": "zz", "HostPort": "1"}]}}),
    create(host={"Dns": ["zz"]}),
    create(host={"ExtraHosts": ["zz"]}),
    create(host={"ExtraHosts": ["a:zz"]}),
    create(host={"GroupAdd": ["nosuch"]}),
    create(host={"SecurityOpt": ["nosuch"]}),
    create(host={"SecurityOpt": ["nosuch=1"]}),
    create(host={"SecurityOpt": ["seccomp=zz"]}),
    create(host={"Sysctls": {"nosuch.x": "1"}}),
    create(host={"StorageOpt": {"size": "1G"}}),
    create(host={"VolumeDriver": "nosuch"}),
    create(host={"Annotations": {"": "x"}}),
    create(host={"ConsoleSize": [1, 2, 3]}),
    create(host={"NetworkMode": "mesh", "Links": ["plain"]}),
    create(NetworkingConfig={"EndpointsConfig": {"nosuch": {}}}),
    create(NetworkingConfig={"EndpointsConfig": {"mesh": {"IPAMConfig": {"IPv4Address": "zz"}}}}),
    create(NetworkingConfig={"EndpointsConfig": {"mesh": {"MacAddress": "zz"}}}),
    create(NetworkingConfig={"EndpointsConfig": {"bridge": {"IPAMConfig": {"IPv4Address": "10.98.0.99"}}}}),
    create(NetworkingConfig={"EndpointsConfig": {"mesh": {}, "bridge": {}}}, version=43),
    # what older versions of the API take otherwise
    create(host={"AutoRemove": True}, version=24),
    create(host={"Mounts": [{"Type": "bind", "Source": "/tmp", "Target": "/x", "VolumeOptions": {}}]}, version=41),
    create(host={"Mounts": [{"Type": "volume", "Source": "other", "Target": "/x", "VolumeOptions": {"Subpath": "x"}}]}, version=44),
    create(host={"Mounts": [{"Type": "image", "Source": IMAGE, "Target": "/x"}]}, version=47),
    create(host={"Mounts": [{"Type": "bind", "Source": "/tmp", "Target": "/x", "ReadOnly": True, "BindOptions": {"ReadOnlyForceRecursive": True}}]}, version=43),
    create(host={"Annotations": {"": "x"}}, version=42),
    create(MacAddress="02:00:00:00:00:01", host={"NetworkMode": "host"}, version=43),
    # wrong values of others
    ("GET", "/containers/json?filters=x", None),
    ("GET", "/containers/json?" + filters(nosuch="x"), None),
    ("GET", "/containers/json?" + filters(status="nosuch"), None),
    ("GET", "/containers/json?" + filters(health="nosuch"), None),
    ("GET", "/containers/json?" + filters(exited="x"), None),
    ("GET", "/containers/json?" + filters(isolation="nosuch"), None),
    ("GET", "/containers/json?" + filters(before="nosuch"), None),
    ("GET", "/containers/json?" + filters(since="nosuch"), None),
    ("GET", "/containers/json?" + filters(publish="zz"), None),
    ("GET", "/containers/json?" + filters(**{"is-task": "maybe"}), None),
    ("GET", "/containers/json?limit=x", None),
    ("GET", "/containers/json?limit=-1", None),
    ("GET", "/images/json?" + filters(nosuch="x"), None),
    ("GET", "/images/json?" + filters(dangling="maybe"), None),
    ("GET", "/images/json?" + filters(before="nosuch"), None),
    ("GET", "/images/json?" + filters(until="zz"), None),
    ("GET", "/networks?" + filters(nosuch="x"), None),
    ("GET", "/networks?" + filters(type="nosuch"), None),
    ("GET", "/networks?" + filters(dangling="maybe"), None),
    ("GET", "/volumes?" + filters(nosuch="x"), None),
    ("GET", "/volumes?" + filters(dangling="maybe"), None),
    ("GET", "/events?until=1&" + filters(nosuch="x"), None),
    ("GET", "/events?since=zz&until=1", None),
    ("GET", "/events?until=zz", None),
    ("GET", "/events?since=2&until=1", None),
    ("GET", "/system/df?type=nosuch", None),
    ("POST", "/containers/prune?" + filters(nosuch="x"), None),
    ("POST", "/containers/prune?" + filters(until="zz"), None),
    ("POST", "/containers/prune?" + filters(until=["1", "2"]), None),
    ("POST", "/images/prune?" + filters(dangling="maybe"), None),
    ("POST", "/images/prune?" + filters(until="zz"), None),
    ("POST", "/volumes/prune?" + filters(until="1"), None),
    ("POST", "/volumes/prune?" + filters(all="maybe"), None),
    ("POST", "/networks/prune?" + filters(nosuch="x"), None),
    ("GET", "/containers/running/logs", None),
    ("GET", "/containers/exited/logs?stdout=1&since=zz", None),
    ("GET", "/containers/exited/logs?stdout=1&until=zz", None),
    ("GET", "/containers/exited/logs?stdout=1&tail=zz", None),
    ("POST", "/containers/exited/wait?condition=nosuch", None),
    ("POST", "/containers/running/stop?t=x", None),
    ("POST", "/containers/running/stop?signal=NOSUCH", None),
    ("POST", "/containers/running/restart?t=x", None),
    ("POST", "/containers/running/kill?signal=NOSUCH", None),
    ("POST", "/containers/running/kill?signal=99", None),
    ("POST", "/containers/running/kill?signal=0", None),
    ("POST", "/containers/plain/start?checkpoint=x", None),
    ("POST", "/containers/plain/start", {"x": "a long body"}),
    ("POST", "/containers/running/attach?stream=1&detachKeys=nosuch", None),
    ("POST", "/containers/running/exec", {}),
    ("POST", "/containers/running/exec", {"Cmd": []}),
    ("POST", "/containers/running/exec", {"Cmd": ["true"], "User": "nosuch"}),
    ("POST", "/containers/running/exec", {"Cmd": ["true"], "WorkingDir": "relative"}),
    ("POST", "/containers/running/exec", {"Cmd": ["true"], "DetachKeys": "nosuch"}),
    ("POST", "/containers/running/exec", {"Cmd": ["true"], "ConsoleSize": [1]}),
    ("POST", "/containers/running/update", {"Memory": 1}),
    ("POST", "/containers/running/update", {"CpuShares": -1}),
    ("POST", "/containers/running/update", {"CpusetCpus": "99"}),
    ("POST", "/containers/running/update", {"RestartPolicy": {"Name": "nosuch"}}),
    ("POST", "/containers/running/update", {"NanoCpus": 99000000000}),
    ("GET", "/containers/running/archive?path=", None),
    ("GET", "/containers/running/archive?path=/nosuch", None),
    ("PUT", "/containers/running/archive?path=/nosuch", None),
    ("PUT", "/containers/running/archive?path=/etc/passwd", None),
    ("POST", "/commit?container=plain&changes=NOSUCH+x", None),
    ("POST", "/commit?container=plain&repo=UPPER", None),
    ("POST", f"/images/{IMAGE}/tag?repo=UPPER", None),
    ("POST", f"/images/{IMAGE}/tag?repo=", None),
    ("POST", f"/images/{IMAGE}/tag?repo=xx&tag=!", None),
    ("GET", f"/images/{IMAGE}/json?platform=zz", None),
    ("GET", f"/images/{IMAGE}/history?platform=zz", None),
    ("DELETE", f"/images/{IMAGE}?platforms=zz", None),
    ("POST", "/images/create", None),
    ("POST", "/images/create?fromImage=UPPER", None),
    ("POST", "/images/create?fromImage=", None),
    ("POST", "/images/load", None),
    ("GET", "/images/search?term=", None),
    ("GET", "/images/search?term=x&limit=1000", None),
    ("GET", "/images/search?term=x&limit=x", None),
    ("GET", "/images/search?term=x&" + filters(nosuch="x"), None),
    ("POST", "/auth", {"username": "x", "password": "y", "serveraddress": "127.0.0.1:1"}),
    ("GET", "/distribution/UPPER/json", None),
    ("GET", "/swarm", None), ("GET", "/nodes", None), ("GET", "/services", None), ("GET", "/tasks", None), ("GET", "/secrets", None),
    ("GET", "/configs", None), ("POST", "/swarm/leave", None),
    ("GET", "/containers/json", None, 23),
    ("GET", "/containers/json", None, 99),
    ("POST", "/containers/prune", None, 24),
]


def answer(engine, names, request):
    """Status and message of one, made comparable."""
    method, path, body, version = (*request, 51)[:4] if len(request) == 3 else request
    status, text = engine.ask(method, path, body, version=version)
    try:
        given = json.loads(text)
        message = given.get("message", "") if isinstance(given, dict) else ""
    except ValueError:
        message = ""
    if status == 201 and path.startswith("/containers/create"):
        engine.do("DELETE", f"/containers/{given['Id']}?force=1&v=1")
        message = "warns: " + " / ".join(given["Warnings"]) if given["Warnings"] else ""
    elif status == 201 and path == "/networks/create":
        engine.do("DELETE", f"/networks/{given['Id']}")
    elif status < 400:
        message = ""
    # Which of several is told has no order.
    message = re.sub(r"container <[\w-]+, short> is using", "container <one of them> is using", names.of(message))
    message = re.sub(r"(multiple network endpoints: )(.*)", lambda found: found[1] + ", ".join(sorted(found[2].split(", "))), message)
    return status, message


def lines(engine, names):
    """As the facts' lines: the question is the request, its value the answer."""
    engine.do("DELETE", "/images/other:2")  # so that the other name is the last one
    out = []
    for request in REQUESTS:
        status, message = answer(engine, names, request)
        version = request[3] if len(request) == 4 else 51
        out.append(f"{title(request)} | * | answer = {status} {message} | {version}".replace("\n", " / "))
    return out


def title(request):
    method, path, body, version = (*request, 51)[:4] if len(request) == 3 else request
    words = ["asked:", method, urllib.parse.unquote(path)]
    if body is not None:
        small = {key: value for key, value in body.items() if (key, value) not in list(container().items())} if isinstance(body, dict) else body
        words.append(json.dumps(small))
    if version != 51:
        words.append(f"(1.{version})")
    return " ".join(words)
