"""Builds that mean harm: known holes of builders, each by its number; contexts, archives, front ends and sessions that lie; secrets that must not stay.

With GRUA_WITHOUT=NAME a build of the preset `unprotected` leaves that protection out, and the test that is about it must fail (`./test protections`).
"""

import base64
import contextlib
import gzip
import io
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import unittest

from harness import DOCKER, ENV, PATIENCE, Case, Daemon, run, wait_until
from build_client import BRIDGE, CONTROL, NONE, Client, FrontEnd, Graph, Session, bridge_pb2, control_pb2, files_pb2, graph_pb2, grpc, sends_tree
from build_test import Folder

BUSYBOX = "docker-image://docker.io/library/busybox:latest"
FOLDER = 1 << 31  # Of Go's modes.
LINK = 1 << 27
UP = "../" * 40


class Hostile(Case):
    """Whatever comes, the same gruad goes on, and what is the host's is as it was."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.canary = pathlib.Path(tempfile.mkdtemp(prefix="grua-canary-", dir="/var/tmp"))
        cls.addClassCleanup(shutil.rmtree, cls.canary, ignore_errors=True)

    def setUp(self):
        for each in self.canary.iterdir():
            shutil.rmtree(each) if each.is_dir() and not each.is_symlink() else each.unlink()
        (self.canary / "secret").write_text("of the host")
        (self.canary / "stub").mkdir()
        (self.canary / "empty").touch()
        (self.canary / "Dockerfile").write_text("FROM busybox\nRUN echo of the host\n")
        self.before = self.look()
        self.gruad = self.daemon.pid()
        self.client = Client(self, self.daemon)

    def tearDown(self):
        self.assertEqual(self.daemon.process.poll(), None, self.daemon.tail())
        self.assertEqual(self.daemon.pid(), self.gruad)
        self.assertEqual(self.look(), self.before)
        super().tearDown()

    def look(self):
        return {str(each.relative_to(self.canary)): (each.lstat().st_mode, each.read_text() if each.is_file() else "") for each in self.canary.rglob("*")}

    def build(self, files, *words, check=True, **more):
        with Folder(files) as folder:
            done = self.docker("build", "--progress", "plain", "-t", "made", *words, str(folder.path), check=check, **more)
            return done.returncode, done.stdout + done.stderr

    def fails(self, files, *words, says):
        code, said = self.build(files, *words, check=False)
        self.assertNotEqual(code, 0, said)
        self.assertIn(says, said)

    def serve(self, folder, port):
        server = subprocess.Popen(["nsenter", f"--net=/proc/{self.daemon.holder.pid}/ns/net", sys.executable, "-m", "http.server", "-b", "127.0.0.1",
                                   "-d", str(folder), str(port)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        wait_until("the files are served", lambda: self.daemon.in_netns("curl", "-sf", f"http://127.0.0.1:{port}/", check=False).returncode == 0)

    def repository(self, script):
        """A repository of git's below a folder that is served; `script` makes its files."""
        folder = tempfile.TemporaryDirectory(prefix="grua-git-", dir="/var/tmp")
        self.addCleanup(folder.cleanup)
        run("sh", "-ec", f"git init -q -b main work; cd work; {script}\ngit add -A; git commit -qm first; cd ..; git clone -q --bare work repo.git;"
            " git -C repo.git update-server-info", cwd=folder.name,
            env={**os.environ, "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b", "HOME": folder.name})
        return pathlib.Path(folder.name)


