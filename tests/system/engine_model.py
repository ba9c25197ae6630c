"""What Docker answers to one client that owns its containers, and what they are after it. No engine is asked here.

Each method of Container is one request: it returns the status of the answer and changes the container as the request does. What follows by
itself - the end of a program, a restart by policy, a removal with the exit - has then followed as well, so that what is here is what an
engine shows once it has come to rest. The rules are those of moby v28.5's daemon, and were run beside dockerd; where gruad's status is
another on purpose, docs/api.md says so.
"""

import copy
import dataclasses
import signal

KILL = int(signal.SIGKILL)
# Where gruad's answer is another than dockerd's on purpose (docs/api.md); the model speaks of either.
GRUA = {"unpause what is not paused": 409, "restart what cannot start": 400, "only the stop signal is one": True}
DOCKERD = {"unpause what is not paused": 500, "restart what cannot start": 500, "only the stop signal is one": False}
engine = GRUA


@dataclasses.dataclass(frozen=True)
class Program:
    """`hears`: the first process dies of signals, as it is not the first of its namespace. `code`: it ends by itself with it."""
    command: tuple
    hears: bool = False
    code: int | None = None
    is_absent: bool = False
    talks: bool = False
    stop_signal: int = int(signal.SIGTERM)
    config: tuple = ()
    host: tuple = ()

    def runs_on(self):
        return self.code is None and not self.is_absent

    def dies_of(self, number):
        return number == KILL or (self.hears and number not in (int(signal.SIGWINCH), int(signal.SIGCONT)))


SLEEP = ("sleep", "1000000")
PROGRAMS = {
    "sleeper": Program(SLEEP),
    "talker": Program(("sh", "-c", "echo out; echo err >&2; exec sleep 1000000"), talks=True),
    "terminal": Program(SLEEP, config=(("Tty", True),)),
    "with init": Program(SLEEP, hears=True, host=(("Init", True),)),
    "own stop signal": Program(SLEEP, hears=True, stop_signal=int(signal.SIGUSR1), config=(("StopSignal", "SIGUSR1"),), host=(("Init", True),)),
    "healthy": Program(SLEEP, config=(("Healthcheck", {"Test": ["CMD", "true"], "Interval": 3_000_000_000}),)),
    "ends well": Program(("true",), code=0),
    "ends": Program(("sh", "-c", "exit 3"), code=3),
    "absent": Program(("/nosuch",), is_absent=True),
}
SIGNALS = {"KILL": 9, "TERM": 15, "HUP": 1, "USR1": 10, "WINCH": 28}


