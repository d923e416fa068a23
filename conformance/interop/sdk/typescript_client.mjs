// The TypeScript SDK as a client that typescript_client.py orders about: typescript_client.mjs 1|2 NODE_MODULES.
//
// The first line on stdin says where to connect and how; each after it names a method of the client,
// or is the answer to what the server has asked.  What comes of them goes to stdout, line by line.

import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [line, modules] = process.argv.slice(2);
const old = line === "1";
const place = pathToFileURL(modules + "/").href;
const load = (name) => import(import.meta.resolve(name, place));
const sdk = (name, newer) => load("@modelcontextprotocol/" + (old ? "sdk/" + name : newer));

const { Client } = await sdk("client/index.js", "client");
const { StreamableHTTPClientTransport } = await sdk("client/streamableHttp.js", "client");
const { StdioClientTransport } = await sdk("client/stdio.js", "client/stdio");
const { z } = await load("zod");
const schemas = Object.values(old ? await sdk("types.js") : {});
const Anything = z.looseObject({});

const tell = (message) => process.stdout.write(JSON.stringify(message) + "\n");
const waiting = new Map();
const stops = new Map();
let client, transport, version, subscription;

// Asks Python what a user, a model or a file system answers.
function ask({ method, params }) {
  const asked = waiting.size + 1;
  tell({ asked, method, params: params ?? {} });
  return new Promise((resolve, reject) => waiting.set(asked, { resolve, reject }));
}

const verbs = {
  opening: () => ({
    protocolVersion: version ?? client.getNegotiatedProtocolVersion(),
    serverInfo: client.getServerVersion(),
    capabilities: client.getServerCapabilities(),
    instructions: client.getInstructions(),
  }),
  call: (params, options) =>
    old ? client.callTool(params, undefined, options) : client.callTool(params, options),
  request: (request, options) => client.request(request, Anything, options),
  listen: async (filter) => void (subscription = await client.listen(filter)),
  unlisten: () => subscription.close(),
};

async function connect({ target, bare, auto }) {
  const capabilities = {
    elicitation: { form: {}, url: {} },
    sampling: { tools: {} },
    roots: { listChanged: true },
  };
  const options = old || !auto ? {} : { versionNegotiation: { mode: "auto" } };
  client = new Client(
    { name: "typescript", version: "1" },
    { ...options, capabilities: bare ? {} : capabilities },
  );
  for (const method of bare ? [] : ["elicitation/create", "sampling/createMessage", "roots/list"]) {
    const schema = old ? schemas.find((each) => each?.shape?.method?.value === method) : method;
    client.setRequestHandler(schema, ask);
  }
  client.fallbackNotificationHandler = async ({ method, params }) =>
    tell({ heard: method, params: params ?? {} });
  const [command, ...args] = target;
  transport = command.includes("://")
    ? new StreamableHTTPClientTransport(new URL(command))
    : new StdioClientTransport({ command, args, env: process.env, stderr: "ignore" });
  const set = transport.setProtocolVersion?.bind(transport);
  transport.setProtocolVersion = (chosen) => {
    version = chosen;
    set?.(chosen);
  };
  await client.connect(transport);
}

async function carryOut({ id, verb, given, timeout, progress }) {
  const stop = new AbortController();
  stops.set(id, stop);
  const options = { signal: stop.signal, cacheMode: "bypass" };
  if (timeout) options.timeout = timeout;
  if (progress) options.onprogress = (params) => tell({ progress: id, params });
  try {
    const done = verbs[verb] ?? client[verb].bind(client);
    const result = await done(...given, options);
    tell({ id, result: result ?? {}, session: transport.sessionId });
  } catch (error) {
    const { code, message, data } = error;
    tell({ id, error: { code, message: String(message), data }, session: transport.sessionId });
  }
  stops.delete(id);
}

for await (const text of createInterface({ input: process.stdin })) {
  const order = JSON.parse(text);
  if (order.target) await connect(order).then(() => tell({ session: transport.sessionId }));
  else if (order.stop) stops.get(order.stop)?.abort();
  else if (order.answered) {
    const { resolve, reject } = waiting.get(order.answered);
    if (order.error) reject(Object.assign(new Error(order.error.message), order.error));
    else resolve(order.result);
  } else carryOut(order);
}
if (transport.sessionId) await transport.terminateSession().catch(() => {});
await client.close();
process.exit(0);
