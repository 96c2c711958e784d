// Peer: grpc-js as an xDS client of mesh.interop.Peer; see ../README.md.
//
// The control plane is named by GRPC_XDS_BOOTSTRAP or GRPC_XDS_BOOTSTRAP_CONFIG.

import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { join } from "node:path";
import { parseArgs } from "node:util";

// The packages are installed apart from the sources.
const installed = createRequire(join(process.env.NODE_XDS_MODULES ?? import.meta.dirname, "_.js"));
const grpc = installed("@grpc/grpc-js");
installed("@grpc/grpc-js-xds").register();

const usage = "client.mjs TARGET CALLS [--deadline-ms N] [--metadata NAME=VALUE]... [--stay]";
const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    "deadline-ms": { type: "string", default: "5000" },
    metadata: { type: "string", multiple: true, default: [] },
    stay: { type: "boolean", default: false },
  },
});
const [target, calls] = positionals;
if (positionals.length !== 2 || !/^\d+$/.test(calls)) throw new Error(`usage: ${usage}`);

const metadata = new grpc.Metadata();
for (const pair of given.metadata) {
  const at = pair.indexOf("=");
  if (at < 1) throw new Error(`${pair} is not NAME=VALUE`);
  metadata.add(pair.slice(0, at), pair.slice(at + 1));
}

// The text of a google.protobuf.StringValue: field 1 after its tag and a varint of its length.
function text(bytes) {
  if (bytes.length === 0) return "";
  let at = 1;
  while (bytes[at] & 0x80) at += 1;
  return bytes.subarray(at + 1).toString("utf8");
}

const client = new grpc.Client(target, grpc.credentials.createInsecure());
const call = () =>
  new Promise((resolve) => {
    const deadline = Date.now() + Number(given["deadline-ms"]);
    const path = "/mesh.interop.Peer/Unary";
    const same = (bytes) => bytes;
    client.makeUnaryRequest(path, same, text, Buffer.alloc(0), metadata, { deadline }, (error, answer) =>
      resolve({ error, answer }),
    );
  });

// Makes the calls one after the other.
async function run(count) {
  const said = { answers: {}, statuses: {}, details: {} };
  for (let n = 0; n < count; n += 1) {
    const { error, answer } = await call();
    const status = error ? grpc.status[error.code] : "OK";
    said.statuses[status] = (said.statuses[status] ?? 0) + 1;
    if (error) {
      said.details[status] ??= error.details;
    } else {
      const { address } = JSON.parse(answer);
      said.answers[address] = (said.answers[address] ?? 0) + 1;
    }
  }
  console.log(JSON.stringify(said));
}

await run(Number(calls));
if (given.stay) {
  for await (const line of createInterface({ input: process.stdin })) await run(Number(line));
}
client.close();
process.exit(0);
