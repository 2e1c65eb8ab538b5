// Pictures in rows of equal height: each keeps its shape, and its place is reserved before it is there.

import { thumbnail } from "./api.js";
import { chance, day, make, named } from "./dom.js";
import { spell } from "./state.js";

const HEIGHT = () => (innerWidth <= 720 ? 116 : 168);
const GAP = 4;
const shape = (item) => {
  const ratio = item.width && item.height ? item.width / item.height : 1;
  return Math.min(Math.max(ratio, 0.4), 3);
};

export class Grid {
  // actions: {open, like, unlike, pick, why, extra(item)}; picked: a Set of ids; marks(id) → true, false or undefined
  constructor(place, actions) {
    this.place = place;
    this.actions = actions;
    this.items = [];
    this.width = 0;
    this.resized = new ResizeObserver(() => {
      const width = place.clientWidth;
      if (width && Math.abs(width - this.width) > 1) this.layout();
    });
    this.resized.observe(place);
  }

  add(items) {
    if (!items.length) return;
    const before = this.items.length;
    this.items.push(...items);
    this.layout(this.lastRow !== undefined && before ? this.lastRow : 0);
  }

  // Rows from the one that begins with this item on: the earlier ones are full, and stay.
  layout(from = 0) {
    const width = this.place.clientWidth;
    if (!width) return;
    if (Math.abs(width - this.width) > 1) from = 0;
    this.width = width;
    for (const row of [...this.place.children]) if (Number(row.dataset.from) >= from) row.remove();
    const height = HEIGHT();
    let row = [];
    let sum = 0;
    let start = from;
    const close = (full) => {
      const gaps = GAP * (row.length - 1);
      const tall = full ? (width - gaps) / sum : height;
      const line = make("div", { class: "tiles", style: { height: `${tall}px`, containIntrinsicSize: `auto ${tall}px` } },
        row.map((item, place) => this.tile(item, start + place, shape(item) * tall, tall)));
      line.dataset.from = start;
      this.place.append(line);
      this.lastRow = start;
      start += row.length;
      row = [];
      sum = 0;
    };
    for (let place = from; place < this.items.length; place++) {
      row.push(this.items[place]);
      sum += shape(this.items[place]);
      if (sum * height + GAP * (row.length - 1) >= width) close(true);
    }
    if (row.length) close(false);
    this.drawn();
  }

  tile(item, place, wide, tall) {
    const { actions } = this;
    const words = [item.probability == null ? "" : `P ${chance(item.probability)}`,
      item.score?.toFixed(2), item.label, day(item.taken), named(item)].filter(Boolean);
    const name = [item.path, item.score === undefined ? "" : item.score.toFixed(2),
      item.probability == null ? "" : `matches with ${chance(item.probability)}`,
      item.label || "", item.same ? "the picture itself" : ""].filter(Boolean).join(", ");
    const image = make("img", { alt: "", loading: place > 40 ? "lazy" : "eager", decoding: "async", draggable: false });
    const link = make("a", { href: `?like=${spell({ id: item.id, weight: 1, box: null })}`, "aria-label": name, tabindex: "-1" }, image);
    const tile = make("figure", { class: "tile", style: { width: `${wide}px`, height: `${tall}px` } }, link);
    tile.dataset.id = item.id;
    if (item.colour) tile.style.background = item.colour;
    image.addEventListener("load", () => image.classList.add("there"));
    image.addEventListener("error", () => {
      tile.classList.add("broken");
      link.dataset.why = `${named(item)} cannot be shown`;
    });
    image.src = thumbnail(item.id, wide * devicePixelRatio > 256 || tall * devicePixelRatio > 256 ? 512 : 256, actions.of);
    tile.append(make("div", { class: "under", "aria-hidden": "true" }, words.join(" · ")));
    if (item.same) tile.append(make("span", { class: "dot same", title: "the picture itself" }, "="));
    const act = (sign, title, job) => make("button", { tabindex: "-1", title, "aria-label": `${title}: ${named(item)}`, onclick: (event) => { event.stopPropagation(); job(item); } }, sign);
    if (actions.like) {
      tile.append(make("div", { class: "acts" },
        act("+", "like this", actions.like), act("−", "not like this", actions.unlike),
        act("✓", "select", (one) => actions.pick(one, false)), actions.why ? act("?", "why", actions.why) : null));
    }
    let clicks = 0;
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      if (event.shiftKey) return actions.pick?.(item, true);
      if (event.detail === 0) return actions.more(item); // Enter
      clearTimeout(clicks);
      if (event.detail === 2) return actions.more(item);
      clicks = setTimeout(() => actions.open(item, this.items), 220);
    });
    let held = 0;
    link.addEventListener("touchstart", () => { held = setTimeout(() => { held = 0; actions.pick?.(item, false); }, 500); }, { passive: true });
    link.addEventListener("touchend", (event) => { if (held === 0) event.preventDefault(); clearTimeout(held); });
    link.addEventListener("touchmove", () => clearTimeout(held), { passive: true });
    link.addEventListener("contextmenu", (event) => { if (event.pointerType === "touch") event.preventDefault(); }); // it selects
    this.dress(tile, item);
    return tile;
  }

  dress(tile, item) {
    const { actions } = this;
    tile.classList.toggle("picked", Boolean(actions.picked?.has(item.id)));
    tile.querySelector(".dot.mark")?.remove();
    const mark = actions.mark?.(item.id);
    actions.dress?.(tile, item);
    if (mark !== undefined) {
      tile.append(make("span", { class: `dot mark ${mark ? "right" : "wrong"}`, title: mark ? "marked right" : "marked wrong" }, mark ? "✓" : "✗"));
    }
  }

  dressed() {
    const known = new Map(this.items.map((item) => [String(item.id), item]));
    for (const tile of this.place.querySelectorAll(".tile")) this.dress(tile, known.get(tile.dataset.id));
  }

  drawn() {
    const first = this.place.querySelector(".tile > a");
    if (first && !this.place.querySelector('.tile > a[tabindex="0"]')) first.tabIndex = 0;
  }
}

