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
  const times = [];
  let begun = performance.now();
  const until = begun + time * 1000;
  while (begun < until) {
    const result = await client.callTool({ name: "echo", arguments: { text } });
    if (result.content[0].text !== text) throw new Error(`wrong reply: ${JSON.stringify(result)}`);
    const now = performance.now();
    times.push(now - begun);
    begun = now;
  }
  return times;
}

// The buckets of benchmarks/mcpcore_bench/method/histogram.py: of nanoseconds, each power of two cut into 128.
function histogram(times) {
  const counts = {};
  for (const time of times) {
    const value = Math.round(time * 1e6);
    const shift = Math.max(24 - Math.clz32(value), 0);
    const bucket = shift * 128 + (value >>> shift);
    counts[bucket] = (counts[bucket] ?? 0) + 1;
  }
  return counts;
}

const born = performance.now();
let warmed = (await calls(Number(warm))).length;
while (warmed < COMPILED && performance.now() < born + LONGEST * 1000) {
  warmed += (await calls(Number(warm))).length;
}
const began = performance.now();
const before = process.cpuUsage();
const times = await calls(Number(seconds));
const { user, system } = process.cpuUsage(before);
const wall = (performance.now() - began) / 1000;
const count = times.length;
const facts = { rate: count / wall, count, busy: (user + system) / 1e6 / wall };
console.log(JSON.stringify({ value: (user + system) / count, facts, latency: histogram(times) }));
await client.close();
process.exit(0);
