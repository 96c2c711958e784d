// What client.py does, in Node: client.mjs LIBRARY URL SIZE... Trailers (`sum`) are sent and taken by `http`.
import { createHash } from "node:crypto";
import { request } from "node:http";
import { connect } from "node:http2";
import { pattern } from "./pattern.mjs";

const [library, url, ...sizes] = process.argv.slice(2);

async function sha(pieces) {
  const digest = createHash("sha256");
  for await (const piece of pieces) digest.update(piece);
  return digest.digest("hex");
}

async function text(pieces) {
  const all = [];
  for await (const piece of pieces) all.push(piece);
  return Buffer.concat(all).toString();
}

async function write(to, size) {
  for (const piece of pattern(size)) {
    if (!to.write(piece)) await new Promise((resolve) => to.once("drain", resolve));
  }
}

const libraries = {
  // undici, as Node has it: a body that is a stream goes in chunks.
  fetch: {
    async send(size, how) {
      const body = how === "chunked" ? ReadableStream.from(pattern(size)) : Buffer.concat([...pattern(size)]);
      return (await fetch(`${url}/sink`, { method: "POST", body, duplex: "half" })).text();
    },
    take: async (size, how) => ({ got: await sha((await fetch(`${url}/source/${size}?${how}`)).body) }),
  },
  http: {
    async send(size, how) {
      const headers = how === "chunked" ? { trailer: "x-sum" } : { "content-length": size };
      const sending = request(`${url}/sink`, { method: "POST", headers });
      const answered = new Promise((resolve, reject) => sending.on("response", resolve).on("error", reject));
      await write(sending, size);
      if (how === "chunked") sending.addTrailers({ "x-sum": "7" });
      sending.end();
      return text(await answered);
    },
    async take(size, how) {
      // Who does not say so gets none over HTTP/1.1 (RFC 9110 section 6.5.1).
      const asking = request(`${url}/source/${size}?${how}`, { headers: { te: "trailers" } });
      const answered = new Promise((resolve, reject) => asking.on("response", resolve).on("error", reject));
      asking.end();
      const answer = await answered;
      const got = await sha(answer);
      return { got, sum: answer.trailers["x-sum"] };
    },
  },
  http2: {
    async send(size) {
      const stream = session.request({ ":method": "POST", ":path": "/sink" });
      const answer = text(stream);
      await write(stream, size);
      stream.end();
      return answer;
    },
    async take(size, how) {
      const stream = session.request({ ":path": `/source/${size}?${how}`, te: "trailers" });
      let sum;
      stream.on("trailers", (trailers) => (sum = trailers["x-sum"]));
      const got = await sha(stream);
      return { got, sum };
    },
  },
};

const session = library === "http2" ? connect(url) : undefined;
const { send, take } = libraries[library];
for (const size of sizes.map(Number)) {
  for (const how of ["length", "chunked"]) {
    const sent = await sha(pattern(size));
    const sink = await send(size, how);
    console.log(JSON.stringify({ size, how, sent, sink, ...(await take(size, how)) }));
  }
}
session?.close();
process.exit();
