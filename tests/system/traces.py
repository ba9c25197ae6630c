"""What a gruad has on this machine and might leave behind, and the points at which a test build can be told to fail."""

import json
import os
import pathlib
import re
import sqlite3
import time

from harness import wait_until

MADE = "(made by a test)"


class FaultPoints:
    """Of one gruad: see base/fault_point.hpp."""

    def __init__(self, folder):
        self.armed, self.trace = folder / "fail-at", folder / "trace"
        self.armed.touch()
        self.trace.touch()

    def environment(self):
        return {"GRUA_FAIL_AT": f"@{self.armed}", "GRUA_FAULT_TRACE": str(self.trace)}

    def mark(self):
        """By which its processes are known."""
        return f"GRUA_FAULT_TRACE={self.trace}"

    def arm(self, text):
        """In one step: gruad looks at it in the middle of its work."""
        new = self.armed.with_suffix(".new")
        new.write_text(text)
        new.rename(self.armed)

    def visited(self):
        return list(dict.fromkeys(self.trace.read_text().splitlines()))


class Traces:
    """`mark`: a word of the environment of this gruad and of nobody else."""

    def __init__(self, daemon, mark):
        self.daemon, self.mark = daemon, mark

    def cgroups(self):
        found = []
        for parent in [*pathlib.Path("/sys/fs/cgroup").glob(f"*/{self.daemon.name}"), *pathlib.Path("/sys/fs/cgroup").glob(self.daemon.name)]:
            found += [str(each) for each in parent.iterdir() if each.is_dir()]
        return found

    def mounts(self):
        lines = pathlib.Path(f"/proc/{self.daemon.pid()}/mountinfo").read_text().splitlines()
        return sorted(line.split()[4] for line in lines if str(self.daemon.root) in line or str(self.daemon.exec_root) in line)

    def links(self):
        """Links of containers: they carry the ID of theirs. The sandboxes that wait for one come and go."""
        shown = self.daemon.in_netns("ip", "-d", "-o", "link").stdout
        return sorted(re.findall(r"alias (\S*:[0-9a-f]{64}:\S*)", shown))

    def folders(self):
        data, live = self.daemon.root / "data", self.daemon.exec_root / "exec"
        out = {}
        for name in ("layers/staging", "layers/trash", "layers/containers", "layers/l", "content/trash", "containers", "volumes", "build/contexts",
                     "build/mounts", "build/http/urls", "build/http/content", "build/git", "build/history/blobs/sha256"):
            if (data / name).is_dir():
                out[name] = sorted(os.listdir(data / name))
        out["content/blobs"] = sorted(each.name for each in (data / "content/blobs").rglob("*") if each.is_file())
        out["live"] = sorted(str(each.relative_to(live)) for each in live.rglob("*") if re.search(r"[0-9a-f]{64}", str(each)))
        return out

    def rows(self):
        with sqlite3.connect(f"file:{self.daemon.root}/data/grua.db?mode=ro", uri=True, timeout=10) as database:
            names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")]
            return {name: database.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in sorted(names)}

    def rules(self):
        """As words without an order, which elements of sets have none of."""
        text = re.sub(r" counter packets \d+ bytes \d+", "", self.daemon.in_netns("nft", "list", "ruleset").stdout)
        return sorted(word.rstrip(",") for word in text.split())

    def shown(self):
        def answer(path):
            return json.loads(self.daemon.api("GET", path)[1])
        return {"containers": sorted((each["Id"], each["State"]) for each in answer("/containers/json?all=1")),
                "images": sorted(each["Id"] for each in answer("/images/json?all=1")),
                "volumes": sorted(each["Name"] for each in answer("/volumes")["Volumes"] or []),
                "networks": sorted(each["Name"] for each in answer("/networks"))}

    def processes(self):
        """Of this gruad, by its environment: the launcher and the monitors. A monitor that nobody needs any more is one too many."""
        count = 0
        mark = self.mark.encode()
        for each in pathlib.Path("/proc").glob("[0-9]*/environ"):
            try:
                count += mark in each.read_bytes().split(b"\0")
            except OSError:
                continue
        return count

    def state(self):
        return {"cgroups": self.cgroups(), "mounts": self.mounts(), "links": self.links(), "folders": self.folders(), "rows": self.rows(),
                "rules": self.rules(), "shown": self.shown(), "processes": self.processes()}

    def settled(self):
        """The state when nothing has changed for longer than anything is put off."""
        last, since = self.state(), time.monotonic()

        def is_quiet():
            nonlocal last, since
            now = self.state()
            if now != last:
                last, since = now, time.monotonic()
            return time.monotonic() - since > 3

        wait_until("nothing changes any more", is_quiet, 30)
        return last

    def differences(self, before):
        now = self.state()
        return {key: {"before": before[key], "now": now[key]} if key != "rules" else sorted(set(before[key]) ^ set(now[key]))
                for key in now if before[key] != now[key]}
