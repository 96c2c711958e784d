// Peer: Node's http2 server without TLS, which answers with what it saw.
//
// /seen describes the request; /echo sends the body back and its length as a trailer; /refused refuses
// the first stream that asks for it (REFUSED_STREAM) and answers the next; /sessions tells how many
// connections there were. After 50 streams a session is closed: GOAWAY, and what is under way ends.

import http2 from "node:http2";

let sessions = 0;
let refused = 0;

const server = http2.createServer();
server.on("session", (session) => {
  sessions += 1;
  let streams = 0;
  session.on("stream", () => {
    streams += 1;
    if (streams === 50) session.close();
  });
  session.on("error", () => {});
});

server.on("stream", (stream, headers) => {
  stream.on("error", () => {});
  const answer = (value) => {
    stream.respond({ ":status": 200, "content-type": "application/json" });
    stream.end(JSON.stringify(value));
  };
  switch (headers[":path"].split("?")[0]) {
    case "/seen": {
      let bytes = 0;
      let trailers = {};
      stream.on("data", (chunk) => (bytes += chunk.length));
      stream.on("trailers", (given) => (trailers = { ...given }));
      stream.on("end", () => answer({ headers: { ...headers }, trailers, body_bytes: bytes }));
      break;
    }
    case "/echo": {
      let bytes = 0;
      stream.on("data", (chunk) => (bytes += chunk.length));
      stream.respond({ ":status": 200 }, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers({ "x-length": String(bytes) }));
      stream.pipe(stream);
      break;
    }
    case "/refused":
      refused += 1;
      if (refused === 1) stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
      else answer({ asked: refused });
      break;
    case "/sessions":
      answer({ sessions });
      break;
    default:
      stream.respond({ ":status": 404 }, { endStream: true });
  }
});

server.listen(0, "127.0.0.1", () => console.log(`listening ${server.address().port}`));
// Ends with whoever started it.
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
