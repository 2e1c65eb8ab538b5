// The collection in two dimensions: dots in one pass over one array, thumbnails as one comes closer, a lasso that selects.

import { call, get, post, thumbnail } from "./api.js";
import { $, count, make, named, say, several } from "./dom.js";
import * as large from "./large.js";
import { failed, made } from "./making.js";
import * as results from "./results.js";
import * as selection from "./selection.js";
import * as state from "./state.js";

const COLOURS = ["#3b7dd8", "#d1495b", "#2a9d6f", "#c98a1b", "#8a5cd0", "#0f9bb0", "#c2559d", "#7a8b2e", "#b5603a", "#5b6cc4", "#4f8f5b", "#8c8c8c"];
const RAMP = ["#2c4a9a", "#2f6fb5", "#2a93ad", "#3aa98a", "#74b356", "#b3b03a", "#d99a35", "#e0713f"];
const NONE = 255;
const THUMBNAILS = 120;
const FRAME = "map frame";

let turn = 0;
let stop = () => {};
let drawn = { key: "" };

export function leave() {
  turn++;
  stop();
  stop = () => {};
  drawn = { key: "" };
  performance.clearMeasures(FRAME);
}

export async function draw(s, about) {
  const key = JSON.stringify([s.index, s.like, s.unlike, s.words, s.where, s.marked ? [s.right, s.wrong] : 0]);
  if (key === drawn.key) {
    if (drawn.map && s.by !== drawn.by) { drawn.by = s.by; await colour(drawn.map, s.by || "label", drawn.alive); }
    return;
  }
  leave();
  const mine = ++turn;
  const alive = () => mine === turn;
  drawn = { key, by: s.by, alive };
  $("#results").replaceChildren(make("div", { class: "skeleton", style: { height: "60vh" } }));
  const told = await made(() => get("/map"), alive, "The map is being made.");
  if (!told) { if (alive()) drawn = { key: "" }; return; }
  if (!told.n) return failed("There is no picture in this collection yet.");
  let points;
  try {
    points = await (await call("GET", "/map/points", { raw: true })).arrayBuffer();
  } catch (error) {
    return alive() && failed(error.message);
  }
  if (!alive()) return;
  const n = points.byteLength / 16;
  const map = new Map2D(new Float32Array(points, 0, 2 * n), Float64Array.from(new BigInt64Array(points.slice(8 * n)), Number));
  build(map, told, alive);
  stop = () => map.end();
  drawn.map = map;
  await Promise.all([colour(map, s.by || "label", alive), light(map, s, about, alive)]);
}

function build(map, told, alive) {
  const by = make("select", { id: "by", "aria-label": "Colour by", onchange: () => state.go({ by: by.value === "label" ? "" : by.value }, { replace: true }) },
    told.by.map((name) => make("option", { value: name, selected: name === (state.now.by || "label") }, name)));
  const button = (text, title, job) => make("button", { title, "aria-label": /[a-z]/.test(text) ? null : title, onclick: job }, text);
  const lasso = make("button", { id: "lasso", "aria-pressed": "false", title: "Draw around pictures; or hold shift while you draw", onclick: () => { map.lassoing = !map.lassoing; lasso.setAttribute("aria-pressed", map.lassoing); } }, "lasso");
  $("#results").replaceChildren(
    make("div", { class: "head" }, make("h1", { id: "count" }, `${several(map.n, "picture")}: what looks alike lies together`),
      make("label", { class: "row quiet" }, "colour by ", by), lasso,
      button("select what is in view", "Select what is in view", () => pick(map.seen())),
      button("−", "Farther", () => map.zoom(1 / 1.5)), button("+", "Closer", () => map.zoom(1.5)), button("whole map", "The whole map", () => map.whole())),
    make("div", { id: "map" }, map.canvas, map.over), make("p", { id: "under", class: "quiet" }, "\u00a0"),
    make("div", { id: "legend", role: "group", "aria-label": "Show only" }), make("p", { id: "frames", class: "quiet" }));
  map.onPick = pick;
  map.onNear = (id) => near(map, id);
  map.onOpen = open;
  map.begin();
}

