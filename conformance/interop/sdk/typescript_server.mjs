// A server written with the TypeScript SDK, either line, offering what the drivers ask for, by the
// names of our reference server: typescript_server.mjs 1|2 NODE_MODULES --stdio | --http HOST:PORT.
//
// Tools are written once.  What they ask of the client is a request where the era has these, and
// else a round: `ask` leaves the tool, which runs again with the answers.

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { pathToFileURL } from "node:url";

const [line, modules, binding, address] = process.argv.slice(2);
const old = line === "1";
const place = pathToFileURL(modules + "/").href;
const load = (name) => import(import.meta.resolve("@modelcontextprotocol/" + name, place));
const sdk = (name, newer) => load(old ? "sdk/" + name : newer);

const { Server } = await sdk("server/index.js", "server");
const { z } = await import(import.meta.resolve("zod", place));
const schemas = Object.values(old ? await sdk("types.js") : {});
const tasks = old ? await load("sdk/experimental/tasks/stores/in-memory.js") : {};
const Anything = z.looseObject({});

const INVALID_PARAMS = -32602;
const MISSING_CAPABILITY = -32021;
const URL_REQUIRED = -32042;
const PAGE = 2;
const PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
const WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=";
const SIGN_IN = "https://example.com/sign-in";
const WATCHED = "test://watched-resource";
const LEVELS = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];
const LEVEL = "io.modelcontextprotocol/logLevel";
const CAPABILITIES = "io.modelcontextprotocol/clientCapabilities";

const refusal = (code, message, data) => Object.assign(new Error(message), { code, data });
const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));
const form = (properties, required) => ({ type: "object", properties, required });
const text = { type: "string" };
const choice = { type: "string", enum: ["option1", "option2"] };
const titled = [
  { const: "value1", title: "First" },
  { const: "value2", title: "Second" },
];
const DEFAULTS = form({
  name: { ...text, default: "John Doe" },
  age: { type: "integer", default: 30 },
  score: { type: "number", default: 95.5 },
  status: { ...text, enum: ["active", "inactive"], default: "active" },
  verified: { type: "boolean", default: true },
});
const ENUMS = form({
  untitledSingle: choice,
  titledSingle: { ...text, oneOf: titled },
  untitledMulti: { type: "array", items: choice },
  titledMulti: { type: "array", items: { anyOf: titled } },
});
const PERSON = form({ username: text, email: text }, ["username", "email"]);

const elicit = (message, requestedSchema) => ({
  method: "elicitation/create",
  params: { mode: "form", message, requestedSchema },
});
const sample = (prompt, more) => ({
  method: "sampling/createMessage",
  params: {
    messages: [{ role: "user", content: { type: "text", text: prompt } }],
    maxTokens: 100,
    ...more,
  },
});
const said = (value) => ({ content: [{ type: "text", text: value }] });
const block = (value) => ({ content: [value] });
const embedded = (uri) => ({
  type: "resource",
  resource: { uri, mimeType: "text/plain", text: "embedded" },
});

let cancelled = 0;
let visited = false;
const announced = (kind) => [{}, async (_, it) => (await it.changed(kind), said("changed"))];
const filled = (schema) => [
  {},
  async (_, it) => {
    const { action, content } = await it.ask(elicit("Please review", schema));
    return said(`action=${action}, content=${JSON.stringify(content)}`);
  },
];

