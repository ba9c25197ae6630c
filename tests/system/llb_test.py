"""Graphs of a client's own: every operation of LLB, what is wrong with some, and what a front end outside may ask."""

import hashlib
import http.server
import json
import os
import pathlib
import subprocess
import tempfile
import threading
import unittest

from harness import DOCKER, ENV, Case, in_namespace, run
from llb_client import (CONTROL, Client, Failed, Files, FrontEnd, Operation, Output, Session, bind, bridge, build, control, define, diff, execute, image, local,
                        merge, mount, pb, read_tar, shell, source)

HOST, NONE = pb.NET_MODE_HOST, pb.NET_MODE_NONE


class Graphs(Case):
    def setUp(self):
        self.client = Client(self.daemon)
        self.addCleanup(self.client.close)

    def session(self, **more):
        session = Session(self.daemon, **more)
        session.__enter__()
        self.addCleanup(session.__exit__)
        return session

    def folder(self, files=None):
        temporary = tempfile.TemporaryDirectory(prefix="grua-llb-", dir="/var/tmp")
        self.addCleanup(temporary.cleanup)
        for name, text in (files or {}).items():
            path = pathlib.Path(temporary.name) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return pathlib.Path(temporary.name)

    def files(self, output, **more):
        return self.client.files(output, **more)

    def refused(self, words, output=None, **more):
        with self.assertRaises(Failed) as failed:
            self.client.solve(output, **more)
        self.assertIn(words, str(failed.exception))
        return failed.exception


class Sources(Graphs):
    def test_images_and_folders(self):
        folder = self.folder({"a.txt": "a", "sub/b.txt": "b", "sub/c.log": "c"})
        os.symlink("a.txt", folder / "link")
        (folder / "a.txt").chmod(0o4755)
        session = self.session(folders={"files": folder})
        tree = self.files(image(), session=session)
        self.assertIn("bin/busybox", tree)
        tree = self.files(local("files"), session=session)
        self.assertEqual(sorted(tree), ["a.txt", "link", "sub", "sub/b.txt", "sub/c.log"])
        self.assertEqual((tree.text("a.txt"), tree.mode("a.txt"), tree["link"][0].linkname), ("a", "0o4755", "a.txt"))
        self.files(local("files", local__excludepatterns=["*.log"], local__includepattern=["sub"], local__followpaths=["sub"], local__sharedkeyhint="k"),
                   session=session)
        asked = [dict(metadata) for method, metadata in session.asked if method.endswith("FileSync/DiffCopy")][-1]
        self.assertEqual((asked["dir-name"], asked["exclude-patterns"], asked["include-patterns"], asked["followpaths"]), ("files", "*.log", "sub", "sub"))
        self.refused("no access allowed", local("other"), session=session)
        # Of the session that it names, whosever the build is.
        with Session(self.daemon, folders={"theirs": self.folder({"t": "theirs"})}) as other:
            tree = self.files(local("theirs", local__session=other.id), session=session)
            self.assertEqual(tree.text("t"), "theirs")
        self.refused("no session", local("theirs", local__session="nobody"), session=session)
        self.refused("not-there", image("docker.io/library/not-there:latest@sha256:" + "0" * 64))
        self.refused("not implemented: source ftp://", source("ftp://somewhere/x"))

    def test_repositories_and_files_of_others(self):
        served = self.folder({"file": "served"})
        run("git", "-c", "init.defaultBranch=main", "init", "-q", served / "work")
        (served / "work/one").write_text("first")
        git = ["git", "-C", served / "work", "-c", "user.name=t", "-c", "user.email=t@t"]
        run(*git, "add", "one")
        run(*git, "commit", "-qm", "first")
        commit = run(*git, "rev-parse", "HEAD").stdout.strip()
        run("git", "clone", "-q", "--bare", served / "work", served / "repo.git")
        run("git", "-C", served / "repo.git", "update-server-info")

        class Quiet(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *words):
                super().__init__(*words, directory=str(served))

            def log_message(self, *_):
                pass

        server = in_namespace(self.daemon.holder.pid, lambda: http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet))
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        checksum = "sha256:" + hashlib.sha256(b"served").hexdigest()
        tree = self.files(source(f"{url}/file", http__filename="named", http__perm="384", http__uid="7", http__gid="8", http__checksum=checksum))
        self.assertEqual((tree.text("named"), tree.mode("named"), tree["named"][0].uid, tree["named"][0].gid), ("served", "0o600", 7, 8))
        self.refused("digest mismatch", source(f"{url}/file", http__checksum="sha256:" + "1" * 64))
        self.refused("404", source(f"{url}/nothing"))
        tree = self.files(source(f"git://127.0.0.1/repo.git#main", git__fullurl=f"{url}/repo.git"))
        self.assertEqual(tree.text("one"), "first")
        self.assertNotIn(".git", tree)
        tree = self.files(source(f"git://127.0.0.1/repo.git#{commit}", git__fullurl=f"{url}/repo.git", git__keepgitdir="true"))
        self.assertIn(".git", tree)
        with self.subTest("what is known of them"):
            front = FrontEnd(self.client)
            ask = bridge.ResolveSourceMetaRequest()
            ask.Source.identifier = f"{url}/file"
            self.assertEqual(front.ask("ResolveSourceMeta", ask, bridge.ResolveSourceMetaResponse).HTTP.Checksum, checksum)
            ask.Source.identifier = "git://127.0.0.1/repo.git#main"
            ask.Source.attrs["git.fullurl"] = f"{url}/repo.git"
            about = front.ask("ResolveSourceMeta", ask, bridge.ResolveSourceMetaResponse).Git
            self.assertEqual((about.Checksum, about.Ref), (commit, "refs/heads/main"))
            front.finish()

    def test_layouts_of_the_client(self):
        work = self.folder()
        root = work / "root"
        root.mkdir()
        (root / "from-layout").write_text("layout")
        run(ENV / "oci-image.sh", "--oci", "--dir", "--env", "LAID=out", "--tag", "laid:out", root, work / "layout")
        digest = json.loads((work / "layout/index.json").read_text())["manifests"][0]["digest"]
        session = self.session(stores={"mine": work / "layout"})
        laid = source(f"oci-layout://laid@{digest}", oci__store="mine", oci__session=session.id)
        tree = self.files(Files(laid).mkfile("/more", "m").done(), session=session)
        self.assertEqual((tree.text("from-layout"), tree.text("more")), ("layout", "m"))
        read = sum(method.endswith("Content/Read") for method, _ in session.asked)
        # Its layers are here now.
        self.files(Files(laid).mkfile("/other", "m").done(), session=session)
        self.assertEqual(sum(method.endswith("Content/Read") for method, _ in session.asked), read + 2)
        made = execute(Files(laid).copy(image(), "/bin/busybox", "/busybox").done(), "/busybox", "touch", "/made")
        self.files(made, session=session)
        with Session(self.daemon, stores={"again": work / "layout"}) as again:
            # Of another client it is the same.
            same = source(f"oci-layout://laid@{digest}", oci__store="again", oci__session=again.id)
            self.files(execute(Files(same).copy(image(), "/bin/busybox", "/busybox").done(), "/busybox", "touch", "/made"), session=again)
            self.assertIn("/busybox touch /made", self.client.told.cached())
        front = FrontEnd(self.client, session)
        about = front.ask("ResolveImageConfig", bridge.ResolveImageConfigRequest(Ref=f"laid@{digest}", ResolverType=1, StoreID="mine", SessionID=session.id),
                          bridge.ResolveImageConfigResponse)
        self.assertEqual((about.Digest, json.loads(about.Config)["config"]["Env"][-1]), (digest, "LAID=out"))
        front.finish()
        self.refused("has no digest", source("oci-layout://laid:out", oci__store="mine"), session=session)
        self.refused("not found", source(f"oci-layout://laid@{digest}", oci__store="other"), session=session)
        # A client that says something else than it has said it would.
        manifest = work / "layout/blobs" / digest.replace(":", "/")
        layer = json.loads(manifest.read_text())["layers"][0]["digest"]
        blob = work / "layout/blobs" / layer.replace(":", "/")
        self.assertTrue(blob.exists())
        other = work / "other"
        run("cp", "-a", work / "layout", other)
        (other / "blobs" / digest.replace(":", "/")).write_bytes(manifest.read_bytes() + b" ")
        with Session(self.daemon, stores={"mine": other}) as liar:
            self.refused("has the digest", source(f"oci-layout://laid@{digest}", oci__store="mine"), session=liar)
        # As a named context, by docker's own client.
        context = self.folder({"Dockerfile": "FROM base\nCOPY --from=other /from-layout /copied\n"})
        self.docker("build", "-t", "laid-on", "--build-context", f"base=oci-layout://{work / 'layout'}:out", "--build-context",
                    f"other=oci-layout://{work / 'layout'}@{digest}", context)
        self.assertIn("LAID=out", self.out("inspect", "-f", "{{.Config.Env}}", "laid-on"))
        self.docker("create", "--name", "laid-on", "laid-on", "x")
        self.docker("cp", "laid-on:/copied", work / "copied")
        self.assertEqual((work / "copied").read_text(), "layout")


