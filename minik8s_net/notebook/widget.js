// All widgets of minik8s, drawn by the trait `view`. One ES module, no build step, nothing from the network.
// Python answers what is asked (ask), tells what changed (msg:custom); the trait `state` is what a view begins with.

const VIEWS = { live, replay, matrix, policies, names, terminal, faults, progress };

export default {
  render({ model, el }) {
    const root = h("div", { class: "mk mk-" + model.get("view") });
    el.append(root);
    return VIEWS[model.get("view")](model, root);
  },
};

// -- what all share ---------------------------------------------------------------------------------------------------
function h(tag, props, ...kids) {
  const el = document.createElement(tag);
  for (const [key, value] of Object.entries(props ?? {})) {
    if (key.startsWith("on")) el.addEventListener(key.slice(2), value);
    else if (value !== false && value != null) el.setAttribute(key, value === true ? "" : value);
  }
  el.append(...kids.flat().filter((kid) => kid != null));
  return el;
}

const ask = (model, name, more) => model.send({ ask: name, ...more });

function listen(model, heard) {
  model.on("msg:custom", heard);
  return () => model.off("msg:custom", heard);
}

const button = (label, onclick, props) => h("button", { type: "button", onclick, ...props }, label);

function choice(label, options, chosen, onchange) {
  const select = h("select", { onchange: () => onchange?.(select.value) },
    options.map((o) => h("option", { value: o, selected: o === chosen }, o)));
  return { el: h("label", {}, label + " ", select), get value() { return select.value; } };
}

function isDark() {
  const told = document.body.dataset.jpThemeLight;
  if (told !== undefined) return told === "false";
  if (document.body.classList.contains("vscode-dark")) return true;
  if (document.body.classList.contains("vscode-light")) return false;
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

function onTheme(changed) {
  const watcher = new MutationObserver(changed);
  watcher.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });
  return () => watcher.disconnect();
}

// A table of buttons: one stop for Tab, arrow keys inside.
function grid(corner, sources, targets, cellOf, pick) {
  const at = (row, column) => table.tBodies[0].rows[row]?.cells[column + 1]?.firstChild;
  const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  const rows = sources.map((source, row) => h("tr", {}, h("th", { scope: "row" }, source),
    targets.map((target, column) => {
      const { glyph, kind, label } = cellOf(source, target);
      return h("td", {}, button(glyph, () => pick(source, target), {
        class: "mk-cell " + kind, tabindex: row || column ? -1 : 0, title: label, "aria-label": label,
        onkeydown: (event) => {
          const [down, right] = moves[event.key] ?? [];
          const next = down === undefined ? null : at(row + down, column + right);
          if (!next) return;
          event.preventDefault();
          event.target.tabIndex = -1;
          next.tabIndex = 0;
          next.focus();
        },
      }));
    })));
  const table = h("table", { class: "mk-grid" },
    h("thead", {}, h("tr", {}, h("th", {}, corner), targets.map((t) => h("th", { scope: "col" }, h("span", {}, t))))),
    h("tbody", {}, rows));
  return h("div", { class: "mk-scroll" }, table);
}

// -- the topology that follows the cluster ------------------------------------------------------------------------------
const PARTS = "[data-pod],[data-node],[data-service]";
const LIVE_CSS = `svg { width: 100%; height: auto; display: block }
  ${PARTS} { cursor: pointer; outline: none }
  [data-pod]:hover rect, [data-service]:hover rect { stroke-width: 3 }
  :is(${PARTS}):focus-visible > rect:first-of-type, .chosen > rect:first-of-type { stroke: #d55e00; stroke-width: 3 }
  .fresh { animation: fresh .9s ease-out both }
  @keyframes fresh { from { opacity: 0; transform: translateY(-8px) } }
  @media (prefers-reduced-motion: reduce) { .fresh { animation: none } }`;

function keyOf(part) {
  for (const kind of ["pod", "node", "service"]) if (part.dataset[kind]) return `${kind} ${part.dataset[kind]}`;
}

