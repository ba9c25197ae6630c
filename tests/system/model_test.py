"""Random operations of eight clients against a model of what Docker would answer, with kills of gruad, of monitors and of programs, and faults.

Each client owns its containers, volumes, networks and tags, and of those knows each answer and each state (engine_model.py); over a few
containers that nobody owns all of them race. Whoever's answer is lost with a gruad that is killed, or fails by a fault that was injected, looks:
what it asked for has happened or has not, and from what it sees on the model is exact again.

GRUA_MODEL_OPERATIONS (400) says how many operations, GRUA_SOAK_SEED which. GRUA_MODEL_SOCKET runs the clients against another engine, which is
not killed: so the model was compared with dockerd.
"""

import collections
import http.client
import io
import json
import os
import pathlib
import random
import re
import shutil
import signal
import struct
import sys
import tarfile
import tempfile
import threading
import time
import unittest
import urllib.parse

import engine_model
from engine_model import PROGRAMS, SIGNALS, Container, comparable
from harness import PATIENCE, SANITIZED, Connection, Daemon, wait_until
from traces import MADE, FaultPoints, Traces

OPERATIONS = int(os.environ.get("GRUA_MODEL_OPERATIONS", "400"))
SEED = int(os.environ.get("GRUA_SOAK_SEED", str(random.SystemRandom().randrange(1 << 32))))
SOCKET = os.environ.get("GRUA_MODEL_SOCKET")
CLIENTS = 8
CONTAINERS = 5  # of one client, at most
SHARED = 3
BETWEEN_KILLS = 250  # operations; of gruad
BETWEEN_FAULTS = 500
FAULTY = 150  # operations in which faults are injected, one after the other
FAULT_KINDS = ("ENOSPC", "EMFILE", "ENOMEM", "EIO")
LONGEST_READ = 0.05  # seconds, of 99 in 100; a sanitizer's books make everything slower
MORE_DESCRIPTORS = 8
MEMORY = (0, 32 << 20, 64 << 20)
TOLD = {"create", "start", "die", "kill", "stop", "restart", "pause", "unpause", "rename", "update", "destroy", "top", "resize", "commit",
        "archive-path", "extract-to-dir"}


def query(**given):
    return "?" + urllib.parse.urlencode({name: value if isinstance(value, (str, int)) else json.dumps(value) for name, value in given.items()})


def packed(name, data):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        each = tarfile.TarInfo(name)
        each.size = len(data)
        tar.addfile(each, io.BytesIO(data))
    return out.getvalue()


def unframed(data):
    """Of both streams: {1: …, 2: …}."""
    out = {1: b"", 2: b""}
    while len(data) >= 8:
        stream, length = struct.unpack(">BxxxI", data[:8])
        out[stream] += data[8:8 + length]
        data = data[8 + length:]
    return out


class Answer:
    def __init__(self, status, text, lost=False):
        self.status, self.text, self.lost = status, text, lost

    @property
    def is_fault(self):
        return not self.lost and self.status >= 400 and MADE.encode() in self.text

    @property
    def is_doubtful(self):
        return self.lost or self.is_fault

    def json(self):
        return json.loads(self.text)

    def __str__(self):
        if self.status == 200 and self.text.startswith(b'{"Id":"') and b'"State":{' in self.text:
            state = json.loads(self.text)
            return f"{state['Name']} {state['RestartCount']} restarts {json.dumps({key: value for key, value in state['State'].items() if value})}"
        return "lost" if self.lost else f"{self.status} {self.text[:300].decode(errors='replace').strip()}"


class Trial:
    """What the clients and who disturbs them share."""

    def __init__(self, socket):
        self.socket = socket
        self.lock = threading.Condition()
        self.begun = 0
        self.waiting = 0
        self.left = CLIENTS
        self.is_paused = False
        self.alive = threading.Event()
        self.alive.set()
        self.epoch = 0      # gruads
        self.faults = None  # the points that fail now
        self.rest = 0       # times that all waited for what is tried again after faults
        self.failures = []
        self.reads = collections.defaultdict(list)
        self.counts = collections.Counter()

    def take_turn(self):
        """False where there are no more, or another has failed. Waits where all are to be at rest."""
        with self.lock:
            self.waiting += 1
            self.lock.notify_all()
            while self.is_paused and not self.failures:
                self.lock.wait(0.5)
            self.waiting -= 1
            if self.begun >= OPERATIONS or self.failures:
                self.left -= 1
                self.lock.notify_all()
                return False
            self.begun += 1
            self.lock.notify_all()
            return True

    def wait_for(self, count):
        """Until so many operations have begun; False where it will not come to that."""
        with self.lock:
            while self.begun < count and self.left and not self.failures:
                self.lock.wait(0.5)
            return bool(self.left) and not self.failures

    def pause(self):
        with self.lock:
            self.is_paused = True
            while self.waiting < self.left and not self.failures:
                self.lock.wait(0.5)

    def go_on(self):
        with self.lock:
            self.is_paused = False
            self.lock.notify_all()