class Programs(Graphs):
    def test_mounts_that_are_trees(self):
        given = Files().mkdir("/deep").mkfile("/deep/f", "f").mkfile("/top", "t").done()
        script = ("cat /ro/deep/f /part/f > /out && ! touch /ro/x && ! touch /part/x && touch /rw/kept && touch /dropped/x && ls /dropped > /list &&"
                  "cat /file >> /out")
        out = shell(image(), script, mounts=[bind("/ro", given, readonly=True), bind("/part", given, readonly=True, selector="/deep"), bind("/rw", given, result=1),
                                             bind("/dropped", given), bind("/file", given, readonly=True, selector="/top")])
        tree = self.files(out)
        self.assertEqual((tree.text("out"), tree.text("list").split()), ("fft", ["deep", "top", "x"]))
        self.assertFalse({"ro", "part", "rw", "dropped", "file"} & set(tree))
        second = self.files(out[1])
        self.assertEqual(sorted(second), ["deep", "deep/f", "kept", "top"])
        # A root that is not written to, and a result that is not the root.
        only = shell(image(), "! touch /x && echo r > /tmp/r", root_readonly=True, root_output=-1, mounts=[bind("/tmp", None, result=0)])
        self.assertEqual(sorted(self.files(only)), ["r"])
        # A client's folder as the root, of which nothing is kept.
        folder = self.folder()
        (folder / "bin").mkdir()
        run("cp", "/bin/busybox", folder / "bin/busybox")
        session = self.session(folders={"root": folder})
        for readonly in (False, True):
            made = execute(local("root"), "/bin/busybox", "sh", "-c", f"/bin/busybox test -e /bin/busybox && echo {readonly} > /out/f", root_output=-1,
                           root_readonly=readonly, mounts=[bind("/out", None, result=0)])
            self.assertEqual(self.files(made, session=session).text("f"), f"{readonly}\n")
        self.refused('"/not/there": not found', shell(image(), "true", mounts=[bind("/part", given, readonly=True, selector="/not/there")]))

    def test_mounts_that_are_not(self):
        count = shell(image(), "echo x >> /cache/n && wc -l < /cache/n > /n; test -e /cache/first && cat /cache/first > /first",
                      mounts=[mount("cache", "/cache", Files().mkfile("/first", "1").done(), id="llb-count")], ignore_cache=True)
        for expected in ("1", "2"):
            tree = self.files(count)
            self.assertEqual((tree.text("n").strip(), tree.text("first")), (expected, "1"))
        out = shell(image(), "df -k /t | tail -1 | awk '{print $2}' > /size && touch /t/x", mounts=[mount("tmpfs", "/t", size=1 << 20)])
        tree = self.files(out)
        self.assertEqual(tree.text("size").strip(), "1024")
        self.assertNotIn("t", tree)
        session = self.session(secrets={"s": b"hush!!"}, agent=lambda data: b"answer to " + data)
        out = shell(image(), "stat -c '%a %u %g' /run/s > /about && wc -c < /run/s > /size && test ! -e /run/none && echo ${VALUE}x | wc -c >> /size && echo ${NONE-unset} >> /size",
                    mounts=[mount("secret", "/run/s", ID="s", uid=5, gid=6, mode=0o440), mount("secret", "/run/none", ID="none", optional=True)],
                    secret_env=[{"ID": "s", "name": "VALUE"}, {"ID": "none", "name": "NONE", "optional": True}])
        tree = self.files(out, session=session)
        self.assertEqual((tree.text("about").strip(), tree.text("size").split()), ("440 5 6", ["6", "8", "unset"]))
        self.assertFalse(any(b"hush!!" in data for _, data in tree.values()))
        self.refused("secret none: not found", shell(image(), "true", mounts=[mount("secret", "/run/none", ID="none")]), session=session)
        out = shell(image(), "stat -c '%F %a' /agent > /about", mounts=[mount("ssh", "/agent", ID="default", mode=0o600)])
        self.assertEqual(self.files(out, session=session).text("about").strip(), "socket 600")
        with Session(self.daemon) as bare:
            self.refused("ssh", shell(image(), "true", mounts=[mount("ssh", "/agent", ID="default")]), session=bare)
            tree = self.files(shell(image(), "test ! -e /agent && touch /without", mounts=[mount("ssh", "/agent", ID="default", optional=True)]), session=bare)
            self.assertIn("without", tree)

    def test_what_a_program_is_told(self):
        def meta(to):
            to.env.extend(["ONE=1", "TWO=a b"])
            to.cwd, to.user, to.hostname = "/tmp/made", "1000:1001", "named"
            to.ulimit.add(Name="nofile", Soft=123, Hard=456)
            to.extraHosts.add(Host="elsewhere", IP="10.9.8.7")
            to.proxy_env.http_proxy = "http://proxy"
            to.validExitCodes.extend([3, 4])

        base = shell(image(), "mkdir -m 1777 -p /tmp/made")
        out = shell(base, "(echo $ONE $TWO; pwd; id -u; id -g; hostname; ulimit -n; ulimit -Hn; grep -c '10.9.8.7.*elsewhere' /etc/hosts; echo $http_proxy) > f; exit 3", meta=meta)
        self.assertEqual(self.files(out).text("tmp/made/f").splitlines(), ["1 a b", "/tmp/made", "1000", "1001", "named", "123", "456", "1", "http://proxy"])
        failure = self.refused("did not complete successfully: exit code: 5", shell(base, "exit 5", meta=meta))
        self.assertIn('process "/bin/sh -c exit 5"', str(failure))
        self.refused("exit code: 0", shell(base, "exit 0", meta=meta))
        self.refused("no-such-program", execute(image(), "no-such-program"))
        self.refused("no mount at /", Output(Operation(pb.Op(exec=pb.ExecOp(meta=pb.Meta(args=["true"], cwd="/"), mounts=[pb.Mount(input=0, dest="/x", output=0)])), [image()])))
        self.client.solve(shell(image(), "echo to out; echo to err >&2", ignore_cache=True))
        self.assertEqual(sorted(self.client.told.log().split("\n")), ["", "to err", "to out"])

    def test_networks_and_rights(self):
        counts = {mode: self.files(shell(image(), "ls /sys/class/net | wc -l > /n", network=mode, ignore_cache=True)).text("n").strip() for mode in (0, NONE)}
        self.assertEqual(counts, {0: "2", NONE: "1"})
        host = shell(image(), "ls /sys/class/net > /n", network=HOST, ignore_cache=True)
        self.refused("network.host is not allowed", host)
        self.assertIn(self.daemon.name, self.files(host, entitlements=["network.host"]).text("n").split())
        insecure = shell(image(), "grep CapEff /proc/self/status > /c", security=pb.SECURITY_MODE_INSECURE, ignore_cache=True)
        self.refused("security.insecure is not allowed", insecure)
        free = int(self.files(insecure, entitlements=["security.insecure"]).text("c").split()[1], 16)
        bound = int(self.files(shell(image(), "grep CapEff /proc/self/status > /c", ignore_cache=True)).text("c").split()[1], 16)
        self.assertTrue(free & 1 << 21 and not bound & 1 << 21)

    def test_limits(self):
        limits = pb.OpMetadata()
        limits.linux_resources.memory = 64 << 20
        out = shell(image(), "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null > /m; true", metadata=limits)
        self.assertIn(str(64 << 20), self.files(out).text("m"))


