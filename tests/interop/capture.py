"""Servers that say who they are and whom they were asked for, and clients that print it: plain sockets, no libraries."""

import socket
import sys
import threading
import time


def answer(stream, kind, name):
    with stream:
        if kind == "first":
            return stream.sendall(f"{name} spoke first".encode())
        said = stream.recv(4096)
        if kind == "http":
            host = [line.split(b": ", 1)[1] for line in said.split(b"\r\n") if line.lower().startswith(b"host: ")]
            body = f"{name} for {host[0].decode() if host else '-'}".encode()
            stream.sendall(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        elif said:
            stream.sendall(f"{name} heard ".encode() + said)


def serve(address, port, kind, name):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, int(port)))
    listener.listen()
    while True:
        threading.Thread(target=answer, args=(listener.accept()[0], kind, name), daemon=True).start()


def ask(kind, address, port, name=""):
    stream = None
    # Whoever is asked may have begun just now.
    until = time.monotonic() + 10
    while stream is None:
        try:
            stream = socket.create_connection((address, int(port)), 10)
        except ConnectionRefusedError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
    if kind == "connect":
        stream.sendall(f"CONNECT {name} HTTP/1.1\r\nhost: {name}\r\n\r\n".encode())
        head = stream.recv(4096)
        if b" 200 " not in head:
            return head.decode()
        kind = "bytes"
    said = {"bytes": b"hello", "tls": b"\x16\x03\x01", "silence": b""}
    http = f"GET / HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n".encode()
    stream.sendall(said.get(kind, http))
    heard = b""
    try:
        while part := stream.recv(4096):
            heard += part
    except ConnectionResetError:
        pass
    if kind in said:
        return repr(heard)[2:-1] or "closed"
    head, _, body = heard.decode().partition("\r\n\r\n")
    status = head.split(" ")[1] if " " in head else "-"
    return f"{status} {body}" if status == "200" else status


if sys.argv[1] == "serve":
    serve(*sys.argv[2:])
else:
    print(ask(*sys.argv[1:]), flush=True)