class Client:
    def __init__(self, trial, number):
        self.trial = trial
        self.name = f"w{number}"
        self.dice = random.Random(f"{SEED}-{number}")
        self.connection = Connection(trial.socket)
        self.connected_to = 0
        self.containers = []
        self.ended = []  # for their events
        self.volumes = {}  # name → has this client's label
        self.networks = set()
        self.tags = set()
        self.made = 0
        self.epoch = 0
        self.rest = 0
        self.history = collections.deque(maxlen=30)

    # --- the connection

    def ask(self, method, path, body=None, of_any=False):
        """An answer; lost where gruad was killed before it came, or before it was sent: what the model expects is of the last gruad. `of_any`: what
        expects nothing is sent to the next one."""
        path = "/v1.51" + path
        while True:
            self.trial.alive.wait(120)
            epoch = self.trial.epoch
            if epoch != self.epoch and not of_any:
                return Answer(0, b"", lost=True)
            try:
                if self.connected_to != epoch:
                    self.connection.close()
                if self.connection.sock is None:
                    self.connection.connect()
                    self.connected_to = epoch
            except OSError:
                self.connection.close()
                time.sleep(0.01)
                continue
            try:
                answer = Answer(*self.connection.ask(method, path, body))
            except (OSError, http.client.HTTPException) as error:
                self.connection.close()
                if self.trial.alive.is_set() and self.trial.epoch == epoch:
                    # It was killed, which is said in a moment; else gruad let go of one that asked.
                    wait_until(f"gruad is gone or goes: {method} {path}: {error!r}", lambda: not self.trial.alive.is_set() or self.trial.epoch != epoch, 2)
                answer = Answer(0, b"", lost=True)
            self.note(f"{method} {path}", f"{json.dumps(body)[:200] if body is not None and not isinstance(body, bytes) else ''} → {answer}")
            return answer

    def note(self, what, more=""):
        """What is asked again and again is noted once."""
        if self.history and self.history[-1][1:] == (what, more):
            self.history.pop()
        self.history.append((f"{time.monotonic():.3f}", what, more))

    def read(self, kind, path, *, timed=True):
        """Changes nothing, so it is asked until there is an answer."""
        while True:
            epoch = self.trial.epoch
            began = time.monotonic()
            answer = self.ask("GET", path, of_any=True)
            took = time.monotonic() - began
            if answer.is_doubtful:
                continue
            if timed and epoch == self.trial.epoch and self.trial.alive.is_set():
                self.trial.reads[kind].append(took)
            return answer

    def expect(self, condition, what):
        if not condition:
            raise AssertionError(f"{self.name}: {what}\n{self.told_so_far()}")

    def told_so_far(self):
        return "\n".join(" ".join(each) for each in self.history)

    def must(self, answer, *statuses, why=""):
        self.expect(answer.status in statuses, f"{answer}, expected {' or '.join(map(str, statuses))} {why}")

    # --- containers: the model and what is seen

    def observe(self, each):
        """Its inspect, or None."""
        answer = self.read("inspect", f"/containers/{each.id}/json")
        if answer.status == 404:
            return None
        self.must(answer, 200)
        return answer.json()

    def differs(self, each, seen):
        """What is other than the model has it."""
        if seen is None or each.is_gone:
            return None if seen is None and each.is_gone else f"it is {'gone' if seen is None else seen['State']['Status']}"
        state, host = seen["State"], seen["HostConfig"]
        got = {"status": state["Status"], "name": seen["Name"], "restarts": seen["RestartCount"], "memory": host["Memory"],
               "policy": host["RestartPolicy"]["Name"], "running": (state["Running"], state["Paused"]), "networks": set(seen["NetworkSettings"]["Networks"])}
        model = {"status": each.status, "name": f"/{each.name}", "restarts": each.restarts, "memory": each.memory, "policy": each.policy,
                 "running": (each.is_up, each.status == "paused"), "networks": each.networks}
        if not each.is_up:
            got["code"], model["code"] = state["ExitCode"], each.code
        else:
            got["pid"], model["pid"] = state["Pid"], each.pid if each.pid is not None else state["Pid"] or "some"
        wrong = {key: (got[key], model[key]) for key in got if got[key] != model[key]}
        return f"(seen, model): {wrong}" if wrong else None

    def verify(self, each, at_once=True):
        """It is what the model has, at once or soon."""
        deadline = time.monotonic() + (0 if at_once else 20 * PATIENCE)
        while True:
            epoch, faults = self.trial.epoch, self.trial.faults
            if self.epoch != epoch:
                self.catch_up()
            seen = self.observe(each)
            wrong = self.differs(each, seen)
            if not wrong:
                if seen is not None and each.is_up:
                    each.pid = seen["State"]["Pid"]
                return
            if epoch != self.trial.epoch or not self.trial.alive.is_set():
                continue
            if faults or self.trial.faults:
                # Something of it failed that nobody asked for, as its restart by policy.
                self.trial.counts["adopted"] += 1
                self.adopt(each, each.copy(), at_rest=True)
                return
            self.expect(time.monotonic() < deadline, f"{each.name} {each.id[:12]} {wrong}\nmodel {each}\nseen {json.dumps(seen['State']) if seen else None}")
            time.sleep(0.02)

    def adopt(self, each, before, at_rest=False):
        """Its answer was lost, or a fault hit it: it is as before or as after, or in between where that has an end that is told."""
        each.is_open = True
        try:
            self.look_what_became(each, before, at_rest)
        finally:
            each.is_open = False

    def look_what_became(self, each, before, at_rest):
        def look():
            seen = self.observe(each)
            if seen is None:
                return None
            return seen["State"]["Status"], seen["State"]["Pid"], seen["RestartCount"], seen["Name"]

        seen = {"State": {"Status": "restarting"}}
        while seen and seen["State"]["Status"] in ("restarting", "removing"):
            last, since = look(), time.monotonic()
            while time.monotonic() - since < (1.0 if at_rest or each.policy != "no" or each.auto_remove else 0.3):
                time.sleep(0.05)
                now = look()
                if now != last or (now and now[0] in ("restarting", "removing")):
                    last, since = now, time.monotonic()
            if self.epoch != self.trial.epoch:
                self.catch_up()
            seen = self.observe(each)
        each.is_doubtful = True
        if seen is None:
            self.expect(each.is_gone or each.auto_remove, f"{before.name} is gone: {before}")
            each.status = "gone"
            return
        state = seen["State"]
        allowed = {before.status, each.status} - {"gone"}
        if before.program.code is not None or at_rest or each.is_gone or each.is_up:
            allowed |= {"exited"} | ({"created"} if before.status == "created" else set())
        if each.is_gone or before.auto_remove:
            allowed |= {"dead"}
        if each.policy != "no":
            allowed |= {"running"}
        self.expect(state["Status"] in allowed, f"{before.name} is {state['Status']}, allowed is {allowed}: {json.dumps(state)}\nbefore {before}\nafter {each}")
        self.expect(seen["Name"] in (f"/{before.name}", f"/{each.name}"), f"{before.name} is called {seen['Name']}")
        self.expect(seen["HostConfig"]["Memory"] in (before.memory, each.memory), f"{before.name} has {seen['HostConfig']['Memory']}")
        self.expect(seen["HostConfig"]["RestartPolicy"]["Name"] in (before.policy, each.policy), f"{before.name} has {seen['HostConfig']['RestartPolicy']}")
        networks = set(seen["NetworkSettings"]["Networks"])
        self.expect(networks in (before.networks, each.networks), f"{before.name} has {networks}")
        each.status, each.name, each.memory, each.networks = state["Status"], seen["Name"][1:], seen["HostConfig"]["Memory"], networks
        each.policy, each.most = seen["HostConfig"]["RestartPolicy"]["Name"], seen["HostConfig"]["RestartPolicy"]["MaximumRetryCount"]
        each.code, each.restarts, each.pid = state["ExitCode"], seen["RestartCount"], state["Pid"] or None
        each.by_user = None
        each.lines[1] += 2
        each.pending = before.pending or each.pending if each.status == "paused" else 0
        if each.status == "dead":
            self.expect(state["Error"] or self.trial.faults, f"{before.name} is dead and does not say why")
            self.remove_for_good(each)

    def remove_for_good(self, each):
        """What can be removed with force can be removed, at the second try at the latest where faults are injected."""
        for _ in range(20):
            answer = self.ask("DELETE", f"/containers/{each.id}?force=1&v=1", of_any=True)
            if answer.status in (204, 404):
                each.status = "gone"
                return
            self.expect(answer.is_doubtful or self.trial.faults or answer.status == 409, f"{each.name} cannot be removed: {answer}")
            time.sleep(0.1)
        self.expect(False, f"{each.name} cannot be removed")

    def catch_up(self):
        """There is another gruad: what is to start with it starts, all else is as it was, but for what somebody is looking at just now."""
        while self.epoch != self.trial.epoch:
            self.trial.alive.wait(120)
            self.epoch += 1
            for each in self.containers:
                if each.is_open:
                    continue
                # Whether it was to be started is not known, or whether its restart came first.
                is_unknown = each.policy != "no" and not each.is_gone and (each.by_user is None if not each.is_up else each.restarts and not each.pid)
                each.engine_came_back()
                if is_unknown:
                    self.adopt(each, each.copy(), at_rest=True)
            for each in list(self.containers):
                if self.epoch == self.trial.epoch and not each.is_open:
                    self.verify(each, at_once=False)

    def forget_ended(self):
        self.ended += [each for each in self.containers if each.is_gone]
        self.containers = [each for each in self.containers if not each.is_gone]

    def change(self, each, request, method, path, body=None, soon=False, faultless=()):
        """One request by the model's `request`, a function of the container that returns the status."""
        before = each.copy()
        status = request(each)
        each.is_open = True
        answer = self.ask(method, path, body)
        each.is_open = answer.is_doubtful
        if answer.is_doubtful:
            self.trial.counts["lost answers" if answer.lost else "faults answered"] += 1
            self.adopt(each, before)
        else:
            if answer.status != status and self.trial.faults and answer.status >= 500:
                self.trial.counts["faults answered"] += 1
                self.adopt(each, before)
            elif answer.status != status and before.by_user is None and before.policy != "no":
                self.adopt(each, before)
            else:
                self.must(answer, status, why=f"of {before}")
                self.verify(each, at_once=not (soon or before.auto_remove or each.program.code is not None))
        self.forget_ended()
        return answer

    def pick(self, *conditions):
        fitting = [each for each in self.containers if all(condition(each) for condition in conditions)]
        return self.dice.choice(fitting) if fitting else None

    def ref(self, each):
        return self.dice.choice([each.name, each.id, each.id[:12]])

    # --- operations on containers

    def create(self):
        if len(self.containers) >= CONTAINERS:
            return self.remove()
        self.made += 1
        name = f"{self.name}-c{self.made}"
        kind = self.dice.choices(list(PROGRAMS), [6, 4, 2, 5, 3, 1, 3, 3, 1])[0]
        program = PROGRAMS[kind]
        policy, most = "no", 0
        auto_remove = self.dice.random() < 0.15
        if not auto_remove and program.runs_on():
            policy = self.dice.choices(["no", "always", "unless-stopped", "on-failure"], [5, 2, 2, 2])[0]
        elif not auto_remove and program.code:
            policy, most = self.dice.choice([("no", 0), ("on-failure", 2)])
        memory = self.dice.choice(MEMORY)
        mounts = frozenset(f"{self.name}-v{self.dice.randrange(3)}" for _ in range(self.dice.choice([0, 0, 1, 2])))
        mode = self.dice.choice(["bridge", "bridge", "none", *sorted(self.networks)])
        host = {"Memory": memory, "NetworkMode": mode, "AutoRemove": auto_remove, "RestartPolicy": {"Name": policy, "MaximumRetryCount": most},
                "Mounts": [{"Type": "volume", "Source": each, "Target": f"/mnt/{each}"} for each in sorted(mounts)], **dict(program.host)}
        body = {"Image": "busybox", "Cmd": list(program.command), "Env": [f"OWNER={self.name}"], "Labels": {"owner": self.name},
                "Volumes": {"/anonymous": {}}, "HostConfig": host, **dict(program.config)}
        answer = self.ask("POST", f"/containers/create{query(name=name)}", body)
        if answer.is_doubtful:
            self.trial.counts["lost answers" if answer.lost else "faults answered"] += 1
            found = self.read("inspect", f"/containers/{name}/json")
            if answer.is_fault:
                self.must(found, 404, why="after a create that failed")
            self.must(found, 200, 404)
            for each in mounts:
                if self.read("volume", f"/volumes/{each}").status == 200:
                    self.volumes.setdefault(each, False)
            if found.status == 404:
                return None
            answer = Answer(201, json.dumps({"Id": found.json()["Id"]}).encode())
        self.must(answer, 201)
        each = Container(name, answer.json()["Id"], program, policy, most, auto_remove, memory, mounts, {mode}, mode)
        each.is_doubtful = self.epoch != self.trial.epoch
        self.containers.append(each)
        for volume in mounts:
            self.volumes.setdefault(volume, False)
        self.verify(each)
        return each

    def create_wrongly(self):
        name = f"{self.name}-wrong"
        good = {"Image": "busybox", "Cmd": ["true"]}
        taken = self.pick()
        cases = [({**good, "Image": "nosuch"}, name, 404), ({**good, "HostConfig": {"AutoRemove": True, "RestartPolicy": {"Name": "always"}}}, name, 400),
                 ({**good, "HostConfig": {"RestartPolicy": {"Name": "sometimes"}}}, name, 400), ({**good, "HostConfig": {"Memory": 1}}, name, 400),
                 ({**good, "HostConfig": {"Memory": "much"}}, name, 400), ({**good, "Cmd": 7}, name, 400), (good, "!", 400), ([], name, 400), (b"{", name, 400),
                 ({**good, "Env": ["=x"]}, name, 400), ({**good, "HostConfig": {"PidMode": "container:nosuch"}}, name, 400)]
        if taken:
            cases.append((good, taken.name, 409))
        body, name, status = self.dice.choice(cases)
        answer = self.ask("POST", f"/containers/create{query(name=name)}", body)
        if not answer.is_doubtful:
            self.must(answer, status)

    def start(self):
        if each := self.pick():
            self.change(each, Container.start, "POST", f"/containers/{self.ref(each)}/start")

    def stop(self):
        if each := self.pick():
            self.change(each, Container.stop, "POST", f"/containers/{self.ref(each)}/stop?t={self.seconds(each)}")

    def wait_until_it_hears(self, each):
        """A signal that comes before its init is ready is lost: the kernel gives it to no first process of a namespace. Of a stop gruad knows."""
        if not each.program.hears or not each.pid:
            return
        if SOCKET:
            time.sleep(0.3)
            return

        def is_ready():
            try:
                blocked = re.search(r"^SigBlk:\t(\S+)$", pathlib.Path(f"/proc/{each.pid}/status").read_text(), re.M)
            except (FileNotFoundError, ProcessLookupError):
                return True
            return int(blocked[1], 16) != 0

        wait_until(f"the init of {each.name} is ready", is_ready)

    def seconds(self, each):
        """What hears its signal is given the time to."""
        return 30 if each.program.hears else 0

    def restart(self):
        if each := self.pick():
            self.change(each, Container.restart, "POST", f"/containers/{self.ref(each)}/restart?t={self.seconds(each)}")

    def kill(self):
        if each := self.pick(lambda each: not each.pending):
            name = self.dice.choices(list(SIGNALS), [5, 3, 2, 2, 1])[0]
            self.wait_until_it_hears(each)
            path = f"/containers/{self.ref(each)}/kill" + ("" if name == "KILL" and self.dice.random() < 0.5 else f"?signal={self.dice.choice([name, f'SIG{name}', SIGNALS[name]])}")
            self.change(each, lambda of: of.kill(SIGNALS[name]), "POST", path, soon=name != "KILL" or each.policy != "no")

    def pause(self):
        if each := self.pick():
            self.wait_until_it_hears(each)  # While it is paused it never would.
            self.change(each, Container.pause, "POST", f"/containers/{self.ref(each)}/pause")

    def unpause(self):
        if each := self.pick(lambda each: each.status == "paused") or self.pick():
            self.change(each, Container.unpause, "POST", f"/containers/{self.ref(each)}/unpause", soon=bool(each.pending))

    def rename(self):
        if each := self.pick():
            self.made += 1
            other = self.pick()
            name = self.dice.choice([f"{self.name}-r{self.made}", f"{self.name}-r{self.made}", other.name])
            self.change(each, lambda of: of.rename(name, name == other.name), "POST", f"/containers/{each.id}/rename?name={name}")

    def update(self):
        if each := self.pick():
            policy = self.dice.choice([None, "no", "always", "unless-stopped"]) if each.program.runs_on() else None
            memory = self.dice.choice([0, *MEMORY, 1000])
            body = {**({"RestartPolicy": {"Name": policy}} if policy else {}), **({"Memory": memory, "MemorySwap": -1} if memory else {})}
            self.change(each, lambda of: of.update(memory, policy), "POST", f"/containers/{self.ref(each)}/update", body)

    def remove(self):
        if each := self.pick():
            force = self.dice.random() < 0.6
            self.change(each, lambda of: of.remove(force), "DELETE", f"/containers/{self.ref(each)}?v=1" + ("&force=1" if force else ""))

    def prune(self):
        gone = [each for each in self.containers if not each.is_up]
        before = [each.copy() for each in gone]
        answer = self.ask("POST", f"/containers/prune{query(filters={'label': [f'owner={self.name}']})}")
        for each in gone:
            each.remove(False)
            each.is_open = True
        if answer.is_doubtful or (self.trial.faults and answer.status == 200):
            for each, was in zip(gone, before):
                self.adopt(each, was)
        else:
            if answer.status == 409 and SOCKET:  # dockerd prunes one after the other, and lets none wait
                for each, was in zip(gone, before):
                    each.__dict__.update(was.__dict__)
                return
            self.must(answer, 200)
            deleted = set(answer.json()["ContainersDeleted"] or [])
            self.expect(deleted == {each.id for each in gone}, f"pruned {deleted}, expected {[each.id for each in gone]}")
            for each in gone:
                each.is_open = False
                self.verify(each)
        self.forget_ended()
        # Anonymous ones of those that were pruned stay.

    def wait(self):
        each = self.pick(lambda each: not each.is_up and each.by_user is not None)
        if not each:
            return
        answer = self.ask("POST", f"/containers/{each.name}/wait?condition={self.dice.choice(['not-running', ''])}")
        if not answer.is_doubtful:
            self.must(answer, 200)
            self.expect(answer.json()["StatusCode"] == each.code, f"{each} ended with {answer}")

    def execute(self):
        each = self.pick(lambda each: each.is_up) or self.pick()
        if not each:
            return
        epoch, faults = self.trial.epoch, self.trial.faults
        word = f"{self.name}-{self.made}"
        code = self.dice.choice([0, 0, 7])
        answer = self.ask("POST", f"/containers/{each.name}/exec", {"Cmd": ["sh", "-c", f"echo {word} $OWNER; exit {code}"], "AttachStdout": True})
        if answer.is_doubtful:
            return
        self.must(answer, 201 if each.status == "running" else 409)
        if answer.status != 201:
            return
        exec_id = answer.json()["Id"]
        detached = self.dice.random() < 0.3
        answer = self.ask("POST", f"/exec/{exec_id}/start", {"Detach": detached})
        if answer.is_doubtful or (self.trial.faults and answer.status >= 500):
            return
        if epoch != self.trial.epoch:
            self.must(answer, 404, 409, 200)
            return
        self.must(answer, 200)
        shown = {}

        def has_ended():
            shown.update(self.read("exec", f"/exec/{exec_id}/json").json())
            return epoch != self.trial.epoch or shown.get("Running") is False

        wait_until("the exec has ended", has_ended)
        if epoch != self.trial.epoch:
            return
        if shown["ExitCode"] in (126, 127) and (MADE.encode() in answer.text or (detached and (faults or self.trial.faults))):
            self.trial.counts["faults answered"] += 1
            return
        self.expect(shown["ExitCode"] == code, f"exec ended with {shown}")
        if not detached:
            self.expect(unframed(answer.text)[1] == f"{word} {self.name}\n".encode(), f"exec said {answer.text}")
        again = self.ask("POST", f"/exec/{exec_id}/start", {"Detach": True})
        if not again.is_doubtful and epoch == self.trial.epoch:
            self.must(again, 409)

    def logs(self):
        each = self.pick(lambda each: each.program.talks)
        if not each:
            return
        deadline = time.monotonic() + 10 * PATIENCE
        while True:
            answer = self.ask("GET", f"/containers/{each.name}/logs?stdout=1&stderr=1")
            if answer.is_doubtful:
                return
            self.must(answer, 200)
            said = unframed(answer.text)
            lines = said[1].count(b"\n")
            self.expect(said[1] == b"out\n" * lines, f"{said}")
            self.expect(lines <= each.lines[1] and said[2].count(b"\n") <= each.lines[1], f"{lines} lines of {each}")
            if lines >= each.lines[0]:
                each.lines[0] = lines
                return
            self.expect(time.monotonic() < deadline, f"{lines} lines of {each}")
            time.sleep(0.02)

    def top(self):
        if each := self.pick():
            self.change(each, lambda of: of.looked_at("top", needs_program=True), "GET", f"/containers/{self.ref(each)}/top")

    def stats(self):
        if each := self.pick():
            answer = self.ask("GET", f"/containers/{self.ref(each)}/stats?stream=0&one-shot=1")
            if not answer.is_doubtful:
                self.must(answer, 200)

    def resize(self):
        if each := self.pick(lambda each: dict(each.program.config).get("Tty")):
            self.change(each, lambda of: of.looked_at("resize", needs_program=True), "POST", f"/containers/{self.ref(each)}/resize?h={self.dice.randrange(1, 99)}&w=80")

    def put(self):
        if each := self.pick():
            name, data = f"f{self.dice.randrange(3)}", self.dice.randbytes(self.dice.choice([0, 10, 5000]))
            before = dict(each.files)

            def request(of):
                of.files[name] = data
                return of.looked_at("extract-to-dir")

            answer = self.change(each, request, "PUT", f"/containers/{each.id}/archive?path=/", packed(name, data))
            if answer.status != 200:
                each.files = {key: value for key, value in before.items() if key != name}  # either

    def get(self):
        each = self.pick(lambda each: each.files)
        if not each:
            return
        name = self.dice.choice(sorted(each.files))
        answer = self.change(each, lambda of: of.looked_at("archive-path"), "GET", f"/containers/{each.id}/archive?path=/{name}")
        if answer.status == 200:
            with tarfile.open(fileobj=io.BytesIO(answer.text)) as tar:
                self.expect(tar.extractfile(name).read() == each.files[name], f"{name} of {each.name} has other contents")

    def stat_file(self):
        each = self.pick()
        if not each:
            return
        answer = self.ask("HEAD", f"/containers/{each.id}/archive?path=/nosuch")
        if not answer.is_doubtful and not self.trial.faults:
            self.must(answer, 404)

    def diff(self):
        each = self.pick(lambda each: each.files)
        if not each:
            return
        answer = self.ask("GET", f"/containers/{each.name}/changes")
        if not answer.is_doubtful:
            self.must(answer, 200)
            found = {change["Path"]: change["Kind"] for change in answer.json() or []}
            for name in each.files:
                self.expect(found.get(f"/{name}") == 1, f"{name} is not among {found}")

    # --- from outside

    def kill_outside(self):
        """Its program, as the kernel does where memory is short; or its monitor."""
        if SOCKET:
            return
        each = self.pick(lambda each: each.status == "running" and each.pid and each.by_user is not None)
        if not each:
            return
        self.verify(each)
        if each.status != "running":
            return
        with_monitor = self.dice.random() < 0.3
        try:
            pid = each.pid
            if with_monitor:
                pid = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
                self.expect(pathlib.Path(f"/proc/{pid}/comm").read_text() == "grua-monitor\n", f"{pid} is no monitor")
            os.kill(pid, signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            self.expect(False, f"{each.name} is shown as running as {each.pid} and is not there")
        self.note(f"killed {'the monitor' if with_monitor else 'the program'} of {each.name}")
        self.trial.counts["monitors killed" if with_monitor else "programs killed"] += 1
        before = each.copy()
        (Container.monitor_killed if with_monitor else Container.killed_outside)(each)
        if self.trial.faults or self.epoch != self.trial.epoch or not self.trial.alive.is_set():
            self.adopt(each, before, at_rest=True)
        else:
            self.verify(each, at_once=False)
        self.forget_ended()

    # --- volumes, networks, images

    def is_used(self, volume):
        return any(volume in each.mounts for each in self.containers)

    def volume(self):
        name = f"{self.name}-v{self.dice.randrange(3)}"
        what = self.dice.choice(["create", "remove", "remove", "force", "inspect", "prune"])
        if what == "create":
            answer = self.ask("POST", "/volumes/create", {"Name": name, "Labels": {"owner": self.name}})
            if answer.is_doubtful:
                found = self.read("volume", f"/volumes/{name}")
                if found.status == 200:
                    self.volumes.setdefault(name, (found.json()["Labels"] or {}).get("owner") == self.name)
                self.expect(found.status == 200 or name not in self.volumes, f"volume {name} is gone")
                return
            self.must(answer, 201)
            self.volumes.setdefault(name, True)
        elif what in ("remove", "force"):
            answer = self.ask("DELETE", f"/volumes/{name}" + ("?force=1" if what == "force" else ""))
            if answer.is_doubtful:
                found = self.read("volume", f"/volumes/{name}")
                self.expect(found.status == 404 or name in self.volumes, f"volume {name} is there")
                self.expect(found.status == 200 or not self.is_used(name), f"volume {name} is gone and used")
                if found.status == 404:
                    self.volumes.pop(name, None)
                return
            status = 409 if self.is_used(name) else 204 if name in self.volumes or what == "force" else 404
            self.must(answer, status, why=f"of {self.volumes}, {self.containers}")
            if status == 204:
                self.volumes.pop(name, None)
        elif what == "prune":
            answer = self.ask("POST", f"/volumes/prune{query(filters={'label': [f'owner={self.name}'], 'all': ['true']})}")
            expected = {each for each, is_own in self.volumes.items() if is_own and not self.is_used(each)}
            if answer.is_doubtful or (self.trial.faults and answer.status == 200):
                expected = {each for each in expected if self.read("volume", f"/volumes/{each}").status == 404}
            else:
                self.must(answer, 200)
                self.expect(set(answer.json()["VolumesDeleted"] or []) == expected, f"pruned {answer}, expected {expected}")
            for each in expected:
                del self.volumes[each]
        self.must(self.read("volume", f"/volumes/{name}"), 200 if name in self.volumes else 404)

    def attached(self, network):
        return {each.id for each in self.containers if network in each.networks and each.is_up}

    def network(self):
        name = f"{self.name}-n{self.dice.randrange(2)}"
        what = self.dice.choice(["create", "create", "remove", "connect", "connect", "disconnect"])
        there = name in self.networks
        if what == "create":
            answer = self.ask("POST", "/networks/create", {"Name": name, "Labels": {"owner": self.name}})
            if answer.is_doubtful:
                found = self.read("network", f"/networks/{name}").status == 200
                self.expect(found or not there, f"network {name} is gone")
                if answer.is_fault:
                    self.expect(found == there, f"network {name} is there after a create that failed")
                (self.networks.add if found else self.networks.discard)(name)
                return
            self.must(answer, 409 if there else 201)
            self.networks.add(name)
        elif what == "remove":
            if any(name in each.networks for each in self.containers) and not self.attached(name):
                return  # Those would have a network that is not there.
            answer = self.ask("DELETE", f"/networks/{name}")
            if answer.is_doubtful:
                if self.read("network", f"/networks/{name}").status == 404:
                    self.expect(not self.attached(name), f"network {name} is gone")
                    self.networks.discard(name)
                return
            self.must(answer, 404 if not there else 403 if self.attached(name) else 204)
            if answer.status == 204:
                self.networks.discard(name)
        elif each := self.pick(lambda each: each.network_mode != "none" and not each.pending):
            if not there and not each.is_up and what == "connect":
                return  # It is taken, and then there is nothing to start with.
            if not there and each.is_up:
                status = 404
            elif what == "connect":
                status = 403 if name in each.networks and each.is_up else 200
            else:
                status = 200 if name in each.networks else 500

            def request(of):
                if status == 200:
                    (of.networks.add if what == "connect" else of.networks.discard)(name)
                return status

            self.change(each, request, "POST", f"/networks/{name}/{what}", {"Container": self.ref(each)})
        found = self.read("network", f"/networks/{name}")
        self.must(found, 200 if name in self.networks else 404)
        if found.status == 200 and not self.trial.faults and self.epoch == self.trial.epoch:
            self.expect(set(found.json()["Containers"]) == self.attached(name), f"{name} has {found}, expected {self.attached(name)}")

    def image(self):
        tag = f"{self.name}/t{self.dice.randrange(2)}:1"
        what = self.dice.choice(["tag", "untag", "commit", "wrong"])
        there = tag in self.tags
        each = self.pick(lambda each: each.status != "paused")
        if what == "wrong":
            answer = self.ask("POST", "/images/busybox/tag?repo=UPPER")
            if not answer.is_doubtful:
                self.must(answer, 400)
            answer = self.ask("POST", f"/images/{self.name}-nosuch/tag?repo=xx")
            if not answer.is_doubtful:
                self.must(answer, 404)
            return
        if what == "tag" and not there:
            answer = self.ask("POST", f"/images/busybox/tag?repo={tag[:-2]}&tag=1")
        elif what == "commit" and not there and each:
            answer = self.change(each, lambda of: {200: 201}[of.looked_at("commit")], "POST", f"/commit?container={each.id}&repo={tag[:-2]}&tag=1&pause=0")
        else:
            what = "untag"
            answer = self.ask("DELETE", f"/images/{tag}")
        if answer.is_doubtful or (self.trial.faults and answer.status >= 500):
            found = self.read("image", f"/images/{tag}/json").status == 200
            self.expect(found or what == "untag" or not there, f"{tag} is gone")
            (self.tags.add if found else self.tags.discard)(tag)
            return
        self.must(answer, 201 if what != "untag" else 200 if there else 404)
        (self.tags.discard if what == "untag" else self.tags.add)(tag)
        self.must(self.read("image", f"/images/{tag}/json"), 200 if tag in self.tags else 404)

    # --- reads

    def look(self):
        kind, path = self.dice.choice([("version", "/version"), ("info", "/info"), ("ping", "/_ping"), ("images", "/images/json"), ("networks", "/networks"),
                                       ("volumes", "/volumes"), ("list", "/containers/json?all=1"), ("list", "/containers/json")])
        self.must(self.read(kind, path), 200)
        if each := self.pick():
            self.verify(each)

    def list(self):
        status = self.dice.choice([None, "running", "exited", "created", "paused"])
        epoch, faults = self.trial.epoch, self.trial.faults
        filters = {"label": [f"owner={self.name}"], **({"status": [status]} if status else {})}
        answer = self.read("list", f"/containers/json{query(all=1, filters=filters)}")
        self.must(answer, 200)
        shown = {each["Id"]: (each["Names"], each["State"]) for each in answer.json()}
        model = {each.id: ([f"/{each.name}"], each.status) for each in self.containers if status in (None, each.status)}
        if epoch == self.epoch == self.trial.epoch and not faults and not self.trial.faults and self.trial.alive.is_set():
            self.expect(shown == model, f"the list has {shown}, expected {model}")

    def tell(self):
        """The events of one, as far back as they are kept."""
        each = self.pick(lambda each: not each.is_doubtful)
        if not each:
            return
        epoch = self.trial.epoch
        answer = self.read("events", f"/events{query(since='0', until=f'{time.time():.6f}', filters={'container': [each.id], 'type': ['container']})}", timed=False)
        if epoch == self.epoch == self.trial.epoch and self.trial.alive.is_set() and not self.trial.faults:
            said = told(answer.text)
            if not said or said[0] != "create":
                return  # The engine has forgotten what was before; the watcher has it.
            self.expect(comparable(said) == comparable(each.events), f"the events are {said}, expected {each.events}")

    def ask_wrongly(self):
        name = f"{self.name}-nosuch"
        each = self.pick()
        cases = [("GET", f"/containers/{name}/json", 404), ("POST", f"/containers/{name}/start", 404), ("POST", f"/containers/{name}/stop", 404),
                 ("POST", f"/containers/{name}/kill", 404), ("POST", f"/containers/{name}/pause", 404), ("POST", f"/containers/{name}/wait", 404),
                 ("DELETE", f"/containers/{name}", 404), ("DELETE", f"/containers/{name}?force=1", 404), ("GET", f"/containers/{name}/logs?stdout=1", 404),
                 ("GET", f"/containers/{name}/top", 404), ("GET", f"/exec/{name}/json", 404), ("POST", f"/exec/{name}/start", 404), ("GET", "/containers/json?filters=x", 400),
                 ("GET", f"/containers/json{query(filters={'nosuch': ['x']})}", 400), ("GET", f"/containers/json{query(filters={'status': ['odd']})}", 400),
                 ("GET", "/nosuch", 404), ("DELETE", "/networks/bridge", 403), ("GET", f"/networks/{name}", 404), ("GET", f"/volumes/{name}", 404),
                 ("POST", f"/commit?container={name}", 404), ("GET", f"/images/{name}/json", 404)]
        if each:
            cases += [("POST", f"/containers/{each.id}/kill?signal=NOSUCH", 400), ("GET", f"/containers/{each.id}/logs", 400),
                      ("POST", f"/containers/{each.id}/wait?condition=nosuch", 400), ("POST", f"/containers/{each.id}/rename?name=", 400),
                      ("GET", f"/containers/{each.id}/archive?path=/nosuch/x", 404), ("POST", f"/containers/{each.id}/resize?h=x&w=1", 400)]
        method, path, status = self.dice.choice(cases)
        body = {"Detach": True} if path.endswith("/start") and path.startswith("/exec") else None
        answer = self.ask(method, path, body)
        if not answer.is_doubtful:
            self.must(answer, status, why=f"{method} {path}")

    # --- what nobody owns

    def share(self):
        """Eight at once: which answer each gets is open, but not what may be answered."""
        name = f"shared-{self.dice.randrange(SHARED)}"
        what, method, path, body, statuses = self.dice.choice([
            ("create", "POST", f"/containers/create?name={name}", {"Image": "busybox", "Cmd": list(PROGRAMS["sleeper"].command), "Labels": {"shared": "1"}}, (201, 409)),
            ("create", "POST", f"/containers/create?name={name}", {"Image": "busybox", "Cmd": list(PROGRAMS["sleeper"].command), "Labels": {"shared": "1"}}, (201, 409)),
            ("start", "POST", f"/containers/{name}/start", None, (204, 304, 404, 409)), ("start", "POST", f"/containers/{name}/start", None, (204, 304, 404, 409)),
            ("stop", "POST", f"/containers/{name}/stop?t=0", None, (204, 304, 404)), ("kill", "POST", f"/containers/{name}/kill", None, (204, 404, 409)),
            ("restart", "POST", f"/containers/{name}/restart?t=0", None, (204, 404, 409)), ("pause", "POST", f"/containers/{name}/pause", None, (204, 404, 409)),
            ("unpause", "POST", f"/containers/{name}/unpause", None, (204, 404, 409, *([500] if SOCKET else []))),
            ("update", "POST", f"/containers/{name}/update", {"Memory": 64 << 20, "MemorySwap": -1}, (200, 404, 409)),
            ("exec", "POST", f"/containers/{name}/exec", {"Cmd": ["true"]}, (201, 404, 409)), ("inspect", "GET", f"/containers/{name}/json", None, (200, 404)),
            ("remove", "DELETE", f"/containers/{name}?force=1", None, (204, 404, 409)), ("remove", "DELETE", f"/containers/{name}", None, (204, 404, 409)),
        ])
        answer = self.ask(method, path, body)
        if answer.is_doubtful or (self.trial.faults and answer.status >= 500):
            with self.trial.lock:
                self.trial.counts["shared in doubt"] += 1
            return
        self.must(answer, *statuses, why=f"of a shared container: {what}")
        if answer.status < 300:
            with self.trial.lock:
                self.trial.counts[f"{name} {what}"] += 1

    # --- its life

    doings = {"create": 12, "create_wrongly": 2, "start": 16, "stop": 7, "restart": 5, "kill": 8, "pause": 5, "unpause": 6, "rename": 3, "update": 4, "remove": 6,
              "prune": 1, "wait": 2, "execute": 7, "logs": 3, "top": 2, "stats": 2, "resize": 1, "put": 3, "get": 3, "stat_file": 1, "diff": 2, "kill_outside": 4,
              "volume": 6, "network": 8, "image": 4, "look": 8, "list": 6, "tell": 4, "ask_wrongly": 6, "share": 10}

    def work(self):
        try:
            while self.trial.take_turn():
                if self.epoch != self.trial.epoch:
                    self.catch_up()
                if self.rest != self.trial.rest:
                    self.reconcile()
                what = self.dice.choices(list(self.doings), list(self.doings.values()))[0]
                self.note(f"--- {what}")
                getattr(self, what)()
                with self.trial.lock:
                    self.trial.counts[what] += 1
        except BaseException as failure:
            with self.trial.lock:
                if self.trial.left:
                    self.trial.left -= 1
                self.trial.failures.append(failure if isinstance(failure, AssertionError) else AssertionError(f"{self.name}: {failure!r}\n{self.told_so_far()}"))
                self.trial.lock.notify_all()
            if not isinstance(failure, AssertionError):
                raise

    def finish(self):
        """Once nothing goes wrong any more: gruad may have been killed after this client's last turn."""
        if self.epoch != self.trial.epoch:
            self.catch_up()
        self.reconcile()
        self.connection.close()

    def reconcile(self):
        """After faults, when gruad has tried again what it tries again: what each is now it stays."""
        self.rest = self.trial.rest
        for each in self.containers:
            if self.differs(each, self.observe(each)):
                self.trial.counts["adopted"] += 1
                self.adopt(each, each.copy(), at_rest=True)
        self.forget_ended()


def told(text):
    out = []
    for line in text.splitlines():
        event = json.loads(line)
        if event["Action"] in TOLD:
            out.append(event["Action"] + (f":{event['Actor']['Attributes']['signal']}" if event["Action"] == "kill" else ""))
    return out


class Watcher(threading.Thread):
    """All that containers tell, over the ends of gruad."""

    def __init__(self, trial):
        super().__init__(daemon=True)
        self.trial, self.over = trial, threading.Event()
        self.seen = {}  # ID → lines
        self.known = set()
        self.last = f"{time.time():.6f}"

    def run(self):
        while not self.over.is_set():
            connection = Connection(self.trial.socket, timeout=1 / PATIENCE)
            try:
                connection.request("GET", f"/v1.51/events{query(since=self.last, filters={'type': ['container']})}")
                connection.sock.settimeout(None)
                for line in connection.getresponse():
                    self.take(line)
            except (OSError, http.client.HTTPException, json.JSONDecodeError):
                time.sleep(0.02)
            finally:
                connection.close()

    def take(self, line):
        event = json.loads(line)
        self.last = f"{event['timeNano'] // 10**9}.{event['timeNano'] % 10**9:09d}"
        key = event["timeNano"], event["Actor"]["ID"], event["Action"]
        if key not in self.known:
            self.known.add(key)
            self.seen.setdefault(event["Actor"]["ID"], []).append(line.decode())


class Models(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.dice = random.Random(SEED)
        print(f"model: GRUA_SOAK_SEED={SEED}, {OPERATIONS} operations", file=sys.stderr, flush=True)
        # The time of an answer is the engine's, not that of another thread that waits for the interpreter.
        interval = sys.getswitchinterval()
        sys.setswitchinterval(0.0005)
        self.addCleanup(sys.setswitchinterval, interval)
        self.daemon = None
        self.injected = set()
        if SOCKET:
            engine_model.engine = engine_model.DOCKERD
            return
        folder = pathlib.Path(tempfile.mkdtemp(prefix="grua-model-", dir=os.environ.get("GRUA_TEST_DIR", "/var/tmp")))
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        self.faults = FaultPoints(folder)
        self.daemon = Daemon("--default-address-pool", "base=10.99.128.0/17,size=28", env=self.faults.environment())
        self.addCleanup(self.daemon.close)
        self.traces = Traces(self.daemon, self.faults.mark())

    def make_once(self):
        """What an engine makes with the first container, network and exec and keeps."""
        ask = Connection(self.trial.socket).ask
        for method, path, body in (("POST", "/networks/create", {"Name": "first"}), ("POST", "/containers/create?name=first", {"Image": "busybox", "Cmd": ["true"]}),
                                   ("POST", "/networks/first/connect", {"Container": "first"}), ("POST", "/containers/first/start", None), ("POST", "/containers/first/wait", None),
                                   ("DELETE", "/containers/first", None), ("DELETE", "/networks/first", None)):
            status, text = ask(method, path, body)
            self.assertLess(status, 300, text)

    def test_it_answers_as_docker_does(self):
        self.trial = Trial(SOCKET or self.daemon.socket)
        self.make_once()
        if self.daemon:
            before, descriptors = self.traces.settled(), self.daemon.at_rest()
        began = time.monotonic()
        watcher = Watcher(self.trial)
        watcher.start()
        self.clients = [Client(self.trial, number) for number in range(CLIENTS)]
        threads = [threading.Thread(target=each.work, daemon=True) for each in self.clients]
        for each in threads:
            each.start()
        try:
            if self.daemon:
                self.disturb()
            for each in threads:
                each.join()
        finally:
            self.trial.is_paused = False
            self.trial.alive.set()
        took = time.monotonic() - began
        if self.trial.failures:
            raise AssertionError(f"seed {SEED}: {self.trial.failures[0]}\n{self.daemon.tail(60) if self.daemon else ''}")
        for each in self.clients:
            each.finish()
        self.print_counts(took)
        self.compare_shared()
        time.sleep(0.5)
        self.assertEqual(self.untold(watcher), [])
        watcher.over.set()
        self.remove_all()
        if self.daemon:
            self.expect_nothing_left(before, descriptors)
        self.check_reads()

    # --- what goes wrong meanwhile

    def disturb(self):
        kills = [(at + self.dice.randrange(BETWEEN_KILLS), self.kill) for at in range(0, OPERATIONS, BETWEEN_KILLS)]
        faults = [(at + BETWEEN_FAULTS // 3, self.inject) for at in range(0, OPERATIONS, BETWEEN_FAULTS)]
        if not self.faults.visited():
            print("model: a build without fault points: no faults are injected", file=sys.stderr, flush=True)
            faults = []
        for at, what in sorted(kills + faults, key=lambda each: each[0]):
            if not self.trial.wait_for(at):
                return
            what()

    def kill(self):
        time.sleep(self.dice.random() * 0.2)
        self.trial.alive.clear()
        self.daemon.kill()
        self.daemon.start()
        self.trial.epoch += 1
        self.trial.alive.set()
        self.trial.counts["gruads killed"] += 1

    def inject(self):
        points = self.faults.visited()
        often = self.faults.trace.read_text().splitlines()
        until = self.trial.begun + FAULTY
        while self.trial.begun < min(until, OPERATIONS) and not self.trial.failures and self.trial.left:
            # One at a time: of two at once the second may keep what the first one left from being removed before the next start of gruad.
            point = self.dice.choice(self.dice.choice([points, often]))
            self.trial.faults = f"{point}:{self.dice.choice(FAULT_KINDS)}"
            self.faults.trace.write_text("")
            self.faults.arm(self.trial.faults)
            time.sleep(0.05 + self.dice.random() * 0.15)
            if point in self.faults.visited():
                self.trial.counts["faults injected"] += 1
                self.injected.add(point)
        self.faults.arm("")
        self.trial.pause()
        # What failed in an end or a removal is tried again after five seconds.
        time.sleep(5)
        self.traces.settled()
        self.trial.faults = None
        self.trial.rest += 1
        self.trial.go_on()

    # --- what is there at the end

    def get(self, path):
        status, text = Connection(self.trial.socket).ask("GET", "/v1.51" + path)
        return json.loads(text) if status < 400 else None

    def print_counts(self, took):
        counts = self.trial.counts
        done = {name: counts[name] for name in Client.doings}
        counts["points failed at"] = len(self.injected)
        other = {name: count for name, count in sorted(counts.items()) if name not in done and not name.startswith("shared-")}
        print(f"model: {sum(done.values())} operations in {took:.0f} s: {done}\nmodel: {other}", file=sys.stderr, flush=True)

    def untold(self, watcher):
        """Those whose events are not what the model has."""
        out = []
        for client in self.clients:
            for each in client.ended + client.containers:
                said = told("".join(watcher.seen.get(each.id, [])))
                if not each.is_doubtful and comparable(said) != comparable(each.events):
                    out.append((each.name, said, each.events))
        return out

    def compare_shared(self):
        """Who says what it is: inspect, the list, the last that was told; and no more were made than were removed."""
        listed = {each["Names"][0][1:]: each["State"] for each in self.get(f"/containers/json{query(all=1, filters={'label': ['shared=1']})}")}
        for number in range(SHARED):
            name = f"shared-{number}"
            seen = self.get(f"/containers/{name}/json")
            self.assertEqual(seen["State"]["Status"] if seen else None, listed.get(name), name)
            if not self.trial.counts["shared in doubt"]:
                made, removed = self.trial.counts[f"{name} create"], self.trial.counts[f"{name} remove"]
                self.assertLessEqual(made - removed, 1 if seen else 0, name)
            if seen:
                self.assertIn(seen["State"]["Status"], ("created", "running", "paused", "exited"), seen["State"])
                self.assertEqual(seen["State"]["Pid"] > 0, seen["State"]["Running"], seen["State"])
                if seen["State"]["Pid"] and self.daemon:
                    self.assertTrue(pathlib.Path(f"/proc/{seen['State']['Pid']}").exists())

    def remove_all(self):
        self.make_once()  # The last gruad has not started anything, perhaps.
        ask = Connection(self.trial.socket).ask
        for each in self.get("/containers/json?all=1"):
            status, text = ask("DELETE", f"/containers/{each['Id']}?force=1&v=1")
            self.assertIn(status, (204, 404), text)
        owned = {tag for client in self.clients for tag in client.tags}
        volumes = {name for client in self.clients for name in client.volumes}
        networks = {name for client in self.clients for name in client.networks}
        shown = {tag for each in self.get("/images/json") for tag in each["RepoTags"] if tag.startswith("w")}
        self.assertEqual(shown, owned)
        self.assertEqual({each["Name"] for each in self.get("/volumes")["Volumes"] if each["Name"].startswith("w") and "-v" in each["Name"]}, volumes)
        self.assertEqual({each["Name"] for each in self.get("/networks")} - {"bridge", "host", "none"}, networks)
        for tag in owned:
            status, text = ask("DELETE", f"/images/{tag}")
            self.assertEqual(status, 200, text)
        for name in networks:
            status, text = ask("DELETE", f"/networks/{name}")
            self.assertEqual(status, 204, text)
        status, text = ask("POST", f"/volumes/prune{query(filters={'all': ['true']})}")
        self.assertEqual(status, 200, text)

    def expect_nothing_left(self, before, descriptors):
        self.daemon.grua("system", "gc")
        last = {}

        def is_as_before():
            last.clear()
            last.update(self.traces.differences(before))
            return not last

        try:
            wait_until("all is as it was", is_as_before, 20)
        except AssertionError:
            self.fail(f"seed {SEED}: left behind: {json.dumps(last, indent=1, default=str)[:6000]}\n{self.daemon.tail(15)}")
        self.assertLessEqual(self.daemon.at_rest(), descriptors + MORE_DESCRIPTORS, f"seed {SEED}")

    def check_reads(self):
        every = sorted(took for all_of_kind in self.trial.reads.values() for took in all_of_kind)
        of = lambda taken, part: f"{1000 * sorted(taken)[min(len(taken) - 1, int(len(taken) * part))]:.1f}"
        for kind, taken in [*sorted(self.trial.reads.items()), ("all", every)]:
            print(f"model: {len(taken):6} reads of {kind}: p50 {of(taken, 0.5)} ms, p99 {of(taken, 0.99)} ms, most {1000 * max(taken):.1f} ms", file=sys.stderr, flush=True)
        if not SOCKET:
            self.assertLess(every[int(len(every) * 0.99)], LONGEST_READ * (PATIENCE if SANITIZED else 1), f"seed {SEED}")


if __name__ == "__main__":
    unittest.main()
