"""Sends messages to mesh.interop.Peer's Bidi, by gRPC's C core: client_grpc.py ADDRESS SIZE...; says what client.py does."""

import hashlib
import json
import sys

import grpc
from google.protobuf.wrappers_pb2 import StringValue

address, *sizes = sys.argv[1:]
options = [("grpc.max_receive_message_length", -1), ("grpc.enable_http_proxy", 0)]
with grpc.insecure_channel(address, options) as channel:
    bidi = channel.stream_stream(
        "/mesh.interop.Peer/Bidi", StringValue.SerializeToString, StringValue.FromString
    )
    for size in map(int, sizes):
        text = "".join(chr(97 + at * 7 % 26) for at in range(min(size, 65521))) * (size // 65521 + 1)
        message = StringValue(value=text[:size])
        call = bidi(iter([message, message]), timeout=120)
        back = [hashlib.sha256(answer.value.encode()).hexdigest() for answer in call]
        trailers = dict(call.trailing_metadata())
        sent = hashlib.sha256(message.value.encode()).hexdigest()
        sink = f"{back[0]} {len(message.value)} -"
        print(json.dumps({"size": size, "sent": sent, "sink": sink, "got": back[1], "count": trailers["x-count"]}))