// Of each tool: the properties of its arguments, what it does, and more of its description.
const TOOLS = {
  test_simple_text: [{}, () => said("This is a simple text response for testing.")],
  greet: [{ name: text }, ({ name }) => said(`Hello, ${name}!`)],
  test_structured_output: [
    { city: text },
    ({ city }) => {
      const structuredContent = { city, temperature: 21.5 };
      return { ...said(JSON.stringify(structuredContent)), structuredContent };
    },
    {
      title: "Weather",
      annotations: { readOnlyHint: true },
      icons: [{ src: "https://example.com/weather.png" }],
      outputSchema: form({ city: text, temperature: { type: "number" } }),
    },
  ],
  test_error_handling: [
    {},
    () => ({ ...said("This tool intentionally returns an error for testing"), isError: true }),
  ],
  test_image_content: [{}, () => block({ type: "image", data: PNG, mimeType: "image/png" })],
  test_audio_content: [{}, () => block({ type: "audio", data: WAV, mimeType: "audio/wav" })],
  test_resource_link: [
    {},
    () => block({ type: "resource_link", uri: "test://static-text", name: "static-text" }),
  ],
  test_embedded_resource: [{}, () => block(embedded("test://embedded-resource"))],
  test_tool_with_progress: [
    {},
    async (_, it) => {
      for (const done of [0, 50, 100]) await it.progress(done, 100, `Completed step ${done}`);
      return said("done");
    },
  ],
  test_tool_with_logging: [
    {},
    async (_, it) => {
      for (const step of ["started", "processing", "finished"])
        await it.info(`Tool execution ${step}`);
      return said("logged");
    },
  ],
  test_wait: [
    { seconds: { type: "number" } },
    async ({ seconds }, it) => {
      it.signal.addEventListener("abort", () => (cancelled += 1));
      await it.progress(0, seconds);
      await Promise.race([
        sleep(seconds),
        new Promise((resolve) => it.signal.addEventListener("abort", resolve)),
      ]);
      return said("waited");
    },
  ],
  test_cancelled_count: [{}, () => said(String(cancelled))],
  test_trigger_tool_change: announced("tool"),
  test_trigger_prompt_change: announced("prompt"),
  test_trigger_resource_change: announced("resource"),
  test_ping_client: [{}, async (_, it) => (await it.send("ping"), said("the client is there"))],
  test_x_mcp_header: [
    { region: { ...text, "x-mcp-header": "Region" } },
    ({ region }) => said(`region: ${region}`),
  ],
  test_elicitation: [
    { message: text },
    async ({ message }, it) => {
      const { action, content } = await it.ask(elicit(message, PERSON));
      return said(`action=${action}, content=${JSON.stringify(content)}`);
    },
  ],
  test_elicitation_sep1034_defaults: filled(DEFAULTS),
  test_elicitation_sep1330_enums: filled(ENUMS),
  test_elicitation_url: [
    {},
    async (_, it) => {
      const visit = it.modern ? {} : { elicitationId: randomUUID() };
      const params = { mode: "url", message: "Please sign in", url: SIGN_IN, ...visit };
      const { action } = await it.ask({ method: "elicitation/create", params });
      if (action === "accept" && !it.modern)
        await it.notify("notifications/elicitation/complete", visit);
      return said(`action=${action}`);
    },
  ],
  test_url_elicitation_required: [
    {},
    () => {
      if (visited) return (visited = false), said("signed in");
      const wanted = { mode: "url", message: "Please sign in", url: SIGN_IN };
      const elicitations = [{ ...wanted, elicitationId: "visit-first" }];
      throw refusal(URL_REQUIRED, "sign in first", { elicitations });
    },
  ],
  test_finish_visit: [
    {},
    async (_, it) => {
      visited = true;
      await it.notify("notifications/elicitation/complete", { elicitationId: "visit-first" });
      return said("the user has signed in");
    },
  ],
  test_input_required_result_multi_round: [
    {},
    async (_, it) => {
      const first = await it.ask(elicit("Step 1: who are you?", PERSON));
      const insect = form({ response: text }, ["response"]);
      const second = await it.ask(elicit("Step 2: what is your favourite insect?", insect));
      return said(`step 1: ${first.action}, step 2: ${second.action}`);
    },
  ],
  test_sampling: [
    { prompt: text },
    async ({ prompt }, it) => {
      const { content } = await it.ask(sample(prompt));
      return said(`LLM response: ${content.text}`);
    },
  ],
  test_sampling_with_tools: [
    {},
    async (_, it) => {
      const number = { type: "integer" };
      const tools = [{ name: "add", inputSchema: form({ a: number, b: number }) }];
      const more = { tools, toolChoice: { mode: "required" } };
      const { content } = await it.ask(sample("Two and two?", more));
      const [{ name, input }] = [content].flat();
      const given = Object.entries(input).map(([key, value]) => `${key}=${value}`);
      return said(`the model uses ${name} with ${given.join(" ")}`);
    },
  ],
  test_list_roots: [
    {},
    async (_, it) => {
      const { roots } = await it.ask({ method: "roots/list" });
      return said(roots.map(({ uri }) => uri).join(" "));
    },
  ],
  slow_compute: [
    {},
    async ({ seconds = 1, label = "the computation" }) => {
      await sleep(seconds);
      return said(`${label} took its time`);
    },
    { execution: { taskSupport: "optional" } },
  ],
  confirm_delete: [
    {},
    async ({ filename }, it) => {
      const { content } = await it.ask(
        elicit(`Delete ${filename}?`, form({ confirm: { type: "boolean" } }, ["confirm"])),
      );
      return said(`${filename} was ${content?.confirm ? "deleted" : "kept"}`);
    },
    { execution: { taskSupport: "optional" } },
  ],
  failing_job: [
    {},
    () => {
      throw new Error("This job fails, always");
    },
    { execution: { taskSupport: "required" } },
  ],
};
const tools = Object.entries(TOOLS).map(([name, [properties, , more]]) => ({
  name,
  description: `The tool ${name}.`,
  inputSchema: form(properties, more?.execution ? [] : Object.keys(properties)),
  ...more,
}));