def tar_of(*entries):
    """Of (name, text) or of TarInfo as they are."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for each in entries:
            if isinstance(each, tarfile.TarInfo):
                tar.addfile(each)
                continue
            info = tarfile.TarInfo(each[0])
            info.size = len(each[1])
            tar.addfile(info, io.BytesIO(each[1].encode()))
    return out.getvalue()


def link(name, target, kind=tarfile.SYMTYPE):
    out = tarfile.TarInfo(name)
    out.type, out.linkname = kind, str(target)
    return out


def refer(ref, definition):
    ref.id = "x"
    getattr(ref, "def").CopyFrom(definition)


class Definitions(Hostile):
    def exec_of(self, change):
        graph = Graph()
        return graph.done(graph.run("true", graph.source(BUSYBOX), change))

    def test_CVE_2024_23650_a_definition_that_is_none_is_refused(self):
        def raw(*parts):
            out = graph_pb2.Definition()
            getattr(out, "def").extend(parts)
            return out

        missing, lonely, itself = Graph(), Graph(), Graph()
        lost = missing.run("true", "sha256:" + "0" * 64)
        missing.done(lost)
        lonely.source(BUSYBOX)
        last = itself.mkfile("/x")
        itself.done(last, 7)
        negative = Graph()
        negative.done(negative.mkfile("/x"), -5)
        unknown = Graph()
        unknown.done(unknown.add(graph_pb2.Op()))
        for definition in (missing.definition, lonely.definition, itself.definition, negative.definition, unknown.definition,
                           raw(b"\xff\xff\xff"), raw(b"\x0a"), raw(b"\x12\x00" * 3), raw(*[os.urandom(50) for _ in range(50)])):
            self.assertIn("invalid definition", self.client.refusal(definition))
        for text in (b"", b"\x0a\xff\xff\xff\xff\x0f", os.urandom(1000), b"\x12" * 5000):
            for method in ("Solve", "Status", "Prune", "DiskUsage", "ListenBuildHistory", "UpdateBuildHistory"):
                with contextlib.suppress(grpc.RpcError):
                    self.client.call(CONTROL + method, text, timeout=1 / PATIENCE)

    def test_CVE_2026_15792_numbers_of_inputs_are_those_that_are_there(self):
        def merge(*numbers):
            graph = Graph()
            op = graph_pb2.Op()
            for number in numbers:
                op.merge.inputs.add(input=number)
            return graph.done(graph.add(op, graph.source(BUSYBOX)))

        def diff(lower, upper):
            graph = Graph()
            op = graph_pb2.Op()
            if lower is not None:
                op.diff.lower.input = lower
            if upper is not None:
                op.diff.upper.input = upper
            return graph.done(graph.add(op, *([graph.source(BUSYBOX)] if upper is not None else [])))

        def files(change):
            graph = Graph()
            op = graph_pb2.Op()
            action = op.file.actions.add(input=NONE, secondaryInput=NONE, output=0)
            action.mkdir.path = "/x"
            change(op, action)
            return graph.done(graph.add(op))

        def mount(**more):
            return self.exec_of(lambda op: op.exec.mounts.add(dest="/m", **more))

        large = 1 << 62
        for definition in (merge(1), merge(0, -2), merge(large), diff(1, 0), diff(-2, 0), diff(0, large), diff(None, None), diff(0, -9),
                           files(lambda _, action: setattr(action, "input", 3)), files(lambda _, action: setattr(action, "input", -3)),
                           files(lambda _, action: setattr(action, "secondaryInput", large)), files(lambda _, action: setattr(action, "output", -4)),
                           files(lambda _, action: setattr(action, "output", large)), files(lambda op, _: op.file.ClearField("actions")),
                           files(lambda _, action: setattr(action.mkdir.owner.user.byName, "input", 8)),
                           mount(input=1), mount(input=-2), mount(input=large), mount(input=0, output=large), mount(input=0, output=-6),
                           self.exec_of(lambda op: op.exec.meta.ClearField("args")), self.exec_of(lambda op: op.exec.ClearField("meta")),
                           self.exec_of(lambda op: op.exec.ClearField("mounts")), self.exec_of(lambda op: setattr(op.exec.mounts[0], "dest", "/other"))):
            self.assertIn("invalid definition", self.client.refusal(definition), definition)

    def is_refused(self, definition, says, **more):
        """By each way in."""
        self.assertIn(says, self.client.refusal(definition, **more))
        with self.client.front_end(**more) as front:
            with self.assertRaises(grpc.RpcError) as failed:
                front.solve(definition)
            self.assertIn(says, failed.exception.details())
            # One that is not run by itself, and then looked into.
            with self.assertRaises(grpc.RpcError) as failed:
                front.call("ReadFile", bridge_pb2.ReadFileRequest(Ref=front.solve(definition, evaluate=False), FilePath="/etc/passwd"))
            self.assertIn(says, failed.exception.details())

    def test_CVE_2024_23653_nobody_has_what_was_not_granted(self):
        insecure = self.exec_of(lambda op: setattr(op.exec, "security", 1))
        network = self.exec_of(lambda op: setattr(op.exec, "network", 1))
        self.is_refused(insecure, "security.insecure is not allowed")
        self.is_refused(network, "network.host is not allowed")
        self.is_refused(insecure, "security.insecure is not allowed", Entitlements=["network.host"])
        self.is_refused(network, "network.host is not allowed", Entitlements=["security.insecure", "network.hos", ""])
        self.fails({"Dockerfile": "FROM busybox\nRUN --security=insecure true\n"}, says="security.insecure is not allowed")
        self.fails({"Dockerfile": "FROM busybox\nRUN --network=host true\n"}, says="network.host is not allowed")
        # Behind others, and below what is asked for.
        graph = Graph()
        below = graph.run("true", graph.source(BUSYBOX), lambda op: setattr(op.exec, "security", 1))
        self.is_refused(graph.done(graph.mkfile("/x", below=graph.mkfile("/y", below=below))), "security.insecure is not allowed")
        # Granted it goes.
        self.client.solve(insecure, Entitlements=["security.insecure"])

    def test_CVE_2024_23653_a_container_of_a_front_end_has_it_as_little(self):
        graph = Graph()
        base = graph.done(graph.source(BUSYBOX))

        def run(front, name, network=0, security=0):
            """A program in a container of the front end's."""
            mount = graph_pb2.Mount(dest="/", resultID=front.solve(base))
            front.call("NewContainer", bridge_pb2.NewContainerRequest(ContainerID=name, Mounts=[mount], Network=network))
            init = bridge_pb2.InitMessage(ContainerID=name, Meta=graph_pb2.Meta(args=["true"], cwd="/"), Fds=[1, 2], Security=security)
            method = front.client.channel.stream_stream(BRIDGE + "ExecProcess", request_serializer=lambda each: each.SerializeToString(),
                                                        response_deserializer=bridge_pb2.ExecMessage.FromString)
            said = iter([bridge_pb2.ExecMessage(ProcessID="p", Init=init)])
            return list(method(said, metadata=(("buildkit-controlapi-buildid", front.ref),), timeout=60 * PATIENCE))

        with self.client.front_end() as front:
            self.assertTrue(any(each.HasField("Exit") and each.Exit.Code == 0 for each in run(front, "../../x")))
            for name, more, says in (("n", {"network": 1}, "network.host is not allowed"), ("s", {"security": 1}, "security.insecure is not allowed")):
                with self.assertRaises(grpc.RpcError) as failed:
                    run(front, name, **more)
                self.assertIn(says, failed.exception.details())
        with self.client.front_end(Entitlements=["network.host", "security.insecure"]) as front:
            self.assertTrue(any(each.HasField("Exit") and each.Exit.Code == 0 for each in run(front, "n", network=1, security=1)))

    def test_GHSA_7236_a_security_mode_is_one_of_two(self):
        for mode in (2, 3, 77, -1):
            self.is_refused(self.exec_of(lambda op, mode=mode: setattr(op.exec, "security", mode)), f"invalid security mode {mode}")
        for mode in (3, 9, -7):
            self.is_refused(self.exec_of(lambda op, mode=mode: setattr(op.exec, "network", mode)), f"invalid network mode {mode}")

    def test_front_ends_that_lie(self):
        graph = Graph()
        evil = graph.run(f"ln -s {self.canary} /out; ln -s {UP}{self.canary}/secret /file; mkfifo /pipe; ln -s loop /loop; mkdir /d; for i in $(seq 100); do touch /d/$i; done",
                         graph.source(BUSYBOX))
        definition = graph.done(evil)

        def fails(front, name, request):
            with self.assertRaises(grpc.RpcError) as failed:
                front.call(name, request, timeout=20)
            self.assertNotEqual(failed.exception.code(), grpc.StatusCode.DEADLINE_EXCEEDED, failed.exception)
            # A host that is asked for in vain is gruad's own answer; all else of this code is a gruad that has gone.
            if failed.exception.code() == grpc.StatusCode.UNAVAILABLE:
                self.assertIn("Could not resolve host", failed.exception.details())
            self.assertNotIn("of the host", failed.exception.details())
            return failed.exception.details()

        with self.client.front_end() as front:
            ref = front.solve(definition)
            for path in ("/out/secret", "/file", f"{UP}{self.canary}/secret", "/pipe", "/loop", "/d", "", "/dev/zero", "\0", "/x" * 3000, "/proc/self/environ"):
                fails(front, "ReadFile", bridge_pb2.ReadFileRequest(Ref=ref, FilePath=path))
                if path in ("/out/secret", "/x" * 3000):
                    fails(front, "StatFile", bridge_pb2.StatFileRequest(Ref=ref, Path=path))
                    fails(front, "ReadDir", bridge_pb2.ReadDirRequest(Ref=ref, DirPath=path))
            for offset, length in ((-1, 5), (1 << 62, 1 << 62), (0, 1 << 40), (5, -1 << 62)):
                request = bridge_pb2.ReadFileRequest(Ref=ref, FilePath="/etc/passwd")
                request.Range.Offset, request.Range.Length = offset, length
                with contextlib.suppress(grpc.RpcError):
                    front.call("ReadFile", request)
            answer = front.call("ReadDir", bridge_pb2.ReadDirRequest(Ref=ref, DirPath="/d", IncludePattern="*" * 1000 + "a"), bridge_pb2.ReadDirResponse)
            self.assertEqual(len(answer.entries), 0)
            fails(front, "ReadFile", bridge_pb2.ReadFileRequest(Ref="0" * 25, FilePath="/etc/passwd"))
            # Of another build.
            with self.client.front_end() as other:
                fails(other, "ReadFile", bridge_pb2.ReadFileRequest(Ref=ref, FilePath="/etc/passwd"))
            for identifier in ("docker-image://../../x", "docker-image://", "local://x", "git://x", "http://", "oci-layout://x", "docker-image://" + "a" * 10000, "://", "file:///etc"):
                request = bridge_pb2.ResolveSourceMetaRequest()
                request.Source.identifier = identifier
                fails(front, "ResolveSourceMeta", request)
            front.call("Return", bridge_pb2.ReturnRequest(result=bridge_pb2.Result()))
            fails(front, "Return", bridge_pb2.ReturnRequest())

    def returned(self, result, **more):
        """What Control/Solve says of a result that a front end has given."""
        ref = "r" + os.urandom(8).hex()
        solving = self.client.channel.unary_unary(CONTROL + "Solve").future(control_pb2.SolveRequest(Ref=ref, **more).SerializeToString(), timeout=60 * PATIENCE)
        front = FrontEnd(self.client, ref)
        for each in [result.ref] if result.HasField("ref") else result.refs.refs.values():
            each.id = front.solve(getattr(each, "def"), evaluate=False)
        self.client.call(BRIDGE + "Return", bridge_pb2.ReturnRequest(result=result), metadata=(("buildkit-controlapi-buildid", ref),))
        try:
            solving.result()
        except grpc.RpcError as error:
            return error.details()
        return ""

    def test_results_that_lie(self):
        graph = Graph()
        definition = graph.done(graph.mkfile("/x", b"y"))
        image = [control_pb2.Exporter(Type="moby", Attrs={"name": "docker.io/library/lied"})]
        config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "1" * 64]}})
        deep = "[" * 100_000
        for metadata in ({"containerimage.config": b"{"}, {"containerimage.config": b"\xff\xfe"}, {"containerimage.config": deep.encode()},
                         {"containerimage.config": b"[]"}, {"containerimage.config": b'{"config":{"Env":7}}'}, {"containerimage.config": b'{"architecture":"../../x","os":"linux"}'}):
            result = bridge_pb2.Result(metadata=metadata)
            refer(result.ref, definition)
            self.returned(result, Exporters=image)
        # Layers that it has not: an image has those of its tree.
        result = bridge_pb2.Result(metadata={"containerimage.config": config.encode()})
        refer(result.ref, definition)
        self.returned(result, Exporters=image)
        self.assertNotIn("1" * 64, self.out("inspect", "lied"))
        for name in (f"{UP}{self.canary}/x", "..", "a/b/c/d/e/f", "", "\0", "linux/amd64/" + "v" * 10000, "windows/amd64"):
            result = bridge_pb2.Result()
            refer(result.refs.refs[name], definition)
            self.returned(result, Exporters=image)

    def test_a_platform_names_no_folder_elsewhere(self):
        came = []

        def take(requests, _context):
            done = False
            for message in requests:
                packet = files_pb2.Packet.FromString(message)
                if packet.type == files_pb2.Packet.PACKET_STAT and packet.HasField("stat"):
                    came.append(packet.stat.path)
                elif packet.type == files_pb2.Packet.PACKET_STAT and not done:
                    done = True
                    yield files_pb2.Packet(type=files_pb2.Packet.PACKET_FIN).SerializeToString()
                elif packet.type == files_pb2.Packet.PACKET_FIN:
                    return

        session = Session(self, self.daemon, {"/moby.filesync.v1.FileSend/DiffCopy": take})
        graph = Graph()
        definition = graph.done(graph.mkfile("/x", b"y"))
        for name in ("linux/..", "../..", f"linux/amd64/{UP}x", "linux/amd64"):
            result = bridge_pb2.Result()
            for each in (name, "linux/arm64"):
                refer(result.refs.refs[each], definition)
            self.returned(result, Exporters=[control_pb2.Exporter(Type="local")], Session=session.id, EnableSessionExporter=True)
        self.assertIn("linux_amd64/x", came)
        for path in came:
            self.assertFalse(path.startswith("/") or ".." in path.split("/"), came)

    def test_CVE_2026_33747_a_download_is_named_in_its_folder(self):
        with Folder({"served/file": "downloaded"}) as folder:
            self.serve(folder.path / "served", 8131)
            for name in (f"{UP}{self.canary}/placed", f"{self.canary}/placed", f"x/{UP}{self.canary}/placed"):
                graph = Graph()
                self.client.solve(graph.done(graph.source("http://127.0.0.1:8131/file", http__filename=name)))
                self.assertFalse((self.canary / "placed").exists())

    def test_sessions_whose_files_leave(self):
        def stat(path, mode=0o644, **more):
            return files_pb2.Stat(path=path, mode=mode, **more)

        out = str(self.canary)
        trees = [[stat("../x")], [stat("/x")], [stat(f"{out}/x")], [stat("a/../../x")], [stat("a", FOLDER | 0o755), stat("a/..", FOLDER | 0o755)], [stat(".")], [stat("")],
                 [stat("a", LINK | 0o777, linkname=out), stat("a/x")], [stat("a/x")], [stat("b"), stat("a")], [stat("a"), stat("a")],
                 [stat("a", linkname="../x")], [stat("a", linkname=f"{out}/secret")], [stat("a", linkname="a")], [stat("a", LINK | 0o777, linkname="")],
                 [stat("a", LINK | 0o777, linkname=out), stat("b", linkname="a")], [stat("a\\..\\x", 1 << 19)], [stat("a", size=-5)],
                 [stat("a" * 256)], [stat("a/" * 3000 + "b")], [stat("a\n/../x")], [stat("\u202e..")], [stat("a", LINK | 0o777, linkname="x" * 5000)],
                 [stat("a", FOLDER | 0o755), stat("a/b", LINK | 0o777, linkname="/"), stat("a/b/c")]]
        for number, stats in enumerate(trees):
            session = Session(self, self.daemon, {"/moby.filesync.v1.FileSync/DiffCopy": sends_tree(stats)}, shared_key=f"k{number}")
            graph = Graph()
            said = self.client.refusal(graph.done(graph.source("local://context")), Session=session.id)
            if stats[0].path not in ("\u202e..",):
                self.assertIn("the client's files", said, stats)
            self.assertEqual(self.look(), self.before)
        # A folder that has become a link since the build before; what comes below it comes below no link.
        for stats in ([stat("a", FOLDER | 0o755), stat("a/x", size=1)], [stat("a", LINK | 0o777, linkname=out)], [stat("a", FOLDER | 0o755), stat("a/x", size=1)]):
            session = Session(self, self.daemon, {"/moby.filesync.v1.FileSync/DiffCopy": sends_tree(stats, {1: b"y"})}, shared_key="same")
            graph = Graph()
            self.client.solve(graph.done(graph.source("local://context")), Session=session.id)
        # Contents that nobody asked for, more than was said, and none.
        def strays(kind):
            def serve(requests, _context):
                for each in (files_pb2.Packet(type=0, stat=stat("a", size=3)), files_pb2.Packet(type=0)):
                    yield each.SerializeToString()
                for message in requests:
                    asked = files_pb2.Packet.FromString(message)
                    if asked.type == files_pb2.Packet.PACKET_REQ:
                        for each in {"other": [(7, b"x")], "none": [], "late": [(0, b"xyz"), (0, b""), (0, b"more")]}[kind]:
                            yield files_pb2.Packet(type=2, ID=each[0], data=each[1]).SerializeToString()
                        yield files_pb2.Packet(type=3).SerializeToString()
            return serve
        for kind in ("other", "none", "late"):
            session = Session(self, self.daemon, {"/moby.filesync.v1.FileSync/DiffCopy": strays(kind)})
            graph = Graph()
            self.client.refusal(graph.done(graph.source("local://context")), Session=session.id)


