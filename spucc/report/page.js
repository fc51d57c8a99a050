"use strict";
(() => {
const $ = (q, at = document) => at.querySelector(q), $$ = (q, at = document) => [...at.querySelectorAll(q)];
const D = JSON.parse($("#data").textContent);
const VARS = D.vars, JOBS = D.jobs;
const byName = new Map(VARS.map((v, k) => [v.l, k]));
const S = { sel: -1, step: 0, job: 0, member: 0, kind: "corr", colour: "chain" };
const sci = (v) => v == null ? "unknown" : v === 0 ? "0" : Math.abs(v) < 1e-3 || Math.abs(v) >= 1e5 ? v.toExponential(2) : String(+v.toPrecision(4));
function el(tag, props = {}, ...kids) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(props)) k in e && k !== "list" ? e[k] = v : e.setAttribute(k, v);
  e.append(...kids);
  return e;
}
const job = () => JOBS[S.job];
const passes = () => D.passes[job()?.chain ?? 0], last = () => passes().length;
const passNamed = (name) => passes().findIndex((p) => p.name === name) + 1;
const dark = () => document.documentElement.dataset.theme === "dark";

// --- colours ---
const hex = (c) => [1, 3, 5].map((i) => parseInt(c.slice(i, i + 2), 16));
function mix(list, share) {
  if (share == null || !isFinite(share)) return "#aab3bd";
  const at = Math.min(Math.max(share, 0), 1) * (list.length - 1), k = Math.min(Math.floor(at), list.length - 2);
  const a = hex(list[k]), b = hex(list[k + 1]);
  return "#" + a.map((v, i) => Math.round(v + (at - k) * (b[i] - v)).toString(16).padStart(2, "0")).join("");
}
const diverging = () => dark() ? ["#7cc4ff", "#2f6fa8", "#1f272f", "#a8581c", "#ffb066"] : D.colours.diverging;
function ink(fill) {
  const l = hex(fill).map((c) => c / 255).map((c) => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4);
  return .2126 * l[0] + .7152 * l[1] + .0722 * l[2] > .2 ? "#10151c" : "#ffffff";
}

// --- tooltips ---
const tip = $("#tip");
function showTip(text, x, y) {
  tip.textContent = text; tip.hidden = !text;
  if (!text) return;
  const w = tip.offsetWidth, h = tip.offsetHeight;
  tip.style.left = Math.max(4, Math.min(x + 14, innerWidth - w - 8)) + "px";
  tip.style.top = (y + 18 + h > innerHeight ? y - h - 12 : y + 18) + "px";
}
const lineText = (id) => { const e = id && document.getElementById(id); return e ? `line ${e.dataset.n}: ${e.textContent.trim()}` : ""; };
for (const t of $$("svg title")) {  // our own tips: quicker, and with the line of the source
  const owner = t.parentNode;
  if (owner.tagName === "svg") continue;
  owner.dataset.tip = t.textContent;
  owner.setAttribute("aria-label", t.textContent);
  t.remove();
}
document.addEventListener("pointermove", (ev) => {
  const at = ev.target.closest?.("[data-tip]");
  if (!at) { if (!ev.target.closest?.("canvas")) tip.hidden = true; return; }
  const k = variableAt(at);
  showTip(at.dataset.tip + (k >= 0 ? "\n" + lineText(VARS[k].decl) : ""), ev.clientX, ev.clientY);
});
document.addEventListener("pointerleave", () => { tip.hidden = true; });

// --- who stands where ---
let ofJob = [];  // coordinate of the job → coordinate of the source
const homes = JOBS.map(() => new Map());
VARS.forEach((v, k) => v.i.forEach((i) => { if (v.j >= 0 && !homes[v.j].has(i)) homes[v.j].set(i, k); }));
function variableAt(e) {
  if (e.dataset.p !== undefined) { const c = job()?.cells[+e.dataset.p]; return c && c.i >= 0 ? homes[S.job].get(c.i) ?? -1 : -1; }
  if (e.closest("#model") && e.dataset.k !== undefined) return +e.dataset.k;
  if (e.dataset.v !== undefined && e.closest("#model")) return +e.dataset.v;
  if (e.dataset.k !== undefined) return homes[S.job].get(+e.dataset.k) ?? -1;
  return -1;
}

