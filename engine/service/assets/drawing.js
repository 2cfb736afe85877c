"use strict";
// What is drawn alike wherever an execution is shown: its workflow as a graph, its course as lanes over time.
// Rule 1: data becomes text and numbers, never markup. Rule 2: a drawing is told what it shows; it looks nothing up.
// It needs dagre, which stands before it.
const drawing = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const STATUSES = new Set(["PENDING", "RUNNING", "RETRYING", "COMPLETED", "FAILED", "SKIPPED", "CANCELLED", "COMPENSATING",
    "COMPENSATED", "COMPENSATION_FAILED", "PAUSED", "CANCELLING", "ROLLING_BACK", "PARTIAL"]);

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

  // The graph

  const NODE = { height: 46, wide: 210, narrow: 96 };

  function layout(steps, edges, direction) {
    const graph = new dagre.graphlib.Graph({ multigraph: true });
    graph.setGraph({ rankdir: direction, nodesep: 18, ranksep: direction === "LR" ? 46 : 34, marginx: 10, marginy: 10 });
    graph.setDefaultEdgeLabel(() => ({}));
    // Layout goes by numbers: a library's plain objects must not be asked for a step called __proto__.
    const rank = new Map(steps.map(({ id }, place) => [id, `n${place}`]));
    for (const { id, notes, below } of steps) {
      const letters = Math.max(cut(id, 22).length * 8, 138, cut(notes, 34).length * 5.6, below.length * 7.2);
      graph.setNode(rank.get(id), { width: Math.min(Math.max(letters + 26, NODE.narrow), NODE.wide + 26),
        height: NODE.height + (notes ? 14 : 0) + (below ? 15 : 0) });
    }
    edges.forEach(([source, target, condition], place) => {
      const text = cut(condition, 24);
      graph.setEdge(rank.get(source), rank.get(target), text ? { text, whole: condition, width: text.length * 6.8 + 8, height: 16, labelpos: "c" } : {}, String(place));
    });
    dagre.layout(graph);
    return graph;
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

  class Graph {
    constructor(box) {
      this.box = box;
      this.printing = false;
      this.zoom = null;
      this.clear();
    }

    clear(...words) {
      this.box.replaceChildren(...words);
      this.nodes = new Map();
      this.size = { width: 1, height: 1 };
      this.svg = null;
    }

    // Of each step: id, notes (a third line, if any) and below (the longest line that may stand under its status).
    lay(label, steps, edges) {
      this.clear();
      // Of the two directions the one that can be read at the larger size.
      const [found] = ["LR", "TB"].map((direction) => {
        const tried = layout(steps, edges, direction);
        const { width, height } = tried.graph();
        return { tried, width, height, scale: Math.min(this.room() / width, 1.15, Math.max(460 / height, 0.5)) };
      }).sort((one, other) => other.scale - one.scale);
      this.size = found;
      const svg = draw("svg", { viewBox: `0 0 ${found.width} ${found.height}`, role: "img", "aria-label": `${label}: ${steps.length} steps` });
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
          const words = draw("text", { class: "condition", x, y: y + 4, "text-anchor": "middle" }, text);
          words.append(draw("title", {}, whole));
          svg.append(words);
        }
      }
      for (const [place, { id, notes }] of steps.entries()) {
        const { x, y, width, height } = found.tried.node(`n${place}`);
        const node = draw("g", { class: "node", transform: `translate(${x - width / 2} ${y - height / 2})` });
        const box = { width, height, rx: 8 };
        node.append(draw("title", {}, notes ? `${id}: ${notes}` : id), draw("rect", { class: "box", ...box }),
          draw("rect", { class: "tint", ...box }), draw("rect", { class: "edge", width: 6, height, rx: 3 }));
        node.append(draw("text", { x: 16, y: 19 }, cut(id, 22)));
        const says = draw("text", { class: "says", x: 16, y: 36 });
        node.append(says);
        if (notes) node.append(draw("text", { class: "notes", x: 16, y: 51 }, cut(notes, 34)));
        const below = draw("text", { class: "says", x: 16, y: notes ? 66 : 51 });
        node.append(below);
        this.nodes.set(id, { node, says, below, x, y });
        svg.append(node);
      }
      this.box.append(svg);
      this.svg = svg;
      this.scale();
    }

    paint(step, status, { also = "", below = "", moved = false, parts = false } = {}) {
      const found = this.nodes.get(step);
      if (!found) return;
      colour(found.node, status);
      found.says.textContent = spaced(status) + also;
      found.below.textContent = below;
      found.node.classList.toggle("moved", moved);
      found.node.classList.toggle("parts", parts);
      found.node.classList.toggle("quietly", status === "PENDING");
      found.node.classList.toggle("dashed", status === "SKIPPED" || status === "PENDING");
    }

    room() { return this.printing ? 660 : Math.max(this.box.clientWidth - 4, 200); }

    scale() {
      if (!this.svg) return;
      const fitting = Math.min(this.room() / this.size.width, 1.15);
      // Too small to be read is too small to be drawn: then one scrolls. Paper does not scroll.
      const factor = this.printing ? Math.min(fitting, 900 / this.size.height) : this.zoom ?? Math.max(fitting, 0.62);
      this.svg.setAttribute("width", this.size.width * factor);
      this.svg.setAttribute("height", this.size.height * factor);
    }

    enlarge(factor) {
      if (!this.svg) return;
      this.zoom = Math.min(Math.max((this.svg.width.baseVal.value / this.size.width) * factor, 0.08), 3);
      this.scale();
    }

    fit() {
      this.zoom = this.room() / this.size.width;
      this.scale();
    }

    reveal(step) {
      const { x, y } = this.nodes.get(step);
      const factor = this.svg.width.baseVal.value / this.size.width;
      const box = this.box;
      if (box.scrollWidth > box.clientWidth) box.scrollLeft = x * factor - box.clientWidth / 2;
      if (box.scrollHeight > box.clientHeight) box.scrollTop = y * factor - box.clientHeight / 2;
    }
  }

  // The timeline

  const SHAPES = { "saw its cancellation": "m-5 -7h10l-5 8z", "timed out": "m-5 -6h10l-10 12h10z", settled: "m0 -6l6 6l-6 6l-6 -6z" };
  const LANE = 26;
  const AXIS = 30;
  const laneOf = (execution, step) => JSON.stringify([execution, step]);

  function barColour(bar) {
    if (bar.kind === "status") return bar.label;
    if (bar.kind === "wait") return "RETRYING";
    const ends = { returned: bar.kind === "action" ? "COMPLETED" : "COMPENSATED", raised: "FAILED", cancelled: "CANCELLED", lost: "other" };
    return ends[bar.outcome] ?? (bar.kind === "action" ? "RUNNING" : "COMPENSATING");
  }

  // The lanes of one execution: itself, its steps that have something to show, and how many have nothing.
  function rowsOf(name, steps, bars, marks) {
    const busy = new Set([...bars, ...marks].filter((each) => each.execution === name).map((each) => each.step));
    const idle = steps.filter((step) => !busy.has(step));
    const rows = [{ name, step: null }, ...steps.filter((step) => busy.has(step)).map((step) => ({ name, step }))];
    if (idle.length && idle.length <= 3) rows.push(...idle.map((step) => ({ name, step })));
    else if (idle.length) rows.push({ name, step: null, idle });
    return rows;
  }
  const rowText = (row) => (row.idle ? `${row.idle.length} never started` : row.step ?? row.name);

  // Long waits are drawn short: the width of a gap grows with its logarithm.
  function scaleOf(given, width, left, printing) {
    const moments = [...new Set([0, ...given])].sort((one, other) => one - other);
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
    x.left = left;
    x.total = where.get(moments.at(-1)) + 46;
    return x;
  }

  class Timeline {
    constructor(box) {
      this.box = box;
      this.printing = false;
      this.clear();
    }

    clear() {
      this.box.replaceChildren();
      this.bars = [];
      this.marks = [];
      this.rank = new Map();
      this.svg = null;
      this.x = () => 0;
    }

    // `under` draws what lies under the lanes, and says what stands on the axis above the times.
    lay({ label, rows, bars, marks, lines, moments }, under = () => {}) {
      const { box, printing } = this;
      this.clear();
      const labels = make("div", { class: "names" }, make("div", { class: "axis" }));
      rows.forEach((row, place) => {
        if (!row.idle) this.rank.set(laneOf(row.name, row.step), place);
        labels.append(make("div", { class: row.idle ? "quiet" : row.step === null ? "group" : "", text: rowText(row),
          title: row.idle ? cut(row.idle.join(", "), 400) : rowText(row) }));
      });
      box.append(labels);
      if (printing) labels.remove(); // paper is cut where it ends: there the names stand in the drawing
      const width = printing ? 660 : Math.max(box.clientWidth - labels.offsetWidth - 6, 160);
      const x = this.x = scaleOf([...moments, ...bars.flatMap((bar) => [bar.from, bar.to]), ...marks.map((mark) => mark.at),
        ...lines.map((line) => line.at)], width, printing ? 130 : 0, printing);
      const total = x.total;
      const height = this.height = rows.length * LANE + 6;
      const axis = draw("svg", { class: "axis", width: total, height: AXIS, viewBox: `0 0 ${total} ${AXIS}`, "aria-hidden": "true" });
      const svg = this.svg = draw("svg", { width: total, height, viewBox: `0 0 ${total} ${height}`, role: "img", "aria-label": label });
      under(svg, axis);
      this.axis(axis);
      rows.forEach((_, place) => svg.append(draw("line", { class: "rule", x1: 0, x2: total, y1: place * LANE, y2: place * LANE })));
      for (const bar of bars) this.bar(bar);
      for (const mark of marks) this.mark(mark);
      for (const line of lines) {
        const drawn = draw("line", { class: "event-line", x1: x(line.at), x2: x(line.at), y1: 0, y2: height });
        const words = draw("text", { x: x(line.at) + 3, y: height - 3, class: "on" }, line.text);
        svg.append(drawn, words);
        this.marks.push({ index: line.index, drawn }, { index: line.index, drawn: words });
      }
      if (!printing) {
        box.append(make("div", {}, axis, svg));
        return;
      }
      rows.forEach((row, place) => svg.append(draw("text", { x: 2, y: place * LANE + 17, class: "on" }, cut(rowText(row), 19))));
      const sheet = draw("svg", { class: "sheet", width: total, height: height + AXIS, viewBox: `0 0 ${total} ${height + AXIS}` });
      svg.setAttribute("y", AXIS);
      sheet.append(axis, svg);
      box.append(sheet);
    }

    axis(axis) {
      let said = -100;
      for (const moment of this.x.moments) {
        const at = this.x(moment);
        const text = time(moment);
        if (at - said < text.length * 6.2 + 12 || at + text.length * 3 > this.x.total) continue;
        said = at;
        axis.append(draw("text", { x: Math.max(at, 2), y: 25, "text-anchor": at < 14 ? "start" : "middle" }, text));
      }
    }

    bar(bar) {
      const place = this.rank.get(laneOf(bar.execution, bar.step));
      if (place === undefined) return;
      const [from, to] = [this.x(bar.from), this.x(bar.to)];
      const y = place * LANE + (bar.kind === "status" ? 6 : 5);
      const extent = { x: from, y, width: Math.max(to - from, 4), height: bar.kind === "status" ? 14 : 16, rx: 3 };
      const ghost = draw("rect", { class: `ghost ${bar.kind}`, ...extent });
      const solid = draw("rect", { class: `run ${bar.kind}`, ...extent });
      const title = `${bar.step ?? bar.execution}: ${bar.kind === "compensation" ? "compensation, " : ""}${bar.label}` +
        `${bar.kind === "action" || bar.kind === "compensation" ? `, ${bar.outcome === "open" ? "still running" : bar.outcome}` : ""}, ${time(bar.from)} to ${time(bar.to)}`;
      for (const each of [ghost, solid]) {
        colour(each, barColour(bar));
        each.append(draw("title", {}, title));
        this.svg.append(each);
      }
      let label = null;
      if (bar.kind === "status" && to - from > bar.label.length * 7.8) {
        label = draw("text", { x: from + 3, y: y - 0.5 + 11, class: "on" }, spaced(bar.label));
        this.svg.append(label);
      } else if (bar.attempt > 1 && to - from > 14) {
        label = draw("text", { x: from + 4, y: y + 12, class: "on-bar" }, bar.attempt);
        this.svg.append(label);
      }
      this.bars.push({ bar, solid, ghost, label, from, to });
    }

    mark(mark) {
      const place = this.rank.get(laneOf(mark.execution, mark.step));
      if (place === undefined) return;
      const at = this.x(mark.at);
      const drawn = draw("path", { class: "mark", d: `M${at} ${place * LANE + 13}${SHAPES[mark.text] ?? SHAPES.settled}` });
      drawn.append(draw("title", {}, `${mark.step}: ${mark.text} at ${time(mark.at)}`));
      this.svg.append(drawn);
      this.marks.push({ index: mark.index, drawn });
    }

    // The legend; `shapes` are the marks that this page can show.
    static legend(into, lost, shapes) {
      const entry = (status, text, kind = "solid") => make("span", {}, colour(make("i", { class: kind }), status), text);
      into.append(entry("RUNNING", "runs"), entry("COMPLETED", "returned"), entry("FAILED", "raised"), entry("CANCELLED", "cancelled"),
        entry("RETRYING", "waits for a retry", "wait"), entry("COMPENSATING", "compensation runs"), entry("COMPENSATED", "compensation returned"),
        ...(lost ? [entry("other", "lost in a crash")] : []),
        ...shapes.map((text) => {
          const icon = draw("svg", { width: 16, height: 16, viewBox: "-8 -8 16 16", "aria-hidden": "true" });
          icon.append(draw("path", { class: "mark", d: `M0 0${SHAPES[text]}` }));
          return make("span", {}, icon, ` ${text === "settled" ? "recorded as settled" : text}`);
        }));
    }
  }

  // Light and dark

  function theme(button, words) {
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const found = { chosen: "system", printing: false, paint, next };
    function paint() {
      const seen = found.chosen === "system" ? (dark.matches ? "dark" : "light") : found.chosen;
      document.documentElement.dataset.theme = found.printing ? "light" : seen;
      words.textContent = found.chosen;
    }
    function next() {
      const order = dark.matches ? ["system", "light", "dark"] : ["system", "dark", "light"];
      found.chosen = order[(order.indexOf(found.chosen) + 1) % 3];
      paint();
    }
    button.addEventListener("click", next);
    dark.addEventListener("change", paint);
    paint();
    return found;
  }

  return { make, draw, colour, cut, spaced, time, barColour, rowsOf, laneOf, theme, Graph, Timeline, LANE, SHAPES: Object.keys(SHAPES) };
})();
