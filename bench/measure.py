"""Medians of commands that take turns within one run, against a yardstick, for people and as JSON.

Times on a busy machine drift; so every round runs each contender once, and only ratios of one run are compared.
"""

import json
import os
import statistics
import sys
import time

NULL = os.open(os.devnull, os.O_RDWR)


def once(words, environment=None):
    """Seconds from spawn to reaped; raises where the command fails."""
    actions = [(os.POSIX_SPAWN_DUP2, NULL, fd) for fd in (0, 1, 2)]
    started = time.perf_counter()
    pid = os.posix_spawn(words[0], [str(word) for word in words], environment or os.environ, file_actions=actions)
    _, status = os.waitpid(pid, 0)
    took = time.perf_counter() - started
    if status != 0:
        raise RuntimeError(f"{' '.join(map(str, words))}: exit {os.waitstatus_to_exitcode(status)}")
    return took


def alternate(contenders, rounds):
    """`contenders`: name → function that returns seconds. Returns name → list of seconds."""
    times = {name: [] for name in contenders}
    for name, measure in contenders.items():
        measure()  # what is loaded for the first time is not what is compared
    for _ in range(rounds):
        for name, measure in contenders.items():
            times[name].append(measure())
    return times


class Report:
    def __init__(self, title):
        self.title, self.sections = title, []

    def add(self, section, times, reference):
        rows = {name: {"median_ms": statistics.median(values) * 1000, "p90_ms": sorted(values)[int(len(values) * 0.9)] * 1000, "n": len(values)}
                for name, values in times.items()}
        for row in rows.values():
            row["ratio"] = row["median_ms"] / rows[reference]["median_ms"]
        self.sections.append({"section": section, "reference": reference, "rows": rows})
        if "--json" not in sys.argv:
            print(f"\n{section}")
            for name, row in rows.items():
                print(f"  {name:<44} {row['median_ms']:9.2f} ms   p90 {row['p90_ms']:9.2f}   x {row['ratio']:6.2f} of {reference}   n={row['n']}")
            sys.stdout.flush()

    def finish(self):
        if "--json" in sys.argv:
            print(json.dumps({"bench": self.title, "sections": self.sections}, indent=2))
