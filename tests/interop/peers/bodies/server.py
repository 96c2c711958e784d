"""Takes bodies and makes them: POST /sink answers what came, GET /source/SIZE sends SIZE bytes; see ../README.md."""

import hashlib
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pattern import pattern


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def pieces(self):
        """The request's body; its trailers are left in `self.sum`."""
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            while (line := self.rfile.readline().strip()) != b"":
                name, _, value = line.partition(b":")
                if name.lower() == b"x-sum":
                    self.sum = value.strip().decode()
            return
        left = int(self.headers.get("content-length", 0))
        while left:
            piece = self.rfile.read(min(left, 1 << 16))
            left -= len(piece)
            yield piece

    def do_POST(self):
        self.sum, digest, size = "-", hashlib.sha256(), 0
        for piece in self.pieces():
            digest.update(piece)
            size += len(piece)
        text = f"{digest.hexdigest()} {size} {self.sum}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        path, _, query = self.path.partition("?")
        size, digest = int(path.rsplit("/", 1)[1]), hashlib.sha256()
        is_chunked = query == "chunked"
        self.send_response(200)
        if is_chunked:
            self.send_header("transfer-encoding", "chunked")
            self.send_header("trailer", "x-sum")
        else:
            self.send_header("content-length", str(size))
        self.end_headers()
        for piece in pattern(size):
            digest.update(piece)
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
        if is_chunked:
            self.wfile.write(f"0\r\nx-sum: {digest.hexdigest()}\r\n\r\n".encode())

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
print("listening", server.server_port, flush=True)
# Ends with whoever started it.
sys.stdin.read()
