#!/bin/sh
# In a network namespace of its own: an application (user 1337), a proxy (user 0), and a cable to a machine far away.
# Prints what each call got, one line each.   capture.sh MESH DIRECTORY
set -eu
PATH=/usr/sbin:/usr/bin:/sbin:/bin
mesh=$1 place=$2
cp "$(dirname "$0")/capture.py" "$place"
cd "$place"
# For the application's user.
chmod 755 . && chmod 644 capture.py
ip link set lo up
unshare --net sleep 120 &
far=$!
trap 'kill $far $(cat pids) 2>/dev/null' EXIT
: >pids
# It has its own namespace a moment after it runs.
until [ "$(readlink "/proc/$far/ns/net")" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
ip link add near type veth peer name far netns "$far"
ip addr add 10.9.0.1/24 dev near
ip -6 addr add fd09::1/64 dev near nodad
ip link set near up
nsenter --net="/proc/$far/ns/net" sh -c "ip link set lo up; ip addr add 10.9.0.5/24 dev far
  ip -6 addr add fd09::5/64 dev far nodad; ip link set far up"
serve() { # NAMESPACE ADDRESS PORT KIND NAME
  nsenter --net="/proc/$1/ns/net" python3 capture.py serve "$2" "$3" "$4" "$5" & echo $! >>pids
}
serve self 127.0.0.1 9001 http reviews
serve self 127.0.0.1 9002 bytes db
serve "$far" :: 80 http far
serve "$far" :: 5432 bytes far
serve "$far" :: 7777 bytes far
serve "$far" :: 22 bytes far
serve "$far" :: 9999 bytes far
serve "$far" :: 9998 first far
"$mesh" iptables --config "$place/mesh.yaml" --user 0 --inbound 8080:8443 | sh
"$mesh" iptables --config "$place/mesh.yaml" --user 0 --exclude-port 22 >rules
sh rules
{ iptables-save -t nat; ip6tables-save -t nat; } >after
echo "rules of before that are left: $(grep -c INBOUND after || true)"
# Once more is the same.
sh rules
"$mesh" proxy --config "$place/mesh.yaml" --access-log "$place/lines.log" >proxy.log 2>&1 & echo $! >>pids
ask() { # WHAT HOW ADDRESS PORT [NAME]
  printf '%s: ' "$1"
  shift
  setpriv --reuid 1337 --regid 1337 --clear-groups python3 capture.py "$@"
}
ask 'by its name' http 10.9.0.66 80 reviews
ask 'by its name, another port' http 10.9.0.66 8080 reviews
ask 'by its name, IPv6' http fd09::66 80 reviews
ask 'a name that nobody knows' http 10.9.0.5 80 far.example
ask 'a name that nobody knows, IPv6' http fd09::5 80 far.example
ask 'a port of a cluster' bytes 10.9.0.66 5432
ask 'an address of a cluster' bytes 10.9.0.66 7777
ask 'any other address' bytes 10.9.0.5 7777
ask 'found to be HTTP' http 10.9.0.66 9999 reviews
ask 'found to be bytes' bytes 10.9.0.5 9999
ask 'found to be TLS' tls 10.9.0.5 9999
ask 'found to wait' silence 10.9.0.5 9998
ask 'a port that is excluded' bytes 10.9.0.5 22
ask 'a tunnel, by a proxy elsewhere' connect 10.9.0.66 3128 '[fd09::5]:22'
printf 'the proxy itself: '
python3 capture.py http 10.9.0.5 80 reviews
printf 'to the port itself, HTTP: '
python3 capture.py http 127.0.0.1 15001 reviews
printf 'to the port itself, bytes: '
python3 capture.py bytes 127.0.0.1 15003
printf 'to the port itself, found to be bytes: '
python3 capture.py bytes 127.0.0.1 15004
# They are written a moment after it is over.
sleep 1
echo "their lines: $(grep -c '"- - -" 0 NR ' lines.log || true)"
sed -i 's/^unknown_hosts: passthrough/unknown_hosts: refuse/' mesh.yaml
kill -HUP "$(tail -n 1 pids)"
sleep 1
ask 'refused, HTTP' http 10.9.0.5 80 far.example
ask 'refused, bytes' bytes 10.9.0.5 7777
ask 'refused, found to be bytes' bytes 10.9.0.5 9999
"$mesh" iptables --config "$place/mesh.yaml" --user 0 --undo | sh
{ iptables-save -t nat; ip6tables-save -t nat; } >after
echo "rules that are left: $(grep -c MESH after || true)"
ask 'captured no more' http 10.9.0.5 80 reviews