// Puts the picture into the shadow root. `born`: since when each part is there; null before the first drawing.
function drawPicture(shadow, text, chosen, born) {
  const focused = shadow.activeElement && keyOf(shadow.activeElement);
  const scheme = isDark() ? "@media all" : "@media not all";  // the notebook's theme, not the system's
  const themed = text.replaceAll(/@media\s*\(prefers-color-scheme:\s*dark\)/g, scheme);
  shadow.innerHTML = `<style>${LIVE_CSS}</style>${themed}`;
  const svg = shadow.querySelector("svg"), natural = svg.getAttribute("width");
  svg.setAttribute("role", "group");
  svg.style.maxWidth = natural + "px";
  svg.style.minWidth = Math.min(natural, 620) + "px";
  const now = performance.now(), since = {};
  for (const part of shadow.querySelectorAll(PARTS)) {
    const key = keyOf(part);
    since[key] = born ? born[key] ?? now : -Infinity;
    if (now - since[key] < 900) {
      part.classList.add("fresh");
      part.style.animationDelay = `${since[key] - now}ms`;
    }
    part.setAttribute("tabindex", "0");
    part.setAttribute("role", "button");
    part.setAttribute("aria-label", part.querySelector("title")?.textContent ?? key);
    part.classList.toggle("chosen", key === chosen);
    if (key === focused) part.focus({ preventScroll: true });
  }
  return since;
}

// The box below the picture: what the kernel says of one pod, node or Service, a tab at a time.
function details(model, tabs, changed) {
  const el = h("section", { class: "mk-panel", "aria-label": "details", hidden: true });
  let chosen = "", tab = "";
  function open(key) {
    chosen = key;
    el.hidden = !key;
    changed();
    if (key) show(tabs[key.split(" ")[0]][0]);
  }
  function show(name) {
    tab = name;
    el.replaceChildren(
      h("div", { class: "mk-bar" }, h("b", {}, chosen), h("span", { role: "tablist", class: "mk-tabs" },
        tabs[chosen.split(" ")[0]].map((t) => button(t, () => show(t), { role: "tab", "aria-selected": String(t === tab) }))),
      button("close", () => open(""), { "aria-label": "close details" })),
      h("pre", { tabindex: 0, "aria-live": "polite" }, "looking …"));
    ask(model, "look", { at: chosen, tab });
  }
  function heard(told) {
    if (told.error || (told.at === chosen && told.tab === tab)) el.querySelector("pre")?.replaceChildren(told.error ?? told.text);
  }
  return { el, open, heard, get chosen() { return chosen; } };
}

function live(model, root) {
  const id = String(Math.random()).slice(2);
  const first = model.get("state"), lines = [...first.lines];
  let { number } = first, waiting = false, born = null;
  const status = h("span", { class: "mk-dim", role: "status" });
  const host = h("div", { class: "mk-picture mk-scroll" });
  const shadow = host.attachShadow({ mode: "open" });
  const draw = () => { waiting = false; born = drawPicture(shadow, lines.join("\n"), panel.chosen, born); };
  const schedule = () => { if (!waiting) { waiting = true; requestAnimationFrame(draw); } };
  const panel = details(model, first.tabs, schedule);
  root.append(h("div", { class: "mk-bar" }, h("b", {}, "live"), h("span", { class: "mk-dim" },
    "click a pod, node or Service, or Tab and Enter"), status), host, panel.el);

  const partOf = (event) => event.composedPath().find((node) => node.matches?.(PARTS));
  shadow.addEventListener("click", (event) => partOf(event) && panel.open(keyOf(partOf(event))));
  shadow.addEventListener("keydown", (event) => {
    if (event.key === "Escape") panel.open("");
    else if (["Enter", " "].includes(event.key) && partOf(event)) { event.preventDefault(); panel.open(keyOf(partOf(event))); }
  });
  const stop = listen(model, (told) => {
    if (told.down) status.textContent = told.down;
    else if (told.answer === "look") panel.heard(told);
    else if (told.answer === "hello") {
      lines.splice(0, lines.length, ...told.lines);
      number = told.number;
      status.textContent = "";
      schedule();
    } else if (told.hunks && told.number > number) {
      if (told.number !== number + 1) return ask(model, "hello", { id });  // one was missed: ask for the whole
      number = told.number;
      for (const [start, dropped, put] of told.hunks) lines.splice(start, dropped, ...put);
      status.textContent = "";
      schedule();
    }
  });
  const unTheme = onTheme(schedule);
  draw();
  const left = attendance(model, id, root);
  return () => { left(); stop(); unTheme(); };
}

