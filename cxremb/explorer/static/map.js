// The map: a dot for each row, drawn by WebGL from one buffer with one shader. Zoom, move, lasso, point at.

import { show } from "./explorer.js";

const VERTEX = `
attribute vec2 place; attribute float kind;
uniform vec2 middle; uniform vec2 scale; uniform float size; uniform vec3 colours[3]; uniform float faint;
varying vec4 colour; varying float shape;
void main() {
  float held = step(4.0, kind); // 4 is added where the row is picked
  float of = kind - 4.0 * held;
  shape = of;
  vec3 ink = of < 0.5 ? colours[0] : of < 1.5 ? colours[1] : colours[2];
  colour = vec4(ink, held > 0.5 ? 0.85 : faint);
  gl_Position = vec4((place - middle) * scale, held > 0.5 ? 0.0 : 0.5, 1.0);
  gl_PointSize = held > 0.5 ? size : size * 0.7;
}`;
const FRAGMENT = `
precision mediump float; varying vec4 colour; varying float shape;
void main() {
  vec2 at = gl_PointCoord * 2.0 - 1.0;
  float far = abs(shape - 1.0) < 0.5 ? abs(at.x) + abs(at.y) : length(at) * 1.1;
  if (far > 1.0) discard;
  gl_FragColor = vec4(colour.rgb * colour.a, colour.a);
}`;
const FLOATS = 3; // of a row in the buffer: x, y, kind
const box = document.getElementById("map");
const canvas = box.querySelector("canvas");
const [ring, tip, path] = [box.querySelector(".ring"), box.querySelector(".tip"), box.querySelector(".lasso path")];
const gl = canvas.getContext("webgl", { antialias: false, premultipliedAlpha: true });
let rows = new Float32Array(0), kinds = new Uint8Array(0), count = 0;
let middle = [0, 0], zoom = 1, span = 1, lassoing = false, drawn = null, pointed = null, lit = null, waiting = false;
let at = {};

function build() {
  const program = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
  gl.useProgram(program);
  gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
  for (const [name, size, start] of [["place", 2, 0], ["kind", 1, 2]]) {
    const where = gl.getAttribLocation(program, name);
    gl.enableVertexAttribArray(where);
    gl.vertexAttribPointer(where, size, gl.FLOAT, false, 4 * FLOATS, 4 * start);
  }
  for (const name of ["middle", "scale", "size", "colours", "faint"]) at[name] = gl.getUniformLocation(program, name);
  gl.enable(gl.BLEND);
  gl.enable(gl.DEPTH_TEST); // rows that are picked lie above the others
  gl.depthFunc(gl.LEQUAL);
  gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
}

function colours() {
  const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const style = getComputedStyle(document.documentElement);
  return ["--no", "--yes", "--soft"].flatMap((name) => {
    probe.fillStyle = style.getPropertyValue(name).trim();
    probe.fillRect(0, 0, 1, 1);
    return [...probe.getImageData(0, 0, 1, 1).data].slice(0, 3).map((value) => value / 255);
  });
}

// Of a point of the map, CSS pixels in the box; and the reverse.
const unit = () => (2 * zoom) / span; // of clip space to a unit of the map, along the shorter side
const sides = () => { const { clientWidth: w, clientHeight: h } = canvas; const s = Math.min(w, h); return [w, h, s / w, s / h]; };
const toBox = (x, y) => { const [w, h, sx, sy] = sides(); return [((x - middle[0]) * unit() * sx + 1) * w / 2, (1 - (y - middle[1]) * unit() * sy) * h / 2]; };
const toMap = (x, y) => { const [w, h, sx, sy] = sides(); return [middle[0] + (2 * x / w - 1) / unit() / sx, middle[1] + (1 - 2 * y / h) / unit() / sy]; };

