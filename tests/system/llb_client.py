"""A client of BuildKit's protocol of the tests' own: graphs that no Dockerfile makes, and a session that serves what builds ask of a client.

The messages are compiled from src/build/wire; the calls are python3-grpcio's.
"""

import contextlib
import hashlib
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
import threading
import uuid
from concurrent import futures

sys.path.append("/usr/lib/python3/dist-packages")  # Debian's, whichever python3 comes first
import grpc  # noqa: E402

from harness import PATIENCE, REPOSITORY, connections_of  # noqa: E402

_compiled = tempfile.TemporaryDirectory(prefix="grua-llb-")
_protos = sorted((REPOSITORY / "src/build/wire").glob("*.proto"))
subprocess.run(["protoc", f"-I{REPOSITORY / 'src'}", f"--python_out={_compiled.name}", *map(str, _protos)], check=True)
sys.path.insert(0, _compiled.name)
from build.wire import bridge_pb2 as bridge, content_pb2 as content, control_pb2 as control  # noqa: E402
from build.wire import files_pb2 as files, graph_pb2 as pb, session_pb2 as session_messages  # noqa: E402

CONTROL = "/moby.buildkit.v1.Control/"
BRIDGE = "/moby.buildkit.v1.frontend.LLBBridge/"
DEFINITION_FILE = "buildkit.llb.definition"


# --- graphs -------------------------------------------------------------------------------------------------------------

class Output:
    """One result of an operation; of None, an empty tree."""

    def __init__(self, operation, index=0):
        self.operation = operation
        self.index = index

    def __getitem__(self, index):
        return Output(self.operation, index)


class Operation:
    def __init__(self, op, inputs=(), name=None, ignore_cache=False, metadata=None):
        for each in inputs:
            op.inputs.add(digest=each.operation.digest, index=each.index)
        self.inputs = [each.operation for each in inputs]
        self.bytes = op.SerializeToString(deterministic=True)
        self.digest = "sha256:" + hashlib.sha256(self.bytes).hexdigest()
        self.metadata = metadata or pb.OpMetadata()
        if name:
            self.metadata.description["llb.customname"] = name
        self.metadata.ignore_cache = ignore_cache


def define(output):
    """The definition of what `output` needs, each operation after its inputs."""
    definition = pb.Definition()
    if output is None:
        return definition
    seen = set()

    def add(operation):
        if operation.digest in seen:
            return
        seen.add(operation.digest)
        for each in operation.inputs:
            add(each)
        getattr(definition, "def").append(operation.bytes)
        definition.metadata[operation.digest].CopyFrom(operation.metadata)

    add(output.operation)
    last = pb.Op()
    last.inputs.add(digest=output.operation.digest, index=output.index)
    getattr(definition, "def").append(last.SerializeToString(deterministic=True))
    return definition


class Inputs:
    """The inputs of an operation, each once; an empty tree is -1."""

    def __init__(self):
        self.all = []

    def number(self, output):
        if output is None:
            return -1
        for at, each in enumerate(self.all):
            if (each.operation.digest, each.index) == (output.operation.digest, output.index):
                return at
        self.all.append(output)
        return len(self.all) - 1


def source(identifier, name=None, ignore_cache=False, platform=None, **attributes):
    op = pb.Op()
    op.source.identifier = identifier
    for key, value in attributes.items():
        op.source.attrs[key.replace("__", ".")] = value if isinstance(value, str) else json.dumps(value)
    if platform:
        op.platform.OS, op.platform.Architecture = platform.split("/")
    return Output(Operation(op, name=name, ignore_cache=ignore_cache))


def image(reference="docker.io/library/busybox:latest", **more):
    return source("docker-image://" + reference, **more)


def local(name, **more):
    return source("local://" + name, **more)


def bind(dest, output=None, result=-1, readonly=False, selector=""):
    return {"dest": dest, "from": output, "output": result, "readonly": readonly, "selector": selector}