// Tells the kernel whether anybody looks: not in a hidden tab, nor in a notebook that was closed. Returns how to end it.
function attendance(model, id, root) {
  let watched = true, beats = 0;
  ask(model, "hello", { id });
  const look = () => {
    const now = root.isConnected && document.visibilityState === "visible";
    beats += 1;
    if (now === watched && !(now && beats % 5 === 0)) return;
    try {
      ask(model, now ? (watched ? "here" : "hello") : "bye", { id });
      watched = now;
    } catch { clearInterval(timer); }  // the notebook was closed, and its connection with it
  };
  const timer = setInterval(look, 1000);
  document.addEventListener("visibilitychange", look);
  return () => {
    clearInterval(timer);
    document.removeEventListener("visibilitychange", look);
    ask(model, "bye", { id });
  };
}

// -- a trace as a moving packet -------------------------------------------------------------------------------------------
const NS = "http://www.w3.org/2000/svg";
function s(tag, props, ...kids) {
  const el = document.createElementNS(NS, tag);
  for (const [key, value] of Object.entries(props)) el.setAttribute(key, value);
  el.append(...kids);
  return el;
}

// Where each station is drawn: a column per place, the way out in the upper row, the way back in the lower.
function spread(stations, width) {
  const places = [...new Set(stations.map((st) => st.place))];
  const column = (width - 20) / places.length;
  const spots = stations.map((st) => {
    const same = stations.filter((o) => o.place === st.place && o.direction === st.direction);
    const share = (same.indexOf(st) + 1) / (same.length + 1);
    const x = 10 + places.indexOf(st.place) * column + column * (st.direction === "out" ? share : 1 - share);
    return [x, st.direction === "out" ? 74 : 112];
  });
  return { places, column, spots };
}

function drawWay(trace, width, pick) {
  const { stations } = trace;
  const { places, column, spots } = spread(stations, width);
  const way = (to) => spots.slice(0, to).map(([x, y], i) => (i ? "L" : "M") + x + " " + y).join("");
  const passed = s("path", { class: "mk-passed", d: "" });
  const packet = s("circle", { class: "mk-packet", r: 8, cx: 0, cy: 0 });
  const dots = stations.map((st, i) => s("circle", {
    class: `mk-dot mk-${st.layer}`, r: ["nat", "policy", "gap"].includes(st.layer) ? 5 : 3.5, cx: spots[i][0], cy: spots[i][1],
  }, s("title", {}, `${st.number} ${st.what}`)));
  dots.forEach((dot, i) => dot.addEventListener("click", () => pick(i)));
  const boxes = places.map((place, i) => s("g", {},
    s("rect", { class: "mk-place", x: 13 + i * column, y: 24, width: column - 6, height: 116, rx: 8 }),
    s("text", { x: 22 + i * column, y: 44 }, place)));
  const svg = s("svg", { viewBox: `0 0 ${width} 150`, role: "img",
    "aria-label": `the way of a packet through ${places.join(", ")}` },
  ...boxes, s("path", { class: "mk-way", d: way(spots.length) }), passed, ...dots, packet);
  const el = h("div", { class: "mk-scroll" }, svg);
  function move(at) {
    packet.style.transform = `translate(${spots[at][0]}px, ${spots[at][1]}px)`;
    passed.setAttribute("d", way(at + 1));
    dots.forEach((dot, i) => dot.classList.toggle("mk-now", i === at));
    const x = spots[at][0] * svg.clientWidth / width;  // narrow screens scroll along
    if (x < el.scrollLeft + 20 || x > el.scrollLeft + el.clientWidth - 20)
      el.scrollTo({ left: x - el.clientWidth / 2, behavior: "smooth" });
  }
  return { el, move };
}

