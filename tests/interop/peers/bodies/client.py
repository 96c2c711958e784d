"""Sends bodies to a server of ../README.md and takes them from it: client.py LIBRARY URL SIZE...

Says a JSON object a line: `size`, `how` (length, chunked), `sent` and `got` (SHA-256), `sink`: what the server says.
"""

import hashlib
import json
import socket
import sys
import threading

from pattern import pattern


def sha(pieces):
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


class Sized:
    """A body with a length that is read in pieces."""

    def __init__(self, size):
        self.pieces, self.left, self.len = pattern(size), b"", size

    def __len__(self):
        return self.len

    def read(self, most=-1):
        while most < 0 or len(self.left) < most:
            piece = next(self.pieces, b"")
            if not piece:
                break
            self.left += piece
        most = len(self.left) if most < 0 else most
        taken, self.left = self.left[:most], self.left[most:]
        return taken


def by_requests(url):
    import requests

    session = requests.Session()
    session.trust_env = False

    def send(size, how):
        data = pattern(size) if how == "chunked" else Sized(size) if size else b""
        answer = session.post(f"{url}/sink", data=data, timeout=120)
        answer.raise_for_status()
        return answer.text

    def take(size, how):
        with session.get(f"{url}/source/{size}?{how}", stream=True, timeout=120) as answer:
            answer.raise_for_status()
            return sha(answer.iter_content(1 << 16))

    return send, take


def by_httpx(url, **versions):
    import httpx

    client = httpx.Client(trust_env=False, timeout=120, **versions)

    def send(size, how):
        headers = {} if how == "chunked" else {"content-length": str(size)}
        answer = client.post(f"{url}/sink", content=pattern(size), headers=headers)
        answer.raise_for_status()
        return answer.text

    def take(size, how):
        with client.stream("GET", f"{url}/source/{size}?{how}") as answer:
            answer.raise_for_status()
            return sha(answer.iter_raw())

    return send, take


def by_upgrade(url):
    """What is sent back once the server has agreed to another protocol."""
    host, port = url.removeprefix("http://").split(":")

    def send(size, how):
        with socket.create_connection((host, int(port)), timeout=120) as stream:
            stream.sendall(b"GET / HTTP/1.1\r\nHost: node\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
            reader = stream.makefile("rb")
            status = reader.readline().split()[1]
            assert status == b"101", status
            while reader.readline().strip():
                pass

            def write():
                for piece in pattern(size):
                    stream.sendall(piece)
                stream.shutdown(socket.SHUT_WR)

            writer = threading.Thread(target=write)
            writer.start()
            digest, length = hashlib.sha256(), 0
            while piece := reader.read(1 << 16):
                digest.update(piece)
                length += len(piece)
            writer.join()
            return f"{digest.hexdigest()} {length} -"

    return send, lambda size, how: sha(pattern(size))


LIBRARIES = {
    "requests": by_requests,
    "httpx": by_httpx,
    "httpx-h2": lambda url: by_httpx(url, http1=False, http2=True),
    "upgrade": by_upgrade,
}

library, url, *sizes = sys.argv[1:]
send, take = LIBRARIES[library](url)
for size in map(int, sizes):
    for how in ("length", "chunked"):
        said = {"size": size, "how": how, "sent": sha(pattern(size))}
        said["sink"], said["got"] = send(size, how), take(size, how)
        print(json.dumps(said), flush=True)