function draw() {
  waiting = false;
  const density = Math.min(devicePixelRatio, 2);
  const [w, h, sx, sy] = sides();
  if (canvas.width !== Math.round(w * density)) canvas.width = Math.round(w * density);
  if (canvas.height !== Math.round(h * density)) canvas.height = Math.round(h * density);
  gl.viewport(0, 0, canvas.width, canvas.height);
  gl.clearColor(0, 0, 0, 0);
  gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
  gl.uniform2f(at.middle, ...middle);
  gl.uniform2f(at.scale, unit() * sx, unit() * sy);
  const dot = Math.min(7, Math.max(2, 150 / Math.sqrt(count + 1))) * Math.min(3, Math.sqrt(zoom));
  gl.uniform1f(at.size, dot * density);
  gl.uniform1f(at.faint, 0.2);
  gl.uniform3fv(at.colours, colours());
  gl.drawArrays(gl.POINTS, 0, count);
  const shown = lit ?? pointed;
  ring.hidden = shown === null || Number.isNaN(rows[shown * FLOATS]);
  if (!ring.hidden) [ring.style.left, ring.style.top] = toBox(rows[shown * FLOATS], rows[shown * FLOATS + 1]).map((v) => `${v}px`);
  canvas.dataset.drawn = count; // for tests and for who measures
}
const redraw = () => { if (!waiting) { waiting = true; requestAnimationFrame(draw); } };

// Show the dots that are picked, or all of them.
function fit(all = false) {
  let [left, right, bottom, top] = [Infinity, -Infinity, Infinity, -Infinity];
  for (let n = 0; n < count; n++) {
    const [x, y, kind] = rows.subarray(n * FLOATS, n * FLOATS + FLOATS);
    if (!all && kind < 4) continue;
    if (x < left) left = x;
    if (x > right) right = x;
    if (y < bottom) bottom = y;
    if (y > top) top = y;
  }
  if (right < left && !all) return fit(true);
  middle = right >= left ? [(left + right) / 2, (bottom + top) / 2] : [0, 0];
  span = (Math.max(right - left, top - bottom) || 1) * 1.12;
  zoom = 1;
  redraw();
}

async function load() {
  const bytes = await (await fetch(`/points${location.search}`)).arrayBuffer();
  count = new DataView(bytes).getUint32(0, true);
  const [xs, ys] = [new Float32Array(bytes, 4, count), new Float32Array(bytes, 4 + 4 * count, count)];
  kinds = new Uint8Array(bytes, 4 + 8 * count, count);
  rows = new Float32Array(count * FLOATS);
  for (let n = 0; n < count; n++) rows.set([xs[n], ys[n], kinds[n] + 4], n * FLOATS);
  await pick();
  fit(true);
}

// Which rows the selection holds: a bit each.
async function pick() {
  const answer = await fetch(`/mask${location.search}`);
  const bits = answer.ok ? new Uint8Array(await answer.arrayBuffer()) : null;
  for (let n = 0; n < count; n++) rows[n * FLOATS + 2] = kinds[n] + (!bits || (bits[n >> 3] >> (n & 7)) & 1 ? 4 : 0);
  gl.bufferData(gl.ARRAY_BUFFER, rows, gl.DYNAMIC_DRAW);
  redraw();
}

// The row nearest to a point of the box, no further than a few pixels; of two the one that is picked.
function nearest(px, py) {
  const [mx, my] = toMap(px, py);
  const far = Math.abs(toMap(px + 8, py)[0] - mx);
  let best = null, least = far * far;
  for (let n = 0; n < count; n++) {
    const [dx, dy] = [rows[n * FLOATS] - mx, rows[n * FLOATS + 1] - my];
    const distance = dx * dx + dy * dy + (rows[n * FLOATS + 2] < 4 ? far * far / 2 : 0);
    if (distance < least) [best, least] = [n, distance];
  }
  return best;
}

async function point(n) {
  if (n === pointed) return;
  pointed = n;
  for (const row of document.querySelectorAll("#rows .lit")) row.classList.remove("lit");
  if (n !== null) document.querySelector(`#rows [data-n="${n}"]`)?.classList.add("lit");
  tip.hidden = true;
  redraw();
  if (n === null) return;
  const of = new URLSearchParams(location.search);
  const answer = await fetch(`/row?${new URLSearchParams([["n", n], ...["of", "label"].filter((k) => of.has(k)).map((k) => [k, of.get(k)])])}`);
  if (!answer.ok || pointed !== n) return;
  const row = await answer.json();
  tip.replaceChildren();
  if (row.here && row.sha256) tip.append(Object.assign(new Image(), { src: `/film/thumb/${row.sha256}`, alt: "" }));
  tip.append(row.id);
  tip.dataset.id = row.id;
  const [x, y] = toBox(rows[n * FLOATS], rows[n * FLOATS + 1]);
  const [w, h] = sides();
  Object.assign(tip.style, x > w / 2 ? { right: `${w - x + 12}px`, left: "" } : { left: `${x + 12}px`, right: "" });
  Object.assign(tip.style, y > h / 2 ? { bottom: `${h - y + 12}px`, top: "" } : { top: `${y + 12}px`, bottom: "" });
  tip.hidden = false;
}