def mount(kind, dest, output=None, **options):
    return {"dest": dest, "type": kind, "from": output, "output": -1, **options}


def execute(root, *args, mounts=(), network=0, security=0, secret_env=(), root_readonly=False, root_output=0, meta=None, **more):
    """A program in `root`; the result 0 is its root, unless it has none."""
    op = pb.Op()
    inputs = Inputs()
    run = op.exec
    run.meta.args.extend(args)
    run.meta.cwd = "/"
    run.meta.env.append("PATH=/bin:/usr/bin:/sbin:/usr/sbin")
    if meta:
        meta(run.meta)
    run.network, run.security = network, security
    for each in secret_env:
        run.secretenv.add(**each)
    for each in ({"dest": "/", "from": root, "output": root_output, "readonly": root_readonly}, *mounts):
        added = run.mounts.add(dest=each["dest"], input=inputs.number(each["from"]), output=each["output"], readonly=each.get("readonly", False),
                               selector=each.get("selector", ""))
        kind = each.get("type")
        if kind == "tmpfs":
            added.mountType = pb.MOUNT_TYPE_TMPFS
            added.TmpfsOpt.size = each.get("size", 0)
        if kind == "cache":
            added.mountType = pb.MOUNT_TYPE_CACHE
            added.cacheOpt.ID, added.cacheOpt.sharing = each["id"], each.get("sharing", 0)
        if kind == "secret":
            added.mountType = pb.MOUNT_TYPE_SECRET
            for key in ("ID", "uid", "gid", "mode", "optional"):
                if key in each:
                    setattr(added.secretOpt, key, each[key])
        if kind == "ssh":
            added.mountType = pb.MOUNT_TYPE_SSH
            for key in ("ID", "uid", "gid", "mode", "optional"):
                if key in each:
                    setattr(added.SSHOpt, key, each[key])
    return Output(Operation(op, inputs.all, **more))


def shell(root, script, **more):
    return execute(root, "/bin/sh", "-c", script, **more)


class Files:
    """Actions on files one after the other; the last one's tree is the result."""

    def __init__(self, base=None):
        self._op = pb.Op()
        self._inputs = Inputs()
        self._base = self._inputs.number(base)
        self._count = 0

    def _action(self, secondary=None):
        actions = self._op.file.actions
        number = self._inputs.number(secondary)
        if actions:
            actions[-1].output = -1
        # What an action before has made has a number behind the inputs'.
        action = actions.add(input=self._base if not actions else -2, secondaryInput=number, output=0)
        self._count += 1
        return action

    @staticmethod
    def _owner(message, owner, inputs):
        if owner is None:
            return
        for field, value in zip((message.user, message.group), owner):
            if isinstance(value, int):
                field.byID = value
            else:
                field.byName.name, field.byName.input = value[0], inputs.number(value[1])

    def copy(self, output, src, dest, owner=None, mode=-1, timestamp=-1, include=(), exclude=(), required_paths=(), **flags):
        action = self._action(output).copy
        action.src, action.dest, action.mode, action.timestamp = src, dest, mode, timestamp
        action.include_patterns.extend(include)
        action.exclude_patterns.extend(exclude)
        action.required_paths.extend(required_paths)
        self._owner(action.owner, owner, self._inputs)
        for key, value in flags.items():
            setattr(action, key, value)
        return self

    def mkfile(self, path, data=b"", mode=0o644, owner=None, timestamp=-1):
        action = self._action().mkfile
        action.path, action.data, action.mode, action.timestamp = path, data if isinstance(data, bytes) else data.encode(), mode, timestamp
        self._owner(action.owner, owner, self._inputs)
        return self

    def mkdir(self, path, mode=0o755, parents=False, owner=None, timestamp=-1):
        action = self._action().mkdir
        action.path, action.mode, action.makeParents, action.timestamp = path, mode, parents, timestamp
        self._owner(action.owner, owner, self._inputs)
        return self

    def rm(self, path, missing=False, wildcard=False):
        action = self._action().rm
        action.path, action.allowNotFound, action.allowWildcard = path, missing, wildcard
        return self

    def symlink(self, old, new, owner=None, timestamp=-1):
        action = self._action().symlink
        action.oldpath, action.newpath, action.timestamp = old, new, timestamp
        self._owner(action.owner, owner, self._inputs)
        return self

    def done(self, **more):
        for at, action in enumerate(self._op.file.actions):
            if action.input == -2:
                action.input = len(self._inputs.all) + at - 1
        return Output(Operation(self._op, self._inputs.all, **more))


