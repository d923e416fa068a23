"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { records, lanes, findings } = data;
  const SVG = "http://www.w3.org/2000/svg";
  const STEP = 14, ROW = 20, LABEL = 190, TOP = 22, AROUND = 12;
  const byId = (id) => document.getElementById(id);
  const slider = byId("slider");
  let now = -1;

  // Whatever a trace says is put into the page as text, never as markup.
  function make(name, attributes, ...children) {
    return fill(document.createElement(name), attributes, children);
  }
  function draw(name, attributes, ...children) {
    return fill(document.createElementNS(SVG, name), attributes, children);
  }
  function fill(element, attributes, children) {
    for (const [key, value] of Object.entries(attributes || {})) {
      if (value !== undefined) element.setAttribute(key, value);
    }
    element.append(...children);
    return element;
  }
  const seconds = (record) => `${record.time.toFixed(6)} s`;
  const across = (index) => LABEL + index * STEP + STEP / 2;

  const pinned = new Map();
  findings.forEach((finding) => {
    if (!pinned.has(finding.at)) pinned.set(finding.at, []);
    pinned.get(finding.at).push(finding);
  });
  const places = [...pinned.keys()].sort((a, b) => a - b);

  function facts() {
    const header = data.header;
    const said = [
      `recorded by the ${header.side}`, header.started, header.program, header.target && `of ${header.target}`,
      header.redacted === false && "secrets included",
      records.length < data.total
        ? `the first ${records.length} of ${data.total} records`
        : `${records.length} records`,
      data.complete ? "" : "the last line is cut off",
    ];
    byId("facts").textContent = said.filter(Boolean).join(", ");
    const must = findings.filter((finding) => finding.strength === "MUST").length;
    byId("found").textContent = findings.length
      ? `Findings: ${must} MUST, ${findings.length - must} SHOULD`
      : "Findings: none";
  }

  function chart() {
    const width = LABEL + records.length * STEP + STEP;
    const height = TOP + lanes.length * ROW + 6;
    const svg = draw("svg", { width, height, role: "img", "aria-label": `${lanes.length} lanes` });
    const rows = lanes.map((lane, number) => {
      const y = TOP + number * ROW + ROW / 2;
      const first = across(lane.at[0]), last = across(lane.at[lane.at.length - 1]);
      const row = draw("g", { class: "row" });
      row.append(
        draw("text", { x: 6, y: y + 4 }, `${lane.kind} ${lane.name}`.slice(0, 26)),
        draw("rect", { class: "bar", x: first - 5, y: y - 5, width: last - first + 10, height: 10, rx: 5 }),
      );
      for (const index of lane.at) {
        const way = { 1: " to-server", "-1": " to-client" }[records[index].arrow] || "";
        row.append(draw("circle", { class: `dot${way}`, cx: across(index), cy: y, r: 4, "data-at": index }));
      }
      svg.append(row);
      return { row, from: lane.at[0], to: lane.at[lane.at.length - 1] };
    });
    for (const place of places) {
      const worst = pinned.get(place).some((each) => each.strength === "MUST") ? "MUST" : "SHOULD";
      const x = across(place);
      const title = draw("title", {}, pinned.get(place).map((each) => each.detail).join("\n"));
      svg.append(draw("path", { class: `pin ${worst}`, d: `M${x - 5} 4h10l-5 12z`, "data-at": place }, title));
    }
    const cursor = draw("line", { class: "cursor", y1: 0, y2: height });
    svg.append(cursor);
    svg.addEventListener("click", (event) => {
      const at = event.target.getAttribute && event.target.getAttribute("data-at");
      if (at !== null && at !== undefined) go(Number(at));
    });
    byId("lanes").append(svg);
    return { rows, cursor };
  }

  // A machine says nothing at records of others: then its last word on the way there holds.
  function machineAt(side, index) {
    return records[index][side] || null;
  }
  function stateAt(side, index) {
    for (let at = index; at >= 0; at -= 1) {
      const machine = machineAt(side, at);
      if (machine && machine.state) return machine.state;
    }
    return "";
  }
  function machine(side) {
    const section = byId(side);
    while (section.children.length > 1) section.lastChild.remove();
    const state = stateAt(side, now), named = state.split(", ")[0];
    if (data.states.includes(named)) {
      section.append(make("ol", { class: "states", "aria-label": "States" }, ...data.states.map((each) =>
        make("li", each === named ? { "aria-current": "step" } : {}, each))));
    }
    section.append(make("p", { class: "state" }, state || "has not begun"));
    const did = machineAt(side, now) || {};
    const lines = [["event", "* ", did.events], ["send", "> ", did.sends], ["remark", "! ", did.remarks]];
    section.append(make("ul", { class: "did" }, ...lines.flatMap(([kind, mark, texts]) =>
      (texts || []).map((text) => make("li", { class: kind }, mark + text)))));
  }

  function entry(index) {
    const record = records[index], flag = pinned.has(index) ? " ⚑" : "";
    const button = make("button", { type: "button", "aria-current": index === now ? "true" : undefined },
      `${record.line} ${record.what}${flag}`);
    button.addEventListener("click", () => go(index));
    return make("li", {}, button);
  }
  function told(finding) {
    return [
      make("strong", {}, finding.strength),
      ` ${finding.clause} ${finding.revision ? `[${finding.revision}] ` : ""}`,
      `${finding.rule}: the ${finding.side}: ${finding.detail}`,
    ];
  }

  function go(index) {
    const last = records.length - 1;
    const next = Math.max(0, Math.min(last, index));
    if (next === now || last < 0) return;
    now = next;
    const record = records[now];
    slider.value = String(now);
    slider.setAttribute("aria-valuetext", `record ${now + 1} of ${records.length}: ${record.what}`);
    byId("now").textContent = `${now + 1}/${records.length}  line ${record.line}  ${seconds(record)}  ${record.what}`;
    byId("text").textContent = record.text || "";
    machine("client");
    machine("server");
    byId("pinned").replaceChildren(...(pinned.get(now) || []).map((finding) =>
      make("p", { class: finding.strength }, ...told(finding))));
    const from = Math.max(0, Math.min(now - AROUND, last - 2 * AROUND));
    const near = [];
    for (let at = from; at <= Math.min(last, from + 2 * AROUND); at += 1) near.push(entry(at));
    byId("around").replaceChildren(...near);
    const x = across(now);
    view.cursor.setAttribute("x1", x);
    view.cursor.setAttribute("x2", x);
    for (const { row, from: begin, to } of view.rows) {
      row.classList.toggle("lit", begin <= now && now <= to);
    }
    const box = byId("lanes");
    if (x < box.scrollLeft + LABEL || x > box.scrollLeft + box.clientWidth - STEP) {
      box.scrollLeft = x - box.clientWidth / 2;
    }
  }

  function toFinding(way) {
    const found = way > 0 ? places.find((at) => at > now) : [...places].reverse().find((at) => at < now);
    if (found !== undefined) go(found);
  }
  const KEYS = {
    ArrowRight: () => go(now + 1), ArrowLeft: () => go(now - 1),
    PageDown: () => go(now + 10), PageUp: () => go(now - 10),
    Home: () => go(0), End: () => go(records.length - 1),
    n: () => toFinding(1), p: () => toFinding(-1),
  };

  facts();
  const view = chart();
  byId("findings").append(...findings.map((finding) => {
    const button = make("button", { type: "button", class: finding.strength },
      `line ${finding.line}: `, ...told(finding));
    button.addEventListener("click", () => go(finding.at));
    return make("li", {}, button);
  }));
  slider.max = String(Math.max(0, records.length - 1));
  slider.addEventListener("input", () => go(Number(slider.value)));
  byId("back").addEventListener("click", () => go(now - 1));
  byId("on").addEventListener("click", () => go(now + 1));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || !Object.hasOwn(KEYS, event.key)) return;
    event.preventDefault();
    KEYS[event.key]();
  });
  go(0);
})();