class FileActions(Graphs):
    def test_each_action(self):
        base = Files().mkdir("/a/b/c", parents=True, mode=0o700, owner=(3, 4), timestamp=10**9).mkfile("/a/f", "f", mode=0o711, owner=(1, 2), timestamp=2 * 10**9)
        base = base.symlink("f", "/a/l", timestamp=3 * 10**9).mkdir("/a/gone").mkfile("/a/gone/x").rm("/a/gone").mkfile("/a/w1").mkfile("/a/w2").rm("/a/w*", wildcard=True)
        tree = self.files(base.rm("/not/there", missing=True).done())
        self.assertEqual(sorted(tree), ["a", "a/b", "a/b/c", "a/f", "a/l"])
        self.assertEqual((tree.mode("a/b/c"), tree["a/b/c"][0].uid, tree["a/b/c"][0].gid, tree["a/b/c"][0].mtime), ("0o700", 3, 4, 1))
        self.assertEqual((tree.mode("a/f"), tree["a/f"][0].uid, tree["a/f"][0].gid, tree["a/f"][0].mtime), ("0o711", 1, 2, 2))
        self.assertEqual((tree["a/l"][0].linkname, tree["a/l"][0].mtime), ("f", 3))
        self.refused("no such file or directory", Files().rm("/not/there").done())
        self.refused("no such file or directory", Files().mkdir("/x/y").done())

    def test_copies(self):
        given = (Files().mkdir("/d/sub", parents=True).mkfile("/d/one.txt", "1").mkfile("/d/two.log", "2").mkfile("/d/sub/three.txt", "3").symlink("one.txt", "/d/link")
                 .symlink("d", "/dlink").done())
        users = Files().mkdir("/etc").mkfile("/etc/passwd", "me:x:1234:2345::/:\n").mkfile("/etc/group", "we:x:3456:\n").done()
        cases = {
            "a folder as a name": (lambda to: to.copy(given, "/d", "/to"), ["to", "to/link", "to/one.txt", "to/sub", "to/sub/three.txt", "to/two.log"]),
            "a folder into one that is there": (lambda to: to.mkdir("/to").copy(given, "/d", "/to"),
                                                ["to", "to/d", "to/d/link", "to/d/one.txt", "to/d/sub", "to/d/sub/three.txt", "to/d/two.log"]),
            "what is in it": (lambda to: to.copy(given, "/d", "/", dirCopyContents=True), ["link", "one.txt", "sub", "sub/three.txt", "two.log"]),
            "with the path": (lambda to: to.copy(given, "/d/one.txt", "/p/q/", createDestPath=True), ["p", "p/q", "p/q/one.txt"]),
            "a link": (lambda to: to.copy(given, "/dlink", "/l"), ["l"]),
            "what it leads to": (lambda to: to.copy(given, "/dlink", "/l", followSymlink=True, dirCopyContents=True),
                                 ["l", "l/link", "l/one.txt", "l/sub", "l/sub/three.txt", "l/two.log"]),
            "by a pattern": (lambda to: to.mkdir("/t").copy(given, "/d/*.txt", "/t/", allowWildcard=True), ["t", "t/one.txt"]),
            "by one that fits nothing": (lambda to: to.mkfile("/x").copy(given, "/d/*.none", "/", allowWildcard=True, allowEmptyWildcard=True), ["x"]),
            "some": (lambda to: to.copy(given, "/d", "/", dirCopyContents=True, include=["**/*.txt"], exclude=["sub"]), ["one.txt"]),
            "in the place of another kind": (lambda to: to.mkdir("/t/one.txt", parents=True).mkfile("/t/sub").copy(given, "/d", "/t", dirCopyContents=True, alwaysReplaceExistingDestPaths=True),
                                             ["t", "t/link", "t/one.txt", "t/sub", "t/sub/three.txt", "t/two.log"]),
        }
        for name, (make, expected) in cases.items():
            with self.subTest(name):
                self.assertEqual(sorted(self.files(make(Files()).done())), expected)
        tree = self.files(Files().copy(given, "/d", "/t", owner=(("me", users), ("we", users)), mode=0o640, timestamp=5 * 10**9).done())
        self.assertEqual((tree["t/one.txt"][0].uid, tree["t/one.txt"][0].gid, tree.mode("t/one.txt"), tree["t/one.txt"][0].mtime), (1234, 3456, "0o640", 5))
        tree = self.files(Files().copy(given, "/d/one.txt", "/t", modeStr="u=rwX,go=r").done())
        self.assertEqual(tree.mode("t"), "0o644")
        session = self.session(folders={"tars": self.folder()})
        run("tar", "-C", self.folder({"in/tar": "t"}), "-czf", session.folders["tars"] / "a.tgz", "in")
        tree = self.files(Files().copy(local("tars"), "/a.tgz", "/", attemptUnpackDockerCompatibility=True).done(), session=session)
        self.assertEqual(sorted(tree), ["in", "in/tar"])
        self.refused('"/nothing": not found', Files().copy(given, "/nothing", "/x").done())
        self.refused("one.txt", Files().mkdir("/t/one.txt", parents=True).copy(given, "/d", "/t", dirCopyContents=True).done())
        required = Files().copy(given, "/d", "/", dirCopyContents=True, include=["*.txt"], required_paths=["/d/other"])
        self.refused("other", required.done())

    def test_results_in_the_middle(self):
        op = pb.Op()
        for number, name in enumerate(("one", "two")):
            action = op.file.actions.add(input=-1 if number == 0 else 0, secondaryInput=-1, output=number)
            action.mkfile.path, action.mkfile.mode, action.mkfile.timestamp = f"/{name}", 0o644, -1
        both = Output(Operation(op))
        self.assertEqual(sorted(self.files(both)), ["one"])
        self.assertEqual(sorted(self.files(both[1])), ["one", "two"])