def merge(*outputs, **more):
    op = pb.Op()
    inputs = Inputs()
    for each in outputs:
        op.merge.inputs.add(input=inputs.number(each))
    return Output(Operation(op, inputs.all, **more))


def diff(lower, upper, **more):
    op = pb.Op()
    inputs = Inputs()
    op.diff.lower.input = inputs.number(lower)
    op.diff.upper.input = inputs.number(upper)
    return Output(Operation(op, inputs.all, **more))


def build(output, filename=None, builder=-1, **more):
    op = pb.Op()
    inputs = Inputs()
    op.build.builder = builder
    op.build.inputs[DEFINITION_FILE].input = inputs.number(output)
    if filename:
        op.build.attrs["llbbuild.filename"] = filename
    return Output(Operation(op, inputs.all, **more))


# --- connections ---------------------------------------------------------------------------------------------------------

def upgraded(daemon, path, *headers):
    """A connection of the engine's that speaks HTTP/2 from now on."""
    out = socket.socket(socket.AF_UNIX)
    out.connect(str(daemon.socket))
    out.sendall("\r\n".join([f"POST {path} HTTP/1.1", "Host: d", "Connection: Upgrade", "Upgrade: h2c", *headers, "", ""]).encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        piece = out.recv(1)
        if not piece:
            raise AssertionError(f"{path}: {answer}")
        answer += piece
    if b" 101 " not in answer:
        raise AssertionError(f"{path}: {answer}")
    return out


def _pump(read, write):
    with contextlib.suppress(OSError):
        while data := read.recv(65536):
            write.sendall(data)
    for each in (read, write):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def join(one, other):
    """What comes from either goes to the other, until one ends."""
    pumps = [threading.Thread(target=_pump, args=ends, daemon=True) for ends in ((one, other), (other, one))]
    for each in pumps:
        each.start()
    return pumps


def session_headers(name, key, methods):
    return [f"X-Docker-Expose-Session-Uuid: {name}", "X-Docker-Expose-Session-Name: tests", f"X-Docker-Expose-Session-Sharedkey: {key}",
            *(f"X-Docker-Expose-Session-Grpc-Method: {method}" for method in methods)]


class Calls:
    """Where grpcio connects to: each connection is one of the engine's, upgraded."""

    def __init__(self, daemon):
        self._folder = tempfile.TemporaryDirectory(prefix="grua-calls-")
        self.path = f"{self._folder.name}/s"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        threading.Thread(target=self._serve, args=(daemon,), daemon=True).start()

    def _serve(self, daemon):
        for connection in connections_of(self._listener):
            try:
                join(connection, upgraded(daemon, "/grpc"))
            except (OSError, AssertionError):  # gruad is about to end
                connection.close()

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._folder.cleanup()


# --- the session --------------------------------------------------------------------------------------------------------

def _plain(function, kind):
    """A handler of bytes."""
    return getattr(grpc, f"{kind}_rpc_method_handler")(function)


def _go_mode(mode):
    out = stat.S_IMODE(mode) & 0o777
    if stat.S_ISDIR(mode):
        out |= 1 << 31
    if stat.S_ISLNK(mode):
        out |= 1 << 27
    for bit, go in ((stat.S_ISUID, 23), (stat.S_ISGID, 22), (stat.S_ISVTX, 20)):
        if mode & bit:
            out |= 1 << go
    return out


def _tree(folder):
    """Paths from the folder, each folder before what is in it, as Go's filepath.Walk has them."""
    def walk(prefix):
        for name in sorted(os.listdir(folder / prefix)):
            path = f"{prefix}/{name}" if prefix else name
            yield path
            if (folder / path).is_dir() and not (folder / path).is_symlink():
                yield from walk(path)
    yield from walk("")


class Session:
    """What a build may ask of its client: folders, secrets, an agent, layouts, and where what it makes goes to."""

    def __init__(self, daemon, folders=None, secrets=None, agent=None, stores=None, credentials=None, shared_key=""):
        self.id = uuid.uuid4().hex[:25]
        self.folders = {name: pathlib.Path(path) for name, path in (folders or {}).items()}
        self.secrets = secrets or {}
        self.agent = agent
        self.stores = {name: pathlib.Path(path) for name, path in (stores or {}).items()}
        self.credentials = credentials or {}
        self.received = {}  # by the exporter's number: bytes, or {path: (Stat, bytes)}
        self.asked = []  # (method, metadata) of each call
        self._daemon = daemon
        self._key = shared_key
        self._folder = tempfile.mkdtemp(prefix="grua-session-")
        self._methods = {
            "grpc.health.v1.Health/Check": ("unary_unary", lambda request, context: b"\x08\x01"),
            "moby.filesync.v1.FileSync/DiffCopy": ("stream_stream", self._send_folder),
            "moby.filesync.v1.FileSend/DiffCopy": ("stream_stream", self._receive),
            "moby.buildkit.secrets.v1.Secrets/GetSecret": ("unary_unary", self._secret),
            "moby.sshforward.v1.SSH/CheckAgent": ("unary_unary", self._check_agent),
            "moby.sshforward.v1.SSH/ForwardAgent": ("stream_stream", self._forward_agent),
            "moby.filesync.v1.Auth/Credentials": ("unary_unary", self._credentials),
            "containerd.services.content.v1.Content/Read": ("unary_stream", self._read_blob),
            "containerd.services.content.v1.Content/Info": ("unary_unary", self._blob_info)}

    def __enter__(self):
        self._server = grpc.server(futures.ThreadPoolExecutor(32))
        outer = self

        class Handlers(grpc.GenericRpcHandler):
            def service(self, call):
                known = outer._methods.get(call.method.lstrip("/"))
                if known is None:
                    return None
                outer.asked.append((call.method, list(call.invocation_metadata)))
                return _plain(known[1], known[0])

        self._server.add_generic_rpc_handlers((Handlers(),))
        path = f"{self._folder}/s"
        self._server.add_insecure_port(f"unix:{path}")
        self._server.start()
        self._outside = upgraded(self._daemon, "/session", *session_headers(self.id, self._key, (f"/{name}" for name in self._methods)))
        self._inside = socket.socket(socket.AF_UNIX)
        self._inside.connect(path)
        self._pumps = join(self._outside, self._inside)
        return self

    def __exit__(self, *_):
        for each in (self._outside, self._inside):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for each in self._pumps:
            each.join(5 * PATIENCE)
        self._outside.close()
        self._inside.close()
        self._server.stop(0).wait(5 * PATIENCE)
        shutil.rmtree(self._folder)

    def _send_folder(self, requests, context):
        wanted = {}
        for name, value in context.invocation_metadata():
            wanted.setdefault(name, []).append(value)
        name = wanted["dir-name"][0]
        if name not in self.folders:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no access allowed to dir {name!r}")
        folder = self.folders[name]
        paths = list(_tree(folder))
        follow = wanted.get("followpaths")
        if follow:
            # What they lead to is the same in these tests.
            paths = [each for each in paths if any(each == one or one.startswith(each + "/") or each.startswith(one + "/") for one in follow)]
        entries = []
        for path in paths:
            about = (folder / path).lstat()
            entry = files.Stat(path=path, mode=_go_mode(about.st_mode), uid=0, gid=0, modTime=about.st_mtime_ns)
            if stat.S_ISREG(about.st_mode):
                entry.size = about.st_size
            if stat.S_ISLNK(about.st_mode):
                entry.linkname = os.readlink(folder / path)
            entries.append(entry)
        for entry in entries:
            yield files.Packet(type=files.Packet.PACKET_STAT, stat=entry).SerializeToString()
        yield files.Packet(type=files.Packet.PACKET_STAT).SerializeToString()
        for message in requests:
            packet = files.Packet.FromString(message)
            if packet.type == files.Packet.PACKET_FIN:
                yield packet.SerializeToString()
                return
            if packet.type == files.Packet.PACKET_REQ:
                data = (folder / entries[packet.ID].path).read_bytes()
                for at in range(0, len(data), 32768):
                    yield files.Packet(type=files.Packet.PACKET_DATA, ID=packet.ID, data=data[at:at + 32768]).SerializeToString()
                yield files.Packet(type=files.Packet.PACKET_DATA, ID=packet.ID).SerializeToString()

    def _receive(self, requests, context):
        metadata = dict(context.invocation_metadata())
        number = int(metadata.get("buildkit-attachable-exporter-id", 0))
        if self.expects.get(number) == "local":
            yield from self._receive_folder(number, requests)
            return
        out = bytearray()
        for message in requests:
            out += control.BytesMessage.FromString(message).data
        self.received[number] = bytes(out)

    expects = {}

    def _receive_folder(self, number, requests):
        out, order = {}, []
        open_files = 0
        for message in requests:
            packet = files.Packet.FromString(message)
            if packet.type == files.Packet.PACKET_STAT and packet.HasField("stat"):
                order.append(packet.stat)
                out[packet.stat.path] = (packet.stat, bytearray())
                if not packet.stat.mode >> 25 and not packet.stat.linkname:  # a file
                    open_files += 1
                    yield files.Packet(type=files.Packet.PACKET_REQ, ID=len(order) - 1).SerializeToString()
            elif packet.type == files.Packet.PACKET_STAT:
                if open_files == 0:
                    yield files.Packet(type=files.Packet.PACKET_FIN).SerializeToString()
            elif packet.type == files.Packet.PACKET_DATA:
                if packet.data:
                    out[order[packet.ID].path][1].extend(packet.data)
                    continue
                open_files -= 1
                if open_files == 0:
                    yield files.Packet(type=files.Packet.PACKET_FIN).SerializeToString()
            elif packet.type == files.Packet.PACKET_FIN:
                break
        self.received[number] = {path: (about, bytes(data)) for path, (about, data) in out.items()}

    def _secret(self, message, context):
        name = session_messages.GetSecretRequest.FromString(message).ID
        if name not in self.secrets:
            context.abort(grpc.StatusCode.NOT_FOUND, f"secret {name}: not found")
        return session_messages.GetSecretResponse(data=self.secrets[name]).SerializeToString()

    def _check_agent(self, message, context):
        if self.agent is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "unset ssh forward key default")
        return b""

    def _forward_agent(self, requests, context):
        for message in requests:
            yield session_messages.BytesMessage(data=self.agent(session_messages.BytesMessage.FromString(message).data)).SerializeToString()

    def _credentials(self, message, context):
        user, secret = self.credentials.get(session_messages.CredentialsRequest.FromString(message).Host, ("", ""))
        return session_messages.CredentialsResponse(Username=user, Secret=secret).SerializeToString()

    def _blob(self, digest, context):
        store = dict(context.invocation_metadata()).get("buildkit-attachable-store-id", "")
        path = self.stores.get(store.removeprefix("oci:"), pathlib.Path("/nowhere")) / "blobs" / digest.replace(":", "/")
        if not store.startswith("oci:") or not path.is_file():
            context.abort(grpc.StatusCode.NOT_FOUND, f"content {digest}: not found")
        return path

    def _blob_info(self, message, context):
        digest = content.InfoRequest.FromString(message).digest
        out = content.InfoResponse()
        out.info.digest, out.info.size = digest, self._blob(digest, context).stat().st_size
        return out.SerializeToString()

    def _read_blob(self, message, context):
        data = self._blob(content.ReadContentRequest.FromString(message).digest, context).read_bytes()
        for at in range(0, len(data), 1 << 18):
            yield content.ReadContentResponse(offset=at, data=data[at:at + (1 << 18)]).SerializeToString()


