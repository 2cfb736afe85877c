"use strict";
// The page of the service. Rule 1: data becomes text and numbers, never markup. Rule 2: what is shown of an execution is
// made of its events alone, which come in sequence; whoever comes back says after which one (N1). Rule 3: the page says
// when it does not know how things stand.
(() => {
  const $ = (id) => document.getElementById(id);
  const { make, colour, cut, spaced } = drawing;
  const EXECUTION = new Map(Object.entries({ ExecutionCreated: "PENDING", ExecutionStarted: "RUNNING", ExecutionPaused: "PAUSED",
    ExecutionResumed: "RUNNING", CancellationRequested: "CANCELLING", RollbackStarted: "ROLLING_BACK" }));
  const STEP = new Map(Object.entries({ StepStarted: "RUNNING", StepRetrying: "RETRYING", StepCompleted: "COMPLETED", StepFailed: "FAILED",
    StepSkipped: "SKIPPED", StepCancelled: "CANCELLED", CompensationStarted: "COMPENSATING", CompensationRetrying: "COMPENSATING",
    CompensationCompleted: "COMPENSATED", CompensationFailed: "COMPENSATION_FAILED" }));
  const OUTCOMES = new Map(Object.entries({ StepCompleted: "returned", StepRetrying: "raised", StepFailed: "raised", StepCancelled: "cancelled",
    CompensationCompleted: "returned", CompensationRetrying: "raised", CompensationFailed: "raised" }));
  const MARKS = new Map(Object.entries({ StepTimedOut: "timed out", CompensationTimedOut: "timed out", StepSkipped: "skipped",
    StepFailed: "failed", StepCancelled: "cancelled", CompensationFailed: "compensation failed" }));
  const TERMINAL = new Set(["COMPLETED", "PARTIAL", "FAILED", "CANCELLED"]);
  const [LOOK_AGAIN, LONGEST_WAIT, ROWS, EPOCH] = [2000, 5000, 400, 1e9];
  let token = null;

  // Asking the service

  class Refused extends Error {
    constructor(status, problem) {
      super(problem.detail ?? `the service answers ${status}`);
      this.status = status;
      this.faults = problem.faults ?? [];
    }
  }

  async function ask(path, body, headers = {}) {
    const options = { headers: { ...headers }, cache: "no-store" };
    if (token !== null) options.headers.Authorization = `Bearer ${token}`;
    if (body !== undefined) Object.assign(options, { method: "POST", body, headers: { ...options.headers, "Content-Type": "application/json" } });
    const answer = await fetch(path, options);
    const content = await answer.json().catch(() => ({}));
    if (answer.status === 401 || answer.ok) $("token-card").hidden = answer.ok;
    if (!answer.ok) throw new Refused(answer.status, content);
    return content;
  }

  const LINKS = { live: ["good", "live"], over: ["", "complete"], list: ["good", "connected"], connecting: ["wait", "connecting…"],
    lost: ["bad wait", "disconnected; trying again…"], refused: ["bad", "not let in"] };
  function linked(state) {
    const [kind, words] = LINKS[state];
    $("link").className = `badge ${kind}`;
    if ($("link").textContent !== words) $("link").textContent = words;
  }

  // The executions

  let entries = [];
  let next = null;
  let reachable = false;

  // The newest page again, and what had been looked up behind it; or the page behind that.
  async function list(before = null) {
    const query = new URLSearchParams();
    if ($("filter").value) query.set("status", $("filter").value);
    if (before !== null) query.set("before", before);
    try {
      const found = await ask(`/v1/executions?${query}`);
      reachable = true;
      const last = entries.findIndex((entry) => entry.execution === found.executions.at(-1)?.execution);
      const behind = before === null && last >= 0 && found.next !== null ? entries.slice(last + 1) : [];
      entries = before === null ? [...found.executions, ...behind] : [...entries, ...found.executions];
      if (!behind.length) next = found.next;
      if (shown === null) linked("list");
    } catch (error) {
      reachable = false;
      if (shown === null || error instanceof Refused) linked(error.status === 401 ? "refused" : "lost");
    }
    showList();
  }

  function when(at) {
    return at < EPOCH ? drawing.time(at) : new Date(at * 1000).toLocaleTimeString([], { hourCycle: "h23" });
  }

  function showList() {
    const focused = document.activeElement?.closest("#list a")?.getAttribute("href");
    $("list").replaceChildren(...entries.map((entry) => {
      const link = make("a", { href: `#/${encodeURIComponent(entry.execution)}`, title: entry.execution }, make("b", { text: entry.name }),
        colour(make("span", { class: "status", text: spaced(entry.status) }), entry.status),
        make("small", { text: entry.execution }), make("small", { text: when(entry.created_at) }));
      if (entry.execution === shown?.name) link.setAttribute("aria-current", "page");
      return make("li", {}, link);
    }));
    if (focused) [...$("list").querySelectorAll("a")].find((link) => link.getAttribute("href") === focused)?.focus();
    $("empty").hidden = entries.length > 0;
    $("empty").textContent = !reachable ? "The service does not answer." : $("filter").value ? "None of this status." : "None yet.";
    $("older").hidden = next === null;
  }

  // One execution: what its events make

  let shown = null;

  class Shown {
    constructor(name) {
      Object.assign(this, { name, outline: null, socket: null, over: false, wait: 250, retry: null });
      this.forget();
    }

    forget() {
      Object.assign(this, { seq: 0, status: "", missing: {}, error: null, statuses: new Map(), attempts: new Map(), moved: new Set(),
        bars: [], marks: [], open: new Map(), waits: new Map(), standing: null, events: [], start: 0, last: 0 });
    }

    see(event) {
      this.seq = event.seq;
      this.events.push(event);
      if (event.type === "ExecutionCreated") this.start = event.at;
      const at = this.last = event.at - this.start;
      if (typeof event.step === "string") this.seeStep(event, at);
      const status = event.type === "ExecutionEnded" ? event.status : EXECUTION.get(event.type);
      if (status === undefined) return;
      this.status = status;
      this.missing = event.missing ?? {};
      if (event.type === "RollbackStarted") this.error = event.error;
      if (status === "CANCELLING" || status === "ROLLING_BACK") this.stop();
      if (this.standing) Object.assign(this.standing, { to: at, outcome: "over" });
      this.standing = this.bar(null, "status", status, at);
      if (TERMINAL.has(status)) Object.assign(this.standing, { outcome: "over" });
    }

    seeStep(event, at) {
      const { type, step } = event;
      if (STEP.has(type)) {
        this.statuses.set(step, STEP.get(type));
        this.moved.add(step);
      }
      const wait = this.waits.get(step);
      if (wait) wait.to = Math.min(wait.to, at);
      this.waits.delete(step);
      if (type === "StepStarted" || type === "CompensationStarted") {
        this.attempts.set(step, event.attempt);
        const bar = this.bar(step, type === "StepStarted" ? "action" : "compensation", `attempt ${event.attempt}`, at);
        bar.attempt = event.attempt;
        this.open.set(step, bar);
      } else if (OUTCOMES.has(type) && this.open.has(step)) {
        Object.assign(this.open.get(step), { to: at, outcome: OUTCOMES.get(type) });
        this.open.delete(step);
      }
      if (type.endsWith("Retrying")) {
        const bar = this.bar(step, "wait", "waits for its next attempt", at);
        bar.to = Math.max(event.until - this.start, at);
        this.waits.set(step, bar);
      }
      if (MARKS.has(type)) this.marks.push({ execution: this.name, step, at, index: event.seq, text: MARKS.get(type) });
    }

    // A rollback or a cancel: what neither settled nor runs is cancelled by it (F3, K3).
    stop() {
      for (const { id } of this.outline?.steps ?? []) {
        if (["PENDING", "RETRYING"].includes(this.statuses.get(id) ?? "PENDING")) this.statuses.set(id, "CANCELLED");
      }
      for (const bar of this.waits.values()) bar.to = Math.min(bar.to, this.last);
      this.waits.clear();
    }

    bar(step, kind, label, at) {
      const bar = { execution: this.name, step, kind, label, from: at, to: at, outcome: "open" };
      this.bars.push(bar);
      return bar;
    }

    // Whatever is under way lasts until now.
    grow() {
      const now = TERMINAL.has(this.status) || this.start < EPOCH ? this.last : Math.max(this.last, Date.now() / 1000 - this.start);
      for (const bar of [...this.open.values(), ...(this.standing ? [this.standing] : [])]) if (bar.outcome === "open") bar.to = now;
    }

    // The live events. A socket that ends before the execution does is opened again, after the last event that came.
    connect() {
      const scheme = location.protocol === "https:" ? "wss:" : "ws:";
      const protocols = token === null ? ["lockstep"] : ["lockstep", `bearer.${token}`];
      const socket = this.socket = new WebSocket(`${scheme}//${location.host}/v1/executions/${encodeURIComponent(this.name)}/live?after=${this.seq}`, protocols);
      socket.addEventListener("open", () => {
        this.wait = 250;
        linked("live");
      });
      socket.addEventListener("message", ({ data }) => {
        const event = JSON.parse(data);
        if (event.seq !== this.seq + 1) socket.close(4000, "out of sequence");
        else this.see(event);
        plan();
      });
      socket.addEventListener("close", ({ code }) => {
        if (this !== shown || socket !== this.socket) return;
        this.over = code === 1000 && TERMINAL.has(this.status);
        if (code === 4000) this.forget();
        linked(this.over ? "over" : "lost");
        if (!this.over) this.again();
        plan();
      });
    }

    again() {
      clearTimeout(this.retry);
      this.retry = setTimeout(() => this.begin(), this.wait);
      this.wait = Math.min(this.wait * 2, LONGEST_WAIT);
    }

    // A handshake that is refused tells a page nothing, so what it would say is asked first.
    async begin() {
      try {
        this.outline = await ask(`/v1/executions/${encodeURIComponent(this.name)}/workflow`);
      } catch (error) {
        if (this !== shown) return;
        linked(error.status === 401 ? "refused" : "lost");
        if (error.status === 404) say("problem", error.message);
        else if (error.status !== 401) this.again();
        return;
      }
      if (this !== shown) return;
      if (!graph.svg) layGraph();
      this.connect();
    }

    end() {
      clearTimeout(this.retry);
      const { socket } = this;
      this.socket = null;
      socket?.close();
    }
  }

  // Drawing it

  const graph = new drawing.Graph($("graph"));
  const lanes = new drawing.Timeline($("lanes"));
  let planned = false;
  let drawnRows = 0;
  const say = (id, words) => {
    $(id).textContent = words;
    $(id).hidden = !words;
  };

  // However fast events come, all is drawn at most once a frame.
  function plan() {
    if (planned) return;
    planned = true;
    requestAnimationFrame(() => {
      planned = false;
      if (shown !== null) show();
    });
  }

  function layGraph() {
    const { steps } = shown.outline;
    graph.lay(`Workflow of ${shown.name}`,
      steps.map(({ id, action, compensation, condition, depends_on: sources }) => ({ id, below: "",
        notes: `${action}${compensation === null ? "" : `, undone by ${compensation}`}${sources.length || condition === null ? "" : `, if ${condition}`}` })),
      steps.flatMap(({ id, depends_on: sources }) => sources.map(({ source, condition }) => [source, id, condition ?? ""])));
    show();
  }

  function show() {
    const { name, status, outline, statuses, attempts, moved } = shown;
    $("id").textContent = name;
    $("of").textContent = outline === null ? "" : `of ${outline.name ?? outline.id}`;
    colour($("status"), status).textContent = status === "" ? "…" : spaced(status);
    document.title = `${status === "" ? "…" : spaced(status)} · ${cut(name, 40)} · Lockstep`;
    say("error", shown.error === null ? "" : `${shown.error.step === null ? "" : `${shown.error.step}, attempt ${shown.error.attempt}: `}${shown.error.type}: ${shown.error.message}`);
    $("pause").disabled = status !== "RUNNING";
    $("cancel").disabled = !["PENDING", "RUNNING", "PAUSED"].includes(status);
    if ($("resume").hidden === (status === "PAUSED")) {
      $("resume").hidden = status !== "PAUSED";
      $("inputs").value = status === "PAUSED" ? wanted(shown.missing) : "";
      inputs.paint();
    }
    say("missing", Object.entries(shown.missing).map(([step, paths]) => `${step} waits for ${paths.join(", ")}`).join("; "));
    for (const step of graph.nodes.keys()) {
      graph.paint(step, statuses.get(step) ?? "PENDING", { moved: moved.has(step), also: attempts.get(step) > 1 ? `, attempt ${attempts.get(step)}` : "" });
    }
    moved.clear();
    showLanes();
    showEvents();
    const entry = entries.find((each) => each.execution === name);
    if (entry && status !== "" && entry.status !== status) {
      entry.status = status;
      showList();
    }
  }

  // An object with a place for all that is missing.
  function wanted(missing) {
    const whole = Object.create(null);
    for (const path of Object.values(missing).flat()) {
      const [last, ...parents] = path.split(".").slice(1).reverse();
      let into = whole;
      for (const key of parents.reverse()) into = into[key] ??= Object.create(null);
      if (last !== undefined) into[last] ??= null;
    }
    return Object.keys(whole).length ? JSON.stringify(whole, null, 2) : "";
  }

  function showLanes() {
    if (shown.outline === null || shown.standing === null) return;
    shown.grow();
    const { scrollLeft, scrollTop, clientWidth, scrollWidth } = $("lanes");
    const follows = scrollLeft + clientWidth >= scrollWidth - 4;
    const steps = shown.outline.steps.map(({ id }) => id);
    lanes.lay({ label: `Attempts, waits, compensations and status of ${shown.name} over time`,
      rows: drawing.rowsOf(shown.name, steps, shown.bars, shown.marks), bars: shown.bars, marks: shown.marks, lines: [], moments: [] });
    $("lanes").scrollLeft = follows ? $("lanes").scrollWidth : scrollLeft;
    $("lanes").scrollTop = scrollTop;
  }

  function carried({ seq, at, type, step, attempt, workflow, ...rest }) {
    if (type === "ExecutionCreated") return cut(`input ${JSON.stringify(rest.input)}`, 300);
    if (rest.error) return cut(`${rest.error.type}: ${rest.error.message}`, 300);
    const told = Object.entries(rest).filter(([, value]) => value !== null && JSON.stringify(value) !== "{}")
      .map(([key, value]) => `${key} ${typeof value === "string" ? value : JSON.stringify(value)}`);
    return cut(told.join(", "), 300);
  }

  function showEvents() {
    const body = $("events").tBodies[0];
    const { events } = shown;
    if (drawnRows > events.length || drawnRows === 0) body.replaceChildren();
    if (drawnRows > events.length) drawnRows = 0;
    for (const row of body.querySelectorAll(".fresh")) row.classList.remove("fresh");
    for (const event of events.slice(Math.max(drawnRows, events.length - ROWS))) {
      const status = event.type === "ExecutionEnded" ? event.status : STEP.get(event.type) ?? EXECUTION.get(event.type) ?? "other";
      const step = typeof event.step === "string" ? event.step + (event.attempt > 1 ? `, attempt ${event.attempt}` : "") : "";
      body.prepend(make("tr", { class: drawnRows ? "fresh" : "" }, make("td", { text: event.seq }), make("td", { text: drawing.time(event.at - shown.start) }),
        make("td", {}, colour(make("i"), status), event.type), make("td", { text: step }), make("td", { text: carried(event) })));
    }
    while (body.rows.length > ROWS) body.lastChild.remove();
    drawnRows = events.length;
    $("more").textContent = events.length > ROWS ? `the last ${ROWS} of ${events.length} events` : "";
  }

  // Editors: lines are numbered, and those with a fault are marked

  function editor(id) {
    const [text, lines] = [$(id), $(`${id}-lines`)];
    let faulty = new Set();
    function paint() {
      const count = text.value.split("\n").length;
      lines.replaceChildren(...Array.from({ length: count }, (_, place) =>
        make("div", { class: faulty.has(place + 1) ? "faulty" : "", text: place + 1 })));
      lines.scrollTop = text.scrollTop;
    }
    text.addEventListener("input", () => {
      faulty = new Set();
      paint();
    });
    text.addEventListener("scroll", () => { lines.scrollTop = text.scrollTop; });
    paint();
    return {
      paint,
      mark(numbers) {
        faulty = new Set(numbers);
        paint();
      },
      // The text as it stands, once it is JSON: so no number is rounded on its way.
      read() {
        const found = places.scan(text.value);
        return { text: text.value, found };
      },
      select([from, to]) {
        text.focus();
        text.setSelectionRange(from, to);
        text.scrollTop = Math.max((places.lineOf(text.value, from) - 4) * (text.scrollHeight / text.value.split("\n").length), 0);
      },
    };
  }
  const [definition, input, inputs] = ["definition", "input", "inputs"].map(editor);

  // Starting

  function showFaults(words, faults) {
    $("faults").className = faults === null ? "" : faults.length ? "some" : "none";
    $("faults-title").textContent = words;
    $("faults-list").replaceChildren(...(faults ?? []).map(({ where, line, range, place, problem }) =>
      make("li", {}, make("button", { type: "button", click: () => where.select(range) }, make("span", { text: where === input ? `input ${line}` : `line ${line}` }),
        make("code", { text: place || "the whole" }), make("span", { text: problem })))));
    for (const where of [definition, input]) where.mark((faults ?? []).filter((each) => each.where === where).map((each) => each.line));
  }

  // What the service (or a look at the text) finds wrong, with its lines.
  function faultsOf(error, where, text, found) {
    const faults = error instanceof places.Fault ? [{ place: "", problem: error.message }] : error.faults;
    return faults.map(({ place, problem }) => {
      const range = error instanceof places.Fault ? [error.at, error.at + 1] : places.range(found, place);
      return { where, range, line: places.lineOf(text, range[0]), place, problem };
    });
  }

  async function submit(send) {
    let [where, text, found] = [definition, $("definition").value, new Map()];
    try {
      ({ found } = definition.read());
      [where, text] = [input, $("input").value];
      if (text.trim()) {
        const given = input.read();
        if (text.trim()[0] !== "{") throw new places.Fault(given.found.get("")[0], "the input must be a JSON object");
      }
      [where, text] = [definition, $("definition").value];
      return await send(text, $("input").value.trim());
    } catch (error) {
      const faults = error instanceof places.Fault || error instanceof Refused ? faultsOf(error, where, text, found) : [];
      if (faults.length) showFaults(faults.length === 1 ? "One fault:" : `${faults.length} faults:`, faults);
      else showFaults(error instanceof Refused ? error.message : "The service does not answer. Try again: nothing is started twice.", null);
      return null;
    }
  }

  // The same key for the same words, until they have started something: who asks again after a loss starts nothing twice.
  let key = null;
  let keyed = "";
  async function start(event) {
    event.preventDefault();
    await submit(async (text, given) => {
      const body = `{"workflow":${text}${given ? `,"input":${given}` : ""}}`;
      if (key === null || keyed !== body) {
        key = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
        keyed = body;
      }
      const { execution } = await ask("/v1/executions", body, { "Idempotency-Key": key });
      key = null;
      showFaults("", null);
      location.hash = `#/${encodeURIComponent(execution)}`;
      await list();
    });
  }
  async function validate() {
    await submit(async (text) => {
      const { steps } = await ask("/v1/validate", text);
      showFaults(`No fault: ${steps.length === 1 ? "1 step" : `${steps.length} steps`}, in this order: ${cut(steps.map(({ id }) => id).join(", "), 300)}`, []);
    });
  }
  async function offer() {
    const { workflows } = await ask("/v1/workflows").catch(() => ({ workflows: [] }));
    $("stored-label").hidden = workflows.length === 0;
    $("stored").replaceChildren(make("option", { value: "", text: "choose…" }), ...workflows.map((name) => make("option", { value: name, text: cut(name, 60) })));
  }
  async function take() {
    if (!$("stored").value) return;
    const found = await ask(`/v1/workflows/${$("stored").value.split("/").map(encodeURIComponent).join("/")}`).catch((error) => error);
    if (found instanceof Error) showFaults(found.message, null);
    else $("definition").value = JSON.stringify(found, null, 2);
    definition.paint();
  }

  // Commands

  async function command(name, body = "") {
    say("problem", "");
    const of = shown;
    try {
      await ask(`/v1/executions/${encodeURIComponent(of.name)}/${name}`, body);
    } catch (error) {
      if (of === shown) say("problem", error instanceof Refused ? [error.message, ...error.faults.map(({ place, problem }) => `${place}: ${problem}`)].join("; ") : "The service does not answer.");
    }
  }
  async function resume(event) {
    event.preventDefault();
    const text = $("inputs").value;
    inputs.mark([]);
    try {
      if (text.trim()) inputs.read();
    } catch (error) {
      inputs.mark([places.lineOf(text, error.at)]);
      say("problem", `line ${places.lineOf(text, error.at)}: ${error.message}`);
      return;
    }
    await command("resume", text.trim() ? `{"inputs":${text}}` : "");
  }

  // Going about

  function route() {
    const [, name] = /^#\/(.+)$/.exec(location.hash) ?? [];
    let wanted = null;
    try {
      wanted = name === undefined ? null : decodeURIComponent(name);
    } catch {
      wanted = name; // a name that nobody encoded
    }
    if (shown !== null && shown.name === wanted) return;
    shown?.end();
    shown = wanted === null ? null : new Shown(wanted);
    $("start").hidden = wanted !== null;
    $("execution").hidden = wanted === null;
    drawnRows = 0;
    graph.zoom = null;
    graph.clear();
    lanes.clear();
    $("resume").hidden = true;
    say("problem", "");
    if (shown === null) {
      document.title = "Lockstep";
      linked(reachable ? "list" : "connecting");
      definition.paint();
      offer();
    } else {
      linked("connecting");
      show();
      shown.begin();
    }
    showList();
  }

  function walk(by) {
    const place = entries.findIndex((entry) => entry.execution === shown?.name);
    const to = entries[place < 0 ? 0 : Math.min(Math.max(place + by, 0), entries.length - 1)];
    if (to) location.hash = `#/${encodeURIComponent(to.execution)}`;
  }

  function write() {
    location.hash = "#start";
    route(); // what is hidden takes no focus
    $("definition").focus();
  }

  function keys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, textarea, select")) return;
    const does = new Map([["j", () => walk(1)], ["k", () => walk(-1)], ["t", theme.next], ["n", write]]).get(event.key);
    if (!does) return;
    event.preventDefault();
    does();
  }

  const theme = drawing.theme($("theme"), $("theme-name"));
  for (const status of ["PENDING", "RUNNING", "PAUSED", "CANCELLING", "ROLLING_BACK", "COMPLETED", "PARTIAL", "FAILED", "CANCELLED"]) {
    $("filter").append(make("option", { value: status, text: spaced(status) }));
  }
  drawing.Timeline.legend($("lanes-legend"), false, ["timed out", "settled"]);
  $("token-card").addEventListener("submit", (event) => {
    event.preventDefault();
    token = $("token").value;
    $("token").value = "";
    list();
    shown?.begin();
  });
  $("start").addEventListener("submit", start);
  $("validate").addEventListener("click", validate);
  $("stored").addEventListener("change", take);
  $("pause").addEventListener("click", () => command("pause"));
  $("cancel").addEventListener("click", () => command("cancel"));
  $("resume").addEventListener("submit", resume);
  $("filter").addEventListener("change", () => {
    entries = [];
    list();
  });
  $("older").addEventListener("click", () => list(next));
  $("smaller").addEventListener("click", () => graph.enlarge(1 / 1.3));
  $("larger").addEventListener("click", () => graph.enlarge(1.3));
  $("fit").addEventListener("click", () => graph.fit());
  document.addEventListener("keydown", keys);
  addEventListener("hashchange", route);
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width || shown === null || shown.outline === null) return;
    width = innerWidth;
    layGraph();
  });
  setInterval(() => { if (!document.hidden) list(); }, LOOK_AGAIN);
  setInterval(() => { if (!document.hidden && shown !== null && shown.open.size) showLanes(); }, 1000);
  route();
  list();
})();