class Trees(Graphs):
    def test_merges(self):
        one = Files().mkfile("/f", "one").mkdir("/d").mkfile("/d/one", "1").done()
        two = Files().mkfile("/f", "two").mkdir("/d").mkfile("/d/two", "2").done()
        tree = self.files(merge(one, two))
        self.assertEqual((sorted(tree), tree.text("f")), (["d", "d/one", "d/two", "f"], "two"))
        self.assertEqual(self.files(merge(two, one)).text("f"), "one")
        self.assertEqual(sorted(self.files(merge(one, None))), ["d", "d/one", "f"])
        # Two that stand on the same: of what is the same in both the upper one's counts.
        left, right = Files(image()).mkfile("/l").rm("/bin/sh").done(), Files(image()).mkfile("/r").done()
        tree = self.files(merge(left, right))
        self.assertTrue({"l", "r", "bin/sh", "bin/busybox"} <= set(tree))
        self.client.solve(shell(merge(left, right), "test -e /l && test -e /r && test -e /bin/sh"))

    def test_differences(self):
        base = image()
        more = Files(base).mkfile("/new", "n").rm("/bin/sh").done()
        self.assertEqual(sorted(self.files(diff(base, more))), ["bin", "new"])
        self.assertEqual(sorted(self.files(diff(None, Files().mkfile("/a").done()))), ["a"])
        self.assertEqual(sorted(self.files(diff(more, more))), [])
        # Laid on something else it changes that in the same way.
        other = Files().mkdir("/bin").mkfile("/bin/sh").mkfile("/bin/kept").done()
        tree = self.files(merge(other, diff(base, more)))
        self.assertEqual(sorted(tree), ["bin", "bin/kept", "new"])

    def test_differences_of_trees_that_have_nothing_to_do_with_each_other(self):
        time = 10**18
        lower = (Files().mkdir("/same", timestamp=time).mkfile("/same/f", "s", timestamp=time).mkfile("/changed", "one", timestamp=time).mkfile("/mode", "m", timestamp=time)
                 .mkfile("/gone", "g").mkdir("/gone-folder").mkfile("/gone-folder/x").mkdir("/deep/er", parents=True).mkfile("/deep/er/gone").mkfile("/deep/er/kept", timestamp=time)
                 .mkfile("/was-file").mkdir("/was-folder").mkfile("/was-folder/x").symlink("a", "/link").mkfile("/equal-size", "abc", timestamp=time).done())
        upper = (Files().mkfile("/changed", "two", timestamp=time).mkfile("/mode", "m", mode=0o600, timestamp=time).mkdir("/same", timestamp=time)
                 .mkfile("/same/f", "s", timestamp=time).mkdir("/deep/er", parents=True, mode=0o750).mkfile("/deep/er/kept", timestamp=time).mkfile("/deep/er/new", "new")
                 .mkdir("/was-file").mkfile("/was-file/y").mkfile("/was-folder", "file").symlink("b", "/link").mkfile("/equal-size", "abd", timestamp=time)
                 .mkdir("/added/sub", parents=True, owner=(7, 8)).mkfile("/added/sub/z").done())
        change = diff(lower, upper)
        tree = self.files(change)
        self.assertEqual(sorted(tree), ["added", "added/sub", "added/sub/z", "changed", "deep", "deep/er", "deep/er/new", "equal-size", "link", "mode", "was-file",
                                        "was-file/y", "was-folder"])
        self.assertEqual((tree.text("changed"), tree.mode("mode"), tree["link"][0].linkname, tree.mode("deep/er"), tree["added/sub"][0].uid),
                         ("two", "0o600", "b", "0o750", 7))

        def shape(tree):
            return {path: (about.type, about.mode, about.uid, about.gid, about.linkname, data) for path, (about, data) in tree.items()}
        # Laid on the lower one it is the upper one.
        self.assertEqual(shape(self.files(merge(lower, change))), shape(self.files(upper)))
        self.assertEqual(shape(self.files(merge(upper, diff(upper, lower)))), shape(self.files(lower)))
        # As an image as well, whose layers others unpack.
        session = self.session()
        self.client.solve(merge(lower, change), session=session, exports=[("docker", {"name": "llb-diff"})])
        with tempfile.NamedTemporaryFile(dir="/var/tmp") as archive:
            archive.write(session.received[0])
            archive.flush()
            self.docker("load", "-q", "-i", archive.name)
        self.docker("create", "--name", "unpacked", "llb-diff", "x")
        exported = subprocess.run([DOCKER, "export", "unpacked"], check=True,
                                  stdout=subprocess.PIPE, env=self.daemon.environment()).stdout
        ours = {path for path in read_tar(exported) if path.split("/")[0] not in ("dev", "etc", "proc", "sys", ".dockerenv")}
        self.assertEqual(ours, set(self.files(upper)))
        # A client's folder has no layers.
        folder = self.folder({"a": "1", "b": "2"})
        session = self.session(folders={"f": folder})
        tree = self.files(diff(Files().copy(local("f"), "/a", "/a").done(), local("f")), session=session)
        self.assertEqual(sorted(tree), ["b"])
        self.assertEqual(sorted(self.files(diff(local("f"), None), session=session)), [])

    def test_builds_in_builds(self):
        inner = shell(image(), "echo inner > /inner", name="what is inside")
        graph = Files().mkfile("/buildkit.llb.definition", define(inner).SerializeToString()).mkfile("/other", define(Files().mkfile("/o").done()).SerializeToString()).done()
        outer = Files(build(graph)).mkfile("/outer").done()
        tree = self.files(outer)
        self.assertTrue({"inner", "outer", "bin/busybox"} <= set(tree))
        self.assertIn("what is inside", self.client.told.names())
        self.files(outer)
        self.assertIn("build", self.client.told.cached())
        self.assertEqual(sorted(self.files(build(graph, filename="/other"))), ["o"])
        self.assertEqual(sorted(self.files(build(Files().mkfile("/buildkit.llb.definition", b"").done()))), [])
        twice = build(Files().mkfile("/buildkit.llb.definition", define(build(graph, filename="/other")).SerializeToString()).done())
        self.assertEqual(sorted(self.files(twice)), ["o"])
        # With the rights of the build that it is in.
        host = Files().mkfile("/buildkit.llb.definition", define(shell(image(), "touch /h", network=HOST)).SerializeToString()).done()
        self.refused("network.host is not allowed", build(host))
        self.assertIn("h", self.files(build(host), entitlements=["network.host"]))
        self.refused("no such file or directory", build(image()))
        self.refused("is no definition", build(Files().mkfile("/buildkit.llb.definition", b"\xff\xff").done()))
        self.refused("not a regular file", build(Files().mkdir("/buildkit.llb.definition").done()))
        self.refused("only LLB builder", build(graph, builder=3))
        self.refused("did not complete successfully: exit code: 6", build(Files().mkfile("/buildkit.llb.definition", define(shell(image(), "exit 6")).SerializeToString()).done()))

    def test_a_build_that_contains_itself(self):
        folder = self.folder()
        session = self.session(folders={"self": folder, "one": self.folder(), "two": self.folder()})
        itself = build(local("self"))
        (folder / "buildkit.llb.definition").write_bytes(define(itself).SerializeToString())
        self.refused("contains itself", itself, session=session)
        # By way of another, and from both ends at once.
        one, two = build(local("one")), build(local("two"))
        (session.folders["one"] / "buildkit.llb.definition").write_bytes(define(two).SerializeToString())
        (session.folders["two"] / "buildkit.llb.definition").write_bytes(define(one).SerializeToString())
        failures = []

        def solve(output):
            client = Client(self.daemon)
            try:
                client.solve(output, session=session)
            except Failed as failed:
                failures.append(str(failed))
            client.close()
        threads = [threading.Thread(target=solve, args=(each,)) for each in (one, two)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(120)
        self.assertEqual(len(failures), 2)
        for each in failures:
            self.assertIn("contains itself", each)
        # Many side by side: none takes the place of what it waits for.
        builds = [build(Files().mkfile("/buildkit.llb.definition", define(shell(image(), f"echo {n} > /n{n}")).SerializeToString()).done()) for n in range(12)]
        tree = self.files(merge(*builds))
        self.assertTrue({f"n{n}" for n in range(12)} <= set(tree))


class WrongDefinitions(Graphs):
    def wrong(self, words, *ops, metadata=None):
        definition = pb.Definition()
        getattr(definition, "def").extend(each if isinstance(each, bytes) else each.SerializeToString(deterministic=True) for each in ops)
        with self.assertRaises(Failed) as failed:
            self.client.solve(definition=definition)
        self.assertIn(words, str(failed.exception))

    @staticmethod
    def head(digest, index=0):
        op = pb.Op()
        op.inputs.add(digest=digest, index=index)
        return op

    def test_what_is_wrong_is_said(self):
        base = image().operation
        missing = "sha256:" + "5" * 64
        self.wrong("cannot be read", b"\xff\xff\xff", self.head(missing))
        self.wrong("is not there", self.head(missing))
        self.wrong("is not there", base.bytes, self.head("no digest"))
        self.wrong("has no result 1", base.bytes, self.head(base.digest, 1))
        self.wrong("has no result -1", base.bytes, self.head(base.digest, -1))
        self.wrong("does not say which result", base.bytes, base.bytes)
        # Each the other's input: a digest cannot know itself, so one of them is not what is named.
        one, two = pb.Op(), pb.Op()
        one.inputs.add(digest=missing)
        one.merge.inputs.add(input=0)
        two.inputs.add(digest="sha256:" + hashlib.sha256(one.SerializeToString(deterministic=True)).hexdigest())
        two.merge.inputs.add(input=0)
        self.wrong("is not there", one, two, self.head("sha256:" + hashlib.sha256(two.SerializeToString(deterministic=True)).hexdigest()))
        # One that is named by another digest than its own.
        changed = pb.Op.FromString(base.bytes)
        changed.source.identifier += "x"
        self.wrong("is not there", changed, self.head(base.digest))
        # An operation that nobody knows.
        unknown = b"\xa2\x06\x02\x08\x01"  # field 100
        self.wrong("no operation that is known", unknown, self.head("sha256:" + hashlib.sha256(unknown).hexdigest()))
        passthrough = pb.Op()
        passthrough.passthrough.id = "x"
        raw = passthrough.SerializeToString()
        self.wrong("not implemented", raw, self.head("sha256:" + hashlib.sha256(raw).hexdigest()))

    def test_numbers_that_lead_nowhere(self):
        for make in (lambda op: op.exec.mounts.add(input=7, dest="/"), lambda op: op.file.actions.add(input=9, secondaryInput=-1).mkdir.__setattr__("path", "/x"),
                     lambda op: op.file.actions.add(input=-1, secondaryInput=9).copy.__setattr__("src", "/x"), lambda op: op.merge.inputs.add(input=5),
                     lambda op: op.diff.upper.__setattr__("input", 5), lambda op: op.build.inputs["buildkit.llb.definition"].__setattr__("input", 5)):
            op = pb.Op()
            make(op)
            if op.HasField("exec"):
                op.exec.meta.args.append("true")
            if op.HasField("build"):
                op.build.builder = -1
            if op.HasField("diff"):
                op.diff.lower.input = -1
            with self.subTest(op.WhichOneof("op")), self.assertRaises(Failed) as failed:
                self.client.solve(Output(Operation(op)))
            self.assertRegex(str(failed.exception), "has no input of this number|takes input 9, which is not there")
        self.assertEqual(run("curl", "-sf", "--unix-socket", self.daemon.socket, "http://d/_ping").stdout, "OK")


class Exports(Graphs):
    def test_the_same_tree_by_each_of_them(self):
        made = Files(shell(image(), "mkdir -p /made && echo x > /made/x && chmod 640 /made/x && ln -s x /made/l && chown 5:6 /made/x")).mkfile("/made/y", "y").done()
        part = diff(image(), made)
        session = self.session()
        self.client.solve(part, session=session, exports=[("local", {}), ("tar", {})])
        local_tree, tar = session.received[0], read_tar(session.received[1])
        self.assertEqual(sorted(local_tree), sorted(tar))
        self.assertEqual(sorted(tar), ["made", "made/l", "made/x", "made/y"])
        for path in ("made/x", "made/y"):
            self.assertEqual(local_tree[path][1], tar[path][1])
        self.assertEqual((tar.mode("made/x"), tar["made/x"][0].uid, tar["made/x"][0].gid, local_tree["made/x"][0].mode & 0o777), ("0o640", 5, 6, 0o640))
        answer = self.client.solve(made, session=session, exports=[("image", {"name": "llb-made:one,llb-made:two"})])
        self.assertRegex(answer["containerimage.digest"], "^sha256:")
        for tag in ("one", "two"):
            self.assertEqual(self.out("run", "--rm", "--network", "none", f"llb-made:{tag}", "/bin/cat", "/made/y"), "y")
        self.client.solve(made, session=session, exports=[("oci", {"name": "llb-made:one"})])
        archive = read_tar(session.received[0])
        self.assertIn("index.json", archive)
        with self.assertRaises(Failed) as failed:
            self.client.solve(made, session=session, exports=[("nothing", {})])
        self.assertIn("nothing", str(failed.exception))

    def test_an_empty_tree(self):
        self.assertEqual(sorted(self.client.files(definition=define(None))), [])


class FrontEnds(Graphs):
    def test_what_a_front_end_outside_may_ask(self):
        given = Files().mkfile("/given", "by another").done()
        session = self.session()
        front = FrontEnd(self.client, session, exports=[("tar", {})], inputs={"one": given})
        pong = front.ask("Ping", bridge.PingRequest(), bridge.PongResponse)
        self.assertTrue({"return", "readfile", "gateway.evaluate"} <= {each.ID for each in pong.FrontendAPICaps})
        self.assertTrue({"mergeop", "diffop", "source.ocilayout"} <= {each.ID for each in pong.LLBCaps})
        self.assertEqual(len(pong.Workers), 1)
        inputs = front.ask("Inputs", bridge.InputsRequest(), bridge.InputsResponse).Definitions
        self.assertEqual(inputs["one"], define(given))
        config = front.ask("ResolveImageConfig", bridge.ResolveImageConfigRequest(Ref="busybox"), bridge.ResolveImageConfigResponse)
        self.assertIn("Cmd", json.loads(config.Config)["config"])
        ask = bridge.ResolveSourceMetaRequest()
        ask.Source.identifier = "docker-image://docker.io/library/busybox:latest"
        self.assertEqual(front.ask("ResolveSourceMeta", ask, bridge.ResolveSourceMetaResponse).Image.Digest, config.Digest)
        made = Files(given).mkdir("/d").mkfile("/d/long", "0123456789", mode=0o604).symlink("long", "/d/link").done()
        ref = front.solve(made).ref
        self.assertEqual(getattr(ref, "def"), define(made))
        front.ask("Evaluate", bridge.EvaluateRequest(Ref=ref.id), bridge.EvaluateResponse)
        self.assertEqual(front.ask("ReadFile", bridge.ReadFileRequest(Ref=ref.id, FilePath="/d/link", Range=bridge.FileRange(Offset=2, Length=3)), bridge.ReadFileResponse).Data, b"234")
        entries = front.ask("ReadDir", bridge.ReadDirRequest(Ref=ref.id, DirPath="/d"), bridge.ReadDirResponse).entries
        self.assertEqual([(each.path, each.linkname) for each in entries], [("link", "long"), ("long", "")])
        about = front.ask("StatFile", bridge.StatFileRequest(Ref=ref.id, Path="/d/long"), bridge.StatFileResponse).stat
        self.assertEqual((about.mode, about.size), (0o604, 10))
        front.ask("Warn", bridge.WarnRequest(digest="sha256:" + "1" * 64, level=1, short=b"careful"), bridge.WarnResponse)
        for method, request, answer, words in (("ReadFile", bridge.ReadFileRequest(Ref=ref.id, FilePath="/none"), bridge.ReadFileResponse, "no such file"),
                                               ("ReadFile", bridge.ReadFileRequest(Ref="nobody", FilePath="/x"), bridge.ReadFileResponse, "no such ref"),
                                               ("Evaluate", bridge.EvaluateRequest(Ref=front.solve(shell(image(), "exit 8")).ref.id), bridge.EvaluateResponse, "exit code: 8"),
                                               ("Return", bridge.ReturnRequest(result=bridge.Result(ref=bridge.Ref(id="nobody"))), bridge.ReturnResponse, "return reference nobody not found"),
                                               ("Return", bridge.ReturnRequest(), bridge.ReturnResponse, "a result or an error"),
                                               ("Solve", bridge.SolveRequest(Frontend="nothing.v0"), bridge.SolveResponse, "frontend nothing.v0 not found"),
                                               ("Solve", bridge.SolveRequest(Final=True), bridge.SolveResponse, "not implemented: Final")):
            with self.subTest(method, words=words), self.assertRaises(Failed) as failed:
                front.ask(method, request, answer)
            self.assertIn(words, str(failed.exception))
        front.finish(bridge.Result(ref=bridge.Ref(id=ref.id)))
        self.assertEqual(sorted(read_tar(session.received[0])), ["d", "d/link", "d/long", "given"])

    def attest(self, said, files=None, platform=None):
        """A build whose front end says that of its result; `files` where it says it."""
        session = self.session()
        front = FrontEnd(self.client, session, exports=[("tar", {})])
        result = bridge.Result(ref=bridge.Ref(id=front.solve(Files().mkfile("/made", "m").done()).ref.id))
        for attestation in said:
            if files:
                attestation.ref.id = front.solve(files).ref.id
            result.attestations[platform or "linux/amd64"].attestation.append(attestation)
        front.finish(result)
        return read_tar(session.received[0])

    def test_what_a_front_end_says_of_its_result(self):
        made = self.attest([bridge.Attestation(path="/said.json", inTotoPredicateType="https://x",
                                               inTotoSubjects=[bridge.InTotoSubject(name="alias"), bridge.InTotoSubject(kind=1, name="f", digest=["sha256:" + "1" * 64])])],
                           Files().mkfile("/said.json", '{"a": [1, null]}').done())
        self.assertEqual(sorted(made), ["made", "said.json"])
        said = json.loads(made.text("said.json"))
        self.assertEqual((said["predicateType"], said["predicate"]), ("https://x", {"a": [1, None]}))
        self.assertEqual([each["name"] for each in said["subject"]], ["made", "alias", "f"])
        self.assertEqual(said["subject"][0]["digest"], said["subject"][1]["digest"])
        made = self.attest([bridge.Attestation(path="/said.json", inTotoPredicateType="https://x", metadata={"inline-only": b"true"})],
                           Files().mkfile("/said.json", "1").done())
        self.assertEqual(sorted(made), ["made"])

    def test_a_front_end_that_says_what_it_may_not(self):
        json_file = lambda text: Files().mkfile("/x.json", text).done()  # noqa: E731
        bundle = bridge.Attestation(kind=1, inTotoPredicateType="https://spdx.dev/Document")
        for words, said, files, platform in (
                ("may not set provenance", bridge.Attestation(path="/x.json", inTotoPredicateType="https://slsa.dev/provenance/v1"), json_file("{}"), None),
                ("may not set provenance", bridge.Attestation(kind=1), json_file('{"predicateType": "https://slsa.dev/provenance/v1"}'), None),
                ("not of https://spdx.dev/Document", bundle, json_file('{"predicateType": "https://x"}'), None),
                ("is not valid JSON", bundle, json_file("{" * 10), None),
                ("is not valid JSON", bundle, json_file("[" * 100_000), None),
                ("no regular file", bridge.Attestation(path="/d"), Files().mkdir("/d").done(), None),
                ("no ref is provided", bridge.Attestation(path="/x"), None, None),
                ("return reference mine not found", bridge.Attestation(path="/x", ref=bridge.Ref(id="mine")), None, None),
                ("unknown kind 5", bridge.Attestation(kind=5, path="/x.json"), json_file("1"), None),
                ("no platform plan9/vax", bridge.Attestation(path="/x.json"), json_file("1"), "plan9/vax"),
                ("/x.json", bridge.Attestation(path="/x.json", inTotoPredicateType="y"), Files().symlink("/etc/hostname", "/x.json").done(), None),
                ("duplicate attestation path name", None, json_file("1"), None)):
            with self.subTest(words), self.assertRaises(Failed) as failed:
                self.attest([said] if said else [bridge.Attestation(path="/x.json", inTotoPredicateType="y")] * 2, files, platform)
            self.assertIn(words, str(failed.exception))

    def test_older_clients_and_failures(self):
        front = FrontEnd(self.client)
        made = Files().mkfile("/x").done()
        old = front.ask("Solve", bridge.SolveRequest(Definition=define(made)), bridge.SolveResponse)
        self.assertTrue(old.ref)
        older = front.ask("Solve", bridge.SolveRequest(Definition=define(made), allowResultReturn=True), bridge.SolveResponse).result
        self.assertTrue(older.refDeprecated)
        front.finish(bridge.Result(refDeprecated=old.ref))
        front = FrontEnd(self.client)
        with self.assertRaises(Failed) as failed:
            front.finish(error=(2, "it is not what I want"))
        self.assertIn("it is not what I want", str(failed.exception))
        with self.assertRaises(Failed) as failed:
            self.client.call("/moby.buildkit.v1.frontend.LLBBridge/Ping", bridge.PingRequest(), bridge.PongResponse, build="")
        self.assertIn("names no build", str(failed.exception))

    def test_containers_of_a_front_end(self):
        session = self.session(secrets={"s": b"hush"})
        front = FrontEnd(self.client, session)
        root = front.solve(image()).ref.id
        given = front.solve(Files().mkfile("/f", "given").done()).ref.id

        def container(name, *mounts, **more):
            front.ask("NewContainer", bridge.NewContainerRequest(ContainerID=name, Mounts=[pb.Mount(dest="/", resultID=root), *mounts], **more), bridge.NewContainerResponse)
            return name

        def release(name):
            front.ask("ReleaseContainer", bridge.ReleaseContainerRequest(ContainerID=name), bridge.ReleaseContainerResponse)

        one = container("one", pb.Mount(dest="/given", resultID=given, readonly=True), hostname="named", extraHosts=[pb.HostIP(Host="h", IP="10.1.2.3")])
        outputs, exited = front.execute(one, "sh", "-c", "cat /given/f; hostname; grep -c 10.1.2.3 /etc/hosts; echo $S >&2; cat; exit 7", stdin=b"typed",
                                        secretenv=[pb.SecretEnv(ID="s", name="S")])
        self.assertEqual((outputs[1], outputs[2], exited.Code, exited.Error.message), (b"givennamed\n1\ntyped", b"hush\n", 7, "exit code: 7"))
        release(one)
        long = bytes(range(256)) * 8000
        outputs, exited = front.execute(container("two"), "cat", stdin=long)
        self.assertEqual((outputs[1], exited.Code), (long, 0))
        # What it has written is gone with it.
        front.execute(container("three"), "touch", "/made")
        outputs, exited = front.execute(container("four"), "test", "-e", "/made")
        self.assertEqual(exited.Code, 1)
        _, exited = front.execute(container("five"), "no-such-program")
        self.assertEqual(exited.Code, 127)
        self.assertIn("no-such-program", exited.Error.message)
        kill = bridge.ExecMessage(ProcessID="p", Signal=bridge.SignalMessage(Name="SIGKILL"))
        _, exited = front.execute(container("six"), "sleep", "1000", messages=[kill])
        self.assertNotEqual(exited.Code, 0)
        for words, call in (("not implemented: a terminal", lambda: front.execute(container("t"), "true", Tty=True)),
                            ("not implemented: a second program", lambda: front.execute("two", "true")),
                            ("previously released or not created", lambda: front.execute(one, "true")),
                            ("previously released or not created", lambda: release(one)),
                            ("already exists", lambda: container("two")),
                            ("no such ref: nothing", lambda: container("r", pb.Mount(dest="/x", resultID="nothing"))),
                            ("network.host is not allowed", lambda: front.execute(container("n", Network=HOST), "true")),
                            ("security.insecure is not allowed", lambda: front.execute(container("i"), "true", Security=pb.SECURITY_MODE_INSECURE)),
                            ("the signal SIGHUP", lambda: front.execute(container("s"), "sleep", "1000",
                                                                         messages=[bridge.ExecMessage(ProcessID="p", Signal=bridge.SignalMessage(Name="SIGHUP"))]))):
            with self.subTest(words), self.assertRaises(Failed) as failed:
                call()
            self.assertIn(words, str(failed.exception))
        front.finish()

    def test_a_graph_is_asked_of_control(self):
        workers = self.client.call(CONTROL + "ListWorkers", control.ListWorkersRequest(), control.ListWorkersResponse)
        self.assertEqual(len(workers.record), 1)


if __name__ == "__main__":
    unittest.main()