const TEMPLATE = /^test:\/\/template\/(.*)\/data$/;
const RESOURCES = {
  "test://static-text": { text: "This is the content of the static text resource." },
  "test://static-binary": { blob: "iVBORw0KGgo=", mimeType: "image/png" },
  [WATCHED]: { text: "watched" },
};
const resources = Object.entries(RESOURCES).map(([uri, { mimeType = "text/plain" }]) => {
  const more = { title: "A text", annotations: { audience: ["user"], priority: 0.5 } };
  return { uri, name: uri.slice(7), mimeType, ...(uri === "test://static-text" ? more : {}) };
});
const PROMPTS = {
  test_simple_prompt: [[], () => ({ type: "text", text: "This is a simple prompt." })],
  test_prompt_with_arguments: [
    ["arg1", "arg2"],
    ({ arg1, arg2 }) => ({ type: "text", text: `arg1='${arg1}', arg2='${arg2}'` }),
    { title: "Two arguments" },
  ],
  test_prompt_with_image: [[], () => ({ type: "image", data: PNG, mimeType: "image/png" })],
  test_prompt_with_embedded_resource: [["resourceUri"], ({ resourceUri }) => embedded(resourceUri)],
};
const prompts = Object.entries(PROMPTS).map(([name, [needed, , more]]) => ({
  name,
  arguments: needed.map((each) => ({ name: each, required: true })),
  ...more,
}));
const WORDS = ["paris", "park", "party", "test", "tested", "testing"];

function completion({ argument, context }) {
  const first = context?.arguments?.arg1;
  let words = WORDS;
  if (argument.name === "id") words = Array.from({ length: 199 }, (_, number) => `${number + 1}`);
  else if (argument.name !== "arg1" && first) words = [`${first}-1`, `${first}-2`];
  const values = words.filter((each) => each.startsWith(argument.value)).slice(0, 100);
  return { completion: { values } };
}

function read({ uri }, notFound) {
  const [, id] = TEMPLATE.exec(uri) ?? [];
  const found = id ? { text: `data of ${id}` } : RESOURCES[uri];
  if (!found) throw refusal(notFound, "Resource not found", { uri });
  return { contents: [{ uri, mimeType: "text/plain", ...found }], ttlMs: 60000 };
}

