// One picture, large: left and right, nearer and farther, why it is a hit, what is known of it, what lies near it.

import { address, get, thumbnail } from "./api.js";
import { chance, count, day, make, named, say } from "./dom.js";
import * as state from "./state.js";

let box = null;
let drawn = null;

export const isOpen = () => box !== null;

export function open(item, items, actions, why = false) {
  const back = document.activeElement;
  if (!box) {
    box = make("dialog", { class: "large", "aria-label": "Picture" });
    box.addEventListener("close", () => {
      box.remove();
      box = null;
      if (state.now.item) state.go({ item: "" }, { replace: true });
      back?.focus?.({ preventScroll: true });
    });
    box.addEventListener("keydown", keyed);
    document.body.append(box);
    box.showModal();
  }
  show(item, items, actions, why);
}

function keyed(event) {
  if (event.target.matches("input, textarea, select")) return;
  const { item, items, actions, stage, zoom } = drawn;
  const at = items.findIndex((one) => one.id === item.id);
  const to = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  const done = () => { event.preventDefault(); event.stopPropagation(); };
  if (to !== undefined) { if (items[at + to]) show(items[at + to], items, actions, false); done(); }
  else if (event.key === "+" ) { zoom(1.3); done(); }
  else if (event.key === "-") { zoom(1 / 1.3); done(); }
  else if (event.key === "e") { why(stage, item, true); done(); }
  else if (event.key === "y" || event.key === "n") { actions.sign(item, event.key === "y"); fill(); done(); }
  else if (event.key === "x") { actions.pick(item, false); done(); }
  else if (event.key === "Enter" && event.target === box) { box.close(); actions.more(item); done(); }
}

function show(item, items, actions, explain) {
  const stage = make("div", { class: "stage" });
  const image = make("img", { alt: named(item), src: thumbnail(item.id, 1024) });
  image.addEventListener("error", () => stage.append(make("p", { class: "nothing" }, `${named(item)} cannot be shown.`)), { once: true });
  const whole = new Image(); // the file itself takes its place when it is there
  whole.addEventListener("load", () => { image.src = whole.src; });
  whole.src = address(`/items/${item.id}/image`);
  stage.append(image);
  const zoom = zooming(stage, image);
  const at = items.findIndex((one) => one.id === item.id);
  const turn = (way, sign, text) => (items[at + way] ? make("button", { type: "button", class: `turn ${way < 0 ? "back" : "on"}`, "aria-label": text, onclick: () => show(items[at + way], items, actions, false) }, sign) : null);
  const asked = state.now.like.length > 0;
  const button = (text, title, job) => make("button", { type: "button", title, "aria-label": title, onclick: job }, text);
  stage.append(...[turn(-1, "‹", "The one before"), turn(1, "›", "The next one"),
    make("div", { class: "top" },
      button("✕", "Back", () => box.close()), button("−", "Smaller", () => zoom(1 / 1.3)), button("+", "Larger", () => zoom(1.3)),
      asked ? button("why", "why: which parts make it a hit", () => why(stage, item, true)) : null)].filter(Boolean));
  const side = make("aside", { class: "side", "aria-label": "What is known of it" });
  box.replaceChildren(make("div", { class: "in" }, stage, side));
  drawn = { item, items, actions, stage, side, zoom };
  state.go({ item: String(item.id) }, { replace: true });
  say(`${item.path}, ${at + 1} of ${count(items.length)}`);
  if (explain) why(stage, item, false);
  fill();
  box.focus();
}