function stationCard(st) {
  return [
    h("div", { class: "mk-bar" }, h("b", {}, `${st.number}. ${st.what}`)),
    h("div", { class: "mk-bar" }, h("span", { class: "mk-tag" }, st.layer),
      h("span", { class: "mk-dim" }, `in ${st.place}, the way ${st.direction}`),
      st.written_by ? h("span", {}, "written for ", h("b", {}, st.written_by)) : null,
      st.before ? h("code", {}, `${st.before} becomes ${st.after || "(not recorded)"}`) : null),
    st.detail ? h("pre", { tabindex: 0 }, st.detail) : "",
  ];
}

function replay(model, root) {
  const { trace } = model.get("state"), { stations } = trace;
  let at = -1, timer = 0;
  const picture = drawWay(trace, 960, (i) => go(i));
  const slider = h("input", { type: "range", min: 0, max: stations.length - 1, value: 0, "aria-label": "station",
    oninput: () => go(Number(slider.value)) });
  const play = button("▶ play", () => (timer ? pause() : run()), { "aria-label": "play" });
  const count = h("span", { class: "mk-dim" });
  const told = h("section", { class: "mk-panel", "aria-live": "polite" });
  root.append(
    h("div", { class: "mk-bar" }, h("b", {}, `${trace.source} → ${trace.target}`),
      h("span", { class: `mk-verdict mk-${trace.verdict}` }, trace.verdict), h("span", { class: "mk-dim" }, trace.because)),
    picture.el,
    h("div", { class: "mk-bar" }, button("|◀", () => go(0), { "aria-label": "first" }),
      button("◀ back", () => go(at - 1), { "aria-label": "back" }), play,
      button("step ▶", () => go(at + 1), { "aria-label": "step" }),
      button("▶|", () => go(stations.length - 1), { "aria-label": "last" }), slider, count), told,
    ...trace.gaps.map((gap) => h("p", { class: "mk-dim" }, "not seen: " + gap)));

  function go(to, playing) {
    if (!playing) pause();
    at = Math.max(0, Math.min(stations.length - 1, to));
    const st = stations[at];
    if (!st) return;
    picture.move(at);
    slider.value = at;
    slider.setAttribute("aria-valuetext", `${st.number}: ${st.what}`);
    count.textContent = `${at + 1} of ${stations.length}`;
    told.replaceChildren(...stationCard(st));
  }
  function run() {
    if (at >= stations.length - 1) at = -1;
    play.textContent = "❚❚ pause";
    timer = setInterval(() => (at < stations.length - 1 ? go(at + 1, true) : pause()), 350);
  }
  function pause() { clearInterval(timer); timer = 0; play.textContent = "▶ play"; }
  go(0);
  return pause;
}

// -- who reaches whom ---------------------------------------------------------------------------------------------------
function cellLook(source, target, cell) {
  if (!cell) return { glyph: "?", kind: "mk-unknown", label: `${source} to ${target}: not known` };
  const wrong = cell.expected != null && cell.measured && cell.expected !== cell.reached;
  const word = cell.measured ? `${cell.measured}${wrong ? ", against policy" : ""}` : cell.expected ? "would pass" : "would be dropped";
  const passes = cell.measured ? cell.reached : cell.expected;
  return { glyph: (passes ? "✓" : "·") + (wrong ? "!" : ""), label: `${source} to ${target}: ${word}`,
    kind: (passes ? "mk-yes" : "mk-no") + (wrong ? " mk-wrong" : "") + (cell.measured ? "" : " mk-predicted") };
}