// --- the matrices ---
const unpacked = new Map();
function matrix(id) {
  if (id == null) return null;
  if (!unpacked.has(id)) {
    const m = D.shelf[id], s = m.side, out = new Float64Array(s * s);
    if (m.b) {
      const raw = atob(m.b), bytes = new Uint8Array(raw.length);
      for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
      const f = new Float32Array(bytes.buffer);
      for (let i = 0, t = 0; i < s; i++) for (let j = i; j < s; j++, t++) out[i * s + j] = out[j * s + i] = f[t];
    }
    unpacked.set(id, { n: m.n, side: s, v: out });
  }
  return unpacked.get(id);
}
const add = (a, b) => a && b && a.side === b.side ? { n: a.n, side: a.side, v: a.v.map((x, i) => x + b.v[i]) } : null;
const less = (a, b) => a && b && a.side === b.side ? { n: a.n, side: a.side, v: a.v.map((x, i) => x - b.v[i]) } : null;
const stepOf = (k) => k > 0 ? job()?.steps[k - 1] : null;
function madeAt(k, kind) {
  const asked = matrix(job()?.asked?.[kind]);
  if (k <= 0) return asked;
  return add(asked, matrix(stepOf(k)?.[kind]));
}
const View = { x: 0, y: 0, size: 1, at: null };
let panels = [];
function extent(m, diagonal) {
  let top = 0;
  if (m) for (let i = 0; i < m.side; i++) for (let j = 0; j < m.side; j++) if (diagonal || i !== j || m.side === 1) top = Math.max(top, Math.abs(m.v[i * m.side + j]));
  return top;
}
const nice = (v) => { const p = 10 ** Math.floor(Math.log10(v)); return p * [1, 2, 5, 10].find((f) => f * p >= v * (1 - 1e-9)); };
function drawMaps() {
  const box = $("#matrices"), J = job(), here = stepOf(S.step), names = S.kind === "cells" ? here?.cellNames : J?.names;
  const name = S.step ? passes()[S.step - 1].name : "the front end";
  let list = [], note = "";
  if (S.kind === "cells") {
    const of = (at) => matrix(at?.ensemble && S.member ? job().members[S.member - 1].m : at?.cells);
    const before = of(stepOf(S.step - 1)), after = of(here);
    list = [["cells before", before, false, stepOf(S.step - 1)?.cellNames], [`cells after ${name}`, after, false, names]];
    const change = less(after, before);
    if (change) list.push(["change", change, true, names]);
    note = "The matrix that the cells' components make, its largest entry set to 1." + (here?.ensemble ? ` Of member ${S.member + 1}.` : "");
  } else {
    const asked = matrix(J?.asked?.[S.kind]), before = madeAt(S.step - 1, S.kind), after = madeAt(S.step, S.kind);
    const error = S.step > 0 ? matrix(here?.[S.kind]) : less(asked, asked);
    list = [["asked", asked, false, names], [S.step > 1 ? `before ${name}` : "before", before, false, names], [`after ${name}`, after, false, names], ["after − asked", error, true, names]];
    note = S.kind === "prec" ? "Entries are divided by the roots of the asked diagonal ones." : "";
  }
  const known = list.filter((p) => p[1]);
  const side = known[0]?.[1].side ?? 0;
  if (side && known[0][1].n > side) note += ` ${known[0][1].n} rows in ${side}: each shows the largest entry of its block.`;
  if (!known.length) note = S.kind === "cells" ? "There are no cells yet at this pass." : here && !here.seen ? "Nobody kept what this pass made: write the page with `spucc compile --report`." : J?.asked ? "There are too many jobs for the matrices of each." : "Moments of this job cannot be computed exactly.";
  else if (here && !here.seen) note = "Nobody kept what this pass made: write the page with `spucc compile --report`. " + note;
  $("#matrix-note").textContent = note;
  const top = nice(Math.max(...known.filter((p) => !p[2]).map((p) => extent(p[1], false)), 0) || 1);
  box.textContent = ""; panels = [];
  for (const [title, m, isError, labels] of list) {
    const size = isError ? extent(m, true) || 0 : top;
    const canvas = el("canvas", { width: 512, height: 512, tabIndex: m ? 0 : -1, role: "img" });
    canvas.setAttribute("aria-label", m ? `${title}: ${m.n} by ${m.n} matrix` : `${title}: not known`);
    const fig = el("figure", {}, el("figcaption", {}, el("span", { textContent: title }), el("span", { className: "dim" })), canvas);
    if (m) {
      const ramp = el("i"); ramp.style.background = `linear-gradient(90deg,${diverging().join(",")})`;
      fig.append(el("div", { className: "scale" }, size ? sci(-size) : "", ramp, size ? sci(size) : "no error"));
      panels.push({ canvas, m, size: size || 1, labels, value: $("figcaption .dim", fig) });
    } else fig.append(el("div", { className: "scale", textContent: S.kind === "cells" && S.step <= D.whole + 1 ? "no cells yet" : "not known" }));
    box.append(fig);
  }
  panels.forEach(listen); paintMaps();
}
function paintMaps() {
  const ramp = diverging(), table = Array.from({ length: 257 }, (_, i) => hex(mix(ramp, i / 256)));
  for (const p of panels) {
    const { canvas, m } = p, s = m.side, c = canvas.getContext("2d");
    if (!p.image) {
      const im = new ImageData(s, s);
      for (let i = 0; i < s * s; i++) {
        const t = table[Math.round(128 + 128 * Math.min(1, Math.max(-1, m.v[i] / p.size)))];
        im.data.set([t[0], t[1], t[2], 255], 4 * i);
      }
      p.image = el("canvas", { width: s, height: s });
      p.image.getContext("2d").putImageData(im, 0, 0);
    }
    c.imageSmoothingEnabled = false;
    c.fillStyle = ramp[2]; c.fillRect(0, 0, 512, 512);
    c.drawImage(p.image, View.x * s, View.y * s, View.size * s, View.size * s, 0, 0, 512, 512);
    const px = 512 / (View.size * s), row = (f) => (f - View.y) * 512 / View.size, col = (f) => (f - View.x) * 512 / View.size;
    c.strokeStyle = dark() ? "#fff" : "#000";
    for (const i of selectedRows(m)) {
      c.lineWidth = px < 10 ? 1 : 2; c.strokeRect(-4, row(i / s), 520, px); c.strokeRect(col(i / s), -4, px, 520);
    }
    p.value.textContent = "";
    if (View.at) {
      const i = Math.min(s - 1, Math.floor(View.at[0] * s)), j = Math.min(s - 1, Math.floor(View.at[1] * s));
      c.lineWidth = 2; c.setLineDash([4, 3]); c.strokeRect(col(j / s), row(i / s), px, px); c.setLineDash([]);
      p.value.textContent = sci(m.v[i * s + j]);
    }
  }
}
function selectedRows(m) {
  if (S.sel < 0) return [];
  const v = VARS[S.sel], J = job();
  if (v.j !== S.job) return [];
  const block = Math.ceil(m.n / m.side);
  if (S.kind !== "cells") return m.n === J.n ? [...new Set(v.i.map((i) => Math.floor(i / block)))] : [];
  const names = stepOf(S.step)?.cellNames;
  if (!names || names.length !== m.side || block > 1) return [];
  return names.map((n, i) => [n, i]).filter(([n]) => n.replace(/[+-]$/, "") === v.l).map(([, i]) => i);
}
function listen(p) {
  const { canvas, m } = p, s = m.side;
  const where = (ev) => { const r = canvas.getBoundingClientRect(); return [View.y + View.size * (ev.clientY - r.top) / r.height, View.x + View.size * (ev.clientX - r.left) / r.width].map((f) => Math.min(Math.max(f, 0), 1 - 1e-9)); };
  const say = (ev) => {
    const i = Math.floor(View.at[0] * s), j = Math.floor(View.at[1] * s), n = p.labels, text = `${n?.[i] ?? i}, ${n?.[j] ?? j}: ${sci(m.v[i * s + j])}`;
    if (ev) showTip(text, ev.clientX, ev.clientY); else $("#live").textContent = text;
  };
  let drag = null;
  canvas.addEventListener("pointermove", (ev) => {
    if (drag) { const r = canvas.getBoundingClientRect(); View.x = drag.x - (ev.clientX - drag.cx) / r.width * View.size; View.y = drag.y - (ev.clientY - drag.cy) / r.height * View.size; drag.moved ||= Math.hypot(ev.clientX - drag.cx, ev.clientY - drag.cy) > 4; clampView(); }
    View.at = where(ev); say(ev); paintMaps();
  });
  canvas.addEventListener("pointerleave", () => { View.at = null; tip.hidden = true; paintMaps(); });
  canvas.addEventListener("pointerdown", (ev) => { drag = { x: View.x, y: View.y, cx: ev.clientX, cy: ev.clientY, moved: false }; canvas.setPointerCapture(ev.pointerId); });
  canvas.addEventListener("pointerup", (ev) => { if (drag && !drag.moved) { View.at = where(ev); pick(); } drag = null; });
  canvas.addEventListener("wheel", (ev) => { if (!ev.ctrlKey && !ev.metaKey && document.activeElement !== canvas) return; ev.preventDefault(); zoom(ev.deltaY > 0 ? 1.2 : 1 / 1.2, where(ev)); }, { passive: false });
  canvas.addEventListener("dblclick", () => { Object.assign(View, { x: 0, y: 0, size: 1 }); paintMaps(); });
  const pick = () => {
    const i = Math.floor(View.at[0] * s);
    if (S.kind !== "cells") { if (Math.ceil(m.n / s) === 1) select(homes[S.job].get(i) ?? -1); }
    else if (p.labels?.[i] !== undefined) select(byName.get(p.labels[i].replace(/[+-]$/, "")) ?? -1);
  };
  canvas.addEventListener("keydown", (ev) => {
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[ev.key];
    if (move) { View.at = View.at ? View.at.map((f, k) => Math.min(Math.max(f + move[k] / s, .5 / s), 1 - .5 / s)) : [.5 / s, .5 / s]; say(); }
    else if (ev.key === "+" || ev.key === "=") zoom(1 / 1.4, View.at ?? [.5, .5]);
    else if (ev.key === "-") zoom(1.4, View.at ?? [.5, .5]);
    else if (ev.key === "0") Object.assign(View, { x: 0, y: 0, size: 1 });
    else if (ev.key === "Enter" && View.at) pick();
    else return;
    ev.preventDefault(); ev.stopPropagation(); paintMaps();
  });
}
function clampView() { View.x = Math.min(Math.max(View.x, 0), 1 - View.size); View.y = Math.min(Math.max(View.y, 0), 1 - View.size); }
function zoom(f, at) {
  const size = Math.min(1, Math.max(View.size * f, .02)), g = size / View.size;
  View.y = at[0] - (at[0] - View.y) * g; View.x = at[1] - (at[1] - View.x) * g; View.size = size; clampView(); paintMaps();
}