function pageOf(member, entries, { cursor } = {}) {
  const start = cursor === undefined ? 0 : Number(cursor);
  if (Number.isNaN(start)) throw refusal(INVALID_PARAMS, "no such cursor");
  const end = start + PAGE;
  const more = end < entries.length ? { nextCursor: String(end) } : {};
  return { [member]: entries.slice(start, end), ...more };
}

class Asking extends Error {
  constructor(result) {
    super("the client is asked");
    this.result = result;
  }
}

const NEEDS = {
  "elicitation/create": "elicitation",
  "sampling/createMessage": "sampling",
  "roots/list": "roots",
};
let publish; // to the listen streams

// One server, for a connection, a session or a modern request.
function make({ era = "legacy" } = {}) {
  const modern = era === "modern";
  const subscribed = new Set();
  let level = "debug";
  const capabilities = {
    tools: { listChanged: true },
    prompts: { listChanged: true },
    resources: { listChanged: true, subscribe: true },
    logging: {},
    completions: {},
  };
  const options = {};
  if (old) {
    capabilities.tasks = { list: {}, cancel: {}, requests: { tools: { call: {} } } };
    options.taskStore = new tasks.InMemoryTaskStore();
    options.taskMessageQueue = new tasks.InMemoryTaskMessageQueue();
  }
  const server = new Server(
    { name: `typescript${line}-everything`, version: "1.0.0" },
    { ...options, capabilities, instructions: "Offers what the drivers ask for." },
  );

  // What a tool may do while it runs.
  function doings(context, task) {
    const request = context.mcpReq ?? context;
    const related = task ? { relatedTask: { taskId: task.taskId } } : {};
    const kept = modern && request.requestState() ? JSON.parse(request.requestState()) : {};
    const answers = { ...kept, ...request.inputResponses };
    const token = request._meta?.progressToken;
    let asked = 0;
    const it = {
      modern,
      signal: request.signal,
      send: (method, params) =>
        old
          ? context.sendRequest({ method, params }, Anything, related)
          : request.send({ method, params }),
      notify: (method, params) =>
        old ? context.sendNotification({ method, params }) : request.notify({ method, params }),
      progress: async (progress, total, message) => {
        if (token === undefined) return;
        const params = { progressToken: token, progress, total, message };
        await it.notify("notifications/progress", params);
      },
      info: async (data) => {
        const wanted = modern ? request.envelope?.[LEVEL] : level;
        if (wanted && LEVELS.indexOf(wanted) <= LEVELS.indexOf("info"))
          await it.notify("notifications/message", { level: "info", data });
      },
      ask: async (question) => {
        if (!modern) return it.send(question.method, question.params);
        const key = `question-${(asked += 1)}`;
        if (answers[key]) return answers[key];
        const needed = NEEDS[question.method];
        if (!request.envelope?.[CAPABILITIES]?.[needed])
          throw refusal(MISSING_CAPABILITY, `the client has no ${needed}`, {
            requiredCapabilities: { [needed]: {} },
          });
        const round = { inputRequests: { [key]: question }, requestState: JSON.stringify(answers) };
        throw new Asking({ resultType: "input_required", ...round });
      },
      changed: async (kind) => {
        const told = {
          tool: ["toolsChanged", () => server.sendToolListChanged()],
          prompt: ["promptsChanged", () => server.sendPromptListChanged()],
          resource: ["resourcesChanged", () => server.sendResourceListChanged()],
        }[kind];
        const updated = kind === "resource" && (modern || subscribed.has(WATCHED));
        if (publish && modern) {
          if (updated) publish.resourceUpdated(WATCHED);
          publish[told[0]]();
        } else {
          if (updated) await server.sendResourceUpdated({ uri: WATCHED });
          await told[1]();
        }
      },
    };
    return it;
  }

  async function called(params, context, task) {
    const [properties, run] = TOOLS[params.name];
    const given = params.arguments ?? {};
    const missing = Object.keys(properties).filter((each) => !(each in given));
    if (missing.length) return { ...said(`missing: ${missing}`), isError: true };
    try {
      return await run(given, doings(context, task));
    } catch (error) {
      if (error instanceof Asking) return error.result;
      if (modern || error.code === URL_REQUIRED) throw error;
      return { ...said(error.message), isError: true };
    }
  }

  async function inBackground(params, context) {
    const store = context.taskStore;
    const task = await store.createTask({ ttl: params.task.ttl });
    called(params, context, task)
      .then((result) => store.storeTaskResult(task.taskId, "completed", result))
      .catch(() => {});
    return { task };
  }

  const on = (method, handler) => {
    const schema = old ? schemas.find((each) => each?.shape?.method?.value === method) : method;
    server.setRequestHandler(schema, ({ params = {} }, context) => handler(params, context));
  };
  on("tools/list", () => ({ tools, ttlMs: 60000 }));
  on("tools/call", (params, context) => {
    const tool = tools.find(({ name }) => name === params.name);
    if (!tool) throw refusal(INVALID_PARAMS, `there is no tool ${params.name}`);
    const mode = tool.execution?.taskSupport;
    if (old && (params.task ? !mode : mode === "required"))
      throw refusal(-32601, `as a task: ${mode ?? "never"}`);
    return params.task && old ? inBackground(params, context) : called(params, context);
  });
  on("resources/list", () => ({ resources }));
  on("resources/templates/list", () => ({
    resourceTemplates: [{ uriTemplate: "test://template/{id}/data", name: "template" }],
  }));
  on("resources/read", (params) => read(params, modern ? INVALID_PARAMS : -32002));
  on("prompts/list", (params) => pageOf("prompts", prompts, params));
  on("prompts/get", ({ name, arguments: given }) => {
    if (!PROMPTS[name]) throw refusal(INVALID_PARAMS, `there is no prompt ${name}`);
    return { messages: [{ role: "user", content: PROMPTS[name][1](given) }] };
  });
  on("completion/complete", completion);
  if (!modern) {
    on("logging/setLevel", (params) => ((level = params.level), {}));
    on("resources/subscribe", ({ uri }) => (subscribed.add(uri), {}));
    on("resources/unsubscribe", ({ uri }) => (subscribed.delete(uri), {}));
  }
  return server;
}

