// The TypeScript SDK as a client: client.mjs 1|2 NODE_MODULES WARM SECONDS URL.
//
// Line 1.x opens a legacy session, 2.x finds out that the server is modern.  It calls `echo` over
// Streamable HTTP, one at a time, and prints a sample: CPU of this process.  WARM seconds go before;
// where that is a second or more, so many calls until what they run is compiled, in at most ten.

import { pathToFileURL } from "node:url";

const [line, modules, warm, seconds, url] = process.argv.slice(2);
const place = pathToFileURL(modules + "/").href;
const load = (name) => import(import.meta.resolve("@modelcontextprotocol/" + name, place));

const { Client } = await load(line === "1" ? "sdk/client/index.js" : "client");
const { StreamableHTTPClientTransport } = await load(
  line === "1" ? "sdk/client/streamableHttp.js" : "client",
);

const COMPILED = Number(warm) < 1 ? 0 : 6000;
const LONGEST = 10;
const text = "x".repeat(200);
const options = line === "1" ? {} : { versionNegotiation: { mode: "auto" } };
const client = new Client({ name: "typescript", version: "1" }, options);
await client.connect(new StreamableHTTPClientTransport(new URL(url)));
await client.listTools();

async function calls(time) {
  const until = performance.now() + time * 1000;
  let count = 0;
  while (performance.now() < until) {
    const result = await client.callTool({ name: "echo", arguments: { text } });
    if (result.content[0].text !== text) throw new Error(`wrong reply: ${JSON.stringify(result)}`);
    count += 1;
  }
  return count;
}

const born = performance.now();
let warmed = await calls(Number(warm));
while (warmed < COMPILED && performance.now() < born + LONGEST * 1000) {
  warmed += await calls(Number(warm));
}
const began = performance.now();
const before = process.cpuUsage();
const count = await calls(Number(seconds));
const { user, system } = process.cpuUsage(before);
const wall = (performance.now() - began) / 1000;
const facts = { rate: count / wall, count, busy: (user + system) / 1e6 / wall };
console.log(JSON.stringify({ value: (user + system) / count, facts }));
await client.close();
process.exit(0);
