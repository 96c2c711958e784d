// What people say of products: express. It asks `ratings` by its name, through HTTP_PROXY.
//
// VERSION is what it answers as; PORT is where it listens.
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import express from "express";
import { EnvHttpProxyAgent, fetch } from "undici";
import { WebSocketServer } from "ws";

const { PORT, VERSION } = process.env;
const app = express();
// Each request for itself, and not a tunnel for all of them.
const dispatcher = new EnvHttpProxyAgent({ proxyTunnel: false });

// Who calls, as the server before us has proven it.
const caller = (request) =>
  /URI=([^;,]+)/.exec(request.get("x-forwarded-client-cert") ?? "")?.[1] ?? null;

app.get("/reviews/:product", async (request, response) => {
  const answer = await fetch(`http://ratings/ratings/${request.params.product}`, { dispatcher });
  const ratings = answer.ok ? await answer.json() : { error: await answer.text() };
  response.status(answer.ok ? 200 : 502).json({ version: VERSION, caller: caller(request), ratings });
});

// Files of any length, both ways. Neither is ever held.
app.put("/photos", async (request, response) => {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of request) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  response.json({ bytes, sha256: hash.digest("hex") });
});

app.get("/photos/:bytes", async (request, response) => {
  await pipeline(Readable.from(photo(Number(request.params.bytes))), response);
});

/** 64 KiB at a time, each begins with its number. */
function* photo(bytes) {
  for (let at = 0; at < bytes; at += 65536) {
    const block = Buffer.alloc(Math.min(65536, bytes - at), at / 65536);
    if (block.length >= 4) block.writeUInt32BE(at / 65536);
    yield block;
  }
}

const server = createServer(app);
// Says back what is said, and first who says it.
new WebSocketServer({ server, path: "/live" }).on("connection", (socket, request) => {
  request.get = (name) => request.headers[name];
  socket.send(JSON.stringify({ version: VERSION, caller: caller(request) }));
  socket.on("message", (data, binary) => socket.send(data, { binary }));
  socket.on("error", (error) => console.error(`live: ${error}`));
});
server.listen(Number(PORT), "127.0.0.1");
process.on("SIGTERM", () => process.exit(0));