async function http() {
  const { StreamableHTTPServerTransport: Transport } = old
    ? await load("sdk/server/streamableHttp.js")
    : { StreamableHTTPServerTransport: (await load("node")).NodeStreamableHTTPServerTransport };
  const sessions = new Map();
  let modern;
  if (!old) {
    const handler = (await load("server")).createMcpHandler(make, { legacy: "reject" });
    publish = handler.notify;
    modern = (await load("node")).toNodeHandler(handler);
  }
  const [host, port] = address.split(":");
  const listening = createServer(async (request, response) => {
    if (modern && request.headers["mcp-protocol-version"] === "2026-07-28")
      return modern(request, response);
    const session = request.headers["mcp-session-id"];
    let transport = sessions.get(session);
    if (!transport && session) return response.writeHead(404).end();
    if (!transport) {
      transport = new Transport({
        sessionIdGenerator: () => randomUUID(),
        onsessioninitialized: (made) => sessions.set(made, transport),
        onsessionclosed: (ended) => sessions.delete(ended),
      });
      await make().connect(transport);
    }
    await transport.handleRequest(request, response);
  });
  listening.listen(Number(port), host, () => {
    process.stderr.write(`listening on http://${host}:${listening.address().port}/mcp\n`);
  });
}

if (binding === "--http") {
  await http();
} else if (old) {
  const { StdioServerTransport } = await load("sdk/server/stdio.js");
  await make().connect(new StdioServerTransport());
  process.stdin.on("end", () => process.exit(0));
} else {
  (await load("server/stdio")).serveStdio(make);
}
