// The TypeScript SDK 1.x as a client: client.mjs NODE_MODULES WARM SECONDS URL.
//
// It calls `echo` over Streamable HTTP, one at a time, and prints a sample: CPU of this process.

import { pathToFileURL } from "node:url";

const [modules, warm, seconds, url] = process.argv.slice(2);
const place = pathToFileURL(modules + "/").href;
const load = (name) => import(import.meta.resolve("@modelcontextprotocol/sdk/" + name, place));

const { Client } = await load("client/index.js");
const { StreamableHTTPClientTransport } = await load("client/streamableHttp.js");

const text = "x".repeat(200);
const client = new Client({ name: "typescript", version: "1" });
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

await calls(Number(warm));
const began = performance.now();
const before = process.cpuUsage();
const count = await calls(Number(seconds));
const { user, system } = process.cpuUsage(before);
const wall = (performance.now() - began) / 1000;
const facts = { rate: count / wall, count, busy: (user + system) / 1e6 / wall };
console.log(JSON.stringify({ value: (user + system) / count, facts }));
await client.close();
process.exit(0);
