"use strict";
// The story's page. Rule 1: data becomes text and numbers, never markup. Rule 2: one position, the move that is looked
// at; `show` draws everything that depends on it. Rule 3: what is beyond that move is drawn faintly, or not at all.
(() => {
  const story = JSON.parse(document.getElementById("story").textContent);
  const $ = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";
  const STATUSES = new Set(["PENDING", "RUNNING", "RETRYING", "COMPLETED", "FAILED", "SKIPPED", "CANCELLED", "COMPENSATING",
    "COMPENSATED", "COMPENSATION_FAILED", "PAUSED", "CANCELLING", "ROLLING_BACK", "PARTIAL"]);
  const { frames, entries, executions } = story;
  const has = (object, key) => Object.prototype.hasOwnProperty.call(object, key);
  const names = Object.keys(executions);
  let position = frames.length - 1;
  let chosen = names[0];
  let zoom = null;
  let printing = false;

  // Making things

  function make(tag, properties = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name === "text") element.textContent = value;
      else if (name === "click") element.addEventListener("click", value);
      else element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }
  function draw(tag, attributes = {}, text = null) {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== null) element.textContent = text;
    return element;
  }
  const colour = (element, status) => {
    element.style.setProperty("--c", `var(--c-${STATUSES.has(status) ? status : "other"})`);
    return element;
  };
  const cut = (text, most) => (text.length <= most ? text : `${text.slice(0, most - 1)}…`);
  const spaced = (status) => status.replaceAll("_", " ");
  function time(seconds) {
    if (Math.abs(seconds) < 1) return `${Number((seconds * 1000).toFixed(2))} ms`;
    return `${Number(seconds.toFixed(4))} s`;
  }

  // What stood after each move: the changes, put together

  function standings(side) {
    const all = [];
    let known = new Map();
    for (const frame of frames) {
      const changes = Object.entries(frame[side]);
      if (changes.length) {
        known = new Map(known);
        for (const [name, change] of changes) {
          const steps = new Map(known.get(name)?.steps);
          for (const [step, status] of Object.entries(change.steps)) steps.set(step, status);
          known.set(name, { ...change, steps });
        }
      }
      all.push(known);
    }
    return all;
  }
  const claimed = standings("claimed");
  const known = standings("known");
  const partingFrame = story.parting === null ? -1 : frames.length - 1;
  const partingEntry = story.parting === null ? null : entries[story.parting - story.firstEntry] ?? null;
  const subject = partingEntry && has(executions, partingEntry[2]) ? partingEntry[2]
    : names.find((name) => story.seen.split(/[\s,:]+/).includes(name)) ?? names[0];
  const stepsOf = (name) => (has(executions, name) ? executions[name].steps.map(([step]) => step) : []);
  // What the parting is about: the step of its entry, else the steps that the sentence quotes.
  const about = new Set(
    partingEntry?.[3] ? [partingEntry[3]]
      : story.holds ? [] : stepsOf(subject).filter((step) => story.seen.includes(`'${step}'`)));

  function differs(name, step, at = position) {
    const says = claimed[at].get(name)?.steps.get(step);
    const knows = known[at].get(name)?.steps.get(step);
    return says !== undefined && knows !== undefined && says !== knows;
  }
  const standing = (side, name, step, at = position) => side[at]?.get(name)?.steps.get(step) ?? "PENDING";

  // The head

  function head() {
    document.body.classList.add("alive");
    $("name").textContent = story.name;
    const heading = story.contract.find((clause) => clause.name === story.clause)?.heading;
    $("clause").textContent = heading ? `${story.clause} · ${heading}` : story.clause;
    $("clause-link").textContent = `${story.clause} in full`;
    const anchor = heading ? `#${story.clause}` : "#contract";
    $("clause").href = $("clause-link").href = anchor;
    $("told").textContent = story.told + (story.reorderOnly ? ", reorder only" : "");
    $("told").classList.add(story.holds ? "good" : "bad");
    $("invariant").textContent = story.invariant;
    $("seen").textContent = story.holds ? "The contract holds" : cut(story.seen, 200);
    $("whole").textContent = story.seen;
    $("whole-row").hidden = story.seen.length <= 200;
    $("words").textContent = story.words;
    $("expected").textContent = story.expected ?? "";
    $("expected-row").hidden = story.expected === null;
    $("decides").textContent = story.decides ?? "";
    $("decides-row").hidden = story.decides === null;
    $("recorded").textContent = story.recorded;
    $("recorded-row").hidden = story.told === "violated as recorded";
    for (const [name, value] of Object.entries(story.facts)) {
      $("facts").append(make("div", {}, make("dt", { text: name }), make("dd", { text: value })));
    }
    $("slider").max = frames.length - 1;
  }

  function contract() {
    let heading = null;
    for (const clause of story.contract) {
      if (clause.heading !== heading) $("clauses").append(make("h3", { text: heading = clause.heading }));
      const paragraph = make("p", { id: clause.name }, make("b", { text: clause.name }));
      for (const part of clause.text.split(/\b([A-Z]\d+)\b/)) {
        const other = story.contract.some((each) => each.name === part) && part !== clause.name;
        paragraph.append(other ? make("a", { href: `#${part}`, text: part }) : part);
      }
      if (clause.name === story.clause && !story.holds) paragraph.classList.add("violated");
      $("clauses").append(paragraph);
    }
    const open = () => {
      if (/^#([A-Z]\d+|contract)$/.test(location.hash)) {
        $("contract").open = true;
        document.getElementById(location.hash.slice(1))?.scrollIntoView();
      }
    };
    addEventListener("hashchange", open);
    document.addEventListener("click", (event) => {
      if (event.target.closest?.("a[href^='#']")) $("contract").open = true;
    });
    open();
  }

  // The moves

  function moves() {
    $("before").textContent = story.before ? `${story.before} earlier moves are left out` : "";
    $("before").hidden = !story.before;
    frames.forEach((frame, place) => {
      const button = make("button", { type: "button", title: frame.text, click: () => go(place) },
        make("span", { class: "number", text: frame.ending ? "end" : `${frame.number}.` }), make("span", { text: frame.text }));
      for (const [words, decides] of frame.marks) {
        button.append(make("span", { class: decides ? "late decides" : "late",
          text: decides ? `${words}: decides; without it the contract holds` : words }));
      }
      if (place === partingFrame) button.append(make("span", { class: "parts-here", text: "here they part" }));
      $("moves").append(make("li", {}, button));
    });
  }

  // The graph

  const NODE = { height: 46, wide: 210, narrow: 96 };
  const parted = (name, step) => partingFrame >= 0 && differs(name, step, partingFrame);
  let nodes = new Map();
  let graphSize = { width: 1, height: 1 };

  function layout(name, direction) {
    const graph = new dagre.graphlib.Graph({ multigraph: true });
    graph.setGraph({ rankdir: direction, nodesep: 18, ranksep: direction === "LR" ? 46 : 34, marginx: 10, marginy: 10 });
    graph.setDefaultEdgeLabel(() => ({}));
    // Layout goes by numbers: a library's plain objects must not be asked for a step called __proto__.
    const rank = new Map(stepsOf(name).map((step, place) => [step, `n${place}`]));
    for (const [step, notes] of executions[name].steps) {
      const letters = Math.max(cut(step, 22).length * 8, 138, cut(notes, 34).length * 5.6,
        parted(name, step) ? (standing(known, name, step, partingFrame).length + 11) * 7.2 : 0);
      graph.setNode(rank.get(step), { width: Math.min(Math.max(letters + 26, NODE.narrow), NODE.wide + 26),
        height: NODE.height + (notes ? 14 : 0) + (parted(name, step) ? 15 : 0) });
    }
    executions[name].edges.forEach(([source, target, condition], place) => {
      const text = cut(condition, 24);
      graph.setEdge(rank.get(source), rank.get(target), text ? { text, whole: condition, width: text.length * 6.8 + 8, height: 16, labelpos: "c" } : {}, String(place));
    });
    dagre.layout(graph);
    return graph;
  }

  function room() { return printing ? 660 : Math.max($("graph").clientWidth - 4, 200); }

  function graph() {
    $("graph").replaceChildren();
    nodes = new Map();
    if (!names.length) {
      $("graph").append(make("p", { class: "quiet", text: "No execution was created: there is nothing to draw." }));
      return;
    }
    // Of the two directions the one that can be read at the larger size.
    const [found] = ["LR", "TB"].map((direction) => {
      const tried = layout(chosen, direction);
      const { width, height } = tried.graph();
      return { tried, width, height, scale: Math.min(room() / width, 1.15, Math.max(460 / height, 0.5)) };
    }).sort((one, other) => other.scale - one.scale);
    graphSize = found;
    const svg = draw("svg", { viewBox: `0 0 ${found.width} ${found.height}`, role: "img",
      "aria-label": `Workflow of ${chosen}: ${executions[chosen].steps.length} steps` });
    const defs = draw("defs");
    const head = draw("marker", { id: "head", viewBox: "0 0 10 10", refX: 9, refY: 5, markerWidth: 7, markerHeight: 7, orient: "auto-start-reverse" });
    head.append(draw("path", { d: "M0 0L10 5L0 10z", class: "head" }));
    defs.append(head);
    svg.append(defs);
    for (const edge of found.tried.edges()) {
      const { points, text, whole, x, y, width } = found.tried.edge(edge);
      svg.append(draw("path", { class: "link", d: curve(points), "marker-end": "url(#head)" }));
      if (text) {
        svg.append(draw("rect", { class: "condition-box", x: x - width / 2, y: y - 8, width, height: 16 }));
        const label = draw("text", { class: "condition", x, y: y + 4, "text-anchor": "middle" }, text);
        label.append(draw("title", {}, whole));
        svg.append(label);
      }
    }
    for (const [place, [step, notes]] of executions[chosen].steps.entries()) {
      const { x, y, width, height } = found.tried.node(`n${place}`);
      const node = draw("g", { class: "node", transform: `translate(${x - width / 2} ${y - height / 2})` });
      const box = { width, height, rx: 8 };
      node.append(draw("title", {}, notes ? `${step}: ${notes}` : step), draw("rect", { class: "box", ...box }),
        draw("rect", { class: "tint", ...box }), draw("rect", { class: "edge", width: 6, height, rx: 3 }));
      node.append(draw("text", { x: 16, y: 19 }, cut(step, 22)));
      const says = draw("text", { class: "says", x: 16, y: 36 });
      node.append(says);
      if (notes) node.append(draw("text", { class: "notes", x: 16, y: 51 }, cut(notes, 34)));
      const knows = draw("text", { class: "says", x: 16, y: notes ? 66 : 51 });
      node.append(knows);
      nodes.set(step, { node, says, knows, x, y });
      svg.append(node);
    }
    $("graph").append(svg);
    scale();
  }

  function curve(points) {
    if (points.length < 3) return `M${points.map(({ x, y }) => `${x} ${y}`).join("L")}`;
    let path = `M${points[0].x} ${points[0].y}`;
    for (let place = 1; place < points.length - 1; place += 1) {
      const [here, then] = [points[place], points[place + 1]];
      const end = place === points.length - 2 ? then : { x: (here.x + then.x) / 2, y: (here.y + then.y) / 2 };
      path += `Q${here.x} ${here.y} ${end.x} ${end.y}`;
    }
    return path;
  }

  function scale() {
    const svg = $("graph").querySelector("svg");
    if (!svg) return;
    const fitting = Math.min(room() / graphSize.width, 1.15);
    // Too small to be read is too small to be drawn: then one scrolls. Paper does not scroll.
    const factor = printing ? Math.min(fitting, 900 / graphSize.height) : zoom ?? Math.max(fitting, 0.62);
    svg.setAttribute("width", graphSize.width * factor);
    svg.setAttribute("height", graphSize.height * factor);
  }
  function enlarge(factor) {
    const svg = $("graph").querySelector("svg");
    if (!svg) return;
    zoom = Math.min(Math.max((svg.width.baseVal.value / graphSize.width) * factor, 0.08), 3);
    scale();
  }

  function showGraph() {
    const moved = [];
    for (const [step, { node, says, knows }] of nodes) {
      const status = standing(claimed, chosen, step);
      const other = differs(chosen, step);
      const parts = position === partingFrame && chosen === subject && (other || about.has(step));
      const fresh = position > 0 && standing(claimed, chosen, step, position - 1) !== status;
      if (fresh || parts) moved.push([parts, step]);
      colour(node, status);
      says.textContent = spaced(status);
      knows.textContent = other ? `the model: ${spaced(standing(known, chosen, step))}` : "";
      node.classList.toggle("moved", fresh);
      node.classList.toggle("parts", parts);
      node.classList.toggle("quietly", status === "PENDING");
      node.classList.toggle("dashed", status === "SKIPPED" || status === "PENDING");
    }
    const status = claimed[position].get(chosen)?.status;
    const model = known[position].get(chosen)?.status;
    colour($("status"), status ?? "other");
    $("status").hidden = !names.length;
    $("status").textContent = status === undefined ? "not created yet"
      : model !== undefined && model !== status ? `${spaced(status)} / model: ${spaced(model)}` : spaced(status);
    moved.sort((one, other) => other[0] - one[0]);
    if (moved.length && !printing) reveal(nodes.get(moved[0][1]));
  }
  function reveal({ x, y }) {
    const box = $("graph");
    const factor = (box.querySelector("svg")?.width.baseVal.value ?? 1) / graphSize.width;
    if (box.scrollWidth > box.clientWidth) box.scrollLeft = x * factor - box.clientWidth / 2;
    if (box.scrollHeight > box.clientHeight) box.scrollTop = y * factor - box.clientHeight / 2;
  }

  // The timeline

  const SHAPES = { "saw its cancellation": "m-5 -7h10l-5 8z", "timed out": "m-5 -6h10l-10 12h10z", settled: "m0 -6l6 6l-6 6l-6 -6z" };
  const LANE = 26;
  const AXIS = 30;
  let lanes = { cursor: null, bands: [], bars: [], marks: [], x: () => 0, rank: new Map() };

  function timeline() {
    const box = $("lanes");
    box.replaceChildren();
    const rows = [];
    for (const name of names) {
      rows.push({ name, step: null });
      const busy = new Set([...story.bars, ...story.marks].filter((each) => each.execution === name).map((each) => each.step));
      const idle = stepsOf(name).filter((step) => !busy.has(step));
      for (const step of stepsOf(name)) if (busy.has(step)) rows.push({ name, step });
      if (idle.length && idle.length <= 3) for (const step of idle) rows.push({ name, step });
      else if (idle.length) rows.push({ name, idle });
    }
    const labels = make("div", { class: "names" }, make("div", { class: "axis" }));
    const rank = new Map();
    rows.forEach((row, place) => {
      rank.set(JSON.stringify([row.name, row.step ?? null]), row.idle ? -1 : place);
      const text = row.idle ? `${row.idle.length} never started` : row.step ?? row.name;
      const label = make("div", { class: row.step === null ? "group" : row.idle ? "quiet" : "", text, title: row.idle ? cut(row.idle.join(", "), 400) : text });
      labels.append(label);
    });
    box.append(labels);
    rows.forEach((row, place) => { if (row.step === null) rank.set(JSON.stringify([row.name, null]), place); });

    if (printing) labels.remove(); // paper is cut where it ends: there the names stand in the drawing
    const left = printing ? 130 : 0;
    const width = printing ? 660 : Math.max(box.clientWidth - labels.offsetWidth - 6, 160);
    const x = scaleOf(width, left);
    const height = rows.length * LANE + 6;
    const total = x.total;
    const axis = draw("svg", { class: "axis", width: total, height: AXIS, viewBox: `0 0 ${total} ${AXIS}`, "aria-hidden": "true" });
    const svg = draw("svg", { width: total, height, viewBox: `0 0 ${total} ${height}`, role: "img",
      "aria-label": "Attempts, waits, compensations and statuses over virtual time" });
    lanes = { cursor: null, bands: [], bars: [], marks: [], x, rank };

    let labelled = -100;
    frames.forEach((frame, place) => {
      const from = place ? x(frames[place - 1].at) : left;
      const to = place === frames.length - 1 ? total : x(frame.at);
      const band = draw("rect", { class: place % 2 ? "band odd" : "band", x: from, y: 0, width: Math.max(to - from, 0), height });
      band.append(draw("title", {}, `${frame.ending ? "end" : frame.number}: ${frame.text}`));
      band.addEventListener("click", () => go(place));
      lanes.bands.push(band);
      svg.append(band);
      const middle = (from + to) / 2;
      if (middle - labelled > 24 || place === partingFrame) {
        labelled = middle;
        axis.append(draw("text", { x: middle, y: 12, "text-anchor": "middle", class: place === partingFrame ? "accent" : "" }, frame.ending ? "end" : frame.number));
      }
    });
    let said = -100;
    for (const moment of x.moments) {
      const at = x(moment);
      const text = time(moment);
      if (at - said < text.length * 6.2 + 12 || at + text.length * 3 > total) continue;
      said = at;
      axis.append(draw("text", { x: Math.max(at, 2), y: 25, "text-anchor": at < 14 ? "start" : "middle" }, text));
    }
    rows.forEach((_, place) => {
      const y = place * LANE;
      svg.append(draw("line", { class: "rule", x1: 0, x2: total, y1: y, y2: y }));
    });
    for (const bar of story.bars) {
      const place = rank.get(JSON.stringify([bar.execution, bar.step]));
      if (place === undefined || place < 0) continue;
      const [from, to] = [x(bar.from), x(bar.to)];
      const y = place * LANE + (bar.kind === "status" ? 6 : 5);
      const size = bar.kind === "status" ? 14 : 16;
      const extent = { x: from, y, width: Math.max(to - from, 4), height: size, rx: 3 };
      const ghost = draw("rect", { class: `ghost ${bar.kind}`, ...extent });
      const solid = draw("rect", { class: `run ${bar.kind}`, ...extent });
      const title = `${bar.step ?? bar.execution}: ${bar.kind === "compensation" ? "compensation, " : ""}${bar.label}` +
        `${bar.kind === "action" || bar.kind === "compensation" ? `, ${bar.outcome === "open" ? "still running" : bar.outcome}` : ""}, ${time(bar.from)} to ${time(bar.to)}`;
      for (const each of [ghost, solid]) {
        colour(each, barColour(bar));
        each.append(draw("title", {}, title));
        svg.append(each);
      }
      let label = null;
      if (bar.kind === "status" && to - from > bar.label.length * 6.4) {
        label = draw("text", { x: from + 3, y: y - 0.5 + 11, class: "on" }, spaced(bar.label));
        svg.append(label);
      } else if (bar.attempt > 1 && to - from > 14) {
        label = draw("text", { x: from + 4, y: y + 12, class: "on-bar" }, bar.attempt);
        svg.append(label);
      }
      lanes.bars.push({ bar, solid, ghost, label, from, to });
    }
    for (const mark of story.marks) {
      const place = rank.get(JSON.stringify([mark.execution, mark.step]));
      if (place === undefined || place < 0) continue;
      const at = x(mark.at);
      const y = place * LANE + 13;
      const drawn = draw("path", { class: "mark", d: `M${at} ${y}${SHAPES[mark.text] ?? SHAPES.settled}` });
      drawn.append(draw("title", {}, `${mark.step}: ${mark.text} at ${time(mark.at)}`));
      svg.append(drawn);
      lanes.marks.push({ index: mark.index, drawn });
    }
    for (const line of story.lines) {
      const at = x(line.at);
      const drawn = draw("line", { class: "event-line", x1: at, x2: at, y1: 0, y2: height });
      const label = draw("text", { x: at + 3, y: height - 3, class: "on" }, line.text);
      svg.append(drawn, label);
      lanes.marks.push({ index: line.index, drawn }, { index: line.index, drawn: label });
    }
    if (partingFrame >= 0) {
      const at = Math.min(x(partingEntry ? partingEntry[0] : frames[partingFrame].at), total - 1);
      svg.append(draw("line", { class: "parting", x1: at, x2: at, y1: 0, y2: height }));
    }
    lanes.cursor = draw("line", { class: "cursor", y1: 0, y2: height });
    svg.append(lanes.cursor);
    if (!printing) {
      box.append(make("div", {}, axis, svg));
      return;
    }
    rows.forEach((row, place) => svg.append(draw("text", { x: 2, y: place * LANE + 17, class: "on" },
      cut(row.idle ? `${row.idle.length} never started` : row.step ?? row.name, 19))));
    const sheet = draw("svg", { class: "sheet", width: total, height: height + AXIS, viewBox: `0 0 ${total} ${height + AXIS}` });
    svg.setAttribute("y", AXIS);
    sheet.append(axis, svg);
    box.append(sheet);
  }

  function barColour(bar) {
    if (bar.kind === "status") return bar.label;
    if (bar.kind === "wait") return "RETRYING";
    const ends = { returned: bar.kind === "action" ? "COMPLETED" : "COMPENSATED", raised: "FAILED", cancelled: "CANCELLED", lost: "other" };
    return ends[bar.outcome] ?? (bar.kind === "action" ? "RUNNING" : "COMPENSATING");
  }

  // Long waits are drawn short: the width of a gap grows with its logarithm.
  function scaleOf(width, left) {
    const moments = [...new Set([0, ...frames.map((frame) => frame.at), ...story.bars.flatMap((bar) => [bar.from, bar.to]),
      ...story.marks.map((mark) => mark.at), ...story.lines.map((line) => line.at)])].sort((one, other) => one - other);
    const places = [14];
    for (let rank = 1; rank < moments.length; rank += 1) {
      const gap = Math.max(moments[rank] - moments[rank - 1], 0);
      places.push(places[rank - 1] + 12 + 16 * Math.log10(1 + gap / 0.0004));
    }
    const natural = places.at(-1) + 46;
    const stretch = natural < width || printing ? (width - left - 60) / Math.max(places.at(-1) - 14, 1) : 1;
    const where = new Map(moments.map((moment, rank) => [moment, left + 14 + (places[rank] - 14) * Math.min(stretch, 60)]));
    const x = (moment) => where.get(moment) ?? 0;
    x.moments = moments;
    x.total = where.get(moments.at(-1)) + 46;
    return x;
  }

  function showTimeline() {
    const frame = frames[position];
    const now = lanes.x(frame.at);
    lanes.cursor?.setAttribute("x1", now);
    lanes.cursor?.setAttribute("x2", now);
    lanes.bands.forEach((band, place) => band.classList.toggle("here", place === position));
    for (const { bar, solid, label, from, to } of lanes.bars) {
      const begun = bar.start < frame.end;
      const over = bar.end !== null && bar.end < frame.end;
      const width = over ? to - from : Math.min(to, now) - from;
      solid.setAttribute("width", begun ? Math.max(width, 4) : 0);
      solid.classList.toggle("future", !begun);
      if (bar.kind !== "status" && bar.kind !== "wait") colour(solid, over ? barColour(bar) : bar.kind === "action" ? "RUNNING" : "COMPENSATING");
      label?.classList.toggle("future", !begun);
    }
    for (const { index, drawn } of lanes.marks) drawn.classList.toggle("future", index >= frame.end);
    const box = $("lanes");
    const touched = story.parting !== null && position === partingFrame ? partingEntry
      : entries.slice(Math.max(frame.first - story.firstEntry, 0), Math.max(frame.end - story.firstEntry, 0)).find((entry) => entry[3] !== null);
    const lane = touched ? lanes.rank.get(JSON.stringify([touched[2], touched[3]])) ?? -1 : -1;
    if (!printing && lane >= 0 && box.scrollHeight > box.clientHeight) box.scrollTop = lane * LANE - box.clientHeight / 2;
    const names = box.querySelector(".names")?.offsetWidth ?? 0;
    if (!printing && box.scrollWidth > box.clientWidth) box.scrollLeft = now + names - box.clientWidth * 0.7;
  }

  // What was seen and claimed

  function showHistory() {
    const body = $("history").tBodies[0];
    body.replaceChildren();
    const start = $("all").checked ? story.firstEntry : Math.max(frames[position].first, story.firstEntry);
    const end = frames[position].end;
    let place = $("all").checked ? -1 : position;
    for (let index = start; index < end; index += 1) {
      while ($("all").checked && place + 1 < frames.length && frames[place + 1].first <= index) {
        place += 1;
        const cell = make("td", { colspan: 3, text: `${frames[place].ending ? "End" : frames[place].number}: ${frames[place].text}` });
        body.append(make("tr", { class: "head-row" }, cell));
      }
      const [at, side, execution, , kind, text] = entries[index - story.firstEntry];
      const words = names.length > 1 && execution && !text.includes(execution) ? `${execution}: ${text}` : text;
      const row = make("tr", { class: side }, make("td", { text: time(at) }));
      if (side === "saw") row.append(make("td", { text: words }), make("td"));
      else if (side === "claimed") row.append(make("td"), make("td", { text: words }));
      else row.append(make("td", { colspan: 2, text: words }));
      if (kind === "Notified" || kind === "Reported") row.classList.add("minor");
      if (story.parting !== null && index > story.parting) row.classList.add("after");
      if (index === story.parting) row.classList.add("parting-row");
      if (index === story.parting) row.lastChild.append(make("span", { class: "parts-here", text: " — here they part" }));
      body.append(row);
    }
    if (start >= end) body.append(make("tr", {}, make("td", { colspan: 3, text: "Nothing was seen or claimed." })));
    if (story.parting !== null && position === partingFrame && partingEntry === null) {
      body.append(make("tr", { class: "parting-row" }, make("td", { text: time(frames[position].at) }),
        make("td", { colspan: 2, text: `Here they part: ${story.seen}` })));
    }
    const parting = body.querySelector(".parting-row");
    $("history-box").scrollTop = parting && !printing ? parting.offsetTop - $("history-box").clientHeight / 2 : $("all").checked ? 1e9 : 0;
  }

  // Engine and model

  const SHOWN = 40;

  function showModel() {
    const body = $("model").tBodies[0];
    body.replaceChildren();
    const steps = stepsOf(chosen);
    const few = steps.length <= 12;
    $("every-label").hidden = few;
    const engine = claimed[position].get(chosen);
    const model = known[position].get(chosen);
    const says = (status) => make("td", {}, ...(status === undefined ? ["—"] : [colour(make("i"), status), spaced(status)]));
    const line = (name, one, other, knows, kind) => {
      const row = make("tr", { class: kind }, make("td", { text: name }), says(one), says(other), make("td", { text: knows }));
      if (one !== undefined && other !== undefined && one !== other) row.classList.add("differs");
      body.append(row);
    };
    if (!names.length) return;
    line(chosen, engine?.status, model?.status, model?.undo.length ? `to be undone, in this order: ${model.undo.join(", ")}` : "", "whole");
    let left = 0;
    const first = (step) => (differs(chosen, step) ? 0 : about.has(step) ? 1 : 2);
    const sorted = few || $("every").checked ? steps : [...steps].sort((step, other) => first(step) - first(other));
    for (const step of sorted) {
      const knows = [];
      if (model?.running.includes(step)) knows.push("its action runs");
      if (model?.ready.includes(step)) knows.push("may start now");
      if (model?.undo[0] === step) knows.push("to be undone next");
      const [one, other] = [engine?.steps.get(step), model?.steps.get(step)];
      const idle = (one ?? "PENDING") === (other ?? "PENDING") && !knows.length &&
        (position === 0 || standing(claimed, chosen, step, position - 1) === (one ?? "PENDING"));
      if (!few && !$("every").checked && (idle || body.rows.length > SHOWN) && first(step) === 2) left += 1;
      else line(step, one ?? (engine && "PENDING"), other, knows.join(", "), "");
    }
    if (left) body.append(make("tr", {}, make("td", { class: "quiet", colspan: 4, text: `${left} more steps, most of which did not move` })));
  }

  // Walking

  function show() {
    const frame = frames[position];
    $("slider").value = position;
    const where = `${frame.ending ? "The end" : `Move ${frame.number} of ${frames.at(-1).ending ? frames.at(-1).number - 1 : frames.at(-1).number}`}`;
    $("slider").setAttribute("aria-valuetext", `${where}: ${cut(frame.text, 120)}`);
    const text = make("span", { class: "step", text: `${where}: ` });
    const late = frame.marks.length ? make("span", { class: "quiet", text: `  ${frame.marks.map(([words]) => words).join(", ")}` }) : "";
    $("now").replaceChildren(text, frame.text, late, make("span", { class: "quiet", text: `  at ${time(frame.at)}` }),
      position === partingFrame ? make("span", { class: "parts-here", text: "  here they part" }) : "");
    $("first").disabled = $("back").disabled = position === 0;
    $("last").disabled = $("next").disabled = position === frames.length - 1;
    $("moves").querySelector("[aria-current]")?.removeAttribute("aria-current");
    const button = $("moves").children[position]?.firstChild;
    button?.setAttribute("aria-current", "step");
    if (button && !printing) {
      const list = $("moves");
      if (button.offsetTop < list.scrollTop) list.scrollTop = button.offsetTop;
      else if (button.offsetTop + button.offsetHeight > list.scrollTop + list.clientHeight) list.scrollTop = button.offsetTop + button.offsetHeight - list.clientHeight;
    }
    showGraph();
    showTimeline();
    showHistory();
    showModel();
  }
  function go(place) {
    position = Math.min(Math.max(place, 0), frames.length - 1);
    show();
  }

  function keys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const target = event.target;
    if (target instanceof HTMLSelectElement || (target instanceof HTMLInputElement && target.type !== "checkbox" && target.type !== "range")) return;
    const arrows = !target.closest?.("[tabindex='0'], input[type=range]");
    const does = { j: () => go(position - 1), k: () => go(position + 1), t: nextTheme };
    if (arrows) Object.assign(does, { ArrowLeft: does.j, ArrowRight: does.k, Home: () => go(0), End: () => go(frames.length - 1) });
    if (!has(does, event.key)) return;
    event.preventDefault();
    does[event.key]();
  }

  // Light and dark

  const dark = matchMedia("(prefers-color-scheme: dark)");
  let theme = "system";
  function paint() {
    document.documentElement.dataset.theme = printing ? "light" : theme === "system" ? (dark.matches ? "dark" : "light") : theme;
    $("theme-name").textContent = theme;
  }
  function nextTheme() {
    const order = dark.matches ? ["system", "light", "dark"] : ["system", "dark", "light"];
    theme = order[(order.indexOf(theme) + 1) % 3];
    paint();
  }

  function legends() {
    const entry = (status, text, kind = "solid") => make("span", {}, colour(make("i", { class: kind }), status), text);
    $("graph-legend").append(make("span", { text: "colour and words: the engine's claim; thick outline: changed by this move" + (story.holds ? "" : "; red outline: where it parts from the model") }));
    $("lanes-legend").append(entry("RUNNING", "runs"), entry("COMPLETED", "returned"), entry("FAILED", "raised"), entry("CANCELLED", "cancelled"),
      entry("RETRYING", "waits for a retry", "wait"), entry("COMPENSATING", "compensation runs"), entry("COMPENSATED", "compensation returned"), entry("other", "lost in a crash"),
      ...Object.entries(SHAPES).map(([text, shape]) => {
        const icon = draw("svg", { width: 16, height: 16, viewBox: "-8 -8 16 16", "aria-hidden": "true" });
        icon.append(draw("path", { class: "mark", d: `M0 0${shape}` }));
        return make("span", {}, icon, ` ${text === "settled" ? "recorded as settled" : text}`);
      }));
  }

  head();
  contract();
  moves();
  legends();
  for (const name of names) $("which").append(make("option", { value: name, text: name }));
  if (names.length) chosen = $("which").value = subject;
  $("which-label").hidden = names.length < 2;
  $("main").hidden = $("foot").hidden = false;
  paint();

  const redraw = () => { graph(); timeline(); show(); };
  redraw();
  $("which").addEventListener("change", () => { chosen = $("which").value; zoom = null; graph(); show(); });
  $("slider").addEventListener("input", () => go(Number($("slider").value)));
  $("first").addEventListener("click", () => go(0));
  $("back").addEventListener("click", () => go(position - 1));
  $("next").addEventListener("click", () => go(position + 1));
  $("last").addEventListener("click", () => go(frames.length - 1));
  $("all").addEventListener("change", showHistory);
  $("every").addEventListener("change", showModel);
  $("theme").addEventListener("click", nextTheme);
  $("smaller").addEventListener("click", () => enlarge(1 / 1.3));
  $("larger").addEventListener("click", () => enlarge(1.3));
  $("fit").addEventListener("click", () => { zoom = room() / graphSize.width; scale(); });
  document.addEventListener("keydown", keys);
  dark.addEventListener("change", paint);
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width || printing) return;
    width = innerWidth;
    redraw();
  });
  let opened = false;
  const print = (now) => {
    if (now && !printing) opened = $("contract").open;
    printing = now;
    $("contract").open = now ? !story.holds : opened;
    paint();
    redraw();
  };
  addEventListener("beforeprint", () => print(true));
  addEventListener("afterprint", () => print(false));
})();
