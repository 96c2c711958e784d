// What server.py does, in Node; besides, it agrees to every upgrade, and sends back what comes then.
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { pattern } from "./pattern.mjs";

const server = createServer(async (request, response) => {
  let digest = createHash("sha256");
  let came = 0;
  // Whatever is asked, nothing is said before all has come.
  try {
    for await (const piece of request) {
      digest.update(piece);
      came += piece.length;
    }
  } catch {
    return;
  }
  if (request.method === "POST") {
    response.end(`${digest.digest("hex")} ${came} ${request.trailers["x-sum"] ?? "-"}`);
    return;
  }
  const [path, query] = request.url.split("?");
  const wanted = path.split("/").pop();
  // h2spec asks for this, and then breaks off: an answer before that would be all that it looks at.
  if (wanted === "") await new Promise((resolve) => setTimeout(resolve, 20));
  const size = wanted === "" ? 5 : Number(wanted);
  digest = createHash("sha256");
  if (query === "chunked") response.setHeader("trailer", "x-sum");
  else response.setHeader("content-length", size);
  for (const piece of pattern(size)) {
    digest.update(piece);
    if (!response.write(piece)) await new Promise((resolve) => response.once("drain", resolve));
  }
  if (query === "chunked") response.addTrailers({ "x-sum": digest.digest("hex") });
  response.end();
});
server.on("upgrade", (request, socket, head) => {
  socket.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n");
  socket.write(head);
  socket.on("error", () => socket.destroy());
  socket.pipe(socket);
});
server.listen(0, "127.0.0.1", () => console.log("listening", server.address().port));
// Ends with whoever started it.
process.stdin.resume().on("end", () => process.exit());