const LEGEND = "✓ arrives (answered or refused)   · does not   ! not what the policies say   dashed: predicted";

function shown(view, pick) {
  const table = grid(`from ↓ to → ${view.protocol}/${view.port}`, view.pods, view.pods,
    (a, b) => cellLook(a, b, view.cells[`${a}|${b}`]), pick);
  return h("div", {}, table, h("div", { class: "mk-dim mk-legend" }, LEGEND));
}

function matrix(model, root) {
  const body = h("div", {}), why = h("pre", { class: "mk-panel", tabindex: 0, "aria-live": "polite" },
    "click a cell: what policies say of it, and what was measured");
  const port = h("input", { type: "number", min: 1, max: 65535, value: model.get("state").port });
  const again = button("measure", () => { again.disabled = true; ask(model, "measure", { port: Number(port.value) }); });
  const draw = () => {
    const view = model.get("state");
    body.replaceChildren(shown(view, (a, b) => { why.textContent = "…"; ask(model, "why", { source: a, target: b }); }),
      h("p", { class: "mk-dim", role: "status" }, view.summary));
  };
  root.append(h("div", { class: "mk-bar" }, h("b", {}, "who reaches whom"), h("label", {}, "port ", port), again), body, why);
  model.on("change:state", draw);
  draw();
  const stop = listen(model, (told) => {
    again.disabled = false;
    if (told.answer === "why" || told.error) why.textContent = told.error ?? told.text;
  });
  return () => { stop(); model.off("change:state", draw); };
}

function policies(model, root) {
  const switches = h("fieldset", {}), body = h("div", {});
  const why = h("pre", { class: "mk-panel", tabindex: 0, "aria-live": "polite" }, "click a cell: which policy says so");
  const act = (label, name) => button(label, () => { why.textContent = "…"; ask(model, name, {}); });
  const draw = () => {
    const view = model.get("state");
    switches.replaceChildren(h("legend", {}, "NetworkPolicies"), ...view.policies.map((p) => h("label", { title: p.text },
      h("input", { type: "checkbox", checked: p.on, onchange: (e) => ask(model, "toggle", { key: p.key, on: e.target.checked }) }),
      ` ${p.key}`, h("span", { class: "mk-dim" }, ` ${p.text}`))),
    view.policies.length ? "" : "there is none: everybody may talk to everybody");
    body.replaceChildren(h("p", { role: "status" }, h("b", {}, view.measured ? "measured" : "predicted"), " ", view.summary),
      shown(view, (a, b) => { why.textContent = "…"; ask(model, "why", { source: a, target: b }); }));
  };
  root.append(h("div", { class: "mk-bar" }, h("b", {}, "policy playground"), act("apply and measure", "measure"),
    act("put everything back", "restore")), switches, body, why);
  model.on("change:state", draw);
  draw();
  const stop = listen(model, (told) => { why.textContent = told.error ?? told.text ?? ""; });
  return () => { stop(); model.off("change:state", draw); };
}

// -- names, commands, faults, progress ----------------------------------------------------------------------------------------
function names(model, root) {
  const state = model.get("state");
  const pod = choice("from", state.pods, state.pod), type = choice("type", state.types, "A");
  const name = h("input", { value: state.name, "aria-label": "name", spellcheck: false, size: 34 });
  const steps = h("ol", { class: "mk-steps", "aria-live": "polite" }), conf = h("p", { class: "mk-dim" });
  root.append(h("form", { class: "mk-bar", onsubmit: (e) => {
    e.preventDefault();
    steps.replaceChildren(h("li", {}, "asking …"));
    ask(model, "resolve", { pod: pod.value, name: name.value, type: type.value });
  } }, h("b", {}, "names"), pod.el, type.el, name, h("button", {}, "look up")), conf, steps);
  return listen(model, (told) => {
    if (told.error) return steps.replaceChildren(h("li", { class: "mk-bad" }, told.error));
    conf.textContent = told.resolver;
    steps.replaceChildren(...told.steps.map((step) => h("li", { class: step.found ? "mk-good" : "" },
      h("code", {}, `${step.type} ${step.name}`), step.suffix ? h("span", { class: "mk-dim" }, ` (search: ${step.suffix})`) : "",
      h("br", {}), h("b", {}, `${step.found ? "✓" : "✗"} ${step.said}`), h("span", { class: "mk-dim" }, ` ${step.when}`))));
  });
}