# --- builds -------------------------------------------------------------------------------------------------------------

class Failed(Exception):
    def __init__(self, error):
        super().__init__(error.details())
        self.code = error.code()


class Told:
    """What the status of a build has told."""

    def __init__(self):
        self.vertices = {}
        self.logs = {}
        self.warnings = []

    def take(self, status):
        for each in status.vertexes:
            self.vertices[each.digest] = each
        for each in status.logs:
            self.logs[each.vertex] = self.logs.get(each.vertex, b"") + each.msg
        self.warnings.extend(status.warnings)

    def log(self):
        return b"".join(self.logs.values()).decode(errors="replace")

    def names(self):
        return [each.name for each in self.vertices.values()]

    def cached(self):
        return [each.name for each in self.vertices.values() if each.cached]


class Client:
    def __init__(self, daemon):
        self._daemon = daemon
        self._calls = Calls(daemon)
        self._channel = grpc.insecure_channel(f"unix:{self._calls.path}", options=[("grpc.max_receive_message_length", 64 << 20)])
        self.told = Told()

    def close(self):
        self._channel.close()
        self._calls.close()

    def call(self, method, request, answer, build=None, timeout=120):
        metadata = [("buildkit-controlapi-buildid", build)] if build else None
        try:
            return answer.FromString(self._channel.unary_unary(method)(request.SerializeToString(), timeout=timeout * PATIENCE, metadata=metadata))
        except grpc.RpcError as error:
            raise Failed(error) from None

    def stream(self, method, messages, build, timeout=120):
        return self._channel.stream_stream(method)((each.SerializeToString() for each in messages), timeout=timeout * PATIENCE,
                                                   metadata=[("buildkit-controlapi-buildid", build)])

    def begin(self, request, timeout=240):
        """A Solve in the background: its future."""
        return self._channel.unary_unary(CONTROL + "Solve").future(request.SerializeToString(), timeout=timeout * PATIENCE)

    def solve(self, output=None, session=None, exports=(), frontend="", attributes=None, inputs=None, entitlements=(), definition=None):
        """`exports`: pairs of a type and its attributes. What the exporters answer."""
        request = control.SolveRequest(Ref=uuid.uuid4().hex[:25], Session=session.id if session else "", Frontend=frontend)
        request.Entitlements.extend(entitlements)
        if definition is None and output is not None:
            definition = define(output)
        if definition is not None:
            request.Definition.CopyFrom(definition)
        for name, value in (attributes or {}).items():
            request.FrontendAttrs[name] = value
        for name, value in (inputs or {}).items():
            request.FrontendInputs[name].CopyFrom(define(value))
        for number, (kind, options) in enumerate(exports):
            added = request.Exporters.add(Type=kind)
            for name, value in options.items():
                added.Attrs[name] = value
            if session:
                session.expects = {**session.expects, number: kind}
        self.told = told = Told()

        def listen():
            with contextlib.suppress(grpc.RpcError):
                for message in self._channel.unary_stream(CONTROL + "Status")(control.StatusRequest(Ref=request.Ref).SerializeToString(), timeout=240 * PATIENCE):
                    told.take(control.StatusResponse.FromString(message))

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        try:
            answer = self.begin(request).result()
            return dict(control.SolveResponse.FromString(answer).ExporterResponse)
        except grpc.RpcError as error:
            raise Failed(error) from None
        finally:
            listener.join(30 * PATIENCE)

    def files(self, output=None, session=None, **more):
        """What is in the result: by path what tarfile says of it, and the contents of files."""
        with contextlib.ExitStack() as stack:
            if session is None:
                session = stack.enter_context(Session(self._daemon))
            self.solve(output, session=session, exports=[("tar", {})], **more)
            return read_tar(session.received[0])