// The same in groups, each with a heading and a grid of its own.
export class Groups {
  constructor(place, actions) {
    this.place = place;
    this.actions = actions;
    this.grids = [];
  }

  get items() {
    return this.grids.flatMap(([, grid]) => grid.items);
  }

  add(items) {
    for (const item of items) {
      let last = this.grids[this.grids.length - 1];
      if (!last || last[0] !== item.group) {
        const place = make("div", { class: "grid" });
        this.place.append(make("h2", { class: "group" }, item.group ?? "in no group"), place);
        last = [item.group, new Grid(place, this.actions), []];
        this.grids.push(last);
      }
      last[2].push(item);
    }
    for (const one of this.grids) one[1].add(one[2].splice(0));
  }

  dressed() {
    for (const [, grid] of this.grids) grid.dressed();
  }
}

// The links of all grids on the page, as the eye sees them.
const links = () => [...document.querySelectorAll("#results .tile > a")].filter((link) => link.offsetParent);

export function focused() {
  const tile = document.activeElement?.closest?.(".tile");
  return tile && tile.closest("#results") ? tile : null;
}

export function focus(link) {
  if (!link) return false;
  document.querySelector('#results .tile > a[tabindex="0"]')?.setAttribute("tabindex", "-1");
  link.tabIndex = 0;
  link.focus({ preventScroll: true });
  link.scrollIntoView({ block: "nearest" });
  return true;
}

export function move(key) {
  const all = links();
  const at = all.findIndex((link) => link.parentElement === focused());
  if (at < 0) return focus(all.find((link) => link.tabIndex === 0) || all[0]);
  if (key === "ArrowRight") return focus(all[at + 1]);
  if (key === "ArrowLeft") return focus(all[at - 1]);
  if (key === "Home") return focus(all[0]);
  if (key === "End") return focus(all[all.length - 1]);
  const here = all[at].getBoundingClientRect();
  const middle = here.left + here.width / 2;
  const down = key === "ArrowDown";
  const rows = all.filter((link) => {
    const box = link.getBoundingClientRect();
    return down ? box.top > here.bottom - 1 : box.bottom < here.top + 1;
  });
  if (!rows.length) return false;
  const edge = down ? Math.min(...rows.map((link) => link.getBoundingClientRect().top)) : Math.max(...rows.map((link) => link.getBoundingClientRect().top));
  const row = rows.filter((link) => Math.abs(link.getBoundingClientRect().top - edge) < 2);
  const away = (link) => { const box = link.getBoundingClientRect(); return Math.abs(box.left + box.width / 2 - middle); };
  return focus(row.reduce((best, link) => (away(link) < away(best) ? link : best)));
}