async function pick(ids) {
  if (!ids.length) return say("There is nothing in it");
  try {
    const some = ids.slice(0, 10000);
    selection.pickAll((await post("/map/items", { ids: some })).items);
    if (ids.length > some.length) say(`The first ${count(some.length)} of ${count(ids.length)} are selected`);
  } catch (error) { say(error.message); }
}

async function open(id) {
  try {
    const item = await get(`/items/${id}`);
    large.open(item, [item], results.actions);
  } catch (error) { say(error.message); }
}

let asked = 0;
async function near(map, id) {
  const mine = ++asked;
  const place = $("#under");
  if (!place) return;
  if (id === null) { place.textContent = "\u00a0"; return; }
  try {
    const { items: [item] } = await post("/map/items", { ids: [id] });
    if (mine === asked && item && place.isConnected) place.textContent = `${named(item)}${item.label ? ` · ${item.label}` : ""}`;
  } catch { /* the next one may be told */ }
}

async function colour(map, by, alive) {
  let told;
  try {
    told = await get("/map/colours", { by });
  } catch (error) { return alive() && say(error.message); }
  if (!alive()) return;
  const text = atob(told.codes);
  if (text.length !== map.n) return; // somebody wrote meanwhile; the next look has both
  const codes = new Uint8Array(map.n);
  for (let at = 0; at < codes.length; at++) codes[at] = text.charCodeAt(at);
  const colours = told.ordered ? RAMP : COLOURS;
  map.colour(codes, told.values.map((one, place) => (one.value === null ? "#8c8c8c" : colours[place % colours.length])));
  const only = new Set();
  const entry = (code, text, times, shade) => {
    const swatch = make("span", { class: "swatch", style: { background: shade } });
    const button = make("button", { class: "value", "aria-pressed": "false", onclick: () => {
      if (only.has(code)) only.delete(code);
      else only.add(code);
      button.setAttribute("aria-pressed", only.has(code));
      map.only(only);
    } }, swatch, make("span", { class: "text" }, text), make("span", { class: "count" }, count(times)));
    return button;
  };
  $("#legend").replaceChildren(...told.values.map((one, place) => entry(place, one.value === null ? "others" : String(one.value), one.count, map.shades[place])),
    ...(told.none ? [entry(NONE, "none", told.none, "#999999")] : []));
}

// The query lights up what it matches.
async function light(map, s, about, alive) {
  if (!results.asks(s, about)) return;
  try {
    const answer = await post("/search", { ...results.question(s, about), k: 1000, details: 0 });
    if (!alive()) return;
    const matches = answer.fold?.matches;
    const hits = matches == null ? answer.hits.slice(0, 100) : answer.hits.slice(0, matches);
    map.light(new Set(hits.map((hit) => hit.id)));
    $("#count").textContent = `${count(hits.length)} of ${count(map.n)} pictures ${matches == null ? "that are most alike" : "match"}, larger and ringed`;
    say($("#count").textContent);
  } catch (error) { if (alive()) say(error.message); }
}

const packed = (hex) => {
  const value = parseInt(hex.slice(1), 16);
  return 0xff000000 | ((value & 255) << 16) | (value & 0xff00) | (value >> 16);
};

class Map2D {
  constructor(places, ids) {
    this.places = places;
    this.ids = ids;
    this.n = ids.length;
    this.codes = new Uint8Array(this.n);
    this.shades = ["#3b7dd8"];
    this.table = new Uint32Array(256);
    this.show = new Uint8Array(256).fill(1);
    this.lit = null;
    this.lassoing = false;
    this.pictures = new Map();
    this.frames = [];
    this.path = null;
    this.pointers = new Map();
    this.canvas = make("canvas");
    this.over = make("canvas", { class: "over", tabindex: "0", role: "application", "aria-label": "Map of the collection. Arrows move it, plus and minus zoom, Enter opens the picture in the middle, 0 shows all of it." });
    this.words = this.canvas.getContext("2d", { alpha: false });
    this.pen = this.over.getContext("2d");
    this.theme = matchMedia("(prefers-color-scheme: dark)");
    this.view = null;
    this.waiting = 0;
  }

  begin() {
    this.fit = new ResizeObserver(() => this.resize());
    this.fit.observe(this.canvas.parentElement);
    this.themed = () => { this.paints(); this.later(); };
    this.theme.addEventListener("change", this.themed);
    this.paints();
    this.listen();
    this.resize();
  }

