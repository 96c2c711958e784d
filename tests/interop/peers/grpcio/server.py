"""Peer: grpcio's server, which answers with what it saw. It is mesh.interop.Peer; see ../README.md.

With --xds PORT it serves when, and as, the control plane of GRPC_XDS_BOOTSTRAP says; with --secure, too, by the
TLS that it says, and in no other way.
"""

import argparse
import json
import sys
import time
from concurrent import futures

import grpc
from google.protobuf.wrappers_pb2 import StringValue


def seen(context, message):
    metadata = {}
    for name, value in context.invocation_metadata():
        value = value.hex() if isinstance(value, bytes) else value
        metadata[name] = f"{metadata[name]},{value}" if name in metadata else value
    remaining = context.time_remaining()
    # Without a deadline, grpcio says None or centuries.
    bounded = remaining is not None and remaining < 1e9
    return {
        "metadata": metadata,
        "message": message,
        "remaining_ms": int(remaining * 1000) if bounded else None,
        "peer": [name.decode() for name in context.auth_context().get("peer_spiffe_id", [])],
    }


def unary(request, context):
    given = dict(context.invocation_metadata())
    context.send_initial_metadata((("x-initial", "seen"),))
    context.set_trailing_metadata((("x-trailing", "seen"), ("x-bytes-bin", b"\x00\xff")))
    if "x-fail" in given:
        code = next(code for code in grpc.StatusCode if code.value[0] == int(given["x-fail"]))
        context.abort(code, "über 100% of it")
    if "x-sleep-ms" in given:
        time.sleep(int(given["x-sleep-ms"]) / 1000)
    return StringValue(value=json.dumps(seen(context, request.value)))


def bidi(requests, context):
    count = 0
    for request in requests:
        count += 1
        yield StringValue(value=request.value)
    context.set_trailing_metadata((("x-count", str(count)),))


def handler(make, behaviour):
    return make(
        behaviour,
        request_deserializer=StringValue.FromString,
        response_serializer=StringValue.SerializeToString,
    )


arguments = argparse.ArgumentParser(description=__doc__)
arguments.add_argument("--xds", type=int, metavar="PORT")
arguments.add_argument("--secure", action="store_true")
given = arguments.parse_args()
server = grpc.server(futures.ThreadPoolExecutor(max_workers=32), xds=given.xds is not None)
methods = {
    "Unary": handler(grpc.unary_unary_rpc_method_handler, unary),
    "Bidi": handler(grpc.stream_stream_rpc_method_handler, bidi),
}
server.add_generic_rpc_handlers(
    (grpc.method_handlers_generic_handler("mesh.interop.Peer", methods),)
)
address = f"127.0.0.1:{given.xds or 0}"
if given.secure:
    # Without TLS in the listener (gRFC A29), this would be in force.
    unsecured = grpc.insecure_server_credentials()
    port = server.add_secure_port(address, grpc.xds_server_credentials(unsecured))
else:
    port = server.add_insecure_port(address)
server.start()
# An xDS server does not say which port it has: it has none before it may serve.
print("listening", given.xds or port, flush=True)
# Ends with whoever started it.
sys.stdin.read()
server.stop(0)
