#!/usr/bin/env python3
"""A request for each connection, by so many threads for so many seconds: prints the times in µs, in JSON."""

import json
import socket
import sys
import threading
import time

REQUEST = b"GET /1k HTTP/1.1\r\nhost: a\r\n\r\n"


def calls(port, until, times):
    while time.monotonic() < until:
        begun = time.monotonic()
        with socket.create_connection(("127.0.0.1", port), timeout=10) as stream:
            stream.sendall(REQUEST)
            answer = b""
            while part := stream.recv(4096):
                answer += part
        if not answer.startswith(b"HTTP/1.1 200 ") or len(answer) < 1024:
            raise SystemExit(f"the answer is {answer[:100]!r}")
        times.append(int((time.monotonic() - begun) * 1e6))


def main():
    port, threads, seconds = map(int, sys.argv[1:])
    until, times = time.monotonic() + seconds, []
    running = [threading.Thread(target=calls, args=(port, until, times)) for _ in range(threads)]
    for one in running:
        one.start()
    for one in running:
        one.join()
    print(json.dumps(times))


if __name__ == "__main__":
    main()