@dataclasses.dataclass
class Container:
    name: str
    id: str
    program: Program
    policy: str = "no"
    most: int = 0  # restarts, of on-failure
    auto_remove: bool = False
    memory: int = 0
    mounts: frozenset = frozenset()  # names of volumes
    networks: set = dataclasses.field(default_factory=set)
    network_mode: str = "bridge"
    files: dict = dataclasses.field(default_factory=dict, repr=False)

    status: str = "created"  # or running, paused, exited, gone
    code: int = 0
    restarts: int = 0
    by_user: bool | None = False  # stopped; None: who knows
    is_cancelled: bool = False  # until the next start no policy restarts it
    pid: int | None = None  # once seen in this run
    pending: int = 0  # a signal that waits for the end of a pause
    lines: list = dataclasses.field(default_factory=lambda: [0, 0])  # at least, at most
    events: list = dataclasses.field(default_factory=lambda: ["create"])
    is_open: bool = False  # what was asked for has no answer yet
    is_doubtful: bool = False  # something was lost: its events are not compared any more

    def copy(self):
        return copy.deepcopy(self)

    @property
    def is_up(self):
        return self.status in ("running", "paused")

    @property
    def is_gone(self):
        return self.status == "gone"

    # --- what happens inside

    def run(self):
        self.status, self.pid, self.pending = "running", None, 0
        self.events.append("start")
        if self.program.talks:
            self.lines[1] += 1
        if self.program.code is not None:
            self.end(self.program.code)

    def wants_restart(self, code):
        if self.policy == "no" or self.by_user and (self.is_cancelled or self.policy == "unless-stopped"):
            return False
        return self.policy != "on-failure" or (code != 0 and (self.most == 0 or self.restarts < self.most))

    def end(self, code, is_restart=False):
        self.status, self.code, self.pid, self.pending = "exited", code, None, 0
        self.events.append("die")
        if is_restart:
            return
        if self.wants_restart(code):
            self.restarts += 1
            self.run()
        elif self.auto_remove:
            self.go()

    def go(self):
        self.status = "gone"
        self.events.append("destroy")

    def start_anew(self):
        self.by_user, self.is_cancelled, self.restarts = False, False, 0
        if not self.program.is_absent:
            self.run()
            return True
        self.code = 127
        if self.auto_remove:
            self.go()
        return False

    def signal(self, number):
        self.events.append(f"kill:{number}")

    def stop_running(self, number, is_restart=False):
        number = number or self.program.stop_signal
        self.signal(number)
        if self.status == "paused" and number != KILL:
            self.events.append("unpause")
        if not self.program.dies_of(number):
            self.signal(KILL)
            number = KILL
        self.events.append("stop")
        self.end(128 + (self.pending if self.pending and self.pending < number else number), is_restart)

    # --- requests

    def start(self):
        if self.status == "paused":
            return 409
        if self.status == "running":
            return 304
        return 204 if self.start_anew() else 400

    def stop(self, number=None):
        if not self.is_up:
            return 304
        self.by_user = self.is_cancelled = True
        self.stop_running(number)
        return 204

    def restart(self, number=None):
        if self.is_up:
            self.stop_running(number, is_restart=True)
        if not self.start_anew():
            return engine["restart what cannot start"]
        self.events.append("restart")
        return 204

    def kill(self, number):
        if not self.is_up:
            return 409
        self.signal(number)
        is_end = number in (KILL, self.program.stop_signal)
        if not engine["only the stop signal is one"]:
            is_end = is_end or "StopSignal" not in dict(self.program.config)
            self.by_user = True
        if is_end:
            self.by_user = self.is_cancelled = True
        if self.status == "paused":
            if not is_end:
                if self.program.dies_of(number):
                    self.pending = number
                return 204
            if number != KILL:
                self.status = "running"
                self.events.append("unpause")
        if self.program.dies_of(number):
            self.end(128 + number)
        return 204

    def pause(self):
        if self.status != "running":
            return 409
        self.status = "paused"
        self.events.append("pause")
        return 204

    def unpause(self):
        if self.status != "paused":
            return engine["unpause what is not paused"]
        self.status = "running"
        self.events.append("unpause")
        if self.pending:
            self.end(128 + self.pending)
        return 204

    def rename(self, name, is_taken):
        if name == self.name:
            return 400
        if is_taken:
            return 409
        self.name = name
        self.events.append("rename")
        return 204

    def update(self, memory=0, policy=None, most=0):
        if policy not in (None, "no") and self.auto_remove:
            return 409
        if 0 < memory < 6 << 20:
            return 400
        self.memory = memory or self.memory
        if policy:
            self.policy, self.most = policy, most
        self.events.append("update")
        return 200

    def remove(self, force):
        if self.is_up:
            if not force:
                return 409
            self.by_user = self.is_cancelled = True
            self.signal(KILL)
            self.end(128 + KILL)
        if not self.is_gone:
            self.go()
        return 204

    def looked_at(self, event, needs_program=False):
        """Requests that change nothing and are told of."""
        if needs_program and not self.is_up:
            return 409
        self.events.append(event)
        return 200

    # --- from outside

    def killed_outside(self):
        self.end(128 + KILL)

    def monitor_killed(self):
        """grua's own: what nobody has seen the end of."""
        self.end(255)

    def engine_came_back(self):
        """Nothing of it ended; what is to start with the engine has started."""
        self.is_doubtful = True
        if self.status != "exited":
            return  # What never ran is not started.
        if self.policy == "always" or (self.policy == "unless-stopped" and not self.by_user):
            self.start_anew()


def comparable(events):
    """In their order but for what the engines tell beside each other: stop and unpause come before or after the end that they follow from,
    restart before or after the end of what ends at once."""
    loose = ("stop", "unpause", "restart")
    return [each for each in events if each not in loose], {each: events.count(each) for each in loose}
