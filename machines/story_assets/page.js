"use strict";
// The story's page. Rule 1: data becomes text and numbers, never markup. Rule 2: one position, the move that is looked
// at; `show` draws everything that depends on it. Rule 3: what is beyond that move is drawn faintly, or not at all.
(() => {
  const story = JSON.parse(document.getElementById("story").textContent);
  const $ = (id) => document.getElementById(id);
  const { make, draw, colour, cut, spaced, time, laneOf, LANE } = drawing;
  const { frames, entries, executions } = story;
  const has = (object, key) => Object.prototype.hasOwnProperty.call(object, key);
  const names = Object.keys(executions);
  let position = frames.length - 1;
  let chosen = names[0];
  let printing = false;

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

  const graph = new drawing.Graph($("graph"));
  const parted = (name, step) => partingFrame >= 0 && differs(name, step, partingFrame);

  function layGraph() {
    if (!names.length) {
      graph.clear(make("p", { class: "quiet", text: "No execution was created: there is nothing to draw." }));
      return;
    }
    const steps = executions[chosen].steps.map(([id, notes]) => ({ id, notes,
      below: parted(chosen, id) ? `the model: ${standing(known, chosen, id, partingFrame)}` : "" }));
    graph.lay(`Workflow of ${chosen}`, steps, executions[chosen].edges);
  }

  function showGraph() {
    const shown = [];
    for (const step of graph.nodes.keys()) {
      const status = standing(claimed, chosen, step);
      const other = differs(chosen, step);
      const parts = position === partingFrame && chosen === subject && (other || about.has(step));
      const moved = position > 0 && standing(claimed, chosen, step, position - 1) !== status;
      if (moved || parts) shown.push([parts, step]);
      graph.paint(step, status, { moved, parts, below: other ? `the model: ${spaced(standing(known, chosen, step))}` : "" });
    }
    const status = claimed[position].get(chosen)?.status;
    const model = known[position].get(chosen)?.status;
    colour($("status"), status ?? "other");
    $("status").hidden = !names.length;
    $("status").textContent = status === undefined ? "not created yet"
      : model !== undefined && model !== status ? `${spaced(status)} / model: ${spaced(model)}` : spaced(status);
    shown.sort((one, other) => other[0] - one[0]);
    if (shown.length && !printing) graph.reveal(shown[0][1]);
  }

  // The timeline

  const lanes = new drawing.Timeline($("lanes"));
  let bands = [];
  let cursor = null;

  function timeline() {
    bands = [];
    lanes.lay({
      label: "Attempts, waits, compensations and statuses over virtual time",
      rows: names.flatMap((name) => drawing.rowsOf(name, stepsOf(name), story.bars, story.marks)),
      bars: story.bars, marks: story.marks, lines: story.lines, moments: frames.map((frame) => frame.at),
    }, drawBands);
    if (partingFrame >= 0) {
      const at = Math.min(lanes.x(partingEntry ? partingEntry[0] : frames[partingFrame].at), lanes.x.total - 1);
      lanes.svg.append(draw("line", { class: "parting", x1: at, x2: at, y1: 0, y2: lanes.height }));
    }
    cursor = draw("line", { class: "cursor", y1: 0, y2: lanes.height });
    lanes.svg.append(cursor);
  }

  function drawBands(svg, axis) {
    const { x, height } = lanes;
    let labelled = -100;
    frames.forEach((frame, place) => {
      const from = place ? x(frames[place - 1].at) : x.left;
      const to = place === frames.length - 1 ? x.total : x(frame.at);
      const band = draw("rect", { class: place % 2 ? "band odd" : "band", x: from, y: 0, width: Math.max(to - from, 0), height });
      band.append(draw("title", {}, `${frame.ending ? "end" : frame.number}: ${frame.text}`));
      band.addEventListener("click", () => go(place));
      bands.push(band);
      svg.append(band);
      const middle = (from + to) / 2;
      if (middle - labelled > 24 || place === partingFrame) {
        labelled = middle;
        axis.append(draw("text", { x: middle, y: 12, "text-anchor": "middle", class: place === partingFrame ? "accent" : "" }, frame.ending ? "end" : frame.number));
      }
    });
  }

  function showTimeline() {
    const frame = frames[position];
    const now = lanes.x(frame.at);
    cursor.setAttribute("x1", now);
    cursor.setAttribute("x2", now);
    bands.forEach((band, place) => band.classList.toggle("here", place === position));
    for (const { bar, solid, label, from, to } of lanes.bars) {
      const begun = bar.start < frame.end;
      const over = bar.end !== null && bar.end < frame.end;
      const width = over ? to - from : Math.min(to, now) - from;
      solid.setAttribute("width", begun ? Math.max(width, 4) : 0);
      solid.classList.toggle("future", !begun);
      if (bar.kind !== "status" && bar.kind !== "wait") colour(solid, over ? drawing.barColour(bar) : bar.kind === "action" ? "RUNNING" : "COMPENSATING");
      label?.classList.toggle("future", !begun);
    }
    for (const { index, drawn } of lanes.marks) drawn.classList.toggle("future", index >= frame.end);
    const box = $("lanes");
    const touched = story.parting !== null && position === partingFrame ? partingEntry
      : entries.slice(Math.max(frame.first - story.firstEntry, 0), Math.max(frame.end - story.firstEntry, 0)).find((entry) => entry[3] !== null);
    const lane = touched ? lanes.rank.get(laneOf(touched[2], touched[3])) ?? -1 : -1;
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
    const does = { j: () => go(position - 1), k: () => go(position + 1), t: theme.next };
    if (arrows) Object.assign(does, { ArrowLeft: does.j, ArrowRight: does.k, Home: () => go(0), End: () => go(frames.length - 1) });
    if (!has(does, event.key)) return;
    event.preventDefault();
    does[event.key]();
  }

  function legends() {
    $("graph-legend").append(make("span", { text: "colour and words: the engine's claim; thick outline: changed by this move" + (story.holds ? "" : "; red outline: where it parts from the model") }));
    drawing.Timeline.legend($("lanes-legend"), true, drawing.SHAPES);
  }

  head();
  contract();
  moves();
  legends();
  for (const name of names) $("which").append(make("option", { value: name, text: name }));
  if (names.length) chosen = $("which").value = subject;
  $("which-label").hidden = names.length < 2;
  $("main").hidden = $("foot").hidden = false;
  const theme = drawing.theme($("theme"), $("theme-name"));

  const redraw = () => { layGraph(); timeline(); show(); };
  redraw();
  $("which").addEventListener("change", () => { chosen = $("which").value; graph.zoom = null; layGraph(); show(); });
  $("slider").addEventListener("input", () => go(Number($("slider").value)));
  $("first").addEventListener("click", () => go(0));
  $("back").addEventListener("click", () => go(position - 1));
  $("next").addEventListener("click", () => go(position + 1));
  $("last").addEventListener("click", () => go(frames.length - 1));
  $("all").addEventListener("change", showHistory);
  $("every").addEventListener("change", showModel);
  $("smaller").addEventListener("click", () => graph.enlarge(1 / 1.3));
  $("larger").addEventListener("click", () => graph.enlarge(1.3));
  $("fit").addEventListener("click", () => graph.fit());
  document.addEventListener("keydown", keys);
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width || printing) return;
    width = innerWidth;
    redraw();
  });
  let opened = false;
  const print = (now) => {
    if (now && !printing) opened = $("contract").open;
    printing = graph.printing = lanes.printing = theme.printing = now;
    $("contract").open = now ? !story.holds : opened;
    theme.paint();
    redraw();
  };
  addEventListener("beforeprint", () => print(true));
  addEventListener("afterprint", () => print(false));
})();