  end() {
    this.fit?.disconnect();
    this.theme.removeEventListener("change", this.themed);
    cancelAnimationFrame(this.waiting);
    this.waiting = -1;
  }

  resize() {
    const box = this.canvas.parentElement.getBoundingClientRect();
    if (!box.width || !box.height) return;
    this.ratio = Math.min(devicePixelRatio || 1, 2);
    const [width, height] = [Math.round(box.width * this.ratio), Math.round(box.height * this.ratio)];
    if (this.canvas.width === width && this.canvas.height === height) return;
    for (const one of [this.canvas, this.over]) [one.width, one.height] = [width, height];
    this.image = this.words.createImageData(width, height);
    this.pixels = new Uint32Array(this.image.data.buffer);
    if (!this.view) this.whole();
    this.later();
  }

  // Colours as the pixels of this machine have them.
  paints() {
    const style = getComputedStyle(document.documentElement);
    this.paper = packed(style.getPropertyValue("--back").trim().replace(/^#(.)(.)(.)$/, "#$1$1$2$2$3$3"));
    this.accent = style.getPropertyValue("--front").trim();
    this.dim = this.theme.matches ? 0xff4a4a4a : 0xffcfcfcf;
    this.table.fill(packed("#999999"));
    this.shades.forEach((shade, code) => { this.table[code] = packed(shade); });
  }

  colour(codes, shades) {
    this.codes = codes;
    this.shades = shades.length ? shades : ["#3b7dd8"];
    this.paints();
    this.only(new Set());
  }

  only(codes) {
    this.show.fill(codes.size ? 0 : 1);
    for (const code of codes) this.show[code] = 1;
    this.later();
  }

  light(ids) {
    this.lit = new Uint8Array(this.n);
    for (let at = 0; at < this.n; at++) if (ids.has(this.ids[at])) this.lit[at] = 1;
    this.later();
  }

  whole() {
    const [width, height] = [this.canvas.width, this.canvas.height];
    let [right, low] = [0, 0];
    for (let at = 0; at < 2 * this.n; at += 2) {
      if (this.places[at] > right) right = this.places[at];
      if (this.places[at + 1] > low) low = this.places[at + 1];
    }
    const scale = 0.92 * Math.min(width / (right || 1), height / (low || 1));
    this.view = { scale, x: (width - scale * right) / 2, y: (height - scale * low) / 2, least: scale };
    this.later();
  }

  zoom(times, x = this.canvas.width / 2, y = this.canvas.height / 2) {
    const view = this.view;
    const scale = Math.min(Math.max(view.scale * times, view.least * 0.5), view.least * 4000);
    const by = scale / view.scale;
    this.view = { ...view, scale, x: x - by * (x - view.x), y: y - by * (y - view.y) };
    this.later();
  }

  later() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => { this.waiting = 0; this.frame(); });
  }

  // One pass over all points into one image.
  frame() {
    if (!this.view || !this.pixels) return;
    const start = performance.now();
    const { places, codes, show, table, pixels, lit, n, dim } = this;
    const { scale, x, y, least } = this.view;
    const [width, height] = [this.canvas.width, this.canvas.height];
    const side = Math.max(1, Math.round(this.ratio * Math.min(6, Math.max(n > 30000 ? 1 : 2, 1 + Math.log2(1 + scale / least)))));
    const seen = this.inView ||= new Int32Array(20000);
    let times = 0;
    pixels.fill(this.paper);
    for (let at = 0; at < n; at++) {
      const code = codes[at];
      if (!show[code]) continue;
      const left = (places[2 * at] * scale + x) | 0;
      const top = (places[2 * at + 1] * scale + y) | 0;
      if (left < 0 || top < 0 || left + side > width || top + side > height) continue;
      if (times < seen.length) seen[times] = at;
      times++;
      const paint = lit && !lit[at] ? dim : table[code];
      for (let row = top * width, end = row + side * width; row < end; row += width) {
        for (let cell = row + left; cell < row + left + side; cell++) pixels[cell] = paint;
      }
    }
    this.words.putImageData(this.image, 0, 0);
    this.times = times;
    if (times && (times <= 400 || scale > 40 * least) && times <= seen.length) this.thumbnails(seen.subarray(0, times));
    if (lit) this.rings(side);
    const end = performance.now();
    performance.measure(FRAME, { start, end });
    this.frames.push(end - start);
    if (this.frames.length > 240) { this.frames.shift(); if (performance.getEntriesByName(FRAME).length > 1000) performance.clearMeasures(FRAME); }
    clearTimeout(this.telling);
    this.telling = setTimeout(() => this.tell(), 300);
  }

