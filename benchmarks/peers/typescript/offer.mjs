// What every measured server offers, as benchmarks/mcpcore_bench/programs/offer.py says it for those in Python.

const FILLERS_FROM = 4;
const ANY = { type: "object" };
const TEXT = { type: "object", properties: { text: { type: "string" } }, required: ["text"] };
const TIMES = {
  type: "object",
  properties: { text: { type: "string" }, times: { type: "integer", default: 1 } },
  required: ["text"],
};

// Names and descriptions of the tools that fill a list up to `count`.
export function fillers(count) {
  return Array.from({ length: Math.max(count - FILLERS_FROM, 0) }, (_, number) => [
    `tool_${number}`,
    `Repeats a text so many times: tool number ${number}, which only fills the list.`,
  ]);
}

// The list as a server of low level returns it.
export function tools(count) {
  return [
    { name: "echo", description: "Echo.", inputSchema: TEXT },
    ...["total", "wait", "events"].map((name) => ({
      name,
      description: `${name}.`,
      inputSchema: ANY,
    })),
    ...fillers(count).map(([name, description]) => ({ name, description, inputSchema: TIMES })),
  ];
}

// The result of `total`.
export function total(items) {
  let found = 0;
  for (const { quantity, price } of items) found += quantity * price;
  return { count: items.length, total: found };
}

// The result of `wait`, when it is time.
export function wait(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds, "waited"));
}

// The result of `events`; `report` sends a step, and resolves when it has left.
export async function events(count, together, report) {
  const sent = [];
  for (let number = 1; number <= count; number += 1) {
    const leaving = report(number, count);
    if (together) sent.push(leaving);
    else await leaving;
  }
  await Promise.all(sent);
  return "told";
}

// A call of any tool, as a server of low level answers it.
export async function called(name, given, report) {
  const said = (text) => ({ content: [{ type: "text", text }] });
  switch (name) {
    case "echo":
      return said(given.text);
    case "total": {
      const structuredContent = total(given.items);
      return { ...said(JSON.stringify(structuredContent)), structuredContent };
    }
    case "wait":
      return said(await wait(given.milliseconds));
    case "events":
      return said(await events(given.count, given.together, report));
    default:
      return said(given.text.repeat(given.times ?? 1));
  }
}