class Tree(dict):
    """By path, (TarInfo, bytes)."""

    def text(self, path):
        return self[path][1].decode()

    def mode(self, path):
        return oct(self[path][0].mode & 0o7777)


def read_tar(data):
    out = Tree()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            name = member.name.removeprefix("./").rstrip("/")
            out[name] = (member, archive.extractfile(member).read() if member.isreg() else b"")
    return out


class FrontEnd:
    """A build whose front end is the client: LLBBridge from outside."""

    def __init__(self, client, session=None, exports=(), entitlements=(), inputs=None):
        self._client = client
        self.id = uuid.uuid4().hex[:25]
        request = control.SolveRequest(Ref=self.id, Session=session.id if session else "")
        request.Entitlements.extend(entitlements)
        for name, value in (inputs or {}).items():
            request.FrontendInputs[name].CopyFrom(define(value))
        for number, (kind, options) in enumerate(exports):
            added = request.Exporters.add(Type=kind)
            for name, value in options.items():
                added.Attrs[name] = value
            if session:
                session.expects = {**session.expects, number: kind}
        self._answer = client.begin(request)

    def ask(self, method, request, answer):
        return self._client.call(BRIDGE + method, request, answer, build=self.id)

    def solve(self, output=None, **more):
        request = bridge.SolveRequest(allowResultReturn=True, allowResultArrayRef=True, **more)
        if output is not None:
            request.Definition.CopyFrom(define(output))
        return self.ask("Solve", request, bridge.SolveResponse).result

    def execute(self, container, *args, stdin=b"", fds=(0, 1, 2), messages=(), **init):
        """A program in a container of ours: its outputs by their descriptors, and its ExitMessage."""
        first = bridge.ExecMessage(ProcessID="p")
        first.Init.CopyFrom(bridge.InitMessage(ContainerID=container, Fds=fds, Meta=pb.Meta(args=args, cwd="/", env=["PATH=/bin"]), **init))
        said = [first, *messages]
        for at in range(0, len(stdin), 100_000):
            said.append(bridge.ExecMessage(ProcessID="p", File=bridge.FdMessage(Fd=0, Data=stdin[at:at + 100_000])))
        if not messages:
            said.append(bridge.ExecMessage(ProcessID="p", File=bridge.FdMessage(Fd=0, EOF=True)))
        outputs, order, exited = {}, [], None
        try:
            for message in self._client.stream(BRIDGE + "ExecProcess", said, self.id):
                answer = bridge.ExecMessage.FromString(message)
                kind = answer.WhichOneof("Input")
                order.append(kind)
                if kind == "File":
                    outputs[answer.File.Fd] = outputs.get(answer.File.Fd, b"") + answer.File.Data
                if kind == "Exit":
                    exited = answer.Exit
        except grpc.RpcError as error:
            raise Failed(error) from None
        if (order[0], order[-2:]) != ("Started", ["Exit", "Done"]):
            raise AssertionError(f"messages in the order {order}")
        return outputs, exited

    def finish(self, result=None, error=None):
        request = bridge.ReturnRequest()
        if error:
            request.error.code, request.error.message = error
        else:
            request.result.CopyFrom(result or bridge.Result(ref=bridge.Ref()))
        self.ask("Return", request, bridge.ReturnResponse)
        return self.answer()

    def answer(self):
        try:
            return dict(control.SolveResponse.FromString(self._answer.result()).ExporterResponse)
        except grpc.RpcError as error:
            raise Failed(error) from None