  tell() {
    const place = $("#frames");
    if (!place) return;
    const sorted = [...this.frames].sort((a, b) => a - b);
    const median = sorted[sorted.length >> 1];
    place.dataset.median = median.toFixed(2);
    place.textContent = `${count(this.times)} in view · ${median.toFixed(1)} ms a frame (median)`;
  }

  rings(side) {
    const { words, places, lit, codes, show } = this;
    const { scale, x, y } = this.view;
    words.lineWidth = 1.5 * this.ratio;
    words.strokeStyle = this.accent;
    for (let at = 0; at < this.n; at++) {
      if (!lit[at] || !show[codes[at]]) continue;
      const [across, down] = [places[2 * at] * scale + x + side / 2, places[2 * at + 1] * scale + y + side / 2];
      words.beginPath();
      words.arc(across, down, side + 2 * this.ratio, 0, 2 * Math.PI);
      words.fillStyle = this.shades[codes[at]] || "#999999";
      words.fill();
      words.stroke();
    }
  }

  // The first that comes takes a place; others stay dots until one is closer still.
  thumbnails(seen) {
    const { words, places } = this;
    const { scale, x, y } = this.view;
    const cell = Math.round((innerWidth <= 720 ? 56 : 72) * this.ratio);
    const taken = new Set();
    let shown = 0;
    const { lit } = this;
    for (const at of lit ? [...seen].sort((a, b) => lit[b] - lit[a]) : seen) {
      const [across, down] = [places[2 * at] * scale + x, places[2 * at + 1] * scale + y];
      const key = `${Math.floor(across / cell)},${Math.floor(down / cell)}`;
      if (taken.has(key)) continue;
      taken.add(key);
      if (++shown > THUMBNAILS) return;
      const picture = this.picture(at);
      if (!picture.complete || !picture.naturalWidth) continue;
      const fit = (0.92 * cell) / Math.max(picture.naturalWidth, picture.naturalHeight);
      const [wide, tall] = [picture.naturalWidth * fit, picture.naturalHeight * fit];
      const bright = !lit || lit[at];
      words.globalAlpha = bright ? 1 : 0.3;
      words.fillStyle = this.shades[this.codes[at]] || "#999999";
      if (bright) words.fillRect(across - wide / 2 - 2, down - tall / 2 - 2, wide + 4, tall + 4);
      words.drawImage(picture, across - wide / 2, down - tall / 2, wide, tall);
      words.globalAlpha = 1;
    }
  }

  picture(at) {
    let picture = this.pictures.get(at);
    if (!picture) {
      picture = new Image();
      picture.addEventListener("load", () => this.later());
      picture.src = thumbnail(this.ids[at], 128);
      this.pictures.set(at, picture);
      if (this.pictures.size > 600) this.pictures.delete(this.pictures.keys().next().value);
    }
    return picture;
  }

  each(inside) {
    const found = [];
    const { scale, x, y } = this.view;
    for (let at = 0; at < this.n; at++) {
      if (this.show[this.codes[at]] && inside(this.places[2 * at] * scale + x, this.places[2 * at + 1] * scale + y)) found.push(this.ids[at]);
    }
    return found;
  }

  seen() {
    return this.each((x, y) => x >= 0 && y >= 0 && x < this.canvas.width && y < this.canvas.height);
  }

  within(path) {
    const [left, right] = [Math.min(...path.map((p) => p[0])), Math.max(...path.map((p) => p[0]))];
    return this.each((x, y) => {
      if (x < left || x > right) return false;
      let inside = false;
      for (let i = 0, j = path.length - 1; i < path.length; j = i++) {
        const [[ax, ay], [bx, by]] = [path[i], path[j]];
        if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
      }
      return inside;
    });
  }