// --- chip and model: zoom, selection, colours ---
function pannable(box) {
  const svg = $("svg", box); if (!svg) return;
  const home = svg.viewBox.baseVal, full = [home.x, home.y, home.width, home.height];
  const set = (v) => svg.setAttribute("viewBox", v.join(" ")), get = () => { const b = svg.viewBox.baseVal; return [b.x, b.y, b.width, b.height]; };
  const scale = (f, cx, cy) => { const [x, y, w] = get(), W = Math.min(full[2], Math.max(w * f, full[2] / 60)), g = W / w, H = W * full[3] / full[2]; set([Math.min(Math.max(cx - (cx - x) * g, full[0]), full[0] + full[2] - W), Math.min(Math.max(cy - (cy - y) * g, full[1]), full[1] + full[3] - H), W, H]); };
  const point = (ev) => { const m = svg.getScreenCTM().inverse(), p = new DOMPoint(ev.clientX, ev.clientY).matrixTransform(m); return [p.x, p.y]; };
  box.addEventListener("wheel", (ev) => { if (!ev.ctrlKey && !ev.metaKey && !box.contains(document.activeElement)) return; ev.preventDefault(); scale(ev.deltaY > 0 ? 1.2 : 1 / 1.2, ...point(ev)); }, { passive: false });
  const close = () => {
    const p = $$(".cell,.node", svg).map(centre); if (!p.length) return;
    const xs = p.map((q) => q[0]), ys = p.map((q) => q[1]), x0 = Math.min(...xs), x1 = Math.max(...xs), y0 = Math.min(...ys), y1 = Math.max(...ys), r = Math.max(Math.min(full[2], full[3]) / 18, 5 * ($(".cell,.node", svg).getAttribute("r") ?? 8));
    const W = Math.min(full[2], Math.max(x1 - x0 + 2 * r, (y1 - y0 + 2 * r) * full[2] / full[3])), H = W * full[3] / full[2];
    set([Math.min(Math.max((x0 + x1 - W) / 2, full[0]), full[0] + full[2] - W), Math.min(Math.max((y0 + y1 - H) / 2, full[1]), full[1] + full[3] - H), W, H]);
  };
  box.zoomTo = (how) => how === "used" ? close() : how === "all" ? set(full) : scale(how === "in" ? 1 / 1.4 : 1.4, ...(() => { const [x, y, w, h] = get(); return [x + w / 2, y + h / 2]; })());
  // A few small cells on a large board: begin with those in use.
  const all = $$(".cell", svg); if (all.length && +all[0].getAttribute("r") < 5 && all.length < 300) close();
  let drag = null;
  box.addEventListener("pointerdown", (ev) => { drag = { at: point(ev), moved: false }; });
  box.addEventListener("pointermove", (ev) => { if (!drag || !(ev.buttons & 1)) return; const [x, y, w, h] = get(), p = point(ev), dx = drag.at[0] - p[0], dy = drag.at[1] - p[1]; if (w >= full[2]) return; drag.moved ||= Math.hypot(dx, dy) > w / 150; set([Math.min(Math.max(x + dx, full[0]), full[0] + full[2] - w), Math.min(Math.max(y + dy, full[1]), full[1] + full[3] - h), w, h]); });
  box.addEventListener("click", (ev) => { const moved = drag?.moved; drag = null; if (moved) return; const e = ev.target.closest("[data-p],[data-k],[data-v]"); if (e) select(variableAt(e)); else if (ev.target.closest("svg") && !ev.target.closest("line")) select(-1); });
  box.addEventListener("dblclick", () => set(full));
  box.addEventListener("keydown", (ev) => {
    const dir = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[ev.key], middle = () => { const [x, y, w, h] = get(); return [x + w / 2, y + h / 2]; };
    if (dir) step(svg, dir); else if (ev.key === "+" || ev.key === "=") scale(1 / 1.4, ...middle()); else if (ev.key === "-") scale(1.4, ...middle()); else if (ev.key === "0") set(full); else return;
    ev.preventDefault(); ev.stopPropagation();
  });
}
function centre(e) { return e.tagName === "circle" ? [+e.getAttribute("cx"), +e.getAttribute("cy")] : [+e.getAttribute("x") + e.getAttribute("width") / 2, +e.getAttribute("y") + e.getAttribute("height") / 2]; }
function step(svg, [dx, dy]) {
  const all = $$(".cell,.node", svg), now = all.find((e) => e.classList.contains("cursor")) ?? all.find((e) => e.classList.contains("on"));
  if (!all.length) return;
  let best = now ? null : all[0], cost = Infinity;
  if (now) {
    const [x, y] = centre(now);
    for (const e of all) { const [u, v] = centre(e), along = (u - x) * dx + (v - y) * dy, off = Math.abs((u - x) * dy) + Math.abs((v - y) * dx); if (along > 1e-6 && along + 2.5 * off < cost) { cost = along + 2.5 * off; best = e; } }
  }
  if (!best) return;
  $$(".cursor", svg).forEach((e) => e.classList.remove("cursor")); best.classList.add("cursor");
  select(variableAt(best)); $("#live").textContent = best.dataset.tip;
}
function say(e, text) { e.dataset.tip = text; e.setAttribute("aria-label", text); }
function paintChip() {
  const svg = $(`.job[data-job="${S.job}"].view svg`); if (!svg) { $("#chip-legend").textContent = ""; return; }
  const board = $(`.board[data-board="${job().board}"]`);
  if (board && board.parentNode !== svg) svg.prepend(board);
  const cells = job().cells, other = job().members[S.member - 1];
  for (const e of $$(".cell", svg)) {
    const c = cells[+e.dataset.p], [text, value] = other?.cells[e.dataset.p] ?? [c.t, c.v];
    const fill = S.colour === "chain" ? D.colours.categories[c.h] : mix(D.colours.sequential, S.colour === "value" ? value : c.e);
    e.setAttribute("fill", fill); say(e, `cell ${c.c}: ${c.n}, ${text}`);
    const label = e.nextElementSibling; if (label?.classList.contains("on-cell")) label.setAttribute("fill", ink(fill));
  }
  if (job().members.length) for (const e of $$(".edge,.inner", svg)) {
    e.dataset.tip0 ??= e.dataset.tip; e.dataset.stroke0 ??= e.getAttribute("stroke");
    const set = other?.edges[e.dataset.e], [head, , tail] = e.dataset.tip0.split(/(: .*?; )/);
    say(e, set ? `${head}: ${set[0]}; ${tail}` : e.dataset.tip0);
    e.setAttribute("stroke", set && e.classList.contains("edge") ? mix(D.colours.diverging, .5 + .5 * Math.sign(set[1]) * (.35 + .65 * Math.abs(set[1]))) : e.dataset.stroke0);
  }
  const ramp = D.colours.diverging, legend = $("#chip-legend"), sw = (kind, colour, text) => { const i = el("i", { className: "sw " + kind }); i.style.background = colour; return el("span", {}, i, text); };
  legend.textContent = "";
  if (S.colour === "chain") legend.append(sw("round", D.colours.categories[0], $(".inner", svg) ? "one colour a chain" : "one cell a variable"));
  else { const i = el("i", { className: "ramp" }); i.style.background = `linear-gradient(90deg,${D.colours.sequential.join(",")})`; legend.append(el("span", {}, S.colour === "value" ? "smallest" : "exact", i, S.colour === "value" ? "largest own component" : "worst error of a marginal")); }
  if ($(".edge.pos", svg)) legend.append(sw("line", ramp[ramp.length - 1], "attracts"));
  if ($(".edge.neg", svg)) legend.append(sw("line", ramp[0], "repels"));
  if ($(".inner", svg)) legend.append(sw("line thick", "var(--dim)", "holds a chain"));
  if (job().idle) legend.append(sw("round", "var(--idle)", "idle"));
  if ($(".dead", svg)) legend.append(sw("round", "#d33f3f", "dead"));
}
function mark() {
  const k = S.sel, v = VARS[k], chip = $(`.job[data-job="${S.job}"].view svg`), model = $("#model svg");
  $$(".on,.near").forEach((e) => e.classList.remove("on", "near"));
  document.body.dataset.selected = v?.l ?? "";
  document.body.dataset.pass = S.step ? passes()[S.step - 1].name : "";
  chip?.classList.toggle("has", !!v && v.j === S.job && v.i.length > 0);
  model?.classList.toggle("has", !!v);
  const placed = S.step === last() || !!stepOf(S.step)?.placed || (stepOf(S.step) && !stepOf(S.step).seen && S.step > D.whole + 2);
  chip?.classList.toggle("unplaced", !placed);
  if (chip) $(`#unplaced`).hidden = placed;
  if (v) {
    const mine = new Set(v.i), cells = job()?.cells ?? [], here = new Set();
    if (v.j === S.job) cells.forEach((c, p) => { if (mine.has(c.i)) here.add(p); });
    if (chip) {
      for (const e of $$(".cell", chip)) if (here.has(+e.dataset.p)) { e.classList.add("on"); e.nextElementSibling?.classList.add("on"); }
      for (const e of $$(".edge,.inner", chip)) if (here.has(+e.dataset.a) || here.has(+e.dataset.b)) e.classList.add("on");
    }
    if (model) {
      const near = new Set();
      for (const e of $$(".edge", model)) if (+e.dataset.a === k || +e.dataset.b === k) { e.classList.add("on"); near.add(+e.dataset.a).add(+e.dataset.b); }
      for (const e of $$(".node", model)) { const q = +(e.dataset.k ?? e.dataset.v); if (q === k) { e.classList.add("on"); e.nextElementSibling?.classList.add("on"); } else if (near.has(q)) { e.classList.add("near"); e.nextElementSibling?.classList.add("near"); } }
    }
    for (const id of [v.decl, ...v.lines]) document.getElementById(id)?.classList.add("on");
    if (v.j === S.job) for (const e of $$(`.plot .job[data-job="${S.job}"] [data-k],.plot.job[data-job="${S.job}"] [data-k]`)) if (mine.has(+e.dataset.k)) e.classList.add("on");
  }
  const name = S.step ? passes()[S.step - 1].name : null;
  if (name) for (const e of $$("[data-pass]")) if (e.dataset.pass === name && e !== document.body) e.classList.add("on");
}

