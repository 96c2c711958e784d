"""Peer: grpcio as an xDS client of mesh.interop.Peer; see ../README.md.

The control plane is named by GRPC_XDS_BOOTSTRAP or GRPC_XDS_BOOTSTRAP_CONFIG.
"""

import argparse
import base64
import collections
import json
import sys

import grpc
import grpc.experimental
from google.protobuf.wrappers_pb2 import StringValue
from grpc._cython import cygrpc


def pair(text):
    name, found, value = text.partition("=")
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", help="such as xds:///peer.example")
    parser.add_argument("calls", type=int)
    parser.add_argument("--deadline-ms", type=int, default=5000, help="of each call")
    parser.add_argument("--metadata", type=pair, action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--secure", action="store_true", help="by the TLS of the control plane's clusters")
    parser.add_argument("--csds", action="store_true", help="say the bytes of ClientStatusResponse, too")
    parser.add_argument("--stay", action="store_true", help="then take a number of calls from each line of stdin")
    return parser.parse_args()


def run(unary, calls, given):
    """Makes the calls one after the other."""
    answers, statuses, details = collections.Counter(), collections.Counter(), {}
    for _ in range(calls):
        try:
            answer = unary(StringValue(), timeout=given.deadline_ms / 1000, metadata=given.metadata)
        except grpc.RpcError as error:
            statuses[error.code().name] += 1
            details.setdefault(error.code().name, error.details())
        else:
            statuses["OK"] += 1
            answers[json.loads(answer.value).get("address")] += 1
    said = {"answers": answers, "statuses": statuses, "details": details}
    if given.csds:
        # What grpcio-csds serves; its package would need the Python protos of Envoy.
        said["csds"] = base64.b64encode(cygrpc.dump_xds_configs()).decode()
    print(json.dumps(said), flush=True)


given = arguments()


def opened():
    if not given.secure:
        return grpc.insecure_channel(given.target)
    # Without TLS in the cluster (gRFC A29), this would be in force.
    unsecured = grpc.experimental.insecure_channel_credentials()
    return grpc.secure_channel(given.target, grpc.xds_channel_credentials(unsecured))


with opened() as channel:
    unary = channel.unary_unary(
        "/mesh.interop.Peer/Unary",
        request_serializer=StringValue.SerializeToString,
        response_deserializer=StringValue.FromString,
    )
    run(unary, given.calls, given)
    if given.stay:
        for line in sys.stdin:
            run(unary, int(line), given)