function openCase(id) {
  const address = new URLSearchParams(location.search);
  for (const name of ["after", "before", "id"]) address.delete(name);
  address.append("id", id);
  location.assign(`/case?${address}`);
}

// Rows inside the line that was drawn: the server selects them, so that the address says which.
function select(corners) {
  const every = Math.max(1, Math.ceil(corners.length / 60));
  const kept = corners.filter((_, place) => place % every === 0).map(([x, y]) => toMap(x, y).map((v) => v.toPrecision(6)));
  const address = new URLSearchParams(location.search);
  for (const name of ["lasso", "after", "before"]) address.delete(name);
  if (kept.length > 2) address.append("lasso", kept.flat().join(","));
  return show(`/?${address}`);
}

function listen() {
  const where = (event) => { const r = canvas.getBoundingClientRect(); return [event.clientX - r.x, event.clientY - r.y]; };
  let pressed = null, moved = false;
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    [pressed, moved] = [where(event), false];
    if (lassoing || event.shiftKey) drawn = [pressed];
  });
  canvas.addEventListener("pointermove", (event) => {
    const here = where(event);
    if (!pressed) return void point(nearest(...here));
    if (Math.hypot(here[0] - pressed[0], here[1] - pressed[1]) > 3) moved = true;
    if (drawn) {
      drawn.push(here);
      path.setAttribute("d", `M${drawn.map((one) => one.join(" ")).join("L")}Z`);
    } else if (moved) {
      const [from, to] = [toMap(...pressed), toMap(...here)];
      middle = [middle[0] + from[0] - to[0], middle[1] + from[1] - to[1]];
      pressed = here;
      redraw();
    }
  });
  canvas.addEventListener("pointerup", async (event) => {
    const line = drawn;
    [pressed, drawn] = [null, null];
    if (line && moved) {
      tool(false);
      await select(line);
      path.removeAttribute("d");
    } else if (!moved) {
      const n = nearest(...where(event));
      await point(n);
      if (n !== null && tip.dataset.id && !tip.hidden) openCase(tip.dataset.id);
    }
  });
  canvas.addEventListener("pointerleave", () => point(null));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const here = where(event);
    const before = toMap(...here);
    zoom = Math.min(400, Math.max(0.5, zoom * Math.exp(-event.deltaY / 400)));
    const after = toMap(...here);
    middle = [middle[0] + before[0] - after[0], middle[1] + before[1] - after[1]];
    redraw();
  }, { passive: false });
  const button = box.querySelector("[data-tool=lasso]");
  const tool = (on) => { lassoing = on; button.setAttribute("aria-pressed", on); };
  button.addEventListener("click", () => tool(!lassoing));
  box.querySelector("[data-tool=fit]").addEventListener("click", () => fit());
  document.addEventListener("row", (event) => { lit = event.detail; redraw(); });
  document.addEventListener("shown", pick);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  new ResizeObserver(redraw).observe(canvas);
}

// While a map is made, the page says how far it is, and shows it when it is there.
async function wait() {
  const said = box.querySelector("[data-progress]");
  for (let seen = false; ; seen = true) {
    const answer = await fetch("/progress");
    const job = answer.ok ? await answer.json() : { state: "none", words: "" };
    if (job.state === "done" && seen) return void location.reload();
    said.textContent = job.words;
    if (job.state !== "running") return;
    await new Promise((go) => setTimeout(go, 2000));
  }
}

if (!gl) {
  box.querySelector(".mapempty").hidden = false;
  box.querySelector(".mapempty").textContent = "This browser has no WebGL, which draws the map.";
} else if (box.dataset.mapped) {
  build();
  listen();
  load();
} else {
  wait();
}