async function fill() {
  const { item, side, actions, items } = drawn;
  let told = item;
  try { told = { ...item, ...(await get(`/items/${item.id}`)) }; } catch (error) { side.replaceChildren(make("p", { role: "alert" }, error.message)); }
  if (drawn.side !== side || !box) return;
  const line = (name, value) => (value === null || value === undefined || value === "" ? [] : [make("dt", {}, name), make("dd", {}, String(value))]);
  const mark = actions.mark(item.id);
  const button = (text, pressed, job) => make("button", { type: "button", "aria-pressed": pressed === undefined ? null : String(pressed), onclick: job }, text);
  side.replaceChildren(make("h2", {}, named(told)),
    make("div", { class: "row" },
      button("more like this", undefined, () => { box.close(); actions.more(item); }),
      button("+ like", undefined, () => { box.close(); actions.like(item); }),
      button("− not like", undefined, () => { box.close(); actions.unlike(item); })),
    state.now.like.length ? make("div", { class: "row" }, button("✓ right", mark === true, () => { actions.sign(item, true); fill(); }), button("✗ wrong", mark === false, () => { actions.sign(item, false); fill(); })) : null,
    make("dl", {},
      line("path", told.path), line("label", told.label), line("score", item.score?.toFixed(4)),
      line("matches with", item.probability === null || item.probability === undefined ? null : chance(item.probability, 3)),
      ...evidence(item), line("taken", day(told.taken)),
      line("pixels", told.width ? `${told.width} × ${told.height}` : null), line("bytes", told.size ? count(told.size) : null),
      ...Object.entries(told.attributes || {}).filter(([name]) => name !== "taken").map(([name, value]) => line(name, value))),
    told.served === false ? make("p", {}, "The file itself is not shown: it is gone, or lies outside of the collection's folder.")
      : make("p", {}, make("a", { href: address(`/items/${item.id}/image`), download: named(told) }, "the file"), " with all that it says besides the pixels"),
    make("h2", {}, "Near it"), make("div", { class: "near" }));
  try {
    const near = await get(`/items/${item.id}/similar`, { k: 12, same: 0 });
    if (drawn.side !== side) return;
    side.querySelector(".near").replaceChildren(...near.hits.map((one) => make("a", { href: "#", "aria-label": one.path, onclick: (event) => { event.preventDefault(); show(one, near.hits, actions, false); } }, make("img", { src: thumbnail(one.id, 128), alt: "" }))));
  } catch { /* the picture is shown all the same */ }
}

const evidence = (item) => {
  if (!item.evidence) return [];
  const parts = Array.isArray(item.evidence) ? item.evidence.map((one) => [one.name, one.log_odds ?? one.value]) : Object.entries(item.evidence);
  return parts.filter(([, value]) => typeof value === "number").map(([name, value]) => [make("dt", {}, name), make("dd", {}, `${value >= 0 ? "+" : "−"}${Math.abs(value).toFixed(2)}`)]);
};

// The heat map lies over the picture while it is wanted.
async function why(stage, item, toggle) {
  let heat = stage.querySelector("img.heat");
  if (!heat) {
    const query = state.now.like.length ? state.asPart(state.now.like[0]) : "";
    heat = make("img", { class: "heat", alt: "Which parts make it a hit", src: address(`/items/${item.id}/heat`, { query }) });
    heat.addEventListener("error", () => { heat.remove(); stage.classList.remove("why"); say("There is no explanation for this one"); });
    stage.append(heat);
    stage.classList.add("why");
    return;
  }
  stage.classList.toggle("why", toggle ? undefined : true);
}

function zooming(stage, image) {
  let scale = 1;
  let x = 0;
  let y = 0;
  const put = () => {
    for (const one of stage.querySelectorAll("img")) one.style.transform = `translate(${x}px, ${y}px) scale(${scale})`;
  };
  const zoom = (times) => {
    scale = Math.min(16, Math.max(1, scale * times));
    if (scale === 1) x = y = 0;
    put();
  };
  stage.addEventListener("wheel", (event) => { event.preventDefault(); zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15); }, { passive: false });
  stage.addEventListener("pointerdown", (event) => {
    if (event.target !== image || scale === 1) {
      const start = event.clientX;
      stage.addEventListener("pointerup", (up) => { // a swipe
        const way = up.clientX - start;
        if (event.pointerType === "touch" && Math.abs(way) > 60) stage.querySelector(way < 0 ? ".on" : ".back")?.click();
      }, { once: true });
      return;
    }
    stage.setPointerCapture(event.pointerId);
    const from = [event.clientX - x, event.clientY - y];
    const drag = (moved) => { x = moved.clientX - from[0]; y = moved.clientY - from[1]; put(); };
    stage.addEventListener("pointermove", drag);
    stage.addEventListener("pointerup", () => stage.removeEventListener("pointermove", drag), { once: true });
  });
  image.addEventListener("dblclick", () => zoom(scale > 1 ? 1 / 16 : 3));
  return zoom;
}
