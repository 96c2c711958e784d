"""What else goes through the same proxies: large files, trailers, WebSocket, gRPC."""

import hashlib
import itertools
import json
import queue
import socket
import struct

import grpc
import httpx
from google.protobuf.wrappers_pb2 import StringValue
from websockets.sync.client import connect

CUSTOMER = "spiffe://polyglot.example/customer"
BLOCK = 65536


def photo(length):
    """What reviews makes of it, too: blocks that begin with their number."""
    for number in range(length // BLOCK):
        yield struct.pack(">I", number) + bytes([number % 256]) * (BLOCK - 4)


def upload(port, length):
    hash = hashlib.sha256()

    def body():
        for block in photo(length):
            hash.update(block)
            yield block

    with httpx.Client(proxy=f"http://127.0.0.1:{port}", timeout=30) as client:
        answer = client.put("http://reviews/photos", content=body()).raise_for_status().json()
    return answer == {"bytes": length, "sha256": hash.hexdigest()}


def download(port, length):
    blocks, same, pending, received = photo(length), True, b"", 0
    with httpx.Client(proxy=f"http://127.0.0.1:{port}", timeout=30) as client:
        with client.stream("GET", f"http://reviews/photos/{length}") as answer:
            answer.raise_for_status()
            for chunk in answer.iter_bytes():
                received += len(chunk)
                pending += chunk
                while len(pending) >= BLOCK:
                    same = same and pending[:BLOCK] == next(blocks, None)
                    pending = pending[BLOCK:]
    return same and received == length and not pending


def trailers(port):
    """Chunks there and back with trailers both ways, written by hand: few clients show them."""
    with socket.create_connection(("127.0.0.1", port), 10) as stream:
        head = "POST http://ratings/count HTTP/1.1\r\nHost: ratings\r\nTE: trailers\r\nConnection: close, TE\r\n"
        head += "Transfer-Encoding: chunked\r\nTrailer: X-Say\r\n\r\n"
        stream.sendall(head.encode() + b"5\r\nhello\r\n7\r\n, world\r\n0\r\nX-Say: over\r\n\r\n")
        stream.settimeout(10)
        got = b"".join(itertools.takewhile(bool, (stream.recv(BLOCK) for _ in range(1000))))
    head, _, rest = got.partition(b"\r\n\r\n")
    ending = {line.lower() for line in rest.partition(b"0\r\n")[2].split(b"\r\n") if line}
    return head.startswith(b"HTTP/1.1 200") and ending == {b"x-length: 12", b"x-said: over"}


def websocket(**way):
    """Texts and bytes, small and large, are said back; who we are is known."""
    with connect("ws://reviews/live", open_timeout=10, max_size=1 << 21, **way) as live:
        hello = json.loads(live.recv(10))
        messages = ["", "hello", "ü" * 1000, bytes(range(256)), b"x" * (1 << 20)]
        for message in messages:
            live.send(message)
        return hello["caller"] == CUSTOMER and [live.recv(10) for _ in messages] == messages


def rpc(port):
    """Unary, and a stream both ways: each message goes when the one before it is back."""
    coding = {"request_serializer": StringValue.SerializeToString, "response_deserializer": StringValue.FromString}
    options = [("grpc.default_authority", "ratings"), ("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        caller = channel.unary_unary("/polyglot.Ratings/Caller", **coding)
        answer = caller(StringValue(value="hello"), timeout=10).value
        turns = queue.SimpleQueue()
        says = (StringValue(value=text) for text in iter(turns.get, None))
        call = channel.stream_stream("/polyglot.Ratings/Echo", **coding)(says, timeout=10)
        heard = []
        turns.put("0")
        for message in call:
            heard.append(message.value)
            turns.put(str(len(heard)) if len(heard) < 100 else None)
        counted = dict(call.trailing_metadata()).get("x-count")
    return answer == f"hello {CUSTOMER}" and heard == [str(n) for n in range(100)] and counted == "100"


def ways(port, mebibytes):
    """What goes through, and whether it did as it should."""
    return {
        f"{mebibytes} MiB up": lambda: upload(port, mebibytes << 20),
        f"{mebibytes} MiB down": lambda: download(port, mebibytes << 20),
        "trailers both ways": lambda: trailers(port),
        "WebSocket by upgrade": lambda: websocket(sock=socket.create_connection(("127.0.0.1", port), 10)),
        "WebSocket by CONNECT": lambda: websocket(proxy=f"http://127.0.0.1:{port}"),
        "gRPC, unary and both ways": lambda: rpc(port),
    }


def run(port, mebibytes):
    """`True` of each, or what went wrong."""
    answers = {}
    for name, way in ways(port, mebibytes).items():
        try:
            answers[name] = way() or "something else came out"
        except Exception as error:
            answers[name] = f"{type(error).__name__}: {error}"
    return answers
