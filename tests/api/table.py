#!/usr/bin/env python3
"""The table of the Engine API: what its description names (names.txt), what gruad says that it reads (GET /grua/api), and what is said of
each (rows.txt), joined. `table.py SOCKET > docs/api.md` prints the page from a gruad that runs."""

import dataclasses
import http.client
import json
import pathlib
import re
import socket
import sys

HERE = pathlib.Path(__file__).resolve().parent
SIGNS = {"?": "query", ":": "filter", "@": "header"}
STATES = ("works", "refused", "inert", "unread", "answer")
# Where fields of one document stand in another: what is said of them once holds there, too.
SAME = {("POST", "/containers/{id}/update"): [("", ("POST", "/containers/create"), "HostConfig.")],
        ("POST", "/commit"): [("", ("POST", "/containers/create"), "")],
        ("POST", "/networks/{id}/connect"): [("EndpointConfig.", ("POST", "/containers/create"), "NetworkingConfig.EndpointsConfig{}.")]}
# Their fields are read by the registry's own parser.
BY_HAND = {("POST", "/auth")}
SWARM = ("swarm", "nodes", "services", "tasks", "secrets", "configs")


@dataclasses.dataclass
class Row:
    state: str
    beyond: bool  # the description does not have it
    text: str
    wrong: list = dataclasses.field(default_factory=list)  # (request, statuses, text)


def read_names():
    """{(method, path, kind, name): (first, last)}"""
    out = {}
    for line in (HERE / "names.txt").read_text().splitlines():
        *key, first, last = line.split(" ")
        out[tuple(key)] = int(first), int(last)
    return out


def read_rows():
    """{(method, path, kind, name): Row}, in the file's order."""
    out, title, row = {}, None, None
    for number, line in enumerate((HERE / "rows.txt").read_text().splitlines(), 1):
        if not line.strip() or line.startswith("# ") or line == "#":
            continue
        if line.startswith("  ! "):
            request, _, answer = line[4:].partition("=>")
            statuses, _, text = answer.strip().partition(" ")
            if statuses:
                row.wrong.append((request.strip(), [int(each) for each in statuses.split("|")], text))
            continue
        name, state, text = (part.strip() for part in line.split("|", 2))
        row = Row(state.rstrip("+"), state.endswith("+"), text)
        if row.state not in STATES:
            raise AssertionError(f"rows.txt:{number}: {state}")
        if name.startswith("## "):
            method, path = name[3:].split(" ", 1)
            title, key = (method, path), (method, path, "op", "-")
        else:
            kind = SIGNS.get(name[0], "body")
            key = (*title, kind, name[1:] if kind != "body" else name)
        if key in out:
            raise AssertionError(f"rows.txt:{number}: {' '.join(key)} stands there twice")
        out[key] = row
    return out


def read_facts(operations):
    """What the code reads: {(method, path, kind, name): (since, type)}; and the operations that have no handler."""
    out, unbuilt = {}, set()
    for each in operations:
        title = each["Method"], each["Path"].replace("*}", "}")
        if title[1] == "/networks/":  # another form of the same
            continue
        out[(*title, "op", "-")] = each["Since"], ""
        if not each["Implemented"]:
            unbuilt.add(title)
        for part, kind in (("Parameters", "query"), ("Filters", "filter"), ("Body", "body")):
            for name in each[part]:
                out[(*title, kind, name["Name"])] = name["Since"], name.get("Type", "")
    return out, unbuilt


def row_of(rows, key):
    """The row of a name, its own, that of a document which it is part of, or that of a group."""
    if key in rows:
        return rows[key]
    method, path, kind, name = key
    if kind == "op" and path.split("/")[1] in SWARM:
        return next((row for (m, p, _, _), row in rows.items() if m == "*" and f"/{path.split('/')[1]}" in p.split()), None)
    if kind != "body":
        return None
    for here, there, place in SAME.get((method, path), ()):
        if name.startswith(here):
            found = rows.get((*there, kind, place + name[len(here):]))
            if found:
                return found
    return next((row for (m, p, k, n), row in rows.items() if (m, p, k) == key[:3] and n.endswith("*") and name.startswith(n[:-1])), None)


def titles(rows):
    return [key[:2] for key in rows if key[2] == "op" and key[0] != "*"]


def since_text(since):
    return "" if since <= 24 else f"1.{since}"


def cell(text):
    return text.replace("|", "\\|").replace("<", "&lt;")


def page(operations):
    names, rows = read_names(), read_rows()
    facts, unbuilt = read_facts(operations)
    out = [(HERE / "head.md").read_text().rstrip(), ""]
    swarm = sorted(f"{method} {path}" for method, path, kind, _ in facts if kind == "op" and path.split("/")[1] in SWARM and (method, path, "op", "-") not in rows)
    for (method, path, kind, name), row in rows.items():
        key = (method, path, kind, name)
        if kind == "op":
            if method == "*":
                out += ["", "### A swarm's operations", "", f"{row.text}: " + ", ".join(f"`{each}`" for each in swarm) + "."]
                continue
            since = max(facts.get(key, (24, ""))[0], names.get(key, (24, 0))[0])
            say = "Not implemented" if row.state == "refused" else (row.text[:1].upper() + row.text[1:]) if row.text else ""
            note = [say] if say else []
            if row.state == "refused":
                note = [f"Not implemented: {row.text}" if row.text else say]
                unread = sorted(n for m, p, k, n in names if (m, p) == (method, path) and k in ("query", "filter", "body", "header"))
                if unread:
                    note.append("so nobody reads " + ", ".join(f"`{each}`" for each in unread))
            if since > 24:
                note.append(f"since 1.{since}")
            if row.beyond and not row.text.startswith("grua's own"):
                note.append("not in the description")
            out += ["", f"### {method} {path}", ""]
            if note:
                out.append("; ".join(note) + ".")
            below = [other for other in rows if other[:2] == (method, path) and other[2] != "op"]
            same = [(here, place) for here, there, place in SAME.get((method, path), ())]
            if same:
                told = sorted(n for m, p, k, n in facts if (m, p, k) == (method, path, "body") and (m, p, k, n) not in rows)
                out += ["", f"As in `POST /containers/create`{' below `' + same[0][1].rstrip('.') + '`' if same[0][1] else ''}: " +
                        ", ".join(f"`{each}`" for each in told) + "."]
            if below:
                out += ["", "| name | since | type | what it does | when it is wrong |", "| --- | --- | --- | --- | --- |"]
            continue
        since, what = facts.get(key, (24, ""))
        first, last = names.get(key, (24, 51))
        what = what or {"query": "", "filter": "", "header": "header"}.get(kind, "")
        since = since_text(max(since, first)) + (f" to 1.{last}" if last < 51 else "")
        state = {"works": "", "refused": "**not implemented**", "inert": "**no effect**", "unread": "**not read**", "answer": "only in answers"}[row.state]
        text = ": ".join(part for part in (state, row.text) if part)
        wrong = "<br>".join(f"{'/'.join(map(str, statuses))} `{text_}`" for _, statuses, text_ in row.wrong)
        shown = {"query": f"`?{name}`", "filter": f"`filters.{name}`", "header": f"`{name}`"}.get(kind, f"`{name}`")
        out.append(f"| {shown} | {since} | {what} | {cell(text)} | {wrong.replace('|', chr(92) + '|')} |")
    return "\n".join(out) + "\n"


def main(path):
    connection = http.client.HTTPConnection("gruad")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(path)
    connection.request("GET", "/grua/api")
    sys.stdout.write(page(json.loads(connection.getresponse().read())))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