// --- words ---
function table(rows) { const t = el("table"); for (const [a, b] of rows) t.append(el("tr", {}, el("th", { scope: "row", textContent: a }), el("td", { textContent: b }))); return t; }
function sayStep() {
  const box = $("#step"); box.textContent = "";
  $("#pass-name").textContent = S.step ? passes()[S.step - 1].name : "nothing";
  $("#pass").max = last(); $("#pass").value = S.step; $("#pass").setAttribute("aria-valuetext", S.step ? `after ${passes()[S.step - 1].name}` : "the model as written");
  if (!S.step) { box.append(el("p", { className: "big", textContent: "The model as written" }), el("p", { className: "dim", textContent: `${last()} passes follow.` })); return; }
  const p = passes()[S.step - 1], own = S.step <= D.whole ? D.model[S.step - 1] : stepOf(S.step), rows = [];
  box.append(el("p", { className: "big", textContent: `${S.step} of ${last()}: ${p.text}` }));
  if (p.why) box.append(el("p", { className: "dim", textContent: p.why }));
  for (const n of own?.notes ?? []) rows.push(["said", n]);
  if (own?.back) rows.push(["way back", own.back]);
  const l = stepOf(S.step)?.ledger;
  if (l) {
    const b = stepOf(S.step - 1)?.ledger, small = (x) => x == null ? "unknown" : Math.abs(x) < 1e-13 ? "rounding" : sci(x);
    ["KL, nats a variable", "worst sd, relative", "worst mean, in sd", "worst correlation"].forEach((t, i) => rows.push([t, small(l[i]) + (b && small(b[i]) !== small(l[i]) ? ` (before: ${small(b[i])})` : "") + (i === 0 && l[4] !== "exact" ? `, ${l[4]}` : "")]));
  }
  box.append(rows.length ? table(rows) : el("p", { className: "dim", textContent: "Changed nothing." }));
}
function density(v) {
  const J = JOBS[v.j], i = v.i[0], at = J?.steps[S.step - 1], m = J?.asked?.mean[i], s = J?.asked?.sd[i];
  if (v.i.length !== 1 || m == null || J.spin || J.names[i] !== v.l) return null;
  const m2 = S.step ? at?.mean?.[i] : m, s2 = S.step ? at?.sd?.[i] : s, W = 460, H = 130, NS = "http://www.w3.org/2000/svg";
  const low = Math.min(m - 3.4 * s, (m2 ?? m) - 3.4 * (s2 ?? s)), high = Math.max(m + 3.4 * s, (m2 ?? m) + 3.4 * (s2 ?? s)), top = Math.max(1 / s, s2 ? 1 / s2 : 0);
  const x = (t) => 8 + (W - 16) * (t - low) / (high - low), y = (a, b, t) => H - 20 - (H - 32) * Math.exp(-.5 * ((t - a) / b) ** 2) / b / top;
  const curve = (a, b) => Array.from({ length: 121 }, (_, k) => low + (high - low) * k / 120).map((t, k) => `${k ? "L" : "M"}${x(t).toFixed(1)} ${y(a, b, t).toFixed(1)}`).join("");
  const svg = document.createElementNS(NS, "svg"); svg.setAttribute("viewBox", `0 0 ${W} ${H}`); svg.setAttribute("role", "img"); svg.setAttribute("aria-label", `density of ${v.l}, asked and made`);
  const put = (tag, o, text) => { const e = document.createElementNS(NS, tag); for (const k in o) e.setAttribute(k, o[k]); if (text) e.textContent = text; svg.append(e); };
  put("path", { d: curve(m, s) + `L${x(high)} ${H - 20}L${x(low)} ${H - 20}Z`, class: "asked2" });
  if (m2 != null) put("path", { d: curve(m2, s2), class: "made", fill: "none", "stroke-width": 1.8 });
  for (const t of [m - 2 * s, m, m + 2 * s]) { put("line", { x1: x(t), x2: x(t), y1: H - 20, y2: H - 16, stroke: "currentColor" }); put("text", { x: x(t), y: H - 4, "font-size": 10, "text-anchor": "middle", class: "note" }, sci(t)); }
  put("text", { x: 10, y: 14, "font-size": 10, class: "note" }, "filled: asked; line: made");
  return el("div", { className: "plot" }, svg);
}
function saySelected() {
  const box = $("#selected"), v = VARS[S.sel];
  $("#find").value = v?.l ?? "";
  box.textContent = "";
  if (!v) { box.append(el("p", { className: "dim", textContent: VARS.length ? "Nothing. Click a cell, a node, a line of the source or a row of a matrix, or press j." : "The program has no variables." })); return; }
  box.append(el("p", { className: "big", textContent: v.l }));
  if (v.size !== undefined) { box.append(table([["entries", String(v.size)], ["declared", lineText(v.decl) || "in Python"]]), el("p", { className: "dim", textContent: "The model has too many coordinates to show each one; `spucc explain` traces a single one." })); return; }
  const J = JOBS[v.j], at = J?.steps[S.step - 1], rows = [];
  if (v.for) rows.push(["stands for", `query ${v.for}`]);
  if (v.decl) rows.push(["declared", lineText(v.decl)]);
  for (const id of v.lines) if (id !== v.decl) rows.push(["spoken of", lineText(id)]);
  rows.push(["energy", `own term ${sci(v.q)}, linear term ${sci(v.h)}, ${v.deg} coupling${v.deg === 1 ? "" : "s"}`]);
  if (v.obs != null) rows.push(["observed", sci(v.obs)]);
  if (J) {
    const cells = J.cells.filter((c) => v.i.includes(c.i));
    if (cells.length) rows.push([cells.length > 1 ? `${cells.length} cells` : "cell", cells.slice(0, 12).map((c) => `${c.c}: ${J.members[S.member - 1]?.cells[J.cells.indexOf(c)]?.[0] ?? c.t}`).join("; ") + (cells.length > 12 ? " …" : "")]);
    const i = v.i[0];
    if (v.i.length === 1 && J.asked && J.names[i] === v.l) {
      rows.push(["asked", `mean ${sci(J.asked.mean[i])}, sd ${sci(J.asked.sd[i])}`]);
      if (at?.sd) { const off = at.sd[i] / J.asked.sd[i] - 1, sh = (at.mean[i] - J.asked.mean[i]) / J.asked.sd[i]; rows.push([`made after ${passes()[S.step - 1].name}`, `mean ${sci(at.mean[i])}, sd ${sci(at.sd[i])}; off by ${Math.abs(off) < 5e-9 ? "rounding" : (100 * off).toPrecision(2) + " %"} and ${Math.abs(sh) < 5e-9 ? "rounding" : sh.toPrecision(2) + " sd"}`]); }
    }
  } else rows.push(["cells", v.obs != null ? "none: it is observed" : "none on this page"]);
  box.append(table(rows));
  const d = density(v); if (d) box.append(d);
  if (v.nb.length) {
    box.append(el("h3", { textContent: v.deg > v.nb.length ? `Strongest ${v.nb.length} of ${v.deg} couplings` : "Couplings" }));
    const list = el("div", { className: "chip-list" });
    for (const [k, q] of v.nb) list.append(el("button", { type: "button", textContent: `${VARS[k].l} ${q > 0 ? "+" : ""}${sci(q)}`, onclick: () => select(k) }));
    box.append(list);
  }
}

