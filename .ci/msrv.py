"""Compares the rust-version of every package in `cargo metadata` (standard input) with ours."""

import json
import sys


def version(text):
    parts = [int(part) for part in text.split(".")]
    return tuple(parts + [0] * (3 - len(parts)))


metadata = json.load(sys.stdin)
members = set(metadata["workspace_members"])
packages = metadata["packages"]
ours = min(version(p["rust_version"]) for p in packages if p["id"] in members)
newer = [p for p in packages if p["rust_version"] and version(p["rust_version"]) > ours]
for package in newer:
    print(f"{package['name']} {package['version']} needs Rust {package['rust_version']}")
silent = sum(1 for p in packages if not p["rust_version"])
wanted = ".".join(map(str, ours))
print(f"{len(packages)} packages: {len(newer)} need more than Rust {wanted}, {silent} do not say")
sys.exit(1 if newer else 0)
