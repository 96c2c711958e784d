"""Whose types are in the public signatures of a crate: its rustdoc JSON against a list of crates.

api.py JSON CRATE...    exit code 1 when there are others, or when one of these is not there
"""

import json
import sys


def references(value):
    """The ids of all types and traits that are named anywhere in `value`."""
    if isinstance(value, list):
        for part in value:
            yield from references(part)
    elif isinstance(value, dict):
        if "id" in value and ("path" in value or "name" in value):
            yield value["id"]
        for key, part in value.items():
            # What it implements by rules of others, and what it contains, is looked at by itself.
            if key not in ("impls", "items", "implementations", "links", "docs", "attrs"):
                yield from references(part)


def is_ours(item):
    """An impl that somebody wrote; not one that follows from others' rules."""
    impl = item["inner"].get("impl")
    return impl is None or not (impl["is_synthetic"] or impl["blanket_impl"])


crate = json.load(open(sys.argv[1]))
allowed = set(sys.argv[2:])
paths, names = crate["paths"], crate["external_crates"]
found = {}
for item in crate["index"].values():
    if item["crate_id"] != 0 or not is_ours(item) or "use" in item["inner"]:
        continue
    for reference in references(item["inner"]):
        path = paths.get(str(reference))
        # What a macro writes into an impl is nobody's to use.
        if path and path["crate_id"] != 0 and "__private" not in path["path"]:
            name = names[str(path["crate_id"])]["name"]
            found.setdefault(name, set()).add("::".join(path["path"]))
standard = {"std", "core", "alloc"}
for name in sorted(set(found) - standard):
    mark = "" if name in allowed else "  NOT ALLOWED"
    print(f"  {name}: {', '.join(sorted(found[name])[:6])}{mark}")
missing = allowed - set(found)
if missing:
    print(f"  allowed, and not there: {', '.join(sorted(missing))}")
sys.exit(1 if missing or set(found) - standard - allowed else 0)