// --- the state, and the address that keeps it ---
let writing = false;
function remember() {
  const p = new URLSearchParams();
  if (S.sel >= 0) p.set("select", VARS[S.sel].l);
  if (S.step !== last()) p.set("pass", S.step);
  if (S.job) p.set("job", JOBS[S.job].name);
  if (S.member) p.set("member", S.member + 1);
  if (S.kind !== "corr") p.set("matrix", S.kind);
  if (S.colour !== "chain") p.set("colour", S.colour);
  const text = p.toString();
  try { history.replaceState(null, "", text ? "#" + text : location.pathname + location.search); } catch { /* a sandboxed frame has no history */ }
}
function recall() {
  const p = new URLSearchParams(location.hash.slice(1));
  S.sel = byName.get(p.get("select")) ?? -1;
  S.job = Math.max(JOBS.findIndex((j) => j.name === p.get("job")), 0);
  if (S.sel >= 0 && VARS[S.sel].j >= 0) S.job = VARS[S.sel].j;
  const pass = p.get("pass");
  S.step = pass == null ? last() : passNamed(pass) || Math.min(Math.max(Number.parseInt(pass, 10) || 0, 0), last());
  S.member = Math.min(Math.max((Number.parseInt(p.get("member"), 10) || 1) - 1, 0), job()?.members.length ?? 0);
  S.kind = ["corr", "prec", "cells"].includes(p.get("matrix")) ? p.get("matrix") : job()?.asked ? "corr" : "cells";
  S.colour = ["chain", "value", "error"].includes(p.get("colour")) ? p.get("colour") : "chain";
}
function show() {
  $$(".job").forEach((e) => { e.hidden = +e.dataset.job !== S.job; });
  $$(".undrawn").forEach((e) => { e.hidden = job()?.drawn !== false; });
  const choose = $("#job"); if (choose) choose.value = S.job;
  const member = $("#member"), members = job()?.members.length ?? 0;
  $$("[data-member]").forEach((e) => { e.hidden = +e.dataset.member !== S.member; });
  if (member) {
    member.parentNode.hidden = !members;
    if (member.length !== members + 1) member.replaceChildren(...Array.from({ length: members + 1 }, (_, k) => el("option", { value: k, textContent: `${k + 1} of ${members + 1}` })));
    member.value = S.member;
  }
  for (const b of $$("[data-choose]")) b.closest("tr").classList.toggle("chosen", +b.dataset.choose === S.job);
  for (const b of $$("[data-kind]")) { b.setAttribute("aria-checked", b.dataset.kind === S.kind); b.disabled = b.dataset.kind !== "cells" && job()?.asked?.[b.dataset.kind] == null; }
  for (const b of $$("[data-colour]")) b.setAttribute("aria-checked", b.dataset.colour === S.colour);
  paintChip(); mark(); sayStep(); saySelected(); drawMaps();
}
function turnTo(k) {
  const end = S.step === last(), name = S.step > D.whole ? passes()[S.step - 1].name : "";
  S.job = k; S.member = 0;
  if (end) S.step = last(); else if (name) S.step = passNamed(name) || Math.min(S.step, last());
}
function change(what) { if (what.job !== undefined && what.job !== S.job) turnTo(what.job); Object.assign(S, what); show(); remember(); }
function select(k) {
  const j = k >= 0 && VARS[k].j >= 0 ? VARS[k].j : S.job;
  change({ sel: k === S.sel && k < 0 ? -1 : k, job: j });
  $("#live").textContent = k >= 0 ? `selected ${VARS[k].l}` : "nothing selected";
}
const go = (k) => change({ step: Math.min(Math.max(k, 0), last()) });
$("#names").append(...VARS.map((v) => el("option", { value: v.l })));
$("#find").addEventListener("change", (ev) => { const k = byName.get(ev.target.value.trim()); if (k !== undefined) select(k); else if (!ev.target.value) select(-1); else ev.target.value = VARS[S.sel]?.l ?? ""; });
$("#pass").addEventListener("input", (ev) => go(+ev.target.value));
$("#back").onclick = () => go(S.step - 1); $("#next").onclick = () => go(S.step + 1);
$("#job")?.addEventListener("change", (ev) => change({ job: +ev.target.value, sel: -1 }));
$("#member")?.addEventListener("change", (ev) => change({ member: +ev.target.value }));
for (const b of $$("[data-choose]")) b.onclick = () => change({ job: +b.dataset.choose, sel: -1 });
const turn = (what, by, count) => { if (count > 1) { change({ [what]: (S[what] + by + count) % count, ...(what === "job" ? { sel: -1 } : {}) }); $("#live").textContent = what === "job" ? `job ${job().name}` : `member ${S.member + 1} of ${count}`; } };
$("#help").onclick = () => { const k = $("#keys"); k.hidden = !k.hidden; $("#help").setAttribute("aria-expanded", !k.hidden); };
const theme = (t) => { document.documentElement.dataset.theme = t; for (const p of panels) p.image = null; drawMaps(); };
$("#theme").onclick = () => theme(dark() ? "light" : "dark");
for (const b of $$("[data-kind]")) b.onclick = () => change({ kind: b.dataset.kind });
for (const b of $$("[data-colour]")) b.onclick = () => change({ colour: b.dataset.colour });
for (const g of $$("[role=radiogroup]")) g.addEventListener("keydown", (ev) => { const d = { ArrowLeft: -1, ArrowRight: 1 }[ev.key]; if (!d) return; const all = $$("button", g), b = all[(all.indexOf(document.activeElement) + d + all.length) % all.length]; b.focus(); b.click(); ev.preventDefault(); ev.stopPropagation(); });
$$(".view").forEach(pannable);
for (const b of $$("[data-zoom]")) b.onclick = () => $$(".view", b.closest("section")).find((e) => !e.hidden)?.zoomTo?.(b.dataset.zoom);
document.addEventListener("click", (ev) => {
  const line = ev.target.closest(".src .line[data-v]"), row = ev.target.closest(".plot [data-k]"), pass = ev.target.closest(".plot [data-pass]");
  if (line) { const all = VARS.map((v, k) => [v, k]).filter(([v]) => v.decl === line.id || v.lines.includes(line.id)).map(([, k]) => k); if (all.length) select(all[(all.indexOf(S.sel) + 1) % all.length]); }
  else if (row) select(variableAt(row));
  else if (pass) { const k = passNamed(pass.dataset.pass); if (k) go(k); }
});
for (const l of $$(".src .line")) if (VARS.some((v) => v.decl === l.id || v.lines.includes(l.id))) { l.dataset.v = ""; l.tabIndex = 0; l.addEventListener("keydown", (ev) => { if (ev.key === "Enter") l.click(); }); }
document.addEventListener("keydown", (ev) => {
  if (ev.ctrlKey || ev.metaKey || ev.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(ev.target.tagName)) return;
  const n = VARS.length;
  if (ev.key === "Escape") select(-1);
  else if (ev.key === "]") go(S.step + 1);
  else if (ev.key === "[") go(S.step - 1);
  else if (ev.key === "j" && n) select((S.sel + 1) % n);
  else if (ev.key === "k" && n) select((S.sel - 1 + n) % n);
  else if (ev.key === "n") turn("job", 1, JOBS.length);
  else if (ev.key === "p") turn("job", -1, JOBS.length);
  else if (ev.key === "m") turn("member", 1, (job()?.members.length ?? 0) + 1);
  else if (ev.key === "t") $("#theme").click();
  else if (ev.key === "/") { ev.preventDefault(); $("#find").focus(); }
  else if (ev.key === "?") $("#help").click();
});
addEventListener("hashchange", () => { recall(); show(); });
let before = null;
addEventListener("beforeprint", () => { before = document.documentElement.dataset.theme; theme("light"); });
addEventListener("afterprint", () => theme(before));
document.documentElement.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (ev) => theme(ev.matches ? "dark" : "light"));
recall(); show();
document.body.dataset.ready = "yes";
})();