  nearest(x, y, most) {
    let best = null;
    let least = most * most;
    const { scale, x: dx, y: dy } = this.view;
    for (let at = 0; at < this.n; at++) {
      if (!this.show[this.codes[at]]) continue;
      const [a, b] = [this.places[2 * at] * scale + dx - x, this.places[2 * at + 1] * scale + dy - y];
      if (a * a + b * b < least) { least = a * a + b * b; best = this.ids[at]; }
    }
    return best;
  }

  listen() {
    const { over } = this;
    const at = (event) => { const box = over.getBoundingClientRect(); return [(event.clientX - box.left) * this.ratio, (event.clientY - box.top) * this.ratio]; };
    over.addEventListener("wheel", (event) => { event.preventDefault(); this.zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, ...at(event)); }, { passive: false });
    over.addEventListener("pointerdown", (event) => {
      over.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, at(event));
      this.moved = false;
      this.path = (this.lassoing || event.shiftKey) && this.pointers.size === 1 ? [at(event)] : null;
    });
    over.addEventListener("pointermove", (event) => {
      const here = at(event);
      const before = this.pointers.get(event.pointerId);
      if (!before) {
        if (event.pointerType === "mouse") { clearTimeout(this.looking); this.looking = setTimeout(() => this.onNear(this.nearest(...here, 12 * this.ratio)), 120); }
        return;
      }
      if (Math.hypot(here[0] - before[0], here[1] - before[1]) > 2 * this.ratio) this.moved = true;
      if (this.path) {
        this.path.push(here);
        this.lasso();
      } else if (this.pointers.size === 2) {
        const [other] = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
        const apart = (place) => Math.hypot(place[0] - other[0], place[1] - other[1]) || 1;
        this.zoom(apart(here) / apart(before), (here[0] + other[0]) / 2, (here[1] + other[1]) / 2);
      } else if (this.moved) {
        this.view = { ...this.view, x: this.view.x + here[0] - before[0], y: this.view.y + here[1] - before[1] };
        this.later();
      } else return;
      this.pointers.set(event.pointerId, here);
    });
    const up = (event) => {
      if (!this.pointers.delete(event.pointerId)) return;
      if (this.path) {
        const path = this.path;
        this.path = null;
        this.lasso();
        if (path.length > 3) this.onPick(this.within(path));
      } else if (!this.moved && event.type === "pointerup") {
        const id = this.nearest(...at(event), 30 * this.ratio);
        if (id !== null) this.onOpen(id);
      }
    };
    over.addEventListener("pointerup", up);
    over.addEventListener("pointercancel", up);
    over.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const way = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      const step = 60 * this.ratio;
      if (way) { this.view = { ...this.view, x: this.view.x + step * way[0], y: this.view.y + step * way[1] }; this.later(); }
      else if (event.key === "+" || event.key === "=") this.zoom(1.5);
      else if (event.key === "-") this.zoom(1 / 1.5);
      else if (event.key === "0") this.whole();
      else if (event.key === "Enter" || event.key === " ") {
        const id = this.nearest(this.canvas.width / 2, this.canvas.height / 2, Infinity);
        if (id !== null) this.onOpen(id);
      } else return;
      event.preventDefault();
      event.stopPropagation();
      if (way || /^[-+=]$/.test(event.key)) this.onNear(this.nearest(this.canvas.width / 2, this.canvas.height / 2, 40 * this.ratio));
      this.cross();
    });
    over.addEventListener("focus", () => this.cross());
    over.addEventListener("blur", () => this.pen.clearRect(0, 0, over.width, over.height));
  }

  // For hands on the keyboard: where the middle is.
  cross() {
    const { pen, over, ratio } = this;
    pen.clearRect(0, 0, over.width, over.height);
    if (!over.matches(":focus-visible")) return;
    pen.strokeStyle = this.accent;
    pen.lineWidth = ratio;
    pen.strokeRect(over.width / 2 - 12 * ratio, over.height / 2 - 12 * ratio, 24 * ratio, 24 * ratio);
  }

  lasso() {
    const { pen, over } = this;
    pen.clearRect(0, 0, over.width, over.height);
    if (!this.path) return;
    pen.strokeStyle = this.accent;
    pen.lineWidth = 2 * this.ratio;
    pen.setLineDash([6 * this.ratio, 4 * this.ratio]);
    pen.beginPath();
    this.path.forEach(([x, y], place) => (place ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    pen.closePath();
    pen.stroke();
    pen.setLineDash([]);
  }
}