class Dockerfiles(Hostile):
    def test_CVE_2024_23651_what_a_cache_mount_selects_is_in_it(self):
        before = "FROM busybox AS one\nRUN --mount=type=cache,id=c,target=/c rm -rf /c/sel && mkdir /c/sel && echo kind > /c/sel/file\n"
        self.build({"Dockerfile": before + "RUN --mount=type=cache,id=c,source=sel,target=/m cat /m/file > /file\n"}, "--no-cache")
        self.assertEqual(self.out("run", "--rm", "--network", "none", "made", "cat", "/file"), "kind")
        for target in (self.canary, f"{UP}{self.canary}"):
            code, said = self.build({"Dockerfile": before + f"RUN --mount=type=cache,id=c,target=/c rm -rf /c/sel && ln -s {target} /c/sel\n"
                                     "RUN --mount=type=cache,id=c,source=sel,target=/m echo x > /m/placed; cat /m/secret; rm -rf /m/*\n"}, "--no-cache", check=False)
            self.assertNotEqual(code, 0, said)
            self.assertNotIn("of the host", said)
            self.assertIn("failed to mount", said)

    def test_CVE_2024_23651_nor_where_others_swap_it_meanwhile(self):
        swap = (f"FROM busybox\nRUN --mount=type=cache,id=race,target=/c cd /c; mkdir -p d; ln -sfn {self.canary} l; mkdir -p sel;"
                " end=$(($(date +%s) + 12)); while [ $(date +%s) -lt $end ]; do for i in 1 2 3 4 5 6 7 8 9; do mv -T sel kept; mv -T l sel; mv -T sel l; mv -T kept sel; done; done\n")
        looks = "FROM busybox\nARG n\nRUN --mount=type=cache,id=race,source=sel,target=/m cat /m/secret; echo x > /m/placed; true\n"
        with Folder({"Dockerfile": swap}) as one, Folder({"Dockerfile": looks}) as other:
            swapping = subprocess.Popen([DOCKER, "build", "-q", "--no-cache", str(one.path)], env=self.daemon.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            said, number = "", 0
            while swapping.poll() is None:
                number += 1
                done = self.docker("build", "--progress", "plain", "--build-arg", f"n={number}", str(other.path), check=False)
                said += done.stdout + done.stderr
        self.assertNotIn("of the host", said)
        self.assertGreater(number, 2)

    def test_CVE_2024_23652_what_is_taken_away_afterwards_is_what_was_made(self):
        with tempfile.NamedTemporaryFile("w") as secret:
            secret.write("x")
            secret.flush()
            for target, kind in (("stub", "tmpfs"), ("stub", "cache"), ("empty", "secret")):
                self.build({"Dockerfile": f"FROM busybox\nRUN --mount=type={kind},id=s,target=/a/{target} mv /a /b && ln -s {self.canary} /a\n".replace("tmpfs,id=s", "tmpfs")},
                           "--no-cache", "--secret", f"id=s,src={secret.name}")
                self.assertEqual(self.look(), self.before, kind)
                self.assertEqual(self.out("run", "--rm", "--network", "none", "made", "readlink", "/a"), str(self.canary))

    def test_CVE_2024_1753_what_a_bind_mount_selects_is_in_its_image(self):
        for target in (self.canary, f"{UP}{self.canary}"):
            for options in ("", ",rw"):
                code, said = self.build({"Dockerfile": f"FROM busybox AS evil\nRUN ln -s {target} /link\nFROM busybox\n"
                                         f"RUN --mount=type=bind,from=evil,source=/link,target=/m{options} cat /m/secret; echo x > /m/placed\n"}, "--no-cache", check=False)
                self.assertNotEqual(code, 0)
                self.assertRegex(said, "not found|failed to mount /link: no such file or directory")
                self.assertNotIn("of the host\n", said)
        self.fails({"Dockerfile": f"FROM busybox\nRUN --mount=type=bind,source={UP}{self.canary},target=/m cat /m/secret\n"}, says="not found")
        # CVE-2024-9407: how a mount propagates is nobody's to say.
        self.fails({"Dockerfile": "FROM busybox\nRUN --mount=type=bind,target=/m,bind-propagation=shared true\n"}, says="bind-propagation")

    def test_CVE_2024_11218_nor_where_the_source_changes_meanwhile(self):
        """Two steps of one build, side by side, of which one changes what the other mounts: each sees what was there before either began."""
        self.build({"Dockerfile": "FROM busybox AS base\nRUN mkdir /d && echo kind > /d/secret\n"
                    f"FROM base AS swap\nRUN --mount=type=bind,from=base,source=/,target=/m,rw for i in $(seq 200); do rm -rf /m/d; ln -s {self.canary} /m/d; done\n"
                    "FROM base AS look\nRUN --mount=type=bind,from=base,source=/d,target=/m,rw for i in $(seq 200); do cat /m/secret >> /seen; done\n"
                    "FROM busybox\nCOPY --from=look /seen /seen\nCOPY --from=swap /etc/passwd /p\n"}, "--no-cache")
        self.assertEqual(set(self.out("run", "--rm", "--network", "none", "made", "cat", "/seen").split("\n")), {"kind"})

    def test_CVE_2024_9675_the_ID_of_a_cache_is_no_path(self):
        for name in (f"{UP}{self.canary}", str(self.canary), f"x/{UP}{self.canary}/stub", "..", ".", "a/../../.."):
            self.build({"Dockerfile": f"FROM busybox\nRUN --mount=type=cache,id={name},target=/c echo x > /c/placed; ls /c\n"}, "--no-cache", check=False)
            self.assertEqual(self.look(), self.before)
        self.assertTrue((self.daemon.root / "data/build").is_dir())

    def test_CVE_2018_15664_a_working_folder_is_made_in_the_tree(self):
        self.build({"Dockerfile": f"FROM busybox\nRUN ln -s {self.canary} /w && ln -s {UP}{self.canary} /v\nWORKDIR /w/made\nRUN pwd\nWORKDIR /v/made\nRUN touch here\n"})
        self.assertEqual(self.out("run", "--rm", "--network", "none", "made", "ls", f"{self.canary}/made"), "here")
        # As CVE-2026-55686: what the program is begun in, which no WORKDIR has made.
        graph = Graph()
        linked = graph.run(f"ln -s {self.canary} /w", graph.source(BUSYBOX))
        self.client.solve(graph.done(graph.run("touch here", linked, lambda op: setattr(op.exec.meta, "cwd", "/w/made"))))

    def test_copies_and_removals_stay_in_their_trees(self):
        self.build({"Dockerfile": f"FROM busybox AS evil\nRUN ln -s {self.canary} /d && ln -s {self.canary}/secret /f && mkdir /h && ln -s ../{UP}{self.canary} /h/u\n"
                    "FROM evil\nCOPY x /d/placed\nCOPY x /h/u/placed\nCOPY --chown=1:1 x /f\nADD x /d/also/\n"}
                   | {"x": "copied"})
        self.assertEqual(self.out("run", "--rm", "--network", "none", "made", "cat", f"{self.canary}/placed", f"{self.canary}/also/x"), "copiedcopied")
        for source in ("/d/secret", "/f", "/h/u/secret", f"{UP}{self.canary}/secret"):
            self.fails({"Dockerfile": f"FROM busybox AS evil\nRUN ln -s {self.canary} /d && ln -s {self.canary}/secret /f && mkdir /h && ln -s ../{UP}{self.canary} /h/u\n"
                        f"FROM busybox\nCOPY --from=evil {source} /got\n"}, says="not found")
        graph = Graph()
        linked = graph.run(f"ln -s {self.canary} /d", graph.source(BUSYBOX))
        for path in ("/d/secret", "/d", "/d/*", f"{UP}{self.canary}/secret"):
            op = graph_pb2.Op()
            action = op.file.actions.add(input=0, secondaryInput=NONE, output=0)
            action.rm.path, action.rm.allowNotFound, action.rm.allowWildcard = path, True, "*" in path
            more = Graph()
            more.definition.CopyFrom(graph.definition)
            self.client.refusal(more.done(more.add(op, linked)))
            self.assertEqual(self.look(), self.before)

    def test_CVE_2026_17106_archives_stay_where_they_are_unpacked(self):
        """What is refused is refused, what is not stays inside; each alone, since the first that is refused ends it."""
        secret = f"{self.canary}/secret"
        for entries in (((f"{UP}{self.canary}/placed", "x"),), ((f"{self.canary}/placed", "x"),), (link("d", self.canary), ("d/placed", "x")),
                        (link("u", f"{UP}{self.canary}"), ("u/placed", "x")), (link("s", secret), ("s", "overwritten")),
                        (link("hard", secret, tarfile.LNKTYPE), ("hard", "overwritten")), (link("far", f"{UP}{secret}", tarfile.LNKTYPE), ("far", "overwritten"))):
            evil = tar_of(*entries)
            self.build({"Dockerfile": "FROM busybox\nADD evil.tar /to/\n", "evil.tar": evil}, check=False)
            self.assertEqual(self.look(), self.before)
            # As a context, which is unpacked before anything else is asked.
            for environment in ("0", "1"):
                done = subprocess.run([DOCKER, "build", "-"], env={**self.daemon.environment(), "DOCKER_BUILDKIT": environment}, capture_output=True,
                                      input=tar_of(("Dockerfile", "FROM busybox\nCOPY . /c\n"))[:1024] + evil, check=False)
                self.assertEqual(self.look(), self.before, done.stderr)

    def test_a_Dockerfile_that_is_a_link_is_one_of_its_context(self):
        for buildkit in ("1", "0"):
            for target in (f"{self.canary}/Dockerfile", f"{UP}{self.canary}/Dockerfile"):
                done = subprocess.run([DOCKER, "build", "-"], env={**self.daemon.environment(), "DOCKER_BUILDKIT": buildkit}, capture_output=True,
                                      input=tar_of(link("Dockerfile", target)))
                said = (done.stdout + done.stderr).decode(errors="replace")
                self.assertNotEqual(done.returncode, 0, said)
                self.assertNotIn("of the host", said)
            # Inside it may be one.
            done = subprocess.run([DOCKER, "build", "-"], env={**self.daemon.environment(), "DOCKER_BUILDKIT": buildkit}, capture_output=True,
                                  input=tar_of(link("Dockerfile", "real"), ("real", "FROM busybox\nRUN true\n")))
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_GHSA_72x6_a_list_of_users_has_a_size(self):
        big = "FROM busybox AS big\nRUN echo evil:x:7:7::/:/bin/sh > /etc/passwd && truncate -s 900M /etc/passwd && cp /etc/passwd /etc/group\n"
        pathlib.Path(f"/proc/{self.gruad}/clear_refs").write_text("5")
        before = self.peak()
        self.fails({"Dockerfile": big + "COPY --chown=evil x /x\n", "x": ""}, says="exceeds")
        self.fails({"Dockerfile": big + "COPY --chown=0:evil x /x\n", "x": ""}, says="exceeds")
        self.fails({"Dockerfile": big + "USER evil\nRUN id\n"}, says="larger than")
        self.assertLess(self.peak() - before, 100 << 20)

    def peak(self):
        return int(next(line for line in pathlib.Path(f"/proc/{self.gruad}/status").read_text().splitlines() if line.startswith("VmHWM")).split()[1]) << 10

    def test_CVE_2024_24557_an_image_that_says_it_was_built_so_is_no_cache(self):
        for buildkit in ("0", "1"):
            environment = {**self.daemon.environment(), "DOCKER_BUILDKIT": buildkit}
            with Folder({"Dockerfile": "FROM scratch\nCOPY file /file\nRUN [\"/nothing\"]\n", "file": "right"}) as folder, Folder({"Dockerfile": "FROM scratch\nCOPY file /file\nCMD x\n", "file": "wrong"}) as evil:
                run(DOCKER, "build", "-q", "-t", "evil", str(evil.path), env=environment)
                folder.write("Dockerfile", "FROM scratch\nCOPY file /file\nCMD x\n")
                run(DOCKER, "build", "-q", "-t", "made", "--cache-from", "evil", str(folder.path), env=environment)
            name = self.out("create", "made")
            done = subprocess.run([DOCKER, "cp", f"{name}:/file", "-"], env=self.daemon.environment(), capture_output=True, check=True)
            with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
                self.assertEqual(tar.extractfile("file").read(), b"right")

    def test_CVE_2026_33748_a_folder_of_a_repository_is_in_it(self):
        folder = self.repository(f"ln -s {self.canary} sub; ln -s {UP}{self.canary} up; mkdir -p a; ln -s ../sub a/b; echo FROM busybox > a/Dockerfile")
        self.serve(folder, 8132)
        for path in ("sub", "up", "a/b", f"a/{UP}{self.canary}", "../../x"):
            done = self.docker("build", "--progress", "plain", f"http://127.0.0.1:8132/repo.git#main:{path}", check=False)
            self.assertNotEqual(done.returncode, 0, path)
            self.assertEqual(self.look(), self.before, path)
        self.docker("build", "http://127.0.0.1:8132/repo.git#main:a")

    def test_CVE_2019_13139_nothing_of_a_repositorys_name_is_an_option(self):
        folder = self.repository("echo FROM busybox > Dockerfile")
        self.serve(folder, 8133)
        for ref in (f"--upload-pack=touch {self.canary}/placed", "--template=/x", "-x", f"--exec={self.canary}"):
            graph = Graph()
            self.assertIn("invalid git ref", self.client.refusal(graph.done(graph.source(f"git://127.0.0.1:8133/repo.git#{ref}", git__fullurl="http://127.0.0.1:8133/repo.git"))))
        for remote in (f"--upload-pack=touch {self.canary}/placed", "ext::sh -c touch% x", f"file://{folder}/repo.git", f"{folder}/repo.git", "ssh://-oProxyCommand=touch/x"):
            graph = Graph()
            self.assertNotEqual("", self.client.refusal(graph.done(graph.source("git://127.0.0.1/x.git#main", git__fullurl=remote))))

    def test_CVE_2022_39253_a_submodule_is_none_of_the_hosts_files(self):
        host = self.repository("echo of the host > secret")
        folder = self.repository(f"echo FROM busybox > Dockerfile; echo COPY . /all >> Dockerfile; git -c protocol.file.allow=always submodule -q add file://{host}/repo.git sub")
        self.serve(folder, 8134)
        done = self.docker("build", "--progress", "plain", "-t", "made", "http://127.0.0.1:8134/repo.git#main", check=False)
        self.assertNotEqual(done.returncode, 0, done.stderr)
        self.assertIn("transport 'file' not allowed", done.stdout + done.stderr)


class Secrets(Hostile):
    """Each kind of secret is used by a build that needs it, and is then looked for in all that is left of it."""

    @classmethod
    def setUpClass(cls):
        cls.of_host = "host-" + os.urandom(12).hex()
        cls.daemon = Daemon("--debug", env={"TOKEN_OF_THE_HOST": cls.of_host})
        cls.addClassCleanup(cls.daemon.close)
        cls.canary = pathlib.Path(tempfile.mkdtemp(prefix="grua-canary-", dir="/var/tmp"))
        cls.addClassCleanup(shutil.rmtree, cls.canary, ignore_errors=True)

    def setUp(self):
        super().setUp()
        self.values = {}

    def secret(self, name):
        """A value that is nowhere else."""
        return self.values.setdefault(name, f"{name}-{os.urandom(12).hex()}")

    def forms(self):
        for name, value in self.values.items():
            plain = value.encode()
            yield name, plain
            for front in (b"", b"user:", b"x-access-token:"):
                # Without what depends on the bytes around it.
                yield name + " in base64", base64.b64encode(front + plain)[len(front) + 2:-4]

    def assert_nowhere(self, what, data):
        for name, value in self.forms():
            self.assertNotIn(value, data, f"{name} is in {what}")

    def look_everywhere(self):
        """Below both roots, whatever it is packed by, in the log and in what processes of gruad's show of themselves."""
        seen = 0
        for root in (self.daemon.root, self.daemon.exec_root):
            for path in root.rglob("*"):
                # What a client keeps is its own.
                if "docker-config" in path.parts or path.is_symlink() or not path.is_file():
                    continue
                with contextlib.suppress(FileNotFoundError):
                    data = path.read_bytes()
                    seen += 1
                    self.assert_nowhere(path, data)
                    self.assert_nowhere(path, os.fsencode(path.name))
                    if data.startswith(b"\x1f\x8b"):
                        self.assert_nowhere(f"{path}, unpacked", gzip.decompress(data))
        self.assertGreater(seen, 20)
        for process in self.processes():
            for name in ("environ", "cmdline", "comm"):
                with contextlib.suppress(OSError):
                    self.assert_nowhere(f"{name} of process {process}", pathlib.Path(f"/proc/{process}/{name}").read_bytes())

    def processes(self):
        """gruad and all that it has begun."""
        out = {self.gruad}
        parents = {}
        for each in pathlib.Path("/proc").iterdir():
            if each.name.isdigit():
                with contextlib.suppress(OSError, IndexError):
                    parents[int(each.name)] = int((each / "stat").read_text().rpartition(")")[2].split()[1])
        while more := {pid for pid, parent in parents.items() if parent in out and pid not in out}:
            out |= more
        return out

    def look_at_image(self, name="made"):
        saved = subprocess.run([DOCKER, "save", name], env=self.daemon.environment(), capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(saved)) as tar:
            for member in tar.getmembers():
                if member.isfile():
                    data = tar.extractfile(member).read()
                    self.assert_nowhere(f"{member.name} of the image", gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data)
        for words in (("history", "--no-trunc", name), ("inspect", name)):
            self.assert_nowhere(" ".join(words), self.out(*words).encode())
        for words in (("history", "ls"), ("history", "logs"), ("history", "inspect"), ("history", "inspect", "--format", "json"), ("history", "inspect", "attachment")):
            # Another client's: what the one that has built keeps is its own.
            with tempfile.TemporaryDirectory() as folder:
                done = run(DOCKER, "buildx", *words, env={**self.daemon.environment(), "DOCKER_CONFIG": folder}, check=False)
            self.assert_nowhere(" ".join(words), (done.stdout + done.stderr).encode())

    def test_what_steps_are_given(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("file", "env", "both", "failing"):
                (pathlib.Path(folder) / name).write_text(self.secret(name))
            secrets = [word for name in ("file", "env", "both", "failing") for word in ("--secret", f"id={name},src={folder}/{name}")]
            code, said = self.build({"Dockerfile": "FROM busybox\n"
                                     "RUN --mount=type=secret,id=file wc -c /run/secrets/file > /sizes\n"
                                     "RUN --mount=type=secret,id=env,env=TOKEN test -n \"$TOKEN\" && echo ${#TOKEN} >> /sizes; sleep 1\n"
                                     "RUN --mount=type=secret,id=both,env=TOKEN,target=/deep/er/file,mode=0444,uid=7 test \"$(cat /deep/er/file)\" = \"$TOKEN\"\n"
                                     "RUN --mount=type=cache,target=/c --mount=type=secret,id=file,target=/c/file cat /c/file > /dev/null\n"}, *secrets)
            self.assert_nowhere("what the build said", said.encode())
            self.look_at_image()
            # One that fails with it, one that is ended with it, one that cannot begin.
            for script, more in (("test -z \"$TOKEN\"", {}), ("exec /nothing", {})):
                _, said = self.build({"Dockerfile": f"FROM busybox\nRUN --mount=type=secret,id=failing,env=TOKEN {script}\n"}, *secrets, check=False, **more)
                self.assert_nowhere("what the build said", said.encode())
            with Folder({"Dockerfile": "FROM busybox\nRUN --mount=type=secret,id=failing --mount=type=secret,id=env,env=TOKEN sleep 1000\n"}) as context:
                running = subprocess.Popen([DOCKER, "build", *secrets, str(context.path)], env=self.daemon.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                wait_until("the step runs", lambda: any(b"sleep\x001000" in self.read(f"/proc/{each}/cmdline") for each in self.processes()), 30)
                self.look_at_processes_but(b"sleep\x001000")
                running.send_signal(signal.SIGINT)
                running.wait()
        self.look_everywhere()

    @staticmethod
    def read(path):
        with contextlib.suppress(OSError):
            return pathlib.Path(path).read_bytes()
        return b""

    def look_at_processes_but(self, command):
        """What runs in the step has it in its environment, as it was asked for."""
        for process in self.processes():
            if command not in self.read(f"/proc/{process}/cmdline"):
                self.assert_nowhere(f"environ of process {process}", self.read(f"/proc/{process}/environ"))

    def test_what_sources_are_fetched_with(self):
        folder = self.repository("echo FROM busybox > Dockerfile; echo RUN true >> Dockerfile")
        self.serve(folder, 8141)
        (folder / "file").write_text("x")
        with tempfile.NamedTemporaryFile("w") as token:
            token.write(self.secret("git-token"))
            token.flush()
            remote = f"http://user:{self.secret('git-password')}@127.0.0.1:8141/repo.git"
            for context in (f"{remote}#main", "http://127.0.0.1:8141/repo.git#main"):
                done = self.docker("build", "--progress", "plain", "-t", "made", "--secret", f"id=GIT_AUTH_TOKEN,src={token.name}", "--secret", f"id=GIT_AUTH_HEADER.127.0.0.1:8141,src={token.name}",
                                   "--secret", f"id=HTTP_AUTH_TOKEN_127.0.0.1:8141,src={token.name}", context)
                self.assert_nowhere("what the build said", (done.stdout + done.stderr).encode())
                self.look_at_image()
            graph = Graph()
            self.client.solve(graph.done(graph.source("git://127.0.0.1:8141/repo.git#main", git__fullurl=remote)))
            self.build({"Dockerfile": "FROM busybox\nADD http://127.0.0.1:8141/repo.git#main /repository\nADD http://127.0.0.1:8141/file /file\n"}, "--secret", f"id=GIT_AUTH_TOKEN,src={token.name}",
                       "--secret", f"id=HTTP_AUTH_TOKEN_127.0.0.1:8141,src={token.name}", "--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1")
            for wrong in (f"{remote}#nosuch", f"http://user:{self.secret('git-password')}@127.0.0.1:8141/none.git"):
                done = self.docker("build", "--progress", "plain", "--secret", f"id=GIT_AUTH_TOKEN,src={token.name}", wrong, check=False)
                self.assertNotEqual(done.returncode, 0)
                # The client says what it was given; the engine does not.
                self.look_everywhere()

    def test_CVE_2023_26054_no_provenance_says_how_to_get_in(self):
        folder = self.repository("echo FROM busybox > Dockerfile; echo RUN true >> Dockerfile")
        self.serve(folder, 8142)
        with tempfile.NamedTemporaryFile() as metadata:
            done = self.docker("buildx", "build", "-t", "made", "--metadata-file", metadata.name,
                               f"http://user:{self.secret('password')}@127.0.0.1:8142/repo.git#main")
            self.assert_nowhere("what the build said", (done.stdout + done.stderr).encode())
            said = json.loads(pathlib.Path(metadata.name).read_text())
        ref = said["buildx.build.ref"].rpartition("/")[2]
        attached = self.docker("buildx", "history", "inspect", "attachment", "--type", "https://slsa.dev/provenance/v0.2", ref, check=False)
        self.assertIn("127.0.0.1:8142/repo.git", attached.stdout + json.dumps(said), attached.stderr)
        self.assert_nowhere("the provenance", attached.stdout.encode())
        self.look_everywhere()

    def test_how_registries_are_entered(self):
        folder = self.daemon.root / "registry"
        address = self.daemon.in_netns(ENV / "registry.sh", "start", folder, "--htpasswd", timeout=180).stdout.strip()
        self.addCleanup(run, ENV / "registry.sh", "stop", folder)
        self.docker("login", "-u", "user", "--password-stdin", address, input="secret")
        self.docker("tag", "busybox", f"{address}/closed")
        self.docker("push", "-q", f"{address}/closed")
        self.docker("rmi", f"{address}/closed")
        for buildkit in ("1", "0"):
            environment = {**self.daemon.environment(), "DOCKER_BUILDKIT": buildkit}
            with Folder({"Dockerfile": f"FROM {address}/closed\nRUN true\n"}) as context:
                run(DOCKER, "build", "-t", "made", "--pull", str(context.path), env=environment)
            self.docker("rmi", f"{address}/closed", check=False)
        self.docker("tag", "made", f"{address}/pushed")
        self.docker("push", "-q", f"{address}/pushed")
        password = base64.b64encode(b"user:secret")
        for root in (self.daemon.root / "data", self.daemon.exec_root):
            for path in root.rglob("*"):
                if path.is_file() and not path.is_symlink():
                    data = self.read(path)
                    self.assertNotIn(password, data, path)
                    self.assertNotIn(b"user:secret@", data, path)
        log = self.daemon.log.read_bytes()
        self.assertNotIn(password, log)
        self.assertNotIn(b'"secret"', log)

    def test_arguments_that_are_secrets_are_where_they_must_be_and_nowhere_else(self):
        """An argument is a part of what was run, and the lint says so; one that nobody declares is nowhere in the image."""
        declared, other = f"arg-{os.urandom(12).hex()}", f"arg-{os.urandom(12).hex()}"
        _, said = self.build({"Dockerfile": "FROM busybox\nARG API_TOKEN\nENV PASSWORD=x\nRUN test -n \"$API_TOKEN\"\n"}, "--build-arg", f"API_TOKEN={declared}", "--build-arg", f"OTHER={other}")
        self.assertIn("SecretsUsedInArgOrEnv", said)
        self.assertNotIn(other, self.out("inspect", "made") + self.out("history", "--no-trunc", "made"))
        self.assertNotIn(declared, self.daemon.log.read_text(errors="replace"))
        self.assertNotIn(other, self.daemon.log.read_text(errors="replace"))

    def test_CVE_2021_3602_nothing_of_the_hosts_environment_is_in_a_step(self):
        self.build({"Dockerfile": "FROM busybox\nRUN env > /env; cat /proc/1/environ >> /env; cat /proc/self/environ >> /env\n"}, "--no-cache")
        environment = self.out("run", "--rm", "--network", "none", "made", "cat", "/env")
        self.assertNotIn(self.of_host, environment)
        names = {line.partition("=")[0] for line in environment.replace("\0", "\n").split("\n") if line}
        self.assertLessEqual(names, {"PATH", "HOME", "PWD", "SHLVL", "HOSTNAME", "OLDPWD"})
        self.assertNotIn(self.of_host, self.daemon.log.read_text(errors="replace"))


class Cores(unittest.TestCase):
    def test_secrets_are_in_no_core(self):
        """gruad is given a signal that dumps core, with no limit on cores, where the kernel writes them."""
        daemon = Daemon(image=False)
        self.addCleanup(daemon.close)
        pid = daemon.process.pid
        self.assertEqual(pid, daemon.pid())
        resource.prlimit(pid, resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        folder = pathlib.Path(f"/proc/{pid}/cwd").resolve()
        before = set(folder.glob("core*"))
        os.kill(pid, signal.SIGABRT)
        _, status = os.waitpid(pid, 0)
        daemon.process.returncode = -signal.SIGABRT
        for each in set(folder.glob("core*")) - before:
            each.unlink()
        self.assertTrue(os.WIFSIGNALED(status))
        self.assertFalse(os.WCOREDUMP(status))
        daemon.start()


if __name__ == "__main__":
    unittest.main()