function terminal(model, root) {
  const state = model.get("state");
  const place = choice("in", state.places, state.place);
  const out = h("pre", { class: "mk-screen", tabindex: 0, role: "log" }, state.greeting + "\n");
  const line = h("input", { class: "mk-line", "aria-label": "command", spellcheck: false, autocomplete: "off" });
  const past = [];
  let back = 0;
  const put = (text) => {
    out.append(text);
    if (out.textContent.length > 60000) out.textContent = "…\n" + out.textContent.slice(-50000);
    out.scrollTop = out.scrollHeight;
  };
  line.addEventListener("keydown", (event) => {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (step && past.length) {
      back = Math.max(0, Math.min(past.length, back + step));
      line.value = past[back] ?? "";
    }
    event.stopPropagation();  // JupyterLab's own shortcuts stay out of it
  });
  root.append(h("form", { class: "mk-bar", onsubmit: (e) => {
    e.preventDefault();
    if (!line.value.trim()) return;
    past.push(line.value);
    back = past.length;
    put(`${place.value} $ ${line.value}\n`);
    ask(model, "run", { place: place.value, line: line.value });
    line.value = "";
  } }, place.el, line, h("button", {}, "run"), button("stop", () => ask(model, "stop", {}))), out);
  return listen(model, (told) => {
    if (told.error) put(`error: ${told.error}\n`);
    if (told.out) put(told.out);
    if (told.exit !== undefined && told.exit !== 0) put(`(exit status ${told.exit})\n`);
  });
}

function faults(model, root) {
  const body = h("div", { class: "mk-faults" }), said = h("p", { role: "status" });
  const draw = () => body.replaceChildren(...model.get("state").faults.map((f) =>
    h("div", { class: f.on ? "mk-fault mk-on" : "mk-fault" },
      button(f.on ? "mend" : "break", () => { said.textContent = "…"; ask(model, f.on ? "mend" : "inject", { name: f.name }); },
        { role: "switch", "aria-checked": String(Boolean(f.on)), "aria-label": `${f.title}: ${f.on ? "broken" : "whole"}` }),
      h("div", {}, h("b", {}, f.title), f.on ? h("span", { class: "mk-bad" }, ` ✗ broken ${f.where}`) : "",
        h("div", { class: "mk-dim" }, f.symptom)))));
  root.append(h("div", { class: "mk-bar" }, h("b", {}, "break it on purpose"),
    button("mend everything", () => { said.textContent = "…"; ask(model, "mend", {}); })), said, body);
  model.on("change:state", draw);
  draw();
  said.textContent = model.get("state").message;
  const stop = listen(model, (told) => { said.textContent = told.error ?? told.text ?? ""; });
  return () => { stop(); model.off("change:state", draw); };
}

function progress(model, root) {
  const draw = () => {
    const { title, done, total, steps } = model.get("state");
    root.replaceChildren(h("div", { class: "mk-bar" }, h("b", {}, title),
      h("progress", { max: total, value: done, "aria-label": title }), h("span", { class: "mk-dim" }, `${done} of ${total}`)),
    h("ul", { class: "mk-steps", role: "status" }, steps.map((step) => h("li", {}, step))));
  };
  model.on("change:state", draw);
  draw();
  return () => model.off("change:state", draw);
}
