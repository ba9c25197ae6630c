#!/usr/bin/env python3
"""The names that the Engine API's own description knows, extracted: operations, parameters, filters and fields of bodies.

    tests/api/extract_names.py FOLDER > tests/api/names.txt

FOLDER holds moby's api/docs/v1.24.md and v1.25.yaml to v1.51.yaml (python3-yaml reads them). A line is

    METHOD PATH KIND NAME FIRST LAST

KIND is op, path, query, header, filter or body; NAME of a field is its place: "Mounts[].Type", "PortBindings{}[].HostIp";
FIRST and LAST are minor versions of the API. Names only: what they mean is said in docs/api.md. Of a swarm's operations there are no further
names, because a host outside a swarm reads none of them.
"""

import pathlib
import re
import sys

import yaml

OLDEST, NEWEST = 24, 51
SWARM = ("swarm", "nodes", "services", "tasks", "secrets", "configs")
METHODS = ("get", "head", "post", "put", "delete")
# A line of a description that names a filter: "- `name=(value)`", "- `label!=<key>` …", "- `dangling=<boolean>`".
FILTER = re.compile(r"^\s*[-*]\s+`?([a-z][a-zA-Z_-]*!?)`?\s*(?:[=:<(]|`|\s*$)", re.M)


def fields(spec, schema, place, seen, out):
    """Each member below a schema, by its place."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        if name in seen:
            return
        return fields(spec, spec["definitions"][name], place, seen | {name}, out)
    for part in schema.get("allOf", ()):
        fields(spec, part, place, seen, out)
    for name, member in schema.get("properties", {}).items():
        out.add(f"{place}.{name}" if place else name)
        fields(spec, member, f"{place}.{name}" if place else name, seen, out)
    if isinstance(schema.get("items"), dict):
        fields(spec, schema["items"], place + "[]", seen, out)
    if isinstance(schema.get("additionalProperties"), dict):
        fields(spec, schema["additionalProperties"], place + "{}", seen, out)


def names_of(spec):
    """(method, path, kind, name) of all that one version's description names."""
    for path, item in spec["paths"].items():
        for method in METHODS:
            operation = item.get(method)
            if operation is None:
                continue
            title = (method.upper(), path)
            yield *title, "op", "-"
            if path.split("/")[1] in SWARM:
                continue
            for parameter in [*item.get("parameters", ()), *operation.get("parameters", ())]:
                where = parameter["in"]
                if where == "body":
                    out = set()
                    fields(spec, parameter["schema"], "", frozenset(), out)
                    yield from ((*title, "body", name) for name in out)
                    continue
                yield *title, where, parameter["name"]
                if parameter["name"] == "filters":
                    text = parameter.get("description", "")
                    yield from ((*title, "filter", name) for name in FILTER.findall(text))
                    yield from ((*title, "filter", name) for name in re.findall(r"\b(\w+!)=", text))


def main(folder):
    found = {}
    for minor in range(OLDEST + 1, NEWEST + 1):
        spec = yaml.load((folder / f"v1.{minor}.yaml").read_text(), Loader=yaml.CSafeLoader)
        for name in names_of(spec):
            first, _ = found.get(name, (minor, minor))
            found[name] = (first, minor)
    # 1.24 is described in prose: a name is as old where its word stands there.
    oldest = (folder / f"v1.{OLDEST}.md").read_text()
    words = set(re.findall(r"[\w-]+!?", oldest))
    titles = {(method, re.sub(r"\([^)]*\)|\{[^}]*\}", "{}", path)) for method, path in re.findall(r"`(GET|HEAD|POST|PUT|DELETE) (/[^`]*)`", oldest)}
    for (method, path, kind, name), (first, last) in sorted(found.items()):
        if first == OLDEST + 1:
            there = (method, re.sub(r"\{[^}]*\}", "{}", path)) in titles if kind == "op" else re.split(r"[.\[{]", name.rstrip("[]{}"))[-1] in words
            first = OLDEST if there or kind == "path" else first
        print(method, path, kind, name, first, last)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))
