"""A client of BuildKit's protocol that says what it likes: definitions of its own (LLB), front ends that lie, sessions that serve what nobody asked for.

Messages, connections and whatever is done as a client does it are llb_client's.
"""

import contextlib
import hashlib
import pathlib
import socket
import tempfile
import uuid
from concurrent import futures

from harness import PATIENCE
from llb_client import BRIDGE, CONTROL, Calls, grpc, join, session_headers, upgraded
from llb_client import bridge as bridge_pb2, control as control_pb2, files as files_pb2, pb as graph_pb2

NONE = -1  # No input, no output.


class Graph:
    """A definition, operation by operation."""

    def __init__(self):
        self.definition = graph_pb2.Definition()

    def add(self, op, *inputs, name=None):
        """Its digest. `inputs`: digests, or pairs of one and the number of its result."""
        for each in inputs:
            digest, index = each if isinstance(each, tuple) else (each, 0)
            op.inputs.add(digest=digest, index=index)
        data = op.SerializeToString(deterministic=True)
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        getattr(self.definition, "def").append(data)
        if name:
            self.definition.metadata[digest].description["llb.customname"] = name
        return digest

    def source(self, identifier, **attrs):
        op = graph_pb2.Op()
        op.source.identifier = identifier
        for key, value in attrs.items():
            op.source.attrs[key.replace("__", ".")] = value
        if identifier.startswith("docker-image://"):
            op.platform.Architecture, op.platform.OS = "amd64", "linux"
        return self.add(op)

    def mkfile(self, path, data=b"", below=None, mode=0o644):
        op = graph_pb2.Op()
        action = op.file.actions.add(input=0 if below else NONE, secondaryInput=NONE, output=0)
        action.mkfile.path, action.mkfile.data, action.mkfile.mode, action.mkfile.timestamp = path, data, mode, -1
        return self.add(op, *([below] if below else []))

    def run(self, script, below, change=None):
        """`change`: of the operation, before it is added. Further inputs are those that it has added."""
        op = graph_pb2.Op()
        op.inputs.add(digest=below)
        op.exec.meta.args.extend(["/bin/sh", "-c", script])
        op.exec.meta.env.append("PATH=/bin")
        op.exec.meta.cwd = "/"
        op.exec.mounts.add(input=0, dest="/", output=0)
        if change:
            change(op)
        return self.add(op)

    def done(self, digest, index=0):
        """What is asked for; the definition is complete."""
        last = graph_pb2.Op()
        last.inputs.add(digest=digest, index=index)
        getattr(self.definition, "def").append(last.SerializeToString())
        return self.definition


class Client:
    """A connection to a gruad's builder."""

    def __init__(self, case, daemon):
        self.daemon = daemon
        calls = Calls(daemon)
        case.addCleanup(calls.close)
        options = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20), ("grpc.use_local_subchannel_pool", 1)]
        self.channel = grpc.insecure_channel(f"unix:{calls.path}", options=options)
        case.addCleanup(self.channel.close)

    def call(self, method, request, answer=None, metadata=(), timeout=60):
        made = self.channel.unary_unary(method, request_serializer=lambda each: each if isinstance(each, bytes) else each.SerializeToString(),
                                        response_deserializer=answer.FromString if answer else None)
        return made(request, metadata=metadata, timeout=timeout * PATIENCE)

    def solve(self, definition=None, timeout=60, **more):
        """Control/Solve of a definition as it is."""
        request = control_pb2.SolveRequest(Ref=uuid.uuid4().hex, **more)
        if definition is not None:
            request.Definition.CopyFrom(definition)
        return self.call(CONTROL + "Solve", request, control_pb2.SolveResponse, timeout=timeout)

    def refusal(self, definition, **more):
        """What is said of a definition that cannot be built; "" where it can."""
        try:
            self.solve(definition, **more)
        except grpc.RpcError as error:
            return error.details()
        return ""

    @contextlib.contextmanager
    def front_end(self, **more):
        """The client is the front end: what comes here calls LLBBridge for a build that waits for its result."""
        ref = uuid.uuid4().hex
        solving = self.channel.unary_unary(CONTROL + "Solve").future(control_pb2.SolveRequest(Ref=ref, **more).SerializeToString())
        try:
            yield FrontEnd(self, ref)
        finally:
            solving.cancel()


class FrontEnd:
    def __init__(self, client, ref):
        self.client, self.ref = client, ref

    def call(self, name, request, answer=None, timeout=60):
        return self.client.call(BRIDGE + name, request, answer, metadata=(("buildkit-controlapi-buildid", self.ref),), timeout=timeout)

    def solve(self, definition, evaluate=True):
        request = bridge_pb2.SolveRequest(allowResultReturn=True, allowResultArrayRef=True, Evaluate=evaluate)
        request.Definition.CopyFrom(definition)
        return self.call("Solve", request, bridge_pb2.SolveResponse).result.ref.id


class Session:
    """What a client serves to the engine: `methods` by their whole names, as functions of a stream of messages in bytes and the call's context, which
    give bytes one after the other. gruad's connection is handed on to a server of python3-grpcio's."""

    def __init__(self, case, daemon, methods, shared_key=""):
        self.id = uuid.uuid4().hex
        self.folder = tempfile.TemporaryDirectory(prefix="grua-session-")
        case.addCleanup(self.folder.cleanup)
        path = pathlib.Path(self.folder.name) / "s"
        self.server = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", 64 << 20)])
        services = {}
        for name, function in methods.items():
            service, _, method = name.removeprefix("/").rpartition("/")
            services.setdefault(service, {})[method] = grpc.stream_stream_rpc_method_handler(function)
        for service, handlers in services.items():
            self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        self.server.add_insecure_port(f"unix:{path}")
        self.server.start()
        case.addCleanup(lambda: self.server.stop(None).wait(5))
        self.engine = upgraded(daemon, "/session", *session_headers(self.id, shared_key, methods))
        case.addCleanup(self.engine.close)
        ours = socket.socket(socket.AF_UNIX)
        ours.connect(str(path))
        case.addCleanup(ours.close)
        join(self.engine, ours)


def sends_tree(stats, contents=None, wanted=None):
    """FileSync/DiffCopy of what is no tree on a disk: the packets of `stats`, then what of `contents`, by number, is asked for."""
    def serve(requests, _context):
        def packet(kind, **more):
            return files_pb2.Packet(type=kind, **more).SerializeToString()

        for stat in stats:
            yield packet(files_pb2.Packet.PACKET_STAT, stat=stat)
        yield packet(files_pb2.Packet.PACKET_STAT)
        for message in requests:
            asked = files_pb2.Packet.FromString(message)
            if wanted is not None:
                wanted.append((asked.type, asked.ID))
            if asked.type == files_pb2.Packet.PACKET_REQ:
                yield packet(files_pb2.Packet.PACKET_DATA, ID=asked.ID, data=(contents or {}).get(asked.ID, b""))
                yield packet(files_pb2.Packet.PACKET_DATA, ID=asked.ID)
            if asked.type == files_pb2.Packet.PACKET_FIN:
                yield packet(files_pb2.Packet.PACKET_FIN)
                return
    return serve
