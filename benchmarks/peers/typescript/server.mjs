// The TypeScript SDK 1.x as a server: server.mjs http|stdio NODE_MODULES.
//
// It offers `echo` alone, on the low-level Server.  Over HTTP every session has a server of its
// own, as the SDK's examples have it.

import { createServer } from "node:http";
import { randomUUID } from "node:crypto";
import { pathToFileURL } from "node:url";

const [binding, modules] = process.argv.slice(2);
const place = pathToFileURL(modules + "/").href;
const load = (name) => import(import.meta.resolve("@modelcontextprotocol/sdk/" + name, place));

const { Server } = await load("server/index.js");
const { CallToolRequestSchema, ListToolsRequestSchema } = await load("types.js");

function make() {
  const server = new Server({ name: "typescript", version: "1" }, { capabilities: { tools: {} } });
  server.setRequestHandler(ListToolsRequestSchema, () => ({
    tools: [
      {
        name: "echo",
        description: "Echo.",
        inputSchema: { type: "object", properties: { text: { type: "string" } } },
      },
    ],
  }));
  server.setRequestHandler(CallToolRequestSchema, (request) => ({
    content: [{ type: "text", text: request.params.arguments.text }],
  }));
  return server;
}

if (binding === "stdio") {
  const { StdioServerTransport } = await load("server/stdio.js");
  await make().connect(new StdioServerTransport());
  process.stdin.on("end", () => process.exit(0));
} else {
  const { StreamableHTTPServerTransport } = await load("server/streamableHttp.js");
  const sessions = new Map();
  const http = createServer(async (request, response) => {
    const id = request.headers["mcp-session-id"];
    let transport = sessions.get(id);
    if (!transport) {
      transport = new StreamableHTTPServerTransport({
        sessionIdGenerator: () => randomUUID(),
        enableJsonResponse: true,
        onsessioninitialized: (made) => sessions.set(made, transport),
      });
      await make().connect(transport);
    }
    await transport.handleRequest(request, response);
  });
  http.listen(0, "127.0.0.1", () => {
    process.stderr.write(`listening on http://127.0.0.1:${http.address().port}/mcp\n`);
  });
}
