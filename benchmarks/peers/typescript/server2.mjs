// The TypeScript SDK 2.x as a server: server2.mjs [options] BINDING NODE_MODULES.
//
// BINDING: `http` (the modern era, with the SDK's createMcpHandler), `sessions` (the legacy one;
// every session has a server of its own) or `stdio`.  `--kind low` (its Server) or `high` (its
// McpServer); `--replies json|sse` of sessions; `--events yes` keeps events, so that streams can be
// picked up; `--tools N`: the length of the list.

import { createServer } from "node:http";
import { randomUUID } from "node:crypto";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { called, events, fillers, tools, total, wait } from "./offer.mjs";

const { values: chosen, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    kind: { type: "string", default: "low" },
    replies: { type: "string", default: "json" },
    events: { type: "string", default: "" },
    tools: { type: "string", default: "0" },
  },
});
const [binding, modules] = positionals;
const place = pathToFileURL(modules + "/").href;
const load = (name) => import(import.meta.resolve(name, place));
const about = { name: "typescript", version: "1" };
const maxRequestBodySize = 1 << 28;

// Sends the steps of a call to whoever asked for them.
function reporting(context) {
  const { notify, _meta } = context.mcpReq;
  const progressToken = _meta?.progressToken;
  if (progressToken === undefined) return async () => {};
  return (progress, total) =>
    notify({ method: "notifications/progress", params: { progressToken, progress, total } });
}

async function low() {
  const { Server } = await load("@modelcontextprotocol/server");
  const list = { tools: tools(Number(chosen.tools)) };
  return () => {
    const server = new Server(about, { capabilities: { tools: {} } });
    server.setRequestHandler("tools/list", () => list);
    server.setRequestHandler("tools/call", ({ params }, context) =>
      called(params.name, params.arguments ?? {}, reporting(context)),
    );
    return server;
  };
}

async function high() {
  const { McpServer } = await load("@modelcontextprotocol/server");
  const { z } = await load("zod");
  const said = (text) => ({ content: [{ type: "text", text }] });
  const item = z.object({
    sku: z.string(),
    quantity: z.int(),
    price: z.number(),
    tags: z.array(z.string()).default([]),
  });
  const filling = fillers(Number(chosen.tools));
  const Text = z.object({ text: z.string() });
  const Items = z.object({ items: z.array(item) });
  const Total = z.object({ count: z.int(), total: z.number() });
  const Wait = z.object({ milliseconds: z.int() });
  const Events = z.object({ count: z.int(), together: z.boolean().default(false) });
  const Times = z.object({ text: z.string(), times: z.int().default(1) });
  return () => {
    const server = new McpServer(about);
    server.registerTool("echo", { inputSchema: Text }, ({ text }) => said(text));
    server.registerTool("total", { inputSchema: Items, outputSchema: Total }, ({ items }) => {
      const structuredContent = total(items);
      return { ...said(JSON.stringify(structuredContent)), structuredContent };
    });
    server.registerTool("wait", { inputSchema: Wait }, async ({ milliseconds }) =>
      said(await wait(milliseconds)),
    );
    server.registerTool("events", { inputSchema: Events }, async ({ count, together }, context) =>
      said(await events(count, together, reporting(context))),
    );
    for (const [name, description] of filling) {
      server.registerTool(name, { description, inputSchema: Times }, ({ text, times }) =>
        said(text.repeat(times)),
      );
    }
    return server;
  };
}

// A store of events in memory, as the SDK has none of its own; a list for each stream.
class Kept {
  #streams = new Map();

  async storeEvent(stream, message) {
    let kept = this.#streams.get(stream);
    if (!kept) this.#streams.set(stream, (kept = []));
    kept.push(message);
    return `${stream}/${kept.length}`;
  }

  async replayEventsAfter(last, { send }) {
    const at = last.lastIndexOf("/");
    const stream = last.slice(0, at);
    const kept = this.#streams.get(stream);
    for (let number = Number(last.slice(at + 1)); number < kept.length; number += 1) {
      // What only begins a stream is no message.
      if ("jsonrpc" in kept[number]) await send(`${stream}/${number + 1}`, kept[number]);
    }
    return stream;
  }
}

async function modern(make) {
  const { createMcpHandler } = await load("@modelcontextprotocol/server");
  const { toNodeHandler } = await load("@modelcontextprotocol/node");
  return toNodeHandler(createMcpHandler(make, { maxRequestBodySize }), { maxRequestBodySize });
}

async function legacy(make) {
  const { NodeStreamableHTTPServerTransport } = await load("@modelcontextprotocol/node");
  const sessions = new Map();
  return async (request, response) => {
    let transport = sessions.get(request.headers["mcp-session-id"]);
    if (!transport) {
      transport = new NodeStreamableHTTPServerTransport({
        sessionIdGenerator: () => randomUUID(),
        enableJsonResponse: chosen.replies !== "sse",
        eventStore: chosen.events ? new Kept() : undefined,
        onsessioninitialized: (made) => sessions.set(made, transport),
        maxRequestBodySize,
      });
      await make().connect(transport);
    }
    await transport.handleRequest(request, response);
  };
}

const make = await (chosen.kind === "high" ? high() : low());
if (binding === "stdio") {
  const { serveStdio } = await load("@modelcontextprotocol/server/stdio");
  serveStdio(make);
} else {
  const { localhostHostValidation, localhostOriginValidation } = await load(
    "@modelcontextprotocol/node",
  );
  const host = localhostHostValidation();
  const origin = localhostOriginValidation();
  const handle = await (binding === "sessions" ? legacy(make) : modern(make));
  const http = createServer((request, response) => {
    if (host(request, response) && origin(request, response)) return handle(request, response);
  });
  // Connections are held idle for as long as that takes.
  http.keepAliveTimeout = 0;
  http.listen(0, "127.0.0.1", () => {
    process.stderr.write(`listening on http://127.0.0.1:${http.address().port}/mcp\n`);
  });
}
